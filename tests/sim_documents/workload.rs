//! Seeded workloads on a collection of documents: clients that write and search, and one that moves its ranges.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use kyrodb::io::sim::Rng;
use kyrodb::shard::catalogue::{Collection, Definition};
use kyrodb::shard::document::embedding::EmbeddingShape;
use kyrodb::shard::document::encoding::{Document, Encoder, Parts, encode};
use kyrodb::shard::document::fields::Fields;
use kyrodb::shard::document::merge_patch::merge_patch;
use kyrodb::shard::document::metadata::Metadata;
use kyrodb::shard::document::schema::Schema;
use kyrodb::shard::key::{Key, KeyType};
use kyrodb::shard::message::WriteResult;
use kyrodb::shard::node::Node;
use kyrodb::shard::options::ShardOptions;
use kyrodb::shard::payload::Payload;
use kyrodb::shard::record::{Change, Condition, Durability, Expiry, Refusal, Write};
use kyrodb::shard::search::options::IndexOptions;
use kyrodb::types::WallMs;
use kyrodb::vector::element::Element;
use kyrodb::vector::metric::Metric;

use super::searches::{self, Asked};
use crate::support::cluster::{Client, Cluster, options};
use crate::support::ledger::Book;
use crate::support::{reshape, workload::any_durability};

pub const NAME: &str = "documents";
pub const DIMENSION: usize = 4;
/// `group` is declared, `odd` is not.
const FIELDS: &str = r#"{"group":"i64","tags":"keyword[]"}"#;
pub const GROUPS: u64 = 4;

/// What distinguishes one workload from another.
#[derive(Clone, Debug)]
pub struct Shape {
    pub cores: usize,
    pub keys: u64,
    clients: usize,
    operations: usize,
    reshapes: bool,
    key_type: KeyType,
    pub metric: Metric,
    pub options: ShardOptions,
}

impl Shape {
    pub fn draw(rng: &mut Rng) -> Shape {
        let checkpoint_log_bytes = [24 * 1024, 64 * 1024, 1 << 30][rng.index(3)];
        let index = IndexOptions {
            head_documents_min: 2 + rng.index(6),
            sealed_documents_min: 2 + rng.index(4),
            quiet: Duration::from_micros(200 + rng.below(1500)),
            file_documents_min: 1 + rng.index(8),
            file_chunk_bytes: [1, 200, 4096][rng.index(3)],
        };
        Shape {
            cores: [2, 2, 2, 3][rng.index(4)],
            keys: [12, 24, 40][rng.index(3)],
            clients: 2 + rng.index(3),
            operations: 10 + rng.index(16),
            reshapes: rng.chance(600),
            key_type: if rng.coin() { KeyType::U64 } else { KeyType::String },
            metric: [Metric::L2, Metric::Cosine, Metric::Dot][rng.index(3)],
            options: ShardOptions { checkpoint_log_bytes, index, ..options() },
        }
    }

    /// Nothing is drawn of a collection with such keys.
    pub fn of_numbers(keys: u64) -> Shape {
        Shape { keys, key_type: KeyType::U64, metric: Metric::L2, ..Shape::draw(&mut Rng::new(1)) }
    }

    pub fn key(&self, number: u64) -> Key {
        match self.key_type {
            KeyType::U64 => Key::from_u64(number),
            KeyType::String => Key::from_text(&format!("document-{number:03}")).expect("a short key"),
        }
    }

    pub fn definition(&self, rng: &mut Rng) -> Definition {
        let embedding = EmbeddingShape::new(DIMENSION, self.metric, Element::F32).expect("in range");
        let fields = Fields::parse(FIELDS).expect("good fields");
        let split_at = if rng.coin() { vec![self.key(self.keys / 2)] } else { Vec::new() };
        let documents = Some(Schema { embedding: Some(embedding), fields });
        Definition { split_at, documents, ..Definition::of(self.key_type) }
    }
}

pub fn any_vector(rng: &mut Rng) -> Vec<f32> {
    (0..DIMENSION).map(|_| rng.below(2_000_001) as f32 / 1e6 - 1.0).collect()
}

/// A client's hands: its core, its dice, what was found, and the book that all clients keep.
#[derive(Clone)]
pub struct Hands {
    pub node: Node,
    pub book: Book,
    pub rng: Rng,
    shape: Rc<Shape>,
    asked: Rc<RefCell<Vec<Asked>>>,
}

/// Creates the collection, if it is not there.
pub fn create(cluster: &mut Cluster, book: &Book, shape: &Shape, rng: &mut Rng) {
    let (node, called) = (cluster.nodes[0].clone(), book.call_map());
    let definition = shape.definition(rng);
    let created = cluster.run(0, async move {
        node.create_collection(NAME, definition).await.expect("shard 0 answers").expect("a good definition")
    });
    if created {
        book.answer_map(called, cluster.nodes[0].catalogue());
    }
}

/// Runs the workload to its end on a node that has started; gives what was found by searches.
pub fn run(cluster: &mut Cluster, book: &Book, shape: &Shape, rng: &mut Rng) -> Vec<Asked> {
    let operations = shape.operations;
    run_some(cluster, book, shape, (shape.clients, operations), rng)
}

pub fn run_some(
    cluster: &mut Cluster,
    book: &Book,
    shape: &Shape,
    (clients, operations): (usize, usize),
    rng: &mut Rng,
) -> Vec<Asked> {
    let asked: Rc<RefCell<Vec<Asked>>> = Rc::default();
    let shared = Rc::new(shape.clone());
    let hands_on = |core: usize, rng: &mut Rng| Hands {
        node: cluster.nodes[core].for_client(),
        book: book.clone(),
        rng: Rng::new(rng.next_u64()),
        shape: shared.clone(),
        asked: asked.clone(),
    };
    let mut all: Vec<(usize, Client)> = Vec::new();
    let working = Rc::new(Cell::new(clients));
    for _ in 0..clients {
        let core = rng.index(shape.cores);
        let (mut hands, working) = (hands_on(core, rng), working.clone());
        all.push((
            core,
            Box::pin(async move {
                hands.work(operations).await;
                working.set(working.get() - 1);
            }),
        ));
    }
    // One that only searches, all the time.
    let core = rng.index(shape.cores);
    let mut hands = hands_on(core, rng);
    all.push((
        core,
        Box::pin(async move {
            while working.get() > 0 {
                hands.search().await;
                hands.pause(1500).await;
            }
        }),
    ));
    if shape.reshapes {
        let core = rng.index(shape.cores);
        let mut hands = hands_on(core, rng);
        all.push((core, Box::pin(async move { hands.reshape_along().await })));
    }
    cluster.run_all(all).unwrap_or_else(|stuck| panic!("the workload hangs: {stuck}"));
    asked.take()
}

/// A write is refused only for reasons that its client can give.
fn expected(result: &WriteResult) {
    let fine = matches!(result, Ok(_) | Err(Refusal::Absent | Refusal::ConditionFailed { .. }));
    assert!(fine, "a write was refused: {result:?}");
}

impl Hands {
    fn collection(&self) -> Arc<Collection> {
        self.node.collection(NAME).expect("it was created")
    }

    async fn work(&mut self, operations: usize) {
        for _ in 0..operations {
            match self.rng.below(100) {
                0..6 => self.pause(4000).await,
                6..9 => self.node.checkpoint().await.expect("checkpoints work"),
                9..21 => {
                    let count = 2 + self.rng.index(10);
                    let writes = (0..count).map(|_| self.any_write()).collect();
                    let results = self.book.write_many(&self.node, &self.collection(), writes).await;
                    results.iter().for_each(expected);
                }
                21..33 => self.patch().await,
                33..45 => self.search().await,
                _ => {
                    let write = self.any_write();
                    expected(&self.book.write(&self.node, &self.collection(), write).await);
                }
            }
        }
    }

    async fn pause(&mut self, us_max: u64) {
        let pause = Duration::from_micros(self.rng.below(us_max));
        self.node.runtime().sleep(pause).await;
    }

    async fn search(&mut self) {
        let asked = searches::ask(&self.node, &self.collection(), &self.book, &mut self.rng).await;
        self.asked.borrow_mut().push(asked);
    }

    fn any_key(&mut self) -> Key {
        self.shape.key(self.rng.below(self.shape.keys))
    }

    pub fn any_write(&mut self) -> Write {
        let key = self.any_key();
        let change = match self.rng.below(100) {
            0..25 => Change::Delete,
            _ => Change::Put { payload: self.any_document(), expires: self.any_expiry() },
        };
        let condition = match self.rng.below(100) {
            0..5 => Condition::Absent,
            5..10 => Condition::Present,
            _ => Condition::None,
        };
        Write { key, change, condition, durability: any_durability(&mut self.rng), once: None }
    }

    fn any_document(&mut self) -> Payload {
        let mut encoder = Encoder::new();
        if self.rng.chance(900) {
            let out = encoder.room_for_embedding(Element::F32, 4 * DIMENSION);
            Element::F32.encode(&any_vector(&mut self.rng), out);
        }
        let text = "x".repeat(if self.rng.chance(40) { 3000 } else { self.rng.index(60) });
        let (group, odd) = (self.rng.below(GROUPS), self.rng.coin());
        let metadata = format!(r#"{{"group":{group},"odd":{odd},"tags":["t{}"]}}"#, self.rng.below(3));
        Payload::document(&encoder.finish(Some(&text), Metadata::from_compact(&metadata)))
    }

    fn any_expiry(&mut self) -> Option<Expiry> {
        let now = self.node.runtime().wall().0;
        match self.rng.below(16) {
            0 => Some(Expiry::At(WallMs(now + 1 + self.rng.below(5)))),
            1 => Some(Expiry::At(WallMs(now + searches::FAR_MS))),
            _ => None,
        }
    }

    /// As the route does, but once.
    async fn patch(&mut self) {
        let (key, collection) = (self.any_key(), self.collection());
        let found = self.node.get(&collection, &key).get().await.expect("reads are answered");
        let Some(found) = found else { return };
        let before = Parts::of(found.payload.value()).and_then(Parts::document).expect("a document");
        let patch = format!(r#"{{"group":{},"tags":null}}"#, self.rng.below(GROUPS));
        let metadata = merge_patch(before.metadata, &patch).expect("a good patch");
        let metadata = Metadata::from_compact(&metadata);
        let payload = Payload::document(&encode(&Document { metadata, ..before }));
        let change = Change::Put { payload, expires: found.expires.map(Expiry::At) };
        let condition = Condition::SeqIs(found.seq);
        let write = Write { key, change, condition, durability: Durability::Fsync, once: None };
        expected(&self.book.write(&self.node, &collection, write).await);
    }

    async fn reshape_along(&mut self) {
        for _ in 0..1 + self.rng.index(3) {
            self.pause(4000).await;
            let called = self.book.call_map();
            let cuts: Vec<Key> =
                [0, 1, 2, 3, 4].iter().map(|part| self.shape.key(self.shape.keys * part / 5)).collect();
            let change = reshape::any_of(&self.collection(), &cuts, self.node.shards(), &mut self.rng);
            if self.node.reshape(change).await.expect("shard 0 answers").is_ok() {
                self.book.answer_map(called, self.node.catalogue());
            }
        }
    }
}
