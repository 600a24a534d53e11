//! `convert`: models as files of the crate's own.

use std::path::Path;

use super::{Folder, golden, keys, wgpu_rnn};

fn torch(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/torch");
    folder.join(name).to_str().unwrap().to_owned()
}

#[test]
fn a_keras_file() {
    let folder = Folder::new();
    let (model, out) = (golden("lstm_options.keras"), folder.path("model.rnn"));
    let printed = wgpu_rnn(&["convert", &model, &out, "--known-answers", "2"]).ok();
    assert!(printed.starts_with(&out), "{printed}");
    assert_eq!(folder.files(), ["model.rnn"]);
    assert_eq!(wgpu_rnn(&["summary", &out]).ok(), wgpu_rnn(&["summary", &model]).ok());
    let verified = wgpu_rnn(&["verify", &out, "--device", "cpu", "--json"]).json();
    assert_eq!(verified["passed"], true);
}

#[test]
fn a_state_dict_with_rounded_weights() {
    let folder = Folder::new();
    let [whole, half, bfloat, quarter] =
        ["whole", "half", "bfloat", "quarter"].map(|name| folder.path(&format!("{name}.rnn")));
    let model = torch("lone_lstm.safetensors");
    let of = |out: &str, weights: &str| {
        wgpu_rnn(&["convert", &model, out, "--weights", weights, "--known-answers", "1", "--json"]).json()
    };
    let (one, other, third, small) = (of(&whole, "f32"), of(&half, "f16"), of(&bfloat, "bf16"), of(&quarter, "i8"));
    let expected = ["bytes", "known_answers", "layers", "output", "parameters", "schema", "weights"];
    assert_eq!(keys(&one), expected);
    assert!(other["bytes"].as_u64() < one["bytes"].as_u64() && third["bytes"].as_u64() < one["bytes"].as_u64());
    assert_eq!((&other["weights"], &other["known_answers"]), (&"f16".into(), &1.into()));
    assert_eq!((&third["weights"], &third["known_answers"]), (&"bf16".into(), &1.into()));
    assert_eq!((&small["weights"], &small["known_answers"]), (&"i8".into(), &1.into()));
    for (file, own) in [(&half, "f16"), (&bfloat, "bf16"), (&quarter, "i8")] {
        for weights in ["f32", own] {
            let verified = wgpu_rnn(&["verify", file, "--device", "cpu", "--weights", weights, "--json"]).json();
            assert_eq!(verified["passed"], true, "{file} {weights}");
        }
    }
}

#[test]
fn sizes_of_known_answers() {
    let folder = Folder::new();
    let out = folder.path("model.safetensors");
    let sizes = ["--known-answers", "1", "--batch", "4", "--seq-len", "9"];
    wgpu_rnn(&[&["convert", &torch("lone_lstm.safetensors"), &out], &sizes[..]].concat()).ok();
    let model = wgpu_rnn::Model::load(&out).unwrap();
    let (_, input) = &model.known_answers()[0].inputs[0];
    assert_eq!(input.shape()[..2], [9, 4]);
}

#[test]
fn a_folder_of_a_state_dict_and_its_configuration() {
    let folder = Folder::new();
    let inside = folder.path("hub");
    std::fs::create_dir(&inside).unwrap();
    let put = |name: &str, bytes: &[u8]| std::fs::write(Path::new(&inside).join(name), bytes).unwrap();
    put("config.json", br#"{"kind": "LSTM", "batch_first": true}"#);
    let tensors = std::fs::read(torch("lone_lstm.safetensors")).unwrap();
    put("weights.safetensors", &tensors);
    wgpu_rnn(&["verify", &inside, "--device", "cpu"]).ok();
    assert!(wgpu_rnn(&["inspect", &inside]).ok().contains("PyTorch"));
    put("other.safetensors", &tensors);
    let found = wgpu_rnn(&["verify", &inside, "--device", "cpu"]).error(3);
    let several =
        "expected one .safetensors file; load the one that is meant, found 'other.safetensors', 'weights.safetensors'";
    assert_eq!(found, format!("{inside}: the folder: {several}"));
    put("model.safetensors", &tensors);
    wgpu_rnn(&["verify", &inside, "--device", "cpu"]).ok();
    std::fs::remove_file(Path::new(&inside).join("model.safetensors")).unwrap();
    put("model.safetensors.index.json", b"{}");
    assert!(wgpu_rnn(&["inspect", &inside]).error(3).contains("a state dict in several files"));
    // Beside Keras' weights a file of another name is not the model; nor is a folder, which may lead back here.
    put("notes.safetensors", &tensors);
    put("model.weights.h5", b"");
    assert!(!wgpu_rnn(&["summary", &inside]).error(3).contains("safetensors"));
    std::fs::create_dir(Path::new(&inside).join("model.safetensors")).unwrap();
    let found = wgpu_rnn(&["summary", &inside]).error(3);
    assert_eq!(found, format!("{inside}: the folder: expected a plain file, found 'model.safetensors' that is none"));
}

#[test]
fn refusals() {
    let folder = Folder::new();
    let model = folder.write("model.safetensors", &std::fs::read(torch("lone_gru.safetensors")).unwrap());
    let found = wgpu_rnn(&["convert", &model, &model]).error(2);
    assert_eq!(found, "the model and OUT are the same file");
    wgpu_rnn(&["convert", &model, &folder.path("no/such/folder.rnn")]).error(3);
    let found = wgpu_rnn(&["convert", &model]).error(2);
    assert!(found.contains("<OUT>"), "{found}");
    let found = wgpu_rnn(&["convert", &model, &folder.path("out.rnn"), "--known-answers", "1000000000"]).error(2);
    assert!(found.contains("at most 1000"), "{found}");
    let found = wgpu_rnn(&["convert", &model, &folder.path("out.rnn"), "--batch", "2"]).error(2);
    assert_eq!(found, "--batch and --seq-len are for --known-answers");
    let onnx = folder.path("out.onnx");
    let found = wgpu_rnn(&["convert", &model, &onnx]).error(2);
    assert_eq!(found, format!("{onnx}: OUT is a safetensors file, a name in .onnx would belie it"));
    assert_eq!(folder.files(), ["model.safetensors"]);
    // The weights of the very model, named by their folder, and any other file that is not ours.
    let inside = Path::new(&model).parent().unwrap().display().to_string();
    let (other, ours) = (folder.write("model.weights", b"external data"), folder.path("ours"));
    for out in [&model, &other] {
        let found = wgpu_rnn(&["convert", &inside, out]).error(2);
        assert_eq!(found, format!("{out}: exists, and is no file that convert wrote; remove it first"));
    }
    wgpu_rnn(&["convert", &model, &ours]).ok();
    wgpu_rnn(&["convert", &model, &ours]).ok();
}
