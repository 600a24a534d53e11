//! The steps that make or move values and products of values, with random shapes.

use wgpu_rnn::{
    compare::Tolerance,
    dim::{Dim, Symbol},
    plan::{BufferId, CombineOp, Op, ReduceOp},
};

use crate::{
    common::{
        Rng,
        plans::{Builder, pick},
    },
    ops::{check, extents, finish, input},
};

/// `value`, which has no batch, beside an input: seen as one row, it is repeated to those of the input.
fn added(b: &mut Builder, rng: &mut Rng, value: BufferId, rest: &[usize]) -> BufferId {
    let row = b.fixed_buffer(&[&[1], rest].concat());
    b.plan.buffers[row.index()].view_of = Some(value);
    let (left, output) = (input(b, rng, rest), b.buffer(rest));
    b.step(Op::Combine { op: CombineOp::Add, left, right: row, output });
    output
}

#[test]
fn constant() {
    check("constant", |rng| {
        let rank = rng.below(4);
        let (batch, rest) = extents(rng, rank);
        let mut b = Builder::new(batch);
        let weight = b.random_weight(rng, &rest, 2.0);
        let value = b.fixed_buffer(&rest);
        b.step(Op::Constant { weight, output: value });
        let sum = added(&mut b, rng, value, &rest);
        b.case(vec![sum, value], Tolerance::ONE_STEP)
    });
}

#[test]
fn ramp() {
    check("ramp", |rng| {
        let rank = 1 + rng.below(3);
        let (batch, rest) = extents(rng, rank);
        let mut b = Builder::new(batch);
        let start = pick(rng, &[0.0, -3.0, 0.1, f32::NEG_INFINITY]);
        let step = pick(rng, &[0.0, 1.0, -0.3]);
        let (fixed, rows) = (b.fixed_buffer(&rest), b.buffer(&rest));
        b.step(Op::Ramp { start, step, axis: rng.below(rank), output: fixed });
        b.step(Op::Ramp { start, step, axis: 1 + rng.below(rank), output: rows });
        let sum = added(&mut b, rng, fixed, &rest);
        b.case(vec![fixed, rows, sum], Tolerance::ONE_STEP)
    });
}

#[test]
fn permute() {
    check("permute", |rng| {
        let rank = rng.below(6);
        let (batch, rest) = extents(rng, rank);
        let rest: Vec<usize> = rest.into_iter().map(|size| size.min(8)).collect();
        let mut b = Builder::new(batch);
        let input = input(&mut b, rng, &rest);
        let mut axes: Vec<usize> = (0..=rank).collect();
        for last in (2..=rank).rev() {
            axes.swap(last, 1 + rng.below(last));
        }
        let shape: Vec<usize> = axes.iter().skip(1).map(|&axis| rest[axis - 1]).collect();
        let output = b.buffer(&shape);
        b.step(Op::Permute { input, axes, output });
        finish(b, output)
    });
}

#[test]
fn window() {
    check("window", |rng| {
        let batch = pick(rng, &[0, 1, 2, 5]);
        let (len, channels) = (pick(rng, &[0, 1, 2, 5, 17, 40]), pick(rng, &[0, 1, 1, 3, 8]));
        let (windows, width) = (pick(rng, &[0, 1, 2, 7, 20]), pick(rng, &[0, 1, 2, 3, 5]));
        let (stride, dilation) = (pick(rng, &[1, 1, 2, 3, 50]), pick(rng, &[1, 1, 2, 4]));
        let mut b = Builder::new(batch);
        let input = input(&mut b, rng, &[len, channels]);
        let output = b.buffer(&[windows, width, channels]);
        let (before, fill) = (Dim::from(pick(rng, &[0, 0, 1, 3, 60])), pick(rng, &[0.0, -1.5, f32::NEG_INFINITY]));
        b.step(Op::Window { input, stride, dilation, before, fill, output });
        finish(b, output)
    });
}

/// A pooling whose padding depends on the rows of a run, as any size may.
#[test]
fn pooling_by_windows() {
    check("pooling", |rng| {
        let (batch, len, width) = (1 + rng.below(4), 1 + rng.below(9), 1 + rng.below(4));
        let mut b = Builder::new(batch);
        let input = input(&mut b, rng, &[len, 3]);
        let (windows, output) = (b.buffer(&[len, width, 3]), b.buffer(&[len, 3]));
        let before = Dim::from(width - 1);
        b.step(Op::Window { input, stride: 1, dilation: 1, before, fill: f32::INFINITY, output: windows });
        b.step(Op::Reduce { op: ReduceOp::Min, input: windows, axis: 2, mask: None, output });
        finish(b, output)
    });
}

#[test]
fn mat_mul() {
    check("mat mul", |rng| {
        let rank = rng.below(3);
        let (batch, leading) = extents(rng, rank);
        let leading: Vec<usize> = leading.into_iter().map(|size| size.min(4)).collect();
        let sizes = [0, 1, 1, 2, 5, 16, 17, 33, 70];
        let [m, n, k] = [0; 3].map(|_| pick(rng, &sizes));
        let mut b = Builder::new(batch);
        let side = |b: &mut Builder, rng: &mut Rng, matrix: [usize; 2]| {
            let leading: Vec<usize> = leading.iter().map(|&size| if rng.chance(0.3) { 1 } else { size }).collect();
            input(b, rng, &[&leading[..], &matrix].concat())
        };
        let transposed = rng.chance(0.5);
        let left = side(&mut b, rng, [m, k]);
        let right = side(&mut b, rng, if transposed { [n, k] } else { [k, n] });
        let scale = 1.0 / (k.max(1) as f32).sqrt();
        b.inputs[0].1.iter_mut().for_each(|value| *value *= scale);
        let output = b.buffer(&[&leading[..], &[m, n]].concat());
        b.step(Op::MatMul { left, right, transposed, output });
        finish(b, output)
    });
}

/// One side is the same for all rows.
#[test]
fn mat_mul_with_a_constant() {
    check("mat mul with a constant", |rng| {
        let [batch, m, n, k] = [0; 4].map(|_| 1 + rng.below(6));
        let mut b = Builder::new(batch);
        let values = input(&mut b, rng, &[m, k]);
        let first = rng.chance(0.5);
        let shape = if first { [1, n, m] } else { [1, k, n] };
        let weight = b.random_weight(rng, &shape, 1.0);
        let fixed = b.fixed_buffer(&shape);
        b.step(Op::Constant { weight, output: fixed });
        let (left, right) = if first { (fixed, values) } else { (values, fixed) };
        let output = b.buffer(&if first { [n, k] } else { [m, n] });
        b.step(Op::MatMul { left, right, transposed: false, output });
        finish(b, output)
    });
}

#[test]
fn take() {
    check("take", |rng| {
        let rank = rng.below(3);
        let (batch, rest) = extents(rng, rank);
        let (len, count) = (pick(rng, &[1, 2, 7, 30]), pick(rng, &[0, 1, 5]));
        let mut b = Builder::new(batch);
        let input = input(&mut b, rng, &[&[len], &rest[..]].concat());
        let indices = [0.0, 1.0, 0.5, 1.5, 2.5, -1.0, 6.0, 100.0, 1e30, f32::NEG_INFINITY, f32::INFINITY, f32::NAN];
        let indices = (0..batch * count).map(|_| pick(rng, &indices)).collect();
        let index = b.input(&[count], indices);
        let output = b.buffer(&[&[count], &rest[..]].concat());
        b.step(Op::Take { input, index, output });
        finish(b, output)
    });
}

/// Axis 0 may be a multiple of the batch, as where each timestep is a row.
#[test]
fn rows_may_be_a_multiple_of_the_batch() {
    check("folded rows", |rng| {
        let (batch, seq_len, len) = (1 + rng.below(5), 1 + rng.below(4), 1 + rng.below(5));
        let mut b = Builder::new(batch);
        let whole = input(&mut b, rng, &[seq_len, len, 2]);
        let folded = |b: &mut Builder, rest: &[usize]| {
            let id = b.buffer(rest);
            let rows = &Dim::from(Symbol::BATCH) * &Dim::from(seq_len);
            b.plan.buffers[id.index()].shape[0] = rows;
            id
        };
        let x = folded(&mut b, &[len, 2]);
        b.plan.buffers[x.index()].view_of = Some(whole);
        let (windows, turned, products) =
            (folded(&mut b, &[len, 3, 2]), folded(&mut b, &[2, 3, len]), folded(&mut b, &[2, 3, 3]));
        b.step(Op::Window { input: x, stride: 1, dilation: 1, before: Dim::from(1), fill: 0.5, output: windows });
        b.step(Op::Permute { input: windows, axes: vec![0, 3, 2, 1], output: turned });
        b.step(Op::MatMul { left: turned, right: turned, transposed: true, output: products });
        b.case(vec![windows, turned, products], Tolerance::ONE_STEP)
    });
}

/// Milliseconds of the steps of an attention and of a convolution.
#[test]
#[ignore = "prints speed"]
fn speed() {
    let mut attention = Builder::new(4);
    let rng = &mut Rng::new(1);
    let shape = [8, 256, 64];
    let [q, k, v] = [0; 3].map(|_| attention.random_input(rng, &shape, 1.0));
    let (scores, mixed) = (attention.buffer(&[8, 256, 256]), attention.buffer(&shape));
    attention.step(Op::MatMul { left: q, right: k, transposed: true, output: scores });
    attention.step(Op::MatMul { left: scores, right: v, transposed: false, output: mixed });
    let attention = attention.case(vec![mixed], Tolerance::ONE_STEP);

    let mut convolution = Builder::new(16);
    let x = convolution.random_input(rng, &[512, 32], 1.0);
    let (windows, flat, y) =
        (convolution.buffer(&[512, 5, 32]), convolution.buffer(&[512, 160]), convolution.buffer(&[512, 64]));
    convolution.plan.buffers[flat.index()].view_of = Some(windows);
    let weight = convolution.random_weight(rng, &[64, 160], 0.1);
    convolution.step(Op::Window { input: x, stride: 1, dilation: 1, before: Dim::from(2), fill: 0.0, output: windows });
    let activation = wgpu_rnn::Activation::RELU;
    convolution.step(Op::Linear { input: flat, weight, bias: None, activation, output: y });
    let convolution = convolution.case(vec![y], Tolerance::ONE_STEP);

    let mut turn = Builder::new(16);
    let x = turn.random_input(rng, &[512, 8, 32], 1.0);
    let (heads, channels) = (turn.buffer(&[8, 512, 32]), turn.buffer(&[8, 32, 512]));
    turn.step(Op::Permute { input: x, axes: vec![0, 2, 1, 3], output: heads });
    turn.step(Op::Permute { input: heads, axes: vec![0, 1, 3, 2], output: channels });
    let turn = turn.case(vec![channels], Tolerance::ONE_STEP);

    for (name, case) in [("attention", attention), ("convolution", convolution), ("transposes", turn)] {
        let program = wgpu_rnn::cpu::CpuProgram::new(case.plan.clone()).unwrap();
        for threads in [1, 2] {
            let start = std::time::Instant::now();
            for _ in 0..5 {
                program.run(&case.bound, &case.inputs, &case.outputs, threads).unwrap();
            }
            println!("{name}, CPU, {threads} threads: {:.1} ms", start.elapsed().as_secs_f64() * 200.0);
        }
        #[cfg(feature = "gpu")]
        if let Some(gpu) = crate::common::nets::gpu() {
            let program = wgpu_rnn::gpu::GpuProgram::new(&gpu, case.plan.clone(), Default::default());
            let program = pollster::block_on(program).unwrap();
            let run = || {
                let (bound, inputs) = (case.bound.clone(), case.inputs.clone());
                pollster::block_on(program.run(bound, inputs, case.outputs.clone())).unwrap()
            };
            (0..3).for_each(|_| drop(run()));
            let start = std::time::Instant::now();
            (0..5).for_each(|_| drop(run()));
            println!("{name}, GPU: {:.1} ms", start.elapsed().as_secs_f64() * 200.0);
        }
    }
}
