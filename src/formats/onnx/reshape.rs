//! Reshapes as changes of tracking: the axes of a value are dealt out anew to the axes of the file.

use super::{
    call::shown,
    import::Importer,
    tensor::Const,
    track::{Splat, Tracked, View},
};
use crate::{
    dim::{Dim, product},
    error::{Error, Result},
    tensor::{Tensor, element_count},
};

/// An axis of the shape that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Target {
    Size(Dim),
    /// Whatever remains.
    Rest,
}

impl Importer<'_> {
    /// `tracked` with the shape `targets`.
    pub(super) fn reshaped(&mut self, at: &str, tracked: &Tracked, targets: &[Target]) -> Result<Tracked> {
        if targets.iter().filter(|target| **target == Target::Rest).count() > 1 {
            return Err(Error::mismatch(at, "at most one size of -1", "several"));
        }
        match tracked {
            Tracked::View(view) => self.regrouped(at, view, targets).map(Tracked::View),
            Tracked::Const(constant) => {
                let shape = self.filled(at, &self.dims(tracked)?, targets)?;
                let shape = shape.iter().map(|dim| self.reduced(dim).fixed()).collect::<Option<Vec<_>>>();
                let fits = shape.filter(|shape| element_count(shape) == Some(constant.tensor.len()));
                let shape = fits.ok_or_else(|| {
                    Error::mismatch(at, "a shape of as many values", format!("{:?}", constant.shape()))
                })?;
                let tensor = Tensor::new(shape, constant.tensor.data().clone())?;
                self.room(at, tensor.len())?;
                Ok(Tracked::Const(Const { kind: constant.kind, tensor: tensor.into() }))
            }
            Tracked::Splat(splat) => {
                let dims = self.filled(at, &splat.dims, targets)?;
                if !self.agree(at, &product(&dims), &product(&splat.dims)) {
                    return Err(Error::mismatch(at, "a shape of as many values", shown(&splat.dims)));
                }
                Ok(Tracked::Splat(Splat { dims, ..splat.clone() }))
            }
            Tracked::Sizes(sizes) => {
                let scalar = match targets {
                    [] if sizes.values.len() == 1 => true,
                    [Target::Rest] => false,
                    [Target::Size(size)] if size.fixed() == Some(sizes.values.len()) => false,
                    _ => {
                        return Err(Error::unsupported(
                            at,
                            "sizes of a run in several axes",
                            "export it with fixed sizes",
                        ));
                    }
                };
                let mut sizes = sizes.clone();
                sizes.scalar = scalar;
                Ok(Tracked::Sizes(sizes))
            }
        }
    }

    /// The sizes that `targets` come to for a tensor of `dims`.
    fn filled(&self, at: &str, dims: &[Dim], targets: &[Target]) -> Result<Vec<Dim>> {
        let whole = product(dims);
        let known = product(targets.iter().filter_map(|target| match target {
            Target::Size(dim) => Some(dim),
            Target::Rest => None,
        }));
        let wrong = || Error::mismatch(at, "a shape of as many values", shown(dims));
        let rest = || {
            quotient(&self.reduced(&whole), &self.reduced(&known))
                .or_else(|| quotient(&whole, &known))
                .ok_or_else(wrong)
        };
        let dim = |target: &Target| match target {
            Target::Size(dim) => Ok(dim.clone()),
            Target::Rest => rest(),
        };
        targets.iter().map(dim).collect()
    }

    fn regrouped(&mut self, at: &str, view: &View, targets: &[Target]) -> Result<View> {
        let mut view = view.clone();
        let mut groups: Vec<Vec<usize>> = vec![Vec::new(); targets.len()];
        let rest = targets.iter().position(|target| *target == Target::Rest).unwrap_or(targets.len());
        // From the front up to what remains, then from the back.
        let (mut from, mut left) = (0, 0);
        for index in 0..rest {
            let Some(Target::Size(size)) = targets.get(index) else { continue };
            let taken = self.taken(at, &mut view, &mut groups, (from, left), size, false)?;
            if let Some(group) = groups.get_mut(index) {
                *group = self.order_of(&view).get(from..from + taken).unwrap_or_default().to_vec();
            }
            from += taken;
        }
        for index in (rest + 1..targets.len()).rev() {
            let Some(Target::Size(size)) = targets.get(index) else { continue };
            let taken = self.taken(at, &mut view, &mut groups, (from, left), size, true)?;
            let order = self.order_of(&view);
            let end = order.len() - left;
            if let Some(group) = groups.get_mut(index) {
                *group = order.get(end - taken..end).unwrap_or_default().to_vec();
            }
            left += taken;
        }
        let order = self.order_of(&view);
        let middle = order.get(from..order.len() - left).unwrap_or_default().to_vec();
        match groups.get_mut(rest) {
            Some(group) => *group = middle,
            None if middle.is_empty() => {}
            None => {
                let dims = self.view_dims(&view)?;
                return Err(Error::mismatch(at, "a shape of as many values", shown(&dims)));
            }
        }
        self.view(view.kind, view.value, groups)
    }

    /// The axes of the value in the order of the file.
    fn order_of(&self, view: &View) -> Vec<usize> {
        view.axes.iter().flatten().copied().collect()
    }

    /// How many of the axes that `(from, left)` leave in the middle make up `size`, taken from one
    /// end; an axis may be split for that.
    fn taken(
        &mut self,
        at: &str,
        view: &mut View,
        groups: &mut [Vec<usize>],
        (from, left): (usize, usize),
        size: &Dim,
        back: bool,
    ) -> Result<usize> {
        if self.reduced(size).fixed() == Some(1) {
            return Ok(0);
        }
        let order = self.order_of(view);
        let open = order.get(from..order.len() - left).unwrap_or_default();
        let mut dims = self.group_dims(view, open)?;
        let mut open = open.to_vec();
        if back {
            dims.reverse();
            open.reverse();
        }
        let mut whole = Dim::from(1);
        for (index, dim) in dims.iter().enumerate() {
            whole = &whole * dim;
            if self.same(&whole, size) {
                return Ok(index + 1);
            }
        }
        let wrong = |found: &[Dim]| Error::mismatch(at, format!("axes that reshape to one of {size}"), shown(found));
        // The first axes as far as they go into the size, then a part of the next.
        let mut part = self.reduced(size);
        for (index, (dim, &axis)) in dims.iter().zip(&open).enumerate() {
            if let Some(smaller) = quotient(&part, &self.reduced(dim)) {
                part = smaller;
                continue;
            }
            let other = quotient(&self.reduced(dim), &part).ok_or_else(|| {
                // Two sizes of the run may be the same one under two names.
                wrong(&dims)
            });
            let other = match other {
                Ok(other) => other,
                Err(_) if index == 0 && size.as_symbol().is_some() && dim.fixed().is_none() => {
                    self.builder.require_equal(at, dim, size)?;
                    return Ok(1);
                }
                Err(error) => return Err(error),
            };
            let (outer, inner) = if back { (other, part) } else { (part, other) };
            let (outer, inner) = self.with_rows(axis, dim, outer, inner);
            *view = self.split_axis(at, view, axis, outer, inner)?;
            let moved = |old: &mut usize| *old += usize::from(*old > axis);
            groups.iter_mut().flatten().for_each(moved);
            return Ok(index + 1);
        }
        Err(wrong(&dims))
    }

    /// The parts of a split in terms of the batch of the run, where they were worked out for a fixed one.
    fn with_rows(&self, axis: usize, whole: &Dim, outer: Dim, inner: Dim) -> (Dim, Dim) {
        if axis != 0 {
            return (outer, inner);
        }
        let exact = quotient(whole, &inner);
        (exact.unwrap_or(outer), inner)
    }
}

/// `whole / part`, if it is known.
pub(super) fn quotient(whole: &Dim, part: &Dim) -> Option<Dim> {
    if whole == part {
        return Some(Dim::from(1));
    }
    match part.fixed() {
        Some(part) => whole.divided(part),
        None => whole.over(part),
    }
}
