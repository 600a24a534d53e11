//! `calibrate_*.wgsl`: kernels whose times tell what a device can do. They compute nothing that is of use.

use super::WORKGROUP;
use crate::{
    error::Result,
    gpu::{
        kernel::{Binding, Kernel, Part, PipelineKey},
        recorder::{Recorder, View, Work, word},
    },
};

pub(crate) static READ: Kernel = Kernel {
    name: "calibrate_read",
    parts: &[Part::Rows, Part::Common],
    source: include_str!("../../../shaders/calibrate_read.wgsl"),
    bindings: &[Binding::read("input", "[vectors]"), Binding::read_write("output", "[1]")],
    params_words: 4,
    workgroup_bytes: 0,
    invocations: 256,
};

pub(crate) static MULTIPLY_ADD: Kernel = Kernel {
    name: "calibrate_multiply_add",
    parts: &[],
    source: include_str!("../../../shaders/calibrate_multiply_add.wgsl"),
    bindings: &[Binding::read_write("output", "[1]")],
    params_words: 4,
    workgroup_bytes: 0,
    invocations: 256,
};

pub(crate) static RESIDENT: Kernel = Kernel {
    name: "calibrate_resident",
    parts: &[],
    source: include_str!("../../../shaders/calibrate_resident.wgsl"),
    bindings: &[Binding::read_write("output", "[1]")],
    params_words: 4,
    workgroup_bytes: 0,
    invocations: 256,
};

/// Bytes of a vector.
pub(crate) const VECTOR: u64 = 16;
/// Vectors that an invocation of [`READ`] reads in a round.
pub(crate) const VECTORS_PER_ROUND: u64 = 4;
/// Multiply-adds of an invocation of [`MULTIPLY_ADD`] in a round.
const MULTIPLY_ADDS_PER_ROUND: u64 = 128;
/// What chains multiply by and add: they go towards 2.
const FACTOR: f32 = 0.5;
const ADDEND: f32 = 1.0;
/// No sum is negative.
const NEVER: f32 = -1.0;

/// Bytes that `workgroups` of [`READ`] read in a round.
pub(crate) fn bytes_per_round(workgroups: u64) -> f64 {
    (workgroups * WORKGROUP * VECTORS_PER_ROUND * VECTOR) as f64
}

/// Multiply-adds that `workgroups` of [`MULTIPLY_ADD`] do in a round.
pub(crate) fn multiply_adds_per_round(workgroups: u64) -> f64 {
    (workgroups * WORKGROUP * MULTIPLY_ADDS_PER_ROUND) as f64
}

/// Reads `input`, a power of two of vectors; each invocation goes on by `stride` vectors.
pub(crate) fn encode_read(
    recorder: &mut Recorder<'_>,
    (input, output): (View<'_>, View<'_>),
    workgroups: u64,
    rounds: u32,
    stride: u32,
) -> Result<()> {
    let bound = recorder.bind(&PipelineKey::new(&READ), &[Some(input), Some(output)])?;
    let params = [word(input.len / 4)?, rounds, stride, NEVER.to_bits()];
    recorder.dispatch(&bound, &params, workgroups, Work::default())
}

/// Multiplies and adds, or works through a chain that keeps a place on the device: `kernel` says which.
pub(crate) fn encode_chains(
    recorder: &mut Recorder<'_>,
    kernel: &'static Kernel,
    output: View<'_>,
    workgroups: u64,
    rounds: u32,
) -> Result<()> {
    let bound = recorder.bind(&PipelineKey::new(kernel), &[Some(output)])?;
    let params = [rounds, FACTOR.to_bits(), ADDEND.to_bits(), NEVER.to_bits()];
    recorder.dispatch(&bound, &params, workgroups, Work::default())
}
