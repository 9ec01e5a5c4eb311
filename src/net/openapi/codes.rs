//! Every code of a problem document: the statuses that it comes with, and what it means.
//!
//! [`Problem::new`](crate::net::problem::Problem::new) asserts that its status and code are here, so no answer has a
//! code that the description does not know; a test finds each of these in the sources.

pub struct Code {
    pub name: &'static str,
    pub statuses: &'static [u16],
    pub means: &'static str,
}

const fn code(name: &'static str, statuses: &'static [u16], means: &'static str) -> Code {
    Code { name, statuses, means }
}

pub const CODES: &[Code] = &[
    code("malformed_request", &[400], "The bytes are no HTTP request that can mean only one thing."),
    code(
        "malformed_target",
        &[400],
        "A percent sign without two hexadecimal digits, or bytes that are not UTF-8.",
    ),
    code("unknown_parameter", &[400], "The route has no such query parameter."),
    code("invalid_parameter", &[400], "A query parameter is missing, given twice, or cannot be used."),
    code("invalid_header", &[400], "A header field cannot be used."),
    code("malformed_json", &[400], "The body is not JSON, or not UTF-8."),
    code("unauthorized", &[401], "No API key was shown, or none that is in force."),
    code(
        "forbidden",
        &[403],
        "The role or the scope of the API key does not suffice, or a page of another origin writes without a key.",
    ),
    code("no_such_route", &[404], "Nothing is served at this path."),
    code("no_such_collection", &[404], "There is no collection of this name."),
    code("no_such_record", &[404], "No record has this key, or none any more."),
    code("no_such_snapshot", &[404], "There is no snapshot with this id."),
    code("no_such_operation", &[404], "There is no operation with this id, or it is forgotten."),
    code("method_not_allowed", &[405], "The resource has other methods: `Allow` names them."),
    code("not_acceptable", &[406], "The route gives nothing that `Accept` takes."),
    code("request_timeout", &[408], "The request did not arrive in time."),
    code("other_records", &[409], "The collection has records of the other kind: values or documents."),
    code("exists_differently", &[409], "A collection of this name exists with another definition."),
    code("collection_is_fixed", &[409], "The collection `default` cannot be dropped."),
    code("document_exists", &[409], "A document of this id is there; a PUT replaces it."),
    code("placed_by_hash", &[409], "The collection is placed by hash: it has no ranges to scan or cut."),
    code("already_split", &[409], "The collection has more than one tablet already."),
    code("ranges_changed", &[409], "The ranges are no longer what the request is about."),
    code("length_required", &[411], "A value needs a Content-Length, or chunks."),
    code(
        "condition_failed",
        &[412],
        "The condition does not hold; `ETag` has the present version, if there is one.",
    ),
    code("body_too_large", &[413], "The body is larger than any request may be."),
    code("value_too_large", &[413], "The value is larger than a value may be."),
    code("line_too_long", &[413], "A line of a bulk is too long."),
    code("target_too_long", &[414], "The request target is too long."),
    code("unsupported_media_type", &[415], "The route does not take this type of body."),
    code("unsupported_content_encoding", &[415], "Bodies are taken plain, in gzip or in zstd."),
    code(
        "malformed_content_encoding",
        &[400],
        "The body is not whole and sound in the coding that it is said to be in.",
    ),
    code("unknown_expectation", &[417], "The only expectation known is `100-continue`."),
    code("invalid_body", &[422], "The body is JSON, and a part of it is not what belongs there."),
    code("invalid_key", &[400, 422], "The key is not one of the collection's type."),
    code(
        "idempotency_key_reused",
        &[422],
        "The caller gave this `Idempotency-Key` to another request for the record.",
    ),
    code("invalid_name", &[422], "This is no name for a collection."),
    code("too_many_collections", &[422], "The server holds as many collections as it may."),
    code("too_many_tablets", &[422], "The shards would hold more tablets than they may."),
    code("catalogue_too_large", &[422], "All definitions together would be larger than they may."),
    code("bad_split", &[422], "The keys to cut at are not ascending keys of the collection's type."),
    code(
        "rate_limited",
        &[429],
        "The caller has sent more requests than its limit; `Retry-After` says when to go on.",
    ),
    code("head_too_large", &[431], "The head of the request is too large."),
    code("too_many_headers", &[431], "The request has too many header fields."),
    code("storage_failed", &[500, 503], "The storage of a shard failed: it takes no writes until a restart."),
    code("checkpoint_failed", &[500], "A checkpoint could not be written; the log keeps everything."),
    code("snapshot_failed", &[500], "No snapshot was made, and nothing of it is left; writes go on."),
    code("storage_damaged", &[500], "What has to be read is damaged, or cannot be read."),
    code("unknown_transfer_coding", &[501], "The only transfer coding known is chunked."),
    code("too_many_connections", &[503], "The server holds as many connections as it may."),
    code("overloaded", &[503], "A bounded queue is full; try again."),
    code("not_ready", &[503], "A shard is still recovering, or a range is just moving; try again."),
    code("unknown_http_version", &[505], "The server speaks HTTP/1.1 and HTTP/1.0."),
    code("memory_full", &[507], "The memory budget is used up."),
    code("disk_full", &[507], "The disk is full; deletes still go."),
];

pub fn is_known(status: u16, name: &str) -> bool {
    CODES.iter().any(|code| code.name == name && code.statuses.contains(&status))
}

/// Codes of an operation, each with its status.
pub type Codes = &'static [(u16, &'static str)];

/// Whatever is asked: the request could not be read, or the core is full. **Answers that all operations get come
/// here.**
pub const ANY: Codes = &[
    (400, "malformed_request"),
    (400, "malformed_target"),
    (400, "unknown_parameter"),
    (400, "invalid_parameter"),
    (408, "request_timeout"),
    (413, "body_too_large"),
    (414, "target_too_long"),
    (417, "unknown_expectation"),
    (431, "head_too_large"),
    (431, "too_many_headers"),
    (501, "unknown_transfer_coding"),
    (503, "too_many_connections"),
    (503, "overloaded"),
    (505, "unknown_http_version"),
];

/// What takes a key, and is limited.
pub const KEYED: Codes = &[(401, "unauthorized"), (403, "forbidden"), (429, "rate_limited")];

/// The answer is JSON, and the client may not want that.
pub const JSON_ONLY: Codes = &[(406, "not_acceptable")];

/// A collection in the path.
pub const COLLECTION: Codes = &[(404, "no_such_collection"), (503, "not_ready")];

/// It has to have values, or documents.
pub const KIND: Codes = &[(409, "other_records")];

pub const KEY: Codes = &[(422, "invalid_key")];

pub const READS: Codes = &[(500, "storage_damaged"), (503, "not_ready")];

pub const WRITES: Codes = &[
    (400, "invalid_header"),
    (500, "storage_failed"),
    (500, "storage_damaged"),
    (503, "not_ready"),
    (507, "memory_full"),
    (507, "disk_full"),
];

/// `Idempotency-Key`.
pub const ONCE: Codes = &[(400, "invalid_header"), (422, "idempotency_key_reused")];

/// `If-Match` and `If-None-Match`.
pub const CONDITIONS: Codes = &[(400, "invalid_header"), (412, "condition_failed")];

pub const ABSENT: Codes = &[(404, "no_such_record")];

pub const BODY: Codes = &[(400, "malformed_content_encoding"), (415, "unsupported_content_encoding")];

pub const JSON_BODY: Codes =
    &[(400, "malformed_json"), (415, "unsupported_media_type"), (422, "invalid_body")];

/// Changes of which collections and ranges there are.
pub const CONTROL: Codes = &[
    (500, "storage_failed"),
    (500, "storage_damaged"),
    (503, "not_ready"),
    (507, "memory_full"),
    (507, "disk_full"),
];

/// Work on the files of all shards.
pub const UPKEEP: Codes = &[
    (500, "storage_failed"),
    (500, "checkpoint_failed"),
    (500, "storage_damaged"),
    (503, "not_ready"),
    (507, "disk_full"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_there_once_and_explained() {
        for (index, code) in CODES.iter().enumerate() {
            assert!(
                CODES[..index].iter().all(|other| other.name != code.name),
                "{} is there twice",
                code.name
            );
            assert!(code.means.ends_with('.') && !code.statuses.is_empty(), "{}", code.name);
        }
        for group in [
            ANY, KEYED, JSON_ONLY, COLLECTION, KIND, KEY, READS, WRITES, ONCE, CONDITIONS, ABSENT, BODY,
            JSON_BODY,
        ] {
            assert!(group.iter().all(|(status, name)| is_known(*status, name)));
        }
    }
}
