//! rten: it has packed the weights beforehand.

use anyhow::{Context, Result};
use rten::{Model, ModelOptions, NodeId, Value, ValueOrView};
use rten_tensor::{NdTensor, NdTensorView, TensorView};

use crate::{
    case::{Case, Sizes},
    layer::{Layer, copy},
    onnx,
};

pub(crate) struct Rten {
    model: Model,
    inputs: Vec<NodeId>,
    outputs: Vec<NodeId>,
    sizes: Sizes,
}

impl Rten {
    pub(crate) fn new(case: &Case) -> Result<Self> {
        let model = ModelOptions::with_all_ops().prepack_weights(true).load(onnx::model(case)?)?;
        let (inputs, outputs) = (model.input_ids().to_vec(), model.output_ids().to_vec());
        Ok(Self { model, inputs, outputs, sizes: case.sizes })
    }

    /// `x`, `[timesteps, batch, input_size]`.
    fn call(&self, x: &[f32], timesteps: usize, states: Vec<Value>) -> Result<Vec<Value>> {
        let x = NdTensorView::from_data([timesteps, self.sizes.batch, self.sizes.input_size], x);
        let values = [ValueOrView::from(x)].into_iter().chain(states.into_iter().map(ValueOrView::Value));
        Ok(self.model.run(self.inputs.iter().copied().zip(values).collect(), &self.outputs, None)?)
    }
}

impl Layer for Rten {
    type Array = Value;
    const TIME_FIRST: bool = true;

    fn whole(&mut self, x: &[f32]) -> Result<Value> {
        self.call(x, self.sizes.seq_len, Vec::new())?.pop().context("no output")
    }

    fn zeros(&self) -> Result<Vec<Value>> {
        let zeros = |_| NdTensor::<f32, 3>::zeros([1, self.sizes.batch, self.sizes.hidden]).into();
        Ok((0..self.sizes.cell.states()).map(zeros).collect())
    }

    fn step(&mut self, x: &[f32], states: Vec<Value>) -> Result<Vec<Value>> {
        self.call(x, 1, states)
    }

    fn read(&self, array: &Value, into: &mut [f32]) -> Result<()> {
        let array: TensorView<'_, f32> = array.try_into()?;
        copy(array.data().context("the output is not contiguous")?, into)
    }
}
