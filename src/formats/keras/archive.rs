//! The members of a `.keras` file, which is a zip archive. Only a few names are ever read,
//! and no sizes are believed before the bytes are counted.

use std::{
    cell::Cell,
    io::{self, BufReader, Read, Seek, SeekFrom},
    rc::Rc,
};

use zip::{CompressionMethod, ZipArchive, read::ZipReadOptions, result::ZipError};

use super::container::{Member, Parts, Weights};
use crate::{
    error::{Error, Result, bytes, quoted},
    formats::{
        io_error,
        limits::{Limits, exceeded, expanded, within},
    },
};

pub(super) const CONFIG: &str = "config.json";
pub(super) const METADATA: &str = "metadata.json";
/// The names of weights, the first of which is there is read.
const WEIGHTS: [&str; 2] = ["model.weights.h5", "model.weights.npz"];

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
        let limit = if WEIGHTS.contains(&name) { None } else { Some(self.limits.json_bytes) };
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

/// The bytes of `from`, which must be `size`, a size that was counted or is that of the file.
pub(super) fn exactly(name: &str, from: impl Read, size: u64) -> Result<Vec<u8>> {
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
pub(super) fn read<R: Read + Seek>(mut reader: R, limits: &Limits) -> Result<Parts> {
    let io = |cause: io::Error| unreadable("the file", cause);
    let length = reader.seek(SeekFrom::End(0)).map_err(io)?;
    reader.rewind().map_err(io)?;
    refuse_zip64(&mut reader, length).map_err(io)??;
    let mut archive = open(reader, limits)?;
    let mut room = Room::new(limits);
    let [hdf5, npz] = WEIGHTS;
    let has = |name: &str| archive.index_for_name(name).is_some();
    let weights = if has(hdf5) || !has(npz) { hdf5 } else { npz };
    let mut read = |name: &str| -> Result<Member> {
        Ok(Member { name: name.to_owned(), data: member(&mut archive, name, length, &mut room)? })
    };
    let (config, metadata) = (read(CONFIG)?, read(METADATA)?);
    Ok(Parts { config, metadata: Some(metadata), version: None, weights: Weights::One(read(weights)?) })
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
        return Err(malformed("the archive", format!("a member {name}"), "none"));
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
