//! Clip, coupled gates, peepholes and projection: the numbers that other frameworks give.

use wgpu_rnn::{
    cell::{Cell, CellParams},
    compare::Tolerance,
    dim::{Dim, Symbol},
    layout::Layout,
    plan::{Buffer, BufferId, DeadTimesteps, Direction, Op, OutputPort, Recurrence},
};

use crate::common::{
    Rng,
    plans::{Builder, assert_same_bits},
};

/// One row with these weights (input, recurrent, and their biases), forward.
struct Small<'a> {
    cell: Cell,
    params: CellParams,
    weights: [&'a [f32]; 4],
    peephole: Option<&'a [f32]>,
    projection: Option<&'a [f32]>,
    x: &'a [f32],
    /// Per state.
    initial: &'a [&'a [f32]],
}

impl Small<'_> {
    /// The reference and the CPU give `sequence`, and `cell_state` in the end.
    fn check(&self, sequence: &[f64], cell_state: Option<&[f64]>) {
        let mut b = Builder::new(1);
        let spec = self.cell.spec();
        let hidden = self.weights[2].len() / spec.gates.len();
        let outputs = self.projection.map_or(hidden, |weight| weight.len() / hidden);
        let input = b.input(&[self.x.len(), 1], self.x.to_vec());
        let [ih, hh, bias_ih, bias_hh] = self.weights;
        let size = |state: usize| if state == 0 { outputs } else { hidden };
        let direction = Direction {
            reverse: false,
            flipped: false,
            weight_ih: b.weight(&[ih.len(), 1], ih.to_vec()),
            weight_hh: b.weight(&[bias_hh.len(), outputs], hh.to_vec()),
            bias_ih: Some(b.weight(&[bias_ih.len()], bias_ih.to_vec())),
            bias_hh: Some(b.weight(&[bias_hh.len()], bias_hh.to_vec())),
            peephole: self.peephole.map(|weight| b.weight(&[weight.len()], weight.to_vec())),
            projection: self.projection.map(|weight| b.weight(&[outputs, hidden], weight.to_vec())),
            initial: self.initial.iter().map(|values| Some(b.input(&[values.len()], values.to_vec()))).collect(),
            finals: (0..spec.states.len()).map(|state| Some(b.buffer(&[size(state)]))).collect(),
        };
        let finals: Vec<BufferId> = direction.finals.iter().copied().flatten().collect();
        let (all, last) = (b.buffer(&[self.x.len(), outputs]), b.buffer(&[outputs]));
        b.step(Op::Recurrence(Recurrence {
            cell: self.cell,
            params: self.params,
            hidden_size: hidden,
            output_size: outputs,
            input_size: 1,
            input,
            mask: None,
            dead: DeadTimesteps::Zero,
            directions: vec![direction],
            sequence: Some(all),
            last: Some(last),
        }));
        let case = b.case([vec![all, last], finals].concat(), Tolerance::ONE_STEP);
        case.check_cpu(&"as other frameworks");
        let found = case.reference();
        let end = &sequence[sequence.len() - outputs..];
        let mut expected = vec![sequence, end, end];
        expected.extend(cell_state);
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            let close = found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 2e-7);
            assert!(close && found.len() == expected.len(), "{found:?} instead of {expected:?}");
        }
    }
}

fn params(clip: Option<f32>, coupled: bool) -> CellParams {
    CellParams { clip, coupled, ..CellParams::default() }
}

const X: [f32; 3] = [0.5, -1.25, 2.0];

/// Each of the four cases has other numbers; ONNX Runtime 1.32, CPU.
#[test]
fn lstm_with_peepholes_clip_and_coupled_gates_as_in_onnx_runtime() {
    let weights: [&[f32]; 4] =
        [&[0.8, -0.6, 1.1, 0.9], &[-0.7, 0.5, 1.2, -0.4], &[0.1, 0.2, -0.3, 0.4], &[0.05, -0.1, 0.15, -0.2]];
    for (clip, coupled, sequence, cell_state) in [
        (None, false, [-0.321_871_46, -0.136_576_34, 0.423_829_05], 0.499_979_287),
        (Some(1.0), false, [-0.321_871_46, -0.173_542_589, 0.225_904_509], 0.319_450_676),
        (None, true, [-0.312_796_354, -0.134_891_853, 0.498_555_839], 0.604_748_845),
        (Some(1.0), true, [-0.312_796_354, -0.167_957_231, 0.252_246_559], 0.359_805_763),
    ] {
        let small = Small {
            cell: Cell::Lstm,
            params: params(clip, coupled),
            weights,
            peephole: Some(&[0.6, -0.5, 0.7]),
            projection: None,
            x: &X,
            initial: &[&[0.3], &[-1.5]],
        };
        small.check(&sequence, Some(&[cell_state]));
    }
}

#[test]
fn clipped_gru_and_rnn_as_in_onnx_runtime() {
    let weights: [&[f32]; 4] = [&[0.8, -0.6, 1.1], &[-0.7, 0.5, 1.2], &[0.1, 0.2, -0.3], &[0.05, -0.1, 0.9]];
    let small = |cell| Small {
        cell,
        params: params(Some(1.0), false),
        weights,
        peephole: None,
        projection: None,
        x: &X,
        initial: &[&[0.8]],
    };
    small(Cell::GruResetBefore).check(&[0.782_711_029, 0.443_237_573, 0.668_152_273], None);
    small(Cell::Gru).check(&[0.782_711_029, 0.367_383_42, 0.648_963_988], None);
    let weights: [&[f32]; 4] = [&[0.8], &[-0.7], &[0.1], &[0.05]];
    let rnn = Small { weights, initial: &[&[0.3]], ..small(Cell::Rnn) };
    rnn.check(&[0.327_477_336, -0.761_594_176, 0.761_594_057], None);
}

/// PyTorch 1.13, `LSTM(1, 2, proj_size=1)`.
#[test]
fn projected_lstm_as_in_pytorch() {
    let eighths =
        |n: usize| -> Vec<f32> { (0..8).map(|i| (f32::from(u8::try_from(i * n % 11).unwrap()) - 5.0) / 8.0).collect() };
    let [ih, hh, bias_ih, bias_hh] = [3, 5, 7, 2].map(eighths);
    let small = Small {
        cell: Cell::Lstm,
        params: CellParams::default(),
        weights: [&ih, &hh, &bias_ih, &bias_hh],
        peephole: None,
        projection: Some(&[1.5, -0.75]),
        x: &[0.5, -2.0, 3.0],
        initial: &[&[0.3], &[-1.5, 0.8]],
    };
    small.check(&[-0.681_216_955, 0.058_058_448, -0.164_949_089], Some(&[0.136_975_646, 0.533_243_537]));
}

/// Rows of a recurrence may be more than the batch: timesteps of an outer sequence.
#[test]
fn rows_may_be_a_multiple_of_the_batch() {
    let rng = &mut Rng::new(5);
    let (outer, seq_len, features, hidden) = (3, 12, 2, 17);
    let mut b = Builder::new(6);
    let x = b.random_input(rng, &[outer, seq_len, features], 1.0);
    let rows = &Dim::from(Symbol::BATCH) * &Dim::from(outer);
    let shaped = |b: &mut Builder, rest: &[usize], view_of: Option<BufferId>| {
        let shape = std::iter::once(rows.clone()).chain(rest.iter().map(|&size| Dim::from(size))).collect();
        b.plan.buffers.push(Buffer { name: "rows".to_owned(), shape, view_of });
        BufferId::new(b.plan.buffers.len() - 1)
    };
    let input = shaped(&mut b, &[seq_len, features], Some(x));
    let states = b.random_input(rng, &[outer, hidden], 1.0);
    let initial = shaped(&mut b, &[hidden], Some(states));
    let finals = [shaped(&mut b, &[hidden], None), shaped(&mut b, &[hidden], None)];
    let (sequence, last) = (shaped(&mut b, &[seq_len, hidden], None), shaped(&mut b, &[hidden], None));
    let direction = Direction {
        reverse: true,
        flipped: true,
        weight_ih: b.random_weight(rng, &[4 * hidden, features], 0.5),
        weight_hh: b.random_weight(rng, &[4 * hidden, hidden], 0.25),
        bias_ih: None,
        bias_hh: None,
        peephole: None,
        projection: None,
        initial: vec![Some(initial), None],
        finals: finals.map(Some).to_vec(),
    };
    b.step(Op::Recurrence(Recurrence {
        cell: Cell::Lstm,
        params: CellParams::default(),
        hidden_size: hidden,
        output_size: hidden,
        input_size: features,
        input,
        mask: None,
        dead: DeadTimesteps::RepeatOutput,
        directions: vec![direction],
        sequence: Some(sequence),
        last: Some(last),
    }));
    let outputs = vec![sequence, last, finals[0], finals[1]];
    // What the memory of a run is reckoned with.
    let port = |&buffer: &BufferId| {
        let layout = Layout::identity(b.plan.buffers[buffer.index()].shape.len());
        OutputPort { name: "rows".to_owned(), buffer, layout }
    };
    b.plan.outputs = outputs.iter().map(port).collect();
    let case = b.case(outputs, Tolerance::FREE_RUNNING);
    assert_eq!(case.bound.shape(sequence), [18, seq_len, hidden]);
    case.check_cpu(&"rows of an outer sequence");
    #[cfg(feature = "gpu")]
    on_gpu(&case);
    // As one batch of that many rows.
    let whole = case.cpu(1);
    assert_same_bits(&whole, &case.cpu(4), &"four threads");
}

/// Whole and in tiles of the batch.
#[cfg(feature = "gpu")]
fn on_gpu(case: &crate::common::plans::Case) {
    use wgpu_rnn::{
        gpu::{GpuProgram, ProgramOptions},
        layout::Layout,
        plan::OutputPort,
    };
    let Some(gpu) = crate::common::nets::gpu() else { return };
    // Only what a plan calls its outputs counts as needed.
    let mut plan = (*case.plan).clone();
    plan.outputs = case
        .outputs
        .iter()
        .map(|&buffer| {
            let layout = Layout::identity(case.bound.shape(buffer).len());
            OutputPort { name: String::new(), buffer, layout }
        })
        .collect();
    let plan = std::sync::Arc::new(plan);
    for strategy in crate::common::nets::strategies(&gpu) {
        let mut options = ProgramOptions::default();
        options.strategy = Some(strategy);
        let whole = GpuProgram::new(&gpu, plan.clone(), options.clone());
        let whole = pollster::block_on(whole).unwrap();
        let need = whole.memory_need(&case.bound).unwrap();
        options.memory_budget = Some(need.weights + need.activations * 3 / 4);
        let tiled = pollster::block_on(whole.with_options(options)).unwrap();
        assert!(tiled.memory_need(&case.bound).unwrap().batch_tile < 6);
        let run = |program: &GpuProgram| {
            let (bound, inputs) = (case.bound.clone(), case.inputs.clone());
            pollster::block_on(program.run(bound, inputs, case.outputs.clone())).unwrap()
        };
        let values = run(&whole);
        case.compare(&values, &strategy);
        assert_same_bits(&values, &run(&tiled), &strategy);
    }
}
