//! Why a log is refused, in words that say where, what and what to do.

use std::fmt;

use super::assemble::ContentFault;
use super::block::BlockFault;
use super::segment::segment_file_name;
use crate::types::{FileOffset, Lsn, SegmentId, ShardId};

/// What is wrong at the place of a damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Block(BlockFault),
    Content(ContentFault),
    /// The file ends after so many bytes; it was longer when its first block was written.
    CutShort {
        len: u64,
    },
    /// The disk does not give what is there.
    Unreadable,
    /// Replay begins behind records that it should give.
    Missing {
        first_wanted: Lsn,
    },
}

/// Why it is not just the torn end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The block there knew that this LSN was on stable storage.
    Durable { lsn: Lsn, segment: SegmentId, offset: FileOffset },
    /// The manifest names this LSN as the last of a clean shutdown.
    Floor { lsn: Lsn },
    /// The manifest has noted that this segment, there or behind it, was made.
    Made { segment: SegmentId },
    /// An earlier recovery read beyond this place and went on in that segment.
    Recovered { segment: SegmentId },
    /// No crash leaves this behind.
    Itself,
    /// A block behind it knew of it; a checkpoint covers it.
    Covered { lsn: Lsn },
}

/// A place that must hold log and does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    pub shard: ShardId,
    pub segment: SegmentId,
    pub offset: FileOffset,
    /// The last record before the place.
    pub last_lsn: Lsn,
    pub cause: Cause,
    pub evidence: Evidence,
}

/// Why replay stopped for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayError {
    Damage(Damage),
    /// A newer program wrote this log; nothing is wrong with it.
    Newer {
        shard: ShardId,
        segment: SegmentId,
        offset: FileOffset,
        fault: BlockFault,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Block(fault) => fault.fmt(f),
            Cause::Content(fault) => fault.fmt(f),
            Cause::CutShort { len } => write!(f, "the file was cut to {len} bytes"),
            Cause::Unreadable => f.write_str("the disk cannot read it"),
            Cause::Missing { first_wanted } => {
                write!(f, "the log before this segment, which has LSN {first_wanted}, is missing")
            }
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Evidence::Durable { lsn, segment, offset } => {
                let file = segment_file_name(*segment);
                write!(f, "LSN {lsn} was on stable storage, says the block at offset {offset} of log/{file}")
            }
            Evidence::Floor { lsn } => write!(f, "LSN {lsn} was on stable storage, says the manifest"),
            Evidence::Made { segment } => {
                let file = segment_file_name(*segment);
                write!(f, "the manifest says that log/{file} was made, and it is missing or empty")
            }
            Evidence::Recovered { segment } => {
                write!(f, "an earlier recovery read beyond it, says log/{}", segment_file_name(*segment))
            }
            Evidence::Itself => f.write_str("no crash leaves this behind"),
            Evidence::Covered { lsn } => {
                write!(f, "nothing is missing, as all records up to LSN {lsn} are in runs as well")
            }
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { shard, segment, offset, last_lsn, cause, evidence } = self;
        let file = segment_file_name(*segment);
        write!(f, "shard {shard}: log/{file} is damaged at offset {offset}, behind LSN {last_lsn}: ")?;
        write!(f, "{cause}; {evidence}. ")?;
        f.write_str(match evidence {
            Evidence::Covered { .. } => "A server starts all the same, and removes the segment in time",
            Evidence::Made { .. } => {
                "Writes that were acknowledged may be in it: put it back. If it is lost, `kyrodb repair --cut-log` goes on \
                 without it. Nothing was changed; `kyrodb verify` lists every damaged place"
            }
            _ => {
                "No record was changed. `kyrodb verify` lists every damaged place, `kyrodb wal dump` shows what can \
                 be read"
            }
        })
    }
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplayError::Damage(damage) => damage.fmt(f),
            ReplayError::Newer { shard, segment, offset, fault } => {
                let file = segment_file_name(*segment);
                write!(f, "shard {shard}: log/{file} was written by a newer kyrodb: at offset {offset}, ")?;
                write!(f, "{fault}. Start that version; nothing was changed")
            }
        }
    }
}

impl ReplayError {
    /// Segment and offset of the place.
    pub fn place(&self) -> (SegmentId, FileOffset) {
        match self {
            ReplayError::Damage(damage) => (damage.segment, damage.offset),
            ReplayError::Newer { segment, offset, .. } => (*segment, *offset),
        }
    }

    /// Replay goes on behind it, and nothing is missing.
    pub fn is_harmless(&self) -> bool {
        matches!(self, ReplayError::Damage(Damage { evidence: Evidence::Covered { .. }, .. }))
    }

    /// The last LSN known to be whole before the place.
    pub fn last_lsn(&self) -> Option<Lsn> {
        match self {
            ReplayError::Damage(damage) => Some(damage.last_lsn),
            ReplayError::Newer { .. } => None,
        }
    }
}

impl std::error::Error for Damage {}
impl std::error::Error for ReplayError {}
