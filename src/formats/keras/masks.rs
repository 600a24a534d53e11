//! The masks of a graph. Keras writes them into the file as functions of their own (`NotEqual`,
//! `Any`, ...) and hands them to layers by name. The model makes its own masks by the same rules, so
//! the ones of the file are only compared with those: one that differs is refused.

use std::collections::HashMap;

use serde_json::{Value as Json, json};

use super::config::Options;
use crate::{
    error::{Error, Result},
    model::{LayerKind, Value},
};

/// A mask, by what it is made from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Mask {
    /// Where a value is not a number (by its bits).
    NotEqual(Value, u64),
    /// Where any feature is.
    Any(MaskId),
    /// With an axis of one feature.
    ExpandDims(MaskId),
    ZerosLike(Value),
    OnesLike(Value),
    LogicalOr(MaskId, MaskId),
    Concatenate(Vec<MaskId>, i64),
}

/// Equal masks have equal numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct MaskId(usize);

/// The masks met so far, and those that Keras attaches to values.
#[derive(Default)]
pub(super) struct Masks {
    known: HashMap<Mask, MaskId>,
    of: HashMap<Value, MaskId>,
}

/// What a function of masks is called with.
pub(super) enum Argument<'a> {
    Value(Value),
    Mask(MaskId),
    List(Vec<Argument<'a>>),
    Constant(&'a Json),
}

/// Whether a function of `keras.ops` is one that masks are made with.
pub(super) fn makes_masks(class: &str) -> bool {
    matches!(
        class,
        "NotEqual" | "Any" | "ExpandDims" | "ZerosLike" | "OnesLike" | "LogicalOr" | "Concatenate"
    )
}

impl Masks {
    fn id(&mut self, mask: Mask) -> MaskId {
        let next = MaskId(self.known.len());
        *self.known.entry(mask).or_insert(next)
    }

    /// The mask that Keras attaches to `value`.
    pub(super) fn of(&self, value: Value) -> Option<MaskId> {
        self.of.get(&value).copied()
    }

    /// Attaches masks to the outputs of a layer.
    pub(super) fn layer(&mut self, kind: &LayerKind, inputs: &[Value], outputs: &[Value]) {
        let Some(&input) = inputs.first() else { return };
        let (mask, masked) = match kind {
            LayerKind::Embedding(e) => (
                e.mask_zero
                    .then(|| self.id(Mask::NotEqual(input, 0f64.to_bits()))),
                1,
            ),
            LayerKind::Masking { mask_value } => {
                let differs = self.id(Mask::NotEqual(input, f64::from(*mask_value).to_bits()));
                (Some(self.id(Mask::Any(differs))), 1)
            }
            LayerKind::Recurrent(r) => (
                self.of(input)
                    .filter(|_| r.return_sequences && r.passes_mask),
                1,
            ),
            LayerKind::Bidirectional(b) => {
                let separate = b.merge == crate::model::MergeMode::Separate;
                let forward = &b.forward;
                let mask = self
                    .of(input)
                    .filter(|_| forward.return_sequences && forward.passes_mask);
                (mask, if separate { 2 } else { 1 })
            }
            LayerKind::Merge(_) => {
                let masks: Option<Vec<MaskId>> =
                    inputs.iter().map(|&input| self.of(input)).collect();
                let or = |left, right| self.id(Mask::LogicalOr(left, right));
                (masks.and_then(|masks| masks.into_iter().reduce(or)), 1)
            }
            LayerKind::Concatenate { axis } => (self.concatenated(inputs, *axis), 1),
            LayerKind::Dense(_)
            | LayerKind::Activation(_)
            | LayerKind::Softmax { .. }
            | LayerKind::TimeDistributed(_)
            | LayerKind::BatchNormalization(_)
            | LayerKind::LayerNormalization(_)
            | LayerKind::Identity => (self.of(input), 1),
            _ => (None, 0),
        };
        if let Some(mask) = mask {
            self.of
                .extend(outputs.iter().take(masked).map(|&output| (output, mask)));
        }
    }

    fn concatenated(&mut self, inputs: &[Value], axis: i64) -> Option<MaskId> {
        if inputs.iter().all(|&input| self.of(input).is_none()) {
            return None;
        }
        let mut masks = Vec::with_capacity(inputs.len());
        for &input in inputs {
            masks.push(match self.of(input) {
                None => self.id(Mask::OnesLike(input)),
                Some(mask) => {
                    let (wide, zeros) = (
                        self.id(Mask::ExpandDims(mask)),
                        self.id(Mask::ZerosLike(input)),
                    );
                    self.id(Mask::LogicalOr(wide, zeros))
                }
            });
        }
        let joined = self.id(Mask::Concatenate(masks, axis));
        Some(self.id(Mask::Any(joined)))
    }

    /// What the function that `options` describes gives; `None` if it is not one that makes masks.
    pub(super) fn function(
        &mut self,
        options: &Options<'_>,
        arguments: &[Argument<'_>],
    ) -> Result<Option<MaskId>> {
        use Argument::{Constant, List, Mask as Of, Value};
        let mask = match (options.class, arguments) {
            ("NotEqual", [Value(value), Constant(number)]) => number
                .as_f64()
                .map(|number| Mask::NotEqual(*value, number.to_bits())),
            ("Any", [Of(mask)]) => {
                let last = options.integer("axis", 0)? == -1 && !options.flag("keepdims", false)?;
                last.then_some(Mask::Any(*mask))
            }
            ("ExpandDims", [Of(mask)]) => {
                (options.integer("axis", 0)? == -1).then_some(Mask::ExpandDims(*mask))
            }
            ("ZerosLike", [Value(value)]) => {
                (options.value("dtype") == Some(&json!("bool"))).then_some(Mask::ZerosLike(*value))
            }
            ("OnesLike", [Value(value)]) => {
                (options.value("dtype") == Some(&json!("bool"))).then_some(Mask::OnesLike(*value))
            }
            ("LogicalOr", [Of(left), Of(right)]) => Some(Mask::LogicalOr(*left, *right)),
            ("Concatenate", [List(parts)]) => {
                let of_mask = |part: &Argument<'_>| match part {
                    Of(mask) => Some(*mask),
                    _ => None,
                };
                let axis = options.integer("axis", 0)?;
                parts
                    .iter()
                    .map(of_mask)
                    .collect::<Option<_>>()
                    .map(|masks| Mask::Concatenate(masks, axis))
            }
            _ => None,
        };
        options.finish()?;
        Ok(mask.map(|mask| self.id(mask)))
    }

    /// Refuses a mask given by name that is not the one attached to `input`.
    pub(super) fn check(&self, subject: &str, given: MaskId, input: Value) -> Result<()> {
        if self.of(input) == Some(given) {
            return Ok(());
        }
        let instead = "use the mask of a Masking or an Embedding(mask_zero=True) before the layer";
        Err(Error::unsupported(
            subject,
            "a mask other than the one that its input carries",
            instead,
        ))
    }
}
