//! Ways in which systems of this kind have lost acknowledged data, and how this one did while it was
//! built: one test each. What can be lost when a range moves is in `sim_moves`.

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use kyrodb::io::log::dump::{Dump, DumpLine};
use kyrodb::io::log::parse_segment_file_name;
use kyrodb::io::sim::{CrashPolicy, Disk, Faults, Moment, Rng};
use kyrodb::limits;
use kyrodb::shard::key::Key;
use kyrodb::shard::node::Node;
use kyrodb::shard::options::ShardOptions;
use kyrodb::shard::payload::{OCTET_STREAM, Payload};
use kyrodb::shard::record::{Condition, Durability, Found, Refusal, Write, Written};
use kyrodb::types::ShardId;
use support::cluster::{Client, Cluster, options};
use support::small::{assert_shows, begin, delete, fill, put, read, send, started, started_with, value};

// ---- the list of design.md

/// More than a run is read in at a time, a value as large as values may be, and empty ones.
const SNAPSHOT_LENS: [usize; 7] =
    [limits::VALUE_BYTES_MAX, 3 * limits::MIB, 0, limits::RUN_READ_BYTES, 700_000, 1, 900_000];

#[test]
fn a_snapshot_of_any_size_is_read_back() {
    for value_bytes_inline in [limits::INLINE_VALUE_BYTES_MAX, usize::MAX] {
        seals_and_reads_back(ShardOptions { checkpoint_log_bytes: 1 << 30, value_bytes_inline, ..options() });
    }
}

fn seals_and_reads_back(options: ShardOptions) {
    let payload = |key: u64| match SNAPSHOT_LENS[key as usize] {
        0 => Payload::new(OCTET_STREAM, b""),
        len => value(key, 1, len),
    };
    let keys = 0..SNAPSHOT_LENS.len() as u64;
    let mut cluster = started_with(1, 1, Disk::default(), &options);
    let (node, written) = (cluster.nodes[0].clone(), keys.clone());
    cluster.run(0, async move {
        for key in written {
            send(&node, put(key, payload(key))).await;
        }
        node.checkpoint().await.expect("the checkpoint is written");
        let stats = node.stats().await;
        let sealed = stats[0].run_bytes + stats[0].value_file_bytes;
        assert!(sealed > limits::VALUE_BYTES_MAX as u64, "{sealed} bytes of files");
    });
    let disk = cluster.sim.crash(CrashPolicy::KeepNothing);
    let mut cluster = started_with(2, 1, disk, &options);
    assert_shows(&mut cluster, "default", keys.map(|key| (key, Some(payload(key)))).collect());
}

#[test]
fn retention_keeps_log_that_no_run_covers() {
    for seed in 0..10 {
        let mut cluster = started(seed, 1, Disk::default());
        let node = cluster.nodes[0].clone();
        let writer = cluster.nodes[0].clone();
        cluster.run(0, async move {
            for key in 0..20 {
                send(&node, put(key, value(key, 1, 60_000))).await;
            }
        });
        // Three segments are filled while the checkpoint is under way; it must trim before them only.
        let checkpointing = cluster.nodes[0].clone();
        let clients: Vec<(usize, Client)> = vec![
            (0, Box::pin(async move { checkpointing.checkpoint().await.expect("works") })),
            (
                0,
                Box::pin(async move {
                    for key in 20..60 {
                        send(&writer, put(key, value(key, 1, 80_000))).await;
                    }
                }),
            ),
        ];
        cluster.run_all(clients).expect("both finish");
        let disk = cluster.sim.crash(CrashPolicy::KeepNothing);
        let mut cluster = started(seed, 1, disk);
        let len = |key| if key < 20 { 60_000 } else { 80_000 };
        assert_shows(
            &mut cluster,
            "default",
            (0..60).map(|key| (key, Some(value(key, 1, len(key))))).collect(),
        );
    }
}

#[test]
fn what_is_appended_behind_a_torn_tail_is_there() {
    for seed in 0..40 {
        let mut disk = Disk::default();
        for life in 0..4 {
            let mut cluster = started(seed * 10 + life, 1, disk);
            let node = cluster.nodes[0].clone();
            cluster.run(0, async move {
                send(&node, put(life, value(life, 1, 300))).await;
                // Writes that nobody waits for make a tail to be torn.
                for n in 0..3 {
                    drop(begin(&node, "default", put(100 + n, value(100 + n, life, 9000))));
                    node.runtime().sleep(Duration::from_micros(20)).await;
                }
            });
            disk = cluster.sim.crash(CrashPolicy::Chances { lost_permille: 300, torn_permille: 800 });
        }
        let mut cluster = started(seed, 1, disk);
        assert_shows(&mut cluster, "default", (0..4).map(|life| (life, Some(value(life, 1, 300)))).collect());
    }
}

#[test]
fn lsns_are_given_out_and_logged_in_one_order() {
    for seed in 0..5 {
        let mut cluster = started(seed, 2, Disk::default());
        let acks: Rc<Cell<Vec<(u64, Written)>>> = Rc::default();
        let mut clients: Vec<(usize, Client)> = Vec::new();
        for client in 0..6u64 {
            let core = (client % 2) as usize;
            let (node, acks) = (cluster.nodes[core].clone(), acks.clone());
            clients.push((
                core,
                Box::pin(async move {
                    for n in 0..20 {
                        let durability = [Durability::Fsync, Durability::Interval, Durability::Memory];
                        let write = put(client * 100 + n, value(client, n, 500));
                        let write = Write { durability: durability[(client % 3) as usize], ..write };
                        let written = send(&node, write).await;
                        let mut known = acks.take();
                        known.push((client * 100 + n, written));
                        acks.set(known);
                    }
                }),
            ));
        }
        cluster.run_all(clients).expect("the clients finish");
        cluster.close().expect("the node stops in order");
        let logged = logged_puts(&cluster);
        let lsns: Vec<u64> = logged.iter().map(|(lsn, ..)| *lsn).collect();
        assert!(lsns.windows(2).all(|pair| pair[0] < pair[1]), "{lsns:?}");
        let mut acked: Vec<(u64, u64, u64)> =
            acks.take().into_iter().map(|(key, written)| (written.lsn.0, written.seq.0, key)).collect();
        acked.sort_unstable();
        assert_eq!(logged, acked);
    }
}

/// LSN, version and key of every put in the log of shard 0.
fn logged_puts(cluster: &Cluster) -> Vec<(u64, u64, u64)> {
    let dir = options().shard_dir(ShardId(0)).join("log");
    let world = cluster.sim.world();
    let (mut dump, mut logged) = (Dump::new(ShardId(0)), Vec::new());
    for (path, _) in world.with_disk(|disk| disk.file_lens()) {
        let Some(name) = std::path::Path::new(&path).strip_prefix(&dir).ok().and_then(|name| name.to_str())
        else {
            continue;
        };
        let id = parse_segment_file_name(name).expect("a segment");
        // One that is just being made ahead of the log has no durable name yet.
        let Some(bytes) = world.durable_bytes(&path) else { continue };
        dump.segment(id, &bytes, &mut |line| match line {
            DumpLine::Record(record) if record.kind == "put" => {
                let key = u64::from_str_radix(&record.key_hex, 16).expect("a number");
                logged.push((record.lsn, record.seq, key));
            }
            _ => (),
        });
    }
    logged
}

#[test]
fn writes_during_a_checkpoint_survive_it() {
    for seed in 0..20 {
        let mut cluster = started(seed, 1, Disk::default());
        let node = cluster.nodes[0].clone();
        cluster.run(0, async move {
            for key in 0..200 {
                let write = Write { durability: Durability::Memory, ..put(key, value(key, 1, 400)) };
                send(&node, write).await;
            }
        });
        let (checkpointing, writer) = (cluster.nodes[0].clone(), cluster.nodes[0].clone());
        let clients: Vec<(usize, Client)> = vec![
            (0, Box::pin(async move { checkpointing.checkpoint().await.expect("works") })),
            (
                0,
                Box::pin(async move {
                    for key in (0..200).step_by(7) {
                        send(&writer, put(key, value(key, 2, 400))).await;
                        send(&writer, delete(key + 1)).await;
                    }
                }),
            ),
        ];
        cluster.run_all(clients).expect("both finish");
        let disk = cluster.sim.crash(CrashPolicy::KeepNothing);
        let mut cluster = started(seed, 1, disk);
        let wanted = |key: u64| match key % 7 {
            0 => Some(value(key, 2, 400)),
            1 => None,
            _ => Some(value(key, 1, 400)),
        };
        assert_shows(&mut cluster, "default", (0..200).map(|key| (key, wanted(key))).collect());
    }
}

/// The run shows what the scan met; what was written before that must not be missing from the log.
#[test]
fn a_run_is_never_ahead_of_its_log() {
    // More than the scan takes in one slice.
    const KEYS: u64 = 5000;
    for seed in 0..40 {
        let options = ShardOptions { checkpoint_log_bytes: 1 << 30, ..options() };
        let mut cluster = started_with(seed, 1, Disk::default(), &options);
        fill(&mut cluster, 0..KEYS);
        let slow_disk = Duration::from_millis(8);
        cluster.sim.world().set_faults(Faults { slow_disk_permille: 140, slow_disk, ..Faults::default() });
        let images: Rc<Cell<Vec<Disk>>> = Rc::default();
        let (taken, mut rng) = (images.clone(), Rng::new(seed));
        cluster.sim.world().on_io(move |point| {
            // Between two writes of the manifest nothing that counts changes.
            if (point.operation, point.moment) == ("write", Moment::Completed) {
                let mut images = taken.take();
                images.push(point.image(CrashPolicy::KeepNothing, &mut rng));
                taken.set(images);
            }
        });
        let (checkpointing, writer) = (cluster.nodes[0].clone(), cluster.nodes[0].clone());
        let clients: Vec<(usize, Client)> = vec![
            (0, Box::pin(async move { checkpointing.checkpoint().await.expect("works") })),
            (0, Box::pin(write_both_ends(writer, KEYS))),
        ];
        cluster.run_all(clients).expect("both finish");
        let images = images.take();
        assert!(!images.is_empty(), "seed {seed}: no crash point");
        for image in images {
            assert_a_beginning_is_there(started_with(seed, 1, image, &options), KEYS);
        }
    }
}

/// The keys from both ends in turn: the scan has passed the one and not yet met the other.
fn both_ends(keys: u64) -> impl Iterator<Item = u64> {
    (0..keys / 20).flat_map(move |n| [n, keys - 1 - n])
}

async fn write_both_ends(node: Node, keys: u64) {
    for key in both_ends(keys) {
        let write = Write { durability: Durability::Memory, ..put(key, value(key, 2, 100)) };
        send(&node, write).await;
        // The checkpoint runs in the background: when there is a pause.
        node.runtime().sleep(Duration::from_micros(2)).await;
    }
}

fn assert_a_beginning_is_there(mut cluster: Cluster, keys: u64) {
    let node = cluster.nodes[0].clone();
    cluster.run(0, async move {
        let collection = node.collection("default").expect("exists from the start");
        let asked = both_ends(keys).map(Key::from_u64).collect();
        let found = node.get_many(&collection, asked).get().await.expect("answered");
        let is_new =
            |(key, found): (u64, Option<Found>)| found.expect("never deleted").payload == value(key, 2, 100);
        let new: Vec<bool> = both_ends(keys).zip(found).map(is_new).collect();
        let first_old = new.iter().position(|new| !new).unwrap_or(new.len());
        assert!(!new[first_old..].contains(&true), "write {first_old} is missing, a later one is there");
    });
}

#[test]
fn a_run_never_hides_a_newer_write() {
    let mut cluster = started(1, 1, Disk::default());
    let node = cluster.nodes[0].clone();
    cluster.run(0, async move {
        for key in 0..3 {
            send(&node, put(key, value(key, 1, 100))).await;
        }
        node.checkpoint().await.expect("works");
        // A second run above the first, with a tombstone and a newer version; then the log above both.
        send(&node, put(0, value(0, 2, 100))).await;
        send(&node, delete(1)).await;
        node.checkpoint().await.expect("works");
        send(&node, put(1, value(1, 3, 100))).await;
        send(&node, delete(2)).await;
    });
    let wanted = || vec![(0, Some(value(0, 2, 100))), (1, Some(value(1, 3, 100))), (2, None)];
    for life in 2..5 {
        let disk = cluster.sim.crash(CrashPolicy::KeepNothing);
        cluster = started(life, 1, disk);
        assert_shows(&mut cluster, "default", wanted());
        let node = cluster.nodes[0].clone();
        cluster.run(0, async move { node.checkpoint().await.expect("works") });
    }
}

#[test]
fn every_durability_is_synced_soon() {
    for durability in [Durability::Interval, Durability::Memory] {
        let mut cluster = started(1, 1, Disk::default());
        let node = cluster.nodes[0].clone();
        cluster.run(0, async move {
            for key in 0..20 {
                send(&node, Write { durability, ..put(key, value(key, 1, 3000)) }).await;
            }
            node.runtime().sleep(Duration::from_millis(limits::SYNC_INTERVAL_MS_DEFAULT)).await;
        });
        let disk = cluster.sim.crash(CrashPolicy::KeepNothing);
        let mut cluster = started(2, 1, disk);
        assert_shows(&mut cluster, "default", (0..20).map(|key| (key, Some(value(key, 1, 3000)))).collect());
    }
}

/// Also the regression of conditions that failed on a write in flight and said so at once.
#[test]
fn no_answer_tells_of_a_write_that_is_not_visible() {
    let mut cluster = started(1, 1, Disk::default());
    let node = cluster.nodes[0].clone();
    cluster.run(0, async move {
        let first = begin(&node, "default", put(1, value(1, 1, 10)));
        let absent = Write { condition: Condition::Absent, ..put(1, value(1, 2, 10)) };
        let refused = begin(&node, "default", absent).get().await;
        let Err(Refusal::ConditionFailed { current: Some(told) }) = refused else { panic!("{refused:?}") };
        let collection = node.collection("default").expect("exists from the start");
        let found = node.get(&collection, &Key::from_u64(1)).get().await.expect("answered");
        assert_eq!(found.map(|found| found.seq), Some(told), "what was told is visible");
        assert_eq!(first.get().await.expect("acknowledged").seq, told);
        // The same of a delete in flight.
        let deleted = begin(&node, "default", delete(1));
        assert_eq!(begin(&node, "default", delete(1)).get().await, Err(Refusal::Absent));
        assert_eq!(read(&node, "default", 1).await, None);
        deleted.get().await.expect("acknowledged");
        // A memory write behind an fsync write of the same key waits for it.
        let older = begin(&node, "default", put(2, value(2, 1, 10)));
        let newer = Write { durability: Durability::Memory, ..put(2, value(2, 2, 10)) };
        let newer = send(&node, newer).await;
        assert!(older.get().await.expect("acknowledged").seq < newer.seq);
        assert_eq!(read(&node, "default", 2).await, Some(value(2, 2, 10)));
    });
}

// ---- found here

#[test]
fn versions_and_lsns_lost_in_two_crashes_are_not_given_out_again() {
    let mut disk = Disk::default();
    let mut last = None;
    for life in 0..4 {
        let mut cluster = started(life, 1, disk);
        let node = cluster.nodes[0].clone();
        let write = Write { durability: Durability::Memory, ..put(1, value(1, life, 10)) };
        let written = cluster.run(0, async move { send(&node, write).await });
        if let Some((seq, lsn)) = last {
            assert!(written.seq > seq && written.lsn > lsn, "life {life}: {written:?} behind {seq}, {lsn}");
        }
        last = Some((written.seq, written.lsn));
        disk = cluster.sim.crash(CrashPolicy::KeepNothing);
    }
}

#[test]
fn an_idle_life_behind_a_crash_can_be_closed_and_started() {
    let mut cluster = started(1, 2, Disk::default());
    fill(&mut cluster, 0..3);
    let mut disk = cluster.sim.crash(CrashPolicy::KeepNothing);
    for life in 2..5 {
        let mut cluster = started(life, 2, disk);
        cluster.close().expect("the node stops in order");
        disk = cluster.sim.crash(CrashPolicy::KeepNothing);
    }
    let mut cluster = started(9, 2, disk);
    assert_shows(&mut cluster, "default", (0..3).map(|key| (key, Some(value(key, 1, 100)))).collect());
}
