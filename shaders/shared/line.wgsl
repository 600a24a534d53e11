// What the kernels share that reduce lines of [outer, len, inner]. WIDTH invocations take a line, chosen
// by its length alone, so that a line's bits do not depend on the others.

struct Params {
    lines: u32,  // outer * inner
    len: u32,
    inner: u32,
    flags: u32,
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;

const WORKGROUP = 256u;
override WIDTH: u32 = 256u;

var<workgroup> line_tile: array<f32, 256>; // [WORKGROUP]

// The line of this invocation; may be past the last one.
fn line_of(id: vec3<u32>, count: vec3<u32>, index: u32) -> u32 {
    return workgroup_index(id, count) * (WORKGROUP / WIDTH) + index / WIDTH;
}

// First element of the line, or of the last one.
fn line_start(line: u32) -> u32 {
    let present = min(line, params.lines - 1u);
    return present / params.inner * params.len * params.inner + present % params.inner;
}

// The sum of the values of a line's invocations, in a fixed tree.
fn line_sum(value: f32, index: u32) -> f32 {
    workgroupBarrier();
    line_tile[index] = value;
    for (var half = WIDTH / 2u; half > 0u; half = half / 2u) {
        workgroupBarrier();
        if (index % WIDTH < half) {
            line_tile[index] = line_tile[index] + line_tile[index + half];
        }
    }
    workgroupBarrier();
    return line_tile[index - index % WIDTH];
}
