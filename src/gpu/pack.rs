//! How weights lie on a device. Matrices `[outputs, inputs]` become `[inputs / 4][outputs]` of four
//! consecutive inputs each, padded with zeros: neighbouring invocations take neighbouring outputs and
//! read neighbouring vectors. Embedding tables keep their order. Behind integers come the scales of the rows, in
//! the place of one more group of inputs.

use std::ops::Range;

use super::recorder::View;
use crate::{
    error::{self, Error, Result},
    float16::Float16,
    int8,
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

/// Bytes of a weight.
fn value_bytes(precision: Precision) -> usize {
    match precision {
        Precision::F32 => 4,
        Precision::F16 | Precision::Bf16 => 2,
        Precision::I8 => 1,
    }
}

/// Bytes of a row's scale, where it has one.
fn scale_bytes(precision: Precision) -> usize {
    if precision == Precision::I8 { 4 } else { 0 }
}

/// Bytes of a row of a matrix.
fn row_bytes(inputs: usize, precision: Precision) -> usize {
    inputs.div_ceil(4).saturating_mul(4 * value_bytes(precision)).saturating_add(scale_bytes(precision))
}

/// Bytes of a matrix `[rows, inputs]`, in as many windows as it may be.
pub(super) fn matrix_bytes([rows, inputs]: [usize; 2], precision: Precision) -> usize {
    rows.saturating_mul(row_bytes(inputs, precision))
}

/// Bytes of a table `[ids, width]` in one window.
pub(super) fn table_bytes([ids, width]: [usize; 2], precision: Precision) -> usize {
    let values = ids.saturating_mul(width).div_ceil(4).saturating_mul(4 * value_bytes(precision));
    values.saturating_add(ids.saturating_mul(scale_bytes(precision)))
}

/// Scales of rows, where weights are integers; else none.
fn scales<'v>(rows: impl Iterator<Item = &'v [f32]>, precision: Precision) -> Vec<f32> {
    if precision == Precision::I8 { rows.map(int8::scale).collect() } else { Vec::new() }
}

fn push(bytes: &mut Vec<u8>, value: f32, scale: Option<&f32>, precision: Precision) {
    match precision {
        Precision::F32 => bytes.extend_from_slice(&value.to_le_bytes()),
        Precision::F16 => bytes.extend_from_slice(&Float16::F16.bits(value).to_le_bytes()),
        Precision::Bf16 => bytes.extend_from_slice(&Float16::Bf16.bits(value).to_le_bytes()),
        Precision::I8 => {
            bytes.extend_from_slice(&int8::quantise(value, scale.copied().unwrap_or_default()).to_le_bytes());
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

/// Packs rows of `values`, `[rows, inputs]`, as `[ceil(inputs / 4)][rows]` of four inputs, then scales.
fn pack_matrix(
    values: &[f32],
    inputs: usize,
    rows: impl Iterator<Item = usize> + Clone,
    precision: Precision,
) -> Vec<u8> {
    let of = |row: usize| values.get(row * inputs..(row + 1) * inputs).unwrap_or(&[]);
    let scales = scales(rows.clone().map(of), precision);
    let mut bytes = Vec::with_capacity(matrix_bytes([rows.clone().count(), inputs], precision));
    for first in (0..inputs).step_by(4) {
        for (place, row) in rows.clone().enumerate() {
            for k in first..first + 4 {
                push(&mut bytes, of(row).get(k).copied().unwrap_or(0.0), scales.get(place), precision);
            }
        }
    }
    bytes.extend(scales.iter().flat_map(|scale| scale.to_le_bytes()));
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
    let each = row_bytes(inputs, precision);
    let ranges = windows("a weight matrix", outputs, each, max_binding)?;
    Ok(ranges
        .into_iter()
        .map(|range| Packed { bytes: pack_matrix(values, inputs, range.clone(), precision), range })
        .collect())
}

/// The matrices `[gates * units, inputs]` of every direction that a recurrence multiplies its states
/// with, in windows of units: `[direction][ceil(inputs / 4)][gate][unit]` of four inputs, then scales `[gate][unit]`.
///
/// # Errors
/// [`Error::Limit`] if not even one unit fits `max_binding` bytes.
pub(crate) fn pack_recurrent(
    directions: &[&[f32]],
    [gates, units, inputs]: [usize; 3],
    precision: Precision,
    max_binding: u64,
) -> Result<Vec<Packed>> {
    let each = directions.len() * gates * row_bytes(inputs, precision);
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

/// An embedding table `[ids, width]` in windows of ids: rows on end, the last vector padded, then scales.
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
    let each = width * value_bytes(precision) + scale_bytes(precision);
    let ranges = windows("an embedding table", ids, each, max_binding - max_binding % 16)?;
    Ok(ranges
        .into_iter()
        .map(|range| {
            let rows = values.get(range.start * width..range.end * width).unwrap_or(&[]);
            let scales = scales(rows.chunks(width.max(1)), precision);
            let mut bytes = Vec::with_capacity(table_bytes([range.len(), width], precision));
            for at in 0..rows.len().next_multiple_of(4) {
                let scale = at.checked_div(width).and_then(|row| scales.get(row));
                push(&mut bytes, rows.get(at).copied().unwrap_or(0.0), scale, precision);
            }
            bytes.extend(scales.iter().flat_map(|scale| scale.to_le_bytes()));
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
        let halves = |precision, to_f32: fn(u16) -> f32| -> Vec<f32> {
            let packed = pack_linear(&values, 2, 5, precision, 1 << 20).unwrap();
            packed[0].bytes.chunks(2).map(|b| to_f32(u16::from_le_bytes([b[0], b[1]]))).collect()
        };
        assert_eq!(halves(Precision::F16, |bits| half::f16::from_bits(bits).to_f32()), expected);
        assert_eq!(halves(Precision::Bf16, |bits| half::bf16::from_bits(bits).to_f32()), expected);
    }

    /// Rows of the integers -127 and 64 (as bytes 129 and 64) and of zeros.
    #[test]
    fn scales_lie_behind_integers() {
        let rows = [-127.0f32, 64.0, -254.0, 128.0, 0.0, 0.0];
        let scales = [1.0f32, 2.0, 0.0].map(f32::to_le_bytes).concat();
        let packed = pack_linear(&rows, 3, 2, Precision::I8, 1 << 20).unwrap();
        assert_eq!(packed[0].bytes, [&[129, 64, 0, 0, 129, 64, 0, 0, 0, 0, 0, 0], &scales[..]].concat());
        // Each direction has its own, and so has each window.
        let packed = pack_recurrent(&[&rows, &rows], [1, 3, 2], Precision::I8, 32).unwrap();
        assert_eq!(packed.len(), 2);
        let direction = [&[129, 64, 0, 0, 129, 64, 0, 0], &scales[..8]].concat();
        assert_eq!(packed[0].bytes, direction.repeat(2));
        assert_eq!(packed[1].bytes, [0; 16]);
        let packed = pack_table(&rows, 3, 2, Precision::I8, 1 << 20).unwrap();
        assert_eq!(packed[0].bytes, [&[129, 64, 129, 64, 0, 0, 0, 0], &scales[..]].concat());
        let packed = pack_table(&rows, 3, 2, Precision::I8, 16).unwrap();
        assert_eq!(packed.iter().map(|p| p.range.clone()).collect::<Vec<_>>(), [0..2, 2..3]);
        assert_eq!(packed[0].bytes, [&[129, 64, 129, 64], &scales[..8]].concat());
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
