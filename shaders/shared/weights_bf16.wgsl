// Weights stored as bf16, the upper halves of f32s, two to a word; needs no device feature.
@group(0) @binding(1) var<storage, read> weights: array<vec2<u32>>; // packed, four values each

fn load_weight(index: u32) -> vec4<f32> {
    let pair = weights[index];
    return bitcast<vec4<f32>>(vec4<u32>(pair.x << 16u, pair.x & 0xffff0000u, pair.y << 16u, pair.y & 0xffff0000u));
}
