// (x - mean) / sqrt(variance + epsilon) * gamma + beta over the middle axis of [outer, len, inner].

const HAS_GAMMA = 1u;
const HAS_BETA = 2u;

@group(0) @binding(1) var<storage, read> input: array<f32>; // [outer, len, inner]
@group(0) @binding(2) var<storage, read> gamma: array<f32>; // [len]
@group(0) @binding(3) var<storage, read> beta: array<f32>; // [len]
@group(0) @binding(4) var<storage, read_write> output: array<f32>; // [outer, len, inner]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let line = line_of(id, count, index);
    let start = line_start(line);
    var sum = 0.0;
    for (var k = index % params.width; k < params.len; k += params.width) {
        sum += input[start + k * params.inner];
    }
    let mean = line_sum(sum, index) / f32(params.len);
    var squares = 0.0;
    for (var k = index % params.width; k < params.len; k += params.width) {
        let centred = input[start + k * params.inner] - mean;
        squares = fma(centred, centred, squares);
    }
    let deviation = sqrt(line_sum(squares, index) / f32(params.len) + params.epsilon);
    if (line >= params.lines) {
        return;
    }
    for (var k = index % params.width; k < params.len; k += params.width) {
        let at = start + k * params.inner;
        var y = (input[at] - mean) / deviation;
        if ((params.flags & HAS_GAMMA) != 0u) {
            y = y * gamma[k];
        }
        if ((params.flags & HAS_BETA) != 0u) {
            y = y + beta[k];
        }
        output[at] = y;
    }
}
