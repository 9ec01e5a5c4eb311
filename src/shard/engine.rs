//! The engine of one shard: requests in, effects out. No file, no clock, no task.
//!
//! A write is validated, judged against the present version **and the writes in flight**, gets its LSN
//! and version, and is appended to the log that the pump carries to the disk block by block. It is
//! applied and acknowledged when its durability allows, strictly in LSN order.
//!
//! Invariant: `applied <= next LSN`, and a write is visible if and only if its LSN is `<= applied`.
//! Invariant: a `fsync` write is applied only when `durable >= its LSN`.
//! Invariant: no answer, a refusal included, tells of a write that is not visible yet.
//! Invariant: after a failed log write nothing is acknowledged any more.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::catalogue::Catalogue;
use super::clock::HybridClock;
use super::delta::{NEVER, Version, memory_of};
use super::key::Key;
use super::payload::Payload;
use super::recall::Recalled;
use super::receipts::{Receipt, Receipts};
use super::record::{Change, Condition, Durability, Refusal, Scan, Write, Written};
pub use super::staged::Taken;
use super::staged::{self, LogAs, Staged, StagedEffect, kind_of};
use super::store::part::Part;
use super::store::place::Place;
use super::store::{Before, DeltaPage, Store};
use super::tablet::{Tablet, holds};
use super::tablets::Tablets;
use crate::io::buf::BLOCK_BYTES;
use crate::io::log::{self, BlockOut, Kind, LogBuilder, Meta, RecordParts};
use crate::limits;
use crate::types::{Epoch, Lsn, Seq, ShardId, TabletId, WallMs};

/// What a delete may cost of a full disk's reserve: a block of its own.
const DELETE_BYTES: usize = BLOCK_BYTES;

/// Who waits for a write: chosen by the caller, given back with the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub batch: u32,
    pub index: u32,
}

/// What came of a ticket.
pub type Settled = (Ticket, Result<Written, Refusal>);

struct BlockInFlight {
    last_lsn: Lsn,
    durable: bool,
}

/// Counters of the engine; see [`super::stats::ShardStats`].
#[derive(Clone, Copy, Debug, Default)]
pub struct EngineCounters {
    pub gets: u64,
    pub puts: u64,
    pub deletes: u64,
    pub refused: u64,
    pub expired: u64,
    pub log_commits: u64,
    pub log_records: u64,
    pub log_bytes: u64,
    /// Of these, of receipts that were logged again.
    pub receipt_log_bytes: u64,
}

pub struct Engine {
    pub(super) shard: ShardId,
    pub(super) log: LogBuilder,
    clock: HybridClock,
    pub tablets: Tablets,
    pub store: Store,
    staged: VecDeque<Staged>,
    staged_bytes: u64,
    blocks: VecDeque<BlockInFlight>,
    first_block: u64,
    durable: Lsn,
    handed: Lsn,
    pub(super) applied: Lsn,
    /// Of writes that came with a key.
    pub receipts: Receipts,
    /// Requests that were carried out before, until that has reached what they ask for.
    pub(super) recalled: Vec<Recalled>,
    /// Refusals that rest on writes in flight, by the last LSN given out before: told when that is
    /// visible, or a crash could take back what they say, and a read could contradict it.
    refused: VecDeque<(Lsn, Settled)>,
    pub(super) settled: Vec<Settled>,
    pub(super) poisoned: bool,
    pub(super) closed: bool,
    /// Nothing is applied or answered for a moment, only logged: a snapshot is being cut.
    pub held: bool,
    /// Bytes that deletes may still log while the disk is full.
    pub(super) disk_full: Option<usize>,
    memory_budget: u64,
    pub(super) compaction_stuck: bool,
    pub(super) counters: EngineCounters,
    /// Shard 0: the last durable map.
    catalogue: Option<Arc<Catalogue>>,
}

/// A block on its way to the disk, numbered for [`Engine::block_written`].
pub struct OutgoingBlock {
    pub number: u64,
    pub block: BlockOut,
}

impl Engine {
    /// `recovered` is the last LSN of the log (or of the runs) and everything up to it is durable.
    pub fn new(
        shard: ShardId,
        log: LogBuilder,
        clock: HybridClock,
        tablets: Tablets,
        store: Store,
        recovered: Lsn,
        memory_budget: u64,
    ) -> Engine {
        Engine {
            shard,
            log,
            clock,
            tablets,
            store,
            staged: VecDeque::new(),
            staged_bytes: 0,
            blocks: VecDeque::new(),
            first_block: 0,
            durable: recovered,
            handed: recovered,
            applied: recovered,
            receipts: Receipts::new(memory_budget),
            recalled: Vec::new(),
            refused: VecDeque::new(),
            settled: Vec::new(),
            poisoned: false,
            closed: false,
            held: false,
            disk_full: None,
            memory_budget,
            compaction_stuck: false,
            counters: EngineCounters::default(),
            catalogue: None,
        }
    }

    // ---- reads

    pub fn now(&mut self, wall: WallMs) -> WallMs {
        self.clock.now(wall)
    }

    pub(super) fn note_gets(&mut self, count: u64) {
        self.counters.gets += count;
    }

    /// What the delta has of one tablet's part of a range, and the runs at the same moment.
    pub fn scan(&mut self, id: TabletId, scan: &Scan, wall: WallMs) -> Result<DeltaPage, Refusal> {
        let now = self.clock.now(wall);
        let tablet = self.tablets.get(id).filter(|tablet| tablet.serves_range(scan)).ok_or(Refusal::Moved)?;
        Ok(DeltaPage::of(tablet, scan, now, self.store.levels()))
    }

    // ---- writes

    /// Accepts a write into the order of the log, or refuses it and changes nothing. The outcome of an
    /// accepted write comes from [`Engine::take_settled`]. `at_rest` is what the runs are known to hold of the key,
    /// when they were asked before.
    pub fn write(
        &mut self,
        id: TabletId,
        write: Write,
        epoch: Epoch,
        wall: WallMs,
        ticket: Ticket,
        at_rest: Option<Before>,
    ) -> Result<Taken, Refusal> {
        let taken = self.try_write(id, write, epoch, wall, ticket, at_rest);
        if taken.is_err() {
            self.counters.refused += 1;
        }
        taken
    }

    fn try_write(
        &mut self,
        id: TabletId,
        write: Write,
        epoch: Epoch,
        wall: WallMs,
        ticket: Ticket,
        at_rest: Option<Before>,
    ) -> Result<Taken, Refusal> {
        let now = self.clock.now(wall);
        // A request that was carried out takes no room, so it is answered when there is none.
        if write.once.is_some() && self.recall(id, &write, epoch, now, ticket)? {
            return Ok(Taken::Logged);
        }
        self.check_open(&write)?;
        let tablet = self.tablets.get_mut(id).ok_or(Refusal::Moved)?;
        if !tablet.takes_by(epoch) || !tablet.serves(&write.key) {
            return Err(Refusal::Moved);
        }
        let wants_seq = write.condition != Condition::None;
        let in_memory = tablet.before(&write.key).or(at_rest);
        let known = in_memory.or_else(|| self.store.before(tablet.collection, id, &write.key));
        let Some(before) = known.filter(|before| !wants_seq || before.tells_seq()) else {
            let read = self.store.cold_read(tablet.collection, id, &write.key);
            return Ok(Taken::Cold(write, read));
        };
        if let Err(refusal) = judge(&write, before.visible(now)) {
            return match tablet.is_staged(&write.key) {
                true => self.refuse_later(ticket, refusal).map(|()| Taken::Logged),
                false => Err(refusal),
            };
        }
        let put = match write.change {
            Change::Put { payload, expires } => {
                Some((payload, expires.map_or(NEVER, |expires| expires.at(now))))
            }
            Change::Delete => None,
        };
        tablet.heat.writes.note(&write.key);
        let how = LogAs {
            created: before.visible(now).is_none(),
            replaces: before.is_record(),
            durability: write.durability,
            ticket: Some(ticket),
            once: write.once.map(|once| log::Once { token: once.token, fingerprint: once.fingerprint }),
        };
        self.log_record(id, write.key, put, how);
        Ok(Taken::Logged)
    }

    /// Puts a change of a record into the order of the log.
    fn log_record(&mut self, id: TabletId, key: Key, put: Option<(Payload, WallMs)>, how: LogAs) {
        let lsn = self.log.next_lsn();
        let kind = if put.is_some() { Kind::Put } else { Kind::Delete };
        let expires = put.as_ref().map(|(_, expires)| *expires);
        let commit_ts = self.clock.tick();
        let tablet = self.tablets.get_mut(id).expect("looked up by the caller");
        let seq = tablet.stage(&key, lsn, expires);
        let (collection, epoch) = (tablet.collection, tablet.epoch);
        let expiry = expires.filter(|expires| *expires != NEVER);
        let LogAs { created, replaces, durability, ticket, once } = how;
        let place = Meta { collection, tablet: id, epoch, ..Meta::new(kind) };
        let mut meta = Meta { commit_ts, seq, expiry, replaces, ..place };
        if let Some(once) = once {
            (meta.once, meta.created) = (Some(once), created);
            self.receipts.put(once.token, Receipt::of(&meta, once, lsn));
        }
        staged::log(&mut self.log, meta, &key, put.as_ref().map(|(payload, _)| payload));
        match kind {
            Kind::Put => self.counters.puts += 1,
            _ => self.count_delete(),
        }
        let effect = StagedEffect::Record(key, put);
        self.push_staged(Staged { tablet: id, effect, created, replaces, lsn, seq, durability, ticket });
    }

    pub(super) fn refuse_later(&mut self, ticket: Ticket, refusal: Refusal) -> Result<(), Refusal> {
        let last = self.staged.back().expect("a key with a write in flight").lsn;
        self.counters.refused += 1;
        self.refused.push_back((last, (ticket, Err(refusal))));
        Ok(())
    }

    /// Whether the log takes anything.
    pub(super) fn check_log(&self) -> Result<(), Refusal> {
        match (self.poisoned, self.closed) {
            (true, _) => Err(Refusal::StorageFailed { shard: self.shard }),
            (false, true) => Err(Refusal::NotReady),
            (false, false) => Ok(()),
        }
    }

    /// Whether there is disk for more than deletes.
    pub(super) fn check_disk(&self) -> Result<(), Refusal> {
        if self.disk_full.is_some() { Err(Refusal::DiskFull) } else { Ok(()) }
    }

    /// Whether the shard takes this write at all.
    fn check_open(&self, write: &Write) -> Result<(), Refusal> {
        self.check_log()?;
        let Change::Put { payload, .. } = &write.change else {
            return self.check_delete(write.key.len());
        };
        let bytes = write.key.len() + payload.as_bytes().len();
        self.check_disk()?;
        self.check_memory(memory_of(&write.key, payload.as_bytes().len()))?;
        self.check_backlog(bytes)
    }

    /// Keys and models of the runs stay in memory, and indexes over documents; what is written has what they and the
    /// cache leave.
    pub(super) fn check_memory(&self, more: u64) -> Result<(), Refusal> {
        let room = self.room_for_writes();
        if more > room {
            // Sealing gives back what was written, but nothing of the rest.
            return Err(Refusal::MemoryFull);
        }
        if self.tablets.memory_bytes() + self.staged_bytes + more > room {
            return Err(Refusal::Overloaded { queue: "memory for new writes" });
        }
        match self.store.levels().fresh().len() > limits::FRESH_RUNS_MAX && !self.compaction_stuck {
            true => Err(Refusal::Overloaded { queue: "queue of runs to be compacted" }),
            false => Ok(()),
        }
    }

    pub(super) fn room_for_writes(&self) -> u64 {
        let taken = self.store.cache_capacity() + self.store.resident_bytes() + self.tablets.index_bytes();
        self.memory_budget.saturating_sub(taken + self.receipts.memory_bytes())
    }

    /// Memory of unsealed writes at which they are sealed, whatever the log says: well before there is no room.
    pub fn seal_memory(&self) -> u64 {
        (self.memory_budget / limits::MEMORY_BYTES_PER_UNSEALED_BYTE).min(self.room_for_writes() / 2)
    }

    /// A run cannot be read, so compaction does not get on: writes do not wait for it.
    pub fn set_compaction_stuck(&mut self, stuck: bool) {
        self.compaction_stuck = stuck;
    }

    pub fn is_compaction_stuck(&self) -> bool {
        self.compaction_stuck
    }

    /// Deletes give room back: they go on for as long as the reserve lasts.
    fn check_delete(&self, key_bytes: usize) -> Result<(), Refusal> {
        if self.disk_full.is_some_and(|reserve| reserve < DELETE_BYTES) {
            return Err(Refusal::DiskFull);
        }
        self.check_room_for_delete()?;
        self.check_backlog(key_bytes)
    }

    fn count_delete(&mut self) {
        self.counters.deletes += 1;
        if let Some(reserve) = &mut self.disk_full {
            *reserve -= DELETE_BYTES;
        }
    }

    pub(super) fn check_backlog(&self, bytes: usize) -> Result<(), Refusal> {
        if self.log.pending_bytes() + bytes > limits::LOG_BACKLOG_BYTES_MAX {
            return Err(Refusal::Overloaded { queue: "log queue" });
        }
        Ok(())
    }

    /// Logs a new map; it is the shard's from the moment it is durable.
    pub fn write_catalogue(&mut self, catalogue: Arc<Catalogue>, ticket: Ticket) -> Result<(), Refusal> {
        self.check_log()?;
        let mut payload = Vec::new();
        catalogue.encode(&mut payload);
        self.check_backlog(payload.len())?;
        let meta = self.next_meta(kind_of(catalogue.form()));
        let lsn = self.log.append(&RecordParts { meta, key: &[], payload: &payload });
        self.push_staged(Staged {
            tablet: TabletId::ZERO,
            effect: StagedEffect::Catalogue(catalogue),
            created: false,
            replaces: false,
            lsn,
            seq: Seq::ZERO,
            durability: Durability::Fsync,
            ticket: Some(ticket),
        });
        Ok(())
    }

    pub(super) fn next_meta(&mut self, kind: Kind) -> Meta {
        Meta { commit_ts: self.clock.tick(), ..Meta::new(kind) }
    }

    pub(super) fn push_staged(&mut self, staged: Staged) {
        debug_assert!(self.staged.back().is_none_or(|last| last.lsn < staged.lsn), "LSN order");
        self.counters.log_records += 1;
        self.staged_bytes += staged.memory();
        let waits = staged.durability != Durability::Memory;
        self.staged.push_back(staged);
        if !waits {
            self.settle();
        }
    }

    // ---- the log's way to the disk

    /// The next block to write, when there is one and it should go now.
    pub fn next_block(&mut self) -> Option<OutgoingBlock> {
        if self.poisoned || self.log.pending_bytes() == 0 || !self.block_is_worth_it() {
            return None;
        }
        let block = self.log.next_block(self.durable)?;
        let number = self.first_block + self.blocks.len() as u64;
        self.blocks.push_back(BlockInFlight { last_lsn: block.last_lsn, durable: false });
        self.counters.log_commits += 1;
        self.counters.log_bytes += block.buf.len() as u64;
        Some(OutgoingBlock { number, block })
    }

    /// Whether a block now beats a fuller one later. A commit takes about as long whatever its size: so
    /// another one beside those in flight pays when it takes as many records as they do together, which
    /// halves neither. Full blocks go out as long as the disk has room.
    fn block_is_worth_it(&self) -> bool {
        let under_way = self.blocks.iter().filter(|block| !block.durable).count();
        if under_way == 0 {
            return true;
        }
        let sent = self.log.last_lsn();
        let in_flight = sent.0 - self.durable.0;
        let pending = self.log.next_lsn().0 - 1 - sent.0;
        let large = pending >= in_flight || self.log.pending_bytes() >= limits::LOG_BLOCK_FILL_BYTES;
        large && under_way < limits::LOG_WRITES_IN_FLIGHT_MAX
    }

    /// The block with this last LSN was handed to the disk: `interval` writes in it may be answered.
    pub fn block_handed(&mut self, last_lsn: Lsn) {
        if !self.poisoned {
            self.handed = self.handed.max(last_lsn);
            self.settle();
        }
    }

    /// A block is on stable storage, or never will be: the first failure is final.
    pub fn block_written(&mut self, number: u64, written: bool) {
        if self.poisoned {
            return;
        }
        if !written {
            self.poison();
            return;
        }
        let index = number.checked_sub(self.first_block).expect("a block completes once");
        self.blocks[index as usize].durable = true;
        while self.blocks.front().is_some_and(|block| block.durable) {
            if let Some(block) = self.blocks.pop_front() {
                self.first_block += 1;
                self.durable = self.durable.max(block.last_lsn);
            }
        }
        self.settle();
    }

    /// Takes back the buffer of a written block.
    pub fn reuse(&mut self, buf: crate::io::buf::AlignedBuf) {
        self.log.reuse(buf);
    }

    /// The log failed. Everything unanswered is refused, its outcome unknown until the next start.
    pub fn poison(&mut self) {
        self.poisoned = true;
        let refusal = Refusal::StorageFailed { shard: self.shard };
        let refused = self.refused.drain(..).map(|(_, (ticket, _))| ticket);
        let recalled = self.recalled.drain(..).map(|recalled| recalled.ticket);
        let staged = self.staged.drain(..).filter_map(|staged| staged.ticket);
        let unanswered = staged.chain(refused).chain(recalled);
        self.settled.extend(unanswered.map(|ticket| (ticket, Err(refusal))));
        self.staged_bytes = 0;
        self.tablets.iter_mut().for_each(Tablet::forget_staged);
    }

    /// Applies and answers, in LSN order, what has reached its durability: a bounded stretch of it, so
    /// that a full block does not hold the core. [`Engine::settle_more`] goes on.
    fn settle(&mut self) {
        for _ in 0..limits::SETTLE_RECORDS_MAX {
            let Some(front) = self.staged.front().filter(|_| !self.held) else { break };
            let reached = self.reached(front.lsn);
            if reached < front.durability {
                break;
            }
            let Some(staged) = self.staged.pop_front() else { break };
            // The promise of `fsync`, also in release: nothing is answered before it is durable.
            assert!(staged.durability != Durability::Fsync || staged.lsn <= self.durable, "ack before sync");
            assert!(staged.lsn > self.applied, "applied out of order");
            self.applied = staged.lsn;
            self.staged_bytes -= staged.memory();
            let Staged { lsn, seq, created, .. } = staged;
            let written = Written { lsn, seq, created, reached, replayed: false };
            let ticket = staged.ticket;
            self.apply(staged);
            self.settled.extend(ticket.map(|ticket| (ticket, Ok(written))));
            self.settle_refused();
        }
        self.settle_recalled();
    }

    /// The next stretch of what can be applied and answered; false when nothing can.
    pub fn settle_more(&mut self) -> bool {
        let reached = |front: &Staged| self.reached(front.lsn) >= front.durability;
        let ready = !self.held && self.staged.front().is_some_and(reached);
        if ready {
            self.settle();
        }
        ready
    }

    fn settle_refused(&mut self) {
        let ready = self.refused.partition_point(|(last, _)| *last <= self.applied);
        self.settled.extend(self.refused.drain(..ready).map(|(_, settled)| settled));
    }

    pub(super) fn reached(&self, lsn: Lsn) -> Durability {
        if lsn <= self.durable {
            Durability::Fsync
        } else if lsn <= self.handed {
            Durability::Interval
        } else {
            Durability::Memory
        }
    }

    fn apply(&mut self, staged: Staged) {
        let Staged { lsn, seq, tablet, effect, replaces, .. } = staged;
        match effect {
            StagedEffect::Record(key, put) => {
                let (payload, expires) =
                    put.map_or((None, NEVER), |(payload, expires)| (Some(payload), expires));
                self.tablets.apply(tablet, key, Version { lsn, seq, expires, payload }, replaces);
            }
            StagedEffect::Arrival(key, version) => self.tablets.apply(tablet, key, version, replaces),
            StagedEffect::Catalogue(catalogue) => self.catalogue = Some(catalogue),
            StagedEffect::Receipts => {}
        }
    }

    /// The outcomes since the last call, in LSN order.
    pub fn take_settled(&mut self, into: &mut Vec<Settled>) {
        into.append(&mut self.settled);
    }

    /// Logs the deletion of records whose time is over, of about `count`; true when more may be due.
    pub fn expire(&mut self, wall: WallMs, count: usize) -> bool {
        let now = self.clock.now(wall);
        let due = self.tablets.due(now, count);
        let logged = due.iter().filter(|(tablet, key)| self.log_expiry(*tablet, key.clone())).count();
        logged >= count
    }

    /// As [`Engine::expire`], for a record in `part`: only if nothing newer is there.
    pub fn expire_sealed(&mut self, part: &Rc<Part>, id: TabletId, key: Key, seq: Seq) {
        let Some(tablet) = self.tablets.get(id).filter(|tablet| tablet.serves(&key) && !tablet.frozen) else {
            return;
        };
        if tablet.before(&key).is_some() {
            return;
        }
        let place = Place { collection: tablet.collection, tablet: id, key };
        if self.store.newest_is(part, &place, seq) {
            self.log_expiry(id, place.key);
        }
    }

    fn log_expiry(&mut self, id: TabletId, key: Key) -> bool {
        if self.poisoned || self.closed || self.check_delete(key.len()).is_err() {
            return false;
        }
        self.counters.expired += 1;
        self.log_record(
            id,
            key,
            None,
            LogAs {
                created: false,
                replaces: true,
                durability: Durability::Memory,
                ticket: None,
                once: None,
            },
        );
        true
    }

    /// Lets a tablet's delta go of a stretch of what is in runs; gives the key to go on behind.
    pub fn drop_sealed(
        &mut self,
        tablet: TabletId,
        after: Option<&Key>,
        covered: Lsn,
        count: usize,
    ) -> Option<Key> {
        let (sealed, last) = self.tablets.drop_sealed(tablet, after, covered, count);
        for (key, version) in &sealed {
            self.store.refresh(tablet, key, version);
        }
        last
    }

    /// Takes no more writes: the node is going down.
    pub fn close(&mut self) {
        self.closed = true;
    }

    // ---- what it is at

    pub fn catalogue(&self) -> Option<&Arc<Catalogue>> {
        self.catalogue.as_ref()
    }

    pub fn restore_catalogue(&mut self, catalogue: Arc<Catalogue>) {
        self.catalogue = Some(catalogue);
    }

    pub fn durable(&self) -> Lsn {
        self.durable
    }

    pub fn applied(&self) -> Lsn {
        self.applied
    }

    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// No write waits for the disk.
    pub fn is_quiet(&self) -> bool {
        self.staged.is_empty() && self.blocks.is_empty() && self.log.pending_bytes() == 0
    }

    /// Refuses puts from now on, and deletes after `reserve` bytes of log; or takes both again.
    pub fn set_disk_full(&mut self, reserve: Option<usize>) {
        self.disk_full = reserve;
    }

    /// Bytes of log that are left to deletes, when the disk is full.
    pub fn disk_full_reserve(&self) -> Option<usize> {
        self.disk_full
    }

    pub fn is_disk_full(&self) -> bool {
        self.disk_full.is_some()
    }

    /// Of writes and their receipts, of indexes over documents, of what is resident of the runs, and of warm values.
    pub fn memory_bytes(&self) -> u64 {
        let store = self.store.resident_bytes() + self.store.cache_bytes();
        self.tablets.memory_bytes() + self.tablets.index_bytes() + self.receipts.memory_bytes() + store
    }

    pub fn memory_budget(&self) -> u64 {
        self.memory_budget
    }

    pub fn log_backlog_bytes(&self) -> usize {
        self.log.pending_bytes()
    }

    pub fn blocks_in_flight(&self) -> usize {
        self.blocks.len()
    }

    pub fn clock_last(&self) -> u64 {
        self.clock.last()
    }

    pub fn counters(&self) -> EngineCounters {
        self.counters
    }
}

/// Whether the write may be carried out on the version that is present.
fn judge(write: &Write, present: Option<Seq>) -> Result<(), Refusal> {
    if !holds(write.condition, present) {
        return Err(Refusal::ConditionFailed { current: present });
    }
    match (&write.change, present) {
        (Change::Delete, None) => Err(Refusal::Absent),
        _ => Ok(()),
    }
}
