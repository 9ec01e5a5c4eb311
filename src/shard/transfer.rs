//! Moving a part of a tablet to another shard while it is in use.
//!
//! The owner sends the records in rounds: first all, then what changed meanwhile, until little is
//! left; then it stops writes to the tablet (they wait at their callers), lets those in flight settle
//! and sends the rest. The new owner logs every record under the id of the tablet to be, its version
//! kept. Reads go on at the old owner until the new map is in force.

use std::ops::Bound;
use std::time::Duration;

use super::batch::Origin;
use super::core::Core;
use super::delta::Version;
use super::key::Key;
use super::message::{Reply, Request, ShipPart};
use super::node::Node;
use super::record::{Refusal, Scan};
use super::store::DeltaPage;
use crate::io::executor::sync::promise;
use crate::limits;
use crate::types::{CollectionId, Lsn, Seq, TabletId, WallMs};

const RETRY: Duration = Duration::from_millis(2);

/// A record on its way: it keeps its version; its place in the new log is new.
#[derive(Clone, Debug)]
pub struct Cargo {
    pub key: Key,
    pub version: Version,
}

/// Sends the parts away; gives the version from which the new tablets go on. The tablet takes no
/// writes afterwards, until a new map is installed.
pub async fn ship_out(node: &Node, tablet: TabletId, parts: &[ShipPart]) -> Result<Seq, Refusal> {
    let core = node.core()?.clone();
    // From now on the delta keeps what it has, so the rounds behind the first need to look nowhere else.
    core.engine.borrow_mut().tablets.get_mut(tablet).ok_or(Refusal::Moved)?.moving = true;
    let mut sent_up_to = core.engine.borrow().applied();
    for part in parts {
        ship_all(node, &core, tablet, part).await?;
    }
    for _ in 1..limits::SHIP_ROUNDS_MAX {
        let applied = core.engine.borrow().applied();
        let sent = ship_round(node, &core, tablet, parts, sent_up_to).await?;
        sent_up_to = applied;
        if sent < limits::SHIP_FREEZE_RECORDS {
            break;
        }
    }
    core.engine.borrow_mut().tablets.get_mut(tablet).ok_or(Refusal::Moved)?.frozen = true;
    await_staged(&core, tablet).await?;
    ship_round(node, &core, tablet, parts, sent_up_to).await?;
    let moved_records = count_moved(node, parts).await;
    let mut engine = core.engine.borrow_mut();
    let tablet = engine.tablets.get_mut(tablet).ok_or(Refusal::Moved)?;
    tablet.moved_records = moved_records;
    Ok(tablet.next_seq)
}

/// Records that the new owners have now.
async fn count_moved(node: &Node, parts: &[ShipPart]) -> u64 {
    let mut sum = 0;
    for part in parts {
        loop {
            match node.call(part.to, Request::CountRecords { tablet: part.tablet }).await {
                Reply::Records(records) => break sum += records,
                // Its inbox is full.
                _ => node.runtime().sleep(RETRY).await,
            }
        }
    }
    sum
}

/// Sends every record of a part, from the delta and the runs.
async fn ship_all(node: &Node, core: &Core, tablet: TabletId, part: &ShipPart) -> Result<(), Refusal> {
    let mut scan = Scan {
        start: Bound::Included(part.start.clone()),
        end: part.end.clone().map_or(Bound::Unbounded, Bound::Excluded),
        reverse: false,
        limit: limits::SHIP_RECORDS_MAX,
    };
    let mut slice = core.runtime.slice();
    loop {
        let (collection, page) = {
            let engine = core.engine.borrow();
            let present = engine.tablets.get(tablet).ok_or(Refusal::Moved)?;
            let page = DeltaPage::of(present, &scan, WallMs::ZERO, engine.store.levels());
            (present.collection, page)
        };
        let (mut records, mut last, mut seen, mut bytes) = (Vec::new(), None, 0, 0);
        let walked = page.walk(async |key, stored| {
            seen += 1;
            last = Some(key.clone());
            let version = stored.version().await?;
            if let Some(payload) = &version.payload {
                bytes += payload.as_bytes().len();
                records.push(Cargo { key: key.clone(), version });
            }
            Ok(seen < limits::SHIP_RECORDS_MAX && bytes < limits::SCAN_PAGE_BYTES_MAX)
        });
        let more = walked.await.map_err(|error| core.note_damage(&error))?;
        if !records.is_empty() {
            deliver(node, part, collection, records).await?;
        }
        match last.filter(|_| more) {
            Some(last) => scan.start = Bound::Excluded(last),
            None => return Ok(()),
        }
        slice.checkpoint().await;
    }
}

/// Sends every version above `from` that the delta has; gives how many.
async fn ship_round(
    node: &Node,
    core: &Core,
    tablet: TabletId,
    parts: &[ShipPart],
    from: Lsn,
) -> Result<usize, Refusal> {
    let mut sent = 0;
    let mut slice = core.runtime.slice();
    for part in parts {
        let mut at = Bound::Included(part.start.clone());
        loop {
            let (collection, records, next) = collect(core, tablet, part, &at, from)?;
            sent += records.len();
            if !records.is_empty() {
                deliver(node, part, collection, records).await?;
            }
            match next {
                Some(key) => at = Bound::Excluded(key),
                None => break,
            }
            slice.checkpoint().await;
        }
    }
    Ok(sent)
}

/// The next stretch of a part: the versions above `from` in it, and the key to go on behind.
#[allow(clippy::type_complexity)]
fn collect(
    core: &Core,
    tablet: TabletId,
    part: &ShipPart,
    at: &Bound<Key>,
    from: Lsn,
) -> Result<(CollectionId, Vec<Cargo>, Option<Key>), Refusal> {
    let engine = core.engine.borrow();
    let tablet = engine.tablets.get(tablet).ok_or(Refusal::Moved)?;
    let end = part.end.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    let stretch = tablet.delta.range(at.as_ref(), end).take(limits::SHIP_RECORDS_MAX);
    let mut records = Vec::new();
    let mut next = None;
    for (key, version) in stretch {
        next = Some(key.clone());
        if version.lsn > from {
            records.push(Cargo { key: key.clone(), version: version.clone() });
        }
    }
    Ok((tablet.collection, records, next))
}

async fn deliver(
    node: &Node,
    part: &ShipPart,
    collection: CollectionId,
    records: Vec<Cargo>,
) -> Result<(), Refusal> {
    loop {
        let request = Request::ShipIn { tablet: part.tablet, collection, records: records.clone() };
        match node.call(part.to, request).await {
            Reply::Done(Ok(())) => return Ok(()),
            // The new owner is busy; a record sent twice is the same version under a later LSN.
            Reply::Done(Err(Refusal::Overloaded { .. } | Refusal::NotReady)) => {
                node.runtime().sleep(RETRY).await;
            }
            Reply::Done(Err(refusal)) => return Err(refusal),
            other => unreachable!("a shipment answered with {other:?}"),
        }
    }
}

async fn await_staged(core: &Core, tablet: TabletId) -> Result<(), Refusal> {
    loop {
        let progress = core.progress.wait();
        {
            let engine = core.engine.borrow();
            if engine.is_poisoned() {
                return Err(Refusal::NotReady);
            }
            if !engine.tablets.get(tablet).ok_or(Refusal::Moved)?.has_staged() {
                return Ok(());
            }
        }
        progress.await;
    }
}

/// Logs what arrived; completes when all of it is durable.
pub async fn ship_in(
    node: &Node,
    tablet: TabletId,
    collection: CollectionId,
    records: Vec<Cargo>,
) -> Result<(), Refusal> {
    let core = node.core()?.clone();
    let mut arrivals = Vec::with_capacity(records.len());
    for cargo in records {
        let before = core.engine.borrow().before_arrival(tablet, collection, &cargo.key);
        let before = match before {
            Ok(before) => before,
            Err(read) => core.read_before(read).await?,
        };
        arrivals.push((cargo, before.is_record()));
    }
    let (promise, pending) = promise();
    let count = arrivals.len();
    let mut arrivals = arrivals.into_iter();
    core.submit_with(count, Origin::Many(promise), |engine, ticket| {
        let (cargo, replaces) = arrivals.next().expect("as many records as were counted");
        engine.write_arrival(tablet, collection, cargo, replaces, ticket)
    });
    pending.await.into_iter().try_for_each(|result| result.map(|_| ()))
}
