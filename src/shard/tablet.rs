//! One tablet on its owner: its records, the writes on their way to it, and its versions.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::catalogue;
use super::delta::{Applied, Delta, NEVER, Version};
use super::key::Key;
use super::record::{Condition, Page, Scan};
use crate::limits;
use crate::types::{CollectionId, Epoch, Lsn, Seq, TabletId, WallMs};

/// The version that a key will have when everything logged so far is applied.
#[derive(Clone, Copy, Debug)]
struct Staged {
    lsn: Lsn,
    seq: Seq,
    /// `None` for a delete.
    expires: Option<WallMs>,
}

pub struct Tablet {
    pub id: TabletId,
    pub collection: CollectionId,
    pub epoch: Epoch,
    /// The map gave it to this shard. Before that it is only being gathered, and serves nobody.
    mapped: bool,
    start: Key,
    end: Option<Key>,
    pub delta: Delta,
    /// Invariant: greater than every version given out, also by earlier lives of the tablet.
    pub next_seq: Seq,
    /// Parts of the range are being sent away, tombstones too: none may be purged before it was sent.
    pub moving: bool,
    /// The end of that: writes wait until the new map is there.
    pub frozen: bool,
    /// Writes that come by an older map are not taken. When some of them were sent back as moved, others of
    /// the same client may be on their way by the same map: they must not overtake the first.
    closed_below: Epoch,
    staged: BTreeMap<Key, Staged>,
    expiries: BTreeSet<(WallMs, Key)>,
}

impl Tablet {
    /// A tablet that covers everything until the map says what it covers.
    pub fn new(id: TabletId, collection: CollectionId) -> Tablet {
        Tablet {
            id,
            collection,
            epoch: Epoch::ZERO,
            mapped: false,
            start: Key::from_bytes(&[]),
            end: None,
            delta: Delta::default(),
            next_seq: Seq(1),
            moving: false,
            frozen: false,
            closed_below: Epoch::ZERO,
            staged: BTreeMap::new(),
            expiries: BTreeSet::new(),
        }
    }

    /// The map of this epoch gives this shard the tablet with this range.
    pub fn take_over(&mut self, entry: &catalogue::Tablet, end: Option<&Key>, map: Epoch) {
        if self.frozen || !self.mapped || self.start != entry.start || self.end.as_ref() != end {
            self.closed_below = map;
        }
        self.epoch = entry.epoch;
        self.mapped = true;
        self.next_seq = self.next_seq.max(entry.first_seq);
        self.start = entry.start.clone();
        self.end = end.cloned();
        self.moving = false;
        self.frozen = false;
    }

    pub fn covers(&self, key: &Key) -> bool {
        self.start <= *key && self.end.as_ref().is_none_or(|end| key < end)
    }

    /// Whether writes that come by the map of this epoch are taken at all.
    pub fn takes_by(&self, map: Epoch) -> bool {
        !self.frozen && map >= self.closed_below
    }

    /// Whether reads of this key are answered here.
    pub fn serves(&self, key: &Key) -> bool {
        self.mapped && self.covers(key)
    }

    /// True when the whole range asked for is read here: a caller with an old map gets no left-overs
    /// of a moved range.
    pub fn serves_range(&self, scan: &Scan) -> bool {
        let starts = match &scan.start {
            Bound::Included(start) | Bound::Excluded(start) => self.start <= *start,
            Bound::Unbounded => self.start.is_empty(),
        };
        let ends = match (&scan.end, &self.end) {
            (_, None) => true,
            (Bound::Included(end), Some(limit)) => end < limit,
            (Bound::Excluded(end), Some(limit)) => end <= limit,
            (Bound::Unbounded, Some(_)) => false,
        };
        self.mapped && starts && ends
    }

    /// At most `scan.limit` visible records, and at most [`limits::SCAN_VISITS_MAX`] entries looked at.
    pub fn scan(&self, scan: &Scan, now: WallMs) -> Page {
        let range = self.delta.range(scan.start.as_ref(), scan.end.as_ref());
        match scan.reverse {
            false => collect_page(range, scan.limit, now),
            true => collect_page(range.rev(), scan.limit, now),
        }
    }

    /// Frees entries that moved away with their range; true when there were any.
    pub fn shed_outside(&mut self, count: usize) -> bool {
        let below = self.delta.range(Bound::Unbounded, Bound::Excluded(&self.start));
        let mut outside: Vec<Key> = below.take(count).map(|(key, _)| key.clone()).collect();
        if let Some(end) = &self.end {
            let above = self.delta.range(Bound::Included(end), Bound::Unbounded);
            outside.extend(above.take(count).map(|(key, _)| key.clone()));
        }
        outside.iter().for_each(|key| self.delta.remove(key));
        !outside.is_empty()
    }

    /// Removes tombstones with LSNs up to `covered` among the next `count` entries behind `after`.
    /// Gives the last key looked at, `None` at the end.
    pub fn purge(&mut self, after: Option<&Key>, covered: Lsn, count: usize) -> Option<Key> {
        if self.moving {
            return None;
        }
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let stretch: Vec<(Key, bool)> = self
            .delta
            .range(start, Bound::Unbounded)
            .take(count)
            .map(|(key, version)| (key.clone(), version.payload.is_none() && version.lsn <= covered))
            .collect();
        for (key, _) in stretch.iter().filter(|(_, purge)| *purge) {
            self.delta.remove(key);
        }
        stretch.into_iter().next_back().map(|(key, _)| key)
    }

    /// The version that a write accepted now would replace: writes in flight count.
    pub fn present(&self, key: &Key, now: WallMs) -> Option<Seq> {
        if let Some(staged) = self.staged.get(key) {
            return staged.expires.filter(|expires| *expires > now).map(|_| staged.seq);
        }
        self.delta.get(key).filter(|version| version.is_visible(now)).map(|version| version.seq)
    }

    /// Whether a write of this key is in flight.
    pub fn is_staged(&self, key: &Key) -> bool {
        self.staged.contains_key(key)
    }

    /// Marks a write as logged; from here on conditions see it.
    pub fn stage(&mut self, key: &Key, lsn: Lsn, expires: Option<WallMs>) -> Seq {
        let seq = self.next_seq;
        self.next_seq = seq.next();
        self.staged.insert(key.clone(), Staged { lsn, seq, expires });
        seq
    }

    /// Makes a staged write visible.
    pub fn apply(&mut self, key: Key, version: Version) {
        if self.staged.get(&key).is_some_and(|staged| staged.lsn == version.lsn) {
            self.staged.remove(&key);
        }
        self.restore(key, version);
    }

    /// A version from a run, from the log, or from another shard.
    pub fn restore(&mut self, key: Key, version: Version) {
        assert!(version.lsn > Lsn::ZERO, "a version without a place in the log");
        self.next_seq = self.next_seq.max(version.seq.next());
        let expires = version.expires;
        // Only records with an expiry pay for the copy of their key.
        let due = (version.payload.is_some() && expires != NEVER).then(|| key.clone());
        match self.delta.apply(key.clone(), version) {
            Applied::Stale => return,
            Applied::Replaced(before) if before != NEVER => {
                self.expiries.remove(&(before, key));
            }
            Applied::Replaced(_) | Applied::Inserted => {}
        }
        if let Some(key) = due {
            self.expiries.insert((expires, key));
        }
    }

    /// Writes that never became durable are forgotten (the log failed).
    pub fn forget_staged(&mut self) {
        self.staged.clear();
    }

    pub fn has_staged(&self) -> bool {
        !self.staged.is_empty()
    }

    /// Turns at most `count` due records into tombstones; gives how many.
    pub fn expire(&mut self, now: WallMs, count: usize) -> usize {
        let mut expired = 0;
        for _ in 0..count {
            if self.expiries.first().is_none_or(|(expires, _)| *expires > now) {
                break;
            }
            if let Some((_, key)) = self.expiries.pop_first() {
                expired += usize::from(self.delta.expire(&key, now));
            }
        }
        expired
    }
}

fn collect_page<'a>(
    entries: impl Iterator<Item = (&'a Key, &'a Version)>,
    limit: usize,
    now: WallMs,
) -> Page {
    let mut page = Page::default();
    let mut bytes = 0;
    for (visited, (key, version)) in entries.enumerate() {
        let full = page.records.len() >= limit || bytes >= limits::SCAN_PAGE_BYTES_MAX;
        if full || visited >= limits::SCAN_VISITS_MAX {
            page.more = true;
            break;
        }
        page.resume_after = Some(key.clone());
        if let Some(found) = version.found(now) {
            bytes += key.len() + found.payload.as_bytes().len();
            page.records.push((key.clone(), found));
        }
    }
    page
}

/// Whether `condition` holds of the present version.
pub fn holds(condition: Condition, present: Option<Seq>) -> bool {
    match condition {
        Condition::None => true,
        Condition::Absent => present.is_none(),
        Condition::Present => present.is_some(),
        Condition::SeqIs(seq) => present == Some(seq),
    }
}

#[cfg(test)]
mod tests {
    use super::super::payload::{Payload, TEXT};
    use super::*;

    fn tablet() -> Tablet {
        Tablet::new(TabletId(1), CollectionId(1))
    }

    fn put(seq: Seq, lsn: u64, expires: WallMs) -> Version {
        Version { lsn: Lsn(lsn), seq, expires, payload: Some(Payload::new(TEXT, b"v")) }
    }

    #[test]
    fn conditions_see_writes_in_flight() {
        let (mut tablet, key) = (tablet(), Key::from_u64(1));
        assert_eq!(tablet.present(&key, WallMs(0)), None);
        let first = tablet.stage(&key, Lsn(1), Some(NEVER));
        assert_eq!(tablet.present(&key, WallMs(0)), Some(first));
        let second = tablet.stage(&key, Lsn(2), None);
        assert_eq!(tablet.present(&key, WallMs(0)), None);
        tablet.apply(key.clone(), put(first, 1, NEVER));
        assert_eq!(tablet.present(&key, WallMs(0)), None, "the delete is still in flight");
        tablet.apply(key.clone(), Version { lsn: Lsn(2), seq: second, expires: NEVER, payload: None });
        assert!(!tablet.has_staged());
        assert_eq!(tablet.present(&key, WallMs(0)), None);
    }

    /// A write was sent back as moved while the tablet was frozen; the move failed, and another write of
    /// the same client, sent by the same map, comes after the tablet has thawed.
    #[test]
    fn what_was_frozen_takes_nothing_more_by_the_map_of_that_time() {
        let mut tablet = tablet();
        let entry = catalogue::Tablet {
            id: TabletId(1),
            start: Key::from_bytes(&[]),
            owner: crate::types::ShardId(0),
            epoch: Epoch(1),
            first_seq: Seq(1),
        };
        tablet.take_over(&entry, None, Epoch(1));
        tablet.take_over(&entry, None, Epoch(2));
        assert!(tablet.takes_by(Epoch(1)), "a map that changes nothing here");
        tablet.frozen = true;
        assert!(!tablet.takes_by(Epoch(2)));
        tablet.take_over(&entry, None, Epoch(3));
        assert!(!tablet.takes_by(Epoch(2)) && tablet.takes_by(Epoch(3)));
        tablet.take_over(&entry, Some(&Key::from_u64(9)), Epoch(4));
        assert!(!tablet.takes_by(Epoch(3)) && tablet.takes_by(Epoch(4)), "another range");
    }

    #[test]
    fn an_overwritten_expiry_takes_nothing_away() {
        let (mut tablet, key) = (tablet(), Key::from_u64(1));
        tablet.restore(key.clone(), put(Seq(1), 1, WallMs(10)));
        tablet.restore(key.clone(), put(Seq(2), 2, NEVER));
        assert_eq!(tablet.expire(WallMs(100), 10), 0);
        assert_eq!(tablet.present(&key, WallMs(100)), Some(Seq(2)));
        assert_eq!(tablet.next_seq, Seq(3));
    }
}
