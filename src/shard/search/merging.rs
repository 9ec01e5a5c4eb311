//! Shared parts of a collection become fewer and larger ones, by one core for all.
//!
//! A merge in four rounds of messages, each to all cores: deletes are forwarded to the new part; then what was deleted
//! before that is deleted there; the new part is searched instead of the old ones; the old ones are forgotten. So what
//! is deleted is deleted in whatever anybody searches.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use super::calls::{Ask, Told};
use super::contents::Contents;
use super::file::shelf;
use super::forward::{Moved, Moving};
use super::library::Known;
use super::mask;
use super::sealed::{PartId, Sealed};
use crate::io::executor::Class;
use crate::io::runtime::Slice;
use crate::limits;
use crate::shard::catalogue::Collection;
use crate::shard::core::Core;
use crate::shard::jobs::Chore;
use crate::shard::message::{Reply, Request};
use crate::shard::node::Node;
use crate::types::{CollectionId, ShardId, TabletId};
use crate::vector::allowed::Ordinals;
use crate::vector::element::{Originals, Rows};
use crate::vector::graph::build::BuildOptions;
use crate::vector::merge::{Merge, Merged};

/// Who merges the parts of a collection, and keeps their files.
pub fn keeper(node: &Node, collection: CollectionId) -> ShardId {
    ShardId((collection.0 as usize % node.shards()) as u16)
}

/// Asks a core until it answers.
pub async fn ask(node: &Node, shard: ShardId, ask: Ask) -> Told {
    loop {
        match node.call(shard, Request::Index(ask.clone())).await {
            Reply::Index(told) => return told,
            // It is starting, or has much to do.
            _ => node.runtime().sleep(limits::INDEX_WAIT_STEP).await,
        }
    }
}

/// The keeper of the collection last: what it knows, all know.
pub async fn tell_all(node: &Node, collection: CollectionId, tell: Ask) {
    let keeper = keeper(node, collection);
    for shard in node.all_shards().filter(|shard| *shard != keeper) {
        ask(node, shard, tell.clone()).await;
    }
    ask(node, keeper, tell).await;
}

/// Parts to be merged: those just sealed, with the merged ones that are not much larger than they together; else one of
/// which much is deleted; else, while nothing is written, merged ones that are not much larger than one another. So each
/// document is merged about as often as the collection doubles.
pub fn to_merge(parts: &[Rc<Known>], is_quiet: bool) -> Vec<Rc<Known>> {
    let (mut merged, mut chosen): (Vec<_>, Vec<_>) =
        parts.iter().cloned().partition(|known| known.part.is_merged());
    let worn = merged.iter().find(|known| known.part.is_worn());
    match (chosen.is_empty(), worn, is_quiet) {
        (true, Some(worn), _) => return vec![worn.clone()],
        (true, None, false) => return Vec::new(),
        _ => {}
    }
    let growth = match is_quiet {
        true => limits::QUIET_MERGE_GROWTH_BYTES_PER_BYTE,
        false => limits::MERGE_GROWTH_BYTES_PER_BYTE,
    };
    merged.sort_by_key(|known| known.part.live());
    let sizes: Vec<usize> = merged.iter().map(|known| known.part.live()).collect();
    let fresh = chosen.iter().map(|known| known.part.live()).sum();
    chosen.extend(merged.drain(similar(fresh, &sizes, growth)));
    chosen
}

/// Which of ascending sizes go together with `fresh`, or with one another if that is nothing: each is at most `growth`
/// times as large as those before it together.
fn similar(fresh: usize, sizes: &[usize], growth: usize) -> Range<usize> {
    let (mut begin, mut sum) = (0, fresh);
    for (at, size) in sizes.iter().enumerate() {
        if sum > 0 && *size > growth * sum {
            if fresh > 0 || at - begin > 1 {
                return begin..at;
            }
            // One alone stays as it is.
            (begin, sum) = (at, 0);
        }
        sum += size;
    }
    let is_one_alone = fresh == 0 && sizes.len() - begin < 2;
    if is_one_alone { begin..begin } else { begin..sizes.len() }
}

/// One merge, if any is due; true when there was one.
pub async fn merge(node: &Node, core: &Rc<Core>, collection: &Arc<Collection>, is_quiet: bool) -> bool {
    let parts = to_merge(&core.library.parts(collection.id), is_quiet);
    if parts.is_empty() || !all_loaded(node, core, collection.id).await {
        return false;
    }
    let (began, count) = (core.runtime.now(), parts.len());
    let map = node.catalogue();
    let Some(collection) = map.get(&collection.name).filter(|now| now.id == collection.id) else {
        return false;
    };
    let chore = Chore::begin(node, core, "index_merge", &collection.name).await;
    let replaced = Replacement::make(core, collection, map.next_tablet, parts, &chore).await;
    let documents = replaced.as_ref().map(|replaced| replaced.into.as_ref().map_or(0, |part| part.len()));
    if let Some(replaced) = replaced {
        replaced.put_in_force(node, core, collection.id).await;
    }
    chore.end(node, core).await;
    let Some(documents) = documents else { return false };
    let took_ms = core.runtime.now().since(began) / 1_000_000;
    tracing::info!(collection = %collection.name, parts = count, documents, took_ms, "parts of an index were merged");
    true
}

/// What is not claimed yet would be left out. Asked until it is so, once.
async fn all_loaded(node: &Node, core: &Rc<Core>, collection: CollectionId) -> bool {
    if core.library.is_settled(collection) {
        return true;
    }
    for shard in node.all_shards() {
        if !matches!(ask(node, shard, Ask::IsLoading(collection)).await, Told::IsLoading(false)) {
            return false;
        }
    }
    tell_all(node, collection, Ask::AllLoaded(collection)).await;
    true
}

struct Replacement {
    /// `None` when nothing lives.
    into: Option<Arc<Sealed>>,
    out: Vec<Source>,
}

struct Source {
    part: Arc<Sealed>,
    /// When the merge began.
    live: Ordinals,
    moved: Moved,
}

impl Replacement {
    /// `to_come`: of the map that has the collection.
    async fn make(
        core: &Rc<Core>,
        collection: &Arc<Collection>,
        to_come: TabletId,
        parts: Vec<Rc<Known>>,
        chore: &Chore,
    ) -> Option<Replacement> {
        let mut slice = core.runtime.slice();
        let mut sources: Vec<(Arc<Sealed>, Ordinals)> = Vec::new();
        for known in &parts {
            let outside = known.mask(collection, &mut slice).await;
            sources.push((known.part.clone(), mask::live(&known.part, &outside, to_come)));
        }
        drop(parts);
        let live: Vec<Ordinals> = sources.iter().map(|(_, live)| live.clone()).collect();
        let shape = collection.definition.documents.as_ref()?.embedding?;
        if live.iter().all(|live| live.count() == 0) {
            let none = |(part, live): (Arc<Sealed>, Ordinals)| {
                let moved = Moving::of(part.len()).finish();
                Source { part, live, moved }
            };
            return Some(Replacement { into: None, out: sources.into_iter().map(none).collect() });
        }
        let mut merge = Merge::new(shape.metric, shape.dimension(), live, BuildOptions::default());
        while !step(&mut merge, &sources) {
            chore.set_fraction(merge.fraction());
            slice.checkpoint().await;
        }
        Some(Replacement::of(core, collection, sources, merge.finish(), &mut slice).await)
    }

    async fn of(
        core: &Rc<Core>,
        collection: &Collection,
        sources: Vec<(Arc<Sealed>, Ordinals)>,
        merged: Merged,
        slice: &mut Slice,
    ) -> Replacement {
        let Merged { segment, origins } = merged;
        let schema = sources[0].0.contents().schema();
        let mut contents = Contents::with_capacity(schema, origins.len());
        let mut moving: Vec<Moving> = sources.iter().map(|(part, _)| Moving::of(part.len())).collect();
        let mut tablets = Vec::with_capacity(origins.len());
        for origin in &origins {
            let (part, _) = &sources[origin.source as usize];
            let new = contents.push(part.contents().row(origin.ordinal));
            tablets.push(AtomicU32::new(part.tablet(origin.ordinal).0));
            moving[origin.source as usize].set(origin.ordinal, new);
            slice.checkpoint().await;
        }
        while !contents.settle_expiries(limits::EXPIRIES_STEP_DOCUMENTS) {
            slice.checkpoint().await;
        }
        let number = core.library.next_number();
        let id = PartId::Merged { collection: collection.id, number };
        let graph = segment.into_graph();
        let into = Sealed::merged(id, collection.id, contents, graph, tablets.into_boxed_slice());
        let both = sources.into_iter().zip(moving);
        let source = |((part, live), moving): (_, Moving)| Source { part, live, moved: moving.finish() };
        Replacement { into: Some(Arc::new(into)), out: both.map(source).collect() }
    }

    async fn put_in_force(self, node: &Node, core: &Rc<Core>, collection: CollectionId) {
        let out: Arc<Vec<PartId>> = Arc::new(self.out.iter().map(|source| source.part.id).collect());
        if let Some(into) = &self.into {
            let from = self.out.iter().map(|source| (source.part.id, source.moved.clone()));
            let from = Arc::new(from.collect());
            tell_all(node, collection, Ask::Forward { into: into.clone(), from }).await;
            self.delete_again(core, into).await;
        }
        let into = self.into.clone();
        tell_all(node, collection, Ask::Swap { collection, out: out.clone(), into }).await;
        if let Some(into) = &self.into {
            tell_all(node, collection, Ask::Settle { collection, into: into.id }).await;
        }
        for Source { part, .. } in self.out {
            core.runtime.spawn(Class::Background, shed(core.clone(), part));
        }
        shelf::replace(core, collection, &out, self.into.as_ref()).await;
    }

    /// What was deleted before it was forwarded.
    async fn delete_again(&self, core: &Rc<Core>, into: &Sealed) {
        let mut slice = core.runtime.slice();
        for Source { part, live, moved } in &self.out {
            let mut since = part.deleted();
            since.keep_common(live);
            for ordinal in since.iter() {
                if let Some(ordinal) = moved.get(ordinal) {
                    into.delete(ordinal);
                }
                slice.checkpoint().await;
            }
        }
    }
}

/// Frees a part that was replaced everywhere, bit by bit, once the searches are over that began in it.
async fn shed(core: Rc<Core>, mut part: Arc<Sealed>) {
    let mut slice = core.runtime.slice();
    for _ in 0..limits::SHED_ATTEMPTS_MAX {
        let Some(alone) = Arc::get_mut(&mut part) else {
            core.runtime.sleep(limits::INDEX_WAIT_STEP).await;
            continue;
        };
        while alone.shed(limits::SHED_STEP_DOCUMENTS) {
            slice.checkpoint().await;
        }
        return;
    }
}

fn step(merge: &mut Merge, sources: &[(Arc<Sealed>, Ordinals)]) -> bool {
    let rows: Vec<Rows<'_>> = sources.iter().filter_map(|(part, _)| part.contents().originals()).collect();
    let originals: Vec<&dyn Originals> = rows.iter().map(|rows| rows as &dyn Originals).collect();
    merge.step(&originals, limits::MERGE_STEP_VECTORS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_similar_goes_together() {
        assert_eq!(similar(10, &[15, 40, 500], 2), 0..2);
        assert_eq!(similar(10, &[21], 2), 0..0);
        assert_eq!(similar(0, &[28, 71], 16), 0..2);
        assert_eq!(similar(0, &[1, 28, 71], 16), 1..3, "one that is far smaller stays");
        assert_eq!(similar(0, &[1, 2, 60], 16), 0..2);
        assert_eq!(similar(0, &[1, 17], 16), 1..1);
        assert_eq!((similar(0, &[5], 16), similar(0, &[], 16)), (0..0, 0..0));
    }
}
