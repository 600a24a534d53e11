//! From a model to a file.

use std::{
    borrow::Cow,
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use safetensors::{
    Dtype,
    tensor::{Metadata, TensorInfo},
};

use super::{Answer, Document, KEY, TYPES, answer_name, scale_name, scale_shape, weight_name};
use crate::{
    error::{Error, Result, quoted},
    float16::Float16,
    formats::io_error,
    int8,
    model::{Model, Parts},
    tensor::{Tensor, unravel},
};

/// How a model is written.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SaveOptions {
    /// How matrices are stored; biases and the like always as f32.
    pub weights: WeightType,
}

/// How values are stored in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightType {
    /// 32-bit floats: the model that is read is the one that was written.
    #[default]
    F32,
    /// 16-bit floats: half the size, with each value rounded.
    F16,
    /// The same as bfloat16, which has the range of f32.
    Bf16,
    /// 8-bit integers and an f32 scale for each row: a quarter of the size, with each value rounded as a session
    /// with such weights does it.
    I8,
}

impl WeightType {
    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::BF16,
            Self::I8 => Dtype::I8,
        }
    }
}

impl Model {
    /// Writes the model as one file, which [`load`](Self::load) reads without the crates that other formats
    /// need. An existing file is replaced once the new one is whole.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written, [`Error::Unsupported`] for a model that
    /// [needs weights](Self::needs_weights).
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.save_with(path, &SaveOptions::default())
    }

    /// [`save`](Self::save) with options.
    ///
    /// # Errors
    /// As [`save`](Self::save), and [`Error::Limit`] for a value that rounds to infinity.
    pub fn save_with(&self, path: impl AsRef<Path>, options: &SaveOptions) -> Result<()> {
        let path = path.as_ref();
        let file = File::of(self, options)?;
        let io = |cause| io_error(&path.display().to_string(), cause);
        let beside = beside(path).map_err(io)?;
        let written = fs::OpenOptions::new().write(true).create_new(true).open(&beside).and_then(|to| {
            let mut to = BufWriter::with_capacity(1 << 20, to);
            file.write(&mut to)?;
            to.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
            fs::rename(&beside, path)
        });
        written.map_err(|cause| {
            // Nothing is to be done if this fails too.
            let _ = fs::remove_file(&beside);
            io(cause)
        })
    }

    /// The bytes of the file that [`save_with`](Self::save_with) writes.
    ///
    /// # Errors
    /// As [`save_with`](Self::save_with).
    pub fn to_bytes(&self, options: &SaveOptions) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::of(self, options)?.write(&mut bytes).map_err(|cause| io_error("<bytes>", cause))?;
        Ok(bytes)
    }
}

/// A name in the same folder, for what is not whole yet.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no name of a file"))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}.part", std::process::id()));
    Ok(path.with_file_name(hidden))
}

/// A header and the tensors behind it, in order.
struct File<'a> {
    header: Vec<u8>,
    tensors: Vec<(Dtype, Cow<'a, Tensor>)>,
}

impl<'a> File<'a> {
    fn of(model: &'a Model, options: &SaveOptions) -> Result<Self> {
        if !model.needs_weights().is_empty() {
            let subject = format!("model {}", quoted(model.name()));
            let instead = "give it its weights first (with_weights)";
            return Err(Error::unsupported(subject, "to save a model whose weights are inputs", instead));
        }
        let all = || model.layers().iter().flat_map(|layer| layer.kind.weights());
        if all().any(|(_, tensor, _)| tensor.is_hollow()) {
            let subject = format!("model {}", quoted(model.name()));
            let what = "to save a model whose weights were released to a device";
            return Err(Error::unsupported(subject, what, "save the model that the session was made of"));
        }
        // What also has another part than that of a matrix stays as it is.
        let others: HashSet<_> =
            all().filter(|(role, ..)| !is_matrix(role)).map(|(_, tensor, _)| tensor.id()).collect();
        let mut tensors: Vec<(String, Dtype, Cow<'a, Tensor>)> = Vec::new();
        let mut shared = BTreeMap::new();
        let mut names = HashMap::new();
        for layer in model.layers() {
            for (role, tensor, _) in layer.kind.weights() {
                let name = weight_name(&layer.name, &role);
                if let Some(first) = names.get(&tensor.id()) {
                    shared.insert(name, String::clone(first));
                    continue;
                }
                names.insert(tensor.id(), name.clone());
                let dtype = if others.contains(&tensor.id()) { Dtype::F32 } else { options.weights.dtype() };
                if let Some(kind) = float16(dtype) {
                    check_float16(&name, tensor, kind)?;
                }
                if dtype == Dtype::I8 {
                    tensors.push((scale_name(&name), Dtype::F32, Cow::Owned(scales(tensor)?)));
                }
                tensors.push((name, dtype, Cow::Borrowed(Arc::as_ref(tensor))));
            }
        }
        let mut known_answers = Vec::new();
        for (index, answer) in model.known_answers().iter().enumerate() {
            for (side, of) in [("inputs", &answer.inputs), ("outputs", &answer.outputs)] {
                let named = of.iter().enumerate();
                tensors.extend(
                    named.map(|(at, (_, tensor))| (answer_name(index, side, at), Dtype::F32, Cow::Borrowed(tensor))),
                );
            }
            let names = |of: &[(String, Tensor)]| of.iter().map(|(name, _)| name.clone()).collect();
            known_answers.push(Answer { inputs: names(&answer.inputs), outputs: names(&answer.outputs) });
        }
        let written_by = format!("wgpu-rnn {}", env!("CARGO_PKG_VERSION"));
        let has = |dtype: Dtype| tensors.iter().any(|(_, found, _)| *found == dtype);
        let since = TYPES.iter().filter(|(dtype, _)| has(*dtype)).map(|(_, since)| *since);
        let format = since.max().unwrap_or(1);
        let document = Document { format, written_by, model: Parts::of(model), shared, known_answers };
        let broken =
            |cause: &dyn std::fmt::Display| Error::internal(format!("a model that cannot be written: {cause}"));
        let text = serde_json::to_string(&document).map_err(|cause| broken(&cause))?;
        serde_json::from_str::<Document>(&text).map_err(|cause| broken(&cause))?;
        // Wider values first, so that each tensor lies at a multiple of its values' size.
        tensors.sort_by_key(|(_, dtype, _)| Reverse(dtype.bitsize()));
        let mut at = 0;
        let mut infos = Vec::new();
        for (name, dtype, tensor) in &tensors {
            let end = at + tensor.len() * dtype.bitsize() / 8;
            let info = TensorInfo { dtype: *dtype, shape: tensor.shape().to_vec(), data_offsets: (at, end) };
            infos.push((name.clone(), info));
            at = end;
        }
        let metadata = Some([(KEY.to_owned(), text)].into_iter().collect());
        let header = Metadata::new(metadata, infos).map_err(|cause| broken(&cause))?;
        let mut header = serde_json::to_vec(&header).map_err(|cause| broken(&cause))?;
        header.resize(header.len().next_multiple_of(8), b' ');
        Ok(Self { header, tensors: tensors.into_iter().map(|(_, dtype, tensor)| (dtype, tensor)).collect() })
    }

    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&(self.header.len() as u64).to_le_bytes())?;
        to.write_all(&self.header)?;
        for (dtype, tensor) in &self.tensors {
            // Whole rows, since an integer depends on its row.
            let columns = tensor.shape().last().copied().unwrap_or(1).max(1);
            for piece in tensor.to_f32().chunks(columns.saturating_mul(65_536usize.div_ceil(columns))) {
                let bytes: Vec<u8> = match float16(*dtype) {
                    Some(kind) => piece.iter().flat_map(|&value| kind.bits(value).to_le_bytes()).collect(),
                    None if *dtype == Dtype::I8 => piece.chunks(columns).flat_map(integers).collect(),
                    None => piece.iter().flat_map(|value| value.to_le_bytes()).collect(),
                };
                to.write_all(&bytes)?;
            }
        }
        to.flush()
    }
}

/// The last words of the roles of factors of products, and of tables.
pub(super) const MATRICES: [&str; 5] = ["table", "weight", "weight_ih", "weight_hh", "weight_hr"];

/// Whether a weight is one that other types than f32 round: a factor of a product, or a table.
fn is_matrix(role: &str) -> bool {
    let role = role.rsplit(' ').next().unwrap_or(role);
    MATRICES.contains(&role)
}

/// The scale of each row.
fn scales(tensor: &Tensor) -> Result<Tensor> {
    let shape = tensor.shape();
    let columns = shape.last().copied().unwrap_or(1);
    let all = tensor.to_f32();
    let mut scales: Vec<f32> = all.chunks(columns.max(1)).map(int8::scale).collect();
    // Rows without a weight have a scale, too.
    scales.resize(scale_shape(shape).iter().product(), 0.0);
    Tensor::new(scale_shape(shape), scales)
}

/// The bytes of a row.
fn integers(row: &[f32]) -> impl Iterator<Item = u8> {
    let scale = int8::scale(row);
    row.iter().flat_map(move |&weight| int8::quantise(weight, scale).to_le_bytes())
}

fn float16(dtype: Dtype) -> Option<Float16> {
    match dtype {
        Dtype::F16 => Some(Float16::F16),
        Dtype::BF16 => Some(Float16::Bf16),
        _ => None,
    }
}

fn check_float16(name: &str, tensor: &Tensor, kind: Float16) -> Result<()> {
    let values = tensor.to_f32();
    let bad = values.iter().enumerate().find(|(_, value)| !kind.rounded(**value).is_finite());
    bad.map_or(Ok(()), |(at, value)| {
        Err(Error::Limit {
            what: format!("weight {}{:?}", quoted(name), unravel(at, tensor.shape())),
            need: value.to_string(),
            limit: kind.largest().to_owned(),
            hint: "save f32 weights".to_owned(),
        })
    })
}
