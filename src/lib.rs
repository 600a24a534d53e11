//! wgpu-rnn
pub mod activation;
pub mod cell;
pub mod compare;
pub mod cpu;
pub mod dim;
pub mod error;
pub mod model;
pub mod plan;
pub mod reference;
mod simd;
pub mod tensor;
pub use activation::Activation;
pub use error::{Error, ErrorKind, Result};
pub use model::Model;
pub use tensor::{Data, Tensor};
