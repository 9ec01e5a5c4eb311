//! Runs a simulated machine: picks, again and again, one of the cores that have something to do.
//!
//! Time passes a little with every step of a core, and jumps to the next event when no core can run. A
//! core that parked runs again only when its bell is rung or a completion or timer of its own is due,
//! so a lost wake-up shows as [`Stuck`].

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use super::config::SimConfig;
use super::crash::CrashPolicy;
use super::disk::Disk;
use super::driver::{SimBell, SimDriver};
use super::world::World;
use crate::io::executor::{Class, Executor};
use crate::io::runtime::Runtime;
use crate::types::Mono;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StuckReason {
    /// No core has anything to do and nothing will ever happen.
    NothingToDo,
    PowerOff,
    TooManySteps,
    TooMuchTime,
}

/// A run that did not reach its end.
#[derive(Clone, Debug)]
pub struct Stuck {
    pub reason: StuckReason,
    pub at: Mono,
    /// Empty when the trace is off.
    pub trace_tail: String,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stuck at {} ns: {:?}\n{}", self.at, self.reason, self.trace_tail)
    }
}

impl std::error::Error for Stuck {}

struct Core {
    executor: Executor,
    bell: Arc<SimBell>,
    parked: bool,
}

pub struct Sim {
    // Executors go first: their tasks close files and sockets on the way out.
    cores: Vec<Core>,
    world: World,
    config: SimConfig,
}

impl Sim {
    pub fn new(seed: u64, config: SimConfig) -> Sim {
        Sim::with_disk(seed, Disk::default(), config)
    }

    /// A machine that starts on what another one left.
    pub fn with_disk(seed: u64, disk: Disk, config: SimConfig) -> Sim {
        assert!(config.cores > 0, "a machine has a core");
        let world = World::new(seed, disk, config.clone());
        let cores = (0..config.cores).map(|core| Core::new(SimDriver::new(core, world.clone()))).collect();
        Sim { cores, world, config }
    }

    pub fn world(&self) -> &World {
        &self.world
    }

    pub fn executor(&mut self, core: usize) -> &mut Executor {
        &mut self.cores[core].executor
    }

    pub fn runtime(&self, core: usize) -> Runtime {
        self.cores[core].executor.runtime()
    }

    /// The disk as it would be found if the power were cut now.
    pub fn crash(&self, policy: CrashPolicy) -> Disk {
        self.world.crash(policy)
    }

    /// Runs `future` as a task of core 0 until it completes; other tasks stay where they are then.
    pub fn run<T: 'static>(&mut self, future: impl Future<Output = T> + 'static) -> Result<T, Stuck> {
        self.run_on(0, future)
    }

    pub fn run_on<T: 'static>(
        &mut self,
        core: usize,
        future: impl Future<Output = T> + 'static,
    ) -> Result<T, Stuck> {
        let result = Rc::new(RefCell::new(None));
        let place = result.clone();
        self.runtime(core).spawn(Class::Foreground, async move {
            let value = future.await;
            *place.borrow_mut() = Some(value);
        });
        self.run_until(|| result.borrow().is_some())?;
        let value = result.borrow_mut().take();
        Ok(value.expect("the run ended because the value was there"))
    }

    /// Runs all cores until `done`, which is asked before every step.
    pub fn run_until(&mut self, mut done: impl FnMut() -> bool) -> Result<(), Stuck> {
        let deadline = self.world.now().after(self.config.run_max);
        // Whoever called may have spawned tasks or filled inboxes without ringing.
        self.cores.iter_mut().for_each(|core| core.parked = false);
        for _ in 0..self.config.steps_max {
            if done() {
                return Ok(());
            }
            if self.world.now() > deadline {
                return Err(self.stuck(StuckReason::TooMuchTime));
            }
            self.advance()?;
        }
        Err(self.stuck(StuckReason::TooManySteps))
    }

    fn advance(&mut self) -> Result<(), Stuck> {
        if !self.world.has_power() {
            return Err(self.stuck(StuckReason::PowerOff));
        }
        let now = self.world.now();
        let can_run = |core: &usize| self.cores[*core].can_run(*core, &self.world, now);
        let runnable: Vec<usize> = (0..self.cores.len()).filter(can_run).collect();
        if !runnable.is_empty() {
            let core = runnable[self.world.with_rng(|rng| rng.index(runnable.len()))];
            self.turn(core);
            return Ok(());
        }
        let deadlines = self.cores.iter().filter_map(|core| core.executor.next_deadline());
        match deadlines.chain(self.world.next_event()).min() {
            None => Err(self.stuck(StuckReason::NothingToDo)),
            Some(next) => {
                self.world.advance_to(next);
                Ok(())
            }
        }
    }

    /// What a real core does in a turn: park when there is nothing to do, else do some of it.
    fn turn(&mut self, index: usize) {
        let now = self.world.now();
        let core = &mut self.cores[index];
        let woken = std::mem::replace(&mut core.parked, false);
        if !woken && !core.has_work(index, &self.world, now) && core.executor.prepare_park() {
            core.parked = true;
            self.world.note(format_args!("c{index} park"));
            return;
        }
        self.world.note(format_args!("c{index} step"));
        core.executor.step();
        self.world.step_ended(index);
    }

    fn stuck(&self, reason: StuckReason) -> Stuck {
        Stuck { reason, at: self.world.now(), trace_tail: self.world.trace_tail() }
    }
}

impl Core {
    fn new(driver: SimDriver) -> Core {
        let bell = driver.bell();
        Core { executor: Executor::new(Box::new(driver)), bell, parked: false }
    }

    fn can_run(&self, index: usize, world: &World, now: Mono) -> bool {
        !self.parked || self.bell.is_rung() || self.has_event(index, world, now)
    }

    fn has_work(&self, index: usize, world: &World, now: Mono) -> bool {
        self.executor.has_ready() || self.has_event(index, world, now)
    }

    /// A completion or a timer of its own.
    fn has_event(&self, index: usize, world: &World, now: Mono) -> bool {
        world.has_completions(index) || self.executor.next_deadline().is_some_and(|at| at <= now)
    }
}
