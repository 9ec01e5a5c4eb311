//! What the clients of a node know of their writes: what was called and answered, and when.
//!
//! Time is counted in ticks, one for each call and each answer, so that a moment of the run can be
//! named while the run goes on: what was known at a crash is everything up to its tick. What the run
//! learned later (the version and LSN of a write that was in flight) is used as well: a write that was
//! not answered yet may have survived, but only as the version that it was given.
//!
//! A ledger spans one life of the node; what a recovery showed is the base of the next.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use kyrodb::shard::catalogue::{Catalogue, Collection, Tablet};
use kyrodb::shard::key::Key;
use kyrodb::shard::message::WriteResult;
use kyrodb::shard::node::Node;
use kyrodb::shard::payload::Payload;
use kyrodb::shard::record::{Change, Durability, Expiry, Found, Refusal, Write, Written};
use kyrodb::types::{CollectionId, Lsn, Seq, TabletId, WallMs};

pub type Tick = u64;
pub type Place = (CollectionId, Key);

/// One write, as its client saw it.
#[derive(Clone, Debug)]
pub struct Entry {
    pub place: Place,
    pub write: Write,
    pub called: Tick,
    pub answer: Option<(Tick, WriteResult)>,
}

/// A change of the catalogue and the map behind it.
#[derive(Clone, Debug)]
pub struct MapChange {
    pub called: Tick,
    pub answered: Tick,
    pub map: Arc<Catalogue>,
}

/// A value with its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub seq: Seq,
    pub payload: Payload,
    pub expires: Option<WallMs>,
}

/// What earlier lives left of a key.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// The present version; several when none was visible and one of them may have been but expired.
    pub versions: Vec<Version>,
    /// The highest version ever acknowledged.
    pub highest: Seq,
}

/// An accepted write of a key: its place in the orders of its tablet and of its shard.
#[derive(Clone, Debug)]
pub struct Step {
    pub seq: Seq,
    pub lsn: Lsn,
    /// `None` for a delete.
    pub version: Option<Version>,
    /// Acknowledged as durable at the moment in question.
    pub durable: bool,
}

#[derive(Clone, Default)]
pub struct Ledger {
    pub entries: Vec<Entry>,
    /// The maps in force, in order; the first is that of the start.
    pub maps: Vec<MapChange>,
    pub base: BTreeMap<Place, Past>,
    /// The latest wall clock that any life showed.
    pub wall_max: WallMs,
}

impl Ledger {
    /// Every key that was ever written.
    pub fn places(&self) -> Vec<Place> {
        let mut places: Vec<Place> = self.base.keys().cloned().collect();
        places.extend(self.entries.iter().map(|entry| entry.place.clone()));
        places.sort();
        places.dedup();
        places
    }

    /// Keys that ever had a record with an expiry: its deletion may be logged once it is over.
    pub fn expiring(&self) -> usize {
        let past = self.base.iter().filter(|(_, past)| past.versions.iter().any(|v| v.expires.is_some()));
        let expires = |entry: &&Entry| matches!(entry.write.change, Change::Put { expires: Some(_), .. });
        let now = self.entries.iter().filter(expires).map(|entry| &entry.place);
        past.map(|(place, _)| place).chain(now).collect::<BTreeSet<_>>().len()
    }

    /// The accepted writes of each key that were called by `at`, in the order of their versions.
    pub fn steps(&self, at: Tick) -> Result<BTreeMap<Place, Vec<Step>>, String> {
        let mut steps: BTreeMap<Place, Vec<Step>> = BTreeMap::new();
        for entry in self.entries.iter().filter(|entry| entry.called <= at) {
            if let Some((answered, Ok(written))) = &entry.answer {
                let durable = *answered <= at && written.reached == Durability::Fsync;
                steps.entry(entry.place.clone()).or_default().push(step_of(entry, written, durable));
            }
        }
        for (place, steps) in &mut steps {
            steps.sort_by_key(|step| step.seq);
            let past = self.base.get(place).map_or(Seq::ZERO, |past| past.highest);
            let fresh = steps.first().is_none_or(|step| step.seq > past);
            if !fresh || steps.windows(2).any(|pair| pair[0].seq == pair[1].seq) {
                return Err(format!("{place:?}: a version was given out twice, or below {past}: {steps:?}"));
            }
        }
        Ok(steps)
    }

    /// The highest version of the key that was acknowledged by `at`, in this life or before.
    pub fn highest(&self, place: &Place, at: Tick) -> Seq {
        let past = self.base.get(place).map_or(Seq::ZERO, |past| past.highest);
        let of_place = self.entries.iter().filter(|entry| entry.place == *place);
        let acked = of_place.filter_map(|entry| match &entry.answer {
            Some((answered, Ok(written))) if *answered <= at => Some(written.seq),
            _ => None,
        });
        acked.fold(past, Seq::max)
    }

    /// Every version that was given out in this life, with the tablet that its key has on the map.
    pub fn given_out(&self, map: &Catalogue) -> Vec<(TabletId, Seq)> {
        let given = self.entries.iter().filter_map(|entry| match &entry.answer {
            Some((_, Ok(written))) => Some((tablet_of(map, &entry.place)?.id, written.seq)),
            _ => None,
        });
        given.collect()
    }

    /// The node was stopped in order: everything acknowledged is durable.
    pub fn make_durable(&mut self) {
        for entry in &mut self.entries {
            if let Some((_, Ok(written))) = &mut entry.answer {
                written.reached = Durability::Fsync;
            }
        }
    }

    /// The storage failed under writes whose outcome nobody knows: those that are seen were accepted.
    pub fn adopt(&mut self, seen: &BTreeMap<Place, Found>) {
        for entry in &mut self.entries {
            let Some((_, result @ Err(Refusal::StorageFailed { .. }))) = &mut entry.answer else { continue };
            let Some(found) = seen.get(&entry.place) else { continue };
            if matches!(&entry.write.change, Change::Put { payload, .. } if *payload == found.payload) {
                let Found { lsn, seq, .. } = *found;
                *result =
                    Ok(Written { lsn, seq, created: false, reached: Durability::Memory, replayed: false });
            }
        }
    }

    /// The past of a key before this life.
    pub fn past(&self, place: &Place) -> Past {
        self.base.get(place).cloned().unwrap_or_default()
    }
}

/// The tablet of a key; `None` when its collection is not on the map.
pub fn tablet_of<'a>(map: &'a Catalogue, place: &Place) -> Option<&'a Tablet> {
    let collection = map.collections.values().find(|collection| collection.id == place.0)?;
    Some(collection.tablet_of(&place.1))
}

fn step_of(entry: &Entry, written: &Written, durable: bool) -> Step {
    let version = match &entry.write.change {
        Change::Put { payload, expires } => {
            let expires = expires.map(|expires| match expires {
                Expiry::At(at) => at,
                Expiry::In(_) => unreachable!("the judge needs to know when"),
            });
            Some(Version { seq: written.seq, payload: payload.clone(), expires })
        }
        Change::Delete => None,
    };
    Step { seq: written.seq, lsn: written.lsn, version, durable }
}

/// The ledger of the life that is under way, shared by its clients.
#[derive(Clone, Default)]
pub struct Book {
    ledger: Rc<RefCell<Ledger>>,
    ticks: Rc<Cell<Tick>>,
}

impl Book {
    pub fn new(ledger: Ledger) -> Book {
        let last = |entry: &Entry| entry.answer.as_ref().map_or(entry.called, |(answered, _)| *answered);
        let ticks = ledger.entries.iter().map(last).chain(ledger.maps.iter().map(|map| map.answered)).max();
        Book { ticks: Rc::new(Cell::new(ticks.unwrap_or(0))), ledger: Rc::new(RefCell::new(ledger)) }
    }

    pub fn now(&self) -> Tick {
        self.ticks.get()
    }

    fn tick(&self) -> Tick {
        self.ticks.set(self.ticks.get() + 1);
        self.ticks.get()
    }

    pub fn read<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.ledger.borrow())
    }

    pub fn change<T>(&self, act: impl FnOnce(&mut Ledger) -> T) -> T {
        act(&mut self.ledger.borrow_mut())
    }

    pub async fn write(&self, node: &Node, collection: &Arc<Collection>, write: Write) -> WriteResult {
        let entry = self.call(collection.id, &write);
        let result = node.write(collection, write).get().await;
        self.answer(entry, result);
        result
    }

    pub async fn write_many(
        &self,
        node: &Node,
        collection: &Arc<Collection>,
        writes: Vec<Write>,
    ) -> Vec<WriteResult> {
        let entries: Vec<usize> = writes.iter().map(|write| self.call(collection.id, write)).collect();
        let results = node.write_many(collection, writes).get().await;
        for (entry, result) in entries.into_iter().zip(&results) {
            self.answer(entry, *result);
        }
        results
    }

    fn call(&self, collection: CollectionId, write: &Write) -> usize {
        let called = self.tick();
        let place = (collection, write.key.clone());
        self.change(|ledger| {
            ledger.entries.push(Entry { place, write: write.clone(), called, answer: None });
            ledger.entries.len() - 1
        })
    }

    fn answer(&self, entry: usize, result: WriteResult) {
        let answered = self.tick();
        self.change(|ledger| ledger.entries[entry].answer = Some((answered, result)));
    }

    /// A change of the catalogue begins.
    pub fn call_map(&self) -> Tick {
        self.tick()
    }

    /// It is answered, and this is the map now.
    pub fn answer_map(&self, called: Tick, map: Arc<Catalogue>) {
        let answered = self.tick();
        self.change(|ledger| ledger.maps.push(MapChange { called, answered, map }));
    }
}
