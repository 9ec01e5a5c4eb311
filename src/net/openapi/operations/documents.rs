//! Documents, one at a time and in lines.

use serde_json::{Value, json};

use super::super::operation::Operation;
use super::super::{codes, parameters};
use super::{JSONL, NDJSON, lines, shown};

const ONE: &str = "/v1/collections/{collection}/docs/{id}";

pub fn all() -> Vec<Operation> {
    vec![insert(), get(), put(), patch(), delete(), bulk()]
}

fn on_documents(operation: Operation) -> Operation {
    operation.takes([parameters::collection("books")]).refuses(codes::COLLECTION).refuses(codes::KIND)
}

fn on_document(operation: Operation) -> Operation {
    on_documents(operation).takes([parameters::document_id()]).refuses(codes::KEY).refuses(codes::JSON_ONLY)
}

fn example() -> Value {
    json!({ "id": "a", "text": "Notes on the engine", "metadata": { "year": 1843, "tags": ["history"] } })
}

fn written() -> [(&'static str, Value); 1] {
    [("application/json", shown("WrittenDocument", json!({ "id": "a", "seq": 1 })))]
}

const WRITTEN_HEADERS: &[&str] = &["ETag", "Kyro-Seq", "Kyro-Durability", "Idempotency-Replayed"];

fn insert() -> Operation {
    on_documents(Operation::new(
        "post",
        "/v1/collections/{collection}",
        "insertDocument",
        "Insert a document; an id is made when it has none",
    ))
    .about(
        "With an `Idempotency-Key` the id is made of it, so that the request sent again is about the same document. \
         Nothing is replaced: where the id is taken it is 409, with `If-None-Match: *` 412. `If-Match` is 400.",
    )
    .takes([parameters::ttl(), parameters::durability(), parameters::idempotency_key(), parameters::if_absent()])
    .json_body("The document.", true, "Document", example())
    .answers(201, "It was inserted.", WRITTEN_HEADERS, &written())
    .refuses(codes::JSON_ONLY)
    .refuses(codes::WRITES)
    .refuses(codes::ONCE)
    .refuses(codes::CONDITIONS)
    .refuses(&[(409, "document_exists")])
}

fn get() -> Operation {
    on_document(Operation::new("get", ONE, "getDocument", "One document"))
        .takes(parameters::read_conditions())
        .answers(
            200,
            "The document with all its parts.",
            &["ETag"],
            &[("application/json", shown("StoredDocument", example()))],
        )
        .answers(304, "The document has that version still.", &["ETag"], &[])
        .refuses(codes::READS)
        .refuses(codes::ABSENT)
        .refuses(codes::CONDITIONS)
}

fn put() -> Operation {
    on_document(Operation::new("put", ONE, "putDocument", "Write a document, whatever was there"))
        .about("An `id` in the body must be that of the path.")
        .takes([parameters::ttl(), parameters::durability(), parameters::idempotency_key()])
        .takes(parameters::write_conditions())
        .json_body("The document.", true, "Document", example())
        .answers(201, "It was created.", WRITTEN_HEADERS, &written())
        .answers(200, "It was replaced.", WRITTEN_HEADERS, &written())
        .refuses(codes::WRITES)
        .refuses(codes::ONCE)
        .refuses(codes::CONDITIONS)
}

fn patch() -> Operation {
    let patch = || shown("MetadataPatch", json!({ "year": 1937, "tags": null }));
    on_document(Operation::new("patch", ONE, "patchDocument", "Change metadata member by member"))
        .takes([parameters::durability(), parameters::idempotency_key()])
        .takes(parameters::write_conditions())
        .body(
            "A JSON merge patch of the metadata.",
            true,
            &[("application/merge-patch+json", patch()), ("application/json", patch())],
        )
        .refuses(codes::JSON_BODY)
        .answers(200, "It was changed.", WRITTEN_HEADERS, &written())
        .refuses(codes::WRITES)
        .refuses(codes::ONCE)
        .refuses(codes::CONDITIONS)
        .refuses(codes::ABSENT)
}

fn delete() -> Operation {
    on_document(Operation::new("delete", ONE, "deleteDocument", "Delete a document"))
        .takes([parameters::durability(), parameters::idempotency_key()])
        .takes(parameters::write_conditions())
        .answers(204, "It is gone.", &["Kyro-Seq", "Kyro-Durability", "Idempotency-Replayed"], &[])
        .refuses(codes::WRITES)
        .refuses(codes::ONCE)
        .refuses(codes::CONDITIONS)
        .refuses(codes::ABSENT)
}

fn bulk() -> Operation {
    on_documents(Operation::new(
        "post",
        "/v1/collections/{collection}/bulk",
        "bulkDocuments",
        "Write and delete documents, line by line",
    ))
    .about("As the bulk of values. The same id twice is two writes, in order. `ttl` is that of the lines that have none of their own.")
    .takes([parameters::ttl(), parameters::durability()])
    .body(
        "A `DocumentLine` in each line.",
        false,
        &[
            (
                NDJSON,
                lines("DocumentLine", "{\"id\":\"a\",\"text\":\"one\"}\n{\"op\":\"delete\",\"id\":\"b\"}\n"),
            ),
            (JSONL, lines("DocumentLine", "{\"id\":\"a\",\"text\":\"one\"}\n")),
        ],
    )
    .answers(
        200,
        "A `ResultLine` for each line.",
        &["Kyro-Durability"],
        &[(NDJSON, lines("ResultLine", "{\"status\":201,\"seq\":1,\"id\":\"a\"}\n"))],
    )
    .refuses(&[(400, "invalid_header"), (415, "unsupported_media_type"), (422, "invalid_body")])
}
