//! Arbitrary bytes as a record, as one segment, and as two segments of a log: no panic, and every step
//! of a replay makes progress.
//!
//! Hashes keep mutated bytes out of the record decoder, so it is also fed directly.

#![no_main]

use std::convert::Infallible;

use kyrodb::io::log::dump::Dump;
use kyrodb::io::log::{RecordRef, verify};
use libfuzzer_sys::fuzz_target;

#[path = "../support/segments.rs"]
mod segments;

use segments::{Log, START};

fn log(segments: &[&[u8]]) {
    let log = Log::new(segments);
    log.replay();
    let read = |at| Ok::<_, Infallible>(log.bytes(at).to_vec());
    let Ok(_) = verify(START, &log.files, read);
    let mut dump = Dump::new(START.shard);
    for (file, bytes) in log.files.iter().zip(segments) {
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
