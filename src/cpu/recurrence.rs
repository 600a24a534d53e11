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
    /// `[peepholes * hidden_size]`
    peephole: Option<Vec<f32>>,
    /// The product of what the cell gives, where the hidden state is projected.
    hr: Option<Packed>,
}

impl DirectionWeights {
    pub(super) fn new(plan: &Plan, r: &Recurrence, direction: &Direction) -> Result<Self> {
        let spec = r.cell.spec();
        let (weight_ih, weight_hh) = (weight_of(plan, direction.weight_ih)?, weight_of(plan, direction.weight_hh)?);
        let bias_ih = direction.bias_ih.map(|id| weight_of(plan, id)).transpose()?;
        let bias_hh = direction.bias_hh.map(|id| weight_of(plan, id)).transpose()?;
        let peephole = direction.peephole.map(|id| Ok(weight_of(plan, id)?.into_owned())).transpose()?;
        let hr = direction.projection.map(|id| Ok(Packed::new(&weight_of(plan, id)?, None, r.hidden_size)));
        let (hidden, output) = (r.hidden_size, r.output_size);
        let gates = |first: usize, end: usize| {
            let part = |values: &[f32], width: usize| {
                let gate = hidden.saturating_mul(width);
                values
                    .get(first.saturating_mul(gate)..end.saturating_mul(gate))
                    .map(<[f32]>::to_vec)
                    .unwrap_or_default()
            };
            let bias = bias_hh.as_deref().map(|bias| part(bias, 1));
            Packed::new(&part(&weight_hh, output), bias.as_deref(), output)
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
        let ih = Packed::new(&weight_ih, bias_ih.as_deref(), r.input_size);
        Ok(Self { ih, hh, hh_reset, peephole, hr: hr.transpose()? })
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
                let size = r.state_size(state);
                for row in 0..rows {
                    let at = (first_row + row) * size;
                    values[at..at + size].copy_from_slice(tile.state(row, state));
                }
            }
        }
    }
    Ok(())
}

struct Outputs<'a> {
    sequence: Option<&'a mut [f32]>, // [batch, seq_len, directions * output_size]
    last: Option<&'a mut [f32]>,     // [batch, directions * output_size]
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
    states: Vec<f32>,  // [rows, states, hidden_size]; where h is projected, what the cell gives is in its place
    hidden: Vec<f32>,  // [rows, output_size], the hidden state where it is projected
    given: Vec<f32>,   // [rows, output_size], as it comes out of the projection
    reset_h: Vec<f32>, // [rows, hidden_size]
    output: Vec<f32>,  // [rows, output_size], kept over dead timesteps
}

impl<'a> Tile<'a> {
    fn new(
        r: &'a Recurrence,
        weights: &'a DirectionWeights,
        initial: &[Option<&[f32]>], // per state [batch, state_size]
        first_row: usize,
        rows: usize,
        seq_len: usize,
    ) -> Result<Self> {
        let spec = r.cell.spec();
        let hidden = r.hidden_size;
        let stacked = spec.gates.len() * hidden;
        let projected = if weights.hr.is_some() { rows * r.output_size } else { 0 };
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
            hidden: zeros(projected)?,
            given: zeros(projected)?,
            reset_h: zeros(if spec.reset.is_some() { rows * hidden } else { 0 })?,
            output: zeros(rows * r.output_size)?,
        };
        for row in 0..rows {
            for (state, values) in initial.iter().enumerate() {
                let Some(values) = values else { continue };
                let size = r.state_size(state);
                tile.state_mut(row, state).copy_from_slice(&values[(first_row + row) * size..][..size]);
            }
        }
        if r.dead == DeadTimesteps::RepeatState {
            tile.keep_output(|_| true);
        }
        Ok(tile)
    }

    fn state(&self, row: usize, state: usize) -> &[f32] {
        let size = self.r.state_size(state);
        match (&self.weights.hr, state) {
            (Some(_), 0) => &self.hidden[row * size..][..size],
            _ => &self.states[(row * self.spec.states.len() + state) * size..][..size],
        }
    }

    fn state_mut(&mut self, row: usize, state: usize) -> &mut [f32] {
        let size = self.r.state_size(state);
        match (&self.weights.hr, state) {
            (Some(_), 0) => &mut self.hidden[row * size..][..size],
            _ => &mut self.states[(row * self.spec.states.len() + state) * size..][..size],
        }
    }

    /// The hidden state of every row.
    fn hidden_state(&self) -> Rows<'_> {
        match &self.weights.hr {
            Some(_) => Rows::of(&self.hidden, self.r.output_size),
            None => {
                let stride = self.spec.states.len() * self.r.hidden_size;
                Rows { values: &self.states, stride, count: self.rows }
            }
        }
    }

    /// The hidden state of some rows becomes their output.
    fn keep_output(&mut self, rows: impl Fn(usize) -> bool) {
        let mut output = std::mem::take(&mut self.output);
        let (size, h) = (self.r.output_size, self.hidden_state());
        let outputs = output.chunks_exact_mut(size).zip(h.values.chunks_exact(h.stride));
        for (row, (output, h)) in outputs.enumerate() {
            if rows(row) {
                output.copy_from_slice(&h[..size]);
            }
        }
        self.output = output;
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
        let size = self.r.output_size;
        let width = self.r.directions.len() * size;
        if let Some(last) = &mut outputs.last {
            for (row, output) in self.output.chunks_exact(size).enumerate() {
                let at = (self.first_row + row) * width + place.index * size;
                last[at..at + size].copy_from_slice(output);
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
        if (0..self.rows).any(live) {
            self.products_of_hidden(s);
            self.update(s, live);
            self.project_hidden(live);
        }
        self.keep_output(live);
        if self.r.dead == DeadTimesteps::Zero {
            let outputs = self.output.chunks_exact_mut(self.r.output_size).enumerate();
            outputs.filter(|(row, _)| !live(*row)).for_each(|(_, output)| output.fill(0.0));
        }
    }

    /// `gates_h` of every row.
    fn products_of_hidden(&mut self, s: usize) {
        let (hidden, stacked) = (self.r.hidden_size, self.spec.gates.len() * self.r.hidden_size);
        let mut gates_h = std::mem::take(&mut self.gates_h);
        let h = self.hidden_state();
        for (gate, weight) in &self.weights.hh {
            product(h, weight, &mut gates_h[gate * hidden..], stacked);
        }
        if let (Some(reset), Some(weight)) = (self.spec.reset, &self.weights.hh_reset) {
            let mut reset_h = std::mem::take(&mut self.reset_h);
            let gates_x = &self.gates_x[s * self.rows * stacked..][..self.rows * stacked];
            let gates = gates_x.chunks_exact(stacked).zip(gates_h.chunks_exact(stacked));
            let rows = self.hidden_state().values.chunks_exact(self.hidden_state().stride).zip(gates);
            for (to, (h, (gates_x, gates_h))) in reset_h.chunks_exact_mut(hidden).zip(rows) {
                let first = reset.gate * hidden;
                to.iter_mut().zip(&gates_x[first..]).zip(&gates_h[first..]).for_each(|((to, x), h)| *to = x + h);
                self.r.params.gate_slice_f32(to);
                to.iter_mut().zip(h).for_each(|(to, h)| *to *= h);
            }
            product(Rows::of(&reset_h, hidden), weight, &mut gates_h[reset.target * hidden..], stacked);
            self.reset_h = reset_h;
        }
        self.gates_h = gates_h;
    }

    /// The cell, for live rows.
    fn update(&mut self, s: usize, live: &impl Fn(usize) -> bool) {
        let (hidden, stacked) = (self.r.hidden_size, self.spec.gates.len() * self.r.hidden_size);
        let gates_x = &self.gates_x[s * self.rows * stacked..][..self.rows * stacked];
        let gates = gates_x.chunks_exact(stacked).zip(self.gates_h.chunks_exact(stacked));
        let rows = self.states.chunks_exact_mut(self.spec.states.len() * hidden).zip(gates);
        for (row, (state, (x, h))) in rows.enumerate() {
            if live(row) {
                (self.spec.update_row)(x, h, state, self.weights.peephole.as_deref(), &self.r.params);
            }
        }
    }

    /// The hidden state of live rows from what the cell gave, where it is projected.
    fn project_hidden(&mut self, live: &impl Fn(usize) -> bool) {
        let Some(weight) = &self.weights.hr else { return };
        let stride = self.spec.states.len() * self.r.hidden_size;
        let given = Rows { values: &self.states, stride, count: self.rows };
        product(given, weight, &mut self.given, self.r.output_size);
        let size = self.r.output_size;
        let rows = self.hidden.chunks_exact_mut(size).zip(self.given.chunks_exact(size));
        rows.enumerate().filter(|(row, _)| live(*row)).for_each(|(_, (to, from))| to.copy_from_slice(from));
    }

    fn put_sequence(&self, place: &Place<'_>, position: usize, outputs: &mut Outputs<'_>) {
        let Some(sequence) = &mut outputs.sequence else { return };
        let size = self.r.output_size;
        let width = self.r.directions.len() * size;
        for (row, output) in self.output.chunks_exact(size).enumerate() {
            let at = ((self.first_row + row) * place.seq_len + position) * width + place.index * size;
            sequence[at..at + size].copy_from_slice(output);
        }
    }
}
