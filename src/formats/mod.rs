//! Files that hold models. Everything in a file is data: nothing in it is ever run, and no other file is
//! opened for it but those beside it that hold the rest of a model: `config.json` of weights, weights of a
//! `config.json`, shards.

mod folder;
mod inspect;
#[cfg(any(feature = "keras", feature = "torch", feature = "native"))]
mod json;
#[cfg(feature = "keras")]
mod keras;
mod limits;
#[cfg(feature = "native")]
mod native;
#[cfg(feature = "onnx")]
mod onnx;
mod recognise;
#[cfg(any(feature = "torch", feature = "native"))]
mod safetensors;
#[cfg(feature = "torch")]
mod torch;

use std::{
    fs,
    io::{Cursor, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

pub use inspect::{Inspection, Part, Stored, inspect};
pub use limits::Limits;
#[cfg(feature = "native")]
pub use native::{SaveOptions, WeightType};

use self::recognise::{HEAD, Kind, recognise};
use crate::{
    error::{Error, Result},
    model::Model,
};

/// How a file is read.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LoadOptions {
    /// What a file may ask for.
    pub limits: Limits,
    /// Whose rule for the outputs at masked timesteps to follow; a file does not say.
    pub keras_backend: KerasBackend,
    /// What messages call the file where there is no path.
    pub file_name: Option<String>,
    /// The configuration of a PyTorch state dict, or of a file of Keras that holds weights only; else
    /// `config.json` in its folder, if there is one.
    pub config: Option<PathBuf>,
    /// The text of that configuration, where it is not in a file.
    pub config_text: Option<String>,
    /// The version of Keras that wrote a file which does not say it, such as `(2, 15)`.
    pub keras_version: Option<(u32, u32)>,
}

/// A backend of Keras. They differ in the output of a recurrent layer at masked timesteps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KerasBackend {
    /// TensorFlow, and PyTorch: the previous output is repeated.
    #[default]
    TensorFlow,
    /// JAX, and NumPy: the hidden state is repeated, so the initial one before the first live timestep.
    Jax,
}

impl Model {
    /// Reads a model from a file; what kind of file it is, its contents tell: `.keras` (or a directory with
    /// the same members), `.h5` with the whole model, or a folder of `config.json` and weights, as Keras 3 and
    /// Keras 2 write them; ONNX; a PyTorch state dict in a safetensors file, or a folder of one and its
    /// `config.json`; a file that [`save`](Self::save) wrote.
    ///
    /// ```no_run
    /// # use wgpu_rnn::Model;
    /// let model = Model::load("model.keras")?;
    /// print!("{}", model.summary());
    /// # Ok::<(), wgpu_rnn::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Malformed`] if it is damaged,
    /// [`Error::Unsupported`] naming the layer, option or kind of file that is not supported,
    /// [`Error::Mismatch`] if its parts do not fit together,
    /// [`Error::Limit`] if it asks for more than the default [`Limits`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::load_with(path, &LoadOptions::default())
    }

    /// [`load`](Self::load) with options.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Self> {
        let path = path.as_ref();
        let name = options.file_name.clone().unwrap_or_else(|| path.display().to_string());
        let io = |cause| io_error(&name, cause);
        if fs::metadata(path).map_err(io)?.is_dir() {
            return match folder::tensors(path, &options.limits).map_err(|error| in_file(error, &name))? {
                Some(inside) => Self::load_with(inside, options),
                None => of_keras_folder(path, &name, options),
            };
        }
        let file = fs::File::open(path).map_err(io)?;
        read(Box::new(file), &name, Some(path), options)
    }

    /// Reads a model from the bytes of a file.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::from_bytes_with(bytes, &LoadOptions::default())
    }

    /// [`from_bytes`](Self::from_bytes) with options.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_bytes_with(bytes: &[u8], options: &LoadOptions) -> Result<Self> {
        let name = options.file_name.clone().unwrap_or_else(|| "<bytes>".to_owned());
        read(Box::new(Cursor::new(bytes)), &name, None, options)
    }
}

/// What of Keras is supported, as the tables of `docs/formats.md`.
#[cfg(feature = "keras")]
#[must_use]
pub fn keras_table() -> String {
    keras::table()
}

/// What of PyTorch is supported, as the table of `docs/formats.md`.
#[cfg(feature = "torch")]
#[must_use]
pub fn torch_table() -> String {
    torch::table()
}

/// What is stored how in a file of this crate's own, as the table of `docs/formats.md`.
#[cfg(feature = "native")]
#[must_use]
pub fn native_table() -> String {
    native::table()
}

/// What a file is read from.
trait Source: Read + Seek {}
impl<T: Read + Seek> Source for T {}

/// The model of a file called `name`, at `path` if it has one.
fn read<'a>(mut file: Box<dyn Source + 'a>, name: &str, path: Option<&Path>, options: &LoadOptions) -> Result<Model> {
    let (head, length) = head(&mut file).map_err(|cause| io_error(name, cause))?;
    let kind = recognise(&head, length);
    if matches!(kind, Kind::Zip | Kind::Onnx | Kind::Json) {
        no_config(options).map_err(|error| in_file(error, name))?;
    }
    match kind {
        Kind::Pickle => Err(Error::unsupported(name, "a pickle, which can run any code when it is read,", UNPICKLE)),
        #[cfg(feature = "onnx")]
        Kind::Onnx => {
            // External data lies beside the file.
            let folder = path.map(|path| path.parent().filter(|folder| *folder != Path::new("")));
            let folder = folder.map(|folder| folder.unwrap_or(Path::new(".")));
            onnx::from_bytes(&whole(file, length, name, &options.limits)?, folder, name, options)
        }
        #[cfg(not(feature = "onnx"))]
        Kind::Onnx => Err(without(name, "an ONNX file", "onnx")),
        Kind::Safetensors => of_tensors(file, path, options).map_err(|error| in_file(error, name)),
        #[cfg(feature = "keras")]
        Kind::Zip | Kind::Hdf5 | Kind::Json | Kind::Unknown => keras::from_file(file, path, name, options),
        #[cfg(not(feature = "keras"))]
        Kind::Zip | Kind::Hdf5 | Kind::Json | Kind::Unknown => {
            Err(without(name, "a file of Keras, or of an unknown kind,", "keras"))
        }
    }
}

/// The model in a folder of Keras' files.
fn of_keras_folder(path: &Path, name: &str, options: &LoadOptions) -> Result<Model> {
    no_config(options).map_err(|error| in_file(error, name))?;
    #[cfg(feature = "keras")]
    return keras::from_directory(path, name, options);
    #[cfg(not(feature = "keras"))]
    Err(without(&path.display().to_string(), "a directory without a .safetensors file", "keras"))
}

/// What to do with a pickle, one line of Python.
const UNPICKLE: &str = "write its tensors with: python -c \"import torch, safetensors.torch as s; \
    m = torch.load('model.pt', map_location='cpu'); m = m if isinstance(m, dict) else m.state_dict(); \
    s.save_file({k: v.clone().contiguous() for k, v in m.items()}, 'model.safetensors')\"";

/// The first bytes of a file and its length; it is wound back to its start.
fn head(file: &mut dyn Source) -> std::io::Result<(Vec<u8>, u64)> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    let mut head = Vec::new();
    file.take(HEAD as u64).read_to_end(&mut head)?;
    file.seek(SeekFrom::Start(0))?;
    Ok((head, length))
}

/// All bytes of a file of `length` bytes.
#[cfg(feature = "onnx")]
fn whole(file: Box<dyn Source + '_>, length: u64, name: &str, limits: &Limits) -> Result<Vec<u8>> {
    limits::within(|| name.to_owned(), length, limits.total_bytes, "total_bytes")?;
    let mut bytes = Vec::new();
    // The file is that long: no claim of its own.
    let room = usize::try_from(length).ok().map(|length| bytes.try_reserve_exact(length));
    if !matches!(room, Some(Ok(()))) {
        return Err(limits::exceeded(name.to_owned(), length.to_string(), limits.total_bytes, "total_bytes"));
    }
    file.take(length).read_to_end(&mut bytes).map_err(|cause| io_error(name, cause))?;
    Ok(bytes)
}

/// The model of a safetensors file.
#[cfg(any(feature = "torch", feature = "native"))]
#[cfg_attr(not(feature = "torch"), allow(unused_variables))] // only a state dict has a file beside it
fn of_tensors<'a>(file: Box<dyn Source + 'a>, path: Option<&Path>, options: &LoadOptions) -> Result<Model> {
    let archive = safetensors::Archive::open(file, &options.limits)?;
    #[cfg(feature = "native")]
    if archive.metadata().contains_key(native::KEY) {
        no_config(options)?;
        return native::read(&archive, &options.limits);
    }
    #[cfg(not(feature = "native"))]
    if archive.metadata().contains_key("wgpu_rnn") {
        return Err(without("the file", "a file of this crate's own", "native"));
    }
    #[cfg(feature = "torch")]
    return torch::read(archive, config(path, options)?.as_deref(), &options.limits);
    #[cfg(not(feature = "torch"))]
    Err(without("the file", "a PyTorch state dict", "torch"))
}

#[cfg(not(any(feature = "torch", feature = "native")))]
fn of_tensors<'a>(_: Box<dyn Source + 'a>, _: Option<&Path>, _: &LoadOptions) -> Result<Model> {
    Err(without("the file", "a safetensors file", "torch"))
}

/// The configuration of a state dict, if there is one.
#[cfg(feature = "torch")]
fn config(path: Option<&Path>, options: &LoadOptions) -> Result<Option<Vec<u8>>> {
    if let Some(text) = &options.config_text {
        return Ok(Some(text.as_bytes().to_vec()));
    }
    let beside = path.map(|path| path.with_file_name("config.json")).filter(|path| path.is_file());
    let Some(path) = options.config.clone().or(beside) else { return Ok(None) };
    let io = |cause| io_error(&path.display().to_string(), cause);
    let limit = u64::try_from(options.limits.json_bytes).unwrap_or(u64::MAX).saturating_add(1);
    let mut text = Vec::new();
    fs::File::open(&path).map_err(io)?.take(limit).read_to_end(&mut text).map_err(io)?;
    Ok(Some(text))
}

/// Refuses a configuration that was given for a file that holds its own.
fn no_config(options: &LoadOptions) -> Result<()> {
    if options.config.is_none() && options.config_text.is_none() {
        return Ok(());
    }
    let found = "one that was given beside it";
    Err(Error::mismatch("the configuration", "that of the file, which holds a whole model", found))
}

/// The error for a kind of file that needs a feature of this crate.
#[allow(dead_code)] // with all features
fn without(subject: &str, what: &str, feature: &str) -> Error {
    Error::unsupported(subject, what, format!("build with the feature `{feature}`"))
}

fn io_error(path: &str, cause: std::io::Error) -> Error {
    Error::Io { path: path.to_owned(), source: Arc::new(cause) }
}

/// `error` with the file's name before the place it names.
fn in_file(error: Error, name: &str) -> Error {
    let named = |subject: String| format!("{name}: {subject}");
    match error {
        Error::Malformed { at, expected, found, .. } => Error::Malformed { file: name.to_owned(), at, expected, found },
        Error::Unsupported { subject, what, instead } => Error::Unsupported { subject: named(subject), what, instead },
        Error::Mismatch { subject, expected, found } => Error::Mismatch { subject: named(subject), expected, found },
        Error::NonFinite { tensor, index, value } => Error::NonFinite { tensor: named(tensor), index, value },
        Error::Limit { what, need, limit, hint } => Error::Limit { what: named(what), need, limit, hint },
        Error::Io { path, source } if path.is_empty() => Error::Io { path: name.to_owned(), source },
        other => other,
    }
}
