//! What cores say to one another about the parts that they share.

use std::rc::Rc;
use std::sync::Arc;

use super::beacon::Beacon;
use super::forward::Moved;
use super::index::DocumentIndex;
use super::library::Stored;
use super::sealed::{PartId, Sealed};
use crate::io::executor::Class;
use crate::limits;
use crate::shard::core::Core;
use crate::shard::node::Node;
use crate::types::{CollectionId, TabletId};

#[derive(Clone, Debug)]
pub enum Ask {
    /// It tells when the owner of a tablet need not be asked.
    Beacon { tablet: TabletId, beacon: Arc<Beacon> },
    /// Of who merges the parts of the collection: what its files have.
    Stored(CollectionId),
    /// Whether documents may still be claimed.
    IsLoading(CollectionId),
    /// No document will be claimed any more.
    AllLoaded(CollectionId),
    /// From now on, what is deleted from one of `from` is deleted from `into` as well.
    Forward { into: Arc<Sealed>, from: Arc<Vec<(PartId, Moved)>> },
    /// Search `into`, if anything, instead of `out`.
    Swap { collection: CollectionId, out: Arc<Vec<PartId>>, into: Option<Arc<Sealed>> },
    /// Nobody begins to search what `into` has replaced: forget that.
    Settle { collection: CollectionId, into: PartId },
}

#[derive(Debug)]
pub enum Told {
    Done,
    /// `None`: not read yet.
    Stored(Option<Vec<Stored>>),
    IsLoading(bool),
}

pub fn handle(node: &Node, core: &Rc<Core>, ask: Ask, answer: impl FnOnce(Told) + 'static) {
    match ask {
        Ask::Beacon { tablet, beacon } => {
            core.library.add_beacon(tablet, beacon);
            answer(Told::Done);
        }
        Ask::Stored(collection) => {
            let library = &core.library;
            let stored = || library.stored(collection).iter().map(|stored| Stored::clone(stored)).collect();
            answer(Told::Stored(library.is_read(collection).then(stored)));
        }
        Ask::IsLoading(collection) => {
            let engine = core.engine.borrow();
            let mut own = engine.tablets.iter().filter(|tablet| tablet.collection == collection);
            let is_loading =
                own.any(|tablet| tablet.documents.as_ref().is_some_and(DocumentIndex::is_loading));
            answer(Told::IsLoading(is_loading || !core.library.is_read(collection)));
        }
        Ask::AllLoaded(collection) => {
            core.library.settle(collection);
            answer(Told::Done);
        }
        Ask::Forward { into, from } => {
            for tablet in indexed(core, into.collection) {
                on_index(core, tablet, |index| index.forward(&into, &from));
            }
            answer(Told::Done);
        }
        Ask::Swap { collection, out, into } => {
            if into.is_none() {
                // Nothing of them lives, so nothing was forwarded.
                for tablet in indexed(core, collection) {
                    on_index(core, tablet, |index| index.forget(&out));
                }
            }
            core.library.swap(collection, &out, into);
            core.weigh_library(node.shards());
            core.documents_wanted.notify();
            answer(Told::Done);
        }
        Ask::Settle { collection, into } => {
            let core = core.clone();
            node.runtime().spawn(Class::Background, async move {
                settle(&core, collection, into).await;
                answer(Told::Done);
            });
        }
    }
}

/// Tablets here that have an index over documents of a collection.
pub fn indexed(core: &Core, collection: CollectionId) -> Vec<TabletId> {
    let engine = core.engine.borrow();
    let own = engine.tablets.iter().filter(|tablet| tablet.collection == collection);
    own.filter(|tablet| tablet.documents.is_some()).map(|tablet| tablet.id).collect()
}

pub fn on_index<T>(core: &Core, tablet: TabletId, change: impl FnOnce(&mut DocumentIndex) -> T) -> Option<T> {
    let mut engine = core.engine.borrow_mut();
    engine.tablets.change(tablet, |tablet| tablet.documents.as_mut().map(change)).flatten()
}

async fn settle(core: &Rc<Core>, collection: CollectionId, into: PartId) {
    for tablet in indexed(core, collection) {
        correct_places(core, tablet, into).await;
    }
}

/// Documents of a tablet are where the new part has them, and what it replaced is forgotten.
pub async fn correct_places(core: &Core, tablet: TabletId, part: PartId) {
    let mut slice = core.runtime.slice();
    let mut from = 0;
    while on_index(core, tablet, |index| index.correct_places(part, from, limits::PLACES_STEP_DOCUMENTS))
        == Some(false)
    {
        from += limits::PLACES_STEP_DOCUMENTS;
        slice.checkpoint().await;
    }
    on_index(core, tablet, |index| index.forget_replaced(part));
}
