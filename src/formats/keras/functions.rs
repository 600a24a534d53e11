//! The functions of `keras.ops` that stand in a graph beside its layers: those that Keras makes masks
//! with, and those that models use in the place of layers. None of them hands a mask on.

use serde_json::Value as Json;

use super::{
    calls::{Argument, Call, Reference},
    compose::{Compose, Parts, pointwise},
    config::Options,
    indexing,
    layers::plain,
};
use crate::{
    activation::Activation,
    dim::Dim,
    error::{Error, Result},
    model::{LayerKind, MaskOp, MergeOp, Reduction, Value, resolve_axis},
};

/// What a function is here.
pub(super) enum Function<'a> {
    Kind(Box<LayerKind>),
    Composed(Compose<'a>),
}

/// The functions of one value, by class.
const UNARY: [(&str, Activation); 18] = [
    ("Exp", Activation::Exponential),
    ("Log", Activation::Log),
    ("Sqrt", Activation::Sqrt),
    ("Absolute", Activation::Abs),
    ("Sign", Activation::Sign),
    ("Floor", Activation::Floor),
    ("Ceil", Activation::Ceil),
    ("Sin", Activation::Sin),
    ("Cos", Activation::Cos),
    ("Negative", Activation::Affine { alpha: -1.0, beta: 0.0 }),
    ("Reciprocal", Activation::Reciprocal),
    ("Tanh", Activation::Tanh),
    ("Sigmoid", Activation::Sigmoid),
    ("Relu", Activation::RELU),
    ("Silu", Activation::Silu),
    ("Softplus", Activation::Softplus),
    ("Softsign", Activation::Softsign),
    ("LogSigmoid", Activation::LogSigmoid),
];

/// The functions of two values, by class.
const BINARY: [(&str, MergeOp); 7] = [
    ("Add", MergeOp::Add),
    ("Subtract", MergeOp::Subtract),
    ("Multiply", MergeOp::Multiply),
    ("Divide", MergeOp::Divide),
    ("TrueDivide", MergeOp::Divide),
    ("Maximum", MergeOp::Maximum),
    ("Minimum", MergeOp::Minimum),
];

/// The functions that take an axis together, by class.
const REDUCTIONS: [(&str, Reduction); 4] =
    [("Mean", Reduction::Mean), ("Sum", Reduction::Sum), ("Max", Reduction::Max), ("Min", Reduction::Min)];

/// The other functions that [`composed`] knows.
const OTHERS: [&str; 16] = [
    "ConvertToTensor",
    "GetItem",
    "Softmax",
    "Gelu",
    "Clip",
    "Square",
    "Cast",
    "Transpose",
    "Swapaxes",
    "Reshape",
    "ExpandDims",
    "Squeeze",
    "Concatenate",
    "Stack",
    "Matmul",
    "Flip",
];

/// The functions of masks.
const MASKS: [&str; 6] = ["NotEqual", "Any", "ExpandDims", "ZerosLike", "OnesLike", "LogicalOr"];

/// The classes of all functions that are understood.
pub(super) fn classes() -> Vec<&'static str> {
    let mut all: Vec<&str> = UNARY.iter().map(|(class, _)| *class).collect();
    all.extend(BINARY.iter().map(|(class, _)| *class));
    all.extend(REDUCTIONS.iter().map(|(class, _)| *class));
    all.extend(OTHERS);
    all.extend(MASKS);
    all.sort_unstable();
    all.dedup();
    all
}

/// What a call of the function that `options` describes computes, and what it takes.
pub(super) fn read<'a>(options: &Options<'a>, call: &Call<'a>) -> Result<(Function<'a>, Vec<Reference<'a>>)> {
    let found = match of_mask(options, call)? {
        Some((kind, inputs)) => Some((Function::Kind(Box::new(kind)), inputs)),
        None => composed(options, call)?.map(|(compose, inputs)| (Function::Composed(compose), inputs)),
    };
    let no_arguments = |(_, argument): &(&str, Argument<'_>)| matches!(argument, Argument::Constant(Json::Null));
    let found = found.filter(|_| call.named.iter().all(no_arguments)).ok_or_else(|| {
        let what = format!("the function {} of keras.ops in the graph", plain(options.class));
        Error::unsupported(&options.subject, what, "use a layer in its place")
    })?;
    options.finish()?;
    Ok(found)
}

/// The operations on masks, whose values are 1 and 0.
fn of_mask<'a>(options: &Options<'_>, call: &Call<'a>) -> Result<Option<(LayerKind, Vec<Reference<'a>>)>> {
    let op = match (options.class, call.positional.as_slice()) {
        ("NotEqual", [Argument::Tensor(value), Argument::Constant(number)]) => {
            options.finite(number).map(|number| (MaskOp::NotEqual { value: number }, vec![value.clone()]))
        }
        ("Any", [Argument::Tensor(mask)]) => {
            let keepdims = options.flag("keepdims", false)?;
            last_axis(options)?.then(|| (MaskOp::Any { keepdims }, vec![mask.clone()]))
        }
        ("ExpandDims", [Argument::Tensor(mask)]) => {
            last_axis(options)?.then(|| (MaskOp::ExpandDims, vec![mask.clone()]))
        }
        ("ZerosLike", [Argument::Tensor(value)]) => of_bool(options).then(|| (MaskOp::ZerosLike, vec![value.clone()])),
        ("OnesLike", [Argument::Tensor(value)]) => of_bool(options).then(|| (MaskOp::OnesLike, vec![value.clone()])),
        ("LogicalOr", [Argument::Tensor(left), Argument::Tensor(right)]) => {
            Some((MaskOp::LogicalOr, vec![left.clone(), right.clone()]))
        }
        _ => None,
    };
    Ok(op.map(|(op, inputs)| (LayerKind::MaskOp(op), inputs)))
}

fn last_axis(options: &Options<'_>) -> Result<bool> {
    Ok(options.value("axis").is_some() && options.integers("axis")? == [-1])
}

fn of_bool(options: &Options<'_>) -> bool {
    options.value("dtype").and_then(Json::as_str) == Some("bool")
}

type Composed<'a> = Option<(Compose<'a>, Vec<Reference<'a>>)>;

/// Calls `make` with the inputs of a call, without the masks that they carry.
fn bare<'a>(make: impl Fn(&mut Parts<'_>, &[Value]) -> Result<Value> + 'a) -> Compose<'a> {
    Box::new(move |parts, given| {
        let inputs = given.inputs.iter().map(|&input| parts.bare(input)).collect::<Result<Vec<_>>>()?;
        Ok(vec![make(parts, &inputs)?])
    })
}

fn first(inputs: &[Value]) -> Result<Value> {
    inputs.first().copied().ok_or_else(|| Error::internal("a function of nothing"))
}

fn unary<'a>(kind: LayerKind) -> Compose<'a> {
    bare(move |parts, inputs| parts.add("value", kind.clone(), &[first(inputs)?]))
}

fn composed<'a>(options: &Options<'a>, call: &Call<'a>) -> Result<Composed<'a>> {
    let arguments = call.positional.as_slice();
    if let Some((_, op)) = BINARY.iter().find(|(class, _)| *class == options.class) {
        return Ok(binary(options, *op, arguments));
    }
    let [Argument::Tensor(input), rest @ ..] = arguments else {
        let [list @ Argument::List(_)] = arguments else { return Ok(None) };
        return joined(options, list);
    };
    let inputs = vec![input.clone()];
    if let Some((_, activation)) = UNARY.iter().find(|(class, _)| *class == options.class) {
        return Ok(rest.is_empty().then(|| (unary(pointwise(*activation)), inputs)));
    }
    if let Some((_, op)) = REDUCTIONS.iter().find(|(class, _)| *class == options.class) {
        return if rest.is_empty() { Ok(Some((reduction(options, *op)?, inputs))) } else { Ok(None) };
    }
    let compose = match (options.class, rest) {
        ("GetItem", [index]) => match indexing::read(index) {
            Some(index) => indexing::composed(index),
            None => return Ok(None),
        },
        ("Matmul", [Argument::Tensor(right)]) => {
            let compose = bare(|parts, inputs| parts.add("product", LayerKind::MatMul { transposed: false }, inputs));
            return Ok(Some((compose, vec![input.clone(), right.clone()])));
        }
        ("Softmax", []) => match options.integers("axis")?.as_slice() {
            &[axis] => unary(LayerKind::Softmax { axis }),
            _ => return Ok(None),
        },
        ("Gelu", []) => {
            let tanh = options.flag("approximate", true)?;
            unary(pointwise(if tanh { Activation::GeluTanh } else { Activation::Gelu }))
        }
        ("Clip", []) => {
            let (min, max) = (options.number("x_min", 0.0)?, options.number("x_max", 0.0)?);
            unary(pointwise(Activation::Clip { min, max }))
        }
        ("Square", []) => bare(|parts, inputs| {
            let x = first(inputs)?;
            parts.merge(MergeOp::Multiply, x, x)
        }),
        ("Cast", []) => match options.value("dtype").and_then(Json::as_str) {
            Some("float32" | "float64") => bare(|_, inputs| first(inputs)),
            _ => return Ok(None),
        },
        ("ConvertToTensor", []) => {
            for key in ["dtype", "sparse", "ragged"] {
                options.only(key, &Json::Null, "leave it out")?;
            }
            bare(|_, inputs| first(inputs))
        }
        ("Transpose", []) => match places(options, "axes") {
            Some(axes) => unary(LayerKind::Permute { axes }),
            None => return Ok(None),
        },
        ("Swapaxes", []) => {
            let (a, b) = (options.integer("axis1", 0)?, options.integer("axis2", 0)?);
            bare(move |parts, inputs| {
                let rank = parts.shape(first(inputs)?)?.len();
                let (a, b) = (resolve_axis(parts.subject, a, rank)?, resolve_axis(parts.subject, b, rank)?);
                let mut axes: Vec<usize> = (0..rank).collect();
                axes.swap(a, b);
                parts.permute(first(inputs)?, axes)
            })
        }
        ("Flip", []) => match options.integers("axis")?.as_slice() {
            &[axis] => bare(move |parts, inputs| {
                let shape = parts.shape(first(inputs)?)?;
                let axis = resolve_axis(parts.subject, axis, shape.len())?;
                let extent = shape.get(axis).cloned().unwrap_or_else(|| Dim::from(1));
                let start = &extent - &Dim::from(1);
                parts.add("slice", LayerKind::Slice { axis, start, step: -1, extent }, &[first(inputs)?])
            }),
            _ => return Ok(None),
        },
        ("Reshape", []) => {
            let target = options.shape("newshape")?;
            match target.split_first() {
                // The batch must stay what it is.
                Some((None, rest)) => unary(LayerKind::Reshape { target: rest.to_vec() }),
                _ => return Ok(None),
            }
        }
        ("ExpandDims", []) => {
            let axis = options.integer("axis", -1)?;
            bare(move |parts, inputs| {
                let mut shape = parts.shape(first(inputs)?)?;
                let axis = resolve_axis(parts.subject, axis, shape.len() + 1)?;
                shape.insert(axis, Dim::from(1));
                parts.reshape(first(inputs)?, shape)
            })
        }
        ("Squeeze", []) => match options.integers("axis")?.as_slice() {
            &[axis] => bare(move |parts, inputs| {
                let mut shape = parts.shape(first(inputs)?)?;
                let axis = resolve_axis(parts.subject, axis, shape.len())?;
                shape.remove(axis);
                parts.reshape(first(inputs)?, shape)
            }),
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    Ok(Some((compose, inputs)))
}

/// Places of axes, each from 0.
fn places(options: &Options<'_>, key: &'static str) -> Option<Vec<usize>> {
    options.integers(key).ok()?.into_iter().map(|axis| usize::try_from(axis).ok()).collect()
}

/// A function of two values, one of which may be a number.
fn binary<'a>(options: &Options<'a>, op: MergeOp, arguments: &[Argument<'a>]) -> Composed<'a> {
    let number = |value: &Json| options.finite(value);
    match arguments {
        [Argument::Tensor(left), Argument::Tensor(right)] => {
            let compose = bare(move |parts, inputs| {
                // Alignment of axes from the end, as functions have it, is that of layers for one rank.
                let ranks = inputs.iter().map(|&input| Ok(parts.shape(input)?.len())).collect::<Result<Vec<_>>>()?;
                if ranks.windows(2).any(|pair| pair.first() != pair.last()) {
                    let found = format!("values of {ranks:?} axes");
                    return Err(Error::mismatch(parts.subject, "values of as many axes", found));
                }
                parts.add("value", LayerKind::Merge(op), inputs)
            });
            Some((compose, vec![left.clone(), right.clone()]))
        }
        [Argument::Tensor(value), Argument::Constant(other)] => {
            let n = number(other)?;
            let activation = match op {
                MergeOp::Add => Activation::Affine { alpha: 1.0, beta: n },
                MergeOp::Subtract => Activation::Affine { alpha: 1.0, beta: -n },
                MergeOp::Multiply => Activation::Affine { alpha: n, beta: 0.0 },
                MergeOp::Maximum => Activation::Clip { min: n, max: f32::INFINITY },
                MergeOp::Minimum => Activation::Clip { min: f32::NEG_INFINITY, max: n },
                _ => return Some((with_number(op, n, false), vec![value.clone()])),
            };
            Some((unary(pointwise(activation)), vec![value.clone()]))
        }
        [Argument::Constant(other), Argument::Tensor(value)] => {
            let n = number(other)?;
            let activation = match op {
                MergeOp::Add => Activation::Affine { alpha: 1.0, beta: n },
                MergeOp::Subtract => Activation::Affine { alpha: -1.0, beta: n },
                MergeOp::Multiply => Activation::Affine { alpha: n, beta: 0.0 },
                MergeOp::Maximum => Activation::Clip { min: n, max: f32::INFINITY },
                MergeOp::Minimum => Activation::Clip { min: f32::NEG_INFINITY, max: n },
                _ => return Some((with_number(op, n, true), vec![value.clone()])),
            };
            Some((unary(pointwise(activation)), vec![value.clone()]))
        }
        _ => None,
    }
}

/// `value op number`, or with the number first.
fn with_number<'a>(op: MergeOp, number: f32, first_is_number: bool) -> Compose<'a> {
    bare(move |parts, inputs| {
        let value = first(inputs)?;
        let rank = parts.shape(value)?.len();
        let number = parts.number(number, rank)?;
        let (left, right) = if first_is_number { (number, value) } else { (value, number) };
        parts.merge(op, left, right)
    })
}

fn reduction<'a>(options: &Options<'a>, op: Reduction) -> Result<Compose<'a>> {
    let axes = options.integers("axis")?;
    let keepdims = options.flag("keepdims", false)?;
    options.only("initial", &Json::Null, "leave it out")?;
    Ok(bare(move |parts, inputs| {
        let mut value = first(inputs)?;
        let rank = parts.shape(value)?.len();
        let mut axes = axes.iter().map(|&axis| resolve_axis(parts.subject, axis, rank)).collect::<Result<Vec<_>>>()?;
        axes.sort_unstable();
        axes.dedup();
        // From the last, so that the others keep their places.
        for axis in axes.into_iter().rev() {
            value = parts.add("value", LayerKind::Reduce { op, axis, keepdims }, &[value])?;
        }
        Ok(value)
    }))
}

/// A function of a list of values.
fn joined<'a>(options: &Options<'a>, list: &Argument<'a>) -> Result<Composed<'a>> {
    let Some(inputs) = list.tensors() else { return Ok(None) };
    let axis = options.integer("axis", 0)?;
    let compose: Compose<'a> = match options.class {
        "Concatenate" => bare(move |parts, inputs| parts.add("value", LayerKind::Concatenate { axis }, inputs)),
        "Stack" => bare(move |parts, inputs| {
            let rank = parts.shape(first(inputs)?)?.len();
            let axis = resolve_axis(parts.subject, axis, rank + 1)?;
            let mut all = Vec::new();
            for &input in inputs {
                let mut shape = parts.shape(input)?;
                shape.insert(axis, Dim::from(1));
                all.push(parts.reshape(input, shape)?);
            }
            let axis = i64::try_from(axis).map_err(|_| Error::internal("an axis beyond all"))?;
            parts.add("value", LayerKind::Concatenate { axis }, &all)
        }),
        _ => return Ok(None),
    };
    Ok(Some((compose, inputs)))
}
