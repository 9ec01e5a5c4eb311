//! Routes: which resource a path names, and the request for it as a call of the engine.
//!
//! Everything up to that call is pure. A call starts at once and its answer is awaited elsewhere, so
//! that the requests of a pipeline overlap.
//!
//! Invariant: every resource is described in [`openapi`](super::openapi).

mod accept;
pub mod bulk;
mod coded;
mod collections;
mod core_v1;
mod documents;
mod health;
mod kv;
mod large_put;
mod metrics;
mod mget;
mod once;
mod router;
mod scan;
mod search;
mod snapshots;
mod upkeep;
mod work;

use std::borrow::Cow;
use std::sync::Arc;

use accept::is_ndjson;
pub use coded::CodedRequest;
pub use large_put::LargePut;
pub use work::{Work, look_up};

use super::access::caller::Permit;
use super::coding::Coding;
use super::json::object::JsonObject;
use super::parser::head::{Framing, Head, Method};
use super::parser::target::{Query, decode_segment, has, split_once};
use super::parser::{Body, Request};
use super::problem::Problem;
use crate::limits;
use crate::shard::catalogue::Collection;
use crate::shard::node::Node;
use crate::shard::record::{Durability, Refusal};

/// What a path names. Segments are still percent-encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    CorePut,
    CoreGet { key: &'a str },
    CoreLookupFast { key: &'a str },
    CoreLookup,
    Record { collection: &'a str, key: &'a str },
    MultiGet { collection: &'a str },
    Bulk { collection: &'a str },
    Range { collection: &'a str },
    Collections,
    Collection { name: &'a str },
    Document { collection: &'a str, id: &'a str },
    DocumentBulk { collection: &'a str },
    Search { collection: &'a str },
    Count { collection: &'a str },
    Router,
    Rebalance,
    Compact,
    WarmUp,
    BuildIndexes,
    Snapshot,
    Snapshots,
    OneSnapshot { id: &'a str },
    Operation { id: &'a str },
    Operations,
    Health,
    Live,
    Ready,
    BuildInfo,
    Metrics,
    OpenApi,
}

impl<'a> Resource<'a> {
    /// The resource of a path, for this method where one path has two.
    pub fn find(path: &'a str, method: Method<'_>) -> Option<Resource<'a>> {
        match path.strip_prefix("/v1/") {
            Some(rest) => find_v1(rest, method),
            None => find_service(path),
        }
    }

    /// Its methods, as in the `Allow` field.
    pub fn allow(self) -> &'static str {
        match self {
            Resource::CorePut | Resource::Rebalance | Resource::Snapshot => "POST",
            Resource::Compact | Resource::WarmUp | Resource::BuildIndexes => "POST",
            Resource::DocumentBulk { .. } | Resource::Search { .. } | Resource::Count { .. } => "POST",
            Resource::OneSnapshot { .. } => "DELETE",
            Resource::Document { .. } => "GET, HEAD, PUT, PATCH, DELETE",
            Resource::MultiGet { .. } | Resource::Bulk { .. } => "GET, HEAD, PUT, DELETE, POST",
            Resource::Record { .. } => "GET, HEAD, PUT, DELETE",
            Resource::Collection { .. } => "GET, HEAD, PUT, DELETE, POST",
            _ => "GET, HEAD",
        }
    }

    fn has(self, method: Method<'_>) -> bool {
        self.allow().split(", ").any(|one| one == method.name())
    }

    /// True when every answer is a JSON document, and a client may refuse that form. Probes may not.
    fn answers_json(self) -> bool {
        matches!(
            self,
            Resource::CorePut
                | Resource::CoreLookup
                | Resource::MultiGet { .. }
                | Resource::Collections
                | Resource::Collection { .. }
                | Resource::Document { .. }
                | Resource::Search { .. }
                | Resource::Count { .. }
                | Resource::Router
                | Resource::Rebalance
                | Resource::Compact
                | Resource::WarmUp
                | Resource::BuildIndexes
                | Resource::Snapshot
                | Resource::Snapshots
                | Resource::Operation { .. }
                | Resource::Operations
        )
    }
}

fn find_service(path: &str) -> Option<Resource<'_>> {
    Some(match path {
        "/health" => Resource::Health,
        "/livez" => Resource::Live,
        "/readyz" => Resource::Ready,
        "/build_info" => Resource::BuildInfo,
        "/metrics" => Resource::Metrics,
        "/openapi.json" => Resource::OpenApi,
        _ => return None,
    })
}

fn find_v1<'a>(rest: &'a str, method: Method<'_>) -> Option<Resource<'a>> {
    let (group, rest) = split_once(rest, b'/').map_or((rest, None), |(group, rest)| (group, Some(rest)));
    match (group, rest) {
        ("kv", Some(rest)) => find_kv(rest, method),
        ("get_fast", Some(key)) => one_segment(key).map(|key| Resource::CoreGet { key }),
        ("lookup_fast", Some(key)) => one_segment(key).map(|key| Resource::CoreLookupFast { key }),
        ("put", None) => Some(Resource::CorePut),
        ("lookup", None) => Some(Resource::CoreLookup),
        ("collections", None) => Some(Resource::Collections),
        ("collections", Some(rest)) => find_collection(rest),
        ("router", None) => Some(Resource::Router),
        ("router", Some("rebalance")) => Some(Resource::Rebalance),
        ("compact", None) => Some(Resource::Compact),
        ("warmup", None) => Some(Resource::WarmUp),
        ("rmi", Some("build")) => Some(Resource::BuildIndexes),
        ("snapshot", None) => Some(Resource::Snapshot),
        ("snapshots", None) => Some(Resource::Snapshots),
        ("snapshots", Some(id)) => one_segment(id).map(|id| Resource::OneSnapshot { id }),
        ("operations", None) => Some(Resource::Operations),
        ("operations", Some(id)) => one_segment(id).map(|id| Resource::Operation { id }),
        _ => None,
    }
}

fn find_kv<'a>(rest: &'a str, method: Method<'_>) -> Option<Resource<'a>> {
    let Some((collection, key)) = split_once(rest, b'/') else {
        return one_segment(rest).map(|collection| Resource::Range { collection });
    };
    match (key, method) {
        // With these methods it is a record of that name.
        ("mget" | "bulk", Method::Get | Method::Head | Method::Put | Method::Delete) => {
            Some(Resource::Record { collection, key })
        }
        ("mget", _) => Some(Resource::MultiGet { collection }),
        ("bulk", _) => Some(Resource::Bulk { collection }),
        _ if has(key, b'/') => None,
        _ => Some(Resource::Record { collection, key }),
    }
}

fn find_collection(rest: &str) -> Option<Resource<'_>> {
    let Some((name, rest)) = rest.split_once('/') else {
        return one_segment(rest).map(|name| Resource::Collection { name });
    };
    match rest {
        _ if name.is_empty() => None,
        "search" => Some(Resource::Search { collection: name }),
        "count" => Some(Resource::Count { collection: name }),
        "bulk" => Some(Resource::DocumentBulk { collection: name }),
        _ => {
            let id = rest.strip_prefix("docs/")?;
            one_segment(id).map(|id| Resource::Document { collection: name, id })
        }
    }
}

fn one_segment(text: &str) -> Option<&str> {
    (!text.is_empty() && !text.contains('/')).then_some(text)
}

/// Which requests of a pipeline may be under way together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Changes nothing.
    Safe,
    /// Writes one record; the engine keeps the order of those of one key.
    Write,
    /// Begins when everything before it is answered, and ends before anything after it begins.
    Alone,
}

pub fn class_of(head: &Head<'_>) -> Class {
    match head.method {
        Method::Get | Method::Head => Class::Safe,
        Method::Put | Method::Delete if head.path.starts_with("/v1/kv/") => Class::Write,
        Method::Post if head.path == "/v1/put" => Class::Write,
        _ => Class::Alone,
    }
}

/// True for requests that take their body as it comes: line by line, a large value, or in a coding.
pub fn streams(head: &Head<'_>) -> bool {
    if head.fields.content_encoding().is_some() && matches!(Coding::of_body(head), Ok(Some(_))) {
        return true;
    }
    match head.method {
        Method::Post => matches!(
            Resource::find(head.path, head.method),
            Some(Resource::Bulk { .. } | Resource::DocumentBulk { .. })
        ),
        Method::Put => {
            is_large(head.framing)
                && matches!(Resource::find(head.path, head.method), Some(Resource::Record { .. }))
        }
        _ => false,
    }
}

/// A length that is known, not too large for any request, and too much for one step.
fn is_large(framing: Framing) -> bool {
    let range = limits::WHOLE_VALUE_BYTES_MAX as u64 + 1..=limits::BODY_BYTES_MAX as u64;
    matches!(framing, Framing::Length(length) if range.contains(&length))
}

pub enum Started {
    Work(Work),
    Bulk(bulk::Plan),
    LargePut(Box<LargePut>),
    Coded(Box<CodedRequest>),
}

/// Starts a request that was admitted. A problem means that nothing was started.
pub fn start(
    node: &Node,
    request: &Request<'_>,
    resource: Option<Resource<'_>>,
    permit: Permit<'_>,
) -> Result<Started, Problem> {
    let head = &request.head;
    let resource = resource.ok_or_else(Problem::no_such_route)?;
    if let (Resource::Bulk { collection }, Method::Post) = (resource, head.method) {
        return bulk::plan(node, head, collection).map(Started::Bulk);
    }
    if let (Resource::DocumentBulk { collection }, Method::Post) = (resource, head.method) {
        return bulk::plan_documents(node, head, collection).map(Started::Bulk);
    }
    if let Body::Stream { head: bytes } = request.body {
        return start_streamed(node, head, bytes, resource, permit);
    }
    start_work(node, request, resource, permit).map(Started::Work)
}

fn start_streamed(
    node: &Node,
    head: &Head<'_>,
    bytes: &[u8],
    resource: Resource<'_>,
    permit: Permit<'_>,
) -> Result<Started, Problem> {
    match (Coding::of_body(head)?, resource) {
        (Some(coding), _) => Ok(Started::Coded(Box::new(CodedRequest::new(coding, bytes)))),
        (None, Resource::Record { collection, key }) => {
            LargePut::plan(node, head, collection, key, permit).map(|put| Started::LargePut(Box::new(put)))
        }
        (None, _) => unreachable!("no other body is streamed"),
    }
}

fn start_work(
    node: &Node,
    request: &Request<'_>,
    resource: Resource<'_>,
    permit: Permit<'_>,
) -> Result<Work, Problem> {
    use Method::{Delete, Get, Head, Patch, Post, Put};
    let head = &request.head;
    if resource.answers_json() && resource.has(head.method) {
        accept::require_json(head)?;
    }
    match (resource, head.method) {
        (Resource::Record { collection, key }, Get | Head) => kv::get(node, head, collection, key),
        (Resource::Record { collection, key }, Put) => kv::put(node, request, collection, key, permit),
        (Resource::Record { collection, key }, Delete) => kv::delete(node, head, collection, key, permit),
        (Resource::MultiGet { collection }, Post) => mget::get_many(node, request, collection),
        (Resource::Range { collection }, Get | Head) => scan::start(node, head, collection),
        (Resource::CoreGet { key }, Get | Head) => core_v1::get_fast(node, head, key),
        (Resource::CoreLookupFast { key }, Get | Head) => core_v1::lookup_fast(node, head, key),
        (Resource::CoreLookup, Get | Head) => core_v1::lookup(node, head),
        (Resource::CorePut, Post) => core_v1::put(node, request, permit),
        (Resource::Collections, Get | Head) => collections::list(node, head, permit),
        (Resource::Collection { name }, Get | Head) => collections::describe(node, head, name),
        (Resource::Collection { name }, Put) => collections::create(node, request, name),
        (Resource::Collection { name }, Delete) => collections::remove(node, head, name),
        (Resource::Collection { name }, Post) => documents::insert(node, request, name, permit),
        (Resource::Search { collection }, Post) => search::search(node, request, collection),
        (Resource::Count { collection }, Post) => search::count(node, request, collection),
        (Resource::Document { collection, id }, Get | Head) => documents::get(node, head, collection, id),
        (Resource::Document { collection, id }, Put) => documents::put(node, request, collection, id, permit),
        (Resource::Document { collection, id }, Patch) => {
            documents::patch(node, request, collection, id, permit)
        }
        (Resource::Document { collection, id }, Delete) => {
            documents::delete(node, head, collection, id, permit)
        }
        (Resource::Router, Get | Head) => router::describe(node, head),
        (Resource::Rebalance, Post) => router::rebalance(node, request),
        (Resource::Compact, Post) => upkeep::compact(node, request),
        (Resource::WarmUp, Post) => upkeep::warm_up(node, request),
        (Resource::BuildIndexes, Post) => upkeep::build_indexes(node, request),
        (Resource::Snapshot, Post) => snapshots::take(node, request),
        (Resource::Snapshots, Get | Head) => snapshots::list(node, head),
        (Resource::OneSnapshot { id }, Delete) => snapshots::remove(node, head, id),
        (Resource::Operation { id }, Get | Head) => snapshots::operation(node, head, id),
        (Resource::Operations, Get | Head) => snapshots::operations(node, head),
        (Resource::Health, Get | Head) => health::health(head),
        (Resource::Live, Get | Head) => health::live(head),
        (Resource::Ready, Get | Head) => health::ready(node, head),
        (Resource::BuildInfo, Get | Head) => health::build_info(head),
        (Resource::Metrics, Get | Head) => metrics::scrape(node, head, permit),
        (Resource::OpenApi, Get | Head) => health::openapi(head),
        (resource, _) => Err(Problem::method_not_allowed(resource.allow())),
    }
}

// ---- what routes share

/// The collection of an encoded path segment.
fn collection(node: &Node, segment: &str) -> Result<Arc<Collection>, Problem> {
    let name = decode_segment(segment)?;
    named_collection(node, &name)
}

/// The same, if it has values.
fn values(node: &Node, segment: &str) -> Result<Arc<Collection>, Problem> {
    let collection = collection(node, segment)?;
    match collection.definition.documents {
        None => Ok(collection),
        Some(_) => Err(Problem::wrong_kind(
            "the collection has documents, at /v1/collections/{collection}/docs/{id}",
        )),
    }
}

/// A core that has no map yet cannot say that a collection does not exist.
fn named_collection(node: &Node, name: &str) -> Result<Arc<Collection>, Problem> {
    match node.collection(name) {
        Some(collection) => Ok(collection),
        None if !node.is_serving() => Err(Refusal::NotReady.into()),
        None => Err(Problem::no_such_collection(name)),
    }
}

/// For routes without parameters.
fn no_parameters(head: &Head<'_>) -> Result<(), Problem> {
    if head.query.is_empty() {
        return Ok(());
    }
    Ok(Query::parse(head.query)?.finish()?)
}

/// A parameter that is true when it is given empty or as `true`.
fn flag(query: &mut Query<'_>, name: &str) -> Result<bool, Problem> {
    match query.take(name).as_deref() {
        None | Some("false") => Ok(false),
        Some("" | "true") => Ok(true),
        Some(_) => Err(Problem::parameter(name, "is neither true nor false")),
    }
}

/// The level that the request asks for, else that of the collection, else that of the server.
fn durability(node: &Node, head: &Head<'_>, collection: &Collection) -> Result<Durability, Problem> {
    match head.fields.durability() {
        Some(text) => Durability::parse(text)
            .ok_or_else(|| Problem::header("Kyro-Durability", "is none of fsync, interval, memory")),
        None => Ok(collection.definition.durability.unwrap_or_else(|| node.default_durability())),
    }
}

/// The body of a route that takes JSON.
fn json_body<'a>(request: &Request<'a>) -> Result<JsonObject<'a>, Problem> {
    let is_json = |essence: &str| essence == "application/json" || essence.ends_with("+json");
    require_type(&request.head, "application/json", is_json)?;
    JsonObject::parse(whole_body(request)?)
}

fn whole_body<'a>(request: &Request<'a>) -> Result<&'a [u8], Problem> {
    // One that is known would have been streamed.
    Coding::of_body(&request.head)?;
    match request.body {
        Body::Whole(body) => Ok(body),
        Body::Stream { .. } => unreachable!("a streamed body is taken part by part"),
    }
}

/// A request without a Content-Type is taken at its word.
fn require_type(head: &Head<'_>, wanted: &str, fits: impl Fn(&str) -> bool) -> Result<(), Problem> {
    let Some(given) = head.fields.content_type() else { return Ok(()) };
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if fits(&essence) {
        return Ok(());
    }
    let detail = format!("this route takes {wanted}, not {essence:?}");
    Err(Problem::new(415, "unsupported_media_type", Cow::Owned(detail)))
}

#[cfg(test)]
mod tests;
