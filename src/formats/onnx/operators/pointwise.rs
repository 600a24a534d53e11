//! Operators on each element, with broadcasting.

use super::super::{
    call::{Call, shown},
    expression::Operand,
    fold::{self, Binary},
    functions::{leaky, thresholded},
    import::Importer,
    tensor::{Const, Kind},
    track::{Fill, Sizes, Splat, Tracked},
};
use super::sizes;
use crate::{
    activation::Activation,
    dim::Dim,
    error::{Error, Result},
    model::{HeadActivation, LayerKind, MergeOp, Value},
};

/// The function of an operator of one input.
fn function(call: &Call<'_>) -> Result<Activation> {
    let number = |name: &str, default: f32| {
        let value = call.float(name)?.unwrap_or(default);
        if value.is_finite() { Ok(value) } else { Err(call.mismatch(format!("a finite {name}"), value.to_string())) }
    };
    Ok(match call.op {
        "Abs" => Activation::Abs,
        "Ceil" => Activation::Ceil,
        "Celu" => Activation::Celu { alpha: number("alpha", 1.0)? },
        "Cos" => Activation::Cos,
        "Elu" => Activation::Elu { alpha: number("alpha", 1.0)? },
        "Erf" => Activation::Erf,
        "Exp" => Activation::Exponential,
        "Floor" => Activation::Floor,
        "Gelu" => match call.text("approximate")?.unwrap_or("none") {
            "none" => Activation::Gelu,
            "tanh" => Activation::GeluTanh,
            other => return Err(call.mismatch("approximate none or tanh", crate::error::quoted(other))),
        },
        "HardSigmoid" => Activation::HardSigmoid { alpha: number("alpha", 0.2)?, beta: number("beta", 0.5)? },
        "HardSwish" => Activation::HardSilu,
        "LeakyRelu" => leaky(number("alpha", 0.01)?),
        "Log" => Activation::Log,
        "Mish" => Activation::Mish,
        "Neg" => Activation::Affine { alpha: -1.0, beta: 0.0 },
        "Not" => Activation::Affine { alpha: -1.0, beta: 1.0 },
        "Reciprocal" => Activation::Reciprocal,
        "Relu" => Activation::RELU,
        "Round" => Activation::Round,
        "Selu" => {
            // The constants of the operator's text, to the precision that files have them in.
            let (alpha, gamma) = (number("alpha", 1.673_263_2)?, number("gamma", 1.050_701)?);
            if (alpha - 1.673_263_2).abs() > 1e-6 || (gamma - 1.050_701).abs() > 1e-6 {
                return Err(call.unsupported("a Selu of other constants", "use Elu and a product"));
            }
            Activation::Selu
        }
        "Sigmoid" => Activation::Sigmoid,
        "Sign" => Activation::Sign,
        "Sin" => Activation::Sin,
        "Softplus" => Activation::Softplus,
        "Softsign" => Activation::Softsign,
        "Sqrt" => Activation::Sqrt,
        "Tanh" => Activation::Tanh,
        "ThresholdedRelu" => thresholded(number("alpha", 1.0)?),
        other => return Err(Error::internal(format!("no function {other}"))),
    })
}

pub(super) fn unary(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let function = function(call)?;
    if let ("Neg", Tracked::Sizes(sizes)) = (call.op, call.input(0)?) {
        let values = sizes.values.iter().map(|dim| &Dim::from(0) - dim).collect();
        return Ok(vec![Tracked::Sizes(Sizes { values, ..sizes.clone() })]);
    }
    apply(importer, call, call.input(0)?, function).map(|tracked| vec![tracked])
}

/// `function` of each element. Integers and truth values stay what they are.
pub(super) fn apply(
    importer: &mut Importer<'_>,
    call: &Call<'_>,
    tracked: &Tracked,
    function: Activation,
) -> Result<Tracked> {
    #[allow(clippy::cast_possible_truncation)] // integers stay integers
    match tracked {
        Tracked::Const(constant) => {
            importer.room(&call.at, constant.tensor.len())?;
            let result = fold::map(constant, |x| function.apply_f64(x))?;
            if constant.kind == Kind::Float {
                return Ok(Tracked::Const(result));
            }
            let values: Vec<i64> = result.tensor.to_f64().iter().map(|&x| x as i64).collect();
            Ok(Tracked::Const(Const { kind: constant.kind, ..Const::of_ints(constant.shape().to_vec(), values)? }))
        }
        Tracked::Splat(Splat { kind, value: Fill::Number(value), dims }) => {
            let value = Fill::Number(function.apply_f64(*value));
            Ok(Tracked::Splat(Splat { kind: *kind, value, dims: dims.clone() }))
        }
        other => {
            let view = importer.materialised(&call.at, other)?;
            let kind = LayerKind::Activation(HeadActivation::Pointwise(function));
            let value = importer.layer(&call.at, "", kind, &[view.value])?;
            importer.expressions.unary(value, function, view.value);
            importer.view(view.kind, value, view.axes).map(Tracked::View)
        }
    }
}

pub(super) fn clip(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let bound = |name: &str, index: usize, default: f32| {
        if let Some(value) = call.float(name)? {
            return Ok(value);
        }
        match call.optional(index) {
            None => Ok(default),
            #[allow(clippy::cast_possible_truncation)] // the model computes in f32
            Some(_) => match call.known(index, name)?.scalar() {
                Some(value) => Ok(value as f32),
                None => Err(call.mismatch(format!("one number as {name}"), "several")),
            },
        }
    };
    let (min, max) = (bound("min", 1, f32::NEG_INFINITY)?, bound("max", 2, f32::INFINITY)?);
    // The bounds of the type itself bound nothing.
    let min = if min == f32::MIN { f32::NEG_INFINITY } else { min };
    let max = if max == f32::MAX { f32::INFINITY } else { max };
    if min.is_nan() || max.is_nan() || min == f32::INFINITY || max == f32::NEG_INFINITY {
        return Err(call.mismatch("bounds that are numbers", format!("{min} and {max}")));
    }
    apply(importer, call, call.input(0)?, Activation::Clip { min, max }).map(|tracked| vec![tracked])
}

/// How an operator of two inputs is computed: by the host, and by the model.
struct Arithmetic {
    host: Binary,
    /// The merge, and whether its operands change places.
    merge: MergeOp,
    swapped: bool,
    /// Applied to what the merge gives.
    after: Option<Activation>,
}

fn truth(value: bool) -> f64 {
    f64::from(u8::from(value))
}

fn arithmetic_of(op: &str) -> Option<Arithmetic> {
    let plain = |merge, float: fn(f64, f64) -> f64, int: fn(i64, i64) -> Option<i64>| Arithmetic {
        host: Binary { float, int, truth: false },
        merge,
        swapped: false,
        after: None,
    };
    let test = |merge, swapped, after, float: fn(f64, f64) -> f64, int: fn(i64, i64) -> Option<i64>| Arithmetic {
        host: Binary { float, int, truth: true },
        merge,
        swapped,
        after,
    };
    let not = Some(Activation::Affine { alpha: -1.0, beta: 1.0 });
    Some(match op {
        "Add" | "Sum" => plain(MergeOp::Add, |a, b| a + b, i64::checked_add),
        "Sub" => plain(MergeOp::Subtract, |a, b| a - b, i64::checked_sub),
        "Mul" => plain(MergeOp::Multiply, |a, b| a * b, i64::checked_mul),
        "Div" => plain(MergeOp::Divide, |a, b| a / b, i64::checked_div),
        "Max" => plain(MergeOp::Maximum, maximum, |a, b| Some(a.max(b))),
        "Min" => plain(MergeOp::Minimum, |a, b| -maximum(-a, -b), |a, b| Some(a.min(b))),
        "Equal" => test(MergeOp::Equal, false, None, |a, b| truth(a == b), |a, b| Some(i64::from(a == b))),
        "Less" => test(MergeOp::Less, false, None, |a, b| truth(a < b), |a, b| Some(i64::from(a < b))),
        "Greater" => test(MergeOp::Less, true, None, |a, b| truth(a > b), |a, b| Some(i64::from(a > b))),
        "And" => test(MergeOp::Multiply, false, None, |a, b| a * b, |a, b| Some(a & b)),
        "Or" => test(MergeOp::Maximum, false, None, maximum, |a, b| Some(a | b)),
        "Xor" => test(MergeOp::Equal, false, not, |a, b| truth(a != b), |a, b| Some(a ^ b)),
        _ => return None,
    })
}

/// A NaN gives NaN.
fn maximum(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

pub(super) fn arithmetic(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let inputs: Vec<Tracked> = (0..call.inputs.len()).map(|index| call.input(index).cloned()).collect::<Result<_>>()?;
    let Some((first, rest)) = inputs.split_first() else { return Err(call.mismatch("an input", "none")) };
    if matches!(call.op, "LessOrEqual" | "GreaterOrEqual") {
        // A NaN is neither less nor equal.
        let strict = if call.op == "LessOrEqual" { "Less" } else { "Greater" };
        let second = call.input(1)?;
        let (less, equal) =
            (both(importer, call, strict, first, second)?, both(importer, call, "Equal", first, second)?);
        return both(importer, call, "Or", &less, &equal).map(|tracked| vec![tracked]);
    }
    let op = if call.op == "Mean" { "Add" } else { call.op };
    if rest.is_empty() && !matches!(call.op, "Max" | "Min" | "Mean" | "Sum") {
        return Err(call.mismatch("two inputs", "one"));
    }
    let mut result = first.clone();
    for other in rest {
        result = both(importer, call, op, &result, other)?;
    }
    if call.op == "Mean" {
        #[allow(clippy::cast_precision_loss)] // a count of inputs
        let alpha = 1.0 / inputs.len() as f32;
        result = apply(importer, call, &result, Activation::Affine { alpha, beta: 0.0 })?;
    }
    Ok(vec![result])
}

/// `op` of two tensors.
pub(super) fn both(
    importer: &mut Importer<'_>,
    call: &Call<'_>,
    op: &str,
    left: &Tracked,
    right: &Tracked,
) -> Result<Tracked> {
    let Some(arithmetic) = arithmetic_of(op) else { return Err(Error::internal(format!("no operation {op}"))) };
    if let (Tracked::Const(a), Tracked::Const(b)) = (left, right) {
        let shape = fold::broadcast(a.shape(), b.shape())
            .ok_or_else(|| call.mismatch("shapes that broadcast", format!("{:?} and {:?}", a.shape(), b.shape())))?;
        let count = crate::tensor::element_count(&shape).unwrap_or(usize::MAX);
        importer.room(&call.at, count.saturating_mul(6))?;
        let result = fold::binary(a, b, &arithmetic.host)
            .ok_or_else(|| call.mismatch("a result that can be counted", "an overflow or a division by 0"))?;
        return result.map(Tracked::Const);
    }
    if matches!((left, right), (Tracked::Sizes(_), _) | (_, Tracked::Sizes(_)))
        && let (Some(a), Some(b)) = (sizes::as_sizes(left), sizes::as_sizes(right))
    {
        return sizes::combined(importer, call, op, &a, &b);
    }
    if let (Some(a), Some(b)) = (splat_of(left), splat_of(right))
        && let (Fill::Number(x), Fill::Number(y)) = (&a.value, &b.value)
    {
        let dims = broadcast(importer, call, &a.dims, &b.dims)?;
        let kind = if arithmetic.host.truth { Kind::Bool } else { a.kind };
        let value = match (a.kind, op) {
            (Kind::Int, "Div") => (x / y).trunc(),
            _ => (arithmetic.host.float)(*x, *y),
        };
        return Ok(Tracked::Splat(Splat { kind, value: Fill::Number(value), dims }));
    }
    if let Some(result) = by_number(importer, call, op, left, right)? {
        return Ok(result);
    }
    let ints = kind_of(left) == Kind::Int && kind_of(right) == Kind::Int;
    let kind = if arithmetic.host.truth { Kind::Bool } else { kind_of(left) };
    let aligned = importer.aligned(&call.at, &[left.clone(), right.clone()])?;
    let mut operands: Vec<Value> = aligned.values.clone();
    if arithmetic.swapped {
        operands.reverse();
    }
    let mut value = importer.layer(&call.at, "", LayerKind::Merge(arithmetic.merge), &operands)?;
    let pointwise = |function| LayerKind::Activation(HeadActivation::Pointwise(function));
    if let Some(after) = arithmetic.after {
        value = importer.layer(&call.at, "", pointwise(after), &[value])?;
    }
    if let Some(operands) = elementwise(left, right, &aligned.values) {
        importer.expressions.binary(value, arithmetic.host.float, operands);
    }
    if ints && op == "Div" {
        let quotient = value;
        value = importer.layer(&call.at, "", pointwise(Activation::Trunc), &[quotient])?;
        importer.expressions.unary(value, Activation::Trunc, quotient);
    }
    importer.result(kind, value, &aligned)
}

/// The operands as functions of single elements, where the values are used as they are.
fn elementwise(left: &Tracked, right: &Tracked, values: &[Value]) -> Option<[Operand; 2]> {
    let operand = |tracked: &Tracked, index: usize| match tracked {
        Tracked::View(view) if values.get(index) == Some(&view.value) => Some(Operand::Value(view.value)),
        Tracked::Const(constant) => constant.scalar().map(Operand::Number),
        _ => None,
    };
    match (left, right) {
        (Tracked::View(a), Tracked::View(b)) if a.axes != b.axes => None,
        _ => Some([operand(left, 0)?, operand(right, 1)?]),
    }
}

pub(super) fn kind_of(tracked: &Tracked) -> Kind {
    match tracked {
        Tracked::Const(constant) => constant.kind,
        Tracked::Sizes(_) => Kind::Int,
        Tracked::Splat(splat) => splat.kind,
        Tracked::View(view) => view.kind,
    }
}

/// A splat, also of a constant of one element.
fn splat_of(tracked: &Tracked) -> Option<Splat> {
    match tracked {
        Tracked::Splat(splat) => Some(splat.clone()),
        Tracked::Const(constant) => {
            let dims = constant.shape().iter().map(|&size| Dim::from(size)).collect();
            Some(Splat { kind: constant.kind, value: Fill::Number(constant.scalar()?), dims })
        }
        _ => None,
    }
}

/// The shape that two shapes broadcast to.
pub(super) fn broadcast(importer: &mut Importer<'_>, call: &Call<'_>, left: &[Dim], right: &[Dim]) -> Result<Vec<Dim>> {
    let rank = left.len().max(right.len());
    let at = |shape: &[Dim], axis: usize| {
        (axis + shape.len()).checked_sub(rank).and_then(|axis| shape.get(axis)).cloned().unwrap_or_else(|| Dim::from(1))
    };
    let mut dims = Vec::new();
    for axis in 0..rank {
        let (a, b) = (at(left, axis), at(right, axis));
        dims.push(if a.fixed() == Some(1) {
            b
        } else if b.fixed() == Some(1) {
            a
        } else if importer.agree(&call.at, &a, &b) {
            // The one that a run decides says more.
            if a.fixed().is_some() { b } else { a }
        } else {
            return Err(call.mismatch("shapes that broadcast", format!("{} and {}", shown(left), shown(right))));
        });
    }
    Ok(dims)
}

/// Whether a tensor of `dims` broadcasts to `whole` as that is.
pub(super) fn fits_into(importer: &mut Importer<'_>, call: &Call<'_>, dims: &[Dim], whole: &[Dim]) -> bool {
    let Some(skipped) = whole.len().checked_sub(dims.len()) else { return false };
    let mut pairs = dims.iter().zip(whole.iter().skip(skipped));
    pairs.all(|(dim, whole)| dim.fixed() == Some(1) || importer.agree(&call.at, dim, whole))
}

/// Arithmetic with one number, as a function of each element.
fn by_number(
    importer: &mut Importer<'_>,
    call: &Call<'_>,
    op: &str,
    left: &Tracked,
    right: &Tracked,
) -> Result<Option<Tracked>> {
    let number = |tracked: &Tracked, other: &Tracked| match tracked {
        Tracked::Const(constant) if matches!(other, Tracked::View(view) if view.axes.len() >= constant.shape().len()) => {
            constant.scalar()
        }
        _ => None,
    };
    #[allow(clippy::cast_possible_truncation)] // the model computes in f32
    let (operand, x, reversed) = match (number(left, right), number(right, left)) {
        (_, Some(x)) => (left, x as f32, false),
        (Some(x), _) => (right, x as f32, true),
        _ => return Ok(None),
    };
    if !x.is_finite() || kind_of(operand) == Kind::Int && op == "Div" {
        return Ok(None);
    }
    let affine = |alpha: f32, beta: f32| Some(Activation::Affine { alpha, beta });
    let function = match (op, reversed) {
        ("Add" | "Sum", _) => affine(1.0, x),
        ("Sub", false) => affine(1.0, -x),
        ("Sub", true) => affine(-1.0, x),
        ("Mul", _) => affine(x, 0.0),
        // Exact where the reciprocal is.
        ("Div", false) if x.to_bits() & 0x007f_ffff == 0 && x.is_normal() && (1.0 / x).is_normal() => {
            affine(1.0 / x, 0.0)
        }
        ("Max", _) => Some(Activation::Clip { min: x, max: f32::INFINITY }),
        ("Min", _) => Some(Activation::Clip { min: f32::NEG_INFINITY, max: x }),
        _ => None,
    };
    function.map(|function| apply(importer, call, operand, function)).transpose()
}

pub(super) fn pow(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let (base, exponent) = (call.input(0)?, call.known(1, "an exponent")?);
    if let Tracked::Const(constant) = base {
        let shape = fold::broadcast(constant.shape(), exponent.shape()).unwrap_or_default();
        importer.room(&call.at, crate::tensor::element_count(&shape).unwrap_or(usize::MAX).saturating_mul(6))?;
        let function =
            Binary { float: f64::powf, int: |a, b| u32::try_from(b).ok().and_then(|b| a.checked_pow(b)), truth: false };
        let result = fold::binary(constant, exponent, &function)
            .ok_or_else(|| call.mismatch("shapes that broadcast", "others"))?;
        return result.map(|constant| vec![Tracked::Const(constant)]);
    }
    let single =
        exponent.scalar().ok_or_else(|| call.unsupported("an exponent that is no single number", "use products"))?;
    if exponent.shape().len() > importer.dims(base)?.len() {
        return Err(call.unsupported("an exponent of more axes than the base", "use a number"));
    }
    let result = match single {
        1.0 => base.clone(),
        2.0 | 3.0 => {
            let square = both(importer, call, "Mul", base, base)?;
            if single == 3.0 { both(importer, call, "Mul", &square, base)? } else { square }
        }
        0.5 => apply(importer, call, base, Activation::Sqrt)?,
        -1.0 => apply(importer, call, base, Activation::Reciprocal)?,
        -0.5 => {
            let root = apply(importer, call, base, Activation::Sqrt)?;
            apply(importer, call, &root, Activation::Reciprocal)?
        }
        other => return Err(call.unsupported(format!("the power {other}"), "use products, Sqrt or Exp and Log")),
    };
    Ok(vec![result])
}

pub(super) fn prelu(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let x = call.input(0)?;
    let (dims, slopes) = (importer.dims(x)?, importer.dims(call.input(1)?)?);
    if !fits_into(importer, call, &slopes, &dims) {
        return Err(call.mismatch(format!("slopes that broadcast to {}", shown(&dims)), shown(&slopes)));
    }
    let positive = apply(importer, call, x, Activation::RELU)?;
    let negative = apply(importer, call, x, Activation::Clip { min: f32::NEG_INFINITY, max: 0.0 })?;
    let scaled = both(importer, call, "Mul", &negative, call.input(1)?)?;
    both(importer, call, "Add", &positive, &scaled).map(|tracked| vec![tracked])
}
