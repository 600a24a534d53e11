//! wgpu-rnn
pub mod activation;
pub mod cell;
pub mod dim;
pub mod error;
pub mod plan;
pub mod reference;
pub mod tensor;
pub use error::{Error, ErrorKind, Result};
