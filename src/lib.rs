//! Runs trained recurrent networks (simple RNN, LSTM, GRU and the layers around them) on GPUs
//! through wgpu (Vulkan, Metal, D3D12) and on CPUs, and verifies every result against an f64
//! reference.
//!
//! A [`Model`] comes from a file or from its [`builder`](Model::builder). A [`Session`] runs it on a
//! [`Device`]:
//!
#![cfg_attr(feature = "keras", doc = "```")]
#![cfg_attr(not(feature = "keras"), doc = "```ignore")]
//! use wgpu_rnn::{Device, Model, Session, SessionOptions, Tensor};
//!
//! let model = Model::load("examples/language/language.keras")?;
//! let session = Session::new(&model, SessionOptions::on(Device::Cpu))?;
//! let ids = Tensor::new([1, 5], vec![9i32, 4, 14, 14, 17])?; // [batch, seq_len]
//! let outputs = session.run(ids)?;
//! assert_eq!(outputs.single()?.shape(), [1, 28]);
//! # Ok::<(), wgpu_rnn::Error>(())
//! ```
//!
//! # The way through
//!
//! [`formats`] or a builder make a [`model`]; [`plan`] turns it into steps; [`mod@reference`], [`cpu`]
//! and [`gpu`] run the steps; [`session`] holds a plan on a device and the states it carries;
//! [`compare`] and [`verify`] tell how far two results are apart, where, and how that grows over time.
//!
//! # Features
//!
//! - `gpu` (default): the wgpu executor.
//! - `keras` (default): loading of `.keras` files.
//! - `onnx` (default): loading of ONNX files.
//! - `torch` (default): loading of PyTorch state dicts in safetensors files.
//! - `native` (default): loading and saving of the crate's own files.
//! - `cli` (default): the command line. Embedders switch it off:
//!   `default-features = false, features = ["gpu", "keras"]`.
//! - `fault-injection`: lets tests fail any call to a device.
//!
//! # Promises
//!
//! - The same session on the same device, driver and build gives the same bits for a row, whatever
//!   its companions in the batch, its place there, and how a sequence is cut. (A session that chooses between
//!   [two devices](Device#two-devices) does so by the sizes of a run, and the devices differ in the last bits.)
//! - What is not supported is refused by name. Nothing is ignored, and nothing runs on another device
//!   than the one asked for; only [`Device::Auto`] and `Device::Either` choose, and say what they took and why.
//! - Loading a file runs nothing in it, opens no other file (but the `config.json` beside a PyTorch state
//!   dict), and takes memory in proportion to it.
//! - No call panics for anything that a caller or a file supplies; every wait for a device has a
//!   deadline; a lost device is an error after which a session can be [rebuilt](Session::rebuilt).
//!   (With `panic = "abort"`, a driver that loses its device during a wait ends the process: wgpu
//!   panics there, and this crate has to catch that.)

pub mod activation;
pub mod cell;
pub mod compare;
pub mod cpu;
pub mod dim;
pub mod error;
mod figures;
mod float16;
#[cfg(any(feature = "keras", feature = "onnx", feature = "torch", feature = "native"))]
pub mod formats;
#[cfg(feature = "gpu")]
pub mod gpu;
mod hash;
mod int8;
pub mod layout;
pub mod model;
pub mod plan;
pub mod reference;
pub mod sequences;
#[cfg(feature = "native")]
mod serial;
pub mod session;
mod simd;
#[cfg_attr(not(feature = "gpu"), allow(dead_code))] // only a GPU counts
pub mod stats;
pub mod tensor;
pub mod verify;

pub use activation::Activation;
pub use error::{Error, ErrorKind, Result};
pub use model::Model;
pub use session::{Device, DeviceReport, Inputs, Outputs, Session, SessionOptions, State, Stream};
pub use tensor::{Data, Tensor};

/// The README's examples.
#[cfg(all(doctest, feature = "keras"))]
#[doc = include_str!("../README.md")]
struct Readme;
