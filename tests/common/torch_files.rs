//! The state dicts of `tests/goldens/torch`, and what PyTorch computed with them.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)] // each binary uses a part of it

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::npz;
use serde_json::Value;
use wgpu_rnn::{Error, Inputs, Model, Tensor, formats::LoadOptions};

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/torch")
}

/// A case of `cases.json`.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    pub file: String,
    /// The text of its configuration; none where it has none.
    pub config: Option<String>,
    pub calls: Vec<Call>,
}

#[derive(Clone, Debug)]
pub struct Call {
    pub index: usize,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub lengths: Option<Vec<usize>>,
}

pub fn cases() -> Vec<Case> {
    let list: Value = serde_json::from_slice(&fs::read(folder().join("cases.json")).unwrap()).unwrap();
    list["cases"].as_array().unwrap().iter().map(case).collect()
}

pub fn golden(name: &str) -> Case {
    cases().into_iter().find(|case| case.name == name).unwrap_or_else(|| panic!("no case {name}"))
}

fn case(value: &Value) -> Case {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let texts = |value: &Value| value.as_array().unwrap().iter().map(text).collect();
    let call = |(index, call): (usize, &Value)| Call {
        index,
        inputs: texts(&call["inputs"]),
        outputs: texts(&call["outputs"]),
        lengths: call["lengths"].as_array().map(|all| all.iter().map(|n| n.as_u64().unwrap() as usize).collect()),
    };
    Case {
        name: text(&value["name"]),
        file: text(&value["file"]),
        config: Some(&value["config"]).filter(|config| !config.is_null()).map(Value::to_string),
        calls: value["calls"].as_array().unwrap().iter().enumerate().map(call).collect(),
    }
}

pub fn options(config: Option<&str>) -> LoadOptions {
    let mut options = LoadOptions::default();
    options.config_text = config.map(str::to_owned);
    options
}

impl Case {
    pub fn path(&self) -> PathBuf {
        folder().join(format!("{}.safetensors", self.file))
    }

    pub fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }

    pub fn load(&self) -> Result<Model, Error> {
        Model::load_with(self.path(), &options(self.config.as_deref()))
    }

    pub fn tensor(&self, call: &Call, side: &str, name: &str) -> Tensor {
        let member = format!("{}.{}.{side}.{name}", self.name, call.index);
        npz::tensor(folder().join(format!("{}.npz", self.file)), &member)
    }

    pub fn inputs(&self, call: &Call) -> Inputs {
        call.inputs.iter().map(|name| (name.clone(), self.tensor(call, "in", name))).collect()
    }
}
