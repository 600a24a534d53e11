//! The simple RNN (Elman 1990): `h' = f(gates_x + gates_h)`.

use super::{CellParams, CellSpec, Gates, MAX_PEEPHOLES, MAX_STATES, VectorCell};
use crate::simd::Simd;

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
};

fn update(x: &[f64], h: &[f64], state: &mut [f64], _: Option<[f64; MAX_PEEPHOLES]>, p: &CellParams) {
    state[0] = p.candidate_f64(x[0] + h[0]);
}

pub(super) struct Rnn;

impl VectorCell for Rnn {
    const SPEC: &'static CellSpec = &SPEC;

    #[inline(always)]
    fn update<S: Simd>(
        s: S,
        gates: &Gates<'_>,
        [_, unused]: [S::Lanes; MAX_STATES],
        p: &CellParams,
    ) -> [S::Lanes; MAX_STATES] {
        [p.candidate(s, gates.sum(s, 0)), unused]
    }
}
