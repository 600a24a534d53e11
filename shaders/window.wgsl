// output[b, w, k, c] = input[b, w * stride + k * dilation - before, c], `fill` where that is outside.
// Neighbours read and write neighbours.

struct Params {
    count: u32, // rows * windows * width * channels
    len: u32,
    channels: u32,
    windows: u32,
    width: u32,
    stride: u32,
    dilation: u32,
    before: u32,
    fill: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>; // [rows, len, channels]
@group(0) @binding(2) var<storage, read_write> output: array<f32>; // [rows, windows, width, channels]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let i = workgroup_index(id, count) * 256u + index;
    if (i >= params.count) {
        return;
    }
    let position = i / params.channels;
    let window = position / params.width;
    let row = window / params.windows;
    // What lies before the input wraps round, beyond its end.
    let at = window % params.windows * params.stride + position % params.width * params.dilation - params.before;
    var x = params.fill;
    if (at < params.len) {
        x = input[(row * params.len + at) * params.channels + i % params.channels];
    }
    output[i] = x;
}
