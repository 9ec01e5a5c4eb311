//! The inputs that fuzzing starts from, `fuzz/seeds/<target>/`: each gets through the decoder that it is for. One that is
//! refused reaches nothing behind the first check, and nobody would see it.
//!
//! `WRITE_SEEDS=1 cargo test --test fuzz_seeds` writes those anew that are made here: after a change of a format.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use kyrodb::io::log::{Kind, LogBuilder, Meta, Once, Record, RecordRef, Recovered};
use kyrodb::limits;
use kyrodb::net::access::key::{KeyId, Presented};
use kyrodb::net::access::key_file;
use kyrodb::net::coding::Coding;
use kyrodb::rmi::codec;
use kyrodb::rmi::keys::KeyArray;
use kyrodb::rmi::memory::Memory;
use kyrodb::shard::document::encoding;
use kyrodb::shard::document::filter::Filter;
use kyrodb::shard::document::metadata::compact;
use kyrodb::types::{Lsn, Seq, Token, WallMs};

#[path = "../fuzz/support/coded.rs"]
mod coded;
#[path = "../fuzz/support/collection.rs"]
mod collection;
#[path = "../fuzz/support/documents.rs"]
mod documents;
#[path = "../fuzz/support/indexes.rs"]
mod indexes;
#[path = "../fuzz/support/requests.rs"]
mod requests;
#[path = "../fuzz/support/segments.rs"]
mod segments;

use segments::{Log, START};

const SEED_BYTES_MAX: usize = 16384;
const ALL_BYTES_MAX: usize = 200_000;

fn fuzz_dir(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fuzz", name].iter().collect()
}

fn names_in(dir: PathBuf) -> BTreeSet<String> {
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    entries.map(|entry| entry.expect("readable").file_name().into_string().expect("a plain name")).collect()
}

/// Name and bytes of each seed.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let dir = fuzz_dir("seeds").join(target);
    let seeds: Vec<_> = names_in(dir.clone())
        .into_iter()
        .map(|name| {
            let bytes = fs::read(dir.join(&name)).expect("readable");
            assert!(bytes.len() <= SEED_BYTES_MAX, "{target}/{name} is longer than what is fuzzed");
            (name, bytes)
        })
        .collect();
    assert!(seeds.len() >= 3, "{target} has few seeds");
    seeds
}

/// Writes a seed that is made here, if that is asked for; what lies there must be that.
fn made(target: &str, name: &str, bytes: &[u8]) {
    let path = fuzz_dir("seeds").join(target).join(name);
    if std::env::var_os("WRITE_SEEDS").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(&path, bytes).expect("written");
    }
    let found = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(found == bytes, "{target}/{name} is made in another way now: write it anew");
}

#[test]
fn every_target_has_seeds_and_all_are_small() {
    let targets = names_in(fuzz_dir("fuzz_targets"));
    let targets: BTreeSet<_> = targets.iter().filter_map(|name| name.strip_suffix(".rs")).collect();
    let seeded = names_in(fuzz_dir("seeds"));
    assert!(targets.iter().copied().eq(seeded.iter().map(String::as_str)), "{targets:?} and {seeded:?}");
    let bytes: usize = targets.iter().flat_map(|target| seeds(target)).map(|(_, bytes)| bytes.len()).sum();
    assert!(bytes <= ALL_BYTES_MAX, "{bytes} bytes of seeds");
}

#[test]
fn filters_are_understood_and_mean_some_documents() {
    for (name, bytes) in seeds("filter") {
        let text = String::from_utf8(bytes).expect("UTF-8");
        let mut lines = text.lines();
        let filter = Filter::parse(lines.next().expect("a filter"), &collection::fields());
        assert!(filter.is_ok(), "{name}: {filter:?}");
        let documents: Vec<_> = lines.map(compact).collect();
        assert!(!documents.is_empty() && documents.iter().all(Result::is_ok), "{name}: {documents:?}");
    }
}

#[test]
fn documents_are_taken() {
    let (fields, mut encoded, mut ways) = (collection::fields(), 0, BTreeSet::new());
    for (name, way, text) in [
        ("encoded_f32", b'B', r#"{"id":1,"text":"a","embedding":[1,2],"metadata":{"a":1,"x":{"y":null}}}"#),
        ("encoded_f16", b'C', r#"{"id":1,"embedding":[0.5,-2]}"#),
        ("encoded_text", b'B', r#"{"id":1,"text":""}"#),
    ] {
        let new = documents::new(way, text.as_bytes(), &documents::shape(way, &fields)).expect(name);
        made("document_parser", name, &[&[way], &*new.encoded].concat());
    }
    for (name, bytes) in seeds("document_parser") {
        let (way, rest) = bytes.split_first().expect("a collection");
        if name.starts_with("encoded_") {
            encoded += 1;
            assert!(encoding::decode(rest).is_ok(), "{name}");
            continue;
        }
        let shape = documents::shape(*way, &fields);
        let new = documents::new(*way, rest, &shape);
        assert!(new.is_ok(), "{name}: {new:?}");
        ways.insert((shape.key_type as u8, way % 3, way & 8, way & 32));
    }
    assert_eq!(encoded, 3);
    assert!(ways.len() >= 6, "all kinds of collections: {ways:?}");
}

#[test]
fn requests_are_whole() {
    let mut bodies = 0;
    for (name, bytes) in seeds("http_parser") {
        let (cut, bytes) = bytes.split_first().expect("how it is cut");
        let pieces: Vec<&[u8]> = bytes.chunks(usize::from(*cut).max(1)).collect();
        for pieces in [vec![bytes], pieces] {
            let read = requests::read(&pieces);
            assert!(read.fault.is_none() && read.is_between, "{name}: {:?}", read.fault);
            assert!(!read.seen.is_empty(), "{name}");
            bodies += read.seen.iter().filter(|(_, body)| !body.is_empty()).count();
        }
    }
    assert!(bodies >= 6);
}

#[test]
fn keys_are_understood() {
    let mut found = [0; 3];
    for (name, bytes) in seeds("keys") {
        let text = std::str::from_utf8(&bytes).expect("UTF-8");
        let is_presented = || Presented::in_authorization(text).or_else(|| Presented::parse(text)).is_some();
        let (kind, is_understood) = match &*name {
            "id" => (0, KeyId::parse(text).is_some()),
            "key" | "authorization" => (1, is_presented()),
            _ => (2, key_file::parse(&bytes).is_ok()),
        };
        assert!(is_understood, "{name}");
        found[kind] += 1;
    }
    assert!(found[0] == 1 && found[1] == 2 && found[2] >= 3, "{found:?}");
}

#[test]
fn coded_bodies_become_plain() {
    let mut found = [0; 2];
    for (name, bytes) in seeds("content_coding") {
        let (shape, rest) = bytes.split_first().expect("a coding");
        let (at, magic): (_, &[u8]) =
            if name.starts_with("gzip") { (0, b"\x1f\x8b") } else { (1, b"\x28\xb5\x2f\xfd") };
        assert!(usize::from(shape % 2) == at && rest.starts_with(magic), "{name}");
        let plain = coded::decode([Coding::Gzip, Coding::Zstd][at], rest, 1 + usize::from(shape / 2));
        assert!(plain.is_some_and(|plain| !plain.is_empty() || name.ends_with("empty")), "{name}");
        found[at] += 1;
    }
    assert!(found.iter().all(|count| *count >= 3), "{found:?}");
}

fn records() -> Vec<Record> {
    let put = Meta { commit_ts: 1_700_000_000_000, seq: Seq(3), ..Meta::new(Kind::Put) };
    let once = Some(Once { token: Token(*b"0123456789abcdef"), fingerprint: 7 });
    let metas = [
        put,
        Meta { expiry: Some(WallMs(1_900_000_000_000)), replaces: true, ..put },
        Meta { once, created: true, ..put },
        Meta { kind: Kind::Delete, replaces: true, ..put },
        Meta::new(Kind::Tablet),
    ];
    let record = |(lsn, meta)| Record {
        lsn: Lsn(lsn),
        meta,
        key: b"a key".to_vec(),
        payload: format!("payload {lsn}").into_bytes(),
    };
    (1..).zip(metas).map(record).collect()
}

fn block_of(log: &mut LogBuilder, records: &[Record]) -> Vec<u8> {
    for record in records {
        log.append(&record.parts());
    }
    log.next_block(Lsn::ZERO).expect("a block").buf.to_vec()
}

#[test]
fn logs_are_replayed() {
    let records = records();
    for (name, record) in
        ["record_put", "record_expires", "record_named", "record_delete"].iter().zip(&records)
    {
        let mut bytes = Vec::new();
        record.parts().encode_into(record.lsn, &mut bytes);
        made("log_decoder", name, &bytes);
    }
    let mut log = LogBuilder::fresh(START.shard, START.from, limits::LOG_SEGMENT_BYTES_MIN);
    let mut blocks = Vec::new();
    for part in records.chunks(3) {
        blocks.extend(block_of(&mut log, part));
    }
    made("log_decoder", "segment", &blocks);
    // The second half is the segment that a recovery began behind the first.
    let mut log = LogBuilder::fresh(START.shard, START.from, limits::LOG_SEGMENT_BYTES_MIN);
    let mut both = block_of(&mut log, &records);
    let recovered = replay(&[&both]);
    let next = recovered.next_lsn();
    let mut log = LogBuilder::after(START.shard, &recovered, next, limits::LOG_SEGMENT_BYTES_MIN);
    both.extend(block_of(&mut log, &records));
    made("log_decoder", "two_segments", &both);

    for (name, bytes) in seeds("log_decoder") {
        let (first, second) = bytes.split_at(bytes.len() / 2);
        match &*name {
            "segment" => assert_eq!(replay(&[&bytes]).records, 5),
            "two_segments" => assert_eq!(replay(&[first, second]).records, 10),
            _ => assert!(RecordRef::decode(&bytes).is_ok(), "{name}"),
        }
    }
}

fn replay(segments: &[&[u8]]) -> Recovered {
    Log::new(segments).replay().expect("no damage")
}

#[test]
fn indexes_are_decoded() {
    for (name, len, shape, way) in [("learned", 20, 3, 9), ("splus", 20, 5, 22), ("chosen", 9, 200, 5)] {
        let encoded = indexes::encoded(&indexes::keys(len, shape), way);
        made("rmi_decoder", name, &[&[len, shape, way], &*encoded].concat());
    }
    for (name, bytes) in seeds("rmi_decoder") {
        let ([len, shape, _], encoded) = bytes.split_first_chunk::<3>().expect("what is built");
        let keys = indexes::keys(*len, *shape);
        let index = codec::decode(encoded, KeyArray::new(&keys).expect("sorted"), Memory::plain());
        assert!(keys.len() > 30 && index.is_ok(), "{name}");
    }
}

#[test]
fn graphs_have_nodes_and_whole_changes() {
    let mut metrics = BTreeSet::new();
    for (name, bytes) in seeds("vector_decoder") {
        let [count, shape, changes @ ..] = &*bytes else { panic!("{name} builds nothing") };
        assert!(count % 40 > 0 && changes.len() % 4 == 0, "{name}");
        metrics.insert(shape % 3);
    }
    assert_eq!(metrics.len(), 3);
}
