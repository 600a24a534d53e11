//! What a ragged batch asks of layers: its mask stays with the timesteps, and nothing may depend on how long the
//! longest sequence is. Values that no input's mask covers have axes as long as that one.

use super::{Call, Lowered, Lowering};
use crate::{
    dim::{Dim, Symbol, product},
    error::{Error, Result, quoted},
    model::{HeadActivation, LayerKind},
    plan::BufferId,
};

impl Lowering<'_> {
    /// The masks of the ragged inputs.
    fn ragged_masks(&self) -> impl Iterator<Item = BufferId> {
        self.plan.inputs.iter().filter(|port| port.ragged_mask_of.is_some()).map(|port| port.buffer)
    }

    /// `[batch, seq_len, ..]` that was made without looking at the sequence, such as a state repeated for
    /// each timestep, has the sequence's mask.
    pub(super) fn with_ragged(&self, value: Lowered) -> Lowered {
        let shape = self.shape(value.buffer);
        let ragged = value.ragged.or_else(|| {
            self.ragged_masks().find(|&mask| {
                let mask = self.shape(mask);
                mask.len() == 2 && shape.starts_with(&mask)
            })
        });
        Lowered { ragged, ..value }
    }

    /// The mask of a ragged batch behind a layer: it stays where rows and timesteps stay the first two axes
    /// and nothing passes from one timestep to another.
    pub(super) fn ragged_behind(&self, call: &Call<'_>, kind: &LayerKind, shape: &[Dim]) -> Result<Option<BufferId>> {
        let Some((input, mask)) = call.inputs.first().and_then(|input| Some((input, input.ragged?))) else {
            call.refuse_ragged("it moves timesteps or mixes them")?;
            return Ok(None);
        };
        let others_are_whole = call.inputs.iter().skip(1).all(|other| other.ragged.is_none());
        let keeps = match kind {
            LayerKind::Permute { axes } => axes.starts_with(&[0, 1]),
            LayerKind::ReshapeTo { .. } | LayerKind::Expand { .. } => true,
            LayerKind::Slice { axis, .. } | LayerKind::Pad { axis, .. } | LayerKind::Reduce { axis, .. } => *axis > 1,
            LayerKind::MatMul { .. } => others_are_whole,
            _ => false,
        };
        if !keeps || self.shape(input.buffer).get(..2) != shape.get(..2) {
            call.refuse_ragged("it moves timesteps or mixes them")?;
        }
        Ok(Some(mask))
    }

    /// The ragged mask of the inputs; they must share one, or have none.
    pub(super) fn common_ragged(&self, call: &Call<'_>) -> Result<Option<BufferId>> {
        let mut masks = call.inputs.iter().filter_map(|input| input.ragged);
        let Some(first) = masks.next() else {
            return Ok(None);
        };
        if masks.all(|mask| mask == first) {
            return Ok(Some(first));
        }
        Err(Error::unsupported(
            format!("layer {}", quoted(&call.name)),
            "sequences of two ragged inputs in one layer",
            "run sequences of one length together",
        ))
    }

    /// Whether `dim` follows from the length of a ragged sequence.
    fn is_length(&self, dim: &Dim) -> bool {
        let known = |symbol: Symbol| {
            self.plan.derived.iter().any(|(derived, _)| *derived == symbol)
                || self.ragged_masks().any(|mask| self.shape(mask).get(1) == Some(&Dim::from(symbol)))
        };
        dim.symbols().any(|symbol| symbol != Symbol::BATCH && known(symbol))
    }

    /// The axes of a value that are as long as the longest sequence without a mask that says so.
    pub(super) fn padded_axes(&self, value: &Lowered) -> Vec<usize> {
        let shape = self.shape(value.buffer);
        let masked = |axis: usize| axis == 1 && value.ragged.is_some();
        shape
            .iter()
            .enumerate()
            .filter(|&(axis, dim)| !masked(axis) && self.is_length(dim))
            .map(|(axis, _)| axis)
            .collect()
    }

    /// Refuses a call whose values would depend on the length of the longest sequence.
    pub(super) fn check_ragged(&self, call: &Call<'_>) -> Result<()> {
        let padded: Vec<Vec<usize>> = call.inputs.iter().map(|input| self.padded_axes(input)).collect();
        let free = |axis: usize| padded.iter().all(|axes| !axes.contains(&axis));
        let last = |index: usize| self.rank(call, index).saturating_sub(1);
        let own = match &call.layer.kind {
            LayerKind::Slice { start, .. } => self.is_length(start),
            LayerKind::Pad { before, after, .. } => self.is_length(before) || self.is_length(after),
            _ => false,
        };
        if !own && padded.iter().all(Vec::is_empty) {
            return Ok(());
        }
        let harmless = match &call.layer.kind {
            LayerKind::Merge(_)
            | LayerKind::Identity
            | LayerKind::Permute { .. }
            | LayerKind::Expand { .. }
            | LayerKind::Activation(HeadActivation::Pointwise(_)) => true,
            LayerKind::Slice { axis, .. } | LayerKind::Pad { axis, .. } | LayerKind::Reduce { axis, .. } => free(*axis),
            LayerKind::Dense(_) | LayerKind::Activation(_) => free(last(0)),
            LayerKind::ReshapeTo { shape } => self.keeps_length(call, &padded, shape),
            LayerKind::MatMul { transposed } => {
                let inner = if *transposed { last(1) } else { last(1).saturating_sub(1) };
                let has = |index: usize, axis: usize| padded.get(index).is_some_and(|axes| axes.contains(&axis));
                !has(0, last(0)) && !has(1, inner)
            }
            _ => false,
        };
        if harmless && !own {
            Ok(())
        } else {
            Err(call.ragged_error("it would depend on the length of the longest sequence"))
        }
    }

    /// Whether a reshape leaves the one axis of a length as it is.
    fn keeps_length(&self, call: &Call<'_>, padded: &[Vec<usize>], to: &[Dim]) -> bool {
        let from = call.inputs.first().map(|input| self.shape(input.buffer)).unwrap_or_default();
        let Some(&[axis]) = padded.first().map(Vec::as_slice) else { return false };
        let behind = |shape: &[Dim], axis: usize| product(shape.get(axis + 1..).unwrap_or_default());
        let lengths: Vec<usize> =
            (0..to.len()).filter(|&axis| to.get(axis).is_some_and(|dim| self.is_length(dim))).collect();
        matches!(lengths.as_slice(), &[there]
            if to.get(there) == from.get(axis) && behind(to, there) == behind(&from, axis))
    }

    fn rank(&self, call: &Call<'_>, index: usize) -> usize {
        call.inputs.get(index).map_or(0, |input| self.shape(input.buffer).len())
    }
}

impl Call<'_> {
    /// Refuses a ragged batch for a layer that would mix live timesteps with padding.
    pub(super) fn refuse_ragged(&self, what: &str) -> Result<()> {
        if self.inputs.iter().all(|input| input.ragged.is_none()) {
            return Ok(());
        }
        Err(self.ragged_error(what))
    }

    /// What says that the call cannot be part of a ragged batch.
    pub(super) fn ragged_error(&self, what: &str) -> Error {
        Error::unsupported(
            format!("layer {} ({})", quoted(&self.name), self.layer.class_name),
            format!("a ragged batch ({what})"),
            "run sequences of one length together",
        )
    }
}
