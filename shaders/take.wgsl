// output[b, i, ..] = input[b, index[b, i], ..]; indices rounded, those outside moved to the nearest end.

struct Params {
    count: u32, // rows * taken * width
    len: u32,
    taken: u32,
    width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>; // [rows, len, width]
@group(0) @binding(2) var<storage, read> indices: array<f32>; // [rows, taken]
@group(0) @binding(3) var<storage, read_write> output: array<f32>; // [rows, taken, width]

// The largest index that f32 counts exactly and u32 holds for certain.
const LARGEST = 2147483520.0;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let i = workgroup_index(id, count) * 256u + index;
    if (i >= params.count) {
        return;
    }
    let row = i / params.width / params.taken;
    let x = indices[i / params.width];
    // Comparisons that hold for numbers only: NaN is 0.
    var at = 0u;
    if (x > 0.0 && !is_nan(vec4<f32>(x)).x) {
        at = min(u32(round(min(x, LARGEST))), params.len - 1u);
    }
    output[i] = input[(row * params.len + at) * params.width + i % params.width];
}
