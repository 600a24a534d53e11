//! Convolutions and pooling over one axis.

use super::super::{
    call::{Call, shown},
    fold,
    import::Importer,
    tensor::Kind,
    track::{Tracked, View},
};
use crate::{
    activation::Activation,
    error::Result,
    model::{Conv1d, HeadActivation, LayerKind, Padding, Pool1d, Reduction},
    tensor::Tensor,
};

/// What a window looks at along the one axis.
struct Window {
    width: usize,
    stride: usize,
    dilation: usize,
    padding: Padding,
}

/// The input `[batch, len, channels]`, and which axis of the file `len` is. Of several axes all but
/// one have extent 1 and a window of 1.
fn input(importer: &mut Importer<'_>, call: &Call<'_>, kernel: &[usize]) -> Result<(View, crate::model::Value, usize)> {
    let view = importer.materialised(&call.at, call.input(0)?)?;
    let rank = view.axes.len();
    if rank < 3 || kernel.len() != rank - 2 {
        return Err(call
            .mismatch(format!("[batch, channels, ..] and a window of {} axes", kernel.len()), format!("rank {rank}")));
    }
    let flat = |axis: usize| view.axes.get(axis).is_some_and(Vec::is_empty) && kernel.get(axis - 2) == Some(&1);
    let mut long = (2..rank).filter(|&axis| !flat(axis));
    let len = long.next().unwrap_or(rank - 1);
    if long.next().is_some() {
        return Err(call.unsupported("windows over more than one axis", "use Conv and pooling of one axis"));
    }
    let value = importer.arranged_by(&call.at, &view, &[0, len, 1])?;
    Ok((view, value, len))
}

fn window(importer: &Importer<'_>, call: &Call<'_>, kernel: &[usize], len: usize) -> Result<Window> {
    let axis = len - 2;
    let list = |name: &str, count: usize, default: i64| -> Result<Vec<usize>> {
        let values = call.ints(name)?.map_or_else(|| vec![default; count], <[i64]>::to_vec);
        let sizes: Option<Vec<usize>> = values
            .iter()
            .map(|&value| usize::try_from(value).ok().filter(|&value| value <= importer.limits.units))
            .collect();
        sizes
            .filter(|sizes| sizes.len() == count)
            .ok_or_else(|| call.mismatch(format!("{count} {name} that are not negative"), shown(&values)))
    };
    let (strides, dilations) = (list("strides", kernel.len(), 1)?, list("dilations", kernel.len(), 1)?);
    let pads = list("pads", 2 * kernel.len(), 0)?;
    let at = |values: &[usize], axis: usize| values.get(axis).copied().unwrap_or(0);
    let (before, after) = (at(&pads, axis), at(&pads, axis + kernel.len()));
    if pads.iter().sum::<usize>() != before + after {
        return Err(call.unsupported("padding of an axis of extent 1", "pad the long axis only"));
    }
    if call.flag("ceil_mode", false)? {
        return Err(call.unsupported("ceil_mode", "pad the input instead"));
    }
    if call.int("storage_order")?.is_some_and(|order| order != 0) {
        return Err(call.unsupported("storage_order other than 0", "leave it out"));
    }
    let (stride, dilation) = (at(&strides, axis), at(&dilations, axis));
    if stride == 0 || dilation == 0 {
        return Err(call.mismatch("strides and dilations above 0", "0"));
    }
    let padding = match call.text("auto_pad")?.unwrap_or("NOTSET") {
        "NOTSET" if before == 0 && after == 0 => Padding::Valid,
        "NOTSET" => Padding::Explicit { before, after },
        "VALID" => Padding::Valid,
        // The odd position at the end, as TensorFlow has it.
        "SAME_UPPER" => Padding::Same,
        other => {
            return Err(call.unsupported(format!("auto_pad {}", crate::error::quoted(other)), "use NOTSET with pads"));
        }
    };
    Ok(Window { width: at(kernel, axis), stride, dilation, padding })
}

/// The result `[batch, len, channels]` in the axes of the file.
fn output(importer: &Importer<'_>, view: &View, value: crate::model::Value, len: usize) -> Result<Vec<Tracked>> {
    let mut axes = vec![Vec::new(); view.axes.len()];
    for (axis, place) in [(0, 0), (1, 2), (len, 1)] {
        if let Some(group) = axes.get_mut(axis) {
            *group = vec![place];
        }
    }
    importer.view(Kind::Float, value, axes).map(|view| vec![Tracked::View(view)])
}

fn kernel_shape(call: &Call<'_>) -> Result<Option<Vec<usize>>> {
    let Some(shape) = call.ints("kernel_shape")? else { return Ok(None) };
    let sizes: Option<Vec<usize>> =
        shape.iter().map(|&size| usize::try_from(size).ok().filter(|&size| (1..65_536).contains(&size))).collect();
    sizes.map(Some).ok_or_else(|| call.mismatch("a kernel_shape above 0", shown(shape)))
}

pub(super) fn conv(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let weight = call.weight(1, "weights W")?;
    let [out, channels, kernel @ ..] = weight.shape() else {
        return Err(call.mismatch("weights [out, channels, width]", "others"));
    };
    if kernel_shape(call)?.is_some_and(|stated| stated != kernel) || weight.is_empty() {
        return Err(call.mismatch(format!("a kernel_shape of {}", shown(kernel)), "another"));
    }
    let (view, value, len) = input(importer, call, kernel)?;
    let window = window(importer, call, kernel, len)?;
    let groups = call.int("group")?.unwrap_or(1);
    let groups = usize::try_from(groups).ok().filter(|&groups| groups > 0 && out % groups == 0);
    let groups = groups.ok_or_else(|| call.mismatch(format!("groups that divide {out} outputs"), "others"))?;
    importer.room(&call.at, weight.len().saturating_mul(2))?;
    // [out, channels, width] to [out, width * channels]
    let flat = Tensor::new([*out, *channels, window.width], weight.data().clone())?;
    let turned = fold::permuted(&flat, &[0, 2, 1])?;
    let matrix = Tensor::new([*out, window.width * channels], turned.to_f32().into_owned())?;
    let bias = call.optional(2).map(|_| call.weight(2, "biases B")).transpose()?;
    let kind = LayerKind::Conv1d(Conv1d {
        weight: matrix.into(),
        bias,
        width: window.width,
        stride: window.stride,
        dilation: window.dilation,
        padding: window.padding,
        groups,
        activation: HeadActivation::Pointwise(Activation::Linear),
    });
    let value = importer.layer(&call.at, "", kind, &[value])?;
    output(importer, &view, value, len)
}

pub(super) fn pool(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    call.only_outputs(1, "the positions of a MaxPool")?;
    let kernel = kernel_shape(call)?.ok_or_else(|| call.mismatch("a kernel_shape", "none"))?;
    let (view, value, len) = input(importer, call, &kernel)?;
    let Window { width, stride, dilation, padding } = window(importer, call, &kernel, len)?;
    let op = if call.op == "MaxPool" { Reduction::Max } else { Reduction::Mean };
    let count_padding = call.flag("count_include_pad", false)?;
    let value = importer.layer(
        &call.at,
        "",
        LayerKind::Pool1d(Pool1d { op, width, stride, dilation, padding, count_padding }),
        &[value],
    )?;
    output(importer, &view, value, len)
}
