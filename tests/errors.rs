//! Every kind of error, reached by a call, and its whole message.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::nets::{Mask, Net};
use std::{collections::BTreeMap, sync::Arc};
use wgpu_rnn::{
    Device, Error, ErrorKind, Inputs, Model, Session, SessionOptions, Tensor,
    cell::Cell,
    model::{Embedding, LayerKind},
    plan::{Carry, Plan, Precision},
};

fn embedding(vocabulary: usize) -> Model {
    let mut model = Model::builder("text");
    let ids = model.input("ids", &[None]).unwrap();
    let table = Arc::new(Tensor::new([vocabulary, 2], vec![0.5f32; vocabulary * 2]).unwrap());
    let y = model.add("embed", LayerKind::Embedding(Embedding { table, mask_zero: false }), &[ids]).unwrap();
    model.output("y", y).unwrap();
    model.build().unwrap()
}

fn net() -> Net {
    Net::new(1, Cell::Lstm, 4)
}

fn session(model: &Model) -> Session {
    Session::new(model, SessionOptions::on(Device::Cpu)).unwrap()
}

/// Errors that need no GPU, by variant.
fn host() -> Vec<Error> {
    let zeros = |shape: &[usize]| Tensor::new(shape, vec![0f32; shape.iter().product()]).unwrap();
    let ids = |ids: Vec<i64>| Tensor::new([1, ids.len()], ids).unwrap();
    let text = session(&embedding(10));
    let plain = session(&net().model());
    let mut errors = vec![
        plain.run(zeros(&[1, 5, 2])).unwrap_err(),
        plain.run(zeros(&[1, 5])).unwrap_err(),
        plain.run(Inputs::new()).unwrap_err(),
        plain.run(Inputs::new().with("z", zeros(&[1, 5, 3]))).unwrap_err(),
        plain.run(vec![zeros(&[1, 5, 3]), zeros(&[1, 5, 3])]).unwrap_err(),
        text.run(ids(vec![1, 10])).unwrap_err(),
        text.run(ids(vec![-1])).unwrap_err(),
        text.run(Tensor::new([1, 1], vec![0.5f32]).unwrap()).unwrap_err(),
        text.run(ids(vec![1, i64::MAX])).unwrap_err(),
        Tensor::new([2, 2], vec![1f32]).unwrap_err(),
        Model::builder("empty").build().unwrap_err(),
    ];
    let mut strict = SessionOptions::on(Device::Cpu);
    strict.refuse_non_finite = true;
    let strict = Session::new(&net().model(), strict).unwrap();
    errors.push(strict.run(Tensor::new([1, 1, 3], vec![0.0, f32::NAN, 0.0]).unwrap()).unwrap_err());
    let mut carrying = SessionOptions::on(Device::Cpu);
    carrying.carry = Carry::All;
    let backwards = Net { go_backwards: true, ..net() }.model();
    errors.push(Session::new(&backwards, carrying.clone()).unwrap_err());
    let stateful = Session::new(&net().model(), carrying).unwrap();
    stateful.run(zeros(&[2, 1, 3])).unwrap();
    errors.push(stateful.run(zeros(&[3, 1, 3])).unwrap_err());
    errors.push(stateful.run_ragged(vec![zeros(&[1, 3]).into()]).unwrap_err());
    let other = Net { stateful: true, ..Net::new(2, Cell::Lstm, 4) }.model();
    errors.push(session(&other).set_state(stateful.state().unwrap()).unwrap_err());
    let mut model = Model::builder("nan");
    model.input("x", &[Some(1)]).unwrap();
    let table = Arc::new(Tensor::new([2, 2], vec![1.0, 2.0, f32::INFINITY, 3.0]).unwrap());
    errors.push(model.layer("embed", LayerKind::Embedding(Embedding { table, mask_zero: false })).unwrap_err());
    let rounded = |model: &Model, weights| {
        let mut options = SessionOptions::on(Device::Cpu);
        options.weights = weights;
        Session::new(model, options).unwrap_err()
    };
    let large = Net { mask: Mask::None, gain: 1e6, ..net() }.model();
    errors.push(rounded(&large, Precision::F16));
    let mut model = Model::builder("largest");
    let ids = model.input("ids", &[Some(1)]).unwrap();
    let table = Arc::new(Tensor::new([1, 2], vec![1.0, -f32::MAX]).unwrap());
    let y = model.add("embed", LayerKind::Embedding(Embedding { table, mask_zero: false }), &[ids]).unwrap();
    model.output("y", y).unwrap();
    errors.push(rounded(&model.build().unwrap(), Precision::Bf16));
    let broken = Plan { outputs: Vec::new(), ..Plan::default() };
    let bound = broken.bind(&[]).unwrap();
    let missing = wgpu_rnn::plan::BufferId::new(7);
    errors.push(wgpu_rnn::reference::run(&broken, &bound, &[], &[missing]).unwrap_err());
    errors
}

#[test]
fn messages_of_the_host() {
    let expected = "
Mismatch: input 'x': expected shape (None, None, 3) (axis 2), found [1, 5, 2]
Mismatch: input 'x': expected shape (None, None, 3), found [1, 5]
Mismatch: inputs: expected 'x', found none for 'x'
Unknown: no input named 'z'; there is 'x'
Mismatch: inputs: expected 1 ('x'), found more
TokenOutOfRange: 'ids'[0, 1]: expected a token id, a whole number from 0 to 9 (the vocabulary of layer 'embed'), found 10
TokenOutOfRange: 'ids'[0, 0]: expected a token id, a whole number from 0 to 9 (the vocabulary of layer 'embed'), found -1
TokenOutOfRange: 'ids'[0, 0]: expected a token id, a whole number from 0 to 9 (the vocabulary of layer 'embed'), found 0.5
TokenOutOfRange: 'ids'[0, 1]: expected a token id, a whole number from 0 to 9 (the vocabulary of layer 'embed'), found 9223372036854775807
Mismatch: tensor of shape [2, 2]: expected 4 values, found 1 values
Mismatch: model 'empty': expected at least one input, found none
NonFinite: input 'x'[0, 0, 1]: value NaN is not finite
Unsupported: layer 'layer': carrying states backwards is not supported; give the whole sequence at once
Mismatch: state: expected the 3 rows of the inputs (or reset the state), found 2 rows
Unsupported: model 'net': a ragged batch with carried states is not supported; run each sequence in a session of its own
Mismatch: state: expected one of this model and its weights, found one of another model
NonFinite: layer 'embed': table[1, 0]: value inf is not finite
Limit: weight 'layer weight_ih'[0, 0] needs 66561.56, the limit is 65504, the largest f16; use f32 weights
Limit: weight 'embed table'[0, 1] needs -340282350000000000000000000000000000000, the limit is 3.3895314e38, the largest bf16; use f32 weights
Internal: internal error: buffer 7 has no storage; please report it
";
    let found: Vec<String> = host().iter().map(|error| format!("{}: {error}", variant(error))).collect();
    assert_eq!(found.join("\n"), expected.trim());
    assert!(host().iter().all(|error| error.kind() != ErrorKind::Device && !error.is_retryable()));
}

fn variant(error: &Error) -> String {
    format!("{error:?}").split([' ', '{']).next().unwrap().to_owned()
}

#[cfg(feature = "keras")]
#[test]
fn messages_of_files() {
    let missing = Model::load("no/such/file.keras").unwrap_err();
    assert_eq!(missing.to_string(), "no/such/file.keras: No such file or directory (os error 2)");
    let damaged = Model::from_bytes(b"PK").unwrap_err();
    assert_eq!(variant(&damaged), "Malformed");
    assert_eq!([missing.kind(), damaged.kind()], [ErrorKind::Input; 2]);
}

/// Errors of devices. The graphics library's own complaints (`Error::Gpu`) cannot be reached from
/// outside; unit tests reach them.
#[cfg(all(feature = "gpu", feature = "fault-injection"))]
#[test]
fn messages_of_devices() {
    use wgpu_rnn::gpu::{Fault, FaultPoint, Gpu, GpuOptions};
    if common::nets::gpu().is_none() {
        return;
    }
    let faulty = |faults: &[(FaultPoint, u64, Fault)]| {
        let gpu = pollster::block_on(Gpu::open(GpuOptions::default())).unwrap();
        let session = Session::new(&net().model(), SessionOptions::on(Device::Opened(gpu.clone())));
        let session = session.unwrap();
        let x = || net().inputs();
        if faults.iter().all(|(.., fault)| *fault != Fault::WrongBit) {
            session.run(x()).unwrap();
        }
        for &(point, nth, fault) in faults {
            gpu.plant_fault(point, nth, fault);
        }
        let larger = Net { batch: 64, ..net() };
        let error = session.run(if faults.len() > 1 { larger.inputs() } else { x() }).unwrap_err();
        let retried = error.is_retryable();
        if retried {
            let rebuilt = session.rebuilt().unwrap();
            assert_eq!(rebuilt.run(x()).unwrap().len(), 1, "after {error}");
        }
        // A driver may crash where the process ends while a device closes.
        gpu.shutdown(std::time::Duration::from_secs(20)).unwrap();
        (variant(&error), error.to_string().replace(&gpu.info().name, "ADAPTER"), retried)
    };
    let found = [
        faulty(&[(FaultPoint::CreateBuffer, 1, Fault::OutOfMemory), (FaultPoint::CreateBuffer, 1, Fault::OutOfMemory)]),
        faulty(&[(FaultPoint::Submit, 1, Fault::Lost)]),
        faulty(&[(FaultPoint::Wait, 1, Fault::Timeout)]),
        faulty(&[(FaultPoint::Readback, 1, Fault::WrongBit)]),
    ];
    let found: Vec<String> =
        found.iter().map(|(variant, text, retried)| format!("{variant}, {retried}: {text}")).collect();
    let expected = "
OutOfDeviceMemory, true: out of device memory on ADAPTER while creating example (320 bytes)
DeviceLost, true: device ADAPTER was lost: planted loss; rebuild the session and retry
Timeout, true: device ADAPTER did not answer within 0ns while running a slice; rebuild the session and retry
KnownAnswer, false: kernel linear of 3 rows of 70, F32, Linear fails its known-answer test on ADAPTER: value 0 is 1.9733994 instead of 1.4733994007110596; use another device
";
    assert_eq!(found.join("\n"), expected.trim());
}

#[cfg(feature = "gpu")]
#[test]
fn messages_of_adapters() {
    let Some(gpu) = common::nets::gpu() else { return };
    let options = SessionOptions::on(Device::Gpu(Some("no such adapter".to_owned())));
    let error = Session::new(&net().model(), options).unwrap_err();
    assert_eq!(variant(&error), "Unknown");
    assert!(error.to_string().starts_with("no adapter named 'no such adapter'; there is "), "{error}");
    assert!(error.to_string().contains(&gpu.info().name), "{error}");
}

/// A variant that is added has to be reached here, or named with the reason.
#[test]
fn every_variant_is_reached() {
    let source = include_str!("../src/error.rs");
    let body = source.split("pub enum Error {").nth(1).unwrap().split("\n}\n").next().unwrap();
    let variants = body.lines().filter_map(|line| line.strip_prefix("    ")?.strip_suffix(" {"));
    let variants: Vec<&str> = variants.filter(|name| name.chars().all(char::is_alphanumeric)).collect();
    let mut reached: BTreeMap<String, &str> = host().iter().map(|error| (variant(error), "here")).collect();
    for (name, place) in [
        ("Io", "messages_of_files"),
        ("Malformed", "messages_of_files"),
        ("NoAdapter", "tests/gpu_room.rs: no_driver_is_an_error_that_says_what_to_do"),
        ("OutOfDeviceMemory", "messages_of_devices"),
        ("DeviceLost", "messages_of_devices"),
        ("Timeout", "messages_of_devices"),
        ("KnownAnswer", "messages_of_devices"),
        ("WrongAnswer", "tests/native.rs"),
        ("Gpu", "src/gpu/room_tests.rs"),
    ] {
        reached.insert(name.to_owned(), place);
    }
    assert_eq!(variants.len(), 16);
    for name in variants {
        assert!(reached.contains_key(name), "{name} is not reached by any test");
    }
}
