//! The index that a run is served with: its keys, and for each mode the structure that was faster.

use std::ops::Range;

use super::choose::{Choice, Chooser, Reason, Structure};
use super::kernel::{Level, Proven};
use super::keys::KeyArray;
use super::learned::Learned;
use super::probe::{BATCH_KEYS, Probe};
use super::splus::{SPlus, SPlusBuilder};
use super::train::{TrainOptions, Trainer};

/// How lookups come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One key at a time.
    Single,
    /// Many at a time, side by side.
    Batch,
}

/// What to build.
#[derive(Clone, Copy, Debug, Default)]
pub struct IndexOptions {
    pub train: TrainOptions,
    /// This one, and no measurement.
    pub structure: Option<Structure>,
}

/// An index over the keys that it owns.
pub struct Index {
    pub(super) keys: KeyArray,
    // Invariant: what a choice names is there.
    pub(super) learned: Option<Learned>,
    pub(super) splus: Option<SPlus>,
    pub(super) single: Choice,
    pub(super) batch: Choice,
}

impl Index {
    /// Builds and chooses at once. `clock` gives nanoseconds, best of this thread's own time.
    pub fn build(keys: KeyArray, options: IndexOptions, clock: &mut dyn FnMut() -> u64) -> Index {
        let mut builder = IndexBuilder::new(keys, options);
        while !builder.step(usize::MAX, clock) {}
        builder.finish()
    }

    pub fn keys(&self) -> &KeyArray {
        &self.keys
    }

    pub fn into_keys(self) -> KeyArray {
        self.keys
    }

    /// How many keys are below `key`: the place of the first that is not.
    #[inline]
    pub fn rank(&self, key: u64) -> usize {
        match (self.single.structure, &self.learned, &self.splus) {
            (Structure::Learned, Some(learned), _) => learned.rank(&self.keys, key),
            (_, _, Some(splus)) => splus.rank(&self.keys, key),
            (_, _, None) => self.keys.as_slice().partition_point(|other| *other < key),
        }
    }

    /// The place of `key`, when it is there.
    #[inline]
    pub fn get(&self, key: u64) -> Option<usize> {
        self.present(key, self.rank(key))
    }

    /// The places of the keys from `range.start` on and below `range.end`.
    pub fn range(&self, range: Range<u64>) -> Range<usize> {
        let begin = self.rank(range.start);
        begin..self.rank(range.end).max(begin)
    }

    /// `rank` of each of `wanted`. Best with 16 to 64 keys at a time.
    pub fn rank_batch(&self, wanted: &[u64], ranks: &mut [usize]) {
        assert_eq!(wanted.len(), ranks.len());
        match (self.batch.structure, &self.learned, &self.splus) {
            (Structure::Learned, Some(learned), _) => learned.rank_batch(&self.keys, wanted, ranks),
            (_, _, Some(splus)) => splus.rank_batch(&self.keys, wanted, ranks),
            (_, _, None) => ranks.iter_mut().zip(wanted).for_each(|(rank, key)| *rank = self.rank(*key)),
        }
    }

    /// Asks for the memory that `rank` of these keys will wait for, and for nothing else. For who has a few keys
    /// for each of several indexes: a batch of one index hides little then.
    pub fn prefetch(&self, wanted: &[u64]) {
        match (self.batch.structure, &self.learned, &self.splus) {
            (Structure::Learned, Some(learned), _) => learned.prefetch(&self.keys, wanted),
            (_, _, Some(splus)) => splus.prefetch(&self.keys, wanted),
            (_, _, None) => {}
        }
    }

    /// `get` of each of `wanted`.
    pub fn get_batch(&self, wanted: &[u64], places: &mut [Option<usize>]) {
        assert_eq!(wanted.len(), places.len());
        let mut ranks = [0; BATCH_KEYS];
        for (wanted, places) in wanted.chunks(BATCH_KEYS).zip(places.chunks_mut(BATCH_KEYS)) {
            let ranks = &mut ranks[..wanted.len()];
            self.rank_batch(wanted, ranks);
            for ((place, key), rank) in places.iter_mut().zip(wanted).zip(ranks) {
                *place = self.present(*key, *rank);
            }
        }
    }

    #[inline]
    fn present(&self, key: u64, rank: usize) -> Option<usize> {
        (self.keys.as_slice().get(rank) == Some(&key)).then_some(rank)
    }

    /// What serves a mode, and why.
    pub fn choice(&self, mode: Mode) -> Choice {
        match mode {
            Mode::Single => self.single,
            Mode::Batch => self.batch,
        }
    }

    pub fn learned(&self) -> Option<&Learned> {
        self.learned.as_ref()
    }

    pub fn splus(&self) -> Option<&SPlus> {
        self.splus.as_ref()
    }

    /// No rank is further from the learned index's prediction; none when it does not serve.
    pub fn max_error(&self) -> Option<usize> {
        self.learned.as_ref().map(Learned::max_error)
    }

    /// Bytes beside the keys.
    pub fn bytes(&self) -> usize {
        self.learned.as_ref().map_or(0, Learned::bytes) + self.splus.as_ref().map_or(0, SPlus::bytes)
    }

    /// Another instruction set; false when this machine does not have it.
    pub fn set_level(&mut self, level: Level) -> bool {
        let Some(proven) = Proven::of(level) else { return false };
        self.learned.iter_mut().for_each(|learned| learned.set_level(proven));
        self.splus.iter_mut().for_each(|splus| splus.set_level(proven));
        true
    }
}

/// Builds an index in steps that a core can put between its requests.
pub struct IndexBuilder {
    keys: KeyArray,
    options: IndexOptions,
    phase: Phase,
    learned: Option<Learned>,
    splus: Option<SPlus>,
}

enum Phase {
    Train(Trainer),
    Tree(SPlusBuilder),
    Choose(Chooser),
    Done(Choice, Choice),
    Taken,
}

impl IndexBuilder {
    /// Allocates what the keys need, and looks at none.
    pub fn new(keys: KeyArray, options: IndexOptions) -> IndexBuilder {
        let phase = match options.structure {
            Some(Structure::SPlus) => Phase::Tree(SPlusBuilder::new(keys.len(), options.train.memory)),
            Some(Structure::Learned) | None => Phase::Train(Trainer::new(options.train)),
        };
        IndexBuilder { keys, options, phase, learned: None, splus: None }
    }

    /// Does what looking at `budget` keys in order costs, about; true when all is done. `clock` gives
    /// nanoseconds, best of this thread's own time; only the choice asks it.
    pub fn step(&mut self, budget: usize, clock: &mut dyn FnMut() -> u64) -> bool {
        let keys = &self.keys;
        self.phase = match std::mem::replace(&mut self.phase, Phase::Taken) {
            Phase::Train(mut trainer) => match trainer.step(keys, budget) {
                false => Phase::Train(trainer),
                true => {
                    self.learned = trainer.finish();
                    self.after(Structure::Learned)
                }
            },
            Phase::Tree(mut builder) => match builder.step(keys, budget) {
                false => Phase::Tree(builder),
                true => {
                    self.splus = Some(builder.finish());
                    self.after(Structure::SPlus)
                }
            },
            Phase::Choose(chooser) => self.choose(chooser, budget, clock),
            done => done,
        };
        matches!(self.phase, Phase::Done(..))
    }

    /// All structures are there; only the choice may be left.
    pub fn is_built(&self) -> bool {
        matches!(self.phase, Phase::Choose(_) | Phase::Done(..))
    }

    /// The index, when the last step said that all is done.
    pub fn finish(self) -> Index {
        let IndexBuilder { keys, phase, learned, splus, .. } = self;
        let Phase::Done(single, batch) = phase else { panic!("not all steps were made") };
        Index { keys, learned, splus, single, batch }
    }

    /// What comes when this structure is there.
    fn after(&self, built: Structure) -> Phase {
        match (self.options.structure, built) {
            (Some(structure), _) => {
                let forced = Choice { structure, reason: Reason::Forced };
                Phase::Done(forced, forced)
            }
            (None, Structure::Learned) => {
                Phase::Tree(SPlusBuilder::new(self.keys.len(), self.options.train.memory))
            }
            (None, Structure::SPlus) => Phase::Choose(Chooser::new()),
        }
    }

    /// Lets go of what does not serve, in the end.
    fn choose(&mut self, mut chooser: Chooser, budget: usize, clock: &mut dyn FnMut() -> u64) -> Phase {
        if let (Some(learned), Some(splus)) = (&self.learned, &self.splus)
            && !chooser.step(&self.keys, learned, splus, budget, clock)
        {
            return Phase::Choose(chooser);
        }
        let (single, batch) = chooser.finish();
        let serves = |structure| single.structure == structure || batch.structure == structure;
        self.learned.take_if(|_| !serves(Structure::Learned));
        self.splus.take_if(|_| !serves(Structure::SPlus));
        Phase::Done(single, batch)
    }
}
