//! From a file to a model.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use safetensors::Dtype;
use serde_json::Value as Json;

use super::{Document, KEY, TYPES, answer_name, scale_name, scale_shape, weight_name};
use crate::{
    error::{Error, Result, listed, quoted},
    formats::{
        json::Counted,
        limits::{Limits, within},
        safetensors::{Archive, Entry},
    },
    model::{KnownAnswer, Model},
    tensor::{Data, Tensor},
};

pub(in crate::formats) fn read(archive: &Archive<'_>, limits: &Limits) -> Result<Model> {
    let text = archive.metadata().get(KEY).ok_or_else(|| Error::internal("a file without its structure"))?;
    if let Some(other) = archive.metadata().keys().find(|key| *key != KEY) {
        return Err(malformed(format!("the key {KEY} only"), format!("also {}", quoted(other))));
    }
    let mut document = parse(text, limits)?;
    let mut shared = document.shared;
    let format = document.format;
    let mut reader = Reader { archive, format, taken: BTreeSet::new(), tensors: BTreeMap::new() };
    for layer in &mut document.model.layers {
        let names: Vec<String> = layer.kind.weights().iter().map(|(role, ..)| weight_name(&layer.name, role)).collect();
        for (slot, name) in layer.kind.weights_mut().into_iter().zip(names) {
            let stored = shared.remove(&name).unwrap_or(name);
            *slot = reader.weight(&stored, slot)?;
        }
    }
    if let Some(name) = shared.keys().next() {
        return Err(malformed("weights of the model in \"shared\"", quoted(name)));
    }
    let mut answers = Vec::new();
    for (index, answer) in document.known_answers.iter().enumerate() {
        let inputs = reader.answer(index, "inputs", &answer.inputs)?;
        let outputs = reader.answer(index, "outputs", &answer.outputs)?;
        answers.push(KnownAnswer { inputs, outputs });
    }
    reader.finish()?;
    document.model.build()?.with_known_answers(answers)
}

fn malformed(expected: impl Into<String>, found: impl Into<String>) -> Error {
    let (at, expected, found) = ("the metadata".to_owned(), expected.into(), found.into());
    Error::Malformed { file: String::new(), at, expected, found }
}

/// The structure. It is read without a tree of values in between, which could be many times its size.
fn parse(text: &str, limits: &Limits) -> Result<Document> {
    within(|| format!("the key {KEY}"), text.len() as u64, limits.json_bytes, "json_bytes")?;
    let counted = Counted::of(text.as_bytes());
    within(|| "the model's structure".to_owned(), (counted.objects / 4) as u64, limits.calls, "calls")?;
    let values = (counted.texts + counted.commas) as u64;
    within(|| "the model's structure".to_owned(), values, limits.json_values, "json_values")?;
    let document: Document = serde_json::from_str(text).map_err(|cause| match format_of(text) {
        Some(format) if !format.as_u64().is_some_and(is_known) => unknown(&quoted(&format.to_string())),
        _ => malformed("the structure of a model", quoted(&cause.to_string())),
    })?;
    if !is_known(document.format) {
        return Err(unknown(&document.format.to_string()));
    }
    let (layers, calls) = document.model.counts();
    within(|| "the model".to_owned(), layers as u64, limits.layers.max(limits.calls), "layers")?;
    within(|| "the model".to_owned(), calls as u64, limits.calls, "calls")?;
    Ok(document)
}

fn is_known(format: u64) -> bool {
    TYPES.iter().any(|(_, since)| *since == format)
}

fn unknown(format: &str) -> Error {
    let latest = TYPES.iter().map(|(_, since)| *since).max().unwrap_or_default();
    let instead = format!("this version reads the formats 1 to {latest}");
    Error::unsupported("the file", format!("format {format} of this crate's files"), instead)
}

/// The version that a structure states which this one cannot read.
fn format_of(text: &str) -> Option<Json> {
    #[derive(serde::Deserialize)]
    struct Version {
        format: serde_json::Number,
    }
    serde_json::from_str::<Version>(text).ok().map(|version| Json::Number(version.format))
}

struct Reader<'a> {
    archive: &'a Archive<'a>,
    /// The file's, which says of which types weights may be.
    format: u64,
    taken: BTreeSet<String>,
    /// Those read so far, so that what is shared is one tensor.
    tensors: BTreeMap<String, Arc<Tensor>>,
}

impl Reader<'_> {
    /// A weight in the place of `placeholder`, which holds its shape.
    fn weight(&mut self, name: &str, placeholder: &Tensor) -> Result<Arc<Tensor>> {
        let subject = || format!("weight {}", quoted(name));
        let Some(entry) = self.archive.entries().get(name) else {
            return Err(Error::mismatch(subject(), "a tensor of that name", "none"));
        };
        let stated = match placeholder.data() {
            Data::I64(sizes) => sizes.as_slice(),
            _ => return Err(Error::internal("a weight that was read before its tensor")),
        };
        if !entry.shape.iter().map(|&size| i64::try_from(size).ok()).eq(stated.iter().copied().map(Some)) {
            return Err(Error::mismatch(subject(), format!("shape {stated:?}"), format!("{:?}", entry.shape)));
        }
        let dtype = entry.dtype;
        let allowed = || TYPES.iter().filter(|(_, since)| *since <= self.format).map(|(dtype, _)| dtype);
        if !allowed().any(|allowed| *allowed == dtype) {
            let expected = allowed().map(|dtype| format!("{dtype:?}")).collect::<Vec<_>>().join(" or ");
            return Err(Error::mismatch(subject(), format!("values of type {expected}"), format!("{dtype:?}")));
        }
        if let Some(known) = self.tensors.get(name) {
            return Ok(Arc::clone(known));
        }
        let tensor = Arc::new(if dtype == Dtype::I8 { self.scaled(name)? } else { self.tensor(name)? });
        self.tensors.insert(name.to_owned(), Arc::clone(&tensor));
        Ok(tensor)
    }

    /// Integers, each times the scale of its row.
    fn scaled(&mut self, name: &str) -> Result<Tensor> {
        let shape = self.entry(name)?.shape.clone();
        let scales = scale_name(name);
        let entry = self.entry(&scales)?;
        if entry.dtype != Dtype::F32 || entry.shape != scale_shape(&shape) {
            let expected = format!("values of type F32, shape {:?}", scale_shape(&shape));
            let found = format!("{:?}, {:?}", entry.dtype, entry.shape);
            return Err(Error::mismatch(format!("tensor {}", quoted(&scales)), expected, found));
        }
        let scales = self.tensor(&scales)?;
        self.taken.insert(name.to_owned());
        let mut values = self.archive.integers(name)?;
        let rows = values.chunks_mut(shape.last().copied().unwrap_or(1).max(1));
        for (row, scale) in rows.zip(scales.to_f32().iter()) {
            row.iter_mut().for_each(|value| *value *= scale);
        }
        Tensor::new(shape, values)
    }

    fn entry(&self, name: &str) -> Result<&Entry> {
        let missing = || Error::mismatch(format!("tensor {}", quoted(name)), "a tensor of that name", "none");
        self.archive.entries().get(name).ok_or_else(missing)
    }

    fn tensor(&mut self, name: &str) -> Result<Tensor> {
        let shape = self.entry(name)?.shape.clone();
        self.taken.insert(name.to_owned());
        Tensor::new(shape, self.archive.values(name)?)
    }

    /// The tensors of one side of a known answer.
    fn answer(&mut self, answer: usize, side: &str, names: &[String]) -> Result<Vec<(String, Tensor)>> {
        let one = |(index, name): (usize, &String)| Ok((name.clone(), self.tensor(&answer_name(answer, side, index))?));
        names.iter().enumerate().map(one).collect()
    }

    /// Refuses tensors that are neither weights nor known answers.
    fn finish(&self) -> Result<()> {
        let mut left = self.archive.entries().keys().filter(|name| !self.taken.contains(*name)).peekable();
        if left.peek().is_none() {
            return Ok(());
        }
        Err(Error::mismatch("the file", "the weights of the model's layers", format!("also {}", listed(left))))
    }
}
