//! The driver of all cells: the input projection of a slice of timesteps as one product, then one
//! recurrent product per timestep for all rows of a tile.

use super::{
    Memory,
    gemm::{Packed, Rows, product},
    weight_of,
};
use crate::{
    cell::CellSpec,
    error::{Error, Result},
    plan::{DeadTimesteps, Direction, Plan, Recurrence},
    tensor::zeros,
};

/// Rows that run together: their states and gates stay in the cache.
const TILE_ROWS: usize = 64;
/// Values of `gates_x` that are held at once (4 MiB), but one timestep at least.
const MAX_GATES_X: usize = 1 << 20;

/// The packed weights of a direction, biases included.
#[derive(Debug)]
pub(super) struct DirectionWeights {
    ih: Packed,
    /// Products of the hidden state, each with the first gate that it gives.
    hh: Vec<(usize, Packed)>,
    /// The product of the reset hidden state, for cells that have one.
    hh_reset: Option<Packed>,
}

impl DirectionWeights {
    pub(super) fn new(plan: &Plan, r: &Recurrence, direction: &Direction) -> Result<Self> {
        let spec = r.cell.spec();
        let (weight_ih, weight_hh) = (weight_of(plan, direction.weight_ih)?, weight_of(plan, direction.weight_hh)?);
        let bias_ih = direction.bias_ih.map(|id| weight_of(plan, id)).transpose()?;
        let bias_hh = direction.bias_hh.map(|id| weight_of(plan, id)).transpose()?;
        let hidden = r.hidden_size;
        let gates = |first: usize, end: usize| {
            let part = |values: &[f32], width: usize| {
                let gate = hidden.saturating_mul(width);
                values
                    .get(first.saturating_mul(gate)..end.saturating_mul(gate))
                    .map(<[f32]>::to_vec)
                    .unwrap_or_default()
            };
            let bias = bias_hh.as_deref().map(|bias| part(bias, 1));
            Packed::new(&part(&weight_hh, hidden), bias.as_deref(), hidden)
        };
        let (hh, hh_reset) = match spec.reset {
            None => (vec![(0, gates(0, spec.gates.len()))], None),
            Some(reset) => {
                let apart = [(0, reset.target), (reset.target + 1, spec.gates.len())];
                let others = apart.into_iter().filter(|(first, end)| first < end);
                let others = others.map(|(first, end)| (first, gates(first, end))).collect();
                (others, Some(gates(reset.target, reset.target + 1)))
            }
        };
        Ok(Self { ih: Packed::new(&weight_ih, bias_ih.as_deref(), r.input_size), hh, hh_reset })
    }
}

/// `written` holds `sequence`, `last` and the finals of each direction, as far as they are wanted.
pub(super) fn run(
    r: &Recurrence,
    weights: &[DirectionWeights],
    memory: &Memory<'_>,
    written: &mut [Vec<f32>],
) -> Result<()> {
    let &[batch, seq_len, _] = memory.bound.shape(r.input) else {
        return Err(Error::internal("recurrence over another rank"));
    };
    let mut written = written.iter_mut();
    let mut next = |wanted: bool| if wanted { written.next().map(Vec::as_mut_slice) } else { None };
    let mut outputs = Outputs { sequence: next(r.sequence.is_some()), last: next(r.last.is_some()) };
    let (x, mask) = (memory.read(r.input)?, r.mask.map(|mask| memory.read(mask)).transpose()?);
    for (index, (direction, weights)) in r.directions.iter().zip(weights).enumerate() {
        let initial = direction.initial.iter().map(|id| id.map(|id| memory.read(id)).transpose());
        let initial = initial.collect::<Result<Vec<_>>>()?;
        let mut finals: Vec<_> = direction.finals.iter().map(|id| next(id.is_some())).collect();
        for first_row in (0..batch).step_by(TILE_ROWS) {
            let rows = TILE_ROWS.min(batch - first_row);
            let mut tile = Tile::new(r, weights, &initial, first_row, rows, seq_len)?;
            let place = Place { direction, index, seq_len };
            tile.run(&place, x, mask, &mut outputs);
            for (state, values) in finals.iter_mut().enumerate() {
                let Some(values) = values else { continue };
                for row in 0..rows {
                    let at = (first_row + row) * r.hidden_size;
                    values[at..at + r.hidden_size].copy_from_slice(tile.state(row, state));
                }
            }
        }
    }
    Ok(())
}

struct Outputs<'a> {
    sequence: Option<&'a mut [f32]>, // [batch, seq_len, directions * hidden_size]
    last: Option<&'a mut [f32]>,     // [batch, directions * hidden_size]
}

struct Place<'a> {
    direction: &'a Direction,
    /// Of the direction.
    index: usize,
    seq_len: usize,
}

impl Place<'_> {
    /// The timestep that is processed `s`-th.
    fn timestep(&self, s: usize) -> usize {
        if self.direction.reverse { self.seq_len - 1 - s } else { s }
    }
}

/// Some rows of one direction.
struct Tile<'a> {
    r: &'a Recurrence,
    spec: &'static CellSpec,
    weights: &'a DirectionWeights,
    first_row: usize,
    rows: usize,
    /// Timesteps of a slice.
    slice: usize,
    x: Vec<f32>,       // [slice, rows, input_size]
    gates_x: Vec<f32>, // [slice, rows, gates, hidden_size]
    gates_h: Vec<f32>, // [rows, gates, hidden_size]
    states: Vec<f32>,  // [rows, states, hidden_size]
    reset_h: Vec<f32>, // [rows, hidden_size]
    output: Vec<f32>,  // [rows, hidden_size], kept over dead timesteps
}

impl<'a> Tile<'a> {
    fn new(
        r: &'a Recurrence,
        weights: &'a DirectionWeights,
        initial: &[Option<&[f32]>], // per state [batch, hidden_size]
        first_row: usize,
        rows: usize,
        seq_len: usize,
    ) -> Result<Self> {
        let spec = r.cell.spec();
        let hidden = r.hidden_size;
        let stacked = spec.gates.len() * hidden;
        let slice = (MAX_GATES_X / (rows * stacked).max(1)).clamp(1, seq_len.max(1));
        let mut tile = Self {
            r,
            spec,
            weights,
            first_row,
            rows,
            slice,
            x: zeros(slice * rows * r.input_size)?,
            gates_x: zeros(slice * rows * stacked)?,
            gates_h: zeros(rows * stacked)?,
            states: zeros(rows * spec.states.len() * hidden)?,
            reset_h: zeros(if spec.reset.is_some() { rows * hidden } else { 0 })?,
            output: zeros(rows * hidden)?,
        };
        for row in 0..rows {
            for (state, values) in initial.iter().enumerate() {
                let Some(values) = values else { continue };
                let to = (row * spec.states.len() + state) * hidden;
                tile.states[to..to + hidden].copy_from_slice(&values[(first_row + row) * hidden..][..hidden]);
            }
        }
        if r.dead == DeadTimesteps::RepeatState {
            tile.keep_output(|_| true);
        }
        Ok(tile)
    }

    fn state(&self, row: usize, state: usize) -> &[f32] {
        &self.states[(row * self.spec.states.len() + state) * self.r.hidden_size..][..self.r.hidden_size]
    }

    /// The hidden state of some rows becomes their output.
    fn keep_output(&mut self, rows: impl Fn(usize) -> bool) {
        let (hidden, stride) = (self.r.hidden_size, self.spec.states.len() * self.r.hidden_size);
        let outputs = self.output.chunks_exact_mut(hidden).zip(self.states.chunks_exact(stride));
        for (row, (output, states)) in outputs.enumerate() {
            if rows(row) {
                output.copy_from_slice(&states[..hidden]);
            }
        }
    }

    fn run(&mut self, place: &Place<'_>, x: &[f32], mask: Option<&[f32]>, outputs: &mut Outputs<'_>) {
        let seq_len = place.seq_len;
        for start in (0..seq_len).step_by(self.slice) {
            let timesteps = self.slice.min(seq_len - start);
            self.project(place, x, start, timesteps);
            for s in start..start + timesteps {
                let t = place.timestep(s);
                let first_row = self.first_row;
                let live = |row: usize| mask.is_none_or(|mask| mask[(first_row + row) * seq_len + t] != 0.0);
                self.timestep(s - start, &live);
                self.put_sequence(place, if place.direction.flipped { seq_len - 1 - s } else { s }, outputs);
            }
        }
        let hidden = self.r.hidden_size;
        let width = self.r.directions.len() * hidden;
        if let Some(last) = &mut outputs.last {
            for (row, output) in self.output.chunks_exact(hidden).enumerate() {
                let at = (self.first_row + row) * width + place.index * hidden;
                last[at..at + hidden].copy_from_slice(output);
            }
        }
    }

    /// `gates_x` of the timesteps processed from the `start`-th on.
    fn project(&mut self, place: &Place<'_>, x: &[f32], start: usize, timesteps: usize) {
        let input_size = self.r.input_size;
        for (index, to) in self.x.chunks_exact_mut(input_size).take(timesteps * self.rows).enumerate() {
            let (s, row) = (start + index / self.rows, self.first_row + index % self.rows);
            to.copy_from_slice(&x[(row * place.seq_len + place.timestep(s)) * input_size..][..input_size]);
        }
        let x = Rows { values: &self.x, stride: input_size, count: timesteps * self.rows };
        product(x, &self.weights.ih, &mut self.gates_x, self.weights.ih.out_size());
    }

    /// The `s`-th timestep of the slice.
    fn timestep(&mut self, s: usize, live: &impl Fn(usize) -> bool) {
        let (hidden, stacked) = (self.r.hidden_size, self.spec.gates.len() * self.r.hidden_size);
        if (0..self.rows).any(live) {
            let h = Rows { values: &self.states, stride: self.spec.states.len() * hidden, count: self.rows };
            for (gate, weight) in &self.weights.hh {
                product(h, weight, &mut self.gates_h[gate * hidden..], stacked);
            }
            let gates_x = &self.gates_x[s * self.rows * stacked..][..self.rows * stacked];
            if let (Some(reset), Some(weight)) = (self.spec.reset, &self.weights.hh_reset) {
                let gates = gates_x.chunks_exact(stacked).zip(self.gates_h.chunks_exact(stacked));
                let rows = self.states.chunks_exact(h.stride).zip(gates);
                for (to, (h, (gates_x, gates_h))) in self.reset_h.chunks_exact_mut(hidden).zip(rows) {
                    let first = reset.gate * hidden;
                    to.iter_mut().zip(&gates_x[first..]).zip(&gates_h[first..]).for_each(|((to, x), h)| *to = x + h);
                    self.r.params.gate.apply_slice_f32(to);
                    to.iter_mut().zip(h).for_each(|(to, h)| *to *= h);
                }
                let reset_h = Rows::of(&self.reset_h, hidden);
                product(reset_h, weight, &mut self.gates_h[reset.target * hidden..], stacked);
            }
            let gates = gates_x.chunks_exact(stacked).zip(self.gates_h.chunks_exact(stacked));
            let rows = self.states.chunks_exact_mut(self.spec.states.len() * hidden).zip(gates);
            for (row, (state, (x, h))) in rows.enumerate() {
                if live(row) {
                    (self.spec.update_row)(x, h, state, &self.r.params);
                }
            }
        }
        self.keep_output(live);
        if self.r.dead == DeadTimesteps::Zero {
            let outputs = self.output.chunks_exact_mut(hidden).enumerate();
            outputs.filter(|(row, _)| !live(*row)).for_each(|(_, output)| output.fill(0.0));
        }
    }

    fn put_sequence(&self, place: &Place<'_>, position: usize, outputs: &mut Outputs<'_>) {
        let Some(sequence) = &mut outputs.sequence else { return };
        let hidden = self.r.hidden_size;
        let width = self.r.directions.len() * hidden;
        for (row, output) in self.output.chunks_exact(hidden).enumerate() {
            let at = ((self.first_row + row) * place.seq_len + position) * width + place.index * hidden;
            sequence[at..at + hidden].copy_from_slice(output);
        }
    }
}
