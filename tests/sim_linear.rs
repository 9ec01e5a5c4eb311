//! Linearizability per key: clients on several cores write and read a few keys, the power is cut in the
//! middle, the node recovers, and the clients go on; in a part of the runs the collection is split live, and its
//! ranges are cut, moved and merged all the time.
//!
//! `LINEAR_SEED` runs one seed.

mod support;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use kyrodb::io::sim::{CrashPolicy, Disk, Rng, SimConfig};
use kyrodb::shard::catalogue::Definition;
use kyrodb::shard::decisions::Kind;
use kyrodb::shard::key::{Key, KeyType};
use kyrodb::shard::message::WriteResult;
use kyrodb::shard::node::Node;
use kyrodb::shard::options::ShardOptions;
use kyrodb::shard::payload::{OCTET_STREAM, Payload};
use kyrodb::shard::record::{Change, Condition, Durability, Refusal, Write};
use kyrodb::types::Seq;
use support::cluster::{Client, Cluster, options};
use support::linear::{If, Op, Operation, Outcome, check};
use support::reached::Reached;

const SEEDS: u64 = 1000;
const CLIENTS: usize = 4;
const OPERATIONS: usize = 12;
const KEYS: [u64; 3] = [0, 50, 90];
/// Not the first collection: its owner is not the core that changes the map.
const NAME: &str = "things";

/// What all clients saw, by key.
#[derive(Default)]
struct Histories {
    now: Cell<u64>,
    answers: Cell<u64>,
    values: Cell<u64>,
    by_key: RefCell<BTreeMap<u64, Vec<Operation>>>,
}

impl Histories {
    fn tick(&self) -> u64 {
        self.now.set(self.now.get() + 1);
        self.now.get()
    }

    fn new_value(&self) -> u64 {
        self.values.set(self.values.get() + 1);
        self.values.get()
    }

    fn call(&self, client: usize, key: u64, op: Op) -> usize {
        let call = self.tick();
        let mut by_key = self.by_key.borrow_mut();
        let history = by_key.entry(key).or_default();
        history.push(Operation { client, call, op, answer: None, crashed: None });
        history.len() - 1
    }

    fn answer(&self, key: u64, place: usize, outcome: Outcome) {
        let time = self.tick();
        self.answers.set(self.answers.get() + 1);
        let mut by_key = self.by_key.borrow_mut();
        by_key.get_mut(&key).expect("a history that was begun")[place].answer = Some((time, outcome));
    }

    /// What has no answer by now has taken effect, or never will.
    fn crash(&self) {
        let time = self.tick();
        for operation in self.by_key.borrow_mut().values_mut().flatten() {
            if operation.answer.is_none() && operation.crashed.is_none() {
                operation.crashed = Some(time);
            }
        }
    }
}

/// The version that a client saw last of each key.
type Known = BTreeMap<u64, u64>;

async fn client(node: Node, number: usize, histories: Rc<Histories>, mut rng: Rng) {
    let mut known = Known::new();
    for _ in 0..OPERATIONS {
        let key = KEYS[rng.index(KEYS.len())];
        match rng.below(20) {
            0 if rng.chance(100) => drop(node.snapshot().await),
            0 if rng.chance(200) => drop(node.compact().await),
            0 => drop(node.checkpoint().await),
            1..8 => get(&node, number, key, &histories, &mut known).await,
            _ => {
                let op = any_write(key, &histories, &known, &mut rng);
                write(&node, number, key, op, &histories, &mut known).await;
            }
        }
    }
}

fn any_write(key: u64, histories: &Histories, known: &Known, rng: &mut Rng) -> Op {
    let seen = known.get(&key).copied().unwrap_or(1);
    let condition = match rng.below(10) {
        0 | 1 => If::SeqIs(seen),
        2 => If::Present,
        3 => If::Absent,
        _ => If::Any,
    };
    match (rng.below(3), condition) {
        (0, If::Any | If::Present | If::SeqIs(_)) => Op::Delete(condition),
        _ => Op::Put(histories.new_value(), condition),
    }
}

async fn get(node: &Node, client: usize, key: u64, histories: &Histories, known: &mut Known) {
    let collection = node.collection(NAME).expect("made in the first life");
    let place = histories.call(client, key, Op::Get);
    let found = node.get(&collection, &Key::from_u64(key)).get().await.expect("reads are answered");
    let outcome = match found {
        None => Outcome::Missing,
        Some(found) => {
            known.insert(key, found.seq.0);
            let value = found.payload.value().try_into().expect("values are numbers");
            Outcome::Found { value: u64::from_le_bytes(value), seq: found.seq.0 }
        }
    };
    histories.answer(key, place, outcome);
}

async fn write(node: &Node, client: usize, key: u64, op: Op, histories: &Histories, known: &mut Known) {
    let collection = node.collection(NAME).expect("made in the first life");
    let place = histories.call(client, key, op);
    let result = node.write(&collection, write_of(key, op)).get().await;
    let outcome = outcome_of(result);
    if let Outcome::Written { seq } | Outcome::ConditionFailed { current: Some(seq) } = outcome {
        known.insert(key, seq);
    }
    histories.answer(key, place, outcome);
}

fn write_of(key: u64, op: Op) -> Write {
    let (change, condition) = match op {
        Op::Put(value, condition) => {
            let payload = Payload::new(OCTET_STREAM, &value.to_le_bytes());
            (Change::Put { payload, expires: None }, condition)
        }
        Op::Delete(condition) => (Change::Delete, condition),
        Op::Get => unreachable!("a read is no write"),
    };
    let condition = match condition {
        If::Any => Condition::None,
        If::Absent => Condition::Absent,
        If::Present => Condition::Present,
        If::SeqIs(seq) => Condition::SeqIs(Seq(seq)),
    };
    Write { key: Key::from_u64(key), change, condition, durability: Durability::Fsync, once: None }
}

fn outcome_of(result: WriteResult) -> Outcome {
    match result {
        Ok(written) => Outcome::Written { seq: written.seq.0 },
        Err(Refusal::Absent) => Outcome::Missing,
        Err(Refusal::ConditionFailed { current }) => {
            Outcome::ConditionFailed { current: current.map(|seq| seq.0) }
        }
        Err(refusal) => panic!("without faults nothing is refused: {refusal}"),
    }
}

/// What one seed does.
struct Run {
    cores: usize,
    splits: bool,
    options: ShardOptions,
    histories: Rc<Histories>,
    /// Changes of the tablets that were done.
    reshaped: Rc<Cell<u64>>,
    /// What the last life decided on.
    reached: Reached,
    rng: Rng,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut rng = Rng::new(seed);
        let checkpoint_log_bytes = [8 * 1024, 32 * 1024, 1 << 20][rng.index(3)];
        Run {
            cores: 2 + rng.index(2),
            splits: rng.chance(400),
            options: ShardOptions { checkpoint_log_bytes, ..options() },
            histories: Rc::default(),
            reshaped: Rc::default(),
            reached: Reached::default(),
            rng,
        }
    }

    /// One life of the node; the power is cut when the clients have so many answers more.
    fn live(&mut self, disk: Disk, answers: u64) -> Disk {
        let config = SimConfig::cores(self.cores);
        let mut cluster = Cluster::boot(self.rng.next_u64(), disk, config, &self.options);
        cluster.start().expect("the node starts");
        let node = cluster.nodes[0].clone();
        let definition = Definition::of(KeyType::U64);
        let created = cluster.run(0, async move {
            let missing = node.collection(NAME).is_none();
            if missing { node.create_collection(NAME, definition).await.map(|_| ()) } else { Ok(()) }
        });
        created.expect("the collection is there");
        let done = Rc::new(Cell::new(0));
        for (core, work) in self.clients(&cluster) {
            let done = done.clone();
            cluster.sim.runtime(core).spawn(kyrodb::io::executor::Class::Foreground, async move {
                work.await;
                done.set(done.get() + 1);
            });
        }
        let (histories, until) = (self.histories.clone(), self.histories.answers.get() + answers);
        let ran = cluster.sim.run_until(|| histories.answers.get() >= until || done.get() == CLIENTS);
        ran.unwrap_or_else(|stuck| panic!("the clients hang: {stuck}"));
        histories.crash();
        if done.get() == CLIENTS {
            let node = cluster.nodes[0].clone();
            let stats = cluster.run(0, async move { node.stats().await });
            self.reached.note_decisions(&stats);
        }
        cluster.sim.crash(CrashPolicy::Random)
    }

    fn clients(&mut self, cluster: &Cluster) -> Vec<(usize, Client)> {
        let mut clients: Vec<(usize, Client)> = Vec::new();
        for number in 0..CLIENTS {
            let core = self.rng.index(self.cores);
            let (node, rng) = (cluster.nodes[core].clone(), Rng::new(self.rng.next_u64()));
            clients.push((core, Box::pin(client(node, number, self.histories.clone(), rng))));
        }
        if self.splits {
            let node = cluster.nodes[self.rng.index(self.cores)].clone();
            let delay = std::time::Duration::from_micros(self.rng.below(3000));
            let core = usize::from(node.shard().0);
            let (mut rng, shards) = (Rng::new(self.rng.next_u64()), self.cores);
            let reshaped = self.reshaped.clone();
            clients.push((
                core,
                Box::pin(async move {
                    node.runtime().sleep(delay).await;
                    let cuts = [40, 80].map(Key::from_u64).to_vec();
                    // A later life finds it split already.
                    let split = node.split_collection(NAME, cuts).await.expect("shard 0 answers");
                    reshaped.set(reshaped.get() + u64::from(split.is_ok()));
                    loop {
                        node.runtime().sleep(std::time::Duration::from_micros(rng.below(2000))).await;
                        let things = node.collection(NAME).expect("made in the first life");
                        let change = support::reshape::any(&things, &[20, 40, 60, 80], shards, &mut rng);
                        let done = node.reshape(change).await.expect("without faults nothing is refused");
                        reshaped.set(reshaped.get() + u64::from(done.is_ok()));
                    }
                }),
            ));
        }
        clients
    }
}

/// What the histories had in them.
#[derive(Default)]
struct Counts {
    operations: u64,
    written: u64,
    found: u64,
    /// Under way at a crash.
    lost: u64,
    reshaped: u64,
    reached: Reached,
}

impl Counts {
    fn note(&mut self, history: &[Operation]) {
        let count = |is: &dyn Fn(&Operation) -> bool| history.iter().filter(|o| is(o)).count() as u64;
        let outcome = |operation: &Operation| operation.answer.map(|(_, outcome)| outcome);
        self.operations += history.len() as u64;
        self.written += count(&|o| matches!(outcome(o), Some(Outcome::Written { .. })));
        self.found += count(&|o| matches!(outcome(o), Some(Outcome::Found { .. })));
        self.lost += count(&|o| o.crashed.is_some() && o.op != Op::Get);
    }

    /// Of so many seeds.
    fn check(&self, seeds: u64) {
        let Counts { operations, written, found, lost, reshaped, reached } = self;
        println!(
            "{operations} operations ({written} writes, {found} reads of something, {lost} writes under way at a \
             crash) in {seeds} histories over two crashes each, {reshaped} changes of tablets; last lives: {reached}"
        );
        assert!(*operations > 70 * seeds && *written > 30 * seeds && *found > 10 * seeds);
        assert!(*lost > 2 * seeds && *reshaped > seeds / 2);
        let (seals, merges) = (reached.count(Kind::Seal), reached.for_reason(Kind::Compaction, "forced"));
        assert!(seals > seeds && merges > seeds / 5, "{seals} seals, {merges} merges");
    }
}

fn run(seed: u64, counts: &mut Counts) {
    let mut run = Run::new(seed);
    let mut disk = Disk::default();
    for _ in 0..2 {
        let answers = run.rng.below((CLIENTS * OPERATIONS) as u64);
        disk = run.live(disk, answers);
    }
    run.live(disk, u64::MAX / 2);
    let by_key = run.histories.by_key.borrow();
    for (key, history) in by_key.iter() {
        if let Err(counterexample) = check(history) {
            panic!("key {key}: {counterexample}\nagain: LINEAR_SEED={seed} cargo test --test sim_linear");
        }
        counts.note(history);
    }
    counts.reshaped += run.reshaped.get();
    counts.reached.add(&run.reached);
}

#[test]
fn histories_over_crashes_and_splits_are_linearizable() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let first = number("LINEAR_FIRST").unwrap_or(0);
    let many = first..first + number("LINEAR_SEEDS").unwrap_or(SEEDS);
    let seeds = number("LINEAR_SEED").map_or(many, |seed| seed..seed + 1);
    let mut counts = Counts::default();
    seeds.clone().for_each(|seed| run(seed, &mut counts));
    // A few seeds may come to little.
    if seeds.end - seeds.start >= 100 {
        counts.check(seeds.end - seeds.start);
    }
}
