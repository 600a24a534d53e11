//! Models in folders: what is in a `.keras` file as files of their own, or a configuration and weights
//! side by side.

use std::{
    fs, io,
    path::{Component, Path},
};

use super::{
    archive::{CONFIG, METADATA, exactly, malformed},
    config::object,
    container::{Member, Parts, Weights},
    store::shard_names,
};
use crate::{
    error::{Result, listed, quoted},
    formats::{Limits, io_error, json, limits::within},
};

/// Other names of a configuration.
const CONFIGS: [&str; 2] = [CONFIG, "model.json"];
const MAP_ENDING: &str = ".weights.json";
const ENDINGS: [&str; 4] = [".h5", ".hdf5", ".weights.npz", MAP_ENDING];

/// The parts of the model in `folder`.
pub(super) fn read(folder: &Path, limits: &Limits) -> Result<Parts> {
    let Some((config, metadata)) = config(None, Some(folder), limits)? else {
        return Err(malformed("the directory", "a file config.json or model.json", "none"));
    };
    Ok(Parts { config, metadata, version: None, weights: weights(folder, limits)? })
}

/// The configuration at `given`, or else the one in `folder`, with the metadata beside it.
pub(super) fn config(
    given: Option<&Path>,
    folder: Option<&Path>,
    limits: &Limits,
) -> Result<Option<(Member, Option<Member>)>> {
    let found = match given {
        Some(path) => path.parent().zip(path.file_name()).map(|(folder, name)| (folder, name.to_string_lossy())),
        None => folder.and_then(|folder| {
            let name = CONFIGS.into_iter().find(|name| folder.join(name).exists());
            name.map(|name| (folder, name.into()))
        }),
    };
    let Some((folder, name)) = found else { return Ok(None) };
    Ok(Some((member(folder, &name, limits)?, metadata(folder, limits)?)))
}

pub(super) fn metadata(folder: &Path, limits: &Limits) -> Result<Option<Member>> {
    if folder.join(METADATA).exists() { member(folder, METADATA, limits).map(Some) } else { Ok(None) }
}

/// The weights in `folder`: those that Keras gives their name, or the only ones.
pub(super) fn weights(folder: &Path, limits: &Limits) -> Result<Weights> {
    let io = |cause| io_error(&folder.display().to_string(), cause);
    let mut names = Vec::new();
    for (index, entry) in fs::read_dir(folder).map_err(io)?.enumerate() {
        within(|| "the folder".to_owned(), index as u64 + 1, limits.archive_entries, "archive_entries")?;
        let name = entry.map_err(io)?.file_name().to_string_lossy().into_owned();
        if ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            names.push(name);
        }
    }
    names.sort_unstable();
    let is_map = |name: &&String| name.ends_with(MAP_ENDING);
    let keras = names.iter().find(|name| name.starts_with("model.weights."));
    let maps: Vec<&String> = names.iter().filter(is_map).collect();
    let chosen = match (keras, maps.as_slice(), names.as_slice()) {
        (Some(name), ..) | (None, [], [name]) => name,
        (None, [name], _) => *name,
        (None, _, []) => {
            let expected = "weights: model.weights.h5, model.weights.npz, or another .weights.h5 or .weights.json";
            return Err(malformed("the directory", expected, "none"));
        }
        _ => return Err(malformed("the directory", "one file of weights; load the one that is meant", listed(&names))),
    };
    let chosen_member = member(folder, chosen, limits)?;
    if chosen.ends_with(MAP_ENDING) { shards(folder, chosen_member, limits) } else { Ok(Weights::One(chosen_member)) }
}

/// The weights in several files of `folder` that `map` names.
pub(super) fn shards(folder: &Path, map: Member, limits: &Limits) -> Result<Weights> {
    let parsed = json::parse(&map.name, &map.data, limits)?;
    let places = object(parsed.get("weight_map"), "weight_map")?;
    let mut names: Vec<&str> = places.values().flat_map(shard_names).collect();
    names.sort_unstable();
    names.dedup();
    within(|| map.name.clone(), names.len() as u64, limits.archive_entries, "archive_entries")?;
    let (mut shards, mut total) = (Vec::new(), 0u64);
    for name in names {
        let mut parts = Path::new(name).components();
        if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) || name.contains(['\\', ':']) {
            return Err(malformed(&map.name, "names of files beside it", quoted(name)));
        }
        let shard = member(folder, name, limits)?;
        total = total.saturating_add(shard.data.len() as u64);
        within(|| "the weights".to_owned(), total, limits.total_bytes, "total_bytes")?;
        shards.push(shard);
    }
    Ok(Weights::Shards(map, shards))
}

/// The file `name` of `folder`.
pub(super) fn member(folder: &Path, name: &str, limits: &Limits) -> Result<Member> {
    let path = folder.join(name);
    let io = |cause| io_error(&path.display().to_string(), cause);
    let metadata = match fs::symlink_metadata(&path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            return Err(malformed("the directory", format!("a file {name}"), "none"));
        }
        other => other.map_err(io)?,
    };
    if !metadata.is_file() {
        return Err(malformed(name, "a regular file", "a link, a directory or a device"));
    }
    let (limit, field) =
        if name.ends_with(".json") { (limits.json_bytes, "json_bytes") } else { (limits.total_bytes, "total_bytes") };
    within(|| format!("the file {name}"), metadata.len(), limit, field)?;
    let file = fs::File::open(&path).map_err(io)?;
    Ok(Member { name: name.to_owned(), data: exactly(name, file, metadata.len())? })
}
