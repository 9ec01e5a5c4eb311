//! A part of a segment in memory, and the search for the next self-valid block in it.

use super::block::{BlockFault, BlockView};
use crate::io::buf::BLOCK_BYTES;
use crate::types::{FileOffset, SegmentId, ShardId};

/// Bytes of a segment from `base` on.
#[derive(Clone, Copy)]
pub(super) struct Chunk<'a> {
    pub(super) shard: ShardId,
    pub(super) segment: SegmentId,
    /// A multiple of 4 KiB.
    pub(super) base: u64,
    pub(super) bytes: &'a [u8],
    /// Nothing of the segment lies behind these bytes.
    pub(super) last: bool,
}

/// What a search came upon.
pub(super) enum Found<'a> {
    Block(BlockView<'a>),
    /// The block at this offset may go on behind the chunk: read again from here.
    ReadFrom(u64),
    /// A block of a newer format.
    Newer {
        offset: u64,
        fault: BlockFault,
    },
    End,
}

impl<'a> Chunk<'a> {
    pub(super) fn block(&self, offset: u64) -> Result<BlockView<'a>, BlockFault> {
        let skip = offset.checked_sub(self.base).expect("an offset before the chunk") as usize;
        let bytes = self.bytes.get(skip..).unwrap_or(&[]);
        BlockView::parse(bytes, self.shard, self.segment, FileOffset(offset))
    }

    /// The block at `offset` reaches beyond the chunk, and there is more to read. A chunk that begins
    /// with the block is large enough for any block, so asking again ends.
    pub(super) fn is_too_short(&self, offset: u64, fault: BlockFault) -> bool {
        matches!(fault, BlockFault::Cut { .. }) && !self.last && offset > self.base
    }

    /// The first self-valid block at or behind `offset`, which is a multiple of 4 KiB.
    pub(super) fn search(&self, mut offset: u64) -> Found<'a> {
        let end = self.base + self.bytes.len() as u64;
        while offset < end {
            match self.block(offset) {
                Ok(block) => return Found::Block(block),
                Err(fault @ BlockFault::Newer { .. }) => return Found::Newer { offset, fault },
                Err(fault) if self.is_too_short(offset, fault) => return Found::ReadFrom(offset),
                Err(_) => offset += BLOCK_BYTES as u64,
            }
        }
        if self.last { Found::End } else { Found::ReadFrom(offset) }
    }
}
