//! Payload blocks: what one direct read brings.
//!
//! ```text
//! 0     8      12     16   24      32     36    40     42    44      48      56      64
//! +-----+------+------+----+-------+------+-----+------+-----+-------+-------+-------+---------+------+-----------+
//! |hash | magic| block| run| offset| block| used| en-  | form| tablet| lowest| lowest| entries | 0 .. | slot n-1, |
//! | u64 | u32  | no.  | u64| u64   | len  | u32 | tries| u16 | u32   | LSN   | lead  |         |      | .. slot 0 |
//! +-----+------+------+----+-------+------+-----+------+-----+-------+-------+-------+---------+------+-----------+
//!                                                                                            ^ used         len ^
//! ```
//!
//! Slot i (u16, counted from the end) is where entry i begins; entries stand one behind the other in key
//! order, so an entry ends where the next one begins. A block has one page; a jumbo block has as many as its one
//! entry needs. The header says which run and place the block is for, so a misdirected or swapped block is never
//! taken for another. For the form, and how the header ends by it, see [`super::block_form`].

use super::PAGE_BYTES;
use super::block_form::{BlockForm, HEADER_AND_ENTRY_BYTES_MAX, Short};
use super::entry::EntryRef;
use super::error::{Fault, Field, Part, Place, RunError};
use super::field::{put_at, u16_at, u32_at, u64_at};
use super::locators::BlockPlace;
use super::seal::{self, SEALED_AT};
use crate::types::{FileOffset, RunId, TabletId};

const MAGIC: u32 = u32::from_le_bytes(*b"KRBK");
const MAGIC_AT: usize = SEALED_AT;
const NUMBER_AT: usize = MAGIC_AT + 4;
const RUN_AT: usize = NUMBER_AT + 4;
const OFFSET_AT: usize = RUN_AT + 8;
const LEN_AT: usize = OFFSET_AT + 8;
const USED_AT: usize = LEN_AT + 4;
const COUNT_AT: usize = USED_AT + 4;
/// The form is in between.
const TABLET_AT: usize = COUNT_AT + 4;
pub(super) const SLOT_BYTES: usize = 2;

pub(super) const BLOCK_PAGES_MAX: u32 = (HEADER_AND_ENTRY_BYTES_MAX + SLOT_BYTES).div_ceil(PAGE_BYTES) as u32;

/// What the header of a block says; the hash is put over it by [`seal::seal`].
pub(super) struct BlockHeader {
    pub run: RunId,
    pub number: u32,
    pub offset: FileOffset,
    pub len: usize,
    pub used: usize,
    pub count: usize,
    pub tablet: TabletId,
}

impl BlockHeader {
    pub fn encode(&self, form: &Short, out: &mut [u8]) {
        form.encode(out);
        put_at(out, MAGIC_AT, MAGIC.to_le_bytes());
        put_at(out, NUMBER_AT, self.number.to_le_bytes());
        put_at(out, RUN_AT, self.run.0.to_le_bytes());
        put_at(out, OFFSET_AT, self.offset.0.to_le_bytes());
        put_at(out, LEN_AT, (self.len as u32).to_le_bytes());
        put_at(out, USED_AT, (self.used as u32).to_le_bytes());
        put_at(out, COUNT_AT, (self.count as u16).to_le_bytes());
        put_at(out, TABLET_AT, self.tablet.0.to_le_bytes());
    }
}

/// What a page says if it begins a block; nothing of it is checked but the magic.
pub(super) fn header_of(page: &[u8]) -> Option<BlockHeader> {
    let begins = page.len() >= PAGE_BYTES && u32_at(page, MAGIC_AT) == MAGIC;
    begins.then(|| BlockHeader {
        run: RunId(u64_at(page, RUN_AT)),
        number: u32_at(page, NUMBER_AT),
        offset: FileOffset(u64_at(page, OFFSET_AT)),
        len: u32_at(page, LEN_AT) as usize,
        used: u32_at(page, USED_AT) as usize,
        count: usize::from(u16_at(page, COUNT_AT)),
        tablet: TabletId(u32_at(page, TABLET_AT)),
    })
}

/// Where slot `index` of a block of `len` bytes is.
pub(super) fn slot_at(len: usize, index: usize) -> usize {
    len - SLOT_BYTES * (index + 1)
}

/// A block whose hash and place were checked.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    place: Place,
    bytes: &'a [u8],
    tablet: TabletId,
    form: BlockForm,
    used: usize,
    count: usize,
}

impl<'a> Block<'a> {
    /// From exactly the bytes that the block table names.
    pub(super) fn decode(bytes: &'a [u8], run: RunId, at: &BlockPlace) -> Result<Block<'a>, RunError> {
        let place = Place { run, part: Part::Block, offset: at.offset };
        let hash = seal::check_seal(place, bytes, at.len)?;
        place.check_field(Field::Magic, MAGIC.into(), u32_at(bytes, MAGIC_AT).into())?;
        place.check_field(Field::Run, run.0, u64_at(bytes, RUN_AT))?;
        place.check_field(Field::BlockNumber, at.number.into(), u32_at(bytes, NUMBER_AT).into())?;
        place.check_field(Field::Offset, at.offset.0, u64_at(bytes, OFFSET_AT))?;
        place.check_field(Field::Length, at.len as u64, u32_at(bytes, LEN_AT).into())?;
        place.check_hash(at.hash, hash)?;
        Block::again(bytes, run, at)
    }

    /// As `decode`, of bytes that were decoded before.
    pub(super) fn again(bytes: &'a [u8], run: RunId, at: &BlockPlace) -> Result<Block<'a>, RunError> {
        let place = Place { run, part: Part::Block, offset: at.offset };
        place.check_len(bytes, at.len as u64)?;
        let count = usize::from(u16_at(bytes, COUNT_AT));
        place.check_field(Field::EntryCount, at.entries, count as u64)?;
        let used = u32_at(bytes, USED_AT) as usize;
        let room = at.len.saturating_sub(SLOT_BYTES * count);
        let malformed = |field| place.fault(Fault::Malformed { field });
        let form = BlockForm::decode(bytes).ok_or_else(|| malformed(Field::Version))?;
        place.check_sense((form.header_bytes()..=room).contains(&used), Field::Length)?;
        Ok(Block { place, bytes, tablet: TabletId(u32_at(bytes, TABLET_AT)), form, used, count })
    }

    pub fn tablet(&self) -> TabletId {
        self.tablet
    }

    pub(super) fn form(&self) -> &BlockForm {
        &self.form
    }

    /// Entries; at least one.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Entry `index` in key order. Panics when `index >= len()`.
    pub fn entry(&self, index: usize) -> Result<EntryRef<'a>, RunError> {
        assert!(index < self.count);
        let (start, end) = (self.entry_start(index), self.entry_start(index + 1));
        let within = self.form.header_bytes() <= start && end <= self.used;
        let bytes = self.bytes.get(start..end).filter(|_| within);
        bytes
            .and_then(|bytes| self.form.entry(self.tablet, bytes))
            .ok_or_else(|| self.place.fault(Fault::Malformed { field: Field::Entry }))
    }

    /// The entry that resident keys say is in this slot.
    pub fn entry_of(&self, slot: u32, key: &[u8]) -> Result<EntryRef<'a>, RunError> {
        let malformed = self.place.fault(Fault::Malformed { field: Field::Entry });
        if slot as usize >= self.count {
            return Err(malformed);
        }
        let entry = self.entry(slot as usize)?;
        if entry.key == key { Ok(entry) } else { Err(malformed) }
    }

    /// The entry of this key, by binary search.
    pub fn find(&self, key: &[u8]) -> Result<Option<EntryRef<'a>>, RunError> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            let entry = self.entry(middle)?;
            match entry.key.cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(Some(entry)),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    /// How many entries are below `key`, or the same.
    pub fn count_below(&self, key: &[u8], or_same: bool) -> Result<usize, RunError> {
        let is_below = |index| {
            let entry = self.entry(index)?;
            Ok(if or_same { entry.key <= key } else { entry.key < key })
        };
        // Mostly all of them or none.
        if !is_below(0)? {
            return Ok(0);
        }
        let (mut low, mut high) = (1, self.count);
        if is_below(high - 1)? {
            return Ok(high);
        }
        while low < high {
            let middle = low.midpoint(high);
            if is_below(middle)? { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    /// Without its bytes, for one who keeps both.
    pub fn detached(&self) -> Block<'static> {
        Block { bytes: &[], ..*self }
    }

    /// A detached block with its bytes again.
    pub fn attached<'b>(&self, bytes: &'b [u8]) -> Block<'b>
    where
        'a: 'b,
    {
        Block { bytes, ..*self }
    }

    /// Where entry `index` begins; for `len()`, where the last one ends.
    fn entry_start(&self, index: usize) -> usize {
        match index < self.count {
            true => usize::from(u16_at(self.bytes, slot_at(self.bytes.len(), index))),
            false => self.used,
        }
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }
}
