//! One face for the structures that find ranks, and the compilation of their lookups for each instruction
//! set.
//!
//! A structure writes its lookup once, generic over [`Kernel`]. Here it is compiled once a level, each time
//! in a function of its own that has the level's instructions, so that the comparison of a line is inlined
//! into the lookup; one jump a call, or a batch, picks the function.

use super::kernel::{Kernel, Level, Proven, Scalar};
use super::keys::KeyArray;

/// Keys that a batch looks up side by side.
pub(super) const BATCH_KEYS: usize = 32;

/// Calls `$probe::<K>` of a structure, compiled for the level that it has.
macro_rules! dispatch {
    ($this:ident.$probe:ident ( $($arg:ident: $kind:ty),* ) -> $out:ty) => {
        match $this.proven().level() {
            // SAFETY: the scalar kernel needs nothing of the machine.
            Level::Scalar => unsafe { $this.$probe::<Scalar>($($arg),*) },
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => {
                #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
                unsafe fn compiled<P: Probe>(this: &P, $($arg: $kind),*) -> $out {
                    // SAFETY: the caller has proven the level.
                    unsafe { this.$probe::<super::kernel::Avx2>($($arg),*) }
                }
                // SAFETY: `Proven` says that the machine has the level.
                unsafe { compiled($this, $($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => {
                #[target_feature(enable = "avx512f,avx2,bmi1,bmi2,lzcnt,popcnt")]
                unsafe fn compiled<P: Probe>(this: &P, $($arg: $kind),*) -> $out {
                    // SAFETY: the caller has proven the level.
                    unsafe { this.$probe::<super::kernel::Avx512>($($arg),*) }
                }
                // SAFETY: `Proven` says that the machine has the level.
                unsafe { compiled($this, $($arg),*) }
            }
            #[cfg(target_arch = "aarch64")]
            // SAFETY: NEON is part of aarch64.
            Level::Neon => unsafe { $this.$probe::<super::kernel::Neon>($($arg),*) },
        }
    };
}

/// A structure over sorted keys. `keys` are always those that it was built over.
pub(super) trait Probe: Sized {
    /// The instruction set that it uses.
    fn proven(&self) -> Proven;

    /// # Safety
    /// The machine has the kernel's instructions.
    unsafe fn rank_with<K: Kernel>(&self, keys: &KeyArray, key: u64) -> usize;

    /// Asks for the lines of keys that the answers are expected in.
    ///
    /// # Safety
    /// The machine has the kernel's instructions.
    unsafe fn prefetch_with<K: Kernel>(&self, keys: &KeyArray, wanted: &[u64]);

    /// `wanted` are at most [`BATCH_KEYS`], and `ranks` as many.
    ///
    /// # Safety
    /// The machine has the kernel's instructions.
    unsafe fn batch_with<K: Kernel>(&self, keys: &KeyArray, wanted: &[u64], ranks: &mut [usize]);

    /// How many keys are below `key`.
    #[inline]
    fn rank(&self, keys: &KeyArray, key: u64) -> usize {
        dispatch!(self.rank_with(keys: &KeyArray, key: u64) -> usize)
    }

    fn prefetch(&self, keys: &KeyArray, wanted: &[u64]) {
        dispatch!(self.prefetch_with(keys: &KeyArray, wanted: &[u64]) -> ());
    }

    /// `rank` of each of `wanted`, side by side.
    fn rank_batch(&self, keys: &KeyArray, wanted: &[u64], ranks: &mut [usize]) {
        assert_eq!(wanted.len(), ranks.len());
        for (wanted, ranks) in wanted.chunks(BATCH_KEYS).zip(ranks.chunks_mut(BATCH_KEYS)) {
            dispatch!(self.batch_with(keys: &KeyArray, wanted: &[u64], ranks: &mut [usize]) -> ());
        }
    }
}
