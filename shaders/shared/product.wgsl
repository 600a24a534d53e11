// Rows times four consecutive weights of one output.

// `sum[row] += w[k] * x_k[row]`, k ascending. The explicit fma fixes the rounding: every kernel that
// adds the same terms in the same order gives the same bits.
fn multiply_add(sum: Rows, w: vec4<f32>, x0: Rows, x1: Rows, x2: Rows, x3: Rows) -> Rows {
    var s = fma(Rows(w.x), x0, sum);
    s = fma(Rows(w.y), x1, s);
    s = fma(Rows(w.z), x2, s);
    return fma(Rows(w.w), x3, s);
}
