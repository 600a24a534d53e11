//! `not_equal.wgsl`: masks.

use super::workgroups;
use crate::{
    error::Result,
    gpu::{
        kernel::{Binding, Kernel, Part, PipelineKey},
        recorder::{Recorder, View, word},
    },
};

pub(crate) static NOT_EQUAL: Kernel = Kernel {
    name: "not_equal",
    parts: &[Part::Common],
    source: include_str!("../../../shaders/not_equal.wgsl"),
    bindings: &[Binding::read("input", "[count, width]"), Binding::read_write("output", "[count]")],
    params_words: 3,
    workgroup_bytes: 0,
    invocations: 256,
};

/// [`crate::plan::Op::NotEqual`].
pub(crate) fn encode(recorder: &mut Recorder<'_>, input: View<'_>, value: f32, width: usize, output: View<'_>) -> Result<()> {
    if output.len == 0 {
        return Ok(());
    }
    let bound = recorder.bind(&PipelineKey::new(&NOT_EQUAL), &[Some(input), Some(output)])?;
    let params = [word(output.len)?, word(width)?, value.to_bits()];
    recorder.dispatch(&bound, &params, workgroups(output.len), input.len as f64)
}
