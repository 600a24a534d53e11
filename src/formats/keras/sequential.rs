//! Sequential models: one layer after the other.

use serde_json::{Map, Value as Json};

use super::{
    Reader,
    archive::{CONFIG, malformed},
    config::{Options, dimension, list},
    layers::{Described, Origin},
    names::Names,
};
use crate::{
    error::{Error, Result},
    formats::limits::within,
    model::{Builder, Call, Model, Style, Value},
};

pub(super) fn read<'a>(
    reader: &'a Reader<'a>,
    model: &'a Map<String, Json>,
    config: &'a Map<String, Json>,
) -> Result<Builder> {
    let mut builder = Model::builder(reader.model_name(config)?);
    builder.style(Style::Sequential);
    let layers = list(config.get("layers"), "config.layers")?;
    within(|| "the model".to_owned(), layers.len() as u64, reader.limits.layers, "layers")?;
    let mut layers = layers.iter().enumerate().peekable();
    let place = |index: usize| format!("config.layers[{index}]");
    let first = match layers.peek() {
        None => return Err(malformed(CONFIG, "at least one layer", "none")),
        Some((index, value)) => Described::new(value, &place(*index))?,
    };
    let input = if first.origin == Origin::Layer && first.class == "InputLayer" {
        layers.next();
        reader.input(&mut builder, &first.options(reader.limits))?
    } else {
        built_input(reader, &mut builder, model, config)?
    };
    let mut names = Names::default();
    let mut values = vec![input];
    let mut last = "input_layer".to_owned();
    for (index, value) in layers {
        let described = Described::new(value, &place(index))?;
        let subject = described.subject();
        let &[input] = values.as_slice() else {
            let found = format!("{} outputs", values.len());
            return Err(Error::mismatch(subject, "a layer before it with one output", found));
        };
        let scope = reader.weights.scope(format!("layers/{}", names.next(described.class)), &subject);
        let (kind, trainable) = described.read(scope, &reader.rules, reader.limits)?;
        let layer = builder.layer_as(described.name, described.class, kind, trainable)?;
        values = builder.call(layer, Call { inputs: &[input], ..Call::default() })?;
        last = described.name.to_owned();
    }
    for value in values {
        builder.output(&last, value)?;
    }
    Ok(builder)
}

/// The input of a model that has no layer for it.
fn built_input(
    reader: &Reader<'_>,
    builder: &mut Builder,
    model: &Map<String, Json>,
    config: &Map<String, Json>,
) -> Result<Value> {
    let of_build = || model.get("build_config").and_then(|build| build.get("input_shape"));
    let shape = config.get("build_input_shape").filter(|shape| !shape.is_null()).or_else(of_build);
    let Some(shape) = shape.and_then(Json::as_array) else {
        return Err(Error::unsupported(
            "the model",
            "a Sequential that was never built",
            "add keras.Input(shape) as its first layer, or call it on data before saving",
        ));
    };
    let shape: Option<Vec<Option<usize>>> = shape.iter().map(dimension).collect();
    let shape = shape.ok_or_else(|| malformed(CONFIG, "whole numbers or null in build_input_shape", "others"))?;
    reader.add_input(builder, "input_layer", "the model's build_input_shape", &shape)
}

/// Options of an input layer, which has no dtype policy but a dtype.
pub(super) fn input_options<'a>(options: &Options<'a>) -> Result<Vec<Option<usize>>> {
    let dtype = options.value("dtype").and_then(Json::as_str).unwrap_or("float32");
    let integer = dtype.trim_start_matches('u').starts_with("int");
    if !(integer || matches!(dtype, "float32" | "float64" | "bool")) {
        let what = format!("the input dtype {dtype:?}");
        return Err(Error::unsupported(
            &options.subject,
            what,
            "use float32, an integer type for token ids or bool for a mask",
        ));
    }
    for key in ["sparse", "ragged", "optional"] {
        options.only(key, &Json::Bool(false), "use a dense input that is always given")?;
    }
    options.ignore(&["trainable"]);
    let shape = options.shape("batch_shape")?;
    options.finish()?;
    Ok(shape)
}
