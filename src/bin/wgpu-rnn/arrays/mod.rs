//! NumPy's `.npy` and `.npz` files to tensors and back. Nothing is allocated on the word of a
//! header alone: the length of the file is compared first.

mod header;
mod npy;
mod npz;

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek},
    path::Path,
};

pub(crate) use npy::write as write_npy;
pub(crate) use npz::write as write_npz;
use wgpu_rnn::{Error, Tensor};

use crate::files::io_error;

/// What a file holds.
#[derive(Debug)]
pub(crate) enum Arrays {
    /// `.npy`
    One(Tensor),
    /// `.npz`: names and arrays, in the order of the file.
    Named(Vec<(String, Tensor)>),
}

/// Reads an `.npy` or `.npz` file, told apart by their first bytes.
pub(crate) fn read(path: &str) -> Result<Arrays, Error> {
    let io_failed = |error| io_error(path, error);
    let file = File::open(path).map_err(io_failed)?;
    let meta = file.metadata().map_err(io_failed)?;
    if meta.is_dir() {
        return Err(io_failed(io::ErrorKind::IsADirectory.into()));
    }
    let mut reader = BufReader::new(file);
    if !meta.is_file() {
        // A pipe: it can neither be measured nor read twice.
        return npy::read(&mut reader, None).map(Arrays::One).map_err(|bad| bad.into_error(path));
    }
    let mut magic = Vec::new();
    reader.by_ref().take(4).read_to_end(&mut magic).map_err(io_failed)?;
    reader.rewind().map_err(io_failed)?;
    if magic.starts_with(b"PK") {
        npz::read(reader, path).map(Arrays::Named)
    } else {
        npy::read(&mut reader, Some(meta.len())).map(Arrays::One).map_err(|bad| bad.into_error(path))
    }
}

/// Reads an `.npz` file.
pub(crate) fn read_npz(path: &Path) -> Result<Vec<(String, Tensor)>, Error> {
    let path = path.display().to_string();
    match read(&path)? {
        Arrays::Named(arrays) => Ok(arrays),
        Arrays::One(_) => Err(Error::Malformed {
            file: path,
            at: "magic bytes".to_owned(),
            expected: "an .npz archive".to_owned(),
            found: "an .npy file".to_owned(),
        }),
    }
}

/// Why an array is not read. Knows no file name yet.
#[derive(Debug)]
enum Bad {
    Io(io::Error),
    Malformed { at: String, expected: String, found: String },
    Refused(Refused),
    Limit { need: String, cause: String },
}

/// Arrays that NumPy writes and that are not read.
#[derive(Debug)]
enum Refused {
    Objects,
    Structured,
    DType(String),
}

impl Bad {
    fn into_error(self, file: &str) -> Error {
        let file = file.to_owned();
        match self {
            Self::Io(error) => io_error(file, error),
            Self::Malformed { at, expected, found } => Error::Malformed { file, at, expected, found },
            Self::Refused(Refused::Objects) => {
                let why = "object arrays hold Python pickles, which can run code; save with dtype float32";
                io_error(file, io::Error::new(io::ErrorKind::InvalidData, why))
            }
            Self::Refused(Refused::Structured) => Error::Unsupported {
                subject: file,
                what: "structured dtype".to_owned(),
                instead: "save one plain array per file".to_owned(),
            },
            Self::Refused(Refused::DType(descr)) => Error::Unsupported {
                subject: file,
                what: format!("dtype '{descr}'"),
                instead: "save with dtype float32, or int32 for token ids".to_owned(),
            },
            Self::Limit { need, cause } => Error::Limit {
                what: file,
                need,
                limit: format!("the memory of this machine ({cause})"),
                hint: "use fewer rows or shorter sequences".to_owned(),
            },
        }
    }
}
