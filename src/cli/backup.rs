//! `backup`: a snapshot of a running server, copied; runs that the last backup has already are linked to it.
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
    let (copied, linked) = made?;
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

fn make(args: &BackupArgs, snapshot: &Snapshot) -> Result<(Copied, Copied), Failure> {
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
    let copied = fill(&from, before.as_deref(), &unfinished);
    if copied.is_err() {
        // Half a backup helps nobody; what cannot be removed is never taken for one.
        let _ = fs::remove_dir_all(&unfinished);
        return copied;
    }
    let finished = args.to.join(&snapshot.id);
    fs::rename(&unfinished, &finished).map_err(Failure::file(&finished))?;
    sync_dir(&args.to)?;
    copied
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

/// Gives what was copied and what was linked.
fn fill(from: &Path, before: Option<&Path>, to: &Path) -> Result<(Copied, Copied), Failure> {
    let tree = Tree::of(from)?;
    let (mut copied, mut linked) = (Copied::default(), Copied::default());
    for dir in &tree.dirs {
        let dir = to.join(dir);
        fs::create_dir(&dir).map_err(Failure::file(&dir))?;
    }
    for file in &tree.files {
        let (source, target) = (from.join(file), to.join(file));
        let is_run = file.extension().is_some_and(|extension| extension == "run" || extension == "values");
        let same = before.map(|before| before.join(file)).filter(|old| is_run && same_run(old, &source));
        match same {
            Some(old) => {
                fs::hard_link(&old, &target).map_err(Failure::file(&target))?;
                linked.add(fs::metadata(&target).map_err(Failure::file(&target))?.len());
            }
            None => copied.add(copy_file(&source, &target)?),
        }
    }
    for dir in tree.dirs.iter().rev() {
        sync_dir(&to.join(dir))?;
    }
    copied.add(copy_file(&from.join(DESCRIPTION_FILE), &to.join(DESCRIPTION_FILE))?);
    sync_dir(to)?;
    Ok((copied, linked))
}
