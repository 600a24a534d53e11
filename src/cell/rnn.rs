//! The simple RNN (Elman 1990): `h' = f(gates_x + gates_h)`.

use super::{CellParams, CellSpec};
use crate::{
    activation::{Activation, tanh_f32},
    simd::wide,
};

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
    wide(|| match p.candidate {
        Activation::Tanh => units(x, h, state, tanh_f32),
        other => units(x, h, state, |v| other.apply_f32(v)),
    });
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
