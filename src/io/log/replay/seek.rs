//! Going on behind damage, for verification only: the rules of replay do not hold any more, so what
//! comes out is a list of what can be read, never a log.

use super::{
    BLOCK_BYTES, BlockEnd, BlockHeader, BlockView, Cause, Chunk, Cursor, Damage, Found, Phase, Replay,
};
use crate::io::log::block::BlockFault;
use crate::io::log::damage::ReplayError;

impl Replay {
    /// Goes on behind `error` with the next self-valid block, whatever was lost before it.
    pub fn resume(&mut self, error: &ReplayError) {
        assert!(matches!(self.phase, Phase::Refused));
        let skip = match error {
            // The beginning of a file that was cut may be good.
            ReplayError::Damage(Damage { cause: Cause::CutShort { .. }, .. }) => 0,
            _ => BLOCK_BYTES as u64,
        };
        self.seek_from(self.behind_fault(skip));
    }

    /// So many bytes behind the end of the valid log.
    pub(super) fn behind_fault(&self, skip: u64) -> Cursor {
        let index = self.files.partition_point(|file| file.id < self.at.segment);
        let offset = self.index_of(self.at.segment).map_or(0, |_| self.at.offset.0 + skip);
        Cursor { index, offset }
    }

    fn seek_from(&mut self, cursor: Cursor) {
        let fault = BlockFault::NoSuccessor;
        self.phase =
            self.next_counting(cursor).map_or(Phase::Done { fault }, |cursor| Phase::Seek { cursor });
    }

    /// `cursor`, or the next place at which no recovery has cut the log away.
    pub(super) fn next_counting(&self, cursor: Cursor) -> Option<Cursor> {
        let mut cursor = self.next_unread(cursor);
        while let Some(Cursor { index, offset }) = cursor {
            let file = self.files[index];
            let end = self.chain.cut_offset(file.id).unwrap_or(file.len);
            if offset < end && !self.chain.is_void(file.id) {
                break;
            }
            cursor = self.next_unread(Cursor { index: index + 1, offset: 0 });
        }
        cursor
    }

    pub(super) fn seek(&mut self, chunk: &Chunk<'_>, cursor: Cursor) {
        let offset = match self.counting(chunk).search(cursor.offset) {
            Found::Block(block) => return self.scan_from(&block),
            Found::Newer { offset, .. } => offset + BLOCK_BYTES as u64,
            Found::ReadFrom(offset) => offset,
            Found::End => self.files[cursor.index].len,
        };
        self.seek_from(Cursor { offset, ..cursor });
    }

    /// What of a chunk lies before the place where a recovery has cut its segment.
    pub(super) fn counting<'a>(&self, chunk: &Chunk<'a>) -> Chunk<'a> {
        let end = self.chain.cut_offset(chunk.segment).unwrap_or(u64::MAX).saturating_sub(chunk.base);
        match usize::try_from(end) {
            Ok(end) if end < chunk.bytes.len() => Chunk { bytes: &chunk.bytes[..end], last: true, ..*chunk },
            _ => *chunk,
        }
    }

    pub(super) fn scan_from(&mut self, block: &BlockView<'_>) {
        let BlockHeader { segment, offset, prev_hash: hash, .. } = block.header;
        self.at = BlockEnd { segment, offset, hash };
        self.entering = true;
        self.assembler.enter_again();
        self.phase = Phase::Scan;
    }
}
