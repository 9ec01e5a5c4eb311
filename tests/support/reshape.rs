//! Any change of the tablets of a collection that fits its map.

use kyrodb::io::sim::Rng;
use kyrodb::shard::catalogue::Collection;
use kyrodb::shard::key::Key;
use kyrodb::shard::reshape::{Reshape, Target};
use kyrodb::types::ShardId;

/// As [`any_of`], where keys are numbers.
pub fn any(collection: &Collection, cuts: &[u64], shards: usize, rng: &mut Rng) -> Reshape {
    let cuts: Vec<Key> = cuts.iter().map(|cut| Key::from_u64(*cut)).collect();
    any_of(collection, &cuts, shards, rng)
}

/// Replaces one tablet, or two neighbours of one owner, by one to three with bounds out of `cuts`, each kept,
/// moved or logged anew where it is.
pub fn any_of(collection: &Collection, cuts: &[Key], shards: usize, rng: &mut Rng) -> Reshape {
    let tablets = &collection.tablets;
    let first = rng.index(tablets.len());
    let merges =
        tablets.get(first + 1).is_some_and(|next| next.owner == tablets[first].owner) && rng.chance(700);
    let count = 1 + usize::from(merges);
    let (start, end) = (&tablets[first].start, collection.end_of(first + count - 1));
    let inside = |cut: &Key| start < cut && end.is_none_or(|end| cut < end);
    let mut starts: Vec<Key> = vec![start.clone()];
    let cuts = cuts.iter().filter(|cut| inside(cut)).cloned();
    starts.extend(cuts.filter(|_| rng.chance(if merges { 200 } else { 500 })).take(2));
    let kept = (count == 1 && starts.len() > 1).then(|| rng.index(starts.len() + 1));
    let target = |(number, start): (usize, Key)| {
        let keeps = kept == Some(number);
        let owner = if keeps { tablets[first].owner } else { ShardId(rng.index(shards) as u16) };
        Target { start, owner, keeps }
    };
    let targets = starts.into_iter().enumerate().map(target).collect();
    let sources = tablets[first..first + count].iter().map(|tablet| tablet.id).collect();
    Reshape { collection: collection.id, sources, targets }
}
