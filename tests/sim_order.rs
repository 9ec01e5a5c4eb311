//! The writes of one client to one key are applied in the order in which it sent them, also while the
//! range moves under them and however many are under way.

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use kyrodb::io::sim::{Disk, Faults, Rng, SimConfig};
use kyrodb::shard::key::Key;
use kyrodb::shard::message::WriteResult;
use kyrodb::shard::node::{Answer, Node};
use kyrodb::shard::options::ShardOptions;
use kyrodb::shard::record::{Durability, Refusal, Write};
use support::cluster::{Client, Cluster, options};
use support::small::{fill, put, read, value};

const SEEDS: u64 = 60;
const WRITES: u64 = 400;

/// On both sides of every cut.
const KEYS: [u64; 4] = [20, 60, 90, 140];

enum Sent {
    One(Answer<WriteResult>),
    Many(Answer<Vec<WriteResult>>),
}

/// Writes rising versions of a key without waiting, single or in batches; then judges their order.
async fn pipeline(node: Node, key: u64, mut rng: Rng) {
    let stale = node.collection("default").expect("exists from the start");
    let next = |version: u64, rng: &mut Rng| {
        let durability = if rng.coin() { Durability::Fsync } else { Durability::Memory };
        Write { durability, ..put(key, value(key, version, 20)) }
    };
    let mut sent = Vec::new();
    let mut version = 1;
    while version < WRITES {
        // Sometimes by the map that the client began with, as a bulk does.
        let fresh = node.collection("default").expect("exists from the start");
        let collection = if rng.coin() { &stale } else { &fresh };
        if rng.coin() {
            version += 1;
            sent.push(Sent::One(node.write(collection, next(version, &mut rng))));
        } else {
            let batch = (1..=1 + rng.below(5)).map(|n| next(version + n, &mut rng)).collect::<Vec<_>>();
            version += batch.len() as u64;
            sent.push(Sent::Many(node.write_many(collection, batch)));
        }
        if rng.chance(300) {
            node.runtime().sleep(Duration::from_micros(rng.below(300))).await;
        }
    }
    let mut results = Vec::new();
    for sent in sent {
        match sent {
            Sent::One(answer) => results.push(answer.get().await),
            Sent::Many(answer) => results.extend(answer.get().await),
        }
    }
    judge(key, &results);
    assert_eq!(read(&node, "default", key).await, Some(value(key, version, 20)), "key {key}: the last one");
}

fn judge(key: u64, results: &[WriteResult]) {
    let seqs: Vec<u64> = results.iter().map(|result| result.as_ref().expect("acknowledged").seq.0).collect();
    assert!(seqs.len() as u64 + 1 >= WRITES, "key {key}: {} answers", seqs.len());
    let wrong = seqs.windows(2).position(|pair| pair[0] >= pair[1]);
    assert_eq!(wrong, None, "key {key}: versions {seqs:?}");
}

fn cluster(seed: u64) -> Cluster {
    // Slow cores, so that a message between two of them takes its time.
    let config = SimConfig { step_ns: 100..=20_000, ..SimConfig::cores(3) };
    let options = ShardOptions {
        checkpoint_log_bytes: 1 << 30,
        memory_bytes: 4 << 20,
        // A seal is a few parts, as on a real node.
        part_bytes: 128 << 10,
        ..options()
    };
    let mut cluster = Cluster::boot(seed, Disk::default(), config, &options);
    cluster.start().expect("a new node starts");
    fill(&mut cluster, 0..4000);
    cluster
}

async fn split(node: Node, delay_us: u64) -> Result<(), Refusal> {
    node.runtime().sleep(Duration::from_micros(delay_us)).await;
    let cuts = [40, 80, 120].map(Key::from_u64).to_vec();
    node.split_collection("default", cuts).await.map(|split| split.expect("it has one tablet"))
}

/// One client a key, each on some core.
fn pipelines(cluster: &Cluster, seed: u64, rng: &mut Rng) -> Vec<(usize, Client)> {
    let client = |(number, key): (usize, u64)| {
        let core = (number + seed as usize) % 3;
        let work = pipeline(cluster.nodes[core].for_client(), key, Rng::new(rng.next_u64()));
        (core, Box::pin(work) as Client)
    };
    KEYS.into_iter().enumerate().map(client).collect()
}

#[test]
fn writes_of_one_client_keep_their_order_while_their_range_moves() {
    let changed = Rc::new(Cell::new(0));
    for seed in 0..SEEDS {
        let (mut cluster, mut rng) = (cluster(seed), Rng::new(seed));
        let mut clients = pipelines(&cluster, seed, &mut rng);
        let (splitter, begin) = (cluster.nodes[0].clone(), rng.below(3000));
        let (mut any, count) = (Rng::new(rng.next_u64()), changed.clone());
        clients.push((
            0,
            Box::pin(async move {
                split(splitter.clone(), begin).await.expect("splits");
                for _ in 0..10 {
                    let collection = splitter.collection("default").expect("exists from the start");
                    let cuts = [20, 40, 60, 80, 100, 120];
                    let change = support::reshape::any(&collection, &cuts, 3, &mut any);
                    let done = splitter.reshape(change).await.expect("without faults nothing is refused");
                    count.set(count.get() + u64::from(done.is_ok()));
                }
            }),
        ));
        cluster.run_all(clients).unwrap_or_else(|stuck| panic!("seed {seed}: {stuck}"));
    }
    println!("{} changes of ranges over {SEEDS} seeds", changed.get());
    assert!(changed.get() > 8 * SEEDS, "{} changes", changed.get());
}

/// A move that fails gives the range back to its owner under a new map.
#[test]
fn writes_of_one_client_keep_their_order_when_a_move_fails() {
    for seed in 0..SEEDS {
        let (mut cluster, mut rng) = (cluster(seed), Rng::new(seed ^ 1 << 40));
        let mut clients = pipelines(&cluster, seed, &mut rng);
        let outcome = Rc::new(Cell::new(None));
        let splitter = cluster.nodes[0].clone();
        let begin = rng.below(2000);
        let seen = outcome.clone();
        clients.push((0, Box::pin(async move { seen.set(Some(split(splitter, begin).await)) })));
        // The first write of shard 2 fails, and with it all that arrives there.
        cluster.sim.world().set_faults(Faults {
            only_paths_with: Some("shard-002/log".to_owned()),
            write_error_permille: 1000,
            ..Faults::default()
        });
        cluster.run_all(clients).unwrap_or_else(|stuck| panic!("seed {seed}: {stuck}"));
        assert!(matches!(outcome.get(), Some(Err(_))), "seed {seed}: the move did not fail");
    }
}
