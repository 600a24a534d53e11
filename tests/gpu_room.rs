//! The GPU executor from outside: right results on shared, rebuilt, limited and absent devices.
//! Every test needs an adapter; without one they fail, unless `WGPU_RNN_SKIP_GPU=1` says otherwise.

#![allow(clippy::unwrap_used, clippy::panic, clippy::field_reassign_with_default, clippy::cast_precision_loss)]

use std::{
    process::Command,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use wgpu_rnn::{
    Activation, Error, ErrorKind, Result, Tensor,
    cell::Cell,
    gpu::{DeviceLimits, Fault, FaultPoint, Gpu, GpuOptions, GpuProgram, ProgramOptions, adapters},
    model::{Dense, HeadActivation, LayerKind, Model, Recurrent},
    plan::{Bound, BufferId, Carry, Plan, PlanOptions},
    reference,
    stats::RunStats,
};

/// Whether GPU tests may be left out.
fn may_skip() -> bool {
    std::env::var("WGPU_RNN_SKIP_GPU").is_ok_and(|value| value == "1")
}

fn open(options: GpuOptions) -> Option<Gpu> {
    match pollster::block_on(Gpu::open(options)) {
        Ok(gpu) => Some(gpu),
        Err(error) if may_skip() => {
            eprintln!("SKIPPED: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// The device of the tests that do not break theirs.
fn shared() -> Option<Gpu> {
    static GPU: OnceLock<Option<Gpu>> = OnceLock::new();
    GPU.get_or_init(|| open(GpuOptions::default()).inspect(|gpu| eprintln!("running on {}", gpu.info()))).clone()
}

struct Random(u64);

impl Random {
    fn value(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.value()).collect()
    }

    fn tensor(&mut self, shape: &[usize], scale: f32) -> Arc<Tensor> {
        let values = self.values(shape.iter().product());
        Arc::new(Tensor::new(shape, values.into_iter().map(|v| v * scale).collect::<Vec<_>>()).unwrap())
    }
}

/// An LSTM over `[batch, any, input]` that returns sequences, then a dense layer.
fn lstm(input: usize, hidden: usize, outputs: usize) -> Arc<Plan> {
    let random = &mut Random(11);
    let mut model = Model::builder("lstm");
    let x = model.input("x", &[None, Some(input)]).unwrap();
    let weight_ih = random.tensor(&[4 * hidden, input], 0.5);
    let layer = Recurrent::new(Cell::Lstm, weight_ih, random.tensor(&[4 * hidden, hidden], 0.3));
    let recurrent = Recurrent { bias_ih: Some(random.tensor(&[4 * hidden], 0.5)), stateful: true, ..layer };
    let h = model.add("lstm", LayerKind::Recurrent(recurrent), &[x]).unwrap();
    let dense = Dense {
        weight: random.tensor(&[outputs, hidden], 0.5),
        bias: Some(random.tensor(&[outputs], 0.5)),
        activation: HeadActivation::Pointwise(Activation::Tanh),
    };
    let y = model.add("dense", LayerKind::Dense(dense), &[h]).unwrap();
    model.output("y", y).unwrap();
    let options = PlanOptions { carry: Carry::All, ..PlanOptions::default() };
    Arc::new(Plan::new(&model.build().unwrap(), &options).unwrap())
}

/// What a caller asks for: the outputs, then the states.
fn asked(plan: &Plan) -> Vec<BufferId> {
    plan.outputs.iter().map(|port| port.buffer).chain(plan.states.iter().map(|port| port.last)).collect()
}

fn bound(plan: &Plan, batch: usize, seq_len: usize, input: usize) -> Bound {
    plan.bind(&[vec![batch, seq_len, input]]).unwrap()
}

fn run(program: &GpuProgram, bound: &Bound, inputs: &[(BufferId, Vec<f32>)]) -> Result<(Vec<Vec<f32>>, RunStats)> {
    let outputs = asked(program.plan());
    pollster::block_on(program.run_with_stats(bound.clone(), inputs.to_vec(), outputs))
}

/// Runs on the device and by the reference, and compares.
fn check(program: &GpuProgram, bound: &Bound, seed: u64) -> RunStats {
    let plan = program.plan();
    let inputs = inputs(plan, bound, seed);
    let (found, stats) = run(program, bound, &inputs).unwrap();
    compare(plan, bound, &inputs, &found);
    stats
}

fn inputs(plan: &Plan, bound: &Bound, seed: u64) -> Vec<(BufferId, Vec<f32>)> {
    let given = plan.inputs.iter().map(|port| port.buffer).chain(plan.states.iter().map(|port| port.initial));
    let mut random = Random(seed);
    given.map(|id| (id, random.values(bound.len(id)))).collect()
}

fn compare(plan: &Plan, bound: &Bound, inputs: &[(BufferId, Vec<f32>)], found: &[Vec<f32>]) {
    let wide: Vec<_> = inputs.iter().map(|(id, v)| (*id, v.iter().map(|&x| f64::from(x)).collect())).collect();
    let expected = reference::run(plan, bound, &wide, &asked(plan)).unwrap();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found.len(), expected.len());
        for (i, (&a, &b)) in found.iter().zip(expected).enumerate() {
            let near = (f64::from(a) - b).abs() <= 1e-5 * b.abs().max(1.0);
            assert!(near, "value {i}: {a} instead of {b}");
        }
    }
}

fn program(gpu: &Gpu, plan: &Arc<Plan>) -> GpuProgram {
    pollster::block_on(GpuProgram::new(gpu, Arc::clone(plan), ProgramOptions::default())).unwrap()
}

#[test]
fn results_are_those_of_the_reference_for_any_length_and_batch() {
    let Some(gpu) = shared() else { return };
    let plan = lstm(3, 5, 2);
    let program = program(&gpu, &plan);
    for (batch, seq_len) in [(1, 1), (7, 4), (2, 9), (5, 3), (1, 1)] {
        check(&program, &bound(&plan, batch, seq_len, 3), 1);
    }
}

#[test]
fn threads_share_a_program_and_a_device() {
    let Some(gpu) = shared() else { return };
    let plan = lstm(2, 4, 1);
    let one = program(&gpu, &plan);
    std::thread::scope(|scope| {
        for thread in 0..8usize {
            let (gpu, one, plan) = (&gpu, one.clone(), &plan);
            scope.spawn(move || {
                let own = program(gpu, plan);
                for call in 0..6 {
                    let bound = bound(plan, 1 + thread % 3, 1 + call, 2);
                    check(if call % 2 == 0 { &one } else { &own }, &bound, call as u64);
                }
            });
        }
    });
}

#[test]
fn the_same_run_gives_the_same_bits() {
    let Some(gpu) = shared() else { return };
    let plan = lstm(3, 6, 2);
    let program = program(&gpu, &plan);
    let bound = bound(&plan, 3, 5, 3);
    let inputs = inputs(&plan, &bound, 5);
    let first = run(&program, &bound, &inputs).unwrap().0;
    for _ in 0..5 {
        assert_eq!(run(&program, &bound, &inputs).unwrap().0, first);
    }
}

#[test]
fn a_lost_device_is_an_error_and_a_new_one_is_right() {
    let Some(mut gpu) = open(GpuOptions::default()) else { return };
    let plan = lstm(2, 3, 1);
    let bound = bound(&plan, 2, 3, 2);
    for (point, fault) in [
        (FaultPoint::Submit, Fault::Lost),
        (FaultPoint::Wait, Fault::Panic),
        (FaultPoint::Wait, Fault::Timeout),
        (FaultPoint::Readback, Fault::Lost),
    ] {
        let lost = program(&gpu, &plan);
        check(&lost, &bound, 2);
        gpu.plant_fault(point, 1, fault);
        let error = run(&lost, &bound, &inputs(&plan, &bound, 3)).unwrap_err();
        assert!(error.is_retryable() && error.kind() == ErrorKind::Device, "{error}");
        assert_eq!(matches!(error, Error::Timeout { .. }), fault == Fault::Timeout, "{error}");
        let again = run(&lost, &bound, &inputs(&plan, &bound, 3)).unwrap_err();
        assert!(matches!(again, Error::DeviceLost { .. }), "{again}");
        gpu = pollster::block_on(gpu.reopen()).unwrap();
        check(&program(&gpu, &plan), &bound, 3);
    }
}

#[test]
fn memory_that_runs_out_is_freed_and_asked_for_again() {
    let Some(gpu) = open(GpuOptions::default()) else { return };
    let plan = lstm(2, 3, 1);
    let program = program(&gpu, &plan);
    // Also what is taken for many rows, whose known-answer tests have buffers of their own.
    check(&program, &bound(&plan, 1, 2, 2), 1);
    check(&program, &bound(&plan, 40, 2, 2), 1);
    // One failure is made up for.
    gpu.plant_fault(FaultPoint::CreateBuffer, 1, Fault::OutOfMemory);
    check(&program, &bound(&plan, 40, 30, 2), 2);
    // Two in a row are not, but the device lives.
    gpu.plant_fault(FaultPoint::CreateBuffer, 1, Fault::OutOfMemory);
    gpu.plant_fault(FaultPoint::CreateBuffer, 1, Fault::OutOfMemory);
    let larger = bound(&plan, 90, 60, 2);
    let error = run(&program, &larger, &inputs(&plan, &larger, 3)).unwrap_err();
    assert!(matches!(error, Error::OutOfDeviceMemory { .. }), "{error}");
    check(&program, &bound(&plan, 3, 3, 2), 4);
}

#[test]
fn every_nth_fault_is_an_error_and_leaves_no_wrong_result() {
    let Some(mut gpu) = open(GpuOptions::default()) else { return };
    let plan = lstm(2, 3, 1);
    let bound = bound(&plan, 2, 3, 2);
    let points = [
        (FaultPoint::CreateBuffer, Fault::OutOfMemory),
        (FaultPoint::Submit, Fault::Lost),
        (FaultPoint::Wait, Fault::Panic),
        (FaultPoint::Readback, Fault::Timeout),
    ];
    for (point, fault) in points {
        // Until the script is over before the fault is due.
        for nth in 1.. {
            assert!(nth < 200, "{point:?} never ends");
            gpu = pollster::block_on(gpu.reopen()).unwrap();
            gpu.plant_fault(point, nth, fault);
            let script = || -> Result<()> {
                let options = ProgramOptions::default();
                let program = pollster::block_on(GpuProgram::new(&gpu, Arc::clone(&plan), options))?;
                let inputs = inputs(&plan, &bound, 3);
                let (found, _) = run(&program, &bound, &inputs)?;
                compare(&plan, &bound, &inputs, &found);
                Ok(())
            };
            match script() {
                Ok(()) if gpu.planted_faults() > 0 => break,
                Ok(()) => assert_eq!(fault, Fault::OutOfMemory, "{point:?} {nth}"),
                Err(error) => assert!(error.is_retryable(), "{point:?} {nth}: {error}"),
            }
        }
    }
}

#[test]
fn a_wrong_kernel_is_found_by_its_known_answer() {
    let Some(gpu) = open(GpuOptions::default()) else { return };
    let plan = lstm(2, 3, 1);
    gpu.plant_fault(FaultPoint::Readback, 1, Fault::WrongBit);
    let options = ProgramOptions::default();
    let program = pollster::block_on(GpuProgram::new(&gpu, Arc::clone(&plan), options)).unwrap();
    let bound = bound(&plan, 2, 3, 2);
    for _ in 0..2 {
        let error = run(&program, &bound, &inputs(&plan, &bound, 1)).unwrap_err();
        assert!(matches!(&error, Error::KnownAnswer { adapter, .. } if *adapter == gpu.info().name), "{error}");
    }
}

#[test]
fn long_work_is_cut_into_slices() {
    let mut options = GpuOptions::default();
    options.slice = Duration::from_millis(1);
    let Some(gpu) = open(options) else { return };
    let plan = lstm(8, 32, 1);
    let program = program(&gpu, &plan);
    let stats = check(&program, &bound(&plan, 2, 150, 8), 1);
    assert!(stats.submissions >= 10, "{stats:?}");
    assert!(stats.longest < Duration::from_millis(100), "{stats:?}");
}

#[test]
fn dropping_everything_with_work_in_flight_returns_at_once() {
    let Some(gpu) = open(GpuOptions::default()) else { return };
    let plan = lstm(4, 16, 1);
    let program = program(&gpu, &plan);
    let bound = bound(&plan, 4, 200, 4);
    let future = program.run(bound.clone(), inputs(&plan, &bound, 1), asked(&plan));
    std::thread::sleep(Duration::from_millis(5));
    let before = Instant::now();
    drop((future, program, gpu));
    assert!(before.elapsed() < Duration::from_millis(10), "{:?}", before.elapsed());
}

#[test]
fn a_batch_beyond_the_memory_runs_in_tiles() {
    let Some(gpu) = shared() else { return };
    let plan = lstm(2, 3, 1);
    let whole = program(&gpu, &plan);
    let bound = bound(&plan, 11, 4, 2);
    let need = whole.memory_need(&bound).unwrap();
    let mut options = ProgramOptions::default();
    options.memory_budget = Some(need.weights + (need.total() - need.weights) / 2);
    let tiled = pollster::block_on(whole.with_options(options.clone())).unwrap();
    assert!(tiled.memory_need(&bound).unwrap().batch_tile < 11);
    let stats = check(&tiled, &bound, 1);
    assert!(stats.batch_tiles >= 2, "{stats:?}");
    let inputs = inputs(&plan, &bound, 8);
    assert_eq!(run(&whole, &bound, &inputs).unwrap().0, run(&tiled, &bound, &inputs).unwrap().0);
    options.memory_budget = Some(16);
    let none = pollster::block_on(whole.with_options(options)).unwrap();
    assert!(matches!(run(&none, &bound, &inputs), Err(Error::Limit { .. })));
}

#[test]
fn more_than_65535_rows() {
    let Some(gpu) = shared() else { return };
    let plan = lstm(1, 1, 1);
    check(&program(&gpu, &plan), &bound(&plan, 66_000, 1, 1), 1);
}

#[test]
fn default_limits_suffice() {
    let mut options = GpuOptions::default();
    options.limits = DeviceLimits::Default;
    let Some(gpu) = open(options) else { return };
    let plan = lstm(3, 9, 2);
    check(&program(&gpu, &plan), &bound(&plan, 5, 4, 3), 1);
}

#[test]
fn nothing_to_compute_gives_nothing_and_keeps_the_state() {
    let Some(gpu) = shared() else { return };
    let plan = lstm(3, 4, 2);
    let program = program(&gpu, &plan);
    for (batch, seq_len) in [(0, 4), (0, 0), (3, 0)] {
        check(&program, &bound(&plan, batch, seq_len, 3), 1);
    }
}

#[test]
fn a_first_run_starts_from_zero_also_after_another() {
    let Some(gpu) = shared() else { return };
    let plan = lstm(3, 4, 2);
    let program = program(&gpu, &plan);
    let bound = bound(&plan, 2, 3, 3);
    check(&program, &bound, 1);
    let mut inputs = inputs(&plan, &bound, 2);
    inputs.truncate(1);
    let (found, _) = run(&program, &bound, &inputs).unwrap();
    compare(&plan, &bound, &inputs, &found);
    assert!(matches!(run(&program, &bound, &[]), Err(Error::Mismatch { .. })));
    inputs[0].1.pop();
    assert!(matches!(run(&program, &bound, &inputs), Err(Error::Mismatch { .. })));
}

#[test]
fn nan_stays_in_its_row() {
    let Some(gpu) = shared() else { return };
    let plan = lstm(3, 4, 2);
    let program = program(&gpu, &plan);
    let bound = bound(&plan, 3, 4, 3);
    let mut inputs = inputs(&plan, &bound, 6);
    let clean = run(&program, &bound, &inputs).unwrap().0;
    inputs[0].1[4 * 3] = f32::NAN;
    let dirty = run(&program, &bound, &inputs).unwrap().0;
    for (clean, dirty) in clean.iter().zip(&dirty) {
        let row = clean.len() / 3;
        assert_eq!(clean[..row], dirty[..row]);
        assert_eq!(clean[2 * row..], dirty[2 * row..]);
        assert!(dirty[row..2 * row].iter().all(|value| value.is_nan()));
    }
}

#[test]
fn what_a_program_says_of_itself() {
    let Some(gpu) = shared() else { return };
    let plan = lstm(3, 4, 2);
    let program = program(&gpu, &plan);
    let bound = bound(&plan, 2, 5, 3);
    pollster::block_on(program.warm_up(&bound)).unwrap();
    let strategies = program.strategies(&bound).unwrap();
    assert!(
        matches!(strategies.as_slice(), [(step, _, reason)] if step.contains("lstm") && !reason.is_empty()),
        "{strategies:?}"
    );
    let need = program.memory_need(&bound).unwrap();
    assert!(need.weights >= 4 * 4 * (4 * 3 + 4 * 4) && need.staging > 0 && need.batch_tile == 2, "{need:?}");
}

#[test]
fn adapters_are_listed_and_unknown_ones_refused() {
    match adapters() {
        Err(error) if may_skip() => return eprintln!("SKIPPED: {error}"),
        Err(error) => panic!("{error}"),
        Ok(list) => {
            assert_eq!(list.iter().filter(|info| info.is_default).count(), 1);
            let mut options = GpuOptions::default();
            options.adapter = Some(list[0].name.to_uppercase());
            assert_eq!(open(options).unwrap().info().name, list[0].name);
        }
    }
    let mut options = GpuOptions::default();
    options.adapter = Some("no such adapter".to_owned());
    let error = pollster::block_on(Gpu::open(options)).unwrap_err();
    assert!(matches!(&error, Error::Unknown { kind: "adapter", .. }), "{error}");
    assert!(error.to_string().contains("no such adapter"), "{error}");
}

#[test]
fn what_a_driver_compiled_goes_to_later_devices_unless_it_is_damaged() {
    let Some(gpu) = open(GpuOptions::default()) else { return };
    let plan = lstm(3, 5, 2);
    let sizes = bound(&plan, 2, 4, 3);
    check(&program(&gpu, &plan), &sizes, 1);
    let Some(compiled) = pollster::block_on(gpu.pipeline_cache()).unwrap() else {
        assert_eq!(gpu.pipeline_cache_used(), None);
        return eprintln!("SKIPPED: {} has no pipeline cache", gpu.info());
    };
    assert_eq!(gpu.pipeline_cache_used(), Some(false));
    let with = |bytes: &[u8]| {
        let mut options = GpuOptions::default();
        options.pipeline_cache = Some(bytes.to_vec());
        open(options).unwrap()
    };
    let later = with(&compiled);
    assert_eq!(later.pipeline_cache_used(), Some(true));
    check(&program(&later, &plan), &sizes, 2);
    assert_eq!(pollster::block_on(later.reopen()).unwrap().pipeline_cache_used(), Some(true));
    let (mut flipped, cut) = (compiled.clone(), &compiled[..compiled.len() - 1]);
    *flipped.last_mut().unwrap() ^= 1;
    for damaged in [&flipped, cut, &[], &[0; 1000]] {
        let later = with(damaged);
        assert_eq!(later.pipeline_cache_used(), Some(false));
        check(&program(&later, &plan), &sizes, 3);
    }
}

/// Run by the test below in a process that has no driver.
#[test]
#[ignore = "needs an environment without a driver"]
fn without_a_driver() {
    let error = pollster::block_on(Gpu::open(GpuOptions::default())).unwrap_err();
    assert!(matches!(&error, Error::NoAdapter { .. }), "{error}");
    assert!(error.to_string().contains("mesa-vulkan-drivers"), "{error}");
    assert!(matches!(adapters(), Err(Error::NoAdapter { .. })));
}

#[test]
#[cfg(target_os = "linux")]
fn no_driver_is_an_error_that_says_what_to_do() {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "without_a_driver", "--ignored"]);
    child.env("VK_ICD_FILENAMES", "/nonexistent.json").env("VK_DRIVER_FILES", "/nonexistent.json");
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
