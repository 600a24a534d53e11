//! Long short-term memory (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000):
//!
//! ```text
//! i = gate(x_i + h_i)   f = gate(x_f + h_f)   g = candidate(x_g + h_g)   o = gate(x_o + h_o)
//! c' = f c + i g        h' = o output(c')
//! ```

use super::{CellParams, CellSpec};

const INPUT: usize = 0;
const FORGET: usize = 1;
const CELL: usize = 2;
const OUTPUT: usize = 3;

pub(super) static SPEC: CellSpec = CellSpec {
    name: "lstm",
    gates: &["input", "forget", "cell", "output"],
    states: &["hidden_state", "cell_state"],
    reset: None,
    wgsl: include_str!("../../shaders/cell/lstm.wgsl"),
    update,
    update_row,
};

fn update(x: &[f64], h: &[f64], state: &mut [f64], p: &CellParams) {
    let input = p.gate.apply_f64(x[INPUT] + h[INPUT]);
    let forget = p.gate.apply_f64(x[FORGET] + h[FORGET]);
    let candidate = p.candidate.apply_f64(x[CELL] + h[CELL]);
    let output = p.gate.apply_f64(x[OUTPUT] + h[OUTPUT]);
    state[1] = forget * state[1] + input * candidate;
    state[0] = output * p.output.apply_f64(state[1]);
}

fn update_row(x: &[f32], h: &[f32], state: &mut [f32], p: &CellParams) {
    let hidden = state.len() / 2;
    let (hidden_state, cell_state) = state.split_at_mut(hidden);
    for unit in 0..hidden {
        let pre = |gate: usize| x[gate * hidden + unit] + h[gate * hidden + unit];
        let input = p.gate.apply_f32(pre(INPUT));
        let forget = p.gate.apply_f32(pre(FORGET));
        let candidate = p.candidate.apply_f32(pre(CELL));
        let output = p.gate.apply_f32(pre(OUTPUT));
        cell_state[unit] = forget * cell_state[unit] + input * candidate;
        hidden_state[unit] = output * p.output.apply_f32(cell_state[unit]);
    }
}
