//! The tablet directory: what a run holds of each tablet, also of those that have no entries in it.
//!
//! ```text
//! 0           4       8      16        20  24        32       40    48     52      56      64   72    80
//! +-----------+-------+------+---------+---+---------+--------+-----+------+-------+-------+----+-----+
//! | collection| tablet| epoch| key type| 0 | next seq| entries| live| first| block | keys: | len| hash|
//! | u32       | u32   | u64  | u32     |   | u64     | u64    | u64 | block| count | offset| u64| u64 |
//! +-----------+-------+------+---------+---+---------+--------+-----+------+-------+-------+----+-----+
//! ```
//!
//! Sorted by (collection, tablet); blocks and keys of the tablets follow each other in this order.
//! Key type 0 is `u64`, 1 is `string`. The length of the keys is without their padding, the hash with it.

use super::error::{Fault, Field, Part, Place, RunError};
use super::extent::Extent;
use super::field::{u32_at, u64_at};
use super::footer::Footer;
use crate::io::codec::Put;
use crate::shard::key::KeyType;
use crate::types::{CollectionId, Epoch, FileOffset, Seq, TabletId};

const ENTRY_BYTES: usize = 80;

/// What the engine says of a tablet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TabletInfo {
    pub collection: CollectionId,
    pub tablet: TabletId,
    pub epoch: Epoch,
    pub key_type: KeyType,
    /// Greater than every version given out in the tablet; also remembers those of deleted records.
    pub next_seq: Seq,
}

/// A tablet in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TabletEntry {
    pub info: TabletInfo,
    pub entries: u64,
    /// Entries that are no tombstones.
    pub live: u64,
    pub first_block: u32,
    pub blocks: u32,
    pub keys: Extent,
}

impl TabletEntry {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ENTRY_BYTES);
        out.put_u32(self.info.collection.0);
        out.put_u32(self.info.tablet.0);
        out.put_u64(self.info.epoch.0);
        out.put_u32(match self.info.key_type {
            KeyType::U64 => 0,
            KeyType::String => 1,
        });
        out.put_u32(0);
        out.put_u64(self.info.next_seq.0);
        out.put_u64(self.entries);
        out.put_u64(self.live);
        out.put_u32(self.first_block);
        out.put_u32(self.blocks);
        out.put_u64(self.keys.offset.0);
        out.put_u64(self.keys.len);
        out.put_u64(self.keys.hash);
        assert_eq!(out.len(), ENTRY_BYTES);
        out
    }

    fn decode(place: Place, bytes: &[u8]) -> Result<TabletEntry, RunError> {
        let key_type = match u32_at(bytes, 16) {
            0 => KeyType::U64,
            1 => KeyType::String,
            _ => return Err(place.fault(Fault::Malformed { field: Field::Tablet })),
        };
        Ok(TabletEntry {
            info: TabletInfo {
                collection: CollectionId(u32_at(bytes, 0)),
                tablet: TabletId(u32_at(bytes, 4)),
                epoch: Epoch(u64_at(bytes, 8)),
                key_type,
                next_seq: Seq(u64_at(bytes, 24)),
            },
            entries: u64_at(bytes, 32),
            live: u64_at(bytes, 40),
            first_block: u32_at(bytes, 48),
            blocks: u32_at(bytes, 52),
            keys: Extent {
                offset: FileOffset(u64_at(bytes, 56)),
                len: u64_at(bytes, 64),
                hash: u64_at(bytes, 72),
            },
        })
    }

    pub(super) fn id(&self) -> (CollectionId, TabletId) {
        (self.info.collection, self.info.tablet)
    }

    /// Exclusive.
    pub fn end_block(&self) -> u32 {
        self.first_block + self.blocks
    }
}

/// In memory: 80 bytes a tablet.
#[derive(Clone, Debug)]
pub struct Directory {
    tablets: Vec<TabletEntry>,
}

impl Directory {
    /// Of a run that was just written.
    pub(super) fn new(tablets: Vec<TabletEntry>) -> Directory {
        Directory { tablets }
    }

    /// From the section, padding included.
    pub fn decode(bytes: &[u8], footer: &Footer) -> Result<Directory, RunError> {
        let (place, table) = footer.directory().open(footer.file.run, Part::Directory, bytes)?;
        Directory::decode_checked(place, table, footer)
    }

    /// From the section without its padding, when the hash was checked.
    pub(super) fn decode_checked(place: Place, table: &[u8], footer: &Footer) -> Result<Directory, RunError> {
        place.check_sense(table.len().is_multiple_of(ENTRY_BYTES), Field::Length)?;
        let entries = table.chunks_exact(ENTRY_BYTES);
        let tablets = entries.map(|bytes| TabletEntry::decode(place, bytes)).collect::<Result<_, _>>()?;
        let directory = Directory { tablets };
        directory.check(place, footer)?;
        Ok(directory)
    }

    fn check(&self, place: Place, footer: &Footer) -> Result<(), RunError> {
        let sorted = self.tablets.is_sorted_by(|a, b| a.id() < b.id());
        place.check_sense(sorted, Field::Tablet)?;
        let (mut block, mut entries) = (0_u32, 0_u64);
        for tablet in &self.tablets {
            place.check_sense(tablet.first_block == block, Field::BlockCount)?;
            // Bounds first: the sums below cannot overflow.
            place.check_sense(tablet.blocks <= footer.blocks - block, Field::BlockCount)?;
            place.check_sense(tablet.entries <= footer.entries - entries, Field::EntryCount)?;
            place.check_sense(tablet.live <= tablet.entries, Field::EntryCount)?;
            (block, entries) = (tablet.end_block(), entries + tablet.entries);
        }
        place.check_field(Field::BlockCount, footer.blocks.into(), block.into())?;
        place.check_field(Field::EntryCount, footer.entries, entries)?;
        self.check_keys(place, footer)
    }

    /// The keys of the tablets follow each other up to the first section.
    fn check_keys(&self, place: Place, footer: &Footer) -> Result<(), RunError> {
        let end = footer.sections_start();
        let mut start = self.keys_start(footer);
        for tablet in &self.tablets {
            tablet.keys.check_bounds(place, start, end)?;
            place.check_sense((tablet.keys.len == 0) == (tablet.entries == 0), Field::Length)?;
            start = tablet.keys.end();
        }
        place.check_sense(start == end, Field::Offset)
    }

    /// Where the keys begin and the payload blocks end.
    pub(super) fn keys_start(&self, footer: &Footer) -> FileOffset {
        self.tablets.first().map_or(footer.sections_start(), |tablet| tablet.keys.offset)
    }

    pub fn tablets(&self) -> &[TabletEntry] {
        &self.tablets
    }

    pub fn get(&self, collection: CollectionId, tablet: TabletId) -> Option<&TabletEntry> {
        self.position(collection, tablet).map(|index| &self.tablets[index])
    }

    pub(super) fn position(&self, collection: CollectionId, tablet: TabletId) -> Option<usize> {
        self.tablets.binary_search_by_key(&(collection, tablet), TabletEntry::id).ok()
    }

    /// The tablet of a payload block.
    pub(super) fn of_block(&self, block: u32) -> Option<&TabletEntry> {
        self.tablets.get(self.tablets.partition_point(|tablet| tablet.end_block() <= block))
    }
}
