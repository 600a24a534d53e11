//! What Keras computed, on the reference, the CPU and the GPU.
#![allow(clippy::unwrap_used, clippy::panic)]
#![cfg(feature = "keras")]

mod common;

use common::{
    keras_files::{cases, path, tensor, texts},
    nets::devices,
};
use serde_json::Value;
use wgpu_rnn::{
    Device, Error, Inputs, Model, Outputs, Session, SessionOptions,
    compare::{Tolerance, compare},
    formats::{KerasBackend, LoadOptions},
};

/// Keras computes in f32: its own error is the difference to the reference. Measured: 9.7e-7.
const REFERENCE: Tolerance = Tolerance { absolute: 2e-6, relative: 2e-6 };

fn load(case: &Value) -> (String, Result<Model, Error>) {
    let name = case["name"].as_str().unwrap().to_owned();
    let mut options = LoadOptions::default();
    if case["backend"] == "jax" {
        options.keras_backend = KerasBackend::Jax;
    }
    let model = Model::load_with(path(&name), &options);
    (name, model)
}

fn run(name: &str, model: &Model, session: &Session, call: u64) -> Outputs {
    let inputs = model.inputs().into_iter();
    let inputs: Inputs = inputs.map(|x| (x.name.clone(), tensor(name, &format!("call{call}.in.{}", x.name)))).collect();
    session.run(inputs).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn check(device: Device, kind: &str, tolerance: Tolerance) {
    let mut worst = (0.0f64, String::new());
    let (mut files, mut compared) = (0, 0);
    for case in cases() {
        let (name, model) = load(&case);
        let model = model.unwrap_or_else(|error| panic!("{error}"));
        files += 1;
        let names: Vec<String> = model.outputs().into_iter().map(|output| output.name).collect();
        assert_eq!(names, texts(&case["outputs"]), "{name}");
        let session = Session::new(&model, SessionOptions::on(device.clone())).unwrap();
        for call in 0..case["calls"].as_u64().unwrap() {
            for (index, (output, actual)) in run(&name, &model, &session, call).iter().enumerate() {
                let expected = tensor(&name, &format!("call{call}.out.{index}"));
                let report = compare(&expected.to_f64(), &actual.to_f32(), expected.shape(), tolerance).unwrap();
                assert_eq!(actual.shape(), expected.shape(), "{name}: {output}");
                assert!(report.passed(), "{kind}: {name}, call {call}, output {output}: {report}");
                if report.worst_ratio() > worst.0 {
                    worst = (report.worst_ratio(), format!("{name}, {output}"));
                }
                compared += 1;
            }
        }
    }
    println!("{kind}: {compared} outputs, the worst at {:.3} of the tolerance, in {}", worst.0, worst.1);
    // The README states these.
    assert_eq!((files, compared), (124, 608));
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
