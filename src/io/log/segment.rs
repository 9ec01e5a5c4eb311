//! Segment files and what the first block of each says.
//!
//! A segment is the file `log/<id as 16 hex digits>.wal`, full-sized (zero-filled or recycled) and
//! synced before its first block is written. Its first block begins with a start structure:
//!
//! ```text
//! offset size field
//!      0    8 previous       segment that this one continues; 0 for the very first
//!      8    8 base_lsn       no record that ends from here on has a lower LSN
//!     16    4 end            offset at which the valid part of the previous segment ends
//!     20    4 segment_bytes  length of this file: a shorter one has been cut
//!     24    1 kind           1 rolled, 2 recovered
//!     25    7 zeros
//! ```
//!
//! The hash of the previous segment's last block is `prev_hash` of the block header.
//!
//! `Rolled` means that the previous segment was full. `Recovered` means that a recovery cut the log
//! at `end`: whatever lies there, or in a segment with an id in between, never counts again.

use super::block::BLOCK_HEADER_BYTES;
use super::field::{get_u32, get_u64, put_u32, put_u64};
use crate::types::{FileOffset, Lsn, SegmentId};

const PREVIOUS: usize = 0;
const BASE_LSN: usize = PREVIOUS + 8;
const END: usize = BASE_LSN + 8;
const SEGMENT_BYTES: usize = END + 4;
const KIND: usize = SEGMENT_BYTES + 4;
pub(super) const START_BYTES: usize = KIND + 8;

const KIND_ROLLED: u8 = 1;
const KIND_RECOVERED: u8 = 2;

const _: () = assert!(START_BYTES == 32 && START_BYTES + BLOCK_HEADER_BYTES < 4096);

/// A place between two blocks, and the hash of the block before it (0 where there is none).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockEnd {
    pub segment: SegmentId,
    pub offset: FileOffset,
    pub hash: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartKind {
    Rolled,
    Recovered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentStart {
    pub previous: BlockEnd,
    pub base_lsn: Lsn,
    pub segment_bytes: u32,
    pub kind: StartKind,
}

impl SegmentStart {
    pub(super) fn encode(&self) -> [u8; START_BYTES] {
        let mut bytes = [0; START_BYTES];
        put_u64(&mut bytes, PREVIOUS, self.previous.segment.0);
        put_u64(&mut bytes, BASE_LSN, self.base_lsn.0);
        put_u32(&mut bytes, END, u32::try_from(self.previous.offset.0).expect("a segment over 4 GiB"));
        put_u32(&mut bytes, SEGMENT_BYTES, self.segment_bytes);
        bytes[KIND] = match self.kind {
            StartKind::Rolled => KIND_ROLLED,
            StartKind::Recovered => KIND_RECOVERED,
        };
        bytes
    }

    /// `None` when the bytes are no start structure.
    pub(super) fn decode(bytes: &[u8], prev_hash: u64) -> Option<SegmentStart> {
        let bytes = bytes.get(..START_BYTES)?;
        let kind = match bytes[KIND] {
            KIND_ROLLED => StartKind::Rolled,
            KIND_RECOVERED => StartKind::Recovered,
            _ => return None,
        };
        let previous = BlockEnd {
            segment: SegmentId(get_u64(bytes, PREVIOUS)),
            offset: FileOffset(u64::from(get_u32(bytes, END))),
            hash: prev_hash,
        };
        let reserved_is_zero = bytes[KIND + 1..].iter().all(|byte| *byte == 0);
        reserved_is_zero.then(|| SegmentStart {
            previous,
            base_lsn: Lsn(get_u64(bytes, BASE_LSN)),
            segment_bytes: get_u32(bytes, SEGMENT_BYTES),
            kind,
        })
    }
}

/// How long a segment's file is, as its first page says; `None` when that begins no segment.
pub fn segment_bytes_of(first_page: &[u8]) -> Option<u32> {
    let start = SegmentStart::decode(first_page.get(BLOCK_HEADER_BYTES..)?, 0)?;
    Some(start.segment_bytes)
}

/// Name of a segment's file in the log directory.
pub fn segment_file_name(id: SegmentId) -> String {
    format!("{:016x}.wal", id.0)
}

/// The segment that a file of the log directory holds; `None` for any other file.
pub fn parse_segment_file_name(name: &str) -> Option<SegmentId> {
    let digits = name.strip_suffix(".wal")?;
    let id = SegmentId(u64::from_str_radix(digits, 16).ok()?);
    (segment_file_name(id) == name).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_survives_the_round_trip_and_refuses_the_rest() {
        let start = SegmentStart {
            previous: BlockEnd { segment: SegmentId(7), offset: FileOffset(8192), hash: 99 },
            base_lsn: Lsn(41),
            segment_bytes: 1 << 20,
            kind: StartKind::Recovered,
        };
        let bytes = start.encode();
        assert_eq!(SegmentStart::decode(&bytes, 99), Some(start));
        assert_eq!(SegmentStart::decode(&bytes[..START_BYTES - 1], 99), None);
        for at in KIND..START_BYTES {
            let mut bad = bytes;
            bad[at] |= 0x80;
            assert_eq!(SegmentStart::decode(&bad, 99), None);
        }
    }

    #[test]
    fn only_exact_names_are_segments() {
        assert_eq!(segment_file_name(SegmentId(0x1f)), "000000000000001f.wal");
        assert_eq!(parse_segment_file_name("000000000000001f.wal"), Some(SegmentId(0x1f)));
        for name in ["1f.wal", "000000000000001F.wal", "+00000000000001f.wal", "000000000000001f.wal.tmp"] {
            assert_eq!(parse_segment_file_name(name), None, "{name}");
        }
    }
}
