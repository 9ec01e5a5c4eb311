//! The block table: where each payload block is and which entries it holds.
//!
//! ```text
//! per block: | number of its first entry u64 | first page u32 | pages u32 | its hash u64 |
//! ```
//!
//! Entries are numbered through the whole run, in its order. The blocks stand one behind the other from
//! page 1 on. A block of more than one page holds one entry. The hash, kept here besides in the block,
//! binds this very version of the block to the run: a stale one is not taken for it.

use std::ops::Range;

use super::PAGE_BYTES;
use super::block::BLOCK_PAGES_MAX;
use super::error::{Field, Part, Place, RunError};
use super::field::{put_at, u32_at, u64_at};
use super::footer::Footer;
use crate::types::FileOffset;

pub(super) const LOCATOR_BYTES: usize = 24;
const FIRST_PAGE: u32 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Locator {
    pub first_entry: u64,
    pub first_page: u32,
    pub pages: u32,
    pub hash: u64,
}

impl Locator {
    pub fn encode(&self) -> [u8; LOCATOR_BYTES] {
        let mut out = [0; LOCATOR_BYTES];
        put_at(&mut out, 0, self.first_entry.to_le_bytes());
        put_at(&mut out, 8, self.first_page.to_le_bytes());
        put_at(&mut out, 12, self.pages.to_le_bytes());
        put_at(&mut out, 16, self.hash.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Locator {
        Locator {
            first_entry: u64_at(bytes, 0),
            first_page: u32_at(bytes, 8),
            pages: u32_at(bytes, 12),
            hash: u64_at(bytes, 16),
        }
    }
}

/// A payload block, by the block table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPlace {
    pub number: u32,
    pub offset: FileOffset,
    /// In bytes, whole pages.
    pub len: usize,
    pub first_entry: u64,
    pub entries: u64,
    pub(super) hash: u64,
}

/// Consecutive blocks that are read in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSpan {
    pub first_block: u32,
    /// Exclusive.
    pub end_block: u32,
    pub offset: FileOffset,
    /// In bytes, whole pages.
    pub len: usize,
}

/// In memory: 24 bytes a block.
#[derive(Clone, Debug)]
pub struct Locators {
    table: Vec<Locator>,
    entries: u64,
}

impl Locators {
    /// From the section, padding included.
    pub fn decode(bytes: &[u8], footer: &Footer) -> Result<Locators, RunError> {
        let (place, table) = footer.locators().open(footer.file.run, Part::Locators, bytes)?;
        let mut builder = LocatorsBuilder::new(place, table.len(), footer)?;
        builder.push(table)?;
        builder.finish()
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Number of the first entry of a block; for the block count, that of all entries.
    pub(super) fn first_entry(&self, block: usize) -> u64 {
        self.table.get(block).map_or(self.entries, |locator| locator.first_entry)
    }

    /// Where the payload blocks end.
    pub(super) fn end(&self) -> FileOffset {
        let page = self.table.last().map_or(FIRST_PAGE, |last| last.first_page + last.pages);
        page_offset(page)
    }

    /// Panics when there is no such block.
    pub fn block(&self, number: u32) -> BlockPlace {
        let locator = self.table[number as usize];
        BlockPlace {
            number,
            offset: page_offset(locator.first_page),
            len: locator.pages as usize * PAGE_BYTES,
            first_entry: locator.first_entry,
            entries: self.first_entry(number as usize + 1) - locator.first_entry,
            hash: locator.hash,
        }
    }

    /// The block of the entry with this number; `None` beyond the last.
    pub fn block_of_entry(&self, entry: u64) -> Option<BlockPlace> {
        (entry < self.entries).then(|| self.block(self.number_of_entry(entry, 0..self.table.len() as u32)))
    }

    /// As `block_of_entry`, when the block is known to be one of these. Blocks have about as many entries each, so
    /// the search begins where the entry would be if they had just as many: near the end of it, in a line or two.
    pub(super) fn number_of_entry(&self, entry: u64, blocks: Range<u32>) -> u32 {
        let table = &self.table[blocks.start as usize..blocks.end as usize];
        let begins_by = |block: usize| table.get(block).is_some_and(|locator| locator.first_entry <= entry);
        assert!(begins_by(0), "the entry is in one of the blocks");
        let (first, end) = (table[0].first_entry, self.first_entry(blocks.end as usize));
        let share = u128::from(entry - first) * table.len() as u128 / u128::from((end - first).max(1));
        let guess = (share as usize).min(table.len() - 1);
        // The block is in `low..high`.
        let (mut low, mut high, mut step) = (guess, guess + 1, 1);
        while !begins_by(low) {
            (low, high, step) = (low.saturating_sub(step), low, step * 2);
        }
        while begins_by(high) {
            (low, high, step) = (high, high + step, step * 2);
        }
        let within = &table[low..high.min(table.len())];
        let after = low + within.partition_point(|locator| locator.first_entry <= entry);
        blocks.start + after as u32 - 1
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.table[..])
    }

    /// As many blocks from `first_block` on as fit into `bytes`, but at least one; `None` beyond the
    /// last block.
    pub fn span(&self, first_block: u32, bytes: usize) -> Option<BlockSpan> {
        let rest = self.table.get(first_block as usize..).filter(|rest| !rest.is_empty())?;
        let start = rest[0].first_page;
        let fits =
            |locator: &Locator| (locator.first_page - start + locator.pages) as usize <= bytes / PAGE_BYTES;
        let count = rest.partition_point(fits).max(1);
        let last = rest[count - 1];
        Some(BlockSpan {
            first_block,
            end_block: first_block + count as u32,
            offset: page_offset(start),
            len: (last.first_page + last.pages - start) as usize * PAGE_BYTES,
        })
    }
}

/// Takes the table in slices and checks it on the way.
pub(super) struct LocatorsBuilder {
    place: Place,
    table: Vec<Locator>,
    entries: u64,
    /// Where the block after the last checked one must begin.
    page: u32,
}

impl LocatorsBuilder {
    /// `place` is that of the section, whose hash was checked or is about to be written.
    pub fn new(place: Place, table_bytes: usize, footer: &Footer) -> Result<LocatorsBuilder, RunError> {
        let wanted = u64::from(footer.blocks) * LOCATOR_BYTES as u64;
        place.check_sense(table_bytes as u64 == wanted, Field::BlockCount)?;
        let table = Vec::with_capacity(footer.blocks as usize);
        Ok(LocatorsBuilder { place, table, entries: footer.entries, page: FIRST_PAGE })
    }

    /// Whole locators.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), RunError> {
        for locator in bytes.chunks_exact(LOCATOR_BYTES).map(Locator::decode) {
            self.check_last(locator.first_entry)?;
            self.place.check_sense(locator.first_page == self.page, Field::Offset)?;
            self.table.push(locator);
        }
        Ok(())
    }

    pub fn finish(mut self) -> Result<Locators, RunError> {
        self.check_last(self.entries)?;
        Ok(Locators { table: self.table, entries: self.entries })
    }

    /// The last block ends where entry `next` begins: only then all of it is known.
    fn check_last(&mut self, next: u64) -> Result<(), RunError> {
        let Some(last) = self.table.last() else {
            return self.place.check_sense(next == 0, Field::EntryCount);
        };
        let entries = next.saturating_sub(last.first_entry);
        self.place.check_sense(entries > 0, Field::EntryCount)?;
        let pages_fit = last.pages == 1 || (last.pages <= BLOCK_PAGES_MAX && entries == 1);
        let end = self.page.checked_add(last.pages);
        self.place.check_sense(last.pages > 0 && pages_fit && end.is_some(), Field::Length)?;
        self.page = end.unwrap_or(self.page);
        Ok(())
    }
}

fn page_offset(page: u32) -> FileOffset {
    FileOffset(u64::from(page) * PAGE_BYTES as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However unevenly entries lie, the block is the one that plain binary search finds.
        #[test]
        fn the_block_of_an_entry_is_found_from_any_guess(
            entries in prop::collection::vec(prop_oneof![Just(1_u64), 30..40_u64, 1..2000_u64], 1..80),
            from in any::<prop::sample::Index>(),
        ) {
            let begins: Vec<u64> = entries.iter().scan(0, |sum, count| { *sum += count; Some(*sum - count) }).collect();
            let all: u64 = entries.iter().sum();
            let locator = |first_entry: &u64| Locator { first_entry: *first_entry, first_page: 1, pages: 1, hash: 0 };
            let locators = Locators { table: begins.iter().map(locator).collect(), entries: all };
            let start = from.index(begins.len());
            for entry in begins[start]..all {
                let wanted = begins.partition_point(|begin| *begin <= entry) as u32 - 1;
                prop_assert_eq!(locators.number_of_entry(entry, start as u32..begins.len() as u32), wanted);
            }
        }
    }
}
