//! The fast executor: f32, all rows of a batch together, weights packed once per program.
//!
//! A row's values have the same bits whatever its companions in the batch, the number of threads
//! and the way a sequence is cut into runs; they may differ between processors, since some have a
//! fused multiply-add.

mod mat_mul;
mod moves;
mod packed;
mod pointwise;
mod product;
mod recurrence;
mod reduce;
mod threads;

use std::{collections::HashMap, sync::Arc};

use crate::{
    cell::Cell,
    error::{Error, Result},
    plan::{Bound, BufferId, Op, Plan, Precision, WeightId, rows},
    tensor::{TensorId, zeros},
};
use packed::Packed;
use product::{Rows, linear};
use recurrence::DirectionWeights;
use threads::Threads;

/// A plan with its weights packed for this executor, and threads of its own.
#[derive(Debug)]
pub struct CpuProgram {
    steps: Arc<Steps>,
    threads: Threads,
}

/// What threads share.
#[derive(Debug)]
struct Steps {
    plan: Arc<Plan>,
    /// One per step; shared with programs of other plans of the same model.
    prepared: Vec<Arc<Prepared>>,
}

/// What a step needs beyond the plan.
#[derive(Debug)]
enum Prepared {
    Nothing,
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
    fn new(plan: &Plan, op: &Op) -> Result<Self> {
        Ok(match op {
            Op::Linear { weight, bias, .. } => {
                let bias = bias.map(|bias| weight_of(plan, bias)).transpose()?;
                let in_size = plan.weights.get(weight.index()).and_then(|weight| weight.tensor.shape().get(1));
                let in_size = in_size.copied().unwrap_or(0);
                Self::Linear(Packed::new(&weight_of(plan, *weight)?, bias.as_deref(), in_size)?)
            }
            Op::Recurrence(r) => {
                let directions = r.directions.iter().map(|direction| DirectionWeights::new(plan, r, direction));
                Self::Recurrence(directions.collect::<Result<_>>()?)
            }
            _ => Self::Nothing,
        })
    }
}

impl CpuProgram {
    /// Packs the weights of `plan`.
    ///
    /// # Errors
    /// [`Error::Internal`] if a step names a weight that does not exist.
    pub fn new(plan: Arc<Plan>) -> Result<Self> {
        Self::sharing(plan, None)
    }

    /// [`new`](Self::new) with the packed weights that `other` has already.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn sharing(plan: Arc<Plan>, other: Option<&Self>) -> Result<Self> {
        let known: HashMap<Key, &Arc<Prepared>> = other
            .into_iter()
            .flat_map(|other| {
                let Steps { plan, prepared } = other.steps.as_ref();
                plan.steps.iter().zip(prepared).map(|(step, p)| (key(plan, &step.op), p))
            })
            .filter_map(|(key, prepared)| Some((key?, prepared)))
            .collect();
        let prepare = |op: &Op| match key(&plan, op).and_then(|key| known.get(&key)) {
            Some(prepared) => Ok(Arc::clone(prepared)),
            None => Prepared::new(&plan, op).map(Arc::new),
        };
        let prepared = plan.steps.iter().map(|step| prepare(&step.op)).collect::<Result<_>>()?;
        Ok(Self { steps: Arc::new(Steps { plan, prepared }), threads: Threads::default() })
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Arc<Plan> {
        &self.steps.plan
    }

    /// Lets go of the plan's own copies of the weights that are packed.
    pub fn release_weights(&mut self) {
        let packed = |op: &&Op| matches!(op, Op::Linear { .. } | Op::Recurrence(_));
        let Steps { plan, prepared } = self.steps.as_ref();
        let (packed, others): (Vec<&Op>, Vec<&Op>) = plan.steps.iter().map(|step| &step.op).partition(packed);
        let kept: Vec<WeightId> = others.into_iter().flat_map(Op::weights).collect();
        let packed: Vec<WeightId> = packed.into_iter().flat_map(Op::weights).filter(|id| !kept.contains(id)).collect();
        let plan = Arc::new(plan.without_values(packed));
        self.steps = Arc::new(Steps { plan, prepared: prepared.clone() });
    }

    /// The values of `outputs` after a run with the sizes `bound`, its rows shared out to at most
    /// `threads` threads. Buffers that nobody writes are zero.
    ///
    /// # Errors
    /// [`Error::Internal`] if the plan is broken or an input has another size than `bound` says;
    /// [`Error::Limit`] if memory or threads run out.
    pub fn run(
        &self,
        bound: &Bound,
        inputs: &[(BufferId, Vec<f32>)],
        outputs: &[BufferId],
        threads: usize,
    ) -> Result<Vec<Vec<f32>>> {
        self.steps.plan.check(bound)?;
        if threads <= 1 || bound.batch() <= 1 {
            return self.steps.run_rows(bound, inputs, outputs);
        }
        let parts = rows::split(&self.steps.plan, bound, rows::ranges(bound.batch(), threads), inputs)?;
        let (steps, wanted) = (Arc::clone(&self.steps), Arc::<[BufferId]>::from(outputs));
        let done = self.threads.map(parts, move |part| steps.run_rows(&part.bound, &part.inputs, &wanted))?;
        rows::join(bound, outputs, done)
    }
}

impl Steps {
    fn run_rows(&self, bound: &Bound, inputs: &[(BufferId, Vec<f32>)], outputs: &[BufferId]) -> Result<Vec<Vec<f32>>> {
        let mut memory = Memory::new(&self.plan, bound, outputs)?;
        for (id, values) in inputs {
            memory.write(*id, values.clone())?;
        }
        for (index, (step, prepared)) in self.plan.steps.iter().zip(&self.prepared).enumerate() {
            let (reads, writes) = (step.op.inputs(), step.op.outputs());
            for &id in reads.iter().chain(&writes) {
                memory.allocate(id)?;
            }
            // Outputs share no storage with inputs or each other: `Plan::check`.
            let mut written = writes.iter().map(|&id| memory.take(id)).collect::<Result<Vec<_>>>()?;
            run_step(&step.op, prepared, &memory, &mut written)?;
            for (&id, values) in writes.iter().zip(written) {
                memory.write(id, values)?;
            }
            memory.free_after(index);
        }
        outputs
            .iter()
            .map(|&id| {
                memory.allocate(id)?;
                Ok(memory.read(id)?.to_vec())
            })
            .collect()
    }
}

/// `written` are the values of the step's outputs, in their order.
fn run_step(op: &Op, prepared: &Prepared, memory: &Memory<'_>, written: &mut [Vec<f32>]) -> Result<()> {
    // A batch without timesteps may have any number of rows: do not count them.
    if written.iter().all(Vec::is_empty) {
        return Ok(());
    }
    if let (Op::Recurrence(r), Prepared::Recurrence(weights)) = (op, prepared) {
        return recurrence::run(r, weights, memory, written);
    }
    let y = written.first_mut().ok_or_else(|| Error::internal("step without an output"))?;
    match (op, prepared) {
        (Op::Linear { input, activation, .. }, Prepared::Linear(weight)) => {
            let x = Rows::of(memory.read(*input)?, weight.in_size());
            linear(x, weight, *activation, y);
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
        (Op::Permute { input, axes, .. }, _) => moves::permute(memory, *input, axes, y),
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
            mat_mul::mat_mul(memory, *left, *right, *transposed, *output, y)
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

/// The values of a run, by storage. Storage is allocated when it is first touched and freed after
/// its last step.
struct Memory<'a> {
    plan: &'a Plan,
    bound: &'a Bound,
    values: Vec<Option<Vec<f32>>>,
    /// The last step that touches each storage; none for those that the caller gets.
    last_step: Vec<Option<usize>>,
}

impl<'a> Memory<'a> {
    fn new(plan: &'a Plan, bound: &'a Bound, outputs: &[BufferId]) -> Result<Self> {
        let mut last_step = vec![None; plan.buffers.len()];
        for (index, step) in plan.steps.iter().enumerate() {
            for id in step.op.inputs().into_iter().chain(step.op.outputs()) {
                if let Some(last) = last_step.get_mut(plan.storage(id)?.index()) {
                    *last = Some(index);
                }
            }
        }
        for &id in outputs {
            if let Some(last) = last_step.get_mut(plan.storage(id)?.index()) {
                *last = None;
            }
        }
        Ok(Self { plan, bound, values: vec![None; plan.buffers.len()], last_step })
    }

    fn slot(&mut self, id: BufferId) -> Result<&mut Option<Vec<f32>>> {
        let slot = self.values.get_mut(self.plan.storage(id)?.index());
        slot.ok_or_else(|| Error::internal("no such buffer"))
    }

    fn allocate(&mut self, id: BufferId) -> Result<()> {
        let len = self.bound.len(id);
        let slot = self.slot(id)?;
        if slot.is_none() {
            *slot = Some(zeros(len)?);
        }
        Ok(())
    }

    fn take(&mut self, id: BufferId) -> Result<Vec<f32>> {
        self.slot(id)?.take().ok_or_else(|| Error::internal("buffer that two outputs share"))
    }

    fn write(&mut self, id: BufferId, values: Vec<f32>) -> Result<()> {
        if values.len() != self.bound.len(id) {
            return Err(Error::internal(format!("buffer {} has another size", id.index())));
        }
        *self.slot(id)? = Some(values);
        Ok(())
    }

    fn read(&self, id: BufferId) -> Result<&[f32]> {
        let values = self.values.get(self.plan.storage(id)?.index()).and_then(Option::as_deref);
        values.ok_or_else(|| Error::internal(format!("buffer {} was not written", id.index())))
    }

    fn free_after(&mut self, step: usize) {
        for (values, last) in self.values.iter_mut().zip(&self.last_step) {
            if *last == Some(step) {
                *values = None;
            }
        }
    }

    fn weight(&self, id: WeightId) -> Result<std::borrow::Cow<'a, [f32]>> {
        weight_of(self.plan, id)
    }
}

fn weight_of(plan: &Plan, id: WeightId) -> Result<std::borrow::Cow<'_, [f32]>> {
    let weight = plan.weights.get(id.index()).ok_or_else(|| Error::internal("no such weight"))?;
    Ok(weight.values())
}
