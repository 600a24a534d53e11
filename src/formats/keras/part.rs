//! [`Part`]: a layer of the file, as what stands for it in the builder.

use serde_json::Value as Json;

use super::{
    Reader,
    calls::Arguments,
    compose::{Compose, Parts},
    config::object,
    layers::{Described, Origin, Reading},
    network::{Container, Network},
    weights::Scope,
};
use crate::{
    error::{Error, Result},
    model::{Builder, Call, CallMask, LayerKind, MaskOp, Value},
};

/// A layer of the file, as what stands for it in the builder.
pub(super) enum Part<'a> {
    /// One that could not be read, where reading goes on.
    Missing,
    Layer(usize),
    /// A model as a layer.
    Model {
        block: usize,
        network: Box<Network<'a>>,
    },
    /// A layer that is made of several.
    Composed {
        block: usize,
        flags: &'static [&'static str],
        compose: Compose<'a>,
    },
}

/// What a call gives to a layer.
pub(super) struct Given<'a> {
    pub(super) inputs: Vec<Value>,
    pub(super) states: Vec<Value>,
    pub(super) mask: CallMask,
    /// The masks of the inputs, where the call names them.
    pub(super) masks: Option<Vec<Option<Value>>>,
    /// As the file has them.
    pub(super) arguments: &'a Arguments<'a>,
}

impl<'a> Part<'a> {
    /// Reads the layer `described`, whose whole object is `value`, and adds it to the builder.
    pub(super) fn read(
        reader: &'a Reader<'a>,
        builder: &mut Builder,
        described: &Described<'a>,
        value: &'a Json,
        container: &mut Container,
    ) -> Result<Self> {
        let scope = container.next(reader, described);
        let name = container.name(described.name);
        let part = Self::inner(reader, builder, described, value, scope, &name);
        Ok(reader.tolerate(part)?.unwrap_or(Self::Missing))
    }

    /// Reads a layer that has its weights in `scope`, under `name`.
    pub(super) fn inner(
        reader: &'a Reader<'a>,
        builder: &mut Builder,
        described: &Described<'a>,
        value: &'a Json,
        scope: Scope<'a>,
        name: &str,
    ) -> Result<Self> {
        if described.origin == Origin::Model {
            let block = builder.begin_block(name, described.class)?;
            let whole = object(Some(value), described.name)?;
            let network = Network::read(reader, builder, described, whole, Container::within(&scope));
            builder.end_block();
            return Ok(Self::Model { block, network: Box::new(network?) });
        }
        match described.read(reader, builder, scope, name)? {
            Reading::Kind(kind, trainable) => {
                Ok(Self::Layer(builder.layer_as(name, described.class, *kind, trainable)?))
            }
            Reading::Composed { block, flags, compose } => Ok(Self::Composed { block, flags, compose }),
        }
    }

    /// Calls the layer, which messages call `subject`.
    pub(super) fn call(&self, builder: &mut Builder, subject: &str, given: Given<'_>) -> Result<Vec<Value>> {
        let flags: &[&str] = if let Self::Composed { flags, .. } = self { flags } else { &[] };
        given.arguments.only(subject, flags)?;
        if !matches!(self, Self::Layer(_)) && !given.states.is_empty() {
            let found = format!("{} states", given.states.len());
            return Err(Error::mismatch(subject, "no initial state", found));
        }
        // What a summary lists: the inputs, and the masks that the call names.
        let mut taken = given.inputs.clone();
        taken.extend(given.masks.iter().flatten().flatten());
        if let CallMask::Given(mask) = given.mask {
            taken.push(mask);
        }
        match self {
            Self::Missing => Err(Error::internal("a call of a layer that is missing")),
            Self::Layer(layer) => {
                if given.masks.is_some() && given.inputs.len() == 1 {
                    return Err(Error::unsupported(subject, "the argument 'mask' = a list", "give it one mask"));
                }
                let call = Call { inputs: &given.inputs, initial_state: &given.states, mask: given.mask };
                builder.call(*layer, call)
            }
            Self::Model { block, network } => {
                let mut inputs = given.inputs;
                if let (CallMask::Given(mask), [input]) = (given.mask, inputs.as_mut_slice()) {
                    *input = carrying(builder, *block, *input, mask)?;
                }
                let outputs = network.call(builder, subject, &inputs)?;
                builder.block_call(*block, &taken, &outputs);
                Ok(outputs)
            }
            Self::Composed { block, compose, .. } => {
                builder.enter_block(*block)?;
                let outputs = compose(&mut Parts { builder, subject }, &given)?;
                builder.end_block();
                builder.block_call(*block, &taken, &outputs);
                Ok(outputs)
            }
        }
    }
}

/// `value` with `mask` as the mask that it carries.
fn carrying(builder: &mut Builder, block: usize, value: Value, mask: Value) -> Result<Value> {
    builder.enter_block(block)?;
    let wide = builder.part("mask", LayerKind::MaskOp(MaskOp::ExpandDims), &[mask])?;
    let carrier = builder.part("mask", LayerKind::Masking { mask_value: 0.0 }, &[wide])?;
    let value = builder.part("mask", LayerKind::CarryMask, &[value, carrier])?;
    builder.end_block();
    Ok(value)
}
