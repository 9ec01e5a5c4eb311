//! From the files of a shard back to its engine.
//!
//! Manifest, then runs from the oldest, then the log behind them. Versions meet by LSN, so nothing
//! depends on what a run and the log both hold. What lies behind the last valid block is cut, and a new
//! segment begins that says so before anything is served: a late write of a dead process never counts.
//!
//! Invariant: a record is given back if and only if it is in a run that the manifest names, or in the
//! valid part of the log.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::catalogue::Catalogue;
use super::clock::HybridClock;
use super::control::WRITER;
use super::core::Core;
use super::delta::{NEVER, Version};
use super::engine::Engine;
use super::key::Key;
use super::ledger::Ledger;
use super::node::Node;
use super::options::ShardOptions;
use super::payload::Payload;
use super::receipts::{self, Receipt, Receipts};
use super::restore;
use super::runs;
use super::segments::Segments;
use super::staged::form_of;
use super::start_error::StartError;
use super::state::ShardState;
use super::store::{Levels, Part, Shelf, Store};
use super::tablets::Tablets;
use crate::io::buf::AlignedBuf;
use crate::io::codec::Reader;
use crate::io::crashsafe;
use crate::io::executor::Class;
use crate::io::log::{
    Kind, LogBuilder, RecordRef, Recovered, Replay, ReplayStart, SegmentFile, Step, parse_segment_file_name,
    segment_file_name,
};
use crate::io::manifest::Manifest;
use crate::io::op::{OpenMode, Sync};
use crate::io::runtime::{File, Runtime};
use crate::limits;
use crate::types::{Lsn, NodeId, RunId, SegmentId, ShardId};

/// A shard with its files open, before it knows the map.
pub struct Restored {
    pub core: Rc<Core>,
    /// The log was not closed in order: versions may have been given out that are not in it.
    pub crashed: bool,
    /// There was nothing.
    pub fresh: bool,
}

struct Dirs {
    shard: PathBuf,
    log: PathBuf,
    runs: PathBuf,
}

/// What the log gave.
struct Replayed {
    tablets: Tablets,
    catalogue: Option<Catalogue>,
    receipts: Receipts,
    /// The first record that is not what its kind says.
    bad: Option<Lsn>,
    bytes: u64,
}

pub async fn recover(node: &Node) -> Result<Restored, StartError> {
    let dirs = make_dirs(node).await?;
    let opened = Manifest::open(node.runtime(), &dirs.shard, node.shard()).await;
    match opened.map_err(StartError::Manifest)? {
        None => begin(node, &dirs).await,
        Some((manifest, bytes)) => {
            let state = ShardState::decode(&bytes).map_err(StartError::State)?;
            resume(node, &dirs, manifest, state).await
        }
    }
}

/// What a start of a node of `wanted` shards would first say of those that are there. Changes nothing.
pub async fn foresee(
    runtime: &Runtime,
    options: &ShardOptions,
    there: &[ShardId],
    wanted: u16,
) -> Result<(), (ShardId, StartError)> {
    require_restored(runtime, &options.data_dir).await.map_err(|error| (WRITER, error))?;
    for shard in there {
        let because = |error| (*shard, error);
        let read = Manifest::read(runtime, &options.shard_dir(*shard), *shard).await;
        let Some(bytes) = read.map_err(|error| because(StartError::Manifest(error)))? else { continue };
        let state = ShardState::decode(&bytes).map_err(|error| because(StartError::State(error)))?;
        require_shards(&state, wanted).map_err(because)?;
        require_log(runtime, &options.shard_dir(*shard)).await.map_err(because)?;
    }
    Ok(())
}

/// It is made before the first state is committed. One that is gone has taken with it what was only there.
async fn require_log(runtime: &Runtime, shard: &Path) -> Result<(), StartError> {
    let dir = shard.join("log");
    match runtime.list(&dir).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StartError::LogMissing { dir }),
        _ => Ok(()),
    }
}

async fn require_restored(runtime: &Runtime, data_dir: &Path) -> Result<(), StartError> {
    let unfinished = restore::is_unfinished(runtime, data_dir).await;
    match unfinished.map_err(|error| io_at(data_dir, error))? {
        true => Err(StartError::HalfRestored { dir: data_dir.to_owned() }),
        false => Ok(()),
    }
}

fn require_shards(state: &ShardState, wanted: u16) -> Result<(), StartError> {
    match state.shards {
        found if found != wanted => Err(StartError::ShardCount { found, wanted }),
        _ => Ok(()),
    }
}

async fn make_dirs(node: &Node) -> Result<Dirs, StartError> {
    let options = &node.inner().options;
    require_restored(node.runtime(), &options.data_dir).await?;
    let shard = options.shard_dir(node.shard());
    let dirs = Dirs { log: shard.join("log"), runs: shard.join("runs"), shard };
    for dir in [&dirs.shard, &dirs.log, &dirs.runs] {
        crashsafe::create_dir(node.runtime(), dir).await.map_err(|error| io_at(dir, error))?;
    }
    Ok(dirs)
}

fn io_at(path: &Path, error: io::Error) -> StartError {
    StartError::Io { path: path.to_owned(), error }
}

fn new_node(node: &Node) -> NodeId {
    NodeId(node.runtime().random().max(1))
}

/// A shard that has never been.
async fn begin(node: &Node, dirs: &Dirs) -> Result<Restored, StartError> {
    let left_over = !segment_files(node.runtime(), &dirs.log).await?.is_empty()
        || !list(node.runtime(), &dirs.runs).await?.is_empty();
    if left_over {
        return Err(StartError::ManifestMissing { dir: dirs.shard.clone() });
    }
    let options = &node.inner().options;
    let state = ShardState {
        shards: node.shards() as u16,
        node: if node.shard() == WRITER { new_node(node) } else { NodeId::ZERO },
        log_segment_bytes: options.log_segment_bytes as u64,
        first_segment: SegmentId(1),
        next_run: RunId(1),
        ..ShardState::default()
    };
    let manifest = Manifest::create(node.runtime(), &dirs.shard, node.shard(), &state.encode())
        .await
        .map_err(StartError::Manifest)?;
    let log = LogBuilder::fresh(node.shard(), SegmentId(1), options.log_segment_bytes);
    let segments = make_segments(node, dirs, BTreeMap::new(), SegmentId(1));
    let from = Beginning { log, segments, last_lsn: Lsn::ZERO, clock: 0 };
    let replayed = Replayed::new(node, Tablets::new(node.shard(), options.index));
    let core = open(node, dirs, from, replayed, manifest, state).await?;
    Ok(Restored { core, crashed: false, fresh: true })
}

async fn resume(
    node: &Node,
    dirs: &Dirs,
    manifest: Manifest,
    mut state: ShardState,
) -> Result<Restored, StartError> {
    require_shards(&state, node.shards() as u16)?;
    let runtime = node.runtime();
    sort_out_runs(runtime, dirs, &state).await?;
    let tablets = load_runs(node, dirs, &state).await?;
    let files = segment_files(runtime, &dirs.log).await?;
    let (mut recovered, replayed) = replay(node, dirs, &state, &files, tablets).await?;
    // Where a repair has cut the log, runs may have what it has lost.
    let newest = state.runs.iter().map(|run| run.lsn_max).max().unwrap_or(Lsn::ZERO);
    recovered.last_lsn = recovered.last_lsn.max(newest);
    if let Some(lsn) = replayed.bad {
        return Err(StartError::Record { lsn });
    }
    sync_segments(runtime, dirs, &state, &files, &recovered).await?;

    let crashed = !(state.clean && recovered.last_lsn == state.floor);
    let next_lsn = match crashed {
        true => recovered.next_lsn(),
        // An earlier recovery may have jumped and logged nothing.
        false => recovered.last_lsn.next().max(recovered.base_lsn),
    };
    state.begin_from_snapshot(next_lsn);
    let segment_bytes = node.inner().options.log_segment_bytes;
    let log = LogBuilder::after(node.shard(), &recovered, next_lsn, segment_bytes);
    let (live, old, void) = sort_out(&files, &state, &recovered);
    // Their room may be needed for the new segment.
    remove_segments(runtime, dirs, &old).await?;
    let segments = make_segments(node, dirs, live, log.segment());
    let clock = state.clock.max(recovered.max_commit_ts);
    let from = Beginning { log, segments, last_lsn: recovered.last_lsn, clock };
    let core = open(node, dirs, from, replayed, manifest, state).await?;
    remove_segments(runtime, dirs, &void).await?;
    Ok(Restored { core, crashed, fresh: false })
}

async fn list(runtime: &Runtime, dir: &Path) -> Result<Vec<crate::io::op::DirEntry>, StartError> {
    runtime.list(dir).await.map_err(|error| io_at(dir, error))
}

async fn segment_files(runtime: &Runtime, dir: &Path) -> Result<Vec<SegmentFile>, StartError> {
    let entries = list(runtime, dir).await?;
    let segment = |entry: &crate::io::op::DirEntry| {
        Some(SegmentFile { id: parse_segment_file_name(&entry.name)?, len: entry.len })
    };
    Ok(entries.iter().filter_map(segment).collect())
}

/// Removes leftovers of what was not published, and looks whether all else is there.
async fn sort_out_runs(runtime: &Runtime, dirs: &Dirs, state: &ShardState) -> Result<(), StartError> {
    let entries = list(runtime, &dirs.runs).await?;
    let named = |entry: &crate::io::op::DirEntry| Some((runs::parse_run_file_name(&entry.name)?, entry.len));
    let lens: BTreeMap<RunId, u64> = entries.iter().filter_map(named).collect();
    for run in &state.runs {
        let (wanted, found) = (run.file_len, lens.get(&run.id).copied().unwrap_or(0));
        if wanted != found {
            let path = dirs.runs.join(runs::run_file_name(run.id));
            return Err(StartError::Run(runs::LoadError::Length { path, wanted, found }));
        }
    }
    let named =
        |entry: &crate::io::op::DirEntry| Some((runs::parse_value_file_name(&entry.name)?, entry.len));
    let lens: BTreeMap<RunId, u64> = entries.iter().filter_map(named).collect();
    for file in &state.values {
        let (wanted, found) = (file.file_len, lens.get(&file.id).copied().unwrap_or(0));
        if wanted != found {
            let path = dirs.runs.join(runs::value_file_name(file.id));
            return Err(StartError::Run(runs::LoadError::Length { path, wanted, found }));
        }
    }
    for entry in entries {
        let run = runs::parse_run_file_name(&entry.name).is_some_and(|id| !state.names_run(id));
        let values = runs::parse_value_file_name(&entry.name).is_some_and(|id| !state.names_values(id));
        if run || values {
            let path = dirs.runs.join(&entry.name);
            runtime.remove_file(path.clone()).await.map_err(|error| io_at(&path, error))?;
        }
    }
    Ok(())
}

async fn load_runs(node: &Node, dirs: &Dirs, state: &ShardState) -> Result<Tablets, StartError> {
    let mut tablets = Tablets::new(node.shard(), node.inner().options.index);
    for tablet in &state.tablets {
        tablets.resume(tablet);
    }
    for run in &state.loaded_runs {
        runs::load(node.runtime(), &dirs.runs, run, &mut tablets).await.map_err(StartError::Run)?;
        node.inner().replayed.set(node.inner().replayed.get() + run.entries);
    }
    Ok(tablets)
}

async fn replay(
    node: &Node,
    dirs: &Dirs,
    state: &ShardState,
    files: &[SegmentFile],
    tablets: Tablets,
) -> Result<(Recovered, Replayed), StartError> {
    let start = ReplayStart {
        shard: node.shard(),
        from: state.first_segment,
        first_wanted: state.covered.next(),
        floor: state.floor,
        made: state.made,
    };
    let mut replay = Replay::new(start, files).map_err(StartError::Log)?;
    if let Some(to) = state.replay_to {
        replay = replay.until(to);
    }
    let mut replayed = Replayed { catalogue: state.catalogue.clone(), ..Replayed::new(node, tablets) };
    let mut open_file: Option<(SegmentId, File)> = None;
    let mut count = node.inner().replayed.get();
    loop {
        let read = match replay.step() {
            Step::Done(recovered) => {
                for passed in replay.passed() {
                    tracing::warn!("{passed}");
                }
                return Ok((recovered, replayed));
            }
            Step::Read(read) => read,
        };
        let path = dirs.log.join(segment_file_name(read.segment));
        if open_file.as_ref().is_none_or(|(id, _)| *id != read.segment) {
            let file = node.runtime().open(path.clone(), OpenMode::Read).await;
            open_file = Some((read.segment, file.map_err(|error| io_at(&path, error))?));
        }
        let Some((_, file)) = &open_file else { unreachable!("opened above") };
        let (len, buf) = file
            .read(read.offset, AlignedBuf::zeroed(read.len))
            .await
            .map_err(|error| io_at(&path, error))?;
        let mut sink = |record: RecordRef<'_>| {
            count += 1;
            if state.counts(record.lsn) {
                replayed.take(&record);
            }
        };
        replay.feed(&buf[..len.min(read.len)], &mut sink).map_err(StartError::Log)?;
        node.inner().replayed.set(count);
        node.runtime().yield_now().await;
    }
}

impl Replayed {
    fn new(node: &Node, tablets: Tablets) -> Replayed {
        let receipts = Receipts::new(node.inner().options.memory_bytes);
        Replayed { tablets, catalogue: None, receipts, bad: None, bytes: 0 }
    }

    fn take(&mut self, record: &RecordRef<'_>) {
        if record.parts.meta.kind != Kind::Receipts {
            self.bytes += record.parts.encoded_len() as u64;
        }
        if self.try_take(record).is_none() {
            self.bad.get_or_insert(record.lsn);
        }
    }

    fn try_take(&mut self, record: &RecordRef<'_>) -> Option<()> {
        let meta = &record.parts.meta;
        let payload = match meta.kind {
            Kind::Put => Some(Payload::from_bytes(record.parts.payload)?),
            Kind::Delete => None,
            Kind::Catalogue | Kind::PlacedCatalogue | Kind::DocumentCatalogue => {
                let map =
                    Catalogue::decode(&mut Reader::new(record.parts.payload), form_of(meta.kind)?).ok()?;
                // The manifest may know a newer one: of a log that was cut since.
                if self.catalogue.as_ref().is_none_or(|known| known.epoch < map.epoch) {
                    self.catalogue = Some(map);
                }
                return Some(());
            }
            Kind::Receipts => {
                self.receipts.take_up(&receipts::decode(record.parts.payload)?, record.lsn);
                return Some(());
            }
            // No writer of these kinds exists yet.
            Kind::Prepare | Kind::Commit | Kind::Tablet => return None,
        };
        let expires = meta.expiry.unwrap_or(NEVER);
        let version = Version { lsn: record.lsn, seq: meta.seq, expires, payload };
        let key = Key::from_bytes(record.parts.key);
        self.tablets.restore(meta.tablet, meta.collection, key, version, meta.replaces);
        if let Some(once) = meta.once {
            self.receipts.put(once.token, Receipt::of(meta, once, record.lsn));
        }
        Some(())
    }
}

/// What was read back may have been in a cache only: from here on it is built upon.
async fn sync_segments(
    runtime: &Runtime,
    dirs: &Dirs,
    state: &ShardState,
    files: &[SegmentFile],
    recovered: &Recovered,
) -> Result<(), StartError> {
    for file in files {
        if (state.first_segment..=recovered.cut.segment).contains(&file.id) {
            let path = dirs.log.join(segment_file_name(file.id));
            let synced = async { runtime.open(path.clone(), OpenMode::ReadWrite).await?.sync().await };
            synced.await.map_err(|error| io_at(&path, error))?;
        }
    }
    runtime.sync_dir(&dirs.log).await.map_err(|error| io_at(&dirs.log, error))
}

async fn remove_segments(runtime: &Runtime, dirs: &Dirs, ids: &[SegmentId]) -> Result<(), StartError> {
    for id in ids {
        let path = dirs.log.join(segment_file_name(*id));
        runtime.remove_file(path.clone()).await.map_err(|error| io_at(&path, error))?;
    }
    Ok(())
}

/// Segments with log in them, those from before the checkpoint, and those behind the cut.
fn sort_out(
    files: &[SegmentFile],
    state: &ShardState,
    recovered: &Recovered,
) -> (BTreeMap<SegmentId, Lsn>, Vec<SegmentId>, Vec<SegmentId>) {
    let (mut live, mut old, mut void) = (BTreeMap::new(), Vec::new(), Vec::new());
    for file in files {
        if file.id > recovered.cut.segment {
            void.push(file.id);
        } else if file.id >= state.first_segment {
            live.insert(file.id, recovered.last_lsn);
        } else {
            old.push(file.id);
        }
    }
    (live, old, void)
}

fn make_segments(node: &Node, dirs: &Dirs, live: BTreeMap<SegmentId, Lsn>, next: SegmentId) -> Rc<Segments> {
    let bytes = node.inner().options.log_segment_bytes;
    Rc::new(Segments::new(node.runtime().clone(), dirs.log.clone(), bytes, live, next))
}

/// Where the log goes on.
struct Beginning {
    log: LogBuilder,
    segments: Rc<Segments>,
    last_lsn: Lsn,
    clock: u64,
}

/// Makes the new segment's beginning durable: from here on the cut holds.
async fn open(
    node: &Node,
    dirs: &Dirs,
    from: Beginning,
    replayed: Replayed,
    manifest: Manifest,
    state: ShardState,
) -> Result<Rc<Core>, StartError> {
    let Beginning { mut log, segments, last_lsn, clock } = from;
    segments.make_first().await.map_err(|error| io_at(&dirs.log, error))?;
    let block = log.next_block(last_lsn).expect("the first block is built in any case");
    segments.note_block(block.segment, block.begun_lsn);
    let file = segments.file(block.segment).await;
    let path = dirs.log.join(segment_file_name(block.segment));
    file.write(block.offset, block.buf, Sync::Data).await.map_err(|error| io_at(&path, error))?;

    let options = &node.inner().options;
    let Replayed { tablets, catalogue, receipts, bytes, .. } = replayed;
    let clock = HybridClock::resume(clock);
    let block_bytes = options.memory_bytes / limits::MEMORY_BYTES_PER_WARM_BLOCK_BYTE;
    let shelf = Shelf::new(node.runtime().clone(), dirs.runs.clone(), block_bytes);
    state.values.iter().for_each(|file| shelf.add_values(*file));
    let parts = state.runs.iter().map(|run| Rc::new(Part::new(shelf.clone(), run.clone())));
    let levels = Levels::new(parts);
    let value_bytes = options.memory_bytes / limits::MEMORY_BYTES_PER_CACHE_BYTE;
    let store = Store::new(shelf, levels, value_bytes, block_bytes);
    let budget = options.memory_bytes;
    let mut engine = Engine::new(node.shard(), log, clock, tablets, store, last_lsn, budget);
    engine.receipts = receipts;
    if let Some(catalogue) = catalogue {
        engine.restore_catalogue(Arc::new(catalogue));
    }
    let mailbox = node.inner().mailbox.clone();
    let runtime = node.runtime().clone();
    let ledger = Ledger::new(manifest, state);
    let core = Rc::new(Core::new(runtime, mailbox, engine, segments.clone(), ledger, options, bytes));
    let witness = core.clone();
    let ahead = segments.keep_ahead(async move || witness.witness_segments().await);
    node.runtime().spawn(Class::Background, ahead);
    Ok(core)
}
