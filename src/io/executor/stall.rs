//! The stall detector: thread CPU time of every turn, always on.
//!
//! It costs one `clock_gettime(CLOCK_THREAD_CPUTIME_ID)` a turn. On a virtual machine that clock also
//! counts what the host took from the processor meanwhile, and interrupts that came.

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
}

impl TurnStats {
    pub(super) fn record(&mut self, cpu_ns: u64, work: TurnWork) {
        self.turns += 1;
        self.cpu_ns_max = self.cpu_ns_max.max(cpu_ns);
        if u128::from(cpu_ns) > limits::TURN_STALL.as_nanos() {
            self.stalls += 1;
            let TurnWork { completions, polls, ran_background } = work;
            let cpu_us = cpu_ns / 1000;
            tracing::warn!(
                cpu_us,
                completions,
                polls,
                ran_background,
                "a turn of the executor took too long"
            );
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
