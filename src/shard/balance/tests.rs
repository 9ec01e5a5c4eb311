//! The planner alone: what it does for each reason, and that it always gets somewhere.

use proptest::prelude::*;

use super::Reason;
use super::plan::{Aims, Kind, Range, Step, next_step, plan, ratio, wanted_keys};
use crate::limits;
use crate::shard::heat::Front;
use crate::shard::key::Key;
use crate::types::{CollectionId, ShardId};

const MIB: u64 = 1 << 20;

fn key(number: u64) -> Key {
    if number == 0 { Key::from_bytes(&[]) } else { Key::from_u64(number) }
}

fn aims(shards: usize) -> Aims {
    Aims::new(shards, MIB, 1000, 6.0)
}

/// Of even keys.
fn range(start: u64, end: Option<u64>, owner: u16, bytes: u64) -> Range {
    let last = end.unwrap_or(start + 1_000_000);
    let keys = (0..100).map(|n| Key::from_u64(start + 1 + (last - start - 2) / 100 * n)).collect();
    Range {
        collection: CollectionId(1),
        start: key(start),
        end: end.map(key),
        owner: ShardId(owner),
        bytes,
        requests: 0.0,
        growth: 0.0,
        front: None,
        keys,
        asked: Vec::new(),
        fixed: false,
        fresh: false,
    }
}

/// Neighbours of these owners and sizes, a million keys wide each.
fn ranges(sizes: &[(u16, u64)]) -> Vec<Range> {
    let range = |(index, (owner, bytes)): (usize, &(u16, u64))| {
        let start = index as u64 * 1_000_000;
        let end = (index + 1 < sizes.len()).then_some(start + 1_000_000);
        range(start, end, *owner, *bytes)
    };
    sizes.iter().enumerate().map(range).collect()
}

/// The same steps as a plan, but what stays behind is looked at.
fn after(mut ranges: Vec<Range>, steps: &[Step]) -> Vec<Range> {
    for step in steps {
        ranges = super::plan::applied(ranges, step);
    }
    ranges
}

#[test]
fn what_is_even_enough_is_left_alone() {
    let even = ranges(&[(0, 110 * MIB), (1, 95 * MIB), (2, 95 * MIB)]);
    assert!(wanted_keys(&even, &aims(3), 1.2).is_empty());
    assert_eq!(plan(even, &aims(3), 1.2), []);
    let small = ranges(&[(0, MIB), (1, 0)]);
    assert_eq!(plan(small, &aims(2), 1.2), [], "uneven, but by nothing");
}

#[test]
fn a_shard_that_has_all_gives_to_every_other() {
    let all = ranges(&[(0, 400 * MIB)]);
    assert_eq!(wanted_keys(&all, &aims(4), 1.2), [0]);
    let mut aims = aims(4);
    aims.move_bytes_max = 100 * MIB;
    let steps = plan(all.clone(), &aims, 1.2);
    assert_eq!(steps.len(), 3);
    assert!(steps.iter().all(|step| step.reason == Reason::Size && step.kind == Kind::Split));
    let after = after(all, &steps);
    assert!(ratio(&after, 4) <= 1.1 && ratio(&after, 4) == steps[2].ratio, "{}", ratio(&after, 4));
}

#[test]
fn a_whole_range_goes_where_one_fits() {
    let some = ranges(&[(0, 60 * MIB), (0, 30 * MIB), (1, 20 * MIB)]);
    let steps = plan(some, &aims(2), 1.2);
    assert_eq!((steps.len(), steps[0].kind, &steps[0].sources), (1, Kind::Move, &vec![key(1_000_000)]));
}

#[test]
fn the_cold_end_is_given_away_and_the_growing_one_kept() {
    let small = range(0, Some(1_000_000), 2, 20 * MIB);
    let mut large = range(1_000_000, None, 0, 60 * MIB);
    large.front = Some(Front { at: Key::from_u64(1_900_000), ahead: Key::from_u64(1_990_000) });
    // Its end cannot be cut ahead of: there is much beyond it.
    large.keys.iter_mut().skip(80).for_each(|key| *key = Key::from_u64(u64::MAX));
    let steps = plan(vec![small, large], &aims(3), 1.2);
    let size = steps.iter().find(|step| step.reason == Reason::Size).expect("it is uneven");
    assert!(!size.targets[0].keeps && size.targets[1].keeps, "{size:?}");
}

fn growing(owner_bytes: u64, others: u64) -> Vec<Range> {
    let mut all = ranges(&[(0, others), (1, others), (2, others), (3, owner_bytes)]);
    let last = all.last_mut().expect("four");
    last.front = Some(Front { at: Key::from_u64(4_000_100), ahead: Key::from_u64(4_000_200) });
    last.growth = MIB as f64;
    last.keys = (0..100).map(|n| Key::from_u64(3_000_001 + n * 10_000)).collect();
    all
}

#[test]
fn growth_is_cut_ahead_before_it_is_too_much() {
    let steps = plan(growing(100 * MIB, 97 * MIB), &aims(4), 1.2);
    assert_eq!(steps, [], "far from too much");
    let steps = plan(growing(112 * MIB, 100 * MIB), &aims(4), 1.2);
    assert_eq!((steps.len(), steps[0].reason, steps[0].bytes), (1, Reason::Growing, 0));
    assert_eq!(steps[0].targets[1].start, Key::from_u64(4_000_200));
    assert_eq!((steps[0].targets[0].keeps, steps[0].targets[1].owner), (true, ShardId(0)));
}

#[test]
fn growth_with_much_beyond_it_is_no_end() {
    let mut all = growing(112 * MIB, 100 * MIB);
    all[3].keys.iter_mut().skip(50).for_each(|key| *key = Key::from_u64(9_000_000));
    let steps = plan(all, &aims(4), 1.2);
    assert!(steps.iter().all(|step| step.reason != Reason::Growing));
}

#[test]
fn heat_is_spread_as_far_as_sizes_allow() {
    let mut some = ranges(&[(0, 2 * MIB), (0, 18 * MIB), (1, 20 * MIB)]);
    some[0].requests = 10_000.0;
    some[0].asked = (0..100).map(|n| Key::from_u64(500_000 + n)).collect();
    let steps = plan(some.clone(), &aims(2), 1.2);
    assert_eq!((steps.len(), steps[0].reason, steps[0].kind), (1, Reason::Heat, Kind::Split));
    assert_eq!(steps[0].targets[1].start, Key::from_u64(500_050));
    // One key cannot be halved.
    some[0].asked.iter_mut().for_each(|key| *key = Key::from_u64(500_000));
    assert_eq!(plan(some.clone(), &aims(2), 1.2), []);
    // The other shard would have too much.
    let mut large = ranges(&[(0, 20 * MIB), (1, 20 * MIB)]);
    large[0].requests = 10_000.0;
    large[0].asked = (0..100).map(|n| Key::from_u64(1000 + n)).collect();
    assert_eq!(plan(large, &aims(2), 1.2), []);
}

#[test]
fn a_crowd_of_tablets_becomes_fewer() {
    let sizes: Vec<(u16, u64)> = (0..30).map(|n| (n % 2, 10 * MIB)).collect();
    let all = ranges(&sizes);
    let steps = plan(all.clone(), &aims(2), 1.2);
    assert!(steps.iter().any(|step| step.kind == Kind::Merge) && !steps.is_empty());
    let after = after(all, &steps);
    assert!(after.len() <= 2 * limits::TABLETS_PER_SHARD_MAX * 3 / 4, "{} tablets", after.len());
    assert!(ratio(&after, 2) <= 1.2);
}

#[test]
fn no_step_sends_more_than_one_may() {
    let sizes: Vec<(u16, u64)> = (0..30).map(|n| (n % 2, 10 * MIB)).collect();
    let few = Aims { move_bytes_max: 20 * MIB - 1, ..aims(2) };
    assert_eq!(plan(ranges(&sizes), &few, 1.2), [], "every pair is too large to be merged");
    let mut beyond = growing(112 * MIB, 100 * MIB);
    beyond[3].keys.iter_mut().skip(95).for_each(|key| *key = Key::from_u64(9_000_000));
    let cut = |move_bytes_max| next_step(&beyond, &Aims { move_bytes_max, ..aims(4) }, 1.2);
    assert_eq!(cut(8 * MIB).map(|step| step.reason), Some(Reason::Growing));
    assert!(cut(4 * MIB).is_none_or(|step| step.reason != Reason::Growing && step.bytes <= 4 * MIB));
}

#[test]
fn what_is_placed_by_hash_stays() {
    let mut all = ranges(&[(0, 400 * MIB)]);
    all[0].fixed = true;
    assert_eq!(plan(all.clone(), &aims(4), 1.2), []);
    assert!(wanted_keys(&all, &aims(4), 1.2).is_empty());
}

fn any_ranges() -> impl Strategy<Value = (usize, Vec<Range>)> {
    let one = (0..8_u16, 0..200_u64, 0..5000_u32, any::<bool>());
    (2..8_usize, prop::collection::vec(one, 1..24)).prop_map(|(shards, tablets)| {
        let sizes: Vec<(u16, u64)> =
            tablets.iter().map(|(owner, mib, ..)| (owner % shards as u16, mib * MIB)).collect();
        let mut ranges = ranges(&sizes);
        for (range, (_, _, requests, fresh)) in ranges.iter_mut().zip(tablets) {
            range.requests = f64::from(requests);
            range.asked = range.keys.clone();
            range.fresh = fresh;
        }
        (shards, ranges)
    })
}

proptest! {
    /// Whatever there is: the ranges stay whole, every step is one that can be carried out, sizes end within the
    /// aim when they were what was wrong, and a second plan has nothing to add.
    #[test]
    fn a_plan_gets_somewhere((shards, before) in any_ranges()) {
        let aims = Aims { move_bytes_max: u64::MAX, ..aims(shards) };
        let steps = plan(before.clone(), &aims, aims.act);
        let mut now = before.clone();
        for step in &steps {
            prop_assert!(step.targets.windows(2).all(|pair| pair[0].start < pair[1].start));
            prop_assert_eq!(&step.targets[0].start, &step.sources[0]);
            let kept = step.targets.iter().filter(|target| target.keeps).count();
            prop_assert!(kept <= 1 && (kept == 0 || step.sources.len() == 1));
            let next = super::plan::applied(now.clone(), step);
            prop_assert!(next.windows(2).all(|pair| pair[0].end.as_ref() == Some(&pair[1].start)));
            prop_assert!(next.len() <= aims.tablets_max);
            let size = |ranges: &[Range]| ranges.iter().map(|range| range.bytes).sum::<u64>();
            prop_assert!(size(&next).abs_diff(size(&now)) <= 2, "bytes come or go");
            if step.reason == Reason::Size {
                prop_assert!(ratio(&next, shards) <= ratio(&now, shards) + 1e-6, "worse by {:?}", step);
            }
            now = next;
        }
        let total: u64 = before.iter().map(|range| range.bytes).sum();
        let mean = total as f64 / shards as f64;
        let close = ratio(&now, shards) <= aims.act || (ratio(&now, shards) - 1.0) * mean <= 2.0 * MIB as f64;
        prop_assert!(close || steps.len() == limits::BALANCE_STEPS_MAX, "{} after {} steps", ratio(&now, shards), steps.len());
        if steps.len() < limits::BALANCE_STEPS_MAX {
            let again = plan(now, &aims, aims.act);
            prop_assert!(again.iter().all(|step| step.reason != Reason::Size), "{:?}", again);
        }
    }
}

/// Keys that grow by a thousand units a look, a KiB each, and what the balancer makes of them.
struct Growth {
    aims: Aims,
    /// First unit, owner, and since which look.
    tablets: Vec<(u64, u16, u32)>,
    written: u64,
    acting: bool,
}

impl Growth {
    const A_LOOK: u64 = 1000;

    fn ranges(&self, look: u32) -> Vec<Range> {
        let one = |(index, (start, owner, since)): (usize, &(u64, u16, u32))| {
            let end = self.tablets.get(index + 1).map(|next| next.0);
            let units = end.unwrap_or(u64::MAX).min(self.written).saturating_sub(*start);
            let keys = (0..64).map(|n| Key::from_u64(start + units * n / 64)).collect();
            let last = end.is_none() && units > Growth::A_LOOK / 2;
            let front = Front {
                at: Key::from_u64(self.written - 20),
                ahead: Key::from_u64(self.written + Growth::A_LOOK / 2),
            };
            Range {
                bytes: units * 1024,
                growth: if last { (Growth::A_LOOK * 1024 / 2) as f64 } else { 0.0 },
                front: last.then_some(front),
                keys,
                fresh: look < since + 5,
                ..range(*start, end, *owner, 0)
            }
        };
        self.tablets.iter().enumerate().map(one).collect()
    }

    /// Largest over mean, before anything is done.
    fn look(&mut self, look: u32) -> f64 {
        self.written += Growth::A_LOOK;
        let ranges = self.ranges(look);
        let ratio = ratio(&ranges, self.aims.shards);
        let from = if self.acting { self.aims.aim } else { self.aims.act };
        let step = next_step(&ranges, &self.aims, from);
        self.acting = step.as_ref().is_some_and(|step| step.reason == Reason::Size);
        if let Some(step) = step {
            let start = |range: &Range| range.start.as_u64().unwrap_or(0);
            let since = |range: &Range| if range.fresh { look } else { 0 };
            let next = super::plan::applied(ranges, &step);
            self.tablets = next.iter().map(|range| (start(range), range.owner.0, since(range))).collect();
        }
        ratio
    }
}

/// For as long as it lasts, and however many tablets it takes.
#[test]
fn a_growing_end_goes_round_the_shards() {
    for shards in [2, 3, 4, 8] {
        let aims = Aims::new(shards, 64 * 1024, 1000, 6.0);
        let mut growth = Growth { aims, tablets: vec![(0, 0, 0)], written: 4000, acting: false };
        let ratios: Vec<f64> = (0..3000).map(|look| growth.look(look)).collect();
        // Once a look's growth is less than a tenth of what a shard has.
        let worst = ratios[10 * shards..].iter().copied().fold(0.0, f64::max);
        assert!(worst <= 1.25, "{shards} shards: {worst}");
        assert!(growth.tablets.len() <= growth.aims.tablets_max);
    }
}

/// What stands still: so many bytes and requests a second in each stretch of a million keys.
struct Still {
    aims: Aims,
    stretches: Vec<(u64, u32)>,
    /// First key, owner, and since which look.
    tablets: Vec<(u64, u16, u32)>,
    acting: bool,
}

impl Still {
    const WIDTH: u64 = 1_000_000;

    fn ranges(&self, look: u32) -> Vec<Range> {
        let one = |(index, (start, owner, since)): (usize, &(u64, u16, u32))| {
            let end = self.tablets.get(index + 1).map(|next| next.0);
            let last = end.unwrap_or(self.stretches.len() as u64 * Still::WIDTH);
            let (mut bytes, mut requests) = (0.0, 0.0);
            let (mut keys, mut asked) = (Vec::new(), Vec::new());
            for (number, (stretch_bytes, stretch_requests)) in (0..).zip(&self.stretches) {
                let (from, to) = (number * Still::WIDTH, (number + 1) * Still::WIDTH);
                let (low, high) = (from.max(*start), to.min(last));
                let share = high.saturating_sub(low) as f64 / Still::WIDTH as f64;
                bytes += *stretch_bytes as f64 * share;
                requests += f64::from(*stretch_requests) * share;
                let spread = |into: &mut Vec<Key>, count: f64| {
                    let count = count.ceil() as u64;
                    into.extend((0..count).map(|n| Key::from_u64(low + (high - low) * n / count)));
                };
                if low < high {
                    spread(&mut keys, *stretch_bytes as f64 * share / MIB as f64);
                    spread(&mut asked, f64::from(*stretch_requests) * share / 50.0);
                }
            }
            Range {
                requests,
                keys,
                asked,
                fresh: look < since + 5,
                ..range(*start, end, *owner, bytes as u64)
            }
        };
        self.tablets.iter().enumerate().map(one).collect()
    }

    fn look(&mut self, look: u32) -> Option<Step> {
        let ranges = self.ranges(look);
        let from = if self.acting { self.aims.aim } else { self.aims.act };
        let step = next_step(&ranges, &self.aims, from);
        self.acting = step.as_ref().is_some_and(|step| step.reason == Reason::Size);
        if let Some(step) = &step {
            let start = |range: &Range| range.start.as_u64().unwrap_or(0);
            let since = |range: &Range| {
                let before = self
                    .tablets
                    .iter()
                    .find(|(first, owner, _)| (*first, *owner) == (start(range), range.owner.0));
                if range.fresh { before.map_or(look, |(_, _, since)| *since) } else { 0 }
            };
            let touched: Vec<u64> =
                step.targets.iter().filter(|t| !t.keeps).map(|t| t.start.as_u64().unwrap_or(0)).collect();
            let since = |range: &Range| if touched.contains(&start(range)) { look } else { since(range) };
            let next = super::plan::applied(ranges, step);
            self.tablets = next.iter().map(|range| (start(range), range.owner.0, since(range))).collect();
        }
        step
    }
}

/// Behind heat the lower threshold for sizes held, and what was given for heat was taken back for its size.
#[test]
fn what_goes_for_its_heat_does_not_come_back_for_its_size() {
    let stretches = vec![(40 * MIB, 4500), (48 * MIB, 0), (12 * MIB, 3000), (100 * MIB, 0)];
    let tablets = (0..4).map(|n| (n * Still::WIDTH, u16::from(n == 3), 0)).collect();
    let mut still = Still { aims: aims(2), stretches, tablets, acting: false };
    let steps: Vec<Step> = (10..300).filter_map(|look| still.look(look)).collect();
    assert!(steps.len() < 10, "{} steps", steps.len());
    assert!(steps.iter().all(|step| step.reason == Reason::Heat), "sizes were even");
}

proptest! {
    /// Where nothing changes but what the balancer does, it comes to an end.
    #[test]
    fn sizes_and_heat_come_to_rest_together(
        shards in 2..6_usize,
        stretches in prop::collection::vec((0..120_u64, 0..5000_u32, 0..6_u16), 2..16),
    ) {
        let tablets = (0..).zip(&stretches).map(|(n, (_, _, owner))| (n * Still::WIDTH, owner % shards as u16, 0));
        let tablets = tablets.collect();
        let stretches = stretches.iter().map(|(mib, requests, _)| (mib * MIB, *requests)).collect();
        let mut still = Still { aims: aims(shards), stretches, tablets, acting: false };
        let looks = 400;
        let last = (10..looks).filter(|look| still.look(*look).is_some()).max().unwrap_or(0);
        prop_assert!(last < looks - 60, "a step at look {last}");
    }
}
