//! Tensors of a file: [`Const`] out of a `TensorProto`, whose size is checked before anything is
//! made of it.

use std::sync::Arc;

use half::{bf16, f16};

use super::{
    external::Folder,
    wire::{Span, malformed},
};
use crate::{
    error::{Error, Result, quoted},
    formats::limits::{Limits, within},
    tensor::{Data, Tensor, element_count},
};

/// What the elements of a tensor are, as far as it makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Float,
    Int,
    Bool,
}

/// A tensor whose values are known.
#[derive(Clone, Debug)]
pub(super) struct Const {
    pub(super) kind: Kind,
    /// f32 or f64, or i64 for integers and booleans.
    pub(super) tensor: Arc<Tensor>,
}

/// The most elements of integer tensors that are stored in fewer bytes than they take in memory.
const SMALL_INTS: usize = 1 << 21;

/// An element type of ONNX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F32,
    F64,
    F16,
    Bf16,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    Bool,
}

impl Element {
    /// The type with ONNX' number.
    pub(super) fn new(subject: &str, number: i64) -> Result<Self> {
        Ok(match number {
            1 => Self::F32,
            2 => Self::U8,
            3 => Self::I8,
            4 => Self::U16,
            5 => Self::I16,
            6 => Self::I32,
            7 => Self::I64,
            9 => Self::Bool,
            10 => Self::F16,
            11 => Self::F64,
            12 => Self::U32,
            16 => Self::Bf16,
            8 => return Err(Error::unsupported(subject, "a tensor of strings", "turn texts into numbers outside")),
            other => {
                let what = format!("element type {other}");
                return Err(Error::unsupported(
                    subject,
                    what,
                    "use float, double, float16, bfloat16, bool or integers",
                ));
            }
        })
    }

    pub(super) fn kind(self) -> Kind {
        match self {
            Self::F32 | Self::F64 | Self::F16 | Self::Bf16 => Kind::Float,
            Self::Bool => Kind::Bool,
            _ => Kind::Int,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F64 => "float64",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
            Self::I8 => "int8",
            Self::I16 => "int16",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::U8 => "uint8",
            Self::U16 => "uint16",
            Self::U32 => "uint32",
            Self::Bool => "bool",
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// The values that `bytes` hold, which are whole.
    fn decode(self, bytes: &[u8]) -> Data {
        macro_rules! values {
            ($bytes:expr, $ty:ty, $size:literal) => {
                $bytes.as_chunks::<$size>().0.iter().map(|&value| <$ty>::from_le_bytes(value))
            };
        }
        match self {
            Self::F32 => Data::F32(values!(bytes, f32, 4).collect()),
            Self::F64 => Data::F64(values!(bytes, f64, 8).collect()),
            Self::F16 => Data::F32(values!(bytes, f16, 2).map(f16::to_f32).collect()),
            Self::Bf16 => Data::F32(values!(bytes, bf16, 2).map(bf16::to_f32).collect()),
            Self::I8 => Data::I64(values!(bytes, i8, 1).map(i64::from).collect()),
            Self::I16 => Data::I64(values!(bytes, i16, 2).map(i64::from).collect()),
            Self::I32 => Data::I64(values!(bytes, i32, 4).map(i64::from).collect()),
            Self::I64 => Data::I64(values!(bytes, i64, 8).collect()),
            Self::U8 => Data::I64(bytes.iter().map(|&value| i64::from(value)).collect()),
            Self::U16 => Data::I64(values!(bytes, u16, 2).map(i64::from).collect()),
            Self::U32 => Data::I64(values!(bytes, u32, 4).map(i64::from).collect()),
            Self::Bool => Data::I64(bytes.iter().map(|&value| i64::from(value != 0)).collect()),
        }
    }
}

/// What a `TensorProto` says, its values still bytes.
#[derive(Debug, Default)]
pub(super) struct Header<'a> {
    pub(super) dims: Vec<usize>,
    pub(super) element: i64,
    raw: Option<Span<'a>>,
    /// Whether any of the lists of typed values is there.
    typed: bool,
    external: Vec<(&'a str, &'a str)>,
    is_external: bool,
}

impl<'a> Header<'a> {
    pub(super) fn parse(subject: &str, span: Span<'a>, limits: &Limits) -> Result<Self> {
        let mut it = Self::default();
        let mut fields = span.fields("TensorProto");
        while let Some(field) = fields.next()? {
            match field.number {
                1 => field.ints(|size| {
                    let wrong = || Error::mismatch(subject, "sizes that are not negative", size.to_string());
                    it.dims.push(usize::try_from(size).map_err(|_| wrong())?);
                    within(|| subject.to_owned(), it.dims.len() as u64, limits.rank, "rank")
                })?,
                2 => it.element = field.int()?,
                3 => return Err(Error::unsupported(subject, "a tensor in segments", "save it whole")),
                4 | 5 | 6 | 7 | 10 | 11 => it.typed = true,
                9 => it.raw = Some(field.span()?),
                13 => {
                    it.external.push(entry(field.span()?)?);
                    if it.external.len() > 16 {
                        return Err(malformed(field.offset, subject, "a place of external data", "too many keys"));
                    }
                }
                14 => it.is_external = field.int()? == 1,
                8 | 12 | 16 => {}
                other => {
                    let found = format!("field {other}");
                    return Err(malformed(field.offset, "TensorProto", "a field of ONNX", found));
                }
            }
        }
        Ok(it)
    }

    /// Whether the values are in another file.
    pub(super) fn is_external(&self) -> bool {
        self.is_external
    }

    /// The name of the element type, and the bytes that the values take; 0 where that is not known.
    pub(super) fn stored(&self) -> (String, u64) {
        let Ok(element) = Element::new("", self.element) else { return (format!("type {}", self.element), 0) };
        let bytes = element_count(&self.dims).and_then(|count| count.checked_mul(element.bytes()));
        (element.name().to_owned(), bytes.map_or(0, |bytes| bytes as u64))
    }

    /// The number of elements.
    pub(super) fn count(&self, subject: &str) -> Result<usize> {
        let wrong = || Error::mismatch(subject, "a size that fits memory", format!("{:?}", self.dims));
        element_count(&self.dims).filter(|&count| count < 1 << 40).ok_or_else(wrong)
    }
}

fn entry(span: Span<'_>) -> Result<(&str, &str)> {
    let (mut key, mut value) = ("", "");
    let mut fields = span.fields("StringStringEntryProto");
    while let Some(field) = fields.next()? {
        match field.number {
            1 => key = field.text("key")?,
            2 => value = field.text("value")?,
            _ => {
                let found = format!("field {}", field.number);
                return Err(malformed(field.offset, "StringStringEntryProto", "a key and a value", found));
            }
        }
    }
    Ok((key, value))
}

/// Reads the tensor that messages call `subject`.
pub(super) fn decode(subject: &str, span: Span<'_>, folder: &Folder, limits: &Limits) -> Result<Const> {
    let header = Header::parse(subject, span, limits)?;
    let element = Element::new(subject, header.element)?;
    let count = header.count(subject)?;
    let stored = count.saturating_mul(element.bytes());
    within(|| subject.to_owned(), stored as u64, limits.total_bytes, "total_bytes")?;
    let small = element.kind() != Kind::Float && (header.typed || element.bytes() < 4);
    if small && count > SMALL_INTS {
        let need = format!("at most {SMALL_INTS} integers that are stored in fewer bytes than in memory");
        return Err(Error::mismatch(subject, need, count.to_string()));
    }
    let data = match (header.is_external, header.raw, header.typed) {
        (true, None, false) => element.decode(&folder.read(subject, &header.external, stored)?),
        (false, Some(raw), false) => {
            if raw.bytes.len() != stored {
                let found = format!("{} bytes", raw.bytes.len());
                return Err(Error::mismatch(subject, format!("{stored} bytes for {:?}", header.dims), found));
            }
            element.decode(raw.bytes)
        }
        (false, None, _) => typed(subject, span, element, count)?,
        _ => return Err(Error::mismatch(subject, "its values in one place", "several places")),
    };
    Ok(Const { kind: element.kind(), tensor: Arc::new(Tensor::new(header.dims, data)?) })
}

/// The values of the typed lists, of which there must be `count`.
fn typed(subject: &str, span: Span<'_>, element: Element, count: usize) -> Result<Data> {
    let mut data = match element {
        Element::F64 => Data::F64(Vec::new()),
        _ if element.kind() == Kind::Float => Data::F32(Vec::new()),
        _ => Data::I64(Vec::new()),
    };
    let found = |found: String| Error::mismatch(subject, format!("{count} values"), found);
    let full = |len: usize| if len < count { Ok(()) } else { Err(found("more".to_owned())) };
    let mut fields = span.fields("TensorProto");
    while let Some(field) = fields.next()? {
        match (field.number, element, &mut data) {
            (4, Element::F32, Data::F32(values)) => field.fixed32(|bits| {
                full(values.len())?;
                values.push(f32::from_le_bytes(bits));
                Ok(())
            })?,
            (10, Element::F64, Data::F64(values)) => field.fixed64(|bits| {
                full(values.len())?;
                values.push(f64::from_le_bytes(bits));
                Ok(())
            })?,
            (5, Element::F16 | Element::Bf16, Data::F32(values)) => field.ints(|bits| {
                full(values.len())?;
                let bits = u16::try_from(bits).map_err(|_| found(format!("the bits {bits} of a half")))?;
                let half = if element == Element::F16 {
                    f16::from_bits(bits).to_f32()
                } else {
                    bf16::from_bits(bits).to_f32()
                };
                values.push(half);
                Ok(())
            })?,
            (
                5,
                Element::I8 | Element::I16 | Element::I32 | Element::U8 | Element::U16 | Element::Bool,
                Data::I64(values),
            )
            | (7, Element::I64, Data::I64(values))
            | (11, Element::U32, Data::I64(values)) => field.ints(|value| {
                full(values.len())?;
                values.push(if element == Element::Bool { i64::from(value != 0) } else { value });
                Ok(())
            })?,
            (4..=7 | 10 | 11, ..) => {
                return Err(Error::mismatch(subject, format!("values of type {element:?}"), "another list"));
            }
            _ => {}
        }
    }
    if data.len() != count {
        return Err(found(data.len().to_string()));
    }
    Ok(data)
}

impl Const {
    pub(super) fn shape(&self) -> &[usize] {
        self.tensor.shape()
    }

    /// The integers, if that is what they are.
    pub(super) fn ints(&self) -> Option<&[i64]> {
        match self.tensor.data() {
            Data::I64(values) => Some(values),
            _ => None,
        }
    }

    /// The one value, if there is only one.
    pub(super) fn scalar(&self) -> Option<f64> {
        (self.tensor.len() == 1).then(|| self.tensor.to_f64().first().copied()).flatten()
    }

    /// The value that all elements have, if they have one.
    pub(super) fn splat(&self) -> Option<f64> {
        fn same<T: Copy + PartialEq + Into<f64>>(values: &[T]) -> Option<f64> {
            let (&first, rest) = values.split_first()?;
            rest.iter().all(|&value| value == first).then(|| first.into())
        }
        match self.tensor.data() {
            Data::F32(values) => same(values),
            Data::F64(values) => same(values),
            #[allow(clippy::cast_precision_loss)] // compared as integers
            Data::I64(values) => {
                let (&first, rest) = values.split_first()?;
                rest.iter().all(|&value| value == first).then_some(first as f64)
            }
        }
    }

    /// The tensor in f32, without a copy where it is so already.
    pub(super) fn f32(&self) -> Result<Arc<Tensor>> {
        match self.tensor.data() {
            Data::F32(_) => Ok(self.tensor.clone()),
            _ => Ok(Arc::new(Tensor::new(self.shape(), self.tensor.to_f32().into_owned())?)),
        }
    }

    pub(super) fn of_ints(shape: Vec<usize>, values: Vec<i64>) -> Result<Self> {
        Ok(Self { kind: Kind::Int, tensor: Arc::new(Tensor::new(shape, values)?) })
    }
}

/// What messages call the tensor of that name.
pub(super) fn tensor_subject(name: &str) -> String {
    format!("tensor {}", quoted(name))
}
