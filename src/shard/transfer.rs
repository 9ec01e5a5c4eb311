//! Moving parts of tablets to other tablets, most often on other shards, while they are in use.
//!
//! The owner sends the records in rounds: first all, then what changed meanwhile, until little is
//! left; then it stops writes to the tablets (they wait at their callers), lets those in flight settle
//! and sends the rest. The new owner logs every record under the id of the tablet to be, its version
//! kept. Reads go on at the old owner until the new map is in force.
//!
//! What is written to a range meanwhile stays in memory, and writes are stopped at the end: a move that would
//! make others wait for too long is given up. Nothing of it counts then.

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
use super::record::{Refusal, Scan};
use super::store::DeltaPage;
use super::tablet::Tablet;
use crate::io::executor::Class;
use crate::io::executor::sync::{Pending, promise};
use crate::limits;
use crate::types::{CollectionId, Lsn, Mono, Seq, TabletId, WallMs};

const RETRY: Duration = Duration::from_millis(2);

const GIVEN_UP: Refusal = Refusal::Overloaded { queue: "queue of a range that moves" };

/// A record on its way: it keeps its version; its place in the new log is new.
#[derive(Clone, Debug)]
pub struct Cargo {
    pub key: Key,
    pub version: Version,
}

/// Sends the parts of some tablets away; gives the version from which the new tablets go on. The tablets take no
/// writes afterwards, until a new map is installed.
pub async fn ship_out(node: &Node, sources: &[TabletId], parts: &[ShipPart]) -> Result<Seq, Refusal> {
    let patience = Rc::new(Patience::new(node.core()?, sources));
    let shipped = ship_in_rounds(node, &patience, sources, parts).await;
    patience.over.set(true);
    shipped
}

async fn ship_in_rounds(
    node: &Node,
    patience: &Rc<Patience>,
    sources: &[TabletId],
    parts: &[ShipPart],
) -> Result<Seq, Refusal> {
    let core = node.core()?.clone();
    // From now on the deltas keep what they have, so the rounds behind the first need to look nowhere else.
    on_each(&core, sources, |tablet| tablet.moving = true)?;
    let mut sent_up_to = core.engine.borrow().applied();
    for part in parts {
        ship_all(node, patience, part).await?;
    }
    let mut left = Sent::default();
    for _ in 1..limits::SHIP_ROUNDS_MAX {
        let applied = core.engine.borrow().applied();
        left = ship_round(node, patience, parts, sent_up_to).await?;
        sent_up_to = applied;
        if left.records < limits::SHIP_FREEZE_RECORDS && left.bytes < limits::SHIP_FREEZE_BYTES {
            break;
        }
    }
    if left.records > limits::SHIP_FREEZE_RECORDS_MAX || left.bytes > limits::SHIP_FREEZE_BYTES_MAX {
        // Writes come faster than they can be sent on: they would wait too long at the end.
        return Err(GIVEN_UP);
    }
    let rest = ship_the_rest(node, patience, sources, parts, sent_up_to);
    node.runtime().timeout(limits::SHIP_FREEZE_TIME_MAX, rest).await.unwrap_or(Err(GIVEN_UP))
}

/// Stops writes, and sends what is left. May be dropped when it takes too long: writes are taken again by the next
/// map.
async fn ship_the_rest(
    node: &Node,
    patience: &Rc<Patience>,
    sources: &[TabletId],
    parts: &[ShipPart],
    sent_up_to: Lsn,
) -> Result<Seq, Refusal> {
    let core = &patience.core;
    on_each(core, sources, |tablet| tablet.frozen = true)?;
    for source in sources {
        await_staged(core, *source).await?;
    }
    ship_round(node, patience, parts, sent_up_to).await?;
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
struct Patience {
    core: Rc<Core>,
    sources: Vec<TabletId>,
    /// Memory of what was written to the sources, which their deltas have to keep.
    kept_max: u64,
    /// It has ended, so nothing more is to be sent.
    over: Cell<bool>,
}

impl Patience {
    fn new(core: &Rc<Core>, sources: &[TabletId]) -> Patience {
        let (core, sources) = (core.clone(), sources.to_vec());
        let room = core.engine.borrow().room_for_writes();
        let mut patience = Patience { core, sources, kept_max: 0, over: Cell::new(false) };
        patience.kept_max = patience.kept() + room / limits::ROOM_BYTES_PER_MOVING_BYTE;
        patience
    }

    fn kept(&self) -> u64 {
        let engine = self.core.engine.borrow();
        let tablets = self.sources.iter().filter_map(|id| engine.tablets.get(*id));
        tablets.map(|tablet| tablet.delta.weight().memory_bytes).sum()
    }

    /// Of a message that was first sent at `began`.
    fn check(&self, began: Mono) -> Result<(), Refusal> {
        let too_late = self.core.runtime.now() > began.after(limits::SHIP_REFUSED_MAX);
        if self.over.get() || too_late || self.kept() > self.kept_max { Err(GIVEN_UP) } else { Ok(()) }
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
        let (part, collection) = (self.part.clone(), self.collection);
        self.node.runtime().spawn(Class::Foreground, async move {
            promise.give(deliver(&node, &patience, &part, collection, records).await);
        });
        self.under_way.push_back(pending);
        Ok(())
    }

    /// Completes when all has arrived, or none of it is under way any more; gives what was sent.
    async fn arrive(mut self) -> Result<Sent, Refusal> {
        let mut outcome = if self.records.is_empty() { Ok(()) } else { self.send().await };
        for pending in self.under_way {
            outcome = outcome.and(pending.await);
        }
        outcome.map(|()| self.sent)
    }
}

/// Sends every record of a part, from the delta and the runs.
async fn ship_all(node: &Node, patience: &Rc<Patience>, part: &ShipPart) -> Result<(), Refusal> {
    let mut convoy = Convoy::new(node, patience, part)?;
    let walked = load_all(&patience.core, &mut convoy).await;
    let arrived = convoy.arrive().await;
    walked.and(arrived.map(|_| ()))
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
        let page = {
            let engine = core.engine.borrow();
            let present = engine.tablets.get(part.from).ok_or(Refusal::Moved)?;
            DeltaPage::of(present, &scan, WallMs::ZERO, engine.store.levels())
        };
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

/// Sends every version above `from` that the delta has; gives how much that was.
async fn ship_round(
    node: &Node,
    patience: &Rc<Patience>,
    parts: &[ShipPart],
    from: Lsn,
) -> Result<Sent, Refusal> {
    let mut sum = Sent::default();
    for part in parts {
        let mut convoy = Convoy::new(node, patience, part)?;
        let walked = load_changed(&patience.core, &mut convoy, from).await;
        let arrived = convoy.arrive().await;
        walked?;
        let sent = arrived?;
        sum = Sent { records: sum.records + sent.records, bytes: sum.bytes + sent.bytes };
    }
    Ok(sum)
}

async fn load_changed(core: &Core, convoy: &mut Convoy<'_>, from: Lsn) -> Result<(), Refusal> {
    let mut slice = core.runtime.slice();
    let mut at = Bound::Included(convoy.part.start.clone());
    while let Some(last) = load_stretch(core, convoy, at, from)? {
        if convoy.is_full() {
            convoy.send().await?;
        }
        at = Bound::Excluded(last);
        slice.checkpoint().await;
    }
    Ok(())
}

/// The next stretch of a part: loads the versions above `from` in it, and gives the key to go on behind.
fn load_stretch(
    core: &Core,
    convoy: &mut Convoy<'_>,
    at: Bound<Key>,
    from: Lsn,
) -> Result<Option<Key>, Refusal> {
    let engine = core.engine.borrow();
    let tablet = engine.tablets.get(convoy.part.from).ok_or(Refusal::Moved)?;
    let end = convoy.part.end.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut last = None;
    for (key, version) in tablet.delta.range(at.as_ref(), end).take(limits::SHIP_RECORDS_MAX) {
        last = Some(key);
        if version.lsn > from {
            convoy.load(key.clone(), version.clone());
        }
        // A few large values fill a message.
        if convoy.is_full() {
            break;
        }
    }
    Ok(last.cloned())
}

async fn deliver(
    node: &Node,
    patience: &Patience,
    part: &ShipPart,
    collection: CollectionId,
    records: Vec<Cargo>,
) -> Result<(), Refusal> {
    let began = node.runtime().now();
    loop {
        patience.check(began)?;
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
