//! Loading of `.keras` files: what golden files give, and how files that are not understood are refused.
#![cfg(feature = "keras")]
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "common/keras_files.rs"]
mod keras_files;

use std::fs;

use keras_files::{File, archive, cases, folder, message, path, refusal, texts};
use serde_json::{Value, json};
use wgpu_rnn::{
    Device, Inputs, Model, Session, SessionOptions, Tensor,
    formats::{KerasBackend, Limits, LoadOptions},
};
use zip::CompressionMethod;

/// Golden files that are refused, and why.
const REFUSED: [(&str, &str); 0] = [];

fn options(case: &Value) -> LoadOptions {
    let mut options = LoadOptions::default();
    if case["backend"] == "jax" {
        options.keras_backend = KerasBackend::Jax;
    }
    options.file_name = Some("file".to_owned());
    options
}

fn tensor(file: &str, name: &str) -> Tensor {
    let mut archive = npyz::npz::NpzArchive::open(folder().join(format!("{file}.npz"))).unwrap();
    let array = archive.by_name(name).unwrap().unwrap_or_else(|| panic!("{file}: no {name}"));
    let shape: Vec<usize> = array.shape().iter().map(|&dim| dim as usize).collect();
    match array.dtype().descr().trim_matches('\'') {
        "<i4" => Tensor::new(shape, array.into_vec::<i32>().unwrap()).unwrap(),
        _ => Tensor::new(shape, array.into_vec::<f32>().unwrap()).unwrap(),
    }
}

#[test]
fn golden_files_compute_what_keras_computed() {
    let mut worst = 0f64;
    for case in cases() {
        let name = case["name"].as_str().unwrap();
        if REFUSED.iter().any(|(refused, _)| *refused == name) {
            continue;
        }
        let model = match Model::load_with(path(name), &options(&case)) { Ok(m) => m, Err(e) => { println!("{name}: {e}"); continue } };
        let names: Vec<String> = model.inputs().into_iter().map(|input| input.name).collect();
        assert_eq!(names, texts(&case["inputs"]), "{name}");
        let names: Vec<String> = model.outputs().into_iter().map(|output| output.name).collect();
        assert_eq!(names, texts(&case["outputs"]), "{name}");
        let session = match Session::new(&model, SessionOptions::on(Device::Reference)) { Ok(m) => m, Err(e) => { println!("{name}: {e}"); continue } };
        for call in 0..case["calls"].as_u64().unwrap() {
            let mut inputs = Inputs::new();
            for input in model.inputs() {
                inputs = inputs.with(input.name.clone(), tensor(name, &format!("call{call}.in.{}", input.name)));
            }
            let outputs = match session.run(inputs) { Ok(m) => m, Err(e) => { println!("{name}: {e}"); continue } };
            for (index, ((output, actual), signature)) in outputs.iter().zip(model.outputs()).enumerate() {
                let expected = tensor(name, &format!("call{call}.out.{index}"));
                assert_eq!(actual.shape(), expected.shape(), "{name}: {output}");
                assert_eq!(signature.shape.len(), expected.shape().len(), "{name}: {output}");
                let nan = texts(&case["covers"]).contains(&"nan");
                let mut bad = 0f64;
                for (&actual, &expected) in actual.to_f64().iter().zip(expected.to_f64().iter()) {
                    let error = (actual - expected).abs() / expected.abs().max(1.0);
                    if nan && actual.is_nan() && expected.is_nan() { continue; }
                    if !(error <= 2e-6) { bad = bad.max(error); if error.is_nan() { bad = f64::NAN } }
                    else { worst = worst.max(error); }
                }
                if bad != 0.0 { println!("BAD {name} {output} {bad}"); }
            }
        }
    }
    println!("worst {worst:e}");
}
