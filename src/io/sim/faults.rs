//! What may go wrong in a simulated world; everything is off by default.
//!
//! A chance is per operation, in thousandths. A fault `_at` hits exactly the operation of that number
//! (counted from 1 over all cores), so that a suite can visit every site once. What a power cut does to
//! unsynced data is not here but in [`super::crash`].

use std::time::Duration;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// When set, faults of reads, writes and syncs only hit files whose path contains this.
    pub only_paths_with: Option<String>,

    // ---- reads
    /// EIO once; the same read works when it is tried again.
    pub read_error_permille: u16,
    pub read_error_at: Option<u64>,
    /// EIO on one page of the read from now on, until the page is written again.
    pub read_error_sticky_permille: u16,
    /// One page of the read comes back as it was before it was last written.
    pub stale_read_permille: u16,

    // ---- writes
    /// EIO, with any subset of the sectors written.
    pub write_error_permille: u16,
    pub write_error_at: Option<u64>,
    /// Reported as done, even as synced, and never written.
    pub write_lost_permille: u16,
    /// Only the first pages are taken. Either the driver writes the rest later, or it gives up with an error.
    pub write_short_permille: u16,
    /// Reported as done, and written to other pages of this or another file.
    pub write_misdirected_permille: u16,

    // ---- syncs: synced writes, syncs of files and of directories
    /// EIO. What should have been synced is gone, and the next sync has nothing to complain about.
    pub sync_error_permille: u16,
    pub sync_error_at: Option<u64>,
    /// Reported as synced, and not durable: no system can survive this disk, a suite must catch it.
    pub sync_lie_permille: u16,

    // ---- the whole disk
    /// The operation takes up to `slow_disk` longer.
    pub slow_disk_permille: u16,
    pub slow_disk: Duration,
    /// Data pages beyond this many bytes are refused with ENOSPC.
    pub capacity_bytes: Option<u64>,

    // ---- network
    pub connect_refused_permille: u16,
    /// Per delivered piece: the connection breaks for both sides.
    pub reset_permille: u16,
    /// Per delivered piece: from now on nothing arrives in this direction, and nobody is told.
    pub cut_permille: u16,
    /// Per delivered piece: it takes up to `slow_net` longer.
    pub slow_net_permille: u16,
    pub slow_net: Duration,

    // ---- clock
    /// Per submitted operation: the wall clock steps back by up to `wall_back`.
    pub wall_back_permille: u16,
    pub wall_back: Duration,
}

impl Faults {
    pub fn hits(&self, path: &str) -> bool {
        self.only_paths_with.as_ref().is_none_or(|part| path.contains(part.as_str()))
    }
}
