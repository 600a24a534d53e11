//! Several arrays: `.npz`, a ZIP archive with one `.npy` per member.

use std::{
    fs::File,
    io::{self, BufReader, Seek, Write},
};

use wgpu_rnn::{Error, Tensor};
use zip::{CompressionMethod, ZipArchive, ZipWriter, write::SimpleFileOptions};

use super::{Bad, npy};
use crate::failure::shown;

/// Deflate cannot shrink more than about 1032 to 1.
const MAX_RATIO: u64 = 1032;

/// Reads all members, in the order of the file.
pub(super) fn read(reader: BufReader<File>, path: &str) -> Result<Vec<(String, Tensor)>, Error> {
    let broken = |at: &str, error: zip::result::ZipError| {
        let expected = "a sound ZIP archive".to_owned();
        Error::Malformed { file: path.to_owned(), at: at.to_owned(), expected, found: error.to_string() }
    };
    let mut archive = ZipArchive::new(reader).map_err(|error| broken("archive", error))?;
    let mut arrays: Vec<(String, Tensor)> = Vec::new();
    for index in 0..archive.len() {
        let mut member = archive.by_index(index).map_err(|error| broken(&format!("member {index}"), error))?;
        let file_name = member.name().map_err(|error| broken(&format!("member {index}"), error))?.into_owned();
        let name_shown = shown(&file_name, 128);
        let malformed = |expected: &str, found: String| Error::Malformed {
            file: path.to_owned(),
            at: format!("member '{name_shown}'"),
            expected: expected.to_owned(),
            found,
        };
        let Some(name) = file_name.strip_suffix(".npy") else {
            return Err(malformed("a name that ends in .npy", "another".to_owned()));
        };
        if arrays.iter().any(|(known, _)| known == name) {
            return Err(malformed("each name once", "it again".to_owned()));
        }
        let (size, packed) = (member.size(), member.compressed_size());
        if size > packed.saturating_mul(MAX_RATIO).saturating_add(1 << 10) {
            return Err(malformed("a possible size", format!("{size} bytes from {packed}")));
        }
        let tensor = npy::read(&mut member, Some(size)).map_err(|bad| match bad {
            Bad::Malformed { at, expected, found } => malformed(&format!("{expected} ({at})"), found),
            bad => bad.into_error(&format!("{path}: member '{name_shown}'")),
        })?;
        arrays.push((name.to_owned(), tensor));
    }
    Ok(arrays)
}

/// Writes float32 arrays and, where there are any, `bytes` under their name; the same every time.
pub(crate) fn write<'a>(
    out: impl Write + Seek,
    arrays: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
    bytes: Option<(&str, &[u8])>,
) -> io::Result<()> {
    let mut archive = ZipWriter::new(out);
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default());
    for (name, tensor) in arrays {
        let large = npy::written_size(tensor) > u64::from(u32::MAX);
        archive.start_file(format!("{name}.npy"), options.large_file(large))?;
        npy::write(&mut archive, tensor)?;
    }
    if let Some((name, bytes)) = bytes {
        archive.start_file(format!("{name}.npy"), options)?;
        npy::write_bytes(&mut archive, bytes)?;
    }
    archive.finish()?.flush()
}
