//! The tablets of one shard: those on the map, those still arriving, and what is left of those gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::catalogue::Catalogue;
use super::delta::Version;
use super::document::schema::Schema;
use super::key::Key;
use super::search::index::DocumentIndex;
use super::search::options::IndexOptions;
use super::state::TabletState;
use super::tablet::Tablet;
use crate::limits;
use crate::types::{CollectionId, Lsn, Seq, ShardId, TabletId, WallMs};

pub struct Tablets {
    shard: ShardId,
    owned: BTreeMap<TabletId, Tablet>,
    /// Freed bit by bit: a large map takes longer than a turn.
    dropped: Vec<Tablet>,
    /// Sum over all of them.
    memory_bytes: u64,
    /// Of indexes over documents, without what all cores share.
    index_bytes: u64,
    /// This shard's share of what all cores share.
    shared_index_bytes: u64,
    /// Of collections of documents, as the map has them.
    schemas: BTreeMap<CollectionId, Arc<Schema>>,
    index_options: IndexOptions,
    has_map: bool,
    documents_changed: bool,
}

impl Tablets {
    pub fn new(shard: ShardId, index_options: IndexOptions) -> Tablets {
        Tablets {
            shard,
            owned: BTreeMap::new(),
            dropped: Vec::new(),
            memory_bytes: 0,
            index_bytes: 0,
            shared_index_bytes: 0,
            schemas: BTreeMap::new(),
            index_options,
            has_map: false,
            documents_changed: false,
        }
    }

    pub fn get(&self, id: TabletId) -> Option<&Tablet> {
        self.owned.get(&id)
    }

    pub fn get_mut(&mut self, id: TabletId) -> Option<&mut Tablet> {
        self.owned.get_mut(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Tablet> {
        self.owned.values()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Tablet> {
        self.owned.values_mut()
    }

    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Of indexes over documents.
    pub fn index_bytes(&self) -> u64 {
        self.index_bytes + self.shared_index_bytes
    }

    pub fn set_shared_index_bytes(&mut self, bytes: u64) {
        self.shared_index_bytes = bytes;
    }

    /// Bytes of runs that a seal of all of them would make, about; no less.
    pub fn run_bytes(&self) -> u64 {
        let weights = self.owned.values().map(|tablet| tablet.delta.weight());
        weights.map(|weight| weight.live_bytes + weight.live_records * limits::RUN_ENTRY_OVERHEAD_BYTES).sum()
    }

    /// What was written to ranges that are being sent away, and is still to be sent.
    pub fn outgoing_bytes(&self) -> u64 {
        self.owned.values().map(Tablet::outgoing_bytes).sum()
    }

    pub fn have_documents(&self) -> bool {
        !self.schemas.is_empty()
    }

    /// Whether a document was written since the last call.
    pub fn take_documents_changed(&mut self) -> bool {
        std::mem::take(&mut self.documents_changed)
    }

    /// Changes a tablet that is there, and what is known of its memory.
    pub fn change<T>(&mut self, id: TabletId, change: impl FnOnce(&mut Tablet) -> T) -> Option<T> {
        let tablet = self.owned.get_mut(&id)?;
        let (before, index_before) = (tablet.memory_bytes(), tablet.index_bytes());
        let changed = change(tablet);
        self.memory_bytes = self.memory_bytes + tablet.memory_bytes() - before;
        self.index_bytes = self.index_bytes + tablet.index_bytes() - index_before;
        Some(changed)
    }

    /// The tablet, begun if it is not there: it was found in a run, in the log or in a move, and the
    /// map decides later whether it stays.
    pub fn entry(&mut self, id: TabletId, collection: CollectionId) -> &mut Tablet {
        let (schemas, options) = (&self.schemas, self.index_options);
        self.owned.entry(id).or_insert_with(|| {
            let mut tablet = Tablet::new(id, collection);
            let schema = schemas.get(&collection).cloned();
            tablet.documents = schema.map(|schema| DocumentIndex::new(id, collection, schema, options));
            tablet
        })
    }

    /// Makes a staged write visible. A tablet dropped meanwhile takes its writes with it.
    pub fn apply(&mut self, id: TabletId, key: Key, version: Version, replaces: bool) {
        let is_indexed = self.change(id, |tablet| {
            tablet.apply(key, version, replaces);
            tablet.documents.is_some()
        });
        self.documents_changed |= is_indexed == Some(true);
    }

    /// A version from the log, or from a run of the first format.
    pub fn restore(
        &mut self,
        id: TabletId,
        collection: CollectionId,
        key: Key,
        version: Version,
        replaces: bool,
    ) {
        self.entry(id, collection);
        self.change(id, |tablet| tablet.restore(key, version, replaces));
    }

    /// Versions of the tablet go on from `next_seq` or later.
    pub fn raise_seq(&mut self, id: TabletId, collection: CollectionId, next_seq: Seq) {
        let tablet = self.entry(id, collection);
        tablet.next_seq = tablet.next_seq.max(next_seq);
    }

    /// What the manifest keeps of a tablet.
    pub fn resume(&mut self, state: &TabletState) {
        self.raise_seq(state.tablet, state.collection, state.next_seq);
        self.entry(state.tablet, state.collection).records = state.records;
    }

    /// Jumps over all versions that may have been given out and lost.
    pub fn jump_seqs(&mut self, by: u64) {
        for tablet in self.owned.values_mut() {
            tablet.next_seq = Seq(tablet.next_seq.0 + by);
        }
    }

    /// Brings the tablets in line with the map: new ones begin, those that are gone are freed later. True
    /// when a part of one went away.
    pub fn install(&mut self, catalogue: &Catalogue) -> bool {
        let mut mapped = BTreeMap::new();
        let schemas = catalogue.collections.values().filter_map(|collection| {
            let schema = collection.definition.documents.as_ref()?;
            let known = self.schemas.get(&collection.id).cloned();
            Some((collection.id, known.unwrap_or_else(|| Arc::new(schema.clone()))))
        });
        self.schemas = schemas.collect();
        for collection in catalogue.collections.values() {
            for (index, tablet) in collection.tablets.iter().enumerate() {
                if tablet.owner == self.shard {
                    mapped.insert(tablet.id, (collection.id, tablet, collection.end_of(index)));
                }
            }
        }
        let gone = self.owned.extract_if(.., |id, _| !mapped.contains_key(id));
        self.dropped.extend(gone.map(|(_, tablet)| tablet).inspect(Tablet::hide_index));
        let mut shrank = false;
        for (id, (collection, entry, end)) in mapped {
            let (has_map, schema) = (self.has_map, self.schemas.get(&collection).cloned());
            let options = self.index_options;
            let tablet = self.entry(id, collection);
            shrank |= tablet.take_over(entry, end, catalogue.epoch);
            // Records that were there before the first map are in no index yet.
            if let Some(schema) = schema.filter(|_| !has_map) {
                tablet.documents = Some(DocumentIndex::to_be_loaded(id, collection, schema, options));
            }
        }
        self.has_map = true;
        self.recount_memory();
        shrank
    }

    /// Frees at most about `count` entries that nobody can reach any more; true when there may be more.
    pub fn shed(&mut self, count: usize) -> bool {
        let mut any = false;
        for tablet in self.owned.values_mut() {
            any |= tablet.shed_outside(count);
        }
        if let Some(tablet) = self.dropped.last_mut() {
            any = true;
            if !tablet.shed(count) {
                self.dropped.pop();
            }
        }
        if any {
            self.recount_memory();
        }
        any
    }

    /// Records whose time is over, at most `count` a tablet.
    pub fn due(&self, now: WallMs, count: usize) -> Vec<(TabletId, Key)> {
        let mut due = Vec::new();
        for tablet in self.owned.values() {
            due.extend(tablet.due(now, count).into_iter().map(|key| (tablet.id, key)));
        }
        due
    }

    /// See [`Tablet::drop_sealed`].
    pub fn drop_sealed(
        &mut self,
        id: TabletId,
        after: Option<&Key>,
        covered: Lsn,
        count: usize,
    ) -> (Vec<(Key, Version)>, Option<Key>) {
        self.change(id, |tablet| tablet.drop_sealed(after, covered, count)).unwrap_or_default()
    }

    fn recount_memory(&mut self) {
        let tablets = self.owned.values().chain(&self.dropped);
        (self.memory_bytes, self.index_bytes) = tablets.fold((0, 0), |(memory, index), tablet| {
            (memory + tablet.memory_bytes(), index + tablet.index_bytes())
        });
    }
}
