//! wgpu-rnn
pub mod activation;
pub mod cell;
pub mod dim;
pub mod error;
#[cfg(feature = "gpu")]
pub mod gpu;
pub mod plan;
pub mod tensor;
pub use error::{Error, ErrorKind, Result};
