//! How evenly separators from indexes alone cut every set of a million keys and more: over one run, over
//! several runs of a core, and over summaries of several cores.

#[path = "support/keysets.rs"]
mod keysets;

use keysets::{Random, Shape, osm_timezones};
use kyrodb::rmi::index::{Index, IndexOptions};
use kyrodb::rmi::keys::KeyArray;
use kyrodb::rmi::merged::{Summary, merged_separators, separators};

const KEYS: usize = 2_000_000;
/// Parts, and how far above the mean the largest may be.
const PARTS: [(usize, f64); 2] = [(8, 1.05), (64, 1.10)];
const SUMMARY_POINTS: usize = 4096;

fn index(keys: &[u64]) -> Index {
    let mut time = 0;
    Index::build(KeyArray::new(keys).expect("sorted and unique"), IndexOptions::default(), &mut || {
        time += 1;
        time
    })
}

/// Deals the keys out, to the first of them twice as many as to the last.
fn dealt(keys: &[u64], into: usize) -> Vec<Index> {
    let random = &mut Random(5);
    let mut dealt = vec![Vec::new(); into];
    for key in keys {
        let twice = [random.below(into as u64), random.below(into as u64)];
        dealt[twice[0].min(twice[1]) as usize].push(*key);
    }
    dealt.iter().map(|keys| index(keys)).collect()
}

/// One core has nine tenths of the keys, the others a narrow range each.
fn ranges(keys: &[u64], into: usize) -> Vec<Index> {
    let narrow = keys.len() / 10 / (into - 1);
    let (ranges, rest) = keys.split_at(narrow * (into - 1));
    ranges.chunks(narrow).chain([rest]).map(index).collect()
}

fn imbalance(keys: &[u64], separators: &[u64], parts: usize) -> f64 {
    assert_eq!(separators.len(), parts - 1);
    let start = |separator: &u64| keys.partition_point(|key| key < separator);
    let mut starts: Vec<usize> = separators.iter().map(start).collect();
    starts.insert(0, 0);
    starts.push(keys.len());
    let largest = starts.windows(2).map(|pair| pair[1] - pair[0]).max().expect("a part");
    largest as f64 * parts as f64 / keys.len() as f64
}

fn check(name: &str, keys: &[u64]) {
    let whole = index(keys);
    for (how, indexes) in [("dealt", dealt(keys, 6)), ("ranges", ranges(keys, 6))] {
        let runs: Vec<&Index> = indexes.iter().collect();
        let summaries: Vec<Summary> = indexes.iter().map(|run| Summary::of(&[run], SUMMARY_POINTS)).collect();
        for (parts, bound) in PARTS {
            let of_one = imbalance(keys, &separators(&[&whole], parts).collect::<Vec<_>>(), parts);
            let of_runs = imbalance(keys, &separators(&runs, parts).collect::<Vec<_>>(), parts);
            let of_cores = imbalance(keys, &merged_separators(&summaries, parts), parts);
            println!("{name}, {how}, {parts} parts: {of_one:.4} {of_runs:.4} {of_cores:.4}");
            // Selection is exact.
            assert!(of_one.max(of_runs) <= 1.0 + 2.0 * parts as f64 / keys.len() as f64, "{name}, {how}");
            assert!(of_cores <= bound, "{name}, {how}: {of_cores} of {parts} parts");
        }
    }
}

#[test]
fn every_set_is_cut_evenly() {
    for shape in Shape::ALL {
        check(shape.name(), &shape.keys(KEYS, 1));
    }
}

#[test]
fn real_keys_are_cut_evenly() {
    match osm_timezones().expect("they can be read") {
        Some(keys) => check("osm_timezones", &keys),
        None => eprintln!("skipped osm_timezones"),
    }
}
