//! Every strategy against plain f64 loops, and against themselves bit by bit.

use super::*;
use crate::{
    gpu::{
        kernel::RowWidth,
        pack::{pack_linear, pack_recurrent, pack_vectors},
        testing::{Gpu, Random, assert_close, gpu},
    },
    plan::Precision,
};

/// What a layer gives.
#[derive(Clone, Debug, PartialEq)]
struct Outcome<F> {
    /// `[batch, seq_len, directions * outputs]`
    sequence: Vec<F>,
    /// `[batch, directions * outputs]`
    last: Vec<F>,
    /// Per direction and state, `[batch, units]`.
    finals: Vec<Vec<F>>,
}

/// A layer with its weights and data.
#[derive(Clone)]
struct Layer {
    cell: Cell,
    params: CellParams,
    dead: DeadTimesteps,
    hidden: usize,
    /// Units of the hidden state.
    outputs: usize,
    inputs: usize,
    batch: usize,
    seq_len: usize,
    /// Reverse and flipped, per direction.
    directions: Vec<(bool, bool)>,
    x: Vec<f32>,
    mask: Option<Vec<f32>>,
    weight_ih: Vec<Vec<f32>>,
    weight_hh: Vec<Vec<f32>>,
    bias_ih: Vec<Vec<f32>>,
    bias_hh: Option<Vec<Vec<f32>>>,
    peephole: Option<Vec<Vec<f32>>>,
    weight_hr: Option<Vec<Vec<f32>>>,
    /// Per direction and state; none where it is empty.
    initial: Vec<Vec<Vec<f32>>>,
}

impl Layer {
    fn new(
        cell: Cell,
        hidden: usize,
        inputs: usize,
        batch: usize,
        seq_len: usize,
        directions: &[(bool, bool)],
    ) -> Self {
        let mut random = Random::new((hidden * 7919 + inputs * 31 + batch * 5 + seq_len) as u64);
        let gates = cell.spec().gates.len();
        let scale = 1.0 / (hidden as f32).sqrt();
        let mut per_direction =
            |len: usize| -> Vec<Vec<f32>> { directions.iter().map(|_| random.values(len, scale)).collect() };
        let (weight_ih, weight_hh) = (per_direction(gates * hidden * inputs), per_direction(gates * hidden * hidden));
        let (bias_ih, bias_hh) = (per_direction(gates * hidden), per_direction(gates * hidden));
        let states = cell.spec().states.len();
        let initial =
            directions.iter().map(|_| (0..states).map(|_| random.values(batch * hidden, 0.9)).collect()).collect();
        Self {
            cell,
            params: CellParams::default(),
            dead: DeadTimesteps::RepeatOutput,
            hidden,
            outputs: hidden,
            inputs,
            batch,
            seq_len,
            directions: directions.to_vec(),
            x: random.values(batch * seq_len * inputs, 1.5),
            mask: None,
            weight_ih,
            weight_hh,
            bias_ih,
            bias_hh: Some(bias_hh),
            peephole: None,
            weight_hr: None,
            initial,
        }
    }

    /// With weights that `precision` holds.
    fn stored_as(mut self, precision: Precision) -> Self {
        let round = |all: &mut Vec<Vec<f32>>, columns| {
            for weights in all {
                *weights = precision.rounded(weights.as_slice().into(), columns).into_owned();
            }
        };
        round(&mut self.weight_ih, self.inputs);
        round(&mut self.weight_hh, self.outputs);
        if let Some(all) = &mut self.weight_hr {
            round(all, self.hidden);
        }
        self
    }

    /// Bounds narrow enough to matter.
    fn clipped(mut self) -> Self {
        self.params.clip = Some(0.3);
        self
    }

    fn coupled(mut self) -> Self {
        self.params.coupled = true;
        self
    }

    fn with_peepholes(mut self) -> Self {
        let mut random = Random::new(7);
        self.peephole = Some(self.directions.iter().map(|_| random.values(3 * self.hidden, 0.5)).collect());
        self
    }

    fn projected(mut self, outputs: usize) -> Self {
        let mut random = Random::new(8);
        let scale = 1.0 / (self.hidden as f32).sqrt();
        let mut matrix = |rows: usize, columns: usize| -> Vec<Vec<f32>> {
            self.directions.iter().map(|_| random.values(rows * columns, scale)).collect()
        };
        let stacked = self.cell.spec().gates.len() * self.hidden;
        (self.weight_hh, self.weight_hr) = (matrix(stacked, outputs), Some(matrix(outputs, self.hidden)));
        let initial = |states: &Vec<Vec<f32>>| {
            let mut states = states.clone();
            states[0].truncate(self.batch * outputs);
            states
        };
        self.initial = self.initial.iter().map(initial).collect();
        self.outputs = outputs;
        self
    }

    /// Units of a state.
    fn units(&self, state: usize) -> usize {
        if state == 0 { self.outputs } else { self.hidden }
    }

    fn with_mask(mut self, dead: DeadTimesteps) -> Self {
        let mut random = Random::new(99);
        let mut mask: Vec<f32> =
            (0..self.batch * self.seq_len).map(|_| f32::from(u8::from(random.below(3) > 0))).collect();
        // One row starts dead, one is dead throughout.
        mask[0] = 0.0;
        if self.batch > 2 {
            mask[self.seq_len..2 * self.seq_len].fill(0.0);
        }
        self.mask = Some(mask);
        self.dead = dead;
        self
    }

    /// One row alone.
    fn row(&self, row: usize) -> Self {
        let cut = |values: &[f32], len: usize| values[row * len..(row + 1) * len].to_vec();
        let mut one = self.clone();
        one.batch = 1;
        one.x = cut(&self.x, self.seq_len * self.inputs);
        one.mask = self.mask.as_ref().map(|mask| cut(mask, self.seq_len));
        one.initial = self
            .initial
            .iter()
            .map(|states| {
                let one = |(i, s): (usize, &Vec<f32>)| if s.is_empty() { Vec::new() } else { cut(s, self.units(i)) };
                states.iter().enumerate().map(one).collect()
            })
            .collect();
        one
    }

    /// Plain loops in f64.
    fn reference(&self) -> Outcome<f64> {
        let spec = self.cell.spec();
        let (hidden, gates, states) = (self.hidden, spec.gates.len(), spec.states.len());
        let outputs = self.outputs;
        let width = self.directions.len() * outputs;
        let mut outcome = Outcome {
            sequence: vec![0.0; self.batch * self.seq_len * width],
            last: vec![0.0; self.batch * width],
            finals: (0..self.directions.len() * states)
                .map(|at| vec![0.0; self.batch * self.units(at % states)])
                .collect(),
        };
        let dot = |w: &[f32], x: &[f64]| w.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum::<f64>();
        for b in 0..self.batch {
            for (d, &(reverse, flipped)) in self.directions.iter().enumerate() {
                let mut state: Vec<Vec<f64>> = (0..states)
                    .map(|s| {
                        (0..self.units(s))
                            .map(|u| self.initial[d][s].get(b * self.units(s) + u).map_or(0.0, |&v| f64::from(v)))
                            .collect()
                    })
                    .collect();
                let mut output =
                    if self.dead == DeadTimesteps::RepeatState { state[0].clone() } else { vec![0.0; outputs] };
                for step in 0..self.seq_len {
                    let time = if reverse { self.seq_len - 1 - step } else { step };
                    let live = self.mask.as_ref().is_none_or(|mask| mask[b * self.seq_len + time] != 0.0);
                    if live {
                        let x: Vec<f64> = self.x[(b * self.seq_len + time) * self.inputs..][..self.inputs]
                            .iter()
                            .map(|&v| f64::from(v))
                            .collect();
                        let bias_h = |row: usize| self.bias_hh.as_ref().map_or(0.0, |b| f64::from(b[d][row]));
                        let gate_x = |row: usize| {
                            dot(&self.weight_ih[d][row * self.inputs..][..self.inputs], &x)
                                + f64::from(self.bias_ih[d][row])
                        };
                        let gate_h = |row: usize, h: &[f64]| {
                            dot(&self.weight_hh[d][row * outputs..][..outputs], h) + bias_h(row)
                        };
                        let reset: Option<Vec<f64>> = spec.reset.map(|reset| {
                            (0..hidden)
                                .map(|u| {
                                    let row = reset.gate * hidden + u;
                                    self.params.gate_f64(gate_x(row) + gate_h(row, &state[0])) * state[0][u]
                                })
                                .collect()
                        });
                        let mut next = state.clone();
                        next[0] = vec![0.0; hidden];
                        for u in 0..hidden {
                            let gx: Vec<f64> = (0..gates).map(|g| gate_x(g * hidden + u)).collect();
                            let gh: Vec<f64> = (0..gates)
                                .map(|g| match (&reset, spec.reset) {
                                    (Some(rh), Some(r)) if r.target == g => gate_h(g * hidden + u, rh),
                                    _ => gate_h(g * hidden + u, &state[0]),
                                })
                                .collect();
                            // Not there where it is projected, and not read.
                            let mut unit: Vec<f64> =
                                state.iter().map(|s| s.get(u).copied().unwrap_or(f64::NAN)).collect();
                            let peephole = self
                                .peephole
                                .as_ref()
                                .map(|all| [0, 1, 2].map(|which| f64::from(all[d][which * hidden + u])));
                            (spec.update)(&gx, &gh, &mut unit, peephole, &self.params);
                            for (s, value) in unit.into_iter().enumerate() {
                                next[s][u] = value;
                            }
                        }
                        if let Some(weight) = &self.weight_hr {
                            let row = |u: usize| dot(&weight[d][u * hidden..][..hidden], &next[0]);
                            next[0] = (0..outputs).map(row).collect();
                        }
                        state = next;
                        output.clone_from(&state[0]);
                    } else if self.dead == DeadTimesteps::Zero {
                        output.fill(0.0);
                    }
                    let place = if flipped { self.seq_len - 1 - step } else { step };
                    outcome.sequence[(b * self.seq_len + place) * width + d * outputs..][..outputs]
                        .copy_from_slice(&output);
                }
                outcome.last[b * width + d * outputs..][..outputs].copy_from_slice(&output);
                for (s, values) in state.iter().enumerate() {
                    outcome.finals[d * states + s][b * self.units(s)..][..self.units(s)].copy_from_slice(values);
                }
            }
        }
        outcome
    }

    /// On the device; `rows` and `timesteps` size the scratch buffers.
    fn run(&self, gpu: &mut Gpu, how: How) -> Outcome<f32> {
        let spec = self.cell.spec();
        let (hidden, gates, states) = (self.hidden, spec.gates.len(), spec.states.len());
        let directions = self.directions.len();
        let width = directions * self.outputs;
        let weight_ih: Vec<_> = self
            .weight_ih
            .iter()
            .map(|w| {
                let packed = pack_linear(w, gates * hidden, self.inputs, how.precision, 1 << 24).unwrap();
                gpu.upload_packed(packed, how.precision)
            })
            .collect();
        let matrices: Vec<_> = weight_ih.iter().map(|w| w.matrix()).collect();
        let weights: Vec<&[f32]> = self.weight_hh.iter().map(Vec::as_slice).collect();
        let packed = pack_recurrent(&weights, [gates, hidden, self.outputs], how.precision, how.max_binding).unwrap();
        let weight_hh = gpu.upload_packed(packed, how.precision);
        let weight_hr = self.weight_hr.as_ref().map(|all| {
            let weights: Vec<&[f32]> = all.iter().map(Vec::as_slice).collect();
            let sizes = [1, self.outputs, hidden];
            let packed = pack_recurrent(&weights, sizes, how.precision, how.max_binding).unwrap();
            gpu.upload_packed(packed, how.precision)
        });
        let weight_hr = weight_hr.as_ref().map(|weight| weight.matrix());
        let peephole = self.peephole.as_ref().map(|all| gpu.upload(&all.concat()));
        let bias_ih: Vec<_> = self.bias_ih.iter().map(|b| gpu.upload(b)).collect();
        let biases: Vec<Option<&[f32]>> = match &self.bias_hh {
            Some(all) => all.iter().map(|b| Some(b.as_slice())).collect(),
            None => vec![None; directions],
        };
        let bias_hh = pack_vectors(&biases, gates * hidden).map(|b| gpu.upload(&b));
        let initial: Vec<Vec<_>> = self
            .initial
            .iter()
            .map(|states| states.iter().map(|s| (!s.is_empty()).then(|| gpu.upload(s))).collect())
            .collect();
        let finals: Vec<Vec<_>> =
            (0..directions).map(|_| (0..states).map(|s| gpu.empty(self.batch * self.units(s))).collect()).collect();
        let (input, mask) = (gpu.upload(&self.x), self.mask.as_ref().map(|m| gpu.upload(m)));
        let (sequence, last) = (gpu.empty(self.batch * self.seq_len * width), gpu.empty(self.batch * width));
        let gates_x = gpu.empty(gates_x_len(self.cell, directions, how.rows, how.timesteps, hidden));
        let state = gpu.empty(state_len(self.cell, self.weight_hr.is_some(), directions, how.rows, hidden));
        let job = RecurrenceJob {
            cell: self.cell,
            params: self.params,
            dead: self.dead,
            way: how.way(hidden, gates, self.batch * directions),
            hidden,
            outputs: self.outputs,
            batch: self.batch,
            seq_len: self.seq_len,
            mask: mask.as_ref().map(|m| m.view()),
            weight_hh: &weight_hh.matrix(),
            bias_hh: bias_hh.as_ref().map(|b| b.view()),
            peephole: peephole.as_ref().map(|p| p.view()),
            weight_hr: weight_hr.as_ref(),
            directions: (0..directions)
                .map(|d| DirectionJob {
                    reverse: self.directions[d].0,
                    flipped: self.directions[d].1,
                    input: Columns::all(input.view(), self.inputs),
                    input_size: self.inputs,
                    weight_ih: &matrices[d],
                    bias_ih: Some(bias_ih[d].view()),
                    initial: initial[d].iter().map(|s| s.as_ref().map(|s| s.view())).collect(),
                    finals: finals[d].iter().map(|s| Some(s.view())).collect(),
                    last: Some(Columns { view: last.view(), first: d * self.outputs, stride: width }),
                })
                .collect(),
            stored_before: 0,
            is_stack: false,
            sequence: how.sequence.then(|| sequence.view()),
            gates_x: gates_x.view(),
            state: state.view(),
        };
        gpu.run_within(how.budget, |recorder| encode(recorder, &job));
        gpu.read(&gates_x);
        gpu.read(&state);
        Outcome {
            sequence: gpu.read(&sequence),
            last: gpu.read(&last),
            finals: finals.iter().flatten().map(|s| gpu.read(s)).collect(),
        }
    }
}

/// How a layer is run.
#[derive(Clone, Copy, Debug)]
struct How {
    strategy: Strategy,
    /// Groups of four rows to an invocation, in workgroups of many rows.
    tile: Option<usize>,
    /// By the batch, without one.
    width: Option<RowWidth>,
    precision: Precision,
    rows: usize,
    timesteps: usize,
    budget: f64,
    max_binding: u64,
    sequence: bool,
    /// How often a cooperative workgroup looks, and the rows that it takes; all, without a number.
    patience: u32,
    rows_each: Option<usize>,
}

impl How {
    /// One row at a time for a single row, for a few more where weights are held.
    fn way(&self, hidden: usize, gates: usize, rows: usize) -> Way {
        // Both ways to share out a unit.
        let slices = if self.precision == Precision::F32 { hidden.div_ceil(64).next_power_of_two() } else { 4 };
        let own =
            if rows == 1 || (rows < 7 && self.strategy == Strategy::Held) { RowWidth::One } else { RowWidth::Four };
        let way = Way::new(self.strategy, self.width.unwrap_or(own), hidden, slices, true);
        if way.strategy == Strategy::Cooperative {
            let rows_each = self.rows_each.unwrap_or(rows);
            return Way { width: RowWidth::One, rows_each, tries: self.patience, ..way };
        }
        if let Some(groups) = self.tile {
            return Way { width: RowWidth::Four, ..way }.tiled(gates, groups);
        }
        if way.fits() { way } else { Way { width: RowWidth::One, ..way } }
    }

    fn whole(layer: &Layer, (strategy, tile): Taken) -> Self {
        Self {
            strategy,
            tile,
            width: None,
            precision: Precision::F32,
            rows: layer.batch.max(1),
            timesteps: layer.seq_len.max(1),
            budget: 1e12,
            max_binding: 1 << 24,
            sequence: true,
            patience: 1 << 26,
            rows_each: None,
        }
    }
}

/// Error after a few timesteps of nets that do not amplify it. 2.4e-7 is the worst found on lavapipe.
const TOLERANCE: f64 = 2e-6;

fn assert_outcome(what: &str, actual: &Outcome<f32>, expected: &Outcome<f64>) -> f64 {
    let mut worst = assert_close(&format!("{what} sequence"), &actual.sequence, &expected.sequence, TOLERANCE);
    worst = worst.max(assert_close(&format!("{what} last"), &actual.last, &expected.last, TOLERANCE));
    for (a, e) in actual.finals.iter().zip(&expected.finals) {
        worst = worst.max(assert_close(&format!("{what} final"), a, e, TOLERANCE));
    }
    worst
}

const FORWARD: &[(bool, bool)] = &[(false, false)];
const BOTH: &[(bool, bool)] = &[(false, false), (true, true)];
/// A strategy and, of steps that take many rows to a workgroup, how many groups of four an invocation has.
type Taken = (Strategy, Option<usize>);
const STEP: Taken = (Strategy::Step, None);
/// Those that any device runs; first those whose sums have the same order.
const STRATEGIES: [Taken; 5] =
    [STEP, (Strategy::Step, Some(1)), (Strategy::Step, Some(2)), (Strategy::Persistent, None), (Strategy::Held, None)];
const STEPS: &[Taken] = match &STRATEGIES {
    [steps @ .., _, _] => steps,
};

#[test]
fn every_cell_and_strategy_follows_the_reference() {
    let mut gpu = gpu();
    let mut worst = 0.0f64;
    for cell in Cell::ALL {
        for (hidden, inputs, batch, seq_len, directions) in [
            (1, 1, 1, 1, FORWARD),
            (5, 3, 3, 4, FORWARD),
            (8, 2, 4, 5, BOTH),
            (33, 7, 9, 6, BOTH),
            (67, 5, 2, 3, &[(true, false)]),
            (130, 4, 5, 3, BOTH),
            (256, 3, 1, 2, FORWARD),
        ] {
            let ways = [
                (Precision::F32, RowWidth::One),
                (Precision::F16, RowWidth::Four),
                (Precision::Bf16, if hidden % 2 == 0 { RowWidth::Four } else { RowWidth::One }),
                (Precision::I8, if hidden % 2 == 0 { RowWidth::One } else { RowWidth::Four }),
            ];
            for (precision, width) in ways {
                let layer = Layer::new(cell, hidden, inputs, batch, seq_len, directions).stored_as(precision);
                let expected = layer.reference();
                for strategy in STRATEGIES {
                    let how = How { precision, width: Some(width), ..How::whole(&layer, strategy) };
                    let what = format!("{cell:?} {strategy:?} {precision:?} {width:?} hidden {hidden}");
                    worst = worst.max(assert_outcome(&what, &layer.run(&mut gpu, how), &expected));
                }
            }
        }
    }
    eprintln!("worst error {worst:.2e}");
}

#[test]
fn hidden_sizes_over_one_tile_are_stepped() {
    let mut gpu = gpu();
    for cell in [Cell::Lstm, Cell::GruResetBefore] {
        let layer = Layer::new(cell, 517, 3, 2, 2, FORWARD);
        let how = How::whole(&layer, STEP);
        assert_outcome(&format!("{cell:?}"), &layer.run(&mut gpu, how), &layer.reference());
    }
}

#[test]
fn masks_follow_the_three_rules() {
    let mut gpu = gpu();
    for cell in Cell::ALL {
        for dead in [DeadTimesteps::RepeatOutput, DeadTimesteps::RepeatState, DeadTimesteps::Zero] {
            let layer = Layer::new(cell, 6, 3, 5, 7, BOTH).with_mask(dead);
            for strategy in STRATEGIES {
                let how = How::whole(&layer, strategy);
                assert_outcome(
                    &format!("{cell:?} {strategy:?} {dead:?}"),
                    &layer.run(&mut gpu, how),
                    &layer.reference(),
                );
            }
        }
    }
}

#[test]
fn other_functions_and_absent_parts() {
    let mut gpu = gpu();
    for strategy in STRATEGIES {
        let mut layer = Layer::new(Cell::Lstm, 7, 3, 2, 4, FORWARD);
        layer.params = CellParams::new(Activation::Softsign, Activation::HARD_SIGMOID);
        layer.bias_hh = None;
        layer.initial[0][1] = Vec::new();
        let how = How::whole(&layer, strategy);
        let whole = layer.run(&mut gpu, how);
        assert_outcome("options", &whole, &layer.reference());
        let without = layer.run(&mut gpu, How { sequence: false, ..how });
        assert!(without.last == whole.last && without.finals == whole.finals);

        // No timestep at all: the states stay, the output is zero.
        let empty = Layer::new(Cell::Gru, 4, 2, 3, 0, BOTH);
        let how = How::whole(&empty, strategy);
        assert_outcome("no timestep", &empty.run(&mut gpu, how), &empty.reference());
    }
}

/// Every cell with what it may have beyond the plain one, and the strategies that take it.
fn extras(hidden: usize, inputs: usize, batch: usize, seq_len: usize) -> Vec<(Layer, &'static [Taken])> {
    let plain = |cell| Layer::new(cell, hidden, inputs, batch, seq_len, BOTH);
    let mut layers: Vec<(Layer, &'static [Taken])> = Vec::new();
    for cell in Cell::ALL {
        layers.push((plain(cell).clipped(), &STRATEGIES));
    }
    let lstm = || plain(Cell::Lstm);
    for layer in [
        lstm().coupled(),
        lstm().with_peepholes(),
        lstm().with_peepholes().clipped(),
        lstm().with_peepholes().coupled().clipped(),
    ] {
        layers.push((layer, &STRATEGIES));
    }
    for layer in [
        lstm().projected(hidden),
        lstm().projected(hidden.div_ceil(3)),
        lstm().projected(1).with_peepholes().coupled().clipped(),
    ] {
        layers.push((layer, STEPS));
    }
    layers
}

#[test]
fn clips_couplings_peepholes_and_projections_follow_the_reference() {
    let mut gpu = gpu();
    for (hidden, inputs, batch, seq_len) in [(7, 3, 3, 4), (50, 5, 6, 5)] {
        for (layer, strategies) in extras(hidden, inputs, batch, seq_len) {
            for dead in [DeadTimesteps::RepeatOutput, DeadTimesteps::RepeatState, DeadTimesteps::Zero] {
                // Nothing here knows how a weight of one half of the bits is stored.
                for precision in [Precision::F32, Precision::I8] {
                    let layer = layer.clone().with_mask(dead).stored_as(precision);
                    let expected = layer.reference();
                    for &strategy in strategies {
                        let how = How { precision, ..How::whole(&layer, strategy) };
                        let what = format!("{:?} {:?} {} {strategy:?}", layer.cell, layer.params, layer.outputs);
                        assert_outcome(&what, &layer.run(&mut gpu, how), &expected);
                    }
                }
            }
        }
    }
    // More units than a tile of the product, on both sides of the projection.
    for outputs in [5, 515] {
        let layer = Layer::new(Cell::Lstm, 517, 3, 2, 2, FORWARD).projected(outputs);
        let how = How::whole(&layer, STEP);
        assert_outcome("wide projection", &layer.run(&mut gpu, how), &layer.reference());
    }
}

#[test]
fn a_clip_bounds_what_is_beyond_and_keeps_a_nan() {
    let mut gpu = gpu();
    for cell in Cell::ALL {
        for strategy in STRATEGIES {
            let mut layer = Layer::new(cell, 5, 3, 2, 2, FORWARD).clipped();
            layer.x[0] = f32::INFINITY;
            layer.x[6] = f32::NAN;
            let how = How::whole(&layer, strategy);
            let (actual, expected) = (layer.run(&mut gpu, how), layer.reference());
            assert!(actual.sequence[..10].iter().all(|value| value.is_finite()), "{cell:?} {strategy:?}");
            assert!(actual.sequence[10..].iter().all(|value| value.is_nan()), "{cell:?} {strategy:?}");
            assert_outcome("clip", &actual, &expected);
        }
    }
}

#[test]
fn neither_slices_nor_tiles_nor_companions_change_a_bit() {
    let mut gpu = gpu();
    let plain = Cell::ALL.map(|cell| (Layer::new(cell, 37, 5, 10, 9, BOTH), STRATEGIES.as_slice()));
    let projected = Layer::new(Cell::Lstm, 37, 5, 10, 9, BOTH).projected(21).with_peepholes();
    let layers = plain.into_iter().chain([(projected, STEPS)]);
    let layers = layers.flat_map(|(layer, strategies)| {
        [Precision::F32, Precision::I8].map(|precision| (layer.clone().stored_as(precision), strategies, precision))
    });
    for (layer, strategies, precision) in layers {
        let cell = layer.cell;
        let layer = layer.with_mask(DeadTimesteps::RepeatOutput);
        for &strategy in strategies {
            let how = How { precision, ..How::whole(&layer, strategy) };
            let whole = layer.run(&mut gpu, how);
            let cuts = [
                How { timesteps: 1, ..how },
                How { timesteps: 4, ..how },
                How { rows: 3, timesteps: 2, ..how },
                How { rows: 8, ..how },
                How { budget: 1.0, ..how },
                How { budget: 3e6, ..how },
            ];
            for cut in cuts {
                assert!(layer.run(&mut gpu, cut) == whole, "{cell:?} {cut:?}");
            }
            let width = 2 * layer.outputs;
            for row in [0, 3, 9] {
                let one = layer.row(row);
                let alone = one.run(&mut gpu, How { precision, ..How::whole(&one, (strategy.0, None)) });
                let len = layer.seq_len * width;
                assert!(
                    alone.sequence == whole.sequence[row * len..(row + 1) * len],
                    "{cell:?} {strategy:?} row {row}"
                );
                assert!(alone.last == whole.last[row * width..(row + 1) * width]);
            }
        }
        // Windows of the recurrent weights: 10 units at a time.
        let how = How { precision, ..How::whole(&layer, STEP) };
        let groups = layer.outputs.div_ceil(4);
        let row_bytes = if precision == Precision::I8 { 4 * groups + 4 } else { 16 * groups };
        let unit_bytes = 2 * cell.spec().gates.len() * row_bytes;
        let windows = How { max_binding: 10 * unit_bytes as u64, ..how };
        assert!(layer.run(&mut gpu, windows) == layer.run(&mut gpu, how), "{cell:?} windows");
    }
}

/// Sums of several slices, and more than one workgroup each way.
#[test]
fn many_rows_of_a_workgroup_give_the_bits_of_few() {
    let mut gpu = gpu();
    for (cell, hidden, batch) in
        Cell::ALL.into_iter().map(|cell| (cell, 75, 70)).chain([(Cell::Lstm, 530, 5), (Cell::GruResetBefore, 517, 33)])
    {
        let layer = Layer::new(cell, hidden, 3, batch, 3, BOTH).with_mask(DeadTimesteps::RepeatState);
        let expected = layer.run(&mut gpu, How::whole(&layer, STEP));
        assert_outcome(&format!("{cell:?} {hidden}"), &expected, &layer.reference());
        for &taken in &STEPS[1..] {
            assert!(layer.run(&mut gpu, How::whole(&layer, taken)) == expected, "{cell:?} {hidden} {taken:?}");
        }
    }
    let layer = Layer::new(Cell::Lstm, 70, 3, 40, 3, FORWARD).projected(33);
    let expected = layer.run(&mut gpu, How::whole(&layer, STEP));
    assert!(STEPS.iter().all(|&taken| layer.run(&mut gpu, How::whole(&layer, taken)) == expected));
}

#[test]
fn a_row_of_nan_stays_alone() {
    let mut gpu = gpu();
    let layer = Layer::new(Cell::Lstm, 20, 3, 6, 5, FORWARD);
    let mut spoilt = layer.clone();
    let row = 2;
    spoilt.x[(row * 5 + 1) * 3] = f32::NAN;
    for strategy in STRATEGIES {
        let how = How::whole(&layer, strategy);
        let (clean, actual) = (layer.run(&mut gpu, how), spoilt.run(&mut gpu, how));
        for (i, (c, a)) in clean.sequence.iter().zip(&actual.sequence).enumerate() {
            let (b, t) = (i / 100, i / 20 % 5);
            let expected_nan = b == row && t >= 1;
            assert!(if expected_nan { a.is_nan() } else { a == c }, "{strategy:?} row {b} time {t}: {a}");
        }
    }
}

#[test]
fn more_than_65535_rows() {
    let mut gpu = gpu();
    let layer = Layer::new(Cell::Rnn, 2, 1, 4 * 65_537, 1, BOTH);
    let many = layer.run(&mut gpu, How::whole(&layer, (Strategy::Persistent, None)));
    assert_outcome("many rows", &many, &layer.reference());
}

/// Cooperative workgroups give the bits of single steps, however the sequence is cut, and give up where they wait in
/// vain. At most two of them, which every driver here runs at once.
#[test]
fn workgroups_that_wait_for_each_other_give_the_bits_of_steps() {
    let mut gpu = gpu();
    for cell in Cell::ALL {
        for (hidden, directions) in [(5, FORWARD), (16, FORWARD), (13, &[(true, true)][..]), (7, BOTH)] {
            let precision = if hidden == 5 { Precision::F32 } else { Precision::I8 };
            let layer = Layer::new(cell, hidden, 3, 5, 9, directions).with_mask(DeadTimesteps::RepeatOutput);
            let layer = layer.stored_as(precision);
            let how = How { precision, ..How::whole(&layer, (Strategy::Cooperative, None)) };
            let expected = layer.run(&mut gpu, How { precision, ..How::whole(&layer, STEP) });
            assert_outcome(&format!("{cell:?}"), &expected, &layer.reference());
            for cut in [how, How { timesteps: 4, ..how }, How { rows: 3, timesteps: 2, ..how }] {
                // On a busy CPU one of them may have to wait for a processor longer than the other has patience.
                let found = (0..50).find_map(|_| {
                    let found = layer.run(&mut gpu, cut);
                    (!gave_up(&mut gpu)).then_some(found)
                });
                assert!(found.expect("workgroups that met") == expected, "{cell:?} {hidden} {cut:?}");
            }
        }
    }
    // Rows shared out between two workgroups that need not wait.
    let layer = Layer::new(Cell::Gru, 6, 3, 5, 4, FORWARD);
    let split = How { rows_each: Some(3), ..How::whole(&layer, (Strategy::Cooperative, None)) };
    let found = layer.run(&mut gpu, split);
    assert!(!gave_up(&mut gpu) && found == layer.run(&mut gpu, How::whole(&layer, STEP)));

    let layer = Layer::new(Cell::Lstm, 16, 3, 2, 9, FORWARD);
    layer.run(&mut gpu, How { patience: 0, ..How::whole(&layer, (Strategy::Cooperative, None)) });
    assert!(gave_up(&mut gpu));
}

/// Whether workgroups waited in vain since this was asked last.
fn gave_up(gpu: &mut Gpu) -> bool {
    let exchange = gpu.pipelines.exchanged().expect("a cooperative run");
    let word = gpu.upload(&[0.0]);
    gpu.run(|recorder| {
        recorder.copy_buffer(&exchange, 0, word.view().buffer, 0, 1)?;
        recorder.clear(&exchange, 0, 1)
    });
    gpu.read(&word)[0].to_bits() != 0
}
