//! What runs a layer, whichever runtime it is.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::{
    case::{Case, Sizes},
    order::swapped,
};

/// A layer in a runtime.
pub(crate) trait Layer {
    /// An array of the runtime.
    type Array;

    /// Whether a whole sequence is `[seq_len, batch, features]` to it, not `[batch, seq_len, features]`.
    const TIME_FIRST: bool;

    /// All outputs, from the whole `x`.
    fn whole(&mut self, x: &[f32]) -> Result<Self::Array>;

    /// States of zeros: the hidden one, and the LSTM's cell state.
    fn zeros(&self) -> Result<Vec<Self::Array>>;

    /// The states after a timestep, from `x` of it, `[batch, input_size]`, and those before it.
    fn step(&mut self, x: &[f32], states: Vec<Self::Array>) -> Result<Vec<Self::Array>>;

    /// The values of an array of as many as `into` has.
    fn read(&self, array: &Self::Array, into: &mut [f32]) -> Result<()>;
}

/// A layer with its input and output.
pub(crate) struct Opened<L: Layer> {
    layer: L,
    sizes: Sizes,
    x: Vec<f32>,
    y: Y<L::Array>,
}

enum Y<A> {
    /// Of a whole sequence, as the runtime gave it.
    Whole(Option<A>),
    /// Of a stream: `[seq_len, batch, hidden_size]`.
    Stream(Vec<f32>),
}

/// A layer of any runtime.
pub(crate) trait Runs {
    /// Seconds of each of `runs` runs.
    fn run(&mut self, runs: usize) -> Result<Vec<f64>>;

    /// What the last one gave: `[batch, seq_len, hidden_size]`.
    fn output(&self) -> Result<Vec<f32>>;
}

impl<L: Layer> Opened<L> {
    pub(crate) fn new(layer: L, case: &Case) -> Self {
        let sizes = case.sizes;
        let Sizes { hidden, batch, seq_len, stream, .. } = sizes;
        let y = if stream { Y::Stream(vec![0.0; seq_len * batch * hidden]) } else { Y::Whole(None) };
        let time_first = stream || L::TIME_FIRST;
        let x = if time_first { swapped(&case.x, batch, seq_len) } else { case.x.clone() };
        Self { layer, sizes, x, y }
    }

    fn once(&mut self) -> Result<()> {
        let Sizes { hidden, input_size, batch, .. } = self.sizes;
        match &mut self.y {
            Y::Whole(y) => *y = Some(self.layer.whole(&self.x)?),
            Y::Stream(y) => {
                let mut states = self.layer.zeros()?;
                let x = self.x.chunks_exact(batch * input_size);
                for (x, y) in x.zip(y.chunks_exact_mut(batch * hidden)) {
                    states = self.layer.step(x, states)?;
                    self.layer.read(states.first().context("no states")?, y)?;
                }
            }
        }
        Ok(())
    }
}

impl<L: Layer> Runs for Opened<L> {
    fn run(&mut self, runs: usize) -> Result<Vec<f64>> {
        let mut seconds = Vec::new();
        for _ in 0..runs {
            let started = Instant::now();
            self.once()?;
            seconds.push(started.elapsed().as_secs_f64());
        }
        Ok(seconds)
    }

    fn output(&self) -> Result<Vec<f32>> {
        let Sizes { hidden, batch, seq_len, .. } = self.sizes;
        match &self.y {
            Y::Stream(y) => Ok(swapped(y, seq_len, batch)),
            Y::Whole(y) => {
                let mut values = vec![f32::NAN; batch * seq_len * hidden];
                self.layer.read(y.as_ref().context("no run yet")?, &mut values)?;
                Ok(if L::TIME_FIRST { swapped(&values, seq_len, batch) } else { values })
            }
        }
    }
}

/// For [`Layer::read`]: `from` into `into`, if they have as many values.
pub(crate) fn copy(from: &[f32], into: &mut [f32]) -> Result<()> {
    anyhow::ensure!(from.len() == into.len(), "the output has {} values, not {}", from.len(), into.len());
    into.copy_from_slice(from);
    Ok(())
}
