//! Layers of fixed weights.

use std::{sync::Arc, time::Instant};

use wgpu_rnn::{
    Device, Model, Session, SessionOptions, Tensor,
    cell::Cell,
    model::{LayerKind, Recurrent},
    plan::Precision,
};

use crate::Result;

/// A layer, and the rows and timesteps of a step.
pub struct Work {
    pub name: &'static str,
    pub cell: Cell,
    pub hidden_size: usize,
    pub input_size: usize,
    pub batch: usize,
    pub seq_len: usize,
    pub weights: Precision,
    /// Whether products with int8 weights are of integers.
    pub integers: bool,
    /// Whether inputs, and so states, are as near to 0 as the end of a sound that fades.
    pub faint: bool,
}

/// As many inputs as units.
pub const fn work(name: &'static str, cell: Cell, hidden_size: usize, batch: usize, seq_len: usize) -> Work {
    let (weights, integers, faint) = (Precision::F32, false, false);
    Work { name, cell, hidden_size, input_size: hidden_size, batch, seq_len, weights, integers, faint }
}

/// What is counted and timed.
pub const ALL: [Work; 18] = [
    work("lstm-8", Cell::Lstm, 8, 1, 1),
    work("gru-8", Cell::Gru, 8, 1, 1),
    work("lstm-64", Cell::Lstm, 64, 1, 1),
    Work { faint: true, ..work("lstm-64-faint", Cell::Lstm, 64, 1, 1) },
    work("gru-64", Cell::Gru, 64, 1, 1),
    work("rnn-64", Cell::Rnn, 64, 1, 1),
    work("gru-reset-before-64", Cell::GruResetBefore, 64, 1, 1),
    work("lstm-256", Cell::Lstm, 256, 1, 1),
    Work { weights: Precision::F16, ..work("lstm-256-f16", Cell::Lstm, 256, 1, 1) },
    Work { weights: Precision::Bf16, ..work("lstm-256-bf16", Cell::Lstm, 256, 1, 1) },
    Work { weights: Precision::I8, ..work("lstm-256-i8", Cell::Lstm, 256, 1, 1) },
    work("lstm-512", Cell::Lstm, 512, 1, 1),
    Work { weights: Precision::Bf16, ..work("lstm-512-bf16", Cell::Lstm, 512, 1, 1) },
    Work { weights: Precision::I8, integers: true, ..work("lstm-512-i8-integers", Cell::Lstm, 512, 1, 1) },
    work("lstm-8-block-64", Cell::Lstm, 8, 1, 64),
    work("lstm-128-batch-2", Cell::Lstm, 128, 2, 4),
    work("gru-128-batch-4", Cell::Gru, 128, 4, 4),
    Work { input_size: 32, ..work("lstm-128-batch-16", Cell::Lstm, 128, 16, 4) },
];

/// The same numbers every time.
fn tensor(shape: &[usize], scale: f32) -> Result<Arc<Tensor>> {
    let value = |index: usize| ((index * 7919 + 104_729) % 2003) as f32 / 1001.5 - 1.0;
    let values: Vec<f32> = (0..shape.iter().product()).map(|index| value(index) * scale).collect();
    Ok(Arc::new(Tensor::new(shape, values)?))
}

impl Work {
    fn session(&self) -> Result<Session> {
        let (rows, scale) = (self.cell.spec().gates.len() * self.hidden_size, 1.0 / (self.hidden_size as f32).sqrt());
        let bias = || if self.faint { Ok(None) } else { tensor(&[rows], scale).map(Some) };
        let layer = Recurrent {
            bias_ih: bias()?,
            bias_hh: bias()?,
            stateful: true,
            ..Recurrent::new(
                self.cell,
                tensor(&[rows, self.input_size], scale)?,
                tensor(&[rows, self.hidden_size], scale)?,
            )
        };
        let mut model = Model::builder(self.name);
        let x = model.input("x", &[None, Some(self.input_size)])?;
        let y = model.add("layer", LayerKind::Recurrent(layer), &[x])?;
        model.output("y", y)?;
        let mut options = SessionOptions::on(Device::Cpu);
        options.weights = self.weights;
        options.integer_arithmetic = self.integers;
        Ok(Session::new(&model.build()?, options)?)
    }

    /// Makes so many steps, in each of some turns. Gives the seconds of a timestep in the fastest turn.
    pub fn stream(&self, steps: usize, turns: usize) -> Result<f64> {
        let shape = vec![self.batch, self.seq_len, self.input_size];
        let x = tensor(&shape, if self.faint { 1e-39 } else { 1.0 })?.to_f32().into_owned();
        let mut stream = self.session()?.stream(&[shape])?;
        let mut y = vec![0.0; self.batch * self.seq_len * self.hidden_size];
        let mut least = f64::INFINITY;
        for _ in 0..turns {
            let start = Instant::now();
            for _ in 0..steps {
                stream.step(&[&x], &mut [&mut y])?;
            }
            least = least.min(start.elapsed().as_secs_f64() / (steps * self.seq_len) as f64);
        }
        Ok(least)
    }

    /// Bytes of the weights of both products.
    pub fn bytes(&self) -> usize {
        self.multiply_adds() / self.batch * size_of::<f32>()
    }

    /// Multiply-adds of a timestep.
    pub fn multiply_adds(&self) -> usize {
        self.cell.spec().gates.len() * self.hidden_size * (self.input_size + self.hidden_size) * self.batch
    }
}
