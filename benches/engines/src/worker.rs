//! The process of one engine: opens it, then does one task after the other.

use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::args::{EngineName, WorkerArgs};
use crate::clock;
use crate::engine::{Check, Engine, Plan};
use crate::keysets::Random;
use crate::kyro::Kyro;
use crate::lmdb::Lmdb;
#[cfg(feature = "rocksdb")]
use crate::rocks::Rocks;
use crate::table::Table;
use crate::task::{Latency, Outcome, Task};

const ORDER_SEED: u64 = 99;

pub fn run(args: &WorkerArgs) {
    if let Some(group) = &args.cgroup {
        let joined = std::fs::write(group.join("cgroup.procs"), std::process::id().to_string());
        joined.expect("this process joins its control group");
    }
    let table = Table::open(&args.keys, args.records, args.value_bytes).expect("a readable key file");
    let table = Arc::new(table);
    let mut engine = open(args, &table);
    for line in io::stdin().lock().lines() {
        let task = serde_json::from_str(&line.expect("a task")).expect("a task");
        if let Task::Quit = task {
            break;
        }
        let outcome = measure(&mut *engine, &table, &task);
        println!("{}", serde_json::to_string(&outcome).expect("an outcome is JSON"));
        io::stdout().flush().expect("somebody listens");
    }
    engine.close();
}

fn open(args: &WorkerArgs, table: &Arc<Table>) -> Box<dyn Engine> {
    let (dir, memory, table) = (&args.dir, args.memory_mib << 20, table.clone());
    std::fs::create_dir_all(dir).expect("a directory of its own");
    match args.engine {
        EngineName::Kyrodb => Box::new(Kyro::open(dir, table, memory)),
        #[cfg(feature = "rocksdb")]
        EngineName::Rocksdb => Box::new(Rocks::open(dir, table, memory, false)),
        #[cfg(feature = "rocksdb")]
        EngineName::RocksdbDirect => Box::new(Rocks::open(dir, table, memory, true)),
        EngineName::Lmdb => Box::new(Lmdb::open(dir, table)),
    }
}

fn measure(engine: &mut dyn Engine, table: &Arc<Table>, task: &Task) -> Outcome {
    let mut outcome = carry_out(engine, table, task);
    outcome.rss_peak_bytes = clock::of_self("status", "VmHWM") * 1024;
    outcome.disk_written_bytes = clock::of_self("io", "write_bytes");
    outcome.disk_read_bytes = clock::of_self("io", "read_bytes");
    outcome.engine = engine.numbers();
    outcome
}

/// Times `work`, which gives how many things it did, and how long each took if that was asked for.
fn timed(work: impl FnOnce() -> (u64, Option<Latency>)) -> Outcome {
    let (cpu, process_cpu, began) = (clock::thread_cpu_ns(), clock::process_cpu_ns(), Instant::now());
    let (count, latency) = work();
    Outcome {
        count,
        cpu_ns: clock::thread_cpu_ns() - cpu,
        process_cpu_ns: clock::process_cpu_ns() - process_cpu,
        wall_ns: began.elapsed().as_nanos() as u64,
        latency,
        ..Outcome::default()
    }
}

fn carry_out(engine: &mut dyn Engine, table: &Arc<Table>, task: &Task) -> Outcome {
    let read = |each: bool, reads: &mut dyn FnMut(&mut Check)| {
        let mut check = Check::new(table, each);
        timed(|| {
            reads(&mut check);
            (check.answers, check.latency.as_ref().map(Latency::of))
        })
    };
    match *task {
        Task::Load { batch } => timed(|| {
            for from in (0..table.len()).step_by(batch) {
                let places = from..table.len().min(from + batch);
                engine.write(&places.map(|place| (place, 0)).collect::<Vec<_>>());
            }
            (table.len() as u64, None)
        }),
        Task::Settle => timed(|| {
            engine.settle();
            (0, None)
        }),
        Task::ReadAll => {
            let mut order: Vec<usize> = (0..table.len()).collect();
            let mut random = Random(ORDER_SEED);
            (1..order.len()).rev().for_each(|at| order.swap(at, random.below(at as u64 + 1) as usize));
            read(false, &mut |check| engine.points(&order, 64, check))
        }
        Task::Points { seed, count, batch, timed } => {
            let places = table.draw(&mut Random(seed), count);
            read(timed, &mut |check| engine.points(&places, batch, check))
        }
        Task::Ranges { seed, count, len, timed } => {
            let mut starts = table.draw(&mut Random(seed), count);
            starts.iter_mut().for_each(|start| *start = (*start).min(table.len() - len));
            let mut outcome = read(timed, &mut |check| engine.ranges(&starts, len, check));
            assert_eq!(outcome.count, (count * len) as u64, "every record of every range was checked");
            outcome.count = count as u64;
            outcome
        }
        Task::Overwrite { seed, seconds, batch, reads_per_s } => timed(|| {
            let duration = Duration::from_secs_f64(seconds);
            let read_every = Duration::from_secs(1) / reads_per_s as u32;
            let done = engine.overwrite(Plan { seed, duration, batch, read_every });
            (done.writes, Some(Latency::of(&done.reads)))
        }),
        Task::Quit => unreachable!("the loop ends with it"),
    }
}
