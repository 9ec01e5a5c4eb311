//! A part of a run on its way into chunks.

use xxhash_rust::xxh3::Xxh3;

use super::PAGE_BYTES;
use super::chunks::Chunks;
use super::extent::Extent;
use super::pieces::Pieces;
use crate::types::FileOffset;

/// Copies a part piece by piece and pads it to whole pages.
#[derive(Default)]
pub(super) struct PartCopy {
    rest: Pieces,
    offset: FileOffset,
    len: usize,
    hasher: Xxh3,
}

impl PartCopy {
    pub fn new(bytes: Pieces, offset: FileOffset) -> PartCopy {
        PartCopy { len: bytes.len(), rest: bytes, offset, hasher: Xxh3::new() }
    }

    /// Bytes of the part, without padding.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Moves one piece and gives it back; none behind the last.
    pub fn copy_piece(&mut self, chunks: &mut Chunks) -> Option<Vec<u8>> {
        let piece = self.rest.take_first()?;
        self.hasher.update(&piece);
        chunks.append(&piece);
        Some(piece)
    }

    /// Behind the last piece: where the part is.
    pub fn finish(&mut self, chunks: &mut Chunks) -> Extent {
        assert_eq!(self.rest.len(), 0, "pieces were left");
        let padding = self.len.next_multiple_of(PAGE_BYTES) - self.len;
        self.hasher.update(&[0; PAGE_BYTES][..padding]);
        chunks.skip(padding);
        Extent { offset: self.offset, len: self.len as u64, hash: self.hasher.digest() }
    }
}
