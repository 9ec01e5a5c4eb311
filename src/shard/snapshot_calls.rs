//! What cores say to one another about snapshots, and who answers it.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use super::core::Core;
use super::jobs;
use super::message::{Reply, Request};
use super::node::Node;
use super::operations::Operation;
use super::record::Refusal;
use super::snapshot::{self, Snapshot};
use super::snapshot_part::{self, Linked};
use crate::io::executor::Class;

const RETRY: Duration = Duration::from_millis(1);

#[derive(Clone, Debug)]
pub enum Ask {
    // ---- from shard 0, to all; `number` tells one snapshot from another
    /// Apply and answer nothing from now on.
    Hold {
        number: u64,
    },
    /// Note where you are.
    Cut {
        number: u64,
    },
    /// Go on; forget what was noted unless it is wanted.
    Release {
        number: u64,
        wanted: bool,
    },
    /// Link what was noted, in a directory of your own below this one.
    Link {
        number: u64,
        into: PathBuf,
    },

    // ---- to shard 0
    Take,
    Begin,
    List,
    Drop {
        id: String,
    },
    Operation {
        id: String,
    },
    Operations,
}

#[derive(Debug)]
pub enum Told {
    Done(Result<(), Refusal>),
    Linked(Result<Linked, Refusal>),
    Taken(Result<Snapshot, Refusal>),
    Begun(Result<String, Refusal>),
    Listed(Result<Vec<Snapshot>, Refusal>),
    Dropped(Result<bool, Refusal>),
    Operation(Option<Operation>),
    Operations(Vec<Operation>),
}

pub(super) fn handle(node: &Node, core: &Rc<Core>, ask: Ask, answer: impl FnOnce(Told) + 'static) {
    let (task, here) = (node.clone(), core.clone());
    match ask {
        Ask::Hold { number } => answer(Told::Done(snapshot_part::hold(core, number))),
        Ask::Cut { number } => answer(Told::Done(snapshot_part::cut(core, number))),
        Ask::Release { number, wanted } => {
            snapshot_part::release(core, number, wanted);
            answer(Told::Done(Ok(())));
        }
        Ask::Begin => answer(Told::Begun(snapshot::begin(node, core))),
        Ask::Operation { id } => node.runtime().spawn(Class::Foreground, async move {
            jobs::refresh(&task, &here, &id).await;
            let found = here.snapshots.operations.borrow().find(&id, task.runtime().now());
            answer(Told::Operation(found));
        }),
        Ask::Operations => node.runtime().spawn(Class::Foreground, async move {
            jobs::refresh_all(&task, &here).await;
            let all = here.snapshots.operations.borrow().all(task.runtime().now());
            answer(Told::Operations(all));
        }),
        Ask::Link { number, into } => node.runtime().spawn(Class::Background, async move {
            answer(Told::Linked(snapshot_part::link(&here, number, &into).await));
        }),
        Ask::Take => node.runtime().spawn(Class::Foreground, async move {
            answer(Told::Taken(snapshot::take(&task, &here, &|_, _| ()).await));
        }),
        Ask::List => node.runtime().spawn(Class::Foreground, async move {
            answer(Told::Listed(snapshot::list(&task).await));
        }),
        Ask::Drop { id } => node.runtime().spawn(Class::Background, async move {
            answer(Told::Dropped(snapshot::remove(&task, &here, &id).await));
        }),
    }
}

/// Asks every shard at the same time; waits for all answers, also when one is no.
pub(super) async fn all(node: &Node, ask: impl Fn() -> Ask) -> Result<(), Refusal> {
    let asked: Vec<_> = node.all_shards().map(|shard| node.call(shard, Request::Snapshot(ask()))).collect();
    let mut outcome = Ok(());
    for reply in asked {
        let done = match reply.await {
            Reply::Snapshot(Told::Done(done)) | Reply::Done(done) => done,
            other => unreachable!("a step of a snapshot answered with {other:?}"),
        };
        outcome = outcome.and(done);
    }
    outcome
}

/// Asks every shard at the same time, and again where the inbox was full: what must arrive.
pub(super) async fn at_last(node: &Node, ask: Ask) -> Vec<Told> {
    let asked: Vec<_> =
        node.all_shards().map(|shard| (shard, node.call(shard, Request::Snapshot(ask.clone())))).collect();
    let mut all = Vec::with_capacity(asked.len());
    for (shard, mut reply) in asked {
        all.push(loop {
            match reply.await {
                Reply::Snapshot(told) => break told,
                Reply::Done(Err(Refusal::Overloaded { .. })) => {
                    node.runtime().sleep(RETRY).await;
                    reply = node.call(shard, Request::Snapshot(ask.clone()));
                }
                Reply::Done(done) => break Told::Done(done),
                other => unreachable!("a step of a snapshot answered with {other:?}"),
            }
        });
    }
    all
}
