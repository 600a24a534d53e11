//! The names of Keras' activation functions (`keras/src/activations/__init__.py`).

use serde_json::Value;

use super::{
    config::{Options, shown},
    layers,
    rules::Rules,
};
use crate::{
    activation::Activation,
    error::{Error, Result, quoted},
    model::{HeadActivation, LayerKind},
};

/// The functions of each element, with the parameters that they have by name.
const POINTWISE: [(&str, Activation); 27] = [
    ("celu", Activation::Celu { alpha: 1.0 }),
    ("elu", Activation::Elu { alpha: 1.0 }),
    ("exponential", Activation::Exponential),
    // By name without the approximation.
    ("gelu", Activation::Gelu),
    ("hard_shrink", Activation::HardShrink { threshold: 0.5 }),
    ("hard_sigmoid", Activation::HARD_SIGMOID),
    ("hard_silu", Activation::HardSilu),
    ("hard_swish", Activation::HardSilu),
    ("hard_tanh", Activation::HardTanh),
    ("leaky_relu", Activation::Relu { negative_slope: 0.2, max_value: f32::INFINITY, threshold: 0.0 }),
    ("linear", Activation::Linear),
    ("log_sigmoid", Activation::LogSigmoid),
    ("mish", Activation::Mish),
    ("relu", Activation::RELU),
    ("relu6", Activation::Relu { negative_slope: 0.0, max_value: 6.0, threshold: 0.0 }),
    ("selu", Activation::Selu),
    ("sigmoid", Activation::Sigmoid),
    ("silu", Activation::Silu),
    ("soft_shrink", Activation::SoftShrink { threshold: 0.5 }),
    ("softplus", Activation::Softplus),
    ("softsign", Activation::Softsign),
    ("sparse_plus", Activation::SparsePlus),
    ("sparse_sigmoid", Activation::SparseSigmoid),
    ("squareplus", Activation::Squareplus { b: 4.0 }),
    ("swish", Activation::Silu),
    ("tanh", Activation::Tanh),
    ("tanh_shrink", Activation::TanhShrink),
];

/// The functions of a whole axis.
const OF_AXIS: [(&str, Option<HeadActivation>); 4] = [
    ("softmax", Some(HeadActivation::Softmax)),
    ("log_softmax", Some(HeadActivation::LogSoftmax)),
    ("sparsemax", None),
    ("glu", None),
];

/// The names of the functions of each element.
pub(super) fn pointwise_names() -> impl Iterator<Item = &'static str> {
    POINTWISE.iter().map(|(name, _)| *name)
}

/// The names of the functions of an axis.
pub(super) fn axis_names() -> impl Iterator<Item = &'static str> {
    OF_AXIS.iter().filter(|(_, activation)| activation.is_some()).map(|(name, _)| *name)
}

/// What stands at a key.
enum Named<'a> {
    Name(&'a str),
    /// An activation layer.
    Layer(HeadActivation),
}

/// The name of the function at `key`; null stands for the linear one.
fn named<'a>(options: &Options<'a>, key: &'static str, default: &'static str) -> Result<Named<'a>> {
    let value = match options.value(key) {
        None => return Ok(Named::Name(default)),
        Some(Value::Null) => return Ok(Named::Name("linear")),
        Some(Value::String(name)) => return Ok(Named::Name(name)),
        Some(value) => value,
    };
    let Value::Object(object) = value else {
        let subject = format!("{}: {key}", options.subject);
        return Err(Error::mismatch(subject, "the name of an activation", shown(Some(value))));
    };
    // Keras 3 writes its own functions so, where they are not the default instances.
    let builtin = object.get("registered_name").is_none_or(|name| name.is_null() || name == "function")
        && object
            .get("module")
            .and_then(Value::as_str)
            .is_none_or(|module| module == "builtins" || module == "keras" || module.starts_with("keras."));
    let known = object.get("config").and_then(Value::as_str).filter(|name| {
        POINTWISE.iter().any(|(known, _)| known == name) || OF_AXIS.iter().any(|(known, _)| known == name)
    });
    if let Some(name) = known.filter(|_| builtin) {
        return Ok(Named::Name(name));
    }
    let class = object.get("class_name").and_then(Value::as_str).unwrap_or_default();
    if let (true, Some(config)) = (builtin, object.get("config").and_then(Value::as_object)) {
        let inner = Options::new(format!("{}: {key}", options.subject), class, config, options.limits);
        inner.ignore(&["trainable", "dtype"]);
        let kind = match class {
            "ReLU" => Some(layers::relu(&inner)?),
            "LeakyReLU" => Some(layers::leaky_relu(&inner)?),
            "ELU" => Some(layers::elu(&inner)?),
            _ => None,
        };
        if let Some(LayerKind::Activation(activation)) = kind {
            inner.finish()?;
            return Ok(Named::Layer(activation));
        }
    }
    let what = format!("{key} = {}", shown(Some(value)));
    Err(Error::unsupported(&options.subject, what, "use an activation that Keras knows by name"))
}

fn unknown(options: &Options<'_>, key: &str, name: &str) -> Error {
    let what = format!("{key} = {}", quoted(name));
    Error::unsupported(&options.subject, what, "use one of Keras' own pointwise activations")
}

/// The function of each element that is called `name`.
fn of_element(name: &str, rules: &Rules) -> Option<Activation> {
    if rules.keras2 && name == "hard_sigmoid" {
        return Some(Activation::HardSigmoid { alpha: 0.2, beta: 0.5 });
    }
    POINTWISE.iter().find(|(known, _)| *known == name).map(|(_, activation)| *activation)
}

/// The function of a cell.
pub(super) fn pointwise(
    options: &Options<'_>,
    key: &'static str,
    default: &'static str,
    rules: &Rules,
) -> Result<Activation> {
    let name = match named(options, key, default)? {
        Named::Name(name) => name,
        Named::Layer(HeadActivation::Pointwise(activation)) => return Ok(activation),
        Named::Layer(_) => return Err(Error::internal("an activation of an axis")),
    };
    if let Some(activation) = of_element(name, rules) {
        return Ok(activation);
    }
    if OF_AXIS.iter().any(|(known, _)| *known == name) {
        let what = format!("{key} = {}, which is not a function of each element,", quoted(name));
        return Err(Error::unsupported(&options.subject, what, "put it into a layer after this one"));
    }
    Err(unknown(options, key, name))
}

/// The function at the end of a layer.
pub(super) fn head(options: &Options<'_>, key: &'static str, rules: &Rules) -> Result<HeadActivation> {
    let name = match named(options, key, "linear")? {
        Named::Name(name) => name,
        Named::Layer(activation) => return Ok(activation),
    };
    if let Some(activation) = of_element(name, rules) {
        return Ok(HeadActivation::Pointwise(activation));
    }
    let of_axis = OF_AXIS.iter().find(|(known, _)| *known == name);
    of_axis.and_then(|(_, activation)| *activation).ok_or_else(|| unknown(options, key, name))
}
