//! `docs/formats.md` says what the code does.
#![cfg(any(feature = "keras", feature = "torch", feature = "native"))]
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

/// What stands in the document between the marks of `format`.
fn section(format: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/formats.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once(&format!("<!-- {format}: begin -->\n")).unwrap();
    rest.split_once(&format!("<!-- {format}: end -->")).unwrap().0.to_owned()
}

fn check(format: &str, table: &str) {
    assert!(section(format) == table, "put this between the marks of docs/formats.md:\n{table}");
}

#[test]
#[cfg(feature = "keras")]
fn keras() {
    check("keras", &wgpu_rnn::formats::keras_table());
}

#[test]
#[cfg(feature = "torch")]
fn torch() {
    check("torch", &wgpu_rnn::formats::torch_table());
}

#[test]
#[cfg(feature = "native")]
fn native() {
    check("native", &wgpu_rnn::formats::native_table());
}
