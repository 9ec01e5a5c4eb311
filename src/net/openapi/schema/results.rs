//! Bodies that the server sends.

use serde_json::{Value, json};

use super::{Named, count, list_of, open, refer};

pub fn all() -> Named {
    [records(), collections(), documents(), upkeep(), ranges(), service()].concat()
}

fn records() -> Named {
    let value_members = json!({
        "value": { "description": "Text as a string, JSON as it is, a document as its JSON." },
        "value_b64": { "description": "Anything else.", "type": "string", "contentEncoding": "base64" },
    });
    let mut record = json!({ "key": refer("Key"), "seq": count() });
    merge(&mut record, &value_members);
    let mut exact = json!({ "content_type": { "type": "string" }, "expires_ms": count() });
    merge(&mut exact, &record);
    let mut line = json!({
        "status": { "type": "integer" },
        "seq": count(),
        "id": refer("Key"),
        "code": { "type": "string" },
        "detail": { "type": "string" },
    });
    merge(&mut line, &value_members);
    vec![
        ("Written", open(&["offset", "seq"], json!({ "offset": count(), "seq": count() }))),
        ("Record", open(&["key", "seq"], record)),
        ("ExactRecord", open(&["key", "seq"], exact)),
        (
            "Records",
            open(
                &["records"],
                json!({ "records": list_of(json!({ "anyOf": [refer("ExactRecord"), { "type": "null" }] })) }),
            ),
        ),
        (
            "Page",
            open(
                &["records", "next_cursor"],
                json!({
                    "records": list_of(refer("ExactRecord")),
                    "next_cursor": { "description": "Null at the end.", "type": ["string", "null"] },
                }),
            ),
        ),
        ("ResultLine", open(&["status"], line)),
    ]
}

fn merge(into: &mut Value, from: &Value) {
    for (name, schema) in from.as_object().into_iter().flatten() {
        into[name] = schema.clone();
    }
}

fn collections() -> Named {
    let embedding = open(
        &["dim", "metric", "quantization"],
        json!({ "dim": count(), "metric": refer("Metric"), "quantization": refer("Quantization") }),
    );
    let collection = open(
        &["name", "key_type", "durability", "placement", "created_ms", "tablets", "indexes"],
        json!({
            "name": { "type": "string" },
            "key_type": refer("KeyType"),
            "durability": { "anyOf": [refer("Durability"), { "type": "null" }] },
            "placement": refer("Placement"),
            "created_ms": count(),
            "tablets": count(),
            "indexes": list_of(open(
                &["field", "kind"],
                json!({
                    "field": { "description": "`embedding`, or a declared field.", "type": "string" },
                    "kind": { "anyOf": [{ "type": "string", "const": "vector" }, refer("FieldType")] },
                }),
            )),
            "embedding": { "anyOf": [embedding, { "type": "null" }] },
            "fields": { "type": "object", "additionalProperties": refer("FieldType") },
            "records": { "description": "Only of one collection.", "type": "integer", "minimum": 0 },
            "bytes": { "description": "Only of one collection.", "type": "integer", "minimum": 0 },
        }),
    );
    vec![
        ("Collection", collection),
        ("CollectionList", open(&["collections"], json!({ "collections": list_of(refer("Collection")) }))),
    ]
}

fn documents() -> Named {
    let members = || {
        json!({
            "id": refer("Key"),
            "text": { "type": "string" },
            "embedding": list_of(json!({ "type": "number" })),
            "metadata": { "type": "object" },
        })
    };
    let mut hit = members();
    hit["score"] = json!({ "description": "Higher is nearer.", "type": "number" });
    vec![
        ("WrittenDocument", open(&["id", "seq"], json!({ "id": refer("Key"), "seq": count() }))),
        ("StoredDocument", open(&["id"], members())),
        ("Hit", open(&["id"], hit)),
        (
            "Hits",
            open(
                &["hits", "metric"],
                json!({
                    "hits": list_of(refer("Hit")),
                    "metric": refer("Metric"),
                    "cursor": { "description": "Leads to the next hits, if there are any.", "type": "string" },
                    "explain": refer("Explanation"),
                }),
            ),
        ),
        ("Explanation", explanation()),
        ("Counted", open(&["count"], json!({ "count": count() }))),
    ]
}

fn explanation() -> Value {
    let part = open(
        &["plan", "sealed", "documents"],
        json!({
            "plan": { "type": "string", "enum": ["exact", "scan", "walk", "two_hop"] },
            "sealed": { "type": "boolean" },
            "documents": count(),
            "admitted": count(),
            "ef": { "type": ["integer", "null"] },
            "fell_back_to_scan": { "type": "boolean" },
            "codes_looked_at": count(),
            "distances_computed": count(),
            "visited": count(),
            "originals_ranked": count(),
        }),
    );
    open(
        &["documents", "matching", "metadata_looked_at", "parts", "recall", "filter_us", "search_us"],
        json!({
            "documents": count(),
            "matching": count(),
            "metadata_looked_at": count(),
            "parts": list_of(part),
            "recall": { "type": "string" },
            "filter_us": count(),
            "search_us": count(),
            "note": { "type": "string" },
        }),
    )
}

fn upkeep() -> Named {
    let snapshot = open(
        &["id", "created_ms", "shards", "bytes", "records"],
        json!({
            "id": { "type": "string" },
            "created_ms": count(),
            "shards": count(),
            "bytes": count(),
            "records": count(),
        }),
    );
    vec![
        ("Snapshot", snapshot),
        ("SnapshotList", open(&["snapshots"], json!({ "snapshots": list_of(refer("Snapshot")) }))),
        (
            "Begun",
            open(
                &["operation"],
                json!({
                    "operation": { "description": "For `/v1/operations/{id}`.", "type": "string" },
                    "state": { "const": "running" },
                    "does": { "type": "string" },
                }),
            ),
        ),
        (
            "UpkeepDone",
            open(
                &["did", "ms", "shards", "state"],
                json!({
                    "did": { "type": "string" },
                    "ms": count(),
                    "state": { "const": "done" },
                    "shards": list_of(json!({
                        "description": "What a shard did; members by the work.",
                        "type": "object",
                        "required": ["shard"],
                        "additionalProperties": true,
                    })),
                }),
            ),
        ),
        ("OperationList", open(&["operations"], json!({ "operations": list_of(refer("Operation")) }))),
        (
            "Operation",
            open(
                &["id", "kind", "state", "fraction", "eta_seconds"],
                json!({
                    "id": { "type": "string" },
                    "kind": { "type": "string" },
                    "collection": { "description": "That it is about, when it is one.", "type": "string" },
                    "state": { "type": "string", "enum": ["running", "done", "failed"] },
                    "fraction": { "type": "number", "minimum": 0, "maximum": 1 },
                    "eta_seconds": { "type": ["integer", "null"], "minimum": 0 },
                    "result": { "description": "What was done: the answer of the same with `wait=true`." },
                    "error": open(
                        &["status", "code", "detail"],
                        json!({
                            "status": { "type": "integer" },
                            "code": { "type": "string" },
                            "detail": { "type": "string" },
                        }),
                    ),
                }),
            ),
        ),
    ]
}

fn key_or_null() -> Value {
    json!({ "anyOf": [refer("Key"), { "type": "null" }] })
}

fn ranges() -> Named {
    let rate = || json!({ "type": "number", "minimum": 0 });
    let tablet = open(
        &["id", "start", "end", "owner", "epoch"],
        json!({
            "id": count(),
            "start": key_or_null(),
            "end": key_or_null(),
            "owner": count(),
            "epoch": count(),
            "records": count(),
            "bytes": count(),
            "reads_per_second": rate(),
            "writes_per_second": rate(),
            "grows_at": key_or_null(),
        }),
    );
    let collection = open(
        &["name", "key_type", "placement", "records", "tablets"],
        json!({
            "name": { "type": "string" },
            "key_type": refer("KeyType"),
            "placement": refer("Placement"),
            "records": count(),
            "tablets": list_of(refer("Tablet")),
        }),
    );
    let load = open(
        &["shard", "tablets", "records", "bytes", "reads_per_second", "writes_per_second"],
        json!({
            "shard": count(),
            "tablets": count(),
            "records": count(),
            "bytes": count(),
            "reads_per_second": rate(),
            "writes_per_second": rate(),
        }),
    );
    let ratios = json!({ "records": rate(), "bytes": rate(), "requests": rate() });
    vec![
        ("Tablet", tablet),
        (
            "Router",
            open(
                &["epoch", "shards", "collections", "loads", "largest_to_mean"],
                json!({
                    "epoch": count(),
                    "shards": count(),
                    "collections": list_of(collection),
                    "loads": list_of(load),
                    "largest_to_mean": open(&["records", "bytes", "requests"], ratios),
                }),
            ),
        ),
        ("Rebalanced", rebalanced()),
    ]
}

fn rebalanced() -> Value {
    let target = open(
        &["start", "owner", "stays"],
        json!({ "start": key_or_null(), "owner": count(), "stays": { "type": "boolean" } }),
    );
    let step = open(
        &["kind", "reason", "collection", "start", "end", "targets", "bytes", "largest_to_mean"],
        json!({
            "kind": { "type": "string", "enum": ["split", "move", "merge"] },
            "reason": { "type": "string" },
            "collection": { "type": ["string", "null"] },
            "start": key_or_null(),
            "end": key_or_null(),
            "targets": list_of(target),
            "bytes": count(),
            "largest_to_mean": { "type": "number" },
        }),
    );
    let plan = open(&["dry_run", "steps"], json!({ "dry_run": { "const": true }, "steps": list_of(step) }));
    let ratio = json!({ "type": "number" });
    let done =
        open(&["steps", "before", "after"], json!({ "steps": count(), "before": ratio, "after": ratio }));
    let cut = open(
        &["collection", "tablets", "dry_run"],
        json!({ "collection": { "type": "string" }, "tablets": count(), "dry_run": { "type": "boolean" } }),
    );
    json!({
        "description": "With `dry_run` the steps, with `wait` what was done, with a body into what the collection was cut.",
        "anyOf": [plan, done, cut],
    })
}

fn service() -> Named {
    let status = |text: &str| open(&["status"], json!({ "status": { "const": text } }));
    let shard = open(
        &["shard", "phase", "replayed_records", "records", "disk_full", "documents"],
        json!({
            "shard": count(),
            "phase": { "type": "string", "enum": ["recovering", "serving", "poisoned"] },
            "replayed_records": count(),
            "records": count(),
            "disk_full": { "type": "boolean" },
            "documents": open(
                &["indexed", "loading_tablets", "unlinked"],
                json!({ "indexed": count(), "loading_tablets": count(), "unlinked": count() }),
            ),
        }),
    );
    let text = || json!({ "type": "string" });
    vec![
        ("Healthy", status("ok")),
        ("Live", status("live")),
        (
            "Ready",
            open(&["status"], json!({ "status": { "const": "ready" }, "shards": list_of(refer("Shard")) })),
        ),
        ("Shard", shard),
        (
            "BuildInfo",
            open(
                &["name", "version", "arch", "os", "pid", "profile"],
                json!({
                    "name": text(),
                    "version": text(),
                    "arch": text(),
                    "os": text(),
                    "pid": count(),
                    "profile": { "type": "string", "enum": ["debug", "release"] },
                }),
            ),
        ),
    ]
}
