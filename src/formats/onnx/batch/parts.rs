//! What operators tell of axes that they take apart: single positions are taken of timesteps and features, not of
//! samples, and what needs several positions at once hardly works on samples either.

use super::{Classes, find, int, place, places};
use crate::formats::onnx::proto::{Attribute, Node};

/// The ends of slices from which on they mean the end of the axis: exporters write the largest integers.
const END: i64 = i32::MAX as i64 - 1;

impl<'a> Classes<'a> {
    /// An axis of positions of `class`, `size` of them if that is known.
    fn part(&mut self, class: usize, size: Option<usize>) -> usize {
        // The only position is the whole axis, also of samples.
        if self.get(class).size != Some(1) {
            self.change(class, |class| class.other = true);
        }
        self.add(true, size)
    }

    /// The axes behind a Slice of `x`; as they were where it is not known what is taken.
    pub(super) fn slice(&mut self, node: &Node<'a>, attributes: &[Attribute<'_>], mut x: Vec<usize>) -> Vec<usize> {
        let list = |name: &str, index: usize| self.known(node, find(attributes, name), index);
        let (starts, ends, steps) = (list("starts", 1), list("ends", 2), list("steps", 4));
        let axes = list("axes", 3);
        let (Some(starts), Some(ends)) = (starts, ends) else { return x };
        let left_out = |index: usize| node.inputs.get(index).is_none_or(|name| name.is_empty());
        let axes = match axes {
            Some(axes) => places(&axes, x.len()),
            None if left_out(3) => Some((0..starts.len().min(x.len())).collect()),
            None => None,
        };
        let steps = match steps {
            Some(steps) => steps,
            None if left_out(4) => vec![1; starts.len()],
            None => return x,
        };
        for (((&axis, &start), &end), &step) in axes.unwrap_or_default().iter().zip(&starts).zip(&ends).zip(&steps) {
            let Some(&class) = x.get(axis) else { continue };
            let len = self.get(class).size.and_then(|len| i64::try_from(len).ok());
            let whole = start == 0 && step == 1 && (end >= END || len.is_some_and(|len| end >= len));
            if !whole {
                let size = if step == 1 { taken(start, end, len) } else { None };
                let part = self.part(class, size);
                if let Some(slot) = x.get_mut(axis) {
                    *slot = part;
                }
            }
        }
        x
    }

    /// The axes behind a Gather of positions that the file gives; as they were where they are not known.
    pub(super) fn gather(&mut self, node: &Node<'a>, mut x: Vec<usize>, axis: usize) -> Vec<usize> {
        let Some(known) = node.inputs.get(1).and_then(|name| self.known.get(name)) else { return x };
        let (count, scalar) = (known.values.len(), known.scalar);
        let Some(&class) = x.get(axis) else { return x };
        let part = self.part(class, Some(count));
        if scalar {
            x.remove(axis);
        } else if let Some(slot) = x.get_mut(axis) {
            *slot = part;
        }
        x
    }

    /// The axes of each output of a Split of `x`.
    pub(super) fn split(
        &mut self,
        x: &[usize],
        axis: Option<usize>,
        sizes: Option<&[i64]>,
        count: usize,
    ) -> Vec<Vec<usize>> {
        let Some((axis, &class)) = axis.and_then(|axis| Some((axis, x.get(axis)?))) else {
            return vec![x.to_vec(); count];
        };
        if count == 1 {
            return vec![x.to_vec()];
        }
        let even = self.get(class).size.filter(|size| count > 0 && size % count == 0).map(|size| size / count);
        let part = |index: usize| {
            let size = match sizes {
                Some(sizes) => sizes.get(index).and_then(|&size| usize::try_from(size).ok()),
                None => even,
            };
            let part = self.part(class, size);
            x.iter().enumerate().map(|(at, &old)| if at == axis { part } else { old }).collect()
        };
        (0..count).map(part).collect()
    }

    /// Marks the axes of which `node` needs several positions at once.
    pub(super) fn mix(&mut self, node: &Node<'a>, attributes: &[Attribute<'_>]) {
        let int = |name: &str, default: i64| int(attributes, name, default);
        let mut mixed = Vec::new();
        let mut mark = |axes: &[usize], axis: Option<usize>| mixed.extend(axis.and_then(|axis| axes.get(axis)));
        let (first, second) = (self.of(node, 0), self.of(node, 1));
        match (node.op, first) {
            ("Softmax" | "LogSoftmax", Some(x)) => mark(&x, place(int("axis", -1), x.len())),
            ("LayerNormalization", Some(x)) => {
                let from = place(int("axis", -1), x.len()).unwrap_or(x.len());
                (from..x.len()).for_each(|axis| mark(&x, Some(axis)));
            }
            ("Concat", _) => {
                for axes in (0..node.inputs.len()).filter_map(|index| self.of(node, index)) {
                    mark(&axes, place(int("axis", 0), axes.len()));
                }
            }
            ("MatMul", x) => {
                x.iter().for_each(|x| mark(x, x.len().checked_sub(1)));
                second.iter().for_each(|y| mark(y, Some(y.len().saturating_sub(2))));
            }
            ("Gemm", x) => {
                x.iter().for_each(|x| mark(x, Some(usize::from(int("transA", 0) == 0))));
                second.iter().for_each(|y| mark(y, Some(usize::from(int("transB", 0) != 0))));
            }
            (op, Some(x)) if op.starts_with("Reduce") => {
                let axes = self.known(node, find(attributes, "axes"), 1).and_then(|axes| places(&axes, x.len()));
                axes.unwrap_or_default().into_iter().for_each(|axis| mark(&x, Some(axis)));
            }
            _ => {}
        }
        for class in mixed {
            self.change(class, |class| class.mixed = true);
        }
    }

    /// The axis that counts samples, where no operator says which. Other inputs than the first (`alone` is false) may
    /// have none.
    pub(super) fn likely(&mut self, classes: &[usize], alone: bool) -> Option<usize> {
        let found: Vec<_> = classes.iter().map(|&class| self.get(class)).collect();
        // The one axis that the file leaves open. Of a file for one sample that is the length of the sequence.
        let mut open = (0..found.len()).filter(|&axis| found.get(axis).is_some_and(|class| class.size.is_none()));
        let one = found.first().is_some_and(|first| first.size == Some(1));
        if let (false, Some(axis), None) = (one, open.next(), open.next())
            && found.get(axis).is_some_and(|class| !class.other && !class.mixed)
        {
            return Some(axis);
        }
        match found.first() {
            Some(first) if !first.other => Some(0),
            // Positions of the first axis are taken: it counts timesteps, and the samples are behind it.
            _ if alone => found.iter().position(|class| !class.other && !class.mixed),
            _ => None,
        }
    }
}

/// How many positions from `start` up to `end` there are, if it is known.
fn taken(start: i64, end: i64, len: Option<i64>) -> Option<usize> {
    let count = match len {
        Some(len) => {
            let place = |at: i64| if at < 0 { at.saturating_add(len) } else { at }.clamp(0, len);
            place(end) - place(start)
        }
        None if start < 0 && end >= END => start.saturating_neg(),
        None if (start < 0) == (end < 0) && end < END => end.saturating_sub(start),
        None => return None,
    };
    usize::try_from(count).ok()
}
