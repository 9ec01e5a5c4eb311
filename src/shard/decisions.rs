//! What a shard decides to do for its own upkeep, and why: each decision is logged, and counted by its reason
//! for `/metrics`. Lives on one core.

use std::collections::BTreeMap;

use super::core::Core;

/// What is decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// What was written goes into runs.
    Seal,
    /// Runs are merged.
    Compaction,
    /// A run is read through for records whose time is over.
    Expiry,
    /// The index of a run is built anew.
    IndexRebuild,
    /// A collection is cut into tablets.
    Split,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Seal => "seal",
            Kind::Compaction => "compaction",
            Kind::Expiry => "expiry",
            Kind::IndexRebuild => "index_rebuild",
            Kind::Split => "split",
        }
    }
}

/// How often what was decided for which reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decisions {
    counts: BTreeMap<(Kind, &'static str), u64>,
}

impl Decisions {
    pub fn note(&mut self, kind: Kind, reason: &'static str) {
        *self.counts.entry((kind, reason)).or_default() += 1;
    }

    pub fn iter(&self) -> impl Iterator<Item = (Kind, &'static str, u64)> {
        self.counts.iter().map(|((kind, reason), count)| (*kind, *reason, *count))
    }
}

impl Core {
    pub fn decided(&self, kind: Kind, reason: &'static str) {
        tracing::info!(shard = %self.shard(), decision = kind.name(), reason, "upkeep");
        self.numbers.borrow_mut().decisions.note(kind, reason);
    }
}
