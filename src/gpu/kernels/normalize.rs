//! `softmax.wgsl`, `layer_norm.wgsl` and `batch_norm.wgsl`.

use super::{around, workgroups};
use crate::{
    error::Result,
    gpu::{
        kernel::{Binding, Kernel, Part, PipelineKey},
        recorder::{Recorder, View, Work, word},
    },
};

pub(crate) static SOFTMAX: Kernel = Kernel {
    name: "softmax",
    parts: &[Part::Rows, Part::Common, Part::Line],
    source: include_str!("../../../shaders/softmax.wgsl"),
    bindings: &[Binding::read("input", "[outer, len, inner]"), Binding::read_write("output", "[outer, len, inner]")],
    params_words: 6,
    workgroup_bytes: 1024,
    invocations: 256,
};

pub(crate) static LAYER_NORM: Kernel = Kernel {
    name: "layer_norm",
    parts: &[Part::Rows, Part::Common, Part::Line],
    source: include_str!("../../../shaders/layer_norm.wgsl"),
    bindings: &[
        Binding::read("input", "[outer, len, inner]"),
        Binding::read("gamma", "[len]"),
        Binding::read("beta", "[len]"),
        Binding::read_write("output", "[outer, len, inner]"),
    ],
    params_words: 6,
    workgroup_bytes: 1024,
    invocations: 256,
};

pub(crate) static BATCH_NORM: Kernel = Kernel {
    name: "batch_norm",
    parts: &[Part::Rows, Part::Common],
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
pub(crate) fn encode_softmax(
    recorder: &mut Recorder<'_>,
    input: (View<'_>, &[usize]),
    axis: usize,
    log: bool,
    output: View<'_>,
) -> Result<()> {
    let sizes = around(input.1, axis, 1);
    if output.len == 0 {
        return Ok(());
    }
    let bound = recorder.bind(&PipelineKey::new(&SOFTMAX), &[Some(input.0), Some(output)])?;
    let params = line_params(sizes, LOG * u32::from(log), 0.0)?;
    recorder.dispatch(&bound, &params, line_workgroups(sizes), work(output))
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
    recorder.dispatch(&bound, &params, line_workgroups(sizes), work(output))
}

/// Each value is read and written.
fn work(output: View<'_>) -> Work {
    Work::values(output.len as f64 * COST, 2 * output.len)
}

/// Invocations of a line of `len` elements: eight elements each, or the whole of a short line.
fn width(len: usize) -> usize {
    if len <= 16 { 1 } else { (len / 8).next_power_of_two().min(256) }
}

fn line_workgroups([outer, len, inner]: [usize; 3]) -> u64 {
    workgroups(outer * inner * width(len))
}

fn line_params([outer, len, inner]: [usize; 3], flags: u32, epsilon: f32) -> Result<[u32; 6]> {
    Ok([word(outer * inner)?, word(len)?, word(inner)?, flags, word(width(len))?, epsilon.to_bits()])
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
    let params = [word(output.len)?, word(channels)?, word(inner)?, scale.flags(), scale.epsilon.to_bits()];
    recorder.dispatch(&bound, &params, workgroups(output.len), work(output))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::gpu::testing::{Random, assert_close, gpu};

    /// Calls `line` with the values of every line along the middle axis and puts its results back.
    fn by_lines([outer, len, inner]: [usize; 3], x: &[f32], line: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
        let mut y = vec![0.0; x.len()];
        for i in 0..outer * inner {
            let at = |k: usize| (i / inner * len + k) * inner + i % inner;
            let values: Vec<f64> = (0..len).map(|k| f64::from(x[at(k)])).collect();
            for (k, value) in line(&values).into_iter().enumerate() {
                y[at(k)] = value;
            }
        }
        y
    }

    #[test]
    fn softmax_is_stable_along_any_axis() {
        let mut gpu = gpu();
        let mut random = Random::new(11);
        for (shape, axis) in [
            ([3, 5, 2], 1),
            ([2, 3, 700], 2),
            ([5, 7, 9], 0),
            ([3, 40, 7], 1),
            ([1, 1, 5000], 2),
            ([257, 2, 3], 0),
            ([1, 1, 1], 2),
        ] {
            let len = shape.iter().product();
            let mut x = random.values(len, 60.0);
            if len > 20 {
                x[7] = f32::NAN;
                x[1] = f32::INFINITY;
                x[len - 1] = f32::NEG_INFINITY;
            }
            let sizes = around(&shape, axis, 1);
            let input = gpu.upload(&x);
            for log in [false, true] {
                let output = gpu.empty(len);
                gpu.run(|recorder| encode_softmax(recorder, (input.view(), &shape), axis, log, output.view()));
                let expected = by_lines(sizes, &x, |line| {
                    let largest = line.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let sum: f64 = line.iter().map(|v| (v - largest).exp()).sum();
                    line.iter().map(|v| if log { v - largest - sum.ln() } else { (v - largest).exp() / sum }).collect()
                });
                // 9e-7 measured on lavapipe.
                let worst = assert_close(&format!("{shape:?} {axis} {log}"), &gpu.read(&output), &expected, 3e-6);
                eprintln!("softmax {shape:?} log {log}: {worst:.1e}");
            }
        }
    }

    #[test]
    fn layer_norm_over_any_group_of_axes() {
        let mut gpu = gpu();
        let mut random = Random::new(13);
        for (shape, first, axes) in [
            (vec![5, 7, 300], 2, 1),
            (vec![2, 3, 4, 5], 1, 2),
            (vec![4, 1], 1, 1),
            (vec![3, 4, 2], 1, 2),
            (vec![3, 50, 3], 1, 1),
        ] {
            let [outer, len, inner] = around(&shape, first, axes);
            let x = random.values(outer * len * inner, 3.0);
            let (gamma, beta) = (random.values(len, 1.0), random.values(len, 1.0));
            let (input, gamma_buffer, beta_buffer) = (gpu.upload(&x), gpu.upload(&gamma), gpu.upload(&beta));
            for scaled in [false, true] {
                let scale = Scale {
                    gamma: scaled.then(|| gamma_buffer.view()),
                    beta: scaled.then(|| beta_buffer.view()),
                    epsilon: 1e-3,
                };
                let output = gpu.empty(x.len());
                gpu.run(|recorder| {
                    encode_layer_norm(recorder, (input.view(), &shape), (first, axes), scale, output.view())
                });
                let expected = by_lines([outer, len, inner], &x, |line| {
                    let mean = line.iter().sum::<f64>() / len as f64;
                    let variance = line.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / len as f64;
                    let factor = |k: usize| if scaled { (f64::from(gamma[k]), f64::from(beta[k])) } else { (1.0, 0.0) };
                    (0..len)
                        .map(|k| (line[k] - mean) / (variance + f64::from(1e-3f32)).sqrt() * factor(k).0 + factor(k).1)
                        .collect()
                });
                assert_close(&format!("{shape:?}"), &gpu.read(&output), &expected, 2e-6);
            }
        }
    }

    #[test]
    fn batch_norm_by_channel() {
        let mut gpu = gpu();
        let mut random = Random::new(17);
        let shape = [3, 5, 7];
        for axis in 0..3 {
            let [_, channels, inner] = around(&shape, axis, 1);
            let x = random.values(105, 3.0);
            let [mean, gamma, beta] = [(); 3].map(|()| random.values(channels, 1.0));
            let variance: Vec<f32> = random.values(channels, 1.0).iter().map(|v| v.abs() + 0.1).collect();
            let buffers = [&x, &mean, &variance, &gamma, &beta].map(|v| gpu.upload(v));
            let [input, mean_buffer, variance_buffer, gamma_buffer, beta_buffer] = &buffers;
            let scale = Scale { gamma: Some(gamma_buffer.view()), beta: Some(beta_buffer.view()), epsilon: 1e-3 };
            let output = gpu.empty(105);
            gpu.run(|recorder| {
                let statistics = [mean_buffer.view(), variance_buffer.view()];
                encode_batch_norm(recorder, (input.view(), &shape), axis, statistics, scale, output.view())
            });
            let expected: Vec<f64> = x
                .iter()
                .enumerate()
                .map(|(i, &x)| {
                    let c = i / inner % channels;
                    let [m, v, g, b] = [mean[c], variance[c], gamma[c], beta[c]].map(f64::from);
                    (f64::from(x) - m) / (v + f64::from(1e-3f32)).sqrt() * g + b
                })
                .collect();
            assert_close(&format!("axis {axis}"), &gpu.read(&output), &expected, 2e-6);
        }
    }
}
