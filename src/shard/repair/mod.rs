//! `kyrodb repair`: makes a damaged shard one that starts, without making anything up.
//!
//! First a plan, which changes nothing and says everything that is lost; then, if wanted, the repair. Nothing is
//! deleted: whatever is replaced has a second name below `aside/<id>` first. A crash in between leaves the shard
//! as damaged as it was, or repaired, or with all of the repair but the cut of its log.
//!
//! | file | what |
//! |---|---|
//! | [`salvage`] | the blocks of a run that are whole, and what is missing in between |
//! | [`runs`] | a damaged run: written anew without what is lost |
//! | [`log`] | a damaged log: cut |
//! | [`maps`] | the map, when the log that is cut is shard 0's |
//! | [`manifest`] | a damaged manifest: an earlier state, if all that it names is there |
//! | [`report`] | the plan in words and as JSON |
//!
//! Invariant: no read of the repaired shard gives a version that the undamaged shard would not have given, but
//! where the log was cut or older versions were asked for, and then the report says which.
//!
//! Lives on: any core of a process that has claimed the data directory.

pub mod log;
pub mod manifest;
pub mod maps;
pub mod report;
pub mod runs;
pub mod salvage;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use self::log::LogPlan;
use self::maps::Told;
use self::runs::{RunPlan, Tablets};
use super::control::WRITER;
use super::inspect::{self, Finding};
use super::options::ShardOptions;
use super::run::TabletInfo;
use super::runs::{LoadError, parse_run_file_name, parse_value_file_name, run_file_name};
use super::state::ShardState;
use super::store::error::StoreError;
use crate::io::crashsafe;
use crate::io::log::{Made, ReplayError, segment_file_name};
use crate::io::manifest::{Manifest, ManifestError};
use crate::io::op::is_fault_of_file;
use crate::io::runtime::Runtime;
use crate::types::{Epoch, ShardId, TabletId};

/// Below a data directory: what repairs have replaced.
pub const ASIDE_DIR: &str = "aside";

/// The directory of a shard.
#[derive(Clone, Debug)]
pub struct ShardFiles {
    pub shard: ShardId,
    pub dir: PathBuf,
}

impl ShardFiles {
    pub fn of(data_dir: &Path, shard: ShardId) -> ShardFiles {
        ShardFiles { shard, dir: ShardOptions::new(data_dir).shard_dir(shard) }
    }

    pub fn runs(&self) -> PathBuf {
        self.dir.join("runs")
    }

    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }
}

/// What the one who repairs has to allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Give up the log behind damage.
    pub cut_log: bool,
    /// Serve older versions of keys whose newest one is lost.
    pub keep_older: bool,
}

/// What is wrong with a shard, and what would be done.
pub struct Plan {
    pub files: ShardFiles,
    /// That the repaired shard will have, but for runs and log.
    state: ShardState,
    generation: u64,
    /// Why it is not the one that the superblock names.
    pub manifest: Option<String>,
    pub runs: Vec<RunPlan>,
    tablets: Tablets,
    pub log: Option<LogPlan>,
    /// What the files tell of maps and tablets.
    told: Told,
}

impl Plan {
    /// Of the node, as the manifest says.
    pub fn shards(&self) -> u16 {
        self.state.shards
    }

    pub fn is_empty(&self) -> bool {
        self.manifest.is_none() && self.runs.is_empty() && self.log.is_none()
    }

    /// Whether `verify` will not find this again. Without a manifest it finds also what the state that will count does not
    /// name.
    pub fn mends(&self, finding: &Finding) -> bool {
        let Ok(file) = finding.file.strip_prefix(&self.files.dir) else { return false };
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let unnamed = |id| !self.state.names_values(id);
        match parse_run_file_name(&name) {
            Some(id) => self.runs.iter().any(|run| run.meta.id == id) || !self.state.names_run(id),
            None if file.starts_with("log") => self.log.is_some() || self.manifest.is_some(),
            None if file.starts_with("runs") => parse_value_file_name(&name).is_some_and(unnamed),
            None => self.manifest.is_some(),
        }
    }
}

/// Why a shard cannot be repaired.
#[derive(Debug)]
pub enum RepairError {
    Io(io::Error),
    /// The system does not give it, and that tells nothing of what is in it.
    Unreadable {
        path: PathBuf,
        error: io::Error,
    },
    Manifest(ManifestError),
    /// No state of the manifest is left that fits the files.
    NoState {
        damage: String,
    },
    NewerLog(ReplayError),
    Store(String),
    /// Behind the damage was a map newer than the one of this epoch: only it names these tablets.
    MapLost {
        epoch: Epoch,
        tablets: Vec<TabletId>,
    },
    /// A snapshot is whole or nothing.
    Snapshot,
    /// Runs of the first format are read as a whole.
    OldRun {
        file: String,
        what: String,
    },
}

impl fmt::Display for RepairError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RepairError::Io(error) => error.fmt(f),
            RepairError::Unreadable { path, error } => write!(
                f,
                "{}: {error}. That is no damage that can be repaired: see to it that this user can read the file, and \
                 repair again",
                path.display()
            ),
            RepairError::Manifest(error) => error.fmt(f),
            RepairError::NoState { damage } => write!(
                f,
                "{damage}; and no earlier state is left whose files are all there, so nobody can tell which \
                 records count: restore a backup (`kyrodb wal dump` shows what the log still has)"
            ),
            RepairError::NewerLog(error) => error.fmt(f),
            RepairError::Store(what) => f.write_str(what),
            RepairError::MapLost { epoch, tablets } => {
                write!(
                    f,
                    "a map of collections newer than epoch {epoch} was in the damaged part of the log, and is lost"
                )?;
                for (index, tablet) in tablets.iter().enumerate() {
                    write!(f, "{}{tablet}", if index == 0 { "; only it named tablets " } else { ", " })?;
                }
                f.write_str(
                    ". With an older one the next start would delete records that are whole, on all shards: restore \
                     a backup (`kyrodb wal dump` shows what the log still has)",
                )
            }
            RepairError::Snapshot => {
                f.write_str("this is a snapshot or a backup: take another one, or restore an older one")
            }
            RepairError::OldRun { file, what } => write!(
                f,
                "{file} has the first format of runs, of which nothing is taken when a part is damaged: {what}; \
                 restore a backup"
            ),
        }
    }
}

impl std::error::Error for RepairError {}

impl From<io::Error> for RepairError {
    fn from(error: io::Error) -> RepairError {
        RepairError::Io(error)
    }
}

impl From<ManifestError> for RepairError {
    fn from(error: ManifestError) -> RepairError {
        match error {
            ManifestError::Read { path, error } => RepairError::Unreadable { path, error },
            other => RepairError::Manifest(other),
        }
    }
}

impl From<StoreError> for RepairError {
    fn from(error: StoreError) -> RepairError {
        RepairError::Store(error.to_string())
    }
}

/// Looks at all shards of a data directory and changes nothing. An error names its shard. What a start with another number
/// of shards has left is no shard, and gets no plan.
pub async fn plan(runtime: &Runtime, all: &[ShardFiles]) -> Result<Vec<Plan>, (ShardId, RepairError)> {
    let known = match all.iter().find(|files| files.shard == WRITER) {
        Some(files) => known_tablets(runtime, files).await,
        None => BTreeMap::new(),
    };
    let shards = agreed_shards(runtime, all).await;
    let mut plans = Vec::new();
    for files in all {
        if shards.is_some_and(|shards| files.shard.0 >= shards) && holds_nothing(runtime, files).await {
            continue;
        }
        let planned = plan_shard(runtime, files.clone(), &known).await;
        plans.push(planned.map_err(|error| (files.shard, error))?);
    }
    maps::settle(&mut plans).map_err(|error| (WRITER, error))?;
    Ok(plans)
}

/// How many there are, if all manifests that can be read say the same.
async fn agreed_shards(runtime: &Runtime, all: &[ShardFiles]) -> Option<u16> {
    let mut said = None;
    for files in all {
        let Some(shards) = inspect::shards_of(runtime, &files.dir, files.shard).await else { continue };
        if said.is_some_and(|said| said != shards) {
            return None;
        }
        said = Some(shards);
    }
    said
}

/// Whether nothing was ever committed here, and there is neither log nor run.
async fn holds_nothing(runtime: &Runtime, files: &ShardFiles) -> bool {
    for dir in [files.log(), files.runs()] {
        let is_empty = match runtime.list(dir).await {
            Ok(entries) => entries.is_empty(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if !is_empty {
            return false;
        }
    }
    inspect::shards_of(runtime, &files.dir, files.shard).await.is_none()
}

/// `known` are the tablets of the map.
async fn plan_shard(
    runtime: &Runtime,
    files: ShardFiles,
    known: &BTreeMap<TabletId, TabletInfo>,
) -> Result<Plan, RepairError> {
    let found = manifest::find(runtime, &files).await?;
    let state = found.state;
    if state.replay_to.is_some() {
        return Err(RepairError::Snapshot);
    }
    for run in &state.loaded_runs {
        let checked = super::runs::check(runtime, &files.runs(), run.file()).await;
        if let Err(error) = damage_only(checked)? {
            let (file, what) = (run_file_name(run.id), error.to_string());
            return Err(RepairError::OldRun { file, what });
        }
    }
    let (runs, tablets) = runs::plan(runtime, &files, &state, known).await?;
    let (log, mut told) = log::plan(runtime, &files, &state).await?;
    state.catalogue.iter().for_each(|map| told.take_map(map.clone()));
    state.tablets.iter().for_each(|tablet| told.kept.add(tablet.tablet, tablet.collection, tablet.epoch));
    told.kept.add_all(&tablets.named);
    let (generation, manifest) = (found.generation, found.why);
    Ok(Plan { files, state, generation, manifest, runs, tablets, log, told })
}

/// Damage is what the file, or the disk below it, is to blame for. Any other error, as of a file that may not be read, hides
/// what is whole, and is given as the outer one.
fn damage_only<T>(read: Result<T, LoadError>) -> Result<Result<T, LoadError>, RepairError> {
    match read {
        Err(LoadError::Io { path, error }) if !is_fault_of_file(&error) => {
            Err(RepairError::Unreadable { path, error })
        }
        other => Ok(other),
    }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> RepairError {
    |error| RepairError::Unreadable { path: path.to_owned(), error }
}

/// The tablets that shard 0's manifest and log tell of, with the type of their keys.
async fn known_tablets(runtime: &Runtime, files: &ShardFiles) -> BTreeMap<TabletId, TabletInfo> {
    let Ok(found) = manifest::find(runtime, files).await else { return BTreeMap::new() };
    let Ok((_, mut told)) = log::plan(runtime, files, &found.state).await else { return BTreeMap::new() };
    found.state.catalogue.into_iter().for_each(|map| told.take_map(map));
    let collections = told.map.iter().flat_map(|map| map.collections.values());
    let tablets = collections.flat_map(|collection| {
        collection.tablets.iter().map(|tablet| TabletInfo {
            collection: collection.id,
            tablet: tablet.id,
            epoch: tablet.epoch,
            key_type: collection.definition.key_type,
            next_seq: tablet.first_seq,
        })
    });
    tablets.map(|info| (info.tablet, info)).collect()
}

/// Puts aside, then repairs. `aside` is a directory that exists.
pub async fn apply(
    runtime: &Runtime,
    plan: &Plan,
    allowed: Allowed,
    aside: &Path,
) -> Result<(), RepairError> {
    assert!(plan.log.is_none() || allowed.cut_log, "a log is cut only when that is allowed");
    put_aside(runtime, plan, aside).await?;
    let mut state = plan.state.clone();
    for run in &plan.runs {
        let id = state.next_run;
        state.next_run = id.next();
        let through = state.covered;
        // What a repair that was cut short left is no run of anybody.
        let _ = runtime.remove_file(plan.files.runs().join(run_file_name(id))).await;
        let written =
            runs::rewrite(runtime, &plan.files, run, &plan.tablets, id, through, allowed.keep_older).await?;
        let at = state.runs.iter().position(|other| other.id == run.meta.id).expect("the state names it");
        match written {
            Some(meta) => state.runs[at] = meta,
            None => {
                let _ = runtime.remove_file(plan.files.runs().join(run_file_name(id))).await;
                state.runs.remove(at);
            }
        }
    }
    // What only lost entries referred to.
    state.forget_unused_values();
    if !plan.runs.is_empty() || plan.log.is_some() {
        // Counted anew by the next start: runs may have records of the log that is cut, and count without them.
        state.tablets.iter_mut().for_each(|tablet| tablet.epoch = Epoch::ZERO);
    }
    if let Some(cut) = &plan.log {
        state.floor = cut.damage.last_lsn;
        // Nor is what was behind the cut missed any more.
        state.made = Made::default();
        if plan.files.shard == WRITER {
            state.catalogue = plan.told.map.clone();
        }
    }
    // What was given out behind a cut, or behind the state found, is not known.
    state.clean &= plan.log.is_none() && plan.manifest.is_none();
    let (dir, shard) = (&plan.files.dir, plan.files.shard);
    Manifest::rebuild(runtime, dir, shard, plan.generation + 1, &state.encode()).await?;
    // Behind the state: a log that is cut may be one that starts, and what counts by it must be in force then.
    if let Some(cut) = &plan.log {
        log::cut(runtime, &plan.files, cut).await?;
    }
    for run in &plan.runs {
        let _ = runtime.remove_file(plan.files.runs().join(run_file_name(run.meta.id))).await;
    }
    Ok(runtime.sync_dir(plan.files.runs()).await?)
}

/// Gives second names to all that will be replaced, and to runs that no state names.
async fn put_aside(runtime: &Runtime, plan: &Plan, aside: &Path) -> Result<(), RepairError> {
    let there = ShardFiles::of(aside, plan.files.shard);
    crashsafe::create_dir(runtime, &there.dir).await?;
    for dir in [there.runs(), there.log()] {
        crashsafe::create_dir(runtime, &dir).await?;
    }
    let mut names: Vec<(PathBuf, PathBuf)> = Vec::new();
    for entry in runtime.list(&plan.files.dir).await?.into_iter().filter(|entry| !entry.is_dir) {
        names.push((plan.files.dir.join(&entry.name), there.dir.join(&entry.name)));
    }
    for entry in runtime.list(plan.files.runs()).await? {
        let damaged = plan.runs.iter().any(|run| run_file_name(run.meta.id) == entry.name);
        if super::runs::parse_value_file_name(&entry.name).is_some_and(|id| plan.state.names_values(id)) {
            continue;
        }
        let id = super::runs::parse_run_file_name(&entry.name);
        if damaged || id.is_none_or(|id| !plan.state.names_run(id)) {
            names.push((plan.files.runs().join(&entry.name), there.runs().join(&entry.name)));
        }
    }
    for id in plan.log.iter().flat_map(LogPlan::touched) {
        let name = segment_file_name(id);
        names.push((plan.files.log().join(&name), there.log().join(&name)));
    }
    for (from, to) in names {
        runtime.link(from, to).await?;
    }
    for dir in [there.runs(), there.log(), there.dir] {
        runtime.sync_dir(dir).await?;
    }
    Ok(())
}
