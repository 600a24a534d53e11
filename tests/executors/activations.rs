//! The activations in f32 against f64.

use wgpu_rnn::Activation;

use crate::common::{Rng, plans::values};

/// Every activation, with its usual parameters.
pub fn all() -> [Activation; 43] {
    [
        Activation::Linear,
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::RELU,
        Activation::Relu { negative_slope: 0.25, max_value: 6.0, threshold: 0.5 },
        Activation::Elu { alpha: 0.75 },
        Activation::Selu,
        Activation::Celu { alpha: 2.0 },
        Activation::Exponential,
        Activation::Softplus,
        Activation::Softsign,
        Activation::Silu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::HARD_SIGMOID,
        Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
        Activation::HardSilu,
        Activation::HardTanh,
        Activation::HardShrink { threshold: 0.5 },
        Activation::SoftShrink { threshold: 0.5 },
        Activation::TanhShrink,
        Activation::LogSigmoid,
        Activation::Mish,
        Activation::SparsePlus,
        Activation::SparseSigmoid,
        Activation::Squareplus { b: 4.0 },
        Activation::Affine { alpha: -1.5, beta: 0.25 },
        Activation::ScaledTanh { alpha: 1.7159, beta: 2.0 / 3.0 },
        Activation::Clip { min: -0.75, max: 1.5 },
        Activation::Clip { min: f32::NEG_INFINITY, max: 0.5 },
        Activation::Clip { min: 2.0, max: -1.0 },
        Activation::Sqrt,
        Activation::Log,
        Activation::Abs,
        Activation::Reciprocal,
        Activation::Erf,
        Activation::Floor,
        Activation::Ceil,
        Activation::Round,
        Activation::Trunc,
        Activation::Sign,
        Activation::Sin,
        Activation::Cos,
    ]
}

/// The largest error allowed: absolute up to 1, relative above.
const ALLOWED: f64 = 6e-7;

/// Panics if `activation` is wrong at `x`; returns the error in terms of the magnitude.
fn check(activation: Activation, x: f32) -> f64 {
    let (expected, found) = (activation.apply_f64(f64::from(x)), activation.apply_f32(x));
    let what = format!("{activation:?} at {x:e}: {found:e} for {expected:e}");
    if expected.is_nan() || found.is_nan() {
        assert!(expected.is_nan() && found.is_nan(), "{what}");
        return 0.0;
    }
    if expected.abs() > f64::from(f32::MAX) || found.is_infinite() {
        // What f32 cannot hold is infinite; a rounding error is allowed at the edge.
        let near_edge = expected.abs() > f64::from(f32::MAX) * (1.0 - 1e-4);
        assert!(near_edge && (found.abs() > f32::MAX * 0.999) && (found > 0.0) == (expected > 0.0), "{what}");
        return 0.0;
    }
    let error = (f64::from(found) - expected).abs() / expected.abs().max(1.0);
    assert!(error <= ALLOWED, "{what}, off by {error:e}");
    error
}

#[test]
fn f32_is_within_6e_7_of_f64() {
    for activation in all() {
        let mut worst: f64 = 0.0;
        for i in -100_000..=100_000 {
            worst = worst.max(check(activation, i as f32 * 1e-3));
            worst = worst.max(check(activation, i as f32 * 1.234_567e-5));
        }
        let mut rng = Rng::new(1);
        for x in values(&mut rng, 20_000, 20.0) {
            worst = worst.max(check(activation, x));
        }
        println!("{activation:?}: {worst:.1e}");
    }
}

#[test]
fn specials() {
    let magnitudes = [
        0.0,
        1e-45,
        1e-40,
        1e-30,
        1e-10,
        0.624_999,
        0.625,
        0.625_001,
        1.0,
        15.9,
        16.0,
        43.0,
        87.3,
        87.34,
        88.7,
        88.8,
        100.0,
        104.0,
        1e10,
        1e30,
        f32::MAX,
        f32::INFINITY,
    ];
    for activation in all() {
        for x in magnitudes {
            check(activation, x);
            check(activation, -x);
        }
        let quiet = f32::NAN;
        for nan in [quiet, -quiet, f32::from_bits(0x7f80_0001), f32::from_bits(0xffff_ffff)] {
            assert!(activation.apply_f32(nan).is_nan(), "{activation:?}");
            assert!(activation.apply_f64(f64::from(nan)).is_nan(), "{activation:?}");
        }
    }
}

#[test]
fn tanh_and_sigmoid_keep_their_ends_and_signs() {
    let (tanh, sigmoid) = (Activation::Tanh, Activation::Sigmoid);
    for x in [10.0, 100.0, 1e10, f32::MAX, f32::INFINITY] {
        assert_eq!((tanh.apply_f32(x), tanh.apply_f32(-x)), (1.0, -1.0), "{x}");
    }
    for x in [100.0, 1e10, f32::MAX, f32::INFINITY] {
        assert_eq!((sigmoid.apply_f32(x), sigmoid.apply_f32(-x)), (1.0, 0.0), "{x}");
    }
    assert!(tanh.apply_f32(-0.0).is_sign_negative() && sigmoid.apply_f32(0.0) == 0.5);
    // Relative accuracy near zero, and never beyond 1.
    for x in [1e-40f32, 1e-30, 1e-10, 1e-4, 0.01, 0.3, 0.62, 0.63, 2.0, 8.0, 9.0] {
        let (y, exact) = (f64::from(tanh.apply_f32(x)), f64::from(x).tanh());
        assert!((y - exact).abs() <= 3e-7 * exact && y <= 1.0, "{x}: {y}");
        assert_eq!(tanh.apply_f32(-x), -tanh.apply_f32(x));
    }
}

/// Vectors have functions of their own for gates; all others are those of single values.
#[test]
fn slices_have_the_values_of_single_ones_wherever_they_lie() {
    let mut rng = Rng::new(2);
    let apply = |activation: Activation, x: &[f32]| {
        let mut y = x.to_vec();
        activation.apply_slice_f32(&mut y);
        y
    };
    for activation in all() {
        for len in [0, 1, 3, 7, 8, 9, 31, 100] {
            let x = values(&mut rng, len, 10.0);
            for (x, y) in x.iter().zip(apply(activation, &x)) {
                assert_eq!(apply(activation, &[*x])[0].to_bits(), y.to_bits(), "{activation:?} at {x}");
                let (exact, ulp) = (activation.apply_f32(*x), f32::EPSILON * y.abs());
                let bound = match activation {
                    Activation::Sigmoid | Activation::Tanh => 4.0 * ulp,
                    // One rounding less where there are fused multiply-adds.
                    Activation::HardSigmoid { .. } => f32::EPSILON,
                    _ => 0.0,
                };
                let same = (exact - y).abs() <= bound || exact.to_bits() == y.to_bits() || exact.is_nan() && y.is_nan();
                assert!(same, "{activation:?} at {x}: {y} and {exact}");
            }
        }
    }
}
