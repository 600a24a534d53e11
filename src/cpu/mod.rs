//! The fast executor: f32, all rows of a batch together, weights packed once per program.
//!
//! A row's values have the same bits whatever its companions in the batch, the number of threads
//! and the way a sequence is cut into runs; they may differ between processors, since some have a
//! fused multiply-add.

mod apart;
mod calibrate;
mod crew;
#[cfg(feature = "gpu")]
mod estimate;
mod mat_mul;
mod moves;
mod packed;
mod pointwise;
mod product;
mod recurrence;
mod reduce;
mod team;
mod threads;
mod workspace;

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, Mutex, TryLockError},
};

use crate::{
    cell::Cell,
    error::{Error, Result},
    plan::{Bound, BufferId, Op, Plan, Precision, WeightId},
    tensor::TensorId,
};
pub use calibrate::Calibration;
use crew::{Crew, Split};
#[cfg(feature = "gpu")]
pub(crate) use estimate::estimate;
use packed::Packed;
use product::{Rows, linear};
use recurrence::DirectionWeights;
use team::Member;
use threads::Threads;
use workspace::{Memory, Scratch, Workspace};

/// How a program computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CpuOptions {
    /// Whether products with int8 weights are made of integers: the inputs of each row, and its hidden state at each
    /// timestep, are rounded to 16 bits by their largest. Weights that are stored otherwise are multiplied as ever.
    pub integer_arithmetic: bool,
}

impl CpuOptions {
    /// Weights as they are stored for products of these options.
    fn stored(self, packed: Packed) -> Result<Packed> {
        if self.integer_arithmetic { packed.by_twos() } else { Ok(packed) }
    }
}

/// A plan with its weights packed for this executor, and threads of its own.
#[derive(Debug)]
pub struct CpuProgram {
    options: CpuOptions,
    steps: Arc<Steps>,
    /// Of one run at a time; whoever runs meanwhile goes without.
    room: Mutex<Room>,
}

/// What a run may have of the runs before it.
#[derive(Debug, Default)]
struct Room {
    threads: Threads,
    crew: Option<Crew>,
}

/// What threads share.
#[derive(Debug)]
struct Steps {
    plan: Arc<Plan>,
    /// One per step; shared with programs of other plans of the same model.
    prepared: Vec<Arc<Prepared>>,
    /// One per step.
    touches: Vec<Touches>,
}

/// The storage that a step reads and writes.
#[derive(Debug)]
struct Touches {
    reads: Vec<usize>,
    writes: Vec<usize>,
    /// Whether it may leave some of what it writes as it was.
    writes_parts: bool,
}

/// What a step needs beyond the plan.
#[derive(Debug)]
enum Prepared {
    /// Weights that are neither packed nor stored as they are read.
    Values(Vec<(WeightId, Vec<f32>)>),
    Linear(Packed),
    /// One per direction.
    Recurrence(Vec<DirectionWeights>),
}

/// What packed weights are made of: the cell, and each weight that a step may have.
type Key = (Option<Cell>, Vec<Option<(TensorId, Precision)>>);

/// `None` for a step that packs nothing.
fn key(plan: &Plan, op: &Op) -> Option<Key> {
    let of = |id: WeightId| plan.weights.get(id.index()).map(|weight| (weight.tensor.id(), weight.precision));
    match op {
        Op::Linear { weight, bias, .. } => Some((None, vec![of(*weight), bias.and_then(of)])),
        Op::Recurrence(r) => {
            let weights = r
                .directions
                .iter()
                .flat_map(|d| [Some(d.weight_ih), Some(d.weight_hh), d.bias_ih, d.bias_hh, d.peephole, d.projection]);
            Some((Some(r.cell), weights.map(|id| id.and_then(of)).collect()))
        }
        _ => None,
    }
}

impl Prepared {
    fn new(plan: &Plan, op: &Op, options: CpuOptions) -> Result<Self> {
        Ok(match op {
            Op::Linear { weight, bias, .. } => {
                let bias = bias.map(|bias| weight_of(plan, bias)).transpose()?;
                let in_size = plan.weights.get(weight.index()).and_then(|weight| weight.tensor.shape().get(1));
                let in_size = in_size.copied().unwrap_or(0);
                let precision = precision_of(plan, *weight)?;
                let packed = Packed::new(&weight_of(plan, *weight)?, bias.as_deref(), in_size, precision)?;
                Self::Linear(options.stored(packed)?)
            }
            Op::Recurrence(r) => {
                let directions =
                    r.directions.iter().map(|direction| DirectionWeights::new(plan, r, direction, options));
                Self::Recurrence(directions.collect::<Result<_>>()?)
            }
            _ => {
                let mut values = Vec::new();
                for id in op.weights() {
                    if let Cow::Owned(owned) = weight_of(plan, id)? {
                        values.push((id, owned));
                    }
                }
                Self::Values(values)
            }
        })
    }
}

impl CpuProgram {
    /// Packs the weights of `plan`.
    ///
    /// # Errors
    /// [`Error::Internal`] if a step names a weight that does not exist.
    pub fn new(plan: Arc<Plan>) -> Result<Self> {
        Self::with_options(plan, CpuOptions::default(), None)
    }

    /// [`new`](Self::new) with options, and with the packed weights that `other` has already, if its options are the same.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_options(plan: Arc<Plan>, options: CpuOptions, other: Option<&Self>) -> Result<Self> {
        let known: HashMap<Key, &Arc<Prepared>> = other
            .into_iter()
            .filter(|other| other.options == options)
            .flat_map(|other| {
                let Steps { plan, prepared, .. } = other.steps.as_ref();
                plan.steps.iter().zip(prepared).map(|(step, p)| (key(plan, &step.op), p))
            })
            .filter_map(|(key, prepared)| Some((key?, prepared)))
            .collect();
        let prepare = |op: &Op| match key(&plan, op).and_then(|key| known.get(&key)) {
            Some(prepared) => Ok(Arc::clone(prepared)),
            None => Prepared::new(&plan, op, options).map(Arc::new),
        };
        let prepared = plan.steps.iter().map(|step| prepare(&step.op)).collect::<Result<_>>()?;
        Ok(Self { options, steps: Arc::new(Steps::new(plan, prepared)?), room: Mutex::default() })
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Arc<Plan> {
        &self.steps.plan
    }

    /// Lets go of the plan's own copies of the weights that are packed.
    pub fn release_weights(&mut self) {
        let packed = |op: &&Op| matches!(op, Op::Linear { .. } | Op::Recurrence(_));
        let plan = &self.steps.plan;
        let (packed, others): (Vec<&Op>, Vec<&Op>) = plan.steps.iter().map(|step| &step.op).partition(packed);
        let kept: Vec<WeightId> = others.into_iter().flat_map(Op::weights).collect();
        let packed: Vec<WeightId> = packed.into_iter().flat_map(Op::weights).filter(|id| !kept.contains(id)).collect();
        let plan = Arc::new(plan.without_values(packed));
        // The same steps in the same order.
        if let Ok(steps) = Steps::new(plan, self.steps.prepared.clone()) {
            self.steps = Arc::new(steps);
        }
    }

    /// The program for runs with the sizes `bound` only, on the caller's thread.
    ///
    /// # Errors
    /// [`Error::Internal`] if the plan is broken.
    pub(crate) fn stream(&self, bound: &Bound) -> Result<CpuStream> {
        self.steps.plan.check(bound)?;
        CpuStream::new(Arc::clone(&self.steps), bound)
    }

    /// The values of `outputs` after a run with the sizes `bound`, by at most `threads` threads: each has some rows or,
    /// where there are few, some units of each recurrence. Buffers that nobody writes are zero.
    ///
    /// # Errors
    /// [`Error::Internal`] if the plan is broken or an input has another size than `bound` says;
    /// [`Error::Limit`] if memory or threads run out.
    pub fn run(
        &self,
        bound: &Bound,
        inputs: &[(BufferId, impl AsRef<[f32]>)],
        outputs: &[BufferId],
        threads: usize,
    ) -> Result<Vec<Vec<f32>>> {
        let plan = &self.steps.plan;
        plan.check(bound)?;
        let mut room = match self.room.try_lock() {
            Ok(room) => Some(room),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        let split = if room.is_some() { Split::of(plan, bound, threads) } else { Split::None };
        let storage = |id: BufferId| Ok(plan.storage(id)?.index());
        let given: Vec<usize> = inputs.iter().map(|(id, _)| storage(*id)).collect::<Result<_>>()?;
        let wanted: Vec<usize> = outputs.iter().map(|&id| storage(id)).collect::<Result<_>>()?;
        let kept = room.as_mut().and_then(|room| room.crew.take());
        let mut crew = match kept.filter(|crew| crew.is_for(bound, split, &given)) {
            Some(crew) => crew,
            None => Crew::new(&self.steps, bound, split, given, &wanted)?,
        };
        crew.fill(inputs)?;
        crew.run(&self.steps, room.as_mut().map(|room| &mut room.threads))?;
        let outputs = crew.outputs(outputs, &wanted)?;
        if let Some(room) = &mut room {
            room.crew = Some(crew).filter(Crew::lasts);
        }
        Ok(outputs)
    }
}

/// A program ready for runs of the same sizes, one after the other.
#[derive(Debug)]
pub(crate) struct CpuStream {
    steps: Arc<Steps>,
    workspace: Workspace,
    member: Member,
    /// Storage, by the plan's ports.
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    /// Where a run finds each state, and where it leaves it.
    states: Vec<[usize; 2]>,
}

impl CpuStream {
    fn new(steps: Arc<Steps>, bound: &Bound) -> Result<Self> {
        let plan = &steps.plan;
        let storage = |id: BufferId| Ok(plan.storage(id)?.index());
        let inputs: Vec<usize> = plan.inputs.iter().map(|port| storage(port.buffer)).collect::<Result<_>>()?;
        let outputs = plan.outputs.iter().map(|port| storage(port.buffer)).collect::<Result<_>>()?;
        let states = plan.states.iter().map(|port| Ok([storage(port.initial)?, storage(port.last)?]));
        let states: Vec<[usize; 2]> = states.collect::<Result<_>>()?;
        let given: Vec<usize> = inputs.iter().copied().chain(states.iter().map(|[initial, _]| *initial)).collect();
        let (workspace, member) = (Workspace::lasting(&steps, bound, &given), Member::alone());
        Ok(Self { workspace, member, inputs, outputs, states, steps })
    }

    /// One run, from the states that the one before left. The first one takes all memory.
    pub(crate) fn run(&mut self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> Result<()> {
        self.workspace.begin();
        for (&storage, values) in self.inputs.iter().zip(inputs) {
            self.workspace.input(storage)?.copy_from_slice(values);
        }
        for [initial, _] in &self.states {
            self.workspace.input(*initial)?;
        }
        self.workspace.run(&self.steps, &mut self.member)?;
        for (&storage, values) in self.outputs.iter().zip(outputs) {
            values.copy_from_slice(self.workspace.output(storage)?);
        }
        for &[initial, last] in &self.states {
            self.workspace.carry(last, initial)?;
        }
        Ok(())
    }

    /// The `index`-th state, from which the next run starts.
    pub(crate) fn state(&mut self, index: usize) -> Result<&mut [f32]> {
        let [initial, _] = self.states.get(index).ok_or_else(|| Error::internal("no such state"))?;
        self.workspace.input(*initial)
    }
}

impl Steps {
    fn new(plan: Arc<Plan>, prepared: Vec<Arc<Prepared>>) -> Result<Self> {
        let storage = |ids: Vec<BufferId>| -> Result<Vec<usize>> {
            ids.into_iter().map(|id| Ok(plan.storage(id)?.index())).collect()
        };
        let touches = plan
            .steps
            .iter()
            .map(|step| {
                Ok(Touches {
                    reads: storage(step.op.inputs())?,
                    writes: storage(step.op.outputs())?,
                    writes_parts: matches!(step.op, Op::Copy { .. }),
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { plan, prepared, touches })
    }

    /// Storage that some step reads, or writes in part, before any wrote it, other than what is `given`.
    fn zeroed(&self, given: &[usize]) -> Vec<usize> {
        let (mut written, mut zeroed) = (given.to_vec(), Vec::new());
        for touches in &self.touches {
            let parts = touches.writes.iter().filter(|_| touches.writes_parts);
            for storage in touches.reads.iter().chain(parts) {
                if !written.contains(storage) && !zeroed.contains(storage) {
                    zeroed.push(*storage);
                }
            }
            written.extend(&touches.writes);
        }
        zeroed
    }
}

/// `written` are the values of the step's outputs, in their order.
fn run_step(
    op: &Op,
    memory: &Memory<'_>,
    written: &mut [Vec<f32>],
    scratch: &mut Scratch,
    member: &mut Member,
) -> Result<()> {
    let prepared = memory.prepared;
    // A batch without timesteps may have any number of rows: do not count them.
    if written.iter().all(Vec::is_empty) {
        return Ok(());
    }
    if let (Op::Recurrence(r), Prepared::Recurrence(weights)) = (op, prepared) {
        return recurrence::run(r, weights, memory, written, scratch, member);
    }
    let y = written.first_mut().ok_or_else(|| Error::internal("step without an output"))?;
    match (op, prepared) {
        (Op::Linear { input, activation, .. }, Prepared::Linear(weight)) => {
            let x = memory.read(*input)?;
            linear(Rows::new(x, weight.in_size(), x.len() / weight.in_size().max(1)), weight, *activation, y);
            Ok(())
        }
        (Op::Map { input, activation, .. }, _) => {
            y.copy_from_slice(memory.read(*input)?);
            activation.apply_slice_f32(y);
            Ok(())
        }
        (Op::Gather { ids, table, .. }, _) => pointwise::gather(memory, *ids, *table, y),
        (Op::Combine { op, left, right, output }, _) => pointwise::combine(memory, *op, [*left, *right], *output, y),
        (Op::Constant { weight, .. }, _) => moves::constant(memory, *weight, y),
        (Op::Ramp { start, step, axis, output }, _) => {
            moves::ramp(memory.bound.shape(*output), *start, *step, *axis, y);
            Ok(())
        }
        (Op::Permute { input, axes, output }, _) => moves::permute(memory, *input, axes, *output, y),
        (Op::Copy { input, input_start, input_step, output, output_start, axis, extent }, _) => {
            let size = |dim| memory.bound.size(dim);
            let block = moves::Block {
                from: size(input_start)?,
                step: *input_step,
                to: size(output_start)?,
                axis: *axis,
                extent: size(extent)?,
            };
            moves::copy(memory, *input, *output, &block, y)
        }
        (Op::Window { input, stride, dilation, before, fill, output }, _) => {
            let before = memory.bound.size(before)?;
            let windows = moves::Windows { stride: *stride, dilation: *dilation, before, fill: *fill };
            moves::window(memory, *input, *output, &windows, y)
        }
        (Op::MatMul { left, right, transposed, output }, _) => {
            mat_mul::mat_mul(memory, *left, *right, *transposed, *output, y, scratch)
        }
        (Op::Take { input, index, .. }, _) => moves::take(memory, *input, *index, y),
        (Op::Reduce { op, input, axis, mask, .. }, _) => reduce::reduce(memory, *op, *input, *axis, *mask, y),
        (Op::Softmax { input, axis, log, .. }, _) => reduce::softmax(memory, *input, *axis, *log, y),
        (Op::LayerNorm { input, first_axis, axes, gamma, beta, epsilon, .. }, _) => {
            let group = reduce::Group::of(memory.bound.shape(*input), *first_axis, *axes);
            reduce::layer_norm(memory, *input, &group, [*gamma, *beta], *epsilon, y)
        }
        (Op::BatchNorm { input, axis, mean, variance, gamma, beta, epsilon, .. }, _) => {
            let statistics = [Some(*mean), Some(*variance), *gamma, *beta];
            reduce::batch_norm(memory, *input, *axis, statistics, *epsilon, y)
        }
        (Op::NotEqual { input, value, width, .. }, _) => pointwise::not_equal(memory, *input, *value, *width, y),
        (Op::Linear { .. } | Op::Recurrence(_), _) => Err(Error::internal("step without packed weights")),
    }
}

fn weight_of(plan: &Plan, id: WeightId) -> Result<Cow<'_, [f32]>> {
    let weight = plan.weights.get(id.index()).ok_or_else(|| Error::internal("no such weight"))?;
    Ok(weight.values())
}

fn precision_of(plan: &Plan, id: WeightId) -> Result<Precision> {
    let weight = plan.weights.get(id.index()).ok_or_else(|| Error::internal("no such weight"))?;
    Ok(weight.precision)
}
