//! Waiting for one another, among tasks of one core.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// A condition that tasks wait for: `notify` wakes every waiter, each looks for itself.
#[derive(Clone, Default)]
pub struct Signal {
    inner: Rc<RefCell<SignalState>>,
}

#[derive(Default)]
struct SignalState {
    rounds: u64,
    waiting: VecDeque<Waker>,
}

impl Signal {
    pub fn notify(&self) {
        let waiting = {
            let mut state = self.inner.borrow_mut();
            state.rounds += 1;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Completes at the first `notify` after this call (not after the first poll).
    pub fn wait(&self) -> impl Future<Output = ()> + use<> {
        let inner = self.inner.clone();
        let seen = inner.borrow().rounds;
        poll_fn(move |cx| {
            let mut state = inner.borrow_mut();
            if state.rounds != seen {
                return Poll::Ready(());
            }
            if !state.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                state.waiting.push_back(cx.waker().clone());
            }
            Poll::Pending
        })
    }
}

/// One value from one task to another.
pub fn promise<T>() -> (Promise<T>, Pending<T>) {
    let inner = Rc::new(RefCell::new(PromiseState { value: None, waker: None, promised: true }));
    (Promise { inner: inner.clone() }, Pending { inner })
}

struct PromiseState<T> {
    value: Option<T>,
    waker: Option<Waker>,
    promised: bool,
}

/// The giving end; dropping it without `give` is a bug that the waiter's panic shows.
pub struct Promise<T> {
    inner: Rc<RefCell<PromiseState<T>>>,
}

impl<T> Promise<T> {
    pub fn give(self, value: T) {
        let waker = {
            let mut state = self.inner.borrow_mut();
            state.value = Some(value);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.inner.borrow_mut().promised = false;
    }
}

/// The waiting end.
pub struct Pending<T> {
    inner: Rc<RefCell<PromiseState<T>>>,
}

impl<T> Pending<T> {
    /// A value that is there already.
    pub fn ready(value: T) -> Pending<T> {
        Pending {
            inner: Rc::new(RefCell::new(PromiseState { value: Some(value), waker: None, promised: false })),
        }
    }

    /// The value, when it is there.
    pub fn try_take(&self) -> Option<T> {
        self.inner.borrow_mut().value.take()
    }
}

impl<T> Future for Pending<T> {
    type Output = T;

    fn poll(self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<T> {
        let mut state = self.inner.borrow_mut();
        if let Some(value) = state.value.take() {
            return Poll::Ready(value);
        }
        assert!(state.promised, "a promise was dropped or its value taken twice");
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
