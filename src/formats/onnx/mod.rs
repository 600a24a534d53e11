//! ONNX files: a protocol buffer of a graph, whose recurrent operators and what exporters write around
//! them become the layers of a model. Nothing in a file is run.

mod align;
mod batch;
mod call;
mod expression;
mod external;
mod fold;
mod functions;
mod import;
mod inspect;
mod operators;
mod proto;
mod reshape;
mod tensor;
mod track;
mod wire;

use std::{collections::HashMap, path::Path, sync::Arc};

pub(super) use self::inspect::inspect;
use self::{
    external::Folder,
    proto::{Axis, ModelFile},
};
use super::{Limits, LoadOptions, in_file};
use crate::{
    error::{Error, Result},
    model::{Model, Signature},
    tensor::Tensor,
};

/// The operator sets of ai.onnx that are understood.
pub(super) const OPSETS: std::ops::RangeInclusive<i64> = 7..=28;

/// The model in `bytes`; `folder` is where it lies, if it is a file.
pub(super) fn from_bytes(bytes: &[u8], folder: Option<&Path>, name: &str, options: &LoadOptions) -> Result<Model> {
    load(bytes, folder, name, &options.limits).map_err(|error| in_file(error, name))
}

fn load(bytes: &[u8], folder: Option<&Path>, name: &str, limits: &Limits) -> Result<Model> {
    super::limits::within(|| "the file".to_owned(), bytes.len() as u64, limits.total_bytes, "total_bytes")?;
    let file = ModelFile::parse(bytes, limits)?;
    let opset = opset(&file)?;
    let weights = weight_inputs(&file)?;
    if weights.is_empty() {
        return import::model(&file, opset, &HashMap::new(), &Folder::new(folder, limits), limits);
    }
    late(&file, bytes, folder, name, limits, &weights)
}

/// The version of the operator set of ai.onnx.
fn opset(file: &ModelFile<'_>) -> Result<i64> {
    if file.functions > 0 {
        return Err(Error::unsupported("the file", "a function of its own", "export the model without functions"));
    }
    if file.ir_version < 3 {
        return Err(Error::unsupported("the file", format!("IR version {}", file.ir_version), "export the model anew"));
    }
    let mut found = file.opsets.iter().filter(|(domain, _)| matches!(*domain, "" | "ai.onnx"));
    let (Some((_, version)), None) = (found.next(), found.next()) else {
        return Err(Error::mismatch("the file", "one version of the operator set ai.onnx", "none or several"));
    };
    if !OPSETS.contains(version) {
        let instead = format!("export the model with an operator set from {} to {}", OPSETS.start(), OPSETS.end());
        return Err(Error::unsupported("the file", format!("version {version} of the operator set"), instead));
    }
    Ok(*version)
}

/// The inputs that are weights of a recurrent node.
fn weight_inputs<'a>(file: &ModelFile<'a>) -> Result<Vec<&'a str>> {
    let stored: std::collections::HashSet<&str> = file.graph.initializers.iter().map(|(name, _)| *name).collect();
    let mut slots: std::collections::HashSet<&str> = std::collections::HashSet::new();
    for node in &file.graph.nodes {
        if matches!(node.op, "RNN" | "GRU" | "LSTM") {
            slots.extend([1, 2, 3, 7].iter().filter_map(|&slot| node.inputs.get(slot)).filter(|name| !name.is_empty()));
        }
    }
    let inputs = file.graph.inputs.iter().map(|info| info.name);
    Ok(inputs.filter(|name| slots.contains(name) && !stored.contains(name)).collect())
}

/// An input or output as the file states it.
fn signature(info: &proto::Info<'_>, batch_axis: Option<usize>, limits: &Limits) -> Result<Signature> {
    let axes = info.tensor_type(limits)?.1.unwrap_or_default();
    let size = |axis: &Axis<'_>| match axis {
        Axis::Fixed(size) => Some(*size),
        _ => None,
    };
    Ok(Signature { name: info.name.to_owned(), shape: axes.iter().map(size).collect(), batch_axis, optional: false })
}

/// A model whose weights come with its inputs.
fn late(
    file: &ModelFile<'_>,
    bytes: &[u8],
    folder: Option<&Path>,
    name: &str,
    limits: &Limits,
    weights: &[&str],
) -> Result<Model> {
    let live = import::live_nodes(&file.graph)?;
    let given: HashMap<&str, Tensor> =
        weights.iter().map(|&name| Ok((name, Tensor::new([0], Vec::<f32>::new())?))).collect::<Result<_>>()?;
    let rows = batch::axes(&file.graph, &live, &given, limits)?;
    let stored: std::collections::HashSet<&str> = file.graph.initializers.iter().map(|(name, _)| *name).collect();
    let mut inputs = Vec::new();
    for info in file.graph.inputs.iter().filter(|info| !stored.contains(info.name)) {
        inputs.push((signature(info, rows.of(info.name), limits)?, weights.contains(&info.name)));
    }
    let outputs = file.graph.outputs.iter().map(|info| signature(info, None, limits)).collect::<Result<_>>()?;
    let names: Vec<String> = inputs.iter().map(|(signature, _)| signature.name.clone()).collect();
    let (kept, folder, name) = (bytes.to_vec(), folder.map(Path::to_path_buf), name.to_owned());
    let limits = limits.clone();
    let title = if file.graph.name.is_empty() { "onnx" } else { file.graph.name };
    let complete = move |tensors: &[Option<Tensor>]| {
        let file = ModelFile::parse(&kept, &limits)?;
        let given =
            names.iter().zip(tensors).filter_map(|(name, tensor)| Some((name.as_str(), tensor.clone()?))).collect();
        let folder = Folder::new(folder.as_deref(), &limits);
        import::model(&file, opset(&file)?, &given, &folder, &limits).map_err(|error| in_file(error, &name))
    };
    Ok(Model::late(title, inputs, outputs, Arc::new(complete)))
}
