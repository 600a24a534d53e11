//! A small builder of plans, and runs of them by the executors.

use std::{fmt, sync::Arc};

use wgpu_rnn::{
    Tensor,
    compare::{Tolerance, compare},
    cpu::CpuProgram,
    dim::{Dim, Symbol},
    plan::{Bound, Buffer, BufferId, InputPort, Op, Plan, Precision, Step, Weight, WeightId},
    reference,
};

use super::Rng;

/// `count` values from `-scale` to `scale`.
pub fn values(rng: &mut Rng, count: usize, scale: f32) -> Vec<f32> {
    (0..count).map(|_| rng.uniform(-scale, scale)).collect()
}

/// One of `from`.
pub fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.below(from.len())]
}

/// A plan under construction. Axis 0 of every buffer is the batch.
#[derive(Debug)]
pub struct Builder {
    pub plan: Plan,
    pub inputs: Vec<(BufferId, Vec<f32>)>,
    pub batch: usize,
}

impl Builder {
    pub fn new(batch: usize) -> Self {
        Self { plan: Plan { symbols: vec!["batch".into()], ..Plan::default() }, inputs: Vec::new(), batch }
    }

    /// A buffer `[batch, rest..]`.
    pub fn buffer(&mut self, rest: &[usize]) -> BufferId {
        let mut shape = vec![Dim::from(Symbol::BATCH)];
        shape.extend(rest.iter().map(|&size| Dim::from(size)));
        let name = format!("buffer {}", self.plan.buffers.len());
        self.plan.buffers.push(Buffer { name, shape, view_of: None });
        BufferId::new(self.plan.buffers.len() - 1)
    }

    /// A buffer that has no batch.
    pub fn fixed_buffer(&mut self, shape: &[usize]) -> BufferId {
        let id = self.buffer(&[]);
        self.plan.buffers[id.index()].shape = shape.iter().map(|&size| Dim::from(size)).collect();
        id
    }

    /// An input `[batch, rest..]` with those values.
    pub fn input(&mut self, rest: &[usize], values: Vec<f32>) -> BufferId {
        let buffer = self.buffer(rest);
        let name = format!("input {}", self.plan.inputs.len());
        self.plan.inputs.push(InputPort::new(name, buffer, rest.len() + 1));
        self.inputs.push((buffer, values));
        buffer
    }

    /// An input `[batch, rest..]` with random values.
    pub fn random_input(&mut self, rng: &mut Rng, rest: &[usize], scale: f32) -> BufferId {
        let values = values(rng, self.batch * rest.iter().product::<usize>(), scale);
        self.input(rest, values)
    }

    pub fn weight(&mut self, shape: &[usize], values: Vec<f32>) -> WeightId {
        let name = format!("weight {}", self.plan.weights.len());
        let tensor = Arc::new(Tensor::new(shape, values).unwrap());
        self.plan.weights.push(Weight { name, tensor, precision: Precision::F32 });
        WeightId::new(self.plan.weights.len() - 1)
    }

    pub fn random_weight(&mut self, rng: &mut Rng, shape: &[usize], scale: f32) -> WeightId {
        let values = values(rng, shape.iter().product(), scale);
        self.weight(shape, values)
    }

    pub fn step(&mut self, op: Op) {
        let name = format!("step {}", self.plan.steps.len());
        self.plan.steps.push(Step { name, op });
    }

    pub fn case(self, outputs: Vec<BufferId>, tolerance: Tolerance) -> Case {
        let rest = |input: &InputPort| {
            let shape = &self.plan.buffers[input.buffer.index()].shape;
            std::iter::once(self.batch).chain(shape.iter().skip(1).map(|dim| dim.fixed().unwrap())).collect()
        };
        let shapes: Vec<Vec<usize>> = self.plan.inputs.iter().map(rest).collect();
        let bound = self.plan.bind(&shapes).unwrap();
        Case { plan: Arc::new(self.plan), bound, inputs: self.inputs, outputs, tolerance }
    }
}

/// A run and what it should give.
#[derive(Clone, Debug)]
pub struct Case {
    pub plan: Arc<Plan>,
    pub bound: Bound,
    pub inputs: Vec<(BufferId, Vec<f32>)>,
    pub outputs: Vec<BufferId>,
    pub tolerance: Tolerance,
}

impl Case {
    pub fn reference(&self) -> Vec<Vec<f64>> {
        self.reference_with(|x| x)
    }

    /// What the reference gives for inputs that `change` maps.
    fn reference_with(&self, mut change: impl FnMut(f64) -> f64) -> Vec<Vec<f64>> {
        let mut changed = |values: &[f32]| values.iter().map(|&x| change(f64::from(x))).collect();
        let inputs: Vec<_> = self.inputs.iter().map(|(id, values)| (*id, changed(values))).collect();
        reference::run(&self.plan, &self.bound, &inputs, &self.outputs).unwrap()
    }

    /// What the CPU gives, in a second run the same as in the first one, whose memory it has.
    pub fn cpu(&self, threads: usize) -> Vec<Vec<f32>> {
        let program = CpuProgram::new(self.plan.clone()).unwrap();
        let run = || program.run(&self.bound, &self.inputs, &self.outputs, threads).unwrap();
        let (first, again) = (run(), run());
        assert_same_bits(&first, &again, &"the run before the second one");
        again
    }

    /// Compares `actual` (outputs in order) with the reference.
    pub fn compare(&self, actual: &[Vec<f32>], what: &dyn fmt::Debug) -> Comparison {
        let mut result = Comparison::default();
        let reference = self.reference();
        for (output, ((expected, actual), &id)) in reference.iter().zip(actual).zip(&self.outputs).enumerate() {
            let shape = self.bound.shape(id);
            let mut report = compare(expected, actual, shape, self.tolerance).unwrap();
            if !report.passed() && report.pattern_failures == 0 {
                // A net may magnify errors. Then its f64 twin with inputs moved by a rounding error
                // or two differs as well, and the allowance is 16 times as much.
                result.ill_conditioned = true;
                let mut sign = 1.0;
                let twin = self.reference_with(|x| {
                    sign = -sign;
                    x * (1.0 + sign * f64::from(f32::EPSILON) * 2.0)
                });
                let moved = |(a, b): (&f64, &f64)| if a.is_finite() { (a - b).abs() / a.abs().max(1.0) } else { 0.0 };
                let most = expected.iter().zip(&twin[output]).map(moved).fold(0.0, f64::max) * 16.0;
                report = compare(expected, actual, shape, Tolerance { absolute: most, relative: most }).unwrap();
            } else {
                result.worst_ratio = result.worst_ratio.max(report.worst_ratio());
            }
            assert!(report.passed(), "{what:?}: {}: {report}", self.plan.buffers[id.index()].name);
        }
        result
    }

    /// The CPU executor agrees with the reference, and with itself on three threads.
    pub fn check_cpu(&self, what: &dyn fmt::Debug) -> Comparison {
        let actual = self.cpu(1);
        let result = self.compare(&actual, what);
        assert_same_bits(&actual, &self.cpu(3), &("three threads", what));
        result
    }
}

#[cfg(feature = "gpu")]
impl Case {
    /// The same with zeros in place of denormal inputs.
    fn without_denormals(&self) -> Self {
        let mut case = self.clone();
        for value in case.inputs.iter_mut().flat_map(|(_, values)| values) {
            *value = if value.is_subnormal() { 0.0 } else { *value };
        }
        case
    }

    /// Whether `actual` is within the tolerance.
    fn is_near(&self, actual: &[Vec<f32>]) -> bool {
        self.reference().iter().zip(actual).zip(&self.outputs).all(|((expected, actual), &id)| {
            compare(expected, actual, self.bound.shape(id), self.tolerance).unwrap().passed()
        })
    }

    /// The GPU executor agrees with the reference, and with itself where the rows run in two parts.
    pub fn check_gpu(&self, what: &dyn fmt::Debug) -> Comparison {
        use wgpu_rnn::{
            gpu::{GpuProgram, ProgramOptions},
            plan::rows,
        };
        let Some(gpu) = super::nets::gpu() else { return Comparison::default() };
        let mut options = ProgramOptions::default();
        options.known_answer_tests = false;
        let program = pollster::block_on(GpuProgram::new(&gpu, self.plan.clone(), options)).unwrap();
        let run = |bound: &Bound, inputs: &[(BufferId, Vec<f32>)]| {
            pollster::block_on(program.run(bound.clone(), inputs.to_vec(), self.outputs.clone())).unwrap()
        };
        let whole = run(&self.bound, &self.inputs);
        // WGSL lets a device take a denormal number for zero.
        let flushed = self.without_denormals();
        let result = if flushed.is_near(&whole) { flushed } else { self.clone() }.compare(&whole, what);
        if self.bound.batch() < 2 {
            return result;
        }
        let parts = rows::split(&self.plan, &self.bound, rows::ranges(self.bound.batch(), 2), &self.inputs).unwrap();
        let parts = parts.iter().map(|part| run(&part.bound, &part.inputs)).collect();
        let joined = rows::join(&self.bound, &self.outputs, parts).unwrap();
        assert_same_bits(&whole, &joined, &("in two parts", what));
        result
    }
}

/// What [`Case::compare`] found.
#[derive(Debug, Default)]
pub struct Comparison {
    /// The worst error in terms of what is allowed, of the well-conditioned outputs.
    pub worst_ratio: f64,
    /// Whether the net magnifies errors, so that more was allowed.
    pub ill_conditioned: bool,
}

/// A NaN is a NaN, whatever its sign and payload.
pub fn assert_same_bits(left: &[Vec<f32>], right: &[Vec<f32>], what: &dyn fmt::Debug) {
    assert_eq!(left.len(), right.len(), "{what:?}");
    for (output, (left, right)) in left.iter().zip(right).enumerate() {
        assert_eq!(left.len(), right.len(), "{what:?}: output {output}");
        let same = |(_, (a, b)): &(usize, (&f32, &f32))| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
        if let Some((at, (a, b))) = left.iter().zip(right).enumerate().find(|pair| !same(pair)) {
            panic!("{what:?}: output {output}, value {at}: {a:e} and {b:e}");
        }
    }
}
