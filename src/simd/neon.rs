//! NEON, which every 64-bit ARM processor for applications has.
//!
//! A value of [`Neon`] is made by `detect` alone, after the processor said that it has NEON. That is the whole proof of
//! every `unsafe` block below: the intrinsics ask for nothing else, but for loads and stores, whose pointers are those of
//! references to arrays as large as what is read or written.
#![allow(unsafe_code)]

use std::{
    arch::aarch64::{
        float32x4_t, int16x8_t, int32x4_t, vabsq_f32, vaddq_f32, vaddq_s32, vandq_u32, vbslq_f32, vcltq_f32,
        vcvtnq_s32_f32, vcvtq_f32_s32, vdivq_f32, vdupq_n_f32, vdupq_n_s32, vdupq_n_u32, vfmaq_f32, vget_high_s16,
        vget_low_s16, vld1_s8, vld1q_f32, vld1q_u32, vmaxq_f32, vminq_f32, vmovl_s8, vmovl_s16, vmull_high_s16,
        vmull_s16, vmulq_f32, vpaddq_s32, vqmovn_s32, vreinterpretq_f32_s32, vreinterpretq_f32_u32,
        vreinterpretq_s16_s32, vreinterpretq_s32_f32, vshlq_n_s32, vshlq_n_u32, vst1_s16, vst1q_f32, vsubq_f32,
    },
    array,
};

use super::{LANES, Simd, Task};

#[derive(Clone, Copy)]
pub(super) struct Neon(());

impl Neon {
    #[inline]
    pub(super) fn detect() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Self(()))
    }
}

type Four = [float32x4_t; 4];

impl Simd for Neon {
    type Lanes = Four;
    type Ints = [int32x4_t; 4];
    type Pairs = [int16x8_t; 4];

    const NAME: &'static str = "neon";
    // 24 of 32 registers.
    const SUMS: usize = 6;
    const REGISTERS: usize = 4;

    #[inline(always)]
    fn run<T: Task>(self, task: T) -> T::Output {
        #[inline(never)]
        #[target_feature(enable = "neon")]
        fn compiled<T: Task>(simd: Neon, task: T) -> T::Output {
            task.run(simd)
        }
        // SAFETY: see above.
        unsafe { compiled(self, task) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Four {
        // SAFETY: see above.
        unsafe { [vdupq_n_f32(x); 4] }
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Four {
        let from = from.as_ptr();
        // SAFETY: see above.
        unsafe { [vld1q_f32(from), vld1q_f32(from.add(4)), vld1q_f32(from.add(8)), vld1q_f32(from.add(12))] }
    }

    #[inline(always)]
    fn store(self, x: Four, to: &mut [f32; LANES]) {
        let to = to.as_mut_ptr();
        // SAFETY: see above.
        unsafe {
            vst1q_f32(to, x[0]);
            vst1q_f32(to.add(4), x[1]);
            vst1q_f32(to.add(8), x[2]);
            vst1q_f32(to.add(12), x[3]);
        }
    }

    #[inline(always)]
    fn load_f16(self, from: &[u16; LANES]) -> Four {
        // The conversion of a register of f16s is not to be had in stable Rust.
        self.load(&array::from_fn(|lane| half::f16::from_bits(from[lane]).to_f32_const()))
    }

    #[inline(always)]
    fn load_bf16(self, from: &[u32; LANES / 2]) -> Four {
        let from = from.as_ptr();
        // SAFETY: see above.
        unsafe {
            let (mask, twos) = (vdupq_n_u32(0xffff_0000), [vld1q_u32(from), vld1q_u32(from.add(4))]);
            [
                vreinterpretq_f32_u32(vshlq_n_u32::<16>(twos[0])),
                vreinterpretq_f32_u32(vshlq_n_u32::<16>(twos[1])),
                vreinterpretq_f32_u32(vandq_u32(twos[0], mask)),
                vreinterpretq_f32_u32(vandq_u32(twos[1], mask)),
            ]
        }
    }

    #[inline(always)]
    fn load_i8(self, from: &[i8; LANES]) -> Four {
        let from = from.as_ptr();
        // SAFETY: see above.
        unsafe {
            let (low, high) = (vmovl_s8(vld1_s8(from)), vmovl_s8(vld1_s8(from.add(8))));
            [
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
                vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))),
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
                vcvtq_f32_s32(vmovl_s16(vget_high_s16(high))),
            ]
        }
    }

    #[inline(always)]
    fn add(self, a: Four, b: Four) -> Four {
        // SAFETY: see above.
        unsafe { [vaddq_f32(a[0], b[0]), vaddq_f32(a[1], b[1]), vaddq_f32(a[2], b[2]), vaddq_f32(a[3], b[3])] }
    }

    #[inline(always)]
    fn sub(self, a: Four, b: Four) -> Four {
        // SAFETY: see above.
        unsafe { [vsubq_f32(a[0], b[0]), vsubq_f32(a[1], b[1]), vsubq_f32(a[2], b[2]), vsubq_f32(a[3], b[3])] }
    }

    #[inline(always)]
    fn mul(self, a: Four, b: Four) -> Four {
        // SAFETY: see above.
        unsafe { [vmulq_f32(a[0], b[0]), vmulq_f32(a[1], b[1]), vmulq_f32(a[2], b[2]), vmulq_f32(a[3], b[3])] }
    }

    #[inline(always)]
    fn div(self, a: Four, b: Four) -> Four {
        // SAFETY: see above.
        unsafe { [vdivq_f32(a[0], b[0]), vdivq_f32(a[1], b[1]), vdivq_f32(a[2], b[2]), vdivq_f32(a[3], b[3])] }
    }

    #[inline(always)]
    fn mul_add(self, a: Four, b: Four, c: Four) -> Four {
        // SAFETY: see above.
        unsafe {
            [
                vfmaq_f32(c[0], a[0], b[0]),
                vfmaq_f32(c[1], a[1], b[1]),
                vfmaq_f32(c[2], a[2], b[2]),
                vfmaq_f32(c[3], a[3], b[3]),
            ]
        }
    }

    #[inline(always)]
    fn abs(self, x: Four) -> Four {
        // SAFETY: see above.
        unsafe { [vabsq_f32(x[0]), vabsq_f32(x[1]), vabsq_f32(x[2]), vabsq_f32(x[3])] }
    }

    #[inline(always)]
    fn copysign(self, magnitude: Four, sign: Four) -> Four {
        // SAFETY: see above.
        unsafe {
            let bit = vdupq_n_u32(1 << 31);
            [
                vbslq_f32(bit, sign[0], magnitude[0]),
                vbslq_f32(bit, sign[1], magnitude[1]),
                vbslq_f32(bit, sign[2], magnitude[2]),
                vbslq_f32(bit, sign[3], magnitude[3]),
            ]
        }
    }

    #[inline(always)]
    fn if_less(self, a: Four, b: Four, yes: Four, no: Four) -> Four {
        // SAFETY: see above.
        unsafe {
            [
                vbslq_f32(vcltq_f32(a[0], b[0]), yes[0], no[0]),
                vbslq_f32(vcltq_f32(a[1], b[1]), yes[1], no[1]),
                vbslq_f32(vcltq_f32(a[2], b[2]), yes[2], no[2]),
                vbslq_f32(vcltq_f32(a[3], b[3]), yes[3], no[3]),
            ]
        }
    }

    #[inline(always)]
    fn at_least(self, x: Four, bound: Four) -> Four {
        // SAFETY: see above.
        unsafe {
            [vmaxq_f32(x[0], bound[0]), vmaxq_f32(x[1], bound[1]), vmaxq_f32(x[2], bound[2]), vmaxq_f32(x[3], bound[3])]
        }
    }

    #[inline(always)]
    fn at_most(self, x: Four, bound: Four) -> Four {
        // SAFETY: see above.
        unsafe {
            [vminq_f32(x[0], bound[0]), vminq_f32(x[1], bound[1]), vminq_f32(x[2], bound[2]), vminq_f32(x[3], bound[3])]
        }
    }

    #[inline(always)]
    fn ints(self) -> [int32x4_t; 4] {
        // SAFETY: see above.
        unsafe { [vdupq_n_s32(0); 4] }
    }

    #[inline(always)]
    fn load_pairs(self, from: &[i8; 2 * LANES]) -> [int16x8_t; 4] {
        let from = from.as_ptr();
        // SAFETY: see above.
        unsafe {
            [
                vmovl_s8(vld1_s8(from)),
                vmovl_s8(vld1_s8(from.add(8))),
                vmovl_s8(vld1_s8(from.add(16))),
                vmovl_s8(vld1_s8(from.add(24))),
            ]
        }
    }

    #[inline(always)]
    fn splat_pair(self, [low, high]: [i16; 2]) -> [int16x8_t; 4] {
        let bits = i32::from(high) << 16 | i32::from(low.cast_unsigned());
        // SAFETY: see above.
        unsafe { [vreinterpretq_s16_s32(vdupq_n_s32(bits)); 4] }
    }

    #[inline(always)]
    fn add_products(self, sums: [int32x4_t; 4], a: [int16x8_t; 4], b: [int16x8_t; 4]) -> [int32x4_t; 4] {
        let mut sums = sums;
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            // SAFETY: see above.
            unsafe {
                let (low, high) = (vmull_s16(vget_low_s16(a), vget_low_s16(b)), vmull_high_s16(a, b));
                *sum = vaddq_s32(*sum, vpaddq_s32(low, high));
            }
        }
        sums
    }

    #[inline(always)]
    fn to_floats(self, x: [int32x4_t; 4]) -> Four {
        // SAFETY: see above.
        unsafe { [vcvtq_f32_s32(x[0]), vcvtq_f32_s32(x[1]), vcvtq_f32_s32(x[2]), vcvtq_f32_s32(x[3])] }
    }

    #[inline(always)]
    fn store_i16(self, x: Four, to: &mut [i16; LANES]) {
        let to = to.as_mut_ptr();
        // SAFETY: see above.
        unsafe {
            vst1_s16(to, vqmovn_s32(vcvtnq_s32_f32(x[0])));
            vst1_s16(to.add(4), vqmovn_s32(vcvtnq_s32_f32(x[1])));
            vst1_s16(to.add(8), vqmovn_s32(vcvtnq_s32_f32(x[2])));
            vst1_s16(to.add(12), vqmovn_s32(vcvtnq_s32_f32(x[3])));
        }
    }

    #[inline(always)]
    fn power_of_2(self, shifted: Four) -> Four {
        // SAFETY: see above.
        unsafe {
            let one = vdupq_n_s32(0x3f80_0000);
            let mut powers = shifted;
            for x in &mut powers {
                *x = vreinterpretq_f32_s32(vaddq_s32(vshlq_n_s32::<23>(vreinterpretq_s32_f32(*x)), one));
            }
            powers
        }
    }
}
