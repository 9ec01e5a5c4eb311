//! What the lookups of a server tell about its index, and when a rebuild pays.
//!
//! An index never gives a wrong answer; it gets slow where lookups fall on keys that it predicts badly.
//! At the build it was measured with keys from everywhere, but a server may be asked for a few corners
//! of them. So [`Drift`] watches: every lookup is counted, and one in [`SAMPLE_EVERY`] is predicted once
//! more to see how far off it was. That is one prediction, out of memory that the lookup has just
//! touched, and nothing inside of the probe: the watch can stay on.
//!
//! [`verdict`] compares with what the build promised. It knows no clock; costs are given to it.

use super::choose::Structure;
use super::index::{Index, Mode};
use super::learned::{WINDOW_LINES, window};
use super::memory::LINE_KEYS;

/// One lookup in so many is looked at; a prime, so that no rhythm of the caller's hides any.
pub const SAMPLE_EVERY: usize = 61;

/// Counts of numbers by their length in bits: 0, 1, 2 to 3, 4 to 7, ..
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; Histogram::BUCKETS],
    sum: u64,
}

impl Histogram {
    pub const BUCKETS: usize = 33;

    const EMPTY: Histogram = Histogram { counts: [0; Histogram::BUCKETS], sum: 0 };

    fn record(&mut self, value: usize) {
        let bucket = (usize::BITS - value.leading_zeros()) as usize;
        self.counts[bucket.min(Histogram::BUCKETS - 1)] += 1;
        self.sum += value as u64;
    }

    fn add(&mut self, other: &Histogram) {
        self.counts.iter_mut().zip(other.counts).for_each(|(count, other)| *count += other);
        self.sum += other.sum;
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// Zero when there is nothing.
    pub fn mean(&self) -> f64 {
        self.sum as f64 / self.count().max(1) as f64
    }

    /// Each bucket's largest number, and how many are at most that: as Prometheus wants it.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let sums = self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        sums.enumerate().map(|(bits, sum)| ((1 << bits) - 1, sum))
    }
}

/// What was seen since the build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// Lookups by mode, single and batch.
    lookups: [u64; 2],
    /// Lookups by who answered, learned and tree.
    served: [u64; 2],
    misses: u64,
    /// Ranks between the prediction and the answer.
    distance: Histogram,
    /// Lines of keys that a lookup looked at, one after the other, when the first look was in vain.
    lines: Histogram,
    /// Lookups to go before the next that is looked at.
    until_sample: usize,
}

impl Default for Drift {
    fn default() -> Drift {
        Drift {
            lookups: [0; 2],
            served: [0; 2],
            misses: 0,
            distance: Histogram::EMPTY,
            lines: Histogram::EMPTY,
            until_sample: 0,
        }
    }
}

impl Drift {
    /// `index` said that the rank of `key` is `rank`; the caller has looked whether the key is there.
    #[inline]
    pub fn saw(&mut self, index: &Index, key: u64, rank: usize, is_there: bool) {
        self.misses += u64::from(!is_there);
        self.count(index, Mode::Single, 1);
        match self.until_sample.checked_sub(1) {
            Some(left) => self.until_sample = left,
            None => {
                self.sample(index, Mode::Single, key, rank);
                self.until_sample = SAMPLE_EVERY - 1;
            }
        }
    }

    /// `index` gave these ranks in a batch.
    pub fn saw_batch(&mut self, index: &Index, wanted: &[u64], ranks: &[usize]) {
        assert_eq!(wanted.len(), ranks.len());
        let keys = index.keys().as_slice();
        let is_missing = |(key, rank): &(&u64, &usize)| keys.get(**rank) != Some(*key);
        self.misses += wanted.iter().zip(ranks).filter(is_missing).count() as u64;
        self.count(index, Mode::Batch, wanted.len());
        while let (Some(key), Some(rank)) = (wanted.get(self.until_sample), ranks.get(self.until_sample)) {
            self.sample(index, Mode::Batch, *key, *rank);
            self.until_sample += SAMPLE_EVERY;
        }
        self.until_sample -= wanted.len();
    }

    fn count(&mut self, index: &Index, mode: Mode, lookups: usize) {
        self.lookups[mode as usize] += lookups as u64;
        self.served[index.choice(mode).structure as usize] += lookups as u64;
    }

    #[cold]
    fn sample(&mut self, index: &Index, mode: Mode, key: u64, rank: usize) {
        let (distance, lines) = second_look(index, mode, key, rank);
        self.lines.record(lines);
        if let Some(distance) = distance {
            self.distance.record(distance);
        }
    }

    /// Takes in what another core saw of the same run.
    pub fn add(&mut self, other: &Drift) {
        let sums = [(&mut self.lookups, other.lookups), (&mut self.served, other.served)];
        for (sum, other) in sums {
            sum.iter_mut().zip(other).for_each(|(sum, other)| *sum += other);
        }
        self.misses += other.misses;
        self.distance.add(&other.distance);
        self.lines.add(&other.lines);
    }

    pub fn lookups(&self, mode: Mode) -> u64 {
        self.lookups[mode as usize]
    }

    pub fn served(&self, structure: Structure) -> u64 {
        self.served[structure as usize]
    }

    /// Lookups of keys that were not there.
    pub fn misses(&self) -> u64 {
        self.misses
    }

    /// Of the sampled lookups that the learned index served: ranks from prediction to answer.
    pub fn distance(&self) -> &Histogram {
        &self.distance
    }

    /// Of the sampled lookups: lines of keys looked at when the first look was in vain.
    pub fn lines(&self) -> &Histogram {
        &self.lines
    }
}

/// How far off the prediction was, if there was one, and how many lines of keys took a second look.
fn second_look(index: &Index, mode: Mode, key: u64, rank: usize) -> (Option<usize>, usize) {
    match (index.choice(mode).structure, index.learned(), index.splus()) {
        (Structure::Learned, Some(learned), _) => {
            let predicted = learned.predict(key);
            (Some(predicted.abs_diff(rank)), lines_walked(window(index.keys(), predicted), rank))
        }
        _ => (None, 0),
    }
}

/// Lines that the walk to `rank` takes, after a look at the window from key `first` on.
fn lines_walked(first: usize, rank: usize) -> usize {
    let window = first..first + WINDOW_LINES * LINE_KEYS;
    let beyond = match rank {
        rank if rank > window.end => (rank - window.end).div_ceil(LINE_KEYS),
        rank if rank < window.start => (window.start - rank).div_ceil(LINE_KEYS),
        _ => 0,
    };
    // As `last_mile` walks: next door line by line, then in steps that double and a search inside of one.
    if beyond <= 4 { beyond } else { 4 + 2 * beyond.ilog2() as usize }
}

/// What the build promises, for lookups that fall evenly on all keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Promise {
    /// Mean lines of keys a lookup, after the first look.
    pub lines: f64,
}

impl Promise {
    /// Looks at some thousand keys of the index.
    pub fn of(index: &Index) -> Promise {
        const SAMPLES: usize = 4096;
        let keys = index.keys().as_slice();
        let mut drift = Drift::default();
        let samples = SAMPLES.min(keys.len());
        for sample in 0..samples {
            let rank = sample * keys.len() / samples;
            drift.sample(index, Mode::Batch, keys[rank], rank);
        }
        Promise { lines: drift.lines.mean() }
    }
}

/// What things cost on the machine that serves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// Of one more line of keys in a lookup: much of the memory's latency, as it comes after the first.
    pub line_ns: f64,
    /// Of a rebuild.
    pub build_ns: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Fewer lookups were looked at than a judgement takes.
    TooFew,
    Keep,
    /// Lookups of the same number and kind would gain so much more than the rebuild costs.
    Rebuild {
        gain: f64,
    },
}

/// Does a rebuild pay, if what comes is like what was seen? A rebuild can keep the promise of the last
/// one also for the keys that are asked for: by another eps, or by the tree, which needs no second look.
pub fn verdict(seen: &Drift, promise: Promise, costs: Costs) -> Verdict {
    const SAMPLES_MIN: u64 = 1000;
    // A gain that is not clear is none.
    const GAIN_MIN: f64 = 2.0;
    if seen.lines.count() < SAMPLES_MIN {
        return Verdict::TooFew;
    }
    let lookups = seen.lookups.iter().sum::<u64>() as f64;
    let saved_ns = (seen.lines.mean() - promise.lines).max(0.0) * costs.line_ns * lookups;
    let gain = saved_ns / costs.build_ns.max(1.0);
    if gain >= GAIN_MIN { Verdict::Rebuild { gain } } else { Verdict::Keep }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rmi::index::IndexOptions;
    use crate::rmi::keys::KeyArray;
    use crate::rmi::keysets::{Random, Shape};
    use crate::rmi::train::TrainOptions;

    const KEYS: usize = if cfg!(miri) { 200 } else { 200_000 };
    const TURNS: u64 = if cfg!(miri) { 30 } else { 300 };

    fn index(keys: &[u64], structure: Structure) -> Index {
        let train = TrainOptions { eps: Some(64), correction_shift: None, ..TrainOptions::default() };
        let options = IndexOptions { structure: Some(structure), train };
        Index::build(KeyArray::new(keys).unwrap(), options, &mut || 0)
    }

    #[test]
    fn everything_is_counted_and_one_in_so_many_looked_at() {
        let keys: Vec<u64> = (0..KEYS as u64).map(|key| key * 2).collect();
        let index = index(&keys, Structure::Learned);
        let mut drift = Drift::default();
        let random = &mut Random(1);
        let mut batches = 0;
        for turn in 0..TURNS {
            let wanted: Vec<u64> = (0..turn % 70).map(|_| random.below(2 * KEYS as u64)).collect();
            let mut ranks = vec![0; wanted.len()];
            index.rank_batch(&wanted, &mut ranks);
            drift.saw_batch(&index, &wanted, &ranks);
            batches += wanted.len() as u64;
            let key = 2 * random.below(KEYS as u64);
            drift.saw(&index, key, index.rank(key), true);
        }
        assert_eq!((drift.lookups(Mode::Single), drift.lookups(Mode::Batch)), (TURNS, batches));
        assert_eq!((drift.served(Structure::Learned), drift.served(Structure::SPlus)), (TURNS + batches, 0));
        let all = TURNS + batches;
        assert_eq!(drift.lines().count(), all.div_ceil(SAMPLE_EVERY as u64));
        assert_eq!(drift.distance().count(), drift.lines().count());
        // Half of the batched ones are odd, so absent.
        assert!(drift.misses().abs_diff(batches / 2) <= batches / 8, "{}", drift.misses());
        let mut twice = drift.clone();
        twice.add(&drift);
        assert_eq!((twice.misses(), twice.lines().sum()), (2 * drift.misses(), 2 * drift.lines().sum()));
    }

    #[test]
    fn histograms_are_by_length_in_bits() {
        let mut histogram = Histogram::EMPTY;
        [0, 1, 2, 3, 4, 1 << 40].into_iter().for_each(|value| histogram.record(value));
        let cumulative: Vec<(u64, u64)> = histogram.cumulative().collect();
        assert_eq!(cumulative[..4], [(0, 1), (1, 2), (3, 4), (7, 5)]);
        assert_eq!(cumulative.last(), Some(&(u64::from(u32::MAX), 6)));
        assert_eq!((histogram.count(), histogram.sum()), (6, (1 << 40) + 10));
        assert_eq!(Histogram::EMPTY.mean(), 0.0);
    }

    #[test]
    fn lines_grow_with_the_way() {
        let end = WINDOW_LINES * LINE_KEYS;
        assert_eq!((lines_walked(80, 80), lines_walked(80, 80 + end)), (0, 0));
        assert_eq!((lines_walked(80, 79), lines_walked(80, 81 + end)), (1, 1));
        let ranks = if cfg!(miri) { 500 } else { 100_000 };
        let lines: Vec<usize> = (0..ranks).map(|rank| lines_walked(0, rank)).collect();
        assert!(lines.is_sorted() && lines[ranks - 1] < 40);
    }

    /// Keys of which a small part is far harder than the rest.
    fn with_a_hard_corner() -> Vec<u64> {
        let easy = (0..KEYS as u64).map(|key| key << 30);
        let hard = Shape::Adversarial.keys(KEYS / 50, 1);
        let mut keys: Vec<u64> = easy.chain(hard.into_iter().map(|key| (key >> 4) | 1 << 59)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    fn served(index: &Index, ranks: std::ops::Range<usize>, lookups: usize) -> Drift {
        let mut drift = Drift::default();
        let random = &mut Random(3);
        for _ in 0..lookups {
            let rank = ranks.start + random.below(ranks.len() as u64) as usize;
            drift.saw(index, index.keys().as_slice()[rank], rank, true);
        }
        drift
    }

    #[test]
    #[cfg_attr(miri, ignore = "too many lookups")]
    fn a_rebuild_pays_when_lookups_dwell_where_predictions_are_bad() {
        let keys = with_a_hard_corner();
        let index = index(&keys, Structure::Learned);
        let promise = Promise::of(&index);
        let costs = Costs { line_ns: 16.0, build_ns: 1e6 };
        let everywhere = served(&index, 0..keys.len(), 500_000);
        assert_eq!(verdict(&everywhere, promise, costs), Verdict::Keep);
        let corner = served(&index, keys.len() - KEYS / 60..keys.len(), 500_000);
        assert!(corner.lines().mean() > promise.lines + 0.3, "{promise:?} {}", corner.lines().mean());
        let verdict_on = |seen: &Drift, costs| verdict(seen, promise, costs);
        assert!(matches!(verdict_on(&corner, costs), Verdict::Rebuild { gain } if gain > 2.0));
        // Not for a few lookups, and not when it costs more than it gains.
        assert_eq!(verdict_on(&served(&index, 0..1, 900), costs), Verdict::TooFew);
        assert_eq!(verdict_on(&corner, Costs { build_ns: 1e9, ..costs }), Verdict::Keep);
    }

    #[test]
    #[cfg_attr(miri, ignore = "too many lookups")]
    fn a_tree_keeps_its_promise_everywhere() {
        let keys = with_a_hard_corner();
        let index = index(&keys, Structure::SPlus);
        let promise = Promise::of(&index);
        assert_eq!(promise.lines, 0.0);
        let corner = served(&index, keys.len() - KEYS / 60..keys.len(), 500_000);
        assert_eq!(corner.distance().count(), 0);
        let costs = Costs { line_ns: 1000.0, build_ns: 1.0 };
        assert_eq!(verdict(&corner, promise, costs), Verdict::Keep);
    }
}
