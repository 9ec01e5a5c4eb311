//! `kyrodb verify`: reads everything that a stopped shard holds and names every damage.

use std::io;
use std::path::{Path, PathBuf};

use super::runs::{self, LoadError, run_file_name};
use super::state::{RunMeta, ShardState};
use crate::io::buf::AlignedBuf;
use crate::io::log::{
    Replay, ReplayError, ReplayStart, SegmentFile, Step, parse_segment_file_name, segment_file_name,
};
use crate::io::manifest::Manifest;
use crate::io::op::OpenMode;
use crate::io::runtime::Runtime;
use crate::types::{FileOffset, Lsn, ShardId};

/// One damaged place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub shard: ShardId,
    pub file: PathBuf,
    pub offset: Option<FileOffset>,
    /// The last LSN known to be whole before the place.
    pub lsn: Option<Lsn>,
    pub what: String,
}

/// Empty when a server would start and read every byte.
pub async fn verify(runtime: &Runtime, dir: &Path, shard: ShardId) -> Vec<Finding> {
    let whole = |what: String| Finding { shard, file: dir.to_owned(), offset: None, lsn: None, what };
    let bytes = match Manifest::read(runtime, dir, shard).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return vec![whole("no manifest: nothing was ever committed here".to_owned())],
        Err(error) => return vec![whole(error.to_string())],
    };
    let state = match ShardState::decode(&bytes) {
        Ok(state) => state,
        Err(error) => return vec![whole(error.to_string())],
    };
    let mut findings = Vec::new();
    for run in &state.runs {
        if let Err(error) = runs::check(runtime, &dir.join("runs"), run).await {
            findings.push(run_finding(shard, dir, run, &error));
        }
    }
    match verify_log(runtime, &dir.join("log"), shard, &state).await {
        Ok(damage) => findings.extend(damage),
        Err((file, error)) => findings.push(Finding { file, ..whole(error.to_string()) }),
    }
    findings
}

fn run_finding(shard: ShardId, dir: &Path, run: &RunMeta, error: &LoadError) -> Finding {
    let offset = match error {
        LoadError::Damaged { error, .. } => Some(error.offset),
        LoadError::Io { .. } | LoadError::Length { .. } | LoadError::Payload { .. } => None,
    };
    let file = dir.join("runs").join(run_file_name(run.id));
    Finding { shard, file, offset, lsn: Some(run.from), what: error.to_string() }
}

async fn verify_log(
    runtime: &Runtime,
    dir: &Path,
    shard: ShardId,
    state: &ShardState,
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
    let start = ReplayStart {
        shard,
        from: state.first_segment,
        first_wanted: state.covered.next(),
        floor: state.floor,
    };
    let mut findings = Vec::new();
    let mut replay = match Replay::new(start, &files) {
        Ok(replay) => replay,
        Err(error) => return Ok(vec![log_finding(shard, dir, &error)]),
    };
    while let Step::Read(read) = replay.step() {
        let path = dir.join(segment_file_name(read.segment));
        let file = runtime.open(path.clone(), OpenMode::Read).await.map_err(at(&path))?;
        let (len, buf) = file.read(read.offset, AlignedBuf::zeroed(read.len)).await.map_err(at(&path))?;
        if let Err(error) = replay.feed(&buf[..len.min(read.len)], &mut |_| ()) {
            findings.push(log_finding(shard, dir, &error));
            replay.resume(&error);
        }
    }
    Ok(findings)
}

fn log_finding(shard: ShardId, dir: &Path, error: &ReplayError) -> Finding {
    let (segment, offset) = error.place();
    Finding {
        shard,
        file: dir.join(segment_file_name(segment)),
        offset: Some(offset),
        lsn: error.last_lsn(),
        what: error.to_string(),
    }
}
