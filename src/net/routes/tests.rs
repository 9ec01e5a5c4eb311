//! Which path names what, and what a pipeline may overlap.

use super::*;

fn find(method: Method<'static>, path: &str) -> Option<String> {
    Resource::find(path, method).map(|resource| format!("{resource:?}"))
}

#[test]
fn paths_name_resources() {
    use Method::{Get, Post};
    let table: &[(Method<'static>, &str, Resource<'static>)] = &[
        (Post, "/v1/put", Resource::CorePut),
        (Get, "/v1/get_fast/1", Resource::CoreGet { key: "1" }),
        (Get, "/v1/lookup_fast/1", Resource::CoreLookupFast { key: "1" }),
        (Get, "/v1/lookup", Resource::CoreLookup),
        (Get, "/v1/kv/c", Resource::Range { collection: "c" }),
        (Get, "/v1/kv/c/k%2Fl", Resource::Record { collection: "c", key: "k%2Fl" }),
        (Get, "/v1/kv/c/", Resource::Record { collection: "c", key: "" }),
        (Get, "/v1/kv/c/mget", Resource::Record { collection: "c", key: "mget" }),
        (Post, "/v1/kv/c/mget", Resource::MultiGet { collection: "c" }),
        (Method::Other("TRACE"), "/v1/kv/c/bulk", Resource::Bulk { collection: "c" }),
        (Post, "/v1/kv/c/bulk", Resource::Bulk { collection: "c" }),
        (Get, "/v1/collections", Resource::Collections),
        (Get, "/v1/collections/c", Resource::Collection { name: "c" }),
        (Get, "/v1/collections/c/docs/1", Resource::Document { collection: "c", id: "1" }),
        (Post, "/v1/collections/c/bulk", Resource::DocumentBulk { collection: "c" }),
        (Post, "/v1/collections/c/search", Resource::Search { collection: "c" }),
        (Post, "/v1/collections/c/count", Resource::Count { collection: "c" }),
        (Get, "/v1/router", Resource::Router),
        (Post, "/v1/router/rebalance", Resource::Rebalance),
        (Post, "/v1/compact", Resource::Compact),
        (Post, "/v1/warmup", Resource::WarmUp),
        (Post, "/v1/rmi/build", Resource::BuildIndexes),
        (Post, "/v1/snapshot", Resource::Snapshot),
        (Get, "/v1/snapshots", Resource::Snapshots),
        (Get, "/v1/snapshots/1", Resource::OneSnapshot { id: "1" }),
        (Get, "/v1/operations", Resource::Operations),
        (Get, "/v1/operations/1", Resource::Operation { id: "1" }),
        (Get, "/health", Resource::Health),
        (Get, "/livez", Resource::Live),
        (Get, "/readyz", Resource::Ready),
        (Get, "/build_info", Resource::BuildInfo),
        (Get, "/metrics", Resource::Metrics),
        (Get, "/openapi.json", Resource::OpenApi),
    ];
    for (method, path, resource) in table {
        assert_eq!(Resource::find(path, *method), Some(*resource), "{path}");
    }
}

#[test]
fn other_paths_name_nothing() {
    for path in [
        "/",
        "*",
        "/v1",
        "/v1/",
        "/v1/kv",
        "/v1/kv/",
        "/v1/kv/c/k/l",
        "/v1/put/",
        "/v1/get_fast",
        "/v1/get_fast/",
        "/v1/get_fast/1/2",
        "/v1/collections/",
        "/v1/collections/c/",
        "/v1/collections/c/docs",
        "/v1/collections//search",
        "/v1/router/split",
        "/v2/put",
        "/Health",
        "/health/",
    ] {
        assert_eq!(find(Method::Get, path), None, "{path}");
    }
}

fn head_of(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

#[test]
fn classes_say_what_may_overlap() {
    for (method, path, class, is_stream) in [
        ("GET", "/v1/kv/c/k", Class::Safe, false),
        ("HEAD", "/metrics", Class::Safe, false),
        ("PUT", "/v1/kv/c/k", Class::Write, false),
        ("DELETE", "/v1/kv/c/k", Class::Write, false),
        ("POST", "/v1/put", Class::Write, false),
        ("PUT", "/v1/collections/c", Class::Alone, false),
        ("POST", "/v1/kv/c/mget", Class::Alone, false),
        ("POST", "/v1/kv/c/bulk", Class::Alone, true),
        ("PUT", "/v1/kv/c/bulk", Class::Write, false),
        ("PATCH", "/v1/collections/c/docs/1", Class::Alone, false),
    ] {
        let bytes = head_of(method, path);
        let head = Head::parse(bytes.as_bytes()).unwrap();
        assert_eq!((class_of(&head), streams(&head)), (class, is_stream), "{method} {path}");
    }
}

#[test]
fn types_of_bodies_are_checked() {
    let status = |content_type: &str| {
        let bytes = format!("POST /v1/put HTTP/1.1\r\nHost: h\r\n{content_type}\r\n");
        let head = Head::parse(bytes.as_bytes()).unwrap();
        let request = Request { head, body: Body::Whole(b"{}") };
        json_body(&request).map(|_| ()).map_err(|problem| problem.status)
    };
    for good in [
        "",
        "Content-Type: application/json\r\n",
        "Content-Type: Application/JSON; charset=utf-8\r\n",
        "Content-Type: application/vnd.x+json\r\n",
        "Content-Encoding: identity\r\n",
    ] {
        assert_eq!(status(good), Ok(()), "{good}");
    }
    for bad in [
        "Content-Type: text/plain\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Length: 2\r\nContent-Encoding: br\r\n",
    ] {
        assert_eq!(status(bad), Err(415), "{bad}");
    }
}
