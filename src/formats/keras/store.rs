//! The weights of a model: the arrays of one or several files, by path.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::{
    archive::malformed,
    config::{object, shown},
    container::{Member, Weights},
    hdf5::{self, Datasets, Values},
};
use crate::{
    error::{Error, Result, listed, quoted},
    formats::{json, limits::Limits},
};

/// What an array says of itself.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) shape: Vec<usize>,
    /// Bytes of all values.
    pub(super) bytes: u64,
}

/// The arrays of all files.
pub(super) struct Store {
    files: Vec<Datasets>,
    /// Where each array is, by its path.
    entries: BTreeMap<String, (usize, Entry)>,
}

impl Store {
    pub(super) fn new(weights: Weights, limits: &Limits) -> Result<Self> {
        match weights {
            Weights::One(member) => Self::open(member, limits),
            Weights::Shards(map, shards) => Self::sharded(&map, shards, limits),
            Weights::Open(datasets) => Ok(Self::of_datasets(datasets)),
        }
    }

    /// The arrays of `member`.
    fn open(member: Member, limits: &Limits) -> Result<Self> {
        let mut store = Self { files: Vec::new(), entries: BTreeMap::new() };
        store.add(member, limits)?;
        Ok(store)
    }

    /// The arrays of an HDF5 file that is open already.
    fn of_datasets(datasets: Datasets) -> Self {
        let entries = datasets.entries().iter().map(|(path, entry)| (path.clone(), (0, entry.stated.clone())));
        Self { entries: entries.collect(), files: vec![datasets] }
    }

    /// The arrays of several files, as the `map` that stands beside them says.
    fn sharded(map: &Member, shards: Vec<Member>, limits: &Limits) -> Result<Self> {
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
        if member.data.starts_with(b"PK") {
            // Objects of the backend that Keras ran on. Keras 3.15 reads none of them any more.
            return Err(Error::unsupported(
                member.name,
                "an npz archive of Python pickles, which hold code to run,",
                "load it in the version of Keras that wrote it and save it with model.save('model.keras')",
            ));
        }
        let number = self.files.len();
        let file = Datasets::open(&member.name, member.data, limits)?;
        for (path, entry) in file.entries() {
            if self.entries.insert(path.clone(), (number, entry.stated.clone())).is_some() {
                return Err(malformed(&member.name, "weights that are in one file only", quoted(path)));
            }
        }
        self.files.push(file);
        Ok(())
    }

    /// What messages call the store: the name of its file.
    pub(super) fn name(&self) -> String {
        match self.files.as_slice() {
            [one] => one.name().to_owned(),
            several => listed(several.iter().map(Datasets::name)),
        }
    }

    fn file_of(&self, path: &str) -> Option<&Datasets> {
        self.entries.get(path).and_then(|(file, _)| self.files.get(*file))
    }

    /// What messages call the array at `path`.
    pub(super) fn place(&self, path: &str) -> String {
        match self.file_of(path) {
            Some(file) => hdf5::place(file.name(), path),
            None => hdf5::place(&self.name(), path),
        }
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The name of the element type of the array at `path`.
    pub(super) fn dtype(&self, path: &str) -> String {
        self.file_of(path).map_or_else(String::new, |file| file.dtype(path))
    }

    pub(super) fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path).map(|(_, entry)| entry)
    }

    /// The values at `path`, which must be one of [`paths`](Self::paths).
    pub(super) fn read(&self, path: &str) -> Result<Values<'_>> {
        self.file_of(path).ok_or_else(|| Error::internal("weights that were not found"))?.read(path)
    }

    /// Whether the value at `path` is a counter that has counted.
    pub(super) fn has_counted(&self, path: &str) -> Result<bool> {
        self.file_of(path).map_or(Ok(false), |file| file.has_counted(path))
    }

    /// The file, where it is the only one.
    pub(super) fn only(&self) -> Option<&Datasets> {
        match self.files.as_slice() {
            [file] => Some(file),
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
