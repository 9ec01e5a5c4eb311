//! Turns under a clock that only the tasks move.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::{Class, Executor};
use crate::io::driver::{Doorbell, Driver, Park};
use crate::io::op::{Completion, Op, Token};
use crate::limits;
use crate::types::{Mono, WallMs};

#[derive(Clone, Default)]
struct WorkClock(Rc<Cell<u64>>);

impl WorkClock {
    fn work(&self, time: Duration) {
        self.0.set(self.0.get() + time.as_nanos() as u64);
    }
}

struct NoBell;

impl Doorbell for NoBell {
    fn arm(&self) {}
    fn disarm(&self) {}
    fn ring(&self) {}
}

impl Driver for WorkClock {
    fn submit(&mut self, _: Token, _: Op) {}
    fn cancel(&mut self, _: Token) {}
    fn poll(&mut self, _: Park, _: &mut Vec<Completion>) {}
    fn now(&self) -> Mono {
        Mono(self.0.get())
    }
    fn wall(&self) -> WallMs {
        WallMs::ZERO
    }
    fn thread_cpu_ns(&self) -> u64 {
        self.0.get()
    }
    fn random(&mut self) -> u64 {
        0
    }
    fn doorbell(&self) -> Arc<dyn Doorbell> {
        Arc::new(NoBell)
    }
}

/// An executor with `tasks` foreground tasks that work for `time` each; the last says how many have run.
fn executor(tasks: usize, time: Duration) -> (Executor, Rc<Cell<usize>>) {
    let clock = WorkClock::default();
    let executor = Executor::new(Box::new(clock.clone()));
    let ran = Rc::new(Cell::new(0));
    for _ in 0..tasks {
        let (clock, ran) = (clock.clone(), ran.clone());
        executor.runtime().spawn(Class::Foreground, async move {
            clock.work(time);
            ran.set(ran.get() + 1);
        });
    }
    (executor, ran)
}

#[test]
fn a_turn_passes_its_budget_by_one_poll_at_most() {
    let (mut executor, ran) = executor(8, limits::TURN_BUDGET * 4 / 5);
    executor.turn();
    assert_eq!(ran.get(), 2);
    assert_eq!(executor.runtime().turn_stats().stalls, 0);
    executor.turn();
    assert_eq!(ran.get(), 4);
}

#[test]
fn a_poll_that_takes_too_long_is_a_stall() {
    let (mut executor, ran) = executor(1, limits::TURN_STALL + Duration::from_micros(1));
    executor.turn();
    let stats = executor.runtime().turn_stats();
    assert_eq!((ran.get(), stats.stalls), (1, 1));
    assert_eq!(u128::from(stats.cpu_ns_max), limits::TURN_STALL.as_nanos() + 1000);
}
