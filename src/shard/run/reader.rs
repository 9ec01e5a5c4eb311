//! Reads a run: what is resident of it, and how to take its payload blocks and keys apart.
//!
//! To open a run, read its last page ([`RunFile::footer_offset`]) and decode the [`Footer`], then read
//! the header and the two sections that the footer names. To load it, read one [`BlockSpan`] after the
//! other: spans end with blocks, so a jumbo block is never cut. To look one key up, find its block with
//! [`U64Keys`] or [`FirstKeys`], and read that block.

use super::block::Block;
use super::directory::{Directory, TabletEntry};
use super::error::{Field, Part, Place, RunError};
use super::first_keys::FirstKeys;
use super::footer::{Footer, RunFile};
use super::header::{Covered, RunHeader};
use super::iter::EntryIter;
use super::locators::{BlockSpan, Locators};
use super::u64_keys::U64Keys;
use crate::shard::key::KeyType;
use crate::types::ShardId;

/// Of one run: header, footer, directory and block table, checked against each other.
#[derive(Clone, Debug)]
pub struct RunReader {
    header: RunHeader,
    footer: Footer,
    directory: Directory,
    locators: Locators,
}

/// The keys of a tablet, as far as they are resident.
#[derive(Clone, Copy, Debug)]
pub enum Keys<'a> {
    U64(U64Keys<'a>),
    /// Of a `string` tablet.
    First(FirstKeys<'a>),
}

impl RunReader {
    /// From the first page and the bytes of the two sections, padding included.
    pub fn new(
        footer: Footer,
        header: &[u8],
        directory: &[u8],
        locators: &[u8],
    ) -> Result<RunReader, RunError> {
        let header = RunHeader::decode(header, &footer)?;
        let directory = Directory::decode(directory, &footer)?;
        let locators = Locators::decode(locators, &footer)?;
        RunReader::of_parts(footer, header, directory, locators)
    }

    pub(super) fn of_parts(
        footer: Footer,
        header: RunHeader,
        directory: Directory,
        locators: Locators,
    ) -> Result<RunReader, RunError> {
        let reader = RunReader { header, footer, directory, locators };
        reader.check()?;
        Ok(reader)
    }

    /// Directory and block table agree.
    fn check(&self) -> Result<(), RunError> {
        let offset = self.footer.directory().offset;
        let place = Place { run: self.footer.file.run, part: Part::Directory, offset };
        let keys_start = self.directory.keys_start(&self.footer);
        place.check_sense(self.locators.end() == keys_start, Field::Offset)?;
        self.directory.tablets().iter().try_for_each(|tablet| {
            let first = self.locators.first_entry(tablet.first_block as usize);
            let end = self.locators.first_entry(tablet.end_block() as usize);
            place.check_sense(end - first == tablet.entries, Field::EntryCount)
        })
    }

    pub fn file(&self) -> RunFile {
        self.footer.file
    }

    pub fn shard(&self) -> ShardId {
        self.header.shard
    }

    pub fn covered(&self) -> Covered {
        self.header.covered
    }

    pub fn footer(&self) -> &Footer {
        &self.footer
    }

    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    pub fn locators(&self) -> &Locators {
        &self.locators
    }

    /// The blocks to read from `first_block` on, about `bytes`: a block more than that only when it is
    /// the first. `None` at the end. Go on with [`BlockSpan::end_block`].
    pub fn span(&self, first_block: u32, bytes: usize) -> Option<BlockSpan> {
        self.locators.span(first_block, bytes)
    }

    /// The entries of a span, from exactly the bytes that it names.
    pub fn entries<'a>(&'a self, span: &BlockSpan, bytes: &'a [u8]) -> Result<EntryIter<'a>, RunError> {
        let place = Place { run: self.footer.file.run, part: Part::Block, offset: span.offset };
        place.check_len(bytes, span.len as u64)?;
        Ok(EntryIter::new(self, span, bytes))
    }

    /// A payload block, from exactly the bytes that the block table names. Panics when there is no block
    /// of this number.
    pub fn block<'a>(&self, number: u32, bytes: &'a [u8]) -> Result<Block<'a>, RunError> {
        self.block_of_tablet(number, bytes).map(|(block, _)| block)
    }

    /// As `block`, of bytes that came out of it before: nothing is checked but that entries can be found.
    pub fn block_again<'a>(&self, number: u32, bytes: &'a [u8]) -> Result<Block<'a>, RunError> {
        Block::again(bytes, self.footer.file.run, &self.locators.block(number))
    }

    /// Which tablet a payload block is of. Panics when there is no such block.
    pub fn tablet_of_block(&self, number: u32) -> &TabletEntry {
        self.directory.of_block(number).expect("the directory covers all blocks")
    }

    pub(super) fn block_of_tablet<'a>(
        &self,
        number: u32,
        bytes: &'a [u8],
    ) -> Result<(Block<'a>, &TabletEntry), RunError> {
        let block = Block::decode(bytes, self.footer.file.run, &self.locators.block(number))?;
        let tablet = self.directory.of_block(number).expect("the directory covers all blocks");
        let (wanted, found) = (tablet.info.tablet.0, block.tablet().0);
        block.place().check_field(Field::Tablet, wanted.into(), found.into())?;
        block.place().check_sense(block.form().fits(tablet.info.key_type), Field::Tablet)?;
        Ok((block, tablet))
    }

    /// The keys of a tablet of this run, from the bytes of its extent, padding included.
    pub fn keys<'a>(&self, tablet: &TabletEntry, bytes: &'a [u8]) -> Result<Keys<'a>, RunError> {
        let run = self.footer.file.run;
        match tablet.info.key_type {
            KeyType::U64 => U64Keys::decode(bytes, run, tablet).map(Keys::U64),
            KeyType::String => FirstKeys::decode(bytes, run, tablet).map(Keys::First),
        }
    }
}
