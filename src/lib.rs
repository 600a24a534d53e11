//! wgpu-rnn
pub mod activation;
pub mod cell;
pub mod cpu;
pub mod dim;
pub mod error;
pub mod plan;
pub mod reference;
mod simd;
pub mod tensor;
pub use error::{Error, ErrorKind, Result};
