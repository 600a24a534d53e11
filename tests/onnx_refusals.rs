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

/// A tensor of zeros.
fn zeros(name: &str, dims: &[i64]) -> Message {
    let count: i64 = dims.iter().product();
    header(name, dims, FLOAT).bytes(9, vec![0; 4 * count as usize])
}

/// `y` of nodes whose input is `x` of five timesteps, three samples and two features.
fn fixed(nodes: Vec<Message>) -> File {
    File { inputs: vec![info("x", FLOAT, &[5, 3, 2])], ..File::of(nodes) }
}

/// What makes no difference to the values still has a shape: zeros as states, one value everywhere, full lengths.
#[test]
fn shapes_of_what_changes_nothing() {
    let lstm = |state: &str, more: Vec<Message>| {
        let node = node("LSTM", &["x", "w", "r", "b", "", "h", state], &["y"], &[attribute_int("hidden_size", 3)]);
        let file = File { nodes: [more, vec![node]].concat(), ..File::lstm(&[]) }.with(zeros("h", &[1, 3, 3]));
        File { inputs: fixed(Vec::new()).inputs, ..file }
    };
    let expand = |shape: &str| node("Expand", &["nothing", shape], &["fill"], &[]);
    let filled = |node: Message, shape: &[i64]| {
        fixed(vec![expand("filled"), node]).with(zeros("nothing", &[])).with(ints("filled", shape))
    };
    let states =
        "node 'the LSTM' (LSTM): expected initial states [directions, batch, hidden] with 1 directions and 3 units";
    let all = header("all", &[7], 9).bytes(9, [1; 7]);
    let cases: Vec<(File, String)> = vec![
        (lstm("c", Vec::new()).with(zeros("c", &[1, 3, 6])), format!("{states}, found [1, 3, 6]")),
        (lstm("c", Vec::new()).with(zeros("c", &[1, 4, 3])), format!("{states}, found [1, 4, 3]")),
        (lstm("c", Vec::new()).with(zeros("c", &[3, 3])), format!("{states}, found [3, 3]")),
        (
            lstm("fill", vec![expand("filled")]).with(zeros("nothing", &[])).with(ints("filled", &[1, 3, 6])),
            format!("{states}, found [1, 3, 6]"),
        ),
        (
            fixed(vec![node("ReverseSequence", &["x", "lengths"], &["y"], &[])]).with(ints("lengths", &[5; 4])),
            "node 'the ReverseSequence' (ReverseSequence): expected sequence_lens of shape [batch], found [4]"
                .to_owned(),
        ),
        (
            fixed(vec![node("Where", &["all", "x", "nothing"], &["y"], &[])]).with(all).with(zeros("nothing", &[])),
            "node 'the Where' (Where): expected shapes that broadcast, found [None, 3, 2] and [7]".to_owned(),
        ),
        (
            filled(node("Gather", &["fill", "at"], &["y"], &[]), &[3, 2]).with(ints("at", &[5])),
            "node 'the Gather' (Gather): expected positions of an axis of 3, found 1 from 5 on".to_owned(),
        ),
        (
            filled(node("Reshape", &["fill", "to"], &["y"], &[]), &[3, 2]).with(ints("to", &[7])),
            "node 'the Reshape' (Reshape): expected a shape of as many values, found [3, 2]".to_owned(),
        ),
        (
            filled(node("Relu", &["fill"], &["y"], &[]), &[3, -2]),
            "node 'the Expand' (Expand): expected sizes that are not negative, found -2".to_owned(),
        ),
        (
            filled(node("Concat", &["fill", "x"], &["y"], &[attribute_int("axis", 0)]), &[3, 2]),
            "node 'the Concat' (Concat): expected inputs of rank 2, found rank 3".to_owned(),
        ),
        (
            filled(node("Gemm", &["fill", "w", "c"], &["y"], &[]), &[3, 2])
                .with(floats("w", &[2, 4]))
                .with(floats("c", &[5, 1, 4])),
            "node 'the Gemm' (Gemm): expected C that broadcasts to [3, 4], found [5, 1, 4]".to_owned(),
        ),
        (
            fixed(vec![node("PRelu", &["x", "slope"], &["y"], &[])]).with(floats("slope", &[7, 1, 1, 1])),
            "node 'the PRelu' (PRelu): expected slopes that broadcast to [None, 3, 2], found [7, 1, 1, 1]".to_owned(),
        ),
        (
            fixed(vec![node("Pow", &["x", "two"], &["y"], &[])])
                .with(header("two", &[1, 1, 1, 1], FLOAT).bytes(9, 2.0f32.to_le_bytes())),
            "node 'the Pow' (Pow): an exponent of more axes than the base is not supported; use a number".to_owned(),
        ),
    ];
    let mut wrong = Vec::new();
    for (file, expected) in &cases {
        let found = match Model::from_bytes(&file.bytes()) {
            Err(error) => error.to_string(),
            Ok(_) => "loaded".to_owned(),
        };
        if found != format!("<bytes>: {expected}") {
            wrong.push(format!("{found}\ninstead of\n{expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn values(name: &str, dims: &[i64], values: &[f32]) -> Message {
    header(name, dims, FLOAT).bytes(9, values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
}

/// `y` of `file` for `x` of `shape`, whose elements are 0, 1, 2 and so on.
fn run(file: &File, shape: &[usize]) -> Tensor {
    let model = Model::from_bytes(&file.bytes()).unwrap();
    let session = Session::new(&model, SessionOptions::on(Device::Reference)).unwrap();
    let x: Vec<f32> = (0..shape.iter().product()).map(|i: usize| i as f32).collect();
    session.run(Tensor::new(shape, x).unwrap()).unwrap().single().unwrap().clone()
}

fn with_x(dims: &[i64], nodes: Vec<Message>) -> File {
    File { inputs: vec![info("x", FLOAT, dims)], ..File::of(nodes) }
}

/// Where no operator says which axis counts samples: an open one, or one of which nothing takes positions.
#[test]
fn the_axis_of_the_batch() {
    let slice = || node("Slice", &["x", "zero", "one", "zero"], &["y"], &[]);
    let mean = |axis: i64| node("ReduceMean", &["x"], &["y"], &[attribute_ints("axes", &[axis])]);
    let pick = |axis: i64| node("Gather", &["x", "zero"], &["y"], &[attribute_int("axis", axis)]);
    let split = |axis: i64| node("Split", &["x"], &["y", "z"], &[attribute_int("axis", axis)]);
    let cases: Vec<(&[i64], Message, usize)> = vec![
        (&[-1, -2, 2], node("Relu", &["x"], &["y"], &[]), 0),
        (&[5, -1, 2], node("Relu", &["x"], &["y"], &[]), 1),
        (&[5, -1, 2], slice(), 1),
        (&[5, -1, 2], mean(0), 1),
        // An open axis that is averaged over is no axis of samples.
        (&[3, -1, 2], mean(1), 0),
        // A sequence of any length of one sample.
        (&[1, -1, 2], node("Relu", &["x"], &["y"], &[]), 0),
        (&[5, 3, 2], node("Relu", &["x"], &["y"], &[]), 0),
        (&[5, 3, 2], slice(), 1),
        (&[5, 3, 2], pick(0), 1),
        (&[5, 3, 2], pick(1), 0),
        (&[6, 3, 2], split(0), 1),
        (&[5, 1, 2], pick(0), 1),
        (&[1, 5, 2], pick(0), 0),
    ];
    for (dims, node, expected) in cases {
        let file = with_x(dims, vec![node.clone()]).with(ints("zero", &[0])).with(ints("one", &[1]));
        let model = Model::from_bytes(&file.bytes()).unwrap_or_else(|error| panic!("{dims:?}: {error}"));
        assert_eq!(model.inputs()[0].batch_axis, Some(expected), "{dims:?} {node:?}");
    }
    // Layers written out, whose states have an axis of directions that the timesteps lack.
    let names = ["rnn_batch", "rnn_fixed", "rnn_one", "rnn_relu"].map(|name| (name, 1));
    let names = [&names[..], &["rnn_deep_batch", "rnn_deep_fixed", "unrolled_fixed"].map(|name| (name, 0))].concat();
    for (name, expected) in names {
        let model = Model::load(path(&format!("dynamo_{name}"))).unwrap();
        assert_eq!(model.inputs()[0].batch_axis, Some(expected), "{name}");
    }
}

#[test]
fn a_slice_of_all_samples() {
    for end in [i64::MAX, i64::from(i32::MAX)] {
        let file = with_x(&[-1, -2, 2], vec![node("Slice", &["x", "zero", "end", "zero"], &["y"], &[])]);
        let y = run(&file.with(ints("zero", &[0])).with(ints("end", &[end])), &[3, 4, 2]);
        assert_eq!((y.shape(), y.to_f32()[23]), (&[3, 4, 2][..], 23.0));
    }
}

/// A state of one value for each sample of a run goes into a layer that is written out.
#[test]
fn products_of_one_value() {
    for fill in [0.0f32, 0.5] {
        let nodes = vec![
            node("Shape", &["x"], &["n"], &[attribute_int("end", 1)]),
            node("Concat", &["one", "n", "three"], &["shape"], &[attribute_int("axis", 0)]),
            node("Expand", &["fill", "shape"], &["state"], &[]),
            node("MatMul", &["state", "r"], &["product"], &[]),
            node("Add", &["product", "x"], &["y"], &[]),
        ];
        let file = with_x(&[-1, 2], nodes).with(ints("one", &[1])).with(ints("three", &[3]));
        let file = file.with(values("fill", &[], &[fill])).with(values("r", &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        let y = run(&file, &[4, 2]);
        assert_eq!(y.shape(), [1, 4, 2]);
        assert_eq!(y.to_f32()[..4], [9.0 * fill, 1.0 + 12.0 * fill, 2.0 + 9.0 * fill, 3.0 + 12.0 * fill]);
        let wide = file.replaced(3, values("r", &[2, 2], &[1.0; 4]));
        let expected = "<bytes>: node 'the MatMul' (MatMul): expected 2 features, found 3";
        assert_eq!(message(&wide), expected);
    }
}

/// A constant that is the same for all samples goes without their number.
#[test]
fn constants_of_equal_rows() {
    let add = || with_x(&[3, 2], vec![node("Add", &["c", "x"], &["y"], &[])]);
    let y = run(&add().with(values("c", &[1, 3, 2], &[1.0, 2.0, 1.0, 2.0, 1.0, 2.0])), &[3, 2]);
    assert_eq!((y.shape(), &*y.to_f32()), (&[1, 3, 2][..], &[1.0, 3.0, 3.0, 5.0, 5.0, 7.0][..]));
    let concat =
        |c: Message| with_x(&[3, 2], vec![node("Concat", &["c", "x"], &["y"], &[attribute_int("axis", 1)])]).with(c);
    let y = run(&concat(values("c", &[3, 1], &[7.0; 3])), &[3, 2]);
    assert_eq!((y.shape(), &*y.to_f32()), (&[3, 3][..], &[7.0, 0.0, 1.0, 7.0, 2.0, 3.0, 7.0, 4.0, 5.0][..]));
    let nodes = vec![node("Gemm", &["c", "r", "b"], &["state"], &[]), node("Sub", &["state", "x"], &["y"], &[])];
    let file = with_x(&[3, 2], nodes).with(values("c", &[3, 2], &[1.0, 2.0, 1.0, 2.0, 1.0, 2.0]));
    let y = run(&file.with(values("r", &[2, 2], &[1.0, 0.0, 1.0, 1.0])).with(values("b", &[2], &[0.5, 0.0])), &[3, 2]);
    assert_eq!(&*y.to_f32(), [3.5, 1.0, 1.5, -1.0, -0.5, -3.0]);

    let differs = "a constant that differs by sample is not supported; make it an input of the model";
    let refused = [
        (add().with(floats("c", &[1, 3, 2])), format!("node 'the Add' (Add): {differs}")),
        (concat(floats("c", &[3, 1])), format!("node 'the Concat' (Concat): {differs}")),
        (
            add().with(values("c", &[4, 2], &[1.0; 8])),
            "node 'the Add' (Add): expected 3 samples, found a constant of 4".to_owned(),
        ),
        (
            concat(values("c", &[1, 1], &[7.0])),
            "node 'the Concat' (Concat): expected inputs that agree but for axis 1, found another number of samples"
                .to_owned(),
        ),
    ];
    for (file, expected) in refused {
        assert_eq!(message(&file), format!("<bytes>: {expected}"));
    }
    // As many rows as one likes, of nothing.
    let none = with_x(&[-1, -2, 2], vec![node("Add", &["c", "x"], &["y"], &[])]);
    assert!(Model::from_bytes(&none.with(header("c", &[1 << 38, 1, 0], FLOAT).bytes(9, [])).bytes()).is_err());
    // Of an open batch it is a condition of each run.
    let file = with_x(&[-1, 2], vec![node("Add", &["c", "x"], &["y"], &[])]).with(values("c", &[3, 2], &[1.0; 6]));
    let session = Session::new(&Model::from_bytes(&file.bytes()).unwrap(), SessionOptions::on(Device::Cpu)).unwrap();
    assert!(session.run(Tensor::new([3, 2], vec![0.0f32; 6]).unwrap()).is_ok());
    let error = session.run(Tensor::new([2, 2], vec![0.0f32; 4]).unwrap()).unwrap_err().to_string();
    assert_eq!(error, "node 'the Add' (Add): expected inputs whose sizes agree, found 3 and 2");
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

/// Rows of several lengths where the file counts timesteps, or makes values for each of them, on its own.
#[test]
fn what_knows_the_longest_length_in_a_ragged_batch() {
    let gru = |x: &str, weights: &str, outputs: &[&str], direction: &str| {
        let attributes = [attribute_int("hidden_size", 2), attribute_text("direction", direction)];
        node("GRU", &[x, &format!("w{weights}"), &format!("r{weights}")], outputs, &attributes)
    };
    let of = |nodes: Vec<Message>, outputs: &[&str]| {
        let file = File { outputs: outputs.iter().map(|name| info(name, FLOAT, &[])).collect(), ..File::of(nodes) };
        let file = file.with(floats("w1", &[1, 6, 2])).with(floats("r1", &[1, 6, 2]));
        let file = file.with(floats("w2", &[2, 6, 2])).with(floats("r2", &[2, 6, 2])).with(ints("two", &[2]));
        let file = file.with(ints("first", &[0])).with(ints("second", &[1])).with(ints("last", &[-1]));
        let file = file.with(ints("before", &[i64::MIN])).with(header("0", &[], INT64).bytes(9, 0i64.to_le_bytes()));
        let bytes = file.with(header("1", &[], INT64).bytes(9, 1i64.to_le_bytes())).bytes();
        Session::new(&Model::from_bytes(&bytes).unwrap(), SessionOptions::on(Device::Cpu)).unwrap()
    };
    // x is [seq_len, batch, 2]; a state for each timestep, as a decoder takes it.
    let repeated = || {
        vec![
            gru("x", "1", &["", "h"], "forward"),
            node("Shape", &["x"], &["sizes"], &[]),
            node("Expand", &["h", "sizes"], &["e"], &[]),
        ]
    };
    // 0, 1, 2 and so on, up to the length.
    let counted = || {
        vec![
            node("Shape", &["x"], &["n"], &[attribute_int("end", 1)]),
            node("Squeeze", &["n", "first"], &["n0"], &[]),
            node("Range", &["0", "n0", "1"], &["i"], &[]),
            node("Cast", &["i"], &["t"], &[attribute_int("to", FLOAT)]),
        ]
    };
    let times = |x: &str| {
        vec![
            node("Unsqueeze", &[x, "two"], &["u"], &[]),
            gru("x", "1", &["each"], "forward"),
            node("Squeeze", &["each", "second"], &["all"], &[]),
            node("Mul", &["all", "u"], &["y"], &[]),
        ]
    };
    let column = || node("Unsqueeze", &["t", "second"], &["column"], &[]);

    let lengths = [5, 2, 1];
    let x = |steps: usize, rows: std::ops::Range<usize>| {
        let at = |t: usize| rows.clone().flat_map(move |row| [row as f32 - 0.5 * t as f32, 0.25 * (row * t) as f32]);
        Tensor::new([steps, rows.len(), 2], (0..steps).flat_map(at).collect::<Vec<f32>>()).unwrap()
    };
    let runs: Vec<(Vec<Message>, &[&str])> = vec![
        (vec![gru("x", "1", &["", "h"], "forward")], &["h"]),
        (vec![gru("x", "2", &["", "h"], "bidirectional")], &["h"]),
        ([repeated(), vec![gru("e", "2", &["y", "g"], "bidirectional")]].concat(), &["y", "g"]),
        ([repeated(), vec![gru("e", "1", &["", "g"], "forward")]].concat(), &["g"]),
        ([counted(), vec![column()], times("column")].concat(), &["y"]),
    ];
    for (nodes, outputs) in runs {
        let session = of(nodes, outputs);
        let together = session.run_padded(x(5, 0..3), &lengths).unwrap();
        for (row, &length) in lengths.iter().enumerate() {
            let alone = session.run(x(length, row..row + 1)).unwrap();
            for ((name, all), (_, one)) in together.iter().zip(alone.iter()) {
                // The rows are the last axis but one.
                let (rows, inner) = (all.shape()[all.shape().len() - 2], 2);
                let outer = one.to_f32().len() / inner;
                let all = all.to_f32();
                let expected = all.chunks(rows * inner).take(outer).map(|c| c[row * inner..][..inner].to_vec());
                assert_eq!(expected.collect::<Vec<_>>().concat(), *one.to_f32(), "{name} {outputs:?}, row {row}");
            }
        }
    }

    let refused: Vec<(Vec<Message>, &str)> = vec![
        (
            [
                counted(),
                vec![node("ReduceMax", &["t"], &["m"], &[]), column()],
                vec![node("Sub", &["m", "column"], &["d"], &[])],
                times("d"),
            ]
            .concat(),
            "the ReduceMax",
        ),
        (
            [
                counted(),
                vec![
                    node("Slice", &["t", "last", "before", "first", "last"], &["d"], &[]),
                    node("Unsqueeze", &["d", "second"], &["column"], &[]),
                ],
                times("column"),
            ]
            .concat(),
            "the Slice",
        ),
        ([repeated(), vec![node("ReduceSum", &["e", "first"], &["y"], &[])]].concat(), "the ReduceSum"),
    ];
    for (nodes, layer) in refused {
        let error = of(nodes, &["y"]).run_padded(x(5, 0..3), &lengths).unwrap_err().to_string();
        assert!(error.contains("a ragged batch (it would depend on the length of the longest"), "{layer}: {error}");
    }
}
