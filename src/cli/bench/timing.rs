//! What `bench rmi` asks for, and what it costs: keys drawn once, asked in four ways.
//!
//! *Hit*: random keys that are there, each alone; the processor may overlap them. *Miss*: random keys
//! between two neighbours. *Latency*: as hit, but each key depends on the answer before, so nothing
//! overlaps. *Batch*: hits, 32 at a time.

use std::hint::black_box;

use super::super::values::mix;
use crate::io::uring::thread_cpu_ns;
use crate::rmi::ask;

/// Keys of a turn in each way: their lines are far more than the core's own cache holds.
const ASKED: usize = 1 << 19;

pub struct Queries {
    /// Keys that are there, and their places.
    pub hits: Vec<u64>,
    pub places: Vec<usize>,
    /// Keys that are not there, and how many are below them.
    pub misses: Vec<u64>,
    pub ranks: Vec<usize>,
}

impl Queries {
    pub fn new(keys: &[u64], seed: u64) -> Queries {
        let random = |at: usize| mix(seed.wrapping_add(mix(at as u64)));
        let below = |bound: u64, random: u64| ((u128::from(bound) * u128::from(random)) >> 64) as u64;
        let places: Vec<usize> = (0..ASKED).map(|at| below(keys.len() as u64, random(at)) as usize).collect();
        let hits = places.iter().map(|place| keys[*place]).collect();
        let misses: Vec<u64> =
            (0..ASKED).map(|at| absent(keys, places[at], |bound| below(bound, random(at + ASKED)))).collect();
        let ranks = misses.iter().map(|key| keys.partition_point(|other| other < key)).collect();
        Queries { hits, places, misses, ranks }
    }
}

/// A random key of the first gap from this place on, round the end if need be; when there is no gap at
/// all, the keys are all of u64, which no memory holds.
fn absent(keys: &[u64], place: usize, below: impl FnOnce(u64) -> u64) -> u64 {
    const NEAR: usize = 64;
    let gaps = (place..keys.len().min(place + NEAR)).map(|at| (keys[at], keys.get(at + 1).copied()));
    let ends = [(*keys.last().expect("keys"), None)];
    for (key, next) in gaps.chain(ends) {
        let width = next.unwrap_or(u64::MAX) - key;
        let free = if next.is_some() { width.saturating_sub(1) } else { width };
        if free > 0 {
            return key + 1 + below(free);
        }
    }
    // Dense up to the end of u64: below them all.
    keys[0].checked_sub(1).unwrap_or(u64::MAX)
}

/// Nanoseconds a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    pub hit: f64,
    pub miss: f64,
    pub latency: f64,
    pub batch: f64,
}

impl Default for Times {
    fn default() -> Times {
        Times { hit: f64::INFINITY, miss: f64::INFINITY, latency: f64::INFINITY, batch: f64::INFINITY }
    }
}

pub fn best_of(one: Times, other: Times) -> Times {
    Times {
        hit: one.hit.min(other.hit),
        miss: one.miss.min(other.miss),
        latency: one.latency.min(other.latency),
        batch: one.batch.min(other.batch),
    }
}

/// Nanoseconds for each of `count` in `work`.
pub fn ns_each(count: usize, work: impl FnOnce()) -> f64 {
    let before = thread_cpu_ns();
    work();
    (thread_cpu_ns() - before) as f64 / count as f64
}

pub fn one_by_one<T>(asked: &[u64], answers: &mut [T], answer: impl Fn(u64) -> T) -> f64 {
    ns_each(asked.len(), || ask::one_by_one(asked, answers, answer))
}

pub fn in_a_chain(
    asked: &[u64],
    right: &[usize],
    answers: &mut [usize],
    answer: impl Fn(u64) -> usize,
) -> f64 {
    let hidden = ask::hidden(asked, right);
    ns_each(asked.len(), || ask::in_a_chain(&hidden, 0, answers, answer))
}

pub fn in_batches<T>(asked: &[u64], answers: &mut [T], answer: impl Fn(&[u64], &mut [T])) -> f64 {
    ns_each(asked.len(), || ask::in_batches(asked, answers, answer))
}

/// A random line of the keys, read for nothing else: as many under way as the core can have.
pub fn line_ns(keys: &[u64], queries: &Queries) -> f64 {
    let mut sum = 0_u64;
    let time = ns_each(queries.places.len(), || {
        for place in &queries.places {
            sum = sum.wrapping_add(keys[*place]);
        }
    });
    black_box(sum);
    time
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_are_there_and_misses_are_not() {
        let dense: Vec<u64> = (0..1000).collect();
        let at_the_end: Vec<u64> = (u64::MAX - 999..=u64::MAX).collect();
        let sparse: Vec<u64> = (0..1000).map(|at| at * at * 1000).collect();
        for keys in [dense, at_the_end, sparse, vec![0], vec![u64::MAX]] {
            let queries = Queries::new(&keys, 3);
            for at in 0..1000 {
                assert_eq!(keys[queries.places[at]], queries.hits[at]);
                assert_eq!(keys.binary_search(&queries.misses[at]), Err(queries.ranks[at]));
            }
        }
    }
}
