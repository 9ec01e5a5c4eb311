//! One direction of a connection: the bytes between a sender and a receiver.
//!
//! Invariant: bytes arrive once, in order, or (after a reset or a cut) not at all.

use std::collections::VecDeque;

use super::machine::Waiter;
use super::rng::Rng;
use crate::io::op::SendBuf;
use crate::limits;

/// What the two kernels hold of a stream that nobody reads: a sender with more than this waits.
const WINDOW_BYTES: u64 = 64 * 1024;

struct Sender {
    waiter: Waiter,
    buf: SendBuf,
    /// Place in the stream of the end of `buf`.
    end: u64,
}

#[derive(Default)]
pub(super) struct Pipe {
    bytes: VecDeque<u8>,
    senders: VecDeque<Sender>,
    /// Bytes that left the pipe.
    arrived: u64,
    /// The sender will send no more.
    pub finished: bool,
    /// The receiver throws away what arrives.
    pub discarding: bool,
    /// Nothing arrives any more, not even the end.
    pub cut: bool,
    /// The arrival of the next piece is an event to come.
    pub scheduled: bool,
}

impl Pipe {
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Nothing to tell the receiver.
    pub fn is_quiet(&self) -> bool {
        self.cut || (self.bytes.is_empty() && !self.finished)
    }

    pub fn send(&mut self, waiter: Waiter, buf: SendBuf) {
        if self.discarding {
            self.arrived += buf.bytes().len() as u64;
        } else {
            self.bytes.extend(buf.bytes());
        }
        let end = self.arrived + self.bytes.len() as u64;
        self.senders.push_back(Sender { waiter, buf, end });
    }

    /// Senders whose bytes are all on their way.
    pub fn take_sent(&mut self) -> Vec<(Waiter, SendBuf)> {
        let reach = self.arrived + WINDOW_BYTES;
        let count = self.senders.iter().take_while(|sender| sender.end <= reach).count();
        self.senders.drain(..count).map(|sender| (sender.waiter, sender.buf)).collect()
    }

    pub fn take_senders(&mut self) -> Vec<Waiter> {
        self.senders.drain(..).map(|sender| sender.waiter).collect()
    }

    /// The sender that asked to give up; its bytes stay on their way.
    pub fn cancel(&mut self, waiter: Waiter) -> bool {
        let before = self.senders.len();
        self.senders.retain(|sender| sender.waiter != waiter);
        self.senders.len() < before
    }

    /// The next piece: often all there is, often less.
    pub fn take_piece(&mut self, rng: &mut Rng) -> Vec<u8> {
        let most = self.bytes.len().min(limits::RECEIVE_BUFFER_BYTES);
        let len = if rng.coin() { most } else { rng.between(1, most as u64) as usize };
        self.arrived += len as u64;
        self.bytes.drain(..len).collect()
    }

    /// Throws away what is on its way.
    pub fn discard(&mut self) {
        self.arrived += self.bytes.len() as u64;
        self.bytes.clear();
    }
}
