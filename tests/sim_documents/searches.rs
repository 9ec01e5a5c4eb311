//! Searches and counts beside writes, and what they may have found.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use kyrodb::io::sim::Rng;
use kyrodb::shard::catalogue::Collection;
use kyrodb::shard::document::encoding::Parts;
use kyrodb::shard::document::fields::Fields;
use kyrodb::shard::document::filter::Filter;
use kyrodb::shard::document::render::Shown;
use kyrodb::shard::key::Key;
use kyrodb::shard::node::Node;
use kyrodb::shard::payload::Payload;
use kyrodb::shard::record::{Change, Expiry, Refusal};
use kyrodb::shard::search::gather::{self, Gathered, Page};
use kyrodb::shard::search::query::Query;
use kyrodb::types::{Seq, WallMs};
use kyrodb::vector::metric::Metric;

use super::workload::{GROUPS, NAME, Shape, any_vector};
use crate::support::cluster::{Client, Cluster};
use crate::support::judge::Seen;
use crate::support::ledger::{Book, Ledger, Tick};

/// No life takes so long.
pub const FAR_MS: u64 = 3_600_000;
/// More than there are.
const ALL_HITS: usize = 500;

/// What documents a search is for.
#[derive(Clone, Copy, Debug)]
pub enum Wanted {
    All,
    Group(u64),
    /// By a field that no index knows.
    Odd,
}

impl Wanted {
    fn any(rng: &mut Rng) -> Wanted {
        match rng.below(4) {
            0 => Wanted::Group(rng.below(GROUPS)),
            1 => Wanted::Odd,
            _ => Wanted::All,
        }
    }

    fn filter(self, fields: &Fields) -> Option<Filter> {
        let text = match self {
            Wanted::All => return None,
            Wanted::Group(group) => format!(r#"{{"group":{group}}}"#),
            Wanted::Odd => r#"{"odd":true}"#.to_owned(),
        };
        Some(Filter::parse(&text, fields).expect("a good filter"))
    }

    fn holds_of(self, payload: &Payload) -> bool {
        let metadata = Parts::of(payload.value()).and_then(Parts::metadata).expect("a document");
        let metadata: serde_json::Value = serde_json::from_str(metadata.text()).expect("JSON");
        match self {
            Wanted::All => true,
            Wanted::Group(group) => metadata["group"] == group,
            Wanted::Odd => metadata["odd"] == true,
        }
    }
}

pub type Hits = Vec<(Key, Seq, Payload)>;

#[derive(Clone, Debug)]
enum Answer {
    /// Without a limit that matters.
    Hits(Hits),
    /// By a walk, or with a limit: not all need be there.
    SomeHits(Hits),
    Count(u64),
}

/// A search, and when it began and ended.
#[derive(Clone, Debug)]
pub struct Asked {
    wanted: Wanted,
    began: Tick,
    ended: Tick,
    from: WallMs,
    to: WallMs,
    answer: Result<Answer, Refusal>,
}

pub fn query(collection: &Collection, wanted: Wanted, vector: Option<Vec<f32>>, limit: usize) -> Query {
    let schema = collection.definition.documents.as_ref().expect("a collection of documents");
    let filter = wanted.filter(&schema.fields);
    Query { vector, filter, limit, ef: None, is_exact: true }
}

pub async fn search(
    node: &Node,
    collection: &Arc<Collection>,
    query: Query,
    shown: Shown,
) -> Result<Gathered, Refusal> {
    let page = Page { after: None, min_score: None, limit: query.limit };
    gather::search(node, collection, query, &page, shown).await
}

pub fn hits(gathered: Gathered) -> Hits {
    let both = gathered.found.hits.into_iter().zip(gathered.records);
    both.map(|(hit, record)| (hit.key, hit.seq, record.payload)).collect()
}

pub async fn count(node: &Node, collection: &Arc<Collection>, wanted: Wanted) -> Result<u64, Refusal> {
    let query = Query { is_exact: false, ..query(collection, wanted, None, 0) };
    gather::find(node, collection, &Arc::new(query)).await.map(|found| found.matching)
}

/// With documents, or only with what a search knows itself.
fn any_shown(rng: &mut Rng) -> Shown {
    if rng.coin() { Shown::ALL } else { Shown { text: false, embedding: false, metadata: true } }
}

/// Any search or count.
pub async fn ask(node: &Node, collection: &Arc<Collection>, book: &Book, rng: &mut Rng) -> Asked {
    let wanted = Wanted::any(rng);
    let (began, from) = (book.now(), node.runtime().wall());
    let vector = Some(any_vector(rng));
    let answer = match rng.below(10) {
        0..6 => search(node, collection, query(collection, wanted, vector, ALL_HITS), any_shown(rng))
            .await
            .map(|found| Answer::Hits(hits(found))),
        6..8 => {
            let is_exact = rng.coin();
            let query = Query { is_exact, ..query(collection, wanted, vector, 1 + rng.index(12)) };
            search(node, collection, query, any_shown(rng)).await.map(|found| Answer::SomeHits(hits(found)))
        }
        _ => count(node, collection, wanted).await.map(Answer::Count),
    };
    Asked { wanted, began, ended: book.now(), from, to: node.runtime().wall(), answer }
}

/// What a key had at some time of a search.
struct Version<'a> {
    seq: Seq,
    payload: &'a Payload,
    expires: Option<WallMs>,
    /// All the time.
    stayed: bool,
}

/// What a search may have found, by key.
fn possible<'a>(ledger: &'a Ledger, asked: &Asked) -> BTreeMap<&'a Key, Vec<Version<'a>>> {
    let mut possible: BTreeMap<&Key, Vec<Version<'a>>> = BTreeMap::new();
    // Of what is over when the search begins, and of what was called before it ended.
    let (mut over, mut last): (BTreeMap<&Key, Seq>, BTreeMap<&Key, Seq>) = Default::default();
    let raise = |of: &mut BTreeMap<&'a Key, Seq>, key: &'a Key, seq: Seq| {
        let known = of.entry(key).or_default();
        *known = seq.max(*known);
    };
    for ((_, key), past) in &ledger.base {
        // One of several may have been there, but expired.
        let stayed = past.versions.len() == 1;
        for version in &past.versions {
            let (seq, payload, expires) = (version.seq, &version.payload, version.expires);
            raise(&mut last, key, seq);
            possible.entry(key).or_default().push(Version { seq, payload, expires, stayed });
        }
    }
    for entry in ledger.entries.iter().filter(|entry| entry.called <= asked.ended) {
        let Some((answered, Ok(written))) = &entry.answer else { continue };
        let (key, seq, stayed) = (&entry.place.1, written.seq, *answered <= asked.began);
        raise(&mut last, key, seq);
        if stayed {
            raise(&mut over, key, seq);
        }
        if let Change::Put { payload, expires } = &entry.write.change {
            let expires = expires.map(|expires| match expires {
                Expiry::At(at) => at,
                Expiry::In(_) => unreachable!("the workload says when"),
            });
            possible.entry(key).or_default().push(Version { seq, payload, expires, stayed });
        }
    }
    for (key, versions) in &mut possible {
        let over = over.get(key).copied().unwrap_or_default();
        versions.retain(|version| version.seq >= over);
        versions.iter_mut().for_each(|version| version.stayed &= version.seq == last[key]);
    }
    possible
}

/// What is shown of a document, all or only its metadata, is of this one.
fn shows(shown: &Payload, payload: &Payload) -> bool {
    let parts = |payload: &Payload| {
        Parts::of(payload.value())
            .and_then(Parts::document)
            .is_ok_and(|of| of.text.is_some() || of.embedding.is_some())
    };
    let metadata = |payload: &Payload| {
        let metadata = Parts::of(payload.value()).and_then(Parts::metadata).expect("a document");
        metadata.text().to_owned()
    };
    if parts(shown) { shown == payload } else { metadata(shown) == metadata(payload) }
}

fn has_embedding(payload: &Payload) -> bool {
    Parts::of(payload.value()).expect("a document").embedding().is_some()
}

impl Asked {
    /// Whether the writes explain what was found.
    pub fn check(&self, ledger: &Ledger) -> Result<(), String> {
        let possible = possible(ledger, self);
        let checked = match &self.answer {
            // Ranges were moved again and again, or an index is still read.
            Err(Refusal::Moved | Refusal::NotReady) => Ok(()),
            Err(refusal) => Err(format!("it was refused: {refusal}")),
            Ok(Answer::Hits(hits)) => {
                self.check_hits(hits, &possible).and_then(|()| self.check_all_there(hits, &possible))
            }
            Ok(Answer::SomeHits(hits)) => self.check_hits(hits, &possible),
            Ok(Answer::Count(count)) => self.check_count(*count, &possible),
        };
        let Asked { wanted, began, ended, .. } = self;
        checked.map_err(|error| format!("a search for {wanted:?} from {began} to {ended}: {error}"))
    }

    fn check_hits(&self, hits: &Hits, possible: &BTreeMap<&Key, Vec<Version<'_>>>) -> Result<(), String> {
        let mut keys = BTreeSet::new();
        for (key, seq, payload) in hits {
            let is_it = |version: &&Version<'_>| version.seq == *seq && shows(payload, version.payload);
            let version = possible.get(key).and_then(|versions| versions.iter().find(is_it));
            let Some(version) = version else {
                return Err(format!("{key:?} at {seq} is found, and was not there"));
            };
            if version.expires.is_some_and(|expires| expires <= self.from) {
                return Err(format!("{key:?} at {seq} is found, and its time was over"));
            }
            if !self.wanted.holds_of(payload) || !has_embedding(version.payload) {
                return Err(format!("{key:?} at {seq} is found, and was not asked for"));
            }
            if !keys.insert(key) {
                return Err(format!("{key:?} is found twice"));
            }
        }
        Ok(())
    }

    /// Documents that are asked for and were there all the time.
    fn stayed<'a>(
        &self,
        possible: &'a BTreeMap<&Key, Vec<Version<'a>>>,
    ) -> impl Iterator<Item = (&'a Key, &'a Version<'a>)> {
        let (wanted, to) = (self.wanted, self.to.0);
        let versions = possible.iter().flat_map(|(key, of)| of.iter().map(move |version| (*key, version)));
        versions.filter(move |(_, version)| {
            // Owners' clocks may be ahead.
            let lives = version.expires.is_none_or(|expires| expires.0 > to + FAR_MS / 2);
            version.stayed && lives && wanted.holds_of(version.payload)
        })
    }

    fn check_all_there(
        &self,
        hits: &Hits,
        possible: &BTreeMap<&Key, Vec<Version<'_>>>,
    ) -> Result<(), String> {
        let found: BTreeSet<&Key> = hits.iter().map(|(key, ..)| key).collect();
        let missing = self
            .stayed(possible)
            .find(|(key, version)| has_embedding(version.payload) && !found.contains(key));
        missing.map_or(Ok(()), |(key, version)| Err(format!("{key:?} at {} is not found", version.seq)))
    }

    /// What was replaced meanwhile may count as what it was and as what it became.
    fn check_count(&self, count: u64, possible: &BTreeMap<&Key, Vec<Version<'_>>>) -> Result<(), String> {
        let stayed = self.stayed(possible).count() as u64;
        let versions = possible.values().flatten();
        let all = versions.filter(|version| self.wanted.holds_of(version.payload)).count() as u64;
        match (stayed..=all).contains(&count) {
            true => Ok(()),
            false => Err(format!("{count} are counted, {stayed} to {all} were there")),
        }
    }
}

// ---- when nothing is written

/// What is found before anything else is asked of a node.
pub struct Early {
    found: Rc<RefCell<Vec<Result<Hits, Refusal>>>>,
}

impl Early {
    /// Searches for everything, from each core at once.
    pub fn ask(cluster: &mut Cluster, rng: &mut Rng) -> Result<Early, String> {
        let found: Rc<RefCell<Vec<Result<Hits, Refusal>>>> = Rc::default();
        let mut clients: Vec<(usize, Client)> = Vec::new();
        for (core, node) in cluster.nodes.iter().cloned().enumerate() {
            let (found, vector, shown) = (found.clone(), any_vector(rng), any_shown(rng));
            let pause = Duration::from_micros(rng.below(100));
            clients.push((
                core,
                Box::pin(async move {
                    let Some(collection) = node.collection(NAME) else { return };
                    node.runtime().sleep(pause).await;
                    let query = query(&collection, Wanted::All, Some(vector), ALL_HITS);
                    let hits = search(&node, &collection, query, shown).await.map(hits);
                    found.borrow_mut().push(hits);
                }),
            ));
        }
        cluster.run_all(clients).map_err(|stuck| format!("an early search hangs: {stuck}"))?;
        Ok(Early { found })
    }
}

/// Searches and counts agree with what is seen by keys.
pub fn check_found(
    cluster: &mut Cluster,
    shape: &Shape,
    (ledger, seen): (&Ledger, &Seen),
    early: Option<Early>,
    rng: &mut Rng,
) -> Result<(), String> {
    let core = rng.index(cluster.nodes.len());
    let (node, dice) = (cluster.nodes[core].clone(), Rng::new(rng.next_u64()));
    let Some(collection) = node.collection(NAME) else { return Ok(()) };
    let records: BTreeMap<Key, (Seq, Payload)> = seen
        .records
        .iter()
        .filter(|(place, _)| place.0 == collection.id)
        .map(|((_, key), found)| (key.clone(), (found.seq, found.payload.clone())))
        .collect();
    let soon = |found: &&kyrodb::shard::record::Found| {
        found.expires.is_some_and(|expires| expires.0 < seen.to.0 + FAR_MS / 2)
    };
    let optional: BTreeSet<Key> = seen
        .records
        .iter()
        .filter(|(place, found)| place.0 == collection.id && soon(found))
        .map(|((_, key), _)| key.clone())
        .collect();
    // Records whose time is over count until their deletion is logged.
    let expiring = ledger.expiring() as u64;
    let looked = Looked { records, optional, expiring, metric: shape.metric };
    for found in early.iter().flat_map(|early| early.found.take()) {
        let found = found.map_err(|refusal| format!("an early search was refused: {refusal}"))?;
        looked.check_hits(&found, Wanted::All, true).map_err(|error| format!("early: {error}"))?;
    }
    cluster
        .try_run(core, async move { looked.check(&node, &collection, dice).await })
        .map_err(|stuck| format!("a search hangs: {stuck}"))?
}

struct Looked {
    records: BTreeMap<Key, (Seq, Payload)>,
    /// Their time may be over by now.
    optional: BTreeSet<Key>,
    expiring: u64,
    metric: Metric,
}

impl Looked {
    async fn check(&self, node: &Node, collection: &Arc<Collection>, mut rng: Rng) -> Result<(), String> {
        self.check_all(node, collection, Wanted::All, &mut rng).await?;
        self.check_all(node, collection, Wanted::any(&mut rng), &mut rng).await?;
        for wanted in [Wanted::All, Wanted::any(&mut rng)] {
            let counted = count(node, collection, wanted).await;
            let counted = counted.map_err(|refusal| format!("a count was refused: {refusal}"))?;
            let matching = |least: bool| {
                let is_counted = |(key, (_, payload)): &(&Key, &(Seq, Payload))| {
                    wanted.holds_of(payload) && !(least && self.optional.contains(*key))
                };
                self.records.iter().filter(is_counted).count() as u64
            };
            let (least, most) = (matching(true), matching(false) + self.expiring);
            if !(least..=most).contains(&counted) {
                return Err(format!("{counted} of {wanted:?} are counted, {least} to {most} are there"));
            }
        }
        self.check_itself(node, collection, &mut rng).await
    }

    /// An exact search without a limit that matters finds each document, and nothing else.
    async fn check_all(
        &self,
        node: &Node,
        collection: &Arc<Collection>,
        wanted: Wanted,
        rng: &mut Rng,
    ) -> Result<(), String> {
        let query = query(collection, wanted, Some(any_vector(rng)), ALL_HITS);
        let found = search(node, collection, query, any_shown(rng)).await;
        let found = hits(found.map_err(|refusal| format!("a search was refused: {refusal}"))?);
        self.check_hits(&found, wanted, false)
    }

    fn check_hits(&self, found: &Hits, wanted: Wanted, is_early: bool) -> Result<(), String> {
        for (key, seq, payload) in found {
            match self.records.get(key) {
                Some((of, record)) if of == seq && shows(payload, record) && wanted.holds_of(record) => {}
                // Its time was over when the records were looked at.
                None if is_early => {}
                record => {
                    let there = record.map(|(seq, _)| seq);
                    return Err(format!("{key:?} at {seq} is found for {wanted:?}, {there:?} is there"));
                }
            }
        }
        let found: BTreeSet<&Key> = found.iter().map(|(key, ..)| key).collect();
        let missing = self.records.iter().find(|(key, (_, payload))| {
            let is_wanted = has_embedding(payload) && wanted.holds_of(payload);
            is_wanted && !self.optional.contains(*key) && !found.contains(*key)
        });
        match missing {
            Some((key, (seq, _))) => Err(format!("{key:?} at {seq} is not found for {wanted:?}")),
            None => Ok(()),
        }
    }

    /// A document is what is nearest to it.
    async fn check_itself(
        &self,
        node: &Node,
        collection: &Arc<Collection>,
        rng: &mut Rng,
    ) -> Result<(), String> {
        let lasting: Vec<(&Key, &(Seq, Payload))> =
            self.records.iter().filter(|(key, _)| !self.optional.contains(*key)).collect();
        if lasting.is_empty() || self.metric == Metric::Dot {
            return Ok(());
        }
        let (key, (seq, payload)) = lasting[rng.index(lasting.len())];
        let Some(embedding) = Parts::of(payload.value()).expect("a document").embedding() else {
            return Ok(());
        };
        let vector = embedding.numbers().collect();
        let query = query(collection, Wanted::All, Some(vector), 1);
        let found = search(node, collection, query, any_shown(rng)).await;
        let found = found.map_err(|refusal| format!("a search was refused: {refusal}"))?.found;
        match found.hits.first() {
            Some(hit) if (&hit.key, hit.seq) == (key, *seq) => Ok(()),
            first => Err(format!("{key:?} at {seq} is nearest to itself, found is {first:?}")),
        }
    }
}
