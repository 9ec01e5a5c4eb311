//! Logs that are cut: where, what is left of them, and crashes in the middle of it.

use super::*;
use kyrodb::shard::inspect;

/// A seal while writes go on: its runs have records that are in the log behind those that it covers.
fn sealed_while_written() -> (Disk, Model) {
    let (cluster, model) = written_while_sealed();
    (cluster.sim.crash(CrashPolicy::KeepNothing), model)
}

fn written_while_sealed() -> (Cluster, Model) {
    let mut cluster = boot(Disk::default());
    cluster.start().expect("a new node starts");
    let (node, sealer) = (cluster.nodes[0].clone(), cluster.nodes[0].clone());
    let model = std::rc::Rc::new(std::cell::RefCell::new(Model::new()));
    let written = model.clone();
    cluster.run(0, async move {
        let definition = Definition::of(KeyType::String);
        node.create_collection("words", definition).await.expect("ready").expect("new");
        let mut model = Model::new();
        for name in NAMES {
            for number in 0..KEYS {
                change(&node, &mut model, (name, number), 1, Some(100)).await;
            }
        }
        *written.borrow_mut() = model;
    });
    let (node, written) = (cluster.nodes[0].clone(), model.clone());
    let seal: support::cluster::Client = Box::pin(async move { sealer.checkpoint().await.expect("seals") });
    let write: support::cluster::Client = Box::pin(async move {
        let mut model = written.take();
        for number in 0..40 {
            for name in NAMES {
                change(&node, &mut model, (name, KEYS + number), LOG_AGE, Some(110)).await;
            }
        }
        written.replace(model);
    });
    cluster.run_all(vec![(0, seal), (0, write)]).expect("not stuck");
    (cluster, model.take())
}

/// Runs that are ahead of a log that was cut: the node starts, merges, and counts what is there.
#[test]
fn runs_may_be_ahead_of_a_log_that_was_cut() {
    let (disk, model) = sealed_while_written();
    let mut ahead = 0;
    for (path, _) in paths(&disk, ".wal") {
        for page in 0..256 {
            let mut bad = disk.clone();
            bad.flip_bit(&path, page * 4096 + 200, 1);
            let what = format!("page {page} of {path}");
            if let Some(cluster) = starts(&bad) {
                // Behind a crash, damage in the last block passes for a torn end.
                check(cluster, &model, Lost { log_cut: true, ..Lost::nothing() }, &what);
                continue;
            }
            let (mended, told, _) = repaired(bad, CUT).unwrap_or_else(|e| panic!("{what}: {e}"));
            let newest = state_of(&mended, ShardId(0)).runs.iter().map(|run| run.lsn_max.0).max();
            ahead += u64::from(newest > told["log"]["last_lsn"].as_u64());
            let mut cluster = starts(&mended).unwrap_or_else(|| panic!("{what}: it does not start"));
            let node = cluster.nodes[0].clone();
            cluster.run(0, async move { node.compact().await.expect("merges") });
            let later = cluster.sim.crash(CrashPolicy::KeepNothing);
            check(cluster, &model, Lost::of(&told), &what);
            check(starts(&later).expect("it starts again"), &model, Lost::of(&told), &what);
        }
    }
    assert!(ahead > 0, "{ahead}");
}

/// What `verify` says.
fn found(disk: Disk) -> Vec<String> {
    let mut sim = kyrodb::io::sim::Sim::with_disk(3, disk, SimConfig::cores(1));
    let runtime = sim.runtime(0);
    let report = sim.run(async move { inspect::verify(&runtime, &files().dir, ShardId(0)).await });
    report.expect("not stuck").findings.into_iter().map(|finding| finding.what).collect()
}

const CUT: Allowed = Allowed { cut_log: true, keep_older: false };

/// A page of the log that the disk does not give is damage like any other.
#[test]
fn what_cannot_be_read_of_a_log_is_cut() {
    let (disk, model) = store();
    let mut cuts = 0;
    for (path, _) in paths(&disk, ".wal") {
        for page in 0..256 {
            let mut bad = disk.clone();
            bad.break_page(&path, page);
            let what = format!("page {page} of {path}");
            if let Some(cluster) = starts(&bad) {
                check(cluster, &model, Lost::nothing(), &what);
                continue;
            }
            let (mended, told, nothing) = repaired(bad, CUT).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(!nothing, "{what}: not found");
            cuts += 1;
            let cluster = starts(&mended).unwrap_or_else(|| panic!("{what}: it does not start"));
            check(cluster, &model, Lost::of(&told), &what);
        }
    }
    assert!(cuts > 10, "{cuts}");
}

/// A start goes on behind damage among records that runs have, and misses nothing.
#[test]
fn damage_in_what_runs_cover_of_a_log_does_not_stop_a_start() {
    let (mut cluster, model) = written_while_sealed();
    cluster.close().expect("the node stops in order");
    let disk = cluster.sim.crash(CrashPolicy::KeepNothing);
    let (mut passed, mut refused) = (0, 0);
    for (path, _) in paths(&disk, ".wal") {
        for page in 0..256 {
            let mut bad = disk.clone();
            bad.flip_bit(&path, page * 4096 + 200, 1);
            let what = format!("page {page} of {path}");
            let Some(cluster) = starts(&bad) else {
                refused += 1;
                continue;
            };
            check(cluster, &model, Lost::nothing(), &what);
            if found(bad.clone()).iter().any(|what| what.contains("nothing is missing")) {
                passed += 1;
                not_given_in_what_is_covered(&disk, &path, page, &model);
            }
        }
    }
    assert!(passed > 20 && refused > 10, "{passed} {refused}");
}

/// A page that the disk does not give, and a segment that ends there, do stop the start; a repair loses nothing.
fn not_given_in_what_is_covered(disk: &Disk, path: &str, page: u64, model: &Model) {
    let (mut broken, mut short) = (disk.clone(), disk.clone());
    broken.break_page(path, page);
    short.truncate(path, page * 4096);
    for (bad, what) in [(broken, "broken"), (short, "cut short")] {
        let what = format!("page {page} of {path}, {what}");
        assert!(starts(&bad).is_none(), "{what}: it starts");
        let (mended, told, _) = repaired(bad, CUT).unwrap_or_else(|e| panic!("{what}: {e}"));
        if what.ends_with("broken") {
            assert_eq!(told["log"]["lost_lsns"]["after"], told["log"]["lost_lsns"]["known_up_to"], "{what}");
            check(starts(&mended).expect("it starts"), model, Lost::nothing(), &what);
        } else {
            check(starts(&mended).expect("it starts"), model, Lost::of(&told), &what);
        }
    }
}

/// A log of some segments, without a seal.
fn long_log() -> (Disk, Model) {
    let mut cluster = boot(Disk::default());
    cluster.start().expect("a new node starts");
    let node = cluster.nodes[0].clone();
    let model = cluster.run(0, async move {
        let definition = Definition::of(KeyType::String);
        node.create_collection("words", definition).await.expect("ready").expect("new");
        let mut model = Model::new();
        for number in 0..300 {
            change(&node, &mut model, ("default", number), LOG_AGE, Some(10_000)).await;
        }
        model
    });
    (cluster.sim.crash(CrashPolicy::KeepNothing), model)
}

/// A segment that ends early is cut where the log ends, which may be in one before; what stays is not told as lost.
#[test]
fn a_segment_that_ends_early_is_cut_where_the_log_ends() {
    let (disk, model) = long_log();
    let segments: Vec<_> = paths(&disk, ".wal").into_iter().map(|(path, _)| path).collect();
    assert!(segments.len() > 2, "{segments:?}");
    let mut cuts = 0;
    for flipped in [None, Some(4), Some(100)] {
        for pages in [0, 1, 10, 100] {
            let mut bad = disk.clone();
            flipped.into_iter().for_each(|page| bad.flip_bit(&segments[0], page * 4096 + 200, 1));
            bad.truncate(&segments[1], pages * 4096);
            let what = format!("page {flipped:?} of the first, {pages} pages of the second");
            assert!(starts(&bad).is_none(), "{what}: it starts");
            cuts += 1;
            let (mended, told, _) = repaired(bad, CUT).unwrap_or_else(|e| panic!("{what}: {e}"));
            let cluster = starts(&mended).unwrap_or_else(|| panic!("{what}: it does not start"));
            let cluster = lost_as_told(cluster, &told, &what);
            check(cluster, &model, Lost::of(&told), &what);
        }
    }
    assert_eq!(cuts, 12);
}

/// Segments that are gone keep a shard from starting, also where nothing that is left knows of what was in them.
#[test]
fn segments_that_are_gone_are_cut() {
    let (disk, model) = long_log();
    let segments: Vec<_> = paths(&disk, ".wal").into_iter().map(|(path, _)| path).collect();
    for first in 1..segments.len() {
        let mut bad = disk.clone();
        segments[first..].iter().for_each(|path| bad.truncate(path, 0));
        let what = format!("without {}", segments[first]);
        assert!(starts(&bad).is_none(), "{what}: it starts");
        let told = found(bad.clone()).join("; ");
        let name = segments[first].rsplit('/').next().expect("a name");
        assert!(told.contains(name) && told.contains("was made"), "{told}");
        let (mended, told, _) = repaired(bad, CUT).unwrap_or_else(|e| panic!("{what}: {e}"));
        let cluster = starts(&mended).unwrap_or_else(|| panic!("{what}: it does not start"));
        check(cluster, &model, Lost::of(&told), &what);
    }
}

/// No record that is told as lost is served.
fn lost_as_told(mut cluster: Cluster, told: &Value, what: &str) -> Cluster {
    let (node, what) = (cluster.nodes[0].clone(), what.to_owned());
    let lost = told["log"]["lost_records_that_can_be_read"].as_array().expect("a list").clone();
    cluster.run(0, async move {
        let default = node.collection("default").expect("exists");
        for record in lost.iter().filter(|record| record["collection"] == 1 && record["kind"] == "put") {
            let key = Key::parse(KeyType::U64, record["key"].as_str().expect("a key")).expect("a key");
            let found = node.get(&default, &key).get().await.expect("answered");
            let seq = found.map_or(0, |found| found.seq.0);
            assert!(Some(seq) < record["seq"].as_u64(), "{what}: told as lost, and there: {record}");
        }
    });
    cluster
}

/// After a crash in the middle of a cut either all of the repair counts, or the log is still to be cut.
#[test]
fn a_cut_that_is_cut_short_is_begun_again() {
    let (disk, model) = sealed_while_written();
    let (bad, lost) = ahead_when_cut(&disk);
    let images = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let mut sim = kyrodb::io::sim::Sim::with_disk(3, bad, SimConfig::cores(1));
    let (taken, mut dice) = (images.clone(), Rng::new(9));
    sim.world().on_io(move |point| {
        if point.changes_disk {
            taken.borrow_mut().push(point.image(CrashPolicy::Random, &mut dice));
        }
    });
    let runtime = sim.runtime(0);
    let applied = sim.run(async move {
        let plan = planned(&runtime).await?;
        for dir in ["/aside", "/aside/zero"] {
            crashsafe::create_dir(&runtime, Path::new(dir)).await?;
        }
        repair::apply(&runtime, &plan, CUT, Path::new("/aside/zero")).await
    });
    applied.expect("not stuck").expect("repaired");
    let images = images.take();
    assert!(images.len() > 20);
    for (number, image) in images.into_iter().enumerate() {
        let what = format!("crash point {number}");
        // Some of these start as they are.
        if let Some(cluster) = starts(&image) {
            check(cluster, &model, Lost::of(&lost), &what);
        }
        let (mended, _, _) = repaired(image, CUT).unwrap_or_else(|e| panic!("{what}: {e}"));
        let cluster = starts(&mended).unwrap_or_else(|| panic!("{what}: it does not start"));
        check(cluster, &model, Lost::of(&lost), &what);
    }
}

/// Damaged so that runs are ahead of what stays of the log; with the report of its repair.
fn ahead_when_cut(disk: &Disk) -> (Disk, Value) {
    for (path, _) in paths(disk, ".wal") {
        for page in 0..256 {
            let mut bad = disk.clone();
            bad.flip_bit(&path, page * 4096 + 200, 1);
            if starts(&bad).is_some() {
                continue;
            }
            let (mended, told, _) = repaired(bad.clone(), CUT).expect("repaired");
            let newest = state_of(&mended, ShardId(0)).runs.iter().map(|run| run.lsn_max.0).max();
            if newest > told["log"]["last_lsn"].as_u64() {
                return (bad, told);
            }
        }
    }
    panic!("no run is ahead");
}
