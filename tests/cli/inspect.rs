//! `inspect`, and `summary --verbose`: what is in files of each format, and every reason why one cannot be run.

use serde_json::{Value, json};

use crate::{Folder, files::npy, golden, golden_of, keras_files::File, keys, wgpu_rnn};

/// The messages of a file that cannot be run, without its path.
fn problems(path: &str) -> (Value, Vec<String>) {
    let found = wgpu_rnn(&["inspect", path, "--json"]).json();
    assert_eq!((&found["runs"], &found["layers"]), (&json!(false), &json!(null)), "{found}");
    let messages = found["problems"].as_array().unwrap().iter().map(|problem| {
        assert_eq!(problem["kind"], "input");
        let message = problem["message"].as_str().unwrap();
        message.strip_prefix(&format!("{path}: ")).unwrap_or(message).to_owned()
    });
    let messages = messages.collect();
    (found, messages)
}

#[test]
fn json_has_the_agreed_keys() {
    let found = wgpu_rnn(&["inspect", &golden("time_none.keras"), "--json"]).json();
    let expected = [
        "format",
        "inputs",
        "layers",
        "needs_weights",
        "notes",
        "outputs",
        "parts",
        "problems",
        "runs",
        "schema",
        "tensors",
        "versions",
    ];
    assert_eq!(keys(&found), expected);
    assert_eq!((&found["format"], &found["runs"]), (&json!("Keras"), &json!(true)));
    assert_eq!((&found["problems"], &found["needs_weights"]), (&json!([]), &json!([])));
    assert!(found["versions"].as_array().unwrap().contains(&json!({"name": "keras_version", "value": "3.15.1"})));
    let input = json!([{"name": "x", "shape": [null, null, 3], "batch_axis": 0, "optional": false}]);
    assert_eq!(found["inputs"], input);
    let tensor = json!({"name": "layers/gru/cell/vars/0", "dtype": "float32", "shape": [6, 12], "bytes": 288});
    assert!(found["tensors"].as_array().unwrap().contains(&tensor));
    assert!(found["parts"].as_array().unwrap().contains(&json!({"name": "gru", "class": "GRU"})));
    let gru = found["layers"].as_array().unwrap().iter().find(|layer| layer["name"] == "gru").unwrap();
    assert_eq!(keys(gru), ["class", "name", "options", "parameters"]);
    assert_eq!((&gru["options"]["reset_after"], &gru["options"]["units"]), (&json!("true"), &json!("4")));
}

#[test]
fn options_in_force_follow_the_summary() {
    let model = golden("time_none.keras");
    let plain = wgpu_rnn(&["summary", &model]).ok();
    let verbose = wgpu_rnn(&["summary", &model, "--verbose"]).ok();
    let options = verbose.strip_prefix(&format!("{plain}\nOptions in force:\n")).unwrap_or_else(|| panic!("{verbose}"));
    let expected = "\
gru (GRU)
    cell = gru, units = 4, activation = tanh, recurrent_activation = sigmoid, reset_after = true
    use_bias = true, return_sequences = true, return_state = false, go_backwards = false, stateful = false
    masked_output = the one before, passes_mask = true
dense (Dense)
    units = 2, use_bias = true, activation = linear
global_average_pooling1d (GlobalAveragePooling1D)
    keepdims = false, masked_timesteps = left out
";
    assert!(
        options.starts_with("x (InputLayer)\nbidirectional (Bidirectional)\n    merge_mode = concat, "),
        "{options}"
    );
    assert!(options.contains(expected), "{options}");
    // The caller's choice counts, too.
    let jax = wgpu_rnn(&["summary", &model, "--verbose", "--keras-backend", "jax"]).ok();
    assert!(jax.contains("masked_output = the hidden state"), "{jax}");
}

#[test]
fn text_has_all_sections() {
    let text = wgpu_rnn(&["inspect", &golden_of("torch", "lone_lstm.safetensors")]).ok();
    assert!(text.starts_with("format: PyTorch state dict (safetensors)\n"), "{text}");
    for section in [
        "\n\nlayers\ninput (InputLayer)\n",
        "\n\ntensors\nname                            dtype    shape    bytes\n",
        "\n\ninputs\nname   shape\ninput  [any, batch, 3]\nh_0    [4, batch, 4]    optional\n",
        "\n\noutputs\nname    shape\noutput  [any, batch, 8]\n",
        "\nnote: no config.json: taken as nn.LSTM with batch_first false, PyTorch's defaults\nIt can be run.\n",
    ] {
        assert!(text.contains(section), "{section} in {text}");
    }
}

#[test]
fn every_layer_of_keras_that_is_refused_is_named() {
    let folder = Folder::new();
    let file = File::golden("time_none")
        .with("/config/layers/1/class_name", json!("Lambda"))
        .with("/config/layers/2/config/surprise", json!(7))
        .with("/config/layers/3/config/units", json!(5))
        .with("/config/layers/5/class_name", json!("Unheard"));
    let path = folder.write("m.keras", &file.bytes());
    let (found, messages) = problems(&path);
    let starts = [
        "layer 'bidirectional' (Lambda): Python code, which is never run from model files, is not supported; ",
        "layer 'gru' (GRU): the option 'surprise' = 7 is not supported; ",
        "layer 'dense' (Dense): kernel (",
        "layer 'simple_rnn' (Unheard): the layer Unheard is not supported; ",
    ];
    assert_eq!(messages.len(), starts.len(), "{messages:?}");
    for (message, start) in messages.iter().zip(starts) {
        assert!(message.starts_with(start), "{message}");
    }
    assert_eq!(found["parts"].as_array().unwrap().len(), 7, "with the layer inside: {found}");
    assert_eq!(found["tensors"].as_array().unwrap().len(), 14);
    // Loading stops at the first.
    let first = wgpu_rnn(&["summary", &path]).error(3);
    assert!(first.ends_with(&messages[0]), "{first}");
    let text = wgpu_rnn(&["inspect", &path]).ok();
    assert!(text.contains("\n\nparts\nname                        class\nx  "), "{text}");
    assert!(text.contains("\n\nIt cannot be run:\n- "), "{text}");
}

/// `bytes` with each `from` as `to`, of the same length.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(from.len()).position(|window| window == from) {
        at += found;
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

#[test]
fn every_operator_and_attribute_of_onnx_that_is_refused_is_named() {
    let folder = Folder::new();
    let bytes = std::fs::read(golden_of("onnx", "keras_lstm.onnx")).unwrap();
    // Field 4 of a node is its operator; field 1 of an attribute its name.
    let bytes = replaced(&bytes, b"\x22\x07Softmax", b"\x22\x07Hardmax");
    let bytes = replaced(&bytes, b"\x0a\x0bhidden_size", b"\x0a\x0bhidden_sise");
    let path = folder.write("m.onnx", &bytes);
    let (found, messages) = problems(&path);
    let all = messages.join("\n");
    assert_eq!(messages.len(), 3, "{all}");
    assert_eq!(all.matches("(LSTM): attribute 'hidden_sise' is not supported; ").count(), 2, "{all}");
    assert!(all.contains("(Hardmax): the operator 'Hardmax' is not supported; "), "{all}");
    assert!(found["parts"].as_array().unwrap().iter().any(|part| part["class"] == "Hardmax"));
    assert_eq!(found["inputs"][0]["name"], "keras_tensor");
    assert!(found["versions"].as_array().unwrap().contains(&json!({"name": "IR version", "value": "8"})));
    let control = wgpu_rnn(&["inspect", &golden_of("onnx", "node_gru_seq_length.onnx"), "--json"]).json();
    assert_eq!((&control["runs"], &control["needs_weights"]), (&json!(true), &json!(["W", "R", "B"])));
    assert_eq!(control["parts"], json!([{"name": "Y_h", "class": "GRU"}]));
}

#[test]
fn every_module_of_pytorch_that_is_refused_is_named() {
    let folder = Folder::new();
    let bytes = std::fs::read(golden_of("torch", "chain_embedding_lstm_linear.safetensors")).unwrap();
    let path = folder.write("m.safetensors", &bytes);
    // Without a configuration: what the names tell.
    let (found, messages) = problems(&path);
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(messages[0].contains("(or --config)"), "{messages:?}");
    let parts = json!([
        {"name": "embed", "class": "Linear or Embedding"},
        {"name": "lstm", "class": "RNN, LSTM or GRU"},
        {"name": "out", "class": "Linear or Embedding"},
    ]);
    assert_eq!(found["parts"], parts);
    let config = json!({"layers": [
        {"kind": "Embedding", "prefix": "embed", "num_embeddings": 8},
        {"kind": "LSTM", "prefix": "lstm", "batch_second": true},
        {"kind": "Transformer", "prefix": "out"},
    ]});
    folder.write("config.json", config.to_string().as_bytes());
    let (_, messages) = problems(&path);
    assert_eq!(messages.len(), 3, "{messages:?}");
    for (message, part) in messages.iter().zip(["num_embeddings", "batch_second", "Transformer"]) {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn files_that_hold_no_model_are_errors_and_pickles_say_what_to_do() {
    let folder = Folder::new();
    let text = folder.write("x.npy", &npy(&[1], &[1.0]));
    let error = wgpu_rnn(&["inspect", &text]).error(3);
    assert!(error.starts_with(&text), "{error}");
    assert_eq!(wgpu_rnn(&["inspect", "/nonexistent"]).error(3), "/nonexistent: No such file or directory (os error 2)");
    let pickle = folder.write("m.pt", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.");
    let (found, messages) = problems(&pickle);
    assert_eq!((&found["format"], messages.len()), (&json!("pickle"), 1));
    assert!(messages[0].contains("safetensors.torch"), "{messages:?}");
    // Cut short: what could be read is shown.
    let whole = std::fs::read(golden("time_none.keras")).unwrap();
    let file = File::golden("time_none");
    let mut weights = file.weights.clone();
    weights.truncate(100);
    let cut = folder.write("cut.keras", &File { weights, ..file }.bytes());
    assert!(whole.len() > 100);
    let (found, messages) = problems(&cut);
    assert_eq!(found["parts"].as_array().unwrap().len(), 7);
    assert!(messages.len() == 1 && messages[0].contains("model.weights.h5"), "{messages:?}");
}

/// What is wrong with a lone module is said once, not in the words of a chain as well.
#[test]
fn a_wrong_option_of_one_module_is_told_once() {
    let folder = Folder::new();
    let config = folder.write("wrong.json", br#"{"kind": "GRU", "foo": 1}"#);
    let model = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/torch/lone_gru.safetensors");
    let shown = wgpu_rnn(&["inspect", model.to_str().unwrap(), "--config", &config]).ok();
    assert_eq!(shown.matches("the option 'foo' = 1").count(), 1, "{shown}");
}
