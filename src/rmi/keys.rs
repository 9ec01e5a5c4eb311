//! Sorted unique keys in memory that the probes can load a cache line at a time.
//!
//! A [`KeyArray`] begins on a cache line (on a huge page when it is large) and is padded with `u64::MAX`
//! to whole lines, and to at least [`LINES_MIN`]. A probe counts the keys *below* the one wanted, and no
//! key is above `u64::MAX`: the padding never counts, so no probe has to know where the keys end.

use std::fmt;

use super::memory::{LINE_KEYS, Lines, Memory};

/// Lines that every array has, so that a probe may load a window of so many wherever it is.
pub(super) const LINES_MIN: usize = 4;

/// Ranks are kept in 32 bits.
pub const KEYS_MAX: usize = (u32::MAX - 1) as usize;

/// Keys that no index is built over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysError {
    /// The key at this place is the same as the one before it.
    Duplicate { at: usize },
    /// The key at this place is below the one before it.
    Unsorted { at: usize },
    /// More than [`KEYS_MAX`].
    TooMany { len: usize },
}

impl fmt::Display for KeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeysError::Duplicate { at } => write!(f, "key {at} is there twice"),
            KeysError::Unsorted { at } => write!(f, "key {at} is below the one before it"),
            KeysError::TooMany { len } => write!(f, "{len} keys; an index takes at most {KEYS_MAX}"),
        }
    }
}

impl std::error::Error for KeysError {}

/// Sorted unique keys, aligned and padded.
pub struct KeyArray {
    // Invariant: strictly increasing up to `len`, `u64::MAX` from there to the end of the lines.
    lines: Lines,
    len: usize,
}

impl KeyArray {
    pub fn new(keys: &[u64]) -> Result<KeyArray, KeysError> {
        let mut builder = KeyArrayBuilder::new(keys.len(), Memory::plain());
        builder.push(keys)?;
        Ok(builder.finish())
    }

    pub fn from_sorted(keys: impl IntoIterator<Item = u64>) -> Result<KeyArray, KeysError> {
        let keys = keys.into_iter();
        let mut builder = KeyArrayBuilder::new(keys.size_hint().0, Memory::plain());
        for key in keys {
            builder.push(&[key])?;
        }
        Ok(builder.finish())
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The keys, without the padding.
    pub fn as_slice(&self) -> &[u64] {
        &self.lines.as_keys()[..self.len]
    }

    pub(super) fn padded(&self) -> &[u64] {
        self.lines.as_keys()
    }

    /// Whole lines, padding included.
    pub(super) fn lines(&self) -> usize {
        self.lines.len()
    }
}

impl fmt::Debug for KeyArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyArray").field("len", &self.len).finish_non_exhaustive()
    }
}

/// Takes sorted keys in slices of any size; refuses the first that is out of order.
pub struct KeyArrayBuilder {
    lines: Lines,
    len: usize,
    memory: Memory,
}

impl KeyArrayBuilder {
    /// `expected` keys take one allocation, which costs nothing before they come; for more, all are copied.
    pub fn new(expected: usize, memory: Memory) -> KeyArrayBuilder {
        KeyArrayBuilder { lines: Lines::with_capacity(lines_for(expected), memory), len: 0, memory }
    }

    /// Appends; on an error nothing of `keys` was taken.
    pub fn push(&mut self, keys: &[u64]) -> Result<(), KeysError> {
        self.check(keys)?;
        let end = self.len + keys.len();
        if end > self.lines.capacity() * LINE_KEYS {
            self.grow(end);
        }
        self.lines.put(self.len, keys, u64::MAX);
        self.len = end;
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn finish(self) -> KeyArray {
        self.finish_with_room(0)
    }

    /// With padding for so many more keys than there are, within what was expected.
    pub(super) fn finish_with_room(mut self, more: usize) -> KeyArray {
        self.lines.fill_up_to(lines_for(self.len + more), u64::MAX);
        KeyArray { lines: self.lines, len: self.len }
    }

    fn check(&self, keys: &[u64]) -> Result<(), KeysError> {
        let Some(first) = keys.first() else { return Ok(()) };
        if keys.len() > KEYS_MAX - self.len {
            return Err(KeysError::TooMany { len: self.len + keys.len() });
        }
        let last = self.len.checked_sub(1).map(|last| self.lines.as_keys()[last]);
        let follows = last.is_none_or(|last| last < *first);
        if follows && is_increasing(keys) {
            return Ok(());
        }
        let before = last.into_iter().chain(keys.iter().copied());
        let offset = self.len + usize::from(last.is_none());
        let pairs = before.zip(&keys[usize::from(last.is_none())..]);
        let (at, same) = pairs
            .enumerate()
            .find_map(|(at, (before, key))| (before >= *key).then_some((at, before == *key)))
            .expect("some pair is out of order");
        let at = offset + at;
        Err(if same { KeysError::Duplicate { at } } else { KeysError::Unsorted { at } })
    }

    fn grow(&mut self, wanted: usize) {
        let lines = lines_for(wanted).max(self.lines.capacity() * 2);
        let mut grown = Lines::with_capacity(lines, self.memory);
        grown.put(0, &self.lines.as_keys()[..self.len], u64::MAX);
        self.lines = grown;
    }
}

/// Without an early exit, so that it runs at the speed of memory.
fn is_increasing(keys: &[u64]) -> bool {
    let pieces = keys.chunks(4096).zip(keys[1.min(keys.len())..].chunks(4096));
    pieces
        .into_iter()
        .all(|(keys, next)| keys.iter().zip(next).fold(true, |ordered, (key, next)| ordered & (key < next)))
}

fn lines_for(keys: usize) -> usize {
    keys.div_ceil(LINE_KEYS).max(LINES_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn is_aligned_and_padded() {
        for len in [0, 1, 7, 8, 9, 31, 32, 33, 1000] {
            let keys: Vec<u64> = (0..len).collect();
            let array = KeyArray::new(&keys).unwrap();
            assert_eq!(array.as_slice(), keys);
            assert_eq!(array.padded().as_ptr().align_offset(64), 0);
            assert!(array.lines() >= LINES_MIN);
            assert!(array.padded()[keys.len()..].iter().all(|pad| *pad == u64::MAX));
        }
    }

    #[test]
    fn names_the_first_key_out_of_order() {
        assert_eq!(KeyArray::new(&[1, 2, 2, 1]).unwrap_err(), KeysError::Duplicate { at: 2 });
        assert_eq!(KeyArray::new(&[1, 2, 1]).unwrap_err(), KeysError::Unsorted { at: 2 });
        let mut builder = KeyArrayBuilder::new(0, Memory::plain());
        builder.push(&[1, 5]).unwrap();
        assert_eq!(builder.push(&[5, 6]), Err(KeysError::Duplicate { at: 2 }));
        assert_eq!(builder.push(&[6, 8, 7]), Err(KeysError::Unsorted { at: 4 }));
        assert_eq!(builder.push(&[0]), Err(KeysError::Unsorted { at: 2 }));
        builder.push(&[u64::MAX]).unwrap();
        assert_eq!(builder.finish().as_slice(), [1, 5, u64::MAX]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 256 }))]
        #[test]
        fn slices_of_any_size_give_the_same_keys(
            keys in prop::collection::btree_set(any::<u64>(), 0..300),
            cuts in prop::collection::vec(1..40_usize, 1..20),
        ) {
            let keys: Vec<u64> = keys.into_iter().collect();
            let mut builder = KeyArrayBuilder::new(cuts[0], Memory::plain());
            let (mut rest, mut turn) = (&keys[..], 0);
            while !rest.is_empty() {
                let (head, tail) = rest.split_at(cuts[turn % cuts.len()].min(rest.len()));
                builder.push(head).unwrap();
                (rest, turn) = (tail, turn + 1);
            }
            let array = builder.finish();
            prop_assert_eq!(array.as_slice(), &keys[..]);
            prop_assert!(array.padded()[keys.len()..].iter().all(|pad| *pad == u64::MAX));
            let again = KeyArray::from_sorted(keys.iter().copied()).unwrap();
            prop_assert_eq!(again.as_slice(), &keys[..]);
        }
    }
}
