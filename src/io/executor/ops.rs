//! Operations under way on one core: who waits for which, and what has arrived.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use crate::io::op::{Completion, Handle, Outcome, Token};

enum Slot {
    /// One completion is awaited.
    Single { outcome: Option<Outcome>, waker: Option<Waker> },
    /// Several may come; `ended` after the last.
    Stream { arrived: VecDeque<Outcome>, ended: bool, waker: Option<Waker> },
    /// Nobody waits any more; the slot stays until the driver lets go of the operation.
    Orphan,
}

#[derive(Default)]
pub(crate) struct OpTable {
    slots: slab::Slab<Slot>,
}

impl OpTable {
    pub fn single(&mut self) -> Token {
        self.insert(Slot::Single { outcome: None, waker: None })
    }

    pub fn stream(&mut self) -> Token {
        self.insert(Slot::Stream { arrived: VecDeque::new(), ended: false, waker: None })
    }

    pub fn orphan(&mut self) -> Token {
        self.insert(Slot::Orphan)
    }

    fn insert(&mut self, slot: Slot) -> Token {
        Token(self.slots.insert(slot) as u64)
    }

    /// Takes a completion. Returns a handle that nobody will ever close otherwise.
    #[must_use]
    pub fn complete(&mut self, completion: Completion) -> Option<Handle> {
        let Completion { token, outcome, more } = completion;
        let index = token.0 as usize;
        let slot = self.slots.get_mut(index).expect("a completion for an operation never submitted");
        match slot {
            Slot::Single { outcome: kept, waker } => {
                assert!(!more && kept.is_none(), "a second completion of a single operation");
                *kept = Some(outcome);
                wake(waker);
                None
            }
            Slot::Stream { arrived, ended, waker } => {
                // Who waits has found it empty. The waker stays: the same task will wait for the next.
                if arrived.is_empty() {
                    waker.iter().for_each(Waker::wake_by_ref);
                }
                arrived.push_back(outcome);
                *ended = !more;
                None
            }
            Slot::Orphan => {
                if !more {
                    self.slots.remove(index);
                }
                handle_in(outcome)
            }
        }
    }

    pub fn poll_single(&mut self, token: Token, cx: &mut Context<'_>) -> Poll<Outcome> {
        let index = token.0 as usize;
        let Some(Slot::Single { outcome, waker }) = self.slots.get_mut(index) else {
            unreachable!("a single operation polled after its end");
        };
        let Some(outcome) = outcome.take() else {
            remember(waker, cx);
            return Poll::Pending;
        };
        self.slots.remove(index);
        Poll::Ready(outcome)
    }

    /// `None` when the stream has ended and everything was taken.
    pub fn poll_stream(&mut self, token: Token, cx: &mut Context<'_>) -> Poll<Option<Outcome>> {
        let Some(Slot::Stream { arrived, ended, waker }) = self.slots.get_mut(token.0 as usize) else {
            unreachable!("a stream polled after it was given up");
        };
        match arrived.pop_front() {
            Some(outcome) => Poll::Ready(Some(outcome)),
            None if *ended => Poll::Ready(None),
            None => {
                remember(waker, cx);
                Poll::Pending
            }
        }
    }

    /// The waiter is gone. Returns whether the operation is still under way, and the handles that
    /// nobody took.
    pub fn abandon(&mut self, token: Token) -> (bool, Vec<Handle>) {
        let index = token.0 as usize;
        let Some(slot) = self.slots.get_mut(index) else { return (false, Vec::new()) };
        let (under_way, arrived) = match std::mem::replace(slot, Slot::Orphan) {
            Slot::Single { outcome, .. } => (outcome.is_none(), outcome.into_iter().collect()),
            Slot::Stream { arrived, ended, .. } => (!ended, arrived),
            Slot::Orphan => unreachable!("an operation abandoned twice"),
        };
        if !under_way {
            self.slots.remove(index);
        }
        (under_way, arrived.into_iter().filter_map(handle_in).collect())
    }
}

fn handle_in(outcome: Outcome) -> Option<Handle> {
    match outcome {
        Outcome::Opened(handle)
        | Outcome::Listening { listener: handle, .. }
        | Outcome::Accepted { socket: handle, .. } => Some(handle),
        _ => None,
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

fn remember(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(kept) => kept.clone_from(cx.waker()),
        None => *waker = Some(cx.waker().clone()),
    }
}
