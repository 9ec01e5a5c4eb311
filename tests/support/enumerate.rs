//! Crash enumeration: one run of a workload, a crash at every I/O that changes the disk, and lives
//! after it.
//!
//! Each image is recovered in a machine of its own and judged. Some recoveries are cut short by another
//! crash, and a third. Some nodes live on: they write, crash or close in order, and are judged again.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use kyrodb::io::sim::{CrashPoint, CrashPolicy, Disk, Faults, Rng, SimConfig};
use kyrodb::shard::record::{Condition, Durability};
use kyrodb::types::{Seq, TabletId, WallMs};

use super::cluster::Cluster;
use super::judge::{Seen, check_conditions, check_fresh, judge, look};
use super::ledger::{Book, Ledger, Tick};
use super::restoring;
use super::workload::{self, Payloads, Shape};

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub workloads: u64,
    /// Images recovered and judged.
    pub points: u64,
    /// Of these, crashes in the middle of a recovery.
    pub in_recovery: u64,
    /// Of these, crashes and orderly stops in a later life.
    pub later: u64,
    /// Workloads on what was restored of a snapshot.
    pub restored: u64,
}

/// What went wrong, and where.
#[derive(Clone, Debug)]
pub struct Failure {
    pub seed: u64,
    /// Of [`CrashPoint::number`]; `None` in the run itself.
    pub point: Option<u64>,
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { seed, point, message } = self;
        write!(f, "seed {seed}")?;
        if let Some(point) = point {
            write!(f, ", crash point {point}")?;
        }
        writeln!(f, ": {message}")?;
        write!(f, "again: CRASH_SEED={seed} CRASH_WORKLOADS=1 ")?;
        if let Some(point) = point {
            write!(f, "CRASH_POINT={point} ")?;
        }
        write!(f, "cargo test --test sim_crash point_recovers -- --nocapture")
    }
}

/// The disk as a crash left it, and what was known then.
struct Snapshot {
    number: u64,
    tick: Tick,
    wall: WallMs,
    disk: Disk,
}

pub struct Enumeration {
    pub seed: u64,
    /// Only this point is examined.
    pub only: Option<u64>,
    /// One point in so many is examined.
    pub every: u64,
    /// Of the machine that runs the workload.
    pub faults: Faults,
}

impl Enumeration {
    pub fn of(seed: u64) -> Enumeration {
        Enumeration { seed, only: None, every: 1, faults: Faults::default() }
    }

    pub fn run(&self, tally: &mut Tally) -> Result<(), Failure> {
        let fail = |point| move |message| Failure { seed: self.seed, point, message };
        let mut rng = Rng::new(self.seed);
        let mut shape = Shape::draw(&mut rng);
        let payloads = Payloads::default();
        let (mut disk, ledger) = self.earlier_life(&shape, &payloads, &mut rng).map_err(fail(None))?;
        if rng.chance(150) {
            disk = restoring::restored(&mut shape, disk, rng.next_u64()).map_err(fail(None))?;
            tally.restored += 1;
        }
        let (snapshots, ledger) =
            self.enumerated_life(&shape, &payloads, (disk, ledger), &mut rng).map_err(fail(None))?;
        tally.workloads += 1;
        for snapshot in snapshots {
            let number = snapshot.number;
            let rng = Rng::new(self.seed ^ number << 32);
            let mut examiner = Examiner { shape: &shape, payloads: &payloads, rng, tally };
            let mut known = ledger.clone();
            known.wall_max = known.wall_max.max(snapshot.wall);
            examiner.examine(snapshot.disk, &known, snapshot.tick).map_err(fail(Some(number)))?;
        }
        Ok(())
    }

    /// Sometimes the node has lived before.
    pub(super) fn earlier_life(
        &self,
        shape: &Shape,
        payloads: &Payloads,
        rng: &mut Rng,
    ) -> Result<(Disk, Ledger), String> {
        let mut found = (Disk::default(), Ledger::default());
        for _ in 0..[0, 0, 1, 2][rng.index(4)] {
            let (disk, ledger) = found;
            let mut cluster = boot(shape, disk, rng.next_u64(), Faults::default());
            cluster.start_unless(|| false)?;
            let book = opened(ledger, &cluster);
            workload::run(&mut cluster, &book, shape, payloads, rng);
            let closed = rng.coin();
            if closed {
                cluster.close()?;
            }
            let disk = cluster.sim.crash(any_policy(rng));
            let mut known = book.read(Ledger::clone);
            known.wall_max = known.wall_max.max(cluster.sim.world().wall());
            let mut again = boot(shape, disk.clone(), rng.next_u64(), Faults::default());
            again.start_unless(|| false)?;
            let seen = look(&mut again, &known, rng)?;
            found = (disk, judge(&known, book.now(), &seen)?);
        }
        Ok(found)
    }

    /// Runs the workload and takes an image at every point.
    fn enumerated_life(
        &self,
        shape: &Shape,
        payloads: &Payloads,
        (disk, ledger): (Disk, Ledger),
        rng: &mut Rng,
    ) -> Result<(Vec<Snapshot>, Ledger), String> {
        let mut cluster = boot(shape, disk, rng.next_u64(), self.faults.clone());
        let book = Book::new(ledger);
        let snapshots = Rc::new(RefCell::new(Vec::new()));
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
                taken.borrow_mut().push(snapshot(point, ticks.now(), began, disk));
            }
        });
        cluster.start_unless(|| false)?;
        note_start(&book, &cluster);
        workload::run(&mut cluster, &book, shape, payloads, rng);
        cluster.sim.world().on_io(|_| ());
        let ledger = book.read(Ledger::clone);
        check_conditions(&ledger)?;
        Ok((snapshots.take(), ledger))
    }
}

fn snapshot(point: &CrashPoint<'_>, tick: Tick, began: WallMs, disk: Disk) -> Snapshot {
    let wall = WallMs(began.0 + point.now.0 / 1_000_000);
    Snapshot { number: point.number, tick, wall, disk }
}

pub(super) fn any_policy(rng: &mut Rng) -> CrashPolicy {
    match rng.below(8) {
        0 => CrashPolicy::KeepNothing,
        1 => CrashPolicy::KeepAll,
        _ => CrashPolicy::Random,
    }
}

pub(super) fn boot(shape: &Shape, disk: Disk, seed: u64, faults: Faults) -> Cluster {
    let slow_disk = Duration::from_millis(3);
    let faults = Faults { slow_disk_permille: shape.slow_permille, slow_disk, ..faults };
    let config = SimConfig { faults, ..SimConfig::cores(shape.cores) };
    Cluster::boot(seed, disk, config, &shape.options)
}

/// The book of a node that has just started.
fn opened(ledger: Ledger, cluster: &Cluster) -> Book {
    let book = Book::new(ledger);
    note_start(&book, cluster);
    book
}

fn note_start(book: &Book, cluster: &Cluster) {
    if book.read(|ledger| ledger.maps.is_empty()) {
        book.answer_map(0, cluster.nodes[0].catalogue());
    }
}

/// Recovers images of one workload and judges what is found.
struct Examiner<'a> {
    shape: &'a Shape,
    payloads: &'a Payloads,
    rng: Rng,
    tally: &'a mut Tally,
}

impl Examiner<'_> {
    fn examine(&mut self, disk: Disk, ledger: &Ledger, at: Tick) -> Result<(), String> {
        let mut disk = disk;
        self.tally.points += 1;
        for permille in [350, 250] {
            if !self.rng.chance(permille) {
                break;
            }
            disk = self.interrupted(disk)?;
            self.tally.points += 1;
            self.tally.in_recovery += 1;
        }
        let (cluster, _, next) = self.recovered(disk, |seen| judge(ledger, at, seen), ledger)?;
        if self.rng.chance(300) {
            self.live_on(cluster, next)?;
        }
        Ok(())
    }

    /// Cuts the power at some point of the recovery.
    fn interrupted(&mut self, disk: Disk) -> Result<Disk, String> {
        let mut cluster = boot(self.shape, disk, self.rng.next_u64(), Faults::default());
        let image = Rc::new(RefCell::new(None));
        let (taken, mut dice) = (image.clone(), Rng::new(self.rng.next_u64()));
        let mut left = self.rng.below(30 * self.shape.cores as u64);
        cluster.sim.world().on_io(move |point| {
            if point.changes_disk && taken.borrow().is_none() {
                if left == 0 {
                    *taken.borrow_mut() = Some(point.image(any_policy(&mut dice), &mut dice));
                }
                left = left.saturating_sub(1);
            }
        });
        cluster.start_unless(|| image.borrow().is_some())?;
        let image = image.take();
        Ok(image.unwrap_or_else(|| cluster.sim.crash(CrashPolicy::KeepNothing)))
    }

    fn recovered(
        &mut self,
        disk: Disk,
        judge: impl FnOnce(&Seen) -> Result<Ledger, String>,
        ledger: &Ledger,
    ) -> Result<(Cluster, Seen, Ledger), String> {
        let mut cluster = boot(self.shape, disk, self.rng.next_u64(), Faults::default());
        cluster.start_unless(|| false)?;
        let seen = look(&mut cluster, ledger, &mut self.rng)?;
        let next = judge(&seen)?;
        Ok((cluster, seen, next))
    }

    /// Writes on, stops in order or not, and starts again.
    fn live_on(&mut self, mut cluster: Cluster, ledger: Ledger) -> Result<(), String> {
        let book = Book::new(ledger);
        let durability = workload::any_durability(&mut self.rng);
        self.write_everywhere(&mut cluster, &book, durability)?;
        let closed = self.rng.coin();
        if closed {
            cluster.close()?;
        }
        let mut ledger = book.read(Ledger::clone);
        ledger.wall_max = ledger.wall_max.max(cluster.sim.world().wall());
        if closed {
            ledger.make_durable();
        }
        let at = book.now();
        let policy = if closed { CrashPolicy::KeepNothing } else { any_policy(&mut self.rng) };
        let disk = cluster.sim.crash(policy);
        drop(cluster);
        self.tally.points += 1;
        self.tally.later += 1;
        let (mut cluster, seen, next) = self.recovered(disk, |seen| judge(&ledger, at, seen), &ledger)?;
        let before = last_versions(&ledger, &seen);
        let book = Book::new(next);
        self.write_everywhere(&mut cluster, &book, Durability::Memory)?;
        let after = book.read(|ledger| first_versions(ledger, &seen));
        // Besides, only deletions of records whose time was over take versions, one a key at most.
        let over = ledger.expiring() as u64;
        let wrong = after.iter().find(|(tablet, first)| {
            let goes_on = |last: &Seq| (last.0 + 1..=last.0 + 1 + over).contains(&first.0);
            closed && !before.get(tablet).is_none_or(goes_on)
        });
        match wrong {
            Some((tablet, first)) => Err(format!(
                "tablet {tablet} jumped from {:?} to {first} over an orderly stop",
                before[tablet]
            )),
            None => Ok(()),
        }
    }

    /// One write to each tablet.
    fn write_everywhere(
        &mut self,
        cluster: &mut Cluster,
        book: &Book,
        durability: Durability,
    ) -> Result<(), String> {
        let map = cluster.nodes[0].catalogue();
        let core = self.rng.index(cluster.nodes.len());
        let mut hands = workload::hands(cluster, core, book, self.payloads, &mut self.rng);
        let all = map.clone();
        let done = cluster.try_run(core, async move {
            for collection in all.collections.values() {
                for tablet in &collection.tablets {
                    let mut write = hands.put_in(collection, tablet);
                    write.durability = durability;
                    write.condition = Condition::None;
                    let written = hands.book.write(&hands.node, collection, write).await;
                    written.map_err(|refusal| format!("a write behind a recovery was refused: {refusal}"))?;
                }
            }
            Ok::<(), String>(())
        });
        done.map_err(|stuck| format!("a write hangs: {stuck}"))??;
        book.read(|ledger| check_fresh(ledger, &map))
    }
}

/// The last version that each tablet gave out in this life.
fn last_versions(ledger: &Ledger, seen: &Seen) -> BTreeMap<TabletId, Seq> {
    versions(ledger, seen, Seq::max)
}

fn first_versions(ledger: &Ledger, seen: &Seen) -> BTreeMap<TabletId, Seq> {
    versions(ledger, seen, Seq::min)
}

fn versions(ledger: &Ledger, seen: &Seen, choose: fn(Seq, Seq) -> Seq) -> BTreeMap<TabletId, Seq> {
    let mut chosen = BTreeMap::new();
    for (tablet, seq) in ledger.given_out(&seen.map) {
        chosen.entry(tablet).and_modify(|known| *known = choose(*known, seq)).or_insert(seq);
    }
    chosen
}
