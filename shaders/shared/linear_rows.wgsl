// Four rows of the linear kernels' buffers.

fn source_rows(row: u32) -> vec4<u32> {
    return vec4<u32>(source_row(row), source_row(row + 1u), source_row(row + 2u), source_row(row + 3u));
}

// Input `k` of the four rows from `row`; what is not there reads as zero.
fn load_rows(at: vec4<u32>, row: u32, k: u32) -> vec4<f32> {
    var x = vec4<f32>(0.0);
    if (k < params.inputs) {
        if (row < params.rows) { x.x = input[at.x + k]; }
        if (row + 1u < params.rows) { x.y = input[at.y + k]; }
        if (row + 2u < params.rows) { x.z = input[at.z + k]; }
        if (row + 3u < params.rows) { x.w = input[at.w + k]; }
    }
    return x;
}

// Bias, activation and output `column` of the four rows from `row`.
fn store_rows(row: u32, column: u32, sum: vec4<f32>) {
    if (column >= params.outputs) {
        return;
    }
    let y = finished(sum, column);
    let at = params.output_start + row * params.output_stride + column;
    if (row < params.rows) { output[at] = y.x; }
    if (row + 1u < params.rows) { output[at + params.output_stride] = y.y; }
    if (row + 2u < params.rows) { output[at + 2u * params.output_stride] = y.z; }
    if (row + 3u < params.rows) { output[at + 3u * params.output_stride] = y.w; }
}
