//! The stall detector: thread CPU time of every turn, always on.
//!
//! It costs one `clock_gettime(CLOCK_THREAD_CPUTIME_ID)` a turn.

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

impl TurnStats {
    pub(super) fn record(&mut self, cpu_ns: u64) {
        self.turns += 1;
        self.cpu_ns_max = self.cpu_ns_max.max(cpu_ns);
        if u128::from(cpu_ns) > limits::TURN_STALL.as_nanos() {
            self.stalls += 1;
            tracing::warn!(cpu_us = cpu_ns / 1000, "a turn of the executor took too long");
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
