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

use super::{CellParams, CellSpec, MAX_PEEPHOLES, Row, UpdateRows, update_row};
use crate::activation::{Activation, sigmoid_f32, tanh_f32};

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
    update_row: update_row::<Lstm>,
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

struct Lstm;

impl UpdateRows for Lstm {
    #[inline(always)]
    fn row(row: Row<'_>) {
        let Row { x, h, state, peephole, p } = row;
        use Activation::{Sigmoid, Tanh};
        let common = peephole.is_none() && p.clip.is_none() && !p.coupled;
        match (p.gate, p.candidate, p.output) {
            (Sigmoid, Tanh, Tanh) if common => units(x, h, state, None, false, sigmoid_f32, tanh_f32, tanh_f32),
            _ => {
                let functions = (|v| p.gate_f32(v), |v| p.candidate_f32(v), |v| p.output.apply_f32(v));
                units(x, h, state, peephole, p.coupled, functions.0, functions.1, functions.2);
            }
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)] // each is one thing, and all are known where it is inlined
fn units(
    x: &[f32],                // [gates, hidden_size]
    h: &[f32],                // [gates, hidden_size]
    state: &mut [f32],        // [states, hidden_size]
    peephole: Option<&[f32]>, // [peepholes, hidden_size]
    coupled: bool,
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
    let seen = |sum: f32, which: usize, unit: usize, c: f32| {
        peephole.map_or(sum, |weights| weights[which * hidden + unit] * c + sum)
    };
    for unit in 0..hidden {
        let old = cell_state[unit];
        let input = gate(seen(x_input[unit] + h_input[unit], PEEPHOLE_INPUT, unit, old));
        let forget = match coupled {
            false => gate(seen(x_forget[unit] + h_forget[unit], PEEPHOLE_FORGET, unit, old)),
            true => 1.0 - input,
        };
        let candidate = candidate(x_cell[unit] + h_cell[unit]);
        let c = forget * old + input * candidate;
        let out = gate(seen(x_output[unit] + h_output[unit], PEEPHOLE_OUTPUT, unit, c));
        cell_state[unit] = c;
        hidden_state[unit] = out * output(c);
    }
}
