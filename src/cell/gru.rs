//! The gated recurrent unit that resets after the recurrent product (cuDNN, PyTorch, Keras'
//! `reset_after=True`, ONNX `linear_before_reset=1`):
//!
//! ```text
//! r = gate(x_r + h_r)   z = gate(x_z + h_z)   n = candidate(x_n + r h_n)
//! h' = z h + (1 - z) n
//! ```

use super::{CellParams, CellSpec, MAX_PEEPHOLES, Row, UpdateRows, update_row};
use crate::activation::{Activation, sigmoid_f32, tanh_f32};

const RESET: usize = 0;
const UPDATE: usize = 1;
const NEW: usize = 2;

pub(super) static SPEC: CellSpec = CellSpec {
    name: "gru",
    gates: &["reset", "update", "new"],
    states: &["hidden_state"],
    reset: None,
    peepholes: &[],
    can_couple: false,
    can_project: false,
    wgsl: include_str!("../../shaders/cell/gru.wgsl"),
    update,
    update_row: update_row::<Gru>,
};

fn update(x: &[f64], h: &[f64], state: &mut [f64], _: Option<[f64; MAX_PEEPHOLES]>, p: &CellParams) {
    let reset = p.gate_f64(x[RESET] + h[RESET]);
    let update = p.gate_f64(x[UPDATE] + h[UPDATE]);
    let new = p.candidate_f64(x[NEW] + reset * h[NEW]);
    state[0] = update * state[0] + (1.0 - update) * new;
}

struct Gru;

impl UpdateRows for Gru {
    #[inline(always)]
    fn row(row: Row<'_>) {
        let Row { x, h, state, p, .. } = row;
        match (p.gate, p.candidate, p.clip) {
            (Activation::Sigmoid, Activation::Tanh, None) => units(x, h, state, sigmoid_f32, tanh_f32),
            _ => units(x, h, state, |v| p.gate_f32(v), |v| p.candidate_f32(v)),
        }
    }
}

#[inline(always)]
fn units(
    x: &[f32],         // [gates, hidden_size]
    h: &[f32],         // [gates, hidden_size]
    state: &mut [f32], // [hidden_size]
    gate: impl Fn(f32) -> f32,
    candidate: impl Fn(f32) -> f32,
) {
    let hidden = state.len();
    let x = |gate: usize| &x[gate * hidden..][..hidden];
    let h = |gate: usize| &h[gate * hidden..][..hidden];
    let (x_reset, x_update, x_new) = (x(RESET), x(UPDATE), x(NEW));
    let (h_reset, h_update, h_new) = (h(RESET), h(UPDATE), h(NEW));
    for unit in 0..hidden {
        let reset = gate(x_reset[unit] + h_reset[unit]);
        let update = gate(x_update[unit] + h_update[unit]);
        let new = candidate(x_new[unit] + reset * h_new[unit]);
        state[unit] = update * state[unit] + (1.0 - update) * new;
    }
}
