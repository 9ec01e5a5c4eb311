//! What is resident of the runs tells of a key: one key, or many of a tablet together.
//!
//! Parts are asked newest first, and a key is done with at the first that has it, or may have it. Many keys go
//! part by part: each part gets all keys of its span that are still open, and the memory that the look-ups of all
//! parts will wait for is asked for before the first of them. Nothing is read.
//!
//! Invariant: one key or many, the answers are the same.
//!
//! Must not know: the delta, the cache.

use std::ops::Range;
use std::rc::Rc;

use super::Before;
use super::levels::{KeyBytes, Levels};
use super::part::{Located, Part};
use super::place::Place;
use crate::shard::delta::NEVER;
use crate::shard::key::Key;
use crate::shard::run::Lookup;
use crate::types::{CollectionId, TabletId};

/// What memory tells of a key in the runs.
pub enum Probe {
    /// In no run.
    Absent,
    /// No newer part has it. `live`: it is there, and a record without expiry.
    There { start: Start, live: bool },
    /// Nothing is resident of a part that may have it.
    Unknown,
}

/// Where the read of a key begins.
#[derive(Clone)]
pub struct Start {
    pub part: Rc<Part>,
    pub located: Located,
    /// The number of the part behind, among those that may hold the key.
    pub next: usize,
}

impl Probe {
    /// `number`: of the part, among those that may hold the key.
    fn of(part: &Rc<Part>, number: usize, lookup: Option<Lookup>) -> Probe {
        let (located, live) = match lookup {
            None => return Probe::Unknown,
            Some(Lookup::Absent) => return Probe::Absent,
            Some(Lookup::Here { block, slot, live }) => (Located { block, slot: Some(slot) }, live),
            Some(Lookup::Perhaps { block }) => (Located { block, slot: None }, false),
        };
        Probe::There { start: Start { part: part.clone(), located, next: number + 1 }, live }
    }

    /// Where to begin; without it, with the first part.
    pub fn into_start(self) -> Option<Start> {
        match self {
            Probe::There { start, .. } => Some(start),
            Probe::Absent | Probe::Unknown => None,
        }
    }

    /// What a write of the key would replace; `None` when only a block could tell.
    pub fn before(&self) -> Option<Before> {
        match self {
            Probe::Absent => Some(Before::Absent),
            Probe::There { live: true, .. } => Some(Before::Record { seq: None, expires: NEVER }),
            Probe::There { live: false, .. } | Probe::Unknown => None,
        }
    }

    pub fn is_absent(&self) -> bool {
        matches!(self, Probe::Absent)
    }
}

impl Levels {
    pub fn probe(&self, collection: CollectionId, tablet: TabletId, key: &Key) -> Probe {
        let place = Place { collection, tablet, key: key.clone() };
        let bytes = KeyBytes::of(key);
        let ask = |(number, part): (usize, &Rc<Part>)| {
            Probe::of(part, number, part.lookup(collection, tablet, bytes.as_slice()))
        };
        self.at(&place).enumerate().map(ask).find(|probe| !probe.is_absent()).unwrap_or(Probe::Absent)
    }

    /// As [`Levels::probe`] of each key; they ascend.
    pub fn probe_batch(&self, collection: CollectionId, tablet: TabletId, keys: &[&Key]) -> Vec<Probe> {
        debug_assert!(keys.is_sorted());
        let mut batch = Batch::new(collection, tablet, keys);
        let asks = self.asks(&batch);
        // Most parts get a key or two: their misses are hidden behind those of other parts only.
        for (part, keys) in &asks {
            batch.prefetch(part, keys.clone());
        }
        for (part, keys) in asks {
            batch.ask(part, keys);
        }
        batch.probes
    }

    /// Parts and the keys in their span, newest first.
    fn asks(&self, batch: &Batch) -> Vec<(&Rc<Part>, Range<usize>)> {
        let mut asks = Vec::new();
        for part in self.fresh() {
            asks.push((part, batch.below(&part.span.first)..batch.up_to(&part.span.last)));
        }
        for level in self.deep() {
            let mut from = 0;
            while let Some(place) = batch.places.get(from) {
                let at = level.partition_point(|part| part.span.last < *place);
                let Some(part) = level.get(at) else { break };
                let to = batch.up_to(&part.span.last);
                asks.push((part, from.max(batch.below(&part.span.first))..to));
                from = to;
            }
        }
        asks
    }
}

/// Keys under way.
struct Batch {
    collection: CollectionId,
    tablet: TabletId,
    places: Vec<Place>,
    bytes: Vec<KeyBytes>,
    /// Parts asked so far that may hold the key.
    asked: Vec<usize>,
    /// `Absent` for those that are open.
    probes: Vec<Probe>,
    lookups: Vec<Lookup>,
}

impl Batch {
    fn new(collection: CollectionId, tablet: TabletId, keys: &[&Key]) -> Batch {
        let place = |key: &&Key| Place { collection, tablet, key: (*key).clone() };
        Batch {
            collection,
            tablet,
            places: keys.iter().map(place).collect(),
            bytes: keys.iter().map(|key| KeyBytes::of(key)).collect(),
            asked: vec![0; keys.len()],
            probes: keys.iter().map(|_| Probe::Absent).collect(),
            lookups: Vec::with_capacity(keys.len()),
        }
    }

    /// Keys below a place.
    fn below(&self, place: &Place) -> usize {
        self.places.partition_point(|other| other < place)
    }

    /// Keys up to a place, with it.
    fn up_to(&self, place: &Place) -> usize {
        self.places.partition_point(|other| other <= place)
    }

    fn prefetch(&self, part: &Part, keys: Range<usize>) {
        let bytes: Vec<&[u8]> = self.bytes[keys].iter().map(KeyBytes::as_slice).collect();
        part.prefetch(self.collection, self.tablet, &bytes);
    }

    /// Asks a part for those of these keys that are open; all lie in its span.
    fn ask(&mut self, part: &Rc<Part>, keys: Range<usize>) {
        let open: Vec<usize> = keys.filter(|key| self.probes[*key].is_absent()).collect();
        if open.is_empty() {
            return;
        }
        let bytes: Vec<&[u8]> = open.iter().map(|key| self.bytes[*key].as_slice()).collect();
        self.lookups.clear();
        let resident = part.lookup_batch(self.collection, self.tablet, &bytes, &mut self.lookups);
        for (at, key) in open.into_iter().enumerate() {
            let lookup = resident.then(|| self.lookups[at]);
            self.probes[key] = Probe::of(part, self.asked[key], lookup);
            self.asked[key] += 1;
        }
    }
}
