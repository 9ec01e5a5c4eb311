//! The keys of a tablet with `string` keys: the first of each payload block, front-coded.
//!
//! ```text
//! key:   | shared u16 | rest len u16 | rest |      as many bytes of the key before, then the rest
//! part:  | key of block 0 | key of block 1 | .. | place of key 0 u64 | place of key 16 u64 | .. |
//! ```
//!
//! Every 16th key is a restart: it shares nothing, and its place in the part is in the table at the end.
//! Elsewhere `shared` is the longest common prefix; the search relies on it.

use std::cmp::Ordering;

use super::directory::TabletEntry;
use super::error::{Field, Part, RunError};
use super::field::u64_at;
use super::pieces::Pieces;
use crate::io::codec::{Reader, Truncated};
use crate::limits::KEY_BYTES_MAX;
use crate::types::RunId;

const RESTART_KEYS: usize = 16;
const RESTART_BYTES: usize = 8;

/// Appends keys in ascending order.
#[derive(Default)]
pub(super) struct FirstKeysBuilder {
    coded: Pieces,
    restarts: Pieces,
    count: usize,
    last: Vec<u8>,
}

impl FirstKeysBuilder {
    pub fn push(&mut self, key: &[u8]) {
        let shared = if self.count.is_multiple_of(RESTART_KEYS) {
            self.restarts.extend(&(self.coded.len() as u64).to_le_bytes());
            0
        } else {
            common_prefix(&self.last, key)
        };
        self.coded.extend(&(shared as u16).to_le_bytes());
        self.coded.extend(&((key.len() - shared) as u16).to_le_bytes());
        self.coded.extend(&key[shared..]);
        self.last.clear();
        self.last.extend_from_slice(key);
        self.count += 1;
    }

    pub fn finish(mut self) -> Pieces {
        self.coded.append(self.restarts);
        self.coded
    }
}

/// First keys in somebody else's memory, checked.
#[derive(Clone, Copy, Debug)]
pub struct FirstKeys<'a> {
    coded: &'a [u8],
    restarts: &'a [u8],
    count: usize,
}

impl<'a> FirstKeys<'a> {
    /// From the bytes at `tablet.keys`, padding included.
    pub(super) fn decode(
        bytes: &'a [u8],
        run: RunId,
        tablet: &TabletEntry,
    ) -> Result<FirstKeys<'a>, RunError> {
        let (place, used) = tablet.keys.open(run, Part::Keys, bytes)?;
        let count = tablet.blocks as usize;
        let table_bytes = count.div_ceil(RESTART_KEYS) * RESTART_BYTES;
        place.check_sense(table_bytes <= used.len(), Field::BlockCount)?;
        let (coded, restarts) = used.split_at(used.len() - table_bytes);
        let keys = FirstKeys { coded, restarts, count };
        place.check_sense(keys.is_sound() == Ok(true), Field::KeyOrder)?;
        Ok(keys)
    }

    /// Walks all keys: ascending, well coded, restarts where the table says.
    fn is_sound(&self) -> Result<bool, Truncated> {
        let mut reader = Reader::new(self.coded);
        let (mut key, mut next) = (Vec::new(), Vec::new());
        for index in 0..self.count {
            let at = self.coded.len() - reader.remaining();
            let (shared, rest) = read_key(&mut reader)?;
            next.clear();
            next.extend_from_slice(key.get(..shared).ok_or(Truncated)?);
            next.extend_from_slice(rest);
            let coded_well = if index.is_multiple_of(RESTART_KEYS) {
                shared == 0 && self.restart(index / RESTART_KEYS) == at
            } else {
                shared == common_prefix(&key, &next)
            };
            let ascends = (1..=KEY_BYTES_MAX).contains(&next.len()) && key < next;
            if !coded_well || !ascends {
                return Ok(false);
            }
            std::mem::swap(&mut key, &mut next);
        }
        Ok(reader.is_empty())
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Which block of the tablet (from 0) holds `key` if any does: the last one whose first key is not
    /// greater. `None` when `key` is before all.
    pub fn block_of(&self, key: &[u8]) -> Option<usize> {
        let (mut low, mut high) = (0, self.count.div_ceil(RESTART_KEYS));
        while low < high {
            let middle = low.midpoint(high);
            if self.restart_key(middle) <= key { low = middle + 1 } else { high = middle }
        }
        let restart = low.checked_sub(1)?;
        Some(restart * RESTART_KEYS + self.not_greater_from(restart, key) - 1)
    }

    /// How many keys from a restart up to the next are not greater than `key`.
    ///
    /// Compares without rebuilding a key: `matched` bytes of `key` equal the last coded key, which is
    /// smaller. One that shares more with it is smaller for the same byte; one that shares less differs
    /// earlier, and is greater since the coded keys ascend.
    fn not_greater_from(&self, restart: usize, key: &[u8]) -> usize {
        let mut reader = Reader::new(&self.coded[self.restart(restart)..]);
        let group = RESTART_KEYS.min(self.count - restart * RESTART_KEYS);
        let mut matched = 0;
        for index in 0..group {
            let (shared, rest) = read_key(&mut reader).expect("checked by decode");
            match shared.cmp(&matched) {
                Ordering::Greater => continue,
                Ordering::Less => return index,
                Ordering::Equal => {}
            }
            if rest > &key[matched..] {
                return index;
            }
            matched += common_prefix(rest, &key[matched..]);
        }
        group
    }

    fn restart(&self, index: usize) -> usize {
        u64_at(self.restarts, index * RESTART_BYTES) as usize
    }

    fn restart_key(&self, index: usize) -> &'a [u8] {
        let mut reader = Reader::new(&self.coded[self.restart(index)..]);
        read_key(&mut reader).expect("checked by decode").1
    }
}

/// How many bytes are shared with the key before, and the others.
fn read_key<'a>(reader: &mut Reader<'a>) -> Result<(usize, &'a [u8]), Truncated> {
    let shared = reader.u16()?;
    let rest_len = reader.u16()?;
    Ok((shared.into(), reader.take(rest_len.into())?))
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
