//! Hybrid logical clock: wall time that never goes back; after a restart it goes on from the latest
//! time in the log and the manifest.
//!
//! Source: Kulkarni et al., "Logical Physical Clocks", 2014, for one node: 48 bits of milliseconds,
//! 16 bits of counter. Expiry is judged by its milliseconds, so a wall clock that steps back brings
//! no expired record to life.

use crate::types::WallMs;

const COUNTER_BITS: u32 = 16;

/// The time of a commit timestamp.
pub fn wall_of(commit_ts: u64) -> WallMs {
    WallMs(commit_ts >> COUNTER_BITS)
}

#[derive(Clone, Copy, Debug, Default)]
pub struct HybridClock {
    last: u64,
}

impl HybridClock {
    /// Never gives a time at or before `commit_ts`, the latest of the log.
    pub fn resume(commit_ts: u64) -> HybridClock {
        HybridClock { last: commit_ts }
    }

    /// The milliseconds to judge expiry by.
    pub fn now(&mut self, wall: WallMs) -> WallMs {
        self.last = self.last.max(wall.0 << COUNTER_BITS);
        wall_of(self.last)
    }

    /// A commit timestamp, greater than every one before.
    pub fn tick(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub fn last(&self) -> u64 {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_wall_and_never_goes_back() {
        let mut clock = HybridClock::default();
        assert_eq!(clock.now(WallMs(1000)), WallMs(1000));
        let first = clock.tick();
        assert_eq!(clock.now(WallMs(10)), WallMs(1000));
        assert!(clock.tick() > first);
        let mut resumed = HybridClock::resume(clock.last());
        assert_eq!(resumed.now(WallMs(5)), WallMs(1000));
        assert!(resumed.tick() > clock.last());
    }
}
