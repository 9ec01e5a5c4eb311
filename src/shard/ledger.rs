//! The state of a shard and the manifest that keeps it.

use std::cell::{Cell, Ref, RefCell};

use super::state::ShardState;
use crate::io::executor::sync::Signal;
use crate::io::manifest::{Manifest, ManifestError};
use crate::limits;

pub struct Ledger {
    /// Taken out while a commit is under way: commits are serial.
    manifest: RefCell<Option<Manifest>>,
    back: Signal,
    /// As last committed.
    state: RefCell<ShardState>,
    /// A state of more bytes is refused, and nothing is written.
    pub state_bytes_max: Cell<usize>,
}

impl Ledger {
    pub fn new(manifest: Manifest, state: ShardState) -> Ledger {
        Ledger {
            manifest: RefCell::new(Some(manifest)),
            back: Signal::default(),
            state: RefCell::new(state),
            state_bytes_max: Cell::new(limits::MANIFEST_STATE_BYTES_MAX),
        }
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
        let bytes = state.encode();
        let committed = match bytes.len() <= self.state_bytes_max.get() {
            true => manifest.commit(&bytes).await,
            false => Err(ManifestError::TooLarge(bytes.len())),
        };
        *self.manifest.borrow_mut() = Some(manifest);
        if committed.is_ok() {
            *self.state.borrow_mut() = state;
        }
        self.back.notify();
        committed
    }
}
