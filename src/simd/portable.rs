//! What every processor can do.

use std::array;

use super::{LANES, Simd, Task};

#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Simd for Portable {
    type Lanes = [f32; LANES];
    type Ints = [i32; LANES];
    type Pairs = [[i16; 2]; LANES];

    const NAME: &'static str = "portable";
    // 12 of 16 registers of four floats, as x86-64 has.
    const SUMS: usize = 3;
    const REGISTERS: usize = 4;

    // As with other instructions, a task that others run is compiled once; in each of them, it took minutes.
    #[inline(never)]
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
    fn load_bf16(self, from: &[u32; LANES / 2]) -> [f32; LANES] {
        array::from_fn(|lane| match lane.checked_sub(LANES / 2) {
            None => f32::from_bits(from[lane] << 16),
            Some(high) => f32::from_bits(from[high] & 0xffff_0000),
        })
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
    fn ints(self) -> [i32; LANES] {
        [0; LANES]
    }

    #[inline(always)]
    fn load_pairs(self, from: &[i8; 2 * LANES]) -> [[i16; 2]; LANES] {
        array::from_fn(|lane| [i16::from(from[2 * lane]), i16::from(from[2 * lane + 1])])
    }

    #[inline(always)]
    fn splat_pair(self, pair: [i16; 2]) -> [[i16; 2]; LANES] {
        [pair; LANES]
    }

    #[inline(always)]
    fn add_products(self, sums: [i32; LANES], a: [[i16; 2]; LANES], b: [[i16; 2]; LANES]) -> [i32; LANES] {
        let product = |lane: usize, of: usize| i32::from(a[lane][of]) * i32::from(b[lane][of]);
        array::from_fn(|lane| sums[lane].wrapping_add(product(lane, 0)).wrapping_add(product(lane, 1)))
    }

    #[inline(always)]
    #[allow(clippy::cast_precision_loss)] // rounding is the meaning
    fn to_floats(self, x: [i32; LANES]) -> [f32; LANES] {
        x.map(|x| x as f32)
    }

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation)] // it saturates
    fn store_i16(self, x: [f32; LANES], to: &mut [i16; LANES]) {
        *to = x.map(|x| x.round_ties_even() as i16);
    }

    #[inline(always)]
    fn power_of_2(self, shifted: [f32; LANES]) -> [f32; LANES] {
        shifted.map(|x| f32::from_bits((x.to_bits() << 23).wrapping_add(0x3f80_0000)))
    }
}
