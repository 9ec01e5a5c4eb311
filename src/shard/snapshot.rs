//! Snapshots of the whole node: one moment of all shards, at once, by links instead of copies.
//!
//! Shard 0 takes them, one at a time. First the barrier, while no change of the map is under way:
//!
//! 1. Every shard is told to **hold**: it logs writes, but applies and answers none.
//! 2. When all hold, every shard **cuts**: it notes the last LSN applied, its state and its runs.
//! 3. When all have cut, they are **released**.
//!
//! Why no write is in a snapshot without the writes that it may rest on: let a write W on shard B be in the
//! snapshot, and let V on shard A have been answered before W was sent. W was applied before B held, so V was
//! answered before B held, and no shard cuts before all hold. So V was applied before A cut. A shard that
//! stopped holding on its own (see [`snapshot_part`]) does not cut, and the snapshot fails. The same goes for a
//! read: what it saw was applied.
//!
//! Then, while writes go on, every shard links its files into `snapshots/<id>.tmp` and writes a manifest there
//! that says where its log ends. The rename to `snapshots/<id>` is the moment of the snapshot's birth.
//!
//! Invariant: a directory in `snapshots` without `.tmp` is a whole snapshot, durable.
//! Invariant: nothing that the node does afterwards changes the records of a snapshot.
//!
//! [`snapshot_part`]: super::snapshot_part

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::control::{ChangeTurn, WRITER};
use super::core::Core;
use super::message::{Reply, Request};
use super::node::Node;
use super::operations::Operation;
use super::record::Refusal;
use super::restore::remove_tree;
use super::snapshot_calls::{Ask, Told, all, at_last};
use super::snapshot_part::Linked;
use crate::io::buf::AlignedBuf;
use crate::io::crashsafe;
use crate::io::executor::Class;
use crate::io::op::OpenMode;
use crate::io::runtime::Runtime;
use crate::limits;
use crate::types::{FileOffset, WallMs};

pub const SNAPSHOTS_DIR: &str = "snapshots";
pub const DESCRIPTION_FILE: &str = "snapshot.json";
const UNFINISHED: &str = ".tmp";

/// What is told of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub id: String,
    pub created_ms: u64,
    pub shards: u64,
    /// Of all its files; most of them are the node's as well.
    pub bytes: u64,
    pub records: u64,
}

impl Node {
    /// Takes a snapshot of everything that is acknowledged now.
    pub async fn snapshot(&self) -> Result<Snapshot, Refusal> {
        match self.ask_for_snapshots(Ask::Take).await? {
            Told::Taken(taken) => taken,
            other => unreachable!("a snapshot answered with {other:?}"),
        }
    }

    /// As [`Node::snapshot`], without waiting: gives the id of the operation.
    pub async fn begin_snapshot(&self) -> Result<String, Refusal> {
        match self.ask_for_snapshots(Ask::Begin).await? {
            Told::Begun(begun) => begun,
            other => unreachable!("the beginning of a snapshot answered with {other:?}"),
        }
    }

    /// All snapshots, the oldest first.
    pub async fn snapshots(&self) -> Result<Vec<Snapshot>, Refusal> {
        match self.ask_for_snapshots(Ask::List).await? {
            Told::Listed(listed) => listed,
            other => unreachable!("a list of snapshots answered with {other:?}"),
        }
    }

    /// False when there is none of this id.
    pub async fn drop_snapshot(&self, id: &str) -> Result<bool, Refusal> {
        match self.ask_for_snapshots(Ask::Drop { id: id.to_owned() }).await? {
            Told::Dropped(dropped) => dropped,
            other => unreachable!("dropping a snapshot answered with {other:?}"),
        }
    }

    /// How all long work stands that is remembered, from the oldest.
    pub async fn operations(&self) -> Result<Vec<Operation>, Refusal> {
        match self.ask_for_snapshots(Ask::Operations).await? {
            Told::Operations(operations) => Ok(operations),
            other => unreachable!("operations answered with {other:?}"),
        }
    }

    /// How a piece of long work stands.
    pub async fn operation(&self, id: &str) -> Result<Option<Operation>, Refusal> {
        match self.ask_for_snapshots(Ask::Operation { id: id.to_owned() }).await? {
            Told::Operation(operation) => Ok(operation),
            other => unreachable!("an operation answered with {other:?}"),
        }
    }

    async fn ask_for_snapshots(&self, ask: Ask) -> Result<Told, Refusal> {
        match self.call(WRITER, Request::Snapshot(ask)).await {
            Reply::Snapshot(told) => Ok(told),
            Reply::Done(Err(refusal)) => Err(refusal),
            other => unreachable!("a request for snapshots answered with {other:?}"),
        }
    }
}

// ---- on shard 0

/// Begins a snapshot as an operation that can be asked for.
pub(super) fn begin(node: &Node, core: &std::rc::Rc<Core>) -> Result<String, Refusal> {
    let runtime = node.runtime();
    let id = format!("{:016x}", runtime.random());
    core.snapshots.operations.borrow_mut().begin(&id, "snapshot", None, runtime.now())?;
    let (node, core, operation) = (node.clone(), core.clone(), id.clone());
    runtime.clone().spawn(Class::Foreground, async move {
        let progress = |done, of| core.snapshots.operations.borrow_mut().advance(&operation, done, of);
        let taken = take(&node, &core, &progress).await;
        let told = taken.map(|snapshot| serde_json::to_value(snapshot).expect("plain numbers and strings"));
        core.snapshots.operations.borrow_mut().end(&operation, told);
    });
    Ok(id)
}

pub(super) async fn take(
    node: &Node,
    core: &Core,
    progress: &dyn Fn(usize, usize),
) -> Result<Snapshot, Refusal> {
    let _turn = Turn::take(core).await;
    let dirs = Dirs::of(node);
    let id = new_id(node.runtime().wall(), node.runtime().random());
    let taken = take_into(node, &dirs, id.clone(), progress).await;
    if let Err(error) = &taken {
        tracing::warn!(%error, "a snapshot failed; the node goes on without it");
        if let Err(error) = undo(node.runtime(), &dirs, &id).await {
            tracing::warn!(%error, "what it left could not be removed; the next start will");
        }
    }
    taken.map_err(|error| error.refusal())
}

async fn take_into(
    node: &Node,
    dirs: &Dirs,
    id: String,
    progress: &dyn Fn(usize, usize),
) -> Result<Snapshot, TakeError> {
    let runtime = node.runtime();
    let unfinished = dirs.unfinished(&id);
    crashsafe::create_dir(runtime, &dirs.all).await?;
    crashsafe::create_dir(runtime, &unfinished).await?;
    let number = runtime.random();
    barrier(node, number).await?;
    let created = runtime.wall();
    let linked = link_all(node, number, &unfinished, progress).await?;
    let sum = |of: fn(&Linked) -> u64| linked.iter().map(of).sum();
    let snapshot = Snapshot {
        created_ms: created.0,
        shards: node.shards() as u64,
        bytes: sum(|part| part.bytes),
        records: sum(|part| part.records),
        id,
    };
    let description = serde_json::to_vec(&snapshot).expect("plain numbers and strings");
    crashsafe::write_file(runtime, &unfinished, DESCRIPTION_FILE, &description).await?;
    runtime.rename(unfinished, dirs.finished(&snapshot.id)).await?;
    runtime.sync_dir(&dirs.all).await?;
    Ok(snapshot)
}

/// Under its name it is whole, or it is not there: so that name goes first.
async fn undo(runtime: &Runtime, dirs: &Dirs, id: &str) -> io::Result<()> {
    if runtime.rename(dirs.finished(id), dirs.unfinished(id)).await.is_ok() {
        runtime.sync_dir(&dirs.all).await?;
    }
    match remove_tree(runtime, &dirs.unfinished(id)).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// When it returns, every shard has cut at the same moment and goes on.
async fn barrier(node: &Node, number: u64) -> Result<(), Refusal> {
    let _turn = ChangeTurn::take(node).await;
    let cut = async {
        all(node, || Ask::Hold { number }).await?;
        all(node, || Ask::Cut { number }).await
    };
    let cut = cut.await;
    at_last(node, Ask::Release { number, wanted: cut.is_ok() }).await;
    cut
}

async fn link_all(
    node: &Node,
    number: u64,
    into: &Path,
    progress: &dyn Fn(usize, usize),
) -> Result<Vec<Linked>, Refusal> {
    let ask = Ask::Link { number, into: into.to_owned() };
    let shards = node.shards();
    // Every shard is heard, also when one has failed: nobody links into a directory that is being removed.
    let told = at_last(node, ask).await;
    let mut linked = Vec::with_capacity(shards);
    for told in told {
        match told {
            Told::Linked(part) => linked.push(part?),
            Told::Done(Err(refusal)) => return Err(refusal),
            other => unreachable!("a link answered with {other:?}"),
        }
        progress(linked.len(), shards + 1);
    }
    Ok(linked)
}

pub(super) async fn list(node: &Node) -> Result<Vec<Snapshot>, Refusal> {
    let runtime = node.runtime();
    let dirs = Dirs::of(node);
    let mut found = Vec::new();
    for id in dirs.ids(runtime).await.map_err(|error| TakeError::from(error).refusal())? {
        match describe(runtime, &dirs.finished(&id)).await {
            Ok(snapshot) => found.push(snapshot),
            Err(error) => tracing::warn!(%id, %error, "a snapshot without a description"),
        }
    }
    found.sort_by(|a, b| (a.created_ms, &a.id).cmp(&(b.created_ms, &b.id)));
    Ok(found)
}

async fn describe(runtime: &Runtime, dir: &Path) -> io::Result<Snapshot> {
    let file = runtime.open(dir.join(DESCRIPTION_FILE), OpenMode::Read).await?;
    let buf = AlignedBuf::zeroed(limits::SNAPSHOT_DESCRIPTION_BYTES_MAX);
    let (len, buf) = file.read(FileOffset::ZERO, buf).await?;
    Ok(serde_json::from_slice(&buf[..len])?)
}

/// Renamed first: a crash leaves a whole snapshot or an unfinished one.
pub(super) async fn remove(node: &Node, core: &Core, id: &str) -> Result<bool, Refusal> {
    let _turn = Turn::take(core).await;
    let runtime = node.runtime();
    let dirs = Dirs::of(node);
    let removed = async {
        if !dirs.ids(runtime).await?.iter().any(|known| known == id) {
            return Ok(false);
        }
        runtime.rename(dirs.finished(id), dirs.unfinished(id)).await?;
        runtime.sync_dir(&dirs.all).await?;
        remove_tree(runtime, &dirs.unfinished(id)).await?;
        Ok(true)
    };
    removed.await.map_err(|error: io::Error| {
        tracing::warn!(%id, %error, "a snapshot could not be removed");
        TakeError::from(error).refusal()
    })
}

/// Removes what a crash left of snapshots that were being made or removed.
pub(super) async fn sweep(node: Node, core: std::rc::Rc<Core>) {
    let _turn = Turn::take(&core).await;
    let runtime = node.runtime();
    let dirs = Dirs::of(&node);
    let entries = runtime.list(&dirs.all).await.unwrap_or_default();
    for entry in entries.iter().filter(|entry| entry.is_dir && entry.name.ends_with(UNFINISHED)) {
        if let Err(error) = remove_tree(runtime, &dirs.all.join(&entry.name)).await {
            tracing::warn!(name = %entry.name, %error, "an unfinished snapshot could not be removed");
        }
    }
}

struct Dirs {
    all: PathBuf,
}

impl Dirs {
    fn of(node: &Node) -> Dirs {
        Dirs { all: node.inner().options.data_dir.join(SNAPSHOTS_DIR) }
    }

    fn finished(&self, id: &str) -> PathBuf {
        self.all.join(id)
    }

    fn unfinished(&self, id: &str) -> PathBuf {
        self.all.join(format!("{id}{UNFINISHED}"))
    }

    async fn ids(&self, runtime: &Runtime) -> io::Result<Vec<String>> {
        let entries = match runtime.list(&self.all).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed?,
        };
        let finished = entries.into_iter().filter(|entry| entry.is_dir && !entry.name.ends_with(UNFINISHED));
        Ok(finished.map(|entry| entry.name).collect())
    }
}

/// The right to make or remove snapshots, until dropped.
struct Turn<'a> {
    core: &'a Core,
}

impl<'a> Turn<'a> {
    async fn take(core: &'a Core) -> Turn<'a> {
        loop {
            let over = core.snapshots.turn_over.wait();
            if !core.snapshots.taking.replace(true) {
                return Turn { core };
            }
            over.await;
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.core.snapshots.taking.set(false);
        self.core.snapshots.turn_over.notify();
    }
}

#[derive(Debug)]
enum TakeError {
    Io(io::Error),
    Refused(Refusal),
}

impl TakeError {
    fn refusal(&self) -> Refusal {
        match self {
            TakeError::Refused(refusal) => *refusal,
            TakeError::Io(error) if error.kind() == io::ErrorKind::StorageFull => Refusal::DiskFull,
            TakeError::Io(_) => Refusal::SnapshotFailed { shard: WRITER },
        }
    }
}

impl std::fmt::Display for TakeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TakeError::Io(error) => error.fmt(f),
            TakeError::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl From<io::Error> for TakeError {
    fn from(error: io::Error) -> TakeError {
        TakeError::Io(error)
    }
}

impl From<Refusal> for TakeError {
    fn from(refusal: Refusal) -> TakeError {
        TakeError::Refused(refusal)
    }
}

/// Sorts by time and can be a name of a directory anywhere: `20260131T235959Z-1a2b`.
pub fn new_id(now: WallMs, random: u64) -> String {
    let seconds = now.0 / 1000;
    let (year, month, day) = date_of(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z-{:04x}", random as u16)
}

/// Whether a name has the form that [`new_id`] gives.
pub fn is_id(name: &str) -> bool {
    let form = b"00000000T000000Z-xxxx";
    name.len() == form.len()
        && name.bytes().zip(form).all(|(byte, wanted)| match wanted {
            b'0' => byte.is_ascii_digit(),
            b'x' => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            _ => byte == *wanted,
        })
}

/// Year, month and day of a day counted from 1970-01-01. Years begin in March here, so that the odd day is
/// the last one.
pub fn date_of(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, of_year - (153 * from_march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_the_time() {
        for (seconds, wanted) in [
            (0, "19700101T000000Z-beef"),
            (951_782_399, "20000228T235959Z-beef"),
            (951_782_400, "20000229T000000Z-beef"),
            (1_709_251_200, "20240301T000000Z-beef"),
            (1_767_225_599, "20251231T235959Z-beef"),
            (4_107_542_400, "21000301T000000Z-beef"),
        ] {
            assert_eq!(new_id(WallMs(seconds * 1000), 0xdead_beef), wanted);
            assert!(is_id(wanted) && !is_id(&wanted[1..]) && !is_id(&wanted.to_lowercase()), "{wanted}");
        }
    }
}
