//! The driver of all cells: the input projection of a slice of timesteps as one product, then for every timestep the
//! recurrent products of some units and, while their sums are in the cache, the cell.

use std::marker::PhantomData;

use super::{
    Memory,
    packed::Packed,
    product::{Product, Rows},
    weight_of,
};
use crate::{
    cell::{CellTask, Gates, MAX_STATES, VectorCell},
    error::{Error, Result},
    plan::{DeadTimesteps, Direction, Plan, Recurrence},
    simd::{LANES, Line, Simd, Task, dispatch},
    tensor::zeros,
};

/// Rows that run together: their states stay in the cache.
const TILE_ROWS: usize = 64;
/// Lines of `gates_x` that are held at once (4 MiB), but one timestep at least.
const MAX_GATES_X: usize = 1 << 16;
/// Lines of sums that stay in the first-level cache until the cell takes them (8 KiB), but 16 units at least.
const MAX_SUMS: usize = 128;
/// States nearer to 0 are 0. Otherwise a state that fades over thousands of timesteps ends in denormal numbers, with
/// which many processors are slow; so do its products with weights of 2^-24 and more.
const TINY: f32 = f32::MIN_POSITIVE * 16_777_216.0;

/// The packed weights of a direction, biases included. Units come in blocks of 16.
#[derive(Debug)]
pub(super) struct DirectionWeights {
    ih: Packed,
    /// Of the hidden state: all gates, or those before the one that takes the reset hidden state.
    hh: Packed,
    /// Of the reset hidden state.
    hh_reset: Option<Packed>,
    /// `[blocks, peepholes]`
    peephole: Option<Vec<Line>>,
    /// Of what the cell gives, where the hidden state is projected.
    hr: Option<Packed>,
}

impl DirectionWeights {
    pub(super) fn new(plan: &Plan, r: &Recurrence, direction: &Direction) -> Result<Self> {
        let spec = r.cell.spec();
        let (weight_ih, weight_hh) = (weight_of(plan, direction.weight_ih)?, weight_of(plan, direction.weight_hh)?);
        let bias_ih = direction.bias_ih.map(|id| weight_of(plan, id)).transpose()?;
        let bias_hh = direction.bias_hh.map(|id| weight_of(plan, id)).transpose()?;
        let (bias_ih, bias_hh) = (bias_ih.as_deref(), bias_hh.as_deref());
        let (gates, hidden) = (spec.gates.len(), r.hidden_size);
        let first_reset = spec.reset.map_or(gates, |reset| reset.target);
        if spec.reset.is_some_and(|reset| reset.target + 1 != gates) {
            return Err(Error::internal("a gate after the one that takes the reset hidden state"));
        }
        let of_hidden = |gates| Packed::of_gates(&weight_hh, bias_hh, r.output_size, hidden, gates);
        let peephole = direction.peephole.map(|id| {
            let weights = weight_of(plan, id)?;
            Ok(Packed::of_gates(&weights, None, 1, hidden, 0..spec.peepholes.len())?.into_lines())
        });
        let hr = direction.projection.map(|id| Packed::new(&weight_of(plan, id)?, None, hidden));
        Ok(Self {
            ih: Packed::of_gates(&weight_ih, bias_ih, r.input_size, hidden, 0..gates)?,
            hh: of_hidden(0..first_reset)?,
            hh_reset: spec.reset.map(|_| of_hidden(first_reset..gates)).transpose()?,
            peephole: peephole.transpose()?,
            hr: hr.transpose()?,
        })
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
            let mut tile = Tile::new(r, weights, first_row, rows, seq_len)?;
            for (state, values) in initial.iter().enumerate() {
                if let Some(values) = values {
                    tile.set_state(state, values);
                }
            }
            let place = Place { direction, index, seq_len };
            tile.run(&place, x, mask, &mut outputs);
            for (state, values) in finals.iter_mut().enumerate() {
                if let Some(values) = values {
                    tile.get_state(state, values);
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
    weights: &'a DirectionWeights,
    first_row: usize,
    rows: usize,
    /// Of 16 units.
    blocks: usize,
    /// Timesteps of a slice.
    slice: usize,
    /// Blocks whose sums are taken together.
    group: usize,
    gates_x: Vec<Line>,   // [slice, rows, blocks, gates]
    sums: Vec<Line>,      // [rows, group, gates], those of `hh_reset` only where there are some
    given: Vec<f32>,      // [rows, width], what the cell gave at the last timestep
    gives: Vec<f32>,      // [rows, width], what it gives at this one
    states: Vec<Line>,    // [states after the first, rows, blocks]
    early: Vec<Line>,     // [rows, blocks, gates], sums that come before those of `hh_reset`
    reset_h: Vec<f32>,    // [rows, width]
    projected: Vec<Line>, // [rows, panels], as it comes out of the projection
    hidden: Vec<f32>,     // [rows, output_size], the hidden state where it is projected
    output: Vec<f32>,     // [rows, output_size], kept over dead timesteps, if there may be any
    live: Vec<bool>,      // [rows]
}

impl<'a> Tile<'a> {
    fn new(
        r: &'a Recurrence,
        weights: &'a DirectionWeights,
        first_row: usize,
        rows: usize,
        seq_len: usize,
    ) -> Result<Self> {
        let (spec, blocks) = (r.cell.spec(), r.hidden_size.div_ceil(LANES));
        let units = rows * blocks;
        let slice = (MAX_GATES_X / (units * spec.gates.len()).max(1)).clamp(1, seq_len.max(1));
        let late = weights.hh_reset.as_ref().unwrap_or(&weights.hh);
        let group_panels = late.panels() / blocks.max(1);
        let group = (MAX_SUMS / (rows * group_panels).max(1)).clamp(1, blocks.max(1));
        let only = |condition: bool, len: usize| if condition { len } else { 0 };
        let (resets, projects) = (weights.hh_reset.is_some(), weights.hr.as_ref());
        Ok(Self {
            r,
            weights,
            first_row,
            rows,
            blocks,
            slice,
            group,
            gates_x: zeros(slice * units * spec.gates.len())?,
            sums: zeros(rows * group * group_panels)?,
            given: zeros(units * LANES)?,
            gives: zeros(units * LANES)?,
            states: zeros(units * (spec.states.len() - 1))?,
            early: zeros(only(resets, rows * weights.hh.panels()))?,
            reset_h: zeros(only(resets, units * LANES))?,
            projected: zeros(projects.map_or(0, |hr| rows * hr.panels()))?,
            hidden: zeros(only(projects.is_some(), rows * r.output_size))?,
            output: zeros(rows * r.output_size)?,
            live: vec![true; rows],
        })
    }

    /// Values of a row of what the cell gives.
    fn width(&self) -> usize {
        self.blocks * LANES
    }

    /// From `[batch, state_size]`.
    fn set_state(&mut self, state: usize, values: &[f32]) {
        let (size, width) = (self.r.state_size(state), self.width());
        let rows = values.chunks_exact(size).skip(self.first_row).take(self.rows);
        match (state.checked_sub(1), &self.weights.hr) {
            (None, None) => {
                rows.zip(self.given.chunks_exact_mut(width)).for_each(|(from, to)| to[..size].copy_from_slice(from))
            }
            (None, Some(_)) => {
                rows.zip(self.hidden.chunks_exact_mut(size)).for_each(|(from, to)| to.copy_from_slice(from))
            }
            (Some(state), _) => {
                let lines = self.states.chunks_exact_mut(self.blocks).skip(state * self.rows);
                for (from, to) in rows.zip(lines) {
                    let parts = from.chunks(LANES).zip(to);
                    parts.for_each(|(from, Line(to))| to[..from.len()].copy_from_slice(from));
                }
            }
        }
        if state == 0 && self.r.dead == DeadTimesteps::RepeatState {
            self.keep_output();
        }
    }

    /// Into `[batch, state_size]`.
    fn get_state(&self, state: usize, values: &mut [f32]) {
        let size = self.r.state_size(state);
        let rows = values.chunks_exact_mut(size).skip(self.first_row).take(self.rows);
        match state.checked_sub(1) {
            None => rows.enumerate().for_each(|(row, to)| to.copy_from_slice(self.hidden_row(row))),
            Some(state) => {
                let lines = self.states.chunks_exact(self.blocks).skip(state * self.rows);
                for (to, from) in rows.zip(lines) {
                    let parts = to.chunks_mut(LANES).zip(from);
                    parts.for_each(|(to, Line(from))| to.copy_from_slice(&from[..to.len()]));
                }
            }
        }
    }

    /// The hidden state of every row.
    #[inline(always)]
    fn hidden_state(&self) -> Rows<'_> {
        match &self.weights.hr {
            Some(_) => Rows::of(&self.hidden, self.r.output_size),
            None => Rows::of(&self.given, self.width()),
        }
    }

    #[inline(always)]
    fn hidden_row(&self, row: usize) -> &[f32] {
        let (size, h) = (self.r.output_size, self.hidden_state());
        &h.values[h.at(row)..][..size]
    }

    /// The hidden state of live rows becomes their output.
    fn keep_output(&mut self) {
        let (size, mut output) = (self.r.output_size, std::mem::take(&mut self.output));
        for (row, output) in output.chunks_exact_mut(size).enumerate() {
            match (self.live[row], self.r.dead) {
                (true, _) => output.copy_from_slice(self.hidden_row(row)),
                (false, DeadTimesteps::Zero) => output.fill(0.0),
                (false, DeadTimesteps::RepeatOutput | DeadTimesteps::RepeatState) => {}
            }
        }
        self.output = output;
    }

    fn run(&mut self, place: &Place<'_>, x: &[f32], mask: Option<&[f32]>, outputs: &mut Outputs<'_>) {
        for start in (0..place.seq_len).step_by(self.slice) {
            let timesteps = start..place.seq_len.min(start + self.slice);
            self.project(place, x, start, timesteps.len());
            self.r.cell.dispatch(Slice { tile: self, place, timesteps, mask, outputs });
        }
        if mask.is_none() && place.seq_len > 0 {
            self.keep_output();
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
        let (weight, size, seq_len) = (&self.weights.ih, self.r.input_size, place.seq_len);
        let panels = weight.panels();
        let at = |row: usize, s: usize| ((self.first_row + row) * seq_len + place.timestep(start + s)) * size;
        // Either the rows of a timestep together, or the timesteps of a row, whichever are more.
        let by_row = timesteps >= self.rows;
        let (outer, count) = if by_row { (self.rows, timesteps) } else { (timesteps, self.rows) };
        let stride = match (by_row, place.direction.reverse) {
            (true, true) => -size.cast_signed(),
            (true, false) => size.cast_signed(),
            (false, _) => (seq_len * size).cast_signed(),
        };
        let y_stride = if by_row { self.rows * panels } else { panels };
        for index in 0..outer {
            let (row, s) = if by_row { (index, 0) } else { (0, index) };
            let x = Rows { values: x, first: at(row, s), stride, count };
            let y = &mut self.gates_x[(s * self.rows + row) * panels..];
            dispatch(Product { x, weight, panels: 0..panels, y, y_stride });
        }
    }

    /// The `s`-th timestep of the slice.
    #[inline(always)]
    fn timestep<S: Simd, C: VectorCell>(&mut self, simd: S, s: usize) {
        if self.weights.hh_reset.is_some() {
            self.reset::<S, C>(simd, s);
        }
        for start in (0..self.blocks).step_by(self.group) {
            self.update::<S, C>(simd, s, start..self.blocks.min(start + self.group));
        }
        std::mem::swap(&mut self.given, &mut self.gives);
        self.project_hidden(simd);
    }

    /// The sums of the gates before the one that takes the reset hidden state, and that state.
    #[inline(always)]
    fn reset<S: Simd, C: VectorCell>(&mut self, simd: S, s: usize) {
        let (weight, width, Some(reset)) = (&self.weights.hh, self.width(), C::SPEC.reset) else { return };
        let (panels, gates) = (weight.panels(), C::SPEC.gates.len());
        let x = Rows::of(&self.given, width);
        simd.run(Product { x, weight, panels: 0..panels, y: &mut self.early, y_stride: panels });
        for row in 0..self.rows {
            for block in 0..self.blocks {
                let unit = row * self.blocks + block;
                let gates = Gates {
                    x: &self.gates_x[(s * self.rows * self.blocks + unit) * gates..][..gates],
                    h: &self.early[unit * reset.target..][..reset.target],
                    reset_h: &[],
                    peephole: None,
                };
                let r = self.r.params.gate(simd, gates.sum(simd, reset.gate));
                let h = simd.load(lane(&self.given, unit));
                simd.store(simd.mul(r, h), lane_mut(&mut self.reset_h, unit));
            }
        }
    }

    /// The sums of some blocks of units, and the cell of these units.
    #[inline(always)]
    fn update<S: Simd, C: VectorCell>(&mut self, simd: S, s: usize, blocks: std::ops::Range<usize>) {
        let (hh, width) = (&self.weights.hh, self.width());
        let mut y = std::mem::take(&mut self.sums);
        let (weight, x) = match &self.weights.hh_reset {
            Some(weight) => (weight, Rows::of(&self.reset_h, width)),
            None => (hh, self.hidden_state()),
        };
        let sums = weight.panels() / self.blocks;
        let (panels, y_stride) = (blocks.start * sums..blocks.end * sums, blocks.len() * sums);
        simd.run(Product { x, weight, panels, y: &mut y, y_stride });
        let (gates, early) = (C::SPEC.gates.len(), hh.panels() / self.blocks);
        let (tiny, zero) = (simd.splat(TINY), simd.splat(0.0));
        for row in 0..self.rows {
            for block in blocks.clone() {
                let unit = row * self.blocks + block;
                let sums = &y[row * y_stride + (block - blocks.start) * sums..][..sums];
                let (h, reset_h) = match self.weights.hh_reset {
                    Some(_) => (&self.early[unit * early..][..early], sums),
                    None => (sums, [].as_slice()),
                };
                let x = &self.gates_x[(s * self.rows * self.blocks + unit) * gates..][..gates];
                let peepholes = C::SPEC.peepholes.len();
                let peephole = self.weights.peephole.as_deref().map(|lines| &lines[block * peepholes..][..peepholes]);
                if !self.live[row] {
                    *lane_mut(&mut self.gives, unit) = *lane(&self.given, unit);
                    continue;
                }
                let mut state = [simd.load(lane(&self.given, unit)); MAX_STATES];
                for (later, state) in state[1..C::SPEC.states.len()].iter_mut().enumerate() {
                    *state = simd.load(&self.states[later * self.rows * self.blocks + unit].0);
                }
                let mut state = C::update(simd, &Gates { x, h, reset_h, peephole }, state, &self.r.params);
                for state in &mut state {
                    *state = simd.if_less(simd.abs(*state), tiny, zero, *state);
                }
                simd.store(state[0], lane_mut(&mut self.gives, unit));
                for (later, &state) in state[1..C::SPEC.states.len()].iter().enumerate() {
                    simd.store(state, &mut self.states[later * self.rows * self.blocks + unit].0);
                }
            }
        }
        self.sums = y;
    }

    /// The hidden state of live rows from what the cell gave, where it is projected.
    #[inline(always)]
    fn project_hidden<S: Simd>(&mut self, simd: S) {
        let (width, Some(weight)) = (self.width(), &self.weights.hr) else { return };
        let panels = weight.panels();
        let x = Rows::of(&self.given, width);
        simd.run(Product { x, weight, panels: 0..panels, y: &mut self.projected, y_stride: panels });
        let rows = self.hidden.chunks_exact_mut(self.r.output_size).zip(self.projected.chunks_exact(panels));
        for ((hidden, projected), live) in rows.zip(&self.live) {
            if *live {
                let parts = hidden.chunks_mut(LANES).zip(projected);
                parts.for_each(|(to, Line(from))| to.copy_from_slice(&from[..to.len()]));
            }
        }
    }

    /// The output of every row into the sequence.
    #[inline(always)]
    fn put_sequence(&self, place: &Place<'_>, position: usize, masked: bool, outputs: &mut Outputs<'_>) {
        let Some(sequence) = &mut outputs.sequence else { return };
        let size = self.r.output_size;
        let width = self.r.directions.len() * size;
        for row in 0..self.rows {
            let output = if masked { &self.output[row * size..][..size] } else { self.hidden_row(row) };
            let at = ((self.first_row + row) * place.seq_len + position) * width + place.index * size;
            sequence[at..at + size].copy_from_slice(output);
        }
    }
}

/// The timesteps of a slice, whose `gates_x` are there.
struct Slice<'t, 'a, 'o> {
    tile: &'t mut Tile<'a>,
    place: &'t Place<'t>,
    timesteps: std::ops::Range<usize>,
    mask: Option<&'t [f32]>, // [batch, seq_len]
    outputs: &'t mut Outputs<'o>,
}

impl CellTask for Slice<'_, '_, '_> {
    type Output = ();

    fn run<C: VectorCell>(self) {
        dispatch(SliceOf::<C>(self, PhantomData));
    }
}

struct SliceOf<'t, 'a, 'o, C>(Slice<'t, 'a, 'o>, PhantomData<C>);

impl<C: VectorCell> Task for SliceOf<'_, '_, '_, C> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Slice { tile, place, timesteps, mask, outputs } = self.0;
        for (index, s) in timesteps.enumerate() {
            if let Some(mask) = mask {
                let (t, first_row) = (place.timestep(s), tile.first_row);
                let masks = mask.chunks_exact(place.seq_len).skip(first_row);
                tile.live.iter_mut().zip(masks).for_each(|(live, mask)| *live = mask[t] != 0.0);
            }
            if tile.live.contains(&true) {
                tile.timestep::<S, C>(simd, index);
            }
            if mask.is_some() {
                tile.keep_output();
            }
            let position = if place.direction.flipped { place.seq_len - 1 - s } else { s };
            tile.put_sequence(place, position, mask.is_some(), outputs);
        }
    }
}

/// Line `index` of values that are a multiple of 16.
#[inline(always)]
fn lane(values: &[f32], index: usize) -> &[f32; LANES] {
    &values.as_chunks().0[index]
}

#[inline(always)]
fn lane_mut(values: &mut [f32], index: usize) -> &mut [f32; LANES] {
    &mut values.as_chunks_mut().0[index]
}
