//! ONNX Runtime through its C API, on the CPU.

use std::env;

use anyhow::{Context, Result};
use ort::{
    environment::Environment,
    session::{Session, builder::GraphOptimizationLevel},
    value::{DynValue, Tensor, TensorRef},
};

use crate::{
    Missing,
    case::{Case, Sizes},
    layer::{Layer, copy},
    onnx,
};

/// The library, which the program names.
const LIBRARY: &str = "ORT_DYLIB_PATH";

pub(crate) struct Ort {
    session: Session,
    sizes: Sizes,
}

/// Loads the library.
pub(crate) fn load() -> Result<Environment> {
    let missing = |why: String| Missing { why, how: "pip install onnxruntime, or name its library in ORT_DYLIB_PATH" };
    let path = env::var(LIBRARY).map_err(|_| missing("no library of ONNX Runtime".to_owned()))?;
    let builder = ort::init_from(path).map_err(|error| missing(error.to_string()))?;
    Ok(builder.build()?)
}

impl Ort {
    pub(crate) fn new(environment: &Environment, case: &Case, threads: usize) -> Result<Self> {
        Ok(Self { session: session(environment, &onnx::model(case)?, threads)?, sizes: case.sizes })
    }
}

fn session(environment: &Environment, model: &[u8], threads: usize) -> ort::Result<Session> {
    Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(threads)?
        .with_inter_threads(1)?
        .commit_from_memory(model)
}

impl Layer for Ort {
    type Array = DynValue;
    const TIME_FIRST: bool = true;

    fn whole(&mut self, x: &[f32]) -> Result<DynValue> {
        let shape = [self.sizes.seq_len, self.sizes.batch, self.sizes.input_size];
        let x = TensorRef::from_array_view((shape, x))?;
        self.session.run(ort::inputs![x])?.remove("Y").context("no output")
    }

    fn zeros(&self) -> Result<Vec<DynValue>> {
        let shape = [1, self.sizes.batch, self.sizes.hidden];
        let zeros =
            |_| Ok(Tensor::from_array((shape, vec![0.0_f32; self.sizes.batch * self.sizes.hidden]))?.into_dyn());
        (0..self.sizes.cell.states()).map(zeros).collect()
    }

    fn step(&mut self, x: &[f32], states: Vec<DynValue>) -> Result<Vec<DynValue>> {
        let x = TensorRef::from_array_view(([1, self.sizes.batch, self.sizes.input_size], x))?;
        let mut states = states.into_iter();
        let mut state = || states.next().context("a state is missing");
        let outputs = match self.sizes.cell.states() {
            1 => self.session.run(ort::inputs![x, state()?])?,
            _ => self.session.run(ort::inputs![x, state()?, state()?])?,
        };
        Ok(outputs.into_iter().map(|(_, value)| value).collect())
    }

    fn read(&self, array: &DynValue, into: &mut [f32]) -> Result<()> {
        copy(array.try_extract_tensor()?.1, into)
    }
}
