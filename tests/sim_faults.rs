//! A sync or write error at every site, and a full disk.

mod support;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use kyrodb::io::sim::{CrashPolicy, Disk, Faults, Rng, SimConfig};
use kyrodb::shard::catalogue::Definition;
use kyrodb::shard::key::{Key, KeyType};
use kyrodb::shard::node::Node;
use kyrodb::shard::options::ShardOptions;
use kyrodb::shard::payload::{OCTET_STREAM, Payload};
use kyrodb::shard::record::{Change, Condition, Durability, Refusal, Write};
use kyrodb::shard::stats::Phase;
use kyrodb::types::ShardId;
use support::cluster::{Client, Cluster, options};
use support::judge::{judge, look};
use support::ledger::{Book, Tick};
use support::workload::any_durability;

const CORES: usize = 2;
const MIB: u64 = 1 << 20;

fn small() -> ShardOptions {
    ShardOptions { checkpoint_log_bytes: 48 * 1024, ..options() }
}

fn put(key: u64, payload: Payload, durability: Durability) -> Write {
    let change = Change::Put { payload, expires: None };
    Write { key: Key::from_u64(key), change, condition: Condition::None, durability, once: None }
}

/// Ends in which the `n`th of the operations counted by `count` fails.
type Fault = fn(u64) -> Faults;

fn sync_error(at: u64) -> Faults {
    Faults { sync_error_at: Some(at), ..Faults::default() }
}

fn write_error(at: u64) -> Faults {
    Faults { write_error_at: Some(at), ..Faults::default() }
}

// ---- errors while the node starts

/// Whatever fails in the first start or in a later one, the next start works.
fn start_with_errors(fault: Fault, count: fn(&Cluster) -> u64) -> u64 {
    let mut sites = 0;
    let mut disk = Disk::default();
    for life in 0..3 {
        let mut whole = Cluster::boot(life, disk.clone(), SimConfig::cores(CORES), &small());
        whole.start().expect("starts without faults");
        for n in 1..=count(&whole) {
            let config = SimConfig { faults: fault(n), ..SimConfig::cores(CORES) };
            let mut cluster = Cluster::boot(life, disk.clone(), config, &small());
            // It may start, refuse, or leave one shard waiting for another.
            let _ = cluster.start_unless(|| false);
            for policy in [CrashPolicy::KeepNothing, CrashPolicy::Random, CrashPolicy::KeepAll] {
                let image = cluster.sim.crash(policy);
                let mut again = Cluster::boot(life, image, SimConfig::cores(CORES), &small());
                again.start().unwrap_or_else(|error| panic!("life {life}, site {n}: {error}"));
            }
            sites += 1;
        }
        disk = whole.sim.crash(CrashPolicy::KeepNothing);
    }
    sites
}

#[test]
fn an_error_at_every_site_of_a_start_harms_nothing() {
    let syncs = start_with_errors(sync_error, |cluster| cluster.sim.world().counts().syncs);
    let writes = start_with_errors(write_error, |cluster| cluster.sim.world().counts().writes);
    assert!(syncs > 30 && writes > 30, "{syncs} syncs, {writes} writes");
    println!("an error at each of {syncs} syncs and {writes} writes of a start");
}

// ---- errors while clients write

/// A node with a collection on both cores, and what its clients know.
struct Scene {
    cluster: Cluster,
    book: Book,
    /// When each shard first said that its log failed.
    failed: Rc<RefCell<BTreeMap<ShardId, Tick>>>,
    /// Acknowledgements of a shard behind that.
    late: Rc<RefCell<Vec<String>>>,
}

impl Scene {
    fn new(seed: u64) -> Scene {
        let mut cluster = Cluster::boot(seed, Disk::default(), SimConfig::cores(CORES), &small());
        cluster.start().expect("a new node starts");
        let book = Book::default();
        let (node, split_at) = (cluster.nodes[0].clone(), vec![Key::from_u64(10)]);
        let definition = Definition { split_at, ..Definition::of(KeyType::U64) };
        cluster.run(0, async move {
            node.create_collection("wide", definition).await.expect("ready").expect("new");
        });
        book.answer_map(0, cluster.nodes[0].catalogue());
        Scene { cluster, book, failed: Rc::default(), late: Rc::default() }
    }

    fn run(&mut self, seed: u64) {
        let mut rng = Rng::new(seed);
        let mut clients: Vec<(usize, Client)> = Vec::new();
        for number in 0..3 {
            let core = number % CORES;
            let client = ErrorClient {
                node: self.cluster.nodes[core].clone(),
                book: self.book.clone(),
                failed: self.failed.clone(),
                late: self.late.clone(),
                rng: Rng::new(rng.next_u64()),
            };
            clients.push((core, Box::pin(client.work(number as u64))));
        }
        self.cluster.run_all(clients).unwrap_or_else(|stuck| panic!("seed {seed}: a client hangs: {stuck}"));
    }

    /// Reads go on, writes to a failed shard do not, and its phase says so.
    fn check_failed(&mut self) -> usize {
        assert!(self.late.borrow().is_empty(), "{:?}", self.late.borrow());
        let (node, failed) = (self.cluster.nodes[0].clone(), self.failed.borrow().clone());
        let shards: Vec<ShardId> = failed.keys().copied().collect();
        self.cluster.run(0, async move {
            for stats in node.stats().await {
                let failed = shards.contains(&stats.shard);
                assert!(!failed || stats.phase == Phase::Poisoned, "{stats:?}");
                if stats.phase == Phase::Poisoned {
                    let collection = node.collection("wide").expect("made at the start");
                    let key = if stats.shard == collection.tablets[0].owner { 1 } else { 11 };
                    assert!(node.get(&collection, &Key::from_u64(key)).get().await.is_ok(), "reads go on");
                    let payload = Payload::new(OCTET_STREAM, b"late");
                    for durability in [Durability::Fsync, Durability::Interval, Durability::Memory] {
                        let refused =
                            node.write(&collection, put(key, payload.clone(), durability)).get().await;
                        assert_eq!(refused, Err(Refusal::StorageFailed { shard: stats.shard }));
                    }
                }
            }
        });
        failed.len()
    }

    /// After a restart without the fault everything acknowledged as durable is there.
    fn check_restart(&mut self, seed: u64) {
        let at = self.book.now();
        let mut rng = Rng::new(seed);
        for policy in [CrashPolicy::KeepNothing, CrashPolicy::Random] {
            let image = self.cluster.sim.crash(policy);
            let mut again = Cluster::boot(seed, image, SimConfig::cores(CORES), &small());
            again.start().unwrap_or_else(|error| panic!("the node does not start again: {error}"));
            let mut ledger = self.book.read(Clone::clone);
            let seen = look(&mut again, &ledger, &mut rng).expect("reads agree");
            ledger.adopt(&seen.records);
            judge(&ledger, at, &seen).unwrap_or_else(|message| panic!("seed {seed}: {message}"));
        }
    }
}

struct ErrorClient {
    node: Node,
    book: Book,
    failed: Rc<RefCell<BTreeMap<ShardId, Tick>>>,
    late: Rc<RefCell<Vec<String>>>,
    rng: Rng,
}

impl ErrorClient {
    async fn work(mut self, number: u64) {
        for n in 0..15 {
            if self.rng.chance(60) {
                // Fails when the shard has failed.
                let _ = self.node.checkpoint().await;
            }
            let key = self.rng.below(20);
            let mut value = vec![n as u8; 16 + self.rng.index(6000)];
            value[..8].copy_from_slice(&(number * 100 + n).to_le_bytes());
            let write = put(key, Payload::new(OCTET_STREAM, &value), any_durability(&mut self.rng));
            let collection = self.node.collection("wide").expect("made at the start");
            let shard = collection.tablet_of(&write.key).owner;
            let called = self.book.now();
            match self.book.write(&self.node, &collection, write).await {
                Ok(written) => {
                    // An answer from before the failure may still have been on its way between cores.
                    if self.failed.borrow().get(&shard).is_some_and(|since| *since <= called) {
                        self.late.borrow_mut().push(format!("{written:?} of shard {shard}"));
                    }
                }
                Err(Refusal::StorageFailed { shard }) => {
                    self.failed.borrow_mut().entry(shard).or_insert(self.book.now());
                }
                // No new segment can be had, or not at once.
                Err(Refusal::DiskFull) => self.node.runtime().sleep(Duration::from_millis(50)).await,
                Err(refusal) => panic!("{refusal}"),
            }
        }
    }
}

fn write_with_errors(fault: Fault, only: Option<&str>, count: fn(&Cluster) -> u64) -> (u64, usize) {
    let (mut sites, mut failures) = (0, 0);
    for seed in 0..2 {
        let only = only.map(str::to_owned);
        let with = |faults| Faults { only_paths_with: only.clone(), ..faults };
        let mut whole = Scene::new(seed);
        whole.cluster.sim.world().set_faults(with(Faults::default()));
        let before = count(&whole.cluster);
        whole.run(seed);
        for n in before + 1..=count(&whole.cluster) {
            let mut scene = Scene::new(seed);
            scene.cluster.sim.world().set_faults(with(fault(n)));
            scene.run(seed);
            failures += scene.check_failed();
            scene.check_restart(seed);
            sites += 1;
        }
    }
    (sites, failures)
}

#[test]
fn no_write_is_acknowledged_behind_a_sync_error() {
    let count = |cluster: &Cluster| cluster.sim.world().counts().syncs;
    let (sites, failures) = write_with_errors(sync_error, None, count);
    assert!(sites > 100 && failures > 50, "{failures} shards failed at {sites} sites");
    println!("a sync error at each of {sites} sites: {failures} shards failed");
}

#[test]
fn no_write_is_acknowledged_behind_a_write_error() {
    let count = |cluster: &Cluster| cluster.sim.world().counts().writes;
    let (sites, failures) = write_with_errors(write_error, None, count);
    assert!(sites > 100 && failures > 50, "{failures} shards failed at {sites} sites");
    println!("a write error at each of {sites} sites: {failures} shards failed");
}

// ---- a full disk

/// What a writer of a full disk knows: the last acknowledged version of each key.
type Acked = Rc<RefCell<BTreeMap<u64, Payload>>>;

fn filled(key: u64, round: u64) -> Payload {
    let mut value = vec![round as u8; 16 * 1024];
    value[..8].copy_from_slice(&key.to_le_bytes());
    Payload::new(OCTET_STREAM, &value)
}

async fn send(node: &Node, write: Write) -> Result<(), Refusal> {
    let collection = node.collection("default").expect("exists from the start");
    node.write(&collection, write).get().await.map(|_| ())
}

/// Writes until the disk is full; gives how many were acknowledged.
async fn fill(node: &Node, pace: Duration, acked: &Acked, from: u64) -> u64 {
    for key in from..from + 100_000 {
        match send(node, put(key, filled(key, 1), Durability::Fsync)).await {
            Ok(()) => drop(acked.borrow_mut().insert(key, filled(key, 1))),
            Err(Refusal::DiskFull) => return key - from,
            Err(refusal) => panic!("a full disk answers {refusal}"),
        }
        node.runtime().sleep(pace).await;
    }
    panic!("the disk never fills")
}

async fn remove(node: &Node, keys: impl Iterator<Item = u64>, acked: &Acked) {
    for key in keys {
        let payload = filled(key, 0);
        let write = Write { change: Change::Delete, ..put(key, payload, Durability::Fsync) };
        let mut tries = 0;
        while let Err(refusal) = send(node, write.clone()).await {
            // What is left to deletes was used up; checkpoints make room.
            assert!(refusal == Refusal::DiskFull && tries < 50, "a delete is refused: {refusal}");
            tries += 1;
            node.runtime().sleep(Duration::from_millis(100)).await;
        }
        acked.borrow_mut().remove(&key);
    }
}

async fn check_reads(node: &Node, acked: &Acked) {
    let collection = node.collection("default").expect("exists from the start");
    let wanted = acked.borrow().clone();
    for (key, payload) in wanted {
        let found = node.get(&collection, &Key::from_u64(key)).get().await.expect("reads go on");
        assert!(found.is_some_and(|found| found.payload == payload), "key {key} is lost");
    }
}

/// Writes are taken again within some seconds.
async fn resumes(node: &Node, acked: &Acked, key: u64) {
    for _ in 0..100 {
        if send(node, put(key, filled(key, 2), Durability::Fsync)).await.is_ok() {
            acked.borrow_mut().insert(key, filled(key, 2));
            return;
        }
        node.runtime().sleep(Duration::from_millis(100)).await;
    }
    panic!("writes do not resume: {:?}", node.stats().await)
}

fn on_a_small_disk(seed: u64, capacity: u64) -> (Cluster, Acked) {
    let faults = Faults { capacity_bytes: Some(capacity), ..Faults::default() };
    let config = SimConfig { faults, ..SimConfig::cores(1) };
    let options = ShardOptions { checkpoint_log_bytes: 2 * MIB, ..options() };
    let mut cluster = Cluster::boot(seed, Disk::default(), config, &options);
    cluster.start().expect("a new node starts");
    (cluster, Acked::default())
}

fn check_after_restart(cluster: Cluster, acked: Acked) {
    let disk = cluster.sim.crash(CrashPolicy::KeepNothing);
    let mut again = Cluster::boot(9, disk, SimConfig::cores(1), &options());
    again.start().expect("starts again");
    let node = again.nodes[0].clone();
    again.run(0, async move { check_reads(&node, &acked).await });
}

/// From a trickle to as fast as the disk takes it.
const PACES: [Duration; 3] = [Duration::from_millis(20), Duration::from_millis(2), Duration::ZERO];

#[test]
fn a_full_disk_refuses_puts_until_it_is_larger() {
    for (seed, pace) in (0..).zip(PACES) {
        let (mut cluster, acked) = on_a_small_disk(seed, 16 * MIB);
        let (node, known) = (cluster.nodes[0].clone(), acked.clone());
        cluster.run(0, async move {
            let written = fill(&node, pace, &known, 0).await;
            assert!(written > 50, "only {written} values of 16 KiB fit on 16 MiB");
            check_reads(&node, &known).await;
            remove(&node, 0..20, &known).await;
            assert!(node.stats().await[0].disk_full);
        });
        cluster.sim.world().set_faults(Faults { capacity_bytes: Some(64 * MIB), ..Faults::default() });
        let (node, known) = (cluster.nodes[0].clone(), acked.clone());
        cluster.run(0, async move {
            resumes(&node, &known, 0).await;
            check_reads(&node, &known).await;
        });
        check_after_restart(cluster, acked);
    }
}

/// Nothing is deleted, so no segment of log begins that could tell.
#[test]
fn room_that_others_make_on_a_full_disk_is_noticed() {
    let (mut cluster, acked) = on_a_small_disk(7, 16 * MIB);
    let (node, known) = (cluster.nodes[0].clone(), acked.clone());
    cluster.run(0, async move {
        let written = fill(&node, PACES[1], &known, 0).await;
        node.runtime().sleep(Duration::from_secs(5)).await;
        assert!(written > 50 && node.stats().await[0].disk_full);
    });
    cluster.sim.world().set_faults(Faults { capacity_bytes: Some(64 * MIB), ..Faults::default() });
    let node = cluster.nodes[0].clone();
    cluster.run(0, async move { resumes(&node, &acked, 0).await });
}

#[test]
fn a_full_disk_takes_puts_again_after_deletes() {
    for (seed, pace) in (10..).zip(PACES) {
        let (mut cluster, acked) = on_a_small_disk(seed, 16 * MIB);
        let (node, known) = (cluster.nodes[0].clone(), acked.clone());
        cluster.run(0, async move {
            let mut from = 0;
            for _ in 0..3 {
                let written = fill(&node, pace, &known, from).await;
                remove(&node, from..from + written, &known).await;
                from += written;
                node.checkpoint().await.expect("a checkpoint finds room");
                resumes(&node, &known, from).await;
                from += 1;
                check_reads(&node, &known).await;
            }
            assert_eq!(node.stats().await[0].phase, Phase::Serving);
        });
        check_after_restart(cluster, acked);
    }
}
