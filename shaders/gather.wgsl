// output[row, e] = table[ids[row], e], for the ids in one window of the table.

struct Params {
    count: u32,     // rows * width
    width: u32,
    first_id: u32,  // the window of ids that `weights` holds
    ids: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// @binding(1) weights: [ids, width], rows on end, padded to a multiple of four values, scales [ids]
@group(0) @binding(2) var<storage, read> ids: array<f32>; // [rows]
@group(0) @binding(3) var<storage, read_write> output: array<f32>; // [rows, width]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let i = workgroup_index(id, count) * 256u + index;
    if (i >= params.count) {
        return;
    }
    let token = u32(ids[i / params.width]);
    if (token < params.first_id || token - params.first_id >= params.ids) {
        return;
    }
    let row = token - params.first_id;
    let at = row * params.width + i % params.width;
    let scale = load_scale((params.ids * params.width + 3u) / 4u + row);
    output[i] = load_weight(at / 4u)[at % 4u] * scale;
}
