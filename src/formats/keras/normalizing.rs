//! Layers of few weights: normalisations beyond those of the batch and the layer, PReLU, Dot.

use std::sync::Arc;

use serde_json::Value as Json;

use super::{
    compose::{Compose, hold},
    layers::Source,
};
use crate::{
    activation::Activation,
    dim::{Dim, product},
    error::{Error, Result},
    model::{Builder, LayerKind, LayerNormalization, MergeOp, Reduction, resolve_axis},
    tensor::Tensor,
};

pub(super) fn prelu<'a>(s: &Source<'a>, builder: &mut Builder) -> Result<Compose<'a>> {
    // The weight's own shape says which axes share it.
    s.options.ignore(&["shared_axes"]);
    let trainable = s.options.trainable()?;
    let shape = s.scope.shape(0, "alpha").unwrap_or_default();
    let expected: Vec<Option<usize>> = vec![None; shape.len()];
    let alpha = s.scope.plain(0, "alpha", &expected)?;
    let wide: Vec<usize> = std::iter::once(1).chain(shape).collect();
    let rank = wide.len();
    let alpha = hold(builder, "alpha", Arc::new(Tensor::new(wide, alpha.to_f32().into_owned())?), trainable)?;
    Ok(Box::new(move |parts, given| {
        let (input, _) = parts.input(given, rank..=rank)?;
        let x = parts.bare(input)?;
        let positive = parts.map(Activation::RELU, x)?;
        let turned = parts.affine(x, -1.0, 0.0)?;
        let negative = parts.map(Activation::RELU, turned)?;
        let alpha = parts.held(alpha, &[])?;
        let negative = parts.merge(MergeOp::Multiply, negative, alpha)?;
        let output = parts.merge(MergeOp::Subtract, positive, negative)?;
        Ok(vec![parts.masked_as(output, input)?])
    }))
}

/// The largest rank of a value that is normalised.
const RANK: usize = 6;

pub(super) fn unit<'a>(s: &Source<'a>, _: &mut Builder) -> Result<Compose<'a>> {
    const EPSILON: f32 = 1e-12;
    let axes = if s.options.has("axis") { s.options.integers("axis")? } else { vec![-1] };
    let &[axis] = axes.as_slice() else {
        return Err(Error::unsupported(&s.options.subject, "normalisation of several axes", "use one axis"));
    };
    Ok(Box::new(move |parts, given| {
        let (input, shape) = parts.input(given, 2..=RANK)?;
        let axis = resolve_axis(parts.subject, axis, shape.len())?;
        let x = parts.bare(input)?;
        let squares = parts.merge(MergeOp::Multiply, x, x)?;
        let sum = parts.add("sum", LayerKind::Reduce { op: Reduction::Sum, axis, keepdims: true }, &[squares])?;
        let norm = parts.map(Activation::Sqrt, sum)?;
        let norm = parts.map(Activation::Clip { min: EPSILON, max: f32::INFINITY }, norm)?;
        let output = parts.merge(MergeOp::Divide, x, norm)?;
        Ok(vec![parts.masked_as(output, input)?])
    }))
}

pub(super) fn group<'a>(s: &Source<'a>, builder: &mut Builder) -> Result<Compose<'a>> {
    let groups = s.options.integer("groups", 32)?;
    let axis = if s.options.has("axis") { s.options.integers("axis")? } else { vec![-1] };
    let epsilon = s.options.number("epsilon", 1e-3)?;
    let (scale, center) = (s.options.flag("scale", true)?, s.options.flag("center", true)?);
    let trainable = s.options.trainable()?;
    let mut index = 0;
    let mut next = |role: &str, there: bool| -> Result<Option<Arc<Tensor>>> {
        if !there {
            return Ok(None);
        }
        index += 1;
        s.scope.plain(index - 1, role, &[None]).map(Some)
    };
    let (gamma, beta) = (next("gamma", scale)?, next("beta", center)?);
    let &[axis] = axis.as_slice() else {
        return Err(Error::unsupported(&s.options.subject, "normalisation of several axes", "use one axis"));
    };
    let mut held = |name: &str, tensor: Option<Arc<Tensor>>| {
        tensor.map(|tensor| hold(builder, name, tensor, trainable)).transpose()
    };
    let (gamma, beta) = (held("gamma", gamma)?, held("beta", beta)?);
    Ok(Box::new(move |parts, given| {
        let (input, shape) = parts.input(given, 2..=RANK)?;
        let last = shape.len() - 1;
        if resolve_axis(parts.subject, axis, shape.len())? != last {
            return Err(Error::unsupported(parts.subject, format!("axis = {axis}"), "use the last axis"));
        }
        let channels = shape.get(last).and_then(Dim::fixed).unwrap_or(0);
        // -1 is a group per channel.
        let count = if groups == -1 { Some(channels) } else { usize::try_from(groups).ok() };
        let Some((count, width)) = count.filter(|&count| count > 0 && channels % count == 0).map(|c| (c, channels / c))
        else {
            let expected = format!("channels in {groups} equal groups");
            return Err(Error::mismatch(parts.subject, expected, channels.to_string()));
        };
        let (rows, between) = shape.split_first().ok_or_else(|| Error::internal("a value without axes"))?;
        let between = product(between.iter().take(last - 1));
        let parted = vec![rows.clone(), between.clone(), Dim::from(count), Dim::from(width)];
        let turned = vec![rows.clone(), Dim::from(count), between.clone(), Dim::from(width)];
        let flat = vec![rows.clone(), Dim::from(count), &between * &Dim::from(width)];
        let x = parts.reshape(input, parted)?;
        let x = parts.permute(x, vec![0, 2, 1, 3])?;
        let x = parts.reshape(x, flat)?;
        let normal = LayerNormalization { axes: vec![-1], gamma: None, beta: None, epsilon };
        let x = parts.add("normal", LayerKind::LayerNormalization(normal), &[x])?;
        let x = parts.reshape(x, turned)?;
        let x = parts.permute(x, vec![0, 2, 1, 3])?;
        let mut x = parts.reshape(x, shape.clone())?;
        for (op, held) in [(MergeOp::Multiply, gamma), (MergeOp::Add, beta)] {
            let Some(held) = held else { continue };
            let weight = parts.held(held, &[])?;
            let wide: Vec<Dim> = (0..last).map(|_| Dim::from(1)).chain([Dim::from(channels)]).collect();
            let weight = parts.reshape(weight, wide)?;
            x = parts.merge(op, x, weight)?;
        }
        Ok(vec![parts.masked_as(x, input)?])
    }))
}

/// `scale * x + offset`
pub(super) fn rescaling(s: &Source<'_>) -> Result<LayerKind> {
    let (alpha, beta) = (s.options.number("scale", 1.0)?, s.options.number("offset", 0.0)?);
    Ok(super::compose::pointwise(Activation::Affine { alpha, beta }))
}

/// Mean and variance of the data, which Keras keeps apart from what is trained.
pub(super) fn normalization<'a>(s: &Source<'a>, builder: &mut Builder) -> Result<Compose<'a>> {
    const EPSILON: f32 = 1e-7;
    let axes = match s.options.value("axis") {
        None => vec![-1],
        Some(Json::Null) => Vec::new(),
        Some(Json::Array(all)) if all.is_empty() => Vec::new(),
        Some(_) => s.options.integers("axis")?,
    };
    let invert = s.options.flag("invert", false)?;
    let axis = match axes.as_slice() {
        [] => None,
        &[axis] => Some(axis),
        _ => return Err(Error::unsupported(&s.options.subject, "normalisation of several axes", "use one axis")),
    };
    let given = |key: &'static str| -> Result<Option<Vec<f32>>> {
        match s.options.value(key) {
            None | Some(Json::Null) => Ok(None),
            Some(value) => flattened(value).map(Some).ok_or_else(|| s.options.wrong(key, "numbers")),
        }
    };
    let stated = (given("mean")?, given("variance")?);
    let is_stated = matches!(stated, (Some(_), Some(_)));
    let (mean, variance) = match stated {
        (Some(mean), Some(variance)) => (mean, variance),
        _ => {
            let read = |index: usize, role: &str| -> Result<Vec<f32>> {
                let shape = s.scope.shape(index, role).unwrap_or_default();
                let expected: Vec<Option<usize>> = vec![None; shape.len()];
                s.scope.raw(index, role, &expected).map(|(_, values)| values)
            };
            let both = (read(0, "mean")?, read(1, "variance")?);
            // How much data the two are from.
            s.scope.skip(2, "count");
            hold(builder, "count", Arc::new(Tensor::new([1], vec![0.0f32])?), false)?;
            both
        }
    };
    if mean.len() != variance.len() {
        let expected = format!("a variance of {} values", mean.len());
        return Err(Error::mismatch(&s.options.subject, expected, variance.len().to_string()));
    }
    let vector = |data: Vec<f32>| Tensor::new([data.len()], data).map(Arc::new);
    let len = mean.len();
    let mut held = |name: &str, data: Vec<f32>| -> Result<_> {
        let held = hold(builder, name, vector(data)?, false)?;
        if is_stated {
            builder.no_parameters();
        }
        Ok(held)
    };
    let (mean, variance) = (held("mean", mean)?, held("variance", variance)?);
    Ok(Box::new(move |parts, given| {
        let (input, shape) = parts.input(given, 2..=RANK)?;
        let axis = axis.map(|axis| resolve_axis(parts.subject, axis, shape.len())).transpose()?;
        let channels = axis.and_then(|axis| shape.get(axis)).and_then(Dim::fixed);
        if len != 1 && channels != Some(len) {
            let expected = format!("{len} values at the normalised axis");
            return Err(Error::mismatch(parts.subject, expected, crate::dim::shape_text(&shape)));
        }
        let mut wide = vec![Dim::from(1); shape.len()];
        axis.and_then(|axis| wide.get_mut(axis)).into_iter().for_each(|dim| *dim = Dim::from(len));
        let mut weight = |held| -> Result<_> {
            let value = parts.held(held, &[])?;
            parts.reshape(value, wide.clone())
        };
        let (mean, variance) = (weight(mean)?, weight(variance)?);
        let deviation = parts.map(Activation::Sqrt, variance)?;
        let deviation = parts.map(Activation::Clip { min: EPSILON, max: f32::INFINITY }, deviation)?;
        let x = parts.bare(input)?;
        let output = if invert {
            let spread = parts.merge(MergeOp::Multiply, x, deviation)?;
            parts.merge(MergeOp::Add, spread, mean)?
        } else {
            let centred = parts.merge(MergeOp::Subtract, x, mean)?;
            parts.merge(MergeOp::Divide, centred, deviation)?
        };
        Ok(vec![parts.masked_as(output, input)?])
    }))
}

/// The numbers of nested lists.
fn flattened(value: &Json) -> Option<Vec<f32>> {
    #[allow(clippy::cast_possible_truncation)] // rounding is the meaning
    fn collect(value: &Json, into: &mut Vec<f32>) -> Option<()> {
        match value {
            Json::Array(all) => all.iter().try_for_each(|one| collect(one, into)),
            one => {
                into.push(one.as_f64().map(|number| number as f32).filter(|number| number.is_finite())?);
                Some(())
            }
        }
    }
    let mut all = Vec::new();
    collect(value, &mut all)?;
    Some(all)
}

pub(super) fn dot<'a>(s: &Source<'a>, _: &mut Builder) -> Result<Compose<'a>> {
    const EPSILON: f32 = 1e-12;
    let axes = s.options.integers("axes")?;
    let normalize = s.options.flag("normalize", false)?;
    let axes = match *axes.as_slice() {
        [both] => [both, both],
        [left, right] => [left, right],
        _ => return Err(s.options.wrong("axes", "one or two whole numbers")),
    };
    Ok(Box::new(move |parts, given| {
        let &[left, right] = given.inputs.as_slice() else {
            return Err(Error::mismatch(parts.subject, "two inputs", given.inputs.len().to_string()));
        };
        let mut sides = Vec::new();
        let mut outer = Vec::new();
        let mut rows = None;
        for (value, axis) in [(left, axes[0]), (right, axes[1])] {
            let shape = parts.shape(value)?;
            let axis = resolve_axis(parts.subject, axis, shape.len())?;
            let mut value = parts.bare(value)?;
            if normalize {
                let squares = parts.merge(MergeOp::Multiply, value, value)?;
                let sum = LayerKind::Reduce { op: Reduction::Sum, axis, keepdims: true };
                let sum = parts.add("sum", sum, &[squares])?;
                let norm = parts.map(Activation::Sqrt, sum)?;
                let norm = parts.map(Activation::Clip { min: EPSILON, max: f32::INFINITY }, norm)?;
                value = parts.merge(MergeOp::Divide, value, norm)?;
            }
            // The axis that is summed goes last, the others between it and the batch become one.
            let others: Vec<usize> = (1..shape.len()).filter(|&other| other != axis).collect();
            let order: Vec<usize> = std::iter::once(0).chain(others.iter().copied()).chain([axis]).collect();
            let value = parts.permute(value, order)?;
            let dims: Vec<Dim> = others.iter().filter_map(|&other| shape.get(other).cloned()).collect();
            let first = shape.first().cloned().unwrap_or_else(|| Dim::from(1));
            let summed = shape.get(axis).cloned().unwrap_or_else(|| Dim::from(1));
            sides.push(parts.reshape(value, vec![first.clone(), product(&dims), summed])?);
            outer.extend(dims);
            rows.get_or_insert(first);
        }
        let output = parts.add("product", LayerKind::MatMul { transposed: true }, &sides)?;
        let mut shape: Vec<Dim> = rows.into_iter().chain(outer).collect();
        if shape.len() == 1 {
            shape.push(Dim::from(1));
        }
        Ok(vec![parts.reshape(output, shape)?])
    }))
}
