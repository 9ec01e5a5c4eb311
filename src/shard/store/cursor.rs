//! The entries of a part in order, or in the opposite one, read ahead in growing stretches of blocks.

use std::ops::{Bound, Range};
use std::rc::Rc;

use super::part::Part;
use crate::io::buf::AlignedBuf;
use crate::limits;
use crate::shard::run::{Body, EntryRef, Resident, RunError, ValueRef};
use crate::shard::runs::LoadError;
use crate::types::{CollectionId, FileOffset, Lsn, Seq, TabletId, WallMs};

/// What of a part is walked.
#[derive(Clone, Debug)]
pub enum Walk {
    All,
    Range { collection: CollectionId, tablet: TabletId, start: Bound<Vec<u8>>, end: Bound<Vec<u8>> },
}

/// Invariant: `entries` are those of one block of `stretch`, and `at` the next of them.
pub struct Cursor {
    part: Rc<Part>,
    resident: Rc<Resident>,
    /// Not read yet.
    blocks: Range<u32>,
    reverse: bool,
    read_bytes: usize,
    /// Blocks that are read stay warm, those that are warm are not read.
    keeps: bool,
    stretch: Stretch,
    collection: CollectionId,
    tablet: TabletId,
    entries: Vec<Slot>,
    at: usize,
}

/// Blocks that were read.
struct Stretch {
    bytes: Rc<AlignedBuf>,
    offset: FileOffset,
    /// Not opened yet.
    blocks: Range<u32>,
    /// Blocks of it are to stay warm.
    stays: bool,
}

/// An entry of the open block; places are those in the bytes of the stretch.
struct Slot {
    lsn: Lsn,
    seq: Seq,
    expires: Option<WallMs>,
    key: Range<usize>,
    body: Placed,
}

enum Placed {
    Tombstone,
    Here(Range<usize>),
    Apart(ValueRef),
}

impl Cursor {
    pub async fn open(
        part: &Rc<Part>,
        walk: &Walk,
        reverse: bool,
        read_bytes: usize,
    ) -> Result<Cursor, LoadError> {
        let resident = part.load().await?;
        let blocks = match walk {
            Walk::All => 0..resident.reader().footer().blocks,
            Walk::Range { collection, tablet, start, end } => {
                let bound = |bound: &Bound<Vec<u8>>| bound.clone();
                let (start, end) = (bound(start), bound(end));
                let start = start.as_ref().map(Vec::as_slice);
                let end = end.as_ref().map(Vec::as_slice);
                resident.blocks_of_range(*collection, *tablet, start, end)
            }
        };
        Ok(Cursor {
            part: part.clone(),
            resident,
            blocks,
            reverse,
            read_bytes,
            keeps: matches!(walk, Walk::Range { .. }),
            stretch: Stretch {
                bytes: Rc::new(AlignedBuf::zeroed(0)),
                offset: FileOffset::ZERO,
                blocks: 0..0,
                stays: false,
            },
            collection: CollectionId::ZERO,
            tablet: TabletId::ZERO,
            entries: Vec::new(),
            at: 0,
        })
    }

    pub fn part(&self) -> &Rc<Part> {
        &self.part
    }

    /// The next entry; `None` at the end, and before [`Cursor::fill`].
    pub fn head(&self) -> Option<EntryRef<'_>> {
        let slot = self.entries.get(self.at)?;
        let bytes = &self.stretch.bytes;
        Some(EntryRef {
            tablet: self.tablet,
            key: &bytes[slot.key.clone()],
            lsn: slot.lsn,
            seq: slot.seq,
            expires: slot.expires,
            body: match &slot.body {
                Placed::Tombstone => Body::Tombstone,
                Placed::Here(range) => Body::Here(&bytes[range.clone()]),
                Placed::Apart(at) => Body::Apart(*at),
            },
        })
    }

    /// Where the next entry stands in the order of runs.
    pub fn place(&self) -> Option<(CollectionId, TabletId, &[u8])> {
        let slot = self.entries.get(self.at)?;
        Some((self.collection, self.tablet, &self.stretch.bytes[slot.key.clone()]))
    }

    pub fn advance(&mut self) {
        self.at += 1;
    }

    /// Reads on until there is a next entry, or the end is reached.
    pub async fn fill(&mut self) -> Result<(), LoadError> {
        while self.at >= self.entries.len() {
            if self.stretch.blocks.is_empty() {
                if self.blocks.is_empty() {
                    self.entries.clear();
                    return Ok(());
                }
                self.read_stretch().await?;
            }
            let number = match self.reverse {
                false => self.stretch.blocks.next(),
                true => self.stretch.blocks.next_back(),
            };
            let number = number.expect("not empty");
            self.open_block(number).map_err(|error| self.part.damaged(error))?;
        }
        Ok(())
    }

    async fn read_stretch(&mut self) -> Result<(), LoadError> {
        if self.take_warm_block() {
            return Ok(());
        }
        let blocks = self.next_blocks();
        let locators = self.resident.reader().locators();
        let offset = locators.block(blocks.start).offset;
        let last = locators.block(blocks.end - 1);
        let len = (last.offset.0 - offset.0) as usize + last.len;
        let bytes = self.part.read(offset, len).await?;
        let stays = self.keeps && len <= limits::WARM_READ_BYTES_MAX;
        self.stretch_is(Stretch { bytes: Rc::new(bytes), offset, blocks, stays });
        self.read_bytes = (self.read_bytes * 2).min(limits::RUN_READ_BYTES);
        Ok(())
    }

    /// The next block is warm, and is taken.
    fn take_warm_block(&mut self) -> bool {
        let number = if self.reverse { self.blocks.end - 1 } else { self.blocks.start };
        if !self.keeps {
            return false;
        }
        let warm = self.part.shelf().blocks.borrow().get(self.part.meta.id, number);
        let Some(bytes) = warm else { return false };
        let offset = self.resident.reader().locators().block(number).offset;
        self.stretch_is(Stretch { bytes, offset, blocks: number..number + 1, stays: false });
        true
    }

    fn stretch_is(&mut self, stretch: Stretch) {
        match self.reverse {
            false => self.blocks.start = stretch.blocks.end,
            true => self.blocks.end = stretch.blocks.start,
        }
        self.stretch = stretch;
    }

    /// As many of the next blocks as fit into a read, at least one.
    fn next_blocks(&self) -> Range<u32> {
        let locators = self.resident.reader().locators();
        let len_of = |number: u32| locators.block(number).len;
        let (mut blocks, mut bytes) = match self.reverse {
            false => (self.blocks.start..self.blocks.start + 1, len_of(self.blocks.start)),
            true => (self.blocks.end - 1..self.blocks.end, len_of(self.blocks.end - 1)),
        };
        while blocks != self.blocks {
            let next = if self.reverse { blocks.start - 1 } else { blocks.end };
            bytes += len_of(next);
            if bytes > self.read_bytes {
                break;
            }
            if self.reverse { blocks.start = next } else { blocks.end = next + 1 }
        }
        blocks
    }

    fn open_block(&mut self, number: u32) -> Result<(), RunError> {
        let reader = self.resident.reader();
        let place = reader.locators().block(number);
        let from = (place.offset.0 - self.stretch.offset.0) as usize;
        let bytes = &self.stretch.bytes[from..from + place.len];
        let block = reader.block(number, bytes)?;
        if self.stretch.stays {
            self.part.shelf().blocks.borrow_mut().insert(self.part.meta.id, number, bytes);
        }
        let info = &reader.tablet_of_block(number).info;
        (self.collection, self.tablet) = (info.collection, info.tablet);
        self.entries.clear();
        self.at = 0;
        let range = |part: &[u8]| {
            // Parts of the block that was just cut out of the stretch.
            let start = from + (part.as_ptr() as usize - bytes.as_ptr() as usize);
            start..start + part.len()
        };
        for index in 0..block.len() {
            let entry = block.entry(index)?;
            self.entries.push(Slot {
                lsn: entry.lsn,
                seq: entry.seq,
                expires: entry.expires,
                key: range(entry.key),
                body: match entry.body {
                    Body::Tombstone => Placed::Tombstone,
                    Body::Here(payload) => Placed::Here(range(payload)),
                    Body::Apart(at) => Placed::Apart(at),
                },
            });
        }
        if self.reverse {
            self.entries.reverse();
        }
        Ok(())
    }
}
