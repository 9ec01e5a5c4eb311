//! Short hands for tests of one thing: nodes, writes, and what is read.

use std::ops::Range;

use kyrodb::io::sim::{Disk, SimConfig};
use kyrodb::shard::key::Key;
use kyrodb::shard::message::WriteResult;
use kyrodb::shard::node::{Answer, Node};
use kyrodb::shard::options::ShardOptions;
use kyrodb::shard::payload::{OCTET_STREAM, Payload};
use kyrodb::shard::record::{Change, Condition, Durability, Write, Written};

use super::cluster::{Cluster, options};

pub fn started(seed: u64, cores: usize, disk: Disk) -> Cluster {
    started_with(seed, cores, disk, &ShardOptions { checkpoint_log_bytes: 1 << 30, ..options() })
}

pub fn started_with(seed: u64, cores: usize, disk: Disk, options: &ShardOptions) -> Cluster {
    let mut cluster = Cluster::boot(seed, disk, SimConfig::cores(cores), options);
    cluster.start().unwrap_or_else(|error| panic!("seed {seed}: the node does not start: {error}"));
    cluster
}

/// A value of `len` bytes that only this key and version have.
pub fn value(key: u64, version: u64, len: usize) -> Payload {
    let mut value = vec![(key ^ version) as u8; len.max(16)];
    value[..8].copy_from_slice(&key.to_le_bytes());
    value[8..16].copy_from_slice(&version.to_le_bytes());
    Payload::new(OCTET_STREAM, &value)
}

pub fn put(key: u64, payload: Payload) -> Write {
    Write {
        key: Key::from_u64(key),
        change: Change::Put { payload, expires: None },
        condition: Condition::None,
        durability: Durability::Fsync,
        once: None,
    }
}

pub fn delete(key: u64) -> Write {
    Write { change: Change::Delete, ..put(key, value(key, 0, 0)) }
}

pub fn begin(node: &Node, name: &str, write: Write) -> Answer<WriteResult> {
    node.write(&node.collection(name).expect("the collection exists"), write)
}

pub async fn send(node: &Node, write: Write) -> Written {
    begin(node, "default", write).get().await.expect("the write is acknowledged")
}

pub async fn read(node: &Node, name: &str, key: u64) -> Option<Payload> {
    let collection = node.collection(name).expect("the collection exists");
    let found = node.get(&collection, &Key::from_u64(key)).get().await.expect("reads are answered");
    found.map(|found| found.payload)
}

pub fn assert_shows(cluster: &mut Cluster, name: &'static str, wanted: Vec<(u64, Option<Payload>)>) {
    let node = cluster.nodes[0].clone();
    cluster.run(0, async move {
        for (key, payload) in wanted {
            let found = read(&node, name, key).await;
            assert!(found == payload, "key {key}: {:?}", found.map(|found| found.value()[..16].to_vec()));
        }
    });
}

pub fn fill(cluster: &mut Cluster, keys: Range<u64>) {
    let node = cluster.nodes[0].clone();
    cluster.run(0, async move {
        let collection = node.collection("default").expect("exists from the start");
        let writes = keys.map(|key| put(key, value(key, 1, 100))).collect();
        let results = node.write_many(&collection, writes).get().await;
        assert!(results.iter().all(Result::is_ok));
    });
}
