//! Gemm and MatMul.

use std::sync::Arc;

use super::super::{
    call::{Call, shown},
    fold,
    import::Importer,
    tensor::{Const, Kind},
    track::{Fill, Splat, Tracked, View},
};
use crate::{
    activation::Activation,
    dim::Dim,
    error::Result,
    model::{Dense, HeadActivation, LayerKind},
    tensor::{Tensor, element_count},
};

use super::pointwise::{apply, both, fits_into};

/// `x` times a matrix `[out, in]`, along axis `axis` of the file.
fn dense(
    importer: &mut Importer<'_>,
    call: &Call<'_>,
    x: &View,
    axis: usize,
    weight: Tensor,
    bias: Option<Arc<Tensor>>,
) -> Result<View> {
    let features = weight.shape().get(1).copied().unwrap_or(0);
    let group = x.axes.get(axis).cloned().unwrap_or_default();
    let dims = importer.view_dims(x)?;
    if !dims.get(axis).is_some_and(|dim| importer.agree(&call.at, dim, &Dim::from(features))) {
        return Err(call.mismatch(format!("{features} features at axis {axis}"), format!("a shape {}", shown(&dims))));
    }
    if group.contains(&0) {
        return Err(importer.mixes_rows(&call.at));
    }
    // The features behind all other axes.
    let shape = importer.builder.shape(x.value)?.to_vec();
    let is_one = |axis: &usize| shape.get(*axis).is_none_or(|dim| dim.fixed() == Some(1));
    let mut others: Vec<usize> = (0..shape.len()).filter(|axis| !group.contains(axis) && !is_one(axis)).collect();
    if others.first() != Some(&0) {
        others.insert(0, usize::MAX);
    }
    let mut slots: Vec<Vec<usize>> =
        others.iter().map(|&axis| if axis == usize::MAX { Vec::new() } else { vec![axis] }).collect();
    slots.push(group.clone());
    let input = importer.arranged(&call.at, x, &slots)?;
    let bias = bias.filter(|bias| bias.to_f32().iter().any(|&value| value != 0.0));
    let kind = LayerKind::Dense(Dense {
        weight: weight.into(),
        bias,
        activation: HeadActivation::Pointwise(Activation::Linear),
    });
    let value = importer.layer(&call.at, "", kind, &[input])?;
    let place = |old: &usize| others.iter().position(|other| other == old);
    let axes = x.axes.iter().enumerate().map(|(index, group)| {
        if index == axis { vec![others.len()] } else { group.iter().filter_map(place).collect() }
    });
    importer.view(Kind::Float, value, axes.collect())
}

/// The constant as a matrix `[out, in]`: transposed, unless it is so already, and scaled.
fn matrix(
    importer: &mut Importer<'_>,
    call: &Call<'_>,
    constant: &Const,
    transposed: bool,
    scale: f32,
) -> Result<Tensor> {
    importer.room(&call.at, constant.tensor.len())?;
    let tensor = if transposed { (*constant.tensor).clone() } else { fold::permuted(&constant.tensor, &[1, 0])? };
    let mut values = tensor.to_f32().into_owned();
    if scale != 1.0 {
        values.iter_mut().for_each(|value| *value *= scale);
    }
    Tensor::new(tensor.shape(), values)
}

/// The most values of a product that is computed while loading.
const KNOWN: usize = 1 << 20;

/// `left` times a matrix `[out, in]`, where it is plain what that is: zeros, or rows that are all the same, of which one
/// is computed. Exporters write initial states so.
fn known_product(
    importer: &mut Importer<'_>,
    call: &Call<'_>,
    left: &Tracked,
    weight: &Tensor,
) -> Result<Option<Tracked>> {
    let mut dims = importer.dims(left)?;
    let (Some(inner), &[out, features]) = (dims.pop(), weight.shape()) else { return Ok(None) };
    if !importer.agree(&call.at, &inner, &Dim::from(features)) {
        return Err(call.mismatch(format!("{features} features"), inner.to_string()));
    }
    match left {
        // Zero times an infinity is no zero.
        Tracked::Splat(splat)
            if splat.value == Fill::Number(0.0) && weight.to_f32().iter().all(|value| value.is_finite()) =>
        {
            dims.push(Dim::from(out));
            Ok(Some(Tracked::Splat(Splat { dims, ..splat.clone() })))
        }
        Tracked::Const(constant) if features > 0 => {
            let (values, matrix) = (constant.tensor.to_f64(), weight.to_f64());
            let mut rows = values.chunks_exact(features);
            let Some(row) = rows.next().filter(|row| rows.all(|other| other == *row)) else { return Ok(None) };
            let shape = [constant.shape().split_last().map_or(&[][..], |(_, lead)| lead), &[out]].concat();
            let Some(count) = element_count(&shape).filter(|&count| count <= KNOWN) else { return Ok(None) };
            importer.room(&call.at, count.saturating_add(out).saturating_mul(2))?;
            let sum = |column: &[f64]| row.iter().zip(column).map(|(a, b)| a * b).sum::<f64>();
            let one = Tensor::new([out], matrix.chunks_exact(features).map(sum).collect::<Vec<f64>>())?;
            let whole = fold::expanded(&one, &shape).ok_or_else(|| call.mismatch("a matrix", "another tensor"))??;
            Ok(Some(Tracked::Const(Const { kind: Kind::Float, tensor: whole.into() })))
        }
        _ => Ok(None),
    }
}

pub(super) fn matmul(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let (left, right) = (call.input(0)?.clone(), call.input(1)?.clone());
    let (dims, other) = (importer.dims(&left)?, importer.dims(&right)?);
    if dims.is_empty() || other.is_empty() {
        return Err(call.mismatch("two tensors of rank 1 or more", "a scalar"));
    }
    if let Tracked::Const(weight) = &right
        && weight.shape().len() == 2
    {
        let weight = matrix(importer, call, weight, false, 1.0)?;
        if let Some(product) = known_product(importer, call, &left, &weight)? {
            return Ok(vec![product]);
        }
        let x = importer.materialised(&call.at, &left)?;
        let view = dense(importer, call, &x, dims.len() - 1, weight, None)?;
        return Ok(vec![Tracked::View(view)]);
    }
    // A vector is a matrix of one row or column, which goes away again.
    let (a, b) = (
        padded(importer, call, &left, dims.len() == 1, true)?,
        padded(importer, call, &right, other.len() == 1, false)?,
    );
    let product = general(importer, call, &a, &b)?;
    let mut axes = product.axes.clone();
    if other.len() == 1 {
        axes.pop();
    }
    if dims.len() == 1 {
        let at = axes.len().saturating_sub(if other.len() == 1 { 1 } else { 2 });
        if at < axes.len() {
            axes.remove(at);
        }
    }
    Ok(vec![Tracked::View(importer.view(Kind::Float, product.value, axes)?)])
}

fn padded(importer: &mut Importer<'_>, call: &Call<'_>, tracked: &Tracked, vector: bool, row: bool) -> Result<View> {
    let mut view = importer.materialised(&call.at, tracked)?;
    if vector {
        view.axes.insert(if row { 0 } else { 1 }, Vec::new());
    }
    Ok(view)
}

/// The product of two values that each run computes.
fn general(importer: &mut Importer<'_>, call: &Call<'_>, left: &View, right: &View) -> Result<View> {
    let rank = left.axes.len().max(right.axes.len());
    let lead = rank.saturating_sub(2);
    let at = |view: &View, axis: usize| {
        (axis + view.axes.len()).checked_sub(rank).and_then(|axis| view.axes.get(axis)).cloned().unwrap_or_default()
    };
    let rows_at = |view: &View| (0..rank).find(|&axis| at(view, axis).contains(&0));
    let rows = match (rows_at(left), rows_at(right)) {
        (None, None) => None,
        (Some(a), None) | (None, Some(a)) => Some(a),
        (Some(a), Some(b)) if a == b => Some(a),
        _ => return Err(importer.mixes_rows(&call.at)),
    };
    // Rows of the left matrix are samples: then the right one is the same for all.
    let as_matrix = rows.is_some_and(|rows| rows >= lead);
    if as_matrix && (rows != Some(lead) || rows_at(right).is_some() || lead > 0) {
        return Err(importer.mixes_rows(&call.at));
    }
    let mut slots = [Vec::new(), Vec::new()];
    for (slots, view) in slots.iter_mut().zip([left, right]) {
        let has_rows = rows.is_some_and(|rows| !at(view, rows).is_empty());
        if as_matrix {
            // [batch, 1, k] and [1, k, n]
            slots.push(if has_rows && rows_at(view).is_some() { at(view, lead) } else { Vec::new() });
            slots.push(if rows_at(view).is_some() { Vec::new() } else { at(view, lead) });
            slots.push(at(view, lead + 1));
            continue;
        }
        slots.push(rows.map(|rows| at(view, rows)).unwrap_or_default());
        slots.extend((0..rank).filter(|axis| Some(*axis) != rows).map(|axis| at(view, axis)));
    }
    let [a, b] = [importer.arranged(&call.at, left, &slots[0])?, importer.arranged(&call.at, right, &slots[1])?];
    let value = importer.layer(&call.at, "", LayerKind::MatMul { transposed: false }, &[a, b])?;
    let axes = if as_matrix {
        vec![vec![0], vec![2]]
    } else {
        let mut next = 0;
        (0..rank)
            .map(|axis| {
                if Some(axis) == rows {
                    vec![0]
                } else {
                    next += 1;
                    vec![next]
                }
            })
            .collect()
    };
    importer.view(Kind::Float, value, axes)
}

pub(super) fn gemm(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let (alpha, beta) = (call.float("alpha")?.unwrap_or(1.0), call.float("beta")?.unwrap_or(1.0));
    if !alpha.is_finite() || !beta.is_finite() {
        return Err(call.mismatch("finite alpha and beta", format!("{alpha} and {beta}")));
    }
    let (trans_a, trans_b) = (call.flag("transA", false)?, call.flag("transB", false)?);
    if [0, 1]
        .iter()
        .any(|&index| call.input(index).and_then(|input| importer.dims(input)).map_or(0, |dims| dims.len()) != 2)
    {
        return Err(call.mismatch("two matrices", "other ranks"));
    }
    if let (false, Tracked::Const(weight)) = (trans_a, call.input(1)?)
        && matches!(call.input(0)?, Tracked::Const(_) | Tracked::Splat(_))
    {
        let weight = matrix(importer, call, weight, trans_b, alpha)?;
        if let Some(product) = known_product(importer, call, call.input(0)?, &weight)? {
            return add_scaled(importer, call, product, beta);
        }
    }
    let mut x = importer.materialised(&call.at, call.input(0)?)?;
    if trans_a {
        x.axes.swap(0, 1);
    }
    let Tracked::Const(weight) = call.input(1)? else {
        let mut y = importer.materialised(&call.at, call.input(1)?)?;
        if trans_b {
            y.axes.swap(0, 1);
        }
        let mut product = Tracked::View(general(importer, call, &x, &y)?);
        if alpha != 1.0 {
            product = apply(importer, call, &product, Activation::Affine { alpha, beta: 0.0 })?;
        }
        return add_scaled(importer, call, product, beta);
    };
    let weight = matrix(importer, call, weight, trans_b, alpha)?;
    let out = weight.shape().first().copied().unwrap_or(0);
    let bias = match call.optional(2) {
        Some(Tracked::Const(bias)) => fold::expanded(&bias.tensor, &[1, out]).transpose()?.map(|bias| {
            let values: Vec<f32> = bias.to_f32().iter().map(|value| value * beta).collect();
            Tensor::new([out], values).map(Arc::new)
        }),
        _ => None,
    };
    let bias = bias.transpose()?;
    let done = bias.is_some() || call.optional(2).is_none();
    let product = Tracked::View(dense(importer, call, &x, 1, weight, bias)?);
    if done { Ok(vec![product]) } else { add_scaled(importer, call, product, beta) }
}

fn add_scaled(importer: &mut Importer<'_>, call: &Call<'_>, product: Tracked, beta: f32) -> Result<Vec<Tracked>> {
    let Some(c) = call.optional(2) else { return Ok(vec![product]) };
    let (dims, whole) = (importer.dims(c)?, importer.dims(&product)?);
    if !fits_into(importer, call, &dims, &whole) {
        return Err(call.mismatch(format!("C that broadcasts to {}", shown(&whole)), shown(&dims)));
    }
    let scaled =
        if beta == 1.0 { c.clone() } else { apply(importer, call, c, Activation::Affine { alpha: beta, beta: 0.0 })? };
    both(importer, call, "Add", &product, &scaled).map(|tracked| vec![tracked])
}
