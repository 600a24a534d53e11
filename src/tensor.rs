//! [`Tensor`]: a shape and its values, row-major, on the host.

use std::{
    borrow::Cow,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::error::{Error, Result};

/// Rows of the largest embedding table whose ids are exact in f32.
pub const MAX_ID: usize = 1 << 24;
/// The highest rank of a buffer.
pub const MAX_RANK: usize = 6;

/// The values of a [`Tensor`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Data {
    /// 32-bit floats: what every executor but the reference computes in.
    F32(Vec<f32>),
    /// 64-bit floats: what the reference returns.
    F64(Vec<f64>),
    /// Integers of any width: token ids.
    I64(Vec<i64>),
}

impl Data {
    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
            Self::I64(v) => v.len(),
        }
    }

    /// Whether there are no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of the element type.
    #[must_use]
    pub fn dtype(&self) -> &'static str {
        match self {
            Self::F32(_) => "float32",
            Self::F64(_) => "float64",
            Self::I64(_) => "int64",
        }
    }
}

macro_rules! data_from {
    ($($from:ty => $variant:ident),*) => {$(
        impl From<Vec<$from>> for Data {
            fn from(values: Vec<$from>) -> Self {
                Self::$variant(values.into_iter().map(Into::into).collect())
            }
        }
    )*};
}
data_from!(f32 => F32, half::f16 => F32, half::bf16 => F32, f64 => F64, i8 => I64, i16 => I64, i32 => I64, i64 => I64, u8 => I64, u16 => I64, u32 => I64);

/// A shape and its values, row-major.
#[derive(Clone, Debug)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
    id: TensorId,
}

/// Tells a tensor, and its clones, from all others of the process: what has it has the same values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TensorId(u64);

impl TensorId {
    fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// By shape and values.
impl PartialEq for Tensor {
    fn eq(&self, other: &Self) -> bool {
        self.shape == other.shape && self.data == other.data
    }
}

impl Tensor {
    /// A tensor of `shape` with `data` in row-major order.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the number of values is not the product of `shape`.
    pub fn new(shape: impl Into<Vec<usize>>, data: impl Into<Data>) -> Result<Self> {
        let (shape, data) = (shape.into(), data.into());
        let expected = element_count(&shape);
        if expected != Some(data.len()) {
            return Err(Error::mismatch(
                format!("tensor of shape {shape:?}"),
                expected.map_or("a size that fits memory".to_owned(), |n| format!("{n} values")),
                format!("{} values", data.len()),
            ));
        }
        Ok(Self { shape, data, id: TensorId::fresh() })
    }

    /// The shape.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values.
    #[must_use]
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The same for clones, another for every other tensor.
    pub(crate) fn id(&self) -> TensorId {
        self.id
    }

    /// The values alone.
    #[must_use]
    pub fn into_data(self) -> Data {
        self.data
    }

    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        element_count(&self.shape).unwrap_or(0)
    }

    /// Whether there are no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same tensor without its values, which are on a device.
    pub(crate) fn hollow(&self) -> Self {
        Self { shape: self.shape.clone(), data: Data::F32(Vec::new()), id: self.id }
    }

    /// Whether the values were [left out](Self::hollow).
    pub(crate) fn is_hollow(&self) -> bool {
        self.data.len() != self.len()
    }

    /// The values as f32, converted where they are stored otherwise.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // rounding is the meaning
    pub fn to_f32(&self) -> Cow<'_, [f32]> {
        match &self.data {
            Data::F32(v) => Cow::Borrowed(v),
            Data::F64(v) => v.iter().map(|&x| x as f32).collect(),
            Data::I64(v) => v.iter().map(|&x| x as f32).collect(),
        }
    }

    /// The values as f64, converted where they are stored otherwise.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // rounding is the meaning
    pub fn to_f64(&self) -> Cow<'_, [f64]> {
        match &self.data {
            Data::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Data::F64(v) => Cow::Borrowed(v),
            Data::I64(v) => v.iter().map(|&x| x as f64).collect(),
        }
    }
}

/// The number of elements of `shape`, `None` if it overflows.
pub(crate) fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim))
}

/// `len` zeros, or an error where memory is short, since `len` may be a caller's.
pub(crate) fn zeros<T: Clone + Default>(len: usize) -> Result<Vec<T>> {
    let mut values = reserved(len)?;
    values.resize(len, T::default());
    Ok(values)
}

/// Makes `values` `len` zeros, in the memory that it has if that is enough.
pub(crate) fn reset<T: Clone + Default>(values: &mut Vec<T>, len: usize) -> Result<()> {
    if values.capacity() < len {
        *values = reserved(len)?;
    }
    values.clear();
    values.resize(len, T::default());
    Ok(())
}

/// Makes `values` `len` values, whatever they are, in the memory that it has if that is enough.
pub(crate) fn fit<T: Clone + Default>(values: &mut Vec<T>, len: usize) -> Result<()> {
    if values.len() < len {
        return reset(values, len);
    }
    values.truncate(len);
    Ok(())
}

/// Room for `len` values, or an error where memory is short.
pub(crate) fn reserved<T>(len: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|cause| Error::Limit {
        what: "a tensor".to_owned(),
        need: format!("{len} values"),
        limit: format!("the memory of this machine ({cause})"),
        hint: "use a smaller batch or shorter sequences".to_owned(),
    })?;
    Ok(values)
}

/// The position of element `flat` in a row-major tensor of `shape`.
pub(crate) fn unravel(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (slot, &dim) in index.iter_mut().zip(shape).rev() {
        *slot = flat % dim.max(1);
        flat /= dim.max(1);
    }
    index
}
