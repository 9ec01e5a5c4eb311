//! Files of indexes that are damaged, gone, of something else, or not to be read: the node starts, everything is found,
//! and a file is made anew.

use std::collections::BTreeMap;
use std::time::Duration;

use kyrodb::io::sim::{CrashPolicy, Disk, Faults, Rng, SimConfig};
use kyrodb::shard::document::encoding::Encoder;
use kyrodb::shard::document::metadata::Metadata;
use kyrodb::shard::document::render::Shown;
use kyrodb::shard::key::Key;
use kyrodb::shard::options::ShardOptions;
use kyrodb::shard::payload::Payload;
use kyrodb::shard::record::{Change, Condition, Durability, Write};
use kyrodb::shard::search::options::IndexOptions;
use kyrodb::types::Seq;
use kyrodb::vector::element::Element;

use super::searches::{Wanted, count, hits, query, search};
use super::workload::{DIMENSION, Shape, any_vector};
use crate::support::cluster::{Cluster, options};

const PAGE_BYTES: usize = 4096;
const DOCUMENTS: u64 = 60;
/// Of the same schema.
const NAMES: [&str; 2] = ["documents", "others"];

/// What each collection has.
type Model = BTreeMap<(&'static str, Key), Seq>;

/// A disk that a node left in order.
struct Left {
    disk: Disk,
    model: Model,
}

fn small() -> ShardOptions {
    let index = IndexOptions {
        head_documents_min: 8,
        sealed_documents_min: 2,
        quiet: Duration::from_millis(1),
        file_documents_min: 8,
        file_chunk_bytes: 600,
    };
    ShardOptions { index, ..options() }
}

pub fn start(disk: Disk, faults: Faults) -> Cluster {
    let config = SimConfig { faults, ..SimConfig::cores(2) };
    let mut cluster = Cluster::boot(7, disk, config, &small());
    cluster.start().unwrap_or_else(|error| panic!("the node does not start: {error}"));
    cluster
}

/// Until files are written and nothing is left to merge.
pub fn settle(cluster: &mut Cluster) {
    let runtime = cluster.nodes[0].runtime().clone();
    cluster.run(0, async move { runtime.sleep(Duration::from_millis(200)).await });
}

fn stop(mut cluster: Cluster) -> Disk {
    cluster.close().expect("it closes");
    cluster.sim.crash(CrashPolicy::KeepNothing)
}

fn document(rng: &mut Rng) -> Payload {
    let mut encoder = Encoder::new();
    Element::F32.encode(&any_vector(rng), encoder.room_for_embedding(Element::F32, 4 * DIMENSION));
    let metadata = format!(r#"{{"group":{},"odd":true}}"#, rng.below(4));
    Payload::document(&encoder.finish(None, Metadata::from_compact(&metadata)))
}

/// Writes each document of a collection, but every third in a second round.
fn write(cluster: &mut Cluster, name: &'static str, step: usize, model: &mut Model, rng: &mut Rng) {
    let node = cluster.nodes[0].clone();
    let writes: Vec<Write> = (0..DOCUMENTS)
        .step_by(step)
        .map(|number| Write {
            key: Key::from_u64(number),
            change: Change::Put { payload: document(rng), expires: None },
            condition: Condition::None,
            durability: Durability::Fsync,
            once: None,
        })
        .collect();
    let keys: Vec<Key> = writes.iter().map(|write| write.key.clone()).collect();
    let results = cluster.run(0, async move {
        let collection = node.collection(name).expect("created");
        node.write_many(&collection, writes).get().await
    });
    let written = results.into_iter().map(|result| result.expect("acknowledged").seq);
    model.extend(keys.into_iter().map(|key| (name, key)).zip(written));
}

fn left() -> Left {
    let (mut cluster, mut model) = (start(Disk::default(), Faults::default()), Model::new());
    let (mut rng, shape) = (Rng::new(3), Shape::of_numbers(DOCUMENTS));
    for name in NAMES {
        let (node, definition) = (cluster.nodes[0].clone(), shape.definition(&mut rng));
        cluster.run(0, async move {
            let created = node.create_collection(name, definition).await.expect("shard 0 answers");
            assert_eq!(created, Ok(true));
        });
        write(&mut cluster, name, 1, &mut model, &mut rng);
    }
    settle(&mut cluster);
    Left { disk: stop(cluster), model }
}

fn index_files(disk: &Disk) -> Vec<String> {
    let files = disk.file_lens().into_iter().map(|(path, _)| path);
    files.filter(|path| path.ends_with(".index")).collect()
}

/// Where chunks begin.
fn chunks(file: &[u8]) -> Vec<usize> {
    let (mut chunks, mut at) = (Vec::new(), 0);
    while at < file.len() {
        chunks.push(at);
        let payload: [u8; 8] = file[at + 16..at + 24].try_into().expect("eight bytes");
        at += (32 + u64::from_le_bytes(payload) as usize).next_multiple_of(PAGE_BYTES);
    }
    chunks
}

/// Everything is found, and nothing else.
fn assert_found(cluster: &mut Cluster, model: &Model, what: &str) {
    for name in NAMES {
        let of_it = model.iter().filter(|((of, _), _)| *of == name);
        let wanted: BTreeMap<Key, Seq> = of_it.map(|((_, key), seq)| (key.clone(), *seq)).collect();
        let node = cluster.nodes[1].clone();
        let (found, counted) = cluster.run(1, async move {
            let collection = node.collection(name).expect("it is there");
            let query = query(&collection, Wanted::All, Some(vec![0.5; DIMENSION]), 500);
            let found =
                hits(search(&node, &collection, query, Shown::ALL).await.expect("searches are answered"));
            let counted = count(&node, &collection, Wanted::All).await.expect("counts are answered");
            (found, counted)
        });
        let found: Vec<(Key, Seq)> = found.into_iter().map(|(key, seq, _)| (key, seq)).collect();
        assert_eq!(found.len(), wanted.len(), "{what}: {name}");
        assert_eq!(BTreeMap::from_iter(found), wanted, "{what}: {name}");
        assert_eq!(counted, wanted.len() as u64, "{what}: {name}");
    }
}

/// Starts on a disk whose files of indexes are not what they were.
fn assert_recovers(disk: Disk, model: &Model, faults: Faults, what: &str) {
    let mut cluster = start(disk, faults);
    assert_found(&mut cluster, model, what);
    settle(&mut cluster);
    assert_found(&mut cluster, model, what);
    let disk = stop(cluster);
    assert!(index_files(&disk).len() >= NAMES.len(), "{what}: no file was made anew");
    let mut cluster = start(disk, Faults::default());
    assert_found(&mut cluster, model, what);
}

#[test]
fn a_damaged_file_is_made_anew() {
    let Left { disk, model } = left();
    let (mut damages, mut rng) = (0, Rng::new(1));
    for path in index_files(&disk) {
        let file = disk.bytes(&path).expect("it is there");
        let chunks = chunks(&file);
        assert!(chunks.len() >= 5, "{path} has {} chunks", chunks.len());
        for (number, at) in chunks.iter().enumerate() {
            // Of each field of its head, of the payload, and of what fills it up.
            let len = u64::from_le_bytes(file[at + 16..at + 24].try_into().expect("eight bytes"));
            let inside = 32 + rng.below(len) as usize;
            for place in [0, 4, 8, 16, 24, 32, inside, PAGE_BYTES - 1] {
                let mut damaged = disk.clone();
                damaged.flip_bit(&path, (at + place) as u64, rng.below(8) as u8);
                let what = format!("a bit of {path} at byte {place} of chunk {number}");
                assert_recovers(damaged, &model, Faults::default(), &what);
                damages += 1;
            }
            let mut damaged = disk.clone();
            damaged.truncate(&path, (*at + if number.is_multiple_of(2) { 0 } else { 100 }) as u64);
            assert_recovers(damaged, &model, Faults::default(), &format!("{path} ends in chunk {number}"));
            let mut damaged = disk.clone();
            damaged.break_page(&path, (*at / PAGE_BYTES) as u64);
            assert_recovers(
                damaged,
                &model,
                Faults::default(),
                &format!("{path} unreadable at chunk {number}"),
            );
            damages += 2;
        }
    }
    println!("{damages} damages");
}

#[test]
fn files_of_something_else_are_made_anew() {
    let Left { disk, model } = left();
    let files = index_files(&disk);
    let bytes = |path: &String| disk.bytes(path).expect("it is there");
    let none = || Faults::default();
    for path in &files {
        let mut other = disk.clone();
        other.put_file(path, &[]);
        assert_recovers(other, &model, none(), "empty");
        let mut other = disk.clone();
        other.put_file(path, b"not an index");
        assert_recovers(other, &model, none(), "of a few bytes");
        let mut other = disk.clone();
        other.put_file(path, &[0; 3 * PAGE_BYTES]);
        assert_recovers(other, &model, none(), "of zeros");
        for one in files.iter().filter(|one| *one != path) {
            let mut other = disk.clone();
            other.put_file(path, &bytes(one));
            assert_recovers(other, &model, none(), &format!("{path} has what {one} had"));
        }
        // Twice the same: each document is claimed once.
        let mut other = disk.clone();
        let second = path.replace("-0000", "-00f0");
        assert_ne!(&second, path);
        other.put_file(&second, &bytes(path));
        assert_recovers(other, &model, none(), "there twice");
        let mut other = disk.clone();
        other.put_file(path.replace(".index", ".tmp"), &bytes(path)[..PAGE_BYTES]);
        assert_recovers(other, &model, none(), "one that was not finished beside it");
    }
    let faults = Faults { only_paths_with: Some(".index".into()), read_error_permille: 1000, ..none() };
    assert_recovers(disk.clone(), &model, faults, "none can be read");
}

/// What a crash left of a file that was being written: its number may never come again.
#[test]
fn an_unfinished_file_goes() {
    let Left { mut disk, model } = left();
    let path = index_files(&disk).pop().expect("there is one");
    let folder = &path[..path.rfind('/').expect("it lies in a folder") + 1];
    let file = path[folder.len()..].to_owned();
    let (collection, _) = file.split_once('-').expect("a collection and a number");
    for name in [format!("{collection}-000000ff.tmp"), "000000ff-00000001.tmp".to_owned()] {
        disk.put_file(format!("{folder}{name}"), &[7; PAGE_BYTES]);
    }
    let mut cluster = start(disk, Faults::default());
    assert_found(&mut cluster, &model, "beside files that were not finished");
    settle(&mut cluster);
    cluster.close().expect("it closes");
    // What is removed is not synced: after a power cut it may be there again, and goes at the next start.
    let disk = cluster.sim.crash(CrashPolicy::KeepAll);
    let left: Vec<String> = disk.file_lens().into_iter().map(|(path, _)| path).collect();
    assert!(left.iter().all(|path| !path.ends_with(".tmp")), "{left:?}");
    assert!(left.contains(&path), "{left:?}");
}

/// A file says what there was when it was written.
#[test]
fn a_file_of_an_earlier_time_shows_nothing_that_is_over() {
    let Left { disk, mut model } = left();
    let mut rng = Rng::new(5);
    let mut cluster = start(disk.clone(), Faults::default());
    write(&mut cluster, "documents", 3, &mut model, &mut rng);
    let node = cluster.nodes[0].clone();
    cluster.run(0, async move {
        let collection = node.collection("documents").expect("it is there");
        for number in (1..DOCUMENTS).step_by(3) {
            let delete = Write {
                key: Key::from_u64(number),
                change: Change::Delete,
                condition: Condition::None,
                durability: Durability::Fsync,
                once: None,
            };
            node.write(&collection, delete).get().await.expect("acknowledged");
        }
    });
    (1..DOCUMENTS).step_by(3).for_each(|number| {
        model.remove(&("documents", Key::from_u64(number)));
    });
    assert_found(&mut cluster, &model, "at once");
    settle(&mut cluster);
    let now = stop(cluster);
    for keeps_new in [true, false] {
        let mut old = now.clone();
        for path in index_files(&now).iter().filter(|_| !keeps_new) {
            old.put_file(path, b"");
        }
        for path in index_files(&disk) {
            old.put_file(&path, &disk.bytes(&path).expect("it is there"));
        }
        assert_recovers(old, &model, Faults::default(), &format!("old files, new ones: {keeps_new}"));
    }
}
