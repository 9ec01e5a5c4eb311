//! The keys of a tablet with `u64` keys: all of them, as a sorted array, little-endian.
//!
//! The array begins at a page, so it is aligned to 64 bytes in the file and in an aligned buffer, and is
//! filled up to whole lines of 64 bytes with `u64::MAX`: a compare of eight keys at a time needs no bound.
//! The learned index points into it. All keys being resident, membership is exact here, without a filter.
//! The position of a key is the number of its entry in the tablet.

use super::directory::TabletEntry;
use super::error::{Field, Part, Place, RunError};
use super::field::u64_at;
use super::pieces::Pieces;
use crate::types::RunId;

const KEY_BYTES: usize = 8;
const LINE_BYTES: usize = 64;

/// Appends to the array.
pub(super) fn push(out: &mut Pieces, key: &[u8]) {
    let key = key.first_chunk::<KEY_BYTES>().expect("a u64 key has 8 bytes");
    out.extend(&u64::from_be_bytes(*key).to_le_bytes());
}

/// Ends the array.
pub(super) fn finish(out: &mut Pieces) {
    out.fill_line(LINE_BYTES, u8::MAX);
}

/// That the array has as many keys as the tablet has entries.
pub(super) fn check_len(place: Place, tablet: &TabletEntry) -> Result<(), RunError> {
    let key_bytes = tablet.entries.checked_mul(KEY_BYTES as u64);
    let filled = key_bytes.and_then(|bytes| bytes.checked_next_multiple_of(LINE_BYTES as u64));
    place.check_sense(filled == Some(tablet.keys.len), Field::Length)
}

/// The array in somebody else's memory, checked.
#[derive(Clone, Copy, Debug)]
pub struct U64Keys<'a> {
    /// Without filling and padding.
    keys: &'a [u8],
}

impl<'a> U64Keys<'a> {
    /// From the bytes at `tablet.keys`, padding included.
    pub(super) fn decode(bytes: &'a [u8], run: RunId, tablet: &TabletEntry) -> Result<U64Keys<'a>, RunError> {
        let (place, array) = tablet.keys.open(run, Part::Keys, bytes)?;
        check_len(place, tablet)?;
        let keys = U64Keys { keys: &array[..tablet.entries as usize * KEY_BYTES] };
        place.check_sense(keys.iter().is_sorted_by(|a, b| a < b), Field::KeyOrder)?;
        Ok(keys)
    }

    pub fn len(&self) -> usize {
        self.keys.len() / KEY_BYTES
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Panics when `index >= len()`.
    pub fn get(&self, index: usize) -> u64 {
        u64_at(self.keys, index * KEY_BYTES)
    }

    pub fn iter(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.keys.chunks_exact(KEY_BYTES).map(|key| u64_at(key, 0))
    }

    /// The position of `key`, or where it would be.
    pub fn search(&self, key: u64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.get(middle) < key { low = middle + 1 } else { high = middle }
        }
        if low < self.len() && self.get(low) == key { Ok(low) } else { Err(low) }
    }
}
