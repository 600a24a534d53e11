//! How weights lie on a device. Matrices `[outputs, inputs]` become `[inputs / 4][outputs]` of four
//! consecutive inputs each, padded with zeros: neighbouring invocations take neighbouring outputs and
//! read neighbouring vectors. Embedding tables keep their order.

use std::ops::Range;

use super::recorder::View;
use crate::{
    error::{self, Error, Result},
    plan::Precision,
};

/// A part of a weight that fits one binding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window<'a> {
    /// First output, unit or id of the window.
    pub(crate) first: usize,
    /// Outputs, units or ids in the window.
    pub(crate) count: usize,
    pub(crate) view: View<'a>,
}

/// A weight on the device.
#[derive(Clone, Debug)]
pub(crate) struct Matrix<'a> {
    pub(crate) precision: Precision,
    /// In order, without gaps.
    pub(crate) windows: Vec<Window<'a>>,
}

/// The bytes of one window, ready for upload.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Packed {
    pub(crate) range: Range<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// Bytes of four weights.
pub(super) fn group_bytes(precision: Precision) -> usize {
    match precision {
        Precision::F32 => 16,
        Precision::F16 => 8,
    }
}

fn push_group(bytes: &mut Vec<u8>, group: [f32; 4], precision: Precision) {
    for value in group {
        match precision {
            Precision::F32 => bytes.extend_from_slice(&value.to_le_bytes()),
            Precision::F16 => bytes.extend_from_slice(&half::f16::from_f32(value).to_le_bytes()),
        }
    }
}

/// Cuts `0..count` into windows of at most `limit` bytes at `each` bytes apiece.
fn windows(what: &str, count: usize, each: usize, limit: u64) -> Result<Vec<Range<usize>>> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let fit = limit / each.max(1);
    if fit == 0 && count > 0 {
        return Err(Error::Limit {
            what: what.to_owned(),
            need: format!("{} in one binding", error::bytes(each as u64)),
            limit: format!("{} (max_storage_buffer_binding_size)", error::bytes(limit as u64)),
            hint: "use another device".to_owned(),
        });
    }
    Ok((0..count).step_by(fit.max(1)).map(|first| first..count.min(first.saturating_add(fit))).collect())
}

/// Packs rows of `values`, `[rows, inputs]`, as `[ceil(inputs / 4)][rows]` of four inputs.
pub(crate) fn pack_matrix(
    values: &[f32],
    inputs: usize,
    rows: impl Iterator<Item = usize> + Clone,
    precision: Precision,
) -> Vec<u8> {
    let groups = inputs.div_ceil(4);
    let mut bytes = Vec::with_capacity(groups * rows.clone().count() * group_bytes(precision));
    for group in 0..groups {
        for row in rows.clone() {
            let mut four = [0.0; 4];
            for (slot, k) in four.iter_mut().zip(4 * group..inputs) {
                *slot = values.get(row * inputs + k).copied().unwrap_or(0.0);
            }
            push_group(&mut bytes, four, precision);
        }
    }
    bytes
}

/// A matrix `[outputs, inputs]` in windows of outputs.
///
/// # Errors
/// [`Error::Limit`] if not even one output fits `max_binding` bytes.
pub(crate) fn pack_linear(
    values: &[f32],
    outputs: usize,
    inputs: usize,
    precision: Precision,
    max_binding: u64,
) -> Result<Vec<Packed>> {
    let each = inputs.div_ceil(4) * group_bytes(precision);
    let ranges = windows("a weight matrix", outputs, each, max_binding)?;
    Ok(ranges
        .into_iter()
        .map(|range| Packed { bytes: pack_matrix(values, inputs, range.clone(), precision), range })
        .collect())
}

/// The matrices `[gates * units, inputs]` of every direction that a recurrence multiplies its states
/// with, in windows of units: `[direction][ceil(inputs / 4)][gate][unit]` of four inputs.
///
/// # Errors
/// [`Error::Limit`] if not even one unit fits `max_binding` bytes.
pub(crate) fn pack_recurrent(
    directions: &[&[f32]],
    [gates, units, inputs]: [usize; 3],
    precision: Precision,
    max_binding: u64,
) -> Result<Vec<Packed>> {
    let each = directions.len() * gates * inputs.div_ceil(4) * group_bytes(precision);
    let ranges = windows("the recurrent weights", units, each, max_binding)?;
    Ok(ranges
        .into_iter()
        .map(|range| {
            let rows = (0..gates).flat_map(|gate| range.clone().map(move |unit| gate * units + unit));
            let bytes = directions.iter().flat_map(|values| pack_matrix(values, inputs, rows.clone(), precision));
            Packed { bytes: bytes.collect(), range }
        })
        .collect())
}

/// An embedding table `[ids, width]` in windows of ids: rows on end, the last vector padded.
///
/// # Errors
/// [`Error::Limit`] if not even one row fits `max_binding` bytes.
pub(crate) fn pack_table(
    values: &[f32],
    ids: usize,
    width: usize,
    precision: Precision,
    max_binding: u64,
) -> Result<Vec<Packed>> {
    let group = group_bytes(precision);
    let each = (width * group).div_ceil(4);
    let ranges = windows("an embedding table", ids, each, max_binding - max_binding % 16)?;
    Ok(ranges
        .into_iter()
        .map(|range| {
            let rows = values.get(range.start * width..range.end * width).unwrap_or(&[]);
            let mut bytes = Vec::with_capacity(rows.len().div_ceil(4) * group);
            for chunk in rows.chunks(4) {
                let mut four = [0.0; 4];
                four.iter_mut().zip(chunk).for_each(|(slot, value)| *slot = *value);
                push_group(&mut bytes, four, precision);
            }
            Packed { range, bytes }
        })
        .collect())
}

/// The vectors of every direction on end, zero where there is none; `None` if there is none at all.
pub(crate) fn pack_vectors(directions: &[Option<&[f32]>], len: usize) -> Option<Vec<f32>> {
    directions.iter().any(Option::is_some).then(|| {
        directions
            .iter()
            .flat_map(|bias| (0..len).map(move |i| bias.and_then(|b| b.get(i)).copied().unwrap_or(0.0)))
            .collect()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn floats(bytes: &[u8]) -> Vec<f32> {
        bytes.chunks(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }

    #[test]
    fn matrices_are_packed_by_four_inputs() {
        // [2, 5]: the second group of four holds one input and three zeros.
        let values: Vec<f32> = (0..10u8).map(f32::from).collect();
        let packed = pack_linear(&values, 2, 5, Precision::F32, 1 << 20).unwrap();
        assert_eq!(packed.len(), 1);
        let expected = [0., 1., 2., 3., 5., 6., 7., 8., 4., 0., 0., 0., 9., 0., 0., 0.];
        assert_eq!(floats(&packed[0].bytes), expected);
        let half = pack_linear(&values, 2, 5, Precision::F16, 1 << 20).unwrap();
        let values: Vec<f32> =
            half[0].bytes.chunks(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect();
        assert_eq!(values, expected);
    }

    #[test]
    fn windows_cover_without_gaps() {
        let values: Vec<f32> = (0..10u8).map(f32::from).collect();
        let packed = pack_linear(&values, 5, 2, Precision::F32, 35).unwrap();
        let ranges: Vec<_> = packed.iter().map(|p| p.range.clone()).collect();
        assert_eq!(ranges, [0..2, 2..4, 4..5]);
        assert_eq!(floats(&packed[1].bytes), [4., 5., 0., 0., 6., 7., 0., 0.]);
        assert!(pack_linear(&values, 5, 2, Precision::F32, 15).is_err());
    }

    #[test]
    fn recurrent_weights_keep_gates_together_per_window() {
        // Two gates, two units: rows g0u0, g0u1, g1u0, g1u1.
        let values: Vec<f32> = (0..8u8).map(f32::from).collect();
        let packed = pack_recurrent(&[&values, &values], [2, 2, 2], Precision::F32, 64).unwrap();
        assert_eq!(packed.len(), 2);
        assert_eq!(floats(&packed[1].bytes), [2., 3., 0., 0., 6., 7., 0., 0., 2., 3., 0., 0., 6., 7., 0., 0.]);
    }

    #[test]
    fn tables_are_cut_by_rows() {
        let values: Vec<f32> = (0..9u8).map(f32::from).collect();
        let packed = pack_table(&values, 3, 3, Precision::F32, 32).unwrap();
        assert_eq!(floats(&packed[0].bytes), [0., 1., 2., 3., 4., 5., 0., 0.]);
        assert_eq!(floats(&packed[1].bytes), [6., 7., 8., 0.]);
        assert_eq!(pack_vectors(&[None, Some(&[1.0, 2.0])], 2).unwrap(), [0., 0., 1., 2.]);
        assert_eq!(pack_vectors(&[None, None], 2), None);
    }
}
