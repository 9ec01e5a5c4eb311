//! Why a seal or a compaction ended early. What was committed stays, and nothing is lost.

use std::fmt;
use std::io;

use crate::shard::record::Refusal;
use crate::shard::runs::LoadError;
use crate::types::ShardId;

#[derive(Debug)]
pub enum StoreError {
    Write(io::Error),
    Read(LoadError),
    Refused(Refusal),
}

impl StoreError {
    pub fn as_refusal(&self, shard: ShardId) -> Refusal {
        match self {
            StoreError::Refused(refusal) => *refusal,
            StoreError::Write(error) if error.kind() == io::ErrorKind::StorageFull => Refusal::DiskFull,
            StoreError::Write(_) => Refusal::CheckpointFailed { shard },
            StoreError::Read(_) => Refusal::Damaged { shard },
        }
    }

    /// Not an error of the moment.
    pub fn is_damage(&self) -> bool {
        matches!(self, StoreError::Read(error) if !matches!(error, LoadError::Io { .. }))
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Write(error) => error.fmt(f),
            StoreError::Read(error) => error.fmt(f),
            StoreError::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> StoreError {
        StoreError::Write(error)
    }
}

impl From<LoadError> for StoreError {
    fn from(error: LoadError) -> StoreError {
        StoreError::Read(error)
    }
}

impl From<Refusal> for StoreError {
    fn from(refusal: Refusal) -> StoreError {
        StoreError::Refused(refusal)
    }
}
