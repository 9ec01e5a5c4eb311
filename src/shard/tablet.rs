//! One tablet on its owner: what was written to it lately, the writes on their way to it, and its versions.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::catalogue;
use super::delta::{Applied, Delta, NEVER, Version};
use super::heat::Heat;
use super::key::Key;
use super::outgoing::Outgoing;
use super::record::{Condition, Scan};
use super::search::index::DocumentIndex;
use super::store::Before;
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
    /// Parts of the range that are being sent away.
    pub outgoing: Vec<Outgoing>,
    /// The end of that: writes wait until the new map is there.
    pub frozen: bool,
    /// Writes that come by an older map are not taken. When some of them were sent back as moved, others of
    /// the same client may be on their way by the same map: they must not overtake the first.
    closed_below: Epoch,
    staged: BTreeMap<Key, Staged>,
    /// Of records in the delta.
    expiries: BTreeSet<(WallMs, Key)>,
    /// Records that there are, in the delta and in runs. One whose time is over counts until its deletion
    /// was logged.
    pub records: u64,
    /// Of these, what new owners have of parts that are being sent away; theirs with the new map.
    pub moved_records: u64,
    /// `records` is being found out.
    pub counting: bool,
    pub heat: Heat,
    /// Of a collection of documents.
    pub documents: Option<DocumentIndex>,
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
            outgoing: Vec::new(),
            frozen: false,
            closed_below: Epoch::ZERO,
            staged: BTreeMap::new(),
            expiries: BTreeSet::new(),
            records: 0,
            moved_records: 0,
            counting: false,
            heat: Heat::new(id),
            documents: None,
        }
    }

    /// The map of this epoch gives this shard the tablet with this range. True when a part of it went away.
    pub fn take_over(&mut self, entry: &catalogue::Tablet, end: Option<&Key>, map: Epoch) -> bool {
        self.hide_index();
        let moved = std::mem::take(&mut self.moved_records);
        let shrank = self.mapped && (self.start != entry.start || self.end.as_ref() != end);
        if shrank {
            self.records = self.records.saturating_sub(moved);
            // It tells of keys that are elsewhere now.
            self.heat = Heat::new(self.id);
        }
        if self.frozen || !self.mapped || self.start != entry.start || self.end.as_ref() != end {
            self.closed_below = map;
        }
        self.epoch = entry.epoch;
        self.mapped = true;
        self.next_seq = self.next_seq.max(entry.first_seq);
        self.start = entry.start.clone();
        self.end = end.cloned();
        self.outgoing.clear();
        self.frozen = false;
        shrank
    }

    /// Searches ask here, if only to hear that they should not.
    pub fn hide_index(&self) {
        self.documents.iter().for_each(|index| index.beacon().hide());
    }

    /// The epoch of the range that `records` counts, for the manifest; 0 when it is not counted yet.
    pub fn counted_epoch(&self) -> Epoch {
        if self.counting { Epoch::ZERO } else { self.epoch }
    }

    pub fn memory_bytes(&self) -> u64 {
        self.delta.weight().memory_bytes + self.outgoing_bytes()
    }

    /// Of the index over its documents.
    pub fn index_bytes(&self) -> u64 {
        self.documents.as_ref().map_or(0, DocumentIndex::memory_bytes)
    }

    pub fn is_mapped(&self) -> bool {
        self.mapped
    }

    /// Of a collection of documents: its index has exactly what the map says.
    pub fn index_is_in_force(&self) -> bool {
        let is_whole = |index: &DocumentIndex| self.is_within(index) && !index.is_loading();
        self.mapped && self.documents.as_ref().is_some_and(is_whole)
    }

    /// Nothing is left in the index of what moved away.
    pub fn is_within(&self, index: &DocumentIndex) -> bool {
        index.is_within(&self.start, self.end.as_ref())
    }

    /// Of what was written to ranges that are being sent away, and is still to be sent.
    pub fn outgoing_bytes(&self) -> u64 {
        self.outgoing.iter().map(Outgoing::memory_bytes).sum()
    }

    /// What the map says that it covers.
    pub fn range(&self) -> (Key, Bound<Key>) {
        (self.start.clone(), self.end.clone().map_or(Bound::Unbounded, Bound::Excluded))
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

    /// Frees entries that moved away with their range; true when there were any.
    pub fn shed_outside(&mut self, count: usize) -> bool {
        let below = self.delta.range(Bound::Unbounded, Bound::Excluded(&self.start));
        let mut outside: Vec<Key> = below.take(count).map(|(key, _)| key.clone()).collect();
        if let Some(end) = &self.end {
            let above = self.delta.range(Bound::Included(end), Bound::Unbounded);
            outside.extend(above.take(count).map(|(key, _)| key.clone()));
        }
        for key in &outside {
            if let Some(expires) =
                self.delta.get(key).map(|version| version.expires).filter(|at| *at != NEVER)
            {
                self.expiries.remove(&(expires, key.clone()));
            }
            self.delta.remove(key);
        }
        let index_sheds = self.documents.as_mut().is_some_and(|index| {
            index.shed_outside(&self.start, self.end.as_ref(), count);
            !index.is_within(&self.start, self.end.as_ref())
        });
        !outside.is_empty() || index_sheds
    }

    /// Frees about `count` entries of each map of a tablet that nobody can reach any more, and as much of its index; false
    /// when nothing is left but what is freed at once.
    pub fn shed(&mut self, count: usize) -> bool {
        let mut has_more = self.delta.shed(count);
        has_more |= shed_from(count, || self.expiries.pop_first());
        has_more |= shed_from(count, || self.staged.pop_first());
        if let Some(outgoing) = self.outgoing.last_mut() {
            has_more = true;
            if !outgoing.shed(count) {
                self.outgoing.pop();
            }
        }
        has_more |= self.documents.as_mut().is_some_and(|index| index.shed(count));
        has_more
    }

    /// Takes out of the next `count` entries behind `after` those with LSNs up to `covered`: they are in a
    /// run now. Gives them, and the last key looked at, `None` at the end.
    pub fn drop_sealed(
        &mut self,
        after: Option<&Key>,
        covered: Lsn,
        count: usize,
    ) -> (Vec<(Key, Version)>, Option<Key>) {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut sealed, mut last, mut bytes) = (Vec::new(), None, 0);
        for (key, version) in self.delta.range(start, Bound::Unbounded).take(count) {
            if bytes > limits::DROP_BYTES {
                break;
            }
            last = Some(key.clone());
            bytes += version.payload.as_ref().map_or(0, |payload| payload.as_bytes().len());
            // What a write in flight will replace is counted by what is here.
            if version.lsn <= covered && !self.staged.contains_key(key) {
                sealed.push((key.clone(), version.clone()));
            }
        }
        for (key, version) in &sealed {
            self.delta.remove(key);
            if version.expires != NEVER {
                self.expiries.remove(&(version.expires, key.clone()));
            }
        }
        (sealed, last)
    }

    /// What a write accepted now would replace, writes in flight included; `None` when only the runs can
    /// tell.
    pub fn before(&self, key: &Key) -> Option<Before> {
        if let Some(staged) = self.staged.get(key) {
            return Some(Before::of(staged.seq, staged.expires));
        }
        self.delta.get(key).map(Before::of_version)
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

    /// Makes a staged write visible. `replaces`: there was a record when it was staged.
    pub fn apply(&mut self, key: Key, version: Version, replaces: bool) {
        if self.staged.get(&key).is_some_and(|staged| staged.lsn == version.lsn) {
            self.staged.remove(&key);
        }
        self.outgoing.iter_mut().for_each(|outgoing| outgoing.note(&key, &version));
        if let Some(index) = &mut self.documents {
            index.apply(&key, &version);
        }
        self.restore(key, version, replaces);
    }

    /// A version from the log or from another shard. What it replaces is counted by the delta, and where
    /// the delta has nothing by what the write found out (`replaces`).
    pub fn restore(&mut self, key: Key, version: Version, replaces: bool) {
        assert!(version.lsn > Lsn::ZERO, "a version without a place in the log");
        self.next_seq = self.next_seq.max(version.seq.next());
        let (expires, is_record) = (version.expires, version.payload.is_some());
        // Only records with an expiry pay for the copy of their key.
        let due = (is_record && expires != NEVER).then(|| key.clone());
        let was_record = match self.delta.apply(key.clone(), version) {
            Applied::Stale => return,
            Applied::Replaced(before) => {
                if let Some(expires) = before.filter(|expires| *expires != NEVER) {
                    self.expiries.remove(&(expires, key));
                }
                before.is_some()
            }
            Applied::Inserted => replaces,
        };
        self.records = (self.records + u64::from(is_record)).saturating_sub(u64::from(was_record));
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

    /// At most `count` records whose time is over, for their deletion to be logged. None while writes are not
    /// taken here.
    pub fn due(&self, now: WallMs, count: usize) -> Vec<Key> {
        if self.frozen || !self.mapped {
            return Vec::new();
        }
        let due = self.expiries.iter().take_while(|(expires, _)| *expires <= now).take(count);
        let open = |key: &&Key| !self.staged.contains_key(*key) && self.covers(key);
        due.map(|(_, key)| key).filter(open).cloned().collect()
    }
}

/// Takes out up to `count`; false when nothing is left.
fn shed_from<T>(count: usize, mut take: impl FnMut() -> Option<T>) -> bool {
    (0..count).all(|_| take().is_some())
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
    use super::super::message::ShipPart;
    use super::super::payload::{Payload, TEXT};
    use super::*;

    fn tablet() -> Tablet {
        Tablet::new(TabletId(1), CollectionId(1))
    }

    fn put(seq: Seq, lsn: u64, expires: WallMs) -> Version {
        Version { lsn: Lsn(lsn), seq, expires, payload: Some(Payload::new(TEXT, b"v")) }
    }

    fn seq_of(tablet: &Tablet, key: &Key) -> Option<Seq> {
        match tablet.before(key) {
            Some(Before::Record { seq, .. }) => seq,
            Some(Before::Absent) | None => None,
        }
    }

    #[test]
    fn conditions_see_writes_in_flight() {
        let (mut tablet, key) = (tablet(), Key::from_u64(1));
        assert_eq!(seq_of(&tablet, &key), None);
        let first = tablet.stage(&key, Lsn(1), Some(NEVER));
        assert_eq!(seq_of(&tablet, &key), Some(first));
        let second = tablet.stage(&key, Lsn(2), None);
        assert_eq!(seq_of(&tablet, &key), None);
        tablet.apply(key.clone(), put(first, 1, NEVER), false);
        assert_eq!(seq_of(&tablet, &key), None, "the delete is still in flight");
        tablet.apply(key.clone(), Version { lsn: Lsn(2), seq: second, expires: NEVER, payload: None }, true);
        assert!(!tablet.has_staged());
        assert_eq!(seq_of(&tablet, &key), None);
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

    /// Deletions of what is over looked like keys that grow.
    #[test]
    fn staging_alone_is_no_heat() {
        let mut tablet = tablet();
        for key in 0..100 {
            tablet.stage(&Key::from_u64(key), Lsn(key + 1), None);
        }
        tablet.heat.end_window(1.0);
        assert_eq!(tablet.heat.writes.per_second(), 0.0);
    }

    /// 10^5 expiries were freed in one step, which held the core up.
    #[test]
    fn no_step_of_freeing_a_tablet_is_larger_for_a_larger_one() {
        let mut tablet = tablet();
        let part = ShipPart {
            from: tablet.id,
            start: Key::from_u64(0),
            end: None,
            tablet: TabletId(2),
            to: crate::types::ShardId(1),
        };
        let mut outgoing = Outgoing::new(&part);
        outgoing.begin();
        tablet.outgoing.push(outgoing);
        for key in 0..100 {
            tablet.apply(Key::from_u64(key), put(Seq(key + 1), key + 1, WallMs(key + 1)), false);
            tablet.stage(&Key::from_u64(key), Lsn(key + 200), None);
        }
        let left = |tablet: &Tablet| {
            let outgoing: usize = tablet.outgoing.iter().map(Outgoing::len).sum();
            [tablet.delta.len(), tablet.expiries.len(), tablet.staged.len(), outgoing]
        };
        let mut before = left(&tablet);
        assert_eq!(before, [100; 4]);
        while tablet.shed(7) {
            let after = left(&tablet);
            assert!(
                before.iter().zip(after).all(|(before, after)| before - after <= 7),
                "{before:?} {after:?}"
            );
            before = after;
        }
        assert_eq!(left(&tablet), [0; 4], "and nothing is left for the last step");
    }

    #[test]
    fn an_overwritten_expiry_takes_nothing_away() {
        let (mut tablet, key) = (tablet(), Key::from_u64(1));
        tablet.restore(key.clone(), put(Seq(1), 1, WallMs(10)), false);
        tablet.restore(key.clone(), put(Seq(2), 2, NEVER), false);
        tablet.mapped = true;
        assert_eq!(tablet.due(WallMs(100), 10), []);
        assert_eq!(tablet.records, 1);
        assert_eq!(seq_of(&tablet, &key), Some(Seq(2)));
        assert_eq!(tablet.next_seq, Seq(3));
    }
}
