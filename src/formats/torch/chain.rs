//! Modules one after the other. What flows from one to the next are timesteps of features (or one row of
//! features), each module seeing them in its own order; inputs and outputs have that of the modules at the ends.

use std::collections::HashSet;

use super::{
    config::CONFIG,
    modules::{Axes, Known},
    recurrent::order,
    weights::Source,
};
use crate::{
    dim::Dim,
    error::{Error, Result},
    layout::Layout,
    model::{Builder, Call, LayerKind, Value},
};

/// Names that no layer has yet.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<String>);

impl Names {
    pub(super) fn unique(&mut self, name: &str) -> String {
        let mut unique = name.to_owned();
        let mut suffix = 0;
        while !self.0.insert(unique.clone()) {
            suffix += 1;
            unique = format!("{name}_{suffix}");
        }
        unique
    }
}

/// A model while modules are added to it.
pub(super) struct Chain<'a> {
    pub(super) builder: &'a mut Builder,
    pub(super) names: Names,
    /// What the next module reads.
    pub(super) value: Value,
    /// Whether that has timesteps.
    pub(super) is_sequence: bool,
    /// The class of the module that is being added.
    pub(super) class: String,
    /// The final states, where the model gives them.
    pub(super) finals: Vec<Value>,
}

impl Chain<'_> {
    /// A layer with one output, under a name of its own.
    pub(super) fn add(&mut self, name: &str, kind: LayerKind, inputs: &[Value]) -> Result<Value> {
        let name = self.names.unique(name);
        self.builder.add(&name, kind, inputs)
    }

    /// A layer that stands for the module as a whole.
    pub(super) fn module(&mut self, name: &str, kind: LayerKind) -> Result<()> {
        let name = self.names.unique(name);
        let layer = self.builder.layer_as(&name, &self.class, kind, true)?;
        let outputs = self.builder.call(layer, Call { inputs: &[self.value], ..Call::default() })?;
        self.value = outputs.first().copied().ok_or_else(|| Error::internal("a layer without an output"))?;
        Ok(())
    }

    /// `[batch, size]` of `[batch, cells, size]`.
    pub(super) fn part(&mut self, name: &str, states: Value, index: usize, size: usize) -> Result<Value> {
        let slice = LayerKind::Slice { axis: 1, start: Dim::from(index), step: 1, extent: Dim::from(1) };
        let one = self.add(&format!("{name}/state"), slice, &[states])?;
        let shape = vec![self.builder.batch(), Dim::from(size)];
        self.add(&format!("{name}/initial_state"), LayerKind::ReshapeTo { shape }, &[one])
    }

    /// `[batch, features]` of the last timestep of a sequence.
    pub(super) fn last_timestep(&mut self, name: &str, sequence: Value) -> Result<Value> {
        let [_, seq_len, features] = self.builder.shape(sequence)? else {
            return Err(Error::internal("a sequence of another rank"));
        };
        let (start, features) = (seq_len - &Dim::from(1), features.clone());
        let slice = LayerKind::Slice { axis: 1, start, step: 1, extent: Dim::from(1) };
        let one = self.add(&format!("{name}/last"), slice, &[sequence])?;
        let shape = vec![self.builder.batch(), features];
        self.add(&format!("{name}/taken"), LayerKind::ReshapeTo { shape }, &[one])
    }

    /// `[batch, cells, size]` of several `[batch, size]`.
    pub(super) fn stacked(&mut self, name: &str, states: &[Value]) -> Result<Value> {
        let mut rows = Vec::new();
        for &state in states {
            let [batch, size] = self.builder.shape(state)? else {
                return Err(Error::internal("a state of another rank"));
            };
            let shape = vec![batch.clone(), Dim::from(1), size.clone()];
            rows.push(self.add(&format!("{name}/state"), LayerKind::ReshapeTo { shape }, &[state])?);
        }
        match rows.as_slice() {
            [one] => Ok(*one),
            _ => self.add(name, LayerKind::Concatenate { axis: 1 }, &rows),
        }
    }
}

/// What a chain says of its input and its output before any module is added.
pub(super) struct Ends {
    is_sequence: bool,
    batch_first: bool,
    /// The order of features and timesteps that the first and the last module have.
    first: Axes,
    last: Axes,
}

impl Ends {
    pub(super) fn of(modules: &[(Source<'_>, &'static Known)]) -> Result<Self> {
        let mut batch_first: Option<(bool, &str)> = None;
        for (source, _) in modules.iter().filter(|(_, known)| known.is_recurrent()) {
            let own = source.options.flag("batch_first", false)?;
            let subject = source.options.subject.as_str();
            if let Some((before, of)) = batch_first.filter(|(before, _)| *before != own) {
                return Err(Error::unsupported(
                    subject,
                    format!("batch_first = {own} after batch_first = {before} ({of})"),
                    "use one order for all modules of a chain",
                ));
            }
            batch_first = Some((own, subject));
        }
        let opinions = || modules.iter().map(|(source, known)| known.axes(source)).filter(|axes| *axes != Axes::Any);
        Ok(Self {
            is_sequence: modules.iter().any(|(_, known)| known.needs_sequence()),
            batch_first: batch_first.is_none_or(|(first, _)| first),
            first: opinions().next().unwrap_or(Axes::FeaturesLast),
            last: opinions().next_back().unwrap_or(Axes::FeaturesLast),
        })
    }

    fn sequence(&self, axes: Axes) -> Result<Layout> {
        order(match axes {
            Axes::ChannelsSecond => &[0, 2, 1],
            _ if self.batch_first => &[0, 1, 2],
            _ => &[1, 0, 2],
        })
    }

    /// Adds the input and starts the chain.
    pub(super) fn start<'a>(
        &self,
        builder: &'a mut Builder,
        modules: &[(Source<'_>, &'static Known)],
    ) -> Result<Chain<'a>> {
        let mut features = None;
        for (source, known) in modules {
            if known.takes_ids {
                break;
            }
            features = (known.features)(source)?;
            if features.is_some() {
                break;
            }
        }
        let takes_ids =
            modules.iter().find(|(source, known)| known.axes(source) != Axes::Any).is_some_and(|(_, k)| k.takes_ids);
        let mut dims = vec![builder.batch()];
        if self.is_sequence {
            dims.push(builder.symbol("the length of input 'input'"));
        }
        let layout = match (features, takes_ids) {
            (_, true) if self.is_sequence && !self.batch_first => order(&[1, 0])?,
            (_, true) => Layout::identity(dims.len()),
            (Some(features), false) => {
                dims.push(Dim::from(features));
                if self.is_sequence { self.sequence(self.first)? } else { Layout::identity(2) }
            }
            (None, false) => {
                let expected = "a module that tells how many features the input has";
                return Err(Error::mismatch(CONFIG, expected, "activations only"));
            }
        };
        let mut names = Names::default();
        for name in ["input", "h_0", "c_0"] {
            names.unique(name);
        }
        let value = builder.input_as("input", dims, layout, false)?;
        let class = String::new();
        Ok(Chain { builder, names, value, is_sequence: self.is_sequence, class, finals: Vec::new() })
    }

    /// The order of the output.
    pub(super) fn output(&self, chain: &Chain<'_>) -> Result<Layout> {
        let rank = chain.builder.shape(chain.value)?.len();
        if rank == 3 { self.sequence(self.last) } else { Ok(Layout::identity(rank)) }
    }
}
