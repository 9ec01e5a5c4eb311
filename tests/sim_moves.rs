//! Ranges that move to another core while they are in use: nothing is lost on the way, and nobody is
//! served by two owners.

mod support;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use kyrodb::io::sim::{CrashPolicy, Disk, SimConfig};
use kyrodb::limits;
use kyrodb::shard::balance::BalanceOptions;
use kyrodb::shard::catalogue::Definition;
use kyrodb::shard::key::{Key, KeyType};
use kyrodb::shard::node::Node;
use kyrodb::shard::options::ShardOptions;
use kyrodb::shard::record::{Durability, Refusal, Write};
use kyrodb::shard::reshape::{Reshape, Target};
use kyrodb::shard::start_error::StartError;
use kyrodb::types::ShardId;
use support::cluster::{Client, Cluster, options};
use support::small::{assert_shows, begin, delete, fill, put, send, started, value};

/// A delta lost when what was rebuilt elsewhere takes its place.
#[test]
fn no_change_is_lost_when_a_range_moves() {
    const KEYS: u64 = 6000;
    for seed in 0..12 {
        let mut cluster = started(seed, 2, Disk::default());
        fill(&mut cluster, 0..KEYS);
        let delay = Duration::from_micros(200 + seed * 100);
        let (splitting, writer) = (cluster.nodes[0].clone(), cluster.nodes[0].clone());
        let clients: Vec<(usize, Client)> = vec![
            (0, Box::pin(split_default(splitting))),
            (0, Box::pin(change_while_it_moves(writer, delay))),
        ];
        cluster.run_all(clients).expect("both finish");
        let wanted = |key: u64| match key {
            100..110 if key.is_multiple_of(2) => None,
            100..130 if !key.is_multiple_of(2) => Some(value(key, 2, 100)),
            _ => Some(value(key, 1, 100)),
        };
        let all = || (90..140).map(|key| (key, wanted(key))).collect();
        assert_shows(&mut cluster, "default", all());
        let disk = cluster.sim.crash(CrashPolicy::KeepNothing);
        let mut cluster = started(seed, 2, disk);
        assert_shows(&mut cluster, "default", all());
    }
}

async fn split_default(node: Node) {
    let cuts = vec![Key::from_u64(100)];
    node.split_collection("default", cuts).await.expect("ready").expect("splits");
}

async fn change_while_it_moves(node: Node, delay: Duration) {
    node.runtime().sleep(delay).await;
    let memory = |write| Write { durability: Durability::Memory, ..write };
    for key in (100..110).step_by(2) {
        send(&node, memory(delete(key))).await;
    }
    // A checkpoint of everything purges tombstones; they are sent all the same.
    node.checkpoint().await.expect("works");
    for key in (101..130).step_by(2) {
        send(&node, put(key, value(key, 2, 100))).await;
    }
}

/// The new map reached the new owner, or a core that asks it, before the old one.
#[test]
fn a_range_that_moves_has_one_owner_at_a_time() {
    for seed in 0..60 {
        // Slow cores, so that a message between two of them takes its time.
        let config = SimConfig { step_ns: 100..=60_000, ..SimConfig::cores(3) };
        let options = ShardOptions { checkpoint_log_bytes: 1 << 30, ..options() };
        let mut cluster = Cluster::boot(seed, Disk::default(), config, &options);
        cluster.start().expect("a new node starts");
        let maker = cluster.nodes[0].clone();
        let gone = cluster.run(0, async move { make_things(&maker, 1 + seed % 2).await });
        let acked = [0, 1].map(|_| Cell::new(gone));
        let moving = Rc::new(Moving { gone, acked, over: Cell::new(false) });
        let mut clients: Vec<(usize, Client)> = Vec::new();
        for number in 0..24 {
            let core = number % 3;
            let writer = moving.clone().write(cluster.nodes[core].clone(), number / 3);
            clients.push((core, Box::pin(writer)));
        }
        for core in 0..3 {
            clients.push((core, Box::pin(moving.clone().read(cluster.nodes[core].clone()))));
            clients.push((core, Box::pin(write_at_once(cluster.nodes[core].clone(), gone))));
        }
        let splitter = cluster.nodes[0].clone();
        clients.push((
            0,
            Box::pin(async move {
                let cuts = [40, 80, 120].map(Key::from_u64).to_vec();
                splitter.split_collection("things", cuts).await.expect("ready").expect("splits");
                splitter.runtime().sleep(Duration::from_millis(3)).await;
                moving.over.set(true);
            }),
        ));
        cluster.run_all(clients).expect("the clients finish");
    }
}

/// A collection on shard `owner`, the parts of which will go to the other two. Gives the last version of
/// the moving keys, which are gone from it without a trace.
async fn make_things(node: &Node, owner: u64) -> u64 {
    let definition = || Definition::of(KeyType::U64);
    for name in ["between", "things"].iter().skip(2 - owner as usize) {
        node.create_collection(name, definition()).await.expect("ready").expect("new");
    }
    // One record of each part stays, so that something is sent.
    let stays = [50, 90, 125].map(|key| put(key, value(key, 0, 10)));
    let goes = MOVED.iter().chain([&UNUSED]).flat_map(|key| [put(*key, value(*key, 0, 10)), delete(*key)]);
    let mut last = 0;
    for write in stays.into_iter().chain(goes) {
        last = begin(node, "things", write).get().await.expect("acknowledged").seq.0;
    }
    node.checkpoint().await.expect("works");
    last
}

/// A key in each part that moves.
const MOVED: [u64; 2] = [60, 99];

/// One in a part to which nobody writes until the map names its new owner.
const UNUSED: u64 = 121;

/// Writes as soon as this core has the new map, whoever else has it.
async fn write_at_once(node: Node, gone: u64) {
    while node.collection("things").is_some_and(|things| things.tablets.len() == 1) {
        node.runtime().sleep(Duration::from_micros(1)).await;
    }
    let write = Write { durability: Durability::Memory, ..put(UNUSED, value(UNUSED, 1, 10)) };
    let written = begin(&node, "things", write).get().await.expect("acknowledged").seq.0;
    assert!(written > gone, "key {UNUSED}: version {written} is given out behind {gone}");
}

/// The highest version of each of these keys that was acknowledged, on any core.
struct Moving {
    /// Of their deletion, before anybody else writes.
    gone: u64,
    acked: [Cell<u64>; 2],
    over: Cell<bool>,
}

impl Moving {
    async fn write(self: Rc<Self>, node: Node, number: usize) {
        let (key, acked) = (MOVED[number % 2], &self.acked[number % 2]);
        while !self.over.get() {
            let known = acked.get();
            let write = Write { durability: Durability::Memory, ..put(key, value(key, 1, 10)) };
            let written = begin(&node, "things", write).get().await.expect("acknowledged").seq.0;
            assert!(written > known, "key {key}: version {written} is given out behind {known}");
            acked.set(acked.get().max(written));
            // Some begin while the map goes round.
            node.runtime().sleep(Duration::from_micros(node.runtime().random() % 2000)).await;
        }
    }

    async fn read(self: Rc<Self>, node: Node) {
        while !self.over.get() {
            for (key, acked) in MOVED.iter().zip(&self.acked) {
                let known = acked.get();
                let collection = node.collection("things").expect("exists");
                let found = node.get(&collection, &Key::from_u64(*key)).get().await.expect("answered");
                match found {
                    Some(found) => {
                        assert!(found.seq.0 >= known, "key {key}: {} is read behind {known}", found.seq)
                    }
                    None => assert_eq!(known, self.gone, "key {key}: nothing is read behind {known}"),
                }
            }
            node.runtime().sleep(Duration::from_micros(1)).await;
        }
    }
}

/// Changes of a few keys in every stretch once went in a message each, one after the other, each waiting for the
/// disk: the range was stopped for so long that writes were refused.
#[test]
fn a_move_is_soon_done_on_a_slow_disk_with_writes_everywhere() {
    const KEYS: u64 = 100_000;
    let config = SimConfig { disk_ns: 5_000_000..=15_000_000, ..SimConfig::cores(2) };
    let balance = BalanceOptions { period: Duration::ZERO, ..BalanceOptions::default() };
    let options =
        ShardOptions { checkpoint_log_bytes: 1 << 30, memory_bytes: 512 << 20, balance, ..options() };
    let mut cluster = Cluster::boot(1, Disk::default(), config, &options);
    cluster.start().expect("a new node starts");
    fill(&mut cluster, 0..KEYS);
    let over = Rc::new(Cell::new(false));
    let mut clients: Vec<(usize, Client)> = Vec::new();
    for core in 0..2 {
        clients.push((core, Box::pin(write_everywhere(cluster.nodes[core].clone(), KEYS, over.clone()))));
    }
    let splitter = cluster.nodes[0].clone();
    clients.push((
        0,
        Box::pin(async move {
            let began = splitter.runtime().now();
            let cuts = vec![Key::from_u64(KEYS / 2)];
            splitter.split_collection("default", cuts).await.expect("ready").expect("splits");
            let took_ms = splitter.runtime().now().since(began) / 1_000_000;
            assert!(took_ms < 3000, "{took_ms} ms");
            over.set(true);
        }),
    ));
    cluster.run_all(clients).expect("the clients finish");
}

async fn write_everywhere(node: Node, keys: u64, over: Rc<Cell<bool>>) {
    let collection = node.collection("default").expect("exists from the start");
    while !over.get() {
        let began = node.runtime().now();
        let writes = (0..32).map(|_| node.runtime().random() % keys).map(|key| put(key, value(key, 2, 100)));
        let results = node.write_many(&collection, writes.collect()).get().await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        let took_ms = node.runtime().now().since(began) / 1_000_000;
        assert!(took_ms < 1000, "writes waited for {took_ms} ms");
    }
}

/// All that changed in a stretch once went in one message: of four large values it was never accepted, and the
/// range stayed stopped.
#[test]
fn a_range_moves_while_its_largest_values_change() {
    const KEYS: u64 = 30_000;
    let balance = BalanceOptions { period: Duration::ZERO, ..BalanceOptions::default() };
    let options = ShardOptions {
        log_segment_bytes: 32 << 20,
        checkpoint_log_bytes: 1 << 30,
        memory_bytes: 2 << 30,
        balance,
        ..options()
    };
    let mut cluster = Cluster::boot(1, Disk::default(), SimConfig::cores(2), &options);
    cluster.start().expect("a new node starts");
    fill(&mut cluster, 0..KEYS);
    let large = || value(7, 2, limits::VALUE_BYTES_MAX);
    let (splitting, writer) = (cluster.nodes[0].clone(), cluster.nodes[0].clone());
    let writes = async move {
        writer.runtime().sleep(Duration::from_micros(300)).await;
        for key in 200..204 {
            let write = || Write { durability: Durability::Memory, ..put(key, large()) };
            while begin(&writer, "default", write()).get().await.is_err() {
                writer.runtime().sleep(Duration::from_micros(50)).await;
            }
        }
    };
    let splits = async move {
        let split = split_default(splitting.clone());
        splitting.runtime().timeout(Duration::from_secs(60), split).await.expect("it ends");
    };
    cluster.run_all(vec![(0, Box::pin(writes)), (0, Box::pin(splits))]).expect("both finish");
    let wanted = |key| if (200..204).contains(&key) { large() } else { value(key, 1, 100) };
    assert_shows(&mut cluster, "default", (190..210).map(|key| (key, Some(wanted(key)))).collect());
}

/// The map was the last record of its log, and nothing else knew of it: a flipped bit passed for a torn end, and
/// the new owner dropped what it had acknowledged.
#[test]
fn a_map_that_was_lost_to_damage_is_missed() {
    let mut cluster = started(3, 3, Disk::default());
    let node = cluster.nodes[0].clone();
    cluster.run(0, async move {
        let split_at = Vec::new();
        let definition = Definition { split_at, ..Definition::of(KeyType::U64) };
        node.create_collection("things", definition).await.expect("ready").expect("new");
        for key in 0..20 {
            begin(&node, "things", put(key, value(key, 1, 100))).get().await.expect("acknowledged");
        }
        node.split_collection("things", vec![Key::from_u64(10)]).await.expect("ready").expect("splits");
        let owners: Vec<u16> =
            node.collection("things").expect("exists").tablets.iter().map(|tablet| tablet.owner.0).collect();
        assert_eq!(owners, [1, 2], "the shard that keeps the map has no part in the move");
        begin(&node, "things", put(15, value(15, 2, 100))).get().await.expect("acknowledged");
    });
    let mut disk = cluster.sim.crash(CrashPolicy::KeepNothing);
    let (path, last) = end_of_log(&disk);
    disk.flip_bit(&path, last, 3);
    let mut cluster = Cluster::boot(
        3,
        disk,
        SimConfig::cores(3),
        &ShardOptions { checkpoint_log_bytes: 1 << 30, ..options() },
    );
    match cluster.start() {
        Ok(()) => assert_shows(&mut cluster, "things", vec![(15, Some(value(15, 2, 100)))]),
        Err(error) => assert!(matches!(error, StartError::Log(_)), "{error}"),
    }
}

/// The last byte of shard 0's log that says something.
fn end_of_log(disk: &Disk) -> (String, u64) {
    let files = disk.file_lens().into_iter().map(|(path, _)| path);
    let segments = files.filter(|path| path.contains("shard-000") && path.ends_with(".wal"));
    let last = segments.filter_map(|path| {
        let bytes = disk.bytes(&path)?;
        let last = bytes.iter().rposition(|byte| *byte != 0)?;
        Some((path, last as u64))
    });
    last.max().expect("a log")
}

/// What arrived filled the memory of a shard that sealed nothing while a range of its own moved: no write was
/// taken any more, the arriving ones least of all.
#[test]
fn more_than_memory_has_room_for_is_merged() {
    const KEYS: u64 = 3000;
    let balance = BalanceOptions { period: Duration::ZERO, ..BalanceOptions::default() };
    let options = ShardOptions {
        log_segment_bytes: 32 << 20,
        checkpoint_log_bytes: 1 << 30,
        part_bytes: 4 << 20,
        value_bytes_inline: 32 << 10,
        memory_bytes: 64 << 20,
        balance,
        ..options()
    };
    let mut cluster = Cluster::boot(1, Disk::default(), SimConfig::cores(1), &options);
    cluster.start().expect("a new node starts");
    let node = cluster.nodes[0].clone();
    let merged = async move {
        node.split_collection("default", vec![Key::from_u64(KEYS / 2)])
            .await
            .expect("ready")
            .expect("splits");
        for key in 0..KEYS {
            put_when_there_is_room(&node, put(key, value(key, 1, 20_000))).await;
        }
        node.checkpoint().await.expect("works");
        let collection = node.collection("default").expect("exists");
        let sources = collection.tablets.iter().map(|tablet| tablet.id).collect();
        let target = Target { start: Key::from_bytes(&[]), owner: ShardId(0), keeps: false };
        let merge = Reshape { collection: collection.id, sources, targets: vec![target] };
        let merged = node.runtime().timeout(Duration::from_secs(60), node.reshape(merge)).await;
        merged.expect("it ends").expect("ready").expect("fits");
        put_when_there_is_room(&node, put(1, value(1, 2, 20_000))).await;
        let stats = node.collection_stats(&node.collection("default").expect("exists")).await.expect("ready");
        assert_eq!((stats.records, collection.tablets.len()), (KEYS, 2));
    };
    cluster.run(0, merged);
    let wanted = (0..KEYS).step_by(97).chain([KEYS - 1]).map(|key| (key, Some(value(key, 1, 20_000))));
    assert_shows(&mut cluster, "default", wanted.filter(|(key, _)| *key != 1).collect());
}

async fn put_when_there_is_room(node: &Node, write: Write) {
    for _ in 0..1000 {
        match begin(node, "default", write.clone()).get().await {
            Ok(_) => return,
            Err(Refusal::Overloaded { .. }) => node.runtime().sleep(Duration::from_millis(5)).await,
            Err(refusal) => panic!("{refusal}"),
        }
    }
    panic!("there is no room any more");
}

/// The count went on over a range that had become smaller, and what had moved was taken off twice.
#[test]
fn a_range_that_moves_while_it_is_counted_is_counted_right() {
    const KEYS: u64 = 20_000;
    let balance = BalanceOptions { period: Duration::ZERO, ..BalanceOptions::default() };
    let options = ShardOptions { checkpoint_log_bytes: 1 << 30, balance, ..options() };
    let boot = |disk, disk_ns| {
        let mut cluster = Cluster::boot(1, disk, SimConfig { disk_ns, ..SimConfig::cores(2) }, &options);
        cluster.start().expect("starts");
        cluster
    };
    let mut cluster = boot(Disk::default(), SimConfig::cores(2).disk_ns);
    fill(&mut cluster, 0..KEYS);
    let node = cluster.nodes[0].clone();
    cluster.run(0, async move {
        node.checkpoint().await.expect("works");
        node.split_collection("default", vec![Key::from_u64(KEYS - 1000)])
            .await
            .expect("ready")
            .expect("splits");
    });
    // The manifest counts what the map no longer says.
    let disk = cluster.sim.crash(CrashPolicy::KeepNothing);
    let mut cluster = boot(disk, 1_000_000..=2_000_000);
    let node = cluster.nodes[0].clone();
    cluster.run(0, async move {
        let collection = node.collection("default").expect("exists");
        let first = &collection.tablets[0];
        let owner = node.loads().await.expect("ready");
        let counting = |id| owner.iter().flatten().any(|load| load.tablet == id && load.counting);
        assert!(counting(first.id), "it is not being counted");
        let targets = vec![
            Target { start: first.start.clone(), owner: first.owner, keeps: true },
            Target { start: Key::from_u64(KEYS - 1100), owner: ShardId(1), keeps: false },
        ];
        let cut = Reshape { collection: collection.id, sources: vec![first.id], targets };
        node.reshape(cut).await.expect("ready").expect("fits");
        node.runtime().sleep(Duration::from_secs(20)).await;
        let stats = node.collection_stats(&node.collection("default").expect("exists")).await.expect("ready");
        assert_eq!(stats.records, KEYS);
    });
}

/// What was written to a range had to stay in memory until all of it was sent, so a range that was written to fast
/// never moved. Keys are written and deleted before and behind what was sent of it.
#[test]
fn a_range_moves_while_it_is_written_to_as_fast_as_can_be() {
    for seed in 0..2 {
        let balance = BalanceOptions { period: Duration::ZERO, ..BalanceOptions::default() };
        let options = ShardOptions { memory_bytes: 64 << 20, balance, ..options() };
        let mut cluster = Cluster::boot(seed, Disk::default(), SimConfig::cores(2), &options);
        cluster.start().expect("a new node starts");
        let filled = cluster.nodes[0].clone();
        cluster.run(0, async move {
            for key in 0..HOT_KEYS {
                while begin(&filled, "default", put(key, value(key, 1, HOT_BYTES))).get().await.is_err() {
                    filled.runtime().sleep(Duration::from_millis(1)).await;
                }
            }
        });
        let hot = Rc::new(Hot::default());
        let mut clients: Vec<(usize, Client)> = Vec::new();
        for number in 0..8 {
            let core = number as usize % 2;
            clients.push((core, Box::pin(hot.clone().write(cluster.nodes[core].clone(), number))));
        }
        let (splitter, moved) = (cluster.nodes[0].clone(), hot.clone());
        clients.push((
            0,
            Box::pin(async move {
                splitter
                    .split_collection("default", vec![Key::from_u64(HOT_CUT)])
                    .await
                    .expect("ready")
                    .expect("splits");
                moved.over.set(true);
            }),
        ));
        cluster.run_all(clients).expect("the clients finish");
        // Far more than may be left to send at a time.
        assert!(hot.bytes.get() > 3 << 20, "seed {seed}: {} bytes", hot.bytes.get());
        let wanted = || {
            let last = hot.last.borrow();
            let payload = |key| match last.get(&key) {
                None => Some(value(key, 1, HOT_BYTES)),
                Some(version) => (version % 3 != 0).then(|| value(key, *version, HOT_BYTES)),
            };
            (0..HOT_KEYS).map(|key| (key, payload(key))).collect()
        };
        assert_shows(&mut cluster, "default", wanted());
        let node = cluster.nodes[0].clone();
        cluster.run(0, async move { node.checkpoint().await.expect("works") });
        let disk = cluster.sim.crash(CrashPolicy::KeepNothing);
        let mut cluster = Cluster::boot(seed, disk, SimConfig::cores(2), &options);
        cluster.start().expect("it starts again");
        assert_shows(&mut cluster, "default", wanted());
    }
}

/// Too few to be split by themselves.
const HOT_KEYS: u64 = 9_600;
const HOT_CUT: u64 = 1_600;
const HOT_BYTES: usize = 2_000;

#[derive(Default)]
struct Hot {
    over: Cell<bool>,
    /// The last version of each key; every third is a delete.
    last: RefCell<BTreeMap<u64, u64>>,
    bytes: Cell<usize>,
}

impl Hot {
    /// Each client has keys of its own, so what it was told last is what there is.
    async fn write(self: Rc<Hot>, node: Node, number: u64) {
        let mut version = 1;
        while !self.over.get() {
            version += 1;
            let range = HOT_KEYS - HOT_CUT;
            let keys: BTreeSet<u64> =
                (0..32).map(|_| HOT_CUT + node.runtime().random() % range / 8 * 8 + number).collect();
            let write = |key: u64| match version % 3 {
                0 => delete(key),
                _ => put(key, value(key, version, HOT_BYTES)),
            };
            let collection = node.collection("default").expect("exists from the start");
            let writes = keys.iter().map(|key| write(*key)).collect();
            for (key, result) in keys.iter().zip(node.write_many(&collection, writes).get().await) {
                match result {
                    Ok(_) => self.bytes.set(self.bytes.get() + HOT_BYTES),
                    // It was deleted before.
                    Err(Refusal::Absent) => {}
                    Err(Refusal::Overloaded { .. }) => {
                        node.runtime().sleep(Duration::from_millis(1)).await;
                        continue;
                    }
                    Err(refusal) => panic!("key {key}: {refusal}"),
                }
                self.last.borrow_mut().insert(*key, version);
            }
        }
    }
}

/// Writes were stopped for as long as it took to send the rest, however slow the disks were.
#[test]
fn a_move_that_would_stop_writes_for_long_is_given_up() {
    const KEYS: u64 = 100;
    let balance = BalanceOptions { period: Duration::ZERO, ..BalanceOptions::default() };
    let options = ShardOptions { checkpoint_log_bytes: 1 << 30, balance, ..options() };
    let config = SimConfig { disk_ns: 600_000_000..=900_000_000, ..SimConfig::cores(2) };
    let mut cluster = Cluster::boot(1, Disk::default(), config, &options);
    cluster.start().expect("a new node starts");
    fill(&mut cluster, 0..KEYS);
    let over = Rc::new(Cell::new(false));
    let mut clients: Vec<(usize, Client)> = Vec::new();
    for number in 0..8 {
        let (node, over) = (cluster.nodes[0].clone(), over.clone());
        let writes = async move {
            while !over.get() {
                let key = KEYS / 2 + number;
                let written = begin(&node, "default", put(key, value(key, 2, 100))).get().await;
                // On a disk as slow as this, the wait for a range that is moving may end before the move is given up.
                assert!(matches!(written, Ok(_) | Err(Refusal::NotReady)), "{written:?}");
            }
        };
        clients.push((0, Box::pin(writes)));
    }
    let splitter = cluster.nodes[0].clone();
    let split = async move {
        let split = splitter.split_collection("default", vec![Key::from_u64(KEYS / 2)]).await;
        assert!(matches!(split, Err(Refusal::Overloaded { .. })), "{split:?}");
        over.set(true);
        send(&splitter, put(KEYS / 2, value(KEYS / 2, 3, 100))).await;
        assert_eq!(splitter.collection("default").expect("exists").tablets.len(), 1);
    };
    clients.push((0, Box::pin(split)));
    cluster.run_all(clients).expect("the clients finish");
    assert_shows(&mut cluster, "default", vec![(KEYS - 1, Some(value(KEYS - 1, 1, 100)))]);
}
