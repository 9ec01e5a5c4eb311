//! The stall detector: thread CPU time of every turn, always on.
//!
//! It costs one `clock_gettime(CLOCK_THREAD_CPUTIME_ID)` a turn. On a virtual machine that clock also
//! counts what the host took from the processor meanwhile, and interrupts that came.

use std::panic::Location;

use crate::io::driver::Driver;
use crate::limits;

/// What the turns of a core have cost so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct TurnStats {
    pub turns: u64,
    /// Thread CPU time of the longest turn, in nanoseconds.
    pub cpu_ns_max: u64,
    /// Turns over [`limits::TURN_STALL`].
    pub stalls: u64,
}

/// What a turn did: tells work that took too long from time that the machine took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TurnWork {
    pub completions: usize,
    /// Polls of foreground tasks.
    pub polls: u32,
    pub ran_background: bool,
    /// By the clock on the wall, from the moment at which the ring gave back control. What a turn took beyond it was
    /// spent in the ring's system call.
    pub outside_ring_ns: u64,
    longest_poll: Option<LongestPoll>,
}

/// The poll that took longest by the clock on the wall, and where its task was spawned.
#[derive(Clone, Copy, Debug)]
struct LongestPoll {
    took_ns: u64,
    task: &'static Location<'static>,
}

impl TurnWork {
    pub fn new(completions: usize) -> TurnWork {
        TurnWork { completions, ..TurnWork::default() }
    }

    pub fn note_poll(&mut self, took_ns: u64, task: Option<&'static Location<'static>>) {
        let longer = self.longest_poll.is_none_or(|longest| took_ns > longest.took_ns);
        if let Some(task) = task.filter(|_| longer) {
            self.longest_poll = Some(LongestPoll { took_ns, task });
        }
    }

    fn warn(&self, cpu_ns: u64) {
        tracing::warn!(
            cpu_us = cpu_ns / 1000,
            completions = self.completions,
            polls = self.polls,
            ran_background = self.ran_background,
            outside_ring_us = self.outside_ring_ns / 1000,
            longest_poll_us = self.longest_poll.map_or(0, |poll| poll.took_ns / 1000),
            task = %self.longest_poll.map_or(String::new(), |poll| poll.task.to_string()),
            "a turn of the executor took too long"
        );
    }
}

impl TurnStats {
    pub(super) fn record(&mut self, cpu_ns: u64, work: TurnWork) {
        self.turns += 1;
        self.cpu_ns_max = self.cpu_ns_max.max(cpu_ns);
        if u128::from(cpu_ns) > limits::TURN_STALL.as_nanos() {
            self.stalls += 1;
            work.warn(cpu_ns);
        }
    }
}

/// Invariant: every nanosecond of the thread between two turns' ends belongs to the later turn, so that
/// the time in the ring's system call counts too; a parked thread uses none.
pub(super) struct StallDetector {
    last_end_ns: u64,
}

impl StallDetector {
    pub fn new(now_ns: u64) -> StallDetector {
        StallDetector { last_end_ns: now_ns }
    }

    /// Thread CPU time of the turn that ends now, in nanoseconds.
    pub fn turn_ends(&mut self, driver: &dyn Driver) -> u64 {
        let now_ns = driver.thread_cpu_ns();
        let cpu_ns = now_ns.saturating_sub(self.last_end_ns);
        self.last_end_ns = now_ns;
        cpu_ns
    }
}
