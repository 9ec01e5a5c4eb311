//! `/v1/router` and `/v1/router/rebalance`: which ranges there are, where, how large and how hot; and making the
//! shards even now.

use serde_json::{Value, json};

use super::collections::decode_splits;
use super::{Work, flag, json_body, named_collection, no_parameters, whole_body};
use crate::net::json::object;
use crate::net::parser::Request;
use crate::net::parser::head::Head;
use crate::net::parser::target::Query;
use crate::net::problem::Problem;
use crate::net::response::Response;
use crate::shard::balance::TabletLoad;
use crate::shard::balance::plan::Step;
use crate::shard::catalogue::{Catalogue, CatalogueError, Collection, Tablet};
use crate::shard::key::{Key, KeyType};
use crate::shard::node::Node;

pub fn describe(node: &Node, head: &Head<'_>) -> Result<Work, Problem> {
    no_parameters(head)?;
    let node = node.clone();
    Ok(Work::task(async move {
        let loads = node.loads().await?;
        let catalogue = node.catalogue();
        let collections: Vec<Value> =
            catalogue.collections.values().map(|collection| collection_json(collection, &loads)).collect();
        let sums: Vec<Sum> =
            loads.iter().zip(0..).map(|(loads, shard)| Sum::of(loads, shard, &catalogue)).collect();
        Ok(Response::json(
            200,
            &json!({
                "epoch": catalogue.epoch.0,
                "shards": node.shards(),
                "collections": collections,
                "loads": sums.iter().map(Sum::json).collect::<Vec<_>>(),
                "largest_to_mean": {
                    "records": largest_to_mean(&sums, |sum| sum.records as f64),
                    "bytes": largest_to_mean(&sums, |sum| sum.bytes as f64),
                    "requests": largest_to_mean(&sums, |sum| sum.reads_per_s + sum.writes_per_s),
                },
            }),
        ))
    }))
}

fn collection_json(collection: &Collection, loads: &[Vec<TabletLoad>]) -> Value {
    let load = |tablet: &Tablet| {
        let of_owner = loads.get(usize::from(tablet.owner.0));
        of_owner.and_then(|loads| loads.iter().find(|load| load.tablet == tablet.id))
    };
    let records: u64 = collection.tablets.iter().filter_map(load).map(|load| load.records).sum();
    let tablets = (0..collection.tablets.len()).map(|index| tablet_json(collection, index, load));
    json!({
        "name": collection.name,
        "key_type": collection.definition.key_type,
        "placement": collection.definition.placement,
        "records": records,
        "tablets": tablets.collect::<Vec<_>>(),
    })
}

/// The range has an inclusive start and an exclusive end; `null` is the open side.
fn tablet_json<'a>(
    collection: &Collection,
    index: usize,
    load: impl Fn(&Tablet) -> Option<&'a TabletLoad>,
) -> Value {
    let (key_type, tablet) = (collection.definition.key_type, &collection.tablets[index]);
    let mut told = json!({
        "id": tablet.id.0,
        "start": start_json(&tablet.start, key_type),
        "end": collection.end_of(index).map(|key| key_json(key, key_type)),
        "owner": tablet.owner.0,
        "epoch": tablet.epoch.0,
    });
    // Its owner has another map just now.
    let Some(load) = load(tablet) else { return told };
    told["records"] = load.records.into();
    told["bytes"] = load.bytes.into();
    told["reads_per_second"] = rounded(load.reads_per_s).into();
    told["writes_per_second"] = rounded(load.writes_per_s).into();
    told["grows_at"] = load.front.as_ref().map(|front| key_json(&front.at, key_type)).into();
    told
}

/// What a shard has of the tablets that are its own.
#[derive(Default)]
struct Sum {
    shard: u16,
    tablets: u64,
    records: u64,
    bytes: u64,
    reads_per_s: f64,
    writes_per_s: f64,
}

impl Sum {
    fn of(loads: &[TabletLoad], shard: u16, catalogue: &Catalogue) -> Sum {
        let mut sum = Sum { shard, ..Sum::default() };
        let own = |load: &&TabletLoad| {
            let found = catalogue.tablet(load.tablet);
            found.is_some_and(|(collection, index)| collection.tablets[index].owner.0 == shard)
        };
        for load in loads.iter().filter(own) {
            sum.tablets += 1;
            sum.records += load.records;
            sum.bytes += load.bytes;
            sum.reads_per_s += load.reads_per_s;
            sum.writes_per_s += load.writes_per_s;
        }
        sum
    }

    fn json(&self) -> Value {
        json!({
            "shard": self.shard,
            "tablets": self.tablets,
            "records": self.records,
            "bytes": self.bytes,
            "reads_per_second": rounded(self.reads_per_s),
            "writes_per_second": rounded(self.writes_per_s),
        })
    }
}

fn largest_to_mean(sums: &[Sum], of: impl Fn(&Sum) -> f64) -> f64 {
    let mean = sums.iter().map(&of).sum::<f64>() / sums.len() as f64;
    let largest = sums.iter().map(&of).fold(0.0, f64::max);
    if mean > 0.0 { (largest / mean * 1000.0).round() / 1000.0 } else { 1.0 }
}

fn rounded(per_second: f64) -> f64 {
    (per_second * 10.0).round() / 10.0
}

fn start_json(key: &Key, key_type: KeyType) -> Option<Value> {
    Some(key).filter(|key| !key.is_empty()).map(|key| key_json(key, key_type))
}

fn key_json(key: &Key, key_type: KeyType) -> Value {
    match (key_type, key.as_u64()) {
        (KeyType::U64, Some(number)) => number.into(),
        _ => key.display(key_type).into(),
    }
}

/// Without a body: by load. With one: cuts a collection that has one tablet at the keys given.
pub fn rebalance(node: &Node, request: &Request<'_>) -> Result<Work, Problem> {
    let mut query = Query::parse(request.head.query)?;
    let (dry_run, wait) = (flag(&mut query, "dry_run")?, flag(&mut query, "wait")?);
    query.finish()?;
    if !whole_body(request)?.is_empty() {
        return split(node, request, dry_run);
    }
    let node = node.clone();
    Ok(Work::task(async move {
        if dry_run {
            let plan = node.plan_rebalance().await?;
            let catalogue = node.catalogue();
            let steps: Vec<Value> = plan.iter().map(|step| step_json(step, &catalogue)).collect();
            return Ok(Response::json(200, &json!({ "dry_run": true, "steps": steps })));
        }
        if wait {
            return Ok(Response::json(200, &json!(node.rebalance().await?)));
        }
        let id = node.begin_rebalance().await?;
        Ok(Response::json(202, &json!({ "operation": id })))
    }))
}

fn step_json(step: &Step, catalogue: &Catalogue) -> Value {
    let collection = catalogue.by_id(step.collection);
    let key_type = collection.map_or(KeyType::String, |collection| collection.definition.key_type);
    let targets = step.targets.iter().map(|target| {
        json!({ "start": start_json(&target.start, key_type), "owner": target.owner.0, "stays": target.keeps })
    });
    json!({
        "kind": step.kind.name(),
        "reason": step.reason.name(),
        "collection": collection.map(|collection| &collection.name),
        "start": step.sources.first().map(|start| start_json(start, key_type)),
        "end": step.end.as_ref().map(|end| key_json(end, key_type)),
        "targets": targets.collect::<Vec<_>>(),
        "bytes": step.bytes,
        "largest_to_mean": (step.ratio * 1000.0).round() / 1000.0,
    })
}

fn split(node: &Node, request: &Request<'_>, dry_run: bool) -> Result<Work, Problem> {
    let mut body = json_body(request)?;
    let name = object::text(body.required("collection")?, "/collection")?.into_owned();
    let splits = body.required("split_at")?;
    body.finish()?;
    let collection = named_collection(node, &name)?;
    let split_at = decode_splits(splits, collection.definition.key_type)?;
    check_split(&collection, &split_at)?;
    let node = node.clone();
    Ok(Work::task(async move {
        let tablets = split_at.len() + 1;
        if !dry_run {
            node.split_collection(&name, split_at).await??;
        }
        Ok(Response::json(200, &json!({ "collection": name, "tablets": tablets, "dry_run": dry_run })))
    }))
}

fn check_split(collection: &Collection, split_at: &[Key]) -> Result<(), Problem> {
    if split_at.is_empty() {
        return Err(Problem::wrong("/split_at", "has no key"));
    }
    if collection.is_hashed() {
        return Err(CatalogueError::PlacedByHash.into());
    }
    if collection.tablets.len() > 1 {
        return Err(CatalogueError::AlreadySplit.into());
    }
    Ok(())
}
