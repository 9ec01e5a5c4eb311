//! Snapshots in the simulator: what is in one, what a crash leaves of one, and that nothing changes it
//! afterwards.
//!
//! Clients write pairs: a record on one shard, and when that is acknowledged a record on another shard. So a
//! snapshot must not have the second without the first.

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use kyrodb::io::sim::{CrashPolicy, Disk, Faults, Rng, SimConfig};
use kyrodb::shard::catalogue::Definition;
use kyrodb::shard::key::{Key, KeyType};
use kyrodb::shard::node::Node;
use kyrodb::shard::options::ShardOptions;
use kyrodb::shard::record::{Durability, Refusal, Write};
use kyrodb::shard::snapshot::Snapshot;
use support::cluster::{Client, Cluster, options};
use support::small::{begin, put, value};

const CORES: usize = 3;
const CLIENTS: u64 = 6;
/// Keys of a tablet.
const STRIDE: u64 = 1000;

fn small() -> ShardOptions {
    ShardOptions { checkpoint_log_bytes: 96 * 1024, part_bytes: 64 * 1024, ..options() }
}

fn started(seed: u64, disk: Disk) -> Cluster {
    let config = SimConfig { step_ns: 100..=20_000, ..SimConfig::cores(CORES) };
    let mut cluster = Cluster::boot(seed, disk, config, &small());
    cluster.start().unwrap_or_else(|error| panic!("seed {seed}: the node does not start: {error}"));
    cluster
}

/// A node with a collection that has a tablet on each core.
fn new_node(seed: u64) -> Cluster {
    let mut cluster = started(seed, Disk::default());
    let node = cluster.nodes[0].clone();
    cluster.run(0, async move {
        let split_at = [STRIDE, 2 * STRIDE].map(Key::from_u64).to_vec();
        let definition = Definition { split_at, ..Definition::of(KeyType::U64) };
        node.create_collection("wide", definition).await.expect("ready").expect("new");
    });
    cluster
}

/// The keys of a client's pair, on two shards.
fn pair_of(client: u64) -> [u64; 2] {
    [client % 3, (client + 1) % 3].map(|tablet| tablet * STRIDE + client)
}

/// Keys that only make the log longer.
fn filler_of(client: u64, round: u64) -> u64 {
    client % 3 * STRIDE + 100 + client * 20 + round % 20
}

fn all_keys() -> impl Iterator<Item = u64> {
    let fillers = (0..CLIENTS).flat_map(|client| (0..20).map(move |round| filler_of(client, round)));
    (0..CLIENTS).flat_map(pair_of).chain(fillers)
}

/// A round of each half of each client's pair.
type Rounds = Vec<[u64; 2]>;

/// What was sent and what was acknowledged, at all and as durable.
#[derive(Clone, Default)]
struct Board {
    sent: Rc<RefCell<Rounds>>,
    acked: Rc<RefCell<Rounds>>,
    durable: Rc<RefCell<Rounds>>,
    over: Rc<Cell<bool>>,
}

impl Board {
    fn new() -> Board {
        let board = Board::default();
        board.sent.borrow_mut().resize(CLIENTS as usize, [0; 2]);
        board.acked.borrow_mut().resize(CLIENTS as usize, [0; 2]);
        board.durable.borrow_mut().resize(CLIENTS as usize, [0; 2]);
        board
    }

    async fn write(self, node: Node, client: u64, first_round: u64, value_len: usize, mut rng: Rng) {
        let node = node.for_client();
        let mut round = first_round;
        while !self.over.get() {
            for (place, key) in pair_of(client).into_iter().enumerate() {
                self.sent.borrow_mut()[client as usize][place] = round;
                let write = with_any_durability(put(key, value(key, round, 64)), &mut rng);
                let durability = write.durability;
                send(&node, write).await;
                self.acked.borrow_mut()[client as usize][place] = round;
                if durability == Durability::Fsync {
                    self.durable.borrow_mut()[client as usize][place] = round;
                }
            }
            let key = filler_of(client, round);
            let write = with_any_durability(put(key, value(key, round, value_len)), &mut rng);
            send(&node, write).await;
            round += 1;
        }
    }

    fn clients(
        &self,
        cluster: &Cluster,
        seed: u64,
        first_round: u64,
        value_len: usize,
    ) -> Vec<(usize, Client)> {
        let client = |number: u64| {
            let core = number as usize % CORES;
            let rng = Rng::new(seed * 100 + number);
            let node = cluster.nodes[core].clone();
            let work: Client = Box::pin(self.clone().write(node, number, first_round, value_len, rng));
            (core, work)
        };
        (0..CLIENTS).map(client).collect()
    }
}

/// Compaction may have to catch up.
async fn send(node: &Node, write: Write) {
    loop {
        match begin(node, "wide", write.clone()).get().await {
            Ok(_) => return,
            Err(Refusal::Overloaded { .. }) => node.runtime().sleep(Duration::from_millis(1)).await,
            Err(refusal) => panic!("not acknowledged: {refusal}"),
        }
    }
}

fn with_any_durability(write: Write, rng: &mut Rng) -> Write {
    let durability = [Durability::Fsync, Durability::Interval, Durability::Memory][rng.index(3)];
    Write { durability, ..write }
}

/// A snapshot with what is known of the moment.
#[derive(Clone)]
struct Taken {
    snapshot: Snapshot,
    acked_before: Rounds,
    sent_after: Rounds,
}

async fn take(node: &Node, board: &Board) -> Taken {
    let acked_before = board.acked.borrow().clone();
    let snapshot = node.snapshot().await.expect("a snapshot");
    let sent_after = board.sent.borrow().clone();
    Taken { snapshot, acked_before, sent_after }
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

/// Key and version of every record.
fn contents(cluster: &mut Cluster) -> Vec<(u64, u64)> {
    let node = cluster.nodes[0].clone();
    cluster.run(0, async move {
        let collection = node.collection("wide").expect("the collection is there");
        let keys: Vec<u64> = all_keys().collect();
        let wanted = keys.iter().map(|key| Key::from_u64(*key)).collect();
        let found = node.get_many(&collection, wanted).get().await.expect("reads are answered");
        let version = |(key, found): (u64, Option<kyrodb::shard::record::Found>)| {
            let payload = found?.payload;
            let round = u64::from_le_bytes(payload.value()[8..16].try_into().expect("8 bytes"));
            assert!(payload == value(key, round, payload.value().len()), "key {key} has another's value");
            Some((key, round))
        };
        keys.into_iter().zip(found).filter_map(version).collect()
    })
}

fn round_of(contents: &[(u64, u64)], key: u64) -> u64 {
    contents.iter().find(|(other, _)| *other == key).map_or(0, |(_, round)| *round)
}

fn assert_consistent(taken: &Taken, contents: &[(u64, u64)], what: &str) {
    for client in 0..CLIENTS {
        let rounds = pair_of(client).map(|key| round_of(contents, key));
        let (before, after) = (taken.acked_before[client as usize], taken.sent_after[client as usize]);
        for place in 0..2 {
            let known = before[place]..=after[place];
            assert!(
                known.contains(&rounds[place]),
                "{what}: client {client}: {} not in {known:?}",
                rounds[place]
            );
        }
        assert!(
            rounds[1] <= rounds[0],
            "{what}: client {client} has the second without the first: {rounds:?}"
        );
    }
    assert_eq!(taken.snapshot.records, contents.len() as u64, "{what}");
}

/// What a node started from the snapshot has.
fn contents_of(seed: u64, disk: &Disk, id: &str) -> Vec<(u64, u64)> {
    contents(&mut started(seed, restored(disk, id)))
}

/// Writes for a while and takes snapshots meanwhile; gives them with what each held at once.
fn run_with_snapshots(cluster: &mut Cluster, seed: u64, first_round: u64, count: usize) -> Vec<Taken> {
    let board = Board::new();
    let mut clients = board.clients(cluster, seed, first_round, 3000);
    let taken: Rc<RefCell<Vec<Taken>>> = Rc::default();
    let (node, told, over) = (cluster.nodes[seed as usize % CORES].clone(), taken.clone(), board.clone());
    clients.push((
        seed as usize % CORES,
        Box::pin(async move {
            for number in 0..count {
                node.runtime().sleep(Duration::from_millis(4 + number as u64 * 3)).await;
                let one = take(&node, &over).await;
                told.borrow_mut().push(one);
            }
            node.runtime().sleep(Duration::from_millis(30)).await;
            over.over.set(true);
        }),
    ));
    cluster.run_all(clients).expect("the clients finish");
    taken.take()
}

#[test]
fn a_snapshot_is_one_moment_of_all_shards() {
    for seed in 0..12 {
        let mut cluster = new_node(seed);
        let taken = run_with_snapshots(&mut cluster, seed, 1, 3);
        let disk = cluster.sim.crash(CrashPolicy::KeepNothing);
        for (number, one) in taken.iter().enumerate() {
            let found = contents_of(seed, &disk, &one.snapshot.id);
            assert!(!found.is_empty());
            assert_consistent(one, &found, &format!("seed {seed}, snapshot {number}"));
        }
    }
}

/// Segments of the snapshot that the node still has.
fn shared_segments(disk: &Disk, id: &str) -> usize {
    let files = disk.file_lens();
    let in_snapshot = format!("/snapshots/{id}");
    let names = files.iter().filter_map(|(path, _)| path.strip_prefix(&in_snapshot));
    let segments = names.filter(|name| name.ends_with(".wal"));
    segments.filter(|name| files.iter().any(|(path, _)| path == name)).count()
}

#[test]
fn what_comes_after_a_snapshot_leaves_it_as_it_was() {
    for seed in 0..4 {
        let mut cluster = new_node(seed);
        let one = run_with_snapshots(&mut cluster, seed, 1, 1).remove(0);
        let id = one.snapshot.id.clone();
        let early = contents_of(seed, &cluster.sim.crash(CrashPolicy::KeepNothing), &id);
        assert_consistent(&one, &early, &format!("seed {seed}"));
        let files = |disk: &Disk| disk.file_lens().into_iter().filter(|(path, _)| path.contains(&id)).count();
        let linked = files(&cluster.sim.crash(CrashPolicy::KeepNothing));
        // Seals, compactions, segments used again: by the node that took it and by its next life.
        for life in 0..2 {
            let board = Board::new();
            let mut clients = board.clients(&cluster, seed, 1_000_000 * (life + 1), 8_000);
            let (node, over) = (cluster.nodes[0].clone(), board.over.clone());
            clients.push((
                0,
                Box::pin(async move {
                    for _ in 0..4 {
                        node.runtime().sleep(Duration::from_millis(60)).await;
                        node.checkpoint().await.expect("works");
                    }
                    over.set(true);
                }),
            ));
            cluster.run_all(clients).expect("the clients finish");
            let disk = cluster.sim.crash(CrashPolicy::KeepNothing);
            assert_eq!(files(&disk), linked);
            assert_eq!(shared_segments(&disk, &id), 0, "seed {seed}: the log did not move on");
            assert_eq!(contents_of(seed, &disk, &id), early, "seed {seed}, life {life}");
            cluster = started(seed + 100, disk);
        }
        let node = cluster.nodes[2].clone();
        let wanted = one.snapshot.clone();
        cluster.run(2, async move {
            assert_eq!(node.snapshots().await, Ok(vec![wanted.clone()]));
            assert_eq!(node.drop_snapshot(&wanted.id).await, Ok(true));
            assert_eq!(node.drop_snapshot(&wanted.id).await, Ok(false));
            assert_eq!(node.snapshots().await, Ok(vec![]));
        });
        assert_eq!(files(&cluster.sim.crash(CrashPolicy::KeepNothing)), 0);
    }
}

/// Records above the cut are in the log of a restored node, too: they must not come back in a later start.
#[test]
fn a_node_that_began_from_a_snapshot_lives_on() {
    for seed in 0..6 {
        let mut cluster = new_node(seed);
        let one = run_with_snapshots(&mut cluster, seed, 1, 1).remove(0);
        let mut disk = restored(&cluster.sim.crash(CrashPolicy::KeepNothing), &one.snapshot.id);
        let first = contents(&mut started(seed, disk.clone()));
        // Nothing is written: every start finds the same.
        for life in 0..3 {
            let mut again = started(seed + life, disk);
            assert_eq!(contents(&mut again), first, "seed {seed}, life {life}");
            disk = again.sim.crash(CrashPolicy::Random);
        }
        // Snapshots of it are as good as those of any other node.
        let mut again = started(seed, disk);
        let taken = run_with_snapshots(&mut again, seed, 1_000_000, 2);
        let last = contents(&mut again);
        let disk = again.sim.crash(CrashPolicy::KeepNothing);
        for later in &taken {
            let found = contents_of(seed, &disk, &later.snapshot.id);
            for client in 0..CLIENTS {
                let rounds = pair_of(client).map(|key| round_of(&found, key));
                let (before, after) =
                    (later.acked_before[client as usize], later.sent_after[client as usize]);
                for (place, round) in rounds.into_iter().enumerate() {
                    let stale = before[place] == 0 && round < 1_000_000;
                    assert!(
                        stale || (before[place]..=after[place]).contains(&round),
                        "seed {seed}: {rounds:?}"
                    );
                }
            }
            assert_eq!(later.snapshot.records, found.len() as u64);
        }
        again.close().expect("closes");
        let mut again = started(seed, again.sim.crash(CrashPolicy::KeepNothing));
        assert_eq!(contents(&mut again), last);
    }
}

/// At every point of a snapshot: the node comes back with all that is durable, and there is no snapshot or a
/// whole one.
#[test]
fn a_crash_leaves_no_snapshot_or_a_whole_one() {
    let (mut with, mut without) = (0, 0);
    for seed in 0..3 {
        let mut cluster = new_node(seed);
        let board = Board::new();
        let mut clients = board.clients(&cluster, seed, 1, 500);
        let taking = Rc::new(Cell::new(false));
        // With what must be there.
        let images: Rc<RefCell<Vec<(Disk, Rounds)>>> = Rc::default();
        let (kept, durable, now) = (images.clone(), board.durable.clone(), taking.clone());
        let mut rng = Rng::new(seed);
        cluster.sim.world().on_io(move |point| {
            if now.get() && point.changes_disk && rng.chance(400) {
                let policy =
                    [CrashPolicy::KeepNothing, CrashPolicy::Random, CrashPolicy::KeepAll][rng.index(3)];
                kept.borrow_mut().push((point.image(policy, &mut rng), durable.borrow().clone()));
            }
        });
        let taken: Rc<RefCell<Option<Taken>>> = Rc::default();
        let (node, told, over, now) =
            (cluster.nodes[1].clone(), taken.clone(), board.clone(), taking.clone());
        clients.push((
            1,
            Box::pin(async move {
                node.runtime().sleep(Duration::from_millis(5)).await;
                now.set(true);
                *told.borrow_mut() = Some(take(&node, &over).await);
                now.set(false);
                over.over.set(true);
            }),
        ));
        cluster.run_all(clients).expect("the clients finish");
        let taken = taken.take().expect("it was taken");
        for (number, (disk, durable)) in images.take().into_iter().enumerate() {
            let what = format!("seed {seed}, image {number}");
            let mut again = started(seed, disk);
            let found = contents(&mut again);
            for (client, wanted) in (0..).zip(&durable) {
                let rounds = pair_of(client).map(|key| round_of(&found, key));
                assert!(rounds[0] >= wanted[0] && rounds[1] >= wanted[1], "{what}: {rounds:?} of {wanted:?}");
            }
            let node = again.nodes[0].clone();
            let snapshots = again.run(0, async move {
                node.runtime().sleep(Duration::from_millis(50)).await;
                node.snapshots().await.expect("a list")
            });
            let disk = again.sim.crash(CrashPolicy::KeepNothing);
            let left = disk.file_lens().into_iter().filter(|(path, _)| path.contains(".tmp/")).count();
            assert_eq!(left, 0, "{what}: an unfinished snapshot is still there");
            match &snapshots[..] {
                [] => without += 1,
                [one] => {
                    assert_eq!(*one, taken.snapshot, "{what}");
                    assert_consistent(&taken, &contents_of(seed, &disk, &one.id), &what);
                    with += 1;
                }
                more => panic!("{what}: {more:?}"),
            }
        }
    }
    println!("{with} crashes left the snapshot, {without} none");
    assert!(with > 0 && without > 50, "{with} with, {without} without");
}

/// Whatever fails in the making of a snapshot, the node goes on, and the next snapshot is a good one.
#[test]
fn an_error_at_every_site_of_a_snapshot_harms_nothing() {
    let syncs = |cluster: &Cluster| cluster.sim.world().counts().syncs;
    let writes = |cluster: &Cluster| cluster.sim.world().counts().writes;
    let sync_error = |at| Faults { sync_error_at: Some(at), ..Faults::default() };
    let write_error = |at| Faults { write_error_at: Some(at), ..Faults::default() };
    let mut failed = 0;
    for (count, fault) in
        [(&syncs as &dyn Fn(&Cluster) -> u64, &sync_error as &dyn Fn(u64) -> Faults), (&writes, &write_error)]
    {
        for site in 1.. {
            let mut cluster = new_node(7);
            let idle = cluster.nodes[0].clone();
            cluster.run(0, async move { idle.runtime().sleep(Duration::from_secs(1)).await });
            let before = count(&cluster);
            cluster.sim.world().set_faults(fault(before + site));
            let node = cluster.nodes[1].clone();
            let taken = cluster.run(1, async move { node.snapshot().await });
            if count(&cluster) < before + site {
                taken.expect("without an error it works");
                break;
            }
            assert!(taken.is_err(), "an error at {site} was not told");
            failed += 1;
            let (node, key) = (cluster.nodes[1].clone(), pair_of(0)[0]);
            let next = cluster.run(1, async move {
                send(&node, put(key, value(key, 3, 64))).await;
                let next = node.snapshot().await.expect("the next one works");
                assert_eq!(node.snapshots().await, Ok(vec![next.clone()]), "nothing of the other is told");
                next
            });
            let disk = cluster.sim.crash(CrashPolicy::KeepNothing);
            assert_eq!(contents_of(7, &disk, &next.id), [(key, 3)]);
            assert_eq!(contents(&mut started(7, disk)), [(key, 3)]);
        }
    }
    println!("an error at each of {failed} sites");
    assert!(failed > 20, "{failed} sites");
}

#[test]
fn an_operation_tells_how_it_went() {
    let mut cluster = new_node(1);
    let node = cluster.nodes[2].clone();
    cluster.run(2, async move {
        let id = node.begin_snapshot().await.expect("it begins");
        assert_eq!(node.operation("none").await, Ok(None));
        let mut rounds = 0;
        let done = loop {
            let operation = node.operation(&id).await.expect("ready").expect("known");
            match operation.outcome {
                kyrodb::shard::operations::Outcome::Running => {}
                over => break over,
            }
            rounds += 1;
            node.runtime().sleep(Duration::from_micros(200)).await;
        };
        assert!(rounds > 0, "it takes its time");
        let kyrodb::shard::operations::Outcome::Done(told) = done else { panic!("{done:?}") };
        let listed = node.snapshots().await.expect("a list");
        assert_eq!(told, serde_json::to_value(&listed[0]).expect("plain"));
    });
}
