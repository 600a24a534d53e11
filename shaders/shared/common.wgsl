// What every kernel needs: its place in a folded dispatch and a test for NaN that holds on every driver.

// Workgroups beyond 65535 are folded into y and z; this is the place in the unfolded row.
fn workgroup_index(id: vec3<u32>, count: vec3<u32>) -> u32 {
    return id.x + count.x * (id.y + count.y * id.z);
}

// `x != x` is false for NaN where a driver assumes that there are none, so the bits are tested.
fn is_nan(x: Rows) -> RowFlags {
    return (bitcast<RowBits>(x) & RowBits(0x7fffffffu)) > RowBits(0x7f800000u);
}

// NaN where `x` is infinite or NaN, made of bits so that no compiler can reason it away.
fn nan_like(x: Rows) -> Rows {
    return bitcast<Rows>(bitcast<RowBits>(x) | RowBits(0x7fc00000u));
}
