//! Seals: what was written lately goes into a sorted run, so that the log can be trimmed and memory given
//! back.
//!
//! A seal takes every version that is in the deltas, slice by slice, while writes go on, and makes parts of
//! level 0 of them. The parts hold, for every key, the version that the scan met. A version that was
//! overwritten before the scan came by is not in them: the one that replaced it is behind `covered` in the
//! log. So the manifest may name the parts only when the log is durable up to the last version applied at the
//! end of the scan, and only records up to the beginning of the scan are covered. Then the deltas let go of
//! what is covered.
//!
//! Invariant: log is given up only when the manifest that makes it superfluous is durable.
//! Invariant: a version leaves the delta only when a part that the manifest names has it, or a newer one is
//! there.

use std::ops::Bound;
use std::rc::Rc;
use std::time::Duration;

use super::core::Core;
use super::decisions::Kind;
use super::delta::{NEVER, Version};
use super::key::Key;
use super::node::Node;
use super::recall::Kept;
use super::record::Refusal;
use super::run::{Body, EntryRef, TabletInfo};
use super::runs::run_file_name;
use super::state::TabletState;
use super::store::LAST;
use super::store::error::StoreError;
use super::store::parts_out::{PartsOut, Written};
use crate::limits;
use crate::types::{CollectionId, Epoch, Lsn, RunId, TabletId};

const RETRY: Duration = Duration::from_millis(500);

/// How many checkpoints were asked for, begun and ended: a request waits for one begun after it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    pub asked: u64,
    pub ended: u64,
    pub last: Option<Refusal>,
}

/// Checkpoints whenever one is due or asked for, as long as the shard lives.
pub async fn keep_checkpointing(node: Node, core: Rc<Core>) {
    loop {
        let wanted = core.checkpoint_wanted.wait();
        if core.engine.borrow().is_poisoned() {
            // What is in memory is not to be trusted beyond the log, and no commit would succeed.
            let mut progress = core.checkpoints.get();
            progress.ended = progress.asked;
            progress.last = Some(Refusal::StorageFailed { shard: node.shard() });
            core.checkpoints.set(progress);
            core.progress.notify();
            wanted.await;
            continue;
        }
        let progress = core.checkpoints.get();
        let asked_for = (progress.ended < progress.asked).then_some("asked");
        let Some(reason) = core.checkpoint_reason().or(asked_for) else {
            wanted.await;
            continue;
        };
        core.decided(Kind::Seal, reason);
        let asked = progress.asked;
        let done = checkpoint(&node, &core).await;
        let mut progress = core.checkpoints.get();
        progress.ended = progress.ended.max(asked);
        progress.last = done.as_ref().err().map(|error| error.as_refusal(node.shard()));
        if let Err(error) = &done {
            core.numbers.borrow_mut().checkpoint_failures += 1;
            tracing::warn!(shard = %node.shard(), %error, "a checkpoint failed; the log keeps everything");
        }
        core.checkpoints.set(progress);
        core.progress.notify();
        // On a full disk every checkpoint is a whole one: not without a pause.
        if done.is_err() || core.engine.borrow().is_disk_full() {
            node.runtime().sleep(RETRY).await;
        }
    }
}

/// Asks for a checkpoint that begins after now; completes with it.
pub async fn request(node: &Node) -> Result<(), Refusal> {
    let core = node.core()?.clone();
    let mine = core.want_checkpoint();
    loop {
        let changed = core.progress.wait();
        let progress = core.checkpoints.get();
        if progress.ended >= mine {
            return progress.last.map_or(Ok(()), Err);
        }
        changed.await;
    }
}

async fn checkpoint(node: &Node, core: &Rc<Core>) -> Result<(), StoreError> {
    let covered = core.engine.borrow().applied();
    let log_bytes = core.begin_checkpoint();
    if covered == core.ledger.state().covered {
        // What stayed in the deltas while a range was sent away.
        drop_sealed(core, covered).await;
        return Ok(());
    }
    // As of `covered`: replay adds what comes behind.
    let count = |tablet: &super::tablet::Tablet| (tablet.id, tablet.records, tablet.counted_epoch());
    let counts: Vec<_> = core.engine.borrow().tablets.iter().map(count).collect();
    // With nothing below, a tombstone hides nothing, and the parts may go where all ends up.
    let first = core.engine.borrow().store.levels().is_empty();
    let level = if first { LAST } else { 0 };
    let mut out = PartsOut::new(core, level, core.part_bytes, covered);
    // Mostly one part: each of level 0 is one more for reads to look at.
    out.aim(core.engine.borrow().tablets.run_bytes());
    let written = async {
        write_deltas(node, core, &mut out, covered, first).await?;
        keep_receipts(core, covered).await?;
        // Whatever replaced a version before the scan came by must be in the durable log.
        core.settle_down().await?;
        out.take().await
    };
    let written = match written.await {
        Ok(written) => written,
        Err(error) => {
            core.checkpoint_undone(log_bytes);
            out.abandon().await;
            return Err(error);
        }
    };
    let bytes = written.bytes();
    let published = publish(core, covered, written, counts).await;
    published.inspect_err(|_| core.checkpoint_undone(log_bytes))?;
    core.note_checkpoint(bytes);
    drop_sealed(core, covered).await;
    super::split::propose(node, core);
    Ok(())
}

async fn write_deltas(
    node: &Node,
    core: &Core,
    out: &mut PartsOut<'_>,
    covered: Lsn,
    bottom: bool,
) -> Result<(), StoreError> {
    for (collection, tablet) in tablets_in_order(core) {
        let Some(info) = tablet_info(node, core, collection, tablet) else { continue };
        let mut slice = core.runtime.slice();
        let mut at: Option<Key> = None;
        loop {
            out.make_room().await?;
            match write_stretch(core, out, &info, at, covered, bottom) {
                Stretch::End => break,
                Stretch::UpTo(key) => at = Some(key),
                Stretch::Large(key, version) => {
                    write_large(out, &info, &key, &version).await?;
                    at = Some(key);
                }
            }
            slice.checkpoint().await;
        }
    }
    Ok(())
}

/// Has the log behind `covered` tell of every receipt, durably: what is up to there may go with this seal.
async fn keep_receipts(core: &Core, covered: Lsn) -> Result<(), Refusal> {
    let mut slice = core.runtime.slice();
    loop {
        let now = core.engine.borrow_mut().now(core.runtime.wall());
        if !core.engine.borrow_mut().receipts.forget_old(now) {
            break;
        }
        slice.checkpoint().await;
    }
    let (mut before, mut last) = (None, None);
    loop {
        let kept = core.engine.borrow_mut().keep_receipts(covered, before);
        let Kept::Down(to, logged) = kept else { break };
        (before, last) = (Some(to), logged.or(last));
        core.deliver();
        slice.checkpoint().await;
    }
    match last {
        Some(last) => core.durable_up_to(last).await,
        None => Ok(()),
    }
}

fn tablets_in_order(core: &Core) -> Vec<(CollectionId, TabletId)> {
    let engine = core.engine.borrow();
    let with_writes = engine.tablets.iter().filter(|tablet| !tablet.delta.is_empty());
    let mut all: Vec<_> = with_writes.map(|tablet| (tablet.collection, tablet.id)).collect();
    all.sort_unstable();
    all
}

/// `None` for a tablet whose collection is gone: it is dropped, or will be.
pub fn tablet_info(
    node: &Node,
    core: &Core,
    collection: CollectionId,
    tablet: TabletId,
) -> Option<TabletInfo> {
    let catalogue = node.catalogue();
    let owner = catalogue.collections.values().find(|entry| entry.id == collection)?;
    let engine = core.engine.borrow();
    let present = engine.tablets.get(tablet)?;
    let key_type = owner.definition.key_type;
    Some(TabletInfo { collection, tablet, epoch: present.epoch, key_type, next_seq: present.next_seq })
}

/// How far a stretch of a tablet came.
enum Stretch {
    /// Go on behind this key.
    UpTo(Key),
    /// This version comes next; its value is written in slices.
    Large(Key, Version),
    /// Also when the tablet was dropped meanwhile.
    End,
}

/// Pushes the next entries of a tablet.
fn write_stretch(
    core: &Core,
    out: &mut PartsOut<'_>,
    info: &TabletInfo,
    at: Option<Key>,
    covered: Lsn,
    bottom: bool,
) -> Stretch {
    let engine = core.engine.borrow();
    let Some(tablet) = engine.tablets.get(info.tablet) else { return Stretch::End };
    let start = at.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut last = None;
    let mut key_bytes = Vec::new();
    let stretch = tablet.delta.range(start, Bound::Unbounded).take(limits::CHECKPOINT_STRETCH_RECORDS);
    for (key, version) in stretch {
        last = Some(key);
        let payload_bytes = version.payload.as_ref().map_or(0, |payload| payload.as_bytes().len());
        if out.lies_apart(payload_bytes) {
            // What came behind `covered` stays in log and delta, and the next seal takes it: once is enough.
            if version.lsn <= covered && tablet.covers(key) {
                return Stretch::Large(key.clone(), version.clone());
            }
            continue;
        }
        // What moved away belongs to another shard.
        if tablet.covers(key) && !(bottom && version.payload.is_none()) {
            key_bytes.clear();
            key.append_to(&mut key_bytes);
            if out.push(info, entry(info.tablet, &key_bytes, version)) {
                break;
            }
        }
    }
    last.cloned().map_or(Stretch::End, Stretch::UpTo)
}

async fn write_large(
    out: &mut PartsOut<'_>,
    info: &TabletInfo,
    key: &Key,
    version: &Version,
) -> Result<(), StoreError> {
    let payload = version.payload.as_ref().expect("a large value");
    let at = out.values().put(payload.as_bytes()).await?;
    out.push(info, EntryRef { body: Body::Apart(at), ..entry(info.tablet, &key.to_vec(), version) });
    Ok(())
}

fn entry<'a>(tablet: TabletId, key: &'a [u8], version: &'a Version) -> EntryRef<'a> {
    EntryRef {
        tablet,
        key,
        lsn: version.lsn,
        seq: version.seq,
        expires: (version.expires != NEVER && version.payload.is_some()).then_some(version.expires),
        body: version.payload.as_ref().map_or(Body::Tombstone, |payload| Body::Here(payload.as_bytes())),
    }
}

/// The parts are whole and durable, and so is the log behind them: make the shard stand on them.
async fn publish(
    core: &Core,
    covered: Lsn,
    written: Written,
    counts: Vec<(TabletId, u64, Epoch)>,
) -> Result<(), Refusal> {
    let parts = &written.parts;
    let newest = parts.iter().map(|part| part.meta.lsn_max).max().unwrap_or(Lsn::ZERO);
    assert!(core.engine.borrow().durable() >= newest.max(covered), "a part ahead of its log");
    let first_segment = core.segments.first_needed(covered);
    let loaded: Vec<RunId> = core.ledger.state().loaded_runs.iter().map(|run| run.id).collect();
    let replacement = written.replacement();
    let committed = core.commit_state(|state| {
        // What was loaded from them is in the parts.
        state.loaded_runs.clear();
        state.replace_runs(&[], replacement);
        state.set_covered(covered);
        state.first_segment = first_segment;
        let count = |(tablet, records, epoch): &(TabletId, u64, Epoch)| TabletState {
            tablet: *tablet,
            records: *records,
            epoch: *epoch,
            ..TabletState::default()
        };
        // The rest of it is filled in by the commit.
        state.tablets = counts.iter().map(count).collect();
    });
    committed.await.inspect_err(|_| core.give_up_parts(&[], parts))?;
    core.install_parts(&[], parts);
    core.segments.trim(first_segment).await;
    // A snapshot that is being made may want them; the next start removes what is left.
    let unwanted = if core.snapshots.is_linking() { Vec::new() } else { loaded };
    for run in unwanted {
        if let Err(error) = core.runtime.remove_file(core.runs_dir.join(run_file_name(run))).await {
            tracing::warn!(%run, %error, "a replaced run could not be removed; the next start will");
        }
    }
    Ok(())
}

/// Lets the deltas go of what the parts have.
async fn drop_sealed(core: &Core, covered: Lsn) {
    let mut slice = core.runtime.slice();
    for (_, tablet) in tablets_in_order(core) {
        let mut at = None;
        loop {
            {
                let mut engine = core.engine.borrow_mut();
                at = engine.drop_sealed(tablet, at.as_ref(), covered, limits::CHECKPOINT_STRETCH_RECORDS);
            }
            if at.is_none() {
                break;
            }
            slice.checkpoint().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::sim::{Faults, Sim, SimConfig, World};
    use crate::shard::boot;
    use crate::shard::mailbox::mailboxes;
    use crate::shard::options::ShardOptions;
    use crate::shard::payload::{Payload, TEXT};
    use crate::shard::record::{Change, Condition, Durability, Write};

    async fn put(node: &Node, key: u64) {
        let change = Change::Put { payload: Payload::new(TEXT, &[7; 3000]), expires: None };
        let (key, condition, durability) = (Key::from_u64(key), Condition::None, Durability::Fsync);
        let collection = node.collection("default").expect("exists from the start");
        let written =
            node.write(&collection, Write { key, change, condition, durability, once: None }).get().await;
        written.expect("the shard takes writes");
    }

    async fn files(core: &Core) -> usize {
        core.runtime.list(&core.runs_dir).await.expect("it is there").len()
    }

    /// Runs `test` on a node of one shard with small values apart.
    fn on_a_node(test: impl AsyncFnOnce(Node, Rc<Core>, World) + 'static) {
        let mut sim = Sim::new(1, SimConfig::cores(1));
        let mailbox = mailboxes(1).pop().expect("one mailbox for one shard");
        let options = ShardOptions { value_bytes_inline: 1024, ..ShardOptions::new("/") };
        let (node, world) = (boot::launch(sim.executor(0), mailbox, options), sim.world().clone());
        let ran = sim.run(async move {
            node.started().await.expect("a new node starts");
            let core = node.core().expect("it serves").clone();
            test(node, core, world).await;
        });
        ran.unwrap_or_else(|stuck| panic!("{stuck}"));
    }

    /// Refused before anything is written: the shard goes on, and what the commit would have named goes.
    #[test]
    fn a_state_that_is_too_large_poisons_nothing() {
        on_a_node(async |node, core, _| {
            put(&node, 1).await;
            request(&node).await.expect("seals");
            assert_eq!(files(&core).await, 2, "a run and a value file");
            let uncovered = core.uncovered_log_bytes();
            put(&node, 2).await;
            core.ledger.state_bytes_max.set(100);
            let refusal = Refusal::CheckpointFailed { shard: node.shard() };
            assert_eq!(request(&node).await, Err(refusal));
            assert!(core.uncovered_log_bytes() > uncovered, "the log is needed still");
            core.sweep_retired().await;
            assert_eq!(files(&core).await, 2, "what no manifest names is removed");
            core.ledger.state_bytes_max.set(limits::MANIFEST_STATE_BYTES_MAX);
            put(&node, 3).await;
            request(&node).await.expect("the next one fits");
            assert_eq!(core.uncovered_log_bytes(), 0);
        });
    }

    /// A write of the superblock that failed may be on the disk all the same.
    #[test]
    fn what_a_commit_that_failed_may_name_stays() {
        on_a_node(async |node, core, world| {
            put(&node, 1).await;
            let only_paths_with = Some("superblock".to_owned());
            world.set_faults(Faults { write_error_permille: 1000, only_paths_with, ..Faults::default() });
            let refusal = Refusal::StorageFailed { shard: node.shard() };
            assert_eq!(request(&node).await, Err(refusal));
            core.sweep_retired().await;
            assert_eq!(files(&core).await, 2, "a run and a value file");
        });
    }
}
