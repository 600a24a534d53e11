//! The wgpu executor: runs a [`Plan`](crate::plan::Plan) on a GPU. wgpu appears in this module only,
//! and none of its types in public signatures.

mod adapter;
mod faults;
mod memory;
mod owner;
mod pacer;
mod room;
#[cfg(test)]
mod room_tests;

pub use adapter::{AdapterInfo, AdapterKind, adapters};
#[cfg(any(test, feature = "fault-injection"))]
pub use faults::{Fault, FaultPoint};
pub use memory::MemoryNeed;
pub use pacer::RunStats;
pub use room::{DeviceLimits, Gpu, GpuOptions};
