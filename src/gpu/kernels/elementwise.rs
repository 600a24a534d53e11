//! `elementwise.wgsl`: maps, broadcasting arithmetic, transposes and block copies.

use super::{
    ACTIVATION,
    axes::{Axis, broadcast, merged, signed, strides, words},
    with_activation, workgroups,
};
use crate::{
    activation::Activation,
    error::{Error, Result},
    gpu::{
        kernel::{Binding, Kernel, Part, PipelineKey},
        recorder::{Recorder, View, Work, word},
    },
    plan::{CombineOp, MAX_RANK},
};

pub(crate) static ELEMENTWISE: Kernel = Kernel {
    name: "elementwise",
    parts: &[Part::Rows, Part::Common, Part::Activation, Part::ActivationOne],
    source: include_str!("../../../shaders/elementwise.wgsl"),
    bindings: &[Binding::read("left", "[..]"), Binding::read("right", "[..]"), Binding::read_write("output", "[..]")],
    params_words: 32,
    workgroup_bytes: 0,
    invocations: 256,
};

/// `OPERATION` of the kernel.
const COPY: u32 = 0;

/// Cost of one element, in multiply-adds.
const COST: f64 = 8.0;

/// `output[..] = activation(input[..])`
pub(crate) fn encode_map(
    recorder: &mut Recorder<'_>,
    input: View<'_>,
    activation: Activation,
    output: View<'_>,
) -> Result<()> {
    let axes = [[signed(output.len), 1, 0, 1]];
    encode(recorder, COPY, activation, &axes, [0; 3], [Some(input), None], output)
}

/// [`crate::plan::Op::Combine`] of operands of one rank.
pub(crate) fn encode_combine(
    recorder: &mut Recorder<'_>,
    op: CombineOp,
    left: (View<'_>, &[usize]),
    right: (View<'_>, &[usize]),
    output: (View<'_>, &[usize]),
) -> Result<()> {
    let operation = match op {
        CombineOp::Add => 1,
        CombineOp::Subtract => 2,
        CombineOp::Multiply => 3,
        CombineOp::Maximum => 4,
        CombineOp::Mask => 5,
        CombineOp::Divide => 6,
        CombineOp::Minimum => 7,
        CombineOp::Equal => 8,
        CombineOp::Less => 9,
    };
    let (left_strides, right_strides, strides) = (broadcast(left.1), broadcast(right.1), strides(output.1));
    let axes: Vec<Axis> = (0..output.1.len())
        .map(|axis| [signed(output.1[axis]), at(&left_strides, axis), at(&right_strides, axis), strides[axis]])
        .collect();
    encode(recorder, operation, Activation::Linear, &axes, [0; 3], [Some(left.0), Some(right.0)], output.0)
}

/// [`crate::plan::Op::Permute`]: axis `a` of the output is axis `axes[a]` of the input.
pub(crate) fn encode_permute(
    recorder: &mut Recorder<'_>,
    input: (View<'_>, &[usize]),
    axes: &[usize],
    output: (View<'_>, &[usize]),
) -> Result<()> {
    let (input_strides, strides) = (strides(input.1), strides(output.1));
    let walk = output.1.iter().zip(&strides).zip(axes);
    let walk: Vec<Axis> =
        walk.map(|((&extent, &stride), &axis)| [signed(extent), at(&input_strides, axis), 0, stride]).collect();
    encode(recorder, COPY, Activation::Linear, &walk, [0; 3], [Some(input.0), None], output.0)
}

/// The positions of an axis that [`encode_copy`] reads and writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) axis: usize,
    pub(crate) from: usize,
    /// From one position that is read to the next; may be negative.
    pub(crate) step: i64,
    pub(crate) to: usize,
    pub(crate) extent: usize,
}

/// [`crate::plan::Op::Copy`]; input axes of extent 1 are repeated.
pub(crate) fn encode_copy(
    recorder: &mut Recorder<'_>,
    input: (View<'_>, &[usize]),
    output: (View<'_>, &[usize]),
    block: Block,
) -> Result<()> {
    let Block { axis, from, step, to, extent } = block;
    let (dense, repeated, output_strides) = (strides(input.1), broadcast(input.1), strides(output.1));
    let stride = at(&dense, axis);
    // A single position has no neighbour, however far the step would lead.
    let step = if extent > 1 { isize::try_from(step).ok() } else { Some(1) };
    let stepped = step.and_then(|step| stride.checked_mul(step));
    let stepped = stepped.ok_or_else(|| Error::internal("a step beyond the address space"))?;
    let walk = (0..output.1.len()).map(|i| {
        let (extent, stride) = if i == axis { (extent, stepped) } else { (output.1[i], at(&repeated, i)) };
        [signed(extent), stride, 0, output_strides[i]]
    });
    let starts = [from * stride.cast_unsigned(), 0, to * at(&output_strides, axis).cast_unsigned()];
    encode(recorder, COPY, Activation::Linear, &walk.collect::<Vec<_>>(), starts, [Some(input.0), None], output.0)
}

/// Copies `rows` rows of `width` elements, with other distances between rows and other starts.
pub(crate) fn encode_copy_rows(
    recorder: &mut Recorder<'_>,
    rows: usize,
    width: usize,
    input: (View<'_>, usize, usize),
    output: (View<'_>, usize, usize),
) -> Result<()> {
    let axes = [[signed(rows), signed(input.2), 0, signed(output.2)], [signed(width), 1, 0, 1]];
    encode(recorder, COPY, Activation::Linear, &axes, [input.1, 0, output.1], [Some(input.0), None], output.0)
}

fn at(strides: &[isize], axis: usize) -> isize {
    strides.get(axis).copied().unwrap_or(0)
}

fn encode(
    recorder: &mut Recorder<'_>,
    operation: u32,
    activation: Activation,
    axes: &[Axis],
    starts: [usize; 3],
    inputs: [Option<View<'_>>; 2],
    output: View<'_>,
) -> Result<()> {
    let count = axes.iter().map(|axis| axis[0].cast_unsigned()).product::<usize>();
    if count == 0 {
        return Ok(());
    }
    let axes = merged(axes);
    let key = PipelineKey::new(&ELEMENTWISE).constant("OPERATION", operation);
    let key = with_activation(key, ACTIVATION, activation)?;
    let bound = recorder.bind(&key, &[inputs[0], inputs[1], Some(output)])?;
    let mut params = vec![word(count)?, word(axes.len())?];
    for start in starts {
        params.push(word(start)?);
    }
    params.resize(8, 0);
    params.extend(words(&axes, MAX_RANK)?);
    recorder.dispatch(
        &bound,
        &params,
        workgroups(count),
        Work::values(count as f64 * COST, count * (1 + inputs.iter().flatten().count())),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        gpu::testing::{Random, assert_close, gpu},
        tensor::unravel,
    };

    /// Every activation with parameters that matter, and its tolerance.
    ///
    /// Errors relative to max(1, |y|). Worst found on lavapipe (Mesa 22.3): sigmoid 1.1e-7, tanh 1.4e-7,
    /// selu 3.3e-7, celu 3.1e-7, mish 2.3e-7, gelu 1.3e-7, exponential 3.9e-6 at 88 (WGSL lets exp be off by
    /// 3 + 2|x| units in the last place), all others below 2e-7. The bounds leave room for other drivers.
    const ACTIVATIONS: [(Activation, f64); 45] = [
        (Activation::Linear, 0.0),
        (Activation::Sigmoid, 6e-7),
        (Activation::Tanh, 6e-7),
        (Activation::RELU, 0.0),
        (Activation::Relu { negative_slope: 0.25, max_value: 6.0, threshold: 0.5 }, 2e-6),
        (Activation::Elu { alpha: 1.0 }, 2e-6),
        (Activation::Elu { alpha: 0.5 }, 2e-6),
        (Activation::Selu, 2e-6),
        (Activation::Celu { alpha: 2.0 }, 2e-6),
        (Activation::Exponential, 5e-6),
        (Activation::Softplus, 2e-6),
        (Activation::Softsign, 2e-6),
        (Activation::Silu, 2e-6),
        (Activation::Gelu, 2e-6),
        (Activation::GeluTanh, 2e-6),
        (Activation::HARD_SIGMOID, 2e-6),
        (Activation::HardSigmoid { alpha: 0.2, beta: 0.5 }, 2e-6),
        (Activation::HardSilu, 2e-6),
        (Activation::HardTanh, 2e-6),
        (Activation::HardShrink { threshold: 0.5 }, 0.0),
        (Activation::SoftShrink { threshold: 0.5 }, 2e-6),
        (Activation::TanhShrink, 2e-6),
        (Activation::LogSigmoid, 2e-6),
        (Activation::Mish, 2e-6),
        (Activation::SparsePlus, 2e-6),
        (Activation::SparseSigmoid, 2e-6),
        (Activation::Squareplus { b: 4.0 }, 2e-6),
        (Activation::Squareplus { b: 0.0 }, 2e-6),
        (Activation::Affine { alpha: -3.0, beta: 0.25 }, 2e-6),
        (Activation::ScaledTanh { alpha: 1.7159, beta: 2.0 / 3.0 }, 1e-6),
        (Activation::Clip { min: -0.75, max: 1.5 }, 0.0),
        (Activation::Clip { min: f32::NEG_INFINITY, max: 0.5 }, 0.0),
        (Activation::Clip { min: 2.0, max: -1.0 }, 0.0),
        (Activation::Sqrt, 6e-7),
        (Activation::Log, 6e-7),
        (Activation::Abs, 0.0),
        (Activation::Reciprocal, 6e-7),
        (Activation::Erf, 6e-7),
        (Activation::Floor, 0.0),
        (Activation::Ceil, 0.0),
        (Activation::Round, 0.0),
        (Activation::Trunc, 0.0),
        (Activation::Sign, 0.0),
        (Activation::Sin, 6e-7),
        (Activation::Cos, 6e-7),
    ];

    fn inputs() -> Vec<f32> {
        let mut x: Vec<f32> = (-200_000..=200_000i32).map(|i| i as f32 * 5e-4).collect();
        x.extend((-4000..=4000i32).map(|i| i as f32 * 2.5e-4));
        x.extend((-20_000..=20_000i32).map(|i| i as f32 * 0.0517));
        for magnitude in
            [0.0, 1e-40, 1e-30, 1e-10, 0.625, 88.0, 87.4, 1e3, 1e10, 1e18, 1e19, 1e30, f32::MAX, f32::INFINITY]
        {
            x.extend([magnitude, -magnitude]);
        }
        x.extend([f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001), f32::from_bits(0xffff_ffff)]);
        x
    }

    #[test]
    fn activations_follow_the_reference_everywhere() {
        let mut gpu = gpu();
        let x = inputs();
        let input = gpu.upload(&x);
        let mut failures = Vec::new();
        for (activation, tolerance) in ACTIVATIONS {
            let output = gpu.empty(x.len());
            gpu.run(|recorder| encode_map(recorder, input.view(), activation, output.view()));
            let mut worst = (0.0f64, 0.0f32);
            let mut wrong = None;
            for (&x, &y) in x.iter().zip(&gpu.read(&output)) {
                let expected = activation.apply_f64(f64::from(x));
                // Beyond f32 the result overflows; a few units in the last place before that it may.
                let expected = if expected.abs() > f64::from(f32::MAX) * (1.0 - 1e-6) {
                    expected.signum() * f64::INFINITY
                } else {
                    expected
                };
                if expected.is_nan() || expected.is_infinite() {
                    if !(y.is_nan() && expected.is_nan()
                        || f64::from(y) == expected
                        || y.abs() > 3.4e38 && expected.is_infinite())
                    {
                        wrong.get_or_insert(format!("{activation:?}({x:e}) = {y:e}, expected {expected:e}"));
                    }
                    continue;
                }
                let error = (f64::from(y) - expected).abs() / expected.abs().max(1.0);
                if error > worst.0 || error.is_nan() {
                    worst = (error, x);
                }
            }
            eprintln!("{activation:?}: worst {:.2e} at {:e}", worst.0, worst.1);
            failures.extend(wrong);
            if worst.0 > tolerance || worst.0.is_nan() {
                failures.push(format!("{activation:?}: error {:.2e} at {:e}", worst.0, worst.1));
            }
        }
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }

    #[test]
    fn small_arguments_keep_their_relative_accuracy() {
        let mut gpu = gpu();
        let x: Vec<f32> = (-30..0i32).map(|e| 2f32.powi(e) * 0.62).collect();
        let input = gpu.upload(&x);
        for activation in
            [Activation::Tanh, Activation::Elu { alpha: 1.0 }, Activation::Gelu, Activation::Erf, Activation::Sin]
        {
            let output = gpu.empty(x.len());
            gpu.run(|recorder| encode_map(recorder, input.view(), activation, output.view()));
            for (&x, &y) in x.iter().zip(&gpu.read(&output)) {
                let expected = activation.apply_f64(f64::from(x));
                assert!(((f64::from(y) - expected) / expected).abs() <= 4e-7, "{activation:?}({x:e}) = {y:e}");
            }
        }
    }

    #[test]
    fn an_infinite_parameter_other_than_a_bound_is_refused() {
        let key = PipelineKey::new(&ELEMENTWISE);
        assert!(with_activation(key.clone(), ACTIVATION, Activation::Elu { alpha: f32::NAN }).is_err());
        assert!(with_activation(key, ACTIVATION, Activation::RELU).is_ok());
    }

    /// The element of a tensor of `shape` at `index`, axes of extent 1 repeated.
    fn element(values: &[f32], shape: &[usize], index: &[usize]) -> f32 {
        let at = shape.iter().zip(index).fold(0, |at, (&extent, &i)| at * extent + if extent == 1 { 0 } else { i });
        values[at]
    }

    const ALL: [CombineOp; 9] = [
        CombineOp::Add,
        CombineOp::Subtract,
        CombineOp::Multiply,
        CombineOp::Divide,
        CombineOp::Maximum,
        CombineOp::Minimum,
        CombineOp::Equal,
        CombineOp::Less,
        CombineOp::Mask,
    ];

    #[test]
    fn combine_broadcasts_like_plain_loops() {
        let mut gpu = gpu();
        let mut random = Random::new(3);
        let shapes: [[&[usize]; 3]; 6] = [
            [&[7], &[7], &[7]],
            [&[2, 3, 5], &[2, 3, 5], &[2, 3, 5]],
            [&[2, 3, 5], &[1, 1, 5], &[2, 3, 5]],
            [&[2, 1, 5], &[2, 3, 1], &[2, 3, 5]],
            [&[2, 1, 2, 1, 3, 1], &[1, 3, 1, 2, 1, 2], &[2, 3, 2, 2, 3, 2]],
            [&[1, 1], &[1, 1], &[1, 1]],
        ];
        for [left_shape, right_shape, shape] in shapes {
            let size = |shape: &[usize]| shape.iter().product::<usize>();
            let mut left_values = random.values(size(left_shape), 2.0);
            let mut right_values = random.values(size(right_shape), 2.0);
            left_values[0] = f32::NAN;
            if let [_, left, ..] = &mut left_values[..] {
                *left = right_values[1 % right_values.len()];
            }
            right_values[0] = if shape.len() == 1 { -0.0 } else { f32::NAN };
            let (left, right) = (gpu.upload(&left_values), gpu.upload(&right_values));
            for op in ALL {
                let output = gpu.empty(size(shape));
                gpu.run(|recorder| {
                    encode_combine(
                        recorder,
                        op,
                        (left.view(), left_shape),
                        (right.view(), right_shape),
                        (output.view(), shape),
                    )
                });
                let expected: Vec<f64> = (0..size(shape))
                    .map(|flat| {
                        let index = unravel(flat, shape);
                        let (a, b) =
                            (element(&left_values, left_shape, &index), element(&right_values, right_shape, &index));
                        f64::from(match op {
                            CombineOp::Add => a + b,
                            CombineOp::Subtract => a - b,
                            CombineOp::Multiply => a * b,
                            CombineOp::Divide => a / b,
                            CombineOp::Equal => f32::from(u8::from(a == b)),
                            CombineOp::Less => f32::from(u8::from(a < b)),
                            CombineOp::Minimum if a.is_nan() || b.is_nan() => f32::NAN,
                            CombineOp::Minimum => a.min(b),
                            CombineOp::Maximum => {
                                if a.is_nan() || b.is_nan() {
                                    f32::NAN
                                } else {
                                    a.max(b)
                                }
                            }
                            CombineOp::Mask if b == 0.0 => 0.0,
                            CombineOp::Mask => a,
                        })
                    })
                    .collect();
                assert_close(
                    &format!("{op:?} {shape:?}"),
                    &gpu.read(&output),
                    &expected,
                    if op == CombineOp::Divide { 3e-7 } else { 0.0 },
                );
            }
        }
    }

    #[test]
    fn copies_move_blocks_and_repeat_axes() {
        let mut gpu = gpu();
        // A block of 2 positions of axis 1, from 1 to 3, axis 0 repeated.
        let (input_shape, output_shape) = ([1, 4, 3], [2, 6, 3]);
        let values = Random::new(5).values(12, 1.0);
        let (input, output) = (gpu.upload(&values), gpu.upload(&[9.0; 36]));
        gpu.run(|recorder| {
            let block = Block { axis: 1, from: 1, step: 1, to: 3, extent: 2 };
            encode_copy(recorder, (input.view(), &input_shape), (output.view(), &output_shape), block)
        });
        let actual = gpu.read(&output);
        for (flat, &value) in actual.iter().enumerate() {
            let index = unravel(flat, &output_shape);
            let inside = (3..5).contains(&index[1]);
            let expected = if inside { values[(index[1] - 2) * 3 + index[2]] } else { 9.0 };
            assert_eq!(value, expected, "{index:?}");
        }
    }

    #[test]
    fn copies_go_backwards_and_skip() {
        let mut gpu = gpu();
        let values: Vec<f32> = (0..30u8).map(f32::from).collect();
        let input = gpu.upload(&values);
        for (from, step, extent) in [(4, -1, 5), (4, -2, 3), (0, 2, 3), (1, 3, 2), (3, i64::MAX, 1)] {
            let output = gpu.upload(&[9.0; 36]);
            let block = Block { axis: 1, from, step, to: 1, extent };
            gpu.run(|recorder| encode_copy(recorder, (input.view(), &[2, 5, 3]), (output.view(), &[2, 6, 3]), block));
            for (flat, &value) in gpu.read(&output).iter().enumerate() {
                let index = unravel(flat, &[2, 6, 3]);
                let position = (0..extent).find(|&position| index[1] == 1 + position);
                let read = |position: usize| {
                    values[(index[0] * 5 + (from as i64 + position as i64 * step) as usize) * 3 + index[2]]
                };
                assert_eq!(value, position.map_or(9.0, read), "{from} {step} {index:?}");
            }
        }
    }

    #[test]
    fn axes_change_places() {
        let mut gpu = gpu();
        let shape = [2, 3, 5, 4];
        let values = Random::new(9).values(120, 1.0);
        let input = gpu.upload(&values);
        for axes in [[0, 1, 2, 3], [0, 2, 1, 3], [0, 3, 2, 1], [0, 3, 1, 2]] {
            let turned = axes.map(|axis: usize| shape[axis]);
            let output = gpu.empty(120);
            gpu.run(|recorder| encode_permute(recorder, (input.view(), &shape), &axes, (output.view(), &turned)));
            for (flat, value) in gpu.read(&output).into_iter().enumerate() {
                let index = unravel(flat, &turned);
                let mut from = [0; 4];
                axes.iter().zip(index).for_each(|(&axis, i)| from[axis] = i);
                assert_eq!(value, element(&values, &shape, &from), "{axes:?} {flat}");
            }
        }
    }

    #[test]
    fn more_elements_than_workgroups_of_one_dimension() {
        let mut gpu = gpu();
        let len = 65_536 * 256 + 300;
        let values: Vec<f32> = (0..len as u32).map(|i| (i % 8191) as f32).collect();
        let (input, output) = (gpu.upload(&values), gpu.empty(len));
        gpu.run(|recorder| encode_map(recorder, input.view(), Activation::Linear, output.view()));
        assert!(gpu.read(&output) == values);
    }
}
