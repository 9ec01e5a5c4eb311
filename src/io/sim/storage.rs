//! The disk operations of a machine: from submission over the moment at which the disk carries them out
//! to completion, with every fault of [`super::faults`].
//!
//! A change is carried out at a random moment between submission and completion; what a sync covers
//! becomes durable when, and only when, it completes.
//!
//! Must not know: sockets, tasks.
//!
//! Invariant: until an operation is carried out, a power cut may carry it out in any part.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use super::audit::{Audit, WriteRecord};
use super::crash::{CrashPolicy, Moment};
use super::disk::{Disk, Inode, errno};
use super::effect::Effect;
use super::machine::{Event, Machine, Waiter, hash};
use super::plan::{Ask, OpenFile, Plan, Seal};
use super::rng::Rng;
use crate::io::buf::BLOCK_BYTES;
use crate::io::op::{Handle, Op, Outcome};

/// Free space of a disk without a limit.
const UNLIMITED_BYTES: u64 = 1 << 40;

/// Disk operations so far, counted from 1, over all cores. Only those that faults can hit count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub reads: u64,
    pub writes: u64,
    /// Synced writes, syncs of files and of directories.
    pub syncs: u64,
}

#[derive(Default)]
pub(super) struct Storage {
    pub(super) disk: Disk,
    pub(super) audit: Option<Audit>,
    pub(super) counts: Counts,
    handles: BTreeMap<Handle, OpenFile>,
    under_way: BTreeMap<u64, Work>,
    submitted: u64,
}

/// One operation under way.
pub(super) struct Work {
    waiter: Waiter,
    operation: &'static str,
    pub path: String,
    changes_disk: bool,
    stage: Stage,
    /// Changes made so far, of a write.
    pub changes: Vec<(Inode, u64)>,
    pub record: Option<usize>,
}

pub(super) enum Stage {
    Submitted { effect: Effect, ask: Ask },
    Performed { outcome: io::Result<Outcome>, seal: Seal },
}

/// An operation that just passed a moment at which the power may be cut.
pub(super) struct Passed {
    pub moment: Moment,
    pub operation: &'static str,
    pub changes_disk: bool,
}

// ---- submission

impl Storage {
    pub fn with_disk(disk: Disk, audit: bool) -> Storage {
        Storage { disk, audit: audit.then(Audit::default), ..Storage::default() }
    }

    /// Whether the operation is one of the disk.
    pub fn takes(&self, op: &Op) -> bool {
        match op {
            Op::Close { handle } => self.handles.contains_key(handle),
            Op::Listen { .. }
            | Op::TakeOverListener { .. }
            | Op::Accept { .. }
            | Op::Connect { .. }
            | Op::Receive { .. }
            | Op::Send { .. }
            | Op::Shutdown { .. } => false,
            _ => true,
        }
    }

    /// `None` when the operation never reaches the disk.
    pub fn submit(&mut self, machine: &mut Machine, waiter: Waiter, op: Op) -> Option<Passed> {
        if let Op::Close { handle } = op {
            let file = self.handles.remove(&handle).expect("a handle that this disk gave out");
            self.disk.close(file.inode);
            machine.reply(waiter, Outcome::Done);
            return None;
        }
        let plan = match Plan::of(op, &self.disk, &self.handles) {
            Ok(plan) => plan,
            Err(error) => {
                machine.reply(waiter, Outcome::Failed(error));
                return None;
            }
        };
        self.submitted += 1;
        let number = self.submitted;
        let work = self.start(machine, waiter, plan);
        let passed = work.passed(Moment::Submitted);
        machine.log(format_args!("c{} t{} #{number} {work}", waiter.core, waiter.token.0));
        let delay = machine.disk_delay();
        let performed_after = machine.rng.between(0, delay);
        machine.schedule(performed_after, Event::Perform(number));
        machine.schedule(delay, Event::Complete(number));
        self.under_way.insert(number, work);
        Some(passed)
    }

    fn start(&mut self, machine: &Machine, waiter: Waiter, plan: Plan) -> Work {
        let Plan { operation, path, effect, ask } = plan;
        let record = match (&mut self.audit, &effect, &ask) {
            (Some(audit), Effect::Write { pages, .. }, Ask::Write { buf, sync }) => {
                Some(audit.submitted(WriteRecord {
                    path: path.clone(),
                    offset: pages[0].page * BLOCK_BYTES as u64,
                    len: buf.len() as u64,
                    sync: *sync,
                    submitted: machine.now,
                    completed: None,
                    durable: None,
                }))
            }
            _ => None,
        };
        let changes_disk = !effect.is_none() || matches!(ask, Ask::Seal(_));
        let stage = Stage::Submitted { effect, ask };
        Work { waiter, operation, path, changes_disk, stage, changes: Vec::new(), record }
    }
}

// ---- the disk at work

impl Storage {
    pub fn perform(&mut self, machine: &mut Machine, number: u64) {
        let mut work = self.under_way.remove(&number).expect("an operation is performed before it completes");
        let Stage::Submitted { effect, ask } = work.take_stage() else {
            unreachable!("an operation performed twice")
        };
        machine.log(format_args!("#{number} perform"));
        work.stage = self.carry_out(machine, &mut work, effect, ask);
        self.under_way.insert(number, work);
    }

    fn carry_out(&mut self, machine: &mut Machine, work: &mut Work, effect: Effect, ask: Ask) -> Stage {
        let (effect, ask) = match (effect, ask) {
            (Effect::Write { inode, pages }, Ask::Write { buf, sync }) => {
                return self.write(machine, work, (inode, pages), buf, sync);
            }
            other => other,
        };
        let outcome = effect.apply(&mut self.disk).and_then(|_| self.answer(machine, work, &ask));
        let (outcome, seal) = match ask {
            Ask::Read { inode, offset, buf } => {
                (outcome.and_then(|_| self.read(machine, work, inode, offset, buf)), Seal::Nothing)
            }
            Ask::Seal(seal) => (outcome, seal),
            _ => (outcome, Seal::Nothing),
        };
        Stage::Performed { outcome, seal }
    }

    fn answer(&mut self, machine: &mut Machine, work: &Work, ask: &Ask) -> io::Result<Outcome> {
        match ask {
            Ask::Open { path, writable } => {
                let inode = self.disk.open(path)?;
                let handle = machine.new_handle();
                let file = OpenFile { inode, path: work.path.clone(), writable: *writable };
                self.handles.insert(handle, file);
                Ok(Outcome::Opened(handle))
            }
            Ask::Len(inode) => {
                Ok(Outcome::Len(self.disk.file(*inode).map_or(0, |file| file.visible().len())))
            }
            Ask::List(path) => self.disk.list(path).map(Outcome::Entries),
            Ask::FreeSpace => Ok(Outcome::Len(self.free_bytes(machine))),
            Ask::Nothing | Ask::Read { .. } | Ask::Write { .. } | Ask::Seal(_) => Ok(Outcome::Done),
        }
    }

    fn free_bytes(&self, machine: &Machine) -> u64 {
        let capacity = machine.faults().capacity_bytes.unwrap_or(UNLIMITED_BYTES);
        capacity.saturating_sub(self.disk.used_bytes())
    }
}

// ---- completion

impl Storage {
    /// `None` when the driver goes on with the operation on its own.
    pub fn complete(&mut self, machine: &mut Machine, number: u64) -> Option<Passed> {
        let mut work = self.under_way.remove(&number).expect("an operation completes once");
        match work.take_stage() {
            Stage::Performed { outcome, seal } => {
                let outcome = outcome.and_then(|outcome| {
                    self.seal(machine, &work, seal)?;
                    Ok(outcome)
                });
                if let (Some(audit), Some(record), Ok(_)) = (&mut self.audit, work.record, &outcome) {
                    audit.completed(record, machine.now);
                }
                let passed = work.passed(Moment::Completed);
                machine.complete(work.waiter, outcome.unwrap_or_else(Outcome::Failed));
                Some(passed)
            }
            rest @ Stage::Submitted { .. } => {
                // A short write: the driver submits what is left.
                work.stage = rest;
                let delay = machine.disk_delay();
                machine.schedule(delay / 2, Event::Perform(number));
                machine.schedule(delay, Event::Complete(number));
                self.under_way.insert(number, work);
                None
            }
        }
    }

    fn seal(&mut self, machine: &mut Machine, work: &Work, seal: Seal) -> io::Result<()> {
        if matches!(seal, Seal::Nothing) {
            return Ok(());
        }
        if machine.faults().hits(&work.path) {
            self.counts.syncs += 1;
            let faults = &machine.config.faults;
            if faults.sync_error_at == Some(self.counts.syncs)
                || machine.rng.chance(faults.sync_error_permille)
            {
                machine.log(format_args!("fault sync error"));
                self.lose(work, seal);
                return Err(errno(libc::EIO));
            }
            if machine.rng.chance(faults.sync_lie_permille) {
                machine.log(format_args!("fault sync lie"));
                return Ok(());
            }
        }
        self.make_durable(machine, work, seal);
        Ok(())
    }

    fn make_durable(&mut self, machine: &Machine, work: &Work, seal: Seal) {
        match seal {
            Seal::Nothing => (),
            Seal::OwnChanges => {
                for (inode, number) in &work.changes {
                    if let Some(file) = self.disk.file_mut(*inode) {
                        file.sync_one(*number);
                    }
                    self.note_durable(*inode, *number..=*number, machine);
                }
            }
            Seal::File { inode, up_to } => {
                if let Some(file) = self.disk.file_mut(inode) {
                    file.sync_up_to(up_to);
                }
                self.note_durable(inode, 0..=up_to, machine);
            }
            Seal::Directory { inode, up_to } => self.disk.end_sync_dir(inode, up_to),
        }
    }

    fn note_durable(&mut self, inode: Inode, changes: std::ops::RangeInclusive<u64>, machine: &Machine) {
        if let Some(audit) = &mut self.audit {
            audit.durable(inode, changes, machine.now);
        }
    }

    /// What a failed sync should have covered is gone, except what other synced writes under way will
    /// report for themselves.
    fn lose(&mut self, work: &Work, seal: Seal) {
        match seal {
            Seal::Nothing => (),
            Seal::OwnChanges => work.changes.iter().for_each(|(inode, number)| {
                self.lose_changes(*inode, |change| change == *number);
            }),
            Seal::File { inode, up_to } => {
                let others: Vec<_> = self.under_way.values().flat_map(|work| work.changes.clone()).collect();
                self.lose_changes(inode, |change| change <= up_to && !others.contains(&(inode, change)));
            }
            Seal::Directory { inode, up_to } => self.disk.fail_sync_dir(inode, up_to),
        }
    }

    fn lose_changes(&mut self, inode: Inode, lost: impl Fn(u64) -> bool) {
        let Some(file) = self.disk.file_mut(inode) else { return };
        file.lose(&lost);
        if let Some(audit) = &mut self.audit {
            (1..=file.last_change())
                .filter(|change| lost(*change))
                .for_each(|change| audit.lost(inode, change));
        }
    }

    // ---- power loss

    pub fn after_crash(&self, policy: CrashPolicy, rng: &mut Rng) -> Disk {
        let survival = policy.draw(rng);
        let effects = self.under_way.values().filter_map(|work| match &work.stage {
            Stage::Submitted { effect, .. } => Some(effect.clone()),
            Stage::Performed { .. } => None,
        });
        let mut begun: Vec<Effect> = effects.filter(|_| survival.keeps(rng)).collect();
        rng.shuffle(&mut begun);
        let mut disk = self.disk.clone();
        for effect in begun {
            // What cannot be done any more (a rename of a file that is gone) does not happen.
            effect.apply(&mut disk).ok();
        }
        disk.after_crash(policy, rng)
    }
}

impl Work {
    fn take_stage(&mut self) -> Stage {
        let gone = Stage::Performed { outcome: Ok(Outcome::Done), seal: Seal::Nothing };
        std::mem::replace(&mut self.stage, gone)
    }

    fn passed(&self, moment: Moment) -> Passed {
        Passed { moment, operation: self.operation, changes_disk: self.changes_disk }
    }
}

/// An operation in the trace.
impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.operation, self.path)?;
        match &self.stage {
            Stage::Submitted { ask: Ask::Read { offset, buf, .. }, .. } => {
                write!(f, " {offset}+{}", buf.len())
            }
            Stage::Submitted { effect: Effect::Write { pages, .. }, ask: Ask::Write { buf, sync } } => {
                let offset = pages[0].page * BLOCK_BYTES as u64;
                write!(f, " {offset}+{} {sync:?} {}", buf.len(), hash(buf))
            }
            Stage::Submitted { effect: Effect::SetLen { len, .. }, .. } => write!(f, " {len}"),
            Stage::Submitted { effect: Effect::Rename { from, .. } | Effect::Link { from, .. }, .. } => {
                write!(f, " from {}", from.display())
            }
            _ => Ok(()),
        }
    }
}
