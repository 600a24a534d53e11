//! What is timed: one layer with random weights, at given sizes.

use std::sync::Arc;

use anyhow::Result;
use wgpu_rnn::{
    Error, Model, Tensor,
    cell::Cell,
    model::{LayerKind, Recurrent},
};

use crate::args::{Args, CellName, SetName};

/// A layer, and the sizes of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Workload {
    pub(crate) cell: CellName,
    pub(crate) hidden: usize,
    pub(crate) input_size: usize,
    pub(crate) batch: usize,
    pub(crate) seq_len: usize,
    /// A timestep in each call, the states carried from one to the next; else the whole sequence in one call.
    pub(crate) stream: bool,
}

/// The weights of a layer in PyTorch's order of gates: LSTM input, forget, cell, output; GRU reset, update, new.
#[derive(Debug)]
pub(crate) struct Weights {
    /// `[gates * hidden_size, input_size]`
    pub(crate) weight_ih: Arc<Tensor>,
    /// `[gates * hidden_size, hidden_size]`
    pub(crate) weight_hh: Arc<Tensor>,
    /// `[gates * hidden_size]`
    pub(crate) bias_ih: Arc<Tensor>,
    /// `[gates * hidden_size]`
    pub(crate) bias_hh: Arc<Tensor>,
}

impl Workload {
    fn new(cell: CellName, hidden: usize) -> Self {
        Self { cell, hidden, input_size: hidden, batch: 1, seq_len: 100, stream: false }
    }

    fn input_size(self, input_size: usize) -> Self {
        Self { input_size, ..self }
    }

    fn at(self, batch: usize, seq_len: usize) -> Self {
        Self { batch, seq_len, ..self }
    }

    fn stream(self, stream: bool) -> Self {
        Self { stream, ..self }
    }

    /// `LSTM 128, input 32`
    pub(crate) fn name(&self) -> String {
        format!("{} {}, input {}", self.cell_name().to_uppercase(), self.hidden, self.input_size)
    }

    /// `lstm` or `gru`.
    pub(crate) fn cell_name(&self) -> &'static str {
        match self.cell {
            CellName::Lstm => "lstm",
            CellName::Gru => "gru",
        }
    }

    fn cell(&self) -> Cell {
        match self.cell {
            CellName::Lstm => Cell::Lstm,
            CellName::Gru => Cell::Gru,
        }
    }

    pub(crate) fn gates(&self) -> usize {
        self.cell().spec().gates.len()
    }

    /// Of the products of a run.
    #[allow(clippy::cast_precision_loss)] // a size
    pub(crate) fn multiply_adds(&self) -> f64 {
        let per_step = self.gates() as f64 * self.hidden as f64 * (self.hidden + self.input_size) as f64;
        per_step * self.batch as f64 * self.seq_len as f64
    }

    /// Random weights, small enough to damp rounding errors, as a trained network does.
    pub(crate) fn weights(&self, seed: u64) -> Result<Weights, Error> {
        let mut random = Random(seed.wrapping_add(1));
        let rows = self.gates() * self.hidden;
        #[allow(clippy::cast_precision_loss)] // a size
        let scale = 1.0 / (self.hidden as f32).sqrt();
        Ok(Weights {
            weight_ih: random.tensor(&[rows, self.input_size], scale)?,
            weight_hh: random.tensor(&[rows, self.hidden], scale)?,
            bias_ih: random.tensor(&[rows], scale)?,
            bias_hh: random.tensor(&[rows], scale)?,
        })
    }

    /// The layer with `weights`: from `x`, `[batch, seq_len, input_size]`, to `y`, `[batch, seq_len, hidden_size]`.
    pub(crate) fn model(&self, weights: &Weights) -> Result<Model, Error> {
        let layer = Recurrent {
            bias_ih: Some(weights.bias_ih.clone()),
            bias_hh: Some(weights.bias_hh.clone()),
            ..Recurrent::new(self.cell(), weights.weight_ih.clone(), weights.weight_hh.clone())
        };
        let mut model = Model::builder(self.name());
        let x = model.input("x", &[None, Some(self.input_size)])?;
        let y = model.add("layer", LayerKind::Recurrent(layer), &[x])?;
        model.output("y", y)?;
        model.build()
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    /// Values within `-scale` and `scale`.
    #[allow(clippy::cast_precision_loss)] // 24 bits are exact
    fn tensor(&mut self, shape: &[usize], scale: f32) -> Result<Arc<Tensor>, Error> {
        let mut value = || {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 40) as f32 / 8_388_608.0 - 1.0
        };
        let count = shape.iter().product();
        Ok(Arc::new(Tensor::new(shape, (0..count).map(|_| value() * scale).collect::<Vec<_>>())?))
    }
}

/// The layers that `args` ask for.
pub(crate) fn asked_for(args: &Args) -> Vec<Workload> {
    if args.cells.is_empty() {
        let sets = if args.sets.is_empty() { &[SetName::Portable][..] } else { &args.sets };
        return sets.iter().flat_map(|&name| set(name)).collect();
    }
    let or = |given: &[usize], default: usize| if given.is_empty() { vec![default] } else { given.to_vec() };
    let mut all = Vec::new();
    for &cell in &args.cells {
        for hidden in or(&args.hidden, 128) {
            for input_size in or(&args.input_size, hidden) {
                let layer = Workload::new(cell, hidden).input_size(input_size).stream(args.stream);
                for batch in or(&args.batch, 1) {
                    all.extend(or(&args.seq_len, 100).into_iter().map(|seq_len| layer.at(batch, seq_len)));
                }
            }
        }
    }
    all
}

/// The layers of a set. Of the sets that `wgpu-rnn bench` has too, those of a single layer in one direction.
fn set(name: SetName) -> Vec<Workload> {
    const BOTH: [CellName; 2] = [CellName::Lstm, CellName::Gru];
    let lstm = |hidden| Workload::new(CellName::Lstm, hidden);
    let gru = |hidden| Workload::new(CellName::Gru, hidden);
    let mut all = Vec::new();
    match name {
        SetName::Portable => {
            for cell in BOTH {
                for hidden in [128, 256] {
                    let layer = Workload::new(cell, hidden).input_size(hidden / 4);
                    all.extend([1, 16, 64].map(|batch| layer.at(batch, 100)));
                }
            }
        }
        SetName::Cpu => {
            for cell in BOTH {
                for hidden in [64, 128, 256, 512, 1024] {
                    all.extend([1, 4, 16, 64, 256].map(|batch| Workload::new(cell, hidden).at(batch, 50)));
                }
            }
        }
        SetName::Deepbench => {
            let rows = [
                (lstm(256), 150),
                (lstm(512), 25),
                (lstm(1024), 25),
                (lstm(1536), 50),
                (lstm(2048), 25),
                (gru(512), 1),
                (gru(1024), 1500),
                (gru(1536), 375),
                (gru(2048), 375),
                (gru(2560), 375),
                (gru(2816), 750),
            ];
            for (layer, seq_len) in rows {
                for batch in [1, 4] {
                    all.extend([layer.input_size(1), layer].map(|layer| layer.at(batch, seq_len)));
                }
            }
        }
        SetName::Offline => {
            for hidden in [128, 256, 512] {
                all.extend([64, 256, 1024].map(|batch| lstm(hidden).at(batch, 128)));
            }
        }
        SetName::Audio => {
            for cell in BOTH {
                for hidden in [8, 16, 32, 40, 64] {
                    // A hundredth of a second.
                    let layer = Workload::new(cell, hidden).at(1, 480).stream(true);
                    all.extend([layer.input_size(1), layer]);
                }
            }
        }
        SetName::Anchor => all.push(lstm(768).at(16, 1024)),
    }
    all
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn sets_and_sweeps() {
        let count = |line: &str| asked_for(&Args::parse_from(line.split(' '))).len();
        assert_eq!(count("peers"), 12);
        assert_eq!(count("peers --set cpu,deepbench,offline,anchor,audio"), 50 + 44 + 9 + 1 + 20);
        assert!(asked_for(&Args::parse_from(["peers", "--set", "audio"])).iter().all(|workload| workload.stream));
        assert!(asked_for(&Args::parse_from(["peers", "--cell", "gru", "--stream"]))[0].stream);
        let all = asked_for(&Args::parse_from("peers --cell gru,lstm --hidden 4,8 --batch 1,3".split(' ')));
        assert_eq!(all.len(), 8);
        let expected =
            Workload { cell: CellName::Gru, hidden: 4, input_size: 4, batch: 3, seq_len: 100, stream: false };
        assert_eq!(all[1], expected);
        assert_eq!(all[1].name(), "GRU 4, input 4");
        assert_eq!(all[1].multiply_adds(), 3.0 * 4.0 * 8.0 * 300.0);
        let model = all[0].model(&all[0].weights(0).unwrap()).unwrap();
        assert_eq!(model.parameter_count(), 2 * (12 * 4) + 2 * 12);
    }
}
