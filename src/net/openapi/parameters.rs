//! Parameters of requests: of paths, queries and header fields.
//!
//! A schema is what the server accepts and no less, where JSON Schema can say it; bounds in bytes are `x-maxBytes`,
//! since JSON Schema counts characters.

use serde_json::{Value, json};

use super::schema::{self, refer_to};
use crate::limits;

/// Named once, for all operations. **What any request may carry comes here.**
pub fn shared() -> Value {
    json!({
        "X-Request-Id": {
            "name": "X-Request-Id",
            "in": "header",
            "description": format!(
                "An id that the answer repeats. One that is not 1 to {} visible ASCII characters is replaced.",
                limits::REQUEST_ID_BYTES_MAX
            ),
            "schema": { "type": "string" },
        },
        "traceparent": {
            "name": "traceparent",
            "in": "header",
            "description": "W3C trace context. Its trace id is the id of a request without `X-Request-Id`.",
            "schema": { "type": "string" },
            "example": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        },
    })
}

pub fn of_all() -> [Value; 2] {
    ["X-Request-Id", "traceparent"].map(|name| refer_to("parameters", name))
}

fn path(name: &str, about: String, schema: Value, example: &str) -> Value {
    json!({
        "name": name, "in": "path", "required": true, "description": about, "schema": schema, "example": example,
    })
}

fn query(name: &str, about: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "query", "description": about, "schema": schema })
}

fn header(name: &str, about: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "header", "description": about, "schema": schema })
}

/// A collection that is there, or is not.
pub fn collection(example: &str) -> Value {
    let schema = json!({ "type": "string", "minLength": 1 });
    path("collection", "The name of a collection.".to_owned(), schema, example)
}

/// A collection to be created.
pub fn new_collection() -> Value {
    path("collection", "Its name.".to_owned(), schema::refer("CollectionName"), "people")
}

pub fn key() -> Value {
    let about = format!(
        "A key, percent-encoded: by the key type of the collection a number from 0 to {} without leading zeros, or 1 to {} bytes of UTF-8.",
        u64::MAX,
        limits::KEY_BYTES_MAX
    );
    path("key", about, schema::text(limits::KEY_BYTES_MAX), "1")
}

pub fn document_id() -> Value {
    let about = "The id of a document, percent-encoded: a key of the collection.".to_owned();
    path("id", about, schema::text(limits::KEY_BYTES_MAX), "a")
}

pub fn number_key() -> Value {
    path("key", "A key of `default`.".to_owned(), schema::number_key(), "1")
}

pub fn number_key_in_query() -> Value {
    let mut told = query("key", "A key of `default`.", schema::number_key());
    told["required"] = true.into();
    told["example"] = "1".into();
    told
}

pub fn id(about: &str) -> Value {
    path("id", about.to_owned(), json!({ "type": "string", "minLength": 1 }), "1")
}

/// True when it is given empty, too.
pub fn flag(name: &str, about: &str) -> Value {
    query(name, about, json!({ "type": "string", "enum": ["true", "false", ""] }))
}

pub fn wait() -> Value {
    flag("wait", "`true`: the answer comes when the work is done, with 200 instead of 202.")
}

pub fn ttl() -> Value {
    query(
        "ttl",
        "The record expires after so long: a whole number above 0 and one of `ms`, `s`, `m`, `h`, `d`; at most 365000d.",
        schema::refer("Ttl"),
    )
}

pub fn durability() -> Value {
    header(
        "Kyro-Durability",
        "When the write is acknowledged; without it what the collection says, else the server.",
        schema::refer("Durability"),
    )
}

/// Of a request that writes one record.
pub fn idempotency_key() -> Value {
    let mut told = header(
        "Idempotency-Key",
        "A name for the request, of the caller's choice and for this record. Sent again with it, within a day and as \
         long as the server remembers, the request changes nothing and is answered as it was. What was refused is \
         judged anew.",
        json!({
            "type": "string",
            "pattern": "^[!-~]+$",
            "minLength": 1,
            "maxLength": limits::IDEMPOTENCY_KEY_BYTES_MAX,
        }),
    );
    told["example"] = "8e03978e-40d5-43dd-bc93-6894a57f9324".into();
    told
}

/// `*`, or what the pattern says.
fn tags(pattern: &str) -> Value {
    json!({
        "anyOf": [{ "const": "*" }, { "type": "string", "pattern": pattern }],
        "examples": ["\"42\""],
    })
}

/// Of reads.
pub fn read_conditions() -> [Value; 2] {
    [
        header(
            "If-Match",
            "`*`, or entity tags: 412 unless the record has one of them.",
            tags(schema::TAG_LIST),
        ),
        header(
            "If-None-Match",
            "`*`, or entity tags: 304 if the record has one of them.",
            tags(schema::TAG_LIST),
        ),
    ]
}

/// Of writes.
pub fn write_conditions() -> [Value; 2] {
    [
        header(
            "If-Match",
            "`*` or one entity tag: 412 unless the record is there, in that version.",
            tags(schema::ONE_TAG),
        ),
        if_absent(),
    ]
}

/// Of writes and inserts.
pub fn if_absent() -> Value {
    header(
        "If-None-Match",
        "Only `*`: 412 if the record is there.",
        json!({ "type": "string", "enum": ["*"] }),
    )
}

/// Of a scan.
pub fn range() -> [Value; 7] {
    let text = || json!({ "type": "string", "x-maxBytes": limits::KEY_BYTES_MAX });
    [
        query("start", "The first key. Empty: from the beginning.", text()),
        query("end", "The key before which the scan ends. Empty: to the end.", text()),
        query("prefix", "Only keys that begin so; for string keys.", text()),
        flag("reverse", "`true`: from the greatest key down."),
        query(
            "limit",
            "Records at most. A page of JSON has no more than its own bound, and 100 when this is left out.",
            json!({ "type": "integer", "minimum": 1, "maximum": u64::MAX, "x-pageMaximum": limits::SCAN_PAGE_RECORDS_MAX }),
        ),
        query(
            "cursor",
            "`next_cursor` of the page before. The range is then that of the cursor.",
            json!({ "type": "string" }),
        ),
        flag("exact", "`true`: records in the exact form, of which a bulk makes the same ones again."),
    ]
}
