//! Sorted runs: immutable files of records in key order, as pure code (bytes in, bytes out).
//!
//! A checkpoint writes a run with a [`RunWriter`]; a start loads it with a [`RunReader`], block by block;
//! the storage engine will read it in place with one direct read per point lookup.
//!
//! ```text
//! header | payload blocks | keys of tablet 0 | keys of tablet 1 | .. | locators | directory | footer
//! 4 KiB  | n * 4 KiB each |            every part is padded with zeros to 4 KiB           | 4 KiB
//! ```
//!
//! Every part begins at a multiple of 4 KiB, directly behind the one before, and every byte of the file
//! is under a hash (xxh3, 64 bits), in a chain: the manifest keeps that of the footer, the footer those of
//! header, locators and directory, the locators those of the payload blocks, the directory those of the
//! keys. So a half-written, swapped or stale file, or a part of one, is never read as data. Numbers are
//! little-endian. Magic, version, features and hash keep their places in header and footer for ever, so
//! a newer format is told from damage. Byte maps: [`header`], [`block`], [`entry`], [`u64_keys`],
//! [`first_keys`], [`locators`], [`directory`], [`footer`].
//!
//! Invariant: entries are sorted by (collection, tablet, key), each key once; no block holds two tablets.
//!
//! Must not know: files, async, the delta, the manifest.

mod block_builder;
mod chunks;
mod field;
mod key_part;
mod pieces;
mod seal;

pub mod block;
pub mod directory;
pub mod entry;
pub mod error;
pub mod extent;
pub mod first_keys;
pub mod footer;
pub mod header;
pub mod iter;
pub mod locators;
pub mod reader;
pub mod tail;
pub mod u64_keys;
pub mod writer;

#[cfg(test)]
mod tests;

pub use directory::{TabletEntry, TabletInfo};
pub use entry::EntryRef;
pub use error::RunError;
pub use footer::{Footer, RunFile};
pub use header::{Covered, RunHeader};
pub use reader::RunReader;
pub use tail::{FinishedRun, RunTail};
pub use writer::RunWriter;

use crate::io::buf::BLOCK_BYTES;
use crate::limits;

/// Everything in a run is placed in units of this.
pub const PAGE_BYTES: usize = BLOCK_BYTES;

const FORMAT_VERSION: u16 = 1;
/// Feature bits that this code can read; a file with any other was written by newer code.
const FEATURES_KNOWN: u32 = 0;

/// An encoded [`crate::shard::payload::Payload`] of the largest value.
const PAYLOAD_BYTES_MAX: usize = 2 + limits::CONTENT_TYPE_BYTES_MAX + limits::VALUE_BYTES_MAX;
