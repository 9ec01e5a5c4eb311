//! Documents of all tablets of a collection that are searched together, on any core.
//!
//! Invariant: only what is deleted changes, and whose a document is when it is found again after a start; both by its
//! owner alone. So all cores read the same memory, and a search looks at one graph however many cores there are.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::contents::Contents;
use super::part::Part;
use crate::types::{CollectionId, TabletId, WallMs};
use crate::vector::allowed::Ordinals;
use crate::vector::graph::Graph;
use crate::vector::search::View;
use crate::vector::segment::VECTORS_A_DELETED;
use crate::vector::shared::SharedOrdinals;

/// Never given twice in the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PartId {
    /// What came into a tablet.
    OfTablet { tablet: TabletId, number: u32 },
    /// Merged of others.
    Merged { collection: CollectionId, number: u32 },
}

pub struct Sealed {
    pub id: PartId,
    pub collection: CollectionId,
    contents: Contents,
    graph: Graph,
    deleted: SharedOrdinals,
    /// By ordinal; 0 while nobody has claimed the document.
    tablets: Box<[AtomicU32]>,
    /// How many were claimed since the part was read, in the upper half. In the lower one, how many of those that expire
    /// first are deleted: no search looks at them again. A claim sets that back: what was deleted appears.
    claims_and_passed: AtomicU64,
}

const PASSED_BITS: u32 = 32;

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({:?}, {} documents)", self.id, self.len())
    }
}

impl Sealed {
    /// Of a head that is full, linked, and of this tablet.
    pub fn of_head(id: PartId, collection: CollectionId, tablet: TabletId, head: Part) -> Sealed {
        let (mut contents, graph, deleted) = head.into_sealed().expect("only heads are sealed");
        contents.settle_expiries(usize::MAX);
        let mut words = deleted.into_words();
        words.resize(contents.len().div_ceil(64), 0);
        let deleted = SharedOrdinals::from_words(&words);
        let tablets = (0..contents.len()).map(|_| AtomicU32::new(tablet.0)).collect();
        Sealed { id, collection, contents, graph, deleted, tablets, claims_and_passed: AtomicU64::new(0) }
    }

    /// `tablets`: by ordinal. The expiries of the contents are settled.
    pub fn merged(
        id: PartId,
        collection: CollectionId,
        contents: Contents,
        graph: Graph,
        tablets: Box<[AtomicU32]>,
    ) -> Sealed {
        assert!(contents.len() == graph.len() && contents.len() == tablets.len());
        let deleted = SharedOrdinals::none(contents.len());
        Sealed { id, collection, contents, graph, deleted, tablets, claims_and_passed: AtomicU64::new(0) }
    }

    /// As it was stored: nothing of it counts until its owner has claimed it.
    pub fn unclaimed(id: PartId, collection: CollectionId, contents: Contents, graph: Graph) -> Sealed {
        let tablets = (0..contents.len()).map(|_| AtomicU32::new(TabletId::ZERO.0)).collect();
        let deleted = SharedOrdinals::all(contents.len());
        Sealed { deleted, ..Sealed::merged(id, collection, contents, graph, tablets) }
    }

    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    pub fn len(&self) -> usize {
        self.contents.len()
    }

    pub fn is_empty(&self) -> bool {
        self.contents.is_empty()
    }

    pub fn is_merged(&self) -> bool {
        matches!(self.id, PartId::Merged { .. })
    }

    /// Whose document it is; the tablet may be gone, or smaller by now.
    pub fn tablet(&self, ordinal: u32) -> TabletId {
        TabletId(self.tablets[ordinal as usize].load(Ordering::Acquire))
    }

    /// By the owner of the document, which has this very version.
    pub fn claim(&self, ordinal: u32, tablet: TabletId) {
        self.tablets[ordinal as usize].store(tablet.0, Ordering::Release);
        self.deleted.remove(ordinal);
        let another = |before| Some(((before >> PASSED_BITS) + 1) << PASSED_BITS);
        // Never refused.
        let _ = self.claims_and_passed.fetch_update(Ordering::AcqRel, Ordering::Acquire, another);
    }

    /// When it is the same as before, nothing has appeared in the part.
    pub fn claims(&self) -> u32 {
        (self.claims_and_passed.load(Ordering::Acquire) >> PASSED_BITS) as u32
    }

    /// Documents whose time is over, but what is deleted at the front of them.
    pub fn expired(&self, now: WallMs) -> Vec<u32> {
        let all = self.contents.settled_expiries();
        let before = self.claims_and_passed.load(Ordering::Acquire);
        let first = before as u32 as usize;
        let over = all[first..].partition_point(|(expires, _)| *expires <= now);
        let over = &all[first..first + over];
        let passed = over.iter().take_while(|(_, ordinal)| self.is_deleted(*ordinal)).count();
        if passed > 0 {
            // Unless something was claimed meanwhile, or another core was faster.
            let (order, failure) = (Ordering::AcqRel, Ordering::Relaxed);
            let now_passed = before + passed as u64;
            let _ = self.claims_and_passed.compare_exchange(before, now_passed, order, failure);
        }
        over[passed..].iter().map(|(_, ordinal)| *ordinal).collect()
    }

    /// By the owner of the document.
    pub fn delete(&self, ordinal: u32) {
        self.deleted.insert(ordinal);
    }

    pub fn is_deleted(&self, ordinal: u32) -> bool {
        self.deleted.contains(ordinal)
    }

    /// What is deleted by now.
    pub fn deleted(&self) -> Ordinals {
        self.deleted.copy()
    }

    pub fn live(&self) -> usize {
        self.len() - self.deleted.count()
    }

    /// So many are deleted that a rewrite pays: walks pass them, and they take memory.
    pub fn is_worn(&self) -> bool {
        (self.len() - self.live()) * VECTORS_A_DELETED > self.len()
    }

    /// Calls `look` with what a search looks at.
    pub fn viewed<T>(
        &self,
        allowed: Option<&Ordinals>,
        deleted: &Ordinals,
        look: impl FnOnce(View<'_>) -> T,
    ) -> Option<T> {
        let rows = self.contents.originals()?;
        Some(look(View { graph: &self.graph, originals: &rows, allowed, deleted }))
    }

    /// Frees about `count` documents of a part that nobody searches any more; false when the rest may be dropped.
    pub fn shed(&mut self, count: usize) -> bool {
        self.contents.shed(count)
    }

    pub fn memory_bytes(&self) -> u64 {
        self.contents.memory_bytes() + (self.graph.bytes() + self.len() * size_of::<u32>()) as u64
    }
}
