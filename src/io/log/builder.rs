//! From records to blocks: the writing half of the log.
//!
//! Owns: the next LSN, the bytes that wait for a block, the place of the next block and the hash that
//! it continues. Hashes are computed when a block is built, so blocks may be in flight together.
//!
//! Invariants: LSNs leave in strictly increasing order; a block never crosses its segment's end; the
//! first block of a builder's life begins a segment, with or without records, and records where the
//! log goes on.
//!
//! Must not know: files, when to write, who waits.
//!
//! A record is copied twice: into the pending bytes and from there into its block. More would be
//! waste; less would fix the length of a block before it is known. A large payload is copied once, block by block.

use std::collections::VecDeque;
use std::sync::Arc;

use super::block::{BLOCK_HEADER_BYTES, BlockHeader};
use super::pending::Pending;
use super::plan::Recovered;
use super::pool::BufPool;
use super::record::RecordParts;
use super::segment::{BlockEnd, START_BYTES, SegmentStart, StartKind};
use crate::io::buf::{AlignedBuf, BLOCK_BYTES, round_up_to_block};
use crate::limits;
use crate::types::{FileOffset, Lsn, SegmentId, ShardId};

/// Ends of records beyond this many are given back once none is waiting.
const ENDS_KEPT: usize = 4 * limits::LOG_BLOCK_BYTES_MAX / limits::LOG_RECORD_BYTES_MIN;

/// A block on its way to the disk.
#[derive(Debug)]
pub struct BlockOut {
    pub segment: SegmentId,
    pub offset: FileOffset,
    pub buf: AlignedBuf,
    /// LSN of the last record that ends in this block or before: acked once this block and all
    /// before it are on stable storage.
    pub last_lsn: Lsn,
    /// LSN of the last record with a byte in this block or before. A segment may go when a
    /// checkpoint covers the `begun_lsn` of its last block.
    pub begun_lsn: Lsn,
    /// The segment's file must exist, full-sized and durable, its directory entry included, before
    /// this is written.
    pub starts_segment: bool,
    pub hash: u64,
}

pub struct LogBuilder {
    shard: ShardId,
    segment_bytes: u32,
    next_lsn: Lsn,
    /// Encoded records that are not in a block yet.
    pending: Pending,
    /// Stream position and LSN of the end of each record that has not wholly left.
    ends: VecDeque<(u64, Lsn)>,
    /// Stream position up to which bytes are in blocks.
    taken: u64,
    /// Stream position up to which whole records are in blocks; below `taken` when one is in part.
    finished: u64,
    /// Where the next block goes, and the hash that it continues.
    at: BlockEnd,
    /// The start structure that the next block has to carry.
    start: Option<(BlockEnd, StartKind)>,
    last_lsn: Lsn,
    durable_lsn: Lsn,
    pool: BufPool,
}

impl LogBuilder {
    /// The very first log of a shard. Its first LSN is 1.
    pub fn fresh(shard: ShardId, segment: SegmentId, segment_bytes: usize) -> LogBuilder {
        let start = (BlockEnd::default(), StartKind::Rolled);
        LogBuilder::new(shard, segment, segment_bytes, start, Lsn::ZERO, Lsn(1))
    }

    /// Goes on behind a recovery, in the segment after all that were ever seen, usually with
    /// [`Recovered::next_lsn`].
    ///
    /// Before the first block is written, everything up to the cut must be synced: what was read back
    /// may have been in a cache only. Before anything is served, the first block must be synced: until
    /// then a late write of the dead process may still become part of the log.
    pub fn after(shard: ShardId, recovered: &Recovered, next_lsn: Lsn, segment_bytes: usize) -> LogBuilder {
        let unused = next_lsn > recovered.last_lsn && next_lsn >= recovered.base_lsn;
        assert!(unused, "LSN {next_lsn} may be in use already");
        let segment = recovered.highest_segment_seen.next();
        let start = (recovered.cut, StartKind::Recovered);
        LogBuilder::new(shard, segment, segment_bytes, start, recovered.last_lsn, next_lsn)
    }

    fn new(
        shard: ShardId,
        segment: SegmentId,
        segment_bytes: usize,
        start: (BlockEnd, StartKind),
        last_lsn: Lsn,
        next_lsn: Lsn,
    ) -> LogBuilder {
        assert!((limits::LOG_SEGMENT_BYTES_MIN..=limits::LOG_SEGMENT_BYTES_MAX).contains(&segment_bytes));
        assert!(segment_bytes.is_multiple_of(BLOCK_BYTES));
        assert!(segment > start.0.segment);
        LogBuilder {
            shard,
            segment_bytes: segment_bytes as u32,
            next_lsn,
            pending: Pending::default(),
            ends: VecDeque::new(),
            taken: 0,
            finished: 0,
            at: BlockEnd { segment, offset: FileOffset::ZERO, hash: start.0.hash },
            start: Some(start),
            last_lsn,
            durable_lsn: last_lsn,
            pool: BufPool::new(),
        }
    }

    /// The LSN of the next record.
    pub fn next_lsn(&self) -> Lsn {
        self.next_lsn
    }

    /// LSN of the last record that has wholly left in a block.
    pub fn last_lsn(&self) -> Lsn {
        self.last_lsn
    }

    /// Encoded bytes that wait for a block.
    pub fn pending_bytes(&self) -> usize {
        self.pending.len()
    }

    /// The segment of the next block, unless that one has to roll.
    pub fn segment(&self) -> SegmentId {
        self.at.segment
    }

    /// Adds a record and returns its LSN. Panics when the record exceeds a limit.
    pub fn append(&mut self, record: &RecordParts<'_>) -> Lsn {
        self.append_front(record);
        self.pending.extend(record.payload);
        self.note_end()
    }

    /// As [`LogBuilder::append`], of a record whose payload these bytes are: they are held, not copied.
    pub fn append_shared(&mut self, record: &RecordParts<'_>, payload: Arc<[u8]>) -> Lsn {
        assert!(std::ptr::eq(record.payload, &*payload), "the bytes are the payload");
        self.append_front(record);
        self.pending.extend_shared(payload);
        self.note_end()
    }

    fn append_front(&mut self, record: &RecordParts<'_>) {
        self.pending.extend(record.head(self.next_lsn).bytes());
        self.pending.extend(record.key);
    }

    fn note_end(&mut self) -> Lsn {
        let lsn = self.next_lsn;
        self.ends.push_back((self.taken + self.pending.len() as u64, lsn));
        self.next_lsn = lsn.next();
        lsn
    }

    /// Builds the next block from what is pending; `None` when nothing is, except that the very first
    /// block is built in any case. `durable_lsn` is the highest LSN known to be on stable storage,
    /// together with all before it.
    pub fn next_block(&mut self, durable_lsn: Lsn) -> Option<BlockOut> {
        if self.pending.is_empty() && self.start.is_none() {
            return None;
        }
        assert!(durable_lsn <= self.last_lsn, "LSN {durable_lsn} is durable but never left");
        self.durable_lsn = self.durable_lsn.max(durable_lsn);
        self.roll_if_full();
        let start = self.start.take().map(|(previous, kind)| SegmentStart {
            previous,
            base_lsn: self.ends.front().map_or(self.next_lsn, |(_, lsn)| *lsn),
            segment_bytes: self.segment_bytes,
            kind,
        });
        Some(self.build(start))
    }

    /// Takes a written buffer back for reuse.
    pub fn reuse(&mut self, buf: AlignedBuf) {
        self.pool.give_back(buf);
    }

    fn room(&self) -> usize {
        self.segment_bytes as usize - self.at.offset.0 as usize
    }

    fn roll_if_full(&mut self) {
        if self.room() < BLOCK_BYTES {
            self.start = Some((self.at, StartKind::Rolled));
            self.at.segment = self.at.segment.next();
            self.at.offset = FileOffset::ZERO;
        }
    }

    fn build(&mut self, start: Option<SegmentStart>) -> BlockOut {
        let start_bytes = if start.is_some() { START_BYTES } else { 0 };
        let head = BLOCK_HEADER_BYTES + start_bytes;
        let stream_len = self.pending.len().min(self.room().min(limits::LOG_BLOCK_BYTES_MAX) - head);
        let continued = self.continued(stream_len);
        let mut buf = self.pool.take(round_up_to_block(head + stream_len));
        if let Some(start) = &start {
            buf[BLOCK_HEADER_BYTES..head].copy_from_slice(&start.encode());
        }
        self.pending.take_into(&mut buf[head..head + stream_len]);
        self.taken += stream_len as u64;
        buf[head + stream_len..].fill(0);
        self.finish_records();
        let header = BlockHeader {
            hash: 0,
            shard: self.shard,
            segment: self.at.segment,
            offset: self.at.offset,
            payload_len: start_bytes + stream_len,
            continued,
            last_lsn: self.last_lsn,
            durable_lsn: self.durable_lsn,
            prev_hash: self.at.hash,
            first: start.is_some(),
            block_len: buf.len(),
        };
        let hash = header.seal(&mut buf);
        self.at = BlockEnd { hash, offset: FileOffset(self.at.offset.0 + buf.len() as u64), ..self.at };
        BlockOut {
            segment: header.segment,
            offset: header.offset,
            buf,
            last_lsn: self.last_lsn,
            begun_lsn: self.begun_lsn(),
            starts_segment: header.first,
            hash,
        }
    }

    /// How many of the next `stream_len` bytes belong to a record that an earlier block began.
    fn continued(&self, stream_len: usize) -> usize {
        match self.ends.front() {
            Some((end, _)) if self.finished < self.taken => stream_len.min((end - self.taken) as usize),
            _ => 0,
        }
    }

    fn finish_records(&mut self) {
        while let Some((end, lsn)) = self.ends.front().copied() {
            if end > self.taken {
                break;
            }
            self.last_lsn = lsn;
            self.finished = end;
            self.ends.pop_front();
        }
        if self.ends.is_empty() {
            self.ends.shrink_to(ENDS_KEPT);
        }
    }

    fn begun_lsn(&self) -> Lsn {
        match self.ends.front() {
            Some((_, lsn)) if self.finished < self.taken => *lsn,
            _ => self.last_lsn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{SEGMENT_BYTES, append, commit_one, fresh};
    use super::*;

    #[test]
    fn a_reused_buffer_carries_nothing_of_its_past() {
        let mut log = fresh();
        append(&mut log, 3000);
        let large = log.next_block(Lsn::ZERO).expect("a block");
        let (len, address) = (large.buf.len(), large.buf.as_ptr());
        log.reuse(large.buf);
        let small = commit_one(&mut log, 0);
        assert_eq!((small.buf.len(), small.buf.as_ptr()), (len, address), "the buffer was reused");
        assert!(small.buf[256..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn blocks_lie_back_to_back_and_within_their_segment() {
        let mut log = fresh();
        let mut blocks = Vec::new();
        for payload in [100, 700_000, 5000, 900_000, 3, 2_500_000] {
            append(&mut log, payload);
            blocks.extend(std::iter::from_fn(|| log.next_block(Lsn::ZERO)));
        }
        assert_eq!(log.pending_bytes(), 0);
        assert_eq!(log.last_lsn().next(), log.next_lsn());
        for pair in blocks.windows(2) {
            let end = pair[0].offset.0 + pair[0].buf.len() as u64;
            assert!(end <= SEGMENT_BYTES as u64);
            if pair[1].starts_segment {
                assert_eq!(pair[1].segment, pair[0].segment.next());
                assert_eq!((pair[1].offset, end), (FileOffset::ZERO, SEGMENT_BYTES as u64));
            } else {
                assert_eq!((pair[1].segment, pair[1].offset.0), (pair[0].segment, end));
            }
            assert!(pair[0].last_lsn <= pair[0].begun_lsn && pair[0].begun_lsn <= pair[1].begun_lsn);
        }
    }

    #[test]
    #[should_panic(expected = "durable but never left")]
    fn what_never_left_cannot_be_durable() {
        let mut log = fresh();
        let lsn = append(&mut log, 1).lsn;
        log.next_block(lsn);
    }
}
