//! AVX2 with FMA and F16C: 32 bytes of codes or 8 floats at a time; float tails element by element.

use std::arch::x86_64::*;

use super::scalar::{self, Number};
use super::{CodesAt, Plain};

const STEP: usize = 32;

/// Whatever is inlined into it is compiled for the level.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn compiled<W: Plain>(work: W) -> W::Result {
    work.run()
}

#[inline(always)]
unsafe fn load(from: *const u8, at: usize) -> __m256i {
    // SAFETY: 32 bytes can be read there.
    unsafe { _mm256_loadu_si256(from.add(at).cast()) }
}

#[inline(always)]
unsafe fn total_of_integers(sum: __m256i) -> u32 {
    // SAFETY: the caller's level has the instructions.
    unsafe {
        let half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
        let pair = _mm_add_epi32(half, _mm_shuffle_epi32::<0b0100_1110>(half));
        _mm_cvtsi128_si32(_mm_add_epi32(pair, _mm_shuffle_epi32::<0b1011_0001>(pair))) as u32
    }
}

/// Squares of 7-bit differences, added to `sum`. Two squares are at most 2 * 127^2, which an i16 holds.
#[inline(always)]
unsafe fn coarse_half(sum: __m256i, code: __m256i, query: __m256i) -> __m256i {
    // SAFETY: the caller's level has the instructions.
    unsafe {
        let apart = _mm256_abs_epi8(_mm256_sub_epi8(code, query));
        let pairs = _mm256_maddubs_epi16(apart, apart);
        _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn coarse(query: *const u8, codes: CodesAt, nodes: &[u32], out: &mut [u32]) {
    let plane = codes.plane;
    // SAFETY: planes are whole steps, so every read is inside them.
    unsafe {
        let seven = _mm256_set1_epi8(0x78);
        for (node, out) in nodes.iter().zip(out) {
            let code = codes.start.add(*node as usize * codes.stride);
            let mut sum = _mm256_setzero_si256();
            for at in (0..plane).step_by(STEP) {
                let upper = load(code, at);
                let high = _mm256_and_si256(_mm256_srli_epi16::<1>(upper), seven);
                let low = _mm256_and_si256(_mm256_slli_epi16::<3>(upper), seven);
                sum = coarse_half(sum, high, load(query, at));
                sum = coarse_half(sum, low, load(query, plane + at));
            }
            *out = total_of_integers(sum);
        }
    }
}

#[inline(always)]
unsafe fn square_step(sum: __m256i, code: __m256i, query: __m256i) -> __m256i {
    // SAFETY: the caller's level has the instructions.
    unsafe {
        let zero = _mm256_setzero_si256();
        let apart = _mm256_sub_epi8(_mm256_max_epu8(code, query), _mm256_min_epu8(code, query));
        let low = _mm256_unpacklo_epi8(apart, zero);
        let high = _mm256_unpackhi_epi8(apart, zero);
        let sum = _mm256_add_epi32(sum, _mm256_madd_epi16(low, low));
        _mm256_add_epi32(sum, _mm256_madd_epi16(high, high))
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn fine(query: *const u8, codes: CodesAt, nodes: &[u32], out: &mut [u32]) {
    let plane = codes.plane;
    // SAFETY: planes are whole steps, so every read is inside them.
    unsafe {
        let low_bits = _mm256_set1_epi8(15);
        for (node, out) in nodes.iter().zip(out) {
            let code = codes.start.add(*node as usize * codes.stride);
            let mut sum = _mm256_setzero_si256();
            for at in (0..plane).step_by(STEP) {
                let (upper, lower) = (load(code, at), load(code, plane + at));
                let high = _mm256_or_si256(
                    _mm256_andnot_si256(low_bits, upper),
                    _mm256_and_si256(low_bits, _mm256_srli_epi16::<4>(lower)),
                );
                let low = _mm256_or_si256(
                    _mm256_andnot_si256(low_bits, _mm256_slli_epi16::<4>(upper)),
                    _mm256_and_si256(low_bits, lower),
                );
                sum = square_step(sum, high, load(query, at));
                sum = square_step(sum, low, load(query, plane + at));
            }
            *out = total_of_integers(sum);
        }
    }
}

/// An element type: 8 of its numbers as f32.
pub(super) trait Numbers {
    type Single: Number;
    /// Safety: 8 elements can be read from element `at` on.
    unsafe fn load(start: *const u8, at: usize) -> __m256;
}

pub(super) struct F32;
pub(super) struct F16;
pub(super) struct Bf16;

impl Numbers for F32 {
    type Single = scalar::F32;

    #[inline(always)]
    unsafe fn load(start: *const u8, at: usize) -> __m256 {
        // SAFETY: 8 elements can be read.
        unsafe { _mm256_loadu_ps(start.add(at * 4).cast()) }
    }
}

impl Numbers for F16 {
    type Single = scalar::F16;

    #[inline(always)]
    unsafe fn load(start: *const u8, at: usize) -> __m256 {
        // SAFETY: 8 elements can be read.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(start.add(at * 2).cast())) }
    }
}

impl Numbers for Bf16 {
    type Single = scalar::Bf16;

    #[inline(always)]
    unsafe fn load(start: *const u8, at: usize) -> __m256 {
        // SAFETY: 8 elements can be read.
        unsafe {
            let halves = _mm_loadu_si128(start.add(at * 2).cast());
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
        }
    }
}

const FLOATS: usize = 8;
const SUMS: usize = 4;

/// Calls `step` for every 8 numbers of both, with the place of the sum to use; then `last` for the rest.
#[inline(always)]
unsafe fn each<N: Numbers>(
    query: &[f32],
    original: *const u8,
    mut step: impl FnMut(usize, __m256, __m256),
    mut last: impl FnMut(f32, f32),
) {
    let whole = query.len() / FLOATS;
    // SAFETY: as many elements as the query has.
    unsafe {
        for block in 0..whole {
            let at = block * FLOATS;
            step(block % SUMS, _mm256_loadu_ps(query.as_ptr().add(at)), N::load(original, at));
        }
        for (at, number) in query.iter().enumerate().skip(whole * FLOATS) {
            last(*number, N::Single::read(original, at));
        }
    }
}

#[inline(always)]
unsafe fn total(sums: [__m256; SUMS]) -> f32 {
    // SAFETY: the caller's level has the instructions.
    unsafe {
        let sum = _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]));
        let half = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
        let pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
        _mm_cvtss_f32(_mm_add_ss(pair, _mm_shuffle_ps::<1>(pair, pair)))
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn dot<N: Numbers>(query: &[f32], original: *const u8) -> [f32; 2] {
    // SAFETY: as promised by the caller.
    unsafe {
        let (mut sums, mut rest) = ([_mm256_setzero_ps(); SUMS], 0.0);
        let step = |at: usize, q, x| sums[at] = _mm256_fmadd_ps(q, x, sums[at]);
        each::<N>(query, original, step, |q, x| rest += q * x);
        [total(sums) + rest, 0.0]
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn l2<N: Numbers>(query: &[f32], original: *const u8) -> [f32; 2] {
    // SAFETY: as promised by the caller.
    unsafe {
        let (mut sums, mut rest) = ([_mm256_setzero_ps(); SUMS], 0.0);
        let step = |at: usize, q, x| {
            let apart = _mm256_sub_ps(q, x);
            sums[at] = _mm256_fmadd_ps(apart, apart, sums[at]);
        };
        each::<N>(query, original, step, |q, x| rest += (q - x) * (q - x));
        [total(sums) + rest, 0.0]
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn dot_norm<N: Numbers>(query: &[f32], original: *const u8) -> [f32; 2] {
    // SAFETY: as promised by the caller.
    unsafe {
        let (mut dots, mut norms) = ([_mm256_setzero_ps(); SUMS], [_mm256_setzero_ps(); SUMS]);
        let (mut dot, mut norm) = (0.0, 0.0);
        let step = |at: usize, q, x| {
            dots[at] = _mm256_fmadd_ps(q, x, dots[at]);
            norms[at] = _mm256_fmadd_ps(x, x, norms[at]);
        };
        each::<N>(query, original, step, |q, x| {
            dot += q * x;
            norm += x * x;
        });
        [total(dots) + dot, total(norms) + norm]
    }
}
