//! Where each document of a tablet is in its parts.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::rc::Rc;

use super::part::Part;
use crate::limits;
use crate::shard::delta::Version;
use crate::shard::document::encoding::{Document, Parts};
use crate::shard::document::schema::Schema;
use crate::shard::key::Key;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub part: u32,
    pub ordinal: u32,
}

/// Where the documents of a part that was merged are now.
struct Forward {
    part: u32,
    /// By old ordinal; what was deleted before has no new one.
    ordinals: Vec<u32>,
}

const GONE: u32 = u32::MAX;

pub struct DocumentIndex {
    schema: Rc<Schema>,
    places: BTreeMap<Key, Place>,
    parts: BTreeMap<u32, Rc<RefCell<Part>>>,
    /// Takes documents with embeddings.
    head: Option<u32>,
    /// Takes those without.
    plain: Option<u32>,
    next_part: u32,
    forwards: BTreeMap<u32, Forward>,
    /// What was deleted since the records began to be read; `None` when all were.
    loading: Option<BTreeSet<Key>>,
    memory_bytes: u64,
}

impl DocumentIndex {
    /// Of a tablet that has no record yet.
    pub fn new(schema: Rc<Schema>) -> DocumentIndex {
        DocumentIndex {
            schema,
            places: BTreeMap::new(),
            parts: BTreeMap::new(),
            head: None,
            plain: None,
            next_part: 0,
            forwards: BTreeMap::new(),
            loading: None,
            memory_bytes: 0,
        }
    }

    /// Of one whose records are still to be read.
    pub fn to_be_loaded(schema: Rc<Schema>) -> DocumentIndex {
        DocumentIndex { loading: Some(BTreeSet::new()), ..DocumentIndex::new(schema) }
    }

    pub fn schema(&self) -> &Rc<Schema> {
        &self.schema
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

    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Parts are weighed every now and then, what comes in is estimated in between.
    pub fn weigh(&mut self) {
        let parts: u64 = self.parts.values().map(|part| part.borrow().memory_bytes()).sum();
        self.memory_bytes = parts + self.places.len() as u64 * limits::DOCUMENT_PLACE_BYTES;
    }

    /// A version that is visible from now on.
    pub fn apply(&mut self, key: &Key, version: &Version) {
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

    /// A version that was read from where it lies: nothing that was written since counts less.
    pub fn load(&mut self, key: &Key, version: &Version, document: &Document<'_>) {
        let is_newer = self.places.contains_key(key);
        if !is_newer && self.loading.as_ref().is_some_and(|deleted| !deleted.contains(key)) {
            self.insert(key, version, document);
        }
    }

    fn insert(&mut self, key: &Key, version: &Version, document: &Document<'_>) {
        let id = match document.embedding {
            Some(_) => self.open_head(),
            None => self.open_plain(),
        };
        let ordinal = self.parts[&id].borrow_mut().push(key, version.seq, document);
        self.places.insert(key.clone(), Place { part: id, ordinal });
        let embedding =
            document.embedding.map_or(0, |embedding| embedding.bytes.len() + embedding.dimension());
        self.memory_bytes +=
            limits::DOCUMENT_PLACE_BYTES + (document.metadata.text().len() + embedding) as u64;
    }

    fn open_head(&mut self) -> u32 {
        let full = |id: &u32| self.parts[id].borrow().is_full();
        if let Some(head) = self.head.filter(|head| !full(head)) {
            return head;
        }
        let capacity = self.len().clamp(limits::HEAD_DOCUMENTS_MIN, limits::HEAD_DOCUMENTS_MAX);
        let head = self.add(Part::head(&self.schema, capacity));
        self.head = Some(head);
        head
    }

    fn open_plain(&mut self) -> u32 {
        if let Some(plain) = self.plain {
            return plain;
        }
        let plain = self.add(Part::plain(&self.schema));
        self.plain = Some(plain);
        plain
    }

    fn add(&mut self, part: Part) -> u32 {
        let id = self.next_part;
        self.next_part += 1;
        self.parts.insert(id, Rc::new(RefCell::new(part)));
        id
    }

    fn remove(&mut self, key: &Key) {
        let Some(place) = self.places.remove(key) else { return };
        let place = self.present(place);
        if let Some(part) = self.parts.get(&place.part) {
            part.borrow_mut().delete(place.ordinal);
        }
    }

    /// Where what was there is now.
    fn present(&self, mut place: Place) -> Place {
        while let Some(forward) = self.forwards.get(&place.part) {
            place = Place { part: forward.part, ordinal: forward.ordinals[place.ordinal as usize] };
        }
        place
    }

    // ---- a range that became smaller

    /// Nothing is left of what lies outside.
    pub fn is_within(&self, start: &Key, end: Option<&Key>) -> bool {
        let first = self.places.first_key_value().is_none_or(|(key, _)| start <= key);
        let last = self.places.last_key_value();
        first && end.is_none_or(|end| last.is_none_or(|(key, _)| key < end))
    }

    /// Takes out up to `count` documents from either side that lie outside.
    pub fn shed_outside(&mut self, start: &Key, end: Option<&Key>, count: usize) {
        let below = self.places.range::<Key, _>((Bound::Unbounded, Bound::Excluded(start)));
        let mut outside: Vec<Key> = below.take(count).map(|(key, _)| key.clone()).collect();
        if let Some(end) = end {
            let above = self.places.range::<Key, _>((Bound::Included(end), Bound::Unbounded));
            outside.extend(above.take(count).map(|(key, _)| key.clone()));
        }
        outside.iter().for_each(|key| self.remove(key));
    }

    /// Frees about `count` documents of an index that nobody asks any more; false when nothing is left.
    pub fn shed(&mut self, count: usize) -> bool {
        for _ in 0..count {
            if self.places.pop_first().is_none() {
                break;
            }
        }
        self.parts.pop_first();
        !self.places.is_empty() || !self.parts.is_empty()
    }

    // ---- parts

    /// All that a search looks at.
    pub fn parts(&self) -> Vec<Rc<RefCell<Part>>> {
        self.parts.values().cloned().collect()
    }

    pub fn part(&self, id: u32) -> Option<&Rc<RefCell<Part>>> {
        self.parts.get(&id)
    }

    /// One that has vectors to link.
    pub fn behind(&self) -> Option<Rc<RefCell<Part>>> {
        self.parts.values().find(|part| part.borrow().is_behind()).cloned()
    }

    /// Parts to be merged: heads that are full, with the segments that are not much larger than they together; else a
    /// part of which much is deleted. So each document is merged about as often as the collection doubles.
    pub fn to_merge(&self) -> Vec<u32> {
        let sizes = self.parts.iter().map(|(id, part)| (*id, part.borrow()));
        let (mut heads, mut segments, mut worn) = (Vec::new(), Vec::new(), None);
        for (id, part) in sizes {
            if part.is_worn(self.plain == Some(id)) {
                worn = Some(id);
            }
            if part.is_sealed() {
                segments.push((part.live(), id));
            } else if part.is_full() {
                heads.push((id, part.live()));
            }
        }
        if heads.is_empty() {
            return worn.into_iter().collect();
        }
        let mut sum: usize = heads.iter().map(|(_, live)| live).sum();
        let mut merged: Vec<u32> = heads.into_iter().map(|(id, _)| id).collect();
        segments.sort_unstable();
        for (live, id) in segments {
            if live > limits::MERGE_GROWTH_BYTES_PER_BYTE * sum {
                break;
            }
            sum += live;
            merged.push(id);
        }
        merged
    }

    /// Nothing comes into these any more.
    pub fn close(&mut self, parts: &[u32]) {
        self.head = self.head.filter(|head| !parts.contains(head));
        self.plain = self.plain.filter(|plain| !parts.contains(plain));
    }

    /// Puts a part in the place of others. `ordinals`: for each of them, the new ordinals by the old ones.
    pub fn replace(&mut self, part: Part, old: Vec<(u32, Vec<u32>)>) -> u32 {
        let new = self.add(part);
        for (id, ordinals) in old {
            let deleted = self.parts.remove(&id);
            let deleted = deleted.as_ref().map(|part| part.borrow().deleted().clone()).unwrap_or_default();
            let mut merged = self.parts[&new].borrow_mut();
            // What was deleted while the new part was made.
            for old in deleted.iter() {
                let ordinal = ordinals.get(old as usize).copied().unwrap_or(GONE);
                if ordinal != GONE {
                    merged.delete(ordinal);
                }
            }
            self.forwards.insert(id, Forward { part: new, ordinals });
        }
        new
    }

    /// Corrects the places of up to `count` documents of a new part, from an ordinal on.
    pub fn correct_places(&mut self, part: u32, from: u32, count: u32) {
        let Some(merged) = self.parts.get(&part).cloned() else { return };
        let merged = merged.borrow();
        for ordinal in from..(from + count).min(merged.len() as u32) {
            let place = Place { part, ordinal };
            let key = merged.key(ordinal);
            if self.places.get(key).is_some_and(|before| self.present(*before) == place) {
                self.places.insert(key.clone(), place);
            }
        }
    }

    /// All places are corrected.
    pub fn forget_forwards(&mut self, part: u32) {
        self.forwards.retain(|_, forward| forward.part != part);
    }
}

/// Ordinals of which none is known yet.
pub fn unknown_ordinals(count: usize) -> Vec<u32> {
    vec![GONE; count]
}
