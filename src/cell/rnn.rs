//! The simple RNN (Elman 1990): `h' = f(gates_x + gates_h)`.

use super::{CellParams, CellSpec, MAX_PEEPHOLES, Row, UpdateRows, update_row};
use crate::activation::{Activation, tanh_f32};

pub(super) static SPEC: CellSpec = CellSpec {
    name: "rnn",
    gates: &["hidden"],
    states: &["hidden_state"],
    reset: None,
    peepholes: &[],
    can_couple: false,
    can_project: false,
    wgsl: include_str!("../../shaders/cell/rnn.wgsl"),
    update,
    update_row: update_row::<Rnn>,
};

fn update(x: &[f64], h: &[f64], state: &mut [f64], _: Option<[f64; MAX_PEEPHOLES]>, p: &CellParams) {
    state[0] = p.candidate_f64(x[0] + h[0]);
}

struct Rnn;

impl UpdateRows for Rnn {
    #[inline(always)]
    fn row(row: Row<'_>) {
        let Row { x, h, state, p, .. } = row;
        match (p.candidate, p.clip) {
            (Activation::Tanh, None) => units(x, h, state, tanh_f32),
            _ => units(x, h, state, |v| p.candidate_f32(v)),
        }
    }
}

#[inline(always)]
fn units(
    x: &[f32],         // [hidden_size]
    h: &[f32],         // [hidden_size]
    state: &mut [f32], // [hidden_size]
    candidate: impl Fn(f32) -> f32,
) {
    for ((state, x), h) in state.iter_mut().zip(x).zip(h) {
        *state = candidate(x + h);
    }
}
