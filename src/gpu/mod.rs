//! The wgpu executor: runs a [`Plan`](crate::plan::Plan) on a GPU. wgpu appears in this module only,
//! and none of its types in public signatures.

mod adapter;
mod alive;
mod calibrate;
mod calibration;
mod encode;
mod estimate;
mod executor;
mod faults;
pub(crate) mod kernel;
pub(crate) mod kernels;
mod memory;
mod owner;
mod pacer;
pub(crate) mod pack;
mod pipeline_cache;
pub(crate) mod pipelines;
mod pool;
mod probe;
mod program;
pub(crate) mod recorder;
mod room;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod room_tests;
mod schedule;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
pub(crate) mod testing;
mod timer;
mod weights;

pub use adapter::{AdapterInfo, AdapterKind, adapters, find_adapter};
pub use alive::wait_until_closed;
pub use calibration::Calibration;
#[cfg(test)]
pub(crate) use estimate::{estimate, made_up_traits};
pub use executor::ProgramOptions;
#[cfg(any(test, feature = "fault-injection"))]
pub use faults::{Fault, FaultPoint};
#[doc(hidden)]
pub use kernel::{KernelSource, kernel_sources};
pub use kernels::strategy::Strategy;
pub use memory::MemoryNeed;
pub use program::GpuProgram;
pub use room::{DeviceLimits, Gpu, GpuOptions};
