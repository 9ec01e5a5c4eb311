//! The state of a shard and the manifest that keeps it.

use std::cell::{Ref, RefCell};

use super::state::ShardState;
use crate::io::executor::sync::Signal;
use crate::io::manifest::{Manifest, ManifestError};

pub struct Ledger {
    /// Taken out while a commit is under way: commits are serial.
    manifest: RefCell<Option<Manifest>>,
    back: Signal,
    /// As last committed.
    state: RefCell<ShardState>,
}

impl Ledger {
    pub fn new(manifest: Manifest, state: ShardState) -> Ledger {
        Ledger { manifest: RefCell::new(Some(manifest)), back: Signal::default(), state: RefCell::new(state) }
    }

    pub fn state(&self) -> Ref<'_, ShardState> {
        self.state.borrow()
    }

    /// Changes the state; it is the shard's when this returns.
    pub async fn commit(&self, change: impl FnOnce(&mut ShardState)) -> Result<(), ManifestError> {
        let mut manifest = loop {
            let back = self.back.wait();
            if let Some(manifest) = self.manifest.borrow_mut().take() {
                break manifest;
            }
            back.await;
        };
        let mut state = self.state.borrow().clone();
        change(&mut state);
        let committed = manifest.commit(&state.encode()).await;
        *self.manifest.borrow_mut() = Some(manifest);
        if committed.is_ok() {
            *self.state.borrow_mut() = state;
        }
        self.back.notify();
        committed
    }
}
