//! A model of the file, the outermost one or one that is a layer of another: its layers stand in the
//! builder, and it can be called any number of times.

use serde_json::{Map, Value as Json};

use super::{
    Reader,
    graph::Graph,
    layers::Described,
    names::Names,
    sequential::Sequence,
    weights::{Link, Scope},
};
use crate::{
    error::{Error, Result},
    model::{Builder, Value},
};

/// A model of the file.
pub(super) enum Network<'a> {
    Sequence(Sequence<'a>),
    Graph(Graph<'a>),
}

/// Where the layers of a model have their weights and names.
pub(super) struct Container {
    /// What stands before `layers/lstm` in the paths of weights.
    path: String,
    /// The names of the models that this one is in, and its own; empty for the outermost.
    chain: Vec<Link>,
    names: Names,
}

/// What a network gives: values with the names of the layers that they come from.
pub(super) type Outputs = Vec<(String, Value)>;

impl Container {
    /// The outermost model.
    pub(super) fn outermost() -> Self {
        Self { path: String::new(), chain: Vec::new(), names: Names::default() }
    }

    /// A model that has its weights in `scope`.
    pub(super) fn within(scope: &Scope<'_>) -> Self {
        Self { path: format!("{}/", scope.path()), chain: scope.chain().to_vec(), names: Names::default() }
    }

    pub(super) fn is_outermost(&self) -> bool {
        self.chain.is_empty()
    }

    /// Counts a layer of `class` that has no weights.
    pub(super) fn count(&mut self, class: &str) {
        self.names.next(class);
    }

    /// The weights of the next layer.
    pub(super) fn next<'a>(&mut self, reader: &'a Reader<'a>, described: &Described<'_>) -> Scope<'a> {
        let path = format!("{}layers/{}", self.path, self.names.next(described.class));
        let mut chain = self.chain.clone();
        chain.push(Link { name: described.name.to_owned(), is_wrapped: false });
        reader.weights.scope(path, chain, &described.subject())
    }

    /// The name in the model of the layer that is `name` in this one.
    pub(super) fn name(&self, name: &str) -> String {
        let outer = self.chain.iter().map(|link| link.name.as_str());
        outer.chain([name]).collect::<Vec<_>>().join("/")
    }
}

impl<'a> Network<'a> {
    /// Reads the model that `described` and `whole`, its whole object, tell of.
    pub(super) fn read(
        reader: &'a Reader<'a>,
        builder: &mut Builder,
        described: &Described<'a>,
        whole: &'a Map<String, Json>,
        container: Container,
    ) -> Result<Self> {
        match described.class {
            "Sequential" => Sequence::read(reader, builder, described, whole, container).map(Self::Sequence),
            _ => Graph::read(reader, builder, described, container).map(Self::Graph),
        }
    }

    /// Calls the outermost model with the inputs that it has added to the builder.
    pub(super) fn outermost(&self, builder: &mut Builder) -> Result<Outputs> {
        match self {
            Self::Sequence(sequence) => sequence.outermost(builder),
            Self::Graph(graph) => graph.outermost(builder),
        }
    }

    /// Calls the model, which messages call `subject`, with `inputs`.
    pub(super) fn call(&self, builder: &mut Builder, subject: &str, inputs: &[Value]) -> Result<Vec<Value>> {
        let outputs = match self {
            Self::Sequence(sequence) => match inputs {
                [input] => sequence.call(builder, *input)?,
                several => return Err(Error::mismatch(subject, "one input", several.len().to_string())),
            },
            Self::Graph(graph) => graph.call(builder, subject, inputs)?,
        };
        Ok(outputs.into_iter().map(|(_, value)| value).collect())
    }
}
