//! PyTorch state dicts in safetensors files. Layers, directions and sizes come from the names and shapes of
//! tensors; what those cannot tell comes from a `config.json` in PyTorch's own argument names.

mod chain;
mod config;
mod inspect;
mod modules;
mod recurrent;
mod weights;

use serde_json::{Map, Value as Json, json};

pub(super) use self::inspect::inspect;
use self::{
    chain::Ends,
    config::{CONFIG, Options, entries},
    modules::{Known, MODULES},
    weights::{Source, Weights},
};
use super::{json, limits::Limits, safetensors::Archive};
use crate::{
    error::{Error, Result, listed, quoted},
    layout::Layout,
    model::{Builder, Model},
};

/// What messages call the file.
const DICT: &str = "the state dict";
/// What a state dict without a configuration may hold.
const ONE_MODULE: &str = "the tensors of one recurrent module, or a config.json beside the file (or --config) \
    that lists the modules";
/// Layers of one recurrent module.
const MAX_LAYERS: usize = 1024;

/// The modules, as the table of `docs/formats.md`.
pub(super) fn table() -> String {
    modules::table()
}

/// The model of a state dict and the text of its configuration, if there is one.
pub(super) fn read(archive: Archive<'_>, config: Option<&[u8]>, limits: &Limits) -> Result<Model> {
    let weights = Weights::new(archive);
    match config {
        Some(text) => {
            let config = json::parse(CONFIG, text, limits)?;
            model(&weights, &config, limits, None)
        }
        None => {
            let (config, note) = lone(&weights)?;
            model(&weights, &config, limits, Some(note))
        }
    }
}

/// The configuration of a state dict that holds one recurrent module, in PyTorch's defaults, and what to say of it.
fn lone(weights: &Weights<'_>) -> Result<(Json, String)> {
    let stacks = weights.prefixes(&["weight_ih_l0"]);
    let cells = weights.prefixes(&["weight_ih"]);
    let (prefix, suffix, ending) = match (stacks.as_slice(), cells.as_slice()) {
        ([one], []) => (*one, "_l0", ""),
        ([], [one]) => (*one, "", "Cell"),
        _ => {
            return Err(Error::mismatch(DICT, ONE_MODULE, listed(weights.names())));
        }
    };
    let is_other = |name: &&str| !prefix.is_empty() && !name.starts_with(&format!("{prefix}."));
    let others: Vec<&str> = weights.names().filter(is_other).collect();
    if !others.is_empty() {
        return Err(Error::mismatch(DICT, ONE_MODULE, format!("also {}", listed(others))));
    }
    let probe = Map::from_iter([("kind".to_owned(), json!("LSTM"))]);
    let source = Source::new(Options::new(&probe, DICT, "")?, weights, prefix);
    let hidden = source.size(&format!("weight_hh{suffix}"), 1)?;
    let rows = source.size(&format!("weight_hh{suffix}"), 0)?;
    let kind = match rows.checked_div(hidden) {
        _ if source.has(&format!("weight_hr{suffix}")) => "LSTM",
        Some(4) if rows % hidden == 0 => "LSTM",
        Some(3) if rows % hidden == 0 => "GRU",
        Some(1) if rows == hidden => "RNN",
        _ => {
            let subject = format!("tensor {}", quoted(&format!("{prefix}.weight_hh{suffix}")));
            return Err(Error::mismatch(subject, "1, 3 or 4 gates", format!("shape [{rows}, {hidden}]")));
        }
    };
    let defaults = match (kind, ending) {
        ("RNN", "Cell") => " with nonlinearity tanh",
        ("RNN", _) => " with nonlinearity tanh, batch_first false",
        (_, "Cell") => "",
        _ => " with batch_first false",
    };
    let note = format!("no {CONFIG}: taken as nn.{kind}{ending}{defaults}, PyTorch's defaults");
    Ok((json!({"kind": format!("{kind}{ending}"), "prefix": prefix}), note))
}

fn known(options: &Options<'_>) -> Result<&'static Known> {
    MODULES.iter().find(|known| known.kind == options.kind).ok_or_else(|| {
        let names = MODULES.iter().map(|known| known.kind).collect::<Vec<_>>().join(", ");
        Error::unsupported(&options.subject, "a module of this kind", format!("there is {names}"))
    })
}

fn model(weights: &Weights<'_>, config: &Json, limits: &Limits, note: Option<String>) -> Result<Model> {
    let (entries, is_one) = entries(config, limits)?;
    // Without a configuration all that can be wrong is in the tensors.
    let origin = if note.is_some() { DICT } else { CONFIG };
    let place = |index| if is_one { String::new() } else { format!("layers[{index}]") };
    let entries: Vec<_> = entries.into_iter().enumerate().map(|(index, entry)| (place(index), entry)).collect();
    let mut builder = network(weights, &entries, origin, is_one)?;
    weights.finish(if note.is_some() {
        ONE_MODULE
    } else {
        "the tensors of the modules that the configuration names"
    })?;
    if let Some(note) = note {
        builder.note(note);
    }
    builder.build()
}

/// The modules of `entries`, each with its place in the configuration, one after the other; messages say
/// that it is `origin`.
fn network(
    weights: &Weights<'_>,
    entries: &[(String, &Map<String, Json>)],
    origin: &'static str,
    is_one: bool,
) -> Result<Builder> {
    let mut modules = Vec::new();
    for (place, entry) in entries {
        let options = Options::new(entry, origin, place)?;
        let known = known(&options)?;
        let prefix = prefix(&options, known, weights, is_one)?;
        modules.push((Source::new(options, weights, prefix), known, prefix));
    }
    let names: Vec<String> = modules
        .iter()
        .map(|(_, known, prefix)| if prefix.is_empty() { known.kind.to_lowercase() } else { (*prefix).to_owned() })
        .collect();
    let modules: Vec<(Source<'_>, &'static Known)> =
        modules.into_iter().map(|(source, known, _)| (source, known)).collect();
    let ends = Ends::of(&modules)?;
    let mut builder = Model::builder(names.first().filter(|_| is_one).map_or("model", String::as_str));
    let has_states = is_one && modules.iter().all(|(_, known)| known.is_recurrent() || known.is_cell());
    // A batch normalisation reads [channels, seq_len] as [batch, channels].
    if modules.iter().all(|(_, known)| known.kind != "BatchNorm1d") {
        builder.accept_unbatched();
    }
    let mut chain = ends.start(&mut builder, &modules)?;
    for ((source, known), name) in modules.iter().zip(&names) {
        known.add(source, &mut chain, name, has_states)?;
    }
    let (output, layout, finals) = (chain.value, ends.output(&chain)?, chain.finals);
    builder.output_as("output", output, layout)?;
    let is_cell = modules.iter().any(|(_, known)| known.is_cell());
    for (name, state) in ["h_n", "c_n"].into_iter().zip(finals) {
        let layout = if is_cell { Layout::identity(2) } else { recurrent::order(&recurrent::STATES)? };
        builder.output_as(name, state, layout)?;
    }
    Ok(builder)
}

/// The prefix of a module's tensors: the stated one, or that of the only module that the state dict may hold.
fn prefix<'a>(options: &Options<'a>, known: &Known, weights: &'a Weights<'_>, is_one: bool) -> Result<&'a str> {
    if let Some(prefix) = options.prefix()? {
        return Ok(prefix);
    }
    if !known.has_tensors() {
        return Ok("");
    }
    let found = weights.prefixes(known.marks());
    match found.as_slice() {
        [one] if is_one => Ok(one),
        _ => {
            let found = format!("none; there is {}", listed(found));
            Err(Error::mismatch(&options.subject, "\"prefix\", the module's name in the state dict", found))
        }
    }
}
