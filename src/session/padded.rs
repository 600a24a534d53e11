//! Padded batches: rows of one array, of which only the first timesteps of each count.

use super::{
    Inputs, Outputs, Session, io, ports,
    ragged::{mask, open_axis},
};
use crate::{
    dim::{Dim, Symbol},
    error::{Error, Result, quoted},
    plan::{BufferId, Plan},
    tensor::{Data, Tensor},
};

impl Session {
    /// Runs padded sequences: of row `b` only the first `lengths[b]` timesteps count, and it gets the
    /// result that it would get alone. What lies beyond may hold anything; outputs are zero there.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if there is not one length per row, none above the number of timesteps;
    /// [`Error::Unsupported`] for models with a mask or lengths of their own, and as
    /// [`run_ragged`](Self::run_ragged).
    pub fn run_padded(&self, inputs: impl Into<Inputs>, lengths: &[usize]) -> Result<Outputs> {
        pollster::block_on(self.run_padded_async(inputs, lengths))
    }

    /// [`run_padded`](Self::run_padded) without blocking the thread on a GPU.
    ///
    /// # Errors
    /// As [`run_padded`](Self::run_padded).
    pub async fn run_padded_async(&self, inputs: impl Into<Inputs>, lengths: &[usize]) -> Result<Outputs> {
        let refused = |what: String, instead: &str| {
            Err(Error::unsupported(format!("model {}", quoted(self.model.name())), what, instead))
        };
        if !self.model.needs_weights().is_empty() {
            return refused("lengths beside weights that are inputs".to_owned(), "give it its weights first");
        }
        if let Some(layer) = self.model.masked_by() {
            let what = format!("a list of lengths beside the mask of layer {}", quoted(layer));
            return refused(what, "leave the lengths out");
        }
        let ragged = self.ragged_program().await?;
        let plan = &ragged.plan;
        let names: Vec<(&str, bool)> = plan
            .inputs
            .iter()
            .filter(|port| port.ragged_mask_of.is_none())
            .map(|port| (port.name.as_str(), port.optional))
            .collect();
        let mut given = inputs.into().bind(&names)?.into_iter();
        let symbol = match symbols(plan).as_slice() {
            [one] => *one,
            [] => {
                return refused(
                    "a list of lengths where no input has an open number of timesteps".to_owned(),
                    "leave them out",
                );
            }
            _ => return refused("one list of lengths for inputs of several lengths".to_owned(), "use run_ragged"),
        };
        let mut tensors = Vec::new();
        let mut masks = Vec::new();
        for port in &plan.inputs {
            if port.ragged_mask_of.is_some() {
                masks.push(tensors.len());
                tensors.push(None);
            } else {
                tensors.push(given.next().flatten());
            }
        }
        // The masks have the shape of the sequences, which is known once these are in order.
        for at in masks {
            let of = plan.inputs.get(at).and_then(|port| port.ragged_mask_of);
            let sequence = of.and_then(|of| plan.inputs.get(of).zip(tensors.get(of).and_then(Option::as_ref)));
            let (port, tensor) = sequence.ok_or_else(|| Error::internal("a mask without a sequence"))?;
            let shape = ports::canonical_shape(plan, port, tensor.shape(), false)?;
            let (rows, longest) = (shape.first().copied().unwrap_or(0), shape.get(1).copied().unwrap_or(0));
            check(lengths, rows, longest)?;
            let made = mask(lengths, longest)?;
            tensors.get_mut(at).into_iter().for_each(|slot| *slot = Some(made.clone()));
        }
        let (bound, mut tensors) = ports::arranged(plan, tensors, false)?;
        for (port, tensor) in plan.inputs.iter().zip(&mut tensors) {
            if second_axis(plan, port.buffer) == Some(symbol) {
                *tensor = cleared(tensor, lengths)?;
            }
        }
        io::check_values(plan, &tensors.iter().map(Some).collect::<Vec<_>>(), self.options.refuse_non_finite)?;
        let (program, context) = self.chosen_ragged(ragged, &bound).await?;
        let (outputs, ..) = program.run_inside(&context, false, bound, &tensors, None).await?;
        let outputs = plan.outputs.iter().zip(outputs).map(|(port, tensor)| {
            let is_sequence = second_axis(plan, port.buffer) == Some(symbol);
            let tensor = if is_sequence { cleared(&tensor, lengths)? } else { tensor };
            Ok((port.name.clone(), port.layout.file(tensor)?))
        });
        Ok(Outputs::new(outputs.collect::<Result<_>>()?, &context.device))
    }
}

/// The open lengths of the inputs.
fn symbols(plan: &Plan) -> Vec<Symbol> {
    let ports = plan.inputs.iter().filter(|port| port.ragged_mask_of.is_none());
    let mut all: Vec<Symbol> = ports.filter_map(|port| open_axis(plan, port)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn second_axis(plan: &Plan, buffer: BufferId) -> Option<Symbol> {
    plan.buffers.get(buffer.index())?.shape.get(1).and_then(Dim::as_symbol)
}

fn check(lengths: &[usize], rows: usize, longest: usize) -> Result<()> {
    if lengths.len() != rows {
        return Err(Error::mismatch("lengths", format!("{rows}, one per row"), lengths.len().to_string()));
    }
    match lengths.iter().position(|&length| length > longest) {
        None => Ok(()),
        Some(row) => {
            let found = lengths.get(row).copied().unwrap_or(0).to_string();
            Err(Error::mismatch(format!("lengths[{row}]"), format!("at most the {longest} timesteps there are"), found))
        }
    }
}

/// `[batch, seq_len, ..]` with zeros from each row's length on.
fn cleared(tensor: &Tensor, lengths: &[usize]) -> Result<Tensor> {
    fn clear<T: Clone + Default>(values: &[T], shape: &[usize], lengths: &[usize]) -> Vec<T> {
        let longest = shape.get(1).copied().unwrap_or(0);
        let inner: usize = shape.iter().skip(2).product();
        let mut values = values.to_vec();
        for (row, &length) in values.chunks_mut((longest * inner).max(1)).zip(lengths) {
            row.iter_mut().skip(length * inner).for_each(|value| *value = T::default());
        }
        values
    }
    let shape = tensor.shape();
    match tensor.data() {
        Data::F32(values) => Tensor::new(shape, clear(values, shape, lengths)),
        Data::F64(values) => Tensor::new(shape, clear(values, shape, lengths)),
        Data::I64(values) => Tensor::new(shape, clear(values, shape, lengths)),
    }
}
