//! The bounded mailboxes of a core.
//!
//! Every core has two inboxes: one for calls of other cores and one for answers to its own calls. A
//! full call inbox refuses the call at once ([`Full`], a 503 to the client). The inbox of answers is
//! never full: a core has at most [`limits::INBOX_FRAMES_MAX`] calls without an answer, each gets one
//! answer, and the inbox has that many places. So nothing is lost and nobody waits for room.
//!
//! Invariant: `answers in the inbox <= open calls <= INBOX_FRAMES_MAX`.

use std::sync::{Arc, OnceLock};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::message::{Frame, Reply, Request};
use crate::io::driver::Doorbell;
use crate::limits;
use crate::types::ShardId;

/// The call inbox of the other core, or this core's table of open calls, has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// How others reach one core.
#[derive(Clone)]
struct Address {
    calls: Sender<Frame<Request>>,
    answers: Sender<Frame<Reply>>,
    /// Set by the core itself as soon as its driver is there.
    bell: Arc<OnceLock<Arc<dyn Doorbell>>>,
}

impl Address {
    fn ring(&self) {
        if let Some(bell) = self.bell.get() {
            bell.ring();
        }
    }
}

/// One core's end of all mailboxes.
pub struct Mailbox {
    shard: ShardId,
    calls: Receiver<Frame<Request>>,
    answers: Receiver<Frame<Reply>>,
    addresses: Vec<Address>,
}

/// The mailboxes of a node with this many cores, in the order of their shards.
pub fn mailboxes(shards: usize) -> Vec<Mailbox> {
    assert!((1..=limits::SHARDS_MAX).contains(&shards), "{shards} shards");
    let mut addresses = Vec::new();
    let mut inboxes = Vec::new();
    for _ in 0..shards {
        let (calls, calls_in) = bounded(limits::INBOX_FRAMES_MAX);
        let (answers, answers_in) = bounded(limits::INBOX_FRAMES_MAX);
        addresses.push(Address { calls, answers, bell: Arc::default() });
        inboxes.push((calls_in, answers_in));
    }
    let number = |index| ShardId(index as u16);
    inboxes
        .into_iter()
        .enumerate()
        .map(|(index, (calls, answers))| Mailbox {
            shard: number(index),
            calls,
            answers,
            addresses: addresses.clone(),
        })
        .collect()
}

impl Mailbox {
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    pub fn shards(&self) -> usize {
        self.addresses.len()
    }

    /// Others ring this bell from now on.
    pub fn set_bell(&self, bell: Arc<dyn Doorbell>) {
        let unset = self.addresses[usize::from(self.shard.0)].bell.set(bell).is_ok();
        assert!(unset, "the bell of a core is set once");
    }

    pub fn call(&self, to: ShardId, call: u32, request: Request) -> Result<(), Full> {
        let address = &self.addresses[usize::from(to.0)];
        match address.calls.try_send(Frame { from: self.shard, call, body: request }) {
            Ok(()) => {
                address.ring();
                Ok(())
            }
            // A core that is gone takes no more calls either; its process is ending.
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(Full),
        }
    }

    pub fn answer(&self, to: ShardId, call: u32, reply: Reply) {
        let address = &self.addresses[usize::from(to.0)];
        match address.answers.try_send(Frame { from: self.shard, call, body: reply }) {
            Ok(()) => address.ring(),
            Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => unreachable!("an answer without an open call"),
        }
    }

    pub fn next_call(&self) -> Option<Frame<Request>> {
        self.calls.try_recv().ok()
    }

    pub fn next_answer(&self) -> Option<Frame<Reply>> {
        self.answers.try_recv().ok()
    }

    /// Frames that wait in both inboxes.
    pub fn waiting(&self) -> usize {
        self.calls.len() + self.answers.len()
    }
}
