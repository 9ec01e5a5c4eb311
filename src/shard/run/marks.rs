//! Which entries of a `u64` tablet are not plainly live: tombstones, and records with an expiry.
//!
//! A put must know whether its key has a live record. All keys of a `u64` tablet are resident, so for a
//! key without a mark the answer takes no read.
//!
//! ```text
//! section: table (see `table`) | bitmap of tablet 0 | bitmap of tablet 1 | ..
//! bitmap:  | u64: bit i of word w is entry 64 w + i of the tablet | .. |      bits behind the last entry: 0
//! ```
//!
//! A tablet without a marked entry has no bitmap; without any bitmap there is no section. Without the
//! section in a file of version 1, or when it is damaged, every entry counts as marked.

use super::directory::TabletEntry;
use super::field::u64_at;
use super::pieces::Pieces;
use super::table;

const WORD_BYTES: usize = 8;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Marks {
    #[default]
    None,
    All,
    /// Words behind the last mark may be missing.
    Some(Vec<u64>),
}

impl Marks {
    pub fn mark(&mut self, entry: u64) {
        if !matches!(self, Marks::Some(_)) {
            *self = Marks::Some(Vec::new());
        }
        let Marks::Some(words) = self else { unreachable!("just set") };
        let word = (entry / 64) as usize;
        words.resize(words.len().max(word + 1), 0);
        words[word] |= 1 << (entry % 64);
    }

    pub fn is_marked(&self, entry: usize) -> bool {
        match self {
            Marks::None => false,
            Marks::All => true,
            Marks::Some(words) => words.get(entry / 64).is_some_and(|word| word >> (entry % 64) & 1 == 1),
        }
    }

    pub fn bytes(&self) -> usize {
        match self {
            Marks::Some(words) => words.capacity() * WORD_BYTES,
            Marks::None | Marks::All => 0,
        }
    }

    fn encode(&self, entries: u64) -> Vec<u8> {
        let Marks::Some(words) = self else { return Vec::new() };
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.resize(bitmap_bytes(entries), 0);
        bytes
    }

    fn decode(bytes: &[u8], entries: u64) -> Option<Marks> {
        if bytes.is_empty() {
            return Some(Marks::None);
        }
        let words: Vec<u64> = bytes.chunks_exact(WORD_BYTES).map(|word| u64_at(word, 0)).collect();
        let used = entries % 64;
        let overhang = if used == 0 { 0 } else { words.last()? >> used };
        (bytes.len() == bitmap_bytes(entries) && overhang == 0).then_some(Marks::Some(words))
    }
}

fn bitmap_bytes(entries: u64) -> usize {
    entries.div_ceil(64) as usize * WORD_BYTES
}

/// The section; empty when nothing is marked. A mark takes a bit, so even a large run is a slice's work.
pub(super) fn encode(tablets: &[TabletEntry], marks: &[Marks]) -> Pieces {
    let bitmaps = tablets.iter().zip(marks).map(|(tablet, marks)| marks.encode(tablet.entries));
    table::encode(&bitmaps.collect::<Vec<_>>())
}

/// Of each tablet; none when the bytes, intact or not, are no such section.
pub(super) fn decode(bytes: &[u8], tablets: &[TabletEntry]) -> Option<Vec<Marks>> {
    let bitmaps = table::decode(bytes, tablets.len())?;
    bitmaps.into_iter().zip(tablets).map(|(bitmap, tablet)| Marks::decode(bitmap, tablet.entries)).collect()
}
