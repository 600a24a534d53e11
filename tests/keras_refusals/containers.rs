//! Containers, versions and what depends on them.

use std::{fs, path::PathBuf};

use serde_json::json;
use wgpu_rnn::{Model, formats::LoadOptions};

use super::{File, check, keras_files::folder, layer, sequential};

fn golden(name: &str) -> PathBuf {
    folder().join("../keras_files").join(name)
}

fn message(path: &PathBuf, options: &LoadOptions) -> String {
    let error = Model::load_with(path, options).map(drop).unwrap_err().to_string();
    error.replace(&path.display().to_string(), "<path>")
}

/// A folder of its own for a test.
fn temporary(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("keras_{name}_{}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn weights_alone() {
    let target = temporary("weights");
    let weights = target.join("alone.weights.h5");
    fs::copy(golden("as_pair/x.weights.h5"), &weights).unwrap();
    let advice =
        "write config.json beside it with model.to_json(), or save the whole model with model.save('model.keras')";
    let refused = format!(
        "<path>: the file: an HDF5 file of weights without the model's configuration is not supported; {advice}"
    );
    assert_eq!(message(&weights, &LoadOptions::default()), refused);
    // The configuration by its path, by its text, and beside it.
    let mut options = LoadOptions::default();
    options.config = Some(golden("as_pair/config.json"));
    let summary = Model::load_with(&weights, &options).unwrap().summary();
    options.config = None;
    options.config_text = Some(fs::read_to_string(golden("as_pair/config.json")).unwrap());
    assert_eq!(Model::load_with(&weights, &options).unwrap().summary(), summary);
    fs::copy(golden("as_pair/config.json"), target.join("config.json")).unwrap();
    for path in [weights.clone(), target.clone(), target.join("config.json")] {
        assert_eq!(Model::load(path).unwrap().summary(), summary);
    }
    let whole = golden("tf_lstm.h5");
    let expected = "<path>: the configuration: expected that of the file, which holds a whole model, found one that was given beside it";
    assert_eq!(message(&whole, &options), expected);
    fs::copy(golden("as_pair/x.weights.h5"), target.join("other.weights.h5")).unwrap();
    let expected = "<path>: the directory: expected one file of weights; load the one that is meant, found 'alone.weights.h5', 'other.weights.h5'";
    assert_eq!(message(&target, &LoadOptions::default()), expected);
    fs::remove_dir_all(&target).unwrap();
}

#[test]
fn shards() {
    let target = temporary("shards");
    let copied = |change: &dyn Fn(String) -> String| {
        for file in fs::read_dir(golden("as_sharded")).unwrap() {
            let path = file.unwrap().path();
            fs::copy(&path, target.join(path.file_name().unwrap())).unwrap();
        }
        let map = target.join("x.weights.json");
        let text = fs::read_to_string(&map).unwrap();
        fs::write(&map, change(text)).unwrap();
        message(&map, &LoadOptions::default())
    };
    let found = copied(&|text| text.replace("x_00001.weights.h5", "../x_00001.weights.h5"));
    assert_eq!(found, "<path>: x.weights.json: expected names of files beside it, found '../x_00001.weights.h5'");
    let found = copied(&|text| text.replace("x_00001.weights.h5", "x_00009.weights.h5"));
    assert_eq!(found, "<path>: the directory: expected a file x_00009.weights.h5, found none");
    let found = copied(&|text| text.replace("/layers/dense/vars", "/layers/tense/vars"));
    assert!(found.contains("x.weights.json: expected 'layers/dense/vars/"), "{found}");
    let found = copied(&|text| text.replace("weight_map", "weight_mop"));
    assert!(found.contains("expected the configuration of a model, or the map of its weights"), "{found}");
    fs::remove_dir_all(&target).unwrap();
}

/// A configuration without its version: refused only where something depends on it.
#[test]
fn unknown_versions() {
    let target = temporary("versions");
    let unzipped = |name: &str| {
        let file = File::golden(name);
        fs::write(target.join("config.json"), file.config.to_string()).unwrap();
        fs::write(target.join("model.weights.h5"), &file.weights).unwrap();
    };
    unzipped("lstm_stack3");
    Model::load(&target).unwrap();
    unzipped("lstm_masks");
    let expected = "<path>: layer 'first' (LSTM): a masked recurrent layer in a file that does not say which version of Keras wrote it is not supported; give the version with LoadOptions::keras_version, such as (3, 15)";
    assert_eq!(message(&target, &LoadOptions::default()), expected);
    let version = |version| {
        let mut options = LoadOptions::default();
        options.keras_version = Some(version);
        options
    };
    Model::load_with(&target, &version((3, 15))).unwrap();
    fs::write(target.join("metadata.json"), "{\"keras_version\": \"3.15.1\"}").unwrap();
    Model::load(&target).unwrap();
    let expected = "<path>: the version of Keras: expected 3.15, as stated, found 3.16, which was given";
    assert_eq!(message(&target, &version((3, 16))), expected);
    fs::remove_dir_all(&target).unwrap();
}

/// Files of Keras 2 on its own: made by hand from one of tf_keras, whose version is changed to one before
/// Keras was part of TensorFlow. What the schema tells is read; masks, whose rule was another, are refused.
#[test]
fn standalone_versions() {
    let patched = |name: &str| {
        let mut bytes = fs::read(golden(name)).unwrap();
        let places: Vec<usize> =
            bytes.windows(6).enumerate().filter(|(_, window)| *window == b"2.21.0").map(|(at, _)| at).collect();
        assert!(!places.is_empty());
        places.into_iter().for_each(|at| bytes[at..at + 6].copy_from_slice(b"2.2.4 "));
        Model::from_bytes(&bytes).map(drop).map_err(|error| error.to_string())
    };
    patched("tf_lstm_options.h5").unwrap();
    let expected = "<bytes>: layer 'first' (LSTM): masks in a recurrent layer of Keras before 2.4 is not supported; load it with Keras 3 and save it with model.save('model.keras')";
    assert_eq!(patched("tf_lstm_masks.h5").unwrap_err(), expected);
}

#[test]
fn layers() {
    let inner = |class: &str, config| json!({"module": "keras.layers", "class_name": class, "config": config});
    let cell = json!({"units": 2, "name": "c"});
    check(vec![
        (
            layer("RNN", json!({"name": "r", "cell": inner("MyCell", cell.clone())})),
            "layer 'r' (RNN): layer 'c' (MyCell): an RNN around it is not supported; use SimpleRNNCell, LSTMCell or GRUCell",
        ),
        (
            layer("RNN", json!({"name": "r", "cell": inner("StackedRNNCells", json!({"name": "s", "cells": []}))})),
            "layer 'r' (RNN): layer 's' (StackedRNNCells): expected at least one cell, found none",
        ),
        (
            layer("MaxPooling1D", json!({"name": "p", "padding": "causal"})),
            "layer 'p' (MaxPooling1D): padding = 'causal' is not supported; use valid, same or, in a convolution, causal",
        ),
        (
            layer("MaxPooling1D", json!({"name": "p", "data_format": "channels_first"})),
            "layer 'p' (MaxPooling1D): data_format = 'channels_first' is not supported; use data_format='channels_last'",
        ),
        (
            layer("ZeroPadding1D", json!({"name": "p", "padding": [1, 2, 3]})),
            "layer 'p' (ZeroPadding1D): padding: expected one or two whole numbers of at least 0, found [1, 2, 3]",
        ),
        (
            layer("Cropping1D", json!({"name": "c", "cropping": -1})),
            "layer 'c' (Cropping1D): cropping: expected one or two whole numbers of at least 0, found -1",
        ),
        (
            layer("UpSampling1D", json!({"name": "u", "size": 0})),
            "layer 'u' (UpSampling1D): size: expected one whole number of at least 1, found 0",
        ),
        (
            layer("Permute", json!({"name": "p", "dims": [-1, 1]})),
            "layer 'p' (Permute): dims: expected the axes from 1 on, each once, found [-1, 1]",
        ),
        (
            layer("UnitNormalization", json!({"name": "u", "axis": [1, 2]})),
            "layer 'u' (UnitNormalization): normalisation of several axes is not supported; use one axis",
        ),
        (
            layer("Attention", json!({"name": "a", "score_mode": "cosine"})),
            "layer 'a' (Attention): score_mode = 'cosine' is not supported; use dot or concat",
        ),
        (layer("Attention", json!({"name": "a"})), "layer 'a' (Attention): expected two or three inputs, found 1"),
        (
            layer("Rescaling", json!({"name": "r", "scale": [1, 2]})),
            "layer 'r' (Rescaling): scale: expected a number, found [1, 2]",
        ),
        (
            layer("Dot", json!({"name": "d", "axes": [1, 2, 3]})),
            "layer 'd' (Dot): axes: expected one or two whole numbers, found [1, 2, 3]",
        ),
        (
            layer("MultiHeadAttention", json!({"name": "m"})),
            "layer 'm' (MultiHeadAttention): the layer MultiHeadAttention is not supported; use Attention, or export the model to ONNX",
        ),
        (
            sequential().with("/config/layers/0/config/dtype", json!([1])),
            "layer 'input_layer' (InputLayer): dtype: expected the name of a type, found [1]",
        ),
    ]);
}

/// The outputs that TensorFlow zeroes at the wrong timesteps.
#[test]
fn unrolled_backwards() {
    let file =
        File::golden("lstm_masks_bidirectional").with("/config/layers/3/config/layer/config/unroll", json!(true));
    let found = file.message();
    let expected = "a masked layer that is unrolled, runs backwards and gives zeros at masked timesteps, is not supported; save it with unroll=False, which Keras masks in the right order";
    assert!(found.contains(expected), "{found}");
}
