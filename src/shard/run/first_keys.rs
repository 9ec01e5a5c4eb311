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
use super::error::{Fault, Field, Part, RunError};
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
        let keys = FirstKeys::split(used, tablet.blocks);
        let keys = keys.ok_or_else(|| place.fault(Fault::Malformed { field: Field::BlockCount }))?;
        let sound = FirstKeysCheck::default().step(keys, usize::MAX) == Some(true);
        place.check_sense(sound, Field::KeyOrder)?;
        Ok(keys)
    }

    /// Without a look at the keys; none when there is no room for the table.
    fn split(used: &'a [u8], blocks: u32) -> Option<FirstKeys<'a>> {
        let count = blocks as usize;
        let table_bytes = count.div_ceil(RESTART_KEYS) * RESTART_BYTES;
        let (coded, restarts) = used.split_at_checked(used.len().checked_sub(table_bytes)?)?;
        Some(FirstKeys { coded, restarts, count })
    }

    /// The first key of a block of the tablet (from 0).
    pub fn key(&self, block: usize) -> Vec<u8> {
        let mut reader = Reader::new(&self.coded[self.restart(block / RESTART_KEYS)..]);
        let mut key = Vec::new();
        for _ in 0..=block % RESTART_KEYS {
            let (shared, rest) = read_key(&mut reader).expect("checked by decode");
            key.truncate(shared);
            key.extend_from_slice(rest);
        }
        key
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

/// First keys that are owned: resident.
#[derive(Debug)]
pub(super) struct FirstKeysBuf {
    bytes: Vec<u8>,
    coded_bytes: usize,
    count: usize,
}

impl FirstKeysBuf {
    /// The part without padding; none when it has no room for its table. Not checked beyond that: see
    /// [`FirstKeysCheck`].
    pub fn new(bytes: Vec<u8>, blocks: u32) -> Option<FirstKeysBuf> {
        let FirstKeys { coded, count, .. } = FirstKeys::split(&bytes, blocks)?;
        Some(FirstKeysBuf { coded_bytes: coded.len(), count, bytes })
    }

    pub fn get(&self) -> FirstKeys<'_> {
        let (coded, restarts) = self.bytes.split_at(self.coded_bytes);
        FirstKeys { coded, restarts, count: self.count }
    }

    pub fn bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

/// Walks all keys, in steps: ascending, well coded, restarts where the table says.
#[derive(Default)]
pub(super) struct FirstKeysCheck {
    /// Keys that were seen, and where the next one is.
    seen: usize,
    at: usize,
    last: Vec<u8>,
}

impl FirstKeysCheck {
    /// Looks at so many keys; at the end, or at the first wrong one, whether all are sound.
    pub fn step(&mut self, keys: FirstKeys<'_>, budget: usize) -> Option<bool> {
        let end = keys.count.min(self.seen.saturating_add(budget));
        while self.seen < end {
            if self.see_next(keys) != Ok(true) {
                return Some(false);
            }
        }
        (end == keys.count).then_some(self.at == keys.coded.len())
    }

    fn see_next(&mut self, keys: FirstKeys<'_>) -> Result<bool, Truncated> {
        let mut reader = Reader::new(&keys.coded[self.at..]);
        let (shared, rest) = read_key(&mut reader)?;
        let key = [self.last.get(..shared).ok_or(Truncated)?, rest].concat();
        let coded_well = if self.seen.is_multiple_of(RESTART_KEYS) {
            shared == 0 && keys.restart(self.seen / RESTART_KEYS) == self.at
        } else {
            shared == common_prefix(&self.last, &key)
        };
        let ascends = (1..=KEY_BYTES_MAX).contains(&key.len()) && self.last < key;
        self.at = keys.coded.len() - reader.remaining();
        self.seen += 1;
        self.last = key;
        Ok(coded_well && ascends)
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
