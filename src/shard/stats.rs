//! What a shard tells about itself: plain numbers, gathered from all cores for `/metrics`, `/readyz`
//! and `GET /v1/collections/{c}`.

use super::decisions::Decisions;
use crate::io::executor::TurnStats;
use crate::rmi::drift::Drift;
use crate::types::{Lsn, ShardId};

/// Latency buckets are powers of two from 1 us: bucket `i` counts values up to `2^i` us, the last all.
pub const LATENCY_BUCKETS: usize = 25;

/// A histogram that costs two additions an observation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    pub buckets: [u64; LATENCY_BUCKETS],
    pub count: u64,
    pub sum_ns: u64,
}

impl Latency {
    pub fn observe(&mut self, ns: u64) {
        let us = ns.div_ceil(1000).max(1);
        let bucket = us.next_power_of_two().trailing_zeros() as usize;
        self.buckets[bucket.min(LATENCY_BUCKETS - 1)] += 1;
        self.count += 1;
        self.sum_ns += ns;
    }
}

/// Where a shard is on its way to serving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    #[default]
    Recovering,
    Serving,
    /// The log failed; reads go on, writes are refused.
    Poisoned,
}

/// Of the indexes over documents.
#[derive(Clone, Copy, Debug, Default)]
pub struct DocumentStats {
    /// Documents of this shard that searches find.
    pub indexed: u64,
    /// Tablets whose records are still being read: searches of them wait.
    pub loading_tablets: u64,
    /// Vectors that wait for their links: they are scanned.
    pub unlinked: u64,
    /// Parts that only this shard searches.
    pub own_parts: u64,
    /// Parts that all shards search.
    pub shared_parts: u64,
    /// With this shard's share of what is shared.
    pub memory_bytes: u64,
}

#[derive(Clone, Debug, Default)]
pub struct ShardStats {
    pub shard: ShardId,
    pub phase: Phase,
    /// Records replayed so far while recovering.
    pub replayed_records: u64,
    pub gets: u64,
    pub puts: u64,
    pub deletes: u64,
    pub scans: u64,
    pub refused: u64,
    /// Requests that came from another core.
    pub from_other_cores: u64,
    /// From acceptance of a write to its acknowledgement.
    pub write_latency: Latency,
    /// From submission of a log block to its completion.
    pub commit_latency: Latency,
    pub log_commits: u64,
    pub log_records: u64,
    /// Bytes written to the log, padding included.
    pub log_bytes: u64,
    pub log_backlog_bytes: u64,
    pub log_writes_in_flight: u64,
    pub log_segments: u64,
    pub durable_lsn: Lsn,
    pub inbox_frames: u64,
    pub live_records: u64,
    /// Keys and payloads of records that are in no run yet.
    pub live_bytes: u64,
    /// Estimated memory of records in no run, of keys and models of the runs, and of warm values.
    pub memory_bytes: u64,
    pub resident_bytes: u64,
    pub cache_bytes: u64,
    pub cache_hits: u64,
    pub cache_misses: u64,
    /// Point reads that had to read a file, and the blocks that they read.
    pub cold_reads: u64,
    pub block_reads: u64,
    pub damaged_reads: u64,
    pub rebuilt_indexes: u64,
    pub memory_budget_bytes: u64,
    pub checkpoints: u64,
    pub checkpoint_failures: u64,
    pub checkpoint_bytes: u64,
    pub runs: u64,
    /// Those of level 0.
    pub fresh_runs: u64,
    pub run_bytes: u64,
    /// Files of large values, and how much of the values in them runs refer to.
    pub value_files: u64,
    pub value_file_bytes: u64,
    pub value_live_bytes: u64,
    /// Large values that were read.
    pub value_reads: u64,
    pub compactions: u64,
    pub compaction_failures: u64,
    pub compaction_read_bytes: u64,
    pub compaction_written_bytes: u64,
    /// Pauses of the log for compaction, in microseconds.
    pub log_paused_us: u64,
    pub expired_records: u64,
    pub documents: DocumentStats,
    pub decisions: Decisions,
    /// What lookups in the indexes of runs were like.
    pub drift: Drift,
    /// Keys of runs by the structure that serves them, for lookups one by one and in batches.
    pub keys_single: [u64; 2],
    pub keys_batch: [u64; 2],
    pub disk_full: bool,
    pub turns: TurnStats,
    /// Shard 0: changes of ranges by reason, those that failed, and the largest shard over the mean.
    pub range_changes: Vec<(&'static str, u64)>,
    pub range_change_failures: u64,
    pub largest_to_mean: f64,
}

/// Sizes of one collection on one shard, or summed over all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CollectionStats {
    pub records: u64,
    /// Keys and payloads in memory, and the blocks of the runs.
    pub bytes: u64,
}
