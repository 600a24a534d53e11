//! The simple RNN (Elman 1990): `h' = f(gates_x + gates_h)`.

use super::{CellParams, CellSpec};

pub(super) static SPEC: CellSpec = CellSpec {
    name: "rnn",
    gates: &["hidden"],
    states: &["hidden_state"],
    reset: None,
    wgsl: include_str!("../../shaders/cell/rnn.wgsl"),
    update,
    update_row,
};

fn update(x: &[f64], h: &[f64], state: &mut [f64], p: &CellParams) {
    state[0] = p.candidate.apply_f64(x[0] + h[0]);
}

fn update_row(x: &[f32], h: &[f32], state: &mut [f32], p: &CellParams) {
    for ((state, x), h) in state.iter_mut().zip(x).zip(h) {
        *state = p.candidate.apply_f32(x + h);
    }
}
