//! Operators on shapes and types, and those that make values out of nothing.

use super::super::{
    call::{Call, shown},
    fold,
    import::Importer,
    tensor::{self, Const, Element, Kind},
    track::{Fill, Sizes, Splat, Tracked, View},
};
use super::pointwise::{apply, kind_of};
use crate::{
    activation::Activation,
    dim::{Dim, product},
    error::Result,
    model::{LayerKind, MaskOp},
    tensor::Tensor,
};

pub(super) fn constant(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let floats = |shape: Vec<usize>, values: Vec<f32>| {
        Tensor::new(shape, values).map(|tensor| Const { kind: Kind::Float, tensor: tensor.into() })
    };
    let found = if let Some(span) = call.tensor("value")? {
        let constant = tensor::decode(&call.at, span, importer.folder, importer.limits)?;
        importer.room(&call.at, constant.tensor.len())?;
        constant
    } else if let Some(value) = call.float("value_float")? {
        floats(Vec::new(), vec![value])?
    } else if let Some(values) = call.floats("value_floats")? {
        floats(vec![values.len()], values.to_vec())?
    } else if let Some(value) = call.int("value_int")? {
        Const::of_ints(Vec::new(), vec![value])?
    } else if let Some(values) = call.ints("value_ints")? {
        Const::of_ints(vec![values.len()], values.to_vec())?
    } else {
        return Err(call.mismatch("a value", "none"));
    };
    Ok(vec![Tracked::Const(found)])
}

pub(super) fn constant_of_shape(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let dims = call.sizes(0, "a shape")?;
    if dims.len() > importer.limits.rank || dims.iter().any(|dim| dim.constant().is_some_and(|size| size < 0)) {
        return Err(
            call.mismatch(format!("at most {} sizes that are not negative", importer.limits.rank), shown(&dims))
        );
    }
    let (kind, value) = match call.tensor("value")? {
        None => (Kind::Float, 0.0),
        Some(span) => {
            let constant = tensor::decode(&call.at, span, importer.folder, importer.limits)?;
            (constant.kind, constant.scalar().ok_or_else(|| call.mismatch("one value", "several"))?)
        }
    };
    // Sizes and the like are worth knowing one by one.
    #[allow(clippy::cast_possible_truncation)] // they were integers
    if let ([dim], Kind::Int | Kind::Bool) = (dims.as_slice(), kind)
        && let Some(count) = dim.fixed().filter(|&count| count <= 64)
    {
        return Ok(vec![Tracked::Const(Const { kind, ..Const::of_ints(vec![count], vec![value as i64; count])? })]);
    }
    Ok(vec![Tracked::Splat(Splat { kind, value: Fill::Number(value), dims })])
}

pub(super) fn shape(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let dims = importer.dims(call.input(0)?)?;
    let rank = i64::try_from(dims.len()).unwrap_or(0);
    let bound =
        |at: i64| usize::try_from(if at < 0 { at.saturating_add(rank) } else { at }.clamp(0, rank)).unwrap_or(0);
    let (start, end) = (bound(call.int("start")?.unwrap_or(0)), bound(call.int("end")?.unwrap_or(rank)));
    let values = dims.get(start..end.max(start)).unwrap_or_default().to_vec();
    Ok(vec![Tracked::Sizes(Sizes { scalar: false, values })])
}

pub(super) fn size(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let dims = importer.dims(call.input(0)?)?;
    Ok(vec![Tracked::Sizes(Sizes { scalar: true, values: vec![product(&dims)] })])
}

pub(super) fn range(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let constants = [0, 1, 2].map(|index| match call.input(index) {
        Ok(Tracked::Const(constant)) => constant.scalar().map(|value| (constant.kind, value)),
        _ => None,
    });
    if let [Some((kind, start)), Some((_, limit)), Some((_, delta))] = constants {
        let count = ((limit - start) / delta).ceil().max(0.0);
        if !count.is_finite() || count > 1e9 {
            return Err(call.mismatch("a range that can be counted", format!("{start} to {limit} by {delta}")));
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // checked above
        let count = count as usize;
        importer.room(&call.at, count.saturating_mul(2))?;
        #[allow(clippy::cast_precision_loss)] // below 1e9
        let values: Vec<f64> = (0..count).map(|index| start + delta * index as f64).collect();
        #[allow(clippy::cast_possible_truncation)] // integers in f64
        let tensor = match kind {
            Kind::Float => Tensor::new([count], values)?,
            _ => Tensor::new([count], values.into_iter().map(|value| value as i64).collect::<Vec<_>>())?,
        };
        return Ok(vec![Tracked::Const(Const { kind, tensor: tensor.into() })]);
    }
    let one = |index: usize| -> Result<Dim> {
        match call.input(index)? {
            Tracked::Sizes(sizes) if sizes.values.len() == 1 => {
                Ok(sizes.values.first().cloned().unwrap_or_else(|| Dim::from(0)))
            }
            Tracked::Const(constant) => match constant.ints() {
                Some([value]) => Ok(Dim::integer(*value)),
                _ => Err(call.mismatch("bounds that are one integer each", "others")),
            },
            _ => Err(call.unsupported(
                "a range whose bounds the values of a run decide",
                "export it with sizes that only shapes decide",
            )),
        }
    };
    let (start, limit, delta) = (one(0)?, one(1)?, one(2)?);
    let (Some(start), Some(delta)) = (start.constant(), delta.fixed().filter(|&delta| delta > 0)) else {
        return Err(call.unsupported(
            "a range that does not start at a fixed number or runs backwards",
            "export it with fixed sizes",
        ));
    };
    let distance = &limit - &Dim::integer(start);
    let distance = importer.builder.positive(&distance);
    let extent = importer.builder.quotient(&(&distance + &Dim::from(delta - 1)), delta);
    #[allow(clippy::cast_precision_loss)] // the model computes in f32
    let kind = LayerKind::Ramp { start: start as f32, step: delta as f32, axis: 1, shape: vec![Dim::from(1), extent] };
    let value = importer.layer(&call.at, "", kind, &[])?;
    importer.view(Kind::Int, value, vec![vec![1]]).map(|view| vec![Tracked::View(view)])
}

pub(super) fn cast(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let to = match call.int("to")? {
        Some(number) => Element::new(&call.at, number)?.kind(),
        None => kind_of(call.input(1)?),
    };
    let x = call.input(0)?;
    let from = kind_of(x);
    if from == to {
        return Ok(vec![x.clone()]);
    }
    #[allow(clippy::cast_possible_truncation)] // towards 0, as the operator does
    let result = match (x, to) {
        (Tracked::Sizes(_), Kind::Int) => x.clone(),
        (Tracked::Sizes(_), _) => {
            return Err(call.unsupported("a size of the run as a value to compute with", "export it with fixed sizes"));
        }
        (Tracked::Const(constant), Kind::Float) => {
            importer.room(&call.at, constant.tensor.len().saturating_mul(2))?;
            Tracked::Const(fold::map(constant, |x| x)?)
        }
        (Tracked::Const(constant), _) => {
            importer.room(&call.at, constant.tensor.len().saturating_mul(2))?;
            let truth = to == Kind::Bool;
            let values =
                constant.tensor.to_f64().iter().map(|&x| if truth { i64::from(x != 0.0) } else { x as i64 }).collect();
            Tracked::Const(Const { kind: to, ..Const::of_ints(constant.shape().to_vec(), values)? })
        }
        (Tracked::Splat(splat), _) => {
            let value = match (&splat.value, to) {
                (Fill::Number(number), Kind::Int) => Fill::Number(number.trunc()),
                (Fill::Number(number), Kind::Bool) => Fill::Number(f64::from(u8::from(*number != 0.0))),
                (other, _) => other.clone(),
            };
            Tracked::Splat(Splat { kind: to, value, dims: splat.dims.clone() })
        }
        (Tracked::View(view), Kind::Float) => Tracked::View(View { kind: to, ..view.clone() }),
        (Tracked::View(view), Kind::Int) if from == Kind::Bool => Tracked::View(View { kind: to, ..view.clone() }),
        (Tracked::View(view), Kind::Int) => {
            match apply(importer, call, &Tracked::View(view.clone()), Activation::Trunc)? {
                Tracked::View(view) => Tracked::View(View { kind: to, ..view }),
                other => other,
            }
        }
        (Tracked::View(view), Kind::Bool) => {
            let value =
                importer.layer(&call.at, "", LayerKind::MaskOp(MaskOp::NotEqual { value: 0.0 }), &[view.value])?;
            importer.expressions.not_zero(value, view.value);
            Tracked::View(importer.view(to, value, view.axes.clone())?)
        }
    };
    Ok(vec![result])
}
