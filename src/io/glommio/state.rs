//! What the tasks of one driver share: completions on their way out, and the switches that end operations early.
//!
//! Invariant: each operation gives one last completion, whatever ends it.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use glommio::timer::Timer;

use super::files::KnownDevices;
use super::handles::Handles;
use crate::io::driver::Park;
use crate::io::op::{Completion, Outcome, Token};
use crate::io::uring::buffers::ReceiveBuffers;
use crate::io::uring::clock;
use crate::limits;

/// Ends an operation before it has come to an end by itself.
#[derive(Default)]
pub(super) struct Switch {
    off: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Switch {
    pub fn switch_off(&self) {
        self.off.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Fails with ECANCELED, and drops the work, when it is switched off first.
    pub async fn or_cancelled<T>(&self, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if self.off.get() {
                return Poll::Ready(Err(io::Error::from_raw_os_error(libc::ECANCELED)));
            }
            let polled = work.as_mut().poll(cx);
            if polled.is_pending() {
                self.waker.replace(Some(cx.waker().clone()));
            }
            polled
        })
        .await
    }
}

/// The operations under way on a socket.
#[derive(Clone, Default)]
pub(super) struct Users(Rc<RefCell<Vec<Rc<Switch>>>>);

impl Users {
    pub fn switch_off(&self) {
        self.0.borrow().iter().for_each(|switch| switch.switch_off());
    }

    fn attach(&self, switch: &Rc<Switch>) {
        self.0.borrow_mut().push(switch.clone());
    }

    fn detach(&self, switch: &Rc<Switch>) {
        self.0.borrow_mut().retain(|other| !Rc::ptr_eq(other, switch));
    }
}

pub(super) struct State {
    pub handles: RefCell<Handles>,
    pub buffers: Rc<ReceiveBuffers>,
    pub known_devices: RefCell<KnownDevices>,
    completions: RefCell<Vec<Completion>>,
    /// By token.
    under_way: RefCell<Vec<Option<Rc<Switch>>>>,
    /// How many of these there are, and how many of them the disk works on.
    count: Cell<usize>,
    on_disk: Cell<usize>,
    /// Who waits for a completion or the bell.
    waiter: RefCell<Option<Waker>>,
    rung: Cell<bool>,
    /// Receives without a buffer, or with so many lent out that their reader must be slow.
    short_of_buffers: RefCell<Vec<Waker>>,
}

impl State {
    pub fn new() -> State {
        State {
            handles: RefCell::default(),
            buffers: Rc::new(ReceiveBuffers::listed(limits::RECEIVE_BUFFERS_MAX)),
            known_devices: RefCell::default(),
            completions: RefCell::default(),
            under_way: RefCell::default(),
            count: Cell::new(0),
            on_disk: Cell::new(0),
            waiter: RefCell::default(),
            rung: Cell::new(false),
            short_of_buffers: RefCell::default(),
        }
    }

    // ---- operations

    /// Runs an operation that comes to an end by itself.
    pub fn run_on_disk(
        self: &Rc<Self>,
        token: Token,
        work: impl Future<Output = io::Result<Outcome>> + 'static,
    ) {
        let state = self.clone();
        state.begin(token, Rc::default());
        state.on_disk.set(state.on_disk.get() + 1);
        glommio::spawn_local(async move {
            let result = work.await;
            state.on_disk.set(state.on_disk.get() - 1);
            state.end(token, result);
        })
        .detach();
    }

    /// Runs an operation that may wait for ever, on the socket with these users.
    pub fn run_on_socket(
        self: &Rc<Self>,
        token: Token,
        users: &Users,
        work: impl Future<Output = io::Result<Outcome>> + 'static,
    ) {
        let (state, users, switch) = (self.clone(), users.clone(), Rc::<Switch>::default());
        state.begin(token, switch.clone());
        users.attach(&switch);
        glommio::spawn_local(async move {
            let result = switch.or_cancelled(work).await;
            users.detach(&switch);
            state.end(token, result);
        })
        .detach();
    }

    fn begin(&self, token: Token, switch: Rc<Switch>) {
        let index = usize::try_from(token.0).expect("tokens are small and dense");
        let mut under_way = self.under_way.borrow_mut();
        if index >= under_way.len() {
            under_way.resize_with(index + 1, || None);
        }
        let earlier = under_way[index].replace(switch);
        assert!(earlier.is_none(), "a token used again before its last completion");
        self.count.set(self.count.get() + 1);
    }

    fn end(&self, token: Token, result: io::Result<Outcome>) {
        let switch = self.under_way.borrow_mut()[token.0 as usize].take();
        assert!(switch.is_some(), "a second end of an operation");
        self.count.set(self.count.get() - 1);
        self.answer(token, result);
    }

    /// The last completion of an operation that needed no task.
    pub fn answer(&self, token: Token, result: io::Result<Outcome>) {
        self.complete(token, result.unwrap_or_else(Outcome::Failed), false);
    }

    /// One of the completions of a stream.
    pub fn emit(&self, token: Token, outcome: Outcome) {
        self.complete(token, outcome, true);
    }

    fn complete(&self, token: Token, outcome: Outcome, more: bool) {
        self.completions.borrow_mut().push(Completion { token, outcome, more });
        self.wake_waiter();
    }

    pub fn cancel(&self, token: Token) {
        let switch = self.under_way.borrow().get(token.0 as usize).cloned().flatten();
        if let Some(switch) = switch {
            switch.switch_off();
        }
    }

    pub fn cancel_all(&self) {
        let all: Vec<_> = self.under_way.borrow().iter().flatten().cloned().collect();
        all.iter().for_each(|switch| switch.switch_off());
    }

    pub fn is_idle(&self) -> bool {
        self.count.get() == 0
    }

    pub fn is_disk_busy(&self) -> bool {
        self.on_disk.get() > 0
    }

    // ---- receive buffers

    /// Pending until buffers may have come back.
    pub fn await_buffers(&self, cx: &Context<'_>) {
        self.short_of_buffers.borrow_mut().push(cx.waker().clone());
    }

    /// Only the engine's tasks give buffers back, so it is enough to look once a turn.
    pub fn retry_receives(&self) {
        self.short_of_buffers.take().into_iter().for_each(Waker::wake);
    }

    // ---- the end of a pass

    pub fn take_completions(&self, completions: &mut Vec<Completion>) {
        completions.append(&mut self.completions.borrow_mut());
    }

    /// The bell was rung.
    pub fn note_ring(&self) {
        self.rung.set(true);
        self.wake_waiter();
    }

    fn wake_waiter(&self) {
        if let Some(waker) = self.waiter.take() {
            waker.wake();
        }
    }

    /// Waits as `park` says, at least until all tasks that are ready have run once.
    pub async fn wait(&self, park: Park) {
        yield_now().await;
        match park {
            Park::No => {}
            Park::Forever => poll_fn(|cx| self.poll_arrival(cx)).await,
            Park::Until(at) => {
                let mut timer = pin!(Timer::new(Duration::from_nanos(at.since(clock::monotonic()))));
                poll_fn(|cx| match timer.as_mut().poll(cx) {
                    Poll::Ready(_) => Poll::Ready(()),
                    Poll::Pending => self.poll_arrival(cx),
                })
                .await;
            }
        }
        self.rung.set(false);
    }

    fn poll_arrival(&self, cx: &Context<'_>) -> Poll<()> {
        if self.rung.get() || !self.completions.borrow().is_empty() {
            return Poll::Ready(());
        }
        self.waiter.replace(Some(cx.waker().clone()));
        Poll::Pending
    }
}

/// Lets every task of glommio that is ready go first.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}
