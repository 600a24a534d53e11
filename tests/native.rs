//! The crate's own files: every golden model comes back as it was, and known answers are checked.
#![allow(clippy::unwrap_used, clippy::panic)]
#![cfg(all(feature = "native", feature = "torch", feature = "keras"))]

mod common;

use common::{
    keras_files,
    torch_files::{self, golden},
};
use wgpu_rnn::{
    Device, Error, Inputs, Model, Session, SessionOptions, Tensor,
    formats::{KerasBackend, LoadOptions, SaveOptions, WeightType},
    model::KnownAnswer,
    plan::{Plan, PlanOptions, Precision},
    verify::{known_answers, random_inputs},
};

/// Every golden model that can be loaded.
fn models() -> Vec<(String, Model)> {
    let mut models = Vec::new();
    for case in keras_files::cases() {
        let name = case["name"].as_str().unwrap().to_owned();
        let mut options = LoadOptions::default();
        if case["backend"] == "jax" {
            options.keras_backend = KerasBackend::Jax;
        }
        match Model::load_with(keras_files::path(&name), &options) {
            Err(Error::Unsupported { .. }) => {}
            model => models.push((name, model.unwrap())),
        }
    }
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/keras_files");
    let list: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("cases.json")).unwrap()).unwrap();
    for case in list.as_array().unwrap() {
        let path = folder.join(case["path"].as_str().unwrap());
        models.push((case["name"].as_str().unwrap().to_owned(), Model::load(path).unwrap()));
    }
    #[cfg(feature = "onnx")]
    for case in common::onnx_files::cases("") {
        let name = case["name"].as_str().unwrap().to_owned();
        match Model::load(common::onnx_files::path(&name)) {
            Err(Error::Unsupported { .. }) => {}
            Ok(model) if !model.needs_weights().is_empty() => {
                let error = model.to_bytes(&SaveOptions::default()).unwrap_err();
                assert!(matches!(error, Error::Unsupported { .. }), "{error}");
            }
            model => models.push((name, model.unwrap())),
        }
    }
    models.extend(torch_files::cases().into_iter().map(|case| (case.name.clone(), case.load().unwrap())));
    models
}

/// All that a plan says, weights by their values.
fn text(plan: &Plan) -> String {
    let weights: Vec<_> = plan.weights.iter().map(|w| (&w.name, w.precision, w.tensor.shape())).collect();
    format!(
        "{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{weights:?}",
        plan.symbols, plan.buffers, plan.inputs, plan.outputs, plan.states, plan.steps, plan.derived, plan.conditions
    )
}

#[test]
fn golden_models_come_back_as_they_were() {
    let models = models();
    assert!(models.len() > 200, "{}", models.len());
    let mut ran = 0;
    for (name, model) in models {
        let bytes = model.to_bytes(&SaveOptions::default()).unwrap();
        let back = Model::from_bytes(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(back.summary(), model.summary(), "{name}");
        assert_eq!((back.inputs(), back.outputs()), (model.inputs(), model.outputs()), "{name}");
        assert_eq!(back.notes(), model.notes(), "{name}");
        assert_eq!(back.to_bytes(&SaveOptions::default()).unwrap(), bytes, "{name}");
        let [one, other] = [&model, &back].map(|model| Plan::new(model, &PlanOptions::default()).unwrap());
        assert_eq!(text(&one), text(&other), "{name}");
        assert!(one.weights.iter().zip(&other.weights).all(|(a, b)| a.tensor == b.tensor), "{name}");
        let batch = model.required_batch().unwrap_or(2);
        let inputs = random_inputs(&model, batch, 5, 1).unwrap();
        let [one, other] = [&model, &back].map(|model| {
            let session = Session::new(model, SessionOptions::on(Device::Cpu)).unwrap();
            session.run(Inputs::from_iter(inputs.clone())).map_err(|error| error.to_string())
        });
        // Some ONNX files accept few sizes only.
        let (one, other) = match (one, other) {
            (Ok(one), Ok(other)) => (one, other),
            (one, other) => {
                assert_eq!(one.unwrap_err(), other.unwrap_err(), "{name}");
                continue;
            }
        };
        ran += 1;
        for ((output, expected), (_, found)) in one.iter().zip(other.iter()) {
            let bits = |tensor: &Tensor| tensor.to_f32().iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(expected), bits(found), "{name}: {output}");
        }
    }
    assert!(ran > 200, "{ran}");
    println!("{ran} models");
}

#[test]
fn rounded_weights() {
    for (stored, run) in
        [(WeightType::F16, Precision::F16), (WeightType::Bf16, Precision::Bf16), (WeightType::I8, Precision::I8)]
    {
        check_rounded(stored, run);
    }
}

fn check_rounded(stored: WeightType, precision: Precision) {
    let model = golden("chain_stacked").load().unwrap();
    let mut options = SaveOptions::default();
    options.weights = stored;
    let bytes = model.to_bytes(&options).unwrap();
    assert!(bytes.len() < model.to_bytes(&SaveOptions::default()).unwrap().len());
    let back = Model::from_bytes(&bytes).unwrap();
    // The same numbers as when a session rounds the weights.
    let inputs = random_inputs(&model, 2, 5, 1).unwrap();
    let run = |model: &Model| {
        let mut options = SessionOptions::on(Device::Cpu);
        options.weights = precision;
        let session = Session::new(model, options).unwrap();
        session.run(Inputs::from_iter(inputs.clone())).unwrap()
    };
    assert_eq!(run(&model), run(&back));
    assert_eq!(back.to_bytes(&options).unwrap(), bytes, "rounding again changes nothing");
}

#[test]
fn known_answers_are_checked() {
    let model = golden("chain_tagger").load().unwrap();
    let answers = known_answers(&model, 3, None, None, 1).unwrap();
    let model = model.with_known_answers(answers.clone()).unwrap();
    let model = Model::from_bytes(&model.to_bytes(&SaveOptions::default()).unwrap()).unwrap();
    assert_eq!(model.known_answers().len(), 3);
    assert_eq!(model.known_answers()[2].outputs, answers[2].outputs);
    for (name, device) in common::nets::devices() {
        Session::new(&model, SessionOptions::on(device)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    // They hold for the weights that they were made with only.
    for (name, device) in common::nets::devices() {
        for (precision, release) in Precision::ALL.into_iter().flat_map(|p| [(p, false), (p, true)]) {
            let mut rounded = SessionOptions::on(device.clone());
            (rounded.weights, rounded.release_weights) = (precision, release);
            Session::new(&model, rounded).unwrap_or_else(|error| panic!("{name} {precision:?} {release}: {error}"));
        }
    }

    let off = |answer: &KnownAnswer| {
        let change = |(name, tensor): &(String, Tensor)| {
            let mut values = tensor.to_f32().into_owned();
            values[0] += 0.01;
            (name.clone(), Tensor::new(tensor.shape(), values).unwrap())
        };
        KnownAnswer { inputs: answer.inputs.clone(), outputs: answer.outputs.iter().map(change).collect() }
    };
    let wrong = model.clone().with_known_answers(answers.iter().map(off).collect()).unwrap();
    let error = Session::new(&wrong, SessionOptions::on(Device::Cpu)).unwrap_err();
    let expected = "model 'model' does not give its known answers on cpu: known answer 0, output 'output': ";
    assert!(error.to_string().starts_with(expected), "{error}");
    let mut skipping = SessionOptions::on(Device::Cpu);
    skipping.skip_known_answers = true;
    Session::new(&wrong, skipping).unwrap();

    let renamed = KnownAnswer { inputs: vec![("x".to_owned(), answers[0].inputs[0].1.clone())], outputs: Vec::new() };
    let error = model.with_known_answers(vec![renamed]).unwrap_err();
    assert_eq!(error.to_string(), "known answer 0: expected the inputs 'input', found 'x'");
}

/// Known answers start from zero states and leave none behind.
#[test]
fn stateful_models_start_anew() {
    let model = Model::load(keras_files::path("bidirectional_stateful")).unwrap();
    let model = model.clone().with_known_answers(known_answers(&model, 2, None, None, 1).unwrap()).unwrap();
    let session = Session::new(&model, SessionOptions::on(Device::Cpu)).unwrap();
    assert!(session.state().is_none());
}

#[test]
fn files_are_written_whole_or_not_at_all() {
    let model = golden("single_linear").load().unwrap();
    let folder = std::env::temp_dir().join(format!("wgpu-rnn-native-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("model.rnn");
    model.save(&path).unwrap();
    model.save(&path).unwrap();
    // A file of this crate takes no configuration from its folder.
    std::fs::write(folder.join("config.json"), "{").unwrap();
    assert_eq!(Model::load(&path).unwrap().summary(), model.summary());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
    assert!(matches!(model.save(folder.join("no/such/folder")), Err(Error::Io { .. })));
    std::fs::remove_dir_all(folder).unwrap();
}

/// What a file of integers is checked with holds for sessions with full weights and with integers.
#[test]
fn known_answers_of_integers() {
    let mut options = SaveOptions::default();
    options.weights = WeightType::I8;
    let stored = |model: &Model| Model::from_bytes(&model.to_bytes(&options).unwrap()).unwrap();
    let model = stored(&golden("chain_tagger").load().unwrap());
    let mut answers = known_answers(&model, 1, None, None, 1).unwrap();
    let right = stored(&model.clone().with_known_answers(answers.clone()).unwrap());
    let (name, output) = answers[0].outputs.swap_remove(0);
    let spoilt: Vec<f32> = output.to_f32().iter().map(|value| value + 0.01).collect();
    answers[0].outputs.push((name, Tensor::new(output.shape(), spoilt).unwrap()));
    let wrong = stored(&model.with_known_answers(answers).unwrap());
    for precision in [Precision::F32, Precision::I8] {
        let mut options = SessionOptions::on(Device::Cpu);
        options.weights = precision;
        Session::new(&right, options.clone()).unwrap();
        assert!(matches!(Session::new(&wrong, options), Err(Error::WrongAnswer { .. })), "{precision:?}");
    }
}

/// Files that this version wrote stay readable by those that come after it.
#[test]
fn every_format() {
    for (format, weights) in [(1, WeightType::F32), (2, WeightType::I8), (3, WeightType::Bf16)] {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/native");
        let path = folder.join(format!("format{format}.rnn"));
        if std::env::var_os("WRITE_FIXTURES").is_some() {
            let mut options = SaveOptions::default();
            options.weights = weights;
            let model = golden("chain_embedding_lstm_linear").load().unwrap();
            let model = Model::from_bytes(&model.to_bytes(&options).unwrap()).unwrap();
            let answers = known_answers(&model, 1, None, None, 1).unwrap();
            model.with_known_answers(answers).unwrap().save_with(&path, &options).unwrap();
        }
        let model = Model::load(&path).unwrap();
        assert_eq!(model.known_answers().len(), 1);
        Session::new(&model, SessionOptions::on(Device::Reference)).unwrap();
    }
}

/// `docs/format.md` describes every key that any golden model writes.
#[test]
fn every_key_is_documented() {
    let page = include_str!("../docs/format.md");
    let mut keys = std::collections::BTreeSet::new();
    for (_, model) in models() {
        let bytes = model.to_bytes(&SaveOptions::default()).unwrap();
        let size = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + size]).unwrap();
        let text = header["__metadata__"]["wgpu_rnn"].as_str().unwrap();
        let mut document: serde_json::Value = serde_json::from_str(text).unwrap();
        // Its keys are names of weights.
        document["shared"] = serde_json::Value::Null;
        collect(&document, &mut keys);
    }
    let missing: Vec<_> = keys.iter().filter(|key| !page.contains(&format!("`{key}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

fn collect(value: &serde_json::Value, keys: &mut std::collections::BTreeSet<String>) {
    match value {
        serde_json::Value::Object(map) => map.iter().for_each(|(key, value)| {
            keys.insert(key.clone());
            collect(value, keys);
        }),
        serde_json::Value::Array(all) => all.iter().for_each(|value| collect(value, keys)),
        _ => {}
    }
}
