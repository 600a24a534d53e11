// What the kernels share that reduce one line of [outer, len, inner] per workgroup.

struct Params {
    lines: u32,  // outer * inner
    len: u32,
    inner: u32,
    flags: u32,
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;

const WORKGROUP = 256u;

var<workgroup> line_tile: array<f32, 256>; // [WORKGROUP]

fn line_start(line: u32) -> u32 {
    return line / params.inner * params.len * params.inner + line % params.inner;
}

// The sum of every invocation's value, in a fixed tree.
fn line_sum(value: f32, index: u32) -> f32 {
    workgroupBarrier();
    line_tile[index] = value;
    for (var half = WORKGROUP / 2u; half > 0u; half = half / 2u) {
        workgroupBarrier();
        if (index < half) {
            line_tile[index] = line_tile[index] + line_tile[index + half];
        }
    }
    workgroupBarrier();
    return line_tile[0];
}
