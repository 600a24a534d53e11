//! Look-ups, broadcasts and copies.

use super::Memory;
use crate::{
    error::{Error, Result},
    plan::{BufferId, CombineOp, WeightId},
};

pub(super) fn gather(
    memory: &Memory<'_>,
    ids: BufferId,   // [..]
    table: WeightId, // [vocabulary, embedding]
    y: &mut [f32],   // [.., embedding]
) -> Result<()> {
    let ids = memory.read(ids)?;
    let table = memory.weight(table)?;
    let Some(width) = y.len().checked_div(ids.len()).filter(|&width| width > 0) else { return Ok(()) };
    for (&id, y) in ids.iter().zip(y.chunks_exact_mut(width)) {
        let row = whole(id).and_then(|row| table.get(row.checked_mul(width)?..)?.get(..width));
        y.copy_from_slice(row.ok_or_else(|| Error::internal(format!("id {id} has no embedding")))?);
    }
    Ok(())
}

/// `id` as an index, if it is one.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn whole(id: f32) -> Option<usize> {
    // Checked to be whole and in range.
    (id >= 0.0 && id <= crate::plan::MAX_ID as f32 && id.fract() == 0.0).then_some(id as usize)
}

pub(super) fn combine(
    memory: &Memory<'_>,
    op: CombineOp,
    operands: [BufferId; 2],
    output: BufferId,
    y: &mut [f32],
) -> Result<()> {
    match op {
        CombineOp::Add => combine_with(memory, operands, output, y, |a, b| a + b),
        CombineOp::Subtract => combine_with(memory, operands, output, y, |a, b| a - b),
        CombineOp::Multiply => combine_with(memory, operands, output, y, |a, b| a * b),
        CombineOp::Divide => combine_with(memory, operands, output, y, |a, b| a / b),
        CombineOp::Minimum => combine_with(memory, operands, output, y, minimum),
        CombineOp::Equal => combine_with(memory, operands, output, y, |a, b| f32::from(u8::from(a == b))),
        CombineOp::Less => combine_with(memory, operands, output, y, |a, b| f32::from(u8::from(a < b))),
        CombineOp::Maximum => combine_with(memory, operands, output, y, maximum),
        CombineOp::Mask => combine_with(memory, operands, output, y, |a, b| if b == 0.0 { 0.0 } else { a }),
    }
}

fn combine_with(
    memory: &Memory<'_>,
    [left, right]: [BufferId; 2],
    output: BufferId,
    y: &mut [f32],
    op: impl Fn(f32, f32) -> f32,
) -> Result<()> {
    let (a, b) = (memory.read(left)?, memory.read(right)?);
    let shape = memory.bound.shape(output);
    if a.len() == y.len() && b.len() == y.len() {
        for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
            *y = op(a, b);
        }
        return Ok(());
    }
    let (a_strides, b_strides) = (strides(memory.bound.shape(left)), strides(memory.bound.shape(right)));
    let width = shape.last().copied().unwrap_or(1);
    let (a_step, b_step) = (last(&a_strides), last(&b_strides));
    for (row, y) in y.chunks_exact_mut(width.max(1)).enumerate() {
        let (a_start, b_start) = (offset(row, shape, &a_strides), offset(row, shape, &b_strides));
        for (i, y) in y.iter_mut().enumerate() {
            *y = op(a[a_start + i * a_step], b[b_start + i * b_step]);
        }
    }
    Ok(())
}

/// A block of positions along an axis.
pub(super) struct Block {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) axis: usize,
    pub(super) extent: usize,
}

pub(super) fn copy(memory: &Memory<'_>, input: BufferId, output: BufferId, block: &Block, y: &mut [f32]) -> Result<()> {
    let x = memory.read(input)?;
    let (x_shape, y_shape) = (memory.bound.shape(input), memory.bound.shape(output));
    let &Block { from, to, axis, extent } = block;
    let same = |range: std::ops::Range<usize>| x_shape.get(range.clone()) == y_shape.get(range);
    if same(0..axis) && same(axis + 1..y_shape.len()) {
        let inner: usize = y_shape.iter().skip(axis + 1).product();
        let (x_size, y_size) = (x_shape[axis] * inner, y_shape[axis] * inner);
        let outer: usize = y_shape.iter().take(axis).product();
        for i in 0..outer {
            let x = &x[i * x_size + from * inner..][..extent * inner];
            y[i * y_size + to * inner..][..extent * inner].copy_from_slice(x);
        }
        return Ok(());
    }
    // The block's own shape; the axis is never repeated, even with extent 1.
    let mut shape = y_shape.to_vec();
    shape[axis] = extent;
    let mut x_strides = strides(x_shape);
    let (x_step, y_strides) = (x_shape.iter().skip(axis + 1).product(), dense_strides(y_shape));
    x_strides[axis] = x_step;
    let (x_first, y_first) = (from * x_step, to * y_strides[axis]);
    let width = last(&shape);
    let rows: usize = shape.iter().rev().skip(1).product();
    for row in 0..if width == 0 { 0 } else { rows } {
        let x_start = x_first + offset(row, &shape, &x_strides);
        let y_start = y_first + offset(row, &shape, &y_strides);
        for i in 0..width {
            y[y_start + i * last(&y_strides)] = x[x_start + i * last(&x_strides)];
        }
    }
    Ok(())
}

pub(super) fn not_equal(
    memory: &Memory<'_>,
    input: BufferId, // [.., width]
    value: f32,
    width: usize,
    y: &mut [f32], // [..]
) -> Result<()> {
    for (y, group) in y.iter_mut().zip(memory.read(input)?.chunks(width.max(1))) {
        *y = if group.iter().any(|&x| x != value) { 1.0 } else { 0.0 };
    }
    Ok(())
}

/// The larger; a NaN on either side gives NaN.
pub(super) fn maximum(a: f32, b: f32) -> f32 {
    if a.is_nan() || a > b { a } else { b }
}

/// The smaller; a NaN on either side gives NaN.
pub(super) fn minimum(a: f32, b: f32) -> f32 {
    if a.is_nan() || a < b { a } else { b }
}

/// Distance of neighbours along each axis of a row-major tensor.
fn dense_strides(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|axis| shape.iter().skip(axis + 1).product()).collect()
}

/// The same with 0 for axes of extent 1, which are repeated.
fn strides(shape: &[usize]) -> Vec<usize> {
    let dense = dense_strides(shape).into_iter().zip(shape);
    dense.map(|(stride, &extent)| if extent == 1 { 0 } else { stride }).collect()
}

/// Where the `row`-th line along the last axis of `shape` starts under `strides`.
fn offset(row: usize, shape: &[usize], strides: &[usize]) -> usize {
    let (mut rest, mut offset) = (row, 0);
    for (&extent, &stride) in shape.iter().zip(strides).rev().skip(1) {
        offset += rest % extent.max(1) * stride;
        rest /= extent.max(1);
    }
    offset
}

fn last(sizes: &[usize]) -> usize {
    sizes.last().copied().unwrap_or(0)
}
