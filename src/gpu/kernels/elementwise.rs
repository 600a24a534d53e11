//! `elementwise.wgsl`: maps, broadcasting arithmetic and block copies.

use super::{ACTIVATION, with_activation, workgroups};
use crate::{
    activation::Activation,
    error::{Error, Result},
    gpu::{
        kernel::{Binding, Kernel, Part, PipelineKey},
        recorder::{Recorder, View, word},
    },
    plan::{CombineOp, MAX_RANK},
};

pub(crate) static ELEMENTWISE: Kernel = Kernel {
    name: "elementwise",
    parts: &[Part::Common, Part::Activation, Part::ActivationOne],
    source: include_str!("../../../shaders/elementwise.wgsl"),
    bindings: &[
        Binding::read("left", "[..]"),
        Binding::read("right", "[..]"),
        Binding::read_write("output", "[..]"),
    ],
    params_words: 32,
    workgroup_bytes: 0,
    invocations: 256,
};

/// `OPERATION` of the kernel.
const COPY: u32 = 0;

/// Cost of one element, in multiply-adds.
const COST: f64 = 8.0;

/// One axis: extent, then the strides of left, right and output.
type Axis = [usize; 4];

/// `output[..] = activation(input[..])`
pub(crate) fn encode_map(recorder: &mut Recorder<'_>, input: View<'_>, activation: Activation, output: View<'_>) -> Result<()> {
    let axes = [[output.len, 1, 0, 1]];
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
    };
    let (left_strides, right_strides, strides) = (broadcast(left.1), broadcast(right.1), strides(output.1));
    let axes: Vec<Axis> = (0..output.1.len())
        .map(|axis| [output.1[axis], at(&left_strides, axis), at(&right_strides, axis), strides[axis]])
        .collect();
    encode(recorder, operation, Activation::Linear, &axes, [0; 3], [Some(left.0), Some(right.0)], output.0)
}

/// [`crate::plan::Op::Copy`]: `extent` positions along `axis`, input axes of extent 1 repeated.
pub(crate) fn encode_copy(
    recorder: &mut Recorder<'_>,
    input: (View<'_>, &[usize], usize),
    output: (View<'_>, &[usize], usize),
    axis: usize,
    extent: usize,
) -> Result<()> {
    let (input, input_shape, input_start) = input;
    let (output, output_shape, output_start) = output;
    let mut input_strides = broadcast(input_shape);
    let input_step = at(&strides(input_shape), axis);
    if let Some(stride) = input_strides.get_mut(axis) {
        *stride = input_step;
    }
    let output_strides = strides(output_shape);
    let axes: Vec<Axis> = (0..output_shape.len())
        .map(|i| [if i == axis { extent } else { output_shape[i] }, at(&input_strides, i), 0, output_strides[i]])
        .collect();
    let starts = [input_start * input_step, 0, output_start * at(&output_strides, axis)];
    encode(recorder, COPY, Activation::Linear, &axes, starts, [Some(input), None], output)
}

/// Copies `rows` rows of `width` elements, with other distances between rows and other starts.
pub(crate) fn encode_copy_rows(
    recorder: &mut Recorder<'_>,
    rows: usize,
    width: usize,
    input: (View<'_>, usize, usize),
    output: (View<'_>, usize, usize),
) -> Result<()> {
    let axes = [[rows, input.2, 0, output.2], [width, 1, 0, 1]];
    encode(recorder, COPY, Activation::Linear, &axes, [input.1, 0, output.1], [Some(input.0), None], output.0)
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
    let count = axes.iter().map(|axis| axis[0]).product::<usize>();
    if count == 0 {
        return Ok(());
    }
    let axes = merged(axes);
    if axes.len() > MAX_RANK {
        return Err(Error::internal(format!("elementwise step of rank {}", axes.len())));
    }
    let key = PipelineKey::new(&ELEMENTWISE).constant("OPERATION", operation);
    let key = with_activation(key, ACTIVATION, activation)?;
    let bound = recorder.bind(&key, &[inputs[0], inputs[1], Some(output)])?;
    let mut params = vec![word(count)?, word(axes.len())?];
    for start in starts {
        params.push(word(start)?);
    }
    params.resize(8, 0);
    for &value in axes.iter().flatten() {
        params.push(word(value)?);
    }
    params.resize(ELEMENTWISE.params_words, 0);
    recorder.dispatch(&bound, &params, workgroups(count), count as f64 * COST)
}

/// The same walk over fewer axes: extents of 1 dropped, axes that follow each other everywhere joined.
fn merged(axes: &[Axis]) -> Vec<Axis> {
    let mut out: Vec<Axis> = Vec::new();
    for &axis in axes.iter().filter(|axis| axis[0] != 1) {
        match out.last_mut() {
            Some(outer) if (1..4).all(|i| outer[i] == axis[0] * axis[i]) => {
                *outer = [outer[0] * axis[0], axis[1], axis[2], axis[3]];
            }
            _ => out.push(axis),
        }
    }
    out
}

fn strides(shape: &[usize]) -> Vec<usize> {
    let mut stride = 1;
    let mut strides: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&extent| {
            let this = stride;
            stride *= extent;
            this
        })
        .collect();
    strides.reverse();
    strides
}

/// Strides that stay in place along axes of extent 1.
fn broadcast(shape: &[usize]) -> Vec<usize> {
    strides(shape).into_iter().zip(shape).map(|(stride, &extent)| if extent == 1 { 0 } else { stride }).collect()
}

fn at(strides: &[usize], axis: usize) -> usize {
    strides.get(axis).copied().unwrap_or(0)
}
