//! The last page of a run, read first: where everything else is.
//!
//! ```text
//! 0         24   32    36       40     48     56      64       72       80          80+32*n  4096
//! +---------+----+-----+--------+------+------+-------+--------+--------+------------+------+
//! | preamble| run| n   | blocks | file | head | en-   | lowest | highest| n sections | 0 .. |
//! |         | u64| u32 | u32    | len  | hash | tries | LSN    | LSN    | 32 B each  |      |
//! +---------+----+-----+--------+------+------+-------+--------+--------+------------+------+
//!
//! section: | kind u16 | required u16 | 0 u32 | offset u64 | length u64 | hash u64 |
//! ```
//!
//! The sections stand one behind the other, each padded to whole pages, and end where the footer
//! begins. `length` is without the padding, the hash with it. Kinds: 1 locators, 2 directory, both there
//! once and marked required; since version 2 also 3 learned index, 4 membership filter, 5 marks, at most
//! once and not required: they are derived from the others, and their damage is not damage of the run. A
//! reader skips a kind that it does not know, unless it is marked required.

use super::error::{Fault, Field, Part, Place, RunError};
use super::extent::Extent;
use super::field::{put_at, u16_at, u32_at, u64_at};
use super::seal::{self, PREAMBLE_BYTES, Preamble};
use super::{DERIVED_SINCE_VERSION, PAGE_BYTES};
use crate::types::{FileOffset, Lsn, RunId, ShardId};

const MAGIC: u64 = u64::from_le_bytes(*b"KYRORUNF");
const RUN_AT: usize = PREAMBLE_BYTES;
const SECTION_COUNT_AT: usize = RUN_AT + 8;
const BLOCKS_AT: usize = SECTION_COUNT_AT + 4;
const FILE_LEN_AT: usize = BLOCKS_AT + 4;
const HEADER_HASH_AT: usize = FILE_LEN_AT + 8;
const ENTRIES_AT: usize = HEADER_HASH_AT + 8;
const LSN_MIN_AT: usize = ENTRIES_AT + 8;
const LSN_MAX_AT: usize = LSN_MIN_AT + 8;
const SECTIONS_AT: usize = LSN_MAX_AT + 8;
const SECTION_BYTES: usize = 32;
const SECTIONS_MAX: usize = (PAGE_BYTES - SECTIONS_AT) / SECTION_BYTES;

pub(super) const LOCATORS: u16 = 1;
pub(super) const DIRECTORY: u16 = 2;
pub(super) const INDEX: u16 = 3;
pub(super) const FILTER: u16 = 4;
pub(super) const MARKS: u16 = 5;

/// What the manifest keeps of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunFile {
    pub run: RunId,
    /// Whole pages, in bytes.
    pub len: u64,
    pub footer_hash: u64,
}

impl RunFile {
    /// Where the footer is.
    pub fn footer_offset(&self) -> FileOffset {
        FileOffset(self.len.saturating_sub(PAGE_BYTES as u64))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub kind: u16,
    pub required: bool,
    pub extent: Extent,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    pub file: RunFile,
    /// From 1 on. A file of version 1 has no derived sections.
    pub version: u16,
    pub shard: ShardId,
    pub blocks: u32,
    pub entries: u64,
    /// Over all entries; 0 when there are none.
    pub lsn_min: Lsn,
    /// Over all entries; 0 when there are none. A run may only be published when its log is durable up
    /// to here.
    pub lsn_max: Lsn,
    pub(super) header_hash: u64,
    pub(super) sections: Vec<Section>,
}

impl Footer {
    /// The sealed page; also sets the hash in `self.file`.
    pub(super) fn encode(&mut self) -> [u8; PAGE_BYTES] {
        assert!(self.sections.len() <= SECTIONS_MAX);
        let mut page = [0; PAGE_BYTES];
        seal::put_preamble(&mut page, MAGIC, self.shard);
        put_at(&mut page, RUN_AT, self.file.run.0.to_le_bytes());
        put_at(&mut page, SECTION_COUNT_AT, (self.sections.len() as u32).to_le_bytes());
        put_at(&mut page, BLOCKS_AT, self.blocks.to_le_bytes());
        put_at(&mut page, FILE_LEN_AT, self.file.len.to_le_bytes());
        put_at(&mut page, HEADER_HASH_AT, self.header_hash.to_le_bytes());
        put_at(&mut page, ENTRIES_AT, self.entries.to_le_bytes());
        put_at(&mut page, LSN_MIN_AT, self.lsn_min.0.to_le_bytes());
        put_at(&mut page, LSN_MAX_AT, self.lsn_max.0.to_le_bytes());
        for (section, bytes) in self.sections.iter().zip(page[SECTIONS_AT..].chunks_exact_mut(SECTION_BYTES))
        {
            section.encode(bytes);
        }
        self.file.footer_hash = seal::seal(&mut page);
        page
    }

    /// From the last page of the file that the manifest names.
    pub fn decode(page: &[u8], file: RunFile) -> Result<Footer, RunError> {
        let place = Place { run: file.run, part: Part::Footer, offset: file.footer_offset() };
        let Preamble { hash, version, shard } = seal::check_preamble(place, page, MAGIC)?;
        place.check_field(Field::Run, file.run.0, u64_at(page, RUN_AT))?;
        place.check_field(Field::FileLength, file.len, u64_at(page, FILE_LEN_AT))?;
        place.check_hash(file.footer_hash, hash)?;
        let count = u32_at(page, SECTION_COUNT_AT) as usize;
        place.check_sense(count <= SECTIONS_MAX, Field::Section)?;
        let sections = page[SECTIONS_AT..].chunks_exact(SECTION_BYTES).take(count);
        let footer = Footer {
            file,
            version,
            shard,
            blocks: u32_at(page, BLOCKS_AT),
            entries: u64_at(page, ENTRIES_AT),
            lsn_min: Lsn(u64_at(page, LSN_MIN_AT)),
            lsn_max: Lsn(u64_at(page, LSN_MAX_AT)),
            header_hash: u64_at(page, HEADER_HASH_AT),
            sections: sections.map(Section::decode).collect(),
        };
        footer.check(place)?;
        Ok(footer)
    }

    fn check(&self, place: Place) -> Result<(), RunError> {
        place.check_sense(self.lsn_min <= self.lsn_max, Field::Lsn)?;
        place.check_sense((self.blocks == 0) == (self.entries == 0), Field::EntryCount)?;
        place.check_sense(u64::from(self.blocks) <= self.entries, Field::BlockCount)?;
        let mut end = self.sections_start();
        let after_header = end.0 >= PAGE_BYTES as u64 && end.0.is_multiple_of(PAGE_BYTES as u64);
        place.check_sense(after_header, Field::Section)?;
        for section in &self.sections {
            section.check(place, end)?;
            end = section.extent.end();
        }
        place.check_sense(end == place.offset, Field::Section)?;
        for kind in [LOCATORS, DIRECTORY] {
            let count = self.sections.iter().filter(|section| section.kind == kind).count();
            place.check_sense(count == 1, Field::Section)?;
        }
        for kind in [INDEX, FILTER, MARKS] {
            let count = self.sections.iter().filter(|section| section.kind == kind).count();
            place.check_sense(count <= 1, Field::Section)?;
        }
        Ok(())
    }

    /// The block table.
    pub fn locators(&self) -> &Extent {
        self.section(LOCATORS).expect("checked by decode")
    }

    /// The tablet directory.
    pub fn directory(&self) -> &Extent {
        self.section(DIRECTORY).expect("checked by decode")
    }

    /// Of the `u64` tablets; see [`super::learned_section`].
    pub fn learned_index(&self) -> Option<&Extent> {
        self.derived(INDEX)
    }

    /// Of the keys of the `string` tablets; see [`super::filter`].
    pub fn membership_filter(&self) -> Option<&Extent> {
        self.derived(FILTER)
    }

    /// See [`super::marks`].
    pub fn marks(&self) -> Option<&Extent> {
        self.derived(MARKS)
    }

    /// In version 1 these kinds meant nothing.
    fn derived(&self, kind: u16) -> Option<&Extent> {
        self.section(kind).filter(|_| self.has_derived())
    }

    /// Whether a derived section that is not there would be empty.
    pub(super) fn has_derived(&self) -> bool {
        self.version >= DERIVED_SINCE_VERSION
    }

    fn section(&self, kind: u16) -> Option<&Extent> {
        self.sections.iter().find(|section| section.kind == kind).map(|section| &section.extent)
    }

    /// Where the keys end and the first section begins.
    pub(super) fn sections_start(&self) -> FileOffset {
        self.sections.first().map_or(self.file.footer_offset(), |section| section.extent.offset)
    }
}

impl Section {
    fn encode(&self, bytes: &mut [u8]) {
        put_at(bytes, 0, self.kind.to_le_bytes());
        put_at(bytes, 2, u16::from(self.required).to_le_bytes());
        put_at(bytes, 8, self.extent.offset.0.to_le_bytes());
        put_at(bytes, 16, self.extent.len.to_le_bytes());
        put_at(bytes, 24, self.extent.hash.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Section {
        Section {
            kind: u16_at(bytes, 0),
            required: u16_at(bytes, 2) != 0,
            extent: Extent {
                offset: FileOffset(u64_at(bytes, 8)),
                len: u64_at(bytes, 16),
                hash: u64_at(bytes, 24),
            },
        }
    }

    fn check(&self, place: Place, start: FileOffset) -> Result<(), RunError> {
        let known = matches!(self.kind, LOCATORS..=MARKS);
        let newer = Fault::Newer { field: Field::Section, found: self.kind.into() };
        place.check(known || !self.required, newer)?;
        self.extent.check_bounds(place, start, place.offset)
    }
}
