//! The gated recurrent unit that resets after the recurrent product (cuDNN, PyTorch, Keras'
//! `reset_after=True`, ONNX `linear_before_reset=1`):
//!
//! ```text
//! r = gate(x_r + h_r)   z = gate(x_z + h_z)   n = candidate(x_n + r h_n)
//! h' = z h + (1 - z) n
//! ```

use super::{CellParams, CellSpec};

const RESET: usize = 0;
const UPDATE: usize = 1;
const NEW: usize = 2;

pub(super) static SPEC: CellSpec = CellSpec {
    name: "gru",
    gates: &["reset", "update", "new"],
    states: &["hidden_state"],
    reset: None,
    wgsl: include_str!("../../shaders/cell/gru.wgsl"),
    update,
    update_row,
};

fn update(x: &[f64], h: &[f64], state: &mut [f64], p: &CellParams) {
    let reset = p.gate.apply_f64(x[RESET] + h[RESET]);
    let update = p.gate.apply_f64(x[UPDATE] + h[UPDATE]);
    let new = p.candidate.apply_f64(x[NEW] + reset * h[NEW]);
    state[0] = update * state[0] + (1.0 - update) * new;
}

fn update_row(x: &[f32], h: &[f32], state: &mut [f32], p: &CellParams) {
    let hidden = state.len();
    for (unit, state) in state.iter_mut().enumerate() {
        let at = |gate: usize| gate * hidden + unit;
        let reset = p.gate.apply_f32(x[at(RESET)] + h[at(RESET)]);
        let update = p.gate.apply_f32(x[at(UPDATE)] + h[at(UPDATE)]);
        let new = p.candidate.apply_f32(x[at(NEW)] + reset * h[at(NEW)]);
        *state = update * *state + (1.0 - update) * new;
    }
}
