//! The executor of one core: cooperative tasks over a [`Driver`].
//!
//! Lives on: one pinned thread (or, in the simulator, one of several executors on the same thread).
//! Owns the tasks; everything that tasks may touch while they run is in [`Shared`], behind a
//! [`Runtime`](super::runtime::Runtime).
//!
//! A **turn** is: hand over what the last turn submitted and collect completions (parking when there
//! is nothing to do), fire timers, look at the inboxes of the core (the turn hook), run foreground
//! tasks within a budget, then those that stand back, run at most one background task. The stall detector measures
//! every turn.
//!
//! Invariant: a foreground task waits for at most one background slice, one foreground budget and one of those that stand
//! back.
//! Invariant: an operation's buffers live in the driver until its last completion, whoever waits.

mod ops;
mod ready;
mod stall;
pub mod sync;
#[cfg(test)]
mod tests;
mod timers;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

pub(super) use ops::OpTable;
pub use ready::Class;
use ready::{ReadyQueue, TaskId, TaskWaker};
pub use stall::TurnStats;
use stall::{StallDetector, TurnWork};
pub(super) use timers::Timers;

use super::driver::{Doorbell, Driver, Park};
use super::op::Completion;
use super::runtime::Runtime;
use crate::limits;
use crate::types::{Mono, WallMs};

type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

/// What tasks reach through their [`Runtime`].
pub(super) struct Shared {
    pub driver: RefCell<Box<dyn Driver>>,
    pub ops: RefCell<OpTable>,
    pub timers: RefCell<Timers>,
    pub spawned: RefCell<Vec<Spawned>>,
    /// Foreground tasks that let others go first; see [`Runtime::stand_back`].
    pub standing_back: RefCell<VecDeque<Waker>>,
    /// Time at the start of the turn: what most code needs of a clock, without asking it.
    pub turn_start: Cell<Mono>,
    pub turn_wall: Cell<WallMs>,
    /// Answers of other cores that tasks expect within microseconds.
    pub expected_soon: Cell<u32>,
    pub stats: RefCell<TurnStats>,
}

/// A task that a turn will take up.
pub(super) struct Spawned {
    pub class: Class,
    pub future: LocalFuture,
    /// Names the task in warnings.
    pub at: &'static Location<'static>,
}

struct Task {
    future: LocalFuture,
    place: Arc<TaskWaker>,
    /// The same, in the form that futures take.
    waker: Waker,
    spawned_at: &'static Location<'static>,
}

/// Remembers that the future under `block_on` was woken, as a rule by itself.
#[derive(Default)]
struct SelfWake(AtomicBool);

impl SelfWake {
    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Wake for SelfWake {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub struct Executor {
    shared: Rc<Shared>,
    ready: Arc<ReadyQueue>,
    /// Foreground tasks that were taken off the queue together, and come before what is there now.
    batch: VecDeque<TaskId>,
    tasks: slab::Slab<Task>,
    /// Looks at the inboxes of the core; true when it found something.
    hook: Box<dyn FnMut() -> bool>,
    bell: Arc<dyn Doorbell>,
    completions: Vec<Completion>,
    stall: StallDetector,
    /// Since background work was put off for tasks that stood back.
    turns_without_background: u32,
}

impl Executor {
    pub fn new(driver: Box<dyn Driver>) -> Executor {
        let bell = driver.doorbell();
        let (now, wall) = (driver.now(), driver.wall());
        let stall = StallDetector::new(driver.thread_cpu_ns());
        let shared = Shared {
            driver: RefCell::new(driver),
            ops: RefCell::default(),
            timers: RefCell::default(),
            spawned: RefCell::default(),
            standing_back: RefCell::default(),
            turn_start: Cell::new(now),
            turn_wall: Cell::new(wall),
            expected_soon: Cell::new(0),
            stats: RefCell::default(),
        };
        Executor {
            shared: Rc::new(shared),
            ready: Arc::default(),
            batch: VecDeque::new(),
            tasks: slab::Slab::new(),
            hook: Box::new(|| false),
            bell,
            completions: Vec::new(),
            stall,
            turns_without_background: 0,
        }
    }

    pub fn runtime(&self) -> Runtime {
        Runtime::new(self.shared.clone())
    }

    /// Sets what looks at the core's inboxes once a turn.
    pub fn set_turn_hook(&mut self, hook: impl FnMut() -> bool + 'static) {
        self.hook = Box::new(hook);
    }

    /// Runs until `future` completes. Other tasks go on meanwhile and stay where they are after it.
    pub fn block_on<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let yielded = Arc::new(SelfWake::default());
        let waker = Waker::from(yielded.clone());
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return value;
            }
            // It is polled again after every turn, so only a future that woke itself keeps a turn short.
            let park = if yielded.take() { Park::No } else { self.park_mode() };
            self.turn_with(park);
        }
    }

    /// One turn of a real core; parks when nothing is ready.
    pub fn turn(&mut self) {
        let park = self.park_mode();
        self.turn_with(park);
    }

    fn turn_with(&mut self, park: Park) {
        self.absorb_spawned();
        let mut work = TurnWork::new(self.collect(park));
        self.wake_expired();
        (self.hook)();
        self.run_foreground(&mut work);
        let stood_back = self.run_stood_back(&mut work);
        if !stood_back || self.is_background_due() {
            self.run_background(&mut work);
        }
        work.outside_ring_ns = self.shared.driver.borrow().now().since(self.shared.turn_start.get());
        let cpu_ns = self.stall.turn_ends(&**self.shared.driver.borrow());
        self.shared.stats.borrow_mut().record(cpu_ns, work);
    }

    /// One step of a simulated core: collects what is there and runs one task of the driver's choice.
    /// Returns false when nothing was there to do.
    pub fn step(&mut self) -> bool {
        self.absorb_spawned();
        // Who goes first is the driver's choice.
        while self.wake_stood_back() {}
        let collected = self.collect(Park::No) > 0;
        let fired = self.wake_expired();
        let received = (self.hook)();
        let ready = self.ready.len();
        if ready == 0 {
            return collected || fired || received;
        }
        let choice = self.shared.driver.borrow_mut().pick(ready);
        if let Some(task) = self.ready.pop_nth(choice) {
            self.run(task);
        }
        true
    }

    /// True when a `step` would run a task without any new event.
    pub fn has_ready(&self) -> bool {
        self.ready.len() > 0
            || !self.batch.is_empty()
            || !self.shared.spawned.borrow().is_empty()
            || !self.shared.standing_back.borrow().is_empty()
    }

    /// The moment at which the next timer fires.
    pub fn next_deadline(&self) -> Option<Mono> {
        self.shared.timers.borrow().next_deadline()
    }

    /// Arms the doorbell and looks at the inboxes a last time: false when there is work after all.
    pub fn prepare_park(&mut self) -> bool {
        self.bell.arm();
        let idle = !(self.hook)() && !self.has_ready();
        if !idle {
            self.bell.disarm();
        }
        idle
    }

    fn park_mode(&mut self) -> Park {
        if self.has_ready() || self.spin() || !self.prepare_park() {
            return Park::No;
        }
        self.next_deadline().map_or(Park::Forever, Park::Until)
    }

    /// Looks at the inboxes for a while before parking, when a task expects an answer in one that takes
    /// less than two wake-ups: parking would cost one of them. True when there is work after all.
    fn spin(&mut self) -> bool {
        if self.shared.expected_soon.get() == 0 {
            return false;
        }
        let until = self.shared.driver.borrow().now().after(limits::SPIN);
        while self.shared.driver.borrow().now() < until {
            if (self.hook)() || self.has_ready() {
                return true;
            }
            std::hint::spin_loop();
        }
        false
    }

    /// Collects completions and wakes those who wait for them; gives their number.
    fn collect(&mut self, park: Park) -> usize {
        let mut completions = std::mem::take(&mut self.completions);
        {
            let mut driver = self.shared.driver.borrow_mut();
            driver.poll(park, &mut completions);
            self.shared.turn_start.set(driver.now());
            self.shared.turn_wall.set(driver.wall());
        }
        self.bell.disarm();
        let count = completions.len();
        for completion in completions.drain(..) {
            let leftover = self.shared.ops.borrow_mut().complete(completion);
            if let Some(handle) = leftover {
                self.runtime().close(handle);
            }
        }
        self.completions = completions;
        count
    }

    fn wake_expired(&mut self) -> bool {
        let now = self.shared.turn_start.get();
        self.shared.timers.borrow_mut().fire(now)
    }

    /// Runs tasks until the budget of the turn is used up; the last one may pass it.
    fn run_foreground(&mut self, work: &mut TurnWork) {
        self.run_until(self.shared.turn_start.get().after(limits::TURN_BUDGET), work);
    }

    /// Goes on with tasks that stood back, one by one. One at least, so that they come to an end beside any load. True
    /// when some have still to wait.
    fn run_stood_back(&mut self, work: &mut TurnWork) -> bool {
        if self.shared.standing_back.borrow().is_empty() {
            return false;
        }
        let deadline = self.shared.driver.borrow().now().after(limits::STOOD_BACK_BUDGET);
        while self.wake_stood_back() && self.run_until(deadline, work) {}
        !self.shared.standing_back.borrow().is_empty()
    }

    /// While tasks that stood back wait for their next turn, background work has to be content with one of several: their
    /// time in a turn is short for the sake of others, not of background work.
    fn is_background_due(&mut self) -> bool {
        self.turns_without_background += 1;
        let is_due = self.turns_without_background >= limits::BACKGROUND_WAIT_ROUNDS_MAX;
        if is_due {
            self.turns_without_background = 0;
        }
        is_due
    }

    fn wake_stood_back(&self) -> bool {
        let next = self.shared.standing_back.borrow_mut().pop_front();
        next.map(Waker::wake).is_some()
    }

    /// Runs what is ready; the task that passes the deadline is the last. True when there was time left.
    fn run_until(&mut self, deadline: Mono, work: &mut TurnWork) -> bool {
        let mut began = self.shared.driver.borrow().now();
        while let Some(task) = self.next_foreground() {
            let at = self.run(task);
            let now = self.shared.driver.borrow().now();
            work.polls += 1;
            work.note_poll(now.since(began), at);
            if now >= deadline {
                return false;
            }
            began = now;
        }
        true
    }

    fn next_foreground(&mut self) -> Option<TaskId> {
        if self.batch.is_empty() {
            self.ready.take_foreground(&mut self.batch);
        }
        self.batch.pop_front()
    }

    fn run_background(&mut self, work: &mut TurnWork) {
        let Some(task) = self.ready.pop_background() else { return };
        let began = self.shared.driver.borrow().now();
        let at = self.run(task);
        let took = self.shared.driver.borrow().now().since(began);
        work.ran_background = true;
        work.note_poll(took, at);
    }

    /// Polls the task once; gives where it was spawned.
    fn run(&mut self, id: TaskId) -> Option<&'static Location<'static>> {
        // A late wake-up of a task that ended finds its place empty or taken.
        let task = self.tasks.get_mut(id.index).filter(|task| task.place.id == id)?;
        let spawned_at = task.spawned_at;
        task.place.begin_poll();
        let done = task.future.as_mut().poll(&mut Context::from_waker(&task.waker)).is_ready();
        if done {
            drop(self.tasks.remove(id.index));
        }
        self.absorb_spawned();
        Some(spawned_at)
    }

    fn absorb_spawned(&mut self) {
        while !self.shared.spawned.borrow().is_empty() {
            let spawned = std::mem::take(&mut *self.shared.spawned.borrow_mut());
            for Spawned { class, future, at } in spawned {
                let entry = self.tasks.vacant_entry();
                let place = TaskWaker::new(entry.key(), class, self.ready.clone());
                let waker = Waker::from(place.clone());
                waker.wake_by_ref();
                entry.insert(Task { future, place, waker, spawned_at: at });
            }
        }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // Tasks go first: they give up their operations and files while the driver is still there.
        self.tasks.clear();
        self.shared.standing_back.borrow_mut().clear();
        self.shared.spawned.borrow_mut().clear();
    }
}
