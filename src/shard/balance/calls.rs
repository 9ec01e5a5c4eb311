//! What cores say to one another about load, and who answers it.

use std::rc::Rc;

use super::driver::{self, Done};
use super::load;
use super::plan::Step;
use super::{Reason, TabletLoad};
use crate::io::executor::Class;
use crate::shard::control::{ChangeTurn, Changed, WRITER};
use crate::shard::core::Core;
use crate::shard::key::Key;
use crate::shard::message::{Reply, Request};
use crate::shard::node::Node;
use crate::shard::record::Refusal;
use crate::shard::reshape::{self, Reshape};
use crate::shard::stats::ShardStats;
use crate::types::TabletId;

#[derive(Debug)]
pub enum Ask {
    // ---- to the owner
    Loads,
    Quantiles { tablet: TabletId },

    // ---- to shard 0
    Plan,
    Begin,
    Run,
    Reshape(Reshape),
}

#[derive(Debug)]
pub enum Told {
    Loads(Vec<TabletLoad>),
    Quantiles(Result<Vec<Key>, Refusal>),
    Plan(Result<Vec<Step>, Refusal>),
    Begun(Result<String, Refusal>),
    Done(Result<Done, Refusal>),
    Changed(Changed),
}

pub(in crate::shard) fn handle(node: &Node, core: &Rc<Core>, ask: Ask, answer: impl FnOnce(Told) + 'static) {
    let (task, core) = (node.clone(), core.clone());
    if let Ask::Begin = ask {
        return answer(Told::Begun(driver::begin(node, &core)));
    }
    node.runtime().spawn(Class::Background, async move {
        answer(match ask {
            Ask::Loads => Told::Loads(load::loads(&core).await),
            Ask::Quantiles { tablet } => Told::Quantiles(load::quantiles(&core, tablet).await),
            Ask::Plan => Told::Plan(driver::plan_now(&task, &core).await),
            Ask::Run => Told::Done(driver::rebalance(&task, &core, &|_, _| ()).await),
            Ask::Reshape(change) => {
                let turn = ChangeTurn::take(&task).await;
                Told::Changed(reshape::carry_out(&task, &turn, &change).await)
            }
            Ask::Begin => unreachable!("answered at once"),
        });
    });
}

pub(in crate::shard) fn fill_stats(core: &Core, stats: &mut ShardStats) {
    let desk = &core.balance;
    let steps = desk.steps.borrow();
    let count = |reason: Reason| (reason.name(), steps.get(&reason).copied().unwrap_or(0));
    stats.range_changes = Reason::ALL.into_iter().map(count).collect();
    stats.range_change_failures = desk.failures.get();
    stats.largest_to_mean = desk.ratio.get();
}

impl Node {
    /// What every shard has, in their order.
    pub async fn loads(&self) -> Result<Vec<Vec<TabletLoad>>, Refusal> {
        let ask = |shard| self.call(shard, Request::Balance(Ask::Loads));
        let asked: Vec<_> = self.all_shards().map(ask).collect();
        let mut all = Vec::with_capacity(asked.len());
        for reply in asked {
            match reply.await {
                Reply::Balance(Told::Loads(loads)) => all.push(loads),
                Reply::Done(Err(refusal)) => return Err(refusal),
                other => unreachable!("loads answered with {other:?}"),
            }
        }
        Ok(all)
    }

    /// What a rebalancing would do now.
    pub async fn plan_rebalance(&self) -> Result<Vec<Step>, Refusal> {
        match self.ask_balancer(Ask::Plan).await? {
            Told::Plan(plan) => plan,
            other => unreachable!("a plan answered with {other:?}"),
        }
    }

    /// Makes the shards even as well as it can; gives what was done.
    pub async fn rebalance(&self) -> Result<Done, Refusal> {
        match self.ask_balancer(Ask::Run).await? {
            Told::Done(done) => done,
            other => unreachable!("a rebalancing answered with {other:?}"),
        }
    }

    /// As [`Node::rebalance`], without waiting: gives the id of the operation.
    pub async fn begin_rebalance(&self) -> Result<String, Refusal> {
        match self.ask_balancer(Ask::Begin).await? {
            Told::Begun(begun) => begun,
            other => unreachable!("the beginning of a rebalancing answered with {other:?}"),
        }
    }

    /// Replaces some tablets by others, whatever the balancer thinks of it.
    pub async fn reshape(&self, change: Reshape) -> Changed {
        match self.ask_balancer(Ask::Reshape(change)).await? {
            Told::Changed(changed) => changed,
            other => unreachable!("a change of tablets answered with {other:?}"),
        }
    }

    async fn ask_balancer(&self, ask: Ask) -> Result<Told, Refusal> {
        match self.call(WRITER, Request::Balance(ask)).await {
            Reply::Balance(told) => Ok(told),
            Reply::Done(Err(refusal)) => Err(refusal),
            other => unreachable!("a request for the balancer answered with {other:?}"),
        }
    }
}
