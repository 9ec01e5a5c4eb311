//! From segments back to records: the reading half of the log, and what is cut and what is refused.
//!
//! A state machine without files: [`Replay::step`] says what to read, [`Replay::feed`] takes it, about
//! a turn's work at a time. First the beginnings of all segments (see [`super::chain`]), then the log
//! block by block, then what lies beyond its end.
//!
//! Rules, in this order, at each block end:
//! 1. a recovery went on from exactly here: so does replay, whatever lies here;
//! 2. a valid block that continues the chain is part of the log;
//! 3. a segment that was begun because this one was full, from exactly here, goes on;
//! 4. this is the end, at LSN L. If anything shows that more than L was on stable storage (a
//!    `durable_lsn` in a self-valid block beyond, the floor, a recovery that had read further, a file
//!    shorter than it was), the log is damaged and refused. Else it is a torn tail and cut.
//!
//! Several blocks are in flight at once, so a valid block behind a hole is a normal crash.
//!
//! Between 3 and 4, while only covered records were read: a fault may be passed, see [`pass`].

mod pass;
mod seek;

use super::assemble::Assembler;
use super::block::{BlockFault, BlockHeader, BlockView};
use super::chain::{Chain, Heads};
use super::damage::{Cause, Damage, Evidence, ReplayError};
use super::plan::{Made, ReadAt, Recovered, ReplayStart, SegmentFile, Step};
use super::record::RecordRef;
use super::search::{Chunk, Found};
use super::segment::{BlockEnd, StartKind};
use crate::io::buf::{BLOCK_BYTES, round_up_to_block};
use crate::limits;
use crate::types::{FileOffset, Lsn, SegmentId};

/// A place in the list of files.
#[derive(Clone, Copy)]
struct Cursor {
    index: usize,
    offset: u64,
}

enum Phase {
    Heads {
        heads: Heads,
        index: usize,
    },
    Scan,
    /// Looks for evidence that the fault at `at` is no torn tail.
    Beyond {
        cursor: Cursor,
        fault: BlockFault,
    },
    /// Looks for a block to go on from behind the fault at `at`, which nothing wanted is lost by.
    Pass {
        cursor: Cursor,
        fault: BlockFault,
    },
    /// Looks for a block to go on from behind damage.
    Seek {
        cursor: Cursor,
    },
    Refused,
    Done {
        fault: BlockFault,
    },
}

pub struct Replay {
    start: ReplayStart,
    /// Not older than `start.from`, not empty, sorted by id.
    files: Vec<SegmentFile>,
    highest: SegmentId,
    chain: Chain,
    phase: Phase,
    /// End of the valid log so far.
    at: BlockEnd,
    /// The next block's predecessor is not known: its chain is taken as given.
    entering: bool,
    assembler: Assembler,
    max_commit_ts: u64,
    records: u64,
    /// Nothing behind the block that reaches this is looked at.
    until: Option<Lsn>,
    /// The highest LSN known to be on stable storage.
    durable: Lsn,
    /// Faults that were passed.
    passed: Vec<Damage>,
}

impl Replay {
    /// `files` are all segment files of the shard, in any order. Fails when there are none and the
    /// floor says that there should be.
    pub fn new(start: ReplayStart, files: &[SegmentFile]) -> Result<Replay, ReplayError> {
        let highest = files.iter().map(|file| file.id).fold(start.from, SegmentId::max);
        let mut files: Vec<_> =
            files.iter().copied().filter(|file| file.id >= start.from && file.len > 0).collect();
        files.sort_by_key(|file| file.id);
        let mut replay = Replay {
            start,
            files,
            highest,
            chain: Chain::default(),
            phase: Phase::Heads { heads: Heads::default(), index: 0 },
            at: BlockEnd { segment: start.from, ..BlockEnd::default() },
            entering: true,
            assembler: Assembler::entering(),
            max_commit_ts: 0,
            records: 0,
            until: None,
            durable: start.floor,
            passed: Vec::new(),
        };
        if replay.files.is_empty() {
            replay.look_beyond(BlockFault::NoFile)?;
        }
        Ok(replay)
    }

    /// Ends with the block that reaches `lsn`, as a torn tail. What lies behind may be in any state: it was
    /// being written, perhaps, while the file was copied.
    #[must_use]
    pub fn until(mut self, lsn: Lsn) -> Replay {
        self.until = Some(lsn);
        self
    }

    fn is_far_enough(&self) -> bool {
        self.until.is_some_and(|lsn| self.last_lsn() >= lsn)
    }

    /// What to do next. Panics when the log was refused.
    pub fn step(&self) -> Step {
        match &self.phase {
            Phase::Heads { index, .. } => {
                self.read(Cursor { index: *index, offset: 0 }, limits::LOG_BLOCK_BYTES_MAX)
            }
            Phase::Scan => {
                let index = self.index_of(self.at.segment).expect("scanning a file that exists");
                self.read(Cursor { index, offset: self.at.offset.0 }, limits::LOG_READ_BYTES)
            }
            Phase::Beyond { cursor, .. } | Phase::Pass { cursor, .. } | Phase::Seek { cursor } => {
                self.read(*cursor, limits::LOG_READ_BYTES)
            }
            Phase::Refused => panic!("a refused log has no next step"),
            Phase::Done { fault } => Step::Done(Recovered {
                last_lsn: self.last_lsn(),
                base_lsn: self.assembler.base_lsn(),
                cut: self.at,
                highest_segment_seen: self.highest,
                max_commit_ts: self.max_commit_ts,
                records: self.records,
                tail: *fault,
            }),
        }
    }

    /// Takes the answer to the read that [`Replay::step`] asks for, and hands over the records that end
    /// in it. After an error nothing more may be asked.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut impl FnMut(RecordRef<'_>)) -> Result<(), ReplayError> {
        let Step::Read(read) = self.step() else { panic!("fed without having asked") };
        assert!(bytes.len() <= read.len, "more bytes than asked for");
        let index = self.index_of(read.segment).expect("only files that exist are read");
        let end = read.offset.0 + bytes.len() as u64;
        if bytes.len() < read.len {
            self.files[index].len = self.files[index].len.min(end);
        }
        let chunk = Chunk {
            shard: self.start.shard,
            segment: read.segment,
            base: read.offset.0,
            bytes,
            last: end >= self.files[index].len,
        };
        let result = match self.phase {
            Phase::Heads { .. } => self.head(&chunk),
            Phase::Scan => self.scan(&chunk, sink),
            Phase::Beyond { cursor, fault } => self.beyond(&chunk, cursor, fault),
            Phase::Pass { cursor, fault } => self.pass(&chunk, cursor, fault),
            Phase::Seek { cursor } => {
                self.seek(&chunk, cursor);
                Ok(())
            }
            Phase::Refused | Phase::Done { .. } => unreachable!("nothing was asked"),
        };
        if result.is_err() {
            self.phase = Phase::Refused;
        }
        result
    }

    fn index_of(&self, segment: SegmentId) -> Option<usize> {
        self.files.binary_search_by_key(&segment, |file| file.id).ok()
    }

    fn read(&self, cursor: Cursor, len_max: usize) -> Step {
        let file = self.files[cursor.index];
        let left = usize::try_from(file.len.saturating_sub(cursor.offset)).unwrap_or(usize::MAX).min(len_max);
        Step::Read(ReadAt {
            segment: file.id,
            offset: FileOffset(cursor.offset),
            len: round_up_to_block(left),
        })
    }

    /// The last LSN that is in the log or covered by the checkpoint.
    fn last_lsn(&self) -> Lsn {
        let covered = Lsn(self.start.first_wanted.0.saturating_sub(1));
        covered.max(self.assembler.last_lsn())
    }

    // ---- the beginnings of all segments

    fn head(&mut self, chunk: &Chunk<'_>) -> Result<(), ReplayError> {
        let Phase::Heads { heads, index } = &mut self.phase else { unreachable!("reading heads") };
        heads.add(self.start.shard, self.files[*index], chunk.bytes);
        *index += 1;
        if *index < self.files.len() {
            return Ok(());
        }
        self.chain = std::mem::take(heads).into_chain();
        self.enter(self.start.from)
    }

    // ---- the log, block by block

    /// Goes on at the beginning of `segment`, or where a recovery went on instead.
    fn enter(&mut self, segment: SegmentId) -> Result<(), ReplayError> {
        self.at = BlockEnd { segment, offset: FileOffset::ZERO, hash: self.at.hash };
        if let Some(next) = self.chain.cut_at(self.at) {
            return self.enter(next);
        }
        if self.is_far_enough() {
            self.phase = Phase::Done { fault: BlockFault::NoSuccessor };
            return Ok(());
        }
        let Some(index) = self.index_of(segment) else { return self.look_beyond(BlockFault::NoFile) };
        self.check_uncut(index)?;
        self.phase = Phase::Scan;
        Ok(())
    }

    fn scan(&mut self, chunk: &Chunk<'_>, sink: &mut impl FnMut(RecordRef<'_>)) -> Result<(), ReplayError> {
        loop {
            if let Some(next) = self.chain.cut_at(self.at) {
                return self.enter(next);
            }
            if self.is_far_enough() {
                self.phase = Phase::Done { fault: BlockFault::NoSuccessor };
                return Ok(());
            }
            match self.next_block(chunk) {
                Ok(block) => self.accept(&block, sink)?,
                Err(fault) if chunk.is_too_short(self.at.offset.0, fault) => return Ok(()),
                Err(fault) => return self.segment_end(fault),
            }
        }
    }

    /// The block that continues the log at `self.at`.
    fn next_block<'a>(&self, chunk: &Chunk<'a>) -> Result<BlockView<'a>, BlockFault> {
        let block = chunk.block(self.at.offset.0)?;
        let found = block.header.prev_hash;
        if !self.entering && found != self.at.hash {
            return Err(BlockFault::Chain { wanted: self.at.hash, found });
        }
        Ok(block)
    }

    fn accept(
        &mut self,
        block: &BlockView<'_>,
        sink: &mut impl FnMut(RecordRef<'_>),
    ) -> Result<(), ReplayError> {
        if self.entering && self.lacks_records_before(block) {
            return Err(
                self.damage(Cause::Missing { first_wanted: self.start.first_wanted }, Evidence::Itself)
            );
        }
        let first_wanted = self.start.first_wanted;
        let (max_commit_ts, records) = (&mut self.max_commit_ts, &mut self.records);
        let mut wanted = |record: RecordRef<'_>| {
            *max_commit_ts = record.parts.meta.commit_ts.max(*max_commit_ts);
            if record.lsn >= first_wanted {
                *records += 1;
                sink(record);
            }
        };
        let content = self.assembler.block(block, &mut wanted);
        content.map_err(|fault| self.damage(Cause::Content(fault), Evidence::Itself))?;
        let end = self.at.offset.0 + block.header.block_len as u64;
        self.at = BlockEnd { offset: FileOffset(end), hash: block.header.hash, ..self.at };
        self.durable = self.durable.max(block.header.durable_lsn);
        self.entering = false;
        Ok(())
    }

    /// The first segment begins behind records that are wanted, or in the middle of one.
    fn lacks_records_before(&self, block: &BlockView<'_>) -> bool {
        let Some(start) = &block.start else { return false };
        let wanted = self.start.first_wanted.max(Lsn(1));
        let continues_one = block.header.continued > 0;
        start.kind == StartKind::Rolled
            && (start.base_lsn > wanted || (continues_one && start.base_lsn == wanted))
    }

    fn segment_end(&mut self, fault: BlockFault) -> Result<(), ReplayError> {
        match fault {
            BlockFault::Newer { .. } => Err(self.newer(self.at.segment, self.at.offset, fault)),
            BlockFault::Contradiction => Err(self.damage(Cause::Block(fault), Evidence::Itself)),
            _ => match self.chain.rolled_at(self.at) {
                Some(next) => self.enter(next),
                None if self.may_pass(fault) => self.pass_from(self.behind_fault(BLOCK_BYTES as u64), fault),
                None => self.look_beyond(fault),
            },
        }
    }

    // ---- what lies beyond the end

    /// The valid log ends at `self.at`: is that a torn tail?
    fn look_beyond(&mut self, fault: BlockFault) -> Result<(), ReplayError> {
        let index = self.files.partition_point(|file| file.id < self.at.segment);
        let file = self.files.get(index).copied().filter(|file| file.id == self.at.segment);
        let fault = match file {
            Some(file) if self.at.offset.0 >= file.len => BlockFault::NoSuccessor,
            _ => fault,
        };
        if let Some(segment) = self.chain.recovered_behind(self.at.segment) {
            return Err(self.damage(Cause::Block(fault), Evidence::Recovered { segment }));
        }
        if let Some(segment) = self.lost_segment() {
            return Err(self.damage(Cause::Block(fault), Evidence::Made { segment }));
        }
        if self.start.floor > self.last_lsn() {
            return Err(self.damage(Cause::Block(fault), Evidence::Floor { lsn: self.start.floor }));
        }
        for index in index..self.files.len() {
            self.check_uncut(index)?;
        }
        let offset = if file.is_some() { self.at.offset.0 } else { 0 };
        self.look_on(Cursor { index, offset }, fault);
        Ok(())
    }

    /// Of the segments that were made, one without which the log would go on further. What a recovery has made void, and
    /// removed, is older than the first of them.
    fn lost_segment(&self) -> Option<SegmentId> {
        let Made { first, last } = self.start.made;
        if self.at.segment < first {
            return Some(first);
        }
        (self.at.segment.0..=last.0).map(SegmentId).find(|id| self.index_of(*id).is_none())
    }

    fn look_on(&mut self, cursor: Cursor, fault: BlockFault) {
        self.phase = match self.next_unread(cursor) {
            Some(cursor) => Phase::Beyond { cursor, fault },
            None => Phase::Done { fault },
        };
    }

    /// `cursor`, or the beginning of the next file when that is at its end.
    fn next_unread(&self, mut cursor: Cursor) -> Option<Cursor> {
        while cursor.offset >= self.files.get(cursor.index)?.len {
            cursor = Cursor { index: cursor.index + 1, offset: 0 };
        }
        Some(cursor)
    }

    fn beyond(
        &mut self,
        chunk: &Chunk<'_>,
        mut cursor: Cursor,
        fault: BlockFault,
    ) -> Result<(), ReplayError> {
        loop {
            match chunk.search(cursor.offset) {
                Found::Block(block) => {
                    let BlockHeader { durable_lsn: lsn, segment, offset, block_len, .. } = block.header;
                    if lsn > self.last_lsn() {
                        let evidence = Evidence::Durable { lsn, segment, offset };
                        return Err(self.damage(Cause::Block(fault), evidence));
                    }
                    cursor.offset = offset.0 + block_len as u64;
                }
                Found::Newer { offset, fault } => {
                    return Err(self.newer(chunk.segment, FileOffset(offset), fault));
                }
                Found::ReadFrom(offset) => {
                    self.look_on(Cursor { offset, ..cursor }, fault);
                    return Ok(());
                }
                Found::End => {
                    self.look_on(Cursor { index: cursor.index + 1, offset: 0 }, fault);
                    return Ok(());
                }
            }
        }
    }

    fn check_uncut(&mut self, index: usize) -> Result<(), ReplayError> {
        let file = self.files[index];
        if !self.chain.take_cut_short(file.id) {
            return Ok(());
        }
        let damage = Damage {
            shard: self.start.shard,
            segment: file.id,
            offset: FileOffset(file.len),
            last_lsn: self.last_lsn(),
            cause: Cause::CutShort { len: file.len },
            evidence: Evidence::Itself,
        };
        Err(ReplayError::Damage(damage))
    }

    fn damage(&self, cause: Cause, evidence: Evidence) -> ReplayError {
        let BlockEnd { segment, offset, .. } = self.at;
        let (shard, last_lsn) = (self.start.shard, self.last_lsn());
        ReplayError::Damage(Damage { shard, segment, offset, last_lsn, cause, evidence })
    }

    fn newer(&self, segment: SegmentId, offset: FileOffset, fault: BlockFault) -> ReplayError {
        ReplayError::Newer { shard: self.start.shard, segment, offset, fault }
    }
}
