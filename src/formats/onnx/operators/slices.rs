//! Slice and Split.

use super::super::{
    call::{Call, shown},
    fold,
    import::Importer,
    tensor::Const,
    track::{Sizes, Splat, Tracked},
};
use crate::{dim::Dim, error::Result, model::LayerKind};

/// Positions of one axis: the first, how far apart, and how many.
pub(super) struct Range {
    pub(super) start: Dim,
    pub(super) step: i64,
    pub(super) extent: Dim,
}

/// `x` with only the positions of `range` along `axis`.
pub(super) fn part(
    importer: &mut Importer<'_>,
    call: &Call<'_>,
    x: &Tracked,
    axis: usize,
    range: &Range,
) -> Result<Tracked> {
    let Range { start, step, extent } = range;
    let dims = importer.dims(x)?;
    let len = dims.get(axis).cloned().unwrap_or_else(|| Dim::from(1));
    if start.fixed() == Some(0) && *step == 1 && importer.same(extent, &len) {
        return Ok(x.clone());
    }
    let fixed = || {
        let (start, count) = (importer.reduced(start).fixed()?, importer.reduced(extent).fixed()?);
        let (start, len) = (i64::try_from(start).ok()?, i64::try_from(importer.reduced(&len).fixed()?).ok()?);
        let last = start.checked_add(step.checked_mul(i64::try_from(count).ok()?.checked_sub(1)?)?)?;
        (count == 0 || (0..len).contains(&start) && (0..len).contains(&last)).then_some((start, count))
    };
    let outside = || call.mismatch(format!("positions of an axis of {len}"), format!("{extent} from {start} on"));
    match x {
        Tracked::Const(constant) => {
            let (start, count) = fixed().ok_or_else(outside)?;
            importer.room(&call.at, constant.tensor.len())?;
            let tensor = fold::sliced(&constant.tensor, axis, start, *step, count)?;
            Ok(Tracked::Const(Const { kind: constant.kind, tensor: tensor.into() }))
        }
        Tracked::Sizes(sizes) => {
            let (start, count) = fixed().ok_or_else(outside)?;
            let at = |index: usize| {
                start
                    .checked_add(i64::try_from(index).ok()?.checked_mul(*step)?)
                    .and_then(|at| usize::try_from(at).ok())
            };
            let values = (0..count).map(|index| at(index).and_then(|at| sizes.values.get(at)).cloned());
            Ok(Tracked::Sizes(Sizes { scalar: false, values: values.collect::<Option<_>>().ok_or_else(outside)? }))
        }
        Tracked::Splat(splat) => {
            if [&len, start, extent].iter().all(|dim| importer.reduced(dim).constant().is_some()) {
                fixed().ok_or_else(outside)?;
            } else {
                importer.builder.require_slice(&call.at, &len, start, *step, extent)?;
            }
            let mut dims = splat.dims.clone();
            if let Some(slot) = dims.get_mut(axis) {
                *slot = extent.clone();
            }
            Ok(Tracked::Splat(Splat { dims, ..splat.clone() }))
        }
        Tracked::View(view) => {
            let (view, place) = importer.single(&call.at, view, axis)?;
            let Some(place) = place else {
                // The only position, or none.
                let all = importer.reduced(start).fixed() == Some(0) && importer.reduced(extent).fixed() == Some(1);
                return if all { Ok(Tracked::View(view)) } else { Err(outside()) };
            };
            let kind = LayerKind::Slice { axis: place, start: start.clone(), step: *step, extent: extent.clone() };
            let value = importer.layer(&call.at, "", kind, &[view.value])?;
            importer.view(view.kind, value, view.axes).map(Tracked::View)
        }
    }
}

pub(super) fn slice(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let x = call.input(0)?.clone();
    let rank = importer.dims(&x)?.len();
    let list = |name: &str, index: usize| -> Result<Vec<Dim>> {
        match call.ints(name)? {
            Some(values) => Ok(values.iter().map(|&value| Dim::integer(value)).collect()),
            None => call.sizes(index, name),
        }
    };
    let (starts, ends) = (list("starts", 1)?, list("ends", 2)?);
    let axes: Vec<usize> = match call.ints_or_input("axes", 3)? {
        Some(axes) => axes.iter().map(|&axis| call.axis(axis, rank)).collect::<Result<_>>()?,
        None => (0..starts.len().min(rank)).collect(),
    };
    let steps: Vec<i64> = match call.optional(4) {
        Some(_) => call.known(4, "steps")?.ints().unwrap_or_default().to_vec(),
        None => vec![1; starts.len()],
    };
    if [ends.len(), axes.len(), steps.len()].iter().any(|&len| len != starts.len()) {
        return Err(call.mismatch("lists of one length", "others"));
    }
    let mut result = x;
    for (((start, end), axis), step) in starts.iter().zip(&ends).zip(axes).zip(steps) {
        let len = importer.dims(&result)?.get(axis).cloned().unwrap_or_else(|| Dim::from(1));
        let range = range(importer, call, &len, start, end, step)?;
        result = part(importer, call, &result, axis, &range)?;
    }
    Ok(vec![result])
}

/// A size for messages.
fn size(dim: &Dim) -> String {
    dim.constant().map_or_else(|| "a size of the run".to_owned(), |size| size.to_string())
}

/// The positions from `start` up to `end` of an axis of `len`, as Python has them.
fn range(importer: &mut Importer<'_>, call: &Call<'_>, len: &Dim, start: &Dim, end: &Dim, step: i64) -> Result<Range> {
    let whole = importer.reduced(len);
    let fixed = |dim: &Dim| importer.reduced(dim).constant();
    let one = Dim::from(1);
    if step == 0 {
        return Err(call.mismatch("a step other than 0", "0"));
    }
    if let (Some(len), Some(start), Some(end)) = (whole.constant(), fixed(start), fixed(end)) {
        let from_end = |at: i64| if at < 0 { at.saturating_add(len) } else { at };
        let (low, high) = if step > 0 { (0, len) } else { (-1, len - 1) };
        // A start beyond the last position of a backward slice stands for it.
        let (start, end) = (from_end(start).clamp(low.max(0), high.max(0)), from_end(end).clamp(low, high));
        let distance = if step > 0 { end - start } else { start - end };
        let count = if distance <= 0 || len == 0 { 0 } else { (distance - 1) / step.saturating_abs() + 1 };
        return Ok(Range { start: Dim::integer(start), step, extent: Dim::integer(count) });
    }
    let open = |end: &Dim| end.constant().is_some_and(|end| end >= i64::from(i32::MAX) - 1);
    let unknown = || {
        call.unsupported(
            format!("a slice from {} to {} by {step} of an axis of {}", size(start), size(end), size(len)),
            "export it with fixed sizes",
        )
    };
    if step < 0 {
        // All of it, backwards, is what is used.
        let all = start.constant() == Some(-1) || open(start);
        let to_front = end.constant().is_some_and(|end| end <= -i64::from(i32::MAX));
        return match (all && to_front, step) {
            (true, -1) => Ok(Range { start: len - &one, step, extent: len.clone() }),
            _ => Err(unknown()),
        };
    }
    // Counted from the end: a run whose axis is shorter is refused.
    let place = |importer: &mut Importer<'_>, at: &Dim, is_end: bool| match at.constant() {
        Some(at) if at < 0 => Some(len + &Dim::integer(at)),
        Some(_) if is_end && open(at) => Some(len.clone()),
        Some(0) => Some(Dim::from(0)),
        // min(at, len)
        Some(_) => {
            let over = importer.builder.positive(&(at - len));
            Some(at - &over)
        }
        None if at.is_sum_of_sizes() && importer.same(at, len) => Some(len.clone()),
        None => {
            // A size of the run, which may be counted from either end: only what is known to lie inside.
            let inside = (len - at).is_sum_of_sizes() && at.is_sum_of_sizes()
                || (len - at).constant().is_some_and(|left| left >= 0);
            inside.then(|| at.clone())
        }
    };
    let start_at = place(importer, start, false).ok_or_else(unknown)?;
    let end_at = place(importer, end, true).ok_or_else(unknown)?;
    // One position, as for `x[:1]`: a run in which there is none is refused.
    let one_position = start.constant().zip(end.constant()).filter(|(start, end)| end - start == 1 && *start >= 0);
    let (start_at, end_at) = match one_position {
        Some((start, end)) => (Dim::integer(start), Dim::integer(end)),
        None => (start_at, end_at),
    };
    let distance = &end_at - &start_at;
    let extent = if distance.constant().is_some() || distance.is_sum_of_sizes() {
        distance
    } else {
        importer.builder.positive(&distance)
    };
    if extent.constant().is_some_and(|extent| extent < 0) {
        return Ok(Range { start: Dim::from(0), step: 1, extent: Dim::from(0) });
    }
    let extent = match usize::try_from(step) {
        Ok(1) => extent,
        // ceil(extent / step)
        Ok(step) => importer.builder.quotient(&(&extent + &Dim::from(step - 1)), step),
        Err(_) => return Err(unknown()),
    };
    Ok(Range { start: start_at, step, extent })
}

pub(super) fn split(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let x = call.input(0)?.clone();
    let dims = importer.dims(&x)?;
    let axis = call.axis(call.int("axis")?.unwrap_or(0), dims.len())?;
    let len = dims.get(axis).cloned().unwrap_or_else(|| Dim::from(1));
    let parts: Vec<Dim> = match call.ints("split")? {
        Some(parts) => parts.iter().map(|&size| Dim::integer(size)).collect(),
        None if call.optional(1).is_some() => call.sizes(1, "split")?,
        None => {
            let count = call.wanted.len().max(1);
            if call.int("num_outputs")?.is_some_and(|stated| usize::try_from(stated) != Ok(count)) {
                return Err(call.mismatch(format!("num_outputs to be {count}"), "another number"));
            }
            let whole = importer.reduced(&len).fixed();
            let whole = whole
                .ok_or_else(|| call.unsupported("equal parts of an axis that each run decides", "give their sizes"))?;
            let size = whole.div_ceil(count);
            (0..count).map(|part| Dim::from(size.min(whole.saturating_sub(part * size)))).collect()
        }
    };
    if parts.len() < call.wanted.len() || parts.iter().any(|part| part.constant().is_some_and(|size| size < 0)) {
        return Err(call.mismatch(format!("{} parts", call.wanted.len()), shown(&parts)));
    }
    let sum = parts.iter().fold(Dim::from(0), |sum, part| &sum + part);
    if !importer.agree(&call.at, &sum, &len) {
        return Err(call.mismatch(format!("parts that add up to {len}"), shown(&parts)));
    }
    let (mut start, mut outputs) = (Dim::from(0), Vec::new());
    for (index, extent) in parts.into_iter().enumerate() {
        let range = Range { start: start.clone(), step: 1, extent: extent.clone() };
        start = &start + &extent;
        outputs.push(if call.wanted.get(index) == Some(&true) {
            part(importer, call, &x, axis, &range)?
        } else {
            x.clone()
        });
    }
    Ok(outputs)
}
