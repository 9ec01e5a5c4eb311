//! What was written to one tablet and is in no run yet, in key order.
//!
//! A deleted record is a tombstone: without it, a run would bring the record back.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

use super::key::Key;
use super::payload::Payload;
use super::record::Found;
use crate::types::{Lsn, Seq, WallMs};

/// `expires` of a record that lives for ever.
pub const NEVER: WallMs = WallMs(u64::MAX);

/// Memory of an entry beyond its key's tail and its payload: node slots at two thirds full, two
/// allocation headers.
pub const ENTRY_OVERHEAD_BYTES: usize = 144;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub lsn: Lsn,
    pub seq: Seq,
    pub expires: WallMs,
    /// `None` is a tombstone.
    pub payload: Option<Payload>,
}

impl Version {
    pub fn is_visible(&self, now: WallMs) -> bool {
        self.payload.is_some() && self.expires > now
    }

    pub fn found(&self, now: WallMs) -> Option<Found> {
        let payload = self.payload.as_ref().filter(|_| self.expires > now)?.clone();
        let expires = (self.expires != NEVER).then_some(self.expires);
        Some(Found { payload, lsn: self.lsn, seq: self.seq, expires })
    }

    fn payload_bytes(&self) -> usize {
        self.payload.as_ref().map_or(0, |payload| payload.as_bytes().len())
    }
}

/// What the entries of a delta weigh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Records that are not tombstones (expired ones count until their deletion is logged).
    pub live_records: u64,
    /// Their keys and payloads.
    pub live_bytes: u64,
    pub tombstones: u64,
    /// Estimated memory of everything.
    pub memory_bytes: u64,
}

/// What [`Delta::apply`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    Inserted,
    /// The record before would have expired at this time; `None`: there was a tombstone.
    Replaced(Option<WallMs>),
    /// A later version was there.
    Stale,
}

#[derive(Default)]
pub struct Delta {
    entries: BTreeMap<Key, Version>,
    weight: Weight,
}

impl Delta {
    pub fn get(&self, key: &Key) -> Option<&Version> {
        self.entries.get(key)
    }

    pub fn weight(&self) -> Weight {
        self.weight
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Puts the version in place unless a later one is there: replay may bring records twice.
    pub fn apply(&mut self, key: Key, version: Version) -> Applied {
        match self.entries.entry(key) {
            Entry::Occupied(present) if present.get().lsn >= version.lsn => Applied::Stale,
            Entry::Occupied(mut present) => {
                self.weight.remove(present.key(), present.get());
                self.weight.add(present.key(), &version);
                let before = present.insert(version);
                Applied::Replaced(before.payload.map(|_| before.expires))
            }
            Entry::Vacant(vacant) => {
                self.weight.add(vacant.key(), &version);
                vacant.insert(version);
                Applied::Inserted
            }
        }
    }

    pub fn remove(&mut self, key: &Key) {
        if let Some(version) = self.entries.remove(key) {
            self.weight.remove(key, &version);
        }
    }

    /// Frees some entries from the front; false when nothing is left.
    pub fn shed(&mut self, count: usize) -> bool {
        for _ in 0..count {
            let Some((key, version)) = self.entries.pop_first() else { return false };
            self.weight.remove(&key, &version);
        }
        !self.entries.is_empty()
    }

    pub fn range(
        &self,
        start: Bound<&Key>,
        end: Bound<&Key>,
    ) -> impl DoubleEndedIterator<Item = (&Key, &Version)> {
        let (start, end) = if is_empty_range(start, end) {
            // `BTreeMap::range` panics on a range that ends before it starts.
            (Bound::Unbounded, Bound::Excluded(&*LOWEST))
        } else {
            (start, end)
        };
        self.entries.range::<Key, _>((start, end))
    }
}

static LOWEST: std::sync::LazyLock<Key> = std::sync::LazyLock::new(|| Key::from_bytes(&[]));

fn is_empty_range(start: Bound<&Key>, end: Bound<&Key>) -> bool {
    use Bound::{Excluded, Included};
    match (start, end) {
        (Included(start), Included(end)) => start > end,
        (Included(start) | Excluded(start), Excluded(end)) | (Excluded(start), Included(end)) => start >= end,
        _ => false,
    }
}

impl Weight {
    fn add(&mut self, key: &Key, version: &Version) {
        let bytes = (key.len() + version.payload_bytes()) as u64;
        match version.payload {
            Some(_) => {
                self.live_records += 1;
                self.live_bytes += bytes;
            }
            None => self.tombstones += 1,
        }
        self.memory_bytes += memory_of(key, version.payload_bytes());
    }

    fn remove(&mut self, key: &Key, version: &Version) {
        let bytes = (key.len() + version.payload_bytes()) as u64;
        match version.payload {
            Some(_) => {
                self.live_records -= 1;
                self.live_bytes -= bytes;
            }
            None => self.tombstones -= 1,
        }
        self.memory_bytes -= memory_of(key, version.payload_bytes());
    }
}

/// Estimated memory of one entry.
pub fn memory_of(key: &Key, payload_bytes: usize) -> u64 {
    (ENTRY_OVERHEAD_BYTES + key.heap_bytes() + payload_bytes) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(lsn: u64, value: Option<&str>, expires: WallMs) -> Version {
        let payload = value.map(|value| Payload::new(super::super::payload::TEXT, value.as_bytes()));
        Version { lsn: Lsn(lsn), seq: Seq(lsn), expires, payload }
    }

    #[test]
    fn a_replayed_older_version_hides_nothing() {
        let mut delta = Delta::default();
        let key = Key::from_u64(1);
        delta.apply(key.clone(), version(5, Some("new"), NEVER));
        delta.apply(key.clone(), version(3, Some("old"), NEVER));
        assert_eq!(delta.get(&key).map(|found| found.lsn), Some(Lsn(5)));
    }

    #[test]
    fn weight_returns_to_zero() {
        let mut delta = Delta::default();
        for key in 0..100u64 {
            delta.apply(Key::from_u64(key), version(key + 1, Some("value"), NEVER));
            delta.apply(Key::from_u64(key), version(key + 200, (key % 2 == 0).then_some("v"), NEVER));
        }
        assert_eq!((delta.weight().live_records, delta.weight().tombstones), (50, 50));
        while delta.shed(7) {}
        assert_eq!(delta.weight(), Weight::default());
    }

    #[test]
    fn an_inverted_range_is_empty() {
        let mut delta = Delta::default();
        delta.apply(Key::from_u64(5), version(1, Some("x"), NEVER));
        let (low, high) = (Key::from_u64(1), Key::from_u64(9));
        assert_eq!(delta.range(Bound::Included(&high), Bound::Included(&low)).count(), 0);
        assert_eq!(delta.range(Bound::Excluded(&low), Bound::Excluded(&low)).count(), 0);
        assert_eq!(delta.range(Bound::Included(&low), Bound::Unbounded).count(), 1);
    }
}
