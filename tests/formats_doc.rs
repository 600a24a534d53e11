//! `docs/formats.md` says what the code does.
#![cfg(feature = "keras")]
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

/// What stands in the document between the marks of `format`.
fn section(format: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/formats.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once(&format!("<!-- {format}: begin -->\n")).unwrap();
    rest.split_once(&format!("<!-- {format}: end -->")).unwrap().0.to_owned()
}

#[test]
fn keras() {
    let table = wgpu_rnn::formats::keras_table();
    assert!(section("keras") == table, "put this between the marks of docs/formats.md:\n{table}");
}
