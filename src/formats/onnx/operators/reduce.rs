//! Reductions, and the softmaxes.

use super::super::{
    call::Call,
    fold,
    import::Importer,
    tensor::Kind,
    track::{Sizes, Tracked, View},
};
use super::{moves::without_axes, pointwise::both};
use crate::{
    dim::product,
    error::Result,
    model::{HeadActivation, LayerKind, Reduction},
};

pub(super) fn reduce(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    reduced(importer, call, call.input(0)?)
}

pub(super) fn sum_square(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let squares = both(importer, call, "Mul", call.input(0)?, call.input(0)?)?;
    reduced(importer, call, &squares)
}

fn reduced(importer: &mut Importer<'_>, call: &Call<'_>, x: &Tracked) -> Result<Vec<Tracked>> {
    let rank = importer.dims(x)?.len();
    let keep = call.flag("keepdims", true)?;
    let axes = match call.ints_or_input("axes", 1)?.filter(|axes| !axes.is_empty()) {
        Some(axes) => call.axes(&axes, rank)?,
        None if call.flag("noop_with_empty_axes", false)? => return Ok(vec![x.clone()]),
        None => (0..rank).collect(),
    };
    match x {
        Tracked::Sizes(sizes) if call.op == "ReduceProd" => {
            Ok(vec![Tracked::Sizes(Sizes { scalar: !keep, values: vec![product(&sizes.values)] })])
        }
        Tracked::Const(constant) => {
            let count: usize = axes.iter().filter_map(|&axis| constant.shape().get(axis)).product();
            importer.room(&call.at, constant.tensor.len().saturating_mul(3))?;
            let (start, function): (f64, fn(f64, f64) -> f64) = match call.op {
                "ReduceSum" | "ReduceSumSquare" | "ReduceMean" => (0.0, |a, b| a + b),
                "ReduceProd" => (1.0, |a, b| a * b),
                "ReduceMax" => (f64::NEG_INFINITY, |a, b| if b.is_nan() || b > a { b } else { a }),
                _ => (f64::INFINITY, |a, b| if b.is_nan() || b < a { b } else { a }),
            };
            let mut result = fold::reduced(constant, &axes, keep, start, function)?;
            if call.op == "ReduceMean" {
                #[allow(clippy::cast_precision_loss)] // a count
                let count = count as f64;
                result = fold::map(&result, |sum| sum / count)?;
            }
            Ok(vec![Tracked::Const(result)])
        }
        other => {
            let op = match call.op {
                "ReduceSum" | "ReduceSumSquare" => Reduction::Sum,
                "ReduceMean" => Reduction::Mean,
                "ReduceMax" => Reduction::Max,
                "ReduceMin" => Reduction::Min,
                _ => return Err(call.unsupported("a product of values along an axis", "use Log, ReduceSum and Exp")),
            };
            let view = importer.materialised(&call.at, other)?;
            let view = along(importer, call, &view, &axes, op)?;
            let result = Tracked::View(view);
            Ok(vec![if keep { result } else { without_axes(importer, call, &result, &axes)? }])
        }
    }
}

/// `view` reduced along axes of the file, which stay with extent 1.
fn along(importer: &mut Importer<'_>, call: &Call<'_>, view: &View, axes: &[usize], op: Reduction) -> Result<View> {
    let mut view = view.clone();
    for &axis in axes {
        let group = view.axes.get(axis).cloned().unwrap_or_default();
        if group.contains(&0) {
            return Err(importer.mixes_rows(&call.at));
        }
        for place in group {
            let value =
                importer.layer(&call.at, "", LayerKind::Reduce { op, axis: place, keepdims: true }, &[view.value])?;
            view = importer.view(view.kind, value, view.axes)?;
        }
    }
    Ok(view)
}

pub(super) fn global_pool(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let view = importer.materialised(&call.at, call.input(0)?)?;
    if view.axes.len() < 3 {
        return Err(call.mismatch("[batch, channels, length]", format!("rank {}", view.axes.len())));
    }
    let op = if call.op == "GlobalMaxPool" { Reduction::Max } else { Reduction::Mean };
    let axes: Vec<usize> = (2..view.axes.len()).collect();
    along(importer, call, &view, &axes, op).map(|view| vec![Tracked::View(view)])
}

pub(super) fn softmax(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let view = importer.materialised(&call.at, call.input(0)?)?;
    let rank = view.axes.len();
    // Up to opset 12 the axes from `axis` on are one.
    let coerced = importer.opset < 13;
    let axis = call.axis(call.int("axis")?.unwrap_or(if coerced { 1 } else { -1 }), rank)?;
    let group: Vec<usize> = if coerced {
        view.axes.get(axis..).unwrap_or_default().concat()
    } else {
        view.axes.get(axis).cloned().unwrap_or_default()
    };
    if group.contains(&0) {
        return Err(importer.mixes_rows(&call.at));
    }
    let log = call.op == "LogSoftmax";
    // The axes of the softmax as one, behind all others.
    let shape = importer.builder.shape(view.value)?.to_vec();
    let mut slots: Vec<Vec<usize>> =
        (0..shape.len()).filter(|axis| !group.contains(axis)).map(|axis| vec![axis]).collect();
    let others: Vec<usize> = slots.concat();
    slots.push(group.clone());
    let input = importer.arranged(&call.at, &view, &slots)?;
    let kind = LayerKind::Activation(if log { HeadActivation::LogSoftmax } else { HeadActivation::Softmax });
    let value = importer.layer(&call.at, "", kind, &[input])?;
    let last = others.len();
    if group.len() > 1 {
        // The axes that were one, apart again.
        let mut shape = importer.builder.shape(value)?.get(..last).unwrap_or_default().to_vec();
        shape.extend(importer.group_dims(&view, &group)?);
        let value = importer.layer(&call.at, "apart", LayerKind::ReshapeTo { shape }, &[value])?;
        let place = |old: &usize| {
            others.iter().position(|o| o == old).or_else(|| group.iter().position(|o| o == old).map(|at| last + at))
        };
        let axes = view.axes.iter().map(|group| group.iter().filter_map(place).collect()).collect();
        return importer.view(Kind::Float, value, axes).map(|view| vec![Tracked::View(view)]);
    }
    let place = |old: &usize| others.iter().position(|other| other == old).unwrap_or(last);
    let axes = view.axes.iter().map(|group| group.iter().map(place).collect()).collect();
    importer.view(Kind::Float, value, axes).map(|view| vec![Tracked::View(view)])
}
