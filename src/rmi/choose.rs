//! Which structure serves: measured on the keys themselves, when the index is built.
//!
//! Both are asked for the same number of keys, present and absent, in turns; the best turn of each
//! counts, since noise only ever adds. Every turn takes other keys, or the later ones would find the
//! lines of the earlier ones in the cache. The clock is the caller's.

use super::keys::KeyArray;
use super::learned::Learned;
use super::splus::{BATCH_KEYS, SPlus};

/// A structure that can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Structure {
    Learned,
    SPlus,
}

impl Structure {
    pub fn name(self) -> &'static str {
        match self {
            Structure::Learned => "learned",
            Structure::SPlus => "splus",
        }
    }
}

/// Why a structure serves a mode.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    /// The caller asked for it.
    Forced,
    /// So few keys that nothing was measured.
    Few,
    /// Nanoseconds a key of both, in the order of the measurement.
    Measured { learned_ns: f64, splus_ns: f64 },
    /// As it was stored.
    Stored,
}

/// What serves a mode, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    pub structure: Structure,
    pub reason: Reason,
}

/// Below this, both fit into the cache and differ by less than noise.
pub(super) const MEASURED_KEYS_MIN: usize = 1 << 12;
const TURNS: u64 = 5;
const TURN_KEYS: usize = 1 << 13;
/// The learned index serves when its time is at most this part of the tree's.
const LEARNED_AT_MOST: f64 = 1.0;

/// The choices for single lookups and for batches.
pub(super) fn choose(
    keys: &KeyArray,
    learned: &Learned,
    splus: &SPlus,
    clock: &mut dyn FnMut() -> u64,
) -> (Choice, Choice) {
    if keys.len() < MEASURED_KEYS_MIN {
        let few = Choice { structure: Structure::SPlus, reason: Reason::Few };
        return (few, few);
    }
    let mut probe = Probe { keys, clock, state: 1 };
    let independent = probe.both(
        |keys, wanted, ranks| independent(wanted, ranks, |key| learned.rank(keys, key)),
        |keys, wanted, ranks| independent(wanted, ranks, |key| splus.rank(keys, key)),
    );
    let dependent = probe.both(
        |keys, wanted, ranks| dependent(wanted, ranks, |key| learned.rank(keys, key)),
        |keys, wanted, ranks| dependent(wanted, ranks, |key| splus.rank(keys, key)),
    );
    let batch = probe.both(
        |keys, wanted, ranks| batches(wanted, ranks, |wanted, ranks| learned.rank_batch(keys, wanted, ranks)),
        |keys, wanted, ranks| batches(wanted, ranks, |wanted, ranks| splus.rank_batch(keys, wanted, ranks)),
    );
    // Single lookups come both ways; the tree serves unless the learned index is as good at both.
    let worse =
        if independent.0 * dependent.1 > dependent.0 * independent.1 { independent } else { dependent };
    (by_time(worse), by_time(batch))
}

fn by_time((learned_ns, splus_ns): (f64, f64)) -> Choice {
    let is_learned = learned_ns <= splus_ns * LEARNED_AT_MOST;
    let structure = if is_learned { Structure::Learned } else { Structure::SPlus };
    Choice { structure, reason: Reason::Measured { learned_ns, splus_ns } }
}

fn independent(wanted: &[u64], ranks: &mut [usize], rank: impl Fn(u64) -> usize) {
    for (key, found) in wanted.iter().zip(ranks) {
        *found = rank(*key);
    }
}

/// Each key depends on the answer before, in a way that leaves it as it is.
fn dependent(wanted: &[u64], ranks: &mut [usize], rank: impl Fn(u64) -> usize) {
    // Known to be zero by nobody but us.
    let nothing = std::hint::black_box(0);
    let mut last = 0;
    for (key, found) in wanted.iter().zip(ranks) {
        last = rank(*key ^ (last as u64 & nothing));
        *found = last;
    }
}

fn batches(wanted: &[u64], ranks: &mut [usize], rank: impl Fn(&[u64], &mut [usize])) {
    for (wanted, ranks) in wanted.chunks(BATCH_KEYS).zip(ranks.chunks_mut(BATCH_KEYS)) {
        rank(wanted, ranks);
    }
}

struct Probe<'a> {
    keys: &'a KeyArray,
    clock: &'a mut dyn FnMut() -> u64,
    state: u64,
}

impl Probe<'_> {
    /// Nanoseconds a key of each.
    fn both(
        &mut self,
        learned: impl Fn(&KeyArray, &[u64], &mut [usize]),
        splus: impl Fn(&KeyArray, &[u64], &mut [usize]),
    ) -> (f64, f64) {
        let mut best = (f64::INFINITY, f64::INFINITY);
        for _ in 0..TURNS {
            best.0 = best.0.min(self.turn(&learned));
            best.1 = best.1.min(self.turn(&splus));
        }
        best
    }

    fn turn(&mut self, lookups: &impl Fn(&KeyArray, &[u64], &mut [usize])) -> f64 {
        let wanted = self.wanted();
        let mut ranks = vec![0; wanted.len()];
        let before = (self.clock)();
        lookups(self.keys, &wanted, &mut ranks);
        let after = (self.clock)();
        assert!(ranks.iter().all(|rank| *rank <= self.keys.len()));
        after.saturating_sub(before) as f64 / wanted.len() as f64
    }

    /// Every fourth one is absent, or next to a key.
    fn wanted(&mut self) -> Vec<u64> {
        let keys = self.keys.as_slice();
        let pick = |at: usize| {
            let random = mix(&mut self.state);
            let key = keys[((u128::from(random) * keys.len() as u128) >> 64) as usize];
            if at.is_multiple_of(4) { key.wrapping_add(1) } else { key }
        };
        (0..TURN_KEYS).map(pick).collect()
    }
}

/// SplitMix64: the same keys each time.
fn mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
