//! One change of the tablets of a collection, while they are in use: splits, moves and merges are all the same.
//!
//! Some neighbouring tablets of one owner, the sources, are replaced by targets that cover the same range. A
//! target may keep a source, cut shorter, where its records lie. All others are new tablets with new ids, also
//! on the same shard: their records are sent there ([`super::transfer`]).
//!
//! 1. The ids of the new tablets are reserved in shard 0's log.
//! 2. The owner sends records, and at the end stops writes to the sources.
//! 3. The map with the targets is logged. That record, durable, is the moment of the change. The manifest is told
//!    before anybody writes by it.
//! 4. The owner installs it first, so that nobody reads there what a new owner has changed already. Then all.
//!
//! A crash before 3 leaves records of tablets that no map will ever name; the next install drops them.
//!
//! Runs on shard 0, under the turn for changes of the map.
//!
//! Invariant: the range of a tablet only ever shrinks. What is left in files of the rest never counts again.
//! Invariant: all sources have one owner. With two, one would answer reads by the old map while the other
//! takes writes by the new one.

use std::sync::Arc;

use super::catalogue::{Catalogue, CatalogueError, Collection, Tablet};
use super::control::{ChangeTurn, Changed, install_at, install_everywhere, log_in_the_end, make_it_missed};
use super::key::Key;
use super::message::{Reply, Request, ShipPart};
use super::node::Node;
use super::record::Refusal;
use crate::limits;
use crate::types::{CollectionId, Seq, ShardId, TabletId};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reshape {
    pub collection: CollectionId,
    /// Neighbours, in key order.
    pub sources: Vec<TabletId>,
    /// In key order. The first begins where the first source does, the last ends where the last source does.
    pub targets: Vec<Target>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub start: Key,
    pub owner: ShardId,
    /// It is what stays of the only source.
    pub keeps: bool,
}

/// A change that fits the map: the tablets to be, and what has to be sent for them.
#[derive(Debug, PartialEq, Eq)]
struct Fitted {
    owner: ShardId,
    /// Of the first source, in the collection.
    index: usize,
    targets: Vec<Tablet>,
    parts: Vec<ShipPart>,
    new_ids: u32,
}

pub(super) async fn carry_out(node: &Node, _turn: &ChangeTurn<'_>, change: &Reshape) -> Changed {
    let map = node.catalogue();
    let Some(collection) = map.by_id(change.collection) else {
        return Ok(Err(CatalogueError::NoSuchCollection));
    };
    let fitted = match fit(&map, collection, change, node.shards()) {
        Ok(fitted) => fitted,
        Err(error) => return Ok(Err(error)),
    };
    let mut reserved = (*map).clone();
    reserved.epoch = map.epoch.next();
    reserved.next_tablet = TabletId(map.next_tablet.0 + fitted.new_ids);
    let tablets_bytes = fitted.targets.len() * (limits::KEY_BYTES_MAX + limits::KIB);
    if reserved.encoded_len() + tablets_bytes > limits::CATALOGUE_BYTES_MAX {
        return Ok(Err(CatalogueError::TooLarge));
    }
    let reserved = Arc::new(reserved);
    node.core()?.log_catalogue(&reserved).await?;
    // Another shard will have data under the ids that it reserves: they must not be given out again.
    make_it_missed(node.core()?).await?;
    match ship(node, change, &fitted).await {
        Ok(first_seq) => {
            let next = Arc::new(with_targets(&reserved, collection, change, &fitted, first_seq));
            log_in_the_end(node, &next).await?;
            install_at(node, fitted.owner, &next).await;
            install_everywhere(node, &next).await;
            Ok(Ok(true))
        }
        Err(refusal) => {
            // Installing the old ranges under a new epoch drops what arrived and takes writes again.
            install_everywhere(node, &reserved).await;
            Err(refusal)
        }
    }
}

async fn ship(node: &Node, change: &Reshape, fitted: &Fitted) -> Result<Seq, Refusal> {
    let request = Request::ShipOut { sources: change.sources.clone(), parts: fitted.parts.clone() };
    match node.call(fitted.owner, request).await {
        Reply::Shipped(shipped) => shipped,
        Reply::Done(Err(refusal)) => Err(refusal),
        other => unreachable!("a shipment answered with {other:?}"),
    }
}

/// Whether the change is one of these tablets, and what it comes to.
fn fit(
    map: &Catalogue,
    collection: &Collection,
    change: &Reshape,
    shards: usize,
) -> Result<Fitted, CatalogueError> {
    if collection.is_hashed() {
        return Err(CatalogueError::PlacedByHash);
    }
    let count = change.sources.len();
    let index =
        change.sources.first().and_then(|id| collection.index_of(*id)).ok_or(CatalogueError::Outdated)?;
    let sources = collection.tablets.get(index..index + count).ok_or(CatalogueError::Outdated)?;
    let same = sources.iter().map(|tablet| tablet.id).eq(change.sources.iter().copied());
    let owner = sources[0].owner;
    if !same || sources.iter().any(|tablet| tablet.owner != owner) {
        return Err(CatalogueError::Outdated);
    }
    let end = collection.end_of(index + count - 1);
    let targets = &change.targets;
    let begins = targets.first().is_some_and(|target| target.start == sources[0].start);
    let ascends = targets.windows(2).all(|pair| pair[0].start < pair[1].start);
    let ends = targets.last().is_some_and(|target| end.is_none_or(|end| target.start < *end));
    let known = targets.iter().all(|target| usize::from(target.owner.0) < shards);
    let kept = targets.iter().filter(|target| target.keeps);
    let keeps_well =
        kept.clone().count() <= usize::from(count == 1) && kept.clone().all(|t| t.owner == owner);
    if !(begins && ascends && ends && known && keeps_well) {
        return Err(CatalogueError::Outdated);
    }
    if collection.tablets.len() - count + targets.len() > limits::TABLETS_PER_SHARD_MAX * shards {
        return Err(CatalogueError::TooManyTablets);
    }
    let epoch = map.epoch.next().next();
    let mut new_ids = 0;
    let tablet = |target: &Target| {
        let id = if target.keeps { sources[0].id } else { TabletId(map.next_tablet.0 + new_ids) };
        new_ids += u32::from(!target.keeps);
        Tablet { id, start: target.start.clone(), owner: target.owner, epoch, first_seq: Seq(1) }
    };
    let tablets: Vec<Tablet> = targets.iter().map(tablet).collect();
    let parts = parts_of(sources, end, &tablets);
    Ok(Fitted { owner, index, targets: tablets, parts, new_ids })
}

/// What each source has of each new target.
fn parts_of(sources: &[Tablet], end: Option<&Key>, targets: &[Tablet]) -> Vec<ShipPart> {
    let mut parts = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let source_end = sources.get(index + 1).map(|next| &next.start).or(end);
        for (number, target) in targets.iter().enumerate() {
            let target_end = targets.get(number + 1).map(|next| &next.start).or(end);
            let start = (&source.start).max(&target.start);
            let part_end = [source_end, target_end].into_iter().flatten().min();
            if target.id != source.id && part_end.is_none_or(|end| start < end) {
                parts.push(ShipPart {
                    from: source.id,
                    start: start.clone(),
                    end: part_end.cloned(),
                    tablet: target.id,
                    to: target.owner,
                });
            }
        }
    }
    parts
}

fn with_targets(
    map: &Catalogue,
    collection: &Collection,
    change: &Reshape,
    fitted: &Fitted,
    first_seq: Seq,
) -> Catalogue {
    let mut next = map.clone();
    next.epoch = map.epoch.next();
    let mut changed = collection.clone();
    let before = &collection.tablets[fitted.index..fitted.index + change.sources.len()];
    let target = |target: &Tablet| {
        let kept = before.iter().find(|tablet| tablet.id == target.id);
        let first_seq = kept.map_or(first_seq, |kept| kept.first_seq);
        Tablet { first_seq, ..target.clone() }
    };
    let range = fitted.index..fitted.index + change.sources.len();
    changed.tablets.splice(range, fitted.targets.iter().map(target));
    next.collections.insert(changed.name.clone(), Arc::new(changed));
    next
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::catalogue::Definition;
    use super::super::key::KeyType;
    use super::*;
    use crate::types::{Epoch, WallMs};

    const SHARDS: usize = 4;

    fn key(number: u64) -> Key {
        if number == 0 { Key::from_bytes(&[]) } else { Key::from_u64(number) }
    }

    /// Tablets that begin at these keys, the first at the empty one, owned in turn by `owners`.
    fn map(starts: &[u64], owners: &[u16]) -> (Catalogue, Arc<Collection>) {
        let tablets = std::iter::once(&0).chain(starts).zip(owners.iter().cycle()).enumerate();
        let tablet = |(id, (start, owner)): (usize, (&u64, &u16))| Tablet {
            id: TabletId(id as u32 + 1),
            start: key(*start),
            owner: ShardId(*owner),
            epoch: Epoch(1),
            first_seq: Seq(1),
        };
        let tablets: Vec<Tablet> = tablets.map(tablet).collect();
        let map = Catalogue {
            epoch: Epoch(5),
            next_collection: CollectionId(2),
            next_tablet: TabletId(tablets.len() as u32 + 1),
            ..Catalogue::default()
        };
        let definition = Definition::of(KeyType::U64);
        let (id, name) = (CollectionId(1), "c".to_owned());
        (map, Arc::new(Collection { id, name, definition, created: WallMs(0), tablets }))
    }

    fn change(sources: &[u32], targets: &[(u64, u16, bool)]) -> Reshape {
        let target = |(start, owner, keeps): &(u64, u16, bool)| Target {
            start: key(*start),
            owner: ShardId(*owner),
            keeps: *keeps,
        };
        Reshape {
            collection: CollectionId(1),
            sources: sources.iter().map(|id| TabletId(*id)).collect(),
            targets: targets.iter().map(target).collect(),
        }
    }

    fn try_fit(starts: &[u64], owners: &[u16], change: &Reshape) -> Result<Fitted, CatalogueError> {
        let (map, collection) = map(starts, owners);
        fit(&map, &collection, change, SHARDS)
    }

    #[test]
    fn a_middle_may_stay_and_both_sides_go() {
        let fitted =
            try_fit(&[10, 20], &[0, 1, 2], &change(&[2], &[(10, 3, false), (12, 1, true), (18, 0, false)]));
        let fitted = fitted.expect("it fits");
        let part = |start, end, tablet, to| ShipPart {
            from: TabletId(2),
            start: key(start),
            end: Some(key(end)),
            tablet: TabletId(tablet),
            to: ShardId(to),
        };
        assert_eq!(fitted.parts, [part(10, 12, 4, 3), part(18, 20, 5, 0)]);
        assert_eq!((fitted.new_ids, fitted.owner), (2, ShardId(1)));
    }

    #[test]
    fn what_no_longer_fits_is_refused() {
        let cases = [
            ("no such tablet", change(&[9], &[(0, 0, true)])),
            ("two owners", change(&[1, 2], &[(0, 0, false)])),
            ("not neighbours", change(&[1, 3], &[(0, 0, false)])),
            ("begins elsewhere", change(&[2], &[(11, 1, true)])),
            ("ends elsewhere", change(&[2], &[(10, 1, true), (20, 2, false)])),
            ("falls", change(&[1], &[(0, 0, true), (5, 1, false), (3, 1, false)])),
            ("no such shard", change(&[1], &[(0, 4, false)])),
            ("kept elsewhere", change(&[1], &[(0, 1, true)])),
            ("kept twice", change(&[1], &[(0, 0, true), (5, 0, true)])),
            ("nothing", change(&[1], &[])),
        ];
        for (what, change) in cases {
            assert_eq!(try_fit(&[10, 20], &[0, 1, 0], &change), Err(CatalogueError::Outdated), "{what}");
        }
        let merge = change(&[1, 2], &[(0, 0, true)]);
        assert_eq!(try_fit(&[10], &[0, 0], &merge), Err(CatalogueError::Outdated), "a kept one never grows");
    }

    proptest! {
        /// Every key of the sources is either kept or sent, once; the map stays whole; ids are new.
        #[test]
        fn no_key_is_forgotten_or_sent_twice(
            starts in prop::collection::btree_set(1..60_u64, 1..8),
            first in 0..8_usize,
            count in 1..4_usize,
            cuts in prop::collection::btree_set(0..60_u64, 0..6),
            owners in prop::collection::vec(0..4_u16, 8),
            keep in prop::option::of(0..8_usize),
        ) {
            let starts: Vec<u64> = starts.into_iter().collect();
            let (map, collection) = map(&starts, &[1]);
            let first = first.min(starts.len());
            let count = count.min(starts.len() + 1 - first);
            let low = if first == 0 { 0 } else { starts[first - 1] };
            let high = starts.get(first + count - 1).copied().unwrap_or(u64::MAX);
            let inside = std::iter::once(low).chain(cuts.into_iter().filter(|cut| (low + 1..high).contains(cut)));
            let targets: Vec<_> = inside.enumerate().map(|(index, start)| {
                let keeps = count == 1 && keep == Some(index);
                (start, if keeps { 1 } else { owners[index] }, keeps)
            }).collect();
            let ids: Vec<u32> = (first..first + count).map(|index| index as u32 + 1).collect();
            let change = change(&ids, &targets);
            let fitted = fit(&map, &collection, &change, SHARDS).expect("it fits");
            let next = with_targets(&map, &collection, &change, &fitted, Seq(77));
            let changed = next.get("c").expect("still there");
            prop_assert!(changed.tablets.windows(2).all(|pair| pair[0].start < pair[1].start));
            prop_assert!(changed.tablets[0].start.is_empty());
            for number in 1..70 {
                let at = key(number);
                let (before, after) = (collection.tablet_of(&at), changed.tablet_of(&at));
                let sent: Vec<&ShipPart> = fitted.parts.iter()
                    .filter(|part| part.start <= at && part.end.as_ref().is_none_or(|end| at < *end)).collect();
                if before.id == after.id {
                    prop_assert!(sent.is_empty() && before.owner == after.owner);
                } else {
                    prop_assert_eq!(sent.len(), 1);
                    prop_assert_eq!((sent[0].from, sent[0].tablet, sent[0].to), (before.id, after.id, after.owner));
                    prop_assert!(after.id >= map.next_tablet && after.first_seq == Seq(77));
                }
            }
        }
    }
}
