//! A plan in words, and as JSON.

use std::fmt::Write;
use std::ops::Bound;

use serde_json::{Value, json};

use super::log::LogPlan;
use super::{Allowed, Plan};
use crate::io::log::segment_file_name;
use crate::shard::key::{Key, KeyType};
use crate::shard::repair::salvage::Gap;
use crate::shard::runs::run_file_name;
use crate::shard::store::Place;

/// Everything that is wrong, that will be done, and that is lost.
pub fn to_json(plan: &Plan, allowed: Allowed) -> Value {
    let runs: Vec<Value> = plan
        .runs
        .iter()
        .map(|run| {
            let older = run.older.iter().map(|(place, older)| {
                let mut told = place_json(plan, place);
                told["seq"] = older.seq.0.into();
                told["lsn"] = older.lsn.0.into();
                told
            });
            let older: Vec<Value> = older.collect();
            json!({
                "file": format!("runs/{}", run_file_name(run.meta.id)),
                "level": run.meta.level,
                "what": run.what,
                "entries": run.meta.entries,
                "lost_entries": run.lost_entries,
                "lost_ranges": run.gaps.iter().map(|gap| gap_json(plan, gap)).collect::<Vec<_>>(),
                "older_versions": if allowed.keep_older { "served" } else { "hidden" },
                "keys_with_older_versions": older,
            })
        })
        .collect();
    let log = plan.log.as_ref().map(|cut| {
        let readable: Vec<Value> = cut
            .readable
            .iter()
            .map(|record| {
                let place = Place {
                    collection: record.collection,
                    tablet: record.tablet,
                    key: Key::from_bytes(&record.key),
                };
                let mut told = place_json(plan, &place);
                told["lsn"] = record.lsn.0.into();
                told["kind"] = record.kind.into();
                told["seq"] = record.seq.0.into();
                told
            })
            .collect();
        json!({
            "file": format!("log/{}", segment_file_name(cut.damage.segment)),
            "offset": cut.damage.offset.0,
            "what": cut.damage.cause.to_string(),
            "last_lsn": cut.damage.last_lsn.0,
            "lost_lsns": { "after": cut.damage.last_lsn.0, "known_up_to": cut.known_durable.0 },
            "lost_records_that_can_be_read": readable,
        })
    });
    json!({ "shard": plan.files.shard.0, "manifest": plan.manifest, "runs": runs, "log": log })
}

/// One line for each thing that is wrong: where, what, what will be done, what is lost.
pub fn rows(plan: &Plan, allowed: Allowed) -> Vec<Value> {
    let row = |file: String, what: &str, action: &str, lost: String| json!({ "shard": plan.files.shard.0, "file": file, "what": what, "action": action, "lost": lost });
    let mut rows = Vec::new();
    if let Some(what) = &plan.manifest {
        rows.push(row(
            "superblock".to_owned(),
            what,
            "write a new manifest with that state",
            "nothing".to_owned(),
        ));
    }
    for run in &plan.runs {
        let older = run.older.len();
        let fate = if allowed.keep_older { "served" } else { "hidden" };
        let lost = match (run.gaps.len(), older) {
            (0, _) => "nothing".to_owned(),
            (ranges, 0) => format!("{} entries in {ranges} ranges of keys", run.lost_entries),
            (ranges, older) => format!(
                "{} entries in {ranges} ranges of keys; older versions of {older} keys are {fate}",
                run.lost_entries
            ),
        };
        let file = format!("runs/{}", run_file_name(run.meta.id));
        rows.push(row(file, &run.what, "write a new run of what is whole", lost));
    }
    if let Some(cut) = &plan.log {
        let file = format!("log/{}", segment_file_name(cut.damage.segment));
        let action = if allowed.cut_log { "cut the log there" } else { "cut the log there, with --cut-log" };
        rows.push(row(file, &cut.damage.cause.to_string(), action, lost_of_log(cut)));
    }
    rows
}

fn lost_of_log(cut: &LogPlan) -> String {
    let (after, up_to) = (cut.damage.last_lsn, cut.known_durable);
    match cut.readable.len() {
        0 if up_to <= after => format!("nothing that is known of: no file tells of an LSN above {after}"),
        readable => {
            format!("LSNs above {after}, to {up_to} at least; {readable} of these records can be read")
        }
    }
}

/// For people: the rows, then every range, key and LSN.
pub fn to_text(plan: &Plan, allowed: Allowed) -> String {
    let mut text = String::new();
    for row in rows(plan, allowed) {
        let of = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let (file, what, action, lost) = (of("file"), of("what"), of("action"), of("lost"));
        let _ = writeln!(text, "shard {} {file}: {what}\n  to do: {action}\n  lost: {lost}", row["shard"]);
    }
    for run in &plan.runs {
        let name = run_file_name(run.meta.id);
        for gap in &run.gaps {
            let _ = writeln!(text, "runs/{name} lost {}", gap_json(plan, gap));
        }
        for (place, older) in &run.older {
            let place = place_json(plan, place);
            let _ = writeln!(text, "runs/{name} older version {} of {place}", older.seq);
        }
    }
    for record in plan.log.iter().flat_map(|cut| &cut.readable) {
        let place =
            Place { collection: record.collection, tablet: record.tablet, key: Key::from_bytes(&record.key) };
        let place = place_json(plan, &place);
        let _ =
            writeln!(text, "log lost LSN {} {} version {} of {place}", record.lsn, record.kind, record.seq);
    }
    text
}

fn key_text(plan: &Plan, place: &Place) -> String {
    let info = plan.tablets.infos.get(&place.tablet);
    let key_type = info.map_or(KeyType::String, |info| info.key_type);
    place.key.display(key_type)
}

fn place_json(plan: &Plan, place: &Place) -> Value {
    json!({ "collection": place.collection.0, "tablet": place.tablet.0, "key": key_text(plan, place) })
}

fn gap_json(plan: &Plan, gap: &Gap) -> Value {
    let end = |bound: &Bound<Place>| match bound {
        Bound::Included(place) => {
            let mut told = place_json(plan, place);
            told["included"] = true.into();
            told
        }
        Bound::Excluded(place) => {
            let mut told = place_json(plan, place);
            told["included"] = false.into();
            told
        }
        Bound::Unbounded => Value::Null,
    };
    json!({ "from": end(&gap.0), "to": end(&gap.1) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::log::{Cause, Damage, Evidence};
    use crate::types::{FileOffset, Lsn, SegmentId, ShardId};

    #[test]
    fn a_cut_that_costs_nothing_says_so() {
        let of = |known_durable| {
            let damage = Damage {
                shard: ShardId(0),
                segment: SegmentId(1),
                offset: FileOffset(4096),
                last_lsn: Lsn(13449),
                cause: Cause::Unreadable,
                evidence: Evidence::Itself,
            };
            let (readable, behind, holed) = (Vec::new(), Vec::new(), Vec::new());
            lost_of_log(&LogPlan { damage, known_durable, readable, behind, holed })
        };
        assert_eq!(of(Lsn(13449)), "nothing that is known of: no file tells of an LSN above 13449");
        assert_eq!(of(Lsn(13450)), "LSNs above 13449, to 13450 at least; 0 of these records can be read");
    }
}
