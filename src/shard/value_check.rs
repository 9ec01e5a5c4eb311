//! Reads everything in the value files of a stopped shard, and follows every reference to them.
//!
//! A value that is damaged is told with its key: the runs are asked who refers to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::inspect::Finding;
use super::run::value_file::{check_value, stray_reference};
use super::run::{Body, RunError, ValueFooter, ValueMeta, ValueRef};
use super::runs::{self, LoadError, parse_value_file_name, run_file_name, value_file_name};
use super::state::{RunMeta, ShardState};
use crate::io::buf::{AlignedBuf, BLOCK_BYTES};
use crate::io::op::OpenMode;
use crate::io::runtime::{File, Runtime};
use crate::limits;
use crate::types::{FileOffset, RunId, ShardId};

/// The values of a file, in order of their places, and those that are damaged.
struct Checked {
    values: Vec<ValueRef>,
    damaged: BTreeMap<ValueRef, String>,
}

/// Damage of value files that the manifest names, and references that lead nowhere.
pub async fn verify(runtime: &Runtime, dir: &Path, shard: ShardId, state: &ShardState) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut files = BTreeMap::new();
    for meta in &state.values {
        match check_file(runtime, dir, *meta).await {
            Ok(checked) => drop(files.insert(meta.id, checked)),
            Err(error) => findings.push(finding(shard, dir.join(value_file_name(meta.id)), &error)),
        }
    }
    for run in state.runs.iter().filter(|run| !run.values.is_empty()) {
        // What is wrong with the run itself was found already.
        if let Ok(stray) = follow(runtime, dir, run, &mut files).await {
            findings.extend(stray.map(|error| finding(shard, dir.join(run_file_name(run.id)), &error)));
        }
    }
    for (id, checked) in files {
        let file = dir.join(value_file_name(id));
        findings.extend(in_values(shard, &file, checked.damaged));
    }
    findings
}

/// Every value file, when no manifest says which of them count.
pub async fn verify_alone(runtime: &Runtime, dir: &Path, shard: ShardId) -> Vec<Finding> {
    let mut findings = Vec::new();
    let entries = runtime.list(dir).await.unwrap_or_default();
    for entry in entries {
        let Some(id) = parse_value_file_name(&entry.name) else { continue };
        let file = dir.join(&entry.name);
        match check_alone(runtime, dir, id).await {
            Ok(checked) => findings.extend(in_values(shard, &file, checked.damaged)),
            Err(error) => findings.push(finding(shard, file, &error)),
        }
    }
    findings
}

/// The first damage in a value file, by what the file says of itself.
pub async fn damage_alone(runtime: &Runtime, dir: &Path, id: RunId) -> Option<String> {
    match check_alone(runtime, dir, id).await {
        Ok(checked) => checked.damaged.into_values().next(),
        Err(error) => Some(error.to_string()),
    }
}

async fn check_alone(runtime: &Runtime, dir: &Path, id: RunId) -> Result<Checked, LoadError> {
    let path = dir.join(value_file_name(id));
    let file = open(runtime, &path).await?;
    let len = file.len().await.map_err(|error| LoadError::Io { path: path.clone(), error })?;
    let footer = FileOffset(len.saturating_sub(BLOCK_BYTES as u64));
    let page = read(&file, &path, footer, BLOCK_BYTES).await?;
    let cut = || LoadError::Length { path, wanted: BLOCK_BYTES as u64, found: len };
    let meta = ValueFooter::meta_of(&page, id, len).ok_or_else(cut)?;
    check_file(runtime, dir, meta).await
}

/// What the type of the keys is, the map knows.
fn readable(key: &[u8]) -> String {
    let text = String::from_utf8_lossy(key);
    match <[u8; 8]>::try_from(key) {
        Ok(number) => format!("{} (or {text:?}, where keys are strings)", u64::from_be_bytes(number)),
        Err(_) => format!("{text:?}"),
    }
}

fn in_values(
    shard: ShardId,
    file: &Path,
    damaged: BTreeMap<ValueRef, String>,
) -> impl Iterator<Item = Finding> {
    damaged.into_iter().map(move |(at, what)| Finding {
        offset: Some(at.offset),
        ..Finding::of(shard, file.to_owned(), what)
    })
}

fn finding(shard: ShardId, file: PathBuf, error: &LoadError) -> Finding {
    let offset = match error {
        LoadError::Damaged { error, .. } => Some(error.offset),
        _ => None,
    };
    Finding { offset, ..Finding::of(shard, file, error.to_string()) }
}

async fn open(runtime: &Runtime, path: &Path) -> Result<File, LoadError> {
    let opened = runtime.open(path.to_owned(), OpenMode::Read).await;
    opened.map_err(|error| LoadError::Io { path: path.to_owned(), error })
}

/// Fewer bytes than `len` when the file ends before: whoever takes them says where.
async fn read(file: &File, path: &Path, offset: FileOffset, len: usize) -> Result<Vec<u8>, LoadError> {
    let read = file.read(offset, AlignedBuf::zeroed(len)).await;
    let (count, buf) = read.map_err(|error| LoadError::Io { path: path.to_owned(), error })?;
    Ok(buf[..count.min(len)].to_vec())
}

/// Reads every byte of a value file.
async fn check_file(runtime: &Runtime, dir: &Path, meta: ValueMeta) -> Result<Checked, LoadError> {
    let path = dir.join(value_file_name(meta.id));
    let damaged = |error: RunError| LoadError::Damaged { path: path.clone(), error };
    let file = open(runtime, &path).await?;
    let found = file.len().await.map_err(|error| LoadError::Io { path: path.clone(), error })?;
    if found != meta.file_len {
        return Err(LoadError::Length { path, wanted: meta.file_len, found });
    }
    let page = read(&file, &path, meta.footer_offset(), BLOCK_BYTES).await?;
    let footer = ValueFooter::decode(&page, meta).map_err(damaged)?;
    let header = read(&file, &path, FileOffset::ZERO, BLOCK_BYTES).await?;
    footer.check_header(&header).map_err(damaged)?;
    let table = read(&file, &path, footer.table.offset, footer.table.padded_len() as usize).await?;
    let values = footer.decode_table(&table).map_err(damaged)?;
    let mut checked = Checked { values: Vec::new(), damaged: BTreeMap::new() };
    for at in &values {
        let (mut hash, mut from) = (Xxh3::new(), 0);
        while from < at.padded_len() {
            let len = (at.padded_len() - from).min(limits::RUN_READ_BYTES as u64) as usize;
            let bytes = read(&file, &path, FileOffset(at.offset.0 + from), len).await?;
            hash.update(&bytes);
            from += len as u64;
            runtime.yield_now().await;
        }
        if let Err(error) = check_value(at, hash.digest()) {
            checked.damaged.insert(*at, damaged(error).to_string());
        }
    }
    checked.values = values;
    Ok(checked)
}

/// Looks at every reference of a run: gives the first that leads nowhere, and what does not add up. Names the
/// keys of damaged values.
async fn follow(
    runtime: &Runtime,
    dir: &Path,
    run: &RunMeta,
    files: &mut BTreeMap<RunId, Checked>,
) -> Result<Option<LoadError>, LoadError> {
    let path = dir.join(run_file_name(run.id));
    let (mut stray, mut uses) = (None, BTreeMap::<RunId, u64>::new());
    runs::read_entries(runtime, dir, run.file(), |collection, entry| {
        let Body::Apart(at) = &entry.body else { return };
        *uses.entry(at.file).or_default() += at.padded_len();
        let named = run.values.iter().any(|used| used.file == at.file);
        let known = match files.get_mut(&at.file) {
            Some(file) => {
                if let Some(what) = file.damaged.get_mut(at) {
                    let key = readable(entry.key);
                    what.push_str(&format!("; the value of key {key} of collection {collection}"));
                }
                file.values.binary_search(at).is_ok()
            }
            // The file itself was found damaged.
            None => named,
        };
        if !named || !known {
            stray.get_or_insert(*at);
        }
    })
    .await?;
    if let Some(at) = stray {
        return Ok(Some(LoadError::Damaged { path, error: stray_reference(&at) }));
    }
    let counted = uses.len() == run.values.len()
        && run.values.iter().all(|used| uses.get(&used.file) == Some(&used.bytes));
    Ok((!counted).then_some(LoadError::Derived { path, what: "count of what it refers to" }))
}
