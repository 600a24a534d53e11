//! RNN, GRU and LSTM.

use std::sync::Arc;

use super::super::{
    call::{Call, shown},
    fold, functions,
    import::Importer,
    tensor::Kind,
    track::{Fill, Tracked, View},
};
use crate::{
    cell::{Cell, CellParams, DeadTimesteps},
    dim::Dim,
    error::Result,
    model::{self, Bidirectional, CallMask, LayerKind, MergeMode, MergeOp, Recurrent, Value},
    tensor::Tensor,
};

/// What of a node is the same for all its directions.
struct Options {
    cell: Cell,
    hidden: usize,
    /// Whether each direction runs backwards.
    directions: Vec<bool>,
    params: Vec<CellParams>,
    batch_first: bool,
    /// The order of ONNX' gates in the cell's: its gate `g` is ONNX' `gates[g]`.
    gates: &'static [usize],
}

/// The weights of one direction, in the order of the cell's gates.
struct Weights {
    ih: Arc<Tensor>,
    hh: Arc<Tensor>,
    bias_ih: Option<Arc<Tensor>>,
    bias_hh: Option<Arc<Tensor>>,
    peephole: Option<Arc<Tensor>>,
}

pub(super) fn recurrent(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let options = options(call)?;
    let mut x = importer.materialised(&call.at, call.input(0)?)?;
    if x.axes.len() != 3 {
        return Err(call.mismatch("an input X of rank 3", format!("rank {}", x.axes.len())));
    }
    if !options.batch_first {
        x.axes.swap(0, 1);
    }
    let input = importer.arranged_by(&call.at, &x, &[0, 1, 2])?;
    let shape = importer.builder.shape(input)?.to_vec();
    let (rows, seq_len) = (dim(&shape, 0), dim(&shape, 1));
    let lengths = lengths(importer, call, &rows, &seq_len)?;
    let mask = match lengths {
        Some(lengths) => CallMask::Given(importer.layer(&call.at, "mask", LayerKind::LengthMask, &[lengths, input])?),
        None => CallMask::None,
    };
    let sequence_wanted = call.wanted.first() == Some(&true);
    let states_wanted = call.wanted.iter().skip(1).any(|&wanted| wanted);
    // Without Y the output is taken by nobody, so that it need not be zero.
    let dead = if sequence_wanted { DeadTimesteps::Zero } else { DeadTimesteps::RepeatState };
    let initial = initial_states(importer, call, &options, &rows)?;
    let weights = weights(importer, call, &options)?;
    let mut layers =
        weights.into_iter().zip(&options.params).zip(&options.directions).map(|((w, params), &backwards)| Recurrent {
            cell: options.cell,
            params: *params,
            weight_ih: w.ih,
            weight_hh: w.hh,
            weight_hr: None,
            peephole: w.peephole,
            bias_ih: w.bias_ih,
            bias_hh: w.bias_hh,
            return_sequences: sequence_wanted,
            return_state: states_wanted,
            go_backwards: backwards,
            stateful: false,
            dead,
            passes_mask: false,
        });
    let kind = match (layers.next(), layers.next()) {
        (Some(forward), Some(backward)) => {
            LayerKind::Bidirectional(Bidirectional { forward, backward, merge: MergeMode::Concat })
        }
        (Some(one), None) => LayerKind::Recurrent(one),
        _ => return Err(call.mismatch("a direction", "none")),
    };
    let name = importer.layer_name("");
    let layer = importer.builder.layer_as(&name, call.op, kind, true)?;
    let outputs = importer.builder.call(layer, model::Call { inputs: &[input], initial_state: &initial, mask })?;
    outputs_of(importer, call, &options, lengths, &outputs)
}

fn dim(shape: &[Dim], axis: usize) -> Dim {
    shape.get(axis).cloned().unwrap_or_else(|| Dim::from(1))
}

fn options(call: &Call<'_>) -> Result<Options> {
    let (cell, gates): (_, &[usize]) = match call.op {
        "RNN" => (Cell::Rnn, &[0]),
        // ONNX has update, reset, new and input, output, forget, cell.
        "GRU" if call.int("linear_before_reset")?.unwrap_or(0) != 0 => (Cell::Gru, &[1, 0, 2]),
        "GRU" => (Cell::GruResetBefore, &[1, 0, 2]),
        _ => (Cell::Lstm, &[0, 2, 3, 1]),
    };
    let directions = match call.text("direction")?.unwrap_or("forward") {
        "forward" => vec![false],
        "reverse" => vec![true],
        "bidirectional" => vec![false, true],
        other => return Err(call.mismatch("direction forward, reverse or bidirectional", crate::error::quoted(other))),
    };
    let recurrence = call.known(2, "the recurrence weights R")?;
    let hidden = recurrence.shape().get(2).copied().unwrap_or(0);
    let stated = call.int("hidden_size")?;
    if hidden == 0 || stated.is_some_and(|stated| usize::try_from(stated) != Ok(hidden)) {
        let found = format!("R of shape {:?}", recurrence.shape());
        return Err(call.mismatch(format!("a hidden_size of {}", stated.unwrap_or(1)), found));
    }
    let clip = call.float("clip")?;
    if clip.is_some_and(|clip| clip.is_nan() || clip <= 0.0) {
        return Err(call.mismatch("a clip above 0", format!("{}", clip.unwrap_or(0.0))));
    }
    let coupled = call.int("input_forget")?.unwrap_or(0) != 0;
    let params = functions::cell_params(call, cell, directions.len())?;
    let params = params.into_iter().map(|params| CellParams { clip, coupled, ..params }).collect();
    Ok(Options { cell, hidden, directions, params, batch_first: call.flag("layout", false)?, gates })
}

/// Lengths of the sequences, `[batch]`; `None` where all are whole.
fn lengths(importer: &mut Importer<'_>, call: &Call<'_>, rows: &Dim, seq_len: &Dim) -> Result<Option<Value>> {
    let Some(lengths) = call.optional(4) else { return Ok(None) };
    let dims = importer.dims(lengths)?;
    if dims.len() != 1 || !dims.iter().all(|dim| importer.agree(&call.at, dim, rows)) {
        return Err(call.mismatch("sequence_lens of shape [batch]", shown(&dims)));
    }
    let same = match lengths {
        Tracked::Const(constant) => constant.splat().map(Fill::Number),
        Tracked::Splat(splat) => Some(splat.value.clone()),
        Tracked::Sizes(sizes) => sizes
            .values
            .first()
            .filter(|first| sizes.values.iter().all(|value| value == *first))
            .cloned()
            .map(Fill::Size),
        Tracked::View(view) => {
            let slots = view.axes.clone();
            return importer.arranged(&call.at, view, &slots).map(Some);
        }
    };
    match same {
        Some(Fill::Size(size)) if importer.same(&size, seq_len) => Ok(None),
        #[allow(clippy::cast_precision_loss)] // lengths are small
        Some(Fill::Number(number)) if importer.reduced(seq_len).fixed().is_some_and(|len| len as f64 == number) => {
            Ok(None)
        }
        #[allow(clippy::cast_possible_truncation)] // checked against the sequence when it runs
        Some(Fill::Number(number)) => {
            let kind = LayerKind::Ramp { start: number as f32, step: 0.0, axis: 0, shape: vec![rows.clone()] };
            importer.layer(&call.at, "lengths", kind, &[]).map(Some)
        }
        Some(Fill::Size(_)) => {
            Err(call.unsupported("sequence_lens that another size of the run decides", "make them an input"))
        }
        None => {
            Err(call.unsupported("a constant sequence_lens that differs by sample", "make it an input of the model"))
        }
    }
}

/// Initial states `[batch, hidden]` in the layer's order; none where they are zeros.
fn initial_states(importer: &mut Importer<'_>, call: &Call<'_>, options: &Options, rows: &Dim) -> Result<Vec<Value>> {
    let count = options.cell.spec().states.len();
    let mut given = Vec::new();
    for index in 0..count {
        // Zeros go without saying, but only in the right shape: a file that has another is broken.
        given.push(match call.optional(5 + index) {
            None => None,
            Some(tracked) => {
                check_state(importer, call, options, tracked, rows)?;
                if is_zero(tracked) { None } else { Some(state(importer, call, options, tracked, rows)?) }
            }
        });
    }
    if given.iter().all(Option::is_none) {
        return Ok(Vec::new());
    }
    let mut values = Vec::new();
    for direction in 0..options.directions.len() {
        for state in &given {
            values.push(match state {
                Some(state) => match state.get(direction) {
                    Some(value) => *value,
                    None => return Err(call.mismatch("an initial state per direction", "fewer")),
                },
                None => {
                    let shape = vec![rows.clone(), Dim::from(options.hidden)];
                    importer.layer(&call.at, "zeros", LayerKind::Ramp { start: 0.0, step: 0.0, axis: 1, shape }, &[])?
                }
            });
        }
    }
    Ok(values)
}

/// Whether a state is zero everywhere.
fn is_zero(tracked: &Tracked) -> bool {
    match tracked {
        Tracked::Splat(splat) => splat.value == Fill::Number(0.0),
        Tracked::Const(constant) => constant.splat() == Some(0.0),
        _ => false,
    }
}

/// The axes of the file that are batch, direction and unit of a state.
fn state_order(options: &Options) -> [usize; 3] {
    if options.batch_first { [0, 1, 2] } else { [1, 0, 2] }
}

/// Refuses an initial state of another shape than `[dirs, batch, hidden]` or `[batch, dirs, hidden]`.
fn check_state(
    importer: &mut Importer<'_>,
    call: &Call<'_>,
    options: &Options,
    tracked: &Tracked,
    rows: &Dim,
) -> Result<()> {
    let dims = importer.dims(tracked)?;
    let (dirs, hidden) = (options.directions.len(), options.hidden);
    let expected = [rows.clone(), Dim::from(dirs), Dim::from(hidden)];
    let fits = dims.len() == 3
        && state_order(options)
            .iter()
            .zip(&expected)
            .all(|(&axis, expected)| dims.get(axis).is_some_and(|dim| importer.agree(&call.at, dim, expected)));
    if fits {
        return Ok(());
    }
    let place = if options.batch_first { "[batch, directions, hidden]" } else { "[directions, batch, hidden]" };
    Err(call.mismatch(format!("initial states {place} with {dirs} directions and {hidden} units"), shown(&dims)))
}

/// The states of each direction, of a tensor whose shape has been checked.
fn state(
    importer: &mut Importer<'_>,
    call: &Call<'_>,
    options: &Options,
    tracked: &Tracked,
    rows: &Dim,
) -> Result<Vec<Value>> {
    let (dirs, hidden) = (options.directions.len(), options.hidden);
    let view = state_view(importer, call, options, tracked)?;
    let whole = importer.arranged_by(&call.at, &view, &state_order(options))?;
    let shape = importer.builder.shape(whole)?.to_vec();
    let whole = if shape.first() == Some(rows) {
        whole
    } else {
        let shape = vec![rows.clone(), Dim::from(dirs), Dim::from(hidden)];
        importer.layer(&call.at, "state", LayerKind::Expand { shape }, &[whole])?
    };
    let mut states = Vec::new();
    for direction in 0..dirs {
        let one = if dirs == 1 {
            whole
        } else {
            let kind = LayerKind::Slice { axis: 1, start: Dim::from(direction), step: 1, extent: Dim::from(1) };
            importer.layer(&call.at, "state", kind, &[whole])?
        };
        let shape = vec![rows.clone(), Dim::from(hidden)];
        states.push(importer.layer(&call.at, "state", LayerKind::ReshapeTo { shape }, &[one])?);
    }
    Ok(states)
}

/// A state as a view; of a constant only one row, which all rows must equal.
fn state_view(importer: &mut Importer<'_>, call: &Call<'_>, options: &Options, tracked: &Tracked) -> Result<View> {
    let Tracked::Const(constant) = tracked else { return importer.materialised(&call.at, tracked) };
    let axis = usize::from(!options.batch_first);
    let one = fold::one_of_equal(&constant.tensor, axis)?.ok_or_else(|| {
        call.unsupported("a constant initial state that differs by sample", "make it an input of the model")
    })?;
    let one = super::super::tensor::Const { kind: Kind::Float, tensor: one.into() };
    importer.materialised(&call.at, &Tracked::Const(one))
}

/// The weights of each direction, with the gates in the cell's order.
fn weights(importer: &mut Importer<'_>, call: &Call<'_>, options: &Options) -> Result<Vec<Weights>> {
    let (w, r) = (call.weight(1, "weights W")?, call.weight(2, "recurrence weights R")?);
    let bias = call.optional(3).map(|_| call.weight(3, "biases B")).transpose()?;
    let peephole = call.optional(7).map(|_| call.weight(7, "peepholes P")).transpose()?;
    let (dirs, hidden, gates) = (options.directions.len(), options.hidden, options.gates.len());
    let features = w.shape().get(2).copied().unwrap_or(0);
    let rows = gates.saturating_mul(hidden);
    let expect = |name: &str, tensor: &Tensor, shape: &[usize]| {
        if tensor.shape() == shape {
            return Ok(());
        }
        let expected = format!("{name} of shape {shape:?} ({dirs} directions, hidden_size {hidden})");
        Err(call.mismatch(expected, format!("{:?}", tensor.shape())))
    };
    expect("W", &w, &[dirs, rows, features])?;
    expect("R", &r, &[dirs, rows, hidden])?;
    bias.iter().try_for_each(|bias| expect("B", bias, &[dirs, rows.saturating_mul(2)]))?;
    peephole.iter().try_for_each(|peephole| expect("P", peephole, &[dirs, hidden.saturating_mul(3)]))?;
    for tensor in [Some(&w), Some(&r), bias.as_ref(), peephole.as_ref()].into_iter().flatten() {
        importer.room(&call.at, tensor.len())?;
    }
    let mut all = Vec::new();
    for direction in 0..dirs {
        let part = |tensor: &Tensor, from: usize, columns: usize, gates: &[usize]| {
            // A gate is `hidden` rows of `columns`.
            let block = hidden * columns;
            let values = tensor.to_f32();
            let mut picked = Vec::with_capacity(gates.len() * block);
            for gate in gates {
                let start = (from + gate) * block;
                picked.extend_from_slice(values.get(start..start + block).unwrap_or_default());
            }
            let shape = if columns == 1 && tensor.shape().len() == 2 {
                vec![picked.len()]
            } else {
                vec![gates.len() * hidden, columns]
            };
            Tensor::new(shape, picked).map(Arc::new)
        };
        let bias_part = |half: usize| {
            bias.as_ref().map(|bias| part(bias, (2 * direction + half) * gates, 1, options.gates)).transpose()
        };
        all.push(Weights {
            ih: part(&w, direction * gates, features, options.gates)?,
            hh: part(&r, direction * gates, hidden, options.gates)?,
            bias_ih: bias_part(0)?,
            bias_hh: bias_part(1)?,
            // ONNX has input, output, forget.
            peephole: peephole.as_ref().map(|peephole| part(peephole, 3 * direction, 1, &[0, 2, 1])).transpose()?,
        });
    }
    Ok(all)
}

/// Y, Y_h and Y_c in the axes of ONNX.
fn outputs_of(
    importer: &mut Importer<'_>,
    call: &Call<'_>,
    options: &Options,
    lengths: Option<Value>,
    outputs: &[Value],
) -> Result<Vec<Tracked>> {
    let dirs = options.directions.len();
    let broken = || crate::error::Error::internal("a recurrent layer without an output");
    let output = *outputs.first().ok_or_else(broken)?;
    let axes = |order: &[usize]| order.iter().map(|&axis| vec![axis]).collect::<Vec<_>>();
    let mut tracked = Vec::new();
    if call.wanted.first() == Some(&true) {
        let mut shape = importer.builder.shape(output)?.to_vec();
        let seq_len = dim(&shape, 1);
        let mut value = output;
        if options.directions == [true] {
            let start = &seq_len - &Dim::from(1);
            let kind = LayerKind::Slice { axis: 1, start, step: -1, extent: seq_len };
            value = importer.layer(&call.at, "in time order", kind, &[value])?;
        }
        shape.splice(2.., [Dim::from(dirs), Dim::from(options.hidden)]);
        let value = importer.layer(&call.at, "Y", LayerKind::ReshapeTo { shape }, &[value])?;
        let order = if options.batch_first { [0, 1, 2, 3] } else { [1, 2, 0, 3] };
        tracked.push(Tracked::View(importer.view(Kind::Float, value, axes(&order))?));
    } else {
        tracked.push(Tracked::View(importer.view(Kind::Float, output, Vec::new())?));
    }
    let count = options.cell.spec().states.len();
    for (index, name) in (0..count).zip(["Y_h", "Y_c"]) {
        if call.wanted.get(index + 1) != Some(&true) {
            tracked.push(Tracked::View(importer.view(Kind::Float, output, Vec::new())?));
            continue;
        }
        let states: Vec<Value> =
            (0..dirs).filter_map(|direction| outputs.get(1 + direction * count + index).copied()).collect();
        let mut value = match states.as_slice() {
            [one] => *one,
            many => importer.layer(&call.at, name, LayerKind::Concatenate { axis: 1 }, many)?,
        };
        if let Some(lengths) = lengths {
            value = without_empty(importer, call, value, lengths)?;
        }
        let mut shape = importer.builder.shape(value)?.to_vec();
        shape.splice(1.., [Dim::from(dirs), Dim::from(options.hidden)]);
        let value = importer.layer(&call.at, name, LayerKind::ReshapeTo { shape }, &[value])?;
        let order = if options.batch_first { [0, 1, 2] } else { [1, 0, 2] };
        tracked.push(Tracked::View(importer.view(Kind::Float, value, axes(&order))?));
    }
    Ok(tracked)
}

/// The final states `[batch, features]`, zero in rows of length 0: there the executors keep the initial ones.
fn without_empty(importer: &mut Importer<'_>, call: &Call<'_>, value: Value, lengths: Value) -> Result<Value> {
    let mut shape = importer.builder.shape(lengths)?.to_vec();
    shape.push(Dim::from(1));
    let lengths = importer.layer(&call.at, "lengths", LayerKind::ReshapeTo { shape }, &[lengths])?;
    importer.layer(&call.at, "states", LayerKind::Merge(MergeOp::Mask), &[value, lengths])
}
