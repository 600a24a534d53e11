//! The members of a `.keras` file: a zip archive, or a directory. Only three names are ever read,
//! and no sizes are believed before the bytes are counted.

use std::{
    cell::Cell,
    fs,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::Path,
    rc::Rc,
};

use zip::{CompressionMethod, ZipArchive, read::ZipReadOptions, result::ZipError};

use crate::{
    error::{Error, Result, bytes, quoted},
    formats::{
        io_error,
        limits::{Limits, exceeded, expanded, within},
    },
};

pub(super) const CONFIG: &str = "config.json";
pub(super) const METADATA: &str = "metadata.json";
pub(super) const WEIGHTS: &str = "model.weights.h5";
/// What Keras puts in the place of [`WEIGHTS`] when asked to.
const OTHER_WEIGHTS: [&str; 2] = ["model.weights.npz", "model.weights.json"];
const RESAVE: &str = "load it with Keras 3 and save it with model.save('model.keras')";

/// The members that make a model.
pub(super) struct Members {
    pub(super) config: Vec<u8>,
    pub(super) metadata: Vec<u8>,
    pub(super) weights: Vec<u8>,
}

pub(super) fn malformed(at: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Error {
    Error::Malformed { file: String::new(), at: at.into(), expected: expected.into(), found: found.into() }
}

fn unsupported(what: impl Into<String>, instead: impl Into<String>) -> Error {
    Error::unsupported("the file", what, instead)
}

/// The error for a member that could not be read: of the file where its data are at fault.
fn unreadable(at: &str, cause: io::Error) -> Error {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    match cause.kind() {
        InvalidData | InvalidInput | Other | UnexpectedEof => malformed(at, "its data", cause.to_string()),
        _ => io_error("", cause),
    }
}

/// The error for `WEIGHTS` not being there.
fn no_weights(has: impl Fn(&str) -> bool) -> Error {
    match OTHER_WEIGHTS.into_iter().find(|name| has(name)) {
        Some(other) => unsupported(format!("{other} in the place of {WEIGHTS}"), RESAVE),
        None => malformed("the file", format!("a member {WEIGHTS}"), "none"),
    }
}

/// Keeps account of what all members take together.
struct Room<'a> {
    limits: &'a Limits,
    left: u64,
}

impl<'a> Room<'a> {
    fn new(limits: &'a Limits) -> Self {
        Self { limits, left: limits.total_bytes as u64 }
    }

    fn take(&mut self, name: &str, size: u64) -> Result<()> {
        let limit = if name == WEIGHTS { None } else { Some(self.limits.json_bytes) };
        if let Some(limit) = limit {
            within(|| format!("the member {name}"), size, limit, "json_bytes")?;
        }
        match self.left.checked_sub(size) {
            Some(left) => self.left = left,
            None => {
                return Err(exceeded(
                    format!("the member {name}"),
                    bytes(size),
                    self.limits.total_bytes,
                    "total_bytes",
                ));
            }
        }
        Ok(())
    }
}

/// Reads the members from a directory.
pub(super) fn from_directory(folder: &Path, limits: &Limits) -> Result<Members> {
    let mut room = Room::new(limits);
    let mut member = |name: &str| -> Result<Vec<u8>> {
        let path = folder.join(name);
        let io = |cause| io_error(&path.display().to_string(), cause);
        let metadata = match fs::symlink_metadata(&path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound && name == WEIGHTS => {
                return Err(no_weights(|other| folder.join(other).exists()));
            }
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                return Err(malformed("the directory", format!("a file {name}"), "none"));
            }
            other => other.map_err(io)?,
        };
        if !metadata.is_file() {
            return Err(malformed(name, "a regular file", "a link, a directory or a device"));
        }
        room.take(name, metadata.len())?;
        let file = fs::File::open(&path).map_err(io)?;
        exactly(name, file, metadata.len())
    };
    Ok(Members { config: member(CONFIG)?, metadata: member(METADATA)?, weights: member(WEIGHTS)? })
}

/// The bytes of `from`, which must be `size`, a size that was counted or is that of the file.
fn exactly(name: &str, from: impl Read, size: u64) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    let wrong = |found: u64| malformed(name, bytes(size), bytes(found));
    let room = usize::try_from(size).map_err(|_| wrong(u64::MAX))?;
    data.try_reserve_exact(room).map_err(|cause| malformed(name, bytes(size), cause.to_string()))?;
    // One byte of slack would double the allocation: read what is due, then look for more.
    let mut from = from;
    let due = from.by_ref().take(size).read_to_end(&mut data).map_err(|cause| unreadable(name, cause))?;
    let more = from.read(&mut [0]).map_err(|cause| unreadable(name, cause))?;
    if due != room || more != 0 {
        return Err(wrong(due as u64 + more as u64));
    }
    Ok(data)
}

/// Reads the members from a zip archive.
pub(super) fn from_zip<R: Read + Seek>(mut reader: R, limits: &Limits) -> Result<Members> {
    let io = |cause: io::Error| unreadable("the file", cause);
    let length = reader.seek(SeekFrom::End(0)).map_err(io)?;
    reader.rewind().map_err(io)?;
    let mut magic = Vec::new();
    reader.by_ref().take(8).read_to_end(&mut magic).map_err(io)?;
    if magic.starts_with(b"\x89HDF\r\n\x1a\n") {
        return Err(unsupported("the HDF5 format (.h5, .weights.h5)", RESAVE));
    }
    if !magic.starts_with(b"PK") {
        return Err(malformed("the file", "a zip archive, as model.save('model.keras') writes", "other data"));
    }
    refuse_zip64(&mut reader, length).map_err(io)??;
    let mut archive = open(reader, limits)?;
    let mut room = Room::new(limits);
    let mut read = |name: &str| member(&mut archive, name, length, &mut room);
    Ok(Members { config: read(CONFIG)?, metadata: read(METADATA)?, weights: read(WEIGHTS)? })
}

/// The number of members that a ZIP64 directory claims would be believed by the zip reader; others
/// cannot claim more than 65,535.
fn refuse_zip64<R: Read + Seek>(reader: &mut R, length: u64) -> io::Result<Result<()>> {
    const END: &[u8] = b"PK\x05\x06";
    const LOCATOR: &[u8] = b"PK\x06\x07";
    const LOCATOR_BYTES: usize = 20;
    // The end record and its comment, at most, and the locator before it.
    const TAIL: u64 = 22 + 65_536 + 4 + 20;
    let mut tail = Vec::new();
    reader.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    reader.by_ref().take(TAIL).read_to_end(&mut tail)?;
    reader.rewind()?;
    let window = LOCATOR_BYTES + END.len();
    let found = tail.windows(window).any(|w| w.starts_with(LOCATOR) && w.ends_with(END));
    if found {
        return Ok(Err(unsupported("a ZIP64 archive, of more than 2 GiB,", "save a model of less than 2 GiB")));
    }
    Ok(Ok(()))
}

/// A reader that answers for a number of bytes only, until the meter is lifted.
struct Metered<R> {
    inner: R,
    left: Rc<Cell<Option<u64>>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        if let Some(left) = self.left.get() {
            let left = left.checked_sub(read as u64).ok_or(io::ErrorKind::QuotaExceeded)?;
            self.left.set(Some(left));
        }
        Ok(read)
    }
}

impl<R: Seek> Seek for Metered<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

type Archive<R> = ZipArchive<Metered<BufReader<R>>>;

/// Reads and checks the directory.
fn open<R: Read + Seek>(reader: R, limits: &Limits) -> Result<Archive<R>> {
    let left = Rc::new(Cell::new(Some(limits.archive_directory_bytes as u64)));
    let metered = Metered { inner: BufReader::new(reader), left: Rc::clone(&left) };
    let archive = ZipArchive::new(metered).map_err(|cause| match cause {
        ZipError::Io(cause) if cause.kind() == io::ErrorKind::QuotaExceeded => {
            let limit = limits.archive_directory_bytes;
            exceeded(
                "the archive's directory".to_owned(),
                format!("more than {limit} bytes"),
                limit,
                "archive_directory_bytes",
            )
        }
        cause => malformed("the file", "a zip archive", cause.to_string()),
    })?;
    left.set(None);
    within(|| "the archive".to_owned(), archive.len() as u64, limits.archive_entries, "archive_entries")?;
    if archive.has_duplicate_names() {
        return Err(malformed("the archive", "members with names of their own", "two of one name"));
    }
    if let Some(name) = archive.file_names_raw().map(String::from_utf8_lossy).find(|name| leads_out(name)) {
        return Err(malformed("the archive", "members inside it", format!("the name {}", quoted(&name))));
    }
    Ok(archive)
}

/// Whether a member's name leads out of the archive's own folder.
fn leads_out(name: &str) -> bool {
    let mut parts = name.split(['/', '\\']);
    name.starts_with(['/', '\\']) || name.contains([':', '\0']) || parts.any(|part| part == "..")
}

/// One member in full.
fn member<R: Read + Seek>(archive: &mut Archive<R>, name: &str, length: u64, room: &mut Room<'_>) -> Result<Vec<u8>> {
    let Some(index) = archive.index_for_name(name) else {
        return Err(match name {
            WEIGHTS => no_weights(|other| archive.index_for_name(other).is_some()),
            _ => malformed("the archive", format!("a member {name}"), "none"),
        });
    };
    let bad = |cause: ZipError| malformed(name, "a member of a zip archive", cause.to_string());
    let entry = archive.by_index_data(index).map_err(bad)?;
    let (stored, method, encrypted) = (entry.compressed_size(), entry.compression(), entry.encrypted());
    if encrypted {
        return Err(Error::unsupported(name, "encryption", "save the model without a password"));
    }
    if !matches!(method, CompressionMethod::Stored | CompressionMethod::Deflated) {
        return Err(Error::unsupported(name, format!("the compression {method}"), "use stored or deflated members"));
    }
    if stored > length {
        return Err(malformed(name, format!("at most the {}", bytes(length)), bytes(stored)));
    }
    let claimed = entry.size();
    drop(entry);
    let limit = expanded(stored, room.limits);
    let size = match method {
        CompressionMethod::Stored => stored,
        // Counted, not believed: reading it twice costs less than room for a size that is not there.
        _ => {
            let member = archive.by_index(index).map_err(bad)?;
            let most = limit.min(room.left);
            let mut member = member.take(most.saturating_add(1));
            io::copy(&mut member, &mut io::sink()).map_err(|cause| unreadable(name, cause))?
        }
    };
    if size > limit {
        return Err(Error::Limit {
            what: format!("the member {name}"),
            need: format!("more than {} times its stored {}", room.limits.expansion, bytes(stored)),
            limit: format!("{} times (expansion)", room.limits.expansion),
            hint: "raise Limits::expansion if the file is to be trusted".to_owned(),
        });
    }
    room.take(name, size)?;
    if size != claimed {
        return Err(malformed(name, format!("the {} that the archive claims", bytes(claimed)), bytes(size)));
    }
    let options = ZipReadOptions::new().enforce_header_consistency(true);
    let member = archive.by_index_with_options(index, options).map_err(bad)?;
    exactly(name, member, size)
}
