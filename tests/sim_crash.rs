//! Crash enumeration of the whole node: see `support::enumerate`.
//!
//! The seeds are dealt out to two tests, so that two cores share the work. `CRASH_POINTS` asks for so many points,
//! and `CRASH_WORKLOADS` for so many workloads; `CRASH_SEED` begins with another seed; with `CRASH_EVERY` one point in so
//! many is examined (`tools/nightly.sh` examines few points of many workloads).

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use kyrodb::io::sim::Faults;
use support::enumerate::{Enumeration, Tally};

const PARTS: u64 = 2;
const WORKLOADS_MIN: u64 = 50;
const POINTS_MIN: u64 = 50_000;
/// Crashes while a snapshot is restored.
const RESTORE_POINTS_MIN: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Every `PARTS`th workload, until its part of all points is examined.
fn enumerate(part: u64) {
    let workloads = number("CRASH_WORKLOADS").map(|all| (all + PARTS - 1 - part) / PARTS);
    let points = number("CRASH_POINTS").unwrap_or(POINTS_MIN) / PARTS;
    let (first, only) = (number("CRASH_SEED").unwrap_or(1), number("CRASH_POINT"));
    let every = number("CRASH_EVERY").unwrap_or(1);
    let (began, mut tally) = (Instant::now(), Tally::default());
    let goes_on = |tally: &Tally| match workloads {
        Some(workloads) => tally.workloads < workloads,
        None => tally.workloads < WORKLOADS_MIN / PARTS || tally.points < points,
    };
    let mut seed = first + part;
    while goes_on(&tally) {
        let enumeration = Enumeration { only, every, ..Enumeration::of(seed) };
        enumeration.run(&mut tally).unwrap_or_else(|failure| panic!("{failure}"));
        seed += PARTS;
    }
    tell(&tally, began);
}

fn tell(tally: &Tally, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    let Tally { workloads, points, in_recovery, later, restored } = tally;
    println!(
        "{points} crash points of {workloads} workloads ({restored} of them in a restored node), {in_recovery} of \
         them during a recovery or a restore and {later} in a later life, in {seconds:.1} s: {:.0} a second",
        *points as f64 / seconds
    );
}

#[test]
fn every_crash_point_recovers_to_what_was_acknowledged() {
    enumerate(0);
}

#[test]
fn every_crash_point_recovers_to_what_was_acknowledged_too() {
    enumerate(1);
}

/// A restore that was cut short is refused, not served, and leaves its source as it was; begun again it ends
/// with all that is in the snapshot.
#[test]
fn every_crash_point_of_a_restore_leaves_all_or_a_refusal() {
    let (began, mut tally) = (Instant::now(), Tally::default());
    let mut seed = number("CRASH_SEED").unwrap_or(1);
    while tally.points < RESTORE_POINTS_MIN {
        Enumeration::of(seed).run_restore(&mut tally).unwrap_or_else(|failure| panic!("{failure}"));
        seed += 1;
    }
    tell(&tally, began);
}

/// No system survives this disk: a suite that says nothing would say nothing of a missing sync either.
#[test]
fn a_disk_that_lies_about_its_syncs_is_caught() {
    let mut tally = Tally::default();
    let caught = (1..=100).find_map(|seed| {
        let faults = Faults { sync_lie_permille: 50, ..Faults::default() };
        let enumeration = Enumeration { faults, ..Enumeration::of(seed) };
        // What the liar leaves may also trip an assertion of the engine.
        match catch_unwind(AssertUnwindSafe(|| enumeration.run(&mut tally))) {
            Ok(outcome) => outcome.err().map(|failure| failure.to_string()),
            Err(_) => Some(format!("seed {seed}: an assertion failed")),
        }
    });
    let caught = caught.expect("the loss is caught within 100 seeds");
    println!("caught after {} workloads and {} crash points: {caught}", tally.workloads, tally.points);
}
