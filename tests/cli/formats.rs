//! Files of other frameworks: configurations, lengths, notes, inputs that may be missing, weights as inputs.

use serde_json::json;

use crate::{
    Folder,
    files::{assert_close, npy_of, read_npz, write_npz},
    golden, golden_of, wgpu_rnn,
};

/// The inputs of a golden call as an `.npz` file under their own names.
fn bundle(folder: &Folder, golden: &str, prefix: &str, names: &[&str]) -> String {
    let arrays: Vec<_> = names.iter().map(|name| (*name, read_npz(golden, &format!("{prefix}{name}")))).collect();
    let shapes: Vec<Vec<usize>> =
        arrays.iter().map(|(_, (shape, _))| shape.iter().map(|&dim| usize::try_from(dim).unwrap()).collect()).collect();
    let arrays: Vec<_> =
        arrays.into_iter().zip(&shapes).map(|((name, (_, values)), shape)| (name, shape.as_slice(), values)).collect();
    let path = folder.path("in.npz");
    write_npz(&path, &arrays);
    path
}

fn lengths(folder: &Folder, lengths: &[i64]) -> String {
    let data: Vec<u8> = lengths.iter().flat_map(|length| length.to_le_bytes()).collect();
    folder.write("lengths.npy", &npy_of("<i8", "False", &[lengths.len()], &data))
}

#[test]
fn bundles_bind_by_name_and_optional_inputs_may_be_missing() {
    let folder = Folder::new();
    let (model, golden) = (golden_of("torch", "lone_lstm.safetensors"), golden_of("torch", "lone_lstm.npz"));
    let output = folder.path("y.npz");
    for (call, names) in [(0, &["input"][..]), (1, &["c_0", "input", "h_0"])] {
        let input = bundle(&folder, &golden, &format!("lone_lstm.{call}.in."), names);
        let done = wgpu_rnn(&["run", &model, "-i", &input, "-o", &output, "--device", "cpu"]);
        let note = "no config.json: taken as nn.LSTM with batch_first false, PyTorch's defaults";
        assert_eq!(done.err.lines().next(), Some(note));
        done.ok();
        for name in ["output", "h_n", "c_n"] {
            assert_close(&read_npz(&output, name), &read_npz(&golden, &format!("lone_lstm.{call}.out.{name}")));
        }
    }
}

#[test]
fn weights_may_be_inputs() {
    let folder = Folder::new();
    let (model, golden) = (golden_of("onnx", "node_gru_seq_length.onnx"), golden_of("onnx", "node_gru_seq_length.npz"));
    let input = bundle(&folder, &golden, "call0.in.", &["B", "R", "W", "X"]);
    let output = folder.path("y.npy");
    wgpu_rnn(&["run", &model, "-i", &input, "-o", &output, "--device", "cpu"]).ok();
    assert_close(&crate::files::read_npy(&output), &read_npz(&golden, "call0.out.0"));
}

#[test]
fn lengths_of_padded_rows_count() {
    let folder = Folder::new();
    let (model, golden) =
        (golden_of("torch", "recurrent_00_lstm.safetensors"), golden_of("torch", "recurrent_00_lstm.npz"));
    let config = folder.write("c.json", br#"{"kind": "LSTM", "batch_first": true}"#);
    let input = bundle(&folder, &golden, "recurrent_00_lstm.4.in.", &["input"]);
    let (rows, output) = (lengths(&folder, &[6, 2, 1, 4]), folder.path("y.npz"));
    let with = ["--config", &config, "-i", &input, "--device", "cpu"];
    wgpu_rnn(&[&["run", &model, "-o", &output, "--lengths", &rows], &with[..]].concat()).ok();
    for name in ["output", "h_n", "c_n"] {
        assert_close(&read_npz(&output, name), &read_npz(&golden, &format!("recurrent_00_lstm.4.out.{name}")));
    }
    let verified = wgpu_rnn(&[&["verify", &model, "--lengths", &rows, "--json"], &with[..]].concat()).json();
    assert_eq!(verified["passed"], true);
    let random = ["verify", &model, "--config", &config, "--lengths", &rows, "--device", "cpu"];
    let text = wgpu_rnn(&random).ok();
    assert!(text.contains("inputs: 'input' [4, 6, "), "{text}");

    let run = |rows: &str| wgpu_rnn(&[&["run", &model, "-o", &output, "--lengths", rows], &with[..]].concat()).error(3);
    assert_eq!(run(&lengths(&folder, &[6, 2, 1])), "lengths: expected 4, one per row, found 3");
    assert_eq!(
        run(&lengths(&folder, &[6, 2, 7, 1])),
        "lengths[2]: expected at most the 6 timesteps there are, found 7"
    );
    let negative = lengths(&folder, &[6, 2, -7, 1]);
    assert_eq!(run(&negative), format!("--lengths {negative}: expected an array [batch] of whole numbers, found -7"));
    let floats = folder.write("f.npy", &npy_of("<f4", "False", &[4], &[0; 16]));
    assert!(run(&floats).ends_with("found dtype float32, float16 or bool"));
    let truths = folder.write("b.npy", &npy_of("|b1", "False", &[4], &[1, 0, 1, 1]));
    assert!(run(&truths).ends_with("found dtype float32, float16 or bool"));
    let matrix = folder.write("m.npy", &npy_of("<i8", "False", &[2, 2], &[0; 32]));
    assert!(run(&matrix).ends_with("found the shape [2, 2]"));
    let batch = wgpu_rnn(&[&random[..], &["--batch", "2"]].concat()).error(2);
    assert_eq!(batch, "--batch is for inputs without --lengths, which has one length per row");
}

#[test]
fn lengths_beside_a_mask_of_the_file_are_refused() {
    let folder = Folder::new();
    for (model, layer) in [("masking_layer", "mask"), ("time_none_ids", "embedding")] {
        let rows = lengths(&folder, &[3, 1]);
        let done = wgpu_rnn(&["verify", &golden(&format!("{model}.keras")), "--lengths", &rows, "--device", "cpu"]);
        let error = done.error(3);
        assert!(error.contains("a list of lengths beside the mask of layer '") && error.contains(layer), "{error}");
    }
}

#[test]
fn a_configuration_beside_a_whole_model_is_refused() {
    let folder = Folder::new();
    let config = folder.write("c.json", b"{}");
    for model in [golden("lstm.keras"), golden_of("onnx", "keras_lstm.onnx")] {
        let error = wgpu_rnn(&["summary", &model, "--config", &config]).error(3);
        let expected = "the configuration: expected that of the file, which holds a whole model, found one that was given \
                        beside it";
        assert_eq!(error, format!("{model}: {expected}"));
    }
}

#[test]
fn a_version_of_keras_is_two_numbers() {
    let model = golden("lstm.keras");
    wgpu_rnn(&["summary", &model, "--keras-version", "3.15.1"]).ok();
    let other = wgpu_rnn(&["summary", &model, "--keras-version", "2.4"]).error(3);
    assert!(other.contains("the version of Keras"), "{other}");
    let wrong = wgpu_rnn(&["summary", &model, "--keras-version", "three"]).error(2);
    assert!(wrong.ends_with("it must be two numbers, such as 2.15; see --help"), "{wrong}");
}

#[test]
fn every_command_takes_every_format() {
    let models =
        [golden_of("onnx", "keras_lstm.onnx"), golden_of("torch", "lone_gru.safetensors"), golden("time_none.keras")];
    for model in models {
        wgpu_rnn(&["summary", &model]).ok();
        assert_eq!(wgpu_rnn(&["verify", &model, "--device", "cpu", "--json"]).json()["passed"], json!(true));
        let bench = wgpu_rnn(&["bench", &model, "--device", "cpu", "--runs", "1", "--seq-len", "4", "--json"]).json();
        assert_eq!(bench["results"].as_array().unwrap().len(), 1);
    }
}
