//! The functions of gates, without branches. NaN stays NaN.

use super::Simd;

/// The logistic function: at most 3 ulp off.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(s: S, x: S::Lanes) -> S::Lanes {
    let (zero, one) = (s.splat(0.0), s.splat(1.0));
    let t = exp_of_negative(s, s.copysign(x, s.splat(-1.0)));
    s.div(s.if_less(x, zero, t, one), s.add(one, t))
}

/// The hyperbolic tangent: at most 3 ulp off, and never beyond 1.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(s: S, x: S::Lanes) -> S::Lanes {
    let one = s.splat(1.0);
    let a = s.abs(x);
    // `t <= 1`, so nothing overflows and no clamp is needed.
    let t = exp_of_negative(s, s.mul(a, s.splat(-2.0)));
    let large = s.div(s.sub(one, t), s.add(one, t));
    // Odd polynomial (Cephes, tanhf): keeps relative accuracy where `1 - t` cancels.
    let z = s.mul(a, a);
    let p = s.splat(-5.704_988_7e-3);
    let p = s.mul_add(p, z, s.splat(2.063_909e-2));
    let p = s.mul_add(p, z, s.splat(-5.373_971_5e-2));
    let p = s.mul_add(p, z, s.splat(1.333_144_2e-1));
    let p = s.mul_add(p, z, s.splat(-3.333_328e-1));
    let small = s.mul_add(s.mul(p, z), a, a);
    s.copysign(s.if_less(a, s.splat(0.625), small, large), x)
}

/// `exp(x)` for `x <= 0` (Cephes, expf); 0 where the result would be denormal.
#[inline(always)]
fn exp_of_negative<S: Simd>(s: S, x: S::Lanes) -> S::Lanes {
    /// The least argument whose result is normal.
    const LOWEST: f32 = -87.33;
    /// Adding it rounds to a whole number, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let kept = s.if_less(x, s.splat(LOWEST), s.splat(LOWEST), x);
    let rounded = s.mul_add(kept, s.splat(std::f32::consts::LOG2_E), s.splat(ROUND));
    let n = s.sub(rounded, s.splat(ROUND));
    // ln(2) in two parts, the first exact in few bits.
    let r = s.mul_add(n, s.splat(-0.693_359_4), kept);
    let r = s.mul_add(n, s.splat(2.121_944_4e-4), r);
    let p = s.splat(1.987_569_1e-4);
    let p = s.mul_add(p, r, s.splat(1.398_199_9e-3));
    let p = s.mul_add(p, r, s.splat(8.333_452e-3));
    let p = s.mul_add(p, r, s.splat(4.166_579_6e-2));
    let p = s.mul_add(p, r, s.splat(1.666_666_5e-1));
    let p = s.mul_add(p, r, s.splat(5.0e-1));
    let p = s.add(s.mul_add(s.mul(p, r), r, r), s.splat(1.0));
    let y = s.mul(p, s.power_of_2(rounded));
    s.if_less(x, s.splat(LOWEST), s.splat(0.0), y)
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
                // Where the result is nearly denormal, it is 0.
                worst[0] = worst[0].max(if x < -87.33 { f64::from(sigmoid) } else { ulps(sigmoid, exact) });
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
