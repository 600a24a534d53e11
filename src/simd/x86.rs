//! AVX2 and AVX-512.
//!
//! A value of [`Avx2`] or [`Avx512`] is made by `detect` alone, after the processor said that it has what the name
//! stands for. That is the whole proof of every `unsafe` block below: the intrinsics ask for nothing else, but for
//! loads and stores, whose pointers are those of references to arrays as large as what is read or written.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m128i, __m256, __m256i, __m512, __m512i, _CMP_LT_OQ, _MM_HINT_T0, _MM_HINT_T1, _mm_loadl_epi64, _mm_loadu_si128,
    _mm_prefetch, _mm256_add_epi32, _mm256_add_ps, _mm256_and_ps, _mm256_and_si256, _mm256_andnot_ps, _mm256_blendv_ps,
    _mm256_castps_si256, _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_cvtepi8_epi16, _mm256_cvtepi8_epi32,
    _mm256_cvtepi32_ps, _mm256_cvtph_ps, _mm256_cvtps_epi32, _mm256_div_ps, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_loadu_si256, _mm256_madd_epi16, _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps, _mm256_or_ps,
    _mm256_packs_epi32, _mm256_permute4x64_epi64, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_si256,
    _mm256_slli_epi32, _mm256_storeu_ps, _mm256_storeu_si256, _mm256_sub_ps, _mm512_abs_ps, _mm512_add_epi32,
    _mm512_add_ps, _mm512_and_si512, _mm512_broadcast_i64x4, _mm512_castps_si512, _mm512_castsi512_ps,
    _mm512_cmp_ps_mask, _mm512_cvtepi8_epi16, _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps, _mm512_cvtph_ps,
    _mm512_cvtps_epi32, _mm512_cvtsepi32_epi16, _mm512_div_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_madd_epi16,
    _mm512_mask_blend_ps, _mm512_mask_slli_epi32, _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_setzero_si512, _mm512_slli_epi32, _mm512_storeu_ps, _mm512_sub_ps,
    _mm512_ternarylogic_epi32,
};

use std::sync::atomic::{AtomicU8, Ordering};

use super::{LANES, Simd, Task};

/// A pair as the intrinsics want it: the first in the low half.
#[inline(always)]
fn pair_bits([low, high]: [i16; 2]) -> i32 {
    i32::from(high) << 16 | i32::from(low.cast_unsigned())
}

/// Of 32 bits.
const HIGH_HALF: i32 = -0x1_0000;

/// Of 1.0: what makes a power of two of an exponent.
const ONE: i32 = 0x3f80_0000;

/// What the processor has, asked once: an atomic load instead of four.
fn found() -> u8 {
    static FOUND: AtomicU8 = AtomicU8::new(0);
    match FOUND.load(Ordering::Relaxed) {
        0 => {
            let avx2 =
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
            let avx512 = avx2 && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
            let found = ASKED | if avx2 { AVX2 } else { 0 } | if avx512 { AVX512 } else { 0 };
            FOUND.store(found, Ordering::Relaxed);
            found
        }
        found => found,
    }
}

const ASKED: u8 = 1;
const AVX2: u8 = 2;
const AVX512: u8 = 4;

/// AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

impl Avx2 {
    #[inline]
    pub(super) fn detect() -> Option<Self> {
        (found() & AVX2 != 0).then_some(Self(()))
    }
}

/// AVX-512 (foundation, bytes and words), and what [`Avx2`] stands for.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

impl Avx512 {
    #[inline]
    pub(super) fn detect() -> Option<Self> {
        (found() & AVX512 != 0).then_some(Self(()))
    }
}

impl Simd for Avx2 {
    type Lanes = [__m256; 2];
    type Ints = [__m256i; 2];
    type Pairs = [__m256i; 2];

    const NAME: &'static str = "avx2";
    // 12 of 16 registers.
    const SUMS: usize = 6;
    const REGISTERS: usize = 2;

    #[inline(always)]
    fn run<T: Task>(self, task: T) -> T::Output {
        #[inline(never)]
        #[target_feature(enable = "avx2,fma,f16c")]
        fn compiled<T: Task>(simd: Avx2, task: T) -> T::Output {
            task.run(simd)
        }
        // SAFETY: see above.
        unsafe { compiled(self, task) }
    }

    #[inline(always)]
    fn prefetch<T>(self, values: &[T], index: usize) {
        // SAFETY: a prefetch reads nothing, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(values.as_ptr().wrapping_add(index).cast()) }
    }

    #[inline(always)]
    fn prefetch_far<T>(self, values: &[T], index: usize) {
        // SAFETY: a prefetch reads nothing, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(values.as_ptr().wrapping_add(index).cast()) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::Lanes {
        // SAFETY: see above.
        unsafe { [_mm256_set1_ps(x); 2] }
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::Lanes {
        let from = from.as_ptr();
        // SAFETY: see above.
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
    }

    #[inline(always)]
    fn store(self, x: Self::Lanes, to: &mut [f32; LANES]) {
        let to = to.as_mut_ptr();
        // SAFETY: see above.
        unsafe {
            _mm256_storeu_ps(to, x[0]);
            _mm256_storeu_ps(to.add(8), x[1]);
        }
    }

    #[inline(always)]
    fn load_f16(self, from: &[u16; LANES]) -> Self::Lanes {
        let from = from.as_ptr().cast::<__m128i>();
        // SAFETY: see above.
        unsafe { [_mm256_cvtph_ps(_mm_loadu_si128(from)), _mm256_cvtph_ps(_mm_loadu_si128(from.add(1)))] }
    }

    #[inline(always)]
    fn load_bf16(self, from: &[u32; LANES / 2]) -> Self::Lanes {
        // SAFETY: see above.
        unsafe {
            let twos = _mm256_loadu_si256(from.as_ptr().cast());
            let (low, high) = (_mm256_slli_epi32::<16>(twos), _mm256_and_si256(twos, _mm256_set1_epi32(HIGH_HALF)));
            [_mm256_castsi256_ps(low), _mm256_castsi256_ps(high)]
        }
    }

    #[inline(always)]
    fn load_i8(self, from: &[i8; LANES]) -> Self::Lanes {
        let from = from.as_ptr();
        // SAFETY: see above.
        unsafe {
            let (low, high) = (_mm_loadl_epi64(from.cast()), _mm_loadl_epi64(from.add(8).cast()));
            [_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(low)), _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(high))]
        }
    }

    #[inline(always)]
    fn add(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: see above.
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn sub(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: see above.
        unsafe { [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn mul(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: see above.
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn div(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: see above.
        unsafe { [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn mul_add(self, a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes {
        // SAFETY: see above.
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }

    #[inline(always)]
    fn abs(self, x: Self::Lanes) -> Self::Lanes {
        // SAFETY: see above.
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            [_mm256_andnot_ps(sign, x[0]), _mm256_andnot_ps(sign, x[1])]
        }
    }

    #[inline(always)]
    fn copysign(self, magnitude: Self::Lanes, sign: Self::Lanes) -> Self::Lanes {
        let magnitude = self.abs(magnitude);
        // SAFETY: see above.
        unsafe {
            let bit = _mm256_set1_ps(-0.0);
            let sign = [_mm256_and_ps(bit, sign[0]), _mm256_and_ps(bit, sign[1])];
            [_mm256_or_ps(magnitude[0], sign[0]), _mm256_or_ps(magnitude[1], sign[1])]
        }
    }

    #[inline(always)]
    fn if_less(self, a: Self::Lanes, b: Self::Lanes, yes: Self::Lanes, no: Self::Lanes) -> Self::Lanes {
        // SAFETY: see above.
        unsafe {
            let less = [_mm256_cmp_ps::<_CMP_LT_OQ>(a[0], b[0]), _mm256_cmp_ps::<_CMP_LT_OQ>(a[1], b[1])];
            [_mm256_blendv_ps(no[0], yes[0], less[0]), _mm256_blendv_ps(no[1], yes[1], less[1])]
        }
    }

    #[inline(always)]
    fn at_least(self, x: Self::Lanes, bound: Self::Lanes) -> Self::Lanes {
        // The second operand is what these give where there is a NaN.
        // SAFETY: see above.
        unsafe { [_mm256_max_ps(bound[0], x[0]), _mm256_max_ps(bound[1], x[1])] }
    }

    #[inline(always)]
    fn at_most(self, x: Self::Lanes, bound: Self::Lanes) -> Self::Lanes {
        // SAFETY: see above.
        unsafe { [_mm256_min_ps(bound[0], x[0]), _mm256_min_ps(bound[1], x[1])] }
    }

    #[inline(always)]
    fn ints(self) -> [__m256i; 2] {
        // SAFETY: see above.
        unsafe { [_mm256_setzero_si256(); 2] }
    }

    #[inline(always)]
    fn load_pairs(self, from: &[i8; 2 * LANES]) -> [__m256i; 2] {
        let from = from.as_ptr().cast::<__m128i>();
        // SAFETY: see above.
        unsafe { [_mm256_cvtepi8_epi16(_mm_loadu_si128(from)), _mm256_cvtepi8_epi16(_mm_loadu_si128(from.add(1)))] }
    }

    #[inline(always)]
    fn splat_pair(self, pair: [i16; 2]) -> [__m256i; 2] {
        // SAFETY: see above.
        unsafe { [_mm256_set1_epi32(pair_bits(pair)); 2] }
    }

    #[inline(always)]
    fn add_products(self, sums: [__m256i; 2], a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        // SAFETY: see above.
        unsafe {
            let products = [_mm256_madd_epi16(a[0], b[0]), _mm256_madd_epi16(a[1], b[1])];
            [_mm256_add_epi32(sums[0], products[0]), _mm256_add_epi32(sums[1], products[1])]
        }
    }

    #[inline(always)]
    fn to_floats(self, x: [__m256i; 2]) -> Self::Lanes {
        // SAFETY: see above.
        unsafe { [_mm256_cvtepi32_ps(x[0]), _mm256_cvtepi32_ps(x[1])] }
    }

    #[inline(always)]
    fn store_i16(self, x: Self::Lanes, to: &mut [i16; LANES]) {
        // SAFETY: see above.
        unsafe {
            let packed = _mm256_packs_epi32(_mm256_cvtps_epi32(x[0]), _mm256_cvtps_epi32(x[1]));
            // Packing goes by halves of registers: quarters 0, 2, 1, 3.
            _mm256_storeu_si256(to.as_mut_ptr().cast(), _mm256_permute4x64_epi64::<0b11_01_10_00>(packed));
        }
    }

    #[inline(always)]
    fn power_of_2(self, shifted: Self::Lanes) -> Self::Lanes {
        // SAFETY: see above.
        unsafe {
            let one = _mm256_set1_epi32(ONE);
            let exponents = [_mm256_castps_si256(shifted[0]), _mm256_castps_si256(shifted[1])];
            let powers = [_mm256_slli_epi32::<23>(exponents[0]), _mm256_slli_epi32::<23>(exponents[1])];
            let powers = [_mm256_add_epi32(powers[0], one), _mm256_add_epi32(powers[1], one)];
            [_mm256_castsi256_ps(powers[0]), _mm256_castsi256_ps(powers[1])]
        }
    }
}

impl Simd for Avx512 {
    type Lanes = __m512;
    type Ints = __m512i;
    type Pairs = __m512i;

    const NAME: &'static str = "avx512";
    // 24 of 32 registers.
    const SUMS: usize = 24;
    const REGISTERS: usize = 1;

    #[inline(always)]
    fn run<T: Task>(self, task: T) -> T::Output {
        #[inline(never)]
        #[target_feature(enable = "avx512f,avx512bw,avx2,fma,f16c")]
        fn compiled<T: Task>(simd: Avx512, task: T) -> T::Output {
            task.run(simd)
        }
        // SAFETY: see above.
        unsafe { compiled(self, task) }
    }

    #[inline(always)]
    fn prefetch<T>(self, values: &[T], index: usize) {
        // SAFETY: a prefetch reads nothing, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(values.as_ptr().wrapping_add(index).cast()) }
    }

    #[inline(always)]
    fn prefetch_far<T>(self, values: &[T], index: usize) {
        // SAFETY: a prefetch reads nothing, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(values.as_ptr().wrapping_add(index).cast()) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, x: __m512, to: &mut [f32; LANES]) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), x) }
    }

    #[inline(always)]
    fn load_f16(self, from: &[u16; LANES]) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_bf16(self, from: &[u32; LANES / 2]) -> __m512 {
        // SAFETY: see above.
        unsafe {
            let twos = _mm512_broadcast_i64x4(_mm256_loadu_si256(from.as_ptr().cast()));
            let high = _mm512_and_si512(twos, _mm512_set1_epi32(HIGH_HALF));
            _mm512_castsi512_ps(_mm512_mask_slli_epi32::<16>(high, 0x00ff, twos))
        }
    }

    #[inline(always)]
    fn load_i8(self, from: &[i8; LANES]) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.as_ptr().cast()))) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn abs(self, x: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_abs_ps(x) }
    }

    #[inline(always)]
    fn copysign(self, magnitude: __m512, sign: __m512) -> __m512 {
        /// `bit ? sign : magnitude`, bit by bit.
        const CHOOSE: i32 = 0b1100_1010;
        // SAFETY: see above.
        unsafe {
            let (magnitude, sign) = (_mm512_castps_si512(magnitude), _mm512_castps_si512(sign));
            let bit = _mm512_set1_epi32(i32::MIN);
            _mm512_castsi512_ps(_mm512_ternarylogic_epi32::<CHOOSE>(bit, sign, magnitude))
        }
    }

    #[inline(always)]
    fn if_less(self, a: __m512, b: __m512, yes: __m512, no: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), no, yes) }
    }

    #[inline(always)]
    fn at_least(self, x: __m512, bound: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_max_ps(bound, x) }
    }

    #[inline(always)]
    fn at_most(self, x: __m512, bound: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_min_ps(bound, x) }
    }

    #[inline(always)]
    fn ints(self) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    fn load_pairs(self, from: &[i8; 2 * LANES]) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_cvtepi8_epi16(_mm256_loadu_si256(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn splat_pair(self, pair: [i16; 2]) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_set1_epi32(pair_bits(pair)) }
    }

    #[inline(always)]
    fn add_products(self, sums: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_add_epi32(sums, _mm512_madd_epi16(a, b)) }
    }

    #[inline(always)]
    fn to_floats(self, x: __m512i) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_cvtepi32_ps(x) }
    }

    #[inline(always)]
    fn store_i16(self, x: __m512, to: &mut [i16; LANES]) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(x))) }
    }

    #[inline(always)]
    fn power_of_2(self, shifted: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe {
            let powers = _mm512_slli_epi32::<23>(_mm512_castps_si512(shifted));
            _mm512_castsi512_ps(_mm512_add_epi32(powers, _mm512_set1_epi32(ONE)))
        }
    }
}
