//! What the benchmark asks of an engine, and how it judges the answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::clock;
use crate::keysets::Random;
use crate::table::Table;
use crate::task::histogram;

/// One open store. Records are named by their place in the table.
pub trait Engine {
    /// Writes records at these versions, all on stable storage when it returns.
    fn write(&mut self, batch: &[(usize, u32)]);
    /// Load is over, or a slice of writes: wait for what goes on in the background.
    fn settle(&mut self);
    /// `batch` at a time; 1 means the interface for one key.
    fn points(&mut self, places: &[usize], batch: usize, check: &mut Check);
    fn ranges(&mut self, starts: &[usize], len: usize, check: &mut Check);
    fn overwrite(&mut self, plan: Plan) -> Overwritten;
    /// Numbers that only the engine knows.
    fn numbers(&mut self) -> Vec<(String, u64)>;
    fn close(self: Box<Self>);
}

/// Judges every answer of reads while nothing is written, and times calls when asked to.
pub struct Check {
    table: Arc<Table>,
    began: Option<Instant>,
    pub latency: Option<Histogram<u64>>,
    pub answers: u64,
}

impl Check {
    pub fn new(table: &Arc<Table>, timed: bool) -> Check {
        Check { table: table.clone(), began: None, latency: timed.then(histogram), answers: 0 }
    }

    pub fn begin(&mut self) {
        if self.latency.is_some() {
            self.began = Some(Instant::now());
        }
    }

    pub fn end(&mut self) {
        if let Some(latency) = &mut self.latency {
            let began = self.began.take().expect("begun");
            latency.saturating_record(began.elapsed().as_nanos() as u64);
        }
    }

    pub fn value(&mut self, place: usize, value: Option<&[u8]>) {
        let value = value.unwrap_or_else(|| panic!("record {place} is missing"));
        assert!(self.table.is(place, self.table.version(place), value), "a wrong value of record {place}");
        self.answers += 1;
    }

    /// The next record of a range.
    pub fn record(&mut self, place: usize, key: u64, value: &[u8]) {
        assert_eq!(key, self.table.keys[place], "a wrong key in a range");
        self.value(place, Some(value));
    }
}

/// Overwrites of random keys with a reader beside.
#[derive(Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    pub duration: Duration,
    pub batch: usize,
    /// Time between two reads.
    pub read_every: Duration,
}

pub struct Overwritten {
    pub writes: u64,
    pub reads: Histogram<u64>,
}

/// The writes of a plan, batch by batch.
pub struct Writes {
    random: Random,
    batch: usize,
}

impl Writes {
    pub fn new(plan: &Plan) -> Writes {
        Writes { random: Random(plan.seed), batch: plan.batch }
    }

    /// Different places, and the version that each gets.
    pub fn next(&mut self, table: &Table) -> Vec<(usize, u32)> {
        let mut places = table.draw(&mut self.random, self.batch);
        places.sort_unstable();
        places.dedup();
        places.into_iter().map(|place| (place, table.version(place) + 1)).collect()
    }
}

pub fn acknowledge(table: &Table, batch: &[(usize, u32)]) {
    batch.iter().for_each(|(place, version)| table.acknowledge(*place, *version));
}

/// A read beside writes: which version it may find.
pub struct Beside {
    place: usize,
    at_least: u32,
}

impl Beside {
    pub fn begin(table: &Table, place: usize) -> Beside {
        Beside { place, at_least: table.version(place) }
    }

    /// The version acknowledged at the beginning, or any later one up to the write that is under way.
    pub fn judge(&self, table: &Table, value: Option<&[u8]>) {
        let value = value.unwrap_or_else(|| panic!("record {} is missing", self.place));
        let at_most = table.version(self.place) + 1;
        let known = (self.at_least..=at_most).any(|version| table.is(self.place, version, value));
        assert!(known, "a wrong value of record {}, or one that is out of date", self.place);
    }
}

/// What an engine with threads of its own can do from several threads.
pub trait Threads: Sync {
    fn put_batch(&self, table: &Table, batch: &[(usize, u32)]);
    fn get(&self, key: u64, found: &mut dyn FnMut(Option<&[u8]>));
}

/// A thread that writes and one that reads. A read counts from the moment at which it was due.
pub fn overwrite_with_threads(engine: &impl Threads, table: &Table, plan: Plan) -> Overwritten {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            clock::sleep_exactly();
            let (mut reads, mut random) = (histogram(), Random(plan.seed ^ 0x5eed));
            let mut due = Instant::now();
            while !over.load(Ordering::Relaxed) {
                due += plan.read_every;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let place = random.below(table.len() as u64) as usize;
                let beside = Beside::begin(table, place);
                engine.get(table.keys[place], &mut |value| beside.judge(table, value));
                reads.saturating_record(due.elapsed().as_nanos() as u64);
            }
            reads
        });
        let (mut writes, mut source, began) = (0, Writes::new(&plan), Instant::now());
        while began.elapsed() < plan.duration {
            let batch = source.next(table);
            engine.put_batch(table, &batch);
            acknowledge(table, &batch);
            writes += batch.len() as u64;
        }
        over.store(true, Ordering::Relaxed);
        Overwritten { writes, reads: reader.join().expect("the reader ended well") }
    })
}
