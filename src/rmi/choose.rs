//! Which structure serves: measured on the keys themselves, when the index is built.
//!
//! Both are asked in each way that lookups come ([`super::ask`]), for keys of which some are absent. The
//! medians of many short turns count: a turn is what a core can spare between two requests. One structure has
//! a few turns in a row, so that what it keeps in the core's own cache is there for most of them, then the
//! other, so that a noisy minute hits both alike. The keys are drawn first: reading one brings its line into the cache,
//! and it has to be out of the core's own before it is asked for. The clock is the caller's.
//!
//! The tree takes ten times the bytes of a learned index on keys that this likes, so it serves only where
//! that buys time: [`LEARNED_AT_MOST`].

use super::ask::{hidden, in_a_chain, in_batches, one_by_one};
use super::keys::KeyArray;
use super::learned::Learned;
use super::probe::Probe;
use super::splus::SPlus;

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
/// Keys that are asked for, round and round: their lines are far more than a core's own cache holds.
const POOL: usize = if cfg!(miri) { 1 << 8 } else { 1 << 16 };
/// Lookups of a turn; no part of one is a step.
const TURN: usize = if cfg!(miri) { 1 << 5 } else { 1 << 9 };
/// Turns in a row of one structure.
const STREAK: usize = if cfg!(miri) { 1 } else { 8 };
/// Of each structure in each way.
const TURNS: usize = if cfg!(miri) { 3 } else { 9 * STREAK };
/// What a lookup, or the drawing of a key, takes off a step's budget of keys.
const LOOKUP_COST: usize = 32;
/// The learned index serves when its time is at most this part of the tree's. Never more than 1 / 0.95; the
/// rest is left to noise.
const LEARNED_AT_MOST: f64 = 1.04;

#[derive(Clone, Copy)]
enum Way {
    Independent,
    Dependent,
    Batch,
}

const WAYS: [Way; 3] = [Way::Independent, Way::Dependent, Way::Batch];

/// Measures in steps.
pub(super) struct Chooser {
    asked: Vec<u64>,
    ranks: Vec<usize>,
    hidden: Vec<u64>,
    random: u64,
    turn: usize,
    // Nanoseconds of the turns, by way, of the learned index and of the tree.
    times: [[Vec<u64>; 2]; 3],
}

impl Chooser {
    pub fn new() -> Chooser {
        let times = WAYS.map(|_| [(); 2].map(|()| Vec::with_capacity(TURNS)));
        Chooser { asked: Vec::new(), ranks: Vec::new(), hidden: Vec::new(), random: 1, turn: 0, times }
    }

    /// As many turns as `budget` allows, one at least; true when it is measured.
    pub fn step(
        &mut self,
        keys: &KeyArray,
        learned: &Learned,
        splus: &SPlus,
        budget: usize,
        clock: &mut dyn FnMut() -> u64,
    ) -> bool {
        if keys.len() < MEASURED_KEYS_MIN {
            return true;
        }
        if self.asked.len() < POOL {
            self.draw(keys.as_slice(), (budget / LOOKUP_COST).max(TURN));
            return false;
        }
        for _ in 0..(budget / LOOKUP_COST / TURN).max(1) {
            if self.turn == TURNS * WAYS.len() * 2 {
                return true;
            }
            let streak = self.turn / STREAK;
            let (way, is_tree) = (streak / 2 % WAYS.len(), streak % 2);
            let ns = match is_tree {
                0 => self.ask(
                    WAYS[way],
                    clock,
                    |key| learned.rank(keys, key),
                    |wanted, ranks| learned.rank_batch(keys, wanted, ranks),
                ),
                _ => self.ask(
                    WAYS[way],
                    clock,
                    |key| splus.rank(keys, key),
                    |wanted, ranks| splus.rank_batch(keys, wanted, ranks),
                ),
            };
            self.times[way][is_tree].push(ns);
            self.turn += 1;
        }
        false
    }

    /// Up to `count` more keys to ask for. Every fourth one is absent, or next to a key.
    fn draw(&mut self, keys: &[u64], count: usize) {
        for _ in 0..count.min(POOL - self.asked.len()) {
            let place = ((u128::from(mix(&mut self.random)) * keys.len() as u128) >> 64) as usize;
            let is_next = self.asked.len().is_multiple_of(4) && keys[place] < u64::MAX;
            self.asked.push(keys[place] + u64::from(is_next));
            self.ranks.push(place + usize::from(is_next));
        }
        if self.asked.len() == POOL {
            self.hidden = hidden(&self.asked, &self.ranks);
        }
    }

    /// Nanoseconds of the next turn.
    fn ask(
        &self,
        way: Way,
        clock: &mut dyn FnMut() -> u64,
        rank: impl Fn(u64) -> usize,
        rank_batch: impl Fn(&[u64], &mut [usize]),
    ) -> u64 {
        let begin = self.turn * TURN % POOL;
        let (asked, right) = (&self.asked[begin..begin + TURN], &self.ranks[begin..begin + TURN]);
        let last = begin.checked_sub(1).map_or(0, |last| self.ranks[last]);
        let mut found = [0; TURN];
        let before = clock();
        match way {
            Way::Independent => one_by_one(asked, &mut found, rank),
            Way::Dependent => in_a_chain(&self.hidden[begin..begin + TURN], last, &mut found, rank),
            Way::Batch => in_batches(asked, &mut found, rank_batch),
        }
        let after = clock();
        assert!(found == right, "a structure that does not find the keys");
        after.saturating_sub(before)
    }

    /// The choices for single lookups and for batches.
    pub fn finish(self) -> (Choice, Choice) {
        if self.turn == 0 {
            let few = Choice { structure: Structure::SPlus, reason: Reason::Few };
            return (few, few);
        }
        let [independent, dependent, batch] = self.times.map(|times| times.map(median));
        // Single lookups come both ways; the tree serves unless the learned index is as good at both.
        let is_first_worse = independent[0] * dependent[1] > dependent[0] * independent[1];
        (by_time(if is_first_worse { independent } else { dependent }), by_time(batch))
    }
}

/// Nanoseconds a lookup.
fn median(mut turns: Vec<u64>) -> f64 {
    turns.sort_unstable();
    turns[turns.len() / 2] as f64 / TURN as f64
}

fn by_time([learned_ns, splus_ns]: [f64; 2]) -> Choice {
    let is_learned = learned_ns <= splus_ns * LEARNED_AT_MOST;
    let structure = if is_learned { Structure::Learned } else { Structure::SPlus };
    Choice { structure, reason: Reason::Measured { learned_ns, splus_ns } }
}

/// SplitMix64: the same keys each time.
fn mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
