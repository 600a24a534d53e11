//! A node as an operator's importer sees it: checked attributes, and the tensors that go in.

use std::sync::Arc;

use super::{
    proto::{Attribute, Node},
    tensor::{Const, Kind},
    track::Tracked,
    wire::Span,
};
use crate::{
    dim::Dim,
    error::{Error, Result, quoted},
    tensor::Tensor,
};

/// The most sizes that are looked at one by one.
pub(super) const SIZES: usize = 1024;

/// Numbers for messages, cut after the first few.
pub(super) fn shown<T: std::fmt::Display>(values: &[T]) -> String {
    let first: Vec<String> = values.iter().take(8).map(ToString::to_string).collect();
    let more = if values.len() > 8 { ", .." } else { "" };
    format!("[{}{more}]", first.join(", "))
}

/// One node while it is read.
pub(super) struct Call<'a> {
    /// `node 'lstm_0' (LSTM)`
    pub(super) at: String,
    pub(super) op: &'a str,
    pub(super) inputs: Vec<Option<Tracked>>,
    /// Per output, whether anything reads it.
    pub(super) wanted: Vec<bool>,
    attributes: Vec<Attribute<'a>>,
}

/// `node 'lstm_0' (LSTM)`, or by its first output where it has no name.
pub(super) fn subject(node: &Node<'_>) -> String {
    let name = if node.name.is_empty() { node.outputs.first().copied().unwrap_or("") } else { node.name };
    format!("node {} ({})", quoted(name), node.op.escape_debug().take(64).collect::<String>())
}

/// Refuses an attribute of the node `at` that is not among `known`, or no plain value.
pub(super) fn check(at: &str, attribute: &Attribute<'_>, known: &[&str]) -> Result<()> {
    let name = quoted(attribute.name);
    if !known.contains(&attribute.name) {
        let instead = "export the model without it, or load the Keras or PyTorch file itself";
        return Err(Error::unsupported(at, format!("attribute {name}"), instead));
    }
    if attribute.other || attribute.has_graph {
        let expected = format!("a plain value of attribute {name}");
        return Err(Error::mismatch(at, expected, "a graph, type or reference"));
    }
    Ok(())
}

impl<'a> Call<'a> {
    /// A call whose attributes are all among `known`.
    pub(super) fn new(
        node: &Node<'a>,
        known: &[&str],
        inputs: Vec<Option<Tracked>>,
        wanted: Vec<bool>,
    ) -> Result<Self> {
        let at = subject(node);
        let attributes = node.attributes()?;
        for attribute in &attributes {
            check(&at, attribute, known)?;
        }
        Ok(Self { at, op: node.op, inputs, wanted, attributes })
    }

    fn attribute(&self, name: &str) -> Option<&Attribute<'a>> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    fn wrong<T>(&self, name: &str, expected: &str) -> Result<T> {
        Err(Error::mismatch(&self.at, format!("attribute '{name}' to be {expected}"), "another type"))
    }

    pub(super) fn int(&self, name: &str) -> Result<Option<i64>> {
        let Some(attribute) = self.attribute(name) else { return Ok(None) };
        match attribute.int {
            Some(value) if matches!(attribute.kind, 0 | 2) => Ok(Some(value)),
            // A zero may be left out of the file.
            None if attribute.kind == 2 => Ok(Some(0)),
            _ => self.wrong(name, "an integer"),
        }
    }

    /// An attribute that is 0 or 1.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool> {
        match self.int(name)? {
            None => Ok(default),
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(other) => {
                Err(Error::mismatch(&self.at, format!("attribute '{name}' to be 0 or 1"), other.to_string()))
            }
        }
    }

    pub(super) fn float(&self, name: &str) -> Result<Option<f32>> {
        let Some(attribute) = self.attribute(name) else { return Ok(None) };
        match attribute.float {
            Some(value) if matches!(attribute.kind, 0 | 1) => Ok(Some(value)),
            None if attribute.kind == 1 => Ok(Some(0.0)),
            _ => self.wrong(name, "a float"),
        }
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>> {
        let Some(attribute) = self.attribute(name) else { return Ok(None) };
        match attribute.text {
            Some(text) if matches!(attribute.kind, 0 | 3) => text.text(name).map(Some),
            None if attribute.kind == 3 => Ok(Some("")),
            _ => self.wrong(name, "a string"),
        }
    }

    pub(super) fn ints(&self, name: &str) -> Result<Option<&[i64]>> {
        let Some(attribute) = self.attribute(name) else { return Ok(None) };
        let others = !attribute.floats.is_empty() || !attribute.texts.is_empty() || attribute.int.is_some();
        if others || !matches!(attribute.kind, 0 | 7) {
            self.wrong(name, "integers")
        } else {
            Ok(Some(&attribute.ints))
        }
    }

    pub(super) fn floats(&self, name: &str) -> Result<Option<&[f32]>> {
        let Some(attribute) = self.attribute(name) else { return Ok(None) };
        let others = !attribute.ints.is_empty() || !attribute.texts.is_empty() || attribute.float.is_some();
        if others || !matches!(attribute.kind, 0 | 6) {
            self.wrong(name, "floats")
        } else {
            Ok(Some(&attribute.floats))
        }
    }

    pub(super) fn texts(&self, name: &str) -> Result<Option<Vec<&'a str>>> {
        let Some(attribute) = self.attribute(name) else { return Ok(None) };
        if attribute.text.is_some() || !matches!(attribute.kind, 0 | 8) {
            return self.wrong(name, "strings");
        }
        attribute.texts.iter().map(|text| text.text(name)).collect::<Result<_>>().map(Some)
    }

    pub(super) fn tensor(&self, name: &str) -> Result<Option<Span<'a>>> {
        let Some(attribute) = self.attribute(name) else { return Ok(None) };
        match attribute.tensor {
            Some(tensor) if matches!(attribute.kind, 0 | 4) => Ok(Some(tensor)),
            _ => self.wrong(name, "a tensor"),
        }
    }

    pub(super) fn mismatch(&self, expected: impl Into<String>, found: impl Into<String>) -> Error {
        Error::mismatch(&self.at, expected, found)
    }

    pub(super) fn unsupported(&self, what: impl Into<String>, instead: impl Into<String>) -> Error {
        Error::unsupported(&self.at, what, instead)
    }

    /// An input that may be left out.
    pub(super) fn optional(&self, index: usize) -> Option<&Tracked> {
        self.inputs.get(index).and_then(Option::as_ref)
    }

    /// An input that must be there.
    pub(super) fn input(&self, index: usize) -> Result<&Tracked> {
        self.optional(index).ok_or_else(|| self.mismatch(format!("an input {index}"), "none"))
    }

    /// Refuses outputs from `first` on that something reads.
    pub(super) fn only_outputs(&self, first: usize, what: &str) -> Result<()> {
        if self.wanted.iter().skip(first).any(|&wanted| wanted) {
            return Err(self.unsupported(what, "use its first output only"));
        }
        Ok(())
    }

    /// An input whose values the file gives.
    pub(super) fn known(&self, index: usize, what: &str) -> Result<&Const> {
        match self.input(index)? {
            Tracked::Const(constant) => Ok(constant),
            _ => {
                Err(self.unsupported(format!("{what} that each run decides"), "export the model with a constant there"))
            }
        }
    }

    /// A weight: an input whose values the file gives, in f32.
    pub(super) fn weight(&self, index: usize, what: &str) -> Result<Arc<Tensor>> {
        let constant = self.known(index, what)?;
        if constant.kind != Kind::Float {
            return Err(self.mismatch(format!("{what} of floats"), "integers"));
        }
        constant.f32()
    }

    /// Integers that are an attribute in old operator sets and an input in new ones; `None` where
    /// they are left out.
    pub(super) fn ints_or_input(&self, name: &str, index: usize) -> Result<Option<Vec<i64>>> {
        if let Some(values) = self.ints(name)? {
            return Ok(Some(values.to_vec()));
        }
        if self.optional(index).is_none() {
            return Ok(None);
        }
        let constant = self.known(index, name)?;
        let values = constant.ints().filter(|_| constant.shape().len() <= 1);
        Ok(Some(
            values.ok_or_else(|| self.mismatch(format!("a list of integers as {name}"), "another tensor"))?.to_vec(),
        ))
    }

    /// The integers of input `index`, which may depend on the sizes of a run.
    pub(super) fn sizes(&self, index: usize, what: &str) -> Result<Vec<Dim>> {
        match self.input(index)? {
            Tracked::Sizes(sizes) => Ok(sizes.values.clone()),
            Tracked::Const(constant) if constant.shape().len() <= 1 => match constant.ints() {
                Some(values) if values.len() > SIZES => {
                    Err(self.mismatch(format!("at most {SIZES} numbers as {what}"), values.len().to_string()))
                }
                Some(values) => Ok(values.iter().map(|&value| Dim::integer(value)).collect()),
                None => Err(self.mismatch(format!("integers as {what}"), "floats")),
            },
            _ => Err(self.unsupported(
                format!("{what} that the values of a run decide"),
                "export it with sizes that only shapes decide",
            )),
        }
    }

    /// `axis` counted from the front, of `rank`.
    pub(super) fn axis(&self, axis: i64, rank: usize) -> Result<usize> {
        let signed = i64::try_from(rank).unwrap_or(i64::MAX);
        let found = if axis < 0 { axis.saturating_add(signed) } else { axis };
        let found = usize::try_from(found).ok().filter(|&found| found < rank);
        found.ok_or_else(|| self.mismatch(format!("an axis of a tensor of rank {rank}"), format!("axis {axis}")))
    }

    /// [`axis`](Self::axis) of each, in ascending order and without repetition.
    pub(super) fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>> {
        let mut found = axes.iter().map(|&axis| self.axis(axis, rank)).collect::<Result<Vec<_>>>()?;
        found.sort_unstable();
        if found.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(self.mismatch("each axis once", format!("axes {}", shown(axes))));
        }
        Ok(found)
    }
}
