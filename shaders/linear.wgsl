// y = activation(x . w^T + b), 64 rows and 64 outputs per workgroup, 8 x 8 per invocation, whose sums have names
// (src/gpu/kernels/tile.rs). The inputs are added in chunks of 64, the chunks in order, as in linear_few_rows.wgsl: a
// row's bits do not depend on the number of rows, on its place among them or on the kernel.

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let workgroup = workgroup_index(id, count);
    if (workgroup >= params.workgroups) {
        return;
    }
    let column_blocks = (params.outputs + COLUMNS - 1u) / COLUMNS;
    let first_row = workgroup / column_blocks * TILE_ROWS;
    let first_column = workgroup % column_blocks * COLUMNS;
    // Staging: four groups of rows at one input, and four groups of inputs at one column.
    let stage_input = index % TILE;
    let stage_column = first_column + index;

    clear_totals();
    for (var chunk = 0u; chunk < params.inputs; chunk += CHUNK) {
        clear_chunk();
        let end = min(chunk + CHUNK, params.inputs);
        for (var start = chunk; start < end; start += TILE) {
            workgroupBarrier();
            for (var group = index / TILE; group < TILE_ROWS / ROWS; group += WORKGROUP / TILE) {
                let row = first_row + ROWS * group;
                x_tile[stage_input * PITCH + group] = load_rows(source_rows(row), row, start + stage_input);
            }
            for (var j = 0u; j < TILE / 4u; j++) {
                let k4 = start / 4u + j;
                var w = vec4<f32>(0.0);
                if (stage_column < params.outputs && 4u * k4 < params.inputs) {
                    w = load_weight(k4 * params.outputs + stage_column);
                }
                w_tile[j * COLUMNS + index] = w;
            }
            workgroupBarrier();
            multiply_tile(1u, index);
        }
        add_chunk();
    }
    end_tile(first_row + index / 8u * ROWS, first_column + index % 8u);
}
