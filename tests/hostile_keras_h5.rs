//! Damaged and hostile `.h5` files of Keras, and the other containers: each gives a model or an error,
//! within a bound on memory and time, and never a panic. All cases come from seeds; a failure names its own.
#![cfg(feature = "keras")]
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "common/counting.rs"]
mod counting;
#[path = "common/hostile.rs"]
mod hostile;

use std::{fs, path::PathBuf};

use counting::peak_of;
use hostile::{MIB, Rng, damaged, find, patched, rounds, survives};
use wgpu_rnn::{Error, Model};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/keras_files")
}

fn golden(name: &str) -> Vec<u8> {
    fs::read(folder().join(name)).unwrap()
}

#[test]
fn golden_files_stay_within_the_bound() {
    let cases: serde_json::Value = serde_json::from_slice(&golden("cases.json")).unwrap();
    for case in cases.as_array().unwrap() {
        let path = folder().join(case["path"].as_str().unwrap());
        let size = if path.is_dir() { 0 } else { fs::metadata(&path).unwrap().len() as usize };
        let (model, peak) = peak_of(|| Model::load(&path).map(drop));
        model.unwrap();
        assert!(peak <= 3 * size + 64 * MIB, "{}", path.display());
    }
}

#[test]
fn truncated_at_every_byte() {
    for name in ["tf_permute.h5", "tf_lstm.h5"] {
        let bytes = golden(name);
        assert!(survives(&bytes, 0, &|| name.to_owned()));
        for cut in 0..bytes.len() {
            assert!(!survives(&bytes[..cut], 0, &|| format!("{name} cut at {cut}")), "{name} cut at {cut}");
        }
    }
}

#[test]
fn flipped_bits() {
    let mut rng = Rng(11);
    let mut loaded = 0;
    let goldens = ["tf_lstm.h5", "tf_gru_before.h5", "h5_lstm_stateful.h5", "tf_hard_sigmoid.h5"];
    for name in goldens {
        let bytes = golden(name);
        for case in 0..5000 * rounds() {
            let mut bytes = bytes.clone();
            let at = rng.below(bytes.len());
            bytes[at] ^= 1 << rng.below(8);
            loaded += usize::from(survives(&bytes, 0, &|| format!("{name}, case {case}, byte {at}")));
        }
    }
    assert!(loaded > 500, "most damage must not be caught by one check alone: {loaded}");
}

#[test]
fn damage_of_several_bytes() {
    let mut rng = Rng(12);
    for name in ["tf_nested_models.h5", "tf_rnn_of_cells.h5", "h5_gru_masks.h5", "tf_encoder_decoder_lstm.h5"] {
        let bytes = golden(name);
        for case in 0..300 * rounds() {
            survives(&damaged(&mut rng, &bytes, 0), 0, &|| format!("{name}, case {case}"));
        }
    }
}

/// Changes of one text in a file that must not go unnoticed: what stands there, and what is put in its place.
const LIES: [(&str, &str); 46] = [
    ("\"class_name\": \"LSTM\"", "\"class_name\": \"LSTN\""),
    ("\"class_name\": \"LSTM\"", "\"class_name\": \"Lstm\""),
    ("\"class_name\": \"LSTM\"", "\"class_name\": \"GRU\" "),
    ("\"class_name\": \"LSTM\"", "\"class_nama\": \"LSTM\""),
    ("\"class_name\": \"LSTM\"", "\"class_name\": null  "),
    ("\"class_name\": \"LSTM\"", "\"class_name\": 123456"),
    ("\"class_name\": \"LSTM\"", "\"class_name\":  \"RNN\""),
    ("\"class_name\": \"Sequential\"", "\"class_name\": \"Sequentiel\""),
    ("\"class_name\": \"Sequential\"", "\"class_name\": \"Functional\""),
    ("\"class_name\": \"InputLayer\"", "\"class_name\": \"Inputlayer\""),
    ("\"layers\": [", "\"layerz\": ["),
    ("\"layers\": [", "\"layers\": {"),
    ("\"units\": 6", "\"units\": 7"),
    ("\"units\": 6", "\"units\": 0"),
    ("\"units\": 6", "\"units\":-6"),
    ("\"units\": 6", "\"units\":{}"),
    ("\"units\": 6", "\"unitz\": 6"),
    ("\"use_bias\": true", "\"use_bias\": 1234"),
    ("\"use_bias\": true", "\"use_bias\":false"),
    ("\"activation\": \"tanh\"", "\"activation\": \"tant\""),
    ("\"activation\": \"tanh\"", "\"activation\": 123456"),
    ("\"activation\": \"tanh\"", "\"activation\": \"glu\" "),
    ("\"recurrent_activation\": \"sigmoid\"", "\"recurrent_activation\": \"softmax\""),
    ("\"recurrent_activation\": \"sigmoid\"", "\"recurrent_activetion\": \"sigmoid\""),
    ("\"dtype\": \"float32\"", "\"dtype\": \"float31\""),
    ("\"dtype\": \"float32\"", "\"dtype\": [1,2,3,4]"),
    ("\"time_major\": false", "\"time_major\":  true"),
    ("\"sparse\": false", "\"sparse\":  true"),
    ("\"batch_input_shape\": [null, 5, 4]", "\"batch_input_shape\": [null, 5, 3]"),
    ("\"batch_input_shape\": [null, 5, 4]", "\"batch_input_shape\": [null, 5   ]"),
    ("\"batch_input_shape\": [null, 5, 4]", "\"batch_input_shape\": [null, -5,4]"),
    ("\"batch_input_shape\": [null, 5, 4]", "\"batch_input_shape\": [null, 0, 4]"),
    ("\"batch_input_shape\": [null, 5, 4]", "\"batch_input_shapa\": [null, 5, 4]"),
    ("\"batch_input_shape\": [null, 5, 4]", "\"batch_input_shape\": \"null,5,4\"  "),
    ("\"name\": \"lstm\"", "\"name\": \"lstn\""),
    ("\"name\": \"lstm\"", "\"nama\": \"lstm\""),
    ("\"return_sequences\": false", "\"return_sequences\": \"yes\""),
    ("\"implementation\": 2", "\"implementatiom\": 2"),
    ("lstm/lstm_cell/kernel:0", "lstm/lstm_cell/kernal:0"),
    ("lstm/lstm_cell/bias:0", "lstm/lstm_cell/bias:1"),
    ("lstm/lstm_cell/bias:0", "lstm/lstm_cell/kernel"),
    ("model_config", "model_konfig"),
    ("model_weights", "model_weighty"),
    ("layer_names", "layer_nimes"),
    ("weight_names", "weight_nemes"),
    ("keras_version", "keras_versiom"),
];

/// Signatures of HDF5's structures, each of which is damaged where it stands first and last.
const SIGNATURES: [&[u8]; 5] = [b"\x89HDF", b"TREE", b"HEAP", b"SNOD", b"GCOL"];

#[test]
fn files_that_lie() {
    let bytes = golden("tf_lstm.h5");
    let mut refused = 0;
    let mut check = |what: &str, bytes: &[u8]| {
        assert!(!survives(bytes, 0, &|| what.to_owned()), "{what}: a model was loaded");
        let error = Model::from_bytes(bytes).unwrap_err();
        assert!(!matches!(error, Error::Internal { .. }), "{what}: {error}");
        refused += 1;
    };
    for (from, to) in LIES {
        assert_eq!(from.len(), to.len(), "{from}");
        let first = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        check(to, &patched(&bytes, first, to.as_bytes()));
    }
    for signature in SIGNATURES {
        let first = bytes.windows(signature.len()).position(|window| window == signature).unwrap();
        for at in [first, find(&bytes, signature)] {
            check(&format!("{signature:?} at {at}"), &patched(&bytes, at, b"XXXX"));
        }
    }
    let versions: Vec<usize> =
        bytes.windows(6).enumerate().filter(|(_, window)| *window == b"2.21.0").map(|(at, _)| at).collect();
    for other in [b"1.21.0", b"9.21.0", b"x.21.0", b"......", b"\xff\xff\xff\xff\xff\xff"] {
        let lie = versions.iter().fold(bytes.clone(), |bytes, &at| patched(&bytes, at, other));
        check("the version", &lie);
    }
    // What an infinity or a NaN in the weights does: the reals of the bias are the last of their kind.
    let bias = find(&bytes, &{
        let values = Model::from_bytes(&bytes).unwrap();
        let layers = values.layers();
        let weights = layers[1].kind.weights();
        let bias = &weights.iter().find(|(name, ..)| name == "bias_ih").unwrap().1;
        bias.to_f32().first().unwrap().to_le_bytes()
    });
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        check("a weight", &patched(&bytes, bias, &value.to_le_bytes()));
    }
    assert!(refused >= 60, "{refused}");
}

/// References to texts that lie elsewhere: every one of a list to the longest.
#[test]
fn texts_that_are_referred_to_often() {
    let bytes = fs::read(folder().join("../../fixtures/hdf5/many_texts.h5")).unwrap();
    // A reference is a length, an address and an index; those of the list stand side by side.
    let length = 30_000u32.to_le_bytes();
    let first = bytes.windows(4).position(|window| window == length).unwrap();
    let reference = bytes[first..first + 16].to_vec();
    let mut hostile = bytes.clone();
    for index in 1..400 {
        hostile = patched(&hostile, first + 16 * index, &reference);
    }
    assert!(!survives(&bytes, 0, &|| "the file as it is".to_owned()));
    assert!(!survives(&hostile, 0, &|| "the hostile file".to_owned()));
    let message = Model::from_bytes(&hostile).unwrap_err().to_string();
    assert!(message.contains("12000000 B (11 MiB) of them in a file of"), "{message}");
}

/// The parts of a folder, each missing, damaged or of another model.
#[test]
fn damaged_folders() {
    let target = std::env::temp_dir().join(format!("keras_folders_{}", std::process::id()));
    let mut rng = Rng(13);
    for name in ["as_folder", "as_pair", "as_sharded", "as_tf_pair", "as_tf_h5_weights"] {
        let all = fs::read_dir(folder().join(name)).unwrap().map(|file| file.unwrap().path());
        let files: Vec<PathBuf> = all.filter(|path| path.is_file()).collect();
        let load = |what: &dyn Fn() -> String| {
            let (outcome, peak) = peak_of(|| Model::load(&target).map(drop));
            assert!(peak <= 65 * MIB, "{}: {peak}", what());
            if let Err(error) = &outcome {
                let text = error.to_string();
                assert!(!text.contains('\n') && text.len() < 4096, "{}: {text}", what());
            }
            outcome
        };
        let copy = |without: Option<usize>| {
            let _ = fs::remove_dir_all(&target);
            fs::create_dir_all(&target).unwrap();
            for (index, file) in files.iter().enumerate() {
                if Some(index) != without {
                    fs::copy(file, target.join(file.file_name().unwrap())).unwrap();
                }
            }
        };
        copy(None);
        load(&|| name.to_owned()).unwrap();
        for (index, file) in files.iter().enumerate() {
            copy(Some(index));
            let what = || format!("{name} without {}", file.display());
            // The version may be left out where nothing depends on it.
            let optional = file.ends_with("metadata.json");
            assert_eq!(load(&what).is_ok(), optional, "{}", what());
            for case in 0..60 * rounds() {
                let bytes = damaged(&mut rng, &fs::read(file).unwrap(), 0);
                fs::write(target.join(file.file_name().unwrap()), bytes).unwrap();
                let _ = load(&|| format!("{name}, {}, case {case}", file.display()));
            }
        }
    }
    fs::remove_dir_all(&target).unwrap();
}
