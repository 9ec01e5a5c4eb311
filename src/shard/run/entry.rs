//! One version of a record, as it stands in a payload block.
//!
//! ```text
//! 0      1   2        4            8    16   24
//! +------+---+--------+------------+----+----+---------------+-----+---------+
//! | flags| 0 | key len| payload len| LSN| seq| expiry        | key | payload |
//! | u8   |   | u16    | u32        | u64| u64| u64, optional |     |         |
//! +------+---+--------+------------+----+----+---------------+-----+---------+
//! ```
//!
//! Flag 1: a tombstone, without payload and expiry. Flag 2: has an expiry (milliseconds of wall time). Flag 4,
//! since version 3: the payload is a reference to a value file, see [`super::value_ref`].

use super::PAYLOAD_BYTES_MAX;
use super::body::Body;
use super::field::{put_at, u16_at, u32_at, u64_at};
use super::value_ref::ValueRef;
use crate::limits::KEY_BYTES_MAX;
use crate::types::{Lsn, Seq, TabletId, WallMs};

const KEY_LEN_AT: usize = 2;
const PAYLOAD_LEN_AT: usize = 4;
const LSN_AT: usize = 8;
const SEQ_AT: usize = 16;
const HEAD_BYTES: usize = 24;
const EXPIRY_BYTES: usize = 8;

const TOMBSTONE: u8 = 1;
const EXPIRES: u8 = 2;
const APART: u8 = 4;

/// Largest encoded entry, in bytes.
pub(super) const ENTRY_BYTES_MAX: usize = HEAD_BYTES + EXPIRY_BYTES + KEY_BYTES_MAX + PAYLOAD_BYTES_MAX;

/// A version of a record in somebody else's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRef<'a> {
    pub tablet: TabletId,
    /// 1 to [`KEY_BYTES_MAX`] bytes; 8 for a `u64` key.
    pub key: &'a [u8],
    pub lsn: Lsn,
    pub seq: Seq,
    pub expires: Option<WallMs>,
    pub body: Body<'a>,
}

impl<'a> EntryRef<'a> {
    pub(super) fn encoded_len(&self) -> usize {
        self.key_at() + self.key.len() + self.body.len_here()
    }

    fn key_at(&self) -> usize {
        HEAD_BYTES + if self.expires.is_some() { EXPIRY_BYTES } else { 0 }
    }

    /// Not plainly live: to be read before it is known whether there is a record. See [`super::marks`].
    pub(super) fn is_marked(&self) -> bool {
        !self.body.is_record() || self.expires.is_some()
    }

    /// Panics when no reader would take the entry.
    pub(super) fn assert_encodable(&self) {
        assert!((1..=KEY_BYTES_MAX).contains(&self.key.len()), "key of {} bytes", self.key.len());
        assert!(self.body.len_here() <= PAYLOAD_BYTES_MAX, "payload too long");
        assert!(self.body.is_record() || self.expires.is_none(), "a tombstone does not expire");
    }

    /// All but the payload into the start of `out`; returns how many bytes that are.
    pub(super) fn encode_front(&self, out: &mut [u8]) -> usize {
        let body = match self.body {
            Body::Tombstone => TOMBSTONE,
            Body::Here(_) => 0,
            Body::Apart(_) => APART,
        };
        let expires = if self.expires.is_some() { EXPIRES } else { 0 };
        out[0] = body | expires;
        put_at(out, KEY_LEN_AT, (self.key.len() as u16).to_le_bytes());
        put_at(out, PAYLOAD_LEN_AT, (self.body.len_here() as u32).to_le_bytes());
        put_at(out, LSN_AT, self.lsn.0.to_le_bytes());
        put_at(out, SEQ_AT, self.seq.0.to_le_bytes());
        if let Some(expires) = self.expires {
            put_at(out, HEAD_BYTES, expires.0.to_le_bytes());
        }
        let end = self.key_at() + self.key.len();
        out[self.key_at()..end].copy_from_slice(self.key);
        end
    }

    /// All of it into the start of `out`; returns how many bytes that are.
    pub(super) fn encode(&self, out: &mut [u8]) -> usize {
        let front = self.encode_front(out);
        let end = front + self.body.len_here();
        match &self.body {
            Body::Tombstone => {}
            Body::Here(payload) => out[front..end].copy_from_slice(payload),
            Body::Apart(value) => out[front..end].copy_from_slice(&value.encode()),
        }
        end
    }

    /// The entry at the start of `bytes`; `None` when there is none that a writer makes.
    pub(super) fn decode(tablet: TabletId, bytes: &'a [u8]) -> Option<EntryRef<'a>> {
        let (head, mut rest) = bytes.split_at_checked(HEAD_BYTES)?;
        let flags = head[0];
        let key_len = usize::from(u16_at(head, KEY_LEN_AT));
        let payload_len = u32_at(head, PAYLOAD_LEN_AT) as usize;
        let mut take = |len| {
            let (field, after) = rest.split_at_checked(len)?;
            rest = after;
            Some(field)
        };
        let expires = match flags & EXPIRES {
            0 => None,
            _ => Some(WallMs(u64_at(take(EXPIRY_BYTES)?, 0))),
        };
        let key = take(key_len)?;
        let payload = take(payload_len)?;
        let body = match flags & !EXPIRES {
            TOMBSTONE if payload.is_empty() && expires.is_none() => Body::Tombstone,
            0 if payload_len <= PAYLOAD_BYTES_MAX => Body::Here(payload),
            APART => Body::Apart(ValueRef::decode(payload)?),
            _ => return None,
        };
        if !(1..=KEY_BYTES_MAX).contains(&key_len) {
            return None;
        }
        let (lsn, seq) = (Lsn(u64_at(head, LSN_AT)), Seq(u64_at(head, SEQ_AT)));
        Some(EntryRef { tablet, key, lsn, seq, expires, body })
    }
}
