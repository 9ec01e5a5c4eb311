//! `repair`: says what is wrong with a stopped data directory and what a repair would do and lose; does it when it
//! is told to. Everything that is replaced stays in `aside/<id>`, with a report.

use std::path::Path;

use serde_json::{Value, json};

use super::args::RepairArgs;
use super::data_dir::DataDir;
use super::engine;
use super::failure::Failure;
use super::files::{description_of, sync_dir};
use super::output::Output;
use super::ownership::give_data_to_owner_of;
use crate::io::crashsafe;
use crate::io::runtime::Runtime;
use crate::shard::inspect::Finding;
use crate::shard::repair::{self, ASIDE_DIR, Allowed, Plan, RepairError, ShardFiles, report};
use crate::shard::restore::UNFINISHED_FILE;
use crate::shard::snapshot::new_id;
use crate::types::ShardId;

const NOT_REPAIRED: &str = "not repaired";
const NOT_NEEDED: &str = "none is needed";
const LEFT_HINT: &str = "what is not repaired: write or delete the keys of large values that are damaged, remove damaged \
                         snapshots, and restore a backup for anything else";
const REPORT: &str = "report.json";
const REPORT_TEXT: &str = "report.txt";

pub fn repair(args: &RepairArgs, out: &mut Output) -> Result<(), Failure> {
    let dir = &args.dir;
    let shards = engine::shards_in(dir)?;
    if description_of(dir).is_some() {
        let what = format!(
            "{} is a snapshot or a backup, which is whole or of no use: take another one, or restore an older one",
            dir.display()
        );
        return Err(Failure::Conflict { what });
    }
    if dir.join(UNFINISHED_FILE).exists() {
        return Err(Failure::Conflict {
            what: format!(
                "{}: a restore was cut short here; run the same `kyrodb restore` again",
                dir.display()
            ),
        });
    }
    let _claim = DataDir::claim_existing(dir)?;
    let allowed = Allowed { cut_log: args.cut_log, keep_older: args.keep_older };
    engine::with_executor(|executor| {
        let runtime = executor.runtime();
        executor.block_on(run(&runtime, args, &shards, allowed, out))
    })?
}

async fn run(
    runtime: &Runtime,
    args: &RepairArgs,
    shards: &[ShardId],
    allowed: Allowed,
    out: &mut Output,
) -> Result<(), Failure> {
    let plans = plan_all(runtime, &args.dir, shards).await?;
    let mut rows: Vec<Value> = plans.iter().flat_map(|plan| report::rows(plan, allowed)).collect();
    let planned = rows.len();
    let mut found = engine::damage_in(runtime, &args.dir).await?;
    found.retain(|finding| !plans.iter().any(|plan| plan.mends(finding)));
    rows.extend(found.iter().map(|finding| left_row(&args.dir, finding)));
    out.rows(&["shard", "file", "what", "action", "lost"], &rows)?;
    found.retain(|finding| !finding.harmless);
    let damaged = (planned + found.len()) as u64;
    if damaged == 0 {
        eprintln!("{}", if rows.is_empty() { "nothing is damaged" } else { "nothing has to be repaired" });
        return Ok(());
    }
    let wanted = plans.first().map_or(0, Plan::shards);
    let missing = (0..wanted).filter(|shard| !shards.contains(&ShardId(*shard))).count() as u64;
    if missing > 0 {
        eprintln!(
            "the manifests say that there are {wanted} shards, and {missing} are gone: restore a backup"
        );
        return Err(Failure::Found { count: damaged, what: "damaged places and missing shards" });
    }
    if !found.is_empty() {
        eprintln!("{LEFT_HINT}");
    }
    if planned == 0 {
        return Err(Failure::Found { count: damaged, what: "damaged places, none of which a repair mends" });
    }
    if plans.iter().any(|plan| plan.log.is_some()) && !allowed.cut_log && args.apply {
        eprintln!(
            "nothing was changed: the log is damaged, and what is behind the damage would be given up; allow that \
             with --cut-log, or restore a backup"
        );
        return Err(Failure::Found { count: damaged, what: "damaged places" });
    }
    if !args.apply {
        eprintln!(
            "nothing was changed; to do it: the same command with --apply. What is replaced stays in {ASIDE_DIR}/"
        );
        return Err(Failure::Found { count: damaged, what: "damaged places" });
    }
    let id = new_id(runtime.wall(), runtime.random());
    let aside = args.dir.join(ASIDE_DIR).join(&id);
    let repaired = repair_all(runtime, &plans, allowed, &aside).await;
    // Also what is there of one that did not end.
    let given = give_data_to_owner_of(&args.dir);
    repaired?;
    given?;
    sync_dir(&args.dir)?;
    eprintln!("repaired; the report and all that was replaced are in {}", aside.display());
    let left = engine::damage_in(runtime, &args.dir).await?;
    match left.iter().filter(|finding| !finding.harmless).count() as u64 {
        0 => Ok(()),
        count => Err(Failure::Found { count, what: "damaged places are left, which `kyrodb verify` lists" }),
    }
}

/// Of damage that stays.
fn left_row(dir: &Path, finding: &Finding) -> Value {
    let file = finding.file.strip_prefix(dir).unwrap_or(&finding.file).display().to_string();
    let action = if finding.harmless { NOT_NEEDED } else { NOT_REPAIRED };
    json!({ "shard": finding.shard.0, "file": file, "what": finding.what, "action": action, "lost": null })
}

async fn plan_all(runtime: &Runtime, dir: &Path, shards: &[ShardId]) -> Result<Vec<Plan>, Failure> {
    let files: Vec<ShardFiles> = shards.iter().map(|shard| ShardFiles::of(dir, *shard)).collect();
    repair::plan(runtime, &files).await.map_err(|(shard, error)| Failure::Repair { shard, error })
}

/// The report is there before anything is changed.
async fn repair_all(
    runtime: &Runtime,
    plans: &[Plan],
    allowed: Allowed,
    aside: &Path,
) -> Result<(), Failure> {
    let written = async {
        crashsafe::create_dir(runtime, aside.parent().expect("a directory below the data")).await?;
        crashsafe::create_dir(runtime, aside).await?;
        let shards: Vec<Value> = plans.iter().map(|plan| report::to_json(plan, allowed)).collect();
        let text: String = plans.iter().map(|plan| report::to_text(plan, allowed)).collect();
        let json = json!({ "shards": shards }).to_string();
        crashsafe::write_file(runtime, aside, REPORT, json.as_bytes()).await?;
        crashsafe::write_file(runtime, aside, REPORT_TEXT, text.as_bytes()).await
    };
    written.await.map_err(Failure::file(aside))?;
    for plan in plans.iter().filter(|plan| !plan.is_empty()) {
        let done = repair::apply(runtime, plan, allowed, aside).await;
        done.map_err(|error: RepairError| Failure::Repair { shard: plan.files.shard, error })?;
    }
    Ok(())
}
