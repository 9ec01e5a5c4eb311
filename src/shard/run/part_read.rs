//! A part of a run on its way from the file into memory.

use xxhash_rust::xxh3::Xxh3;

use super::PAGE_BYTES;
use super::error::{Fault, Place, RunError};
use super::extent::Extent;
use super::pieces::{PIECE_BYTES, Pieces};
use crate::types::FileOffset;

/// Asks for a part piece by piece and hashes what comes.
pub(super) struct PartRead {
    place: Place,
    extent: Extent,
    read: u64,
    hasher: Xxh3,
    /// Without padding.
    pieces: Pieces,
    cut: Option<Fault>,
}

impl PartRead {
    /// `place` is that of the extent.
    pub fn new(place: Place, extent: Extent) -> PartRead {
        PartRead { place, extent, read: 0, hasher: Xxh3::new(), pieces: Pieces::default(), cut: None }
    }

    /// A page with a hash of its own.
    pub fn page(place: Place) -> PartRead {
        PartRead::new(place, Extent { offset: place.offset, len: PAGE_BYTES as u64, hash: 0 })
    }

    /// What to read next; none when there is nothing left, or it could not be read.
    pub fn next(&self) -> Option<(FileOffset, usize)> {
        let left = self.extent.padded_len() - self.read;
        let len = left.min(PIECE_BYTES as u64) as usize;
        (len > 0 && self.cut.is_none()).then_some((FileOffset(self.extent.offset.0 + self.read), len))
    }

    /// The bytes of the last `next`. Too few of them end the part.
    pub fn feed(&mut self, bytes: &[u8]) {
        let wanted = self.next().map_or(0, |(_, len)| len);
        if bytes.len() != wanted {
            let found = self.read + bytes.len() as u64;
            self.cut = Some(Fault::Cut { wanted: self.extent.padded_len(), found });
            return;
        }
        self.hasher.update(bytes);
        let used = (self.extent.len - self.read.min(self.extent.len)).min(wanted as u64) as usize;
        self.pieces.extend(&bytes[..used]);
        self.read += wanted as u64;
    }

    /// The part, when it has the hash that its extent says.
    pub fn finish(self) -> Result<Pieces, RunError> {
        let hash = self.hasher.digest();
        let place = self.place;
        let wanted = self.extent.hash;
        let pieces = self.finish_sealed()?;
        place.check_hash(wanted, hash)?;
        Ok(pieces)
    }

    /// The page; its hash is in it.
    pub fn finish_sealed(self) -> Result<Pieces, RunError> {
        self.cut.map_or(Ok(self.pieces), |cut| Err(self.place.fault(cut)))
    }
}
