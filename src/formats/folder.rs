//! A folder that holds a model in a safetensors file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Limits, io_error, limits::within};
use crate::error::{Error, Result, listed};

const ENDING: &str = ".safetensors";
/// The name that is usual for a model's tensors.
const USUAL: &str = "model.safetensors";
/// The map of tensors in several files.
const INDEX: &str = "model.safetensors.index.json";

/// The safetensors file of `folder`: the one of the usual name, or the only one; `None` without any.
pub(super) fn tensors(folder: &Path, limits: &Limits) -> Result<Option<PathBuf>> {
    let io = |cause| io_error(&folder.display().to_string(), cause);
    let mut names = Vec::new();
    for (index, entry) in fs::read_dir(folder).map_err(io)?.enumerate() {
        within(|| "the folder".to_owned(), index as u64 + 1, limits.archive_entries, "archive_entries")?;
        let name = entry.map_err(io)?.file_name().to_string_lossy().into_owned();
        if name.ends_with(ENDING) || name == INDEX {
            names.push(name);
        }
    }
    names.sort_unstable();
    match names.as_slice() {
        [] => Ok(None),
        names if names.iter().any(|name| name == USUAL) => Ok(Some(folder.join(USUAL))),
        names if names.iter().any(|name| name == INDEX) => Err(Error::unsupported(
            "the folder",
            format!("a state dict in several files ({INDEX})"),
            "write its tensors into one file with safetensors.torch.save_file",
        )),
        [name] => Ok(Some(folder.join(name))),
        names => Err(Error::mismatch("the folder", "one .safetensors file; load the one that is meant", listed(names))),
    }
}
