// The same with products and sums of four in f16, which join an f32 sum. Needs the f16 extension.

fn multiply_add(sum: Rows, w: vec4<f32>, x0: Rows, x1: Rows, x2: Rows, x3: Rows) -> Rows {
    let v = vec4<f16>(w);
    var s = HalfRows(v.x) * HalfRows(x0);
    s = fma(HalfRows(v.y), HalfRows(x1), s);
    s = fma(HalfRows(v.z), HalfRows(x2), s);
    return sum + Rows(fma(HalfRows(v.w), HalfRows(x3), s));
}
