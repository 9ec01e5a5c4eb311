//! What of many distances lies within a range: the nodes, or how many they are.
//!
//! A branch for each node is guessed wrong whenever one is near, which is as long as a line of its code takes.

use std::ops::Range;

/// Room behind the last node that is kept: whole registers are written.
pub(in crate::vector) const SLACK: usize = 16;

/// Writes those of the nodes whose distance is in the range to the front of the output, in order; how many.
///
/// Safety: the machine has the level; there is a distance for each node; the output is [`SLACK`] longer than the
/// nodes.
pub(super) type KeepFn = unsafe fn(&[u32], &[u32], &Range<u32>, &mut [u32]) -> usize;

/// How many of the distances are below a limit.
///
/// Safety: the machine has the level.
pub(super) type CountFn = unsafe fn(&[u32], u32) -> usize;

#[inline(always)]
pub(super) unsafe fn keep(nodes: &[u32], distances: &[u32], within: &Range<u32>, out: &mut [u32]) -> usize {
    let mut kept = 0;
    for (node, distance) in nodes.iter().zip(distances) {
        out[kept] = *node;
        kept += usize::from(within.contains(distance));
    }
    kept
}

#[inline(always)]
pub(super) unsafe fn count(distances: &[u32], limit: u32) -> usize {
    distances.iter().map(|distance| u32::from(*distance < limit)).sum::<u32>() as usize
}

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2 {
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(in super::super) unsafe fn count(distances: &[u32], limit: u32) -> usize {
        // SAFETY: plain Rust, compiled for the level.
        unsafe { super::count(distances, limit) }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod avx512 {
    use std::arch::x86_64::*;
    use std::ops::Range;

    const STEP: usize = 16;

    #[inline(always)]
    fn mask_of(left: usize) -> __mmask16 {
        if left >= STEP { u16::MAX } else { (1 << left) - 1 }
    }

    #[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(in super::super) unsafe fn count(distances: &[u32], limit: u32) -> usize {
        // SAFETY: masks keep every read inside the slice.
        unsafe {
            let limit = _mm512_set1_epi32(limit as i32);
            let (rows, rest) = distances.as_chunks::<STEP>();
            let below = |row: __m512i| u32::from(_mm512_cmplt_epu32_mask(row, limit));
            let row = |row: &[u32; STEP]| _mm512_loadu_epi32(row.as_ptr().cast());
            let (pairs, last) = rows.as_chunks::<2>();
            let mut count = 0;
            for [first, second] in pairs {
                count += (below(row(first)) << 16 | below(row(second))).count_ones();
            }
            last.iter().for_each(|last| count += below(row(last)).count_ones());
            let mask = mask_of(rest.len());
            let rest = _mm512_maskz_loadu_epi32(mask, rest.as_ptr().cast());
            count += _mm512_mask_cmplt_epu32_mask(mask, rest, limit).count_ones();
            count as usize
        }
    }

    /// Compressed in a register and written whole: a store that compresses takes some 100 cycles on Zen 4.
    #[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(in super::super) unsafe fn keep(
        nodes: &[u32],
        distances: &[u32],
        within: &Range<u32>,
        out: &mut [u32],
    ) -> usize {
        // SAFETY: masks keep every read inside the slices; no more is kept than was read, so there is room for
        // a register behind it.
        unsafe {
            let (start, end) = (_mm512_set1_epi32(within.start as i32), _mm512_set1_epi32(within.end as i32));
            let mut kept = 0;
            let mut keep = |at: usize, mask: __mmask16| {
                let row = _mm512_maskz_loadu_epi32(mask, distances.as_ptr().add(at).cast());
                let mask = _mm512_mask_cmpge_epu32_mask(mask, row, start);
                let mask = _mm512_mask_cmplt_epu32_mask(mask, row, end);
                let row = _mm512_maskz_loadu_epi32(mask, nodes.as_ptr().add(at).cast());
                _mm512_storeu_epi32(
                    out.as_mut_ptr().add(kept).cast(),
                    _mm512_maskz_compress_epi32(mask, row),
                );
                kept += mask.count_ones() as usize;
            };
            let whole = nodes.len() / STEP * STEP;
            (0..whole).step_by(STEP).for_each(|at| keep(at, u16::MAX));
            if whole < nodes.len() {
                keep(whole, mask_of(nodes.len() - whole));
            }
            kept
        }
    }
}
