//! The driver of all cells: one row, one direction, one timestep, one unit at a time.

use super::Run;
use crate::{
    cell::{CellSpec, MAX_GATES, MAX_STATES},
    error::Result,
    plan::{BufferId, DeadTimesteps, Direction, Recurrence},
};

/// The weights of a direction.
struct Weights {
    weight_ih: Vec<f64>, // [gates * hidden_size, input_size]
    weight_hh: Vec<f64>, // [gates * hidden_size, hidden_size]
    bias_ih: Vec<f64>,   // [gates * hidden_size]
    bias_hh: Vec<f64>,   // [gates * hidden_size]
}

impl Run<'_> {
    /// The outputs of a recurrent layer.
    pub(super) fn recurrence(&self, r: &Recurrence) -> Result<Vec<(BufferId, Vec<f64>)>> {
        let (batch, seq_len) = match self.shape(r.input) {
            &[batch, seq_len, _] => (batch, seq_len),
            _ => (0, 0),
        };
        let hidden_size = r.hidden_size;
        let width = r.directions.len() * hidden_size;
        let x = self.read(r.input)?; // [batch, seq_len, input_size]
        let mask = r.mask.map(|mask| self.read(mask)).transpose()?; // [batch, seq_len]
        let mut sequence = vec![0.0; batch * seq_len * width]; // [batch, seq_len, width]
        let mut last = vec![0.0; batch * width]; // [batch, width]
        let mut outputs = Vec::new();
        for (d, direction) in r.directions.iter().enumerate() {
            let weights = self.direction_weights(r, direction)?;
            // [states][batch, hidden_size]
            let mut states = self.initial_states(direction, batch * hidden_size)?;
            for b in 0..batch {
                let units = b * hidden_size..(b + 1) * hidden_size;
                // What the layer puts out; kept over dead timesteps.
                let mut output = match r.dead {
                    DeadTimesteps::RepeatState => states[0][units.clone()].to_vec(),
                    DeadTimesteps::RepeatOutput | DeadTimesteps::Zero => vec![0.0; hidden_size],
                };
                for s in 0..seq_len {
                    let t = if direction.reverse { seq_len - 1 - s } else { s };
                    if mask.is_none_or(|mask| mask[b * seq_len + t] != 0.0) {
                        let x_t = &x[(b * seq_len + t) * r.input_size..][..r.input_size];
                        timestep(r, &weights, x_t, &mut states, b);
                        output.copy_from_slice(&states[0][units.clone()]);
                    } else if r.dead == DeadTimesteps::Zero {
                        output.fill(0.0);
                    }
                    let position = if direction.flipped { seq_len - 1 - s } else { s };
                    for (unit, &value) in output.iter().enumerate() {
                        sequence[(b * seq_len + position) * width + d * hidden_size + unit] = value;
                    }
                }
                for (unit, &value) in output.iter().enumerate() {
                    last[b * width + d * hidden_size + unit] = value;
                }
            }
            for (state, values) in direction.finals.iter().zip(states) {
                outputs.extend(state.map(|id| (id, values)));
            }
        }
        outputs.extend(r.sequence.map(|id| (id, sequence)));
        outputs.extend(r.last.map(|id| (id, last)));
        Ok(outputs)
    }

    fn direction_weights(&self, r: &Recurrence, direction: &Direction) -> Result<Weights> {
        let stacked = r.cell.spec().gates.len() * r.hidden_size;
        Ok(Weights {
            weight_ih: self.weight(direction.weight_ih)?,
            weight_hh: self.weight(direction.weight_hh)?,
            bias_ih: self.weight_or(direction.bias_ih, stacked, 0.0)?,
            bias_hh: self.weight_or(direction.bias_hh, stacked, 0.0)?,
        })
    }

    fn initial_states(&self, direction: &Direction, len: usize) -> Result<Vec<Vec<f64>>> {
        let initial = |id: &Option<BufferId>| id.map_or_else(|| Ok(vec![0.0; len]), |id| Ok(self.read(id)?.to_vec()));
        direction.initial.iter().map(initial).collect()
    }
}

/// One live timestep of row `b`.
fn timestep(r: &Recurrence, weights: &Weights, x: &[f64], states: &mut [Vec<f64>], b: usize) {
    let spec: &CellSpec = r.cell.spec();
    let hidden_size = r.hidden_size;
    let h = states[0][b * hidden_size..(b + 1) * hidden_size].to_vec();
    let gate_x = |gate: usize, unit: usize| {
        let row = gate * hidden_size + unit;
        product(&weights.weight_ih, row, x) + weights.bias_ih[row]
    };
    let gate_h = |gate: usize, unit: usize, h: &[f64]| {
        let row = gate * hidden_size + unit;
        product(&weights.weight_hh, row, h) + weights.bias_hh[row]
    };
    // r * h of every unit, before the product that takes it.
    let reset_h: Vec<f64> = match spec.reset {
        None => Vec::new(),
        Some(reset) => (0..hidden_size)
            .map(|unit| {
                let sum = gate_x(reset.gate, unit) + gate_h(reset.gate, unit, &h);
                r.params.gate.apply_f64(sum) * h[unit]
            })
            .collect(),
    };
    for unit in 0..hidden_size {
        let (mut gates_x, mut gates_h) = ([0.0; MAX_GATES], [0.0; MAX_GATES]);
        for gate in 0..spec.gates.len() {
            let target = spec.reset.is_some_and(|reset| reset.target == gate);
            gates_x[gate] = gate_x(gate, unit);
            gates_h[gate] = gate_h(gate, unit, if target { &reset_h } else { &h });
        }
        let mut state = [0.0; MAX_STATES];
        for (slot, values) in state.iter_mut().zip(states.iter()) {
            *slot = values[b * hidden_size + unit];
        }
        (spec.update)(&gates_x, &gates_h, &mut state, &r.params);
        for (slot, values) in state.iter().zip(states.iter_mut()) {
            values[b * hidden_size + unit] = *slot;
        }
    }
}

/// `sum_k weight[row, k] * x[k]`
fn product(weight: &[f64], row: usize, x: &[f64]) -> f64 {
    let mut sum = 0.0;
    for k in 0..x.len() {
        sum += weight[row * x.len() + k] * x[k];
    }
    sum
}
