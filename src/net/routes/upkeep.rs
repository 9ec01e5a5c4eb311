//! `/v1/compact`, `/v1/warmup` and `/v1/rmi/build`: work on all shards, at once as an operation or waited for.

use serde_json::json;

use super::{Work, flag, whole_body};
use crate::net::parser::Request;
use crate::net::parser::target::Query;
use crate::net::problem::Problem;
use crate::net::response::Response;
use crate::shard::jobs::{Job, what_is_done};
use crate::shard::node::Node;

pub fn compact(node: &Node, request: &Request<'_>) -> Result<Work, Problem> {
    start(node, request, |_| Ok(Job::Compact))
}

/// `?values=true` takes values in as well.
pub fn warm_up(node: &Node, request: &Request<'_>) -> Result<Work, Problem> {
    start(node, request, |query| Ok(Job::WarmUp { values: flag(query, "values")? }))
}

pub fn build_indexes(node: &Node, request: &Request<'_>) -> Result<Work, Problem> {
    start(node, request, |_| Ok(Job::BuildIndexes))
}

fn start(
    node: &Node,
    request: &Request<'_>,
    job: impl FnOnce(&mut Query<'_>) -> Result<Job, Problem>,
) -> Result<Work, Problem> {
    let mut query = Query::parse(request.head.query)?;
    let wait = flag(&mut query, "wait")?;
    let job = job(&mut query)?;
    query.finish()?;
    if !whole_body(request)?.is_empty() {
        return Err(Problem::wrong("", "this route takes no body"));
    }
    let node = node.clone();
    Ok(Work::task(async move {
        if wait {
            let mut done = node.run_job(job).await?;
            done["state"] = "done".into();
            return Ok(Response::json(200, &done));
        }
        let id = node.begin_job(job).await?;
        let begun = json!({ "operation": id, "state": "running", "does": what_is_done(job) });
        Ok(Response::json(202, &begun))
    }))
}
