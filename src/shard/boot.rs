//! The life of a shard: recover, learn the map, serve, keep house, close in order.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use super::balance::driver::keep_balancing;
use super::checkpoint::keep_checkpointing;
use super::control::{self, WRITER, first_catalogue};
use super::core::Core;
use super::jobs::Progress;
use super::mailbox::Mailbox;
use super::message::{NotJoined, Reply, Request};
use super::node::Node;
use super::options::ShardOptions;
use super::pump::pump;
use super::record::Refusal;
use super::recount::recount;
use super::recovery::{Restored, recover};
use super::serve::receive;
use super::snapshot;
use super::start_error::StartError;
use super::store::compaction::keep_compacting;
use super::store::expiry::keep_expiring;
use super::store::reindex::keep_indexes;
use super::store::warm;
use crate::io::executor::{Class, Executor};
use crate::limits;
use crate::types::{Mono, NodeId, TabletId};

const MAP_RETRY: Duration = Duration::from_millis(5);
const HOUSEKEEPING: Duration = Duration::from_millis(100);
/// Rounds of housekeeping between two looks at the free space of the disk.
const DISK_ROUNDS: u32 = 10;

/// Puts a shard on this executor. It begins to recover when the executor runs; [`Node::started`] says
/// how that went.
pub fn launch(executor: &mut Executor, mailbox: Mailbox, options: ShardOptions) -> Node {
    let runtime = executor.runtime();
    mailbox.set_bell(runtime.doorbell());
    let node = Node::new(runtime, options, Rc::new(mailbox));
    let hooked = node.clone();
    executor.set_turn_hook(move || receive(&hooked));
    let starting = node.clone();
    node.runtime().spawn(Class::Foreground, async move {
        let outcome = start(&starting).await;
        starting.set_started(outcome);
    });
    node
}

async fn start(node: &Node) -> Result<(), StartError> {
    let Restored { core, crashed, fresh } = recover(node).await?;
    node.runtime().spawn(Class::Foreground, pump(core.clone()));
    node.set_core(core.clone());
    let of = learn_map(node, &core, fresh).await?;
    refuse_older_map(node, &core)?;
    core.engine.borrow_mut().tablets.install(&node.catalogue());
    recount(&core).await;
    if crashed {
        // Versions that the crash may have taken with it are not given out again, nor after another.
        core.engine.borrow_mut().tablets.jump_seqs(limits::CRASH_JUMP_RECORDS);
    }
    core.witnesses.set(true);
    let opened = core.commit_state(|state| (state.clean, state.node) = (false, of)).await;
    opened.map_err(|_| StartError::Other { shard: node.shard() })?;
    if node.shard() == WRITER {
        control::all_joined(node).await;
    }
    node.open_door();
    if node.shard() == WRITER {
        node.runtime().spawn(Class::Background, snapshot::sweep(node.clone(), core.clone()));
        if node.shards() > 1 {
            node.runtime().spawn(Class::Background, keep_balancing(node.clone(), core.clone()));
        }
    }
    core.shed_wanted.notify();
    node.runtime().spawn(Class::Background, keep_checkpointing(node.clone(), core.clone()));
    node.runtime().spawn(Class::Background, keep_compacting(node.clone(), core.clone()));
    node.runtime().spawn(Class::Background, keep_expiring(core.clone()));
    let warm_values = node.inner().options.warm_on_start;
    node.runtime().spawn(Class::Background, warm_up(core.clone(), warm_values));
    node.runtime().spawn(Class::Background, keep_indexes(core.clone()));
    core.keep_documents(node);
    node.runtime().spawn(Class::Background, keep_house(node.clone(), core.clone()));
    node.runtime().spawn(Class::Background, keep_room(node.clone(), core.clone()));
    node.runtime().spawn(Class::Background, keep_shedding(core.clone()));
    if core.checkpoint_is_due() {
        core.checkpoint_wanted.notify();
    }
    Ok(())
}

/// Shard 0 has the map in its log; the others ask it until it has. Gives the node that all belong to.
async fn learn_map(node: &Node, core: &Core, fresh: bool) -> Result<NodeId, StartError> {
    let of = core.ledger.state().node;
    if node.shard() == WRITER {
        let known = core.engine.borrow().catalogue().cloned();
        let map = match known {
            Some(map) => map,
            None => {
                let first = std::sync::Arc::new(first_catalogue(node.shards(), node.runtime().wall()));
                let logged = core.log_catalogue(&first).await;
                logged.map_err(|_| StartError::Other { shard: WRITER })?;
                first
            }
        };
        control::install(node, map);
        return Ok(of);
    }
    let shard = node.shard();
    loop {
        match node.call(WRITER, Request::Join { shard, node: of, fresh }).await {
            Reply::Joined(Ok((map, of))) => {
                control::install(node, map);
                return Ok(of);
            }
            Reply::Joined(Err(NotJoined::Lost)) => return Err(StartError::ShardLost { shard }),
            Reply::Joined(Err(NotJoined::OtherNode)) => return Err(StartError::OtherNode { shard }),
            _ => node.runtime().sleep(MAP_RETRY).await,
        }
    }
}

/// With a map older than one that this shard has seen, whole records would be thrown away.
fn refuse_older_map(node: &Node, core: &Core) -> Result<(), StartError> {
    let seen = core.ledger.state().tablets.iter().map(|tablet| tablet.epoch).max();
    match seen.is_some_and(|seen| seen > node.catalogue().epoch) {
        true => Err(StartError::OldMap { shard: node.shard() }),
        false => Ok(()),
    }
}

/// Expired records and the room on the disk.
async fn keep_house(node: Node, core: Rc<Core>) {
    let (mut round, mut was_quiet) = (0u32, false);
    let mut window = node.runtime().now();
    loop {
        node.runtime().sleep(HOUSEKEEPING).await;
        window = end_heat_window(&core, window).await;
        let mut slice = node.runtime().slice();
        while core.engine.borrow_mut().expire(node.runtime().wall(), limits::CHECKPOINT_STRETCH_RECORDS) {
            core.deliver();
            slice.checkpoint().await;
        }
        core.deliver();
        core.sweep_retired().await;
        core.segments.give_up_spare().await;
        let is_quiet = core.segments.is_quiet();
        if is_quiet && !was_quiet {
            core.checkpoint_wanted.notify();
            core.compaction_wanted.notify();
        }
        was_quiet = is_quiet;
        if round.is_multiple_of(DISK_ROUNDS) || core.segments.is_starved() {
            watch_disk(&node, &core).await;
        }
        round = round.wrapping_add(1);
    }
}

/// Ends the window of heat that began at `began` when it is over; gives when the one under way began.
async fn end_heat_window(core: &Core, began: Mono) -> Mono {
    let now = core.runtime.now();
    if now < began.after(limits::HEAT_WINDOW) {
        return began;
    }
    let seconds = now.since(began) as f64 / 1e9;
    let ids: Vec<TabletId> = core.engine.borrow().tablets.iter().map(|tablet| tablet.id).collect();
    let mut slice = core.runtime.slice();
    for id in ids {
        if let Some(tablet) = core.engine.borrow_mut().tablets.get_mut(id) {
            tablet.heat.end_window(seconds);
        }
        slice.checkpoint().await;
    }
    now
}

/// Looks at the room on the disk with every segment of log: the log is what uses it up. While there is none no segment is
/// begun, and who makes room does not say so.
async fn keep_room(node: Node, core: Rc<Core>) {
    loop {
        let mut begun = pin!(core.segment_begun.wait());
        watch_disk(&node, &core).await;
        let is_full = core.engine.borrow().is_disk_full();
        if !is_full {
            begun.await;
            continue;
        }
        // What is left to deletes is for a segment: it must not be given anew because time goes by.
        while core.runtime.timeout(limits::FULL_DISK_LOOK_PERIOD, begun.as_mut()).await.is_none() {
            if Room::of(&node, &core).await.is_enough(&core) {
                break;
            }
        }
    }
}

struct Room {
    free: u64,
    needed: u64,
}

impl Room {
    async fn of(node: &Node, core: &Core) -> Room {
        let needed = room_for_checkpoint(core) * node.shards() as u64;
        let free = node.runtime().free_space(&core.runs_dir).await.unwrap_or(u64::MAX);
        Room { free, needed }
    }

    fn is_enough(&self, core: &Core) -> bool {
        !core.segments.is_starved() && self.free >= self.needed
    }
}

/// Refuses puts while there is no room for another segment, or for a run of everything that lives: a
/// checkpoint must always find room, or deletes would give nothing back.
async fn watch_disk(node: &Node, core: &Core) {
    let room = Room::of(node, core).await;
    let (full, Room { free, needed }) = (!room.is_enough(core), room);
    let changed = core.engine.borrow().is_disk_full() != full;
    core.set_disk_full(full);
    let spare = if full { 0 } else { (free - needed) / node.shards() as u64 };
    let shelf = core.shelf();
    if shelf.room_for_moves.replace(spare) < spare && shelf.value_files().0 > 0 {
        // Values may move now that could not.
        core.compaction_wanted.notify();
    }
    if changed {
        tracing::warn!(shard = %node.shard(), full, free, needed, "room on the disk");
    }
    if full && core.uncovered_log_bytes() > 0 {
        // A checkpoint lets segments be used again.
        core.checkpoint_wanted.notify();
    }
}

/// Bytes of a seal of all that is in memory, of the largest step of a compaction with the values that it moves,
/// and of the segments that may be filled and made before this is looked at again.
fn room_for_checkpoint(core: &Core) -> u64 {
    let engine = core.engine.borrow();
    let written = engine.tablets.run_bytes();
    let runs: u64 = engine.store.levels().iter().map(|part| part.meta.file_len).sum();
    let step = (2 * limits::COMPACTION_GROUP_RUNS as u64 * core.part_bytes).min(runs + written);
    let segments = 2 * limits::LOG_AHEAD_SEGMENTS as u64 + 1;
    let (_, value_bytes) = engine.store.shelf().value_files();
    let moved = core.value_file_bytes.min(value_bytes) / 2;
    written + moved + step + segments * core.segments.bytes()
}

/// Reads what stays resident of every run, so that no request has to wait for it; values too, if so configured.
async fn warm_up(core: Rc<Core>, values: bool) {
    let told = warm::warm_up(&core, values, &Progress::default()).await;
    tracing::debug!(shard = %core.shard(), %told, "warm");
}

/// Frees what a new map left behind, bit by bit.
async fn keep_shedding(core: Rc<Core>) {
    loop {
        let wanted = core.shed_wanted.wait();
        let mut slice = core.runtime.slice();
        while core.engine.borrow_mut().tablets.shed(limits::CHECKPOINT_STRETCH_RECORDS) {
            slice.checkpoint().await;
        }
        wanted.await;
    }
}

/// Takes no more writes, makes everything durable and says so in the manifest: the next start forgives
/// nothing and gives out versions without a gap.
pub async fn close(node: &Node) -> Result<(), Refusal> {
    let core = node.core()?.clone();
    core.engine.borrow_mut().close();
    core.pace.end();
    loop {
        let progress = core.progress.wait();
        {
            let engine = core.engine.borrow();
            if engine.is_poisoned() {
                return Err(Refusal::StorageFailed { shard: node.shard() });
            }
            if engine.is_quiet() && !core.has_parked() {
                break;
            }
        }
        progress.await;
    }
    core.commit_state(|state| state.clean = true).await
}
