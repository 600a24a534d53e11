//! Steps that make or move values and compute none.

use super::workspace::Memory;
use crate::{
    error::{Error, Result},
    plan::{BufferId, MAX_RANK, WeightId},
};

pub(super) fn constant(memory: &Memory<'_>, weight: WeightId, y: &mut [f32]) -> Result<()> {
    y.copy_from_slice(memory.weight(weight)?);
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

pub(super) fn permute(
    memory: &Memory<'_>,
    input: BufferId,
    axes: &[usize],
    output: BufferId,
    y: &mut [f32],
) -> Result<()> {
    let (x_shape, y_shape) = (memory.bound.shape(input), memory.bound.shape(output));
    let walk = y_shape.iter().zip(axes).enumerate().map(|(axis, (&extent, &from))| Axis {
        extent,
        x: dense_stride(x_shape, from),
        y: dense_stride(y_shape, axis),
    });
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
    let step = isize::try_from(block.step).map_err(|_| Error::internal("a step beyond the address space"))?;
    let walk = (0..y_shape.len()).map(|axis| {
        let (x, y) = (dense_stride(x_shape, axis), dense_stride(y_shape, axis));
        match axis {
            // Never repeated, even with extent 1. With one position the step does not matter.
            _ if axis == block.axis => Axis { extent: block.extent, x: x.wrapping_mul(step), y },
            _ => Axis { extent: y_shape[axis], x: if x_shape[axis] == 1 { 0 } else { x }, y },
        }
    });
    let start = |position: usize, shape: &[usize]| signed(position).wrapping_mul(dense_stride(shape, block.axis));
    copy_along(memory.read(input)?, y, walk, [start(block.from, x_shape), start(block.to, y_shape)])
}

/// One axis of a walk over two tensors: its extent and the distance of neighbours in each.
#[derive(Clone, Copy)]
struct Axis {
    extent: usize,
    x: isize,
    y: isize,
}

impl Axis {
    const ONE: Self = Self { extent: 1, x: 1, y: 1 };
}

/// Copies the elements of `x` to `y` on a walk along `axes` from `start` on.
fn copy_along(x: &[f32], y: &mut [f32], axes: impl Iterator<Item = Axis>, start: [isize; 2]) -> Result<()> {
    let Some((axes, count)) = merged(axes) else { return Ok(()) };
    let (line, outer) = match axes[..count].split_last() {
        Some((&line, outer)) => (line, outer),
        None => (Axis::ONE, [].as_slice()),
    };
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

/// The same walk over fewer axes, and how many: extents of 1 dropped, axes that follow each other in both joined. `None`
/// if there is nothing to walk over.
fn merged(axes: impl Iterator<Item = Axis>) -> Option<([Axis; MAX_RANK], usize)> {
    let (mut out, mut count) = ([Axis::ONE; MAX_RANK], 0usize);
    for axis in axes.filter(|axis| axis.extent != 1) {
        if axis.extent == 0 {
            return None;
        }
        let extent = signed(axis.extent);
        match count.checked_sub(1).and_then(|last| out.get_mut(last)) {
            Some(outer) if outer.x == axis.x.wrapping_mul(extent) && outer.y == axis.y * extent => {
                *outer = Axis { extent: outer.extent * axis.extent, ..axis };
            }
            _ => {
                out[count] = axis;
                count += 1;
            }
        }
    }
    Some((out, count))
}

/// Sizes that memory holds fit.
fn signed(size: usize) -> isize {
    size.cast_signed()
}

/// Distance of neighbours along an axis of a row-major tensor.
fn dense_stride(shape: &[usize], axis: usize) -> isize {
    signed(shape.iter().skip(axis + 1).product())
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
