//! What is resident answers as a model does, however it came into memory.

use std::collections::BTreeMap;
use std::ops::Bound;

use proptest::prelude::*;

use super::model::{
    RUN, Record, Tablets, WholeRun, derived, find, load, open, put, small_tablets, tablet, tombstone, write,
};
use crate::shard::key::KeyType;
use crate::shard::run::learned_section::TRAIN_STEP_KEYS;
use crate::shard::run::loader::LOAD_READ_BYTES;
use crate::shard::run::{Bounds, Lookup, Rebuilt, Resident, RunKey, TabletInfo, Why};
use crate::types::{CollectionId, TabletId};

/// Numbers with gaps, two tablets of them, and names; some are tombstones or expire.
fn tablets(numbers: u64, names: u64) -> Tablets {
    let record = |key: &[u8], n: u64| match n % 7 {
        0 => tombstone(key, n),
        _ => put(key, n, (n % 90) as usize),
    };
    let number = |n: u64| record(&(n * n / 3 * 10 + n * 5).to_be_bytes(), n + 1);
    let name = |n: u64| record(format!("user/{:06}", n * 3).as_bytes(), n + 1);
    vec![
        (tablet(1, 1, KeyType::U64), (0..numbers).map(number).collect()),
        (tablet(1, 2, KeyType::String), (0..names).map(name).collect()),
        (tablet(2, 3, KeyType::U64), Vec::new()),
        (tablet(2, 4, KeyType::U64), (0..numbers / 2).map(|n| put(&n.to_be_bytes(), n * 3 + 1, 9)).collect()),
        (
            tablet(2, 5, KeyType::String),
            (0..names / 3).map(|n| put(&[b'a', n as u8, (n >> 8) as u8], n + 1, 1500)).collect(),
        ),
    ]
    .into_iter()
    .map(|(info, mut records): (TabletInfo, Vec<Record>)| {
        records.sort_by(|a, b| a.key.cmp(&b.key));
        (info, records)
    })
    .collect()
}

fn is_plain(record: &Record) -> bool {
    record.payload.is_some() && record.expires.is_none()
}

/// Keys around those of the tablet.
fn probes(records: &[Record]) -> Vec<Vec<u8>> {
    let mut probes = vec![vec![0; 8], vec![255; 8], b"".to_vec(), b"user".to_vec(), vec![255; 9]];
    for record in records {
        let mut next = record.key.clone();
        *next.last_mut().expect("no key is empty") ^= 1;
        probes.extend([record.key.clone(), next, [&record.key[..], b"x"].concat()]);
    }
    probes
}

fn check_lookups(bytes: &[u8], resident: &Resident, tablets: &Tablets) {
    for (info, records) in tablets {
        let model: BTreeMap<_, _> = records.iter().map(|record| (&record.key[..], record)).collect();
        let probes = probes(records);
        for probe in &probes {
            let found = find(bytes, resident, info, probe).expect("the run is sound");
            assert_eq!(found.as_ref(), model.get(&probe[..]).copied(), "{probe:?}");
            if let Lookup::Here { live, .. } = resident.lookup(info.collection, info.tablet, probe) {
                let sound = resident.rebuilt().marks.is_none();
                assert_eq!(live, sound && is_plain(model[&probe[..]]));
            }
        }
        let keys: Vec<&[u8]> = probes.iter().map(Vec::as_slice).collect();
        let single = keys.iter().map(|key| resident.lookup(info.collection, info.tablet, key));
        let mut batch = Vec::new();
        resident.lookup_batch(info.collection, info.tablet, &keys, &mut batch);
        assert_eq!(batch, single.collect::<Vec<_>>());
    }
    let nowhere = (CollectionId(9), TabletId(9));
    assert_eq!(resident.lookup(nowhere.0, nowhere.1, b"key"), Lookup::Absent);
    assert_eq!(resident.blocks_of_range(nowhere.0, nowhere.1, Bound::Unbounded, Bound::Unbounded), 0..0);
}

#[test]
fn lookups_answer_as_the_model_does() {
    for (numbers, names) in [(0, 0), (1, 1), (2, 40), (500, 0), (1024, 300), (1025, 900), (6000, 2000)] {
        let tablets = tablets(numbers, names);
        let WholeRun { bytes, finished, resident } = write(RUN, &tablets);
        check_lookups(&bytes, &resident, &tablets);
        let (loaded, _) = load(&bytes, finished.file).unwrap();
        assert_eq!(loaded.rebuilt(), Rebuilt::default());
        check_lookups(&bytes, &loaded, &tablets);
        assert!(loaded.bytes().abs_diff(resident.bytes()) <= 4096, "the same, but for spare room");
    }
}

#[test]
fn a_finished_run_says_its_bounds() {
    let tablets = tablets(10, 10);
    let key = |at: usize, record: &Record| RunKey {
        collection: tablets[at].0.collection,
        tablet: tablets[at].0.tablet,
        key: record.key.clone(),
    };
    let first = key(0, &tablets[0].1[0]);
    let last = key(4, tablets[4].1.last().unwrap());
    assert!(first < last);
    assert_eq!(write(RUN, &tablets).finished.bounds, Some(Bounds { first, last }));
    assert_eq!(write(RUN, &self::tablets(0, 0)).finished.bounds, None);
}

fn is_in(range: (Bound<&[u8]>, Bound<&[u8]>), key: &[u8]) -> bool {
    std::ops::RangeBounds::<[u8]>::contains(&range, key)
}

/// Blocks, by the entries in them, that have keys of the range.
fn blocks_of(
    bytes: &[u8],
    resident: &Resident,
    info: &TabletInfo,
    range: (Bound<&[u8]>, Bound<&[u8]>),
) -> Vec<u32> {
    let reader = resident.reader();
    let tablet = reader.directory().get(info.collection, info.tablet).expect("it is there");
    let has_keys = |number: &u32| {
        let place = reader.locators().block(*number);
        let start = place.offset.0 as usize;
        let block = reader.block(*number, &bytes[start..start + place.len]).unwrap();
        (0..block.len()).any(|entry| is_in(range, block.entry(entry).unwrap().key))
    };
    (tablet.first_block..tablet.end_block()).filter(has_keys).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn ranges_answer_as_the_model_does(
        at in 0..5_usize,
        ends in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        kinds in (0..3_u8, 0..3_u8),
        step in 1..200_u64,
    ) {
        let tablets = tablets(700, 600);
        let WholeRun { bytes, resident, .. } = write(RUN, &tablets);
        let (info, records) = &tablets[at];
        let probes = probes(records);
        let bound = |kind, index: prop::sample::Index| match kind {
            0 => Bound::Unbounded,
            1 => Bound::Included(&probes[index.index(probes.len())][..]),
            _ => Bound::Excluded(&probes[index.index(probes.len())][..]),
        };
        let range = (bound(kinds.0, ends.0), bound(kinds.1, ends.1));
        let found = resident.blocks_of_range(info.collection, info.tablet, range.0, range.1);
        let wanted = blocks_of(&bytes, &resident, info, range);
        prop_assert!(wanted.iter().all(|block| found.contains(block)), "{found:?} {wanted:?}");
        let spare = if info.key_type == KeyType::U64 { 0 } else { 2 };
        prop_assert!(found.len() <= wanted.len() + spare, "{found:?} {wanted:?}");

        let (mut sum, mut sampled) = (0, Vec::new());
        resident.sample(info.collection, info.tablet, range.0, range.1, step, &mut |count, key| {
            sum += count;
            sampled.push(key);
        });
        let inside = records.iter().filter(|record| is_in(range, &record.key)).count() as u64;
        prop_assert!(sampled.is_sorted_by(|a, b| a < b) && sampled.iter().all(|key| is_in(range, key)));
        if info.key_type == KeyType::U64 {
            prop_assert_eq!(sum, inside);
            prop_assert_eq!(sampled.len() as u64, inside.div_ceil(step));
        } else if range == (Bound::Unbounded, Bound::Unbounded) {
            prop_assert_eq!(sum, inside);
        }
    }
}

#[test]
fn few_absent_names_get_through_the_filter() {
    const KEYS: u64 = 100_000;
    let name = |n: u64| format!("user/{n:08}").into_bytes();
    let records = (0..KEYS).map(|n| put(&name(n * 2), n + 1, 5)).collect();
    let tablets = vec![(tablet(1, 1, KeyType::String), records)];
    let WholeRun { bytes, finished, resident } = write(RUN, &tablets);
    let (loaded, _) = load(&bytes, finished.file).unwrap();
    for resident in [resident, loaded] {
        let lookup = |n| resident.lookup(CollectionId(1), TabletId(1), &name(n));
        assert!((0..KEYS).all(|n| matches!(lookup(n * 2), Lookup::Perhaps { .. })));
        let through = (0..KEYS).filter(|n| lookup(n * 2 + 1) != Lookup::Absent).count() as u64;
        assert!(through <= KEYS / 1000, "{through} of {KEYS}");
    }
}

#[test]
fn steps_are_bounded() {
    const KEYS: usize = 300_000;
    let records = (0..KEYS as u64).map(|n| put(&(n * n).to_be_bytes(), n + 1, 0)).collect();
    let tablets = vec![(tablet(1, 1, KeyType::U64), records)];
    let WholeRun { bytes, finished, .. } = write(RUN, &tablets);
    let (resident, steps) = load(&bytes, finished.file).unwrap();
    assert!(steps.reads.iter().all(|len| *len <= LOAD_READ_BYTES), "{steps:?}");
    assert!(steps.works >= KEYS * 8 / LOAD_READ_BYTES, "keys are taken a piece at a time: {steps:?}");

    // Without its index: two passes over the keys at least, a step's worth at a time.
    let index = *resident.reader().footer().learned_index().expect("it is there");
    let mut damaged = bytes;
    damaged[index.offset.0 as usize] ^= 1;
    let (resident, trained) = load(&damaged, finished.file).unwrap();
    assert_eq!(resident.rebuilt(), Rebuilt { index: Some(Why::Damaged), ..Rebuilt::default() });
    assert!(trained.works >= steps.works + 2 * KEYS / TRAIN_STEP_KEYS, "{steps:?} {trained:?}");
}

/// A flipped byte is an error, or changes no answer; in derived data the loader says so.
#[test]
fn every_flipped_byte_is_an_error_or_changes_nothing() {
    let tablets = small_tablets();
    let WholeRun { mut bytes, finished, .. } = write(RUN, &tablets);
    let derived: Vec<_> = derived(&open(&bytes, finished.file).unwrap())
        .iter()
        .map(|extent| extent.offset.0 as usize..extent.end().0 as usize)
        .collect();
    for at in 0..bytes.len() {
        bytes[at] ^= 0x10;
        let is_derived = derived.iter().position(|range| range.contains(&at));
        match load(&bytes, finished.file) {
            Err(error) => assert!(is_derived.is_none(), "byte {at}: {error}"),
            Ok((resident, _)) => {
                let Rebuilt { index, filter, marks } = resident.rebuilt();
                let rebuilt = [index, filter, marks].map(|why| why == Some(Why::Damaged));
                assert_eq!(rebuilt.iter().position(|rebuilt| *rebuilt), is_derived, "byte {at}");
                check_damaged(&bytes, &resident, &tablets);
            }
        }
        bytes[at] ^= 0x10;
    }
}

/// Blocks are read when they are needed: then damage in them is an error.
fn check_damaged(bytes: &[u8], resident: &Resident, tablets: &Tablets) {
    for (info, records) in tablets {
        for record in records {
            if let Ok(found) = find(bytes, resident, info, &record.key) {
                assert_eq!(found.as_ref(), Some(record));
            }
        }
    }
}

#[test]
fn every_cut_is_an_error_or_changes_nothing() {
    let tablets = small_tablets();
    let WholeRun { bytes, finished, .. } = write(RUN, &tablets);
    for len in 0..bytes.len() {
        assert!(load(&bytes[..len], finished.file).is_err(), "cut at {len}: the footer is gone");
    }
}

/// As when a disk cannot read a derived section any more.
#[test]
fn derived_data_that_cannot_be_read_is_made_again() {
    use crate::shard::run::{LoadStep, ResidentLoader};
    let tablets = small_tablets();
    let WholeRun { bytes, finished, .. } = write(RUN, &tablets);
    let sections = derived(&open(&bytes, finished.file).unwrap());
    let mut loader = ResidentLoader::new(finished.file);
    let resident = loop {
        match loader.step().expect("what is needed is sound") {
            LoadStep::Read { offset, .. } if sections.iter().any(|section| section.offset == offset) => {
                loader.feed(&[])
            }
            LoadStep::Read { offset, len } => loader.feed(&bytes[offset.0 as usize..][..len]),
            LoadStep::Working => {}
            LoadStep::Done(resident) => break resident,
        }
    };
    let damaged = Some(Why::Damaged);
    assert_eq!(resident.rebuilt(), Rebuilt { index: damaged, filter: damaged, marks: damaged });
    check_damaged(&bytes, &resident, &tablets);
}

/// Another version of the crate may set other bits: this says so, before a reader denies a key.
#[test]
fn hashes_set_the_bits_that_they_always_set() {
    let WholeRun { bytes, finished, .. } = write(RUN, &small_tablets());
    let reader = open(&bytes, finished.file).unwrap();
    let section = reader.footer().membership_filter().expect("there are names").offset.0 as usize;
    let placement = u64::from_le_bytes(bytes[section + 24..section + 32].try_into().unwrap());
    assert_eq!(placement, 583_017_824_537_432_407);
}

/// Not a test: what the longest steps take. `cargo test --release --lib step_times -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn step_times() {
    use crate::shard::run::{Covered, LoadStep, ResidentLoader, RunHeader, RunWriter, TailStep};
    use crate::types::{Lsn, ShardId};
    use std::time::Instant;

    for (info, keys) in
        [(tablet(1, 1, KeyType::U64), 1_000_000_u64), (tablet(1, 1, KeyType::String), 700_000)]
    {
        let covered = Covered { after: Lsn(0), through: Lsn(1) };
        let mut writer = RunWriter::new(RunHeader { shard: ShardId(0), run: RUN, covered });
        writer.start_tablet(info);
        let mut bytes = Vec::new();
        for n in 0..keys {
            let number = (n * 1000 + n * n % 997).to_be_bytes();
            let name = format!("user/{n:010}");
            let key = if info.key_type == KeyType::U64 { &number[..] } else { name.as_bytes() };
            writer.push(put(key, n + 1, 20).as_entry(info.tablet));
            while let Some(chunk) = writer.take_ready() {
                bytes.extend_from_slice(&chunk);
            }
        }
        let mut times = Vec::new();
        let mut tail = writer.finish();
        loop {
            let began = Instant::now();
            let step = tail.next_chunk(&mut || 0);
            times.push(began.elapsed());
            match step {
                TailStep::Chunk(chunk) => bytes.extend_from_slice(&chunk),
                TailStep::Working => {}
                TailStep::Done => break,
            }
        }
        let (finished, _) = tail.finished();
        times.sort();
        println!(
            "tail of {:?}: {} steps, longest {:?}",
            info.key_type,
            times.len(),
            &times[times.len() - 6..]
        );

        let (mut loader, mut times) = (ResidentLoader::new(finished.file), Vec::new());
        loop {
            let began = Instant::now();
            let step = loader.step().expect("the run is sound");
            if let LoadStep::Read { offset, len } = step {
                loader.feed(&bytes[offset.0 as usize..][..len]);
            }
            times.push(began.elapsed());
            if matches!(step, LoadStep::Done(_)) {
                break;
            }
        }
        times.sort();
        println!(
            "load of {:?}: {} steps, longest {:?}",
            info.key_type,
            times.len(),
            &times[times.len() - 6..]
        );
    }
}
