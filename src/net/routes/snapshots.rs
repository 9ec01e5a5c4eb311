//! `/v1/snapshot`, `/v1/snapshots` and `/v1/operations`.

use serde_json::{Value, json};

use super::{Work, flag, no_parameters, whole_body};
use crate::net::parser::Request;
use crate::net::parser::head::Head;
use crate::net::parser::target::{Query, decode_segment};
use crate::net::problem::Problem;
use crate::net::response::Response;
use crate::shard::node::Node;
use crate::shard::operations::{Operation, Outcome};

pub fn take(node: &Node, request: &Request<'_>) -> Result<Work, Problem> {
    let mut query = Query::parse(request.head.query)?;
    let wait = flag(&mut query, "wait")?;
    query.finish()?;
    if !whole_body(request)?.is_empty() {
        return Err(Problem::wrong("", "a snapshot takes no body"));
    }
    let node = node.clone();
    Ok(Work::task(async move {
        if wait {
            return Ok(Response::json(200, &json!(node.snapshot().await?)));
        }
        let id = node.begin_snapshot().await?;
        Ok(Response::json(202, &json!({ "operation": id })))
    }))
}

pub fn list(node: &Node, head: &Head<'_>) -> Result<Work, Problem> {
    no_parameters(head)?;
    let node = node.clone();
    Ok(Work::task(async move {
        let snapshots = node.snapshots().await?;
        Ok(Response::json(200, &json!({ "snapshots": snapshots })))
    }))
}

pub fn remove(node: &Node, head: &Head<'_>, id: &str) -> Result<Work, Problem> {
    no_parameters(head)?;
    let (node, id) = (node.clone(), decode_segment(id)?.into_owned());
    Ok(Work::task(async move {
        match node.drop_snapshot(&id).await? {
            true => Ok(Response::empty(204)),
            false => Err(Problem::new(404, "no_such_snapshot", format!("there is no snapshot {id:?}"))),
        }
    }))
}

pub fn operation(node: &Node, head: &Head<'_>, id: &str) -> Result<Work, Problem> {
    no_parameters(head)?;
    let (node, id) = (node.clone(), decode_segment(id)?.into_owned());
    Ok(Work::task(async move {
        let operation = node.operation(&id).await?.ok_or_else(|| {
            Problem::new(
                404,
                "no_such_operation",
                format!("there is no operation {id:?}, or it is forgotten"),
            )
        })?;
        Ok(Response::json(200, &operation_json(&operation)))
    }))
}

pub fn operations(node: &Node, head: &Head<'_>) -> Result<Work, Problem> {
    no_parameters(head)?;
    let node = node.clone();
    Ok(Work::task(async move {
        let all: Vec<Value> = node.operations().await?.iter().map(state_json).collect();
        Ok(Response::json(200, &json!({ "operations": all })))
    }))
}

fn operation_json(operation: &Operation) -> Value {
    let mut told = state_json(operation);
    match &operation.outcome {
        Outcome::Running => {}
        Outcome::Done(result) => told["result"] = result.clone(),
        Outcome::Failed(refusal) => {
            let problem = Problem::from(*refusal);
            told["error"] =
                json!({ "status": problem.status, "code": problem.code, "detail": problem.detail });
        }
    }
    told
}

/// Without what came of it, which can be long.
fn state_json(operation: &Operation) -> Value {
    let state = match operation.outcome {
        Outcome::Running => "running",
        Outcome::Done(_) => "done",
        Outcome::Failed(_) => "failed",
    };
    let mut told = json!({
        "id": operation.id,
        "kind": operation.kind,
        "state": state,
        "fraction": operation.fraction,
        "eta_seconds": operation.eta_seconds,
    });
    if let Some(collection) = &operation.collection {
        told["collection"] = collection.as_str().into();
    }
    told
}
