//! Operands of one operation brought into one arrangement of axes, with broadcasting.

use std::sync::Arc;

use super::{
    fold,
    import::Importer,
    tensor::{Const, Kind},
    track::{Fill, Tracked, View},
};
use crate::{
    dim::{Dim, product},
    error::{Error, Result},
    model::{LayerKind, Value},
    tensor::{Tensor, element_count},
};

/// Operands as values of one rank whose axes mean the same.
pub(super) struct Aligned {
    pub(super) values: Vec<Value>,
    /// What a result of theirs is made of, per axis of the file.
    pub(super) axes: Vec<Vec<usize>>,
}

/// An operand: a value, or one that a constant becomes when its arrangement is known.
enum Operand {
    View(View),
    Const { tensor: Arc<Tensor>, axes: Vec<Vec<usize>> },
}

/// An axis of the common arrangement.
struct Slot {
    /// The axis of the file that it is a part of.
    axis: usize,
    /// Which part, counted from the outside.
    part: usize,
    is_rows: bool,
}

impl Operand {
    fn axes(&self) -> &[Vec<usize>] {
        match self {
            Self::View(view) => &view.axes,
            Self::Const { axes, .. } => axes,
        }
    }

    fn group(&self, rank: usize, axis: usize) -> &[usize] {
        let axes = self.axes();
        (axis + axes.len()).checked_sub(rank).and_then(|axis| axes.get(axis)).map_or(&[], Vec::as_slice)
    }
}

impl Importer<'_> {
    fn operand(&mut self, at: &str, tracked: &Tracked) -> Result<Operand> {
        Ok(match tracked {
            Tracked::View(view) => Operand::View(view.clone()),
            Tracked::Const(constant) => constant_operand(constant)?,
            other => match self.known(other)? {
                Some(constant) => constant_operand(&constant)?,
                None => Operand::View(self.materialised(at, other)?),
            },
        })
    }

    /// Sizes that do not depend on the run, as a constant.
    fn known(&self, tracked: &Tracked) -> Result<Option<Const>> {
        match tracked {
            Tracked::Sizes(sizes) => {
                let values = sizes.values.iter().map(|dim| self.reduced(dim).constant()).collect::<Option<Vec<_>>>();
                let shape = if sizes.scalar { Vec::new() } else { vec![sizes.values.len()] };
                values.map(|values| Const::of_ints(shape, values)).transpose()
            }
            _ => Ok(None),
        }
    }

    fn operand_dims(&self, operand: &Operand, group: &[usize]) -> Result<Vec<Dim>> {
        match operand {
            Operand::View(view) => self.group_dims(view, group),
            Operand::Const { tensor, .. } => {
                Ok(group.iter().filter_map(|&axis| tensor.shape().get(axis)).map(|&size| Dim::from(size)).collect())
            }
        }
    }

    /// A splat as one element, if it does not make the others larger.
    fn shrunk(&self, tracked: &Tracked, others: &[Vec<Dim>]) -> Result<Option<Tracked>> {
        let Tracked::Splat(splat) = tracked else { return Ok(None) };
        let Fill::Number(number) = splat.value else { return Ok(None) };
        let fits = |dims: &Vec<Dim>| {
            let skipped = dims.len().checked_sub(splat.dims.len());
            skipped.is_some_and(|skipped| {
                let pairs = splat.dims.iter().zip(dims.iter().skip(skipped));
                pairs.into_iter().all(|(mine, theirs)| mine.fixed() == Some(1) || self.same(mine, theirs))
            })
        };
        if !others.iter().any(fits) {
            return Ok(None);
        }
        let tensor = Arc::new(Tensor::new(vec![1; splat.dims.len()], vec![number])?);
        Ok(Some(Tracked::Const(Const { kind: splat.kind, tensor })))
    }

    /// Brings operands into one arrangement.
    pub(super) fn aligned(&mut self, at: &str, operands: &[Tracked]) -> Result<Aligned> {
        let mut others = Vec::new();
        for operand in operands {
            if !matches!(operand, Tracked::Splat(_)) {
                others.push(self.dims(operand)?);
            }
        }
        let mut all = Vec::new();
        for operand in operands {
            let shrunk = self.shrunk(operand, &others)?;
            all.push(self.operand(at, shrunk.as_ref().unwrap_or(operand))?);
        }
        self.aligned_operands(at, all)
    }

    fn aligned_operands(&mut self, at: &str, mut operands: Vec<Operand>) -> Result<Aligned> {
        let rank = operands.iter().map(|operand| operand.axes().len()).max().unwrap_or(0);
        for axis in 0..rank {
            self.refine(at, &mut operands, rank, axis)?;
        }
        let slots = slots(&operands, rank);
        let rows: Vec<&Slot> = slots.iter().filter(|slot| slot.is_rows).collect();
        // Every operand that depends on rows has them at the same place.
        let row = match rows.as_slice() {
            [] => None,
            [one] => Some((one.axis, one.part)),
            _ => return Err(self.mixes_rows(at)),
        };
        if let Some((axis, part)) = row {
            for operand in &mut operands {
                let source = operand.group(rank, axis).get(part).copied();
                if let (Operand::Const { tensor, .. }, Some(source)) = (operand, source) {
                    *tensor = self.one_row(at, tensor, source)?.into();
                }
            }
        }
        let order = order(&operands, rank, slots);
        let (lead, first) = if row.is_some() { (false, 0) } else { (true, 1) };
        let mut values = Vec::new();
        for operand in &operands {
            let mut arrangement: Vec<Vec<usize>> = if lead { vec![Vec::new()] } else { Vec::new() };
            for slot in &order {
                let axis = operand.group(rank, slot.axis).get(slot.part).copied();
                let is_view = matches!(operand, Operand::View(_));
                if is_view && (axis == Some(0)) && !slot.is_rows {
                    return Err(self.mixes_rows(at));
                }
                arrangement.push(axis.into_iter().collect());
            }
            values.push(match operand {
                Operand::View(view) => self.arranged(at, view, &arrangement)?,
                Operand::Const { tensor, .. } => self.constant(at, tensor, &arrangement)?,
            });
        }
        let mut axes = vec![Vec::new(); rank];
        for axis in 0..rank {
            let mut parts: Vec<(usize, usize)> = order
                .iter()
                .enumerate()
                .filter(|(_, slot)| slot.axis == axis)
                .map(|(at, slot)| (slot.part, at + first))
                .collect();
            parts.sort_unstable();
            if let Some(group) = axes.get_mut(axis) {
                *group = parts.into_iter().map(|(_, at)| at).collect();
            }
        }
        Ok(Aligned { values, axes })
    }

    /// The one row that a constant has for all samples along `axis`, whose extent must be their number.
    pub(super) fn one_row(&mut self, at: &str, constant: &Tensor, axis: usize) -> Result<Tensor> {
        let (extent, rows) = (constant.shape().get(axis).copied().unwrap_or(1), self.rows.clone());
        if !self.agree(at, &Dim::from(extent), &rows) {
            let found = format!("a constant of {extent}");
            return Err(Error::mismatch(at, format!("{} samples", self.reduced(&rows)), found));
        }
        let one = fold::one_of_equal(constant, axis)?;
        one.ok_or_else(|| Error::unsupported(at, "a constant that differs by sample", "make it an input of the model"))
    }

    /// Splits the axes of operands that are one where another has several.
    fn refine(&mut self, at: &str, operands: &mut [Operand], rank: usize, axis: usize) -> Result<()> {
        let finest = operands.iter().max_by_key(|operand| operand.group(rank, axis).len());
        let Some(finest) = finest else { return Ok(()) };
        let parts = self.operand_dims(finest, finest.group(rank, axis))?;
        if parts.len() < 2 {
            return Ok(());
        }
        for operand in operands.iter_mut() {
            loop {
                let group = operand.group(rank, axis).to_vec();
                let mine = self.operand_dims(operand, &group)?;
                if group.is_empty() || mine.len() >= parts.len() {
                    let agree = mine.iter().zip(&parts).all(|(mine, part)| self.same(mine, part));
                    if !group.is_empty() && !agree {
                        return Err(Error::unsupported(
                            at,
                            "an operation on values whose axes were merged differently",
                            "export it without reshapes before it",
                        ));
                    }
                    break;
                }
                // The first that is not the part that it stands for is split.
                let place = mine.iter().zip(&parts).position(|(mine, part)| !self.same(mine, part)).unwrap_or(0);
                let (Some(&source), Some(outer)) = (group.get(place), parts.get(place)) else { break };
                let covered = parts.len() - mine.len() + 1;
                let inner = product(parts.iter().skip(place + 1).take(covered - 1));
                let whole = mine.get(place).cloned().unwrap_or_else(|| Dim::from(1));
                if !self.same(&(outer * &inner), &whole) {
                    return Err(Error::unsupported(
                        at,
                        "an operation on values whose axes were merged differently",
                        "export it without reshapes before it",
                    ));
                }
                *operand = match &*operand {
                    Operand::View(view) => Operand::View(self.split_axis(at, view, source, outer.clone(), inner)?),
                    Operand::Const { tensor, axes } => {
                        split_constant(tensor, axes, source, self.reduced(outer).fixed())?
                    }
                };
            }
        }
        Ok(())
    }

    /// A constant whose axes are arranged as `slots` says, as a value of the model.
    fn constant(&mut self, at: &str, tensor: &Tensor, slots: &[Vec<usize>]) -> Result<Value> {
        let order: Vec<usize> = slots.iter().flatten().copied().collect();
        let rest: Vec<usize> = (0..tensor.shape().len()).filter(|axis| !order.contains(axis)).collect();
        let shape =
            slots.iter().map(|slot| slot.first().and_then(|&axis| tensor.shape().get(axis)).copied().unwrap_or(1));
        let shape: Vec<usize> = shape.collect();
        self.room(at, tensor.len())?;
        let permuted = fold::permuted(tensor, &[order, rest].concat())?;
        let tensor = Tensor::new(shape, permuted.to_f32().into_owned())?;
        self.layer(at, "constant", LayerKind::Constant(tensor.into()), &[])
    }

    /// The result of an operation on aligned operands.
    pub(super) fn result(&self, kind: Kind, value: Value, aligned: &Aligned) -> Result<Tracked> {
        self.view(kind, value, aligned.axes.clone()).map(Tracked::View)
    }
}

fn constant_operand(constant: &Const) -> Result<Operand> {
    let axes = constant.shape().iter().enumerate().map(|(axis, &size)| if size == 1 { Vec::new() } else { vec![axis] });
    Ok(Operand::Const { tensor: constant.tensor.clone(), axes: axes.collect() })
}

fn split_constant(tensor: &Arc<Tensor>, axes: &[Vec<usize>], axis: usize, outer: Option<usize>) -> Result<Operand> {
    let broken = || Error::internal("a constant that cannot be split");
    let size = tensor.shape().get(axis).copied().ok_or_else(broken)?;
    let outer = outer.filter(|&outer| outer > 0 && size % outer == 0).ok_or_else(broken)?;
    let mut shape = tensor.shape().to_vec();
    shape.splice(axis..=axis, [outer, size / outer]);
    if element_count(&shape) != Some(tensor.len()) {
        return Err(broken());
    }
    let moved = |&old: &usize| if old == axis { vec![axis, axis + 1] } else { vec![old + usize::from(old > axis)] };
    let axes = axes.iter().map(|group| group.iter().flat_map(moved).collect()).collect();
    Ok(Operand::Const { tensor: Arc::new(Tensor::new(shape, tensor.data().clone())?), axes })
}

/// The axes of the common arrangement, in the order of the file.
fn slots(operands: &[Operand], rank: usize) -> Vec<Slot> {
    let mut slots = Vec::new();
    for axis in 0..rank {
        // A constant never stands for rows: a value that depends on them goes first.
        let by_rows =
            |operand: &&Operand| matches!(operand, Operand::View(_)) && operand.group(rank, axis).contains(&0);
        let found = operands
            .iter()
            .find(by_rows)
            .or_else(|| operands.iter().find(|operand| !operand.group(rank, axis).is_empty()));
        let Some(operand) = found else { continue };
        for (part, &source) in operand.group(rank, axis).iter().enumerate() {
            let is_rows = source == 0 && matches!(operand, Operand::View(_));
            slots.push(Slot { axis, part, is_rows });
        }
    }
    slots
}

/// The slots in the order of the operand that has all of them, if one has; rows first in any case.
fn order(operands: &[Operand], rank: usize, mut slots: Vec<Slot>) -> Vec<Slot> {
    let place = |index: usize, slot: &Slot| {
        operands.get(index).and_then(|operand| operand.group(rank, slot.axis).get(slot.part)).copied()
    };
    let whole = (0..operands.len()).find(|&index| {
        matches!(operands.get(index), Some(Operand::View(_))) && slots.iter().all(|slot| place(index, slot).is_some())
    });
    match whole {
        Some(index) => slots.sort_by_key(|slot| place(index, slot)),
        None => slots.sort_by_key(|slot| (!slot.is_rows, slot.axis, slot.part)),
    }
    slots
}
