//! The log of one shard as bytes: pure code, no files, no async.
//!
//! A log is a stream of records ([`record`]), cut into blocks ([`block`]) of one group commit each,
//! which lie in segment files ([`segment`]). These three have the byte maps. [`LogBuilder`] turns
//! records into blocks; [`Replay`] turns segments back into records and decides what is a torn tail
//! (cut) and what is damage (refused). [`dump`] and [`verify()`] are for people.
//!
//! Invariants:
//! - the hash chain leads through every block of the log, also across segments;
//! - a segment file has its full length, durable, before its first block is written;
//! - no process appends to a segment that another one wrote: after a start, clean or not, a new
//!   segment begins that records where the log was cut, so a late write of a dead process never
//!   becomes part of the log.
//!
//! Must not know: what keys and payloads mean, which disk the blocks are on, who waits for them.

mod assemble;
pub mod block;
mod builder;
mod chain;
#[cfg(test)]
mod content_tests;
mod damage;
pub mod dump;
pub(in crate::io) mod field;
#[cfg(test)]
mod flip_tests;
#[cfg(test)]
mod model_tests;
mod pending;
mod plan;
mod pool;
pub mod record;
mod replay;
#[cfg(test)]
mod replay_tests;
mod search;
pub mod segment;
#[cfg(test)]
mod testing;
mod verify;

pub use assemble::ContentFault;
pub use block::{BlockFault, BlockHeader, BlockView};
pub use builder::{BlockOut, LogBuilder};
pub use damage::{Cause, Damage, Evidence, ReplayError};
pub use plan::{Made, ReadAt, Recovered, ReplayStart, SegmentFile, Step};
pub use record::{Kind, Meta, Once, Record, RecordFault, RecordParts, RecordRef, Source};
pub use replay::Replay;
pub use segment::{
    BlockEnd, SegmentStart, StartKind, parse_segment_file_name, segment_bytes_of, segment_file_name,
};
pub use verify::{VerifyReport, verify};
