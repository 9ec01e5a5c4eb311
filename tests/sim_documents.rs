//! Crash enumeration of collections of documents: every acknowledged document is there, found and counted, and nothing
//! else; whatever became of the files of their indexes.
//!
//! The seeds are dealt out to two tests, so that two cores share the work. `CRASH_POINTS`, `CRASH_WORKLOADS`, `CRASH_SEED`,
//! `CRASH_POINT` and `CRASH_EVERY` as in `sim_crash`.

#[path = "sim_documents/crashes.rs"]
mod crashes;
#[path = "sim_documents/files.rs"]
mod files;
#[path = "sim_documents/searches.rs"]
mod searches;
mod support;
#[path = "sim_documents/upkeep.rs"]
mod upkeep;
#[path = "sim_documents/workload.rs"]
mod workload;

use std::time::Instant;

use crashes::{Enumeration, Tally};

const PARTS: u64 = 2;
const WORKLOADS_MIN: u64 = 30;
const POINTS_MIN: u64 = 20_000;

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
        Enumeration { seed, only, every }.run(&mut tally).unwrap_or_else(|failure| panic!("{failure}"));
        seed += PARTS;
    }
    let seconds = began.elapsed().as_secs_f64();
    let Tally { workloads, points, later, with_files, searches, .. } = tally;
    println!(
        "{points} crash points of {workloads} workloads, {later} of them in a later life, {with_files} with files of \
         indexes; {searches} searches beside writes; in {seconds:.1} s: {:.0} points a second",
        points as f64 / seconds
    );
}

#[test]
fn every_crash_point_is_found_as_it_was_acknowledged() {
    enumerate(0);
}

#[test]
fn every_crash_point_is_found_as_it_was_acknowledged_too() {
    enumerate(1);
}
