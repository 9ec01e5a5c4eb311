//! `/v1/kv`: records of any bytes.

use serde_json::json;

use super::super::operation::Operation;
use super::super::{codes, parameters};
use super::{ANY, JSONL, NDJSON, bytes, lines};
use crate::net::openapi::schema::refer;

const RECORD: &str = "/v1/kv/{collection}/{key}";
const MULTI_GET: &str = "/v1/kv/{collection}/mget";
const BULK: &str = "/v1/kv/{collection}/bulk";
const RANGE: &str = "/v1/kv/{collection}";

const PUT_HEADERS: &[&str] = &["ETag", "Kyro-Seq", "Kyro-Durability", "Idempotency-Replayed"];

pub fn all() -> Vec<Operation> {
    let record = [get(), put(), delete()];
    let also = [(MULTI_GET, "Mget"), (BULK, "Bulk")];
    let named_so = also.iter().flat_map(|(path, name)| record.iter().map(|one| named(one, path, name)));
    let of_many = [multi_get(), bulk(), range()];
    record.iter().cloned().chain(named_so).chain(of_many).collect()
}

/// The record whose key is the last segment of a path that has a meaning of its own with POST.
fn named(operation: &Operation, path: &'static str, name: &str) -> Operation {
    let mut operation = operation.clone();
    operation.path = path;
    operation.id = format!("{}{name}", operation.id);
    operation.about = "The record whose key is the last segment of the path.";
    operation.parameters.retain(|parameter| parameter["in"] != "path");
    operation.takes([parameters::collection("strings")])
}

/// An operation on a collection of either kind: documents are seen as their JSON.
fn on_records(operation: Operation) -> Operation {
    operation.takes([parameters::collection("default")]).refuses(codes::COLLECTION)
}

/// An operation on a collection of values.
fn on_values(operation: Operation) -> Operation {
    on_records(operation).refuses(codes::KIND)
}

fn on_record(operation: Operation) -> Operation {
    on_records(operation).takes([parameters::key()]).refuses(codes::KEY)
}

fn get() -> Operation {
    on_record(Operation::new("get", RECORD, "getValue", "One value as raw bytes"))
        .about(
            "The value goes out as it was stored, with its content type, whatever is accepted; a document as its JSON.",
        )
        .takes(parameters::read_conditions())
        .answers(200, "The value.", &["ETag"], &[(ANY, bytes())])
        .answers(304, "The record has that version still.", &["ETag"], &[])
        .refuses(codes::READS)
        .refuses(codes::ABSENT)
        .refuses(codes::CONDITIONS)
}

fn put() -> Operation {
    let binary = || json!({ "schema": {}, "example": "hello" });
    on_record(Operation::new("put", RECORD, "putValue", "Write one value"))
        .refuses(codes::KIND)
        .about("Both `If-Match` and `If-None-Match` can never hold together.")
        .takes([parameters::ttl(), parameters::durability(), parameters::idempotency_key()])
        .takes(parameters::write_conditions())
        .body(
            "Any bytes. Their type is kept: visible ASCII, `application/octet-stream` when none is given. Without a \
             Content-Length or chunks 411.",
            false,
            &[("text/plain", binary()), ("application/octet-stream", binary())],
        )
        .answers(201, "It was created.", PUT_HEADERS, &[])
        .answers(204, "It was replaced.", PUT_HEADERS, &[])
        .refuses(codes::WRITES)
        .refuses(codes::ONCE)
        .refuses(codes::CONDITIONS)
        .refuses(&[(411, "length_required"), (413, "value_too_large")])
}

fn delete() -> Operation {
    on_record(Operation::new("delete", RECORD, "deleteValue", "Delete one record"))
        .takes([parameters::durability(), parameters::idempotency_key()])
        .takes(parameters::write_conditions())
        .answers(204, "It is gone.", &["Kyro-Seq", "Kyro-Durability", "Idempotency-Replayed"], &[])
        .refuses(codes::WRITES)
        .refuses(codes::ONCE)
        .refuses(codes::CONDITIONS)
        .refuses(codes::ABSENT)
}

fn multi_get() -> Operation {
    on_records(Operation::new(
        "post",
        MULTI_GET,
        "getMany",
        "Many values, in the order of their keys in the body",
    ))
    .json_body("Keys of the collection's type.", true, "KeyList", json!({ "keys": [1, 2] }))
    .answers_json(200, "A record or null for each key.", "Records")
    .refuses(codes::READS)
}

fn bulk() -> Operation {
    on_values(Operation::new("post", BULK, "bulkValues", "Puts, deletes and gets, line by line"))
        .about(
            "Answered as it comes: one result line for each line, in order. There is no limit on the whole, one on each \
             line. If the body breaks or stops, the answer ends without its terminating chunk, and the lines that have \
             no result must be sent again. `Idempotency-Key`, `If-Match` and `If-None-Match` are refused: each line is a \
             write of its own.",
        )
        .takes([parameters::durability()])
        .body(
            "A `ValueLine` in each line.",
            false,
            &[
                (NDJSON, lines("ValueLine", "{\"op\":\"put\",\"key\":1,\"value\":\"a\"}\n{\"op\":\"get\",\"key\":1}\n")),
                (JSONL, lines("ValueLine", "{\"op\":\"delete\",\"key\":1}\n")),
            ],
        )
        .answers(200, "A `ResultLine` for each line.", &["Kyro-Durability"], &[(NDJSON, lines("ResultLine", "{\"status\":201,\"seq\":1}\n"))])
        .refuses(&[(400, "invalid_header"), (415, "unsupported_media_type")])
}

fn range() -> Operation {
    let page = json!({ "schema": refer("Page") });
    on_records(Operation::new("get", RANGE, "scanValues", "Records in key order, as pages or as one stream"))
        .about(
            "`Accept` chooses between a page of JSON with a cursor and all records as NDJSON, which has none. A \
             collection that is placed by hash has no order.",
        )
        .takes(parameters::range())
        .answers(
            200,
            "The records.",
            &[],
            &[("application/json", page), (NDJSON, lines("ExactRecord", "{\"key\":1,\"value\":\"a\",\"seq\":1}\n"))],
        )
        .refuses(codes::READS)
        .refuses(codes::JSON_ONLY)
        .refuses(&[(409, "placed_by_hash")])
}
