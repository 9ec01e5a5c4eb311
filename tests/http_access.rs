//! Who may do what, over HTTP: every route by role and scope, keys that come and go, limits by a
//! simulated clock, other origins.

mod http;
mod support;

#[path = "http_access/hosts.rs"]
mod hosts;
#[path = "http_access/routes.rs"]
mod routes;

use std::cell::RefCell;
use std::rc::Rc;

use http::{Answer, Served, Talk, plain_http, request};
use kyrodb::limits;
use kyrodb::net::access::cors::Cors;
use kyrodb::net::access::key::{NewKey, RANDOM_BYTES};
use kyrodb::net::access::key_file::ApiKey;
use kyrodb::net::access::limiter::{Rate, Rates};
use kyrodb::net::access::role::Role;
use kyrodb::net::access::scope::Scope;
use kyrodb::net::access::shared::{Access, Settings};
use kyrodb::net::server::Options;
use kyrodb::types::WallMs;
use routes::{INSIDE, ROUTES, Route, Takes};
use serde_json::json;

const OUTSIDE: &str = "outside";
const JSON: &str = "Content-Type: application/json\r\n";

/// A key with the header line that shows it.
struct Made {
    line: String,
    secret: String,
    key: ApiKey,
}

fn made(seed: u8, role: Role, collections: &[&str]) -> Made {
    let new = NewKey::from_random([seed; RANDOM_BYTES]);
    let scope = Scope::of(collections.iter().map(|name| (*name).to_owned()));
    let key =
        ApiKey { id: new.id, name: format!("k{seed}"), role, scope, created: WallMs(0), hash: new.hash };
    let secret = new.reveal().rsplit_once('_').expect("a secret").1.to_owned();
    Made { line: format!("Authorization: Bearer {}\r\n", new.reveal()), secret, key }
}

fn keys(made: &[&Made]) -> Vec<ApiKey> {
    made.iter().map(|made| made.key.clone()).collect()
}

fn serve_with<T: 'static>(seed: u64, access: Access, test: impl AsyncFnOnce(Talk) -> T + 'static) -> T {
    let http = Options { access, ..plain_http() };
    Served::start_with(seed, 2, http).talk(|talk| test(talk))
}

/// The collections of the tests, made before there are keys.
async fn create_collections(talk: &Talk) {
    for name in [INSIDE, OUTSIDE] {
        let created = talk.ask("PUT", &format!("/v1/collections/{name}"), JSON, "{}").await;
        assert_eq!(created.status, 201, "{name}");
    }
}

// ---- every route

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Covers {
    Everything,
    This,
    Other,
}

fn type_line(route: &Route) -> &'static str {
    match route.body.chars().next() {
        Some('{') if route.body.ends_with('\n') => "Content-Type: application/x-ndjson\r\n",
        Some('{') if route.method == "PATCH" => "Content-Type: application/merge-patch+json\r\n",
        Some('{') => JSON,
        _ => "",
    }
}

/// What the answer must be: 200 stands for anything but a denial.
fn wanted(takes: Takes, role: Role, covers: Covers) -> u16 {
    let (needed, is_enough) = match takes {
        Takes::Nothing => return 200,
        Takes::AnyKey => return 200,
        Takes::Read => (Role::Read, covers != Covers::Other),
        Takes::Write => (Role::Write, covers != Covers::Other),
        Takes::Admin => (Role::Admin, covers != Covers::Other),
        Takes::ServerRead => (Role::Read, covers == Covers::Everything),
        Takes::ServerAdmin => (Role::Admin, covers == Covers::Everything),
    };
    if is_enough && role >= needed { 200 } else { 403 }
}

#[test]
fn every_route_by_role_and_scope() {
    let access = Access::default();
    let scopes: [(Covers, &[&str]); 3] =
        [(Covers::Everything, &[]), (Covers::This, &[INSIDE, "default"]), (Covers::Other, &[OUTSIDE])];
    let mut callers = Vec::new();
    for role in Role::ALL {
        for (covers, collections) in scopes {
            callers.push((role, covers, made(callers.len() as u8, role, collections)));
        }
    }
    let unknown = made(99, Role::Admin, &[]);
    serve_with(1, access.clone(), async move |talk| {
        create_collections(&talk).await;
        let all: Vec<&Made> = callers.iter().map(|(_, _, made)| made).collect();
        access.publish(keys(&all));
        for route in ROUTES {
            let ask = async |key: &str| {
                let lines = format!("{}{key}", type_line(route));
                // A refused bulk ends its connection.
                let answer = talk.ask(route.method, route.target, &lines, route.body).await;
                let is_denied = [401, 403].contains(&answer.status);
                let challenge = answer.header("www-authenticate");
                assert_eq!(challenge, (answer.status == 401).then_some("Bearer"), "{}", route.target);
                assert_ne!(answer.status, 429);
                if is_denied { answer.status } else { 200 }
            };
            let stranger = if route.takes == Takes::Nothing { 200 } else { 401 };
            let place = format!("{} {}", route.method, route.target);
            assert_eq!(ask("").await, stranger, "{place} without a key");
            assert_eq!(ask(&unknown.line).await, stranger, "{place} with a wrong key");
            for (role, covers, made) in &callers {
                let wanted = wanted(route.takes, *role, *covers);
                assert_eq!(ask(&made.line).await, wanted, "{place} {role} {covers:?}");
            }
        }
    });
}

#[test]
fn without_keys_everybody_may_do_everything() {
    let lines = made(1, Role::Read, &[]).line;
    serve_with(2, Access::default(), async move |talk| {
        create_collections(&talk).await;
        for route in ROUTES {
            for key in ["", &lines] {
                let fields = format!("{}{key}", type_line(route));
                let answer = talk.ask(route.method, route.target, &fields, route.body).await;
                assert!(![401, 403, 429].contains(&answer.status), "{} {}", route.method, route.target);
                for name in ["ratelimit", "ratelimit-policy", "vary", "access-control-allow-origin"] {
                    assert_eq!(answer.header(name), None, "{} {}", route.method, route.target);
                }
            }
        }
    });
}

#[test]
fn what_is_none_of_ones_business_does_not_even_not_exist() {
    let access = Access::default();
    let scoped = made(1, Role::Admin, &[INSIDE]);
    serve_with(3, access.clone(), async move |talk| {
        create_collections(&talk).await;
        access.publish(vec![scoped.key]);
        for (method, template, body) in [
            ("GET", "/v1/kv/{c}/k", ""),
            ("PUT", "/v1/kv/{c}/k", "x"),
            ("GET", "/v1/collections/{c}", ""),
            ("DELETE", "/v1/collections/{c}", ""),
            ("PUT", "/v1/collections/{c}", "{}"),
            ("POST", "/v1/collections/{c}/search", "{}"),
        ] {
            let ask = async |name: &str| {
                let target = template.replace("{c}", name);
                let answer = talk.ask(method, &target, &format!("{JSON}{}", scoped.line), body).await;
                let mut told = answer.json();
                told.as_object_mut().expect("an object").remove("request_id");
                (answer.status, told)
            };
            let (there, missing) = (ask(OUTSIDE).await, ask("nowhere").await);
            assert_eq!(there.0, 403, "{method} {template}");
            assert_eq!(there, missing, "{method} {template}");
        }
        let list = talk.ask("GET", "/v1/collections", &scoped.line, "").await.json();
        let names: Vec<&str> = list["collections"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|c| c["name"].as_str())
            .collect();
        assert_eq!(names, [INSIDE]);
        // What is in its scope it may drop and create again.
        let target = format!("/v1/collections/{INSIDE}");
        for (method, wanted) in [("DELETE", 204), ("PUT", 201)] {
            let fields = format!("{JSON}{}", scoped.line);
            assert_eq!(talk.ask(method, &target, &fields, "{}").await.status, wanted);
        }
    });
}

// ---- keys that come and go

#[test]
fn keys_come_and_go_on_open_connections() {
    let access = Access::default();
    let (first, second) = (made(1, Role::Write, &[]), made(2, Role::Read, &[]));
    serve_with(4, access.clone(), async move |talk| {
        let client = talk.connect().await;
        let put = async |made: Option<&Made>| {
            let line = made.map_or("", |made| made.line.as_str());
            client.ask("PUT", "/v1/kv/default/1", line, "x").await.status
        };
        let get = async |made: &Made| client.ask("GET", "/v1/kv/default/1", &made.line, "").await.status;
        assert_eq!(put(None).await, 201);
        access.publish(keys(&[&first]));
        assert_eq!(put(None).await, 401);
        assert_eq!((put(Some(&first)).await, put(Some(&first)).await, get(&second).await), (204, 204, 401));
        access.publish(keys(&[&first, &second]));
        assert_eq!((put(Some(&second)).await, get(&second).await, put(Some(&first)).await), (403, 200, 204));
        access.publish(keys(&[&second]));
        assert_eq!((put(Some(&first)).await, get(&second).await), (401, 200));
        access.publish(Vec::new());
        assert_eq!((get(&second).await, put(None).await), (401, 401), "without keys left nobody comes in");
    });
}

#[test]
fn a_bulk_under_way_ends_with_its_key() {
    let access = Access::default();
    let (writer, other) = (made(1, Role::Write, &[]), made(2, Role::Read, &[]));
    serve_with(5, access.clone(), async move |talk| {
        access.publish(keys(&[&writer, &other]));
        let client = talk.connect().await;
        let head = format!(
            "POST /v1/kv/default/bulk HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-ndjson\r\n{}\
             Transfer-Encoding: chunked\r\n\r\n",
            writer.line
        );
        client.send(head).await;
        let line = |key: u64| {
            let line = format!("{{\"op\":\"put\",\"key\":{key},\"value\":\"x\"}}\n");
            format!("{:x}\r\n{line}\r\n", line.len())
        };
        client.send(line(1)).await;
        talk.sleep(1).await;
        access.publish(keys(&[&writer]));
        client.send(line(2)).await;
        talk.sleep(1).await;
        access.publish(keys(&[&other]));
        client.send(line(3)).await;
        talk.sleep(1).await;
        client.send(format!("{}0\r\n\r\n", line(4))).await;
        assert!(client.try_answer_to("POST").await.is_none(), "the answer has no end");
        let found =
            async |key: u64| talk.ask("GET", &format!("/v1/kv/default/{key}"), &other.line, "").await.status;
        assert_eq!([found(1).await, found(2).await, found(3).await, found(4).await], [200, 200, 404, 404]);
    });
}

#[test]
fn nothing_of_a_refused_body_is_acted_on() {
    let access = Access::default();
    let (reader, writer) = (made(1, Role::Read, &[]), made(2, Role::Write, &[]));
    serve_with(6, access.clone(), async move |talk| {
        access.publish(keys(&[&reader, &writer]));
        // Bodies that are requests themselves, should somebody take them for such.
        let inner = String::from_utf8(request("PUT", "/v1/kv/default/7", &writer.line, "smuggled"));
        let small = inner.expect("text");
        let large = small.repeat(limits::WHOLE_VALUE_BYTES_MAX / small.len() + 2);
        for (target, method, body, closes) in [
            ("/v1/kv/default/1", "PUT", &small, false),
            ("/v1/kv/default/1", "PUT", &large, true),
            ("/v1/kv/default/bulk", "POST", &small, true),
            ("/v1/collections/default/bulk", "POST", &small, true),
            ("/v1/kv/default/mget", "POST", &small, false),
        ] {
            for (line, status) in [("", 401), (reader.line.as_str(), 403)] {
                if target.ends_with("mget") && status == 403 {
                    continue;
                }
                let client = talk.connect().await;
                client.send(request(method, target, line, body)).await;
                let answer = client.answer_to(method).await;
                assert_eq!(answer.status, status, "{method} {target}");
                assert_eq!(answer.header("connection"), closes.then_some("close"), "{method} {target}");
                if !closes {
                    let next = client.ask("GET", "/v1/kv/default/1", &reader.line, "").await;
                    assert_eq!(next.status, 404, "the next request is the next one: {target}");
                }
            }
        }
        // Who waits to be told to go on is refused before he sends anything.
        let client = talk.connect().await;
        let head = format!(
            "POST /v1/kv/default/bulk HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n{}Content-Length: 99\r\n\r\n",
            reader.line
        );
        client.send(head).await;
        assert_eq!(client.answer_to("POST").await.status, 403);
        talk.sleep(1).await;
        assert_eq!(talk.ask("GET", "/v1/kv/default/7", &reader.line, "").await.status, 404);
    });
}

/// The head of a request whose body is announced, with its first byte.
fn begun(method: &str, target: &str, lines: &str, body_len: usize) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{lines}Content-Length: {body_len}\r\n\r\n{{")
}

#[test]
fn a_body_is_gathered_only_for_whom_may_have_it() {
    let access = Access::default();
    let (reader, writer) = (made(1, Role::Read, &[]), made(2, Role::Write, &[INSIDE]));
    serve_with(13, access.clone(), async move |talk| {
        access.publish(keys(&[&reader, &writer]));
        let (search, document) = ("/v1/collections/default/search", "/v1/collections/default/docs/1");
        for (method, target, line, status) in [
            ("POST", search, "", 401),
            ("PUT", document, &reader.line, 403),
            ("PUT", document, &writer.line, 403),
            ("PATCH", search, &reader.line, 405),
            ("POST", "/nowhere", "", 404),
            // Needs no key, and has no use for its body.
            ("GET", "/health", "", 200),
        ] {
            let client = talk.connect().await;
            // Behind a request of its pipeline, and answered behind it.
            let before = request("GET", "/v1/kv/default/1", &reader.line, "");
            let lines = format!("X-Request-Id: abc\r\n{line}");
            client.send([before, begun(method, target, &lines, limits::MIB).into_bytes()].concat()).await;
            assert_eq!(client.answer().await.status, 404, "{method} {target}");
            let answer = client.answer_to(method).await;
            assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "{target}");
            assert_eq!(answer.header("x-request-id"), Some("abc"), "{method} {target}");
        }
        // Nobody is told to send what is not taken.
        let client = talk.connect().await;
        let head = begun("POST", search, "Expect: 100-continue\r\n", 9);
        client.send(head.trim_end_matches('{')).await;
        assert_eq!(client.answer_to("POST").await.status, 401);
        // Who may have it is waited for, until his key is revoked.
        let client = talk.connect().await;
        client.send(begun("POST", "/v1/kv/default/mget", &reader.line, 12)).await;
        talk.sleep(1).await;
        client.send("\"keys\":[1]}").await;
        assert_eq!(client.answer_to("POST").await.status, 200);
        client.send(begun("POST", "/v1/kv/default/mget", &reader.line, 12)).await;
        assert!(client.is_quiet_for(1).await);
        access.publish(keys(&[&writer]));
        client.send("\"keys\":[1]}").await;
        assert_eq!(client.answer_to("POST").await.status, 401);
    });
}

#[test]
fn a_request_whose_body_is_cut_is_answered_as_the_request_that_it_is() {
    let cors = Cors::parse("https://app.example").expect("an origin");
    let rates = Rates { data: Rate::new(100, 100), admin: Rate::new(100, 100) };
    let access = Access::new(Settings { cors, rates, ..Settings::default() });
    let admin = made(1, Role::Admin, &[]);
    serve_with(14, access.clone(), async move |talk| {
        access.publish(vec![admin.key.clone()]);
        let gzip = "Content-Encoding: gzip\r\n";
        let record = "/v1/kv/default/1";
        let large = limits::WHOLE_VALUE_BYTES_MAX + 1;
        for (target, coding, len, status) in [
            (record, gzip, 1, 400),
            (record, gzip, 2, 408),
            (record, "", large, 408),
            (record, "", 2, 408),
            ("/v1/collections/new", gzip, 1, 400),
            ("/v1/collections/new", gzip, 2, 408),
            ("/v1/collections/new", "", 2, 408),
        ] {
            if http::is_real() && status == 408 {
                continue;
            }
            let actions = access.audit().admin_actions();
            let client = talk.connect().await;
            let lines = format!("X-Request-Id: abc\r\nOrigin: https://app.example\r\n{}{coding}", admin.line);
            client.send(begun("PUT", target, &lines, len)).await;
            let answer = client.answer_to("PUT").await;
            assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "{target}");
            assert_eq!(answer.header("x-request-id"), Some("abc"), "{target} {status}");
            assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"));
            assert!(answer.header("ratelimit").is_some(), "{target} {status}");
            let steers = u64::from(target != record);
            assert_eq!(access.audit().admin_actions() - actions, steers, "{target} {status}");
        }
    });
}

#[test]
fn a_key_is_shown_once_and_by_bearer() {
    let access = Access::default();
    let writer = made(1, Role::Write, &[]);
    serve_with(7, access.clone(), async move |talk| {
        access.publish(vec![writer.key]);
        let text = writer.line.trim_end().rsplit(' ').next().expect("the key").to_owned();
        for (fields, wanted) in [
            (format!("authorization: bearer {text}\r\n"), 404),
            (format!("Authorization:   Bearer    {text}  \r\n"), 404),
            (format!("Authorization: {text}\r\n"), 401),
            (format!("Authorization: Basic {text}\r\n"), 401),
            (format!("Authorization: Bearer {text}a\r\n"), 401),
            (format!("Authorization: Bearer {}\r\n", &text[..text.len() - 1]), 401),
            (format!("X-Api-Key: {text}\r\n"), 401),
            (format!("{0}{0}", writer.line), 400),
        ] {
            assert_eq!(talk.ask("GET", "/v1/kv/default/1", &fields, "").await.status, wanted, "{fields}");
        }
        assert_eq!(talk.ask("GET", &format!("/v1/kv/default/1?key={text}"), "", "").await.status, 401);
    });
}

// ---- limits

fn limits_of(answer: &Answer) -> (Option<&str>, Option<&str>, Option<&str>) {
    (answer.header("ratelimit-policy"), answer.header("ratelimit"), answer.header("retry-after"))
}

#[test]
fn rates_hold_by_the_clock_and_budgets_are_apart() {
    let rates = Rates { data: Rate::new(2, 4), admin: Rate::new(1, 3) };
    let access = Access::new(Settings { rates, ..Settings::default() });
    let (one, two) = (made(1, Role::Admin, &[]), made(2, Role::Admin, &[]));
    serve_with(8, access.clone(), async move |talk| {
        access.publish(keys(&[&one, &two]));
        let get = async |line: &str| talk.ask("GET", "/v1/kv/default/1", line, "").await;
        let policy = Some("\"data\";q=4;w=2");
        let first = get(&one.line).await;
        assert_eq!((first.status, limits_of(&first)), (404, (policy, Some("\"data\";r=3;t=1"), None)));
        let rest = [get(&one.line).await.status, get(&one.line).await.status, get(&one.line).await.status];
        assert_eq!(rest, [404; 3]);
        let held = get(&one.line).await;
        assert_eq!((held.status, held.json()["code"].as_str()), (429, Some("rate_limited")));
        assert_eq!(limits_of(&held), (policy, Some("\"data\";r=0;t=2"), Some("1")));
        assert_eq!(held.json()["retryable"], json!(true));
        // Neither the other key nor what steers the server is held up.
        assert_eq!(get(&two.line).await.status, 404);
        let admin = talk.ask("GET", "/v1/router", &one.line, "").await;
        assert_eq!((admin.status, admin.header("ratelimit-policy")), (200, Some("\"admin\";q=3;w=3")));
        // A second is two requests, on whatever connection and core.
        talk.sleep(1).await;
        let after = [get(&one.line).await.status, get(&one.line).await.status, get(&one.line).await.status];
        assert_eq!(after, [404, 404, 429]);
        talk.sleep(60).await;
        let statuses: Vec<u16> = {
            let mut statuses = Vec::new();
            for _ in 0..5 {
                statuses.push(get(&one.line).await.status);
            }
            statuses
        };
        assert_eq!(statuses, [404, 404, 404, 404, 429], "never more than a burst");
        let health = talk.ask("GET", "/health", "", "").await;
        assert_eq!((health.status, limits_of(&health)), (200, (None, None, None)));
    });
}

#[test]
fn without_a_key_an_address_is_limited() {
    let rates = Rates { data: Rate::new(1, 2), admin: None };
    let access = Access::new(Settings { rates, ..Settings::default() });
    let key = made(1, Role::Read, &[]);
    serve_with(9, access.clone(), async move |talk| {
        let get = async |line: &str| talk.ask("GET", "/v1/kv/default/1", line, "").await.status;
        assert_eq!([get("").await, get("").await, get("").await], [404, 404, 429]);
        assert_eq!(limits_of(&talk.ask("GET", "/v1/router", "", "").await), (None, None, None));
        access.publish(vec![key.key]);
        let wrong = made(2, Role::Read, &[]).line;
        assert_eq!([get(&key.line).await, get(&wrong).await], [404, 429], "trying out keys is limited");
        talk.sleep(1).await;
        assert_eq!([get(&wrong).await, get("").await, get(&key.line).await], [401, 429, 404]);
    });
}

#[test]
fn a_bulk_is_refused_by_its_limit_before_its_body() {
    let rates = Rates { data: Rate::new(1, 1), admin: None };
    let access = Access::new(Settings { rates, ..Settings::default() });
    serve_with(10, access, async move |talk| {
        let line = "{\"op\":\"put\",\"key\":1,\"value\":\"x\"}\n";
        let bulk = async || talk.ask("POST", "/v1/kv/default/bulk", "", line).await;
        let (first, second) = (bulk().await, bulk().await);
        assert_eq!((first.status, first.header("ratelimit")), (200, Some("\"data\";r=0;t=1")));
        assert_eq!((second.status, second.header("connection")), (429, Some("close")));
    });
}

#[test]
fn a_request_is_charged_once_however_its_body_comes() {
    let rates = Rates { data: Rate::new(1, 3), admin: None };
    let access = Access::new(Settings { rates, ..Settings::default() });
    serve_with(15, access, async move |talk| {
        let client = talk.connect().await;
        let mut left = Vec::new();
        for _ in 0..3 {
            client.send(begun("POST", "/v1/kv/default/mget", "", 12)).await;
            for piece in ["\"keys\"", ":[1]", "}"] {
                talk.runtime.sleep(std::time::Duration::from_millis(1)).await;
                client.send(piece).await;
            }
            let answer = client.answer_to("POST").await;
            assert_eq!(answer.status, 200);
            left.push(answer.header("ratelimit").expect("a limit")[..10].to_owned());
        }
        assert_eq!(left, ["\"data\";r=2", "\"data\";r=1", "\"data\";r=0"]);
        // A small one is taken, so that the connection goes on; a large one is not.
        client.send(begun("POST", "/v1/kv/default/mget", "", 12)).await;
        talk.runtime.sleep(std::time::Duration::from_millis(1)).await;
        client.send("\"keys\":[1]}").await;
        let small = client.answer_to("POST").await;
        assert_eq!((small.status, small.header("connection")), (429, None));
        client.send(begun("POST", "/v1/kv/default/mget", "", limits::MIB)).await;
        let large = client.answer_to("POST").await;
        assert_eq!((large.status, large.header("connection")), (429, Some("close")));
    });
}

// ---- other origins, metrics, logs

#[test]
fn pages_of_known_origins_may_ask() {
    let cors = Cors::parse("https://app.example").expect("an origin");
    let access = Access::new(Settings { cors, ..Settings::default() });
    let writer = made(1, Role::Write, &[]);
    serve_with(11, access.clone(), async move |talk| {
        access.publish(vec![writer.key]);
        let origin = "Origin: https://app.example\r\n";
        let asked = format!("{origin}Access-Control-Request-Method: PUT\r\n");
        let preflight = talk.ask("OPTIONS", "/v1/kv/default/1", &asked, "").await;
        assert_eq!(preflight.status, 204, "a browser sends no key with it");
        let methods = preflight.header("access-control-allow-methods");
        assert_eq!(methods, Some("GET, HEAD, PUT, DELETE"));
        let put = talk.ask("PUT", "/v1/kv/default/1", &format!("{origin}{}", writer.line), "x").await;
        let denied = talk.ask("PUT", "/v1/kv/default/1", origin, "x").await;
        for (answer, status) in [(&put, 201), (&denied, 401)] {
            assert_eq!(answer.status, status);
            assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"));
            assert_eq!(answer.header("vary"), Some("Origin"));
            let exposed = answer.header("access-control-expose-headers").expect("some are");
            assert!(exposed.contains("ETag") && exposed.contains("Kyro-Seq"), "{exposed}");
        }
        let line = "{\"op\":\"put\",\"key\":1,\"value\":\"x\"}\n";
        let bulk = talk.ask("POST", "/v1/kv/default/bulk", &format!("{origin}{}", writer.line), line).await;
        assert_eq!(bulk.header("access-control-allow-origin"), Some("https://app.example"));
        let other = "Origin: https://evil.example\r\nAccess-Control-Request-Method: PUT\r\n";
        for method in ["OPTIONS", "GET"] {
            let answer = talk.ask(method, "/v1/kv/default/1", other, "").await;
            assert_eq!(answer.header("access-control-allow-origin"), None, "{method}");
        }
        assert_eq!(talk.ask("OPTIONS", "/v1/nothing", &asked, "").await.status, 404);
        assert_eq!(talk.ask("OPTIONS", "/v1/kv/default/1", "", "").await.status, 405);
    });
}

/// Browsers send what looks like a form of any page, and keep only the answer from it.
#[test]
fn a_page_that_is_not_named_writes_nothing_where_no_key_is_asked_for() {
    let named = Cors::parse("https://app.example").expect("an origin");
    for cors in [Cors::default(), named] {
        let is_named = !cors.is_off();
        let access = Access::new(Settings { cors, ..Settings::default() });
        serve_with(14, access.clone(), async move |talk| {
            let line = "{\"op\":\"put\",\"key\":1,\"value\":\"x\"}\n";
            let writes = [
                ("POST", "/v1/put"),
                ("POST", "/v1/kv/default/bulk"),
                ("POST", "/v1/compact"),
                ("PUT", "/v1/kv/default/1"),
            ];
            for origin in ["https://evil.example", "null", "http://127.0.0.1:3030"] {
                let page = format!("Origin: {origin}\r\n");
                for (method, target) in writes {
                    let answer = talk.ask(method, target, &page, line).await;
                    assert_eq!(answer.status, 403, "{method} {target} of {origin}");
                    assert!(String::from_utf8_lossy(&answer.body).contains("cors-origins"));
                }
                assert_eq!(
                    talk.ask("GET", "/v1/kv/default/1", &page, "").await.status,
                    404,
                    "nothing was written"
                );
            }
            let known =
                talk.ask("PUT", "/v1/kv/default/1", "Origin: https://app.example\r\n", "x").await.status;
            assert_eq!(known, if is_named { 201 } else { 403 });
            assert!([201, 204].contains(&talk.ask("PUT", "/v1/kv/default/1", "", "x").await.status));
            // With a key it is the key that counts.
            let writer = made(1, Role::Write, &[]);
            access.publish(vec![writer.key]);
            let lines = format!("Origin: https://evil.example\r\n{}", writer.line);
            assert_eq!(talk.ask("PUT", "/v1/kv/default/1", &lines, "x").await.status, 204);
        });
    }
}

#[test]
fn denials_are_counted_and_no_answer_has_a_key() {
    let access = Access::default();
    let (admin, wrong) = (made(1, Role::Admin, &[]), made(2, Role::Admin, &[]));
    serve_with(12, access.clone(), async move |talk| {
        access.publish(vec![admin.key.clone()]);
        let said = Rc::new(RefCell::new(String::new()));
        let ask = async |method: &str, target: &str, line: &str| {
            let answer = talk.ask(method, target, line, "").await;
            *said.borrow_mut() +=
                &format!("{:?} {}\n", answer.headers, String::from_utf8_lossy(&answer.body));
            answer
        };
        ask("GET", "/v1/kv/default/1", "").await;
        ask("GET", "/v1/kv/default/1", &wrong.line).await;
        ask("GET", "/v1/kv/default/1", &format!("{0}{0}", admin.line)).await;
        ask("POST", "/v1/compact?wait=true", &admin.line).await;
        ask("GET", "/v1/kv/default/1", &admin.line).await;
        for accept in ["", "Accept: application/openmetrics-text\r\n"] {
            let metrics = ask("GET", "/metrics", &format!("{accept}{}", admin.line)).await;
            for line in [
                "kyrodb_access_denials_total{reason=\"no_key\"} 1",
                "kyrodb_access_denials_total{reason=\"wrong_key\"} 1",
                "kyrodb_access_denials_total{reason=\"role\"} 0",
                "kyrodb_admin_actions_total 1",
                "kyrodb_api_keys 1",
                "kyrodb_api_keys_needed 1",
            ] {
                assert!(metrics.text().lines().any(|found| found == line), "{line} in\n{}", metrics.text());
            }
        }
        let said = said.borrow();
        for secret in [&admin.secret, &wrong.secret, &admin.key.hash.to_hex()] {
            assert!(!said.contains(secret.as_str()), "{said}");
        }
    });
}
