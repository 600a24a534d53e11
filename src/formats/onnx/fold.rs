//! Operations on tensors whose values the file gives: the host computes them once, while loading.
//! Whoever calls has made room for the result.

use super::tensor::{Const, Kind};
use crate::{
    error::{Error, Result},
    tensor::{Data, Tensor, element_count, unravel},
};

/// The steps, in elements, from one position of each axis to the next.
pub(super) fn strides(shape: &[usize]) -> Vec<i64> {
    let mut strides = vec![0; shape.len()];
    let mut step = 1i64;
    for (slot, &size) in strides.iter_mut().zip(shape).rev() {
        *slot = step;
        step = step.saturating_mul(i64::try_from(size).unwrap_or(i64::MAX));
    }
    strides
}

/// A tensor of `shape` whose element at an index is the one of `tensor` at `start` plus the index times `steps`.
pub(super) fn strided(tensor: &Tensor, shape: &[usize], steps: &[i64], start: i64) -> Result<Tensor> {
    fn pick<T: Copy>(from: &[T], shape: &[usize], steps: &[i64], start: i64) -> Result<Vec<T>> {
        let count = element_count(shape).ok_or_else(|| Error::internal("a shape that overflows"))?;
        let mut index = vec![0usize; shape.len()];
        let mut at = start;
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            let value = usize::try_from(at).ok().and_then(|at| from.get(at));
            values.push(*value.ok_or_else(|| Error::internal("an element outside its tensor"))?);
            for ((slot, &size), &step) in index.iter_mut().zip(shape).zip(steps).rev() {
                *slot += 1;
                at = at.saturating_add(step);
                if *slot < size {
                    break;
                }
                at = at.saturating_sub(step.saturating_mul(i64::try_from(size).unwrap_or(i64::MAX)));
                *slot = 0;
            }
        }
        Ok(values)
    }
    let data = match tensor.data() {
        Data::F32(values) => Data::F32(pick(values, shape, steps, start)?),
        Data::F64(values) => Data::F64(pick(values, shape, steps, start)?),
        Data::I64(values) => Data::I64(pick(values, shape, steps, start)?),
    };
    Tensor::new(shape, data)
}

/// `tensor` with axis `order[i]` as axis `i`.
pub(super) fn permuted(tensor: &Tensor, order: &[usize]) -> Result<Tensor> {
    if order.is_sorted() {
        return Ok(tensor.clone());
    }
    let from = strides(tensor.shape());
    let shape: Vec<usize> = order.iter().filter_map(|&axis| tensor.shape().get(axis).copied()).collect();
    let steps: Vec<i64> = order.iter().filter_map(|&axis| from.get(axis).copied()).collect();
    strided(tensor, &shape, &steps, 0)
}

/// `tensor` repeated to `shape`, as broadcasting does; `None` if it does not fit.
pub(super) fn expanded(tensor: &Tensor, shape: &[usize]) -> Option<Result<Tensor>> {
    if tensor.shape() == shape {
        return Some(Ok(tensor.clone()));
    }
    let skipped = shape.len().checked_sub(tensor.shape().len())?;
    let mut steps = vec![0; skipped];
    for ((&size, &wanted), step) in tensor.shape().iter().zip(shape.iter().skip(skipped)).zip(strides(tensor.shape())) {
        steps.push(match size {
            1 => 0,
            _ if size == wanted => step,
            _ => return None,
        });
    }
    Some(strided(tensor, shape, &steps, 0))
}

/// `count` positions of `axis` from `start` on, `step` apart, all of which exist.
pub(super) fn sliced(tensor: &Tensor, axis: usize, start: i64, step: i64, count: usize) -> Result<Tensor> {
    let mut shape = tensor.shape().to_vec();
    let mut steps = strides(&shape);
    let (Some(size), Some(stride)) = (shape.get_mut(axis), steps.get_mut(axis)) else {
        return Err(Error::internal("a slice of no axis"));
    };
    *size = count;
    let from = start.saturating_mul(*stride);
    *stride = stride.saturating_mul(step);
    strided(tensor, &shape, &steps, if count == 0 { 0 } else { from })
}

/// One position of `axis`, if all are the same; none of none.
pub(super) fn one_of_equal(tensor: &Tensor, axis: usize) -> Result<Option<Tensor>> {
    let count = tensor.shape().get(axis).copied().unwrap_or(0);
    let first = sliced(tensor, axis, 0, 1, count.min(1))?;
    // Of nothing there may be any number.
    let others = if tensor.is_empty() { 1..1 } else { 1..count };
    for position in others {
        if sliced(tensor, axis, i64::try_from(position).unwrap_or(0), 1, 1)?.data() != first.data() {
            return Ok(None);
        }
    }
    Ok(Some(first))
}

/// Tensors side by side along `axis`; they agree in the other axes.
pub(super) fn concatenated(tensors: &[&Tensor], axis: usize) -> Option<Result<Tensor>> {
    let first = tensors.first()?;
    let mut shape = first.shape().to_vec();
    *shape.get_mut(axis)? = 0;
    for tensor in tensors {
        let fits = tensor.shape().len() == shape.len()
            && tensor.shape().iter().zip(first.shape()).enumerate().all(|(at, (a, b))| at == axis || a == b);
        if !fits {
            return None;
        }
        let size = shape.get_mut(axis)?;
        *size = size.checked_add(*tensor.shape().get(axis)?)?;
    }
    let inner: usize = shape.iter().skip(axis + 1).product();
    let outer: usize = shape.iter().take(axis).product();
    fn join<'t, T: Copy + 't>(parts: &[(&'t [T], usize)], outer: usize) -> Vec<T> {
        let mut values = Vec::with_capacity(parts.iter().map(|(part, _)| part.len()).sum());
        for index in 0..outer {
            for (part, block) in parts {
                values.extend_from_slice(part.get(index * block..(index + 1) * block).unwrap_or_default());
            }
        }
        values
    }
    let block = |tensor: &Tensor| tensor.shape().get(axis).copied().unwrap_or(0) * inner;
    let ints: Option<Vec<(&[i64], usize)>> = tensors
        .iter()
        .map(|tensor| match tensor.data() {
            Data::I64(values) => Some((values.as_slice(), block(tensor))),
            _ => None,
        })
        .collect();
    let data = match ints {
        Some(parts) => Data::I64(join(&parts, outer)),
        None => {
            let all: Vec<_> = tensors.iter().map(|tensor| tensor.to_f64()).collect();
            let parts: Vec<(&[f64], usize)> =
                all.iter().zip(tensors).map(|(values, tensor)| (values.as_ref(), block(tensor))).collect();
            Data::F64(join(&parts, outer))
        }
    };
    Some(Tensor::new(shape, data))
}

/// The shape that two shapes broadcast to.
pub(super) fn broadcast(left: &[usize], right: &[usize]) -> Option<Vec<usize>> {
    let rank = left.len().max(right.len());
    let at = |shape: &[usize], axis: usize| {
        (axis + shape.len()).checked_sub(rank).and_then(|axis| shape.get(axis)).copied().unwrap_or(1)
    };
    (0..rank)
        .map(|axis| match (at(left, axis), at(right, axis)) {
            (1, size) | (size, 1) => Some(size),
            (a, b) => (a == b).then_some(a),
        })
        .collect()
}

/// A function of two elements, of floats and of integers; `None` where integers have none.
pub(super) struct Binary {
    pub(super) float: fn(f64, f64) -> f64,
    pub(super) int: fn(i64, i64) -> Option<i64>,
    /// Whether the result is a truth value.
    pub(super) truth: bool,
}

/// `function` of each element of two tensors; `None` if they do not fit or it is not defined.
pub(super) fn binary(left: &Const, right: &Const, function: &Binary) -> Option<Result<Const>> {
    let shape = broadcast(left.shape(), right.shape())?;
    let both = [&left.tensor, &right.tensor].map(|tensor| expanded(tensor, &shape));
    let [Some(Ok(a)), Some(Ok(b))] = both else { return None };
    let kind = if function.truth { Kind::Bool } else { left.kind };
    let data = match (a.data(), b.data()) {
        (Data::I64(a), Data::I64(b)) => {
            Data::I64(a.iter().zip(b).map(|(&a, &b)| (function.int)(a, b)).collect::<Option<_>>()?)
        }
        _ => {
            let values =
                a.to_f64().iter().zip(b.to_f64().iter()).map(|(&a, &b)| (function.float)(a, b)).collect::<Vec<_>>();
            #[allow(clippy::cast_possible_truncation)] // 0 and 1
            if function.truth {
                Data::I64(values.iter().map(|&value| value as i64).collect())
            } else {
                Data::F64(values)
            }
        }
    };
    Some(Tensor::new(shape, data).map(|tensor| Const { kind, tensor: tensor.into() }))
}

/// `function` of each element as a float.
pub(super) fn map(constant: &Const, function: impl Fn(f64) -> f64) -> Result<Const> {
    let values: Vec<f64> = constant.tensor.to_f64().iter().map(|&value| function(value)).collect();
    Ok(Const { kind: Kind::Float, tensor: Tensor::new(constant.shape(), values)?.into() })
}

/// The positions of `axis` that `index` names, in the shape of `index`; `None` if one is outside.
pub(super) fn gathered(data: &Tensor, index: &Const, axis: usize) -> Option<Result<Tensor>> {
    let size = i64::try_from(*data.shape().get(axis)?).ok()?;
    let inner: usize = data.shape().iter().skip(axis + 1).product();
    let outer: usize = data.shape().iter().take(axis).product();
    let places = index.ints()?.iter().map(|&place| {
        let place = if place < 0 { place.checked_add(size)? } else { place };
        usize::try_from(place).ok().filter(|_| place < size)
    });
    let places: Vec<usize> = places.collect::<Option<_>>()?;
    let block = inner * usize::try_from(size).ok()?;
    fn pick<T: Copy>(values: &[T], places: &[usize], outer: usize, inner: usize, block: usize) -> Vec<T> {
        let runs = (0..outer).flat_map(|lead| places.iter().map(move |place| lead * block + place * inner));
        runs.flat_map(|at| values.get(at..at + inner).unwrap_or_default().iter().copied()).collect()
    }
    let data_out = match data.data() {
        Data::F32(values) => Data::F32(pick(values, &places, outer, inner, block)),
        Data::F64(values) => Data::F64(pick(values, &places, outer, inner, block)),
        Data::I64(values) => Data::I64(pick(values, &places, outer, inner, block)),
    };
    let shape = [data.shape().get(..axis)?, index.shape(), data.shape().get(axis + 1..)?].concat();
    Some(Tensor::new(shape, data_out))
}

/// `axes` reduced with `function`, kept with extent 1 if `keep`.
pub(super) fn reduced(
    constant: &Const,
    axes: &[usize],
    keep: bool,
    start: f64,
    function: impl Fn(f64, f64) -> f64,
) -> Result<Const> {
    let shape = constant.shape();
    let kept: Vec<usize> =
        shape.iter().enumerate().map(|(axis, &size)| if axes.contains(&axis) { 1 } else { size }).collect();
    let steps = strides(&kept);
    let count = element_count(&kept).ok_or_else(|| Error::internal("a shape that overflows"))?;
    let mut values = vec![start; count];
    for (flat, &value) in constant.tensor.to_f64().iter().enumerate() {
        let index = unravel(flat, shape);
        let at: i64 = index
            .iter()
            .zip(&steps)
            .enumerate()
            .map(|(axis, (&i, &step))| if axes.contains(&axis) { 0 } else { i64::try_from(i).unwrap_or(0) * step })
            .sum();
        if let Some(slot) = usize::try_from(at).ok().and_then(|at| values.get_mut(at)) {
            *slot = function(*slot, value);
        }
    }
    let shape = if keep {
        kept
    } else {
        shape.iter().enumerate().filter(|(axis, _)| !axes.contains(axis)).map(|(_, &size)| size).collect()
    };
    #[allow(clippy::cast_possible_truncation)] // they were integers
    let data = match constant.kind {
        Kind::Float => Data::F64(values),
        _ => Data::I64(values.into_iter().map(|value| value as i64).collect()),
    };
    Ok(Const { kind: constant.kind, tensor: Tensor::new(shape, data)?.into() })
}
