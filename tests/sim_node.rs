//! The whole node in the simulator, without faults: what every client may count on.

mod support;

use std::ops::Bound;

use kyrodb::io::sim::{Disk, SimConfig};
use kyrodb::shard::catalogue::Definition;
use kyrodb::shard::key::{Key, KeyType};
use kyrodb::shard::node::Node;
use kyrodb::shard::payload::{Payload, TEXT};
use kyrodb::shard::record::{Change, Condition, Durability, Refusal, Scan, Write};
use support::cluster::{Cluster, options};

fn put(key: u64, value: &str) -> Write {
    let payload = Payload::new(TEXT, value.as_bytes());
    Write {
        key: Key::from_u64(key),
        change: Change::Put { payload, expires: None },
        condition: Condition::None,
        durability: Durability::Fsync,
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
        let disk = cluster.sim.crash(kyrodb::io::sim::CrashPolicy::KeepNothing);
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
        assert!(page.records.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let scan = Scan { start: Bound::Unbounded, end: Bound::Unbounded, reverse: true, limit: 250 };
        let page = node.scan(&collection, scan).await.expect("scans");
        assert_eq!((page.records.len(), page.more), (250, true));
        assert!(page.records.windows(2).all(|pair| pair[0].0 > pair[1].0));
    });
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
        let definition = Definition { key_type: KeyType::String, durability: None, split_at: Vec::new() };
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
