//! A data directory of a snapshot, by copies, so that the snapshot stays what it is.
//!
//! As long as the copy is not whole, the new directory has a file [`UNFINISHED_FILE`]; a server refuses to start
//! there, and a restore that is begun again throws away what the first one left. Runs on any core of a process
//! that has claimed both directories.
//!
//! Invariant: without that file, the directory has everything or was never begun.

use std::io;
use std::path::{Path, PathBuf};

use super::options::parse_shard_dir;
use crate::io::buf::AlignedBuf;
use crate::io::crashsafe;
use crate::io::op::{DirEntry, OpenMode, Sync};
use crate::io::runtime::Runtime;
use crate::limits;
use crate::types::FileOffset;

/// In a directory whose restore has not ended.
pub const UNFINISHED_FILE: &str = "RESTORING";

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    pub files: u64,
    pub bytes: u64,
}

/// Whether a restore into this data directory was begun and has not ended.
pub async fn is_unfinished(runtime: &Runtime, data_dir: &Path) -> io::Result<bool> {
    match runtime.open(data_dir.join(UNFINISHED_FILE), OpenMode::Read).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Copies the shards of a snapshot into `to` and makes them durable. Shards that are there already are removed when an
/// earlier restore has left them; anybody else's are a refusal.
pub async fn restore(runtime: &Runtime, from: &Path, to: &Path) -> io::Result<Copied> {
    crashsafe::create_dir(runtime, to).await?;
    let left = shard_dirs(runtime, to).await?;
    if !is_unfinished(runtime, to).await? {
        if let Some(shard) = left.first() {
            let what = format!("{} is there already: restore into a new directory", shard.name);
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
        }
        crashsafe::write_file(runtime, to, UNFINISHED_FILE, from.as_os_str().as_encoded_bytes()).await?;
    }
    for entry in left {
        remove_tree(runtime, &to.join(entry.name)).await?;
    }
    let mut copied = Copied::default();
    let mut unvisited: Vec<PathBuf> =
        shard_dirs(runtime, from).await?.into_iter().map(|entry| entry.name.into()).collect();
    while let Some(dir) = unvisited.pop() {
        runtime.create_dir(to.join(&dir)).await?;
        for entry in runtime.list(from.join(&dir)).await? {
            let path = dir.join(&entry.name);
            match entry.is_dir {
                true => unvisited.push(path),
                false => {
                    copied.bytes += copy_file(runtime, &from.join(&path), &to.join(&path)).await?;
                    copied.files += 1;
                }
            }
        }
        runtime.sync_dir(to.join(&dir)).await?;
        // The name of a directory below lies in the one above, which was synced before it was made.
        runtime.sync_dir(to.join(dir.parent().unwrap_or(Path::new("")))).await?;
    }
    runtime.remove_file(to.join(UNFINISHED_FILE)).await?;
    runtime.sync_dir(to).await?;
    Ok(copied)
}

async fn shard_dirs(runtime: &Runtime, dir: &Path) -> io::Result<Vec<DirEntry>> {
    let mut entries = runtime.list(dir).await?;
    entries.retain(|entry| entry.is_dir && parse_shard_dir(&entry.name).is_some());
    Ok(entries)
}

/// Gives the bytes of the file.
async fn copy_file(runtime: &Runtime, from: &Path, to: &Path) -> io::Result<u64> {
    let source = runtime.open(from, OpenMode::Read).await?;
    let target = runtime.open(to, OpenMode::CreateNew).await?;
    let len = source.len().await?;
    let mut offset = 0;
    while offset < len {
        let piece = (len - offset).min(limits::MIB as u64) as usize;
        let (count, buf) = source.read(FileOffset(offset), AlignedBuf::zeroed(piece)).await?;
        if count < piece {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{} became shorter", from.display()),
            ));
        }
        // What was never written of a log segment stays a hole.
        if buf.iter().any(|byte| *byte != 0) {
            target.write(FileOffset(offset), buf, Sync::No).await?;
        }
        offset += piece as u64;
    }
    // Direct writes are whole blocks; a file need not be.
    target.set_len(len).await?;
    target.sync().await?;
    Ok(len)
}

/// Removes a directory with all that is in it.
pub async fn remove_tree(runtime: &Runtime, dir: &Path) -> io::Result<()> {
    let mut unvisited = vec![dir.to_owned()];
    let mut dirs = Vec::new();
    while let Some(dir) = unvisited.pop() {
        for entry in runtime.list(&dir).await? {
            let path = dir.join(entry.name);
            match entry.is_dir {
                true => unvisited.push(path),
                false => runtime.remove_file(path).await?,
            }
        }
        dirs.push(dir);
    }
    for dir in dirs.into_iter().rev() {
        runtime.remove_dir(dir).await?;
    }
    runtime.sync_dir(crashsafe::dir_of(dir)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::sim::{Sim, SimConfig};

    #[test]
    fn only_what_a_restore_has_left_is_replaced() {
        for unfinished in [false, true] {
            let mut sim = Sim::new(1, SimConfig::cores(1));
            let runtime = sim.runtime(0);
            let restored = sim.run(async move {
                for dir in ["/from", "/from/shard-000", "/to", "/to/shard-000"] {
                    crashsafe::create_dir(&runtime, Path::new(dir)).await?;
                }
                crashsafe::write_file(&runtime, Path::new("/to/shard-000"), "mine", b"kept").await?;
                if unfinished {
                    crashsafe::write_file(&runtime, Path::new("/to"), UNFINISHED_FILE, b"/from").await?;
                }
                let restored = restore(&runtime, Path::new("/from"), Path::new("/to")).await;
                let mine = runtime.open("/to/shard-000/mine", OpenMode::Read).await;
                assert_eq!(mine.is_ok(), !unfinished, "somebody's file");
                restored
            });
            let restored = restored.expect("not stuck");
            assert_eq!(restored.is_ok(), unfinished, "{restored:?}");
        }
    }
}
