//! Files of Keras (`keras/src/saving/`, `keras/src/legacy/saving/`): a configuration, of which only known
//! classes and options are understood, and weights, in one container or another.

mod activation;
mod archive;
mod attention;
mod attributes;
mod calls;
mod compose;
mod config;
mod container;
mod distributed;
mod folder;
mod functions;
mod graph;
mod hdf5;
mod indexing;
mod inspect;
mod layers;
mod legacy;
mod masks;
mod names;
mod network;
mod normalizing;
mod part;
mod recurrent;
mod rules;
mod sequential;
mod store;
mod supported;
mod timewise;
mod weights;

use std::{
    cell::RefCell,
    io::{Read, Seek},
    path::Path,
};

use self::{
    archive::CONFIG,
    config::{Options, object, text},
    container::Parts,
    layers::{Described, Origin},
    legacy::Legacy,
    masks::Masks,
    network::{Container, Network},
    rules::Rules,
    store::Store,
    weights::Weights,
};
pub(super) use self::{
    inspect::{inspect, inspect_directory},
    supported::table,
};
use super::{Limits, LoadOptions, in_file};
use crate::{
    error::{Error, Result, quoted},
    formats::{json, limits::within},
    model::{Builder, Model, Value},
};

/// A file while it is read.
struct Reader<'a> {
    weights: Weights,
    rules: Rules,
    masks: Masks,
    limits: &'a Limits,
    /// The errors of layers, where reading goes on after them.
    problems: Option<RefCell<Vec<Error>>>,
}

/// The model in `folder`, which messages call `name`.
pub(super) fn from_directory(folder: &Path, name: &str, options: &LoadOptions) -> Result<Model> {
    let parts = folder::read(folder, &options.limits);
    parts.and_then(|parts| model(parts, options)).map_err(|error| in_file(error, name))
}

/// The model in `file`, at `path` if it has one, which messages call `name`.
pub(super) fn from_file<R: Read + Seek>(
    file: R,
    path: Option<&Path>,
    name: &str,
    options: &LoadOptions,
) -> Result<Model> {
    let parts = container::read(file, path, options);
    parts.and_then(|parts| model(parts, options)).map_err(|error| in_file(error, name))
}

fn model(parts: Parts, options: &LoadOptions) -> Result<Model> {
    let limits = &options.limits;
    let place = parts.config.name.clone();
    let parsed = json::parse(&place, &parts.config.data, limits)?;
    let whole = object(Some(&parsed), CONFIG).map_err(|error| at(error, &place))?;
    let rules = Rules::new(&parts, whole, options)?;
    let weights = weights(Store::new(parts.weights, limits)?)?;
    let reader = Reader { weights, masks: Masks::new(rules), rules, limits, problems: None };
    read(&reader, &parsed).map_err(|error| at(error, &place))
}

fn weights(store: Store) -> Result<Weights> {
    let legacy = match store.only() {
        Some(datasets) => Legacy::new(datasets)?,
        None => None,
    };
    Ok(Weights::new(store, legacy))
}

/// `error`, at `place` where it says that it is in the configuration.
fn at(error: Error, place: &str) -> Error {
    match error {
        Error::Malformed { file, at, expected, found } if at == CONFIG => {
            Error::Malformed { file, at: place.to_owned(), expected, found }
        }
        other => other,
    }
}

fn read(reader: &Reader<'_>, parsed: &serde_json::Value) -> Result<Model> {
    let whole = object(Some(parsed), CONFIG)?;
    let top = Described::new(parsed, CONFIG)?;
    if top.origin != Origin::Model {
        let what = format!("a model of the class {}, whose code is not in the file,", quoted(top.class));
        return Err(Error::unsupported(
            "the model",
            what,
            "build it as a Sequential or with keras.Model(inputs, outputs)",
        ));
    }
    let mut builder = Model::builder(top.name);
    let network = Network::read(reader, &mut builder, &top, whole, Container::outermost())?;
    for (name, value) in network.outermost(&mut builder)? {
        builder.output(&name, value)?;
    }
    reader.weights.finish()?;
    let optimizer = reader.weights.optimizer()?;
    builder.optimizer(optimizer.values, optimizer.bytes);
    builder.build()
}

impl Reader<'_> {
    /// What was read; nothing where it could not be and reading goes on.
    fn tolerate<T>(&self, read: Result<T>) -> Result<Option<T>> {
        match (read, &self.problems) {
            (Ok(read), _) => Ok(Some(read)),
            (Err(error), None) => Err(error),
            (Err(error), Some(problems)) => {
                problems.borrow_mut().push(error);
                Ok(None)
            }
        }
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
