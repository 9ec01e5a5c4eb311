//! Moving parts of tablets to other tablets, most often on other shards, while they are in use.
//!
//! The owner walks the records and sends them, and in between what was written behind the walk meanwhile
//! ([`super::outgoing`]). Then it sends what changed in rounds, until little is left; then it stops writes to the
//! tablets (they wait at their callers), lets those in flight settle and sends the rest. The new owner logs every
//! record under the id of the tablet to be, its version kept. Reads go on at the old owner until the new map is in
//! force.
//!
//! What is written is held to a rate when it comes faster than it can be sent, and writes are stopped at the end: a
//! move that would make others wait for too long is given up all the same. Nothing of it counts then.
//!
//! Invariant: a version of a key is sent when all that was sent of the key before has arrived. The new owner
//! takes what comes later as newer.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::Bound;
use std::rc::Rc;
use std::time::Duration;

use super::batch::Origin;
use super::core::Core;
use super::delta::Version;
use super::key::Key;
use super::message::{Reply, Request, ShipPart};
use super::node::Node;
use super::outgoing::Outgoing;
use super::receipts_out::send_receipts;
use super::record::{Refusal, Scan};
use super::store::DeltaPage;
use super::tablet::Tablet;
use crate::io::executor::Class;
use crate::io::executor::sync::{Pending, promise};
use crate::limits;
use crate::types::{CollectionId, Lsn, Mono, Seq, ShardId, TabletId, WallMs};

pub(super) const RETRY: Duration = Duration::from_millis(2);

// Why a move is given up.

/// Writes come faster than they can be sent on.
const TOO_MUCH_CHANGED: Refusal = Refusal::Overloaded { queue: "queue of changes to a range that moves" };
/// Writes would be stopped for too long.
const STOPPED_TOO_LONG: Refusal = Refusal::Overloaded { queue: "queue of writes to a range that moves" };
/// The new owner has no room.
const REFUSED_TOO_LONG: Refusal = Refusal::Overloaded { queue: "queue of a range that arrives" };
/// What is still under way when the move has ended for another reason.
const ENDED: Refusal = Refusal::NotReady;

/// A record on its way: it keeps its version; its place in the new log is new.
#[derive(Clone, Debug)]
pub struct Cargo {
    pub key: Key,
    pub version: Version,
}

/// Records of a tablet to be.
#[derive(Clone, Debug)]
pub struct Shipment {
    pub tablet: TabletId,
    pub collection: CollectionId,
    pub records: Vec<Cargo>,
    /// Until all has arrived.
    pub writes_wait: bool,
}

/// Sends the parts of some tablets away; gives the version from which the new tablets go on. The tablets take no
/// writes afterwards, until a new map is installed.
pub async fn ship_out(node: &Node, sources: &[TabletId], parts: &[ShipPart]) -> Result<Seq, Refusal> {
    let patience = Rc::new(Patience::new(node.core()?, sources));
    let shipped = ship_in_rounds(node, &patience, sources, parts).await;
    patience.end(parts).await;
    shipped
}

async fn ship_in_rounds(
    node: &Node,
    patience: &Rc<Patience>,
    sources: &[TabletId],
    parts: &[ShipPart],
) -> Result<Seq, Refusal> {
    on_each(&patience.core, sources, |tablet| {
        let own = parts.iter().filter(|part| part.from == tablet.id);
        tablet.outgoing = own.map(Outgoing::new).collect();
    })?;
    for part in parts {
        ship_all(node, patience, part).await?;
    }
    // Most of them now, and the few that come until then when writes are stopped.
    let told = send_receipts(node, patience, parts, Lsn::ZERO).await?;
    let mut left = Sent::default();
    for _ in 1..limits::SHIP_ROUNDS_MAX {
        left = ship_round(node, patience, parts, false).await?;
        if left.records < limits::SHIP_FREEZE_RECORDS && left.bytes < limits::SHIP_FREEZE_BYTES {
            break;
        }
    }
    if left.records > limits::SHIP_FREEZE_RECORDS_MAX || left.bytes > limits::SHIP_FREEZE_BYTES_MAX {
        return Err(TOO_MUCH_CHANGED);
    }
    let rest = ship_the_rest(node, patience, sources, parts, told);
    node.runtime().timeout(limits::SHIP_FREEZE_TIME_MAX, rest).await.unwrap_or(Err(STOPPED_TOO_LONG))
}

/// Stops writes, and sends what is left. May be dropped when it takes too long: writes are taken again by the next
/// map.
async fn ship_the_rest(
    node: &Node,
    patience: &Rc<Patience>,
    sources: &[TabletId],
    parts: &[ShipPart],
    told: Lsn,
) -> Result<Seq, Refusal> {
    let core = &patience.core;
    on_each(core, sources, |tablet| tablet.frozen = true)?;
    // What is in flight is waited for.
    let _hurry = core.pace.hurry();
    for source in sources {
        await_staged(core, *source).await?;
    }
    ship_round(node, patience, parts, true).await?;
    send_receipts(node, patience, parts, told).await?;
    for source in sources {
        let moved = count_moved(node, parts.iter().filter(|part| part.from == *source)).await;
        on_each(core, &[*source], |tablet| tablet.moved_records = moved)?;
    }
    let mut next_seq = Seq(1);
    on_each(core, sources, |tablet| next_seq = next_seq.max(tablet.next_seq))?;
    Ok(next_seq)
}

fn on_each(core: &Core, tablets: &[TabletId], mut change: impl FnMut(&mut Tablet)) -> Result<(), Refusal> {
    let mut engine = core.engine.borrow_mut();
    for id in tablets {
        change(engine.tablets.get_mut(*id).ok_or(Refusal::Moved)?);
    }
    Ok(())
}

/// Records that the new owners have now.
async fn count_moved(node: &Node, parts: impl Iterator<Item = &ShipPart>) -> u64 {
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

/// What a move may cost those who write; beyond that it is given up.
pub(super) struct Patience {
    pub(super) core: Rc<Core>,
    sources: Vec<TabletId>,
    /// Memory of what was written to the ranges and is still to be sent.
    kept_max: u64,
    /// It has ended, so nothing more is to be sent.
    over: Cell<bool>,
}

impl Patience {
    fn new(core: &Rc<Core>, sources: &[TabletId]) -> Patience {
        let (core, sources) = (core.clone(), sources.to_vec());
        let kept_max = core.engine.borrow().room_for_writes() / limits::ROOM_BYTES_PER_MOVING_BYTE;
        Patience { core, sources, kept_max, over: Cell::new(false) }
    }

    fn kept(&self) -> u64 {
        let engine = self.core.engine.borrow();
        let tablets = self.sources.iter().filter_map(|id| engine.tablets.get(*id));
        tablets.map(Tablet::outgoing_bytes).sum()
    }

    /// Holds the log to a rate by how much is still to be sent.
    fn hold_back(&self) -> Result<(), Refusal> {
        let frozen =
            |id: &TabletId| self.core.engine.borrow().tablets.get(*id).is_some_and(|tablet| tablet.frozen);
        let kept = self.kept() as f64 / self.kept_max.max(1) as f64;
        if !self.sources.iter().any(frozen) {
            let free = limits::SHIP_UNPACED_SHARE;
            self.core.pace.set_moving_pressure(((kept - free) / (1.0 - free)).clamp(0.0, 1.0));
        }
        match self.over.get() {
            true => Err(ENDED),
            false if kept > 1.0 => Err(TOO_MUCH_CHANGED),
            false => Ok(()),
        }
    }

    /// Of a message that was first sent at `began`.
    pub(super) fn check(&self, began: Mono) -> Result<(), Refusal> {
        let too_late = self.core.runtime.now() > began.after(limits::SHIP_REFUSED_MAX);
        if too_late { Err(REFUSED_TOO_LONG) } else { self.hold_back() }
    }

    /// Nothing is sent any more; what was still to be sent is freed bit by bit.
    async fn end(&self, parts: &[ShipPart]) {
        self.over.set(true);
        self.core.pace.set_moving_pressure(0.0);
        let _ =
            on_each(&self.core, &self.sources, |tablet| tablet.outgoing.iter_mut().for_each(Outgoing::end));
        let mut slice = self.core.runtime.slice();
        for part in parts {
            let free = || take_changed(&self.core, part, Bound::Unbounded, Bound::Unbounded);
            while free().is_ok_and(|freed| !freed.is_empty()) {
                slice.checkpoint().await;
            }
        }
    }
}

/// How much a round had to send.
#[derive(Clone, Copy, Default)]
struct Sent {
    records: usize,
    bytes: usize,
}

/// Records of a part on their way: several messages at a time, so that the new owner's commits are full.
struct Convoy<'a> {
    node: &'a Node,
    patience: &'a Rc<Patience>,
    part: &'a ShipPart,
    collection: CollectionId,
    /// The next message.
    records: Vec<Cargo>,
    bytes: usize,
    under_way: VecDeque<Pending<Result<(), Refusal>>>,
    /// Until all has arrived.
    writes_wait: bool,
    sent: Sent,
}

impl<'a> Convoy<'a> {
    fn new(node: &'a Node, patience: &'a Rc<Patience>, part: &'a ShipPart) -> Result<Convoy<'a>, Refusal> {
        let engine = patience.core.engine.borrow();
        let collection = engine.tablets.get(part.from).ok_or(Refusal::Moved)?.collection;
        let under_way = VecDeque::new();
        Ok(Convoy {
            node,
            patience,
            part,
            collection,
            records: Vec::new(),
            bytes: 0,
            under_way,
            writes_wait: false,
            sent: Sent::default(),
        })
    }

    fn load(&mut self, key: Key, version: Version) {
        self.bytes += key.len() + version.payload.as_ref().map_or(0, |payload| payload.as_bytes().len());
        self.records.push(Cargo { key, version });
    }

    fn is_full(&self) -> bool {
        self.records.len() >= limits::SHIP_RECORDS_MAX || self.bytes >= limits::SCAN_PAGE_BYTES_MAX
    }

    /// Sends what is loaded, as soon as there is room for one more on the way.
    async fn send(&mut self) -> Result<(), Refusal> {
        if self.under_way.len() >= limits::SHIP_CALLS_IN_FLIGHT_MAX
            && let Some(first) = self.under_way.pop_front()
        {
            first.await?;
        }
        let records = std::mem::take(&mut self.records);
        self.sent.records += records.len();
        self.sent.bytes += std::mem::take(&mut self.bytes);
        let (promise, pending) = promise();
        let (node, patience) = (self.node.clone(), self.patience.clone());
        let shipment = Shipment {
            tablet: self.part.tablet,
            collection: self.collection,
            records,
            writes_wait: self.writes_wait,
        };
        let to = self.part.to;
        self.node.runtime().spawn(Class::Foreground, async move {
            let request = || Request::ShipIn(shipment.clone());
            promise.give(deliver(&node, &patience, to, request).await);
        });
        self.under_way.push_back(pending);
        Ok(())
    }

    /// Completes when all has arrived, or none of it is under way any more.
    async fn arrive(&mut self) -> Result<(), Refusal> {
        let mut outcome = if self.records.is_empty() { Ok(()) } else { self.send().await };
        while let Some(pending) = self.under_way.pop_front() {
            outcome = outcome.and(pending.await);
        }
        outcome
    }
}

/// Sends every record of a part, from the delta and the runs.
async fn ship_all(node: &Node, patience: &Rc<Patience>, part: &ShipPart) -> Result<(), Refusal> {
    on_outgoing(&patience.core, part, Outgoing::begin)?;
    let mut convoy = Convoy::new(node, patience, part)?;
    let walked = load_all(&patience.core, &mut convoy).await;
    walked.and(convoy.arrive().await)
}

async fn load_all(core: &Core, convoy: &mut Convoy<'_>) -> Result<(), Refusal> {
    let part = convoy.part;
    let mut scan = Scan {
        start: Bound::Included(part.start.clone()),
        end: part.end.clone().map_or(Bound::Unbounded, Bound::Excluded),
        reverse: false,
        limit: limits::SHIP_RECORDS_MAX,
    };
    let mut slice = core.runtime.slice();
    loop {
        let began = core.runtime.now();
        convoy.patience.hold_back()?;
        if on_outgoing(core, part, |outgoing| outgoing.memory_bytes())? > limits::SHIP_CHANGED_BYTES
            && let Bound::Excluded(last) = &scan.start
        {
            convoy.arrive().await?;
            load_changed(core, convoy, Bound::Included(last)).await?;
            convoy.arrive().await?;
        }
        let page = begin_page(core, part, &scan)?;
        let (mut last, mut seen) = (None, 0);
        let walked = page.walk(async |key, stored| {
            seen += 1;
            last = Some(key.clone());
            let version = stored.version().await?;
            if version.payload.is_some() {
                convoy.load(key.clone(), version);
            }
            Ok(seen < limits::SHIP_RECORDS_MAX && !convoy.is_full())
        });
        let more = walked.await.map_err(|error| core.note_damage(&error))?;
        if convoy.is_full() {
            convoy.send().await?;
        }
        match last.filter(|_| more) {
            Some(last) => scan.start = Bound::Excluded(last),
            None => return Ok(()),
        }
        // Most of what is sent goes here: it leaves the disks to others half of the time.
        core.runtime.rest_after(began).await;
        slice.checkpoint().await;
    }
}

/// What is there now of a stretch of a part. In the same step all that was noted of it is forgotten.
fn begin_page(core: &Core, part: &ShipPart, scan: &Scan) -> Result<DeltaPage, Refusal> {
    on_outgoing(core, part, |outgoing| outgoing.forget(scan.start.as_ref()))?;
    let engine = core.engine.borrow();
    let tablet = engine.tablets.get(part.from).ok_or(Refusal::Moved)?;
    Ok(DeltaPage::of(tablet, scan, WallMs::ZERO, engine.store.levels()))
}

/// Sends what has changed; gives how much that was.
async fn ship_round(
    node: &Node,
    patience: &Rc<Patience>,
    parts: &[ShipPart],
    writes_wait: bool,
) -> Result<Sent, Refusal> {
    let mut sum = Sent::default();
    for part in parts {
        let mut convoy = Convoy::new(node, patience, part)?;
        convoy.writes_wait = writes_wait;
        let walked = load_changed(&patience.core, &mut convoy, Bound::Unbounded).await;
        walked.and(convoy.arrive().await)?;
        let sent = convoy.sent;
        sum = Sent { records: sum.records + sent.records, bytes: sum.bytes + sent.bytes };
    }
    Ok(sum)
}

/// Each key up to `last` once, however often it changes meanwhile: no two of its versions may be under way.
async fn load_changed(core: &Core, convoy: &mut Convoy<'_>, last: Bound<&Key>) -> Result<(), Refusal> {
    let mut slice = core.runtime.slice();
    let mut after = Bound::Unbounded;
    loop {
        let taken = take_changed(core, convoy.part, after.as_ref(), last)?;
        let Some(cargo) = taken.last() else { return Ok(()) };
        after = Bound::Excluded(cargo.key.clone());
        taken.into_iter().for_each(|cargo| convoy.load(cargo.key, cargo.version));
        if convoy.is_full() {
            convoy.send().await?;
        }
        slice.checkpoint().await;
    }
}

fn take_changed(
    core: &Core,
    part: &ShipPart,
    after: Bound<&Key>,
    last: Bound<&Key>,
) -> Result<Vec<Cargo>, Refusal> {
    let (count, bytes) = (limits::SHIP_RECORDS_MAX, limits::SCAN_PAGE_BYTES_MAX);
    on_outgoing(core, part, |outgoing| outgoing.take(after, last, count, bytes))
}

/// A map that was installed meanwhile has ended the move.
fn on_outgoing<T>(
    core: &Core,
    part: &ShipPart,
    change: impl FnOnce(&mut Outgoing) -> T,
) -> Result<T, Refusal> {
    let of_part = |tablet: &mut Tablet| {
        tablet.outgoing.iter_mut().find(|outgoing| outgoing.is_to(part.tablet)).map(change)
    };
    core.engine.borrow_mut().tablets.change(part.from, of_part).flatten().ok_or(Refusal::Moved)
}

/// Sends what the new owner may be sent twice: a record is the same version under a later LSN then, a receipt the same.
pub(super) async fn deliver(
    node: &Node,
    patience: &Patience,
    to: ShardId,
    request: impl Fn() -> Request,
) -> Result<(), Refusal> {
    let began = node.runtime().now();
    loop {
        patience.check(began)?;
        match node.call(to, request()).await {
            Reply::Done(Ok(())) => return Ok(()),
            // The new owner is busy.
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
pub async fn ship_in(node: &Node, shipment: Shipment) -> Result<(), Refusal> {
    let Shipment { tablet, collection, records, writes_wait } = shipment;
    let core = node.core()?.clone();
    let _hurry = writes_wait.then(|| core.pace.hurry());
    let before = core.engine.borrow().before_arrivals(tablet, collection, &records);
    let mut arrivals = Vec::with_capacity(records.len());
    for (cargo, before) in records.into_iter().zip(before) {
        let before = match before {
            Ok(before) => before,
            Err(read) => core.read_before(read).await?,
        };
        arrivals.push((cargo, before.is_record()));
    }
    let mut waited = Duration::ZERO;
    loop {
        let before = arrivals.len();
        arrivals = take_in(&core, tablet, collection, arrivals).await?;
        waited = if arrivals.len() < before { Duration::ZERO } else { waited + RETRY };
        if arrivals.is_empty() {
            return Ok(());
        }
        if waited > limits::SHIP_IN_WAIT {
            return Err(Refusal::Overloaded { queue: "queue of records that arrive" });
        }
        node.runtime().sleep(RETRY).await;
    }
}

/// Logs what there is room for; gives back the rest when the others are durable. So a message gets somewhere
/// however little room there is at a time.
async fn take_in(
    core: &Core,
    tablet: TabletId,
    collection: CollectionId,
    arrivals: Vec<(Cargo, bool)>,
) -> Result<Vec<(Cargo, bool)>, Refusal> {
    let (promise, pending) = promise();
    let mut next = arrivals.iter();
    core.submit_with(arrivals.len(), Origin::Many(promise), |engine, ticket| {
        let (cargo, replaces) = next.next().expect("as many records as were counted");
        engine.write_arrival(tablet, collection, cargo.clone(), *replaces, ticket)
    });
    let mut left = Vec::new();
    for (arrival, result) in arrivals.into_iter().zip(pending.await) {
        match result {
            Ok(_) => {}
            Err(Refusal::Overloaded { .. }) => left.push(arrival),
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(left)
}
