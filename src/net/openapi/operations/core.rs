//! The core v1 routes.

use serde_json::json;

use super::super::operation::Operation;
use super::super::{codes, parameters};
use super::{ANY, bytes};

pub fn all() -> Vec<Operation> {
    vec![put(), get_fast(), lookup_fast(), lookup()]
}

/// `default` is always there, and has values.
fn on_default(operation: Operation) -> Operation {
    operation.refuses(&[(503, "not_ready")])
}

fn put() -> Operation {
    on_default(Operation::new("post", "/v1/put", "corePut", "Write any JSON under a number"))
        .about("A string is stored as its characters, anything else as its JSON text.")
        .takes([parameters::durability(), parameters::idempotency_key()])
        .takes(parameters::write_conditions())
        .json_body("Key and value.", true, "CorePut", json!({ "key": 1, "value": { "a": 1 } }))
        .answers(
            200,
            "Where the version is in the log, and its number.",
            &["Kyro-Seq", "Kyro-Durability", "Idempotency-Replayed"],
            &[("application/json", super::shown("Written", json!({ "offset": 1, "seq": 1 })))],
        )
        .refuses(codes::JSON_ONLY)
        .refuses(codes::WRITES)
        .refuses(codes::ONCE)
        .refuses(codes::CONDITIONS)
        .refuses(&[(413, "value_too_large")])
}

fn by_key(operation: Operation) -> Operation {
    on_default(operation)
        .takes([parameters::number_key()])
        .refuses(codes::KEY)
        .refuses(codes::READS)
        .refuses(codes::ABSENT)
}

fn get_fast() -> Operation {
    by_key(Operation::new("get", "/v1/get_fast/{key}", "coreGet", "One value as raw bytes"))
        .takes(parameters::read_conditions())
        .answers(200, "The value, with its content type.", &["ETag"], &[(ANY, bytes())])
        .answers(304, "The record has that version still.", &["ETag"], &[])
        .refuses(codes::CONDITIONS)
}

fn lookup_fast() -> Operation {
    let offset = json!({ "schema": {} });
    by_key(Operation::new(
        "get",
        "/v1/lookup_fast/{key}",
        "coreLookupFast",
        "Where the version is in the log",
    ))
    .answers(200, "The offset as 8 bytes, little-endian.", &[], &[("application/octet-stream", offset)])
}

fn lookup() -> Operation {
    on_default(Operation::new("get", "/v1/lookup", "coreLookup", "Key, value and version"))
        .takes([parameters::number_key_in_query()])
        .answers_json(200, "The record.", "Record")
        .refuses(codes::KEY)
        .refuses(codes::READS)
        .refuses(codes::ABSENT)
}
