// Reduces the middle axis of [outer, len, inner] in order, skipping dead positions.

// 0: sum, 1: mean, 2: maximum, 3: minimum (NaN if any is).
override OPERATION: u32 = 0u;

struct Params {
    count: u32,    // outer * inner
    len: u32,
    inner: u32,
    has_mask: u32,
    first: f32,    // what the extreme of nothing is, -inf or inf, which WGSL cannot spell
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>; // [outer, len, inner]
@group(0) @binding(2) var<storage, read> mask: array<f32>; // [outer, len]
@group(0) @binding(3) var<storage, read_write> output: array<f32>; // [outer, inner]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let i = workgroup_index(id, count) * 256u + index;
    if (i >= params.count) {
        return;
    }
    let outer = i / params.inner;
    let first = outer * params.len * params.inner + i % params.inner;
    var sum = 0.0;
    var extreme = params.first;
    var live = 0u;
    for (var k = 0u; k < params.len; k++) {
        if (params.has_mask != 0u) {
            if (mask[outer * params.len + k] == 0.0) {
                continue;
            }
        }
        let x = input[first + k * params.inner];
        live++;
        if (OPERATION >= 2u) {
            let beyond = select(x > extreme, x < extreme, OPERATION == 3u);
            let keep = is_nan(vec4<f32>(extreme)).x || !(beyond || is_nan(vec4<f32>(x)).x);
            extreme = select(x, extreme, keep);
        } else {
            sum += x;
        }
    }
    if (OPERATION == 1u) {
        sum = sum / f32(live);
    }
    output[i] = select(sum, extreme, OPERATION >= 2u);
}
