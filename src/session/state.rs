//! [`State`]: what a stateful model carries from run to run, on the host.

use crate::{
    error::{Error, Result, listed, quoted},
    hash::Fnv,
    model::{LayerKind, Model},
    plan::Plan,
    tensor::{Tensor, unravel},
};

/// What a stateful model carries from run to run: one tensor `[batch, hidden_size]` per layer,
/// direction and state. It belongs to the model that made it.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    fingerprint: u64,
    tensors: Vec<(String, Tensor)>,
}

impl State {
    pub(super) fn new(fingerprint: u64, tensors: Vec<(String, Tensor)>) -> Self {
        Self { fingerprint, tensors }
    }

    /// A state from tensors that were saved, checked against the model of `plan`.
    pub(super) fn restored(
        plan: &Plan,
        expected: u64,
        tensors: Vec<(String, Tensor)>,
        fingerprint: u64,
    ) -> Result<Self> {
        check_fingerprint(expected, fingerprint)?;
        let known: Vec<&str> = carried(plan).collect();
        if let Some((name, _)) = tensors.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            return Err(Error::Unknown { kind: "state", name: quoted(name), known: listed(&known) });
        }
        let mut ordered = Vec::new();
        for port in &plan.states {
            let Some((name, tensor)) = tensors.iter().find(|(name, _)| *name == port.name) else {
                return Err(Error::mismatch("states", listed(&known), format!("none for {}", quoted(&port.name))));
            };
            let units = plan.buffers.get(port.initial.index()).and_then(|b| b.shape.get(1)).and_then(|dim| dim.fixed());
            let batch = ordered.first().map(|(_, first): &(String, Tensor)| first.shape().first().copied());
            let (rows, columns) = (tensor.shape().first().copied(), tensor.shape().get(1).copied());
            if tensor.shape().len() != 2 || columns != units || batch.is_some_and(|batch| batch != rows) {
                let batch = batch.flatten().map_or("batch".to_owned(), |batch| batch.to_string());
                return Err(Error::mismatch(
                    format!("state {}", quoted(name)),
                    format!("shape [{batch}, {}]", units.unwrap_or(0)),
                    format!("{:?}", tensor.shape()),
                ));
            }
            let values = tensor.to_f32().into_owned();
            ordered.push((name.clone(), Tensor::new(tensor.shape(), values)?));
        }
        Ok(Self { fingerprint, tensors: ordered })
    }

    /// Marks the model that the state belongs to.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Names and tensors: `lstm/hidden_state`, `lstm/cell_state`, `bidirectional/forward/hidden_state`.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Rows that the state is for.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.tensors.first().and_then(|(_, tensor)| tensor.shape().first().copied()).unwrap_or(0)
    }

    /// Whether it is of the model with the fingerprint `expected`, and of what `plan` carries of that.
    pub(super) fn check(&self, plan: &Plan, expected: u64) -> Result<()> {
        check_fingerprint(expected, self.fingerprint)?;
        let names = || self.iter().map(|(name, _)| name);
        if carried(plan).eq(names()) {
            return Ok(());
        }
        let of = |names: Vec<&str>| if names.is_empty() { "no states".to_owned() } else { listed(names) };
        let known = format!("{}, which the session carries", of(carried(plan).collect()));
        Err(Error::mismatch("state", known, of(names().collect())))
    }

    /// [`check`](Self::check), and whether a run of `batch` rows may start from it.
    pub(super) fn check_for_run(
        &self,
        plan: &Plan,
        expected: u64,
        batch: usize,
        refuse_non_finite: bool,
    ) -> Result<()> {
        self.check(plan, expected)?;
        if self.batch() != batch {
            return Err(Error::mismatch(
                "state",
                format!("the {batch} rows of the inputs (or reset the state)"),
                format!("{} rows", self.batch()),
            ));
        }
        if refuse_non_finite { self.check_finite() } else { Ok(()) }
    }

    /// Refuses a NaN or an infinity.
    fn check_finite(&self) -> Result<()> {
        for (name, tensor) in &self.tensors {
            if let Some((at, &value)) = tensor.to_f32().iter().enumerate().find(|(_, value)| !value.is_finite()) {
                let (tensor, index) = (format!("state {}", quoted(name)), unravel(at, tensor.shape()));
                return Err(Error::NonFinite { tensor, index, value });
            }
        }
        Ok(())
    }
}

/// The names of the states that `plan` carries.
fn carried(plan: &Plan) -> impl Iterator<Item = &str> {
    plan.states.iter().map(|port| port.name.as_str())
}

fn check_fingerprint(expected: u64, found: u64) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Error::mismatch("state", "one of this model and its weights", "one of another model"))
}

/// A hash of the layers' names and the shapes and values of their weights: the same for every
/// device and storage of weights, so that states move between them.
pub(super) fn fingerprint(model: &Model) -> u64 {
    let mut hash = Fnv::new();
    let mut eat = |bytes: &[u8]| hash.eat(bytes);
    for layer in model.layers() {
        eat(layer.name.as_bytes());
        eat(layer.class_name.as_bytes());
        if let LayerKind::Recurrent(r) = &layer.kind {
            eat(format!("{:?} {:?} {} {:?}", r.cell, r.params, r.go_backwards, r.dead).as_bytes());
        }
        if let LayerKind::Bidirectional(b) = &layer.kind {
            eat(format!("{:?} {:?} {:?}", b.forward.params, b.backward.params, b.merge).as_bytes());
        }
        for (name, tensor, _) in layer.kind.weights() {
            eat(name.as_bytes());
            for &dim in tensor.shape() {
                eat(&(dim as u64).to_le_bytes());
            }
            for value in tensor.to_f32().iter() {
                eat(&value.to_bits().to_le_bytes());
            }
        }
    }
    hash.value()
}
