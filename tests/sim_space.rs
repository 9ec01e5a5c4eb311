//! Room on the disk, in the simulator: overwriting does not take more and more of it, and what was deleted or
//! dropped gives it back, without anybody asking for a compaction.

mod support;

use std::time::Duration;

use kyrodb::io::sim::{Disk, Rng, SimConfig};
use kyrodb::limits;
use kyrodb::shard::catalogue::{DEFAULT_COLLECTION, Definition, Placement};
use kyrodb::shard::key::{Key, KeyType};
use kyrodb::shard::node::Node;
use kyrodb::shard::options::ShardOptions;
use kyrodb::shard::payload::{OCTET_STREAM, Payload};
use kyrodb::shard::record::{Change, Condition, Durability, Write};
use support::cluster::{Client, Cluster, options};

const RECORDS: u64 = 4000;
const VALUE_BYTES: usize = 200;
/// Enough, in the time of the simulator, for seals and compactions that nobody asks for.
const PATIENCE: Duration = Duration::from_secs(60);

fn put(key: u64, version: u8) -> Write {
    let payload = Payload::new(OCTET_STREAM, &[version; VALUE_BYTES]);
    let change = Change::Put { payload, expires: None };
    let key = Key::from_u64(key.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    Write { key, change, condition: Condition::None, durability: Durability::Memory, once: None }
}

fn delete(key: u64) -> Write {
    Write { change: Change::Delete, ..put(key, 0) }
}

async fn carry_out(node: &Node, collection: &str, writes: impl Iterator<Item = Write>) {
    let collection = node.collection(collection).expect("exists");
    let writes: Vec<Write> = writes.collect();
    for batch in writes.chunks(100) {
        let results = node.write_many(&collection, batch.to_vec()).get().await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
    }
}

/// Bytes of all run files.
async fn run_bytes(node: &Node) -> u64 {
    let entries = node.runtime().list("/shard-000/runs").await.expect("a folder");
    entries.iter().map(|entry| entry.len).sum()
}

async fn settled(node: &Node) -> u64 {
    node.checkpoint().await.expect("seals");
    node.runtime().sleep(PATIENCE).await;
    run_bytes(node).await
}

fn started(seed: u64, part_bytes: u64) -> (Cluster, Node) {
    let options = ShardOptions { part_bytes, checkpoint_log_bytes: 64 * 1024, ..options() };
    let mut cluster = Cluster::boot(seed, Disk::default(), SimConfig::cores(1), &options);
    cluster.start().expect("a new node starts");
    let node = cluster.nodes[0].clone();
    (cluster, node)
}

#[test]
fn overwriting_takes_no_more_than_half_of_the_data_again() {
    for seed in 0..4 {
        let (mut cluster, node) = started(seed, 16 * 1024);
        cluster.run(0, async move {
            carry_out(&node, DEFAULT_COLLECTION, (0..RECORDS).map(|key| put(key, 0))).await;
            node.compact().await.expect("merges");
            let alone = run_bytes(&node).await;
            let mut rng = Rng::new(seed);
            for version in 1..=8 {
                let writes = (0..RECORDS).map(|_| put(rng.below(RECORDS), version));
                carry_out(&node, DEFAULT_COLLECTION, writes).await;
                let now = settled(&node).await;
                assert!(now * 2 <= alone * 3, "seed {seed}: {now} bytes of runs, the data alone has {alone}");
            }
        });
    }
}

/// Writes that never pause are slowed down to what is merged, before any is refused.
#[test]
fn what_waits_to_be_merged_is_bounded() {
    let (mut cluster, node) = started(3, 512 * 1024);
    cluster.run(0, async move {
        let mut rng = Rng::new(3);
        let mut most = 0;
        for version in 0..40 {
            for _ in 0..20 {
                // One that waits for the disk: time passes.
                let durable = |write| Write { durability: Durability::Fsync, ..write };
                let writes = (0..RECORDS / 20).map(|_| durable(put(rng.below(RECORDS), version)));
                carry_out(&node, DEFAULT_COLLECTION, writes).await;
                most = most.max(node.stats().await[0].fresh_runs);
            }
        }
        let stats = node.stats().await.remove(0);
        assert!(stats.log_paused_us > 0 && stats.compactions > 10, "{stats:?}");
        let bound = (limits::COMPACTION_FRESH_RUNS as f64 * limits::COMPACTION_LAG_MAX) as u64;
        assert!(most <= bound + 2, "{most} parts of level 0");
    });
}

#[test]
fn what_was_deleted_gives_its_room_back() {
    let (mut cluster, node) = started(1, 16 * 1024);
    cluster.run(0, async move {
        carry_out(&node, DEFAULT_COLLECTION, (0..RECORDS).map(|key| put(key, 1))).await;
        let full = settled(&node).await;
        assert!(full > RECORDS * VALUE_BYTES as u64, "{full}");
        carry_out(&node, DEFAULT_COLLECTION, (0..RECORDS).filter(|key| key % 10 > 0).map(delete)).await;
        let tenth = settled(&node).await;
        assert!(tenth < full / 4, "{tenth} bytes of runs after nine in ten were deleted, {full} before");
        carry_out(&node, DEFAULT_COLLECTION, (0..RECORDS).filter(|key| key % 10 == 0).map(delete)).await;
        let none = settled(&node).await;
        assert!(none < full / 20, "{none} bytes of runs after all was deleted, {full} before");
    });
}

#[test]
fn what_was_dropped_gives_its_room_back() {
    let (mut cluster, node) = started(2, 16 * 1024);
    cluster.run(0, async move {
        let placement = Placement::Range;
        let definition = Definition { placement, ..Definition::of(KeyType::U64) };
        node.create_collection("gone", definition).await.expect("ready").expect("new");
        carry_out(&node, DEFAULT_COLLECTION, (0..RECORDS / 10).map(|key| put(key, 1))).await;
        let before = settled(&node).await;
        carry_out(&node, "gone", (0..RECORDS).map(|key| put(key, 1))).await;
        let full = settled(&node).await;
        assert!(full > before + RECORDS * VALUE_BYTES as u64, "{full}");
        node.drop_collection("gone").await.expect("ready").expect("there");
        node.runtime().sleep(PATIENCE).await;
        let after = run_bytes(&node).await;
        // A part that both had a share of is written anew when it goes down.
        assert!(
            after <= before + (full - before) / 20,
            "{after} bytes of runs, {before} without it, {full} with it"
        );
    });
}

/// Parts in level 0 of which nothing is wanted any more go one by one, in the middle of a merge of everything.
#[test]
fn what_was_dropped_goes_while_everything_is_merged() {
    for seed in 0..4 {
        let (mut cluster, node) = started(seed, 16 * 1024);
        let merging = node.clone();
        let merges: Client = Box::pin(async move {
            for name in (0..20).map(|round| format!("gone{round}")) {
                for is_there in [false, true] {
                    while merging.collection(&name).is_some() == is_there {
                        merging.runtime().sleep(Duration::from_micros(1)).await;
                    }
                }
                merging.compact().await.expect("merges");
            }
        });
        let drops: Client = Box::pin(async move {
            for round in 0..20 {
                let name = format!("gone{round}");
                node.create_collection(&name, Definition::of(KeyType::U64))
                    .await
                    .expect("ready")
                    .expect("new");
                for at in 0..3 {
                    carry_out(&node, &name, (0..100).map(|key| put(100 * at + key, 1))).await;
                    node.checkpoint().await.expect("seals");
                }
                node.drop_collection(&name).await.expect("ready").expect("there");
            }
        });
        cluster.run_all(vec![(0, merges), (0, drops)]).expect("not stuck");
    }
}

async fn log_files(node: &Node) -> usize {
    node.runtime().list("/shard-000/log").await.expect("a folder").len()
}

/// Nobody asks for a seal or a compaction, and nothing presses: log and runs are small.
#[test]
fn a_quiet_shard_gives_back_what_writes_have_left_behind() {
    let options = ShardOptions {
        checkpoint_log_bytes: limits::CHECKPOINT_LOG_BYTES,
        part_bytes: limits::PART_BYTES,
        ..options()
    };
    let mut cluster = Cluster::boot(7, Disk::default(), SimConfig::cores(1), &options);
    cluster.start().expect("a new node starts");
    let node = cluster.nodes[0].clone();
    cluster.run(0, async move {
        let mut once = 0;
        for version in 0..4 {
            for round in 0..3 {
                carry_out(&node, DEFAULT_COLLECTION, (0..RECORDS).map(|key| put(key, 3 * version + round)))
                    .await;
            }
            // They were answered before they were in the log.
            node.runtime().sleep(Duration::from_secs(1)).await;
            assert!(log_files(&node).await > limits::LOG_AHEAD_SEGMENTS + 1, "{version}");
            node.runtime().sleep(PATIENCE).await;
            assert_eq!(
                log_files(&node).await,
                limits::LOG_AHEAD_SEGMENTS + 1,
                "{version}: all is sealed, none is spare"
            );
            let now = run_bytes(&node).await;
            if version == 0 {
                once = now;
            }
            assert!(now > 0 && 4 * now <= 5 * once, "{version}: {now} bytes of runs, once it took {once}");
        }
    });
}
