//! The learned index of a tablet in memory, with what its lookups tell of it.
//!
//! An index can be built anew from its own keys, in steps, while it serves: [`Remake`] copies the keys and builds
//! beside it, and its last step puts the new one in place. The keys are the same, so no lookup notices.

use std::cell::{Cell, Ref, RefCell};

use super::learned_section::{self, Clock, Index, LEARNED_KEYS_MIN, TRAIN_STEP_KEYS};
use crate::rmi::choose::Structure;
use crate::rmi::drift::{Costs, Drift, Promise, Verdict, verdict};
use crate::rmi::index::{IndexBuilder, IndexOptions};
use crate::rmi::keys::KeyArrayBuilder;
use crate::rmi::memory::Memory;

pub struct Watched {
    index: RefCell<Index>,
    drift: RefCell<Drift>,
    /// Of the index as it was built; made when it is first asked for.
    promise: Cell<Option<Promise>>,
}

impl Watched {
    pub fn new(index: Index) -> Watched {
        Watched { index: RefCell::new(index), drift: RefCell::default(), promise: Cell::new(None) }
    }

    pub fn index(&self) -> Ref<'_, Index> {
        self.index.borrow()
    }

    /// Keys and index.
    pub fn bytes(&self) -> usize {
        learned_section::bytes(&self.index.borrow())
    }

    /// The place of `key`, when it is there.
    pub fn get(&self, key: u64) -> Option<usize> {
        let index = self.index.borrow();
        let rank = index.rank(key);
        let is_there = index.keys().as_slice().get(rank) == Some(&key);
        self.drift.borrow_mut().saw(&index, key, rank, is_there);
        is_there.then_some(rank)
    }

    /// Asks for the memory that `get_batch` of these will wait for.
    pub fn prefetch(&self, wanted: &[u64]) {
        self.index.borrow().prefetch(wanted);
    }

    /// As `get`, for each of `wanted`, with room for as many ranks.
    pub fn get_batch(&self, wanted: &[u64], ranks: &mut [usize], places: &mut [Option<usize>]) {
        let index = self.index.borrow();
        index.rank_batch(wanted, ranks);
        self.drift.borrow_mut().saw_batch(&index, wanted, ranks);
        let keys = index.keys().as_slice();
        for ((place, key), rank) in places.iter_mut().zip(wanted).zip(ranks) {
            *place = (keys.get(*rank) == Some(key)).then_some(*rank);
        }
    }

    /// What was seen since the build.
    pub fn drift(&self) -> Ref<'_, Drift> {
        self.drift.borrow()
    }

    /// Whether a rebuild as a tree, which needs no second look anywhere, pays. Looks at some thousand keys the
    /// first time.
    pub fn verdict(&self, costs: Costs) -> Verdict {
        let index = self.index.borrow();
        let promise = self.promise.get().unwrap_or_else(|| Promise::of(&index));
        self.promise.set(Some(promise));
        verdict(&self.drift.borrow(), promise, costs)
    }
}

/// An index on its way, beside the one that serves.
pub enum Remake {
    Copy { keys: KeyArrayBuilder, structure: Option<Structure> },
    Build(Box<IndexBuilder>),
    Done,
}

impl Remake {
    /// `structure`: this one; else what is measured to be faster.
    pub fn new(of: &Watched, structure: Option<Structure>) -> Remake {
        let keys = of.index.borrow().keys().len();
        let structure = if keys <= LEARNED_KEYS_MIN { Some(Structure::SPlus) } else { structure };
        Remake::Copy { keys: KeyArrayBuilder::new(keys, Memory::plain()), structure }
    }

    /// A slice of the work. With the last one the new index serves, and what was seen of the one before is given.
    pub fn step(&mut self, of: &Watched, clock: Clock<'_>) -> Option<Drift> {
        match std::mem::replace(self, Remake::Done) {
            Remake::Copy { mut keys, structure } => {
                let index = of.index.borrow();
                let left = &index.keys().as_slice()[keys.len()..];
                let piece = &left[..left.len().min(TRAIN_STEP_KEYS)];
                keys.push(piece).expect("keys of an index ascend");
                *self = if piece.len() == left.len() {
                    let options = IndexOptions { structure, ..IndexOptions::default() };
                    Remake::Build(Box::new(IndexBuilder::new(keys.finish(), options)))
                } else {
                    Remake::Copy { keys, structure }
                };
            }
            Remake::Build(mut builder) => {
                if builder.step(TRAIN_STEP_KEYS, clock) {
                    *of.index.borrow_mut() = builder.finish();
                    of.promise.set(None);
                    return Some(of.drift.take());
                }
                *self = Remake::Build(builder);
            }
            Remake::Done => panic!("a step behind the end"),
        }
        None
    }
}
