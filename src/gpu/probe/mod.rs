//! Known-answer tests. Drivers can be silently wrong, so before a device runs a kernel in some
//! specialisation for the first time, the same pipeline runs a tiny example through the normal path
//! and is compared with the reference.

mod examples;

use std::sync::Arc;

use super::{
    executor::{Inputs, Program, ProgramOptions},
    kernel::{Products, RowWidth},
    kernels::strategy::{Strategy, Way, way_within},
    owner::Owner,
    pool::Pool,
    schedule::{Schedule, Unit},
    weights::Weights,
};
use crate::{
    activation::Activation,
    dim::Dim,
    error::{Error, Result},
    plan::{Bound, Buffer, BufferId, Op, Plan, Precision, Step, Weight, WeightId},
    reference,
    tensor::Tensor,
};
use examples::{gather, linear, recurrence, simple};

/// Largest error of a kernel that works, relative to the larger of 1 and the value; with products in f16.
const TOLERANCE: f64 = 1e-5;
const HALF_TOLERANCE: f64 = 4e-3;
/// Relative change of every weight in the twin whose results show how much an example amplifies
/// rounding: a model may choose functions that let small differences grow.
const NUDGE: f32 = 1.0 / (1 << 20) as f32;
const HALF_NUDGE: f32 = 1.0 / (1 << 11) as f32;
/// How many times the twin's distance is allowed as well.
const TWIN_DISTANCES: f64 = 16.0;
/// Values beyond this come of functions that grow without bound, and say nothing in f32.
const LARGEST: f64 = 1e4;

/// Checks every kernel that `plan` needs; those that this device has checked before cost nothing. Whether it came to an
/// end: not if workgroups waited in vain, which leaves nothing known of them.
///
/// # Errors
/// [`Error::KnownAnswer`], now and whenever the kernel is asked for again; a device's failure.
pub(super) fn check(
    owner: &mut Owner,
    (plan, schedule): (&Plan, &Schedule),
    bound: &Bound,
    options: &ProgramOptions,
) -> Result<bool> {
    for unit in &schedule.units {
        for mut example in examples(owner, plan, bound, unit, options)? {
            match owner.verdicts.get(&example.key) {
                Some(verdict) => verdict.clone()?,
                None => {
                    let verdict = match example.run(owner) {
                        Ok(false) => return Ok(false),
                        verdict => verdict.map(|_| ()),
                    };
                    if matches!(verdict, Ok(()) | Err(Error::KnownAnswer { .. })) {
                        owner.verdicts.insert(example.key, verdict.clone());
                    }
                    verdict?;
                }
            }
        }
    }
    Ok(true)
}

/// Which pipelines the recurrences of a run with the sizes `bound` take, as far as the sizes have a say.
pub(super) fn ways(
    owner: &Owner,
    (plan, schedule): (&Plan, &Schedule),
    bound: &Bound,
    options: &ProgramOptions,
) -> Result<Vec<(Strategy, RowWidth, Products)>> {
    let ways = schedule.recurrences(plan).map(|(_, r)| way_within(r, &owner.traits, options.wish(), bound));
    ways.map(|way| way.map(|(way, _)| (way.strategy, way.width, way.products))).collect()
}

/// The examples for a unit: together they use every pipeline that it may use with the sizes `bound`.
fn examples(owner: &Owner, plan: &Plan, bound: &Bound, unit: &Unit, options: &ProgramOptions) -> Result<Vec<Example>> {
    let precision = |id: WeightId| plan.weights.get(id.index()).map_or(Precision::F32, |weight| weight.precision);
    let half = |example: Example| example.in_half(options.half_arithmetic);
    let mut all = Vec::new();
    if let Some(r) = unit.recurrence(plan) {
        let (way, _) = way_within(r, &owner.traits, options.wish(), bound)?;
        for member in unit.members(plan) {
            let precisions = member.directions.first().map(|d| [d.weight_ih, d.weight_hh].map(precision));
            let [input, recurrent] = precisions.unwrap_or_default();
            all.extend(linear(input, Activation::Linear, member.input_size).map(half));
            all.push(half(recurrence(member, way, [input, recurrent])));
        }
        return Ok(all);
    }
    for step in plan.steps.get(unit.steps.clone()).unwrap_or_default() {
        match &step.op {
            Op::Linear { weight, activation, input, .. } => {
                let inputs = bound.shape(*input).last().copied().unwrap_or_default();
                all.extend(linear(precision(*weight), *activation, inputs).map(half));
            }
            Op::Gather { table, .. } => all.push(gather(precision(*table))),
            other => all.push(simple(other)),
        }
    }
    Ok(all)
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
    like: Option<Way>,
    /// Whether products with f16 weights are made in f16.
    half: bool,
    random: u64,
}

impl Example {
    fn new(key: String) -> Self {
        let plan = Plan { symbols: vec!["batch".to_owned()], ..Plan::default() };
        let bound = Bound { symbols: vec![1], shapes: Vec::new() };
        Self {
            key,
            plan,
            bound,
            inputs: Vec::new(),
            weights: Vec::new(),
            strategy: None,
            like: None,
            half: false,
            random: 1,
        }
    }

    /// The same with f16 arithmetic, if it has f16 weights.
    fn in_half(self, asked: bool) -> Self {
        let half = asked && self.weights.iter().any(|(.., precision)| *precision == Precision::F16);
        let key = if half { format!("{}, in f16", self.key) } else { self.key.clone() };
        Self { key, half, ..self }
    }

    /// The next of a fixed sequence of numbers in -1..1, multiples of 1/1024, which f16 holds.
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
        // What is stored, so that a nudge is rounded back and excuses nothing.
        let values = precision.rounded(values.into(), shape.last().copied().unwrap_or(1)).into_owned();
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

    /// Whether it came to a result: not if workgroups waited in vain.
    fn run(&mut self, owner: &mut Owner) -> Result<bool> {
        let outputs = self.plan.steps.iter().flat_map(|step| step.op.outputs()).collect::<Vec<_>>();
        self.set_weights(if self.half { HALF_NUDGE } else { NUDGE })?;
        let twin = self.expected(&outputs)?;
        self.set_weights(0.0)?;
        let expected = self.expected(&outputs)?;
        let (strategy, half_arithmetic) = (self.strategy, self.half);
        let options = ProgramOptions { strategy, half_arithmetic, ..ProgramOptions::default() };
        let tolerance = if self.half { HALF_TOLERANCE } else { TOLERANCE };
        let schedule = Schedule::new(&self.plan, owner.limits.max_storage_buffer_binding_size);
        let weights = Weights::upload(owner, &self.plan, &schedule)?;
        let program =
            Program { plan: &self.plan, schedule: &schedule, weights: &weights, options: &options, like: self.like };
        let mut pool = Pool::default();
        // Compiling, as much of the time as it takes, says nothing about the kernels' speed.
        let speed = owner.speed.clone();
        let found = program.run(owner, &mut pool, &self.bound, self.inputs.clone(), &outputs);
        owner.speed = speed;
        pool.clear(owner);
        let (found, stats) = found?;
        if stats.gave_up {
            owner.give_up();
            return Ok(false);
        }
        for ((found, expected), twin) in found.iter().zip(&expected).zip(&twin) {
            let distances = expected.iter().zip(twin).map(|(a, b)| (a - b).abs());
            let distance = distances.filter(|distance| distance.is_finite()).fold(0.0, f64::max);
            let mut pairs = found.iter().zip(expected).enumerate();
            if let Some((index, (found, expected))) = pairs.find(|(_, (a, b))| !agrees(**a, **b, tolerance, distance)) {
                return Err(Error::KnownAnswer {
                    kernel: self.key.clone(),
                    adapter: owner.adapter.clone(),
                    detail: format!("value {index} is {found} instead of {expected}"),
                });
            }
        }
        Ok(true)
    }
}

fn agrees(found: f32, expected: f64, tolerance: f64, distance: f64) -> bool {
    let found = f64::from(found);
    if found.is_nan() || expected.is_nan() {
        return found.is_nan() && expected.is_nan();
    }
    if expected.is_infinite() {
        return found == expected;
    }
    let tolerance = tolerance * expected.abs().max(1.0) + TWIN_DISTANCES * distance;
    expected.abs() > LARGEST || (found - expected).abs() <= tolerance
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
    /// With `all_options` the layers have what only an LSTM can have, too.
    fn model(cell: Cell, units: usize, all_options: bool) -> Model {
        let gates = cell.spec().gates.len() * units;
        let hidden = if all_options { units - 1 } else { units };
        let mut params = CellParams::new(Activation::Softsign, Activation::HardSigmoid { alpha: 0.2, beta: 0.5 });
        (params.clip, params.coupled) = (all_options.then_some(0.5), all_options);
        let recurrent = |input: usize, return_sequences, go_backwards| {
            LayerKind::Recurrent(Recurrent {
                cell,
                params,
                weight_ih: tensor(&[gates, input]),
                weight_hh: tensor(&[gates, hidden]),
                weight_hr: all_options.then(|| tensor(&[hidden, units])),
                peephole: all_options.then(|| tensor(&[3 * units])),
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
        let has_half = pollster::block_on(gpu.call(|owner| Ok(owner.has_half_arithmetic()))).expect("alive");
        for (cell, strategy, hidden, precision) in [
            (Cell::Lstm, Strategy::Persistent, 5, Precision::F32),
            (Cell::Lstm, Strategy::Step, 5, Precision::F16),
            (Cell::Gru, Strategy::Persistent, 17, Precision::F16),
            (Cell::GruResetBefore, Strategy::Step, 9, Precision::F32),
            (Cell::Rnn, Strategy::Persistent, 33, Precision::F32),
            (Cell::Lstm, Strategy::Step, 6, Precision::F16),
            (Cell::Lstm, Strategy::Persistent, 7, Precision::I8),
            (Cell::GruResetBefore, Strategy::Held, 9, Precision::I8),
            (Cell::Lstm, Strategy::Step, 6, Precision::I8),
            (Cell::Gru, Strategy::Held, 9, Precision::Bf16),
            (Cell::Lstm, Strategy::Step, 6, Precision::Bf16),
        ] {
            let all_options = hidden == 6;
            let options = PlanOptions { precision, ..PlanOptions::default() };
            let plan = Arc::new(Plan::new(&model(cell, hidden, all_options), &options).expect("a plan"));
            let mut options = ProgramOptions { strategy: Some(strategy), ..ProgramOptions::default() };
            options.half_arithmetic = precision == Precision::F16 && !all_options && has_half;
            let program = pollster::block_on(GpuProgram::new(&gpu, Arc::clone(&plan), options)).expect("a program");
            for rows in [1, 12, 64] {
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

    #[test]
    fn a_run_whose_workgroups_wait_in_vain_is_made_again_step_by_step() {
        let Ok(gpu) = pollster::block_on(Gpu::open(GpuOptions::default())) else {
            assert!(std::env::var_os("WGPU_RNN_SKIP_GPU").is_some(), "no adapter");
            return eprintln!("SKIPPED: no adapter");
        };
        let plan = Arc::new(Plan::new(&model(Cell::Lstm, 16, false), &PlanOptions::default()).expect("a plan"));
        let run = |strategy| {
            let options = ProgramOptions { strategy: Some(strategy), ..ProgramOptions::default() };
            let program = pollster::block_on(GpuProgram::new(&gpu, Arc::clone(&plan), options)).expect("a program");
            let bound = plan.bind(&[vec![3, 6]]).expect("bound");
            let inputs = vec![(plan.inputs[0].buffer, (0..18).map(|i| (i % 5) as f32).collect())];
            pollster::block_on(program.run_with_stats(bound, inputs, vec![plan.outputs[0].buffer])).expect("a run")
        };
        let patience = |tries| {
            let set = gpu.call(move |owner| {
                owner.traits.tries = tries;
                Ok(())
            });
            pollster::block_on(set).expect("alive");
        };
        let kernels = |stats: &crate::stats::RunStats| stats.kernels.iter().map(|k| k.kernel).collect::<Vec<_>>();
        let (expected, stats) = run(Strategy::Step);
        assert!(!stats.gave_up);
        patience(0);
        let (found, stats) = run(Strategy::Cooperative);
        assert!(found == expected);
        assert!(stats.gave_up && kernels(&stats).contains(&"recurrence_step"), "{stats:?}");
        patience(1 << 26);
        // On a busy CPU one of them may have to wait for a processor longer than the other has patience.
        let met = (0..50).map(|_| run(Strategy::Cooperative)).find(|(found, stats)| {
            assert!(*found == expected);
            !stats.gave_up
        });
        let (_, stats) = met.expect("workgroups that met");
        assert!(kernels(&stats).contains(&"recurrence_cooperative") && !kernels(&stats).contains(&"recurrence_step"));
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
        for precision in Precision::ALL {
            all.push(gather(precision));
            all.extend(linear(precision, Activation::GeluTanh, 8));
        }
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
        let exact = |found: f32, expected: f64| agrees(found, expected, TOLERANCE, 0.0);
        assert!(exact(f32::NAN, f64::NAN) && exact(f32::INFINITY, f64::INFINITY) && exact(1000.001, 1000.0));
        assert!(!exact(f32::NAN, 1.0) && !exact(1.0, f64::NAN) && !exact(f32::INFINITY, 1.0));
        assert!(!exact(f32::NEG_INFINITY, f64::INFINITY) && !exact(2e-5, 0.0));
        assert!(agrees(2e-5, 0.0, TOLERANCE, 1e-6) && !agrees(4e-5, 0.0, TOLERANCE, 1e-6));
    }
}
