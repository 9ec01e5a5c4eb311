//! What all cores may know of a tablet without asking its owner: by which map it serves, and whether it has anything to
//! search that they do not have.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::types::Epoch;

/// Invariant: it is not lit when the owner has a document of its own that is visible, and it tells of no map by which the
/// owner does not serve any more. The owner alone changes it.
#[derive(Debug, Default)]
pub struct Beacon {
    /// Twice the epoch of the tablet, and 1 when it is lit; 0 when only the owner can tell.
    state: AtomicU64,
}

impl Beacon {
    /// The tablet serves by the map of this epoch.
    pub fn show(&self, epoch: Epoch, is_lit: bool) {
        self.state.store(epoch.0 << 1 | u64::from(is_lit), Ordering::Release);
    }

    /// There is a document that others do not have.
    pub fn put_out(&self) {
        self.state.fetch_and(!1, Ordering::Release);
    }

    /// Another map comes into force.
    pub fn hide(&self) {
        self.state.store(0, Ordering::Release);
    }

    pub fn is_in_force(&self, epoch: Epoch) -> bool {
        epoch > Epoch::ZERO && self.state.load(Ordering::Acquire) >> 1 == epoch.0
    }

    /// The owner has nothing that is not shared.
    pub fn is_lit(&self, epoch: Epoch) -> bool {
        epoch > Epoch::ZERO && self.state.load(Ordering::Acquire) == epoch.0 << 1 | 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_of_one_map_only() {
        let beacon = Beacon::default();
        assert!(!beacon.is_lit(Epoch::ZERO) && !beacon.is_in_force(Epoch::ZERO));
        beacon.show(Epoch(3), true);
        assert!(beacon.is_lit(Epoch(3)) && beacon.is_in_force(Epoch(3)) && !beacon.is_in_force(Epoch(4)));
        beacon.put_out();
        assert!(!beacon.is_lit(Epoch(3)) && beacon.is_in_force(Epoch(3)));
        beacon.hide();
        assert!(!beacon.is_in_force(Epoch(3)));
    }
}
