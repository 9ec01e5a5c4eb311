//! Separators that cut a key range into parts of equal count, from a sample of its keys.
//!
//! The sample comes from a [`Reservoir`], which keeps a uniform one of a stream of unknown length
//! (Vitter, "Random sampling with a reservoir", 1985, algorithm R). The random numbers are the caller's.
//!
//! How even the parts get is up to the size of the sample: of n keys in p parts, a part is off its share
//! by a factor of about `1 +- sqrt(p / n)`, whatever the distribution of the keys.

/// The first keys of all parts but the first: at most `parts - 1`, strictly increasing, none the first
/// of the sample. Fewer when the sample has too few distinct keys. The sample is sorted; it may repeat
/// keys.
pub fn separators<K: Ord + Clone>(sorted_sample: &[K], parts: usize) -> Vec<K> {
    assert!(parts > 0);
    assert!(sorted_sample.is_sorted());
    let mut separators: Vec<K> = Vec::new();
    for part in 1..parts {
        let Some(key) = sorted_sample.get(start_of(part, parts, sorted_sample.len())) else { break };
        if separators.last().or(sorted_sample.first()).is_some_and(|last| last < key) {
            separators.push(key.clone());
        }
    }
    separators
}

/// `len * part / parts`, rounded to the nearest.
pub(super) fn start_of(part: usize, parts: usize, len: usize) -> usize {
    (len * part + parts / 2) / parts
}

/// A uniform sample of at most `capacity` of the keys offered so far.
#[derive(Clone, Debug)]
pub struct Reservoir<K> {
    sample: Vec<K>,
    capacity: usize,
    offered: u64,
}

impl<K: Ord> Reservoir<K> {
    pub fn new(capacity: usize) -> Reservoir<K> {
        assert!(capacity > 0);
        Reservoir { sample: Vec::new(), capacity, offered: 0 }
    }

    /// Takes the next key into account. `random` is uniform over all of u64, fresh for each call; `key`
    /// is only asked when the sample takes it.
    pub fn offer(&mut self, random: u64, key: impl FnOnce() -> K) {
        self.offered += 1;
        if self.sample.len() < self.capacity {
            self.sample.push(key());
        } else if let Some(replaced) = self.sample.get_mut(below(self.offered, random)) {
            *replaced = key();
        }
    }

    /// Keys offered so far.
    pub fn offered(&self) -> u64 {
        self.offered
    }

    pub fn into_sorted(mut self) -> Vec<K> {
        self.sample.sort_unstable();
        self.sample
    }
}

/// Scales a uniform u64 down to `0..bound`.
fn below(bound: u64, random: u64) -> usize {
    ((u128::from(bound) * u128::from(random)) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// SplitMix64: the next of a sequence of well-mixed numbers.
    fn next(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn unit(state: &mut u64) -> f64 {
        (next(state) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// exp of a normal number, by Box and Muller.
    fn lognormal(state: &mut u64) -> u64 {
        let radius = (-2.0 * (1.0 - unit(state)).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * unit(state)).cos();
        ((2.0 * normal).exp() * 1e9) as u64
    }

    /// A few dense clusters far apart.
    fn clustered(state: &mut u64) -> u64 {
        let cluster = next(state) % 20;
        cluster * cluster * (1 << 50) + next(state) % 100_000
    }

    /// Largest part over the mean part, for all keys cut by a sample of 10,000.
    fn imbalance(seed: u64, key: fn(&mut u64) -> u64) -> f64 {
        const PARTS: usize = 8;
        let state = &mut { seed };
        let keys: Vec<u64> = (0..100_000).map(|_| key(state)).collect();
        let mut reservoir = Reservoir::new(10_000);
        keys.iter().for_each(|key| reservoir.offer(next(state), || *key));
        let separators = separators(&reservoir.into_sorted(), PARTS);
        assert_eq!(separators.len(), PARTS - 1);
        let mut counts = [0; PARTS];
        keys.iter().for_each(|key| counts[separators.partition_point(|separator| separator <= key)] += 1);
        *counts.iter().max().expect("parts") as f64 * PARTS as f64 / keys.len() as f64
    }

    /// The largest of 8 random parts is 1.04 on average; 1.05 is what most samples keep.
    #[test]
    #[cfg_attr(miri, ignore = "too many keys, and nothing unsafe")]
    fn skewed_keys_are_cut_evenly() {
        for (name, key) in [("lognormal", lognormal as fn(&mut u64) -> u64), ("clustered", clustered)] {
            let mut found: Vec<f64> = (0..31).map(|seed| imbalance(seed << 32, key)).collect();
            found.sort_by(f64::total_cmp);
            assert!(found[15] <= 1.05, "{name}: median {}", found[15]);
            assert!(found[30] <= 1.12, "{name}: worst {}", found[30]);
        }
    }

    #[test]
    fn a_full_sample_is_cut_to_the_key() {
        let keys: Vec<u32> = (0..1000).collect();
        assert_eq!(separators(&keys, 4), [250, 500, 750]);
        assert!(separators(&keys, 1).is_empty());
        assert_eq!(separators(&keys[..3], 2), [2]);
    }

    #[test]
    fn few_distinct_keys_make_few_parts() {
        assert!(separators::<u32>(&[], 4).is_empty());
        assert!(separators(&[5, 5, 5, 5], 4).is_empty());
        assert_eq!(separators(&[1, 5, 5, 5], 4), [5]);
        assert_eq!(separators(&[1, 2], 64), [2]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 256 }))]
        #[test]
        fn every_part_gets_a_key_of_the_sample(
            mut sample in prop::collection::vec(0..40_u8, 0..100),
            parts in 1..20_usize,
        ) {
            sample.sort_unstable();
            let separators = separators(&sample, parts);
            prop_assert!(separators.len() < parts);
            prop_assert!(separators.is_sorted_by(|a, b| a < b));
            let part = |key: &u8| separators.partition_point(|separator| separator <= key);
            let mut used: Vec<usize> = sample.iter().map(part).collect();
            used.dedup();
            prop_assert!(sample.is_empty() || used == Vec::from_iter(0..=separators.len()));
        }
    }

    /// Each of 100 keys is kept by a sample of 10 in a tenth of the trials: within five deviations.
    #[test]
    fn the_reservoir_is_uniform() {
        const TRIALS: u32 = if cfg!(miri) { 100 } else { 20_000 };
        let (mut kept, mut state) = ([0_u32; 100], 1);
        for _ in 0..TRIALS {
            let mut reservoir = Reservoir::new(10);
            (0..100_usize).for_each(|key| reservoir.offer(next(&mut state), || key));
            assert_eq!(reservoir.offered(), 100);
            let sample = reservoir.into_sorted();
            assert!(sample.len() == 10 && sample.is_sorted_by(|a, b| a < b));
            sample.into_iter().for_each(|key| kept[key] += 1);
        }
        let mean = f64::from(TRIALS) / 10.0;
        let bound = 5.0 * (mean * 0.9).sqrt();
        for (key, kept) in kept.into_iter().enumerate() {
            assert!((f64::from(kept) - mean).abs() < bound, "key {key} was kept {kept} times");
        }
    }
}
