//! A log directory in memory, for the tests of this folder.

use std::collections::BTreeMap;

use super::*;
use crate::limits;
use crate::types::{Epoch, FileOffset, Lsn, SegmentId, Seq, ShardId};

pub(super) const SHARD: ShardId = ShardId(2);
pub(super) const SEGMENT_BYTES: usize = limits::LOG_SEGMENT_BYTES_MIN;
pub(super) const FIRST: SegmentId = SegmentId(1);

/// Segment files by id.
#[derive(Clone, Default)]
pub(super) struct Disk {
    pub(super) files: BTreeMap<SegmentId, Vec<u8>>,
}

impl Disk {
    /// Writes a block; the first of a segment finds or makes a file of zeros.
    pub(super) fn write(&mut self, block: &BlockOut) {
        self.write_part(block, block.buf.len());
    }

    pub(super) fn write_all(&mut self, blocks: &[BlockOut]) {
        blocks.iter().for_each(|block| self.write(block));
    }

    /// Writes the first `len` bytes of a block.
    pub(super) fn write_part(&mut self, block: &BlockOut, len: usize) {
        let file = self.files.entry(block.segment).or_insert_with(|| vec![0; SEGMENT_BYTES]);
        let at = block.offset.0 as usize;
        file[at..at + len].copy_from_slice(&block.buf[..len]);
    }

    pub(super) fn files(&self) -> Vec<SegmentFile> {
        self.files.iter().map(|(id, bytes)| SegmentFile { id: *id, len: bytes.len() as u64 }).collect()
    }

    pub(super) fn bytes(&self, read: ReadAt) -> &[u8] {
        let file = &self.files[&read.segment];
        let from = (read.offset.0 as usize).min(file.len());
        &file[from..file.len().min(from + read.len)]
    }

    pub(super) fn replay_into(
        &self,
        start: ReplayStart,
        sink: &mut impl FnMut(RecordRef<'_>),
    ) -> Result<Recovered, ReplayError> {
        let mut replay = Replay::new(start, &self.files())?;
        loop {
            match replay.step() {
                Step::Read(read) => replay.feed(self.bytes(read), sink)?,
                Step::Done(recovered) => return Ok(recovered),
            }
        }
    }

    pub(super) fn replay_from(&self, start: ReplayStart) -> Result<(Recovered, Vec<Record>), ReplayError> {
        let mut records = Vec::new();
        let recovered = self.replay_into(start, &mut |record| records.push(record.to_record()))?;
        assert_eq!(recovered.records, records.len() as u64);
        Ok((recovered, records))
    }

    pub(super) fn replay(&self) -> Result<(Recovered, Vec<Record>), ReplayError> {
        self.replay_from(everything())
    }

    pub(super) fn lsns(&self) -> Vec<u64> {
        self.replay().expect("a log without damage").1.iter().map(|record| record.lsn.0).collect()
    }

    pub(super) fn damage(&self) -> Damage {
        match self.replay() {
            Err(ReplayError::Damage(damage)) => damage,
            other => panic!("wanted damage, found {other:?}"),
        }
    }

    pub(super) fn verify(&self) -> VerifyReport {
        self.verify_from(everything())
    }

    pub(super) fn verify_from(&self, start: ReplayStart) -> VerifyReport {
        let read = |at| Ok::<_, std::convert::Infallible>(self.bytes(at).to_vec());
        verify(start, &self.files(), read).expect("reading memory")
    }
}

/// Replay from the first segment and LSN, without a floor.
pub(super) fn everything() -> ReplayStart {
    ReplayStart { shard: SHARD, from: FIRST, first_wanted: Lsn(1), floor: Lsn::ZERO, made: Made::default() }
}

pub(super) fn fresh() -> LogBuilder {
    LogBuilder::fresh(SHARD, FIRST, SEGMENT_BYTES)
}

/// A builder that goes on behind what is on the disk, as a restarted server would.
pub(super) fn restart(disk: &Disk) -> LogBuilder {
    let (recovered, _) = disk.replay().expect("a log without damage");
    LogBuilder::after(SHARD, &recovered, Lsn(recovered.last_lsn.0 + 1000), SEGMENT_BYTES)
}

/// Appends a record with `payload_bytes` bytes that depend on its LSN.
pub(super) fn append(log: &mut LogBuilder, payload_bytes: usize) -> Record {
    append_at(log, Epoch::ZERO, payload_bytes)
}

pub(super) fn append_at(log: &mut LogBuilder, epoch: Epoch, payload_bytes: usize) -> Record {
    let lsn = log.next_lsn();
    let meta = Meta { epoch, seq: Seq(lsn.0), commit_ts: lsn.0 * 10, ..Meta::new(Kind::Put) };
    let payload: Vec<u8> = (0..payload_bytes).map(|at| (at as u64 * 31 + lsn.0) as u8).collect();
    let key = lsn.0.to_be_bytes().to_vec();
    let record = Record { lsn, meta, key, payload };
    assert_eq!(log.append(&record.parts()), lsn);
    record
}

/// Appends a record and builds all blocks for it.
pub(super) fn commit(log: &mut LogBuilder, payload_bytes: usize, durable: u64) -> Vec<BlockOut> {
    append(log, payload_bytes);
    std::iter::from_fn(|| log.next_block(Lsn(durable))).collect()
}

/// One block with one record of a few bytes.
pub(super) fn commit_one(log: &mut LogBuilder, durable: u64) -> BlockOut {
    let mut blocks = commit(log, 20, durable);
    assert_eq!(blocks.len(), 1);
    blocks.remove(0)
}

/// Blocks 0..count, each with one record; the block of LSN n knows that n - 1 - `lag` is durable.
pub(super) fn blocks(log: &mut LogBuilder, count: u64, lag: u64) -> Vec<BlockOut> {
    (0..count)
        .map(|_| {
            let durable = log.next_lsn().0.saturating_sub(1 + lag).min(log.last_lsn().0);
            commit_one(log, durable)
        })
        .collect()
}

pub(super) fn end_of(block: &BlockOut) -> BlockEnd {
    let offset = FileOffset(block.offset.0 + block.buf.len() as u64);
    BlockEnd { segment: block.segment, offset, hash: block.hash }
}
