//! A folder that holds a model in a safetensors file.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use super::{Limits, io_error, limits::within};
use crate::error::{Error, Result, listed, quoted};

const ENDING: &str = ".safetensors";
/// The name that is usual for a model's tensors.
const USUAL: &str = "model.safetensors";
/// The map of tensors in several files.
const INDEX: &str = "model.safetensors.index.json";
/// How the names of Keras' weights end, beside which a file of another name is no model.
const OF_KERAS: [&str; 2] = [".h5", ".weights.json"];

/// The safetensors file of `folder`: the one of the usual name, or the only one where there are no weights of
/// Keras; `None` without any.
pub(super) fn tensors(folder: &Path, limits: &Limits) -> Result<Option<PathBuf>> {
    let io = |cause| io_error(&folder.display().to_string(), cause);
    let mut found: Vec<OsString> = Vec::new();
    let mut of_keras = false;
    for (index, entry) in fs::read_dir(folder).map_err(io)?.enumerate() {
        within(|| "the folder".to_owned(), index as u64 + 1, limits.archive_entries, "archive_entries")?;
        let file_name = entry.map_err(io)?.file_name();
        let name = file_name.to_string_lossy();
        of_keras |= OF_KERAS.iter().any(|ending| name.ends_with(ending));
        if name.ends_with(ENDING) || name == INDEX {
            found.push(file_name);
        }
    }
    found.sort_unstable();
    let has = |name: &str| found.iter().any(|found| found == name);
    let inside = match found.as_slice() {
        _ if has(USUAL) => folder.join(USUAL),
        _ if of_keras => return Ok(None),
        [] => return Ok(None),
        _ if has(INDEX) => {
            return Err(Error::unsupported(
                "the folder",
                format!("a state dict in several files ({INDEX})"),
                "write its tensors into one file with safetensors.torch.save_file",
            ));
        }
        [name] => folder.join(name),
        names => {
            let names = names.iter().map(|name| name.to_string_lossy());
            let what = "one .safetensors file; load the one that is meant";
            return Err(Error::mismatch("the folder", what, listed(names)));
        }
    };
    // No folder, which might lead back here, and no pipe, which nobody may ever write to.
    if fs::metadata(&inside).is_ok_and(|meta| !meta.is_file()) {
        let name = inside.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Err(Error::mismatch("the folder", "a plain file", format!("{} that is none", quoted(&name))));
    }
    Ok(Some(inside))
}
