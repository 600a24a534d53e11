//! Values that a file keeps in another one. Only files in the model's own folder are opened.

use std::{
    cell::Cell,
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    path::{Component, Path, PathBuf},
};

use crate::{
    error::{Error, Result, quoted},
    formats::{
        io_error,
        limits::{Limits, within},
    },
};

/// The folder of a model; none where the model came as bytes.
#[derive(Debug)]
pub(super) struct Folder {
    path: Option<PathBuf>,
    /// Bytes that may still be read.
    left: Cell<usize>,
    total: usize,
}

impl Folder {
    pub(super) fn new(path: Option<&Path>, limits: &Limits) -> Self {
        Self { path: path.map(Path::to_path_buf), left: Cell::new(limits.total_bytes), total: limits.total_bytes }
    }

    /// The `expected` bytes at the place that `entries` describe.
    pub(super) fn read(&self, subject: &str, entries: &[(&str, &str)], expected: usize) -> Result<Vec<u8>> {
        let number =
            |text: &str| text.parse::<u64>().map_err(|_| Error::mismatch(subject, "a number of bytes", quoted(text)));
        let (mut location, mut offset, mut length) = (None, 0, None);
        for &(key, value) in entries {
            match key {
                "location" => location = Some(value),
                "offset" => offset = number(value)?,
                "length" => length = Some(number(value)?),
                "checksum" => {}
                other => {
                    return Err(Error::unsupported(
                        subject,
                        format!("external data with {}", quoted(other)),
                        "save it anew",
                    ));
                }
            }
        }
        let location = location.ok_or_else(|| Error::mismatch(subject, "the place of its external data", "none"))?;
        if length.is_some_and(|length| length != expected as u64) {
            return Err(Error::mismatch(
                subject,
                format!("{expected} bytes"),
                format!("{} bytes", length.unwrap_or(0)),
            ));
        }
        let left = self.left.get();
        let need = (self.total - left).saturating_add(expected) as u64;
        within(|| "the external data".to_owned(), need, self.total, "total_bytes")?;
        let path = self.find(subject, location)?;
        let io = |cause| io_error(&path.display().to_string(), cause);
        let mut file = File::open(&path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        if offset.checked_add(expected as u64).is_none_or(|end| end > size) {
            let found = format!("{size} bytes in {}", quoted(location));
            return Err(Error::mismatch(subject, format!("{expected} bytes from byte {offset}"), found));
        }
        file.seek(SeekFrom::Start(offset)).map_err(io)?;
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(expected)
            .map_err(|_| Error::mismatch(subject, "memory for its values", "too little"))?;
        file.take(expected as u64).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() != expected {
            return Err(Error::mismatch(subject, format!("{expected} bytes"), format!("{} bytes", bytes.len())));
        }
        self.left.set(left.saturating_sub(expected));
        Ok(bytes)
    }

    /// The regular file that `location` names inside the folder.
    fn find(&self, subject: &str, location: &str) -> Result<PathBuf> {
        let refused = |found: &str| {
            Err(Error::mismatch(
                subject,
                "external data in a file in the model's own folder",
                format!("{}{found}", quoted(location)),
            ))
        };
        let Some(folder) = &self.path else {
            return Err(Error::unsupported(
                subject,
                "external data of a model that comes as bytes",
                "load the model by its path",
            ));
        };
        // A backslash or a colon means something on one system and nothing on another.
        let relative = Path::new(location);
        let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
        if location.is_empty() || !plain || location.contains(['\\', ':', '\0']) {
            return refused("");
        }
        let io = |path: &Path| {
            let text = path.display().to_string();
            move |cause| io_error(&text, cause)
        };
        let folder = folder.canonicalize().map_err(io(folder))?;
        let joined = folder.join(relative);
        let path = joined.canonicalize().map_err(io(&joined))?;
        if !path.starts_with(&folder) {
            return refused(", which leads out of it");
        }
        if !fs::metadata(&path).map_err(io(&path))?.is_file() {
            return refused(", which is no file");
        }
        Ok(path)
    }
}
