//! The functions of gates, without branches. NaN stays NaN.

use super::Simd;

/// The logistic function `1 / (1 + exp(-x))`: at most 3 ulp off.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(s: S, x: S::Lanes) -> S::Lanes {
    // Beyond the second bound the power of 2 is infinite, and the quotient 0.
    let x = s.at_most(s.at_least(s.sub(s.splat(0.0), x), s.splat(-87.3)), s.splat(88.8));
    let one = s.splat(1.0);
    let (q, power) = exp_m1(s, x);
    s.div(one, s.mul_add(power, s.add(q, one), one))
}

/// The hyperbolic tangent `(1 - t) / (1 + t)`, `t = exp(-2 |x|)`: at most 3 ulp off, and never beyond 1.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(s: S, x: S::Lanes) -> S::Lanes {
    // From 9.02 on it is 1.
    let a = s.at_most(s.abs(x), s.splat(10.0));
    let (q, power) = exp_m1(s, s.mul(a, s.splat(-2.0)));
    // Of `1 - power (q + 1)` nothing cancels: for small `x`, `power` is 1, and what stays is `-q`.
    let numerator = s.mul_add(s.sub(s.splat(0.0), power), q, s.sub(s.splat(1.0), power));
    let t = s.div(numerator, s.sub(s.splat(2.0), numerator));
    s.copysign(t, x)
}

/// `exp(x)` as `power * (q + 1)`: `power` a power of 2, and `q` exact to 2 ulp even where it is small. From -87.3 to 88.8.
#[inline(always)]
fn exp_m1<S: Simd>(s: S, x: S::Lanes) -> (S::Lanes, S::Lanes) {
    /// Adding it rounds to a whole number, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let rounded = s.mul_add(x, s.splat(std::f32::consts::LOG2_E), s.splat(ROUND));
    let n = s.sub(rounded, s.splat(ROUND));
    // ln(2) in two parts, the first exact in few bits.
    let r = s.mul_add(n, s.splat(-0.693_359_4), x);
    let r = s.mul_add(n, s.splat(2.121_944_4e-4), r);
    // The least worst relative error of r + r^2 p(r) for |r| <= 0.3485: 1.4e-8 (`scripts/fit_exp.py`).
    let p = s.splat(1.388_245_3e-3);
    let p = s.mul_add(p, r, s.splat(8.366_884e-3));
    let p = s.mul_add(p, r, s.splat(4.166_721e-2));
    let p = s.mul_add(p, r, s.splat(1.666_654e-1));
    let p = s.mul_add(p, r, s.splat(5.0e-1));
    (s.mul_add(s.mul(r, r), p, r), s.power_of_2(rounded))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{LANES, Task, each};

    /// Both functions of 16 values.
    struct Both<'a>(&'a [f32; LANES]);

    impl Task for Both<'_> {
        type Output = [[f32; LANES]; 2];

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            let x = s.load(self.0);
            let mut out = [[0.0; LANES]; 2];
            s.store(sigmoid(s, x), &mut out[0]);
            s.store(tanh(s, x), &mut out[1]);
            out
        }
    }

    /// All that `Both` gives with each kind of instructions.
    fn both(x: &[f32; LANES]) -> impl Iterator<Item = (f32, [f32; 2])> {
        let all: Vec<_> = each(|| Both(x))
            .into_iter()
            .flat_map(|[sigmoids, tanhs]| (0..LANES).map(move |lane| (lane, [sigmoids[lane], tanhs[lane]])))
            .collect();
        let x = *x;
        all.into_iter().map(move |(lane, y)| (x[lane], y))
    }

    /// Distance of `y` from `exact` in units of the last place of `exact`, of normal numbers at least.
    fn ulps(y: f32, exact: f64) -> f64 {
        let ulp =
            f64::from(f32::EPSILON) * 2f64.powi((exact.abs().max(f64::from(f32::MIN_POSITIVE))).log2().floor() as i32);
        (f64::from(y) - exact).abs() / ulp
    }

    #[test]
    fn functions_of_gates_are_within_4_ulp() {
        let mut worst = [0.0f64; 2];
        // Each 997th float from 2^-60 to 2^7, of both signs.
        let mut bits = 0x2180_0000u32;
        while bits < 0x4300_0000 {
            let mut x = [0.0; LANES];
            for x in &mut x {
                *x = f32::from_bits(bits | (bits & 1) << 31);
                bits += 997;
            }
            for (x, [sigmoid, tanh]) in both(&x) {
                let x = f64::from(x);
                let exact = if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) };
                // A result that is nearly denormal may be 0.
                worst[0] = worst[0].max(if x < -87.3 { f64::from(sigmoid) * 1e38 } else { ulps(sigmoid, exact) });
                worst[1] = worst[1].max(ulps(tanh, x.tanh()));
                assert!(tanh.abs() <= 1.0 && (0.0..=1.0).contains(&sigmoid), "{x}");
            }
        }
        println!("sigmoid {:.2} ulp, tanh {:.2} ulp", worst[0], worst[1]);
        assert!(worst.iter().all(|&ulps| ulps <= 4.0), "{worst:?}");
    }

    #[test]
    fn the_ends_of_the_range() {
        let inf = f32::INFINITY;
        let x = [
            0.0,
            -0.0,
            inf,
            -inf,
            f32::NAN,
            1e-40,
            -1e-40,
            100.0,
            -100.0,
            89.0,
            -89.0,
            f32::MAX,
            -f32::MAX,
            1e10,
            0.625,
            -0.625,
        ];
        for (x, [sigmoid, tanh]) in both(&x) {
            if x.is_nan() {
                assert!(sigmoid.is_nan() && tanh.is_nan());
                continue;
            }
            assert_eq!(tanh.is_sign_negative(), x.is_sign_negative(), "{x}");
            if x.abs() < 1e-30 {
                assert_eq!((sigmoid, tanh), (0.5, x));
            } else if x.abs() >= 89.0 {
                assert_eq!((sigmoid, tanh), if x > 0.0 { (1.0, 1.0) } else { (0.0, -1.0) }, "{x}");
            }
        }
    }
}
