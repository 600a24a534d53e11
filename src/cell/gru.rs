//! The gated recurrent unit that resets after the recurrent product (cuDNN, PyTorch, Keras'
//! `reset_after=True`, ONNX `linear_before_reset=1`):
//!
//! ```text
//! r = gate(x_r + h_r)   z = gate(x_z + h_z)   n = candidate(x_n + r h_n)
//! h' = z h + (1 - z) n
//! ```

use super::{CellParams, CellSpec, Gates, MAX_PEEPHOLES, MAX_STATES, VectorCell};
use crate::simd::Simd;

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
};

fn update(x: &[f64], h: &[f64], state: &mut [f64], _: Option<[f64; MAX_PEEPHOLES]>, p: &CellParams) {
    let reset = p.gate_f64(x[RESET] + h[RESET]);
    let update = p.gate_f64(x[UPDATE] + h[UPDATE]);
    let new = p.candidate_f64(x[NEW] + reset * h[NEW]);
    state[0] = update * state[0] + (1.0 - update) * new;
}

pub(super) struct Gru;

impl VectorCell for Gru {
    const SPEC: &'static CellSpec = &SPEC;

    #[inline(always)]
    fn update<S: Simd>(
        s: S,
        gates: &Gates<'_>,
        [h, unused]: [S::Lanes; MAX_STATES],
        p: &CellParams,
    ) -> [S::Lanes; MAX_STATES] {
        let reset = p.gate(s, gates.sum(s, RESET));
        let update = p.gate(s, gates.sum(s, UPDATE));
        let new = p.candidate(s, s.mul_add(reset, gates.h(s, NEW), gates.x(s, NEW)));
        [s.mul_add(update, h, s.mul(s.sub(s.splat(1.0), update), new)), unused]
    }
}
