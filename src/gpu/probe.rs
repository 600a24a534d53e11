//! Known-answer tests. Drivers can be silently wrong, so before a device runs a kernel in some
//! specialisation for the first time, the same pipeline runs a tiny example through the normal path
//! and is compared with the reference.

use std::sync::Arc;

use super::{
    encode::strategy_of,
    executor::{Inputs, Program, ProgramOptions},
    kernels::recurrence::persistent_units,
    kernels::strategy::Strategy,
    owner::Owner,
    pool::Pool,
    weights::Weights,
};
use crate::{
    activation::Activation,
    dim::Dim,
    error::{Error, Result},
    plan::{Bound, Buffer, BufferId, Direction, Op, Plan, Precision, Recurrence, Step, Weight, WeightId},
    reference,
    tensor::Tensor,
};

/// Largest error of a kernel that works, relative to the larger of 1 and the value.
const TOLERANCE: f64 = 1e-5;
/// Relative change of every weight in the twin whose results show how much an example amplifies
/// rounding: a model may choose functions that let small differences grow.
const NUDGE: f32 = 1.0 / (1 << 20) as f32;
/// How many times the twin's distance is allowed as well.
const TWIN_DISTANCES: f64 = 16.0;
/// Values beyond this come of functions that grow without bound, and say nothing in f32.
const LARGEST: f64 = 1e4;

/// Checks every kernel that `plan` needs; those that this device has checked before cost nothing.
///
/// # Errors
/// [`Error::KnownAnswer`], now and whenever the kernel is asked for again; a device's failure.
pub(super) fn check(owner: &mut Owner, plan: &Plan, options: &ProgramOptions) -> Result<()> {
    for step in &plan.steps {
        for mut example in examples(owner, plan, &step.op, options)? {
            match owner.verdicts.get(&example.key) {
                Some(verdict) => verdict.clone()?,
                None => {
                    let verdict = example.run(owner);
                    if matches!(verdict, Ok(()) | Err(Error::KnownAnswer { .. })) {
                        owner.verdicts.insert(example.key, verdict.clone());
                    }
                    verdict?;
                }
            }
        }
    }
    Ok(())
}

/// The examples for one step: together they use every pipeline that the step may use.
fn examples(owner: &Owner, plan: &Plan, op: &Op, options: &ProgramOptions) -> Result<Vec<Example>> {
    let precision = |id: WeightId| plan.weights.get(id.index()).map_or(Precision::F32, |weight| weight.precision);
    Ok(match op {
        Op::Linear { weight, activation, .. } => linear(precision(*weight), *activation).into(),
        Op::Gather { table, .. } => vec![gather(precision(*table))],
        Op::Recurrence(r) => {
            let (strategy, _) = strategy_of(r, &owner.limits, options.strategy)?;
            let precisions = r.directions.first().map(|d| [d.weight_ih, d.weight_hh].map(precision));
            let [input, recurrent] = precisions.unwrap_or_default();
            let mut all = Vec::from(linear(input, Activation::Linear));
            all.push(recurrence(r, strategy, [input, recurrent]));
            all
        }
        other => vec![simple(other)],
    })
}

/// A plan of one step, with values.
struct Example {
    /// What specialises the kernels.
    key: String,
    plan: Plan,
    bound: Bound,
    inputs: Inputs,
    weights: Vec<(Vec<usize>, Vec<f32>, Precision)>,
    strategy: Option<Strategy>,
    random: u64,
}

impl Example {
    fn new(key: String) -> Self {
        let plan = Plan { symbols: vec!["batch".to_owned()], ..Plan::default() };
        let bound = Bound { symbols: vec![1], shapes: Vec::new() };
        Self { key, plan, bound, inputs: Vec::new(), weights: Vec::new(), strategy: None, random: 1 }
    }

    /// The next of a fixed sequence of numbers in -1..1, multiples of 1/1024, so that f16 holds them too.
    fn value(&mut self) -> f32 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let number = u16::try_from(self.random >> 53).unwrap_or_default();
        f32::from(number) / 1024.0 - 1.0
    }

    fn values(&mut self, shape: &[usize], scale: f32) -> Vec<f32> {
        (0..shape.iter().product()).map(|_| self.value() * scale).collect()
    }

    fn buffer(&mut self, shape: &[usize]) -> BufferId {
        let dims = shape.iter().map(|&size| Dim::from(size)).collect();
        self.plan.buffers.push(Buffer { name: "example".to_owned(), shape: dims, view_of: None });
        self.bound.shapes.push(shape.to_vec());
        BufferId::new(self.plan.buffers.len() - 1)
    }

    fn given(&mut self, shape: &[usize], values: Vec<f32>) -> BufferId {
        let id = self.buffer(shape);
        self.inputs.push((id, values));
        id
    }

    fn input(&mut self, shape: &[usize], scale: f32) -> BufferId {
        let values = self.values(shape, scale);
        self.given(shape, values)
    }

    /// A mask whose rows differ: all live, all dead, and dead in different places.
    fn mask(&mut self, rows: usize, seq_len: usize) -> BufferId {
        let live = |i: usize| match i / seq_len {
            0 => true,
            1 => false,
            row => !(i % seq_len + row).is_multiple_of(3),
        };
        let values = (0..rows * seq_len).map(|i| f32::from(u8::from(live(i)))).collect();
        self.given(&[rows, seq_len], values)
    }

    fn weight(&mut self, shape: &[usize], scale: f32, precision: Precision) -> WeightId {
        let values = self.values(shape, scale);
        self.weights.push((shape.to_vec(), values, precision));
        WeightId::new(self.weights.len() - 1)
    }

    fn bias(&mut self, len: usize) -> WeightId {
        self.weight(&[len], 0.5, Precision::F32)
    }

    fn step(mut self, op: Op) -> Self {
        self.plan.steps.push(Step { name: self.key.clone(), op });
        self
    }

    /// Gives the plan its weights, each changed by `nudge` of its value, up or down in turn.
    fn set_weights(&mut self, nudge: f32) -> Result<()> {
        self.plan.weights.clear();
        for (shape, values, precision) in &self.weights {
            let signs = [1.0, -1.0].into_iter().cycle();
            let values: Vec<f32> = values.iter().zip(signs).map(|(value, sign)| value * (1.0 + sign * nudge)).collect();
            let tensor = Arc::new(Tensor::new(shape.as_slice(), values)?);
            self.plan.weights.push(Weight { name: "example".to_owned(), tensor, precision: *precision });
        }
        Ok(())
    }

    /// The outputs by the reference.
    fn expected(&self, outputs: &[BufferId]) -> Result<Vec<Vec<f64>>> {
        let wide = |values: &Vec<f32>| values.iter().map(|&x| f64::from(x)).collect();
        let inputs: Vec<_> = self.inputs.iter().map(|(id, values)| (*id, wide(values))).collect();
        reference::run(&self.plan, &self.bound, &inputs, outputs)
    }

    fn run(&mut self, owner: &mut Owner) -> Result<()> {
        let outputs = self.plan.steps.iter().flat_map(|step| step.op.outputs()).collect::<Vec<_>>();
        self.set_weights(NUDGE)?;
        let twin = self.expected(&outputs)?;
        self.set_weights(0.0)?;
        let expected = self.expected(&outputs)?;
        let options = ProgramOptions { strategy: self.strategy, ..ProgramOptions::default() };
        let weights = Weights::upload(owner, &self.plan)?;
        let program = Program { plan: &self.plan, weights: &weights, options: &options };
        let mut pool = Pool::default();
        let found = program.run(owner, &mut pool, &self.bound, self.inputs.clone(), &outputs);
        pool.clear(owner);
        let found = found?.0;
        for ((found, expected), twin) in found.iter().zip(&expected).zip(&twin) {
            let distances = expected.iter().zip(twin).map(|(a, b)| (a - b).abs());
            let distance = distances.filter(|distance| distance.is_finite()).fold(0.0, f64::max);
            let mut pairs = found.iter().zip(expected).enumerate();
            if let Some((index, (found, expected))) = pairs.find(|(_, (a, b))| !agrees(**a, **b, distance)) {
                return Err(Error::KnownAnswer {
                    kernel: self.key.clone(),
                    adapter: owner.adapter.clone(),
                    detail: format!("value {index} is {found} instead of {expected}"),
                });
            }
        }
        Ok(())
    }
}

fn agrees(found: f32, expected: f64, distance: f64) -> bool {
    let found = f64::from(found);
    if found.is_nan() || expected.is_nan() {
        return found.is_nan() && expected.is_nan();
    }
    if expected.is_infinite() {
        return found == expected;
    }
    let tolerance = TOLERANCE * expected.abs().max(1.0) + TWIN_DISTANCES * distance;
    expected.abs() > LARGEST || (found - expected).abs() <= tolerance
}

/// A product of few rows and one of many, which run on different kernels.
fn linear(precision: Precision, activation: Activation) -> [Example; 2] {
    [3, 67].map(|rows| {
        let mut example = Example::new(format!("linear of {rows} rows, {precision:?}, {activation:?}"));
        let (inputs, outputs) = (7, 5);
        let input = example.input(&[rows, inputs], 1.0);
        let weight = example.weight(&[outputs, inputs], 1.0, precision);
        let bias = Some(example.bias(outputs));
        let output = example.buffer(&[rows, outputs]);
        example.step(Op::Linear { input, weight, bias, activation, output })
    })
}

fn gather(precision: Precision) -> Example {
    let mut example = Example::new(format!("gather, {precision:?}"));
    let ids = example.given(&[2, 3], vec![0.0, 6.0, 3.0, 1.0, 6.0, 2.0]);
    let table = example.weight(&[7, 3], 1.0, precision);
    let output = example.buffer(&[2, 3, 3]);
    example.step(Op::Gather { ids, table, output })
}

fn recurrence(r: &Recurrence, strategy: Strategy, [input_precision, precision]: [Precision; 2]) -> Example {
    // The smallest layer that the same pipeline serves.
    let hidden = match strategy {
        Strategy::Persistent => persistent_units(r.hidden_size) / 2 + 1,
        Strategy::Step => 11,
    };
    let (batch, seq_len, features) = (5, 4, 3);
    let (cell, count) = (r.cell, r.directions.len());
    let (gates, states) = (cell.spec().gates.len() * hidden, cell.spec().states.len());
    let flags: Vec<_> = r.directions.iter().map(|d| (d.reverse, d.flipped)).collect();
    let functions = (r.params, r.dead, flags);
    // Projected, a few units less.
    let output = if r.is_projected() { hidden - hidden / 4 } else { hidden };
    let extras = match (r.has_peepholes(), r.is_projected()) {
        (false, false) => "",
        (true, false) => ", peepholes",
        (false, true) => ", projected",
        (true, true) => ", peepholes, projected",
    };
    let mut example = Example::new(format!(
        "recurrence of cell {}, {strategy:?} with {hidden} units, {precision:?}, {functions:?}{extras}",
        cell.spec().name
    ));
    example.strategy = Some(strategy);
    let input = example.input(&[batch, seq_len, features], 1.0);
    let mask = Some(example.mask(batch, seq_len));
    let mut directions = Vec::with_capacity(count);
    for direction in &r.directions {
        let weight_ih = example.weight(&[gates, features], 0.5, input_precision);
        // The more units, the smaller, so that the states do not grow with their number.
        let scale = if hidden < 32 { 0.25 } else { 0.0625 };
        let weight_hh = example.weight(&[gates, output], scale, precision);
        let (bias_ih, bias_hh) = (Some(example.bias(gates)), Some(example.bias(gates)));
        let size = |state| if state == 0 { output } else { hidden };
        let initial = (0..states).map(|state| Some(example.input(&[batch, size(state)], 0.5))).collect();
        let finals = (0..states).map(|state| Some(example.buffer(&[batch, size(state)]))).collect();
        let peephole = direction.peephole.map(|_| example.bias(cell.spec().peepholes.len() * hidden));
        let projection = direction.projection.map(|_| example.weight(&[output, hidden], scale, precision));
        let (reverse, flipped) = (direction.reverse, direction.flipped);
        directions.push(Direction {
            reverse,
            flipped,
            weight_ih,
            weight_hh,
            bias_ih,
            bias_hh,
            peephole,
            projection,
            initial,
            finals,
        });
    }
    let sequence = Some(example.buffer(&[batch, seq_len, count * output]));
    let last = Some(example.buffer(&[batch, count * output]));
    example.step(Op::Recurrence(Recurrence {
        cell,
        params: r.params,
        hidden_size: hidden,
        output_size: output,
        input_size: features,
        input,
        mask,
        dead: r.dead,
        directions,
        sequence,
        last,
    }))
}

/// The steps without matrices.
fn simple(op: &Op) -> Example {
    let f32 = Precision::F32;
    match op {
        Op::Map { activation, .. } => {
            let mut example = Example::new(format!("map, {activation:?}"));
            // Several turns for what repeats.
            let scale = if matches!(activation, Activation::Sin | Activation::Cos) { 400.0 } else { 4.0 };
            let (input, output) = (example.input(&[300], scale), example.buffer(&[300]));
            let activation = *activation;
            example.step(Op::Map { input, activation, output })
        }
        Op::Constant { .. } => {
            let mut example = Example::new("constant".to_owned());
            let (weight, output) = (example.weight(&[300], 1.0, f32), example.buffer(&[300]));
            example.step(Op::Constant { weight, output })
        }
        Op::Ramp { .. } => {
            let mut example = Example::new("ramp".to_owned());
            let output = example.buffer(&[2, 150, 2]);
            example.step(Op::Ramp { start: 0.5, step: -0.25, axis: 1, output })
        }
        Op::Permute { .. } => {
            let mut example = Example::new("permute".to_owned());
            let (input, output) = (example.input(&[2, 5, 3, 4], 1.0), example.buffer(&[2, 4, 5, 3]));
            example.step(Op::Permute { input, axes: vec![0, 3, 1, 2], output })
        }
        Op::Window { .. } => {
            let mut example = Example::new("window".to_owned());
            let (input, output) = (example.input(&[3, 9, 2], 1.0), example.buffer(&[3, 6, 3, 2]));
            let before = Dim::from(3);
            example.step(Op::Window { input, stride: 2, dilation: 2, before, fill: -1.0, output })
        }
        Op::MatMul { transposed, .. } => {
            let transposed = *transposed;
            let mut example = Example::new(format!("mat_mul, transposed {transposed}"));
            let left = example.input(&[2, 3, 35, 70], 0.25);
            let right = example.input(&[2, 1, if transposed { 34 } else { 70 }, if transposed { 70 } else { 34 }], 1.0);
            let output = example.buffer(&[2, 3, 35, 34]);
            example.step(Op::MatMul { left, right, transposed, output })
        }
        Op::Take { .. } => {
            let mut example = Example::new("take".to_owned());
            let index = example.given(&[2, 4], vec![0.0, 2.5, -3.0, 4.0, f32::NAN, 1.5, 90.0, f32::INFINITY]);
            let (input, output) = (example.input(&[2, 5, 3], 1.0), example.buffer(&[2, 4, 3]));
            example.step(Op::Take { input, index, output })
        }
        Op::Combine { op, .. } => {
            let mut example = Example::new(format!("combine, {op:?}"));
            let left = example.input(&[2, 3, 4], 1.0);
            let right = example.given(&[2, 1, 4], vec![0.5, 0.0, -1.0, 2.0, f32::NAN, 0.0, 1.0, 0.25]);
            let output = example.buffer(&[2, 3, 4]);
            example.step(Op::Combine { op: *op, left, right, output })
        }
        Op::Reduce { op, mask, .. } => {
            let mut example = Example::new(format!("reduce, {op:?}, mask {}", mask.is_some()));
            let input = example.input(&[4, 5, 2], 1.0);
            let mask = mask.map(|_| example.mask(4, 5));
            let output = example.buffer(&[4, 2]);
            example.step(Op::Reduce { op: *op, input, axis: 1, mask, output })
        }
        Op::Softmax { log, .. } => {
            let mut example = Example::new(format!("softmax, logarithm {log}"));
            let (input, output) = (example.input(&[3, 300, 2], 8.0), example.buffer(&[3, 300, 2]));
            example.step(Op::Softmax { input, axis: 1, log: *log, output })
        }
        Op::LayerNorm { .. } => {
            let mut example = Example::new("layer_norm".to_owned());
            let (input, output) = (example.input(&[3, 300], 2.0), example.buffer(&[3, 300]));
            let (gamma, beta) = (Some(example.bias(300)), Some(example.bias(300)));
            example.step(Op::LayerNorm { input, first_axis: 1, axes: 1, gamma, beta, epsilon: 1e-3, output })
        }
        Op::BatchNorm { .. } => {
            let mut example = Example::new("batch_norm".to_owned());
            let (input, output) = (example.input(&[3, 4, 2], 1.0), example.buffer(&[3, 4, 2]));
            let [mean, gamma, beta] = [0; 3].map(|_| example.bias(4));
            let variance = example.weight(&[4], 0.0, f32);
            let (gamma, beta) = (Some(gamma), Some(beta));
            example.step(Op::BatchNorm { input, axis: 1, mean, variance, gamma, beta, epsilon: 0.5, output })
        }
        Op::NotEqual { .. } => {
            let mut example = Example::new("not_equal".to_owned());
            let values = vec![0.5, 0.5, 0.5, 0.5, 0.0, 0.5, f32::NAN, 0.5, 0.5, 1.0, 2.0, 3.0];
            let (input, output) = (example.given(&[4, 3], values), example.buffer(&[4]));
            example.step(Op::NotEqual { input, value: 0.5, output, width: 3 })
        }
        // Copies; products and recurrences have examples of their own.
        _ => {
            let mut example = Example::new("copy".to_owned());
            let (input, output) = (example.input(&[2, 5, 3], 1.0), example.buffer(&[2, 4, 3]));
            let (input_start, output_start, extent) = (Dim::from(4), Dim::from(1), Dim::from(2));
            example.step(Op::Copy { input, input_start, input_step: -3, output, output_start, axis: 1, extent })
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::{
        cell::{Cell, CellParams},
        gpu::{Fault, FaultPoint, Gpu, GpuOptions, GpuProgram},
        model::{Dense, Embedding, HeadActivation, LayerKind, LayerNormalization, MergeOp, Model, Recurrent},
        plan::{CombineOp, DeadTimesteps, PlanOptions, ReduceOp},
    };

    fn tensor(shape: &[usize]) -> Arc<Tensor> {
        let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| (i % 7) as f32 * 0.125 - 0.375).collect();
        Arc::new(Tensor::new(shape, values).expect("as many values as the shape says"))
    }

    /// Token ids to a mask, two recurrent layers of `cell`, a pooling, normalisations, a softmax.
    fn model(cell: Cell, hidden: usize) -> Model {
        let gates = cell.spec().gates.len() * hidden;
        let recurrent = |input: usize, return_sequences, go_backwards| {
            LayerKind::Recurrent(Recurrent {
                cell,
                params: CellParams::new(Activation::Softsign, Activation::HardSigmoid { alpha: 0.2, beta: 0.5 }),
                weight_ih: tensor(&[gates, input]),
                weight_hh: tensor(&[gates, hidden]),
                weight_hr: None,
                peephole: None,
                bias_ih: Some(tensor(&[gates])),
                bias_hh: None,
                return_sequences,
                return_state: false,
                go_backwards,
                stateful: false,
                dead: DeadTimesteps::RepeatOutput,
                passes_mask: true,
            })
        };
        let mut model = Model::builder("all");
        let ids = model.input("ids", &[None]).unwrap();
        let embedding = Embedding { table: tensor(&[5, 3]), mask_zero: true };
        let x = model.add("embedding", LayerKind::Embedding(embedding), &[ids]).unwrap();
        let a = model.add("a", recurrent(3, true, false), &[x]).unwrap();
        let b = model.add("b", recurrent(hidden, false, true), &[a]).unwrap();
        let mean = model.add("mean", LayerKind::GlobalAveragePooling { keepdims: false }, &[a]).unwrap();
        let max = model.add("max", LayerKind::GlobalMaxPooling { keepdims: false }, &[a]).unwrap();
        let sum = model.add("sum", LayerKind::Merge(MergeOp::Add), &[b, mean]).unwrap();
        let product = model.add("product", LayerKind::Merge(MergeOp::Multiply), &[sum, max]).unwrap();
        let joined = model.add("joined", LayerKind::Concatenate { axis: -1 }, &[product, b]).unwrap();
        let norm = LayerNormalization { axes: vec![-1], gamma: None, beta: Some(tensor(&[2 * hidden])), epsilon: 1e-3 };
        let normal = model.add("normal", LayerKind::LayerNormalization(norm), &[joined]).unwrap();
        let dense = Dense { weight: tensor(&[4, 2 * hidden]), bias: None, activation: HeadActivation::Softmax };
        let y = model.add("dense", LayerKind::Dense(dense), &[normal]).unwrap();
        model.output("y", y).unwrap();
        model.build().unwrap()
    }

    #[test]
    fn the_examples_use_every_pipeline_that_a_run_uses() {
        let Ok(gpu) = pollster::block_on(Gpu::open(GpuOptions::default())) else {
            assert!(std::env::var_os("WGPU_RNN_SKIP_GPU").is_some(), "no adapter");
            return eprintln!("SKIPPED: no adapter");
        };
        let compiled = || {
            pollster::block_on(gpu.call(|owner| Ok(owner.pipelines.as_ref().map(|all| all.compiled())))).expect("alive")
        };
        for (cell, strategy, hidden, precision) in [
            (Cell::Lstm, Strategy::Persistent, 5, Precision::F32),
            (Cell::Lstm, Strategy::Step, 5, Precision::F16),
            (Cell::Gru, Strategy::Persistent, 17, Precision::F16),
            (Cell::GruResetBefore, Strategy::Step, 9, Precision::F32),
            (Cell::Rnn, Strategy::Persistent, 33, Precision::F32),
        ] {
            let options = PlanOptions { precision, ..PlanOptions::default() };
            let plan = Arc::new(Plan::new(&model(cell, hidden), &options).expect("a plan"));
            let options = ProgramOptions { strategy: Some(strategy), ..ProgramOptions::default() };
            let program = pollster::block_on(GpuProgram::new(&gpu, Arc::clone(&plan), options)).expect("a program");
            for rows in [1, 12] {
                let bound = plan.bind(&[vec![rows, 4]]).expect("bound");
                pollster::block_on(program.warm_up(&bound)).expect("right kernels");
                let before = compiled();
                let ids = (0..rows * 4).map(|i| (i % 5) as f32).collect();
                let inputs = vec![(plan.inputs[0].buffer, ids)];
                pollster::block_on(program.run(bound, inputs, vec![plan.outputs[0].buffer])).expect("a run");
                assert_eq!(compiled(), before, "{cell:?} {strategy:?} {rows} rows");
            }
        }
    }

    /// The steps that make and move values, products of values, and the functions of graphs.
    fn moves() -> Vec<Example> {
        let (some, weight) = (BufferId::new(0), WeightId::new(0));
        let start = || Dim::from(0);
        let mut ops = vec![
            Op::Constant { weight, output: some },
            Op::Ramp { start: 0.0, step: 1.0, axis: 0, output: some },
            Op::Permute { input: some, axes: vec![0], output: some },
            Op::Window { input: some, stride: 1, dilation: 1, before: start(), fill: 0.0, output: some },
            Op::Take { input: some, index: some, output: some },
            Op::Copy {
                input: some,
                input_start: start(),
                input_step: 1,
                output: some,
                output_start: start(),
                axis: 0,
                extent: start(),
            },
        ];
        ops.extend([false, true].map(|transposed| Op::MatMul { left: some, right: some, transposed, output: some }));
        use Activation::{
            Abs, Ceil, Clip, Cos, Erf, Floor, Log, Reciprocal, Round, ScaledTanh, Sign, Sin, Sqrt, Trunc,
        };
        let (clip, tanh) = (Clip { min: -1.0, max: f32::INFINITY }, ScaledTanh { alpha: 2.0, beta: -0.5 });
        let functions = [tanh, clip, Sqrt, Log, Abs, Reciprocal, Erf, Floor, Ceil, Round, Trunc, Sign, Sin, Cos];
        ops.extend(functions.map(|activation| Op::Map { input: some, activation, output: some }));
        ops.iter().map(simple).collect()
    }

    #[test]
    fn every_kernel_passes_and_a_planted_error_stays() {
        let Ok(gpu) = pollster::block_on(Gpu::open(GpuOptions::default())) else {
            assert!(std::env::var_os("WGPU_RNN_SKIP_GPU").is_some(), "no adapter");
            return eprintln!("SKIPPED: no adapter");
        };
        let some = BufferId::new(0);
        let combine = |op| simple(&Op::Combine { op, left: some, right: some, output: some });
        let reduce = |op| simple(&Op::Reduce { op, input: some, axis: 1, mask: Some(some), output: some });
        use CombineOp::{Add, Divide, Equal, Less, Mask, Maximum, Minimum, Multiply, Subtract};
        let combines = [Add, Subtract, Multiply, Divide, Maximum, Minimum, Equal, Less, Mask];
        let mut all: Vec<Example> = combines.map(combine).into();
        all.extend([ReduceOp::Sum, ReduceOp::Mean, ReduceOp::Max, ReduceOp::Min].map(reduce));
        all.extend(moves());
        all.push(simple(&Op::Softmax { input: some, axis: 1, log: true, output: some }));
        all.push(simple(&Op::NotEqual { input: some, value: 0.0, output: some, width: 1 }));
        all.push(gather(Precision::F16));
        all.extend(linear(Precision::F16, Activation::GeluTanh));
        let statistics = WeightId::new(0);
        all.push(simple(&Op::BatchNorm {
            input: some,
            axis: 1,
            mean: statistics,
            variance: statistics,
            gamma: None,
            beta: None,
            epsilon: 0.1,
            output: some,
        }));
        for mut example in all {
            pollster::block_on(gpu.call(move |owner| example.run(owner))).expect("a right kernel");
        }
        gpu.plant_fault(FaultPoint::Readback, 1, Fault::WrongBit);
        let wrong = pollster::block_on(gpu.call(|owner| gather(Precision::F32).run(owner))).expect_err("planted");
        assert!(matches!(&wrong, Error::KnownAnswer { detail, .. } if detail.starts_with("value 0 is")), "{wrong}");
    }

    #[test]
    fn agreement_is_strict_about_nan_and_infinity() {
        let exact = |found: f32, expected: f64| agrees(found, expected, 0.0);
        assert!(exact(f32::NAN, f64::NAN) && exact(f32::INFINITY, f64::INFINITY) && exact(1000.001, 1000.0));
        assert!(!exact(f32::NAN, 1.0) && !exact(1.0, f64::NAN) && !exact(f32::INFINITY, 1.0));
        assert!(!exact(f32::NEG_INFINITY, f64::INFINITY) && !exact(2e-5, 0.0));
        assert!(agrees(2e-5, 0.0, 1e-6) && !agrees(4e-5, 0.0, 1e-6));
    }
}
