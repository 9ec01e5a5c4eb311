//! Bodies that clients send.

use serde_json::{Value, json};

use super::{Named, closed, list_of, or_null, refer, text};
use crate::limits;

pub fn all() -> Named {
    vec![
        ("CorePut", closed(&["key", "value"], json!({ "key": super::number_key(), "value": any_json() }))),
        ("KeyList", key_list()),
        ("ValueLine", value_line()),
        ("CollectionDefinition", definition()),
        ("Document", document()),
        ("DocumentLine", document_line()),
        (
            "MetadataPatch",
            json!({ "type": "object", "description": "JSON merge patch (RFC 7396) of the metadata." }),
        ),
        ("Search", search()),
        ("Count", closed(&[], json!({ "filter": or_null(refer("Filter")) }))),
        ("Filter", filter()),
        ("FilterTest", filter_test()),
        ("FilterValue", json!({ "type": ["string", "number", "boolean", "null"] })),
        (
            "Cut",
            closed(
                &["collection", "split_at"],
                json!({
                    "collection": { "type": "string" },
                    "split_at": {
                        "description": "First keys of the tablets but the first, ascending.",
                        "type": "array", "items": refer("Key"), "minItems": 1,
                    },
                }),
            ),
        ),
    ]
}

fn any_json() -> Value {
    json!({ "description": format!("Any JSON; at most {} bytes.", limits::VALUE_BYTES_MAX) })
}

fn base64(about: &str) -> Value {
    json!({ "description": about, "type": "string", "contentEncoding": "base64" })
}

fn key_list() -> Value {
    let keys = json!({ "type": "array", "items": refer("Key"), "maxItems": limits::MGET_KEYS_MAX });
    closed(&["keys"], json!({ "keys": keys, "exact": or_null(json!({ "type": "boolean" })) }))
}

fn value_line() -> Value {
    let version = json!({ "type": ["integer", "null"], "minimum": 0, "maximum": u64::MAX });
    let get = closed(&["op", "key"], json!({ "op": { "const": "get" }, "key": refer("Key") }));
    let delete = closed(
        &["op", "key"],
        json!({ "op": { "const": "delete" }, "key": refer("Key"), "if_seq": version }),
    );
    let put = closed(
        &["op", "key"],
        json!({
            "op": { "const": "put" },
            "key": refer("Key"),
            "value": any_json(),
            "value_b64": base64("The value, in the place of `value`."),
            "content_type": or_null(refer("ContentType")),
            "ttl": or_null(refer("Ttl")),
            "expires_ms": version,
            "if_seq": version,
        }),
    );
    json!({
        "description": "A line of a bulk of values. A put has `value` or `value_b64`, and `ttl` or `expires_ms`, if any.",
        "oneOf": [get, delete, put],
    })
}

fn definition() -> Value {
    let embedding = json!({
        "description": "Numbers of an embedding, what nearness is, and how numbers are stored.",
        "type": ["object", "null"],
        "required": ["dim", "metric"],
        "properties": {
            "dim": {
                "type": "integer",
                "minimum": limits::EMBEDDING_ENTRIES_MIN,
                "maximum": limits::EMBEDDING_ENTRIES_MAX,
            },
            "metric": refer("Metric"),
            "quantization": or_null(refer("Quantization")),
        },
        "additionalProperties": false,
    });
    let fields = json!({
        "description": "Members of the metadata that are indexed, by name; `a.b` is `b` in `a`.",
        "type": ["object", "null"],
        "maxProperties": limits::DECLARED_FIELD_ENTRIES_MAX,
        "propertyNames": { "pattern": "^[^$.][^.]*([.][^.]+)*$", "x-maxBytes": limits::FIELD_NAME_BYTES_MAX },
        "additionalProperties": refer("FieldType"),
    });
    let mut told = closed(
        &[],
        json!({
            "key_type": or_null(refer("KeyType")),
            "durability": or_null(refer("Durability")),
            "placement": or_null(refer("Placement")),
            "split_at": {
                "description": "First keys of the tablets but the first, ascending; for collections placed by range.",
                "type": ["array", "null"],
                "items": refer("Key"),
            },
            "embedding": embedding,
            "fields": fields,
        }),
    );
    told["description"] =
        "Everything may be left out. `key_type` is then `string`, `placement` `range`. A collection \
                           with `embedding` or `fields`, however empty, has documents, any other values."
            .into();
    told
}

fn document_members() -> Value {
    let mut text_member = text(limits::DOCUMENT_TEXT_BYTES_MAX);
    text_member["minLength"] = 0.into();
    json!({
        "id": or_null(refer("Key")),
        "text": or_null(text_member),
        "embedding": {
            "description": "As many finite numbers as the collection says, in its place or `embedding_b64`.",
            "type": ["array", "null"],
            "items": { "type": "number" },
            "minItems": limits::EMBEDDING_ENTRIES_MIN,
            "maxItems": limits::EMBEDDING_ENTRIES_MAX,
        },
        "embedding_b64": or_null(base64("The numbers as little-endian f32.")),
        "metadata": { "type": ["object", "null"], "x-maxBytes": limits::METADATA_BYTES_MAX },
    })
}

fn document() -> Value {
    closed(&[], document_members())
}

fn document_line() -> Value {
    let delete = closed(&["op", "id"], json!({ "op": { "const": "delete" }, "id": refer("Key") }));
    let mut members = document_members();
    members["ttl"] = or_null(refer("Ttl"));
    members["expires_ms"] = json!({ "type": ["integer", "null"], "minimum": 0, "maximum": u64::MAX });
    json!({
        "description": "A line of a bulk of documents. It has `ttl` or `expires_ms`, if any.",
        "oneOf": [closed(&[], members), delete],
    })
}

fn search() -> Value {
    let members = document_members();
    let number = |max: usize| json!({ "type": ["integer", "null"], "minimum": 1, "maximum": max });
    let mut told = closed(
        &[],
        json!({
            "embedding": members["embedding"],
            "embedding_b64": members["embedding_b64"],
            "filter": or_null(refer("Filter")),
            "limit": number(limits::SEARCH_HITS_MAX),
            "cursor": or_null(json!({
                "description": format!("`cursor` of the answer before; {} hits deep.", limits::SEARCH_DEPTH_HITS_MAX),
                "type": "string",
            })),
            "include": {
                "description": "Left out: `metadata` and `score`.",
                "type": ["array", "null"],
                "items": { "type": "string", "enum": ["metadata", "text", "embedding", "score"] },
            },
            "ef": number(limits::SEARCH_WIDTH_ENTRIES_MAX),
            "exact": or_null(json!({ "type": "boolean" })),
            "explain": or_null(json!({ "type": "boolean" })),
            "min_score": or_null(json!({ "type": "number" })),
        }),
    );
    told["description"] =
        "`embedding` or `embedding_b64` has to be there. `limit` is 10 when it is left out.".into();
    told
}

fn filter() -> Value {
    let filters = json!({ "type": "array", "minItems": 1, "items": refer("Filter") });
    json!({
        "description": format!(
            "Which documents are meant. A name is that of a member of the metadata, `a.b` of `b` in `a`; all members \
             have to hold. At most {} tests and values, {} levels.",
            limits::FILTER_ENTRIES_MAX, limits::FILTER_DEPTH_ENTRIES_MAX
        ),
        "type": "object",
        "properties": { "$and": filters, "$or": filters, "$not": refer("Filter") },
        "propertyNames": { "anyOf": [{ "enum": ["$and", "$or", "$not"] }, { "pattern": "^([^$]|$)" }] },
        "additionalProperties": refer("FilterTest"),
        "examples": [{ "year": { "$gte": 1990 }, "$or": [{ "tags": "a" }, { "tags": { "$exists": false } }] }],
    })
}

fn filter_test() -> Value {
    let ordered = json!({ "type": ["string", "number"] });
    let operators = json!({
        "type": "object",
        "minProperties": 1,
        "properties": {
            "$eq": refer("FilterValue"),
            "$ne": refer("FilterValue"),
            "$gt": ordered,
            "$gte": ordered,
            "$lt": ordered,
            "$lte": ordered,
            "$in": list_of(refer("FilterValue")),
            "$nin": list_of(refer("FilterValue")),
            "$exists": { "type": "boolean" },
            "$not": refer("FilterTest"),
        },
        "additionalProperties": false,
    });
    json!({
        "description": "A value means `$eq`; on a list `$eq` means \"contains\". A declared field takes values of its \
                        type only.",
        "anyOf": [refer("FilterValue"), operators],
    })
}
