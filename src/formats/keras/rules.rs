//! What the version of Keras that wrote a file, and the caller, decide for all layers.

use serde_json::{Map, Value as Json};

use super::{archive::malformed, config::shown, container::Parts};
use crate::{
    error::{Error, Result, quoted},
    formats::{KerasBackend, LoadOptions, json},
};

/// What the version of Keras that wrote a file, and the caller, decide for all layers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) backend: KerasBackend,
    /// Whether Keras 2 wrote the file, the standalone one or that of TensorFlow.
    pub(super) keras2: bool,
    /// Whether that was Keras on its own, before it was part of TensorFlow.
    pub(super) standalone: bool,
    /// Whether recurrent layers hand masks on: Keras up to 3.15. Not known where no version is stated.
    pub(super) passes_mask: Option<bool>,
}

impl Rules {
    pub(super) fn new(parts: &Parts, config: &Map<String, Json>, options: &LoadOptions) -> Result<Self> {
        let stated = stated(parts, config, options)?;
        let given = options.keras_version;
        if let (Some(stated), Some(given)) = (stated, given)
            && stated != given
        {
            let (major, minor) = stated;
            let found = format!("{}.{}, which was given", given.0, given.1);
            return Err(Error::mismatch("the version of Keras", format!("{major}.{minor}, as stated"), found));
        }
        let version = stated.or(given);
        // Keras 2 has no modules in its configurations, or states its version.
        let keras2 = match version {
            Some((major, _)) => major == 2,
            None if config.contains_key("module") => false,
            None => {
                return Err(Error::unsupported(
                    "the file",
                    "a configuration that does not say which version of Keras wrote it",
                    "give the version with LoadOptions::keras_version, such as (2, 15)",
                ));
            }
        };
        let passes_mask = version.map(|version| version < (3, 16));
        let of_tensorflow = parts.version.as_deref().is_some_and(|text| text.ends_with("-tf"));
        let standalone = version.is_some_and(|version| version < (2, 4)) && !of_tensorflow;
        Ok(Self { backend: options.keras_backend, keras2, standalone, passes_mask })
    }
}

/// The version that the file states.
fn stated(parts: &Parts, config: &Map<String, Json>, options: &LoadOptions) -> Result<Option<(u32, u32)>> {
    const KEY: &str = "keras_version";
    if let Some(metadata) = &parts.metadata {
        let parsed = json::parse(&metadata.name, &metadata.data, &options.limits)?;
        return parse(&metadata.name, parsed.get(KEY)).map(Some);
    }
    if let Some(version) = &parts.version {
        return parse("the attribute keras_version", Some(&Json::String(version.clone()))).map(Some);
    }
    config.get(KEY).map(|version| parse(&parts.config.name, Some(version))).transpose()
}

/// `(3, 15)` of `3.15.1`
fn parse(place: &str, value: Option<&Json>) -> Result<(u32, u32)> {
    let expected = "a keras_version such as '3.15.1'";
    let Some(text) = value.and_then(Json::as_str) else {
        return Err(malformed(place, expected, shown(value)));
    };
    let mut parts = text.split('.').map(|part| {
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part.get(..digits).and_then(|digits| digits.parse::<u32>().ok())
    });
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(major @ (2 | 3)), Some(minor)) => Ok((major, minor)),
        (Some(_), Some(_)) => Err(Error::unsupported(
            "the file",
            format!("the version {} of Keras", quoted(text)),
            "load it with Keras 3 and save it with model.save('model.keras')",
        )),
        _ => Err(malformed(place, expected, quoted(text))),
    }
}
