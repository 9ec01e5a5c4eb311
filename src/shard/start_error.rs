//! Why a shard does not start. No record was changed.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::runs::LoadError;
use super::state::StateError;
use crate::io::log::ReplayError;
use crate::io::manifest::ManifestError;
use crate::types::{Lsn, ShardId};

#[derive(Debug)]
pub enum StartError {
    Io {
        path: PathBuf,
        error: io::Error,
    },
    Manifest(ManifestError),
    State(StateError),
    Log(ReplayError),
    Run(LoadError),
    /// There are logs or runs, but nothing that names them.
    ManifestMissing {
        dir: PathBuf,
    },
    /// The directory of a log, which a manifest belongs to.
    LogMissing {
        dir: PathBuf,
    },
    /// A restore was cut short.
    HalfRestored {
        dir: PathBuf,
    },
    /// The directory was made for another number of shards.
    ShardCount {
        found: u16,
        wanted: u16,
    },
    /// A record that is whole and in its place, but not what its kind says.
    Record {
        lsn: Lsn,
    },
    /// The shard had data, and there is none.
    ShardLost {
        shard: ShardId,
    },
    /// The shard's data and that of shard 0 are of two nodes.
    OtherNode {
        shard: ShardId,
    },
    /// Shard 0 has a map older than one that this shard has seen.
    OldMap {
        shard: ShardId,
    },
    /// Of another shard of this node.
    Other {
        shard: ShardId,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Io { path, error } => write!(f, "{}: {error}", path.display()),
            StartError::Manifest(error) => error.fmt(f),
            StartError::State(error) => error.fmt(f),
            StartError::Log(error) => error.fmt(f),
            StartError::Run(error) => write!(f, "{error}; `kyrodb verify` lists all damage"),
            StartError::ManifestMissing { dir } => write!(
                f,
                "{}: the manifest and its superblock are gone, but logs or runs are there; restore the \
                 directory from a backup",
                dir.display()
            ),
            StartError::LogMissing { dir } => write!(
                f,
                "{}: the log of the shard is gone, and with it what was written last; restore a backup",
                dir.display()
            ),
            StartError::HalfRestored { dir } => write!(
                f,
                "{}: a restore into this directory was cut short, so it has a part of the data only; run the \
                 same `kyrodb restore` again",
                dir.display()
            ),
            StartError::ShardCount { found, wanted } => write!(
                f,
                "the data directory was made with {found} shards and {wanted} are asked for; start with \
                 --shards {found} (resharding is not there yet)"
            ),
            StartError::Record { lsn } => {
                write!(f, "the record with LSN {lsn} is not what its kind says; `kyrodb wal dump` shows it")
            }
            StartError::ShardLost { shard } => write!(
                f,
                "shard {shard} had data, and its directory is empty or gone; restore the whole data directory \
                 from a backup"
            ),
            StartError::OtherNode { shard } => write!(
                f,
                "the data of shard {shard} and that of shard 0 are not of the same node: one of the two \
                 directories was lost, or comes from elsewhere; restore the whole data directory from a backup"
            ),
            StartError::OldMap { shard } => write!(
                f,
                "shard {shard} has records by a map of collections that is newer than the one shard 0 has: the \
                 directory of shard 0 is an older one; restore the whole data directory from a backup"
            ),
            StartError::Other { shard } => write!(f, "shard {shard} did not start"),
        }
    }
}

impl std::error::Error for StartError {}
