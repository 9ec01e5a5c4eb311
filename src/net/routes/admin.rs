//! `/v1/router` and `/v1/router/rebalance`.

use serde_json::{Value, json};

use super::collections::decode_splits;
use super::{Work, flag, json_body, named_collection, no_parameters, whole_body};
use crate::net::json::object;
use crate::net::parser::Request;
use crate::net::parser::head::Head;
use crate::net::parser::target::Query;
use crate::net::problem::Problem;
use crate::net::response::Response;
use crate::shard::catalogue::{CatalogueError, Collection};
use crate::shard::key::{Key, KeyType};
use crate::shard::node::Node;

pub fn router(node: &Node, head: &Head<'_>) -> Result<Work, Problem> {
    no_parameters(head)?;
    let node = node.clone();
    Ok(Work::task(async move {
        let catalogue = node.catalogue();
        let mut collections = Vec::with_capacity(catalogue.collections.len());
        for collection in catalogue.collections.values() {
            let records = node.collection_stats(collection).await?.records;
            collections.push(json!({
                "name": collection.name,
                "key_type": collection.definition.key_type,
                "records": records,
                "tablets": tablets_json(collection),
            }));
        }
        let (epoch, shards) = (catalogue.epoch.0, node.shards());
        Ok(Response::json(200, &json!({ "epoch": epoch, "shards": shards, "collections": collections })))
    }))
}

/// Ranges with an inclusive start and an exclusive end; `null` is the open side.
fn tablets_json(collection: &Collection) -> Vec<Value> {
    let key_type = collection.definition.key_type;
    let tablets = collection.tablets.iter().enumerate();
    tablets
        .map(|(index, tablet)| {
            json!({
                "id": tablet.id.0,
                "start": Some(&tablet.start).filter(|key| !key.is_empty()).map(|key| key_json(key, key_type)),
                "end": collection.end_of(index).map(|key| key_json(key, key_type)),
                "owner": tablet.owner.0,
                "epoch": tablet.epoch.0,
            })
        })
        .collect()
}

fn key_json(key: &Key, key_type: KeyType) -> Value {
    match (key_type, key.as_u64()) {
        (KeyType::U64, Some(number)) => number.into(),
        _ => key.display(key_type).into(),
    }
}

/// Splits a collection that has one tablet at the keys given. Moving tablets by load comes later.
pub fn rebalance(node: &Node, request: &Request<'_>) -> Result<Work, Problem> {
    let mut query = Query::parse(request.head.query)?;
    let dry_run = flag(&mut query, "dry_run")?;
    query.finish()?;
    if whole_body(request)?.is_empty() {
        return Err(Problem::not_implemented("rebalancing by load"));
    }
    let mut body = json_body(request)?;
    let name = object::text(body.required("collection")?, "/collection")?.into_owned();
    let Some(splits) = body.optional("split_at") else {
        return Err(Problem::not_implemented("rebalancing by load"));
    };
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
    if collection.tablets.len() > 1 {
        return Err(CatalogueError::AlreadySplit.into());
    }
    Ok(())
}
