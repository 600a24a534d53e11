//! Every kind of step, with random shapes.

use wgpu_rnn::{
    Activation,
    compare::Tolerance,
    dim::Dim,
    plan::{BufferId, CombineOp, Op, ReduceOp},
};

use crate::common::{
    Rng,
    plans::{Builder, Case, pick, values},
};

const CASES: u64 = 120;

/// Random extents, some 0 or 1, and a batch.
pub fn extents(rng: &mut Rng, rank: usize) -> (usize, Vec<usize>) {
    let sizes = [0, 1, 1, 2, 3, 4, 5, 7, 8, 16, 17];
    let batch = pick(rng, &[0, 1, 1, 2, 3, 5, 8]);
    (batch, (0..rank).map(|_| pick(rng, &sizes)).collect())
}

/// Replaces some values by NaN and infinities.
fn with_specials(rng: &mut Rng, mut values: Vec<f32>) -> Vec<f32> {
    if rng.chance(0.3) && !values.is_empty() {
        for _ in 0..1 + rng.below(3) {
            let at = rng.below(values.len());
            values[at] = pick(rng, &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 1e-40]);
        }
    }
    values
}

pub fn input(b: &mut Builder, rng: &mut Rng, rest: &[usize]) -> BufferId {
    let count = b.batch * rest.iter().product::<usize>();
    let values = values(rng, count, 2.0);
    let values = with_specials(rng, values);
    b.input(rest, values)
}

pub fn check(name: &str, build: impl Fn(&mut Rng) -> Case) {
    let mut worst: f64 = 0.0;
    for case in 0..CASES {
        let seed = name.bytes().map(u64::from).sum::<u64>() * 1000 + case;
        let case = build(&mut Rng::new(seed));
        let what = (name, seed, &case.plan.steps, &case.bound);
        let result = case.check_cpu(&what);
        assert!(!result.ill_conditioned, "{what:?}");
        worst = worst.max(result.worst_ratio);
        #[cfg(feature = "gpu")]
        case.check_gpu(&("GPU", what));
    }
    println!("{name}: worst error / tolerance {worst:.3}");
}

pub fn finish(b: Builder, output: BufferId) -> Case {
    b.case(vec![output], Tolerance::ONE_STEP)
}

#[test]
fn linear() {
    check("linear", |rng| {
        let rank = rng.below(3);
        let (batch, leading) = extents(rng, rank);
        let (in_size, out_size) = (pick(rng, &[1, 2, 5, 16, 100, 257]), pick(rng, &[1, 3, 15, 16, 17, 50]));
        let mut b = Builder::new(batch);
        let input = input(&mut b, rng, &[&leading[..], &[in_size]].concat());
        let scale = 1.0 / (in_size as f32).sqrt();
        let weight = b.random_weight(rng, &[out_size, in_size], scale);
        let bias = rng.chance(0.5).then(|| b.random_weight(rng, &[out_size], 1.0));
        let activation = pick(rng, &[Activation::Linear, Activation::Tanh, Activation::RELU, Activation::Softplus]);
        let output = b.buffer(&[&leading[..], &[out_size]].concat());
        b.step(Op::Linear { input, weight, bias, activation, output });
        finish(b, output)
    });
}

#[test]
fn gather() {
    check("gather", |rng| {
        let rank = rng.below(3);
        let (batch, rest) = extents(rng, rank);
        let (vocabulary, width) = (1 + rng.below(40), 1 + rng.below(20));
        let mut b = Builder::new(batch);
        let count = batch * rest.iter().product::<usize>();
        let ids = b.input(&rest, (0..count).map(|_| rng.below(vocabulary) as f32).collect());
        let table = b.random_weight(rng, &[vocabulary, width], 1.0);
        let output = b.buffer(&[&rest[..], &[width]].concat());
        b.step(Op::Gather { ids, table, output });
        finish(b, output)
    });
}

#[test]
fn map() {
    check("map", |rng| {
        let rank = rng.below(4);
        let (batch, rest) = extents(rng, rank);
        let mut b = Builder::new(batch);
        let input = input(&mut b, rng, &rest);
        let output = b.buffer(&rest);
        let activation = pick(rng, &crate::activations::all());
        b.step(Op::Map { input, activation, output });
        finish(b, output)
    });
}

#[test]
fn combine() {
    let ops = [
        CombineOp::Add,
        CombineOp::Subtract,
        CombineOp::Multiply,
        CombineOp::Divide,
        CombineOp::Maximum,
        CombineOp::Minimum,
        CombineOp::Equal,
        CombineOp::Less,
        CombineOp::Mask,
    ];
    check("combine", |rng| {
        let rank = rng.below(4);
        let (batch, rest) = extents(rng, rank);
        let mut b = Builder::new(batch);
        let side = |b: &mut Builder, rng: &mut Rng| {
            let whole = rng.chance(0.3);
            let rest: Vec<_> = rest.iter().map(|&size| if !whole && rng.chance(0.4) { 1 } else { size }).collect();
            input(b, rng, &rest)
        };
        let (left, mut right) = (side(&mut b, rng), side(&mut b, rng));
        let op = pick(rng, &ops);
        if op == CombineOp::Mask {
            for value in &mut b.inputs[1].1 {
                *value = pick(rng, &[0.0, 1.0]);
            }
        } else if op == CombineOp::Divide {
            // Quotients that f32 holds.
            let tiny = |value: &&mut f32| value.abs() < 1e-30 && **value != 0.0;
            b.inputs.iter_mut().flat_map(|(_, values)| values).filter(tiny).for_each(|value| *value = 0.5);
        } else if op == CombineOp::Equal {
            // Equal here and there.
            b.inputs.iter_mut().flat_map(|(_, values)| values).for_each(|value| *value = value.round());
        } else if rng.chance(0.1) {
            right = left;
        }
        let output = b.buffer(&rest);
        // With `right` the same as `left`, both must still broadcast.
        b.step(Op::Combine { op, left, right, output });
        finish(b, output)
    });
}

#[test]
fn copy() {
    check("copy", |rng| {
        let rank = 1 + rng.below(4);
        let (batch, rest) = extents(rng, rank);
        let axis = 1 + rng.below(rank);
        let mut b = Builder::new(batch);
        let mut from = rest.clone();
        from[axis - 1] = rng.below(12);
        let repeat = rng.chance(0.5);
        for (at, size) in from.iter_mut().enumerate() {
            if repeat && at + 1 != axis && rng.chance(0.5) {
                *size = 1;
            }
        }
        let output = b.buffer(&rest);
        // Two blocks, so that the first must survive the second.
        for _ in 0..2 {
            let input = input(&mut b, rng, &from);
            let input_step: i64 = pick(rng, &[1, 1, 2, 3, -1, -2]);
            let (stride, backwards) = (input_step.unsigned_abs() as usize, input_step < 0);
            let extent = rng.below(from[axis - 1].div_ceil(stride).min(rest[axis - 1]) + 1);
            let reach = extent.saturating_sub(1) * stride;
            let first = rng.below(from[axis - 1] - reach + usize::from(extent == 0));
            let input_start = Dim::from(if backwards { first + reach } else { first });
            let output_start = Dim::from(rng.below(rest[axis - 1] - extent + 1));
            b.step(Op::Copy { input, input_start, input_step, output, output_start, axis, extent: Dim::from(extent) });
        }
        finish(b, output)
    });
}

#[test]
fn reduce() {
    check("reduce", |rng| {
        let rank = 1 + rng.below(3);
        let (batch, rest) = extents(rng, rank);
        let axis = 1 + rng.below(rank);
        let mut b = Builder::new(batch);
        let input = input(&mut b, rng, &rest);
        let mask = (axis == 1 && rng.chance(0.5)).then(|| {
            let dead_row = rng.below(batch + 2);
            let live = |at: usize, rng: &mut Rng| at / rest[0].max(1) != dead_row && rng.chance(0.6);
            let mask = (0..batch * rest[0]).map(|at| if live(at, rng) { 1.0 } else { 0.0 }).collect();
            b.input(&rest[..1], mask)
        });
        let mut shape = rest.clone();
        if rng.chance(0.5) {
            shape[axis - 1] = 1;
        } else {
            shape.remove(axis - 1);
        }
        let output = b.buffer(&shape);
        let op = pick(rng, &[ReduceOp::Sum, ReduceOp::Mean, ReduceOp::Max, ReduceOp::Min]);
        b.step(Op::Reduce { op, input, axis, mask, output });
        finish(b, output)
    });
}

#[test]
fn softmax() {
    check("softmax", |rng| {
        let rank = 1 + rng.below(3);
        let (batch, rest) = extents(rng, rank);
        let mut b = Builder::new(batch);
        let input = input(&mut b, rng, &rest);
        let output = b.buffer(&rest);
        b.step(Op::Softmax { input, axis: 1 + rng.below(rank), log: rng.chance(0.5), output });
        finish(b, output)
    });
}

#[test]
fn layer_norm() {
    check("layer norm", |rng| {
        let rank = 1 + rng.below(3);
        let (batch, rest) = extents(rng, rank);
        let first_axis = 1 + rng.below(rank);
        let axes = 1 + rng.below(rank + 1 - first_axis);
        let group = &rest[first_axis - 1..first_axis - 1 + axes];
        let mut b = Builder::new(batch);
        let input = input(&mut b, rng, &rest);
        let gamma = rng.chance(0.7).then(|| b.random_weight(rng, group, 2.0));
        let beta = rng.chance(0.7).then(|| b.random_weight(rng, group, 2.0));
        let output = b.buffer(&rest);
        b.step(Op::LayerNorm { input, first_axis, axes, gamma, beta, epsilon: 1e-3, output });
        finish(b, output)
    });
}

#[test]
fn batch_norm() {
    check("batch norm", |rng| {
        let rank = 1 + rng.below(3);
        let (batch, rest) = extents(rng, rank);
        let axis = 1 + rng.below(rank);
        let channels = rest[axis - 1];
        let mut b = Builder::new(batch);
        let input = input(&mut b, rng, &rest);
        let mean = b.random_weight(rng, &[channels], 1.0);
        let variance = (0..channels).map(|_| rng.uniform(0.1, 3.0)).collect();
        let variance = b.weight(&[channels], variance);
        let gamma = rng.chance(0.7).then(|| b.random_weight(rng, &[channels], 2.0));
        let beta = rng.chance(0.7).then(|| b.random_weight(rng, &[channels], 2.0));
        let output = b.buffer(&rest);
        b.step(Op::BatchNorm { input, axis, mean, variance, gamma, beta, epsilon: 1e-3, output });
        finish(b, output)
    });
}

#[test]
fn not_equal() {
    check("not equal", |rng| {
        let rank = rng.below(3);
        let (batch, leading) = extents(rng, rank);
        let width = 1 + rng.below(4);
        let mut b = Builder::new(batch);
        let shape = [&leading[..], &[width]].concat();
        let count = batch * shape.iter().product::<usize>();
        let value = pick(rng, &[0.0, -1.0]);
        let x = (0..count).map(|_| pick(rng, &[value, value, value, 2.0])).collect();
        let x = with_specials(rng, x);
        let input = b.input(&shape, x);
        let output = b.buffer(&leading);
        b.step(Op::NotEqual { input, value, width, output });
        finish(b, output)
    });
}

/// Steps in a row, over a view, with buffers that are read again later.
#[test]
fn chains_and_views() {
    check("chains and views", |rng| {
        let (batch, seq_len) = (1 + rng.below(5), 1 + rng.below(5));
        let mut b = Builder::new(batch);
        let input = input(&mut b, rng, &[seq_len, 6]);
        let flat = b.buffer(&[seq_len * 6]);
        b.plan.buffers[flat.index()].view_of = Some(input);
        let first = b.buffer(&[7]);
        let weight = b.random_weight(rng, &[7, seq_len * 6], 0.3);
        b.step(Op::Linear { input: flat, weight, bias: None, activation: Activation::Tanh, output: first });
        let (squared, sum) = (b.buffer(&[7]), b.buffer(&[7, 1]));
        b.step(Op::Combine { op: CombineOp::Multiply, left: first, right: first, output: squared });
        let sum_as_row = b.buffer(&[7]);
        b.plan.buffers[sum_as_row.index()].view_of = Some(sum);
        b.step(Op::Combine { op: CombineOp::Add, left: squared, right: first, output: sum_as_row });
        let untouched = b.buffer(&[2, 2]);
        b.case(vec![sum, input, untouched, first], Tolerance::ONE_STEP)
    });
}
