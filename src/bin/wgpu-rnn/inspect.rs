//! `inspect`: what is in a file, and why it cannot be run, if so.

use serde_json::{Value, json};
use wgpu_rnn::{
    ErrorKind, Model,
    formats::{self, Inspection},
    model::Signature,
};

use crate::{
    args::InspectArgs,
    failure::{Outcome, one_line, shown},
    files::print,
    progress::busy,
    setup,
    table::table,
};

/// Characters of a name.
const NAME: usize = 128;

pub(crate) fn inspect(args: &InspectArgs) -> Outcome<()> {
    let working = busy("reading the file");
    let found = formats::inspect(&args.model.path, &setup::load_options(&args.model.load))?;
    drop(working);
    Ok(print(&if args.json.on { json_text(&found) } else { text(&found) })?)
}

fn text(found: &Inspection) -> String {
    let mut sections = vec![versions(found)];
    let parts = match &found.model {
        // Each with its options in force.
        Some(model) if !model.layers().is_empty() => format!("layers\n{}", model.options_text().trim_end()),
        _ => {
            listed("parts", &["name", "class"], &[], found.parts.iter().map(|p| vec![clean(&p.name), clean(&p.class)]))
        }
    };
    sections.push(parts);
    let tensors = found.tensors.iter().map(|tensor| {
        vec![clean(&tensor.name), tensor.dtype.clone(), format!("{:?}", tensor.shape), tensor.bytes.to_string()]
    });
    sections.push(listed("tensors", &["name", "dtype", "shape", "bytes"], &[3], tensors));
    sections.push(listed("inputs", &["name", "shape", ""], &[], found.inputs.iter().map(port)));
    sections.push(listed("outputs", &["name", "shape", ""], &[], found.outputs.iter().map(port)));
    sections.push(verdict(found));
    sections.retain(|section| !section.is_empty());
    sections.join("\n\n")
}

fn clean(text: &str) -> String {
    shown(text, NAME)
}

fn versions(found: &Inspection) -> String {
    let known = found.versions.iter().filter(|(_, value)| !value.is_empty());
    let lines = known.map(|(name, value)| format!("{}: {}", clean(name), shown(value, 4 * NAME)));
    [format!("format: {}", found.format)].into_iter().chain(lines).collect::<Vec<_>>().join("\n")
}

/// A table under a title, or nothing where it has no rows.
fn listed(title: &str, header: &[&str], right: &[usize], rows: impl Iterator<Item = Vec<String>>) -> String {
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() { String::new() } else { format!("{title}\n{}", table(header, right, &rows)) }
}

fn port(port: &Signature) -> Vec<String> {
    vec![clean(&port.name), shape(port), if port.optional { "optional" } else { "" }.to_owned()]
}

/// A shape in the file's order of axes: `[any, batch, 7]`.
fn shape(port: &Signature) -> String {
    let axis = |(index, size): (usize, &Option<usize>)| match (port.batch_axis == Some(index), size) {
        (true, None) => "batch".to_owned(),
        (true, Some(size)) => format!("batch {size}"),
        (false, None) => "any".to_owned(),
        (false, Some(size)) => size.to_string(),
    };
    format!("[{}]", port.shape.iter().enumerate().map(axis).collect::<Vec<_>>().join(", "))
}

fn verdict(found: &Inspection) -> String {
    let Some(model) = &found.model else {
        let reasons = found.problems.iter().map(|problem| format!("\n- {}", one_line(&problem.to_string())));
        return format!("It cannot be run:{}", reasons.collect::<String>());
    };
    let mut lines: Vec<String> = model.notes().iter().map(|note| format!("note: {}", clean(note))).collect();
    let weights: Vec<String> = model.needs_weights().iter().map(|weight| clean(&weight.name)).collect();
    lines.push(if weights.is_empty() {
        "It can be run.".to_owned()
    } else {
        format!("It can be run with its weights as inputs: {}.", weights.join(", "))
    });
    lines.join("\n")
}

fn json_text(found: &Inspection) -> String {
    let tensors = found.tensors.iter().map(
        |tensor| json!({"name": tensor.name, "dtype": tensor.dtype, "shape": tensor.shape, "bytes": tensor.bytes}),
    );
    let parts = found.parts.iter().map(|part| json!({"name": part.name, "class": part.class}));
    let versions = found.versions.iter().map(|(name, value)| json!({"name": name, "value": value}));
    let problems = found
        .problems
        .iter()
        .map(|problem| json!({"kind": kind(problem.kind()), "message": one_line(&problem.to_string())}));
    json!({
        "schema": 1,
        "format": found.format,
        "versions": versions.collect::<Vec<_>>(),
        "parts": parts.collect::<Vec<_>>(),
        "layers": found.model.as_ref().map(layers),
        "tensors": tensors.collect::<Vec<_>>(),
        "inputs": found.inputs.iter().map(signature).collect::<Vec<_>>(),
        "outputs": found.outputs.iter().map(signature).collect::<Vec<_>>(),
        "needs_weights": found.model.iter().flat_map(Model::needs_weights).map(|w| w.name).collect::<Vec<_>>(),
        "notes": found.model.as_ref().map(Model::notes).unwrap_or_default(),
        "runs": found.model.is_some(),
        "problems": problems.collect::<Vec<_>>(),
    })
    .to_string()
}

fn layers(model: &Model) -> Vec<Value> {
    let layer = |layer: &wgpu_rnn::model::Layer| {
        let options: serde_json::Map<_, _> =
            layer.kind.options().into_iter().map(|(name, value)| (name, Value::String(value))).collect();
        json!({
            "name": layer.name,
            "class": layer.class_name,
            "parameters": layer.kind.parameter_count(),
            "options": options,
        })
    };
    model.layers().iter().map(layer).collect()
}

fn signature(port: &Signature) -> Value {
    json!({"name": port.name, "shape": port.shape, "batch_axis": port.batch_axis, "optional": port.optional})
}

fn kind(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Limit => "limit",
        ErrorKind::Device => "device",
        ErrorKind::Internal => "internal",
        _ => "input",
    }
}
