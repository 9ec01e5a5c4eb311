//! Every operation, grouped as the routes are.

mod collections;
mod core;
mod documents;
mod ranges;
mod search;
mod service;
mod upkeep;
mod values;

use serde_json::{Value, json};

use super::access::secured;
use super::operation::Operation;
use super::schema::refer;

/// In the order of the document. A GET brings its HEAD along.
pub fn all() -> Vec<Operation> {
    let groups = [
        ("values", values::all()),
        ("core", core::all()),
        ("collections", collections::all()),
        ("documents", documents::all()),
        ("search", search::all()),
        ("upkeep", upkeep::all()),
        ("ranges", ranges::all()),
        ("service", service::all()),
    ];
    let with_head = |operation: Operation| {
        let head = (operation.method == "get").then(|| operation.head());
        std::iter::once(operation).chain(head)
    };
    let of_group = |(group, operations): (&'static str, Vec<Operation>)| {
        let all = operations.into_iter().flat_map(with_head).map(secured);
        all.map(move |operation| Operation { group, ..operation })
    };
    groups.into_iter().flat_map(of_group).collect()
}

/// What a body of this schema may look like.
fn shown(schema: &str, example: Value) -> Value {
    json!({ "schema": refer(schema), "example": example })
}

/// Lines of JSON. OpenAPI 3.1 has no word for what a line is: `x-itemSchema` is that of 3.2.
fn lines(schema: &str, example: &str) -> Value {
    json!({ "schema": { "type": "string" }, "x-itemSchema": refer(schema), "example": example })
}

/// Bytes that are taken and given as they are.
fn bytes() -> Value {
    json!({ "schema": {} })
}

const NDJSON: &str = "application/x-ndjson";
const JSONL: &str = "application/jsonl";
const ANY: &str = "*/*";
