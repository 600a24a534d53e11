//! `not_equal.wgsl`: masks.

use super::workgroups;
use crate::{
    error::Result,
    gpu::{
        kernel::{Binding, Kernel, Part, PipelineKey},
        recorder::{Recorder, View, Work, word},
    },
};

pub(crate) static NOT_EQUAL: Kernel = Kernel {
    name: "not_equal",
    parts: &[Part::Rows, Part::Common],
    source: include_str!("../../../shaders/not_equal.wgsl"),
    bindings: &[Binding::read("input", "[count, width]"), Binding::read_write("output", "[count]")],
    params_words: 3,
    workgroup_bytes: 0,
    invocations: 256,
};

/// [`crate::plan::Op::NotEqual`].
pub(crate) fn encode(
    recorder: &mut Recorder<'_>,
    input: View<'_>,
    value: f32,
    width: usize,
    output: View<'_>,
) -> Result<()> {
    if output.len == 0 {
        return Ok(());
    }
    recorder.pipelines.check_rounds("a comparison", width.saturating_add(2))?;
    let bound = recorder.bind(&PipelineKey::new(&NOT_EQUAL), &[Some(input), Some(output)])?;
    let params = [word(output.len)?, word(width)?, value.to_bits()];
    recorder.dispatch(&bound, &params, workgroups(output.len), Work::values(input.len as f64, input.len + output.len))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::gpu::testing::gpu;

    #[test]
    fn any_other_value_is_live_and_so_is_nan() {
        let mut gpu = gpu();
        let input = gpu.upload(&[0.0, 0.0, 0.0, 1.0, -0.0, 0.0, f32::NAN, 0.0, f32::INFINITY, 0.0]);
        let output = gpu.empty(5);
        for (value, expected) in [(0.0, [0.0, 1.0, 0.0, 1.0, 1.0]), (f32::NAN, [1.0; 5])] {
            gpu.run(|recorder| encode(recorder, input.view(), value, 2, output.view()));
            assert_eq!(gpu.read(&output), expected);
        }
    }
}
