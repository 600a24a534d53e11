//! Long short-term memory (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000):
//!
//! ```text
//! i = gate(x_i + h_i)   f = gate(x_f + h_f)   g = candidate(x_g + h_g)   o = gate(x_o + h_o)
//! c' = f c + i g        h' = o output(c')
//! ```
//!
//! With peepholes (Gers & Schmidhuber 2000) `i` and `f` see the old cell state, `o` the new one:
//! `i = gate(x_i + h_i + p_i c)`, `f = gate(x_f + h_f + p_f c)`, `o = gate(x_o + h_o + p_o c')`. Coupled,
//! `f = 1 - i`.

use super::{CellParams, CellSpec, Gates, MAX_PEEPHOLES, MAX_STATES, VectorCell};
use crate::simd::Simd;

const INPUT: usize = 0;
const FORGET: usize = 1;
const CELL: usize = 2;
const OUTPUT: usize = 3;

const PEEPHOLE_INPUT: usize = 0;
const PEEPHOLE_FORGET: usize = 1;
const PEEPHOLE_OUTPUT: usize = 2;

pub(super) static SPEC: CellSpec = CellSpec {
    name: "lstm",
    gates: &["input", "forget", "cell", "output"],
    states: &["hidden_state", "cell_state"],
    reset: None,
    peepholes: &["input", "forget", "output"],
    can_couple: true,
    can_project: true,
    wgsl: include_str!("../../shaders/cell/lstm.wgsl"),
    update,
};

fn update(x: &[f64], h: &[f64], state: &mut [f64], peephole: Option<[f64; MAX_PEEPHOLES]>, p: &CellParams) {
    // Left out where there are none: nothing times infinity is no nothing.
    let seen = |which: usize, c: f64| peephole.map_or(0.0, |weights| weights[which] * c);
    let input = p.gate_f64(x[INPUT] + h[INPUT] + seen(PEEPHOLE_INPUT, state[1]));
    let forget = match p.coupled {
        false => p.gate_f64(x[FORGET] + h[FORGET] + seen(PEEPHOLE_FORGET, state[1])),
        true => 1.0 - input,
    };
    let candidate = p.candidate_f64(x[CELL] + h[CELL]);
    state[1] = forget * state[1] + input * candidate;
    let output = p.gate_f64(x[OUTPUT] + h[OUTPUT] + seen(PEEPHOLE_OUTPUT, state[1]));
    state[0] = output * p.output.apply_f64(state[1]);
}

pub(super) struct Lstm;

impl VectorCell for Lstm {
    const SPEC: &'static CellSpec = &SPEC;

    #[inline(always)]
    fn update<S: Simd>(
        s: S,
        gates: &Gates<'_>,
        [_, c]: [S::Lanes; MAX_STATES],
        p: &CellParams,
    ) -> [S::Lanes; MAX_STATES] {
        let input = p.gate(s, gates.sum_seen(s, INPUT, PEEPHOLE_INPUT, c));
        let forget = match p.coupled {
            false => p.gate(s, gates.sum_seen(s, FORGET, PEEPHOLE_FORGET, c)),
            true => s.sub(s.splat(1.0), input),
        };
        let candidate = p.candidate(s, gates.sum(s, CELL));
        let c = s.mul_add(forget, c, s.mul(input, candidate));
        let output = p.gate(s, gates.sum_seen(s, OUTPUT, PEEPHOLE_OUTPUT, c));
        [s.mul(output, p.output.lanes(s, c)), c]
    }
}
