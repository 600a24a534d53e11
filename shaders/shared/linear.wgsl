// What both linear kernels share: parameters, bindings, and the addresses of rows.

struct Params {
    workgroups: u32,     // workgroups with work; the dispatch may hold more
    rows: u32,
    inputs: u32,
    outputs: u32,        // outputs of this window of the weights
    slice_len: u32,      // row r is source row first + r / slice_len * source_stride + r % slice_len
    source_stride: u32,
    source_first: u32,
    output_start: u32,   // element where row 0 of this window goes
    output_stride: u32,  // elements from row to row
    has_bias: u32,
    bias_start: u32,     // first output of this window
}

@group(0) @binding(0) var<uniform> params: Params;
// @binding(1) weights: [ceil(inputs / 4), outputs] of vec4 over inputs
@group(0) @binding(2) var<storage, read> input: array<f32>; // [source rows, inputs]
@group(0) @binding(3) var<storage, read> bias: array<f32>; // [all outputs]
@group(0) @binding(4) var<storage, read_write> output: array<f32>; // [.., output_stride]

fn source_row(row: u32) -> u32 {
    return (params.source_first + row / params.slice_len * params.source_stride + row % params.slice_len) * params.inputs;
}

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
    var b = 0.0;
    if (params.has_bias != 0u) {
        b = bias[params.bias_start + column];
    }
    let y = activation(sum + b);
    let at = params.output_start + row * params.output_stride + column;
    if (row < params.rows) { output[at] = y.x; }
    if (row + 1u < params.rows) { output[at + params.output_stride] = y.y; }
    if (row + 2u < params.rows) { output[at + 2u * params.output_stride] = y.z; }
    if (row + 3u < params.rows) { output[at + 3u * params.output_stride] = y.w; }
}
