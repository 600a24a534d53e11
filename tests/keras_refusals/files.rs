//! Archives, their members, and weights.

use std::fs;

use serde_json::json;
use zip::CompressionMethod;

use super::{
    DENSE, RNN, at, check,
    keras_files::{archive, folder, message},
    option, sequential,
};

#[test]
fn weights() {
    let hdf5 = |name: &str| {
        let mut file = sequential()
            .without("/config/layers/1")
            .with("/config/layers/0/config/batch_shape", json!([null, 2]))
            .with("/config/layers/1/config/units", json!(3));
        file.weights = fs::read(folder().join(format!("../../fixtures/hdf5/{name}.h5"))).unwrap();
        file
    };
    let without_bias = |layer: &str| option(layer, "use_bias", json!(false));
    let truncated = |part: usize| {
        let mut file = sequential();
        let length = file.weights.len();
        file.weights.truncate(length * part / 100);
        file
    };
    check(vec![
        (
            option(RNN, "units", json!(5)),
            "layer 'simple_rnn' (SimpleRNN): kernel (model.weights.h5 'layers/simple_rnn/cell/vars/0'): expected shape [any, 5], found [3, 4]",
        ),
        (
            option(DENSE, "units", json!(2)),
            "layer 'dense' (Dense): kernel (model.weights.h5 'layers/dense/vars/0'): expected shape [any, 2], found [4, 1]",
        ),
        (
            without_bias(RNN),
            "model.weights.h5: expected the weights of the layers of the configuration only, found also 'layers/simple_rnn/cell/vars/2'",
        ),
        (
            without_bias(DENSE),
            "model.weights.h5: expected the weights of the layers of the configuration only, found also 'layers/dense/vars/1'",
        ),
        (
            sequential().with("/config/layers/1/class_name", json!("GRU")),
            "layer 'simple_rnn' (GRU): kernel (model.weights.h5 'layers/gru/cell/vars/0'): expected shape [any, 12], found no such dataset",
        ),
        (
            sequential()
                .with("/config/layers/2/config/name", json!("renamed"))
                .with("/config/layers/2/class_name", json!("Embedding"))
                .with(&at(DENSE, "input_dim"), json!(4))
                .with(&at(DENSE, "output_dim"), json!(1)),
            "layer 'renamed' (Embedding): embeddings (model.weights.h5 'layers/embedding/vars/0'): expected shape [4, 1], found no such dataset",
        ),
        (
            sequential().without("/config/layers/2"),
            "model.weights.h5: expected the weights of the layers of the configuration only, found also 'layers/dense/vars/0', 'layers/dense/vars/1'",
        ),
        (truncated(0), "model.weights.h5: expected an HDF5 file, found invalid HDF5 magic bytes"),
        (
            truncated(5),
            "model.weights.h5 '/': expected an HDF5 object, found unexpected end of data at offset 1504 (need 24 bytes, have 0)",
        ),
        (
            truncated(50),
            "model.weights.h5 '/': expected an HDF5 object, found child 'optimizer' at 0x397c: unexpected end of data at offset 14716 (need 4 bytes, have 0)",
        ),
        (
            hdf5("int8"),
            "model.weights.h5 'layers/dense/vars/0': the type int8 is not supported; save the model with dtype float32, not quantized",
        ),
        (
            hdf5("string"),
            "model.weights.h5 'layers/dense/vars/0': the type string is not supported; save the model with dtype float32, not quantized",
        ),
        (
            hdf5("opaque"),
            "model.weights.h5 'layers/dense/vars/0': the type opaque of 2 bytes is not supported; save the model with dtype float32, not quantized",
        ),
        (
            hdf5("too_large_float64"),
            "layer 'dense' (Dense): kernel (model.weights.h5 'layers/dense/vars/0')[0, 0]: value inf is not finite",
        ),
        (
            hdf5("unwritten"),
            "model.weights.h5 'layers/dense/vars/0': expected at most 4780 B, found a declared size of 17179869184 B (16384 MiB)",
        ),
        (
            hdf5("unwritten_chunks"),
            "model.weights.h5 'layers/dense/vars/0': expected the 24 B that it declares, found 12 B",
        ),
        (
            hdf5("chunked_without_chunks"),
            "model.weights.h5 'layers/dense/vars/0': expected the 1200 B that it declares, found 0 B",
        ),
        (
            hdf5("rank_9"),
            "model.weights.h5 'layers/dense/vars/0' needs 9, the limit is 8 (rank); raise Limits::rank if the file is to be trusted",
        ),
        (
            hdf5("soft_link"),
            "model.weights.h5 'layers/dense/vars/0': expected an object of its own, found a link to another one",
        ),
        (
            hdf5("hard_link"),
            "model.weights.h5 'layers/dense/vars/0': expected an object of its own, found a link to another one",
        ),
        (
            hdf5("cycle"),
            "model.weights.h5 'layers/dense/vars/again': expected an object of its own, found a link to another one",
        ),
        (
            hdf5("external_link"),
            "layer 'dense' (Dense): kernel (model.weights.h5 'layers/dense/vars/0'): expected shape [any, 3], found no such dataset",
        ),
        (
            hdf5("external_data"),
            "model.weights.h5 'layers/dense/vars/0': expected an HDF5 object, found 0: external raw data file 'float64.h5' could not be resolved",
        ),
        (
            hdf5("virtual"),
            "model.weights.h5 'layers/dense/vars': expected an HDF5 object, found child '0' at 0xf38: unsupported layout class 3",
        ),
        (
            hdf5("deep"),
            "the nesting of model.weights.h5 needs more than 32 levels, the limit is 32 (hdf5_depth); raise Limits::hdf5_depth if the file is to be trusted",
        ),
    ]);
}

#[test]
fn archives() {
    let members = || sequential().members().to_vec();
    let zip = |members: Vec<(&str, Vec<u8>)>| archive(&members, CompressionMethod::Stored);
    let without = |name: &str| zip(members().into_iter().filter(|(other, _)| *other != name).collect());
    let with = |name: &'static str, data: Vec<u8>| {
        let mut all = members();
        all.push((name, data));
        zip(all)
    };
    let metadata = |text: &str| {
        let mut all = members();
        all[0].1 = text.as_bytes().to_vec();
        zip(all)
    };
    let config = |text: String| {
        let mut all = members();
        all[1].1 = text.into_bytes();
        zip(all)
    };
    // A member under a name that the archive's writer would refuse.
    let renamed = |from: &'static str, to: &str| {
        assert_eq!(from.len(), to.len());
        let mut bytes = with(from, b"{}".to_vec());
        let places: Vec<usize> =
            bytes.windows(from.len()).enumerate().filter(|(_, w)| *w == from.as_bytes()).map(|(at, _)| at).collect();
        for at in places {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
        bytes
    };
    let mut other = members();
    other[2] = ("model.weights.npz", b"PK\x03\x04".to_vec());
    let cut = |part: usize| {
        let bytes = sequential().bytes();
        bytes[..bytes.len() * part / 100].to_vec()
    };
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (
            Vec::new(),
            "<bytes>: the file: expected a model: .keras or .h5 of Keras, .onnx, .safetensors, found other data",
        ),
        (
            b"hello".to_vec(),
            "<bytes>: the file: expected a model: .keras or .h5 of Keras, .onnx, .safetensors, found other data",
        ),
        (
            sequential().weights,
            "<bytes>: the file: an HDF5 file of weights without the model's configuration is not supported; write config.json beside it with model.to_json(), or save the whole model with model.save('model.keras')",
        ),
        (cut(50), "<bytes>: the file: expected a zip archive, found invalid Zip archive: Could not find EOCD"),
        (cut(99), "<bytes>: the file: expected a zip archive, found invalid Zip archive: Could not find EOCD"),
        (without("config.json"), "<bytes>: the archive: expected a member config.json, found none"),
        (without("metadata.json"), "<bytes>: the archive: expected a member metadata.json, found none"),
        (without("model.weights.h5"), "<bytes>: the archive: expected a member model.weights.h5, found none"),
        (
            zip(other),
            "<bytes>: model.weights.npz: an npz archive of Python pickles, which hold code to run, is not supported; load it in the version of Keras that wrote it and save it with model.save('model.keras')",
        ),
        (
            metadata("{\"keras_version\": \"1.2.0\"}"),
            "<bytes>: the file: the version '1.2.0' of Keras is not supported; load it with Keras 3 and save it with model.save('model.keras')",
        ),
        (
            metadata("{\"keras_version\": \"next\"}"),
            "<bytes>: metadata.json: expected a keras_version such as '3.15.1', found 'next'",
        ),
        (metadata("{}"), "<bytes>: metadata.json: expected a keras_version such as '3.15.1', found nothing"),
        (
            metadata("[1, 2"),
            "<bytes>: metadata.json: expected JSON (which has no NaN and no Infinity), found a mistake: EOF while parsing a list at line 1 column 5",
        ),
        (
            config("{\"a\": 1, \"a\": 2}".to_owned()),
            "<bytes>: config.json: expected JSON (which has no NaN and no Infinity), found a mistake: the key 'a' twice at line 1 column 12",
        ),
        (
            config(format!("{}{}", "[".repeat(100), "]".repeat(100))),
            "<bytes>: the nesting of config.json needs more than 64 levels, the limit is 64 (json_depth); raise Limits::json_depth if the file is to be trusted",
        ),
        (
            config(format!("[{}1]", "1,".repeat(1 << 19))),
            "<bytes>: the JSON of config.json needs more than 524288 values, the limit is 524288 (json_values); raise Limits::json_values if the file is to be trusted",
        ),
        (
            config("{\"a\": 1e999}".to_owned()),
            "<bytes>: config.json: expected JSON (which has no NaN and no Infinity), found a mistake: number out of range at line 1 column 11",
        ),
        (
            config("{} {}".to_owned()),
            "<bytes>: config.json: expected JSON (which has no NaN and no Infinity), found a mistake: trailing characters at line 1 column 4",
        ),
        (config("{}".to_owned()), "<bytes>: config.json: expected a text at config.json.class_name, found nothing"),
        (
            renamed("config.jsoN", "config.json"),
            "<bytes>: the archive: expected members with names of their own, found two of one name",
        ),
        (
            renamed("aa/etc/pass", "../etc/pass"),
            "<bytes>: the archive: expected members inside it, found the name '../etc/pass'",
        ),
        (
            archive(
                &[("metadata.json", b"{}".to_vec()), ("config.json", vec![b' '; 3 << 20])],
                CompressionMethod::Deflated,
            ),
            "<bytes>: the member config.json needs more than 100 times its stored 3066 B, the limit is 100 times (expansion); raise Limits::expansion if the file is to be trusted",
        ),
    ];
    let mut wrong = 0;
    for (bytes, expected) in cases {
        let found = message(&bytes);
        if found != expected {
            println!("expected {expected}\n   found {found}");
            wrong += 1;
        }
    }
    assert_eq!(wrong, 0);
}
