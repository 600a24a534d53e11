//! `TimeDistributed` of layers that are not the same on a whole sequence: every timestep as a row.

use super::{
    compose::Compose,
    part::{Given, Part},
};
use crate::{
    dim::{Dim, product},
    error::{Error, Result},
    model::{CallMask, Value},
};

/// Calls `inner`, which messages call `subject`, on the timesteps of its input, each as a row.
pub(super) fn composed<'a>(inner: Part<'a>, subject: String) -> Compose<'a> {
    Box::new(move |parts, given| {
        let (input, shape) = parts.input(given, 3..=6)?;
        let [rows, len, rest @ ..] = shape.as_slice() else {
            return Err(Error::internal("a value of another rank"));
        };
        let flat: Vec<Dim> = std::iter::once(product([rows, len])).chain(rest.iter().cloned()).collect();
        let flat = parts.reshape(input, flat)?;
        let call = Given {
            inputs: vec![flat],
            states: Vec::new(),
            mask: CallMask::Carried,
            masks: None,
            arguments: given.arguments,
        };
        let outputs = inner.call(parts.builder, &subject, call)?;
        let back = |value: Value| -> Result<Value> {
            let shape = parts.shape(value)?;
            let shape = [rows.clone(), len.clone()].into_iter().chain(shape.into_iter().skip(1)).collect();
            let value = parts.builder.part("reshape", crate::model::LayerKind::ReshapeTo { shape }, &[value])?;
            parts.builder.part("mask", crate::model::LayerKind::CarryMask, &[value, input])
        };
        let mut back = back;
        outputs.into_iter().map(&mut back).collect()
    })
}
