//! What rounded weights cost in accuracy and save in memory. The errors are printed.
#![cfg(feature = "keras")]
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "common/mod.rs"]
mod common;

use common::{
    Rng,
    nets::{Net, devices},
};
#[cfg(feature = "gpu")]
use wgpu_rnn::Error;
use wgpu_rnn::{
    Device, Inputs, Model, Session, SessionOptions, Tensor, cell::Cell, compare::Tolerance, model::MergeMode,
    plan::Precision,
};

/// How far an output may be from that of the reference on f32 weights.
fn tolerance(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 1e-5,
        Precision::F16 => 2e-3,
        Precision::Bf16 => 1.6e-2,
        Precision::I8 => 2e-2,
    }
}

fn session(model: &Model, device: Device, weights: Precision) -> Session {
    let mut options = SessionOptions::on(device);
    options.weights = weights;
    Session::new(model, options).unwrap()
}

/// The largest difference of two runs with the same inputs.
fn error(expected: &Session, actual: &Session, inputs: &Inputs) -> f64 {
    let [expected, actual] = [expected, actual].map(|session| session.run(inputs.clone()).unwrap());
    let of = |expected: &Tensor, actual: &Tensor| {
        let (expected, actual) = (expected.to_f64(), actual.to_f64());
        expected.iter().zip(actual.iter()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    };
    expected.iter().zip(actual.iter()).map(|((_, a), (_, b))| of(a, b)).fold(0.0, f64::max)
}

/// The demonstration's sentences and models of [`nets`](common::nets) of several sizes.
fn cases() -> Vec<(String, Model, Vec<Inputs>)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/language");
    let model = Model::load(folder.join("language.keras")).unwrap();
    let samples: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
    let ids = |sample: &serde_json::Value| {
        let ids: Vec<i64> = sample["ids"].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect();
        Inputs::from(Tensor::new([1, ids.len()], ids).unwrap())
    };
    let sentences = samples.as_array().unwrap().iter().map(ids).collect();
    let mut cases = vec![("demo".to_owned(), model, sentences)];
    let mut rng = Rng::new(8);
    for cell in Cell::ALL {
        for hidden in [8, 50, 128] {
            let net = Net {
                bidirectional: rng.chance(0.5).then_some(MergeMode::Concat),
                input_size: rng.log_uniform(2, 60),
                batch: 3,
                seq_len: 50,
                ..Net::new(rng.next(), cell, hidden)
            };
            let inputs = Inputs::from(net.inputs());
            cases.push((format!("{cell:?} of {hidden} units"), net.model(), vec![inputs]));
        }
    }
    cases
}

#[test]
fn outputs_are_near_those_of_f32_weights() {
    for (name, model, inputs) in cases() {
        let exact = session(&model, Device::Reference, Precision::F32);
        for (device, at) in devices() {
            for precision in Precision::ALL {
                let rounded = session(&model, at.clone(), precision);
                let worst = inputs.iter().map(|inputs| error(&exact, &rounded, inputs)).fold(0.0, f64::max);
                println!("{name}, {device}, {precision:?}: {worst:.1e}");
                assert!(worst <= tolerance(precision), "{name}, {device}, {precision:?}: {worst:.1e}");
            }
        }
    }
}

/// Products of integers add little to what int8 weights cost.
#[test]
fn products_of_integers_are_near_enough() {
    let (mut beside, mut whole) = (0.0f64, 0.0f64);
    for (name, model, inputs) in cases() {
        let (exact, same) =
            (session(&model, Device::Reference, Precision::F32), session(&model, Device::Reference, Precision::I8));
        let mut options = SessionOptions::on(Device::Cpu);
        (options.weights, options.integer_arithmetic) = (Precision::I8, true);
        let integers = Session::new(&model, options).unwrap();
        let worst = |of: &Session| inputs.iter().map(|inputs| error(of, &integers, inputs)).fold(0.0, f64::max);
        println!("{name}: {:.1e} from the same weights, {:.1e} from f32 weights", worst(&same), worst(&exact));
        assert!(worst(&session(&model, Device::Cpu, Precision::I8)) > 0.0, "{name}: products were made in f32");
        (beside, whole) = (beside.max(worst(&same)), whole.max(worst(&exact)));
    }
    println!("worst: {beside:.1e} from the same weights, {whole:.1e} from f32 weights");
    assert!(beside <= Tolerance::INTEGER_ARITHMETIC.absolute && whole <= tolerance(Precision::I8));
}

#[test]
fn products_of_integers_are_refused_where_they_make_no_sense() {
    let (_, model, _) = cases().swap_remove(1);
    let refused = |device: Device, weights| {
        let mut options = SessionOptions::on(device);
        (options.weights, options.integer_arithmetic) = (weights, true);
        Session::new(&model, options).unwrap_err().to_string()
    };
    for weights in [Precision::F16, Precision::Bf16] {
        assert!(refused(Device::Cpu, weights).contains("store weights as int8"));
    }
    assert!(refused(Device::Reference, Precision::I8).contains("ask for the CPU"));
}

/// Products in f16, where the GPU has them, stay as near as f16 weights have to be.
#[cfg(feature = "gpu")]
#[test]
fn products_in_f16_are_near_enough() {
    let Some(gpu) = common::nets::gpu() else { return };
    let (mut demo, mut nets) = (0.0f64, 0.0f64);
    for (name, model, inputs) in cases() {
        let exact = session(&model, Device::Reference, Precision::F32);
        let mut options = SessionOptions::on(Device::Opened(gpu.clone()));
        (options.weights, options.half_arithmetic) = (Precision::F16, true);
        let half = match Session::new(&model, options) {
            Err(error @ Error::Unsupported { .. }) => return println!("SKIPPED: {error}"),
            session => session.unwrap(),
        };
        let plain = session(&model, Device::Opened(gpu.clone()), Precision::F16);
        let worst = inputs.iter().map(|inputs| error(&exact, &half, inputs)).fold(0.0, f64::max);
        println!("{name}: {worst:.1e}");
        let differs = inputs.iter().map(|inputs| error(&plain, &half, inputs)).fold(0.0, f64::max);
        assert!(differs > 1e-6, "{name}: products were made in f32");
        assert!(worst <= tolerance(Precision::F16), "{name}: {worst:.1e}");
        *(if name == "demo" { &mut demo } else { &mut nets }) = worst.max(if name == "demo" { demo } else { nets });
    }
    println!("worst with products in f16: demo {demo:.1e}, networks {nets:.1e}");
}

#[cfg(feature = "gpu")]
#[test]
fn products_in_f16_are_refused_where_they_make_no_sense() {
    let (_, model, _) = cases().swap_remove(1);
    let refused = |device: Device, weights| {
        let mut options = SessionOptions::on(device);
        (options.weights, options.half_arithmetic) = (weights, true);
        Session::new(&model, options).unwrap_err().to_string()
    };
    assert!(refused(Device::Cpu, Precision::F16).contains("ask for a GPU"));
    let Some(gpu) = common::nets::gpu() else { return };
    for weights in [Precision::F32, Precision::Bf16] {
        assert!(refused(Device::Opened(gpu.clone()), weights).contains("ask for f16 weights"));
    }
}

/// Of matrices whose rows have at least 64 weights, scales are a sixteenth of the integers' bytes or less.
#[cfg(feature = "gpu")]
#[test]
fn f16_and_bf16_halve_and_int8_quarters_the_bytes_on_the_device() {
    let Some(gpu) = common::nets::gpu() else { return };
    let bytes = |model: &Model, shape: &[usize]| {
        Precision::ALL.map(|precision| {
            let session = session(model, Device::Opened(gpu.clone()), precision);
            session.memory_need(&[shape.to_vec()]).unwrap().unwrap().weights
        })
    };
    let net = Net { bias: false, input_size: 64, ..Net::new(1, Cell::Lstm, 128) };
    let [full, half, bfloat, quarter] = bytes(&net.model(), &[2, 5, 64]);
    println!("an LSTM of 128 units: {full} bytes as f32, {half} as f16 or bf16, {quarter} as int8");
    assert_eq!(full, 4 * 4 * 128 * (64 + 128));
    assert_eq!((half, bfloat, quarter), (full / 2, half, full / 4 + 2 * 4 * 4 * 128));
    let (name, model, _) = cases().swap_remove(0);
    let [full, half, bfloat, quarter] = bytes(&model, &[1, 20]);
    println!("{name}: {full} bytes as f32, {half} as f16 or bf16, {quarter} as int8");
    assert!(half * 10 < full * 6 && bfloat == half && quarter * 10 < full * 4);
}
