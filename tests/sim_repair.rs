//! Repairs in the simulator: every page of every file of a small store is damaged in turn, repaired, started and
//! compared with a model. Outside of what the report names everything is there; nowhere is a value that was
//! overwritten, or a record that was deleted.

#[path = "sim_repair/cuts.rs"]
mod cuts;
mod support;
#[path = "sim_repair/two_shards.rs"]
mod two_shards;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kyrodb::io::crashsafe;
use kyrodb::io::manifest::Manifest;
use kyrodb::io::runtime::Runtime;
use kyrodb::io::sim::{CrashPolicy, Disk, Rng, SimConfig};
use kyrodb::shard::catalogue::Definition;
use kyrodb::shard::key::{Key, KeyType};
use kyrodb::shard::node::Node;
use kyrodb::shard::options::ShardOptions;
use kyrodb::shard::payload::{OCTET_STREAM, Payload};
use kyrodb::shard::record::{Change, Condition, Durability, Write};
use kyrodb::shard::repair::{self, Allowed, Plan, RepairError, ShardFiles, report};
use kyrodb::shard::runs::run_file_name;
use kyrodb::shard::state::ShardState;
use kyrodb::types::ShardId;
use serde_json::Value;
use support::cluster::{Cluster, options};

const NAMES: [&str; 2] = ["default", "words"];
const KEYS: u64 = 400;
/// Of what is in the log only.
const LOG_AGE: u8 = 4;

/// What was written to each key, with its age; `None` for a deletion. The last is what counts.
type Model = BTreeMap<(&'static str, u64), Vec<(u8, Option<Vec<u8>>)>>;

fn small() -> ShardOptions {
    ShardOptions { part_bytes: 40 * 1024, checkpoint_log_bytes: 1 << 30, ..options() }
}

fn boot(disk: Disk) -> Cluster {
    Cluster::boot(1, disk, SimConfig::cores(1), &small())
}

fn key_in(name: &str, number: u64) -> Key {
    match name {
        "default" => Key::from_u64(number * 10),
        _ => Key::from_text(&format!("word {number:06}")).expect("short"),
    }
}

/// Puts a value of so many bytes, or deletes.
async fn change(
    node: &Node,
    model: &mut Model,
    (name, number): (&'static str, u64),
    age: u8,
    len: Option<usize>,
) {
    let collection = node.collection(name).expect("exists");
    let value = len.map(|len| vec![age; len]);
    let change = match &value {
        Some(value) => Change::Put { payload: Payload::new(OCTET_STREAM, value), expires: None },
        None => Change::Delete,
    };
    let (key, condition, durability) = (key_in(name, number), Condition::None, Durability::Fsync);
    let _ = node.write(&collection, Write { key, change, condition, durability, once: None }).get().await;
    model.entry((name, number)).or_default().push((age, value));
}

/// Three ages of records: in the deepest level, in two runs of level 0, and in the log. Each has keys of the ones
/// before, written again or deleted, seldom enough that nothing is merged for it. A value tells its age by its first byte.
fn store() -> (Disk, Model) {
    let mut cluster = boot(Disk::default());
    cluster.start().expect("a new node starts");
    let node = cluster.nodes[0].clone();
    let model = cluster.run(0, async move {
        let (mut model, mut rng) = (Model::new(), Rng::new(5));
        let definition = Definition::of(KeyType::String);
        node.create_collection("words", definition).await.expect("ready").expect("new");
        for name in NAMES {
            for number in 0..KEYS {
                change(&node, &mut model, (name, number), 1, Some(60 + rng.index(80))).await;
            }
        }
        node.compact().await.expect("merges");
        for age in [2, 3, LOG_AGE] {
            for name in NAMES {
                for _ in 0..60 {
                    let number = rng.below(KEYS + 40);
                    let len = (rng.below(10) < 9).then(|| 60 + rng.index(80));
                    change(&node, &mut model, (name, number), age, len).await;
                }
            }
            if age < LOG_AGE {
                node.checkpoint().await.expect("seals");
            }
        }
        model
    });
    cluster.close().expect("the node stops in order");
    (cluster.sim.crash(CrashPolicy::KeepNothing), model)
}

fn files() -> ShardFiles {
    ShardFiles::of(Path::new("/"), ShardId(0))
}

async fn planned(runtime: &Runtime) -> Result<Plan, RepairError> {
    let plans = repair::plan(runtime, &[files()]).await.map_err(|(_, error)| error)?;
    Ok(plans.into_iter().next().expect("one shard"))
}

/// Repairs what is on the disk; gives the disk after it and the report.
fn repaired(disk: Disk, allowed: Allowed) -> Result<(Disk, Value, bool), RepairError> {
    let mut cluster =
        Cluster { nodes: Vec::new(), sim: kyrodb::io::sim::Sim::with_disk(3, disk, SimConfig::cores(1)) };
    let runtime = cluster.sim.runtime(0);
    let done = cluster.run(0, async move {
        let plan = planned(&runtime).await?;
        let told = report::to_json(&plan, allowed);
        let text = report::to_text(&plan, allowed);
        assert_eq!(plan.is_empty(), text.is_empty(), "{text}");
        if !plan.is_empty() {
            let aside = Path::new("/aside/one");
            crashsafe::create_dir(&runtime, Path::new("/aside")).await?;
            crashsafe::create_dir(&runtime, aside).await?;
            repair::apply(&runtime, &plan, allowed, aside).await?;
            let again = planned(&runtime).await?;
            assert!(again.is_empty(), "still damaged: {}", report::to_text(&again, allowed));
        }
        Ok::<_, RepairError>((told, plan.is_empty()))
    });
    let (told, nothing) = done?;
    Ok((cluster.sim.crash(CrashPolicy::KeepNothing), told, nothing))
}

/// What a report says is lost.
struct Lost {
    /// Collection, first and last key with whether they are included.
    ranges: Vec<(u64, Value, Value)>,
    log_cut: bool,
}

impl Lost {
    fn nothing() -> Lost {
        Lost { ranges: Vec::new(), log_cut: false }
    }

    fn of(told: &Value) -> Lost {
        let runs = told["runs"].as_array().expect("a list");
        let ranges =
            runs.iter().flat_map(|run| run["lost_ranges"].as_array().expect("a list")).map(|range| {
                (
                    range["from"]["collection"].as_u64().expect("a number"),
                    range["from"].clone(),
                    range["to"].clone(),
                )
            });
        Lost { ranges: ranges.collect(), log_cut: !told["log"].is_null() }
    }

    fn names(&self, name: &str, number: u64) -> bool {
        let (collection, key_type) = if name == "default" { (1, KeyType::U64) } else { (2, KeyType::String) };
        let key = key_in(name, number);
        let parse = |end: &Value| Key::parse(key_type, end["key"].as_str().expect("a key")).expect("a key");
        self.ranges.iter().any(|(from_collection, from, to)| {
            let to_collection = to["collection"].as_u64().expect("a number");
            let behind = *from_collection < collection
                || (*from_collection == collection && {
                    let from_key = parse(from);
                    from_key < key || (from_key == key && from["included"] == true)
                });
            let before = to_collection > collection
                || (to_collection == collection && {
                    let to_key = parse(to);
                    key < to_key || (key == to_key && to["included"] == true)
                });
            behind && before
        })
    }
}

/// Everything outside of what is lost is as it was; what is lost is as it was, or not there.
fn check(mut cluster: Cluster, model: &Model, lost: Lost, what: &str) {
    let node = cluster.nodes[0].clone();
    let (model, what) = (model.clone(), what.to_owned());
    cluster.run(0, async move {
        for name in NAMES {
            let collection = node.collection(name).expect("exists");
            let mut there = 0;
            for number in 0..KEYS + 40 {
                let found = node.get(&collection, &key_in(name, number)).get().await.expect("answered");
                let found = found.map(|found| found.payload.value().to_vec());
                there += u64::from(found.is_some());
                let wanted = last(&model, name, number);
                let right = found == wanted || (found.is_none() && lost.names(name, number));
                let written = model.get(&(name, number)).map_or(&[][..], Vec::as_slice);
                let older = lost.log_cut && is_left_of_a_cut_log(written, &found);
                assert!(right || older, "{what}: {name} {number}: {found:?}, not {wanted:?}");
            }
            // A count is made anew behind the start.
            node.runtime().sleep(std::time::Duration::from_secs(1)).await;
            let stats = node.collection_stats(&collection).await.expect("ready");
            assert_eq!(stats.records, there, "{what}: records of {name}");
        }
    });
}

/// What runs had last, or anything that the log had behind it.
fn is_left_of_a_cut_log(written: &[(u8, Option<Vec<u8>>)], found: &Option<Vec<u8>>) -> bool {
    let in_runs = written.iter().take_while(|(age, _)| *age < LOG_AGE).count();
    let mut left = written[in_runs.saturating_sub(1)..].iter().map(|(_, value)| value);
    left.any(|value| value == found) || (in_runs == 0 && found.is_none())
}

fn paths(disk: &Disk, ends: &str) -> Vec<(String, u64)> {
    disk.file_lens().into_iter().filter(|(path, len)| path.ends_with(ends) && *len > 0).collect()
}

fn last(model: &Model, name: &'static str, number: u64) -> Option<Vec<u8>> {
    model.get(&(name, number)).and_then(|written| written.last().and_then(|(_, value)| value.clone()))
}

fn state_of(disk: &Disk, shard: ShardId) -> ShardState {
    let mut sim = kyrodb::io::sim::Sim::with_disk(4, disk.clone(), SimConfig::cores(1));
    let (runtime, files) = (sim.runtime(0), ShardFiles::of(Path::new("/"), shard));
    let state = sim.run(async move { Manifest::read(&runtime, &files.dir, shard).await });
    let bytes = state.expect("read").expect("whole").expect("committed");
    ShardState::decode(&bytes).expect("a state")
}

/// The runs that count: others may lie there, removed but for the directory's sync.
fn runs(disk: &Disk) -> Vec<(String, u64)> {
    runs_of(disk, ShardId(0))
}

fn runs_of(disk: &Disk, shard: ShardId) -> Vec<(String, u64)> {
    let (state, dir) = (state_of(disk, shard), ShardFiles::of(Path::new("/"), shard).dir);
    let named = |path: &str| {
        Path::new(path).starts_with(&dir)
            && state.runs.iter().any(|run| path.ends_with(&run_file_name(run.id)))
    };
    paths(disk, ".run").into_iter().filter(|(path, _)| named(path)).collect()
}

fn starts(disk: &Disk) -> Option<Cluster> {
    let mut cluster = boot(disk.clone());
    cluster.start().ok().map(|()| cluster)
}

#[test]
fn a_whole_store_needs_no_repair() {
    let (disk, model) = store();
    let (disk, told, nothing) = repaired(disk, Allowed::default()).expect("planned");
    assert!(nothing, "{told}");
    check(starts(&disk).expect("it starts"), &model, Lost::of(&told), "whole");
}

/// Runs of all ages, damaged a page at a time, in all their sections.
#[test]
fn what_a_damaged_run_has_lost_is_named_and_nothing_older_comes_back() {
    let (disk, model) = store();
    let all = runs(&disk);
    assert!(all.len() >= 4, "{all:?}");
    let (mut with_loss, mut without, mut hidden) = (0, 0, 0);
    for (path, len) in &all {
        for page in 0..len / 4096 {
            let mut bad = disk.clone();
            bad.flip_bit(path, page * 4096 + 100 + page % 3000, 3);
            let what = format!("page {page} of {path}");
            let (mended, told, nothing) =
                repaired(bad, Allowed::default()).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(!nothing, "{what}: not found");
            let run = &told["runs"][0];
            let ranges = run["lost_ranges"].as_array().expect("a list").len();
            assert!(ranges <= 1, "{what}: {told}");
            assert_eq!(ranges == 1, run["lost_entries"] != 0, "{what}: {told}");
            if ranges == 1 {
                with_loss += 1
            } else {
                without += 1
            }
            hidden += run["keys_with_older_versions"].as_array().expect("a list").len();
            let cluster = starts(&mended).unwrap_or_else(|| panic!("{what}: it does not start"));
            check(cluster, &model, Lost::of(&told), &what);
        }
    }
    assert!(with_loss > 10 && without > 10 && hidden > 10, "{with_loss} {without} {hidden}");
}

#[test]
fn of_a_run_that_is_gone_or_cut_the_rest_is_kept() {
    let (disk, model) = store();
    for (path, len) in runs(&disk) {
        for left in [0, 4096, len / 2 / 4096 * 4096, len - 4096] {
            let mut bad = disk.clone();
            bad.truncate(&path, left);
            let what = format!("{left} of {len} bytes of {path}");
            assert!(starts(&bad).is_none(), "{what}: it starts");
            let (mended, told, _) =
                repaired(bad, Allowed::default()).unwrap_or_else(|e| panic!("{what}: {e}"));
            let cluster = starts(&mended).unwrap_or_else(|| panic!("{what}: it does not start"));
            check(cluster, &model, Lost::of(&told), &what);
        }
    }
}

/// Asked for older versions, they are served, and the report says of which keys.
#[test]
fn older_versions_are_served_only_when_asked_for_and_named() {
    let (disk, model) = store();
    let (mut served, allowed) = (0, Allowed { keep_older: true, cut_log: false });
    for (path, len) in runs(&disk) {
        for page in 1..len / 4096 {
            let mut bad = disk.clone();
            bad.flip_bit(&path, page * 4096 + 77, 0);
            let (mended, told, _) = repaired(bad, allowed).expect("repaired");
            let named: BTreeSet<(u64, String)> = told["runs"][0]["keys_with_older_versions"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|key| (key["collection"].as_u64().unwrap(), key["key"].as_str().unwrap().to_owned()))
                .collect();
            if named.is_empty() {
                continue;
            }
            let mut cluster = starts(&mended).expect("it starts");
            let (node, model) = (cluster.nodes[0].clone(), model.clone());
            served += cluster.run(0, async move {
                let mut served = 0;
                for (collection, name, key_type) in
                    [(1, "default", KeyType::U64), (2, "words", KeyType::String)]
                {
                    let of = node.collection(name).expect("exists");
                    for number in 0..KEYS + 40 {
                        let key = key_in(name, number);
                        let found = node.get(&of, &key).get().await.expect("answered");
                        let found = found.map(|found| found.payload.value().to_vec());
                        let wanted = last(&model, name, number);
                        let older = found.is_some() && found != wanted;
                        assert!(
                            !older || named.contains(&(collection, key.display(key_type))),
                            "{name} {number}"
                        );
                        served += u64::from(older);
                    }
                }
                served
            });
        }
    }
    assert!(served > 10, "{served}");
}

/// The log was closed in order, so damage in any block of it is refused, until it is cut.
#[test]
fn a_damaged_log_is_cut_and_what_is_lost_is_listed() {
    let (disk, model) = store();
    let mut cuts = 0;
    for (path, _) in paths(&disk, ".wal") {
        for page in 0..256 {
            let mut bad = disk.clone();
            bad.flip_bit(&path, page * 4096 + 200, 1);
            let what = format!("page {page} of {path}");
            if let Some(cluster) = starts(&bad) {
                check(cluster, &model, Lost::nothing(), &what);
                continue;
            }
            cuts += 1;
            let allowed = Allowed { cut_log: true, keep_older: false };
            let (mended, told, _) = repaired(bad, allowed).unwrap_or_else(|e| panic!("{what}: {e}"));
            let lsns = &told["log"]["lost_lsns"];
            assert!(lsns["after"].as_u64() < lsns["known_up_to"].as_u64(), "{what}: {told}");
            let cluster = starts(&mended).unwrap_or_else(|| panic!("{what}: it does not start"));
            check(cluster, &model, Lost::of(&told), &what);
        }
    }
    assert!(cuts > 10, "{cuts}");
}

#[test]
fn a_manifest_without_a_superblock_is_found_again() {
    let (disk, model) = store();
    let (superblock, _) = paths(&disk, "superblock").pop().expect("there is one");
    // One slot is the other's spare.
    let mut one = disk.clone();
    one.flip_bit(&superblock, 40, 0);
    let (mended, told, nothing) = repaired(one, Allowed::default()).expect("planned");
    assert!(nothing, "{told}");
    check(starts(&mended).expect("it starts"), &model, Lost::of(&told), "one slot");
    // Without both, the newest state counts.
    let mut both = disk.clone();
    both.flip_bit(&superblock, 40, 0);
    both.flip_bit(&superblock, 4096 + 40, 0);
    assert!(starts(&both).is_none());
    let (mended, told, _) = repaired(both, Allowed::default()).expect("repaired");
    assert!(told["manifest"].as_str().is_some_and(|why| why.contains("superblock")), "{told}");
    check(starts(&mended).expect("it starts"), &model, Lost::of(&told), "no slot");
}

/// Each page of the manifest files: harmless, or repaired from an earlier state that has all its files, or refused.
#[test]
fn a_damaged_manifest_gives_everything_or_a_refusal() {
    let (disk, model) = store();
    let (mut repairs, mut refusals) = (0, 0);
    for (path, len) in disk.file_lens().into_iter().filter(|(path, _)| path.contains("manifest-")) {
        for page in 0..len / 4096 {
            let mut bad = disk.clone();
            bad.flip_bit(&path, page * 4096 + 60, 2);
            let what = format!("page {page} of {path}");
            if let Some(cluster) = starts(&bad) {
                check(cluster, &model, Lost::nothing(), &what);
                continue;
            }
            match repaired(bad, Allowed::default()) {
                Ok((mended, told, _)) => {
                    repairs += 1;
                    let cluster = starts(&mended).unwrap_or_else(|| panic!("{what}: it does not start"));
                    check(cluster, &model, Lost::of(&told), &what);
                }
                Err(RepairError::NoState { .. }) => refusals += 1,
                Err(other) => panic!("{what}: {other}"),
            }
        }
    }
    assert!(repairs + refusals > 2, "{repairs} {refusals}");
}

/// A crash in the middle of a repair leaves a shard that can be repaired again.
#[test]
fn a_repair_that_is_cut_short_is_begun_again() {
    let (disk, model) = store();
    let (path, _) = runs(&disk).pop().expect("there are runs");
    let mut bad = disk.clone();
    bad.flip_bit(&path, 4096 + 300, 1);
    let images = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let mut cluster =
        Cluster { nodes: Vec::new(), sim: kyrodb::io::sim::Sim::with_disk(3, bad, SimConfig::cores(1)) };
    let (taken, mut dice) = (images.clone(), Rng::new(9));
    cluster.sim.world().on_io(move |point| {
        if point.changes_disk {
            taken.borrow_mut().push(point.image(CrashPolicy::Random, &mut dice));
        }
    });
    let runtime = cluster.sim.runtime(0);
    cluster.run(0, async move {
        let plan = planned(&runtime).await.expect("planned");
        let aside = Path::new("/aside/zero");
        crashsafe::create_dir(&runtime, Path::new("/aside")).await.expect("made");
        crashsafe::create_dir(&runtime, aside).await.expect("made");
        repair::apply(&runtime, &plan, Allowed::default(), aside).await.expect("repaired");
    });
    let images = images.take();
    assert!(images.len() > 20);
    for (number, image) in images.into_iter().enumerate() {
        let what = format!("crash point {number}");
        let (mended, told, nothing) =
            repaired(image, Allowed::default()).unwrap_or_else(|e| panic!("{what}: {e}"));
        let mut lost = Lost::of(&told);
        if nothing {
            // It was done; what was lost is what the first report said.
            lost = all_of_the_run(&disk, &path);
        }
        let cluster = starts(&mended).unwrap_or_else(|| panic!("{what}: it does not start"));
        check(cluster, &model, lost, &what);
    }
}

fn all_of_the_run(disk: &Disk, path: &str) -> Lost {
    let mut bad = disk.clone();
    bad.flip_bit(path, 4096 + 300, 1);
    Lost::of(&repaired(bad, Allowed::default()).expect("repaired").1)
}
