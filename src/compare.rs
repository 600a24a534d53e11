//! [`compare`]: whether an executor's values are the reference's, and where they first are not.

use std::fmt;

use crate::{
    error::{Error, Result},
    tensor::{Tensor, element_count, unravel},
};

/// How far a value may be from its reference: `|difference| <= max(absolute, relative * |reference|)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Allowed whatever the reference.
    pub absolute: f64,
    /// Allowed per unit of the reference's magnitude.
    pub relative: f64,
}

impl Tolerance {
    /// For one timestep from given states, or any one step of a plan: `5e-6 * max(1, |reference|)`.
    /// Activations err by up to 6e-7 and a few of them are multiplied and added; the sums of a
    /// product of a thousand terms of order 1/30 err by less than 1e-6.
    pub const ONE_STEP: Self = Self { absolute: 5e-6, relative: 5e-6 };
    /// For a long sequence in which an executor goes on from its own states, on networks that damp
    /// errors: measured errors of f32 stay below 1e-6 over thousands of timesteps, and 1e-5 leaves
    /// room for other orders of summation. Chaotic networks exceed any such tolerance.
    pub const FREE_RUNNING: Self = Self { absolute: 1e-5, relative: 1e-5 };

    /// For a GPU that makes products in f16: errors of up to 1.2e-3, that of f16 weights included, were measured on
    /// networks of 8 to 128 units over 50 timesteps.
    pub const HALF_ARITHMETIC: Self = Self { absolute: 2e-3, relative: 2e-3 };

    /// For products of integers on the CPU, against the reference with the same int8 weights: errors of up to 2.8e-5 were
    /// measured on networks of 8 to 128 units over 50 timesteps.
    pub const INTEGER_ARITHMETIC: Self = Self { absolute: 1e-4, relative: 1e-4 };

    /// The difference allowed from `reference`.
    #[must_use]
    pub fn allowed(self, reference: f64) -> f64 {
        self.absolute.max(self.relative * reference.abs())
    }
}

/// The result of a comparison. Its [`Display`](fmt::Display) is a paragraph for people.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// The shape of what was compared.
    pub shape: Vec<usize>,
    /// What was allowed.
    pub tolerance: Tolerance,
    /// Values outside the tolerance, those of [`Self::pattern_failures`] included.
    pub failures: usize,
    /// Values that are NaN or infinite on one side only, or infinite with the other sign.
    pub pattern_failures: usize,
    /// The value that is furthest from its reference in terms of what was allowed.
    pub worst: Option<Difference>,
    /// The value with the largest difference.
    pub largest: Option<Difference>,
    /// The first value outside the tolerance: at the earliest timestep if there are timesteps.
    pub first: Option<Difference>,
    /// Per timestep, for `[batch, seq_len, feature]`, the largest difference; otherwise empty.
    pub error_over_time: Vec<f64>,
}

/// A value and its reference.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Difference {
    /// Position in the tensor.
    pub index: Vec<usize>,
    /// Position along axis 1 of `[batch, seq_len, feature]`; none for other ranks.
    pub timestep: Option<usize>,
    /// Position along the last axis.
    pub unit: Option<usize>,
    /// What should be there.
    pub reference: f64,
    /// What is there.
    pub actual: f32,
    /// The difference; infinite if only one side is a NaN or infinite.
    pub error: f64,
}

impl Report {
    /// Whether every value is within the tolerance.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failures == 0
    }

    /// The largest difference in terms of what was allowed: at most 1 if the comparison passed.
    #[must_use]
    pub fn worst_ratio(&self) -> f64 {
        self.worst.as_ref().map_or(0.0, |worst| ratio(worst.error, self.tolerance.allowed(worst.reference)))
    }
}

/// Compares `actual` with `reference`, both of `shape`.
///
/// A NaN equals a NaN and an infinity the same infinity; any other meeting of a value that is not
/// finite with another value fails, whatever the tolerance.
///
/// # Errors
/// [`Error::Mismatch`] if either side has another number of values than `shape`.
pub fn compare(reference: &[f64], actual: &[f32], shape: &[usize], tolerance: Tolerance) -> Result<Report> {
    let count = element_count(shape);
    for (side, len) in [("reference", reference.len()), ("actual", actual.len())] {
        if count != Some(len) {
            return Err(Error::mismatch(side, format!("the values of shape {shape:?}"), format!("{len} values")));
        }
    }
    let timesteps = if let &[_, seq_len, _] = shape { seq_len } else { 0 };
    let mut report = Report {
        shape: shape.to_vec(),
        tolerance,
        failures: 0,
        pattern_failures: 0,
        worst: None,
        largest: None,
        first: None,
        error_over_time: vec![0.0; timesteps],
    };
    let (mut worst_ratio, mut largest) = (-1.0, -1.0);
    let mut first_timestep = usize::MAX;
    for (flat, (&reference, &actual)) in reference.iter().zip(actual).enumerate() {
        let error = difference(reference, actual);
        let allowed = tolerance.allowed(reference);
        let width = shape.last().copied().unwrap_or(1).max(1);
        let timestep = (flat / width).checked_rem(timesteps);
        if let Some(over_time) = timestep.and_then(|t| report.error_over_time.get_mut(t)) {
            *over_time = over_time.max(error);
        }
        let pattern_fails = error == f64::INFINITY;
        #[allow(clippy::neg_cmp_op_on_partial_ord)] // `error > allowed` would let a NaN pass
        let fails = pattern_fails || !(error <= allowed);
        let ratio = ratio(error, allowed);
        let earlier = fails && timestep.unwrap_or(0) < first_timestep;
        if ratio > worst_ratio || error > largest || earlier {
            let index = unravel(flat, shape);
            let unit = index.last().copied();
            let found = Difference { index, timestep, unit, reference, actual, error };
            if ratio > worst_ratio {
                worst_ratio = ratio;
                report.worst = Some(found.clone());
            }
            if error > largest {
                largest = error;
                report.largest = Some(found.clone());
            }
            if earlier {
                first_timestep = timestep.unwrap_or(0);
                report.first = Some(found);
            }
        }
        report.failures += usize::from(fails);
        report.pattern_failures += usize::from(pattern_fails);
    }
    Ok(report)
}

/// [`compare`] of whole tensors, whose shapes must be equal.
///
/// # Errors
/// [`Error::Mismatch`] if the shapes differ.
pub fn compare_tensors(reference: &Tensor, actual: &Tensor, tolerance: Tolerance) -> Result<Report> {
    if reference.shape() != actual.shape() {
        let (expected, found) = (format!("shape {:?}", reference.shape()), format!("{:?}", actual.shape()));
        return Err(Error::mismatch("actual", expected, found));
    }
    compare(&reference.to_f64(), &actual.to_f32(), reference.shape(), tolerance)
}

/// Zero for two NaNs or the same infinity, infinite if only one side is finite.
fn difference(reference: f64, actual: f32) -> f64 {
    let actual = f64::from(actual);
    if reference == actual || (reference.is_nan() && actual.is_nan()) {
        0.0
    } else if reference.is_finite() && actual.is_finite() {
        (reference - actual).abs()
    } else {
        f64::INFINITY
    }
}

/// `error` in terms of what was allowed.
fn ratio(error: f64, allowed: f64) -> f64 {
    if error == 0.0 || error == f64::INFINITY { error } else { error / allowed }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shape, tolerance, failures, pattern_failures, .. } = self;
        let Tolerance { absolute, relative } = tolerance;
        let count = element_count(shape).unwrap_or(usize::MAX);
        let limit = format!("max({absolute:.1e}, {relative:.1e} * |reference|)");
        if self.passed() {
            write!(f, "all {count} values of {shape:?} are within {limit}")?;
        } else {
            write!(f, "{failures} of {count} values of {shape:?} are not within {limit}")?;
        }
        if *pattern_failures > 0 {
            write!(f, ", {pattern_failures} of them NaN or infinite on one side only")?;
        }
        if let Some(worst) = &self.worst {
            write!(f, "; the worst is {worst}")?;
        }
        if let Some(first) = &self.first {
            write!(f, "; the first is {first}")?;
        }
        // Timesteps 0, 1, 2, 4, 8, .. and the last tell whether an error grows.
        let timesteps = self.error_over_time.len();
        let shown = |&(t, _): &(usize, &f64)| t == 0 || t.is_power_of_two() || t + 1 == timesteps;
        for (n, (t, error)) in self.error_over_time.iter().enumerate().filter(shown).enumerate() {
            let lead = if n == 0 { "; largest error at timestep " } else { ", " };
            write!(f, "{lead}{t}: {error:.1e}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, reference, actual, error, .. } = self;
        write!(f, "{actual} for {reference} at {index:?}")?;
        if let (Some(timestep), Some(unit)) = (self.timestep, self.unit) {
            write!(f, " (timestep {timestep}, unit {unit})")?;
        }
        write!(f, ", off by {error:.1e}")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::cast_possible_truncation, clippy::cast_precision_loss)]
mod tests {
    use super::*;

    const SHAPE: [usize; 3] = [2, 4, 3];

    fn pair() -> (Vec<f64>, Vec<f32>) {
        let reference: Vec<f64> = (0..24).map(|i| (f64::from(i) * 0.7).sin()).collect();
        let actual = reference.iter().map(|&x| x as f32).collect();
        (reference, actual)
    }

    fn check(reference: &[f64], actual: &[f32]) -> Report {
        compare(reference, actual, &SHAPE, Tolerance::ONE_STEP).unwrap()
    }

    #[test]
    fn rounded_values_pass() {
        let (reference, actual) = pair();
        let report = check(&reference, &actual);
        assert!(report.passed() && report.first.is_none() && report.worst_ratio() < 0.02, "{report}");
        assert!(report.to_string().starts_with("all 24 values"), "{report}");
    }

    #[test]
    fn a_wrong_value_is_found_where_it_is() {
        for at in 0..24 {
            let (reference, mut actual) = pair();
            actual[at] += 6e-6;
            let report = check(&reference, &actual);
            let worst = report.worst.clone().unwrap();
            assert_eq!((report.failures, report.pattern_failures), (1, 0), "{report}");
            assert_eq!(worst.index, unravel(at, &SHAPE));
            assert_eq!((worst.timestep, worst.unit), (Some(at / 3 % 4), Some(at % 3)));
            assert_eq!(report.first, report.worst);
            assert!(report.error_over_time[at / 3 % 4] > 5e-6);
        }
    }

    #[test]
    fn the_first_divergence_is_the_earliest_timestep() {
        let (reference, mut actual) = pair();
        actual[3 * 3] += 1.0; // row 0, timestep 3
        actual[12 + 3 + 2] += 0.5; // row 1, timestep 1, unit 2
        let report = check(&reference, &actual);
        assert_eq!(report.first.as_ref().unwrap().index, [1, 1, 2]);
        assert_eq!(report.worst.as_ref().unwrap().index, [0, 3, 0]);
        assert!(report.to_string().contains("the first is") && report.to_string().contains("(timestep 1, unit 2)"));
    }

    #[test]
    fn nan_and_infinity_must_agree() {
        let bad = [
            (0.5, f32::NAN),
            (f64::NAN, 0.5),
            (f64::INFINITY, f32::NEG_INFINITY),
            (f64::NAN, f32::INFINITY),
            (f64::INFINITY, f32::NAN),
            (f64::INFINITY, f32::MAX),
            (1e300, f32::INFINITY),
        ];
        for (expected, found) in bad {
            let (mut reference, mut actual) = pair();
            (reference[7], actual[7]) = (expected, found);
            let loose = Tolerance { absolute: f64::MAX, relative: f64::INFINITY };
            for tolerance in [Tolerance::ONE_STEP, Tolerance { absolute: f64::MAX, ..Tolerance::ONE_STEP }, loose] {
                let report = compare(&reference, &actual, &SHAPE, tolerance).unwrap();
                assert_eq!((report.failures, report.pattern_failures), (1, 1), "{expected} {found} {tolerance:?}");
                assert_eq!(report.worst.unwrap().index, [0, 2, 1]);
            }
        }
        for (expected, found) in
            [(f64::NAN, f32::NAN), (f64::INFINITY, f32::INFINITY), (f64::NEG_INFINITY, f32::NEG_INFINITY), (-0.0, 0.0)]
        {
            let (mut reference, mut actual) = pair();
            (reference[7], actual[7]) = (expected, found);
            assert!(check(&reference, &actual).passed(), "{expected} {found}");
        }
    }

    #[test]
    fn wrong_shapes_transposed_tensors_and_swapped_rows_fail() {
        let (reference, actual) = pair();
        assert!(compare(&reference, &actual[1..], &SHAPE, Tolerance::ONE_STEP).is_err());
        assert!(compare(&reference[1..], &actual, &SHAPE, Tolerance::ONE_STEP).is_err());
        assert!(compare(&reference, &actual, &[2, 4, 2], Tolerance::ONE_STEP).is_err());
        assert!(compare(&reference, &actual, &[usize::MAX, 2], Tolerance::ONE_STEP).is_err());
        let tensors = |shape: [usize; 3]| {
            (Tensor::new(SHAPE, reference.clone()).unwrap(), Tensor::new(shape, actual.clone()).unwrap())
        };
        let (left, right) = tensors([2, 3, 4]);
        assert!(compare_tensors(&left, &right, Tolerance::ONE_STEP).is_err());
        let (left, right) = tensors(SHAPE);
        assert!(compare_tensors(&left, &right, Tolerance::ONE_STEP).unwrap().passed());

        let transposed: Vec<f32> = (0..24).map(|i| actual[(i % 2) * 12 + i / 2]).collect();
        assert!(!check(&reference, &transposed).passed());
        let swapped = [&actual[12..], &actual[..12]].concat();
        let report = check(&reference, &swapped);
        assert!(!report.passed() && report.first.unwrap().timestep == Some(0));
    }

    #[test]
    fn the_tolerance_is_the_larger_of_its_parts() {
        let tolerance = Tolerance { absolute: 1e-3, relative: 1e-2 };
        assert_eq!(tolerance.allowed(0.01), 1e-3);
        assert_eq!(tolerance.allowed(-10.0), 0.1);
        let one = |reference, actual| compare(&[reference], &[actual], &[1], tolerance).unwrap().passed();
        assert!(one(-10.0, -10.09) && !one(-10.0, -10.11) && one(0.01, 0.0105) && !one(0.01, 0.0115));
    }

    #[test]
    fn empty_tensors_pass() {
        let report = compare(&[], &[], &[0, 5, 3], Tolerance::ONE_STEP).unwrap();
        assert!(report.passed() && report.worst.is_none() && report.error_over_time.len() == 5, "{report}");
    }
}
