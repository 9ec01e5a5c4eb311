//! JSON Schema 2020-12: what bodies are made of. Named ones are in `components/schemas`.
//!
//! Objects that clients send are closed, as the server refuses members that it does not know. Objects that the server
//! sends are open for a client, so that members can be added; the tests take them as closed.

mod requests;
mod results;

use serde_json::{Map, Value, json};

use crate::limits;

/// An entity tag (RFC 9110, section 8.8.3).
pub const ONE_TAG: &str = r#"^(W/)?"[!#-~]*"$"#;
pub const TAG_LIST: &str = r#"^(W/)?"[!#-~]*"([ \t]*,[ \t]*(W/)?"[!#-~]*")*$"#;

pub fn refer(name: &str) -> Value {
    refer_to("schemas", name)
}

pub fn refer_to(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

pub fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

/// Of at least one character and at most so many bytes.
pub fn text(bytes_max: usize) -> Value {
    json!({ "type": "string", "minLength": 1, "x-maxBytes": bytes_max })
}

pub fn number_key() -> Value {
    json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX })
}

/// `null` is another way to leave the member out.
fn or_null(mut schema: Value) -> Value {
    if schema.get("$ref").is_some() {
        return json!({ "anyOf": [schema, { "type": "null" }] });
    }
    let kind = schema["type"].take();
    schema["type"] = json!([kind, "null"]);
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.push(Value::Null);
    }
    schema
}

fn list_of(schema: Value) -> Value {
    json!({ "type": "array", "items": schema })
}

/// What clients send: nothing but these members.
fn closed(required: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties, "additionalProperties": false })
}

/// What the server sends.
fn open(required: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties })
}

/// Schemas by their names.
type Named = Vec<(&'static str, Value)>;

pub fn all() -> Value {
    let named: Named = [shared(), requests::all(), results::all()].concat();
    let mut told = Map::new();
    for (name, schema) in named {
        let earlier = told.insert(name.to_owned(), schema);
        assert!(earlier.is_none(), "the schema {name} is there twice");
    }
    Value::Object(told)
}

fn shared() -> Named {
    vec![
        (
            "Key",
            json!({
                "description": "A number or a string, by the key type of the collection.",
                "anyOf": [number_key(), text(limits::KEY_BYTES_MAX)],
            }),
        ),
        ("KeyType", json!({ "type": "string", "enum": ["u64", "string"] })),
        ("Durability", json!({ "type": "string", "enum": ["fsync", "interval", "memory"] })),
        ("Placement", json!({ "type": "string", "enum": ["range", "hash"] })),
        ("Metric", json!({ "type": "string", "enum": ["cosine", "dot", "l2"] })),
        ("Quantization", json!({ "type": "string", "enum": ["f32", "f16", "bf16"] })),
        (
            "FieldType",
            json!({ "type": "string", "enum": ["i64", "f64", "bool", "keyword", "keyword[]", "timestamp"] }),
        ),
        (
            "CollectionName",
            json!({
                "type": "string",
                "pattern": format!(
                    "^[A-Za-z0-9_-][A-Za-z0-9._-]{{0,{}}}$",
                    limits::COLLECTION_NAME_BYTES_MAX - 1
                ),
            }),
        ),
        (
            "Ttl",
            json!({ "type": "string", "pattern": "^0*[1-9][0-9]{0,4}(ms|s|m|h|d)$", "examples": ["30s"] }),
        ),
        (
            "ContentType",
            json!({
                "type": "string",
                "pattern": "^[!-~]([ -~]*[!-~])?$",
                "maxLength": limits::CONTENT_TYPE_BYTES_MAX,
                "examples": ["text/plain"],
            }),
        ),
        (
            "Problem",
            json!({
                "description": "RFC 9457. `code` is stable and means the same at every route.",
                "type": "object",
                "required": ["type", "title", "status", "detail", "code", "request_id", "retryable"],
                "properties": {
                    "type": { "type": "string", "pattern": "^urn:kyrodb:problem:[a-z_0-9]+$" },
                    "title": { "type": "string" },
                    "status": { "type": "integer", "minimum": 400, "maximum": 599 },
                    "detail": { "type": "string" },
                    "code": { "type": "string", "pattern": "^[a-z_0-9]+$" },
                    "request_id": { "type": "string", "minLength": 1 },
                    "retryable": {
                        "description": "The same request may succeed later without a change.",
                        "type": "boolean",
                    },
                    "errors": {
                        "description": "What is wrong where, for bad input.",
                        "type": "array",
                        "items": refer("FieldError"),
                    },
                },
            }),
        ),
        (
            "FieldError",
            json!({
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {
                    "pointer": {
                        "description": "JSON pointer into the body, or below `/query`, `/header` or `/path`.",
                        "type": "string",
                    },
                    "detail": { "type": "string" },
                },
            }),
        ),
    ]
}
