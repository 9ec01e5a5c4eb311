//! The learned range router: keeps what shards hold, and what is asked of them, even.
//!
//! Every shard tells what it has of each tablet ([`load`]). From that, from quantiles of the keys and from what was
//! asked lately, [`plan`] says which ranges should be cut, moved or merged, and why: a pure function. The
//! [`driver`] on shard 0 asks it every few seconds and carries out one step at a time
//! ([`super::reshape`]), in the background.
//!
//! Where writes always go beyond the keys that are there, the range is cut ahead of them: no record has to be
//! moved, and the growing end goes to another shard.
//!
//! Must not know: how records get to another shard.

pub mod calls;
pub mod driver;
pub mod load;
pub mod plan;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::heat::Front;
use super::key::Key;
use crate::limits;
use crate::types::{CollectionId, Epoch, Mono, TabletId};

/// What the balancer is told at its start.
#[derive(Clone, Copy, Debug)]
pub struct BalanceOptions {
    /// Zero: it only does what it is asked for.
    pub period: Duration,
    /// A shard that is ahead of the mean by less has nothing to give away.
    pub bytes_min: u64,
    /// Requests in a second below which heat does not matter.
    pub heat_min: u64,
}

impl Default for BalanceOptions {
    fn default() -> BalanceOptions {
        BalanceOptions {
            period: limits::BALANCE_PERIOD,
            bytes_min: limits::BALANCE_BYTES_MIN,
            heat_min: limits::BALANCE_HEAT_REQUESTS_MIN,
        }
    }
}

/// What a shard has of a tablet.
#[derive(Clone, Debug)]
pub struct TabletLoad {
    pub tablet: TabletId,
    pub collection: CollectionId,
    pub records: u64,
    /// They are just being counted anew: what is told of them is wrong.
    pub counting: bool,
    /// Estimated from the records and from what such records take: obsolete ones do not count.
    pub bytes: u64,
    pub reads_per_s: f64,
    pub writes_per_s: f64,
    /// Sorted, of what was read and written lately; a key that was asked for often stands there often.
    pub asked: Vec<Key>,
    pub front: Option<Front>,
}

/// Why a step is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Keys that grow fill one shard.
    Growing,
    /// A shard has more than its share.
    Size,
    /// A shard is asked for more than its share.
    Heat,
    /// The collection has so many tablets that there would be no room for others.
    Tablets,
}

impl Reason {
    pub const ALL: [Reason; 4] = [Reason::Growing, Reason::Size, Reason::Heat, Reason::Tablets];

    pub fn name(self) -> &'static str {
        match self {
            Reason::Growing => "growing_keys",
            Reason::Size => "size",
            Reason::Heat => "heat",
            Reason::Tablets => "many_tablets",
        }
    }
}

/// Shard 0: what the balancer has done in this life.
#[derive(Default)]
pub struct Desk {
    pub steps: RefCell<BTreeMap<Reason, u64>>,
    pub failures: Cell<u64>,
    /// Largest shard over the mean, as seen last.
    pub ratio: Cell<f64>,
    /// When steps were taken, and the epochs of the maps before them.
    recent: RefCell<VecDeque<(Mono, Epoch)>>,
    /// Two at a time would work against each other.
    busy: Cell<bool>,
}

impl Desk {
    fn note_step(&self, reason: Reason, now: Mono, before: Epoch) {
        *self.steps.borrow_mut().entry(reason).or_default() += 1;
        self.recent.borrow_mut().push_back((now, before));
    }

    /// Tablets of a later epoch have come about just now.
    fn settled_epoch(&self, now: Mono) -> Epoch {
        let mut recent = self.recent.borrow_mut();
        while recent.front().is_some_and(|(at, _)| at.after(limits::BALANCE_COOL_DOWN) <= now) {
            recent.pop_front();
        }
        recent.front().map_or(Epoch(u64::MAX), |(_, epoch)| *epoch)
    }
}
