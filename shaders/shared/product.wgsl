// Four rows times four consecutive weights of one output.

// `sum[row] += w[k] * x_k[row]`, k ascending. The explicit fma fixes the rounding: every kernel that
// adds the same terms in the same order gives the same bits.
fn multiply_add(sum: vec4<f32>, w: vec4<f32>, x0: vec4<f32>, x1: vec4<f32>, x2: vec4<f32>, x3: vec4<f32>) -> vec4<f32> {
    var s = fma(vec4<f32>(w.x), x0, sum);
    s = fma(vec4<f32>(w.y), x1, s);
    s = fma(vec4<f32>(w.z), x2, s);
    return fma(vec4<f32>(w.w), x3, s);
}
