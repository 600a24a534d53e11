//! Files that hold models. Everything in a file is data: nothing in it is ever run, no other file
//! is opened for it, and nothing is written to disk.

mod keras;
mod limits;

use std::{
    path::{Path, PathBuf},
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
    /// The configuration of a file that holds weights only.
    pub config: Option<PathBuf>,
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
    /// Reads a model from a file of Keras: `.keras` (or a directory with the same members), `.h5` with the
    /// whole model, or a folder of `config.json` and weights.
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
        keras::from_path(path, &name, options)
    }

    /// Reads a model from the bytes of a `.keras` or `.h5` file.
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
        keras::from_bytes(bytes, &name, options)
    }
}

/// What of Keras is supported, as the tables of `docs/formats.md`.
#[must_use]
pub fn keras_table() -> String {
    keras::table()
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
