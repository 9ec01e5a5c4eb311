//! What replay is given, what it asks for and what it gives back.

use super::block::BlockFault;
use super::segment::BlockEnd;
use crate::limits;
use crate::types::{FileOffset, Lsn, SegmentId, ShardId};

/// A segment file that exists, and its length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFile {
    pub id: SegmentId,
    pub len: u64,
}

/// Where replay begins, from the manifest.
#[derive(Clone, Copy, Debug)]
pub struct ReplayStart {
    pub shard: ShardId,
    /// Older segments are ignored. This one may lack a predecessor.
    pub from: SegmentId,
    /// What a checkpoint covers, and one: lower LSNs are checked but not given.
    pub first_wanted: Lsn,
    /// An LSN known to be in the log or covered: the last of all after a clean shutdown, else 0.
    pub floor: Lsn,
    pub made: Made,
}

/// Segments of one life of a shard: the first was begun and all were made, durably. Both 0 when nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Made {
    pub first: SegmentId,
    pub last: SegmentId,
}

/// Bytes that replay needs: a direct read, so offset and length are multiples of 4 KiB, and the answer
/// is shorter where the file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadAt {
    pub segment: SegmentId,
    pub offset: FileOffset,
    pub len: usize,
}

/// What there is to go on from. See [`super::LogBuilder::after`] for what has to be synced first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The last LSN in the log, or covered by the checkpoint.
    pub last_lsn: Lsn,
    /// LSNs from this on may have been given out, by a process of which no record is left.
    pub base_lsn: Lsn,
    /// Where the log was cut; what lies behind never counts again once a new segment says so.
    pub cut: BlockEnd,
    /// Ids up to this may have been used.
    pub highest_segment_seen: SegmentId,
    pub max_commit_ts: u64,
    /// Records given.
    pub records: u64,
    /// What was found at the cut.
    pub tail: BlockFault,
}

impl Recovered {
    /// An LSN above all that could have been given out before.
    pub fn next_lsn(&self) -> Lsn {
        Lsn(self.last_lsn.max(self.base_lsn).0 + limits::CRASH_JUMP_RECORDS)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Read(ReadAt),
    Done(Recovered),
}
