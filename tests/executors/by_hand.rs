//! Values computed apart from this crate (by hand or with PyTorch's formulas), for both executors.

use wgpu_rnn::{
    Activation,
    cell::{Cell, CellParams},
    compare::Tolerance,
    dim::Dim,
    plan::{BufferId, CombineOp, DeadTimesteps, Direction, Op, Recurrence, ReduceOp},
};

use crate::common::plans::{Builder, Case};

/// A layer of one unit and one feature; weights per gate: input, recurrent, both biases.
fn unit(cell: Cell, gates: [&[f32]; 4], x: &[f32], mask: Option<&[f32]>, dead: DeadTimesteps, h: Option<f32>) -> Case {
    let mut b = Builder::new(1);
    let input = b.input(&[x.len(), 1], x.to_vec());
    let mask = mask.map(|mask| b.input(&[x.len()], mask.to_vec()));
    let [ih, hh, bias_ih, bias_hh] = gates;
    let weight_ih = b.weight(&[ih.len(), 1], ih.to_vec());
    let weight_hh = b.weight(&[hh.len(), 1], hh.to_vec());
    let bias_ih = Some(b.weight(&[bias_ih.len()], bias_ih.to_vec()));
    let bias_hh = Some(b.weight(&[bias_hh.len()], bias_hh.to_vec()));
    let states = cell.spec().states.len();
    let initial: Vec<_> = (0..states).map(|state| h.filter(|_| state == 0).map(|h| b.input(&[1], vec![h]))).collect();
    let finals: Vec<_> = (0..states).map(|_| Some(b.buffer(&[1]))).collect();
    let (sequence, last) = (b.buffer(&[x.len(), 1]), b.buffer(&[1]));
    let mut outputs = vec![sequence, last];
    outputs.extend(finals.iter().copied().flatten());
    b.step(Op::Recurrence(Recurrence {
        cell,
        params: CellParams::default(),
        hidden_size: 1,
        output_size: 1,
        input_size: 1,
        input,
        mask,
        dead,
        directions: vec![Direction {
            reverse: false,
            flipped: false,
            weight_ih,
            weight_hh,
            bias_ih,
            bias_hh,
            peephole: None,
            projection: None,
            initial,
            finals,
        }],
        sequence: Some(sequence),
        last: Some(last),
    }));
    b.case(outputs, Tolerance::ONE_STEP)
}

fn assert_outputs(case: &Case, expected: &[&[f64]]) {
    case.check_cpu(&"by hand");
    let outputs = case.reference();
    assert_eq!(outputs.len(), expected.len());
    for (output, expected) in outputs.iter().zip(expected) {
        let close = output.iter().zip(*expected).all(|(a, b)| (a - b).abs() < 1e-7);
        assert!(close && output.len() == expected.len(), "{output:?} instead of {expected:?}");
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[test]
fn lstm_gates_in_order() {
    // Input, forget, cell, output.
    let gates: [&[f32]; 4] =
        [&[0.5, -0.25, 1.5, 2.0], &[0.75, 0.5, -0.5, 0.25], &[0.25, 1.0, 0.0, -0.5], &[0.0, 0.5, 0.25, 0.0]];
    let case = unit(Cell::Lstm, gates, &[1.0, -2.0], None, DeadTimesteps::Zero, Some(0.5));
    let step = |x: f64, h: f64, c: f64| {
        let i = sigmoid(0.5 * x + 0.75 * h + 0.25);
        let f = sigmoid(-0.25 * x + 0.5 * h + 1.5);
        let g = (1.5 * x - 0.5 * h + 0.25).tanh();
        let o = sigmoid(2.0 * x + 0.25 * h - 0.5);
        let c = f * c + i * g;
        (o * c.tanh(), c)
    };
    let (h1, c1) = step(1.0, 0.5, 0.0);
    let (h2, c2) = step(-2.0, h1, c1);
    assert_outputs(&case, &[&[h1, h2], &[h2], &[h2], &[c2]]);
}

#[test]
fn gru_resets_after_or_before_the_product() {
    // Reset, update, new.
    let gates: [&[f32]; 4] = [&[0.5, -1.0, 1.5], &[0.75, 0.5, -2.0], &[0.25, 0.5, -0.25], &[0.125, 0.0, 0.75]];
    for (cell, after) in [(Cell::Gru, true), (Cell::GruResetBefore, false)] {
        let case = unit(cell, gates, &[1.0, -2.0], None, DeadTimesteps::Zero, Some(0.5));
        let step = |x: f64, h: f64| {
            let r = sigmoid(0.5 * x + 0.75 * h + 0.375);
            let z = sigmoid(-x + 0.5 * h + 0.5);
            let recurrent = if after { r * (-2.0 * h + 0.75) } else { -2.0 * (r * h) + 0.75 };
            let n = (1.5 * x - 0.25 + recurrent).tanh();
            z * h + (1.0 - z) * n
        };
        let h1 = step(1.0, 0.5);
        let h2 = step(-2.0, h1);
        assert_outputs(&case, &[&[h1, h2], &[h2], &[h2]]);
    }
}

#[test]
fn outputs_at_dead_timesteps() {
    let gates: [&[f32]; 4] = [&[1.0], &[0.5], &[0.0], &[0.0]];
    let (x, mask) = ([9.0, 1.0, f32::NAN, 2.0, 9.0], [0.0, 1.0, 0.0, 1.0, 0.0]);
    let h1 = (1.0f64 + 0.5 * 0.25).tanh();
    let h2 = (2.0 + 0.5 * h1).tanh();
    for (dead, sequence) in [
        (DeadTimesteps::RepeatOutput, [0.0, h1, h1, h2, h2]),
        (DeadTimesteps::RepeatState, [0.25, h1, h1, h2, h2]),
        (DeadTimesteps::Zero, [0.0, h1, 0.0, h2, 0.0]),
    ] {
        let case = unit(Cell::Rnn, gates, &x, Some(&mask), dead, Some(0.25));
        assert_outputs(&case, &[&sequence, &sequence[4..], &[h2]]);
    }
}

#[test]
fn empty_and_dead_rows_keep_their_state() {
    let gates: [&[f32]; 4] = [&[1.0], &[0.5], &[0.0], &[0.0]];
    for (dead, output) in
        [(DeadTimesteps::RepeatOutput, 0.0), (DeadTimesteps::RepeatState, 0.25), (DeadTimesteps::Zero, 0.0)]
    {
        assert_outputs(&unit(Cell::Rnn, gates, &[], None, dead, Some(0.25)), &[&[], &[output], &[0.25]]);
        let case = unit(Cell::Rnn, gates, &[1.0, 2.0], Some(&[0.0, 0.0]), dead, Some(0.25));
        assert_outputs(&case, &[&[output, output], &[output], &[0.25]]);
    }
}

#[test]
fn reductions_of_nothing() {
    for (op, expected) in [(ReduceOp::Sum, 0.0), (ReduceOp::Max, f64::NEG_INFINITY), (ReduceOp::Min, f64::INFINITY)] {
        let mut b = Builder::new(1);
        let input = b.input(&[2, 1], vec![f32::NAN, 3.0]);
        let mask = Some(b.input(&[2], vec![0.0, 0.0]));
        let output = b.buffer(&[1]);
        b.step(Op::Reduce { op, input, axis: 1, mask, output });
        let case = b.case(vec![output], Tolerance::ONE_STEP);
        case.check_cpu(&op);
        assert_eq!(case.reference(), [[expected]]);
    }
}

/// A plan of one step on an input `[1, rest..]`.
fn one_step(
    rest: &[usize],
    values: &[f32],
    output: &[usize],
    op: impl Fn(&mut Builder, BufferId, BufferId) -> Op,
) -> Case {
    let mut b = Builder::new(1);
    let input = b.input(rest, values.to_vec());
    let output = b.buffer(output);
    let op = op(&mut b, input, output);
    b.step(op);
    b.case(vec![output], Tolerance::ONE_STEP)
}

#[test]
fn windows_overlap_and_reach_over_the_ends() {
    let window = |stride, dilation, before, output: &[usize]| {
        one_step(&[4, 1], &[1.0, 2.0, 3.0, 4.0], output, move |_, input, output| {
            let before = Dim::from(before);
            Op::Window { input, stride, dilation, before, fill: -1.0, output }
        })
    };
    assert_outputs(&window(1, 1, 0, &[3, 2, 1]), &[&[1.0, 2.0, 2.0, 3.0, 3.0, 4.0]]);
    assert_outputs(&window(2, 1, 1, &[3, 2, 1]), &[&[-1.0, 1.0, 2.0, 3.0, 4.0, -1.0]]);
    assert_outputs(&window(3, 2, 1, &[2, 3, 1]), &[&[-1.0, 2.0, 4.0, 3.0, -1.0, -1.0]]);
}

#[test]
fn positions_are_taken_backwards_transposed_or_by_index() {
    let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let reversed = one_step(&[3, 2], &x, &[2, 2], |_, input, output| {
        let (input_start, output_start, extent) = (Dim::from(2), Dim::from(0), Dim::from(2));
        Op::Copy { input, input_start, input_step: -2, output, output_start, axis: 1, extent }
    });
    assert_outputs(&reversed, &[&[5.0, 6.0, 1.0, 2.0]]);
    let turned = one_step(&[3, 2], &x, &[2, 3], |_, input, output| Op::Permute { input, axes: vec![0, 2, 1], output });
    assert_outputs(&turned, &[&[1.0, 3.0, 5.0, 2.0, 4.0, 6.0]]);
    // Half goes to the even neighbour, what is outside to the nearest end, NaN to the first.
    let taken = one_step(&[3, 2], &x, &[6, 2], |b, input, output| {
        let index = b.input(&[6], vec![1.0, 0.5, 1.5, 9.0, -9.0, f32::NAN]);
        Op::Take { input, index, output }
    });
    assert_outputs(&taken, &[&[3.0, 4.0, 1.0, 2.0, 5.0, 6.0, 5.0, 6.0, 1.0, 2.0, 1.0, 2.0]]);
}

#[test]
fn products_of_two_values() {
    let product = |transposed| {
        one_step(&[2, 2], &[1.0, 2.0, 3.0, 4.0], &[2, 2], move |b, left, output| {
            let right = b.input(&[2, 2], vec![5.0, 6.0, 7.0, 8.0]);
            Op::MatMul { left, right, transposed, output }
        })
    };
    assert_outputs(&product(false), &[&[19.0, 22.0, 43.0, 50.0]]);
    assert_outputs(&product(true), &[&[17.0, 23.0, 39.0, 53.0]]);
    // Of no terms.
    let empty = one_step(&[2, 0], &[], &[2, 1], |b, left, output| {
        let right = b.input(&[0, 1], Vec::new());
        Op::MatMul { left, right, transposed: false, output }
    });
    assert_outputs(&empty, &[&[0.0, 0.0]]);
}

#[test]
fn comparisons_of_nan_are_false_and_ramps_count() {
    for (op, expected) in [(CombineOp::Equal, [1.0, 0.0, 0.0]), (CombineOp::Less, [0.0, 1.0, 0.0])] {
        let compared = one_step(&[3], &[2.0, -1.0, f32::NAN], &[3], |b, left, output| {
            let right = b.input(&[3], vec![2.0, 0.0, f32::NAN]);
            Op::Combine { op, left, right, output }
        });
        assert_outputs(&compared, &[&expected]);
    }
    let ramp =
        |step| one_step(&[1], &[0.0], &[3, 2], move |_, _, output| Op::Ramp { start: 1.5, step, axis: 1, output });
    assert_outputs(&ramp(-0.5), &[&[1.5, 1.5, 1.0, 1.0, 0.5, 0.5]]);
    assert_outputs(&ramp(0.0), &[&[1.5; 6]]);
}

#[test]
fn activations_of_graphs() {
    let x: [f32; 9] = [-2.5, -1.5, -0.5, 0.0, 0.5, 1.5, 2.5, 0.75, -0.75];
    for (activation, expected) in [
        (Activation::Round, [-2.0, -2.0, 0.0, 0.0, 0.0, 2.0, 2.0, 1.0, -1.0]),
        (Activation::Trunc, [-2.0, -1.0, 0.0, 0.0, 0.0, 1.0, 2.0, 0.0, 0.0]),
        (Activation::Floor, [-3.0, -2.0, -1.0, 0.0, 0.0, 1.0, 2.0, 0.0, -1.0]),
        (Activation::Ceil, [-2.0, -1.0, 0.0, 0.0, 1.0, 2.0, 3.0, 1.0, 0.0]),
        (Activation::Sign, [-1.0, -1.0, -1.0, 0.0, 1.0, 1.0, 1.0, 1.0, -1.0]),
        (Activation::Abs, [2.5, 1.5, 0.5, 0.0, 0.5, 1.5, 2.5, 0.75, 0.75]),
        (Activation::Clip { min: -1.0, max: 0.5 }, [-1.0, -1.0, -0.5, 0.0, 0.5, 0.5, 0.5, 0.5, -0.75]),
        (Activation::Clip { min: 1.0, max: -1.0 }, [-1.0; 9]),
    ] {
        let case = one_step(&[9], &x, &[9], |_, input, output| Op::Map { input, activation, output });
        assert_outputs(&case, &[&expected]);
    }
    let values = [
        (Activation::Erf, 0.5, 0.520_499_877_813_046_5),
        (Activation::Log, 10.0, std::f64::consts::LN_10),
        (Activation::Sqrt, 2.0, std::f64::consts::SQRT_2),
        (Activation::Reciprocal, -8.0, -0.125),
        (Activation::Sin, 1.0, 0.841_470_984_807_896_5),
        (Activation::Cos, 1.0, 0.540_302_305_868_139_8),
        (Activation::ScaledTanh { alpha: 2.0, beta: 0.5 }, 1.0, 0.924_234_314_520_010_2),
    ];
    for (activation, x, expected) in values {
        assert!((activation.apply_f64(x) - expected).abs() < 1e-14, "{activation:?}");
    }
}
