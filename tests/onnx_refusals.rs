//! What is refused in ONNX files, and in which words.
#![cfg(feature = "onnx")]
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "common/npz.rs"]
mod npz;
#[path = "common/onnx_files.rs"]
mod onnx_files;
#[path = "common/onnx_write.rs"]
mod onnx_write;

use std::{
    fs,
    path::{Path, PathBuf},
};

use onnx_files::{path, tensor};
use onnx_write::{
    FLOAT, File, INT64, Message, attribute_float, attribute_int, attribute_ints, attribute_text, attribute_texts,
    floats, header, info, ints, node,
};
use wgpu_rnn::{Device, Inputs, Model, Session, SessionOptions, Tensor};

fn message(file: &File) -> String {
    match Model::from_bytes(&file.bytes()) {
        Err(error) => error.to_string(),
        Ok(model) => panic!("model {} was loaded", model.name()),
    }
}

fn unary(op: &str, attributes: &[Message]) -> File {
    File::of(vec![node(op, &["x"], &["y"], attributes)])
}

#[test]
fn messages() {
    let lstm = |attribute: Message| File::lstm(&[attribute]);
    let cases: Vec<(File, &str)> = vec![
        (
            unary("Frobnicate", &[]),
            "node 'the Frobnicate' (Frobnicate): the operator 'Frobnicate' is not supported; load the Keras or PyTorch file itself, or export the model without it",
        ),
        (
            File::of(vec![node("Relu", &["x"], &["y"], &[]).bytes(7, "com.microsoft")]),
            "node 'the Relu' (Relu): the operator 'Relu' of domain 'com.microsoft' is not supported; export the model with operators of ai.onnx only",
        ),
        (
            unary("Loop", &[]),
            "node 'the Loop' (Loop): control flow (Loop) is not supported; load the Keras or PyTorch file itself",
        ),
        (
            lstm(attribute_int("magic", 1)),
            "node 'the LSTM' (LSTM): attribute 'magic' is not supported; export the model without it, or load the Keras or PyTorch file itself",
        ),
        (lstm(attribute_float("clip", 0.0)), "node 'the LSTM' (LSTM): expected a clip above 0, found 0"),
        (
            lstm(attribute_text("direction", "sideways")),
            "node 'the LSTM' (LSTM): expected direction forward, reverse or bidirectional, found 'sideways'",
        ),
        (
            lstm(attribute_texts("activations", &["Sigmoid", "Tanh", "Swish"])),
            "node 'the LSTM' (LSTM): expected an activation among 'affine', 'elu', 'hardsigmoid', 'leakyrelu', 'relu', 'scaledtanh', 'sigmoid', 'softplus', 'softsign', 'tanh', 'thresholdedrelu', found 'swish'",
        ),
        (lstm(attribute_texts("activations", &["Tanh"])), "node 'the LSTM' (LSTM): expected 3 activations, found 1"),
        (
            File::lstm(&[]).replaced(1, floats("r", &[1, 12, 4])),
            "node 'the LSTM' (LSTM): expected a hidden_size of 3, found R of shape [1, 12, 4]",
        ),
        (
            File::lstm(&[]).replaced(0, floats("w", &[1, 12, 5])),
            "layer 'the LSTM': expected [batch, seq_len, 5] and initial states [batch, 3], one per state or none, found inputs (None, None, 2)",
        ),
        (
            File::lstm(&[]).opset(6),
            "the file: version 6 of the operator set is not supported; export the model with an operator set from 7 to 28",
        ),
        (
            File::of(vec![node("Add", &["x", "later"], &["y"], &[])]),
            "node 'the Add' (Add): expected inputs that nodes before it make, found 'later'",
        ),
        (
            unary("ReduceMean", &[attribute_ints("axes", &[0])]),
            "node 'the ReduceMean' (ReduceMean): an operation along the axis that counts samples (the batch) is not supported; export the model with the batch as an axis of its own",
        ),
        (
            unary("Squeeze", &[]).opset(11),
            "node 'the Squeeze' (Squeeze): a Squeeze of whatever axes turn out to be 1 is not supported; export it with axes",
        ),
        (
            File::of(vec![node("Concat", &["x", "x"], &["y"], &[attribute_int("axis", 0)])]),
            "node 'the Concat' (Concat): an operation along the axis that counts samples (the batch) is not supported; export the model with the batch as an axis of its own",
        ),
        (
            File::of(vec![node("Reshape", &["x", "s"], &["y"], &[])]).with(ints("s", &[7, 13])),
            "node 'the Reshape' (Reshape): expected axes that reshape to one of 7, found [None, None, 2]",
        ),
        (
            unary("AveragePool", &[attribute_ints("kernel_shape", &[2]), attribute_int("ceil_mode", 1)]),
            "node 'the AveragePool' (AveragePool): ceil_mode is not supported; pad the input instead",
        ),
        (
            File::of(vec![node("Pad", &["x", "p"], &["y"], &[attribute_text("mode", "reflect")])])
                .with(ints("p", &[0; 6])),
            "node 'the Pad' (Pad): padding of mode 'reflect' is not supported; use mode constant",
        ),
        (
            File::of(vec![node("Gather", &["x", "i"], &["y"], &[attribute_int("axis", 1)])]).input(info(
                "i",
                INT64,
                &[-5],
            )),
            "node 'the Gather' (Gather): a Gather at positions that the values of a run decide is not supported; use constant positions; for the last timestep of each sample Y_h of a layer with sequence_lens",
        ),
        (
            File::lstm(&[]).replaced(0, {
                let entry = Message::default().bytes(1, "location").bytes(2, "weights.bin");
                header("w", &[1, 12, 2], FLOAT).message(13, &entry).int(14, 1)
            }),
            "tensor 'w': external data of a model that comes as bytes is not supported; load the model by its path",
        ),
    ];
    let mut wrong = Vec::new();
    for (file, expected) in &cases {
        let found = message(file);
        if found != format!("<bytes>: {expected}") {
            wrong.push(found);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn loops_of_exporters() {
    let error = Model::load(path("keras_gru_loop")).unwrap_err().to_string();
    assert!(error.ends_with("control flow (Loop) is not supported; load the Keras or PyTorch file itself"), "{error}");
}

#[test]
fn a_batch_that_the_file_states_holds() {
    let model = Model::load(path("torch_lstm_fixed")).unwrap();
    let session = Session::new(&model, SessionOptions::on(Device::Cpu)).unwrap();
    let x = Tensor::new([5, 4, 4], vec![0.0f32; 80]).unwrap();
    let error = session.run(x).unwrap_err().to_string();
    assert_eq!(error, "batch: expected the 3 rows that the model was built for, found 4 rows");
    // Nothing in the exported file says so, but the states that it starts from.
    let model = Model::load(path("torch_lstm_packed")).unwrap();
    let session = Session::new(&model, SessionOptions::on(Device::Cpu)).unwrap();
    let x = Tensor::new([5, 2, 4], vec![0.0f32; 40]).unwrap();
    let lengths = Tensor::new([2], vec![5i64, 2]).unwrap();
    let error = session.run(Inputs::new().with("x", x).with("lengths", lengths)).unwrap_err().to_string();
    assert_eq!(error, "node '/rnn/Expand' (Expand): expected inputs whose sizes agree, found 3 and 2");
}

#[test]
fn weights_that_come_as_inputs() {
    let name = "node_lstm_with_peepholes";
    let model = Model::load(path(name)).unwrap();
    let weights = model.needs_weights();
    let names: Vec<&str> = weights.iter().map(|weight| weight.name.as_str()).collect();
    assert_eq!(names, ["W", "R", "B", "P"]);
    let given: Vec<Tensor> = names.iter().map(|weight| tensor(name, &format!("call0.in.{weight}"))).collect();
    let whole = model.with_weights(&given).unwrap();
    assert_eq!(whole.parameter_count(), given.iter().map(Tensor::len).sum::<usize>());
    let mut wrong = given.clone();
    wrong[1] = Tensor::new([1, 2], vec![0.0f32; 2]).unwrap();
    let error = model.with_weights(&wrong).unwrap_err().to_string();
    assert!(error.contains("R of shape [1, 2]"), "{error}");
}

/// A folder of its own for a test, gone when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("wgpu-rnn {name} {}", std::process::id()));
        fs::create_dir_all(path.join("model/inside")).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn external(entries: &[(&str, &str)]) -> Vec<u8> {
    let message = |&(key, value): &(&str, &str)| Message::default().bytes(1, key).bytes(2, value);
    let tensor =
        entries.iter().fold(header("w", &[1, 12, 2], FLOAT), |tensor, entry| tensor.message(13, &message(entry)));
    File::lstm(&[]).replaced(0, tensor.int(14, 1)).bytes()
}

fn load(folder: &Path, entries: &[(&str, &str)]) -> Result<Model, String> {
    let file = folder.join("model/model.onnx");
    fs::write(&file, external(entries)).unwrap();
    Model::load(&file).map_err(|error| error.to_string())
}

#[test]
fn external_data() {
    let folder = Folder::new("external data");
    let folder = folder.0.as_path();
    let values: Vec<u8> = (0..32).flat_map(|i| (i as f32 / 32.0).to_le_bytes()).collect();
    for name in ["model/w.bin", "model/inside/w.bin", "outside.bin"] {
        fs::write(folder.join(name), &values).unwrap();
    }
    let whole = load(folder, &[("location", "w.bin")]).unwrap();
    let part = load(folder, &[("location", "inside/w.bin"), ("offset", "32"), ("length", "96")]).unwrap();
    for (model, first) in [(whole, 0.0), (part, 8.0 / 32.0)] {
        let weights = model.layers().iter().flat_map(|layer| layer.kind.weights()).collect::<Vec<_>>();
        assert_eq!(weights.iter().find(|(name, ..)| *name == "weight_ih").unwrap().1.to_f32()[0], first);
    }
    let absolute = folder.join("outside.bin");
    let refused: [(&[(&str, &str)], &str); 12] = [
        (
            &[("location", "../outside.bin")],
            "external data in a file in the model's own folder, found '../outside.bin'",
        ),
        (&[("location", "inside/../../outside.bin")], "in the model's own folder"),
        (&[("location", absolute.to_str().unwrap())], "in the model's own folder"),
        (&[("location", "C:\\weights")], "in the model's own folder"),
        (&[("location", "")], "in the model's own folder"),
        (&[("location", "inside")], "which is no file"),
        (&[("location", "missing.bin")], "No such file"),
        (&[("location", "w.bin"), ("offset", "64")], "expected 96 bytes from byte 64, found 128 bytes in 'w.bin'"),
        (&[("location", "w.bin"), ("offset", "18446744073709551615")], "from byte 18446744073709551615"),
        (&[("location", "w.bin"), ("offset", "-1")], "a number of bytes"),
        (&[("location", "w.bin"), ("length", "95")], "expected 96 bytes, found 95 bytes"),
        (&[("location", "w.bin"), ("basepath", "/")], "external data with 'basepath'"),
    ];
    for (entries, expected) in refused {
        let found = load(folder, entries).unwrap_err();
        assert!(found.contains(expected), "{entries:?}: {found}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(folder.join("outside.bin"), folder.join("model/link.bin")).unwrap();
        std::os::unix::fs::symlink(folder, folder.join("model/up")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.join("model/zero")).unwrap();
        for location in ["link.bin", "up/outside.bin", "zero"] {
            let found = load(folder, &[("location", location)]).unwrap_err();
            assert!(found.contains("which leads out of it"), "{found}");
        }
    }
}
