//! The gated recurrent unit that resets the hidden state before the recurrent product (Cho et al.
//! 2014, Keras' `reset_after=False`, ONNX `linear_before_reset=0`):
//!
//! ```text
//! r = gate(x_r + weight_hr h)   z = gate(x_z + weight_hz h)   n = candidate(x_n + weight_hn (r h))
//! h' = z h + (1 - z) n
//! ```
//!
//! The driver takes the product of the new gate with `r h`: `gates_h` of that gate arrives so.

use super::{CellParams, CellSpec, MAX_PEEPHOLES, Reset, Row, UpdateRows, update_row};
use crate::activation::{Activation, sigmoid_f32, tanh_f32};

const RESET: usize = 0;
const UPDATE: usize = 1;
const NEW: usize = 2;

pub(super) static SPEC: CellSpec = CellSpec {
    name: "gru_reset_before",
    gates: &["reset", "update", "new"],
    states: &["hidden_state"],
    reset: Some(Reset { gate: RESET, target: NEW }),
    peepholes: &[],
    can_couple: false,
    can_project: false,
    wgsl: include_str!("../../shaders/cell/gru_reset_before.wgsl"),
    update,
    update_row: update_row::<GruResetBefore>,
};

fn update(x: &[f64], h: &[f64], state: &mut [f64], _: Option<[f64; MAX_PEEPHOLES]>, p: &CellParams) {
    let update = p.gate_f64(x[UPDATE] + h[UPDATE]);
    let new = p.candidate_f64(x[NEW] + h[NEW]);
    state[0] = update * state[0] + (1.0 - update) * new;
}

struct GruResetBefore;

impl UpdateRows for GruResetBefore {
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
    let (x_update, x_new) = (&x[UPDATE * hidden..][..hidden], &x[NEW * hidden..][..hidden]);
    let (h_update, h_new) = (&h[UPDATE * hidden..][..hidden], &h[NEW * hidden..][..hidden]);
    for unit in 0..hidden {
        let update = gate(x_update[unit] + h_update[unit]);
        let new = candidate(x_new[unit] + h_new[unit]);
        state[unit] = update * state[unit] + (1.0 - update) * new;
    }
}
