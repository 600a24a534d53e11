// What of a cell a model chose, fixed when its pipeline is made: the rest is dead code there.
override clip_bound: f32 = 0.0; // of what gate and candidate are given; 0: none
override coupled: u32 = 0u;     // 1: the forget gate is one minus the input gate
override peepholes: u32 = 0u;   // 1: gates see the cell state
override gate_kind: u32 = 1u;
override gate_a: f32 = 0.0;
override gate_b: f32 = 0.0;
override gate_c: f32 = 0.0;
override candidate_kind: u32 = 2u;
override candidate_a: f32 = 0.0;
override candidate_b: f32 = 0.0;
override candidate_c: f32 = 0.0;
override output_kind: u32 = 2u;
override output_a: f32 = 0.0;
override output_b: f32 = 0.0;
override output_c: f32 = 0.0;

// A NaN stays one.
fn clipped(x: Rows) -> Rows {
    if (clip_bound == 0.0) {
        return x;
    }
    return select(clamp(x, Rows(-clip_bound), Rows(clip_bound)), x, is_nan(x));
}

fn gate_activation(x: Rows) -> Rows {
    return activate(gate_kind, gate_a, gate_b, gate_c, clipped(x));
}

fn candidate_activation(x: Rows) -> Rows {
    return activate(candidate_kind, candidate_a, candidate_b, candidate_c, clipped(x));
}

// `sum` with what a gate sees of the cell state.
fn with_peephole(sum: Rows, weight: f32, cell_state: Rows) -> Rows {
    if (peepholes == 0u) {
        return sum;
    }
    return fma(Rows(weight), cell_state, sum);
}

fn output_activation(x: Rows) -> Rows {
    return activate(output_kind, output_a, output_b, output_c, x);
}
