//! Runs in several levels, in the simulator: whatever is sealed, merged and moved down, every key has the
//! value that was written last, or none.

mod support;

use std::collections::BTreeMap;
use std::ops::Bound;

use kyrodb::io::sim::{Disk, Faults, Rng, SimConfig};
use kyrodb::shard::catalogue::Definition;
use kyrodb::shard::key::{Key, KeyType};
use kyrodb::shard::node::Node;
use kyrodb::shard::options::ShardOptions;
use kyrodb::shard::payload::{OCTET_STREAM, Payload};
use kyrodb::shard::record::{Change, Condition, Durability, Expiry, Scan, Write};
use kyrodb::types::WallMs;
use support::cluster::{Cluster, options};

const SEEDS: u64 = 24;
const ROUNDS: u64 = 60;
const KEYS: u64 = 2400;
/// Keys below this are not there from the beginning.
const FILLED_FROM: u64 = 900;
const COLLECTIONS: [&str; 2] = ["default", "words"];

type Model = BTreeMap<(&'static str, u64), Vec<u8>>;

fn key_in(collection: &str, number: u64) -> Key {
    match collection {
        "default" => Key::from_u64(number),
        _ => Key::from_text(&format!("word {number:06}")).expect("short"),
    }
}

async fn change(node: &Node, model: &mut Model, name: &'static str, number: u64, value: Option<Vec<u8>>) {
    let collection = node.collection(name).expect("exists");
    let change = match &value {
        Some(value) => Change::Put { payload: Payload::new(OCTET_STREAM, value), expires: None },
        None => Change::Delete,
    };
    let (key, condition, durability) = (key_in(name, number), Condition::None, Durability::Memory);
    let written =
        node.write(&collection, Write { key, change, condition, durability, once: None }).get().await;
    let before = match value {
        Some(value) => model.insert((name, number), value),
        None => model.remove(&(name, number)),
    };
    match written {
        Ok(written) => assert_eq!(written.created, before.is_none(), "{name} {number}"),
        Err(_) => assert!(before.is_none(), "{name} {number}: {written:?}"),
    }
}

/// A window of keys, where the writes of this round go: so that parts of all sizes and places come about. Now and
/// then four rounds stay where the deepest level has nothing: a compaction then meets parts that reach beyond.
async fn round(node: &Node, model: &mut Model, rng: &mut Rng, number: u64) {
    let aside = number / 4 % 2 == 1;
    let name = if aside { "default" } else { COLLECTIONS[rng.index(2)] };
    let width = if aside { 20 } else { [20, 200, KEYS][rng.index(3)] };
    let start = rng.below(if aside { FILLED_FROM - width } else { KEYS - width + 1 });
    for _ in 0..80 {
        let number = start + rng.below(width);
        let value = (rng.below(10) < 6).then(|| vec![rng.below(256) as u8; 100 + rng.index(600)]);
        change(node, model, name, number, value).await;
    }
}

/// A few keys in any order, some of them twice: together, and one by one.
async fn some_of(node: &Node, model: &Model, rng: &mut Rng, name: &'static str, what: &str) {
    let collection = node.collection(name).expect("exists");
    let numbers: Vec<u64> = (0..64).map(|_| rng.below(KEYS)).collect();
    let keys: Vec<Key> = numbers.iter().map(|number| key_in(name, *number)).collect();
    let together = node.get_many(&collection, keys.clone()).get().await.expect("answered");
    for ((number, key), found) in numbers.into_iter().zip(&keys).zip(together) {
        let alone = node.get(&collection, key).get().await.expect("answered");
        assert_eq!(found, alone, "{what}: {name} {number}, with others and alone");
        let value = found.map(|found| found.payload.value().to_vec());
        assert_eq!(value.as_ref(), model.get(&(name, number)), "{what}: {name} {number}, in no order");
    }
}

async fn check(node: &Node, model: &Model, rng: &mut Rng, what: &str) {
    for name in COLLECTIONS {
        // While little is warm.
        some_of(node, model, rng, name, what).await;
        let collection = node.collection(name).expect("exists");
        let wanted: Vec<_> = model.iter().filter(|((of, _), _)| *of == name).collect();
        let keys: Vec<Key> = (0..KEYS).map(|number| key_in(name, number)).collect();
        let found = node.get_many(&collection, keys).get().await.expect("answered");
        for (number, found) in (0..).zip(found) {
            let value = found.map(|found| found.payload.value().to_vec());
            assert_eq!(value.as_ref(), model.get(&(name, number)), "{what}: {name} {number}");
        }
        for reverse in [false, true] {
            let mut seen = Vec::new();
            let (mut start, mut end) = (Bound::Unbounded, Bound::Unbounded);
            loop {
                let scan = Scan { start: start.clone(), end: end.clone(), reverse, limit: 300 };
                let page = node.scan(&collection, scan).await.expect("scans");
                seen.extend(
                    page.records.into_iter().map(|(key, found)| (key, found.payload.value().to_vec())),
                );
                let Some(last) = page.resume_after.filter(|_| page.more) else { break };
                if reverse { end = Bound::Excluded(last) } else { start = Bound::Excluded(last) }
            }
            if reverse {
                seen.reverse();
            }
            let wanted = wanted.iter().map(|((_, number), value)| (key_in(name, *number), (*value).clone()));
            assert!(seen.into_iter().eq(wanted), "{what}: a scan of {name}, reverse {reverse}");
        }
        let stats = node.collection_stats(&collection).await.expect("ready");
        assert_eq!(stats.records, wanted.len() as u64, "{what}: records of {name}");
    }
}

#[test]
fn every_key_has_its_last_value_whatever_is_merged() {
    for seed in 0..SEEDS {
        // Level 0 gets parts that overlap nothing of the deepest level, and levels between come about.
        let (part_bytes, value_bytes_inline) = (8 * 1024, 550);
        let options =
            ShardOptions { part_bytes, value_bytes_inline, checkpoint_log_bytes: 1 << 30, ..options() };
        let mut cluster = Cluster::boot(seed, Disk::default(), SimConfig::cores(1), &options);
        cluster.start().expect("a new node starts");
        let node = cluster.nodes[0].clone();
        cluster.run(0, async move {
            let (mut model, mut rng) = (Model::new(), Rng::new(seed));
            let definition = Definition::of(KeyType::String);
            node.create_collection(COLLECTIONS[1], definition).await.expect("ready").expect("new");
            for number in FILLED_FROM..KEYS {
                for name in COLLECTIONS {
                    change(&node, &mut model, name, number, Some(vec![number as u8; 200])).await;
                }
            }
            node.compact().await.expect("merges");
            for number in 0..ROUNDS {
                round(&node, &mut model, &mut rng, number).await;
                node.checkpoint().await.expect("seals");
                if rng.below(4) == 0 {
                    // Let compaction catch up, or not.
                    node.runtime().sleep(std::time::Duration::from_millis(rng.below(3000))).await;
                }
                if number % 20 == 19 {
                    check(&node, &model, &mut rng, &format!("seed {seed}, round {number}")).await;
                }
            }
            node.compact().await.expect("merges");
            check(&node, &model, &mut rng, &format!("seed {seed}, merged")).await;
        });
    }
}

/// A put reads a run to learn whether it replaces a record. Meanwhile that record's time is over, its deletion is
/// logged, and sealed: the put replaces nothing any more.
#[test]
fn a_record_that_expires_under_a_slow_put_is_counted_once() {
    const RECORDS: u64 = 40;
    let options = ShardOptions { part_bytes: 1 << 20, checkpoint_log_bytes: 1 << 30, ..options() };
    for seed in 0..20 {
        let slow_disk = std::time::Duration::from_secs(3);
        let faults = Faults { slow_disk_permille: 300, slow_disk, ..Faults::default() };
        let config = SimConfig { faults, ..SimConfig::cores(1) };
        let mut cluster = Cluster::boot(seed, Disk::default(), config, &options);
        cluster.start().expect("a new node starts");
        let node = cluster.nodes[0].clone();
        cluster.run(0, async move {
            let collection = node.collection("default").expect("exists");
            let (condition, durability) = (Condition::None, Durability::Memory);
            let put = |number: u64, expires| {
                let payload = Payload::new(OCTET_STREAM, &[number as u8; 3000]);
                let change = Change::Put { payload, expires };
                Write { key: Key::from_u64(number), change, condition, durability, once: None }
            };
            let runtime = node.runtime().clone();
            let over = WallMs(runtime.wall().0 + 20_000);
            for number in 0..RECORDS {
                let write = put(number, Some(Expiry::At(over)));
                node.write(&collection, write).get().await.expect("taken");
            }
            node.checkpoint().await.expect("seals");
            let mut writes = Vec::new();
            // The sweep of runs comes some seconds after the end of their time.
            while runtime.wall().0 < over.0 + 20_000 {
                runtime.sleep(std::time::Duration::from_millis(200)).await;
                if runtime.wall() > over && writes.is_empty() {
                    writes.extend((0..RECORDS).map(|number| node.write(&collection, put(number, None))));
                }
                node.checkpoint().await.expect("seals");
            }
            for write in writes {
                write.get().await.expect("taken");
            }
            let stats = node.collection_stats(&collection).await.expect("ready");
            assert_eq!(stats.records, RECORDS, "seed {seed}");
        });
    }
}
