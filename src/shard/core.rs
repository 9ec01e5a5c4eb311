//! The engine of a core with the files under it: what exists once a shard has recovered.
//!
//! Every mutation goes through here and runs to completion: into the engine, then [`Core::deliver`]
//! hands out what is settled and wakes the pump when there is something to write.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use super::balance;
use super::batch::{Batches, FinishedBatch, Origin};
use super::catalogue::Catalogue;
use super::checkpoint;
use super::decisions::Decisions;
use super::delta::Version;
use super::engine::{Engine, Settled, Taken, Ticket};
use super::jobs;
use super::ledger::Ledger;
use super::mailbox::Mailbox;
use super::message::Reply;
use super::node::Node;
use super::options::ShardOptions;
use super::pace::Pace;
use super::page::Page;
use super::parked::Parked;
use super::record::{Reading, Refusal, Scan, Write};
use super::runs::run_file_name;
use super::search::file::INDEX_DIR;
use super::search::library::Library;
use super::search::options::IndexOptions;
use super::search::upkeep::keep_documents;
use super::segments::Segments;
use super::snapshot_part::Desk;
use super::state::{ShardState, TabletState};
use super::stats::Latency;
use super::store::levels::Levels;
use super::store::parts_out::Written;
use super::store::policy::Reason;
use super::store::read::{fetch_all, look_up_all};
use super::store::shares::Shares;
use super::store::{Before, ColdRead, DeltaPage, Part, Shelf, Stored};
use crate::io::executor::Class;
use crate::io::executor::sync::{Signal, promise};
use crate::io::log::Made;
use crate::io::manifest::ManifestError;
use crate::io::runtime::Runtime;
use crate::limits;
use crate::types::{CollectionId, Epoch, Lsn, RunId, ShardId, TabletId};

pub struct Core {
    pub runtime: Runtime,
    pub engine: RefCell<Engine>,
    pub segments: Rc<Segments>,
    pub ledger: Ledger,
    /// There may be a block to write.
    pub log_work: Signal,
    /// There may be writes to apply and answer.
    pub settle_work: Signal,
    /// Something became durable, or the log failed.
    pub progress: Signal,
    /// A log segment was begun: there is less room on the disk.
    pub segment_begun: Signal,
    /// From the first state of this life on.
    pub witnesses: Cell<bool>,
    /// A checkpoint is wanted now.
    pub checkpoint_wanted: Signal,
    pub checkpoints: Cell<checkpoint::Progress>,
    /// The runs have changed, or all of them are to be merged.
    pub compaction_wanted: Signal,
    pub compactions: Cell<checkpoint::Progress>,
    pub pace: Pace,
    /// Size of a run file, about.
    pub part_bytes: u64,
    /// A larger payload lies in a value file.
    pub value_bytes_inline: usize,
    /// Size of a value file, about.
    pub value_file_bytes: u64,
    /// Parts that no manifest names any more; their files go when nobody reads them.
    retired: RefCell<Vec<Rc<Part>>>,
    /// Writes that wait for a run to be read.
    parked: RefCell<Parked>,
    shelf: Rc<Shelf>,
    pub runs_dir: PathBuf,
    pub index_dir: PathBuf,
    next_run: Cell<RunId>,
    /// Bytes of log when the last checkpoint began; what came since is not covered.
    checkpointed_log_bytes: Cell<u64>,
    /// Of these, of receipts that were logged again: no seal is due for them.
    checkpointed_receipt_bytes: Cell<u64>,
    /// Replayed at the start, not covered yet.
    replayed_log_bytes: Cell<u64>,
    checkpoint_log_bytes: u64,
    /// Tablets or parts of them were given up: their memory is to be freed.
    pub shed_wanted: Signal,
    /// Indexes over documents have changed.
    pub documents_wanted: Signal,
    /// Parts of their indexes that all cores share.
    pub library: Library,
    pub index_options: IndexOptions,
    keeps_documents: Cell<bool>,
    /// Collections whose split is under way: it may take longer than to the next checkpoint.
    pub splitting: RefCell<BTreeSet<CollectionId>>,
    pub numbers: RefCell<Numbers>,
    pub snapshots: Desk,
    pub jobs: jobs::Desk,
    pub balance: balance::Desk,
    mailbox: Rc<Mailbox>,
    batches: RefCell<Batches>,
    settled: RefCell<Vec<Settled>>,
}

/// Measurements that the engine does not make.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    pub write_latency: Latency,
    pub commit_latency: Latency,
    pub scans: u64,
    pub from_other_cores: u64,
    pub checkpoints: u64,
    pub checkpoint_failures: u64,
    pub checkpoint_bytes: u64,
    pub compactions: BTreeMap<Reason, u64>,
    pub compaction_failures: u64,
    pub compaction_read_bytes: u64,
    pub compaction_written_bytes: u64,
    pub decisions: Decisions,
    /// Blocks of runs that were damaged when they were read.
    pub damaged_reads: u64,
}

impl Numbers {
    pub fn count_job(&mut self, reason: Reason) {
        *self.compactions.entry(reason).or_default() += 1;
    }
}

impl Core {
    pub fn new(
        runtime: Runtime,
        mailbox: Rc<Mailbox>,
        engine: Engine,
        segments: Rc<Segments>,
        ledger: Ledger,
        options: &ShardOptions,
        replayed_log_bytes: u64,
    ) -> Core {
        let next_run = ledger.state().next_run;
        Core {
            runtime,
            segments,
            log_work: Signal::default(),
            settle_work: Signal::default(),
            progress: Signal::default(),
            segment_begun: Signal::default(),
            witnesses: Cell::new(false),
            checkpoint_wanted: Signal::default(),
            checkpoints: Cell::default(),
            compaction_wanted: Signal::default(),
            compactions: Cell::default(),
            pace: Pace::default(),
            part_bytes: options.part_bytes,
            value_bytes_inline: options.value_bytes_inline,
            value_file_bytes: options.value_file_bytes,
            retired: RefCell::default(),
            parked: RefCell::default(),
            shelf: engine.store.shelf().clone(),
            runs_dir: options.shard_dir(mailbox.shard()).join("runs"),
            index_dir: options.shard_dir(mailbox.shard()).join(INDEX_DIR),
            engine: RefCell::new(engine),
            next_run: Cell::new(next_run),
            ledger,
            checkpointed_log_bytes: Cell::new(0),
            checkpointed_receipt_bytes: Cell::new(0),
            replayed_log_bytes: Cell::new(replayed_log_bytes),
            checkpoint_log_bytes: options.checkpoint_log_bytes,
            shed_wanted: Signal::default(),
            documents_wanted: Signal::default(),
            library: Library::default(),
            index_options: options.index,
            keeps_documents: Cell::new(false),
            splitting: RefCell::default(),
            numbers: RefCell::default(),
            snapshots: Desk::default(),
            jobs: jobs::Desk::default(),
            balance: balance::Desk::default(),
            mailbox,
            batches: RefCell::default(),
            settled: RefCell::default(),
        }
    }

    /// Puts a batch of writes into the order of the log, each accepted or refused on its own.
    /// `epoch` is that of the map by which they came here.
    pub fn submit(
        self: &Rc<Self>,
        items: impl ExactSizeIterator<Item = (TabletId, Write)>,
        epoch: Epoch,
        origin: Origin,
    ) {
        let wall = self.runtime.wall();
        if self.segments.is_starved() {
            // At once: what is accepted must find room in the segments that are ready.
            self.set_disk_full(true);
        }
        let items: Vec<(TabletId, Write)> = items.collect();
        let before = self.engine.borrow().before_many(&items);
        let count = items.len();
        let mut items = items.into_iter().zip(before);
        let mut reads = Vec::new();
        self.submit_with(count, origin, |engine, ticket| {
            let ((tablet, write), before) = items.next().expect("as many writes as were counted");
            let mut parked = self.parked.borrow_mut();
            // Behind others of its key, whether it needs the read or not.
            if parked.holds(tablet, &write.key) {
                return parked.push(tablet, write, epoch, ticket);
            }
            match engine.write(tablet, write, epoch, wall, ticket, before)? {
                Taken::Logged => Ok(()),
                Taken::Cold(write, read) => {
                    parked.push(tablet, write, epoch, ticket)?;
                    reads.push(read);
                    Ok(())
                }
            }
        });
        for read in reads {
            self.read_for_writes(read);
        }
    }

    /// Reads what parked writes of a key have to know, then carries them out.
    fn read_for_writes(self: &Rc<Self>, read: ColdRead) {
        let core = self.clone();
        self.runtime.spawn(Class::Foreground, async move {
            let place = read.place().clone();
            let before = core.read_before(read).await;
            let writes = core.parked.borrow_mut().take(place.tablet, &place.key);
            let wall = core.runtime.wall();
            let mut refused = Vec::new();
            for (write, epoch, ticket) in writes {
                let taken = before.and_then(|before| {
                    core.engine.borrow_mut().write(place.tablet, write, epoch, wall, ticket, Some(before))
                });
                match taken {
                    Ok(Taken::Logged) => {}
                    Ok(Taken::Cold(..)) => unreachable!("it was read"),
                    Err(refusal) => refused.push((ticket, Err(refusal))),
                }
            }
            core.settle(refused);
            core.deliver();
            core.progress.notify();
        });
    }

    /// Carries a point read out; what it finds stays warm.
    pub async fn read_cold(&self, read: ColdRead, reading: Reading) -> Result<Option<Version>, Refusal> {
        let stored = read.run().await.map_err(|error| self.note_damaged_read(&read, &error))?;
        let is_large = |stored: &Stored| stored.bytes_apart() > limits::READ_AHEAD_VALUE_BYTES_MAX;
        if reading == Reading::Ahead && stored.as_ref().is_some_and(is_large) {
            return Err(Refusal::NotAhead);
        }
        let found = match stored {
            Some(stored) => {
                Some(stored.version().await.map_err(|error| self.note_damaged_read(&read, &error))?)
            }
            None => None,
        };
        if let Some(version) = &found {
            self.engine.borrow_mut().store.remember(&read, version);
        }
        Ok(found)
    }

    /// What a write would replace: without the value, if that lies apart. True of the runs of now: what went from
    /// the delta into a run meanwhile was not in those that were read.
    pub async fn read_before(&self, mut read: ColdRead) -> Result<Before, Refusal> {
        loop {
            let found = read.run().await.map_err(|error| self.note_damaged_read(&read, &error))?;
            let now = self.engine.borrow().store.levels().clone();
            if !Rc::ptr_eq(read.levels(), &now) {
                read = ColdRead::new(now, read.place().clone(), None);
                continue;
            }
            let Some(stored) = found else { return Ok(Before::Absent) };
            let before = stored.before();
            if let Some(version) = stored.in_memory() {
                self.engine.borrow_mut().store.remember(&read, &version);
            }
            return Ok(before);
        }
    }

    fn note_damaged_read(&self, read: &ColdRead, error: &super::runs::LoadError) -> Refusal {
        tracing::error!(shard = %self.shard(), place = ?read.place(), "a record could not be read");
        self.note_damage(error)
    }

    /// What the runs have of many keys, without the values that lie apart.
    pub async fn look_up_cold(&self, reads: &[ColdRead]) -> Result<Vec<Option<Stored>>, Refusal> {
        look_up_all(&self.runtime, reads).await.map_err(|error| self.note_damage(&error))
    }

    /// The values of what some reads found; they stay warm.
    pub async fn fetch_cold(
        &self,
        reads: &[ColdRead],
        stored: Vec<Option<Stored>>,
    ) -> Result<Vec<Option<Version>>, Refusal> {
        let found = fetch_all(&self.runtime, stored).await.map_err(|error| self.note_damage(&error))?;
        let mut engine = self.engine.borrow_mut();
        for (read, version) in reads.iter().zip(&found) {
            if let Some(version) = version {
                engine.store.remember(read, version);
            }
        }
        Ok(found)
    }

    /// What of a range of a tablet is visible now.
    pub fn begin_scan(&self, tablet: TabletId, scan: &Scan) -> Result<DeltaPage, Refusal> {
        self.numbers.borrow_mut().scans += 1;
        self.engine.borrow_mut().scan(tablet, scan, self.runtime.wall())
    }

    /// Reads what memory does not have of it.
    pub async fn finish_scan(&self, begun: DeltaPage) -> Result<Page, Refusal> {
        begun.page().await.map_err(|error| self.note_damage(&error))
    }

    /// A run could not be read; what depends on it is refused.
    pub fn note_damage(&self, error: &super::runs::LoadError) -> Refusal {
        let shard = self.shard();
        self.numbers.borrow_mut().damaged_reads += 1;
        tracing::error!(%shard, %error, "a run could not be read");
        Refusal::Damaged { shard }
    }

    pub fn shard(&self) -> ShardId {
        self.mailbox.shard()
    }

    pub fn shelf(&self) -> &Rc<Shelf> {
        &self.shelf
    }

    pub fn has_parked(&self) -> bool {
        !self.parked.borrow().is_empty()
    }

    // ---- runs

    /// Makes the manifest name other runs, then reads them.
    pub async fn replace_parts(&self, out: &[RunId], into: Written) -> Result<(), Refusal> {
        let replacement = into.replacement();
        let committed = self.commit_state(|state| state.replace_runs(out, replacement)).await;
        committed.inspect_err(|_| self.give_up_parts(out, &into.parts))?;
        self.install_parts(out, &into.parts);
        Ok(())
    }

    /// The manifest does not name these after all; those of `out` stay what they are.
    pub fn give_up_parts(&self, out: &[RunId], into: &[Rc<Part>]) {
        if !self.engine.borrow().is_poisoned() {
            let new = into.iter().filter(|part| !out.contains(&part.meta.id));
            self.retired.borrow_mut().extend(new.cloned());
        }
    }

    /// The manifest names these; in one step with that commit's return.
    pub fn install_parts(&self, out: &[RunId], into: &[Rc<Part>]) {
        let gone = self.engine.borrow_mut().store.replace(out, into);
        let stays = |part: &Rc<Part>| into.iter().any(|other| other.meta.id == part.meta.id);
        self.retired.borrow_mut().extend(gone.into_iter().filter(|part| !stays(part)));
        self.note_pressure();
        self.compaction_wanted.notify();
    }

    /// The runs have changed, or what compaction can do.
    pub fn note_pressure(&self) {
        let engine = self.engine.borrow();
        let pressure = Shares::new(self.part_bytes).pressure(engine.store.levels());
        self.pace.set_pressure(if engine.is_compaction_stuck() { 0.0 } else { pressure });
    }

    /// Removes files of parts and of values that nobody reads any more.
    pub async fn sweep_retired(&self) {
        let unread: Vec<Rc<Part>> =
            self.retired.borrow_mut().extract_if(.., |part| Part::is_unread(part)).collect();
        for part in unread {
            let path = self.runs_dir.join(run_file_name(part.meta.id));
            if let Err(error) = self.runtime.remove_file(path).await {
                tracing::warn!(run = %part.meta.id, %error, "a replaced run could not be removed; tried again");
                self.retired.borrow_mut().push(part);
            }
        }
        // Whether a commit that failed counts shows at the next start: then what it names must be there.
        if self.engine.borrow().is_poisoned() {
            return;
        }
        self.shelf.sweep_values(|id| self.ledger.state().names_values(id)).await;
    }

    /// As `submit`, for any `count` records that `write` puts into the engine one by one.
    pub fn submit_with(
        &self,
        count: usize,
        origin: Origin,
        mut write: impl FnMut(&mut Engine, Ticket) -> Result<(), Refusal>,
    ) {
        let batch = self.batches.borrow_mut().begin(origin, count, self.runtime.turn_start());
        let mut refused = Vec::new();
        {
            let mut engine = self.engine.borrow_mut();
            for index in 0..count as u32 {
                let ticket = Ticket { batch, index };
                if let Err(refusal) = write(&mut engine, ticket) {
                    refused.push((ticket, Err(refusal)));
                }
            }
        }
        self.settle(refused);
        self.deliver();
    }

    /// Makes a new map durable.
    pub async fn log_catalogue(&self, catalogue: &Arc<Catalogue>) -> Result<(), Refusal> {
        let (promise, pending) = promise();
        self.submit_with(1, Origin::One(promise), |engine, ticket| {
            engine.write_catalogue(catalogue.clone(), ticket)
        });
        pending.await.map(|_| ())
    }

    /// Hands out what the engine has settled and wakes the pump.
    pub fn deliver(&self) {
        let mut settled = std::mem::take(&mut *self.settled.borrow_mut());
        let (work, durable_changed, documents_changed) = {
            let mut engine = self.engine.borrow_mut();
            engine.take_settled(&mut settled);
            let documents_changed = engine.tablets.take_documents_changed();
            (engine.log_backlog_bytes() > 0, !settled.is_empty(), documents_changed)
        };
        if documents_changed {
            self.documents_wanted.notify();
        }
        if work {
            self.log_work.notify();
        }
        if durable_changed {
            self.progress.notify();
        }
        self.settle(settled.drain(..));
        *self.settled.borrow_mut() = settled;
    }

    /// Begins the upkeep of indexes over documents when there are any.
    pub fn keep_documents(self: &Rc<Core>, node: &Node) {
        if self.engine.borrow().tablets.have_documents() && !self.keeps_documents.replace(true) {
            self.runtime.spawn(Class::Background, keep_documents(node.clone(), self.clone()));
        }
        self.documents_wanted.notify();
    }

    /// Shared parts are everybody's: each shard counts as much of them.
    pub fn weigh_library(&self, shards: usize) {
        let share = self.library.memory_bytes() / shards as u64;
        self.engine.borrow_mut().tablets.set_shared_index_bytes(share);
    }

    fn settle(&self, settled: impl IntoIterator<Item = Settled>) {
        for (ticket, result) in settled {
            let finished = self.batches.borrow_mut().settle(ticket, result);
            if let Some(batch) = finished {
                self.answer(batch);
            }
        }
    }

    fn answer(&self, batch: FinishedBatch) {
        let FinishedBatch { origin, results, accepted } = batch;
        let took = self.runtime.turn_start().since(accepted);
        self.numbers.borrow_mut().write_latency.observe(took);
        match origin {
            Origin::One(promise) => {
                promise.give(results.into_iter().next().expect("a batch of one has one result"));
            }
            Origin::Many(promise) => promise.give(results),
            Origin::Call { from, call } => self.mailbox.answer(from, call, Reply::Write(results)),
        }
    }

    /// Completes when everything applied now is durable.
    pub async fn settle_down(&self) -> Result<(), Refusal> {
        let target = self.engine.borrow().applied();
        self.durable_up_to(target).await
    }

    /// Completes when the log is durable up to `lsn`.
    pub async fn durable_up_to(&self, lsn: Lsn) -> Result<(), Refusal> {
        loop {
            let progress = self.progress.wait();
            {
                let engine = self.engine.borrow();
                if engine.is_poisoned() {
                    return Err(Refusal::StorageFailed { shard: self.mailbox.shard() });
                }
                if engine.durable() >= lsn {
                    return Ok(());
                }
            }
            progress.await;
        }
    }

    /// Makes a new state the shard's, durably. A failed write poisons the shard: what it stands on is
    /// unknown. A state that is too large is refused before anything is written.
    pub async fn commit_state(&self, change: impl FnOnce(&mut ShardState)) -> Result<(), Refusal> {
        let committed = self.ledger.commit(|state| {
            change(state);
            self.describe(state);
        });
        committed.await.map_err(|error| {
            let shard = self.mailbox.shard();
            tracing::error!(%shard, %error, "the manifest could not be written");
            if matches!(error, ManifestError::TooLarge(_)) {
                return Refusal::CheckpointFailed { shard };
            }
            self.poison();
            Refusal::StorageFailed { shard }
        })
    }

    /// Puts the segments that were made on record, so that the next start misses one that is gone. The first state of this
    /// life tells those that are made before it: until then nothing is acknowledged.
    pub async fn witness_segments(&self) {
        if self.witnesses.get() {
            // What fails here fails the shard, or is said again by the next seal.
            let _ = self.commit_state(|_| ()).await;
        }
    }

    /// What every state says of the shard as it is now.
    pub fn describe(&self, state: &mut ShardState) {
        let engine = self.engine.borrow();
        state.floor = engine.durable();
        state.made = if state.clean { Made::default() } else { self.segments.made() };
        state.clock = engine.clock_last();
        state.catalogue = engine.catalogue().map(|catalogue| (**catalogue).clone());
        let before: BTreeMap<TabletId, (u64, Epoch)> =
            state.tablets.iter().map(|tablet| (tablet.tablet, (tablet.records, tablet.epoch))).collect();
        let entry = |tablet: &super::tablet::Tablet| TabletState {
            tablet: tablet.id,
            collection: tablet.collection,
            next_seq: tablet.next_seq,
            records: before.get(&tablet.id).map_or(0, |(records, _)| *records),
            epoch: before.get(&tablet.id).map_or(Epoch::ZERO, |(_, epoch)| *epoch),
        };
        state.tablets = engine.tablets.iter().map(entry).collect();
    }

    /// Puts are refused from now on, or taken again. Deletes may fill the segments that are ready, anew
    /// each time; when no more can be made, half a segment once.
    pub fn set_disk_full(&self, full: bool) {
        let segment = self.segments.bytes() as usize;
        let mut engine = self.engine.borrow_mut();
        let reserve = match self.segments.is_starved() {
            true => engine.disk_full_reserve().unwrap_or(segment).min(segment / 2),
            false => limits::LOG_AHEAD_SEGMENTS * segment,
        };
        engine.set_disk_full(full.then_some(reserve));
    }

    // ---- checkpoints

    /// Log that no run covers, in bytes, without what only repeats receipts.
    pub fn uncovered_log_bytes(&self) -> u64 {
        let counters = self.engine.borrow().counters();
        let receipts = counters.receipt_log_bytes - self.checkpointed_receipt_bytes.get();
        let logged = counters.log_bytes - self.checkpointed_log_bytes.get();
        logged.saturating_sub(receipts) + self.replayed_log_bytes.get()
    }

    /// Asks for a seal that begins after now; gives its number.
    pub fn want_checkpoint(&self) -> u64 {
        let mut progress = self.checkpoints.get();
        progress.asked += 1;
        self.checkpoints.set(progress);
        self.checkpoint_wanted.notify();
        progress.asked
    }

    pub fn checkpoint_is_due(&self) -> bool {
        self.checkpoint_reason().is_some()
    }

    /// Enough log has come together, or more segments than that takes, or memory is short.
    pub fn checkpoint_reason(&self) -> Option<&'static str> {
        let uncovered = self.uncovered_log_bytes();
        if uncovered > 0 && self.is_memory_short() {
            return Some("memory");
        }
        // On a full disk a checkpoint lets segments be used again, and takes what was deleted out of runs.
        if uncovered > 0 && self.engine.borrow().is_disk_full() {
            return Some("disk_full");
        }
        let segments = self.checkpoint_log_bytes.div_ceil(self.segments.bytes()) as usize;
        if uncovered >= self.checkpoint_log_bytes {
            return Some("log_bytes");
        }
        let too_many = self.segments.live_count() > segments + limits::LOG_AHEAD_SEGMENTS;
        if uncovered > 0 && too_many {
            return Some("log_segments");
        }
        // Nobody waits for it now, and the next start would read it.
        (uncovered >= self.segments.bytes() && self.segments.is_quiet()).then_some("quiet")
    }

    /// The log is quiet, and so much in runs is obsolete that level 0 goes down early for the room.
    pub fn is_worn(&self, levels: &Levels) -> bool {
        if levels.fresh().is_empty() || !self.segments.is_quiet() {
            return false;
        }
        let entries: u64 = levels.iter().map(|part| part.meta.entries).sum();
        let records: u64 = self.engine.borrow().tablets.iter().map(|tablet| tablet.records).sum();
        entries.saturating_sub(records) * limits::QUIET_ENTRIES_PER_OBSOLETE_ENTRY > records
    }

    /// Whether so much was written that a seal would give back. What is still to be sent of ranges that move stays
    /// in memory however often it is sealed: it only leaves less to the rest.
    fn is_memory_short(&self) -> bool {
        let engine = self.engine.borrow();
        let (all, limit) = (engine.tablets.memory_bytes(), engine.seal_memory());
        if all <= limit {
            return false;
        }
        let kept = engine.tablets.outgoing_bytes();
        let left = engine.room_for_writes().saturating_sub(kept);
        all.saturating_sub(kept) > limit.min(left / 2)
    }

    /// What is logged from now on belongs to the next checkpoint; gives the bytes up to now.
    pub fn begin_checkpoint(&self) -> u64 {
        let uncovered = self.uncovered_log_bytes();
        let counters = self.engine.borrow().counters();
        self.checkpointed_log_bytes.set(counters.log_bytes);
        self.checkpointed_receipt_bytes.set(counters.receipt_log_bytes);
        self.replayed_log_bytes.set(0);
        uncovered
    }

    pub fn note_checkpoint(&self, bytes: u64) {
        let mut numbers = self.numbers.borrow_mut();
        numbers.checkpoints += 1;
        numbers.checkpoint_bytes += bytes;
    }

    /// The checkpoint failed: its log is uncovered again.
    pub fn checkpoint_undone(&self, log_bytes: u64) {
        self.replayed_log_bytes.set(self.replayed_log_bytes.get() + log_bytes);
    }

    /// A run id for one attempt; a failed attempt's is not used again before the next start.
    pub fn take_run_id(&self) -> RunId {
        let id = self.next_run.get();
        self.next_run.set(id.next());
        id
    }

    pub fn poison(&self) {
        self.engine.borrow_mut().poison();
        self.deliver();
        self.progress.notify();
        self.log_work.notify();
    }
}
