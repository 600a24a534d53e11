//! What a ragged batch asks of values that no input's mask covers: their axes are as long as the longest
//! sequence, so that nothing may depend on how long that is.

use super::{Call, Lowered, Lowering};
use crate::{
    dim::{Dim, Symbol, product},
    error::{Error, Result},
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
    /// What says that the call cannot be part of a ragged batch.
    pub(super) fn ragged_error(&self, what: &str) -> Error {
        Error::unsupported(
            format!("layer {} ({})", crate::error::quoted(&self.name), self.layer.class_name),
            format!("a ragged batch ({what})"),
            "run sequences of one length together",
        )
    }
}
