//! The kernels in plain Rust: what the others are tested against, and what runs where there is none of them.

use super::CodesAt;
use crate::vector::element::{bf16_to_f32, f16_to_f32};

pub(super) unsafe fn coarse(query: *const u8, codes: CodesAt, nodes: &[u32], out: &mut [u32]) {
    for (node, out) in nodes.iter().zip(out) {
        // SAFETY: as promised by the caller.
        *out = unsafe { coarse_one(query, codes.start.add(*node as usize * codes.stride), codes.plane) };
    }
}

unsafe fn coarse_one(query: *const u8, code: *const u8, plane: usize) -> u32 {
    let mut sum = 0;
    for at in 0..plane {
        // SAFETY: inside the plane, and inside both halves of the query.
        let (byte, first, second) =
            unsafe { (code.add(at).read(), query.add(at).read(), query.add(plane + at).read()) };
        let (first, second) = (first.abs_diff(byte >> 4 << 3), second.abs_diff((byte & 15) << 3));
        sum += u32::from(first).pow(2) + u32::from(second).pow(2);
    }
    sum
}

pub(super) unsafe fn fine(query: *const u8, codes: CodesAt, nodes: &[u32], out: &mut [u32]) {
    for (node, out) in nodes.iter().zip(out) {
        // SAFETY: as promised by the caller.
        *out = unsafe { fine_one(query, codes.start.add(*node as usize * codes.stride), codes.plane) };
    }
}

unsafe fn fine_one(query: *const u8, code: *const u8, plane: usize) -> u32 {
    let mut sum = 0;
    for at in 0..plane {
        // SAFETY: inside the planes, and inside both halves of the query.
        let (upper, lower, first, second) = unsafe {
            let lower = code.add(plane + at).read();
            (code.add(at).read(), lower, query.add(at).read(), query.add(plane + at).read())
        };
        let first = first.abs_diff(upper & 0xf0 | lower >> 4);
        let second = second.abs_diff(upper << 4 | lower & 15);
        sum += u32::from(first).pow(2) + u32::from(second).pow(2);
    }
    sum
}

/// An element type: its number at a place.
pub(super) trait Number {
    /// Safety: element `at` can be read.
    unsafe fn read(start: *const u8, at: usize) -> f32;
}

pub(super) struct F32;
pub(super) struct F16;
pub(super) struct Bf16;

impl Number for F32 {
    unsafe fn read(start: *const u8, at: usize) -> f32 {
        // SAFETY: the element can be read.
        f32::from_bits(u32::from_le(unsafe { start.cast::<u32>().add(at).read_unaligned() }))
    }
}

impl Number for F16 {
    unsafe fn read(start: *const u8, at: usize) -> f32 {
        // SAFETY: the element can be read.
        f16_to_f32(u16::from_le(unsafe { start.cast::<u16>().add(at).read_unaligned() }))
    }
}

impl Number for Bf16 {
    unsafe fn read(start: *const u8, at: usize) -> f32 {
        // SAFETY: the element can be read.
        bf16_to_f32(u16::from_le(unsafe { start.cast::<u16>().add(at).read_unaligned() }))
    }
}

/// Sums of several numbers side by side, so that additions do not wait for each other.
const SUMS: usize = 8;

unsafe fn sum<N: Number, const COUNT: usize>(
    query: &[f32],
    original: *const u8,
    terms: impl Fn(f32, f32) -> [f32; COUNT],
) -> [f32; 2] {
    let mut sums = [[0.0_f32; SUMS]; COUNT];
    for (at, q) in query.iter().enumerate() {
        // SAFETY: as many elements as the query has.
        let terms = terms(*q, unsafe { N::read(original, at) });
        for (sums, term) in sums.iter_mut().zip(terms) {
            sums[at % SUMS] += term;
        }
    }
    let mut out = [0.0; 2];
    out.iter_mut().zip(sums).for_each(|(out, sums)| *out = sums.iter().sum());
    out
}

pub(super) unsafe fn dot<N: Number>(query: &[f32], original: *const u8) -> [f32; 2] {
    // SAFETY: as promised by the caller.
    unsafe { sum::<N, 1>(query, original, |q, x| [q * x]) }
}

pub(super) unsafe fn l2<N: Number>(query: &[f32], original: *const u8) -> [f32; 2] {
    // SAFETY: as promised by the caller.
    unsafe { sum::<N, 1>(query, original, |q, x| [(q - x) * (q - x)]) }
}

pub(super) unsafe fn dot_norm<N: Number>(query: &[f32], original: *const u8) -> [f32; 2] {
    // SAFETY: as promised by the caller.
    unsafe { sum::<N, 2>(query, original, |q, x| [q * x, x * x]) }
}
