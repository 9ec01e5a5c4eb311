//! The bounded mailboxes of a core.
//!
//! Between each two cores lie two rings in each direction: one for calls and one for answers to them. A full ring of
//! calls refuses the call at once ([`Full`], a 503 to the client). A ring of answers is never full: a core has at most
//! [`frames_per_pair`] calls to another without an answer, each gets one answer, and the ring has that many places. So
//! nothing is lost and nobody waits for room.
//!
//! A ring has one sender and one receiver, and a frame is there or not: whoever looks never waits for a sender that was
//! interrupted in the middle. A queue with many senders has that wait: under load, cores were seen to spend milliseconds
//! in it while the other core's processor did something else.
//!
//! Invariant: `answers in a ring <= open calls of its receiver to its sender <= frames_per_pair`.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rtrb::{Consumer, Producer, PushError, RingBuffer};

use super::message::{Frame, Reply, Request};
use crate::io::driver::Doorbell;
use crate::limits;
use crate::types::ShardId;

/// The ring to the other core, or this core's share of open calls to it, has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Calls that one core may have open to one other.
pub fn frames_per_pair(shards: usize) -> usize {
    (limits::INBOX_FRAMES_MAX / shards).max(limits::PAIR_FRAMES_MIN)
}

/// Set by the core itself as soon as its driver is there.
type Bell = Arc<OnceLock<Arc<dyn Doorbell>>>;

/// A bit for each core that has put something in since the owner looked.
type Knocks = Arc<AtomicU64>;
const _: () = assert!(limits::SHARDS_MAX <= u64::BITS as usize);

/// The rings from all cores to one.
struct Inbox<T> {
    rings: Vec<RefCell<Consumer<Frame<T>>>>,
    knocks: Knocks,
    /// Rings that may have something.
    filled: Cell<u64>,
    /// The core whose turn it is.
    turn: Cell<u32>,
}

impl<T> Inbox<T> {
    /// The next frame, of each core in its turn.
    fn next(&self) -> Option<Frame<T>> {
        // Looked at before it is taken: an idle core does not pull the line from those that write to it.
        if self.knocks.load(Ordering::Relaxed) != 0 {
            self.filled.set(self.filled.get() | self.knocks.swap(0, Ordering::Acquire));
        }
        while self.filled.get() != 0 {
            let behind = self.filled.get().rotate_right(self.turn.get()).trailing_zeros();
            let from = (self.turn.get() + behind) % u64::BITS;
            if let Ok(frame) = self.rings[from as usize].borrow_mut().pop() {
                self.turn.set((from + 1) % u64::BITS);
                return Some(frame);
            }
            self.filled.set(self.filled.get() & !(1 << from));
        }
        None
    }

    fn waiting(&self) -> usize {
        self.rings.iter().map(|ring| ring.borrow().slots()).sum()
    }
}

/// The ring from one core to another.
struct Outbox<T> {
    ring: RefCell<Producer<Frame<T>>>,
    knocks: Knocks,
    bell: Bell,
}

impl<T> Outbox<T> {
    fn put(&self, frame: Frame<T>) -> Result<(), Full> {
        let mine = 1 << frame.from.0;
        self.ring.borrow_mut().push(frame).map_err(|PushError::Full(_)| Full)?;
        self.knocks.fetch_or(mine, Ordering::Release);
        if let Some(bell) = self.bell.get() {
            bell.ring();
        }
        Ok(())
    }

    /// Whether the other core is gone: its process is ending.
    fn is_abandoned(&self) -> bool {
        self.ring.borrow().is_abandoned()
    }
}

/// One core's end of all mailboxes.
pub struct Mailbox {
    shard: ShardId,
    bell: Bell,
    calls: Inbox<Request>,
    answers: Inbox<Reply>,
    calls_to: Vec<Outbox<Request>>,
    answers_to: Vec<Outbox<Reply>>,
}

/// The mailboxes of a node with this many cores, in the order of their shards.
pub fn mailboxes(shards: usize) -> Vec<Mailbox> {
    assert!((1..=limits::SHARDS_MAX).contains(&shards), "{shards} shards");
    let bells: Vec<Bell> = (0..shards).map(|_| Bell::default()).collect();
    let (calls, calls_to) = connect(&bells);
    let (answers, answers_to) = connect(&bells);
    let ends = calls.into_iter().zip(calls_to).zip(answers.into_iter().zip(answers_to));
    ends.zip(bells)
        .enumerate()
        .map(|(index, (((calls, calls_to), (answers, answers_to)), bell))| Mailbox {
            shard: ShardId(index as u16),
            bell,
            calls,
            answers,
            calls_to,
            answers_to,
        })
        .collect()
}

/// A ring from each core to each: for every core its inbox, and its outboxes in the order of the receivers.
fn connect<T>(bells: &[Bell]) -> (Vec<Inbox<T>>, Vec<Vec<Outbox<T>>>) {
    let places = frames_per_pair(bells.len());
    let mut outboxes: Vec<Vec<Outbox<T>>> = bells.iter().map(|_| Vec::new()).collect();
    let inboxes = bells
        .iter()
        .map(|bell| {
            let knocks = Knocks::default();
            let mut rings = Vec::new();
            for to in &mut outboxes {
                let (ring, end) = RingBuffer::new(places);
                rings.push(RefCell::new(end));
                to.push(Outbox { ring: RefCell::new(ring), knocks: knocks.clone(), bell: bell.clone() });
            }
            Inbox { rings, knocks, filled: Cell::default(), turn: Cell::default() }
        })
        .collect();
    (inboxes, outboxes)
}

impl Mailbox {
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    pub fn shards(&self) -> usize {
        self.calls_to.len()
    }

    /// Others ring this bell from now on.
    pub fn set_bell(&self, bell: Arc<dyn Doorbell>) {
        let unset = self.bell.set(bell).is_ok();
        assert!(unset, "the bell of a core is set once");
    }

    pub fn call(&self, to: ShardId, call: u32, request: Request) -> Result<(), Full> {
        let outbox = &self.calls_to[usize::from(to.0)];
        if outbox.is_abandoned() {
            return Err(Full);
        }
        outbox.put(Frame { from: self.shard, call, body: request })
    }

    pub fn answer(&self, to: ShardId, call: u32, reply: Reply) {
        let outbox = &self.answers_to[usize::from(to.0)];
        let sent = outbox.put(Frame { from: self.shard, call, body: reply });
        assert!(sent.is_ok() || outbox.is_abandoned(), "an answer without an open call");
    }

    pub fn next_call(&self) -> Option<Frame<Request>> {
        self.calls.next()
    }

    pub fn next_answer(&self) -> Option<Frame<Reply>> {
        self.answers.next()
    }

    /// Frames that wait for this core.
    pub fn waiting(&self) -> usize {
        self.calls.waiting() + self.answers.waiting()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats_calls(mailbox: &Mailbox, to: ShardId, calls: std::ops::Range<u32>) {
        for call in calls {
            mailbox.call(to, call, Request::Stats).expect("there is room");
        }
    }

    fn taken(mailbox: &Mailbox) -> Vec<(u16, u32)> {
        std::iter::from_fn(|| mailbox.next_call()).map(|frame| (frame.from.0, frame.call)).collect()
    }

    #[test]
    fn frames_of_one_core_keep_their_order_and_cores_take_turns() {
        let cores = mailboxes(3);
        stats_calls(&cores[1], ShardId(0), 0..3);
        stats_calls(&cores[2], ShardId(0), 10..12);
        assert_eq!(cores[0].waiting(), 5);
        assert_eq!(taken(&cores[0]), [(1, 0), (2, 10), (1, 1), (2, 11), (1, 2)]);
        stats_calls(&cores[2], ShardId(0), 12..13);
        assert_eq!(taken(&cores[0]), [(2, 12)]);
        assert!(taken(&cores[1]).is_empty());
    }

    #[test]
    fn a_busy_core_does_not_keep_another_from_its_turn() {
        let cores = mailboxes(2);
        stats_calls(&cores[0], ShardId(0), 0..2);
        assert_eq!(cores[0].next_call().map(|frame| frame.call), Some(0));
        stats_calls(&cores[1], ShardId(0), 7..8);
        stats_calls(&cores[0], ShardId(0), 2..3);
        assert_eq!(taken(&cores[0]), [(1, 7), (0, 1), (0, 2)]);
    }

    #[test]
    fn a_full_ring_refuses_and_one_that_nobody_reads_any_more_too() {
        let mut cores = mailboxes(2);
        let room = frames_per_pair(2) as u32;
        stats_calls(&cores[0], ShardId(1), 0..room);
        assert_eq!(cores[0].call(ShardId(1), room, Request::Stats), Err(Full));
        assert_eq!(taken(&cores[1]).len(), room as usize);
        stats_calls(&cores[0], ShardId(1), 0..1);
        drop(cores.pop());
        assert_eq!(cores[0].call(ShardId(1), 1, Request::Stats), Err(Full));
        cores[0].answer(ShardId(1), 0, Reply::Done(Ok(())));
    }

    #[test]
    fn frames_cross_threads_with_nothing_lost() {
        const CALLS: u32 = 100_000;
        let mut cores = mailboxes(2);
        let other = cores.pop().expect("two");
        let sender = std::thread::spawn(move || {
            let mut call = 0;
            while call < CALLS {
                call += u32::from(other.call(ShardId(0), call, Request::Stats).is_ok());
            }
            other
        });
        let mut next = 0;
        while next < CALLS {
            if let Some(frame) = cores[0].next_call() {
                assert_eq!(frame.call, next);
                next += 1;
            }
        }
        drop(sender.join());
        assert!(cores[0].next_call().is_none());
    }
}
