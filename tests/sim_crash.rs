//! Crash enumeration of the whole node: see `support::enumerate`.
//!
//! `CRASH_WORKLOADS` and `CRASH_SEED` run more workloads or others.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use kyrodb::io::sim::Faults;
use support::enumerate::{Enumeration, Tally};

const WORKLOADS_MIN: u64 = 50;
const POINTS_MIN: u64 = 20_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn every_crash_point_recovers_to_what_was_acknowledged() {
    let (workloads, first) = (number("CRASH_WORKLOADS"), number("CRASH_SEED").unwrap_or(1));
    let only = number("CRASH_POINT");
    let (began, mut tally) = (Instant::now(), Tally::default());
    let goes_on = |tally: &Tally| match workloads {
        Some(workloads) => tally.workloads < workloads,
        None => tally.workloads < WORKLOADS_MIN || tally.points < POINTS_MIN,
    };
    let mut seed = first;
    while goes_on(&tally) {
        let enumeration = Enumeration { only, ..Enumeration::of(seed) };
        enumeration.run(&mut tally).unwrap_or_else(|failure| panic!("{failure}"));
        seed += 1;
    }
    let seconds = began.elapsed().as_secs_f64();
    let Tally { workloads, points, in_recovery, later } = tally;
    println!(
        "{points} crash points of {workloads} workloads, {in_recovery} of them during a recovery and {later} \
         in a later life, in {seconds:.1} s: {:.0} a second",
        points as f64 / seconds
    );
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
