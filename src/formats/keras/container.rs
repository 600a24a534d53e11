//! What holds a model: which bytes are its configuration, its version and its weights. Told by content,
//! never by the ending of a name.

use std::{
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use super::{archive, archive::malformed, folder, hdf5::Datasets};
use crate::{
    error::{Error, Result, quoted},
    formats::{
        Limits, LoadOptions, io_error, json,
        limits::within,
        recognise::{HEAD, Kind, recognise},
    },
};

/// A file, or a member of one.
pub(super) struct Member {
    /// What messages call it.
    pub(super) name: String,
    pub(super) data: Vec<u8>,
}

/// Where the weights are.
pub(super) enum Weights {
    One(Member),
    /// Several files, and the map of what is in which.
    Shards(Member, Vec<Member>),
    /// An HDF5 file that is open already.
    Open(Datasets),
}

/// The parts that make a model.
pub(super) struct Parts {
    pub(super) config: Member,
    /// `metadata.json`, which states the version.
    pub(super) metadata: Option<Member>,
    /// The version where the container itself states it.
    pub(super) version: Option<String>,
    pub(super) weights: Weights,
}

/// The parts of the model in `file`, at `path` if it has one.
pub(super) fn read<R: Read + Seek>(mut file: R, path: Option<&Path>, options: &LoadOptions) -> Result<Parts> {
    let limits = &options.limits;
    let io = |cause| io_error("", cause);
    let length = file.seek(SeekFrom::End(0)).map_err(io)?;
    file.rewind().map_err(io)?;
    let mut head = Vec::new();
    file.by_ref().take(HEAD as u64).read_to_end(&mut head).map_err(io)?;
    file.rewind().map_err(io)?;
    match (recognise(&head, length), path) {
        (Kind::Zip, _) => archive::read(file, limits),
        (Kind::Hdf5, path) => {
            within(|| "the file".to_owned(), length, limits.total_bytes, "total_bytes")?;
            of_hdf5(archive::exactly("the file", file, length)?, path, options)
        }
        (Kind::Json, Some(path)) => of_json(path, limits),
        _ => Err(unknown()),
    }
}

fn unknown() -> Error {
    malformed("the file", "a model: .keras or .h5 of Keras, .onnx, .safetensors", "other data")
}

/// A whole model, or weights whose configuration is in another file: the one that was given, or one
/// beside them.
fn of_hdf5(data: Vec<u8>, path: Option<&Path>, options: &LoadOptions) -> Result<Parts> {
    const CONFIG: &str = "model_config";
    const CONFIG_TEXT: &str = "the configuration";
    let datasets = Datasets::open("the file", data, &options.limits)?;
    let one = |name: &str| -> Result<Option<String>> {
        let place = || format!("the attribute {name}");
        match datasets.texts("", name)?.as_deref() {
            None => Ok(None),
            Some([text]) => Ok(Some(text.clone())),
            Some(texts) => Err(malformed(place(), "one text", format!("{} texts", texts.len()))),
        }
    };
    let version = one("keras_version")?;
    if let Some(config) = one(CONFIG)? {
        if options.config.is_some() || options.config_text.is_some() {
            let found = "one that was given beside it";
            return Err(Error::mismatch("the configuration", "that of the file, which holds a whole model", found));
        }
        let config = Member { name: format!("the attribute {CONFIG}"), data: config.into_bytes() };
        return Ok(Parts { config, metadata: None, version, weights: Weights::Open(datasets) });
    }
    let given = options.config.as_deref();
    let parent = path.and_then(Path::parent);
    let text = options
        .config_text
        .as_ref()
        .map(|text| Member { name: CONFIG_TEXT.to_owned(), data: text.clone().into_bytes() });
    let found = match text {
        Some(text) => Some((text, None)),
        None => folder::config(given, parent, &options.limits)?,
    };
    let Some((config, metadata)) = found else {
        return Err(Error::unsupported(
            "the file",
            "an HDF5 file of weights without the model's configuration",
            "write config.json beside it with model.to_json(), or save the whole model with model.save('model.keras')",
        ));
    };
    Ok(Parts { config, metadata, version, weights: Weights::Open(datasets) })
}

/// A configuration, or the map of weights in several files: the other part is beside it.
fn of_json(path: &Path, limits: &Limits) -> Result<Parts> {
    let name = |path: &Path| path.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let member = folder::member(folder, &name(path), limits)?;
    let parsed = json::parse(&member.name, &member.data, limits)?;
    if parsed.get("weight_map").is_some() {
        let Some((config, metadata)) = folder::config(None, Some(folder), limits)? else {
            return Err(malformed("the folder", "a file config.json or model.json beside the weights", "none"));
        };
        let weights = folder::shards(folder, member, limits)?;
        return Ok(Parts { config, metadata, version: None, weights });
    }
    if parsed.get("class_name").is_some() {
        let weights = folder::weights(folder, limits)?;
        return Ok(Parts { config: member, metadata: folder::metadata(folder, limits)?, version: None, weights });
    }
    let found = format!("the file {}", quoted(&member.name));
    Err(malformed("the file", "the configuration of a model, or the map of its weights", found))
}
