//! The recurrent layers. Keras stacks the gates of the LSTM as input, forget, cell, output, those of
//! the GRU as update, reset, new.

use serde_json::{Value, json};

use super::{
    activation,
    config::{Options, shown},
    layers::{Described, Origin, Source},
    weights::Scope,
};
use crate::{
    activation::Activation,
    cell::{Cell, CellParams, DeadTimesteps},
    error::{Error, Result},
    formats::KerasBackend,
    model::{Bidirectional, LayerKind, MergeMode, Recurrent},
};

/// Which of Keras' gates stands in each place.
const RNN_GATES: &[usize] = &[0];
const LSTM_GATES: &[usize] = &[0, 1, 2, 3];
const GRU_GATES: &[usize] = &[1, 0, 2];

pub(super) fn layer(s: &Source<'_>) -> Result<LayerKind> {
    let zero = s.options.flag("zero_output_for_mask", false)?;
    Ok(LayerKind::Recurrent(recurrent(s, &s.options, &s.scope, zero)?))
}

fn recurrent(s: &Source<'_>, options: &Options<'_>, scope: &Scope<'_>, zero: bool) -> Result<Recurrent> {
    let units = options.units()?;
    let activation = activation::pointwise(options, "activation", "tanh")?;
    let use_bias = options.flag("use_bias", true)?;
    let unroll = options.flag("unroll", false)?;
    options.only("time_major", &json!(false), "put the batch axis first")?;
    // Of training, or ways of computing the same.
    options.ignore(&["dropout", "recurrent_dropout", "seed", "unit_forget_bias", "implementation", "use_cudnn"]);
    let gated = |options: &Options<'_>| activation::pointwise(options, "recurrent_activation", "sigmoid");
    let (cell, order, gate) = match options.class {
        "SimpleRNN" => (Cell::Rnn, RNN_GATES, Activation::Sigmoid),
        "LSTM" => (Cell::Lstm, LSTM_GATES, gated(options)?),
        _ if options.flag("reset_after", true)? => (Cell::Gru, GRU_GATES, gated(options)?),
        _ => (Cell::GruResetBefore, GRU_GATES, gated(options)?),
    };
    let cell_scope = scope.below("cell");
    let columns = Some(order.len() * units);
    let weight_ih = cell_scope.gates(0, "kernel", [None, columns], order)?;
    let weight_hh = cell_scope.gates(1, "recurrent_kernel", [Some(units), columns], order)?;
    let expected: &[_] = if cell == Cell::Gru { &[Some(2), columns] } else { &[columns] };
    let biases = if use_bias { cell_scope.gate_rows(2, "bias", expected, order)? } else { Vec::new() };
    let mut biases = biases.into_iter();
    Ok(Recurrent {
        cell,
        params: CellParams::new(activation, gate),
        weight_ih,
        weight_hh,
        weight_hr: None,
        peephole: None,
        bias_ih: biases.next(),
        bias_hh: biases.next(),
        return_sequences: options.flag("return_sequences", false)?,
        return_state: options.flag("return_state", false)?,
        go_backwards: options.flag("go_backwards", false)?,
        stateful: options.flag("stateful", false)?,
        dead: dead_timesteps(s.rules.backend, zero, unroll),
        passes_mask: s.rules.passes_mask.unwrap_or(true),
    })
}

pub(super) fn bidirectional(s: &Source<'_>) -> Result<LayerKind> {
    let merge = match s.options.value("merge_mode") {
        None => MergeMode::Concat,
        Some(Value::Null) => MergeMode::Separate,
        Some(Value::String(mode)) if mode == "concat" => MergeMode::Concat,
        Some(Value::String(mode)) if mode == "sum" => MergeMode::Sum,
        Some(Value::String(mode)) if mode == "mul" => MergeMode::Mul,
        Some(Value::String(mode)) if mode == "ave" => MergeMode::Ave,
        mode => {
            let what = format!("merge_mode = {}", shown(mode));
            return Err(Error::unsupported(&s.options.subject, what, "use concat, sum, mul, ave or None"));
        }
    };
    let forward = direction(s, s.options.value("layer"), "forward")?;
    let backward = match s.options.value("backward_layer") {
        // Made by Keras from the forward one where none was given.
        None | Some(Value::Null) => {
            let twin = direction(s, s.options.value("layer"), "backward")?;
            Recurrent { go_backwards: true, ..twin }
        }
        given => direction(s, given, "backward")?,
    };
    Ok(LayerKind::Bidirectional(Bidirectional { forward, backward, merge }))
}

/// The layer of one direction. Keras gives it zeros at masked timesteps exactly if it returns sequences.
fn direction(s: &Source<'_>, value: Option<&Value>, side: &str) -> Result<Recurrent> {
    let inner = Described::new(value.unwrap_or(&Value::Null), &format!("{}: {side} layer", s.options.subject))?;
    let subject = format!("{}: {side} {}", s.options.subject, inner.subject());
    if inner.origin != Origin::Layer || !matches!(inner.class, "SimpleRNN" | "LSTM" | "GRU") {
        return Err(Error::unsupported(subject, "a Bidirectional of it", "use SimpleRNN, LSTM or GRU"));
    }
    let options = Options::new(subject.clone(), inner.class, inner.config, s.options.limits);
    options.dtype()?;
    options.ignore(&["trainable", "zero_output_for_mask"]);
    let scope = s.scope.below(&format!("{side}_layer")).called(subject);
    let zero = options.flag("return_sequences", false)?;
    let layer = recurrent(s, &options, &scope, zero)?;
    options.finish()?;
    Ok(layer)
}

/// What a backend of Keras does at masked timesteps. Unrolled, JAX has one rule for all layers.
fn dead_timesteps(backend: KerasBackend, zero: bool, unroll: bool) -> DeadTimesteps {
    match backend {
        KerasBackend::Jax if unroll => DeadTimesteps::RepeatOutput,
        _ if zero => DeadTimesteps::Zero,
        KerasBackend::Jax => DeadTimesteps::RepeatState,
        KerasBackend::TensorFlow => DeadTimesteps::RepeatOutput,
    }
}
