//! The driver of all cells: one row, one direction, one timestep, one unit at a time.

use super::Run;
use crate::{
    cell::{CellSpec, MAX_GATES, MAX_PEEPHOLES, MAX_STATES},
    error::Result,
    plan::{BufferId, DeadTimesteps, Direction, Recurrence},
};

/// The weights of a direction.
struct Weights {
    weight_ih: Vec<f64>,          // [gates * hidden_size, input_size]
    weight_hh: Vec<f64>,          // [gates * hidden_size, output_size]
    bias_ih: Vec<f64>,            // [gates * hidden_size]
    bias_hh: Vec<f64>,            // [gates * hidden_size]
    peephole: Option<Vec<f64>>,   // [peepholes * hidden_size]
    projection: Option<Vec<f64>>, // [output_size, hidden_size]
}

impl Run<'_> {
    /// The outputs of a recurrent layer.
    pub(super) fn recurrence(&self, r: &Recurrence) -> Result<Vec<(BufferId, Vec<f64>)>> {
        let (batch, seq_len) = match self.shape(r.input) {
            &[batch, seq_len, _] => (batch, seq_len),
            _ => (0, 0),
        };
        let output_size = r.output_size;
        let width = r.directions.len() * output_size;
        let x = self.read(r.input)?; // [batch, seq_len, input_size]
        let mask = r.mask.map(|mask| self.read(mask)).transpose()?; // [batch, seq_len]
        let mut sequence = vec![0.0; batch * seq_len * width]; // [batch, seq_len, width]
        let mut last = vec![0.0; batch * width]; // [batch, width]
        let mut outputs = Vec::new();
        for (d, direction) in r.directions.iter().enumerate() {
            let weights = self.direction_weights(r, direction)?;
            // [states][batch, state_size]
            let mut states = self.initial_states(r, direction, batch)?;
            for b in 0..batch {
                let units = b * output_size..(b + 1) * output_size;
                // What the layer puts out; kept over dead timesteps.
                let mut output = match r.dead {
                    DeadTimesteps::RepeatState => states[0][units.clone()].to_vec(),
                    DeadTimesteps::RepeatOutput | DeadTimesteps::Zero => vec![0.0; output_size],
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
                        sequence[(b * seq_len + position) * width + d * output_size + unit] = value;
                    }
                }
                for (unit, &value) in output.iter().enumerate() {
                    last[b * width + d * output_size + unit] = value;
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
            peephole: direction.peephole.map(|id| self.weight(id)).transpose()?,
            projection: direction.projection.map(|id| self.weight(id)).transpose()?,
        })
    }

    fn initial_states(&self, r: &Recurrence, direction: &Direction, batch: usize) -> Result<Vec<Vec<f64>>> {
        let initial = |(state, id): (usize, &Option<BufferId>)| match id {
            Some(id) => Ok(self.read(*id)?.to_vec()),
            None => Ok(vec![0.0; batch * r.state_size(state)]),
        };
        direction.initial.iter().enumerate().map(initial).collect()
    }
}

/// One live timestep of row `b`.
fn timestep(r: &Recurrence, weights: &Weights, x: &[f64], states: &mut [Vec<f64>], b: usize) {
    let spec: &CellSpec = r.cell.spec();
    let (hidden_size, output_size) = (r.hidden_size, r.output_size);
    let h = states[0][b * output_size..(b + 1) * output_size].to_vec();
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
            .map(|unit| r.params.gate_f64(gate_x(reset.gate, unit) + gate_h(reset.gate, unit, &h)) * h[unit])
            .collect(),
    };
    // What the cell gives: the hidden state, if it is not projected.
    let mut given = vec![0.0; hidden_size];
    for unit in 0..hidden_size {
        let (mut gates_x, mut gates_h) = ([0.0; MAX_GATES], [0.0; MAX_GATES]);
        for gate in 0..spec.gates.len() {
            let target = spec.reset.is_some_and(|reset| reset.target == gate);
            gates_x[gate] = gate_x(gate, unit);
            gates_h[gate] = gate_h(gate, unit, if target { &reset_h } else { &h });
        }
        let peephole = weights.peephole.as_ref().map(|weights| {
            let mut of_unit = [0.0; MAX_PEEPHOLES];
            for which in 0..spec.peepholes.len() {
                of_unit[which] = weights[which * hidden_size + unit];
            }
            of_unit
        });
        let mut state = [0.0; MAX_STATES];
        // A cell that can be projected does not read its unit of the hidden state.
        state[0] = if weights.projection.is_none() { h[unit] } else { 0.0 };
        for s in 1..spec.states.len() {
            state[s] = states[s][b * hidden_size + unit];
        }
        (spec.update)(&gates_x, &gates_h, &mut state, peephole, &r.params);
        given[unit] = state[0];
        for s in 1..spec.states.len() {
            states[s][b * hidden_size + unit] = state[s];
        }
    }
    for unit in 0..output_size {
        states[0][b * output_size + unit] = match &weights.projection {
            None => given[unit],
            Some(projection) => product(projection, unit, &given),
        };
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
