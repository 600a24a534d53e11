// y = activation(x . w^T + b) for drivers that compute on the CPU, where a read costs more than anything else: 128 rows
// and 128 outputs per workgroup, four outputs per invocation, which holds their weights of a chunk of 64 inputs by name
// (src/gpu/kernels/held.rs). Eight lanes of a subgroup read eight inputs of a row and hand them to the others. The
// sums have the order of linear.wgsl; those of chunks are added in the output.

const BLOCK_ROWS = 128u;
const LANES = 32u;
const COLUMNS = 128u;

// What is not there is zero.
fn load_handed(k4: u32, column: u32) -> vec4<f32> {
    let inside = 4u * k4 < params.inputs && column < params.outputs;
    let at = min(k4, (params.inputs - 1u) / 4u) * params.outputs + min(column, params.outputs - 1u);
    return select(vec4<f32>(0.0), load_weight(at), inside);
}

fn load_input(at: u32, k: u32) -> Rows {
    return select(0.0, input[at + min(k, params.inputs - 1u)], k < params.inputs);
}

// Adds the sum of a chunk to the output; the last one brings bias and activation.
fn add_chunk(row: u32, column: u32, sum: Rows, chunk: u32) {
    if (column >= params.outputs) {
        return;
    }
    let at = params.output_start + row * params.output_stride + column;
    var total = sum;
    if (chunk > 0u) {
        total = output[at] + sum;
    }
    if (chunk + CHUNK >= params.inputs) {
        total = finished(total, column);
    }
    output[at] = total;
}

@compute @workgroup_size(32)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let workgroup = workgroup_index(id, count);
    if (workgroup >= params.workgroups) {
        return;
    }
    let column_blocks = (params.outputs + COLUMNS - 1u) / COLUMNS;
    let first_row = workgroup / column_blocks * BLOCK_ROWS;
    let column = workgroup % column_blocks * COLUMNS + index;
    let end_row = min(first_row + BLOCK_ROWS, params.rows);
    for (var chunk = 0u; chunk < params.inputs; chunk += CHUNK) {
        hold_weights(chunk / 4u, column);
        for (var row = first_row; row < end_row; row++) {
            multiply(source_row(row), chunk, index & 7u);
            add_chunk(row, column, sum0, chunk);
            add_chunk(row, column + LANES, sum1, chunk);
            add_chunk(row, column + 2u * LANES, sum2, chunk);
            add_chunk(row, column + 3u * LANES, sum3, chunk);
        }
    }
}
