//! Writing: results to standard output, files by way of a temporary one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, ErrorKind, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use wgpu_rnn::Error;

/// Prints a result and a line end. A reader that has gone away is no error.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(io_error("standard output", error)),
        _ => Ok(()),
    }
}

/// Prints a remark to standard error; nobody may be listening.
pub(crate) fn note(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

pub(crate) fn io_error(path: impl Into<String>, error: io::Error) -> Error {
    Error::Io { path: path.into(), source: Arc::new(error) }
}

/// Fails early where `path` cannot be written later: its folder is missing, or it is a folder.
pub(crate) fn check_writable(path: &Path) -> Result<(), Error> {
    let folder = folder_of(path);
    let error = match fs::metadata(&folder) {
        Ok(_) if path.is_dir() => io::Error::from(ErrorKind::IsADirectory),
        Ok(meta) if meta.is_dir() => return Ok(()),
        Ok(_) => io::Error::from(ErrorKind::NotADirectory),
        Err(error) => error,
    };
    Err(io_error(path.display().to_string(), error))
}

/// Whether two paths name one file, which need not exist yet.
pub(crate) fn same(one: &Path, other: &Path) -> bool {
    let whole = |path: &Path| {
        let known = fs::canonicalize(path).ok();
        known.or_else(|| Some(fs::canonicalize(folder_of(path)).ok()?.join(path.file_name()?)))
    };
    one == other || whole(one).is_some_and(|path| whole(other) == Some(path))
}

/// Writes `path` by way of a temporary file in its folder, so that it holds all or nothing. What is
/// there and is no plain file (a pipe, a device) is written as it is.
pub(crate) fn write_file(path: &Path, write: impl FnOnce(&mut Output) -> io::Result<()>) -> Result<(), Error> {
    let failed = |error| io_error(path.display().to_string(), error);
    match fs::metadata(path) {
        Ok(meta) if !meta.is_file() => {
            let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
            return write_through(file, write).map_err(failed);
        }
        // Through a link, so that the link stays.
        Ok(_) => replace(&fs::canonicalize(path).map_err(failed)?, write),
        Err(_) => replace(path, write),
    }
    .map_err(failed)
}

/// What [`write_file`] hands to its caller.
pub(crate) type Output = BufWriter<File>;

fn replace(path: &Path, write: impl FnOnce(&mut Output) -> io::Result<()>) -> io::Result<()> {
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = folder_of(path).join(temporary);
    let file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
    let done = write_through(file, write).and_then(|()| fs::rename(&temporary, path));
    if done.is_err() {
        drop(fs::remove_file(&temporary));
    }
    done
}

fn write_through(file: File, write: impl FnOnce(&mut Output) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    write(&mut out)?;
    out.flush()
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_other() {
        let folder = std::env::temp_dir().join(format!("wgpu-rnn-files-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("x.npy");
        write_file(&path, |out| out.write_all(b"old")).unwrap();
        let failed = write_file(&path, |out| {
            out.write_all(b"new")?;
            Err(io::Error::other("full"))
        });
        assert!(failed.unwrap_err().to_string().ends_with("x.npy: full"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        write_file(&path, |out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_folder_that_is_missing_shows_early() {
        assert!(check_writable(Path::new("/nonexistent/y.npy")).is_err());
        assert!(check_writable(&std::env::temp_dir()).is_err());
        assert!(check_writable(Path::new("y.npy")).is_ok());
    }
}
