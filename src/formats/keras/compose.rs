//! Layers that are made of several simpler ones: a block of the model, put together at each call from
//! weights that are there once.

use std::sync::Arc;

use super::part::Given;
use crate::{
    activation::Activation,
    dim::Dim,
    error::{Error, Result},
    model::{Builder, Call, HeadActivation, LayerKind, MergeOp, Value},
    tensor::Tensor,
};

/// Puts a layer together for a call. The layer's block is open.
pub(super) type Compose<'a> = Box<dyn Fn(&mut Parts<'_>, &Given<'_>) -> Result<Vec<Value>> + 'a>;

/// The parts of the block that is open.
pub(super) struct Parts<'b> {
    pub(super) builder: &'b mut Builder,
    /// What messages call the layer.
    pub(super) subject: &'b str,
}

/// A weight of a block, which each call takes up.
#[derive(Clone, Copy)]
pub(super) struct Held(usize);

/// Adds a weight to the block that is open.
pub(super) fn hold(builder: &mut Builder, name: &str, tensor: Arc<Tensor>, trainable: bool) -> Result<Held> {
    let name = builder.name_in_block(name);
    builder.layer_as(&name, "Constant", LayerKind::Constant(tensor), trainable).map(Held)
}

/// Adds a layer with weights to the block that is open; each call may call it.
pub(super) fn hold_layer(builder: &mut Builder, name: &str, kind: LayerKind, trainable: bool) -> Result<Held> {
    let name = builder.name_in_block(name);
    builder.layer_as(&name, "", kind, trainable).map(Held)
}

impl Parts<'_> {
    pub(super) fn add(&mut self, name: &str, kind: LayerKind, inputs: &[Value]) -> Result<Value> {
        self.builder.part(name, kind, inputs)
    }

    pub(super) fn held(&mut self, held: Held, inputs: &[Value]) -> Result<Value> {
        let outputs = self.builder.call(held.0, Call { inputs, ..Call::default() })?;
        outputs.first().copied().ok_or_else(|| Error::internal("a part without an output"))
    }

    pub(super) fn shape(&self, value: Value) -> Result<Vec<Dim>> {
        self.builder.shape(value).map(<[Dim]>::to_vec)
    }

    /// The only input of a call, whose rank is one of `ranks`.
    pub(super) fn input(&self, given: &Given<'_>, ranks: std::ops::RangeInclusive<usize>) -> Result<(Value, Vec<Dim>)> {
        let &[input] = given.inputs.as_slice() else {
            return Err(Error::mismatch(self.subject, "one input", given.inputs.len().to_string()));
        };
        let shape = self.shape(input)?;
        if !ranks.contains(&shape.len()) {
            let expected = format!("an input of {} to {} axes", ranks.start(), ranks.end());
            return Err(Error::mismatch(self.subject, expected, crate::dim::shape_text(&shape)));
        }
        Ok((input, shape))
    }

    /// `value` without the mask that it carries.
    pub(super) fn bare(&mut self, value: Value) -> Result<Value> {
        self.add("bare", LayerKind::CarryMask, &[value])
    }

    /// `value` with the mask that `source` carries.
    pub(super) fn masked_as(&mut self, value: Value, source: Value) -> Result<Value> {
        self.add("mask", LayerKind::CarryMask, &[value, source])
    }

    pub(super) fn reshape(&mut self, value: Value, shape: Vec<Dim>) -> Result<Value> {
        self.add("reshape", LayerKind::ReshapeTo { shape }, &[value])
    }

    pub(super) fn permute(&mut self, value: Value, axes: Vec<usize>) -> Result<Value> {
        if axes.iter().copied().eq(0..axes.len()) {
            return Ok(value);
        }
        self.add("permute", LayerKind::Permute { axes }, &[value])
    }

    pub(super) fn merge(&mut self, op: MergeOp, left: Value, right: Value) -> Result<Value> {
        self.add("merge", LayerKind::Merge(op), &[left, right])
    }

    pub(super) fn map(&mut self, activation: Activation, value: Value) -> Result<Value> {
        self.add("map", pointwise(activation), &[value])
    }

    /// `alpha * value + beta`
    pub(super) fn affine(&mut self, value: Value, alpha: f32, beta: f32) -> Result<Value> {
        self.map(Activation::Affine { alpha, beta }, value)
    }

    /// A value of one number, with `rank` axes.
    pub(super) fn number(&mut self, number: f32, rank: usize) -> Result<Value> {
        let tensor = Tensor::new(vec![1; rank], vec![number])?;
        self.add("number", LayerKind::Constant(Arc::new(tensor)), &[])
    }
}

pub(super) fn pointwise(activation: Activation) -> LayerKind {
    LayerKind::Activation(HeadActivation::Pointwise(activation))
}
