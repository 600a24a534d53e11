//! Weights as 16-bit floats, f16 or bf16: the one place that rounds them, to the nearest and from halfway to the even one.
//!
//! Half a step beyond the largest number and more becomes infinite, and a NaN stays one. Neither is ever stored: what
//! rounds weights refuses those that are not finite then.

use half::{bf16, f16};

/// The kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Float16 {
    /// 5 bits of exponent, 10 of fraction.
    F16,
    /// The upper half of an f32: 8 bits of exponent, 7 of fraction.
    Bf16,
}

impl Float16 {
    pub(crate) fn bits(self, value: f32) -> u16 {
        match self {
            Self::F16 => f16::from_f32(value).to_bits(),
            Self::Bf16 => bf16::from_f32(value).to_bits(),
        }
    }

    /// The number that is stored.
    pub(crate) fn rounded(self, value: f32) -> f32 {
        match self {
            Self::F16 => f16::from_f32(value).to_f32(),
            Self::Bf16 => bf16::from_f32(value).to_f32(),
        }
    }

    /// The limit of what is stored, for messages.
    pub(crate) fn largest(self) -> &'static str {
        match self {
            Self::F16 => "65504, the largest f16",
            Self::Bf16 => "3.3895314e38, the largest bf16",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each kind with its finite positive numbers, in order.
    fn kinds() -> [(Float16, Vec<f32>); 2] {
        [
            (Float16::F16, (0..0x7c00).map(|bits| f16::from_bits(bits).to_f32()).collect()),
            (Float16::Bf16, (0..0x7f80).map(|bits| bf16::from_bits(bits).to_f32()).collect()),
        ]
    }

    #[test]
    fn numbers_stay_and_others_go_to_the_nearest_from_halfway_to_the_even_one() {
        for (kind, numbers) in kinds() {
            for (bits, pair) in (0u16..).zip(numbers.windows(2)) {
                let (low, high) = (pair[0], pair[1]);
                let middle = ((f64::from(low) + f64::from(high)) / 2.0) as f32; // 17 bits at most: exact
                let even = if bits % 2 == 0 { low } else { high };
                for (value, expected) in
                    [(low, low), (middle.next_down(), low), (middle, even), (middle.next_up(), high)]
                {
                    assert_eq!(kind.rounded(value), expected, "{kind:?} {value}");
                    assert_eq!(kind.rounded(-value).to_bits(), (-expected).to_bits(), "{kind:?} {value}");
                    assert_eq!(kind.bits(value), if expected == low { bits } else { bits + 1 }, "{kind:?} {value}");
                }
            }
        }
    }

    #[test]
    fn the_ends_of_the_range() {
        for (kind, numbers) in kinds() {
            let (below, largest) = (numbers[numbers.len() - 2], numbers[numbers.len() - 1]);
            let halfway = largest + (largest - below) / 2.0;
            assert_eq!(kind.rounded(halfway.next_down()), largest);
            for beyond in [halfway, f32::MAX, f32::INFINITY] {
                assert_eq!(kind.rounded(beyond), f32::INFINITY, "{kind:?} {beyond}");
                assert_eq!(kind.rounded(-beyond), f32::NEG_INFINITY, "{kind:?} {beyond}");
            }
            assert!(kind.rounded(f32::NAN).is_nan() && kind.rounded(-f32::NAN).is_nan());
            // A NaN all of whose upper bits of fraction are zero.
            assert!(kind.rounded(f32::from_bits(0x7f80_0001)).is_nan());
            let said = kind.largest().split(',').next().and_then(|number| number.parse().ok());
            assert_eq!(said, Some(largest));
        }
    }
}
