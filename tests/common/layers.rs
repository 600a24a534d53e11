//! Random recurrent layers.

use wgpu_rnn::{
    Activation,
    cell::{Cell, CellParams},
    compare::Tolerance,
    plan::{DeadTimesteps, Direction, Op, Recurrence},
};

use super::{
    Rng,
    plans::{Builder, Case, pick, values},
};

pub const DEAD: [DeadTimesteps; 3] = [DeadTimesteps::RepeatOutput, DeadTimesteps::RepeatState, DeadTimesteps::Zero];
const HIDDEN: [usize; 16] = [1, 2, 3, 4, 5, 7, 16, 31, 32, 33, 63, 64, 65, 127, 128, 129];
const INPUT: [usize; 10] = [1, 2, 3, 5, 8, 15, 16, 17, 33, 70];
const BATCH: [usize; 14] = [1, 1, 2, 3, 4, 5, 6, 7, 8, 13, 16, 17, 64, 70];

/// The options of a recurrent layer. `Debug` is enough to build it again.
#[derive(Clone, Debug)]
pub struct Layer {
    pub seed: u64,
    pub cell: Cell,
    pub params: CellParams,
    pub batch: usize,
    pub seq_len: usize,
    pub input_size: usize,
    pub hidden_size: usize,
    /// `reverse`, `flipped`
    pub directions: Vec<(bool, bool)>,
    pub bias: (bool, bool),
    pub mask: Mask,
    pub dead: DeadTimesteps,
    pub initial: bool,
    /// Whether some inputs are NaN or infinite.
    pub specials: bool,
    pub peepholes: bool,
    /// Units of a projected hidden state.
    pub projection: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mask {
    None,
    AllLive,
    AllDead,
    /// Live timesteps first, any number of them.
    Right,
    /// Live timesteps last.
    Left,
    /// Live timesteps anywhere.
    Anywhere,
}

impl Layer {
    pub fn random(seed: u64, cell: Cell) -> Self {
        let rng = &mut Rng::new(seed);
        let candidates = [
            Activation::Tanh,
            Activation::Tanh,
            Activation::RELU,
            Activation::Sigmoid,
            Activation::Softsign,
            Activation::Elu { alpha: 1.0 },
            Activation::Linear,
        ];
        let gates = [Activation::Sigmoid, Activation::Sigmoid, Activation::HARD_SIGMOID, Activation::Tanh];
        let mut layer = Self {
            seed,
            cell,
            params: CellParams::new(pick(rng, &candidates), pick(rng, &gates)),
            batch: pick(rng, &BATCH),
            seq_len: if rng.chance(0.25) { rng.below(3) } else { rng.below(41) },
            input_size: pick(rng, &INPUT),
            hidden_size: pick(rng, &HIDDEN),
            directions: (0..1 + rng.below(2)).map(|_| (rng.chance(0.5), rng.chance(0.5))).collect(),
            bias: (rng.chance(0.75), rng.chance(0.75)),
            mask: pick(rng, &[Mask::None, Mask::AllLive, Mask::AllDead, Mask::Right, Mask::Left, Mask::Anywhere]),
            dead: pick(rng, &DEAD),
            initial: rng.chance(0.5),
            specials: rng.chance(0.25),
            peepholes: false,
            projection: None,
        };
        layer.params.clip = rng.chance(0.3).then(|| pick(rng, &[0.25, 1.0, 3.0]));
        layer.params.coupled = cell.spec().can_couple && rng.chance(0.3);
        layer.peepholes = !cell.spec().peepholes.is_empty() && rng.chance(0.4);
        layer.projection = (cell.spec().can_project && rng.chance(0.4)).then(|| 1 + rng.below(layer.hidden_size));
        // The reference is slow: large layers get few rows and timesteps.
        while layer.batch * layer.seq_len * layer.hidden_size * (layer.hidden_size + layer.input_size) > 1 << 20 {
            if layer.batch > layer.seq_len {
                layer.batch = layer.batch.div_ceil(2);
            } else {
                layer.seq_len /= 2;
            }
        }
        layer
    }

    /// Units of the hidden state.
    pub fn output_size(&self) -> usize {
        self.projection.unwrap_or(self.hidden_size)
    }

    fn state_size(&self, state: usize) -> usize {
        if state == 0 { self.output_size() } else { self.hidden_size }
    }

    /// The mask of one row.
    fn mask(&self, rng: &mut Rng) -> Vec<f32> {
        let live = rng.below(self.seq_len + 1);
        let is_live = |t: usize, rng: &mut Rng| match self.mask {
            Mask::None | Mask::AllLive => true,
            Mask::AllDead => false,
            Mask::Right => t < live,
            Mask::Left => t >= live,
            Mask::Anywhere => rng.chance(0.5),
        };
        (0..self.seq_len).map(|t| if is_live(t, rng) { 1.0 } else { 0.0 }).collect()
    }

    /// The input `[batch, seq_len, input_size]`.
    pub fn input(&self) -> Vec<f32> {
        let rng = &mut Rng::new(self.seed ^ 1);
        let mut x = values(rng, self.batch * self.seq_len * self.input_size, 1.0);
        if self.specials && !x.is_empty() {
            for _ in 0..1 + rng.below(3) {
                let at = rng.below(x.len());
                x[at] = pick(rng, &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-40]);
            }
        }
        x
    }

    /// Initial states, `[batch, units]` per direction and state.
    pub fn initial(&self) -> Vec<Vec<Vec<f32>>> {
        let rng = &mut Rng::new(self.seed ^ 2);
        let scale = if self.initial { 1.0 } else { 0.0 };
        let mut state = |state: usize| values(rng, self.batch * self.state_size(state), scale);
        self.directions.iter().map(|_| (0..self.cell.spec().states.len()).map(&mut state).collect()).collect()
    }

    pub fn case(&self) -> Case {
        self.case_with(self.input(), &self.initial())
    }

    /// A run with that input and those initial states. Outputs: sequence, last, finals. The weights
    /// depend on the seed alone.
    pub fn case_with(&self, x: Vec<f32>, initial: &[Vec<Vec<f32>>]) -> Case {
        let rng = &mut Rng::new(self.seed ^ 3);
        let mask_rng = &mut Rng::new(self.seed ^ 4);
        let mut b = Builder::new(self.batch);
        let (gates, hidden) = (self.cell.spec().gates.len(), self.hidden_size);
        let scale = 1.0 / (hidden as f32).sqrt();
        let input = b.input(&[self.seq_len, self.input_size], x);
        let mask = (self.mask != Mask::None).then(|| {
            let mask = (0..self.batch).flat_map(|_| self.mask(mask_rng)).collect();
            b.input(&[self.seq_len], mask)
        });
        let mut directions = Vec::new();
        let mut finals = Vec::new();
        for (&(reverse, flipped), initial) in self.directions.iter().zip(initial) {
            let weight_ih = b.random_weight(rng, &[gates * hidden, self.input_size], scale);
            let weight_hh = b.random_weight(rng, &[gates * hidden, self.output_size()], scale);
            let biases: Vec<_> = (0..2).map(|_| b.random_weight(rng, &[gates * hidden], scale)).collect();
            let peephole = self.peepholes.then(|| b.random_weight(rng, &[3 * hidden], 0.5));
            let projection = self.projection.map(|units| b.random_weight(rng, &[units, hidden], scale));
            let mut initial_state = |(state, values): (usize, &Vec<f32>)| {
                self.initial.then(|| b.input(&[self.state_size(state)], values.clone()))
            };
            let initial = initial.iter().enumerate().map(&mut initial_state).collect();
            let states = 0..self.cell.spec().states.len();
            let last: Vec<_> = states.map(|state| Some(b.buffer(&[self.state_size(state)]))).collect();
            finals.extend(last.iter().copied().flatten());
            directions.push(Direction {
                reverse,
                flipped,
                weight_ih,
                weight_hh,
                bias_ih: self.bias.0.then_some(biases[0]),
                bias_hh: self.bias.1.then_some(biases[1]),
                peephole,
                projection,
                initial,
                finals: last,
            });
        }
        let sequence = b.buffer(&[self.seq_len, directions.len() * self.output_size()]);
        let last = b.buffer(&[directions.len() * self.output_size()]);
        b.step(Op::Recurrence(Recurrence {
            cell: self.cell,
            params: self.params,
            hidden_size: hidden,
            output_size: self.output_size(),
            input_size: self.input_size,
            input,
            mask,
            dead: self.dead,
            directions,
            sequence: Some(sequence),
            last: Some(last),
        }));
        b.case([vec![sequence, last], finals].concat(), Tolerance::FREE_RUNNING)
    }
}
