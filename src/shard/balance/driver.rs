//! Carries out what the planner says: on shard 0, in the background, one step at a time.
//!
//! Behind each step everything is asked anew: a step takes seconds, and writes go on. So of a plan only the first
//! step is taken, and the rest of it is a forecast.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use serde::Serialize;

use super::calls::{Ask, Told};
use super::plan::{self, Aims, Range, Step};
use super::{Reason, TabletLoad};
use crate::io::executor::Class;
use crate::limits;
use crate::shard::catalogue::{Catalogue, CatalogueError, Collection};
use crate::shard::control::ChangeTurn;
use crate::shard::core::Core;
use crate::shard::key::Key;
use crate::shard::message::{Reply, Request};
use crate::shard::node::Node;
use crate::shard::record::Refusal;
use crate::shard::reshape::{self, Reshape};
use crate::types::{Epoch, ShardId, TabletId};

/// What a rebalancing came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Done {
    pub steps: u64,
    /// Largest shard over the mean, before and after.
    pub before: f64,
    pub after: f64,
}

/// Looks every now and then, as long as the shard lives.
pub async fn keep_balancing(node: Node, core: Rc<Core>) {
    let period = node.inner().options.balance.period;
    if period.is_zero() {
        return;
    }
    // Once something had to be done about sizes it is done well.
    let mut acting = false;
    let mut pause = limits::BALANCE_RETRY;
    loop {
        node.runtime().sleep(period).await;
        if core.engine.borrow().is_poisoned() || core.balance.busy.replace(true) {
            continue;
        }
        let aims = aims(&node);
        let taken = take_step(&node, &core, if acting { aims.aim } else { aims.act }).await;
        core.balance.busy.set(false);
        match taken {
            Ok(reason) => {
                acting = reason == Some(Reason::Size);
                pause = limits::BALANCE_RETRY;
            }
            // The map was just changing.
            Err(Refusal::NotReady) => {}
            Err(refusal) => {
                core.balance.failures.set(core.balance.failures.get() + 1);
                tracing::warn!(%refusal, "shards were not made even; tried again later");
                node.runtime().sleep(pause).await;
                pause = (2 * pause).min(limits::BALANCE_RETRY_MAX);
            }
        }
    }
}

fn aims(node: &Node) -> Aims {
    let options = node.inner().options.balance;
    let horizon = 3.0 * limits::BALANCE_PERIOD.as_secs_f64();
    Aims::new(node.shards(), options.bytes_min, options.heat_min, horizon)
}

/// What would be done if it were asked for.
pub(super) async fn plan_now(node: &Node, core: &Core) -> Result<Vec<Step>, Refusal> {
    let aims = aims(node);
    let seen = Seen::look(node, core, &aims, aims.aim).await?;
    Ok(plan::plan(seen.ranges, &aims, aims.aim))
}

/// Begins a rebalancing as an operation that can be asked for.
pub(super) fn begin(node: &Node, core: &Rc<Core>) -> Result<String, Refusal> {
    let runtime = node.runtime();
    let id = format!("{:016x}", runtime.random());
    core.snapshots.operations.borrow_mut().begin(&id, "rebalance", None, runtime.now())?;
    let (node, core, operation) = (node.clone(), core.clone(), id.clone());
    runtime.clone().spawn(Class::Background, async move {
        let progress = |done, of| core.snapshots.operations.borrow_mut().advance(&operation, done, of);
        let done = rebalance(&node, &core, &progress).await;
        let told = done.map(|done| serde_json::to_value(done).expect("plain numbers"));
        core.snapshots.operations.borrow_mut().end(&operation, told);
    });
    Ok(id)
}

/// Takes steps until there is none. `progress`: steps done, of how many as it seems.
pub(super) async fn rebalance(
    node: &Node,
    core: &Core,
    progress: &dyn Fn(usize, usize),
) -> Result<Done, Refusal> {
    while core.balance.busy.replace(true) {
        node.runtime().sleep(limits::BALANCE_PERIOD / 4).await;
    }
    let aims = aims(node);
    let outcome = async {
        let mut done = Done::default();
        for count in 0..limits::BALANCE_STEPS_MAX {
            let seen = Seen::look_until_seen(node, core, &aims, aims.aim).await?;
            done.after = plan::ratio(&seen.ranges, node.shards());
            if count == 0 {
                done.before = done.after;
            }
            let plan = plan::plan(seen.ranges.clone(), &aims, aims.aim);
            let Some(step) = plan.first() else { break };
            progress(count, count + plan.len());
            done.steps += u64::from(seen.carry_out(node, core, step).await?);
        }
        Ok::<_, Refusal>(done)
    };
    let outcome = outcome.await;
    core.balance.busy.set(false);
    outcome
}

/// Takes the first step of a plan, if there is one; gives what it was for.
async fn take_step(node: &Node, core: &Core, from: f64) -> Result<Option<Reason>, Refusal> {
    let aims = aims(node);
    let seen = Seen::look(node, core, &aims, from).await?;
    match plan::next_step(&seen.ranges, &aims, from) {
        Some(step) => seen.carry_out(node, core, &step).await.map(|_| Some(step.reason)),
        None => Ok(None),
    }
}

/// The map and the ranges on it, as of one moment.
struct Seen {
    map: Arc<Catalogue>,
    ranges: Vec<Range>,
}

impl Seen {
    /// Looks again when the map was just changing, or a tablet being counted; not for ever.
    async fn look_until_seen(node: &Node, core: &Core, aims: &Aims, from: f64) -> Result<Seen, Refusal> {
        for _ in 1..limits::BALANCE_LOOK_ATTEMPTS_MAX {
            match Seen::look(node, core, aims, from).await {
                Err(Refusal::NotReady) => node.runtime().sleep(limits::BALANCE_PERIOD / 4).await,
                looked => return looked,
            }
        }
        Seen::look(node, core, aims, from).await
    }

    async fn look(node: &Node, core: &Core, aims: &Aims, from: f64) -> Result<Seen, Refusal> {
        let loads = node.loads().await?;
        let map = node.catalogue();
        let settled = core.balance.settled_epoch(node.runtime().now());
        let (mut ranges, mut owners) = (Vec::new(), Vec::new());
        let mut slice = node.runtime().slice();
        let loads: Vec<BTreeMap<TabletId, TabletLoad>> = loads
            .into_iter()
            .map(|loads| loads.into_iter().map(|load| (load.tablet, load)).collect())
            .collect();
        for collection in map.collections.values() {
            for (index, tablet) in collection.tablets.iter().enumerate() {
                // A map that has changed since is looked at next time, and so is what is being counted.
                let load = loads[usize::from(tablet.owner.0)].get(&tablet.id);
                let load = load.filter(|load| !load.counting).ok_or(Refusal::NotReady)?;
                ranges.push(range_of(collection, index, load, settled));
                owners.push((tablet.owner, tablet.id));
                slice.checkpoint().await;
            }
        }
        core.balance.ratio.set(plan::ratio(&ranges, node.shards()));
        for index in plan::wanted_keys(&ranges, aims, from) {
            let (owner, tablet) = owners[index];
            ranges[index].keys = quantiles(node, owner, tablet).await?;
        }
        Ok(Seen { map, ranges })
    }

    /// True when the step was taken; false when the map has changed before.
    async fn carry_out(&self, node: &Node, core: &Core, step: &Step) -> Result<bool, Refusal> {
        let collection = self.map.by_id(step.collection).expect("the plan is of this map");
        let id = |start: &Key| collection.tablet_of(start).id;
        let sources = step.sources.iter().map(id).collect();
        let change = Reshape { collection: collection.id, sources, targets: step.targets.clone() };
        let began = node.runtime().now();
        let turn = ChangeTurn::take(node).await;
        let before = node.epoch();
        let changed = reshape::carry_out(node, &turn, &change).await?;
        drop(turn);
        let took_ms = node.runtime().now().since(began) / 1_000_000;
        let (kind, reason, name) = (step.kind.name(), step.reason.name(), &collection.name);
        match changed {
            Ok(_) => {
                core.balance.note_step(step.reason, node.runtime().now(), before);
                let to: Vec<u16> = step.targets.iter().map(|target| target.owner.0).collect();
                let (bytes, seen) = (step.bytes, core.balance.ratio.get());
                tracing::info!(
                    kind,
                    reason,
                    collection = name,
                    ?to,
                    bytes,
                    largest_to_mean = seen,
                    took_ms,
                    "ranges changed"
                );
                Ok(true)
            }
            // It would be tried again and again.
            Err(CatalogueError::TooLarge) => Err(Refusal::Overloaded { queue: "map of ranges" }),
            Err(error) => {
                tracing::info!(kind, reason, collection = name, %error, "ranges stay as they are");
                Ok(false)
            }
        }
    }
}

fn range_of(collection: &Collection, index: usize, load: &TabletLoad, settled: Epoch) -> Range {
    let tablet = &collection.tablets[index];
    let of_record = load.bytes as f64 / load.records.max(1) as f64;
    Range {
        collection: collection.id,
        start: tablet.start.clone(),
        end: collection.end_of(index).cloned(),
        owner: tablet.owner,
        bytes: load.bytes,
        requests: load.reads_per_s + load.writes_per_s,
        growth: if load.front.is_some() { load.writes_per_s * of_record } else { 0.0 },
        front: load.front.clone(),
        keys: Vec::new(),
        asked: load.asked.clone(),
        fixed: collection.is_hashed(),
        fresh: tablet.epoch > settled,
    }
}

async fn quantiles(node: &Node, owner: ShardId, tablet: TabletId) -> Result<Vec<Key>, Refusal> {
    match node.call(owner, Request::Balance(Ask::Quantiles { tablet })).await {
        Reply::Balance(Told::Quantiles(keys)) => keys,
        Reply::Done(Err(refusal)) => Err(refusal),
        other => unreachable!("quantiles answered with {other:?}"),
    }
}
