//! What PyTorch computed with state dicts, on the reference, the CPU and the GPU.
#![allow(clippy::unwrap_used, clippy::panic)]
#![cfg(feature = "torch")]

mod common;

use common::{
    nets::devices,
    torch_files::{Call, Case, cases},
};
use wgpu_rnn::{
    Device, Outputs, Session, SessionOptions,
    compare::{Tolerance, compare},
};

/// PyTorch computed in f64 from the stored weights, and rounded to f32; f64 weights are rounded here.
const REFERENCE: Tolerance = Tolerance { absolute: 2e-6, relative: 2e-6 };

fn run(session: &Session, case: &Case, call: &Call) -> Outputs {
    let outputs = match &call.lengths {
        Some(lengths) => session.run_padded(case.inputs(call), lengths),
        None => session.run(case.inputs(call)),
    };
    outputs.unwrap_or_else(|error| panic!("{}, call {}: {error}", case.name, call.index))
}

fn check(device: Device, kind: &str, tolerance: Tolerance) {
    let mut worst = (0.0f64, String::new());
    let (mut models, mut compared) = (0, 0);
    let mut failed = Vec::new();
    for case in cases() {
        let model = case.load().unwrap_or_else(|error| panic!("{}: {error}", case.name));
        models += 1;
        assert_eq!(model.notes().is_empty(), case.config.is_some(), "{}", case.name);
        let session = Session::new(&model, SessionOptions::on(device.clone())).unwrap();
        for call in &case.calls {
            let outputs = run(&session, &case, call);
            // A chain of one module gives its states too.
            let names: Vec<&str> = outputs.iter().map(|(name, _)| name).take(call.outputs.len()).collect();
            assert_eq!(names, call.outputs, "{}", case.name);
            for (output, actual) in outputs.iter().take(call.outputs.len()) {
                let expected = case.tensor(call, "out", output);
                let what = format!("{kind}: {}, call {}, {output}", case.name, call.index);
                assert_eq!(actual.shape(), expected.shape(), "{what}");
                let report = compare(&expected.to_f64(), &actual.to_f32(), expected.shape(), tolerance).unwrap();
                if !report.passed() {
                    failed.push(format!("{what}: {report}"));
                }
                if report.worst_ratio() > worst.0 {
                    worst = (report.worst_ratio(), what);
                }
                compared += 1;
            }
        }
    }
    println!("{kind}: {compared} outputs, the worst at {:.3} of the tolerance, in {}", worst.0, worst.1);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    // docs/formats.md states these.
    assert_eq!((models, compared), (93, 576));
}

#[test]
fn reference() {
    check(Device::Reference, "reference", REFERENCE);
}

#[test]
fn executors() {
    for (name, device) in devices() {
        check(device, name, Tolerance::FREE_RUNNING);
    }
}
