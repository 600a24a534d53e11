//! The recurrent cells. A cell is a pointwise function of its gates' pre-activations and its
//! states; the drivers (one per executor) own the products, the masks and the loop over time.
//!
//! Pre-activations from the input, `gates_x = weight_ih x + bias_ih`, and from the hidden state,
//! `gates_h = weight_hh h + bias_hh`, stay apart, so that all cells share one signature.

mod gru;
mod gru_reset_before;
mod lstm;
mod rnn;

use crate::{
    activation::Activation,
    simd::{Line, Simd},
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

    /// Does `task` for this cell.
    pub(crate) fn dispatch<T: CellTask>(self, task: T) -> T::Output {
        match self {
            Self::Rnn => task.run::<rnn::Rnn>(),
            Self::Lstm => task.run::<lstm::Lstm>(),
            Self::Gru => task.run::<gru::Gru>(),
            Self::GruResetBefore => task.run::<gru_reset_before::GruResetBefore>(),
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
    /// state before the product of another one is taken.
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
}

impl CellSpec {
    /// How many gates have their recurrent product before the hidden state is reset; none where it never is.
    #[inline(always)]
    pub(crate) fn gates_before_reset(&self) -> usize {
        self.reset.map_or(0, |reset| reset.target)
    }

    /// How many have it at the end of a timestep: the others.
    #[inline(always)]
    pub(crate) fn late_gates(&self) -> usize {
        self.gates.len() - self.gates_before_reset()
    }
}

/// `[gates]`, `[gates]`, `[states]`, and the unit's peephole weights, if it has any.
pub type UpdateUnit =
    fn(gates_x: &[f64], gates_h: &[f64], state: &mut [f64], peephole: Option<[f64; MAX_PEEPHOLES]>, &CellParams);

/// A cell as the CPU computes it: 16 units side by side, f32.
pub(crate) trait VectorCell {
    const SPEC: &'static CellSpec;

    /// One timestep of 16 units of a row, `state` and what is given by the order of [`CellSpec::states`].
    /// `#[inline(always)]`, as all that it calls: see [`Task::run`](crate::simd::Task::run).
    fn update<S: Simd>(
        s: S,
        gates: &Gates<'_>,
        state: [S::Lanes; MAX_STATES],
        p: &CellParams,
    ) -> [S::Lanes; MAX_STATES];
}

/// The pre-activations of 16 units of a row, a line for each gate.
pub(crate) struct Gates<'a> {
    pub(crate) x: &'a [Line],
    pub(crate) h: &'a [Line],
    /// Of the gates after those of `h`: the products of the reset hidden state.
    pub(crate) reset_h: &'a [Line],
    /// A line for each of [`CellSpec::peepholes`], if there are any.
    pub(crate) peephole: Option<&'a [Line]>,
}

impl Gates<'_> {
    #[inline(always)]
    fn x<S: Simd>(&self, s: S, gate: usize) -> S::Lanes {
        s.load(&self.x[gate].0)
    }

    #[inline(always)]
    fn h<S: Simd>(&self, s: S, gate: usize) -> S::Lanes {
        let of = if gate < self.h.len() { &self.h[gate] } else { &self.reset_h[gate - self.h.len()] };
        s.load(&of.0)
    }

    /// `x + h` of a gate.
    #[inline(always)]
    pub(crate) fn sum<S: Simd>(&self, s: S, gate: usize) -> S::Lanes {
        s.add(self.x(s, gate), self.h(s, gate))
    }

    /// `x + h` of a gate, and what it sees of the cell state `c`.
    #[inline(always)]
    fn sum_seen<S: Simd>(&self, s: S, gate: usize, peephole: usize, c: S::Lanes) -> S::Lanes {
        let sum = self.sum(s, gate);
        match self.peephole {
            Some(weights) => s.mul_add(s.load(&weights[peephole].0), c, sum),
            None => sum,
        }
    }
}

/// Work for one cell, compiled for it.
pub(crate) trait CellTask {
    /// What it gives.
    type Output;

    /// Does it.
    fn run<C: VectorCell>(self) -> Self::Output;
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

    /// [`gate_f64`](Self::gate_f64) of 16 sums, in f32.
    #[inline(always)]
    pub(crate) fn gate<S: Simd>(&self, s: S, sums: S::Lanes) -> S::Lanes {
        self.gate.lanes(s, self.clipped(s, sums))
    }

    /// [`candidate_f64`](Self::candidate_f64) of 16 sums, in f32.
    #[inline(always)]
    pub(crate) fn candidate<S: Simd>(&self, s: S, sums: S::Lanes) -> S::Lanes {
        self.candidate.lanes(s, self.clipped(s, sums))
    }

    #[inline(always)]
    fn clipped<S: Simd>(&self, s: S, sums: S::Lanes) -> S::Lanes {
        let Some(clip) = self.clip else { return sums };
        s.at_least(s.at_most(sums, s.splat(clip)), s.splat(-clip))
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
