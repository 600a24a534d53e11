//! `reduce.wgsl`: sums, means, maxima and minima along one axis.

use super::{around, workgroups};
use crate::{
    error::Result,
    gpu::{
        kernel::{Binding, Kernel, Part, PipelineKey},
        recorder::{Recorder, View, Work, word},
    },
    plan::ReduceOp,
};

pub(crate) static REDUCE: Kernel = Kernel {
    name: "reduce",
    parts: &[Part::Rows, Part::Common],
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

/// [`crate::plan::Op::Reduce`]; without a live position a sum is 0, a mean NaN, a maximum -inf, a minimum inf.
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
    recorder.pipelines.check_rounds("a reduction", len.saturating_add(2))?;
    let operation: u32 = match op {
        ReduceOp::Sum => 0,
        ReduceOp::Mean => 1,
        ReduceOp::Max => 2,
        ReduceOp::Min => 3,
    };
    let key = PipelineKey::new(&REDUCE).constant("OPERATION", operation);
    let bound = recorder.bind(&key, &[Some(input.0), mask, Some(output)])?;
    let first = if op == ReduceOp::Min { f32::INFINITY } else { f32::NEG_INFINITY };
    let params = [word(count)?, word(len)?, word(inner)?, u32::from(mask.is_some()), first.to_bits()];
    recorder.dispatch(&bound, &params, workgroups(count), Work::values((count * len) as f64, count * len + count))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::gpu::testing::{Random, assert_close, gpu};

    #[test]
    fn reduces_any_axis_and_skips_the_dead() {
        let mut gpu = gpu();
        let mut random = Random::new(7);
        let shape = [3, 70, 5];
        let mut values = random.values(3 * 70 * 5, 3.0);
        values[2] = f32::NAN;
        let mut mask: Vec<f32> = (0..3 * 70).map(|_| f32::from(u8::from(random.value() > 0.0))).collect();
        mask[2 * 70..].fill(0.0);
        mask[0] = 1.0;
        let (input, mask_buffer) = (gpu.upload(&values), gpu.upload(&mask));
        for axis in 0..3 {
            for op in [ReduceOp::Sum, ReduceOp::Mean, ReduceOp::Max, ReduceOp::Min] {
                for masked in [false, true] {
                    if masked && axis != 1 {
                        continue;
                    }
                    let [outer, len, inner] = around(&shape, axis, 1);
                    let output = gpu.empty(outer * inner);
                    let mask_view = masked.then(|| mask_buffer.view());
                    gpu.run(|recorder| encode(recorder, op, (input.view(), &shape), axis, mask_view, output.view()));
                    let expected: Vec<f64> = (0..outer * inner)
                        .map(|i| {
                            let live: Vec<f64> = (0..len)
                                .filter(|k| !masked || mask[i / inner * len + k] != 0.0)
                                .map(|k| f64::from(values[(i / inner * len + k) * inner + i % inner]))
                                .collect();
                            let sum: f64 = live.iter().sum();
                            match op {
                                ReduceOp::Sum => sum,
                                ReduceOp::Mean => sum / live.len() as f64,
                                ReduceOp::Max | ReduceOp::Min if live.iter().any(|x| x.is_nan()) => f64::NAN,
                                ReduceOp::Max => live.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                                ReduceOp::Min => live.iter().copied().fold(f64::INFINITY, f64::min),
                            }
                        })
                        .collect();
                    assert_close(&format!("{op:?} axis {axis}"), &gpu.read(&output), &expected, 2e-6);
                }
            }
        }
    }
}
