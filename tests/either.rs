//! Sessions whose runs are made by the CPU or by a GPU, whichever is estimated to be faster.
#![cfg(feature = "gpu")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::OnceLock;

use common::nets::Net;
use wgpu_rnn::{
    Device, Error, Inputs, Outputs, Session, SessionOptions, Tensor,
    cell::Cell,
    compare::{Tolerance, compare_tensors},
    cpu,
    gpu::{AdapterKind, Calibration, Gpu, GpuOptions, Strategy},
    model::KnownAnswer,
    plan::Precision,
};

/// The one GPU of the tests, with figures of a fair one whatever it is.
fn fair_gpu() -> Option<Gpu> {
    static GPU: OnceLock<Option<Gpu>> = OnceLock::new();
    let open = || {
        let info = common::nets::gpu()?.info().clone();
        let text = format!(
            "wgpu-rnn calibration 1\nversion {}\nadapter {}\nbackend {}\ndriver {}\nround_trip_s 1e-4\ndispatch_s 1e-5\n\
             memory_bytes_per_s 1e11\ncache_bytes_per_s 4e11\nmultiply_adds_per_s 1e12\nresident_workgroups 64\nend\n",
            env!("CARGO_PKG_VERSION"),
            info.name,
            info.backend,
            info.driver
        );
        let mut options = GpuOptions::default();
        options.calibration = Some(Calibration::from_text(&text, &info).unwrap());
        Some(pollster::block_on(Gpu::open(options)).unwrap())
    };
    GPU.get_or_init(open).clone()
}

/// Options of a session between a GPU and a slow CPU.
fn options(gpu: &Gpu) -> SessionOptions {
    let mut figures = cpu::Calibration::measure().unwrap();
    figures.multiply_adds = 1e8;
    (figures.cache_bandwidth, figures.memory_bandwidth, figures.cache_bytes) = (1e10, 1e9, 1 << 20);
    let mut options = SessionOptions::on(Device::Either(gpu.clone()));
    options.cpu_calibration = Some(figures);
    options
}

/// A short run is the CPU's, a long one the GPU's.
const LENGTHS: [(usize, &str); 2] = [(1, "cpu"), (200, "gpu")];

fn net(seq_len: usize) -> Net {
    Net { stateful: true, return_state: true, seq_len, ..Net::new(3, Cell::Lstm, 9) }
}

fn kind(outputs: &Outputs) -> &'static str {
    outputs.device().unwrap().kind
}

fn assert_near(expected: &Outputs, found: &Outputs) {
    for ((name, expected), (_, found)) in expected.iter().zip(found.iter()) {
        let report = compare_tensors(expected, found, Tolerance::FREE_RUNNING).unwrap();
        assert!(report.passed(), "{name}: {report}");
    }
}

#[test]
fn runs_go_where_they_are_faster_and_states_with_them() {
    let Some(gpu) = fair_gpu() else { return };
    let model = net(1).model();
    let session = Session::new(&model, options(&gpu)).unwrap();
    let on = |device| Session::new(&model, SessionOptions::on(device)).unwrap();
    let (cpu, only_gpu) = (on(Device::Cpu), on(Device::Opened(gpu.clone())));
    let report = session.device();
    assert_eq!((report.kind, report.adapter.as_str()), ("auto", gpu.info().to_string().as_str()));
    for (seq_len, expected) in [LENGTHS, LENGTHS].concat() {
        let inputs = net(seq_len).inputs();
        let shapes: Vec<_> = inputs.iter().map(|tensor| tensor.shape().to_vec()).collect();
        let report = session.device_for(&shapes).unwrap();
        assert_eq!(report.kind, expected, "{report:?}");
        let [on_cpu, on_gpu] = [report.cpu_estimate, report.gpu_estimate].map(Option::unwrap);
        assert_eq!(on_cpu <= on_gpu, expected == "cpu");
        assert!(report.reason.starts_with("an estimated ") && report.reason.contains(" against "), "{report:?}");
        assert!(!report.reason.contains("assumed"), "{report:?}");
        assert_eq!(session.memory_need(&shapes).unwrap().is_some(), expected == "gpu");
        assert_eq!(session.strategies(&shapes).unwrap().len(), usize::from(expected == "gpu"));
        session.warm_up(&shapes).unwrap();

        // The bits of the one device, from the states that the other one left.
        let alone = if expected == "cpu" { &cpu } else { &only_gpu };
        alone.reset_state();
        if let Some(state) = session.state() {
            alone.set_state(state).unwrap();
        }
        let outputs = session.run(inputs.clone()).unwrap();
        assert_eq!(outputs.device(), Some(&report));
        assert_eq!(outputs, alone.run(inputs).unwrap());
        assert_eq!(session.state(), alone.state());
        assert_eq!(kind(&alone.run(net(1).inputs()).unwrap()), expected);
    }
}

#[test]
fn a_rebuilt_session_goes_on_choosing() {
    let Some(gpu) = fair_gpu() else { return };
    let session = Session::new(&net(1).model(), options(&gpu)).unwrap();
    session.run(net(1).inputs()).unwrap();
    let rebuilt = session.rebuilt().unwrap();
    assert_eq!(rebuilt.state(), session.state());
    for (seq_len, expected) in LENGTHS {
        assert_eq!(kind(&rebuilt.run(net(seq_len).inputs()).unwrap()), expected);
    }
}

#[test]
fn ragged_and_padded_batches_are_chosen_for_too() {
    let Some(gpu) = fair_gpu() else { return };
    let of = |seq_len| Net { batch: 3, seq_len, ..Net::new(5, Cell::Gru, 9) };
    let model = of(1).model();
    let session = Session::new(&model, options(&gpu)).unwrap();
    let alone = Session::new(&model, SessionOptions::on(Device::Cpu)).unwrap();
    for (seq_len, expected) in LENGTHS {
        let x = of(seq_len).inputs().swap_remove(0);
        let lengths = [seq_len, seq_len / 2, 0];
        let outputs = session.run_padded(x.clone(), &lengths).unwrap();
        assert_eq!(kind(&outputs), expected);
        assert_near(&alone.run_padded(x.clone(), &lengths).unwrap(), &outputs);
        let samples = || {
            let rows = x.to_f32();
            let rows = rows.chunks(rows.len() / 3).map(|row| Tensor::new(&x.shape()[1..], row.to_vec()).unwrap());
            rows.map(Inputs::from).collect::<Vec<_>>()
        };
        let all = session.run_ragged(samples()).unwrap();
        for (outputs, alone) in all.iter().zip(alone.run_ragged(samples()).unwrap()) {
            assert_eq!(kind(outputs), expected);
            assert_near(&alone, outputs);
        }
    }
}

#[test]
fn a_stream_is_the_cpus() {
    let Some(gpu) = fair_gpu() else { return };
    let net = Net { batch: 1, return_state: false, ..net(200) };
    let session = Session::new(&net.model(), options(&gpu)).unwrap();
    let x = net.inputs().swap_remove(0);
    let mut stream = session.stream(&[x.shape().to_vec()]).unwrap();
    let mut y = vec![0.0; 200 * 9];
    stream.step(&[&x.to_f32()], &mut [&mut y]).unwrap();
    let cpu = Session::new(&net.model(), SessionOptions::on(Device::Cpu)).unwrap();
    assert_eq!(cpu.run(x).unwrap().single().unwrap().to_f32().as_ref(), y);
}

#[test]
fn both_have_the_weights_before_they_are_released() {
    let Some(gpu) = fair_gpu() else { return };
    let of = |seq_len| Net { seq_len, ..Net::new(7, Cell::Lstm, 9) };
    let mut options = options(&gpu);
    options.release_weights = true;
    let session = Session::new(&of(1).model(), options).unwrap();
    let alone = Session::new(&of(1).model(), SessionOptions::on(Device::Cpu)).unwrap();
    for (seq_len, expected) in LENGTHS {
        let (x, lengths) = (of(seq_len).inputs(), [seq_len, 1]);
        let outputs = session.run(x.clone()).unwrap();
        assert_eq!(kind(&outputs), expected);
        assert_near(&alone.run(x.clone()).unwrap(), &outputs);
        let outputs = session.run_padded(x.clone(), &lengths).unwrap();
        assert_near(&alone.run_padded(x, &lengths).unwrap(), &outputs);
    }
}

/// A strategy that was asked for and has no room for its weights leaves the CPU, released weights or not.
#[test]
fn what_the_gpu_has_no_room_for_is_the_cpus() {
    let Some(gpu) = fair_gpu() else { return };
    let of = |seq_len| Net { seq_len, ..Net::new(3, Cell::Lstm, 600) };
    let alone = Session::new(&of(1).model(), SessionOptions::on(Device::Cpu)).unwrap();
    for release_weights in [false, true] {
        let mut options = options(&gpu);
        (options.strategy, options.release_weights) = (Some(Strategy::Held), release_weights);
        let session = Session::new(&of(1).model(), options).unwrap();
        for seq_len in [1, 20] {
            let outputs = session.run(of(seq_len).inputs()).unwrap();
            let device = outputs.device().unwrap();
            assert!(device.kind == "cpu" && device.reason.contains("cannot make it"), "{device:?}");
            assert_near(&alone.run(of(seq_len).inputs()).unwrap(), &outputs);
        }
    }
}

#[test]
fn options_of_one_device_leave_only_that_one() {
    let Some(gpu) = fair_gpu() else { return };
    let model = net(1).model();
    let with = |change: &dyn Fn(&mut SessionOptions)| {
        let mut options = options(&gpu);
        change(&mut options);
        Session::new(&model, options)
    };
    let session = with(&|options| (options.weights, options.integer_arithmetic) = (Precision::I8, true)).unwrap();
    let report = session.device();
    assert_eq!(report.kind, "cpu");
    assert!(report.reason.starts_with("integer_arithmetic is asked for"), "{report:?}");
    assert_eq!(kind(&session.run(net(200).inputs()).unwrap()), "cpu");
    match with(&|options| (options.weights, options.half_arithmetic) = (Precision::F16, true)) {
        Ok(session) => assert!(session.device().reason.starts_with("half_arithmetic is asked for")),
        // A GPU without.
        Err(error) => assert!(error.to_string().contains("arithmetic in f16"), "{error}"),
    }
    let both = with(&|options| (options.half_arithmetic, options.integer_arithmetic) = (true, true)).unwrap_err();
    assert!(matches!(&both, Error::Unsupported { subject, .. } if subject == "integer_arithmetic"), "{both}");
    let absurd = with(&|options| {
        options.cpu_calibration.iter_mut().for_each(|figures| figures.hand_over = f64::NAN);
    });
    assert!(absurd.unwrap_err().to_string().contains("calibration, hand_over_s"));
    // What says how a GPU makes a run changes nothing where it makes none.
    let session = with(&|options| options.layer_by_layer = true).unwrap();
    assert_eq!(kind(&session.run(net(1).inputs()).unwrap()), "cpu");
}

#[test]
fn auto_never_takes_a_software_adapter() {
    let session = Session::new(&net(1).model(), SessionOptions::on(Device::Auto(None))).unwrap();
    let report = session.device();
    assert!(!report.is_software, "{report:?}");
    let hardware = wgpu_rnn::gpu::adapters();
    let hardware = hardware.is_ok_and(|all| all.iter().any(|info| info.kind != AdapterKind::Software));
    assert_eq!(report.kind, if hardware { "auto" } else { "cpu" });
    assert!(hardware || !report.reason.is_empty());
}

#[test]
fn auto_takes_the_adapter_that_is_named() {
    let Some(gpu) = fair_gpu() else { return };
    let name = gpu.info().name.to_uppercase();
    let session = Session::new(&net(1).model(), SessionOptions::on(Device::Auto(Some(name.clone())))).unwrap();
    let report = session.device();
    assert_eq!(report.kind, "auto");
    assert!(report.adapter.to_uppercase().contains(&name), "{report:?}");
    let run = session.run(net(1).inputs()).unwrap();
    let chosen = run.device().unwrap();
    assert!(chosen.cpu_estimate.is_some() && chosen.gpu_estimate.is_some(), "{chosen:?}");
    let error =
        Session::new(&net(1).model(), SessionOptions::on(Device::Auto(Some("no such".to_owned())))).unwrap_err();
    assert!(error.to_string().starts_with("no adapter named 'no such'; there is"), "{error}");
    // Also where an option leaves the CPU alone.
    let mut options = SessionOptions::on(Device::Auto(Some("no such".to_owned())));
    (options.weights, options.integer_arithmetic) = (Precision::I8, true);
    let error = Session::new(&net(1).model(), options).unwrap_err();
    assert!(error.to_string().starts_with("no adapter named 'no such'"), "{error}");
}

/// Figures that nobody measured are those of a kind of adapter, and named so.
#[test]
fn assumptions_are_named() {
    let Some(gpu) = common::nets::gpu() else { return };
    let session = Session::new(&net(1).model(), SessionOptions::on(Device::Either(gpu.clone()))).unwrap();
    let report = session.device_for(&[vec![2, 1, 3]]).unwrap();
    let assumed = format!("as is assumed of {} adapters", gpu.info().kind.name());
    assert!(report.reason.contains(&assumed) && report.kind == "cpu", "{report:?}");
    assert_eq!(kind(&session.run(net(1).inputs()).unwrap()), "cpu");
}

/// Each device gives the known answers before its first run, whichever that is.
#[test]
fn known_answers_are_checked_where_a_run_is_made() {
    let Some(gpu) = fair_gpu() else { return };
    let of = |seq_len| Net { seq_len, ..Net::new(11, Cell::Rnn, 9) };
    let inputs = vec![("x".to_owned(), of(1).inputs().swap_remove(0))];
    let right = Session::new(&of(1).model(), SessionOptions::on(Device::Cpu)).unwrap().run(inputs.clone()).unwrap();
    let wrong = right.into_vec().into_iter().map(|(name, tensor)| {
        let values: Vec<f32> = tensor.to_f32().iter().map(|value| value + 0.01).collect();
        (name, Tensor::new(tensor.shape(), values).unwrap())
    });
    let answer = KnownAnswer { inputs, outputs: wrong.collect() };
    let model = of(1).model().with_known_answers(vec![answer]).unwrap();
    let session = Session::new(&model, options(&gpu)).unwrap();
    for (seq_len, expected) in LENGTHS {
        let error = session.run(of(seq_len).inputs()).unwrap_err();
        let Error::WrongAnswer { device, .. } = &error else { panic!("{error}") };
        assert_eq!(device.as_str(), if expected == "cpu" { "cpu" } else { session.device().adapter.as_str() });
    }
}

/// A device that no run takes gets no weights.
#[cfg(feature = "fault-injection")]
#[test]
fn nothing_is_made_ready_in_vain() {
    use wgpu_rnn::gpu::{Fault, FaultPoint};
    let Some(gpu) = fair_gpu() else { return };
    let gpu = pollster::block_on(gpu.reopen()).unwrap();
    gpu.plant_fault(FaultPoint::CreateBuffer, 1, Fault::OutOfMemory);
    let session = Session::new(&net(1).model(), options(&gpu)).unwrap();
    session.run(net(1).inputs()).unwrap();
    assert_eq!(gpu.planted_faults(), 1);
    let before = session.state();
    let error = session.run(net(200).inputs()).unwrap_err();
    assert!(matches!(error, Error::OutOfDeviceMemory { .. }), "{error}");
    // The run is none: it can be made again from where it started.
    assert_eq!((gpu.planted_faults(), session.state()), (0, before));
    assert_eq!(kind(&session.run(net(200).inputs()).unwrap()), "gpu");
}
