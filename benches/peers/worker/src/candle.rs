//! candle's LSTM and GRU.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Storage, Tensor};
use candle_nn::{
    VarBuilder,
    rnn::{GRU, GRUConfig, GRUState, LSTM, LSTMConfig, LSTMState, RNN},
};

use crate::{
    case::{Case, Cell, Sizes},
    layer::{Layer, copy},
};

pub(crate) struct Candle {
    rnn: Rnn,
    sizes: Sizes,
}

enum Rnn {
    Lstm(LSTM),
    Gru(GRU),
}

impl Candle {
    pub(crate) fn new(case: &Case) -> Result<Self> {
        let Sizes { cell, hidden, input_size, .. } = case.sizes;
        let rows = cell.gates() * hidden;
        let tensor = |values: &[f32], shape: &[usize]| Tensor::from_slice(values, shape, &Device::Cpu);
        let weights = HashMap::from([
            ("weight_ih_l0".to_owned(), tensor(&case.weight_ih, &[rows, input_size])?),
            ("weight_hh_l0".to_owned(), tensor(&case.weight_hh, &[rows, hidden])?),
            ("bias_ih_l0".to_owned(), tensor(&case.bias_ih, &[rows])?),
            ("bias_hh_l0".to_owned(), tensor(&case.bias_hh, &[rows])?),
        ]);
        let weights = VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu);
        let rnn = match cell {
            Cell::Lstm => Rnn::Lstm(LSTM::new(input_size, hidden, LSTMConfig::default(), weights)?),
            Cell::Gru => Rnn::Gru(GRU::new(input_size, hidden, GRUConfig::default(), weights)?),
        };
        Ok(Self { rnn, sizes: case.sizes })
    }
}

impl Layer for Candle {
    type Array = Tensor;
    const TIME_FIRST: bool = false;

    fn whole(&mut self, x: &[f32]) -> Result<Tensor> {
        let x = Tensor::from_slice(x, (self.sizes.batch, self.sizes.seq_len, self.sizes.input_size), &Device::Cpu)?;
        Ok(match &self.rnn {
            Rnn::Lstm(rnn) => rnn.states_to_tensor(&rnn.seq(&x)?)?,
            // Its outputs stand side by side, [batch, seq_len * hidden_size], which is the same array.
            Rnn::Gru(rnn) => rnn.states_to_tensor(&rnn.seq(&x)?)?,
        })
    }

    fn zeros(&self) -> Result<Vec<Tensor>> {
        Ok(match &self.rnn {
            Rnn::Lstm(rnn) => of_lstm(rnn.zero_state(self.sizes.batch)?),
            Rnn::Gru(rnn) => vec![rnn.zero_state(self.sizes.batch)?.h],
        })
    }

    fn step(&mut self, x: &[f32], states: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let x = Tensor::from_slice(x, (self.sizes.batch, self.sizes.input_size), &Device::Cpu)?;
        let mut states = states.into_iter();
        let mut state = || states.next().context("a state is missing");
        Ok(match &self.rnn {
            Rnn::Lstm(rnn) => of_lstm(rnn.step(&x, &LSTMState::new(state()?, state()?))?),
            Rnn::Gru(rnn) => vec![rnn.step(&x, &GRUState { h: state()? })?.h],
        })
    }

    fn read(&self, array: &Tensor, into: &mut [f32]) -> Result<()> {
        let array = array.contiguous()?;
        let (storage, layout) = array.storage_and_layout();
        let (Storage::Cpu(storage), Some((from, to))) = (&*storage, layout.contiguous_offsets()) else {
            bail!("the output is no contiguous array on the CPU");
        };
        copy(storage.as_slice()?.get(from..to).context("the output is short")?, into)
    }
}

fn of_lstm(state: LSTMState) -> Vec<Tensor> {
    vec![state.h, state.c]
}
