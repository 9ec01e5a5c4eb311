//! Collections, their tablets and who owns them: the routing map.
//!
//! A [`Catalogue`] is immutable and shared by all cores; a change makes a new one with the next epoch.
//! Shard 0 is its only writer and keeps it in its own log.
//!
//! Invariant: the tablets of a collection cover the whole key space, in order, without overlap; those of a
//! collection placed by hash cover the space of hashes, in equal parts.
//! Invariant: collection and tablet ids are never used again.

use std::collections::BTreeMap;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::document::schema::Schema;
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

/// How keys find their tablets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// By ranges that follow the keys. Ranges can be scanned.
    #[default]
    Range,
    /// By a hash of the key: even from the first record on, whatever the keys, and without scans.
    Hash,
}

/// What a client chose at creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    pub key_type: KeyType,
    /// The server's default when `None`.
    pub durability: Option<Durability>,
    /// First keys of the tablets but the first, ascending. Empty: one tablet, split later by a sample.
    pub split_at: Vec<Key>,
    pub placement: Placement,
    /// Records are documents of this kind, not values.
    pub documents: Option<Schema>,
}

impl Definition {
    /// Of values, by range, in one tablet, at the server's durability.
    pub fn of(key_type: KeyType) -> Definition {
        Definition {
            key_type,
            durability: None,
            split_at: Vec::new(),
            placement: Placement::Range,
            documents: None,
        }
    }
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
        if self.is_hashed() {
            return place_by_hash(key, self.tablets.len());
        }
        let after = self.tablets.partition_point(|tablet| tablet.start <= *key);
        after.checked_sub(1).expect("the first tablet starts at the empty key")
    }

    pub fn index_of(&self, id: TabletId) -> Option<usize> {
        self.tablets.iter().position(|tablet| tablet.id == id)
    }

    /// Where the tablet ends (exclusive); `None` for the last, and for all that are placed by hash.
    pub fn end_of(&self, index: usize) -> Option<&Key> {
        self.tablets.get(index + 1).filter(|_| !self.is_hashed()).map(|next| &next.start)
    }

    pub fn is_hashed(&self) -> bool {
        self.definition.placement == Placement::Hash
    }

    /// True when the collection was not split yet, by its creator or by a sample.
    pub fn is_unsplit(&self) -> bool {
        self.tablets.len() == 1 && self.definition.split_at.is_empty() && !self.is_hashed()
    }
}

/// The tablet of a key out of `count`. Part of the format: records lie where this says.
fn place_by_hash(key: &Key, count: usize) -> usize {
    let hash = xxh3_64(&key.to_vec());
    ((u128::from(hash) * count as u128) >> 64) as usize
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
    /// Tablets of a collection placed by hash are not cut, moved or merged.
    PlacedByHash,
    /// The tablets are not, or no longer, what a change of them is about.
    Outdated,
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
            CatalogueError::PlacedByHash => {
                "the collection is placed by hash: it is spread already, and its ranges cannot be cut"
            }
            CatalogueError::Outdated => "the ranges have changed meanwhile",
            CatalogueError::TooManyTablets => "the split asks for more tablets than the shards may hold",
        })
    }
}

impl std::error::Error for CatalogueError {}

impl Catalogue {
    pub fn get(&self, name: &str) -> Option<&Arc<Collection>> {
        self.collections.get(name)
    }

    pub fn by_id(&self, id: CollectionId) -> Option<&Arc<Collection>> {
        self.collections.values().find(|collection| collection.id == id)
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

    /// The first form that says all of it: what older servers can read they are given.
    pub fn form(&self) -> Form {
        let any = |is: fn(&Collection) -> bool| self.collections.values().any(|collection| is(collection));
        if any(|collection| collection.definition.documents.is_some()) {
            Form::Documents
        } else if any(Collection::is_hashed) {
            Form::Placed
        } else {
            Form::Ranges
        }
    }

    /// In its [`Catalogue::form`], which has to be told beside it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.epoch.0);
        out.put_u32(self.next_collection.0);
        out.put_u32(self.next_tablet.0);
        out.put_u32(self.collections.len() as u32);
        let form = self.form();
        for collection in self.collections.values() {
            encode_collection(collection, form, out);
        }
    }

    pub fn decode(reader: &mut Reader<'_>, form: Form) -> Result<Catalogue, Truncated> {
        let epoch = Epoch(reader.u64()?);
        let next_collection = CollectionId(reader.u32()?);
        let next_tablet = TabletId(reader.u32()?);
        let count = reader.u32()?;
        let mut collections = BTreeMap::new();
        for _ in 0..count {
            let collection = decode_collection(reader, form)?;
            collections.insert(collection.name.clone(), Arc::new(collection));
        }
        Ok(Catalogue { epoch, next_collection, next_tablet, collections })
    }
}

/// How a map stands in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    Ranges,
    /// Every collection tells its placement.
    Placed,
    /// And what its documents are.
    Documents,
}

fn encode_collection(collection: &Collection, form: Form, out: &mut Vec<u8>) {
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
    if form >= Form::Placed {
        out.put_u8(u8::from(collection.is_hashed()));
    }
    if form >= Form::Documents {
        out.put_u8(u8::from(collection.definition.documents.is_some()));
        collection.definition.documents.iter().for_each(|schema| schema.encode(out));
    }
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

fn decode_collection(reader: &mut Reader<'_>, form: Form) -> Result<Collection, Truncated> {
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
    let placement = match form {
        Form::Placed | Form::Documents if reader.u8()? == 1 => Placement::Hash,
        _ => Placement::Range,
    };
    let documents = match form {
        Form::Documents if reader.u8()? == 1 => Some(Schema::decode(reader)?),
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
    let definition = Definition { key_type, durability, split_at, placement, documents };
    Ok(Collection { id, name, definition, created, tablets })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(placements: &[Placement]) -> Catalogue {
        let collection = |(id, placement): (u32, &Placement)| {
            let hashed = *placement == Placement::Hash;
            let tablet = |n: u32| Tablet {
                id: TabletId(10 * id + n),
                start: if n == 0 || hashed { Key::from_bytes(&[]) } else { Key::from_u64(7) },
                owner: ShardId(n as u16),
                epoch: Epoch(3),
                first_seq: Seq(1),
            };
            let definition = Definition {
                durability: Some(Durability::Interval),
                placement: *placement,
                ..Definition::of(KeyType::U64)
            };
            let name = format!("c{id}");
            let tablets = (0..2).map(tablet).collect();
            let collection = Collection {
                id: CollectionId(id),
                name: name.clone(),
                definition,
                created: WallMs(9),
                tablets,
            };
            (name, Arc::new(collection))
        };
        Catalogue {
            epoch: Epoch(4),
            next_collection: CollectionId(5),
            next_tablet: TabletId(60),
            collections: (1..).zip(placements).map(collection).collect(),
        }
    }

    #[test]
    fn a_map_comes_back_in_its_form() {
        for placements in [&[Placement::Range][..], &[Placement::Range, Placement::Hash], &[]] {
            let map = map(placements);
            let mut bytes = Vec::new();
            map.encode(&mut bytes);
            assert_eq!(Catalogue::decode(&mut Reader::new(&bytes), map.form()), Ok(map));
        }
    }

    /// Byte for byte what servers wrote that knew ranges only.
    #[test]
    fn ranges_alone_stay_in_the_old_form() {
        let map = map(&[Placement::Range]);
        assert_eq!(map.form(), Form::Ranges);
        let mut bytes = Vec::new();
        map.encode(&mut bytes);
        let tablet = |id: u8, start: &[u8], owner: u8| {
            let head = [&[id, 0, 0, 0, start.len() as u8, 0, 0, 0], start].concat();
            [&head[..], &[owner, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]].concat()
        };
        let wanted = [
            &[4, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 60, 0, 0, 0, 1, 0, 0, 0][..],
            &[1, 0, 0, 0, 2, 0, 0, 0, b'c', b'1', 0, 2, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0],
            &tablet(10, &[], 0),
            &tablet(11, &[0, 0, 0, 0, 0, 0, 0, 7], 1),
        ];
        assert_eq!(bytes, wanted.concat());
    }

    /// Records lie where the hash says: it must never change.
    #[test]
    fn hashes_place_keys_evenly_and_for_ever() {
        let mut counts = [0; 7];
        (0..70_000).for_each(|key| counts[place_by_hash(&Key::from_u64(key), 7)] += 1);
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
        let places: Vec<usize> = (0..8).map(|key| place_by_hash(&Key::from_u64(key), 16)).collect();
        assert_eq!(places, PLACES);
        assert_eq!(place_by_hash(&Key::from_bytes(b"people/1"), 16), PLACE_OF_TEXT);
    }

    const PLACES: [usize; 8] = [12, 15, 3, 13, 9, 12, 4, 15];
    const PLACE_OF_TEXT: usize = 15;
}
