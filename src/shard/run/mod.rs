//! Sorted runs: immutable files of records in key order, as pure code (bytes in, bytes out).
//!
//! A run is written with a [`RunWriter`] and read with a [`RunReader`], block by block. Served in place, it
//! has a [`Resident`], which a [`ResidentLoader`] reads or the writer hands over: a point lookup asks
//! resident memory only, then reads one block.
//!
//! ```text
//! header | payload blocks | keys of tablet 0 | 1 | .. | locators | directory | index | filter | marks | footer
//! 4 KiB  | n * 4 KiB each |            every part is padded with zeros to 4 KiB                       | 4 KiB
//! ```
//!
//! Index, filter and marks are derived from the rest, and not there when they would be empty. They are new
//! in version 2. A run in which they are damaged is whole. Since version 3 an entry may refer to a large value,
//! which lies in a [`value_file`]. Since version 4 entries are short: they say how they differ from others of their
//! block. All versions are read, version 4 is written.
//!
//! Every part begins at a multiple of 4 KiB, directly behind the one before, and every byte of the file
//! is under a hash (xxh3, 64 bits), in a chain: the manifest keeps that of the footer, the footer those of
//! header and sections, the locators those of the payload blocks, the directory those of the
//! keys. So a half-written, swapped or stale file, or a part of one, is never read as data. Numbers are
//! little-endian. Magic, version, features and hash keep their places in header and footer for ever, so
//! a newer format is told from damage. Byte maps: [`header`], [`block`], [`block_form`], [`entry`], [`stamp`],
//! [`whole_entry`], [`u64_keys`],
//! [`first_keys`], [`locators`], [`directory`], [`learned_section`], [`filter`], [`marks`], [`table`],
//! [`footer`], [`value_ref`], [`value_file`].
//!
//! Invariant: entries are sorted by (collection, tablet, key), each key once; no block holds two tablets.
//!
//! Must not know: files, async, the delta, the manifest.

mod block_builder;
mod chunks;
mod field;
mod key_part;
mod opening;
mod part_copy;
mod part_read;
mod pieces;
mod ranges;
mod resident_keys;
mod seal;
mod varint;

pub mod block;
pub mod block_form;
pub mod body;
pub mod bounds;
pub mod directory;
pub mod entry;
pub mod error;
pub mod extent;
pub mod filter;
pub mod first_keys;
pub mod footer;
pub mod header;
pub mod iter;
pub mod learned_section;
pub mod loader;
pub mod locators;
pub mod marks;
pub mod reader;
pub mod resident;
pub mod salvage;
pub mod stamp;
pub mod table;
pub mod tail;
pub mod u64_keys;
pub mod value_file;
pub mod value_ref;
pub mod value_writer;
pub mod watched;
pub mod whole_entry;
pub mod writer;

#[cfg(test)]
mod tests;

pub use body::Body;
pub use bounds::{Bounds, RunKey};
pub use directory::{TabletEntry, TabletInfo};
pub use entry::EntryRef;
pub use error::RunError;
pub use footer::{Footer, RunFile};
pub use header::{Covered, RunHeader};
pub use loader::{LoadStep, ResidentLoader};
pub use reader::RunReader;
pub use resident::{Lookup, Rebuilt, Resident, Why};
pub use tail::{FinishedRun, RunTail, TailStep};
pub use value_file::{ValueFooter, ValueMeta};
pub use value_ref::ValueRef;
pub use value_writer::ValueWriter;
pub use watched::{Remake, Watched};
pub use writer::RunWriter;

use crate::io::buf::BLOCK_BYTES;
use crate::limits;

/// Everything in a run is placed in units of this.
pub const PAGE_BYTES: usize = BLOCK_BYTES;

/// What is written, runs and value files. All before are read as well.
const FORMAT_VERSION: u16 = 4;
const DERIVED_SINCE_VERSION: u16 = 2;
/// Feature bits that this code can read; a file with any other was written by newer code.
const FEATURES_KNOWN: u32 = 0;

/// An encoded [`crate::shard::payload::Payload`] of the largest value.
const PAYLOAD_BYTES_MAX: usize = 2 + limits::CONTENT_TYPE_BYTES_MAX + limits::VALUE_BYTES_MAX;
