//! Tells all cores that the owner of a tablet has nothing to search that they do not have.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::types::Epoch;

/// Invariant: it is out before the owner has a document of its own that is visible, and before a map is in force there by
/// which the tablet is smaller or gone.
#[derive(Debug, Default)]
pub struct Beacon {
    /// Of the tablet, when it is lit; 0 when its owner is to be asked.
    epoch: AtomicU64,
}

impl Beacon {
    pub fn light(&self, epoch: Epoch) {
        self.epoch.store(epoch.0, Ordering::Release);
    }

    pub fn put_out(&self) {
        self.epoch.store(Epoch::ZERO.0, Ordering::Release);
    }

    pub fn is_lit(&self, epoch: Epoch) -> bool {
        epoch > Epoch::ZERO && self.epoch.load(Ordering::Acquire) == epoch.0
    }
}
