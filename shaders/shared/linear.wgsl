// What the linear kernels share: parameters, bindings, and the addresses of rows.

struct Params {
    workgroups: u32,     // workgroups with work; the dispatch may hold more
    rows: u32,
    inputs: u32,
    outputs: u32,        // outputs of this window of the weights
    slice_len: u32,      // row r is source row first + r / slice_len * source_stride + r % slice_len
    source_stride: u32,
    source_first: u32,
    input_start: u32,    // element where source row 0 starts
    input_stride: u32,   // elements from source row to source row
    output_start: u32,   // element where row 0 of this window goes
    output_stride: u32,  // elements from row to row
    has_bias: u32,
    bias_start: u32,     // first output of this window
}

@group(0) @binding(0) var<uniform> params: Params;
// @binding(1) weights: [ceil(inputs / 4), outputs] of vec4 over inputs, scales [outputs]
@group(0) @binding(2) var<storage, read> input: array<f32>; // [.., input_stride]
@group(0) @binding(3) var<storage, read> bias: array<f32>; // [all outputs]
@group(0) @binding(4) var<storage, read_write> output: array<f32>; // [.., output_stride]

const CHUNK = 64u; // inputs whose products are added before they join the total

// Bias and activation of the sums of output `column`.
fn finished(sum: Rows, column: u32) -> Rows {
    var b = 0.0;
    if (params.has_bias != 0u) {
        b = bias[params.bias_start + column];
    }
    return activation(scaled(sum, load_scale((params.inputs + 3u) / 4u * params.outputs + column), b));
}

fn source_row(row: u32) -> u32 {
    let source = params.source_first + row / params.slice_len * params.source_stride + row % params.slice_len;
    return params.input_start + source * params.input_stride;
}
