//! The manifest of one shard: the only commit point of everything that is not log.
//!
//! Each commit is the whole state of the shard as opaque bytes; what they mean belongs to the shard.
//! [`mod@format`] has the byte maps, [`recover`] decides without I/O which state counts, [`Manifest`] is the
//! thin layer that reads and writes.
//!
//! Files in the shard's directory:
//! - `superblock`: two slots of 4 KiB, each naming a manifest file, the length of it that is committed
//!   and the record that ends there. The valid slot with the highest generation counts.
//! - `manifest-<id as 16 hex digits>`: records, one after the other, each a multiple of 4 KiB. Not
//!   preallocated: commits are rare, so the metadata update of a growing file costs nothing that counts.
//!
//! Invariants:
//! - a commit is done when its slot is on stable storage, which is after its record is; a record that
//!   no slot names yet was durable before anything else depended on it, and is adopted;
//! - a process writes only files that it created: each start begins a new manifest file and a new
//!   superblock, so a late write of a dead process reaches nothing that counts;
//! - when the manifest file changes, a new superblock names it in both slots before the old file is
//!   removed, so one damaged slot never costs a state;
//! - damage at or before the committed length, or in both slots, refuses. Nothing is ever taken for a
//!   fresh directory that has a superblock with a commit, or a manifest file without a superblock.
//!
//! Must not know: what a state means, the log.

#[cfg(test)]
mod crash_tests;
pub mod damage;
pub mod format;
pub mod recover;
mod store;

pub use damage::{ManifestDamage, ManifestError};
pub use format::SUPERBLOCK_FILE;
pub use store::Manifest;
