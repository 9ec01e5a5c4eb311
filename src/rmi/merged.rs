//! Separators from indexes: exact ones over several runs of a core, and near ones over many cores.
//!
//! [`separators`] finds the key that has so many keys of all runs below it by halving the numbers in
//! which it may lie; each step asks each run for one rank. So 63 separators of 8 runs cost some 32,000
//! lookups and no look at a key in between. It is an iterator: a core may serve between two of them.
//! (Selection in sorted lists by counting: Frederickson and Johnson, "The complexity of selection and
//! ranking in X + Y and matrices with sorted columns", 1982.)
//!
//! A core cannot ask another one for ranks at such a rate. It sends a [`Summary`]: quantiles of its own
//! keys, close together. [`merged_separators`] cuts the sum of them. A key of a summary of n keys in p
//! points stands for n / p keys around it, so no part is off by more than N / p at either of its ends,
//! whatever the keys are: 3 % of a part, for 64 parts of summaries with 4096 points.

use super::index::Index;
use super::quantiles;

/// Keys that cut all keys of `runs` into `parts` of the same size, give or take one: at most `parts - 1`,
/// strictly increasing, none the first key of all. A key that is in two runs counts twice.
pub fn separators<'a>(runs: &'a [&'a Index], parts: usize) -> impl Iterator<Item = u64> + 'a {
    assert!(parts > 0);
    let len: usize = runs.iter().map(|run| run.keys().len()).sum();
    let first = runs.iter().filter_map(|run| run.keys().as_slice().first()).min().copied();
    let mut last = first;
    let parts = parts.min(len).max(1);
    (1..parts).filter_map(move |part| {
        let key = select(runs, quantiles::start_of(part, parts, len))?;
        (last < Some(key)).then(|| *last.insert(key))
    })
}

/// The key with exactly `rank` keys of all runs below it, if such a key exists; of keys that are there
/// more than once, the one that `rank` falls on.
fn select(runs: &[&Index], rank: usize) -> Option<u64> {
    // How many keys are at most `key`.
    let up_to = |key: u64| -> usize {
        let keys_up_to = |run: &&Index| match key.checked_add(1) {
            Some(next) => run.rank(next),
            None => run.keys().len(),
        };
        runs.iter().map(keys_up_to).sum()
    };
    let mut low = runs.iter().filter_map(|run| run.keys().as_slice().first()).min().copied()?;
    let mut high = runs.iter().filter_map(|run| run.keys().as_slice().last()).max().copied()?;
    if up_to(high) <= rank {
        return None;
    }
    // The smallest key with more than `rank` keys up to it is in low..=high, and is one of the keys.
    while low < high {
        let middle = low + (high - low) / 2;
        if up_to(middle) > rank {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Some(low)
}

/// Quantiles of some keys, as one core tells them to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    // Invariant: sorted; each stands for the same share of `keys` keys.
    points: Vec<u64>,
    keys: u64,
}

impl Summary {
    /// At most `points` of the keys of `runs`, evenly apart.
    pub fn of(runs: &[&Index], points: usize) -> Summary {
        assert!(points > 0);
        let keys: usize = runs.iter().map(|run| run.keys().len()).sum();
        let points = points.min(keys);
        // Each from the middle of what it stands for.
        let rank = |point: usize| ((2 * point + 1) as u128 * keys as u128 / (2 * points) as u128) as usize;
        let points = match runs {
            [run] => (0..points).map(|point| run.keys().as_slice()[rank(point)]).collect(),
            _ => (0..points).filter_map(|point| select(runs, rank(point))).collect(),
        };
        Summary { points, keys: keys as u64 }
    }

    /// From a sorted sample of so many keys, where there is no index yet.
    pub fn of_sample(sorted_sample: Vec<u64>, keys: u64) -> Summary {
        assert!(sorted_sample.is_sorted());
        assert!(!sorted_sample.is_empty() || keys == 0, "keys without a sample");
        Summary { points: sorted_sample, keys }
    }

    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// Keys that a point stands for.
    fn weight(&self) -> f64 {
        self.keys as f64 / self.points.len() as f64
    }
}

/// As [`separators`], over all that the summaries stand for.
pub fn merged_separators(summaries: &[Summary], parts: usize) -> Vec<u64> {
    assert!(parts > 0);
    let weighed = |summary: &Summary| -> Vec<(u64, f64)> {
        summary.points.iter().map(|point| (*point, summary.weight())).collect()
    };
    let mut points: Vec<(u64, f64)> = summaries.iter().flat_map(weighed).collect();
    points.sort_unstable_by_key(|(point, _)| *point);
    let total: f64 = points.iter().map(|(_, weight)| weight).sum();
    let mut separators: Vec<u64> = Vec::new();
    let first = points.first().map(|(first, _)| *first);
    let mut below = 0.0;
    for (point, weight) in points {
        // The point is in the middle of what it stands for.
        let wanted = total * (separators.len() + 1) as f64 / parts as f64;
        let is_new = separators.last().copied().or(first).is_some_and(|last| last < point);
        if below + weight / 2.0 >= wanted && is_new && separators.len() + 1 < parts {
            separators.push(point);
        }
        below += weight;
    }
    separators
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rmi::choose::Structure;
    use crate::rmi::index::IndexOptions;
    use crate::rmi::keys::KeyArray;
    use crate::rmi::keysets::{Random, Shape};
    use proptest::prelude::*;

    const KEYS: usize = 100_000;

    fn index(keys: &[u64]) -> Index {
        let options = IndexOptions { structure: Some(Structure::Learned), ..IndexOptions::default() };
        Index::build(KeyArray::new(keys).unwrap(), options, &mut || 0)
    }

    /// Deals the keys out to runs of different sizes.
    fn dealt(keys: &[u64], runs: usize, seed: u64) -> Vec<Vec<u64>> {
        let random = &mut Random(seed);
        let mut dealt = vec![Vec::new(); runs];
        for key in keys {
            let run = random.below(runs as u64).min(random.below(runs as u64));
            dealt[run as usize].push(*key);
        }
        dealt
    }

    /// Largest part over the mean part.
    fn imbalance(keys: &[u64], separators: &[u64], parts: usize) -> f64 {
        assert!(separators.is_sorted_by(|a, b| a < b) && separators.len() < parts);
        let mut starts: Vec<usize> =
            separators.iter().map(|separator| keys.partition_point(|key| key < separator)).collect();
        starts.insert(0, 0);
        starts.push(keys.len());
        let largest = starts.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
        largest as f64 * parts as f64 / keys.len() as f64
    }

    #[test]
    #[cfg_attr(miri, ignore = "too many keys")]
    fn runs_of_any_keys_are_cut_to_the_key() {
        for shape in Shape::ALL {
            let keys = shape.keys(KEYS, 1);
            for runs in [1, 5] {
                let indexes: Vec<Index> = dealt(&keys, runs, 2).iter().map(|keys| index(keys)).collect();
                let indexes: Vec<&Index> = indexes.iter().collect();
                for parts in [1, 2, 8, 64] {
                    let found: Vec<u64> = separators(&indexes, parts).collect();
                    assert_eq!(found.len(), parts - 1);
                    for (part, separator) in found.iter().enumerate() {
                        let start = quantiles::start_of(part + 1, parts, keys.len());
                        assert_eq!(*separator, keys[start], "{}, {runs} runs", shape.name());
                    }
                }
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "too many keys")]
    fn summaries_of_many_cores_are_cut_evenly() {
        for shape in Shape::ALL {
            let keys = shape.keys(KEYS, 3);
            // Cores with interleaved keys, and cores with a range each, of which one has nearly all.
            let ranges = [&keys[..KEYS / 50], &keys[KEYS / 50..], &[]].map(<[u64]>::to_vec).to_vec();
            for cores in [dealt(&keys, 7, 4), ranges] {
                let points = KEYS.min(4096);
                let summaries: Vec<Summary> =
                    cores.iter().map(|keys| Summary::of(&[&index(keys)], points)).collect();
                assert_eq!(summaries.iter().map(Summary::keys).sum::<u64>(), keys.len() as u64);
                for (parts, bound) in [(8, 1.05), (64, 1.10)] {
                    let found = merged_separators(&summaries, parts);
                    let found = imbalance(&keys, &found, parts);
                    assert!(found <= bound, "{}: {found} of {parts} parts", shape.name());
                }
            }
        }
    }

    #[test]
    fn nothing_is_cut_into_nothing() {
        assert_eq!(separators(&[], 8).count(), 0);
        let (none, one) = (index(&[]), index(&[9]));
        assert_eq!(separators(&[&none], 8).count(), 0);
        assert_eq!(separators(&[&none, &one], 8).count(), 0);
        assert_eq!(separators(&[&one, &one, &one], 2).count(), 0);
        let ends = index(&[0, u64::MAX]);
        assert_eq!(separators(&[&ends], 2).collect::<Vec<_>>(), [u64::MAX]);
        assert_eq!(separators(&[&ends], 9).collect::<Vec<_>>(), [u64::MAX]);
        assert!(merged_separators(&[], 8).is_empty());
        assert!(merged_separators(&[Summary::of(&[&none], 9)], 8).is_empty());
        assert_eq!(merged_separators(&[Summary::of(&[&ends], 9)], 2), [u64::MAX]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 256 }))]
        #[test]
        fn selection_agrees_with_sorting(
            runs in prop::collection::vec(prop::collection::btree_set(0..200_u64, 0..50), 0..5),
            shift in 0..57_u32,
        ) {
            let runs: Vec<Vec<u64>> =
                runs.into_iter().map(|run| run.into_iter().map(|key| key << shift).collect()).collect();
            let mut all: Vec<u64> = runs.concat();
            all.sort_unstable();
            let indexes: Vec<Index> = runs.iter().map(|keys| index(keys)).collect();
            let indexes: Vec<&Index> = indexes.iter().collect();
            for rank in 0..all.len() + 2 {
                prop_assert_eq!(select(&indexes, rank), all.get(rank).copied());
            }
            let summary = Summary::of(&indexes, 1000);
            prop_assert_eq!(&summary.points, &all);
            for parts in 1..10 {
                let exact: Vec<u64> = separators(&indexes, parts).collect();
                prop_assert_eq!(exact, quantiles::separators(&all, parts.min(all.len()).max(1)));
            }
        }
    }
}
