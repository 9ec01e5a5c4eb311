//! The learned index: a key's segment predicts its rank, a table corrects the prediction, and a look at
//! the keys around it settles the rest.
//!
//! A lookup is, in this order:
//! 1. the router gives the segment ([`super::router`]);
//! 2. the segment's line gives a rank ([`super::segment`]);
//! 3. a byte for each few predicted ranks shifts it to where the keys there really are;
//! 4. the keys of two or three cache lines around it are counted ([`super::kernel`]). When the answer
//!    is inside, that is it, and almost always it is;
//! 5. else the neighbours are, as far as they have to be ([`super::last_mile`]).
//!
//! In a batch, all keys take steps 1 to 3 before any takes the next, and ask for their lines ahead.
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
use super::segment::Line;
use super::splus::BATCH_KEYS;

/// Lines around a prediction that a single lookup looks at first. Alone in its chain of loads, it is
/// better off with a third line than with a second look.
pub(super) const WINDOW_LINES: usize = 3;
/// As many in a batch, where lines are what it costs, and a second look waits for nobody.
const BATCH_LINES: usize = 2;

pub struct Learned {
    // Invariant: first keys of the segments, rising strictly; padded so that 8 can be read behind each.
    pub(super) firsts: KeyArray,
    // Invariant: one more than segments; the first is for keys below all, predicted at 0.
    pub(super) segments: Vec<Line>,
    pub(super) router: Router,
    // Invariant: made for the ranks up to the last segment's end.
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
        size_of_val(self.firsts.padded()) + size_of_val(&self.segments[..]) + self.router.bytes()
    }

    pub fn segments(&self) -> usize {
        self.segments.len() - 1
    }

    /// The eps that segments were grown with.
    pub fn eps(&self) -> u32 {
        self.eps
    }

    /// Whether a search tree leads to the segments, since no flat table does.
    pub fn has_tree(&self) -> bool {
        matches!(self.router, Router::Tree(_))
    }

    /// No rank is further from its prediction, corrections included.
    pub fn max_error(&self) -> usize {
        self.max_error as usize
    }

    /// Where the keys around `key` are expected.
    pub fn predict(&self, key: u64) -> usize {
        dispatch!(self.proven, predict_with(self, key => u64) -> i64).max(0) as usize
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
    unsafe fn predict_raw<K: Kernel>(&self, key: u64) -> u32 {
        // SAFETY: as the caller says.
        let at_most = unsafe {
            match &self.router {
                Router::Radix(radix) => radix.at_most::<K>(&self.firsts, key),
                Router::Tree(tree) => tree.rank_with::<K>(&self.firsts, key.saturating_add(1)),
            }
        };
        debug_assert!(at_most < self.segments.len());
        // SAFETY: there is a line for each number of first keys.
        unsafe { self.segments.get_unchecked(at_most) }.predict(key)
    }

    /// Steps 1 to 3. Below zero or behind the keys where a correction says so.
    ///
    /// # Safety
    /// The machine has the kernel's instructions.
    #[inline(always)]
    unsafe fn predict_with<K: Kernel>(&self, key: u64) -> i64 {
        // SAFETY: as the caller says.
        unsafe { self.corrected(self.predict_raw::<K>(key)) }
    }

    /// Step 3.
    ///
    /// # Safety
    /// `raw` was predicted by a segment.
    #[inline(always)]
    unsafe fn corrected(&self, raw: u32) -> i64 {
        match &self.corrections {
            // SAFETY: no prediction is above the last segment's end.
            Some(corrections) => i64::from(raw) + unsafe { corrections.of(raw) },
            None => i64::from(raw),
        }
    }

    /// # Safety
    /// The machine has the kernel's instructions.
    #[inline(always)]
    unsafe fn rank_with<K: Kernel>(&self, keys: &KeyArray, key: u64) -> usize {
        // SAFETY: as the caller says.
        unsafe {
            let first = window_of::<WINDOW_LINES>(keys, self.predict_with::<K>(key));
            let below = K::below_in::<WINDOW_LINES>(keys.padded().as_ptr().add(first), key);
            if is_inside::<WINDOW_LINES>(below) {
                return first + below;
            }
            last_mile::walk::<K>(keys.padded(), first, below, key)
        }
    }

    /// # Safety
    /// The machine has the kernel's instructions.
    #[inline(always)]
    unsafe fn batch_with<K: Kernel>(&self, keys: &KeyArray, wanted: &[u64], ranks: &mut [usize]) {
        debug_assert!(wanted.len() <= BATCH_KEYS);
        let padded = keys.padded();
        if let Router::Tree(tree) = &self.router {
            // Level by level for all: so many steps one after the other would fill the reorder buffer.
            let mut next = [0; BATCH_KEYS];
            next.iter_mut().zip(wanted).for_each(|(next, key)| *next = key.saturating_add(1));
            // SAFETY: as the caller says.
            unsafe { tree.batch_with::<K>(&self.firsts, &next[..wanted.len()], ranks) };
            for at_most in ranks.iter() {
                prefetch(self.segments.as_ptr().wrapping_add(*at_most));
            }
        }
        for (first, key) in ranks.iter_mut().zip(wanted) {
            // SAFETY: as the caller says.
            let predicted = unsafe {
                match &self.router {
                    Router::Radix(_) => self.predict_with::<K>(*key),
                    Router::Tree(_) => self.corrected(self.segments.get_unchecked(*first).predict(*key)),
                }
            };
            *first = window_of::<BATCH_LINES>(keys, predicted);
            for line in 0..BATCH_LINES {
                prefetch(padded.as_ptr().wrapping_add(*first + line * LINE_KEYS));
            }
        }
        // Those that need a second look wait until the others are done, and their lines are there.
        let (mut waiting, mut waits) = ([(0_u8, 0_u8); BATCH_KEYS], 0);
        for (at, (rank, key)) in ranks.iter_mut().zip(wanted).enumerate() {
            // SAFETY: as the caller says; a window begins at what `rank` is so far.
            let below = unsafe { K::below_in::<BATCH_LINES>(padded.as_ptr().add(*rank), *key) };
            if is_inside::<BATCH_LINES>(below) {
                *rank += below;
            } else {
                let next = if below == 0 { rank.wrapping_sub(LINE_KEYS) } else { *rank + below };
                prefetch(padded.as_ptr().wrapping_add(next));
                waiting[waits] = (at as u8, below as u8);
                waits += 1;
            }
        }
        for (at, below) in &waiting[..waits] {
            let (rank, key) = (&mut ranks[usize::from(*at)], wanted[usize::from(*at)]);
            // SAFETY: as the caller says.
            *rank = unsafe { last_mile::walk::<K>(padded, *rank, usize::from(*below), key) };
        }
    }
}

/// First key of the lines to look at: the prediction is in their middle.
#[inline(always)]
fn window_of<const LINES: usize>(keys: &KeyArray, predicted: i64) -> usize {
    let before = ((LINES - 1) * LINE_KEYS / 2) as i64;
    let line = (predicted - before).max(0) as usize / LINE_KEYS;
    line.min(keys.lines() - LINES) * LINE_KEYS
}

/// First key of the lines that a single lookup looks at first.
#[inline(always)]
pub(super) fn window(keys: &KeyArray, predicted: usize) -> usize {
    window_of::<WINDOW_LINES>(keys, predicted as i64)
}

/// Whether the counted keys have some below on their left and one not below on their right.
#[inline(always)]
fn is_inside<const LINES: usize>(below: usize) -> bool {
    below.wrapping_sub(1) < LINES * LINE_KEYS - 1
}
