//! What is in a file of the crate's own.

use serde_json::Value as Json;

use super::KEY;
use crate::{
    error::Result,
    formats::{Inspection, Limits, json, safetensors::Archive},
};

/// Adds what is in the file.
pub(in super::super) fn inspect(archive: &Archive<'_>, limits: &Limits, found: &mut Inspection) -> Result<()> {
    found.format = "wgpu-rnn (safetensors)".to_owned();
    archive.inspect(found);
    let text = archive.metadata().get(KEY).map(String::as_str).unwrap_or_default();
    let document = json::parse(KEY, text.as_bytes(), limits)?;
    for key in ["format", "written_by"] {
        if let Some(value) = document.get(key) {
            found.version(key, value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
    }
    let answers = document.get("known_answers").and_then(Json::as_array).map_or(0, Vec::len);
    found.version("known answers", answers.to_string());
    let layers = document.get("model").and_then(|model| model.get("layers")).and_then(Json::as_array);
    for layer in layers.into_iter().flatten() {
        let text = |key: &str| layer.get(key).and_then(Json::as_str).unwrap_or_default();
        found.part(text("name"), text("class_name"));
    }
    Ok(())
}
