//! `restore`: a data directory of a snapshot. What is copied, and what a copy that ends early leaves, is
//! [`crate::shard::restore`]'s.

use std::path::Path;

use serde_json::json;

use super::args::RestoreArgs;
use super::data_dir::DataDir;
use super::engine;
use super::failure::{Failure, UsageError};
use super::files::{description_of, refuse_unless_empty};
use super::output::Output;
use super::ownership::give_data_to_owner_of;
use crate::shard::restore::{self, Copied, UNFINISHED_FILE};

pub fn restore(args: &RestoreArgs, out: &mut Output) -> Result<(), Failure> {
    let (from, to) = (&args.snapshot, &args.data_dir);
    let Some(snapshot) = description_of(from) else {
        return Err(Failure::Usage(UsageError::NoSnapshot { dir: from.clone() }));
    };
    // Asked before the claim, which leaves a file, and again under it.
    refuse_what_is_used(to)?;
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

/// What is there may be replaced only when a restore that did not end has made it.
fn refuse_what_is_used(dir: &Path) -> Result<(), Failure> {
    if dir.join(UNFINISHED_FILE).exists() { Ok(()) } else { refuse_unless_empty(dir) }
}

fn copy(from: &Path, to: &Path) -> Result<Copied, Failure> {
    let _claim = DataDir::claim(to)?;
    refuse_what_is_used(to)?;
    let copied = engine::with_executor(|executor| {
        let runtime = executor.runtime();
        executor.block_on(restore::restore(&runtime, from, to))
    })?
    .map_err(Failure::file(to))?;
    give_data_to_owner_of(to)?;
    Ok(copied)
}
