//! What every sealed block begins with: a hash over all the rest of it.
//!
//! Header, footer and payload blocks are sealed; the hash of any other part is kept by the part that
//! names it. Header and footer go on with magic, version and features, at places that never change.
//!
//! ```text
//! 0     8      16       18     20        24
//! +-----+------+--------+------+---------+
//! |hash | magic| version| shard| features|
//! | u64 | u64  | u16    | u16  | u32     |
//! +-----+------+--------+------+---------+
//! ```

use xxhash_rust::xxh3::xxh3_64;

use super::error::{Fault, Field, Place, RunError};
use super::field::{put_at, u16_at, u32_at, u64_at};
use super::{FEATURES_KNOWN, FORMAT_VERSION, PAGE_BYTES};
use crate::types::ShardId;

/// The hash covers everything from here on.
pub(super) const SEALED_AT: usize = 8;
const MAGIC_AT: usize = SEALED_AT;
const VERSION_AT: usize = MAGIC_AT + 8;
const SHARD_AT: usize = VERSION_AT + 2;
const FEATURES_AT: usize = SHARD_AT + 2;
pub(super) const PREAMBLE_BYTES: usize = FEATURES_AT + 4;

/// Writes the hash; returns it.
pub(super) fn seal(block: &mut [u8]) -> u64 {
    let hash = xxh3_64(&block[SEALED_AT..]);
    put_at(block, 0, hash.to_le_bytes());
    hash
}

/// Checks length and hash of a sealed block; returns the hash.
pub(super) fn check_seal(place: Place, block: &[u8], len: usize) -> Result<u64, RunError> {
    assert!(len >= SEALED_AT);
    place.check_len(block, len as u64)?;
    let hash = u64_at(block, 0);
    place.check_hash(hash, xxh3_64(&block[SEALED_AT..]))?;
    Ok(hash)
}

/// Writes what header and footer begin with, but for the hash.
pub(super) fn put_preamble(page: &mut [u8; PAGE_BYTES], magic: u64, shard: ShardId) {
    put_at(page, MAGIC_AT, magic.to_le_bytes());
    put_at(page, VERSION_AT, FORMAT_VERSION.to_le_bytes());
    put_at(page, SHARD_AT, shard.0.to_le_bytes());
    put_at(page, FEATURES_AT, FEATURES_KNOWN.to_le_bytes());
}

/// What is known of a header or footer before its own fields are read.
pub(super) struct Preamble {
    pub hash: u64,
    pub version: u16,
    pub shard: ShardId,
}

/// Checks a sealed header or footer up to its own fields.
pub(super) fn check_preamble(place: Place, page: &[u8], magic: u64) -> Result<Preamble, RunError> {
    let hash = check_seal(place, page, PAGE_BYTES)?;
    place.check_field(Field::Magic, magic, u64_at(page, MAGIC_AT))?;
    let (version, features) = (u16_at(page, VERSION_AT), u32_at(page, FEATURES_AT));
    let newer = |field, found| Fault::Newer { field, found };
    place.check_sense(version > 0, Field::Version)?;
    place.check(version <= FORMAT_VERSION, newer(Field::Version, version.into()))?;
    place.check(features & !FEATURES_KNOWN == 0, newer(Field::Features, features.into()))?;
    Ok(Preamble { hash, version, shard: ShardId(u16_at(page, SHARD_AT)) })
}
