//! How `.keras` files that are not understood are refused: every message in full.
#![cfg(feature = "keras")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod containers;
mod files;
mod graphs;
#[path = "../common/keras_files.rs"]
mod keras_files;
mod layers;
#[path = "../common/npz.rs"]
mod npz;

use keras_files::File;
use serde_json::{Value, json};

/// Sequential: an input of (5, 3), a SimpleRNN of 4 units, a Dense of 1.
fn sequential() -> File {
    File::golden("compiled_only")
}

/// Inputs `a` and `b`, an LSTM and a Dense called on both, a Subtract of both.
fn graph() -> File {
    File::golden("shared_layer")
}

const RNN: &str = "/config/layers/1/config";
const DENSE: &str = "/config/layers/2/config";

fn check(cases: Vec<(File, &str)>) {
    let mut wrong = 0;
    for (file, expected) in cases {
        let found = file.message();
        let found = found.strip_prefix("<bytes>: ").unwrap_or(&found);
        if found != expected {
            println!("expected {expected}\n   found {found}");
            wrong += 1;
        }
    }
    assert_eq!(wrong, 0);
}

fn at(parent: &str, key: &str) -> String {
    format!("{parent}/{key}")
}

/// The sequential model with another option of a layer.
fn option(layer: &str, key: &str, value: Value) -> File {
    sequential().with(&at(layer, key), value)
}

/// The sequential model with another class in place of the Dense.
fn class(module: &str, class: &str, registered: Value) -> File {
    let layer = "/config/layers/2";
    sequential()
        .with(&at(layer, "module"), json!(module))
        .with(&at(layer, "class_name"), json!(class))
        .with(&at(layer, "registered_name"), registered)
}

/// A layer without weights in place of the Dense.
fn layer(class_name: &str, config: Value) -> File {
    let layer = json!({"module": "keras.layers", "class_name": class_name, "config": config, "registered_name": null});
    sequential().with("/config/layers/2", layer)
}
