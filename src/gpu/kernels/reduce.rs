//! `reduce.wgsl`: sums, means and maxima along one axis.

use super::{around, workgroups};
use crate::{
    error::Result,
    gpu::{
        kernel::{Binding, Kernel, Part, PipelineKey},
        recorder::{Recorder, View, word},
    },
    plan::ReduceOp,
};

pub(crate) static REDUCE: Kernel = Kernel {
    name: "reduce",
    parts: &[Part::Common],
    source: include_str!("../../../shaders/reduce.wgsl"),
    bindings: &[
        Binding::read("input", "[outer, len, inner]"),
        Binding::read("mask", "[outer, len]"),
        Binding::read_write("output", "[outer, inner]"),
    ],
    params_words: 5,
    workgroup_bytes: 0,
    invocations: 256,
};

/// [`crate::plan::Op::Reduce`]; without a live position a sum is 0, a mean NaN, a maximum -inf.
pub(crate) fn encode(
    recorder: &mut Recorder<'_>,
    op: ReduceOp,
    input: (View<'_>, &[usize]),
    axis: usize,
    mask: Option<View<'_>>,
    output: View<'_>,
) -> Result<()> {
    let [outer, len, inner] = around(input.1, axis, 1);
    let count = outer * inner;
    if count == 0 {
        return Ok(());
    }
    let operation: u32 = match op {
        ReduceOp::Sum => 0,
        ReduceOp::Mean => 1,
        ReduceOp::Max => 2,
    };
    let key = PipelineKey::new(&REDUCE).constant("OPERATION", operation);
    let bound = recorder.bind(&key, &[Some(input.0), mask, Some(output)])?;
    let params =
        [word(count)?, word(len)?, word(inner)?, u32::from(mask.is_some()), f32::NEG_INFINITY.to_bits()];
    recorder.dispatch(&bound, &params, workgroups(count), (count * len) as f64)
}
