//! Where a record stands in the order of a shard's runs.

use crate::shard::key::Key;
use crate::shard::run::{Bounds, RunKey};
use crate::types::{CollectionId, TabletId};

/// Ordered as runs are: by collection, tablet, key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub collection: CollectionId,
    pub tablet: TabletId,
    pub key: Key,
}

/// From the first place to the last, both included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub first: Place,
    pub last: Place,
}

impl Span {
    pub fn contains(&self, place: &Place) -> bool {
        self.first <= *place && *place <= self.last
    }

    pub fn overlaps(&self, other: &Span) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// The smallest span with both in it.
    pub fn with(&self, other: &Span) -> Span {
        Span {
            first: self.first.clone().min(other.first.clone()),
            last: self.last.clone().max(other.last.clone()),
        }
    }

    /// The only tablet in it, when there is only one.
    pub fn only_tablet(&self) -> Option<TabletId> {
        (self.first.tablet == self.last.tablet).then_some(self.first.tablet)
    }
}

impl Span {
    pub fn from_bounds(bounds: &Bounds) -> Span {
        let place = |at: &RunKey| Place {
            collection: at.collection,
            tablet: at.tablet,
            key: Key::from_bytes(&at.key),
        };
        Span { first: place(&bounds.first), last: place(&bounds.last) }
    }
}
