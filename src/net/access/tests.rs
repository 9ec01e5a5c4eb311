//! The list of routes against the routes and the decisions, and callers against tables that change.

#[path = "../../../tests/http_access/routes.rs"]
#[allow(dead_code)]
mod routes;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use routes::{INSIDE, ROUTES, Route, Takes};

use super::caller::{Caller, Trail, Verdict};
use super::decision::{Denial, Need, need_of};
use super::key::{NewKey, RANDOM_BYTES};
use super::key_file::ApiKey;
use super::limiter::{Budget, Rate, Rates};
use super::role::Role;
use super::scope::Scope;
use super::shared::{Access, Settings};
use crate::net::parser::head::{Head, Method};
use crate::net::problem::Problem;
use crate::net::routes::{Class, Resource};
use crate::shard::catalogue::DEFAULT_COLLECTION;
use crate::types::{Mono, WallMs};

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"];

fn resource_of(route: &Route) -> (Resource<'static>, &'static str) {
    let (path, query) = route.target.split_once('?').unwrap_or((route.target, ""));
    let resource = Resource::find(path, Method::named(route.method)).expect(route.target);
    (resource, query)
}

fn name_of(resource: Resource<'_>) -> String {
    let text = format!("{resource:?}");
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// The variants of `Resource`, from its source: nothing else tells of one that nobody wrote down.
fn names_in_source() -> BTreeSet<String> {
    let source = include_str!("../routes/mod.rs");
    let body = source.split_once("pub enum Resource<'a> {\n").expect("the enum").1;
    let body = body.split_once("\n}\n").expect("its end").0;
    let variants = body.lines().filter_map(|line| line.strip_prefix("    "));
    let variants = variants.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
    variants.map(|line| line.chars().take_while(char::is_ascii_alphanumeric).collect()).collect()
}

#[test]
fn the_list_has_every_resource_with_every_method() {
    let listed: BTreeSet<String> = ROUTES.iter().map(|route| name_of(resource_of(route).0)).collect();
    assert_eq!(listed, names_in_source());
    assert!(listed.len() > 25);
    let pairs: BTreeSet<(String, &str)> =
        ROUTES.iter().map(|route| (name_of(resource_of(route).0), route.method)).collect();
    for route in ROUTES {
        let path = route.target.split('?').next().unwrap_or_default();
        for method in METHODS {
            let Some(resource) = Resource::find(path, Method::named(method)) else { panic!("{path}") };
            let has = resource.allow().split(", ").any(|one| one == method);
            assert_eq!(pairs.contains(&(name_of(resource), method)), has, "{method} {path}");
            let need = need_of(resource, Method::named(method), "");
            assert_eq!(need != Need::NoSuchMethod, has, "{method} {path}");
        }
    }
}

#[test]
fn every_decision_is_as_the_list_has_it() {
    for route in ROUTES {
        let (resource, query) = resource_of(route);
        let need = need_of(resource, Method::named(route.method), query);
        let is_core = ["/v1/put", "/v1/get_fast", "/v1/lookup"].iter().any(|at| route.target.starts_with(at));
        let name = match (is_core, route.target.contains('%')) {
            (true, _) => DEFAULT_COLLECTION,
            (false, true) => "%69nside",
            (false, false) => INSIDE,
        };
        let (budget, wanted) = match route.takes {
            Takes::Nothing => (None, Need::Public),
            Takes::AnyKey => (Some(Budget::Data), Need::AnyKey),
            Takes::Read => (Some(Budget::Data), Need::Collection { role: Role::Read, name }),
            Takes::Write => (Some(Budget::Data), Need::Collection { role: Role::Write, name }),
            Takes::Admin => (Some(Budget::Admin), Need::Collection { role: Role::Admin, name }),
            Takes::ServerRead => (Some(Budget::Admin), Need::Server { role: Role::Read }),
            Takes::ServerAdmin => (Some(Budget::Admin), Need::Server { role: Role::Admin }),
        };
        assert_eq!((need, need.budget()), (wanted, budget), "{} {}", route.method, route.target);
    }
}

#[test]
fn a_scope_is_held_against_the_decoded_name() {
    let scope = Scope::of(["a b".to_owned(), "inside".to_owned()]);
    let judge =
        |name, scope: &Scope| Need::Collection { role: Role::Read, name }.is_met_by(Role::Read, scope);
    assert_eq!(judge("a%20b", &scope), Ok(()));
    assert_eq!(judge("%69nside", &scope), Ok(()));
    for bad in ["outside", "", "inside%2F", "a+b", "%zz", "%ff", "inside%00", "INSIDE"] {
        assert_eq!(judge(bad, &scope), Err(Denial::Scope), "{bad}");
        assert_eq!(judge(bad, &Scope::Everything), Ok(()), "{bad}");
    }
}

// ---- callers

fn key(seed: u8, role: Role, scope: Scope) -> (String, ApiKey) {
    let new = NewKey::from_random([seed; RANDOM_BYTES]);
    let key =
        ApiKey { id: new.id, name: format!("k{seed}"), role, scope, created: WallMs(0), hash: new.hash };
    (format!("Authorization: Bearer {}\r\n", new.reveal()), key)
}

fn caller(access: &Access) -> Caller {
    let peer: SocketAddr = ([10, 0, 0, 1], 5).into();
    Caller::new(access.clone(), peer, Mono(0))
}

fn ask(caller: &mut Caller, line: &str, fields: &str) -> (Result<(), Problem>, Trail) {
    let bytes = format!("{line} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    let head = Head::parse(bytes.as_bytes()).unwrap();
    let resource = Resource::find(head.path, head.method);
    let (verdict, trail) = caller.admit(&head, resource, crate::net::routes::class_of(&head), Mono(0));
    match verdict {
        Verdict::Pass | Verdict::Preflight => (Ok(()), trail),
        Verdict::Refused(problem) => (Err(problem), trail),
    }
}

fn status(caller: &mut Caller, line: &str, fields: &str) -> u16 {
    ask(caller, line, fields).0.map_or_else(|problem| problem.status, |()| 200)
}

#[test]
fn a_revoked_key_ends_with_the_table_it_was_in() {
    let access = Access::default();
    let mut caller = caller(&access);
    assert_eq!(status(&mut caller, "PUT /v1/kv/a/1", ""), 200, "nobody needs a key");
    let (fields, first) = key(1, Role::Write, Scope::Everything);
    let (other_fields, second) = key(2, Role::Read, Scope::Everything);
    access.publish(vec![first.clone(), second.clone()]);
    assert_eq!(status(&mut caller, "PUT /v1/kv/a/1", ""), 401);
    for _ in 0..2 {
        assert_eq!(status(&mut caller, "PUT /v1/kv/a/1", &fields), 200);
        assert_eq!(status(&mut caller, "PUT /v1/kv/a/1", &other_fields), 403);
    }
    assert_eq!(status(&mut caller, "PUT /v1/kv/a/1", &fields), 200);
    access.publish(vec![first.clone()]);
    assert!(caller.is_still_admitted());
    let admitted = ask(&mut caller, "PUT /v1/kv/a/1", &fields).1.admitted;
    assert_eq!(status(&mut caller, "PUT /v1/kv/a/1", ""), 401, "another request in the meantime");
    assert!(caller.still_admits(&admitted) && !caller.is_still_admitted());
    assert_eq!(status(&mut caller, "PUT /v1/kv/a/1", &fields), 200);
    access.publish(vec![first, second.clone()]);
    assert!(caller.is_still_admitted(), "also after a second change");
    access.publish(vec![second]);
    assert!(!caller.is_still_admitted());
    assert!(!caller.still_admits(&admitted));
    assert_eq!(status(&mut caller, "PUT /v1/kv/a/1", &fields), 401);
    access.publish(Vec::new());
    assert_eq!(status(&mut caller, "GET /v1/kv/a/1", ""), 401, "the last key is gone: nobody comes in");
}

#[test]
fn what_began_without_keys_is_not_admitted_with_them() {
    let access = Access::default();
    let mut caller = caller(&access);
    assert_eq!(status(&mut caller, "POST /v1/kv/a/bulk", ""), 200);
    assert!(caller.is_still_admitted());
    access.publish(Vec::new());
    assert!(caller.is_still_admitted());
    access.publish(vec![key(1, Role::Read, Scope::Everything).1]);
    assert!(!caller.is_still_admitted());
}

#[test]
fn a_key_that_was_shown_before_helps_no_later_request() {
    let access = Access::default();
    let (fields, admin) = key(1, Role::Admin, Scope::Everything);
    access.publish(vec![admin]);
    let mut caller = caller(&access);
    assert_eq!(status(&mut caller, "PUT /v1/kv/a/1", &fields), 200);
    assert!(caller.permit().shows("a"));
    for without in ["", "Authorization: Bearer x\r\n", "Authorization: \r\n"] {
        assert_eq!(status(&mut caller, "PUT /v1/kv/a/1", without), 401, "{without}");
    }
    assert_eq!(status(&mut caller, "GET /health", ""), 200);
}

#[test]
fn the_reason_counts_and_the_key_is_nowhere() {
    let access = Access::default();
    let (fields, scoped) = key(1, Role::Write, Scope::of(["a".to_owned()]));
    access.publish(vec![scoped]);
    let mut caller = caller(&access);
    for (line, fields, wanted) in [
        ("GET /v1/kv/a/1", "", 401),
        ("GET /v1/kv/a/1", "Authorization: Basic x\r\n", 401),
        ("PUT /v1/collections/a", fields.as_str(), 403),
        ("GET /v1/kv/b/1", fields.as_str(), 403),
        ("GET /nowhere", "", 404),
        ("POST /metrics", "", 405),
    ] {
        assert_eq!(status(&mut caller, line, fields), wanted, "{line}");
    }
    let counts: Vec<(&str, u64)> =
        access.audit().denials().map(|(denial, count)| (denial.name(), count)).collect();
    assert_eq!(
        counts,
        [("no_key", 1), ("wrong_key", 1), ("role", 1), ("scope", 1), ("page", 0), ("host", 0), ("rate", 0)]
    );
    let printed = format!("{access:?} {:?} {:?}", access.table(), access.numbers());
    assert!(!printed.contains(&fields[45..60]), "{printed}");
}

#[test]
fn admin_actions_leave_a_trail_and_questions_do_not() {
    let access = Access::default();
    let mut caller = caller(&access);
    for (line, leaves) in [
        ("POST /v1/compact", true),
        ("PUT /v1/collections/a", true),
        ("DELETE /v1/collections/a", true),
        ("DELETE /v1/snapshots/1", true),
        ("GET /v1/router", false),
        ("POST /v1/collections/a", false),
        ("PUT /v1/kv/a/1", false),
    ] {
        let (outcome, trail) = ask(&mut caller, line, "");
        assert!(outcome.is_ok());
        assert_eq!(trail.action.is_some(), leaves, "{line}");
    }
}

/// The quick way of a server without keys passes over everything but the route.
#[test]
fn what_is_audited_never_takes_the_quick_way() {
    for route in ROUTES {
        let bytes = format!("{} {} HTTP/1.1\r\nHost: h\r\n\r\n", route.method, route.target);
        let head = Head::parse(bytes.as_bytes()).unwrap();
        let need = need_of(resource_of(route).0, head.method, head.query);
        let is_quick = crate::net::routes::class_of(&head) != Class::Alone;
        let is_question = matches!(head.method, Method::Get | Method::Head);
        assert!(!is_quick || is_question || !need.is_admin(), "{} {}", route.method, route.target);
    }
}

#[test]
fn limits_are_of_the_key_else_of_the_address() {
    let rates = Rates { data: Rate::new(1, 2), admin: Rate::new(1, 1) };
    let access = Access::new(Settings { rates, ..Settings::default() });
    let (first, one) = key(1, Role::Admin, Scope::Everything);
    let (second, two) = key(2, Role::Admin, Scope::Everything);
    access.publish(vec![one.clone(), two.clone()]);
    let (mut here, mut there) = (caller(&access), caller(&access));
    let line = "GET /v1/kv/a/1";
    assert_eq!([status(&mut here, line, &first), status(&mut there, line, &first)], [200, 200]);
    let (outcome, trail) = ask(&mut here, line, &first);
    assert_eq!(outcome.unwrap_err().status, 429);
    assert_eq!(
        String::from_utf8(trail.lines).unwrap(),
        "RateLimit-Policy: \"data\";q=2;w=2\r\nRateLimit: \"data\";r=0;t=2\r\nRetry-After: 1\r\n"
    );
    assert_eq!(status(&mut here, line, &second), 200, "another key");
    assert_eq!(status(&mut here, "POST /v1/compact", &first), 200, "another budget");
    access.publish(vec![one, two]);
    assert_eq!(status(&mut here, line, &first), 429, "a new table forgives nothing");
    // Keys cannot be tried out at will, but a right one is not kept out by that.
    let wrong = "Authorization: Bearer x\r\n";
    let tried =
        [status(&mut here, line, wrong), status(&mut there, line, ""), status(&mut here, line, wrong)];
    assert_eq!(tried, [401, 401, 429]);
    assert_eq!(status(&mut here, line, &second), 200);
    assert_eq!(status(&mut here, "GET /health", ""), 200);
    assert!(ask(&mut here, "GET /health", "").1.lines.is_empty());
}
