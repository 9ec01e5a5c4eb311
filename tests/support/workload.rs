//! Seeded workloads: clients on several cores that write all that can be written, and one that changes
//! the catalogue under them.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use kyrodb::io::sim::Rng;
use kyrodb::limits;
use kyrodb::shard::catalogue::{Collection, Definition, Tablet};
use kyrodb::shard::key::{Key, KeyType};
use kyrodb::shard::message::WriteResult;
use kyrodb::shard::node::Node;
use kyrodb::shard::options::ShardOptions;
use kyrodb::shard::payload::{OCTET_STREAM, Payload};
use kyrodb::shard::record::{Change, Condition, Durability, Expiry, Refusal, Write};
use kyrodb::types::{Seq, WallMs};

use super::cluster::{Client, Cluster, options};
use super::ledger::Book;

/// What distinguishes one workload from another.
#[derive(Clone, Debug)]
pub struct Shape {
    pub cores: usize,
    clients: usize,
    writes: usize,
    /// Of a thousand puts, those with 10 to 100 KB.
    large_permille: u16,
    /// One value that does not fit into what is left of a segment.
    spans_segments: bool,
    changes_catalogue: bool,
    /// Some operations take long, so that others overtake them by far.
    pub slow_permille: u16,
    pub options: ShardOptions,
}

impl Shape {
    pub fn draw(rng: &mut Rng) -> Shape {
        let cores = [1, 1, 2, 2, 3][rng.index(5)];
        let checkpoint_log_bytes = [24 * 1024, 64 * 1024, 256 * 1024, 1 << 30][rng.index(4)];
        Shape {
            cores,
            clients: 2 + rng.index(3),
            writes: 12 + rng.index(20),
            large_permille: [0, 20, 20, 200][rng.index(4)],
            spans_segments: rng.chance(100),
            changes_catalogue: rng.chance(600),
            slow_permille: [0, 0, 50, 200][rng.index(4)],
            options: ShardOptions { checkpoint_log_bytes, ..options() },
        }
    }
}

/// The payloads of one workload, each another.
#[derive(Clone, Default)]
pub struct Payloads {
    made: Rc<RefCell<u64>>,
}

impl Payloads {
    pub fn next(&self, len: usize) -> Payload {
        *self.made.borrow_mut() += 1;
        let number = *self.made.borrow();
        let mut value = vec![number as u8; len];
        if len < 8 {
            // Too short to tell by its bytes: by its type.
            return Payload::new(&format!("test/{number}"), &value);
        }
        value[..8].copy_from_slice(&number.to_le_bytes());
        Payload::new(OCTET_STREAM, &value)
    }
}

/// A client's hands: its core, its dice, and the book that all clients keep.
#[derive(Clone)]
pub struct Hands {
    pub node: Node,
    pub book: Book,
    pub payloads: Payloads,
    pub rng: Rng,
}

/// Runs the workload to its end on a node that has started.
pub fn run(cluster: &mut Cluster, book: &Book, shape: &Shape, payloads: &Payloads, rng: &mut Rng) {
    let mut clients: Vec<(usize, Client)> = Vec::new();
    for client in 0..shape.clients {
        let core = rng.index(shape.cores);
        let mut hands = hands(cluster, core, book, payloads, rng);
        let (writes, large) = (shape.writes, shape.large_permille);
        let huge = shape.spans_segments && client == 0;
        clients.push((core, Box::pin(async move { write_along(&mut hands, writes, large, huge).await })));
    }
    if shape.changes_catalogue {
        let core = rng.index(shape.cores);
        let mut hands = hands(cluster, core, book, payloads, rng);
        clients.push((core, Box::pin(async move { change_along(&mut hands).await })));
    }
    cluster.run_all(clients).unwrap_or_else(|stuck| panic!("the workload hangs: {stuck}"));
}

pub fn hands(cluster: &Cluster, core: usize, book: &Book, payloads: &Payloads, rng: &mut Rng) -> Hands {
    Hands {
        node: cluster.nodes[core].for_client(),
        book: book.clone(),
        payloads: payloads.clone(),
        rng: Rng::new(rng.next_u64()),
    }
}

// ---- writes

async fn write_along(hands: &mut Hands, writes: usize, large_permille: u16, huge: bool) {
    for number in 0..writes {
        let Some(collection) = hands.any_collection() else { continue };
        match hands.rng.below(100) {
            0..3 => hands.pause().await,
            3..4 => drop(hands.node.snapshot().await.expect("snapshots work")),
            4..7 => hands.node.checkpoint().await.expect("checkpoints work"),
            7..18 => {
                let count = 2 + hands.rng.index(8);
                let writes = (0..count).map(|_| hands.any_write(&collection, large_permille)).collect();
                let results = hands.book.write_many(&hands.node, &collection, writes).await;
                results.iter().for_each(expected);
            }
            _ => {
                let mut write = hands.any_write(&collection, large_permille);
                if huge && number == writes / 2 {
                    let len = limits::MIB * 3 / 4 + hands.rng.index(limits::MIB / 2);
                    let payload = hands.payloads.next(len);
                    write.change = Change::Put { payload, expires: None };
                }
                expected(&hands.book.write(&hands.node, &collection, write).await);
            }
        }
    }
}

/// Without faults, a write is refused only for reasons that its client can give.
fn expected(result: &WriteResult) {
    let fine = matches!(
        result,
        Ok(_) | Err(Refusal::Absent | Refusal::ConditionFailed { .. } | Refusal::NoSuchCollection)
    );
    assert!(fine, "a write was refused: {result:?}");
}

impl Hands {
    fn any_collection(&mut self) -> Option<Arc<Collection>> {
        let map = self.node.catalogue();
        let index = self.rng.index(map.collections.len().max(1));
        map.collections.values().nth(index).cloned()
    }

    async fn pause(&mut self) {
        let pause = Duration::from_micros(self.rng.below(3000));
        self.node.runtime().sleep(pause).await;
    }

    fn any_write(&mut self, collection: &Collection, large_permille: u16) -> Write {
        let key = any_key(collection, &mut self.rng);
        let change = match self.rng.below(100) {
            0..18 => Change::Delete,
            _ => Change::Put { payload: self.any_payload(large_permille), expires: self.any_expiry() },
        };
        let condition = match self.rng.below(100) {
            0..6 => Condition::Absent,
            6..10 => Condition::Present,
            10..18 => Condition::SeqIs(self.some_version(collection, &key)),
            _ => Condition::None,
        };
        Write { key, change, condition, durability: any_durability(&mut self.rng), once: None }
    }

    /// A put of any value to a key of this tablet.
    pub fn put_in(&mut self, collection: &Collection, tablet: &Tablet) -> Write {
        let drawn = (0..100).map(|_| any_key(collection, &mut self.rng));
        let key = drawn.into_iter().find(|key| collection.tablet_of(key).id == tablet.id);
        // An empty range of the drawn keys has at least its first one.
        let key = key.unwrap_or_else(|| tablet.start.clone());
        let change = Change::Put { payload: self.any_payload(0), expires: None };
        Write { key, change, condition: Condition::None, durability: Durability::Fsync, once: None }
    }

    fn any_payload(&mut self, large_permille: u16) -> Payload {
        let large = self.rng.chance(large_permille);
        let len = match self.rng.below(10) {
            _ if large => 10_000 + self.rng.index(90_000),
            0 => 0,
            1 => self.rng.index(8),
            2..9 => self.rng.index(300),
            _ => self.rng.index(9_000),
        };
        self.payloads.next(len)
    }

    fn any_expiry(&mut self) -> Option<Expiry> {
        let now = self.node.runtime().wall().0;
        match self.rng.below(20) {
            0 => Some(Expiry::At(WallMs(now + 1 + self.rng.below(4)))),
            1 => Some(Expiry::At(WallMs(now + 3_600_000))),
            _ => None,
        }
    }

    /// The version that the key had last, as far as this client can know, or some other.
    fn some_version(&mut self, collection: &Collection, key: &Key) -> Seq {
        let place = (collection.id, key.clone());
        let last = self.book.read(|ledger| ledger.highest(&place, u64::MAX));
        if self.rng.chance(800) { last } else { Seq(1 + self.rng.below(50)) }
    }
}

pub fn any_key(collection: &Collection, rng: &mut Rng) -> Key {
    match collection.definition.key_type {
        KeyType::U64 => Key::from_u64(rng.below(12) * 10),
        KeyType::String => {
            let text = format!("{}{}", ["a", "key-", "longer-than-a-head-"][rng.index(3)], rng.below(4));
            Key::from_text(&text).expect("a short key")
        }
    }
}

pub fn any_durability(rng: &mut Rng) -> Durability {
    match rng.below(10) {
        0..6 => Durability::Fsync,
        6..8 => Durability::Interval,
        _ => Durability::Memory,
    }
}

// ---- the catalogue

async fn change_along(hands: &mut Hands) {
    for _ in 0..3 + hands.rng.index(4) {
        hands.pause().await;
        let name = ["things", "words"][hands.rng.index(2)];
        match hands.rng.below(10) {
            0..4 => hands.create(name).await,
            4..6 => hands.drop_collection(name).await,
            _ => {
                let name = ["default", "things"][hands.rng.index(2)];
                hands.split(name).await;
            }
        }
    }
}

impl Hands {
    async fn create(&mut self, name: &str) {
        let (key_type, cuts) = match name {
            "words" => (KeyType::String, ["b", "longer"].map(|text| Key::from_text(text).expect("a key"))),
            _ => (KeyType::U64, [30, 80].map(Key::from_u64)),
        };
        let split_at = if self.rng.coin() { cuts.to_vec() } else { Vec::new() };
        let called = self.book.call_map();
        let definition = Definition { split_at, ..Definition::of(key_type) };
        let created = self.node.create_collection(name, definition).await.expect("shard 0 answers");
        if created == Ok(true) {
            self.book.answer_map(called, self.node.catalogue());
        }
    }

    async fn drop_collection(&mut self, name: &str) {
        let called = self.book.call_map();
        if self.node.drop_collection(name).await.expect("shard 0 answers").is_ok() {
            self.book.answer_map(called, self.node.catalogue());
        }
    }

    async fn split(&mut self, name: &str) {
        let called = self.book.call_map();
        let cuts = [20, 50, 90].map(Key::from_u64);
        let cuts = cuts[..1 + self.rng.index(3)].to_vec();
        let mut changed = self.node.split_collection(name, cuts).await.expect("shard 0 answers").is_ok();
        if let Some(collection) = self.node.collection(name).filter(|_| !changed) {
            let cuts = [10, 20, 35, 50, 70, 90];
            let change = super::reshape::any(&collection, &cuts, self.node.shards(), &mut self.rng);
            changed = self.node.reshape(change).await.expect("shard 0 answers").is_ok();
        }
        if changed {
            self.book.answer_map(called, self.node.catalogue());
        }
    }
}
