//! Every route, and what it takes to use it, written down a second time: `src/net/access/tests.rs` holds
//! this list against the routes and the decisions of the server, `tests/http_access.rs` against its
//! answers.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    Nothing,
    /// Any key, whatever it is for.
    AnyKey,
    /// A key with the role, for the collection.
    Read,
    Write,
    Admin,
    /// A key with the role, for everything.
    ServerRead,
    ServerAdmin,
}

pub struct Route {
    pub method: &'static str,
    /// With the collection [`INSIDE`] where one stands in the path.
    pub target: &'static str,
    pub takes: Takes,
    pub body: &'static str,
}

/// The collection of the list; core v1 routes have `default`.
pub const INSIDE: &str = "inside";

const fn route(method: &'static str, target: &'static str, takes: Takes, body: &'static str) -> Route {
    Route { method, target, takes, body }
}

use Takes::{Admin, AnyKey, Nothing, Read, ServerAdmin, ServerRead, Write};

pub static ROUTES: &[Route] = &[
    route("POST", "/v1/put", Write, r#"{"key":1,"value":"x"}"#),
    route("GET", "/v1/get_fast/1", Read, ""),
    route("HEAD", "/v1/get_fast/1", Read, ""),
    route("GET", "/v1/lookup_fast/1", Read, ""),
    route("HEAD", "/v1/lookup_fast/1", Read, ""),
    route("GET", "/v1/lookup?key=1", Read, ""),
    route("HEAD", "/v1/lookup?key=1", Read, ""),
    route("GET", "/v1/kv/inside/k", Read, ""),
    route("HEAD", "/v1/kv/inside/k", Read, ""),
    route("PUT", "/v1/kv/inside/k", Write, "x"),
    route("PUT", "/v1/kv/%69nside/k", Write, "x"),
    route("DELETE", "/v1/kv/inside/k", Write, ""),
    route("POST", "/v1/kv/inside/mget", Read, r#"{"keys":["k"]}"#),
    route("POST", "/v1/kv/inside/bulk", Write, "{\"op\":\"put\",\"key\":\"k\",\"value\":\"x\"}\n"),
    route("GET", "/v1/kv/inside", Read, ""),
    route("HEAD", "/v1/kv/inside", Read, ""),
    route("GET", "/v1/collections", AnyKey, ""),
    route("HEAD", "/v1/collections", AnyKey, ""),
    route("PUT", "/v1/collections/inside", Admin, r#"{"key_type":"string"}"#),
    route("GET", "/v1/collections/inside", Read, ""),
    route("HEAD", "/v1/collections/inside", Read, ""),
    route("POST", "/v1/collections/inside", Write, r#"{"text":"x"}"#),
    route("DELETE", "/v1/collections/inside", Admin, ""),
    route("GET", "/v1/collections/inside/docs/d", Read, ""),
    route("HEAD", "/v1/collections/inside/docs/d", Read, ""),
    route("PUT", "/v1/collections/inside/docs/d", Write, r#"{"text":"x"}"#),
    route("PATCH", "/v1/collections/inside/docs/d", Write, r#"{"a":1}"#),
    route("DELETE", "/v1/collections/inside/docs/d", Write, ""),
    route("POST", "/v1/collections/inside/bulk", Write, "{\"id\":\"d\",\"text\":\"x\"}\n"),
    route("POST", "/v1/collections/inside/search", Read, r#"{"embedding":[1]}"#),
    route("POST", "/v1/collections/inside/count", Read, "{}"),
    route("GET", "/v1/router", ServerAdmin, ""),
    route("HEAD", "/v1/router", ServerAdmin, ""),
    route("POST", "/v1/router/rebalance?dry_run=true", ServerAdmin, ""),
    route("POST", "/v1/compact", ServerAdmin, ""),
    route("POST", "/v1/warmup", ServerAdmin, ""),
    route("POST", "/v1/rmi/build", ServerAdmin, ""),
    route("POST", "/v1/snapshot", ServerAdmin, ""),
    route("GET", "/v1/snapshots", ServerAdmin, ""),
    route("HEAD", "/v1/snapshots", ServerAdmin, ""),
    route("DELETE", "/v1/snapshots/20260131T235959Z-1a2b", ServerAdmin, ""),
    route("GET", "/v1/operations", ServerAdmin, ""),
    route("HEAD", "/v1/operations", ServerAdmin, ""),
    route("GET", "/v1/operations/1", ServerAdmin, ""),
    route("HEAD", "/v1/operations/1", ServerAdmin, ""),
    route("GET", "/health", Nothing, ""),
    route("HEAD", "/health", Nothing, ""),
    route("GET", "/livez", Nothing, ""),
    route("HEAD", "/livez", Nothing, ""),
    route("GET", "/readyz", Nothing, ""),
    route("HEAD", "/readyz", Nothing, ""),
    route("GET", "/readyz?verbose=false", Nothing, ""),
    route("GET", "/readyz?verbose", ServerRead, ""),
    route("HEAD", "/readyz?verbose=true", ServerRead, ""),
    route("GET", "/readyz?%76erbose", ServerRead, ""),
    route("GET", "/build_info", Nothing, ""),
    route("HEAD", "/build_info", Nothing, ""),
    route("GET", "/metrics", ServerRead, ""),
    route("HEAD", "/metrics", ServerRead, ""),
    route("GET", "/openapi.json", Nothing, ""),
    route("HEAD", "/openapi.json", Nothing, ""),
];
