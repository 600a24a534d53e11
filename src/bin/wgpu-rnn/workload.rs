//! Layers with random weights, at given sizes: standard sets and sweeps.

use std::sync::Arc;

use wgpu_rnn::{
    Activation, Error, Model, Tensor,
    cell::{Cell, CellParams},
    model::{Bidirectional, LayerKind, MergeMode, Recurrent},
};

use crate::args::{CellName, SetName, SweepArgs};

/// Stacked recurrent layers with random weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Layers {
    pub(crate) cell: Cell,
    pub(crate) hidden: usize,
    pub(crate) input_size: usize,
    pub(crate) layers: usize,
    pub(crate) bidirectional: bool,
    /// Whether the simple RNN rectifies.
    pub(crate) relu: bool,
}

/// Layers, and the sizes of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Workload {
    pub(crate) layers: Layers,
    pub(crate) batch: usize,
    pub(crate) seq_len: usize,
}

impl Layers {
    fn new(cell: Cell, hidden: usize) -> Self {
        Self { cell, hidden, input_size: hidden, layers: 1, bidirectional: false, relu: false }
    }

    fn input_size(self, input_size: usize) -> Self {
        Self { input_size, ..self }
    }

    fn times(self, layers: usize) -> Self {
        Self { layers, ..self }
    }

    fn at(self, batch: usize, seq_len: usize) -> Workload {
        Workload { layers: self, batch, seq_len }
    }

    /// `2 x LSTM 256, input 64`
    pub(crate) fn name(&self) -> String {
        let cell = match self.cell {
            Cell::Rnn if self.relu => "RNN (relu)",
            Cell::Rnn => "RNN",
            Cell::Lstm => "LSTM",
            Cell::Gru => "GRU",
            Cell::GruResetBefore => "GRU (reset before)",
            other => other.spec().name,
        };
        let times = if self.layers == 1 { String::new() } else { format!("{} x ", self.layers) };
        let both = if self.bidirectional { "bidirectional " } else { "" };
        format!("{times}{both}{cell} {}, input {}", self.hidden, self.input_size)
    }

    /// The model: its output is that of every timestep.
    pub(crate) fn model(&self, seed: u64) -> Result<Model, Error> {
        let mut random = Random(seed.wrapping_add(1));
        let mut model = Model::builder(self.name());
        let mut value = model.input("x", &[None, Some(self.input_size)])?;
        let mut features = self.input_size;
        for layer in 0..self.layers {
            let forward = self.direction(features, false, &mut random)?;
            let kind = if self.bidirectional {
                let backward = self.direction(features, true, &mut random)?;
                LayerKind::Bidirectional(Bidirectional { forward, backward, merge: MergeMode::Concat })
            } else {
                LayerKind::Recurrent(forward)
            };
            value = model.add(&format!("layer_{layer}"), kind, &[value])?;
            features = if self.bidirectional { 2 * self.hidden } else { self.hidden };
        }
        model.output("y", value)?;
        model.build()
    }

    fn direction(&self, features: usize, go_backwards: bool, random: &mut Random) -> Result<Recurrent, Error> {
        let gates = self.cell.spec().gates.len() * self.hidden;
        // Small enough to damp rounding errors, as a trained network does.
        #[allow(clippy::cast_precision_loss)] // a size
        let scale = 1.0 / (self.hidden as f32).sqrt();
        let mut params = CellParams::default();
        if self.relu {
            params.candidate = Activation::RELU;
        }
        let weight_ih = random.tensor(&[gates, features], scale)?;
        let layer = Recurrent::new(self.cell, weight_ih, random.tensor(&[gates, self.hidden], scale)?);
        Ok(Recurrent {
            params,
            bias_ih: Some(random.tensor(&[gates], scale)?),
            bias_hh: Some(random.tensor(&[gates], scale)?),
            go_backwards,
            ..layer
        })
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

/// Every combination of a sweep.
pub(crate) fn sweep(args: &SweepArgs, batch: &[usize], seq_len: &[usize]) -> Vec<Workload> {
    let or = |given: &[usize], default: usize| if given.is_empty() { vec![default] } else { given.to_vec() };
    let mut all = Vec::new();
    for &cell in &args.cells {
        for hidden in or(&args.hidden, 128) {
            for input_size in or(&args.input_size, hidden) {
                for layers in or(&args.layers, 1) {
                    let one = Layers::new(cell_of(cell), hidden).input_size(input_size).times(layers);
                    let layers = Layers { bidirectional: args.bidirectional, ..one };
                    for &batch in &or(batch, 1) {
                        all.extend(or(seq_len, 100).into_iter().map(|seq_len| layers.at(batch, seq_len)));
                    }
                }
            }
        }
    }
    all
}

fn cell_of(name: CellName) -> Cell {
    match name {
        CellName::Rnn => Cell::Rnn,
        CellName::Lstm => Cell::Lstm,
        CellName::Gru => Cell::Gru,
        CellName::GruResetBefore => Cell::GruResetBefore,
    }
}

/// The workloads of a standard set. DeepBench's: `code/kernels/rnn_problems.h` of baidu-research/DeepBench, each
/// once with an input of one feature (nearly the recurrence alone) and once with as many as there are units.
pub(crate) fn set(name: SetName) -> Vec<Workload> {
    let lstm = |hidden| Layers::new(Cell::Lstm, hidden);
    let gru = |hidden| Layers::new(Cell::Gru, hidden);
    let mut all = Vec::new();
    match name {
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
            for (layers, seq_len) in rows {
                for batch in [1, 4] {
                    all.extend([layers.input_size(1), layers].map(|layers| layers.at(batch, seq_len)));
                }
            }
        }
        SetName::Device => {
            let relu = |hidden| Layers { relu: true, ..Layers::new(Cell::Rnn, hidden) };
            all.extend([relu(32).at(1, 672), relu(64).at(1, 96), lstm(256).at(1, 150)]);
        }
        SetName::Streaming => {
            let stacks = [(2, 128), (3, 256), (3, 480), (6, 320), (3, 960)];
            all.extend(stacks.map(|(layers, hidden)| lstm(hidden).times(layers).at(1, 1)));
        }
        SetName::Audio => {
            for hidden in [8, 16, 32, 40, 64] {
                for layers in [lstm(hidden), gru(hidden)] {
                    all.extend([1, 64, 256].map(|block| layers.input_size(1).at(1, block)));
                }
            }
        }
        SetName::Anchor => all.push(lstm(768).at(16, 1024)),
        SetName::Offline => {
            for hidden in [128, 256, 512] {
                for layers in [1, 2] {
                    all.extend([64, 256, 1024].map(|batch| lstm(hidden).times(layers).at(batch, 128)));
                }
            }
            all.push(Layers { bidirectional: true, ..lstm(256).times(2) }.at(32, 400));
        }
        SetName::Stacked => all.push(lstm(512).times(4).at(64, 100)),
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_and_sweeps() {
        assert_eq!(set(SetName::Deepbench).len(), 44);
        assert_eq!(set(SetName::Audio).len(), 30);
        let args = SweepArgs {
            cells: vec![CellName::Lstm, CellName::Gru],
            hidden: vec![4, 8],
            input_size: Vec::new(),
            layers: vec![2],
            bidirectional: true,
        };
        let all = sweep(&args, &[1, 3], &[]);
        assert_eq!(all.len(), 8);
        assert_eq!(all[0].layers.name(), "2 x bidirectional LSTM 4, input 4");
        assert_eq!((all[1].batch, all[1].seq_len), (3, 100));
        let model = all[0].layers.model(0).unwrap();
        assert_eq!(model.parameter_count(), 2 * (16 * 4 + 16 * 4 + 32) + 2 * (16 * 8 + 16 * 4 + 32));
    }
}
