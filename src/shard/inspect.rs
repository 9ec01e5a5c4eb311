//! `kyrodb verify`: reads everything that a stopped shard holds and names every damage.

use std::io;
use std::path::{Path, PathBuf};

use super::runs::{self, LoadError, parse_run_file_name, run_file_name};
use super::search::file as index_file;
use super::search::file::check::Unusable;
use super::state::{LoadedRun, RunMeta, ShardState};
use super::value_check;
use crate::io::buf::AlignedBuf;
use crate::io::log::{
    Cause, Damage, Made, Replay, ReplayError, ReplayStart, SegmentFile, Step, parse_segment_file_name,
    segment_file_name,
};
use crate::io::manifest::{Manifest, ManifestDamage, ManifestError, SUPERBLOCK_FILE};
use crate::io::op::OpenMode;
use crate::io::runtime::Runtime;
use crate::types::{FileOffset, Lsn, RunId, SegmentId, ShardId};

/// One damaged place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub shard: ShardId,
    pub file: PathBuf,
    pub offset: Option<FileOffset>,
    /// The last LSN known to be whole before the place.
    pub lsn: Option<Lsn>,
    pub what: String,
    /// A server starts all the same, and nothing is missing for it.
    pub harmless: bool,
}

impl Finding {
    /// Of a file as a whole.
    pub fn of(shard: ShardId, file: PathBuf, what: String) -> Finding {
        Finding { shard, file, offset: None, lsn: None, what, harmless: false }
    }
}

/// What was found in the directory of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub shard: ShardId,
    /// Empty when a server would start and read every byte.
    pub findings: Vec<Finding>,
    /// Shards of the node, as the manifest says; `None` when there is none to read.
    pub shards: Option<u16>,
}

/// Damage of the manifest does not hide that of runs and log: they are checked as far as they speak for
/// themselves.
pub async fn verify(runtime: &Runtime, dir: &Path, shard: ShardId) -> Report {
    let (state, manifest) = match read_state(runtime, dir, shard).await {
        Ok(state) => (Some(state), None),
        Err(finding) => (None, Some(finding)),
    };
    let mut findings: Vec<Finding> = manifest.into_iter().collect();
    match &state {
        Some(state) => {
            let named = state.loaded_runs.iter().map(LoadedRun::file);
            for run in named.chain(state.runs.iter().map(RunMeta::file)) {
                if let Err(error) = runs::check(runtime, &dir.join("runs"), run).await {
                    findings.push(run_finding(shard, dir, run.run, &error));
                }
            }
        }
        None => findings.extend(verify_runs_alone(runtime, dir, shard).await),
    }
    findings.extend(match &state {
        Some(state) => value_check::verify(runtime, &dir.join("runs"), shard, state).await,
        None => value_check::verify_alone(runtime, &dir.join("runs"), shard).await,
    });
    if state.is_some() {
        findings.extend(damaged_slot(runtime, dir, shard).await);
    }
    findings.extend(damaged_indexes(runtime, dir, shard).await);
    match verify_log(runtime, &dir.join("log"), shard, state.as_ref()).await {
        Ok(damage) => findings.extend(damage),
        // The manifest's finding says already that nothing is there.
        Err((_, error)) if state.is_none() && error.kind() == io::ErrorKind::NotFound => {}
        Err((file, error)) => findings.push(place(shard, &file, error.to_string())),
    }
    Report { shard, findings, shards: state.map(|state| state.shards) }
}

/// Shards that should be there and are not, and the other way round. `reports` are of all directories of shards that
/// there are; a snapshot says by itself how many it has.
pub fn missing_shards(
    said: Option<u16>,
    reports: &[Report],
    dir_of: impl Fn(ShardId) -> PathBuf,
) -> Vec<Finding> {
    let by_manifest = || reports.iter().find_map(|report| report.shards);
    let Some(wanted) = said.or_else(by_manifest) else { return Vec::new() };
    let source = if said.is_some() { "the description says" } else { "the first manifest says" };
    let finding = |shard, what| place(shard, &dir_of(shard), what);
    let is_there = |shard: ShardId| reports.iter().any(|report| report.shard == shard);
    let missing = (0..wanted).map(ShardId).filter(|shard| !is_there(*shard)).map(|shard| {
        finding(shard, format!("the directory is missing: {source} that there are {wanted} shards"))
    });
    let other = reports.iter().filter_map(|report| {
        let what = match report.shards {
            _ if report.shard.0 >= wanted => format!(
                "{source} that there are only {wanted} shards: if a start with another --shards has left this \
                 directory, remove it"
            ),
            Some(own) if own != wanted => format!("its manifest says {own} shards, {source} {wanted}"),
            _ => return None,
        };
        Some(finding(report.shard, what))
    });
    missing.chain(other).collect()
}

/// What is wrong with a run or a value file, by the hashes in it; `None` when nothing is, and of any other file.
pub async fn damage_of_file(runtime: &Runtime, path: &Path) -> Option<String> {
    let (dir, name) = (path.parent()?, path.file_name()?.to_str()?);
    if let Some(id) = parse_run_file_name(name) {
        return runs::check_alone(runtime, dir, id).await.err().map(|error| error.to_string());
    }
    value_check::damage_alone(runtime, dir, runs::parse_value_file_name(name)?).await
}

fn place(shard: ShardId, file: &Path, what: String) -> Finding {
    Finding::of(shard, file.to_owned(), what)
}

/// How many the node has, if the manifest of this shard can be read.
pub async fn shards_of(runtime: &Runtime, dir: &Path, shard: ShardId) -> Option<u16> {
    read_state(runtime, dir, shard).await.ok().map(|state| state.shards)
}

async fn read_state(runtime: &Runtime, dir: &Path, shard: ShardId) -> Result<ShardState, Finding> {
    let bytes = match Manifest::read(runtime, dir, shard).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => {
            let what = "no manifest: the directory was emptied, or nothing was ever committed here";
            return Err(place(shard, dir, what.to_owned()));
        }
        Err(ManifestError::Damage(damage)) => {
            let found = place(shard, &dir.join(&damage.file), damage.to_string());
            return Err(Finding { offset: Some(damage.offset), ..found });
        }
        Err(error @ ManifestError::NoSuperblock) => {
            return Err(place(shard, &dir.join(SUPERBLOCK_FILE), error.to_string()));
        }
        Err(error) => return Err(place(shard, dir, error.to_string())),
    };
    ShardState::decode(&bytes).map_err(|error| place(shard, dir, error.to_string()))
}

fn run_finding(shard: ShardId, dir: &Path, run: RunId, error: &LoadError) -> Finding {
    let offset = match error {
        LoadError::Damaged { error, .. } => Some(error.offset),
        LoadError::Io { .. }
        | LoadError::Length { .. }
        | LoadError::Derived { .. }
        | LoadError::Known { .. }
        | LoadError::Payload { .. } => None,
    };
    let file = dir.join("runs").join(run_file_name(run));
    Finding { offset, ..Finding::of(shard, file, error.to_string()) }
}

/// Of the two slots of a superblock, where the other one has led to a state.
async fn damaged_slot(runtime: &Runtime, dir: &Path, shard: ShardId) -> Vec<Finding> {
    let damaged = Manifest::damaged_slots(runtime, dir, shard).await.unwrap_or_default();
    let finding = |damage: ManifestDamage| {
        let fault = damage.fault;
        let what = format!(
            "one of the two slots cannot be read: {fault}; the other one counts, and the next start writes both anew"
        );
        let found = place(shard, &dir.join(&damage.file), what);
        Finding { offset: Some(damage.offset), harmless: true, ..found }
    };
    damaged.into_iter().map(finding).collect()
}

/// What they have is in the records too.
async fn damaged_indexes(runtime: &Runtime, dir: &Path, shard: ShardId) -> Vec<Finding> {
    let found = index_file::check::check(runtime, &dir.join(index_file::INDEX_DIR)).await;
    let finding = |unusable: Unusable| {
        let what = format!(
            "{}; an index is made anew at the next start, from the records: nothing is lost",
            unusable.error
        );
        let found = place(shard, &unusable.file, what);
        Finding { offset: Some(unusable.offset), harmless: true, ..found }
    };
    found.into_iter().map(finding).collect()
}

/// Every run file, when no manifest says which of them count.
async fn verify_runs_alone(runtime: &Runtime, dir: &Path, shard: ShardId) -> Vec<Finding> {
    let mut findings = Vec::new();
    // A directory that cannot be listed is told by the manifest's finding, or by the log's.
    let entries = runtime.list(&dir.join("runs")).await.unwrap_or_default();
    for run in entries.iter().filter_map(|entry| parse_run_file_name(&entry.name)) {
        if let Err(error) = runs::check_alone(runtime, &dir.join("runs"), run).await {
            findings.push(run_finding(shard, dir, run, &error));
        }
    }
    findings
}

async fn verify_log(
    runtime: &Runtime,
    dir: &Path,
    shard: ShardId,
    state: Option<&ShardState>,
) -> Result<Vec<Finding>, (PathBuf, io::Error)> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| (path, error)
    };
    let entries = runtime.list(dir).await.map_err(at(dir))?;
    let files: Vec<SegmentFile> = entries
        .iter()
        .filter_map(|entry| Some(SegmentFile { id: parse_segment_file_name(&entry.name)?, len: entry.len }))
        .collect();
    let start = match state {
        Some(state) => ReplayStart {
            shard,
            from: state.first_segment,
            first_wanted: state.covered.next(),
            floor: state.floor,
            made: state.made,
        },
        None => {
            let from = files.iter().map(|file| file.id).min().unwrap_or(SegmentId(1));
            ReplayStart { shard, from, first_wanted: Lsn::ZERO, floor: Lsn::ZERO, made: Made::default() }
        }
    };
    let mut findings = Vec::new();
    let mut replay = match Replay::new(start, &files) {
        Ok(replay) => replay,
        Err(error) => return Ok(vec![log_finding(shard, dir, &error)]),
    };
    if let Some(to) = state.and_then(|state| state.replay_to) {
        replay = replay.until(to);
    }
    while let Step::Read(read) = replay.step() {
        let path = dir.join(segment_file_name(read.segment));
        let file = runtime.open(path.clone(), OpenMode::Read).await.map_err(at(&path))?;
        let (len, buf) = file.read(read.offset, AlignedBuf::zeroed(read.len)).await.map_err(at(&path))?;
        if let Err(error) = replay.feed(&buf[..len.min(read.len)], &mut |_| ()) {
            // Without the manifest nobody knows where the log that counts begins.
            if state.is_some() || !is_about_the_beginning(&error) {
                findings.push(log_finding(shard, dir, &error));
            }
            replay.resume(&error);
        }
    }
    let passed = replay.passed().map(|damage| log_finding(shard, dir, &ReplayError::Damage(damage)));
    findings.extend(passed);
    Ok(findings)
}

fn is_about_the_beginning(error: &ReplayError) -> bool {
    matches!(error, ReplayError::Damage(Damage { cause: Cause::Missing { .. }, .. }))
}

fn log_finding(shard: ShardId, dir: &Path, error: &ReplayError) -> Finding {
    let (segment, offset) = error.place();
    let (offset, lsn, harmless) = (Some(offset), error.last_lsn(), error.is_harmless());
    let file = dir.join(segment_file_name(segment));
    Finding { offset, lsn, harmless, ..Finding::of(shard, file, error.to_string()) }
}
