// output[.., i, ..] = start + step * i along the middle axis of [outer, len, inner].

struct Params {
    count: u32, // outer * len * inner
    len: u32,
    inner: u32,
    start: f32,
    step: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> output: array<f32>; // [outer, len, inner]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let i = workgroup_index(id, count) * 256u + index;
    if (i >= params.count) {
        return;
    }
    output[i] = fma(params.step, f32(i / params.inner % params.len), params.start);
}
