//! The layers of a [`Model`](super::Model): options and weights in one canonical convention
//! (PyTorch's: matrices `[out, in]`, gates stacked input, forget, cell, output / reset, update, new).

use std::sync::Arc;

use crate::{
    activation::Activation,
    cell::{Cell, CellParams, DeadTimesteps},
    tensor::Tensor,
};

/// A layer: what it computes, under a name that is unique in its model.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Unique in the model.
    pub name: String,
    /// The class that the file or the builder calls it by: `LSTM`, `Dense`, `SpatialDropout1D`.
    pub class_name: String,
    /// What it computes.
    pub kind: LayerKind,
    /// Whether its weights were trainable; only [`summary`](super::Model::summary) shows it.
    pub trainable: bool,
}

/// What a layer computes. Shapes below leave out the batch axis where they start with `..`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LayerKind {
    /// A named input of the model.
    Input,
    /// Token ids `[batch, ..]` to vectors `[batch, .., embedding]`.
    Embedding(Embedding),
    /// A recurrent layer, `[batch, seq_len, input_size]` to `[batch, (seq_len,) output_size]`.
    Recurrent(Recurrent),
    /// Two recurrent layers, one per direction.
    Bidirectional(Bidirectional),
    /// A dense layer on the last axis.
    Dense(Dense),
    /// A function of each element or of the last axis. Also the activation layers (ReLU, ELU, ...).
    Activation(HeadActivation),
    /// Softmax along `axis` (counted from the end where negative; 0 is the batch).
    Softmax {
        /// The axis along which outputs sum to 1.
        axis: i64,
    },
    /// Marks timesteps whose features all equal `mask_value` as dead, and zeroes them.
    Masking {
        /// The value that marks dead timesteps.
        mask_value: f32,
    },
    /// A layer on every timestep on its own.
    TimeDistributed(Box<LayerKind>),
    /// `[batch, ..]` to `[batch, product(..)]`.
    Flatten,
    /// `[batch, ..]` to `[batch, target..]`.
    Reshape {
        /// The new shape without the batch axis; one `None` is whatever remains.
        target: Vec<Option<usize>>,
    },
    /// `[batch, features]` to `[batch, count, features]`.
    RepeatVector {
        /// How many times.
        count: usize,
    },
    /// Joins inputs along `axis` (counted from the end where negative).
    Concatenate {
        /// The axis that grows.
        axis: i64,
    },
    /// Combines inputs element by element, with broadcasting.
    Merge(MergeOp),
    /// Mean over the timesteps (the live ones, if there is a mask).
    GlobalAveragePooling {
        /// Whether the axis stays, with extent 1.
        keepdims: bool,
    },
    /// Largest value over the timesteps; takes no notice of masks, as in Keras.
    GlobalMaxPooling {
        /// Whether the axis stays, with extent 1.
        keepdims: bool,
    },
    /// Normalisation by stored statistics, one per position of `axis`.
    BatchNormalization(BatchNormalization),
    /// Normalisation by the statistics of the sample itself.
    LayerNormalization(LayerNormalization),
    /// An operation on masks. Keras writes the masks of functional models as such nodes.
    MaskOp(MaskOp),
    /// Nothing at inference: the dropout and noise layers, regularisers, Identity.
    Identity,
}

/// Weights and options of an embedding.
#[derive(Clone, Debug)]
pub struct Embedding {
    /// `[vocabulary, embedding]`
    pub table: Arc<Tensor>,
    /// Whether id 0 marks dead timesteps.
    pub mask_zero: bool,
}

/// Weights and options of a recurrent layer.
#[derive(Clone, Debug)]
pub struct Recurrent {
    /// The cell.
    pub cell: Cell,
    /// Its functions.
    pub params: CellParams,
    /// `[gates * hidden_size, input_size]`
    pub weight_ih: Arc<Tensor>,
    /// `[gates * hidden_size, output_size]`
    pub weight_hh: Arc<Tensor>,
    /// `[output_size, hidden_size]`, LSTM only: the hidden state is this matrix times what the cell
    /// gives, of at most as many units (PyTorch's `proj_size`).
    pub weight_hr: Option<Arc<Tensor>>,
    /// `[3 * hidden_size]`, LSTM only: what the input, forget and output gates see of the cell state.
    pub peephole: Option<Arc<Tensor>>,
    /// `[gates * hidden_size]`
    pub bias_ih: Option<Arc<Tensor>>,
    /// `[gates * hidden_size]`; Keras has it only for the GRU that resets after the product.
    pub bias_hh: Option<Arc<Tensor>>,
    /// Whether the output is that of every timestep, or of the last one only.
    pub return_sequences: bool,
    /// Whether the final states are outputs too.
    pub return_state: bool,
    /// Whether timesteps are processed from the last to the first; outputs come in that order.
    pub go_backwards: bool,
    /// Whether the final states of a run are the initial ones of the next.
    pub stateful: bool,
    /// The output at dead timesteps.
    pub dead: DeadTimesteps,
    /// Whether the layer after this one sees the mask (with `return_sequences`): Keras up to 3.15.
    pub passes_mask: bool,
}

impl Recurrent {
    /// Units of the cell.
    #[must_use]
    pub fn hidden_size(&self) -> usize {
        self.weight_hr.as_ref().unwrap_or(&self.weight_hh).shape().get(1).copied().unwrap_or(0)
    }

    /// Units of the hidden state, which is the output: `hidden_size`, unless it is projected.
    #[must_use]
    pub fn output_size(&self) -> usize {
        let projected = self.weight_hr.as_ref().map(|weight| weight.shape().first().copied().unwrap_or(0));
        projected.unwrap_or_else(|| self.hidden_size())
    }

    /// Units of each state of the cell, the hidden state first.
    #[must_use]
    pub fn state_sizes(&self) -> Vec<usize> {
        let (output, hidden) = (self.output_size(), self.hidden_size());
        let states = self.cell.spec().states.len();
        std::iter::once(output).chain(std::iter::repeat(hidden)).take(states).collect()
    }

    /// Features that the layer reads.
    #[must_use]
    pub fn input_size(&self) -> usize {
        self.weight_ih.shape().get(1).copied().unwrap_or(0)
    }
}

/// Two recurrent layers, one per direction, and how their outputs are joined.
#[derive(Clone, Debug)]
pub struct Bidirectional {
    /// The first; one of the two has `go_backwards`, as a rule not this one.
    pub forward: Recurrent,
    /// The second; its outputs are turned round in time.
    pub backward: Recurrent,
    /// How outputs are joined.
    pub merge: MergeMode,
}

/// How a bidirectional layer joins its outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeMode {
    /// Features side by side, forward first.
    Concat,
    /// Sum.
    Sum,
    /// Product.
    Mul,
    /// Mean.
    Ave,
    /// Two outputs, forward first.
    Separate,
}

/// Weights and options of a dense layer.
#[derive(Clone, Debug)]
pub struct Dense {
    /// `[out, in]`
    pub weight: Arc<Tensor>,
    /// `[out]`
    pub bias: Option<Arc<Tensor>>,
    /// Applied to the output.
    pub activation: HeadActivation,
}

/// A function at the end of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HeadActivation {
    /// Of each element.
    Pointwise(Activation),
    /// Softmax of the last axis.
    Softmax,
    /// Logarithm of the softmax of the last axis.
    LogSoftmax,
}

/// How [`LayerKind::Merge`] combines its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MergeOp {
    /// Sum of all.
    Add,
    /// First minus second.
    Subtract,
    /// Product of all; with masks, dead positions count as 1 (Keras).
    Multiply,
    /// Mean of all.
    Average,
}

/// An operation on masks: values that are 1 at live positions and 0 at dead ones.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum MaskOp {
    /// 1 where the input differs from a value.
    NotEqual {
        /// The value that marks dead positions.
        value: f32,
    },
    /// 1 where any position along the last axis is not 0.
    Any {
        /// Whether the axis stays, with extent 1.
        keepdims: bool,
    },
    /// An axis of extent 1 put in behind the last one.
    ExpandDims,
    /// 0 everywhere, in the shape of the input.
    ZerosLike,
    /// 1 everywhere, in the shape of the input.
    OnesLike,
    /// 1 where either of two masks is.
    LogicalOr,
}

/// Weights and options of a batch normalisation.
#[derive(Clone, Debug)]
pub struct BatchNormalization {
    /// The axis of the channels (counted from the end where negative).
    pub axis: i64,
    /// `[channels]`
    pub gamma: Option<Arc<Tensor>>,
    /// `[channels]`
    pub beta: Option<Arc<Tensor>>,
    /// `[channels]`
    pub moving_mean: Arc<Tensor>,
    /// `[channels]`
    pub moving_variance: Arc<Tensor>,
    /// Added to the variance.
    pub epsilon: f32,
}

/// Weights and options of a layer normalisation.
#[derive(Clone, Debug)]
pub struct LayerNormalization {
    /// The axes normalised together, neighbours in ascending order (counted from the end where negative).
    pub axes: Vec<i64>,
    /// The axes' shape.
    pub gamma: Option<Arc<Tensor>>,
    /// The axes' shape.
    pub beta: Option<Arc<Tensor>>,
    /// Added to the variance.
    pub epsilon: f32,
}

impl LayerKind {
    /// The layer's weights: name, tensor, and whether training changes it by gradients.
    #[must_use]
    pub fn weights(&self) -> Vec<(&'static str, &Arc<Tensor>, bool)> {
        fn recurrent<'a>(layer: &'a Recurrent, names: [&'static str; 6]) -> Vec<(&'static str, &'a Arc<Tensor>, bool)> {
            let [bias_ih, bias_hh] = [layer.bias_ih.as_ref(), layer.bias_hh.as_ref()];
            let [peephole, weight_hr] = [layer.peephole.as_ref(), layer.weight_hr.as_ref()];
            let all = [Some(&layer.weight_ih), Some(&layer.weight_hh), bias_ih, bias_hh, peephole, weight_hr];
            names.into_iter().zip(all).filter_map(|(name, tensor)| Some((name, tensor?, true))).collect()
        }
        match self {
            Self::Embedding(e) => vec![("table", &e.table, true)],
            Self::Recurrent(r) => {
                recurrent(r, ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "peephole", "weight_hr"])
            }
            Self::Bidirectional(b) => {
                let mut all = recurrent(
                    &b.forward,
                    [
                        "forward weight_ih",
                        "forward weight_hh",
                        "forward bias_ih",
                        "forward bias_hh",
                        "forward peephole",
                        "forward weight_hr",
                    ],
                );
                all.extend(recurrent(
                    &b.backward,
                    [
                        "backward weight_ih",
                        "backward weight_hh",
                        "backward bias_ih",
                        "backward bias_hh",
                        "backward peephole",
                        "backward weight_hr",
                    ],
                ));
                all
            }
            Self::Dense(d) => [("weight", Some(&d.weight)), ("bias", d.bias.as_ref())]
                .into_iter()
                .filter_map(|(name, tensor)| Some((name, tensor?, true)))
                .collect(),
            Self::TimeDistributed(inner) => inner.weights(),
            Self::BatchNormalization(n) => [
                ("gamma", n.gamma.as_ref(), true),
                ("beta", n.beta.as_ref(), true),
                ("moving_mean", Some(&n.moving_mean), false),
                ("moving_variance", Some(&n.moving_variance), false),
            ]
            .into_iter()
            .filter_map(|(name, tensor, trainable)| Some((name, tensor?, trainable)))
            .collect(),
            Self::LayerNormalization(n) => [("gamma", n.gamma.as_ref()), ("beta", n.beta.as_ref())]
                .into_iter()
                .filter_map(|(name, tensor)| Some((name, tensor?, true)))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Number of values in the layer's weights.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        self.weights().iter().map(|(_, tensor, _)| tensor.len()).sum()
    }

    /// Whether states of this layer are carried from run to run.
    #[must_use]
    pub fn is_stateful(&self) -> bool {
        match self {
            Self::Recurrent(r) => r.stateful,
            Self::Bidirectional(b) => b.forward.stateful,
            _ => false,
        }
    }
}
