//! The specification: a plan run in f64 with plain loops, one value at a time. It shares no loop
//! with the other executors and reads the f32 weights as they are.
//!
//! Not fast, and not meant to be: every other executor is compared with it.

mod moves;
mod pointwise;
mod recurrence;
mod reduce;

use crate::{
    error::{Error, Result},
    plan::{Bound, BufferId, Op, Plan, WeightId},
    tensor::zeros,
};

/// The values of `outputs` after a run of `plan` with the sizes `bound`. Buffers that nobody
/// writes are zero.
///
/// # Errors
/// [`Error::Internal`] if the plan is broken or an input has another size than `bound` says.
pub fn run(plan: &Plan, bound: &Bound, inputs: &[(BufferId, Vec<f64>)], outputs: &[BufferId]) -> Result<Vec<Vec<f64>>> {
    plan.check(bound)?;
    let mut run = Run { plan, bound, values: vec![Vec::new(); plan.buffers.len()] };
    for (index, values) in run.values.iter_mut().enumerate() {
        let id = BufferId::new(index);
        if plan.storage(id)? == id {
            *values = zeros(bound.len(id))?;
        }
    }
    for (id, values) in inputs {
        run.write(*id, values.clone())?;
    }
    for step in &plan.steps {
        run.step(&step.op)?;
    }
    outputs.iter().map(|&id| Ok(run.read(id)?.to_vec())).collect()
}

struct Run<'a> {
    plan: &'a Plan,
    bound: &'a Bound,
    /// By buffer; empty for views.
    values: Vec<Vec<f64>>,
}

impl Run<'_> {
    fn step(&mut self, op: &Op) -> Result<()> {
        // A batch without timesteps may have any number of rows: do not count them.
        if op.outputs().iter().all(|&id| self.bound.len(id) == 0) {
            return Ok(());
        }
        let (output, values) = match op {
            Op::Recurrence(recurrence) => {
                for (output, values) in self.recurrence(recurrence)? {
                    self.write(output, values)?;
                }
                return Ok(());
            }
            Op::Linear { input, weight, bias, activation, output } => {
                (*output, self.linear(*input, *weight, *bias, *activation)?)
            }
            Op::Gather { ids, table, output } => (*output, self.gather(*ids, *table)?),
            Op::Map { input, activation, output } => {
                (*output, self.read(*input)?.iter().map(|&x| activation.apply_f64(x)).collect())
            }
            Op::Combine { op, left, right, output } => (*output, self.combine(*op, *left, *right, *output)?),
            Op::Constant { weight, output } => (*output, self.constant(*weight)?),
            Op::Ramp { start, step, axis, output } => (*output, self.ramp(*start, *step, *axis, *output)),
            Op::Permute { input, axes, output } => (*output, self.permute(*input, axes, *output)?),
            Op::Copy { input, input_start, input_step, output, output_start, axis, extent } => {
                let size = |dim| self.bound.size(dim);
                let (from, to, extent) = (size(input_start)?, size(output_start)?, size(extent)?);
                (*output, self.copy(*input, (from, *input_step), *output, to, *axis, extent)?)
            }
            Op::Window { input, stride, dilation, before, fill, output } => {
                let before = self.bound.size(before)?;
                (*output, self.window(*input, *stride, *dilation, before, *fill, *output)?)
            }
            Op::MatMul { left, right, transposed, output } => {
                (*output, self.mat_mul(*left, *right, *transposed, *output)?)
            }
            Op::Take { input, index, output } => (*output, self.take(*input, *index, *output)?),
            Op::Reduce { op, input, axis, mask, output } => (*output, self.reduce(*op, *input, *axis, *mask)?),
            Op::Softmax { input, axis, log, output } => (*output, self.softmax(*input, *axis, *log)?),
            Op::LayerNorm { input, first_axis, axes, gamma, beta, epsilon, output } => {
                (*output, self.layer_norm(*input, *first_axis, *axes, *gamma, *beta, *epsilon)?)
            }
            Op::BatchNorm { input, axis, mean, variance, gamma, beta, epsilon, output } => {
                (*output, self.batch_norm(*input, *axis, [*mean, *variance], *gamma, *beta, *epsilon)?)
            }
            Op::NotEqual { input, value, output, width } => (*output, self.not_equal(*input, *value, *width)?),
        };
        self.write(output, values)
    }

    fn shape(&self, id: BufferId) -> &[usize] {
        self.bound.shape(id)
    }

    fn read(&self, id: BufferId) -> Result<&[f64]> {
        let values = self.values.get(self.plan.storage(id)?.index());
        values.map(Vec::as_slice).ok_or_else(|| Error::internal("no such buffer"))
    }

    fn write(&mut self, id: BufferId, new: Vec<f64>) -> Result<()> {
        let storage = self.plan.storage(id)?.index();
        let values = self.values.get_mut(storage).filter(|values| values.len() == new.len());
        *values.ok_or_else(|| Error::internal(format!("buffer {storage} has another size")))? = new;
        Ok(())
    }

    fn weight(&self, id: WeightId) -> Result<Vec<f64>> {
        let weight = self.plan.weights.get(id.index());
        let weight = weight.ok_or_else(|| Error::internal("no such weight"))?;
        Ok(weight.values().iter().map(|&value| f64::from(value)).collect())
    }

    /// A weight that may be absent: then `count` times `default`.
    fn weight_or(&self, id: Option<WeightId>, count: usize, default: f64) -> Result<Vec<f64>> {
        id.map_or_else(|| Ok(vec![default; count]), |id| self.weight(id))
    }
}

/// A shape seen from one axis: element `(outer, position, inner)` is at
/// `(outer * extent + position) * inner_size + inner`.
struct Axis {
    outer_size: usize,
    extent: usize,
    inner_size: usize,
}

impl Axis {
    /// The axes `first..first + count` of `shape` as one.
    fn of(shape: &[usize], first: usize, count: usize) -> Self {
        let size = |dims: &[usize]| dims.iter().product();
        let (outer, rest) = shape.split_at(first.min(shape.len()));
        let (axes, inner) = rest.split_at(count.min(rest.len()));
        Self { outer_size: size(outer), extent: size(axes), inner_size: size(inner) }
    }

    fn at(&self, outer: usize, position: usize, inner: usize) -> usize {
        (outer * self.extent + position) * self.inner_size + inner
    }
}
