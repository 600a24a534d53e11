// y = activation(x . w^T + b) for few rows: four rows and 32 outputs per workgroup; eight invocations
// share an output, each taking every eighth chunk of 64 inputs. Same order of sums as linear.wgsl.

const COLUMNS = 32u;
const SLICES = 8u;
const ROUND = 512u; // inputs of one chunk per slice

var<workgroup> x_tile: array<vec4<f32>, 512>; // [ROUND] of four rows
var<workgroup> partial: array<vec4<f32>, 256>; // [SLICES, COLUMNS] of four rows

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let workgroup = workgroup_index(id, count);
    if (workgroup >= params.workgroups) {
        return;
    }
    let column_blocks = (params.outputs + COLUMNS - 1u) / COLUMNS;
    let row = workgroup / column_blocks * 4u;
    let column = workgroup % column_blocks * COLUMNS + index % COLUMNS;
    let weight_column = min(column, params.outputs - 1u);
    let slice = index / COLUMNS;
    let rows_at = source_rows(row);

    var total = vec4<f32>(0.0);
    for (var start = 0u; start < params.inputs; start += ROUND) {
        workgroupBarrier();
        x_tile[index] = load_rows(rows_at, row, start + index);
        x_tile[index + 256u] = load_rows(rows_at, row, start + index + 256u);
        workgroupBarrier();
        var sum = vec4<f32>(0.0);
        let first = slice * CHUNK;
        let end = min(first + CHUNK, params.inputs - start);
        for (var k = first; k < end; k += 4u) {
            let w = load_weight((start + k) / 4u * params.outputs + weight_column);
            sum = multiply_add(sum, w, x_tile[k], x_tile[k + 1u], x_tile[k + 2u], x_tile[k + 3u]);
        }
        partial[index] = sum;
        workgroupBarrier();
        if (slice == 0u) {
            for (var other = 0u; other < SLICES; other++) {
                total += partial[other * COLUMNS + index];
            }
        }
    }
    if (slice == 0u) {
        store_rows(row, column, total);
    }
}
