//! Header fields of answers.

use serde_json::{Value, json};

use super::schema;

/// Name, meaning, schema. Each is there when its operation says so, those of limits where one applies, the last two when the request is traced.
pub fn all() -> Value {
    let table = [
        (
            "ETag",
            "The version of the record, as a strong entity tag: `\"<seq>\"`.",
            json!({ "type": "string", "pattern": "^\"[0-9]+\"$", "examples": ["\"42\""] }),
        ),
        ("Kyro-Seq", "The version that was written.", schema::count()),
        (
            "Kyro-Durability",
            "What the write reached before it was answered; in a bulk, each line that was written.",
            schema::refer("Durability"),
        ),
        (
            "Idempotency-Replayed",
            "`true`: the request was carried out before, and this is its answer again.",
            json!({ "type": "string", "const": "true" }),
        ),
        ("Allow", "The methods of the resource.", json!({ "type": "string" })),
        (
            "Accept-Encoding",
            "What bodies may be coded in; with the code `unsupported_content_encoding`.",
            json!({ "type": "string" }),
        ),
        ("Retry-After", "Seconds after which to try again.", schema::count()),
        ("WWW-Authenticate", "How a key is shown: `Bearer`.", json!({ "type": "string" })),
        (
            "RateLimit",
            "What is left of the caller's limit, and seconds until it is whole; where there is a limit.",
            json!({ "type": "string", "pattern": "^\"[a-z]+\";r=[0-9]+;t=[0-9]+$" }),
        ),
        (
            "RateLimit-Policy",
            "The caller's limit, where there is one.",
            json!({ "type": "string", "pattern": "^\"[a-z]+\";q=[0-9]+;w=[0-9]+$" }),
        ),
        (
            "X-Request-Id",
            "The id of the request, when it carried one or a trace.",
            json!({ "type": "string" }),
        ),
        (
            "Server-Timing",
            "`total;dur=` and milliseconds, when the request carried an id or a trace.",
            json!({ "type": "string", "pattern": "^total;dur=[0-9]+\\.[0-9]{3}$" }),
        ),
    ];
    let told = table
        .map(|(name, about, schema)| (name.to_owned(), json!({ "description": about, "schema": schema })));
    Value::Object(told.into_iter().collect())
}
