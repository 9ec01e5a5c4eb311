//! The doors from the other commands into the engine: everything that runs on a core or reads a data
//! directory goes through here.

use std::path::{Path, PathBuf};

use super::data_dir::DataDir;
use super::failure::{Failure, UsageError};
use super::files::{description_of, refuse_unless_empty};
use super::key_store::{self, KEY_FILE, KeyStoreError};
use super::output::Output;
use crate::io::executor::Executor;
use crate::io::log::dump::Dump;
use crate::io::log::{parse_segment_file_name, segment_file_name};
use crate::io::runtime::Runtime;
use crate::io::uring::{RingConfig, RingDriver};
use crate::shard::boot;
use crate::shard::inspect::{self, Finding};
use crate::shard::mailbox::mailboxes;
use crate::shard::node::Node;
use crate::shard::options::{ShardOptions, parse_shard_dir};
use crate::shard::recovery;
use crate::shard::restore::UNFINISHED_FILE;
use crate::shard::snapshot::{self, DESCRIPTION_FILE, SNAPSHOTS_DIR};
use crate::types::{SegmentId, ShardId};

/// Prints every record of the log of a stopped data directory.
pub fn dump_log(data_dir: &Path, out: &mut Output) -> Result<(), Failure> {
    let shards = shards_in(data_dir)?;
    let _claim = DataDir::claim_to_read(data_dir)?;
    for shard in shards {
        let dir = ShardOptions::new(data_dir).shard_dir(shard).join("log");
        let mut dump = Dump::new(shard);
        for id in segments_in(&dir)? {
            let path = dir.join(segment_file_name(id));
            let bytes = std::fs::read(&path).map_err(Failure::file(&path))?;
            let mut failed = None;
            dump.segment(id, &bytes, &mut |line| {
                if failed.is_none() {
                    failed = out.entry(&line, &line.to_json()).err();
                }
            });
            failed.map_or(Ok(()), Err)?;
        }
    }
    out.flush()
}

/// As [`findings`]; names every damage, and fails when there is one.
pub fn verify(data_dir: &Path, out: &mut Output) -> Result<(), Failure> {
    report(&findings(data_dir)?, out)
}

/// Every damage in a stopped data directory and its snapshots, in a snapshot, or in a directory of backups.
pub fn findings(data_dir: &Path) -> Result<Vec<Finding>, Failure> {
    let _claim = match shards_in(data_dir) {
        Ok(_) => Some(DataDir::claim_to_read(data_dir)?),
        // Backups: nobody writes to one under its name.
        Err(_) => None,
    };
    with_executor(|executor| {
        let runtime = executor.runtime();
        executor.block_on(damage_in(&runtime, data_dir))
    })?
}

/// As [`findings`], for who has claimed the directory.
pub async fn damage_in(runtime: &Runtime, data_dir: &Path) -> Result<Vec<Finding>, Failure> {
    let mut all: Vec<Finding> = half_restored(data_dir).into_iter().chain(damaged_keys(data_dir)).collect();
    for place in places_in(data_dir)? {
        all.extend(place.damage(runtime).await);
    }
    Ok(all)
}

/// A directory that holds shards, or should.
struct Place {
    dir: PathBuf,
    shards: Vec<ShardId>,
    is_snapshot: bool,
}

impl Place {
    async fn damage(&self, runtime: &Runtime) -> Vec<Finding> {
        let options = ShardOptions::new(&self.dir);
        let mut reports = Vec::new();
        for shard in &self.shards {
            reports.push(inspect::verify(runtime, &options.shard_dir(*shard), *shard).await);
        }
        let description = description_of(&self.dir);
        let undescribed = (self.is_snapshot && description.is_none()).then(|| undescribed(&self.dir));
        let said = description.and_then(|snapshot| u16::try_from(snapshot.shards).ok());
        let missing = inspect::missing_shards(said, &reports, |shard| options.shard_dir(shard));
        let damaged = reports.into_iter().flat_map(|report| report.findings);
        undescribed.into_iter().chain(damaged).chain(missing).collect()
    }
}

/// Gives `body` a look into runs and value files: it says what is wrong with one, by the hashes in it.
pub fn with_file_check<T>(
    body: impl FnOnce(&mut dyn FnMut(&Path) -> Option<String>) -> T,
) -> Result<T, Failure> {
    with_executor(|executor| {
        let runtime = executor.runtime();
        body(&mut |path| executor.block_on(inspect::damage_of_file(&runtime, path)))
    })
}

/// This directory and its snapshots, or the backups in it.
fn places_in(data_dir: &Path) -> Result<Vec<Place>, Failure> {
    let (shards, is_snapshot) = (shards_in(data_dir), description_of(data_dir).is_some());
    let (mut places, mut below) = (Vec::new(), data_dir.to_owned());
    if shards.is_ok() || is_snapshot {
        below.push(SNAPSHOTS_DIR);
        let shards = shards.as_ref().cloned().unwrap_or_default();
        places.push(Place { dir: data_dir.to_owned(), shards, is_snapshot });
    }
    for name in if below.is_dir() { names_in(&below)? } else { Vec::new() } {
        let dir = below.join(&name);
        // What has a suffix was cut short, and counts for nothing.
        let is_whole = dir.is_dir() && dir.extension().is_none();
        if is_whole && (snapshot::is_id(&name) || description_of(&dir).is_some()) {
            places.push(Place { shards: shard_dirs(&dir)?, dir, is_snapshot: true });
        }
    }
    match places.is_empty() {
        true => shards.map(|_| places),
        false => Ok(places),
    }
}

fn undescribed(snapshot: &Path) -> Finding {
    let what = "missing, or not what describes a snapshot: nothing is restored from here; take another one, \
                and remove this";
    about(snapshot.join(DESCRIPTION_FILE), what)
}

fn half_restored(data_dir: &Path) -> Option<Finding> {
    let file = data_dir.join(UNFINISHED_FILE);
    let what = "a restore into this directory was cut short: run the same `kyrodb restore` again";
    file.exists().then(|| about(file, what))
}

/// Of no shard.
fn about(file: PathBuf, what: &str) -> Finding {
    Finding::of(ShardId(0), file, what.to_owned())
}

/// As a start would refuse them.
fn damaged_keys(data_dir: &Path) -> Option<Finding> {
    let KeyStoreError { path: file, what } = key_store::load(&data_dir.join(KEY_FILE)).err()?;
    Some(about(
        file,
        &format!("{what}; no server starts here before it is mended, or moved away for new keys"),
    ))
}

/// Prints what was found, and fails when there is something.
pub fn report(findings: &[Finding], out: &mut Output) -> Result<(), Failure> {
    let rows: Vec<_> = findings
        .iter()
        .map(|finding| {
            serde_json::json!({
                "shard": finding.shard.0,
                "file": finding.file.display().to_string(),
                "offset": finding.offset.map(|offset| offset.0),
                "lsn": finding.lsn.map(|lsn| lsn.0),
                "what": finding.what,
            })
        })
        .collect();
    out.rows(&["shard", "file", "offset", "lsn", "what"], &rows)?;
    match findings.len() as u64 {
        0 => Ok(()),
        count => Err(Failure::Found { count, what: "damaged places" }),
    }
}

/// The shards that are there, none in a new directory; fails where a server with so many of them would not start. Looks
/// only, also beside a server that runs there.
pub fn foresee_start(data_dir: &Path, wanted: usize) -> Result<usize, Failure> {
    let shards = match shards_in(data_dir) {
        Err(Failure::Usage(UsageError::NoData { .. })) => Vec::new(),
        found => found?,
    };
    let seen = with_executor(|executor| {
        let runtime = executor.runtime();
        let options = ShardOptions::new(data_dir);
        executor.block_on(recovery::foresee(&runtime, &options, &shards, wanted as u16))
    })?;
    seen.map_err(|(shard, error)| Failure::Start { shard, error })?;
    Ok(shards.len())
}

/// Refuses a directory that no server ever used, before anything is created in it.
pub fn shards_in(data_dir: &Path) -> Result<Vec<ShardId>, Failure> {
    let shards = if data_dir.is_dir() { shard_dirs(data_dir)? } else { Vec::new() };
    match shards.is_empty() {
        true => Err(Failure::Usage(UsageError::NoData { dir: data_dir.to_owned() })),
        false => Ok(shards),
    }
}

fn shard_dirs(dir: &Path) -> Result<Vec<ShardId>, Failure> {
    Ok(names_in(dir)?.iter().filter_map(|name| parse_shard_dir(name)).collect())
}

fn segments_in(dir: &Path) -> Result<Vec<SegmentId>, Failure> {
    let names = names_in(dir)?;
    Ok(names.iter().filter_map(|name| parse_segment_file_name(name)).collect())
}

/// Sorted, so that segments and shards come in the order of their numbers.
fn names_in(dir: &Path) -> Result<Vec<String>, Failure> {
    let entries = std::fs::read_dir(dir).map_err(Failure::file(dir))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Failure::file(dir))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// Runs `body` with an executor of this thread, on a ring of its own.
pub fn with_executor<T>(body: impl FnOnce(&mut Executor) -> T) -> Result<T, Failure> {
    let driver = RingDriver::new(&RingConfig::default())
        .map_err(|source| Failure::Engine { what: "the ring", source: Box::new(source) })?;
    Ok(body(&mut Executor::new(Box::new(driver))))
}

/// Runs `body` on a new one-shard node in `data_dir`, an empty or a new directory, and stops the node after it.
pub fn with_node<T>(data_dir: &Path, body: impl AsyncFnOnce(Node) -> T) -> Result<T, Failure> {
    // Asked before the claim, which leaves a file, and again under it.
    refuse_unless_empty(data_dir)?;
    let _claim = DataDir::claim(data_dir)?;
    refuse_unless_empty(data_dir)?;
    let mailbox = mailboxes(1).pop().expect("one mailbox for one shard");
    with_executor(|executor| {
        let node = boot::launch(executor, mailbox, ShardOptions::new(data_dir));
        executor.block_on(async {
            node.started().await.map_err(|error| Failure::Start { shard: node.shard(), error })?;
            let result = body(node.clone()).await;
            boot::close(&node).await.map_err(|_| Failure::NotClosed)?;
            Ok(result)
        })
    })?
}
