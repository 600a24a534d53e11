//! tract: it optimises the model for its sizes.

use std::sync::Arc;

use anyhow::{Context, Result};
use tract_linalg::multithread::{Executor, set_default_executor};
use tract_onnx::prelude::*;

use crate::{
    case::{Case, Sizes},
    layer::{Layer, copy},
    onnx,
};

pub(crate) struct Tract {
    plan: Arc<TypedSimplePlan>,
    /// For calls of one timestep.
    state: TypedSimpleState,
    sizes: Sizes,
}

/// It computes on one thread, unless told otherwise, and on more those products alone that it finds large enough.
pub(crate) fn set_threads(threads: usize) {
    if threads > 1 {
        set_default_executor(Executor::multithread(threads));
    }
}

impl Tract {
    pub(crate) fn new(case: &Case) -> Result<Self> {
        let model = tract_onnx::onnx().model_for_read(&mut onnx::model(case)?.as_slice())?;
        let plan = model.into_optimized()?.into_runnable()?;
        Ok(Self { state: plan.spawn()?, plan, sizes: case.sizes })
    }
}

impl Layer for Tract {
    type Array = TValue;
    const TIME_FIRST: bool = true;

    fn whole(&mut self, x: &[f32]) -> Result<TValue> {
        let x = Tensor::from_shape(&[self.sizes.seq_len, self.sizes.batch, self.sizes.input_size], x)?;
        // A state that is used again goes on where the sequence before ended.
        self.plan.run(tvec!(x.into()))?.into_iter().next().context("no output")
    }

    fn zeros(&self) -> Result<Vec<TValue>> {
        let zeros = |_| Ok(Tensor::zero::<f32>(&[1, self.sizes.batch, self.sizes.hidden])?.into());
        (0..self.sizes.cell.states()).map(zeros).collect()
    }

    fn step(&mut self, x: &[f32], states: Vec<TValue>) -> Result<Vec<TValue>> {
        let x = Tensor::from_shape(&[1, self.sizes.batch, self.sizes.input_size], x)?;
        Ok(self.state.run([x.into()].into_iter().chain(states).collect())?.into_vec())
    }

    fn read(&self, array: &TValue, into: &mut [f32]) -> Result<()> {
        copy(array.try_as_plain_ram()?.as_slice()?, into)
    }
}
