//! One search on all tablets of a collection, wherever they are.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::query::{Found, Query, Scored};
use super::sealed::PartId;
use super::shown::Reading;
use super::source::Begun;
use super::{mask, run};
use crate::limits;
use crate::shard::catalogue::{Collection, Tablet};
use crate::shard::core::Core;
use crate::shard::document::render::Shown;
use crate::shard::key::Key;
use crate::shard::message::{Reply, Request};
use crate::shard::node::Node;
use crate::shard::record::{Found as Record, Refusal};
use crate::vector::allowed::Ordinals;

/// Which of the hits are wanted.
#[derive(Clone, Debug)]
pub struct Page {
    /// Behind this score and id.
    pub after: Option<(f32, Key)>,
    pub min_score: Option<f32>,
    /// Hits at most; the query asks for as many as were seen before besides, and for one more.
    pub limit: usize,
}

impl Page {
    pub(super) fn has(&self, hit: &Scored) -> bool {
        let is_later = |(score, key): &(f32, Key)| {
            // Scores have one zero, cursors may have two.
            hit.score.total_cmp(&(score + 0.0)).reverse().then_with(|| hit.key.cmp(key)).is_gt()
        };
        self.after.as_ref().is_none_or(is_later) && self.is_good_enough(hit)
    }

    fn is_good_enough(&self, hit: &Scored) -> bool {
        self.min_score.is_none_or(|min| hit.score >= min)
    }

    /// Leaves what is on the page of these hits, the best `asked` there are, and `spare` more.
    ///
    /// Among those with the score of the last one it is chance who is there: a part chooses by its own numbers, a page goes on
    /// by ids. And a walk may come by what an earlier one has missed, which is before the page and takes a place.
    fn cut(&self, hits: &mut Vec<Scored>, asked: usize, spare: usize) -> Extent {
        let last = hits
            .last()
            .filter(|last| hits.len() >= asked && self.is_good_enough(last))
            .map(|last| last.score);
        let is_cut = last.is_some();
        if asked < limits::SEARCH_WIDENED_HITS_MAX {
            hits.retain(|hit| last.is_none_or(|last| hit.score > last));
        }
        hits.retain(|hit| self.has(hit));
        let may_be_more = is_cut || hits.len() > self.limit;
        let is_short = is_cut && hits.len() < self.limit && asked < limits::SEARCH_WIDENED_HITS_MAX;
        hits.truncate(self.limit + spare);
        Extent { may_be_more, is_short }
    }
}

/// What hits say of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    /// Behind its last hit.
    may_be_more: bool,
    /// More hits have to be looked at to fill it.
    is_short: bool,
}

/// What was found, and the documents of the hits on the page.
pub struct Gathered {
    pub found: Found,
    /// By hit.
    pub records: Vec<Record>,
    /// There may be more behind the last hit.
    pub more: bool,
}

/// The hits with their documents, each in its newest version. When a document is gone by now, or is worse than others
/// may be, it is asked again, for as many more.
pub async fn search(
    node: &Node,
    collection: &Arc<Collection>,
    query: Query,
    page: &Page,
    shown: Shown,
) -> Result<Gathered, Refusal> {
    let mut query = Arc::new(query);
    let (mut attempt, mut spare) = (0, 0);
    loop {
        let (map, mut found) = find_by_map(node, collection, &query).await?;
        let extent = page.cut(&mut found.hits, query.limit, spare);
        if extent.is_short {
            let limit = (2 * query.limit).min(limits::SEARCH_WIDENED_HITS_MAX);
            query = Arc::new(Query { limit, ..Query::clone(&query) });
            continue;
        }
        attempt += 1;
        let asked = found.hits.len();
        let is_last = attempt == limits::SEARCH_ATTEMPTS_MAX;
        let may_be_better = extent.may_be_more && !is_last;
        let reading = Reading { map: &map, query: &query, page, shown, may_be_better };
        let mut records;
        (found.hits, records) = reading.read(node, std::mem::take(&mut found.hits)).await?;
        let outdated = asked - found.hits.len();
        if outdated == 0 || found.hits.len() >= page.limit || is_last {
            let more = extent.may_be_more || found.hits.len() > page.limit;
            found.hits.truncate(page.limit);
            records.truncate(page.limit);
            return Ok(Gathered { found, records, more });
        }
        spare += outdated;
        query = Arc::new(Query { limit: query.limit + outdated, ..Query::clone(&query) });
    }
}

/// Without the documents.
pub async fn find(node: &Node, collection: &Arc<Collection>, query: &Arc<Query>) -> Result<Found, Refusal> {
    find_by_map(node, collection, query).await.map(|(_, found)| found)
}

type FoundByMap = Result<(Arc<Collection>, Found), Refusal>;

async fn find_by_map(node: &Node, collection: &Arc<Collection>, query: &Arc<Query>) -> FoundByMap {
    let is_count = query.vector.is_none();
    let attempts = if is_count { limits::COUNT_ATTEMPTS_MAX } else { limits::SEARCH_ATTEMPTS_MAX };
    for _ in 1..attempts {
        match find_once(node, collection, query).await {
            // A range is on its way to another shard.
            Err(Refusal::Moved) => node.runtime().sleep(limits::INDEX_WAIT_STEP).await,
            Ok((_, found)) if found.counts_twice && is_count => {}
            found => return found,
        }
    }
    find_once(node, collection, query).await
}

async fn find_once(node: &Node, collection: &Arc<Collection>, query: &Arc<Query>) -> FoundByMap {
    let map = node.collection(&collection.name).filter(|map| map.id == collection.id);
    let map = map.ok_or(Refusal::NoSuchCollection)?;
    let core = node.core()?;
    let claims = core.library.claims(map.id);
    // First what all cores share, as it is now; then what else the owners have, as it is then.
    let slice = core.runtime.slice_behind_others().await;
    let shared = begin_shared(core, &map, &[]).await?;
    let known: Arc<[PartId]> = shared.iter().filter_map(Begun::id).collect();
    let ask = |tablet: &Tablet| {
        let (tablet, owner, epoch) = (tablet.id, tablet.owner, tablet.epoch);
        node.call(owner, Request::Search { tablet, epoch, query: query.clone(), known: known.clone() })
    };
    let has_own = |tablet: &&Tablet| !core.library.has_all_of(tablet.id, tablet.epoch);
    let calls: Vec<_> = map.tablets.iter().filter(has_own).map(ask).collect();
    let mut found = run::search(core, slice, shared, query).await;
    let mut failed = None;
    for call in calls {
        match call.await {
            Reply::Search(Ok(part)) => found.add(*part, query.limit),
            Reply::Search(Err(refusal)) | Reply::Done(Err(refusal)) => failed = Some(refusal),
            other => unreachable!("a search answered with {other:?}"),
        }
    }
    if let Some(refusal) = failed {
        return Err(refusal);
    }
    if core.library.claims(map.id) != claims {
        // An owner found a document there meanwhile, so it did not look for it.
        return Err(Refusal::Moved);
    }
    // What was merged of parts that came in between, or shared after an owner searched it.
    let late = begin_shared(core, &map, &found.shared).await?;
    if !late.is_empty() {
        found.counts_twice = true;
        let slice = core.runtime.slice_behind_others().await;
        found.add(run::search(core, slice, late, query).await, query.limit);
    }
    Ok((map, found))
}

/// The shared parts but some, and what of them does not count now.
async fn begin_shared(core: &Core, map: &Arc<Collection>, but: &[PartId]) -> Result<Vec<Begun>, Refusal> {
    core.library.read_up(&core.runtime, map.id).await?;
    let mut masks: BTreeMap<PartId, Rc<Ordinals>> = BTreeMap::new();
    loop {
        let parts = core.library.parts(map.id).into_iter().filter(|known| !but.contains(&known.part.id));
        let parts: Vec<_> = parts.collect();
        // A part that came while another one was masked counts: its owner may have nothing else any more, and say so.
        let Some(next) = parts.iter().find(|known| !masks.contains_key(&known.part.id)) else {
            let now = core.engine.borrow_mut().now(core.runtime.wall());
            let begun = parts.iter().map(|known| {
                let deleted = known.part.deleted();
                Begun::shared(known.part.clone(), mask::with_outside(deleted, &masks[&known.part.id])).at(now)
            });
            // All in one step.
            return Ok(begun.collect());
        };
        let mask = next.mask(map, &mut core.runtime.slice()).await;
        masks.insert(next.part.id, mask);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Seq;

    #[test]
    fn a_page_begins_behind_a_score_and_an_id() {
        let hit = |score, key| Scored { score, key: Key::from_u64(key), seq: Seq(1), shared: None };
        let page = Page { after: Some((-0.5, Key::from_u64(7))), min_score: Some(-2.0), limit: 10 };
        assert!(page.has(&hit(-0.6, 1)) && page.has(&hit(-0.5, 8)) && page.has(&hit(-2.0, 8)));
        assert!(!page.has(&hit(-0.5, 7)) && !page.has(&hit(-0.4, 9)) && !page.has(&hit(-2.1, 9)));
        // Of a cursor from a time when there were two zeros.
        let page = Page { after: Some((-0.0, Key::from_u64(7))), ..page };
        assert!(page.has(&hit(0.0, 8)) && !page.has(&hit(0.0, 6)));
    }

    #[test]
    fn a_page_is_filled_before_it_is_shown() {
        let hit = |score: f32, key| Scored { score, key: Key::from_u64(key), seq: Seq(1), shared: None };
        let page = Page { after: Some((0.5, Key::from_u64(7))), min_score: None, limit: 2 };
        let cut = |page: &Page, hits: &[(f32, u64)], asked| {
            let mut hits = hits.iter().map(|(score, key)| hit(*score, *key)).collect();
            let Extent { may_be_more, is_short } = page.cut(&mut hits, asked, 0);
            (hits.into_iter().map(|hit| hit.key.as_u64().unwrap()).collect::<Vec<_>>(), may_be_more, is_short)
        };
        // One was missed before; the last one has a score that others may have, too.
        let hits = [(0.9, 1), (0.5, 7), (0.4, 8), (0.3, 2), (0.2, 3)];
        assert_eq!(cut(&page, &hits, 5), (vec![8, 2], true, false));
        assert_eq!(cut(&page, &hits[..4], 4), (vec![8], true, true));
        assert_eq!(cut(&page, &hits[..4], 5), (vec![8, 2], false, false), "all there are");
        let alike = [(0.5, 8), (0.5, 9), (0.5, 10)];
        assert_eq!(cut(&page, &alike, 3), (vec![], true, true));
        assert_eq!(cut(&page, &alike, 4), (vec![8, 9], true, false));
        assert_eq!(cut(&page, &alike, limits::SEARCH_WIDENED_HITS_MAX), (vec![8, 9], true, false));
        // What is behind is not good enough.
        let page = Page { min_score: Some(0.4), ..page };
        assert_eq!(cut(&page, &hits[..4], 4), (vec![8], false, false));
    }
}
