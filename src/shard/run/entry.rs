//! One version of a record, as it stands in a payload block since version 4.
//!
//! ```text
//! +-------+---------------+---------+-----+---------+
//! | stamp | expiry        | key len | key | payload |
//! |       | u64, optional | varint  |     |         |
//! +-------+---------------+---------+-----+---------+
//! ```
//!
//! The stamp has the flags too, see [`super::stamp`]. Flag 1: a tombstone, without payload and expiry. Flag 2: has an
//! expiry (milliseconds of wall time). Flag 4: the payload is a reference to a value file, see
//! [`super::value_ref`]. A key of a `u64` tablet has 8 bytes, and no length before it. The payload ends where the
//! slots of the block say that the entry ends.

use super::PAYLOAD_BYTES_MAX;
use super::body::Body;
use super::field::u64_at;
use super::stamp::Stamp;
use super::varint;
use crate::limits::KEY_BYTES_MAX;
use crate::shard::key::KeyType;
use crate::types::{Lsn, Seq, TabletId, WallMs};

pub(super) const EXPIRY_BYTES: usize = 8;
pub(super) const EXPIRES: u8 = 2;

const U64_KEY_BYTES: usize = 8;

/// Largest entry that has a block to itself, so with nothing in its stamp but the flags.
pub(super) const LONE_ENTRY_BYTES_MAX: usize = 1 + EXPIRY_BYTES + 2 + KEY_BYTES_MAX + PAYLOAD_BYTES_MAX;

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

    pub(super) fn stamp(&self) -> Stamp {
        Stamp::new(self.lsn, self.seq)
    }

    pub(super) fn flags(&self) -> u8 {
        self.body.flags() | if self.expires.is_some() { EXPIRES } else { 0 }
    }

    /// Bytes of all behind the stamp.
    pub(super) fn rest_len(&self, keys: KeyType) -> usize {
        let expiry = if self.expires.is_some() { EXPIRY_BYTES } else { 0 };
        let key_len = match keys {
            KeyType::U64 => 0,
            KeyType::String => varint::len(self.key.len() as u64),
        };
        expiry + key_len + self.key.len() + self.body.len_here()
    }

    /// What is between stamp and payload.
    pub(super) fn push_key(&self, keys: KeyType, out: &mut Vec<u8>) {
        if let Some(expires) = self.expires {
            out.extend_from_slice(&expires.0.to_le_bytes());
        }
        if keys == KeyType::String {
            varint::push(out, self.key.len() as u64);
        }
        out.extend_from_slice(self.key);
    }

    /// The entry that has all of `bytes`; `None` when it is none that a writer makes.
    pub(super) fn decode(
        tablet: TabletId,
        keys: KeyType,
        base: Stamp,
        bytes: &'a [u8],
    ) -> Option<EntryRef<'a>> {
        let (flags, stamp, rest) = Stamp::take(base, bytes)?;
        let (expires, rest) = match flags & EXPIRES {
            0 => (None, rest),
            _ => {
                let (expiry, rest) = rest.split_at_checked(EXPIRY_BYTES)?;
                (Some(WallMs(u64_at(expiry, 0))), rest)
            }
        };
        let (key_len, rest) = match keys {
            KeyType::U64 => (U64_KEY_BYTES, rest),
            KeyType::String => {
                let (len, rest) = varint::take(rest)?;
                (usize::try_from(len).ok()?, rest)
            }
        };
        let (key, payload) = rest.split_at_checked(key_len)?;
        EntryRef { tablet, key, lsn: stamp.lsn, seq: stamp.seq(), expires, body: Body::Tombstone }
            .with_body(flags, payload)
    }

    /// With the body that flags and bytes say; `None` when it does not fit the rest, or the key is none.
    pub(super) fn with_body(self, flags: u8, bytes: &'a [u8]) -> Option<EntryRef<'a>> {
        let body = Body::decode(flags & !EXPIRES, bytes)?;
        let fits = body.is_record() || self.expires.is_none();
        let is_key = (1..=KEY_BYTES_MAX).contains(&self.key.len());
        (fits && is_key).then_some(EntryRef { body, ..self })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(entry: &EntryRef<'_>, keys: KeyType, base: Stamp) -> Vec<u8> {
        let mut out = Vec::new();
        entry.stamp().push(base, entry.flags(), &mut out);
        entry.push_key(keys, &mut out);
        entry.body.push(&mut out);
        out
    }

    proptest! {
        /// Bytes that are an entry are those that a writer makes of it: nothing can be said in two ways.
        #[test]
        fn an_entry_has_one_form(
            front in prop::collection::vec(prop_oneof![any::<u8>(), 0..16_u8], 0..50),
            back in 0..50_usize,
            is_u64: bool,
            base in (any::<u64>(), any::<u64>()),
        ) {
            let keys = if is_u64 { KeyType::U64 } else { KeyType::String };
            let base = Stamp { lsn: Lsn(base.0 >> 1), lead: base.1 };
            let bytes = [front, vec![0; back]].concat();
            if let Some(entry) = EntryRef::decode(TabletId(1), keys, base, &bytes) {
                entry.assert_encodable();
                prop_assert_eq!(entry.stamp().len(base) + entry.rest_len(keys), bytes.len());
                prop_assert_eq!(encode(&entry, keys, base), bytes);
            }
        }
    }
}
