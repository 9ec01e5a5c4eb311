//! The learned index: a key's segment predicts its rank, a table corrects the prediction, and a look at
//! the keys around it settles the rest.
//!
//! A lookup is, in this order:
//! 1. the router gives the segment ([`super::router`]);
//! 2. the segment's line gives a rank ([`super::segment`]);
//! 3. a byte for each few predicted ranks shifts it to where the keys there really are;
//! 4. the keys of [`WINDOW_LINES`] cache lines around it are counted ([`super::kernel`]). When the answer
//!    is inside, that is it, and almost always it is;
//! 5. else the neighbours are, as far as they have to be ([`super::last_mile`]).
//!
//! Only step 4 reaches memory that is not in the core's own cache, and it asks for all its lines at once.
//! So a lookup costs one miss, not several in a row.
//!
//! Correcting predictions by a table over *predicted* positions is the idea of Shift-Table (Hadian and
//! Heinis, 2021).
//!
//! INVARIANT: the rank of every key, present or not, is within [`Learned::max_error`] of its prediction.
//! Training measures it with the arithmetic of lookups ([`super::correction`]); nothing depends on it but
//! speed.

use super::correction::Corrections;
use super::kernel::{Kernel, Proven, dispatch, prefetch};
use super::keys::KeyArray;
use super::last_mile;
use super::memory::LINE_KEYS;
use super::router::Router;
use super::segment::predict;
use super::splus::BATCH_KEYS;

/// Lines around a prediction that a lookup looks at first.
pub(super) const WINDOW_LINES: usize = 2;
pub(super) const WINDOW_KEYS: usize = WINDOW_LINES * LINE_KEYS;

/// The line of a segment; its first key is in an array of its own, which the router searches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Param {
    pub slope: u64,
    pub start: u32,
    /// Start of the next segment.
    pub end: u32,
}

pub struct Learned {
    // Invariant: as many as `params`, at least one; they rise strictly.
    pub(super) firsts: KeyArray,
    pub(super) params: Vec<Param>,
    pub(super) router: Router,
    pub(super) corrections: Option<Corrections>,
    pub(super) eps: u32,
    pub(super) max_error: u32,
    pub(super) proven: Proven,
}

type Me = Learned;

impl Learned {
    /// Another instruction set than the best of this machine.
    pub fn set_level(&mut self, proven: Proven) {
        self.proven = proven;
        if let Router::Tree(tree) = &mut self.router {
            tree.set_level(proven);
        }
    }

    /// Bytes beside the keys.
    pub fn bytes(&self) -> usize {
        self.model_bytes() + self.corrections.as_ref().map_or(0, Corrections::bytes)
    }

    /// Bytes of segments and router.
    pub fn model_bytes(&self) -> usize {
        size_of_val(self.firsts.padded()) + size_of_val(&self.params[..]) + self.router.bytes()
    }

    pub fn segments(&self) -> usize {
        self.params.len()
    }

    /// The eps that segments were grown with.
    pub fn eps(&self) -> u32 {
        self.eps
    }

    /// No rank is further from its prediction, corrections included.
    pub fn max_error(&self) -> usize {
        self.max_error as usize
    }

    /// Where the keys around `key` are expected.
    pub fn predict(&self, key: u64) -> usize {
        dispatch!(self.proven, predict_with(self, key => u64) -> usize)
    }

    /// How many keys are below `key`. `keys` are those that the index was trained on.
    #[inline]
    pub fn rank(&self, keys: &KeyArray, key: u64) -> usize {
        dispatch!(self.proven, rank_with(self, keys => &KeyArray, key => u64) -> usize)
    }

    /// `rank` of each of `wanted`, side by side.
    pub fn rank_batch(&self, keys: &KeyArray, wanted: &[u64], ranks: &mut [usize]) {
        assert_eq!(wanted.len(), ranks.len());
        for (wanted, ranks) in wanted.chunks(BATCH_KEYS).zip(ranks.chunks_mut(BATCH_KEYS)) {
            dispatch!(
                self.proven,
                batch_with(self, keys => &KeyArray, wanted => &[u64], ranks => &mut [usize]) -> ()
            );
        }
    }

    /// Steps 1 and 2.
    ///
    /// # Safety
    /// The machine has the kernel's instructions.
    #[inline(always)]
    pub(super) unsafe fn predict_raw<K: Kernel>(&self, key: u64) -> u32 {
        // SAFETY: as the caller says.
        let at_most = unsafe {
            match &self.router {
                Router::Radix(radix) => radix.at_most::<K>(&self.firsts, key),
                Router::Tree(tree) => tree.rank_with::<K>(&self.firsts, key.saturating_add(1)),
            }
        };
        let segment = at_most.saturating_sub(1).min(self.params.len() - 1);
        let Param { slope, start, end } = self.params[segment];
        predict(start, slope, end, key.saturating_sub(self.firsts.padded()[segment]))
    }

    /// Steps 1 to 3.
    ///
    /// # Safety
    /// The machine has the kernel's instructions.
    #[inline(always)]
    unsafe fn predict_with<K: Kernel>(&self, key: u64) -> usize {
        // SAFETY: as the caller says.
        let raw = unsafe { self.predict_raw::<K>(key) };
        match &self.corrections {
            Some(corrections) => corrections.correct(raw),
            None => raw as usize,
        }
    }

    /// # Safety
    /// The machine has the kernel's instructions.
    #[inline(always)]
    unsafe fn rank_with<K: Kernel>(&self, keys: &KeyArray, key: u64) -> usize {
        // SAFETY: as the caller says.
        unsafe {
            let first = window(keys, self.predict_with::<K>(key));
            settle::<K>(keys, first, key)
        }
    }

    /// # Safety
    /// The machine has the kernel's instructions.
    #[inline(always)]
    unsafe fn batch_with<K: Kernel>(&self, keys: &KeyArray, wanted: &[u64], ranks: &mut [usize]) {
        let mut windows = [0_usize; BATCH_KEYS];
        for (first, key) in windows.iter_mut().zip(wanted) {
            // SAFETY: as the caller says.
            *first = window(keys, unsafe { self.predict_with::<K>(*key) });
            for line in 0..WINDOW_LINES {
                prefetch(keys.padded().as_ptr().wrapping_add(*first + line * LINE_KEYS));
            }
        }
        for ((first, key), rank) in windows.iter().zip(wanted).zip(ranks) {
            // SAFETY: as the caller says.
            *rank = unsafe { settle::<K>(keys, *first, *key) };
        }
    }
}

/// First key of the lines to look at: the prediction is in their middle.
#[inline(always)]
pub(super) fn window(keys: &KeyArray, predicted: usize) -> usize {
    const BEFORE: usize = (WINDOW_KEYS - LINE_KEYS) / 2;
    let line = predicted.saturating_sub(BEFORE) / LINE_KEYS;
    line.min(keys.lines() - WINDOW_LINES) * LINE_KEYS
}

/// Steps 4 and 5.
///
/// # Safety
/// The machine has the kernel's instructions, and a window begins at `first`.
#[inline(always)]
unsafe fn settle<K: Kernel>(keys: &KeyArray, first: usize, key: u64) -> usize {
    let padded = keys.padded();
    // SAFETY: as the caller says.
    let below = unsafe { K::below_in::<WINDOW_LINES>(padded.as_ptr().add(first), key) };
    if below.wrapping_sub(1) < WINDOW_KEYS - 1 {
        return first + below;
    }
    // SAFETY: as the caller says.
    unsafe { last_mile::walk::<K>(padded, first, below, key) }
}
