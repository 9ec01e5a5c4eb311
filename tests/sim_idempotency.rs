//! Requests that name themselves are carried out once: over lost answers, power cuts, seals that give the log up,
//! and ranges that move.
//!
//! Every request has a number; its payload and its name are made of it. The book knows of each request the version
//! that it was first answered with, and the one that a read showed. Clients send any request again, theirs or
//! another's, now or in another life: the version must be the same. A request that was carried out twice has two.

mod support;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use kyrodb::io::executor::Class;
use kyrodb::io::sim::{CrashPolicy, Disk, Rng, SimConfig};
use kyrodb::shard::balance::BalanceOptions;
use kyrodb::shard::catalogue::Definition;
use kyrodb::shard::key::{Key, KeyType};
use kyrodb::shard::node::Node;
use kyrodb::shard::options::ShardOptions;
use kyrodb::shard::record::{Change, Condition, Durability, Once, Refusal, Write, Written};
use kyrodb::shard::reshape::{Reshape, Target};
use kyrodb::types::{Seq, ShardId, Token};
use support::cluster::{Client, Cluster, options};
use support::small::{begin, delete, put, read, send, started, value};

const KEYS: u64 = 12;
const CUTS: [u64; 5] = [2, 4, 6, 8, 10];

fn named(number: u64, write: Write) -> Write {
    let mut token = [0; 16];
    token[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    let once = Once { token: Token(token), fingerprint: number, asks_only: false };
    Write { once: Some(Box::new(once)), ..write }
}

struct Asked {
    write: Write,
    /// As it was answered first.
    seq: Option<Seq>,
    /// Nothing was done, and another try may do it.
    refused: bool,
}

#[derive(Default)]
struct Book {
    asked: RefCell<Vec<Asked>>,
    /// Versions that reads showed, by the number in the payload.
    seen: RefCell<BTreeMap<u64, Seq>>,
    answers: Cell<u64>,
    replayed: Cell<u64>,
    moves: Cell<u64>,
    over: Cell<bool>,
}

impl Book {
    /// A new request.
    fn ask(&self, rng: &mut Rng) -> usize {
        let mut asked = self.asked.borrow_mut();
        let (number, key) = (asked.len() as u64, rng.next_u64() % KEYS);
        let len = if rng.chance(50) { 40_000 } else { 16 + rng.index(300) };
        let change = put(key, value(key, number, len));
        let last = asked.iter().filter(|one| one.write.key == change.key).filter_map(|one| one.seq).max();
        let write = match rng.below(10) {
            0 => delete(key),
            1 | 2 => Write { condition: Condition::SeqIs(last.unwrap_or_default()), ..change },
            3 => Write { condition: Condition::Absent, ..change },
            _ => change,
        };
        asked.push(Asked { write: named(number, write), seq: None, refused: false });
        number as usize
    }

    fn known(&self, number: usize) -> Option<Seq> {
        self.asked.borrow()[number].seq.or_else(|| self.seen.borrow().get(&(number as u64)).copied())
    }

    /// `before`: what was known when it was sent. Somebody else may have sent it in between.
    fn judge(&self, number: usize, result: Result<Written, Refusal>, before: Option<Seq>) -> bool {
        let now = self.known(number);
        let mut asked = self.asked.borrow_mut();
        let one = &mut asked[number];
        match result {
            Ok(written) => {
                self.answers.set(self.answers.get() + 1);
                self.replayed.set(self.replayed.get() + u64::from(written.replayed));
                assert!(
                    now.is_none_or(|now| now == written.seq) && (before.is_none() || written.replayed),
                    "request {number} is carried out twice: {now:?}, then {written:?}"
                );
                assert_eq!(written.reached, Durability::Fsync);
                (one.seq, one.refused) = (Some(written.seq), false);
                true
            }
            Err(Refusal::Absent | Refusal::ConditionFailed { .. }) => {
                assert!(
                    before.is_none(),
                    "request {number} was carried out as {before:?}, and is refused: {result:?}"
                );
                one.refused = one.seq.is_none();
                true
            }
            Err(Refusal::NotReady | Refusal::Overloaded { .. }) => false,
            Err(refusal) => panic!("request {number}: {refusal}"),
        }
    }

    /// Sends a request, `times` at once, until it is answered.
    async fn send(&self, node: &Node, number: usize, times: usize) {
        loop {
            let write = self.asked.borrow()[number].write.clone();
            let before = self.known(number);
            let answers: Vec<_> = (0..times).map(|_| begin(node, "default", write.clone())).collect();
            let mut done = true;
            for answer in answers {
                done &= self.judge(number, answer.get().await, before);
            }
            if done {
                return;
            }
            node.runtime().sleep(Duration::from_millis(2)).await;
        }
    }

    async fn write_along(self: Rc<Self>, node: Node, mut rng: Rng) {
        while !self.over.get() {
            let again = rng.chance(350) && !self.asked.borrow().is_empty();
            let number = if again { rng.index(self.asked.borrow().len()) } else { self.ask(&mut rng) };
            // What was refused is another matter each time.
            if !self.asked.borrow()[number].refused {
                let times = if rng.chance(150) { 2 } else { 1 };
                self.send(&node, number, times).await;
            }
            if rng.chance(100) {
                node.runtime().sleep(Duration::from_micros(rng.below(3000))).await;
            }
        }
    }

    async fn read_along(self: Rc<Self>, node: Node) {
        while !self.over.get() {
            for key in 0..KEYS {
                let collection = node.collection("default").expect("exists from the start");
                let found = node.get(&collection, &Key::from_u64(key)).get().await.expect("answered");
                if let Some(found) = found {
                    let number =
                        u64::from_le_bytes(found.payload.value()[8..16].try_into().expect("8 bytes"));
                    let known = self.seen.borrow_mut().insert(number, found.seq);
                    let told = self.asked.borrow()[number as usize].seq;
                    for known in [known, told].into_iter().flatten() {
                        assert_eq!(known, found.seq, "request {number} is seen in two versions");
                    }
                }
            }
            node.runtime().sleep(Duration::from_micros(300)).await;
        }
    }

    async fn move_along(self: Rc<Self>, node: Node, mut rng: Rng) {
        let _ = node.split_collection("default", CUTS.map(Key::from_u64).to_vec()).await.expect("ready");
        while !self.over.get() {
            node.runtime().sleep(Duration::from_micros(rng.below(3000))).await;
            let collection = node.collection("default").expect("exists from the start");
            let change = support::reshape::any(&collection, &CUTS, node.shards(), &mut rng);
            if matches!(node.reshape(change).await, Ok(Ok(_))) {
                self.moves.set(self.moves.get() + 1);
            }
        }
    }

    /// Every key shows the request that was carried out last.
    async fn check(self: Rc<Self>, node: Node) {
        for key in 0..KEYS {
            let last = {
                let asked = self.asked.borrow();
                let of_key = asked.iter().filter(|one| one.write.key == Key::from_u64(key));
                of_key
                    .filter(|one| one.seq.is_some())
                    .max_by_key(|one| one.seq)
                    .map(|one| one.write.change.clone())
            };
            let wanted = match last {
                Some(Change::Put { payload, .. }) => Some(payload),
                Some(Change::Delete) | None => None,
            };
            assert!(read(&node, "default", key).await == wanted, "key {key} does not show what came last");
        }
    }
}

fn shard_options() -> ShardOptions {
    let balance = BalanceOptions { period: Duration::ZERO, ..BalanceOptions::default() };
    ShardOptions { checkpoint_log_bytes: 24 * 1024, balance, ..options() }
}

fn boot(seed: u64, disk: Disk, cores: usize) -> Cluster {
    let mut cluster = Cluster::boot(seed, disk, SimConfig::cores(cores), &shard_options());
    cluster.start().unwrap_or_else(|error| panic!("seed {seed}: it does not start: {error}"));
    cluster
}

fn clients(cluster: &Cluster, book: &Rc<Book>, rng: &mut Rng, moves: bool) {
    let mut all: Vec<(usize, Client)> = Vec::new();
    for number in 0..6 {
        let core = number % cluster.nodes.len();
        let node = cluster.nodes[core].for_client();
        all.push((core, Box::pin(book.clone().write_along(node, Rng::new(rng.next_u64())))));
    }
    for core in 0..cluster.nodes.len() {
        all.push((core, Box::pin(book.clone().read_along(cluster.nodes[core].clone()))));
    }
    if moves {
        let node = cluster.nodes[0].clone();
        all.push((0, Box::pin(book.clone().move_along(node, Rng::new(rng.next_u64())))));
    }
    for (core, client) in all {
        cluster.sim.runtime(core).spawn(Class::Foreground, client);
    }
}

/// Lives of a node, each ended by a power cut amid requests. In the next one every request whose answer was lost is
/// sent again, and all others besides.
fn live(seed: u64, cores: usize, moves: bool) -> Rc<Book> {
    const LIVES: u64 = 4;
    let rng = &mut Rng::new(seed);
    let book = Rc::new(Book::default());
    let mut disk = Disk::default();
    for life in 0..LIVES {
        let mut cluster = boot(seed * 10 + life, disk, cores);
        let (sender, asked) = (book.clone(), book.asked.borrow().len());
        let node = cluster.nodes[life as usize % cores].clone();
        cluster.run(life as usize % cores, async move {
            for number in 0..asked {
                sender.send(&node, number, 1).await;
            }
            sender.check(node).await;
        });
        clients(&cluster, &book, rng, moves);
        let until = book.answers.get() + if moves { 600 } else { 150 } + rng.below(150);
        let answers = book.clone();
        cluster
            .sim
            .run_until(move || answers.answers.get() >= until)
            .unwrap_or_else(|stuck| panic!("{stuck}"));
        let policy = [CrashPolicy::KeepNothing, CrashPolicy::Random, CrashPolicy::KeepAll][rng.index(3)];
        disk = cluster.sim.crash(policy);
    }
    book
}

#[test]
fn what_was_asked_twice_is_done_once_over_power_cuts_and_seals() {
    for seed in 0..12 {
        let book = live(seed, 1 + seed as usize % 2, false);
        assert!(book.replayed.get() > 300, "seed {seed}: {} were replayed", book.replayed.get());
    }
}

#[test]
fn what_was_asked_twice_is_done_once_while_ranges_move() {
    let mut moves = 0;
    for seed in 100..112 {
        let book = live(seed, 3, true);
        assert!(book.replayed.get() > 300, "seed {seed}: {} were replayed", book.replayed.get());
        moves += book.moves.get();
    }
    assert!(moves > 300, "{moves} moves");
}

/// The first was answered when it was in memory; the second waits for the disk.
#[test]
fn a_retry_is_answered_when_what_it_asks_for_is_reached() {
    for seed in 0..20 {
        let mut cluster = started(seed, 2, Disk::default());
        let node = cluster.nodes[0].clone();
        let first = cluster.run(0, async move {
            let write = named(7, put(1, value(1, 7, 100)));
            let first = send(&node, Write { durability: Durability::Memory, ..write.clone() }).await;
            let again = send(&node, write).await;
            assert_eq!((again.seq, again.replayed, again.reached), (first.seq, true, Durability::Fsync));
            first
        });
        let disk = cluster.sim.crash(CrashPolicy::KeepNothing);
        let mut cluster = started(seed, 2, disk);
        let node = cluster.nodes[1].clone();
        cluster.run(1, async move {
            assert_eq!(read(&node, "default", 1).await, Some(value(1, 7, 100)));
            let again = send(&node, named(7, put(1, value(1, 7, 100)))).await;
            assert_eq!((again.lsn, again.seq, again.replayed), (first.lsn, first.seq, true));
        });
    }
}

/// A request that lost its record with the memory is another one.
#[test]
fn what_was_lost_is_carried_out_again() {
    let mut cluster = started(1, 1, Disk::default());
    let node = cluster.nodes[0].clone();
    let write = || named(7, put(1, value(1, 7, 100)));
    cluster.run(0, async move {
        send(&node, Write { durability: Durability::Memory, ..write() }).await;
    });
    let disk = cluster.sim.crash(CrashPolicy::KeepNothing);
    let mut cluster = started(1, 1, disk);
    let node = cluster.nodes[0].clone();
    cluster.run(0, async move {
        assert_eq!(read(&node, "default", 1).await, None);
        assert!(!send(&node, write()).await.replayed);
        assert_eq!(read(&node, "default", 1).await, Some(value(1, 7, 100)));
    });
}

/// Seals that have nothing to write but receipts were due again at once.
#[test]
fn receipts_alone_make_no_seal_due() {
    let mut cluster = boot(1, Disk::default(), 1);
    let node = cluster.nodes[0].clone();
    cluster.run(0, async move {
        for number in 0..1000 {
            send(&node, named(number, put(number % KEYS, value(number % KEYS, number, 200)))).await;
        }
        node.checkpoint().await.expect("works");
        let before = node.stats().await[0].checkpoints;
        node.runtime().sleep(Duration::from_secs(60)).await;
        let stats = node.stats().await.remove(0);
        assert_eq!(stats.checkpoints, before, "seals follow one another");
        // It changes nothing however often.
        for _ in 0..3 {
            node.checkpoint().await.expect("works");
        }
        assert!(send(&node, named(0, put(0, value(0, 0, 200)))).await.replayed);
    });
}

/// The new owner had the receipt on its disk, the old one the record in its memory, and a power cut came: sent again
/// behind the next move, the request passed for carried out.
#[test]
fn no_receipt_outlives_its_record() {
    for seed in 0..150 {
        let rng = &mut Rng::new(seed);
        let config = || SimConfig { disk_ns: 50_000..=4_000_000, ..SimConfig::cores(3) };
        let options = ShardOptions { checkpoint_log_bytes: 1 << 30, ..shard_options() };
        let start = |disk| {
            let mut cluster = Cluster::boot(seed, disk, config(), &options);
            cluster.start().unwrap_or_else(|error| panic!("seed {seed}: it does not start: {error}"));
            cluster
        };
        let mut cluster = start(Disk::default());
        let node = cluster.nodes[0].clone();
        cluster.run(0, async move {
            // The second collection begins on shard 1, whose log has nothing of the map.
            let things = Definition::of(KeyType::U64);
            node.create_collection("things", things).await.expect("ready").expect("new");
            begin(&node, "things", put(5, value(5, 0, 100))).get().await.expect("acknowledged");
        });
        let acked = Rc::new(Cell::new(0_u64));
        let (writer, mover, last) = (cluster.nodes[1].clone(), cluster.nodes[0].clone(), acked.clone());
        let clients: [(usize, Client); 2] = [
            (
                1,
                Box::pin(async move {
                    for number in 1.. {
                        let write = named(number, put(5, value(5, number, 100)));
                        let write = Write { durability: Durability::Memory, ..write };
                        if begin(&writer, "things", write).get().await.is_err() {
                            return;
                        }
                        last.set(number);
                        writer.runtime().sleep(Duration::from_micros(300)).await;
                    }
                }),
            ),
            (0, Box::pin(move_all(mover))),
        ];
        for (core, client) in clients {
            cluster.sim.runtime(core).spawn(Class::Foreground, client);
        }
        let end = cluster.sim.world().now().after(Duration::from_micros(2_000 + rng.below(30_000)));
        let world = cluster.sim.world().clone();
        cluster.sim.run_until(move || world.now() >= end).unwrap_or_else(|stuck| panic!("{stuck}"));
        let disk = cluster.sim.crash(CrashPolicy::KeepNothing);
        let mut cluster = start(disk);
        let node = cluster.nodes[0].clone();
        cluster.run(0, async move {
            move_all(node.clone()).await;
            let last = acked.get();
            for number in 1..=last {
                begin(&node, "things", named(number, put(5, value(5, number, 100))))
                    .get()
                    .await
                    .expect("acknowledged");
            }
            let found = read(&node, "things", 5).await;
            assert!(
                last == 0 || found == Some(value(5, last, 100)),
                "seed {seed}: request {last} is not there"
            );
        });
    }
}

/// Moves all of the collection to the next shard.
async fn move_all(node: Node) {
    let things = node.collection("things").expect("exists");
    let tablet = &things.tablets[0];
    let owner = ShardId((tablet.owner.0 + 1) % node.shards() as u16);
    let target = Target { start: tablet.start.clone(), owner, keeps: false };
    let change = Reshape { collection: things.id, sources: vec![tablet.id], targets: vec![target] };
    node.reshape(change).await.expect("ready").expect("fits");
}
