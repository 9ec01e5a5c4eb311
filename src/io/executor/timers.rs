//! Timers of one core, in the order in which they fire.

use std::collections::BTreeMap;
use std::task::Waker;

use crate::types::Mono;

#[derive(Default)]
pub(crate) struct Timers {
    waiting: BTreeMap<(Mono, u64), Waker>,
    created: u64,
}

impl Timers {
    pub fn add(&mut self, at: Mono, waker: Waker) -> u64 {
        self.created += 1;
        self.waiting.insert((at, self.created), waker);
        self.created
    }

    /// Keeps the latest waker of a timer that has not fired.
    pub fn update(&mut self, at: Mono, id: u64, waker: &Waker) {
        if let Some(kept) = self.waiting.get_mut(&(at, id)) {
            kept.clone_from(waker);
        }
    }

    pub fn remove(&mut self, at: Mono, id: u64) {
        self.waiting.remove(&(at, id));
    }

    pub fn next_deadline(&self) -> Option<Mono> {
        self.waiting.first_key_value().map(|((at, _), _)| *at)
    }

    /// Wakes everything due at `now`; true when there was something.
    pub fn fire(&mut self, now: Mono) -> bool {
        let mut any = false;
        while self.next_deadline().is_some_and(|at| at <= now) {
            if let Some((_, waker)) = self.waiting.pop_first() {
                waker.wake();
                any = true;
            }
        }
        any
    }
}
