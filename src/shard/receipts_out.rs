//! Receipts on their way to the shards that a range moves to.
//!
//! Nothing in a receipt says which range its record is in, so all of the collection go; more than needed is
//! harmless. Most go while writes go on, the rest when they are stopped, before the new map is logged.
//!
//! Invariant: what is sent is durable here. A move that fails leaves true receipts behind, and no crash of this
//! shard makes them wrong.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::batch::Origin;
use super::message::{Request, ShipPart};
use super::node::Node;
use super::receipts::Entry;
use super::record::Refusal;
use super::transfer::{Patience, deliver};
use crate::io::executor::sync::promise;
use crate::types::{Lsn, ShardId};

/// Sends those that are told since a record behind `above`, to all shards that get a part; gives the last record
/// up to which they were sent.
pub(super) async fn send_receipts(
    node: &Node,
    patience: &Patience,
    parts: &[ShipPart],
    above: Lsn,
) -> Result<Lsn, Refusal> {
    let core = &patience.core;
    let to: BTreeSet<ShardId> = parts.iter().map(|part| part.to).filter(|to| *to != node.shard()).collect();
    let Some(first) = parts.first().filter(|_| !to.is_empty()) else { return Ok(above) };
    let (collection, upto) = {
        let engine = core.engine.borrow();
        if engine.receipts.is_empty() {
            return Ok(above);
        }
        (engine.tablets.get(first.from).ok_or(Refusal::Moved)?.collection, engine.applied())
    };
    core.durable_up_to(upto).await?;
    let since = (Bound::Excluded(above), Bound::Included(upto));
    let mut slice = core.runtime.slice();
    let mut after = None;
    loop {
        let (entries, last) = core.engine.borrow().receipts.of_collection(collection, since, after);
        if !entries.is_empty() {
            for shard in &to {
                deliver(node, patience, *shard, || Request::ShipReceipts(entries.clone())).await?;
            }
        }
        match last {
            Some(last) => after = Some(last),
            None => return Ok(upto),
        }
        slice.checkpoint().await;
    }
}

/// Logs what arrived; completes when it is durable.
pub(super) async fn take_in(node: &Node, entries: &[Entry]) -> Result<(), Refusal> {
    let core = node.core()?;
    let (promise, pending) = promise();
    core.submit_with(1, Origin::One(promise), |engine, ticket| engine.write_receipts(entries, ticket));
    pending.await.map(|_| ())
}
