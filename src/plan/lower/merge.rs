//! The layers that bring several values together.

use super::{Call, Lowered, Lowering};
use crate::{
    activation::Activation,
    dim::Dim,
    error::{Error, Result, quoted},
    model::{MergeOp, expanded, resolve_axis},
    plan::{BufferId, CombineOp, Op},
};

impl Lowering<'_> {
    pub(super) fn concatenate(&mut self, call: &Call<'_>, axis: i64) -> Result<Vec<Lowered>> {
        let shape = call.output_shape()?;
        let axis = resolve_axis(&format!("layer {}", quoted(&call.name)), axis, shape.len())?;
        if axis == 1 {
            call.refuse_ragged("it joins timesteps")?;
        }
        let parts: Vec<BufferId> = call.inputs.iter().map(|input| input.buffer).collect();
        let output = self.joined(&call.name, &parts, axis, shape.clone());
        let mask = self.concatenated_mask(call, axis, &shape)?;
        let ragged = self.common_ragged(call)?;
        let computed = call.inputs.iter().any(|input| input.origins.is_empty());
        let origins = if computed { Vec::new() } else { call.inputs.iter().flat_map(|i| i.origins.clone()).collect() };
        Ok(vec![Lowered { buffer: output, mask, ragged, origins }])
    }

    /// `parts` side by side along `axis`.
    pub(super) fn joined(&mut self, name: &str, parts: &[BufferId], axis: usize, shape: Vec<Dim>) -> BufferId {
        let output = self.buffer(name, shape);
        let mut start = Dim::from(0);
        for &input in parts {
            let extent = self.shape(input).get(axis).cloned().unwrap_or_else(|| Dim::from(0));
            let end = &start + &extent;
            let input_start = Dim::from(0);
            self.step(name, Op::Copy { input, input_start, input_step: 1, output, output_start: start, axis, extent });
            start = end;
        }
        output
    }

    /// Keras: along the timesteps the masks are joined, an input without one counting as live; along
    /// the features a timestep is live where any input is.
    fn concatenated_mask(&mut self, call: &Call<'_>, axis: usize, shape: &[Dim]) -> Result<Option<BufferId>> {
        if call.inputs.iter().all(|input| input.mask.is_none()) {
            return Ok(None);
        }
        let [batch, seq_len, _] = shape else {
            return Err(Error::unsupported(
                format!("layer {}", quoted(&call.name)),
                "masks on values that are not [batch, seq_len, features]",
                "remove the mask before it",
            ));
        };
        if axis != 1 {
            let masks: Option<Vec<BufferId>> = call.inputs.iter().map(|input| input.mask).collect();
            return Ok(masks.and_then(|masks| self.any_live(&call.name, &masks)));
        }
        let mut masks = Vec::new();
        for input in &call.inputs {
            masks.push(match input.mask {
                Some(mask) => mask,
                None => self.all_live(&call.name, input.buffer),
            });
        }
        let shape = vec![batch.clone(), seq_len.clone()];
        Ok(Some(self.joined(&format!("{} mask", call.name), &masks, 1, shape)))
    }

    /// A mask of ones for the sequence `input`: every value differs from NaN.
    fn all_live(&mut self, name: &str, input: BufferId) -> BufferId {
        let shape = self.shape(input);
        let width = shape.get(2).and_then(Dim::fixed).unwrap_or(1);
        let output = self.buffer(&format!("{name} mask"), shape.into_iter().take(2).collect());
        self.step(name, Op::NotEqual { input, value: f32::NAN, output, width });
        output
    }

    /// Live where any of `masks` is.
    fn any_live(&mut self, name: &str, masks: &[BufferId]) -> Option<BufferId> {
        let (&first, rest) = masks.split_first()?;
        Some(
            rest.iter()
                .fold(first, |left, &right| self.combined(name, CombineOp::Maximum, left, right, self.shape(left))),
        )
    }

    pub(super) fn combined(
        &mut self,
        name: &str,
        op: CombineOp,
        left: BufferId,
        right: BufferId,
        shape: Vec<Dim>,
    ) -> BufferId {
        let output = self.buffer(name, shape);
        self.step(name, Op::Combine { op, left, right, output });
        output
    }

    pub(super) fn mapped(&mut self, name: &str, input: BufferId, activation: Activation) -> BufferId {
        let output = self.buffer(name, self.shape(input));
        self.step(name, Op::Map { input, activation, output });
        output
    }

    pub(super) fn merge(&mut self, call: &Call<'_>, op: MergeOp) -> Result<Vec<Lowered>> {
        let shape = call.output_shape()?;
        let mut parts = Vec::new();
        for input in &call.inputs {
            let own = self.shape(input.buffer);
            let wide = expanded(&own, shape.len());
            parts.push(if wide == own { input.buffer } else { self.view(input.buffer, wide) });
        }
        let masks: Option<Vec<BufferId>> = call.inputs.iter().map(|input| input.mask).collect();
        let mask = masks.and_then(|masks| self.any_live(&call.name, &masks));
        let buffer = match op {
            MergeOp::Add | MergeOp::Average => self.folded(&call.name, CombineOp::Add, &parts, &shape)?,
            MergeOp::Subtract => self.folded(&call.name, CombineOp::Subtract, &parts, &shape)?,
            MergeOp::Multiply => self.multiplied(call, &parts, mask, &shape)?,
            MergeOp::Maximum => self.extreme(call, CombineOp::Maximum, &parts, &shape)?,
            MergeOp::Minimum => self.extreme(call, CombineOp::Minimum, &parts, &shape)?,
            MergeOp::Divide => self.folded(&call.name, CombineOp::Divide, &parts, &shape)?,
            MergeOp::Equal => self.folded(&call.name, CombineOp::Equal, &parts, &shape)?,
            MergeOp::Less => self.folded(&call.name, CombineOp::Less, &parts, &shape)?,
            MergeOp::Mask => self.folded(&call.name, CombineOp::Mask, &parts, &shape)?,
        };
        let buffer = if op == MergeOp::Average { self.average(&call.name, buffer, parts.len())? } else { buffer };
        let ragged = self.common_ragged(call)?;
        Ok(vec![Lowered { buffer, mask, ragged, origins: Vec::new() }])
    }

    /// `sum / count`.
    pub(super) fn average(&mut self, name: &str, sum: BufferId, count: usize) -> Result<BufferId> {
        let count =
            u16::try_from(count).map_err(|_| Error::unsupported(name, format!("{count} inputs"), "average fewer"))?;
        Ok(self.mapped(name, sum, Activation::Affine { alpha: 1.0 / f32::from(count), beta: 0.0 }))
    }

    /// `parts` combined from the first to the last.
    pub(super) fn folded(&mut self, name: &str, op: CombineOp, parts: &[BufferId], shape: &[Dim]) -> Result<BufferId> {
        let Some((&first, rest)) = parts.split_first() else {
            return Err(Error::internal("a merge of nothing"));
        };
        let mut left = first;
        let mut left_shape = self.shape(first);
        for (index, &right) in rest.iter().enumerate() {
            // What is combined so far may still be smaller than the result.
            let next: Vec<Dim> = if index + 1 == rest.len() {
                shape.to_vec()
            } else {
                left_shape
                    .iter()
                    .zip(&self.shape(right))
                    .map(|(a, b)| if a.fixed() == Some(1) { b.clone() } else { a.clone() })
                    .collect()
            };
            left = self.combined(name, op, left, right, next.clone());
            left_shape = next;
        }
        Ok(left)
    }

    /// Keras: where the mask of one side is dead the other side counts alone, and where both are the side
    /// that came first.
    fn extreme(&mut self, call: &Call<'_>, op: CombineOp, parts: &[BufferId], shape: &[Dim]) -> Result<BufferId> {
        if call.inputs.iter().all(|input| input.mask.is_none()) {
            return self.folded(&call.name, op, parts, shape);
        }
        let name = call.name.as_str();
        let mut all = call.inputs.iter().zip(parts).map(|(input, &part)| (part, input.mask));
        let Some((mut left, mut live)) = all.next() else {
            return Err(Error::internal("a merge of nothing"));
        };
        for (mut right, mask) in all {
            if self.shape(left) != shape || self.shape(right) != shape {
                let subject = format!("layer {}", quoted(name));
                return Err(Error::unsupported(
                    subject,
                    "masks on values of several shapes",
                    "remove the masks before it",
                ));
            }
            if let Some(mask) = mask {
                right = self.selected(call, mask, right, left)?;
            }
            if let Some(live) = live {
                left = self.selected(call, live, left, right)?;
            }
            live = match (live, mask) {
                (Some(live), Some(mask)) => self.any_live(name, &[live, mask]),
                _ => None,
            };
            left = self.combined(name, op, left, right, shape.to_vec());
        }
        Ok(left)
    }

    /// `live` where `mask` is 1, and `dead` elsewhere.
    fn selected(&mut self, call: &Call<'_>, mask: BufferId, live: BufferId, dead: BufferId) -> Result<BufferId> {
        let (name, shape) = (call.name.as_str(), self.shape(live));
        let wide = self.wide_mask(call, mask, live)?;
        let other = self.mapped(name, wide, Activation::Affine { alpha: -1.0, beta: 1.0 });
        let kept = self.combined(name, CombineOp::Mask, live, wide, shape.clone());
        let rest = self.combined(name, CombineOp::Mask, dead, other, shape.clone());
        Ok(self.combined(name, CombineOp::Add, kept, rest, shape))
    }

    /// Keras: an input counts as 1 where its own mask is dead; the product is 0 where all are.
    fn multiplied(
        &mut self,
        call: &Call<'_>,
        parts: &[BufferId],
        all: Option<BufferId>,
        shape: &[Dim],
    ) -> Result<BufferId> {
        let mut live = Vec::new();
        for (input, &part) in call.inputs.iter().zip(parts) {
            let Some(mask) = input.mask else {
                live.push(part);
                continue;
            };
            let wide = self.wide_mask(call, mask, part)?;
            let kept = self.combined(&call.name, CombineOp::Mask, part, wide, self.shape(part));
            let ones = self.mapped(&call.name, wide, Activation::Affine { alpha: -1.0, beta: 1.0 });
            live.push(self.combined(&call.name, CombineOp::Add, kept, ones, self.shape(part)));
        }
        let product = self.folded(&call.name, CombineOp::Multiply, &live, shape)?;
        let Some(all) = all else { return Ok(product) };
        let wide = self.wide_mask(call, all, product)?;
        Ok(self.combined(&call.name, CombineOp::Mask, product, wide, shape.to_vec()))
    }

    /// A mask `[batch, seq_len]` as `[batch, seq_len, 1]`, beside the sequence `value`.
    fn wide_mask(&mut self, call: &Call<'_>, mask: BufferId, value: BufferId) -> Result<BufferId> {
        let mut shape = self.shape(mask);
        if self.shape(value).len() != 3 || shape.len() != 2 {
            return Err(Error::unsupported(
                format!("layer {}", quoted(&call.name)),
                "masks on values that are not [batch, seq_len, features]",
                "remove the mask before it",
            ));
        }
        shape.push(Dim::from(1));
        Ok(self.view(mask, shape))
    }
}
