//! What is kept from run to run in the user's cache folder: what devices can do, and what drivers compiled.
//! Whatever is wrong with a file there, it is as if it were not there.

use std::{env, ffi::OsString, fs, io, path::PathBuf};

use wgpu_rnn::cpu;
#[cfg(feature = "gpu")]
use wgpu_rnn::{
    Device, Session,
    gpu::{self, AdapterInfo, Calibration, GpuOptions},
};

use crate::{
    failure::one_line,
    files::{note, write_file},
};

/// Ends of the files' names, and how many bytes are read of one.
const CALIBRATION: (&str, u64) = ("calibration", 1 << 16);
#[cfg(feature = "gpu")]
const PIPELINES: (&str, u64) = ("pipelines", 1 << 28);
/// Characters of a file's name.
const LONGEST_NAME: usize = 120;

/// What the CPU can do, if it is known.
pub(crate) fn known_cpu() -> Option<cpu::Calibration> {
    let (path, bytes) = read(&cpu_name(), CALIBRATION)?;
    let text = String::from_utf8_lossy(&bytes);
    cpu::Calibration::from_text(&text).map_err(|error| left_aside(&path, &error.to_string())).ok()
}

/// Keeps what the CPU can do; the path where it is kept.
pub(crate) fn keep_cpu(calibration: &cpu::Calibration) -> Option<PathBuf> {
    write(&cpu_name(), CALIBRATION, calibration.to_text().as_bytes())
}

/// How to open `device`, with what is known of its adapter.
#[cfg(feature = "gpu")]
pub(crate) fn known(device: &Device) -> GpuOptions {
    let mut options = GpuOptions::default();
    let Some(how) = device.to_open(&options) else { return options };
    // Without an adapter there is nothing to know, and whoever opens it hears why.
    if let Some(info) = folder().and_then(|_| gpu::find_adapter(how.adapter.as_deref(), how.allow_software).ok()) {
        options.calibration = read(&file_name(&info), CALIBRATION).and_then(|(path, bytes)| {
            let text = String::from_utf8_lossy(&bytes);
            Calibration::from_text(&text, &info).map_err(|error| left_aside(&path, &error.to_string())).ok()
        });
        options.pipeline_cache = read(&file_name(&info), PIPELINES).map(|(_, bytes)| bytes);
    }
    options
}

/// Keeps what a device can do; the path where it is kept.
#[cfg(feature = "gpu")]
pub(crate) fn keep_calibration(info: &AdapterInfo, calibration: &Calibration) -> Option<PathBuf> {
    write(&file_name(info), CALIBRATION, calibration.to_text(info).as_bytes())
}

/// Keeps what the driver compiled for `session`, if that is news; what there is to begin with in a later session.
#[cfg(feature = "gpu")]
pub(crate) fn keep_pipelines(session: &Session) -> Option<Vec<u8>> {
    let gpu = session.gpu()?;
    let given = gpu.options().pipeline_cache.as_ref();
    if given.is_some()
        && gpu.pipeline_cache_used() == Some(false)
        && let Some(path) = path(&file_name(gpu.info()), PIPELINES.0)
    {
        left_aside(&path, "damaged, or of another adapter, driver or version");
    }
    folder()?;
    // A device that failed after its results were there is none of this run's business.
    let data = pollster::block_on(gpu.pipeline_cache()).ok().flatten()?;
    if given != Some(&data) {
        write(&file_name(gpu.info()), PIPELINES, &data);
    }
    Some(data)
}

fn left_aside(path: &std::path::Path, why: &str) {
    note(&format!("warning: {}: left aside: {}", path.display(), one_line(why)));
}

/// The folder, which need not be there yet; none where the user has none, or wants none.
fn folder() -> Option<PathBuf> {
    folder_of(|name| env::var_os(name))
}

fn folder_of(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if let Some(asked_for) = variable("WGPU_RNN_CACHE") {
        return Some(PathBuf::from(asked_for)).filter(|path| !path.as_os_str().is_empty());
    }
    let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = if cfg!(windows) {
        absolute("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        absolute("HOME").map(|home| home.join("Library/Caches"))
    } else {
        absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))
    };
    caches.map(|caches| caches.join("wgpu-rnn"))
}

fn path(name: &str, extension: &str) -> Option<PathBuf> {
    Some(folder()?.join(format!("{name}.{extension}")))
}

#[cfg(feature = "gpu")]
fn file_name(info: &AdapterInfo) -> String {
    name_of(&[&info.name, &info.backend, &info.driver])
}

fn cpu_name() -> String {
    name_of(&["cpu", env::consts::ARCH])
}

/// A name for people. Two devices may share it: what a file is of stands in it.
fn name_of(parts: &[&str]) -> String {
    let whole = [parts, &[env!("CARGO_PKG_VERSION")]].concat().join(" ").to_lowercase();
    let words = whole.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").chars().take(LONGEST_NAME).collect()
}

/// The bytes of a file, unless there is none or it cannot be one of ours.
fn read(name: &str, (extension, most): (&str, u64)) -> Option<(PathBuf, Vec<u8>)> {
    let path = path(name, extension)?;
    let bytes = fs::metadata(&path).and_then(|meta| match meta.len() {
        // What is no plain file might never end.
        _ if !meta.is_file() => Err(io::Error::other("not a plain file")),
        len if len > most => Err(io::Error::other(format!("{len} bytes, more than {most}"))),
        _ => fs::read(&path),
    });
    match bytes {
        Ok(bytes) => Some((path, bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            left_aside(&path, &error.to_string());
            None
        }
    }
}

/// Writes a file whole or not at all. Where that fails the run is none the worse.
fn write(name: &str, (extension, _): (&str, u64), bytes: &[u8]) -> Option<PathBuf> {
    let path = path(name, extension)?;
    let written = make_folder().and_then(|()| {
        write_file(&path, |out| io::Write::write_all(out, bytes)).map_err(|error| io::Error::other(error.to_string()))
    });
    match written {
        Ok(()) => Some(path),
        Err(error) => {
            note(&format!("warning: nothing is kept: {}", one_line(&error.to_string())));
            None
        }
    }
}

/// Makes the folder, for this user alone where systems know of that.
fn make_folder() -> io::Result<()> {
    let Some(folder) = folder() else { return Ok(()) };
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(&folder).map_err(|error| io::Error::other(format!("{}: {error}", folder.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_where_the_system_keeps_such_things() {
        let with = |variables: &[(&str, &str)]| {
            folder_of(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
        };
        let root = if cfg!(windows) { "C:\\u" } else { "/u" };
        assert_eq!(with(&[("WGPU_RNN_CACHE", root), ("HOME", "/home")]), Some(PathBuf::from(root)));
        // Nothing is kept.
        assert_eq!(with(&[("WGPU_RNN_CACHE", ""), ("HOME", root), ("LOCALAPPDATA", root)]), None);
        assert_eq!(with(&[]), None);
        // A path that is not absolute means another folder wherever one happens to be.
        assert_eq!(with(&[("XDG_CACHE_HOME", "x"), ("HOME", "y"), ("LOCALAPPDATA", "z")]), None);
        let all = with(&[("HOME", root), ("LOCALAPPDATA", root)]).unwrap();
        assert!(all.starts_with(root) && all.ends_with("wgpu-rnn"), "{all:?}");
        if cfg!(target_os = "linux") {
            assert_eq!(all, PathBuf::from("/u/.cache/wgpu-rnn"));
            assert_eq!(with(&[("XDG_CACHE_HOME", "/c"), ("HOME", "/u")]), Some(PathBuf::from("/c/wgpu-rnn")));
        }
    }
}
