//! Checkpoints: the records of the log so far go into a sorted run, so that the log can be trimmed.
//!
//! A checkpoint takes every version with an LSN above `after` from the tablets, slice by slice, while
//! writes go on. `after` is chosen so that run sizes at least halve from run to run: a checkpoint takes
//! the place of all runs behind `after` (Bentley and Saxe's logarithmic method, 1980, on the memory's
//! order), and every record is written O(log n) times. A checkpoint from 0 leaves tombstones out.
//!
//! The run holds, for every key, the version that the scan met. A version that was overwritten before
//! the scan came by is not in it: the one that replaced it is behind `covered` in the log. So the
//! manifest may name the run only when the log is durable up to the last version applied at the end
//! of the scan, and only records up to the beginning of the scan are covered.
//!
//! Invariant: log is given up only when the manifest that makes it superfluous is durable.

use std::fmt;
use std::io;
use std::ops::Bound;
use std::rc::Rc;
use std::time::Duration;

use super::core::Core;
use super::delta::{NEVER, Version};
use super::key::Key;
use super::node::Node;
use super::record::Refusal;
use super::run::{Covered, EntryRef, FinishedRun, RunHeader, RunWriter, TabletInfo};
use super::runs::{RunOut, run_file_name};
use super::state::{RunMeta, ShardState};
use crate::limits;
use crate::types::{CollectionId, Lsn, RunId, ShardId, TabletId};

const RETRY: Duration = Duration::from_millis(500);

/// Why there is no new checkpoint. The log keeps everything, so nothing is lost.
#[derive(Debug)]
enum CheckpointError {
    Io(io::Error),
    Refused(Refusal),
}

impl CheckpointError {
    fn as_refusal(&self, shard: ShardId) -> Refusal {
        match self {
            CheckpointError::Refused(refusal) => *refusal,
            CheckpointError::Io(error) if error.kind() == io::ErrorKind::StorageFull => Refusal::DiskFull,
            CheckpointError::Io(_) => Refusal::CheckpointFailed { shard },
        }
    }
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckpointError::Io(error) => error.fmt(f),
            CheckpointError::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl From<io::Error> for CheckpointError {
    fn from(error: io::Error) -> CheckpointError {
        CheckpointError::Io(error)
    }
}

impl From<Refusal> for CheckpointError {
    fn from(refusal: Refusal) -> CheckpointError {
        CheckpointError::Refused(refusal)
    }
}

/// What one checkpoint will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    /// Runs that stay, from the oldest.
    kept: usize,
    after: Lsn,
}

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
        let progress = core.checkpoints.get();
        if progress.ended >= progress.asked && !core.checkpoint_is_due() {
            wanted.await;
            continue;
        }
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
    let mut progress = core.checkpoints.get();
    progress.asked += 1;
    let mine = progress.asked;
    core.checkpoints.set(progress);
    core.checkpoint_wanted.notify();
    loop {
        let changed = core.progress.wait();
        let progress = core.checkpoints.get();
        if progress.ended >= mine {
            return progress.last.map_or(Ok(()), Err);
        }
        changed.await;
    }
}

async fn checkpoint(node: &Node, core: &Rc<Core>) -> Result<(), CheckpointError> {
    let covered = core.engine.borrow().applied();
    let log_bytes = core.begin_checkpoint();
    let plan = match core.engine.borrow().is_disk_full() {
        // What was deleted gives its room back only when the runs that hold it go.
        true => Plan { kept: 0, after: Lsn::ZERO },
        false => plan(&core.ledger.state(), log_bytes),
    };
    if covered == core.ledger.state().covered {
        return Ok(());
    }
    let id = core.take_run_id();
    let header =
        RunHeader { shard: node.shard(), run: id, covered: Covered { after: plan.after, through: covered } };
    let written = write_run(node, core, header).await;
    let finished = match written {
        Ok(finished) => finished,
        Err(error) => {
            core.checkpoint_undone(log_bytes);
            let _ = node.runtime().remove_file(core.runs_dir.join(run_file_name(id))).await;
            return Err(error);
        }
    };
    // Whatever replaced a version before the scan came by must be in the durable log.
    core.settle_down().await?;
    publish(core, plan, id, covered, &finished).await?;
    core.note_checkpoint(finished.file.len);
    if plan.after == Lsn::ZERO {
        purge(core, covered).await;
    }
    super::split::propose(node, core);
    Ok(())
}

/// Runs at least halve in size from one to the next: the new one takes in those that would break that.
fn plan(state: &ShardState, log_bytes: u64) -> Plan {
    let mut kept = state.runs.len();
    let mut size = log_bytes;
    while kept > 0 && state.runs[kept - 1].file_len <= size.saturating_mul(2) {
        kept -= 1;
        size += state.runs[kept].file_len;
    }
    if kept + 1 >= limits::RUNS_MAX {
        kept = 0;
    }
    let after = kept.checked_sub(1).map_or(Lsn::ZERO, |last| state.runs[last].to);
    Plan { kept, after }
}

async fn write_run(node: &Node, core: &Core, header: RunHeader) -> Result<FinishedRun, CheckpointError> {
    let mut out = RunOut::create(node.runtime(), &core.runs_dir, header.run).await?;
    let mut writer = RunWriter::new(header);
    for (collection, tablet) in tablets_in_order(core) {
        let Some(info) = tablet_info(node, core, collection, tablet) else { continue };
        writer.start_tablet(info);
        write_tablet(core, &mut out, &mut writer, info, header.covered.after).await?;
    }
    let (finished, _) = out.finish(writer.finish()).await?;
    Ok(finished)
}

fn tablets_in_order(core: &Core) -> Vec<(CollectionId, TabletId)> {
    let engine = core.engine.borrow();
    let mut all: Vec<_> = engine.tablets.iter().map(|tablet| (tablet.collection, tablet.id)).collect();
    all.sort_unstable();
    all
}

/// `None` for a tablet whose collection is gone: it is dropped, or will be.
fn tablet_info(node: &Node, core: &Core, collection: CollectionId, tablet: TabletId) -> Option<TabletInfo> {
    let catalogue = node.catalogue();
    let owner = catalogue.collections.values().find(|entry| entry.id == collection)?;
    let engine = core.engine.borrow();
    let present = engine.tablets.get(tablet)?;
    let key_type = owner.definition.key_type;
    Some(TabletInfo { collection, tablet, epoch: present.epoch, key_type, next_seq: present.next_seq })
}

async fn write_tablet(
    core: &Core,
    out: &mut RunOut,
    writer: &mut RunWriter,
    info: TabletInfo,
    after: Lsn,
) -> Result<(), CheckpointError> {
    let mut slice = core.runtime.slice();
    let mut at: Option<Key> = None;
    loop {
        at = write_stretch(core, writer, info.tablet, at, after);
        out.drain(writer).await?;
        if at.is_none() {
            return Ok(());
        }
        slice.checkpoint().await;
    }
}

/// Pushes the next entries of a tablet; gives the key to go on behind, `None` at the end (also when the
/// tablet was dropped meanwhile).
fn write_stretch(
    core: &Core,
    writer: &mut RunWriter,
    id: TabletId,
    at: Option<Key>,
    after: Lsn,
) -> Option<Key> {
    let engine = core.engine.borrow();
    let tablet = engine.tablets.get(id)?;
    let start = at.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut last = None;
    let mut key_bytes = Vec::new();
    let stretch = tablet.delta.range(start, Bound::Unbounded).take(limits::CHECKPOINT_STRETCH_RECORDS);
    for (key, version) in stretch {
        last = Some(key);
        // What moved away belongs to another shard; a tombstone at the very bottom hides nothing.
        let bottom_tombstone = version.payload.is_none() && after == Lsn::ZERO;
        if version.lsn > after && tablet.covers(key) && !bottom_tombstone {
            key_bytes.clear();
            key.append_to(&mut key_bytes);
            writer.push(entry(id, &key_bytes, version));
        }
    }
    last.cloned()
}

fn entry<'a>(tablet: TabletId, key: &'a [u8], version: &'a Version) -> EntryRef<'a> {
    EntryRef {
        tablet,
        key,
        lsn: version.lsn,
        seq: version.seq,
        expires: (version.expires != NEVER && version.payload.is_some()).then_some(version.expires),
        payload: version.payload.as_ref().map(|payload| payload.as_bytes()),
    }
}

/// The run is whole and durable, and so is the log behind it: make the shard stand on it.
async fn publish(
    core: &Core,
    plan: Plan,
    id: RunId,
    covered: Lsn,
    finished: &FinishedRun,
) -> Result<(), Refusal> {
    assert!(core.engine.borrow().durable() >= finished.lsn_max.max(covered), "a run ahead of its log");
    let first_segment = core.segments.first_needed(covered);
    let replaced: Vec<RunId> = core.ledger.state().runs[plan.kept..].iter().map(|run| run.id).collect();
    let meta = RunMeta {
        id,
        from: plan.after,
        to: covered,
        file_len: finished.file.len,
        footer_hash: finished.file.footer_hash,
        entries: finished.entries,
    };
    core.commit_state(|state| {
        assert_eq!(state.runs.len(), plan.kept + replaced.len(), "one checkpoint at a time");
        state.runs.truncate(plan.kept);
        state.runs.push(meta);
        state.covered = covered;
        state.first_segment = first_segment;
        state.next_run = id.next();
    })
    .await?;
    core.segments.trim(first_segment).await;
    for run in replaced {
        if let Err(error) = core.runtime.remove_file(core.runs_dir.join(run_file_name(run))).await {
            tracing::warn!(%run, %error, "a replaced run could not be removed; the next start will");
        }
    }
    Ok(())
}

/// No run is left that a tombstone up to `covered` could hide anything of.
async fn purge(core: &Core, covered: Lsn) {
    let mut slice = core.runtime.slice();
    for (_, tablet) in tablets_in_order(core) {
        let mut at = None;
        loop {
            at = core.engine.borrow_mut().tablets.purge(
                tablet,
                at.as_ref(),
                covered,
                limits::CHECKPOINT_STRETCH_RECORDS,
            );
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

    fn state(sizes: &[u64]) -> ShardState {
        let run = |(index, len): (usize, &u64)| RunMeta {
            id: RunId(index as u64 + 1),
            from: Lsn(index as u64 * 10),
            to: Lsn(index as u64 * 10 + 10),
            file_len: *len,
            footer_hash: 0,
            entries: 1,
        };
        ShardState { runs: sizes.iter().enumerate().map(run).collect(), ..ShardState::default() }
    }

    #[test]
    fn runs_halve_in_size() {
        assert_eq!(plan(&state(&[]), 10), Plan { kept: 0, after: Lsn(0) });
        assert_eq!(plan(&state(&[100]), 10), Plan { kept: 1, after: Lsn(10) });
        assert_eq!(plan(&state(&[100, 20]), 10), Plan { kept: 1, after: Lsn(10) });
        assert_eq!(plan(&state(&[100, 40]), 10), Plan { kept: 2, after: Lsn(20) });
        assert_eq!(plan(&state(&[60, 20]), 10), Plan { kept: 0, after: Lsn(0) });
        let many: Vec<u64> = (0..limits::RUNS_MAX as u32 - 1).map(|n| 1 << (60 - 2 * n)).collect();
        assert_eq!(plan(&state(&many), 1).kept, 0, "never more than RUNS_MAX");
    }
}
