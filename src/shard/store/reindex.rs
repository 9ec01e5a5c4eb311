//! Indexes of runs built anew, beside those that serve: because somebody asked, or because lookups have drifted to
//! keys that the index predicts badly. In memory only; the file keeps the index that was written with it.

use std::rc::Rc;

use serde_json::{Value, json};

use super::part::Part;
use crate::limits;
use crate::rmi::choose::{Choice, Reason, Structure};
use crate::rmi::drift::{Costs, Verdict};
use crate::rmi::index::Mode;
use crate::shard::core::Core;
use crate::shard::decisions::Kind;
use crate::shard::jobs::Progress;
use crate::shard::run::{Remake, Watched};

/// Builds the index of every `u64` tablet of every run, and lets a measurement choose; tells what it chose.
pub async fn build_all(core: &Rc<Core>, progress: &Progress) -> Value {
    let levels = core.engine.borrow().store.levels().clone();
    progress.begin(levels.iter().map(|part| part.meta.file_len).sum());
    let (mut indexes, mut failed) = (Vec::new(), 0u64);
    for part in levels.iter() {
        match part.load().await {
            Ok(resident) => {
                for (tablet, watched) in resident.watched() {
                    let cpu_ns = build(core, part, watched, None, "asked").await;
                    let mut told = describe(watched);
                    told["run"] = format!("{:016x}", part.meta.id.0).into();
                    told["level"] = part.meta.level.into();
                    told["tablet"] = tablet.info.tablet.0.into();
                    told["cpu_ms"] = (cpu_ns as f64 / 1e6).into();
                    indexes.push(told);
                }
            }
            Err(error) => {
                core.note_damage(&error);
                failed += 1;
            }
        }
        progress.advance(part.meta.file_len);
    }
    json!({ "runs": levels.iter().count(), "unreadable_runs": failed, "indexes": indexes })
}

fn describe(watched: &Watched) -> Value {
    let index = watched.index();
    json!({
        "keys": index.keys().len(),
        "index_bytes": index.bytes(),
        "max_error": index.max_error(),
        "single": choice_json(index.choice(Mode::Single)),
        "batch": choice_json(index.choice(Mode::Batch)),
    })
}

fn choice_json(choice: Choice) -> Value {
    let mut told = json!({ "structure": choice.structure.name() });
    match choice.reason {
        Reason::Measured { learned_ns, splus_ns } => {
            told["reason"] = "measured".into();
            told["learned_ns"] = learned_ns.into();
            told["splus_ns"] = splus_ns.into();
        }
        Reason::Few => told["reason"] = "too few keys to measure".into(),
        Reason::Forced => told["reason"] = "so few keys that a tree stays in the cache".into(),
        Reason::Stored => told["reason"] = "as it was stored".into(),
    }
    told
}

/// Gives the thread CPU that it took, in nanoseconds.
async fn build(
    core: &Rc<Core>,
    part: &Part,
    watched: &Watched,
    structure: Option<Structure>,
    reason: &'static str,
) -> u64 {
    core.decided(Kind::IndexRebuild, reason);
    let mut remake = Remake::new(watched, structure);
    let mut slice = core.runtime.slice();
    let mut spent = 0;
    loop {
        let began = core.runtime.thread_cpu_ns();
        let seen = remake.step(watched, &mut || core.runtime.thread_cpu_ns());
        spent += core.runtime.thread_cpu_ns().saturating_sub(began);
        if let Some(seen) = seen {
            core.shelf().past_drift.borrow_mut().add(&seen);
            part.count_bytes();
            return spent;
        }
        slice.checkpoint().await;
    }
}

/// Asks, now and then, of every index that serves whether a rebuild pays, as long as the shard lives.
pub async fn keep_indexes(core: Rc<Core>) {
    let mut build_ns_per_key = limits::INDEX_BUILD_OF_A_KEY.as_nanos() as f64;
    loop {
        core.runtime.sleep(limits::INDEX_WATCH_PERIOD).await;
        let levels = core.engine.borrow().store.levels().clone();
        let mut slice = core.runtime.slice();
        for part in levels.iter() {
            let Some(resident) = part.resident() else { continue };
            for (_, watched) in resident.watched() {
                let keys = watched.index().keys().len() as f64;
                let costs = Costs {
                    line_ns: limits::INDEX_LINE.as_nanos() as f64,
                    build_ns: keys * build_ns_per_key,
                };
                if let Verdict::Rebuild { gain } = watched.verdict(costs) {
                    tracing::info!(run = %part.meta.id, gain, "lookups take longer than the index promised");
                    // The tree needs no second look wherever lookups fall, so this is decided once.
                    let spent = build(&core, part, watched, Some(Structure::SPlus), "drift").await;
                    build_ns_per_key = spent as f64 / keys.max(1.0);
                }
                slice.checkpoint().await;
            }
        }
    }
}
