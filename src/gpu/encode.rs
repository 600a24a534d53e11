//! From a step of a plan to the kernels' recording functions: which buffer is which argument.

use super::{
    kernels::{
        elementwise, gather,
        linear::{self, Columns, Linear, Rows},
        mat_mul,
        moves::{self, Windows},
        normalize::{self, Scale},
        not_equal,
        recurrence::{self, DirectionJob, RecurrenceJob},
        reduce,
        strategy::{Traits, Way, Wish, way_within},
    },
    memory::Need,
    pool::Pool,
    recorder::{Recorder, View},
    schedule::{Schedule, Unit},
    weights::{self, Layout, Weights},
};
use crate::{
    activation::Activation,
    error::{Error, Result},
    plan::{Bound, BufferId, Op, Plan, Recurrence, WeightId},
};

/// Everything that recording the steps of a run looks at.
pub(super) struct Run<'a> {
    pub(super) plan: &'a Plan,
    pub(super) schedule: &'a Schedule,
    pub(super) bound: &'a Bound,
    pub(super) need: &'a Need,
    pub(super) weights: &'a Weights,
    pub(super) pool: &'a Pool,
    pub(super) traits: &'a Traits,
    /// The sizes of the whole run, of which this may be a tile: every tile runs the same way.
    pub(super) whole: &'a Bound,
    /// Where the caller chose for the executor.
    pub(super) wish: Wish,
    /// Where a known-answer test has the rows of a value and the products of another way than its sizes would get.
    pub(super) like: Option<Way>,
}

impl<'a> Run<'a> {
    /// The place of `buffer`'s values.
    pub(super) fn view(&self, buffer: BufferId) -> Result<View<'a>> {
        let slot = self.need.layout.slot_of.get(buffer.index()).copied().flatten();
        let slot = slot.ok_or_else(|| Error::internal(format!("buffer {} has no slot", buffer.index())))?;
        Ok(View { buffer: self.pool.slot(slot)?, start: 0, len: self.bound.len(buffer) })
    }

    fn shaped(&self, buffer: BufferId) -> Result<(View<'a>, &'a [usize])> {
        Ok((self.view(buffer)?, self.bound.shape(buffer)))
    }

    fn optional(&self, buffer: Option<BufferId>) -> Result<Option<View<'a>>> {
        buffer.map(|buffer| self.view(buffer)).transpose()
    }

    fn plain(&self, weight: Option<WeightId>) -> Result<Option<View<'a>>> {
        weight.map(|weight| self.weights.plain(weight)).transpose()
    }

    /// Records the steps of a unit.
    pub(super) fn encode_unit(&self, recorder: &mut Recorder<'_>, unit: &Unit) -> Result<()> {
        if let (Some(r), Some(stored)) = (unit.recurrence(self.plan), unit.stored(self.plan)) {
            return self.recurrence(recorder, unit, r, stored);
        }
        let mut steps = self.plan.steps.get(unit.steps.clone()).unwrap_or_default().iter();
        steps.try_for_each(|step| self.encode(recorder, &step.op))
    }

    fn encode(&self, recorder: &mut Recorder<'_>, op: &Op) -> Result<()> {
        match op {
            Op::Linear { input, weight, bias, activation, output } => {
                let (input, shape) = self.shaped(*input)?;
                let inputs = shape.last().copied().unwrap_or(0);
                let output = self.shaped(*output)?;
                let outputs = output.1.last().copied().unwrap_or(0);
                let rows = output.0.len.checked_div(outputs).unwrap_or(0);
                let linear = Linear {
                    input: Columns::all(input, inputs),
                    rows: Rows::on_end(rows),
                    inputs,
                    outputs,
                    weight: &self.weights.matrix(&Layout::Linear(*weight))?,
                    bias: self.plain(*bias)?,
                    activation: *activation,
                    output: output.0,
                    output_start: 0,
                };
                linear::encode(recorder, &linear)
            }
            Op::Gather { ids, table, output } => {
                let width = self.bound.shape(*output).last().copied().unwrap_or(0);
                let table = self.weights.matrix(&Layout::Table(*table))?;
                gather::encode(recorder, self.view(*ids)?, &table, width, self.view(*output)?)
            }
            Op::Recurrence(_) => Err(Error::internal("a recurrence out of its unit")),
            Op::Map { input, activation, output } => {
                elementwise::encode_map(recorder, self.view(*input)?, *activation, self.view(*output)?)
            }
            Op::Combine { op, left, right, output } => {
                let (left, right, output) = (self.shaped(*left)?, self.shaped(*right)?, self.shaped(*output)?);
                elementwise::encode_combine(recorder, *op, left, right, output)
            }
            Op::Constant { weight, output } => {
                let values = self.weights.plain(*weight)?;
                elementwise::encode_map(recorder, values, Activation::Linear, self.view(*output)?)
            }
            Op::Ramp { start, step, axis, output } => {
                moves::encode_ramp(recorder, [*start, *step], *axis, self.shaped(*output)?)
            }
            Op::Permute { input, axes, output } => {
                elementwise::encode_permute(recorder, self.shaped(*input)?, axes, self.shaped(*output)?)
            }
            Op::Copy { input, input_start, input_step, output, output_start, axis, extent } => {
                let block = elementwise::Block {
                    axis: *axis,
                    from: self.bound.size(input_start)?,
                    step: *input_step,
                    to: self.bound.size(output_start)?,
                    extent: self.bound.size(extent)?,
                };
                elementwise::encode_copy(recorder, self.shaped(*input)?, self.shaped(*output)?, block)
            }
            Op::Window { input, stride, dilation, before, fill, output } => {
                let before = self.bound.size(before)?;
                let windows = Windows { stride: *stride, dilation: *dilation, before, fill: *fill };
                moves::encode_window(recorder, self.shaped(*input)?, windows, self.shaped(*output)?)
            }
            Op::MatMul { left, right, transposed, output } => {
                let (left, right, output) = (self.shaped(*left)?, self.shaped(*right)?, self.shaped(*output)?);
                mat_mul::encode(recorder, left, right, *transposed, output)
            }
            Op::Take { input, index, output } => {
                moves::encode_take(recorder, self.shaped(*input)?, self.shaped(*index)?, self.view(*output)?)
            }
            Op::Reduce { op, input, axis, mask, output } => {
                reduce::encode(recorder, *op, self.shaped(*input)?, *axis, self.optional(*mask)?, self.view(*output)?)
            }
            Op::Softmax { input, axis, log, output } => {
                normalize::encode_softmax(recorder, self.shaped(*input)?, *axis, *log, self.view(*output)?)
            }
            Op::LayerNorm { input, first_axis, axes, gamma, beta, epsilon, output } => {
                let scale = Scale { gamma: self.plain(*gamma)?, beta: self.plain(*beta)?, epsilon: *epsilon };
                let group = (*first_axis, *axes);
                normalize::encode_layer_norm(recorder, self.shaped(*input)?, group, scale, self.view(*output)?)
            }
            Op::BatchNorm { input, axis, mean, variance, gamma, beta, epsilon, output } => {
                let scale = Scale { gamma: self.plain(*gamma)?, beta: self.plain(*beta)?, epsilon: *epsilon };
                let statistics = [self.weights.plain(*mean)?, self.weights.plain(*variance)?];
                normalize::encode_batch_norm(
                    recorder,
                    self.shaped(*input)?,
                    *axis,
                    statistics,
                    scale,
                    self.view(*output)?,
                )
            }
            Op::NotEqual { input, value, output, width } => {
                not_equal::encode(recorder, self.view(*input)?, *value, *width, self.view(*output)?)
            }
        }
    }

    /// A recurrence, or several as the directions of one, `r`; its weights are some of those that `stored` has.
    fn recurrence(
        &self,
        recorder: &mut Recorder<'_>,
        unit: &Unit,
        r: &Recurrence,
        (stored, stored_before): (&Recurrence, usize),
    ) -> Result<()> {
        let &[batch, seq_len, _] = self.bound.shape(r.input) else {
            return Err(Error::internal("input of a recurrence"));
        };
        let (count, outputs) = (r.directions.len(), r.output_size);
        let is_stack = unit.wavefront().is_some_and(|wavefront| wavefront.is_stack);
        let mut sequences = unit.members(self.plan).filter_map(|member| member.sequence);
        let sequence = match unit.wavefront() {
            None => self.optional(r.sequence)?,
            Some(_) if is_stack || sequences.any(|id| self.is_wanted(id)) => {
                Some(self.pool.sequence(batch * seq_len * count * outputs)?)
            }
            Some(_) => None,
        };
        let matrices = r.directions.iter().map(|d| self.weights.matrix(&Layout::Linear(d.weight_ih)));
        let matrices = matrices.collect::<Result<Vec<_>>>()?;
        let states = |ids: &[Option<BufferId>]| ids.iter().map(|id| self.optional(*id)).collect::<Result<Vec<_>>>();
        let mut directions = Vec::with_capacity(count);
        // Which recurrence a direction is of, and its place among those of it.
        let places = unit.members(self.plan).flat_map(|member| (0..member.directions.len()).map(move |d| (member, d)));
        for ((direction, weight_ih), (member, place)) in r.directions.iter().zip(&matrices).zip(places) {
            let input = match sequence {
                Some(view) if is_stack && !directions.is_empty() => {
                    Columns { view, first: (directions.len() - 1) * outputs, stride: count * outputs }
                }
                _ => Columns::all(self.view(member.input)?, member.input_size),
            };
            let stride = member.directions.len() * outputs;
            let last = self.optional(member.last)?.map(|view| Columns { view, first: place * outputs, stride });
            directions.push(DirectionJob {
                reverse: direction.reverse,
                flipped: direction.flipped,
                input,
                input_size: member.input_size,
                weight_ih,
                bias_ih: self.plain(direction.bias_ih)?,
                initial: states(&direction.initial)?,
                finals: states(&direction.finals)?,
                last,
            });
        }
        let vectors = |layout: Option<Layout>| layout.map(|layout| self.weights.single(&layout)).transpose();
        let weight_hr = weights::projection(stored).map(|layout| self.weights.matrix(&layout)).transpose()?;
        let [gates_x, state] = self.pool.scratch(self.need)?;
        let (chosen, _) = way_within(r, self.traits, self.wish, self.whole)?;
        let job = RecurrenceJob {
            cell: r.cell,
            params: r.params,
            dead: r.dead,
            way: self.like.map_or(chosen, |like| chosen.like(&like)),
            hidden: r.hidden_size,
            outputs,
            batch,
            seq_len,
            mask: self.optional(r.mask)?,
            weight_hh: &self.weights.matrix(&weights::recurrent(stored))?,
            bias_hh: vectors(weights::recurrent_bias(stored))?,
            peephole: vectors(weights::peephole(stored))?,
            weight_hr: weight_hr.as_ref(),
            directions,
            stored_before,
            is_stack,
            sequence,
            gates_x,
            state,
        };
        recurrence::encode(recorder, &job)?;
        let Some(from) = sequence.filter(|_| unit.wavefront().is_some()) else { return Ok(()) };
        for (d, member) in unit.members(self.plan).enumerate() {
            let Some(to) = member.sequence.filter(|id| self.is_wanted(*id)) else { continue };
            let (from, to) = ((from, d * outputs, count * outputs), (self.view(to)?, 0, outputs));
            elementwise::encode_copy_rows(recorder, batch * seq_len, outputs, from, to)?;
        }
        Ok(())
    }

    /// Whether the run has a use for `buffer`.
    pub(super) fn is_wanted(&self, buffer: BufferId) -> bool {
        self.need.layout.slot_of.get(buffer.index()).copied().flatten().is_some()
    }
}
