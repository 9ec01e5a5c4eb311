//! A core's door to the whole node: finds the shard of a key and asks it, wherever it is.
//!
//! A request for a key of this core goes straight into the engine. Any other becomes a call in the
//! owner's mailbox; it is sent before the function returns, so requests of one task arrive in order.
//! When the owner answers that the range has moved, the request is asked again by the new map.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::batch::Origin;
use super::calls::OpenCalls;
use super::catalogue::{Catalogue, CatalogueError, Collection, Definition};
use super::core::Core;
use super::delta::Version;
use super::key::Key;
use super::lane::Lane;
use super::mailbox::Mailbox;
use super::message::{Reply, Request, WriteResult};
use super::options::ShardOptions;
use super::page::Page;
use super::progress::{advance, next_part};
use super::record::{Durability, Found, Reading, Refusal, Scan, Write};
use super::serve::Early;
use super::staged::Looked;
use super::start_error::StartError;
use super::stats::{CollectionStats, Phase, ShardStats};
use crate::io::executor::Class;
use crate::io::executor::sync::{Pending, Signal, promise};
use crate::io::runtime::Runtime;
use crate::limits;
use crate::types::{Epoch, Mono, ShardId, TabletId, WallMs};

/// Between two attempts at a range that is just moving.
const MOVED_RETRY: Duration = Duration::from_millis(2);

/// What beginning a scan of a tablet takes, in entries looked at.
const SCAN_PART_VISITS: usize = 32;

/// An answer that is here already (the key is on this core), or on its way.
pub enum Answer<T> {
    Now(T),
    Later(Pending<T>),
}

impl<T> Answer<T> {
    pub async fn get(self) -> T {
        match self {
            Answer::Now(value) => value,
            Answer::Later(pending) => pending.await,
        }
    }
}

/// The items of a request by the shard that they go to, and the places they had in the request.
pub(super) type Groups<T> = BTreeMap<ShardId, (Vec<usize>, Vec<(TabletId, T)>)>;

/// Cheap to clone; one core's, and one client's: see [`Node::for_client`].
#[derive(Clone)]
pub struct Node {
    inner: Rc<Inner>,
    lane: Rc<Lane>,
}

pub(super) struct Inner {
    pub runtime: Runtime,
    pub options: ShardOptions,
    pub mailbox: Rc<Mailbox>,
    pub catalogue: RefCell<Arc<Catalogue>>,
    /// Notified when a new map is in force.
    pub map_changed: Signal,
    /// Set when the shard has recovered.
    pub core: OnceCell<Rc<Core>>,
    /// True from the moment the shard knows its tablets.
    serving: Cell<bool>,
    started: RefCell<Option<Result<(), StartError>>>,
    start_over: Signal,
    pub replayed: Cell<u64>,
    calls: RefCell<OpenCalls>,
    /// One change of the catalogue at a time (shard 0).
    pub changing: Cell<bool>,
    pub change_over: Signal,
    /// Shard 0: those that have joined in this life, one bit each.
    pub present: Cell<u64>,
    /// Writes that go by a map which this core has yet to get.
    pub early: RefCell<VecDeque<Early>>,
}

impl Node {
    pub(super) fn new(runtime: Runtime, options: ShardOptions, mailbox: Rc<Mailbox>) -> Node {
        let inner = Inner {
            runtime,
            options,
            calls: RefCell::new(OpenCalls::new(mailbox.shards())),
            mailbox,
            catalogue: RefCell::default(),
            map_changed: Signal::default(),
            core: OnceCell::new(),
            serving: Cell::new(false),
            started: RefCell::default(),
            start_over: Signal::default(),
            replayed: Cell::new(0),
            changing: Cell::new(false),
            change_over: Signal::default(),
            present: Cell::new(0),
            early: RefCell::default(),
        };
        Node { inner: Rc::new(inner), lane: Rc::default() }
    }

    /// The same core's, for a client of its own: the writes of one key that come through one of these (and
    /// its clones) are applied in the order in which they come.
    pub fn for_client(&self) -> Node {
        Node { inner: self.inner.clone(), lane: Rc::default() }
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.inner
    }

    pub fn runtime(&self) -> &Runtime {
        &self.inner.runtime
    }

    pub fn shard(&self) -> ShardId {
        self.inner.mailbox.shard()
    }

    pub fn shards(&self) -> usize {
        self.inner.mailbox.shards()
    }

    /// The default of writes that name no durability, in collections that name none.
    pub fn default_durability(&self) -> Durability {
        self.inner.options.durability
    }

    /// The map in force on this core.
    pub fn catalogue(&self) -> Arc<Catalogue> {
        self.inner.catalogue.borrow().clone()
    }

    /// The collection as the map in force on this core has it; as it was when it is not on the map.
    pub(super) fn in_force(&self, collection: &Arc<Collection>) -> Arc<Collection> {
        let now = self.collection(&collection.name).filter(|now| now.id == collection.id);
        now.unwrap_or_else(|| collection.clone())
    }

    /// The collection of this name, by the map in force on this core.
    pub fn collection(&self, name: &str) -> Option<Arc<Collection>> {
        self.inner.catalogue.borrow().get(name).cloned()
    }

    /// Of the map in force on this core.
    pub(super) fn epoch(&self) -> Epoch {
        self.inner.catalogue.borrow().epoch
    }

    /// True when this shard answers point reads.
    pub fn is_serving(&self) -> bool {
        self.inner.serving.get()
    }

    pub(super) fn core(&self) -> Result<&Rc<Core>, Refusal> {
        match self.inner.core.get() {
            Some(core) if self.inner.serving.get() => Ok(core),
            _ => Err(Refusal::NotReady),
        }
    }

    // ---- start

    /// Completes when the shard serves, or cannot. May be awaited once.
    pub async fn started(&self) -> Result<(), StartError> {
        loop {
            let over = self.inner.start_over.wait();
            if let Some(outcome) = self.inner.started.borrow_mut().take() {
                return outcome;
            }
            over.await;
        }
    }

    pub(super) fn set_started(&self, outcome: Result<(), StartError>) {
        *self.inner.started.borrow_mut() = Some(outcome);
        self.inner.start_over.notify();
    }

    pub(super) fn set_core(&self, core: Rc<Core>) {
        assert!(self.inner.core.set(core).is_ok(), "a shard recovers once");
    }

    pub(super) fn open_door(&self) {
        self.inner.serving.set(true);
    }

    // ---- point requests

    /// The visible version of a record. The request starts at once.
    pub fn get(&self, collection: &Arc<Collection>, key: &Key) -> Answer<Result<Option<Found>, Refusal>> {
        self.get_by(collection, key, Reading::Whole)
    }

    /// As `get`, before others are answered: [`Refusal::NotAhead`] when a large value had to be read for it.
    pub fn get_ahead(
        &self,
        collection: &Arc<Collection>,
        key: &Key,
    ) -> Answer<Result<Option<Found>, Refusal>> {
        self.get_by(collection, key, Reading::Ahead)
    }

    fn get_by(
        &self,
        collection: &Arc<Collection>,
        key: &Key,
        reading: Reading,
    ) -> Answer<Result<Option<Found>, Refusal>> {
        let tablet = collection.tablet_of(key);
        if tablet.owner == self.shard() {
            match self.look_here(tablet.id, key) {
                Err(Refusal::Moved) => {}
                Ok(Looked::Found(found)) => return Answer::Now(Ok(found)),
                Ok(Looked::Cold(read, now)) => {
                    let core = self.core().expect("it looked").clone();
                    return self.later(async move { found_at(core.read_cold(read, reading).await, now) });
                }
                Err(refusal) => return Answer::Now(Err(refusal)),
            }
        }
        let (tablet, owner) = (tablet.id, tablet.owner);
        let first = self.call(owner, Request::Get { tablet, key: key.clone(), reading });
        let (node, collection, key) = (self.clone(), collection.clone(), key.clone());
        self.later(async move {
            match expect_get(first.await) {
                Err(Refusal::Moved) => node.get_again(collection, key, reading).await,
                found => found,
            }
        })
    }

    fn look_here(&self, tablet: TabletId, key: &Key) -> Result<Looked, Refusal> {
        self.core()?.engine.borrow_mut().get(tablet, key, self.inner.runtime.wall())
    }

    pub(super) async fn get_again(
        &self,
        collection: Arc<Collection>,
        key: Key,
        reading: Reading,
    ) -> Result<Option<Found>, Refusal> {
        let mut attempts = Attempts::after(self, true);
        loop {
            let collection = attempts.next(self, &collection).await?;
            let tablet = collection.tablet_of(&key);
            let request = Request::Get { tablet: tablet.id, key: key.clone(), reading };
            match expect_get(self.call(tablet.owner, request).await) {
                Err(Refusal::Moved) => {}
                found => return found,
            }
        }
    }

    /// One write; the answer comes by its durability. Writes of one key are applied in the order of the
    /// calls.
    pub fn write(&self, collection: &Arc<Collection>, write: Write) -> Answer<WriteResult> {
        let map = self.in_force(collection);
        let (place, at_once) = self.lane.begin(self.epoch());
        // A write may have to be asked again; its payload is shared, not copied.
        let again = write.clone();
        let first = at_once.then(|| {
            let tablet = map.tablet_of(&write.key);
            self.write_at(tablet.owner, vec![(tablet.id, write)])
        });
        let mut attempts = Attempts::after(self, first.is_some());
        let node = self.clone();
        self.later(async move {
            let mut result = match first {
                Some(first) => only(first.await),
                None => Err(Refusal::Moved),
            };
            if result == Err(Refusal::Moved) {
                node.lane.front(place).await;
                result = only(node.write_again(map, vec![again], &mut attempts).await);
            }
            node.lane.end(place);
            result
        })
    }

    /// Several writes, each with an outcome of its own, in order of the input. Writes of one key are
    /// applied in that order, and in the order of the calls.
    pub fn write_many(&self, collection: &Arc<Collection>, writes: Vec<Write>) -> Answer<Vec<WriteResult>> {
        if writes.is_empty() {
            return Answer::Now(Vec::new());
        }
        let map = self.in_force(collection);
        let (place, at_once) = self.lane.begin(self.epoch());
        let again = writes.clone();
        let first = at_once.then(|| self.send_writes(&map, writes));
        let mut attempts = Attempts::after(self, first.is_some());
        let node = self.clone();
        self.later(async move {
            let mut results = match first {
                Some(parts) => gather(again.len(), parts).await,
                None => vec![Err(Refusal::Moved); again.len()],
            };
            if results.contains(&Err(Refusal::Moved)) {
                node.lane.front(place).await;
                node.repeat_moved(map, again, &mut results, &mut attempts).await;
            }
            node.lane.end(place);
            results
        })
    }

    /// Groups writes by owner and sends each group; gives the places of its writes with each answer.
    fn send_writes(
        &self,
        collection: &Collection,
        writes: Vec<Write>,
    ) -> Vec<(Vec<usize>, Pending<Vec<WriteResult>>)> {
        let mut groups: Groups<Write> = BTreeMap::new();
        for (place, write) in writes.into_iter().enumerate() {
            let tablet = collection.tablet_of(&write.key);
            let (places, items) = groups.entry(tablet.owner).or_default();
            places.push(place);
            items.push((tablet.id, write));
        }
        groups.into_iter().map(|(owner, (places, items))| (places, self.write_at(owner, items))).collect()
    }

    fn write_at(&self, owner: ShardId, items: Vec<(TabletId, Write)>) -> Pending<Vec<WriteResult>> {
        let (count, epoch) = (items.len(), self.epoch());
        if owner == self.shard() {
            return match self.core() {
                Ok(core) => {
                    let (promise, pending) = promise();
                    core.submit(items.into_iter(), epoch, Origin::Many(promise));
                    pending
                }
                Err(refusal) => Pending::ready(vec![Err(refusal); count]),
            };
        }
        let reply = self.call(owner, Request::Write { items, epoch });
        let (promise, pending) = promise();
        self.inner.runtime.spawn(Class::Foreground, async move {
            promise.give(match reply.await {
                Reply::Write(results) => results,
                Reply::Done(Err(refusal)) => vec![Err(refusal); count],
                other => unreachable!("a write answered with {other:?}"),
            });
        });
        pending
    }

    /// Asks again for the writes whose range has moved.
    async fn repeat_moved(
        &self,
        collection: Arc<Collection>,
        writes: Vec<Write>,
        results: &mut [WriteResult],
        attempts: &mut Attempts,
    ) {
        let moved: Vec<usize> = results
            .iter()
            .enumerate()
            .filter_map(|(place, result)| (*result == Err(Refusal::Moved)).then_some(place))
            .collect();
        let again = moved.iter().map(|place| writes[*place].clone()).collect();
        for (place, result) in moved.into_iter().zip(self.write_again(collection, again, attempts).await) {
            results[place] = result;
        }
    }

    /// Asks by the map in force then, until the range has settled down. The caller's place is at the front
    /// of its lane.
    async fn write_again(
        &self,
        collection: Arc<Collection>,
        writes: Vec<Write>,
        attempts: &mut Attempts,
    ) -> Vec<WriteResult> {
        let mut results = vec![Err(Refusal::Moved); writes.len()];
        loop {
            let open: Vec<usize> = (0..writes.len()).filter(|n| results[*n] == Err(Refusal::Moved)).collect();
            if open.is_empty() {
                return results;
            }
            let now = match attempts.next(self, &collection).await {
                Ok(now) => now,
                Err(refusal) => {
                    open.into_iter().for_each(|place| results[place] = Err(refusal));
                    return results;
                }
            };
            let batch = open.iter().map(|place| writes[*place].clone()).collect();
            let answers = gather(open.len(), self.send_writes(&now, batch)).await;
            for (place, answer) in open.into_iter().zip(answers) {
                results[place] = answer;
            }
        }
    }

    // ---- ranges

    /// One page of a range, across shards, in key order.
    pub async fn scan(&self, collection: &Arc<Collection>, scan: Scan) -> Result<Page, Refusal> {
        assert!(!collection.is_hashed(), "hashed keys have no order");
        let mut page = Page { more: true, ..Page::default() };
        let (mut bytes, mut at_once) = (0, 0);
        let mut rest = scan.clone();
        let mut attempts = Attempts::after(self, true);
        let mut map = self.in_force(collection);
        while page.more && page.records.len() < scan.limit && bytes < limits::SCAN_PAGE_BYTES_MAX {
            rest.limit = scan.limit - page.records.len();
            let Some((tablet, owner, clipped, last)) = next_part(&map, &rest) else {
                page.more = false;
                break;
            };
            let part = match self.scan_part(owner, tablet, &clipped).await {
                Err(Refusal::Moved) => {
                    map = attempts.next(self, &map).await?;
                    continue;
                }
                part => part?,
            };
            at_once += SCAN_PART_VISITS + part.visited;
            // A part of this core that is warm is answered without a pause.
            if at_once > limits::SCAN_AT_ONCE_VISITS_MAX {
                self.inner.runtime.yield_now().await;
                at_once = 0;
            }
            bytes += part.records.payload_bytes();
            page.visited += part.visited;
            page.more = part.more || !last;
            advance(&mut rest, &clipped, &part);
            page.resume_after = part.resume_after.or(page.resume_after);
            page.records.append(part.records);
        }
        Ok(page)
    }

    /// Here without a message or a task.
    async fn scan_part(&self, owner: ShardId, tablet: TabletId, part: &Scan) -> Result<Page, Refusal> {
        if owner == self.shard() {
            let core = self.core()?;
            let begun = core.begin_scan(tablet, part)?;
            return core.finish_scan(begun).await;
        }
        expect_page(self.call(owner, Request::Scan { tablet, scan: part.clone() }).await)
    }

    // ---- the whole node

    /// Creates a collection on all cores; `Ok(false)` when it exists with this very definition.
    pub async fn create_collection(
        &self,
        name: &str,
        definition: Definition,
    ) -> Result<Result<bool, CatalogueError>, Refusal> {
        self.change(Request::Create { name: name.to_owned(), definition }).await
    }

    /// Drops it on all cores.
    pub async fn drop_collection(&self, name: &str) -> Result<Result<(), CatalogueError>, Refusal> {
        self.change(Request::Drop { name: name.to_owned() }).await.map(|changed| changed.map(|_| ()))
    }

    /// Cuts a collection that has one tablet at these keys and spreads the parts over the shards.
    pub async fn split_collection(
        &self,
        name: &str,
        split_at: Vec<Key>,
    ) -> Result<Result<(), CatalogueError>, Refusal> {
        let changed = self.change(Request::Split { name: name.to_owned(), split_at }).await?;
        Ok(changed.map(|_| ()))
    }

    async fn change(&self, request: Request) -> Result<Result<bool, CatalogueError>, Refusal> {
        match self.call(super::control::WRITER, request).await {
            Reply::Changed(changed) => changed,
            Reply::Done(Err(refusal)) => Err(refusal),
            other => unreachable!("a change answered with {other:?}"),
        }
    }

    pub async fn collection_stats(&self, collection: &Arc<Collection>) -> Result<CollectionStats, Refusal> {
        let mut sum = CollectionStats::default();
        for shard in self.all_shards() {
            match self.call(shard, Request::CollectionStats { collection: collection.id }).await {
                Reply::CollectionStats(part) => {
                    sum.records += part.records;
                    sum.bytes += part.bytes;
                }
                Reply::Done(Err(refusal)) => return Err(refusal),
                other => unreachable!("statistics answered with {other:?}"),
            }
        }
        Ok(sum)
    }

    /// Of every shard, in order; also of shards that are still recovering.
    pub async fn stats(&self) -> Vec<ShardStats> {
        let mut all = Vec::with_capacity(self.shards());
        for shard in self.all_shards() {
            all.push(match self.call(shard, Request::Stats).await {
                Reply::Stats(stats) => *stats,
                // Its inbox is full: all that is known.
                _ => ShardStats { shard, phase: Phase::Serving, ..ShardStats::default() },
            });
        }
        all
    }

    /// Seals on every shard what was written; completes when all are done.
    pub async fn checkpoint(&self) -> Result<(), Refusal> {
        self.on_all(|| Request::Checkpoint).await
    }

    /// Seals, and merges the runs of every shard into one level; completes when all are done.
    pub async fn compact(&self) -> Result<(), Refusal> {
        self.on_all(|| Request::Compact).await
    }

    async fn on_all(&self, request: impl Fn() -> Request) -> Result<(), Refusal> {
        let all: Vec<_> = self.all_shards().map(|shard| self.call(shard, request())).collect();
        for reply in all {
            match reply.await {
                Reply::Done(done) => done?,
                other => unreachable!("work on all shards answered with {other:?}"),
            }
        }
        Ok(())
    }

    pub(super) fn all_shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.shards()).map(|shard| ShardId(shard as u16))
    }

    // ---- calls

    /// Asks a shard, this one included. A full inbox answers `Done(Err(Overloaded))`.
    pub(super) fn call(&self, to: ShardId, request: Request) -> Pending<Reply> {
        if to == self.shard() {
            return super::serve::handle_local(self, request);
        }
        let overloaded =
            || Pending::ready(Reply::Done(Err(Refusal::Overloaded { queue: "inbox of the core" })));
        let soon = request.is_read().then(|| self.inner.runtime.expect_soon());
        let Ok((call, pending)) = self.inner.calls.borrow_mut().begin(to, soon) else { return overloaded() };
        if self.inner.mailbox.call(to, call, request).is_err() {
            self.inner.calls.borrow_mut().forget(call);
            return overloaded();
        }
        pending
    }

    pub(super) fn finish_call(&self, call: u32, reply: Reply) {
        self.inner.calls.borrow_mut().finish(call, reply);
    }

    pub(super) fn later<T: 'static>(&self, work: impl Future<Output = T> + 'static) -> Answer<T> {
        let (promise, pending) = promise();
        self.inner.runtime.spawn(Class::Foreground, async move { promise.give(work.await) });
        Answer::Later(pending)
    }
}

/// Attempts at a request whose range was not where the map said.
struct Attempts {
    /// Wait before the next one.
    pause: bool,
    until: Mono,
}

impl Attempts {
    /// `tried`: one was made already.
    fn after(node: &Node, tried: bool) -> Attempts {
        Attempts { pause: tried, until: node.runtime().turn_start().after(limits::MOVED_WAIT) }
    }

    /// Waits a little, then gives the collection by the map in force now. Once the time is over there is one
    /// attempt at most: who waited for others has none yet.
    async fn next(&mut self, node: &Node, collection: &Collection) -> Result<Arc<Collection>, Refusal> {
        if std::mem::replace(&mut self.pause, true) {
            if node.runtime().turn_start() >= self.until {
                return Err(Refusal::NotReady);
            }
            node.runtime().sleep(MOVED_RETRY).await;
        }
        let now = node.collection(&collection.name).filter(|now| now.id == collection.id);
        now.ok_or(Refusal::NoSuchCollection)
    }
}

/// What of a version from a run is visible at a time.
pub(super) fn found_at(
    version: Result<Option<Version>, Refusal>,
    now: WallMs,
) -> Result<Option<Found>, Refusal> {
    Ok(version?.and_then(|version| version.found(now)))
}

async fn gather(count: usize, parts: Vec<(Vec<usize>, Pending<Vec<WriteResult>>)>) -> Vec<WriteResult> {
    let mut results = vec![Err(Refusal::NotReady); count];
    for (places, pending) in parts {
        for (place, result) in places.into_iter().zip(pending.await) {
            results[place] = result;
        }
    }
    results
}

fn only(results: Vec<WriteResult>) -> WriteResult {
    results.into_iter().next().expect("one write has one result")
}

fn expect_get(reply: Reply) -> Result<Option<Found>, Refusal> {
    match reply {
        Reply::Get(found) => found,
        Reply::Done(Err(refusal)) => Err(refusal),
        other => unreachable!("a read answered with {other:?}"),
    }
}

fn expect_page(reply: Reply) -> Result<Page, Refusal> {
    match reply {
        Reply::Page(page) => page,
        Reply::Done(Err(refusal)) => Err(refusal),
        other => unreachable!("a scan answered with {other:?}"),
    }
}
