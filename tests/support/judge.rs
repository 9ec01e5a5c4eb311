//! What a recovered node shows, and whether the ledger of its clients explains it.
//!
//! The rules: the catalogue is the one acknowledged last, or the one under way; every value was sent
//! for its key, and has the version it was given; of the writes of each tablet (in the order of their
//! versions) and of each shard (in the order of its log) exactly a beginning is there, with everything
//! in it that was acknowledged as durable; scans and point reads agree.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use kyrodb::io::sim::Rng;
use kyrodb::shard::catalogue::{Catalogue, Collection};
use kyrodb::shard::key::Key;
use kyrodb::shard::node::Node;
use kyrodb::shard::record::{Change, Condition, Found, Scan};
use kyrodb::types::{Seq, ShardId, TabletId, WallMs};

use super::axis::{Axis, spans};
use super::cluster::Cluster;
use super::ledger::{Ledger, MapChange, Past, Place, Step, Tick, Version, tablet_of};

/// Everything that a node shows.
pub struct Seen {
    pub map: Arc<Catalogue>,
    pub records: BTreeMap<Place, Found>,
    /// The wall clock before and after.
    pub from: WallMs,
    pub to: WallMs,
}

/// Looks at everything twice, by scans and by keys, from two cores.
pub fn look(cluster: &mut Cluster, ledger: &Ledger, rng: &mut Rng) -> Result<Seen, String> {
    let from = cluster.sim.world().wall();
    let map = cluster.nodes[0].catalogue();
    if let Some(other) = cluster.nodes.iter().find(|node| node.catalogue() != map) {
        return Err(format!("shard {} has another map than shard 0", other.shard()));
    }
    let mut records = BTreeMap::new();
    let mut by_key = BTreeMap::new();
    for collection in map.collections.values() {
        let (core, limit) = (rng.index(cluster.nodes.len()), 1 + rng.index(40));
        let (node, scanned) = (cluster.nodes[core].clone(), collection.clone());
        let found = cluster.run(core, async move { scan_all(&node, &scanned, limit).await })?;
        let of_collection = |key| (collection.id, key);
        let mut keys: Vec<Key> = found.iter().map(|(key, _)| key.clone()).collect();
        keys.extend(
            ledger.places().into_iter().filter(|place| place.0 == collection.id).map(|place| place.1),
        );
        records.extend(found.into_iter().map(|(key, found)| (of_collection(key), found)));
        let core = rng.index(cluster.nodes.len());
        let (node, read, asked) = (cluster.nodes[core].clone(), collection.clone(), keys.clone());
        let found = cluster.run(core, async move { node.get_many(&read, asked).get().await });
        let found = found.map_err(|refusal| format!("a read was refused: {refusal}"))?;
        let visible =
            keys.into_iter().zip(found).filter_map(|(key, found)| Some((of_collection(key), found?)));
        by_key.extend(visible);
    }
    let to = cluster.sim.world().wall();
    // What expired between the two looks is no contradiction.
    let lasting = |found: &Found| found.expires.is_none_or(|expires| expires > to);
    records.retain(|_, found| lasting(found));
    by_key.retain(|_, found| lasting(found));
    match records == by_key {
        true => Ok(Seen { map, records, from, to }),
        false => Err(format!("scans give {}, keys give {}", brief(&records), brief(&by_key))),
    }
}

fn brief(records: &BTreeMap<Place, Found>) -> String {
    records.iter().map(|(place, found)| format!("{place:?} at {}; ", found.seq)).collect()
}

async fn scan_all(
    node: &Node,
    collection: &Arc<Collection>,
    limit: usize,
) -> Result<Vec<(Key, Found)>, String> {
    let mut scan = Scan { start: Bound::Unbounded, end: Bound::Unbounded, reverse: false, limit };
    let mut records: Vec<(Key, Found)> = Vec::new();
    loop {
        let page = node.scan(collection, scan.clone()).await;
        let page = page.map_err(|refusal| format!("a scan was refused: {refusal}"))?;
        records.extend(page.records);
        if !page.more {
            break;
        }
        scan.start = Bound::Excluded(page.resume_after.ok_or("more of a scan, but no place to go on")?);
    }
    match records.windows(2).all(|pair| pair[0].0 < pair[1].0) {
        true => Ok(records),
        false => Err("a scan is out of order".to_owned()),
    }
}

/// Checks what is seen after a crash at `at`; gives the ledger of the next life.
pub fn judge(ledger: &Ledger, at: Tick, seen: &Seen) -> Result<Ledger, String> {
    check_map(ledger, at, &seen.map)?;
    let steps = ledger.steps(at)?;
    let places: Vec<Place> =
        ledger.places().into_iter().filter(|place| tablet_of(&seen.map, place).is_some()).collect();
    if let Some((place, found)) = seen.records.iter().find(|(place, _)| !places.contains(place)) {
        return Err(format!("{place:?} at {} was never written", found.seq));
    }
    let none = Vec::new();
    let cases: Vec<Case> = places
        .iter()
        .map(|place| Case::new(ledger, seen, place, steps.get(place).unwrap_or(&none)))
        .collect();
    let axes = explain(&cases)?;
    let mut next = Ledger { wall_max: ledger.wall_max.max(seen.to), ..Ledger::default() };
    next.maps.push(MapChange { called: 0, answered: 0, map: seen.map.clone() });
    for case in &cases {
        let highest = ledger.highest(case.place, at);
        next.base.insert(case.place.clone(), Past { versions: case.left(&axes), highest });
    }
    Ok(next)
}

fn check_map(ledger: &Ledger, at: Tick, map: &Catalogue) -> Result<(), String> {
    let acked = ledger.maps.iter().rposition(|change| change.answered <= at && change.called <= at);
    let possible = match acked {
        Some(acked) => &ledger.maps[acked..],
        None => &ledger.maps[..],
    };
    let mut possible = possible.iter().filter(|change| change.called <= at);
    match possible.any(|change| same_layout(&change.map, map)) {
        true => Ok(()),
        false => {
            Err(format!("the catalogue is neither that before nor that behind the last change: {map:?}"))
        }
    }
}

/// The same collections and tablets; the time of creation is another when the first start was undone.
fn same_layout(one: &Catalogue, other: &Catalogue) -> bool {
    let same = |(one, other): (&Arc<Collection>, &Arc<Collection>)| {
        (one.id, &one.name, &one.definition) == (other.id, &other.name, &other.definition)
            && one.tablets == other.tablets
    };
    one.collections.len() == other.collections.len()
        && one.collections.values().zip(other.collections.values()).all(same)
        && one.next_collection <= other.next_collection
        && one.next_tablet <= other.next_tablet
}

/// One key: what its writes were, and what is seen of it.
struct Case<'a> {
    place: &'a Place,
    tablet: TabletId,
    owner: ShardId,
    /// Versions below came with a move, when everything was durable.
    first_seq: Seq,
    past: Past,
    steps: &'a [Step],
    seen: Option<&'a Found>,
    from: WallMs,
    to: WallMs,
}

/// How much of each tablet, and of each shard's log, is there.
struct Axes {
    tablets: BTreeMap<TabletId, Axis>,
    shards: BTreeMap<ShardId, Axis>,
}

fn explain(cases: &[Case<'_>]) -> Result<Axes, String> {
    let (mut tablet_floors, mut shard_floors) = (BTreeMap::new(), BTreeMap::new());
    for case in cases {
        let seq: &mut u64 = tablet_floors.entry(case.tablet).or_default();
        *seq = case.steps.iter().filter(|step| case.is_certain(step)).fold(*seq, |seq, s| seq.max(s.seq.0));
        let lsn: &mut u64 = shard_floors.entry(case.owner).or_default();
        let durable = case.steps.iter().filter(|step| step.durable).map(|step| case.lsn(step));
        *lsn = durable.fold(*lsn, u64::max);
    }
    let axes = |(id, floor)| (id, Axis::from(floor));
    let mut tablets: BTreeMap<TabletId, Axis> = tablet_floors.into_iter().map(axes).collect();
    let axes = |(id, floor)| (id, Axis::from(floor));
    let mut shards: BTreeMap<ShardId, Axis> = shard_floors.into_iter().map(axes).collect();
    for case in cases {
        let tablet = tablets.get_mut(&case.tablet).expect("every tablet has an axis");
        let shard = shards.get_mut(&case.owner).expect("every shard has an axis");
        let whole = tablet.keep(&case.explained_by(|step| step.seq.0));
        if !whole || !shard.keep(&case.explained_by(|step| case.lsn(step))) {
            return Err(case.complaint());
        }
    }
    Ok(Axes { tablets, shards })
}

impl<'a> Case<'a> {
    fn new(ledger: &Ledger, seen: &'a Seen, place: &'a Place, steps: &'a [Step]) -> Case<'a> {
        let tablet = tablet_of(&seen.map, place).expect("a place on the map");
        // Writes that were made where the key moved to later cannot have been made before.
        let later = ledger.maps.iter().filter(|change| change.map.epoch > seen.map.epoch);
        let elsewhere =
            later.filter_map(|change| tablet_of(&change.map, place)).filter(|later| later.id != tablet.id);
        let moved = elsewhere.map(|later| later.first_seq).min().unwrap_or(Seq(u64::MAX));
        let steps = &steps[..steps.partition_point(|step| step.seq < moved)];
        Case {
            place,
            tablet: tablet.id,
            owner: tablet.owner,
            first_seq: tablet.first_seq,
            past: ledger.past(place),
            steps,
            seen: seen.records.get(place),
            from: seen.from,
            to: seen.to.max(ledger.wall_max),
        }
    }

    /// Must be there, or a later one.
    fn is_certain(&self, step: &Step) -> bool {
        step.durable || step.seq < self.first_seq
    }

    /// The place of a write in the log of the shard that has the key now; what came with a move came
    /// before everything.
    fn lsn(&self, step: &Step) -> u64 {
        if step.seq < self.first_seq { 0 } else { step.lsn.0 }
    }

    /// The versions that a key shows when the steps up to a place, and none behind it, are there.
    fn states(&self) -> impl Iterator<Item = Vec<&Version>> {
        let past = std::iter::once(self.past.versions.iter().collect());
        past.chain(self.steps.iter().map(|step| step.version.iter().collect()))
    }

    fn explained_by(&self, position: impl Fn(&Step) -> u64) -> Vec<(u64, u64)> {
        let spans = spans(self.steps.iter().map(position));
        let explained = self.states().zip(spans).filter(|(versions, _)| self.is_shown_by(versions));
        explained.map(|(_, span)| span).collect()
    }

    fn is_shown_by(&self, versions: &[&Version]) -> bool {
        let Some(seen) = self.seen else {
            let gone = |version: &&Version| version.expires.is_some_and(|expires| expires <= self.to);
            return versions.is_empty() || versions.iter().any(gone);
        };
        let is_seen = |version: &&Version| {
            (version.seq, &version.payload, version.expires) == (seen.seq, &seen.payload, seen.expires)
        };
        versions.iter().any(is_seen) && seen.expires.is_none_or(|expires| expires > self.from)
    }

    /// What the next life begins with: what is seen, or what may only have expired.
    fn left(&self, axes: &Axes) -> Vec<Version> {
        if let Some(Found { payload, seq, expires, .. }) = self.seen {
            return vec![Version { seq: *seq, payload: payload.clone(), expires: *expires }];
        }
        let axis = &axes.tablets[&self.tablet];
        let spans = spans(self.steps.iter().map(|step| step.seq.0));
        let possible = self.states().zip(spans).filter(|(_, span)| axis.may_end_in(*span));
        let expired = possible.flat_map(|(versions, _)| versions).filter(|version| {
            let expires = version.expires;
            expires.is_some_and(|expires| expires <= self.to)
        });
        expired.cloned().collect()
    }

    fn complaint(&self) -> String {
        let steps = self.steps.iter().map(|step| {
            let kind = if step.version.is_some() { "put" } else { "delete" };
            let durable = if step.durable { " durable" } else { "" };
            format!("{kind} {} (LSN {}{durable})", step.seq, step.lsn)
        });
        let steps: Vec<String> = steps.collect();
        let seen = self.seen.map(|found| (found.seq, found.lsn, found.expires));
        let past: Vec<Seq> = self.past.versions.iter().map(|version| version.seq).collect();
        format!(
            "{:?} in tablet {} of shard {}: {seen:?} is seen; before: {past:?}, then {}",
            self.place,
            self.tablet,
            self.owner,
            steps.join(", ")
        )
    }
}

/// Checks that every version given out in this life is above all that its tablet ever acknowledged.
pub fn check_fresh(ledger: &Ledger, map: &Catalogue) -> Result<(), String> {
    let mut highest: BTreeMap<TabletId, Seq> = BTreeMap::new();
    for (place, past) in &ledger.base {
        if let Some(tablet) = tablet_of(map, place) {
            let known = highest.entry(tablet.id).or_default();
            *known = past.highest.max(*known);
        }
    }
    let stale = ledger
        .given_out(map)
        .into_iter()
        .find(|(tablet, seq)| highest.get(tablet).is_some_and(|highest| seq <= highest));
    match stale {
        Some((tablet, seq)) => {
            Err(format!("tablet {tablet} gave out version {seq} behind {}", highest[&tablet]))
        }
        None => Ok(()),
    }
}

/// Checks that each write was accepted on the version that its condition asks for.
pub fn check_conditions(ledger: &Ledger) -> Result<(), String> {
    let steps = ledger.steps(Tick::MAX)?;
    for entry in &ledger.entries {
        let Some((_, Ok(written))) = &entry.answer else { continue };
        let of_key = &steps[&entry.place];
        let index = of_key.partition_point(|step| step.seq < written.seq);
        let past = ledger.past(&entry.place);
        let before: Vec<&Version> = match index.checked_sub(1) {
            Some(before) => of_key[before].version.iter().collect(),
            None => past.versions.iter().collect(),
        };
        // What has an expiry may have been there or not.
        let certain = before.iter().any(|version| version.expires.is_none());
        let possible = !before.is_empty();
        let is_at = |seq| before.iter().any(|version| version.seq == seq);
        let held = match entry.write.condition {
            Condition::None => true,
            Condition::Absent => !certain,
            Condition::Present => possible,
            Condition::SeqIs(seq) => is_at(seq),
        };
        let deletes_something = entry.write.change != Change::Delete || possible;
        let created = if written.created { !certain } else { possible };
        if !(held && deletes_something && created) {
            return Err(format!("{entry:?} was accepted on {before:?}"));
        }
    }
    Ok(())
}
