// y = activation(x . w^T + b), 64 rows and 64 outputs per workgroup, 8 x 8 per invocation. The inputs
// are added in chunks of 64, the chunks in order, as in linear_few_rows.wgsl: a row's bits do not
// depend on the number of rows, on its place among them or on the kernel.

const TILE_ROWS = 64u;
const COLUMNS = 64u;
const TILE = 16u;  // inputs staged at a time
const PITCH = 17u; // of x_tile, odd so that the staging writes spread over the banks
const WORKGROUP = 64u;

var<workgroup> x_tile: array<Rows, 272>; // [TILE, PITCH]
var<workgroup> w_tile: array<vec4<f32>, 256>; // [TILE / 4, COLUMNS] of four inputs

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let workgroup = workgroup_index(id, count);
    if (workgroup >= params.workgroups) {
        return;
    }
    let column_blocks = (params.outputs + COLUMNS - 1u) / COLUMNS;
    let first_row = workgroup / column_blocks * TILE_ROWS;
    let first_column = workgroup % column_blocks * COLUMNS;
    // Of the invocation: the columns tx + 8 i, and the groups of four rows ty and ty + 8.
    let tx = index % 8u;
    let ty = index / 8u;
    // Staging: four groups of rows at one input, and four groups of inputs at one column.
    let stage_input = index % TILE;
    let stage_column = first_column + index;

    var total_a0 = Rows(0.0);
    var total_a1 = Rows(0.0);
    var total_a2 = Rows(0.0);
    var total_a3 = Rows(0.0);
    var total_a4 = Rows(0.0);
    var total_a5 = Rows(0.0);
    var total_a6 = Rows(0.0);
    var total_a7 = Rows(0.0);
    var total_b0 = Rows(0.0);
    var total_b1 = Rows(0.0);
    var total_b2 = Rows(0.0);
    var total_b3 = Rows(0.0);
    var total_b4 = Rows(0.0);
    var total_b5 = Rows(0.0);
    var total_b6 = Rows(0.0);
    var total_b7 = Rows(0.0);
    for (var chunk = 0u; chunk < params.inputs; chunk += CHUNK) {
        var sum_a0 = Rows(0.0);
        var sum_a1 = Rows(0.0);
        var sum_a2 = Rows(0.0);
        var sum_a3 = Rows(0.0);
        var sum_a4 = Rows(0.0);
        var sum_a5 = Rows(0.0);
        var sum_a6 = Rows(0.0);
        var sum_a7 = Rows(0.0);
        var sum_b0 = Rows(0.0);
        var sum_b1 = Rows(0.0);
        var sum_b2 = Rows(0.0);
        var sum_b3 = Rows(0.0);
        var sum_b4 = Rows(0.0);
        var sum_b5 = Rows(0.0);
        var sum_b6 = Rows(0.0);
        var sum_b7 = Rows(0.0);
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
            for (var j = 0u; j < TILE / 4u; j++) {
                let at = 4u * j * PITCH + ty;
                let a0 = x_tile[at];
                let a1 = x_tile[at + PITCH];
                let a2 = x_tile[at + 2u * PITCH];
                let a3 = x_tile[at + 3u * PITCH];
                let b0 = x_tile[at + 8u];
                let b1 = x_tile[at + PITCH + 8u];
                let b2 = x_tile[at + 2u * PITCH + 8u];
                let b3 = x_tile[at + 3u * PITCH + 8u];
                let w0 = w_tile[j * COLUMNS + tx];
                sum_a0 = multiply_add(sum_a0, w0, a0, a1, a2, a3);
                sum_b0 = multiply_add(sum_b0, w0, b0, b1, b2, b3);
                let w1 = w_tile[j * COLUMNS + tx + 8u];
                sum_a1 = multiply_add(sum_a1, w1, a0, a1, a2, a3);
                sum_b1 = multiply_add(sum_b1, w1, b0, b1, b2, b3);
                let w2 = w_tile[j * COLUMNS + tx + 16u];
                sum_a2 = multiply_add(sum_a2, w2, a0, a1, a2, a3);
                sum_b2 = multiply_add(sum_b2, w2, b0, b1, b2, b3);
                let w3 = w_tile[j * COLUMNS + tx + 24u];
                sum_a3 = multiply_add(sum_a3, w3, a0, a1, a2, a3);
                sum_b3 = multiply_add(sum_b3, w3, b0, b1, b2, b3);
                let w4 = w_tile[j * COLUMNS + tx + 32u];
                sum_a4 = multiply_add(sum_a4, w4, a0, a1, a2, a3);
                sum_b4 = multiply_add(sum_b4, w4, b0, b1, b2, b3);
                let w5 = w_tile[j * COLUMNS + tx + 40u];
                sum_a5 = multiply_add(sum_a5, w5, a0, a1, a2, a3);
                sum_b5 = multiply_add(sum_b5, w5, b0, b1, b2, b3);
                let w6 = w_tile[j * COLUMNS + tx + 48u];
                sum_a6 = multiply_add(sum_a6, w6, a0, a1, a2, a3);
                sum_b6 = multiply_add(sum_b6, w6, b0, b1, b2, b3);
                let w7 = w_tile[j * COLUMNS + tx + 56u];
                sum_a7 = multiply_add(sum_a7, w7, a0, a1, a2, a3);
                sum_b7 = multiply_add(sum_b7, w7, b0, b1, b2, b3);
            }
        }
        total_a0 += sum_a0;
        total_a1 += sum_a1;
        total_a2 += sum_a2;
        total_a3 += sum_a3;
        total_a4 += sum_a4;
        total_a5 += sum_a5;
        total_a6 += sum_a6;
        total_a7 += sum_a7;
        total_b0 += sum_b0;
        total_b1 += sum_b1;
        total_b2 += sum_b2;
        total_b3 += sum_b3;
        total_b4 += sum_b4;
        total_b5 += sum_b5;
        total_b6 += sum_b6;
        total_b7 += sum_b7;
    }
    let row = first_row + ROWS * ty;
    let column = first_column + tx;
    store_rows(row, column, total_a0);
    store_rows(row, column + 8u, total_a1);
    store_rows(row, column + 16u, total_a2);
    store_rows(row, column + 24u, total_a3);
    store_rows(row, column + 32u, total_a4);
    store_rows(row, column + 40u, total_a5);
    store_rows(row, column + 48u, total_a6);
    store_rows(row, column + 56u, total_a7);
    store_rows(row + 8u * ROWS, column, total_b0);
    store_rows(row + 8u * ROWS, column + 8u, total_b1);
    store_rows(row + 8u * ROWS, column + 16u, total_b2);
    store_rows(row + 8u * ROWS, column + 24u, total_b3);
    store_rows(row + 8u * ROWS, column + 32u, total_b4);
    store_rows(row + 8u * ROWS, column + 40u, total_b5);
    store_rows(row + 8u * ROWS, column + 48u, total_b6);
    store_rows(row + 8u * ROWS, column + 56u, total_b7);
}
