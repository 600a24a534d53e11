//! Lists of sizes as the axes that they are sizes of, and the axes of what is made in the shape of such a list.

use super::{Classes, find, int, place};
use crate::{
    formats::onnx::proto::{Attribute, Node},
    tensor::MAX_RANK,
};

impl<'a> Classes<'a> {
    /// The axes that the numbers of an input are sizes of, if that is known; of lists as long as a shape can be.
    pub(super) fn list(&mut self, node: &Node<'a>, index: usize) -> Option<Vec<usize>> {
        let name = node.inputs.get(index)?;
        if let Some(list) = self.lists.get(name) {
            return Some(list.clone());
        }
        // A number of its own: whether an axis is 1 makes a difference, any other size may be a wrong one.
        let values = self.known.get(name).filter(|known| known.values.len() <= MAX_RANK)?.values.clone();
        Some(values.iter().map(|&size| self.add(false, (size == 1).then_some(1))).collect())
    }

    /// Follows the sizes that `node` takes from shapes or passes on.
    pub(super) fn sizes(&mut self, node: &Node<'a>, attributes: &[Attribute<'_>]) {
        let list = match node.op {
            "Shape" => self.of(node, 0).and_then(|x| {
                let bound = |name: &str, default: i64| {
                    let rank = i64::try_from(x.len()).unwrap_or(0);
                    let at = int(attributes, name, default);
                    usize::try_from(if at < 0 { at.saturating_add(rank) } else { at }.clamp(0, rank)).unwrap_or(0)
                };
                x.get(bound("start", 0)..bound("end", i64::MAX)).map(<[usize]>::to_vec)
            }),
            "Concat" => {
                let mut all = Vec::new();
                for index in 0..node.inputs.len() {
                    match self.list(node, index) {
                        Some(list) if all.len() + list.len() <= MAX_RANK => all.extend(list),
                        _ => return,
                    }
                }
                Some(all)
            }
            "Gather" => self.list_made(node).and_then(|list| {
                let places = self.known.get(node.inputs.get(1)?)?;
                places.values.iter().map(|&at| list.get(place(at, list.len())?).copied()).collect()
            }),
            "Slice" => self.list_made(node).and_then(|list| {
                let bound = |name: &str, index: usize| {
                    let at = *self.known(node, find(attributes, name), index)?.first()?;
                    let len = i64::try_from(list.len()).unwrap_or(0);
                    usize::try_from(if at < 0 { at.saturating_add(len) } else { at }.clamp(0, len)).ok()
                };
                let forwards = node.inputs.get(4).is_none_or(|name| name.is_empty())
                    || self.known(node, None, 4).is_some_and(|steps| steps == [1]);
                list.get(bound("starts", 1)?..bound("ends", 2)?).filter(|_| forwards).map(<[usize]>::to_vec)
            }),
            "Cast" | "Identity" | "Reshape" | "Squeeze" | "Unsqueeze" => self.list_made(node),
            _ => None,
        };
        if let (Some(list), Some(name)) = (list, node.outputs.first()) {
            self.lists.insert(name, list);
        }
    }

    /// The list that another node has made, which is the first input.
    fn list_made(&self, node: &Node<'a>) -> Option<Vec<usize>> {
        node.inputs.first().and_then(|name| self.lists.get(name)).cloned()
    }

    /// The axes that tensors of the axes `all`, and those constants that are among `given`, broadcast to.
    pub(super) fn broadcast(&mut self, all: &[Vec<usize>], given: &[&'a str]) -> Option<Vec<usize>> {
        let mut result = all.iter().max_by_key(|axes| axes.len())?.clone();
        for axes in all {
            let skipped = result.len() - axes.len();
            for (index, &class) in axes.iter().enumerate() {
                let Some(slot) = result.get_mut(skipped + index) else { continue };
                let kept = *slot;
                if self.get(kept).size == Some(1) {
                    *slot = class;
                }
                self.join(kept, class);
            }
        }
        for name in given {
            let Some(shape) = self.constants.get(name).cloned() else { continue };
            // Axes that only the constant has are in front.
            while result.len() < shape.len() {
                result.insert(0, self.add(false, Some(1)));
            }
            let skipped = result.len() - shape.len();
            for (axis, &size) in shape.iter().enumerate() {
                let Some(slot) = result.get(skipped + axis).copied() else { continue };
                if size != 1 && self.get(slot).size == Some(1) {
                    let longer = self.add(true, Some(size));
                    if let Some(slot) = result.get_mut(skipped + axis) {
                        *slot = longer;
                    }
                }
            }
        }
        Some(result)
    }
}
