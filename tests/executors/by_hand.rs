//! Values computed apart from this crate (by hand or with PyTorch's formulas), for both executors.

use wgpu_rnn::{
    cell::{Cell, CellParams},
    compare::Tolerance,
    plan::{DeadTimesteps, Direction, Op, Recurrence, ReduceOp},
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
    for (op, expected) in [(ReduceOp::Sum, 0.0), (ReduceOp::Max, f64::NEG_INFINITY)] {
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
