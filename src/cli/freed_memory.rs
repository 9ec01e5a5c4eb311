//! When freed memory goes back to the system.
//!
//! What a seal or a merge frees, the next one takes again, so cores keep it: each page that comes back is a fault on one
//! of them. But a server that was busy once should not keep what that took for ever. So a thread beside the cores looks
//! how busy the process is. When it has been quiet for a while everything that is free goes back; while it is busy only
//! every few minutes.
//!
//! Cores are not held up: what is given back is nobody's, and the thread lets others go first.

use std::time::Duration;

use crate::io::uring::{give_back_freed_memory, process_cpu_ns, serve_others_first};
use crate::limits;

/// Quiet is a process that uses less of the time than one part of so many of a core.
const LOOKS_A_QUIET_USE: u32 = 10;

/// Begins to look; for as long as the process lives.
pub fn watch() {
    let started = std::thread::Builder::new().name("freed-memory".to_owned()).spawn(|| {
        serve_others_first();
        let mut watch = Watch::new(process_cpu_ns());
        loop {
            std::thread::sleep(limits::FREED_MEMORY_LOOK);
            if watch.is_due(process_cpu_ns()) {
                give_back_freed_memory();
            }
        }
    });
    if let Err(error) = started {
        tracing::warn!(%error, "no thread to give freed memory back: the process keeps it");
    }
}

struct Watch {
    cpu_ns: u64,
    /// How long the process has been quiet.
    quiet: Duration,
    /// How long ago memory was given back.
    kept: Duration,
}

impl Watch {
    fn new(cpu_ns: u64) -> Watch {
        Watch { cpu_ns, quiet: Duration::ZERO, kept: Duration::ZERO }
    }

    /// Another look; true when what is free is to go back now. `cpu_ns`: what the process has used so far.
    fn is_due(&mut self, cpu_ns: u64) -> bool {
        let used = Duration::from_nanos(cpu_ns.saturating_sub(self.cpu_ns));
        self.cpu_ns = cpu_ns;
        self.kept += limits::FREED_MEMORY_LOOK;
        self.quiet = match used * LOOKS_A_QUIET_USE < limits::FREED_MEMORY_LOOK {
            true => self.quiet + limits::FREED_MEMORY_LOOK,
            false => Duration::ZERO,
        };
        let is_quiet = self.quiet >= limits::FREED_MEMORY_QUIET;
        let longest = if is_quiet { limits::FREED_MEMORY_QUIET } else { limits::FREED_MEMORY_KEPT_MAX };
        let is_due = self.kept >= longest;
        if is_due {
            self.kept = Duration::ZERO;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At which of so many looks memory is given back, when each has seen so much of a core in use.
    fn given_back(shares: impl Iterator<Item = f64>) -> Vec<usize> {
        let (mut watch, mut cpu_ns) = (Watch::new(0), 0);
        let due = |(look, share): (usize, f64)| {
            cpu_ns += limits::FREED_MEMORY_LOOK.mul_f64(share).as_nanos() as u64;
            watch.is_due(cpu_ns).then_some(look)
        };
        (1..).zip(shares).filter_map(due).collect()
    }

    fn looks(time: Duration) -> usize {
        time.div_duration_f64(limits::FREED_MEMORY_LOOK).round() as usize
    }

    #[test]
    fn busy_cores_keep_what_they_free_for_minutes_and_quiet_ones_for_seconds() {
        let (quiet, longest) = (looks(limits::FREED_MEMORY_QUIET), looks(limits::FREED_MEMORY_KEPT_MAX));
        let busy = |count| std::iter::repeat_n(1.5, count);
        let idle = |count| std::iter::repeat_n(0.01, count);
        assert_eq!(given_back(busy(2 * longest)), [longest, 2 * longest]);
        assert_eq!(given_back(busy(20).chain(idle(quiet + 1))), [20 + quiet]);
        assert!(given_back(busy(20).chain(idle(quiet - 1)).chain(busy(20))).is_empty(), "a pause of a load");
        let repeated = given_back(idle(3 * quiet));
        assert_eq!(repeated, [quiet, 2 * quiet, 3 * quiet], "a trickle frees as well");
    }
}
