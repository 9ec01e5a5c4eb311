//! Requests to this core, from its own tasks and from other cores.

use std::rc::Rc;

use super::batch::Origin;
use super::core::Core;
use super::key::Key;
use super::message::{Frame, Reply, Request};
use super::node::{Node, found_at};
use super::record::{Refusal, ValueRoom, Write};
use super::search::query::{self, Query};
use super::search::sealed::PartId;
use super::search::{calls as search_calls, run};
use super::staged::Looked;
use super::stats::{CollectionStats, DocumentStats, Phase, ShardStats};
use super::store::Levels;
use super::tablets::Tablets;
use super::{balance, control, jobs, receipts_out, snapshot_calls, transfer};
use crate::io::executor::Class;
use crate::io::executor::sync::{Pending, Promise, promise};
use crate::limits;
use crate::rmi::index::Mode;
use crate::types::{CollectionId, Epoch, ShardId, TabletId};

/// Where an answer goes.
enum AnswerTo {
    Task(Promise<Reply>),
    Core { from: ShardId, call: u32 },
}

impl AnswerTo {
    fn give(self, node: &Node, reply: Reply) {
        match self {
            AnswerTo::Task(promise) => promise.give(reply),
            AnswerTo::Core { from, call } => node.inner().mailbox.answer(from, call, reply),
        }
    }
}

/// A write that goes by a map which this core has yet to get, and where its answer goes.
pub(super) struct Early {
    items: Vec<(TabletId, Write)>,
    epoch: Epoch,
    answer: AnswerTo,
}

/// The turn hook: takes up what other cores have put into the inboxes. True when there was something.
pub fn receive(node: &Node) -> bool {
    let mailbox = &node.inner().mailbox;
    let mut any = false;
    while let Some(frame) = mailbox.next_answer() {
        any = true;
        node.finish_call(frame.call, frame.body);
    }
    for _ in 0..limits::TURN_CALLS_MAX {
        let Some(frame) = mailbox.next_call() else { break };
        any = true;
        handle_call(node, frame);
    }
    any
}

pub(super) fn handle_local(node: &Node, request: Request) -> Pending<Reply> {
    let (promise, pending) = promise();
    handle(node, request, AnswerTo::Task(promise));
    pending
}

fn handle_call(node: &Node, frame: Frame<Request>) {
    let Frame { from, call, body } = frame;
    if let Ok(core) = node.core() {
        core.numbers.borrow_mut().from_other_cores += 1;
    }
    handle(node, body, AnswerTo::Core { from, call });
}

fn handle(node: &Node, request: Request, answer: AnswerTo) {
    match request {
        Request::Stats => answer.give(node, Reply::Stats(Box::new(stats(node)))),
        Request::Install { catalogue } => {
            control::install(node, catalogue);
            answer.give(node, Reply::Done(Ok(())));
        }
        Request::Join { shard, node: of, fresh } => {
            let task = node.clone();
            node.runtime().spawn(Class::Foreground, async move {
                answer.give(&task, control::join(&task, shard, of, fresh).await);
            });
        }
        request => match node.core().cloned() {
            Ok(core) => handle_ready(node, &core, request, answer),
            Err(refusal) => answer.give(node, Reply::Done(Err(refusal))),
        },
    }
}

fn handle_ready(node: &Node, core: &Rc<Core>, request: Request, answer: AnswerTo) {
    let wall = core.runtime.wall();
    match request {
        Request::Get { tablet, key, reading } => {
            let looked = core.engine.borrow_mut().get(tablet, &key, wall);
            match looked {
                Ok(Looked::Found(found)) => answer.give(node, Reply::Get(Ok(found))),
                Ok(Looked::Cold(read, now)) => {
                    let (node, core) = (node.clone(), core.clone());
                    node.runtime().clone().spawn(Class::Foreground, async move {
                        let found = found_at(core.read_cold(read, reading).await, now);
                        answer.give(&node, Reply::Get(found));
                    });
                }
                Err(refusal) => answer.give(node, Reply::Get(Err(refusal))),
            }
        }
        Request::CountRecords { tablet } => {
            let count = core.engine.borrow().tablets.get(tablet).map_or(0, |tablet| tablet.records);
            answer.give(node, Reply::Records(count));
        }
        Request::GetMany { items, room } => get_many(node, core, &items, room, answer),
        // Refused as moved it could be overtaken by a later one of its client: it waits for the map, which
        // is on its way.
        Request::Write { items, epoch } if epoch > node.epoch() => {
            node.inner().early.borrow_mut().push_back(Early { items, epoch, answer });
        }
        Request::Write { items, epoch } => write(core, items, epoch, answer),
        Request::Scan { tablet, scan } => {
            let begun = core.begin_scan(tablet, &scan);
            let (node, core) = (node.clone(), core.clone());
            node.runtime().clone().spawn(Class::Foreground, async move {
                let page = match begun {
                    Ok(begun) => core.finish_scan(begun).await,
                    Err(refusal) => Err(refusal),
                };
                answer.give(&node, Reply::Page(page));
            });
        }
        Request::CollectionStats { collection } => {
            answer.give(node, Reply::CollectionStats(collection_stats(core, collection)));
        }
        Request::Snapshot(ask) => {
            let to = node.clone();
            snapshot_calls::handle(node, core, ask, move |told| answer.give(&to, Reply::Snapshot(told)));
        }
        Request::Job(ask) => {
            let to = node.clone();
            jobs::handle(node, core, ask, move |told| answer.give(&to, Reply::Job(told)));
        }
        Request::Index(ask) => {
            let to = node.clone();
            search_calls::handle(node, core, ask, move |told| answer.give(&to, Reply::Index(told)));
        }
        Request::Balance(ask) => {
            let to = node.clone();
            balance::calls::handle(node, core, ask, move |told| answer.give(&to, Reply::Balance(told)));
        }
        slow => handle_slow(node, slow, answer),
    }
}

/// All lookups at once; what memory cannot answer is read side by side.
fn get_many(node: &Node, core: &Rc<Core>, items: &[(TabletId, Key)], room: ValueRoom, answer: AnswerTo) {
    match core.look_at_many(items) {
        Ok(looked) if !looked.cold.is_empty() => {
            let (node, core) = (node.clone(), core.clone());
            node.runtime().clone().spawn(Class::Foreground, async move {
                answer.give(&node, Reply::GetMany(core.finish_many(looked, room).await));
            });
        }
        looked => answer.give(node, Reply::GetMany(looked.map(|looked| looked.into_fitting(room)))),
    }
}

fn write(core: &Rc<Core>, items: Vec<(TabletId, Write)>, epoch: Epoch, answer: AnswerTo) {
    match answer {
        AnswerTo::Core { from, call } => core.submit(items.into_iter(), epoch, Origin::Call { from, call }),
        AnswerTo::Task(_) => unreachable!("a task's own writes go straight to the engine"),
    }
}

/// Carries out, in their order, the writes that waited for the map in force now. Bounded: each is an open
/// call of another core.
pub(super) fn take_up_early(node: &Node) {
    let Ok(core) = node.core() else { return };
    let early = std::mem::take(&mut *node.inner().early.borrow_mut());
    for waiting in early {
        if waiting.epoch > node.epoch() {
            node.inner().early.borrow_mut().push_back(waiting);
        } else {
            write(core, waiting.items, waiting.epoch, waiting.answer);
        }
    }
}

/// Requests that wait for something: each is a task of its own.
fn handle_slow(node: &Node, request: Request, answer: AnswerTo) {
    let task = node.clone();
    node.runtime().spawn(Class::Foreground, async move {
        let reply = match request {
            Request::Checkpoint => Reply::Done(super::checkpoint::request(&task).await),
            Request::Compact => Reply::Done(compact(&task).await),
            Request::Create { name, definition } => {
                Reply::Changed(control::create(&task, &name, definition).await)
            }
            Request::Drop { name } => Reply::Changed(control::drop_collection(&task, &name).await),
            Request::Split { name, split_at } => Reply::Changed(control::split(&task, &name, split_at).await),
            Request::ShipOut { sources, parts } => {
                Reply::Shipped(transfer::ship_out(&task, &sources, &parts).await)
            }
            Request::Search { tablet, epoch, query, known } => {
                Reply::Search(search(&task, (tablet, epoch), &query, &known).await)
            }
            Request::ShipIn(shipment) => Reply::Done(transfer::ship_in(&task, shipment).await),
            Request::ShipReceipts(entries) => Reply::Done(receipts_out::take_in(&task, &entries).await),
            other => unreachable!("answered at once: {other:?}"),
        };
        answer.give(&task, reply);
    });
}

async fn search(
    node: &Node,
    tablet: (TabletId, Epoch),
    query: &Query,
    known: &[PartId],
) -> Result<Box<query::Found>, Refusal> {
    let core = node.core()?.clone();
    run::search_own(&core, tablet, query, known).await.map(Box::new)
}

/// Seals what was written, then merges everything.
async fn compact(node: &Node) -> Result<(), Refusal> {
    super::checkpoint::request(node).await?;
    super::store::compaction::request(node).await
}

fn collection_stats(core: &Core, collection: CollectionId) -> CollectionStats {
    let engine = core.engine.borrow();
    let mut sum = CollectionStats::default();
    for tablet in engine.tablets.iter().filter(|tablet| tablet.collection == collection) {
        sum.records += tablet.records;
        sum.bytes += tablet.delta.weight().live_bytes;
    }
    for part in engine.store.levels().iter() {
        sum.bytes += part.bytes_of(collection);
    }
    sum
}

pub(super) fn stats(node: &Node) -> ShardStats {
    let inner = node.inner();
    let mut stats = ShardStats {
        shard: node.shard(),
        replayed_records: inner.replayed.get(),
        inbox_frames: inner.mailbox.waiting() as u64,
        turns: inner.runtime.turn_stats(),
        ..ShardStats::default()
    };
    if let Ok(core) = node.core() {
        fill_stats(core, &mut stats);
    }
    stats
}

fn fill_stats(core: &Core, stats: &mut ShardStats) {
    let (engine, numbers) = (core.engine.borrow(), core.numbers.borrow());
    let counters = engine.counters();
    stats.phase = if engine.is_poisoned() { Phase::Poisoned } else { Phase::Serving };
    stats.gets = counters.gets;
    stats.puts = counters.puts;
    stats.deletes = counters.deletes;
    stats.refused = counters.refused;
    stats.expired_records = counters.expired;
    stats.log_commits = counters.log_commits;
    stats.log_records = counters.log_records;
    stats.log_bytes = counters.log_bytes;
    stats.log_backlog_bytes = engine.log_backlog_bytes() as u64;
    stats.log_writes_in_flight = engine.blocks_in_flight() as u64;
    stats.log_segments = core.segments.live_count() as u64;
    stats.durable_lsn = engine.durable();
    stats.memory_bytes = engine.memory_bytes();
    stats.memory_budget_bytes = engine.memory_budget();
    stats.disk_full = engine.is_disk_full();
    for tablet in engine.tablets.iter() {
        stats.live_records += tablet.records;
        stats.live_bytes += tablet.delta.weight().live_bytes;
    }
    stats.scans = numbers.scans;
    stats.from_other_cores = numbers.from_other_cores;
    stats.write_latency = numbers.write_latency;
    stats.commit_latency = numbers.commit_latency;
    stats.checkpoints = numbers.checkpoints;
    stats.checkpoint_failures = numbers.checkpoint_failures;
    stats.checkpoint_bytes = numbers.checkpoint_bytes;
    let levels = engine.store.levels();
    stats.runs = levels.iter().count() as u64;
    stats.fresh_runs = levels.fresh().len() as u64;
    stats.run_bytes = levels.iter().map(|part| part.meta.file_len).sum();
    (stats.value_files, stats.value_file_bytes) = engine.store.shelf().value_files();
    (stats.value_live_bytes, _) = engine.store.shelf().live_and_dead();
    stats.resident_bytes = engine.store.resident_bytes();
    stats.cache_bytes = engine.store.cache_bytes();
    stats.cache_hits = engine.store.hits;
    stats.cache_misses = engine.store.misses;
    let shelf = engine.store.shelf();
    stats.cold_reads = shelf.cold_reads.get();
    stats.block_reads = shelf.block_reads.get();
    stats.value_reads = shelf.value_reads.get();
    stats.rebuilt_indexes = shelf.rebuilt.get();
    stats.damaged_reads = numbers.damaged_reads;
    stats.decisions = numbers.decisions.clone();
    stats.documents = document_stats(core, &engine.tablets);
    fill_index_stats(levels, stats);
    stats.drift.add(&shelf.past_drift.borrow());
    balance::calls::fill_stats(core, stats);
    stats.compactions = numbers.compactions.values().sum();
    stats.compaction_failures = numbers.compaction_failures;
    stats.compaction_read_bytes = numbers.compaction_read_bytes;
    stats.compaction_written_bytes = numbers.compaction_written_bytes;
    stats.log_paused_us = core.pace.paused().as_micros() as u64;
}

fn document_stats(core: &Core, tablets: &Tablets) -> DocumentStats {
    let mut stats = DocumentStats {
        shared_parts: core.library.len() as u64,
        memory_bytes: tablets.index_bytes(),
        ..DocumentStats::default()
    };
    for index in tablets.iter().filter_map(|tablet| tablet.documents.as_ref()) {
        stats.indexed += index.len() as u64;
        stats.loading_tablets += u64::from(index.is_loading());
        stats.unlinked += index.unlinked();
        stats.own_parts += index.own_parts();
    }
    stats
}

fn fill_index_stats(levels: &Levels, stats: &mut ShardStats) {
    for resident in levels.iter().filter_map(|part| part.resident()) {
        for (_, watched) in resident.watched() {
            stats.drift.add(&watched.drift());
            let index = watched.index();
            for (mode, keys) in [(Mode::Single, &mut stats.keys_single), (Mode::Batch, &mut stats.keys_batch)]
            {
                keys[index.choice(mode).structure as usize] += index.keys().len() as u64;
            }
        }
    }
}
