// 1 where any of `width` consecutive values differs from `value` (a NaN differs), else 0. Compares bits, since a device
// may take a denormal number for zero; both zeros are equal.

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
    let value = bitcast<u32>(params.value);
    var differs = is_nan(vec4<f32>(params.value)).x;
    for (var k = 0u; k < params.width; k++) {
        let x = bitcast<u32>(input[i * params.width + k]);
        differs = differs || (x != value && ((x | value) & 0x7fffffffu) != 0u);
    }
    output[i] = select(0.0, 1.0, differs);
}
