//! The learned index: a key's segment predicts its rank, a table corrects the prediction, and a look at
//! the keys around it settles the rest.
//!
//! A lookup is, in this order:
//! 1. the router gives the segment ([`super::router`]);
//! 2. the segment's line gives a rank ([`super::segment`]);
//! 3. a byte for each few predicted ranks shifts it to where the keys there really are
//!    ([`super::correction`]);
//! 4. the keys of the cache line there are counted ([`super::kernel`]). When the answer is inside, that is
//!    it, in two of three lookups. Else the lines on both sides of it count too, which were asked for at
//!    the same time, and the answer is almost always inside;
//! 5. else the neighbours are looked at, as far as they have to be ([`super::last_mile`]).
//!
//! Only step 4 reaches memory that is not in the core's own cache, and it asks for all its lines at once:
//! a lookup costs one miss, not several in a row. Who needs the answer to go on waits for the line in the
//! middle, mostly, not for the slowest of three: the processor guesses that the answer is inside.
//!
//! In a batch, all keys take steps 1 to 3 before any takes the next, and ask for their lines ahead. There
//! nobody waits, so nothing is guessed, and two lines do.
//!
//! INVARIANT: the rank of every key, present or not, is within [`Learned::max_error`] of its prediction.
//! Training measures it with the arithmetic of lookups ([`super::correction`]); nothing depends on it but
//! speed.

use super::correction::Corrections;
use super::kernel::{Kernel, Proven, Scalar, prefetch};
use super::keys::KeyArray;
use super::last_mile;
use super::memory::LINE_KEYS;
use super::probe::{BATCH_KEYS, Probe};
use super::router::Router;
use super::segment::Segments;

/// Lines around a prediction that a single lookup asks for. Alone in its chain of loads, it is better off
/// with a third line than with a second wait.
pub(super) const WINDOW_LINES: usize = 3;
/// As many in a batch, where lines are what it costs, and a second look waits for nobody.
const BATCH_LINES: usize = 2;

pub struct Learned {
    pub(super) segments: Segments,
    // Invariant: leads to these segments.
    pub(super) router: Router,
    // Invariant: made for the ranks up to the last segment's end.
    pub(super) corrections: Option<Corrections>,
    pub(super) eps: u32,
    pub(super) max_error: u32,
    pub(super) proven: Proven,
}

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
        self.segments.bytes() + self.router.bytes()
    }

    pub fn segments(&self) -> usize {
        self.segments.len()
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

    /// Where the keys around `key` are expected. For who watches: lookups predict with the instructions of
    /// their level, and the same.
    pub fn predict(&self, key: u64) -> usize {
        // SAFETY: the scalar kernel needs nothing of the machine.
        unsafe { self.predict_with::<Scalar, false>(key) }.max(0) as usize
    }

    /// Steps 1 to 3. Below zero or behind the keys where a correction says so.
    ///
    /// # Safety
    /// The machine has the kernel's instructions.
    #[inline(always)]
    unsafe fn predict_with<K: Kernel, const GUESS: bool>(&self, key: u64) -> i64 {
        let firsts = self.segments.firsts();
        // SAFETY: as the caller says; a router leads to segments that are there.
        unsafe {
            let segment = match &self.router {
                Router::Radix(radix) => radix.segment_of::<K, GUESS>(firsts, key),
                Router::Tree(tree) => behind_first(tree.rank_with::<K>(firsts, key.saturating_add(1))),
            };
            self.predict_in(segment, key)
        }
    }

    /// Steps 2 and 3.
    ///
    /// # Safety
    /// There is such a segment.
    #[inline(always)]
    unsafe fn predict_in(&self, segment: usize, key: u64) -> i64 {
        // SAFETY: as the caller says; no prediction is above the last segment's end.
        unsafe {
            let raw = self.segments.predict(segment, key);
            i64::from(raw) + self.corrections.as_ref().map_or(0, |corrections| corrections.of(raw))
        }
    }
}

impl Probe for Learned {
    fn proven(&self) -> Proven {
        self.proven
    }

    #[inline(always)]
    unsafe fn rank_with<K: Kernel>(&self, keys: &KeyArray, key: u64) -> usize {
        // SAFETY: as the caller says.
        unsafe {
            let first = window_of::<WINDOW_LINES>(keys, self.predict_with::<K, true>(key));
            let window = keys.padded().as_ptr().add(first);
            let middle = WINDOW_LINES / 2 * LINE_KEYS;
            prefetch(window);
            prefetch(window.add(middle + LINE_KEYS));
            // Mostly the answer is here, and who goes on with it has not waited for the slowest of three.
            let below = K::below(window.add(middle), key);
            if is_inside::<1>(below) {
                return first + middle + below;
            }
            let below = K::below_in::<WINDOW_LINES>(window, key);
            if is_inside::<WINDOW_LINES>(below) {
                return first + below;
            }
            last_mile::walk::<K>(keys.padded(), first, below, key)
        }
    }

    #[inline(always)]
    unsafe fn prefetch_with<K: Kernel>(&self, keys: &KeyArray, wanted: &[u64]) {
        for key in wanted {
            // SAFETY: as the caller says.
            let first = window_of::<BATCH_LINES>(keys, unsafe { self.predict_with::<K, false>(*key) });
            for line in 0..BATCH_LINES {
                prefetch(keys.padded().as_ptr().wrapping_add(first + line * LINE_KEYS));
            }
        }
    }

    #[inline(always)]
    unsafe fn batch_with<K: Kernel>(&self, keys: &KeyArray, wanted: &[u64], ranks: &mut [usize]) {
        debug_assert!(wanted.len() <= BATCH_KEYS);
        let padded = keys.padded();
        if let Router::Tree(tree) = &self.router {
            // Level by level for all: so many steps one after the other would fill the reorder buffer.
            let mut next = [0; BATCH_KEYS];
            next.iter_mut().zip(wanted).for_each(|(next, key)| *next = key.saturating_add(1));
            // SAFETY: as the caller says.
            unsafe { tree.batch_with::<K>(self.segments.firsts(), &next[..wanted.len()], ranks) };
            for segment in ranks.iter_mut() {
                *segment = behind_first(*segment);
                self.segments.prefetch(*segment);
            }
        }
        for (first, key) in ranks.iter_mut().zip(wanted) {
            // SAFETY: as the caller says.
            let predicted = unsafe {
                match &self.router {
                    Router::Radix(_) => self.predict_with::<K, false>(*key),
                    Router::Tree(_) => self.predict_in(*first, *key),
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

/// The segment, when so many begin at a key or below it. A key below all is predicted where the first is.
#[inline(always)]
fn behind_first(begun: usize) -> usize {
    begun.saturating_sub(1)
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
