//! One search in parts on one core, in steps, with the core's other work in between.

use std::time::Duration;

use super::index::DocumentIndex;
use super::query::{Found, PartAccount, Query, Scored};
use super::sealed::PartId;
use super::source::Begun;
use crate::io::runtime::Slice;
use crate::limits;
use crate::shard::core::Core;
use crate::shard::document::filter::Filter;
use crate::shard::document::filter::sieve::{Look, Sieve};
use crate::shard::record::Refusal;
use crate::shard::tablet::Tablet;
use crate::types::{Epoch, Mono, TabletId};
use crate::vector::allowed::Ordinals;
use crate::vector::search::{Scratch, Search, SearchOptions, View};

/// What only its owner searches of a tablet, as it is when the search begins, but what who asks knows. By another map than that of who asks,
/// documents could be found twice or not at all: `Moved`.
pub async fn search_own(
    core: &Core,
    (tablet, epoch): (TabletId, Epoch),
    query: &Query,
    known: &[PartId],
) -> Result<Found, Refusal> {
    let slice = core.runtime.slice_behind_others().await;
    let begun = ready_parts(core, tablet, epoch, known).await?;
    let found = search(core, slice, begun, query).await;
    // A new map takes out of the parts what moved away.
    check_range(core, tablet, epoch).map(|()| found)
}

/// Whoever searches has stood back for the slice before the parts were begun: what is hidden in them is as of then, and a
/// pause before they are counted would count what was replaced meanwhile twice.
pub async fn search(core: &Core, mut slice: Slice, parts: Vec<Begun>, query: &Query) -> Found {
    let runtime = &core.runtime;
    let mut found = Found::default();
    let mut taken = core.library.scratches.take();
    let residual = query.filter.as_ref().and_then(Filter::residual);
    let sieve = residual.as_ref().map(Sieve::new);
    for part in parts {
        let began = runtime.now();
        let allowed = match &query.filter {
            Some(filter) => Some(allowed(&part, (filter, sieve.as_ref()), &mut found, &mut slice).await),
            None => None,
        };
        let filtered = runtime.now();
        found.filter_time += since(began, filtered);
        let documents = part.read(|contents| contents.len()) - part.hidden.count();
        found.documents += documents as u64;
        found.matching += matching(&part, allowed.as_ref()) as u64;
        found.shared.extend(part.id());
        if let Some(vector) = &query.vector {
            let walk = Walk { part: &part, allowed: allowed.as_ref(), query, vector };
            let scratch = taken.take_for(part.read(|contents| contents.len()));
            taken.scratch = walk.run(&mut found, scratch, &mut slice).await;
            found.search_time += since(filtered, runtime.now());
        }
    }
    core.library.scratches.put(taken);
    found.keep_best(query.limit);
    found
}

fn check_range(core: &Core, id: TabletId, epoch: Epoch) -> Result<(), Refusal> {
    let engine = core.engine.borrow();
    let tablet = engine.tablets.get(id).filter(|tablet| tablet.is_mapped() && tablet.epoch == epoch);
    tablet.map(|_| ()).ok_or(Refusal::Moved)
}

fn since(from: Mono, to: Mono) -> Duration {
    Duration::from_nanos(to.since(from))
}

/// The parts, when the index has exactly what the tablet has. When that has to be waited for, who asks has to look at
/// the shared parts again: documents may have been claimed in them.
async fn ready_parts(
    core: &Core,
    id: TabletId,
    epoch: Epoch,
    known: &[PartId],
) -> Result<Vec<Begun>, Refusal> {
    let until = core.runtime.now().after(limits::INDEX_WAIT_MAX);
    let mut has_waited = false;
    loop {
        let now = core.engine.borrow_mut().now(core.runtime.wall());
        {
            let engine = core.engine.borrow();
            let is_asked_for = |tablet: &&Tablet| tablet.is_mapped() && tablet.epoch == epoch;
            let tablet = engine.tablets.get(id).filter(is_asked_for).ok_or(Refusal::Moved)?;
            let ready = |index: &&DocumentIndex| !index.is_loading() && tablet.is_within(index);
            if let Some(index) = tablet.documents.as_ref().filter(ready) {
                if has_waited {
                    return Err(Refusal::Moved);
                }
                let (own, sealed) = index.parts(known);
                let sealed = sealed.into_iter().map(|part| {
                    let deleted = part.deleted();
                    Begun::shared(part, deleted)
                });
                return Ok(own.into_iter().map(Begun::own).chain(sealed).map(|part| part.at(now)).collect());
            }
        }
        if core.runtime.now() > until {
            return Err(Refusal::NotReady);
        }
        core.runtime.sleep(limits::INDEX_WAIT_STEP).await;
        has_waited = true;
    }
}

/// Of what counts, what the filter lets through.
fn matching(part: &Begun, allowed: Option<&Ordinals>) -> usize {
    match allowed {
        None => part.read(|contents| contents.len()) - part.hidden.count(),
        Some(allowed) => allowed.count() - allowed.count_in(&part.hidden),
    }
}

/// What the filter lets through: by the indexes, and where they cannot tell by the metadata.
async fn allowed(
    part: &Begun,
    (filter, sieve): (&Filter, Option<&Sieve<'_>>),
    found: &mut Found,
    slice: &mut Slice,
) -> Ordinals {
    let answer = part.read(|contents| contents.fields().evaluate(filter));
    let mut allowed = Ordinals::from(answer.certain());
    // What no index knows of is in the sieve.
    let Some(sieve) = sieve.filter(|_| !answer.is_exact()) else { return allowed };
    let open = answer.open();
    found.looked_at += open.len();
    let mut look = Look::new(sieve);
    let mut left = limits::FILTER_STEP_BYTES;
    for ordinal in &open {
        let holds = loop {
            let told = part.read(|contents| look.step(contents.metadata(ordinal), &mut left));
            if left == 0 {
                slice.checkpoint().await;
                left = limits::FILTER_STEP_BYTES;
            }
            if let Some(holds) = told {
                break holds;
            }
        };
        if holds {
            allowed.insert(ordinal);
        }
    }
    slice.checkpoint().await;
    allowed
}

/// One search in one part.
struct Walk<'a> {
    part: &'a Begun,
    allowed: Option<&'a Ordinals>,
    query: &'a Query,
    vector: &'a [f32],
}

impl Walk<'_> {
    async fn run(&self, found: &mut Found, scratch: Box<Scratch>, slice: &mut Slice) -> Box<Scratch> {
        let Query { limit, ef, is_exact, .. } = *self.query;
        let width = ef.unwrap_or_else(|| self.part.width_for(limit));
        let options = SearchOptions { limit, width, is_exact };
        let mut scratch = Some(scratch);
        let begun = self.part.viewed(self.allowed, |view| {
            Search::new(view, self.vector, options, scratch.take().expect("taken once"))
        });
        let Some(mut search) = begun else { return scratch.unwrap_or_default() };
        let step = |search: &mut Search| {
            let step = |view: View<'_>| search.step(view, limits::SEARCH_STEP_CODES);
            self.part.viewed(self.allowed, step).unwrap_or(true)
        };
        while !step(&mut search) {
            slice.checkpoint().await;
        }
        let (hits, account, scratch) = search.finish();
        let is_sealed = self.part.is_sealed();
        self.part.read(|contents| {
            found.hits.extend(hits.iter().map(|hit| Scored {
                score: hit.score,
                key: contents.key(hit.ordinal).clone(),
                seq: contents.seq(hit.ordinal),
                shared: self.part.as_shared().map(|part| (part.clone(), hit.ordinal)),
            }));
            found.parts.push(PartAccount { documents: contents.len(), is_sealed, width, account });
        });
        scratch
    }
}
