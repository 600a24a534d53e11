// Softmax, or its logarithm, along the middle axis of [outer, len, inner]; the maximum subtracted.

const LOG = 1u;

@group(0) @binding(1) var<storage, read> input: array<f32>; // [outer, len, inner]
@group(0) @binding(2) var<storage, read_write> output: array<f32>; // [outer, len, inner]

// The largest value of a line's invocations. A NaN may get lost here: the sum brings it back.
fn line_max(value: f32, index: u32) -> f32 {
    workgroupBarrier();
    line_tile[index] = value;
    for (var half = params.width / 2u; half > 0u; half = half / 2u) {
        workgroupBarrier();
        if (index % params.width < half) {
            line_tile[index] = max(line_tile[index], line_tile[index + half]);
        }
    }
    workgroupBarrier();
    return line_tile[index - index % params.width];
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let line = line_of(id, count, index);
    let start = line_start(line);
    var largest = input[start];
    for (var k = index % params.width; k < params.len; k += params.width) {
        largest = max(largest, input[start + k * params.inner]);
    }
    largest = line_max(largest, index);
    var sum = 0.0;
    for (var k = index % params.width; k < params.len; k += params.width) {
        // NaN where the largest is infinite, too. Some driver's exp and log make numbers of it.
        let x = input[start + k * params.inner] - largest;
        sum += select(exp(x), x, is_nan(vec4<f32>(x)).x);
    }
    sum = line_sum(sum, index);
    if (line >= params.lines) {
        return;
    }
    for (var k = index % params.width; k < params.len; k += params.width) {
        let at = start + k * params.inner;
        let x = input[at] - largest;
        if ((params.flags & LOG) != 0u) {
            output[at] = x - select(log(sum), sum, is_nan(vec4<f32>(sum)).x);
        } else {
            output[at] = exp(x) / sum;
        }
    }
}
