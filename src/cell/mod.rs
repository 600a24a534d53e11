//! The recurrent cells. A cell is a pointwise function of its gates' pre-activations and its
//! states; the drivers (one per executor) own the products, the masks and the loop over time.
//!
//! Pre-activations from the input, `gates_x = weight_ih x + bias_ih`, and from the hidden state,
//! `gates_h = weight_hh h + bias_hh`, stay apart, so that all cells share one signature.

mod gru;
mod gru_reset_before;
mod lstm;
mod rnn;

use std::marker::PhantomData;

use crate::{
    activation::Activation,
    simd::{Task, dispatch},
};

/// The most gates that a cell may have.
pub const MAX_GATES: usize = 4;
/// The most states that a cell may have.
pub const MAX_STATES: usize = 2;
/// The most peephole weights that a unit may have.
pub const MAX_PEEPHOLES: usize = 3;

/// A kind of recurrent cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "native", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "native", serde(rename_all = "snake_case", deny_unknown_fields))]
pub enum Cell {
    /// Elman's simple recurrent network.
    Rnn,
    /// Long short-term memory.
    Lstm,
    /// Gated recurrent unit that resets after the recurrent product (Keras' `reset_after`, PyTorch).
    Gru,
    /// Gated recurrent unit that resets the hidden state before the recurrent product.
    GruResetBefore,
}

impl Cell {
    /// Every cell.
    pub const ALL: [Self; 4] = [Self::Rnn, Self::Lstm, Self::Gru, Self::GruResetBefore];

    /// The description that the drivers work from.
    #[must_use]
    pub fn spec(self) -> &'static CellSpec {
        match self {
            Self::Rnn => &rnn::SPEC,
            Self::Lstm => &lstm::SPEC,
            Self::Gru => &gru::SPEC,
            Self::GruResetBefore => &gru_reset_before::SPEC,
        }
    }
}

/// What a driver needs to know of a cell.
#[derive(Debug)]
pub struct CellSpec {
    /// Name, in file names and messages.
    pub name: &'static str,
    /// Gates in the order of the stacked weights: gate `g` of unit `u` is row `g * hidden_size + u`.
    pub gates: &'static [&'static str],
    /// Carried states, `[batch, hidden_size]` each. The first is the hidden state, which is the output.
    pub states: &'static [&'static str],
    /// For cells that need a second recurrent product per timestep: the gate that scales the hidden
    /// state before the product of the gate `reset_target` is taken.
    pub reset: Option<Reset>,
    /// The gates that may see the cell state, in the order of the peephole weights: weight `p` of
    /// unit `u` is value `p * hidden_size + u`. None where the cell has no peepholes.
    pub peepholes: &'static [&'static str],
    /// Whether [`CellParams::coupled`] means something to it.
    pub can_couple: bool,
    /// Whether its hidden state may be projected: its update does not read its own unit of it.
    pub can_project: bool,
    /// The cell's WGSL: `NUM_GATES`, `NUM_STATES`, `RESET_GATE`, `RESET_TARGET`, `cell_update()`.
    pub wgsl: &'static str,
    /// One unit, one timestep, f64: the specification.
    pub update: UpdateUnit,
    /// All units of one row, one timestep, f32.
    pub update_row: UpdateRow,
}

/// `[gates]`, `[gates]`, `[states]`, and the unit's peephole weights, if it has any.
pub type UpdateUnit =
    fn(gates_x: &[f64], gates_h: &[f64], state: &mut [f64], peephole: Option<[f64; MAX_PEEPHOLES]>, &CellParams);

/// `[gates, hidden_size]`, `[gates, hidden_size]`, `[states, hidden_size]`, `[peepholes, hidden_size]`.
pub type UpdateRow =
    fn(gates_x: &[f32], gates_h: &[f32], state: &mut [f32], peephole: Option<&[f32]>, params: &CellParams);

/// One row of one timestep; see [`UpdateRow`].
struct Row<'a> {
    x: &'a [f32],
    h: &'a [f32],
    state: &'a mut [f32],
    peephole: Option<&'a [f32]>,
    p: &'a CellParams,
}

/// A cell whose rows are updated with the processor's widest instructions.
trait UpdateRows {
    /// All units of a row. `#[inline(always)]`, as all that it calls: see [`Task::run`].
    fn row(row: Row<'_>);
}

fn update_row<C: UpdateRows>(x: &[f32], h: &[f32], state: &mut [f32], peephole: Option<&[f32]>, p: &CellParams) {
    dispatch(Update::<C>(Row { x, h, state, peephole, p }, PhantomData));
}

struct Update<'a, C>(Row<'a>, PhantomData<C>);

impl<C: UpdateRows> Task for Update<'_, C> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        C::row(self.0);
    }
}

/// The extra stage of a cell that resets the hidden state before a recurrent product.
#[derive(Clone, Copy, Debug)]
pub struct Reset {
    /// The gate whose value `r = gate(gates_x + gates_h)` scales the hidden state.
    pub gate: usize,
    /// The gate whose recurrent product takes `r * h` in place of `h`.
    pub target: usize,
}

/// What of a cell a model may choose.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "native", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "native", serde(rename_all = "snake_case", deny_unknown_fields))]
pub struct CellParams {
    /// Of the gates (Keras' `recurrent_activation`); unused by the simple RNN.
    pub gate: Activation,
    /// Of the candidate (Keras' `activation`).
    pub candidate: Activation,
    /// Of the cell state on its way out (LSTM only; Keras' `activation` again).
    pub output: Activation,
    /// Bounds what `gate` and `candidate` are given to `-clip..=clip`: whole sums, biases and
    /// peepholes included, but not what `output` is given. Above 0. (ONNX Runtime's reading of `clip`.)
    #[cfg_attr(feature = "native", serde(with = "crate::serial::optional_float"))]
    pub clip: Option<f32>,
    /// Whether the forget gate is `1 - i` of the input gate `i`, whatever its weights (LSTM only;
    /// ONNX' `input_forget`).
    pub coupled: bool,
}

impl CellParams {
    /// Keras' `activation` and `recurrent_activation`.
    #[must_use]
    pub fn new(activation: Activation, recurrent_activation: Activation) -> Self {
        Self { gate: recurrent_activation, candidate: activation, output: activation, clip: None, coupled: false }
    }

    /// The function of the gates, of a sum that is clipped first.
    #[must_use]
    pub fn gate_f64(&self, sum: f64) -> f64 {
        self.gate.apply_f64(self.clip.map_or(sum, |clip| clipped_f64(sum, clip)))
    }

    /// The function of the candidate, of a sum that is clipped first.
    #[must_use]
    pub fn candidate_f64(&self, sum: f64) -> f64 {
        self.candidate.apply_f64(self.clip.map_or(sum, |clip| clipped_f64(sum, clip)))
    }

    /// [`gate_f64`](Self::gate_f64) in f32.
    #[must_use]
    pub fn gate_f32(&self, sum: f32) -> f32 {
        self.gate.apply_f32(self.clip.map_or(sum, |clip| clipped_f32(sum, clip)))
    }

    /// [`candidate_f64`](Self::candidate_f64) in f32.
    #[must_use]
    pub fn candidate_f32(&self, sum: f32) -> f32 {
        self.candidate.apply_f32(self.clip.map_or(sum, |clip| clipped_f32(sum, clip)))
    }

    /// Replaces each sum by its [`gate_f32`](Self::gate_f32), the same bits, faster.
    pub fn gate_slice_f32(&self, sums: &mut [f32]) {
        if let Some(clip) = self.clip {
            sums.iter_mut().for_each(|sum| *sum = clipped_f32(*sum, clip));
        }
        self.gate.apply_slice_f32(sums);
    }
}

/// `x` in `-clip..=clip`; a NaN stays one.
fn clipped_f64(x: f64, clip: f32) -> f64 {
    let clip = f64::from(clip);
    if x > clip {
        clip
    } else if x < -clip {
        -clip
    } else {
        x
    }
}

/// [`clipped_f64`] in f32.
fn clipped_f32(x: f32, clip: f32) -> f32 {
    if x > clip {
        clip
    } else if x < -clip {
        -clip
    } else {
        x
    }
}

impl Default for CellParams {
    fn default() -> Self {
        Self::new(Activation::Tanh, Activation::Sigmoid)
    }
}

/// What the output of a recurrent layer is at dead timesteps. States are always carried over them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "native", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "native", serde(rename_all = "snake_case", deny_unknown_fields))]
pub enum DeadTimesteps {
    /// The previous output; zero before the first live timestep, also as the last output of a row
    /// without any (Keras on TensorFlow and PyTorch).
    #[default]
    RepeatOutput,
    /// The hidden state; the initial one before the first live timestep (Keras on JAX and NumPy).
    RepeatState,
    /// Zero (Keras' `zero_output_for_mask`, ONNX, unpacked PyTorch sequences).
    Zero,
}
