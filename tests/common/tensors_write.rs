//! safetensors files as tests put them together and take them apart.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)] // each binary uses a part of it

use serde_json::{Map, Value, json};

/// A file, tensors in order.
#[derive(Clone, Debug, Default)]
pub struct File {
    pub metadata: Option<Value>,
    /// Name, type, shape, bytes.
    pub tensors: Vec<(String, String, Vec<usize>, Vec<u8>)>,
}

/// A header of this text and what follows it.
pub fn raw(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

impl File {
    pub fn read(bytes: &[u8]) -> Self {
        let size = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let mut header: Map<String, Value> = serde_json::from_slice(&bytes[8..8 + size]).unwrap();
        let metadata = header.remove("__metadata__");
        let mut tensors: Vec<_> = header
            .into_iter()
            .map(|(name, info)| {
                let number = |value: &Value| value.as_u64().unwrap() as usize;
                let shape: Vec<usize> = info["shape"].as_array().unwrap().iter().map(number).collect();
                let (from, to) = (number(&info["data_offsets"][0]), number(&info["data_offsets"][1]));
                let data = bytes[8 + size + from..8 + size + to].to_vec();
                (from, (name, info["dtype"].as_str().unwrap().to_owned(), shape, data))
            })
            .collect();
        tensors.sort_by_key(|(from, _)| *from);
        Self { metadata, tensors: tensors.into_iter().map(|(_, tensor)| tensor).collect() }
    }

    pub fn header(&self) -> Value {
        let mut header = Map::new();
        if let Some(metadata) = &self.metadata {
            header.insert("__metadata__".to_owned(), metadata.clone());
        }
        let mut at = 0;
        for (name, dtype, shape, data) in &self.tensors {
            let offsets = [at, at + data.len()];
            at += data.len();
            header.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": offsets}));
        }
        Value::Object(header)
    }

    pub fn data(&self) -> Vec<u8> {
        self.tensors.iter().flat_map(|(.., data)| data.clone()).collect()
    }

    pub fn bytes(&self) -> Vec<u8> {
        raw(&self.header().to_string(), &self.data())
    }

    /// With a tensor of zeros more, or in the place of one.
    pub fn with(mut self, name: &str, dtype: &str, shape: &[usize]) -> Self {
        let width = match dtype {
            "F64" | "I64" => 8,
            "F16" | "BF16" => 2,
            "I8" => 1,
            _ => 4,
        };
        let data = vec![0; shape.iter().product::<usize>() * width];
        let tensor = (name.to_owned(), dtype.to_owned(), shape.to_vec(), data);
        match self.tensors.iter_mut().find(|(known, ..)| known == name) {
            Some(known) => *known = tensor,
            None => self.tensors.push(tensor),
        }
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        let count = self.tensors.len();
        self.tensors.retain(|(known, ..)| known != name);
        assert_eq!(self.tensors.len() + 1, count, "{name}");
        self
    }

    pub fn renamed(mut self, from: &str, to: &str) -> Self {
        self.tensors.iter_mut().filter(|(name, ..)| name == from).for_each(|tensor| tensor.0 = to.to_owned());
        self
    }
}
