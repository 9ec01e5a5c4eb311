//! What goes into the engine and what comes out of it, whatever core asked.

use std::fmt;
use std::ops::Bound;

use super::key::Key;
use super::payload::Payload;
use crate::types::{Lsn, Seq, ShardId, Token, WallMs};

/// When a write is acknowledged; see the table in ARCHITECTURE.md.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Applied in memory; logged in the background.
    Memory,
    /// Its log block was handed to the disk.
    Interval,
    /// Its log block is on stable storage.
    #[default]
    Fsync,
}

impl Durability {
    pub fn name(self) -> &'static str {
        match self {
            Durability::Memory => "memory",
            Durability::Interval => "interval",
            Durability::Fsync => "fsync",
        }
    }

    pub fn parse(text: &str) -> Option<Durability> {
        [Durability::Memory, Durability::Interval, Durability::Fsync].into_iter().find(|d| d.name() == text)
    }
}

/// What must hold of the record's present version (an expired one counts as absent).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    #[default]
    None,
    /// `If-None-Match: *`
    Absent,
    /// `If-Match: *`
    Present,
    /// `If-Match: "<seq>"`, `if_seq`
    SeqIs(Seq),
}

/// When a record expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    At(WallMs),
    /// So many milliseconds after the write, by the clock that will judge it: that of the owner, which may
    /// be ahead of the wall.
    In(u64),
}

impl Expiry {
    pub fn at(self, now: WallMs) -> WallMs {
        match self {
            Expiry::At(at) => at,
            Expiry::In(ms) => WallMs(now.0.saturating_add(ms)),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `None` lives for ever.
    Put { payload: Payload, expires: Option<Expiry> },
    /// Refused with [`Refusal::Absent`] when there is nothing to delete.
    Delete,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub key: Key,
    pub change: Change,
    pub condition: Condition,
    pub durability: Durability,
    /// Of a request that names itself: it is carried out once, however often it comes.
    pub once: Option<Box<Once>>,
}

/// How a request names itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Once {
    pub token: Token,
    /// Of what is asked.
    pub fingerprint: u64,
    /// Only whether it was carried out is wanted, and what came of it; else [`Refusal::Absent`].
    pub asks_only: bool,
}

/// An acknowledged write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    pub lsn: Lsn,
    pub seq: Seq,
    /// True when the key had no visible record before.
    pub created: bool,
    /// What the acknowledgement stands for.
    pub reached: Durability,
    /// It was carried out by an earlier request, of which this is the answer.
    pub replayed: bool,
}

/// A visible version of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub payload: Payload,
    pub lsn: Lsn,
    pub seq: Seq,
    pub expires: Option<WallMs>,
}

/// What a read does about a large value that is not in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    Whole,
    /// Leaves it where it lies, with [`Refusal::NotAhead`]: others have to be answered before.
    Ahead,
}

/// Bytes that values may take which are read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueRoom {
    pub bytes: usize,
    /// The first value is given however large it is.
    pub takes_first: bool,
}

impl ValueRoom {
    /// How many of these lengths, from the first on, have room together.
    pub fn count_fitting(&self, lens: impl Iterator<Item = usize>) -> usize {
        let mut left = self.bytes;
        let fits = |(place, len): &(usize, usize)| {
            let takes = *len <= left || (*place == 0 && self.takes_first);
            left = left.saturating_sub(*len);
            takes
        };
        lens.enumerate().take_while(fits).count()
    }
}

/// Why a request was not carried out. Nothing was changed, except under `StorageFailed`, where the
/// outcome of the write is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The collection does not exist (any more).
    NoSuchCollection,
    /// A delete of a key without a visible record.
    Absent,
    /// Another request had the same name.
    OtherRequest,
    /// The condition does not hold; the present version, if any.
    ConditionFailed { current: Option<Seq> },
    /// A bounded queue is full; try again.
    Overloaded { queue: &'static str },
    /// The shard is still recovering, or a range is just moving; try again.
    NotReady,
    /// The shard's log failed: it takes no more writes until a restart.
    StorageFailed { shard: ShardId },
    /// A checkpoint could not be written; the log keeps everything.
    CheckpointFailed { shard: ShardId },
    /// No snapshot was made, and nothing of it is left; writes go on.
    SnapshotFailed { shard: ShardId },
    /// What has to be read from a run of this shard cannot be read, or is damaged. `kyrodb verify` says where.
    Damaged { shard: ShardId },
    /// The memory budget is used up.
    MemoryFull,
    /// The disk is full, its reserve kept for deletes and checkpoints.
    DiskFull,
    /// The documents of a page of hits are more than a search gathers.
    PageTooLarge,
    /// The tablet is not on this shard by its map; retried inside the node, never seen by a client.
    Moved,
    /// The value is large and nobody takes it yet; asked for again inside the node, never seen by a client.
    NotAhead,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NoSuchCollection => f.write_str("the collection does not exist"),
            Refusal::Absent => f.write_str("no record has this key"),
            Refusal::OtherRequest => {
                f.write_str("the idempotency key was given to another request for this record")
            }
            Refusal::ConditionFailed { current: Some(seq) } => {
                write!(f, "the record is at version {seq}")
            }
            Refusal::ConditionFailed { current: None } => f.write_str("no record has this key"),
            Refusal::Overloaded { queue } => write!(f, "the {queue} is full"),
            Refusal::NotReady => f.write_str("the shard is not ready"),
            Refusal::StorageFailed { shard } => {
                write!(f, "the storage of shard {shard} failed; it takes no writes until a restart")
            }
            Refusal::CheckpointFailed { shard } => {
                write!(f, "shard {shard} could not write a checkpoint; its log keeps everything")
            }
            Refusal::SnapshotFailed { shard } => {
                write!(f, "shard {shard} could not do its part of the snapshot; nothing of it is left")
            }
            Refusal::Damaged { shard } => {
                write!(f, "a file of shard {shard} cannot be read or is damaged; `kyrodb verify` says where")
            }
            Refusal::MemoryFull => f.write_str("the memory budget is used up"),
            Refusal::DiskFull => f.write_str("the disk is full"),
            Refusal::PageTooLarge => write!(
                f,
                "what is to be shown of the hits takes more than {} MiB: ask for fewer, or include less",
                crate::limits::SEARCH_PAGE_BYTES_MAX / crate::limits::MIB
            ),
            Refusal::Moved => f.write_str("the key range is on another shard"),
            Refusal::NotAhead => f.write_str("the value is not read ahead of its turn"),
        }
    }
}

impl std::error::Error for Refusal {}

/// A range of keys of one collection and how much of it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    pub start: Bound<Key>,
    pub end: Bound<Key>,
    /// From the end towards the start.
    pub reverse: bool,
    /// Records a page, 1 to [`crate::limits::SCAN_PAGE_RECORDS_MAX`].
    pub limit: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The clock of a shard never goes back and may be ahead of the wall: a ttl counted from the wall would
    /// be over at once.
    #[test]
    fn a_time_to_live_counts_from_the_clock_that_judges_it() {
        assert_eq!(Expiry::In(30).at(WallMs(1000)), WallMs(1030));
        assert_eq!(Expiry::At(WallMs(7)).at(WallMs(1000)), WallMs(7));
    }

    #[test]
    fn the_first_value_has_room_whatever_it_is_where_it_may() {
        let count = |takes_first, lens: &[usize]| {
            ValueRoom { bytes: 10, takes_first }.count_fitting(lens.iter().copied())
        };
        assert_eq!((count(true, &[]), count(true, &[4, 6, 0]), count(true, &[4, 7, 1])), (0, 3, 1));
        assert_eq!((count(true, &[99, 0, 1]), count(false, &[99, 0]), count(false, &[1])), (2, 0, 1));
    }
}
