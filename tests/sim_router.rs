//! The learned range router: loads that are skewed become even while they go on, nothing is lost on the way, and
//! a crash at any moment leaves all that was acknowledged.

mod support;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use kyrodb::io::sim::{CrashPolicy, Disk, Rng, SimConfig};
use kyrodb::shard::balance::{BalanceOptions, Reason};
use kyrodb::shard::catalogue::{CatalogueError, Definition, Placement};
use kyrodb::shard::key::{Key, KeyType};
use kyrodb::shard::node::Node;
use kyrodb::shard::options::ShardOptions;
use kyrodb::shard::record::{Durability, Write};
use support::cluster::{Client, Cluster, options};
use support::small::{put, value};

const SHARDS: usize = 4;
const WRITERS: u64 = 8;
const BATCH: usize = 5;
const PAUSE: Duration = Duration::from_millis(20);
/// The promise: this close to the mean, so soon.
const RATIO: f64 = 1.25;
const PATIENCE: Duration = Duration::from_secs(60);
const KIB: u64 = 1024;

/// Where keys come from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Skew {
    Lognormal,
    Timestamps,
    Tenant,
}

/// The version of each key that was acknowledged last, and one that may or may not have been.
#[derive(Default)]
struct Ledger {
    acked: RefCell<BTreeMap<u64, u64>>,
    open: RefCell<BTreeMap<u64, u64>>,
    written: Cell<u64>,
    over: Cell<bool>,
    skew: Cell<Option<Skew>>,
}

impl Ledger {
    /// Each writer has keys of its own, so that the last one is known.
    fn key(&self, writer: u64, number: u64, rng: &mut Rng) -> u64 {
        let key = match self.skew.get().expect("begun") {
            Skew::Lognormal => lognormal(rng),
            Skew::Timestamps => (1 << 60) + number * 1000,
            Skew::Tenant => (7 << 50) + rng.below(1 << 40),
        };
        key & !(WRITERS - 1) | writer
    }

    async fn write(self: Rc<Self>, node: Node, writer: u64, mut rng: Rng) {
        while !self.over.get() {
            let collection = node.collection("default").expect("exists from the start");
            let mut writes: BTreeMap<u64, u64> = BTreeMap::new();
            for _ in 0..BATCH {
                let number = self.written.replace(self.written.get() + 1);
                writes.insert(self.key(writer, number, &mut rng), number + 1);
            }
            self.open.borrow_mut().extend(&writes);
            let durability = if writer.is_multiple_of(2) { Durability::Fsync } else { Durability::Interval };
            let batch = writes
                .iter()
                .map(|(key, version)| Write { durability, ..put(*key, value(*key, *version, 100)) });
            for (written, (key, version)) in
                node.write_many(&collection, batch.collect()).get().await.iter().zip(&writes)
            {
                if let Err(refusal) = written {
                    panic!("key {key}: {refusal}");
                }
                self.acked.borrow_mut().insert(*key, *version);
                self.open.borrow_mut().remove(key);
            }
            node.runtime().sleep(PAUSE).await;
        }
    }
}

/// exp of a normal number, by Box and Muller.
fn lognormal(rng: &mut Rng) -> u64 {
    let mut unit = || (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    let radius = (-2.0 * (1.0 - unit()).ln()).sqrt();
    let normal = radius * (std::f64::consts::TAU * unit()).cos();
    ((2.0 * normal).exp() * 1e12) as u64
}

fn router_options(period: Duration) -> ShardOptions {
    let balance = BalanceOptions { period, bytes_min: 64 * KIB, heat_min: 1_000_000 };
    ShardOptions { checkpoint_log_bytes: 256 * KIB, part_bytes: 256 * KIB, balance, ..options() }
}

fn started(seed: u64, disk: Disk, options: &ShardOptions) -> Cluster {
    let mut cluster = Cluster::boot(seed, disk, SimConfig::cores(SHARDS), options);
    cluster.start().unwrap_or_else(|error| panic!("seed {seed}: the node does not start: {error}"));
    cluster
}

/// Records of each shard, by the map.
async fn records(node: &Node) -> Vec<u64> {
    let loads = node.loads().await.expect("ready");
    let map = node.catalogue();
    let mut sums = vec![0; SHARDS];
    for tablet in map.collections.values().flat_map(|collection| &collection.tablets) {
        let owner = usize::from(tablet.owner.0);
        let load = loads[owner].iter().find(|load| load.tablet == tablet.id);
        sums[owner] += load.map_or(0, |load| load.records);
    }
    sums
}

fn ratio(records: &[u64]) -> f64 {
    let mean = records.iter().sum::<u64>() as f64 / records.len() as f64;
    *records.iter().max().expect("shards") as f64 / mean
}

fn writers(cluster: &Cluster, ledger: &Rc<Ledger>, rng: &mut Rng) -> Vec<(usize, Client)> {
    let writer = |writer: u64| -> (usize, Client) {
        let core = writer as usize % SHARDS;
        let rng = Rng::new(rng.next_u64());
        (core, Box::pin(ledger.clone().write(cluster.nodes[core].for_client(), writer, rng)))
    };
    (0..WRITERS).map(writer).collect()
}

/// Lets writers go on by one distribution until the shards are even, and a while longer; gives how long it took.
async fn watch(node: Node, ledger: Rc<Ledger>, skew: Skew, least: Duration) -> Duration {
    ledger.skew.set(Some(skew));
    let began = node.runtime().now();
    let since = |node: &Node| Duration::from_nanos(node.runtime().now().since(began));
    let mut even = None;
    loop {
        node.runtime().sleep(Duration::from_secs(1)).await;
        let (records, took) = (records(&node).await, since(&node));
        let tablets = node.collection("default").expect("there").tablets.len();
        println!("{skew:?} {:>3} s: {:.3} {records:?} in {tablets} tablets", took.as_secs(), ratio(&records));
        if ratio(&records) > RATIO {
            even = None;
        } else if even.is_none() {
            even = Some(took);
        }
        match even {
            Some(even) if took >= least => return even,
            None if took >= PATIENCE => panic!("{skew:?}: still {:.3} after {took:?}", ratio(&records)),
            _ => {}
        }
    }
}

/// Reads all that was acknowledged.
async fn assert_all_there(node: &Node, ledger: &Ledger) -> usize {
    let collection = node.collection("default").expect("exists from the start");
    let acked: Vec<(u64, u64)> =
        ledger.acked.borrow().iter().map(|(key, version)| (*key, *version)).collect();
    for stretch in acked.chunks(1000) {
        let keys = stretch.iter().map(|(key, _)| Key::from_u64(*key)).collect();
        let found = node.get_many(&collection, keys).get().await.expect("reads are answered");
        for ((key, version), found) in stretch.iter().zip(found) {
            let found = found.unwrap_or_else(|| panic!("key {key} is lost"));
            let open = ledger.open.borrow().get(key).copied();
            let is = |version: u64| found.payload == value(*key, version, 100);
            assert!(is(*version) || open.is_some_and(is), "key {key} has another value");
        }
    }
    acked.len()
}

#[test]
fn skewed_loads_become_even_while_they_go_on() {
    let mut cluster = started(1, Disk::default(), &router_options(Duration::from_secs(2)));
    let (ledger, mut rng) = (Rc::new(Ledger::default()), Rng::new(1));
    ledger.skew.set(Some(Skew::Lognormal));
    let mut clients = writers(&cluster, &ledger, &mut rng);
    let (node, watched) = (cluster.nodes[0].clone(), ledger.clone());
    clients.push((
        0,
        Box::pin(async move {
            for skew in [Skew::Lognormal, Skew::Timestamps, Skew::Tenant] {
                let took = watch(node.clone(), watched.clone(), skew, Duration::from_secs(30)).await;
                println!("{skew:?}: even after {took:?}");
            }
            let stats = node.stats().await.swap_remove(0);
            let count = |reason: Reason| stats.range_changes.iter().find(|(name, _)| *name == reason.name());
            assert!(
                count(Reason::Growing).is_some_and(|(_, count)| *count >= 3),
                "{:?}",
                stats.range_changes
            );
            assert_eq!(stats.range_change_failures, 0);
            println!("{:?}", stats.range_changes);
            watched.over.set(true);
        }),
    ));
    cluster.run_all(clients).expect("all finish");
    let node = cluster.nodes[1].clone();
    let checked = ledger.clone();
    let all = cluster.run(1, async move { assert_all_there(&node, &checked).await });
    let disk = cluster.sim.crash(CrashPolicy::KeepNothing);
    let mut cluster = started(2, disk, &router_options(Duration::from_secs(2)));
    let node = cluster.nodes[2].clone();
    cluster.run(2, async move {
        assert_eq!(assert_all_there(&node, &ledger).await, all);
        let collection = node.collection("default").expect("exists from the start");
        node.runtime().sleep(Duration::from_secs(2)).await;
        assert_eq!(node.collection_stats(&collection).await.expect("ready").records, all as u64);
    });
    println!("{all} records, each as acknowledged");
}

/// Otherwise the test above would test nothing.
#[test]
fn without_the_router_growing_keys_stay_where_they_are() {
    let mut cluster = started(3, Disk::default(), &router_options(Duration::ZERO));
    let (ledger, mut rng) = (Rc::new(Ledger::default()), Rng::new(3));
    ledger.skew.set(Some(Skew::Timestamps));
    let mut clients = writers(&cluster, &ledger, &mut rng);
    let node = cluster.nodes[0].clone();
    clients.push((
        0,
        Box::pin(async move {
            node.runtime().sleep(Duration::from_secs(20)).await;
            let records = records(&node).await;
            assert!(ratio(&records) > 1.5, "{records:?}");
            let plan = node.plan_rebalance().await.expect("ready");
            assert!(plan.last().is_some_and(|step| step.ratio < 1.25), "{plan:?}");
            let done = node.rebalance().await.expect("works");
            assert!(done.steps > 0 && done.before > 1.5 && done.after < 1.25, "{done:?}");
            ledger.over.set(true);
        }),
    ));
    cluster.run_all(clients).expect("all finish");
}

/// From the first record on, whatever the keys, and the same after a start.
#[test]
fn a_collection_placed_by_hash_is_even_and_stays() {
    let options = router_options(Duration::from_millis(200));
    let mut cluster = started(5, Disk::default(), &options);
    let node = cluster.nodes[3].clone();
    let write = |key: u64| put(key, value(key, 1, 100));
    cluster.run(3, async move {
        let definition = Definition { placement: Placement::Hash, ..Definition::of(KeyType::U64) };
        assert_eq!(node.create_collection("hashed", definition.clone()).await, Ok(Ok(true)));
        assert_eq!(node.create_collection("hashed", definition).await, Ok(Ok(false)));
        let hashed = node.collection("hashed").expect("just made");
        let results = node.write_many(&hashed, (0..4000).map(write).collect()).get().await;
        assert!(results.iter().all(Result::is_ok));
        let records = records(&node).await;
        assert!(ratio(&records) < 1.1, "{records:?}");
        let cut = node.split_collection("hashed", vec![Key::from_u64(9)]).await;
        assert_eq!(cut, Ok(Err(CatalogueError::PlacedByHash)));
        node.checkpoint().await.expect("seals");
        let results = node.write_many(&hashed, (4000..5000).map(write).collect()).get().await;
        assert!(results.iter().all(Result::is_ok));
    });
    let disk = cluster.sim.crash(CrashPolicy::KeepNothing);
    let mut cluster = started(6, disk, &options);
    let node = cluster.nodes[1].clone();
    cluster.run(1, async move {
        let hashed = node.collection("hashed").expect("made in the life before");
        assert!(hashed.is_hashed() && hashed.tablets.len() == SHARDS);
        let found =
            node.get_many(&hashed, (0..5001).map(Key::from_u64).collect()).get().await.expect("ready");
        for (key, found) in (0..5000).zip(&found) {
            assert_eq!(
                found.as_ref().map(|found| found.payload.clone()),
                Some(value(key, 1, 100)),
                "key {key}"
            );
        }
        assert!(found[5000].is_none());
    });
}

/// Ranges move all the time, by a balancer in a hurry and by anybody, and the power is cut in the middle.
#[test]
fn a_crash_while_ranges_move_loses_nothing() {
    const SEEDS: u64 = 24;
    let (mut maps, moved) = (0, Rc::new(Cell::new(0)));
    for seed in 0..SEEDS {
        let mut rng = Rng::new(seed);
        let mut options = router_options(Duration::from_millis(50));
        options.balance.bytes_min = 4 * KIB;
        options.checkpoint_log_bytes = [16 * KIB, 64 * KIB, 1 << 30][rng.index(3)];
        let ledger = Rc::new(Ledger::default());
        let mut disk = Disk::default();
        for life in 0..3 {
            let mut cluster = started(rng.next_u64(), disk, &options);
            let before = cluster.nodes[0].catalogue().epoch.0;
            let node = cluster.nodes[1].clone();
            let checked = ledger.clone();
            cluster.run(1, async move {
                assert_all_there(&node, &checked).await;
                // What is unknown from the life before stays so: these keys are written no more.
                checked.acked.borrow_mut().retain(|key, _| !checked.open.borrow().contains_key(key));
                checked.open.borrow_mut().clear();
            });
            ledger.skew.set(Some([Skew::Lognormal, Skew::Timestamps, Skew::Tenant][rng.index(3)]));
            let mut clients = writers(&cluster, &ledger, &mut rng);
            let (mover, mut any) = (cluster.nodes[rng.index(SHARDS)].clone(), Rng::new(rng.next_u64()));
            let (core, count) = (usize::from(mover.shard().0), moved.clone());
            clients.push((
                core,
                Box::pin(async move {
                    loop {
                        mover.runtime().sleep(Duration::from_micros(any.below(80_000))).await;
                        let collection = mover.collection("default").expect("there");
                        let cuts = [1 << 30, 1 << 40, 7 << 50, (7 << 50) + (1 << 39), (1 << 60) + 100_000];
                        let change = support::reshape::any(&collection, &cuts, SHARDS, &mut any);
                        let changed = mover.reshape(change).await.expect("without faults nothing is refused");
                        count.set(count.get() + u64::from(changed.is_ok()));
                    }
                }),
            ));
            for (core, work) in clients {
                cluster.sim.runtime(core).spawn(kyrodb::io::executor::Class::Foreground, work);
            }
            let until = ledger.written.get() + 500 + rng.below(4000);
            let written = ledger.clone();
            cluster
                .sim
                .run_until(|| written.written.get() >= until)
                .unwrap_or_else(|stuck| panic!("seed {seed}, life {life}: {stuck}"));
            maps += cluster.nodes[0].catalogue().epoch.0 - before;
            // Interval writes in flight may go: only what is synced counts here.
            disk = cluster.sim.crash(CrashPolicy::Random);
            ledger.forget_interval();
        }
        let mut cluster = started(seed, disk, &options);
        let node = cluster.nodes[0].clone();
        cluster.run(0, async move { assert_all_there(&node, &ledger).await });
    }
    let moved = moved.get();
    println!("{maps} maps, {moved} changes that were asked for, over {SEEDS} seeds");
    assert!(maps > 100 * SEEDS && moved > 40 * SEEDS, "{maps} maps, {moved} changes");
}

impl Ledger {
    /// A power cut may take what was acknowledged at less than `fsync`.
    fn forget_interval(&self) {
        self.acked.borrow_mut().retain(|key, _| (key % WRITERS).is_multiple_of(2));
    }
}
