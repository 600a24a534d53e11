//! Files that hold models. Everything in a file is data: nothing in it is ever run, no other file
//! is opened for it, and nothing is written to disk.

#[cfg(feature = "keras")]
mod keras;
mod limits;
#[cfg(feature = "onnx")]
mod onnx;

use std::{
    fs,
    io::{Cursor, Read, Seek},
    path::Path,
    sync::Arc,
};

pub use limits::Limits;

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
    /// Reads a model from a Keras 3 `.keras` file (or a directory with the same members).
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
            return keras::from_directory(path, &name, options);
        }
        let mut file = fs::File::open(path).map_err(io)?;
        #[cfg(feature = "onnx")]
        if onnx::is_onnx(&start_of(&mut file).map_err(io)?) {
            let limit = u64::try_from(options.limits.total_bytes).unwrap_or(u64::MAX);
            let length = file.metadata().map_err(io)?.len();
            limits::within(|| name.clone(), length, options.limits.total_bytes, "total_bytes")?;
            let mut bytes = Vec::new();
            file.take(limit).read_to_end(&mut bytes).map_err(io)?;
            return onnx::from_bytes(&bytes, Some(path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))), &name, options);
        }
        keras::from_zip(file, &name, options)
    }

    /// Reads a model from the bytes of a `.keras` file.
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
        #[cfg(feature = "onnx")]
        if onnx::is_onnx(bytes) {
            return onnx::from_bytes(bytes, None, &name, options);
        }
        keras::from_zip(Cursor::new(bytes), &name, options)
    }
}

/// The first bytes of a file, which is left where it was.
#[cfg(feature = "onnx")]
fn start_of(file: &mut fs::File) -> std::io::Result<Vec<u8>> {
    let mut start = Vec::new();
    file.by_ref().take(16).read_to_end(&mut start)?;
    file.rewind()?;
    Ok(start)
}

/// What reads archives where the feature is off.
#[cfg(not(feature = "keras"))]
mod keras {
    use std::{io, path::Path};

    use super::LoadOptions;
    use crate::{
        error::{Error, Result},
        model::Model,
    };

    pub(super) fn from_directory(_: &Path, name: &str, _: &LoadOptions) -> Result<Model> {
        Err(Error::unsupported(name, "a Keras model without the feature 'keras'", "build with it"))
    }

    pub(super) fn from_zip<R: io::Read + io::Seek>(_: R, name: &str, _: &LoadOptions) -> Result<Model> {
        Err(Error::unsupported(name, "a file that is not ONNX, without the feature 'keras'", "build with it"))
    }
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
