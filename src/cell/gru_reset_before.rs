//! The gated recurrent unit that resets the hidden state before the recurrent product (Cho et al.
//! 2014, Keras' `reset_after=False`, ONNX `linear_before_reset=0`):
//!
//! ```text
//! r = gate(x_r + weight_hr h)   z = gate(x_z + weight_hz h)   n = candidate(x_n + weight_hn (r h))
//! h' = z h + (1 - z) n
//! ```
//!
//! The driver takes the product of the new gate with `r h`: `gates_h` of that gate arrives so.

use super::{CellParams, CellSpec, Gates, MAX_PEEPHOLES, MAX_STATES, Reset, VectorCell};
use crate::simd::Simd;

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
};

fn update(x: &[f64], h: &[f64], state: &mut [f64], _: Option<[f64; MAX_PEEPHOLES]>, p: &CellParams) {
    let update = p.gate_f64(x[UPDATE] + h[UPDATE]);
    let new = p.candidate_f64(x[NEW] + h[NEW]);
    state[0] = update * state[0] + (1.0 - update) * new;
}

pub(super) struct GruResetBefore;

impl VectorCell for GruResetBefore {
    const SPEC: &'static CellSpec = &SPEC;

    #[inline(always)]
    fn update<S: Simd>(
        s: S,
        gates: &Gates<'_>,
        [h, unused]: [S::Lanes; MAX_STATES],
        p: &CellParams,
    ) -> [S::Lanes; MAX_STATES] {
        let update = p.gate(s, gates.sum(s, UPDATE));
        let new = p.candidate(s, gates.sum(s, NEW));
        [s.mul_add(update, h, s.mul(s.sub(s.splat(1.0), update), new)), unused]
    }
}
