//! From the datasets of a layer to weights in the canonical layout: matrices `[out, in]`, gates in
//! the order of [`crate::cell`].

use std::{cell::RefCell, collections::BTreeSet, sync::Arc};

use super::{
    archive::WEIGHTS,
    hdf5::{Datasets, Values},
};
use crate::{
    error::{Error, Result, listed, quoted},
    tensor::{Tensor, unravel, zeros},
};

/// All weights of a file, and which of them layers have taken.
pub(super) struct Weights {
    datasets: Datasets,
    taken: RefCell<BTreeSet<String>>,
}

/// The weights of a layer.
pub(super) struct Scope<'a> {
    weights: &'a Weights,
    /// `layers/lstm/cell`
    path: String,
    /// `layer 'lstm' (LSTM)`
    subject: String,
}

/// What the optimizer kept.
#[derive(Debug, Default)]
pub(super) struct Optimizer {
    pub(super) values: usize,
    pub(super) bytes: usize,
}

/// A dimension that is known, or that the dataset decides.
type Expected = Option<usize>;

impl Weights {
    pub(super) fn new(datasets: Datasets) -> Self {
        Self { datasets, taken: RefCell::default() }
    }

    /// The weights below `path` for the layer that messages call `subject`.
    pub(super) fn scope(&self, path: String, subject: &str) -> Scope<'_> {
        Scope { weights: self, path, subject: subject.to_owned() }
    }

    /// Refuses weights that no layer has taken. What an optimizer, a metric or a random generator
    /// kept is no weight.
    pub(super) fn finish(&self) -> Result<()> {
        let taken = self.taken.borrow();
        let of_training = |path: &str| {
            let mut parts = path.split('/');
            let first = parts.next().unwrap_or_default();
            ["optimizer", "metric", "loss"].iter().any(|kept| first.contains(kept))
                || parts.any(|part| part.starts_with("seed_generator"))
        };
        let mut left =
            self.datasets.entries().keys().filter(|path| !taken.contains(*path) && !of_training(path)).peekable();
        if left.peek().is_none() {
            return Ok(());
        }
        Err(Error::mismatch(WEIGHTS, "the weights of the layers of config.json only", format!("also {}", listed(left))))
    }

    /// What the optimizer kept, if it was built. One that was not holds its counter, at zero, and
    /// the learning rate.
    pub(super) fn optimizer(&self) -> Result<Optimizer> {
        let entries = self.datasets.entries();
        let vars = || entries.iter().filter(|(path, _)| path.starts_with("optimizer/vars/"));
        let counter = "optimizer/vars/0";
        if vars().count() <= 2 && (!entries.contains_key(counter) || !self.datasets.has_counted(counter)?) {
            return Ok(Optimizer::default());
        }
        let mut optimizer = Optimizer::default();
        for (_, entry) in vars() {
            let values = entry.shape.iter().fold(1usize, |product, &dim| product.saturating_mul(dim));
            optimizer.values = optimizer.values.saturating_add(values);
            optimizer.bytes = optimizer.bytes.saturating_add(usize::try_from(entry.bytes).unwrap_or(usize::MAX));
        }
        Ok(optimizer)
    }
}

impl Scope<'_> {
    /// The weights below `part` of this layer.
    pub(super) fn below(&self, part: &str) -> Self {
        Self { weights: self.weights, path: format!("{}/{part}", self.path), subject: self.subject.clone() }
    }

    /// The same weights, for what messages call `subject`.
    pub(super) fn called(self, subject: String) -> Self {
        Self { subject, ..self }
    }

    fn place(&self, path: &str, role: &str) -> String {
        format!("{}: {role} ({WEIGHTS} {})", self.subject, quoted(path))
    }

    /// The values of weight `index`, whose shape must be `expected`.
    fn values(&self, index: usize, role: &str, expected: &[Expected]) -> Result<(Vec<usize>, Values)> {
        let path = format!("{}/vars/{index}", self.path);
        let shape_text = || {
            let dims: Vec<String> =
                expected.iter().map(|dim| dim.map_or_else(|| "any".to_owned(), |dim| dim.to_string())).collect();
            format!("shape [{}]", dims.join(", "))
        };
        let datasets = &self.weights.datasets;
        let Some(entry) = datasets.entries().get(&path) else {
            return Err(Error::mismatch(self.place(&path, role), shape_text(), "no such dataset"));
        };
        let fits = entry.shape.len() == expected.len()
            && entry.shape.iter().zip(expected).all(|(&dim, expected)| expected.is_none_or(|expected| dim == expected));
        if !fits {
            return Err(Error::mismatch(self.place(&path, role), shape_text(), format!("{:?}", entry.shape)));
        }
        let values = datasets.read(&path)?;
        let shape = entry.shape.clone();
        let mut bad = None;
        values.each(|index, value| {
            if !value.is_finite() && bad.is_none() {
                bad = Some((index, value));
            }
        });
        if let Some((index, value)) = bad {
            return Err(Error::NonFinite { tensor: self.place(&path, role), index: unravel(index, &shape), value });
        }
        self.weights.taken.borrow_mut().insert(path);
        Ok((shape, values))
    }

    /// A weight as it is stored.
    pub(super) fn plain(&self, index: usize, role: &str, expected: &[Expected]) -> Result<Arc<Tensor>> {
        let (shape, values) = self.values(index, role, expected)?;
        let mut data = zeros(shape.iter().product())?;
        values.each(|index, value| data.get_mut(index).into_iter().for_each(|slot| *slot = value));
        drop(values);
        Ok(Arc::new(Tensor::new(shape, data)?))
    }

    /// A matrix that is stored `[in, out]`, as `[out, in]`.
    pub(super) fn transposed(&self, index: usize, role: &str, expected: [Expected; 2]) -> Result<Arc<Tensor>> {
        self.gates(index, role, expected, &[0])
    }

    /// A matrix that is stored `[in, gates * units]`, as `[gates * units, in]` with the gate that is
    /// stored as number `order[g]` in place `g`.
    pub(super) fn gates(
        &self,
        index: usize,
        role: &str,
        expected: [Expected; 2],
        order: &[usize],
    ) -> Result<Arc<Tensor>> {
        let (shape, values) = self.values(index, role, &expected)?;
        let &[rows, columns] = shape.as_slice() else {
            return Err(Error::internal("a matrix that is none"));
        };
        let places = places(columns, order);
        let mut data = zeros(values.count())?;
        values.each(|index, value| {
            let (row, column) = (index / columns, index % columns);
            let slot = places.get(column).and_then(|place| data.get_mut(place * rows + row));
            slot.into_iter().for_each(|slot| *slot = value);
        });
        drop(values);
        Ok(Arc::new(Tensor::new([columns, rows], data)?))
    }

    /// A vector, or each row of a matrix, of gates in the same way.
    pub(super) fn gate_rows(
        &self,
        index: usize,
        role: &str,
        expected: &[Expected],
        order: &[usize],
    ) -> Result<Vec<Arc<Tensor>>> {
        let (shape, values) = self.values(index, role, expected)?;
        let columns = shape.last().copied().unwrap_or(0);
        let places = places(columns, order);
        let rows = values.count().checked_div(columns).unwrap_or(0);
        let mut all: Vec<Vec<f32>> = (0..rows).map(|_| zeros(columns)).collect::<Result<_>>()?;
        values.each(|index, value| {
            let place = places.get(index % columns);
            let slot = all.get_mut(index / columns).zip(place).and_then(|(row, &place)| row.get_mut(place));
            slot.into_iter().for_each(|slot| *slot = value);
        });
        all.into_iter().map(|row| Ok(Arc::new(Tensor::new([columns], row)?))).collect()
    }
}

/// Where each column goes when the gate stored as number `order[g]` is put in place `g`.
fn places(columns: usize, order: &[usize]) -> Vec<usize> {
    let units = columns / order.len().max(1);
    let mut places = vec![0; columns];
    for (to, from) in order.iter().enumerate() {
        let slots = places.iter_mut().skip(from * units).take(units);
        slots.enumerate().for_each(|(unit, place)| *place = to * units + unit);
    }
    places
}
