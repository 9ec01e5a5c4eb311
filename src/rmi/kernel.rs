//! The one comparison that every probe is made of: how many of the 8 keys of a cache line are below a key.
//!
//! It comes in four instruction sets with the same answer; [`Level`] names them and picks at run time.
//! Lookups are generic over [`Kernel`] and compiled once a level ([`super::probe`]).
//!
//! Counting keys below, instead of searching, is from Schlegel, Gemulla and Lehner, "k-ary search on
//! modern processors" (2009); over a line at a time, from Slotin's static B-tree ("Algorithms for
//! Modern Hardware", 2022).

use super::memory::LINE_KEYS;

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Level {
    /// The best of this machine.
    pub fn best() -> Level {
        *Level::available().last().expect("scalar is always there")
    }

    /// All of this machine, from the plainest.
    pub fn available() -> Vec<Level> {
        let mut levels = vec![Level::Scalar];
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            let common = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("lzcnt")
                && is_x86_feature_detected!("popcnt");
            if common {
                levels.push(Level::Avx2);
            }
            if common && is_x86_feature_detected!("avx512f") {
                levels.push(Level::Avx512);
            }
        }
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        levels.push(Level::Neon);
        levels
    }
}

/// A level that this machine was found to have; only [`Kernel`]s of such levels may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proven(Level);

impl Proven {
    pub fn best() -> Proven {
        Proven(Level::best())
    }

    /// `level`, if this machine has it.
    pub fn of(level: Level) -> Option<Proven> {
        Level::available().contains(&level).then_some(Proven(level))
    }

    pub fn level(self) -> Level {
        self.0
    }
}

pub(super) trait Kernel: Copy {
    /// How many of the 8 keys at `keys` are below `key`.
    ///
    /// # Safety
    /// 8 keys can be read at `keys`, and this machine has the kernel's instructions.
    unsafe fn below(keys: *const u64, key: u64) -> usize;

    /// How many of the `8 * LINES` keys at `keys` are below `key`.
    ///
    /// # Safety
    /// As of `below`, for all of these keys.
    #[inline(always)]
    unsafe fn below_in<const LINES: usize>(keys: *const u64, key: u64) -> usize {
        let mut below = 0;
        for line in 0..LINES {
            // SAFETY: inside the keys that can be read.
            below += unsafe { Self::below(keys.add(line * LINE_KEYS), key) };
        }
        below
    }
}

#[derive(Clone, Copy)]
pub(super) struct Scalar;

impl Kernel for Scalar {
    #[inline(always)]
    unsafe fn below(keys: *const u64, key: u64) -> usize {
        let mut below = 0;
        for at in 0..LINE_KEYS {
            // SAFETY: 8 keys can be read.
            below += usize::from(unsafe { keys.add(at).read() } < key);
        }
        below
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Kernel, LINE_KEYS};
    use std::arch::x86_64::{
        __m256i, _mm256_castsi256_pd, _mm256_cmpgt_epi64, _mm256_loadu_si256, _mm256_movemask_pd,
        _mm256_set1_epi64x, _mm256_xor_si256, _mm512_cmplt_epu64_mask, _mm512_loadu_si512, _mm512_set1_epi64,
    };

    #[derive(Clone, Copy)]
    pub struct Avx2;

    impl Kernel for Avx2 {
        #[inline(always)]
        unsafe fn below(keys: *const u64, key: u64) -> usize {
            // SAFETY: the machine has AVX2, and 8 keys can be read.
            unsafe {
                // There is no unsigned comparison: both sides change their sign.
                let sign = _mm256_set1_epi64x(i64::MIN);
                let key = _mm256_xor_si256(_mm256_set1_epi64x(key as i64), sign);
                let half = |at: usize| {
                    let keys = _mm256_loadu_si256(keys.add(at).cast::<__m256i>());
                    let below = _mm256_cmpgt_epi64(key, _mm256_xor_si256(keys, sign));
                    _mm256_movemask_pd(_mm256_castsi256_pd(below)) as u32
                };
                (half(0) | half(LINE_KEYS / 2) << 4).count_ones() as usize
            }
        }
    }

    #[derive(Clone, Copy)]
    pub struct Avx512;

    impl Kernel for Avx512 {
        #[inline(always)]
        unsafe fn below(keys: *const u64, key: u64) -> usize {
            // SAFETY: the machine has AVX-512, and 8 keys can be read.
            unsafe {
                let keys = _mm512_loadu_si512(keys.cast());
                _mm512_cmplt_epu64_mask(keys, _mm512_set1_epi64(key as i64)).count_ones() as usize
            }
        }

        #[inline(always)]
        unsafe fn below_in<const LINES: usize>(keys: *const u64, key: u64) -> usize {
            let mut masks = 0_u64;
            for line in 0..LINES {
                // SAFETY: the machine has AVX-512, and all lines can be read.
                let mask = unsafe {
                    let keys = _mm512_loadu_si512(keys.add(line * LINE_KEYS).cast());
                    _mm512_cmplt_epu64_mask(keys, _mm512_set1_epi64(key as i64))
                };
                masks |= u64::from(mask) << (8 * line);
            }
            masks.count_ones() as usize
        }
    }
}

#[cfg(target_arch = "aarch64")]
#[derive(Clone, Copy)]
pub(super) struct Neon;

#[cfg(target_arch = "aarch64")]
impl Kernel for Neon {
    #[inline(always)]
    unsafe fn below(keys: *const u64, key: u64) -> usize {
        use std::arch::aarch64::{vaddq_u64, vaddvq_u64, vcltq_u64, vdupq_n_u64, vld1q_u64};
        // SAFETY: NEON is part of aarch64, and 8 keys can be read.
        unsafe {
            let key = vdupq_n_u64(key);
            let pair = |at: usize| vcltq_u64(vld1q_u64(keys.add(at)), key);
            // Each true lane is -1.
            let sums = vaddq_u64(vaddq_u64(pair(0), pair(2)), vaddq_u64(pair(4), pair(6)));
            vaddvq_u64(sums).wrapping_neg() as usize
        }
    }
}

/// Asks for a cache line ahead of its use. Any address is allowed.
#[inline(always)]
pub(super) fn prefetch<T>(at: *const T) {
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
