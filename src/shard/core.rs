//! The engine of a core with the files under it: what exists once a shard has recovered.
//!
//! Every mutation goes through here and runs to completion: into the engine, then [`Core::deliver`]
//! hands out what is settled and wakes the pump when there is something to write.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use super::batch::{Batches, FinishedBatch, Origin};
use super::catalogue::Catalogue;
use super::checkpoint;
use super::engine::{Engine, Settled, Ticket};
use super::ledger::Ledger;
use super::mailbox::Mailbox;
use super::message::Reply;
use super::options::ShardOptions;
use super::record::{Refusal, Write};
use super::segments::Segments;
use super::state::ShardState;
use super::stats::Latency;
use crate::io::executor::sync::{Signal, promise};
use crate::io::runtime::Runtime;
use crate::limits;
use crate::types::{CollectionId, Epoch, Lsn, RunId, TabletId};

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
    /// A checkpoint is wanted now.
    pub checkpoint_wanted: Signal,
    pub checkpoints: Cell<checkpoint::Progress>,
    pub runs_dir: PathBuf,
    next_run: Cell<RunId>,
    /// Bytes of log when the last checkpoint began; what came since is not covered.
    checkpointed_log_bytes: Cell<u64>,
    /// Replayed at the start, not covered yet.
    replayed_log_bytes: Cell<u64>,
    checkpoint_log_bytes: u64,
    /// Tablets or parts of them were given up: their memory is to be freed.
    pub shed_wanted: Signal,
    /// Collections whose split is under way: it may take longer than to the next checkpoint.
    pub splitting: RefCell<BTreeSet<CollectionId>>,
    pub numbers: RefCell<Numbers>,
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
            engine: RefCell::new(engine),
            segments,
            log_work: Signal::default(),
            settle_work: Signal::default(),
            progress: Signal::default(),
            segment_begun: Signal::default(),
            checkpoint_wanted: Signal::default(),
            checkpoints: Cell::default(),
            runs_dir: options.shard_dir(mailbox.shard()).join("runs"),
            next_run: Cell::new(next_run),
            ledger,
            checkpointed_log_bytes: Cell::new(0),
            replayed_log_bytes: Cell::new(replayed_log_bytes),
            checkpoint_log_bytes: options.checkpoint_log_bytes,
            shed_wanted: Signal::default(),
            splitting: RefCell::default(),
            numbers: RefCell::default(),
            mailbox,
            batches: RefCell::default(),
            settled: RefCell::default(),
        }
    }

    /// Puts a batch of writes into the order of the log, each accepted or refused on its own.
    /// `epoch` is that of the map by which they came here.
    pub fn submit(
        &self,
        items: impl ExactSizeIterator<Item = (TabletId, Write)>,
        epoch: Epoch,
        origin: Origin,
    ) {
        let wall = self.runtime.wall();
        if self.segments.is_starved() {
            // At once: what is accepted must find room in the segments that are ready.
            self.set_disk_full(true);
        }
        let count = items.len();
        let mut items = items;
        self.submit_with(count, origin, |engine, ticket| {
            let (tablet, write) = items.next().expect("as many writes as were counted");
            engine.write(tablet, write, epoch, wall, ticket)
        });
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
        let (work, durable_changed) = {
            let mut engine = self.engine.borrow_mut();
            engine.take_settled(&mut settled);
            (engine.log_backlog_bytes() > 0, !settled.is_empty())
        };
        if work {
            self.log_work.notify();
        }
        if durable_changed {
            self.progress.notify();
        }
        self.settle(settled.drain(..));
        *self.settled.borrow_mut() = settled;
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

    /// Makes a new state the shard's, durably. A failure poisons the shard: what it stands on is
    /// unknown.
    pub async fn commit_state(&self, change: impl FnOnce(&mut ShardState)) -> Result<(), Refusal> {
        let committed = self.ledger.commit(|state| {
            change(state);
            self.describe(state);
        });
        committed.await.map_err(|error| {
            let shard = self.mailbox.shard();
            tracing::error!(%shard, %error, "the manifest could not be written");
            self.poison();
            Refusal::StorageFailed { shard }
        })
    }

    /// What every state says of the shard as it is now.
    fn describe(&self, state: &mut ShardState) {
        let engine = self.engine.borrow();
        state.floor = engine.durable();
        state.clock = engine.clock_last();
        state.catalogue = engine.catalogue().map(|catalogue| (**catalogue).clone());
        let entry = |tablet: &super::tablet::Tablet| (tablet.id, tablet.collection, tablet.next_seq);
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

    /// Log that no run covers, in bytes.
    pub fn uncovered_log_bytes(&self) -> u64 {
        let logged = self.engine.borrow().counters().log_bytes;
        logged - self.checkpointed_log_bytes.get() + self.replayed_log_bytes.get()
    }

    /// Enough log has come together, or more segments than that takes.
    pub fn checkpoint_is_due(&self) -> bool {
        let uncovered = self.uncovered_log_bytes();
        // On a full disk a checkpoint lets segments be used again, and takes what was deleted out of runs.
        if uncovered > 0 && self.engine.borrow().is_disk_full() {
            return true;
        }
        let segments = self.checkpoint_log_bytes.div_ceil(self.segments.bytes()) as usize;
        uncovered >= self.checkpoint_log_bytes
            || (uncovered > 0 && self.segments.live_count() > segments + limits::LOG_AHEAD_SEGMENTS)
    }

    /// What is logged from now on belongs to the next checkpoint; gives the bytes up to now.
    pub fn begin_checkpoint(&self) -> u64 {
        let uncovered = self.uncovered_log_bytes();
        self.checkpointed_log_bytes.set(self.engine.borrow().counters().log_bytes);
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
