//! Ragged batches: sequences of several lengths in one run, each with the result that it has alone.

use super::{
    Inputs, Outputs, Session, io, ports,
    program::{Context, Program},
};
use crate::{
    dim::Symbol,
    error::{Error, Result, quoted},
    plan::{Bound, InputPort, Plan},
    tensor::{Data, Tensor, element_count, zeros},
};

impl Session {
    /// Runs samples of several lengths together. Each sample has the model's inputs without the
    /// batch axis, and gets the outputs, without it too, that it would get alone.
    ///
    /// # Errors
    /// [`Error::Unsupported`] naming the layer, for models that carry states or mix timesteps without
    /// regard to masks (Flatten, `GlobalMaxPooling1D`, ...); else as [`run`](Self::run).
    pub fn run_ragged(&self, samples: Vec<Inputs>) -> Result<Vec<Outputs>> {
        pollster::block_on(self.run_ragged_async(samples))
    }

    /// [`run_ragged`](Self::run_ragged) without blocking the thread on a GPU.
    ///
    /// # Errors
    /// As [`run_ragged`](Self::run_ragged).
    pub async fn run_ragged_async(&self, samples: Vec<Inputs>) -> Result<Vec<Outputs>> {
        if samples.is_empty() {
            return Ok(Vec::new());
        }
        let ragged = self.ragged_program().await?;
        let plan = &ragged.plan;
        let ports: Vec<&InputPort> = plan.inputs.iter().filter(|port| port.ragged_mask_of.is_none()).collect();
        let names: Vec<(&str, bool)> = ports.iter().map(|port| (port.name.as_str(), port.optional)).collect();
        let samples = samples.into_iter().map(|sample| {
            let tensors = sample.bind(&names)?.into_iter().zip(&ports);
            tensors.map(|(tensor, port)| alone(plan, port, tensor)).collect::<Result<Vec<_>>>()
        });
        let samples = samples.collect::<Result<Vec<_>>>()?;
        let mut tensors = Vec::new();
        // What each symbol is for each sample.
        let mut lengths: Vec<(Symbol, Vec<usize>)> = Vec::new();
        for (index, port) in plan.inputs.iter().enumerate() {
            let column = ports.iter().position(|known| known.name == port.name);
            let Some(column) = column else {
                let of = port.ragged_mask_of.and_then(|of| plan.inputs.get(of));
                let symbol = of.and_then(|of| open_axis(plan, of));
                let lengths = lengths.iter().find(|(known, _)| Some(*known) == symbol).map(|(_, lengths)| lengths);
                let lengths = lengths.ok_or_else(|| Error::internal(format!("input {index} has no lengths")))?;
                tensors.push(mask(lengths, lengths.iter().copied().max().unwrap_or(0))?);
                continue;
            };
            let rows: Vec<&Tensor> = samples.iter().filter_map(|sample| sample.get(column)).collect();
            let symbol = open_axis(plan, port);
            let (tensor, own) = stacked(&port.name, &rows, symbol.is_some())?;
            if let Some(symbol) = symbol {
                lengths.push((symbol, own));
            }
            tensors.push(tensor);
        }
        let count = samples.len();
        let given: Vec<Option<&Tensor>> = tensors.iter().map(Some).collect();
        io::check_values(plan, &given, self.options.refuse_non_finite)?;
        // From here on everything is in the order of the plan.
        let shapes: Vec<Vec<usize>> = tensors.iter().map(|tensor| tensor.shape().to_vec()).collect();
        let bound = plan.bind(&shapes)?;
        let (program, context) = self.chosen_ragged(ragged, &bound).await?;
        let (outputs, ..) = program.run_inside(&context, false, bound, &tensors, None).await?;
        (0..count)
            .map(|row| {
                let each = plan.outputs.iter().zip(&outputs).map(|(port, tensor)| {
                    let dim = plan.buffers.get(port.buffer.index()).and_then(|buffer| buffer.shape.get(1));
                    let symbol = dim.and_then(crate::dim::Dim::as_symbol);
                    let own = lengths.iter().find(|(known, _)| Some(*known) == symbol);
                    let length = own.and_then(|(_, lengths)| lengths.get(row).copied());
                    let sample = sample_of(tensor, row, length)?;
                    let whole = [&[1], sample.shape()].concat();
                    let sample = Tensor::new(whole, sample.into_data())?;
                    Ok((port.name.clone(), port.layout.without_batch().file(sample)?))
                });
                Ok(Outputs::new(each.collect::<Result<_>>()?, &context.device))
            })
            .collect()
    }
}

impl Session {
    /// The program for batches of several lengths.
    pub(super) async fn ragged_program(&self) -> Result<&Program> {
        if !self.program.plan.states.is_empty() {
            return Err(Error::unsupported(
                format!("model {}", quoted(self.model.name())),
                "a ragged batch with carried states",
                "run each sequence in a session of its own",
            ));
        }
        if let Some(program) = self.ragged.get() {
            return Ok(program);
        }
        let program = Program::new(&self.context(), Some(&self.program)).await?;
        Ok(self.ragged.get_or_init(|| program))
    }

    /// The program that makes a run of `ragged` with the sizes `bound`, and what it runs in.
    pub(super) async fn chosen_ragged<'s>(
        &'s self,
        ragged: &'s Program,
        bound: &Bound,
    ) -> Result<(&'s Program, Context<'s>)> {
        ragged.chosen(self.context(), || Ok(bound.clone()), Some(&self.program)).await
    }
}

/// A sample in the order of the plan, without its batch axis; zeros where it is left out.
fn alone(plan: &Plan, port: &InputPort, tensor: Option<Tensor>) -> Result<Tensor> {
    let Some(tensor) = tensor else {
        let dims = plan.buffers.get(port.buffer.index()).map(|buffer| buffer.shape.as_slice()).unwrap_or_default();
        let shape = dims.iter().skip(1).map(crate::dim::Dim::fixed).collect::<Option<Vec<usize>>>();
        let shape = shape.ok_or_else(|| Error::internal("an optional input of open size"))?;
        let values: Vec<f32> = zeros(element_count(&shape).unwrap_or(0))?;
        return Tensor::new(shape, values);
    };
    if port.layout.is_identity(port.layout.groups().len()) {
        return Ok(tensor);
    }
    let shape = ports::canonical_shape(plan, port, tensor.shape(), true)?;
    let inside = port.layout.without_batch().canonical(tensor, shape.len())?;
    Tensor::new(shape.get(1..).unwrap_or_default(), inside.into_data())
}

/// The symbol of the second axis of an input, if the run decides it.
pub(super) fn open_axis(plan: &Plan, port: &InputPort) -> Option<Symbol> {
    plan.buffers.get(port.buffer.index())?.shape.get(1)?.as_symbol()
}

/// `[batch, longest]`: 1 up to each length, then 0.
pub(super) fn mask(lengths: &[usize], longest: usize) -> Result<Tensor> {
    let row = |&length: &usize| (0..longest).map(move |t| if t < length { 1.0f32 } else { 0.0 });
    Tensor::new([lengths.len(), longest], lengths.iter().flat_map(row).collect::<Vec<f32>>())
}

/// Samples as one batch, padded with zeros behind their ends, and their lengths.
fn stacked(name: &str, rows: &[&Tensor], ragged: bool) -> Result<(Tensor, Vec<usize>)> {
    let Some(first) = rows.first() else { return Err(Error::internal("a batch without rows")) };
    let tail = |tensor: &Tensor| tensor.shape().get(usize::from(ragged)..).map(<[usize]>::to_vec);
    let lengths: Vec<usize> = rows.iter().map(|row| row.shape().first().copied().unwrap_or(1)).collect();
    for (index, row) in rows.iter().enumerate() {
        if tail(row) != tail(first) || row.shape().len() != first.shape().len() {
            return Err(Error::mismatch(
                format!("sample {index}, input {}", quoted(name)),
                format!("the shape {:?} of sample 0{}", first.shape(), if ragged { " but for its length" } else { "" }),
                format!("{:?}", row.shape()),
            ));
        }
    }
    let mut shape = vec![rows.len()];
    let longest = lengths.iter().copied().max().unwrap_or(0);
    if ragged {
        shape.push(longest);
    }
    shape.extend(tail(first).unwrap_or_default());
    let full = element_count(&shape).map_or(0, |n| n / rows.len().max(1));
    // The widest kind of number that any sample has, so that each keeps its values.
    let has = |kind: fn(&Data) -> bool| rows.iter().any(|row| kind(row.data()));
    let integers = rows.iter().map(|row| match row.data() {
        Data::I64(values) => Some(values.as_slice()),
        _ => None,
    });
    let data = if let Some(integers) = integers.collect::<Option<Vec<_>>>() {
        Data::from(padded(&integers, full))
    } else if has(|data| !matches!(data, Data::F32(_))) {
        let wide: Vec<_> = rows.iter().map(|row| row.to_f64()).collect();
        Data::from(padded(&wide, full))
    } else {
        let narrow: Vec<_> = rows.iter().map(|row| row.to_f32()).collect();
        Data::from(padded(&narrow, full))
    };
    Ok((Tensor::new(shape, data)?, lengths))
}

/// Samples end to end, each filled with zeros up to `full` values.
fn padded<T: Copy + Default>(samples: &[impl AsRef<[T]>], full: usize) -> Vec<T> {
    let mut all = Vec::new();
    for (index, sample) in samples.iter().enumerate() {
        all.extend_from_slice(sample.as_ref());
        all.resize(full * (index + 1), T::default());
    }
    all
}

/// Row `row` of a batch, without what lies beyond `length` along the next axis.
fn sample_of(tensor: &Tensor, row: usize, length: Option<usize>) -> Result<Tensor> {
    let mut shape: Vec<usize> = tensor.shape().iter().skip(1).copied().collect();
    let size = element_count(&shape).unwrap_or(0);
    if let (Some(length), Some(axis)) = (length, shape.first_mut()) {
        *axis = length;
    }
    let start = size * row;
    let range = start..start + element_count(&shape).unwrap_or(0);
    let broken = || Error::internal("an output without all of its rows");
    match tensor.data() {
        Data::F32(values) => Tensor::new(shape, values.get(range).ok_or_else(broken)?.to_vec()),
        Data::F64(values) => Tensor::new(shape, values.get(range).ok_or_else(broken)?.to_vec()),
        Data::I64(values) => Tensor::new(shape, values.get(range).ok_or_else(broken)?.to_vec()),
    }
}
