//! Problem documents (RFC 9457): what a client is told when its request was not carried out.
//!
//! Invariant: `code` is stable, snake_case and means the same at every route. A status of 500 or above
//! is never the answer to bad input, but for 501 and 505, which HTTP prescribes.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value};

use super::json::object;
use super::openapi::codes;
use super::parser::Fault;
use super::parser::target::{DecodeError, QueryError};
use super::status;
use crate::limits;
use crate::shard::catalogue::CatalogueError;
use crate::shard::document::encoding::Damage;
use crate::shard::document::invalid::Invalid;
use crate::shard::key::KeyError;
use crate::shard::record::Refusal;
use crate::types::Seq;

/// A place in the request and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// JSON pointer into the body, or below `/query`, `/header` or `/path` into the rest of the request.
    pub pointer: String,
    pub detail: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub status: u16,
    pub code: &'static str,
    pub detail: Cow<'static, str>,
    pub errors: Vec<FieldError>,
    /// The methods that the resource has, with 405.
    pub allow: Option<&'static str>,
    /// The present version of the record, with 412.
    pub current: Option<Seq>,
    /// Further members of the document.
    pub more: Option<Box<Map<String, Value>>>,
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    request_id: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(flatten)]
    more: Option<&'a Map<String, Value>>,
}

impl Problem {
    /// Status and code are among those that the description of the interface knows.
    pub fn new(status: u16, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Problem {
        debug_assert!(codes::is_known(status, code), "openapi/codes.rs does not know {status} {code}");
        let detail = detail.into();
        Problem { status, code, detail, errors: Vec::new(), allow: None, current: None, more: None }
    }

    /// A query parameter that cannot be used.
    pub fn parameter(name: &str, detail: impl Into<String>) -> Problem {
        let detail = detail.into();
        Problem::new(400, "invalid_parameter", format!("the parameter {name}: {detail}"))
            .at(query_pointer(name), detail)
    }

    /// A header field that cannot be used.
    pub fn header(name: &str, detail: &str) -> Problem {
        Problem::new(400, "invalid_header", format!("{name}: {detail}")).at(format!("/header/{name}"), detail)
    }

    /// A part of a well-formed JSON body that has the wrong type or range.
    pub fn wrong(pointer: impl Into<String>, detail: impl Into<String>) -> Problem {
        let (pointer, detail) = (pointer.into(), detail.into());
        let place = if pointer.is_empty() { "the body" } else { pointer.as_str() };
        Problem::new(422, "invalid_body", format!("{place}: {detail}")).at(pointer, detail)
    }

    pub fn malformed_json(error: &serde_json::Error) -> Problem {
        let detail = format!("the body is not JSON: {error}");
        Problem::new(400, "malformed_json", detail.clone()).at("", detail)
    }

    pub fn no_such_route() -> Problem {
        Problem::new(404, "no_such_route", "nothing is served at this path")
    }

    pub fn no_such_collection(name: &str) -> Problem {
        Problem::new(404, "no_such_collection", format!("there is no collection {name:?}"))
    }

    pub fn damaged_document(damage: &Damage) -> Problem {
        Problem::new(500, "storage_damaged", format!("the stored document is damaged: {damage}"))
    }

    /// The collection has records of another kind.
    pub fn wrong_kind(detail: &'static str) -> Problem {
        Problem::new(409, "other_records", detail)
    }

    pub fn absent() -> Problem {
        Problem::new(404, "no_such_record", Refusal::Absent.to_string())
    }

    pub fn method_not_allowed(allow: &'static str) -> Problem {
        let detail = format!("the methods of this resource are {allow}");
        Problem { allow: Some(allow), ..Problem::new(405, "method_not_allowed", detail) }
    }

    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Problem {
        self.errors.push(FieldError { pointer: pointer.into(), detail: detail.into() });
        self
    }

    /// True when the same request may succeed later without a change.
    pub fn is_retryable(&self) -> bool {
        matches!(self.status, 408 | 429 | 503)
    }

    pub fn to_json(&self, request_id: &str) -> Vec<u8> {
        let document = Document {
            r#type: format!("urn:kyrodb:problem:{}", self.code),
            title: status::phrase(self.status),
            status: self.status,
            detail: &self.detail,
            code: self.code,
            request_id,
            retryable: self.is_retryable(),
            errors: &self.errors,
            more: self.more.as_deref(),
        };
        serde_json::to_vec(&document).expect("a problem document is plain strings and numbers")
    }
}

/// JSON pointer to a parameter of the query.
pub fn query_pointer(name: &str) -> String {
    format!("/query/{}", object::escape_pointer(name))
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Problem {
        Problem::new(fault.status(), fault.code(), fault.to_string())
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        let (status, code) = match refusal {
            Refusal::NoSuchCollection => (404, "no_such_collection"),
            Refusal::Absent => (404, "no_such_record"),
            Refusal::ConditionFailed { .. } => (412, "condition_failed"),
            Refusal::OtherRequest => (422, "idempotency_key_reused"),
            Refusal::Overloaded { .. } => (503, "overloaded"),
            Refusal::NotReady | Refusal::Moved | Refusal::NotAhead => (503, "not_ready"),
            Refusal::PageTooLarge => return Problem::wrong("/limit", refusal.to_string()),
            Refusal::StorageFailed { .. } => (500, "storage_failed"),
            Refusal::CheckpointFailed { .. } => (500, "checkpoint_failed"),
            Refusal::SnapshotFailed { .. } => (500, "snapshot_failed"),
            Refusal::Damaged { .. } => (500, "storage_damaged"),
            Refusal::MemoryFull => (507, "memory_full"),
            Refusal::DiskFull => (507, "disk_full"),
        };
        let problem = Problem::new(status, code, refusal.to_string());
        match refusal {
            Refusal::ConditionFailed { current } => Problem { current, ..problem },
            _ => problem,
        }
    }
}

impl From<CatalogueError> for Problem {
    fn from(error: CatalogueError) -> Problem {
        let (status, code, pointer) = match error {
            CatalogueError::NoSuchCollection => (404, "no_such_collection", None),
            CatalogueError::ExistsDifferently => (409, "exists_differently", None),
            CatalogueError::TooManyCollections => (422, "too_many_collections", Some("/path/collection")),
            CatalogueError::TooManyTablets => (422, "too_many_tablets", Some("/split_at")),
            CatalogueError::TooLarge => (422, "catalogue_too_large", Some("")),
            CatalogueError::BadSplit => (422, "bad_split", Some("/split_at")),
            CatalogueError::AlreadySplit => (409, "already_split", None),
            CatalogueError::PlacedByHash => (409, "placed_by_hash", None),
            CatalogueError::Outdated => (409, "ranges_changed", None),
        };
        let problem = Problem::new(status, code, error.to_string());
        match pointer {
            Some(pointer) => problem.at(pointer, error.to_string()),
            None => problem,
        }
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Problem {
        let (detail, reason) = (invalid.to_string(), invalid.reason.to_string());
        let problem = match invalid.is_malformed() {
            // Where in the text it shows, the reason says.
            true => Problem::new(400, "malformed_json", format!("the body {reason}")),
            false if invalid.pointer.is_empty() => {
                Problem::new(422, "invalid_body", format!("the body: {detail}"))
            }
            false => Problem::new(422, "invalid_body", detail),
        };
        problem.at(invalid.pointer, reason)
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Problem {
        let status = if error == KeyError::NotUtf8 { 400 } else { 422 };
        Problem::new(status, "invalid_key", error.to_string()).at("/path/key", error.to_string())
    }
}

impl From<DecodeError> for Problem {
    fn from(error: DecodeError) -> Problem {
        Problem::new(400, "malformed_target", format!("the request target: {error}"))
            .at("/path", error.to_string())
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Problem {
        match error {
            QueryError::Encoding(error) => {
                let mut problem = Problem::from(error);
                problem.errors[0].pointer = "/query".to_owned();
                problem
            }
            QueryError::Repeated(name) => Problem::parameter(&name, "is given more than once"),
            QueryError::TooMany => {
                let detail =
                    format!("the query has more than {} parameters", limits::QUERY_PARAMETER_ENTRIES_MAX);
                Problem::new(400, "unknown_parameter", detail)
            }
            QueryError::Unknown(names) => {
                let detail = format!("unknown query parameters: {}", names.join(", "));
                names.into_iter().fold(Problem::new(400, "unknown_parameter", detail), |problem, name| {
                    problem.at(query_pointer(&name), "is not a parameter of this route")
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ShardId;

    #[test]
    fn every_refusal_has_its_status() {
        for (refusal, status, retryable) in [
            (Refusal::NoSuchCollection, 404, false),
            (Refusal::Absent, 404, false),
            (Refusal::ConditionFailed { current: Some(Seq(3)) }, 412, false),
            (Refusal::Overloaded { queue: "inbox" }, 503, true),
            (Refusal::NotReady, 503, true),
            (Refusal::StorageFailed { shard: ShardId(7) }, 500, false),
            (Refusal::MemoryFull, 507, false),
            (Refusal::DiskFull, 507, false),
            (Refusal::PageTooLarge, 422, false),
        ] {
            let problem = Problem::from(refusal);
            assert_eq!((problem.status, problem.is_retryable()), (status, retryable), "{refusal:?}");
        }
        assert!(Problem::from(Refusal::StorageFailed { shard: ShardId(7) }).detail.contains("shard 7"));
        assert_eq!(Problem::from(Refusal::ConditionFailed { current: Some(Seq(3)) }).current, Some(Seq(3)));
    }

    #[test]
    fn the_document_has_every_member() {
        let problem = Problem::wrong("/key", "is not a number");
        let json: serde_json::Value = serde_json::from_slice(&problem.to_json("abc")).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "urn:kyrodb:problem:invalid_body",
                "title": "Unprocessable Content",
                "status": 422,
                "detail": "/key: is not a number",
                "code": "invalid_body",
                "request_id": "abc",
                "retryable": false,
                "errors": [{"pointer": "/key", "detail": "is not a number"}],
            })
        );
    }

    #[test]
    fn unknown_parameters_are_named() {
        let problem = Problem::from(QueryError::Unknown(vec!["a".into(), "b".into()]));
        assert_eq!((problem.status, problem.errors.len()), (400, 2));
        assert!(problem.detail.ends_with("a, b"));
    }
}
