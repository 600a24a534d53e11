//! What the benches share: models of a few layers with random weights, and the devices that they run on.

use std::{sync::Arc, time::Duration};

use criterion::Criterion;
use wgpu_rnn::{
    Device, Model, Result, Tensor,
    cell::Cell,
    gpu::{Gpu, GpuOptions},
    model::{LayerKind, Recurrent},
};

/// Few samples: a change that matters shows, and a software adapter is done within minutes.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args()
}

/// A GPU, opened once: the first adapter, or the one that `WGPU_RNN_ADAPTER` names. None without any.
pub fn gpu() -> Option<Device> {
    let mut options = GpuOptions::default();
    options.adapter = std::env::var("WGPU_RNN_ADAPTER").ok().filter(|name| !name.is_empty());
    match pollster::block_on(Gpu::open(options)) {
        Ok(gpu) => {
            println!("{}", gpu.info());
            Some(Device::Opened(gpu))
        }
        Err(error) => {
            println!("without a GPU: {error}");
            None
        }
    }
}

/// Layers one after the other, behind an input of `shape` without its batch.
pub fn model(name: &str, shape: &[Option<usize>], layers: Vec<LayerKind>) -> Result<Model> {
    let mut model = Model::builder(name);
    let mut value = model.input("x", shape)?;
    for (index, layer) in layers.into_iter().enumerate() {
        value = model.add(&format!("layer_{index}"), layer, &[value])?;
    }
    model.output("y", value)?;
    model.build()
}

/// A recurrent layer that gives every timestep.
pub fn recurrent(cell: Cell, hidden: usize, input_size: usize) -> Result<LayerKind> {
    let rows = cell.spec().gates.len() * hidden;
    Ok(LayerKind::Recurrent(Recurrent {
        bias_ih: Some(weights(&[rows])?),
        bias_hh: Some(weights(&[rows])?),
        ..Recurrent::new(cell, weights(&[rows, input_size])?, weights(&[rows, hidden])?)
    }))
}

/// Values of a fixed sequence (SplitMix64), small enough to damp rounding errors.
pub fn weights(shape: &[usize]) -> Result<Arc<Tensor>> {
    let scale = 1.0 / (shape.last().copied().unwrap_or(1) as f32).sqrt();
    let mut state = 1u64;
    let mut value = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        scale * (((z ^ (z >> 31)) >> 40) as f32 / 8_388_608.0 - 1.0)
    };
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| value()).collect();
    Ok(Arc::new(Tensor::new(shape, values)?))
}
