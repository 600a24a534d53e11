//! [`Plan::check`]: the shapes that steps rely on, checked once before a run, so that executors can
//! index without doubt. A plan that fails is a defect of whoever wrote it: [`Error::Internal`].

use super::{Bound, BufferId, Op, Plan, Recurrence, Step, WeightId};
use crate::error::{Error, Result, quoted};

impl Plan {
    /// Checks that `bound` fits this plan and that every step's operands exist, have the shapes
    /// that its documentation states, and that no step writes storage that it reads.
    ///
    /// # Errors
    /// [`Error::Internal`] naming the step and the operand.
    pub fn check(&self, bound: &Bound) -> Result<()> {
        if bound.shapes.len() != self.buffers.len() {
            return Err(Error::internal("sizes of another plan"));
        }
        for (index, buffer) in self.buffers.iter().enumerate() {
            let id = BufferId(index);
            if bound.len(id) != bound.len(self.storage(id)?) {
                return Err(Error::internal(format!("view {} has another size", buffer.name)));
            }
        }
        for step in &self.steps {
            let checker = Checker { plan: self, bound, step };
            let checked = checker.operands().and_then(|()| checker.apart());
            checked.map_err(|fault| match fault {
                Error::Internal { what } => Error::internal(format!("step {}: {what}", step.name)),
                other => other,
            })?;
        }
        Ok(())
    }
}

struct Checker<'a> {
    plan: &'a Plan,
    bound: &'a Bound,
    step: &'a Step,
}

impl<'a> Checker<'a> {
    fn shape(&self, id: BufferId) -> Result<&'a [usize]> {
        let shape = self.bound.shapes.get(id.0);
        shape.map(Vec::as_slice).ok_or_else(|| Error::internal(format!("no buffer {}", id.0)))
    }

    /// The weight's values are f32, `rank` axes, none of them empty.
    fn weight(&self, id: WeightId, rank: usize) -> Result<&'a [usize]> {
        let weight = self.plan.weights.get(id.0).ok_or_else(|| Error::internal("no such weight"))?;
        let shape = weight.tensor.shape();
        need("a weight of that rank", shape.len() == rank && !shape.contains(&0))?;
        Ok(shape)
    }

    /// A weight of `count` values, of any rank.
    fn weight_len(&self, id: Option<WeightId>, count: usize) -> Result<()> {
        let Some(id) = id else { return Ok(()) };
        let weight = self.plan.weights.get(id.0).ok_or_else(|| Error::internal("no such weight"))?;
        need("as many values as the axes have", weight.tensor.len() == count)
    }

    fn buffer(&self, what: &str, id: BufferId, shape: &[usize]) -> Result<()> {
        let found = self.shape(id)?;
        if found == shape {
            return Ok(());
        }
        Err(Error::internal(format!("{what} has shape {found:?} instead of {shape:?}")))
    }

    /// No output shares storage with an input or with another output.
    fn apart(&self) -> Result<()> {
        let storage = |ids: Vec<BufferId>| ids.into_iter().map(|id| self.plan.storage(id)).collect::<Result<Vec<_>>>();
        let mut taken = storage(self.step.op.inputs())?;
        for output in storage(self.step.op.outputs())? {
            need("outputs that share no storage", !taken.contains(&output))?;
            taken.push(output);
        }
        Ok(())
    }

    fn operands(&self) -> Result<()> {
        match &self.step.op {
            Op::Linear { input, weight, bias, output, .. } => {
                let (leading, width) = split_last(self.shape(*input)?)?;
                let weight = self.weight(*weight, 2)?;
                need("a weight as wide as the input", weight.get(1) == Some(&width))?;
                let out = weight.first().copied().unwrap_or(0);
                self.weight_len(*bias, out)?;
                self.buffer("output", *output, &[leading, &[out]].concat())
            }
            Op::Gather { ids, table, output } => {
                let width = self.weight(*table, 2)?.get(1).copied().unwrap_or(0);
                self.buffer("output", *output, &[self.shape(*ids)?, &[width]].concat())
            }
            Op::Recurrence(recurrence) => self.recurrence(recurrence),
            Op::Map { input, output, .. } => self.buffer("output", *output, self.shape(*input)?),
            Op::Combine { left, right, output, .. } => {
                let output = self.shape(*output)?;
                for side in [self.shape(*left)?, self.shape(*right)?] {
                    need("operands that broadcast", broadcasts(side, output, None))?;
                }
                Ok(())
            }
            Op::Constant { weight, output } => {
                let weight = self.plan.weights.get(weight.0).ok_or_else(|| Error::internal("no such weight"))?;
                self.buffer("output", *output, weight.tensor.shape())
            }
            Op::Ramp { axis, output, .. } => need("an axis of the output", *axis < self.shape(*output)?.len()),
            Op::Permute { input, axes, output } => {
                let input = self.shape(*input)?;
                let mut sorted = axes.clone();
                sorted.sort_unstable();
                need("each axis once", sorted.into_iter().eq(0..input.len()))?;
                need("the first axis in its place", axes.first() == Some(&0))?;
                let shape: Vec<usize> = axes.iter().filter_map(|&axis| input.get(axis).copied()).collect();
                self.buffer("output", *output, &shape)
            }
            Op::Copy { input, input_start, input_step, output, output_start, axis, extent } => {
                let (input, output) = (self.shape(*input)?, self.shape(*output)?);
                need("an input that broadcasts", broadcasts(input, output, Some(*axis)))?;
                let extent = self.bound.size(extent)?;
                for (start, step, shape) in [(input_start, *input_step, input), (output_start, 1, output)] {
                    let room = shape.get(*axis).copied();
                    let start = self.bound.size(start)?;
                    need("a block inside the axis", room.is_some_and(|room| inside(start, step, extent, room)))?;
                }
                Ok(())
            }
            Op::Window { input, stride, dilation, before, output, .. } => {
                let (&[rows, len, channels], &[_, windows, width, _]) = (self.shape(*input)?, self.shape(*output)?)
                else {
                    return Err(Error::internal("needs [rows, len, channels] and [rows, windows, width, channels]"));
                };
                self.buffer("output", *output, &[rows, windows, width, channels])?;
                need("a stride and a dilation", *stride > 0 && *dilation > 0)?;
                let reach = |count: usize, step: usize| count.saturating_sub(1).saturating_mul(step);
                let reach = reach(windows, *stride).saturating_add(reach(width, *dilation));
                let parts = [len, reach, *stride, *dilation, self.bound.size(before)?];
                within_positions(&self.step.name, parts.into_iter().max().unwrap_or(0))
            }
            Op::MatMul { left, right, transposed, output } => {
                let (left, right, output) = (self.shape(*left)?, self.shape(*right)?, self.shape(*output)?);
                let (&[ref left_axes @ .., m, k], &[ref right_axes @ .., r0, r1], &[ref axes @ .., out_m, out_n]) =
                    (left, right, output)
                else {
                    return Err(Error::internal("needs matrices"));
                };
                let (right_k, n) = if *transposed { (r1, r0) } else { (r0, r1) };
                need("matrices that fit", right_k == k && (out_m, out_n) == (m, n) && !axes.is_empty())?;
                for side in [left_axes, right_axes] {
                    need("operands that broadcast", broadcasts(side, axes, None))?;
                }
                Ok(())
            }
            Op::Take { input, index, output } => {
                let (input, index, output) = (self.shape(*input)?, self.shape(*index)?, self.shape(*output)?);
                let (&[rows, len, ref rest @ ..], &[index_rows, count]) = (input, index) else {
                    return Err(Error::internal("needs [rows, len, ..] and [rows, count]"));
                };
                let fits = index_rows == rows && output == [&[rows, count], rest].concat();
                need("an output of its sizes", fits && (len > 0 || output.contains(&0)))
            }
            Op::Reduce { input, axis, mask, output, .. } => {
                let input = self.shape(*input)?;
                need("an axis of the input", *axis < input.len())?;
                let (mut without, mut kept) = (input.to_vec(), input.to_vec());
                without.remove(*axis);
                kept.splice(axis..=axis, [1]);
                let output = self.shape(*output)?;
                need("the other axes as output", output == without || output == kept)?;
                let Some(mask) = mask else { return Ok(()) };
                need("axis 1 to be the masked one", *axis == 1)?;
                self.buffer("mask", *mask, input.get(..2).unwrap_or_default())
            }
            Op::Softmax { input, axis, output, .. } => {
                let input = self.shape(*input)?;
                need("an axis of the input", *axis < input.len())?;
                self.buffer("output", *output, input)
            }
            Op::LayerNorm { input, first_axis, axes, gamma, beta, output, .. } => {
                let input = self.shape(*input)?;
                let group = first_axis.checked_add(*axes).and_then(|end| input.get(*first_axis..end));
                let group = group.ok_or_else(|| Error::internal("axes outside the input"))?;
                let count = group.iter().product();
                self.weight_len(*gamma, count)?;
                self.weight_len(*beta, count)?;
                self.buffer("output", *output, input)
            }
            Op::BatchNorm { input, axis, mean, variance, gamma, beta, output, .. } => {
                let input = self.shape(*input)?;
                let channels = input.get(*axis).copied();
                let channels = channels.ok_or_else(|| Error::internal("axis outside the input"))?;
                for weight in [Some(*mean), Some(*variance), *gamma, *beta] {
                    self.weight_len(weight, channels)?;
                }
                self.buffer("output", *output, input)
            }
            Op::NotEqual { input, output, width, .. } => {
                let (input, output) = (self.shape(*input)?, self.shape(*output)?);
                let looked_at = output.iter().product::<usize>().checked_mul(*width);
                let fits = *width > 0 && looked_at == Some(input.iter().product());
                need("an output per group of values", fits)
            }
        }
    }

    fn recurrence(&self, r: &Recurrence) -> Result<()> {
        let &[batch, seq_len, input_size] = self.shape(r.input)? else {
            return Err(Error::internal("input is not [batch, seq_len, input_size]"));
        };
        let spec = r.cell.spec();
        let (hidden, output) = (r.hidden_size, r.output_size);
        need("the input size that it states", input_size == r.input_size)?;
        need("units, features and directions", output > 0 && input_size > 0 && !r.directions.is_empty())?;
        need("no more units than the cell has", output <= hidden)?;
        let projected = r.is_projected();
        need("a cell that can be projected", !projected || spec.can_project)?;
        need("a projection of its hidden state", projected || output == hidden)?;
        need("a cell with coupled gates", !r.params.coupled || spec.can_couple)?;
        need("a bound above 0", r.params.clip.is_none_or(|clip| clip > 0.0))?;
        let width = output.saturating_mul(r.directions.len());
        let stacked = hidden.saturating_mul(spec.gates.len());
        for (mask, shape) in
            [(r.mask, &[batch, seq_len][..]), (r.sequence, &[batch, seq_len, width]), (r.last, &[batch, width])]
        {
            mask.map_or(Ok(()), |id| self.buffer("mask, sequence or last", id, shape))?;
        }
        for direction in &r.directions {
            need("weight_ih of its sizes", self.weight(direction.weight_ih, 2)? == [stacked, input_size])?;
            need("weight_hh of its sizes", self.weight(direction.weight_hh, 2)? == [stacked, output])?;
            self.weight_len(direction.bias_ih, stacked)?;
            self.weight_len(direction.bias_hh, stacked)?;
            need("both directions alike", direction.peephole.is_some() == r.has_peepholes())?;
            need("both directions alike", direction.projection.is_some() == projected)?;
            need("a cell with peepholes", direction.peephole.is_none() || !spec.peepholes.is_empty())?;
            self.weight_len(direction.peephole, hidden.saturating_mul(spec.peepholes.len()))?;
            if let Some(projection) = direction.projection {
                need("a projection of its sizes", self.weight(projection, 2)? == [output, hidden])?;
            }
            for states in [&direction.initial, &direction.finals] {
                need("a slot for each state", states.len() == spec.states.len())?;
                for (state, id) in states.iter().enumerate().filter_map(|(state, id)| Some((state, (*id)?))) {
                    self.buffer("state", id, &[batch, r.state_size(state)])?;
                }
            }
        }
        Ok(())
    }
}

fn need(what: &str, holds: bool) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::internal(format!("needs {what}"))) }
}

/// The positions that a window can reach: executors count them with signed 32-bit numbers.
const MAX_POSITIONS: usize = 1 << 30;

fn within_positions(name: &str, reach: usize) -> Result<()> {
    if reach <= MAX_POSITIONS {
        return Ok(());
    }
    Err(Error::Limit {
        what: format!("step {}", quoted(name)),
        need: format!("windows over {reach} positions"),
        limit: format!("{MAX_POSITIONS}"),
        hint: "use shorter sequences, strides or dilations".to_owned(),
    })
}

/// Whether `extent` positions from `start` on, `step` apart, lie in an axis of `room`.
fn inside(start: usize, step: i64, extent: usize, room: usize) -> bool {
    let Some(steps) = extent.checked_sub(1) else { return step != 0 && start <= room };
    let number = |size: usize| i64::try_from(size).ok();
    let last = number(steps).and_then(|steps| number(start)?.checked_add(steps.checked_mul(step)?));
    step != 0 && start < room && last.and_then(|last| usize::try_from(last).ok()).is_some_and(|last| last < room)
}

/// Whether `shape` has the rank of `output` and each of its axes (but `except`) the output's extent or 1.
fn broadcasts(shape: &[usize], output: &[usize], except: Option<usize>) -> bool {
    let fits = |(axis, (&side, &out)): (usize, (&usize, &usize))| side == out || side == 1 || Some(axis) == except;
    shape.len() == output.len() && shape.iter().zip(output).enumerate().all(fits)
}

fn split_last(shape: &[usize]) -> Result<(&[usize], usize)> {
    let split = shape.split_last().map(|(&last, leading)| (leading, last));
    split.ok_or_else(|| Error::internal("needs an axis"))
}
