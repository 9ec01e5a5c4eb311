//! What is done for the indexes of documents in the background: the records of a tablet are read into its index at
//! the start, vectors of heads are linked, full heads are sealed, parts are merged.

use std::cell::RefCell;
use std::ops::Bound;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::calls::{Ask, Told, correct_places, on_index};
use super::file::shelf;
use super::forward::Moving;
use super::index::DocumentIndex;
use super::library::Stored;
use super::merging::{self, keeper, tell_all, to_merge};
use super::part::Part;
use super::sealed::{PartId, Sealed};
use crate::limits;
use crate::shard::catalogue::Collection;
use crate::shard::core::Core;
use crate::shard::delta::Version;
use crate::shard::document::encoding::{Document, Parts};
use crate::shard::key::Key;
use crate::shard::node::Node;
use crate::shard::record::Scan;
use crate::shard::store::DeltaPage;
use crate::shard::tablet::Tablet;
use crate::types::{CollectionId, TabletId, WallMs};

/// Runs for as long as the shard.
pub async fn keep_documents(node: Node, core: Rc<Core>) {
    let mut is_quiet = false;
    loop {
        let wanted = core.documents_wanted.wait();
        if work(&node, &core, is_quiet).await {
            is_quiet = false;
            continue;
        }
        // What could not be read is tried again, and what nobody adds to is sealed.
        is_quiet = match waits(&node, &core) {
            Some(time) => core.runtime.timeout(time, wanted).await.is_none(),
            None => {
                wanted.await;
                false
            }
        };
    }
}

/// How long to wait for more to do; `None` when there is nothing left over.
fn waits(node: &Node, core: &Core) -> Option<Duration> {
    let engine = core.engine.borrow();
    let indexes = || engine.tablets.iter().filter_map(|tablet| tablet.documents.as_ref());
    if !core.library.are_read() {
        // Another core reads the files.
        return Some(limits::INDEX_WAIT_STEP);
    }
    if indexes().any(DocumentIndex::is_loading) {
        return Some(limits::INDEX_RETRY);
    }
    let is_open = |index: &DocumentIndex| index.has_head_of(core.index_options.sealed_documents_min);
    let may_merge = |kept: &Arc<Collection>| !to_merge(&core.library.parts(kept.id), true).is_empty();
    let waits = indexes().any(is_open) || kept(node).iter().any(may_merge);
    waits.then_some(core.index_options.quiet)
}

/// One round of work; false when there is none. Records are read first, of all tablets: nothing is found before.
async fn work(node: &Node, core: &Rc<Core>, is_quiet: bool) -> bool {
    for collection in core.library.unread() {
        let stored = match keeper(node, collection) == core.shard() {
            true => Some(read_files(node, core, collection).await),
            false => match merging::ask(node, keeper(node, collection), Ask::Stored(collection)).await {
                Told::Stored(stored) => stored,
                other => unreachable!("asked for what is stored, told {other:?}"),
            },
        };
        if let Some(stored) = stored {
            core.library.take_up(collection, &stored);
            core.weigh_library(node.shards());
        }
    }
    if core.library.take_gone() {
        let kept = kept(node);
        shelf::remove_others(core, |id| kept.iter().any(|one| one.id == id)).await;
    }
    let indexed: Vec<TabletId> = {
        let engine = core.engine.borrow();
        engine.tablets.iter().filter(|tablet| tablet.documents.is_some()).map(|tablet| tablet.id).collect()
    };
    let least = if is_quiet { core.index_options.sealed_documents_min } else { usize::MAX };
    let mut any = false;
    for tablet in &indexed {
        if on_index(core, *tablet, |index| index.is_loading()) == Some(true) {
            any |= load(core, *tablet).await;
        }
    }
    for tablet in indexed {
        any |= link(core, tablet).await;
        any |= rewrite_plain(core, tablet).await;
        any |= seal(node, core, tablet, least).await;
        on_index(core, tablet, DocumentIndex::weigh);
        show(node, core, tablet).await;
    }
    for collection in kept(node) {
        any |= merging::merge(node, core, &collection, is_quiet).await;
    }
    any
}

async fn read_files(node: &Node, core: &Rc<Core>, collection: CollectionId) -> Vec<Stored> {
    let map = node.catalogue();
    match map.collections.values().find(|one| one.id == collection) {
        Some(collection) => shelf::read_all(core, collection).await,
        None => Vec::new(),
    }
}

/// Collections of documents whose parts this shard merges.
fn kept(node: &Node) -> Vec<Arc<Collection>> {
    let map = node.catalogue();
    let documents = map.collections.values().filter(|one| one.definition.documents.is_some());
    documents.filter(|one| keeper(node, one.id) == node.shard()).cloned().collect()
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

/// `None` when the tablet went away, a run of it cannot be read, or it is too early.
async fn read_records(core: &Core, id: TabletId) -> Option<u64> {
    let collection = core.engine.borrow().tablets.get(id)?.collection;
    if !core.library.is_read(collection) {
        return None;
    }
    let stored = core.library.stored(collection);
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
            .walk(async |key, found| {
                visited += 1;
                after = Some(key.clone());
                let version = found.version().await?;
                if let Some(payload) = &version.payload
                    && let Ok(document) = Parts::of(payload.value()).and_then(Parts::document)
                {
                    documents += 1;
                    load_document(core, id, (key, &version, &document), &stored);
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
fn load_document(
    core: &Core,
    id: TabletId,
    (key, version, document): (&Key, &Version, &Document<'_>),
    stored: &[Rc<Stored>],
) {
    let mut engine = core.engine.borrow_mut();
    engine.tablets.change(id, |tablet| {
        let covers = tablet.covers(key);
        if let Some(index) = tablet.documents.as_mut().filter(|_| covers) {
            index.load(key, version, document, stored);
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

/// Makes a head that is linked, and full or of at least so many documents, a part of all cores; true when there was one. Of a tablet that is on no map yet
/// nobody may find anything.
async fn seal(node: &Node, core: &Rc<Core>, tablet: TabletId, least: usize) -> bool {
    let sealed = {
        let mut engine = core.engine.borrow_mut();
        let seal = |tablet: &mut Tablet| {
            let is_mapped = tablet.is_mapped();
            let index = tablet.documents.as_mut().filter(|_| is_mapped)?;
            index.seal(least).map(|part| (tablet.collection, part))
        };
        engine.tablets.change(tablet, seal).flatten()
    };
    let Some((collection, part)) = sealed else { return false };
    publish(node, core, collection, &part).await;
    on_index(core, tablet, |index| index.published(part.id));
    true
}

/// Tells all cores of the tablet what they need not ask for.
async fn show(node: &Node, core: &Rc<Core>, tablet: TabletId) {
    let unseen = {
        let engine = core.engine.borrow();
        let tablet = engine.tablets.get(tablet).filter(|tablet| tablet.index_is_in_force());
        let index = tablet.and_then(|tablet| Some((tablet.collection, tablet.documents.as_ref()?)));
        index.filter(|(_, index)| index.is_unseen()).map(|(of, index)| (of, index.beacon().clone()))
    };
    if let Some((collection, beacon)) = unseen {
        tell_all(node, collection, Ask::Beacon { tablet, beacon }).await;
        on_index(core, tablet, DocumentIndex::seen);
    }
    // In one step.
    if let Some(tablet) = core.engine.borrow().tablets.get(tablet).filter(|tablet| tablet.index_is_in_force())
    {
        let show = |index: &DocumentIndex| index.beacon().show(tablet.epoch, index.has_nothing_own());
        tablet.documents.iter().for_each(show);
    }
}

async fn publish(node: &Node, core: &Rc<Core>, collection: CollectionId, part: &Arc<Sealed>) {
    let (out, into) = (Arc::default(), Some(part.clone()));
    tell_all(node, collection, Ask::Swap { collection, out, into }).await;
    core.documents_wanted.notify();
}

/// Leaves out what is deleted of the documents without embeddings.
async fn rewrite_plain(core: &Rc<Core>, tablet: TabletId) -> bool {
    let worn = on_index(core, tablet, DocumentIndex::close_worn_plain).unwrap_or_default();
    if worn.is_empty() {
        return false;
    }
    let new = rewritten(core, tablet, &worn).await;
    if let Some(new) = new {
        correct_places(core, tablet, new).await;
    }
    let mut slice = core.runtime.slice();
    for (_, part) in worn {
        // Else a search frees it, which holds on to it.
        let Some(mut part) = Rc::into_inner(part) else { continue };
        while part.get_mut().shed(limits::SHED_STEP_DOCUMENTS) {
            slice.checkpoint().await;
        }
    }
    true
}

async fn rewritten(core: &Core, tablet: TabletId, worn: &[(PartId, Rc<RefCell<Part>>)]) -> Option<PartId> {
    let schema = worn.first()?.1.borrow().contents().schema().clone();
    let (mut new, mut replaced) = (Part::plain(&schema), Vec::with_capacity(worn.len()));
    let mut slice = core.runtime.slice();
    for (id, part) in worn {
        let (live, count) = (part.borrow().live_ordinals(), part.borrow().contents().len());
        let mut moving = Moving::of(count);
        for old in live.iter() {
            moving.set(old, new.push_plain(part.borrow().contents().row(old)));
            slice.checkpoint().await;
        }
        replaced.push((*id, moving.finish()));
    }
    on_index(core, tablet, |index| index.replace_plain(replaced, new)).flatten()
}
