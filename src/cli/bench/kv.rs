//! `bench kv`: loads records into a collection of its own, runs a workload, and reports.
//!
//! Latency in the open loop counts from the time at which an operation was due, so a stalled server
//! is not flattered (coordinated omission). In the closed loop the report also gives the histogram
//! corrected after the fact, with the mean latency as the expected interval.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::args::{LEVELS, ServerArgs};
use super::super::client::{Client, percent_encoded};
use super::super::engine::with_executor;
use super::super::failure::{Failure, UsageError};
use super::super::output::Output;
use super::super::spread::Router;
use super::super::values::{VERSION_BYTES, mix};
use super::connection::{Connection, Pace, Settings};
use super::cpu::process_cpu_us;
use super::ledger::Ledger;
use super::load::{Load, Script};
use super::workload::{Chooser, Distribution, Workload};
use crate::io::executor::sync::promise;
use crate::io::executor::{Class, Executor};
use crate::io::runtime::Runtime;
use crate::types::Mono;

#[derive(Clone, Debug, Args)]
pub struct KvArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    /// Created when it does not exist; its records are overwritten
    #[arg(long, short, default_value = "bench")]
    pub collection: String,
    #[arg(long, value_enum, default_value_t = Workload::B)]
    pub workload: Workload,
    /// Records loaded before the run
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub records: u64,
    #[arg(long, default_value_t = 500_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub operations: u64,
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(VERSION_BYTES as i64..=16_777_216))]
    pub value_bytes: u32,
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=16_000))]
    pub connections: u32,
    /// Requests under way on each connection
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=128))]
    pub pipeline: u16,
    /// By default what YCSB has for the workload; uniform for put and get
    #[arg(long, value_enum)]
    pub distribution: Option<Distribution>,
    /// Start none after so long, also when some are left
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub seconds: Option<u32>,
    /// Open loop: start so many operations a second, whatever the server does
    #[arg(long, value_name = "OPS_PER_S", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// Count answers 503 with Retry-After apart, not as errors: for more load than the server can take
    #[arg(long)]
    pub may_shed: bool,
    /// The server's default without it
    #[arg(long, value_name = "LEVEL", value_parser = LEVELS)]
    pub durability: Option<String>,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Process of the server, when /build_info does not tell
    #[arg(long)]
    pub pid: Option<u32>,
}

#[derive(Debug, PartialEq, Serialize)]
pub struct Report {
    pub workload: Workload,
    pub distribution: Distribution,
    pub mode: &'static str,
    pub connections: u32,
    pub pipeline: u16,
    pub value_bytes: u32,
    pub operations: u64,
    pub seconds: f64,
    pub ops_per_s: f64,
    pub errors: u64,
    /// Operations that ended in 503 with `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shed: Option<u64>,
    pub latency_us: Latency,
    /// Closed loop only: corrected for coordinated omission after the fact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_corrected_us: Option<Latency>,
    /// `null` when the server's process is not on this machine.
    pub server_cpu_us_per_op: Option<f64>,
}

#[derive(Debug, PartialEq, Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

#[derive(Default, Deserialize)]
struct BuildInfo {
    pid: Option<u32>,
}

/// A phase as it was measured.
struct Phase {
    load: Load,
    seconds: f64,
}

/// Prints a [`Report`]; fails with exit code 1 when an answer was wrong or missing.
pub fn run(args: &KvArgs, out: &mut Output) -> Result<(), Failure> {
    let client = Client::to(&args.server)?;
    if client.server().is_sealed {
        let wanted = "http://host:port: the load generator speaks no TLS";
        return Err(Failure::Usage(UsageError::Option {
            name: "--url",
            value: client.server().url(),
            wanted,
        }));
    }
    let info: BuildInfo = client.get("/build_info", &[])?.json()?;
    let shards = Router::ask(&client)?.map_or(1, |router| router.shards as u64);
    create_collection(&client, &args.collection, shards)?;
    let report = with_executor(|executor| measure(args, &client, info.pid, executor))??;
    out.object(&report)?;
    match report.errors {
        0 => Ok(()),
        count => Err(Failure::Found { count, what: "answers were wrong or missing" }),
    }
}

/// Keys are spread evenly over u64, so the ranges may be cut evenly.
fn create_collection(client: &Client, name: &str, shards: u64) -> Result<(), Failure> {
    let split_at: Vec<u64> = (1..shards).map(|part| u64::MAX / shards * part).collect();
    let definition = json!({ "key_type": "u64", "split_at": split_at }).to_string();
    let path = format!("/v1/collections/{}", percent_encoded(name));
    match client.put(&path, &[("content-type", "application/json")], definition.into_bytes()) {
        Ok(_) => Ok(()),
        // There already, cut in another way; or, if it is there, it was made with another key.
        Err(Failure::Refused(refused)) if [403, 409].contains(&refused.status) => Ok(()),
        Err(other) => Err(other),
    }
}

fn measure(
    args: &KvArgs,
    client: &Client,
    pid: Option<u32>,
    executor: &mut Executor,
) -> Result<Report, Failure> {
    let address = client.server().address()?;
    let value_bytes = args.value_bytes as usize;
    let mut ledger = Ledger::default();
    let mut loaded = Vec::new();
    if args.workload.needs_load() {
        let mut load = Load::new(Script::Fill { next: 0 }, ledger, args.records, value_bytes);
        load.may_shed = args.may_shed;
        let filled = run_phase(args, client, address, executor, load, Limits::default())?;
        if filled.load.errors > 0 {
            return Err(Failure::Found { count: filled.load.errors, what: "records could not be loaded" });
        }
        ledger = filled.load.ledger;
        loaded = (0..args.records).map(mix).collect();
        loaded.sort_unstable();
    } else {
        (0..args.records).for_each(|_| _ = ledger.add_record());
    }
    let distribution = args.distribution.unwrap_or_else(|| args.workload.default_distribution());
    let chooser = Chooser::new(args.workload, distribution, args.records, args.seed);
    let mut load = Load::new(Script::Mix(chooser), ledger, args.operations, value_bytes);
    load.loaded = loaded;
    load.may_shed = args.may_shed;
    let pid = args.pid.or(pid);
    let cpu_before = pid.and_then(process_cpu_us);
    let limits = Limits { rate: args.rate, seconds: args.seconds };
    let phase = run_phase(args, client, address, executor, load, limits)?;
    let cpu_after = pid.and_then(process_cpu_us);
    let cpu_us = cpu_before.zip(cpu_after).map(|(before, after)| after.saturating_sub(before));
    Ok(report(args, distribution, &phase, cpu_us))
}

#[derive(Clone, Copy, Default)]
struct Limits {
    rate: Option<u32>,
    seconds: Option<u32>,
}

/// Runs all connections until the load or the time is used up.
fn run_phase(
    args: &KvArgs,
    client: &Client,
    address: SocketAddr,
    executor: &mut Executor,
    load: Load,
    Limits { rate, seconds }: Limits,
) -> Result<Phase, Failure> {
    let runtime = executor.runtime();
    let load = Rc::new(RefCell::new(load));
    let settings = settings(args, client);
    let began = runtime.now();
    let start = |index| {
        let (promise, ended) = promise();
        let pace = rate.map(|rate| pace(began, rate, index, args.connections));
        let (runtime, settings, load) = (runtime.clone(), settings.clone(), load.clone());
        let task = async move { promise.give(drive(runtime, address, settings, load, pace).await) };
        executor.runtime().spawn(Class::Foreground, task);
        ended
    };
    let connections: Vec<_> = (0..args.connections).map(start).collect();
    if let Some(seconds) = seconds {
        let (end, load) = (runtime.sleep(Duration::from_secs(seconds.into())), Rc::downgrade(&load));
        executor.runtime().spawn(Class::Foreground, async move {
            end.await;
            // Unless it was over before.
            load.upgrade().iter().for_each(|load| load.borrow_mut().left = 0);
        });
    }
    let ended = executor.block_on(async {
        for connection in connections {
            connection.await?;
        }
        io::Result::Ok(())
    });
    ended.map_err(|source| client.server().unreachable(source))?;
    let seconds = runtime.now().since(began) as f64 / 1e9;
    let load = Rc::into_inner(load).expect("every connection has ended").into_inner();
    Ok(Phase { load, seconds })
}

async fn drive(
    runtime: Runtime,
    address: SocketAddr,
    settings: Settings,
    load: Rc<RefCell<Load>>,
    pace: Option<Pace>,
) -> io::Result<()> {
    let socket = runtime.connect(address).await?;
    Connection::new(&runtime, &socket, settings, load, pace).run().await
}

fn settings(args: &KvArgs, client: &Client) -> Settings {
    let header = |level: &String| format!("Kyro-Durability: {level}\r\n");
    Settings {
        authority: client.server().authority.clone(),
        collection: args.collection.clone(),
        pipeline: usize::from(args.pipeline),
        api_key: client.api_key().clone(),
        durability_header: args.durability.as_ref().map_or_else(String::new, header),
    }
}

/// Connection `index` takes every `connections`th operation of the common schedule.
fn pace(began: Mono, rate: u32, index: u32, connections: u32) -> Pace {
    let interval = Duration::from_secs(1) / rate;
    Pace { next: began.after(interval * index), step: interval * connections }
}

fn report(args: &KvArgs, distribution: Distribution, phase: &Phase, cpu_us: Option<u64>) -> Report {
    let Phase { load, seconds } = phase;
    let is_closed = args.rate.is_none();
    let corrected = is_closed.then(|| load.latency.clone_correct(load.latency.mean().max(1.0) as u64));
    Report {
        workload: args.workload,
        distribution,
        mode: if is_closed { "closed" } else { "open" },
        connections: args.connections,
        pipeline: args.pipeline,
        value_bytes: args.value_bytes,
        operations: load.done,
        seconds: *seconds,
        ops_per_s: load.done as f64 / seconds.max(1e-9),
        errors: load.errors,
        shed: args.may_shed.then_some(load.shed),
        latency_us: Latency::of(&load.latency),
        latency_corrected_us: corrected.as_ref().map(Latency::of),
        server_cpu_us_per_op: cpu_us.map(|us| us as f64 / load.done.max(1) as f64),
    }
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Latency {
        let us = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Latency { p50: us(0.5), p95: us(0.95), p99: us(0.99), p999: us(0.999), max: us(1.0) }
    }
}
