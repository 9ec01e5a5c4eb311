//! What should move, and why: a pure function of what there is.
//!
//! A plan is made of steps, each on what the ones before it leave behind. A step is taken for the first reason
//! that holds:
//!
//! 1. **Growing keys** are about to put their shard above its share: the range is cut ahead of them, and what
//!    lies beyond goes to the smallest shard.
//! 2. **Many tablets**: the two smallest neighbours become one, behind a move when they are on two shards; not those
//!    that are more than a move may take along.
//! 3. **Size**: the largest shard is above its share by more than the threshold: a range, or as much of one as is
//!    wanted, goes to the smallest.
//! 4. **Heat**: the same for requests, as far as sizes allow it: no shard gets so much that 3 would take some of it
//!    away, by either threshold. So 3 and 4 never work against each other.
//!
//! For sizes, who acts only above one threshold and then goes down to a lower one does not act all the time: `from` is
//! either of [`Aims::act`] and [`Aims::aim`].
//!
//! Must not know: shards, messages, time.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::Reason;
use crate::limits;
use crate::shard::heat::Front;
use crate::shard::key::Key;
use crate::shard::reshape::Target;
use crate::types::{CollectionId, ShardId};

/// What is to be reached.
#[derive(Clone, Debug)]
pub struct Aims {
    pub shards: usize,
    /// Largest shard over the mean at which something is done, and where that ends.
    pub act: f64,
    pub aim: f64,
    /// Most asked shard over the mean at which something is done.
    pub heat: f64,
    pub heat_min: f64,
    pub bytes_min: u64,
    pub move_bytes_max: u64,
    /// How far ahead the growth of a range counts, in seconds.
    pub horizon: f64,
    /// Of one collection.
    pub tablets_max: usize,
}

impl Aims {
    pub fn new(shards: usize, bytes_min: u64, heat_min: u64, horizon: f64) -> Aims {
        Aims {
            shards,
            act: 1.2,
            aim: 1.1,
            heat: 1.5,
            heat_min: heat_min as f64,
            bytes_min,
            move_bytes_max: limits::BALANCE_MOVE_BYTES_MAX,
            horizon,
            tablets_max: limits::TABLETS_PER_SHARD_MAX * shards,
        }
    }
}

/// A tablet, as far as the planner cares.
#[derive(Clone, Debug)]
pub struct Range {
    pub collection: CollectionId,
    pub start: Key,
    pub end: Option<Key>,
    pub owner: ShardId,
    pub bytes: u64,
    /// Requests in a second.
    pub requests: f64,
    /// Bytes in a second that are written behind its front.
    pub growth: f64,
    pub front: Option<Front>,
    /// Sorted, evenly apart in its records; empty where that is not known.
    pub keys: Vec<Key>,
    /// Sorted, of what was asked for.
    pub asked: Vec<Key>,
    /// It cannot be cut or moved: its keys are placed by hash.
    pub fixed: bool,
    /// It has come about just now: nothing is known of its heat, and merging it would take back what was done.
    pub fresh: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Split,
    Move,
    Merge,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Split => "split",
            Kind::Move => "move",
            Kind::Merge => "merge",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub kind: Kind,
    pub reason: Reason,
    pub collection: CollectionId,
    /// First keys of the tablets that are replaced, neighbours.
    pub sources: Vec<Key>,
    /// Where the last of them ends.
    pub end: Option<Key>,
    pub targets: Vec<Target>,
    /// About what has to be sent.
    pub bytes: u64,
    /// Largest shard over the mean behind it.
    pub ratio: f64,
}

/// All tablets, those of a collection side by side in key order.
pub fn plan(mut ranges: Vec<Range>, aims: &Aims, from: f64) -> Vec<Step> {
    let mut steps = Vec::new();
    while steps.len() < limits::BALANCE_STEPS_MAX {
        // Behind the first step for size the lower threshold holds.
        let sized = steps.iter().any(|step: &Step| step.reason == Reason::Size);
        let Some(mut step) = next_step(&ranges, aims, if sized { aims.aim } else { from }) else { break };
        ranges = applied(ranges, &step);
        step.ratio = ratio(&ranges, aims.shards);
        steps.push(step);
    }
    steps
}

/// The first step of a plan.
pub fn next_step(ranges: &[Range], aims: &Aims, from: f64) -> Option<Step> {
    Board::new(ranges, aims).next(from)
}

/// The ranges behind a step.
pub fn applied(mut ranges: Vec<Range>, step: &Step) -> Vec<Range> {
    let is_source =
        |range: &Range| range.collection == step.collection && step.sources.contains(&range.start);
    let first = ranges.iter().position(is_source).expect("a step is about what there is");
    let replaced = first..first + step.sources.len();
    let whole = ranges[replaced.clone()].iter().cloned().reduce(Range::with).expect("a step has sources");
    let ends = step.targets.iter().skip(1).map(|next| Some(next.start.clone())).chain([step.end.clone()]);
    let part = |(target, end): (&Target, Option<Key>)| whole.part(target, end);
    let parts: Vec<Range> = step.targets.iter().zip(ends).map(part).collect();
    ranges.splice(replaced, parts);
    ranges
}

/// Of which ranges a plan has to know how the keys lie.
pub fn wanted_keys(ranges: &[Range], aims: &Aims, from: f64) -> Vec<usize> {
    let board = Board::new(ranges, aims);
    let sizes = board.sizes();
    let heats = board.heats();
    let mean = mean(&sizes);
    let uneven = board.is_uneven(&sizes, from) || board.is_hot(&heats);
    let over = |range: &Range| {
        let owner = usize::from(range.owner.0);
        sizes[owner] >= mean || heats[owner] >= self::mean(&heats)
    };
    let worth = |range: &Range| !range.fixed && range.bytes * 8 >= aims.bytes_min;
    let is_wanted = |index: &usize| {
        let range = &ranges[*index];
        uneven && worth(range) && over(range) || board.cut_ahead(*index).is_some()
    };
    let mut wanted: Vec<usize> = (0..ranges.len()).filter(is_wanted).collect();
    wanted.sort_by_key(|index| std::cmp::Reverse(ranges[*index].bytes));
    wanted.truncate(limits::BALANCE_TABLETS_MAX);
    wanted
}

/// Largest over mean of what the shards have; 1 when there is nothing.
pub fn ratio(ranges: &[Range], shards: usize) -> f64 {
    let sums = sums(ranges, shards, |range| range.bytes as f64);
    let mean = mean(&sums);
    if mean > 0.0 { sums.iter().copied().fold(0.0, f64::max) / mean } else { 1.0 }
}

fn sums(ranges: &[Range], shards: usize, of: impl Fn(&Range) -> f64) -> Vec<f64> {
    let mut sums = vec![0.0; shards];
    ranges.iter().for_each(|range| sums[usize::from(range.owner.0)] += of(range));
    sums
}

fn mean(sums: &[f64]) -> f64 {
    sums.iter().sum::<f64>() / sums.len() as f64
}

/// The first with the most, the first with the least.
fn extremes(sums: &[f64]) -> (usize, usize) {
    let most = (0..sums.len()).reduce(|a, b| if sums[b] > sums[a] { b } else { a });
    let least = (0..sums.len()).reduce(|a, b| if sums[b] < sums[a] { b } else { a });
    (most.expect("a node has shards"), least.expect("a node has shards"))
}

/// What there is, and what is to be reached.
struct Board<'a> {
    ranges: &'a [Range],
    aims: &'a Aims,
    tablets: BTreeMap<CollectionId, usize>,
}

impl<'a> Board<'a> {
    fn new(ranges: &'a [Range], aims: &'a Aims) -> Board<'a> {
        let mut tablets = BTreeMap::new();
        ranges.iter().for_each(|range| *tablets.entry(range.collection).or_default() += 1);
        Board { ranges, aims, tablets }
    }

    fn sizes(&self) -> Vec<f64> {
        sums(self.ranges, self.aims.shards, |range| range.bytes as f64)
    }

    fn heats(&self) -> Vec<f64> {
        sums(self.ranges, self.aims.shards, |range| range.requests)
    }

    fn is_uneven(&self, sizes: &[f64], from: f64) -> bool {
        let (most, _) = extremes(sizes);
        let mean = mean(sizes);
        sizes[most] > from * mean && sizes[most] - mean >= self.aims.bytes_min as f64
    }

    fn is_hot(&self, heats: &[f64]) -> bool {
        let (most, _) = extremes(heats);
        heats.iter().sum::<f64>() >= self.aims.heat_min && heats[most] > self.aims.heat * mean(heats)
    }

    fn next(&self, from: f64) -> Option<Step> {
        if self.aims.shards < 2 {
            return None;
        }
        let growing = || (0..self.ranges.len()).find_map(|index| self.cut_ahead(index));
        growing().or_else(|| self.make_room()).or_else(|| self.even_out(from)).or_else(|| self.cool_down())
    }

    fn tablets(&self, collection: CollectionId) -> usize {
        self.tablets.get(&collection).copied().unwrap_or(0)
    }

    fn may_cut(&self, range: &Range) -> bool {
        !range.fixed && self.tablets(range.collection) + 2 <= self.aims.tablets_max
    }

    // ---- growing keys

    fn cut_ahead(&self, index: usize) -> Option<Step> {
        let range = &self.ranges[index];
        let front = range.front.as_ref().filter(|_| self.may_cut(range))?;
        let sizes = self.sizes();
        let (owner, (_, least)) = (usize::from(range.owner.0), extremes(&sizes));
        let more = range.growth * self.aims.horizon;
        let soon = mean(&sizes) + more / self.aims.shards as f64;
        let worth = sizes[owner] - sizes[least] >= self.aims.bytes_min as f64;
        if !worth || sizes[owner] + more <= self.aims.aim * soon {
            return None;
        }
        let cut = &front.ahead;
        if *cut <= range.start || range.end.as_ref().is_some_and(|end| cut >= end) {
            return None;
        }
        // Where much lies beyond, it is no end that grows.
        if range.share(cut, None) > 0.1 {
            return None;
        }
        let step = self.split_off(index, Side::Tail, cut.clone(), least, Reason::Growing);
        (step.bytes <= self.aims.move_bytes_max).then_some(step)
    }

    // ---- many tablets

    fn make_room(&self) -> Option<Step> {
        let crowded = |range: &Range| self.tablets(range.collection) * 4 > self.aims.tablets_max * 3;
        let mergeable = |range: &Range| !range.fixed && range.front.is_none();
        let bytes = |index: &usize| self.ranges[*index].bytes + self.ranges[*index + 1].bytes;
        let pair = |index: &usize| {
            let (left, right) = (&self.ranges[*index], &self.ranges[*index + 1]);
            // A range that was just cut off goes nowhere else.
            let settled = left.owner == right.owner || !(left.fresh || right.fresh);
            left.collection == right.collection
                && settled
                && crowded(left)
                && mergeable(left)
                && mergeable(right)
                // A merge sends both.
                && bytes(index) <= self.aims.move_bytes_max
        };
        let index = (0..self.ranges.len().saturating_sub(1)).filter(pair).min_by_key(bytes)?;
        let (left, right) = (&self.ranges[index], &self.ranges[index + 1]);
        if left.owner != right.owner {
            let sizes = self.sizes();
            let fuller = sizes[usize::from(left.owner.0)] > sizes[usize::from(right.owner.0)];
            let (moved, to) = if fuller { (index, right.owner) } else { (index + 1, left.owner) };
            return Some(self.give(moved, to, Reason::Tablets));
        }
        Some(Step {
            kind: Kind::Merge,
            reason: Reason::Tablets,
            collection: left.collection,
            sources: vec![left.start.clone(), right.start.clone()],
            end: right.end.clone(),
            targets: vec![Target { start: left.start.clone(), owner: left.owner, keeps: false }],
            bytes: bytes(&index),
            ratio: 0.0,
        })
    }

    // ---- size

    fn even_out(&self, from: f64) -> Option<Step> {
        let sizes = self.sizes();
        if !self.is_uneven(&sizes, from) {
            return None;
        }
        let (most, least) = extremes(&sizes);
        let mean = mean(&sizes);
        let wanted = (sizes[most] - mean).min(self.aims.aim * mean - sizes[least]);
        let wanted = wanted.min(self.aims.move_bytes_max as f64);
        if wanted < self.aims.bytes_min as f64 / 4.0 {
            return None;
        }
        let on_most =
            |index: &usize| usize::from(self.ranges[*index].owner.0) == most && !self.ranges[*index].fixed;
        let candidates: Vec<usize> = (0..self.ranges.len()).filter(on_most).collect();
        let to = ShardId(least as u16);
        let whole = |index| self.give(index, to, Reason::Size);
        let step = self
            .whole(&candidates, wanted / 2.0..=wanted)
            .map(whole)
            .or_else(|| self.piece(&candidates, wanted, least, true))
            .or_else(|| self.whole(&candidates, 1.0..=wanted).map(whole))
            .or_else(|| self.piece(&candidates, wanted, least, false))?;
        // Keys may be known too coarsely.
        (sizes[least] + (step.bytes as f64) < sizes[most]).then_some(step)
    }

    /// The largest range that is about what is wanted; one that was just moved if there is no other.
    fn whole(&self, candidates: &[usize], wanted: RangeInclusive<f64>) -> Option<usize> {
        let fits = |index: &&usize| {
            let range = &self.ranges[**index];
            range.front.is_none() && wanted.contains(&(range.bytes as f64))
        };
        let best = |index: &&usize| (!self.ranges[**index].fresh, self.ranges[**index].bytes);
        candidates.iter().filter(fits).max_by_key(best).copied()
    }

    /// So much of the coldest range that has as much, or of any.
    fn piece(&self, candidates: &[usize], wanted: f64, to: usize, has_it: bool) -> Option<Step> {
        let cuttable = |index: &&usize| {
            let range = &self.ranges[**index];
            range.keys.len() >= 4 && self.may_cut(range) && (!has_it || range.bytes as f64 >= wanted)
        };
        let heat = |index: &usize| self.ranges[*index].requests / self.ranges[*index].bytes.max(1) as f64;
        let index = candidates.iter().filter(cuttable).min_by(|a, b| heat(a).total_cmp(&heat(b)));
        let index = *index?;
        let range = &self.ranges[index];
        let share = (wanted / range.bytes.max(1) as f64).min(0.9);
        let count = ((range.keys.len() as f64 * share) as usize).max(1);
        let side = self.side(index, to);
        let cut = match side {
            Side::Head => &range.keys[count],
            Side::Tail => &range.keys[range.keys.len() - count],
        };
        (*cut > range.start).then(|| self.split_off(index, side, cut.clone(), to, Reason::Size))
    }

    /// From the side that does not grow, or the one with a neighbour at the new owner.
    fn side(&self, index: usize, to: usize) -> Side {
        let range = &self.ranges[index];
        let before = index.checked_sub(1).map(|before| &self.ranges[before]);
        let is_there =
            |other: &Range| other.collection == range.collection && usize::from(other.owner.0) == to;
        if range.front.is_some() || before.is_some_and(is_there) { Side::Head } else { Side::Tail }
    }

    // ---- heat

    fn cool_down(&self) -> Option<Step> {
        let (sizes, heats) = (self.sizes(), self.heats());
        if !self.is_hot(&heats) {
            return None;
        }
        let (most, least) = extremes(&heats);
        let wanted = (heats[most] - mean(&heats)).min(mean(&heats) - heats[least]);
        // Less than would ever be taken away again for its size.
        let mean_size = mean(&sizes);
        let limit = (self.aims.aim * mean_size).max(mean_size + self.aims.bytes_min as f64);
        let room = (limit - sizes[least]).min(self.aims.move_bytes_max as f64);
        let eligible = |index: &usize| {
            let range = &self.ranges[*index];
            usize::from(range.owner.0) == most && !range.fixed && !range.fresh && range.front.is_none()
        };
        let mut candidates: Vec<usize> = (0..self.ranges.len()).filter(eligible).collect();
        candidates.sort_by(|a, b| self.ranges[*b].requests.total_cmp(&self.ranges[*a].requests));
        candidates.into_iter().find_map(|index| self.cool(index, wanted, room, least))
    }

    fn cool(&self, index: usize, wanted: f64, room: f64, to: usize) -> Option<Step> {
        let range = &self.ranges[index];
        if (wanted / 2.0..=wanted).contains(&range.requests) && (range.bytes as f64) < room {
            return Some(self.give(index, ShardId(to as u16), Reason::Heat));
        }
        if range.requests <= wanted || range.asked.len() < limits::HEAT_FRONT_KEYS_MIN || !self.may_cut(range)
        {
            return None;
        }
        let count = (range.asked.len() as f64 * wanted / range.requests) as usize;
        let cut = &range.asked[range.asked.len() - count.max(1)];
        let divides = *cut > range.start && *cut > range.asked[0];
        let bytes = range.bytes as f64 * range.share(cut, None);
        (divides && bytes < room).then(|| self.split_off(index, Side::Tail, cut.clone(), to, Reason::Heat))
    }

    // ---- steps

    fn give(&self, index: usize, to: ShardId, reason: Reason) -> Step {
        let range = &self.ranges[index];
        Step {
            kind: Kind::Move,
            reason,
            collection: range.collection,
            sources: vec![range.start.clone()],
            end: range.end.clone(),
            targets: vec![Target { start: range.start.clone(), owner: to, keeps: false }],
            bytes: range.bytes,
            ratio: 0.0,
        }
    }

    fn split_off(&self, index: usize, side: Side, cut: Key, to: usize, reason: Reason) -> Step {
        let range = &self.ranges[index];
        let to = ShardId(to as u16);
        let stays = |start: &Key| Target { start: start.clone(), owner: range.owner, keeps: true };
        let goes = |start: &Key| Target { start: start.clone(), owner: to, keeps: false };
        let (targets, share) = match side {
            Side::Head => (vec![goes(&range.start), stays(&cut)], 1.0 - range.share(&cut, None)),
            Side::Tail => (vec![stays(&range.start), goes(&cut)], range.share(&cut, None)),
        };
        Step {
            kind: Kind::Split,
            reason,
            collection: range.collection,
            sources: vec![range.start.clone()],
            end: range.end.clone(),
            targets,
            bytes: (range.bytes as f64 * share) as u64,
            ratio: 0.0,
        }
    }
}

#[derive(Clone, Copy)]
enum Side {
    Head,
    Tail,
}

/// The keys in `[start, end)` of all.
fn share_of(keys: &[Key], start: &Key, end: Option<&Key>) -> f64 {
    let below = |key: &Key| keys.partition_point(|other| other < key);
    let count = end.map_or(keys.len(), below).saturating_sub(below(start));
    count as f64 / keys.len() as f64
}

fn in_range(keys: &[Key], start: &Key, end: Option<&Key>) -> Vec<Key> {
    keys.iter().filter(|key| *start <= **key && end.is_none_or(|end| *key < end)).cloned().collect()
}

impl Range {
    /// How much of its records lies there. Without known keys: all of it at its start, since then nothing but a
    /// cut ahead of a front is made.
    fn share(&self, start: &Key, end: Option<&Key>) -> f64 {
        match self.keys.is_empty() {
            false => share_of(&self.keys, start, end),
            true if *start == self.start => 1.0,
            true => 0.0,
        }
    }

    fn part(&self, target: &Target, end: Option<Key>) -> Range {
        let (start, last) = (&target.start, end == self.end);
        let heat = match self.asked.is_empty() {
            true => self.share(start, end.as_ref()),
            false => share_of(&self.asked, start, end.as_ref()),
        };
        Range {
            collection: self.collection,
            start: start.clone(),
            owner: target.owner,
            bytes: (self.bytes as f64 * self.share(start, end.as_ref())) as u64,
            requests: self.requests * heat,
            growth: if last { self.growth } else { 0.0 },
            // What was cut ahead of goes on elsewhere.
            front: self.front.clone().filter(|front| *start <= front.at && last),
            keys: in_range(&self.keys, start, end.as_ref()),
            asked: in_range(&self.asked, start, end.as_ref()),
            fixed: self.fixed,
            fresh: !target.keeps,
            end,
        }
    }

    fn with(self, right: Range) -> Range {
        Range {
            end: right.end,
            bytes: self.bytes + right.bytes,
            requests: self.requests + right.requests,
            growth: self.growth + right.growth,
            front: right.front,
            keys: [self.keys, right.keys].concat(),
            asked: [self.asked, right.asked].concat(),
            ..self
        }
    }
}
