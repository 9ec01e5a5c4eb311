//! Collections, their tablets and who owns them: the routing map.
//!
//! A [`Catalogue`] is immutable and shared by all cores; a change makes a new one with the next epoch.
//! Shard 0 is its only writer and keeps it in its own log.
//!
//! Invariant: the tablets of a collection cover the whole key space, in order, without overlap.
//! Invariant: collection and tablet ids are never used again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::key::{Key, KeyType};
use super::record::Durability;
use crate::io::codec::{Put, Reader, Truncated};
use crate::types::{CollectionId, Epoch, Seq, ShardId, TabletId, WallMs};

/// The collection that exists from the start: `u64` keys, no indexes.
pub const DEFAULT_COLLECTION: &str = "default";

/// A key range of a collection, from `start` up to the start of the next tablet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tablet {
    pub id: TabletId,
    /// The empty key for the first tablet.
    pub start: Key,
    pub owner: ShardId,
    /// Epoch of the map in which this owner took it.
    pub epoch: Epoch,
    /// Versions of this tablet are at least this: those of the range before it moved are below.
    pub first_seq: Seq,
}

/// What a client chose at creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    pub key_type: KeyType,
    /// The server's default when `None`.
    pub durability: Option<Durability>,
    /// First keys of the tablets but the first, ascending. Empty: one tablet, split later by a sample.
    pub split_at: Vec<Key>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    pub id: CollectionId,
    pub name: String,
    pub definition: Definition,
    pub created: WallMs,
    pub tablets: Vec<Tablet>,
}

impl Collection {
    pub fn tablet_of(&self, key: &Key) -> &Tablet {
        &self.tablets[self.tablet_index(key)]
    }

    pub fn tablet_index(&self, key: &Key) -> usize {
        let after = self.tablets.partition_point(|tablet| tablet.start <= *key);
        after.checked_sub(1).expect("the first tablet starts at the empty key")
    }

    /// Where the tablet ends (exclusive); `None` for the last.
    pub fn end_of(&self, index: usize) -> Option<&Key> {
        self.tablets.get(index + 1).map(|next| &next.start)
    }

    /// True when the collection was not split yet, by its creator or by a sample.
    pub fn is_unsplit(&self) -> bool {
        self.tablets.len() == 1 && self.definition.split_at.is_empty()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    pub epoch: Epoch,
    pub next_collection: CollectionId,
    pub next_tablet: TabletId,
    pub collections: BTreeMap<String, Arc<Collection>>,
}

/// A name that no collection has, or one that has another definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogueError {
    NoSuchCollection,
    /// A collection of this name exists with another definition.
    ExistsDifferently,
    TooManyCollections,
    /// More tablets than the shards may hold.
    TooManyTablets,
    /// All definitions and tablets together exceed [`crate::limits::CATALOGUE_BYTES_MAX`].
    TooLarge,
    /// Not ascending, empty, or not of the collection's key type.
    BadSplit,
    /// The collection has more than one tablet already.
    AlreadySplit,
}

impl std::fmt::Display for CatalogueError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            CatalogueError::NoSuchCollection => "no collection has this name",
            CatalogueError::ExistsDifferently => "a collection of this name exists with another definition",
            CatalogueError::TooManyCollections => "the server holds as many collections as it may",
            CatalogueError::TooLarge => {
                "the definitions and split keys of all collections are too large together"
            }
            CatalogueError::BadSplit => "the keys of a split must be ascending, distinct and not empty",
            CatalogueError::AlreadySplit => "the collection is split already",
            CatalogueError::TooManyTablets => "the split asks for more tablets than the shards may hold",
        })
    }
}

impl std::error::Error for CatalogueError {}

impl Catalogue {
    pub fn get(&self, name: &str) -> Option<&Arc<Collection>> {
        self.collections.get(name)
    }

    /// The tablet of this id and its collection.
    pub fn tablet(&self, id: TabletId) -> Option<(&Arc<Collection>, usize)> {
        self.collections.values().find_map(|collection| {
            collection.tablets.iter().position(|tablet| tablet.id == id).map(|index| (collection, index))
        })
    }

    // ---- byte map: see ARCHITECTURE.md, "Catalogue"

    pub fn encoded_len(&self) -> usize {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        bytes.len()
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.epoch.0);
        out.put_u32(self.next_collection.0);
        out.put_u32(self.next_tablet.0);
        out.put_u32(self.collections.len() as u32);
        for collection in self.collections.values() {
            encode_collection(collection, out);
        }
    }

    pub fn decode(reader: &mut Reader<'_>) -> Result<Catalogue, Truncated> {
        let epoch = Epoch(reader.u64()?);
        let next_collection = CollectionId(reader.u32()?);
        let next_tablet = TabletId(reader.u32()?);
        let count = reader.u32()?;
        let mut collections = BTreeMap::new();
        for _ in 0..count {
            let collection = decode_collection(reader)?;
            collections.insert(collection.name.clone(), Arc::new(collection));
        }
        Ok(Catalogue { epoch, next_collection, next_tablet, collections })
    }
}

fn encode_collection(collection: &Collection, out: &mut Vec<u8>) {
    out.put_u32(collection.id.0);
    out.put_bytes(collection.name.as_bytes());
    out.put_u8(match collection.definition.key_type {
        KeyType::U64 => 0,
        KeyType::String => 1,
    });
    out.put_u8(match collection.definition.durability {
        None => 0,
        Some(Durability::Memory) => 1,
        Some(Durability::Interval) => 2,
        Some(Durability::Fsync) => 3,
    });
    out.put_u64(collection.created.0);
    out.put_u32(collection.definition.split_at.len() as u32);
    for key in &collection.definition.split_at {
        out.put_bytes(&key.to_vec());
    }
    out.put_u32(collection.tablets.len() as u32);
    for tablet in &collection.tablets {
        out.put_u32(tablet.id.0);
        out.put_bytes(&tablet.start.to_vec());
        out.put_u16(tablet.owner.0);
        out.put_u64(tablet.epoch.0);
        out.put_u64(tablet.first_seq.0);
    }
}

fn decode_collection(reader: &mut Reader<'_>) -> Result<Collection, Truncated> {
    let id = CollectionId(reader.u32()?);
    let name = String::from_utf8_lossy(reader.bytes()?).into_owned();
    let key_type = match reader.u8()? {
        0 => KeyType::U64,
        _ => KeyType::String,
    };
    let durability = match reader.u8()? {
        1 => Some(Durability::Memory),
        2 => Some(Durability::Interval),
        3 => Some(Durability::Fsync),
        _ => None,
    };
    let created = WallMs(reader.u64()?);
    let split_at =
        (0..reader.u32()?).map(|_| reader.bytes().map(Key::from_bytes)).collect::<Result<_, _>>()?;
    let mut tablets = Vec::new();
    for _ in 0..reader.u32()? {
        let id = TabletId(reader.u32()?);
        let start = Key::from_bytes(reader.bytes()?);
        let owner = ShardId(reader.u16()?);
        let epoch = Epoch(reader.u64()?);
        tablets.push(Tablet { id, start, owner, epoch, first_seq: Seq(reader.u64()?) });
    }
    let definition = Definition { key_type, durability, split_at };
    Ok(Collection { id, name, definition, created, tablets })
}
