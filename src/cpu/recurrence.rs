//! The driver of all cells: the input projection of a slice of timesteps as one product, then for every timestep the
//! recurrent products of some units and, while their sums are in the cache, the cell.

use std::{marker::PhantomData, ops::Range};

use super::{
    CpuOptions,
    packed::Packed,
    precision_of,
    product::{Product, Rows},
    team::Member,
    weight_of,
    workspace::{self, Memory},
};
use crate::{
    cell::{CellTask, Gates, MAX_STATES, VectorCell},
    error::{Error, Result},
    plan::{Bound, DeadTimesteps, Direction, Plan, Precision, Recurrence},
    simd::{LANES, Line, Simd, Task, dispatch},
    tensor::fit,
};

/// Rows that run together: their states stay in the cache.
const TILE_ROWS: usize = 64;
/// Lines of `gates_x` that are held at once (256 KiB), so that they stay in the second-level cache.
const MAX_GATES_X: usize = 1 << 12;
/// But as many rows at least: weights are read from memory for all of them at once.
const MIN_PROJECTED: usize = 96;
/// Lines of sums that stay in the first-level cache until the cell takes them (8 KiB), but 16 units at least.
const MAX_SUMS: usize = 128;
/// Inputs and states nearer to 0 are 0. Otherwise a sound that fades, or a state over thousands of timesteps, ends in
/// denormal numbers, with which many processors are slow; so do its products with weights of 2^-24 and more.
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
    pub(super) fn new(plan: &Plan, r: &Recurrence, direction: &Direction, options: CpuOptions) -> Result<Self> {
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
        let of_hidden = |gates| {
            let precision = precision_of(plan, direction.weight_hh)?;
            options.stored(Packed::of_gates(&weight_hh, bias_hh, r.output_size, hidden, gates, precision)?)
        };
        let peephole = direction.peephole.map(|id| {
            let (weights, peepholes) = (weight_of(plan, id)?, 0..spec.peepholes.len());
            Ok(Packed::of_gates(&weights, None, 1, hidden, peepholes, Precision::F32)?.into_lines())
        });
        let hr = direction
            .projection
            .map(|id| options.stored(Packed::new(&weight_of(plan, id)?, None, hidden, precision_of(plan, id)?)?));
        let precision = precision_of(plan, direction.weight_ih)?;
        Ok(Self {
            ih: options.stored(Packed::of_gates(&weight_ih, bias_ih, r.input_size, hidden, 0..gates, precision)?)?,
            hh: of_hidden(0..first_reset)?,
            hh_reset: spec.reset.map(|_| of_hidden(first_reset..gates)).transpose()?,
            peephole: peephole.transpose()?,
            hr: hr.transpose()?,
        })
    }
}

/// Blocks of 16 units.
pub(super) fn blocks(r: &Recurrence) -> usize {
    r.hidden_size.div_ceil(LANES)
}

/// Rows that go through it with the sizes `bound`: more than those of the batch where a layer is applied to every timestep.
pub(super) fn rows(r: &Recurrence, bound: &Bound) -> usize {
    bound.shape(r.input).first().copied().unwrap_or(0)
}

/// The most values that members of a team tell each other at once in a run with the sizes `bound`.
pub(super) fn exchanged(plan: &Plan, bound: &Bound) -> usize {
    let values = |r| blocks(r).saturating_mul(LANES).saturating_mul(rows(r, bound).min(TILE_ROWS));
    plan.recurrences().map(values).max().unwrap_or(0)
}

/// `written` holds `sequence`, `last` and the finals of each direction, as far as they are wanted.
pub(super) fn run(
    r: &Recurrence,
    weights: &[DirectionWeights],
    memory: &Memory<'_>,
    written: &mut [Vec<f32>],
    scratch: &mut workspace::Scratch,
    member: &mut Member,
) -> Result<()> {
    let &[batch, seq_len, _] = memory.bound.shape(r.input) else {
        return Err(Error::internal("recurrence over another rank"));
    };
    if !matches!(scratch, workspace::Scratch::Recurrence(_)) {
        *scratch = workspace::Scratch::Recurrence(Box::default());
    }
    let workspace::Scratch::Recurrence(scratch) = scratch else { return Ok(()) };
    let mut written = written.iter_mut();
    let mut next = |wanted: bool| if wanted { written.next().map(Vec::as_mut_slice) } else { None };
    let mut outputs = Outputs { sequence: next(r.sequence.is_some()), last: next(r.last.is_some()) };
    let (x, mask) = (memory.read(r.input)?, r.mask.map(|mask| memory.read(mask)).transpose()?);
    for (index, (direction, weights)) in r.directions.iter().zip(weights).enumerate() {
        let mut finals = [const { None }; MAX_STATES];
        for (values, id) in finals.iter_mut().zip(&direction.finals) {
            *values = next(id.is_some());
        }
        let place = Place { direction, index, seq_len, keeps_output: mask.is_some() || seq_len == 0 };
        for first_row in (0..batch).step_by(TILE_ROWS) {
            let rows = TILE_ROWS.min(batch - first_row);
            let tile = Tile::new(r, weights, first_row, rows, seq_len, scratch, member)?;
            tile.run(&place, memory, x, mask, &mut outputs, &mut finals)?;
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
    /// Whether the output is another value than the hidden state.
    keeps_output: bool,
}

impl Place<'_> {
    /// The timestep that is processed `s`-th.
    fn timestep(&self, s: usize) -> usize {
        if self.direction.reverse { self.seq_len - 1 - s } else { s }
    }
}

/// The memory of a [`Tile`].
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// What it has the sizes for, of the one step of a plan whose it is; its directions have all sizes in common.
    sizes: Option<Sizes>,
    x: Vec<f32>,          // [slice, rows, input_size]
    gates_x: Vec<Line>,   // [slice, rows, blocks, gates]
    sums: Vec<Line>,      // [rows, group, gates], those of `hh_reset` only where there are some
    given: Vec<f32>,      // [rows, width], what the cell gave at the last timestep
    gives: Vec<f32>,      // [rows, width], what it gives at this one
    states: Vec<f32>,     // [states after the first, rows, width]
    early: Vec<Line>,     // [rows, blocks, gates], sums that come before those of `hh_reset`
    reset_h: Vec<f32>,    // [rows, width]
    projected: Vec<Line>, // [rows, panels], as it comes out of the projection
    hidden: Vec<f32>,     // [rows, output_size], the hidden state where it is projected
    output: Vec<f32>,     // [rows, output_size], kept over dead timesteps, if there may be any
    live: Vec<bool>,      // [rows]
}

impl Scratch {
    /// Makes room for `rows` of the directions of `r`, which have `weights` of the same sizes.
    #[cold]
    fn fit(&mut self, r: &Recurrence, weights: &DirectionWeights, rows: usize, seq_len: usize) -> Result<Sizes> {
        let sizes = Sizes::new(r, rows, seq_len);
        let Sizes { slice, group, .. } = sizes;
        let spec = r.cell.spec();
        let units = rows * blocks(r);
        let only = |condition: bool, len: usize| if condition { len } else { 0 };
        let (resets, projects) = (weights.hh_reset.is_some(), weights.hr.as_ref());
        self.sizes = None;
        fit(&mut self.x, slice * rows * r.input_size)?;
        fit(&mut self.gates_x, slice * units * spec.gates.len())?;
        fit(&mut self.sums, rows * group * spec.late_gates())?;
        fit(&mut self.given, units * LANES)?;
        fit(&mut self.gives, units * LANES)?;
        fit(&mut self.states, units * LANES * (spec.states.len() - 1))?;
        fit(&mut self.early, only(resets, rows * weights.hh.panels()))?;
        fit(&mut self.reset_h, only(resets, units * LANES))?;
        fit(&mut self.projected, projects.map_or(0, |hr| rows * hr.panels()))?;
        fit(&mut self.hidden, only(projects.is_some(), rows * r.output_size))?;
        fit(&mut self.output, rows * r.output_size)?;
        fit(&mut self.live, rows)?;
        self.live.fill(true);
        self.sizes = Some(sizes);
        Ok(sizes)
    }
}

/// How the timesteps of some rows are gone through.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    rows: usize,
    seq_len: usize,
    /// Timesteps whose inputs are projected together.
    slice: usize,
    /// Blocks whose sums are taken together.
    group: usize,
}

impl Sizes {
    fn new(r: &Recurrence, rows: usize, seq_len: usize) -> Self {
        let (spec, blocks) = (r.cell.spec(), blocks(r));
        let slice = MAX_GATES_X / (rows * blocks * spec.gates.len()).max(1);
        let slice = slice.max(MIN_PROJECTED.div_ceil(rows.max(1))).clamp(1, seq_len.max(1));
        let group = (MAX_SUMS / (rows * spec.late_gates()).max(1)).clamp(1, blocks.max(1));
        Self { rows, seq_len, slice, group }
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
    /// Those that are computed here.
    own: Range<usize>,
    /// Values of a row of what the cell gives.
    width: usize,
    /// Timesteps of a slice.
    slice: usize,
    /// Blocks whose sums are taken together.
    group: usize,
    m: &'a mut Scratch,
    member: &'a mut Member,
}

impl<'a> Tile<'a> {
    /// From zero states.
    fn new(
        r: &'a Recurrence,
        weights: &'a DirectionWeights,
        first_row: usize,
        rows: usize,
        seq_len: usize,
        m: &'a mut Scratch,
        member: &'a mut Member,
    ) -> Result<Self> {
        let Sizes { slice, group, .. } = match m.sizes {
            Some(sizes) if sizes.rows == rows && sizes.seq_len == seq_len => sizes,
            _ => m.fit(r, weights, rows, seq_len)?,
        };
        let blocks = blocks(r);
        let (own, width) = (member.part(blocks), blocks * LANES);
        Ok(Self { r, weights, first_row, rows, blocks, own, width, slice, group, m, member })
    }

    /// The units that are computed here.
    fn own_units(&self) -> Range<usize> {
        self.own.start * LANES..self.own.end * LANES
    }

    /// The rows of a state, and how far they lie apart.
    fn state_rows(&mut self, state: usize) -> (&mut [f32], usize) {
        let count = self.rows * self.width;
        match state.checked_sub(1) {
            None if self.weights.hr.is_some() => (&mut self.m.hidden, self.r.output_size),
            None => (&mut self.m.given, self.width),
            Some(later) => (&mut self.m.states[later * count..][..count], self.width),
        }
    }

    /// From `[batch, state_size]`.
    fn set_state(&mut self, state: usize, values: &[f32]) {
        let (size, first_row, rows) = (self.r.state_size(state), self.first_row, self.rows);
        let (to, stride) = self.state_rows(state);
        for row in 0..rows {
            to[row * stride..][..size].copy_from_slice(&values[(first_row + row) * size..][..size]);
        }
    }

    /// Into `[batch, state_size]`.
    fn get_state(&mut self, state: usize, values: &mut [f32]) -> Result<()> {
        let (size, first_row, rows) = (self.r.state_size(state), self.first_row, self.rows);
        if let Some(later) = state.checked_sub(1) {
            let (count, own) = (rows * self.width, self.own_units());
            self.member.exchange(&mut self.m.states[later * count..][..count], self.width, own)?;
        }
        let (from, stride) = self.state_rows(state);
        for row in 0..rows {
            values[(first_row + row) * size..][..size].copy_from_slice(&from[row * stride..][..size]);
        }
        Ok(())
    }

    /// Some value of every row, `[rows, width]`.
    #[inline(always)]
    fn rows_of<'v>(&self, values: &'v [f32]) -> Rows<'v> {
        Rows::new(values, self.width, self.rows)
    }

    /// The hidden state of every row.
    #[inline(always)]
    fn hidden_state(&self) -> Rows<'_> {
        match &self.weights.hr {
            Some(_) => Rows::new(&self.m.hidden, self.r.output_size, self.rows),
            None => self.rows_of(&self.m.given),
        }
    }

    #[inline(always)]
    fn hidden_row(&self, row: usize) -> &[f32] {
        let h = self.hidden_state();
        &h.from(row)[..self.r.output_size]
    }

    /// The output before the first timestep.
    fn begin_output(&mut self) {
        self.m.live.fill(true);
        match self.r.dead {
            DeadTimesteps::RepeatState => self.keep_output(),
            DeadTimesteps::Zero | DeadTimesteps::RepeatOutput => self.m.output.fill(0.0),
        }
    }

    /// The hidden state of live rows becomes their output.
    fn keep_output(&mut self) {
        let (size, mut output) = (self.r.output_size, std::mem::take(&mut self.m.output));
        for row in 0..self.rows {
            let output = &mut output[row * size..][..size];
            match (self.m.live[row], self.r.dead) {
                (true, _) => output.copy_from_slice(self.hidden_row(row)),
                (false, DeadTimesteps::Zero) => output.fill(0.0),
                (false, DeadTimesteps::RepeatOutput | DeadTimesteps::RepeatState) => {}
            }
        }
        self.m.output = output;
    }

    /// From the initial states to the final ones. (On its own, so that the compiler does not keep what it needs beside
    /// what its caller does.)
    #[inline(never)]
    fn run(
        mut self,
        place: &Place<'_>,
        memory: &Memory<'_>,
        x: &[f32],
        mask: Option<&[f32]>,
        outputs: &mut Outputs<'_>,
        finals: &mut [Option<&mut [f32]>],
    ) -> Result<()> {
        for (state, id) in place.direction.initial.iter().enumerate() {
            match id {
                Some(id) => self.set_state(state, memory.read(*id)?),
                None => self.state_rows(state).0.fill(0.0),
            }
        }
        if place.keeps_output {
            self.begin_output();
        }
        let mut start = 0;
        while start < place.seq_len {
            let timesteps = start..place.seq_len.min(start + self.slice);
            start = timesteps.end;
            self.r.cell.dispatch(Slice { tile: &mut self, place, timesteps, x, mask, outputs })?;
        }
        if let Some(last) = &mut outputs.last {
            self.put_outputs(place, 0, 1, last);
        }
        for (state, values) in finals.iter_mut().enumerate() {
            if let Some(values) = values {
                self.get_state(state, values)?;
            }
        }
        Ok(())
    }

    /// `gates_x` of the timesteps processed from the `start`-th on.
    #[inline(always)]
    fn project<S: Simd>(&mut self, simd: S, place: &Place<'_>, x: &[f32], start: usize, timesteps: usize) {
        let (weight, size) = (&self.weights.ih, self.r.input_size);
        // Side by side, as they are processed.
        let mut lines = self.m.x.chunks_exact_mut(size);
        for s in start..start + timesteps {
            for (row, to) in (self.first_row..self.first_row + self.rows).zip(&mut lines) {
                let x = &x[(row * place.seq_len + place.timestep(s)) * size..][..size];
                for (to, &x) in to.iter_mut().zip(x) {
                    *to = if x.abs() < TINY { 0.0 } else { x };
                }
            }
        }
        let rows = timesteps * self.rows;
        let (panels, gates) = (weight.panels(), self.r.cell.spec().gates.len());
        let own = self.own.start * gates..self.own.end * gates;
        let (x, y) = (Rows::new(&self.m.x, size, rows), &mut self.m.gates_x[own.start..]);
        simd.run(Product { x, weight, panels: own, y, y_stride: panels });
    }

    /// The `s`-th timestep of the slice.
    #[inline(always)]
    fn timestep<S: Simd, C: VectorCell>(&mut self, simd: S, s: usize) -> Result<()> {
        let (width, own) = (self.width, self.own_units());
        if self.weights.hh_reset.is_some() {
            self.reset::<S, C>(simd, s);
            self.member.exchange(&mut self.m.reset_h, width, own.clone())?;
        }
        let mut start = self.own.start;
        while start < self.own.end {
            let end = self.own.end.min(start + self.group);
            self.update::<S, C>(simd, s, start..end);
            start = end;
        }
        std::mem::swap(&mut self.m.given, &mut self.m.gives);
        self.member.exchange(&mut self.m.given, width, own)?;
        self.project_hidden(simd);
        Ok(())
    }

    /// The sums of the gates before the one that takes the reset hidden state, and that state.
    #[inline(always)]
    fn reset<S: Simd, C: VectorCell>(&mut self, simd: S, s: usize) {
        let (weight, Some(reset)) = (&self.weights.hh, C::SPEC.reset) else { return };
        let (panels, gates) = (weight.panels(), C::SPEC.gates.len());
        let x = self.rows_of(&self.m.given);
        let own = self.own.start * reset.target..self.own.end * reset.target;
        let y = &mut self.m.early[own.start..];
        simd.run(Product { x, weight, panels: own, y, y_stride: panels });
        for row in 0..self.rows {
            for block in self.own.clone() {
                let unit = row * self.blocks + block;
                let gates = Gates {
                    x: &self.m.gates_x[(s * self.rows * self.blocks + unit) * gates..][..gates],
                    h: &self.m.early[unit * reset.target..][..reset.target],
                    reset_h: &[],
                    peephole: None,
                };
                let r = self.r.params.gate(simd, gates.sum(simd, reset.gate));
                let h = simd.load(lane(&self.m.given, unit));
                simd.store(simd.mul(r, h), lane_mut(&mut self.m.reset_h, unit));
            }
        }
    }

    /// The sums of some blocks of units, and the cell of these units.
    #[inline(always)]
    fn update<S: Simd, C: VectorCell>(&mut self, simd: S, s: usize, blocks: Range<usize>) {
        let mut y = std::mem::take(&mut self.m.sums);
        let (weight, x) = match &self.weights.hh_reset {
            Some(weight) => (weight, self.rows_of(&self.m.reset_h)),
            None => (&self.weights.hh, self.hidden_state()),
        };
        let sums = C::SPEC.late_gates();
        let (panels, y_stride) = (blocks.start * sums..blocks.end * sums, blocks.len() * sums);
        simd.run(Product { x, weight, panels, y: &mut y, y_stride });
        self.cells::<S, C>(simd, s, &blocks, &y);
        self.m.sums = y;
    }

    /// The cell of some blocks of units, whose sums are there.
    #[inline(always)]
    fn cells<S: Simd, C: VectorCell>(&mut self, simd: S, s: usize, blocks: &Range<usize>, sums: &[Line]) {
        let (gates, states, peepholes) = (C::SPEC.gates.len(), C::SPEC.states.len(), C::SPEC.peepholes.len());
        // Gates whose sums come early, and of those that are here.
        let (early, late) = (C::SPEC.gates_before_reset(), C::SPEC.late_gates());
        let (tiny, zero) = (simd.splat(TINY), simd.splat(0.0));
        let units = self.rows * self.blocks;
        let Scratch { gates_x, given, gives, states: later, early: early_sums, live, .. } = &mut *self.m;
        let x = &gates_x[s * units * gates..][..units * gates];
        let (given, gives, later) = (given.as_chunks().0, gives.as_chunks_mut().0, later.as_chunks_mut().0);
        let peephole = self.weights.peephole.as_deref();
        let mut sums = sums;
        for (row, &live) in live.iter().enumerate() {
            for block in blocks.clone() {
                let (here, rest) = sums.split_at(late);
                sums = rest;
                let unit = row * self.blocks + block;
                if !live {
                    gives[unit] = given[unit];
                    continue;
                }
                let (h, reset_h) = match early {
                    0 => (here, [].as_slice()),
                    _ => (&early_sums[unit * early..][..early], here),
                };
                let x = &x[unit * gates..][..gates];
                let peephole = peephole.map(|lines| &lines[block * peepholes..][..peepholes]);
                let mut state = [simd.load(&given[unit]); MAX_STATES];
                for index in 1..states {
                    state[index] = simd.load(&later[(index - 1) * units + unit]);
                }
                let mut state = C::update(simd, &Gates { x, h, reset_h, peephole }, state, &self.r.params);
                for state in &mut state[..states] {
                    *state = simd.if_less(simd.abs(*state), tiny, zero, *state);
                }
                simd.store(state[0], &mut gives[unit]);
                for index in 1..states {
                    simd.store(state[index], &mut later[(index - 1) * units + unit]);
                }
            }
        }
    }

    /// The hidden state of live rows from what the cell gave, where it is projected.
    #[inline(always)]
    fn project_hidden<S: Simd>(&mut self, simd: S) {
        let Some(weight) = &self.weights.hr else { return };
        let panels = weight.panels();
        let x = self.rows_of(&self.m.given);
        simd.run(Product { x, weight, panels: 0..panels, y: &mut self.m.projected, y_stride: panels });
        let rows = self.m.hidden.chunks_exact_mut(self.r.output_size).zip(self.m.projected.chunks_exact(panels));
        for ((hidden, projected), live) in rows.zip(&self.m.live) {
            if *live {
                let parts = hidden.chunks_mut(LANES).zip(projected);
                parts.for_each(|(to, Line(from))| to.copy_from_slice(&from[..to.len()]));
            }
        }
    }

    /// The output of every row at a timestep into `to`, `[batch, timesteps, directions * output_size]`.
    #[inline(always)]
    fn put_outputs(&self, place: &Place<'_>, position: usize, timesteps: usize, to: &mut [f32]) {
        let size = self.r.output_size;
        let width = self.r.directions.len() * size;
        for row in 0..self.rows {
            let output = if place.keeps_output { &self.m.output[row * size..][..size] } else { self.hidden_row(row) };
            let at = ((self.first_row + row) * timesteps + position) * width + place.index * size;
            to[at..at + size].copy_from_slice(output);
        }
    }
}

/// The timesteps of a slice.
struct Slice<'t, 'a, 'o> {
    tile: &'t mut Tile<'a>,
    place: &'t Place<'t>,
    timesteps: Range<usize>,
    x: &'t [f32],            // [batch, seq_len, input_size]
    mask: Option<&'t [f32]>, // [batch, seq_len]
    outputs: &'t mut Outputs<'o>,
}

impl CellTask for Slice<'_, '_, '_> {
    type Output = Result<()>;

    fn run<C: VectorCell>(self) -> Result<()> {
        dispatch(SliceOf::<C>(self, PhantomData))
    }
}

struct SliceOf<'t, 'a, 'o, C>(Slice<'t, 'a, 'o>, PhantomData<C>);

impl<C: VectorCell> Task for SliceOf<'_, '_, '_, C> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Result<()> {
        let Slice { tile, place, timesteps, x, mask, outputs } = self.0;
        tile.project(simd, place, x, timesteps.start, timesteps.len());
        for (index, s) in timesteps.enumerate() {
            if let Some(mask) = mask {
                let (t, first_row) = (place.timestep(s), tile.first_row);
                for (row, live) in tile.m.live.iter_mut().enumerate() {
                    *live = mask[(first_row + row) * place.seq_len + t] != 0.0;
                }
            }
            if tile.m.live.contains(&true) {
                tile.timestep::<S, C>(simd, index)?;
            }
            if place.keeps_output {
                tile.keep_output();
            }
            let position = if place.direction.flipped { place.seq_len - 1 - s } else { s };
            if let Some(sequence) = &mut outputs.sequence {
                tile.put_outputs(place, position, place.seq_len, sequence);
            }
        }
        Ok(())
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
