//! The layers of a [`Model`](super::Model): options and weights in one canonical convention
//! (PyTorch's: matrices `[out, in]`, gates stacked input, forget, cell, output / reset, update, new).

use std::{borrow::Cow, sync::Arc};

use crate::{
    activation::Activation,
    cell::{Cell, CellParams, DeadTimesteps},
    dim::Dim,
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
    /// The [`Block`] that it is part of, if any; index into the model's blocks.
    pub block: Option<usize>,
    /// Whether its weights are numbers that the file states elsewhere than among its parameters.
    pub is_stated: bool,
}

impl Layer {
    /// Number of values in the layer's weights that are parameters.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        if self.is_stated { 0 } else { self.kind.parameter_count() }
    }
}

/// A layer of a file that is made of several layers here: a nested model, an attention layer. Only
/// [`summary`](super::Model::summary) sees it; what runs are its parts.
#[derive(Clone, Debug)]
pub struct Block {
    /// Unique among layers and blocks.
    pub name: String,
    /// The class that the file calls it by.
    pub class_name: String,
    /// The block that it is part of in turn.
    pub parent: Option<usize>,
    /// How many layers outside of it were added before it: its place in the summary.
    pub position: usize,
    /// Per call, the nodes from the first to the one behind the last, the values that went in and those that came out.
    pub(crate) calls: Vec<BlockCall>,
}

/// One call of a [`Block`].
#[derive(Clone, Debug)]
pub(crate) struct BlockCall {
    pub(crate) inputs: Vec<super::Value>,
    pub(crate) outputs: Vec<super::Value>,
}

/// What a layer computes. Shapes below leave out the batch axis where they start with `..`.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[cfg_attr(feature = "native", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "native", serde(rename_all = "snake_case", deny_unknown_fields))]
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
        #[cfg_attr(feature = "native", serde(with = "crate::serial::float"))]
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
    /// Recurrent layers that run as the cells of one: each reads the sequence of the one before, all see
    /// the same mask, and states are those of the first, then of the second, and so on. The last one's
    /// options say what comes out.
    Stacked(Vec<Recurrent>),
    /// A value that no input has a part in, in the shape of the tensor. Takes no inputs.
    Constant(#[cfg_attr(feature = "native", serde(with = "crate::serial::tensor"))] Arc<Tensor>),
    /// `start + step * i` at position `i` of `axis`. Takes no inputs.
    Ramp {
        /// The value at position 0.
        #[cfg_attr(feature = "native", serde(with = "crate::serial::float"))]
        start: f32,
        /// The difference of neighbours.
        #[cfg_attr(feature = "native", serde(with = "crate::serial::float"))]
        step: f32,
        /// The axis along which it grows.
        axis: usize,
        /// The whole shape.
        shape: Vec<Dim>,
    },
    /// Output axis `a` is input axis `axes[a]`; the first is 0, the batch.
    Permute {
        /// Each axis of the input once.
        axes: Vec<usize>,
    },
    /// `extent` positions of `axis` from `start` on, `step` apart.
    Slice {
        /// Not 0.
        axis: usize,
        /// The first position.
        start: Dim,
        /// Not 0; backwards where negative.
        step: i64,
        /// How many positions.
        extent: Dim,
    },
    /// The same values under another shape, batch first.
    ReshapeTo {
        /// The whole shape.
        shape: Vec<Dim>,
    },
    /// Axes of extent 1 repeated to `shape`, which has the same rank.
    Expand {
        /// The whole shape.
        shape: Vec<Dim>,
    },
    /// Positions of one value before and after those of `axis`.
    Pad {
        /// Not 0.
        axis: usize,
        /// Positions before the first.
        before: Dim,
        /// Positions after the last.
        after: Dim,
        /// What they hold.
        #[cfg_attr(feature = "native", serde(with = "crate::serial::float"))]
        value: f32,
    },
    /// Reduces `axis`; takes no notice of masks.
    Reduce {
        /// The operation.
        op: Reduction,
        /// Not 0.
        axis: usize,
        /// Whether the axis stays, with extent 1.
        keepdims: bool,
    },
    /// The product of two values: `[.., m, k]` and `[.., k, n]`, or `[.., n, k]` if `transposed`. The
    /// other axes are equal, or 1 and repeated.
    MatMul {
        /// Whether the second comes as `[.., n, k]`.
        transposed: bool,
    },
    /// Of `[batch, len, ..]` the positions that `[batch, count]` names, for each row its own.
    Take,
    /// The mask `[batch, seq_len]` of `[batch]` lengths, for the second input `[batch, seq_len, ..]`.
    LengthMask,
    /// `[batch, seq_len, ..]` with the first `lengths[b]` timesteps of each row turned round; the
    /// second input is `[batch]` lengths.
    ReverseSequence,
    /// A convolution over time.
    Conv1d(Conv1d),
    /// A pooling over windows of time; takes no notice of masks.
    Pool1d(Pool1d),
    /// The mask that the input carries, as a value `[batch, seq_len]`; ones where it carries none.
    MaskOf,
    /// The first input, with the mask that the second carries in place of its own; with none if there
    /// is no second.
    CarryMask,
}

/// How [`LayerKind::Reduce`] reduces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "native", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "native", serde(rename_all = "snake_case", deny_unknown_fields))]
pub enum Reduction {
    /// Sum.
    Sum,
    /// Mean.
    Mean,
    /// The largest; a NaN gives NaN.
    Max,
    /// The smallest; a NaN gives NaN.
    Min,
}

/// Weights and options of a convolution over `[batch, len, channels]`.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "native", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "native", serde(rename_all = "snake_case", deny_unknown_fields))]
pub struct Conv1d {
    /// `[out, width * (channels / groups)]`, the positions of the window outermost.
    #[cfg_attr(feature = "native", serde(with = "crate::serial::tensor"))]
    pub weight: Arc<Tensor>,
    /// `[out]`
    #[cfg_attr(feature = "native", serde(with = "crate::serial::optional"))]
    pub bias: Option<Arc<Tensor>>,
    /// Positions that one output looks at.
    pub width: usize,
    /// Distance of neighbouring outputs.
    pub stride: usize,
    /// Distance of neighbouring positions of a window.
    pub dilation: usize,
    /// What lies beyond the ends.
    pub padding: Padding,
    /// Outputs in `groups` equal parts see only their part of the channels.
    pub groups: usize,
    /// Applied to the output.
    pub activation: HeadActivation,
}

/// Options of a pooling over `[batch, len, channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "native", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "native", serde(rename_all = "snake_case", deny_unknown_fields))]
pub struct Pool1d {
    /// [`Reduction::Max`] or [`Reduction::Mean`].
    pub op: Reduction,
    /// Positions that one output looks at.
    pub width: usize,
    /// Distance of neighbouring outputs.
    pub stride: usize,
    /// Distance of neighbouring positions of a window.
    pub dilation: usize,
    /// What lies beyond the ends.
    pub padding: Padding,
    /// Whether the divisor of a mean counts positions beyond the ends.
    pub count_padding: bool,
}

/// What a window sees beyond the ends of a sequence: zeros, of which there are
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "native", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "native", serde(rename_all = "snake_case", deny_unknown_fields))]
pub enum Padding {
    /// none.
    Valid,
    /// as many as give `ceil(len / stride)` outputs, the odd one at the end (TensorFlow's `same`).
    Same,
    /// enough before the first position that no output looks ahead.
    Causal,
    /// these.
    Explicit {
        /// Before the first position.
        before: usize,
        /// After the last.
        after: usize,
    },
}

/// Weights and options of an embedding.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "native", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "native", serde(rename_all = "snake_case", deny_unknown_fields))]
pub struct Embedding {
    /// `[vocabulary, embedding]`
    #[cfg_attr(feature = "native", serde(with = "crate::serial::tensor"))]
    pub table: Arc<Tensor>,
    /// Whether id 0 marks dead timesteps.
    pub mask_zero: bool,
}

/// Weights and options of a recurrent layer.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "native", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "native", serde(rename_all = "snake_case", deny_unknown_fields))]
pub struct Recurrent {
    /// The cell.
    pub cell: Cell,
    /// Its functions.
    pub params: CellParams,
    /// `[gates * hidden_size, input_size]`
    #[cfg_attr(feature = "native", serde(with = "crate::serial::tensor"))]
    pub weight_ih: Arc<Tensor>,
    /// `[gates * hidden_size, output_size]`
    #[cfg_attr(feature = "native", serde(with = "crate::serial::tensor"))]
    pub weight_hh: Arc<Tensor>,
    /// `[output_size, hidden_size]`, LSTM only: the hidden state is this matrix times what the cell
    /// gives, of at most as many units (PyTorch's `proj_size`).
    #[cfg_attr(feature = "native", serde(with = "crate::serial::optional"))]
    pub weight_hr: Option<Arc<Tensor>>,
    /// `[3 * hidden_size]`, LSTM only: what the input, forget and output gates see of the cell state.
    #[cfg_attr(feature = "native", serde(with = "crate::serial::optional"))]
    pub peephole: Option<Arc<Tensor>>,
    /// `[gates * hidden_size]`
    #[cfg_attr(feature = "native", serde(with = "crate::serial::optional"))]
    pub bias_ih: Option<Arc<Tensor>>,
    /// `[gates * hidden_size]`; Keras has it only for the GRU that resets after the product.
    #[cfg_attr(feature = "native", serde(with = "crate::serial::optional"))]
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
    /// A layer with the usual functions and without biases, whose output is that of every timestep. What else there is to
    /// choose stands before it: `Recurrent { stateful: true, ..Recurrent::new(cell, weight_ih, weight_hh) }`.
    #[must_use]
    pub fn new(cell: Cell, weight_ih: impl Into<Arc<Tensor>>, weight_hh: impl Into<Arc<Tensor>>) -> Self {
        Self {
            cell,
            params: CellParams::default(),
            weight_ih: weight_ih.into(),
            weight_hh: weight_hh.into(),
            weight_hr: None,
            peephole: None,
            bias_ih: None,
            bias_hh: None,
            return_sequences: true,
            return_state: false,
            go_backwards: false,
            stateful: false,
            dead: DeadTimesteps::default(),
            passes_mask: false,
        }
    }

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

    fn weights_mut(&mut self) -> Vec<&mut Arc<Tensor>> {
        let Self { weight_ih, weight_hh, bias_ih, bias_hh, peephole, weight_hr, .. } = self;
        let optional = [bias_ih, bias_hh, peephole, weight_hr].into_iter().filter_map(Option::as_mut);
        [weight_ih, weight_hh].into_iter().chain(optional).collect()
    }

    /// The weights that there are, with `prefix` before their names.
    fn weights(&self, prefix: &str) -> Vec<(Cow<'static, str>, &Arc<Tensor>, bool)> {
        let all = [
            ("weight_ih", Some(&self.weight_ih)),
            ("weight_hh", Some(&self.weight_hh)),
            ("bias_ih", self.bias_ih.as_ref()),
            ("bias_hh", self.bias_hh.as_ref()),
            ("peephole", self.peephole.as_ref()),
            ("weight_hr", self.weight_hr.as_ref()),
        ];
        all.into_iter().filter_map(|(name, tensor)| Some((format!("{prefix}{name}").into(), tensor?, true))).collect()
    }

    /// Features that the layer reads.
    #[must_use]
    pub fn input_size(&self) -> usize {
        self.weight_ih.shape().get(1).copied().unwrap_or(0)
    }
}

/// Two recurrent layers, one per direction, and how their outputs are joined.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "native", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "native", serde(rename_all = "snake_case", deny_unknown_fields))]
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
#[cfg_attr(feature = "native", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "native", serde(rename_all = "snake_case", deny_unknown_fields))]
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
#[cfg_attr(feature = "native", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "native", serde(rename_all = "snake_case", deny_unknown_fields))]
pub struct Dense {
    /// `[out, in]`
    #[cfg_attr(feature = "native", serde(with = "crate::serial::tensor"))]
    pub weight: Arc<Tensor>,
    /// `[out]`
    #[cfg_attr(feature = "native", serde(with = "crate::serial::optional"))]
    pub bias: Option<Arc<Tensor>>,
    /// Applied to the output.
    pub activation: HeadActivation,
}

/// A function at the end of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "native", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "native", serde(rename_all = "snake_case", deny_unknown_fields))]
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
#[cfg_attr(feature = "native", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "native", serde(rename_all = "snake_case", deny_unknown_fields))]
pub enum MergeOp {
    /// Sum of all.
    Add,
    /// First minus second.
    Subtract,
    /// Product of all; with masks, dead positions count as 1 (Keras).
    Multiply,
    /// Mean of all.
    Average,
    /// The largest of all; a NaN gives NaN.
    Maximum,
    /// The smallest of all; a NaN gives NaN.
    Minimum,
    /// First divided by second.
    Divide,
    /// 1 where first and second are equal, else 0.
    Equal,
    /// 1 where the first is less than the second, else 0.
    Less,
    /// The first where the second is not 0, else 0, whatever the first holds there.
    Mask,
}

/// An operation on masks: values that are 1 at live positions and 0 at dead ones.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "native", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "native", serde(rename_all = "snake_case", deny_unknown_fields))]
pub enum MaskOp {
    /// 1 where the input differs from a value.
    NotEqual {
        /// The value that marks dead positions.
        #[cfg_attr(feature = "native", serde(with = "crate::serial::float"))]
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
#[cfg_attr(feature = "native", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "native", serde(rename_all = "snake_case", deny_unknown_fields))]
pub struct BatchNormalization {
    /// The axis of the channels (counted from the end where negative).
    pub axis: i64,
    /// `[channels]`
    #[cfg_attr(feature = "native", serde(with = "crate::serial::optional"))]
    pub gamma: Option<Arc<Tensor>>,
    /// `[channels]`
    #[cfg_attr(feature = "native", serde(with = "crate::serial::optional"))]
    pub beta: Option<Arc<Tensor>>,
    /// `[channels]`
    #[cfg_attr(feature = "native", serde(with = "crate::serial::tensor"))]
    pub moving_mean: Arc<Tensor>,
    /// `[channels]`
    #[cfg_attr(feature = "native", serde(with = "crate::serial::tensor"))]
    pub moving_variance: Arc<Tensor>,
    /// Added to the variance.
    #[cfg_attr(feature = "native", serde(with = "crate::serial::float"))]
    pub epsilon: f32,
}

/// Weights and options of a layer normalisation.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "native", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "native", serde(rename_all = "snake_case", deny_unknown_fields))]
pub struct LayerNormalization {
    /// The axes normalised together, neighbours in ascending order (counted from the end where negative).
    pub axes: Vec<i64>,
    /// The axes' shape.
    #[cfg_attr(feature = "native", serde(with = "crate::serial::optional"))]
    pub gamma: Option<Arc<Tensor>>,
    /// The axes' shape.
    #[cfg_attr(feature = "native", serde(with = "crate::serial::optional"))]
    pub beta: Option<Arc<Tensor>>,
    /// Added to the variance.
    #[cfg_attr(feature = "native", serde(with = "crate::serial::float"))]
    pub epsilon: f32,
}

impl LayerKind {
    /// The layer's weights: a name that is unique in the layer, the tensor, and whether training
    /// changes it by gradients.
    #[must_use]
    pub fn weights(&self) -> Vec<(Cow<'static, str>, &Arc<Tensor>, bool)> {
        fn present<'a>(
            all: impl IntoIterator<Item = (&'static str, Option<&'a Arc<Tensor>>)>,
        ) -> Vec<(Cow<'static, str>, &'a Arc<Tensor>, bool)> {
            all.into_iter().filter_map(|(name, tensor)| Some((name.into(), tensor?, true))).collect()
        }
        match self {
            Self::Embedding(e) => present([("table", Some(&e.table))]),
            Self::Recurrent(r) => r.weights(""),
            Self::Bidirectional(b) => [b.forward.weights("forward "), b.backward.weights("backward ")].concat(),
            Self::Stacked(all) => {
                all.iter().enumerate().flat_map(|(index, r)| r.weights(&format!("cell {index} "))).collect()
            }
            Self::Dense(d) => present([("weight", Some(&d.weight)), ("bias", d.bias.as_ref())]),
            Self::Conv1d(c) => present([("weight", Some(&c.weight)), ("bias", c.bias.as_ref())]),
            Self::TimeDistributed(inner) => inner.weights(),
            Self::Constant(tensor) => present([("value", Some(tensor))]),
            Self::BatchNormalization(n) => {
                let mut all = present([("gamma", n.gamma.as_ref()), ("beta", n.beta.as_ref())]);
                all.push(("moving_mean".into(), &n.moving_mean, false));
                all.push(("moving_variance".into(), &n.moving_variance, false));
                all
            }
            Self::LayerNormalization(n) => present([("gamma", n.gamma.as_ref()), ("beta", n.beta.as_ref())]),
            _ => Vec::new(),
        }
    }

    /// The weights, in the order of [`weights`](Self::weights).
    pub(crate) fn weights_mut(&mut self) -> Vec<&mut Arc<Tensor>> {
        match self {
            Self::Embedding(e) => vec![&mut e.table],
            Self::Recurrent(r) => r.weights_mut(),
            Self::Bidirectional(b) => {
                let mut all = b.forward.weights_mut();
                all.extend(b.backward.weights_mut());
                all
            }
            Self::Stacked(all) => all.iter_mut().flat_map(Recurrent::weights_mut).collect(),
            Self::Dense(d) => [Some(&mut d.weight), d.bias.as_mut()].into_iter().flatten().collect(),
            Self::Conv1d(c) => [Some(&mut c.weight), c.bias.as_mut()].into_iter().flatten().collect(),
            Self::TimeDistributed(inner) => inner.weights_mut(),
            Self::Constant(tensor) => vec![tensor],
            Self::BatchNormalization(n) => {
                let all = [n.gamma.as_mut(), n.beta.as_mut(), Some(&mut n.moving_mean), Some(&mut n.moving_variance)];
                all.into_iter().flatten().collect()
            }
            Self::LayerNormalization(n) => [n.gamma.as_mut(), n.beta.as_mut()].into_iter().flatten().collect(),
            _ => Vec::new(),
        }
    }

    /// Whether the layer arranges values or looks at windows of them: those of ONNX, and of layers that are
    /// made of several.
    pub(crate) fn arranges(&self) -> bool {
        matches!(
            self,
            Self::Constant(_)
                | Self::Ramp { .. }
                | Self::Permute { .. }
                | Self::Slice { .. }
                | Self::ReshapeTo { .. }
                | Self::Expand { .. }
                | Self::Pad { .. }
                | Self::Reduce { .. }
                | Self::MatMul { .. }
                | Self::Take
                | Self::LengthMask
                | Self::ReverseSequence
                | Self::Conv1d(_)
                | Self::Pool1d(_)
                | Self::MaskOf
                | Self::CarryMask
        )
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
            Self::Stacked(all) => all.iter().any(|r| r.stateful),
            _ => false,
        }
    }
}
