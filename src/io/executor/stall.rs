//! The stall detector: thread CPU time of every turn, always on.
//!
//! It costs one `clock_gettime(CLOCK_THREAD_CPUTIME_ID)` at each end of a turn.

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

pub(super) struct StallDetector {
    began_ns: u64,
}

impl StallDetector {
    pub fn new(now_ns: u64) -> StallDetector {
        StallDetector { began_ns: now_ns }
    }

    pub fn turn_begins(&mut self, driver: &mut dyn Driver) {
        self.began_ns = driver.thread_cpu_ns();
    }

    pub fn turn_ends(&mut self, driver: &mut dyn Driver) -> u64 {
        driver.thread_cpu_ns().saturating_sub(self.began_ns)
    }
}
