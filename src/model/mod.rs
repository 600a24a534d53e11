//! [`Model`]: what a file says. A validated graph of layers with their weights, in one canonical
//! convention; it knows neither file formats nor devices.

mod answers;
mod builder;
mod check;
#[cfg(feature = "keras")]
mod compose;
mod infer;
mod layer;
mod options;
#[cfg(feature = "native")]
mod parts;
mod summary;

use std::{fmt, sync::Arc};

pub use answers::KnownAnswer;
pub use builder::{Builder, Call, CallMask};
pub(crate) use infer::{Windows, expanded, layer_norm_axes, resolve_axis};
pub(crate) use layer::BlockCall;
pub use layer::{
    BatchNormalization, Bidirectional, Block, Conv1d, Dense, Embedding, HeadActivation, Layer, LayerKind,
    LayerNormalization, MaskOp, MergeMode, MergeOp, Padding, Pool1d, Recurrent, Reduction,
};
#[cfg(feature = "native")]
pub(crate) use parts::Parts;

use crate::{
    dim::{Condition, Derived, Dim, Symbol},
    error::{Error, Result},
    layout::Layout,
    tensor::Tensor,
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
    pub(crate) blocks: Vec<Block>,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    pub(crate) symbols: Vec<String>,
    pub(crate) derived: Vec<(Symbol, Derived)>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) batch_size: Option<usize>,
    pub(crate) batch_is_fixed: bool,
    pub(crate) accepts_unbatched: bool,
    pub(crate) late: Option<Late>,
    pub(crate) optimizer_parameters: usize,
    pub(crate) optimizer_bytes: usize,
    pub(crate) notes: Vec<String>,
    pub(crate) known_answers: Vec<KnownAnswer>,
}

/// How the model was put together; [`Model::summary`] prints the two differently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "native", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "native", serde(rename_all = "snake_case", deny_unknown_fields))]
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

/// A value that goes in or comes out, under a name and in the order of the file.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) value: Value,
    pub(crate) layout: Layout,
    /// Of an input: whether it may be left out, which is as good as zeros.
    pub(crate) optional: bool,
}

/// A named tensor that goes into a model or comes out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Its name.
    pub name: String,
    /// Its shape, in the order of the file; `None` where the run decides.
    pub shape: Vec<Option<usize>>,
    /// The axis of `shape` that counts rows.
    pub batch_axis: Option<usize>,
    /// Whether this input may be left out, which is as good as zeros.
    pub optional: bool,
}

/// What makes a model of tensors that a file leaves to the caller; they come in the order of the
/// model's inputs, `None` for inputs that are not weights.
type Complete = dyn Fn(&[Option<Tensor>]) -> Result<Model> + Send + Sync;

/// The weights that a model still needs.
#[derive(Clone)]
pub(crate) struct Late {
    /// All inputs, and whether each is a weight.
    pub(crate) inputs: Vec<(Signature, bool)>,
    pub(crate) outputs: Vec<Signature>,
    pub(crate) complete: Arc<Complete>,
}

impl fmt::Debug for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Late").field("inputs", &self.inputs).finish_non_exhaustive()
    }
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
        match &self.late {
            Some(late) => late.inputs.iter().map(|(signature, _)| signature.clone()).collect(),
            None => self.inputs.iter().map(|port| self.signature(port)).collect(),
        }
    }

    /// The outputs, in order.
    #[must_use]
    pub fn outputs(&self) -> Vec<Signature> {
        match &self.late {
            Some(late) => late.outputs.clone(),
            None => self.outputs.iter().map(|port| self.signature(port)).collect(),
        }
    }

    /// A model some of whose inputs (those marked) are weights: `complete` makes the model that runs of
    /// them. A session does so by itself whenever other weights are given.
    #[cfg(feature = "onnx")]
    pub(crate) fn late(
        name: &str,
        inputs: Vec<(Signature, bool)>,
        outputs: Vec<Signature>,
        complete: Arc<Complete>,
    ) -> Self {
        let mut model = Builder::new(name.to_owned()).unchecked();
        model.late = Some(Late { inputs, outputs, complete });
        model
    }

    /// The inputs that are weights: the model runs when they are given with the others, and is
    /// listed and planned when [`with_weights`](Self::with_weights) has them.
    #[must_use]
    pub fn needs_weights(&self) -> Vec<Signature> {
        let late = self.late.iter().flat_map(|late| &late.inputs);
        late.filter(|(_, is_weight)| *is_weight).map(|(signature, _)| signature.clone()).collect()
    }

    /// The model with the weights that it [needs](Self::needs_weights), in that order.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if there are more or fewer, and what the file's format has to say of them.
    pub fn with_weights(&self, weights: &[Tensor]) -> Result<Self> {
        let Some(late) = &self.late else {
            return if weights.is_empty() {
                Ok(self.clone())
            } else {
                Err(Error::mismatch("weights", "none, since the model has its own", weights.len().to_string()))
            };
        };
        let needed = late.inputs.iter().filter(|(_, is_weight)| *is_weight).count();
        if needed != weights.len() {
            return Err(Error::mismatch("weights", format!("{needed}"), format!("{}", weights.len())));
        }
        let mut given = weights.iter().cloned();
        let all: Vec<Option<Tensor>> =
            late.inputs.iter().map(|(_, is_weight)| if *is_weight { given.next() } else { None }).collect();
        (late.complete)(&all)
    }

    /// What a person should know of how the file was read: what it does not say and was taken for granted.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The first layer that tells live timesteps from dead ones by itself, by lengths or by a mask.
    pub(crate) fn masked_by(&self) -> Option<&str> {
        let masks = |layer: &&Layer| match &layer.kind {
            LayerKind::Embedding(e) => e.mask_zero,
            LayerKind::Masking { .. } | LayerKind::LengthMask | LayerKind::ReverseSequence => true,
            LayerKind::MaskOp(_) => true,
            _ => false,
        };
        let given = || {
            let given = self.nodes.iter().find(|node| matches!(node.mask, CallMask::Given(_)));
            given.and_then(|node| self.layers.get(node.layer))
        };
        self.layers.iter().find(masks).or_else(given).map(|layer| layer.name.as_str())
    }

    /// Whether any layer carries its states from run to run.
    #[must_use]
    pub fn is_stateful(&self) -> bool {
        self.layers.iter().any(|layer| layer.kind.is_stateful())
    }

    /// The batch size that the file or builder states; whether runs are bound to it,
    /// [`required_batch`](Self::required_batch) says.
    #[must_use]
    pub fn batch_size(&self) -> Option<usize> {
        self.batch_size
    }

    /// The model without the values of its weights: it can be listed, but not planned.
    pub(crate) fn without_values(&self) -> Self {
        let mut model = self.clone();
        for tensor in model.layers.iter_mut().flat_map(|layer| layer.kind.weights_mut()) {
            *tensor = Arc::new(tensor.hollow());
        }
        model
    }

    /// The batch size that every run must have: a stateful model's own, or one that the file computes with.
    #[must_use]
    pub fn required_batch(&self) -> Option<usize> {
        self.batch_size.filter(|_| self.batch_is_fixed || self.is_stateful())
    }

    /// Refuses another number of rows than the [required](Self::required_batch) one.
    pub(crate) fn check_batch(&self, batch: usize) -> Result<()> {
        match self.required_batch().filter(|&expected| expected != batch) {
            None => Ok(()),
            Some(expected) => {
                let expected = format!("the {expected} rows that the model was built for");
                Err(Error::mismatch("batch", expected, format!("{batch} rows")))
            }
        }
    }

    /// Number of values in all weights.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        self.layers.iter().map(Layer::parameter_count).sum()
    }

    fn signature(&self, port: &Port) -> Signature {
        let canonical = self.shape(port.value).unwrap_or_default();
        let shape = port.layout.file_shape(canonical, &Dim::from(1), |a, b| a * b);
        Signature {
            name: port.name.clone(),
            shape: shape.iter().map(Dim::fixed).collect(),
            batch_axis: port.layout.groups().iter().position(|group| group.contains(&0)),
            optional: port.optional,
        }
    }

    pub(crate) fn shape(&self, value: Value) -> Result<&[Dim]> {
        self.nodes
            .get(value.node)
            .and_then(|node| node.output_shapes.get(value.output))
            .map(Vec::as_slice)
            .ok_or_else(|| Error::internal("a value without a node"))
    }
}
