//! LayerNormalization and BatchNormalization.

use std::sync::Arc;

use super::super::{
    call::{Call, shown},
    import::Importer,
    reshape::Target,
    tensor::Kind,
    track::Tracked,
};
use super::pointwise::{apply, both};
use crate::{
    activation::Activation,
    dim::Dim,
    error::Result,
    model::{BatchNormalization, LayerKind, LayerNormalization},
    tensor::Tensor,
};

fn epsilon(call: &Call<'_>) -> Result<f32> {
    let epsilon = call.float("epsilon")?.unwrap_or(1e-5);
    if epsilon >= 0.0 && epsilon.is_finite() {
        Ok(epsilon)
    } else {
        Err(call.mismatch("an epsilon of 0 or more", epsilon.to_string()))
    }
}

pub(super) fn layer(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    call.only_outputs(1, "the statistics of a LayerNormalization")?;
    let view = importer.materialised(&call.at, call.input(0)?)?;
    let rank = view.axes.len();
    let first = call.axis(call.int("axis")?.unwrap_or(-1), rank)?;
    let dims = importer.view_dims(&view)?;
    let normalized: Vec<usize> = view.axes.get(first..).unwrap_or_default().concat();
    if normalized.contains(&0) {
        return Err(importer.mixes_rows(&call.at));
    }
    let sizes: Option<Vec<usize>> =
        dims.get(first..).unwrap_or_default().iter().map(|dim| importer.reduced(dim).fixed()).collect();
    let sizes = sizes.ok_or_else(|| {
        call.unsupported("a LayerNormalization of an axis that each run decides", "normalize the features only")
    })?;
    // As one axis behind all others.
    let shape = importer.builder.shape(view.value)?.to_vec();
    let others: Vec<usize> = (0..shape.len()).filter(|axis| !normalized.contains(axis)).collect();
    let mut slots: Vec<Vec<usize>> = others.iter().map(|&axis| vec![axis]).collect();
    slots.push(normalized.clone());
    let input = importer.arranged(&call.at, &view, &slots)?;
    let count: usize = sizes.iter().product();
    let vector = |importer: &mut Importer<'_>, index: usize, what: &str| -> Result<Option<Arc<Tensor>>> {
        if call.optional(index).is_none() {
            return Ok(None);
        }
        let weight = call.weight(index, what)?;
        importer.room(&call.at, count.saturating_mul(2))?;
        let whole = super::super::fold::expanded(&weight, &sizes)
            .ok_or_else(|| call.mismatch(format!("{what} of shape {sizes:?}"), format!("{:?}", weight.shape())))??;
        Tensor::new([count], whole.to_f32().into_owned()).map(|tensor| Some(Arc::new(tensor)))
    };
    let kind = LayerKind::LayerNormalization(LayerNormalization {
        axes: vec![-1],
        gamma: vector(importer, 1, "a scale")?,
        beta: vector(importer, 2, "a bias")?,
        epsilon: epsilon(call)?,
    });
    let mut value = importer.layer(&call.at, "", kind, &[input])?;
    if normalized.len() > 1 {
        let mut shape = importer.builder.shape(value)?.get(..others.len()).unwrap_or_default().to_vec();
        shape.extend(importer.group_dims(&view, &normalized)?);
        value = importer.layer(&call.at, "apart", LayerKind::ReshapeTo { shape }, &[value])?;
    }
    let order: Vec<usize> = [others, normalized].concat();
    let place = |old: &usize| order.iter().position(|other| other == old);
    let axes = view.axes.iter().map(|group| group.iter().filter_map(place).collect()).collect();
    importer.view(Kind::Float, value, axes).map(|view| vec![Tracked::View(view)])
}

pub(super) fn batch(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    call.only_outputs(1, "the statistics of a BatchNormalization")?;
    if call.flag("training_mode", false)? || call.int("spatial")?.is_some_and(|spatial| spatial != 1) {
        return Err(call
            .unsupported("a BatchNormalization in training mode or over positions", "export the model for inference"));
    }
    let view = importer.materialised(&call.at, call.input(0)?)?;
    if view.axes.len() < 2 {
        return Err(call.mismatch("[batch, channels, ..]", format!("rank {}", view.axes.len())));
    }
    if (1..5).any(|index| !matches!(call.optional(index), Some(Tracked::Const(_)))) {
        return by_values(importer, call, view.axes.len());
    }
    let (view, place) = importer.single(&call.at, &view, 1)?;
    let weights = ["scale", "B", "mean", "var"].iter().enumerate().map(|(index, what)| call.weight(index + 1, what));
    let weights: Vec<Arc<Tensor>> = weights.collect::<Result<_>>()?;
    let [gamma, beta, moving_mean, moving_variance] = weights.as_slice() else {
        return Err(call.mismatch("four weights", "fewer"));
    };
    let mut value = view.value;
    let mut axes = view.axes.clone();
    let axis = match place {
        Some(place) => place,
        None => {
            let mut shape = importer.builder.shape(value)?.to_vec();
            shape.push(Dim::from(1));
            let last = shape.len() - 1;
            value = importer.layer(&call.at, "channels", LayerKind::ReshapeTo { shape }, &[value])?;
            if let Some(group) = axes.get_mut(1) {
                *group = vec![last];
            }
            last
        }
    };
    let kind = LayerKind::BatchNormalization(BatchNormalization {
        axis: i64::try_from(axis).unwrap_or(0),
        gamma: Some(gamma.clone()),
        beta: Some(beta.clone()),
        moving_mean: moving_mean.clone(),
        moving_variance: moving_variance.clone(),
        epsilon: epsilon(call)?,
    });
    let value = importer.layer(&call.at, "", kind, &[value])?;
    importer.view(Kind::Float, value, axes).map(|view| vec![Tracked::View(view)])
}

/// With statistics that each run computes: how tf2onnx writes a layer normalization.
fn by_values(importer: &mut Importer<'_>, call: &Call<'_>, rank: usize) -> Result<Vec<Tracked>> {
    let mut weights = Vec::new();
    for index in 1..5 {
        // Along axis 1: the axes behind it have extent 1.
        let mut weight = call.input(index)?.clone();
        let dims = importer.dims(&weight)?;
        let [dim] = dims.as_slice() else { return Err(call.mismatch("weights [channels]", shown(&dims))) };
        let ones = std::iter::repeat_n(Dim::from(1), rank - 2);
        let targets: Vec<Target> = std::iter::once(dim.clone()).chain(ones).map(Target::Size).collect();
        weight = importer.reshaped(&call.at, &weight, &targets)?;
        weights.push(weight);
    }
    let [scale, bias, mean, variance] = weights.as_slice() else { return Err(call.mismatch("four weights", "fewer")) };
    let centred = both(importer, call, "Sub", call.input(0)?, mean)?;
    let variance = apply(importer, call, variance, Activation::Affine { alpha: 1.0, beta: epsilon(call)? })?;
    let deviation = apply(importer, call, &variance, Activation::Sqrt)?;
    let normal = both(importer, call, "Div", &centred, &deviation)?;
    let scaled = both(importer, call, "Mul", &normal, scale)?;
    both(importer, call, "Add", &scaled, bias).map(|tracked| vec![tracked])
}
