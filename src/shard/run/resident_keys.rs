//! The keys of a run's tablets on their way into memory: collected from slices, then indexed.
//!
//! The writer's tail and the loader both go this way, each step a slice of work.

use super::directory::TabletEntry;
use super::first_keys::FirstKeysBuf;
use super::learned_section::{Clock, IndexMaker, KeyArray, KeysCollector};
use super::watched::Watched;
use crate::shard::key::KeyType;

/// What is resident of a tablet's keys.
pub(super) enum ResidentKeys {
    /// Of a tablet without entries.
    Empty,
    All(Box<Watched>),
    First(FirstKeysBuf),
}

/// Takes the keys of one tablet, as they are in the file, in slices.
pub(super) enum Collector {
    Empty,
    All(KeysCollector),
    First { bytes: Vec<u8>, blocks: u32 },
}

impl Collector {
    /// The entry is that of a checked directory, or of a run being written.
    pub fn new(tablet: &TabletEntry, part_bytes: usize) -> Collector {
        match tablet.info.key_type {
            _ if tablet.entries == 0 => Collector::Empty,
            KeyType::U64 => Collector::All(KeysCollector::new(tablet.entries as usize)),
            KeyType::String => {
                Collector::First { bytes: Vec::with_capacity(part_bytes), blocks: tablet.blocks }
            }
        }
    }

    /// Without the padding behind the part.
    pub fn take(&mut self, slice: &[u8]) {
        match self {
            Collector::Empty => {}
            Collector::All(keys) => keys.take(slice),
            Collector::First { bytes, .. } => bytes.extend_from_slice(slice),
        }
    }

    /// None when they are no such keys.
    pub fn finish(self) -> Option<Collected> {
        Some(match self {
            Collector::Empty => Collected::Empty,
            Collector::All(keys) => Collected::All(keys.finish()?),
            Collector::First { bytes, blocks } => Collected::First(FirstKeysBuf::new(bytes, blocks)?),
        })
    }
}

/// Keys without their index.
pub(super) enum Collected {
    Empty,
    All(KeyArray),
    First(FirstKeysBuf),
}

/// Gives the collected keys their indexes.
pub(super) struct Indexing {
    /// See [`IndexMaker::new`].
    choose: bool,
    waiting: std::vec::IntoIter<Collected>,
    making: Option<IndexMaker>,
    done: Vec<ResidentKeys>,
    trained: bool,
}

impl Indexing {
    pub fn new(keys: Vec<Collected>, choose: bool) -> Indexing {
        Indexing { choose, waiting: keys.into_iter(), making: None, done: Vec::new(), trained: false }
    }

    /// A slice of the work; true at the end. `stored` gives the encoded index of the tablet at a position.
    pub fn step<'a>(&mut self, stored: impl Fn(usize) -> Option<&'a [u8]>, clock: Clock<'_>) -> bool {
        let Some(mut maker) = self.making.take() else { return self.begin(stored) };
        if maker.step(clock) {
            let (index, trained) = maker.finish();
            self.done.push(ResidentKeys::All(Box::new(Watched::new(index))));
            self.trained |= trained;
        } else {
            self.making = Some(maker);
        }
        false
    }

    fn begin<'a>(&mut self, stored: impl Fn(usize) -> Option<&'a [u8]>) -> bool {
        match self.waiting.next() {
            None => return true,
            Some(Collected::Empty) => self.done.push(ResidentKeys::Empty),
            Some(Collected::First(keys)) => self.done.push(ResidentKeys::First(keys)),
            Some(Collected::All(keys)) => {
                self.making = Some(IndexMaker::new(keys, stored(self.done.len()), self.choose));
            }
        }
        false
    }

    /// Of each tablet by position, and whether an index had to be trained.
    pub fn finish(self) -> (Vec<ResidentKeys>, bool) {
        assert!(self.waiting.len() == 0 && self.making.is_none(), "every step was made");
        (self.done, self.trained)
    }
}
