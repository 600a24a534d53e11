//! Sequential models: one layer after the other.

use serde_json::{Map, Value as Json};

use super::{
    Reader,
    archive::{CONFIG, malformed},
    calls::Arguments,
    config::{Options, dimension, list},
    layers::{Described, Origin},
    masks::Masks,
    network::{Container, Outputs},
    part::{Given, Part},
};
use crate::{
    error::{Error, Result},
    formats::limits::{Limits, within},
    model::{Builder, CallMask, Style, Value},
};

/// A sequential model.
pub(super) struct Sequence<'a> {
    /// The input of the outermost model.
    input: Option<Value>,
    layers: Vec<(Described<'a>, Part<'a>)>,
    limits: &'a Limits,
    masks: &'a Masks,
}

impl<'a> Sequence<'a> {
    pub(super) fn read(
        reader: &'a Reader<'a>,
        builder: &mut Builder,
        described: &Described<'a>,
        whole: &'a Map<String, Json>,
        mut container: Container,
    ) -> Result<Self> {
        // A list in files of Keras before 2.2.3.
        let listed = described.listed.or_else(|| described.config.get("layers"));
        let layers = list(listed, "config.layers")?;
        within(|| "the model".to_owned(), layers.len() as u64, reader.limits.layers, "layers")?;
        let mut layers = layers.iter().enumerate().peekable();
        let place = |index: usize| format!("config.layers[{index}]");
        let first = match layers.peek() {
            None => return Err(malformed(CONFIG, "at least one layer", "none")),
            Some((index, value)) => Described::new(value, &place(*index))?,
        };
        let has_input = first.origin == Origin::Layer && first.class == "InputLayer";
        if has_input {
            layers.next();
        }
        let input = match (container.is_outermost(), has_input) {
            (true, true) => Some(reader.input(builder, &first.options(reader.limits))?),
            (true, false) => Some(built_input(reader, builder, whole, described.config, &first)?),
            (false, true) => {
                input_options(&first.options(reader.limits))?;
                None
            }
            (false, false) => None,
        };
        if container.is_outermost() {
            builder.style(Style::Sequential);
        }
        let mut parts = Vec::new();
        for (index, value) in layers {
            let described = Described::new(value, &place(index))?;
            let part = Part::read(reader, builder, &described, value, &mut container)?;
            parts.push((described, part));
        }
        Ok(Self { input, layers: parts, limits: reader.limits, masks: &reader.masks })
    }

    pub(super) fn outermost(&self, builder: &mut Builder) -> Result<Outputs> {
        let input = self.input.ok_or_else(|| Error::internal("a model without an input"))?;
        self.call(builder, input)
    }

    pub(super) fn call(&self, builder: &mut Builder, input: Value) -> Result<Outputs> {
        let mut values = vec![input];
        let mut last = "input_layer".to_owned();
        for (described, part) in &self.layers {
            let subject = described.subject();
            if values.len() != 1 {
                let found = format!("{} outputs", values.len());
                return Err(Error::mismatch(subject, "a layer before it with one output", found));
            }
            let arguments = Arguments::default();
            self.masks.check(described, &values, CallMask::Carried)?;
            let inputs = values.clone();
            let given = Given {
                inputs: values,
                states: Vec::new(),
                mask: CallMask::Carried,
                masks: None,
                arguments: &arguments,
            };
            values = part.call(builder, &subject, given)?;
            self.masks.note(described, &inputs, &values);
            within(|| "the model".to_owned(), builder.calls() as u64, self.limits.calls, "calls")?;
            last = described.name.to_owned();
        }
        Ok(values.into_iter().map(|value| (last.clone(), value)).collect())
    }
}

/// The input of a model that has no layer for it.
fn built_input(
    reader: &Reader<'_>,
    builder: &mut Builder,
    model: &Map<String, Json>,
    config: &Map<String, Json>,
    first: &Described<'_>,
) -> Result<Value> {
    let of_build = || model.get("build_config").and_then(|build| build.get("input_shape"));
    // Keras 2 states it in the first layer.
    let of_layer = || first.config.get("batch_input_shape").filter(|_| reader.rules.keras2);
    let shape = config.get("build_input_shape").filter(|shape| !shape.is_null()).or_else(of_build);
    let Some(shape) = shape.or_else(of_layer).and_then(Json::as_array) else {
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
    let dtype = match options.value("dtype") {
        None | Some(Json::Null) => "float32",
        Some(dtype) => dtype.as_str().ok_or_else(|| options.wrong("dtype", "the name of a type"))?,
    };
    let integer = dtype.trim_start_matches('u').starts_with("int");
    if !(integer || matches!(dtype, "float16" | "bfloat16" | "float32" | "float64" | "bool")) {
        let what = format!("the input dtype {dtype:?}");
        return Err(Error::unsupported(
            &options.subject,
            what,
            "use a float, an integer type for token ids or bool for a mask",
        ));
    }
    for key in ["sparse", "ragged", "optional"] {
        options.only(key, &Json::Bool(false), "use a dense input that is always given")?;
    }
    options.ignore(&["trainable"]);
    let key = if options.has("batch_input_shape") { "batch_input_shape" } else { "batch_shape" };
    let shape = options.shape(key)?;
    options.finish()?;
    Ok(shape)
}
