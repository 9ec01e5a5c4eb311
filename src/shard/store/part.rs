//! One run file, open for reading in place.
//!
//! Its footer, keys, models and filter are read when they are first wanted, by whoever wants them first, and
//! stay; then a block of records is one read.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use super::levels::KeyBytes;
use super::place::{Place, Span};
use super::shelf::Shelf;
use super::stored::{Stored, Value};
use super::value_file::ValueFile;
use crate::io::buf::{AlignedBuf, BLOCK_BYTES};
use crate::io::executor::sync::Signal;
use crate::io::op::OpenMode;
use crate::io::runtime::File;
use crate::limits;
use crate::shard::delta::NEVER;
use crate::shard::key::Key;
use crate::shard::payload::Payload;
use crate::shard::run::value_file::stray_reference;
use crate::shard::run::{
    Body, EntryRef, LoadStep, Lookup, Resident, ResidentLoader, RunError, TabletEntry, ValueRef,
};
use crate::shard::runs::LoadError;
use crate::shard::state::RunMeta;
use crate::types::{CollectionId, FileOffset, Mono, RunId, TabletId};

pub struct Part {
    pub meta: RunMeta,
    pub span: Span,
    shelf: Rc<Shelf>,
    /// Shared by all that stand for this file, at whatever level.
    of_file: Rc<()>,
    /// To which it refers, and with how many bytes.
    values: Vec<(Rc<ValueFile>, u64)>,
    /// Bytes of all values that it refers to.
    pub value_bytes: u64,
    loaded: RefCell<Option<Loaded>>,
    /// What of it the shelf counts.
    counted_bytes: Cell<u64>,
    /// What made it unreadable, and until when nobody looks again.
    damage: RefCell<Option<(Mono, String)>>,
    loading: Cell<bool>,
    load_over: Signal,
}

/// Where in a part a record is, or would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Located {
    pub block: u32,
    /// `None` when the block has to be searched, and may have nothing.
    pub slot: Option<u32>,
}

pub type ReadUnderWay = Pin<Box<dyn Future<Output = Result<AlignedBuf, LoadError>>>>;

#[derive(Clone)]
struct Loaded {
    file: Rc<File>,
    resident: Rc<Resident>,
}

impl Part {
    /// The value files that it refers to are on the shelf.
    pub fn new(shelf: Rc<Shelf>, meta: RunMeta) -> Part {
        let span = meta.span.clone();
        let file = |id| shelf.values(id).expect("a part whose value files are there");
        let values = meta.values.iter().map(|used| (file(used.file), used.bytes)).collect();
        let value_bytes = meta.values.iter().map(|used| used.bytes).sum();
        Part {
            meta,
            span,
            shelf,
            of_file: Rc::default(),
            values,
            value_bytes,
            loaded: RefCell::default(),
            counted_bytes: Cell::new(0),
            damage: RefCell::default(),
            loading: Cell::new(false),
            load_over: Signal::default(),
        }
    }

    /// A part that was just written: what is resident of it is there already.
    pub fn written(shelf: Rc<Shelf>, meta: RunMeta, file: File, resident: Resident) -> Part {
        let part = Part::new(shelf, meta);
        part.keep(Loaded { file: Rc::new(file), resident: Rc::new(resident) });
        part
    }

    /// The same file at another level.
    pub fn at_level(&self, level: u8) -> Rc<Part> {
        let mut part = Part::new(self.shelf.clone(), RunMeta { level, ..self.meta.clone() });
        part.of_file = self.of_file.clone();
        if let Some(loaded) = &*self.loaded.borrow() {
            part.keep(loaded.clone());
        }
        Rc::new(part)
    }

    /// Whether nobody but the caller has a hold on the file.
    pub fn is_unread(part: &Rc<Part>) -> bool {
        Rc::strong_count(part) == 1 && Rc::strong_count(&part.of_file) == 1
    }

    pub fn resident(&self) -> Option<Rc<Resident>> {
        self.loaded.borrow().as_ref().map(|loaded| loaded.resident.clone())
    }

    /// Where a key is in it; `None` when nothing is resident of it yet.
    pub fn lookup(&self, collection: CollectionId, tablet: TabletId, key: &[u8]) -> Option<Lookup> {
        let loaded = self.loaded.borrow();
        loaded.as_ref().map(|loaded| loaded.resident.lookup(collection, tablet, key))
    }

    /// Appends what `lookup` says of each; false when nothing is resident of it yet.
    pub fn lookup_batch(
        &self,
        collection: CollectionId,
        tablet: TabletId,
        keys: &[&[u8]],
        out: &mut Vec<Lookup>,
    ) -> bool {
        let loaded = self.loaded.borrow();
        if let Some(loaded) = &*loaded {
            loaded.resident.lookup_batch(collection, tablet, keys, out);
        }
        loaded.is_some()
    }

    /// Asks for the memory that `lookup_batch` of these will wait for.
    pub fn prefetch(&self, collection: CollectionId, tablet: TabletId, keys: &[&[u8]]) {
        if let Some(loaded) = &*self.loaded.borrow() {
            loaded.resident.prefetch(collection, tablet, keys);
        }
    }

    fn keep(&self, loaded: Loaded) {
        *self.loaded.borrow_mut() = Some(loaded);
        self.count_bytes();
    }

    /// What is resident of it has another size now.
    pub fn count_bytes(&self) {
        let now = self.loaded.borrow().as_ref().map_or(0, |loaded| loaded.resident.bytes());
        let bytes = &self.shelf.resident_bytes;
        bytes.set(bytes.get() - self.counted_bytes.replace(now) + now);
    }

    /// What is resident of it, read if need be.
    pub async fn load(&self) -> Result<Rc<Resident>, LoadError> {
        self.loaded_now().await.map(|loaded| loaded.resident)
    }

    async fn loaded_now(&self) -> Result<Loaded, LoadError> {
        loop {
            if let Some(loaded) = &*self.loaded.borrow() {
                return Ok(loaded.clone());
            }
            let over = self.load_over.wait();
            if !self.loading.replace(true) {
                let _turn = LoadTurn { part: self };
                self.must_not_be_known_as_damaged()?;
                let loaded = self.read_resident().await.inspect_err(|error| self.remember(error))?;
                self.keep(loaded.clone());
                return Ok(loaded);
            }
            over.await;
        }
    }

    /// A damaged part is not read again with every request for one of its keys.
    fn must_not_be_known_as_damaged(&self) -> Result<(), LoadError> {
        match &*self.damage.borrow() {
            Some((until, what)) if self.shelf.runtime.now() < *until => {
                Err(LoadError::Known { path: self.shelf.path_of(&self.meta), what: what.clone() })
            }
            _ => Ok(()),
        }
    }

    fn remember(&self, error: &LoadError) {
        let lasts = match error {
            LoadError::Damaged { error, .. } => error.to_string(),
            LoadError::Length { .. } => "it has another length than the manifest says".to_owned(),
            // The next read may go well.
            _ => return,
        };
        let until = self.shelf.runtime.now().after(limits::DAMAGED_PART_RETRY);
        *self.damage.borrow_mut() = Some((until, lasts));
    }

    async fn read_resident(&self) -> Result<Loaded, LoadError> {
        let path = self.shelf.path_of(&self.meta);
        let io_error = |error| LoadError::Io { path: path.clone(), error };
        let damaged = |error| LoadError::Damaged { path: path.clone(), error };
        let runtime = &self.shelf.runtime;
        let file = runtime.open(path.clone(), OpenMode::Read).await.map_err(io_error)?;
        let len = file.len().await.map_err(io_error)?;
        if len != self.meta.file_len {
            return Err(LoadError::Length { path, wanted: self.meta.file_len, found: len });
        }
        let mut loader = ResidentLoader::new(self.meta.file());
        let mut slice = runtime.slice();
        loop {
            match loader.step().map_err(damaged)? {
                LoadStep::Read { offset, len } => {
                    let (count, buf) = file.read(offset, AlignedBuf::zeroed(len)).await.map_err(io_error)?;
                    loader.feed(&buf[..count.min(len)]);
                }
                LoadStep::Working => {}
                LoadStep::Done(resident) => {
                    self.note_rebuilt(&resident);
                    return Ok(Loaded { file: Rc::new(file), resident: Rc::new(resident) });
                }
            }
            slice.checkpoint().await;
        }
    }

    fn note_rebuilt(&self, resident: &Resident) {
        let rebuilt = resident.rebuilt();
        if [rebuilt.index, rebuilt.filter, rebuilt.marks].iter().any(Option::is_some) {
            self.shelf.rebuilt.set(self.shelf.rebuilt.get() + 1);
            tracing::warn!(run = %self.meta.id, ?rebuilt, "derived parts of a run were damaged or missing");
        }
    }

    /// Reads consecutive blocks.
    pub async fn read(&self, offset: FileOffset, len: usize) -> Result<AlignedBuf, LoadError> {
        let loaded = self.loaded_now().await?;
        let read = loaded.file.read(offset, AlignedBuf::zeroed(len)).await;
        self.whole(offset, len, read)
    }

    /// As `read`, into memory of just the length, and begun at once: the part is loaded, or it gives nothing.
    pub fn begin_read(self: &Rc<Part>, offset: FileOffset, buf: AlignedBuf) -> Option<ReadUnderWay> {
        let len = buf.len();
        let read = self.loaded.borrow().as_ref()?.file.read(offset, buf);
        let part = self.clone();
        Some(Box::pin(async move { part.whole(offset, len, read.await) }))
    }

    fn whole(
        &self,
        offset: FileOffset,
        len: usize,
        read: std::io::Result<(usize, AlignedBuf)>,
    ) -> Result<AlignedBuf, LoadError> {
        let (count, buf) =
            read.map_err(|error| LoadError::Io { path: self.shelf.path_of(&self.meta), error })?;
        if count < len {
            return Err(LoadError::Length {
                path: self.shelf.path_of(&self.meta),
                wanted: self.meta.file_len,
                found: offset.0 + count as u64,
            });
        }
        Ok(buf)
    }

    pub fn damaged(&self, error: RunError) -> LoadError {
        LoadError::Damaged { path: self.shelf.path_of(&self.meta), error }
    }

    pub fn malformed_payload(&self) -> LoadError {
        LoadError::Payload { path: self.shelf.path_of(&self.meta) }
    }

    /// The block that has the place if any has, by what is resident.
    pub async fn locate(&self, place: &Place) -> Result<Option<Located>, LoadError> {
        let resident = self.load().await?;
        let key = KeyBytes::of(&place.key);
        let slot = match resident.lookup(place.collection, place.tablet, key.as_slice()) {
            Lookup::Absent => return Ok(None),
            Lookup::Here { block, slot, .. } => Located { block, slot: Some(slot) },
            Lookup::Perhaps { block } => Located { block, slot: None },
        };
        Ok(Some(slot))
    }

    /// Bytes of a block; 0 when what is resident was let go of meanwhile.
    pub fn block_len(&self, number: u32) -> usize {
        self.resident().map_or(0, |resident| resident.reader().locators().block(number).len)
    }

    /// Reads one block.
    pub async fn read_block(&self, number: u32) -> Result<AlignedBuf, LoadError> {
        let resident = self.load().await?;
        let at = resident.reader().locators().block(number);
        self.shelf.block_reads.set(self.shelf.block_reads.get() + 1);
        self.read(at.offset, at.len).await
    }

    /// The versions of places of one block, from its bytes. Only those that were located for certain must be
    /// there.
    pub async fn versions_in<'a>(
        &self,
        bytes: &[u8],
        number: u32,
        wanted: impl Iterator<Item = (Located, &'a Place)>,
    ) -> Result<Vec<Option<Stored>>, LoadError> {
        let resident = self.load().await?;
        let at = resident.reader().locators().block(number);
        let block = resident.reader().block(number, &bytes[..at.len]).map_err(|error| self.damaged(error))?;
        let mut versions = Vec::new();
        for (located, place) in wanted {
            let key = KeyBytes::of(&place.key);
            let entry = match located.slot {
                Some(slot) => block.entry_of(slot, key.as_slice()).map(Some),
                None => block.find(key.as_slice()),
            };
            let entry = entry.map_err(|error| self.damaged(error))?;
            versions.push(entry.map(|entry| self.stored(&entry)).transpose()?);
        }
        Ok(versions)
    }

    pub fn stored(&self, entry: &EntryRef<'_>) -> Result<Stored, LoadError> {
        let value = match entry.body {
            Body::Tombstone => Value::None,
            Body::Here(payload) => {
                Value::Here(Payload::from_bytes(payload).ok_or_else(|| self.malformed_payload())?)
            }
            Body::Apart(at) => Value::Apart(self.value_file(&at)?, at),
        };
        let expires = entry.expires.unwrap_or(NEVER);
        Ok(Stored { lsn: entry.lsn, seq: entry.seq, expires, value })
    }

    /// Where a reference of this part leads.
    pub fn value_file(&self, at: &ValueRef) -> Result<Rc<ValueFile>, LoadError> {
        let place = self.values.binary_search_by_key(&at.file, |(file, _)| file.meta.id);
        let place = place.map_err(|_| self.damaged(stray_reference(at)))?;
        Ok(self.values[place].0.clone())
    }

    /// The value files that it refers to, and with how many bytes.
    pub fn values(&self) -> impl Iterator<Item = (&Rc<ValueFile>, u64)> {
        self.values.iter().map(|(file, bytes)| (file, *bytes))
    }

    /// It counts from now on: so do the values that it refers to.
    pub fn count_values(&self) {
        self.values.iter().for_each(|(file, bytes)| file.live.set(file.live.get() + bytes));
    }

    /// It counts no more.
    pub fn discount_values(&self) {
        self.values.iter().for_each(|(file, bytes)| file.live.set(file.live.get() - bytes));
    }

    /// Bytes that it refers to in a value file.
    pub fn bytes_in(&self, file: RunId) -> u64 {
        let place = self.meta.values.binary_search_by_key(&file, |used| used.file);
        place.map_or(0, |place| self.meta.values[place].bytes)
    }

    /// Whether records of a tablet may be in it, by its ends.
    pub fn may_have(&self, tablet: TabletId) -> bool {
        (self.span.first.collection != self.span.last.collection)
            || (self.span.first.tablet..=self.span.last.tablet).contains(&tablet)
    }

    /// Blocks of a collection, in bytes, as far as is known, and its share of the large values by the number of
    /// its entries.
    pub fn bytes_of(&self, collection: CollectionId) -> u64 {
        if !(self.span.first.collection..=self.span.last.collection).contains(&collection) {
            return 0;
        }
        let Some(resident) = self.resident() else { return 0 };
        let tablets = resident.reader().directory().tablets().iter();
        let ours = tablets.filter(|tablet| tablet.info.collection == collection);
        let sum = |(blocks, entries), tablet: &TabletEntry| {
            (blocks + u64::from(tablet.blocks), entries + tablet.entries)
        };
        let (blocks, entries) = ours.fold((0, 0), sum);
        let share = u128::from(self.value_bytes) * u128::from(entries) / u128::from(self.meta.entries.max(1));
        blocks * BLOCK_BYTES as u64 + share as u64
    }

    pub fn shelf(&self) -> &Rc<Shelf> {
        &self.shelf
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(loaded) = self.loaded.borrow_mut().take() {
            let bytes = &self.shelf.resident_bytes;
            bytes.set(bytes.get() - self.counted_bytes.get());
            if Rc::strong_count(&loaded.resident) == 1 {
                let mut past = self.shelf.past_drift.borrow_mut();
                loaded.resident.watched().for_each(|(_, index)| past.add(&index.drift()));
            }
        }
    }
}

/// The right to load a part, until dropped.
struct LoadTurn<'a> {
    part: &'a Part,
}

impl Drop for LoadTurn<'_> {
    fn drop(&mut self) {
        self.part.loading.set(false);
        self.part.load_over.notify();
    }
}

/// A key as it stands in a block.
pub fn key_of(entry: &EntryRef<'_>) -> Key {
    Key::from_bytes(entry.key)
}
