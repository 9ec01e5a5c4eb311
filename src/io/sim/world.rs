//! One simulated machine: its clock, disk and network, shared by the drivers of its cores, and what a
//! test may see and do from outside.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::audit::WriteRecord;
use super::config::SimConfig;
use super::crash::{CrashPoint, CrashPolicy};
use super::disk::Disk;
use super::faults::Faults;
use super::machine::{Event, Machine, Waiter};
use super::net::Net;
use super::rng::Rng;
pub use super::storage::Counts;
use super::storage::{Passed, Storage};
use crate::io::op::{Completion, Op, Token};
use crate::types::{Mono, WallMs};

type Watcher = Box<dyn FnMut(&CrashPoint<'_>)>;

struct State {
    machine: Machine,
    storage: Storage,
    net: Net,
    watcher: Option<Watcher>,
    crash_points: u64,
    powered: bool,
}

/// A handle; clones are the same world.
#[derive(Clone)]
pub struct World {
    state: Rc<RefCell<State>>,
}

// ---- for tests and suites

impl World {
    /// Calls `watcher` at every crash point. It is called in the middle of the world's work: it may use
    /// the point it gets, and must not call the world.
    pub fn on_io(&self, watcher: impl FnMut(&CrashPoint<'_>) + 'static) {
        self.state.borrow_mut().watcher = Some(Box::new(watcher));
    }

    /// Crash points passed so far.
    pub fn crash_points(&self) -> u64 {
        self.state.borrow().crash_points
    }

    pub fn counts(&self) -> Counts {
        self.state.borrow().storage.counts
    }

    /// From now on no operation is taken and none completes.
    pub fn cut_power(&self) {
        self.state.borrow_mut().cut_power();
    }

    pub fn has_power(&self) -> bool {
        self.state.borrow().powered
    }

    /// The disk as it would be found if the power were cut now, with randomness of this world.
    pub fn crash(&self, policy: CrashPolicy) -> Disk {
        let state = &mut *self.state.borrow_mut();
        state.storage.after_crash(policy, &mut state.machine.rng)
    }

    /// As [`World::crash`], with randomness of the caller: the world goes on as if not asked.
    pub fn crash_with(&self, policy: CrashPolicy, rng: &mut Rng) -> Disk {
        self.state.borrow().storage.after_crash(policy, rng)
    }

    /// Looks at or damages the disk under the running machine.
    pub fn with_disk<T>(&self, act: impl FnOnce(&mut Disk) -> T) -> T {
        act(&mut self.state.borrow_mut().storage.disk)
    }

    /// What the harshest power cut would leave of the file; `None` when it would leave no such name.
    pub fn durable_bytes(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        self.state.borrow().storage.disk.durable_bytes(path)
    }

    /// Whether these bytes of the file would survive the harshest power cut.
    pub fn is_durable(&self, path: impl AsRef<Path>, offset: u64, bytes: &[u8]) -> bool {
        let mut found = vec![0; bytes.len()];
        let count = self.state.borrow().storage.disk.read_durable(path, offset, &mut found);
        count == bytes.len() && found == bytes
    }

    /// Every file write so far, when the configuration asks for an audit.
    pub fn writes(&self) -> Vec<WriteRecord> {
        self.state.borrow().storage.audit.as_ref().map(|audit| audit.records.clone()).unwrap_or_default()
    }

    pub fn faults(&self) -> Faults {
        self.state.borrow().machine.faults().clone()
    }

    pub fn set_faults(&self, faults: Faults) {
        self.state.borrow_mut().set_faults(faults);
    }

    pub fn step_wall_back(&self, by: Duration) {
        self.state.borrow_mut().machine.step_wall_back(by);
    }

    pub fn now(&self) -> Mono {
        self.state.borrow().machine.now
    }

    pub fn wall(&self) -> WallMs {
        self.state.borrow().machine.wall()
    }

    /// Every line in mode `Keep`, the last ones in mode `Hash`.
    pub fn trace(&self) -> Vec<u8> {
        self.state.borrow().machine.trace.bytes().to_vec()
    }

    pub fn trace_hash(&self) -> u64 {
        self.state.borrow().machine.trace.hash()
    }

    pub fn trace_tail(&self) -> String {
        self.state.borrow().machine.trace.tail()
    }

    /// Adds a line to the trace: what a suite wants to compare as well.
    pub fn note(&self, line: std::fmt::Arguments<'_>) {
        self.state.borrow_mut().machine.log(line);
    }
}

// ---- for the drivers and the scheduler

impl World {
    pub(super) fn new(seed: u64, disk: Disk, config: SimConfig) -> World {
        let storage = Storage::with_disk(disk, config.audit);
        let net = Net::new(config.cores, config.receive_buffers_max);
        let faults = config.faults.clone();
        let machine = Machine::new(seed, config);
        let mut state = State { machine, storage, net, watcher: None, crash_points: 0, powered: true };
        state.set_faults(faults);
        World { state: Rc::new(RefCell::new(state)) }
    }

    pub(super) fn submit(&self, core: usize, token: Token, op: Op) {
        let state = &mut *self.state.borrow_mut();
        if state.powered {
            state.submit(Waiter { core, token }, op);
        }
    }

    pub(super) fn cancel(&self, core: usize, token: Token) {
        let state = &mut *self.state.borrow_mut();
        if state.powered {
            state.net.cancel(&mut state.machine, Waiter { core, token });
        }
    }

    pub(super) fn has_completions(&self, core: usize) -> bool {
        self.state.borrow().machine.has_completions(core)
    }

    pub(super) fn take_completions(&self, core: usize) -> VecDeque<Completion> {
        self.state.borrow_mut().machine.take_completions(core)
    }

    pub(super) fn next_event(&self) -> Option<Mono> {
        self.state.borrow().machine.next_event()
    }

    pub(super) fn advance_to(&self, moment: Mono) {
        self.state.borrow_mut().advance_to(moment);
    }

    /// A step of `core` is over: time passes, and buffers that it gave back can be filled.
    pub(super) fn step_ended(&self, core: usize) {
        let state = &mut *self.state.borrow_mut();
        if state.powered {
            state.net.feed_starved(&mut state.machine, core);
        }
        let step_ns = state.machine.config.step_ns.clone();
        let moment = Mono(state.machine.now.0 + state.machine.draw(&step_ns));
        state.advance_to(moment);
    }

    pub(super) fn with_rng<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.state.borrow_mut().machine.rng)
    }
}

impl State {
    fn set_faults(&mut self, faults: Faults) {
        self.storage.disk.keep_older_pages = faults.stale_read_permille > 0;
        self.machine.config.faults = faults;
    }

    fn submit(&mut self, waiter: Waiter, op: Op) {
        self.machine.maybe_step_wall_back();
        if !self.storage.takes(&op) {
            return self.net.submit(&mut self.machine, waiter, op);
        }
        if let Some(passed) = self.storage.submit(&mut self.machine, waiter, op) {
            self.pass(passed);
        }
    }

    fn advance_to(&mut self, moment: Mono) {
        while self.powered
            && let Some(event) = self.machine.pop_event(moment)
        {
            self.happen(event);
        }
        self.machine.now = self.machine.now.max(moment);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Perform(number) => self.storage.perform(&mut self.machine, number),
            Event::Complete(number) => {
                if let Some(passed) = self.storage.complete(&mut self.machine, number) {
                    self.pass(passed);
                }
            }
            Event::Reply(waiter, outcome) => self.machine.complete(waiter, outcome),
            Event::Connect(waiter, addr) => self.net.connect(&mut self.machine, waiter, addr),
            Event::Arrive(handle) => self.net.arrive(&mut self.machine, handle),
        }
    }

    /// A crash point: whoever enumerates crashes looks at the disk now.
    fn pass(&mut self, passed: Passed) {
        self.crash_points += 1;
        if let Some(watcher) = &mut self.watcher {
            watcher(&CrashPoint {
                number: self.crash_points,
                moment: passed.moment,
                operation: passed.operation,
                changes_disk: passed.changes_disk,
                now: self.machine.now,
                storage: &self.storage,
            });
        }
        if self.machine.config.power_off_at == Some(self.crash_points) {
            self.cut_power();
        }
    }

    fn cut_power(&mut self) {
        self.powered = false;
        self.machine.log(format_args!("power off"));
    }
}
