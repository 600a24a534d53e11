// y = activation(x . w^T + b), 64 rows and 64 outputs per workgroup, 4 x 4 per invocation. The inputs
// are added in chunks of 64, the chunks in order, as in linear_few_rows.wgsl: a row's bits do not
// depend on the number of rows, on its place among them or on the kernel.

const ROWS = 64u;
const COLUMNS = 64u;
const TILE = 16u;  // inputs staged at a time
const CHUNK = 64u;
const PITCH = 17u; // of x_tile, odd so that the staging writes spread over the banks

var<workgroup> x_tile: array<vec4<f32>, 272>; // [TILE, PITCH] of four rows
var<workgroup> w_tile: array<vec4<f32>, 256>; // [TILE / 4, COLUMNS] of four inputs

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let workgroup = workgroup_index(id, count);
    if (workgroup >= params.workgroups) {
        return;
    }
    let column_blocks = (params.outputs + COLUMNS - 1u) / COLUMNS;
    let first_row = workgroup / column_blocks * ROWS;
    let first_column = workgroup % column_blocks * COLUMNS;
    let tx = index % 16u;
    let ty = index / 16u;
    // Four rows of one input, staged by this invocation.
    let stage_row = first_row + 4u * ty;
    let stage_at = source_rows(stage_row);
    let stage_column = first_column + index % COLUMNS;

    var total0 = vec4<f32>(0.0);
    var total1 = vec4<f32>(0.0);
    var total2 = vec4<f32>(0.0);
    var total3 = vec4<f32>(0.0);
    for (var chunk = 0u; chunk < params.inputs; chunk += CHUNK) {
        var sum0 = vec4<f32>(0.0);
        var sum1 = vec4<f32>(0.0);
        var sum2 = vec4<f32>(0.0);
        var sum3 = vec4<f32>(0.0);
        let end = min(chunk + CHUNK, params.inputs);
        for (var start = chunk; start < end; start += TILE) {
            workgroupBarrier();
            x_tile[tx * PITCH + ty] = load_rows(stage_at, stage_row, start + tx);
            let k4 = start / 4u + index / COLUMNS;
            var w = vec4<f32>(0.0);
            if (stage_column < params.outputs && 4u * k4 < params.inputs) {
                w = load_weight(k4 * params.outputs + stage_column);
            }
            w_tile[index] = w;
            workgroupBarrier();
            for (var j = 0u; j < TILE / 4u; j++) {
                let x0 = x_tile[(4u * j) * PITCH + ty];
                let x1 = x_tile[(4u * j + 1u) * PITCH + ty];
                let x2 = x_tile[(4u * j + 2u) * PITCH + ty];
                let x3 = x_tile[(4u * j + 3u) * PITCH + ty];
                let at = j * COLUMNS + tx;
                sum0 = multiply_add(sum0, w_tile[at], x0, x1, x2, x3);
                sum1 = multiply_add(sum1, w_tile[at + 16u], x0, x1, x2, x3);
                sum2 = multiply_add(sum2, w_tile[at + 32u], x0, x1, x2, x3);
                sum3 = multiply_add(sum3, w_tile[at + 48u], x0, x1, x2, x3);
            }
        }
        total0 += sum0;
        total1 += sum1;
        total2 += sum2;
        total3 += sum3;
    }
    let row = first_row + 4u * ty;
    let column = first_column + tx;
    store_rows(row, column, total0);
    store_rows(row, column + 16u, total1);
    store_rows(row, column + 32u, total2);
    store_rows(row, column + 48u, total3);
}
