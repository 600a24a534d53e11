//! Walks over several axes of up to three tensors at once.

use crate::{
    error::{Error, Result},
    gpu::recorder::word,
};

/// One axis of a walk: its extent, then the distance of neighbours in each of three tensors. Distances
/// may be 0, where an axis is repeated, and negative.
pub(super) type Axis = [isize; 4];

/// The same walk over fewer axes: extents of 1 dropped, axes that follow each other everywhere joined.
pub(super) fn merged(axes: &[Axis]) -> Vec<Axis> {
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

/// Distance of neighbours along each axis of a row-major tensor.
pub(super) fn strides(shape: &[usize]) -> Vec<isize> {
    (0..shape.len()).map(|axis| signed(shape.iter().skip(axis + 1).product())).collect()
}

/// The same with 0 for axes of extent 1, which are repeated.
pub(super) fn broadcast(shape: &[usize]) -> Vec<isize> {
    strides(shape).into_iter().zip(shape).map(|(stride, &extent)| if extent == 1 { 0 } else { stride }).collect()
}

/// A size that memory holds.
pub(super) fn signed(size: usize) -> isize {
    size.cast_signed()
}

/// The axes as parameters, four words each, for at most `most` of them. Kernels add in 32 bits, where what is
/// negative wraps round to the right place.
pub(super) fn words(axes: &[Axis], most: usize) -> Result<Vec<u32>> {
    if axes.len() > most {
        return Err(Error::internal(format!("a walk over {} axes", axes.len())));
    }
    let value = |&value: &isize| match i32::try_from(value) {
        Ok(value) => Ok(value.cast_unsigned()),
        Err(_) => word(value.cast_unsigned()),
    };
    let mut words = axes.iter().flatten().map(value).collect::<Result<Vec<_>>>()?;
    words.resize(most * 4, 0);
    Ok(words)
}
