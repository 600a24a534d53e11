//! [`Layout`]: in which order a file has the axes of a tensor that is `[batch, ..]` inside.

use crate::{
    error::{Error, Result},
    tensor::{Data, Tensor, element_count},
};

/// In which order a file has the axes of a tensor: file axis `i` is made of the canonical axes
/// `layout[i]`, the first of them outermost. An empty group is an axis of extent 1, and a canonical
/// axis that no group names has extent 1.
///
/// ONNX' `[seq_len, batch, input_size]` is `[[1], [0], [2]]`; a value that ONNX has reshaped to
/// `[seq_len * batch, hidden_size]` is `[[1, 0], [2]]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "native", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "native", serde(try_from = "Vec<Vec<usize>>", into = "Vec<Vec<usize>>"))]
pub struct Layout(Vec<Vec<usize>>);

impl Layout {
    /// Of groups of canonical axes.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if an axis appears twice.
    pub fn new(groups: Vec<Vec<usize>>) -> Result<Self> {
        let mut seen = Vec::new();
        for &axis in groups.iter().flatten() {
            if seen.contains(&axis) {
                return Err(Error::mismatch("layout", "each axis once", format!("axis {axis} twice")));
            }
            seen.push(axis);
        }
        Ok(Self(groups))
    }

    /// The canonical order itself.
    #[must_use]
    pub fn identity(rank: usize) -> Self {
        Self((0..rank).map(|axis| vec![axis]).collect())
    }

    /// The groups.
    #[must_use]
    pub fn groups(&self) -> &[Vec<usize>] {
        &self.0
    }

    /// Whether a tensor of `rank` axes is the same in both orders.
    #[must_use]
    pub fn is_identity(&self, rank: usize) -> bool {
        self.0.len() == rank && self.0.iter().enumerate().all(|(axis, group)| group.as_slice() == [axis])
    }

    /// The layout without the batch axis: of samples that come alone.
    #[must_use]
    pub fn without_batch(&self) -> Self {
        Self(self.0.iter().filter(|group| group.as_slice() != [0]).cloned().collect())
    }

    /// Per file axis, the product of what `sizes` says of its canonical axes.
    pub(crate) fn file_shape<T: Clone>(&self, sizes: &[T], one: &T, product: impl Fn(&T, &T) -> T) -> Vec<T> {
        let axis = |group: &Vec<usize>| {
            group.iter().filter_map(|&axis| sizes.get(axis)).fold(one.clone(), |a, b| product(&a, b))
        };
        self.0.iter().map(axis).collect()
    }

    /// The canonical shape of an input of `shape`, which has `rank` canonical axes; `None` if the
    /// number of axes differs, a group holds several axes or an empty group an extent other than 1.
    pub(crate) fn canonical_shape(&self, shape: &[usize], rank: usize) -> Option<Vec<usize>> {
        let mut canonical = vec![1; rank];
        if shape.len() != self.0.len() {
            return None;
        }
        for (group, &size) in self.0.iter().zip(shape) {
            match group.as_slice() {
                [] if size == 1 => {}
                [axis] => *canonical.get_mut(*axis)? = size,
                _ => return None,
            }
        }
        Some(canonical)
    }

    /// `tensor` in the canonical order, where it has `rank` axes.
    ///
    /// # Errors
    /// [`Error::Internal`] if it does not fit the layout.
    pub(crate) fn canonical(&self, tensor: Tensor, rank: usize) -> Result<Tensor> {
        if self.is_identity(rank) {
            return Ok(tensor);
        }
        let broken = || Error::internal("a tensor that does not fit its layout");
        let shape = self.canonical_shape(tensor.shape(), rank).ok_or_else(broken)?;
        // The file axis of each canonical axis; those of extent 1 may stand anywhere.
        let mut axes: Vec<Option<usize>> = vec![None; rank];
        for (file, group) in self.0.iter().enumerate() {
            for &axis in group {
                *axes.get_mut(axis).ok_or_else(broken)? = Some(file);
            }
        }
        let strides = strides(tensor.shape());
        let steps = axes.iter().map(|axis| axis.and_then(|axis| strides.get(axis).copied()).unwrap_or(0));
        gathered(&tensor, &shape, &steps.collect::<Vec<_>>(), shape.clone())
    }

    /// `tensor`, which is in the canonical order, in the file's.
    ///
    /// # Errors
    /// [`Error::Internal`] if it does not fit the layout.
    pub(crate) fn file(&self, tensor: Tensor) -> Result<Tensor> {
        let rank = tensor.shape().len();
        if self.is_identity(rank) {
            return Ok(tensor);
        }
        let broken = || Error::internal("a tensor that does not fit its layout");
        let order: Vec<usize> = self.0.iter().flatten().copied().collect();
        let named = |axis: usize| order.contains(&axis);
        if tensor.shape().iter().enumerate().any(|(axis, &size)| size != 1 && !named(axis)) {
            return Err(broken());
        }
        let strides = strides(tensor.shape());
        let of = |values: &[usize]| order.iter().map(|&axis| values.get(axis).copied()).collect::<Option<Vec<_>>>();
        let (sizes, steps) = of(tensor.shape()).zip(of(&strides)).ok_or_else(broken)?;
        let shape = self.file_shape(tensor.shape(), &1, |a, b| a.saturating_mul(*b));
        gathered(&tensor, &sizes, &steps, shape)
    }
}

impl TryFrom<Vec<Vec<usize>>> for Layout {
    type Error = Error;

    fn try_from(groups: Vec<Vec<usize>>) -> Result<Self> {
        Self::new(groups)
    }
}

impl From<Layout> for Vec<Vec<usize>> {
    fn from(layout: Layout) -> Self {
        layout.0
    }
}

/// Distance between neighbours along each axis of a row-major tensor.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (0..shape.len().saturating_sub(1)).rev() {
        strides[axis] = strides[axis + 1] * shape[axis + 1];
    }
    strides
}

/// The values of `tensor` in the order that `sizes` and `steps` walk, under `shape`.
fn gathered(tensor: &Tensor, sizes: &[usize], steps: &[usize], shape: Vec<usize>) -> Result<Tensor> {
    let count = element_count(sizes).ok_or_else(|| Error::internal("a tensor beyond the address space"))?;
    let data = match tensor.data() {
        Data::F32(values) => Data::F32(walked(values, sizes, steps, count)),
        Data::F64(values) => Data::F64(walked(values, sizes, steps, count)),
        Data::I64(values) => Data::I64(walked(values, sizes, steps, count)),
    };
    Tensor::new(shape, data)
}

fn walked<T: Copy>(values: &[T], sizes: &[usize], steps: &[usize], count: usize) -> Vec<T> {
    let mut to = Vec::with_capacity(count.min(values.len()));
    let Some(((&last, &step), outer)) =
        sizes.split_last().zip(steps.split_last()).map(|((a, outer), (b, _))| ((a, b), outer))
    else {
        return values.to_vec();
    };
    let rows = outer.iter().product::<usize>();
    let mut index = vec![0usize; outer.len()];
    for _ in 0..rows {
        let start: usize = index.iter().zip(steps).map(|(i, step)| i * step).sum();
        to.extend((0..last).filter_map(|i| values.get(start + i * step).copied()));
        for (axis, size) in outer.iter().enumerate().rev() {
            index[axis] += 1;
            if index[axis] < *size {
                break;
            }
            index[axis] = 0;
        }
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(shape: &[usize]) -> Tensor {
        let count: usize = shape.iter().product();
        Tensor::new(shape, (0..count as i64).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn inputs_and_outputs_change_places() {
        let time_major = Layout::new(vec![vec![1], vec![0], vec![2]]).unwrap();
        let inside = time_major.canonical(tensor(&[2, 3, 2]), 3).unwrap();
        assert_eq!(inside.shape(), [3, 2, 2]);
        assert_eq!(*inside.data(), vec![0i64, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11].into());
        assert_eq!(time_major.file(inside).unwrap(), tensor(&[2, 3, 2]));
    }

    #[test]
    fn merged_and_missing_axes() {
        let merged = Layout::new(vec![vec![1, 0], vec![], vec![2]]).unwrap();
        let out = merged.file(tensor(&[2, 3, 1])).unwrap();
        assert_eq!(out.shape(), [6, 1, 1]);
        assert_eq!(*out.data(), vec![0i64, 3, 1, 4, 2, 5].into());
        let unbatched = Layout::new(vec![vec![1], vec![0], vec![2]]).unwrap().without_batch();
        let inside = unbatched.canonical(tensor(&[4, 5]), 3).unwrap();
        assert_eq!(inside.shape(), [1, 4, 5]);
        assert_eq!(unbatched.file(inside).unwrap(), tensor(&[4, 5]));
        assert!(unbatched.file(tensor(&[2, 4, 5])).is_err(), "two rows have no place in a sample");
        assert!(merged.canonical(tensor(&[6, 1, 1]), 3).is_err());
        assert!(Layout::new(vec![vec![0], vec![0]]).is_err());
        assert_eq!(Layout::identity(0).file(tensor(&[])).unwrap(), tensor(&[]));
    }
}
