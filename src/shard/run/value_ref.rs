//! Where a large value is: a place in a value file, and the hash of what is there.
//!
//! ```text
//! 0     8       16      20   24    32
//! +-----+-------+-------+----+-----+
//! | file| offset| length| 0  | hash|      without `file`: an entry of the file's table
//! | u64 | u64   | u32   | u32| u64 |
//! +-----+-------+-------+----+-----+
//! ```
//!
//! A value is an encoded [`crate::shard::payload::Payload`]. It begins at a page; the hash covers the zeros
//! behind it, up to the end of its last page.

use super::PAGE_BYTES;
use super::field::{put_at, u32_at, u64_at};
use super::{PAYLOAD_BYTES_MAX, value_file};
use crate::types::{FileOffset, RunId};

pub const REFERENCE_BYTES: usize = 8 + TABLE_ENTRY_BYTES;
pub(super) const TABLE_ENTRY_BYTES: usize = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ValueRef {
    pub file: RunId,
    pub offset: FileOffset,
    /// In bytes, without the zeros behind it.
    pub len: u32,
    pub hash: u64,
}

impl ValueRef {
    /// Bytes of the file that it takes: whole pages.
    pub fn padded_len(&self) -> u64 {
        u64::from(self.len).next_multiple_of(PAGE_BYTES as u64)
    }

    pub fn end(&self) -> FileOffset {
        FileOffset(self.offset.0 + self.padded_len())
    }

    pub fn encode(&self) -> [u8; REFERENCE_BYTES] {
        let mut out = [0; REFERENCE_BYTES];
        put_at(&mut out, 0, self.file.0.to_le_bytes());
        out[8..].copy_from_slice(&self.encode_in_table());
        out
    }

    /// `None` when no writer makes such a reference.
    pub fn decode(bytes: &[u8]) -> Option<ValueRef> {
        let (file, rest) = bytes.split_at_checked(8)?;
        ValueRef::decode_in_table(RunId(u64_at(file, 0)), rest)
    }

    pub(super) fn encode_in_table(&self) -> [u8; TABLE_ENTRY_BYTES] {
        let mut out = [0; TABLE_ENTRY_BYTES];
        put_at(&mut out, 0, self.offset.0.to_le_bytes());
        put_at(&mut out, 8, self.len.to_le_bytes());
        put_at(&mut out, 16, self.hash.to_le_bytes());
        out
    }

    pub(super) fn decode_in_table(file: RunId, bytes: &[u8]) -> Option<ValueRef> {
        if bytes.len() != TABLE_ENTRY_BYTES || u32_at(bytes, 12) != 0 {
            return None;
        }
        let (offset, len, hash) = (FileOffset(u64_at(bytes, 0)), u32_at(bytes, 8), u64_at(bytes, 16));
        let placed = offset.0.is_multiple_of(PAGE_BYTES as u64) && offset >= value_file::FIRST_VALUE;
        let sound = placed && offset.0 < 1 << 62 && (1..=PAYLOAD_BYTES_MAX).contains(&(len as usize));
        sound.then_some(ValueRef { file, offset, len, hash })
    }
}
