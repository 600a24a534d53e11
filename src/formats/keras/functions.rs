//! The functions of `keras.ops` that Keras makes masks with, and writes into a graph beside its layers.

use serde_json::Value as Json;

use super::{
    calls::{Argument, Call, Reference},
    config::Options,
    layers::plain,
};
use crate::{
    error::{Error, Result},
    model::{LayerKind, MaskOp},
};

/// What a call of the function that `options` describes computes, and what it takes.
pub(super) fn read<'a>(options: &Options<'_>, call: &Call<'a>) -> Result<(LayerKind, Vec<Reference<'a>>)> {
    let op = match (options.class, call.positional.as_slice()) {
        ("NotEqual", [Argument::Tensor(value), Argument::Constant(number)]) => {
            options.finite(number).map(|number| (MaskOp::NotEqual { value: number }, vec![value.clone()]))
        }
        ("Any", [Argument::Tensor(mask)]) => {
            let keepdims = options.flag("keepdims", false)?;
            last_axis(options)?.then(|| (MaskOp::Any { keepdims }, vec![mask.clone()]))
        }
        ("ExpandDims", [Argument::Tensor(mask)]) => {
            last_axis(options)?.then(|| (MaskOp::ExpandDims, vec![mask.clone()]))
        }
        ("ZerosLike", [Argument::Tensor(value)]) => of_bool(options).then(|| (MaskOp::ZerosLike, vec![value.clone()])),
        ("OnesLike", [Argument::Tensor(value)]) => of_bool(options).then(|| (MaskOp::OnesLike, vec![value.clone()])),
        ("LogicalOr", [Argument::Tensor(left), Argument::Tensor(right)]) => {
            Some((MaskOp::LogicalOr, vec![left.clone(), right.clone()]))
        }
        _ => None,
    };
    let kind = match (op, options.class, call.positional.as_slice()) {
        (Some((op, inputs)), ..) => Some((LayerKind::MaskOp(op), inputs)),
        (None, "Concatenate", [masks]) => {
            let axis = options.integer("axis", 0)?;
            masks.tensors().map(|inputs| (LayerKind::Concatenate { axis }, inputs))
        }
        _ => None,
    };
    let kind = kind.filter(|_| call.named.is_empty()).ok_or_else(|| {
        let what = format!("the function {} of keras.ops in the graph", plain(options.class));
        Error::unsupported(&options.subject, what, "use a layer in its place")
    })?;
    options.finish()?;
    Ok(kind)
}

fn last_axis(options: &Options<'_>) -> Result<bool> {
    Ok(options.value("axis").is_some() && options.integers("axis")? == [-1])
}

fn of_bool(options: &Options<'_>) -> bool {
    options.value("dtype").and_then(Json::as_str) == Some("bool")
}
