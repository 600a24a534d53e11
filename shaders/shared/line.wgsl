// What the kernels share that reduce lines of [outer, len, inner]. A line has `width` invocations, by its
// length alone, so that its bits do not depend on the other lines.

struct Params {
    lines: u32,  // outer * inner
    len: u32,
    inner: u32,
    flags: u32,
    width: u32,  // a power of two up to WORKGROUP
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;

const WORKGROUP = 256u;

var<workgroup> line_tile: array<f32, 256>; // [WORKGROUP]

// The line of this invocation; may be past the last one.
fn line_of(id: vec3<u32>, count: vec3<u32>, index: u32) -> u32 {
    return workgroup_index(id, count) * (WORKGROUP / params.width) + index / params.width;
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
    for (var half = params.width / 2u; half > 0u; half = half / 2u) {
        workgroupBarrier();
        if (index % params.width < half) {
            line_tile[index] = line_tile[index] + line_tile[index + half];
        }
    }
    workgroupBarrier();
    return line_tile[index - index % params.width];
}
