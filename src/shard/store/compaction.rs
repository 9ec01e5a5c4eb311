//! Merges parts into deeper levels while the shard serves.
//!
//! A job reads parts of one level and what they overlap in the next, and writes new ones, a group of parts
//! of the lower level at a time: each group is committed on its own, so that a job over a large level needs
//! room for a group only. What of the upper parts was merged already stands twice until the job ends, in
//! equal versions, which reads do not mind. A crash in between loses the work of one group.
//!
//! Left out on the way: older versions; tombstones, when nothing deeper is left that they hide; records
//! of tablets that are gone, and keys that went to another shard. A record whose time is over stays: its
//! deletion is logged like any other (see [`super::expiry`]), so that counts stay right.
//!
//! Large values lie in value files, and a merge copies references to them. Values move out of files with little life
//! in them when enough come by, or when that is what the job is for.
//!
//! Invariant: a part leaves the manifest in the commit that brings those that replace it.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use super::cursor::Walk;
use super::error::StoreError;
use super::merge::{Merge, Next};
use super::part::Part;
use super::parts_out::{PartsOut, Written};
use super::place::{Place, Span};
use super::policy::{Belongs, Goal, Job, Policy, Reason};
use crate::limits;
use crate::shard::checkpoint::{Progress, tablet_info};
use crate::shard::core::Core;
use crate::shard::decisions::Kind;
use crate::shard::key::Key;
use crate::shard::node::Node;
use crate::shard::record::Refusal;
use crate::shard::run::{Body, EntryRef, TabletInfo, ValueRef};
use crate::types::{CollectionId, Lsn, RunId, TabletId};

const RETRY: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Compacts whenever the policy finds a reason, as long as the shard lives.
pub async fn keep_compacting(node: Node, core: Rc<Core>) {
    let mut policy = Policy::new(core.part_bytes, core.value_file_bytes);
    let (mut goal, mut asked) = (Goal::default(), 0);
    let mut pause = RETRY;
    core.note_pressure();
    loop {
        let wanted = core.compaction_wanted.wait();
        if core.engine.borrow().is_poisoned() {
            // No commit would succeed.
            let refusal = Refusal::StorageFailed { shard: node.shard() };
            finish_asked(&core, core.compactions.get().asked, Some(refusal));
            wanted.await;
            continue;
        }
        let levels = core.engine.borrow().store.levels().clone();
        let progress = core.compactions.get();
        if progress.asked > asked || core.engine.borrow().is_disk_full() {
            (goal, asked) = (Goal::all(&levels), progress.asked);
        }
        goal.follow(&levels);
        core.jobs.compaction_left.set(goal.bytes(&levels));
        if goal.is_reached() {
            finish_asked(&core, asked, None);
        }
        let mut job = policy.next(&levels, core.shelf(), &|part| belongs(&core, part), &goal);
        if job.is_none() && core.is_worn(&levels) {
            job = policy.quiet(&levels);
        }
        drop(levels);
        let Some(job) = job else {
            core.engine.borrow_mut().set_compaction_stuck(false);
            core.note_pressure();
            core.sweep_retired().await;
            wanted.await;
            continue;
        };
        let (reason, from, to) = (job.reason, job.from, job.to);
        let done = run(&node, &core, &policy, job.clone()).await;
        match done {
            Ok(()) => {
                pause = RETRY;
                core.engine.borrow_mut().set_compaction_stuck(false);
                core.note_pressure();
                goal.note_done(&job, core.engine.borrow().store.levels());
                tracing::debug!(shard = %node.shard(), reason = reason.name(), from, to, "compacted");
            }
            Err(error) => {
                tracing::warn!(shard = %node.shard(), reason = reason.name(), %error, "a compaction failed");
                core.numbers.borrow_mut().compaction_failures += 1;
                if error.is_damage() {
                    policy.note_damage(&job);
                }
                goal = Goal::default();
                finish_asked(&core, asked, Some(error.as_refusal(node.shard())));
                // What cannot be read will be met again: not too often, and writes do not wait for it.
                core.engine.borrow_mut().set_compaction_stuck(true);
                core.note_pressure();
                node.runtime().sleep(pause).await;
                pause = (pause * 2).min(RETRY_MAX);
            }
        }
        drop(job);
        core.sweep_retired().await;
    }
}

fn finish_asked(core: &Core, asked: u64, last: Option<Refusal>) {
    let progress = core.compactions.get();
    if progress.ended < asked {
        core.compactions.set(Progress { ended: asked, last, ..progress });
        core.progress.notify();
    }
}

/// Asks for everything to be merged into the deepest level; completes with it.
pub async fn request(node: &Node) -> Result<(), Refusal> {
    let core = node.core()?.clone();
    let mut progress = core.compactions.get();
    progress.asked += 1;
    let mine = progress.asked;
    core.compactions.set(progress);
    core.compaction_wanted.notify();
    loop {
        let changed = core.progress.wait();
        let progress = core.compactions.get();
        if progress.ended >= mine {
            return progress.last.map_or(Ok(()), Err);
        }
        changed.await;
    }
}

/// How much of a part is on this shard's map.
fn belongs(core: &Core, part: &Part) -> Belongs {
    let engine = core.engine.borrow();
    let here = |tablet: TabletId| engine.tablets.get(tablet).is_some();
    let Some(resident) = part.resident() else {
        return match part.span.only_tablet() {
            Some(tablet) if !here(tablet) => Belongs::Nothing,
            _ => Belongs::All,
        };
    };
    let tablets = resident.reader().directory().tablets().iter().filter(|tablet| tablet.entries > 0);
    let (mut ours, mut others) = (false, false);
    for tablet in tablets {
        if here(tablet.info.tablet) { ours = true } else { others = true }
    }
    // Only the ends of a part can be outside of a tablet that was split.
    let outside = [&part.span.first, &part.span.last]
        .into_iter()
        .any(|end| engine.tablets.get(end.tablet).is_some_and(|tablet| !tablet.covers(&end.key)));
    match (ours, others || outside) {
        (false, _) => Belongs::Nothing,
        (true, true) => Belongs::Partly,
        (true, false) => Belongs::All,
    }
}

async fn run(node: &Node, core: &Core, policy: &Policy, job: Job) -> Result<(), StoreError> {
    core.numbers.borrow_mut().count_job(job.reason);
    core.decided(Kind::Compaction, job.reason.name());
    if job.reason == Reason::Gone {
        let out: Vec<RunId> = job.upper.iter().map(|part| part.meta.id).collect();
        return Ok(core.replace_parts(&out, Written::default()).await?);
    }
    let span = job.upper.iter().map(|part| part.span.clone()).reduce(|a, b| a.with(&b));
    let span = span.expect("a job has parts");
    let levels = core.engine.borrow().store.levels().clone();
    let lower = match job.from == job.to {
        true => Vec::new(),
        false => levels.overlapping(job.to, &span).cloned().collect(),
    };
    if can_move(policy, &job, &lower) {
        return move_down(core, job).await;
    }
    // All that is rewritten: parts of the lower level reach beyond the upper ones.
    let whole = lower.iter().fold(span, |span, part| span.with(&part.span));
    let drops_tombstones = levels.is_bottom(job.to, &whole);
    drop(levels);
    let mut out = PartsOut::new(core, job.to, policy.part_bytes, core.ledger.state().covered);
    let mut merging = Merging {
        node,
        core,
        policy,
        drops_tombstones,
        moves_out_of: BTreeSet::new(),
        info: None,
        read_bytes: 0,
    };
    match merging.merge(&job, lower, &mut out).await {
        Ok(()) => Ok(()),
        Err(error) => {
            out.abandon().await;
            Err(error)
        }
    }
}

fn file_bytes(parts: &[Rc<Part>]) -> u64 {
    parts.iter().map(|part| part.meta.file_len).sum()
}

/// Parts that meet nothing go down as they are.
fn can_move(policy: &Policy, job: &Job, lower: &[Rc<Part>]) -> bool {
    let large = |part: &Rc<Part>| part.meta.file_len >= policy.part_bytes / 4;
    let plain = |part: &Rc<Part>| part.meta.live == part.meta.entries;
    let mut sorted: Vec<&Span> = job.upper.iter().map(|part| &part.span).collect();
    sorted.sort_by(|a, b| a.first.cmp(&b.first));
    job.from != job.to
        && lower.is_empty()
        && job.upper.iter().all(|part| large(part) && plain(part))
        && sorted.windows(2).all(|pair| pair[0].last < pair[1].first)
}

async fn move_down(core: &Core, job: Job) -> Result<(), StoreError> {
    let out: Vec<RunId> = job.upper.iter().map(|part| part.meta.id).collect();
    let parts = job.upper.iter().map(|part| part.at_level(job.to as u8)).collect();
    Ok(core.replace_parts(&out, Written { parts, values: Vec::new() }).await?)
}

/// One job under way.
struct Merging<'a> {
    node: &'a Node,
    core: &'a Core,
    policy: &'a Policy,
    drops_tombstones: bool,
    /// Value files out of which values move while the group is merged.
    moves_out_of: BTreeSet<RunId>,
    /// Of the tablet that entries come from; the inner `None` when it is gone.
    info: Option<(TabletId, Option<TabletInfo>)>,
    read_bytes: u64,
}

impl Merging<'_> {
    async fn merge(
        &mut self,
        job: &Job,
        lower: Vec<Rc<Part>>,
        out: &mut PartsOut<'_>,
    ) -> Result<(), StoreError> {
        let mut sources: Vec<Vec<Rc<Part>>> = match job.from {
            0 => job.upper.iter().map(|part| vec![part.clone()]).collect(),
            _ => vec![job.upper.clone()],
        };
        let (upper_bytes, lower_bytes) = (file_bytes(&job.upper), file_bytes(&lower));
        self.read_bytes = upper_bytes + lower_bytes;
        sources.push(lower.clone());
        let mut merge = Merge::new(sources, Walk::All, false, limits::RUN_READ_BYTES);
        let mut groups = VecDeque::from_iter(lower.chunks(limits::COMPACTION_GROUP_RUNS).map(<[_]>::to_vec));
        drop(lower);
        let mut replaced = Vec::new();
        loop {
            let group = groups.pop_front().unwrap_or_default();
            let is_last = groups.is_empty();
            // What the group has, and its share of what comes from above.
            let share = if lower_bytes == 0 { 1.0 } else { file_bytes(&group) as f64 / lower_bytes as f64 };
            out.aim(file_bytes(&group) + (upper_bytes as f64 * share) as u64);
            self.moves_out_of.extend(self.policy.moves(job, self.core.shelf(), &group));
            // The last group takes all that is behind it.
            let end = group.last().filter(|_| !is_last).map(|part| part.span.last.clone());
            self.merge_up_to(&mut merge, end.as_ref(), out).await?;
            replaced.extend(group.iter().map(|part| part.meta.id));
            drop(group);
            // Little is left of some groups: several of them make a part.
            let is_small = out.part_bytes() < self.policy.part_bytes / 2;
            if is_small && !is_last && replaced.len() < limits::COMPACTION_COMMIT_RUNS_MAX {
                continue;
            }
            if is_last {
                replaced.extend(job.upper.iter().map(|part| part.meta.id));
            }
            let written = out.take().await?;
            self.publish(&std::mem::take(&mut replaced), written).await?;
            self.moves_out_of.clear();
            if is_last {
                return Ok(());
            }
            // Or the whole lower level would stand twice at the end.
            self.core.sweep_retired().await;
        }
    }

    async fn publish(&mut self, replaced: &[RunId], written: Written) -> Result<(), StoreError> {
        let bytes = written.bytes();
        // A part may hold versions that were written into it while the log was behind.
        let newest = written.parts.iter().map(|part| part.meta.lsn_max).max().unwrap_or(Lsn::ZERO);
        assert!(self.core.engine.borrow().durable() >= newest, "a part ahead of its log");
        self.core.replace_parts(replaced, written).await?;
        {
            let mut numbers = self.core.numbers.borrow_mut();
            numbers.compaction_written_bytes += bytes;
            numbers.compaction_read_bytes += std::mem::take(&mut self.read_bytes);
        }
        Ok(())
    }

    /// Moves the entries up to a place (all, without one) into `out`.
    async fn merge_up_to(
        &mut self,
        merge: &mut Merge,
        end: Option<&Place>,
        out: &mut PartsOut<'_>,
    ) -> Result<(), StoreError> {
        let mut slice = self.core.runtime.slice();
        loop {
            merge.fill().await?;
            if merge.next().is_none_or(|next| end.is_some_and(|end| is_behind(&next, end))) {
                return Ok(());
            }
            out.make_room().await?;
            for _ in 0..limits::COMPACTION_STRETCH_RECORDS {
                let Some(next) = merge.next() else { return Ok(()) };
                if end.is_some_and(|end| is_behind(&next, end)) {
                    return Ok(());
                }
                let source = next.source;
                let full = match self.keeps(&next) {
                    Some(info) => match self.move_value(&next, out).await? {
                        Some(at) => {
                            out.push(&info, EntryRef { body: Body::Apart(at), ..next.entry });
                            true
                        }
                        None => out.push(&info, next.entry),
                    },
                    None => false,
                };
                if merge.advance(source) || full {
                    break;
                }
            }
            slice.checkpoint().await;
        }
    }

    /// Writes the value of an entry elsewhere, when it is to move, or lies in a run and should not.
    async fn move_value(
        &mut self,
        next: &Next<'_>,
        out: &mut PartsOut<'_>,
    ) -> Result<Option<ValueRef>, StoreError> {
        Ok(match next.entry.body {
            Body::Here(payload) if out.lies_apart(payload.len()) => Some(out.values().put(payload).await?),
            Body::Apart(at) if self.moves_out_of.contains(&at.file) => {
                let from = next.part.value_file(&at)?;
                self.read_bytes += at.padded_len();
                Some(out.values().copy(&from, &at).await?)
            }
            _ => None,
        })
    }

    /// The tablet of an entry that stays.
    fn keeps(&mut self, next: &Next<'_>) -> Option<TabletInfo> {
        let tablet = next.entry.tablet;
        let info = self.info_of(next.collection, tablet)?;
        let engine = self.core.engine.borrow();
        let present = engine.tablets.get(tablet)?;
        if !present.covers(&Key::from_bytes(next.entry.key)) {
            return None;
        }
        match next.entry.body {
            Body::Tombstone if self.drops_tombstones => None,
            _ => Some(info),
        }
    }

    fn info_of(&mut self, collection: CollectionId, tablet: TabletId) -> Option<TabletInfo> {
        match self.info {
            Some((of, info)) if of == tablet => info,
            _ => {
                let info = tablet_info(self.node, self.core, collection, tablet);
                self.info = Some((tablet, info));
                info
            }
        }
    }
}

fn is_behind(next: &Next<'_>, end: &Place) -> bool {
    let order = (next.collection, next.entry.tablet).cmp(&(end.collection, end.tablet));
    order.then_with(|| Key::from_bytes(next.entry.key).cmp(&end.key)).is_gt()
}
