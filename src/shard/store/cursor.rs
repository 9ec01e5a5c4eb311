//! The entries of a part in order, or in the opposite one, read ahead in growing stretches of blocks.
//!
//! What memory has is walked without a pause: only a block that is not warm has to be awaited.

use std::ops::{Bound, Range};
use std::rc::Rc;

use super::part::{Part, ReadUnderWay};
use crate::io::buf::AlignedBuf;
use crate::limits;
use crate::shard::run::block::Block;
use crate::shard::run::{Body, EntryRef, Resident, RunError, ValueRef};
use crate::shard::runs::LoadError;
use crate::types::{CollectionId, FileOffset, Lsn, Seq, TabletId, WallMs};

/// What of a part is walked.
#[derive(Clone, Debug)]
pub enum Walk {
    All,
    Range { collection: CollectionId, tablet: TabletId, start: Bound<Vec<u8>>, end: Bound<Vec<u8>> },
}

/// Invariant: the open block lies in `stretch`, and `head` is the first of `entries`, or the last in reverse.
pub struct Cursor {
    part: Rc<Part>,
    resident: Rc<Resident>,
    walk: Rc<Walk>,
    /// Not read yet.
    blocks: Range<u32>,
    reverse: bool,
    read_bytes: usize,
    stretch: Stretch,
    /// The read behind it, of one who walks all.
    ahead: Option<Ahead>,
    collection: CollectionId,
    tablet: TabletId,
    /// The open block, and where it is in the stretch.
    block: Option<(Block<'static>, Range<usize>)>,
    /// Of the open block: in the range, and not passed.
    entries: Range<usize>,
    head: Option<Slot>,
}

/// Blocks in memory.
struct Stretch {
    bytes: Rc<AlignedBuf>,
    offset: FileOffset,
    /// Not opened yet.
    blocks: Range<u32>,
    from: Origin,
}

/// A read under way.
struct Ahead {
    blocks: Range<u32>,
    offset: FileOffset,
    read: ReadUnderWay,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// To be checked; are to stay warm.
    DiskToKeep,
    /// To be checked.
    Disk,
    /// Checked before they became warm.
    Memory,
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
    /// Reads what is resident of the part if need be.
    pub async fn open(part: &Rc<Part>, walk: Walk, read_bytes: usize) -> Result<Cursor, LoadError> {
        let resident = part.load().await?;
        Ok(Cursor::over(part.clone(), resident, Rc::new(walk), false, read_bytes))
    }

    pub fn over(
        part: Rc<Part>,
        resident: Rc<Resident>,
        walk: Rc<Walk>,
        reverse: bool,
        read_bytes: usize,
    ) -> Cursor {
        let blocks = match &*walk {
            Walk::All => 0..resident.reader().footer().blocks,
            Walk::Range { collection, tablet, start, end } => {
                let (start, end) = (start.as_ref().map(Vec::as_slice), end.as_ref().map(Vec::as_slice));
                resident.blocks_of_range(*collection, *tablet, start, end)
            }
        };
        Cursor {
            part,
            resident,
            walk,
            blocks,
            reverse,
            read_bytes,
            stretch: Stretch {
                bytes: Rc::new(AlignedBuf::zeroed(0)),
                offset: FileOffset::ZERO,
                blocks: 0..0,
                from: Origin::Memory,
            },
            ahead: None,
            collection: CollectionId::ZERO,
            tablet: TabletId::ZERO,
            block: None,
            entries: 0..0,
            head: None,
        }
    }

    pub fn part(&self) -> &Rc<Part> {
        &self.part
    }

    /// The next entry; `None` at the end, and before [`Cursor::fill`].
    pub fn head(&self) -> Option<EntryRef<'_>> {
        let slot = self.head.as_ref()?;
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
        let slot = self.head.as_ref()?;
        Some((self.collection, self.tablet, &self.stretch.bytes[slot.key.clone()]))
    }

    pub fn advance(&mut self) {
        match self.reverse {
            false => self.entries.start += 1,
            true => self.entries.end -= 1,
        }
        // What is wrong with an entry is told when it is asked for.
        self.head = self.first_entry().ok().flatten();
    }

    /// Reads on until there is a next entry, or the end is reached.
    pub async fn fill(&mut self) -> Result<(), LoadError> {
        while !self.fill_now()? {
            self.read_stretch().await?;
        }
        Ok(())
    }

    /// As `fill`, with what is in memory; false when a stretch has to be read.
    pub fn fill_now(&mut self) -> Result<bool, LoadError> {
        while self.head.is_none() {
            if !self.entries.is_empty() {
                self.head = self.first_entry().map_err(|error| self.part.damaged(error))?;
                continue;
            }
            if self.stretch.blocks.is_empty() {
                if self.blocks.is_empty() {
                    return Ok(true);
                }
                if !self.take_warm_block() {
                    return Ok(false);
                }
            }
            let number = match self.reverse {
                false => self.stretch.blocks.next(),
                true => self.stretch.blocks.next_back(),
            };
            let number = number.expect("not empty");
            self.open_block(number).map_err(|error| self.part.damaged(error))?;
        }
        Ok(true)
    }

    /// Reads the next blocks: `fill_now` said that they are not in memory.
    pub async fn read_stretch(&mut self) -> Result<(), LoadError> {
        let (blocks, offset, bytes) = match self.ahead.take() {
            Some(Ahead { blocks, offset, read }) => (blocks, offset, read.await?),
            None => {
                let (blocks, offset, len) = self.next_read();
                (blocks, offset, self.part.read(offset, len).await?)
            }
        };
        let stays = self.keeps() && bytes.len() <= limits::WARM_READ_BYTES_MAX;
        let from = if stays { Origin::DiskToKeep } else { Origin::Disk };
        let done = self.stretch_is(Stretch { bytes: Rc::new(bytes), offset, blocks, from });
        self.read_bytes = (self.read_bytes * 2).min(limits::RUN_READ_BYTES);
        if !self.keeps() && !self.blocks.is_empty() {
            self.read_ahead(Rc::into_inner(done.bytes));
        }
        Ok(())
    }

    /// Begins the next read while this stretch is walked, into memory that is not needed any more.
    fn read_ahead(&mut self, free: Option<AlignedBuf>) {
        let (blocks, offset, len) = self.next_read();
        let buf = free.filter(|buf| buf.len() == len).unwrap_or_else(|| AlignedBuf::zeroed(len));
        let read = self.part.begin_read(offset, buf);
        self.ahead = read.map(|read| Ahead { blocks, offset, read });
    }

    /// The next blocks, and where they are in the file.
    fn next_read(&self) -> (Range<u32>, FileOffset, usize) {
        let blocks = self.next_blocks();
        let locators = self.resident.reader().locators();
        let offset = locators.block(blocks.start).offset;
        let last = locators.block(blocks.end - 1);
        let len = (last.offset.0 - offset.0) as usize + last.len;
        (blocks, offset, len)
    }

    /// Blocks that are read stay warm, those that are warm are not read.
    fn keeps(&self) -> bool {
        matches!(*self.walk, Walk::Range { .. })
    }

    /// The next block is warm, and is taken.
    fn take_warm_block(&mut self) -> bool {
        let number = if self.reverse { self.blocks.end - 1 } else { self.blocks.start };
        if !self.keeps() {
            return false;
        }
        let warm = self.part.shelf().blocks.borrow().get(self.part.meta.id, number);
        let Some(bytes) = warm else { return false };
        let offset = self.resident.reader().locators().block(number).offset;
        self.stretch_is(Stretch { bytes, offset, blocks: number..number + 1, from: Origin::Memory });
        true
    }

    /// Gives the one before.
    fn stretch_is(&mut self, stretch: Stretch) -> Stretch {
        match self.reverse {
            false => self.blocks.start = stretch.blocks.end,
            true => self.blocks.end = stretch.blocks.start,
        }
        std::mem::replace(&mut self.stretch, stretch)
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
        let at = reader.locators().block(number);
        let from = (at.offset.0 - self.stretch.offset.0) as usize;
        let place = from..from + at.len;
        let bytes = &self.stretch.bytes[place.clone()];
        let block = match self.stretch.from {
            Origin::Memory => reader.block_again(number, bytes)?,
            Origin::Disk | Origin::DiskToKeep => reader.block(number, bytes)?,
        };
        if self.stretch.from == Origin::DiskToKeep {
            self.part.shelf().blocks.borrow_mut().insert(self.part.meta.id, number, bytes);
        }
        let info = &reader.tablet_of_block(number).info;
        (self.collection, self.tablet) = (info.collection, info.tablet);
        self.entries = entries_of(&self.walk, &block)?;
        self.block = Some((block.detached(), place));
        Ok(())
    }

    /// Of the entries that were not passed.
    fn first_entry(&self) -> Result<Option<Slot>, RunError> {
        let (Some((block, place)), false) = (&self.block, self.entries.is_empty()) else { return Ok(None) };
        let bytes = &self.stretch.bytes[place.clone()];
        let index = if self.reverse { self.entries.end - 1 } else { self.entries.start };
        let entry = block.attached(bytes).entry(index)?;
        let range = |part: &[u8]| {
            // Parts of the block that was just cut out of the stretch.
            let start = place.start + (part.as_ptr() as usize - bytes.as_ptr() as usize);
            start..start + part.len()
        };
        Ok(Some(Slot {
            lsn: entry.lsn,
            seq: entry.seq,
            expires: entry.expires,
            key: range(entry.key),
            body: match entry.body {
                Body::Tombstone => Placed::Tombstone,
                Body::Here(payload) => Placed::Here(range(payload)),
                Body::Apart(at) => Placed::Apart(at),
            },
        }))
    }
}

/// Entries of a block that are walked.
fn entries_of(walk: &Walk, block: &Block<'_>) -> Result<Range<usize>, RunError> {
    let Walk::Range { start, end, .. } = walk else { return Ok(0..block.len()) };
    let from = match start {
        Bound::Unbounded => 0,
        Bound::Included(key) => block.count_below(key, false)?,
        Bound::Excluded(key) => block.count_below(key, true)?,
    };
    let to = match end {
        Bound::Unbounded => block.len(),
        Bound::Included(key) => block.count_below(key, true)?,
        Bound::Excluded(key) => block.count_below(key, false)?,
    };
    Ok(from..to.max(from))
}
