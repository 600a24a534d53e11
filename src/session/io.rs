//! What goes into a run and what comes out of it.

use std::sync::Arc;

use super::{DeviceReport, SessionOptions};
use crate::{
    error::{Error, Result, listed, quoted},
    plan::{Bound, Plan},
    tensor::{Data, Tensor, element_count, unravel},
};

/// The inputs of a run, by name or in the model's order.
///
/// ```
/// # use wgpu_rnn::{Inputs, Tensor};
/// let x = Tensor::new([1, 2], vec![0.5f32, 1.5])?;
/// let positional = Inputs::from(x.clone());
/// let named = Inputs::new().with("x", x);
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    tensors: Vec<(Option<String>, Tensor)>,
}

impl Inputs {
    /// No inputs yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the input called `name`.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, tensor: Tensor) -> Self {
        self.tensors.push((Some(name.into()), tensor));
        self
    }

    /// Adds the next input in the model's order.
    #[must_use]
    pub fn then(mut self, tensor: Tensor) -> Self {
        self.tensors.push((None, tensor));
        self
    }

    /// One tensor per name of `names`, in that order; each comes with whether it may be missing.
    pub(super) fn bind(self, wanted: &[(&str, bool)]) -> Result<Vec<Option<Tensor>>> {
        let names: Vec<&str> = wanted.iter().map(|(name, _)| *name).collect();
        let mut bound: Vec<Option<Tensor>> = vec![None; names.len()];
        let mut next = 0;
        for (name, tensor) in self.tensors {
            let slot = match &name {
                Some(name) => names.iter().position(|known| *known == name).ok_or_else(|| Error::Unknown {
                    kind: "input",
                    name: quoted(name),
                    known: listed(&names),
                })?,
                None => {
                    next += 1;
                    next - 1
                }
            };
            match bound.get_mut(slot) {
                Some(free @ None) => *free = Some(tensor),
                Some(Some(_)) => {
                    let name = names.get(slot).copied().unwrap_or_default();
                    return Err(Error::mismatch(format!("input {}", quoted(name)), "one tensor", "two"));
                }
                None => {
                    return Err(Error::mismatch("inputs", format!("{} ({})", names.len(), listed(&names)), "more"));
                }
            }
        }
        let missing = wanted.iter().zip(&bound).filter(|((_, optional), tensor)| !optional && tensor.is_none());
        let missing: Vec<&str> = missing.map(|((name, _), _)| *name).collect();
        if !missing.is_empty() {
            return Err(Error::mismatch("inputs", listed(&names), format!("none for {}", listed(missing))));
        }
        Ok(bound)
    }
}

impl From<Tensor> for Inputs {
    fn from(tensor: Tensor) -> Self {
        Self::new().then(tensor)
    }
}

impl From<Vec<Tensor>> for Inputs {
    fn from(tensors: Vec<Tensor>) -> Self {
        tensors.into_iter().fold(Self::new(), Self::then)
    }
}

impl<N: Into<String>> From<Vec<(N, Tensor)>> for Inputs {
    fn from(tensors: Vec<(N, Tensor)>) -> Self {
        tensors.into_iter().collect()
    }
}

impl<N: Into<String>> FromIterator<(N, Tensor)> for Inputs {
    fn from_iter<I: IntoIterator<Item = (N, Tensor)>>(tensors: I) -> Self {
        tensors.into_iter().fold(Self::new(), |inputs, (name, tensor)| inputs.with(name, tensor))
    }
}

/// The outputs of a run, in the model's order. Float32, or float64 from the reference.
///
/// Outputs are equal if their names and values are, wherever they were computed.
#[derive(Clone, Debug)]
pub struct Outputs {
    tensors: Vec<(String, Tensor)>,
    device: Option<Arc<DeviceReport>>,
}

impl PartialEq for Outputs {
    fn eq(&self, other: &Self) -> bool {
        self.tensors == other.tensors
    }
}

impl Outputs {
    pub(super) fn new(tensors: Vec<(String, Tensor)>, device: &Arc<DeviceReport>) -> Self {
        Self { tensors, device: Some(Arc::clone(device)) }
    }

    /// Where they were computed, and why there; `None` if they come from elsewhere.
    #[must_use]
    pub fn device(&self) -> Option<&DeviceReport> {
        self.device.as_deref()
    }

    /// The output called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|(known, _)| known == name).map(|(_, tensor)| tensor)
    }

    /// The only output.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if there are several.
    pub fn single(&self) -> Result<&Tensor> {
        match self.tensors.as_slice() {
            [(_, tensor)] => Ok(tensor),
            many => Err(Error::mismatch("outputs", "one", listed(many.iter().map(|(name, _)| name)))),
        }
    }

    /// Names and tensors, in the model's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Number of outputs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are no outputs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Names and tensors, in the model's order.
    #[must_use]
    pub fn into_vec(self) -> Vec<(String, Tensor)> {
        self.tensors
    }
}

/// Outputs that come from elsewhere, such as a file, to be compared with those of a run.
impl<N: Into<String>> FromIterator<(N, Tensor)> for Outputs {
    fn from_iter<I: IntoIterator<Item = (N, Tensor)>>(tensors: I) -> Self {
        let tensors = tensors.into_iter().map(|(name, tensor)| (name.into(), tensor)).collect();
        Self { tensors, device: None }
    }
}

/// Checks token ids and, with `finite`, all other values too, before anything is computed. Tensors are
/// in the caller's order.
pub(super) fn check_values(plan: &Plan, tensors: &[Option<&Tensor>], finite: bool) -> Result<()> {
    for (port, tensor) in plan.inputs.iter().zip(tensors) {
        let Some(tensor) = tensor else { continue };
        let bad = match &port.ids {
            Some((vocabulary, layer)) => bad_id(tensor, *vocabulary).map(|bad| Error::TokenOutOfRange {
                input: quoted(&port.name),
                index: unravel(bad, tensor.shape()),
                id: text(tensor, bad),
                vocabulary: *vocabulary,
                layer: quoted(layer),
            }),
            None if finite => {
                let values = tensor.to_f32();
                values.iter().position(|value| !value.is_finite()).map(|bad| Error::NonFinite {
                    tensor: format!("input {}", quoted(&port.name)),
                    index: unravel(bad, tensor.shape()),
                    value: values.get(bad).copied().unwrap_or(f32::NAN),
                })
            }
            None => None,
        };
        bad.map_or(Ok(()), Err)?;
    }
    Ok(())
}

/// Checks that no value takes more than `limit` bytes, or the default where that is 0.
pub(super) fn check_sizes(plan: &Plan, bound: &Bound, limit: u64) -> Result<()> {
    let limit = if limit == 0 { SessionOptions::MAX_VALUE_BYTES } else { limit };
    for (buffer, shape) in plan.buffers.iter().zip(&bound.shapes) {
        let bytes = element_count(shape).and_then(|count| u64::try_from(count).ok()?.checked_mul(4));
        if bytes.is_none_or(|bytes| bytes > limit) {
            return Err(Error::Limit {
                what: format!("the value of {}", quoted(&buffer.name)),
                need: format!("{shape:?} values of 4 bytes"),
                limit: format!("{limit} bytes (max_value_bytes)"),
                hint: "use fewer rows or shorter sequences, or raise SessionOptions::max_value_bytes".to_owned(),
            });
        }
    }
    Ok(())
}

/// Checks that lengths are whole numbers within their sequences.
pub(super) fn check_lengths(plan: &Plan, bound: &Bound, tensors: &[Tensor]) -> Result<()> {
    for (port, tensor) in plan.inputs.iter().zip(tensors) {
        let Some((longest, layer)) = &port.lengths else { continue };
        let longest = bound.size(longest)?;
        if let Some(bad) = bad_id(tensor, longest.saturating_add(1)) {
            return Err(Error::mismatch(
                format!("input {}{:?}", quoted(&port.name), unravel(bad, tensor.shape())),
                format!("a length from 0 to {longest}, the timesteps of layer {}", quoted(layer)),
                text(tensor, bad),
            ));
        }
    }
    Ok(())
}

/// The first value that is not a whole number below `vocabulary`.
#[allow(clippy::cast_precision_loss)] // a vocabulary is exact in f64
fn bad_id(tensor: &Tensor, vocabulary: usize) -> Option<usize> {
    let good = |id: f64| id >= 0.0 && id < vocabulary as f64 && id.fract() == 0.0;
    match tensor.data() {
        Data::F32(ids) => ids.iter().position(|&id| !good(f64::from(id))),
        Data::F64(ids) => ids.iter().position(|&id| !good(id)),
        Data::I64(ids) => ids.iter().position(|&id| usize::try_from(id).map_or(true, |id| id >= vocabulary)),
    }
}

fn text(tensor: &Tensor, index: usize) -> String {
    match tensor.data() {
        Data::F32(v) => v.get(index).map(ToString::to_string),
        Data::F64(v) => v.get(index).map(ToString::to_string),
        Data::I64(v) => v.get(index).map(ToString::to_string),
    }
    .unwrap_or_default()
}
