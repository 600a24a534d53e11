//! ONNX files as tests read them.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)] // each binary uses a part of it

use std::path::{Path, PathBuf};

use super::npz;
use serde_json::Value;
use wgpu_rnn::Tensor;

/// The folder of the golden files.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/onnx")
}

pub fn path(case: &str) -> PathBuf {
    folder().join(format!("{case}.onnx"))
}

/// The cases of `cases.json` whose name starts with `prefix`.
pub fn cases(prefix: &str) -> Vec<Value> {
    let list: Value = serde_json::from_slice(&std::fs::read(folder().join("cases.json")).unwrap()).unwrap();
    let all = list["cases"].as_array().unwrap().iter();
    all.filter(|case| case["name"].as_str().unwrap().starts_with(prefix)).cloned().collect()
}

/// An array of a case's `.npz` file.
pub fn tensor(case: &str, member: &str) -> Tensor {
    npz::tensor(folder().join(format!("{case}.npz")), member)
}
