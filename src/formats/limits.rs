//! [`Limits`]: what a file may ask for before it is refused.

use crate::error::{Error, Result};

/// What a file may ask for before it is refused. No number that a file claims is believed beyond
/// these, and none makes room in memory before the bytes for it are known to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Members of an archive.
    pub archive_entries: usize,
    /// Bytes of an archive's directory.
    pub archive_directory_bytes: usize,
    /// How many times its stored size a member of an archive, or a compressed dataset, may expand to
    /// (1 MiB is always granted).
    pub expansion: usize,
    /// Bytes of all members read, expanded, and of all weights.
    pub total_bytes: usize,
    /// Bytes of a JSON text.
    pub json_bytes: usize,
    /// Nesting of a JSON text.
    pub json_depth: usize,
    /// Values in a JSON text; an object counts as a few.
    pub json_values: usize,
    /// Layers of a model.
    pub layers: usize,
    /// Calls of layers in a model.
    pub calls: usize,
    /// Units of a layer.
    pub units: usize,
    /// Groups and datasets of an HDF5 file.
    pub hdf5_objects: usize,
    /// Groups and datasets in one group of an HDF5 file.
    pub hdf5_members: usize,
    /// Nesting of groups of an HDF5 file.
    pub hdf5_depth: usize,
    /// Bytes of a decoded chunk of an HDF5 dataset.
    pub hdf5_chunk_bytes: usize,
    /// Objects in the header of a safetensors file: its tensors and a few more.
    pub tensors: usize,
    /// Nodes of an ONNX graph.
    pub onnx_nodes: usize,
    /// Names of inputs and outputs in an ONNX graph.
    pub onnx_edges: usize,
    /// Initializers of an ONNX graph.
    pub onnx_tensors: usize,
    /// Axes of a tensor.
    pub rank: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            archive_entries: 4096,
            archive_directory_bytes: 4 << 20,
            expansion: 100,
            total_bytes: 2 << 30,
            json_bytes: 16 << 20,
            json_depth: 64,
            json_values: 1 << 19,
            layers: 4096,
            calls: 16_384,
            units: 65_536,
            hdf5_objects: 65_536,
            hdf5_members: 16_384,
            hdf5_depth: 32,
            hdf5_chunk_bytes: 16 << 20,
            tensors: 16_384,
            onnx_nodes: 100_000,
            onnx_edges: 1 << 19,
            onnx_tensors: 65_536,
            rank: 8,
        }
    }
}

/// `Ok` if `need` is within `limit`, which is the field `name` of [`Limits`].
pub(super) fn within(what: impl FnOnce() -> String, need: u64, limit: usize, name: &str) -> Result<()> {
    if usize::try_from(need).is_ok_and(|need| need <= limit) {
        return Ok(());
    }
    Err(exceeded(what(), need.to_string(), limit, name))
}

/// The error for more than `limit`, which is the field `name` of [`Limits`].
pub(super) fn exceeded(what: String, need: String, limit: usize, name: &str) -> Error {
    Error::Limit {
        what,
        need,
        limit: format!("{limit} ({name})"),
        hint: format!("raise Limits::{name} if the file is to be trusted"),
    }
}

/// The size that `stored` bytes may expand to.
#[cfg(feature = "keras")]
pub(super) fn expanded(stored: u64, limits: &Limits) -> u64 {
    let ratio = u64::try_from(limits.expansion).unwrap_or(u64::MAX);
    stored.saturating_mul(ratio).saturating_add(1 << 20)
}
