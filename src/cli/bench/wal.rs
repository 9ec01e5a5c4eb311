//! `bench wal`: how many records a second one shard commits to this disk, in process and at `fsync`,
//! beside the bare write+sync rate of the same disk in the same run.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::super::args::BenchWalArgs;
use super::super::engine::with_node;
use super::super::failure::Failure;
use super::super::output::Output;
use super::super::values::{mix, value_for};
use super::raw_sync::raw_syncs_per_s;
use crate::io::executor::Class;
use crate::io::executor::sync::promise;
use crate::shard::catalogue::{Collection, DEFAULT_COLLECTION};
use crate::shard::key::Key;
use crate::shard::node::Node;
use crate::shard::payload::{OCTET_STREAM, Payload};
use crate::shard::record::{Change, Condition, Durability, Refusal, Write};
use crate::types::Mono;

/// Keys that each writer goes round in.
const KEYS_A_WRITER: u64 = 1024;
const RAW_DURATION: Duration = Duration::from_secs(2);
const LATENCY_MAX: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct WalReport {
    pub appends_per_s: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub records_per_sync: f64,
    /// Synced 4 KiB writes a second by a bare loop: the mean of one before and one after the run.
    pub raw_sync_per_s: f64,
}

pub fn command(args: &BenchWalArgs, out: &mut Output) -> Result<(), Failure> {
    let report = run(&args.data_dir, args.writers, args.record_bytes as usize, args.seconds)?;
    out.object(&report)
}

pub fn run(data_dir: &Path, writers: u32, record_bytes: usize, seconds: u64) -> Result<WalReport, Failure> {
    let body = async |node: Node| measure(&node, data_dir, writers, record_bytes, seconds).await;
    with_node(data_dir, body)?
}

async fn measure(
    node: &Node,
    data_dir: &Path,
    writers: u32,
    record_bytes: usize,
    seconds: u64,
) -> Result<WalReport, Failure> {
    let raw = async || {
        raw_syncs_per_s(node.runtime(), data_dir, RAW_DURATION).await.map_err(Failure::file(data_dir))
    };
    let raw_before = raw().await?;
    let commits_before = commits(node).await;
    let latency = write_all(node, writers, record_bytes, Duration::from_secs(seconds)).await?;
    let commits_after = commits(node).await;
    let raw_after = raw().await?;
    let blocks = commits_after.blocks - commits_before.blocks;
    Ok(WalReport {
        appends_per_s: latency.len() as f64 / seconds as f64,
        p50_us: latency.value_at_quantile(0.5) as f64 / 1e3,
        p99_us: latency.value_at_quantile(0.99) as f64 / 1e3,
        records_per_sync: (commits_after.records - commits_before.records) as f64 / blocks.max(1) as f64,
        raw_sync_per_s: f64::midpoint(raw_before, raw_after),
    })
}

struct Commits {
    blocks: u64,
    records: u64,
}

async fn commits(node: &Node) -> Commits {
    let stats = node.stats().await;
    Commits {
        blocks: stats.iter().map(|shard| shard.log_commits).sum(),
        records: stats.iter().map(|shard| shard.log_records).sum(),
    }
}

/// All writers until the time is up; the histogram has one entry, in nanoseconds, an acknowledged write.
async fn write_all(
    node: &Node,
    writers: u32,
    record_bytes: usize,
    duration: Duration,
) -> Result<Histogram<u64>, Failure> {
    let collection = node.collection(DEFAULT_COLLECTION).expect("it exists from the start");
    let until = node.runtime().now().after(duration);
    let latency = Histogram::new_with_bounds(1, LATENCY_MAX.as_nanos() as u64, 3).expect("valid bounds");
    let latency = Rc::new(RefCell::new(latency));
    let start = |writer: u32| {
        let (promise, ended) = promise();
        let (node, collection, latency) = (node.clone(), collection.clone(), latency.clone());
        let runtime = node.runtime().clone();
        runtime.spawn(Class::Foreground, async move {
            promise.give(write_one_by_one(&node, &collection, writer, record_bytes, until, &latency).await);
        });
        ended
    };
    for ended in (0..writers).map(start).collect::<Vec<_>>() {
        ended
            .await
            .map_err(|refusal| Failure::Engine { what: "a write was refused", source: refusal.into() })?;
    }
    Ok(Rc::into_inner(latency).expect("every writer has ended").into_inner())
}

async fn write_one_by_one(
    node: &Node,
    collection: &Arc<Collection>,
    writer: u32,
    record_bytes: usize,
    until: Mono,
    latency: &RefCell<Histogram<u64>>,
) -> Result<(), Refusal> {
    let payload = Payload::new(OCTET_STREAM, value_for(u64::from(writer), record_bytes).as_bytes());
    for turn in 0.. {
        let began = node.runtime().now();
        if began >= until {
            break;
        }
        let key = Key::from_u64(mix(u64::from(writer) * KEYS_A_WRITER + turn % KEYS_A_WRITER));
        let change = Change::Put { payload: payload.clone(), expires: None };
        let write =
            Write { key, change, condition: Condition::None, durability: Durability::Fsync, once: None };
        let written = node.write(collection, write).get().await?;
        assert_eq!(written.reached, Durability::Fsync, "acknowledged before the sync");
        latency.borrow_mut().saturating_record(node.runtime().now().since(began));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_run_gives_figures_that_fit_each_other() {
        // On the disk of the build: /tmp may be one without direct I/O.
        let program = std::env::current_exe().unwrap();
        let dir = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
        let report = run(dir.path(), 16, 100, 1).unwrap();
        assert!(report.appends_per_s > 1.0 && report.raw_sync_per_s > 1.0, "{report:?}");
        assert!((1.0..=16.0).contains(&report.records_per_sync), "{report:?}");
        assert!(report.p50_us <= report.p99_us, "{report:?}");
        // Little's law: 16 writers, each with one write under way.
        let writers = report.appends_per_s * report.p50_us / 1e6;
        assert!((1.0..64.0).contains(&writers), "{report:?}");
        // Now it holds data, of which nobody knows whose.
        let again = run(dir.path(), 16, 100, 1).unwrap_err();
        assert!(matches!(&again, Failure::Conflict { what } if what.contains("is not empty")), "{again}");
    }
}
