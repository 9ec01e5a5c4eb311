//! Value files: large values, many to a file, to which the entries of runs refer.
//!
//! ```text
//! header | value 0 | value 1 | .. | table | footer
//! 4 KiB  |   each padded with zeros to a multiple of 4 KiB | 4 KiB
//!
//! header  | preamble 24 | file u64 | 0 ..                        preamble: see `seal`
//! footer  | preamble 24 | file u64 | file length u64 | header hash u64 | values u64 | value bytes u64
//!         | table: offset u64 | length u64 | hash u64 | 0 ..
//! table   24 bytes a value, in order: see `value_ref`
//! ```
//!
//! A reader goes by the reference, which has the hash of the value, and needs nothing else of the file. Table,
//! header and footer are for whoever checks the whole file: every byte of it is under a hash that the manifest
//! leads to.
//!
//! Invariant: the values stand one behind the other, from the second page up to the table.

use super::PAGE_BYTES;
use super::error::{Field, Part, Place, RunError};
use super::extent::Extent;
use super::field::{put_at, u64_at};
use super::seal::{self, PREAMBLE_BYTES, Preamble};
use super::value_ref::{TABLE_ENTRY_BYTES, ValueRef};
use crate::types::{FileOffset, RunId, ShardId};

/// Where the first value is.
pub(super) const FIRST_VALUE: FileOffset = FileOffset(PAGE_BYTES as u64);

const HEADER_MAGIC: u64 = u64::from_le_bytes(*b"KYROVALS");
const FOOTER_MAGIC: u64 = u64::from_le_bytes(*b"KYROVALF");
const FILE_AT: usize = PREAMBLE_BYTES;
const FILE_LEN_AT: usize = FILE_AT + 8;
const HEADER_HASH_AT: usize = FILE_LEN_AT + 8;
const VALUES_AT: usize = HEADER_HASH_AT + 8;
const VALUE_BYTES_AT: usize = VALUES_AT + 8;
const TABLE_OFFSET_AT: usize = VALUE_BYTES_AT + 8;
const TABLE_LEN_AT: usize = TABLE_OFFSET_AT + 8;
const TABLE_HASH_AT: usize = TABLE_LEN_AT + 8;

/// What the manifest keeps of a value file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueMeta {
    pub id: RunId,
    /// Whole pages, in bytes.
    pub file_len: u64,
    pub footer_hash: u64,
    /// Of all values, padding included.
    pub value_bytes: u64,
}

impl ValueMeta {
    pub fn footer_offset(&self) -> FileOffset {
        FileOffset(self.file_len.saturating_sub(PAGE_BYTES as u64))
    }
}

/// The sealed first page and its hash.
pub(super) fn encode_header(file: RunId, shard: ShardId) -> ([u8; PAGE_BYTES], u64) {
    let mut page = [0; PAGE_BYTES];
    seal::put_preamble(&mut page, HEADER_MAGIC, shard);
    put_at(&mut page, FILE_AT, file.0.to_le_bytes());
    let hash = seal::seal(&mut page);
    (page, hash)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueFooter {
    pub meta: ValueMeta,
    shard: ShardId,
    header_hash: u64,
    values: u64,
    pub table: Extent,
}

impl ValueFooter {
    pub(super) fn new(meta: ValueMeta, shard: ShardId, header_hash: u64, table: Extent) -> ValueFooter {
        ValueFooter { meta, shard, header_hash, values: table.len / TABLE_ENTRY_BYTES as u64, table }
    }

    /// The sealed last page; also sets the hash in `self.meta`.
    pub(super) fn encode(&mut self) -> [u8; PAGE_BYTES] {
        let mut page = [0; PAGE_BYTES];
        seal::put_preamble(&mut page, FOOTER_MAGIC, self.shard);
        let fields = [
            (FILE_AT, self.meta.id.0),
            (FILE_LEN_AT, self.meta.file_len),
            (HEADER_HASH_AT, self.header_hash),
            (VALUES_AT, self.values),
            (VALUE_BYTES_AT, self.meta.value_bytes),
            (TABLE_OFFSET_AT, self.table.offset.0),
            (TABLE_LEN_AT, self.table.len),
            (TABLE_HASH_AT, self.table.hash),
        ];
        for (at, number) in fields {
            put_at(&mut page, at, number.to_le_bytes());
        }
        self.meta.footer_hash = seal::seal(&mut page);
        page
    }

    /// From the last page of the file that the manifest names.
    pub fn decode(page: &[u8], meta: ValueMeta) -> Result<ValueFooter, RunError> {
        let place = Place { run: meta.id, part: Part::ValueFooter, offset: meta.footer_offset() };
        let Preamble { hash, shard, .. } = seal::check_preamble(place, page, FOOTER_MAGIC)?;
        place.check_field(Field::Run, meta.id.0, u64_at(page, FILE_AT))?;
        place.check_field(Field::FileLength, meta.file_len, u64_at(page, FILE_LEN_AT))?;
        place.check_hash(meta.footer_hash, hash)?;
        place.check_field(Field::Length, meta.value_bytes, u64_at(page, VALUE_BYTES_AT))?;
        let table = Extent {
            offset: FileOffset(u64_at(page, TABLE_OFFSET_AT)),
            len: u64_at(page, TABLE_LEN_AT),
            hash: u64_at(page, TABLE_HASH_AT),
        };
        let behind_values = FileOffset(FIRST_VALUE.0.saturating_add(meta.value_bytes));
        table.check_bounds(place, behind_values, meta.footer_offset())?;
        place.check_sense(table.end() == meta.footer_offset(), Field::Length)?;
        let values = u64_at(page, VALUES_AT);
        place.check_sense(
            values.checked_mul(TABLE_ENTRY_BYTES as u64) == Some(table.len),
            Field::EntryCount,
        )?;
        Ok(ValueFooter { meta, shard, header_hash: u64_at(page, HEADER_HASH_AT), values, table })
    }

    /// What the last page says of the file, for when no manifest can be read.
    pub fn meta_of(page: &[u8], id: RunId, file_len: u64) -> Option<ValueMeta> {
        let whole = page.len() == PAGE_BYTES;
        whole.then(|| ValueMeta {
            id,
            file_len,
            footer_hash: u64_at(page, 0),
            value_bytes: u64_at(page, VALUE_BYTES_AT),
        })
    }

    /// The first page.
    pub fn check_header(&self, page: &[u8]) -> Result<(), RunError> {
        let place = Place { run: self.meta.id, part: Part::ValueHeader, offset: FileOffset::ZERO };
        let Preamble { hash, shard, .. } = seal::check_preamble(place, page, HEADER_MAGIC)?;
        place.check_field(Field::Run, self.meta.id.0, u64_at(page, FILE_AT))?;
        place.check_field(Field::Shard, self.shard.0.into(), shard.0.into())?;
        place.check_hash(self.header_hash, hash)
    }

    /// All values of the file, from the bytes of the table, padding included.
    pub fn decode_table(&self, bytes: &[u8]) -> Result<Vec<ValueRef>, RunError> {
        let (place, table) = self.table.open(self.meta.id, Part::ValueTable, bytes)?;
        let malformed = || place.fault(super::error::Fault::Malformed { field: Field::Entry });
        let mut end = FIRST_VALUE;
        let mut values = Vec::with_capacity(self.values as usize);
        for bytes in table.chunks_exact(TABLE_ENTRY_BYTES) {
            let value = ValueRef::decode_in_table(self.meta.id, bytes).ok_or_else(malformed)?;
            place.check_sense(value.offset == end, Field::Offset)?;
            end = value.end();
            values.push(value);
        }
        place.check_sense(end == self.table.offset, Field::Offset)?;
        Ok(values)
    }
}

/// Checks the bytes of a value, padding included, that came in pieces: their hash was taken meanwhile.
pub fn check_value(at: &ValueRef, found: u64) -> Result<(), RunError> {
    Place { run: at.file, part: Part::Value, offset: at.offset }.check_hash(at.hash, found)
}

/// A value that ends before its length, or lies beyond the end of its file.
pub fn cut_value(at: &ValueRef, found: u64) -> RunError {
    let place = Place { run: at.file, part: Part::Value, offset: at.offset };
    place.fault(super::error::Fault::Cut { wanted: at.padded_len(), found })
}

/// A reference to something that is not a value.
pub fn stray_reference(at: &ValueRef) -> RunError {
    let place = Place { run: at.file, part: Part::Value, offset: at.offset };
    place.fault(super::error::Fault::Malformed { field: Field::Reference })
}
