//! Which parts are merged next, and why. Pure.
//!
//! Leveled compaction (O'Neil et al., "The log-structured merge-tree", 1996; cut into parts as LevelDB does), with
//! levels as large as [`super::shares`] says. Each job takes a bounded number of parts, so the room that it needs
//! while it runs is bounded as well.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::levels::{LAST, Levels};
use super::part::Part;
use super::place::Place;
use super::shares::Shares;
use super::shelf::Shelf;
use super::value_policy;
use crate::limits;
use crate::types::RunId;

/// Why a job is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Nothing in the part belongs to this shard any more.
    Gone,
    /// Level 0 has so many parts that reads have to look at too many.
    Fresh,
    /// A level is larger than its share.
    Size,
    /// Many deletions wait to take what they delete with them.
    Tombstones,
    /// A part holds keys that went to another shard.
    Foreign,
    /// Much of what is in value files is dead.
    Values,
    /// Somebody asked.
    Forced,
    /// Little is written, and much in runs is obsolete.
    Quiet,
}

impl Reason {
    pub const ALL: [Reason; 8] = [
        Reason::Gone,
        Reason::Fresh,
        Reason::Size,
        Reason::Tombstones,
        Reason::Foreign,
        Reason::Values,
        Reason::Forced,
        Reason::Quiet,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Reason::Gone => "gone",
            Reason::Fresh => "fresh_parts",
            Reason::Size => "level_size",
            Reason::Tombstones => "tombstones",
            Reason::Foreign => "foreign_keys",
            Reason::Values => "values",
            Reason::Forced => "forced",
            Reason::Quiet => "quiet",
        }
    }
}

/// Parts of one level that go into another, merged with what they overlap there.
#[derive(Clone)]
pub struct Job {
    pub reason: Reason,
    pub from: usize,
    pub to: usize,
    /// Newest first when `from` is 0, in order of places otherwise.
    pub upper: Vec<Rc<Part>>,
    /// Value files out of which values move: what the job is for.
    pub moves_out_of: BTreeSet<RunId>,
}

impl Job {
    fn new(reason: Reason, from: usize, to: usize, upper: Vec<Rc<Part>>) -> Job {
        Job { reason, from, to, upper, moves_out_of: BTreeSet::new() }
    }
}

/// Parts that are to go down to the deepest level: those that were there when somebody asked, and what comes of
/// them. What is sealed later is not among them, or the end would never come under steady writes.
#[derive(Default)]
pub struct Goal {
    parts: BTreeSet<RunId>,
}

impl Goal {
    /// Everything that is not in the deepest level now.
    pub fn all(levels: &Levels) -> Goal {
        Goal { parts: shallow(levels).map(|part| part.meta.id).collect() }
    }

    /// Leaves out what is there no more.
    pub fn follow(&mut self, levels: &Levels) {
        let there: BTreeSet<RunId> = shallow(levels).map(|part| part.meta.id).collect();
        self.parts.retain(|id| there.contains(id));
    }

    /// A job is done: what came of parts of the goal is of the goal.
    pub fn note_done(&mut self, job: &Job, levels: &Levels) {
        if job.to < LAST && job.upper.iter().any(|part| self.has(part)) {
            for part in &job.upper {
                self.parts.extend(levels.overlapping(job.to, &part.span).map(|part| part.meta.id));
            }
        }
    }

    /// Of the parts that have yet to go down.
    pub fn bytes(&self, levels: &Levels) -> u64 {
        shallow(levels).filter(|part| self.has(part)).map(|part| part.meta.file_len).sum()
    }

    pub fn is_reached(&self) -> bool {
        self.parts.is_empty()
    }

    fn has(&self, part: &Part) -> bool {
        self.parts.contains(&part.meta.id)
    }
}

fn shallow(levels: &Levels) -> impl Iterator<Item = &Rc<Part>> {
    levels.iter().filter(|part| usize::from(part.meta.level) < LAST)
}

/// What a part is to the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belongs {
    All,
    Partly,
    Nothing,
}

/// What the policy goes by.
pub struct Policy {
    /// Parts are about this large.
    pub part_bytes: u64,
    shares: Shares,
    /// Value files are about this large.
    value_file_bytes: u64,
    /// Parts that could not be read when values were to move: the others come first, and this run of the server
    /// does not try them again.
    failed: BTreeSet<RunId>,
    /// Places behind which each level goes on: parts take turns.
    turns: [Option<Place>; LAST + 1],
}

impl Policy {
    pub fn new(part_bytes: u64, value_file_bytes: u64) -> Policy {
        let turns = [const { None }; LAST + 1];
        let shares = Shares::new(part_bytes);
        Policy { part_bytes, shares, value_file_bytes, failed: BTreeSet::new(), turns }
    }

    /// A job met damage.
    pub fn note_damage(&mut self, job: &Job) {
        if job.reason == Reason::Values {
            self.failed.extend(job.upper.iter().map(|part| part.meta.id));
        }
    }

    /// Files out of which values move while a job merges these parts.
    pub fn moves(&self, job: &Job, shelf: &Shelf, lower: &[Rc<Part>]) -> BTreeSet<RunId> {
        match job.reason {
            Reason::Values => job.moves_out_of.clone(),
            Reason::Fresh | Reason::Size | Reason::Forced | Reason::Quiet => {
                value_policy::on_the_way(shelf, job.upper.iter().chain(lower), self.value_file_bytes)
            }
            Reason::Gone | Reason::Tombstones | Reason::Foreign => BTreeSet::new(),
        }
    }

    pub fn next(
        &mut self,
        levels: &Levels,
        shelf: &Shelf,
        belongs: &dyn Fn(&Part) -> Belongs,
        goal: &Goal,
    ) -> Option<Job> {
        self.gone(levels, belongs)
            .or_else(|| self.fresh(levels))
            .or_else(|| self.forced(levels, goal))
            .or_else(|| self.size(levels))
            .or_else(|| self.tombstones(levels))
            .or_else(|| self.foreign(levels, belongs))
            .or_else(|| self.values(levels, shelf))
    }

    /// Level 0 goes down though nothing presses: for the room that its records take twice.
    pub fn quiet(&self, levels: &Levels) -> Option<Job> {
        self.all_fresh(levels, Reason::Quiet)
    }

    /// The level into which level 0 goes: never past one that has something, which would be older.
    fn entry(&self, levels: &Levels) -> usize {
        let base = self.shares.base(levels);
        (1..base).find(|level| !levels.level(*level).is_empty()).unwrap_or(base)
    }

    fn gone(&self, levels: &Levels, belongs: &dyn Fn(&Part) -> Belongs) -> Option<Job> {
        let part = levels.iter().find(|part| belongs(part) == Belongs::Nothing)?;
        let level = part.meta.level.into();
        Some(Job::new(Reason::Gone, level, level, vec![part.clone()]))
    }

    fn all_fresh(&self, levels: &Levels, reason: Reason) -> Option<Job> {
        let upper = levels.fresh().to_vec();
        (!upper.is_empty()).then(|| Job::new(reason, 0, self.entry(levels), upper))
    }

    fn fresh(&self, levels: &Levels) -> Option<Job> {
        if !self.shares.is_fresh_full(levels) && !value_policy::hides_much(levels) {
            return None;
        }
        self.all_fresh(levels, Reason::Fresh)
    }

    fn size(&mut self, levels: &Levels) -> Option<Job> {
        let level = (1..LAST).find(|level| levels.bytes(*level) > self.shares.of(levels, *level))?;
        let parts = levels.level(level);
        let turn = self.turns[level].take();
        let next = parts.iter().find(|part| turn.as_ref().is_none_or(|turn| part.span.first > *turn));
        let part = next.or(parts.first())?.clone();
        self.turns[level] = Some(part.span.last.clone());
        Some(Job::new(Reason::Size, level, level + 1, vec![part]))
    }

    fn tombstones(&self, levels: &Levels) -> Option<Job> {
        let many = |part: &&Rc<Part>| {
            let tombstones = part.meta.entries - part.meta.live;
            tombstones * limits::COMPACTION_TOMBSTONE_ENTRIES >= part.meta.entries && tombstones > 0
        };
        if levels.fresh().iter().any(|part| many(&part)) {
            return self.all_fresh(levels, Reason::Tombstones);
        }
        let part = (1..LAST).flat_map(|level| levels.level(level)).find(many)?;
        let from = usize::from(part.meta.level);
        Some(Job::new(Reason::Tombstones, from, from + 1, vec![part.clone()]))
    }

    /// Rewritten within its level, without what went away. Those of level 0 wait until they go down.
    fn foreign(&self, levels: &Levels, belongs: &dyn Fn(&Part) -> Belongs) -> Option<Job> {
        let mut deep = (1..=LAST).flat_map(|level| levels.level(level));
        let part = deep.find(|part| belongs(part) == Belongs::Partly)?;
        let level = part.meta.level.into();
        Some(Job::new(Reason::Foreign, level, level, vec![part.clone()]))
    }

    /// Rewritten within its level, with values that move.
    fn values(&self, levels: &Levels, shelf: &Shelf) -> Option<Job> {
        let (part, moves_out_of) = value_policy::next(levels, shelf, self.value_file_bytes, &self.failed)?;
        let level = part.meta.level.into();
        Some(Job { moves_out_of, ..Job::new(Reason::Values, level, level, vec![part]) })
    }

    fn forced(&self, levels: &Levels, goal: &Goal) -> Option<Job> {
        if levels.fresh().iter().any(|part| goal.has(part)) {
            return self.all_fresh(levels, Reason::Forced);
        }
        let part = (1..LAST).flat_map(|level| levels.level(level)).find(|part| goal.has(part))?;
        let from = usize::from(part.meta.level);
        Some(Job::new(Reason::Forced, from, from + 1, vec![part.clone()]))
    }
}
