//! safetensors files: a header that the crate `safetensors` checks, under limits that it does not have,
//! and values that are read one tensor at a time, straight into what a model keeps.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::{ErrorKind, Read, SeekFrom},
};

use half::{bf16, f16};
use safetensors::{Dtype, tensor::Metadata};

use super::{
    Inspection, Source, io_error,
    json::Counted,
    limits::{Limits, within},
};
use crate::{
    error::{Error, Result, bytes, quoted},
    tensor::{element_count, reserved},
};

/// Fills a buffer with the bytes from a position of the file on.
type ReadAt<'a> = dyn Fn(u64, &mut [u8]) -> std::io::Result<()> + 'a;

/// A file whose header has been checked.
pub(super) struct Archive<'a> {
    read_at: Box<ReadAt<'a>>,
    entries: BTreeMap<String, Entry>,
    metadata: BTreeMap<String, String>,
    /// Where the values begin.
    start: u64,
}

/// What the header says of a tensor.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// Bytes, counted from where the values begin.
    range: (u64, u64),
}

impl Entry {
    /// The name of its type.
    pub(super) fn dtype_name(&self) -> String {
        match self.dtype {
            Dtype::F64 => "float64".to_owned(),
            Dtype::F32 => "float32".to_owned(),
            Dtype::F16 => "float16".to_owned(),
            Dtype::BF16 => "bfloat16".to_owned(),
            Dtype::I64 => "int64".to_owned(),
            Dtype::I32 => "int32".to_owned(),
            Dtype::BOOL => "bool".to_owned(),
            other => format!("{other:?}").to_lowercase(),
        }
    }

    /// The bytes of its values.
    pub(super) fn bytes(&self) -> u64 {
        self.range.1.saturating_sub(self.range.0)
    }
}

const HEADER: &str = "the header";
/// Bytes of the length that a file begins with.
const LENGTH: u64 = 8;
/// Values are read in pieces of this many bytes, a multiple of every element's size.
const PIECE: usize = 1 << 20;

fn malformed(at: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Error {
    Error::Malformed { file: String::new(), at: at.into(), expected: expected.into(), found: found.into() }
}

/// The error for bytes that could not be read.
fn unreadable(at: String, cause: std::io::Error) -> Error {
    match cause.kind() {
        ErrorKind::UnexpectedEof => malformed(at, "its bytes", "the end of the file"),
        _ => io_error("", cause),
    }
}

impl<'a> Archive<'a> {
    /// Reads and checks the header: tensors lie one after the other and fill the file to its end.
    pub(super) fn open(mut reader: Box<dyn Source + 'a>, limits: &Limits) -> Result<Self> {
        let length = reader.seek(SeekFrom::End(0)).map_err(|cause| io_error("", cause))?;
        within(|| "the file".to_owned(), length, limits.total_bytes, "total_bytes")?;
        reader.seek(SeekFrom::Start(0)).map_err(|cause| io_error("", cause))?;
        let mut size = [0; 8];
        reader.read_exact(&mut size).map_err(|cause| unreadable(HEADER.to_owned(), cause))?;
        let size = u64::from_le_bytes(size);
        within(|| HEADER.to_owned(), size, limits.json_bytes, "json_bytes")?;
        let start = size.saturating_add(LENGTH);
        if start > length {
            return Err(malformed(HEADER, bytes(size), bytes(length.saturating_sub(LENGTH))));
        }
        let mut header = Vec::new();
        (&mut reader).take(size).read_to_end(&mut header).map_err(|cause| unreadable(HEADER.to_owned(), cause))?;
        let counted = Counted::of(&header);
        within(|| HEADER.to_owned(), counted.objects as u64, limits.tensors, "tensors")?;
        let beside = counted.texts.saturating_sub(counted.objects.saturating_mul(5));
        within(|| "the metadata".to_owned(), beside as u64, limits.tensors, "tensors")?;
        within(|| HEADER.to_owned(), (counted.texts + counted.commas) as u64, limits.json_values, "json_values")?;
        if header.first() != Some(&b'{') {
            return Err(malformed(HEADER, "a JSON object", "something else"));
        }
        let parsed: Metadata = serde_json::from_slice(&header)
            .map_err(|cause| malformed(HEADER, "that of a safetensors file", quoted(&cause.to_string())))?;
        drop(header);
        let end = start.saturating_add(parsed.data_len() as u64);
        if end != length {
            return Err(malformed(HEADER, format!("a file of {}", bytes(end)), bytes(length)));
        }
        let metadata: BTreeMap<String, String> =
            parsed.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
        let mut entries = BTreeMap::new();
        let mut expanded = 0u64;
        for (name, info) in parsed.tensors() {
            let place = || format!("tensor {}", quoted(&name));
            within(place, info.shape.len() as u64, limits.rank, "rank")?;
            let values = element_count(&info.shape).and_then(|count| count.checked_mul(size_of::<f32>()));
            expanded = expanded.saturating_add(values.map_or(u64::MAX, |values| values as u64));
            let range = (info.data_offsets.0 as u64, info.data_offsets.1 as u64);
            entries.insert(name, Entry { dtype: info.dtype, shape: info.shape.clone(), range });
        }
        within(|| "all tensors, as float32".to_owned(), expanded, limits.total_bytes, "total_bytes")?;
        // A name that is there twice would be one entry, of whichever came last.
        let has_metadata = parsed.metadata().is_some();
        let texts = 5 * entries.len() + 2 * metadata.len() + usize::from(has_metadata);
        if (counted.texts, counted.objects) != (texts, 1 + entries.len() + usize::from(has_metadata)) {
            return Err(malformed(HEADER, "each name once", "a name twice"));
        }
        let reader = RefCell::new(reader);
        let read_at = move |position, buffer: &mut [u8]| {
            let mut reader = reader.borrow_mut();
            reader.seek(SeekFrom::Start(position))?;
            reader.read_exact(buffer)
        };
        Ok(Self { read_at: Box::new(read_at), entries, metadata, start })
    }

    /// The tensors, by name.
    pub(super) fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// Adds the tensors to what was found in the file.
    pub(super) fn inspect(&self, found: &mut Inspection) {
        for (name, entry) in &self.entries {
            found.tensor(name, entry.dtype_name(), &entry.shape, entry.bytes());
        }
    }

    /// The texts beside the tensors.
    pub(super) fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The values of a tensor, rounded to f32 where they are wider. Integers are refused.
    pub(super) fn values(&self, name: &str) -> Result<Vec<f32>> {
        let place = || format!("tensor {}", quoted(name));
        let entry = self.entries.get(name).ok_or_else(|| Error::internal("a tensor that was not found"))?;
        let convert: fn(&mut Vec<f32>, &[u8]) = match entry.dtype {
            Dtype::F32 => |to, from| to.extend(from.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b))),
            #[allow(clippy::cast_possible_truncation)] // rounding is the meaning
            Dtype::F64 => |to, from| to.extend(from.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b) as f32)),
            Dtype::F16 => |to, from| to.extend(from.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32())),
            Dtype::BF16 => |to, from| to.extend(from.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32())),
            other => {
                let found = format!("{other:?}");
                return Err(Error::mismatch(place(), "weights of type F64, F32, F16 or BF16", found));
            }
        };
        self.converted(name, entry, convert)
    }

    /// The values of a tensor of 8-bit integers.
    #[cfg(feature = "native")]
    pub(super) fn integers(&self, name: &str) -> Result<Vec<f32>> {
        match self.entries.get(name) {
            Some(entry) if entry.dtype == Dtype::I8 => self.converted(name, entry, |to, from| {
                to.extend(from.as_chunks().0.iter().map(|&b| f32::from(i8::from_le_bytes(b))));
            }),
            _ => Err(Error::internal("a tensor that is not of 8-bit integers")),
        }
    }

    fn converted(&self, name: &str, entry: &Entry, convert: fn(&mut Vec<f32>, &[u8])) -> Result<Vec<f32>> {
        let place = || format!("tensor {}", quoted(name));
        let mut values = reserved(element_count(&entry.shape).unwrap_or(usize::MAX))?;
        let (mut at, end) = entry.range;
        let mut piece = vec![0; usize::try_from(end.saturating_sub(at)).unwrap_or(PIECE).min(PIECE)];
        while at < end {
            let now = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            let piece = piece.get_mut(..now).ok_or_else(|| Error::internal("a piece that is too long"))?;
            (self.read_at)(self.start.saturating_add(at), piece).map_err(|cause| unreadable(place(), cause))?;
            convert(&mut values, piece);
            at = at.saturating_add(now as u64);
        }
        Ok(values)
    }
}
