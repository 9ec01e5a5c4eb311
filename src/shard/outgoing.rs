//! What is written to a range while it is sent away: the newest version of each key, until that was sent too.
//!
//! The sender walks the range in key order. What a page of the walk will read needs no sending of its own, so it
//! is forgotten when the page is read; what is left lies behind the walk, and is sent in between. So this is as large
//! as what is written in the time of a few messages, however long the whole takes, and however large the range is.
//!
//! Must not know: messages, shards, time.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::delta::{Version, memory_of};
use super::key::Key;
use super::message::ShipPart;
use super::transfer::Cargo;
use crate::types::TabletId;

pub struct Outgoing {
    /// Where it goes.
    target: TabletId,
    start: Key,
    end: Option<Key>,
    changed: BTreeMap<Key, Version>,
    memory_bytes: u64,
    /// Its walk has begun, and the move has not ended: only then anything is to be sent.
    notes: bool,
}

impl Outgoing {
    pub fn new(part: &ShipPart) -> Outgoing {
        let (start, end) = (part.start.clone(), part.end.clone());
        Outgoing { target: part.tablet, start, end, changed: BTreeMap::new(), memory_bytes: 0, notes: false }
    }

    pub fn is_to(&self, target: TabletId) -> bool {
        self.target == target
    }

    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// A version that counts from now on, tombstones too.
    pub fn note(&mut self, key: &Key, version: &Version) {
        let covers = self.start <= *key && self.end.as_ref().is_none_or(|end| key < end);
        if !self.notes || !covers {
            return;
        }
        self.memory_bytes += memory_of_version(key, version);
        if let Some(before) = self.changed.insert(key.clone(), version.clone()) {
            self.memory_bytes -= memory_of_version(key, &before);
        }
    }

    /// What is there from this key on is about to be read, or was read, and sent whole.
    pub fn forget(&mut self, from: Bound<&Key>) {
        let forgotten = self.changed.extract_if((from, Bound::Unbounded), |_, _| true);
        self.memory_bytes -= forgotten.map(|(key, version)| memory_of_version(&key, &version)).sum::<u64>();
    }

    /// The next versions behind `after`, up to `last`: so many, of about so many bytes.
    pub fn take(&mut self, after: Bound<&Key>, last: Bound<&Key>, count: usize, bytes: usize) -> Vec<Cargo> {
        let mut taken = Vec::new();
        let mut left = bytes as u64;
        while taken.len() < count && left > 0 {
            let Some(key) = self.changed.range((after, last)).next().map(|(key, _)| key.clone()) else {
                break;
            };
            let version = self.changed.remove(&key).expect("it was just found");
            let memory = memory_of_version(&key, &version);
            (self.memory_bytes, left) = (self.memory_bytes - memory, left.saturating_sub(memory));
            taken.push(Cargo { key, version });
        }
        taken
    }

    pub fn len(&self) -> usize {
        self.changed.len()
    }

    pub fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }

    /// Frees up to `count` of what nobody sends any more; false when nothing is left.
    pub fn shed(&mut self, count: usize) -> bool {
        for _ in 0..count {
            let Some((key, version)) = self.changed.pop_first() else { return false };
            self.memory_bytes -= memory_of_version(&key, &version);
        }
        true
    }

    /// The walk begins.
    pub fn begin(&mut self) {
        self.notes = true;
    }

    /// Notes nothing any more; what is there is still to be freed.
    pub fn end(&mut self) {
        self.notes = false;
    }
}

fn memory_of_version(key: &Key, version: &Version) -> u64 {
    memory_of(key, version.payload.as_ref().map_or(0, |payload| payload.as_bytes().len()))
}

#[cfg(test)]
mod tests {
    use super::super::delta::NEVER;
    use super::super::payload::{Payload, TEXT};
    use super::*;
    use crate::types::{Lsn, Seq, ShardId};

    fn key(number: u64) -> Key {
        Key::from_u64(number)
    }

    fn outgoing() -> Outgoing {
        let (from, tablet, to) = (TabletId(1), TabletId(2), ShardId(1));
        let mut outgoing = Outgoing::new(&ShipPart { from, start: key(10), end: Some(key(20)), tablet, to });
        outgoing.begin();
        outgoing
    }

    fn note(outgoing: &mut Outgoing, number: u64, lsn: u64) {
        let payload = (!lsn.is_multiple_of(5)).then(|| Payload::new(TEXT, &vec![0; lsn as usize]));
        let version = Version { lsn: Lsn(lsn), seq: Seq(lsn), expires: NEVER, payload };
        outgoing.note(&key(number), &version);
    }

    fn take(outgoing: &mut Outgoing, after: Bound<&Key>, last: Bound<&Key>) -> Vec<(u64, u64)> {
        let taken = outgoing.take(after, last, 100, 1 << 20);
        taken.iter().map(|cargo| (cargo.key.as_u64().expect("a number"), cargo.version.lsn.0)).collect()
    }

    #[test]
    fn the_newest_version_of_each_key_of_the_range_is_sent_once() {
        let mut outgoing = outgoing();
        for (lsn, number) in [(1, 9), (2, 10), (3, 19), (4, 20), (5, 10), (6, 12)] {
            note(&mut outgoing, number, lsn);
        }
        assert_eq!(take(&mut outgoing, Bound::Unbounded, Bound::Included(&key(12))), [(10, 5), (12, 6)]);
        note(&mut outgoing, 11, 7);
        assert_eq!(take(&mut outgoing, Bound::Excluded(&key(12)), Bound::Unbounded), [(19, 3)]);
        assert_eq!(take(&mut outgoing, Bound::Unbounded, Bound::Unbounded), [(11, 7)]);
        assert_eq!(outgoing.memory_bytes(), 0);
    }

    #[test]
    fn what_a_page_will_read_is_forgotten() {
        let mut outgoing = outgoing();
        for number in 10..20 {
            note(&mut outgoing, number, number);
        }
        outgoing.forget(Bound::Excluded(&key(12)));
        assert_eq!(take(&mut outgoing, Bound::Unbounded, Bound::Unbounded), [(10, 10), (11, 11), (12, 12)]);
        assert_eq!(outgoing.memory_bytes(), 0);
        outgoing.end();
        note(&mut outgoing, 15, 30);
        assert!(take(&mut outgoing, Bound::Unbounded, Bound::Unbounded).is_empty());
    }

    #[test]
    fn a_message_is_bounded_by_records_and_by_bytes() {
        let mut outgoing = outgoing();
        for number in 10..20 {
            note(&mut outgoing, number, 1001);
        }
        assert_eq!(outgoing.take(Bound::Unbounded, Bound::Unbounded, 3, 1 << 20).len(), 3);
        assert_eq!(outgoing.take(Bound::Unbounded, Bound::Unbounded, 100, 2000).len(), 2);
    }
}
