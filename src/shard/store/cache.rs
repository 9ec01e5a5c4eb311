//! Values that were read from runs, by key: the warm part of what does not fit into memory.
//!
//! Bounded by bytes. Keyed by the record, not by its place in a file, so that a compaction leaves it warm.
//! Eviction is quick_cache's: Clock-PRO with the short queue of S3-FIFO, so that a scan of cold keys does
//! not push out warm ones.
//!
//! Invariant: an entry is the newest version in the runs of its shard; the delta is asked before. So a
//! version that goes from the delta into a run takes the place of the one here ([`ValueCache::refresh`]),
//! and what was read before the runs changed is not taken in ([`super::Store::remember`]).
//! Invariant: no value takes more than its share, so that a few large ones do not push out all others.

use std::hash::{BuildHasherDefault, Hash, Hasher};

use quick_cache::unsync::{Cache, DefaultLifecycle};
use quick_cache::{Equivalent, OptionsBuilder, Weighter};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::limits;
use crate::shard::delta::{ENTRY_OVERHEAD_BYTES, Version, memory_of};
use crate::shard::key::Key;
use crate::types::TabletId;

/// Items that the cache is laid out for are this large.
const ITEM_BYTES_EXPECTED: u64 = 256;
/// No item weighs less.
const ITEM_BYTES_MIN: u64 = ENTRY_OVERHEAD_BYTES as u64;

pub struct ValueCache {
    values: Cache<CacheKey, Version, ByBytes, BuildHasherDefault<Ready>, DefaultLifecycle<CacheKey, Version>>,
    payload_bytes_max: u64,
}

#[derive(Clone, PartialEq, Eq)]
struct CacheKey {
    hash: u64,
    tablet: TabletId,
    key: Key,
}

/// To look for a [`CacheKey`] with.
struct Wanted<'a> {
    hash: u64,
    tablet: TabletId,
    key: &'a Key,
}

impl Wanted<'_> {
    fn new(tablet: TabletId, key: &Key) -> Wanted<'_> {
        let hash = match key.as_u64() {
            Some(number) => xxh3_64_with_seed(&number.to_le_bytes(), tablet.0.into()),
            None => xxh3_64_with_seed(&key.to_vec(), tablet.0.into()),
        };
        Wanted { hash, tablet, key }
    }

    fn to_own(&self) -> CacheKey {
        CacheKey { hash: self.hash, tablet: self.tablet, key: self.key.clone() }
    }
}

impl Hash for CacheKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Hash for Wanted<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Equivalent<CacheKey> for Wanted<'_> {
    fn equivalent(&self, other: &CacheKey) -> bool {
        self.hash == other.hash && self.tablet == other.tablet && *self.key == other.key
    }
}

/// The keys bring their hashes along.
#[derive(Default)]
pub(super) struct Ready(u64);

impl Hasher for Ready {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("keys write one number");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<CacheKey, Version> for ByBytes {
    fn weight(&self, key: &CacheKey, version: &Version) -> u64 {
        memory_of(&key.key, version.payload.as_ref().map_or(0, |payload| payload.as_bytes().len()))
    }
}

impl ValueCache {
    pub fn new(capacity_bytes: u64) -> ValueCache {
        let items = (capacity_bytes / ITEM_BYTES_EXPECTED).max(1);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(items as usize)
            .weight_capacity(capacity_bytes)
            .build()
            .expect("both capacities are given");
        let mut values =
            Cache::with_options(options, ByBytes, BuildHasherDefault::default(), DefaultLifecycle::default());
        // At once, while nobody is served, and for as many as can ever be there: growing a table of a million
        // values would hold the core for a tenth of a second. What is not used is no memory.
        values.reserve((capacity_bytes / ITEM_BYTES_MIN).max(1) as usize);
        ValueCache { values, payload_bytes_max: capacity_bytes / limits::CACHE_BYTES_PER_VALUE_BYTE }
    }

    pub fn get(&self, tablet: TabletId, key: &Key) -> Option<&Version> {
        self.values.get(&Wanted::new(tablet, key))
    }

    pub fn insert(&mut self, tablet: TabletId, key: &Key, version: &Version) {
        if self.takes(version) {
            self.values.insert(Wanted::new(tablet, key).to_own(), version.clone());
        }
    }

    /// A record that is not too large.
    fn takes(&self, version: &Version) -> bool {
        let bytes = version.payload.as_ref().map(|payload| payload.as_bytes().len() as u64);
        bytes.is_some_and(|bytes| bytes <= self.payload_bytes_max)
    }

    /// The version went into a run: it takes the place of the one before, if that is warm.
    pub fn refresh(&mut self, tablet: TabletId, key: &Key, version: &Version) {
        if self.values.is_empty() {
            return;
        }
        let wanted = Wanted::new(tablet, key);
        if self.values.remove(&wanted).is_some() && self.takes(version) {
            self.values.insert(wanted.to_own(), version.clone());
        }
    }

    /// Estimated memory of what is in it.
    pub fn bytes(&self) -> u64 {
        self.values.weight()
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}
