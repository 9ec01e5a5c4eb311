//! A page of a range: records one behind the other, the small ones in one allocation.
//!
//! A page goes to other cores, so it owns what it holds. Keys and small payloads are copied behind one another:
//! a record of its own would be two allocations. Large payloads are shared.
//!
//! Invariant: every payload in it is well-formed.

use super::key::Key;
use super::payload::{self, Payload};
use super::record::Found;
use crate::limits;
use crate::types::{Lsn, Seq, WallMs};

/// Records in the order asked for.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub records: Records,
    /// There is more of the range behind the last record (or behind `resume_after` when the page
    /// holds none).
    pub more: bool,
    /// Go on strictly behind this key.
    pub resume_after: Option<Key>,
    /// Entries that were looked at, tombstones too.
    pub visited: usize,
}

#[derive(Clone, Debug, Default)]
pub struct Records {
    heads: Vec<Head>,
    /// Keys, each with its payload behind it unless that is large.
    bytes: Vec<u8>,
    large: Vec<Payload>,
    payload_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    at: usize,
    key_len: usize,
    payload: Place,
    lsn: Lsn,
    seq: Seq,
    expires: Option<WallMs>,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// So many bytes behind the key.
    Here(usize),
    /// The number of a large one.
    Shared(usize),
}

/// A record of a page.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub key: &'a [u8],
    payload: PayloadRef<'a>,
    pub lsn: Lsn,
    pub seq: Seq,
    pub expires: Option<WallMs>,
}

#[derive(Clone, Copy, Debug)]
enum PayloadRef<'a> {
    Here(&'a [u8]),
    Shared(&'a Payload),
}

impl<'a> Record<'a> {
    pub fn key(&self) -> Key {
        Key::from_bytes(self.key)
    }

    pub fn value(&self) -> &'a [u8] {
        match self.payload {
            PayloadRef::Here(bytes) => payload::value_in(bytes).expect("checked when it was pushed"),
            PayloadRef::Shared(payload) => payload.value(),
        }
    }

    pub fn found(&self) -> Found {
        let payload = match self.payload {
            PayloadRef::Here(bytes) => Payload::from_bytes(bytes).expect("checked when it was pushed"),
            PayloadRef::Shared(payload) => payload.clone(),
        };
        Found { payload, lsn: self.lsn, seq: self.seq, expires: self.expires }
    }
}

impl Records {
    /// With room for so many records, of so many bytes together.
    pub fn with_room(records: usize, bytes: usize) -> Records {
        let (heads, bytes) = (Vec::with_capacity(records), Vec::with_capacity(bytes));
        Records { heads, bytes, ..Records::default() }
    }

    pub fn len(&self) -> usize {
        self.heads.len()
    }

    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Of all payloads.
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Record<'_>> + ExactSizeIterator {
        self.heads.iter().map(|head| self.record(head))
    }

    pub fn last(&self) -> Option<Record<'_>> {
        self.heads.last().map(|head| self.record(head))
    }

    fn record(&self, head: &Head) -> Record<'_> {
        let (key, rest) = self.bytes[head.at..].split_at(head.key_len);
        let payload = match head.payload {
            Place::Here(len) => PayloadRef::Here(&rest[..len]),
            Place::Shared(number) => PayloadRef::Shared(&self.large[number]),
        };
        Record { key, payload, lsn: head.lsn, seq: head.seq, expires: head.expires }
    }

    /// False, and nothing is done, when the bytes are no payload.
    #[must_use]
    pub fn push(&mut self, key: &[u8], payload: &[u8], lsn: Lsn, seq: Seq, expires: Option<WallMs>) -> bool {
        if payload.len() > limits::PAGE_COPY_BYTES_MAX {
            let shared = Payload::from_bytes(payload);
            return shared
                .map(|payload| self.push_found(key, Found { payload, lsn, seq, expires }))
                .is_some();
        }
        if payload::value_in(payload).is_none() {
            return false;
        }
        let head = Head {
            at: self.bytes.len(),
            key_len: key.len(),
            payload: Place::Here(payload.len()),
            lsn,
            seq,
            expires,
        };
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(payload);
        self.payload_bytes += payload.len();
        self.heads.push(head);
        true
    }

    pub fn push_found(&mut self, key: &[u8], found: Found) {
        let Found { payload, lsn, seq, expires } = found;
        if payload.as_bytes().len() <= limits::PAGE_COPY_BYTES_MAX {
            let pushed = self.push(key, payload.as_bytes(), lsn, seq, expires);
            assert!(pushed, "a payload is well-formed");
            return;
        }
        let place = Place::Shared(self.large.len());
        self.heads.push(Head { at: self.bytes.len(), key_len: key.len(), payload: place, lsn, seq, expires });
        self.bytes.extend_from_slice(key);
        self.payload_bytes += payload.as_bytes().len();
        self.large.push(payload);
    }

    /// Those of the next part of a range.
    pub fn append(&mut self, other: Records) {
        if self.is_empty() {
            *self = other;
            return;
        }
        let (bytes, large) = (self.bytes.len(), self.large.len());
        self.heads.extend(other.heads.into_iter().map(|head| {
            let payload = match head.payload {
                Place::Shared(number) => Place::Shared(large + number),
                here => here,
            };
            Head { at: bytes + head.at, payload, ..head }
        }));
        self.bytes.extend_from_slice(&other.bytes);
        self.large.extend(other.large);
        self.payload_bytes += other.payload_bytes;
    }
}

/// One by one as records of their own.
pub struct IntoRecords {
    records: Records,
    next: usize,
}

impl Iterator for IntoRecords {
    type Item = (Key, Found);

    fn next(&mut self) -> Option<(Key, Found)> {
        let head = self.records.heads.get(self.next)?;
        self.next += 1;
        let record = self.records.record(head);
        Some((record.key(), record.found()))
    }
}

impl IntoIterator for Records {
    type Item = (Key, Found);
    type IntoIter = IntoRecords;

    fn into_iter(self) -> IntoRecords {
        IntoRecords { records: self, next: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::payload::TEXT;

    fn found(number: u64, value_bytes: usize) -> Found {
        let payload = Payload::new(TEXT, &vec![number as u8; value_bytes]);
        let expires = number.is_multiple_of(2).then_some(WallMs(number));
        Found { payload, lsn: Lsn(number), seq: Seq(number + 1), expires }
    }

    /// Values around the bound between copied and shared.
    fn records(numbers: std::ops::Range<u64>) -> (Records, Vec<(Key, Found)>) {
        let sizes = [0, 3, limits::PAGE_COPY_BYTES_MAX - 1, limits::PAGE_COPY_BYTES_MAX];
        let (mut records, mut wanted) = (Records::default(), Vec::new());
        for number in numbers {
            let found = found(number, sizes[number as usize % sizes.len()]);
            let key = Key::from_bytes(format!("key of more than eight bytes {number}").as_bytes());
            match number % 3 {
                0 => records.push_found(&key.to_vec(), found.clone()),
                _ => {
                    let Found { payload, lsn, seq, expires } = &found;
                    assert!(records.push(&key.to_vec(), payload.as_bytes(), *lsn, *seq, *expires));
                }
            }
            wanted.push((key, found));
        }
        (records, wanted)
    }

    #[test]
    fn gives_back_what_was_pushed_and_appended() {
        let (mut all, mut wanted) = (Records::default(), Vec::new());
        for numbers in [0..13, 13..13, 13..40] {
            let (records, more) = records(numbers);
            all.append(records);
            wanted.extend(more);
        }
        assert_eq!((all.len(), all.large.len()), (40, 10));
        let bytes = wanted.iter().map(|(_, found)| found.payload.as_bytes().len()).sum::<usize>();
        assert_eq!(all.payload_bytes(), bytes);
        assert_eq!(all.last().map(|last| last.key()), Some(wanted[39].0.clone()));
        for (record, (key, found)) in all.iter().zip(&wanted) {
            assert_eq!((record.key(), record.value()), (key.clone(), found.payload.value()));
        }
        assert_eq!(all.into_iter().collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn takes_nothing_that_is_no_payload() {
        let mut records = Records::default();
        for bytes in [vec![], vec![9], vec![9; limits::PAGE_COPY_BYTES_MAX + 1]] {
            assert!(!records.push(b"key", &bytes, Lsn(1), Seq(1), None));
        }
        assert!(records.is_empty());
    }
}
