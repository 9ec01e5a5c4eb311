//! The structures of `bench rmi` behind one face: each is asked in its own best way, and judged.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use super::timing::{Queries, Times, in_a_chain, in_batches, one_by_one};
use crate::rmi::index::Index;
use crate::rmi::keys::KeyArray;

/// What an answer is when the key is not there.
const NOWHERE: usize = usize::MAX;

pub trait Structure {
    /// The place of a key that may be there, or [`NOWHERE`].
    fn get(&self, key: u64) -> usize;

    /// All four ways once: the times, and how many answers were wrong.
    fn turn(&self, queries: &Queries) -> (Times, u64);
}

fn wrong<T: PartialEq>(found: &[T], wanted: &[T]) -> u64 {
    found.iter().zip(wanted).filter(|(found, wanted)| found != wanted).count() as u64
}

/// For structures that give places only: an absent key has none.
fn turn_of(structure: &impl Structure, queries: &Queries) -> (Times, u64) {
    let Queries { hits, places, misses, .. } = queries;
    let get = |key| structure.get(key);
    let mut found = vec![0; hits.len()];
    let mut times = Times { hit: one_by_one(hits, &mut found, get), ..Times::default() };
    let mut missed = wrong(&found, places);
    times.latency = in_a_chain(hits, places, &mut found, get);
    missed += wrong(&found, places);
    let each = |keys: &[u64], into: &mut [usize]| {
        keys.iter().zip(into).for_each(|(key, into)| *into = structure.get(*key));
    };
    times.batch = in_batches(hits, &mut found, each);
    missed += wrong(&found, places);
    times.miss = one_by_one(misses, &mut found, get);
    missed += found.iter().filter(|place| **place != NOWHERE).count() as u64;
    (times, missed)
}

impl Structure for Index {
    fn get(&self, key: u64) -> usize {
        Index::get(self, key).unwrap_or(NOWHERE)
    }

    fn turn(&self, queries: &Queries) -> (Times, u64) {
        let Queries { hits, places, misses, ranks } = queries;
        let get = |key| Structure::get(self, key);
        let mut found = vec![0; hits.len()];
        let mut times = Times { hit: one_by_one(hits, &mut found, get), ..Times::default() };
        let mut missed = wrong(&found, places);
        times.latency = in_a_chain(hits, places, &mut found, get);
        missed += wrong(&found, places);
        let mut batched = vec![None; hits.len()];
        times.batch = in_batches(hits, &mut batched, |keys, into| self.get_batch(keys, into));
        missed += batched.iter().zip(places).filter(|(found, place)| **found != Some(**place)).count() as u64;
        // An ordered structure says more of an absent key than that: where it would be.
        times.miss = one_by_one(misses, &mut found, |key| self.rank(key));
        missed += wrong(&found, ranks);
        (times, missed)
    }
}

/// The standard library's B-tree.
pub struct Tree(BTreeMap<u64, usize>);

impl Tree {
    pub fn new(keys: &KeyArray) -> Tree {
        Tree(keys.as_slice().iter().enumerate().map(|(place, key)| (*key, place)).collect())
    }
}

impl Structure for Tree {
    fn get(&self, key: u64) -> usize {
        self.0.get(&key).copied().unwrap_or(NOWHERE)
    }

    fn turn(&self, queries: &Queries) -> (Times, u64) {
        turn_of(self, queries)
    }
}

/// The standard library's binary search.
pub struct Binary<'a>(pub &'a [u64]);

impl Structure for Binary<'_> {
    fn get(&self, key: u64) -> usize {
        self.0.binary_search(&key).unwrap_or(NOWHERE)
    }

    fn turn(&self, queries: &Queries) -> (Times, u64) {
        turn_of(self, queries)
    }
}

/// The standard library's hash table, without a defence against chosen keys: no order, so no rank.
pub struct Hash(HashMap<u64, usize, BuildHasherDefault<Fold>>);

impl Hash {
    pub fn new(keys: &KeyArray) -> Hash {
        Hash(keys.as_slice().iter().enumerate().map(|(place, key)| (*key, place)).collect())
    }
}

impl Structure for Hash {
    fn get(&self, key: u64) -> usize {
        self.0.get(&key).copied().unwrap_or(NOWHERE)
    }

    fn turn(&self, queries: &Queries) -> (Times, u64) {
        turn_of(self, queries)
    }
}

/// One multiplication, both halves of the product folded together.
#[derive(Default)]
pub struct Fold(u64);

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, key: u64) {
        let product = u128::from(self.0 ^ key) * 0x9e37_79b9_7f4a_7c15_u128;
        self.0 = product as u64 ^ (product >> 64) as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
