//! Loading of `.keras` files: what golden files give, and how files that are not understood are refused.
#![cfg(feature = "keras")]
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "common/keras_files.rs"]
mod keras_files;
#[path = "common/npz.rs"]
mod npz;

use std::fs;

use keras_files::{File, archive, cases, folder, path, refusal, tensor, texts};
use serde_json::{Value, json};
use wgpu_rnn::{
    Data, ErrorKind, Model,
    formats::{KerasBackend, Limits, LoadOptions},
    model::LayerKind,
};
use zip::CompressionMethod;

fn options(case: &Value) -> LoadOptions {
    let mut options = LoadOptions::default();
    if case["backend"] == "jax" {
        options.keras_backend = KerasBackend::Jax;
    }
    options.file_name = Some("file".to_owned());
    options
}

#[test]
fn golden_files_have_the_names_and_shapes_of_keras() {
    for case in cases() {
        let name = case["name"].as_str().unwrap();
        let model = Model::load_with(path(name), &options(&case)).unwrap();
        let (inputs, outputs) = (model.inputs(), model.outputs());
        let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
        assert_eq!(names, texts(&case["inputs"]), "{name}");
        let names: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
        assert_eq!(names, texts(&case["outputs"]), "{name}");
        let fits = |shape: &[Option<usize>], found: &[usize]| {
            shape.len() == found.len()
                && shape.iter().zip(found).all(|(dim, found)| dim.is_none_or(|dim| dim == *found))
        };
        for input in inputs {
            let found = tensor(name, &format!("call0.in.{}", input.name));
            assert!(fits(&input.shape, found.shape()), "{name}: {input:?}");
        }
        for (index, output) in outputs.iter().enumerate() {
            let found = tensor(name, &format!("call0.out.{index}"));
            assert!(fits(&output.shape, found.shape()), "{name}: {output:?}");
        }
    }
}

/// An input of 2 and a Dense of 3 units, with the weights of a file of `tests/fixtures/hdf5`.
fn dense(name: &str) -> Vec<u8> {
    let mut file = File::golden("compiled_only").without("/config/layers/1");
    file = file.with("/config/layers/0/config/batch_shape", json!([null, 2]));
    file = file.with("/config/layers/1/config/units", json!(3));
    file.weights = fs::read(folder().join(format!("../../fixtures/hdf5/{name}.h5"))).unwrap();
    file.bytes()
}

/// The kernel and the bias of the files of `tests/fixtures/hdf5`, as `[out, in]` and `[out]`.
#[test]
fn weights_are_read_in_every_way_of_storing_them() {
    for name in ["float16", "bfloat16", "float64", "big_endian", "latest", "filtered"] {
        let model = Model::from_bytes(&dense(name)).unwrap();
        let weights = model.layers()[1].kind.weights();
        let values: Vec<&Data> = weights.iter().map(|(_, tensor, _)| tensor.data()).collect();
        let kernel = Data::from(vec![0.5f32, 0.25, -1.0, 4.0, 2.0, -0.125]);
        assert_eq!(values, [&kernel, &Data::from(vec![1.0f32, -2.0, 0.5])], "{name}");
    }
}

#[test]
fn members_may_be_compressed() {
    let file = File::golden("fitted");
    let stored = Model::from_bytes(&file.bytes()).unwrap();
    let compressed = archive(&file.members(), CompressionMethod::Deflated);
    assert!(compressed.len() < file.bytes().len());
    let compressed = Model::from_bytes(&compressed).unwrap();
    assert_eq!(stored.summary(), compressed.summary());
}

#[test]
fn newer_versions_do_not_hand_masks_on() {
    let mut file = File::golden("lstm_masks");
    let passes = |file: &File| {
        let model = Model::from_bytes(&file.bytes()).unwrap();
        model.layers().iter().any(|layer| matches!(&layer.kind, LayerKind::Recurrent(r) if r.passes_mask))
    };
    assert!(passes(&file));
    file.metadata = json!({"keras_version": "3.16.0"});
    assert!(!passes(&file));
}

#[test]
fn files_are_named_as_they_were_given() {
    let error = Model::load("/nowhere/model.keras").unwrap_err();
    assert_eq!(error.to_string(), "/nowhere/model.keras: No such file or directory (os error 2)");
    let mut options = LoadOptions::default();
    options.file_name = Some("upload".to_owned());
    let error = Model::from_bytes_with(b"hello", &options).unwrap_err().to_string();
    assert!(error.starts_with("upload: the file: "), "{error}");
    let empty = std::env::temp_dir().join(format!("keras_import_{}", std::process::id()));
    fs::create_dir_all(&empty).unwrap();
    let error = Model::load(&empty).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("{}: the directory: expected a file config.json or model.json, found none", empty.display())
    );
    for name in ["config.json", "metadata.json"] {
        fs::write(empty.join(name), "{}").unwrap();
    }
    let error = Model::load(&empty).unwrap_err().to_string();
    let expected = "weights: model.weights.h5, model.weights.npz, or another .weights.h5 or .weights.json";
    assert_eq!(error, format!("{}: the directory: expected {expected}, found none", empty.display()));
    fs::create_dir(empty.join("model.weights.h5")).unwrap();
    let error = Model::load(&empty).unwrap_err().to_string();
    let expected = "model.weights.h5: expected a regular file, found a link, a directory or a device";
    assert_eq!(error, format!("{}: {expected}", empty.display()));
    fs::remove_dir_all(&empty).unwrap();
}

/// Each limit at the least that a file needs, and one below.
#[test]
fn limits_hold() {
    type Field = fn(&mut Limits) -> &mut usize;
    let fields: [(&str, Field); 12] = [
        ("archive_entries", |l| &mut l.archive_entries),
        ("archive_directory_bytes", |l| &mut l.archive_directory_bytes),
        ("total_bytes", |l| &mut l.total_bytes),
        ("json_bytes", |l| &mut l.json_bytes),
        ("json_depth", |l| &mut l.json_depth),
        ("json_values", |l| &mut l.json_values),
        ("layers", |l| &mut l.layers),
        ("calls", |l| &mut l.calls),
        ("units", |l| &mut l.units),
        ("hdf5_objects", |l| &mut l.hdf5_objects),
        ("hdf5_members", |l| &mut l.hdf5_members),
        ("hdf5_depth", |l| &mut l.hdf5_depth),
    ];
    let bytes = File::golden("shared_layer").bytes();
    for (name, field) in fields {
        let mut options = LoadOptions::default();
        let (mut low, mut high) = (0, *field(&mut options.limits));
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            *field(&mut options.limits) = middle;
            if Model::from_bytes_with(&bytes, &options).is_ok() {
                high = middle;
            } else {
                low = middle;
            }
        }
        *field(&mut options.limits) = low;
        let found = refusal(&bytes, &options);
        assert_eq!(found.kind(), ErrorKind::Limit);
        let expected = format!("the limit is {low} ({name}); raise Limits::{name} if the file is to be trusted");
        assert!(found.to_string().ends_with(&expected), "{name}: {found}");
    }
    let mut options = LoadOptions::default();
    options.limits.rank = 2;
    let found = refusal(&bytes, &options).to_string();
    let expected = "layer 'a' (InputLayer): batch_shape needs 3, the limit is 2 (rank); raise Limits::rank if the file is to be trusted";
    assert_eq!(found, format!("<bytes>: {expected}"));
    options = LoadOptions::default();
    options.limits.hdf5_chunk_bytes = 7;
    let found = refusal(&dense("filtered"), &options).to_string();
    let expected = "resource limit: decoded chunk of 8 bytes exceeds the 7 byte chunk limit";
    assert_eq!(
        found,
        format!("<bytes>: model.weights.h5 'layers/dense/vars/0': expected an HDF5 object, found {expected}")
    );
}
