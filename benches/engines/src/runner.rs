//! Which engine does what, and when.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::args::{Part, RunArgs};
use crate::keysets::{Shape, write_sosd};
use crate::peer::{Peer, Setting, disk_bytes};
use crate::report::{Better, Report};
use crate::task::{Outcome, Task, histogram};

const KEY_SEED: u64 = 7;
const BATCH_READS: usize = 32;
const RANGE_RECORDS: usize = 100;
/// Ranges read each record so many times, on average, before they are measured.
const WARM_UP_READS: usize = 5;
const WARM_UP_SEED: u64 = 77;
/// Reads that are not counted: what of the indexes is wanted comes into memory.
const UNCOUNTED_READS: usize = 2_000;
const SPACE_EVERY: Duration = Duration::from_millis(500);

pub fn run(args: &RunArgs) {
    fs::create_dir_all(&args.dir).expect("a directory");
    let mut report = Report::default();
    report.notes.insert("command".to_owned(), std::env::args().collect::<Vec<_>>().join(" "));
    if args.cgroup.is_none() {
        report.notes.insert("memory".to_owned(), "not limited: no --cgroup was given".to_owned());
    }
    if args.parts.contains(&Part::Warm) {
        let setting =
            Setting::new(args, keys(args, args.warm_records), args.warm_records, args.warm_limit_mib);
        let mut peers = loaded(args, "warm", &setting, &mut report);
        warm(args, &mut peers, &mut report);
        leave(peers, "warm", &mut report);
    }
    if args.parts.iter().any(|part| *part != Part::Warm) {
        let setting = Setting::new(args, keys(args, args.records), args.records, args.limit_mib);
        let mut peers = loaded(args, "large", &setting, &mut report);
        if args.parts.contains(&Part::Cold) {
            cold(args, &mut peers, &mut report);
        }
        if args.parts.contains(&Part::Overwrite) {
            overwrite(args, &setting, &mut peers, &mut report);
        }
        leave(peers, "large", &mut report);
    }
    report.print(&args.engines);
    if let Some(path) = &args.json {
        let file = BufWriter::new(File::create(path).expect("a file for the report"));
        serde_json::to_writer_pretty(file, &report).expect("the report is written");
    }
}

/// The key file, made when none is given.
fn keys(args: &RunArgs, records: usize) -> PathBuf {
    args.keys.clone().unwrap_or_else(|| {
        let path = args.dir.join(format!("uniform.{records}"));
        if !path.exists() {
            let mut file = BufWriter::new(File::create(&path).expect("a key file"));
            write_sosd(&Shape::Uniform.keys(records, KEY_SEED), &mut file).expect("a key file");
        }
        path
    })
}

/// All engines with all records, one after the other.
fn loaded(args: &RunArgs, part: &str, setting: &Setting, report: &mut Report) -> Vec<Peer> {
    let mut peers = Vec::new();
    for engine in &args.engines {
        let dir = args.dir.join(part).join(engine.name());
        assert!(!dir.exists(), "{} exists: a run begins with an empty directory", dir.display());
        let mut peer = Peer::new(*engine, dir, setting);
        peer.start();
        let loaded = peer.ask(&Task::Load { batch: 1000 });
        let settled = peer.ask(&Task::Settle);
        eprintln!("{part}: {} loaded in {:.1} s", engine.name(), loaded.wall_ns as f64 / 1e9);
        let seconds = (loaded.wall_ns + settled.wall_ns) as f64 / 1e9;
        report.add(
            &format!("{part}: load in key order"),
            "k/s",
            Better::More,
            *engine,
            kilo(&loaded, seconds),
        );
        let space = peer.disk_bytes() as f64 / setting.live_bytes() as f64;
        report.add(&format!("{part}: disk after load"), "x live", Better::Less, *engine, space);
        peers.push(peer);
    }
    peers
}

fn kilo(outcome: &Outcome, seconds: f64) -> f64 {
    outcome.count as f64 / seconds / 1e3
}

fn leave(peers: Vec<Peer>, part: &str, report: &mut Report) {
    for mut peer in peers {
        peer.quit();
        if let Some(peak) = peer.memory_peak_bytes() {
            let mib = (peak >> 20) as f64;
            report.add(&format!("{part}: peak of the group"), "MiB", Better::Less, peer.engine, mib);
        }
        fs::remove_dir_all(&peer.dir).expect("the data of the part");
    }
}

fn warm(args: &RunArgs, peers: &mut [Peer], report: &mut Report) {
    for peer in peers.iter_mut() {
        for _ in 0..2 {
            peer.ask(&Task::ReadAll);
        }
        // An engine that keeps values of point reads, not their blocks, is warm for ranges when ranges were read.
        let ranges = WARM_UP_READS * args.warm_records / RANGE_RECORDS;
        peer.ask(&Task::Ranges { seed: WARM_UP_SEED, count: ranges, len: RANGE_RECORDS, timed: false });
    }
    let points = |seed, batch| Task::Points { seed, count: args.warm_reads, batch, timed: false };
    for seed in 0..args.rounds {
        let ranges =
            Task::Ranges { seed, count: args.warm_reads / RANGE_RECORDS, len: RANGE_RECORDS, timed: false };
        let tasks = [
            ("warm point", points(seed, 1)),
            ("warm point in batch of 32", points(seed, BATCH_READS)),
            ("warm range of 100", ranges),
        ];
        for (what, task) in tasks {
            for peer in peers.iter_mut() {
                let done = peer.ask(&task);
                let each = |ns: u64| ns as f64 / done.count as f64;
                report.add(&format!("{what}: CPU"), "ns", Better::Less, peer.engine, each(done.cpu_ns));
                report.add(&format!("{what}: wall"), "ns", Better::Less, peer.engine, each(done.wall_ns));
            }
        }
    }
    note_numbers(peers, "warm", report);
}

/// Rounds of every kind of cold read; each begins with a new process and without caches.
fn cold(args: &RunArgs, peers: &mut [Peer], report: &mut Report) {
    for seed in 0..args.rounds {
        let points = |batch| Task::Points { seed: seed + 100, count: args.cold_reads, batch, timed: true };
        let count = args.cold_reads / 10;
        let tasks = [
            ("cold point", points(1)),
            ("cold batch of 32", points(BATCH_READS)),
            ("cold range of 100", Task::Ranges { seed: seed + 200, count, len: RANGE_RECORDS, timed: true }),
        ];
        for (what, task) in tasks {
            for peer in peers.iter_mut() {
                peer.restart_cold();
                let uncounted = Task::Points { seed, count: UNCOUNTED_READS, batch: 1, timed: false };
                let before = peer.ask(&uncounted).disk_read_bytes;
                let done = peer.ask(&task);
                let latency = summed([&done]);
                let us = |ns: f64| ns / 1e3;
                let mut add = |figure: &str, value| {
                    report.add(&format!("{what}: {figure}"), "us", Better::Less, peer.engine, value);
                };
                add("mean", us(latency.mean()));
                add("p50", us(latency.value_at_quantile(0.5) as f64));
                add("p99", us(latency.value_at_quantile(0.99) as f64));
                add("CPU", us(done.cpu_ns as f64 / latency.len() as f64));
                let read = (done.disk_read_bytes - before) as f64 / 1024.0 / done.count as f64;
                report.add(&format!("{what}: read, each"), "KiB", Better::Less, peer.engine, read);
            }
        }
    }
    note_numbers(peers, "cold", report);
}

fn summed<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> Histogram<u64> {
    let mut sum = histogram();
    outcomes
        .into_iter()
        .filter_map(|done| done.latency.as_ref())
        .for_each(|latency| latency.add_to(&mut sum));
    sum
}

fn overwrite(args: &RunArgs, setting: &Setting, peers: &mut [Peer], report: &mut Report) {
    let turns = (args.seconds / args.turn_seconds).ceil().max(1.0) as u64;
    let mut done: Vec<Vec<(Outcome, Vec<u64>)>> = peers.iter().map(|_| Vec::new()).collect();
    for peer in peers.iter_mut() {
        peer.restart_cold();
        peer.ask(&Task::Points { seed: 1, count: UNCOUNTED_READS, batch: 1, timed: false });
    }
    let before: Vec<Outcome> = peers.iter_mut().map(nothing).collect();
    for turn in 0..turns {
        for (peer, done) in peers.iter_mut().zip(&mut done) {
            let task = Task::Overwrite {
                seed: 1000 + turn,
                seconds: args.seconds / turns as f64,
                batch: args.batch,
                reads_per_s: args.reads_per_s,
            };
            let outcome = with_space(peer, &task);
            eprintln!("overwrite: {} turn {turn}: {} writes", peer.engine.name(), outcome.0.count);
            done.push(outcome);
        }
    }
    for ((peer, done), before) in peers.iter_mut().zip(&done).zip(&before) {
        describe(peer, done, before, setting, report);
        // What was acknowledged is there, exactly.
        peer.ask(&Task::Points { seed: 3, count: args.cold_reads, batch: 1, timed: false });
    }
    note_numbers(peers, "overwrite", report);
}

fn nothing(peer: &mut Peer) -> Outcome {
    peer.ask(&Task::Points { seed: 2, count: 1, batch: 1, timed: false })
}

/// Carries a task out and looks at the directory meanwhile, and at its end.
fn with_space(peer: &mut Peer, task: &Task) -> (Outcome, Vec<u64>) {
    let over = AtomicBool::new(false);
    let dir = peer.dir.clone();
    std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut samples = Vec::new();
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(SPACE_EVERY);
                samples.push(disk_bytes(&dir));
            }
            samples
        });
        let outcome = peer.ask(task);
        over.store(true, Ordering::Relaxed);
        (outcome, sampler.join().expect("the sampler ended well"))
    })
}

fn describe(
    peer: &Peer,
    done: &[(Outcome, Vec<u64>)],
    before: &Outcome,
    setting: &Setting,
    report: &mut Report,
) {
    let outcomes = || done.iter().map(|(outcome, _)| outcome);
    let sum = |of: fn(&Outcome) -> u64| outcomes().map(of).sum::<u64>() as f64;
    let (writes, wall) = (sum(|done| done.count), sum(|done| done.wall_ns) / 1e9);
    let mut add = |what: &str, unit, better, value| {
        report.add(&format!("overwrite: {what}"), unit, better, peer.engine, value);
    };
    add("writes", "k/s", Better::More, writes / wall / 1e3);
    add("CPU of a write, all threads", "us", Better::Less, sum(|done| done.process_cpu_ns) / 1e3 / writes);
    let reads = summed(outcomes());
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
        let us = reads.value_at_quantile(quantile) as f64 / 1e3;
        add(&format!("read beside, {name}"), "us", Better::Less, us);
    }
    add("reads beside", "k", Better::More, reads.len() as f64 / 1e3);
    let last = outcomes().last().expect("a turn");
    let record = setting.live_bytes() as f64 / setting.records as f64;
    let written = (last.disk_written_bytes - before.disk_written_bytes) as f64;
    add("write amplification", "x", Better::Less, written / (writes * record));
    let live = setting.live_bytes() as f64;
    let samples: Vec<f64> = done.iter().flat_map(|(_, samples)| samples).map(|n| *n as f64 / live).collect();
    add("space, most", "x live", Better::Less, samples.iter().copied().fold(0.0, f64::max));
    add("space, mean", "x live", Better::Less, samples.iter().sum::<f64>() / samples.len() as f64);
    add("space, end", "x live", Better::Less, samples.last().copied().unwrap_or_default());
    add("RSS, most", "MiB", Better::Less, last.rss_peak_bytes as f64 / f64::from(1 << 20));
}

fn note_numbers(peers: &mut [Peer], part: &str, report: &mut Report) {
    for peer in peers {
        let numbers: Vec<_> =
            nothing(peer).engine.iter().map(|(name, value)| format!("{name} {value}")).collect();
        if !numbers.is_empty() {
            report.notes.insert(format!("{part}, {}", peer.engine.name()), numbers.join(", "));
        }
    }
}
