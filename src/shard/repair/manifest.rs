//! The state of a shard whose manifest is damaged.
//!
//! Every whole record of the manifest files is a state that the shard was in. The newest one counts of which all
//! runs are there and whose log gives every record: then nothing that came later was written anywhere else, or it
//! stands in these files as well. (A seal gives its log up behind the manifest, a compaction its runs: so an older
//! state that lacks something lacks a file.) Without any such state there is no repair: runs alone do not tell
//! which of them count, and one that was replaced may have what was deleted since.

use super::{RepairError, ShardFiles, log, unreadable};
use crate::io::manifest::{Manifest, ManifestError};
use crate::io::op::is_fault_of_file;
use crate::io::runtime::Runtime;
use crate::shard::runs::{run_file_name, value_file_name};
use crate::shard::state::ShardState;

pub struct Found {
    pub state: ShardState,
    pub generation: u64,
    /// Why it is not the one that the superblock names.
    pub why: Option<String>,
}

pub async fn find(runtime: &Runtime, files: &ShardFiles) -> Result<Found, RepairError> {
    let states = Manifest::all_states(runtime, &files.dir, files.shard).await?;
    let newest = states.first().map_or(0, |(generation, _)| *generation);
    let damage = match Manifest::read(runtime, &files.dir, files.shard).await {
        Ok(Some(bytes)) => match ShardState::decode(&bytes) {
            Ok(state) => return Ok(Found { state, generation: newest, why: None }),
            Err(error) => error.to_string(),
        },
        Ok(None) => "nothing was ever committed here".to_owned(),
        Err(ManifestError::Read { path, error }) if !is_fault_of_file(&error) => {
            return Err(RepairError::Unreadable { path, error });
        }
        Err(error) => error.to_string(),
    };
    for (generation, bytes) in states {
        let Ok(state) = ShardState::decode(&bytes) else { continue };
        if is_complete(runtime, files, &state).await? {
            let why = format!("{damage}; the state of generation {generation} has all its files");
            return Ok(Found { state, generation: newest, why: Some(why) });
        }
    }
    Err(RepairError::NoState { damage })
}

/// All runs are there, of the right length, and the log has all that comes behind them.
async fn is_complete(runtime: &Runtime, files: &ShardFiles, state: &ShardState) -> Result<bool, RepairError> {
    let dir = files.runs();
    let entries = runtime.list(&dir).await.map_err(unreadable(&dir))?;
    let lens: std::collections::BTreeMap<String, u64> =
        entries.into_iter().map(|entry| (entry.name, entry.len)).collect();
    let mut named = state
        .runs
        .iter()
        .map(|run| (run.id, run.file_len))
        .chain(state.loaded_runs.iter().map(|run| (run.id, run.file_len)));
    let mut values = state.values.iter().map(|file| (value_file_name(file.id), file.file_len));
    if !named.all(|(id, len)| lens.get(&run_file_name(id)) == Some(&len))
        || !values.all(|(name, len)| lens.get(&name) == Some(&len))
    {
        return Ok(false);
    }
    // With a hole in the log as well nobody can tell whether this is the last state.
    let (damage, _) = log::plan(runtime, files, state).await?;
    Ok(damage.is_none())
}
