//! Steps that make or move values and compute none.

use super::Memory;
use crate::{
    error::{Error, Result},
    plan::{BufferId, WeightId},
};

pub(super) fn constant(memory: &Memory<'_>, weight: WeightId, y: &mut [f32]) -> Result<()> {
    let weight = memory.plan.weights.get(weight.index()).ok_or_else(|| Error::internal("no such weight"))?;
    // The model's own values, whatever the precision of the plan.
    y.copy_from_slice(&weight.tensor.to_f32());
    Ok(())
}

#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // rounding is the meaning
pub(super) fn ramp(shape: &[usize], start: f32, step: f32, axis: usize, y: &mut [f32]) {
    let inner: usize = shape.iter().skip(axis + 1).product();
    for line in y.chunks_exact_mut((shape[axis] * inner).max(1)) {
        for (position, y) in line.chunks_exact_mut(inner.max(1)).enumerate() {
            y.fill((f64::from(start) + f64::from(step) * position as f64) as f32);
        }
    }
}

pub(super) fn permute(memory: &Memory<'_>, input: BufferId, axes: &[usize], y: &mut [f32]) -> Result<()> {
    let x_shape = memory.bound.shape(input);
    let x_strides = dense_strides(x_shape);
    let shape: Vec<usize> = axes.iter().map(|&axis| x_shape[axis]).collect();
    let walk = shape.iter().zip(dense_strides(&shape)).zip(axes);
    let walk = walk.map(|((&extent, y), &axis)| Axis { extent, x: x_strides[axis], y }).collect();
    copy_along(memory.read(input)?, y, walk, [0, 0])
}

/// A block of positions along an axis.
pub(super) struct Block {
    pub(super) from: usize,
    pub(super) step: i64,
    pub(super) to: usize,
    pub(super) axis: usize,
    pub(super) extent: usize,
}

pub(super) fn copy(memory: &Memory<'_>, input: BufferId, output: BufferId, block: &Block, y: &mut [f32]) -> Result<()> {
    let (x_shape, y_shape) = (memory.bound.shape(input), memory.bound.shape(output));
    let (x_strides, y_strides) = (dense_strides(x_shape), dense_strides(y_shape));
    let step = isize::try_from(block.step).map_err(|_| Error::internal("a step beyond the address space"))?;
    let walk = (0..y_shape.len()).map(|axis| {
        let (x, y) = (x_strides[axis], y_strides[axis]);
        match axis {
            // Never repeated, even with extent 1. With one position the step does not matter.
            _ if axis == block.axis => Axis { extent: block.extent, x: x.wrapping_mul(step), y },
            _ => Axis { extent: y_shape[axis], x: if x_shape[axis] == 1 { 0 } else { x }, y },
        }
    });
    let start = |position: usize, strides: &[isize]| signed(position).wrapping_mul(strides[block.axis]);
    copy_along(memory.read(input)?, y, walk.collect(), [start(block.from, &x_strides), start(block.to, &y_strides)])
}

/// One axis of a walk over two tensors: its extent and the distance of neighbours in each.
#[derive(Clone, Copy)]
struct Axis {
    extent: usize,
    x: isize,
    y: isize,
}

/// Copies the elements of `x` to `y` on a walk along `axes` from `start` on.
fn copy_along(x: &[f32], y: &mut [f32], axes: Vec<Axis>, start: [isize; 2]) -> Result<()> {
    if axes.iter().any(|axis| axis.extent == 0) {
        return Ok(());
    }
    let mut outer = merged(axes);
    let line = outer.pop().unwrap_or(Axis { extent: 1, x: 1, y: 1 });
    let lines: usize = outer.iter().map(|axis| axis.extent).product();
    let outside = || Error::internal("a copy outside its buffers");
    for index in 0..lines {
        let (mut rest, [mut from, mut to]) = (index, start);
        for axis in outer.iter().rev() {
            let position = signed(rest % axis.extent);
            (from, to, rest) = (from + position * axis.x, to + position * axis.y, rest / axis.extent);
        }
        if (line.x, line.y) == (1, 1) {
            let range = |start: isize| usize::try_from(start).map(|start| start..start + line.extent);
            let from = range(from).ok().and_then(|range| x.get(range)).ok_or_else(outside)?;
            let to = range(to).ok().and_then(|range| y.get_mut(range)).ok_or_else(outside)?;
            to.copy_from_slice(from);
        } else {
            for position in 0..line.extent {
                let at = |start: isize, step: isize| start.wrapping_add(signed(position) * step).cast_unsigned();
                *y.get_mut(at(to, line.y)).ok_or_else(outside)? = *x.get(at(from, line.x)).ok_or_else(outside)?;
            }
        }
    }
    Ok(())
}

/// The same walk over fewer axes: extents of 1 dropped, axes that follow each other in both joined.
fn merged(axes: Vec<Axis>) -> Vec<Axis> {
    let mut out: Vec<Axis> = Vec::new();
    for axis in axes.into_iter().filter(|axis| axis.extent != 1) {
        let extent = signed(axis.extent);
        match out.last_mut() {
            Some(outer) if outer.x == axis.x.wrapping_mul(extent) && outer.y == axis.y * extent => {
                *outer = Axis { extent: outer.extent * axis.extent, ..axis };
            }
            _ => out.push(axis),
        }
    }
    out
}

/// Sizes that memory holds fit.
fn signed(size: usize) -> isize {
    size.cast_signed()
}

/// Distance of neighbours along each axis of a row-major tensor.
fn dense_strides(shape: &[usize]) -> Vec<isize> {
    (0..shape.len()).map(|axis| signed(shape.iter().skip(axis + 1).product())).collect()
}

/// How windows lie on their axis.
pub(super) struct Windows {
    pub(super) stride: usize,
    pub(super) dilation: usize,
    pub(super) before: usize,
    pub(super) fill: f32,
}

pub(super) fn window(
    memory: &Memory<'_>,
    input: BufferId,  // [rows, len, channels]
    output: BufferId, // [rows, windows, width, channels]
    windows: &Windows,
    y: &mut [f32],
) -> Result<()> {
    let x = memory.read(input)?;
    let (&[_, len, channels], &[_, count, width, _]) = (memory.bound.shape(input), memory.bound.shape(output)) else {
        return Err(Error::internal("windows of that rank"));
    };
    // Neighbours in a window without gaps are neighbours in the input: one run.
    let run = if windows.dilation == 1 { width } else { 1 };
    for (index, y) in y.chunks_exact_mut(run * channels).enumerate() {
        let window = index / (width / run);
        let (row, window, k) = (window / count, window % count, index % (width / run) * run);
        let start = window * windows.stride + k * windows.dilation;
        // The part of the run that lies inside, in positions of the run.
        let first = windows.before.saturating_sub(start).min(run);
        let end = (windows.before + len).saturating_sub(start).clamp(first, run);
        let (before, rest) = y.split_at_mut(first * channels);
        let (inside, after) = rest.split_at_mut((end - first) * channels);
        before.fill(windows.fill);
        after.fill(windows.fill);
        if end > first {
            let from = row * len + start + first - windows.before;
            inside.copy_from_slice(&x[from * channels..][..inside.len()]);
        }
    }
    Ok(())
}

pub(super) fn take(
    memory: &Memory<'_>,
    input: BufferId, // [rows, len, ..]
    index: BufferId, // [rows, count]
    y: &mut [f32],   // [rows, count, ..]
) -> Result<()> {
    let (x, indices) = (memory.read(input)?, memory.read(index)?);
    let (len, count) = (memory.bound.shape(input)[1], memory.bound.shape(index)[1]);
    let width = y.len() / indices.len().max(1);
    for (at, (y, &index)) in y.chunks_exact_mut(width.max(1)).zip(indices).enumerate() {
        let position = at / count * len + nearest(index, len);
        y.copy_from_slice(&x[position * width..][..width]);
    }
    Ok(())
}

/// `index` as a position of an axis of `len`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a cast saturates, and NaN gives 0
fn nearest(index: f32, len: usize) -> usize {
    (index.round_ties_even() as usize).min(len - 1)
}
