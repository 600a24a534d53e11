//! `recurrence_step.wgsl`, `recurrence_tiled.wgsl`, `recurrence_persistent.wgsl` and `recurrence_cooperative.wgsl`:
//! recurrent layers.
//!
//! A layer runs batch tile by batch tile and, within a tile, slice of timesteps by slice: the input
//! projection of the slice goes into a scratch buffer, then the recurrence runs over it. Slices chain
//! through the state buffer, so neither tiles nor slices change a bit of the result.

use std::ops::Range;

use super::{
    elementwise::encode_copy_rows,
    linear::{self, Columns, Linear, Rows},
    strategy::{PARALLEL, Strategy, Way},
    with_activation,
};
use crate::{
    activation::Activation,
    cell::{Cell, CellParams},
    error::{Error, Result},
    gpu::{
        kernel::{Binding, Kernel, Part, PipelineKey, Products, Variant},
        pack::Matrix,
        pipelines::Bound,
        recorder::{Recorder, View, Work, word},
    },
    plan::{DeadTimesteps, Precision},
};

/// The shared ones, then each kernel's own.
macro_rules! parts {
    ($($own:ident),+) => {
        &[
            Part::Rows,
            Part::Common,
            Part::Activation,
            Part::ActivationCell,
            Part::Weights,
            Part::Product,
            Part::Cell,
            Part::RecurrenceRows,
            Part::Recurrence,
            $(Part::$own),+
        ]
    };
}
const COOPERATIVE_BINDINGS: &[Binding] = &[
    Binding::read("weights", "[directions, ceil(inputs / 4) and one of scales, gates, units] of vec4 over inputs"),
    Binding::read("bias", "[directions, gates, hidden]"),
    Binding::read("gates_x", "[directions, rows, timesteps of the slice, gates, hidden]"),
    Binding::read("mask", "[batch, seq_len]"),
    Binding::read_write("state", "[slot, parity, directions, row_capacity * hidden]"),
    Binding::read_write("sequence", "[batch, seq_len, directions * outputs]"),
    Binding::read("peephole_weights", "[directions, peepholes, hidden]"),
    Binding::read_write("exchange", "[gave up, tickets, .., [stage, parity, directions, rows, hidden, half]]"),
];
/// Without `exchange`.
const BINDINGS: &[Binding] = match COOPERATIVE_BINDINGS {
    [shared @ .., _] => shared,
    [] => &[],
};
const PARAMS_WORDS: usize = 22;

pub(crate) static STEP: Kernel = Kernel {
    name: "recurrence_step",
    parts: parts!(Slices, Stages),
    source: include_str!("../../../shaders/recurrence_step.wgsl"),
    bindings: BINDINGS,
    params_words: PARAMS_WORDS,
    workgroup_bytes: 8192,
    invocations: 256,
};

pub(crate) static TILED: Kernel = Kernel {
    name: "recurrence_tiled",
    parts: parts!(Stages, RecurrentTile),
    source: include_str!("../../../shaders/recurrence_tiled.wgsl"),
    bindings: BINDINGS,
    params_words: PARAMS_WORDS,
    workgroup_bytes: 8448,
    invocations: 64,
};

pub(crate) static PERSISTENT: Kernel = Kernel {
    name: "recurrence_persistent",
    parts: parts!(Slices, RecurrentProducts),
    source: include_str!("../../../shaders/recurrence_persistent.wgsl"),
    bindings: BINDINGS,
    params_words: PARAMS_WORDS,
    workgroup_bytes: 12_800,
    invocations: 256,
};

pub(crate) static COOPERATIVE: Kernel = Kernel {
    name: "recurrence_cooperative",
    parts: parts!(Slices, RecurrentProducts),
    source: include_str!("../../../shaders/recurrence_cooperative.wgsl"),
    bindings: COOPERATIVE_BINDINGS,
    params_words: PARAMS_WORDS,
    workgroup_bytes: 12_808,
    invocations: 256,
};

/// The largest hidden size of [`COOPERATIVE`]: what its tile has room for.
pub(crate) const COOPERATIVE_MAX_HIDDEN: usize = 1024;
/// To load a weight into a register takes as long as to multiply it so often: measured on lavapipe, and the same from the
/// ratio of a GPU's caches to its arithmetic.
const HOLD_STEPS: f64 = 6.0;
/// And a slice as such: its projections and dispatches.
const SLICE_STEPS: f64 = 4.0;
/// Words of `exchange` before the values.
const EXCHANGE_HEADER: usize = 64;
/// Words of `exchange`, at most: what [`crate::gpu::pipelines::Pipelines`] has room for.
pub(crate) const EXCHANGE_WORDS: usize = 1 << 20;

/// Words of `exchange` that `rows` rows take.
pub(crate) fn exchange_len(directions: usize, rows: usize, hidden: usize) -> usize {
    [2, 2, 2, directions, rows].into_iter().fold(hidden, usize::saturating_mul).saturating_add(EXCHANGE_HEADER)
}

// Bits of the parameter `flags`.
const HAS_MASK: u32 = 1;
const HAS_BIAS: u32 = 2;
const HAS_SEQUENCE: u32 = 4;
const DEAD_REPEAT_STATE: u32 = 8;
const DEAD_ZERO: u32 = 16;

// What a dispatch of STEP does, the constant `STAGE`.
const STAGE_UPDATE: u32 = 0;
const STAGE_RESET: u32 = 1;
const STAGE_PROJECT: u32 = 2;

/// One direction of a [`RecurrenceJob`]; see [`crate::plan::Direction`].
#[derive(Clone, Debug)]
pub(crate) struct DirectionJob<'a> {
    pub(crate) reverse: bool,
    pub(crate) flipped: bool,
    /// `[batch, seq_len, input_size]`
    pub(crate) input: Columns<'a>,
    pub(crate) input_size: usize,
    /// Of [`crate::gpu::pack::pack_linear`], `[gates * hidden, input_size]`.
    pub(crate) weight_ih: &'a Matrix<'a>,
    /// `[gates * hidden]`
    pub(crate) bias_ih: Option<View<'a>>,
    /// Per state, `[batch, units]`; zero without one.
    pub(crate) initial: Vec<Option<View<'a>>>,
    /// Per state, `[batch, units]`.
    pub(crate) finals: Vec<Option<View<'a>>>,
    /// The output at the last timestep, `[batch, outputs]`.
    pub(crate) last: Option<Columns<'a>>,
}

/// A recurrent layer with its buffers; see [`crate::plan::Recurrence`].
#[derive(Clone, Debug)]
pub(crate) struct RecurrenceJob<'a> {
    pub(crate) cell: Cell,
    pub(crate) params: CellParams,
    pub(crate) dead: DeadTimesteps,
    pub(crate) way: Way,
    pub(crate) hidden: usize,
    /// Units of the hidden state: `hidden`, unless it is projected.
    pub(crate) outputs: usize,
    pub(crate) batch: usize,
    pub(crate) seq_len: usize,
    /// `[batch, seq_len]`
    pub(crate) mask: Option<View<'a>>,
    /// Of [`crate::gpu::pack::pack_recurrent`], every direction.
    pub(crate) weight_hh: &'a Matrix<'a>,
    /// Of [`crate::gpu::pack::pack_vectors`], `[directions, gates * hidden]`.
    pub(crate) bias_hh: Option<View<'a>>,
    /// Of [`crate::gpu::pack::pack_vectors`], `[directions, peepholes * hidden]`.
    pub(crate) peephole: Option<View<'a>>,
    /// Of [`crate::gpu::pack::pack_recurrent`], every direction, `[outputs, hidden]`, where the hidden
    /// state is projected.
    pub(crate) weight_hr: Option<&'a Matrix<'a>>,
    pub(crate) directions: Vec<DirectionJob<'a>>,
    /// Directions whose weights lie before those of the first one.
    pub(crate) stored_before: usize,
    /// Whether the directions are layers of a stack, each of which reads in `sequence` what the one before wrote. They
    /// run one slice of timesteps apart.
    pub(crate) is_stack: bool,
    /// `[batch, seq_len, directions * outputs]`
    pub(crate) sequence: Option<View<'a>>,
    /// Scratch for the projection of a slice; any length from [`gates_x_len`] of one row and one timestep.
    pub(crate) gates_x: View<'a>,
    /// Scratch for the states of a batch tile; any length from [`state_len`] of one row.
    pub(crate) state: View<'a>,
}

/// Slots of the state buffer: the states, the last output and, for cells with a stage before or after
/// the update, what that stage reads.
fn slots(cell: Cell, projected: bool) -> usize {
    cell.spec().states.len() + 1 + usize::from(cell.spec().reset.is_some() || projected)
}

/// Elements of the state scratch for `rows` rows.
pub(crate) fn state_len(cell: Cell, projected: bool, directions: usize, rows: usize, hidden: usize) -> usize {
    slots(cell, projected) * 2 * directions * rows * hidden
}

/// Elements of the projection scratch for `rows` rows of `timesteps`.
pub(crate) fn gates_x_len(cell: Cell, directions: usize, rows: usize, timesteps: usize, hidden: usize) -> usize {
    directions * rows * timesteps * cell.spec().gates.len() * hidden
}

/// A batch tile of a job, and the slice of timesteps under way.
struct Tile<'j, 'a> {
    job: &'j RecurrenceJob<'a>,
    /// Rows that the state buffer is laid out for.
    capacity: usize,
    first_row: usize,
    rows: usize,
    /// What a timestep takes, in order.
    passes: Vec<Pass>,
}

/// A slice of timesteps, in processing order: those of direction 0. Of each further one it is `lag` timesteps earlier.
#[derive(Clone, Copy, Debug)]
struct Slice {
    start: usize,
    len: usize,
    lag: usize,
}

/// A dispatch of a timestep (or of several, [`PERSISTENT`]): one stage, one window of its weights.
struct Pass {
    bound: Bound,
    first_unit: usize,
    units: usize,
    /// Of one timestep.
    work: Work,
    /// Of a dispatch as such: loading the weights that workgroups hold.
    once: Work,
}

/// Records a whole recurrent layer.
///
/// # Errors
/// [`Error::Internal`] if a scratch buffer cannot hold one row and timestep; those of recording.
pub(crate) fn encode(recorder: &mut Recorder<'_>, job: &RecurrenceJob<'_>) -> Result<()> {
    let wanted = job.directions.iter().any(|d| d.last.is_some() || d.finals.iter().any(Option::is_some));
    if job.batch == 0 || job.hidden == 0 || (job.seq_len == 0 && !wanted) {
        return Ok(());
    }
    let directions = job.directions.len();
    let row_state = state_len(job.cell, job.weight_hr.is_some(), directions, 1, job.hidden);
    let row_gates = gates_x_len(job.cell, directions, 1, 1, job.hidden);
    let capacity = (job.state.len / row_state).min(job.gates_x.len / row_gates).min(job.batch);
    if capacity == 0 {
        return Err(Error::internal("scratch of a recurrence below one row"));
    }
    // One timestep of a tile must fit a submission; whole workgroups of rows where that is possible.
    let width = job.way.rows();
    let affordable =
        ((recorder.budget() / step_estimate(recorder, job, width)).max(1.0) as usize).saturating_mul(width);
    let whole = if capacity >= width { capacity - capacity % width } else { capacity };
    let rows = if capacity == job.batch && affordable >= job.batch { job.batch } else { whole.min(affordable) };
    for first_row in (0..job.batch).step_by(rows) {
        let count = rows.min(job.batch - first_row);
        let passes = passes(recorder, job, count)?;
        Tile { job, capacity: rows, first_row, rows: count, passes }.encode(recorder)?;
    }
    Ok(())
}

/// What one timestep of `rows` rows takes of the budget, the input projection included: by what is known of each
/// kernel on this device.
fn step_estimate(recorder: &Recorder<'_>, job: &RecurrenceJob<'_>, rows: usize) -> f64 {
    let kernel = job.way.kernel();
    let inputs = job.directions.iter().map(|direction| direction.input_size);
    let longest = inputs.clone().max().unwrap_or_default();
    let product = linear::kernel_for(recorder.pipelines, rows.saturating_mul(job.seq_len), longest);
    // Of a timestep within a slice: without the dispatch, unless it has one of its own.
    let within = |kernel: &'static Kernel, cost: f64| recorder.estimate(kernel, cost) - recorder.estimate(kernel, 0.0);
    let own = if job.way.strategy == Strategy::Step { recorder.estimate(kernel, 0.0) } else { 0.0 };
    let stacked = job.cell.spec().gates.len() * job.hidden;
    let input = (stacked * inputs.sum::<usize>()) as f64 * rows as f64;
    let projected = if job.weight_hr.is_some() { stage_cost(job, rows, job.outputs, job.hidden) } else { 0.0 };
    let stages = f64::from(1 + u8::from(job.weight_hr.is_some()) + u8::from(job.cell.spec().reset.is_some()));
    within(product, input) + within(kernel, stage_cost(job, rows, stacked, job.outputs) + projected) + own * stages
}

/// How many timesteps it takes to load the weights that the workgroups of a slice hold.
fn held_steps(way: &Way) -> f64 {
    if way.products.holds() { HOLD_STEPS / way.width.rows() as f64 } else { 0.0 }
}

/// Cost of loading them.
fn held_cost(job: &RecurrenceJob<'_>, rows: usize) -> f64 {
    let stacked = job.cell.spec().gates.len() * job.hidden;
    held_steps(&job.way) * stage_cost(job, rows, stacked, job.outputs)
}

/// Cost of a stage that multiplies a state of `inputs` with `outputs` weights each.
fn stage_cost(job: &RecurrenceJob<'_>, rows: usize, outputs: usize, inputs: usize) -> f64 {
    let width = job.way.rows();
    let workgroups = rows.div_ceil(width) * job.directions.len();
    // A persistent workgroup walks alone; what the device could have done beside it is part of the cost.
    let idle = match job.way.strategy {
        Strategy::Persistent | Strategy::Held => PARALLEL as f64 / workgroups.min(PARALLEL) as f64,
        Strategy::Step | Strategy::Cooperative => 1.0,
    };
    idle * (job.directions.len() * outputs * inputs) as f64 * rows.next_multiple_of(width) as f64
}

/// The pipeline of a job, but for the stage.
fn pipeline(job: &RecurrenceJob<'_>, precision: Precision, half: bool) -> Result<PipelineKey> {
    let way = &job.way;
    let variant = Variant { cell: Some(job.cell), precision, products: way.products, rows: way.width, half };
    let key = PipelineKey::new(way.kernel()).variant(variant).invocations(word(way.invocations())?);
    let key = with_activation(key, ["gate_kind", "gate_a", "gate_b", "gate_c"], job.params.gate)?;
    let names = ["candidate_kind", "candidate_a", "candidate_b", "candidate_c"];
    let key = with_activation(key, names, job.params.candidate)?;
    let mut key = with_activation(key, ["output_kind", "output_a", "output_b", "output_c"], job.params.output)?;
    // Constants must be finite; an infinite bound is none.
    if let Some(clip) = job.params.clip.filter(|clip| clip.is_finite()) {
        key = key.constant("clip_bound", clip);
    }
    for (name, set) in [("coupled", job.params.coupled), ("peepholes", job.peephole.is_some())] {
        if set {
            key = key.constant(name, 1u32);
        }
    }
    if way.strategy != Strategy::Step && (job.weight_hh.windows.len() != 1 || job.weight_hr.is_some()) {
        return Err(Error::internal(format!("persistent recurrence of hidden size {}", job.hidden)));
    }
    if way.strategy == Strategy::Cooperative && way.rereads {
        key = key.constant("REREADS", 1u32);
    }
    Ok(match way.products {
        Products::Tiled(_) => key,
        _ => key.constant("UNITS", word(way.units)?).constant("SLICES", word(way.slices)?),
    })
}

/// The dispatches of a timestep of `rows` rows, in order: every unit's reset comes before any unit's
/// product with it, every unit's update before any unit's projection.
fn passes(recorder: &mut Recorder<'_>, job: &RecurrenceJob<'_>, rows: usize) -> Result<Vec<Pass>> {
    let gates = job.cell.spec().gates.len();
    let reset = (job.way.strategy == Strategy::Step && job.cell.spec().reset.is_some()).then_some(job.weight_hh);
    // Stage, weights, gates that it computes, units that it reads.
    let stages = [
        (STAGE_RESET, reset, 1, job.outputs),
        (STAGE_UPDATE, Some(job.weight_hh), gates, job.outputs),
        (STAGE_PROJECT, job.weight_hr, 1, job.hidden),
    ];
    let is_cooperative = job.way.strategy == Strategy::Cooperative;
    let exchange = is_cooperative.then(|| recorder.pipelines.exchange()).transpose()?;
    let mut passes = Vec::new();
    for (stage, weights, gates, inputs) in stages {
        let Some(weights) = weights else { continue };
        let precision = weights.precision;
        let mut key = pipeline(job, precision, recorder.is_half(precision))?;
        if stage != STAGE_UPDATE {
            key = key.constant("STAGE", stage);
        }
        if stage == STAGE_UPDATE && job.weight_hr.is_some() {
            key = key.constant("PROJECTED", 1u32);
        }
        for window in &weights.windows {
            let mut views = vec![
                Some(window.view),
                job.bias_hh,
                Some(job.gates_x),
                job.mask,
                Some(job.state),
                job.sequence,
                job.peephole,
            ];
            views.extend(exchange.as_ref().map(|buffer| Some(View { buffer, start: 0, len: EXCHANGE_WORDS })));
            // The reset gate has a stage of its own.
            let multiplied = gates - usize::from(reset.is_some() && stage == STAGE_UPDATE);
            let products = job.directions.len() * multiplied * window.count * inputs;
            // Weights are read once where they are held.
            let len = window.view.len;
            let [weights_per_step, weights_once] = if job.way.products.holds() { [0, len] } else { [len, 0] };
            // Weights, the states before and after, what comes of the input and what goes into the sequence.
            let values = job.directions.len() * rows * (gates * window.count + 2 * inputs + 2 * window.count);
            let work = Work {
                cost: stage_cost(job, rows, multiplied * window.count, inputs),
                multiply_adds: rows as f64 * products as f64,
                bytes: 4.0 * (weights_per_step + values) as f64,
            };
            let once = Work::values(held_cost(job, rows), weights_once);
            let bound = recorder.bind(&key, &views)?;
            passes.push(Pass { bound, first_unit: window.first, units: window.count, work, once });
        }
    }
    Ok(passes)
}

impl Tile<'_, '_> {
    fn encode(&self, recorder: &mut Recorder<'_>) -> Result<()> {
        let job = self.job;
        self.encode_initial(recorder)?;
        let row_gates = gates_x_len(job.cell, job.directions.len(), self.rows, 1, job.hidden);
        let fits = (job.gates_x.len / row_gates).max(1);
        let step = step_estimate(recorder, job, self.rows);
        // The dispatches of a slice as such, and what is done once in it.
        let kernel = job.way.kernel();
        let held = recorder.estimate(kernel, held_cost(job, self.rows)) - recorder.estimate(kernel, 0.0);
        let slice = recorder.estimate(&linear::LINEAR, 0.0) * (job.directions.len() + 1) as f64 + held;
        let most = fits.min(job.way.most_steps);
        let in_step = job.is_stack.then(|| {
            let affordable = ((recorder.budget() - slice) / step).max(1.0) as usize;
            most.min(affordable).min(self.stack_slice())
        });
        let end = job.seq_len + in_step.map_or(0, |len| len * (job.directions.len() - 1));
        let mut start = 0;
        while start < end {
            if recorder.budget_left() < slice + step * in_step.unwrap_or(1) as f64 {
                recorder.flush()?;
            }
            let affordable = ((recorder.budget_left() - slice) / step).max(1.0) as usize;
            let len = in_step.unwrap_or_else(|| most.min(affordable).min(job.seq_len - start));
            let slice = Slice { start, len, lag: in_step.unwrap_or_default() };
            self.encode_projection(recorder, slice)?;
            match job.way.strategy {
                Strategy::Persistent | Strategy::Held | Strategy::Cooperative => {
                    self.encode_steps(recorder, slice, start, len)?;
                }
                Strategy::Step => {
                    for step in start..start + len {
                        self.encode_steps(recorder, slice, step, 1)?;
                    }
                }
            }
            start += len;
        }
        self.encode_results(recorder)
    }

    /// Timesteps of a slice of a stack, whose layers keep that distance. The shorter slices are, the more of the time all
    /// layers are under way, and the more often a slice costs as much as `once` timesteps as such:
    /// (slices + layers - 1) (seq_len / slices + once) is least here.
    fn stack_slice(&self) -> usize {
        let job = self.job;
        let behind = job.directions.len().saturating_sub(1).max(1);
        let once = SLICE_STEPS + held_steps(&job.way);
        (job.seq_len as f64 * once / behind as f64).sqrt().max(1.0) as usize
    }

    /// First element of the tile's rows in the state buffer.
    fn state_start(&self, slot: usize, parity: usize, direction: usize) -> usize {
        ((slot * 2 + parity) * self.job.directions.len() + direction) * self.capacity * self.job.hidden
    }

    /// Units of what a slot holds.
    fn slot_units(&self, slot: usize) -> usize {
        let output_slot = self.job.cell.spec().states.len();
        if slot == 0 || slot == output_slot { self.job.outputs } else { self.job.hidden }
    }

    fn encode_initial(&self, recorder: &mut Recorder<'_>) -> Result<()> {
        let job = self.job;
        let states = job.cell.spec().states.len();
        for (d, direction) in job.directions.iter().enumerate() {
            for slot in 0..=states {
                // The last output starts as zero or, where dead timesteps repeat the state, as that.
                let source = match (slot == states, job.dead) {
                    (false, _) => direction.initial.get(slot).copied().flatten(),
                    (true, DeadTimesteps::RepeatState) => direction.initial.first().copied().flatten(),
                    (true, _) => None,
                };
                let units = self.slot_units(slot);
                let len = self.rows * units;
                let to = job.state.start + self.state_start(slot, 0, d);
                match source {
                    Some(view) => {
                        let from = view.start + self.first_row * units;
                        recorder.copy_buffer(view.buffer, from, job.state.buffer, to, len)?;
                    }
                    None => recorder.clear(job.state.buffer, to, len)?,
                }
            }
        }
        Ok(())
    }

    /// The input projection of the timesteps of a slice.
    fn encode_projection(&self, recorder: &mut Recorder<'_>, slice: Slice) -> Result<()> {
        let job = self.job;
        let outputs = job.cell.spec().gates.len() * job.hidden;
        for (d, direction) in job.directions.iter().enumerate() {
            let Some(start) = slice.start.checked_sub(d * slice.lag) else { continue };
            let len = slice.len.min(job.seq_len.saturating_sub(start));
            if len == 0 {
                continue;
            }
            let time = if direction.reverse { job.seq_len - start - len } else { start };
            let rows = Rows {
                count: self.rows * len,
                first: self.first_row * job.seq_len + time,
                slice_len: len,
                stride: job.seq_len,
            };
            let product = Linear {
                input: direction.input,
                rows,
                inputs: direction.input_size,
                outputs,
                weight: direction.weight_ih,
                bias: direction.bias_ih,
                activation: Activation::Linear,
                output: job.gates_x,
                output_start: d * self.rows * slice.len * outputs,
            };
            linear::encode(recorder, &product)?;
        }
        Ok(())
    }

    fn flags(&self) -> u32 {
        let job = self.job;
        let mut flags = HAS_MASK * u32::from(job.mask.is_some())
            + HAS_BIAS * u32::from(job.bias_hh.is_some())
            + HAS_SEQUENCE * u32::from(job.sequence.is_some());
        flags |= match job.dead {
            DeadTimesteps::RepeatOutput => 0,
            DeadTimesteps::RepeatState => DEAD_REPEAT_STATE,
            DeadTimesteps::Zero => DEAD_ZERO,
        };
        flags
    }

    /// The directions that `which` holds for, as bits.
    fn bits(&self, which: impl Fn(&DirectionJob<'_>) -> bool) -> u32 {
        (0..u32::BITS).zip(&self.job.directions).filter(|(_, d)| which(d)).fold(0, |bits, (d, _)| bits | (1 << d))
    }

    /// The directions that have the timestep `first` of direction 0, or one that is `lag` earlier for each before them.
    fn due(&self, first: usize, lag: usize) -> Range<usize> {
        let count = self.job.directions.len();
        let Some(last) = first.checked_div(lag) else { return 0..count };
        // The ones before are at their end.
        let ended = (first + 1).saturating_sub(self.job.seq_len).div_ceil(lag);
        ended..count.min(last + 1)
    }

    /// The recurrence over `steps` timesteps of a slice, from `first` on.
    fn encode_steps(&self, recorder: &mut Recorder<'_>, slice: Slice, first: usize, steps: usize) -> Result<()> {
        let job = self.job;
        let due = self.due(first, slice.lag);
        let row_blocks = self.rows.div_ceil(job.way.rows()) * due.len();
        for pass in &self.passes {
            let workgroups = match job.way.strategy {
                Strategy::Step => row_blocks * pass.units.div_ceil(job.way.units),
                Strategy::Cooperative => {
                    let exchange = recorder.pipelines.exchange()?;
                    let words = exchange_len(job.directions.len(), self.rows, job.hidden);
                    // All but the word that says whether anyone gave up.
                    recorder.clear(&exchange, 1, words - 1)?;
                    due.len() * self.rows.div_ceil(job.way.rows_each) * job.hidden.div_ceil(job.way.units)
                }
                Strategy::Persistent | Strategy::Held => row_blocks,
            };
            let params = [
                word(workgroups)?,
                word(job.hidden)?,
                word(job.outputs)?,
                word(self.rows)?,
                word(self.first_row)?,
                word(self.capacity)?,
                word(job.seq_len)?,
                word(first)?,
                word(steps)?,
                word(slice.start)?,
                word(slice.len)?,
                word(slice.lag)?,
                word(due.start)?,
                word(job.stored_before)?,
                word(job.directions.len())?,
                word(pass.first_unit)?,
                word(pass.units)?,
                self.flags(),
                self.bits(|direction| direction.reverse),
                self.bits(|direction| direction.flipped),
                word(job.way.rows_each)?,
                job.way.tries,
            ];
            // Of the directions that are due, and the timesteps that they have left.
            let directions = job.directions.len() as f64;
            let all: usize = due.clone().map(|d| steps.min(job.seq_len - (first - d * slice.lag))).sum();
            let once = pass.once.times(due.len() as f64 / directions);
            let work = once.and(pass.work.times(all as f64 / directions));
            recorder.dispatch(&pass.bound, &params, workgroups as u64, work)?;
        }
        Ok(())
    }

    /// The final states and the last output.
    fn encode_results(&self, recorder: &mut Recorder<'_>) -> Result<()> {
        let job = self.job;
        let (outputs, states) = (job.outputs, job.cell.spec().states.len());
        let parity = job.seq_len % 2;
        for (d, direction) in job.directions.iter().enumerate() {
            for (slot, view) in direction.finals.iter().enumerate().filter_map(|(i, v)| v.map(|v| (i, v))) {
                let units = self.slot_units(slot);
                let from = job.state.start + self.state_start(slot, parity, d);
                let to = view.start + self.first_row * units;
                recorder.copy_buffer(job.state.buffer, from, view.buffer, to, self.rows * units)?;
            }
            if let Some(last) = direction.last {
                let from = (job.state, self.state_start(states, parity, d), outputs);
                let to = (last.view, self.first_row * last.stride + last.first, last.stride);
                encode_copy_rows(recorder, self.rows, outputs, from, to)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
