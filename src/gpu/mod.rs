//! The wgpu executor: the only place that knows wgpu.

#![allow(dead_code)] // until the executor walks the plan with them

pub(crate) mod kernel;
pub(crate) mod kernels;
pub(crate) mod pack;
pub(crate) mod pipelines;
pub(crate) mod recorder;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
pub(crate) mod testing;

#[doc(hidden)]
pub use kernel::{KernelSource, kernel_sources};
pub use kernels::strategy::Strategy;
