//! What a shard holds beyond its memory: runs on disk, in levels, read in place.
//!
//! A write goes into the log and the delta. A **seal** ([`super::checkpoint`]) makes a sorted file of the
//! delta; that file is a **part** of level 0. **Compaction** merges parts into deeper levels, each about
//! eight times as large as the one above, until the deepest holds nearly everything once.
//!
//! | file | what |
//! |---|---|
//! | [`place`] | order of records in a shard |
//! | [`part`], [`levels`], [`shelf`] | an open file; all of them, newest first; what they add up to |
//! | [`probe`] | which part has a key, by what is resident; many keys together |
//! | [`read`], [`scan`] | a point read, a range, where memory does not have the answer |
//! | [`cache`], [`block_cache`] | values that were read; blocks that short ranges read |
//! | [`cursor`], [`merge`] | entries of a part, of several parts, in order |
//! | [`parts_out`], [`expiry`] | entries to parts; records whose time is over |
//! | [`shares`], [`policy`], [`compaction`] | how large levels are, which parts to merge, and the merge |
//! | [`warm`], [`reindex`] | loading ahead of requests; indexes built anew |
//! | [`stored`], [`value_file`], [`values_out`], [`value_policy`] | large values, which lie apart from runs |
//!
//! Invariant: of two versions of a key the newer is in the delta, or in a newer part of level 0, or in a
//! less deep level. So the first one found is the right one.
//! Invariant: [`Levels`] never change. What reads holds on to the levels of its beginning, and a file goes
//! only when nobody holds on to it.
//! Invariant: what lives of a value file ([`value_file::ValueFile::live`]) is what the levels that count refer to.
//!
//! Must not know: the log, tablets, sockets.

pub mod block_cache;
pub mod cache;
pub mod compaction;
pub mod cursor;
pub mod error;
pub mod expiry;
pub mod levels;
pub mod merge;
pub mod part;
pub mod parts_out;
pub mod place;
pub mod policy;
pub mod probe;
pub mod read;
pub mod reindex;
pub mod scan;
pub mod shares;
pub mod shelf;
pub mod stored;
pub mod value_file;
pub mod value_policy;
pub mod values_out;
pub mod warm;

use std::rc::Rc;

pub use levels::{LAST, Levels};
pub use part::Part;
pub use place::{Place, Span};
pub use probe::{Probe, Start};
pub use read::ColdRead;
pub use scan::DeltaPage;
pub use shelf::Shelf;
pub use stored::Stored;

use super::delta::Version;
use super::key::Key;
use crate::types::{CollectionId, RunId, Seq, TabletId, WallMs};
use cache::ValueCache;

/// What is known of the record that a write would replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// None, or a tombstone.
    Absent,
    /// `seq` is `None` when only a block of a run could tell it.
    Record { seq: Option<Seq>, expires: WallMs },
}

impl Before {
    /// `expires` is `None` for a tombstone.
    pub fn of(seq: Seq, expires: Option<WallMs>) -> Before {
        expires.map_or(Before::Absent, |expires| Before::Record { seq: Some(seq), expires })
    }

    pub fn of_version(version: &Version) -> Before {
        Before::of(version.seq, version.payload.as_ref().map(|_| version.expires))
    }

    /// A record is there, its time over or not.
    pub fn is_record(self) -> bool {
        matches!(self, Before::Record { .. })
    }

    pub fn tells_seq(self) -> bool {
        !matches!(self, Before::Record { seq: None, .. })
    }

    /// The version that readers see; 0 when only a block could tell it.
    pub fn visible(self, now: WallMs) -> Option<Seq> {
        match self {
            Before::Record { seq, expires } if expires > now => Some(seq.unwrap_or(Seq::ZERO)),
            Before::Record { .. } | Before::Absent => None,
        }
    }
}

/// The runs of a shard and the warm values of them.
pub struct Store {
    shelf: Rc<Shelf>,
    levels: Rc<Levels>,
    cache: ValueCache,
    /// Of values and of blocks.
    cache_capacity: u64,
    pub hits: u64,
    pub misses: u64,
}

impl Store {
    /// With at most so many bytes of values kept warm; the shelf has at most `block_bytes` of blocks.
    pub fn new(shelf: Rc<Shelf>, levels: Levels, value_bytes: u64, block_bytes: u64) -> Store {
        let cache = ValueCache::new(value_bytes);
        let cache_capacity = value_bytes + block_bytes;
        levels.iter().for_each(|part| part.count_values());
        Store { shelf, levels: Rc::new(levels), cache, cache_capacity, hits: 0, misses: 0 }
    }

    pub fn levels(&self) -> &Rc<Levels> {
        &self.levels
    }

    pub fn shelf(&self) -> &Rc<Shelf> {
        &self.shelf
    }

    /// Takes parts away and puts others in place; gives those that were taken away.
    pub fn replace(&mut self, out: &[RunId], into: &[Rc<Part>]) -> Vec<Rc<Part>> {
        let next = Rc::new(self.levels.with(out, into));
        let before = std::mem::replace(&mut self.levels, next);
        let gone: Vec<Rc<Part>> = before.iter().filter(|part| out.contains(&part.meta.id)).cloned().collect();
        into.iter().for_each(|part| part.count_values());
        gone.iter().for_each(|part| part.discount_values());
        gone
    }

    /// Memory of keys, models and filters.
    pub fn resident_bytes(&self) -> u64 {
        self.shelf.resident_bytes.get()
    }

    pub fn cache_bytes(&self) -> u64 {
        self.cache.bytes() + self.shelf.blocks.borrow().bytes()
    }

    pub fn cache_capacity(&self) -> u64 {
        self.cache_capacity
    }

    /// The warm value of a key, when there is one. Whoever takes it counts it as a hit.
    pub fn warm_value(&self, tablet: TabletId, key: &Key) -> Option<&Version> {
        self.cache.get(tablet, key)
    }

    /// Of a key that is not warm: a read when a block has to be read, `None` when no run has it.
    pub fn look(&mut self, collection: CollectionId, tablet: TabletId, key: &Key) -> Option<ColdRead> {
        let probe = self.levels.probe(collection, tablet, key);
        self.read_of(probe, collection, tablet, key)
    }

    /// As `look`, of many keys of a tablet, which ascend.
    pub fn look_batch(
        &mut self,
        collection: CollectionId,
        tablet: TabletId,
        keys: &[&Key],
    ) -> Vec<Option<ColdRead>> {
        let probes = self.levels.probe_batch(collection, tablet, keys);
        let read_of = |(probe, key): (Probe, &&Key)| self.read_of(probe, collection, tablet, key);
        probes.into_iter().zip(keys).map(read_of).collect()
    }

    fn read_of(
        &mut self,
        probe: Probe,
        collection: CollectionId,
        tablet: TabletId,
        key: &Key,
    ) -> Option<ColdRead> {
        if probe.is_absent() {
            return None;
        }
        self.misses += 1;
        let place = Place { collection, tablet, key: key.clone() };
        Some(ColdRead::new(self.levels.clone(), place, probe.into_start()))
    }

    /// What a write of this key would replace, as far as memory tells.
    pub fn before(&self, collection: CollectionId, tablet: TabletId, key: &Key) -> Option<Before> {
        if self.levels.is_empty() {
            return Some(Before::Absent);
        }
        let warm = self.cache.get(tablet, key).map(Before::of_version);
        warm.or_else(|| self.levels.probe(collection, tablet, key).before())
    }

    /// As `before`, of many keys of a tablet, which ascend.
    pub fn before_batch(
        &self,
        collection: CollectionId,
        tablet: TabletId,
        keys: &[&Key],
    ) -> Vec<Option<Before>> {
        let probes = self.levels.probe_batch(collection, tablet, keys);
        let warm = |key| self.cache.get(tablet, key).map(Before::of_version);
        probes.iter().zip(keys).map(|(probe, key)| warm(key).or_else(|| probe.before())).collect()
    }

    pub fn cold_read(&self, collection: CollectionId, tablet: TabletId, key: &Key) -> ColdRead {
        ColdRead::new(self.levels.clone(), Place { collection, tablet, key: key.clone() }, None)
    }

    /// Whether the newest version in the runs has this `seq`, as `part` has it there, for certain.
    pub fn newest_is(&self, part: &Rc<Part>, place: &Place, seq: Seq) -> bool {
        match self.cache.get(place.tablet, &place.key) {
            Some(version) => version.seq == seq,
            None => self.levels.is_newest(part, place),
        }
    }

    /// Keeps what a cold read found, unless the runs have changed since it began.
    pub fn remember(&mut self, read: &ColdRead, version: &Version) {
        if Rc::ptr_eq(read.levels(), &self.levels) {
            self.cache.insert(read.place().tablet, &read.place().key, version);
        }
    }

    /// Takes in what is known to be the newest version in the runs; false when it was there.
    pub fn warm(&mut self, place: &Place, version: &Version) -> bool {
        let is_new = self.cache.get(place.tablet, &place.key).is_none();
        if is_new {
            self.cache.insert(place.tablet, &place.key, version);
        }
        is_new
    }

    /// A version went from the delta into a run.
    pub fn refresh(&mut self, tablet: TabletId, key: &Key, version: &Version) {
        self.cache.refresh(tablet, key, version);
    }
}
