//! The CPU and the GPU against the reference, over random shapes and options of every cell.
//!
//! At least 400 cases per cell under a budget of work; `WGPU_RNN_FULL=1` lifts the budget, `WGPU_RNN_SHORT=19` takes
//! one case of 19.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

use common::{
    Rng,
    nets::{BOUNDED, Mask, Net, devices},
    stride,
};
use wgpu_rnn::{
    Activation, Device, Session, SessionOptions,
    cell::{Cell, CellParams},
    compare::{Tolerance, compare},
    model::MergeMode,
    plan::{DeadTimesteps, Precision},
};

/// Sizes at which kernels change their ways; each is used as hidden size and as input size.
const AWKWARD: [usize; 29] = [
    1, 2, 3, 7, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1023, 1024, 1025, 1026, 1027, 1028, 1029, 1030,
    4, 8, 16, 96, 192,
];
const CASES: usize = 400;
/// Multiply-adds of a case, but for sizes that exceed it with one row and one timestep.
const BUDGET: usize = 1_500_000;

/// The largest hidden size at which other functions than the usual ones meet the kernels that take a pipeline per
/// size: what a function does depends on no size, and a software driver takes seconds for a large pipeline.
const UNUSUAL: usize = 32;

/// Continuous ones: at a jump, rounding decides. (The others are swept by themselves.)
const ACTIVATIONS: [Activation; 21] = [
    Activation::Linear,
    Activation::RELU,
    Activation::Relu { negative_slope: 0.2, max_value: 1.5, threshold: 0.0 },
    Activation::Elu { alpha: 0.7 },
    Activation::Selu,
    Activation::Celu { alpha: 1.3 },
    Activation::Exponential,
    Activation::Softplus,
    Activation::Silu,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
    Activation::HardSilu,
    Activation::SoftShrink { threshold: 0.5 },
    Activation::TanhShrink,
    Activation::LogSigmoid,
    Activation::Mish,
    Activation::SparsePlus,
    Activation::Squareplus { b: 4.0 },
    Activation::Tanh,
    Activation::Sigmoid,
];

#[test]
fn rnn() {
    parity(Cell::Rnn, 1);
}

#[test]
fn lstm() {
    parity(Cell::Lstm, 2);
}

#[test]
fn gru() {
    parity(Cell::Gru, 3);
}

#[test]
fn gru_reset_before() {
    parity(Cell::GruResetBefore, 4);
}

fn parity(cell: Cell, salt: u64) {
    let full = std::env::var_os("WGPU_RNN_FULL").is_some();
    let devices = devices();
    let mut worst = vec![(0.0f64, String::new()); devices.len()];
    // Each cell starts elsewhere, so that it meets other awkward sizes.
    let cases: Vec<usize> = (7 * salt as usize % stride()..CASES).step_by(stride()).collect();
    for &index in &cases {
        let case = case(cell, salt * 1_000_000 + index as u64, index, full);
        for ((name, device), worst) in devices.iter().zip(&mut worst) {
            let error = check(&case, device.clone(), name);
            if error > worst.0 {
                *worst = (error, format!("{case:?}"));
            }
        }
    }
    for ((name, _), (error, case)) in devices.iter().zip(worst) {
        println!("{name}: worst error {error:.3} of the tolerance in {} cases, in {case}", cases.len());
    }
}

#[derive(Clone, Debug)]
struct Case {
    net: Net,
    precision: Precision,
    tolerance: Tolerance,
    /// Puts a NaN or an infinity into the inputs.
    poison: Option<f32>,
    /// How recurrences run on a GPU.
    #[cfg_attr(not(feature = "gpu"), allow(dead_code))]
    way: Way,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Chosen,
    /// A timestep at a time, whatever would be chosen.
    Stepped,
    /// In one workgroup that reads the weights at every timestep, where that fits.
    Streamed,
}

fn case(cell: Cell, seed: u64, index: usize, full: bool) -> Case {
    let mut rng = Rng::new(seed);
    let (hidden, input) = match AWKWARD.get(index) {
        Some(&awkward) => (awkward, rng.log_uniform(1, 40)),
        None => match AWKWARD.get(index - AWKWARD.len()) {
            Some(&awkward) => (rng.log_uniform(1, 40), awkward),
            None => (rng.log_uniform(1, 200), rng.log_uniform(1, 100)),
        },
    };
    let mut net = Net::new(seed, cell, hidden);
    net.input_size = input;
    net.bidirectional = rng.chance(0.35).then(|| {
        let modes = [MergeMode::Concat, MergeMode::Sum, MergeMode::Mul, MergeMode::Ave, MergeMode::Separate];
        modes[rng.below(modes.len())]
    });
    net.go_backwards = rng.chance(0.25);
    net.bias = rng.chance(0.85);
    net.return_sequences = rng.chance(0.6);
    net.return_state = rng.chance(0.4);
    net.initial_state = rng.chance(0.4);
    net.mask = [Mask::None, Mask::Right, Mask::Left, Mask::Interior][rng.below(4)];
    net.dead = [DeadTimesteps::RepeatOutput, DeadTimesteps::RepeatState, DeadTimesteps::Zero][rng.below(3)];
    let one_step = rng.chance(0.4);
    let way;
    (net.batch, net.seq_len) = (1, 1);
    let room = if full { usize::MAX } else { BUDGET / net.work().max(1) };
    if !one_step {
        net.seq_len = rng.log_uniform(1, room.clamp(1, 300));
        net.seq_len = if rng.chance(0.02) { 0 } else { net.seq_len };
    }
    net.batch = rng.log_uniform(1, (room / net.seq_len.max(1)).clamp(1, 70));
    if one_step {
        // One step from a random state: any function, whatever a net would make of it in time.
        net.initial_state = true;
        // A fixed set of combinations, each function in each role: every new one is a new pipeline.
        let first = rng.below(ACTIVATIONS.len());
        let role = |index: usize| ACTIVATIONS[(first + index * 7) % ACTIVATIONS.len()];
        net.params = CellParams { gate: role(0), candidate: role(1), output: role(2), ..CellParams::default() };
        way = if hidden > UNUSUAL { Way::Stepped } else { Way::Chosen };
    } else if rng.chance(0.5) {
        let first = rng.below(BOUNDED.len());
        net.params = CellParams::new(BOUNDED[first], BOUNDED[(first + 1) % BOUNDED.len()]);
        way = if hidden > UNUSUAL && first > 0 { Way::Stepped } else { Way::Chosen };
    } else {
        // With the usual functions only: every other combination is a pipeline of its own.
        net = net.with_random_options(&mut rng, 0.4);
        way = [Way::Chosen, Way::Chosen, Way::Stepped, Way::Stepped, Way::Streamed][rng.below(5)];
    }
    let poison = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][rng.below(3)];
    // Only where the arithmetic is fixed by IEEE 754 for every order of the sum: tanh and sigmoid.
    let poison = (rng.chance(0.1) && net.params == CellParams::default()).then_some(poison);
    Case {
        net,
        precision: [Precision::F16, Precision::Bf16, Precision::I8, Precision::F32, Precision::F32][rng.below(5)],
        tolerance: if one_step { Tolerance::ONE_STEP } else { Tolerance::FREE_RUNNING },
        poison,
        way,
    }
}

/// The worst error of a case; panics beyond its tolerance.
fn check(case: &Case, device: Device, name: &str) -> f64 {
    let model = case.net.model();
    let mut inputs = case.net.inputs();
    if let Some(poison) = case.poison {
        let mut rng = Rng::new(case.net.seed ^ 0xbad);
        let mut values = inputs[0].to_f32().into_owned();
        if !values.is_empty() {
            let at = rng.below(values.len());
            values[at] = poison;
        }
        inputs[0] = wgpu_rnn::Tensor::new(inputs[0].shape(), values).unwrap();
    }
    let run = |device: Device| {
        let attempt = |way: Way| {
            let mut options = SessionOptions::on(device.clone());
            options.weights = case.precision;
            #[cfg(feature = "gpu")]
            {
                options.strategy = match way {
                    Way::Chosen => None,
                    Way::Stepped => Some(wgpu_rnn::gpu::Strategy::Step),
                    Way::Streamed => Some(wgpu_rnn::gpu::Strategy::Persistent),
                };
            }
            let _ = way;
            Session::new(&model, options).and_then(|session| session.run(inputs.clone()))
        };
        let outputs = match attempt(case.way) {
            Err(wgpu_rnn::Error::Limit { .. }) if case.way == Way::Streamed => attempt(Way::Chosen),
            outputs => outputs,
        };
        outputs.unwrap_or_else(|error| panic!("{name}: {error}: {case:?}"))
    };
    let (reference, actual) = (run(Device::Reference), run(device));
    let mut worst = 0.0f64;
    for ((output, expected), (_, actual)) in reference.iter().zip(actual.iter()) {
        let report = compare(&expected.to_f64(), &actual.to_f32(), expected.shape(), case.tolerance).unwrap();
        assert!(report.passed(), "{name}, output {output}: {report}\n{case:?}");
        worst = worst.max(report.worst_ratio());
    }
    worst
}
