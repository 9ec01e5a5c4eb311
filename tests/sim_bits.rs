//! Bit rot in the files of a node that was stopped in order: the start refuses and says where, or
//! everything is there. A run is read later: then reads of what was hit are refused, and all others answered.
//!
//! Each byte of the stretch has one of its bits flipped, drawn by its place; the formats' own tests
//! flip every bit.

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use kyrodb::io::log::{Damage, ReplayError};
use kyrodb::io::manifest::ManifestError;
use kyrodb::io::sim::{CrashPolicy, Disk, Rng, SimConfig};
use kyrodb::limits;
use kyrodb::shard::inspect;
use kyrodb::shard::key::Key;
use kyrodb::shard::options::ShardOptions;
use kyrodb::shard::payload::{OCTET_STREAM, Payload};
use kyrodb::shard::record::{Change, Condition, Durability, Refusal, Write};
use kyrodb::shard::start_error::StartError;
use kyrodb::types::{SegmentId, ShardId};
use support::cluster::{Cluster, options};

const KEYS: u64 = 40;

fn payload(key: u64) -> Payload {
    Payload::new(OCTET_STREAM, &vec![key as u8; 100 + 70 * key as usize])
}

fn boot(disk: Disk) -> Cluster {
    Cluster::boot(1, disk, SimConfig::cores(1), &options())
}

/// Everything stays in the log.
fn without_seals() -> ShardOptions {
    ShardOptions { checkpoint_log_bytes: 1 << 30, ..options() }
}

/// A small node, stopped in order. With everything in runs, or with what seals by themselves leave in the log.
fn closed_node(options: &ShardOptions, checkpointed: bool) -> Disk {
    let mut cluster = Cluster::boot(1, Disk::default(), SimConfig::cores(1), options);
    cluster.start().expect("a new node starts");
    let node = cluster.nodes[0].clone();
    cluster.run(0, async move {
        let collection = node.collection("default").expect("exists from the start");
        for key in 0..KEYS {
            let change = Change::Put { payload: payload(key), expires: None };
            let (condition, durability) = (Condition::None, Durability::Fsync);
            let write = Write { key: Key::from_u64(key), change, condition, durability, once: None };
            node.write(&collection, write).get().await.expect("acknowledged");
        }
        if checkpointed {
            node.checkpoint().await.expect("works");
        }
    });
    cluster.close().expect("the node stops in order");
    cluster.sim.crash(CrashPolicy::KeepNothing)
}

/// The newest file whose path ends so, and its length: older runs may be there, removed but for the
/// directory's sync, and count for nothing.
fn file(disk: &Disk, ends: &str) -> (String, u64) {
    let files = disk.file_lens().into_iter().filter(|(path, len)| path.ends_with(ends) && *len > 0);
    files.max().unwrap_or_else(|| panic!("no file {ends}"))
}

fn assert_whole(mut cluster: Cluster, what: &str) {
    let node = cluster.nodes[0].clone();
    let what = what.to_owned();
    cluster.run(0, async move {
        let collection = node.collection("default").expect("exists from the start");
        let keys = (0..KEYS).map(Key::from_u64).collect();
        let found = node.get_many(&collection, keys).get().await.expect("answered");
        for (key, found) in (0..).zip(found) {
            assert!(found.is_some_and(|found| found.payload == payload(key)), "{what}: key {key}");
        }
    });
}

/// Flips a bit of each of these bytes in turn; gives how many starts were refused.
fn flip_each(
    disk: &Disk,
    path: &str,
    bytes: impl Iterator<Item = u64>,
    names_the_place: fn(&StartError, u64) -> bool,
) -> usize {
    let (mut rng, mut refused) = (Rng::new(7), 0);
    for offset in bytes {
        let bit = rng.below(8) as u8;
        let mut rotten = disk.clone();
        rotten.flip_bit(path, offset, bit);
        let mut cluster = boot(rotten);
        let what = format!("bit {bit} of byte {offset} of {path}");
        match cluster.start() {
            Ok(()) => assert_whole(cluster, &what),
            Err(error) => {
                assert!(names_the_place(&error, offset), "{what}: {error}");
                refused += 1;
            }
        }
    }
    refused
}

fn log_damage(error: &StartError, offset: u64) -> bool {
    let StartError::Log(error) = error else { return false };
    let (ReplayError::Damage(Damage { segment, offset: place, .. })
    | ReplayError::Newer { segment, offset: place, .. }) = error;
    *segment == SegmentId(1) && (place.0..place.0 + limits::LOG_BLOCK_BYTES_MAX as u64).contains(&offset)
}

/// Every third byte on a whole node; `io::log` flips every bit on its own.
fn flip_log(bytes: std::ops::Range<u64>) {
    let disk = closed_node(&without_seals(), false);
    let (path, _) = file(&disk, "0000000000000001.wal");
    let flips = (bytes.end - bytes.start).div_ceil(3);
    let refused = flip_each(&disk, &path, bytes.step_by(3), log_damage);
    assert!(refused as u64 > flips * 3 / 4, "{refused} of {flips} flips were refused");
}

/// Runs have what is in the first segment: the start goes on behind the damage.
#[test]
fn a_flipped_bit_in_a_covered_part_of_the_log_is_harmless() {
    let disk = closed_node(&options(), false);
    let (path, _) = file(&disk, "0000000000000001.wal");
    assert_eq!(flip_each(&disk, &path, (8 * 1024..40 * 1024).step_by(7), log_damage), 0);
}

// Half each, so that two cores share the work.

#[test]
fn a_flipped_bit_in_the_log_is_refused_or_harmless() {
    flip_log(0..32 * 1024);
}

#[test]
fn a_flipped_bit_further_on_in_the_log_is_refused_or_harmless() {
    flip_log(32 * 1024..64 * 1024);
}

/// A run that counts: others may be there, removed but for the directory's sync.
fn named_run(disk: &Disk) -> (String, u64) {
    let runs = disk.file_lens().into_iter().filter(|(path, _)| path.ends_with(".run"));
    let counts = |(path, _): &(String, u64)| {
        let mut rotten = disk.clone();
        rotten.flip_bit(path, 0, 0);
        !verify(&mut boot(rotten)).is_empty()
    };
    runs.filter(|(_, len)| *len > 0).find(counts).expect("a run that the manifest names")
}

/// The files in which `verify` finds damage.
fn verify(cluster: &mut Cluster) -> Vec<String> {
    let found = Rc::new(RefCell::new(Vec::new()));
    let (node, out) = (cluster.nodes[0].clone(), found.clone());
    cluster.run(0, async move {
        let dir = ShardOptions::new("/").shard_dir(ShardId(0));
        let report = inspect::verify(node.runtime(), &dir, ShardId(0)).await;
        let files = report.findings.iter().map(|finding| finding.file.to_string_lossy().into_owned());
        out.borrow_mut().extend(files);
    });
    found.take()
}

/// What a node makes of a run, or of a value file, with a flipped bit: no wrong value, and `verify` finds it.
fn read_rotten(disk: Disk, path: &str, what: &str) -> usize {
    let mut cluster = boot(disk);
    cluster.start().unwrap_or_else(|error| panic!("{what}: a run keeps the node from starting: {error}"));
    let (node, what) = (cluster.nodes[0].clone(), what.to_owned());
    let refused = Rc::new(Cell::new(0));
    let count = refused.clone();
    cluster.run(0, async move {
        let collection = node.collection("default").expect("exists from the start");
        for key in 0..KEYS {
            match node.get(&collection, &Key::from_u64(key)).get().await {
                Ok(found) => {
                    assert!(found.is_some_and(|found| found.payload == payload(key)), "{what}: key {key}");
                }
                Err(refusal) => {
                    assert_eq!(refusal, Refusal::Damaged { shard: ShardId(0) }, "{what}: key {key}");
                    count.set(count.get() + 1);
                }
            }
        }
    });
    let found = verify(&mut cluster);
    assert!(found.iter().any(|file| path.ends_with(file)), "{path}: verify found {found:?}");
    refused.get()
}

#[test]
fn a_flipped_bit_in_a_run_is_found_and_never_read() {
    let disk = closed_node(&options(), true);
    let (path, len) = named_run(&disk);
    let mut rng = Rng::new(5);
    let (mut harmless, mut refused) = (0, 0);
    for offset in (0..len).step_by(13) {
        let bit = rng.below(8) as u8;
        let mut rotten = disk.clone();
        rotten.flip_bit(&path, offset, bit);
        match read_rotten(rotten, &path, &format!("bit {bit} of byte {offset} of {path}")) {
            0 => harmless += 1,
            _ => refused += 1,
        }
    }
    assert!(harmless > 0 && refused > harmless, "{harmless} harmless, {refused} refused");
}

#[test]
fn a_flipped_bit_in_a_value_file_is_found_and_never_read() {
    let disk = closed_node(&options(), true);
    let (path, len) = file(&disk, ".values");
    let mut rng = Rng::new(6);
    let (mut harmless, mut refused) = (0, 0);
    for offset in (0..len).step_by(61) {
        let bit = rng.below(8) as u8;
        let mut rotten = disk.clone();
        rotten.flip_bit(&path, offset, bit);
        match read_rotten(rotten, &path, &format!("bit {bit} of byte {offset} of {path}")) {
            0 => harmless += 1,
            1 => refused += 1,
            more => panic!("byte {offset}: {more} keys are refused for one value"),
        }
    }
    assert!(harmless > 0 && refused > 2 * harmless, "{harmless} harmless, {refused} refused");
}

#[test]
fn a_flipped_bit_in_the_manifest_is_refused_or_harmless() {
    let disk = closed_node(&options(), true);
    let damaged = |error: &StartError, _| matches!(error, StartError::Manifest(ManifestError::Damage(_)));
    let files = disk.file_lens().into_iter();
    let files: Vec<_> =
        files.filter(|(path, _)| path.contains("superblock") || path.contains("manifest-")).collect();
    let mut refused = 0;
    for (path, len) in &files {
        // The records are at the beginning; most of a manifest file is set aside for those to come.
        let bytes = (0..*len.min(&16_384)).step_by(5).chain((16_384..*len).step_by(1021));
        refused += flip_each(&disk, path, bytes, damaged);
    }
    assert!(files.len() >= 3 && refused > 0, "{refused} starts were refused, of {files:?}");
}
