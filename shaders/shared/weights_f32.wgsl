// Weights stored as f32.
@group(0) @binding(1) var<storage, read> weights: array<vec4<f32>>; // packed, four values each

fn load_weight(index: u32) -> vec4<f32> {
    return weights[index];
}
