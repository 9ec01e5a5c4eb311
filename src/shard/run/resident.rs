//! What is resident of a run: with it, a point lookup reads one block or none.
//!
//! Resident are the block table and the directory, all keys of `u64` tablets under their learned indexes
//! with the marks, and of `string` tablets the first key of each block with the membership filter. The
//! first two kinds decide; the last two only narrow: they answer "perhaps" to a key that is there, and
//! seldom to one that is not.
//!
//! Invariant: no derived data is taken that does not fit the rest. An index answers rightly for the keys
//! that are there, whatever its bytes are; filter and marks count only under their hash.

use super::directory::TabletEntry;
use super::filter::{self, Filter};
use super::marks::Marks;
use super::reader::RunReader;
use super::resident_keys::ResidentKeys;
use super::watched::Watched;
use crate::types::{CollectionId, TabletId};

/// Where a key is in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Not in this run, for certain.
    Absent,
    /// In this run, for certain: see [`super::block::Block::entry_of`]. `live`: certainly a record without
    /// an expiry; otherwise it may be a tombstone, or expire, or be such a record all the same.
    Here { block: u32, slot: u32, live: bool },
    /// Perhaps in this run, and then in this block: see [`super::block::Block::find`].
    Perhaps { block: u32 },
}

/// What of the derived data was not read from the file, and is made again or done without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Trained again from the keys.
    pub index: Option<Why>,
    /// Every key of a `string` tablet is perhaps there.
    pub filter: Option<Why>,
    /// Every entry counts as marked.
    pub marks: Option<Why>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// As in every run of version 1.
    Missing,
    Damaged,
}

/// What is resident of a run.
pub struct Resident {
    pub(super) reader: RunReader,
    /// By position in the directory, as the marks.
    pub(super) keys: Vec<ResidentKeys>,
    pub(super) marks: Vec<Marks>,
    pub(super) filter: Option<Filter>,
    pub(super) rebuilt: Rebuilt,
}

/// Keys that go into the index at a time.
const BATCH_KEYS: usize = 32;

impl Resident {
    pub fn reader(&self) -> &RunReader {
        &self.reader
    }

    pub fn rebuilt(&self) -> Rebuilt {
        self.rebuilt
    }

    pub fn lookup(&self, collection: CollectionId, tablet: TabletId, key: &[u8]) -> Lookup {
        let Some(position) = self.reader.directory().position(collection, tablet) else {
            return Lookup::Absent;
        };
        match &self.keys[position] {
            ResidentKeys::Empty => Lookup::Absent,
            ResidentKeys::All(index) => {
                let place = number_of(key).and_then(|key| index.get(key));
                place.map_or(Lookup::Absent, |place| self.here(position, place))
            }
            ResidentKeys::First(_) => self.perhaps(position, key),
        }
    }

    /// Appends what `lookup` says of each key, in their order. The misses of one look-up in the index are
    /// hidden behind those of others.
    pub fn lookup_batch(
        &self,
        collection: CollectionId,
        tablet: TabletId,
        keys: &[&[u8]],
        out: &mut Vec<Lookup>,
    ) {
        let position = self.reader.directory().position(collection, tablet);
        match position.map(|position| (position, &self.keys[position])) {
            None | Some((_, ResidentKeys::Empty)) => out.extend(keys.iter().map(|_| Lookup::Absent)),
            Some((position, ResidentKeys::All(index))) => {
                keys.chunks(BATCH_KEYS).for_each(|keys| self.here_batch(position, index, keys, out));
            }
            Some((position, ResidentKeys::First(_))) => {
                out.extend(keys.iter().map(|key| self.perhaps(position, key)));
            }
        }
    }

    /// Asks for the memory that `lookup_batch` of these will wait for, when others come in between.
    pub fn prefetch(&self, collection: CollectionId, tablet: TabletId, keys: &[&[u8]]) {
        let position = self.reader.directory().position(collection, tablet);
        let Some(ResidentKeys::All(index)) = position.map(|position| &self.keys[position]) else { return };
        let mut wanted = [0; BATCH_KEYS];
        for keys in keys.chunks(BATCH_KEYS) {
            index.prefetch(numbers_of(keys, &mut wanted));
        }
    }

    fn here_batch(&self, position: usize, index: &Watched, keys: &[&[u8]], out: &mut Vec<Lookup>) {
        let (mut wanted, mut ranks, mut places) = ([0; BATCH_KEYS], [0; BATCH_KEYS], [None; BATCH_KEYS]);
        let (wanted, places) = (numbers_of(keys, &mut wanted), &mut places[..keys.len()]);
        index.get_batch(wanted, &mut ranks[..keys.len()], places);
        out.extend(keys.iter().zip(places).map(|(key, place)| {
            let place = place.filter(|_| number_of(key).is_some());
            place.map_or(Lookup::Absent, |place| self.here(position, place))
        }));
    }

    /// The entry at this place of a tablet.
    fn here(&self, position: usize, place: usize) -> Lookup {
        let tablet = &self.reader.directory().tablets()[position];
        let locators = self.reader.locators();
        let entry = locators.first_entry(tablet.first_block as usize) + place as u64;
        let block = locators.number_of_entry(entry, tablet.first_block..tablet.end_block());
        let slot = (entry - locators.first_entry(block as usize)) as u32;
        Lookup::Here { block, slot, live: !self.marks[position].is_marked(place) }
    }

    fn perhaps(&self, position: usize, key: &[u8]) -> Lookup {
        let tablet = &self.reader.directory().tablets()[position];
        let ResidentKeys::First(first) = &self.keys[position] else { return Lookup::Absent };
        let hash = || filter::hash_of(tablet.info.tablet, key);
        if self.filter.as_ref().is_some_and(|filter| !filter.may_contain(hash())) {
            return Lookup::Absent;
        }
        match first.get().block_of(key) {
            Some(block) => Lookup::Perhaps { block: tablet.first_block + block as u32 },
            None => Lookup::Absent,
        }
    }

    /// The learned indexes, and the tablets that they are of.
    pub fn watched(&self) -> impl Iterator<Item = (&TabletEntry, &Watched)> {
        let tablets = self.reader.directory().tablets().iter();
        tablets.zip(&self.keys).filter_map(|(tablet, keys)| match keys {
            ResidentKeys::All(index) => Some((tablet, &**index)),
            ResidentKeys::First(_) | ResidentKeys::Empty => None,
        })
    }

    /// Memory.
    pub fn bytes(&self) -> u64 {
        let keys = self.keys.iter().map(|keys| match keys {
            ResidentKeys::Empty => 0,
            ResidentKeys::All(index) => index.bytes(),
            ResidentKeys::First(first) => first.bytes(),
        });
        let tablets = size_of_val(self.reader.directory().tablets()) + size_of_val(&self.keys[..]);
        let filter = self.filter.as_ref().map_or(0, Filter::bytes);
        let marks: usize = self.marks.iter().map(Marks::bytes).sum();
        (keys.sum::<usize>() + tablets + filter + marks + self.reader.locators().bytes()) as u64
    }
}

/// Of as many keys as there is room for; 0 for one that no `u64` tablet can have.
fn numbers_of<'a>(keys: &[&[u8]], room: &'a mut [u64; BATCH_KEYS]) -> &'a [u64] {
    let numbers = &mut room[..keys.len()];
    for (number, key) in numbers.iter_mut().zip(keys) {
        *number = number_of(key).unwrap_or_default();
    }
    numbers
}

/// None of a key that no `u64` tablet can have.
pub(super) fn number_of(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}
