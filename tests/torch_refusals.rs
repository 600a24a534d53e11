//! What is refused of PyTorch's files, and in which words: `tests/fixtures/torch_refusals.txt` has the
//! messages (`WRITE_FIXTURES=1` writes it anew).
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "common/counting.rs"]
mod counting;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/npz.rs"]
mod npz;
#[path = "common/tensors_write.rs"]
mod tensors_write;
#[path = "common/torch_files.rs"]
mod torch_files;

use std::{fs, path::Path};

use hostile::survives_as;
use serde_json::{Value, json};
use tensors_write::{File, raw};
use torch_files::{golden, options};
use wgpu_rnn::{Error, Model};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// Cases: a name, a file and its configuration.
#[derive(Default)]
struct Cases(Vec<(String, Vec<u8>, Option<String>)>);

impl Cases {
    fn add(&mut self, name: &str, file: Vec<u8>, config: Option<Value>) {
        self.0.push((name.to_owned(), file, config.map(|config| config.to_string())));
    }

    /// A golden file under a configuration that does not fit it.
    fn config(&mut self, name: &str, file: &str, config: Value) {
        self.add(name, golden(file).bytes(), Some(config));
    }

    /// A golden file's tensors, changed, under its own configuration or none.
    fn tensors(&mut self, name: &str, file: &str, change: impl FnOnce(File) -> File) {
        let case = golden(file);
        self.0.push((name.to_owned(), change(File::read(&case.bytes())).bytes(), case.config));
    }
}

fn layers(layers: Value) -> Value {
    json!({ "layers": layers })
}

fn headers(cases: &mut Cases) {
    let lstm = || File::read(&golden("lone_lstm").bytes());
    let mut text = |name: &str, header: &str| cases.add(name, raw(header, &[]), None);
    text("header: not JSON", "{]");
    text("header: a list in it", "{\"a\": []}");
    text("header: a number of tensors", "{\"a\": 3}");
    text("header: an unknown type", "{\"a\":{\"dtype\":\"F3\",\"shape\":[],\"data_offsets\":[0,0]}}");
    text("header: a negative size", "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,0]}}");
    text("header: offsets backwards", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}");
    text("header: beyond the end", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}");
    text(
        "header: a size that overflows",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}",
    );
    text("header: many axes", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,0],\"data_offsets\":[0,0]}}");
    text(
        "header: a name twice",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}",
    );
    text("header: metadata of numbers", "{\"__metadata__\":{\"a\":1}}");
    text("header: nested", &"{\"a\":".repeat(400));
    text("header: no tensor", "{}");
    text("header: many tensors", &format!("{{{}}}", vec!["{}"; 40_000].join(",")));
    let mut header = lstm().header();
    header["x"] = json!({"dtype": "F32", "shape": [1], "data_offsets": [0, 4]});
    cases.add("header: tensors over each other", raw(&header.to_string(), &lstm().data()), None);
    let bytes = lstm().bytes();
    cases.add("bytes behind the end", [&bytes[..], &[0]].concat(), None);
    cases.add("bytes missing at the end", bytes[..bytes.len() - 1].to_vec(), None);
    let mut long = bytes.clone();
    long[..8].copy_from_slice(&(bytes.len() as u64 - 8).to_le_bytes());
    cases.add("a header that is all of the file", long, None);
    cases.add("a pickle", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.".to_vec(), None);
    let mut zip = b"PK\x03\x04\x00\x00\x08\x08\x00\x00\x00\x00\x00\x00".to_vec();
    zip.resize(26, 0);
    zip.extend(b"\x10\x00\x00\x00archive/data.pkl\x80\x02}q\x00.");
    cases.add("a zip archive of a pickle", zip, None);
}

fn configurations(cases: &mut Cases) {
    let lstm = "lone_lstm";
    let mut one = |name: &str, config: Value| cases.config(name, lstm, config);
    one("config: a list", json!([]));
    one("config: nothing", json!({}));
    one("config: one of a hub", json!({"architectures": ["Bert"], "hidden_size": 4}));
    one("config: kind of a number", json!({"kind": 3}));
    one("config: an unknown kind", json!({"kind": "Transformer", "prefix": "core.lstm"}));
    one("config: a key beside layers", json!({"layers": [], "name": "x"}));
    one("config: no layers", layers(json!([])));
    one("config: layers of texts", layers(json!(["LSTM"])));
    one("config: layers of an object", json!({"layers": {"kind": "LSTM"}}));
    one("config: no kind in a layer", layers(json!([{"prefix": "lstm"}])));
    one("config: another kind", json!({"kind": "GRU", "prefix": "core.lstm"}));
    one("config: another prefix", json!({"kind": "LSTM", "prefix": "rnn"}));
    one("config: a prefix of a number", json!({"kind": "LSTM", "prefix": 1}));
    one("config: num_layers", json!({"kind": "LSTM", "num_layers": 1}));
    one("config: num_layers of nothing", json!({"kind": "LSTM", "num_layers": null}));
    one("config: negative num_layers", json!({"kind": "LSTM", "num_layers": -1}));
    one("config: hidden_size", json!({"kind": "LSTM", "hidden_size": 5}));
    one("config: input_size", json!({"kind": "LSTM", "input_size": 4}));
    one("config: bidirectional", json!({"kind": "LSTM", "bidirectional": false}));
    one("config: bias", json!({"kind": "LSTM", "bias": false}));
    one("config: proj_size", json!({"kind": "LSTM", "proj_size": 2}));
    one("config: batch_first of a text", json!({"kind": "LSTM", "batch_first": "yes"}));
    one("config: dropout", json!({"kind": "LSTM", "dropout": 1.5}));
    one("config: nonlinearity of an LSTM", json!({"kind": "LSTM", "nonlinearity": "relu"}));
    one("config: an unknown option", json!({"kind": "LSTM", "peephole": true}));
    one("config: take", json!({"kind": "LSTM", "take": "first"}));
    one("config: a cell of a layer", json!({"kind": "LSTMCell"}));
    one("config: only activations", layers(json!([{"kind": "ReLU"}])));
    one("config: prefix left out of a chain", layers(json!([{"kind": "LSTM"}, {"kind": "Linear", "prefix": "x"}])));
    one(
        "config: one tensor twice",
        layers(json!([{"kind": "LSTM", "prefix": "core.lstm"}, {"kind": "LSTM", "prefix": "core.lstm"}])),
    );
    cases.config("config: nonlinearity", "lone_rnn", json!({"kind": "RNN", "nonlinearity": "sigmoid"}));
    cases.config("config: proj_size of a GRU", "lone_gru", json!({"kind": "GRU", "proj_size": 2}));
    cases.0.push(("config: not JSON".to_owned(), golden(lstm).bytes(), Some("{'kind': 'LSTM'}".to_owned())));
    cases.0.push((
        "config: a key twice".to_owned(),
        golden(lstm).bytes(),
        Some("{\"kind\":\"LSTM\",\"kind\":\"LSTM\"}".to_owned()),
    ));
    cases.0.push(("config: deep".to_owned(), golden(lstm).bytes(), Some("[".repeat(1000))));
    cases.0.push((
        "config: NaN".to_owned(),
        golden(lstm).bytes(),
        Some("{\"kind\":\"LSTM\",\"dropout\":NaN}".to_owned()),
    ));
    let chain = |entry: Value| layers(json!([{"kind": "Linear", "prefix": "in"}, entry]));
    let mut act = |name: &str, entry: Value| cases.config(name, "activation_ReLU", chain(entry));
    act("module: a softmax of rows", json!({"kind": "Softmax", "dim": 0}));
    act("module: an unknown option", json!({"kind": "ReLU", "alpha": 1}));
    act("module: bounds", json!({"kind": "Hardtanh", "min_val": 1, "max_val": 0}));
    act("module: a threshold's value", json!({"kind": "Threshold", "threshold": 1, "value": 2}));
    act("module: no threshold", json!({"kind": "Threshold", "value": 0}));
    act("module: lambd", json!({"kind": "Softshrink", "lambd": -1}));
    act("module: beta", json!({"kind": "Softplus", "beta": 0}));
    act("module: a low threshold", json!({"kind": "Softplus", "threshold": 2}));
    act("module: approximate", json!({"kind": "GELU", "approximate": "fast"}));
    act("module: alpha", json!({"kind": "CELU", "alpha": 0}));
    act("module: p", json!({"kind": "Dropout", "p": 2}));
    act("module: an LSTM behind rows", json!({"kind": "GLU"}));
    act("module: a module without tensors", json!({"kind": "LSTM", "prefix": "lstm"}));
    act("module: normalized_shape", json!({"kind": "LayerNorm", "prefix": "norm", "normalized_shape": [2, 3]}));
    act("module: affine without shape", json!({"kind": "LayerNorm", "prefix": "norm"}));
    act("module: features that do not fit", json!({"kind": "LayerNorm", "prefix": "norm", "normalized_shape": 3}));
    cases.config("module: in_features", "single_linear", json!({"kind": "Linear", "in_features": 4}));
    cases.config("module: bias of a Linear", "single_linear", json!({"kind": "Linear", "bias": false}));
    cases.config("module: max_norm", "single_embedding", json!({"kind": "Embedding", "max_norm": 1.0}));
    cases.config("module: num_embeddings", "single_embedding", json!({"kind": "Embedding", "num_embeddings": 6}));
    cases.config("module: groups", "single_conv", json!({"kind": "Conv1d", "groups": 3}));
    cases.config("module: no groups", "single_conv", json!({"kind": "Conv1d", "groups": 0}));
    cases.config("module: kernel_size", "single_conv", json!({"kind": "Conv1d", "kernel_size": 3}));
    cases.config("module: stride", "single_conv", json!({"kind": "Conv1d", "stride": 0}));
    cases.config("module: padding", "single_conv", json!({"kind": "Conv1d", "padding": 1u64 << 40}));
    cases.config("module: padding_mode", "single_conv", json!({"kind": "Conv1d", "padding_mode": "circular"}));
    cases.config(
        "module: same with a stride",
        "single_conv",
        json!({"kind": "Conv1d", "padding": "same", "stride": 2}),
    );
    cases.config(
        "module: statistics",
        "single_batch_norm",
        json!({"kind": "BatchNorm1d", "track_running_stats": false}),
    );
    cases.config("module: affine", "single_batch_norm", json!({"kind": "BatchNorm1d", "affine": false}));
    cases.config("module: eps", "single_batch_norm", json!({"kind": "BatchNorm1d", "eps": -1}));
    let mixed = layers(json!([
        {"kind": "LSTM", "prefix": "a", "batch_first": true},
        {"kind": "LayerNorm", "normalized_shape": 4, "prefix": ""},
        {"kind": "GRU", "prefix": "b"},
        {"kind": "RNN", "prefix": "input", "batch_first": true}
    ]));
    cases.config("chain: two orders", "chain_stacked", mixed);
    let behind = layers(json!([
        {"kind": "LSTM", "prefix": "a", "batch_first": true, "take": "last"},
        {"kind": "GRU", "prefix": "b", "batch_first": true}
    ]));
    cases.config("chain: a sequence behind take", "chain_stacked", behind);
    let swapped = layers(json!([
        {"kind": "GRU", "prefix": "b", "batch_first": true},
        {"kind": "LSTM", "prefix": "a", "batch_first": true},
        {"kind": "RNN", "prefix": "input", "batch_first": true}
    ]));
    cases.config("chain: another order", "chain_stacked", swapped);
}

fn tensors(cases: &mut Cases) {
    let lstm = "lone_lstm";
    let of = |name: &str| format!("core.lstm.{name}");
    cases.tensors("tensors: another module's too", lstm, |file| file.with("head.weight", "F32", &[2, 4]));
    cases.tensors("tensors: a second stack", lstm, |file| file.with("b.weight_ih_l0", "F32", &[4, 4]));
    cases.tensors("tensors: integers", lstm, |file| file.with(&of("weight_hh_l0"), "I64", &[16, 4]));
    cases.tensors("tensors: rows of no gates", lstm, |file| file.with(&of("weight_hh_l0"), "F32", &[18, 4]));
    cases.tensors("tensors: a vector", lstm, |file| file.with(&of("weight_hh_l0"), "F32", &[16]));
    cases.tensors("tensors: a weight missing", lstm, |file| file.without(&of("weight_hh_l1")));
    cases.tensors("tensors: a direction missing", lstm, |file| file.without(&of("weight_ih_l1_reverse")));
    cases.tensors("tensors: one bias", lstm, |file| {
        let names = ["bias_hh_l0", "bias_hh_l0_reverse", "bias_hh_l1", "bias_hh_l1_reverse"];
        names.iter().fold(file, |file, name| file.without(&of(name)))
    });
    cases.tensors("tensors: a bias missing", lstm, |file| file.without(&of("bias_hh_l1")));
    cases.tensors("tensors: a layer missing", lstm, |file| file.renamed(&of("weight_ih_l1"), &of("weight_ih_l2")));
    cases.tensors("tensors: input of the second layer", lstm, |file| file.with(&of("weight_ih_l1"), "F32", &[16, 4]));
    cases.tensors("tensors: no units", "lone_rnn", |file| file.with("rnn.weight_hh_l0", "F32", &[0, 0]));
    cases.tensors("tensors: no features", "lone_gru", |file| file.with("weight_ih_l0", "F32", &[12, 0]));
    cases.tensors("tensors: a projection of nothing", "lone_lstm_proj", |file| {
        file.with("weight_hr_l0", "F32", &[0, 4]).with("weight_hh_l0", "F32", &[16, 0])
    });
    cases.tensors("tensors: weight norm", "single_linear", |file| file.renamed("weight", "weight_g"));
    cases.tensors("tensors: half of a pair", "chain_head", |file| file.without("1.running_var"));
    for (name, value) in [("not a number", f32::NAN), ("infinite", f32::INFINITY)] {
        cases.tensors(&format!("tensors: {name}"), lstm, |mut file| {
            file.tensors[0].3[4..8].copy_from_slice(&value.to_le_bytes());
            file
        });
    }
    cases.tensors("tensors: beyond f32", "lone_gru", |mut file| {
        file = file.with("weight_ih_l0", "F64", &[12, 3]);
        file.tensors.iter_mut().find(|(name, ..)| name == "weight_ih_l0").unwrap().3[..8]
            .copy_from_slice(&1e300f64.to_le_bytes());
        file
    });
}

#[test]
fn refusals_name_what_is_wrong() {
    let mut cases = Cases::default();
    headers(&mut cases);
    configurations(&mut cases);
    tensors(&mut cases);
    assert!(cases.0.len() >= 100, "{}", cases.0.len());
    let mut lines = String::new();
    for (name, bytes, config) in &cases.0 {
        let options = options(config.as_deref());
        assert!(!survives_as(bytes, &options, 0, &|| name.clone()), "{name}");
        let error = Model::from_bytes_with(bytes, &options).unwrap_err();
        assert!(!matches!(error, Error::Internal { .. } | Error::Io { .. }), "{name}: {error}");
        lines += &format!("{name}\n    {error}\n");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/torch_refusals.txt");
    if std::env::var_os("WRITE_FIXTURES").is_some() {
        fs::write(&path, &lines).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap();
    for (found, expected) in lines.lines().zip(expected.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(lines.lines().count(), expected.lines().count());
}

/// The configuration is found beside the file, or where the caller says.
#[test]
fn configurations_in_files() {
    let case = golden("recurrent_00_lstm");
    let folder = std::env::temp_dir().join(format!("wgpu-rnn-torch-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("model.safetensors");
    fs::write(&path, case.bytes()).unwrap();
    assert_eq!(Model::load(&path).unwrap().notes().len(), 1);
    fs::write(folder.join("config.json"), case.config.as_ref().unwrap()).unwrap();
    assert!(Model::load(&path).unwrap().notes().is_empty());
    fs::write(folder.join("other.json"), "{\"kind\": \"GRU\"}").unwrap();
    let mut options = options(None);
    options.config = Some(folder.join("other.json"));
    assert!(Model::load_with(&path, &options).is_err());
    options.config = Some(folder.join("missing.json"));
    assert!(matches!(Model::load_with(&path, &options), Err(Error::Io { .. })));
    fs::remove_dir_all(folder).unwrap();
}
