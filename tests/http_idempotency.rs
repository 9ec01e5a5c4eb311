//! `Idempotency-Key` over HTTP, on a whole node of two shards in the simulator: a request that is sent again is
//! answered as it was and changes nothing, on every route that writes one record.

mod http;
mod support;

use std::collections::BTreeMap;

use http::{Answer, Served, Talk, plain_http};
use kyrodb::io::sim::CrashPolicy;
use kyrodb::limits;
use kyrodb::net::access::cors::Cors;
use kyrodb::net::access::key::{NewKey, RANDOM_BYTES};
use kyrodb::net::access::key_file::ApiKey;
use kyrodb::net::access::role::Role;
use kyrodb::net::access::scope::Scope;
use kyrodb::net::access::shared::{Access, Settings};
use kyrodb::net::server::Options;
use kyrodb::types::WallMs;
use serde_json::json;

const JSON: &str = "Content-Type: application/json\r\n";
const PATCH: &str = "Content-Type: application/merge-patch+json\r\n";
const NDJSON: &str = "Content-Type: application/x-ndjson\r\n";
const REPLAYED: &str = "idempotency-replayed";

fn http(access: Access) -> Options {
    Options { access, ..plain_http() }
}

fn serve_and(seed: u64, test: impl AsyncFnOnce(Talk) + 'static) {
    Served::start(seed, 2).talk(|talk| test(talk));
}

async fn create(talk: &Talk, name: &str, definition: serde_json::Value) {
    let answer = talk.ask("PUT", &format!("/v1/collections/{name}"), JSON, definition.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

async fn create_all(talk: &Talk) {
    create(talk, "d", json!({"fields": {"year": "i64"}, "split_at": ["m"]})).await;
    create(talk, "numbers", json!({"key_type": "u64", "fields": {}})).await;
    create(talk, "s", json!({"key_type": "string", "split_at": ["m"]})).await;
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
}

/// What of an answer must be the same again.
fn told(answer: &Answer) -> (u16, BTreeMap<String, String>, Vec<u8>) {
    let mut headers = answer.headers.clone();
    headers.remove(REPLAYED);
    (answer.status, headers, answer.body.clone())
}

/// What a read shows; a problem has an id of its own each time.
fn shown(answer: &Answer) -> (u16, Option<String>, Vec<u8>) {
    let body = if answer.status == 200 { answer.body.clone() } else { Vec::new() };
    (answer.status, answer.header("etag").map(str::to_owned), body)
}

/// A write on one of the routes; `other` is another content for the same record.
struct Case {
    method: &'static str,
    target: &'static str,
    lines: &'static str,
    body: Vec<u8>,
    other: Vec<u8>,
    /// Where the record is.
    record: &'static str,
    status: u16,
}

fn case(method: &'static str, target: &'static str, lines: &'static str, body: &str, other: &str) -> Case {
    let (body, other) = (body.as_bytes().to_vec(), other.as_bytes().to_vec());
    Case { method, target, lines, body, other, record: target, status: 201 }
}

fn cases() -> Vec<Case> {
    let large = |byte| vec![byte; limits::WHOLE_VALUE_BYTES_MAX + 1000];
    let put = |target, lines, body, other| case("PUT", target, lines, body, other);
    vec![
        put("/v1/kv/default/1", "Content-Type: text/plain\r\n", "one", "two"),
        put("/v1/kv/default/2", "If-None-Match: *\r\n", "one", "two"),
        put("/v1/kv/s/zebra", "Kyro-Durability: memory\r\n", "one", "two"),
        put("/v1/kv/s/ant?ttl=1h", "", "", "two"),
        Case { body: large(1), other: large(2), ..put("/v1/kv/s/large", "", "", "") },
        Case { status: 204, other: Vec::new(), ..case("DELETE", "/v1/kv/default/20", "", "", "") },
        Case {
            record: "/v1/kv/default/3",
            status: 200,
            ..case("POST", "/v1/put", JSON, r#"{"key":3,"value":1}"#, r#"{"key":3,"value":2}"#)
        },
        Case {
            record: "/v1/collections/d/docs/mine",
            ..case(
                "POST",
                "/v1/collections/d",
                JSON,
                r#"{"id":"mine","text":"a"}"#,
                r#"{"id":"mine","text":"b"}"#,
            )
        },
        put("/v1/collections/d/docs/a", JSON, r#"{"text":"a"}"#, r#"{"text":"b"}"#),
        put("/v1/collections/d/docs/z?ttl=1h", JSON, r#"{"text":"a"}"#, r#"{"text":"b"}"#),
        Case {
            status: 200,
            ..case("PATCH", "/v1/collections/d/docs/patched", PATCH, r#"{"year":1}"#, r#"{"year":2}"#)
        },
        Case { status: 204, ..case("DELETE", "/v1/collections/d/docs/gone", "", "", "") },
    ]
}

/// Records that patches and deletes are about.
async fn fill(talk: &Talk) {
    assert_eq!(talk.ask("PUT", "/v1/kv/default/20", "", "x").await.status, 201);
    for id in ["patched", "gone"] {
        let put = talk.ask("PUT", &format!("/v1/collections/d/docs/{id}"), JSON, r#"{"text":"t"}"#).await;
        assert_eq!(put.status, 201);
    }
}

impl Case {
    fn lines(&self, key: &str) -> String {
        format!("{}Idempotency-Key: {key}\r\n", self.lines)
    }

    async fn send(&self, talk: &Talk, key: &str) -> Answer {
        talk.ask(self.method, self.target, &self.lines(key), &self.body).await
    }

    /// Another client writes the record.
    async fn intervene(&self, talk: &Talk) {
        let (lines, body) = match self.record.contains("/docs/") {
            true => (JSON, r#"{"text":"of another"}"#),
            false => ("", "of another"),
        };
        let target = self.record.split('?').next().unwrap_or_default();
        let put = talk.ask("PUT", target, lines, body).await;
        assert!(put.status < 300 && put.header(REPLAYED).is_none(), "{}", put.status);
    }

    async fn read(&self, talk: &Talk) -> Answer {
        talk.ask("GET", self.record.split('?').next().unwrap_or_default(), "", "").await
    }
}

#[test]
fn a_request_that_is_sent_again_changes_nothing() {
    serve_and(1, async |talk| {
        create_all(&talk).await;
        fill(&talk).await;
        for case in cases() {
            let what = format!("{} {}", case.method, case.target);
            let first = case.send(&talk, "k-1").await;
            assert_eq!((first.status, first.header(REPLAYED)), (case.status, None), "{what}: {first:?}");
            let found = case.read(&talk).await;
            let again = case.send(&talk, "k-1").await;
            assert_eq!(again.header(REPLAYED), Some("true"), "{what}: {again:?}");
            // By then it may be more durable.
            let but_durability = |answer: &Answer| {
                let (status, mut headers, body) = told(answer);
                headers.remove("kyro-durability");
                (status, headers, body)
            };
            assert_eq!(but_durability(&again), but_durability(&first), "{what}");
            assert_eq!(shown(&case.read(&talk).await), shown(&found), "{what}: it changed something");
            // Nor when somebody else has written meanwhile.
            case.intervene(&talk).await;
            let theirs = case.read(&talk).await;
            let again = case.send(&talk, "k-1").await;
            assert_eq!((again.status, again.header(REPLAYED)), (case.status, Some("true")), "{what}");
            assert_eq!(again.header("kyro-seq"), first.header("kyro-seq"), "{what}");
            assert_eq!(shown(&case.read(&talk).await), shown(&theirs), "{what}: it was carried out again");
            // Another request of that name.
            let other = match case.method {
                "DELETE" => {
                    let lines = format!("{}If-Match: *\r\n", case.lines("k-1"));
                    talk.ask(case.method, case.target, &lines, "").await
                }
                _ => talk.ask(case.method, case.target, &case.lines("k-1"), &case.other).await,
            };
            assert_eq!(code(&other), (422, "idempotency_key_reused".into()), "{what}");
            assert_eq!(shown(&case.read(&talk).await), shown(&theirs), "{what}");
        }
    });
}

#[test]
fn another_name_another_record_and_no_name_are_other_requests() {
    serve_and(2, async |talk| {
        let put = async |key: u64, name: &str, body: &str| {
            let name = if name.is_empty() { String::new() } else { format!("Idempotency-Key: {name}\r\n") };
            let put = talk.ask("PUT", &format!("/v1/kv/default/{key}"), &name, body).await;
            (put.header(REPLAYED).is_some(), put.header("kyro-seq").expect("a version").to_owned())
        };
        let first = put(1, "a", "x").await;
        assert_eq!(first, (false, "1".to_owned()));
        assert_eq!(put(1, "b", "x").await, (false, "2".to_owned()));
        assert_eq!(put(1, "", "x").await, (false, "3".to_owned()));
        assert_eq!(put(2, "a", "y").await, (false, "4".to_owned()));
        assert_eq!(put(1, "a", "x").await, (true, "1".to_owned()));
        // On another route, the same record.
        let lines = format!("{JSON}Idempotency-Key: a\r\n");
        let core = talk.ask("POST", "/v1/put", &lines, r#"{"key":1,"value":"x"}"#).await;
        assert_eq!(code(&core), (422, "idempotency_key_reused".into()));
    });
}

#[test]
fn only_what_was_carried_out_is_remembered() {
    serve_and(3, async |talk| {
        create_all(&talk).await;
        let name = "Idempotency-Key: n\r\n";
        let present = format!("{name}If-Match: *\r\n");
        let put = async |lines: &str| talk.ask("PUT", "/v1/kv/default/7", lines, "x").await;
        assert_eq!(put(&present).await.status, 412);
        assert_eq!(put("").await.status, 201);
        let carried_out = put(&present).await;
        assert_eq!((carried_out.status, carried_out.header(REPLAYED)), (204, None), "it is judged anew");
        assert_eq!(put(&present).await.header(REPLAYED), Some("true"));
        let patch = async || {
            talk.ask("PATCH", "/v1/collections/d/docs/p", &format!("{PATCH}{name}"), r#"{"year":4}"#).await
        };
        assert_eq!(patch().await.status, 404);
        assert_eq!(talk.ask("PUT", "/v1/collections/d/docs/p", JSON, "{}").await.status, 201);
        assert_eq!(patch().await.status, 200);
        // The receipt is looked for before the document, which is gone.
        assert_eq!(talk.ask("DELETE", "/v1/collections/d/docs/p", "", "").await.status, 204);
        let again = patch().await;
        assert_eq!((again.status, again.header(REPLAYED)), (200, Some("true")));
        assert_eq!(talk.ask("GET", "/v1/collections/d/docs/p", "", "").await.status, 404);
    });
}

#[test]
fn a_document_without_an_id_is_inserted_once() {
    serve_and(4, async |talk| {
        create_all(&talk).await;
        for (name, target) in [("d", "/v1/collections/d"), ("numbers", "/v1/collections/numbers")] {
            let insert = async |key: &str, text: &str| {
                let lines = format!("{JSON}Idempotency-Key: {key}\r\n");
                talk.ask("POST", target, &lines, json!({"text": text}).to_string()).await
            };
            let first = insert("k", "a").await;
            assert_eq!((first.status, first.header(REPLAYED)), (201, None));
            let again = insert("k", "a").await;
            assert_eq!((told(&again), again.header(REPLAYED)), (told(&first), Some("true")));
            assert_eq!(code(&insert("k", "b").await), (422, "idempotency_key_reused".into()));
            let other = insert("l", "a").await;
            assert_eq!(other.status, 201);
            assert_ne!(other.json()["id"], first.json()["id"]);
            let told = talk.ask("POST", &format!("/v1/collections/{name}/count"), JSON, "{}").await.json();
            assert_eq!(told["count"], 2);
        }
    });
}

#[test]
fn a_bulk_has_no_place_for_it_or_a_condition_and_other_routes_pass_it_over() {
    serve_and(5, async |talk| {
        create_all(&talk).await;
        let bulks =
            [("/v1/kv/default/bulk", r#"{"op":"put","key":1,"value":1}"#), ("/v1/collections/d/bulk", "{}")];
        for (target, line) in bulks {
            for (name, value) in [("Idempotency-Key", "k"), ("If-Match", "*"), ("If-None-Match", "*")] {
                let answer = talk.ask("POST", target, &format!("{NDJSON}{name}: {value}\r\n"), line).await;
                assert_eq!(code(&answer), (400, "invalid_header".into()), "{target}");
                assert_eq!(answer.json()["errors"][0]["pointer"], format!("/header/{name}"));
            }
        }
        assert_eq!(talk.ask("GET", "/v1/kv/default/1", "", "").await.status, 404, "nothing of it was done");
        let bad = "Idempotency-Key: a b\r\nIdempotency-Key: \u{e9}\r\n";
        for (method, target, body) in [
            ("GET", "/v1/kv/default/1", ""),
            ("GET", "/health", ""),
            ("POST", "/v1/kv/default/mget", r#"{"keys":[1]}"#),
            ("PUT", "/v1/collections/more", "{}"),
            ("DELETE", "/v1/collections/more", ""),
            ("POST", "/v1/compact?wait=true", ""),
        ] {
            let answer = talk.ask(method, target, bad, body).await;
            assert!(answer.status < 300 || answer.status == 404, "{method} {target}: {}", answer.status);
            assert_eq!(answer.header(REPLAYED), None);
        }
    });
}

#[test]
fn a_name_that_is_none_is_refused() {
    serve_and(6, async |talk| {
        create_all(&talk).await;
        fill(&talk).await;
        let long = "x".repeat(limits::IDEMPOTENCY_KEY_BYTES_MAX + 1);
        for case in cases() {
            for bad in ["", "a b", "\u{e9}", &long, "a\r\nIdempotency-Key: a"] {
                let what = format!("{} {} {bad:?}", case.method, case.target);
                let answer = case.send(&talk, bad).await;
                assert_eq!(code(&answer), (400, "invalid_header".into()), "{what}");
                assert_eq!(answer.json()["errors"][0]["pointer"], "/header/Idempotency-Key", "{what}");
            }
        }
        let longest = "x".repeat(limits::IDEMPOTENCY_KEY_BYTES_MAX);
        assert_eq!(cases()[0].send(&talk, &longest).await.status, 201);
    });
}

#[test]
fn another_api_key_is_another_caller() {
    let access = Access::default();
    let made = |seed: u8| {
        let new = NewKey::from_random([seed; RANDOM_BYTES]);
        let line = format!("Authorization: Bearer {}\r\n", new.reveal());
        let (name, created) = (format!("k{seed}"), WallMs(0));
        let key =
            ApiKey { id: new.id, name, role: Role::Admin, scope: Scope::Everything, created, hash: new.hash };
        (line, key)
    };
    let ((first, first_key), (second, second_key)) = (made(1), made(2));
    let published = access.clone();
    Served::start_with(7, 2, http(access)).talk(async move |talk: Talk| {
        create_all(&talk).await;
        published.publish(vec![first_key, second_key]);
        let put = async |caller: &str, body: &str| {
            let lines = format!("{caller}Idempotency-Key: same\r\n");
            talk.ask("PUT", "/v1/kv/default/1", &lines, body).await
        };
        assert_eq!(put(&first, "a").await.status, 201);
        let other = put(&second, "b").await;
        assert_eq!((other.status, other.header(REPLAYED)), (204, None));
        let again = put(&first, "a").await;
        assert_eq!((again.status, again.header(REPLAYED)), (201, Some("true")));
        assert_eq!(talk.ask("GET", "/v1/kv/default/1", &first, "").await.text(), "b");
        let insert = async |caller: &str| {
            let lines = format!("{JSON}{caller}Idempotency-Key: same\r\n");
            talk.ask("POST", "/v1/collections/d", &lines, "{}").await
        };
        assert_eq!((insert(&first).await.status, insert(&second).await.status), (201, 201));
    });
}

#[test]
fn a_page_of_another_origin_may_send_it_and_read_the_answer() {
    let cors = Cors::parse("https://a.example").expect("an origin");
    let access = Access::new(Settings { cors, ..Settings::default() });
    Served::start_with(8, 1, http(access)).talk(async |talk: Talk| {
        let asks = "Origin: https://a.example\r\nAccess-Control-Request-Method: PUT\r\n";
        let answer = talk.ask("OPTIONS", "/v1/kv/default/1", asks, "").await;
        let lists = |answer: &Answer, name: &str, one: &str| {
            answer.header(name).is_some_and(|list| list.split(", ").any(|name| name == one))
        };
        assert!(lists(&answer, "access-control-allow-headers", "Idempotency-Key"));
        assert!(lists(&answer, "access-control-expose-headers", "Idempotency-Replayed"));
    });
}

/// A power cut behind the first answers, with and without a seal that gives the log up.
#[test]
fn a_restart_in_between_changes_nothing() {
    if http::is_real() {
        return;
    }
    for seals in [false, true] {
        let mut served = Served::start(9, 2);
        let firsts = served.talk(async move |talk: Talk| {
            create_all(&talk).await;
            fill(&talk).await;
            let mut firsts = Vec::new();
            for case in cases().into_iter().filter(|case| !case.lines.contains("memory")) {
                let first = case.send(&talk, "k").await;
                assert_eq!(first.status, case.status);
                case.intervene(&talk).await;
                firsts.push((case, first));
            }
            if seals {
                for _ in 0..2 {
                    assert_eq!(talk.ask("POST", "/v1/compact?wait=true", "", "").await.status, 200);
                }
            }
            firsts
        });
        let disk = served.simulated().sim.crash(CrashPolicy::KeepNothing);
        drop(served);
        Served::start_on(10, 2, disk, http(Access::default())).talk(async move |talk: Talk| {
            for (case, first) in firsts {
                let what = format!("{} {}, sealed: {seals}", case.method, case.target);
                let theirs = case.read(&talk).await;
                let again = case.send(&talk, "k").await;
                assert_eq!(again.header(REPLAYED), Some("true"), "{what}: {again:?}");
                assert_eq!(told(&again), told(&first), "{what}");
                assert_eq!(
                    shown(&case.read(&talk).await),
                    shown(&theirs),
                    "{what}: it was carried out again"
                );
            }
        });
    }
}
