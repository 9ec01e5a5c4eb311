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

/// Searches that go on for long, and a point read that arrives in the middle of them.
#[test]
fn what_stands_back_lets_others_go_first_and_comes_to_an_end() {
    let clock = WorkClock::default();
    let mut executor = Executor::new(Box::new(clock.clone()));
    let (runtime, done) = (executor.runtime(), Rc::new(Cell::new(0)));
    for _ in 0..8 {
        let (runtime, clock, done) = (runtime.clone(), clock.clone(), done.clone());
        executor.runtime().spawn(Class::Foreground, async move {
            let mut slice = runtime.slice_behind_others().await;
            for _ in 0..20 {
                clock.work(limits::LONG_REQUEST_SLICE);
                slice.checkpoint().await;
            }
            done.set(done.get() + 1);
        });
    }
    for _ in 0..5 {
        executor.turn();
        let (began, answered) = (clock.now(), Rc::new(Cell::new(None)));
        let (clock, answer) = (clock.clone(), answered.clone());
        runtime.spawn(Class::Foreground, async move { answer.set(Some(clock.now())) });
        executor.turn();
        assert_eq!(answered.get(), Some(began), "nothing that stands back went first");
    }
    // A load that fills every turn holds them up, not for ever.
    let (mut turns, busy) = (0, Rc::new(Cell::new(true)));
    for _ in 0..4 {
        let (runtime, clock, busy) = (runtime.clone(), clock.clone(), busy.clone());
        executor.runtime().spawn(Class::Foreground, async move {
            while busy.get() {
                clock.work(limits::TURN_BUDGET / 2);
                runtime.yield_now().await;
            }
        });
    }
    while done.get() < 8 {
        executor.turn();
        turns += 1;
        assert!(turns < 1000, "{} of 8 came to an end", done.get());
    }
    busy.set(false);
}

/// A search that scans for milliseconds beside a merge.
#[test]
fn background_work_leaves_most_of_the_time_to_what_stands_back() {
    let clock = WorkClock::default();
    let mut executor = Executor::new(Box::new(clock.clone()));
    let (searched, merged) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let (runtime, work, done) = (executor.runtime(), clock.clone(), searched.clone());
    executor.runtime().spawn(Class::Foreground, async move {
        let mut slice = runtime.slice_behind_others().await;
        loop {
            work.work(limits::LONG_REQUEST_SLICE);
            done.set(done.get() + limits::LONG_REQUEST_SLICE.as_micros());
            slice.checkpoint().await;
        }
    });
    let (runtime, work, done) = (executor.runtime(), clock.clone(), merged.clone());
    executor.runtime().spawn(Class::Background, async move {
        loop {
            work.work(limits::BACKGROUND_SLICE);
            done.set(done.get() + limits::BACKGROUND_SLICE.as_micros());
            runtime.yield_now().await;
        }
    });
    (0..400).for_each(|_| executor.turn());
    let (searched, merged) = (searched.get(), merged.get());
    assert!(searched > merged && merged * 4 > searched, "{searched} us and {merged} us");
}
