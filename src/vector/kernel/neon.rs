//! NEON: 16 bytes of codes or 4 floats at a time; float tails element by element.

use std::arch::aarch64::*;

use super::CodesAt;
use super::scalar::{self, Number};

const STEP: usize = 16;

#[inline(always)]
unsafe fn square_step(sum: uint32x4_t, code: uint8x16_t, query: uint8x16_t) -> uint32x4_t {
    // SAFETY: NEON is part of aarch64.
    unsafe {
        let apart = vabdq_u8(code, query);
        let low = vmull_u8(vget_low_u8(apart), vget_low_u8(apart));
        let high = vmull_u8(vget_high_u8(apart), vget_high_u8(apart));
        vpadalq_u16(vpadalq_u16(sum, low), high)
    }
}

pub(super) unsafe fn coarse(query: *const u8, codes: CodesAt, nodes: &[u32], out: &mut [u32]) {
    let plane = codes.plane;
    // SAFETY: planes are whole steps, so every read is inside them.
    unsafe {
        let seven = vdupq_n_u8(0x78);
        for (node, out) in nodes.iter().zip(out) {
            let code = codes.start.add(*node as usize * codes.stride);
            let mut sum = vdupq_n_u32(0);
            for at in (0..plane).step_by(STEP) {
                let upper = vld1q_u8(code.add(at));
                let high = vandq_u8(vshrq_n_u8::<1>(upper), seven);
                let low = vandq_u8(vshlq_n_u8::<3>(upper), seven);
                sum = square_step(sum, high, vld1q_u8(query.add(at)));
                sum = square_step(sum, low, vld1q_u8(query.add(plane + at)));
            }
            *out = vaddvq_u32(sum);
        }
    }
}

pub(super) unsafe fn fine(query: *const u8, codes: CodesAt, nodes: &[u32], out: &mut [u32]) {
    let plane = codes.plane;
    // SAFETY: planes are whole steps, so every read is inside them.
    unsafe {
        let high_bits = vdupq_n_u8(0xf0);
        for (node, out) in nodes.iter().zip(out) {
            let code = codes.start.add(*node as usize * codes.stride);
            let mut sum = vdupq_n_u32(0);
            for at in (0..plane).step_by(STEP) {
                let (upper, lower) = (vld1q_u8(code.add(at)), vld1q_u8(code.add(plane + at)));
                let high = vbslq_u8(high_bits, upper, vshrq_n_u8::<4>(lower));
                let low = vbslq_u8(high_bits, vshlq_n_u8::<4>(upper), lower);
                sum = square_step(sum, high, vld1q_u8(query.add(at)));
                sum = square_step(sum, low, vld1q_u8(query.add(plane + at)));
            }
            *out = vaddvq_u32(sum);
        }
    }
}

/// An element type: 4 of its numbers as f32.
pub(super) trait Numbers {
    type Single: Number;
    /// Safety: 4 elements can be read from element `at` on.
    unsafe fn load(start: *const u8, at: usize) -> float32x4_t;
}

pub(super) struct F32;
pub(super) struct F16;
pub(super) struct Bf16;

impl Numbers for F32 {
    type Single = scalar::F32;

    #[inline(always)]
    unsafe fn load(start: *const u8, at: usize) -> float32x4_t {
        // SAFETY: 4 elements can be read; as bytes they need no alignment.
        unsafe { vreinterpretq_f32_u8(vld1q_u8(start.add(at * 4))) }
    }
}

impl Numbers for F16 {
    type Single = scalar::F16;

    #[inline(always)]
    unsafe fn load(start: *const u8, at: usize) -> float32x4_t {
        // SAFETY: 4 elements can be read. The exponent is moved by a multiplication, as in `f16_to_f32`.
        unsafe {
            let halves = vmovl_u16(vreinterpret_u16_u8(vld1_u8(start.add(at * 2))));
            let sign = vshlq_n_u32::<16>(vandq_u32(halves, vdupq_n_u32(0x8000)));
            let rest = vshlq_n_u32::<13>(vandq_u32(halves, vdupq_n_u32(0x7fff)));
            let scaled = vmulq_f32(vreinterpretq_f32_u32(rest), vdupq_n_f32(f32::from_bits(0x7780_0000)));
            vreinterpretq_f32_u32(vorrq_u32(vreinterpretq_u32_f32(scaled), sign))
        }
    }
}

impl Numbers for Bf16 {
    type Single = scalar::Bf16;

    #[inline(always)]
    unsafe fn load(start: *const u8, at: usize) -> float32x4_t {
        // SAFETY: 4 elements can be read.
        unsafe {
            let halves = vmovl_u16(vreinterpret_u16_u8(vld1_u8(start.add(at * 2))));
            vreinterpretq_f32_u32(vshlq_n_u32::<16>(halves))
        }
    }
}

const FLOATS: usize = 4;
const SUMS: usize = 4;

/// Calls `step` for every 4 numbers of both, with the place of the sum to use; then `last` for the rest.
#[inline(always)]
unsafe fn each<N: Numbers>(
    query: &[f32],
    original: *const u8,
    mut step: impl FnMut(usize, float32x4_t, float32x4_t),
    mut last: impl FnMut(f32, f32),
) {
    let whole = query.len() / FLOATS;
    // SAFETY: as many elements as the query has.
    unsafe {
        for block in 0..whole {
            let at = block * FLOATS;
            step(block % SUMS, vld1q_f32(query.as_ptr().add(at)), N::load(original, at));
        }
        for (at, number) in query.iter().enumerate().skip(whole * FLOATS) {
            last(*number, N::Single::read(original, at));
        }
    }
}

#[inline(always)]
unsafe fn total(sums: [float32x4_t; SUMS]) -> f32 {
    // SAFETY: NEON is part of aarch64.
    unsafe { vaddvq_f32(vaddq_f32(vaddq_f32(sums[0], sums[1]), vaddq_f32(sums[2], sums[3]))) }
}

pub(super) unsafe fn dot<N: Numbers>(query: &[f32], original: *const u8) -> [f32; 2] {
    // SAFETY: as promised by the caller.
    unsafe {
        let (mut sums, mut rest) = ([vdupq_n_f32(0.0); SUMS], 0.0);
        let step = |at: usize, q, x| sums[at] = vfmaq_f32(sums[at], q, x);
        each::<N>(query, original, step, |q, x| rest += q * x);
        [total(sums) + rest, 0.0]
    }
}

pub(super) unsafe fn l2<N: Numbers>(query: &[f32], original: *const u8) -> [f32; 2] {
    // SAFETY: as promised by the caller.
    unsafe {
        let (mut sums, mut rest) = ([vdupq_n_f32(0.0); SUMS], 0.0);
        let step = |at: usize, q, x| {
            let apart = vsubq_f32(q, x);
            sums[at] = vfmaq_f32(sums[at], apart, apart);
        };
        each::<N>(query, original, step, |q, x| rest += (q - x) * (q - x));
        [total(sums) + rest, 0.0]
    }
}

pub(super) unsafe fn dot_norm<N: Numbers>(query: &[f32], original: *const u8) -> [f32; 2] {
    // SAFETY: as promised by the caller.
    unsafe {
        let (mut dots, mut norms) = ([vdupq_n_f32(0.0); SUMS], [vdupq_n_f32(0.0); SUMS]);
        let (mut dot, mut norm) = (0.0, 0.0);
        let step = |at: usize, q, x| {
            dots[at] = vfmaq_f32(dots[at], q, x);
            norms[at] = vfmaq_f32(norms[at], x, x);
        };
        each::<N>(query, original, step, |q, x| {
            dot += q * x;
            norm += x * x;
        });
        [total(dots) + dot, total(norms) + norm]
    }
}
