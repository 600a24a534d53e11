//! Rows of a matrix as 8-bit integers with a scale each: the one place that rounds them.
//!
//! A weight is `quantised * scale`, `quantised` in -127..=127. A scale has 17 significant bits, so that this product is
//! exact: every device and every file means the same numbers, and to round them once more changes nothing.

/// Bits of a scale that are zero: a product with seven bits then fits the 24 bits of an f32.
const SPARE: u32 = 0x7f;
/// The largest scale whose 127-fold is finite.
const LARGEST: f32 = f32::from_bits((f32::MAX / 127.0).to_bits() & !SPARE);

/// The scale of a row: its largest magnitude / 127. It is 0 for a row of zeros, and for one whose scale would be no
/// normal number, which some devices take for zero anyway. It is NaN where a weight is not finite.
pub(crate) fn scale(row: &[f32]) -> f32 {
    if !row.iter().all(|weight| weight.is_finite()) {
        return f32::NAN;
    }
    let largest = row.iter().fold(0.0f32, |largest, weight| largest.max(weight.abs()));
    // To the nearest: a carry goes into the exponent, where it belongs.
    let rounded = ((largest / 127.0).to_bits() + SPARE.div_ceil(2)) & !SPARE;
    let scale = f32::from_bits(rounded).min(LARGEST);
    if scale.is_normal() { scale } else { 0.0 }
}

/// The integer of a weight in a row of this scale.
#[allow(clippy::cast_possible_truncation)] // rounding is the meaning, and the bounds are i8's
pub(crate) fn quantise(weight: f32, scale: f32) -> i8 {
    if scale > 0.0 { (weight / scale).round_ties_even().clamp(-127.0, 127.0) as i8 } else { 0 }
}

/// Rows of `columns` weights as they are stored. A row that has a weight which is not finite is all NaN.
pub(crate) fn rounded(weights: &[f32], columns: usize) -> Vec<f32> {
    let mut stored = Vec::with_capacity(weights.len());
    for row in weights.chunks(columns.max(1)) {
        let scale = scale(row);
        stored.extend(row.iter().map(|&weight| f32::from(quantise(weight, scale)) * scale));
    }
    stored
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of all sizes, by a fixed sequence.
    fn row(seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state
        };
        let size = 2f32.powi(i32::from(next() as u8) - 128);
        (0..1 + seed as usize % 40).map(|_| (next() as f32 / u32::MAX as f32 - 0.5) * size).collect()
    }

    #[test]
    fn weights_are_within_half_a_scale_and_rounding_again_changes_nothing() {
        for seed in 0..5000 {
            let row = row(seed);
            let (scale, stored) = (scale(&row), rounded(&row, row.len()));
            for (weight, stored) in row.iter().zip(&stored) {
                // The scale is rounded by 2^-17, which at 127 is a thousandth of it.
                let bound = if scale == 0.0 { 127.0 * f32::MIN_POSITIVE } else { 0.501 * scale };
                assert!((weight - stored).abs() <= bound, "{weight} as {stored}, scale {scale}");
            }
            assert_eq!(rounded(&stored, row.len()), stored, "{row:?}");
        }
    }

    #[test]
    fn each_row_has_its_own_scale() {
        let stored = rounded(&[1.0, -0.5, 0.25, 1000.0, 1.0, -1000.0], 3);
        for (weight, stored) in [1.0, -0.5, 0.25].into_iter().zip(&stored) {
            assert!((weight - stored).abs() <= 0.5 / 127.0, "{stored}");
        }
        assert!((stored[3] - 1000.0).abs() < 0.01 && stored[4] == 0.0 && stored[5] == -stored[3], "{stored:?}");
        assert!(quantise(1.0, scale(&[1.0])) == 127 && quantise(-1.0, scale(&[1.0])) == -127);
    }

    #[test]
    fn the_ends_of_the_range() {
        assert_eq!(rounded(&[0.0, -0.0, 1e-38], 3), [0.0; 3]);
        assert_eq!(rounded(&[], 0), [0.0f32; 0]);
        let largest = rounded(&[f32::MAX, -f32::MAX, 1.0], 3);
        assert!(largest[0].is_finite() && largest[0] > 0.999 * f32::MAX && largest[1] == -largest[0]);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let stored = rounded(&[1.0, bad, 1.0, 1.0], 2);
            assert!(stored[..2].iter().all(|weight| weight.is_nan()) && stored[2..] == [stored[2]; 2]);
        }
    }
}
