//! The queue of runnable tasks and the wakers that fill it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Wake;

/// Foreground tasks answer requests; background tasks run one a turn, in slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Foreground,
    Background,
}

/// A place in the task table and the number of the task in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TaskId {
    pub index: usize,
    pub number: u64,
}

/// Behind a mutex because `Waker` must be `Send`; only its own core ever takes it, so it is never
/// contended (about 10 ns a wake-up).
#[derive(Default)]
pub(super) struct ReadyQueue {
    queues: Mutex<Queues>,
    spawned: AtomicU64,
}

#[derive(Default)]
struct Queues {
    foreground: VecDeque<TaskId>,
    background: VecDeque<TaskId>,
}

impl ReadyQueue {
    fn lock(&self) -> std::sync::MutexGuard<'_, Queues> {
        self.queues.lock().expect("a wake-up never panics")
    }

    pub fn len(&self) -> usize {
        let queues = self.lock();
        queues.foreground.len() + queues.background.len()
    }

    /// All foreground tasks, into an empty queue.
    pub fn take_foreground(&self, batch: &mut VecDeque<TaskId>) {
        debug_assert!(batch.is_empty());
        std::mem::swap(&mut self.lock().foreground, batch);
    }

    pub fn pop_background(&self) -> Option<TaskId> {
        self.lock().background.pop_front()
    }

    /// The nth task in the order foreground, background.
    pub fn pop_nth(&self, n: usize) -> Option<TaskId> {
        let mut queues = self.lock();
        match n.checked_sub(queues.foreground.len()) {
            None => queues.foreground.remove(n),
            Some(n) => queues.background.remove(n),
        }
    }

    fn push(&self, class: Class, id: TaskId) {
        let mut queues = self.lock();
        match class {
            Class::Foreground => queues.foreground.push_back(id),
            Class::Background => queues.background.push_back(id),
        }
    }
}

pub(super) struct TaskWaker {
    pub id: TaskId,
    class: Class,
    queued: AtomicBool,
    ready: Arc<ReadyQueue>,
}

impl TaskWaker {
    pub fn new(index: usize, class: Class, ready: Arc<ReadyQueue>) -> Arc<TaskWaker> {
        let number = ready.spawned.fetch_add(1, Ordering::Relaxed);
        Arc::new(TaskWaker { id: TaskId { index, number }, class, queued: AtomicBool::new(false), ready })
    }

    /// From here on a wake-up queues the task again.
    pub fn begin_poll(&self) {
        self.queued.store(false, Ordering::Release);
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.ready.push(self.class, self.id);
        }
    }
}
