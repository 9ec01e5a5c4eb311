//! Work on all shards that somebody asks for: shard 0 tells every shard to do its part, waits for all, and says
//! what was done. How far it is, is asked of the shards when somebody wants to know.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};

use super::control::WRITER;
use super::core::Core;
use super::message::{Reply, Request};
use super::node::Node;
use super::record::Refusal;
use super::store::policy::Goal;
use super::store::{compaction, reindex, warm};
use super::{checkpoint, serve};
use crate::io::executor::Class;
use crate::limits;
use crate::types::ShardId;

const RETRY: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Seal what was written, then merge all runs.
    Compact,
    /// Read what stays resident of all runs; values as well, as far as the cache has room.
    WarmUp { values: bool },
    /// Build the indexes of all runs anew.
    BuildIndexes,
}

impl Job {
    pub fn name(self) -> &'static str {
        match self {
            Job::Compact => "compact",
            Job::WarmUp { .. } => "warmup",
            Job::BuildIndexes => "rmi_build",
        }
    }
}

#[derive(Clone, Debug)]
pub enum Ask {
    // ---- to every shard; `number` tells one job from another
    Do {
        number: u64,
        job: Job,
    },
    HowFar {
        number: u64,
    },

    // ---- to shard 0
    Begin {
        job: Job,
    },
    Wait {
        job: Job,
    },
    /// A shard has begun a [`Chore`].
    Chore {
        number: u64,
        kind: &'static str,
        collection: String,
    },
    ChoreOver {
        number: u64,
    },
}

#[derive(Debug)]
pub enum Told {
    Done(Result<Value, Refusal>),
    /// From 0 to 1.
    Fraction(f64),
    Begun(Result<String, Refusal>),
    Heard,
}

/// How far a shard is with its part, in units of its own.
#[derive(Default)]
pub struct Progress {
    done: Cell<u64>,
    of: Cell<u64>,
}

impl Progress {
    pub fn begin(&self, of: u64) {
        self.of.set(of);
    }

    pub fn advance(&self, by: u64) {
        self.done.set(self.done.get() + by);
    }

    /// Of what was begun.
    pub fn set_fraction(&self, fraction: f64) {
        self.done.set((fraction * self.of.get() as f64) as u64);
    }

    fn set_left(&self, left: u64) {
        self.done.set(self.of.get().saturating_sub(left));
    }

    fn fraction(&self) -> f64 {
        match self.of.get() {
            0 => 0.0,
            of => (self.done.get() as f64 / of as f64).min(1.0),
        }
    }
}

/// What a core keeps of jobs.
#[derive(Default)]
pub struct Desk {
    here: RefCell<BTreeMap<u64, PartHere>>,
    /// Numbers of the last ones that have ended here.
    ended: RefCell<VecDeque<u64>>,
    /// Shard 0: what is behind operations.
    running: RefCell<BTreeMap<String, Running>>,
    /// Bytes of runs that a forced compaction has yet to bring down.
    pub compaction_left: Cell<u64>,
}

/// A part of a job that runs here, or a chore, which is no job.
struct PartHere {
    job: Option<Job>,
    progress: Rc<Progress>,
}

#[derive(Clone, Copy)]
struct Running {
    number: u64,
    /// Shards that do it.
    shards: usize,
}

impl Desk {
    fn begin(&self, number: u64, job: Option<Job>) -> Rc<Progress> {
        let progress = Rc::new(Progress::default());
        self.here.borrow_mut().insert(number, PartHere { job, progress: progress.clone() });
        progress
    }

    fn end(&self, number: u64) {
        self.here.borrow_mut().remove(&number);
        let mut ended = self.ended.borrow_mut();
        ended.push_back(number);
        if ended.len() > limits::OPERATION_ENTRIES_MAX {
            ended.pop_front();
        }
    }

    /// Of a job that has not come here yet, nothing is done.
    fn fraction(&self, number: u64) -> f64 {
        let here = self.here.borrow();
        let Some(PartHere { job, progress }) = here.get(&number) else {
            return if self.ended.borrow().contains(&number) { 1.0 } else { 0.0 };
        };
        if *job == Some(Job::Compact) && progress.of.get() > 0 {
            progress.set_left(self.compaction_left.get());
        }
        progress.fraction()
    }
}

impl Node {
    /// Does it on all shards, and tells what was done.
    pub async fn run_job(&self, job: Job) -> Result<Value, Refusal> {
        match self.ask_for_job(Ask::Wait { job }).await? {
            Told::Done(done) => done,
            other => unreachable!("a job answered with {other:?}"),
        }
    }

    /// As [`Node::run_job`], without waiting: gives the id of the operation.
    pub async fn begin_job(&self, job: Job) -> Result<String, Refusal> {
        match self.ask_for_job(Ask::Begin { job }).await? {
            Told::Begun(begun) => begun,
            other => unreachable!("the beginning of a job answered with {other:?}"),
        }
    }

    async fn ask_for_job(&self, ask: Ask) -> Result<Told, Refusal> {
        match self.call(WRITER, Request::Job(ask)).await {
            Reply::Job(told) => Ok(told),
            Reply::Done(Err(refusal)) => Err(refusal),
            other => unreachable!("a request for a job answered with {other:?}"),
        }
    }
}

pub(super) fn handle(node: &Node, core: &Rc<Core>, ask: Ask, answer: impl FnOnce(Told) + 'static) {
    let (task, here) = (node.clone(), core.clone());
    match ask {
        Ask::HowFar { number } => answer(Told::Fraction(core.jobs.fraction(number))),
        Ask::Begin { job } => answer(Told::Begun(begin(node, core, job))),
        Ask::Chore { number, kind, collection } => {
            begin_chore(node, core, number, kind, collection);
            answer(Told::Heard);
        }
        Ask::ChoreOver { number } => {
            end_chore(core, number);
            answer(Told::Heard);
        }
        Ask::Wait { job } => node.runtime().spawn(Class::Background, async move {
            let number = task.runtime().random();
            answer(Told::Done(run(&task, job, number).await));
        }),
        Ask::Do { number, job } => {
            let progress = core.jobs.begin(number, Some(job));
            node.runtime().spawn(Class::Background, async move {
                let done = work(&task, &here, job, &progress).await;
                here.jobs.end(number);
                answer(Told::Done(done));
            });
        }
    }
}

/// Long work of one shard that nobody asked for: told among the operations for as long as it runs.
pub(super) struct Chore {
    number: u64,
    progress: Rc<Progress>,
}

impl Chore {
    pub async fn begin(node: &Node, core: &Core, kind: &'static str, collection: &str) -> Chore {
        const PARTS: u64 = 1000;
        let number = node.runtime().random();
        let progress = core.jobs.begin(number, None);
        progress.begin(PARTS);
        let collection = collection.to_owned();
        // It is done all the same when nobody hears of it.
        drop(node.call(WRITER, Request::Job(Ask::Chore { number, kind, collection })).await);
        Chore { number, progress }
    }

    /// From 0 to 1.
    pub fn set_fraction(&self, fraction: f64) {
        self.progress.set_fraction(fraction);
    }

    /// Until shard 0 has heard it: what it has heard of must not run for ever.
    pub async fn end(self, node: &Node, core: &Core) {
        core.jobs.here.borrow_mut().remove(&self.number);
        let over = || node.call(WRITER, Request::Job(Ask::ChoreOver { number: self.number }));
        while let Reply::Done(Err(Refusal::Overloaded { .. })) = over().await {
            node.runtime().sleep(RETRY).await;
        }
    }
}

// ---- on shard 0

fn begin_chore(node: &Node, core: &Core, number: u64, kind: &'static str, collection: String) {
    let (now, id) = (node.runtime().now(), format!("{number:016x}"));
    if core.snapshots.operations.borrow_mut().note(&id, kind, collection, now) {
        core.jobs.running.borrow_mut().insert(id, Running { number, shards: 1 });
    }
}

fn end_chore(core: &Core, number: u64) {
    let id = format!("{number:016x}");
    core.jobs.running.borrow_mut().remove(&id);
    core.snapshots.operations.borrow_mut().forget(&id);
}

fn begin(node: &Node, core: &Rc<Core>, job: Job) -> Result<String, Refusal> {
    let runtime = node.runtime();
    let (number, id) = (runtime.random(), format!("{:016x}", runtime.random()));
    core.snapshots.operations.borrow_mut().begin(&id, job.name(), None, runtime.now())?;
    let running = Running { number, shards: node.shards() };
    core.jobs.running.borrow_mut().insert(id.clone(), running);
    let (node, core, operation) = (node.clone(), core.clone(), id.clone());
    runtime.clone().spawn(Class::Background, async move {
        let done = run(&node, job, number).await;
        if let Err(refusal) = &done {
            tracing::warn!(job = job.name(), %refusal, "work that was asked for failed");
        }
        core.jobs.running.borrow_mut().remove(&operation);
        core.snapshots.operations.borrow_mut().end(&operation, done);
    });
    Ok(id)
}

/// Brings what is told of an operation up to date.
pub(super) async fn refresh(node: &Node, core: &Core, operation: &str) {
    let running = core.jobs.running.borrow().get(operation).copied();
    let Some(Running { number, shards }) = running else { return };
    let mut sum = 0.0;
    for told in on_all(node, Ask::HowFar { number }).await {
        sum += match told {
            Ok(Told::Fraction(fraction)) => fraction,
            _ => 0.0,
        };
    }
    let of = shards * 1000;
    core.snapshots.operations.borrow_mut().advance(operation, (sum * 1000.0) as usize, of);
}

/// As `refresh`, of all that run.
pub(super) async fn refresh_all(node: &Node, core: &Core) {
    let running: Vec<String> = core.jobs.running.borrow().keys().cloned().collect();
    for operation in running {
        refresh(node, core, &operation).await;
    }
}

async fn run(node: &Node, job: Job, number: u64) -> Result<Value, Refusal> {
    let began = node.runtime().now();
    let mut shards = Vec::with_capacity(node.shards());
    let mut failed = None;
    // All are heard, also when one has failed.
    for (shard, told) in on_all(node, Ask::Do { number, job }).await.into_iter().enumerate() {
        match told {
            Ok(Told::Done(Ok(mut done))) => {
                done["shard"] = shard.into();
                shards.push(done);
            }
            Ok(Told::Done(Err(refusal))) | Err(refusal) => failed = failed.or(Some(refusal)),
            Ok(other) => unreachable!("a part of a job answered with {other:?}"),
        }
    }
    let ms = node.runtime().now().since(began) / 1_000_000;
    failed.map_or_else(|| Ok(json!({ "did": what_is_done(job), "ms": ms, "shards": shards })), Err)
}

pub fn what_is_done(job: Job) -> &'static str {
    match job {
        Job::Compact => "seal and compaction",
        Job::WarmUp { values: false } => "load of what stays in memory of the runs",
        Job::WarmUp { values: true } => "load of what stays in memory of the runs, and of values",
        Job::BuildIndexes => "build of the indexes of the runs",
    }
}

/// Asks every shard at the same time, again where the inbox was full; the answers in order.
async fn on_all(node: &Node, ask: Ask) -> Vec<Result<Told, Refusal>> {
    let call = |shard: ShardId| node.call(shard, Request::Job(ask.clone()));
    let asked: Vec<_> = node.all_shards().map(|shard| (shard, call(shard))).collect();
    let mut all = Vec::with_capacity(asked.len());
    for (shard, mut reply) in asked {
        all.push(loop {
            match reply.await {
                Reply::Job(told) => break Ok(told),
                Reply::Done(Err(Refusal::Overloaded { .. })) => {
                    node.runtime().sleep(RETRY).await;
                    reply = call(shard);
                }
                Reply::Done(Err(refusal)) => break Err(refusal),
                other => unreachable!("a part of a job answered with {other:?}"),
            }
        });
    }
    all
}

// ---- on every shard

async fn work(node: &Node, core: &Rc<Core>, job: Job, progress: &Progress) -> Result<Value, Refusal> {
    match job {
        Job::Compact => compact(node, core, progress).await,
        Job::WarmUp { values } => Ok(warm::warm_up(core, values, progress).await),
        Job::BuildIndexes => Ok(reindex::build_all(core, progress).await),
    }
}

async fn compact(node: &Node, core: &Rc<Core>, progress: &Progress) -> Result<Value, Refusal> {
    let before = serve::stats(node);
    checkpoint::request(node).await?;
    let left = {
        let engine = core.engine.borrow();
        Goal::all(engine.store.levels()).bytes(engine.store.levels())
    };
    core.jobs.compaction_left.set(left);
    progress.begin(left);
    compaction::request(node).await?;
    let after = serve::stats(node);
    Ok(json!({
        "sealed_bytes": after.checkpoint_bytes - before.checkpoint_bytes,
        "compactions": after.compactions - before.compactions,
        "read_bytes": after.compaction_read_bytes - before.compaction_read_bytes,
        "written_bytes": after.compaction_written_bytes - before.compaction_written_bytes,
        "runs_before": before.runs,
        "runs": after.runs,
        "run_bytes_before": before.run_bytes,
        "run_bytes": after.run_bytes,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_done_here_only_when_it_was_here() {
        let desk = Desk::default();
        assert_eq!(desk.fraction(7), 0.0, "it has not come yet");
        let progress = desk.begin(7, Some(Job::BuildIndexes));
        progress.begin(4);
        progress.advance(1);
        assert_eq!(desk.fraction(7), 0.25);
        progress.set_fraction(0.5);
        assert_eq!(desk.fraction(7), 0.5);
        desk.end(7);
        assert_eq!(desk.fraction(7), 1.0);
        (100..).take(limits::OPERATION_ENTRIES_MAX).for_each(|number| desk.end(number));
        assert!(desk.ended.borrow().len() <= limits::OPERATION_ENTRIES_MAX);
    }
}
