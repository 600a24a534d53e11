//! `softmax.wgsl`, `layer_norm.wgsl` and `batch_norm.wgsl`.

use super::{around, workgroups};
use crate::{
    error::Result,
    gpu::{
        kernel::{Binding, Kernel, Part, PipelineKey},
        recorder::{Recorder, View, word},
    },
};

pub(crate) static SOFTMAX: Kernel = Kernel {
    name: "softmax",
    parts: &[Part::Common, Part::Line],
    source: include_str!("../../../shaders/softmax.wgsl"),
    bindings: &[
        Binding::read("input", "[outer, len, inner]"),
        Binding::read_write("output", "[outer, len, inner]"),
    ],
    params_words: 5,
    workgroup_bytes: 1024,
    invocations: 256,
};

pub(crate) static LAYER_NORM: Kernel = Kernel {
    name: "layer_norm",
    parts: &[Part::Common, Part::Line],
    source: include_str!("../../../shaders/layer_norm.wgsl"),
    bindings: &[
        Binding::read("input", "[outer, len, inner]"),
        Binding::read("gamma", "[len]"),
        Binding::read("beta", "[len]"),
        Binding::read_write("output", "[outer, len, inner]"),
    ],
    params_words: 5,
    workgroup_bytes: 1024,
    invocations: 256,
};

pub(crate) static BATCH_NORM: Kernel = Kernel {
    name: "batch_norm",
    parts: &[Part::Common],
    source: include_str!("../../../shaders/batch_norm.wgsl"),
    bindings: &[
        Binding::read("input", "[outer, channels, inner]"),
        Binding::read("mean", "[channels]"),
        Binding::read("variance", "[channels]"),
        Binding::read("gamma", "[channels]"),
        Binding::read("beta", "[channels]"),
        Binding::read_write("output", "[outer, channels, inner]"),
    ],
    params_words: 5,
    workgroup_bytes: 0,
    invocations: 256,
};

/// Bits of `flags` in the norms.
const HAS_GAMMA: u32 = 1;
const HAS_BETA: u32 = 2;
/// Bit of `flags` in softmax.
const LOG: u32 = 1;
/// Cost of one element, in multiply-adds.
const COST: f64 = 16.0;

/// The optional factors and offsets of a norm.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scale<'a> {
    pub(crate) gamma: Option<View<'a>>,
    pub(crate) beta: Option<View<'a>>,
    pub(crate) epsilon: f32,
}

impl Scale<'_> {
    fn flags(&self) -> u32 {
        HAS_GAMMA * u32::from(self.gamma.is_some()) + HAS_BETA * u32::from(self.beta.is_some())
    }
}

/// [`crate::plan::Op::Softmax`].
pub(crate) fn encode_softmax(recorder: &mut Recorder<'_>, input: (View<'_>, &[usize]), axis: usize, log: bool, output: View<'_>) -> Result<()> {
    let sizes = around(input.1, axis, 1);
    if output.len == 0 {
        return Ok(());
    }
    let bound = recorder.bind(&PipelineKey::new(&SOFTMAX), &[Some(input.0), Some(output)])?;
    let params = line_params(sizes, LOG * u32::from(log), 0.0)?;
    recorder.dispatch(&bound, &params, (sizes[0] * sizes[2]) as u64, output.len as f64 * COST)
}

/// [`crate::plan::Op::LayerNorm`].
pub(crate) fn encode_layer_norm(
    recorder: &mut Recorder<'_>,
    input: (View<'_>, &[usize]),
    (first_axis, axes): (usize, usize),
    scale: Scale<'_>,
    output: View<'_>,
) -> Result<()> {
    let sizes = around(input.1, first_axis, axes);
    if output.len == 0 {
        return Ok(());
    }
    let views = [Some(input.0), scale.gamma, scale.beta, Some(output)];
    let bound = recorder.bind(&PipelineKey::new(&LAYER_NORM), &views)?;
    let params = line_params(sizes, scale.flags(), scale.epsilon)?;
    recorder.dispatch(&bound, &params, (sizes[0] * sizes[2]) as u64, output.len as f64 * COST)
}

fn line_params([outer, len, inner]: [usize; 3], flags: u32, epsilon: f32) -> Result<[u32; 5]> {
    Ok([word(outer * inner)?, word(len)?, word(inner)?, flags, epsilon.to_bits()])
}

/// [`crate::plan::Op::BatchNorm`].
pub(crate) fn encode_batch_norm(
    recorder: &mut Recorder<'_>,
    input: (View<'_>, &[usize]),
    axis: usize,
    [mean, variance]: [View<'_>; 2],
    scale: Scale<'_>,
    output: View<'_>,
) -> Result<()> {
    let [_, channels, inner] = around(input.1, axis, 1);
    if output.len == 0 {
        return Ok(());
    }
    let views = [Some(input.0), Some(mean), Some(variance), scale.gamma, scale.beta, Some(output)];
    let bound = recorder.bind(&PipelineKey::new(&BATCH_NORM), &views)?;
    let params =
        [word(output.len)?, word(channels)?, word(inner)?, scale.flags(), scale.epsilon.to_bits()];
    recorder.dispatch(&bound, &params, workgroups(output.len), output.len as f64 * COST)
}
