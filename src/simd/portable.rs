//! What every processor can do.

use std::array;

use super::{LANES, Simd, Task};

#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Simd for Portable {
    type Lanes = [f32; LANES];

    // 12 of 16 registers of four floats, as x86-64 has.
    const SUMS: usize = 3;

    #[inline(always)]
    fn run<T: Task>(self, task: T) -> T::Output {
        task.run(self)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> [f32; LANES] {
        [x; LANES]
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> [f32; LANES] {
        *from
    }

    #[inline(always)]
    fn store(self, x: [f32; LANES], to: &mut [f32; LANES]) {
        *to = x;
    }

    #[inline(always)]
    fn load_f16(self, from: &[u16; LANES]) -> [f32; LANES] {
        array::from_fn(|lane| half::f16::from_bits(from[lane]).to_f32_const())
    }

    #[inline(always)]
    fn load_i8(self, from: &[i8; LANES]) -> [f32; LANES] {
        array::from_fn(|lane| f32::from(from[lane]))
    }

    #[inline(always)]
    fn add(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        array::from_fn(|lane| a[lane] + b[lane])
    }

    #[inline(always)]
    fn sub(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        array::from_fn(|lane| a[lane] - b[lane])
    }

    #[inline(always)]
    fn mul(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        array::from_fn(|lane| a[lane] * b[lane])
    }

    #[inline(always)]
    fn div(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        array::from_fn(|lane| a[lane] / b[lane])
    }

    #[inline(always)]
    fn mul_add(self, a: [f32; LANES], b: [f32; LANES], c: [f32; LANES]) -> [f32; LANES] {
        array::from_fn(|lane| a[lane] * b[lane] + c[lane])
    }

    #[inline(always)]
    fn abs(self, x: [f32; LANES]) -> [f32; LANES] {
        x.map(f32::abs)
    }

    #[inline(always)]
    fn copysign(self, magnitude: [f32; LANES], sign: [f32; LANES]) -> [f32; LANES] {
        array::from_fn(|lane| magnitude[lane].copysign(sign[lane]))
    }

    #[inline(always)]
    fn if_less(self, a: [f32; LANES], b: [f32; LANES], yes: [f32; LANES], no: [f32; LANES]) -> [f32; LANES] {
        array::from_fn(|lane| if a[lane] < b[lane] { yes[lane] } else { no[lane] })
    }

    #[inline(always)]
    fn at_least(self, x: [f32; LANES], bound: [f32; LANES]) -> [f32; LANES] {
        self.if_less(x, bound, bound, x)
    }

    #[inline(always)]
    fn at_most(self, x: [f32; LANES], bound: [f32; LANES]) -> [f32; LANES] {
        self.if_less(bound, x, bound, x)
    }

    #[inline(always)]
    fn power_of_2(self, shifted: [f32; LANES]) -> [f32; LANES] {
        shifted.map(|x| f32::from_bits((x.to_bits() << 23).wrapping_add(0x3f80_0000)))
    }
}
