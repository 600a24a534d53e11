//! wgpu-rnn
pub mod activation;
pub mod cell;
pub mod compare;
pub mod cpu;
pub mod dim;
pub mod error;
#[cfg(feature = "keras")]
pub mod formats;
#[cfg(feature = "gpu")]
pub mod gpu;
pub mod model;
pub mod plan;
pub mod reference;
pub mod sequences;
pub mod session;
mod simd;
pub mod tensor;

pub use activation::Activation;
pub use error::{Error, ErrorKind, Result};
pub use model::Model;
pub use session::{Device, DeviceReport, Inputs, Outputs, Session, SessionOptions, State};
pub use tensor::{Data, Tensor};
