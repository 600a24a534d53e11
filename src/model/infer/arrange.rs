//! The shapes of the layers that arrange values or take windows of them.

use super::{Unify, Windows, product};
use crate::{
    dim::{Dim, shape_text},
    error::{Error, Result},
    model::LayerKind,
    tensor::MAX_RANK,
};

/// The shape of the one output of a kind that [arranges](LayerKind::arranges).
pub(super) fn output_shape(
    subject: &str,
    kind: &LayerKind,
    inputs: &[Vec<Dim>],
    unify: &mut Unify<'_>,
) -> Result<Vec<Dim>> {
    let wrong = |expected: &str| {
        let found: Vec<String> = inputs.iter().map(|shape| shape_text(shape)).collect();
        Error::mismatch(subject, expected, format!("inputs {}", found.join(", ")))
    };
    let shape = match (kind, inputs) {
        (LayerKind::Constant(tensor), []) => tensor.shape().iter().map(|&size| Dim::from(size)).collect(),
        (LayerKind::Ramp { axis, shape, .. }, []) if *axis < shape.len() => shape.clone(),
        (LayerKind::Permute { axes }, [input]) => permuted(input, axes)
            .ok_or_else(|| wrong(&format!("a value whose axes are {axes:?}, the batch staying first")))?,
        (LayerKind::Slice { axis, start, step, extent }, [input]) if *axis > 0 && *step != 0 => {
            let len = input.get(*axis).ok_or_else(|| wrong(&format!("an axis {axis}")))?;
            slice_fits(len, start, *step, extent, unify)
                .ok_or_else(|| wrong(&format!("{extent} positions from {start} on at axis {axis}")))?;
            with_axis(input, *axis, extent.clone()).ok_or_else(|| wrong(&format!("an axis {axis}")))?
        }
        (LayerKind::ReshapeTo { shape }, [input]) => {
            unify
                .equal(&product(input), &product(shape))
                .ok_or_else(|| wrong(&format!("a size that reshapes to {}", shape_text(shape))))?;
            shape.clone()
        }
        (LayerKind::Expand { shape }, [input]) => {
            let fits = input.len() == shape.len()
                && input.iter().zip(shape).all(|(from, to)| from.fixed() == Some(1) || unify.equal(from, to).is_some());
            if !fits {
                return Err(wrong(&format!("a value that broadcasts to {}", shape_text(shape))));
            }
            shape.clone()
        }
        (LayerKind::Pad { axis, before, after, .. }, [input]) if *axis > 0 => {
            let len = input.get(*axis).ok_or_else(|| wrong(&format!("an axis {axis}")))?;
            let len = &(len + before) + after;
            with_axis(input, *axis, len).ok_or_else(|| wrong(&format!("an axis {axis}")))?
        }
        (LayerKind::Reduce { axis, keepdims, .. }, [input]) if *axis > 0 && *axis < input.len() => {
            let mut shape = input.clone();
            shape.splice(*axis..=*axis, keepdims.then(|| Dim::from(1)));
            shape
        }
        (LayerKind::MatMul { transposed }, [left, right]) => matmul(left, right, *transposed, unify)
            .ok_or_else(|| wrong("two values of one rank, at least 3, whose sizes fit a product"))?,
        (LayerKind::Take, [input, index]) => match (input.as_slice(), index.as_slice()) {
            ([rows, _, rest @ ..], [index_rows, count]) if unify.equal(rows, index_rows).is_some() => {
                [&[rows.clone(), count.clone()], rest].concat()
            }
            _ => return Err(wrong("[batch, len, ..] and positions [batch, count]")),
        },
        (LayerKind::LengthMask | LayerKind::ReverseSequence, [one, other]) => {
            let mask = matches!(kind, LayerKind::LengthMask);
            let (lengths, sequence) = if mask { (one, other) } else { (other, one) };
            match (lengths.as_slice(), sequence.as_slice()) {
                ([rows], [batch, seq_len, ..]) if unify.equal(rows, batch).is_some() => {
                    if mask {
                        vec![batch.clone(), seq_len.clone()]
                    } else {
                        sequence.clone()
                    }
                }
                _ => return Err(wrong("lengths [batch] and a sequence [batch, seq_len, ..]")),
            }
        }
        (LayerKind::Conv1d(c), [input]) => {
            let groups = c.weight.shape().get(1).map_or(0, |columns| columns / c.width.max(1));
            let out = c.weight.shape().first().copied().unwrap_or(0);
            let [rows, len, channels] = input.as_slice() else { return Err(wrong("[batch, len, channels]")) };
            let expected = groups.saturating_mul(c.groups);
            unify.equal(channels, &Dim::from(expected)).ok_or_else(|| wrong(&format!("[batch, len, {expected}]")))?;
            vec![rows.clone(), Windows::from(c).count(subject, len, unify)?, Dim::from(out)]
        }
        (LayerKind::Pool1d(p), [input]) => {
            let [rows, len, channels] = input.as_slice() else { return Err(wrong("[batch, len, channels]")) };
            vec![rows.clone(), Windows::from(p).count(subject, len, unify)?, channels.clone()]
        }
        (LayerKind::MaskOf, [input]) if input.len() > 1 => input.iter().take(2).cloned().collect(),
        (LayerKind::CarryMask, [input]) => input.clone(),
        (LayerKind::CarryMask, [input, source]) => match (input.as_slice(), source.as_slice()) {
            ([rows, len, ..], [source_rows, source_len, ..])
                if unify.equal(rows, source_rows).is_some() && unify.equal(len, source_len).is_some() =>
            {
                input.clone()
            }
            _ => return Err(wrong("two values of the same batch and seq_len")),
        },
        _ => return Err(wrong("inputs and axes that fit it")),
    };
    if shape.len() > MAX_RANK {
        return Err(wrong(&format!("a result of at most {MAX_RANK} axes")));
    }
    Ok(shape)
}

fn with_axis(input: &[Dim], axis: usize, extent: Dim) -> Option<Vec<Dim>> {
    let mut shape = input.to_vec();
    *shape.get_mut(axis)? = extent;
    Some(shape)
}

/// Requires that the first and the last position of a slice are positions of the axis.
pub(in crate::model) fn slice_fits(
    len: &Dim,
    start: &Dim,
    step: i64,
    extent: &Dim,
    unify: &mut Unify<'_>,
) -> Option<()> {
    let none = Dim::from(0);
    unify.at_least(extent, &none)?;
    if extent.fixed() == Some(0) {
        return Some(());
    }
    let last = start + &(&(extent - &Dim::from(1)) * &Dim::integer(step));
    let (lowest, highest) = if step > 0 { (start, &last) } else { (&last, start) };
    // Of a slice that may be empty only the ends that it has must exist.
    unify.at_least(if extent.fixed().is_some() { lowest } else { start }, &none)?;
    unify.at_least(len, &if extent.fixed().is_some() { highest + &Dim::from(1) } else { highest.clone() })
}

fn permuted(input: &[Dim], axes: &[usize]) -> Option<Vec<Dim>> {
    let mut sorted = axes.to_vec();
    sorted.sort_unstable();
    if axes.len() != input.len() || axes.first() != Some(&0) || !sorted.iter().copied().eq(0..input.len()) {
        return None;
    }
    axes.iter().map(|&axis| input.get(axis).cloned()).collect()
}

fn matmul(left: &[Dim], right: &[Dim], transposed: bool, unify: &mut Unify<'_>) -> Option<Vec<Dim>> {
    let ([lead @ .., rows, inner], [right_lead @ .., a, b]) = (left, right) else { return None };
    if lead.is_empty() || lead.len() != right_lead.len() {
        return None;
    }
    let (right_inner, columns) = if transposed { (b, a) } else { (a, b) };
    unify.equal(inner, right_inner)?;
    let mut shape = lead.iter().zip(right_lead).map(|(a, b)| unify.broadcast(a, b)).collect::<Option<Vec<_>>>()?;
    shape.extend([rows.clone(), columns.clone()]);
    Some(shape)
}
