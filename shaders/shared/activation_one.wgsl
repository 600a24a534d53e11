// The one function of a kernel, fixed when its pipeline is made: the others are dead code there.
override activation_kind: u32 = 0u;
override activation_a: f32 = 0.0;
override activation_b: f32 = 0.0;
override activation_c: f32 = 0.0;

fn activation(x: Rows) -> Rows {
    return activate(activation_kind, activation_a, activation_b, activation_c, x);
}
