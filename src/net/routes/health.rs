//! `/health`, `/livez`, `/readyz`, `/build_info` and `/openapi.json`.

use serde_json::{Value, json};

use super::{Work, flag, no_parameters};
use crate::net::openapi;
use crate::net::parser::head::Head;
use crate::net::parser::target::Query;
use crate::net::problem::Problem;
use crate::net::response::{JSON, Response};
use crate::shard::node::Node;
use crate::shard::stats::{Phase, ShardStats};

pub fn health(head: &Head<'_>) -> Result<Work, Problem> {
    no_parameters(head)?;
    Ok(Work::Ready(Response::json(200, &json!({ "status": "ok" }))))
}

pub fn live(head: &Head<'_>) -> Result<Work, Problem> {
    no_parameters(head)?;
    Ok(Work::Ready(Response::json(200, &json!({ "status": "live" }))))
}

pub fn build_info(head: &Head<'_>) -> Result<Work, Problem> {
    no_parameters(head)?;
    let info = json!({
        "name": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "arch": std::env::consts::ARCH,
        "os": std::env::consts::OS,
        "pid": std::process::id(),
        "profile": if cfg!(debug_assertions) { "debug" } else { "release" },
    });
    Ok(Work::Ready(Response::json(200, &info)))
}

pub fn openapi(head: &Head<'_>) -> Result<Work, Problem> {
    no_parameters(head)?;
    // Made when its turn comes: a pipeline of these must not have them all at once.
    Ok(Work::task(async { Ok(Response::bytes(200, JSON, openapi::TEXT.into())) }))
}

pub fn ready(node: &Node, head: &Head<'_>) -> Result<Work, Problem> {
    let mut query = Query::parse(head.query)?;
    let verbose = flag(&mut query, "verbose")?;
    query.finish()?;
    let node = node.clone();
    Ok(Work::task(async move { Ok(readiness(&node.stats().await, verbose)) }))
}

/// 200 when every shard serves. A poisoned shard still reads, but the node is not ready for writes.
fn readiness(shards: &[ShardStats], verbose: bool) -> Response {
    let ids = |phase| -> Vec<u16> {
        shards.iter().filter(|shard| shard.phase == phase).map(|shard| shard.shard.0).collect()
    };
    let (recovering, poisoned) = (ids(Phase::Recovering), ids(Phase::Poisoned));
    let status = match (recovering.is_empty(), poisoned.is_empty()) {
        (_, false) => "storage_failed",
        (false, true) => "recovering",
        (true, true) => "ready",
    };
    let mut body = serde_json::Map::new();
    if !recovering.is_empty() {
        body.insert("recovering_shards".to_owned(), recovering.into());
    }
    if !poisoned.is_empty() {
        body.insert("poisoned_shards".to_owned(), poisoned.into());
    }
    if verbose {
        body.insert("shards".to_owned(), shards.iter().map(shard_json).collect());
    }
    if status == "ready" {
        body.insert("status".to_owned(), status.into());
        return Response::json(200, &body);
    }
    let detail =
        if status == "recovering" { "a shard is still recovering" } else { "the storage of a shard failed" };
    let code = if status == "recovering" { "not_ready" } else { status };
    Problem { more: Some(Box::new(body)), ..Problem::new(503, code, detail) }.into()
}

fn shard_json(shard: &ShardStats) -> Value {
    json!({
        "shard": shard.shard.0,
        "phase": match shard.phase {
            Phase::Recovering => "recovering",
            Phase::Serving => "serving",
            Phase::Poisoned => "poisoned",
        },
        "replayed_records": shard.replayed_records,
        "records": shard.live_records,
        "disk_full": shard.disk_full,
        "documents": {
            "indexed": shard.documents.indexed,
            "loading_tablets": shard.documents.loading_tablets,
            "unlinked": shard.documents.unlinked,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::response::Body;
    use crate::types::ShardId;

    fn answer(phases: &[Phase], verbose: bool) -> (u16, Value) {
        let shards: Vec<ShardStats> = phases
            .iter()
            .enumerate()
            .map(|(id, phase)| ShardStats { shard: ShardId(id as u16), phase: *phase, ..Default::default() })
            .collect();
        let response = readiness(&shards, verbose);
        let bytes = match response.body {
            Body::Bytes { bytes, .. } => bytes,
            Body::Problem(problem) => problem.to_json("id"),
            _ => panic!("readiness is JSON"),
        };
        (response.status, serde_json::from_slice(&bytes).unwrap())
    }

    #[test]
    fn ready_when_all_serve() {
        assert_eq!(answer(&[Phase::Serving; 2], false), (200, json!({ "status": "ready" })));
        let (status, body) = answer(&[Phase::Serving, Phase::Recovering], true);
        assert_eq!((status, &body["recovering_shards"]), (503, &json!([1])));
        assert_eq!(body["shards"][1]["phase"], "recovering");
        assert_eq!((&body["code"], &body["request_id"]), (&json!("not_ready"), &json!("id")));
        let (status, body) = answer(&[Phase::Poisoned, Phase::Serving], false);
        assert_eq!((status, &body["poisoned_shards"], &body["status"]), (503, &json!([0]), &json!(503)));
        assert_eq!(body["code"], "storage_failed");
    }
}
