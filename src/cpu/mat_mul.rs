//! Products of two values of a run, matrix by matrix.

use super::{
    packed::Packed,
    product::{Rows, linear},
    workspace::{Memory, Scratch},
};
use crate::{
    activation::Activation,
    error::{Error, Result},
    plan::{BufferId, Precision},
};

pub(super) fn mat_mul(
    memory: &Memory<'_>,
    left: BufferId,  // [.., m, k]
    right: BufferId, // [.., k, n] or [.., n, k]
    transposed: bool,
    output: BufferId, // [.., m, n]
    y: &mut [f32],
    scratch: &mut Scratch,
) -> Result<()> {
    let shape = |id| memory.bound.shape(id);
    let (&[ref left_axes @ .., m, k], &[ref right_axes @ .., _, _], &[ref axes @ .., _, n]) =
        (shape(left), shape(right), shape(output))
    else {
        return Err(Error::internal("matrices of that rank"));
    };
    if k == 0 {
        y.fill(0.0);
        return Ok(());
    }
    let (x, right) = (memory.read(left)?, memory.read(right)?);
    if !matches!(scratch, Scratch::Matrix(_)) {
        *scratch = Scratch::Matrix(Packed::default());
    }
    let Scratch::Matrix(weight) = scratch else { return Ok(()) };
    let mut packed = None;
    for (index, y) in y.chunks_exact_mut(m * n).enumerate() {
        let matrix = broadcast(index, axes, right_axes);
        // A matrix that is repeated is packed once.
        if packed != Some(matrix) {
            let values = &right[matrix * k * n..][..k * n];
            if transposed {
                weight.set(values, None, k, Precision::F32)?
            } else {
                weight.set_columns(values, n)?
            }
            packed = Some(matrix);
        }
        let x = &x[broadcast(index, axes, left_axes) * m * k..][..m * k];
        linear(Rows::new(x, k, m), weight, Activation::Linear, y);
    }
    Ok(())
}

/// The place among `axes`, of which those with extent 1 are repeated, of matrix `index` of `whole`.
fn broadcast(index: usize, whole: &[usize], axes: &[usize]) -> usize {
    let (mut rest, mut place, mut stride) = (index, 0, 1);
    for (&extent, &own) in whole.iter().zip(axes).rev() {
        place += if own == 1 { 0 } else { rest % extent * stride };
        (rest, stride) = (rest / extent, stride * own);
    }
    place
}
