//! [`Activation`]: the pointwise functions, in f64 (the specification) and f32, in the stable
//! forms that never turn a NaN into a number. `shaders/activation.wgsl` holds the same table.

/// A pointwise function with its parameters.
///
/// Formulas follow Keras 3 (`keras/src/activations/activations.py`, `keras/src/backend/*/nn.py`).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
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
        negative_slope: f32,
        /// Upper bound; infinite in the plain function.
        max_value: f32,
        /// Where the function switches; 0 in the plain function.
        threshold: f32,
    },
    /// `x` for positive `x`, else `alpha * (exp(x) - 1)`
    Elu {
        /// Scale of the negative side.
        alpha: f32,
    },
    /// `scale * elu(x, alpha)` with the constants of Klambauer et al. 2017.
    Selu,
    /// `x` for positive `x`, else `alpha * (exp(x / alpha) - 1)`
    Celu {
        /// Scale of the negative side.
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
        alpha: f32,
        /// Value at zero.
        beta: f32,
    },
    /// `x * clip(x / 6 + 1/2, 0, 1)`
    HardSilu,
    /// `clip(x, -1, 1)`
    HardTanh,
    /// `x` where `|x| > threshold`, else 0
    HardShrink {
        /// Half width of the dead zone.
        threshold: f32,
    },
    /// `x` moved towards 0 by `threshold`, 0 within it
    SoftShrink {
        /// Half width of the dead zone.
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
        b: f32,
    },
    /// `alpha * x + beta`
    Affine {
        /// Factor.
        alpha: f32,
        /// Offset.
        beta: f32,
    },
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
    pub const RELU: Self = Self::Relu {
        negative_slope: 0.0,
        max_value: f32::INFINITY,
        threshold: 0.0,
    };
    /// `clip(x / 6 + 1/2, 0, 1)`, the hard sigmoid of Keras 3 and PyTorch.
    pub const HARD_SIGMOID: Self = Self::HardSigmoid {
        alpha: 1.0 / 6.0,
        beta: 0.5,
    };

    /// The function's number and parameters in `shaders/activation.wgsl`.
    #[must_use]
    pub fn shader_code(self) -> (u32, [f32; 3]) {
        match self {
            Self::Linear => (0, [0.0; 3]),
            Self::Sigmoid => (1, [0.0; 3]),
            Self::Tanh => (2, [0.0; 3]),
            Self::Relu {
                negative_slope,
                max_value,
                threshold,
            } => (3, [negative_slope, max_value, threshold]),
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
        }
    }
}

macro_rules! functions {
    ($float:ident, $apply:ident, $(#[$doc:meta])* $erf:path, $exp:path, $exp_m1:path, $ln_1p:path, $tanh:path) => {
        impl Activation {
            $(#[$doc])*
            #[must_use]
            #[allow(clippy::cast_possible_truncation, clippy::cast_lossless)] // constants are narrowed for f32
            pub fn $apply(self, x: $float) -> $float {
                if x.is_nan() {
                    return x;
                }
                let sigmoid = |x: $float| {
                    let t = $exp(-x.abs());
                    if x < 0.0 { t / (1.0 + t) } else { 1.0 / (1.0 + t) }
                };
                let softplus = |x: $float| x.max(0.0) + $ln_1p($exp(-x.abs()));
                let elu = |x: $float, alpha: $float| if x > 0.0 { x } else { alpha * $exp_m1(x) };
                match self {
                    Self::Linear => x,
                    Self::Sigmoid => sigmoid(x),
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
                    Self::Silu => x * sigmoid(x),
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
                    Self::Squareplus { b } => 0.5 * (x + (x * x + b as $float).sqrt()),
                    Self::Affine { alpha, beta } => alpha as $float * x + beta as $float,
                }
            }
        }
    };
}
functions!(
    f64, apply_f64,
    /// The value at `x` in f64: the specification.
    libm::erf, f64::exp, f64::exp_m1, f64::ln_1p, f64::tanh
);
functions!(
    f32, apply_f32,
    /// The value at `x` in f32.
    libm::erff, f32::exp, f32::exp_m1, f32::ln_1p, f32::tanh
);
