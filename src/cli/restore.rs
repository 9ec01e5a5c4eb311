//! `restore`: a data directory of a snapshot, by copies, so that the snapshot stays what it is.
//!
//! Superblocks come last, when everything else is durable: a copy that ends early is refused by the server,
//! never taken for a node with less in it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::RestoreArgs;
use super::data_dir::DataDir;
use super::engine;
use super::failure::{Failure, UsageError};
use super::files::{Copied, Tree, copy_file, description_of, is_empty_or_missing, sync_dir};
use super::output::Output;
use crate::io::manifest::SUPERBLOCK_FILE;

pub fn restore(args: &RestoreArgs, out: &mut Output) -> Result<(), Failure> {
    let (from, to) = (&args.snapshot, &args.data_dir);
    let Some(snapshot) = description_of(from) else {
        return Err(Failure::Usage(UsageError::NoSnapshot { dir: from.clone() }));
    };
    if !is_empty_or_missing(to)? {
        let what = format!(
            "{} is not empty: name a new directory with --data-dir, or move this one away first",
            to.display()
        );
        return Err(Failure::Conflict { what });
    }
    let damage = engine::findings(from)?;
    if !damage.is_empty() {
        return engine::report(&damage, out);
    }
    let copied = copy(from, to)?;
    eprintln!(
        "restored; start it with `kyrodb serve --data-dir {} --shards {}`",
        to.display(),
        snapshot.shards
    );
    out.object(&json!({
        "snapshot": snapshot.id,
        "data_dir": to.display().to_string(),
        "records": snapshot.records,
        "files": copied.files,
        "bytes": copied.bytes,
    }))
}

fn copy(from: &Path, to: &Path) -> Result<Copied, Failure> {
    let tree = Tree::of(from)?;
    let _claim = DataDir::claim(to)?;
    for dir in &tree.dirs {
        let dir = to.join(dir);
        fs::create_dir(&dir).map_err(Failure::file(&dir))?;
    }
    let mut copied = Copied::default();
    let is_superblock = |file: &PathBuf| file.file_name().is_some_and(|name| name == SUPERBLOCK_FILE);
    let (last, first): (Vec<_>, Vec<_>) = tree.files.iter().partition(|file| is_superblock(file));
    for files in [first, last] {
        for file in files {
            copied.add(copy_file(&from.join(file), &to.join(file))?);
        }
        for dir in tree.dirs.iter().rev() {
            sync_dir(&to.join(dir))?;
        }
    }
    sync_dir(to)?;
    // The name of the directory itself.
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_dir(parent)?;
    Ok(copied)
}
