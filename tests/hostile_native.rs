//! Damaged files of this crate's own. All cases come from seeds; a failure names its own.
#![cfg(all(feature = "native", feature = "torch", feature = "keras"))]
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "common/counting.rs"]
mod counting;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/keras_files.rs"]
mod keras_files;
#[path = "common/npz.rs"]
mod npz;
#[path = "common/tensors_write.rs"]
mod tensors_write;
#[path = "common/torch_files.rs"]
mod torch_files;

use std::{fs, panic, path::Path};

use hostile::{MIB, Rng, damaged, rounds, survives};
use serde_json::{Value, json};
use tensors_write::File;
use torch_files::golden;
use wgpu_rnn::{
    Device, Error, Inputs, Model, Session, SessionOptions,
    formats::{SaveOptions, WeightType},
    verify::{known_answers, random_inputs},
};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

const KEY: &str = "wgpu_rnn";

/// Those of [`files`] whose weights are rounded.
const ROUNDED: [(&str, WeightType); 2] = [("integers", WeightType::I8), ("bfloats", WeightType::Bf16)];

/// A few models that have everything between them.
fn files() -> Vec<(String, File)> {
    let keras = [
        "lstm_options",
        "masked_merges",
        "lstm_bidirectional",
        "encoder_decoder_lstm",
        "shared_layer_chained",
        "merges",
        "gru_masks_initial_state",
        "layer_normalization",
        "softmaxes",
        "batch_normalization",
        "reshaping",
    ];
    let torch = [
        "lone_lstm",
        "lone_lstm_proj",
        "chain_conv_between",
        "chain_head",
        "chain_tagger",
        "chain_take_last_lstm_bidirectional",
    ];
    let mut models: Vec<(String, Model)> =
        keras.iter().map(|name| ((*name).to_owned(), Model::load(keras_files::path(name)).unwrap())).collect();
    models.extend(torch.iter().map(|name| ((*name).to_owned(), golden(name).load().unwrap())));
    models.extend(ROUNDED.map(|(name, _)| (name.to_owned(), golden("lone_lstm").load().unwrap())));
    let file = |(name, model): (String, Model)| {
        let answers = known_answers(&model, 1, None, None, 1).unwrap();
        let mut options = SaveOptions::default();
        if let Some((_, weights)) = ROUNDED.iter().find(|(rounded, _)| *rounded == name) {
            options.weights = *weights;
        }
        let bytes = model.with_known_answers(answers).unwrap().to_bytes(&options).unwrap();
        (name, File::read(&bytes))
    };
    models.into_iter().map(file).collect()
}

fn document(file: &File) -> Value {
    serde_json::from_str(file.metadata.as_ref().unwrap()[KEY].as_str().unwrap()).unwrap()
}

fn with_document(file: &File, document: &Value) -> Vec<u8> {
    File { metadata: Some(json!({KEY: document.to_string()})), ..file.clone() }.bytes()
}

/// Plans and runs a model that was loaded: it gives outputs or an error.
fn runs(model: &Model, what: &dyn Fn() -> String) {
    let run = || -> Result<(), Error> {
        let batch = model.required_batch().filter(|&batch| batch < 9).unwrap_or(2);
        let inputs = random_inputs(model, batch, 3, 1)?;
        if inputs.iter().any(|(_, tensor)| tensor.len() > 1 << 16) {
            return Ok(());
        }
        let session = Session::new(model, SessionOptions::on(Device::Cpu))?;
        session.run(Inputs::from_iter(inputs)).map(drop)
    };
    let outcome = panic::catch_unwind(panic::AssertUnwindSafe(run)).unwrap_or_else(|_| panic!("{}", what()));
    assert!(!matches!(outcome, Err(Error::Internal { .. })), "{}: {outcome:?}", what());
}

#[test]
fn truncated_at_every_byte() {
    for (name, file) in files().into_iter().filter(|(name, _)| matches!(name.as_str(), "lone_lstm_proj" | "reshaping"))
    {
        let bytes = file.bytes();
        assert!(survives(&bytes, 0, &|| name.clone()));
        for cut in 0..bytes.len() {
            assert!(!survives(&bytes[..cut], 0, &|| format!("{name} cut at {cut}")));
        }
        let text = document(&file).to_string();
        for cut in 0..text.len() {
            let cut = File { metadata: Some(json!({KEY: &text[..cut]})), ..file.clone() };
            assert!(!survives(&cut.bytes(), 0, &|| format!("{name}, structure cut: {:?}", cut.metadata)));
        }
    }
}

#[test]
fn bit_flips() {
    let mut rng = Rng(31);
    let all: Vec<(String, Vec<u8>)> = files().into_iter().map(|(name, file)| (name, file.bytes())).collect();
    let mut loaded = 0;
    for case in 0..20_000 * rounds() {
        let (name, bytes) = &all[rng.below(all.len())];
        let mut bytes = bytes.clone();
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let at = rng.below(if case % 4 == 0 { bytes.len() } else { header });
        bytes[at] ^= 1 << rng.below(8);
        loaded += usize::from(survives(&bytes, 0, &|| format!("{name}, case {case}")));
    }
    assert!(loaded > 1000, "most damage must not be caught by one check alone: {loaded}");
}

#[test]
fn damaged_files() {
    let mut rng = Rng(32);
    let all: Vec<(String, Vec<u8>)> = files().into_iter().map(|(name, file)| (name, file.bytes())).collect();
    for case in 0..3000 * rounds() {
        let (name, bytes) = &all[rng.below(all.len())];
        survives(&damaged(&mut rng, bytes, 0), 0, &|| format!("{name}, case {case}"));
    }
}

/// Every value of a JSON text, by pointer.
fn pointers(value: &Value, at: &str, into: &mut Vec<String>) {
    into.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            pointers(value, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), into);
        }),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, value)| pointers(value, &format!("{at}/{i}"), into));
        }
        _ => {}
    }
}

fn odd_value(rng: &mut Rng, tree: &Value, pointers: &[String]) -> Value {
    match rng.below(16) {
        0 => Value::Null,
        1 => json!(rng.below(2) == 0),
        2 => json!(-1),
        3 | 4 => json!(rng.below(12)),
        5 => json!(u64::MAX),
        6 => json!(i64::MIN),
        7 => json!(1e300),
        8 => json!(1u64 << rng.below(48)),
        9 => json!("nan"),
        10 => json!([]),
        11 => json!([[1, [1]]]),
        12 => json!([[i64::MAX, [1, 1, 1, 1]], [-7, [0]], [1, [2]]]),
        _ => tree.pointer(&pointers[rng.below(pointers.len())]).cloned().unwrap(),
    }
}

#[test]
fn damaged_structures() {
    let mut rng = Rng(33);
    let mut loaded = 0;
    for (name, file) in files() {
        let tree = document(&file);
        let mut all = Vec::new();
        pointers(&tree, "", &mut all);
        for case in 0..1500 * rounds() {
            let mut changed = tree.clone();
            for _ in 0..=rng.below(2) {
                let value = odd_value(&mut rng, &tree, &all);
                match changed.pointer_mut(&all[rng.below(all.len())]) {
                    Some(Value::Object(map)) if rng.below(3) == 0 => {
                        let key = map.keys().nth(rng.below(map.len())).cloned();
                        key.map(|key| map.remove(&key));
                    }
                    Some(Value::Array(list)) if rng.below(3) == 0 => list.push(value),
                    Some(slot) => *slot = value,
                    None => {}
                }
            }
            let bytes = with_document(&file, &changed);
            let what = || format!("{name}, case {case}: {changed}");
            if survives(&bytes, 0, &what) {
                loaded += 1;
                runs(&Model::from_bytes(&bytes).unwrap(), &what);
            }
        }
    }
    assert!(loaded > 500, "{loaded}");
}

/// Structures of many small things.
#[test]
fn structures_made_of_small_things() {
    let (_, file) = files().swap_remove(0);
    let tree = document(&file);
    let fill = |pointer: &str, item: Value, count: usize| {
        let mut changed = tree.clone();
        *changed.pointer_mut(pointer).unwrap() = Value::Array(vec![item; count]);
        with_document(&file, &changed)
    };
    let layer = json!({"name": "", "class_name": "", "trainable": true, "block": null, "kind": "flatten"});
    let call = json!({"layer": 0, "inputs": [], "initial_state": [], "mask": "carried", "shape": null});
    let condition = json!({"subject": "", "left": 0, "relation": "equal", "right": 0});
    let cases = [
        fill("/model/layers", layer.clone(), 10_000),
        fill("/model/layers", layer, 60_000),
        fill("/model/calls", call.clone(), 10_000),
        fill("/model/calls", call, 60_000),
        fill("/model/conditions", condition.clone(), 30_000),
        fill("/model/conditions", condition, 100_000),
        fill("/model/symbols", json!(""), 500_000),
        fill("/model/notes", json!(""), 500_000),
        fill("/model/derived", json!([1, {"positive": 1}]), 50_000),
        fill("/known_answers", json!({"inputs": [], "outputs": []}), 60_000),
        fill("/known_answers/0/inputs", json!("x"), 500_000),
    ];
    for (case, bytes) in cases.iter().enumerate() {
        survives(bytes, 0, &|| format!("case {case}"));
    }
    let mut nested = tree.clone();
    let kind = (0..60).fold(json!("flatten"), |kind, _| json!({ "time_distributed": kind }));
    nested["model"]["layers"][0]["kind"] = kind;
    assert!(!survives(&with_document(&file, &nested), 0, &|| "nested".to_owned()));
    let deep = File { metadata: Some(json!({KEY: "{\"model\":{\"layers\":[".repeat(100_000)})), ..file.clone() };
    assert!(!survives(&deep.bytes(), 0, &|| "deep".to_owned()));
    // Sizes whose product is too long to be worked out.
    let mut products = tree.clone();
    let terms: Vec<Value> = (0..16).map(|i| json!([1, vec![1; i]])).collect();
    products["model"]["calls"][0]["shape"] = json!([[[1, [0]]], terms, terms, terms, terms, terms]);
    products["model"]["layers"][1]["kind"] = json!("flatten");
    survives(&with_document(&file, &products), 0, &|| "products".to_owned());
}

#[test]
fn large_files_take_three_times_their_size() {
    let file = File::default().with("weight_ih_l0", "F32", &[6000, 1500]).with("weight_hh_l0", "F32", &[6000, 1500]);
    let model = Model::from_bytes(&file.bytes()).unwrap();
    let mut options = SaveOptions::default();
    // Integers become f32, four times their size.
    for (weights, share) in [(WeightType::F32, 1), (WeightType::F16, 2), (WeightType::Bf16, 2), (WeightType::I8, 4)] {
        options.weights = weights;
        let bytes = model.to_bytes(&options).unwrap();
        assert!(bytes.len() * share > 60 * MIB, "{}", bytes.len());
        assert!(survives(&bytes, bytes.len() * share.div_ceil(2), &|| format!("{weights:?}")));
    }
}

/// Cases: a name, what is changed at a pointer into the structure, and a file.
fn refusals() -> Vec<(String, Vec<u8>)> {
    let all = files();
    let of = |name: &str| all.iter().find(|(known, _)| known == name).unwrap().1.clone();
    let (lstm, tagger, integers, bfloats) = (of("lone_lstm"), of("chain_tagger"), of("integers"), of("bfloats"));
    let has_conditions = |file: &&File| document(file)["model"]["conditions"].as_array().is_some_and(|c| !c.is_empty());
    let conditions = all.iter().map(|(_, file)| file).find(has_conditions).unwrap().clone();
    let mut cases = Vec::new();
    let mut set = |name: &str, file: &File, pointer: &str, value: Value| {
        let mut changed = document(file);
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match changed.pointer_mut(parent).unwrap_or_else(|| panic!("{name}: {pointer}")) {
            Value::Object(map) => drop(map.insert(key.to_owned(), value)),
            Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
            other => panic!("{name}: {other}"),
        }
        cases.push((name.to_owned(), with_document(file, &changed)));
    };
    let index = |file: &File, kind: &str| {
        let document = document(file);
        let layers = document["model"]["layers"].as_array().unwrap();
        layers.iter().position(|layer| layer["kind"].get(kind).is_some()).unwrap()
    };
    set("format 4", &lstm, "/format", json!(4));
    set("integers in the first format", &integers, "/format", json!(1));
    set("bfloats in the second format", &bfloats, "/format", json!(2));
    set("a format of a text", &lstm, "/format", json!("1"));
    set("a key more", &lstm, "/comment", json!("x"));
    set("a key more in the model", &lstm, "/model/comment", json!("x"));
    set("no list of layers", &lstm, "/model/layers", json!({}));
    set("no layers", &lstm, "/model/layers", json!([]));
    set("no calls", &lstm, "/model/calls", json!([]));
    set("no inputs", &lstm, "/model/inputs", json!([]));
    set("no outputs", &lstm, "/model/outputs", json!([]));
    set("no symbols", &lstm, "/model/symbols", json!([]));
    set("a symbol less", &lstm, "/model/symbols", json!(["batch"]));
    set("no conditions", &conditions, "/model/conditions", json!([]));
    set("a derived size of itself", &lstm, "/model/derived", json!([[1, {"positive": [[1, [1]]]}]]));
    set("a division by zero", &lstm, "/model/derived", json!([[1, {"quotient": {"dim": [[1, [0]]], "divisor": 0}}]]));
    set("an unknown style", &lstm, "/model/style", json!("odd"));
    set("a name twice", &lstm, "/model/layers/1/name", json!("input"));
    set("an unknown kind", &lstm, "/model/layers/0/kind", json!("lambda"));
    set("a kind without its options", &lstm, "/model/layers/0/kind", json!("softmax"));
    set("a block that is not there", &lstm, "/model/layers/0/block", json!(7));
    set("a layer that is not there", &lstm, "/model/calls/0/layer", json!(99));
    set("an input called twice", &lstm, "/model/calls/1/layer", json!(0));
    set("an input of many axes", &lstm, "/model/calls/0/shape", json!([1, 1, 1, 1, 1, 1, 1, 1]));
    set("a size of no symbol", &lstm, "/model/calls/0/shape", json!([[[1, [9]]], 1, 3]));
    set("other features", &lstm, "/model/calls/0/shape", json!([[[1, [0]]], [[1, [1]]], 5]));
    set("another rank", &lstm, "/model/calls/0/shape", json!([[[1, [0]]], 3]));
    set("a shape of texts", &lstm, "/model/calls/0/shape", json!(["batch"]));
    set("no shape", &lstm, "/model/calls/0/shape", Value::Null);
    set("a value after its use", &lstm, "/model/calls/3/inputs", json!([[9, 0]]));
    set("an output that is not there", &lstm, "/model/outputs/0/value", json!([0, 3]));
    set("an output's name twice", &lstm, "/model/outputs/1/name", json!("output"));
    set("a layout of other axes", &lstm, "/model/outputs/0/layout", json!([[0], [1], [3]]));
    set("a layout with an axis twice", &lstm, "/model/outputs/0/layout", json!([[0], [1], [1]]));
    set("a layout without the features", &lstm, "/model/outputs/0/layout", json!([[0], [1]]));
    set("an input's layout", &lstm, "/model/inputs/0/layout", json!([[0], [1, 2]]));
    set("an input that is none", &lstm, "/model/inputs/0/value", json!([3, 0]));
    set("another name of an input", &lstm, "/model/inputs/0/name", json!("x"));
    set("a mask of another shape", &lstm, "/model/calls/8/mask", json!({"given": [0, 0]}));
    set("an unknown mask", &lstm, "/model/calls/0/mask", json!("some"));
    set("a block in itself", &lstm, "/model/blocks/0/parent", json!(0));
    set("a block far off", &lstm, "/model/blocks/0/position", json!(999));
    set("a block of other values", &lstm, "/model/blocks/0/calls", json!([[[[99, 0]], []]]));
    set("shared weights that are none", &lstm, "/shared", json!({"a/b": "c/d"}));
    set("known answers of another input", &lstm, "/known_answers/0/inputs/0", json!("x"));
    set("known answers without an output", &lstm, "/known_answers/0/outputs", json!(["output"]));
    set("known answers of more", &lstm, "/known_answers/0/inputs", json!(["input", "h_0", "c_0", "input"]));
    let bidirectional = index(&lstm, "bidirectional");
    let at = |rest: &str| format!("/model/layers/{bidirectional}/kind/bidirectional/{rest}");
    set("another merge", &lstm, &at("merge"), json!("both"));
    set("another shape of a weight", &lstm, &at("forward/weight_hh"), json!([16, 5]));
    set("a negative shape", &lstm, &at("forward/weight_hh"), json!([-16, 4]));
    set("no weight", &lstm, &at("forward/weight_hh"), Value::Null);
    set("a bias that is not there", &lstm, &at("forward/peephole"), json!([12]));
    set("a bias left out", &lstm, &at("forward/bias_hh"), Value::Null);
    set("both directions alike", &lstm, &at("backward/go_backwards"), json!(false));
    set("an unknown cell", &lstm, &at("forward/cell"), json!("sru"));
    set("an unknown activation", &lstm, &at("forward/params/gate"), json!("swish2"));
    set("a clip below zero", &lstm, &at("forward/params/clip"), json!(-1));
    set("a clip of a text", &lstm, &at("forward/params/clip"), json!("much"));
    set("an option more", &lstm, &at("forward/params/extra"), json!(1));
    set("another input size", &tagger, "/model/calls/1/inputs", json!([[0, 0], [0, 0]]));
    let norm = index(&tagger, "layer_normalization");
    set("axes of a normalisation", &tagger, &format!("/model/layers/{norm}/kind/layer_normalization/axes"), json!([0]));
    set("no axes", &tagger, &format!("/model/layers/{norm}/kind/layer_normalization/axes"), json!([]));
    cases.push(("not JSON".to_owned(), File { metadata: Some(json!({KEY: "{"})), ..lstm.clone() }.bytes()));
    let beside = json!({KEY: document(&lstm).to_string(), "format": "pt"});
    cases.push(("another key in the metadata".to_owned(), File { metadata: Some(beside), ..lstm.clone() }.bytes()));
    cases.push(("a tensor more".to_owned(), lstm.clone().with("x", "F32", &[1]).bytes()));
    cases.push(("a tensor less".to_owned(), lstm.clone().without("core.lstm/l0/forward weight_ih").bytes()));
    cases.push((
        "a weight of integers".to_owned(),
        lstm.clone().with("core.lstm/l0/forward weight_ih", "I64", &[16, 3]).bytes(),
    ));
    let (weight, scale) = ("core.lstm/l0/forward weight_ih", "core.lstm/l0/forward weight_ih/scale");
    let other = |name: &str, dtype: &str, shape: &[usize]| integers.clone().with(name, dtype, shape).bytes();
    cases.push(("a scale less".to_owned(), integers.clone().without(scale).bytes()));
    cases.push(("a scale of another shape".to_owned(), other(scale, "F32", &[3])));
    cases.push(("a scale of another type".to_owned(), other(scale, "F16", &[16])));
    cases.push(("a scale of a weight that has none".to_owned(), other(weight, "F32", &[16, 3])));
    cases.push(("a known answer less".to_owned(), lstm.without("known_answers.0.inputs.0").bytes()));
    cases
}

#[test]
fn refusals_name_what_is_wrong() {
    let cases = refusals();
    assert!(cases.len() >= 50, "{}", cases.len());
    let mut lines = String::new();
    for (name, bytes) in &cases {
        assert!(!survives(bytes, 0, &|| name.clone()), "{name}");
        let error = Model::from_bytes(bytes).unwrap_err();
        assert!(!matches!(error, Error::Internal { .. } | Error::Io { .. }), "{name}: {error}");
        lines += &format!("{name}\n    {error}\n");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/native_refusals.txt");
    if std::env::var_os("WRITE_FIXTURES").is_some() {
        fs::write(&path, &lines).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap();
    for (found, expected) in lines.lines().zip(expected.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(lines.lines().count(), expected.lines().count());
}
