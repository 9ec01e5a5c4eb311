//! One search on one tablet, in steps, with the core's other work in between.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::index::DocumentIndex;
use super::part::Part;
use super::query::{Found, PartAccount, Query, Scored};
use crate::io::runtime::Slice;
use crate::limits;
use crate::shard::core::Core;
use crate::shard::record::Refusal;
use crate::shard::tablet::Tablet;
use crate::types::{Epoch, Mono, TabletId};
use crate::vector::allowed::Ordinals;
use crate::vector::graph::Scratch;
use crate::vector::search::{Search, SearchOptions, View};

/// The tablet is searched as it is when the search begins. By another map than that of who asks, documents could be
/// found twice or not at all: `Moved`.
pub async fn search(
    core: &Core,
    (tablet, epoch): (TabletId, Epoch),
    query: &Query,
) -> Result<Found, Refusal> {
    let parts = ready_parts(core, tablet, epoch).await?;
    let mut slice = core.runtime.slice();
    let mut found = Found::default();
    let mut scratch = Scratch::default();
    for Begun { part, deleted } in parts {
        let began = core.runtime.now();
        let allowed = match &query.filter {
            Some(_) => Some(allowed(&part, query, &mut found, &mut slice).await),
            None => None,
        };
        let filtered = core.runtime.now();
        found.filter_time += since(began, filtered);
        found.documents += (part.borrow().len() - deleted.count()) as u64;
        found.matching += matching(&part.borrow(), allowed.as_ref(), &deleted) as u64;
        if let Some(vector) = &query.vector {
            let walk = Walk { part: &part, allowed: allowed.as_ref(), deleted: &deleted, query, vector };
            scratch = walk.run(&mut found, scratch, &mut slice).await;
            found.search_time += since(filtered, core.runtime.now());
        }
    }
    found.hits.sort_unstable_by(Scored::order);
    found.hits.truncate(query.limit);
    // A new map takes out of the parts what moved away.
    check_range(core, tablet, epoch).map(|()| found)
}

fn check_range(core: &Core, id: TabletId, epoch: Epoch) -> Result<(), Refusal> {
    let engine = core.engine.borrow();
    let tablet = engine.tablets.get(id).filter(|tablet| tablet.is_mapped() && tablet.epoch == epoch);
    tablet.map(|_| ()).ok_or(Refusal::Moved)
}

fn since(from: Mono, to: Mono) -> Duration {
    Duration::from_nanos(to.since(from))
}

/// The parts, when the index has exactly what the tablet has.
async fn ready_parts(core: &Core, id: TabletId, epoch: Epoch) -> Result<Vec<Begun>, Refusal> {
    let until = core.runtime.now().after(limits::INDEX_WAIT_MAX);
    loop {
        {
            let engine = core.engine.borrow();
            let is_asked_for = |tablet: &&Tablet| tablet.is_mapped() && tablet.epoch == epoch;
            let tablet = engine.tablets.get(id).filter(is_asked_for).ok_or(Refusal::Moved)?;
            let ready = |index: &&DocumentIndex| !index.is_loading() && tablet.is_within(index);
            if let Some(index) = tablet.documents.as_ref().filter(ready) {
                return Ok(index.parts().into_iter().map(Begun::of).collect());
            }
        }
        if core.runtime.now() > until {
            return Err(Refusal::NotReady);
        }
        core.runtime.sleep(limits::INDEX_WAIT_STEP).await;
    }
}

/// A part, and what was deleted of it when the search began. What is deleted or replaced meanwhile is found all the same,
/// and known to be outdated when it is read: passed over, its new version might be in a part that was searched already.
struct Begun {
    part: Rc<RefCell<Part>>,
    deleted: Ordinals,
}

impl Begun {
    fn of(part: Rc<RefCell<Part>>) -> Begun {
        let deleted = part.borrow().deleted().clone();
        Begun { part, deleted }
    }
}

/// Without what is deleted.
fn matching(part: &Part, allowed: Option<&Ordinals>, deleted: &Ordinals) -> usize {
    match allowed {
        None => part.len() - deleted.count(),
        Some(allowed) => {
            let dead = allowed.words().iter().zip(deleted.words());
            allowed.count() - dead.map(|(word, dead)| (word & dead).count_ones() as usize).sum::<usize>()
        }
    }
}

/// What the filter lets through: by the indexes, and where they cannot tell by the metadata.
async fn allowed(part: &Rc<RefCell<Part>>, query: &Query, found: &mut Found, slice: &mut Slice) -> Ordinals {
    let filter = query.filter.as_ref().expect("asked for by a filter");
    let answer = part.borrow().fields().evaluate(filter);
    let mut allowed: Ordinals = answer.certain().iter().collect();
    if answer.is_exact() {
        return allowed;
    }
    let open: Vec<u32> = answer.open().iter().collect();
    let residual = filter.residual();
    let filter = residual.as_ref().unwrap_or(filter);
    found.looked_at += open.len() as u64;
    for ordinals in open.chunks(limits::FILTER_STEP_DOCUMENTS) {
        {
            let part = part.borrow();
            for ordinal in ordinals.iter().filter(|ordinal| part.matches(filter, **ordinal)) {
                allowed.insert(*ordinal);
            }
        }
        slice.checkpoint().await;
    }
    allowed
}

/// One search in one part.
struct Walk<'a> {
    part: &'a Rc<RefCell<Part>>,
    allowed: Option<&'a Ordinals>,
    deleted: &'a Ordinals,
    query: &'a Query,
    vector: &'a [f32],
}

impl Walk<'_> {
    async fn run(&self, found: &mut Found, scratch: Scratch, slice: &mut Slice) -> Scratch {
        let Query { limit, ef, is_exact, .. } = *self.query;
        let width = ef.unwrap_or_else(|| self.part.borrow().width_for(limit));
        let options = SearchOptions { limit, width, is_exact };
        let mut scratch = Some(scratch);
        let begun = self.part.borrow().viewed(self.allowed, |view| {
            let view = View { deleted: self.deleted, ..view };
            Search::new(view, self.vector, options, scratch.take().expect("taken once"))
        });
        let Some(mut search) = begun else { return scratch.unwrap_or_default() };
        let step = |search: &mut Search| {
            let part = self.part.borrow();
            let step = |view: View<'_>| {
                search.step(View { deleted: self.deleted, ..view }, limits::SEARCH_STEP_CODES)
            };
            part.viewed(self.allowed, step).unwrap_or(true)
        };
        while !step(&mut search) {
            slice.checkpoint().await;
        }
        let (hits, account, scratch) = search.finish();
        let part = self.part.borrow();
        found.hits.extend(hits.iter().map(|hit| Scored {
            score: hit.score,
            key: part.key(hit.ordinal).clone(),
            seq: part.seq(hit.ordinal),
        }));
        found.parts.push(PartAccount { documents: part.len(), is_sealed: part.is_sealed(), width, account });
        scratch
    }
}
