//! A workload on documents, a crash at I/Os that change the disk, and what is found after each.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use kyrodb::io::sim::{CrashPolicy, Disk, Faults, Rng, SimConfig};
use kyrodb::types::WallMs;

use super::searches::{Asked, Early, check_found};
use super::workload::{self, Shape};
use crate::support::cluster::Cluster;
use crate::support::judge::{check_conditions, judge, look};
use crate::support::ledger::{Book, Ledger, Tick};

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub workloads: u64,
    /// Images recovered and judged.
    pub points: u64,
    /// Of these, crashes in a later life.
    pub later: u64,
    /// Searches and counts beside writes.
    pub searches: u64,
    /// Images with a file of an index.
    pub with_files: u64,
}

/// What went wrong, and where.
#[derive(Clone, Debug)]
pub struct Failure {
    pub seed: u64,
    pub point: Option<u64>,
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { seed, point, message } = self;
        let at = point.map_or(String::new(), |point| format!(", crash point {point}"));
        writeln!(f, "seed {seed}{at}: {message}")?;
        let only = point.map_or(String::new(), |point| format!("CRASH_POINT={point} "));
        write!(f, "again: CRASH_SEED={seed} CRASH_WORKLOADS=1 {only}cargo test --test sim_documents point_is")
    }
}

struct Snapshot {
    number: u64,
    tick: Tick,
    wall: WallMs,
    disk: Disk,
}

fn any_policy(rng: &mut Rng) -> CrashPolicy {
    match rng.below(8) {
        0 => CrashPolicy::KeepNothing,
        1 => CrashPolicy::KeepAll,
        _ => CrashPolicy::Random,
    }
}

fn boot(shape: &Shape, disk: Disk, seed: u64) -> Cluster {
    let faults = Faults { slow_disk_permille: 50, slow_disk: Duration::from_millis(3), ..Faults::default() };
    let config = SimConfig { faults, ..SimConfig::cores(shape.cores) };
    Cluster::boot(seed, disk, config, &shape.options)
}

fn begin(cluster: &Cluster, ledger: Ledger) -> Book {
    let book = Book::new(ledger);
    if book.read(|ledger| ledger.maps.is_empty()) {
        book.answer_map(0, cluster.nodes[0].catalogue());
    }
    book
}

fn has_index_file(disk: &Disk) -> bool {
    disk.file_lens().iter().any(|(path, _)| path.ends_with(".index"))
}

pub struct Enumeration {
    pub seed: u64,
    /// Only this point is examined.
    pub only: Option<u64>,
    /// One point in so many is examined.
    pub every: u64,
}

impl Enumeration {
    pub fn run(&self, tally: &mut Tally) -> Result<(), Failure> {
        let fail = |point| move |message| Failure { seed: self.seed, point, message };
        let mut rng = Rng::new(self.seed);
        let shape = Shape::draw(&mut rng);
        let begun = self.earlier_lives(&shape, &mut rng, tally).map_err(fail(None))?;
        let (snapshots, ledger) = self.enumerated_life(&shape, begun, &mut rng, tally).map_err(fail(None))?;
        tally.workloads += 1;
        for Snapshot { number, tick, wall, disk } in snapshots {
            let mut known = ledger.clone();
            known.wall_max = known.wall_max.max(wall);
            let rng = Rng::new(self.seed ^ number << 32);
            let mut examiner = Examiner { shape: &shape, rng, tally };
            examiner.examine(disk, &known, tick).map_err(fail(Some(number)))?;
        }
        Ok(())
    }

    /// The collection is made, and written to once or twice.
    fn earlier_lives(
        &self,
        shape: &Shape,
        rng: &mut Rng,
        tally: &mut Tally,
    ) -> Result<(Disk, Ledger), String> {
        let (mut disk, mut ledger) = (Disk::default(), Ledger::default());
        for _ in 0..1 + rng.index(2) {
            let mut cluster = boot(shape, disk, rng.next_u64());
            cluster.start_unless(|| false)?;
            let book = begin(&cluster, ledger);
            if book.read(|ledger| ledger.base.is_empty()) {
                workload::create(&mut cluster, &book, shape, rng);
            }
            let asked = workload::run(&mut cluster, &book, shape, rng);
            check_asked(&asked, &book, tally)?;
            let closed = rng.coin();
            if closed {
                cluster.close()?;
            }
            let mut known = book.read(Ledger::clone);
            known.wall_max = known.wall_max.max(cluster.sim.world().wall());
            if closed {
                known.make_durable();
            }
            disk = cluster.sim.crash(if closed { CrashPolicy::KeepNothing } else { any_policy(rng) });
            drop(cluster);
            let mut again = boot(shape, disk.clone(), rng.next_u64());
            again.start_unless(|| false)?;
            let seen = look(&mut again, &known, rng)?;
            ledger = judge(&known, book.now(), &seen)?;
        }
        Ok((disk, ledger))
    }

    /// Runs the workload and takes an image at every point.
    fn enumerated_life(
        &self,
        shape: &Shape,
        (disk, ledger): (Disk, Ledger),
        rng: &mut Rng,
        tally: &mut Tally,
    ) -> Result<(Vec<Snapshot>, Ledger), String> {
        let mut cluster = boot(shape, disk, rng.next_u64());
        let book = Book::new(ledger);
        let snapshots: Rc<RefCell<Vec<Snapshot>>> = Rc::default();
        let (taken, ticks, only) = (snapshots.clone(), book.clone(), self.only);
        let (dice, began) = (rng.next_u64(), cluster.sim.world().wall());
        let (every, phase) = (self.every.max(1), self.seed);
        cluster.sim.world().on_io(move |point| {
            let chosen = match only {
                Some(only) => only == point.number,
                None => (point.number + phase).is_multiple_of(every),
            };
            if point.changes_disk && chosen {
                // Dice of its own, so that a point is the same whichever others are examined.
                let mut dice = Rng::new(dice ^ point.number << 32);
                let disk = point.image(any_policy(&mut dice), &mut dice);
                let wall = WallMs(began.0 + point.now.0 / 1_000_000);
                let snapshot = Snapshot { number: point.number, tick: ticks.now(), wall, disk };
                taken.borrow_mut().push(snapshot);
            }
        });
        cluster.start_unless(|| false)?;
        let asked = workload::run(&mut cluster, &book, shape, rng);
        cluster.sim.world().on_io(|_| ());
        check_asked(&asked, &book, tally)?;
        let ledger = book.read(Ledger::clone);
        check_conditions(&ledger)?;
        Ok((snapshots.take(), ledger))
    }
}

fn check_asked(asked: &[Asked], book: &Book, tally: &mut Tally) -> Result<(), String> {
    tally.searches += asked.len() as u64;
    book.read(|ledger| asked.iter().try_for_each(|asked| asked.check(ledger)))
}

/// Recovers images of one workload and judges what is found.
struct Examiner<'a> {
    shape: &'a Shape,
    rng: Rng,
    tally: &'a mut Tally,
}

impl Examiner<'_> {
    fn examine(&mut self, disk: Disk, ledger: &Ledger, at: Tick) -> Result<(), String> {
        let (cluster, next) = self.recovered(disk, ledger, at)?;
        if self.rng.chance(70) {
            self.live_on(cluster, next)?;
        }
        Ok(())
    }

    fn recovered(&mut self, disk: Disk, ledger: &Ledger, at: Tick) -> Result<(Cluster, Ledger), String> {
        self.tally.points += 1;
        self.tally.with_files += u64::from(has_index_file(&disk));
        let mut cluster = boot(self.shape, disk, self.rng.next_u64());
        cluster.start_unless(|| false)?;
        let early = Early::ask(&mut cluster, &mut self.rng)?;
        let seen = look(&mut cluster, ledger, &mut self.rng)?;
        let next = judge(ledger, at, &seen)?;
        check_found(&mut cluster, self.shape, (ledger, &seen), Some(early), &mut self.rng)?;
        Ok((cluster, next))
    }

    /// Writes and searches on, and crashes or stops again.
    fn live_on(&mut self, mut cluster: Cluster, ledger: Ledger) -> Result<(), String> {
        let book = Book::new(ledger);
        let asked = workload::run_some(&mut cluster, &book, self.shape, (2, 8), &mut self.rng);
        check_asked(&asked, &book, self.tally)?;
        let closed = self.rng.coin();
        if closed {
            cluster.close()?;
        }
        let mut ledger = book.read(Ledger::clone);
        ledger.wall_max = ledger.wall_max.max(cluster.sim.world().wall());
        if closed {
            ledger.make_durable();
        }
        let policy = if closed { CrashPolicy::KeepNothing } else { any_policy(&mut self.rng) };
        let disk = cluster.sim.crash(policy);
        drop(cluster);
        self.tally.later += 1;
        let (mut cluster, next) = self.recovered(disk, &ledger, book.now())?;
        // What is merged and written meanwhile changes nothing.
        let quiet = self.shape.options.index.quiet * 8;
        let runtime = cluster.nodes[0].runtime().clone();
        cluster.run(0, async move { runtime.sleep(quiet).await });
        let seen = look(&mut cluster, &next, &mut self.rng)?;
        check_found(&mut cluster, self.shape, (&next, &seen), None, &mut self.rng)
    }
}
