//! What a shard is told at its start.

use std::path::PathBuf;

use super::balance::BalanceOptions;
use super::record::Durability;
use super::search::options::IndexOptions;
use crate::limits;

#[derive(Clone, Debug)]
pub struct ShardOptions {
    /// The node's data directory; a shard lives in a folder of its own below it.
    pub data_dir: PathBuf,
    pub log_segment_bytes: usize,
    /// Budget of one shard.
    pub memory_bytes: u64,
    /// Of writes that name none, in collections that name none.
    pub durability: Durability,
    /// A checkpoint begins when this much log is not covered: bounds replay to half a second.
    pub checkpoint_log_bytes: u64,
    /// Read values of the runs at a start as well, as far as the cache has room.
    pub warm_on_start: bool,
    /// Size of a run file, about: what compaction moves at a time.
    pub part_bytes: u64,
    pub balance: BalanceOptions,
    /// A larger payload lies in a value file.
    pub value_bytes_inline: usize,
    /// Size of a value file, about.
    pub value_file_bytes: u64,
    pub index: IndexOptions,
}

impl ShardOptions {
    pub fn new(data_dir: impl Into<PathBuf>) -> ShardOptions {
        ShardOptions {
            data_dir: data_dir.into(),
            log_segment_bytes: limits::LOG_SEGMENT_BYTES_DEFAULT,
            memory_bytes: limits::MEMORY_BYTES_DEFAULT,
            durability: Durability::Fsync,
            checkpoint_log_bytes: limits::CHECKPOINT_LOG_BYTES,
            warm_on_start: false,
            part_bytes: limits::PART_BYTES,
            balance: BalanceOptions::default(),
            value_bytes_inline: limits::INLINE_VALUE_BYTES_MAX,
            value_file_bytes: limits::VALUE_FILE_BYTES,
            index: IndexOptions::default(),
        }
    }

    pub fn shard_dir(&self, shard: crate::types::ShardId) -> PathBuf {
        self.data_dir.join(format!("shard-{:03}", shard.0))
    }
}

/// The shard whose folder of the data directory this is.
pub fn parse_shard_dir(name: &str) -> Option<crate::types::ShardId> {
    let digits = name.strip_prefix("shard-").filter(|digits| digits.len() == 3)?;
    digits.parse().ok().map(crate::types::ShardId)
}
