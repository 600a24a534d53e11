//! Gather and ReverseSequence.

use super::super::{
    call::{Call, shown},
    fold,
    import::Importer,
    tensor::{Const, Kind},
    track::{Fill, Sizes, Tracked, View},
};
use super::{
    moves::without_axes,
    slices::{Range, part},
};
use crate::{
    dim::Dim,
    error::Result,
    model::{Embedding, LayerKind},
};

pub(super) fn gather(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let (data, index) = (call.input(0)?.clone(), call.input(1)?.clone());
    let dims = importer.dims(&data)?;
    let axis = call.axis(call.int("axis")?.unwrap_or(0), dims.len())?;
    let len = dims.get(axis).map_or(String::new(), ToString::to_string);
    let outside = || call.mismatch(format!("positions of an axis of {len}"), "one outside");
    let result = match (&data, &index) {
        (Tracked::Const(data), Tracked::Const(index)) => {
            let rest: usize =
                data.shape().iter().enumerate().filter(|(other, _)| *other != axis).map(|(_, &size)| size).product();
            importer.room(&call.at, rest.saturating_mul(index.tensor.len()).saturating_mul(2))?;
            let tensor = fold::gathered(&data.tensor, index, axis).ok_or_else(outside)??;
            Tracked::Const(Const { kind: data.kind, tensor: tensor.into() })
        }
        (Tracked::Sizes(sizes), Tracked::Const(index)) if index.shape().len() <= 1 => {
            let len = i64::try_from(sizes.values.len()).unwrap_or(0);
            let pick = |&at: &i64| {
                usize::try_from(if at < 0 { at.saturating_add(len) } else { at })
                    .ok()
                    .and_then(|at| sizes.values.get(at))
                    .cloned()
            };
            let places = index.ints().ok_or_else(|| call.mismatch("positions that are integers", "floats"))?;
            let values = places.iter().map(pick).collect::<Option<_>>().ok_or_else(outside)?;
            Tracked::Sizes(Sizes { scalar: index.shape().is_empty(), values })
        }
        (Tracked::Const(table), Tracked::View(ids)) => embedding(importer, call, table, ids, axis)?,
        (_, Tracked::Const(index)) => {
            let places = index.ints().ok_or_else(|| call.mismatch("positions that are integers", "floats"))?;
            let range = progression(call, places, dims.get(axis).unwrap_or(&Dim::from(1)))?;
            let taken = part(importer, call, &data, axis, &range)?;
            match index.shape() {
                [] => without_axes(importer, call, &taken, &[axis])?,
                [_] => taken,
                _ => return Err(call.unsupported("a table of positions", "use a list of them")),
            }
        }
        (_, Tracked::Sizes(sizes)) if sizes.values.len() == 1 => {
            let start = sizes.values.first().cloned().unwrap_or_else(|| Dim::from(0));
            let taken = part(importer, call, &data, axis, &Range { start, step: 1, extent: Dim::from(1) })?;
            if sizes.scalar { without_axes(importer, call, &taken, &[axis])? } else { taken }
        }
        _ => {
            let instead =
                "use constant positions; for the last timestep of each sample Y_h of a layer with sequence_lens";
            return Err(call.unsupported("a Gather at positions that the values of a run decide", instead));
        }
    };
    Ok(vec![result])
}

/// Positions that are the same distance apart, as a range of an axis of `len`.
fn progression(call: &Call<'_>, places: &[i64], len: &Dim) -> Result<Range> {
    let Some(&first) = places.first() else { return Ok(Range { start: Dim::from(0), step: 1, extent: Dim::from(0) }) };
    let step = match places {
        [_] => 1,
        [a, b, ..] => b.saturating_sub(*a),
        [] => 1,
    };
    let even =
        places.windows(2).all(|pair| matches!(pair, [a, b] if b.saturating_sub(*a) == step && (*a < 0) == (*b < 0)));
    if !even || step == 0 {
        return Err(call.unsupported("positions that are no even row", "use several Gathers and a Concat"));
    }
    let start = if first < 0 { len + &Dim::integer(first) } else { Dim::integer(first) };
    Ok(Range { start, step, extent: Dim::from(places.len()) })
}

/// Rows of a table that ids name.
fn embedding(importer: &mut Importer<'_>, call: &Call<'_>, table: &Const, ids: &View, axis: usize) -> Result<Tracked> {
    let &[rows, features] = table.shape() else {
        return Err(call.unsupported("a table of another rank than 2", "reshape it to rows of features"));
    };
    if axis != 0 {
        return Err(call.unsupported("columns of a table", "transpose the table"));
    }
    if ids.kind != Kind::Int {
        return Err(call.mismatch("ids that are integers", "floats"));
    }
    if !std::sync::Arc::ptr_eq(&table.f32()?, &table.tensor) {
        importer.room(&call.at, table.tensor.len())?;
    }
    let kind = LayerKind::Embedding(Embedding { table: table.f32()?, mask_zero: false });
    let rank = importer.builder.shape(ids.value)?.len();
    // Ids are checked to be whole numbers when they are given.
    let source = importer.expressions.same_ids(ids.value, rows);
    let value = importer.layer(&call.at, "", kind, &[source])?;
    let mut axes = ids.axes.clone();
    axes.push(if features == 1 { Vec::new() } else { vec![rank] });
    importer.view(table.kind, value, axes).map(Tracked::View)
}

pub(super) fn reverse_sequence(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let x = importer.materialised(&call.at, call.input(0)?)?;
    let rank = x.axes.len();
    let batch = call.axis(call.int("batch_axis")?.unwrap_or(1), rank)?;
    let time = call.axis(call.int("time_axis")?.unwrap_or(0), rank)?;
    if batch == time || batch > 1 || time > 1 {
        return Err(call.mismatch("a batch_axis and a time_axis among 0 and 1", format!("{batch} and {time}")));
    }
    let dims = importer.view_dims(&x)?;
    let len = dims.get(time).cloned().unwrap_or_else(|| Dim::from(1));
    let lengths = call.input(1)?;
    let given = importer.dims(lengths)?;
    let rows = dims.get(batch).cloned().unwrap_or_else(|| Dim::from(1));
    if given.len() != 1 || !given.iter().all(|dim| importer.agree(&call.at, dim, &rows)) {
        return Err(call.mismatch("sequence_lens of shape [batch]", shown(&given)));
    }
    let whole = match lengths {
        Tracked::Const(constant) => constant.splat().map(Fill::Number),
        Tracked::Splat(splat) => Some(splat.value.clone()),
        Tracked::Sizes(sizes) => sizes
            .values
            .first()
            .filter(|first| sizes.values.iter().all(|value| value == *first))
            .cloned()
            .map(Fill::Size),
        Tracked::View(_) => None,
    };
    #[allow(clippy::cast_precision_loss)] // lengths are small
    let all = match &whole {
        Some(Fill::Size(size)) => importer.same(size, &len),
        Some(Fill::Number(number)) => importer.reduced(&len).fixed().is_some_and(|len| len as f64 == *number),
        None => false,
    };
    if all {
        let range = Range { start: &len - &Dim::from(1), step: -1, extent: len };
        return part(importer, call, &Tracked::View(x), time, &range).map(|tracked| vec![tracked]);
    }
    let Tracked::View(lengths) = lengths else {
        return Err(call.unsupported("these lengths", "make them an input of the model"));
    };
    let order: Vec<usize> = [batch, time].into_iter().chain(2..rank).collect();
    let value = importer.arranged_by(&call.at, &x, &order)?;
    let slots = lengths.axes.clone();
    let lengths = importer.arranged(&call.at, lengths, &slots)?;
    let value = importer.layer(&call.at, "", LayerKind::ReverseSequence, &[value, lengths])?;
    let mut axes: Vec<Vec<usize>> = (0..rank).map(|axis| vec![axis]).collect();
    if time == 0 {
        axes.swap(0, 1);
    }
    importer.view(x.kind, value, axes).map(|view| vec![Tracked::View(view)])
}
