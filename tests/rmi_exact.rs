//! The learned index and the search tree against the one right answer, ten million lookups a key set.
//!
//! Lookups are made key by key of the set, in order: present ones, neighbours, and what lies in the gaps;
//! so their ranks are known without a search. Random ones over all of u64 are among them, with ranks by
//! binary search. Every instruction set of the machine, single and batch, both structures.

#[path = "support/keysets.rs"]
mod keysets;

use keysets::{Random, Shape, osm_timezones};
use kyrodb::rmi::choose::Structure;
use kyrodb::rmi::index::{Index, IndexOptions, Mode};
use kyrodb::rmi::kernel::Level;
use kyrodb::rmi::keys::{KeyArray, KeysError};
use kyrodb::rmi::train::TrainOptions;

const LOOKUPS: usize = 10_000_000;
const LARGE: usize = 10_000_000;
/// Not a multiple of what a batch takes at once.
const CHUNK: usize = 1000;

/// Lookups with their ranks.
#[derive(Default)]
struct Lookups {
    wanted: Vec<u64>,
    ranks: Vec<usize>,
}

impl Lookups {
    fn add(&mut self, key: u64, rank: usize) {
        self.wanted.push(key);
        self.ranks.push(rank);
    }

    /// Some key above `keys[at - 1]` and up to `keys[at]`, or as far as the numbers go. Its rank is `at`.
    fn add_near(&mut self, keys: &[u64], at: usize, random: &mut Random) {
        let low = at.checked_sub(1).map_or(0, |before| keys[before].saturating_add(1));
        let high = keys.get(at).copied().unwrap_or(u64::MAX);
        if at == keys.len() && keys.last() == Some(&u64::MAX) {
            return self.add(high, at - 1);
        }
        let key = match random.below(8) {
            0..=2 => high,
            3 => low,
            4 => low + (high - low) / 2,
            5 => high.saturating_sub(1).max(low),
            _ => low + ((u128::from(high - low) * u128::from(random.next())) >> 64) as u64,
        };
        self.add(key, at);
    }

    fn add_anywhere(&mut self, keys: &[u64], key: u64) {
        self.add(key, keys.partition_point(|other| *other < key));
    }

    /// `count` lookups for keys in order, then the ends, then random ones.
    fn over(keys: &[u64], count: usize, seed: u64) -> Lookups {
        let random = &mut Random(seed);
        let mut lookups = Lookups::default();
        let random_count = count / 50;
        for turn in 0..count - random_count {
            let at = (turn as u128 * (keys.len() as u128 + 1) / (count - random_count) as u128) as usize;
            lookups.add_near(keys, at, random);
        }
        for key in [0, 1, u64::MAX - 1, u64::MAX] {
            lookups.add_anywhere(keys, key);
        }
        for _ in 0..random_count {
            lookups.add_anywhere(keys, random.next());
        }
        // The ranks by construction, against binary search.
        for at in (0..lookups.wanted.len()).step_by(997) {
            let key = lookups.wanted[at];
            assert_eq!(lookups.ranks[at], keys.partition_point(|other| *other < key));
        }
        lookups
    }
}

fn forced(structure: Structure) -> IndexOptions {
    IndexOptions { structure: Some(structure), ..IndexOptions::default() }
}

fn build(keys: KeyArray, options: IndexOptions) -> Index {
    let mut time = 0;
    Index::build(keys, options, &mut || {
        time += 1;
        time
    })
}

/// No mismatch at any level, and no rank further from its prediction than the index says.
fn check(name: &str, index: &mut Index, lookups: &Lookups) {
    for level in Level::available() {
        assert!(index.set_level(level));
        check_level(&format!("{name}, {level:?}"), index, lookups);
    }
    let (Some(learned), Some(bound)) = (index.learned(), index.max_error()) else { return };
    let error = |(key, rank): (&u64, &usize)| learned.predict(*key).abs_diff(*rank);
    let worst = lookups.wanted.iter().zip(&lookups.ranks).map(error).max().unwrap_or(0);
    assert!(worst <= bound, "{name}: off by {worst}, bound {bound}");
}

fn check_level(name: &str, index: &Index, lookups: &Lookups) {
    let mut found = [0; CHUNK];
    for (wanted, ranks) in lookups.wanted.chunks(CHUNK).zip(lookups.ranks.chunks(CHUNK)) {
        let found = &mut found[..wanted.len()];
        index.rank_batch(wanted, found);
        assert!(found == ranks, "{name}, batch: {}", first_wrong(wanted, found, ranks));
        for (found, key) in found.iter_mut().zip(wanted) {
            *found = index.rank(*key);
        }
        assert!(found == ranks, "{name}, single: {}", first_wrong(wanted, found, ranks));
    }
}

fn first_wrong(wanted: &[u64], found: &[usize], ranks: &[usize]) -> String {
    let at = (0..wanted.len()).find(|at| found[*at] != ranks[*at]).expect("one is wrong");
    format!("{} is at {}, found at {}", wanted[at], ranks[at], found[at])
}

/// Presence and ranges, on whatever the build chose.
fn check_answers(name: &str, index: &Index, lookups: &Lookups) {
    let keys = index.keys().as_slice();
    let place =
        |at: usize| (keys.get(lookups.ranks[at]) == Some(&lookups.wanted[at])).then(|| lookups.ranks[at]);
    let mut places = vec![None; lookups.wanted.len()];
    index.get_batch(&lookups.wanted, &mut places);
    for (at, found) in places.into_iter().enumerate() {
        assert_eq!(found, place(at), "{name}");
        assert_eq!(index.get(lookups.wanted[at]), place(at), "{name}");
    }
    for pair in lookups.wanted.windows(2).zip(lookups.ranks.windows(2)).step_by(101) {
        let (wanted, ranks) = pair;
        let range = index.range(wanted[0]..wanted[1]);
        assert!(range == (ranks[0]..ranks[1]) || wanted[0] >= wanted[1] && range.is_empty(), "{name}");
    }
}

fn check_set(name: &str, keys: &[u64], count: usize) {
    let lookups = Lookups::over(keys, count, 77);
    let array = KeyArray::new(keys).expect("sorted and unique");
    let mut index = build(array, forced(Structure::Learned));
    assert!(keys.is_empty() || index.learned().is_some() && index.splus().is_none());
    check(&format!("{name}, learned"), &mut index, &lookups);
    let mut index = build(index.into_keys(), forced(Structure::SPlus));
    assert!(index.splus().is_some() && index.learned().is_none());
    check(&format!("{name}, tree"), &mut index, &lookups);
}

fn check_large(shape: Shape) {
    check_set(shape.name(), &shape.keys(LARGE, 1), LOOKUPS);
}

#[test]
fn ten_million_dense_keys() {
    check_large(Shape::Dense);
}

#[test]
fn ten_million_uniform_keys() {
    check_large(Shape::Uniform);
}

#[test]
fn ten_million_lognormal_keys() {
    check_large(Shape::Lognormal);
}

#[test]
fn ten_million_normal_keys() {
    check_large(Shape::Normal);
}

#[test]
fn ten_million_clustered_keys() {
    check_large(Shape::Clustered);
}

#[test]
fn ten_million_snowflake_ids() {
    check_large(Shape::Snowflake);
}

#[test]
fn ten_million_adversarial_keys() {
    check_large(Shape::Adversarial);
}

#[test]
fn real_keys() {
    match osm_timezones().expect("they can be read") {
        Some(keys) => check_set("osm_timezones", &keys, LOOKUPS),
        None => eprintln!("skipped osm_timezones"),
    }
}

#[test]
fn a_million_keys_of_each_shape() {
    for shape in Shape::ALL {
        check_set(shape.name(), &shape.keys(1_000_000, 2), 200_000);
    }
}

#[test]
fn small_sizes_of_each_shape() {
    for shape in Shape::ALL {
        for len in [0, 1, 2, 7, 8, 9, 63, 64, 65, 127, 128, 129, 1000, 4095, 4096, 4097] {
            for seed in 0..3 {
                let keys = shape.keys(len, seed);
                let name = format!("{} of {len}, seed {seed}", shape.name());
                check_set(&name, &keys, 4 * len + 100);
            }
        }
    }
}

#[test]
fn the_ends_of_u64_are_keys_like_others() {
    let sets: [&[u64]; 6] = [
        &[0],
        &[u64::MAX],
        &[0, u64::MAX],
        &[0, 1, u64::MAX - 1, u64::MAX],
        &[u64::MAX - 8, u64::MAX - 7, u64::MAX - 6, u64::MAX - 5, u64::MAX - 4, u64::MAX - 3, u64::MAX],
        &[
            u64::MAX - 7,
            u64::MAX - 6,
            u64::MAX - 5,
            u64::MAX - 4,
            u64::MAX - 3,
            u64::MAX - 2,
            u64::MAX - 1,
            u64::MAX,
        ],
    ];
    for keys in sets {
        check_set(&format!("{keys:?}"), keys, 500);
    }
}

/// Eps and corrections change speed, never an answer.
#[test]
fn every_way_to_train() {
    for shape in Shape::ALL {
        let keys = shape.keys(50_000, 3);
        let lookups = Lookups::over(&keys, 50_000, 5);
        for eps in [Some(1), Some(7), Some(64), Some(1000), None] {
            for correction_shift in [None, Some(0), Some(3), Some(5), Some(8)] {
                let train = TrainOptions { eps, correction_shift, ..TrainOptions::default() };
                let options = IndexOptions { train, ..forced(Structure::Learned) };
                let mut index = build(KeyArray::new(&keys).expect("sorted"), options);
                let name = format!("{}, eps {eps:?}, correction {correction_shift:?}", shape.name());
                check(&name, &mut index, &lookups);
            }
        }
    }
}

#[test]
fn what_was_chosen_answers_right() {
    for shape in Shape::ALL {
        let keys = shape.keys(300_000, 4);
        let lookups = Lookups::over(&keys, 300_000, 6);
        let mut index = build(KeyArray::new(&keys).expect("sorted"), IndexOptions::default());
        for mode in [Mode::Single, Mode::Batch] {
            let serves = match index.choice(mode).structure {
                Structure::Learned => index.learned().is_some(),
                Structure::SPlus => index.splus().is_some(),
            };
            assert!(serves, "{}: {mode:?}", shape.name());
        }
        check_answers(shape.name(), &index, &lookups);
        check(shape.name(), &mut index, &lookups);
    }
}

#[test]
fn duplicates_and_disorder_are_refused() {
    for shape in Shape::ALL {
        let keys = shape.keys(1_000_000, 5);
        for at in [1, 2, 8, 63, 64, 4095, 4096, 500_000, 999_999] {
            let mut broken = keys.clone();
            broken[at] = broken[at - 1];
            assert_eq!(
                KeyArray::new(&broken).map(|_| ()),
                Err(KeysError::Duplicate { at }),
                "{}",
                shape.name()
            );
            broken[at] = keys[at];
            broken.swap(at - 1, at);
            assert_eq!(
                KeyArray::new(&broken).map(|_| ()),
                Err(KeysError::Unsorted { at }),
                "{}",
                shape.name()
            );
        }
    }
}
