//! What is in a file of Keras: its version, layers and weights, and what each layer has that is not supported.

use std::{
    cell::RefCell,
    io::{Read, Seek},
    path::Path,
};

use serde_json::{Map, Value as Json};

use super::{
    Masks, Reader,
    archive::CONFIG,
    at,
    config::object,
    container::{self, Parts},
    folder, read,
    rules::Rules,
    store::Store,
    weights,
};
use crate::{
    error::Result,
    formats::{Inspection, LoadOptions, json},
};

/// Adds what is in `folder`.
pub(in super::super) fn inspect_directory(folder: &Path, options: &LoadOptions, found: &mut Inspection) -> Result<()> {
    inspect_parts(folder::read(folder, &options.limits)?, options, found)
}

/// Adds what is in `file`, at `path`.
pub(in super::super) fn inspect<R: Read + Seek>(
    file: R,
    path: &Path,
    options: &LoadOptions,
    found: &mut Inspection,
) -> Result<()> {
    inspect_parts(container::read(file, Some(path), options)?, options, found)
}

fn inspect_parts(parts: Parts, options: &LoadOptions, found: &mut Inspection) -> Result<()> {
    let limits = &options.limits;
    found.format = "Keras".to_owned();
    if let Some(version) = &parts.version {
        found.version("keras_version", version);
    }
    if let Some(metadata) = &parts.metadata {
        let stated = json::parse(&metadata.name, &metadata.data, limits)?;
        let texts = stated.as_object().into_iter().flatten().filter_map(|(key, value)| Some((key, value.as_str()?)));
        texts.for_each(|(key, value)| found.version(key, value));
    }
    let place = parts.config.name.clone();
    let config = json::parse(&place, &parts.config.data, limits)?;
    let whole = object(Some(&config), CONFIG).map_err(|error| at(error, &place))?;
    for key in ["keras_version", "backend"] {
        if let Some(text) = whole.get(key).and_then(Json::as_str) {
            found.version(key, text);
        }
    }
    layers(whole, "", found);
    let rules = Rules::new(&parts, whole, options);
    let store = Store::new(parts.weights, limits)?;
    for path in store.paths() {
        if let Some(entry) = store.get(path) {
            found.tensor(path, store.dtype(path), &entry.shape, entry.bytes);
        }
    }
    let (rules, weights) = (rules?, weights(store)?);
    let problems = Some(RefCell::default());
    let reader = Reader { weights, masks: Masks::new(rules), rules, limits, problems };
    // What comes of a layer that is missing is no reason of its own.
    let end = read(&reader, &config);
    let problems = reader.problems.map(RefCell::into_inner).unwrap_or_default();
    if problems.is_empty() {
        return end.map(drop).map_err(|error| at(error, &place));
    }
    problems.into_iter().for_each(|error| found.refuse(at(error, &place)));
    Ok(())
}

/// Lists the layers of a model, those of models inside it under its name.
fn layers(model: &Map<String, Json>, outer: &str, found: &mut Inspection) {
    let config = model.get("config");
    let all = config.and_then(|config| config.get("layers").or(Some(config))).and_then(Json::as_array);
    for layer in all.into_iter().flatten().filter_map(Json::as_object) {
        let text = |value: Option<&Json>| value.and_then(Json::as_str).map(str::to_owned);
        let own = layer.get("config");
        let name = text(layer.get("name")).or_else(|| text(own.and_then(|own| own.get("name")))).unwrap_or_default();
        let class = text(layer.get("class_name")).unwrap_or_default();
        let name = format!("{outer}{name}");
        found.part(&name, class);
        let inner = own.and_then(|own| own.get("layer")).and_then(Json::as_object);
        if own.is_some_and(|own| own.is_array() || own.get("layers").is_some()) {
            layers(layer, &format!("{name}/"), found);
        } else if let Some(inner) = inner {
            let class = text(inner.get("class_name")).unwrap_or_default();
            let inner_name = text(inner.get("config").and_then(|own| own.get("name"))).unwrap_or_default();
            found.part(format!("{name}/{inner_name}"), class);
        }
    }
}
