//! The formats on disk, byte for byte: what was written once must be read for ever.
//!
//! `WRITE_GOLDEN=1 cargo test --test log_format` writes the files under `tests/golden/` anew, for a
//! new format version only. A line is an offset and 32 bytes in hex; lines of zeros are left out.

use std::fmt::Write;
use std::path::PathBuf;

use kyrodb::io::log::*;
use kyrodb::io::manifest::format::{RecordPlace, Slot, StateRecord};
use kyrodb::io::manifest::recover::{choose_slot, roll_forward};
use kyrodb::limits;
use kyrodb::types::{CollectionId, Epoch, FileOffset, Lsn, SegmentId, Seq, ShardId, TabletId, Token, WallMs};

const SHARD: ShardId = ShardId(5);
const LINE_BYTES: usize = 32;

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "golden", name].iter().collect()
}

fn to_hex(bytes: &[u8]) -> String {
    let mut text = format!("{} bytes\n", bytes.len());
    for (index, line) in bytes.chunks(LINE_BYTES).enumerate() {
        if line.iter().any(|byte| *byte != 0) {
            let hex: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(text, "{:06x} {hex}", index * LINE_BYTES).expect("writing to a string");
        }
    }
    text
}

fn from_hex(text: &str) -> Vec<u8> {
    let (len, lines) = text.split_once(" bytes\n").expect("a length");
    let mut bytes = vec![0; len.parse().expect("a number")];
    for line in lines.lines() {
        let (offset, hex) = line.split_once(' ').expect("offset and bytes");
        let offset = usize::from_str_radix(offset, 16).expect("an offset");
        for (index, pair) in hex.as_bytes().chunks(2).enumerate() {
            let pair = std::str::from_utf8(pair).expect("hex digits");
            bytes[offset + index] = u8::from_str_radix(pair, 16).expect("hex digits");
        }
    }
    bytes
}

/// The golden file, after comparing what is written today with it.
fn golden_text(name: &str, written: &str) -> String {
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        std::fs::write(path(name), written).expect("writing a golden file");
    }
    let text = std::fs::read_to_string(path(name)).expect("a golden file");
    assert!(written == text, "{name} is written in another way than before");
    text
}

fn golden(name: &str, written: &[u8]) -> Vec<u8> {
    from_hex(&golden_text(&format!("{name}.hex"), &to_hex(written)))
}

fn records() -> Vec<Record> {
    let put = Meta {
        commit_ts: 0x1112_1314_1516_1718,
        seq: Seq(0x2122_2324_2526_2728),
        collection: CollectionId(0x3132_3334),
        tablet: TabletId(0x4142_4344),
        epoch: Epoch(0x5152_5354_5556_5758),
        ..Meta::new(Kind::Put)
    };
    let everything = Meta {
        kind: Kind::Prepare,
        expiry: Some(WallMs(0x6162_6364_6566_6768)),
        source: Some(Source { stream: 0x7172_7374_7576_7778, lsn: Lsn(0x0102_0304_0506_0708) }),
        transaction: Some(0x090a_0b0c_0d0e_0f10),
        replaces: true,
        ..put
    };
    let metas = [put, Meta::new(Kind::Delete), everything, Meta::new(Kind::Commit), Meta::new(Kind::Tablet)];
    let metas = metas.into_iter().chain([Meta::new(Kind::Catalogue)]);
    (1..)
        .zip(metas)
        .map(|(lsn, meta)| Record {
            lsn: Lsn(lsn),
            meta,
            key: b"key".to_vec(),
            payload: format!("payload {lsn}").into_bytes(),
        })
        .collect()
}

fn log(blocks: &[BlockOut]) -> Vec<u8> {
    blocks.iter().flat_map(|block| block.buf.to_vec()).collect()
}

/// One block with a record of each kind.
fn block() -> Vec<BlockOut> {
    let mut log = LogBuilder::fresh(SHARD, SegmentId(1), limits::LOG_SEGMENT_BYTES_MIN);
    records().iter().for_each(|record| {
        log.append(&record.parts());
    });
    log.next_block(Lsn::ZERO).into_iter().collect()
}

/// A write that came with a name of its own, and receipts.
fn named_records() -> Vec<Record> {
    let put = records().remove(0);
    let once = Some(Once { token: Token(*b"0123456789abcdef"), fingerprint: 0x8182_8384_8586_8788 });
    let everything = records().remove(2);
    let metas = [
        Meta { once, created: true, ..put.meta },
        Meta { once, kind: Kind::Delete, ..everything.meta },
        Meta { commit_ts: 7, ..Meta::new(Kind::Receipts) },
    ];
    (1..).zip(metas).map(|(lsn, meta)| Record { lsn: Lsn(lsn), meta, ..put.clone() }).collect()
}

#[test]
fn a_block_of_writes_with_names() {
    let mut log = LogBuilder::fresh(SHARD, SegmentId(1), limits::LOG_SEGMENT_BYTES_MIN);
    named_records().iter().for_each(|record| {
        log.append(&record.parts());
    });
    let block = log.next_block(Lsn::ZERO).expect("a block");
    let bytes = golden("log_block_named", &block.buf);
    assert_eq!(replay(SegmentId(1), &bytes).1, named_records());
}

/// A segment that a recovery began, with a block without records and two with several.
fn segment() -> Vec<BlockOut> {
    let cut = BlockEnd { segment: SegmentId(6), offset: FileOffset(8192), hash: 0xabcd };
    let recovered = Recovered {
        last_lsn: Lsn(40),
        base_lsn: Lsn(2),
        cut,
        highest_segment_seen: SegmentId(8),
        max_commit_ts: 0,
        records: 0,
        tail: BlockFault::Zeros,
    };
    let mut log = LogBuilder::after(SHARD, &recovered, Lsn(1000), limits::LOG_SEGMENT_BYTES_MIN);
    let mut blocks: Vec<_> = log.next_block(Lsn(40)).into_iter().collect();
    for _ in 0..2 {
        records().iter().for_each(|record| {
            log.append(&record.parts());
        });
        blocks.extend(log.next_block(Lsn(40)));
    }
    blocks
}

fn replay(segment: SegmentId, bytes: &[u8]) -> (Recovered, Vec<Record>) {
    let mut file = vec![0; limits::LOG_SEGMENT_BYTES_MIN];
    file[..bytes.len()].copy_from_slice(bytes);
    let start = ReplayStart {
        shard: SHARD,
        from: segment,
        first_wanted: Lsn(1),
        floor: Lsn::ZERO,
        made: Made::default(),
    };
    let files = [SegmentFile { id: segment, len: file.len() as u64 }];
    let mut replay = Replay::new(start, &files).expect("files");
    let mut records = Vec::new();
    loop {
        match replay.step() {
            Step::Done(recovered) => return (recovered, records),
            Step::Read(read) => {
                let bytes = &file[read.offset.0 as usize..][..read.len];
                replay.feed(bytes, &mut |record| records.push(record.to_record())).expect("no damage");
            }
        }
    }
}

#[test]
fn a_block() {
    let bytes = golden("log_block", &log(&block()));
    assert_eq!(replay(SegmentId(1), &bytes).1, records());
}

/// Written before records said whether they replace one.
#[test]
fn a_block_of_before() {
    let text = std::fs::read_to_string(path("log_block_of_before.hex")).expect("a golden file");
    let not_told = |record: Record| Record { meta: Meta { replaces: false, ..record.meta }, ..record };
    let wanted: Vec<_> = records().into_iter().map(not_told).collect();
    assert_eq!(replay(SegmentId(1), &from_hex(&text)).1, wanted);
}

#[test]
fn a_segment() {
    let bytes = golden("log_segment", &log(&segment()));
    let (recovered, found) = replay(SegmentId(9), &bytes);
    assert_eq!((recovered.last_lsn, recovered.base_lsn, recovered.records), (Lsn(1011), Lsn(1000), 12));
    let wanted: Vec<_> = records().into_iter().chain(records()).map(|record| record.payload).collect();
    assert!(found.into_iter().map(|record| record.payload).eq(wanted));
    let mut lines = Vec::new();
    dump::Dump::new(SHARD).segment(SegmentId(9), &bytes, &mut |line| lines.push(line));
    let text: String = lines.iter().map(|line| format!("{line}\n{}\n", line.to_json())).collect();
    golden_text("log_dump.txt", &text);
}

#[test]
fn a_manifest() {
    let place = |offset| RecordPlace { shard: SHARD, manifest: 3, offset: FileOffset(offset) };
    let (first, hash) = StateRecord::encode(place(0), 8, 0, b"first state");
    let (second, last_hash) = StateRecord::encode(place(4096), 9, hash, b"second state");
    let bytes = golden("manifest", &[&first[..], &second[..]].concat());
    let older = Slot { generation: 8, manifest: 3, committed_len: 4096, last_hash: hash };
    let newer = Slot { generation: 9, manifest: 3, committed_len: 8192, last_hash };
    let slots = [older.encode(SHARD).to_vec(), newer.encode(SHARD).to_vec()].concat();
    let superblock = golden("superblock", &slots);
    let slot = choose_slot(&superblock, SHARD).expect("a slot");
    assert_eq!(slot, newer);
    let committed = roll_forward(&bytes, &slot, SHARD).expect("a state");
    assert_eq!((committed.generation, &bytes[committed.state]), (9, &b"second state"[..]));
}
