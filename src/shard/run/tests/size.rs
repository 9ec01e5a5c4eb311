//! How many bytes a record takes in a run: room on the disk and what compaction writes go with it.

use super::model::{RUN, end, open, tablet};
use crate::shard::key::KeyType;
use crate::shard::run::{Body, Covered, EntryRef, PAGE_BYTES, RunHeader, RunWriter};
use crate::types::{Lsn, Seq, ShardId, TabletId};

const RECORDS: u64 = 100_000;
const LSNS: u64 = 20_000_000;
/// A type and 100 bytes.
const PAYLOAD: [u8; 101] = [7; 101];

/// A run of overwritten records, with the version that each LSN has.
fn run_of(seq_of: impl Fn(u64) -> u64) -> (Vec<u8>, u64) {
    let covered = Covered { after: Lsn(0), through: Lsn(LSNS) };
    let mut writer = RunWriter::new(RunHeader { shard: ShardId(0), run: RUN, covered });
    writer.start_tablet(tablet(1, 1, KeyType::U64));
    let mut bytes = Vec::new();
    for number in 0..RECORDS {
        let key = number.wrapping_mul(100).to_be_bytes();
        let lsn = 1 + number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % LSNS;
        let (lsn, seq) = (Lsn(lsn), Seq(seq_of(lsn)));
        let body = Body::Here(&PAYLOAD);
        writer.push(EntryRef { tablet: TabletId(1), key: &key, lsn, seq, expires: None, body });
        while let Some(chunk) = writer.take_ready() {
            bytes.extend_from_slice(&chunk);
        }
    }
    let (rest, finished, _) = end(writer.finish());
    bytes.extend_from_slice(&rest);
    let blocks = open(&bytes, finished.file).expect("it is sound").locators().len();
    (bytes, (blocks * PAGE_BYTES) as u64)
}

#[test]
fn a_record_of_108_bytes_takes_little_more() {
    let (bytes, blocks) = run_of(|lsn| lsn + 16_000_000);
    let (of_blocks, of_all) = (blocks as f64 / RECORDS as f64, bytes.len() as f64 / RECORDS as f64);
    assert!(of_blocks <= 118.0, "{of_blocks} bytes a record in blocks");
    assert!(of_all <= 127.5, "{of_all} bytes a record in all");
}

/// Two tablets of a shard share its LSNs: the version numbers of one fall behind them.
#[test]
fn nor_much_more_where_versions_are_not_given_out_with_the_lsns() {
    let (_, blocks) = run_of(|lsn| lsn / 2);
    let of_blocks = blocks as f64 / RECORDS as f64;
    assert!(of_blocks <= 124.2, "{of_blocks} bytes a record in blocks");
}
