//! Broken plans and wrong inputs are errors, never panics.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use wgpu_rnn::{
    Activation, Error,
    cell::Cell,
    compare::Tolerance,
    cpu::CpuProgram,
    dim::Dim,
    plan::{BufferId, CombineOp, Op, Plan, ReduceOp, WeightId},
    reference,
};

use crate::common::{
    Rng,
    layers::Layer,
    plans::{Builder, Case, pick},
};

/// A plan with every kind of step.
fn plan(seed: u64) -> Case {
    let rng = &mut Rng::new(seed);
    let mut b = Builder::new(2);
    let x = b.random_input(rng, &[3, 4], 1.0);
    let ids = b.input(&[3], vec![0.0, 1.0, 2.0, 0.0, 1.0, 2.0]);
    let next = |b: &mut Builder, rest: &[usize], op: &dyn Fn(&mut Builder, BufferId) -> Op| {
        let output = b.buffer(rest);
        let op = op(b, output);
        b.step(op);
        output
    };
    let weights: Vec<WeightId> = (0..4).map(|_| b.random_weight(rng, &[4], 1.0)).collect();
    let matrix = b.random_weight(rng, &[4, 4], 1.0);
    let embedded = next(&mut b, &[3, 4], &|_, output| Op::Gather { ids, table: matrix, output });
    let sum = next(&mut b, &[3, 4], &|_, output| Op::Combine { op: CombineOp::Add, left: x, right: embedded, output });
    let bias = Some(weights[0]);
    let activation = Activation::Tanh;
    let dense = next(&mut b, &[3, 4], &|_, output| Op::Linear { input: sum, weight: matrix, bias, activation, output });
    let mask = next(&mut b, &[3], &|_, output| Op::NotEqual { input: x, value: 0.0, output, width: 4 });
    let [mean, variance] = [weights[1], weights[2]];
    let (gamma, beta, epsilon) = (Some(weights[3]), Some(weights[3]), 1.5);
    let normed = next(&mut b, &[3, 4], &|_, output| Op::BatchNorm {
        input: dense,
        axis: 2,
        mean,
        variance,
        gamma,
        beta,
        epsilon,
        output,
    });
    let normed = next(&mut b, &[3, 4], &|_, output| Op::LayerNorm {
        input: normed,
        first_axis: 2,
        axes: 1,
        gamma,
        beta,
        epsilon,
        output,
    });
    let mapped = next(&mut b, &[3, 4], &|_, output| Op::Map { input: normed, activation, output });
    let copied = next(&mut b, &[5, 4], &|_, output| Op::Copy {
        input: mapped,
        input_start: Dim::from(1),
        input_step: 1,
        output,
        output_start: Dim::from(3),
        axis: 1,
        extent: Dim::from(2),
    });
    let soft = next(&mut b, &[5, 4], &|_, output| Op::Softmax { input: copied, axis: 2, log: true, output });
    let view = b.buffer(&[20]);
    b.plan.buffers[view.index()].view_of = Some(soft);
    let mean = next(&mut b, &[4], &|_, output| Op::Reduce {
        op: ReduceOp::Mean,
        input: mapped,
        axis: 1,
        mask: Some(mask),
        output,
    });
    let moved = moves(&mut b, mapped, ids);
    b.case(vec![view, mean, dense, moved], Tolerance::ONE_STEP)
}

/// The steps of graphs, on `x` `[batch, 3, 4]` and `ids` `[batch, 3]`.
fn moves(b: &mut Builder, x: BufferId, ids: BufferId) -> BufferId {
    let (weight, constant, sum) = (b.weight(&[1, 3, 4], vec![0.5; 12]), b.fixed_buffer(&[1, 3, 4]), b.buffer(&[3, 4]));
    b.step(Op::Constant { weight, output: constant });
    b.step(Op::Combine { op: CombineOp::Divide, left: x, right: constant, output: sum });
    let (ramp, taken, turned) = (b.buffer(&[2]), b.buffer(&[3, 4]), b.buffer(&[4, 3]));
    b.step(Op::Ramp { start: 2.0, step: -1.0, axis: 1, output: ramp });
    b.step(Op::Take { input: sum, index: ids, output: taken });
    b.step(Op::Permute { input: taken, axes: vec![0, 2, 1], output: turned });
    let (product, windows, picked) = (b.buffer(&[4, 4]), b.buffer(&[3, 2, 4]), b.buffer(&[2, 2, 4]));
    b.step(Op::MatMul { left: turned, right: x, transposed: false, output: product });
    b.step(Op::Window { input: product, stride: 2, dilation: 1, before: Dim::from(1), fill: 0.0, output: windows });
    b.step(Op::Take { input: windows, index: ramp, output: picked });
    picked
}

/// Changes one thing in one operand or shape.
fn break_it(rng: &mut Rng, case: &mut Case) {
    let plan = Arc::make_mut(&mut case.plan);
    let (buffers, weights) = (plan.buffers.len(), plan.weights.len());
    let any_buffer = |rng: &mut Rng| BufferId::new(rng.below(buffers + 2));
    let any_weight = |rng: &mut Rng| WeightId::new(rng.below(weights + 2));
    let any_size = |rng: &mut Rng| pick(rng, &[0, 1, 2, 3, 4, 5, 7, 1 << 20, usize::MAX >> 1, usize::MAX]);
    match rng.below(6) {
        0 => {
            // A shape of the run.
            let at = rng.below(buffers);
            let rank = case.bound.shapes[at].len();
            case.bound.shapes[at][rng.below(rank)] = pick(rng, &[0, 1, 2, 3, 4, 5, 7, 1 << 20]);
        }
        1 => {
            let at = rng.below(buffers);
            plan.buffers[at].view_of = rng.chance(0.8).then(|| any_buffer(rng));
        }
        2 if rng.chance(0.3) => drop(case.bound.shapes.pop()),
        2 => case.outputs.push(any_buffer(rng)),
        3 if !case.inputs.is_empty() => {
            let at = rng.below(case.inputs.len());
            case.inputs[at].0 = any_buffer(rng);
        }
        _ => {
            let at = rng.below(plan.steps.len());
            let (buffer, weight, size) = (any_buffer(rng), any_weight(rng), any_size(rng));
            break_op(rng, &mut plan.steps[at].op, buffer, weight, size);
        }
    }
}

fn break_op(rng: &mut Rng, op: &mut Op, buffer: BufferId, new_weight: WeightId, size: usize) {
    let choice = rng.below(8);
    match op {
        Op::Linear { input, weight, bias, output, .. } => match choice {
            0 | 1 => *input = buffer,
            2 | 3 => *weight = new_weight,
            4 | 5 => *bias = Some(new_weight),
            _ => *output = buffer,
        },
        Op::Gather { ids, table, output } => match choice {
            0..=3 => *ids = buffer,
            4 | 5 => *table = new_weight,
            _ => *output = buffer,
        },
        Op::Map { input, output, .. } => *(if choice < 4 { input } else { output }) = buffer,
        Op::Combine { left, right, output, .. } => match choice {
            0 | 1 => *left = buffer,
            2..=4 => *right = buffer,
            _ => *output = buffer,
        },
        Op::Constant { weight, output } => match choice {
            0..=3 => *weight = new_weight,
            _ => *output = buffer,
        },
        Op::Ramp { axis, output, .. } => match choice {
            0..=4 => *axis = size,
            _ => *output = buffer,
        },
        Op::Permute { input, axes, output } => match choice {
            0..=2 => *input = buffer,
            3 => axes[rng.below(3)] = size,
            4 => axes.rotate_left(1),
            5 => drop(axes.pop()),
            _ => *output = buffer,
        },
        Op::Window { input, stride, dilation, before, output, .. } => match choice {
            0 | 1 => *input = buffer,
            2 | 3 => *stride = size,
            4 => *dilation = size,
            5 => *before = Dim::from(size),
            _ => *output = buffer,
        },
        Op::MatMul { left, right, transposed, output } => match choice {
            0 | 1 => *left = buffer,
            2 | 3 => *right = buffer,
            4 => *transposed = !*transposed,
            _ => *output = buffer,
        },
        Op::Take { input, index, output } => match choice {
            0..=2 => *input = buffer,
            3..=5 => *index = buffer,
            _ => *output = buffer,
        },
        Op::Copy { input, input_start, input_step, output, output_start, axis, extent } => match choice {
            0 => *input = buffer,
            1 => *output = buffer,
            2 => *input_step = pick(rng, &[0, -1, 2, 1 << 40, i64::MAX, i64::MIN]),
            3 => *input_start = Dim::from(size),
            4 => *output_start = Dim::from(size),
            5 => *axis = size,
            _ => *extent = Dim::from(size),
        },
        Op::Reduce { input, axis, mask, output, .. } => match choice {
            0 | 1 => *input = buffer,
            2 | 3 => *axis = size,
            4 | 5 => *mask = Some(buffer),
            _ => *output = buffer,
        },
        Op::Softmax { input, axis, output, .. } => match choice {
            0..=2 => *input = buffer,
            3 | 4 => *axis = size,
            _ => *output = buffer,
        },
        Op::LayerNorm { input, first_axis, axes, gamma, beta, output, .. } => match choice {
            0 => *input = buffer,
            1 | 2 => *first_axis = size,
            3 | 4 => *axes = size,
            5 => *gamma = Some(new_weight),
            6 => *beta = Some(new_weight),
            _ => *output = buffer,
        },
        Op::BatchNorm { input, axis, mean, variance, gamma, output, .. } => match choice {
            0 => *input = buffer,
            1 | 2 => *axis = size,
            3 => *mean = new_weight,
            4 => *variance = new_weight,
            5 => *gamma = Some(new_weight),
            _ => *output = buffer,
        },
        Op::NotEqual { input, output, width, .. } => match choice {
            0..=2 => *input = buffer,
            3 | 4 => *width = size,
            _ => *output = buffer,
        },
        Op::Recurrence(r) => match rng.below(19) {
            0 => r.input = buffer,
            1 => r.mask = Some(buffer),
            2 => r.sequence = Some(buffer),
            3 => r.last = Some(buffer),
            4 => r.hidden_size = size,
            5 => r.input_size = size,
            6 => r.directions.clear(),
            7 => r.directions[0].weight_ih = new_weight,
            8 => r.directions[0].weight_hh = new_weight,
            9 => r.directions[0].bias_ih = Some(new_weight),
            10 => r.directions[0].bias_hh = Some(new_weight),
            11 => drop(r.directions[0].initial.pop()),
            12 => r.directions[0].finals = vec![Some(buffer); rng.below(4)],
            13 => r.output_size = size,
            14 => r.directions[0].peephole = Some(new_weight),
            15 => r.directions[0].projection = Some(new_weight),
            16 => r.params.clip = Some(pick(rng, &[0.0, -1.0, f32::NAN, f32::INFINITY])),
            17 => r.params.coupled = true,
            _ => r.cell = pick(rng, &Cell::ALL),
        },
    }
}

fn run(case: &Case) -> [Result<usize, Error>; 2] {
    let widen = |values: &Vec<f32>| values.iter().map(|&x| f64::from(x)).collect();
    let inputs: Vec<_> = case.inputs.iter().map(|(id, values)| (*id, widen(values))).collect();
    let reference = reference::run(&case.plan, &case.bound, &inputs, &case.outputs);
    let program = CpuProgram::new(case.plan.clone());
    let cpu = program.and_then(|program| {
        program.run(&case.bound, &case.inputs, &case.outputs, 3)?;
        program.run(&case.bound, &case.inputs, &case.outputs, 1)
    });
    [reference.map(|outputs| outputs.len()), cpu.map(|outputs| outputs.len())]
}

#[test]
fn broken_plans_are_errors() {
    let (mut refused, mut cases) = (0, 0);
    for seed in 0..3000 {
        let rng = &mut Rng::new(seed);
        let mut case = if seed % 2 == 0 {
            plan(seed)
        } else {
            let layer = Layer::random(seed, pick(rng, &Cell::ALL));
            let projection = layer.projection.map(|_| 3);
            Layer { batch: 2, seq_len: 3, hidden_size: 4, input_size: 4, projection, ..layer }.case()
        };
        break_it(rng, &mut case);
        let results = catch_unwind(AssertUnwindSafe(|| run(&case)));
        let results = results.unwrap_or_else(|_| panic!("seed {seed} panicked: {:?}", case.plan));
        for result in results {
            cases += 1;
            match result {
                Ok(_) => {}
                Err(Error::Internal { .. } | Error::Limit { .. }) => refused += 1,
                Err(other) => panic!("seed {seed}: {other}"),
            }
        }
    }
    assert!(refused * 2 > cases, "only {refused} of {cases} were refused");
}

#[test]
fn an_unbroken_plan_runs() {
    let case = plan(1);
    case.check_cpu(&"every step");
    assert!(Plan::check(&case.plan, &case.bound).is_ok());
}

#[test]
fn wrong_inputs_and_ids_are_errors() {
    for id in [-1.0, 4.0, 0.5, 1e30, f32::NAN, f32::INFINITY] {
        let mut case = plan(1);
        case.inputs[1].1[2] = id;
        for result in run(&case) {
            assert!(matches!(result, Err(Error::Internal { .. })), "{id}: {result:?}");
        }
    }
    let mut case = plan(1);
    case.inputs[0].1.pop();
    for result in run(&case) {
        assert!(matches!(result, Err(Error::Internal { .. })), "{result:?}");
    }
}

#[test]
fn steps_in_place_are_errors() {
    let mut b = Builder::new(1);
    let x = b.input(&[2], vec![1.0, 2.0]);
    let view = b.buffer(&[2]);
    b.plan.buffers[view.index()].view_of = Some(x);
    b.step(Op::Map { input: x, activation: Activation::Tanh, output: view });
    let in_place = b.case(vec![x], Tolerance::ONE_STEP);

    let mut carried = Layer { initial: true, ..Layer::random(1, Cell::Gru) }.case();
    if let Op::Recurrence(r) = &mut Arc::make_mut(&mut carried.plan).steps[0].op {
        r.directions[0].finals = r.directions[0].initial.clone();
    }
    for case in [in_place, carried] {
        for result in run(&case) {
            let what = result.unwrap_err().to_string();
            assert!(what.contains("share no storage"), "{what}");
        }
    }
}

#[test]
fn windows_beyond_what_can_be_counted_are_a_limit() {
    for (stride, dilation, before) in [(1 << 31, 1, 0), (1, 1 << 31, 0), (1, 1, 1 << 31), (1 << 30, 1 << 30, 0)] {
        let mut b = Builder::new(1);
        let input = b.input(&[2, 1], vec![1.0, 2.0]);
        let output = b.buffer(&[2, 2, 1]);
        b.step(Op::Window { input, stride, dilation, before: Dim::from(before), fill: 0.0, output });
        for result in run(&b.case(vec![output], Tolerance::ONE_STEP)) {
            assert!(matches!(result, Err(Error::Limit { .. })), "{stride} {dilation} {before}: {result:?}");
        }
    }
}
