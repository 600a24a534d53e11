//! [`pad_sequences`]: sequences of several lengths as one array, as Keras does it.

use crate::{
    error::Result,
    tensor::{Data, Tensor},
};

/// The end of a sequence at which something happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    /// At the beginning: Keras' default.
    #[default]
    Pre,
    /// At the end.
    Post,
}

/// How [`pad_sequences`] fills and cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding<T> {
    /// The length of all; that of the longest sequence without one.
    pub max_len: Option<usize>,
    /// Where shorter sequences are filled.
    pub padding: Side,
    /// Where longer sequences are cut.
    pub truncating: Side,
    /// What they are filled with.
    pub value: T,
}

impl<T: Default> Default for Padding<T> {
    fn default() -> Self {
        Self { max_len: None, padding: Side::Pre, truncating: Side::Pre, value: T::default() }
    }
}

/// `sequences` as one tensor `[sequences, max_len]`, as `keras.utils.pad_sequences` makes it.
///
/// # Errors
/// [`Error::Mismatch`](crate::Error::Mismatch) if the size overflows.
///
/// ```
/// # use wgpu_rnn::sequences::{pad_sequences, Padding};
/// let padded = pad_sequences(&[vec![1i32], vec![2, 3, 4]], Padding { max_len: Some(2), ..Padding::default() })?;
/// assert_eq!(*padded.data(), vec![0i32, 1, 3, 4].into());
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
pub fn pad_sequences<T: Copy>(sequences: &[Vec<T>], how: Padding<T>) -> Result<Tensor>
where
    Vec<T>: Into<Data>,
{
    let max_len = how.max_len.unwrap_or_else(|| sequences.iter().map(Vec::len).max().unwrap_or(0));
    let mut all = Vec::new();
    for sequence in sequences {
        let excess = sequence.len().saturating_sub(max_len);
        let kept = match how.truncating {
            Side::Pre => sequence.get(excess..),
            Side::Post => sequence.get(..sequence.len() - excess),
        }
        .unwrap_or_default();
        let fill = std::iter::repeat_n(how.value, max_len - kept.len());
        match how.padding {
            Side::Pre => all.extend(fill.chain(kept.iter().copied())),
            Side::Post => all.extend(kept.iter().copied().chain(fill)),
        }
    }
    Tensor::new([sequences.len(), max_len], all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values from `keras.utils.pad_sequences` of Keras 3.15.1.
    #[test]
    fn matches_keras() {
        let sequences = [vec![1i32], vec![2, 3], vec![4, 5, 6]];
        let padded = |how| pad_sequences(&sequences, how).map(|t| t.to_f32().into_owned());
        let pre = Padding::default();
        assert_eq!(padded(pre).unwrap(), [0., 0., 1., 0., 2., 3., 4., 5., 6.]);
        let filled = Padding { value: -1, ..pre };
        assert_eq!(padded(filled).unwrap(), [-1., -1., 1., -1., 2., 3., 4., 5., 6.]);
        let post = Padding { padding: Side::Post, ..pre };
        assert_eq!(padded(post).unwrap(), [1., 0., 0., 2., 3., 0., 4., 5., 6.]);
        let short = Padding { max_len: Some(2), ..pre };
        assert_eq!(padded(short).unwrap(), [0., 1., 2., 3., 5., 6.]);
        let cut = Padding { truncating: Side::Post, ..short };
        assert_eq!(padded(cut).unwrap(), [0., 1., 2., 3., 4., 5.]);
        assert_eq!(pad_sequences::<i32>(&[], pre).unwrap().shape(), [0, 0]);
    }
}
