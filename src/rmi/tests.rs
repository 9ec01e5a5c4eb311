//! The index against binary search, over key sets of many kinds, on every instruction set.

use proptest::prelude::*;

use super::choose::Structure;
use super::index::{Index, IndexOptions};
use super::kernel::Level;
use super::keys::KeyArray;
use super::train::{TrainOptions, Trainer};

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn sorted(keys: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut keys: Vec<u64> = keys.collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Key sets, each with what it is there for.
fn sets(len: usize) -> Vec<(&'static str, Vec<u64>)> {
    let n = len as u64;
    let state = &mut 7;
    let uniform = sorted((0..n).map(|_| next(state)));
    let state = &mut 8;
    let narrow = sorted((0..n).map(|_| next(state) % (2 * n + 1)));
    let state = &mut 9;
    let skewed = sorted((0..n).map(|_| next(state) >> (next(state) % 60)));
    let state = &mut 10;
    let clustered = sorted((0..n).map(|_| ((next(state) % 30) << 59) ^ (next(state) % (n + 1))));
    let state = &mut 11;
    let snowflake = sorted((0..n).map(|at| (at / 3) << 22 | (next(state) % 8) << 12 | (at % 3)));
    // Runs of one slope, then gaps of another, in lengths just above what a segment takes.
    let mut key = 0_u64;
    let steps = sorted((0..n).map(|at| {
        let steep = (at / 37) % 2 == 0;
        key += if steep { 1 } else { 1 << (20 + at % 11) };
        key
    }));
    vec![
        ("dense", (5..n + 5).collect()),
        ("dense at the end", (0..n).map(|at| u64::MAX - n + 1 + at).collect()),
        ("uniform", uniform),
        ("narrow", narrow),
        ("skewed", skewed),
        ("clustered", clustered),
        ("snowflake", snowflake),
        ("steps", steps),
        ("both ends", sorted((0..n).map(|at| if at < n / 2 { at } else { u64::MAX - at }))),
    ]
}

fn wanted(keys: &[u64], random: usize) -> Vec<u64> {
    let near = keys.iter().flat_map(|key| [key.saturating_sub(1), *key, key.saturating_add(1)]);
    let state = &mut 99;
    let between = keys.windows(2).map(|pair| pair[0] + (pair[1] - pair[0]) / 2);
    let far = (0..random).map(|_| next(state));
    near.chain(between).chain(far).chain([0, 1, u64::MAX - 1, u64::MAX]).collect()
}

fn check(name: &str, keys: &[u64], options: IndexOptions) {
    let mut ticks = 0;
    let mut clock = || {
        ticks += 1;
        ticks
    };
    let mut index = Index::build(KeyArray::new(keys).unwrap(), options, &mut clock);
    let wanted = wanted(keys, if cfg!(miri) { 4 } else { 100 });
    let ranks: Vec<usize> = wanted.iter().map(|key| keys.partition_point(|other| other < key)).collect();
    for level in Level::available() {
        assert!(index.set_level(level));
        let (mut batch, mut places) = (vec![0; wanted.len()], vec![None; wanted.len()]);
        index.rank_batch(&wanted, &mut batch);
        index.get_batch(&wanted, &mut places);
        for (at, key) in wanted.iter().enumerate() {
            let place = (keys.get(ranks[at]) == Some(key)).then_some(ranks[at]);
            assert_eq!(index.rank(*key), ranks[at], "{name} {level:?} {key}");
            assert_eq!(index.get(*key), place, "{name} {level:?} {key}");
            assert_eq!((batch[at], places[at]), (ranks[at], place), "{name} {level:?} {key} in a batch");
            if let (Some(learned), Some(bound)) = (index.learned(), index.max_error()) {
                let error = learned.predict(*key).abs_diff(ranks[at]);
                assert!(error <= bound, "{name} {level:?} {key}: off by {error}, bound {bound}");
            }
        }
    }
}

fn every_way() -> Vec<IndexOptions> {
    let learned = |train| IndexOptions { train, structure: Some(Structure::Learned) };
    let fine = TrainOptions { eps: Some(16), ..TrainOptions::default() };
    let bare = TrainOptions { eps: Some(64), correction_shift: None, ..TrainOptions::default() };
    let tiny = TrainOptions { model_bytes: 0, ..TrainOptions::default() };
    let splus = IndexOptions { structure: Some(Structure::SPlus), ..IndexOptions::default() };
    vec![learned(fine), learned(bare), learned(tiny), splus, IndexOptions::default()]
}

#[test]
fn agrees_with_binary_search_on_every_set() {
    let lens: &[usize] = if cfg!(miri) { &[0, 9, 20] } else { &[0, 1, 2, 7, 8, 9, 63, 64, 65, 1000, 20_000] };
    for len in lens.iter().copied() {
        for (name, keys) in sets(len) {
            every_way().into_iter().for_each(|options| check(&format!("{name} of {len}"), &keys, options));
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "too many keys")]
fn a_large_set_of_each_kind() {
    for (name, keys) in sets(200_000) {
        let options = IndexOptions { structure: Some(Structure::Learned), ..IndexOptions::default() };
        check(name, &keys, options);
    }
}

#[test]
fn ranges_are_half_open() {
    let keys = KeyArray::from_sorted((0..1000).map(|key| key * 10)).unwrap();
    let index = Index::build(keys, IndexOptions::default(), &mut || 0);
    assert_eq!(index.range(0..10), 0..1);
    assert_eq!(index.range(1..11), 1..2);
    assert_eq!(index.range(0..u64::MAX), 0..1000);
    #[allow(clippy::reversed_empty_ranges)]
    let reversed = index.range(500..100);
    assert!(reversed.is_empty());
}

#[test]
#[cfg_attr(miri, ignore = "too many keys")]
fn steps_of_any_size_train_the_same_index() {
    for (name, keys) in sets(30_000) {
        let array = KeyArray::new(&keys).unwrap();
        let whole = Trainer::train(&array, TrainOptions::default());
        let mut trainer = Trainer::new(TrainOptions::default());
        let mut steps = 0;
        while !trainer.step(&array, 1000) {
            steps += 1;
        }
        let stepped = trainer.finish().unwrap();
        assert!(steps > 20, "{name}: {steps} steps");
        assert_eq!(stepped.max_error(), whole.max_error(), "{name}");
        let all = |learned: &super::learned::Learned| {
            let segments = &learned.segments;
            (0..segments.len()).map(|at| segments.get(at)).collect::<Vec<_>>()
        };
        assert_eq!(all(&stepped), all(&whole), "{name}");
        let table =
            |learned: &super::learned::Learned| learned.corrections.as_ref().unwrap().table().to_vec();
        assert_eq!(table(&stepped), table(&whole), "{name}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "too many keys")]
fn the_model_keeps_its_budget_where_it_can() {
    for (name, keys) in sets(200_000) {
        let array = KeyArray::new(&keys).unwrap();
        let options = TrainOptions { model_bytes: 64 << 10, ..TrainOptions::default() };
        let learned = Trainer::train(&array, options);
        let fits = learned.model_bytes() <= options.model_bytes * 5 / 4;
        assert!(fits || learned.eps() == super::train::EPS_MAX, "{name}: {}", learned.model_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 256 }))]
    #[test]
    fn agrees_with_binary_search_on_any_keys(
        keys in prop::collection::btree_set(any::<u64>(), 0..500),
        shift in 0..60_u32,
        eps in 1..40_u32,
        correction_shift in prop::option::of(0..8_u32),
    ) {
        let keys = sorted(keys.into_iter().map(|key| key >> shift));
        let train = TrainOptions { eps: Some(eps), correction_shift, ..TrainOptions::default() };
        check("any", &keys, IndexOptions { train, structure: Some(Structure::Learned) });
    }
}
