//! The lines of the summary for a graph that holds functions of masks beside its layers.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::{config::dimension, graph::Entry};
use crate::model::summary::{Edge, Row};

/// One line per layer or function, in the file's order; `layers` are the lines of the layers alone.
pub(super) fn rows(entries: &[Entry<'_>], layers: Vec<Row>) -> Vec<Row> {
    let mut shapes: HashMap<&str, Option<&Json>> = HashMap::new();
    for reference in entries
        .iter()
        .flat_map(|entry| &entry.calls)
        .flat_map(|call| call.references())
    {
        shapes.insert(reference.layer, reference.shape);
    }
    let mut layers: HashMap<String, Row> = layers
        .into_iter()
        .map(|row| (row.name.clone(), row))
        .collect();
    let row = |entry: &Entry<'_>| {
        let name = entry.described.name;
        let mut row = layers.remove(name).unwrap_or_else(|| Row {
            name: name.to_owned(),
            class_name: entry.described.class.to_owned(),
            shapes: vec![shape(shapes.get(name).copied().flatten())],
            parameters: 0,
            inputs: Vec::new(),
        });
        row.inputs = entry
            .calls
            .iter()
            .flat_map(|call| call.references())
            .map(|reference| Edge {
                layer: reference.layer.to_owned(),
                node: reference.call,
                output: reference.output,
            })
            .collect();
        row
    };
    entries.iter().map(row).collect()
}

fn shape(claimed: Option<&Json>) -> Vec<Option<usize>> {
    let dims = claimed.and_then(Json::as_array);
    dims.map(|dims| dims.iter().map(|dim| dimension(dim).flatten()).collect())
        .unwrap_or_default()
}
