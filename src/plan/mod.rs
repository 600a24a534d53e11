//! [`Plan`]: what must be done to run a model, as data. Buffers with symbolic shapes, weights, and
//! an ordered list of steps; every executor walks the same plan. It can be printed and tested
//! without a GPU.
//!
//! Every buffer holds f32 values in row-major order. Token ids and masks are numbers too: an id is
//! exact up to [`MAX_ID`], a mask is 1 at live positions and 0 at dead ones.

mod bind;
mod check;
mod cost;
mod lower;
mod query;
mod rewrite;
pub mod rows;

use std::{borrow::Cow, sync::Arc};

pub use bind::Bound;
#[cfg(feature = "gpu")]
pub(crate) use cost::{Estimate, Part};
pub use lower::{Carry, PlanOptions};
pub use rewrite::Rewrites;

use crate::{
    activation::Activation,
    cell::{Cell, CellParams},
    dim::{Dim, Symbol},
    float16::Float16,
    int8,
    layout::Layout,
    tensor::Tensor,
};
pub use crate::{
    cell::DeadTimesteps,
    dim::{Condition, Derived, Relation},
    tensor::{MAX_ID, MAX_RANK},
};

/// Index into [`Plan::buffers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BufferId(pub(crate) usize);

impl BufferId {
    /// Element `index` of [`Plan::buffers`].
    #[must_use]
    pub const fn new(index: usize) -> Self {
        Self(index)
    }

    /// The index into [`Plan::buffers`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.0
    }
}

/// Index into [`Plan::weights`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WeightId(pub(crate) usize);

impl WeightId {
    /// Element `index` of [`Plan::weights`].
    #[must_use]
    pub const fn new(index: usize) -> Self {
        Self(index)
    }

    /// The index into [`Plan::weights`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.0
    }
}

/// What must be done to run a model.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Names of the symbols, by index; the first is the batch size.
    pub symbols: Vec<String>,
    /// Values that stay the same from run to run.
    pub weights: Vec<Weight>,
    /// Values that each run computes.
    pub buffers: Vec<Buffer>,
    /// What to compute, in order. A step reads buffers that earlier steps, inputs or states wrote.
    pub steps: Vec<Step>,
    /// What the caller gives, in the model's order.
    pub inputs: Vec<InputPort>,
    /// What the caller gets, in the model's order.
    pub outputs: Vec<OutputPort>,
    /// States that are carried from run to run.
    pub states: Vec<StatePort>,
    /// Symbols that no input binds, but that others give, in the order in which they depend on each other.
    pub derived: Vec<(Symbol, Derived)>,
    /// What the model needs of sizes that only a run can tell.
    pub conditions: Vec<Condition>,
}

/// Values that stay the same from run to run.
#[derive(Clone, Debug)]
pub struct Weight {
    /// Layer and tensor, for messages and labels.
    pub name: String,
    /// The values as the model has them, f32. Executors compute with [`values`](Self::values).
    pub tensor: Arc<Tensor>,
    /// How it is stored. Every executor computes with the values that are stored, rounded as they are.
    pub precision: Precision,
}

impl Weight {
    /// The values that executors compute with, row-major: rounded as they are stored.
    #[must_use]
    pub fn values(&self) -> Cow<'_, [f32]> {
        self.precision.rounded(self.tensor.to_f32(), self.tensor.shape().last().copied().unwrap_or(1))
    }
}

/// How weights are stored on a device. Sums and states are f32 whatever the storage, and biases are stored as f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// Matrices and tables as 16-bit floats: half the memory.
    F16,
    /// Matrices and tables as bfloat16, the upper half of an f32: half the memory, too, with the range of f32 and errors eight
    /// times those of f16.
    Bf16,
    /// Matrices and tables as 8-bit integers with an f32 scale for each row (of a gate's unit, an output, an id): a
    /// quarter of the memory. A weight is rounded to the nearest of 255 multiples of its row's largest / 127.
    I8,
}

impl Precision {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::F32, Self::F16, Self::Bf16, Self::I8];

    /// Rows of `columns` values as they are stored.
    pub(crate) fn rounded(self, values: Cow<'_, [f32]>, columns: usize) -> Cow<'_, [f32]> {
        match self {
            Self::F32 => values,
            Self::F16 => values.iter().map(|&value| Float16::F16.rounded(value)).collect(),
            Self::Bf16 => values.iter().map(|&value| Float16::Bf16.rounded(value)).collect(),
            Self::I8 => int8::rounded(&values, columns).into(),
        }
    }
}

/// A tensor that a run computes.
#[derive(Clone, Debug)]
pub struct Buffer {
    /// Layer and role, for messages and labels.
    pub name: String,
    /// Its shape; `[batch, ...]`.
    pub shape: Vec<Dim>,
    /// Another buffer whose values these are, seen under another shape of the same size.
    pub view_of: Option<BufferId>,
}

/// A tensor that the caller gives.
#[derive(Clone, Debug)]
pub struct InputPort {
    /// The model's name for it.
    pub name: String,
    /// Where its values go.
    pub buffer: BufferId,
    /// If the values are token ids: the table's rows and the layer that looks them up.
    pub ids: Option<(usize, String)>,
    /// If the values are lengths: what none may exceed and the layer that needs them.
    pub lengths: Option<(Dim, String)>,
    /// Whether this is the mask `[batch, seq_len]` that a ragged batch brings, not an input of the model.
    pub ragged_mask_of: Option<usize>,
    /// The order in which the caller has the axes.
    pub layout: Layout,
    /// Whether zeros take its place where it is not given.
    pub optional: bool,
}

impl InputPort {
    /// A port for `buffer`, which has `rank` axes, in the order that it has here.
    #[must_use]
    pub fn new(name: impl Into<String>, buffer: BufferId, rank: usize) -> Self {
        Self {
            name: name.into(),
            buffer,
            ids: None,
            lengths: None,
            ragged_mask_of: None,
            layout: Layout::identity(rank),
            optional: false,
        }
    }
}

/// A tensor that the caller gets.
#[derive(Clone, Debug)]
pub struct OutputPort {
    /// The model's name for it.
    pub name: String,
    /// Where its values are.
    pub buffer: BufferId,
    /// The order in which the caller gets the axes.
    pub layout: Layout,
}

/// A state that is carried from run to run, `[batch, units]`.
#[derive(Clone, Debug)]
pub struct StatePort {
    /// Layer, direction and state.
    pub name: String,
    /// Where a run reads it; zero in the first run.
    pub initial: BufferId,
    /// Where a run leaves it.
    pub last: BufferId,
}

/// One thing to compute. Buffers' shapes are those of [`Plan::buffers`].
#[derive(Clone, Debug)]
pub struct Step {
    /// The layer it comes from, for messages, labels and profiles.
    pub name: String,
    /// What it computes.
    pub op: Op,
}

/// What a [`Step`] computes. Keras layers and, later, graph nodes lower to these.
#[derive(Clone, Debug)]
pub enum Op {
    /// `output[.., n] = activation(sum_k input[.., k] * weight[n, k] + bias[n])`
    Linear {
        /// `[.., in]`
        input: BufferId,
        /// `[out, in]`
        weight: WeightId,
        /// `[out]`
        bias: Option<WeightId>,
        /// Applied to each element.
        activation: Activation,
        /// `[.., out]`
        output: BufferId,
    },
    /// `output[.., e] = table[ids[..], e]`
    Gather {
        /// `[..]`, whole numbers below the table's rows (checked before the run).
        ids: BufferId,
        /// `[vocabulary, embedding]`
        table: WeightId,
        /// `[.., embedding]`
        output: BufferId,
    },
    /// A recurrent layer over a whole sequence, its input projection included: the executor
    /// hoists the projection, a slice of timesteps at a time, since only it knows its limits.
    Recurrence(Recurrence),
    /// `output[..] = activation(input[..])`
    Map {
        /// `[..]`
        input: BufferId,
        /// Applied to each element.
        activation: Activation,
        /// `[..]`
        output: BufferId,
    },
    /// `output[..] = left[..] op right[..]`, axes of extent 1 repeated; all of one rank.
    Combine {
        /// The operation.
        op: CombineOp,
        /// Broadcasts to the output's shape.
        left: BufferId,
        /// Broadcasts to the output's shape.
        right: BufferId,
        /// `[..]`
        output: BufferId,
    },
    /// `output[..] = weight[..]`, the same for every row: the shape is the weight's, without a batch.
    Constant {
        /// `[..]`; f32 whatever the precision of the plan.
        weight: WeightId,
        /// `[..]`
        output: BufferId,
    },
    /// `output[.., i, ..] = start + step * i`, `i` along `axis`; a step of 0 fills.
    Ramp {
        /// The value at position 0.
        start: f32,
        /// The difference of neighbours.
        step: f32,
        /// The axis along which values change.
        axis: usize,
        /// `[..]`
        output: BufferId,
    },
    /// Transposes: axis `a` of the output is axis `axes[a]` of the input.
    Permute {
        /// `[..]`
        input: BufferId,
        /// Each axis once, the first in its place.
        axes: Vec<usize>,
        /// `[..]`
        output: BufferId,
    },
    /// Copies a block: `extent` positions along `axis`, all of the other axes. An input axis of
    /// extent 1 (other than `axis`) is repeated to the output's extent. Equal ranks.
    Copy {
        /// `[..]`
        input: BufferId,
        /// First position along `axis` that is read.
        input_start: Dim,
        /// From one position that is read to the next: not 0, negative to go backwards.
        input_step: i64,
        /// `[..]`
        output: BufferId,
        /// First position along `axis` that is written.
        output_start: Dim,
        /// The axis along which input and output may differ.
        axis: usize,
        /// Positions copied along `axis`.
        extent: Dim,
    },
    /// `output[b, w, k, c] = input[b, w * stride + k * dilation - before, c]`, `fill` where that is
    /// outside: a convolution is this and a linear step, a pooling this and a reduction.
    Window {
        /// `[rows, len, channels]`
        input: BufferId,
        /// From one window to the next; not 0.
        stride: usize,
        /// From one position of a window to the next; not 0.
        dilation: usize,
        /// Positions of the first window that lie before the input.
        before: Dim,
        /// What is read outside the input.
        fill: f32,
        /// `[rows, windows, width, channels]`
        output: BufferId,
    },
    /// `output[.., m, n] = sum_k left[.., m, k] * right[.., k, n]`, or `right[.., n, k]` if it is
    /// transposed. All of one rank, 3 at least; leading axes of extent 1 are repeated.
    MatMul {
        /// `[.., m, k]`
        left: BufferId,
        /// `[.., k, n]` or, transposed, `[.., n, k]`
        right: BufferId,
        /// Whether the last axis of `right` is the one that is summed over.
        transposed: bool,
        /// `[.., m, n]`
        output: BufferId,
    },
    /// `output[b, i, ..] = input[b, index[b, i], ..]`. An index is rounded to the nearest whole number (half
    /// to even) and moved into the axis where it is outside; NaN counts as 0.
    Take {
        /// `[rows, len, ..]`
        input: BufferId,
        /// `[rows, count]`
        index: BufferId,
        /// `[rows, count, ..]`
        output: BufferId,
    },
    /// Reduces the axis `axis` of `input`; the output has the other axes (and extent 1 there if
    /// its rank is the input's). With a mask `[batch, seq_len]`, only where axis 1 is reduced, dead
    /// positions count neither in the sum nor in the mean's divisor. Of no position at all the sum is
    /// 0, the mean NaN (0 / 0), the maximum negative and the minimum positive infinity.
    Reduce {
        /// The operation.
        op: ReduceOp,
        /// `[..]`
        input: BufferId,
        /// The axis that goes.
        axis: usize,
        /// `[batch, seq_len]`
        mask: Option<BufferId>,
        /// `[..]` without the axis.
        output: BufferId,
    },
    /// Softmax (or its logarithm) along one axis, the maximum subtracted first.
    Softmax {
        /// `[..]`
        input: BufferId,
        /// The axis along which the outputs sum to 1.
        axis: usize,
        /// Whether the logarithm is wanted.
        log: bool,
        /// `[..]`
        output: BufferId,
    },
    /// `(input - mean) / sqrt(variance + epsilon) * gamma + beta`, mean and (population) variance over
    /// the axes `first_axis..first_axis + axes`, which `gamma` and `beta` index.
    LayerNorm {
        /// `[..]`
        input: BufferId,
        /// First axis of the group.
        first_axis: usize,
        /// Number of axes in the group.
        axes: usize,
        /// The group's shape.
        gamma: Option<WeightId>,
        /// The group's shape.
        beta: Option<WeightId>,
        /// Added to the variance.
        epsilon: f32,
        /// `[..]`
        output: BufferId,
    },
    /// `(input - mean) / sqrt(variance + epsilon) * gamma + beta`, one value each per position of `axis`.
    BatchNorm {
        /// `[..]`
        input: BufferId,
        /// The axis of the channels.
        axis: usize,
        /// `[channels]`
        mean: WeightId,
        /// `[channels]`
        variance: WeightId,
        /// `[channels]`
        gamma: Option<WeightId>,
        /// `[channels]`
        beta: Option<WeightId>,
        /// Added to the variance.
        epsilon: f32,
        /// `[..]`
        output: BufferId,
    },
    /// A mask: 1 where any of the `width` last-axis values differs from `value` (a NaN differs), else 0.
    NotEqual {
        /// `[.., width]`
        input: BufferId,
        /// The value that marks dead positions.
        value: f32,
        /// `[..]`; the input's size divided by `width`.
        output: BufferId,
        /// How many consecutive values one output looks at.
        width: usize,
    },
}

/// How [`Op::Combine`] combines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CombineOp {
    /// `left + right`
    Add,
    /// `left - right`
    Subtract,
    /// `left * right`
    Multiply,
    /// `left / right`
    Divide,
    /// The larger; a NaN on either side gives NaN.
    Maximum,
    /// The smaller; a NaN on either side gives NaN.
    Minimum,
    /// 1 where both are equal, else 0; a NaN equals nothing.
    Equal,
    /// 1 where `left` is less than `right`, else 0; a NaN is not less than anything, nor anything less than it.
    Less,
    /// `left` where `right` is not 0, else 0: whatever `left` holds there, a NaN too, is gone.
    Mask,
}

/// How [`Op::Reduce`] reduces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReduceOp {
    /// Sum in order of the axis.
    Sum,
    /// Sum divided by the number of (live) positions.
    Mean,
    /// The largest; a NaN gives NaN.
    Max,
    /// The smallest; a NaN gives NaN.
    Min,
}

/// A recurrent layer over a whole sequence, one or both directions.
#[derive(Clone, Debug)]
pub struct Recurrence {
    /// The cell.
    pub cell: Cell,
    /// What of it the model chose.
    pub params: CellParams,
    /// Units of the cell, per direction.
    pub hidden_size: usize,
    /// Units of the hidden state, which is the output, per direction: `hidden_size`, or at most as
    /// many where it is projected.
    pub output_size: usize,
    /// Features of the input.
    pub input_size: usize,
    /// `[batch, seq_len, input_size]`
    pub input: BufferId,
    /// `[batch, seq_len]`; without one every timestep is live.
    pub mask: Option<BufferId>,
    /// What the output is at dead timesteps.
    pub dead: DeadTimesteps,
    /// One or two; two share cell, functions, sizes, input and mask, and both or neither have
    /// peepholes and a projection.
    pub directions: Vec<Direction>,
    /// The output at every timestep, `[batch, seq_len, directions * output_size]`.
    pub sequence: Option<BufferId>,
    /// The output at the last timestep processed, `[batch, directions * output_size]`.
    pub last: Option<BufferId>,
}

impl Recurrence {
    /// Units of a state of the cell, by its number: `output_size` of the hidden state, else `hidden_size`.
    #[must_use]
    pub fn state_size(&self, state: usize) -> usize {
        if state == 0 { self.output_size } else { self.hidden_size }
    }

    /// Whether the hidden state is projected.
    #[must_use]
    pub fn is_projected(&self) -> bool {
        self.directions.iter().any(|direction| direction.projection.is_some())
    }

    /// Whether gates see the cell state.
    #[must_use]
    pub fn has_peepholes(&self) -> bool {
        self.directions.iter().any(|direction| direction.peephole.is_some())
    }
}

/// One pass over a sequence.
#[derive(Clone, Debug)]
pub struct Direction {
    /// Whether timesteps are processed from the last to the first.
    pub reverse: bool,
    /// Where the output of the timestep that is processed `s`-th goes in `sequence`: to position `s`
    /// or, if this is set, to `seq_len - 1 - s`, as the second layer of a bidirectional one has it.
    pub flipped: bool,
    /// `[gates * hidden_size, input_size]`
    pub weight_ih: WeightId,
    /// `[gates * hidden_size, output_size]`
    pub weight_hh: WeightId,
    /// `[gates * hidden_size]`
    pub bias_ih: Option<WeightId>,
    /// `[gates * hidden_size]`
    pub bias_hh: Option<WeightId>,
    /// `[peepholes * hidden_size]`, in the order of [`CellSpec::peepholes`](crate::cell::CellSpec::peepholes).
    pub peephole: Option<WeightId>,
    /// `[output_size, hidden_size]`: the hidden state is this times what the cell gives.
    pub projection: Option<WeightId>,
    /// Per state of the cell, `[batch, state_size]`; zero without one.
    pub initial: Vec<Option<BufferId>>,
    /// Per state of the cell, `[batch, state_size]`: its value after the last live timestep.
    pub finals: Vec<Option<BufferId>>,
}
