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
fn a_state_dict_with_half_weights() {
    let folder = Folder::new();
    let (whole, half) = (folder.path("whole.rnn"), folder.path("half.rnn"));
    let model = torch("lone_lstm.safetensors");
    let of = |out: &str, weights: &str| {
        wgpu_rnn(&["convert", &model, out, "--weights", weights, "--known-answers", "1", "--json"]).json()
    };
    let (one, other) = (of(&whole, "f32"), of(&half, "f16"));
    let expected = ["bytes", "known_answers", "layers", "output", "parameters", "schema", "weights"];
    assert_eq!(keys(&one), expected);
    assert!(other["bytes"].as_u64() < one["bytes"].as_u64());
    assert_eq!((&other["weights"], &other["known_answers"]), (&"f16".into(), &1.into()));
    for weights in ["f32", "f16"] {
        let verified = wgpu_rnn(&["verify", &half, "--device", "cpu", "--weights", weights, "--json"]).json();
        assert_eq!(verified["passed"], true, "{weights}");
    }
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
    assert_eq!(folder.files(), ["model.safetensors"]);
}
