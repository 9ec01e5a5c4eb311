//! The shared parts that a core knows, by collection. Every core has all of them; cores tell one another of changes
//! ([`super::calls`]).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::beacon::Beacon;
use super::mask;
use super::scratches::Scratches;
use super::sealed::{PartId, Sealed};
use crate::io::runtime::{Runtime, Slice};
use crate::limits;
use crate::shard::catalogue::{Catalogue, Collection};
use crate::shard::key::Key;
use crate::shard::record::Refusal;
use crate::types::{CollectionId, Epoch, Seq, TabletId};
use crate::vector::allowed::Ordinals;

/// The ordinals of a part that was read from its file, by hashes of keys. Two keys of the same hash: one is not found.
#[derive(Debug, Default)]
pub struct Directory {
    ordinals: BTreeMap<u64, u32>,
}

impl Directory {
    pub fn add(&mut self, key: &Key, ordinal: u32) {
        self.ordinals.insert(hash(key), ordinal);
    }
}

fn hash(key: &Key) -> u64 {
    xxh3_64(&key.to_vec())
}

/// A part that was read from its file, while documents are claimed.
#[derive(Clone, Debug)]
pub struct Stored {
    pub part: Arc<Sealed>,
    pub directory: Arc<Directory>,
}

impl Stored {
    /// Where this very version of the document is.
    pub fn ordinal_of(&self, key: &Key, seq: Seq) -> Option<u32> {
        let ordinal = *self.directory.ordinals.get(&hash(key))?;
        let contents = self.part.contents();
        (contents.key(ordinal) == key && contents.seq(ordinal) == seq).then_some(ordinal)
    }
}

/// A shared part, and what of it lies outside of its tablets on the map.
pub struct Known {
    pub part: Arc<Sealed>,
    outside: RefCell<Option<(Arc<Collection>, Rc<Ordinals>)>>,
}

impl Known {
    fn new(part: Arc<Sealed>) -> Known {
        Known { part, outside: RefCell::default() }
    }

    /// What of the part lies outside of its tablets.
    pub async fn mask(&self, map: &Arc<Collection>, slice: &mut Slice) -> Rc<Ordinals> {
        if let Some(known) = self.outside(map) {
            return known;
        }
        let outside = Rc::new(mask::outside(&self.part, map, slice).await);
        *self.outside.borrow_mut() = Some((map.clone(), outside.clone()));
        outside
    }

    /// As far as it is known for this map.
    fn outside(&self, map: &Arc<Collection>) -> Option<Rc<Ordinals>> {
        let mut known = self.outside.borrow_mut();
        let (before, outside) = known.as_mut()?;
        if !Arc::ptr_eq(before, map) {
            if outside.count() > 0 || mask::has_shrunk(before, map) {
                return None;
            }
            *before = map.clone();
        }
        Some(outside.clone())
    }
}

#[derive(Default)]
struct Shelf {
    parts: Vec<Rc<Known>>,
    /// What files had was taken up, if there was any.
    is_read: bool,
    /// While documents are claimed.
    stored: Vec<Rc<Stored>>,
    /// All documents were claimed that will be.
    is_settled: bool,
}

#[derive(Default)]
pub struct Library {
    shelves: RefCell<BTreeMap<CollectionId, Shelf>>,
    has_map: Cell<bool>,
    /// Files of collections that are gone may be there.
    gone: Cell<bool>,
    next_number: Cell<u32>,
    beacons: RefCell<BTreeMap<TabletId, Arc<Beacon>>>,
    /// For searches of this core.
    pub scratches: Scratches,
}

impl Library {
    /// Collections that come later than the first map have no files.
    pub fn install(&self, map: &Catalogue) {
        let mut shelves = self.shelves.borrow_mut();
        let documents = map.collections.values().filter(|one| one.definition.documents.is_some());
        let ids: Vec<CollectionId> = documents.map(|collection| collection.id).collect();
        let before = shelves.len();
        shelves.retain(|id, _| ids.contains(id));
        let is_gone = shelves.len() < before || !self.has_map.get();
        self.gone.set(self.gone.get() || is_gone);
        let tablets: BTreeSet<TabletId> =
            map.collections.values().flat_map(|one| one.tablets.iter().map(|tablet| tablet.id)).collect();
        self.beacons.borrow_mut().retain(|tablet, _| tablets.contains(tablet));
        let is_read = self.has_map.replace(true);
        for id in ids {
            shelves.entry(id).or_insert_with(|| Shelf { is_read, is_settled: is_read, ..Shelf::default() });
        }
    }

    pub fn add_beacon(&self, tablet: TabletId, beacon: Arc<Beacon>) {
        self.beacons.borrow_mut().insert(tablet, beacon);
    }

    /// The owner of a tablet of this epoch has nothing that is not in a shared part.
    pub fn has_all_of(&self, tablet: TabletId, epoch: Epoch) -> bool {
        self.beacons.borrow().get(&tablet).is_some_and(|beacon| beacon.is_lit(epoch))
    }

    /// The owner of a tablet serves it by the map of this epoch.
    pub fn is_in_force(&self, tablet: TabletId, epoch: Epoch) -> bool {
        self.beacons.borrow().get(&tablet).is_some_and(|beacon| beacon.is_in_force(epoch))
    }

    /// True once after a collection went away, and at the start.
    pub fn take_gone(&self) -> bool {
        self.gone.take()
    }

    /// What files have is still to be read.
    pub fn unread(&self) -> Vec<CollectionId> {
        let shelves = self.shelves.borrow();
        shelves.iter().filter(|(_, shelf)| !shelf.is_read).map(|(id, _)| *id).collect()
    }

    pub fn is_read(&self, collection: CollectionId) -> bool {
        self.shelves.borrow().get(&collection).is_some_and(|shelf| shelf.is_read)
    }

    /// Completes when it is so.
    pub async fn read_up(&self, runtime: &Runtime, collection: CollectionId) -> Result<(), Refusal> {
        let until = runtime.now().after(limits::INDEX_WAIT_MAX);
        while !self.is_read(collection) {
            if runtime.now() > until {
                return Err(Refusal::NotReady);
            }
            runtime.sleep(limits::INDEX_WAIT_STEP).await;
        }
        Ok(())
    }

    pub fn take_up(&self, collection: CollectionId, stored: &[Stored]) {
        if let Some(shelf) = self.shelves.borrow_mut().get_mut(&collection) {
            shelf.is_read = true;
            shelf.stored = stored.iter().cloned().map(Rc::new).collect();
            shelf.parts.extend(stored.iter().map(|stored| Rc::new(Known::new(stored.part.clone()))));
        }
    }

    pub fn stored(&self, collection: CollectionId) -> Vec<Rc<Stored>> {
        self.shelves.borrow().get(&collection).map(|shelf| shelf.stored.clone()).unwrap_or_default()
    }

    pub fn is_settled(&self, collection: CollectionId) -> bool {
        self.shelves.borrow().get(&collection).is_some_and(|shelf| shelf.is_settled)
    }

    pub fn are_read(&self) -> bool {
        self.shelves.borrow().values().all(|shelf| shelf.is_read)
    }

    /// Nobody claims anything any more.
    pub fn settle(&self, collection: CollectionId) {
        if let Some(shelf) = self.shelves.borrow_mut().get_mut(&collection) {
            shelf.is_settled = true;
            shelf.stored.clear();
        }
    }

    /// For a merged part.
    pub fn next_number(&self) -> u32 {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        number
    }

    pub fn numbers_up_to(&self, number: u32) {
        self.next_number.set(self.next_number.get().max(number + 1));
    }

    pub fn parts(&self, collection: CollectionId) -> Vec<Rc<Known>> {
        self.shelves.borrow().get(&collection).map(|shelf| shelf.parts.clone()).unwrap_or_default()
    }

    /// Whether a part is shared, and was not replaced here.
    pub fn has(&self, collection: CollectionId, part: PartId) -> bool {
        let shelves = self.shelves.borrow();
        shelves.get(&collection).is_some_and(|shelf| shelf.parts.iter().any(|known| known.part.id == part))
    }

    /// Of all parts: another number when a document has appeared in one that was read from its file.
    pub fn claims(&self, collection: CollectionId) -> u64 {
        let shelves = self.shelves.borrow();
        let parts = shelves.get(&collection).into_iter().flat_map(|shelf| &shelf.parts);
        parts.map(|known| u64::from(known.part.claims())).sum()
    }

    /// Puts a part, if any, in the place of others.
    pub fn swap(&self, collection: CollectionId, out: &[PartId], into: Option<Arc<Sealed>>) {
        if let Some(shelf) = self.shelves.borrow_mut().get_mut(&collection) {
            shelf.parts.retain(|known| !out.contains(&known.part.id));
            shelf.parts.extend(into.map(|part| Rc::new(Known::new(part))));
        }
    }

    /// Parts of all collections.
    pub fn len(&self) -> usize {
        self.shelves.borrow().values().map(|shelf| shelf.parts.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Of all parts.
    pub fn memory_bytes(&self) -> u64 {
        let shelves = self.shelves.borrow();
        shelves.values().flat_map(|shelf| &shelf.parts).map(|known| known.part.memory_bytes()).sum()
    }
}
