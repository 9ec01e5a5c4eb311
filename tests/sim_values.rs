//! Large values in the simulator: whatever is sealed, merged, moved, cut off or damaged, every key has the value
//! that was written last, what lives is counted rightly, and no file is left over.

mod support;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use kyrodb::io::sim::{CrashPolicy, Disk, Rng, SimConfig};
use kyrodb::shard::catalogue::{Definition, Placement};
use kyrodb::shard::inspect;
use kyrodb::shard::key::{Key, KeyType};
use kyrodb::shard::node::Node;
use kyrodb::shard::options::ShardOptions;
use kyrodb::shard::payload::Payload;
use kyrodb::shard::record::{Change, Expiry, Refusal, Write};
use kyrodb::shard::stats::ShardStats;
use kyrodb::types::ShardId;
use support::cluster::{Cluster, options};
use support::small::{begin, delete, put, send, value};

const KEYS: u64 = 60;
const INLINE: usize = 1024;

/// What was acknowledged last of each key: its round, and the length of its value.
type Model = BTreeMap<u64, (u64, usize)>;

fn small_files() -> ShardOptions {
    ShardOptions {
        part_bytes: 8 * 1024,
        value_bytes_inline: INLINE,
        value_file_bytes: 64 * 1024,
        checkpoint_log_bytes: 1 << 30,
        ..options()
    }
}

fn boot(seed: u64, disk: Disk) -> Cluster {
    let mut cluster = Cluster::boot(seed, disk, SimConfig::cores(1), &small_files());
    cluster.start().unwrap_or_else(|error| panic!("seed {seed}: the node does not start: {error}"));
    cluster
}

fn any_len(rng: &mut Rng) -> usize {
    match rng.below(10) {
        0..3 => 16 + rng.index(INLINE / 2),
        3..9 => INLINE + rng.index(12_000),
        _ => 30_000 + rng.index(40_000),
    }
}

/// A round of writes, most of them to a few keys.
async fn write_round(node: &Node, model: &mut Model, rng: &mut Rng, round: u64) {
    let start = rng.below(KEYS);
    for _ in 0..24 {
        let key = if rng.coin() { rng.below(KEYS) } else { (start + rng.below(8)) % KEYS };
        if rng.below(8) == 0 {
            if model.remove(&key).is_some() {
                send(node, delete(key)).await;
            }
            continue;
        }
        let len = any_len(rng);
        send(node, put(key, value(key, round, len))).await;
        model.insert(key, (round, len));
    }
}

fn wanted(model: &Model, key: u64) -> Option<Payload> {
    model.get(&key).map(|(round, len)| value(key, *round, *len))
}

async fn check(node: &Node, model: &Model, what: &str) {
    let collection = node.collection("default").expect("exists from the start");
    let keys: Vec<Key> = (0..KEYS).map(Key::from_u64).collect();
    let found = node.get_many(&collection, keys).get().await.expect("answered");
    for (key, found) in (0..).zip(found) {
        let alone = node.get(&collection, &Key::from_u64(key)).get().await.expect("answered");
        assert!(alone == found, "{what}: key {key} alone and among others");
        assert!(found.map(|found| found.payload) == wanted(model, key), "{what}: key {key}");
    }
    let scan = kyrodb::shard::record::Scan {
        start: std::ops::Bound::Unbounded,
        end: std::ops::Bound::Unbounded,
        reverse: false,
        limit: KEYS as usize,
    };
    let (mut seen, mut scan) = (Vec::new(), scan);
    loop {
        let page = node.scan(&collection, scan.clone()).await.expect("scans");
        seen.extend(page.records.into_iter().map(|(key, found)| (key.as_u64().expect("u64"), found.payload)));
        let Some(last) = page.resume_after.filter(|_| page.more) else { break };
        scan.start = std::ops::Bound::Excluded(last);
    }
    let all = model.keys().map(|key| (*key, wanted(model, *key).expect("it is in the model")));
    assert!(seen.into_iter().eq(all), "{what}: a scan");
}

/// Value files of a shard on the disk, and their bytes.
async fn files_of(node: &Node, shard: ShardId) -> (u64, u64) {
    let dir = small_files().shard_dir(shard).join("runs");
    let entries = node.runtime().list(&dir).await.expect("the directory is there");
    let files = entries.iter().filter(|entry| entry.name.ends_with(".values"));
    files.fold((0, 0), |(count, bytes), entry| (count + 1, bytes + entry.len))
}

/// `verify` reads every value and counts anew what the runs refer to; every file is one that counts.
async fn check_files(node: &Node, what: &str) {
    // Until what was replaced is gone.
    node.runtime().sleep(Duration::from_secs(3)).await;
    for stats in node.stats().await {
        let shard = stats.shard;
        let report = inspect::verify(node.runtime(), &small_files().shard_dir(shard), shard).await;
        assert!(report.findings.is_empty(), "{what}, shard {shard}: {:?}", report.findings);
        assert_eq!(
            files_of(node, shard).await,
            (stats.value_files, stats.value_file_bytes),
            "{what}, shard {shard}: files and metrics"
        );
    }
}

/// What the large values of the model take, padding included.
fn live_bytes(model: &Model) -> u64 {
    let payload = |len: usize| len.max(16) + 1;
    let lens = model.values().map(|(_, len)| payload(*len)).filter(|len| *len > INLINE);
    lens.map(|len| len.next_multiple_of(4096) as u64).sum()
}

#[test]
fn every_key_has_its_last_value_and_what_lives_is_counted() {
    for seed in 0..12 {
        let mut cluster = boot(seed, Disk::default());
        let node = cluster.nodes[0].clone();
        let model_of = Rc::new(RefCell::new(Model::new()));
        let kept = model_of.clone();
        cluster.run(0, async move {
            let (mut model, mut rng) = (Model::new(), Rng::new(seed));
            for round in 1..40 {
                write_round(&node, &mut model, &mut rng, round).await;
                node.checkpoint().await.expect("seals");
                if rng.below(3) == 0 {
                    node.runtime().sleep(Duration::from_millis(rng.below(2000))).await;
                }
                if round % 13 == 0 {
                    check(&node, &model, &format!("seed {seed}, round {round}")).await;
                    check_files(&node, &format!("seed {seed}, round {round}")).await;
                }
            }
            node.compact().await.expect("merges");
            check_files(&node, &format!("seed {seed}, merged")).await;
            check(&node, &model, &format!("seed {seed}, merged")).await;
            let stats = node.stats().await.remove(0);
            assert_eq!(stats.value_live_bytes, live_bytes(&model), "seed {seed}: what lives");
            let overhead = stats.value_files * 3 * 4096;
            assert!(
                stats.value_file_bytes <= stats.value_live_bytes * 3 / 2 + overhead,
                "seed {seed}: {} bytes for {}",
                stats.value_file_bytes,
                stats.value_live_bytes
            );
            let for_values = stats.decisions.iter().filter(|(_, reason, _)| *reason == "values");
            let for_values: u64 = for_values.map(|(.., count)| count).sum();
            println!("seed {seed}: {} merges, {for_values} of them for values", stats.compactions);
            assert!(stats.compactions > 5, "seed {seed}: {} merges", stats.compactions);
            *kept.borrow_mut() = model;
        });
        // Also in another life.
        cluster.close().expect("closes");
        let mut again = boot(seed, cluster.sim.crash(CrashPolicy::KeepNothing));
        let (node, model) = (again.nodes[0].clone(), model_of.take());
        again.run(0, async move {
            check(&node, &model, &format!("seed {seed}, another life")).await;
            check_files(&node, &format!("seed {seed}, another life")).await;
            for key in model.keys() {
                send(&node, delete(*key)).await;
            }
            node.compact().await.expect("merges");
            check_files(&node, &format!("seed {seed}, emptied")).await;
            assert_eq!(
                files_of(&node, ShardId(0)).await,
                (0, 0),
                "seed {seed}: files without a value that lives"
            );
        });
    }
}

/// What lives on all shards, and how many value files there are.
async fn live_and_files(node: &Node) -> (u64, u64) {
    let stats = node.stats().await;
    let sum = |of: fn(&ShardStats) -> u64| stats.iter().map(of).sum();
    (sum(|stats| stats.value_live_bytes), sum(|stats| stats.value_files))
}

/// Ranges that are cut, moved and merged, a collection that is dropped, and records whose time is over.
#[test]
fn nothing_is_left_of_what_moves_away_is_dropped_or_expires() {
    for seed in 0..4 {
        let shards = 3;
        let mut cluster = Cluster::boot(seed, Disk::default(), SimConfig::cores(shards), &small_files());
        cluster.start().unwrap_or_else(|error| panic!("seed {seed}: the node does not start: {error}"));
        let node = cluster.nodes[0].clone();
        cluster.run(0, async move {
            let (mut model, mut rng) = (Model::new(), Rng::new(seed));
            let placement = Placement::Range;
            let dropped = Definition { placement, ..Definition::of(KeyType::U64) };
            node.create_collection("dropped", dropped).await.expect("ready").expect("new");
            let mut moved = 0;
            for round in 1..16 {
                write_round(&node, &mut model, &mut rng, round).await;
                for key in 0..4 {
                    let other = put(key, value(key, round, any_len(&mut rng)));
                    begin(&node, "dropped", other).get().await.expect("acknowledged");
                    let payload = value(key, round, any_len(&mut rng));
                    let change = Change::Put { payload, expires: Some(Expiry::In(1 + rng.below(2000))) };
                    send(&node, Write { change, ..put(KEYS + rng.below(20), value(0, 0, 0)) }).await;
                }
                let collection = node.collection("default").expect("exists from the start");
                let change = support::reshape::any(&collection, &[10, 25, 40, 65], shards, &mut rng);
                moved += u64::from(node.reshape(change).await.expect("nothing is in the way").is_ok());
                if rng.coin() {
                    node.checkpoint().await.expect("seals");
                }
                if round == 8 {
                    node.compact().await.expect("merges");
                }
            }
            assert!(moved > 5, "seed {seed}: {moved} changes");
            node.drop_collection("dropped").await.expect("ready").expect("it is there");
            node.compact().await.expect("merges");
            // Until deletions of what is over are logged, also out of runs that were read through too early.
            node.runtime().sleep(kyrodb::limits::SEALED_EXPIRY_PAUSE * 2).await;
            node.compact().await.expect("merges");
            check_files(&node, &format!("seed {seed}, merged")).await;
            check(&node, &model, &format!("seed {seed}, merged")).await;
            let (live, files) = live_and_files(&node).await;
            assert_eq!(live, live_bytes(&model), "seed {seed}: what lives");
            assert!(files > 0);
            for key in model.keys() {
                send(&node, delete(*key)).await;
            }
            node.compact().await.expect("merges");
            check_files(&node, &format!("seed {seed}, emptied")).await;
            assert_eq!(live_and_files(&node).await, (0, 0), "seed {seed}: a value that nobody has");
        });
    }
}

/// At I/Os of seals, merges and moves of values: what was acknowledged is there, `verify` finds nothing, and
/// files that nothing refers to are gone.
#[test]
fn a_crash_loses_no_value_and_leaves_no_file() {
    let mut tried = 0;
    for seed in 0..4 {
        let mut cluster = boot(seed, Disk::default());
        let images: Rc<RefCell<Vec<(Disk, Model, u64)>>> = Rc::default();
        let acked: Rc<RefCell<Model>> = Rc::default();
        // The write that is under way may be there or not.
        let open: Rc<Cell<u64>> = Rc::new(Cell::new(u64::MAX));
        let (kept, durable, under_way) = (images.clone(), acked.clone(), open.clone());
        let mut rng = Rng::new(seed);
        cluster.sim.world().on_io(move |point| {
            if point.changes_disk && rng.chance(60) {
                let policy =
                    [CrashPolicy::KeepNothing, CrashPolicy::Random, CrashPolicy::KeepAll][rng.index(3)];
                let image = point.image(policy, &mut rng);
                kept.borrow_mut().push((image, durable.borrow().clone(), under_way.get()));
            }
        });
        let node = cluster.nodes[0].clone();
        cluster.run(0, async move {
            let mut rng = Rng::new(seed + 100);
            for round in 1..14 {
                for _ in 0..12 {
                    let (key, len) = (rng.below(12), any_len(&mut rng));
                    open.set(key);
                    if rng.below(7) == 0 && acked.borrow().contains_key(&key) {
                        send(&node, delete(key)).await;
                        acked.borrow_mut().remove(&key);
                    } else {
                        send(&node, put(key, value(key, round, len))).await;
                        acked.borrow_mut().insert(key, (round, len));
                    }
                    open.set(u64::MAX);
                }
                node.checkpoint().await.expect("seals");
                node.runtime().sleep(Duration::from_millis(rng.below(400))).await;
            }
            node.compact().await.expect("merges");
        });
        let images = images.take();
        tried += images.len();
        for (number, (disk, model, open)) in images.into_iter().enumerate() {
            let what = format!("seed {seed}, image {number}");
            let mut again = boot(seed, disk);
            let node = again.nodes[0].clone();
            again.run(0, async move {
                for (when, compact) in [("at once", false), ("merged", true)] {
                    if compact {
                        node.compact().await.expect("merges");
                    }
                    check_files(&node, &format!("{what}, {when}")).await;
                    let collection = node.collection("default").expect("exists from the start");
                    for key in (0..12).filter(|key| *key != open) {
                        let found = node.get(&collection, &Key::from_u64(key)).get().await.expect("answered");
                        let found = found.map(|found| found.payload);
                        assert!(found == wanted(&model, key), "{what}, {when}: key {key}");
                    }
                }
            });
        }
    }
    println!("{tried} crash points");
    assert!(tried > 100, "{tried} crash points");
}

/// A value that is damaged is refused, and so is nothing else: reads, seals, merges and moves go on around it.
#[test]
fn a_damaged_value_harms_no_other() {
    let mut cluster = boot(1, Disk::default());
    let node = cluster.nodes[0].clone();
    cluster.run(0, async move {
        for key in 0..KEYS {
            send(&node, put(key, value(key, 1, 9_000))).await;
        }
        node.compact().await.expect("merges");
    });
    cluster.close().expect("closes");
    let mut disk = cluster.sim.crash(CrashPolicy::KeepNothing);
    let files = disk.file_lens().into_iter().filter(|(path, len)| path.ends_with(".values") && *len > 0);
    let (path, _) = files.min().expect("a value file");
    // The first value of the file is the one of the lowest key.
    disk.flip_bit(&path, 4096 + 5000, 3);
    let mut again = boot(2, disk);
    let node = again.nodes[0].clone();
    again.run(0, async move {
        let damaged = Refusal::Damaged { shard: ShardId(0) };
        let collection = node.collection("default").expect("exists from the start");
        for round in 2..8 {
            for key in 0..KEYS {
                let found = node.get(&collection, &Key::from_u64(key)).get().await;
                match key {
                    0 => assert_eq!(found, Err(damaged), "round {round}"),
                    _ => {
                        let last = if key % 4 == 0 { 1 } else { round - 1 };
                        let found = found.expect("answered").expect("it is there");
                        assert!(found.payload == value(key, last, 9_000), "round {round}, key {key}");
                    }
                }
            }
            for key in (0..KEYS).filter(|key| key % 4 != 0) {
                send(&node, put(key, value(key, round, 9_000))).await;
            }
            node.compact().await.expect("it goes on around the damage");
            node.runtime().sleep(Duration::from_secs(2)).await;
        }
        let report = inspect::verify(node.runtime(), &small_files().shard_dir(ShardId(0)), ShardId(0)).await;
        let [finding] = &report.findings[..] else { panic!("{:?}", report.findings) };
        assert!(finding.what.contains("the value of key") && finding.offset.is_some(), "{finding:?}");
        // Overwritten it is whole again, and the damage goes with its file.
        send(&node, put(0, value(0, 9, 9_000))).await;
        node.compact().await.expect("merges");
        check_files(&node, "overwritten").await;
    });
}

/// A disk with nothing but a copy of the snapshot, at its root.
fn restored(disk: &Disk, id: &str) -> Disk {
    let mut fresh = Disk::default();
    let prefix = format!("/snapshots/{id}/");
    for (path, _) in disk.file_lens() {
        if let Some(rest) = path.strip_prefix(&prefix) {
            fresh.put_file(format!("/{rest}"), &disk.bytes(&path).expect("a file that is listed"));
        }
    }
    fresh
}

#[test]
fn a_snapshot_keeps_its_values_whatever_is_rewritten() {
    let mut cluster = boot(3, Disk::default());
    let node = cluster.nodes[0].clone();
    let id: Rc<RefCell<String>> = Rc::default();
    let told = id.clone();
    cluster.run(0, async move {
        for key in 0..KEYS {
            send(&node, put(key, value(key, 1, 5_000 + 100 * key as usize))).await;
        }
        node.checkpoint().await.expect("seals");
        send(&node, put(7, value(7, 2, 20_000))).await;
        *told.borrow_mut() = node.snapshot().await.expect("a snapshot").id;
        for round in 3..6 {
            for key in 0..KEYS {
                send(&node, put(key, value(key, round, 3_000))).await;
            }
            node.compact().await.expect("merges");
        }
        check_files(&node, "beside a snapshot").await;
    });
    let disk = cluster.sim.crash(CrashPolicy::KeepNothing);
    let mut again = boot(4, restored(&disk, &id.borrow()));
    let node = again.nodes[0].clone();
    again.run(0, async move {
        check_files(&node, "restored").await;
        let mut model: Model = (0..KEYS).map(|key| (key, (1, 5_000 + 100 * key as usize))).collect();
        model.insert(7, (2, 20_000));
        check(&node, &model, "restored").await;
    });
    let (node, id) = (cluster.nodes[0].clone(), id.borrow().clone());
    cluster.run(0, async move {
        assert_eq!(node.drop_snapshot(&id).await, Ok(true));
    });
    let left = cluster.sim.crash(CrashPolicy::KeepNothing).file_lens();
    assert!(!left.iter().any(|(path, _)| path.contains("snapshots/")), "{left:?}");
}

/// One block for the reference, then the value; a write that has to know what it replaces reads no value, and
/// large values do not push out what is warm.
#[test]
fn a_cold_read_is_a_block_and_the_value() {
    let mut cluster = boot(5, Disk::default());
    let node = cluster.nodes[0].clone();
    cluster.run(0, async move {
        for key in 0..KEYS {
            send(&node, put(key, value(key, 1, 600_000))).await;
            node.checkpoint().await.expect("seals");
        }
        node.compact().await.expect("merges");
        let before = node.stats().await.remove(0);
        let collection = node.collection("default").expect("exists from the start");
        for key in 0..KEYS {
            let found = node.get(&collection, &Key::from_u64(key)).get().await.expect("answered");
            assert!(found.is_some_and(|found| found.payload == value(key, 1, 600_000)));
        }
        let after = node.stats().await.remove(0);
        assert_eq!(after.block_reads - before.block_reads, KEYS);
        assert_eq!(after.value_reads - before.value_reads, KEYS);
        assert_eq!(after.cache_bytes, before.cache_bytes, "a large value is not kept");
        for key in 0..KEYS {
            let condition = kyrodb::shard::record::Condition::Present;
            send(&node, kyrodb::shard::record::Write { condition, ..put(key, value(key, 2, 50)) }).await;
        }
        let last = node.stats().await.remove(0);
        assert_eq!(last.value_reads, after.value_reads, "a condition asks for no value");
    });
}
