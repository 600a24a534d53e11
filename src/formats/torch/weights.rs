//! The tensors of a state dict, by the module that they belong to. Those that no module takes are refused.

use std::{cell::RefCell, collections::BTreeSet, sync::Arc};

use super::config::Options;
use crate::{
    error::{Error, Result, listed, quoted},
    formats::safetensors::Archive,
    tensor::Tensor,
};

pub(super) struct Weights<'a> {
    archive: Archive<'a>,
    taken: RefCell<BTreeSet<String>>,
}

/// A dimension that is known, or that the tensor decides.
pub(super) type Expected = Option<usize>;

/// A module's options and tensors.
pub(super) struct Source<'a> {
    pub(super) options: Options<'a>,
    weights: &'a Weights<'a>,
    /// `encoder.lstm.`, or nothing.
    prefix: String,
}

impl<'a> Weights<'a> {
    pub(super) fn new(archive: Archive<'a>) -> Self {
        Self { archive, taken: RefCell::default() }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.archive.entries().keys().map(String::as_str)
    }

    /// Whether the module `prefix` has a tensor of this name.
    pub(super) fn has(&self, prefix: &str, name: &str) -> bool {
        self.archive.entries().contains_key(format!("{prefix}.{name}").trim_start_matches('.'))
    }

    /// The axes of a tensor; 0 where it is not there.
    pub(super) fn rank(&self, name: &str) -> usize {
        self.archive.entries().get(name).map_or(0, |entry| entry.shape.len())
    }

    /// The prefixes under which a tensor of one of the names `ends` lies, without the final dot.
    pub(super) fn prefixes(&self, ends: &[&str]) -> Vec<&str> {
        let prefix = |name: &'_ str| -> Option<usize> {
            ends.iter().find_map(|end| {
                let rest = name.strip_suffix(end)?;
                rest.strip_suffix('.').or(rest.is_empty().then_some(rest)).map(str::len)
            })
        };
        let mut found: Vec<&str> = self.names().filter_map(|name| name.get(..prefix(name)?)).collect();
        found.dedup();
        found
    }

    /// Refuses tensors that no module has taken; `expected` is what there may be.
    pub(super) fn finish(&self, expected: &str) -> Result<()> {
        let taken = self.taken.borrow();
        let mut left = self.names().filter(|name| !taken.contains(*name)).peekable();
        if left.peek().is_none() {
            return Ok(());
        }
        let found = format!("also {}", listed(left));
        Err(Error::mismatch("the state dict", expected, found))
    }
}

impl<'a> Source<'a> {
    pub(super) fn new(options: Options<'a>, weights: &'a Weights<'a>, prefix: &str) -> Self {
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}.") };
        Self { options, weights, prefix }
    }

    /// The shape of a tensor of this module.
    pub(super) fn shape(&self, name: &str) -> Option<&'a [usize]> {
        self.weights.archive.entries().get(&format!("{}{name}", self.prefix)).map(|entry| entry.shape.as_slice())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.shape(name).is_some()
    }

    /// A size of a tensor that the module cannot do without.
    pub(super) fn size(&self, name: &str, axis: usize) -> Result<usize> {
        let shape = self.shape(name).ok_or_else(|| self.missing(name, "a tensor of this name"))?;
        let wrong = || Error::mismatch(self.place(name), format!("at least {} axes", axis + 1), format!("{shape:?}"));
        shape.get(axis).copied().ok_or_else(wrong)
    }

    pub(super) fn place(&self, name: &str) -> String {
        format!("{}: tensor {}", self.options.subject, quoted(&format!("{}{name}", self.prefix)))
    }

    fn missing(&self, name: &str, expected: &str) -> Error {
        let found = format!("no such tensor; there is {}", listed(self.weights.names()));
        Error::mismatch(self.place(name), expected, found)
    }

    /// A tensor that has no part in what a trained module computes.
    pub(super) fn ignore(&self, name: &str) {
        self.weights.taken.borrow_mut().insert(format!("{}{name}", self.prefix));
    }

    /// A tensor and its shape, which must be `expected`.
    fn values(&self, name: &str, expected: &[Expected]) -> Result<(Vec<usize>, Vec<f32>)> {
        let text = || {
            let dims = expected.iter().map(|dim| dim.map_or_else(|| "any".to_owned(), |dim| dim.to_string()));
            format!("shape [{}]", dims.collect::<Vec<_>>().join(", "))
        };
        let shape = self.shape(name).ok_or_else(|| self.missing(name, &text()))?;
        let fits = shape.len() == expected.len()
            && shape.iter().zip(expected).all(|(&dim, expected)| expected.is_none_or(|expected| dim == expected));
        if !fits {
            return Err(Error::mismatch(self.place(name), text(), format!("{shape:?}")));
        }
        let path = format!("{}{name}", self.prefix);
        let values = self.weights.archive.values(&path)?;
        self.weights.taken.borrow_mut().insert(path);
        Ok((shape.to_vec(), values))
    }

    pub(super) fn tensor(&self, name: &str, expected: &[Expected]) -> Result<Arc<Tensor>> {
        let (shape, values) = self.values(name, expected)?;
        Ok(Arc::new(Tensor::new(shape, values)?))
    }

    /// A tensor that may be missing.
    pub(super) fn optional(&self, name: &str, expected: &[Expected]) -> Result<Option<Arc<Tensor>>> {
        self.has(name).then(|| self.tensor(name, expected)).transpose()
    }

    /// The weights of a convolution, stored `[out, channels, width]`, as `[out, width * channels]`.
    pub(super) fn convolution(&self, name: &str, expected: &[Expected; 3]) -> Result<Arc<Tensor>> {
        let (shape, values) = self.values(name, expected)?;
        let &[out, channels, width] = shape.as_slice() else {
            return Err(Error::internal("a tensor of another rank"));
        };
        let mut turned: Vec<f32> = crate::tensor::reserved(values.len())?;
        for filter in values.chunks_exact((channels * width).max(1)) {
            for position in 0..width {
                turned.extend(filter.iter().skip(position).step_by(width.max(1)));
            }
        }
        Ok(Arc::new(Tensor::new([out, width * channels], turned)?))
    }
}
