//! The weights of layers, found where the file has them, in the canonical layout: matrices
//! `[out, in]`, gates in the order of [`crate::cell`].

use std::{cell::RefCell, collections::BTreeSet, sync::Arc};

use super::{hdf5::Values, legacy::Legacy, store::Store};
use crate::{
    error::{Error, Result, listed},
    tensor::{Tensor, reserved, unravel, zeros},
};

/// All weights of a file, and which of them layers have taken.
pub(super) struct Weights {
    store: Store,
    /// The lists of weights by layer, where the file has those and not the paths of objects.
    legacy: Option<Legacy>,
    taken: RefCell<BTreeSet<String>>,
}

/// The weights of a layer.
#[derive(Clone)]
pub(super) struct Scope<'a> {
    weights: &'a Weights,
    /// `layers/lstm/cell`
    path: String,
    /// The models that the layer is in, and itself.
    chain: Vec<Link>,
    /// `layer 'lstm' (LSTM)`
    subject: String,
}

/// A layer on the way to another one.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) name: String,
    /// Whether it is the layer that the one before wraps, whose name Keras 2 leaves out.
    pub(super) is_wrapped: bool,
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
    pub(super) fn new(store: Store, legacy: Option<Legacy>) -> Self {
        Self { store, legacy, taken: RefCell::default() }
    }

    /// The weights of the layer that messages call `subject`: below `path`, or in the lists of the layer
    /// that the names in `chain` lead to.
    pub(super) fn scope(&self, path: String, chain: Vec<Link>, subject: &str) -> Scope<'_> {
        Scope { weights: self, path, chain, subject: subject.to_owned() }
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
        let mut left = self.store.paths().filter(|path| !taken.contains(*path) && !of_training(path)).peekable();
        if left.peek().is_none() {
            return Ok(());
        }
        let found = format!("also {}", listed(left));
        Err(Error::mismatch(self.store.name(), "the weights of the layers of the configuration only", found))
    }

    /// What the optimizer kept, if it was built. One that was not holds its counter, at zero, and
    /// the learning rate.
    pub(super) fn optimizer(&self) -> Result<Optimizer> {
        let of_optimizer = |path: &&str| path.starts_with("optimizer/vars/") || path.starts_with("optimizer_weights/");
        let vars: Vec<&str> = self.store.paths().filter(of_optimizer).collect();
        let is_counter = |path: &&&str| {
            let last = path.rsplit('/').next().unwrap_or_default();
            **path == "optimizer/vars/0" || matches!(last.trim_end_matches(":0"), "iteration" | "iter")
        };
        let counted = match vars.iter().find(is_counter) {
            Some(counter) => self.store.has_counted(counter)?,
            None => false,
        };
        let mut optimizer = Optimizer::default();
        if vars.len() <= 2 && !counted {
            return Ok(optimizer);
        }
        for entry in vars.iter().filter_map(|path| self.store.get(path)) {
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
        Self { path: format!("{}/{part}", self.path), ..self.clone() }
    }

    /// The same weights, for what messages call `subject`.
    pub(super) fn called(self, subject: String) -> Self {
        Self { subject, ..self }
    }

    /// The same weights, for the layer `name` inside this one, which messages call `subject`.
    pub(super) fn inside(mut self, name: &str, subject: &str) -> Self {
        self.chain.push(Link { name: name.to_owned(), is_wrapped: true });
        self.called(subject.to_owned())
    }

    /// The models that the layer is in, and itself.
    pub(super) fn chain(&self) -> &[Link] {
        &self.chain
    }

    /// The path of the layer's weights, as Keras 3 has it.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    fn place(&self, path: &str, role: &str) -> String {
        format!("{}: {role} ({})", self.subject, self.weights.store.place(path))
    }

    /// The path of weight `index`, which Keras calls `role`.
    fn locate(&self, index: usize, role: &str) -> Result<String> {
        match &self.weights.legacy {
            None => Ok(format!("{}/vars/{index}", self.path)),
            Some(legacy) => {
                let taken = self.weights.taken.borrow();
                legacy.find(&self.chain, &self.path, role, &taken).map_err(|found| {
                    let place = format!("{}: {role} ({})", self.subject, self.weights.store.name());
                    Error::mismatch(place, "a weight of that name", found)
                })
            }
        }
    }

    /// Whether there is a weight `index`, called `role`.
    pub(super) fn has(&self, index: usize, role: &str) -> bool {
        self.locate(index, role).is_ok_and(|path| self.weights.store.get(&path).is_some())
    }

    /// The shape of weight `index`, called `role`.
    pub(super) fn shape(&self, index: usize, role: &str) -> Option<Vec<usize>> {
        let path = self.locate(index, role).ok()?;
        self.weights.store.get(&path).map(|entry| entry.shape.clone())
    }

    /// Takes weight `index`, called `role`, without a look at it.
    pub(super) fn skip(&self, index: usize, role: &str) {
        if let Ok(path) = self.locate(index, role) {
            self.weights.taken.borrow_mut().insert(path);
        }
    }

    /// Weight `index`, whose shape must be `expected`.
    fn stored(&self, index: usize, role: &str, expected: &[Expected]) -> Result<Weight<'_>> {
        let path = self.locate(index, role)?;
        let shape_text = || {
            let dims: Vec<String> =
                expected.iter().map(|dim| dim.map_or_else(|| "any".to_owned(), |dim| dim.to_string())).collect();
            format!("shape [{}]", dims.join(", "))
        };
        let (store, place) = (&self.weights.store, self.place(&path, role));
        let Some(entry) = store.get(&path) else {
            return Err(Error::mismatch(place, shape_text(), "no such dataset"));
        };
        let fits = entry.shape.len() == expected.len()
            && entry.shape.iter().zip(expected).all(|(&dim, expected)| expected.is_none_or(|expected| dim == expected));
        if !fits {
            return Err(Error::mismatch(place, shape_text(), format!("{:?}", entry.shape)));
        }
        let weight = Weight { values: store.read(&path)?, shape: entry.shape.clone(), place };
        self.weights.taken.borrow_mut().insert(path);
        Ok(weight)
    }

    /// The values of a weight in the order in which they are stored, and its shape.
    pub(super) fn raw(&self, index: usize, role: &str, expected: &[Expected]) -> Result<(Vec<usize>, Vec<f32>)> {
        let weight = self.stored(index, role, expected)?;
        let data = weight.values.all()?;
        weight.check_finite(0, &data)?;
        Ok((weight.shape, data))
    }

    /// A weight as it is stored.
    pub(super) fn plain(&self, index: usize, role: &str, expected: &[Expected]) -> Result<Arc<Tensor>> {
        let (shape, data) = self.raw(index, role, expected)?;
        Ok(Arc::new(Tensor::new(shape, data)?))
    }

    /// A weight `[.., out]` as `[out, ..]`, with the axes before the last as one.
    pub(super) fn stacked(&self, index: usize, role: &str, expected: &[Expected]) -> Result<Arc<Tensor>> {
        self.stored(index, role, expected)?.turned(&[0])
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
        self.stored(index, role, &expected)?.turned(order)
    }

    /// A vector, or each row of a matrix, of gates in the same way.
    pub(super) fn gate_rows(
        &self,
        index: usize,
        role: &str,
        expected: &[Expected],
        order: &[usize],
    ) -> Result<Vec<Arc<Tensor>>> {
        let (shape, values) = self.raw(index, role, expected)?;
        let columns = shape.last().copied().unwrap_or(0);
        let places = places(columns, order);
        let row = |stored: &[f32]| {
            let mut row = zeros(columns)?;
            for (&value, &place) in stored.iter().zip(&places) {
                row.get_mut(place).into_iter().for_each(|slot| *slot = value);
            }
            Ok(Arc::new(Tensor::new([columns], row)?))
        };
        values.chunks_exact(columns.max(1)).map(row).collect()
    }
}

/// A weight as it is stored.
struct Weight<'a> {
    shape: Vec<usize>,
    values: Values<'a>,
    /// What messages call it.
    place: String,
}

impl Weight<'_> {
    /// Refuses a value that is not finite; `values` are those from `first` on.
    fn check_finite(&self, first: usize, values: &[f32]) -> Result<()> {
        // Without a way out, so that many are looked at together.
        if values.iter().fold(true, |good, value| good & value.is_finite()) {
            return Ok(());
        }
        let index = values.iter().position(|value| !value.is_finite()).unwrap_or(0);
        let value = values.get(index).copied().unwrap_or(f32::NAN);
        Err(Error::NonFinite { tensor: self.place.clone(), index: unravel(first + index, &self.shape), value })
    }

    /// A weight `[.., columns]` as the matrix `[columns, ..]`, its columns in the `order` of gates.
    fn turned(self, order: &[usize]) -> Result<Arc<Tensor>> {
        let columns = self.shape.last().copied().unwrap_or(0);
        let rows = self.values.count().checked_div(columns).unwrap_or(0);
        let places = places(columns, order);
        let mut data = zeros(self.values.count())?;
        // So many rows at a time that whole lines of the cache are written.
        let mut block: Vec<f32> = reserved(BLOCK_ROWS.min(rows).saturating_mul(columns))?;
        for first in (0..rows).step_by(BLOCK_ROWS) {
            let count = BLOCK_ROWS.min(rows - first);
            block.clear();
            self.values.append(first * columns..(first + count) * columns, &mut block);
            self.check_finite(first * columns, &block)?;
            for (column, place) in places.iter().enumerate() {
                let start = place * rows + first;
                let to = data.get_mut(start..start + count).unwrap_or_default();
                for (slot, row) in to.iter_mut().zip(block.chunks_exact(columns)) {
                    *slot = row.get(column).copied().unwrap_or_default();
                }
            }
        }
        Ok(Arc::new(Tensor::new([columns, rows], data)?))
    }
}

/// Rows of a matrix that are turned together.
const BLOCK_ROWS: usize = 16;

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
