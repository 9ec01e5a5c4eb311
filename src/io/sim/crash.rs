//! What a power cut leaves of a disk.
//!
//! Anything may have happened to what was not yet reported as synced: any subset of the unsynced writes
//! survives, in any order, each possibly torn between sectors; size changes and directory entries
//! survive or not; an operation under way was carried out wholly, in part, or not at all. What was
//! reported as synced is there (unless the disk lies: see [`super::faults`]).

use super::disk::Disk;
use super::rng::Rng;
use super::storage::Storage;
use crate::types::Mono;

/// How harsh a power cut is to what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPolicy {
    /// Only what was synced.
    KeepNothing,
    /// Everything that was carried out or under way, whole: as if only the process had died.
    KeepAll,
    /// Any subset and order, torn at random; how much survives is drawn anew for each crash.
    Random,
    /// Each unsynced change is lost, each surviving write torn, in so many of a thousand cases.
    Chances { lost_permille: u16, torn_permille: u16 },
}

/// A policy with its dice thrown.
pub(super) struct Survival {
    lost_permille: u16,
    torn_permille: u16,
}

impl CrashPolicy {
    pub(super) fn draw(self, rng: &mut Rng) -> Survival {
        let (lost_permille, torn_permille) = match self {
            CrashPolicy::KeepNothing => (1000, 0),
            CrashPolicy::KeepAll => (0, 0),
            CrashPolicy::Random => ([100, 500, 900][rng.index(3)], [0, 300, 900][rng.index(3)]),
            CrashPolicy::Chances { lost_permille, torn_permille } => (lost_permille, torn_permille),
        };
        Survival { lost_permille, torn_permille }
    }
}

impl Survival {
    pub fn keeps(&self, rng: &mut Rng) -> bool {
        !rng.chance(self.lost_permille)
    }

    pub fn tears(&self, rng: &mut Rng) -> bool {
        rng.chance(self.torn_permille)
    }

    /// With everything kept whole, order is kept as well, so that the newest write wins.
    pub fn reorders(&self) -> bool {
        self.lost_permille > 0 || self.torn_permille > 0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Submitted,
    Completed,
}

/// A moment at which the power may be cut: just after an operation of the disk was submitted, or just
/// after it completed, before anyone was told.
pub struct CrashPoint<'a> {
    /// Counts submissions and completions together, from 1.
    pub number: u64,
    pub moment: Moment,
    /// "write", "sync_file" and so on, as in the trace.
    pub operation: &'static str,
    /// False for reads and the like: they leave the same images as the point before.
    pub changes_disk: bool,
    pub now: Mono,
    pub(super) storage: &'a Storage,
}

impl CrashPoint<'_> {
    /// The disk as found when the power comes back. May be asked several times, for different fates.
    pub fn image(&self, policy: CrashPolicy, rng: &mut Rng) -> Disk {
        self.storage.after_crash(policy, rng)
    }
}
