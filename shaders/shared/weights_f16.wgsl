// Weights stored as f16, two to a word; needs no device feature.
@group(0) @binding(1) var<storage, read> weights: array<vec2<u32>>; // packed, four values each

fn load_weight(index: u32) -> vec4<f32> {
    let pair = weights[index];
    return vec4<f32>(unpack2x16float(pair.x), unpack2x16float(pair.y));
}
