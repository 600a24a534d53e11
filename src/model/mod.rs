//! [`Model`]: what a file says. A validated graph of layers with their weights, in one canonical
//! convention; it knows neither file formats nor devices.

mod builder;
mod check;
mod infer;
mod layer;
mod summary;

pub use builder::{Builder, Call, CallMask};
pub(crate) use infer::{expanded, layer_norm_axes, resolve_axis};
pub use layer::{
    BatchNormalization, Bidirectional, Dense, Embedding, HeadActivation, Layer, LayerKind, LayerNormalization, MaskOp,
    MergeMode, MergeOp, Recurrent,
};

use crate::{
    dim::{Dim, Equality},
    error::{Error, Result},
};

/// A validated graph of layers with their weights.
///
/// Every layer, weight shape and connection has been checked: planning and running a model can
/// fail only for the shapes and values of its inputs, or for want of a device.
#[derive(Clone, Debug)]
pub struct Model {
    pub(crate) name: String,
    pub(crate) style: Style,
    pub(crate) layers: Vec<Layer>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) inputs: Vec<Value>,
    pub(crate) outputs: Vec<(String, Value)>,
    pub(crate) symbols: Vec<String>,
    pub(crate) equalities: Vec<Equality>,
    pub(crate) batch_size: Option<usize>,
    pub(crate) optimizer_parameters: usize,
    pub(crate) optimizer_bytes: usize,
}

/// How the model was put together; [`Model::summary`] prints the two differently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// One layer after the other; inputs are not listed.
    Sequential,
    /// A graph.
    #[default]
    Functional,
}

/// One call of a layer. A layer that is shared has several.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Index into [`Model::layers`].
    pub(crate) layer: usize,
    pub(crate) inputs: Vec<Value>,
    /// States that a recurrent layer starts from, in the layer's order; empty: zeros.
    pub(crate) initial_state: Vec<Value>,
    pub(crate) mask: CallMask,
    pub(crate) output_shapes: Vec<Vec<Dim>>,
}

/// One output of one call: an edge of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Value {
    pub(crate) node: usize,
    pub(crate) output: usize,
}

/// A named tensor that goes into a model or comes out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Its name.
    pub name: String,
    /// Its shape, batch first; `None` where the run decides.
    pub shape: Vec<Option<usize>>,
}

impl Model {
    /// Starts a model.
    #[must_use]
    pub fn builder(name: impl Into<String>) -> Builder {
        Builder::new(name.into())
    }

    /// The model's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The layers, in the order in which they were added. A layer that is called twice is here once.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The inputs, in the order in which they are bound.
    #[must_use]
    pub fn inputs(&self) -> Vec<Signature> {
        self.inputs.iter().map(|&value| self.signature(self.value_name(value), value)).collect()
    }

    /// The outputs, in order.
    #[must_use]
    pub fn outputs(&self) -> Vec<Signature> {
        self.outputs.iter().map(|(name, value)| self.signature(name, *value)).collect()
    }

    /// Whether any layer carries its states from run to run.
    #[must_use]
    pub fn is_stateful(&self) -> bool {
        self.layers.iter().any(|layer| layer.kind.is_stateful())
    }

    /// The batch size that the file or builder states. Only stateful models are bound to it.
    #[must_use]
    pub fn batch_size(&self) -> Option<usize> {
        self.batch_size
    }

    /// Number of values in all weights.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        self.layers.iter().map(|layer| layer.kind.parameter_count()).sum()
    }

    fn signature(&self, name: &str, value: Value) -> Signature {
        let shape = self.shape(value).unwrap_or_default();
        Signature { name: name.to_owned(), shape: shape.iter().map(Dim::fixed).collect() }
    }

    fn value_name(&self, value: Value) -> &str {
        self.nodes.get(value.node).and_then(|node| self.layers.get(node.layer)).map_or("", |layer| &layer.name)
    }

    pub(crate) fn shape(&self, value: Value) -> Result<&[Dim]> {
        self.nodes
            .get(value.node)
            .and_then(|node| node.output_shapes.get(value.output))
            .map(Vec::as_slice)
            .ok_or_else(|| Error::internal("a value without a node"))
    }
}
