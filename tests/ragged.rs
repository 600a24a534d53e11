//! Samples of several lengths in one run: each is refused by name or has the bits that it has alone, for
//! every model of ONNX and PyTorch that the other tests know.
#![allow(clippy::unwrap_used, clippy::panic)]
#![cfg(all(feature = "onnx", feature = "torch"))]

mod common;

use common::{nets::devices, onnx_files, torch_files};
use wgpu_rnn::{Device, Error, Inputs, Model, Session, SessionOptions, Tensor, verify::random_inputs};

const LENGTHS: [usize; 4] = [6, 2, 5, 1];

/// The inputs of one row of `length` timesteps, with and without the batch axis.
fn row(model: &Model, length: usize) -> Option<(Inputs, Inputs)> {
    let inputs = random_inputs(model, 1, length, 7 + length as u64).ok()?;
    let sample = inputs.iter().zip(model.inputs()).map(|((name, tensor), signature)| {
        let mut shape = tensor.shape().to_vec();
        shape.remove(signature.batch_axis?);
        Some((name.clone(), Tensor::new(shape, tensor.data().clone()).unwrap()))
    });
    let sample = sample.collect::<Option<Vec<_>>>()?;
    Some((Inputs::from_iter(inputs), Inputs::from_iter(sample)))
}

/// Whether `model` ran, or why not.
fn check(name: &str, model: &Model, device: &Device) -> Result<(), String> {
    let session = Session::new(model, SessionOptions::on(device.clone())).map_err(|error| error.to_string())?;
    let mut samples = Vec::new();
    let mut alone = Vec::new();
    for length in LENGTHS {
        let (whole, sample) = row(model, length).ok_or("no batch axis to take away")?;
        alone.push(session.run(whole).map_err(|error| error.to_string())?);
        samples.push(sample);
    }
    let together = match session.run_ragged(samples) {
        Ok(together) => together,
        Err(error @ (Error::Unsupported { .. } | Error::Mismatch { .. })) => return Err(error.to_string()),
        Err(error) => panic!("{name}: {error}"),
    };
    for (length, (ragged, alone)) in LENGTHS.iter().zip(together.iter().zip(&alone)) {
        for ((output, ragged), (_, alone)) in ragged.iter().zip(alone.iter()) {
            assert_eq!(ragged.data(), alone.data(), "{name}, {output}, length {length}");
        }
    }
    Ok(())
}

fn models() -> Vec<(String, Model)> {
    let mut models = Vec::new();
    for family in ["torch", "dynamo", "tf2onnx", "keras"] {
        for case in onnx_files::cases(family) {
            let name = case["name"].as_str().unwrap();
            models.extend(Model::load(onnx_files::path(name)).ok().map(|model| (name.to_owned(), model)));
        }
    }
    models.extend(torch_files::cases().into_iter().filter_map(|case| Some((case.name.clone(), case.load().ok()?))));
    models
}

#[test]
fn together_or_refused() {
    let models = models();
    for (kind, device) in devices() {
        let mut ran = Vec::new();
        for (name, model) in &models {
            match check(name, model, &device) {
                Ok(()) => ran.push(name.as_str()),
                Err(why) => println!("{kind}: {name}: {why}"),
            }
        }
        println!("{kind}: {} of {} models take ragged batches: {}", ran.len(), models.len(), ran.join(" "));
        // What exporters write around a recurrent layer is no hindrance.
        for name in ["torch_lstm_bidirectional", "torch_lstm_stacked_bidirectional", "torch_tagger", "torch_layer_norm"]
        {
            assert!(ran.contains(&name), "{kind}: {name}");
        }
    }
}
