//! Ranges of keys of a run, from what is resident: which blocks a scan reads, and samples for splits.

use std::ops::{Bound, Range};

use super::directory::TabletEntry;
use super::first_keys::FirstKeys;
use super::learned_section::Index;
use super::resident::Resident;
use super::resident_keys::ResidentKeys;
use crate::types::{CollectionId, TabletId};

impl Resident {
    /// Numbers of the blocks of the tablet that can hold keys of the range: exact for `u64` keys, for
    /// others at most a block too many at either end.
    pub fn blocks_of_range(
        &self,
        collection: CollectionId,
        tablet: TabletId,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
    ) -> Range<u32> {
        let Some(position) = self.reader.directory().position(collection, tablet) else { return 0..0 };
        let tablet = &self.reader.directory().tablets()[position];
        match &self.keys[position] {
            ResidentKeys::Empty => 0..0,
            ResidentKeys::All(index) => self.blocks_of_places(tablet, &places(&index.index(), start, end)),
            ResidentKeys::First(first) => {
                let blocks = blocks(first.get(), start, end);
                tablet.first_block + blocks.start..tablet.first_block + blocks.end
            }
        }
    }

    /// About every `step`-th key of the range, in order: how many entries it stands for, and the key. Of
    /// `string` keys only such as begin a block.
    pub fn sample(
        &self,
        collection: CollectionId,
        tablet: TabletId,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        step: u64,
        take: &mut dyn FnMut(u64, Vec<u8>),
    ) {
        let step = step.max(1) as usize;
        let Some(position) = self.reader.directory().position(collection, tablet) else { return };
        match &self.keys[position] {
            ResidentKeys::Empty => {}
            ResidentKeys::All(index) => {
                let index = index.index();
                let places = places(&index, start, end);
                for place in places.clone().step_by(step) {
                    let key = index.keys().as_slice()[place].to_be_bytes();
                    take(step.min(places.end - place) as u64, key.to_vec());
                }
            }
            ResidentKeys::First(first) => {
                let tablet = &self.reader.directory().tablets()[position];
                self.sample_first(tablet, first.get(), (start, end), step as u64, take);
            }
        }
    }

    /// Steps from block to block, each time as far as it takes for `step` entries.
    fn sample_first(
        &self,
        tablet: &TabletEntry,
        first: FirstKeys<'_>,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        step: u64,
        take: &mut dyn FnMut(u64, Vec<u8>),
    ) {
        let locators = self.reader.locators();
        let entry_of = |block: u32| locators.first_entry((tablet.first_block + block) as usize);
        let Range { start: mut block, end } = blocks(first, range.0, range.1);
        while block < end {
            let wanted = entry_of(block).saturating_add(step);
            let behind = match wanted < entry_of(end) {
                true => {
                    let blocks = tablet.first_block + block..tablet.first_block + end;
                    (locators.number_of_entry(wanted, blocks) - tablet.first_block).max(block + 1)
                }
                false => end,
            };
            let key = first.key(block as usize);
            if std::ops::RangeBounds::<[u8]>::contains(&range, &key[..]) {
                take(entry_of(behind) - entry_of(block), key);
            }
            block = behind;
        }
    }

    fn blocks_of_places(&self, tablet: &TabletEntry, places: &Range<usize>) -> Range<u32> {
        if places.is_empty() {
            return tablet.first_block..tablet.first_block;
        }
        let locators = self.reader.locators();
        let first = locators.first_entry(tablet.first_block as usize);
        let block = |place: usize| {
            locators.number_of_entry(first + place as u64, tablet.first_block..tablet.end_block())
        };
        block(places.start)..block(places.end - 1) + 1
    }
}

/// Places of the keys of a range. Bounds need not be `u64` keys: bytes are compared.
fn places(index: &Index, start: Bound<&[u8]>, end: Bound<&[u8]>) -> Range<usize> {
    let begin = match start {
        Bound::Unbounded => 0,
        Bound::Included(key) => count_below(index, key, false),
        Bound::Excluded(key) => count_below(index, key, true),
    };
    let end = match end {
        Bound::Unbounded => index.keys().len(),
        Bound::Included(key) => count_below(index, key, true),
        Bound::Excluded(key) => count_below(index, key, false),
    };
    begin..end.max(begin)
}

/// How many keys are below `key`, or the same.
fn count_below(index: &Index, key: &[u8], or_same: bool) -> usize {
    let mut padded = [0; 8];
    let len = key.len().min(8);
    padded[..len].copy_from_slice(&key[..len]);
    let number = u64::from_be_bytes(padded);
    // Longer bytes are behind the number that begins them, shorter ones before all that they begin.
    let or_same = key.len() > 8 || (key.len() == 8 && or_same);
    match number.checked_add(u64::from(or_same)) {
        Some(number) => index.rank(number),
        None => index.keys().len(),
    }
}

/// Blocks of the tablet, from 0.
fn blocks(first: FirstKeys<'_>, start: Bound<&[u8]>, end: Bound<&[u8]>) -> Range<u32> {
    let begin = match start {
        Bound::Unbounded => 0,
        Bound::Included(key) | Bound::Excluded(key) => first.block_of(key).unwrap_or(0),
    };
    let end = match end {
        Bound::Unbounded => first.len(),
        Bound::Included(key) | Bound::Excluded(key) => first.block_of(key).map_or(0, |last| last + 1),
    };
    begin as u32..end.max(begin) as u32
}
