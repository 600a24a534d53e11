// 1 where any of `width` consecutive values differs from `value` (a NaN differs), else 0.

struct Params {
    count: u32,
    width: u32,
    value: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>; // [count, width]
@group(0) @binding(2) var<storage, read_write> output: array<f32>; // [count]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let i = workgroup_index(id, count) * 256u + index;
    if (i >= params.count) {
        return;
    }
    var differs = is_nan(vec4<f32>(params.value)).x;
    for (var k = 0u; k < params.width; k++) {
        let x = input[i * params.width + k];
        differs = differs || x != params.value || is_nan(vec4<f32>(x)).x;
    }
    output[i] = select(0.0, 1.0, differs);
}
