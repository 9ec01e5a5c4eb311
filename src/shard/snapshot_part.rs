//! A shard's part in a snapshot: hold, cut, release, link.
//!
//! The runs of the cut are pinned by its [`Levels`], its log by [`Segments::keep_from`]. A linked segment is
//! written on in place; the manifest of the snapshot says where its records end, and a linked file is never
//! used again for another segment.
//!
//! Invariant: a shard that cuts has applied nothing since it was told to hold.
//! Invariant: what is linked is durable up to the cut.
//!
//! [`Segments::keep_from`]: super::segments::Segments::keep_from

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::core::Core;
use super::operations::Operations;
use super::options::ShardOptions;
use super::record::Refusal;
use super::runs::{run_file_name, value_file_name};
use super::state::ShardState;
use super::store::Levels;
use super::store::error::StoreError;
use crate::io::crashsafe;
use crate::io::executor::Class;
use crate::io::executor::sync::Signal;
use crate::io::log::{Made, segment_file_name};
use crate::io::manifest::{Manifest, ManifestError};
use crate::types::{Lsn, RunId};

/// Whoever told to hold has this long to release.
const HOLD_MAX: Duration = Duration::from_secs(1);

/// What a core keeps of snapshots that are being made.
#[derive(Default)]
pub struct Desk {
    held_for: Cell<Option<u64>>,
    cut: RefCell<Option<Cut>>,
    linking: Cell<bool>,
    /// Shard 0: a snapshot is being made or removed.
    pub(super) taking: Cell<bool>,
    pub(super) turn_over: Signal,
    /// Shard 0's.
    pub(super) operations: RefCell<Operations>,
}

/// A moment of a shard.
struct Cut {
    number: u64,
    lsn: Lsn,
    state: ShardState,
    /// Keeps the files of the runs and of their values.
    levels: Rc<Levels>,
    records: u64,
}

/// What a shard adds to a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Linked {
    pub bytes: u64,
    pub records: u64,
}

impl Desk {
    /// Files that the manifest of now does not name may still be wanted.
    pub fn is_linking(&self) -> bool {
        self.linking.get() || self.cut.borrow().is_some()
    }
}

fn failed(core: &Core) -> Refusal {
    Refusal::SnapshotFailed { shard: core.shard() }
}

pub(super) fn hold(core: &Rc<Core>, number: u64) -> Result<(), Refusal> {
    let desk = &core.snapshots;
    if core.engine.borrow().is_poisoned() {
        return Err(Refusal::StorageFailed { shard: core.shard() });
    }
    if desk.held_for.get().is_some() || desk.is_linking() {
        return Err(failed(core));
    }
    desk.held_for.set(Some(number));
    core.engine.borrow_mut().held = true;
    let core = core.clone();
    core.runtime.clone().spawn(Class::Foreground, async move {
        core.runtime.sleep(HOLD_MAX).await;
        if core.snapshots.held_for.get() == Some(number) {
            tracing::warn!(shard = %core.shard(), "writes were held for a snapshot for too long; they go on");
            go_on(&core);
        }
    });
    Ok(())
}

pub(super) fn cut(core: &Core, number: u64) -> Result<(), Refusal> {
    if core.snapshots.held_for.get() != Some(number) {
        return Err(failed(core));
    }
    let mut state = core.ledger.state().clone();
    core.describe(&mut state);
    let engine = core.engine.borrow();
    let lsn = engine.applied();
    // Behind the cut there is whatever was written while the files were linked.
    state.clean = false;
    state.floor = lsn;
    // Only those with what counts are linked.
    state.made = Made::default();
    state.replay_to = Some(lsn);
    core.segments.keep_from(Some(state.first_segment));
    let records = engine.tablets.iter().map(|tablet| tablet.records).sum();
    let levels = engine.store.levels().clone();
    *core.snapshots.cut.borrow_mut() = Some(Cut { number, lsn, state, levels, records });
    Ok(())
}

pub(super) fn release(core: &Core, number: u64, wanted: bool) {
    if core.snapshots.held_for.get() == Some(number) {
        go_on(core);
    }
    if !wanted {
        drop(take_cut(core, number));
        core.segments.keep_from(None);
    }
}

fn go_on(core: &Core) {
    core.snapshots.held_for.set(None);
    core.engine.borrow_mut().held = false;
    core.settle_work.notify();
}

fn take_cut(core: &Core, number: u64) -> Option<Cut> {
    core.snapshots.cut.borrow_mut().take_if(|cut| cut.number == number)
}

/// Gives the files of the cut a second name in a directory of this shard below `into`, all durable.
pub(super) async fn link(core: &Core, number: u64, into: &Path) -> Result<Linked, Refusal> {
    let Some(cut) = take_cut(core, number) else { return Err(failed(core)) };
    core.snapshots.linking.set(true);
    let linked = link_cut(core, &cut, into).await;
    core.snapshots.linking.set(false);
    drop(cut);
    core.segments.keep_from(None);
    let first = core.ledger.state().first_segment;
    core.segments.trim(first).await;
    linked.map_err(|error| {
        let shard = core.shard();
        tracing::warn!(%shard, %error, "the files of a snapshot could not be linked");
        match error {
            StoreError::Write(_) if error.as_refusal(shard) != Refusal::DiskFull => failed(core),
            error => error.as_refusal(shard),
        }
    })
}

async fn link_cut(core: &Core, cut: &Cut, into: &Path) -> Result<Linked, StoreError> {
    core.durable_up_to(cut.lsn).await?;
    let runtime = &core.runtime;
    let shard_dir = ShardOptions::new(into).shard_dir(core.shard());
    let (runs_dir, log_dir) = (shard_dir.join("runs"), shard_dir.join("log"));
    for dir in [&shard_dir, &runs_dir, &log_dir] {
        crashsafe::create_dir(runtime, dir).await?;
    }
    let loaded = cut.state.loaded_runs.iter().map(|run| (run.id, run.file_len));
    let read_in_place = cut.state.runs.iter().map(|run| (run.id, run.file_len));
    let runs: Vec<(RunId, u64)> = loaded.chain(read_in_place).collect();
    debug_assert!(cut.levels.iter().all(|part| cut.state.names_run(part.meta.id)), "runs of another state");
    for (id, _) in &runs {
        let name = run_file_name(*id);
        runtime.link(core.runs_dir.join(&name), runs_dir.join(&name)).await?;
    }
    for file in &cut.state.values {
        let name = value_file_name(file.id);
        runtime.link(core.runs_dir.join(&name), runs_dir.join(&name)).await?;
    }
    let segments = core.segments.link_from(cut.state.first_segment);
    for id in &segments {
        let name = segment_file_name(*id);
        runtime.link(core.segments.path(*id), log_dir.join(&name)).await?;
    }
    runtime.sync_dir(runs_dir).await?;
    runtime.sync_dir(log_dir).await?;
    let created = Manifest::create(runtime, &shard_dir, core.shard(), &cut.state.encode()).await;
    created.map_err(manifest_error)?;
    let run_bytes: u64 = runs.iter().map(|(_, bytes)| bytes).sum();
    let value_bytes: u64 = cut.state.values.iter().map(|file| file.file_len).sum();
    let bytes = run_bytes + value_bytes + segments.len() as u64 * core.segments.bytes();
    Ok(Linked { bytes, records: cut.records })
}

fn manifest_error(error: ManifestError) -> StoreError {
    StoreError::Write(match error {
        ManifestError::Io(error) => error,
        other => std::io::Error::other(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::sim::{Sim, SimConfig};
    use crate::shard::boot;
    use crate::shard::key::Key;
    use crate::shard::mailbox::mailboxes;
    use crate::shard::node::{Answer, Node};
    use crate::shard::payload::{Payload, TEXT};
    use crate::shard::record::{Change, Condition, Durability, Write};

    const SOON: Duration = Duration::from_millis(50);

    /// Runs `test` on a node of one shard.
    fn on_a_node(test: impl AsyncFnOnce(Node, Rc<Core>) + 'static) {
        let mut sim = Sim::new(1, SimConfig::cores(1));
        let mailbox = mailboxes(1).pop().expect("one mailbox for one shard");
        let node = boot::launch(sim.executor(0), mailbox, ShardOptions::new("/"));
        let ran = sim.run(async move {
            node.started().await.expect("a new node starts");
            let core = node.core().expect("it serves").clone();
            test(node, core).await;
        });
        ran.unwrap_or_else(|stuck| panic!("{stuck}"));
    }

    /// A write that is answered at once as a rule; whether it is within a while.
    async fn is_answered(node: &Node, key: u64, wait: Duration) -> bool {
        let change = Change::Put { payload: Payload::new(TEXT, b"x"), expires: None };
        let (key, condition, durability) = (Key::from_u64(key), Condition::None, Durability::Memory);
        let collection = node.collection("default").expect("exists from the start");
        let Answer::Later(answer) =
            node.write(&collection, Write { key, change, condition, durability, once: None })
        else {
            return true;
        };
        node.runtime().timeout(wait, answer).await.is_some_and(|written| written.is_ok())
    }

    async fn is_visible(node: &Node, key: u64) -> bool {
        let collection = node.collection("default").expect("exists from the start");
        node.get(&collection, &Key::from_u64(key)).get().await.expect("answered").is_some()
    }

    #[test]
    fn nothing_is_answered_or_seen_between_hold_and_release() {
        on_a_node(async |node, core| {
            assert!(is_answered(&node, 1, SOON).await);
            let before = core.engine.borrow().applied();
            hold(&core, 7).expect("nothing is in the way");
            assert!(hold(&core, 8).is_err(), "one at a time");
            assert!(!is_answered(&node, 2, SOON).await && !is_visible(&node, 2).await);
            assert!(core.engine.borrow().durable() > before, "it is logged meanwhile");
            assert!(cut(&core, 8).is_err(), "of another snapshot");
            cut(&core, 7).expect("it is held");
            assert_eq!(core.snapshots.cut.borrow().as_ref().expect("it is noted").lsn, before);
            release(&core, 7, true);
            assert!(is_answered(&node, 3, SOON).await && is_visible(&node, 2).await);
            assert!(core.snapshots.is_linking());
            release(&core, 7, false);
            assert!(!core.snapshots.is_linking());
        });
    }

    #[test]
    fn a_hold_that_is_forgotten_ends_and_nothing_is_cut_behind_it() {
        on_a_node(async |node, core| {
            hold(&core, 7).expect("nothing is in the way");
            assert!(is_answered(&node, 1, 2 * HOLD_MAX).await);
            assert!(cut(&core, 7).is_err());
            // The next one is not released by the clock of the one before.
            hold(&core, 8).expect("nothing is in the way");
            cut(&core, 8).expect("it is held");
            release(&core, 8, false);
            assert!(is_answered(&node, 2, SOON).await);
        });
    }
}
