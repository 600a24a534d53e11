//! Long short-term memory (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000):
//!
//! ```text
//! i = gate(x_i + h_i)   f = gate(x_f + h_f)   g = candidate(x_g + h_g)   o = gate(x_o + h_o)
//! c' = f c + i g        h' = o output(c')
//! ```

use super::{CellParams, CellSpec};
use crate::{
    activation::{Activation, sigmoid_f32, tanh_f32},
    simd::wide,
};

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
    use Activation::{Sigmoid, Tanh};
    wide(|| match (p.gate, p.candidate, p.output) {
        (Sigmoid, Tanh, Tanh) => units(x, h, state, sigmoid_f32, tanh_f32, tanh_f32),
        _ => units(x, h, state, |v| p.gate.apply_f32(v), |v| p.candidate.apply_f32(v), |v| p.output.apply_f32(v)),
    });
}

#[inline(always)]
fn units(
    x: &[f32],         // [gates, hidden_size]
    h: &[f32],         // [gates, hidden_size]
    state: &mut [f32], // [states, hidden_size]
    gate: impl Fn(f32) -> f32,
    candidate: impl Fn(f32) -> f32,
    output: impl Fn(f32) -> f32,
) {
    let hidden = state.len() / 2;
    let (hidden_state, cell_state) = state.split_at_mut(hidden);
    let cell_state = &mut cell_state[..hidden];
    let x = |gate: usize| &x[gate * hidden..][..hidden];
    let h = |gate: usize| &h[gate * hidden..][..hidden];
    let (x_input, x_forget, x_cell, x_output) = (x(INPUT), x(FORGET), x(CELL), x(OUTPUT));
    let (h_input, h_forget, h_cell, h_output) = (h(INPUT), h(FORGET), h(CELL), h(OUTPUT));
    for unit in 0..hidden {
        let input = gate(x_input[unit] + h_input[unit]);
        let forget = gate(x_forget[unit] + h_forget[unit]);
        let candidate = candidate(x_cell[unit] + h_cell[unit]);
        let out = gate(x_output[unit] + h_output[unit]);
        let c = forget * cell_state[unit] + input * candidate;
        cell_state[unit] = c;
        hidden_state[unit] = out * output(c);
    }
}
