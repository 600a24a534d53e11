// Weights stored as int8, four to a word, with a scale for each row. Sums are of the integers, and are scaled once.
@group(0) @binding(1) var<storage, read> weights: array<u32>; // packed, four values each, then scales

const SCALE_GROUPS = 1u; // groups of inputs whose place the scales of a matrix take

fn load_weight(index: u32) -> vec4<f32> {
    return vec4<f32>(unpack4xI8(weights[index]));
}

fn load_scale(index: u32) -> f32 {
    return bitcast<f32>(weights[index]);
}

// The explicit fma fixes the rounding for all kernels.
fn scaled(sum: Rows, scale: f32, bias: f32) -> Rows {
    return fma(sum, Rows(scale), Rows(bias));
}
