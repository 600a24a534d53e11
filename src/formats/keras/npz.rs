//! Weights as an npz archive.

use super::{hdf5::Values, store::Entry};
use crate::{
    error::{Error, Result},
    formats::Limits,
};

pub(super) struct Arrays {
    name: String,
}

impl Arrays {
    pub(super) fn open(name: &str, _data: Vec<u8>, _limits: &Limits) -> Result<Self> {
        Err(Error::unsupported(
            name,
            "an archive of Python pickles",
            "load it with the version of Keras that wrote it and save it with model.save('model.keras')",
        ))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        std::iter::empty()
    }

    pub(super) fn read(&self, _path: &str) -> Result<Values> {
        Err(Error::internal("an array that is not there"))
    }
}
