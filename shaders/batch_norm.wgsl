// (x - mean) / sqrt(variance + epsilon) * gamma + beta, one value each per channel.

const HAS_GAMMA = 1u;
const HAS_BETA = 2u;

struct Params {
    count: u32,
    channels: u32,
    inner: u32,
    flags: u32,
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>; // [outer, channels, inner]
@group(0) @binding(2) var<storage, read> mean: array<f32>; // [channels]
@group(0) @binding(3) var<storage, read> variance: array<f32>; // [channels]
@group(0) @binding(4) var<storage, read> gamma: array<f32>; // [channels]
@group(0) @binding(5) var<storage, read> beta: array<f32>; // [channels]
@group(0) @binding(6) var<storage, read_write> output: array<f32>; // [outer, channels, inner]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let i = workgroup_index(id, count) * 256u + index;
    if (i >= params.count) {
        return;
    }
    let channel = i / params.inner % params.channels;
    var y = (input[i] - mean[channel]) / sqrt(variance[channel] + params.epsilon);
    if ((params.flags & HAS_GAMMA) != 0u) {
        y = y * gamma[channel];
    }
    if ((params.flags & HAS_BETA) != 0u) {
        y = y + beta[channel];
    }
    output[i] = y;
}
