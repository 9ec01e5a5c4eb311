//! The word to stop taking requests, for one core.

use std::cell::Cell;
use std::rc::Rc;

use crate::io::executor::sync::Signal;

/// Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Drain {
    begun: Rc<Cell<bool>>,
    signal: Signal,
}

impl Drain {
    /// No way back.
    pub fn begin(&self) {
        self.begun.set(true);
        self.signal.notify();
    }

    pub fn is_begun(&self) -> bool {
        self.begun.get()
    }

    /// Completes when it has begun.
    pub async fn begun(&self) {
        while !self.is_begun() {
            self.signal.wait().await;
        }
    }
}
