//! What is known of each tensor of a graph while it is read. Inside a model the batch is axis 0 and
//! rows are independent; a tensor of a file has its axes in any order. So each is tracked as a value
//! of the model and, per axis of the file, the axes of that value which it is made of: transposes
//! and most reshapes change the tracking only.

use super::{
    import::Importer,
    tensor::{Const, Kind},
};
use crate::{
    dim::{Dim, product},
    error::{Error, Result},
    model::{LayerKind, Value},
};

/// A tensor of the graph.
#[derive(Clone, Debug)]
pub(super) enum Tracked {
    /// The values are known.
    Const(Const),
    /// Whole numbers that depend on the sizes of a run.
    Sizes(Sizes),
    /// One value everywhere, in a shape that may depend on the sizes of a run.
    Splat(Splat),
    /// A value that a run computes.
    View(View),
}

/// A number, or a list of numbers, that depend on the sizes of a run.
#[derive(Clone, Debug)]
pub(super) struct Sizes {
    pub(super) scalar: bool,
    pub(super) values: Vec<Dim>,
}

/// One value everywhere.
#[derive(Clone, Debug)]
pub(super) struct Splat {
    pub(super) kind: Kind,
    pub(super) value: Fill,
    pub(super) dims: Vec<Dim>,
}

/// The value of a [`Splat`]: a number, or a size of the run.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fill {
    Number(f64),
    Size(Dim),
}

/// A value of the model in the axes of the file.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) kind: Kind,
    pub(super) value: Value,
    /// Per axis of the file the axes of the value that it is made of, outermost first; none where
    /// its extent is 1. Axes of the value that are nowhere have extent 1.
    pub(super) axes: Vec<Vec<usize>>,
}

impl Importer<'_> {
    /// A view whose axes of extent 1 are left out of the groups.
    pub(super) fn view(&self, kind: Kind, value: Value, mut axes: Vec<Vec<usize>>) -> Result<View> {
        let shape = self.builder.shape(value)?;
        let is_one = |axis: usize| shape.get(axis).is_none_or(|dim| dim.fixed() == Some(1));
        axes.iter_mut().for_each(|group| group.retain(|&axis| !is_one(axis)));
        Ok(View { kind, value, axes })
    }

    /// The sizes of the axes that a group names.
    pub(super) fn group_dims(&self, view: &View, group: &[usize]) -> Result<Vec<Dim>> {
        let shape = self.builder.shape(view.value)?;
        let dim = |&axis: &usize| shape.get(axis).cloned().ok_or_else(|| Error::internal("a view of no axis"));
        group.iter().map(dim).collect()
    }

    /// The shape of a view, in the order of the file.
    pub(super) fn view_dims(&self, view: &View) -> Result<Vec<Dim>> {
        view.axes.iter().map(|group| Ok(product(&self.group_dims(view, group)?))).collect()
    }

    /// The shape of a tensor, in the order of the file.
    pub(super) fn dims(&self, tracked: &Tracked) -> Result<Vec<Dim>> {
        match tracked {
            Tracked::Const(constant) => Ok(constant.shape().iter().map(|&size| Dim::from(size)).collect()),
            Tracked::Sizes(sizes) if sizes.scalar => Ok(Vec::new()),
            Tracked::Sizes(sizes) => Ok(vec![Dim::from(sizes.values.len())]),
            Tracked::Splat(splat) => Ok(splat.dims.clone()),
            Tracked::View(view) => self.view_dims(view),
        }
    }

    /// Whether two sizes are the same in every run of this file.
    pub(super) fn same(&self, left: &Dim, right: &Dim) -> bool {
        left == right || self.reduced(left) == self.reduced(right)
    }

    /// Whether two sizes are the same, or can be: then runs in which they differ are refused.
    pub(super) fn agree(&mut self, at: &str, left: &Dim, right: &Dim) -> bool {
        if self.same(left, right) {
            return true;
        }
        // Where the file states the number of rows, no run can have another.
        let never = self.reduced(left).constant().is_some() && self.reduced(right).constant().is_some();
        !never && self.builder.require_equal(at, left, right).is_ok()
    }

    /// `view` with axis `axis` of its value split in two.
    pub(super) fn split_axis(&mut self, at: &str, view: &View, axis: usize, outer: Dim, inner: Dim) -> Result<View> {
        let mut shape = self.builder.shape(view.value)?.to_vec();
        if axis >= shape.len() {
            return Err(Error::internal("a split of no axis"));
        }
        shape.splice(axis..=axis, [outer, inner]);
        let value = self.layer(at, "split", LayerKind::ReshapeTo { shape }, &[view.value])?;
        let moved = |&old: &usize| if old == axis { vec![axis, axis + 1] } else { vec![old + usize::from(old > axis)] };
        let axes = view.axes.iter().map(|group| group.iter().flat_map(moved).collect()).collect();
        self.view(view.kind, value, axes)
    }

    /// The value of `view` with its axes as `slots` says: each is made of axes of the value, merged,
    /// or has extent 1. The batch stays first.
    pub(super) fn arranged(&mut self, at: &str, view: &View, slots: &[Vec<usize>]) -> Result<Value> {
        let shape = self.builder.shape(view.value)?.to_vec();
        let is_one = |axis: usize| shape.get(axis).is_none_or(|dim| dim.fixed() == Some(1));
        let named: Vec<usize> = slots.iter().flatten().copied().filter(|&axis| axis != 0 || !is_one(0)).collect();
        if !is_one(0) && (named.first() != Some(&0) || slots.first().is_none_or(Vec::is_empty)) {
            return Err(self.mixes_rows(at));
        }
        // An axis of a value that is the same for all rows does not become rows, whatever its extent.
        if is_one(0) && slots.first().is_some_and(|slot| slot.iter().any(|&axis| axis != 0 && !is_one(axis))) {
            return Err(self.mixes_rows(at));
        }
        let rest: Vec<usize> = (0..shape.len()).filter(|axis| !named.contains(axis)).collect();
        if let Some(lost) = rest.iter().find(|&&axis| !is_one(axis)) {
            return Err(Error::internal(format!("{at}: axis {lost} of a value is lost")));
        }
        let mut value = view.value;
        if !named.is_sorted() {
            let first = if is_one(0) { vec![0] } else { Vec::new() };
            let axes: Vec<usize> = [first, named, rest.into_iter().filter(|&axis| axis != 0).collect()].concat();
            value = self.layer(at, "transposed", LayerKind::Permute { axes }, &[value])?;
        }
        let dim = |slot: &Vec<usize>| product(slot.iter().filter_map(|&axis| shape.get(axis)));
        let target: Vec<Dim> = slots.iter().map(dim).collect();
        if self.builder.shape(value)? == target {
            return Ok(value);
        }
        self.layer(at, "reshaped", LayerKind::ReshapeTo { shape: target }, &[value])
    }

    /// `view` with every axis of the file an axis of the value, in that order behind the batch: the
    /// batch is axis `rows` of the file, and the others follow.
    pub(super) fn arranged_by(&mut self, at: &str, view: &View, order: &[usize]) -> Result<Value> {
        let slots: Vec<Vec<usize>> =
            order.iter().map(|&axis| view.axes.get(axis).cloned().unwrap_or_default()).collect();
        self.arranged(at, view, &slots)
    }

    /// The axis of the file that counts rows, if the view depends on them.
    pub(super) fn row_axis(&self, view: &View) -> Option<usize> {
        view.axes.iter().position(|group| group.contains(&0))
    }

    /// `view` with its axis `axis` being one axis of the value, which is returned too; `None` where
    /// the extent is 1.
    pub(super) fn single(&mut self, at: &str, view: &View, axis: usize) -> Result<(View, Option<usize>)> {
        let group = view.axes.get(axis).cloned().unwrap_or_default();
        match group.as_slice() {
            [] => Ok((view.clone(), None)),
            [0, ..] | [_, .., 0] => Err(self.mixes_rows(at)),
            [one] => Ok((view.clone(), Some(*one))),
            many if many.contains(&0) => Err(self.mixes_rows(at)),
            many => {
                // The axes in the order of the value, with those of the group side by side.
                let rank = self.builder.shape(view.value)?.len();
                let first = many[0];
                let mut slots = Vec::new();
                for other in 0..rank {
                    if other == first {
                        slots.push(group.clone());
                    } else if !many.contains(&other) {
                        slots.push(vec![other]);
                    }
                }
                let place = |old: usize| slots.iter().position(|slot| slot.first() == Some(&old));
                let axes = view.axes.iter().map(|group| group.iter().filter_map(|&old| place(old)).collect()).collect();
                let value = self.arranged(at, view, &slots)?;
                let view = self.view(view.kind, value, axes)?;
                Ok((view, place(first)))
            }
        }
    }

    /// The error for what would need several rows at once.
    pub(super) fn mixes_rows(&self, at: &str) -> Error {
        Error::unsupported(
            at,
            "an operation along the axis that counts samples (the batch)",
            "export the model with the batch as an axis of its own",
        )
    }
}
