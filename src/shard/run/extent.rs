//! Where a part of the file is, and the hash that it must have.

use xxhash_rust::xxh3::xxh3_64;

use super::PAGE_BYTES;
use super::error::{Field, Part, Place, RunError};
use crate::types::{FileOffset, RunId};

/// A part of the file without a header of its own: it begins at a page and is padded to whole pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    pub offset: FileOffset,
    /// In bytes, without the padding.
    pub len: u64,
    /// Over the part and its padding.
    pub(super) hash: u64,
}

impl Extent {
    /// Bytes to read: whole pages.
    pub fn padded_len(&self) -> u64 {
        self.len.next_multiple_of(PAGE_BYTES as u64)
    }

    pub fn end(&self) -> FileOffset {
        FileOffset(self.offset.0 + self.padded_len())
    }

    /// That it begins at `start` and ends at `end` or before. Checked of every extent that comes from a
    /// file, so that the sums above cannot overflow.
    pub(super) fn check_bounds(
        &self,
        place: Place,
        start: FileOffset,
        end: FileOffset,
    ) -> Result<(), RunError> {
        place.check_sense(self.offset == start && start <= end, Field::Offset)?;
        let room = end.0 - start.0;
        place.check_sense(self.len <= room && self.padded_len() <= room, Field::Length)
    }

    /// The part without its padding, from the bytes that were read.
    pub(super) fn open<'a>(
        &self,
        run: RunId,
        part: Part,
        bytes: &'a [u8],
    ) -> Result<(Place, &'a [u8]), RunError> {
        let place = Place { run, part, offset: self.offset };
        place.check_len(bytes, self.padded_len())?;
        place.check_hash(self.hash, xxh3_64(bytes))?;
        Ok((place, &bytes[..self.len as usize]))
    }
}
