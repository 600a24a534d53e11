//! Damaged and hostile `.keras` files: each gives a model or an error, within a bound on memory and
//! time, and never a panic. All cases come from seeds; a failure names its own.
#![cfg(feature = "keras")]
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "common/counting.rs"]
mod counting;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/keras_files.rs"]
mod keras_files;
#[path = "common/npz.rs"]
mod npz;

use std::fs;

use counting::peak_of;
use hostile::{MIB, Rng, damaged, find, patched, rounds, survives};
use keras_files::{File, archive, cases, folder, message, path};
use serde_json::{Map, Value, json};
use wgpu_rnn::Model;
use zip::CompressionMethod;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// An input of 2 and a Dense of 3 units, with the weights of a file of `tests/fixtures/hdf5`.
fn dense(weights: Vec<u8>) -> File {
    let file = File::golden("compiled_only").without("/config/layers/1");
    let file = file.with("/config/layers/0/config/batch_shape", json!([null, 2]));
    File { weights, ..file.with("/config/layers/1/config/units", json!(3)) }
}

fn fixtures() -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(folder().join("../../fixtures/hdf5")).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| (file.display().to_string(), fs::read(file).unwrap())).collect()
}

#[test]
fn golden_files_stay_within_the_bound() {
    for case in cases() {
        let path = path(case["name"].as_str().unwrap());
        let from_path = || {
            let (_, peak) = peak_of(|| Model::load(&path).map(drop));
            peak
        };
        let size = if path.is_dir() { 0 } else { fs::metadata(&path).unwrap().len() as usize };
        assert!(from_path() <= 3 * size + 64 * MIB, "{}", path.display());
        if size > 0 {
            survives(&fs::read(&path).unwrap(), 0, &|| path.display().to_string());
        }
    }
}

#[test]
fn truncated_at_every_byte() {
    let latest = fs::read(folder().join("../../fixtures/hdf5/latest.h5")).unwrap();
    let file = dense(latest.clone());
    let bytes = file.bytes();
    assert!(survives(&bytes, 0, &|| "the whole file".to_owned()));
    for cut in 0..bytes.len() {
        assert!(!survives(&bytes[..cut], 0, &|| format!("cut at {cut}")));
    }
    // The same with an archive that is whole.
    for cut in 0..latest.len() {
        survives(&dense(latest[..cut].to_vec()).bytes(), 0, &|| format!("weights cut at {cut}"));
    }
    let config = file.config.to_string().into_bytes();
    for cut in (0..config.len()).step_by(3) {
        let mut members = file.members();
        members[1].1.truncate(cut);
        let bytes = archive(&members, CompressionMethod::Stored);
        assert!(!survives(&bytes, 0, &|| format!("configuration cut at {cut}")));
    }
}

#[test]
fn damaged_archives() {
    let mut rng = Rng(1);
    for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        let bytes = archive(&File::golden("compiled_only").members(), method);
        let directory = bytes.len() - 300;
        for case in 0..2500 * rounds() {
            let from = if case % 5 == 0 { 0 } else { directory };
            survives(&damaged(&mut rng, &bytes, from), 100 * MIB, &|| format!("{method}, case {case}"));
        }
    }
}

#[test]
fn damaged_weights() {
    let mut rng = Rng(2);
    let mut loaded = 0;
    for (name, weights) in fixtures() {
        for case in 0..300 * rounds() {
            let file = dense(damaged(&mut rng, &weights, 0));
            loaded += usize::from(survives(&file.bytes(), 0, &|| format!("{name}, case {case}")));
        }
    }
    for golden in ["fitted", "lstm_options", "layer_normalization", "gru_bidirectional"] {
        let file = File::golden(golden);
        for case in 0..400 * rounds() {
            let file = File { weights: damaged(&mut rng, &file.weights, 0), ..file.clone() };
            loaded += usize::from(survives(&file.bytes(), 0, &|| format!("{golden}, case {case}")));
        }
    }
    assert!(loaded > 500, "most damage must not be caught by one check alone: {loaded}");
}

/// Every value of a JSON text, by pointer.
fn pointers(value: &Value, at: &str, into: &mut Vec<String>) {
    into.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| pointers(value, &format!("{at}/{key}"), into)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, value)| pointers(value, &format!("{at}/{i}"), into))
        }
        _ => {}
    }
}

fn odd_value(rng: &mut Rng, tree: &Value, pointers: &[String]) -> Value {
    match rng.below(14) {
        0 => Value::Null,
        1 => json!(rng.below(2) == 0),
        2 => json!(-1),
        3 => json!(rng.below(12)),
        4 => json!(u64::MAX),
        5 => json!(i64::MIN),
        6 => json!(1e300),
        7 => json!(1u64 << rng.below(48)),
        8 => json!(""),
        9 => json!("\u{0}\n\"\u{202e}'".repeat(1 + rng.below(40))),
        10 => json!([]),
        11 => json!({}),
        _ => tree.pointer(&pointers[rng.below(pointers.len())]).cloned().unwrap(),
    }
}

#[test]
fn damaged_configurations() {
    let mut rng = Rng(3);
    let goldens = [
        "fitted",
        "lstm_options",
        "lstm_masks",
        "masked_merges",
        "lstm_bidirectional",
        "encoder_decoder_lstm",
        "shared_layer_chained",
        "nested_lists",
        "dict_inputs",
        "reshaping",
        "merges",
        "training_only_layers",
        "layer_normalization",
        "softmaxes",
        "gru_masks_initial_state",
    ];
    let mut loaded = 0;
    for golden in goldens {
        let file = File::golden(golden);
        let mut all = Vec::new();
        let tree = file.config.clone();
        pointers(&tree, "", &mut all);
        for case in 0..500 * rounds() {
            let mut file = file.clone();
            for _ in 0..=rng.below(2) {
                let value = odd_value(&mut rng, &tree, &all);
                let target = &all[rng.below(all.len())];
                match file.config.pointer_mut(target) {
                    Some(Value::Object(map)) if rng.below(3) == 0 => {
                        let key = map.keys().nth(rng.below(map.len())).cloned();
                        key.map(|key| map.remove(&key));
                    }
                    Some(Value::Array(list)) if rng.below(3) == 0 => list.push(value),
                    Some(slot) => *slot = value,
                    None => {}
                }
            }
            let expanded = file.config.to_string().len();
            loaded += usize::from(survives(&file.bytes(), expanded, &|| format!("{golden}, case {case}")));
        }
        for case in 0..100 * rounds() {
            let mut members = file.members();
            members[1].1 = damaged(&mut rng, &members[1].1, 0);
            let bytes = archive(&members, CompressionMethod::Stored);
            survives(&bytes, 0, &|| format!("{golden}, bytes, case {case}"));
        }
    }
    assert!(loaded > 500, "{loaded}");
}

/// A text of many small values makes much more of itself in memory than it takes in a file.
#[test]
fn configurations_made_of_small_values() {
    let file = File::golden("compiled_only");
    let texts = [
        format!("[{}0]", "0,".repeat(8 * MIB - 2)),
        format!("[{}0]", "[],".repeat(5 * MIB)),
        format!("[{}0]", "{},".repeat(5 * MIB)),
        format!("[{}0]", "\"\",".repeat(5 * MIB)),
        format!("{{{}}}", (0..500_000).map(|i| format!("\"{i}\":0")).collect::<Vec<_>>().join(",")),
        format!("\"{}\"", "a".repeat(16 * MIB - 2)),
        format!("\"{}\"", "\\u0061".repeat(2 * MIB)),
        "[".repeat(16 * MIB),
        "{\"a\":".repeat(3 * MIB),
    ];
    for (case, text) in texts.into_iter().enumerate() {
        let mut members = file.members();
        members[1].1 = text.into_bytes();
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            let expanded = members[1].1.len();
            let bytes = archive(&members, method);
            assert!(!survives(&bytes, expanded, &|| format!("text {case}")));
        }
    }
}

#[test]
fn archives_that_lie() {
    let file = File::golden("compiled_only");
    let stored = file.bytes();
    let central = find(&stored, b"model.weights.h5") - 46;
    let end = find(&stored, b"PK\x05\x06");
    let lies: [(&str, Vec<u8>); 9] = [
        ("a size that is too large", patched(&stored, central + 24, &u32::MAX.to_le_bytes())),
        ("a size that is too small", patched(&stored, central + 24, &5u32.to_le_bytes())),
        ("a stored size that is too large", patched(&stored, central + 20, &0x7fff_ffffu32.to_le_bytes())),
        ("encryption", patched(&stored, central + 8, &[1])),
        ("another compression", patched(&stored, central + 10, &[14])),
        ("another checksum", patched(&stored, central + 16, &[1, 2, 3, 4])),
        ("an offset past the end", patched(&stored, central + 42, &0x7fff_ffffu32.to_le_bytes())),
        ("many members", patched(&stored, end + 8, &[0xff, 0xff, 0xff, 0xff])),
        ("a directory past the end", patched(&stored, end + 16, &0x7fff_ffffu32.to_le_bytes())),
    ];
    for (lie, bytes) in lies {
        assert!(!survives(&bytes, 0, &|| lie.to_owned()), "{lie}");
    }
    // A ZIP64 directory could claim any number of members.
    let mut zip64 = stored[..end].to_vec();
    zip64.extend(b"PK\x06\x06\x2c\0\0\0\0\0\0\0\x2d\0\x2d\0\0\0\0\0\0\0\0\0");
    for claim in [1u64 << 40, 1 << 40, 1 << 46, central as u64] {
        zip64.extend(claim.to_le_bytes());
    }
    zip64.extend(b"PK\x06\x07\0\0\0\0");
    zip64.extend((end as u64).to_le_bytes());
    zip64.extend(1u32.to_le_bytes());
    zip64.extend(&stored[end..]);
    assert!(!survives(&zip64, 0, &|| "ZIP64".to_owned()));
    let expected = "a ZIP64 archive, of more than 2 GiB, is not supported; save a model of less than 2 GiB";
    assert_eq!(message(&zip64), format!("<bytes>: the file: {expected}"));
}

#[test]
fn archives_that_expand() {
    let mut members = File::golden("compiled_only").members();
    members[2].1 = vec![0; 300 * MIB];
    let bomb = archive(&members, CompressionMethod::Deflated);
    assert!(!survives(&bomb, 0, &|| "a bomb".to_owned()));
    let found = message(&bomb);
    assert!(found.contains("the member model.weights.h5 needs more than 100 times its stored "), "{found}");
    // The same with a size that does not give it away.
    let central = find(&bomb, b"model.weights.h5") - 46;
    let quiet = patched(&bomb, central + 24, &1000u32.to_le_bytes());
    assert!(!survives(&quiet, 0, &|| "a quiet bomb".to_owned()));
    let many: Vec<(String, Vec<u8>)> = (0..5000).map(|i| (format!("assets/{i}"), Vec::new())).collect();
    let many: Vec<(&str, Vec<u8>)> = many.iter().map(|(name, data)| (name.as_str(), data.clone())).collect();
    let found = message(&archive(&many, CompressionMethod::Stored));
    let expected = "the archive needs 5000, the limit is 4096 (archive_entries); raise Limits::archive_entries if the file is to be trusted";
    assert_eq!(found, format!("<bytes>: {expected}"));
}

/// The fixture with float64 weights, whose kernel has `rows` rows instead.
fn large_weights(rows: usize) -> Vec<u8> {
    let mut file = fs::read(folder().join("../../fixtures/hdf5/float64.h5")).unwrap();
    let values = |values: &[f64]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let words = |words: &[usize]| words.iter().flat_map(|&word| (word as u64).to_le_bytes()).collect::<Vec<u8>>();
    let kernel = values(&[0.5, -1.0, 2.0, 0.25, 4.0, -0.125]);
    let (old, new) = (find(&file, &kernel), file.len());
    let layout = find(&file, &words(&[old, 48]));
    file = patched(&file, layout, &words(&[new, rows * 24]));
    // And the largest shape that it may have.
    let shape = find(&file, &words(&[2, 3, 2, 3]));
    file = patched(&file, shape, &words(&[rows, 3, rows, 3]));
    file.resize(new + rows * 24, 0);
    // The end of the file, in the superblock.
    let length = file.len();
    patched(&file, 40, &words(&[length]))
}

#[test]
fn large_files_take_three_times_their_size() {
    let rows = 3 * MIB;
    let file = dense(large_weights(rows)).with("/config/layers/0/config/batch_shape", json!([null, rows]));
    let expanded = file.weights.len();
    assert!(expanded > 70 * MIB);
    assert!(survives(&file.bytes(), 0, &|| "a large file".to_owned()));
    // Zeros compress too well to be believed: some noise.
    let mut noisy = file;
    let mut rng = Rng(4);
    noisy.weights[8 * MIB..].chunks_exact_mut(8).step_by(16).for_each(|value| {
        value.copy_from_slice(&(rng.below(1 << 20) as f64).to_le_bytes());
    });
    let bytes = archive(&noisy.members(), CompressionMethod::Deflated);
    assert!(survives(&bytes, expanded, &|| "a large compressed file".to_owned()));
}

/// Graphs whose depth or width could cost more than they take in the file.
#[test]
fn graphs_of_many_layers() {
    let tensor = |layer: &str| json!({"class_name": "__keras_tensor__", "config": {"shape": [null, 2], "dtype": "float32", "keras_history": [layer, 0, 0]}});
    let object = |class: &str, name: &str, mut config: Map<String, Value>, nodes: Value| {
        config.insert("name".to_owned(), json!(name));
        json!({"module": "keras.layers", "class_name": class, "config": config, "registered_name": null, "name": name, "inbound_nodes": nodes})
    };
    let input = || {
        let config = json!({"batch_shape": [null, 2], "dtype": "float32"});
        object("InputLayer", "x", config.as_object().unwrap().clone(), json!([]))
    };
    let model = |layers: Vec<Value>, output: &str| {
        let mut file = dense(fixtures().swap_remove(0).1);
        let config =
            json!({"name": "graph", "layers": layers, "input_layers": ["x", 0, 0], "output_layers": [output, 0, 0]});
        file.config = json!({"module": "keras.src.models.functional", "class_name": "Functional", "config": config});
        file
    };
    let chain = |reversed: bool| {
        let mut layers = vec![input()];
        for index in 0..4000 {
            let before = if index == 0 { "x".to_owned() } else { format!("layer {}", index - 1) };
            let nodes = json!([{"args": [tensor(&before)], "kwargs": {}}]);
            layers.push(object("Identity", &format!("layer {index}"), Map::new(), nodes));
        }
        if reversed {
            layers.reverse();
        }
        model(layers, "layer 3999")
    };
    // Each concatenation doubles the width: 2^60 features by the end.
    let doubling = {
        let mut layers = vec![input()];
        for index in 0..60 {
            let before = if index == 0 { "x".to_owned() } else { format!("layer {}", index - 1) };
            let nodes = json!([{"args": [[tensor(&before), tensor(&before)]], "kwargs": {}}]);
            let config = json!({"axis": -1}).as_object().unwrap().clone();
            layers.push(object("Concatenate", &format!("layer {index}"), config, nodes));
        }
        model(layers, "layer 59")
    };
    // One layer takes all the others.
    let wide = {
        let mut layers = vec![input()];
        let all: Vec<Value> = (0..2000).map(|_| tensor("x")).collect();
        for index in 0..10 {
            let nodes = json!([{"args": [all], "kwargs": {}}]);
            layers.push(object("Add", &format!("layer {index}"), Map::new(), nodes));
        }
        model(layers, "layer 9")
    };
    for (name, file) in [("chain", chain(false)), ("reversed", chain(true)), ("doubling", doubling), ("wide", wide)] {
        let found = survives(&file.bytes(), 0, &|| name.to_owned());
        assert!(!found, "{name}: the weights of the Dense are left");
        let found = file.message();
        assert!(found.contains("the weights of the layers of the configuration only"), "{name}: {found}");
    }
}

/// Changes of one value of a configuration, none of which may go unnoticed. Of `fitted`: an LSTM, a
/// BatchNormalization and a Dense.
#[test]
fn configurations_that_lie() {
    let (lstm, normal, dense) = ("/config/layers/1/config", "/config/layers/2/config", "/config/layers/3/config");
    let input = "/config/layers/0/config";
    let mut lies: Vec<(String, Value)> = Vec::new();
    let mut lie = |pointer: String, value: Value| lies.push((pointer, value));
    for (key, values) in [
        ("units", vec![json!(0), json!(-1), json!(5), json!(1u64 << 40), json!("4"), json!(null), json!(4.5)]),
        ("activation", vec![json!("softmax"), json!("frobnicate"), json!(1), json!({"class_name": "Custom"})]),
        ("recurrent_activation", vec![json!("glu"), json!([])]),
        ("use_bias", vec![json!(false), json!(1), json!("true")]),
        ("go_backwards", vec![json!("no")]),
        ("return_state", vec![json!(true), json!(7)]),
        ("stateful", vec![json!([true])]),
        ("dtype", vec![json!("int8"), json!("float8"), json!({"config": {"name": "int4"}})]),
        ("quantization_config", vec![json!({"bits": 4})]),
        ("frobnicate", vec![json!(null), json!(true)]),
        ("time_major", vec![json!(true)]),
    ] {
        values.into_iter().for_each(|value| lie(format!("{lstm}/{key}"), value));
    }
    for (key, values) in [
        ("axis", vec![json!(0), json!(2), json!([]), json!([1, 2]), json!("last"), json!(i64::MIN)]),
        ("epsilon", vec![json!("small"), json!(1e300)]),
        ("scale", vec![json!(false), json!(0)]),
        ("center", vec![json!(false)]),
        ("renorm", vec![json!(true)]),
    ] {
        values.into_iter().for_each(|value| lie(format!("{normal}/{key}"), value));
    }
    for (key, values) in [
        ("units", vec![json!(2), json!(u64::MAX)]),
        ("activation", vec![json!("sparsemax"), json!({"module": "app", "class_name": "f", "config": "f"})]),
        ("use_bias", vec![json!(false)]),
        ("lora_rank", vec![json!(2)]),
    ] {
        values.into_iter().for_each(|value| lie(format!("{dense}/{key}"), value));
    }
    for (key, values) in [
        (
            "batch_shape",
            vec![json!([]), json!([null, 5, 4]), json!([0, 5, 3]), json!([null, -5, 3]), json!("x"), json!([[null]])],
        ),
        ("dtype", vec![json!("complex64"), json!(32)]),
        ("sparse", vec![json!(true)]),
        ("ragged", vec![json!(true)]),
        ("name", vec![json!(null), json!(1)]),
    ] {
        values.into_iter().for_each(|value| lie(format!("{input}/{key}"), value));
    }
    for index in 1..4 {
        for (key, value) in [("class_name", json!("Lambda")), ("module", json!("app.layers")), ("config", json!([]))] {
            lie(format!("/config/layers/{index}/{key}"), value);
        }
    }
    assert!(lies.len() >= 60, "{}", lies.len());
    for (pointer, value) in lies {
        let bytes = File::golden("fitted").with(&pointer, value.clone()).bytes();
        assert!(!survives(&bytes, 0, &|| format!("{pointer} = {value}")), "{pointer} = {value}: a model was loaded");
    }
}
