//! KyroDB in process: a node of one shard on the kernel's ring, asked through its `Node`.

use std::cell::Cell;
use std::ops::Bound;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kyrodb::io::executor::sync::promise;
use kyrodb::io::executor::{Class, Executor};
use kyrodb::io::uring::{RingConfig, RingDriver};
use kyrodb::shard::boot;
use kyrodb::shard::catalogue::{Collection, DEFAULT_COLLECTION};
use kyrodb::shard::key::Key;
use kyrodb::shard::mailbox::mailboxes;
use kyrodb::shard::node::Node;
use kyrodb::shard::options::ShardOptions;
use kyrodb::shard::payload::{OCTET_STREAM, Payload};
use kyrodb::shard::record::{Change, Condition, Durability, Refusal, Scan, Write};
use kyrodb::shard::stats::ShardStats;

use crate::engine::{Beside, Check, Engine, Overwritten, Plan, Writes, acknowledge};
use crate::keysets::Random;
use crate::table::Table;
use crate::task::histogram;

/// Between two attempts at a write for which the engine had no room.
const PUSHED_BACK: Duration = Duration::from_millis(1);
/// Nothing was compacted for so long: nothing will be.
const QUIET: Duration = Duration::from_millis(500);

pub struct Kyro {
    executor: Executor,
    client: Client,
}

#[derive(Clone)]
struct Client {
    node: Node,
    collection: Arc<Collection>,
    table: Arc<Table>,
    pushed_back: Rc<Cell<u64>>,
}

impl Kyro {
    pub fn open(dir: &Path, table: Arc<Table>, memory: usize) -> Kyro {
        let ring = RingDriver::new(&RingConfig::default()).expect("a ring");
        let mut executor = Executor::new(Box::new(ring));
        let mailbox = mailboxes(1).pop().expect("one mailbox for one shard");
        let options = ShardOptions { memory_bytes: memory as u64, ..ShardOptions::new(dir) };
        let node = boot::launch(&mut executor, mailbox, options);
        executor.block_on(node.started()).expect("KyroDB starts");
        let collection = node.collection(DEFAULT_COLLECTION).expect("it exists from the start");
        let client = Client { node, collection, table, pushed_back: Rc::default() };
        Kyro { executor, client }
    }
}

impl Client {
    fn key(&self, place: usize) -> Key {
        Key::from_u64(self.table.keys[place])
    }

    fn put(&self, (place, version): (usize, u32)) -> Write {
        let payload = Payload::new(OCTET_STREAM, &self.table.value(place, version));
        let change = Change::Put { payload, expires: None };
        Write { key: self.key(place), change, condition: Condition::None, durability: Durability::Fsync, once: None }
    }

    async fn write(&self, batch: &[(usize, u32)]) {
        let mut open: Vec<Write> = batch.iter().map(|write| self.put(*write)).collect();
        loop {
            let results = self.node.write_many(&self.collection, open.clone()).get().await;
            let mut again = Vec::new();
            for (write, result) in open.into_iter().zip(results) {
                match result {
                    Ok(written) => assert_eq!(written.reached, Durability::Fsync, "not on stable storage"),
                    Err(Refusal::Overloaded { .. }) => again.push(write),
                    Err(refusal) => panic!("a write was refused: {refusal}"),
                }
            }
            if again.is_empty() {
                return;
            }
            self.pushed_back.set(self.pushed_back.get() + 1);
            self.node.runtime().sleep(PUSHED_BACK).await;
            open = again;
        }
    }

    /// Seals what was written and waits until the policy finds nothing to do.
    async fn settle(&self) {
        self.node.checkpoint().await.expect("sealed");
        let mut before = 0;
        loop {
            let now = self.stats().await.compactions;
            self.node.runtime().sleep(QUIET).await;
            if now == before && self.stats().await.compactions == now {
                return;
            }
            before = now;
        }
    }

    async fn stats(&self) -> ShardStats {
        self.node.stats().await.pop().expect("one shard")
    }

    async fn points(&self, places: &[usize], check: &mut Check) {
        for (turn, place) in places.iter().enumerate() {
            check.begin();
            let found = self.node.get(&self.collection, &self.key(*place)).get().await.expect("read");
            check.value(*place, found.as_ref().map(|found| found.payload.value()));
            check.end();
            self.breathe(turn).await;
        }
    }

    async fn batches(&self, places: &[usize], batch: usize, check: &mut Check) {
        for (turn, places) in places.chunks(batch).enumerate() {
            check.begin();
            let keys = places.iter().map(|place| self.key(*place)).collect();
            let found = self.node.get_many(&self.collection, keys).get().await.expect("read");
            for (place, found) in places.iter().zip(&found) {
                check.value(*place, found.as_ref().map(|found| found.payload.value()));
            }
            check.end();
            self.breathe(turn * batch).await;
        }
    }

    /// As a server does between turns: others of the core get theirs.
    async fn breathe(&self, reads: usize) {
        if reads.is_multiple_of(1024) {
            self.node.runtime().yield_now().await;
        }
    }

    async fn ranges(&self, starts: &[usize], len: usize, check: &mut Check) {
        for (turn, start) in starts.iter().enumerate() {
            check.begin();
            let (first, end) = (Bound::Included(self.key(*start)), Bound::Unbounded);
            let scan = Scan { start: first, end, reverse: false, limit: len };
            let page = self.node.scan(&self.collection, scan).await.expect("read");
            assert_eq!(page.records.len(), len, "a range ended early");
            for (place, record) in (*start..).zip(page.records.iter()) {
                let key = record.key.try_into().map(u64::from_be_bytes).expect("a u64 key");
                check.record(place, key, record.value());
            }
            check.end();
            self.breathe(turn).await;
        }
    }

    async fn read_beside(self, plan: Plan, over: Rc<Cell<bool>>) -> hdrhistogram::Histogram<u64> {
        let (mut reads, mut random) = (histogram(), Random(plan.seed ^ 0x5eed));
        let mut due = Instant::now();
        while !over.get() {
            due += plan.read_every;
            let wait = due.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                self.node.runtime().sleep(wait).await;
            }
            let place = random.below(self.table.len() as u64) as usize;
            let beside = Beside::begin(&self.table, place);
            let found = self.node.get(&self.collection, &self.key(place)).get().await.expect("read");
            beside.judge(&self.table, found.as_ref().map(|found| found.payload.value()));
            reads.saturating_record(due.elapsed().as_nanos() as u64);
        }
        reads
    }

    async fn overwrite(&self, plan: Plan) -> Overwritten {
        let over = Rc::new(Cell::new(false));
        let (promise, reads) = promise();
        let (reader, ended) = (self.clone(), over.clone());
        self.node.runtime().spawn(Class::Foreground, async move {
            promise.give(reader.read_beside(plan, ended).await);
        });
        let (mut writes, mut source, began) = (0, Writes::new(&plan), Instant::now());
        while began.elapsed() < plan.duration {
            let batch = source.next(&self.table);
            self.write(&batch).await;
            acknowledge(&self.table, &batch);
            writes += batch.len() as u64;
        }
        over.set(true);
        Overwritten { writes, reads: reads.await }
    }

    async fn numbers(&self) -> Vec<(String, u64)> {
        let stats = self.stats().await;
        [
            ("log_bytes", stats.log_bytes),
            ("sealed_bytes", stats.checkpoint_bytes),
            ("compacted_bytes", stats.compaction_written_bytes),
            ("run_bytes", stats.run_bytes),
            ("runs", stats.runs),
            ("fresh_runs", stats.fresh_runs),
            ("memory_bytes", stats.memory_bytes),
            ("resident_bytes", stats.resident_bytes),
            ("cache_bytes", stats.cache_bytes),
            ("cache_hits", stats.cache_hits),
            ("cold_reads", stats.cold_reads),
            ("block_reads", stats.block_reads),
            ("log_paused_us", stats.log_paused_us),
            ("checkpoints", stats.checkpoints),
            ("compactions", stats.compactions),
            ("compaction_read_bytes", stats.compaction_read_bytes),
            ("pushed_back", self.pushed_back.get()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }
}

impl Engine for Kyro {
    fn write(&mut self, batch: &[(usize, u32)]) {
        self.executor.block_on(self.client.write(batch));
    }

    fn settle(&mut self) {
        self.executor.block_on(self.client.settle());
    }

    fn points(&mut self, places: &[usize], batch: usize, check: &mut Check) {
        let client = &self.client;
        self.executor.block_on(async {
            match batch {
                1 => client.points(places, check).await,
                batch => client.batches(places, batch, check).await,
            }
        });
    }

    fn ranges(&mut self, starts: &[usize], len: usize, check: &mut Check) {
        self.executor.block_on(self.client.ranges(starts, len, check));
    }

    fn overwrite(&mut self, plan: Plan) -> Overwritten {
        self.executor.block_on(self.client.overwrite(plan))
    }

    fn numbers(&mut self) -> Vec<(String, u64)> {
        self.executor.block_on(self.client.numbers())
    }

    fn close(mut self: Box<Self>) {
        self.executor.block_on(boot::close(&self.client.node)).expect("closed in order");
    }
}
