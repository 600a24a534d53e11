//! The layers that work along time: convolutions, poolings, and those that cut, pad and repeat.

use std::sync::Arc;

use serde_json::Value as Json;

use super::{
    activation,
    compose::{Compose, hold_layer},
    config::shown,
    layers::{Source, channels_last},
};
use crate::{
    activation::Activation,
    dim::Dim,
    error::{Error, Result},
    model::{Builder, Conv1d, Dense, HeadActivation, LayerKind, Padding, Pool1d, Reduction},
    tensor::Tensor,
};

/// One whole number of at least 1, or a list of one.
fn size(s: &Source<'_>, key: &'static str, default: Option<usize>) -> Result<usize> {
    if let (false, Some(default)) = (s.options.has(key), default) {
        return Ok(default);
    }
    match s.options.integers(key)?.as_slice() {
        &[size] if size >= 1 => usize::try_from(size).ok(),
        _ => None,
    }
    .ok_or_else(|| s.options.wrong(key, "one whole number of at least 1"))
}

fn padding(s: &Source<'_>, causal: bool) -> Result<Padding> {
    match s.options.value("padding") {
        None => Ok(Padding::Valid),
        Some(Json::String(name)) if name == "valid" => Ok(Padding::Valid),
        Some(Json::String(name)) if name == "same" => Ok(Padding::Same),
        Some(Json::String(name)) if name == "causal" && causal => Ok(Padding::Causal),
        other => {
            let what = format!("padding = {}", shown(other));
            Err(Error::unsupported(&s.options.subject, what, "use valid, same or, in a convolution, causal"))
        }
    }
}

/// What all convolutions have; weight and bias are put in later.
fn window(s: &Source<'_>) -> Result<Conv1d> {
    channels_last(s)?;
    Ok(Conv1d {
        weight: Arc::new(Tensor::new([1, 1], vec![0.0f32])?),
        bias: None,
        width: size(s, "kernel_size", None)?,
        stride: size(s, "strides", Some(1))?,
        dilation: size(s, "dilation_rate", Some(1))?,
        padding: padding(s, true)?,
        groups: 1,
        activation: HeadActivation::Pointwise(Activation::Linear),
    })
}

pub(super) fn convolution(s: &Source<'_>) -> Result<LayerKind> {
    let filters = s.options.units_at("filters")?;
    let common = window(s)?;
    let groups = size(s, "groups", Some(1))?;
    let activation = activation::head(&s.options, "activation", s.rules)?;
    let use_bias = s.options.flag("use_bias", true)?;
    s.options.only("lora_rank", &Json::Null, "merge the adapter into the weights before saving")?;
    let weight = s.scope.stacked(0, "kernel", &[Some(common.width), None, Some(filters)])?;
    let bias = if use_bias { Some(s.scope.plain(1, "bias", &[Some(filters)])?) } else { None };
    Ok(LayerKind::Conv1d(Conv1d { weight, bias, groups, activation, ..common }))
}

/// The weights `[width, channels, multiplier]` of a depthwise convolution, one group per channel.
fn depthwise_weight(s: &Source<'_>, role: &str, width: usize, multiplier: usize) -> Result<(Arc<Tensor>, usize)> {
    let (shape, values) = s.scope.raw(0, role, &[Some(width), None, Some(multiplier)])?;
    let channels = shape.get(1).copied().unwrap_or(0);
    let outputs = channels * multiplier;
    let mut data = crate::tensor::zeros(values.len())?;
    for (index, value) in values.into_iter().enumerate() {
        let (position, output) = (index / outputs.max(1), index % outputs.max(1));
        data.get_mut(output * width + position).into_iter().for_each(|slot| *slot = value);
    }
    Ok((Arc::new(Tensor::new([outputs, width], data)?), channels))
}

pub(super) fn depthwise(s: &Source<'_>) -> Result<LayerKind> {
    let common = window(s)?;
    let multiplier = size(s, "depth_multiplier", Some(1))?;
    let activation = activation::head(&s.options, "activation", s.rules)?;
    let use_bias = s.options.flag("use_bias", true)?;
    // Stated by all convolutions, without a meaning here.
    s.options.ignore(&["filters", "groups"]);
    let role = if s.scope.has(0, "depthwise_kernel") { "depthwise_kernel" } else { "kernel" };
    let (weight, groups) = depthwise_weight(s, role, common.width, multiplier)?;
    let bias = if use_bias { Some(s.scope.plain(1, "bias", &[Some(groups * multiplier)])?) } else { None };
    Ok(LayerKind::Conv1d(Conv1d { weight, bias, groups, activation, ..common }))
}

pub(super) fn separable<'a>(s: &Source<'a>, builder: &mut Builder) -> Result<Compose<'a>> {
    let filters = s.options.units_at("filters")?;
    let common = window(s)?;
    let multiplier = size(s, "depth_multiplier", Some(1))?;
    let activation = activation::head(&s.options, "activation", s.rules)?;
    let use_bias = s.options.flag("use_bias", true)?;
    s.options.ignore(&["groups"]);
    let trainable = s.options.trainable()?;
    let (weight, groups) = depthwise_weight(s, "depthwise_kernel", common.width, multiplier)?;
    let each = LayerKind::Conv1d(Conv1d { weight, groups, ..common });
    let weight = s.scope.stacked(1, "pointwise_kernel", &[Some(1), Some(groups * multiplier), Some(filters)])?;
    let bias = if use_bias { Some(s.scope.plain(2, "bias", &[Some(filters)])?) } else { None };
    let each = hold_layer(builder, "depthwise", each, trainable)?;
    let all = hold_layer(builder, "pointwise", LayerKind::Dense(Dense { weight, bias, activation }), trainable)?;
    Ok(Box::new(move |parts, given| {
        let (input, _) = parts.input(given, 3..=3)?;
        let channels = parts.held(each, &[input])?;
        Ok(vec![parts.held(all, &[channels])?])
    }))
}

fn pooling(s: &Source<'_>, op: Reduction) -> Result<LayerKind> {
    channels_last(s)?;
    let width = size(s, "pool_size", Some(2))?;
    let stride =
        if matches!(s.options.value("strides"), None | Some(Json::Null)) { width } else { size(s, "strides", None)? };
    let padding = padding(s, false)?;
    Ok(LayerKind::Pool1d(Pool1d { op, width, stride, dilation: 1, padding, count_padding: false }))
}

pub(super) fn max_pooling(s: &Source<'_>) -> Result<LayerKind> {
    pooling(s, Reduction::Max)
}

pub(super) fn average_pooling(s: &Source<'_>) -> Result<LayerKind> {
    pooling(s, Reduction::Mean)
}

/// One number of positions for both ends, or one for each.
fn ends(s: &Source<'_>, key: &'static str) -> Result<(usize, usize)> {
    let all = s.options.integers(key)?.into_iter().map(usize::try_from).collect::<std::result::Result<Vec<_>, _>>();
    match all.as_deref() {
        Ok(&[both]) => Ok((both, both)),
        Ok(&[before, after]) => Ok((before, after)),
        _ => Err(s.options.wrong(key, "one or two whole numbers of at least 0")),
    }
}

pub(super) fn zero_padding(s: &Source<'_>) -> Result<LayerKind> {
    channels_last(s)?;
    let (before, after) = ends(s, "padding")?;
    Ok(LayerKind::Pad { axis: 1, before: Dim::from(before), after: Dim::from(after), value: 0.0 })
}

pub(super) fn cropping<'a>(s: &Source<'a>, _: &mut Builder) -> Result<Compose<'a>> {
    let (before, after) = ends(s, "cropping")?;
    Ok(Box::new(move |parts, given| {
        let (input, shape) = parts.input(given, 3..=3)?;
        let len = shape.get(1).cloned().unwrap_or_else(|| Dim::from(0));
        let extent = &(&len - &Dim::from(before)) - &Dim::from(after);
        let start = Dim::from(before);
        Ok(vec![parts.add("slice", LayerKind::Slice { axis: 1, start, step: 1, extent }, &[input])?])
    }))
}

pub(super) fn up_sampling<'a>(s: &Source<'a>, _: &mut Builder) -> Result<Compose<'a>> {
    let times = size(s, "size", Some(2))?;
    Ok(Box::new(move |parts, given| {
        let (input, shape) = parts.input(given, 3..=3)?;
        let [rows, len, features] = shape.as_slice() else {
            return Err(Error::internal("a value of another rank"));
        };
        let apart = |times: usize| vec![rows.clone(), len.clone(), Dim::from(times), features.clone()];
        let single = parts.reshape(input, apart(1))?;
        let repeated = parts.add("repeat", LayerKind::Expand { shape: apart(times) }, &[single])?;
        let len = len * &Dim::from(times);
        Ok(vec![parts.reshape(repeated, vec![rows.clone(), len, features.clone()])?])
    }))
}

pub(super) fn permute(s: &Source<'_>) -> Result<LayerKind> {
    let axes = s.options.integers("dims")?;
    let axes: Option<Vec<usize>> = axes.into_iter().map(|axis| usize::try_from(axis).ok()).collect();
    let axes = axes.ok_or_else(|| s.options.wrong("dims", "the axes from 1 on, each once"))?;
    Ok(LayerKind::Permute { axes: std::iter::once(0).chain(axes).collect() })
}
