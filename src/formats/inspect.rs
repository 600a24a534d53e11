//! [`inspect`]: what is in a file, also in one that cannot be run, and then every reason why it cannot.

use std::{fs, path::Path};

#[cfg(feature = "keras")]
use super::keras;
#[cfg(feature = "native")]
use super::native;
#[cfg(any(feature = "torch", feature = "native"))]
use super::safetensors;
use super::{
    LoadOptions, Source, folder, head, in_file, io_error,
    recognise::{Kind, recognise},
};
#[cfg(feature = "torch")]
use super::{config, torch};
#[cfg(feature = "onnx")]
use super::{onnx, whole};
use crate::{
    error::{Error, Result},
    model::{Model, Signature},
};

/// What is in a file.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Inspection {
    /// The kind of file, such as `Keras` or `ONNX`.
    pub format: String,
    /// Names and values of what the file says of itself: versions, and who wrote it.
    pub versions: Vec<(String, String)>,
    /// The layers, nodes or modules that the file lists, in its order.
    pub parts: Vec<Part>,
    /// The tensors that it stores.
    pub tensors: Vec<Stored>,
    /// What goes into the model, as far as it is known.
    pub inputs: Vec<Signature>,
    /// What comes out of it, as far as it is known.
    pub outputs: Vec<Signature>,
    /// The model, unless there are [problems](Self::problems).
    pub model: Option<Model>,
    /// Every reason found why the file cannot be run; those of one part do not hide those of another.
    pub problems: Vec<Error>,
}

/// A layer, node or module of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Part {
    /// Its name; where there is none, that of what comes out of it.
    pub name: String,
    /// Its class, operator or kind.
    pub class: String,
}

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// Its name, or its path in the file.
    pub name: String,
    /// The type of its elements, such as `float32`.
    pub dtype: String,
    /// Its shape as stored.
    pub shape: Vec<usize>,
    /// The bytes that its values take.
    pub bytes: u64,
}

/// Reads what is in the file at `path`, and whether it can be run.
///
/// ```no_run
/// # use wgpu_rnn::formats::{LoadOptions, inspect};
/// let found = inspect("model.onnx", &LoadOptions::default())?;
/// println!("{} with {} tensors", found.format, found.tensors.len());
/// for problem in &found.problems {
///     println!("{problem}");
/// }
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] if it cannot be read, and what [`Model::load`] says of a file of no known kind. That a
/// model cannot be run is no error but one of [`problems`](Inspection::problems).
pub fn inspect(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Inspection> {
    let path = path.as_ref();
    let name = options.file_name.clone().unwrap_or_else(|| path.display().to_string());
    let mut found = Inspection::default();
    let read = contents(path, &name, options, &mut found);
    found.problems = found.problems.into_iter().map(|problem| in_file(problem, &name)).collect();
    match Model::load_with(path, options) {
        Ok(model) => {
            found.problems.clear();
            (found.inputs, found.outputs) = (model.inputs(), model.outputs());
            found.model = Some(model);
        }
        Err(error @ Error::Io { .. }) => return Err(error),
        Err(error) if found.format.is_empty() => return Err(error),
        Err(error) => {
            let read = read.err().map(|error| in_file(error, &name));
            for error in read.into_iter().chain([error]) {
                // The one that loading stops at is among them, as a rule.
                let text = error.to_string();
                if found.problems.iter().all(|known| known.to_string() != text) {
                    found.problems.push(error);
                }
            }
        }
    }
    Ok(found)
}

impl Inspection {
    #[cfg_attr(not(any(feature = "keras", feature = "onnx", feature = "torch")), allow(dead_code))]
    pub(super) fn refuse(&mut self, problem: Error) {
        self.problems.push(problem);
    }

    pub(super) fn version(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.versions.push((name.into(), value.into()));
    }

    pub(super) fn part(&mut self, name: impl Into<String>, class: impl Into<String>) {
        self.parts.push(Part { name: name.into(), class: class.into() });
    }

    pub(super) fn tensor(&mut self, name: &str, dtype: impl Into<String>, shape: &[usize], bytes: u64) {
        self.tensors.push(Stored { name: name.to_owned(), dtype: dtype.into(), shape: shape.to_vec(), bytes });
    }
}

/// Reads as much of the file as can be read. An error is where that ended.
fn contents(path: &Path, name: &str, options: &LoadOptions, found: &mut Inspection) -> Result<()> {
    let io = |cause| io_error(name, cause);
    if fs::metadata(path).map_err(io)?.is_dir() {
        if let Some(inside) = folder::tensors(path, &options.limits)? {
            return contents(&inside, name, options, found);
        }
        #[cfg(feature = "keras")]
        keras::inspect_directory(path, options, found)?;
        return Ok(());
    }
    let mut file: Box<dyn Source> = Box::new(fs::File::open(path).map_err(io)?);
    let (start, length) = head(&mut file).map_err(io)?;
    match recognise(&start, length) {
        Kind::Pickle => found.format = "pickle".to_owned(),
        #[cfg(feature = "onnx")]
        Kind::Onnx => onnx::inspect(&whole(file, length, name, &options.limits)?, &options.limits, found)?,
        #[cfg(any(feature = "torch", feature = "native"))]
        Kind::Safetensors => tensors(file, path, options, found)?,
        #[cfg(feature = "keras")]
        Kind::Zip | Kind::Hdf5 | Kind::Json => keras::inspect(file, path, options, found)?,
        _ => {}
    }
    Ok(())
}

/// [`contents`] of a safetensors file.
#[cfg(any(feature = "torch", feature = "native"))]
#[cfg_attr(not(feature = "torch"), allow(unused_variables))] // only a state dict has a file beside it
fn tensors(file: Box<dyn Source>, path: &Path, options: &LoadOptions, found: &mut Inspection) -> Result<()> {
    let archive = safetensors::Archive::open(file, &options.limits)?;
    #[cfg(feature = "native")]
    if archive.metadata().contains_key(native::KEY) {
        return native::inspect(&archive, &options.limits, found);
    }
    #[cfg(feature = "torch")]
    return torch::inspect(archive, config(Some(path), options)?.as_deref(), &options.limits, found);
    #[cfg(not(feature = "torch"))]
    Ok(())
}
