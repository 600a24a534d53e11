//! The weights of a model: the arrays of one or several files, by path.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::{
    archive::malformed,
    config::{object, shown},
    container::Member,
    hdf5::{self, Datasets, Values},
    json,
    npz::Arrays,
};
use crate::{
    error::{Error, Result, listed, quoted},
    formats::limits::Limits,
};

/// What an array says of itself.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) shape: Vec<usize>,
    /// Bytes of all values.
    pub(super) bytes: u64,
}

/// One file of arrays.
enum File {
    Hdf5(Datasets),
    Npz(Arrays),
}

/// The arrays of all files.
pub(super) struct Store {
    files: Vec<File>,
    /// Where each array is, by its path.
    entries: BTreeMap<String, (usize, Entry)>,
}

impl Store {
    /// The arrays of `member`: HDF5 or npz, as its content says.
    pub(super) fn open(member: Member, limits: &Limits) -> Result<Self> {
        let mut store = Self { files: Vec::new(), entries: BTreeMap::new() };
        store.add(member, limits)?;
        Ok(store)
    }

    /// The arrays of an HDF5 file that is open already.
    pub(super) fn of_datasets(datasets: Datasets) -> Self {
        let entries = datasets.entries().iter().map(|(path, entry)| (path.clone(), (0, entry.stated.clone())));
        Self { entries: entries.collect(), files: vec![File::Hdf5(datasets)] }
    }

    /// The arrays of several files, as the `map` that stands beside them says.
    pub(super) fn sharded(map: &Member, shards: Vec<Member>, limits: &Limits) -> Result<Self> {
        let parsed = json::parse(&map.name, &map.data, limits)?;
        let places = object(parsed.get("weight_map"), "weight_map")?;
        let mut store = Self { files: Vec::new(), entries: BTreeMap::new() };
        let mut names = Vec::new();
        for shard in shards {
            names.push(shard.name.clone());
            store.add(shard, limits)?;
        }
        for (path, (file, _)) in &store.entries {
            let stated = path.rsplit_once('/').and_then(|(parent, _)| places.get(&format!("/{parent}")));
            let name = names.get(*file).map_or("", String::as_str);
            if !stated.is_some_and(|stated| shard_names(stated).contains(&name)) {
                let found = stated.map_or("no place".to_owned(), |stated| shown(Some(stated)));
                return Err(malformed(&map.name, format!("{} in {}", quoted(path), quoted(name)), found));
            }
        }
        for (group, _) in places {
            let below = format!("{}/", group.trim_start_matches('/'));
            if !store.entries.keys().any(|path| path.starts_with(&below)) {
                return Err(malformed(&map.name, format!("weights at {}", quoted(group)), "none in any file"));
            }
        }
        Ok(store)
    }

    fn add(&mut self, member: Member, limits: &Limits) -> Result<()> {
        let number = self.files.len();
        let file = if member.data.starts_with(b"PK") {
            File::Npz(Arrays::open(&member.name, member.data, limits)?)
        } else {
            File::Hdf5(Datasets::open(&member.name, member.data, limits)?)
        };
        let entries: Vec<(String, Entry)> = match &file {
            File::Hdf5(file) => file.entries().iter().map(|(path, entry)| (path.clone(), entry.stated.clone())).collect(),
            File::Npz(file) => file.entries().map(|(path, entry)| (path.to_owned(), entry.clone())).collect(),
        };
        for (path, entry) in entries {
            if self.entries.insert(path.clone(), (number, entry)).is_some() {
                return Err(malformed(&member.name, "weights that are in one file only", quoted(&path)));
            }
        }
        self.files.push(file);
        Ok(())
    }

    /// What messages call the store: the name of its file.
    pub(super) fn name(&self) -> String {
        let name = |file: &File| match file {
            File::Hdf5(file) => file.name().to_owned(),
            File::Npz(file) => file.name().to_owned(),
        };
        match self.files.as_slice() {
            [one] => name(one),
            several => listed(several.iter().map(name)),
        }
    }

    /// What messages call the array at `path`.
    pub(super) fn place(&self, path: &str) -> String {
        let file = self.entries.get(path).and_then(|(file, _)| self.files.get(*file));
        match file {
            Some(File::Hdf5(file)) => hdf5::place(file.name(), path),
            Some(File::Npz(file)) => hdf5::place(file.name(), path),
            None => hdf5::place(&self.name(), path),
        }
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    pub(super) fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path).map(|(_, entry)| entry)
    }

    /// The values at `path`, which must be one of [`paths`](Self::paths).
    pub(super) fn read(&self, path: &str) -> Result<Values> {
        let file = self.entries.get(path).and_then(|(file, _)| self.files.get(*file));
        match file {
            Some(File::Hdf5(file)) => file.read(path),
            Some(File::Npz(file)) => file.read(path),
            None => Err(Error::internal("weights that were not found")),
        }
    }

    /// Whether the value at `path` is a counter that has counted.
    pub(super) fn has_counted(&self, path: &str) -> Result<bool> {
        match self.entries.get(path).and_then(|(file, _)| self.files.get(*file)) {
            Some(File::Hdf5(file)) => file.has_counted(path),
            _ => Ok(false),
        }
    }

    /// The HDF5 file, where there is one and it is the only one.
    pub(super) fn hdf5(&self) -> Option<&Datasets> {
        match self.files.as_slice() {
            [File::Hdf5(file)] => Some(file),
            _ => None,
        }
    }
}

/// The file names at an entry of a map: one, or a list.
pub(super) fn shard_names(stated: &Json) -> Vec<&str> {
    match stated {
        Json::Array(names) => names.iter().filter_map(Json::as_str).collect(),
        name => name.as_str().into_iter().collect(),
    }
}
