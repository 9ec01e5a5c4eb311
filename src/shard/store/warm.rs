//! Warming up: reads what stays resident of every run, and if asked values as well, the newest runs first, until
//! the cache is nearly full.

use std::collections::BTreeSet;
use std::rc::Rc;

use serde_json::{Value, json};

use super::cursor::{Cursor, Walk};
use super::levels::Levels;
use super::part::{Part, key_of};
use super::place::Place;
use crate::limits;
use crate::shard::core::Core;
use crate::shard::jobs::Progress;
use crate::shard::run::Body;
use crate::shard::runs::LoadError;
use crate::types::RunId;

/// Tells what was done.
pub async fn warm_up(core: &Rc<Core>, values: bool, progress: &Progress) -> Value {
    let began = core.runtime.now();
    let levels = core.engine.borrow().store.levels().clone();
    let room = if values { core.engine.borrow().store.cache_capacity() } else { 0 };
    progress.begin(levels.iter().map(|part| part.meta.file_len).sum::<u64>() + room);
    let (mut loaded, mut unreadable, mut bytes) = (0u64, 0u64, 0u64);
    for part in levels.iter() {
        let was_there = part.resident().is_some();
        match part.load().await {
            Ok(resident) => {
                loaded += u64::from(!was_there);
                bytes += resident.bytes();
            }
            Err(error) => {
                core.note_damage(&error);
                unreadable += 1;
            }
        }
        progress.advance(part.meta.file_len);
    }
    // The policy knows more of what is loaded.
    core.compaction_wanted.notify();
    let mut told = json!({
        "runs": levels.iter().count(),
        "loaded_runs": loaded,
        "unreadable_runs": unreadable,
        "resident_bytes": bytes,
    });
    drop(levels);
    if values {
        told["values"] = warm_values(core, progress).await.into();
        told["cache_bytes"] = core.engine.borrow().store.cache_bytes().into();
    }
    told["ms"] = (core.runtime.now().since(began) / 1_000_000).into();
    told
}

/// Gives how many values were taken in.
async fn warm_values(core: &Rc<Core>, progress: &Progress) -> u64 {
    let mut seen: BTreeSet<RunId> = BTreeSet::new();
    let mut taken = 0;
    loop {
        let levels = core.engine.borrow().store.levels().clone();
        let next = levels.iter().find(|part| !seen.contains(&part.meta.id)).cloned();
        let Some(part) = next.filter(|_| has_room(core)) else { return taken };
        seen.insert(part.meta.id);
        match values_of(core, &levels, &part, progress).await {
            Ok(count) => taken += count,
            Err(error) => drop(core.note_damage(&error)),
        }
    }
}

fn has_room(core: &Core) -> bool {
    let engine = core.engine.borrow();
    engine.store.cache_bytes() < engine.store.cache_capacity() / 10 * 9
}

/// Until the runs change: then what was read may not be the newest any more.
async fn values_of(
    core: &Core,
    levels: &Rc<Levels>,
    part: &Rc<Part>,
    progress: &Progress,
) -> Result<u64, LoadError> {
    let mut cursor = Cursor::open(part, Walk::All, limits::RUN_READ_BYTES).await?;
    let mut slice = core.runtime.slice();
    let mut taken = 0;
    loop {
        cursor.fill().await?;
        let Some((collection, tablet, _)) = cursor.place() else { return Ok(taken) };
        let entry = cursor.head().expect("there is a place");
        let place = Place { collection, tablet, key: key_of(&entry) };
        // Large values do not get warm.
        if matches!(entry.body, Body::Here(_))
            && levels.is_newest(part, &place)
            && let Some(version) = part.stored(&entry)?.in_memory()
        {
            let mut engine = core.engine.borrow_mut();
            if !Rc::ptr_eq(levels, engine.store.levels()) {
                return Ok(taken);
            }
            let before = engine.store.cache_bytes();
            taken += u64::from(engine.store.warm(&place, &version));
            progress.advance(engine.store.cache_bytes().saturating_sub(before));
        }
        cursor.advance();
        if !has_room(core) {
            return Ok(taken);
        }
        slice.checkpoint().await;
    }
}
