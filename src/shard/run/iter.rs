//! The entries of consecutive payload blocks, in order.

use super::block::Block;
use super::directory::TabletEntry;
use super::entry::EntryRef;
use super::error::{Field, RunError};
use super::locators::BlockSpan;
use super::reader::RunReader;
use crate::shard::key::KeyType;

/// Checks each block when it comes to it, and that its entries ascend and fit the tablet and
/// the footer. After an error it is at its end.
#[derive(Clone, Debug)]
pub struct EntryIter<'a> {
    reader: &'a RunReader,
    /// Of the blocks from `next_block` on.
    bytes: &'a [u8],
    next_block: u32,
    end_block: u32,
    current: Option<Current<'a>>,
    last_key: Option<&'a [u8]>,
}

/// The block that is being read.
#[derive(Clone, Copy, Debug)]
struct Current<'a> {
    block: Block<'a>,
    tablet: &'a TabletEntry,
    next_entry: usize,
}

impl<'a> EntryIter<'a> {
    pub(super) fn new(reader: &'a RunReader, span: &BlockSpan, bytes: &'a [u8]) -> EntryIter<'a> {
        let (next_block, end_block) = (span.first_block, span.end_block);
        EntryIter { reader, bytes, next_block, end_block, current: None, last_key: None }
    }

    /// The next block of the span; false at its end.
    fn open_block(&mut self) -> Result<bool, RunError> {
        if self.next_block == self.end_block {
            return Ok(false);
        }
        let len = self.reader.locators().block(self.next_block).len;
        let (bytes, rest) = self.bytes.split_at(len);
        let (block, tablet) = self.reader.block_of_tablet(self.next_block, bytes)?;
        if tablet.first_block == self.next_block {
            self.last_key = None;
        }
        self.current = Some(Current { block, tablet, next_entry: 0 });
        self.bytes = rest;
        self.next_block += 1;
        Ok(true)
    }

    fn next_entry(&mut self) -> Result<Option<EntryRef<'a>>, RunError> {
        loop {
            if let Some(current) = &mut self.current
                && current.next_entry < current.block.len()
            {
                let entry = current.block.entry(current.next_entry)?;
                current.check(&entry, self.last_key, self.reader)?;
                current.next_entry += 1;
                self.last_key = Some(entry.key);
                return Ok(Some(entry));
            }
            if !self.open_block()? {
                return Ok(None);
            }
        }
    }
}

impl Current<'_> {
    fn check(&self, entry: &EntryRef<'_>, last: Option<&[u8]>, reader: &RunReader) -> Result<(), RunError> {
        let place = self.block.place();
        place.check_sense(last.is_none_or(|last| last < entry.key), Field::KeyOrder)?;
        let info = &self.tablet.info;
        place.check_sense(info.key_type != KeyType::U64 || entry.key.len() == 8, Field::Entry)?;
        place.check_sense(entry.seq < info.next_seq, Field::Seq)?;
        let footer = reader.footer();
        place.check_sense((footer.lsn_min..=footer.lsn_max).contains(&entry.lsn), Field::Lsn)
    }
}

impl<'a> Iterator for EntryIter<'a> {
    type Item = Result<EntryRef<'a>, RunError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_entry();
        if next.is_err() {
            self.current = None;
            self.next_block = self.end_block;
        }
        next.transpose()
    }
}
