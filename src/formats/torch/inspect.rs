//! What is in a state dict: its tensors, and the modules that its configuration or the names of tensors tell.

use serde_json::{Map, Value as Json};

use super::{CONFIG, Options, Source, Weights, config::entries, json, known, lone, network, prefix};
use crate::{
    error::Result,
    formats::{Inspection, Limits, safetensors::Archive},
};

/// Adds what is in a state dict, whose configuration is `config`.
pub(in super::super) fn inspect(
    archive: Archive<'_>,
    config: Option<&[u8]>,
    limits: &Limits,
    found: &mut Inspection,
) -> Result<()> {
    found.format = "PyTorch state dict (safetensors)".to_owned();
    for (key, value) in archive.metadata() {
        found.version(key, value);
    }
    archive.inspect(found);
    let weights = Weights::new(archive);
    let config = match config {
        Some(text) => json::parse(CONFIG, text, limits)?,
        None => match lone(&weights) {
            Ok((config, _)) => config,
            Err(error) => {
                guessed(&weights, found);
                return Err(error);
            }
        },
    };
    for (place, entry) in entries(&config, limits)?.0 {
        let name = entry.get("prefix").and_then(Json::as_str).unwrap_or_default();
        let kind = entry.get("kind").and_then(Json::as_str).unwrap_or_default();
        found.part(name.strip_suffix('.').unwrap_or(name), kind);
        if let Err(error) = alone(&weights, &place, entry) {
            found.refuse(error);
        }
    }
    Ok(())
}

/// Reads a module without those around it.
fn alone(weights: &Weights<'_>, place: &str, entry: &Map<String, Json>) -> Result<()> {
    let options = Options::new(entry, CONFIG, place)?;
    let known = known(&options)?;
    let prefix = prefix(&options, known, weights, true)?;
    let source = Source::new(options, weights, prefix);
    // One that reads whatever comes has to be seen among the others.
    if known.takes_ids || (known.features)(&source)?.is_some() {
        network(weights, &[(place.to_owned(), entry)], CONFIG, true)?;
    }
    Ok(())
}

/// Lists modules by what their tensors are called.
fn guessed(weights: &Weights<'_>, found: &mut Inspection) {
    let mut modules: Vec<(String, &str)> = Vec::new();
    for name in weights.names() {
        let (prefix, last) = name.rsplit_once('.').unwrap_or(("", name));
        let class = match last {
            "weight_ih_l0" => "RNN, LSTM or GRU",
            "weight_ih" => "RNNCell, LSTMCell or GRUCell",
            "running_mean" => "BatchNorm1d",
            "weight" if !weights.has(prefix, "running_mean") => match weights.rank(name) {
                1 => "LayerNorm or PReLU",
                2 => "Linear or Embedding",
                3 => "Conv1d",
                _ => "unknown",
            },
            _ => continue,
        };
        modules.push((prefix.to_owned(), class));
    }
    for (prefix, class) in modules {
        found.part(prefix, class);
    }
}
