//! One block of the log: a group commit as it lies on the disk.
//!
//! Blocks begin at multiples of 4 KiB, are a multiple of 4 KiB long and at most
//! [`limits::LOG_BLOCK_BYTES_MAX`]. All numbers are little-endian.
//!
//! ```text
//! offset size field
//!      0    8 hash         xxh3-64 of all that follows in the block, padding included
//!      8    4 magic        "KLOG"
//!     12    2 version      1
//!     14    2 features     bit 0: records say whether they replace one; an unknown bit means a newer format
//!     16    8 segment      id of the segment that this block belongs to
//!     24    4 offset       own place in the segment's file
//!     28    4 payload_len  bytes behind this header that count; the rest is zero padding
//!     32    4 continued    leading bytes of the stream that continue a record begun before
//!     36    1 pages        block length in units of 4 KiB
//!     37    1 flags        bit 0: first block of its segment, payload begins with a start structure
//!     38    2 shard
//!     40    8 last_lsn     LSN of the last record that ends in this block or before
//!     48    8 durable_lsn  highest LSN known to be on stable storage when the block was built
//!     56    8 prev_hash    hash of the block before: the chain
//!     64      payload      start structure if first, then the stream of records
//! ```
//!
//! A record may go on in the next block, also across segments. The places of all fields up to `shard`
//! are the same in every format version, so that an older program can tell a newer block from damage.
//!
//! A block is *self-valid* when its hash is right and it is where it says it belongs. Whether it is
//! part of the log is for [`super::Replay`] to say.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

use super::field::{get_u16, get_u32, get_u64, put_u16, put_u32, put_u64};
use super::segment::{START_BYTES, SegmentStart};
use crate::io::buf::BLOCK_BYTES;
use crate::limits;
use crate::types::{FileOffset, Lsn, SegmentId, ShardId};

const HASH: usize = 0;
const MAGIC: usize = HASH + 8;
const VERSION: usize = MAGIC + 4;
const FEATURES: usize = VERSION + 2;
const SEGMENT: usize = FEATURES + 2;
const OFFSET: usize = SEGMENT + 8;
const PAYLOAD_LEN: usize = OFFSET + 4;
const CONTINUED: usize = PAYLOAD_LEN + 4;
const PAGES: usize = CONTINUED + 4;
const FLAGS: usize = PAGES + 1;
const SHARD: usize = FLAGS + 1;
const LAST_LSN: usize = SHARD + 2;
const DURABLE_LSN: usize = LAST_LSN + 8;
const PREV_HASH: usize = DURABLE_LSN + 8;
pub const BLOCK_HEADER_BYTES: usize = PREV_HASH + 8;

const MAGIC_VALUE: u32 = u32::from_le_bytes(*b"KLOG");
const VERSION_VALUE: u16 = 1;
/// Records say whether they replace one. Readers of before would take the flag for damage.
const FEATURE_REPLACES: u16 = 1 << 0;
const FEATURES_KNOWN: u16 = FEATURE_REPLACES;
const FLAG_FIRST: u8 = 1 << 0;

const _: () = {
    assert!(BLOCK_HEADER_BYTES == 64);
    assert!(limits::LOG_BLOCK_BYTES_MAX / BLOCK_BYTES <= u8::MAX as usize);
    assert!(limits::LOG_SEGMENT_BYTES_MAX <= u32::MAX as usize);
};

/// What a block says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    pub hash: u64,
    pub shard: ShardId,
    pub segment: SegmentId,
    pub offset: FileOffset,
    pub payload_len: usize,
    pub continued: usize,
    pub last_lsn: Lsn,
    pub durable_lsn: Lsn,
    pub prev_hash: u64,
    pub first: bool,
    /// Header, payload and padding, in bytes.
    pub block_len: usize,
}

impl BlockHeader {
    /// Writes the header (but `hash`) over the start of `block`, whose payload and padding are in
    /// place, and returns the hash.
    pub(super) fn seal(&self, block: &mut [u8]) -> u64 {
        assert_eq!(block.len(), self.block_len);
        assert!(block.len().is_multiple_of(BLOCK_BYTES) && block.len() <= limits::LOG_BLOCK_BYTES_MAX);
        assert!(BLOCK_HEADER_BYTES + self.payload_len <= block.len());
        assert!(self.durable_lsn <= self.last_lsn, "durable before it was written");
        put_u32(block, MAGIC, MAGIC_VALUE);
        put_u16(block, VERSION, VERSION_VALUE);
        put_u16(block, FEATURES, FEATURE_REPLACES);
        put_u64(block, SEGMENT, self.segment.0);
        put_u32(block, OFFSET, u32::try_from(self.offset.0).expect("a segment over 4 GiB"));
        put_u32(block, PAYLOAD_LEN, self.payload_len as u32);
        put_u32(block, CONTINUED, self.continued as u32);
        block[PAGES] = (block.len() / BLOCK_BYTES) as u8;
        block[FLAGS] = if self.first { FLAG_FIRST } else { 0 };
        put_u16(block, SHARD, self.shard.0);
        put_u64(block, LAST_LSN, self.last_lsn.0);
        put_u64(block, DURABLE_LSN, self.durable_lsn.0);
        put_u64(block, PREV_HASH, self.prev_hash);
        let hash = xxh3_64(&block[MAGIC..]);
        put_u64(block, HASH, hash);
        hash
    }

    fn decode(bytes: &[u8]) -> BlockHeader {
        BlockHeader {
            hash: get_u64(bytes, HASH),
            shard: ShardId(get_u16(bytes, SHARD)),
            segment: SegmentId(get_u64(bytes, SEGMENT)),
            offset: FileOffset(u64::from(get_u32(bytes, OFFSET))),
            payload_len: get_u32(bytes, PAYLOAD_LEN) as usize,
            continued: get_u32(bytes, CONTINUED) as usize,
            last_lsn: Lsn(get_u64(bytes, LAST_LSN)),
            durable_lsn: Lsn(get_u64(bytes, DURABLE_LSN)),
            prev_hash: get_u64(bytes, PREV_HASH),
            first: bytes[FLAGS] & FLAG_FIRST != 0,
            block_len: usize::from(bytes[PAGES]) * BLOCK_BYTES,
        }
    }
}

/// Why there is no block of the log at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockFault {
    /// The segment's file does not exist, or is empty.
    NoFile,
    /// The segment ends here and no other one goes on from here.
    NoSuccessor,
    /// Nothing was ever written here.
    Zeros,
    /// The file ends before the block does.
    Cut {
        have: usize,
        need: usize,
    },
    Magic {
        found: u32,
    },
    Length {
        bytes: usize,
    },
    /// `wanted` is what the block says, `found` what its bytes hash to.
    Hash {
        wanted: u64,
        found: u64,
    },
    /// An intact block of another place.
    Misplaced {
        shard: ShardId,
        segment: SegmentId,
        offset: FileOffset,
    },
    /// Written by a newer program.
    Newer {
        version: u16,
        features: u16,
    },
    /// The hash is right and the fields contradict each other.
    Contradiction,
    /// `wanted` is the hash of the block before, `found` what the block names.
    Chain {
        wanted: u64,
        found: u64,
    },
}

impl fmt::Display for BlockFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BlockFault::NoFile => f.write_str("the file is missing"),
            BlockFault::NoSuccessor => f.write_str("the segment ends and no other one continues it"),
            BlockFault::Zeros => f.write_str("zeros where a block is wanted"),
            BlockFault::Cut { have, need } => {
                write!(f, "the file ends after {have} of the block's {need} bytes")
            }
            BlockFault::Magic { found } => write!(f, "wanted magic {MAGIC_VALUE:#010x}, found {found:#010x}"),
            BlockFault::Length { bytes } => write!(f, "the block has the impossible length {bytes}"),
            BlockFault::Hash { wanted, found } => {
                write!(f, "wanted block hash {wanted:#018x}, found {found:#018x}")
            }
            BlockFault::Misplaced { shard, segment, offset } => {
                write!(f, "found the block of shard {shard}, segment {:016x}, offset {offset}", segment.0)
            }
            BlockFault::Newer { version, features } => {
                write!(f, "the block has format {version} with features {features:#06x}")
            }
            BlockFault::Contradiction => f.write_str("the fields of the block contradict each other"),
            BlockFault::Chain { wanted, found } => {
                write!(
                    f,
                    "wanted a block that continues {wanted:#018x}, found one that continues {found:#018x}"
                )
            }
        }
    }
}

/// A self-valid block in a buffer.
#[derive(Clone, Copy, Debug)]
pub struct BlockView<'a> {
    pub header: BlockHeader,
    /// Present in the first block of a segment, and only there.
    pub start: Option<SegmentStart>,
    /// The part of the stream of records that this block carries.
    pub stream: &'a [u8],
}

impl<'a> BlockView<'a> {
    /// The block that begins `bytes`, if it is self-valid at this place.
    pub fn parse(
        bytes: &'a [u8],
        shard: ShardId,
        segment: SegmentId,
        offset: FileOffset,
    ) -> Result<BlockView<'a>, BlockFault> {
        let block = delimit(bytes)?;
        let header = BlockHeader::decode(block);
        let found = xxh3_64(&block[MAGIC..]);
        if header.hash != found {
            return Err(BlockFault::Hash { wanted: header.hash, found });
        }
        if (header.shard, header.segment, header.offset) != (shard, segment, offset) {
            let BlockHeader { shard, segment, offset, .. } = header;
            return Err(BlockFault::Misplaced { shard, segment, offset });
        }
        let (version, features) = (get_u16(block, VERSION), get_u16(block, FEATURES));
        if version != VERSION_VALUE || features & !FEATURES_KNOWN != 0 || block[FLAGS] & !FLAG_FIRST != 0 {
            return Err(BlockFault::Newer { version, features });
        }
        Self::open(block, header).ok_or(BlockFault::Contradiction)
    }

    /// Takes the payload apart; `None` when the header does not fit it.
    fn open(block: &'a [u8], header: BlockHeader) -> Option<BlockView<'a>> {
        let payload = block[BLOCK_HEADER_BYTES..].get(..header.payload_len)?;
        let start = match header.first {
            true => Some(SegmentStart::decode(payload, header.prev_hash)?),
            false => None,
        };
        let stream = if header.first { &payload[START_BYTES..] } else { payload };
        let consistent = header.first == (header.offset == FileOffset::ZERO)
            && header.continued <= stream.len()
            && header.durable_lsn <= header.last_lsn;
        consistent.then_some(BlockView { header, start, stream })
    }
}

/// Cuts the block that begins `bytes` out of it, by what its header says, not yet checked by hash.
fn delimit(bytes: &[u8]) -> Result<&[u8], BlockFault> {
    if bytes.len() < BLOCK_BYTES {
        return Err(BlockFault::Cut { have: bytes.len(), need: BLOCK_BYTES });
    }
    let magic = get_u32(bytes, MAGIC);
    if magic != MAGIC_VALUE {
        let zeros = bytes[..BLOCK_HEADER_BYTES].iter().all(|byte| *byte == 0);
        return Err(if zeros { BlockFault::Zeros } else { BlockFault::Magic { found: magic } });
    }
    let len = usize::from(bytes[PAGES]) * BLOCK_BYTES;
    if len == 0 || len > limits::LOG_BLOCK_BYTES_MAX {
        return Err(BlockFault::Length { bytes: len });
    }
    bytes.get(..len).ok_or(BlockFault::Cut { have: bytes.len(), need: len })
}

/// Makes a sealed block one of a newer format.
#[cfg(test)]
pub(super) fn make_newer(block: &mut [u8]) {
    put_u16(block, VERSION, VERSION_VALUE + 1);
    let hash = xxh3_64(&block[MAGIC..]);
    put_u64(block, HASH, hash);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(block_len: usize) -> BlockHeader {
        BlockHeader {
            hash: 0,
            shard: ShardId(3),
            segment: SegmentId(5),
            offset: FileOffset(4096),
            payload_len: 100,
            continued: 40,
            last_lsn: Lsn(9),
            durable_lsn: Lsn(8),
            prev_hash: 77,
            first: false,
            block_len,
        }
    }

    fn parse(bytes: &[u8]) -> Result<BlockHeader, BlockFault> {
        BlockView::parse(bytes, ShardId(3), SegmentId(5), FileOffset(4096)).map(|view| view.header)
    }

    #[test]
    fn what_was_sealed_parses_and_only_at_its_place() {
        let mut block = vec![0; 8192];
        let hash = header(8192).seal(&mut block);
        assert_eq!(parse(&block), Ok(BlockHeader { hash, ..header(8192) }));
        let elsewhere = BlockView::parse(&block, ShardId(3), SegmentId(5), FileOffset(8192));
        assert!(matches!(elsewhere, Err(BlockFault::Misplaced { offset: FileOffset(4096), .. })));
        let stale = BlockView::parse(&block, ShardId(3), SegmentId(6), FileOffset(4096));
        assert!(matches!(stale, Err(BlockFault::Misplaced { segment: SegmentId(5), .. })));
        assert_eq!(parse(&block[..8191]), Err(BlockFault::Cut { have: 8191, need: 8192 }));
        assert_eq!(parse(&[0; 4096]), Err(BlockFault::Zeros));
    }

    fn resealed(change: impl FnOnce(&mut [u8])) -> Result<BlockHeader, BlockFault> {
        let mut block = vec![0; 4096];
        header(4096).seal(&mut block);
        change(&mut block);
        let hash = xxh3_64(&block[MAGIC..]);
        put_u64(&mut block, HASH, hash);
        parse(&block)
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        assert_eq!(
            resealed(|block| put_u16(block, VERSION, 2)),
            Err(BlockFault::Newer { version: 2, features: FEATURE_REPLACES })
        );
        assert_eq!(
            resealed(|block| put_u16(block, FEATURES, 2)),
            Err(BlockFault::Newer { version: 1, features: 2 })
        );
        assert!(matches!(resealed(|block| block[FLAGS] = 2), Err(BlockFault::Newer { .. })));
    }

    #[test]
    fn contradictions_under_a_right_hash_are_told() {
        assert_eq!(resealed(|block| put_u32(block, PAYLOAD_LEN, 4033)), Err(BlockFault::Contradiction));
        assert_eq!(resealed(|block| put_u32(block, CONTINUED, 101)), Err(BlockFault::Contradiction));
        assert_eq!(resealed(|block| put_u64(block, DURABLE_LSN, 10)), Err(BlockFault::Contradiction));
        assert_eq!(resealed(|block| block[FLAGS] = FLAG_FIRST), Err(BlockFault::Contradiction));
        assert!(resealed(|_| ()).is_ok());
    }
}
