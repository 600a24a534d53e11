//! Keras 3's `.keras` files (`keras/src/saving/saving_lib.py`): a zip archive of the configuration,
//! of which only known classes and options are understood, and an HDF5 file of the weights.

mod activation;
mod archive;
mod calls;
mod config;
mod functions;
mod graph;
mod hdf5;
mod layers;
mod names;
mod recurrent;
mod sequential;
mod weights;

use std::{
    io::{Read, Seek},
    path::Path,
};

use serde_json::{Map, Value as Json};

use self::{
    archive::{CONFIG, METADATA, Members, malformed},
    config::{Options, object, shown, text},
    layers::{Described, Origin},
    weights::Weights,
};
use super::{KerasBackend, Limits, LoadOptions, in_file};
use crate::{
    error::{Error, Result, quoted},
    formats::{json, limits::within},
    model::{Builder, Model, Value},
};

/// What the version that wrote the file, and the caller, decide for all layers.
struct Rules {
    backend: KerasBackend,
    /// Whether recurrent layers hand masks on: Keras up to 3.15.
    passes_mask: bool,
}

/// A file while it is read.
struct Reader<'a> {
    weights: Weights,
    rules: Rules,
    limits: &'a Limits,
}

pub(super) fn from_directory(folder: &Path, name: &str, options: &LoadOptions) -> Result<Model> {
    let members = archive::from_directory(folder, &options.limits);
    members.and_then(|members| model(members, options)).map_err(|error| in_file(error, name))
}

pub(super) fn from_zip<R: Read + Seek>(reader: R, name: &str, options: &LoadOptions) -> Result<Model> {
    let members = archive::from_zip(reader, &options.limits);
    members.and_then(|members| model(members, options)).map_err(|error| in_file(error, name))
}

fn model(members: Members, options: &LoadOptions) -> Result<Model> {
    let limits = &options.limits;
    let Members { config, metadata, weights } = members;
    let (major, minor) = version(&json::parse(METADATA, &metadata, limits)?)?;
    let rules = Rules { backend: options.keras_backend, passes_mask: (major, minor) < (3, 16) };
    let parsed = json::parse(CONFIG, &config, limits)?;
    drop(config);
    let top = Described::new(&parsed, CONFIG)?;
    if top.origin != Origin::Model {
        let what = format!("a model of the class {}, whose code is not in the file,", quoted(top.class));
        return Err(Error::unsupported(
            "the model",
            what,
            "build it as a Sequential or with keras.Model(inputs, outputs)",
        ));
    }
    let weights = Weights::new(hdf5::Datasets::open(weights, limits)?);
    let reader = Reader { weights, rules, limits };
    let mut builder = match top.class {
        "Sequential" => sequential::read(&reader, object(Some(&parsed), CONFIG)?, top.config)?,
        _ => graph::read(&reader, top.config)?,
    };
    reader.weights.finish()?;
    let optimizer = reader.weights.optimizer()?;
    builder.optimizer(optimizer.values, optimizer.bytes);
    builder.build()
}

/// The version of Keras that wrote the file.
fn version(metadata: &Json) -> Result<(u64, u64)> {
    let version = metadata.get("keras_version");
    let expected = "a keras_version such as '3.15.1'";
    let Some(version) = version.and_then(Json::as_str) else {
        return Err(malformed(METADATA, expected, shown(version)));
    };
    let mut parts = version.split('.').map(|part| part.parse::<u64>().ok());
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(3), Some(minor)) => Ok((3, minor)),
        (Some(_), Some(_)) => Err(Error::unsupported(
            "the file",
            format!("the version {} of Keras", quoted(version)),
            "load it with Keras 3 and save it with model.save('model.keras')",
        )),
        _ => Err(malformed(METADATA, expected, quoted(version))),
    }
}

impl Reader<'_> {
    fn model_name(&self, config: &Map<String, Json>) -> Result<String> {
        text(config.get("name"), "config.name").map(str::to_owned)
    }

    /// Adds the input of an `InputLayer`.
    fn input(&self, builder: &mut Builder, options: &Options<'_>) -> Result<Value> {
        let name = text(options.value("name"), "an InputLayer's name")?;
        let shape = sequential::input_options(options)?;
        self.add_input(builder, name, &options.subject, &shape)
    }

    /// Adds an input of `shape`, the batch axis first.
    fn add_input(&self, builder: &mut Builder, name: &str, subject: &str, shape: &[Option<usize>]) -> Result<Value> {
        let Some((&batch, shape)) = shape.split_first() else {
            return Err(Error::mismatch(subject, "a shape with a batch axis", "an empty shape"));
        };
        within(|| subject.to_owned(), shape.len() as u64 + 1, self.limits.rank, "rank")?;
        if let Some(dim) = shape.iter().flatten().find(|&&dim| dim == 0 || u32::try_from(dim).is_err()) {
            return Err(Error::mismatch(subject, "dimensions from 1 to 4294967295", dim.to_string()));
        }
        if let Some(batch) = batch {
            let stated = builder.stated_batch_size();
            if batch == 0 || stated.is_some_and(|stated| stated != batch) {
                let expected =
                    stated.map_or("a batch size of at least 1".to_owned(), |s| format!("batch size {s}, as before"));
                return Err(Error::mismatch(subject, expected, batch.to_string()));
            }
            builder.batch_size(Some(batch));
        }
        builder.input(name, shape)
    }
}
