//! The whole node in the simulator, without faults: what every client may count on.

mod support;

use std::cell::Cell;
use std::ops::Bound;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use kyrodb::io::sim::{CrashPolicy, Disk, Sim, SimConfig};
use kyrodb::shard::catalogue::Definition;
use kyrodb::shard::key::{Key, KeyType};
use kyrodb::shard::node::Node;
use kyrodb::shard::payload::{Payload, TEXT};
use kyrodb::shard::record::{Change, Condition, Durability, Refusal, Scan, Write};
use kyrodb::shard::start_error::StartError;
use kyrodb::types::ShardId;
use support::cluster::{Cluster, options};

fn put(key: u64, value: &str) -> Write {
    let payload = Payload::new(TEXT, value.as_bytes());
    Write {
        key: Key::from_u64(key),
        change: Change::Put { payload, expires: None },
        condition: Condition::None,
        durability: Durability::Fsync,
        once: None,
    }
}

fn started(seed: u64, cores: usize) -> Cluster {
    let mut cluster = Cluster::boot(seed, Disk::default(), SimConfig::cores(cores), &options());
    cluster.start().expect("a new node starts");
    cluster
}

async fn read(node: &Node, key: u64) -> Option<String> {
    let collection = node.collection("default").expect("exists from the start");
    let found = node.get(&collection, &Key::from_u64(key)).get().await.expect("reads are answered");
    found.map(|found| String::from_utf8_lossy(found.payload.value()).into_owned())
}

#[test]
fn a_write_is_read_on_every_core_and_after_a_restart() {
    for seed in 0..5 {
        let mut cluster = started(seed, 2);
        for core in 0..2 {
            let node = cluster.nodes[core].clone();
            cluster.run(core, async move {
                let collection = node.collection("default").expect("exists from the start");
                for n in 0..50u64 {
                    let written = node.write(&collection, put(n, &format!("v{core}-{n}"))).get().await;
                    written.expect("the write is acknowledged");
                }
            });
        }
        let disk = cluster.sim.crash(CrashPolicy::KeepNothing);
        let mut cluster = Cluster::boot(seed, disk, SimConfig::cores(2), &options());
        cluster.start().expect("starts again");
        for core in 0..2 {
            let node = cluster.nodes[core].clone();
            cluster.run(core, async move {
                for n in 0..50u64 {
                    assert_eq!(read(&node, n).await, Some(format!("v1-{n}")));
                }
            });
        }
    }
}

#[test]
fn a_split_collection_keeps_its_records_and_versions() {
    let mut cluster = started(7, 3);
    let node = cluster.nodes[1].clone();
    cluster.run(1, async move {
        let collection = node.collection("default").expect("exists from the start");
        let mut last = 0;
        for n in 0..300u64 {
            let written = node.write(&collection, put(n * 10, &n.to_string())).get().await.expect("acked");
            last = written.seq.0;
        }
        let cuts = [1000, 2000].map(Key::from_u64).to_vec();
        node.split_collection("default", cuts).await.expect("shards are ready").expect("splits");
        let collection = node.collection("default").expect("still there");
        assert_eq!(collection.tablets.len(), 3);
        for n in 0..300u64 {
            assert_eq!(read(&node, n * 10).await, Some(n.to_string()));
        }
        let written = node.write(&collection, put(2500, "new")).get().await.expect("acked");
        assert!(written.seq.0 > last, "versions go on");
        let scan = Scan { start: Bound::Unbounded, end: Bound::Unbounded, reverse: false, limit: 1000 };
        let page = node.scan(&collection, scan).await.expect("scans");
        assert_eq!((page.records.len(), page.more), (300, false));
        assert!(page.records.iter().is_sorted_by(|a, b| a.key < b.key));
        let scan = Scan { start: Bound::Unbounded, end: Bound::Unbounded, reverse: true, limit: 250 };
        let page = node.scan(&collection, scan).await.expect("scans");
        assert_eq!((page.records.len(), page.more), (250, true));
        assert!(page.records.iter().is_sorted_by(|a, b| a.key > b.key));
    });
}

/// Whatever is sealed, merged, moved, deleted, over or replayed.
#[test]
fn records_are_counted_exactly() {
    for seed in 0..8 {
        let mut cluster = started(seed, 3);
        let (node, lost) = (cluster.nodes[1].clone(), seed % 2 == 1);
        cluster.run(1, async move {
            let collection = node.collection("default").expect("exists from the start");
            let count = async |wanted: u64, when: &str| {
                let stats = node.collection_stats(&collection).await.expect("ready");
                assert_eq!(stats.records, wanted, "seed {seed}: {when}");
            };
            for n in 0..300u64 {
                node.write(&collection, put(n, &"x".repeat(500))).get().await.expect("acked");
            }
            count(300, "written").await;
            node.checkpoint().await.expect("seals");
            for n in 200..400u64 {
                node.write(&collection, put(n, &"y".repeat(500))).get().await.expect("acked");
            }
            count(400, "overwritten").await;
            for n in (0..400u64).step_by(4) {
                let delete = Write { change: Change::Delete, ..put(n, "") };
                node.write(&collection, delete).get().await.expect("acked");
            }
            count(300, "deleted").await;
            node.compact().await.expect("merges");
            count(300, "merged").await;
            let cuts = [100, 250].map(Key::from_u64).to_vec();
            node.split_collection("default", cuts).await.expect("shards are ready").expect("splits");
            count(300, "moved").await;
            node.write(&collection, put(1000, "z")).get().await.expect("acked");
            if !lost {
                node.checkpoint().await.expect("seals");
            }
        });
        let disk = cluster.sim.crash(CrashPolicy::KeepNothing);
        let mut cluster = Cluster::boot(seed, disk, SimConfig::cores(3), &options());
        cluster.start().expect("starts again");
        let node = cluster.nodes[2].clone();
        cluster.run(2, async move {
            let collection = node.collection("default").expect("exists from the start");
            node.runtime().sleep(Duration::from_secs(1)).await;
            let stats = node.collection_stats(&collection).await.expect("ready");
            assert_eq!(stats.records, 301, "seed {seed}: after a crash");
        });
    }
}

#[test]
fn conditions_and_deletes() {
    let mut cluster = started(3, 2);
    let node = cluster.nodes[1].clone();
    cluster.run(1, async move {
        let collection = node.collection("default").expect("exists from the start");
        let create = Write { condition: Condition::Absent, ..put(1, "a") };
        let first = node.write(&collection, create.clone()).get().await.expect("created");
        assert!(first.created);
        let again = node.write(&collection, create).get().await;
        assert_eq!(again, Err(Refusal::ConditionFailed { current: Some(first.seq) }));
        let update = Write { condition: Condition::SeqIs(first.seq), ..put(1, "b") };
        let second = node.write(&collection, update.clone()).get().await.expect("updated");
        assert!(second.seq > first.seq && !second.created);
        let stale = node.write(&collection, update).get().await;
        assert_eq!(stale, Err(Refusal::ConditionFailed { current: Some(second.seq) }));
        let delete = Write { change: Change::Delete, ..put(1, "") };
        node.write(&collection, delete.clone()).get().await.expect("deleted");
        assert_eq!(node.write(&collection, delete).get().await, Err(Refusal::Absent));
        assert_eq!(read(&node, 1).await, None);
    });
}

#[test]
fn collections_come_and_go_on_every_core() {
    let mut cluster = started(11, 3);
    let nodes = cluster.nodes.clone();
    cluster.run(2, async move {
        let definition = Definition::of(KeyType::String);
        assert_eq!(nodes[2].create_collection("things", definition.clone()).await, Ok(Ok(true)));
        assert_eq!(nodes[2].create_collection("things", definition).await, Ok(Ok(false)));
        let collection = nodes[2].collection("things").expect("in force on this core");
        let key = Key::from_text("one").expect("a key");
        let write = Write { key: key.clone(), ..put(0, "x") };
        nodes[2].write(&collection, write).get().await.expect("acked");
        assert_eq!(nodes[2].drop_collection("things").await, Ok(Ok(())));
        assert!(nodes[2].collection("things").is_none());
        let gone = nodes[2].get(&collection, &key).get().await;
        assert_eq!(gone, Err(Refusal::NoSuchCollection));
    });
}

/// The disk without a shard's directory; or with an empty one.
fn without_shard(disk: Disk, shard: &'static str, empty: bool) -> Disk {
    let mut sim = Sim::with_disk(1, disk, SimConfig::default());
    let runtime = sim.runtime(0);
    let removed = sim.run(async move {
        let shard = Path::new("/").join(shard);
        for dir in ["log", "runs", ""].map(|dir| shard.join(dir)) {
            for entry in runtime.list(&dir).await.expect("a directory") {
                if !entry.is_dir {
                    runtime.remove_file(dir.join(entry.name)).await.expect("a file");
                }
            }
            if !(empty && dir == shard.join("")) {
                runtime.remove_dir(&dir).await.expect("an empty directory");
            }
        }
    });
    removed.expect("not stuck");
    sim.crash(CrashPolicy::KeepAll)
}

/// A shard that comes back without its data is no new shard: served as one, it would answer that records do
/// not exist, and shard 0 would forget all maps, and the others their tablets with it.
#[test]
fn a_shard_that_lost_its_data_is_missed() {
    for (seed, (shard, empty)) in
        (0..).zip([("shard-001", false), ("shard-001", true), ("shard-000", false), ("shard-000", true)])
    {
        let mut cluster = started(seed, 2);
        let node = cluster.nodes[0].clone();
        cluster.run(0, async move {
            node.split_collection("default", vec![Key::from_u64(50)]).await.expect("ready").expect("splits");
            let collection = node.collection("default").expect("exists from the start");
            for key in [10, 90] {
                node.write(&collection, put(key, "kept")).get().await.expect("acknowledged");
            }
        });
        let whole = cluster.sim.crash(CrashPolicy::KeepNothing);
        let lost = without_shard(whole.clone(), shard, empty);
        // Another seed: the same would draw the same node's number again, and nothing would be missed.
        let mut again = Cluster::boot(seed + 100, lost, SimConfig::cores(2), &options());
        let error = again.start().expect_err("a shard is missing");
        let wanted = match shard {
            "shard-000" => StartError::OtherNode { shard: ShardId(1) },
            _ => StartError::ShardLost { shard: ShardId(1) },
        };
        assert_eq!(error.to_string(), wanted.to_string());
        // The other shard was not harmed: with both, all is there.
        let mut again = Cluster::boot(seed, whole, SimConfig::cores(2), &options());
        again.start().expect("a whole node starts");
        let node = again.nodes[1].clone();
        again.run(1, async move {
            for key in [10, 90] {
                assert_eq!(read(&node, key).await.as_deref(), Some("kept"));
            }
        });
    }
}

/// A first start that ended between two shards is no loss.
#[test]
fn a_node_that_was_never_whole_starts_anew() {
    let mut interrupted = 0;
    for steps in 1..60 {
        let mut cluster = Cluster::boot(steps, Disk::default(), SimConfig::cores(3), &options());
        let (left, world) = (Rc::new(Cell::new(steps * 3)), cluster.sim.world().clone());
        let counted = left.clone();
        world.on_io(move |_| counted.set(counted.get().saturating_sub(1)));
        let whole = cluster.start_unless(|| left.get() == 0).expect("nothing is wrong");
        interrupted += u64::from(!whole);
        let disk = cluster.sim.crash(CrashPolicy::Random);
        let mut again = Cluster::boot(steps, disk, SimConfig::cores(3), &options());
        again.start().unwrap_or_else(|error| panic!("after {steps} steps: {error}"));
    }
    assert!(interrupted > 20, "only {interrupted} starts were cut short");
}
