//! What ONNX Runtime computed, on the reference, the CPU and the GPU.
#![allow(clippy::unwrap_used, clippy::panic)]
#![cfg(feature = "onnx")]

mod common;

use common::{
    nets::devices,
    onnx_files::{cases, path, tensor},
};
use wgpu_rnn::{
    Device, Error, Inputs, Model, Session, SessionOptions,
    compare::{Tolerance, compare},
};

/// ONNX Runtime computes in f32: its own error is the difference to the reference. Measured: 1.9e-6, in a
/// LayerNormalization in parts; 5e-7 elsewhere.
const REFERENCE: Tolerance = Tolerance { absolute: 2e-6, relative: 2e-6 };

/// Runs the cases of a family. Returns how many files ran and how many outputs agreed.
fn check(family: &str, device: &Device, kind: &str, tolerance: Tolerance) -> (usize, usize) {
    let mut worst = (0.0f64, String::new());
    let (mut files, mut compared) = (0, 0);
    let only = std::env::var("ONLY").unwrap_or_default();
    let mut failures = Vec::new();
    for case in cases(family) {
        let name = case["name"].as_str().unwrap();
        if !name.contains(&only) {
            continue;
        }
        let model = match Model::load(path(name)) {
            Err(Error::Unsupported { what, .. }) if what.contains("control flow") => continue,
            Ok(model) => model,
            Err(error) => {
                failures.push(error.to_string());
                continue;
            }
        };
        files += 1;
        let names: Vec<String> = model.outputs().into_iter().map(|output| output.name).collect();
        let expected: Vec<&str> =
            case["outputs"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        assert_eq!(names, expected, "{name}");
        let session = match Session::new(&model, SessionOptions::on(device.clone())) {
            Ok(session) => session,
            Err(error) => {
                failures.push(format!("{name}: {error}"));
                continue;
            }
        };
        for call in 0..case["calls"].as_u64().unwrap() {
            let inputs = model.inputs().into_iter();
            let inputs: Inputs =
                inputs.map(|x| (x.name.clone(), tensor(name, &format!("call{call}.in.{}", x.name)))).collect();
            let outputs = match session.run(inputs) {
                Ok(outputs) => outputs,
                Err(error) => {
                    failures.push(format!("{name}, call {call}: {error}"));
                    continue;
                }
            };
            for (index, (output, actual)) in outputs.iter().enumerate() {
                let expected = tensor(name, &format!("call{call}.out.{index}"));
                if actual.shape() != expected.shape() {
                    failures.push(format!("{name}: {output}: {:?} for {:?}", actual.shape(), expected.shape()));
                    continue;
                }
                let report = compare(&expected.to_f64(), &actual.to_f32(), expected.shape(), tolerance).unwrap();
                if !report.passed() {
                    failures.push(format!("{kind}: {name}, call {call}, output {output}: {report}"));
                }
                if report.worst_ratio() > worst.0 {
                    worst = (report.worst_ratio(), format!("{name}, {output}"));
                }
                compared += 1;
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    println!(
        "{kind}: {compared} outputs of {files} files, the worst at {:.3} of the tolerance, in {}",
        worst.0, worst.1
    );
    (files, compared)
}

fn on_all(family: &str) -> (usize, usize) {
    let counts = check(family, &Device::Reference, "reference", REFERENCE);
    for (name, device) in devices() {
        assert_eq!(check(family, &device, name, Tolerance::FREE_RUNNING), counts);
    }
    counts
}

#[test]
fn node_tests() {
    assert_eq!(on_all("node_"), (18, 25));
}

#[test]
fn pairwise() {
    assert_eq!(on_all("pairwise_"), (63, 83));
}

#[test]
fn operators() {
    assert_eq!(on_all("op_"), (65, 509));
}

#[test]
fn torch() {
    assert_eq!(on_all("torch_"), (43, 191));
}

#[test]
fn dynamo() {
    assert_eq!(on_all("dynamo_"), (47, 196));
}

#[test]
fn tf2onnx() {
    assert_eq!(on_all("tf_"), (14, 39));
}

#[test]
fn keras() {
    assert_eq!(on_all("keras_"), (5, 14));
}
