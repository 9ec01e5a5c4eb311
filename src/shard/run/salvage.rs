//! Payload blocks that vouch for themselves: what can be read of a run whose tables are damaged.
//!
//! A block names its run, its number and its place, under a hash of its own, so one that is found where it says it
//! is was written there by this run's writer.

use super::PAGE_BYTES;
use super::block::{Block, header_of};
use super::locators::BlockPlace;
use crate::types::{FileOffset, RunId};

/// The block that begins `bytes`, its number and its length; `None` when what lies there is none of this run, or one
/// with an entry that is none.
pub fn block_at(bytes: &[u8], run: RunId, offset: FileOffset) -> Option<(u32, usize, Block<'_>)> {
    let header = header_of(bytes)?;
    let fits = header.run == run && header.offset == offset && header.len.is_multiple_of(PAGE_BYTES);
    let own = bytes.get(..header.len).filter(|own| fits && !own.is_empty())?;
    let place = BlockPlace {
        number: header.number,
        offset,
        len: header.len,
        first_entry: 0,
        entries: header.count as u64,
        hash: u64::from_le_bytes(*own.first_chunk()?),
    };
    let block = Block::decode(own, run, &place).ok()?;
    let sound = block.len() > 0 && (0..block.len()).all(|index| block.entry(index).is_ok());
    sound.then_some((header.number, header.len, block))
}
