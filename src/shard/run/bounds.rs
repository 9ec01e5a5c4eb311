//! Which keys a run holds, for whoever chooses among runs.

use crate::types::{CollectionId, TabletId};

/// A place in the order of a run. Field order is sort order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunKey {
    pub collection: CollectionId,
    pub tablet: TabletId,
    pub key: Vec<u8>,
}

/// The first and the last entry of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub first: RunKey,
    pub last: RunKey,
}

impl Bounds {
    pub(super) fn of(collection: CollectionId, tablet: TabletId, key: &[u8]) -> Bounds {
        let only = RunKey { collection, tablet, key: key.to_vec() };
        Bounds { first: only.clone(), last: only }
    }

    /// Another last entry; keeps the memory of the one before.
    pub(super) fn extend(&mut self, collection: CollectionId, tablet: TabletId, key: &[u8]) {
        self.last.key.clear();
        self.last.key.extend_from_slice(key);
        (self.last.collection, self.last.tablet) = (collection, tablet);
    }
}
