//! What the server says of its own interface: OpenAPI 3.1, made of tables that stand beside the routes.
//!
//! [`TEXT`] is checked in and served at `/openapi.json`; [`document`] makes it. A test fails when the two differ, and
//! says how to write it anew. It cannot drift from the server: [`template`] names a path for every
//! [`Resource`](super::routes::Resource), every [`codes`] of a problem has to be listed, and the client of the HTTP
//! tests compares each answer with it.
//!
//! Pure. Must not know: the engine, but for its bounds.

mod access;
pub mod codes;
mod headers;
mod operation;
mod operations;
mod parameters;
mod paths;
mod schema;

pub use paths::template;

use operation::{GROUPS, Operation, shared_responses};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value, json};

/// The document as it is served.
pub const TEXT: &str = include_str!("openapi.json");

/// The document as the code has it.
pub fn document() -> Value {
    let operations = operations::all();
    json!({
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "KyroDB",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache License 2.0", "identifier": "Apache-2.0" },
            "description": "Values and documents with vectors, durable when they are acknowledged. Errors are \
                            `application/problem+json` (RFC 9457) with a stable `code`. A request with `X-Request-Id` \
                            or `traceparent` is answered with `X-Request-Id` and `Server-Timing`. Any other method of \
                            a path is answered 405 with `Allow`, any other path 404 `no_such_route`; OPTIONS of a page of \
                            another origin 204, where the server has a list of origins.",
        },
        "servers": [{ "url": "/" }],
        "tags": GROUPS.iter().map(|(name, about)| json!({ "name": name, "description": about })).collect::<Vec<_>>(),
        "paths": paths_json(&operations),
        "components": {
            "schemas": schema::all(),
            "parameters": parameters::shared(),
            "headers": headers::all(),
            "responses": shared_responses(&operations),
            "securitySchemes": access::schemes(),
        },
    })
}

/// As it is checked in.
pub fn text() -> String {
    let mut bytes = Vec::new();
    let form = PrettyFormatter::with_indent(b" ");
    let written = document().serialize(&mut Serializer::with_formatter(&mut bytes, form));
    written.expect("the document is plain data");
    let mut text = String::from_utf8(bytes).expect("JSON is text");
    text.push('\n');
    text
}

fn paths_json(operations: &[Operation]) -> Value {
    let mut paths = Map::new();
    for operation in operations {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        assert!(
            path.get(operation.method).is_none(),
            "{} {} is there twice",
            operation.method,
            operation.path
        );
        path[operation.method] = operation.to_json();
    }
    Value::Object(paths)
}

#[cfg(test)]
mod tests;
