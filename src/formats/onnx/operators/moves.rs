//! Operators that move values about: most change the tracking only.

use super::super::{
    call::{Call, shown},
    fold,
    import::Importer,
    reshape::Target,
    tensor::Const,
    track::{Fill, Sizes, Splat, Tracked, View},
};
use crate::{
    dim::Dim,
    error::Result,
    model::LayerKind,
    tensor::{Tensor, element_count},
};

pub(super) fn identity(_: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    Ok(vec![call.input(0)?.clone()])
}

pub(super) fn dropout(_: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    call.only_outputs(1, "the mask of a Dropout")?;
    if call.optional(2).is_some() && call.known(2, "training_mode")?.scalar() != Some(0.0) {
        return Err(call.unsupported("a Dropout in training mode", "export the model for inference"));
    }
    Ok(vec![call.input(0)?.clone()])
}

pub(super) fn transpose(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let x = call.input(0)?;
    let rank = importer.dims(x)?.len();
    let order: Vec<usize> = match call.ints("perm")? {
        None => (0..rank).rev().collect(),
        Some(perm) => perm.iter().map(|&axis| call.axis(axis, rank)).collect::<Result<_>>()?,
    };
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..rank) {
        return Err(call.mismatch(format!("a permutation of {rank} axes"), shown(&order)));
    }
    let result = match x {
        Tracked::Const(constant) => {
            importer.room(&call.at, constant.tensor.len())?;
            Tracked::Const(Const { kind: constant.kind, tensor: fold::permuted(&constant.tensor, &order)?.into() })
        }
        Tracked::Splat(splat) => {
            let dims = order.iter().filter_map(|&axis| splat.dims.get(axis).cloned()).collect();
            Tracked::Splat(Splat { dims, ..splat.clone() })
        }
        Tracked::Sizes(_) => x.clone(),
        Tracked::View(view) => {
            let axes = order.iter().filter_map(|&axis| view.axes.get(axis).cloned()).collect();
            Tracked::View(View { axes, ..view.clone() })
        }
    };
    Ok(vec![result])
}

pub(super) fn reshape(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let (x, sizes) = (call.input(0)?, call.sizes(1, "a shape")?);
    let (dims, allow_zero) = (importer.dims(x)?, call.flag("allowzero", false)?);
    let mut targets = Vec::new();
    for (axis, size) in sizes.into_iter().enumerate() {
        targets.push(match size.constant() {
            Some(-1) => Target::Rest,
            Some(0) if !allow_zero => Target::Size(
                dims.get(axis).cloned().ok_or_else(|| call.mismatch("a size for each axis", "0 for a new one"))?,
            ),
            Some(size) if size < 0 => return Err(call.mismatch("sizes that are not negative", size.to_string())),
            _ => Target::Size(size),
        });
    }
    if targets.len() > importer.limits.rank {
        return Err(call.mismatch(format!("at most {} axes", importer.limits.rank), targets.len().to_string()));
    }
    importer.reshaped(&call.at, x, &targets).map(|tracked| vec![tracked])
}

pub(super) fn flatten(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let x = call.input(0)?;
    let dims = importer.dims(x)?;
    let axis = call.int("axis")?.unwrap_or(1);
    let axis = if usize::try_from(axis) == Ok(dims.len()) { dims.len() } else { call.axis(axis, dims.len())? };
    if let Tracked::View(view) = x {
        let (front, back) = view.axes.split_at(axis);
        return Ok(vec![Tracked::View(View { axes: vec![front.concat(), back.concat()], ..view.clone() })]);
    }
    let (front, back) = dims.split_at(axis);
    let targets = [front, back].map(|part| Target::Size(crate::dim::product(part)));
    importer.reshaped(&call.at, x, &targets).map(|tracked| vec![tracked])
}

pub(super) fn squeeze(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let x = call.input(0)?;
    let dims = importer.dims(x)?;
    let is_one = |dim: &Dim| importer.reduced(dim).fixed() == Some(1);
    let axes = match call.ints_or_input("axes", 1)? {
        Some(axes) => call.axes(&axes, dims.len())?,
        None if dims.iter().all(|dim| dim.fixed().is_some()) => {
            (0..dims.len()).filter(|&axis| dims.get(axis).is_some_and(is_one)).collect()
        }
        None => return Err(call.unsupported("a Squeeze of whatever axes turn out to be 1", "export it with axes")),
    };
    if let Some(axis) = axes.iter().find(|&&axis| !dims.get(axis).is_some_and(is_one)) {
        return Err(call.mismatch(format!("an extent of 1 at axis {axis}"), format!("a shape {}", shown(&dims))));
    }
    without_axes(importer, call, x, &axes).map(|tracked| vec![tracked])
}

/// `x` without axes of extent 1.
pub(super) fn without_axes(
    importer: &mut Importer<'_>,
    call: &Call<'_>,
    x: &Tracked,
    axes: &[usize],
) -> Result<Tracked> {
    if let Tracked::View(view) = x {
        let left =
            view.axes.iter().enumerate().filter(|(axis, _)| !axes.contains(axis)).map(|(_, group)| group.clone());
        return Ok(Tracked::View(View { axes: left.collect(), ..view.clone() }));
    }
    let dims = importer.dims(x)?;
    let left = dims.into_iter().enumerate().filter(|(axis, _)| !axes.contains(axis)).map(|(_, dim)| Target::Size(dim));
    let targets: Vec<Target> = left.collect();
    importer.reshaped(&call.at, x, &targets)
}

pub(super) fn unsqueeze(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let x = call.input(0)?;
    let axes = call.ints_or_input("axes", 1)?.ok_or_else(|| call.mismatch("axes", "none"))?;
    let dims = importer.dims(x)?;
    let rank = dims.len() + axes.len();
    if rank > importer.limits.rank {
        return Err(call.mismatch(format!("at most {} axes", importer.limits.rank), rank.to_string()));
    }
    let axes = call.axes(&axes, rank)?;
    if let Tracked::View(view) = x {
        let mut groups = view.axes.iter().cloned();
        let all =
            (0..rank).map(|axis| if axes.contains(&axis) { Vec::new() } else { groups.next().unwrap_or_default() });
        return Ok(vec![Tracked::View(View { axes: all.collect(), ..view.clone() })]);
    }
    let mut dims = dims.into_iter();
    let targets: Vec<Target> = (0..rank)
        .map(|axis| {
            Target::Size(if axes.contains(&axis) { Dim::from(1) } else { dims.next().unwrap_or_else(|| Dim::from(1)) })
        })
        .collect();
    importer.reshaped(&call.at, x, &targets).map(|tracked| vec![tracked])
}

pub(super) fn concat(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let inputs: Vec<Tracked> = (0..call.inputs.len()).map(|index| call.input(index).cloned()).collect::<Result<_>>()?;
    let Some(first) = inputs.first() else { return Err(call.mismatch("an input", "none")) };
    let rank = importer.dims(first)?.len();
    let axis = call.int("axis")?.ok_or_else(|| call.mismatch("an axis", "none"))?;
    let axis = call.axis(axis, rank)?;
    for input in &inputs {
        let other = importer.dims(input)?.len();
        if other != rank {
            return Err(call.mismatch(format!("inputs of rank {rank}"), format!("rank {other}")));
        }
    }
    let constants: Option<Vec<&Tensor>> = inputs
        .iter()
        .map(|input| match input {
            Tracked::Const(constant) => Some(&*constant.tensor),
            _ => None,
        })
        .collect();
    if let (Some(tensors), Tracked::Const(Const { kind, .. })) = (constants, first) {
        importer.room(&call.at, tensors.iter().map(|tensor| tensor.len()).sum::<usize>().saturating_mul(4))?;
        let joined =
            fold::concatenated(&tensors, axis).ok_or_else(|| call.mismatch("shapes that agree", "others"))??;
        return Ok(vec![Tracked::Const(Const { kind: *kind, tensor: joined.into() })]);
    }
    if inputs.iter().any(|input| matches!(input, Tracked::Sizes(_))) {
        let values = (0..inputs.len()).map(|index| call.sizes(index, "numbers")).collect::<Result<Vec<_>>>()?;
        return Ok(vec![Tracked::Sizes(Sizes { scalar: false, values: values.concat() })]);
    }
    // All inputs but for their extents along the axis. Of a constant there is one row for all samples.
    let row_axis = |input: &Tracked| match input {
        Tracked::View(view) => view.axes.iter().position(|group| *group == [0]),
        _ => None,
    };
    let rows = inputs.iter().find_map(row_axis).filter(|&rows| rows != axis);
    let mut views = Vec::new();
    for mut input in inputs {
        if let Some(rows) = rows {
            let (dim, all) = (importer.dims(&input)?.get(rows).cloned(), importer.rows.clone());
            if !dim.as_ref().is_some_and(|dim| importer.agree(&call.at, dim, &all)) {
                return Err(
                    call.mismatch(format!("inputs that agree but for axis {axis}"), "another number of samples")
                );
            }
            match &mut input {
                Tracked::Const(constant) => {
                    constant.tensor = importer.one_row(&call.at, &constant.tensor, rows)?.into()
                }
                Tracked::Splat(splat) => {
                    if let Some(slot) = splat.dims.get_mut(rows) {
                        *slot = all;
                    }
                }
                _ => {}
            }
        }
        views.push(importer.materialised(&call.at, &input)?);
    }
    joined(importer, call, &views, axis).map(|view| vec![Tracked::View(view)])
}

/// Views side by side along `axis`.
fn joined(importer: &mut Importer<'_>, call: &Call<'_>, views: &[View], axis: usize) -> Result<View> {
    let at = &call.at;
    let dims = views.iter().map(|view| importer.view_dims(view)).collect::<Result<Vec<_>>>()?;
    let rank = dims.first().map_or(0, Vec::len);
    if views.iter().any(|view| view.axes.get(axis).is_some_and(|group| group.contains(&0))) {
        return Err(importer.mixes_rows(at));
    }
    let rows = views.iter().find_map(|view| importer.row_axis(view));
    // The batch first, the other axes in the order of the file; merged ones stay merged.
    let order: Vec<usize> = rows.into_iter().chain((0..rank).filter(|axis| Some(*axis) != rows)).collect();
    let lead = usize::from(rows.is_none());
    let whole: Vec<Dim> = (0..rank)
        .map(|axis| {
            dims.iter()
                .filter_map(|dims| dims.get(axis))
                .find(|dim| dim.fixed() != Some(1))
                .cloned()
                .unwrap_or_else(|| Dim::from(1))
        })
        .collect();
    let mut values = Vec::new();
    for (view, dims) in views.iter().zip(&dims) {
        let mut slots: Vec<Vec<usize>> = if lead == 1 { vec![Vec::new()] } else { Vec::new() };
        slots.extend(order.iter().map(|&axis| view.axes.get(axis).cloned().unwrap_or_default()));
        let mut value = importer.arranged(at, view, &slots)?;
        // What does not depend on rows is repeated for them.
        let mut shape = importer.builder.shape(value)?.to_vec();
        let mut grown = false;
        for (place, &file) in order.iter().enumerate() {
            let (Some(mine), Some(all)) = (dims.get(file), whole.get(file)) else { continue };
            if file == axis || importer.same(mine, all) {
                continue;
            }
            let is_rows = Some(file) == rows && mine.fixed() == Some(1);
            match shape.get_mut(place + lead) {
                Some(slot) if is_rows => *slot = all.clone(),
                _ => {
                    return Err(call.mismatch(
                        format!("inputs that agree but for axis {axis}"),
                        format!("{mine} and {all} at axis {file}"),
                    ));
                }
            }
            grown = true;
        }
        if grown {
            value = importer.layer(at, "repeated", LayerKind::Expand { shape }, &[value])?;
        }
        values.push(value);
    }
    let place = order.iter().position(|&file| file == axis).unwrap_or(0) + lead;
    let kind = LayerKind::Concatenate { axis: i64::try_from(place).unwrap_or(0) };
    let value = importer.layer(at, "", kind, &values)?;
    let mut axes = vec![Vec::new(); rank];
    for (place, &file) in order.iter().enumerate() {
        if let Some(group) = axes.get_mut(file) {
            *group = vec![place + lead];
        }
    }
    let kind = views.first().map_or(super::super::tensor::Kind::Float, |view| view.kind);
    importer.view(kind, value, axes)
}

pub(super) fn expand(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let target = call.sizes(1, "a shape")?;
    expanded(importer, call, call.input(0)?, &target).map(|tracked| vec![tracked])
}

/// `x` broadcast to `target`, which may itself have extents of 1 where `x` has more.
fn expanded(importer: &mut Importer<'_>, call: &Call<'_>, x: &Tracked, target: &[Dim]) -> Result<Tracked> {
    let dims = importer.dims(x)?;
    let rank = dims.len().max(target.len());
    if let Some(size) = target.iter().filter_map(Dim::constant).find(|&size| size < 0) {
        return Err(call.mismatch("sizes that are not negative", size.to_string()));
    }
    if rank > importer.limits.rank {
        return Err(call.mismatch(format!("at most {} axes", importer.limits.rank), rank.to_string()));
    }
    let whole = super::pointwise::broadcast(importer, call, &dims, target)?;
    let same = whole.len() == dims.len() && whole.iter().zip(&dims).all(|(a, b)| importer.same(a, b));
    if same {
        return Ok(x.clone());
    }
    match x {
        // Also one value many times over: its axis of samples says no more than their number.
        Tracked::Const(constant) if constant.splat().is_some() => {
            let value = Fill::Number(constant.splat().unwrap_or(0.0));
            Ok(Tracked::Splat(Splat { kind: constant.kind, value, dims: whole }))
        }
        Tracked::Sizes(sizes) if sizes.values.len() == 1 => {
            let value = Fill::Size(sizes.values.first().cloned().unwrap_or_else(|| Dim::from(0)));
            Ok(Tracked::Splat(Splat { kind: super::super::tensor::Kind::Int, value, dims: whole }))
        }
        Tracked::Splat(splat) => Ok(Tracked::Splat(Splat { dims: whole, ..splat.clone() })),
        Tracked::Const(constant)
            if whole.iter().all(|dim| importer.reduced(dim).fixed().is_some()) && !whole.contains(&importer.rows) =>
        {
            let shape: Vec<usize> = whole.iter().filter_map(|dim| importer.reduced(dim).fixed()).collect();
            let count = element_count(&shape).unwrap_or(usize::MAX);
            importer.room(&call.at, count.saturating_mul(2))?;
            let tensor = fold::expanded(&constant.tensor, &shape)
                .ok_or_else(|| call.mismatch("a shape to broadcast to", "another"))??;
            Ok(Tracked::Const(Const { kind: constant.kind, tensor: tensor.into() }))
        }
        other => {
            let view = importer.materialised(&call.at, other)?;
            // New axes are put in behind those that the value has; the batch becomes axis 0.
            let skipped = rank - view.axes.len();
            let shape = importer.builder.shape(view.value)?.to_vec();
            let kept: Vec<usize> = (0..shape.len())
                .filter(|&axis| axis == 0 || view.axes.iter().flatten().any(|&other| other == axis))
                .collect();
            let mut slots: Vec<Vec<usize>> = kept.iter().map(|&axis| vec![axis]).collect();
            let mut wanted: Vec<Dim> = kept.iter().filter_map(|&axis| shape.get(axis).cloned()).collect();
            let mut axes = Vec::new();
            for (axis, dim) in whole.iter().enumerate() {
                let group = axis.checked_sub(skipped).and_then(|axis| view.axes.get(axis)).cloned().unwrap_or_default();
                if !group.is_empty() || dim.fixed() == Some(1) {
                    axes.push(group.iter().filter_map(|old| kept.iter().position(|kept| kept == old)).collect());
                } else if *dim == importer.rows {
                    if let Some(first) = wanted.first_mut() {
                        *first = dim.clone();
                    }
                    axes.push(vec![0]);
                } else {
                    axes.push(vec![slots.len()]);
                    slots.push(Vec::new());
                    wanted.push(dim.clone());
                }
            }
            let value = importer.arranged(&call.at, &view, &slots)?;
            let value = importer.layer(&call.at, "", LayerKind::Expand { shape: wanted }, &[value])?;
            importer.view(view.kind, value, axes).map(Tracked::View)
        }
    }
}

pub(super) fn tile(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let (x, repeats) = (call.input(0)?.clone(), call.sizes(1, "repeats")?);
    let dims = importer.dims(&x)?;
    if dims.len() != repeats.len() {
        return Err(call.mismatch(format!("{} repeats", dims.len()), repeats.len().to_string()));
    }
    let mut target = dims.clone();
    let mut result = x;
    for (axis, (dim, count)) in dims.iter().zip(&repeats).enumerate() {
        if count.fixed() == Some(1) {
            continue;
        }
        if dim.fixed() == Some(1) {
            if let Some(slot) = target.get_mut(axis) {
                *slot = count.clone();
            }
            continue;
        }
        // Several copies side by side; few, since each is a part of a step.
        let copies = count.fixed().filter(|&copies| copies > 0 && copies <= 64);
        let copies = copies
            .ok_or_else(|| call.unsupported(format!("{count} repeats of an axis longer than 1"), "use Expand"))?;
        if let Tracked::Const(constant) = &result {
            importer.room(&call.at, constant.tensor.len().saturating_mul(copies * 2))?;
            let joined = fold::concatenated(&vec![&*constant.tensor; copies], axis)
                .ok_or_else(|| call.mismatch("an axis", "none"))??;
            result = Tracked::Const(Const { kind: constant.kind, tensor: joined.into() });
        } else {
            let view = importer.materialised(&call.at, &result)?;
            result = Tracked::View(joined(importer, call, &vec![view; copies], axis)?);
        }
        if let (Some(slot), Some(grown)) = (target.get_mut(axis), importer.dims(&result)?.get(axis)) {
            *slot = grown.clone();
        }
    }
    expanded(importer, call, &result, &target).map(|tracked| vec![tracked])
}

pub(super) fn pad(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    match call.text("mode")?.unwrap_or("constant") {
        "constant" => {}
        other => {
            return Err(
                call.unsupported(format!("padding of mode {}", crate::error::quoted(other)), "use mode constant")
            );
        }
    }
    let fill = match (call.float("value")?, call.optional(2)) {
        (Some(value), _) => f64::from(value),
        (None, Some(_)) => {
            call.known(2, "a padding value")?.scalar().ok_or_else(|| call.mismatch("one padding value", "several"))?
        }
        (None, None) => 0.0,
    };
    let mut view = importer.materialised(&call.at, call.input(0)?)?;
    let rank = view.axes.len();
    let pads: Vec<Dim> = match call.ints("pads")? {
        Some(pads) => pads.iter().map(|&pad| Dim::integer(pad)).collect(),
        None => call.sizes(1, "pads")?,
    };
    let axes: Vec<usize> = match call.optional(3) {
        None => (0..rank).collect(),
        Some(_) => call
            .known(3, "axes")?
            .ints()
            .unwrap_or_default()
            .iter()
            .map(|&axis| call.axis(axis, rank))
            .collect::<Result<_>>()?,
    };
    if pads.len() != 2 * axes.len() {
        return Err(call.mismatch(format!("{} pads", 2 * axes.len()), pads.len().to_string()));
    }
    let (before, after) = pads.split_at(axes.len());
    for ((axis, before), after) in axes.into_iter().zip(before).zip(after) {
        let none = |dim: &Dim| dim.fixed() == Some(0);
        if none(before) && none(after) {
            continue;
        }
        if !before.is_sum_of_sizes() || !after.is_sum_of_sizes() {
            return Err(call.unsupported("negative padding", "use Slice"));
        }
        let (whole, place) = importer.single(&call.at, &view, axis)?;
        let (whole, place) = match place {
            Some(place) => (whole, place),
            None => with_axis(importer, call, &whole, axis)?,
        };
        #[allow(clippy::cast_possible_truncation)] // the model computes in f32
        let kind = LayerKind::Pad { axis: place, before: before.clone(), after: after.clone(), value: fill as f32 };
        let value = importer.layer(&call.at, "", kind, &[whole.value])?;
        let mut groups = whole.axes.clone();
        if let Some(group) = groups.get_mut(axis) {
            *group = vec![place];
        }
        view = importer.view(view.kind, value, groups)?;
    }
    Ok(vec![Tracked::View(view)])
}

/// `view` with an axis of its value, of extent 1, for axis `axis` of the file.
fn with_axis(importer: &mut Importer<'_>, call: &Call<'_>, view: &View, axis: usize) -> Result<(View, usize)> {
    let mut shape = importer.builder.shape(view.value)?.to_vec();
    shape.push(Dim::from(1));
    let place = shape.len() - 1;
    let value = importer.layer(&call.at, "axis", LayerKind::ReshapeTo { shape }, &[view.value])?;
    let mut view = View { value, ..view.clone() };
    if let Some(group) = view.axes.get_mut(axis) {
        *group = vec![place];
    }
    Ok((view, place))
}
