//! What goes into a run comes out of it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::model::{
    AFTER, RUN, Record, Tablets, end, look_up, open, put, read_all, small_tablets, tablet, write,
};
use crate::limits::{KEY_BYTES_MAX, RUN_CHUNK_BYTES, VALUE_BYTES_MAX};
use crate::shard::key::KeyType;
use crate::shard::payload::Payload;
use crate::shard::run::{
    Body, Covered, EntryRef, PAGE_BYTES, PAYLOAD_BYTES_MAX, RunHeader, RunWriter, TabletInfo, reader::Keys,
};
use crate::types::{Lsn, Seq, ShardId, TabletId, WallMs};

fn record() -> impl Strategy<Value = Record> {
    let len = prop_oneof![8 => 0..300_usize, 3 => 3900..4200_usize, 1 => 0..100_000_usize];
    let payload =
        prop_oneof![1 => Just(None), 4 => (len, any::<u8>()).prop_map(|(len, byte)| Some(vec![byte; len]))];
    (AFTER.0 + 1..1 << 50, 0..1_u64 << 50, any::<Option<u64>>(), payload).prop_map(
        |(lsn, seq, expires, payload)| Record {
            apart: false,
            key: Vec::new(),
            lsn: Lsn(lsn),
            seq: Seq(seq),
            expires: expires.filter(|_| payload.is_some()).map(WallMs),
            payload,
        },
    )
}

fn u64_keys() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![any::<u64>(), 0..50_u64].prop_map(|key| key.to_be_bytes().to_vec())
}

fn string_keys() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop::sample::select(vec![0_u8, b'a', b'b', 255]);
    prop_oneof![
        6 => prop::collection::vec(bytes, 1..12),
        1 => (1..=KEY_BYTES_MAX, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
    ]
}

fn records(keys: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<Record>> {
    prop::collection::btree_map(keys, record(), 0..120)
        .prop_map(|map| map.into_iter().map(|(key, record)| Record { key, ..record }).collect())
}

fn tablets() -> impl Strategy<Value = Tablets> {
    let next_seq = prop_oneof![Just(Seq(0)), Just(Seq(1 << 60))];
    let any_tablet = (any::<bool>(), records(u64_keys()), records(string_keys()), next_seq);
    prop::collection::vec(any_tablet, 0..5).prop_map(|all| {
        all.into_iter()
            .zip(0..)
            .map(|((is_u64, numbers, strings, next_seq), id)| match is_u64 {
                true => (TabletInfo { next_seq, ..tablet(id / 2, id, KeyType::U64) }, numbers),
                false => (TabletInfo { next_seq, ..tablet(id / 2, id, KeyType::String) }, strings),
            })
            .collect()
    })
}

/// As the run gives it back: `next_seq` is above every version.
fn with_next_seq_raised(tablets: &Tablets) -> Tablets {
    let raised = |(info, records): &(TabletInfo, Vec<Record>)| {
        let above = records.iter().map(|record| record.seq.next()).max().unwrap_or_default();
        (TabletInfo { next_seq: info.next_seq.max(above), ..*info }, records.clone())
    };
    tablets.iter().map(raised).collect()
}

proptest! {
    #[test]
    fn gives_back_what_was_written(tablets in tablets()) {
        let whole = write(RUN, &tablets);
        prop_assert_eq!(read_all(&whole.bytes, whole.finished.file), Ok(with_next_seq_raised(&tablets)));

        let all: Vec<_> = tablets.iter().flat_map(|(_, records)| records).collect();
        let finished = whole.finished;
        prop_assert_eq!(finished.file.len, whole.bytes.len() as u64);
        prop_assert_eq!(finished.entries, all.len() as u64);
        prop_assert_eq!(finished.live, all.iter().filter(|record| record.payload.is_some()).count() as u64);
        prop_assert_eq!(finished.lsn_min, all.iter().map(|record| record.lsn).min().unwrap_or_default());
        prop_assert_eq!(finished.lsn_max, all.iter().map(|record| record.lsn).max().unwrap_or_default());
    }

    #[test]
    fn a_lookup_reads_one_block(tablets in tablets(), other in u64_keys(), absent in string_keys()) {
        let whole = write(RUN, &tablets);
        let reader = open(&whole.bytes, whole.finished.file).unwrap();
        for (info, records) in &tablets {
            let map: BTreeMap<_, _> = records.iter().map(|record| (&record.key, record)).collect();
            let probe = if info.key_type == KeyType::U64 { &other } else { &absent };
            for key in map.keys().copied().chain([probe]) {
                let found = look_up(&whole.bytes, &reader, info, key);
                prop_assert_eq!(found.as_ref(), map.get(key).copied());
            }
        }
    }

    #[test]
    fn spans_cover_all_blocks_once(tablets in tablets(), bytes in 0..200_000_usize) {
        let whole = write(RUN, &tablets);
        let reader = open(&whole.bytes, whole.finished.file).unwrap();
        let (mut next, mut offset) = (0, PAGE_BYTES as u64);
        while let Some(span) = reader.span(next, bytes) {
            prop_assert_eq!((span.first_block, span.offset.0), (next, offset));
            prop_assert!(span.len <= bytes || span.end_block == next + 1);
            (next, offset) = (span.end_block, offset + span.len as u64);
        }
        prop_assert_eq!(next as usize, reader.locators().len());
    }
}

#[test]
fn key_parts_hold_all_numbers_and_all_first_keys() {
    let tablets = small_tablets();
    let whole = write(RUN, &tablets);
    let reader = open(&whole.bytes, whole.finished.file).unwrap();
    let keys_of = |index: usize| {
        let tablet = &reader.directory().tablets()[index];
        let start = tablet.keys.offset.0 as usize;
        let bytes = &whole.bytes[start..start + tablet.keys.padded_len() as usize];
        (reader.keys(tablet, bytes).unwrap(), bytes)
    };

    let (Keys::U64(numbers), bytes) = keys_of(0) else { panic!("a u64 tablet has u64 keys") };
    let wanted: Vec<u64> = (0..60).map(|i| i * i).collect();
    assert_eq!(numbers.iter().collect::<Vec<_>>(), wanted);
    assert_eq!(bytes[60 * 8..64 * 8], [255; 32], "filled up to a whole line");
    assert!(bytes[64 * 8..].iter().all(|byte| *byte == 0));

    let (Keys::First(first), _) = keys_of(2) else { panic!("a string tablet has first keys") };
    assert_eq!(first.len() as u32, reader.directory().tablets()[2].blocks);
    assert_eq!(first.block_of(b"A"), None);
    assert_eq!(first.block_of(b"a"), Some(0));
    assert_eq!(first.block_of(b"zzz"), Some(first.len() - 1));
}

#[test]
fn first_keys_are_found_across_restarts() {
    let names: Vec<String> = (0..500).map(|i| format!("user/{:05}/{}", i * 7, "x".repeat(i % 40))).collect();
    let records = names.iter().zip(1..).map(|(name, n)| put(name.as_bytes(), n, 2500)).collect();
    let tablets = vec![(tablet(1, 1, KeyType::String), records)];
    let whole = write(RUN, &tablets);
    let reader = open(&whole.bytes, whole.finished.file).unwrap();
    assert!(reader.locators().len() == names.len(), "a block holds one record of 2,500 bytes");
    for record in &tablets[0].1 {
        assert_eq!(look_up(&whole.bytes, &reader, &tablets[0].0, &record.key).as_ref(), Some(record));
    }
    for absent in ["user/00000/0", "user/00003/", "user/00007/", "user/00007/xx", "vser", "user/03493/y"] {
        assert_eq!(look_up(&whole.bytes, &reader, &tablets[0].0, absent.as_bytes()), None, "{absent}");
    }
}

#[test]
fn the_largest_record_has_a_block_of_its_own() {
    let key = [b'k'; KEY_BYTES_MAX];
    let large = Payload::new(&"t".repeat(255), &vec![7; VALUE_BYTES_MAX]);
    assert_eq!(large.as_bytes().len(), PAYLOAD_BYTES_MAX);
    let mut middle = put(&key, 3, 0);
    middle.payload = Some(large.as_bytes().to_vec());
    assert!(middle.expires.is_some(), "the largest encoding has an expiry");
    let records = vec![put(b"a", 1, 100), middle, put(b"z", 2, 100)];
    let tablets = vec![(tablet(1, 1, KeyType::String), records)];
    let whole = write(RUN, &tablets);
    assert!(read_all(&whole.bytes, whole.finished.file) == Ok(tablets));
    let reader = open(&whole.bytes, whole.finished.file).unwrap();
    assert_eq!(reader.locators().len(), 3);
    assert_eq!(reader.locators().block(1).entries, 1);
}

#[test]
fn entries_fill_a_page_to_the_last_byte() {
    // 64 bytes of header, 3 of the entry but for its payload (stamp, length of the key, key), 2 of the slot.
    let exact = PAGE_BYTES - 64 - 3 - 2;
    for (len, pages) in [(exact - 1, 1), (exact, 1), (exact + 1, 2)] {
        let tablets = vec![(tablet(1, 1, KeyType::String), vec![put(b"k", 1, len)])];
        let whole = write(RUN, &tablets);
        let reader = open(&whole.bytes, whole.finished.file).unwrap();
        assert_eq!(reader.locators().block(0).len, pages * PAGE_BYTES, "{len}");
        assert_eq!(read_all(&whole.bytes, whole.finished.file), Ok(tablets));
    }
}

#[test]
fn a_run_without_tablets_is_a_run() {
    let whole = write(RUN, &Vec::new());
    assert_eq!(whole.finished.entries, 0);
    assert_eq!(read_all(&whole.bytes, whole.finished.file), Ok(Vec::new()));
}

#[test]
fn chunks_come_while_the_run_is_written() {
    let covered = Covered { after: Lsn(0), through: Lsn(1) };
    let mut writer = RunWriter::new(RunHeader { shard: ShardId(0), run: RUN, covered });
    writer.start_tablet(tablet(1, 1, KeyType::U64));
    let (payload, mut chunks) = ([1; 100], 0);
    for key in 0..200_000_u64 {
        let body = Body::Here(&payload[..]);
        let key = key.to_be_bytes();
        writer.push(EntryRef {
            tablet: TabletId(1),
            key: &key,
            lsn: Lsn(1),
            seq: Seq(1),
            expires: None,
            body,
        });
        while let Some(chunk) = writer.take_ready() {
            assert_eq!(chunk.len(), RUN_CHUNK_BYTES);
            chunks += 1;
        }
    }
    assert!(chunks > 200_000 * 112 / RUN_CHUNK_BYTES, "{chunks} chunks before the end");
    let (rest, finished, _) = end(writer.finish());
    assert_eq!(finished.file.len, (chunks * RUN_CHUNK_BYTES + rest.len()) as u64);
}

fn push_all(keys: &[&[u8]]) {
    let covered = Covered { after: AFTER, through: AFTER };
    let mut writer = RunWriter::new(RunHeader { shard: ShardId(0), run: RUN, covered });
    writer.start_tablet(tablet(1, 1, KeyType::String));
    for key in keys {
        writer.push(put(key, 1, 10).as_entry(TabletId(1)));
    }
}

#[test]
#[should_panic(expected = "keys out of order")]
fn keys_must_ascend() {
    push_all(&[b"a", b"c", b"b"]);
}

#[test]
#[should_panic(expected = "keys out of order")]
fn a_key_comes_once() {
    push_all(&[b"a", b"a"]);
}

#[test]
#[should_panic(expected = "tablets out of order")]
fn tablets_must_ascend() {
    let tablets = vec![(tablet(2, 1, KeyType::U64), Vec::new()), (tablet(1, 2, KeyType::U64), Vec::new())];
    write(RUN, &tablets);
}
