//! The layers that arrange values without computing, and those that know nothing of masks.

use super::{Call, Lowered, Lowering};
use crate::{
    activation::Activation,
    dim::Dim,
    error::{Error, Result, quoted},
    model::{LayerKind, Reduction},
    plan::{BufferId, CombineOp, Op, ReduceOp},
};

impl From<Reduction> for ReduceOp {
    fn from(op: Reduction) -> Self {
        match op {
            Reduction::Sum => Self::Sum,
            Reduction::Mean => Self::Mean,
            Reduction::Max => Self::Max,
            Reduction::Min => Self::Min,
        }
    }
}

impl Lowering<'_> {
    /// One call of such a layer.
    pub(super) fn arranged(&mut self, call: &Call<'_>, kind: &LayerKind) -> Result<Vec<Lowered>> {
        let (name, shape) = (call.name.as_str(), call.output_shape()?);
        let input =
            |index: usize| call.inputs.get(index).cloned().ok_or_else(|| Error::internal("a call without an input"));
        match kind {
            LayerKind::MaskOf => {
                let input = input(0)?;
                let buffer = match input.mask {
                    Some(mask) => mask,
                    None => self.ramp(name, 1.0, 0.0, 0, shape),
                };
                return Ok(vec![Lowered { buffer, mask: None, ragged: input.ragged, origins: Vec::new() }]);
            }
            LayerKind::CarryMask => {
                let mask = call.inputs.get(1).and_then(|source| source.mask);
                return Ok(vec![Lowered { mask, ..input(0)? }]);
            }
            _ => {}
        }
        let ragged = self.ragged_behind(call, kind, &shape)?;
        let computed = |buffer| Ok(vec![Lowered { buffer, mask: None, ragged, origins: Vec::new() }]);
        let moved = |buffer, origins| Ok(vec![Lowered { buffer, mask: None, ragged, origins }]);
        match kind {
            LayerKind::Constant(tensor) => {
                let weight = self.weight(name, "value", tensor);
                let output = self.buffer(name, shape);
                self.step(name, Op::Constant { weight, output });
                computed(output)
            }
            LayerKind::Ramp { start, step, axis, .. } => computed(self.ramp(name, *start, *step, *axis, shape)),
            LayerKind::Permute { axes } => {
                let (from, output) = (input(0)?, self.buffer(name, shape));
                self.step(name, Op::Permute { input: from.buffer, axes: axes.clone(), output });
                moved(output, from.origins)
            }
            LayerKind::Slice { axis, start, step, extent } => {
                let (from, output) = (input(0)?, self.buffer(name, shape));
                let (input_start, extent) = (start.clone(), extent.clone());
                self.step(
                    name,
                    Op::Copy {
                        input: from.buffer,
                        input_start,
                        input_step: *step,
                        output,
                        output_start: Dim::from(0),
                        axis: *axis,
                        extent,
                    },
                );
                moved(output, from.origins)
            }
            LayerKind::ReshapeTo { .. } => {
                let from = input(0)?;
                let buffer = self.view(from.buffer, shape);
                moved(buffer, from.origins)
            }
            LayerKind::Expand { .. } => {
                let from = input(0)?;
                let buffer = self.expanded(name, from.buffer, shape);
                moved(buffer, from.origins)
            }
            LayerKind::Pad { axis, before, after, value } => {
                let from = input(0)?.buffer;
                let part = |extent: &Dim| {
                    let mut part = shape.clone();
                    if let Some(axis) = part.get_mut(*axis) {
                        *axis = extent.clone();
                    }
                    part
                };
                let (head, tail) = (part(before), part(after));
                let head = self.ramp(name, *value, 0.0, 0, head);
                let tail = self.ramp(name, *value, 0.0, 0, tail);
                computed(self.joined(name, &[head, from, tail], *axis, shape))
            }
            LayerKind::Reduce { op, axis, .. } => {
                let (from, output) = (input(0)?, self.buffer(name, shape));
                let op = ReduceOp::from(*op);
                self.step(name, Op::Reduce { op, input: from.buffer, axis: *axis, mask: None, output });
                computed(output)
            }
            LayerKind::MatMul { transposed } => {
                let (left, right, output) = (input(0)?, input(1)?, self.buffer(name, shape));
                let (left, right, transposed) = (left.buffer, right.buffer, *transposed);
                self.step(name, Op::MatMul { left, right, transposed, output });
                computed(output)
            }
            LayerKind::Take => {
                let (from, index) = (input(0)?, input(1)?);
                let output = self.buffer(name, shape);
                self.step(name, Op::Take { input: from.buffer, index: index.buffer, output });
                moved(output, from.origins)
            }
            LayerKind::LengthMask => {
                let lengths = self.lengths(call, &input(0)?, &shape)?;
                let (_, live) = self.live_positions(name, lengths, &shape);
                computed(live)
            }
            LayerKind::ReverseSequence => {
                let lengths = self.lengths(call, &input(1)?, &shape)?;
                let positions: Vec<Dim> = shape.iter().take(2).cloned().collect();
                let (position, live) = self.live_positions(name, lengths, &positions);
                // t where it is beyond the length, else length - 1 - t
                let mirror = self.mapped(name, position, Activation::Affine { alpha: -2.0, beta: -1.0 });
                let moved = self.combined(name, CombineOp::Add, mirror, lengths, positions.clone());
                let moved = self.combined(name, CombineOp::Multiply, moved, live, positions.clone());
                let index = self.combined(name, CombineOp::Add, moved, position, positions);
                let (from, output) = (input(0)?.buffer, self.buffer(name, shape));
                self.step(name, Op::Take { input: from, index, output });
                computed(output)
            }
            _ => Err(Error::internal("a kind that is lowered elsewhere")),
        }
    }

    /// A value that rises by `step` along `axis`.
    pub(super) fn ramp(&mut self, name: &str, start: f32, step: f32, axis: usize, shape: Vec<Dim>) -> BufferId {
        let output = self.buffer(name, shape);
        self.step(name, Op::Ramp { start, step, axis, output });
        output
    }

    /// `input` with its axes of extent 1 repeated to `shape`.
    pub(super) fn expanded(&mut self, name: &str, input: BufferId, shape: Vec<Dim>) -> BufferId {
        let from = self.shape(input);
        let same = |(a, b): (&Dim, &Dim)| a == b;
        // The axis of the block that is copied is one that stays as it is; else one is put in.
        let axis = from.iter().zip(&shape).position(|pair| same(pair) && pair.0.fixed() != Some(1));
        let (input, target, axis) = match axis {
            Some(axis) => (input, shape.clone(), axis),
            None => {
                let (mut from, mut target) = (from, shape.clone());
                from.push(Dim::from(1));
                target.push(Dim::from(1));
                (self.view(input, from), target, shape.len())
            }
        };
        let output = self.buffer(name, target.clone());
        let extent = target.get(axis).cloned().unwrap_or_else(|| Dim::from(1));
        let (input_start, output_start) = (Dim::from(0), Dim::from(0));
        self.step(name, Op::Copy { input, input_start, input_step: 1, output, output_start, axis, extent });
        if target == shape { output } else { self.view(output, shape) }
    }

    /// Lengths as `[batch, 1]`, checked to be at most `shape`'s second extent.
    fn lengths(&mut self, call: &Call<'_>, lengths: &Lowered, shape: &[Dim]) -> Result<BufferId> {
        let ([port], Some(longest)) = (lengths.origins.as_slice(), shape.get(1)) else {
            return Err(Error::unsupported(
                format!("layer {}", quoted(&call.name)),
                "lengths that the model computes",
                "give the lengths as an input of the model",
            ));
        };
        if let Some(port) = self.plan.inputs.get_mut(*port) {
            port.lengths = Some((longest.clone(), call.name.clone()));
        }
        let mut wide = self.shape(lengths.buffer);
        wide.push(Dim::from(1));
        Ok(self.view(lengths.buffer, wide))
    }

    /// Of `[batch, seq_len]`: the positions `[1, seq_len]`, and 1 at those below `lengths`, else 0.
    fn live_positions(&mut self, name: &str, lengths: BufferId, shape: &[Dim]) -> (BufferId, BufferId) {
        let row: Vec<Dim> = std::iter::once(Dim::from(1)).chain(shape.iter().skip(1).cloned()).collect();
        let position = self.ramp(name, 0.0, 1.0, 1, row);
        (position, self.combined(name, CombineOp::Less, position, lengths, shape.to_vec()))
    }
}
