//! `backup`: a snapshot of a running server, copied; runs that the last backup has already are linked to it.
//!
//! What is linked is read first, whole: a file that has rotted in the last backup would be rotten in this one as well, and
//! all that come. It is copied anew instead.
//!
//! A backup is a directory `<id>` like that of a snapshot; its name appears when everything in it is durable.
//! The server's own snapshot goes afterwards, so that it keeps no room. Until it has gone, a file says which it is, so
//! that the next backup finds what one that was killed has left.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::args::BackupArgs;
use super::client::{Answer, Client, percent_encoded};
use super::data_dir::DataDir;
use super::engine::with_file_check;
use super::failure::{Failure, Refused};
use super::files::{Copied, Tree, copy_file, description_of, same_run, sync_dir};
use super::output::Output;
use crate::shard::snapshot::{self, DESCRIPTION_FILE, SNAPSHOTS_DIR, Snapshot};

/// Of a directory that is being filled.
const UNFINISHED: &str = ".tmp";
/// Has the id of the operation by which the server takes the snapshot: that of the snapshot is known too late.
const UNDER_WAY_FILE: &str = "UNDER_WAY";
/// Before its end is asked for the first time; twice as long each time.
const LOOK: Duration = Duration::from_millis(20);
const LOOK_MAX: Duration = Duration::from_secs(1);

/// What became of the files of a backup.
#[derive(Debug, Default)]
struct Filled {
    copied: Copied,
    linked: Copied,
    /// Those of the last backup that have rotted there; they were copied.
    damaged: u64,
}

#[derive(Deserialize)]
struct Begun {
    operation: String,
}

#[derive(Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
enum Operation {
    Running,
    Done { result: Snapshot },
    Failed { error: Refused },
}

pub fn backup(args: &BackupArgs, out: &mut Output) -> Result<(), Failure> {
    let client = Client::to(&args.server)?;
    let _claim = DataDir::claim(&args.to)?;
    clear_up(args, &client)?;
    let snapshot = take(args, &client)?;
    let made = make(args, &snapshot);
    let dropped = drop_snapshot(&client, &snapshot.id).and_then(|()| forget(args));
    let Filled { copied, linked, damaged } = made?;
    if let Err(error) = dropped {
        eprintln!("the backup is there, but the server keeps its snapshot {}: {error}", snapshot.id);
    }
    let to = args.to.join(&snapshot.id);
    eprintln!("to go back to it: `kyrodb restore {} --data-dir NEW_DIR`", to.display());
    out.object(&json!({
        "id": snapshot.id,
        "to": to.display().to_string(),
        "records": snapshot.records,
        "copied_files": copied.files,
        "copied_bytes": copied.bytes,
        "linked_files": linked.files,
        "linked_bytes": linked.bytes,
        "damaged_files": damaged,
    }))
}

/// Removes what a backup that was killed has left, here and at the server. By its name: anything else in the
/// directory is somebody else's.
fn clear_up(args: &BackupArgs, client: &Client) -> Result<(), Failure> {
    let under_way = args.to.join(UNDER_WAY_FILE);
    match fs::read_to_string(&under_way) {
        Ok(operation) => {
            drop_result_of(client, &operation)?;
            forget(args)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Failure::file(&under_way)(error)),
    }
    for entry in fs::read_dir(&args.to).map_err(Failure::file(&args.to))? {
        let path = entry.map_err(Failure::file(&args.to))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let id = name.strip_suffix(UNFINISHED).filter(|id| snapshot::is_id(id) && path.is_dir());
        let Some(id) = id else { continue };
        eprintln!("removing {}, which an earlier backup did not finish", path.display());
        fs::remove_dir_all(&path).map_err(Failure::file(&path))?;
        drop_snapshot(client, id)?;
    }
    Ok(())
}

/// What an earlier backup has asked for. A server that was started anew has forgotten the operation.
fn drop_result_of(client: &Client, operation: &str) -> Result<(), Failure> {
    match outcome(client, operation) {
        Ok(Ok(snapshot)) => {
            eprintln!("removing the server's snapshot {}, which an earlier backup left", snapshot.id);
            drop_snapshot(client, &snapshot.id)
        }
        Ok(Err(_)) => Ok(()),
        Err(Failure::Refused(refused)) if refused.status == 404 => {
            eprintln!("an earlier backup was cut short, and may have left a snapshot: see GET /v1/snapshots");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn drop_snapshot(client: &Client, id: &str) -> Result<(), Failure> {
    match client.delete(&format!("/v1/snapshots/{}", percent_encoded(id)), &[]) {
        Ok(_) => Ok(()),
        Err(Failure::Refused(refused)) if refused.status == 404 => Ok(()),
        Err(error) => Err(error),
    }
}

/// Leaves the name of the operation until [`forget`].
fn take(args: &BackupArgs, client: &Client) -> Result<Snapshot, Failure> {
    let Begun { operation } = client.post("/v1/snapshot")?.json()?;
    let under_way = args.to.join(UNDER_WAY_FILE);
    fs::write(&under_way, &operation).map_err(Failure::file(&under_way))?;
    match outcome(client, &operation)? {
        Ok(snapshot) => Ok(snapshot),
        Err(refused) => {
            forget(args)?;
            Err(Failure::Refused(refused))
        }
    }
}

/// Waits for the end of an operation that takes a snapshot.
fn outcome(client: &Client, operation: &str) -> Result<Result<Snapshot, Refused>, Failure> {
    let path = format!("/v1/operations/{}", percent_encoded(operation));
    let mut pause = LOOK;
    loop {
        std::thread::sleep(pause);
        pause = match client.get(&path, &[]).and_then(Answer::json) {
            Ok(Operation::Running) => (2 * pause).min(LOOK_MAX),
            Ok(Operation::Done { result }) => return Ok(Ok(result)),
            Ok(Operation::Failed { error }) => return Ok(Err(error)),
            Err(Failure::Refused(Refused { status: 429, retry_after: Some(delay), .. })) => delay,
            Err(error) => return Err(error),
        };
    }
}

fn forget(args: &BackupArgs) -> Result<(), Failure> {
    let under_way = args.to.join(UNDER_WAY_FILE);
    fs::remove_file(&under_way).map_err(Failure::file(&under_way))
}

fn make(args: &BackupArgs, snapshot: &Snapshot) -> Result<Filled, Failure> {
    let from = args.data_dir.join(SNAPSHOTS_DIR).join(&snapshot.id);
    if description_of(&from).as_ref() != Some(snapshot) {
        let what = format!(
            "the server's snapshot is not in {}: --data-dir names the data directory of the server at {}",
            from.display(),
            args.server.url
        );
        return Err(Failure::Conflict { what });
    }
    let before = latest(&args.to)?;
    let unfinished = args.to.join(format!("{}{UNFINISHED}", snapshot.id));
    fs::create_dir(&unfinished).map_err(Failure::file(&unfinished))?;
    let filled = with_file_check(|damage_of| fill(&from, before.as_deref(), &unfinished, damage_of));
    let filled = filled.and_then(|filled| filled);
    if filled.is_err() {
        // Half a backup helps nobody; what cannot be removed is never taken for one.
        let _ = fs::remove_dir_all(&unfinished);
        return filled;
    }
    let finished = args.to.join(&snapshot.id);
    fs::rename(&unfinished, &finished).map_err(Failure::file(&finished))?;
    sync_dir(&args.to)?;
    filled
}

/// The newest backup: ids begin with the time.
fn latest(dir: &Path) -> Result<Option<PathBuf>, Failure> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(Failure::file(dir))? {
        let path = entry.map_err(Failure::file(dir))?.path();
        if path.extension().is_none() && description_of(&path).is_some() {
            found.push(path);
        }
    }
    Ok(found.into_iter().max())
}

/// `damage_of` says what is wrong with a file of `before`.
fn fill(
    from: &Path,
    before: Option<&Path>,
    to: &Path,
    damage_of: &mut dyn FnMut(&Path) -> Option<String>,
) -> Result<Filled, Failure> {
    let tree = Tree::of(from)?;
    let mut filled = Filled::default();
    for dir in &tree.dirs {
        let dir = to.join(dir);
        fs::create_dir(&dir).map_err(Failure::file(&dir))?;
    }
    for file in &tree.files {
        let (source, target) = (from.join(file), to.join(file));
        let is_run = file.extension().is_some_and(|extension| extension == "run" || extension == "values");
        let same = before.map(|before| before.join(file)).filter(|old| is_run && same_run(old, &source));
        match same.filter(|old| is_whole(old, damage_of, &mut filled)) {
            Some(old) => {
                fs::hard_link(&old, &target).map_err(Failure::file(&target))?;
                filled.linked.add(fs::metadata(&target).map_err(Failure::file(&target))?.len());
            }
            None => filled.copied.add(copy_file(&source, &target)?),
        }
    }
    for dir in tree.dirs.iter().rev() {
        sync_dir(&to.join(dir))?;
    }
    filled.copied.add(copy_file(&from.join(DESCRIPTION_FILE), &to.join(DESCRIPTION_FILE))?);
    sync_dir(to)?;
    Ok(filled)
}

fn is_whole(old: &Path, damage_of: &mut dyn FnMut(&Path) -> Option<String>, filled: &mut Filled) -> bool {
    let Some(what) = damage_of(old) else { return true };
    filled.damaged += 1;
    eprintln!("copied anew, as it is damaged in the last backup: {what}");
    false
}

#[cfg(test)]
mod tests {
    use super::super::engine::with_node;
    use super::*;
    use crate::limits;
    use crate::shard::key::Key;
    use crate::shard::node::Node;
    use crate::shard::payload::{Payload, TEXT};
    use crate::shard::record::{Change, Condition, Durability, Write};

    async fn put(node: &Node, key: u64, bytes: usize) {
        let change = Change::Put { payload: Payload::new(TEXT, &vec![b'x'; bytes]), expires: None };
        let (key, condition, durability) = (Key::from_u64(key), Condition::None, Durability::Memory);
        let collection = node.collection("default").expect("exists from the start");
        let write = Write { key, change, condition, durability, once: None };
        node.write(&collection, write).get().await.expect("written");
    }

    /// The length and the end of a file agree whatever has rotted in its middle.
    #[test]
    fn what_has_rotted_in_the_last_backup_is_not_linked_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let [data, first, second] = ["data", "first", "second"].map(|name| dir.path().join(name));
        let written = with_node(&data, async |node| {
            for key in 0..2000 {
                put(&node, key, 20).await;
            }
            put(&node, 5000, 2 * limits::INLINE_VALUE_BYTES_MAX).await;
            node.checkpoint().await.expect("sealed");
        });
        written.expect("a node that stops in order");
        fs::write(data.join(DESCRIPTION_FILE), "{}").expect("written");
        let back_up = |before: Option<&Path>, to: &Path| {
            fs::create_dir(to).expect("made");
            let filled = with_file_check(|damage_of| fill(&data, before, to, damage_of));
            filled.and_then(|filled| filled).expect("filled")
        };
        assert_eq!(back_up(None, &first).linked.files, 0);
        let names = Tree::of(&data).expect("a shard").files;
        let end_with = |end: &str| names.iter().find(|name| name.extension().is_some_and(|is| is == end));
        let (run, values) = (end_with("run").expect("sealed"), end_with("values").expect("a large value"));
        for rotten in [run, values] {
            let path = first.join(rotten);
            let mut bytes = fs::read(&path).expect("read");
            bytes[5000] ^= 1;
            fs::write(&path, bytes).expect("written");
            let filled = back_up(Some(&first), &second);
            assert_eq!((filled.damaged, filled.linked.files), (1, 1), "{}", rotten.display());
            for name in [run, values] {
                let read = |dir: &Path| fs::read(dir.join(name)).expect("read");
                assert!(read(&second) == read(&data), "{}", name.display());
            }
            // Whole again.
            fs::copy(data.join(rotten), &path).expect("copied");
            fs::remove_dir_all(&second).expect("removed");
        }
        assert_eq!(back_up(Some(&first), &second).linked.files, 2, "and what is whole is linked");
    }
}
