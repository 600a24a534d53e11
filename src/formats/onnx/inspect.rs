//! What is in an ONNX file: its nodes, initializers and versions, and every operator and attribute that is
//! not understood.

use std::collections::HashSet;

use super::{
    call::{self, subject},
    import, operators, opset,
    proto::{ModelFile, Node},
    signature,
    tensor::{Header, tensor_subject},
};
use crate::{
    error::Result,
    formats::{Inspection, Limits},
};

/// What a node without a name is known by.
fn output<'a>(node: &Node<'a>) -> &'a str {
    node.outputs.iter().copied().find(|output| !output.is_empty()).unwrap_or_default()
}

/// Adds what is in the file `bytes`.
pub(in super::super) fn inspect(bytes: &[u8], limits: &Limits, found: &mut Inspection) -> Result<()> {
    found.format = "ONNX".to_owned();
    let file = ModelFile::parse(bytes, limits)?;
    found.version("IR version", file.ir_version.to_string());
    for (domain, version) in &file.opsets {
        let domain = if domain.is_empty() { "ai.onnx" } else { domain };
        found.version(format!("operator set {domain}"), version.to_string());
    }
    found.version("producer", format!("{} {}", file.producer, file.producer_version).trim());
    for node in &file.graph.nodes {
        let name = if node.name.is_empty() { output(node) } else { node.name };
        found.part(name, node.op);
    }
    for &(name, span) in &file.graph.initializers {
        match Header::parse(&tensor_subject(name), span, limits) {
            Ok(header) => {
                let (dtype, bytes) = header.stored();
                found.tensor(name, dtype, &header.dims, bytes);
            }
            Err(error) => found.refuse(error),
        }
    }
    let stored: HashSet<&str> = file.graph.initializers.iter().map(|(name, _)| *name).collect();
    let inputs = file.graph.inputs.iter().filter(|info| !stored.contains(info.name));
    found.inputs = inputs.filter_map(|info| signature(info, None, limits).ok()).collect();
    found.outputs = file.graph.outputs.iter().filter_map(|info| signature(info, None, limits).ok()).collect();
    if let Err(error) = opset(&file) {
        found.refuse(error);
    }
    for index in import::live_nodes(&file.graph)? {
        let Some(node) = file.graph.nodes.get(index) else { continue };
        let operator = match operators::find(node) {
            Ok(operator) => operator,
            Err(error) => {
                found.refuse(error);
                continue;
            }
        };
        for attribute in node.attributes()? {
            if let Err(error) = call::check(&subject(node), &attribute, operator.attributes) {
                found.refuse(error);
            }
        }
    }
    Ok(())
}
