//! Arbitrary bytes as a record, as one segment, and as two segments of a log: no panic, and every step
//! of a replay makes progress.
//!
//! Hashes keep mutated bytes out of the record decoder, so it is also fed directly.

#![no_main]

use std::convert::Infallible;

use kyrodb::io::log::dump::Dump;
use kyrodb::io::log::{Made, ReadAt, RecordRef, Replay, ReplayStart, SegmentFile, Step, verify};
use kyrodb::types::{Lsn, SegmentId, ShardId};
use libfuzzer_sys::fuzz_target;

const SHARD: ShardId = ShardId(0);
const FIRST: SegmentId = SegmentId(1);

fn bytes<'a>(segments: &[&'a [u8]], read: ReadAt) -> &'a [u8] {
    let file = segments[(read.segment.0 - FIRST.0) as usize];
    let from = (read.offset.0 as usize).min(file.len());
    &file[from..file.len().min(from + read.len)]
}

fn replay(start: ReplayStart, segments: &[&[u8]], files: &[SegmentFile]) {
    let Ok(mut replay) = Replay::new(start, files) else { return };
    let mut last_lsn = Lsn::ZERO;
    while let Step::Read(read) = replay.step() {
        let fed = replay.feed(bytes(segments, read), &mut |record| {
            assert!(record.lsn > last_lsn);
            last_lsn = record.lsn;
        });
        if fed.is_err() {
            return;
        }
    }
}

fn log(segments: &[&[u8]]) {
    let files: Vec<_> = (FIRST.0..)
        .zip(segments)
        .map(|(id, bytes)| SegmentFile { id: SegmentId(id), len: bytes.len() as u64 })
        .collect();
    let start = ReplayStart { shard: SHARD, from: FIRST, first_wanted: Lsn(1), floor: Lsn::ZERO, made: Made::default() };
    replay(start, segments, &files);
    let read = |at| Ok::<_, Infallible>(bytes(segments, at).to_vec());
    let Ok(_) = verify(start, &files, read);
    let mut dump = Dump::new(SHARD);
    for (file, bytes) in files.iter().zip(segments) {
        dump.segment(file.id, bytes, &mut |line| assert!(!line.to_json().is_empty()));
    }
}

fuzz_target!(|data: &[u8]| {
    if let Ok(record) = RecordRef::decode(data) {
        let mut again = Vec::new();
        record.parts.encode_into(record.lsn, &mut again);
        assert_eq!(again, data);
    }
    log(&[data]);
    let (first, second) = data.split_at(data.len() / 2);
    log(&[first, second]);
});
