//! What Keras 3 and Keras 2 (tf_keras) computed, from every kind of file that they write, on the
//! reference, the CPU and the GPU.
#![allow(clippy::unwrap_used, clippy::panic)]
#![cfg(feature = "keras")]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
};

use common::{nets::devices, npz};
use serde_json::Value;
use wgpu_rnn::{
    Device, Error, Inputs, Model, Session, SessionOptions, Tensor,
    compare::{Tolerance, compare},
};

/// Keras computes in f32: its own error is the difference to the reference.
const REFERENCE: Tolerance = Tolerance { absolute: 2e-6, relative: 2e-6 };

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/keras_files")
}

fn cases() -> Vec<Value> {
    serde_json::from_slice(&fs::read(folder().join("cases.json")).unwrap()).unwrap()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

fn tensor(case: &str, member: &str) -> Tensor {
    npz::tensor(folder().join(format!("{case}.npz")), member)
}

/// Runs a case and says what is wrong with it, or how many outputs were compared and the worst ratio.
fn case(entry: &Value, device: &Device, tolerance: Tolerance) -> Result<(usize, f64), String> {
    let name = entry["name"].as_str().unwrap();
    let text = |error: Error| error.to_string();
    let model = Model::load(folder().join(entry["path"].as_str().unwrap())).map_err(text)?;
    let names: Vec<String> = model.outputs().into_iter().map(|output| output.name).collect();
    if names != texts(&entry["outputs"]) {
        return Err(format!("outputs {names:?}, expected {}", entry["outputs"]));
    }
    let session = Session::new(&model, SessionOptions::on(device.clone())).map_err(text)?;
    let (mut compared, mut worst) = (0, 0.0f64);
    for call in 0..entry["calls"].as_u64().unwrap() {
        // A sequential model without an input layer has an input of another name than Keras 2 gives it.
        let inputs = model.inputs().into_iter().zip(texts(&entry["inputs"]));
        let inputs: Inputs = inputs
            .map(|(input, name_there)| (input.name, tensor(name, &format!("call{call}.in.{name_there}"))))
            .collect();
        for (index, (output, actual)) in session.run(inputs).map_err(text)?.iter().enumerate() {
            let expected = tensor(name, &format!("call{call}.out.{index}"));
            if actual.shape() != expected.shape() {
                return Err(format!("{output}: shape {:?}, expected {:?}", actual.shape(), expected.shape()));
            }
            let report = compare(&expected.to_f64(), &actual.to_f32(), expected.shape(), tolerance).map_err(text)?;
            if !report.passed() {
                return Err(format!("call {call}, output {output}: {report}"));
            }
            worst = worst.max(report.worst_ratio());
            compared += 1;
        }
    }
    Ok((compared, worst))
}

fn check(device: &Device, kind: &str, tolerance: Tolerance) {
    let (mut files, mut compared, mut worst, mut wrong) = (0, 0, 0.0f64, 0);
    for entry in cases() {
        files += 1;
        match case(&entry, device, tolerance) {
            Ok((outputs, ratio)) => {
                compared += outputs;
                worst = worst.max(ratio);
            }
            Err(found) => {
                println!("{kind}: {}: {found}", entry["name"]);
                wrong += 1;
            }
        }
    }
    println!("{kind}: {files} files, {compared} outputs, the worst at {worst:.3} of the tolerance");
    assert_eq!(wrong, 0, "of {files}");
    // The README states these.
    assert_eq!((files, compared), (145, 912));
}

/// Keras counts the bytes of its own types; here all are f32.
fn without_bytes(summary: &str) -> String {
    let counts = |line: &str| line.split_once(" params: ").map(|_| line.split(" (").next().unwrap_or(line).to_owned());
    summary.lines().map(|line| counts(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

#[test]
fn summaries_are_those_of_keras() {
    let mut compared = 0;
    for entry in cases() {
        let name = entry["name"].as_str().unwrap();
        let Ok(expected) = fs::read_to_string(folder().join(format!("{name}.summary.txt"))) else { continue };
        let model = Model::load(folder().join(entry["path"].as_str().unwrap())).unwrap();
        assert_eq!(without_bytes(&model.summary()), without_bytes(&expected), "{name}");
        compared += 1;
    }
    assert!(compared >= 25, "{compared}");
}

#[test]
fn reference() {
    check(&Device::Reference, "reference", REFERENCE);
}

#[test]
fn executors() {
    for (name, device) in devices() {
        check(&device, name, Tolerance::FREE_RUNNING);
    }
}
