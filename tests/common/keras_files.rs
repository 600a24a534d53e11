//! `.keras` files as tests take them apart and put them together.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)] // each binary uses a part of it

use std::{
    fs,
    io::{Cursor, Read, Write},
    path::{Path, PathBuf},
};

use super::npz;
use serde_json::Value;
use wgpu_rnn::{Error, Model, Tensor, formats::LoadOptions};
use zip::{CompressionMethod, ZipArchive, ZipWriter, write::SimpleFileOptions};

pub const MEMBERS: [&str; 3] = ["metadata.json", "config.json", "model.weights.h5"];

/// The folder of the golden files.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/keras")
}

/// The golden file of a case, which may be a directory.
pub fn path(case: &str) -> PathBuf {
    let file = folder().join(format!("{case}.keras"));
    if file.exists() { file } else { folder().join(case) }
}

/// `cases.json`.
pub fn cases() -> Vec<Value> {
    let list: Value = serde_json::from_slice(&fs::read(folder().join("cases.json")).unwrap()).unwrap();
    list["cases"].as_array().unwrap().clone()
}

pub fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

/// The members of a file.
#[derive(Clone)]
pub struct File {
    pub metadata: Value,
    pub config: Value,
    pub weights: Vec<u8>,
}

impl File {
    pub fn golden(case: &str) -> Self {
        let mut archive = ZipArchive::new(Cursor::new(fs::read(path(case)).unwrap())).unwrap();
        let [metadata, config, weights] = MEMBERS.map(|name| {
            let mut data = Vec::new();
            archive.by_name(name).unwrap().read_to_end(&mut data).unwrap();
            data
        });
        Self {
            metadata: serde_json::from_slice(&metadata).unwrap(),
            config: serde_json::from_slice(&config).unwrap(),
            weights,
        }
    }

    /// With the value at a JSON pointer into the configuration, which is made where it is missing.
    pub fn with(mut self, pointer: &str, value: Value) -> Self {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match self.config.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent}")) {
            Value::Object(map) => drop(map.insert(key.to_owned(), value)),
            Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
            other => panic!("{parent} is {other}"),
        }
        self
    }

    pub fn without(mut self, pointer: &str) -> Self {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match self.config.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent}")) {
            Value::Object(map) => drop(map.remove(key)),
            Value::Array(list) => drop(list.remove(key.parse().unwrap())),
            other => panic!("{parent} is {other}"),
        }
        self
    }

    /// With `to` in place of the only occurrence of the values `from` in the weights.
    pub fn with_values(mut self, from: &[f32], to: &[f32]) -> Self {
        let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        let (from, to) = (bytes(from), bytes(to));
        let mut found = self.weights.windows(from.len()).enumerate().filter(|(_, window)| *window == from);
        let (at, _) = found.next().unwrap();
        assert!(found.next().is_none());
        self.weights[at..at + to.len()].copy_from_slice(&to);
        self
    }

    pub fn members(&self) -> [(&'static str, Vec<u8>); 3] {
        let [metadata, config, weights] = MEMBERS;
        let json = |value: &Value| value.to_string().into_bytes();
        [(metadata, json(&self.metadata)), (config, json(&self.config)), (weights, self.weights.clone())]
    }

    pub fn bytes(&self) -> Vec<u8> {
        archive(&self.members(), CompressionMethod::Stored)
    }

    pub fn message(&self) -> String {
        message(&self.bytes())
    }
}

pub fn archive(members: &[(&str, Vec<u8>)], method: CompressionMethod) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, data) in members {
        writer.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        writer.write_all(data).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// The message with which a file is refused.
pub fn message(bytes: &[u8]) -> String {
    refusal(bytes, &LoadOptions::default()).to_string()
}

pub fn refusal(bytes: &[u8], options: &LoadOptions) -> Error {
    match Model::from_bytes_with(bytes, options) {
        Err(error) => error,
        Ok(model) => panic!("model {} was loaded", model.name()),
    }
}

/// An array of a case's `.npz` file.
pub fn tensor(case: &str, member: &str) -> Tensor {
    npz::tensor(folder().join(format!("{case}.npz")), member)
}
