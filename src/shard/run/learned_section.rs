//! The learned indexes of the `u64` tablets. With [`super::watched`] the only file of a run that knows
//! [`crate::rmi`].
//!
//! The section is a table (see `table`) of what [`codec::encode`] gives for the index of each `u64` tablet
//! with entries. All keys are resident under the index, so a lookup finds the number of an entry, or that
//! there is none, without a read; the filter is for keys that are not.
//!
//! An index that is damaged, missing or not that of the keys is trained again from them, in steps.

use super::field::u64_at;
use crate::rmi::choose::Structure;
use crate::rmi::codec;
pub(super) use crate::rmi::index::Index;
use crate::rmi::index::{IndexBuilder, IndexOptions};
pub(super) use crate::rmi::keys::KeyArray;
use crate::rmi::keys::KeyArrayBuilder;
use crate::rmi::memory::Memory;

const KEY_BYTES: usize = 8;
/// Fewer keys than this are in the cache anyway.
pub(super) const LEARNED_KEYS_MIN: usize = 1024;
/// Keys that training looks at in a step.
pub(super) const TRAIN_STEP_KEYS: usize = 4096;

/// Collects the keys of a tablet from slices of its part.
pub(super) struct KeysCollector {
    array: KeyArrayBuilder,
    /// Keys to come; what follows them fills the last line.
    left: usize,
    in_order: bool,
    slice: Vec<u64>,
}

impl KeysCollector {
    pub fn new(keys: usize) -> KeysCollector {
        let array = KeyArrayBuilder::new(keys, Memory::plain());
        KeysCollector { array, left: keys, in_order: true, slice: Vec::new() }
    }

    /// Whole keys, little-endian.
    pub fn take(&mut self, bytes: &[u8]) {
        self.slice.clear();
        self.slice.extend(bytes.chunks_exact(KEY_BYTES).take(self.left).map(|key| u64_at(key, 0)));
        self.left -= self.slice.len();
        self.in_order = self.in_order && self.array.push(&self.slice).is_ok();
    }

    /// None when they do not ascend, or are too few.
    pub fn finish(self) -> Option<KeyArray> {
        (self.in_order && self.left == 0).then(|| self.array.finish())
    }
}

/// Nanoseconds, best of this thread's own time.
pub type Clock<'a> = &'a mut dyn FnMut() -> u64;

/// Takes a stored index, or trains one in steps.
pub(super) enum IndexMaker {
    Stored(Box<Index>),
    Trained(Box<IndexBuilder>),
}

impl IndexMaker {
    /// `choose`: by a measurement, as a writer does; its choice is stored. Without a clock a large index is
    /// the learned one.
    pub fn new(keys: KeyArray, stored: Option<&[u8]>, choose: bool) -> IndexMaker {
        let Some(stored) = stored else { return IndexMaker::train(keys, choose) };
        match codec::decode(stored, keys, Memory::plain()) {
            Ok(index) => IndexMaker::Stored(Box::new(index)),
            Err((_, keys)) => IndexMaker::train(keys, choose),
        }
    }

    fn train(keys: KeyArray, choose: bool) -> IndexMaker {
        let structure = match keys.len() <= LEARNED_KEYS_MIN {
            true => Some(Structure::SPlus),
            false => (!choose).then_some(Structure::Learned),
        };
        let options = IndexOptions { structure, ..IndexOptions::default() };
        IndexMaker::Trained(Box::new(IndexBuilder::new(keys, options)))
    }

    /// A slice of the work; true at the end.
    pub fn step(&mut self, clock: Clock<'_>) -> bool {
        match self {
            IndexMaker::Stored(_) => true,
            IndexMaker::Trained(builder) => builder.step(TRAIN_STEP_KEYS, clock),
        }
    }

    /// The index, and whether it had to be trained.
    pub fn finish(self) -> (Index, bool) {
        match self {
            IndexMaker::Stored(index) => (*index, false),
            IndexMaker::Trained(builder) => (builder.finish(), true),
        }
    }
}

pub(super) fn encode(index: &Index) -> Vec<u8> {
    codec::encode(index)
}

/// Keys and index.
pub(super) fn bytes(index: &Index) -> usize {
    index.keys().len() * KEY_BYTES + index.bytes()
}
