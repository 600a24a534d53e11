//! The recurrent layers. Keras stacks the gates of the LSTM as input, forget, cell, output, those of
//! the GRU as update, reset, new.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    activation,
    config::{Options, list, shown},
    layers::{Described, Origin, Source},
    names::Names,
    weights::Scope,
};
use crate::{
    activation::Activation,
    cell::{Cell, CellParams, DeadTimesteps},
    error::{Error, Result},
    formats::{KerasBackend, limits::within},
    model::{Bidirectional, LayerKind, MergeMode, Recurrent},
    tensor::Tensor,
};

/// Which of Keras' gates stands in each place.
const RNN_GATES: &[usize] = &[0];
const LSTM_GATES: &[usize] = &[0, 1, 2, 3];
const GRU_GATES: &[usize] = &[1, 0, 2];

/// The layers of one cell.
const LAYERS: [&str; 5] = ["SimpleRNN", "LSTM", "GRU", "CuDNNLSTM", "CuDNNGRU"];

pub(super) fn layer(s: &Source<'_>) -> Result<LayerKind> {
    let zero = s.options.flag("zero_output_for_mask", false)?;
    Ok(LayerKind::Recurrent(recurrent(s, &s.options, &s.scope, zero)?))
}

/// What a cell is.
struct CellOf {
    cell: Cell,
    params: CellParams,
    weight_ih: Arc<Tensor>,
    weight_hh: Arc<Tensor>,
    bias_ih: Option<Arc<Tensor>>,
    bias_hh: Option<Arc<Tensor>>,
}

/// The cell of a layer, or a cell by itself.
fn cell(s: &Source<'_>, options: &Options<'_>, scope: &Scope<'_>) -> Result<CellOf> {
    let units = options.units()?;
    let activation = activation::pointwise(options, "activation", "tanh", s.rules)?;
    let use_bias = options.flag("use_bias", true)?;
    // Of training, or ways of computing the same.
    options.ignore(&["dropout", "recurrent_dropout", "seed", "unit_forget_bias", "implementation", "use_cudnn"]);
    let gated = |options: &Options<'_>| {
        // Keras 2 had two defaults, one after the other.
        if s.rules.keras2 && !options.has("recurrent_activation") {
            return Err(options.wrong("recurrent_activation", "the name of an activation"));
        }
        activation::pointwise(options, "recurrent_activation", "sigmoid", s.rules)
    };
    let (cell, order, gate) = match options.class {
        "SimpleRNN" | "SimpleRNNCell" => (Cell::Rnn, RNN_GATES, Activation::Sigmoid),
        "LSTM" | "LSTMCell" => (Cell::Lstm, LSTM_GATES, gated(options)?),
        // Before there was the option, there was the variant that resets before.
        _ if options.flag("reset_after", !s.rules.keras2)? => (Cell::Gru, GRU_GATES, gated(options)?),
        _ => (Cell::GruResetBefore, GRU_GATES, gated(options)?),
    };
    let columns = Some(order.len() * units);
    let weight_ih = scope.gates(0, "kernel", [None, columns], order)?;
    let weight_hh = scope.gates(1, "recurrent_kernel", [Some(units), columns], order)?;
    let expected: &[_] = if cell == Cell::Gru { &[Some(2), columns] } else { &[columns] };
    let biases = if use_bias { scope.gate_rows(2, "bias", expected, order)? } else { Vec::new() };
    let mut biases = biases.into_iter();
    let (bias_ih, bias_hh) = (biases.next(), biases.next());
    Ok(CellOf { cell, params: CellParams::new(activation, gate), weight_ih, weight_hh, bias_ih, bias_hh })
}

/// The layer that runs `cell` as `options` say.
fn around(s: &Source<'_>, options: &Options<'_>, cell: CellOf, zero: bool) -> Result<Recurrent> {
    let unroll = options.flag("unroll", false)?;
    options.only("time_major", &json!(false), "put the batch axis first")?;
    let CellOf { cell, params, weight_ih, weight_hh, bias_ih, bias_hh } = cell;
    Ok(Recurrent {
        cell,
        params,
        weight_ih,
        weight_hh,
        bias_ih,
        bias_hh,
        peephole: None,
        weight_hr: None,
        return_sequences: options.flag("return_sequences", false)?,
        return_state: options.flag("return_state", false)?,
        go_backwards: options.flag("go_backwards", false)?,
        stateful: options.flag("stateful", false)?,
        dead: dead_timesteps(s.rules.backend, zero, unroll),
        // Where it is not known, no mask comes in.
        passes_mask: s.rules.passes_mask.unwrap_or(true),
    })
}

fn recurrent(s: &Source<'_>, options: &Options<'_>, scope: &Scope<'_>, zero: bool) -> Result<Recurrent> {
    let cell = match options.class {
        "CuDNNLSTM" | "CuDNNGRU" => cudnn(options, scope)?,
        _ => cell(s, options, &scope.below("cell"))?,
    };
    around(s, options, cell, zero)
}

/// `RNN` around a cell, or around several that run as one.
pub(super) fn of_cells(s: &Source<'_>) -> Result<LayerKind> {
    let zero = s.options.flag("zero_output_for_mask", false)?;
    let whole = Described::of_part(s.options.value("cell"), &format!("{}: cell", s.options.subject))?;
    let scope = s.scope.below("cell");
    if (whole.origin, whole.class) != (Origin::Layer, "StackedRNNCells") {
        let cell = inner_cell(s, &whole, scope)?;
        return Ok(LayerKind::Recurrent(around(s, &s.options, cell, zero)?));
    }
    let options = Options::new(
        format!("{}: {}", s.options.subject, whole.subject()),
        whole.class,
        whole.config,
        s.options.limits,
    );
    options.dtype()?;
    options.ignore(&["trainable"]);
    let cells = list(options.value("cells"), &format!("{}: cells", options.subject))?;
    options.finish()?;
    within(|| options.subject.clone(), cells.len() as u64, s.options.limits.layers, "layers")?;
    let mut names = Names::default();
    let mut all = Vec::new();
    for value in cells {
        let described = Described::of_part(Some(value), &options.subject)?;
        let scope = scope.below(&format!("cells/{}", names.next(described.class)));
        all.push(around(s, &s.options, inner_cell(s, &described, scope)?, zero)?);
    }
    // What each hands to the next is that of every timestep.
    let Some((last, others)) = all.split_last_mut() else {
        return Err(Error::mismatch(&options.subject, "at least one cell", "none"));
    };
    if last.go_backwards && !others.is_empty() {
        let instead = "use layers one after the other, the first of them with go_backwards";
        return Err(Error::unsupported(&s.options.subject, "go_backwards around several cells", instead));
    }
    others.iter_mut().for_each(|cell| cell.return_sequences = true);
    Ok(LayerKind::Stacked(all))
}

fn inner_cell(s: &Source<'_>, described: &Described<'_>, scope: Scope<'_>) -> Result<CellOf> {
    let subject = format!("{}: {}", s.options.subject, described.subject());
    let known = matches!(described.class, "SimpleRNNCell" | "LSTMCell" | "GRUCell");
    if described.origin != Origin::Layer || !known {
        return Err(Error::unsupported(subject, "an RNN around it", "use SimpleRNNCell, LSTMCell or GRUCell"));
    }
    let options = Options::new(subject.clone(), described.class, described.config, s.options.limits);
    options.dtype()?;
    options.ignore(&["trainable"]);
    let found = cell(s, &options, &scope.called(subject))?;
    options.finish()?;
    Ok(found)
}

/// The layers of Keras 2 that ran on cuDNN alone, which have a layout of their own: two biases, matrices
/// of the gates one after the other, the input's transposed.
fn cudnn(options: &Options<'_>, scope: &Scope<'_>) -> Result<CellOf> {
    let units = options.units()?;
    let (kind, order) = if options.class == "CuDNNLSTM" { (Cell::Lstm, LSTM_GATES) } else { (Cell::Gru, GRU_GATES) };
    options.ignore(&["unit_forget_bias", "dropout", "recurrent_dropout", "implementation"]);
    let columns = order.len() * units;
    let (shape, kernel) = scope.raw(0, "kernel", &[None, Some(columns)])?;
    let features = shape.first().copied().unwrap_or(0);
    let (_, recurrent) = scope.raw(1, "recurrent_kernel", &[Some(units), Some(columns)])?;
    let (_, bias) = scope.raw(2, "bias", &[Some(2 * columns)])?;
    // Value `index` of a gate's matrix `[out, width]`, which lies in the columns of its gate.
    let matrix = |data: &[f32], width: usize, cell: &dyn Fn(usize) -> usize| -> Result<Arc<Tensor>> {
        let mut values = Vec::with_capacity(data.len());
        for &gate in order {
            values.extend((0..units * width).map(|index| {
                let from = cell(index);
                data.get((from / units) * columns + gate * units + from % units).copied().unwrap_or(0.0)
            }));
        }
        Tensor::new([columns, width], values).map(Arc::new)
    };
    let weight_ih = matrix(&kernel, features, &|index| index)?;
    let weight_hh = matrix(&recurrent, units, &|index| index)?;
    let gates = |of: usize| -> Vec<f32> {
        let value = |gate: usize, unit: usize| bias.get(of * columns + gate * units + unit).copied().unwrap_or(0.0);
        order.iter().flat_map(|&gate| (0..units).map(move |unit| value(gate, unit))).collect()
    };
    let (first, second) = (gates(0), gates(1));
    let vector = |data: Vec<f32>| Tensor::new([columns], data).map(Arc::new);
    Ok(CellOf {
        cell: kind,
        params: CellParams::new(Activation::Tanh, Activation::Sigmoid),
        weight_ih,
        weight_hh,
        bias_ih: Some(vector(first)?),
        bias_hh: Some(vector(second)?),
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
    let inner = Described::of_part(value, &format!("{}: {side} layer", s.options.subject))?;
    let subject = format!("{}: {side} {}", s.options.subject, inner.subject());
    if inner.origin != Origin::Layer || !LAYERS.contains(&inner.class) {
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
