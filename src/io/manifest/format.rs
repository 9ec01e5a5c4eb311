//! Slots of the superblock and records of the manifest as bytes. All numbers are little-endian.
//!
//! A slot, 4 KiB:
//!
//! ```text
//! offset size field
//!      0    8 hash           xxh3-64 of all that follows in the slot
//!      8    4 magic          "KSUP"
//!     12    2 version        1
//!     14    2 features       an unknown bit means a newer format
//!     16    2 shard
//!     18    6 zeros
//!     24    8 generation     0: created, nothing committed yet
//!     32    8 manifest       id of the manifest file
//!     40    8 committed_len  bytes of it that are committed
//!     48    8 last_hash      hash of the record that ends there
//!     56      zeros
//! ```
//!
//! A record, padded with zeros to a multiple of 4 KiB:
//!
//! ```text
//! offset size field
//!      0    8 hash           xxh3-64 of all that follows in the record, padding included
//!      8    4 magic          "KMAN"
//!     12    2 version        1
//!     14    2 features
//!     16    2 shard
//!     18    2 zeros
//!     20    4 state_len
//!     24    8 generation     one above that of the record before
//!     32    8 manifest       id of the file that this record belongs to
//!     40    8 offset         own place in that file
//!     48    8 prev_hash      hash of the record before; 0 in the first of a file
//!     56      state          state_len bytes
//! ```

use xxhash_rust::xxh3::xxh3_64;

use super::damage::Fault;
use crate::io::buf::{AlignedBuf, BLOCK_BYTES, round_up_to_block};
use crate::io::log::field::{get_u16, get_u32, get_u64, put_u16, put_u32, put_u64};
use crate::limits;
use crate::types::{FileOffset, ShardId};

// Common to both.
const HASH: usize = 0;
const MAGIC: usize = HASH + 8;
const VERSION: usize = MAGIC + 4;
const FEATURES: usize = VERSION + 2;
const SHARD: usize = FEATURES + 2;
const STATE_LEN: usize = SHARD + 4;
const GENERATION: usize = STATE_LEN + 4;
const MANIFEST: usize = GENERATION + 8;
// Of a slot.
const COMMITTED_LEN: usize = MANIFEST + 8;
const LAST_HASH: usize = COMMITTED_LEN + 8;
// Of a record.
const OFFSET: usize = MANIFEST + 8;
const PREV_HASH: usize = OFFSET + 8;
const RECORD_HEADER_BYTES: usize = PREV_HASH + 8;

const SLOT_MAGIC: u32 = u32::from_le_bytes(*b"KSUP");
const RECORD_MAGIC: u32 = u32::from_le_bytes(*b"KMAN");
const VERSION_VALUE: u16 = 1;
const FEATURES_KNOWN: u16 = 0;

/// A slot is one unit of direct I/O.
pub const SLOT_BYTES: usize = BLOCK_BYTES;
pub const SLOTS: usize = 2;

pub const SUPERBLOCK_FILE: &str = "superblock";

/// Names one manifest file; never used again.
pub type ManifestId = u64;

pub fn manifest_file_name(id: ManifestId) -> String {
    format!("manifest-{id:016x}")
}

/// The manifest file that a name stands for; `None` for any other name.
pub fn parse_manifest_file_name(name: &str) -> Option<ManifestId> {
    let id = ManifestId::from_str_radix(name.strip_prefix("manifest-")?, 16).ok()?;
    (manifest_file_name(id) == name).then_some(id)
}

/// What a slot of the superblock names. The default is that of a directory without a commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    pub generation: u64,
    pub manifest: ManifestId,
    pub committed_len: u64,
    pub last_hash: u64,
}

impl Slot {
    pub fn encode(&self, shard: ShardId) -> AlignedBuf {
        let mut bytes = AlignedBuf::zeroed(SLOT_BYTES);
        put_u64(&mut bytes, GENERATION, self.generation);
        put_u64(&mut bytes, MANIFEST, self.manifest);
        put_u64(&mut bytes, COMMITTED_LEN, self.committed_len);
        put_u64(&mut bytes, LAST_HASH, self.last_hash);
        seal(&mut bytes, SLOT_MAGIC, shard);
        bytes
    }

    /// Decodes the slot that begins `bytes`.
    pub fn decode(bytes: &[u8], shard: ShardId) -> Result<Slot, Fault> {
        let bytes = bytes.get(..SLOT_BYTES).ok_or(Fault::Cut)?;
        check(bytes, SLOT_MAGIC, shard)?;
        Ok(Slot {
            generation: get_u64(bytes, GENERATION),
            manifest: get_u64(bytes, MANIFEST),
            committed_len: get_u64(bytes, COMMITTED_LEN),
            last_hash: get_u64(bytes, LAST_HASH),
        })
    }
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordPlace {
    pub shard: ShardId,
    pub manifest: ManifestId,
    pub offset: FileOffset,
}

/// A record of the manifest in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateRecord<'a> {
    pub hash: u64,
    pub generation: u64,
    pub prev_hash: u64,
    /// Bytes in the file, padding included.
    pub len: usize,
    pub state: &'a [u8],
}

/// Bytes of the record of a state, padding included.
pub fn record_len(state_len: usize) -> usize {
    round_up_to_block(RECORD_HEADER_BYTES + state_len)
}

impl<'a> StateRecord<'a> {
    /// The record's bytes and its hash. `state` is at most [`limits::MANIFEST_STATE_BYTES_MAX`].
    pub fn encode(place: RecordPlace, generation: u64, prev_hash: u64, state: &[u8]) -> (AlignedBuf, u64) {
        assert!(state.len() <= limits::MANIFEST_STATE_BYTES_MAX);
        let mut bytes = AlignedBuf::zeroed(record_len(state.len()));
        put_u32(&mut bytes, STATE_LEN, state.len() as u32);
        put_u64(&mut bytes, GENERATION, generation);
        put_u64(&mut bytes, MANIFEST, place.manifest);
        put_u64(&mut bytes, OFFSET, place.offset.0);
        put_u64(&mut bytes, PREV_HASH, prev_hash);
        bytes[RECORD_HEADER_BYTES..][..state.len()].copy_from_slice(state);
        let hash = seal(&mut bytes, RECORD_MAGIC, place.shard);
        (bytes, hash)
    }

    /// Decodes the record that begins `bytes`, which must stand at `place`.
    pub fn decode(bytes: &'a [u8], place: RecordPlace) -> Result<StateRecord<'a>, Fault> {
        if bytes.len() < BLOCK_BYTES {
            return Err(Fault::Cut);
        }
        if get_u32(bytes, MAGIC) != RECORD_MAGIC {
            return Err(Fault::Magic);
        }
        let state_len = get_u32(bytes, STATE_LEN) as usize;
        if state_len > limits::MANIFEST_STATE_BYTES_MAX {
            return Err(Fault::Length(state_len));
        }
        let bytes = bytes.get(..record_len(state_len)).ok_or(Fault::Cut)?;
        check(bytes, RECORD_MAGIC, place.shard)?;
        if (get_u64(bytes, MANIFEST), get_u64(bytes, OFFSET)) != (place.manifest, place.offset.0) {
            return Err(Fault::Misplaced);
        }
        Ok(StateRecord {
            hash: get_u64(bytes, HASH),
            generation: get_u64(bytes, GENERATION),
            prev_hash: get_u64(bytes, PREV_HASH),
            len: bytes.len(),
            state: &bytes[RECORD_HEADER_BYTES..][..state_len],
        })
    }
}

/// Fills in what slots and records have in common, and returns the hash.
fn seal(bytes: &mut [u8], magic: u32, shard: ShardId) -> u64 {
    put_u32(bytes, MAGIC, magic);
    put_u16(bytes, VERSION, VERSION_VALUE);
    put_u16(bytes, FEATURES, 0);
    put_u16(bytes, SHARD, shard.0);
    let hash = xxh3_64(&bytes[MAGIC..]);
    put_u64(bytes, HASH, hash);
    hash
}

fn check(bytes: &[u8], magic: u32, shard: ShardId) -> Result<(), Fault> {
    if get_u32(bytes, MAGIC) != magic {
        return Err(Fault::Magic);
    }
    let (wanted, found) = (get_u64(bytes, HASH), xxh3_64(&bytes[MAGIC..]));
    if wanted != found {
        return Err(Fault::Hash { wanted, found });
    }
    let (version, features) = (get_u16(bytes, VERSION), get_u16(bytes, FEATURES));
    if version != VERSION_VALUE || features & !FEATURES_KNOWN != 0 {
        return Err(Fault::Newer { version, features });
    }
    let owner = ShardId(get_u16(bytes, SHARD));
    if owner == shard { Ok(()) } else { Err(Fault::Shard(owner)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: RecordPlace = RecordPlace { shard: ShardId(3), manifest: 7, offset: FileOffset(4096) };

    #[test]
    fn slots_and_records_survive_the_round_trip_and_no_flip() {
        let slot = Slot { generation: 5, manifest: 7, committed_len: 8192, last_hash: 9 };
        let (record, hash) = StateRecord::encode(PLACE, 5, 1, &[0xab; 5000]);
        let decoded = StateRecord::decode(&record, PLACE).expect("a record");
        assert_eq!(
            decoded,
            StateRecord { hash, generation: 5, prev_hash: 1, len: 8192, state: &[0xab; 5000] }
        );
        let bytes = slot.encode(PLACE.shard);
        assert_eq!(Slot::decode(&bytes, PLACE.shard), Ok(slot));
        for bit in 0..SLOT_BYTES * 8 {
            let mut bad = bytes.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Slot::decode(&bad, PLACE.shard).is_err());
        }
        for bit in 0..record.len() * 8 {
            let mut bad = record.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(StateRecord::decode(&bad, PLACE).is_err());
        }
    }

    #[test]
    fn a_record_of_another_place_or_shard_is_refused() {
        let (record, _) = StateRecord::encode(PLACE, 5, 1, b"state");
        let decode = |place| StateRecord::decode(&record, place).map(|_| ());
        assert_eq!(decode(RecordPlace { offset: FileOffset(0), ..PLACE }), Err(Fault::Misplaced));
        assert_eq!(decode(RecordPlace { manifest: 8, ..PLACE }), Err(Fault::Misplaced));
        assert_eq!(decode(RecordPlace { shard: ShardId(4), ..PLACE }), Err(Fault::Shard(ShardId(3))));
        assert_eq!(StateRecord::decode(&record[..4095], PLACE), Err(Fault::Cut));
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let mut bytes = Slot::default().encode(ShardId(0)).to_vec();
        put_u16(&mut bytes, FEATURES, 4);
        let hash = xxh3_64(&bytes[MAGIC..]);
        put_u64(&mut bytes, HASH, hash);
        assert_eq!(Slot::decode(&bytes, ShardId(0)), Err(Fault::Newer { version: 1, features: 4 }));
    }
}
