//! What Keras computed, on the reference, the CPU and the GPU.
#![cfg(feature = "keras")]

mod common;

use common::{
    keras_files::{cases, folder, path, texts},
    nets::devices,
};
use serde_json::Value;
use wgpu_rnn::{
    Device, Inputs, Model, Outputs, Session, SessionOptions, Tensor,
    compare::{Tolerance, compare},
    formats::{KerasBackend, LoadOptions},
};

/// Keras computes in f32 as we do: its own error is part of the difference. Measured: at most 0.2
/// of this for the reference over all cases.
const TOLERANCE: Tolerance = Tolerance::FREE_RUNNING;

/// Cases with layers that are not supported yet, and what they are refused for.
const REFUSED: [(&str, &str); 6] = [
    ("masked_merges", "Maximum"),
    ("rnn_of_cells", "RNN"),
    ("nested_models", "Functional"),
    ("sequential_of_sequentials", "Sequential"),
    ("ops_mean", "Mean"),
    ("ops_operators", "Add"),
];

fn tensor(case: &str, member: &str) -> Tensor {
    let mut archive = npyz::npz::NpzArchive::open(folder().join(format!("{case}.npz"))).unwrap();
    let array = archive.by_name(member).unwrap().unwrap_or_else(|| panic!("{case}: no {member}"));
    let shape: Vec<usize> = array.shape().iter().map(|&dim| dim as usize).collect();
    match array.dtype().descr().trim_matches('\'') {
        "<i4" => Tensor::new(shape, array.into_vec::<i32>().unwrap()).unwrap(),
        _ => Tensor::new(shape, array.into_vec::<f32>().unwrap()).unwrap(),
    }
}

fn load(case: &Value) -> (String, Result<Model, wgpu_rnn::Error>) {
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

fn check(device: Device, kind: &str) {
    let mut worst = (0.0f64, String::new());
    let mut compared = 0;
    for case in cases() {
        let (name, model) = load(&case);
        if REFUSED.iter().any(|(refused, _)| *refused == name) {
            continue;
        }
        let model = model.unwrap_or_else(|error| panic!("{error}"));
        let names: Vec<String> = model.outputs().into_iter().map(|output| output.name).collect();
        assert_eq!(names, texts(&case["outputs"]), "{name}");
        let session = Session::new(&model, SessionOptions::on(device.clone())).unwrap();
        for call in 0..case["calls"].as_u64().unwrap() {
            for (index, (output, actual)) in run(&name, &model, &session, call).iter().enumerate() {
                let expected = tensor(&name, &format!("call{call}.out.{index}"));
                let report = compare(&expected.to_f64(), &actual.to_f32(), expected.shape(), TOLERANCE).unwrap();
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
    assert!(compared > 500);
}

#[test]
fn reference() {
    check(Device::Reference, "reference");
}

#[test]
fn executors() {
    for (name, device) in devices() {
        check(device, name);
    }
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    for case in cases() {
        let (name, model) = load(&case);
        let refused = REFUSED.iter().find(|(refused, _)| *refused == name);
        match (refused, model) {
            (None, model) => drop(model.unwrap_or_else(|error| panic!("{error}"))),
            (Some((_, why)), Err(error)) => assert!(error.to_string().contains(why), "{name}: {error}"),
            (Some(_), Ok(_)) => panic!("{name} is loaded after all: move it"),
        }
    }
}
