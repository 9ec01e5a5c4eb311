//! An entry as versions 1 to 3 wrote it; it is only read.
//!
//! ```text
//! 0      1   2        4            8    16   24
//! +------+---+--------+------------+----+----+---------------+-----+---------+
//! | flags| 0 | key len| payload len| LSN| seq| expiry        | key | payload |
//! | u8   |   | u16    | u32        | u64| u64| u64, optional |     |         |
//! +------+---+--------+------------+----+----+---------------+-----+---------+
//! ```
//!
//! Flags as in [`super::entry`].

use super::PAYLOAD_BYTES_MAX;
use super::body::Body;
use super::entry::{EXPIRES, EXPIRY_BYTES, EntryRef};
use super::field::{u16_at, u32_at, u64_at};
use crate::limits::KEY_BYTES_MAX;
use crate::types::{Lsn, Seq, TabletId, WallMs};

const KEY_LEN_AT: usize = 2;
const PAYLOAD_LEN_AT: usize = 4;
const LSN_AT: usize = 8;
const SEQ_AT: usize = 16;
const HEAD_BYTES: usize = 24;

pub(super) const WHOLE_ENTRY_BYTES_MAX: usize = HEAD_BYTES + EXPIRY_BYTES + KEY_BYTES_MAX + PAYLOAD_BYTES_MAX;

/// The entry that has all of `bytes`; `None` when it is none that a writer made.
pub(super) fn decode(tablet: TabletId, bytes: &[u8]) -> Option<EntryRef<'_>> {
    let (head, mut rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let flags = head[0];
    let mut take = |len| {
        let (field, after) = rest.split_at_checked(len)?;
        rest = after;
        Some(field)
    };
    let expires = match flags & EXPIRES {
        0 => None,
        _ => Some(WallMs(u64_at(take(EXPIRY_BYTES)?, 0))),
    };
    let key = take(usize::from(u16_at(head, KEY_LEN_AT)))?;
    if rest.len() != u32_at(head, PAYLOAD_LEN_AT) as usize {
        return None;
    }
    let (lsn, seq) = (Lsn(u64_at(head, LSN_AT)), Seq(u64_at(head, SEQ_AT)));
    EntryRef { tablet, key, lsn, seq, expires, body: Body::Tombstone }.with_body(flags, rest)
}
