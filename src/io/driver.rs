//! The seam between the executor and a world.
//!
//! One driver serves one core. There are [`crate::io::uring`] (a kernel ring), [`crate::io::sim`] (a seeded
//! simulation) and, with the feature of that name, `crate::io::glommio`. Everything above this trait is the same code
//! in all of them.

use std::sync::Arc;

use super::op::{Completion, Op, Token};
use crate::types::{Mono, WallMs};

/// How long [`Driver::poll`] may wait for a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Park {
    /// Not at all: collect what is there.
    No,
    /// Until a completion, a doorbell, or this moment.
    Until(Mono),
    /// Until a completion or a doorbell.
    Forever,
}

pub trait Driver {
    /// Takes an operation. It may start now or at the next `poll`; operations submitted together may
    /// complete in any order.
    fn submit(&mut self, token: Token, op: Op);

    /// Asks for an operation to end early. Its last completion still arrives, possibly with
    /// `ECANCELED`, possibly as if nothing had been asked.
    fn cancel(&mut self, token: Token);

    /// Starts what was submitted, waits as `park` says, and appends the completions that are there.
    fn poll(&mut self, park: Park, completions: &mut Vec<Completion>);

    /// Monotonic time, the same on all cores of a node.
    fn now(&self) -> Mono;

    fn wall(&self) -> WallMs;

    /// Processor time used by this core's thread so far, in nanoseconds.
    fn thread_cpu_ns(&self) -> u64;

    fn random(&mut self) -> u64;

    /// Which of `ready` runnable tasks goes next: always the first on a real core, any in the simulator.
    fn pick(&mut self, ready: usize) -> usize {
        let _ = ready;
        0
    }

    /// The bell that other cores ring to wake this one out of `poll`.
    fn doorbell(&self) -> Arc<dyn Doorbell>;
}

/// Wakes one core from another.
///
/// The protocol has no lost wake-up: a sleeper calls `arm`, then looks at its inboxes once more, then
/// parks; a sender pushes to the inbox, then calls `ring`, which costs a system call only when armed.
pub trait Doorbell: Send + Sync {
    /// The owner is about to park.
    fn arm(&self);
    /// The owner is awake again.
    fn disarm(&self);
    /// Called by any core after it put something into one of the owner's inboxes.
    fn ring(&self);
}
