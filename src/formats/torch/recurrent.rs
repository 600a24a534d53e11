//! nn.RNN, nn.LSTM and nn.GRU: layers and directions from the names of tensors, sizes from their shapes.

use serde_json::Value as Json;

use super::{chain::Chain, weights::Source};
use crate::{
    activation::Activation,
    cell::{Cell, CellParams, DeadTimesteps},
    dim::Dim,
    error::{Error, Result},
    formats::json::shown,
    layout::Layout,
    model::{Bidirectional, Call, LayerKind, MergeMode, Recurrent, Value},
};

/// The order of a state in a file: `[layers * directions, batch, size]`.
pub(super) const STATES: [usize; 3] = [1, 0, 2];

/// What goes on to the next module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Take {
    /// Every timestep.
    All,
    /// `output[-1]`: of a module that reads in both directions, the first step of the reverse one.
    Last,
    /// `h_n` of the last layer, its directions side by side.
    Final,
}

pub(super) fn take(source: &Source<'_>) -> Result<Take> {
    match source.options.value("take") {
        None => Ok(Take::All),
        Some(Json::String(text)) if text == "last" => Ok(Take::Last),
        Some(Json::String(text)) if text == "h_n" => Ok(Take::Final),
        value => Err(Error::unsupported(
            &source.options.subject,
            format!("take = {}", shown(value)),
            "use \"last\" or \"h_n\", or leave it out for every timestep",
        )),
    }
}

/// The gates of the cell of a kind: rows of its weights per hidden unit.
fn cell(source: &Source<'_>) -> Result<(Cell, CellParams)> {
    let plain = CellParams::new(Activation::Tanh, Activation::Sigmoid);
    match source.options.kind.trim_end_matches("Cell") {
        "LSTM" => Ok((Cell::Lstm, plain)),
        "GRU" => Ok((Cell::Gru, plain)),
        _ => match source.options.text("nonlinearity", "tanh")? {
            "tanh" => Ok((Cell::Rnn, plain)),
            "relu" => Ok((Cell::Rnn, CellParams::new(Activation::RELU, Activation::Sigmoid))),
            _ => Err(source.options.wrong("nonlinearity", "tanh or relu")),
        },
    }
}

/// The layer whose tensors end in `suffix`.
fn layer(source: &Source<'_>, suffix: &str, input_size: Option<usize>) -> Result<Recurrent> {
    let (cell, params) = cell(source)?;
    let gates = cell.spec().gates.len();
    let name = |role: &str| format!("{role}{suffix}");
    let rows = source.size(&name("weight_hh"), 0)?;
    let hidden = rows / gates;
    if rows % gates != 0 || hidden == 0 {
        return Err(Error::mismatch(
            source.place(&name("weight_hh")),
            format!("{gates} gates of at least one unit"),
            format!("{rows} rows"),
        ));
    }
    let weight_hr = if cell == Cell::Lstm && !source.options.kind.ends_with("Cell") {
        source.optional(&name("weight_hr"), &[None, Some(hidden)])?
    } else {
        None
    };
    let size = weight_hr.as_ref().map_or(hidden, |weight| weight.shape().first().copied().unwrap_or(0));
    let weight_ih = source.tensor(&name("weight_ih"), &[Some(rows), input_size])?;
    if size == 0 || weight_ih.is_empty() {
        let subject = source.place(&name("weight_ih"));
        return Err(Error::mismatch(subject, "at least one feature", format!("{:?}", weight_ih.shape())));
    }
    Ok(Recurrent {
        cell,
        params,
        weight_ih,
        weight_hh: source.tensor(&name("weight_hh"), &[Some(rows), Some(size)])?,
        weight_hr,
        peephole: None,
        bias_ih: source.optional(&name("bias_ih"), &[Some(rows)])?,
        bias_hh: source.optional(&name("bias_hh"), &[Some(rows)])?,
        return_sequences: true,
        return_state: true,
        go_backwards: false,
        stateful: false,
        dead: DeadTimesteps::Zero,
        passes_mask: true,
    })
}

/// A module of one or more layers.
pub(super) struct Stack {
    layers: Vec<(Recurrent, Option<Recurrent>)>,
}

impl Stack {
    pub(super) fn read(source: &Source<'_>, limit: usize) -> Result<Self> {
        let bidirectional = source.has("weight_ih_l0_reverse");
        let directions = if bidirectional { 2 } else { 1 };
        let mut layers: Vec<(Recurrent, Option<Recurrent>)> = Vec::new();
        loop {
            let suffix = format!("_l{}", layers.len());
            if layers.len() == limit || (!layers.is_empty() && !source.has(&format!("weight_ih{suffix}"))) {
                break;
            }
            let size = layers.last().map(|(below, _)| below.output_size() * directions);
            let forward = layer(source, &suffix, size)?;
            let backward = bidirectional
                .then(|| layer(source, &format!("{suffix}_reverse"), Some(forward.input_size())))
                .transpose()?
                .map(|backward| Recurrent { go_backwards: true, ..backward });
            layers.push((forward, backward));
        }
        let stack = Self { layers };
        stack.check(source)?;
        Ok(stack)
    }

    /// Compares the stated options with the tensors.
    fn check(&self, source: &Source<'_>) -> Result<()> {
        let options = &source.options;
        options.agree("num_layers", self.layers.len())?;
        options.agree_flag("bidirectional", self.directions() == 2)?;
        let Some((first, _)) = self.layers.first() else { return Err(Error::internal("a stack without a layer")) };
        check_layer(source, first)?;
        if first.cell == Cell::Lstm {
            options.agree("proj_size", first.weight_hr.as_ref().map_or(0, |_| first.output_size()))?;
        }
        let all = self.layers.iter().flat_map(|(forward, backward)| [Some(forward), backward.as_ref()]).flatten();
        for layer in all {
            let sizes = |r: &Recurrent| (r.hidden_size(), r.output_size(), r.bias_ih.is_some(), r.bias_hh.is_some());
            if sizes(layer) != sizes(first) {
                let text = |r| format!("(hidden size, output size, biases) {:?}", sizes(r));
                return Err(Error::mismatch(
                    &options.subject,
                    format!("all layers alike: {}", text(first)),
                    text(layer),
                ));
            }
        }
        number_of_dropout(source)
    }

    fn directions(&self) -> usize {
        if self.layers.iter().any(|(_, backward)| backward.is_some()) { 2 } else { 1 }
    }

    /// Sizes of the states, the hidden one first.
    fn state_sizes(&self) -> Vec<usize> {
        self.layers.first().map_or_else(Vec::new, |(first, _)| state_sizes(first))
    }

    /// Adds the layers; with `states`, inputs for the initial states and outputs for the final ones.
    pub(super) fn add(self, chain: &mut Chain<'_>, name: &str, take: Take, states: bool) -> Result<()> {
        let (directions, sizes) = (self.directions(), self.state_sizes());
        let count = self.layers.len();
        let input = chain.value;
        let mut initial = Vec::new();
        if states {
            let cells = count * directions;
            for (name, &size) in ["h_0", "c_0"].into_iter().zip(&sizes) {
                let dims = vec![chain.builder.batch(), Dim::from(cells), Dim::from(size)];
                initial.push((chain.builder.input_as(name, dims, order(&STATES)?, true)?, size));
            }
        }
        let class = chain.class.clone();
        let block = chain.builder.begin_block(&chain.names.unique(name), &class)?;
        let mut finals: Vec<Vec<Value>> = vec![Vec::new(); sizes.len()];
        let mut output = input;
        for (index, (mut forward, backward)) in self.layers.into_iter().enumerate() {
            let name = format!("{name}/l{index}");
            let is_last = index + 1 == count;
            let mut given = Vec::new();
            for direction in 0..directions {
                for (value, size) in &initial {
                    given.push(chain.part(&name, *value, index * directions + direction, *size)?);
                }
            }
            // The last layer need not give what nobody takes.
            let whole = !is_last || take == Take::All || (take == Take::Last && backward.is_some());
            let dead = if whole { DeadTimesteps::Zero } else { DeadTimesteps::RepeatState };
            forward = Recurrent { return_sequences: whole, dead, ..forward };
            let kind = match backward {
                None => LayerKind::Recurrent(forward),
                Some(backward) => LayerKind::Bidirectional(Bidirectional {
                    forward,
                    backward: Recurrent { return_sequences: whole, dead, ..backward },
                    merge: MergeMode::Concat,
                }),
            };
            let layer = chain.builder.layer_as(&chain.names.unique(&name), &class, kind, true)?;
            let call = Call { inputs: &[output], initial_state: &given, ..Call::default() };
            let mut outputs = chain.builder.call(layer, call)?.into_iter();
            output = outputs.next().ok_or_else(|| Error::internal("a layer without an output"))?;
            outputs.enumerate().for_each(|(at, state)| {
                finals.get_mut(at % sizes.len().max(1)).into_iter().for_each(|all| all.push(state));
            });
        }
        if take == Take::Last && directions == 2 {
            output = chain.last_timestep(name, output)?;
        }
        let mut outputs = vec![output];
        if states {
            for (label, all) in ["h_n", "c_n"].into_iter().zip(&finals) {
                outputs.push(chain.stacked(&format!("{name}/{label}"), all)?);
            }
        }
        chain.builder.end_block();
        let inputs: Vec<Value> = [input].into_iter().chain(initial.into_iter().map(|(value, _)| value)).collect();
        chain.builder.block_call(block, &inputs, &outputs);
        chain.value = output;
        chain.finals = outputs.split_off(1);
        chain.is_sequence &= take == Take::All;
        Ok(())
    }
}

fn state_sizes(layer: &Recurrent) -> Vec<usize> {
    let sizes = [layer.output_size(), layer.hidden_size()];
    sizes.into_iter().take(layer.cell.spec().states.len()).collect()
}

fn check_layer(source: &Source<'_>, layer: &Recurrent) -> Result<()> {
    let options = &source.options;
    options.agree("input_size", layer.input_size())?;
    options.agree("hidden_size", layer.hidden_size())?;
    options.agree_flag("bias", layer.bias_ih.is_some())?;
    if layer.bias_ih.is_some() != layer.bias_hh.is_some() {
        return Err(Error::mismatch(&options.subject, "both biases or none", "one of bias_ih and bias_hh"));
    }
    Ok(())
}

/// Dropout between the layers happens in training only.
fn number_of_dropout(source: &Source<'_>) -> Result<()> {
    let p = source.options.number("dropout", 0.0)?;
    if (0.0..=1.0).contains(&p) {
        return Ok(());
    }
    Err(source.options.wrong("dropout", "a number from 0 to 1"))
}

pub(super) fn order(axes: &[usize]) -> Result<Layout> {
    Layout::new(axes.iter().map(|&axis| vec![axis]).collect())
}

/// nn.RNNCell, nn.LSTMCell, nn.GRUCell: one timestep.
pub(super) fn add_cell(source: &Source<'_>, chain: &mut Chain<'_>, name: &str, states: bool) -> Result<()> {
    let mut layer = layer(source, "", None)?;
    check_layer(source, &layer)?;
    layer.return_sequences = false;
    let sizes = state_sizes(&layer);
    let (input, features) = (chain.value, layer.input_size());
    let mut given = Vec::new();
    if states {
        for (name, &size) in ["h_0", "c_0"].into_iter().zip(&sizes) {
            let dims = vec![chain.builder.batch(), Dim::from(size)];
            given.push(chain.builder.input_as(name, dims, Layout::identity(2), true)?);
        }
    }
    let class = chain.class.clone();
    let block = chain.builder.begin_block(&chain.names.unique(name), &class)?;
    let shape = vec![chain.builder.batch(), Dim::from(1), Dim::from(features)];
    let timestep = chain.add(&format!("{name}/timestep"), LayerKind::ReshapeTo { shape }, &[input])?;
    let cell = chain.names.unique(&format!("{name}/cell"));
    let cell = chain.builder.layer_as(&cell, &class, LayerKind::Recurrent(layer), true)?;
    let call = Call { inputs: &[timestep], initial_state: &given, ..Call::default() };
    let mut outputs = chain.builder.call(cell, call)?;
    chain.builder.end_block();
    let inputs: Vec<Value> = [input].into_iter().chain(given).collect();
    chain.builder.block_call(block, &inputs, &outputs);
    let finals = outputs.split_off(1);
    chain.value = outputs.first().copied().ok_or_else(|| Error::internal("a cell without an output"))?;
    chain.finals = if states { finals } else { Vec::new() };
    Ok(())
}
