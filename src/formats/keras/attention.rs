//! Dot-product and additive attention.

use std::sync::Arc;

use serde_json::Value as Json;

use super::{
    compose::{Compose, Held, Parts, hold, pointwise},
    config::shown,
    layers::Source,
};
use crate::{
    activation::Activation,
    dim::Dim,
    error::{Error, Result},
    model::{Builder, LayerKind, MaskOp, MergeOp, Reduction, Value},
    tensor::Tensor,
};

/// What Keras takes from the scores of positions that are masked.
const MASKED: f32 = 1.0e9;

/// How the scores of a query and a key are made.
#[derive(Clone, Copy)]
enum Score {
    Dot {
        scale: Option<Held>,
    },
    /// `weight * sum(tanh(scale * (query + key)))`
    Concat {
        scale: Option<Held>,
        weight: Held,
    },
    /// `sum(scale * tanh(query + key))`
    Additive {
        scale: Option<Held>,
    },
}

pub(super) fn attention<'a>(s: &Source<'a>, builder: &mut Builder) -> Result<Compose<'a>> {
    let trainable = s.options.trainable()?;
    let use_scale = s.options.flag("use_scale", false)?;
    s.options.ignore(&["dropout", "seed"]);
    let concat = match s.options.value("score_mode") {
        None => false,
        Some(Json::String(mode)) if mode == "dot" => false,
        Some(Json::String(mode)) if mode == "concat" => true,
        mode => {
            let what = format!("score_mode = {}", shown(mode));
            return Err(Error::unsupported(&s.options.subject, what, "use dot or concat"));
        }
    };
    let scalar = |index: usize, role: &str| -> Result<Arc<Tensor>> {
        let value = s.scope.plain(index, role, &[])?;
        Tensor::new([1, 1, 1], value.to_f32().into_owned()).map(Arc::new)
    };
    let scale = use_scale.then(|| scalar(0, "scale")).transpose()?;
    let weight = concat.then(|| scalar(usize::from(use_scale), "concat_score_weight")).transpose()?;
    let scale = scale.map(|scale| hold(builder, "scale", scale, trainable)).transpose()?;
    let weight = weight.map(|weight| hold(builder, "weight", weight, trainable)).transpose()?;
    let score = match weight {
        Some(weight) => Score::Concat { scale, weight },
        None => Score::Dot { scale },
    };
    Ok(composed(score))
}

pub(super) fn additive<'a>(s: &Source<'a>, builder: &mut Builder) -> Result<Compose<'a>> {
    let trainable = s.options.trainable()?;
    let use_scale = s.options.flag("use_scale", true)?;
    s.options.ignore(&["dropout", "seed"]);
    let scale = if use_scale {
        let scale = s.scope.plain(0, "scale", &[None])?;
        let wide = Tensor::new([1, 1, 1, scale.len()], scale.to_f32().into_owned())?;
        Some(hold(builder, "scale", Arc::new(wide), trainable)?)
    } else {
        None
    };
    Ok(composed(Score::Additive { scale }))
}

fn composed<'a>(score: Score) -> Compose<'a> {
    Box::new(move |parts, given| {
        let (query, value, key) = match given.inputs.as_slice() {
            &[query, value] => (query, value, value),
            &[query, value, key] => (query, value, key),
            several => {
                return Err(Error::mismatch(parts.subject, "two or three inputs", several.len().to_string()));
            }
        };
        // As Keras has it: given where the call names them, else those that the inputs carry.
        let carried = given.masks.is_none();
        let (query_mask, value_mask) = match given.masks.as_deref() {
            Some([query, value, ..]) => (*query, *value),
            Some(_) => return Err(Error::mismatch(parts.subject, "a mask per input", "fewer")),
            None => (None, None),
        };
        let (bare_query, bare_value, bare_key) = (parts.bare(query)?, parts.bare(value)?, parts.bare(key)?);
        let mut scores = scores(parts, score, bare_query, bare_key)?;
        let shape = parts.shape(scores)?;
        let [rows, queries, keys] = shape.as_slice() else {
            return Err(Error::internal("scores of another rank"));
        };
        let value_mask = if carried { Some(parts.add("mask", LayerKind::MaskOf, &[value])?) } else { value_mask };
        let mut live = match value_mask {
            Some(mask) => Some(parts.reshape(mask, vec![rows.clone(), Dim::from(1), keys.clone()])?),
            None => None,
        };
        if given.arguments.flag("use_causal_mask") {
            let ramp = |axis: usize, shape: Vec<Dim>| LayerKind::Ramp { start: 0.0, step: 1.0, axis, shape };
            let one = || Dim::from(1);
            let row = parts.add("row", ramp(1, vec![one(), queries.clone(), one()]), &[])?;
            let column = parts.add("column", ramp(2, vec![one(), one(), keys.clone()]), &[])?;
            let ahead = parts.merge(MergeOp::Less, row, column)?;
            let causal = parts.affine(ahead, -1.0, 1.0)?;
            live = Some(match live {
                Some(live) => parts.merge(MergeOp::Multiply, live, causal)?,
                None => causal,
            });
        }
        if let Some(live) = live {
            // In f32 nothing is left of a score that is so far down: where all are, they are alike.
            let penalty = parts.affine(live, MASKED, -MASKED)?;
            let kept = parts.merge(MergeOp::Multiply, scores, live)?;
            scores = parts.merge(MergeOp::Add, kept, penalty)?;
        }
        let weights = parts.add("softmax", LayerKind::Softmax { axis: 2 }, &[scores])?;
        let mut output = parts.add("output", LayerKind::MatMul { transposed: false }, &[weights, bare_value])?;
        let query_mask = if carried { Some(parts.add("mask", LayerKind::MaskOf, &[query])?) } else { query_mask };
        if let Some(mask) = query_mask {
            let wide = parts.add("mask", LayerKind::MaskOp(MaskOp::ExpandDims), &[mask])?;
            output = parts.merge(MergeOp::Multiply, output, wide)?;
            output = if carried {
                parts.masked_as(output, query)?
            } else {
                let carrier = parts.add("mask", LayerKind::Masking { mask_value: 0.0 }, &[wide])?;
                parts.masked_as(output, carrier)?
            };
        }
        Ok(if given.arguments.flag("return_attention_scores") { vec![output, weights] } else { vec![output] })
    })
}

/// `[batch, queries, keys]`
fn scores(parts: &mut Parts<'_>, score: Score, query: Value, key: Value) -> Result<Value> {
    let scaled = |parts: &mut Parts<'_>, value: Value, scale: Option<Held>| match scale {
        None => Ok(value),
        Some(scale) => {
            let scale = parts.held(scale, &[])?;
            parts.merge(MergeOp::Multiply, value, scale)
        }
    };
    if let Score::Dot { scale } = score {
        let scores = parts.add("scores", LayerKind::MatMul { transposed: true }, &[query, key])?;
        return scaled(parts, scores, scale);
    }
    let (q, k) = (parts.shape(query)?, parts.shape(key)?);
    let ([rows, queries, features], [key_rows, keys, key_features]) = (q.as_slice(), k.as_slice()) else {
        return Err(Error::mismatch(parts.subject, "[batch, seq_len, features]", "another rank"));
    };
    let query = parts.reshape(query, vec![rows.clone(), queries.clone(), Dim::from(1), features.clone()])?;
    let key = parts.reshape(key, vec![key_rows.clone(), Dim::from(1), keys.clone(), key_features.clone()])?;
    let mut sum = parts.merge(MergeOp::Add, query, key)?;
    if let Score::Concat { scale: Some(scale), .. } = score {
        let scale = parts.held(scale, &[])?;
        let scale = parts.reshape(scale, vec![Dim::from(1); 4])?;
        sum = parts.merge(MergeOp::Multiply, sum, scale)?;
    }
    let mut tanh = parts.add("tanh", pointwise(Activation::Tanh), &[sum])?;
    if let Score::Additive { scale } = score {
        tanh = scaled(parts, tanh, scale)?;
    }
    let scores = parts.add("scores", LayerKind::Reduce { op: Reduction::Sum, axis: 3, keepdims: false }, &[tanh])?;
    match score {
        Score::Concat { weight, .. } => scaled(parts, scores, Some(weight)),
        _ => Ok(scores),
    }
}
