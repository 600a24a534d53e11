//! `ramp.wgsl`, `window.wgsl` and `take.wgsl`: steps that make or move values.

use super::{around, workgroups};
use crate::{
    error::{Error, Result},
    gpu::{
        kernel::{Binding, Kernel, Part, PipelineKey},
        recorder::{Recorder, View, Work, word},
    },
};

pub(crate) static RAMP: Kernel = Kernel {
    name: "ramp",
    parts: &[Part::Rows, Part::Common],
    source: include_str!("../../../shaders/ramp.wgsl"),
    bindings: &[Binding::read_write("output", "[outer, len, inner]")],
    params_words: 5,
    workgroup_bytes: 0,
    invocations: 256,
};

pub(crate) static WINDOW: Kernel = Kernel {
    name: "window",
    parts: &[Part::Rows, Part::Common],
    source: include_str!("../../../shaders/window.wgsl"),
    bindings: &[
        Binding::read("input", "[rows, len, channels]"),
        Binding::read_write("output", "[rows, windows, width, channels]"),
    ],
    params_words: 9,
    workgroup_bytes: 0,
    invocations: 256,
};

pub(crate) static TAKE: Kernel = Kernel {
    name: "take",
    parts: &[Part::Rows, Part::Common],
    source: include_str!("../../../shaders/take.wgsl"),
    bindings: &[
        Binding::read("input", "[rows, len, width]"),
        Binding::read("indices", "[rows, taken]"),
        Binding::read_write("output", "[rows, taken, width]"),
    ],
    params_words: 4,
    workgroup_bytes: 0,
    invocations: 256,
};

/// Cost of one element, in multiply-adds.
const COST: f64 = 4.0;

/// [`crate::plan::Op::Ramp`].
pub(crate) fn encode_ramp(
    recorder: &mut Recorder<'_>,
    [start, step]: [f32; 2],
    axis: usize,
    (output, shape): (View<'_>, &[usize]),
) -> Result<()> {
    if output.len == 0 {
        return Ok(());
    }
    let [_, len, inner] = around(shape, axis, 1);
    let bound = recorder.bind(&PipelineKey::new(&RAMP), &[Some(output)])?;
    let params = [word(output.len)?, word(len)?, word(inner)?, start.to_bits(), step.to_bits()];
    recorder.dispatch(&bound, &params, workgroups(output.len), Work::values(output.len as f64 * COST, 2 * output.len))
}

/// How windows lie on their axis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
    pub(crate) before: usize,
    pub(crate) fill: f32,
}

/// [`crate::plan::Op::Window`].
pub(crate) fn encode_window(
    recorder: &mut Recorder<'_>,
    input: (View<'_>, &[usize]),
    windows: Windows,
    (output, shape): (View<'_>, &[usize]),
) -> Result<()> {
    if output.len == 0 {
        return Ok(());
    }
    let (&[_, len, channels], &[_, count, width, _]) = (input.1, shape) else {
        return Err(Error::internal("windows of that rank"));
    };
    let bound = recorder.bind(&PipelineKey::new(&WINDOW), &[Some(input.0), Some(output)])?;
    let sizes = [output.len, len, channels, count, width, windows.stride, windows.dilation, windows.before].map(word);
    let mut params = sizes.into_iter().collect::<Result<Vec<_>>>()?;
    params.push(windows.fill.to_bits());
    recorder.dispatch(&bound, &params, workgroups(output.len), Work::values(output.len as f64 * COST, 2 * output.len))
}

/// [`crate::plan::Op::Take`].
pub(crate) fn encode_take(
    recorder: &mut Recorder<'_>,
    input: (View<'_>, &[usize]),
    indices: (View<'_>, &[usize]),
    output: View<'_>,
) -> Result<()> {
    if output.len == 0 {
        return Ok(());
    }
    let (&[_, len, ref rest @ ..], &[_, taken]) = (input.1, indices.1) else {
        return Err(Error::internal("indices of that rank"));
    };
    let bound = recorder.bind(&PipelineKey::new(&TAKE), &[Some(input.0), Some(indices.0), Some(output)])?;
    let params = [word(output.len)?, word(len)?, word(taken)?, word(rest.iter().product())?];
    recorder.dispatch(&bound, &params, workgroups(output.len), Work::values(output.len as f64 * COST, 2 * output.len))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::gpu::testing::{Random, gpu};

    #[test]
    fn ramps_run_along_any_axis() {
        let mut gpu = gpu();
        let shape = [3, 70, 5];
        for axis in 0..3 {
            let output = gpu.empty(3 * 70 * 5);
            gpu.run(|recorder| encode_ramp(recorder, [0.5, -2.0], axis, (output.view(), &shape)));
            let [_, len, inner] = around(&shape, axis, 1);
            let position = |i: usize| (i / inner % len) as f32;
            assert!(gpu.read(&output).iter().enumerate().all(|(i, &y)| y == 0.5 - 2.0 * position(i)), "{axis}");
        }
        // A fill, with what fills most.
        let output = gpu.empty(3);
        gpu.run(|recorder| encode_ramp(recorder, [f32::NEG_INFINITY, 0.0], 0, (output.view(), &[3])));
        assert_eq!(gpu.read(&output), [f32::NEG_INFINITY; 3]);
    }

    #[test]
    fn windows_overlap_skip_and_reach_over_the_ends() {
        let mut gpu = gpu();
        let (rows, len, channels) = (3, 11, 5);
        let values = Random::new(21).values(rows * len * channels, 1.0);
        let input = gpu.upload(&values);
        for (windows, width, stride, dilation, before) in
            [(11, 3, 1, 1, 1), (4, 3, 2, 1, 0), (5, 2, 3, 4, 2), (2, 4, 1, 9, 40), (300, 1, 1, 1, 1 << 30)]
        {
            let shape = [rows, windows, width, channels];
            let output = gpu.empty(shape.iter().product());
            gpu.run(|recorder| {
                let windows = Windows { stride, dilation, before, fill: -7.0 };
                encode_window(recorder, (input.view(), &[rows, len, channels]), windows, (output.view(), &shape))
            });
            for (flat, value) in gpu.read(&output).into_iter().enumerate() {
                let index = crate::tensor::unravel(flat, &shape);
                let at = (index[1] * stride + index[2] * dilation).checked_sub(before).filter(|&at| at < len);
                let expected = at.map_or(-7.0, |at| values[(index[0] * len + at) * channels + index[3]]);
                assert_eq!(value, expected, "{windows} {width} {stride} {dilation} {before} {index:?}");
            }
        }
    }

    #[test]
    fn indices_are_rounded_and_kept_inside() {
        let mut gpu = gpu();
        let values: Vec<f32> = (0..2 * 7 * 3u8).map(f32::from).collect();
        let indices = [0.0, 6.0, 2.5, 3.5, -1.0, 7.0, f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e20, 0.5];
        let expected = [0, 6, 2, 4, 0, 6, 0, 0, 6, 0, 6, 0];
        let (input, index) = (gpu.upload(&values), gpu.upload(&indices.repeat(2)));
        let output = gpu.empty(2 * 12 * 3);
        gpu.run(|recorder| encode_take(recorder, (input.view(), &[2, 7, 3]), (index.view(), &[2, 12]), output.view()));
        for (i, value) in gpu.read(&output).into_iter().enumerate() {
            let at = (i / 36 * 7 + expected[i / 3 % 12]) * 3 + i % 3;
            assert_eq!(value, values[at], "{i}");
        }
    }
}
