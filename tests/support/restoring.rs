//! Restores of snapshots in the simulator, and crashes in the middle of one.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use kyrodb::io::sim::{CrashPolicy, Disk, Faults, Rng};
use kyrodb::shard::restore::{UNFINISHED_FILE, restore};
use kyrodb::shard::snapshot::SNAPSHOTS_DIR;

use super::cluster::Cluster;
use super::enumerate::{Enumeration, Failure, Tally, any_policy, boot};
use super::judge::{judge, look};
use super::ledger::{Ledger, MapChange};
use super::workload::{Payloads, Shape};

const RESTORED: &str = "/restored";
/// What a start says there. The path alone says "restore" in any refusal.
const HALF_RESTORED: &str = "a restore into this directory was cut short";

/// Takes a snapshot of what is on the disk and restores it; the node of `shape` lives there from now on.
pub fn restored(shape: &mut Shape, disk: Disk, seed: u64) -> Result<Disk, String> {
    let (mut cluster, from) = with_snapshot(shape, disk, seed)?;
    copy(&mut cluster, &from)?;
    // What a restore has done is durable.
    let disk = cluster.sim.crash(CrashPolicy::KeepNothing);
    shape.options.data_dir = RESTORED.into();
    Ok(disk)
}

fn with_snapshot(shape: &Shape, disk: Disk, seed: u64) -> Result<(Cluster, PathBuf), String> {
    let mut cluster = boot(shape, disk, seed, Faults::default());
    cluster.start_unless(|| false)?;
    let node = cluster.nodes[0].clone();
    let taken = cluster.run(0, async move { node.snapshot().await });
    let id = taken.map_err(|refusal| format!("no snapshot: {refusal}"))?.id;
    Ok((cluster, shape.options.data_dir.join(SNAPSHOTS_DIR).join(id)))
}

fn copy(cluster: &mut Cluster, from: &Path) -> Result<(), String> {
    let (runtime, from) = (cluster.sim.runtime(0), from.to_owned());
    let copied = cluster.run(0, async move { restore(&runtime, &from, Path::new(RESTORED)).await });
    copied.map(|_| ()).map_err(|error| format!("a restore failed: {error}"))
}

impl Enumeration {
    /// Cuts the power at every point of a restore, and goes on from there.
    pub fn run_restore(&self, tally: &mut Tally) -> Result<(), Failure> {
        self.try_restore(tally).map_err(|message| Failure { seed: self.seed, point: None, message })
    }

    fn try_restore(&self, tally: &mut Tally) -> Result<(), String> {
        let mut rng = Rng::new(self.seed);
        let shape = Shape::draw(&mut rng);
        let (disk, mut ledger) = self.earlier_life(&shape, &Payloads::default(), &mut rng)?;
        let (mut cluster, from) = with_snapshot(&shape, disk, rng.next_u64())?;
        if ledger.maps.is_empty() {
            let map = cluster.nodes[0].catalogue();
            ledger.maps.push(MapChange { called: 0, answered: 0, map });
        }
        let images = Rc::new(RefCell::new(Vec::new()));
        let (taken, mut dice) = (images.clone(), Rng::new(rng.next_u64()));
        cluster.sim.world().on_io(move |point| {
            if point.changes_disk {
                taken.borrow_mut().push(point.image(any_policy(&mut dice), &mut dice));
            }
        });
        copy(&mut cluster, &from)?;
        cluster.sim.world().on_io(|_| ());
        tally.workloads += 1;
        for image in images.take() {
            tally.points += 1;
            tally.in_recovery += 1;
            examine(&shape, &ledger, image, &from, &mut rng)?;
        }
        Ok(())
    }
}

fn examine(shape: &Shape, ledger: &Ledger, image: Disk, from: &Path, rng: &mut Rng) -> Result<(), String> {
    let mut there = shape.clone();
    there.options.data_dir = RESTORED.into();
    // Nothing was begun, or all is there, or nobody serves it.
    let mut is_whole = false;
    let mut cut_short = boot(&there, image.clone(), rng.next_u64(), Faults::default());
    let started = cut_short.start_unless(|| false);
    match (has_begun(&image), started) {
        (Begun::Unfinished, Err(refused)) if refused.contains(HALF_RESTORED) => {}
        (Begun::Unfinished, started) => return Err(format!("half of a restore: {started:?}")),
        (Begun::Whole, started) => {
            started?;
            check(&mut cut_short, ledger, rng)?;
            is_whole = true;
        }
        // A new node, for which somebody else makes the directory.
        (Begun::Nothing, _) => {}
    }
    if rng.chance(200) {
        let mut source = boot(shape, image.clone(), rng.next_u64(), Faults::default());
        source.start_unless(|| false)?;
        check(&mut source, ledger, rng)?;
    }
    let mut again = boot(shape, image, rng.next_u64(), Faults::default());
    again.start_unless(|| false)?;
    match (copy(&mut again, from), is_whole) {
        (copied, false) => copied?,
        (Ok(()), true) => return Err("a restore replaced what another had ended".to_owned()),
        (Err(_), true) => return Ok(()),
    }
    let disk = again.sim.crash(CrashPolicy::KeepNothing);
    let mut whole = boot(&there, disk, rng.next_u64(), Faults::default());
    whole.start_unless(|| false)?;
    check(&mut whole, ledger, rng)
}

/// How far a restore came.
enum Begun {
    Nothing,
    Unfinished,
    /// Of shards, with nothing that says that it has not ended.
    Whole,
}

fn has_begun(image: &Disk) -> Begun {
    let files = image.file_lens();
    let mut restored =
        files.iter().map(|(path, _)| path).filter(|path| Path::new(path).starts_with(RESTORED));
    if restored.clone().any(|path| path.ends_with(UNFINISHED_FILE)) {
        return Begun::Unfinished;
    }
    if restored.any(|path| path.contains("/shard-")) { Begun::Whole } else { Begun::Nothing }
}

fn check(cluster: &mut Cluster, ledger: &Ledger, rng: &mut Rng) -> Result<(), String> {
    let mut known = ledger.clone();
    known.wall_max = known.wall_max.max(cluster.sim.world().wall());
    let seen = look(cluster, &known, rng)?;
    judge(&known, u64::MAX, &seen).map(|_| ())
}
