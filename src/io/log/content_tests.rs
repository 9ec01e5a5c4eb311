//! Blocks with a right hash that no writer of this version leaves behind.

use super::testing::*;
use super::*;
use crate::types::{FileOffset, Lsn};

/// A block with `content` as its stream that continues `at`.
fn forged(at: BlockEnd, content: &[u8], last_lsn: u64) -> (BlockHeader, Vec<u8>) {
    let mut bytes = vec![0; 4096];
    bytes[block::BLOCK_HEADER_BYTES..][..content.len()].copy_from_slice(content);
    let header = BlockHeader {
        hash: 0,
        shard: SHARD,
        segment: at.segment,
        offset: at.offset,
        payload_len: content.len(),
        continued: 0,
        last_lsn: Lsn(last_lsn),
        durable_lsn: Lsn::ZERO,
        prev_hash: at.hash,
        first: false,
        block_len: 4096,
    };
    header.seal(&mut bytes);
    (header, bytes)
}

fn with_forged(content: &[u8], last_lsn: u64) -> Damage {
    let (mut disk, mut log) = (Disk::default(), fresh());
    let blocks = blocks(&mut log, 3, 3);
    disk.write_all(&blocks);
    let at = end_of(&blocks[2]);
    let (header, bytes) = forged(at, content, last_lsn);
    disk.files.get_mut(&FIRST).expect("the segment")[header.offset.0 as usize..][..4096]
        .copy_from_slice(&bytes);
    let damage = disk.damage();
    assert_eq!((damage.offset, damage.evidence), (at.offset, Evidence::Itself));
    damage
}

#[test]
fn a_repeated_or_falling_lsn_is_damage() {
    for lsn in [3, 2] {
        let mut content = Vec::new();
        RecordParts { meta: Meta::new(Kind::Put), key: b"k", payload: b"" }
            .encode_into(Lsn(lsn), &mut content);
        let fault = ContentFault::LsnOrder { lsn: Lsn(lsn), after: Lsn(3) };
        assert_eq!(with_forged(&content, lsn.max(3)).cause, Cause::Content(fault));
    }
}

#[test]
fn content_that_breaks_a_rule_under_a_right_hash_is_damage() {
    let mut content = Vec::new();
    RecordParts { meta: Meta::new(Kind::Put), key: b"k", payload: b"" }.encode_into(Lsn(4), &mut content);
    let fault = ContentFault::LastLsn { said: Lsn(5), found: Lsn(4) };
    assert_eq!(with_forged(&content, 5).cause, Cause::Content(fault));
    content[4] = 10;
    let fault = ContentFault::Record(RecordFault::Kind(10));
    assert_eq!(with_forged(&content, 4).cause, Cause::Content(fault));
}

#[test]
fn a_newer_format_is_refused_wherever_it_lies() {
    for far in [0, 8192] {
        let (mut disk, mut log) = (Disk::default(), fresh());
        let blocks = blocks(&mut log, 3, 3);
        disk.write_all(&blocks);
        let mut at = end_of(&blocks[2]);
        at.offset = FileOffset(at.offset.0 + far);
        let (header, mut bytes) = forged(at, &[], 3);
        block::make_newer(&mut bytes);
        disk.files.get_mut(&FIRST).expect("the segment")[header.offset.0 as usize..][..4096]
            .copy_from_slice(&bytes);
        let error = disk.replay().expect_err("a newer block");
        assert!(matches!(error, ReplayError::Newer { .. }));
        assert!(error.to_string().contains("newer kyrodb"), "{error}");
    }
}
