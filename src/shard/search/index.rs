//! Where each document of a tablet is: in a part of the tablet's own, or in one that all cores share.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use super::beacon::Beacon;
use super::forward::{Forwards, Moved};
use super::library::Stored;
use super::options::IndexOptions;
use super::part::Part;
use super::places::Places;
use super::sealed::{PartId, Sealed};
use crate::limits;
use crate::shard::delta::Version;
use crate::shard::document::encoding::{Document, Parts};
use crate::shard::document::schema::Schema;
use crate::shard::key::Key;
use crate::types::{CollectionId, TabletId};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub part: PartId,
    pub ordinal: u32,
}

/// A shared part that has documents of the tablet.
struct Lent {
    part: Arc<Sealed>,
    /// All cores know it.
    is_public: bool,
}

pub struct DocumentIndex {
    tablet: TabletId,
    collection: CollectionId,
    schema: Arc<Schema>,
    options: IndexOptions,
    places: Places,
    parts: BTreeMap<PartId, Rc<RefCell<Part>>>,
    sealed: BTreeMap<PartId, Lent>,
    /// Takes documents with embeddings.
    head: Option<PartId>,
    /// Takes those without.
    plain: Option<PartId>,
    next_part: u32,
    forwards: Forwards,
    /// What was deleted since the records began to be read; `None` when all were.
    loading: Option<BTreeSet<Key>>,
    memory_bytes: u64,
    beacon: Arc<Beacon>,
    /// All cores know the beacon.
    is_seen: bool,
}

impl DocumentIndex {
    /// Of a tablet that has no record yet.
    pub fn new(
        tablet: TabletId,
        collection: CollectionId,
        schema: Arc<Schema>,
        options: IndexOptions,
    ) -> DocumentIndex {
        DocumentIndex {
            tablet,
            collection,
            schema,
            options,
            places: Places::default(),
            parts: BTreeMap::new(),
            sealed: BTreeMap::new(),
            head: None,
            plain: None,
            next_part: 0,
            forwards: Forwards::default(),
            loading: None,
            memory_bytes: 0,
            beacon: Arc::default(),
            is_seen: false,
        }
    }

    /// Of one whose records are still to be read.
    pub fn to_be_loaded(
        tablet: TabletId,
        collection: CollectionId,
        schema: Arc<Schema>,
        options: IndexOptions,
    ) -> DocumentIndex {
        let index = DocumentIndex::new(tablet, collection, schema, options);
        DocumentIndex { loading: Some(BTreeSet::new()), ..index }
    }

    pub fn is_loading(&self) -> bool {
        self.loading.is_some()
    }

    pub fn loaded(&mut self) {
        self.loading = None;
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Without what is public: all cores share that.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Parts are weighed every now and then, what comes in is estimated in between.
    pub fn weigh(&mut self) {
        let parts: u64 = self.parts.values().map(|part| part.borrow().memory_bytes()).sum();
        let sealed = self.sealed.values().filter(|lent| !lent.is_public);
        let sealed: u64 = sealed.map(|lent| lent.part.memory_bytes()).sum();
        self.memory_bytes = parts + sealed + self.places.len() as u64 * limits::DOCUMENT_PLACE_BYTES;
    }

    /// A version that is visible from now on.
    pub fn apply(&mut self, key: &Key, version: &Version) {
        if version.payload.is_some() {
            // Before the version that was there goes: another core that sees it gone sees this as well, and asks.
            self.beacon.put_out();
        }
        self.remove(key);
        match &version.payload {
            Some(payload) => {
                // What is no document was refused at the door, or its damage is told by whoever reads it.
                if let Ok(document) = Parts::of(payload.value()).and_then(Parts::document) {
                    self.insert(key, version, &document);
                }
            }
            None => {
                if let Some(deleted) = &mut self.loading {
                    deleted.insert(key.clone());
                }
            }
        }
    }

    /// A version that was read from where it lies: nothing that was written since counts less. Where a part that was
    /// `stored` has it already, it is found there.
    pub fn load(&mut self, key: &Key, version: &Version, document: &Document<'_>, stored: &[Rc<Stored>]) {
        let is_newer = self.places.contains(key);
        if is_newer || self.loading.as_ref().is_none_or(|deleted| deleted.contains(key)) {
            return;
        }
        let place = stored.iter().find_map(|stored| {
            let ordinal = stored.ordinal_of(key, version.seq)?;
            stored.part.claim(ordinal, self.tablet);
            self.lend(&stored.part, true);
            Some(Place { part: stored.part.id, ordinal })
        });
        match place {
            Some(place) => {
                self.places.insert(key.clone(), place);
                self.memory_bytes += limits::DOCUMENT_PLACE_BYTES;
            }
            None => self.insert(key, version, document),
        }
    }

    fn insert(&mut self, key: &Key, version: &Version, document: &Document<'_>) {
        self.beacon.put_out();
        let id = match document.embedding {
            Some(_) => self.open_head(),
            None => self.open_plain(),
        };
        let ordinal = self.parts[&id].borrow_mut().push(key, version, document);
        self.places.insert(key.clone(), Place { part: id, ordinal });
        let embedding =
            document.embedding.map_or(0, |embedding| embedding.bytes.len() + embedding.dimension());
        self.memory_bytes +=
            limits::DOCUMENT_PLACE_BYTES + (document.metadata.text().len() + embedding) as u64;
    }

    fn open_head(&mut self) -> PartId {
        let full = |id: &PartId| self.parts[id].borrow().is_full();
        if let Some(head) = self.head.filter(|head| !full(head)) {
            return head;
        }
        let capacity = self.len().clamp(self.options.head_documents_min, limits::HEAD_DOCUMENTS_MAX);
        let head = self.add(Part::head(&self.schema, capacity));
        self.head = Some(head);
        head
    }

    fn open_plain(&mut self) -> PartId {
        if let Some(plain) = self.plain {
            return plain;
        }
        let plain = self.add(Part::plain(&self.schema));
        self.plain = Some(plain);
        plain
    }

    fn add(&mut self, part: Part) -> PartId {
        let id = PartId::OfTablet { tablet: self.tablet, number: self.next_part };
        self.next_part += 1;
        self.parts.insert(id, Rc::new(RefCell::new(part)));
        id
    }

    fn remove(&mut self, key: &Key) {
        let Some(mut place) = self.places.remove(key) else { return };
        loop {
            // Where a part is being replaced, both are searched for a while.
            if let Some(part) = self.parts.get(&place.part) {
                part.borrow_mut().delete(place.ordinal);
            } else if let Some(lent) = self.sealed.get(&place.part) {
                lent.part.delete(place.ordinal);
            }
            match self.forwards.next(place) {
                Some(next) => place = next,
                None => return,
            }
        }
    }

    // ---- a range that became smaller

    /// Nothing is left of what lies outside.
    pub fn is_within(&self, start: &Key, end: Option<&Key>) -> bool {
        let first = self.places.first().is_none_or(|key| start <= key);
        first && end.is_none_or(|end| self.places.last().is_none_or(|key| key < end))
    }

    /// Takes out up to `count` documents from either side that lie outside.
    pub fn shed_outside(&mut self, start: &Key, end: Option<&Key>, count: usize) {
        let mut outside = self.places.below(start, count);
        if let Some(end) = end {
            outside.extend(self.places.from(end, count));
        }
        outside.iter().for_each(|key| self.remove(key));
    }

    /// Frees about `count` documents of an index that nobody asks any more; false when nothing is left.
    pub fn shed(&mut self, count: usize) -> bool {
        self.places.shed(count);
        self.parts.pop_first();
        self.sealed.clear();
        !self.places.is_empty() || !self.parts.is_empty()
    }

    // ---- whether its owner has to be asked

    pub fn beacon(&self) -> &Arc<Beacon> {
        &self.beacon
    }

    /// True until [`DocumentIndex::seen`].
    pub fn is_unseen(&self) -> bool {
        !self.is_seen
    }

    pub fn seen(&mut self) {
        self.is_seen = true;
    }

    /// All that there is lies in parts that all cores know.
    pub fn has_nothing_own(&self) -> bool {
        self.parts.is_empty() && self.sealed.values().all(|lent| lent.is_public)
    }

    // ---- parts of its own

    /// What this tablet's owner has to search for who knows these shared parts: its own, and what was sealed of them. What
    /// is public by now was not when who asks looked; looked at there later, what is overwritten in between would be
    /// missing.
    pub fn parts(&self, known: &[PartId]) -> (Vec<Rc<RefCell<Part>>>, Vec<Arc<Sealed>>) {
        let is_known = |id: &PartId| {
            known.contains(id) || self.forwards.successor(*id).is_some_and(|by| known.contains(&by))
        };
        let sealed = self.sealed.iter().filter(|(id, lent)| !lent.part.is_merged() && !is_known(id));
        (self.parts.values().cloned().collect(), sealed.map(|(_, lent)| lent.part.clone()).collect())
    }

    pub fn own_parts(&self) -> u64 {
        self.parts.len() as u64
    }

    /// Vectors that wait for their links.
    pub fn unlinked(&self) -> u64 {
        self.parts.values().map(|part| part.borrow().unlinked() as u64).sum()
    }

    /// There is a head with as many documents or more.
    pub fn has_head_of(&self, documents: usize) -> bool {
        self.parts.values().any(|part| part.borrow().is_head() && part.borrow().contents().len() >= documents)
    }

    /// One that has vectors to link.
    pub fn behind(&self) -> Option<Rc<RefCell<Part>>> {
        self.parts.values().find(|part| part.borrow().is_behind()).cloned()
    }

    /// Seals a head that is linked, and full or of so many documents; unless a search holds on to it: then it is tried
    /// again.
    pub fn seal(&mut self, documents: usize) -> Option<Arc<Sealed>> {
        let is_ready = |part: &Part| {
            let is_large = part.is_full() || part.contents().len() >= documents;
            part.is_head() && is_large && !part.is_behind()
        };
        let id = *self.parts.iter().find(|(_, part)| is_ready(&part.borrow()))?.0;
        match Rc::try_unwrap(self.parts.remove(&id)?) {
            Ok(part) => {
                self.head = self.head.filter(|head| *head != id);
                let sealed = Sealed::of_head(id, self.collection, self.tablet, part.into_inner());
                let sealed = Arc::new(sealed);
                self.lend(&sealed, false);
                Some(sealed)
            }
            Err(part) => {
                self.parts.insert(id, part);
                None
            }
        }
    }

    /// All cores know the part.
    pub fn published(&mut self, id: PartId) {
        if let Some(lent) = self.sealed.get_mut(&id) {
            lent.is_public = true;
        }
    }

    fn lend(&mut self, part: &Arc<Sealed>, is_public: bool) {
        self.sealed.entry(part.id).or_insert_with(|| Lent { part: part.clone(), is_public });
    }

    /// The documents without embeddings, when so many of them are deleted that a rewrite pays, or all: they are closed
    /// for that. All parts together, and so become one: the part that takes what comes meanwhile leaves the rewritten one
    /// closed, and what is deleted of that would stay for ever if only the open part were looked at.
    pub fn close_worn_plain(&mut self) -> Vec<(PartId, Rc<RefCell<Part>>)> {
        let plain = self.parts.iter().filter(|(_, part)| !part.borrow().is_head());
        let plain: Vec<_> = plain.map(|(id, part)| (*id, part.clone())).collect();
        let sum =
            |count: fn(&Part) -> usize| plain.iter().map(|(_, part)| count(&part.borrow())).sum::<usize>();
        let (all, deleted) = (sum(|part| part.contents().len()), sum(|part| part.deleted().count()));
        let is_worn = deleted > self.options.head_documents_min && 2 * deleted > all;
        if all == 0 || !is_worn && deleted < all {
            return Vec::new();
        }
        self.plain = None;
        plain
    }

    /// Puts the rewritten part in the place of those it was made of, each with the new ordinals by the old ones. None when
    /// nothing lived in them; it takes what comes, unless another one does already.
    pub fn replace_plain(&mut self, old: Vec<(PartId, Moved)>, part: Part) -> Option<PartId> {
        let new = (!part.contents().is_empty()).then(|| self.add(part));
        for (old, ordinals) in old {
            let before = self.parts.remove(&old);
            let Some(new) = new else { continue };
            // What was deleted while the new part was made.
            for ordinal in
                before.iter().flat_map(|before| before.borrow().deleted().iter().collect::<Vec<_>>())
            {
                if let Some(ordinal) = ordinals.get(ordinal) {
                    self.parts[&new].borrow_mut().delete(ordinal);
                }
            }
            self.forwards.add(old, new, ordinals);
        }
        self.plain = self.plain.or(new);
        new
    }

    // ---- parts that are replaced

    /// From now on, what is deleted from one of these is deleted from the new part as well.
    pub fn forward(&mut self, into: &Arc<Sealed>, from: &[(PartId, Moved)]) {
        for (id, ordinals) in from {
            if self.sealed.contains_key(id) {
                self.lend(into, true);
                self.forwards.add(*id, into.id, ordinals.clone());
            }
        }
    }

    /// Corrects the places of up to `count` documents of a new part, from an ordinal on; true at its end.
    pub fn correct_places(&mut self, part: PartId, from: u32, count: u32) -> bool {
        if let Some(lent) = self.sealed.get(&part) {
            let part = lent.part.clone();
            let end = (from + count).min(part.len() as u32);
            for ordinal in from..end {
                if part.tablet(ordinal) == self.tablet {
                    self.correct(part.contents().key(ordinal), part.id, ordinal);
                }
            }
            return end as usize == part.len();
        }
        let Some(own) = self.parts.get(&part).cloned() else { return true };
        let own = own.borrow();
        let end = (from + count).min(own.contents().len() as u32);
        (from..end).for_each(|ordinal| self.correct(own.contents().key(ordinal), part, ordinal));
        end as usize == own.contents().len()
    }

    fn correct(&mut self, key: &Key, part: PartId, ordinal: u32) {
        let place = Place { part, ordinal };
        let before = self.places.get(key).filter(|before| self.forwards.last(*before) == place);
        if before.is_some() {
            self.places.insert(key.clone(), place);
        }
    }

    /// Parts in which nothing lives.
    pub fn forget(&mut self, parts: &[PartId]) {
        self.sealed.retain(|id, _| !parts.contains(id));
    }

    /// All places are corrected, and nobody begins a search in what was replaced by this part.
    pub fn forget_replaced(&mut self, by: PartId) {
        for id in self.forwards.forget(by) {
            self.sealed.remove(&id);
        }
    }
}
