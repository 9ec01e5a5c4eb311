//! `restore`: a data directory of a snapshot. What is copied, and what a copy that ends early leaves, is
//! [`crate::shard::restore`]'s.

use std::path::Path;

use serde_json::json;

use super::args::RestoreArgs;
use super::data_dir::DataDir;
use super::engine;
use super::failure::{Failure, UsageError};
use super::files::{description_of, is_empty_or_missing, sync_dir};
use super::output::Output;
use crate::shard::restore::{self, Copied, UNFINISHED_FILE};

pub fn restore(args: &RestoreArgs, out: &mut Output) -> Result<(), Failure> {
    let (from, to) = (&args.snapshot, &args.data_dir);
    let Some(snapshot) = description_of(from) else {
        return Err(Failure::Usage(UsageError::NoSnapshot { dir: from.clone() }));
    };
    let again = to.join(UNFINISHED_FILE).exists();
    if !again && !is_empty_or_missing(to)? {
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
    sync_name(to)?;
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
    let _claim = DataDir::claim(to)?;
    engine::with_executor(|executor| {
        let runtime = executor.runtime();
        executor.block_on(restore::restore(&runtime, from, to))
    })?
    .map_err(Failure::file(to))
}

/// The name of the directory itself.
fn sync_name(dir: &Path) -> Result<(), Failure> {
    sync_dir(dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}
