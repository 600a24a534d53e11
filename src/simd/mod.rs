//! The one place that asks which instructions the processor has, and the only one that uses them by name: kernels are
//! written once, over [`Simd`], which is 16 floats wide on every processor.

mod math;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use math::{sigmoid, tanh};
use portable::Portable;

/// Floats that are computed side by side: one register of AVX-512, two of AVX2, four of NEON.
pub(crate) const LANES: usize = 16;

/// The floats of [`Simd::Lanes`] in memory, a cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [f32; LANES]);

impl Line {
    pub(crate) const ZERO: Self = Self([0.0; LANES]);
}

/// Instructions that this processor has, as a value: whoever holds one may use them. All methods work lane by lane,
/// and round as f32 does.
pub(crate) trait Simd: Copy {
    /// 16 floats, in registers.
    type Lanes: Copy;

    /// One word, for what is kept of this processor.
    const NAME: &'static str;
    /// How many [`Lanes`](Self::Lanes) of sums leave enough registers for what is summed.
    const SUMS: usize;
    /// Registers of one [`Lanes`](Self::Lanes).
    const REGISTERS: usize;

    /// 16 32-bit integers.
    type Ints: Copy;
    /// 16 pairs of 16-bit integers.
    type Pairs: Copy;

    /// Runs `task` compiled for these instructions.
    fn run<T: Task>(self, task: T) -> T::Output;

    /// Asks for an element that is read later, or for what lies where it would: nothing happens if there is nothing.
    #[inline(always)]
    fn prefetch<T>(self, _: &[T], _: usize) {}

    /// The same for what is read so much later that it should wait in the second-level cache.
    #[inline(always)]
    fn prefetch_far<T>(self, _: &[T], _: usize) {}

    fn splat(self, x: f32) -> Self::Lanes;
    fn load(self, from: &[f32; LANES]) -> Self::Lanes;
    fn store(self, x: Self::Lanes, to: &mut [f32; LANES]);
    /// From the bits of f16s; exact.
    fn load_f16(self, from: &[u16; LANES]) -> Self::Lanes;
    /// From the bits of bf16s by twos, that of lane `n` in the low half and that of lane `n + 8` in the high half of element
    /// `n`: a shift and a mask take them apart. Exact.
    fn load_bf16(self, from: &[u32; LANES / 2]) -> Self::Lanes;
    /// From integers; exact.
    fn load_i8(self, from: &[i8; LANES]) -> Self::Lanes;

    fn add(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    fn sub(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    fn mul(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    fn div(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    /// `a * b + c`, rounded once where that is one instruction, else twice.
    fn mul_add(self, a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes;
    fn abs(self, x: Self::Lanes) -> Self::Lanes;
    /// `magnitude` with the sign of `sign`.
    fn copysign(self, magnitude: Self::Lanes, sign: Self::Lanes) -> Self::Lanes;
    /// `yes` where `a < b`, else `no`; a NaN is not less than anything.
    fn if_less(self, a: Self::Lanes, b: Self::Lanes, yes: Self::Lanes, no: Self::Lanes) -> Self::Lanes;
    /// The larger; NaN where `x` is.
    fn at_least(self, x: Self::Lanes, bound: Self::Lanes) -> Self::Lanes;
    /// The smaller; NaN where `x` is.
    fn at_most(self, x: Self::Lanes, bound: Self::Lanes) -> Self::Lanes;
    /// Zeros.
    fn ints(self) -> Self::Ints;
    fn load_pairs(self, from: &[i8; 2 * LANES]) -> Self::Pairs;
    /// The same pair 16 times.
    fn splat_pair(self, pair: [i16; 2]) -> Self::Pairs;
    /// `sums + a0 * b0 + a1 * b1`, wrapping around.
    fn add_products(self, sums: Self::Ints, a: Self::Pairs, b: Self::Pairs) -> Self::Ints;
    /// Rounded to the nearest.
    fn to_floats(self, x: Self::Ints) -> Self::Lanes;
    /// Rounded to the nearest, from halfway the even one; between -32768 and 32767, or anything.
    fn store_i16(self, x: Self::Lanes, to: &mut [i16; LANES]);
    /// `2^n` for the whole number `n` in -126..=128 that `1.5 * 2^23 + n` is given of; infinity for 128.
    fn power_of_2(self, shifted: Self::Lanes) -> Self::Lanes;
}

/// Work whose inner loops are compiled for the instructions at hand.
pub(crate) trait Task {
    /// What it gives.
    type Output;

    /// Does it. Implementations and all that they call are `#[inline(always)]`, so that they are compiled for the
    /// caller's instructions. (A closure or a function that is passed on may stay on its own, and then is compiled for
    /// any processor.)
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Does `task` with the widest instructions that this processor has. Which ones depends on nothing
/// but the processor, so a program gives the same bits on every run.
#[inline]
pub(crate) fn dispatch<T: Task>(task: T) -> T::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(simd) = x86::Avx512::detect() {
            return simd.run(task);
        }
        if let Some(simd) = x86::Avx2::detect() {
            return simd.run(task);
        }
    }
    #[cfg(target_arch = "aarch64")]
    if let Some(simd) = neon::Neon::detect() {
        return simd.run(task);
    }
    Portable.run(task)
}

/// The instructions that [`dispatch`] takes, in one word.
pub(crate) fn instructions() -> &'static str {
    struct Name;
    impl Task for Name {
        type Output = &'static str;

        #[inline(always)]
        fn run<S: Simd>(self, _: S) -> &'static str {
            S::NAME
        }
    }
    dispatch(Name)
}

/// Does `task` once with each kind of instructions that this processor has, the portable ones included.
#[cfg(test)]
pub(crate) fn each<T: Task>(task: impl Fn() -> T) -> Vec<T::Output> {
    let mut all = vec![Portable.run(task())];
    #[cfg(target_arch = "x86_64")]
    {
        all.extend(x86::Avx2::detect().map(|simd| simd.run(task())));
        all.extend(x86::Avx512::detect().map(|simd| simd.run(task())));
    }
    #[cfg(target_arch = "aarch64")]
    all.extend(neon::Neon::detect().map(|simd| simd.run(task())));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the same bits, floats of each kind.
    struct Halves([u16; LANES]);

    impl Task for Halves {
        type Output = [Line; 2];

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> [Line; 2] {
            let mut all = [Line::ZERO; 2];
            s.store(s.load_f16(&self.0), &mut all[0].0);
            let twos = std::array::from_fn(|n| u32::from(self.0[n]) | u32::from(self.0[n + LANES / 2]) << 16);
            s.store(s.load_bf16(&twos), &mut all[1].0);
            all
        }
    }

    #[test]
    fn every_16_bit_float_is_exact_with_each_kind_of_instructions() {
        for first in (0..=u16::MAX).step_by(LANES) {
            let bits = std::array::from_fn(|lane| first + lane as u16);
            let expected = bits.map(|bits| [half::f16::from_bits(bits).to_f32(), half::bf16::from_bits(bits).to_f32()]);
            for (kind, found) in each(|| Halves(bits)).iter().enumerate() {
                for (lane, expected) in expected.iter().enumerate() {
                    for (Line(found), expected) in found.iter().zip(expected) {
                        let (found, bits) = (found[lane], bits[lane]);
                        // Which NaN it is does not matter.
                        let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
                        assert!(same, "kind {kind}: {bits:#x} is {found} instead of {expected}");
                    }
                }
            }
        }
    }
}
