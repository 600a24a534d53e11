//! Look-ups in tables and arithmetic with broadcasts.

use super::workspace::Memory;
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
    let (a_shape, b_shape) = (memory.bound.shape(left), memory.bound.shape(right));
    let width = shape.last().copied().unwrap_or(1);
    let step = |shape: &[usize]| usize::from(shape.last().is_some_and(|&extent| extent != 1));
    let (a_step, b_step) = (step(a_shape), step(b_shape));
    for (row, y) in y.chunks_exact_mut(width.max(1)).enumerate() {
        let (a_start, b_start) = (offset(row, shape, a_shape), offset(row, shape, b_shape));
        for (i, y) in y.iter_mut().enumerate() {
            *y = op(a[a_start + i * a_step], b[b_start + i * b_step]);
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

/// Where the `row`-th line along the last axis of `shape` starts in a row-major tensor of `own` shape, whose axes of extent
/// 1 are repeated.
fn offset(row: usize, shape: &[usize], own: &[usize]) -> usize {
    let (mut rest, mut offset) = (row, 0);
    let mut stride = own.last().copied().unwrap_or(1);
    for (&extent, &own) in shape.iter().zip(own).rev().skip(1) {
        offset += if own == 1 { 0 } else { rest % extent.max(1) * stride };
        (rest, stride) = (rest / extent.max(1), stride * own);
    }
    offset
}
