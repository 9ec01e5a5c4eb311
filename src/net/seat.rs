//! The places of a core's connections: what each is doing and since when.
//!
//! Connections set no timers. They note what they wait for; a sweep looks at all of them twice a second
//! and wakes those whose time is up. A drain wakes all; those that it waits for in vain are cut.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use crate::io::executor::sync::Signal;
use crate::limits;
use crate::types::Mono;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Waits for the first byte of a request.
    Idle,
    /// A head has begun.
    Head,
    /// A body has begun.
    Body,
    /// The engine has the request.
    Answering,
    /// The peer has to take an answer.
    Sending,
    /// The last answer is out; what still comes is thrown away.
    Lingering,
}

impl Doing {
    /// How long it may take; the engine always answers.
    fn limit(self) -> Option<Duration> {
        match self {
            Doing::Idle => Some(limits::KEEP_ALIVE_TIMEOUT),
            Doing::Head => Some(limits::HEAD_TIMEOUT),
            Doing::Body => Some(limits::BODY_TIMEOUT),
            Doing::Answering => None,
            Doing::Sending => Some(limits::SEND_TIMEOUT),
            Doing::Lingering => Some(limits::LINGER_TIMEOUT),
        }
    }
}

/// One connection's place.
pub struct Seat {
    doing: Cell<Doing>,
    since: Cell<Mono>,
    /// Bytes of a body since `since`.
    progress_bytes: Cell<usize>,
    /// Bytes of an unfinished request that the connection keeps.
    held_bytes: Cell<usize>,
    /// Bytes set aside for a large answer of the connection.
    answer_bytes: Cell<usize>,
    expired: Cell<bool>,
    draining: Cell<bool>,
    cut: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Seat {
    fn new(now: Mono) -> Seat {
        Seat {
            doing: Cell::new(Doing::Idle),
            since: Cell::new(now),
            progress_bytes: Cell::new(0),
            held_bytes: Cell::new(0),
            answer_bytes: Cell::new(0),
            expired: Cell::new(false),
            draining: Cell::new(false),
            cut: Cell::new(false),
            waker: RefCell::default(),
        }
    }

    /// Time runs from the first call for what is done, not from repetitions.
    pub fn enter(&self, doing: Doing, now: Mono) {
        if self.doing.replace(doing) != doing {
            self.restart(now);
        }
    }

    /// Time runs anew.
    pub fn restart(&self, now: Mono) {
        self.since.set(now);
        self.progress_bytes.set(0);
        self.expired.set(false);
    }

    /// Bytes of a body arrived: enough of them start its time anew, a trickle does not.
    pub fn made_progress(&self, bytes: usize, now: Mono) {
        self.progress_bytes.set(self.progress_bytes.get() + bytes);
        if self.doing.get() == Doing::Body && self.progress_bytes.get() >= limits::BODY_PROGRESS_BYTES {
            self.restart(now);
        }
    }

    /// Whether the time for what is done is over; if not, the task is woken when it is, or at a drain.
    pub fn poll_expired(&self, cx: &Context<'_>) -> bool {
        if self.expired.get() {
            return true;
        }
        match &mut *self.waker.borrow_mut() {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        false
    }

    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// The peer is not waited for any more.
    pub fn is_cut(&self) -> bool {
        self.cut.get()
    }

    fn check(&self, now: Mono) {
        let limit = self.doing.get().limit();
        if limit.is_some_and(|limit| self.since.get().after(limit) <= now) {
            self.expired.set(true);
            self.wake();
        }
    }

    fn drain(&self) {
        self.draining.set(true);
        self.wake();
    }

    /// The time for what is done is over, and for nothing else there is any but for last words.
    fn cut(&self) {
        self.cut.set(true);
        self.expired.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// All places of a core.
#[derive(Clone)]
pub struct Seats {
    inner: Rc<SeatsInner>,
}

struct SeatsInner {
    taken: RefCell<slab::Slab<Rc<Seat>>>,
    left: Signal,
    /// For unfinished requests, and as much for large answers.
    room_bytes: usize,
    /// Of `room_bytes`, what each connection may have whatever the others keep.
    share_bytes: Cell<usize>,
    /// Of all connections.
    held_bytes: Cell<usize>,
    answer_bytes: Cell<usize>,
}

impl SeatsInner {
    /// Many connections have less each.
    fn share_out(&self) {
        let share = self.room_bytes / self.taken.borrow().len().max(1);
        self.share_bytes.set(share.clamp(limits::UNREAD_BYTES_MIN, limits::UNREAD_BYTES_MAX));
    }
}

impl Seats {
    /// `room_bytes`: for unfinished requests, and as much for large answers.
    pub fn new(room_bytes: usize) -> Seats {
        let inner = SeatsInner {
            taken: RefCell::default(),
            left: Signal::default(),
            room_bytes,
            share_bytes: Cell::new(limits::UNREAD_BYTES_MAX),
            held_bytes: Cell::new(0),
            answer_bytes: Cell::new(0),
        };
        Seats { inner: Rc::new(inner) }
    }

    /// A place for a new connection, given up when the guard is dropped.
    pub fn take(&self, now: Mono) -> SeatGuard {
        let seat = Rc::new(Seat::new(now));
        let key = self.inner.taken.borrow_mut().insert(seat.clone());
        self.inner.share_out();
        SeatGuard { seats: self.clone(), key, seat }
    }

    pub fn len(&self) -> usize {
        self.inner.taken.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Wakes the connections whose time is up.
    pub fn sweep(&self, now: Mono) {
        self.inner.taken.borrow().iter().for_each(|(_, seat)| seat.check(now));
    }

    /// Tells every connection to end as soon as what it has begun is answered.
    pub fn drain(&self) {
        self.inner.taken.borrow().iter().for_each(|(_, seat)| seat.drain());
    }

    /// Ends the connections that are left, whatever they wait for of their peers.
    pub fn cut(&self) {
        self.inner.taken.borrow().iter().for_each(|(_, seat)| seat.cut());
    }

    /// Completes when nobody is left.
    pub async fn emptied(&self) {
        while !self.is_empty() {
            self.inner.left.wait().await;
        }
    }
}

/// A taken place.
pub struct SeatGuard {
    seats: Seats,
    key: usize,
    seat: Rc<Seat>,
}

impl SeatGuard {
    /// Bytes that the connection may take in, and gather to be sent, whatever the others do.
    pub fn share_bytes(&self) -> usize {
        self.seats.inner.share_bytes.get()
    }

    /// Notes how many bytes of an unfinished request the connection keeps. False when that is more than
    /// the core has room for; a connection that keeps little is always let be.
    pub fn hold(&self, bytes: usize) -> bool {
        let total = &self.seats.inner.held_bytes;
        let others = total.get() - self.seat.held_bytes.replace(bytes);
        total.set(others + bytes);
        bytes <= self.share_bytes() || others + bytes <= self.seats.inner.room_bytes
    }

    /// Sets room aside for a large answer, in place of what was set aside before. False, and nothing is
    /// set aside, when the core has no such room: the answers of peers that do not read fill it.
    pub fn set_aside(&self, bytes: usize) -> bool {
        let total = &self.seats.inner.answer_bytes;
        let others = total.get() - self.seat.answer_bytes.get();
        let has_room = others + bytes <= self.seats.inner.room_bytes;
        let bytes = if has_room { bytes } else { 0 };
        self.seat.answer_bytes.set(bytes);
        total.set(others + bytes);
        has_room
    }
}

impl std::ops::Deref for SeatGuard {
    type Target = Seat;

    fn deref(&self) -> &Seat {
        &self.seat
    }
}

impl Drop for SeatGuard {
    fn drop(&mut self) {
        self.hold(0);
        self.set_aside(0);
        self.seats.inner.taken.borrow_mut().remove(self.key);
        self.seats.inner.share_out();
        self.seats.inner.left.notify();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: usize = 1 << 20;

    fn at(seconds: u64) -> Mono {
        Mono(0).after(Duration::from_secs(seconds))
    }

    fn expired(seats: &Seats, seat: &Seat, now: Mono) -> bool {
        seats.sweep(now);
        seat.poll_expired(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn time_runs_from_the_beginning_of_what_is_done() {
        let seats = Seats::new(ROOM);
        let seat = seats.take(at(0));
        assert!(!expired(&seats, &seat, at(74)));
        seat.enter(Doing::Head, at(74));
        seat.enter(Doing::Head, at(80));
        assert!(!expired(&seats, &seat, at(83)));
        assert!(expired(&seats, &seat, at(84)));
        seat.enter(Doing::Answering, at(85));
        assert!(!expired(&seats, &seat, at(10_000)));
    }

    #[test]
    fn a_trickle_is_no_progress() {
        let seats = Seats::new(ROOM);
        let seat = seats.take(at(0));
        seat.enter(Doing::Body, at(0));
        seat.made_progress(limits::BODY_PROGRESS_BYTES - 1, at(29));
        assert!(expired(&seats, &seat, at(30)));
        seat.restart(at(0));
        seat.made_progress(limits::BODY_PROGRESS_BYTES, at(29));
        assert!(!expired(&seats, &seat, at(58)));
        assert!(expired(&seats, &seat, at(59)));
    }

    #[test]
    fn unfinished_requests_share_a_bound() {
        let seats = Seats::new(ROOM);
        let (first, second) = (seats.take(at(0)), seats.take(at(0)));
        assert!(first.hold(ROOM));
        assert!(second.hold(limits::UNREAD_BYTES_MAX), "little is always let be");
        assert!(!second.hold(limits::UNREAD_BYTES_MAX + 1));
        drop(first);
        assert!(second.hold(ROOM));
        assert!(!second.hold(ROOM + 1));
    }

    #[test]
    fn many_connections_have_less_each() {
        let seats = Seats::new(ROOM);
        let mut taken: Vec<SeatGuard> = (0..16).map(|_| seats.take(at(0))).collect();
        assert_eq!(taken[0].share_bytes(), limits::UNREAD_BYTES_MAX);
        taken.extend((0..16).map(|_| seats.take(at(0))));
        assert_eq!(taken[0].share_bytes(), ROOM / 32);
        taken.extend((0..10_000).map(|_| seats.take(at(0))));
        assert_eq!(taken[0].share_bytes(), limits::UNREAD_BYTES_MIN);
        assert!(taken[1].hold(ROOM));
        assert!(taken[0].hold(limits::UNREAD_BYTES_MIN) && !taken[0].hold(limits::UNREAD_BYTES_MIN + 1));
        taken.truncate(1);
        assert_eq!(taken[0].share_bytes(), limits::UNREAD_BYTES_MAX);
    }

    #[test]
    fn large_answers_share_a_bound() {
        let seats = Seats::new(ROOM);
        let (first, second) = (seats.take(at(0)), seats.take(at(0)));
        assert!(first.set_aside(ROOM));
        assert!(first.set_aside(ROOM - 1), "in place of what it had");
        assert!(second.set_aside(1));
        assert!(!second.set_aside(2));
        assert!(first.set_aside(ROOM), "a refused one takes nothing");
        drop(first);
        assert!(second.set_aside(ROOM));
        assert!(!second.set_aside(ROOM + 1));
    }

    #[test]
    fn places_are_given_up() {
        let seats = Seats::new(ROOM);
        let (first, second) = (seats.take(at(0)), seats.take(at(0)));
        drop(first);
        assert_eq!(seats.len(), 1);
        seats.drain();
        assert!(second.is_draining());
        drop(second);
        assert!(seats.is_empty());
    }
}
