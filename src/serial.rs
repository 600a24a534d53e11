//! How the parts of a model that serde has no way for are written: tensors, by their shapes alone, and
//! floats, of which JSON knows only the finite ones.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A tensor: its shape. What is read is a placeholder, a row of sizes, which the reader of a file replaces by
/// the tensor of that shape.
pub(crate) mod tensor {
    use std::sync::Arc;

    use super::{Deserialize, Deserializer, Serialize, Serializer};
    use crate::tensor::Tensor;

    pub(crate) fn serialize<S: Serializer>(tensor: &Arc<Tensor>, to: S) -> Result<S::Ok, S::Error> {
        tensor.shape().serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<Tensor>, D::Error> {
        placeholder(Vec::<i64>::deserialize(from)?)
    }

    pub(super) fn placeholder<E: serde::de::Error>(shape: Vec<i64>) -> Result<Arc<Tensor>, E> {
        Tensor::new([shape.len()], shape).map(Arc::new).map_err(E::custom)
    }
}

/// A tensor that may be missing: null.
pub(crate) mod optional {
    use std::sync::Arc;

    use super::{Deserialize, Deserializer, Serialize, Serializer};
    use crate::tensor::Tensor;

    pub(crate) fn serialize<S: Serializer>(tensor: &Option<Arc<Tensor>>, to: S) -> Result<S::Ok, S::Error> {
        tensor.as_ref().map(|tensor| tensor.shape()).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Arc<Tensor>>, D::Error> {
        Option::<Vec<i64>>::deserialize(from)?.map(super::tensor::placeholder).transpose()
    }
}

/// A float: a number, or the text `inf`, `-inf` or `nan`.
pub(crate) mod float {
    use super::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Float {
        Finite(f32),
        Other(String),
    }

    #[allow(clippy::trivially_copy_pass_by_ref)] // serde calls it so
    pub(crate) fn serialize<S: Serializer>(value: &f32, to: S) -> Result<S::Ok, S::Error> {
        let value = if value.is_finite() {
            Float::Finite(*value)
        } else if value.is_nan() {
            Float::Other("nan".to_owned())
        } else {
            Float::Other(value.to_string())
        };
        value.serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f32, D::Error> {
        let wrong = || serde::de::Error::custom("expected a finite number, \"inf\", \"-inf\" or \"nan\"");
        match Float::deserialize(from)? {
            Float::Finite(value) if value.is_finite() => Ok(value),
            Float::Finite(_) => Err(wrong()),
            Float::Other(text) => match text.as_str() {
                "inf" => Ok(f32::INFINITY),
                "-inf" => Ok(f32::NEG_INFINITY),
                "nan" => Ok(f32::NAN),
                _ => Err(wrong()),
            },
        }
    }
}

/// [`float`], where there may be none: null.
pub(crate) mod optional_float {
    use super::{Deserialize, Deserializer, Serialize, Serializer, float};

    #[derive(Serialize, Deserialize)]
    struct Wrapped(#[serde(with = "float")] f32);

    #[allow(clippy::ref_option)] // serde calls it so
    pub(crate) fn serialize<S: Serializer>(value: &Option<f32>, to: S) -> Result<S::Ok, S::Error> {
        value.map(Wrapped).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f32>, D::Error> {
        Ok(Option::<Wrapped>::deserialize(from)?.map(|value| value.0))
    }
}
