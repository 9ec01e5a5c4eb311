//! What is done for the indexes of documents in the background: the records of a tablet are read into its index at
//! the start, vectors of heads are linked, parts are merged.

use std::cell::{Ref, RefCell};
use std::ops::Bound;
use std::rc::Rc;

use super::index::{DocumentIndex, unknown_ordinals};
use super::part::Part;
use crate::limits;
use crate::shard::core::Core;
use crate::shard::delta::Version;
use crate::shard::document::encoding::{Document, Parts};
use crate::shard::key::Key;
use crate::shard::record::Scan;
use crate::shard::store::DeltaPage;
use crate::shard::tablet::Tablet;
use crate::types::{TabletId, WallMs};
use crate::vector::element::{Originals, Rows};
use crate::vector::graph::build::BuildOptions;
use crate::vector::merge::{Merge, Merged, Origin};

/// Runs for as long as the shard.
pub async fn keep_documents(core: Rc<Core>) {
    loop {
        let wanted = core.documents_wanted.wait();
        if !work(&core).await {
            // What could not be read is tried again.
            let retries = core.engine.borrow().tablets.iter().any(is_loading);
            match retries {
                true => drop(core.runtime.timeout(limits::INDEX_RETRY, wanted).await),
                false => wanted.await,
            }
        }
    }
}

fn is_loading(tablet: &Tablet) -> bool {
    tablet.documents.as_ref().is_some_and(DocumentIndex::is_loading)
}

/// One round of work; false when there is none. Records are read first, of all tablets: nothing is found before.
async fn work(core: &Rc<Core>) -> bool {
    let indexed: Vec<TabletId> = {
        let engine = core.engine.borrow();
        engine.tablets.iter().filter(|tablet| tablet.documents.is_some()).map(|tablet| tablet.id).collect()
    };
    let mut any = false;
    for tablet in &indexed {
        if on_index(core, *tablet, |index| index.is_loading()) == Some(true) {
            any |= load(core, *tablet).await;
        }
    }
    for tablet in indexed {
        any |= link(core, tablet).await;
        let parts = on_index(core, tablet, |index| index.to_merge()).unwrap_or_default();
        if !parts.is_empty() {
            merge(core, tablet, &parts).await;
            any = true;
        }
        on_index(core, tablet, DocumentIndex::weigh);
    }
    any
}

fn on_index<T>(core: &Core, tablet: TabletId, change: impl FnOnce(&mut DocumentIndex) -> T) -> Option<T> {
    let mut engine = core.engine.borrow_mut();
    engine.tablets.change(tablet, |tablet| tablet.documents.as_mut().map(change)).flatten()
}

/// Reads all records of a tablet into its index; false when it has to be tried again.
async fn load(core: &Rc<Core>, id: TabletId) -> bool {
    let began = core.runtime.now();
    // Begun anew later; what is there counts as newer then.
    let Some(documents) = read_records(core, id).await else { return false };
    on_index(core, id, DocumentIndex::loaded);
    core.shed_wanted.notify();
    let took_ms = core.runtime.now().since(began) / 1_000_000;
    if documents > 0 {
        tracing::info!(tablet = %id, documents, took_ms, "documents were read into their index");
    }
    true
}

/// `None` when the tablet went away, or a run of it cannot be read.
async fn read_records(core: &Core, id: TabletId) -> Option<u64> {
    let mut slice = core.runtime.slice();
    let (mut documents, mut after) = (0, None);
    loop {
        let page = {
            let engine = core.engine.borrow();
            let tablet = engine.tablets.get(id)?;
            let (first, end) = tablet.range();
            let start = after.take().map_or(Bound::Included(first), Bound::Excluded);
            let scan = Scan { start, end, reverse: false, limit: limits::LOAD_PAGE_DOCUMENTS };
            DeltaPage::of(tablet, &scan, WallMs::ZERO, engine.store.levels())
        };
        let mut visited = 0;
        let more = page
            .walk(async |key, stored| {
                visited += 1;
                after = Some(key.clone());
                let version = stored.version().await?;
                if let Some(payload) = &version.payload
                    && let Ok(document) = Parts::of(payload.value()).and_then(Parts::document)
                {
                    documents += 1;
                    load_document(core, id, key, &version, &document);
                }
                Ok(visited < limits::LOAD_PAGE_DOCUMENTS)
            })
            .await;
        match more {
            Ok(true) if after.is_some() => slice.checkpoint().await,
            Ok(_) => return Some(documents),
            Err(error) => {
                core.note_damage(&error);
                return None;
            }
        }
    }
}

/// Unless it has moved away since the page was taken.
fn load_document(core: &Core, id: TabletId, key: &Key, version: &Version, document: &Document<'_>) {
    let mut engine = core.engine.borrow_mut();
    engine.tablets.change(id, |tablet| {
        let covers = tablet.covers(key);
        if let Some(index) = tablet.documents.as_mut().filter(|_| covers) {
            index.load(key, version, document);
        }
    });
}

/// Links what came into heads; true when there was something.
async fn link(core: &Rc<Core>, tablet: TabletId) -> bool {
    let Some(Some(part)) = on_index(core, tablet, |index| index.behind()) else { return false };
    let mut slice = core.runtime.slice();
    for _ in 0..limits::LINK_STEPS_MAX {
        if !part.borrow().is_behind() {
            break;
        }
        part.borrow_mut().step(limits::LINK_STEP_VECTORS);
        slice.checkpoint().await;
    }
    true
}

/// Makes one part of several.
async fn merge(core: &Rc<Core>, tablet: TabletId, ids: &[u32]) {
    let sources = on_index(core, tablet, |index| {
        index.close(ids);
        let parts: Option<Vec<_>> = ids.iter().map(|id| index.part(*id).cloned()).collect();
        parts.map(|parts| (index.schema().clone(), parts))
    });
    let Some(Some((schema, sources))) = sources else { return };
    let (began, mut slice) = (core.runtime.now(), core.runtime.slice());
    let live: Vec<_> = sources.iter().map(|part| part.borrow().live_ordinals()).collect();
    let has_vectors = sources[0].borrow().viewed(None, |_| ()).is_some();
    let (mut part, origins) = match schema.embedding.filter(|_| has_vectors) {
        Some(shape) => {
            let mut merge = Merge::new(shape.metric, shape.dimension(), &live, BuildOptions::default());
            while !step(&mut merge, &sources) {
                slice.checkpoint().await;
            }
            let Merged { segment, origins } = merge.finish();
            (Part::sealed(&schema, segment), origins)
        }
        None => {
            let origins = live[0].iter().map(|ordinal| Origin { source: 0, ordinal }).collect();
            (Part::plain(&schema), origins)
        }
    };
    let mut new_ordinals: Vec<Vec<u32>> =
        sources.iter().map(|part| unknown_ordinals(part.borrow().len())).collect();
    for (new, origin) in origins.iter().enumerate() {
        part.add_entry(sources[origin.source as usize].borrow().entry(origin.ordinal));
        new_ordinals[origin.source as usize][origin.ordinal as usize] = new as u32;
        slice.checkpoint().await;
    }
    let documents = part.len();
    let old = ids.iter().copied().zip(new_ordinals).collect();
    let Some(new) = on_index(core, tablet, |index| index.replace(part, old)) else { return };
    for from in (0..documents as u32).step_by(limits::PLACES_STEP_DOCUMENTS as usize) {
        on_index(core, tablet, |index| index.correct_places(new, from, limits::PLACES_STEP_DOCUMENTS));
        slice.checkpoint().await;
    }
    on_index(core, tablet, |index| index.forget_forwards(new));
    let took_ms = core.runtime.now().since(began) / 1_000_000;
    tracing::info!(%tablet, parts = ids.len(), documents, took_ms, "parts of an index were merged");
}

fn step(merge: &mut Merge, sources: &[Rc<RefCell<Part>>]) -> bool {
    let borrowed: Vec<Ref<'_, Part>> = sources.iter().map(|part| part.borrow()).collect();
    let rows: Vec<Rows<'_>> = borrowed.iter().filter_map(|part| part.originals()).collect();
    let originals: Vec<&dyn Originals> = rows.iter().map(|rows| rows as &dyn Originals).collect();
    merge.step(&originals, limits::MERGE_STEP_VECTORS)
}
