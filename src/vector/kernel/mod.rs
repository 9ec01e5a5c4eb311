//! Distances, in four instruction sets with the same meaning: scalar, AVX2, AVX-512 with VNNI, NEON.
//!
//! Two families:
//! - **Codes** ([`CodeFn`]): squared L2 between one prepared query and the codes of many nodes, in integers.
//!   All levels agree to the bit, so a graph is the same whatever machine built it. A call takes a whole list
//!   of nodes: one jump through a pointer for each neighbourhood, and lines of several nodes are under way at
//!   a time.
//! - **Floats** ([`FloatFn`]): dot, squared L2, and dot with the norm, between an f32 query and an original in
//!   f32, f16 or bf16. Levels differ in the order of additions; see [`error_bound`].
//!
//! And a third that looks at distances alone: [`sieve`].
//!
//! Codes come in two planes of 4 bits (see [`super::codes`]). *Coarse* reads the upper plane only, *fine* both.
//! Coarse differences are made in 7 bits, so that their absolute values fit both operands of VPDPBUSD.

use std::ops::Range;

use super::element::Element;
use crate::rmi::memory::LINE_BYTES;
use sieve::{CountFn, KeepFn, SLACK};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
pub(super) mod sieve;
#[cfg(test)]
mod tests;

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// With BW, VL and VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Level {
    /// All of this machine, from the plainest.
    pub fn available() -> Vec<Level> {
        let mut levels = vec![Level::Scalar];
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            let common = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            if common {
                levels.push(Level::Avx2);
            }
            let wide = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni");
            if common && wide {
                levels.push(Level::Avx512);
            }
        }
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        levels.push(Level::Neon);
        levels
    }
}

/// What a float kernel sums up over `q` of the query and `x` of the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// `q * x`
    Dot,
    /// `(q - x)^2`
    L2,
    /// `q * x`, and `x * x`
    DotNorm,
}

/// Where codes of nodes lie: the upper plane of node `i` at `start + i * stride`, the lower plane behind it.
#[derive(Clone, Copy, Debug)]
pub(super) struct CodesAt {
    pub start: *const u8,
    pub stride: usize,
    /// Bytes of a plane: a multiple of [`PLANE_STEP_BYTES`].
    pub plane: usize,
}

/// Planes are a multiple of this, so that no kernel of up to 256 bits has a tail.
pub const PLANE_STEP_BYTES: usize = 32;

/// Writes the distance of each of `nodes` to `out`.
///
/// Safety: the machine has the level; `2 * plane` bytes can be read at the query and at every node; `out` is as
/// long as `nodes`.
type CodeFn = unsafe fn(*const u8, CodesAt, &[u32], &mut [u32]);

/// As [`CodeFn`], with a term for each node: see [`OwnTerm`].
///
/// Safety: moreover, there is a term for every node.
type TermsFn = unsafe fn(*const u8, CodesAt, *const i32, &[u32], &mut [u32]);

/// Safety: the machine has the level; `query.len()` elements can be read at the pointer, which needs no
/// alignment.
type FloatFn = unsafe fn(&[f32], *const u8) -> [f32; 2];

/// Work in plain Rust that [`Kernels::compiled`] does. `run`, and whatever it is made of, is `inline(always)`: what
/// is called is not compiled for the level. (So is a closure, or a function that is passed.)
pub(super) trait Plain {
    type Result;
    fn run(self) -> Self::Result;
}

/// What a code alone adds to coarse distances, where these are made of products: `64 x^2 - 1024 x` for each `x` of 4
/// bits.
struct OwnTerm<'a> {
    upper: &'a [u8],
}

impl Plain for OwnTerm<'_> {
    type Result = i32;

    #[inline(always)]
    fn run(self) -> i32 {
        let of = |x: u8| 64 * i32::from(x) * (i32::from(x) - 16);
        self.upper.iter().fold(0, |sum, byte| sum + of(byte >> 4) + of(byte & 15))
    }
}

/// The kernels of one level; there is no way to one that this machine does not have.
#[derive(Clone, Copy, Debug)]
pub struct Kernels {
    level: Level,
    coarse: CodeFn,
    /// None where it is no faster, or was not measured.
    coarse_by_terms: Option<TermsFn>,
    fine: CodeFn,
    keep: KeepFn,
    count: CountFn,
    /// By element, then by sum.
    floats: [[FloatFn; 3]; 3],
}

/// The table of float kernels of a level, whose generic functions are `$sum::<$element>`.
macro_rules! float_table {
    ($level:ident) => {
        [
            [$level::dot::<$level::F32>, $level::l2::<$level::F32>, $level::dot_norm::<$level::F32>],
            [$level::dot::<$level::F16>, $level::l2::<$level::F16>, $level::dot_norm::<$level::F16>],
            [$level::dot::<$level::Bf16>, $level::l2::<$level::Bf16>, $level::dot_norm::<$level::Bf16>],
        ]
    };
}

impl Kernels {
    /// The best of this machine.
    pub fn best() -> Kernels {
        let level = *Level::available().last().expect("scalar is always there");
        Kernels::unproven(level)
    }

    /// Of `level`, if this machine has it.
    pub fn of(level: Level) -> Option<Kernels> {
        Level::available().contains(&level).then(|| Kernels::unproven(level))
    }

    fn unproven(level: Level) -> Kernels {
        let (coarse, fine, floats): (CodeFn, CodeFn, _) = match level {
            Level::Scalar => (scalar::coarse, scalar::fine, float_table!(scalar)),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => (avx2::coarse, avx2::fine, float_table!(avx2)),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => (avx512::coarse, avx512::fine, float_table!(avx512)),
            #[cfg(target_arch = "aarch64")]
            Level::Neon => (neon::coarse, neon::fine, float_table!(neon)),
        };
        let (keep, count): (KeepFn, CountFn) = match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => (sieve::keep, sieve::avx2::count),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => (sieve::avx512::keep, sieve::avx512::count),
            _ => (sieve::keep, sieve::count),
        };
        let coarse_by_terms: Option<TermsFn> = match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => Some(avx512::coarse_by_terms),
            _ => None,
        };
        Kernels { level, coarse, coarse_by_terms, fine, keep, count, floats }
    }

    pub fn level(&self) -> Level {
        self.level
    }

    /// Distances over the upper planes alone.
    ///
    /// # Safety
    /// `query` has `2 * codes.plane` bytes, and so has every node of `nodes`.
    #[inline]
    pub(super) unsafe fn coarse(&self, query: &[u8], codes: CodesAt, nodes: &[u32], out: &mut [u32]) {
        assert!(query.len() == 2 * codes.plane && out.len() == nodes.len());
        // SAFETY: lengths are as asserted and promised, and the level is proven.
        unsafe { (self.coarse)(query.as_ptr(), codes, nodes, out) }
    }

    /// As `coarse`, with the same distances, of nodes that nobody asked for yet; faster where every node has its
    /// [`Kernels::own_term`].
    ///
    /// # Safety
    /// As of `coarse`, and there is a term for every node of `nodes`.
    #[inline]
    pub(super) unsafe fn coarse_by_terms(
        &self,
        query: &[u8],
        codes: CodesAt,
        terms: &[i32],
        nodes: &[u32],
        out: &mut [u32],
    ) {
        assert!(query.len() == 2 * codes.plane && out.len() == nodes.len());
        // SAFETY: as of `coarse`.
        unsafe {
            match self.coarse_by_terms {
                Some(by_terms) => by_terms(query.as_ptr(), codes, terms.as_ptr(), nodes, out),
                None => self.coarse_ahead(query, codes, nodes, out),
            }
        }
    }

    /// Asks for the upper planes of some nodes while those before them are measured.
    ///
    /// # Safety
    /// As of `coarse`.
    unsafe fn coarse_ahead(&self, query: &[u8], codes: CodesAt, nodes: &[u32], out: &mut [u32]) {
        const AHEAD_NODES: usize = 32;
        let ask_for = |node: &u32| {
            let code = codes.start.wrapping_add(*node as usize * codes.stride);
            (0..codes.plane).step_by(LINE_BYTES).for_each(|at| prefetch(code.wrapping_add(at)));
        };
        nodes.iter().take(AHEAD_NODES).for_each(ask_for);
        for (begin, out) in (0..).step_by(AHEAD_NODES).zip(out.chunks_mut(AHEAD_NODES)) {
            let (now, next) = nodes[begin..].split_at(out.len());
            next.iter().take(AHEAD_NODES).for_each(ask_for);
            // SAFETY: as of `coarse`.
            unsafe { self.coarse(query, codes, now, out) };
        }
    }

    /// Of an upper plane, for `coarse_by_terms`.
    pub(super) fn own_term(&self, upper: &[u8]) -> i32 {
        self.compiled(OwnTerm { upper })
    }

    /// Distances over both planes.
    ///
    /// # Safety
    /// As of `coarse`.
    #[inline]
    pub(super) unsafe fn fine(&self, query: &[u8], codes: CodesAt, nodes: &[u32], out: &mut [u32]) {
        assert!(query.len() == 2 * codes.plane && out.len() == nodes.len());
        // SAFETY: as above.
        unsafe { (self.fine)(query.as_ptr(), codes, nodes, out) }
    }

    /// Those of the nodes whose distance is in the range, to the front of `out`, in order; how many.
    #[inline]
    pub(super) fn keep(
        &self,
        nodes: &[u32],
        distances: &[u32],
        within: &Range<u32>,
        out: &mut [u32],
    ) -> usize {
        assert!(distances.len() == nodes.len() && out.len() >= nodes.len() + SLACK);
        // SAFETY: lengths are as asserted, and the level is proven.
        unsafe { (self.keep)(nodes, distances, within, out) }
    }

    /// How many of the distances are below `limit`.
    #[inline]
    pub(super) fn count(&self, distances: &[u32], limit: u32) -> usize {
        // SAFETY: the level is proven.
        unsafe { (self.count)(distances, limit) }
    }

    /// Does what is plain Rust as compiled for the level: several numbers at a time, with the same results.
    #[inline]
    pub(super) fn compiled<W: Plain>(&self, work: W) -> W::Result {
        match self.level {
            // SAFETY: the level is proven.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { avx2::compiled(work) },
            // SAFETY: the level is proven.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { avx512::compiled(work) },
            _ => work.run(),
        }
    }

    /// The sum over the elements of an original, little-endian at any alignment. The second number is only
    /// there for [`Sum::DotNorm`].
    #[inline]
    pub fn float(&self, sum: Sum, element: Element, query: &[f32], original: &[u8]) -> [f32; 2] {
        assert_eq!(original.len(), query.len() * element.bytes(), "an original of another dimension");
        let kernel = self.floats[element as usize][sum as usize];
        // SAFETY: as many elements as the query has, and the level is proven.
        unsafe { kernel(query, original.as_ptr()) }
    }
}

/// How far a float kernel may be from the exact sum, given the sum of the absolute values of all terms: each
/// term is rounded once or twice, and added at most `dimension / 16 + 80` times.
pub fn error_bound(dimension: usize, absolute_sum: f64) -> f64 {
    (dimension + 80) as f64 * f64::from(f32::EPSILON) * absolute_sum
}

/// Asks for a cache line ahead of its use. Any address is allowed.
#[inline(always)]
pub(super) fn prefetch(at: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch reads nothing that the program sees and never faults; SSE is part of x86-64.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: a prefetch reads nothing that the program sees and never faults.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    let _ = at;
}
