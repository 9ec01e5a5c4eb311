//! Repairs of a node of two shards: the map of shard 0 decides what of the other one counts.

use std::cell::RefCell;
use std::rc::Rc;

use kyrodb::io::sim::Sim;

use super::*;

const LATE: u64 = 1000;

/// Two shards. In the log of shard 0 only: the making of a collection that has records on both.
fn two_shards(closed: bool) -> Disk {
    let mut cluster = Cluster::boot(1, Disk::default(), SimConfig::cores(2), &small());
    cluster.start().expect("a new node starts");
    let node = cluster.nodes[0].clone();
    cluster.run(0, async move {
        let mut model = Model::new();
        for number in 0..20 {
            change(&node, &mut model, ("default", number), 1, Some(100)).await;
        }
        let definition = Definition { split_at: vec![Key::from_u64(LATE)], ..Definition::of(KeyType::U64) };
        node.create_collection("late", definition).await.expect("ready").expect("new");
        for number in 0..20 {
            put_late(&node, "late", number).await;
            put_late(&node, "late", LATE + number).await;
        }
    });
    if closed {
        cluster.close().expect("the node stops in order");
    }
    cluster.sim.crash(CrashPolicy::KeepNothing)
}

async fn put_late(node: &Node, name: &str, number: u64) {
    let collection = node.collection(name).expect("exists");
    let change = Change::Put { payload: Payload::new(OCTET_STREAM, &[2; 100]), expires: None };
    let (condition, durability) = (Condition::None, Durability::Fsync);
    let write = Write { key: Key::from_u64(number), change, condition, durability, once: None };
    node.write(&collection, write).get().await.expect("written");
}

fn start_two(disk: &Disk) -> Option<Cluster> {
    let mut cluster = Cluster::boot(1, disk.clone(), SimConfig::cores(2), &small());
    cluster.start().ok().map(|()| cluster)
}

/// What the other shard has of the collection is there, and no id is used again.
fn check_late(mut cluster: Cluster, what: String) {
    let node = cluster.nodes[0].clone();
    cluster.run(0, async move {
        let late = node.collection("late").unwrap_or_else(|| panic!("{what}: the collection is gone"));
        for number in 0..20 {
            let found = node.get(&late, &Key::from_u64(number)).get().await.expect("answered");
            assert!(found.is_some(), "{what}: key {number} of the other shard is gone");
        }
        let before = node.catalogue();
        let definition = late.definition.clone();
        node.create_collection("new", definition).await.expect("ready").expect("new");
        let new = node.collection("new").expect("made");
        let newest = before.collections.values().flat_map(|collection| &collection.tablets);
        assert!(newest.map(|tablet| tablet.id).max() < new.tablets.iter().map(|tablet| tablet.id).min());
    });
}

/// All that can be repaired of a node of two shards; `None` when the map is lost.
fn repaired_two(disk: &Disk, what: &str) -> Option<Disk> {
    repaired_watched(disk, what, |_| ())
}

fn repaired_watched(disk: &Disk, what: &str, watch: impl FnOnce(&mut Sim)) -> Option<Disk> {
    // Two repairs of one disk do not draw the same name.
    let seed = what.bytes().map(u64::from).sum();
    let mut sim = Sim::with_disk(seed, disk.clone(), SimConfig::cores(1));
    watch(&mut sim);
    let (runtime, what) = (sim.runtime(0), what.to_owned());
    let done = sim.run(async move {
        let files = [0, 1].map(|shard| ShardFiles::of(Path::new("/"), ShardId(shard)));
        let plans = match repair::plan(&runtime, &files).await {
            Ok(plans) => plans,
            Err((ShardId(0), RepairError::MapLost { .. })) => return false,
            Err((shard, error)) => panic!("{what}: shard {shard}: {error}"),
        };
        crashsafe::create_dir(&runtime, Path::new("/aside")).await.expect("made");
        let aside = Path::new("/aside").join(format!("{:016x}", runtime.random()));
        crashsafe::create_dir(&runtime, &aside).await.expect("made");
        let allowed = Allowed { cut_log: true, keep_older: false };
        for plan in plans.iter().filter(|plan| !plan.is_empty()) {
            repair::apply(&runtime, plan, allowed, &aside).await.expect("repaired");
        }
        true
    });
    done.expect("not stuck").then(|| sim.crash(CrashPolicy::KeepNothing))
}

/// Wherever shard 0's log is damaged, what the other shard has is there after the repair: every map is in shard 0's
/// manifest before anybody writes by it.
#[test]
fn a_cut_of_the_map_loses_nothing_of_other_shards() {
    let mut repairs = 0;
    for closed in [false, true] {
        let disk = two_shards(closed);
        let logs = paths(&disk, ".wal").into_iter().filter(|(path, _)| path.contains("shard-000"));
        for (path, page) in logs.flat_map(|(path, _)| (0..100).map(move |page| (path.clone(), page))) {
            let what = format!("closed {closed}, page {page} of {path}");
            let mut bad = disk.clone();
            bad.flip_bit(&path, page * 4096 + 200, 1);
            if let Some(cluster) = start_two(&bad) {
                check_late(cluster, what);
                continue;
            }
            let mended = repaired_two(&bad, &what).unwrap_or_else(|| panic!("{what}: the map is lost"));
            repairs += 1;
            check_late(start_two(&mended).unwrap_or_else(|| panic!("{what}: it does not start")), what);
        }
    }
    assert!(repairs > 20, "{repairs}");
}

/// The map's record stands behind the damage. Wherever the repair is cut short, the map is in force or still to be
/// found.
#[test]
fn a_cut_that_is_cut_short_keeps_the_map() {
    let disk = two_shards(false);
    let logs = paths(&disk, ".wal").into_iter().filter(|(path, _)| path.contains("shard-000"));
    let damaged =
        logs.flat_map(|(path, _)| (1..100).map(move |page| (path.clone(), page))).map(|(path, page)| {
            let mut bad = disk.clone();
            bad.flip_bit(&path, page * 4096 + 200, 1);
            bad
        });
    let bad = damaged.into_iter().find(|bad| start_two(bad).is_none()).expect("one is refused");
    let images = Rc::new(RefCell::new(Vec::new()));
    let (taken, mut dice) = (images.clone(), Rng::new(9));
    let watch = move |sim: &mut Sim| {
        sim.world().on_io(move |point| {
            if point.changes_disk {
                taken.borrow_mut().push(point.image(CrashPolicy::Random, &mut dice));
            }
        })
    };
    repaired_watched(&bad, "watched", watch).expect("repaired");
    let images = images.take();
    assert!(images.len() > 20);
    for (number, image) in images.into_iter().enumerate() {
        let what = format!("crash point {number}");
        if let Some(cluster) = start_two(&image) {
            check_late(cluster, what.clone());
        }
        let mended = repaired_two(&image, &what).unwrap_or_else(|| panic!("{what}: the map is lost"));
        check_late(start_two(&mended).unwrap_or_else(|| panic!("{what}: it does not start")), what);
    }
}

/// A collection that is sealed on the other shard only.
fn sealed_elsewhere() -> Disk {
    let options = ShardOptions { checkpoint_log_bytes: 64 * 1024, ..small() };
    let mut cluster = Cluster::boot(1, Disk::default(), SimConfig::cores(2), &options);
    cluster.start().expect("a new node starts");
    let node = cluster.nodes[0].clone();
    cluster.run(0, async move {
        let definition = Definition { split_at: vec![Key::from_u64(LATE)], ..Definition::of(KeyType::U64) };
        node.create_collection("late", definition).await.expect("ready").expect("new");
        for number in 0..600 {
            put_late(&node, "late", number).await;
        }
        node.runtime().sleep(std::time::Duration::from_secs(5)).await;
    });
    cluster.sim.crash(CrashPolicy::KeepNothing)
}

/// The tables of a run are lost, and its blocks are whole: nothing is lost.
#[test]
fn a_run_without_its_tables_is_put_together_again() {
    let disk = sealed_elsewhere();
    let all = runs_of(&disk, ShardId(1));
    assert!(!all.is_empty());
    for (path, len) in &all {
        let what = format!("tables of {path}");
        let mut bad = disk.clone();
        bad.flip_bit(path, len - 4096 + 100, 1);
        bad.flip_bit(path, len - 8, 1);
        let mended = repaired_two(&bad, &what).expect("no map is lost");
        let mut cluster = start_two(&mended).unwrap_or_else(|| panic!("{what}: it does not start"));
        let node = cluster.nodes[0].clone();
        cluster.run(0, async move {
            let late = node.collection("late").expect("exists");
            for number in 0..600 {
                let found = node.get(&late, &Key::from_u64(number)).get().await.expect("read");
                assert!(found.is_some(), "{what}: the blocks are whole, and {number} is gone");
            }
        });
    }
}
