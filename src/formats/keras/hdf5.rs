//! The datasets of an HDF5 file: found by one walk over the file, read one at a time.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use half::{bf16, f16};
use hdf5_reader::{Dataset, Datatype, Hdf5File, OpenOptions, error::Error as Hdf5Error, group::Group};

use super::{archive::malformed, attributes, store::Entry};
use crate::{
    error::{Error, Result, bytes, quoted},
    formats::limits::{Limits, exceeded, expanded, within},
    tensor::reserved,
};

/// The datasets of a file, by path.
pub(super) struct Datasets {
    /// What messages call the file.
    name: String,
    file: Hdf5File,
    entries: BTreeMap<String, Found>,
    groups: BTreeSet<String>,
    limits: Limits,
    /// Bytes of the file.
    length: u64,
    /// Room for the values of a dataset, which the next one gets: fresh memory costs more than a copy.
    room: RefCell<Vec<u8>>,
}

/// A dataset.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) stated: Entry,
    chunked: bool,
}

/// How values are stored.
#[derive(Clone, Copy)]
enum Kind {
    F16,
    Bf16,
    F32,
    F64,
}

/// The values of a dataset as they are stored, in the machine's byte order.
pub(super) struct Values<'a> {
    kind: Kind,
    data: Vec<u8>,
    /// Where the room goes back to.
    room: &'a RefCell<Vec<u8>>,
}

impl Drop for Values<'_> {
    fn drop(&mut self) {
        self.room.replace(std::mem::take(&mut self.data));
    }
}

/// What messages call the object at `path` of the file `name`.
pub(super) fn place(name: &str, path: &str) -> String {
    format!("{name} {}", quoted(if path.is_empty() { "/" } else { path }))
}

/// The error for an object that could not be read.
pub(super) fn broken<'a>(name: &'a str, path: &'a str) -> impl Fn(Hdf5Error) -> Error + 'a {
    move |cause| malformed(place(name, path), "an HDF5 object", cause.to_string())
}

impl Datasets {
    /// Finds all datasets of the file `data`, which messages call `name`.
    pub(super) fn open(name: &str, data: Vec<u8>, limits: &Limits) -> Result<Self> {
        let length = data.len() as u64;
        let options = OpenOptions::default()
            .with_chunk_cache_bytes(0)
            .with_chunk_cache_slots(1)
            .with_max_chunk_bytes(limits.hdf5_chunk_bytes)
            .with_max_read_bytes(limits.total_bytes)
            .with_max_object_header_bytes(1 << 20);
        let file = Hdf5File::from_vec_with_options(data, options)
            .map_err(|cause| malformed(name, "an HDF5 file", cause.to_string()))?;
        let mut walk = Walk {
            name,
            entries: BTreeMap::new(),
            groups: BTreeSet::new(),
            addresses: BTreeSet::new(),
            total: 0,
            limits,
            length,
        };
        let root = file.root_group().map_err(broken(name, ""))?;
        walk.group(&root, "", limits.hdf5_depth)?;
        let Walk { entries, groups, .. } = walk;
        Ok(Self {
            name: name.to_owned(),
            file,
            entries,
            groups,
            limits: limits.clone(),
            length,
            room: RefCell::default(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The texts of the attribute `attribute` of the group at `path`, if it has that attribute.
    pub(super) fn texts(&self, path: &str, attribute: &str) -> Result<Option<Vec<String>>> {
        let broken = broken(&self.name, path);
        let group = if path.is_empty() { self.file.root_group() } else { self.file.group(path) };
        let group = group.map_err(&broken)?;
        let all = group.raw_attributes().map_err(&broken)?;
        let Some(found) = all.iter().find(|other| other.name() == attribute) else {
            return Ok(None);
        };
        attributes::texts(&group, found, &place(&self.name, path), self.length).map(Some)
    }

    pub(super) fn has_group(&self, path: &str) -> bool {
        self.groups.contains(path)
    }

    pub(super) fn entries(&self) -> &BTreeMap<String, Found> {
        &self.entries
    }

    /// The name of the element type of the dataset at `path`.
    pub(super) fn dtype(&self, path: &str) -> String {
        let Ok(dataset) = self.file.dataset(path) else { return "unknown".to_owned() };
        match dataset.dtype() {
            Datatype::FloatingPoint { size, .. } => format!("float{}", u32::from(*size) * 8),
            Datatype::FixedPoint { size, signed: true, .. } => format!("int{}", u32::from(*size) * 8),
            Datatype::FixedPoint { size, .. } => format!("uint{}", u32::from(*size) * 8),
            Datatype::String { .. } | Datatype::VarLen { .. } => "string".to_owned(),
            Datatype::Opaque { .. } if attributes::is_bfloat16(&dataset) => "bfloat16".to_owned(),
            _ => "other".to_owned(),
        }
    }

    /// The values of the dataset at `path`, which must be one of [`entries`](Self::entries).
    pub(super) fn read(&self, path: &str) -> Result<Values<'_>> {
        let entry = self.entries.get(path).ok_or_else(|| Error::internal("a dataset that was not found"))?;
        let dataset = self.file.dataset(path).map_err(broken(&self.name, path))?;
        let kind = kind(&dataset, &place(&self.name, path))?;
        if entry.chunked {
            self.count_chunks(&dataset, path, entry.stated.bytes)?;
        }
        let len = dataset.raw_byte_len().map_err(broken(&self.name, path))?;
        if len as u64 != entry.stated.bytes {
            return Err(malformed(place(&self.name, path), bytes(entry.stated.bytes), bytes(len as u64)));
        }
        let mut data = self.room.take();
        if data.capacity() < len {
            data = reserved(len)?;
        }
        // Where the file has nothing, zeros are meant, not what was here before.
        data.clear();
        data.resize(len, 0);
        dataset.read_native_bytes_into(&mut data).map_err(broken(&self.name, path))?;
        Ok(Values { kind, data, room: &self.room })
    }

    /// Whether the dataset at `path` is a counter that has counted.
    pub(super) fn has_counted(&self, path: &str) -> Result<bool> {
        let dataset = self.file.dataset(path).map_err(broken(&self.name, path))?;
        if !matches!(dataset.dtype(), Datatype::FixedPoint { .. }) || self.entries.get(path).is_none_or(|e| e.chunked) {
            return Ok(false);
        }
        let data = dataset.read_native_bytes().map_err(broken(&self.name, path))?;
        Ok(data.iter().any(|&byte| byte != 0))
    }

    /// Checks that the chunks hold what the dataset declares, before there is room made for it.
    fn count_chunks(&self, dataset: &Dataset, path: &str, declared: u64) -> Result<()> {
        let mut found = 0u64;
        for chunk in dataset.iter_chunks().map_err(broken(&self.name, path))? {
            found = found.saturating_add(chunk.map_err(broken(&self.name, path))?.bytes().len() as u64);
            if found > expanded(self.length, &self.limits) {
                return Err(exceeded(place(&self.name, path), bytes(found), self.limits.expansion, "expansion"));
            }
        }
        if found < declared {
            return Err(malformed(
                place(&self.name, path),
                format!("the {} that it declares", bytes(declared)),
                bytes(found),
            ));
        }
        Ok(())
    }
}

/// A walk over all groups.
struct Walk<'a> {
    name: &'a str,
    entries: BTreeMap<String, Found>,
    groups: BTreeSet<String>,
    /// Where objects lie, to refuse cycles and links from one place to another.
    addresses: BTreeSet<u64>,
    /// Bytes of all datasets.
    total: u64,
    limits: &'a Limits,
    length: u64,
}

impl Walk<'_> {
    fn visit(&mut self, path: &str, address: u64) -> Result<()> {
        let limit = self.limits.hdf5_objects;
        within(|| self.name.to_owned(), self.addresses.len() as u64 + 1, limit, "hdf5_objects")?;
        if !self.addresses.insert(address) {
            return Err(malformed(place(self.name, path), "an object of its own", "a link to another one"));
        }
        Ok(())
    }

    fn group(&mut self, group: &Group, path: &str, depth: usize) -> Result<()> {
        self.visit(path, group.address())?;
        self.groups.insert(path.to_owned());
        let Some(depth) = depth.checked_sub(1) else {
            let need = format!("more than {} levels", self.limits.hdf5_depth);
            return Err(exceeded(format!("the nesting of {}", self.name), need, self.limits.hdf5_depth, "hdf5_depth"));
        };
        let (groups, datasets) = group.member_names().map_err(broken(self.name, path))?;
        let members = groups.len() as u64 + datasets.len() as u64;
        within(|| place(self.name, path), members, self.limits.hdf5_members, "hdf5_members")?;
        drop((groups, datasets));
        let (groups, datasets) = group.members().map_err(broken(self.name, path))?;
        let below = |name: &str| match path {
            _ if name.is_empty() || name.contains('/') => {
                Err(malformed(place(self.name, path), "members with names", quoted(name)))
            }
            "" => Ok(name.to_owned()),
            path => Ok(format!("{path}/{name}")),
        };
        for dataset in datasets {
            self.dataset(&dataset, below(dataset.name())?)?;
        }
        for group in groups {
            self.group(&group, &below(group.name())?, depth)?;
        }
        Ok(())
    }

    fn dataset(&mut self, dataset: &Dataset, path: String) -> Result<()> {
        self.visit(&path, dataset.address())?;
        within(|| place(self.name, &path), dataset.shape().len() as u64, self.limits.rank, "rank")?;
        let large = || malformed(place(self.name, &path), "a shape that fits memory", format!("{:?}", dataset.shape()));
        let shape: Vec<usize> =
            dataset.shape().iter().map(|&dim| usize::try_from(dim).map_err(|_| large())).collect::<Result<_>>()?;
        let size = dataset.raw_byte_len().map_err(|_| large())? as u64;
        let chunked = dataset.chunks().is_some();
        let stored = if chunked { expanded(self.length, self.limits) } else { self.length };
        if size > stored {
            return Err(malformed(
                place(self.name, &path),
                format!("at most {}", bytes(stored)),
                format!("a declared size of {}", bytes(size)),
            ));
        }
        self.total = self.total.saturating_add(size);
        if usize::try_from(self.total).map_or(true, |total| total > self.limits.total_bytes) {
            return Err(exceeded(self.name.to_owned(), bytes(self.total), self.limits.total_bytes, "total_bytes"));
        }
        if self.entries.insert(path.clone(), Found { stated: Entry { shape, bytes: size }, chunked }).is_some() {
            return Err(malformed(place(self.name, &path), "a path of its own", "two objects"));
        }
        Ok(())
    }
}

/// Keras writes bfloat16 as two opaque bytes with an attribute that says so.
fn kind(dataset: &Dataset, place: &str) -> Result<Kind> {
    let refused = |what: String| {
        Error::unsupported(place, format!("the type {what}"), "save the model with dtype float32, not quantized")
    };
    match dataset.dtype() {
        Datatype::FloatingPoint { size: 2, .. } => Ok(Kind::F16),
        Datatype::FloatingPoint { size: 4, .. } => Ok(Kind::F32),
        Datatype::FloatingPoint { size: 8, .. } => Ok(Kind::F64),
        Datatype::Opaque { size: 2, .. } => {
            if attributes::is_bfloat16(dataset) {
                Ok(Kind::Bf16)
            } else {
                Err(refused("opaque of 2 bytes".to_owned()))
            }
        }
        Datatype::FixedPoint { size, signed, .. } => {
            Err(refused(format!("{}int{}", if *signed { "" } else { "u" }, u32::from(*size) * 8)))
        }
        Datatype::FloatingPoint { size, .. } => Err(refused(format!("float{}", u32::from(*size) * 8))),
        Datatype::String { .. } | Datatype::VarLen { .. } => Err(refused("string".to_owned())),
        _ => Err(refused("of a structure".to_owned())),
    }
}

impl Values<'_> {
    /// Number of values.
    pub(super) fn count(&self) -> usize {
        let width = match self.kind {
            Kind::F16 | Kind::Bf16 => 2,
            Kind::F32 => 4,
            Kind::F64 => 8,
        };
        self.data.len() / width
    }

    /// Adds the values of `range` to `into`, as f32.
    #[allow(clippy::cast_possible_truncation)] // rounding is the meaning
    pub(super) fn append(&self, range: Range<usize>, into: &mut Vec<f32>) {
        fn all<const N: usize>(data: &[u8], range: Range<usize>, into: &mut Vec<f32>, value: impl Fn([u8; N]) -> f32) {
            into.extend(data.as_chunks::<N>().0.get(range).unwrap_or_default().iter().map(|&bytes| value(bytes)));
        }
        match self.kind {
            Kind::F16 => all(&self.data, range, into, |b| f16::from_ne_bytes(b).to_f32()),
            // The bytes of an opaque type are not put into the machine's order.
            Kind::Bf16 => all(&self.data, range, into, |b| bf16::from_le_bytes(b).to_f32()),
            Kind::F32 => all(&self.data, range, into, f32::from_ne_bytes),
            Kind::F64 => all(&self.data, range, into, |b| f64::from_ne_bytes(b) as f32),
        }
    }

    /// All values, as f32.
    pub(super) fn all(&self) -> Result<Vec<f32>> {
        let mut all = reserved(self.count())?;
        self.append(0..self.count(), &mut all);
        Ok(all)
    }
}
