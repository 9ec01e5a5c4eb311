//! The manifest in the simulated world: a power cut at every operation, and again during the start
//! after it; failed writes; damaged slots.
//!
//! A state is its number, repeated. Wanted after any power cut: a state that was under way or committed
//! last, never an older one, never none once one was committed.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;

use super::format::{SUPERBLOCK_FILE, record_len};
use super::*;
use crate::io::runtime::Runtime;
use crate::io::sim::{CrashPolicy, Disk, Faults, Rng, Sim, SimConfig};
use crate::types::ShardId;

const SHARD: ShardId = ShardId(4);
const COMMITS: u64 = 7;

/// Large enough that the other manifest file's turn comes after every second commit.
fn state(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(5_000)
}

fn number(state: &[u8]) -> u64 {
    let (number, _) = state.split_first_chunk().expect("a number");
    assert!(state == self::state(u64::from_le_bytes(*number)), "a state of two commits");
    u64::from_le_bytes(*number)
}

/// What a process told and what it did.
#[derive(Clone, Default)]
struct Progress {
    committed: Rc<Cell<u64>>,
    begun: Rc<Cell<u64>>,
}

/// Opens or creates, then commits `COMMITS` more states.
async fn life(runtime: Runtime, progress: Progress) -> Result<u64, ManifestError> {
    let root = Path::new("/");
    let (mut manifest, found) = match Manifest::open(&runtime, root, SHARD).await? {
        Some((manifest, state)) => (manifest, number(&state)),
        None => {
            progress.begun.set(1);
            (Manifest::create(&runtime, root, SHARD, &state(1)).await?, 0)
        }
    };
    progress.committed.set(found.max(1));
    for next in found.max(1) + 1..=found.max(1) + COMMITS {
        progress.begun.set(progress.begun.get().max(next));
        manifest.commit(&state(next)).await?;
        progress.committed.set(next);
    }
    Ok(found)
}

fn read(disk: Disk) -> Result<u64, ManifestError> {
    let mut sim = Sim::with_disk(1, disk, SimConfig::default());
    let runtime = sim.runtime(0);
    let found = sim.run(async move { Manifest::read(&runtime, Path::new("/"), SHARD).await });
    found.expect("not stuck").map(|state| state.map_or(0, |state| number(&state)))
}

/// A disk after a power cut, and the states that it may hold.
struct Crash {
    disk: Disk,
    committed: u64,
    begun: u64,
}

/// Runs a life on `disk`, which holds one of the states `from`, and cuts the power at every operation.
fn crashes(seed: u64, disk: Disk, from: (u64, u64)) -> Vec<Crash> {
    let mut sim = Sim::with_disk(seed, disk, SimConfig::default());
    let (progress, crashes) = (Progress::default(), Rc::new(RefCell::new(Vec::new())));
    progress.committed.set(from.0);
    progress.begun.set(from.1);
    let (seen, images, mut rng) = (progress.clone(), crashes.clone(), Rng::new(seed));
    sim.world().on_io(move |point| {
        if point.changes_disk {
            let policies = [CrashPolicy::KeepNothing, CrashPolicy::KeepAll, CrashPolicy::Random];
            images.borrow_mut().extend(policies.map(|policy| Crash {
                disk: point.image(policy, &mut rng),
                committed: seen.committed.get(),
                begun: seen.begun.get(),
            }));
        }
    });
    let runtime = sim.runtime(0);
    sim.run(life(runtime, progress)).expect("not stuck").expect("no fault was planted");
    crashes.take()
}

fn check(crash: &Crash) {
    let found = read(crash.disk.clone()).unwrap_or_else(|error| panic!("refused: {error}"));
    let wanted = crash.committed..=crash.begun;
    assert!(wanted.contains(&found), "state {found} of {wanted:?}");
}

#[test]
fn no_power_cut_loses_a_committed_state_or_refuses() {
    let mut points = 0;
    for seed in 0..4 {
        for (index, first) in crashes(seed, Disk::default(), (0, 0)).iter().enumerate() {
            check(first);
            points += 1;
            if index % 7 == seed as usize {
                let again = crashes(seed, first.disk.clone(), (first.committed, first.begun));
                points += again.len();
                again.iter().step_by(3).for_each(check);
            }
        }
    }
    assert!(points > 5000, "only {points} power cuts");
}

fn whole_life(seed: u64, faults: Faults) -> (Sim, Progress, Result<u64, ManifestError>) {
    let mut sim = Sim::new(seed, SimConfig { faults, ..SimConfig::default() });
    let (runtime, progress) = (sim.runtime(0), Progress::default());
    let result = sim.run(life(runtime, progress.clone())).expect("not stuck");
    (sim, progress, result)
}

#[test]
fn one_damaged_slot_is_tolerated_and_two_are_refused() {
    let (sim, progress, _) = whole_life(1, Faults::default());
    let disk = sim.crash(CrashPolicy::KeepNothing);
    let damaged = |slots: &[u64]| {
        let mut disk = disk.clone();
        let path = Path::new("/").join(SUPERBLOCK_FILE);
        slots.iter().for_each(|slot| disk.flip_bit(&path, slot * 4096 + 100, 3));
        read(disk)
    };
    assert_eq!(damaged(&[0]).expect("tolerated"), progress.committed.get());
    assert_eq!(damaged(&[1]).expect("tolerated"), progress.committed.get());
    assert!(matches!(damaged(&[0, 1]), Err(ManifestError::Damage(_))));
}

/// Without a slot on stable storage, a damaged last record would pass for one that was never committed.
/// What lies elsewhere in the files, of an earlier use or none, counts for nothing.
#[test]
fn a_damaged_page_is_refused_or_of_no_account() {
    let (sim, progress, _) = whole_life(1, Faults::default());
    let disk = sim.crash(CrashPolicy::KeepNothing);
    let record_pages = record_len(state(1).len()) as u64 / 4096;
    let mut refused = 0;
    for (path, len) in disk.file_lens().iter().filter(|(path, _)| path.contains("manifest-")) {
        for page in 0..len / 4096 {
            let mut disk = disk.clone();
            disk.flip_bit(path, page * 4096 + 7, 0);
            match read(disk) {
                Err(ManifestError::Damage(_)) => refused += 1,
                found => assert_eq!(found.expect("no other error"), progress.committed.get()),
            }
        }
    }
    // Of the file in use, the records up to the last: one or two.
    assert!([1, 2].map(|records| records * record_pages).contains(&refused), "{refused} pages are refused");
}

/// What the first commits of a life set aside is enough for all others.
#[test]
fn commits_need_no_room() {
    let mut sim = Sim::new(5, SimConfig::default());
    let runtime = sim.runtime(0);
    let create = async move { Manifest::create(&runtime, Path::new("/"), SHARD, &state(1)).await };
    let mut manifest = sim.run(create).expect("not stuck").expect("created");
    sim.world().set_faults(Faults { capacity_bytes: Some(0), ..Faults::default() });
    let commits = async move {
        for next in 2..20 {
            manifest.commit(&state(next)).await.expect("there is room");
        }
    };
    sim.run(commits).expect("not stuck");
    assert_eq!(read(sim.crash(CrashPolicy::KeepNothing)).expect("a state"), 19);
}

/// A write or a sync fails at each site once: no commit is taken after it, and what was committed stays.
#[test]
fn a_failed_write_or_sync_poisons() {
    let failures = |fault: fn(u64) -> Faults| {
        let outcomes = (1..).map(|at| whole_life(at, fault(at)));
        let failed = outcomes.take_while(|(_, _, result)| result.is_err());
        failed.map(|(sim, progress, _)| (sim.crash(CrashPolicy::KeepNothing), progress)).collect::<Vec<_>>()
    };
    let writes = failures(|at| Faults { write_error_at: Some(at), ..Faults::default() });
    let syncs = failures(|at| Faults { sync_error_at: Some(at), ..Faults::default() });
    assert!(writes.len() > 10 && syncs.len() > 10, "{} and {}", writes.len(), syncs.len());
    for (disk, Progress { committed, begun }) in writes.into_iter().chain(syncs) {
        check(&Crash { disk, committed: committed.get(), begun: begun.get() });
    }
}

#[test]
fn after_a_failure_nothing_is_committed_any_more() {
    let mut sim = Sim::new(3, SimConfig::default());
    let runtime = sim.runtime(0);
    let create = async move { Manifest::create(&runtime, Path::new("/"), SHARD, &state(1)).await };
    let mut manifest = sim.run(create).expect("not stuck").expect("created");
    sim.world().set_faults(Faults { write_error_permille: 1000, ..Faults::default() });
    let (mut manifest, failed) = sim
        .run(async move {
            let result = manifest.commit(&state(2)).await;
            (manifest, result)
        })
        .expect("not stuck");
    assert!(matches!(failed, Err(ManifestError::Io(_))));
    sim.world().set_faults(Faults::default());
    let refused = sim.run(async move { manifest.commit(&state(3)).await }).expect("not stuck");
    assert!(matches!(refused, Err(ManifestError::Poisoned)));
}
