//! [`Activation`]: the pointwise functions, in f64 (the specification) and f32, in the stable
//! forms that never turn a NaN into a number. `shaders/activation.wgsl` holds the same table.

mod text;

use crate::simd::{self, LANES, Simd, Task, dispatch};

/// A pointwise function with its parameters.
///
/// Formulas follow Keras 3 (`keras/src/activations/activations.py`, `keras/src/backend/*/nn.py`).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "native", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "native", serde(rename_all = "snake_case", deny_unknown_fields))]
pub enum Activation {
    /// `x`
    Linear,
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `min(x, max_value)` above `threshold`, `negative_slope * (x - threshold)` below.
    Relu {
        /// Slope below the threshold; 0 in the plain function.
        #[cfg_attr(feature = "native", serde(with = "crate::serial::float"))]
        negative_slope: f32,
        /// Upper bound; infinite in the plain function.
        #[cfg_attr(feature = "native", serde(with = "crate::serial::float"))]
        max_value: f32,
        /// Where the function switches; 0 in the plain function.
        #[cfg_attr(feature = "native", serde(with = "crate::serial::float"))]
        threshold: f32,
    },
    /// `x` for positive `x`, else `alpha * (exp(x) - 1)`
    Elu {
        /// Scale of the negative side.
        #[cfg_attr(feature = "native", serde(with = "crate::serial::float"))]
        alpha: f32,
    },
    /// `scale * elu(x, alpha)` with the constants of Klambauer et al. 2017.
    Selu,
    /// `x` for positive `x`, else `alpha * (exp(x / alpha) - 1)`
    Celu {
        /// Scale of the negative side.
        #[cfg_attr(feature = "native", serde(with = "crate::serial::float"))]
        alpha: f32,
    },
    /// `exp(x)`
    Exponential,
    /// `log(1 + exp(x))`
    Softplus,
    /// `x / (1 + |x|)`
    Softsign,
    /// `x * sigmoid(x)`
    Silu,
    /// `x * Phi(x)`, with the error function.
    Gelu,
    /// `x * Phi(x)`, with the tanh approximation.
    GeluTanh,
    /// `clip(alpha * x + beta, 0, 1)`: alpha 1/6, beta 1/2 in Keras 3 and PyTorch; alpha 0.2 in Keras 2 and ONNX.
    HardSigmoid {
        /// Slope.
        #[cfg_attr(feature = "native", serde(with = "crate::serial::float"))]
        alpha: f32,
        /// Value at zero.
        #[cfg_attr(feature = "native", serde(with = "crate::serial::float"))]
        beta: f32,
    },
    /// `x * clip(x / 6 + 1/2, 0, 1)`
    HardSilu,
    /// `clip(x, -1, 1)`
    HardTanh,
    /// `x` where `|x| > threshold`, else 0
    HardShrink {
        /// Half width of the dead zone.
        #[cfg_attr(feature = "native", serde(with = "crate::serial::float"))]
        threshold: f32,
    },
    /// `x` moved towards 0 by `threshold`, 0 within it
    SoftShrink {
        /// Half width of the dead zone.
        #[cfg_attr(feature = "native", serde(with = "crate::serial::float"))]
        threshold: f32,
    },
    /// `x - tanh(x)`
    TanhShrink,
    /// `log(sigmoid(x))`
    LogSigmoid,
    /// `x * tanh(softplus(x))`
    Mish,
    /// 0 for `x <= -1`, `(x + 1)^2 / 4` up to 1, then `x`
    SparsePlus,
    /// 0 for `x <= -1`, `(x + 1) / 2` up to 1, then 1
    SparseSigmoid,
    /// `(x + sqrt(x^2 + b)) / 2`
    Squareplus {
        /// Smoothness at zero.
        #[cfg_attr(feature = "native", serde(with = "crate::serial::float"))]
        b: f32,
    },
    /// `alpha * x + beta`
    Affine {
        /// Factor.
        #[cfg_attr(feature = "native", serde(with = "crate::serial::float"))]
        alpha: f32,
        /// Offset.
        #[cfg_attr(feature = "native", serde(with = "crate::serial::float"))]
        beta: f32,
    },
    /// `alpha * tanh(beta * x)`
    ScaledTanh {
        /// Height.
        #[cfg_attr(feature = "native", serde(with = "crate::serial::float"))]
        alpha: f32,
        /// Slope of the argument.
        #[cfg_attr(feature = "native", serde(with = "crate::serial::float"))]
        beta: f32,
    },
    /// `min(max(x, min), max)`: `max` where the bounds are the wrong way round.
    Clip {
        /// Lower bound; may be negative infinity.
        #[cfg_attr(feature = "native", serde(with = "crate::serial::float"))]
        min: f32,
        /// Upper bound; may be infinity.
        #[cfg_attr(feature = "native", serde(with = "crate::serial::float"))]
        max: f32,
    },
    /// The square root; NaN for negative `x`.
    Sqrt,
    /// The natural logarithm; NaN for negative `x`.
    Log,
    /// `|x|`
    Abs,
    /// `1 / x`
    Reciprocal,
    /// The error function.
    Erf,
    /// The largest whole number not above `x`.
    Floor,
    /// The smallest whole number not below `x`.
    Ceil,
    /// The nearest whole number; from halfway the even one.
    Round,
    /// The whole part: towards 0.
    Trunc,
    /// 1, 0 or -1
    Sign,
    /// The sine of `x` radians.
    Sin,
    /// The cosine of `x` radians.
    Cos,
}

/// `alpha` of [`Activation::Selu`].
const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
/// `scale` of [`Activation::Selu`].
const SELU_SCALE: f64 = 1.050_700_987_355_480_5;
/// `sqrt(2 / pi)` of [`Activation::GeluTanh`].
const GELU_SCALE: f64 = 0.797_884_560_802_865_4;
/// Cubic coefficient of [`Activation::GeluTanh`].
const GELU_CUBIC: f64 = 0.044_715;

impl Activation {
    /// The plain rectifier `max(x, 0)`.
    pub const RELU: Self = Self::Relu { negative_slope: 0.0, max_value: f32::INFINITY, threshold: 0.0 };
    /// `clip(x / 6 + 1/2, 0, 1)`, the hard sigmoid of Keras 3 and PyTorch.
    pub const HARD_SIGMOID: Self = Self::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 };

    /// The function's number and parameters in `shaders/activation.wgsl`.
    #[must_use]
    pub fn shader_code(self) -> (u32, [f32; 3]) {
        match self {
            Self::Linear => (0, [0.0; 3]),
            Self::Sigmoid => (1, [0.0; 3]),
            Self::Tanh => (2, [0.0; 3]),
            // No number is above the largest one, so it stands for no bound.
            Self::Relu { negative_slope, max_value, threshold } => {
                (3, [negative_slope, max_value.min(f32::MAX), threshold])
            }
            Self::Elu { alpha } => (4, [alpha, 0.0, 0.0]),
            Self::Selu => (5, [0.0; 3]),
            Self::Celu { alpha } => (6, [alpha, 0.0, 0.0]),
            Self::Exponential => (7, [0.0; 3]),
            Self::Softplus => (8, [0.0; 3]),
            Self::Softsign => (9, [0.0; 3]),
            Self::Silu => (10, [0.0; 3]),
            Self::Gelu => (11, [0.0; 3]),
            Self::GeluTanh => (12, [0.0; 3]),
            Self::HardSigmoid { alpha, beta } => (13, [alpha, beta, 0.0]),
            Self::HardSilu => (14, [0.0; 3]),
            Self::HardTanh => (15, [0.0; 3]),
            Self::HardShrink { threshold } => (16, [threshold, 0.0, 0.0]),
            Self::SoftShrink { threshold } => (17, [threshold, 0.0, 0.0]),
            Self::TanhShrink => (18, [0.0; 3]),
            Self::LogSigmoid => (19, [0.0; 3]),
            Self::Mish => (20, [0.0; 3]),
            Self::SparsePlus => (21, [0.0; 3]),
            Self::SparseSigmoid => (22, [0.0; 3]),
            Self::Squareplus { b } => (23, [b, 0.0, 0.0]),
            Self::Affine { alpha, beta } => (24, [alpha, beta, 0.0]),
            Self::ScaledTanh { alpha, beta } => (25, [alpha, beta, 0.0]),
            // Parameters must be finite, so the third says which bounds there are.
            Self::Clip { min, max } => {
                let (below, above) = (min == f32::NEG_INFINITY, max == f32::INFINITY);
                let bounds = f32::from(u8::from(!below) + 2 * u8::from(!above));
                (26, [if below { 0.0 } else { min }, if above { 0.0 } else { max }, bounds])
            }
            Self::Sqrt => (27, [0.0; 3]),
            Self::Log => (28, [0.0; 3]),
            Self::Abs => (29, [0.0; 3]),
            Self::Reciprocal => (30, [0.0; 3]),
            Self::Erf => (31, [0.0; 3]),
            Self::Floor => (32, [0.0; 3]),
            Self::Ceil => (33, [0.0; 3]),
            Self::Round => (34, [0.0; 3]),
            Self::Trunc => (35, [0.0; 3]),
            Self::Sign => (36, [0.0; 3]),
            Self::Sin => (37, [0.0; 3]),
            Self::Cos => (38, [0.0; 3]),
        }
    }
}

macro_rules! functions {
    ($float:ident, $apply:ident, $(#[$doc:meta])* $erf:path, $exp:path, $exp_m1:path, $ln_1p:path, $tanh:path, $sigmoid:path) => {
        impl Activation {
            $(#[$doc])*
            #[must_use]
            #[allow(clippy::cast_possible_truncation, clippy::cast_lossless)] // constants are narrowed for f32
            pub fn $apply(self, x: $float) -> $float {
                if x.is_nan() {
                    return x;
                }
                let softplus = |x: $float| x.max(0.0) + $ln_1p($exp(-x.abs()));
                let elu = |x: $float, alpha: $float| if x > 0.0 { x } else { alpha * $exp_m1(x) };
                match self {
                    Self::Linear => x,
                    Self::Sigmoid => $sigmoid(x),
                    Self::Tanh => $tanh(x),
                    Self::Relu { negative_slope, max_value, threshold } => {
                        if x > threshold as $float {
                            x.min(max_value as $float)
                        } else if negative_slope == 0.0 {
                            0.0
                        } else {
                            negative_slope as $float * (x - threshold as $float)
                        }
                    }
                    Self::Elu { alpha } => elu(x, alpha as $float),
                    Self::Selu => SELU_SCALE as $float * elu(x, SELU_ALPHA as $float),
                    Self::Celu { alpha } => {
                        if x > 0.0 { x } else { alpha as $float * $exp_m1(x / alpha as $float) }
                    }
                    Self::Exponential => $exp(x),
                    Self::Softplus => softplus(x),
                    // An infinite x gives NaN as in Keras: inf / inf.
                    Self::Softsign => x / (1.0 + x.abs()),
                    Self::Silu => x * $sigmoid(x),
                    Self::Gelu => {
                        0.5 * x * (1.0 + $erf(x * std::$float::consts::FRAC_1_SQRT_2))
                    }
                    Self::GeluTanh => {
                        0.5 * x
                            * (1.0 + $tanh(GELU_SCALE as $float * (x + GELU_CUBIC as $float * x * x * x)))
                    }
                    Self::HardSigmoid { alpha, beta } => {
                        (alpha as $float * x + beta as $float).clamp(0.0, 1.0)
                    }
                    Self::HardSilu => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
                    Self::HardTanh => x.clamp(-1.0, 1.0),
                    Self::HardShrink { threshold } => {
                        if x.abs() > threshold as $float { x } else { 0.0 }
                    }
                    Self::SoftShrink { threshold } => {
                        if x > threshold as $float {
                            x - threshold as $float
                        } else if x < -threshold as $float {
                            x + threshold as $float
                        } else {
                            0.0
                        }
                    }
                    Self::TanhShrink => x - $tanh(x),
                    Self::LogSigmoid => -softplus(-x),
                    Self::Mish => x * $tanh(softplus(x)),
                    Self::SparsePlus => {
                        if x <= -1.0 { 0.0 } else if x < 1.0 { 0.25 * (x + 1.0) * (x + 1.0) } else { x }
                    }
                    Self::SparseSigmoid => {
                        if x <= -1.0 { 0.0 } else if x < 1.0 { 0.5 * (x + 1.0) } else { 1.0 }
                    }
                    Self::Squareplus { b } => {
                        let square = x * x + b as $float;
                        let root = if square.is_finite() { square.sqrt() } else { x.abs() };
                        // For negative x the sum would cancel.
                        if x < 0.0 { 0.5 * b as $float / (root - x) } else { 0.5 * (x + root) }
                    }
                    Self::Affine { alpha, beta } => alpha as $float * x + beta as $float,
                    Self::ScaledTanh { alpha, beta } => alpha as $float * $tanh(beta as $float * x),
                    Self::Clip { min, max } => x.max(min as $float).min(max as $float),
                    Self::Sqrt => x.sqrt(),
                    Self::Log => x.ln(),
                    Self::Abs => x.abs(),
                    Self::Reciprocal => 1.0 / x,
                    Self::Erf => $erf(x),
                    Self::Floor => x.floor(),
                    Self::Ceil => x.ceil(),
                    Self::Round => x.round_ties_even(),
                    Self::Trunc => x.trunc(),
                    Self::Sign => if x > 0.0 { 1.0 } else if x < 0.0 { -1.0 } else { x },
                    Self::Sin => x.sin(),
                    Self::Cos => x.cos(),
                }
            }
        }
    };
}
functions!(
    f64, apply_f64,
    /// The value at `x` in f64: the specification.
    libm::erf, f64::exp, f64::exp_m1, f64::ln_1p, f64::tanh, sigmoid_f64
);
functions!(
    f32, apply_f32,
    /// The value at `x` in f32.
    libm::erff, f32::exp, f32::exp_m1, f32::ln_1p, tanh_f32, sigmoid_f32
);

impl Activation {
    /// Replaces each value by the function's: those of [`Self::apply_f32`], but for a few ulp of [`Sigmoid`](Self::Sigmoid)
    /// and [`Tanh`](Self::Tanh). A value's bits do not depend on its place.
    pub fn apply_slice_f32(self, values: &mut [f32]) {
        dispatch(ApplySlice { activation: self, values });
    }

    /// Of 16 values; see [`Self::apply_slice_f32`].
    #[inline(always)]
    pub(crate) fn lanes<S: Simd>(self, s: S, x: S::Lanes) -> S::Lanes {
        let (zero, one) = (s.splat(0.0), s.splat(1.0));
        match self {
            Self::Linear => x,
            Self::Sigmoid => simd::sigmoid(s, x),
            Self::Tanh => simd::tanh(s, x),
            Self::HardSigmoid { alpha, beta } => {
                let y = s.mul_add(s.splat(alpha), x, s.splat(beta));
                s.at_most(s.at_least(y, zero), one)
            }
            Self::RELU => s.at_least(x, zero),
            other => {
                let mut values = [0.0; LANES];
                s.store(x, &mut values);
                other.apply_each(&mut values);
                s.load(&values)
            }
        }
    }

    /// Apart, so that what is written for vectors stays small.
    #[inline(never)]
    fn apply_each(self, values: &mut [f32; LANES]) {
        values.iter_mut().for_each(|x| *x = self.apply_f32(*x));
    }
}

struct ApplySlice<'a> {
    activation: Activation,
    values: &'a mut [f32],
}

impl Task for ApplySlice<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if self.activation == Activation::Linear {
            return;
        }
        let (lines, rest) = self.values.as_chunks_mut::<LANES>();
        for line in lines {
            let y = self.activation.lanes(s, s.load(line));
            s.store(y, line);
        }
        let mut line = [0.0; LANES];
        line[..rest.len()].copy_from_slice(rest);
        let y = self.activation.lanes(s, s.load(&line));
        s.store(y, &mut line);
        rest.copy_from_slice(&line[..rest.len()]);
    }
}

fn sigmoid_f64(x: f64) -> f64 {
    let t = (-x.abs()).exp();
    if x < 0.0 { t / (1.0 + t) } else { 1.0 / (1.0 + t) }
}

/// The logistic function, without branches, so that loops over it vectorise. NaN stays NaN.
#[inline(always)]
pub(crate) fn sigmoid_f32(x: f32) -> f32 {
    let t = exp_of_negative(-x.abs());
    let numerator = if x < 0.0 { t } else { 1.0 };
    numerator / (1.0 + t)
}

/// The hyperbolic tangent, without branches. `t <= 1`, so nothing overflows and no clamp is needed.
#[inline(always)]
pub(crate) fn tanh_f32(x: f32) -> f32 {
    let a = x.abs();
    let t = exp_of_negative(-2.0 * a);
    let large = (1.0 - t) / (1.0 + t);
    // Odd polynomial (Cephes): keeps relative accuracy where `1 - t` cancels.
    let z = a * a;
    let p = -5.704_988_7e-3;
    let p = p * z + 2.063_909e-2;
    let p = p * z - 5.373_971_5e-2;
    let p = p * z + 1.333_144_2e-1;
    let p = p * z - 3.333_328e-1;
    let small = p * z * a + a;
    (if a < 0.625 { small } else { large }).copysign(x)
}

/// `exp(x)` for `x <= 0` (Cephes); 0 where the result would be denormal. NaN stays NaN.
#[inline(always)]
fn exp_of_negative(x: f32) -> f32 {
    const LOWEST: f32 = -87.33;
    /// Adding it rounds to a whole number, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let kept = if x < LOWEST { LOWEST } else { x };
    let rounded = kept * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    // ln(2) in two parts, the first exact in few bits.
    let r = kept - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5.0e-1;
    let p = p * r * r + r + 1.0;
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127);
    let y = p * f32::from_bits(exponent << 23);
    if x < LOWEST { 0.0 } else { y }
}
