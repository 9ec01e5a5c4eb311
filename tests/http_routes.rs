//! The routes over a whole node of two shards, in the simulator.

mod http;
mod support;

use std::collections::BTreeMap;

use http::{Answer, Served, Talk};
use kyrodb::io::sim::Rng;
use kyrodb::limits;
use serde_json::{Value, json};

const JSON: &str = "Content-Type: application/json\r\n";
const NDJSON: &str = "Content-Type: application/x-ndjson\r\n";

fn serve_and(seed: u64, test: impl AsyncFnOnce(Talk) + 'static) {
    Served::start(seed, 2).talk(|talk| test(talk));
}

async fn get(talk: &Talk, target: &str) -> Answer {
    talk.ask("GET", target, "", "").await
}

/// A collection with string keys, cut in two.
async fn create_split(talk: &Talk) {
    assert_eq!(talk.ask("PUT", "/v1/collections/s", JSON, r#"{"split_at":["m"]}"#).await.status, 201);
}

#[test]
fn the_core_routes_put_get_and_look_up() {
    serve_and(1, async |talk| {
        let put = talk.ask("POST", "/v1/put", JSON, r#"{"key": 7, "value": {"a":  1.0}}"#).await;
        assert_eq!(put.status, 200);
        let (offset, seq) = (put.json()["offset"].clone(), put.json()["seq"].clone());
        let value = get(&talk, "/v1/get_fast/7").await;
        assert_eq!(
            (value.text(), value.header("content-type")),
            (r#"{"a":  1.0}"#, Some("application/json"))
        );
        assert_eq!(value.header("etag"), Some(format!("\"{seq}\"").as_str()));
        let fast = get(&talk, "/v1/lookup_fast/7").await;
        assert_eq!(fast.header("content-type"), Some("application/octet-stream"));
        assert_eq!(Some(u64::from_le_bytes(fast.body.try_into().expect("8 bytes"))), offset.as_u64());
        let found = get(&talk, "/v1/lookup?key=7").await.json();
        assert_eq!(found, json!({"key": 7, "value": {"a": 1.0}, "seq": seq}));

        talk.ask("POST", "/v1/put", JSON, r#"{"key": 8, "value": "\u00e9"}"#).await;
        let text = get(&talk, "/v1/get_fast/8").await;
        assert_eq!((text.text(), text.header("content-type")), ("\u{e9}", Some("text/plain; charset=utf-8")));
        for absent in ["/v1/get_fast/9", "/v1/lookup_fast/9", "/v1/lookup?key=9"] {
            assert_eq!(get(&talk, absent).await.status, 404, "{absent}");
        }
    });
}

#[test]
fn any_bytes_and_types_come_back() {
    serve_and(2, async |talk| {
        create_split(&talk).await;
        let every_byte: Vec<u8> = (0..=255).cycle().take(200_000).collect();
        for (key, content_type, value) in [
            ("a", "image/png", &every_byte[..]),
            ("z%2F%25%20%C3%A9", "text/plain", b"in the other half"),
            ("empty", "application/octet-stream", b""),
            ("large", "application/x-y; a=\"b\"", &every_byte[..limits::SEND_BATCH_BYTES_MAX + 1]),
        ] {
            let target = format!("/v1/kv/s/{key}");
            let put = talk.ask("PUT", &target, &format!("Content-Type: {content_type}\r\n"), value).await;
            assert_eq!(put.status, 201, "{key}");
            let answer = get(&talk, &target).await;
            assert_eq!((answer.status, answer.header("content-type")), (200, Some(content_type)), "{key}");
            assert!(answer.body == value, "{key}");
            assert_eq!(answer.header("etag"), put.header("etag"));
            let head = talk.ask("HEAD", &target, "", "").await;
            assert_eq!((head.headers, head.body.len()), (answer.headers, 0), "{key}");
        }
    });
}

#[test]
fn conditions_hold_or_nothing_changes() {
    serve_and(3, async |talk| {
        let target = "/v1/kv/default/1";
        let put = async |lines: &str, value: &str| talk.ask("PUT", target, lines, value).await;
        assert_eq!(put("If-Match: *\r\n", "x").await.status, 412);
        assert_eq!(put("If-None-Match: *\r\n", "a").await.status, 201);
        let refused = put("If-None-Match: *\r\n", "b").await;
        let tag = refused.header("etag").expect("the present version").to_owned();
        assert_eq!((refused.status, get(&talk, target).await.text()), (412, "a"));
        let replaced = put(&format!("If-Match: {tag}\r\n"), "c").await;
        assert_eq!((replaced.status, put(&format!("If-Match: {tag}\r\n"), "d").await.status), (204, 412));
        let now = replaced.header("etag").expect("a version").to_owned();
        assert_eq!(put("If-Match: \"other\"\r\n", "e").await.header("etag"), Some(now.as_str()));
        let unchanged = talk.ask("GET", target, &format!("If-None-Match: {now}\r\n"), "").await;
        assert_eq!((unchanged.status, unchanged.header("etag")), (304, Some(now.as_str())));
        assert_eq!(talk.ask("GET", target, &format!("If-Match: {tag}\r\n"), "").await.status, 412);
        assert_eq!(talk.ask("DELETE", target, &format!("If-Match: {tag}\r\n"), "").await.status, 412);
        assert_eq!(get(&talk, target).await.text(), "c");
        assert_eq!(talk.ask("DELETE", target, &format!("If-Match: {now}\r\n"), "").await.status, 204);
        assert_eq!(talk.ask("DELETE", target, "", "").await.status, 404);
        // On the core route, of the same record.
        let core = async |lines: &str| {
            talk.ask("POST", "/v1/put", &format!("{JSON}{lines}"), r#"{"key":1,"value":"f"}"#).await.status
        };
        assert_eq!((core("If-Match: *\r\n").await, core("If-None-Match: *\r\n").await), (412, 200));
        let stale = core(&format!("If-Match: {now}\r\n")).await;
        assert_eq!(
            (core("If-None-Match: *\r\n").await, stale, core("If-Match: 1\r\n").await),
            (412, 412, 400)
        );
        assert_eq!(core("If-Match: *\r\n").await, 200);
    });
}

#[test]
fn durability_is_taken_and_told() {
    serve_and(4, async |talk| {
        let reached = async |lines: &str| {
            let answer = talk.ask("PUT", "/v1/kv/default/1", lines, "x").await;
            answer.header("kyro-durability").map(str::to_owned)
        };
        assert_eq!(reached("").await.as_deref(), Some("fsync"));
        for level in ["fsync", "interval", "memory"] {
            let told = reached(&format!("Kyro-Durability: {level}\r\n")).await.expect("told");
            assert!(
                ["fsync", "interval", "memory"].iter().position(|l| *l == told)
                    <= ["fsync", "interval", "memory"].iter().position(|l| *l == level),
                "{level} gave {told}"
            );
        }
        assert_eq!(talk.ask("PUT", "/v1/kv/default/1", "Kyro-Durability: never\r\n", "x").await.status, 400);
    });
}

#[test]
fn records_expire_everywhere() {
    serve_and(5, async |talk| {
        assert_eq!(talk.ask("PUT", "/v1/kv/default/1?ttl=2s", "", "x").await.status, 201);
        assert_eq!(get(&talk, "/v1/kv/default/1").await.status, 200);
        talk.sleep(3).await;
        assert_eq!(get(&talk, "/v1/kv/default/1").await.status, 404);
        assert_eq!(get(&talk, "/v1/kv/default").await.json()["records"], json!([]));
        assert_eq!(talk.ask("PUT", "/v1/kv/default/1", "If-None-Match: *\r\n", "x").await.status, 201);
    });
}

#[test]
fn collections_are_created_described_listed_and_dropped() {
    serve_and(6, async |talk| {
        let definition = r#"{"key_type":"u64","durability":"interval","split_at":[10,20]}"#;
        let create = async |body: &str| talk.ask("PUT", "/v1/collections/c", JSON, body).await.status;
        assert_eq!((create(definition).await, create(definition).await, create("{}").await), (201, 200, 409));
        for key in [5, 15, 25] {
            let put = talk.ask("PUT", &format!("/v1/kv/c/{key}"), "", "value").await;
            assert_eq!(put.header("kyro-durability"), Some("interval"));
        }
        let described = get(&talk, "/v1/collections/c").await.json();
        for (member, expected) in [
            ("key_type", json!("u64")),
            ("records", json!(3)),
            ("tablets", json!(3)),
            ("durability", json!("interval")),
        ] {
            assert_eq!(described[member], expected, "{member}");
        }
        let router = get(&talk, "/v1/router").await.json();
        let tablets = &router["collections"][0]["tablets"];
        assert_eq!(
            (&tablets[0]["start"], &tablets[1]["start"], &tablets[2]["end"]),
            (&Value::Null, &json!(10), &Value::Null)
        );
        let names = |list: Value| -> Vec<Value> {
            list["collections"].as_array().expect("a list").iter().map(|c| c["name"].clone()).collect()
        };
        assert_eq!(names(get(&talk, "/v1/collections").await.json()), ["c", "default"]);
        assert_eq!(talk.ask("DELETE", "/v1/collections/c", "", "").await.status, 204);
        assert_eq!(talk.ask("DELETE", "/v1/collections/c", "", "").await.status, 404);
        assert_eq!(get(&talk, "/v1/kv/c/5").await.status, 404);
        assert_eq!(names(get(&talk, "/v1/collections").await.json()), ["default"]);
    });
}

#[test]
fn many_records_are_read_in_the_order_asked() {
    serve_and(7, async |talk| {
        create_split(&talk).await;
        for key in ["a", "z"] {
            talk.ask("PUT", &format!("/v1/kv/s/{key}"), "Content-Type: text/plain\r\n", key).await;
        }
        let answer = talk.ask("POST", "/v1/kv/s/mget", JSON, r#"{"keys":["z","q","a","z"]}"#).await;
        let keys: Vec<Value> =
            answer.json()["records"].as_array().expect("a list").iter().map(|r| r["value"].clone()).collect();
        assert_eq!(keys, [json!("z"), Value::Null, json!("a"), json!("z")]);
        assert_eq!(
            talk.ask("POST", "/v1/kv/s/mget", JSON, r#"{"keys":[]}"#).await.json(),
            json!({"records": []})
        );
        let too_many = json!({ "keys": vec!["k"; limits::MGET_KEYS_MAX + 1] }).to_string();
        assert_eq!(talk.ask("POST", "/v1/kv/s/mget", JSON, too_many).await.status, 422);
    });
}

/// All keys of a scan, page by page, with a write between any two pages.
async fn walk(talk: &Talk, query: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut cursor = String::new();
    for round in 0.. {
        let page = get(talk, &format!("/v1/kv/s?limit=3{query}{cursor}")).await;
        assert_eq!(page.status, 200, "{}", page.text());
        let page = page.json();
        let records = page["records"].as_array().expect("a list");
        assert!(records.len() <= 3);
        keys.extend(records.iter().map(|record| record["key"].as_str().expect("text").to_owned()));
        let Some(next) = page["next_cursor"].as_str() else { return keys };
        cursor = format!("&cursor={next}");
        talk.ask("PUT", &format!("/v1/kv/s/k15?ttl={}s", 1000 + round), "", "changed").await;
    }
    unreachable!("a scan ends")
}

#[test]
fn a_range_is_paged_through_across_shards_in_both_directions() {
    serve_and(8, async |talk| {
        create_split(&talk).await;
        let all: Vec<String> = (10..30).flat_map(|n| [format!("k{n}"), format!("p{n}")]).collect();
        for key in &all {
            talk.ask("PUT", &format!("/v1/kv/s/{key}"), "", "x").await;
        }
        let mut sorted = all.clone();
        sorted.sort();
        let select = |low: &str, high: &str| -> Vec<String> {
            sorted.iter().filter(|key| key.as_str() >= low && key.as_str() < high).cloned().collect()
        };
        let reversed = |mut keys: Vec<String>| {
            keys.reverse();
            keys
        };
        assert_eq!(walk(&talk, "").await, sorted);
        assert_eq!(walk(&talk, "&reverse=true").await, reversed(sorted.clone()));
        assert_eq!(walk(&talk, "&start=k25&end=p12").await, select("k25", "p12"));
        assert_eq!(walk(&talk, "&start=k25&end=p12&reverse=true").await, reversed(select("k25", "p12")));
        assert_eq!(walk(&talk, "&prefix=p1").await, select("p1", "p2"));
        assert_eq!(walk(&talk, "&prefix=p&end=p15&reverse=true").await, reversed(select("p", "p15")));
        assert_eq!(walk(&talk, "&start=z&end=a").await, Vec::<String>::new());

        let stream = async |query: &str| -> Vec<String> {
            let target = format!("/v1/kv/s?{query}");
            let answer = talk.ask("GET", &target, "Accept: application/x-ndjson\r\n", "").await;
            assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
            answer.lines().iter().map(|line| line["key"].as_str().expect("text").to_owned()).collect()
        };
        assert_eq!(stream("").await, sorted);
        assert_eq!(stream("limit=7&reverse=true").await, reversed(sorted.clone())[..7]);
    });
}

#[test]
fn a_long_stream_is_whole() {
    serve_and(9, async |talk| {
        let lines: String = (0..5000)
            .map(|key| format!("{{\"op\":\"put\",\"key\":{key},\"value\":\"{}\"}}\n", "v".repeat(100)))
            .collect();
        let bulk = talk
            .ask("POST", "/v1/kv/default/bulk", &format!("{NDJSON}Kyro-Durability: memory\r\n"), lines)
            .await;
        assert!(bulk.lines().iter().all(|line| line["status"] == 201));
        let answer = talk.ask("GET", "/v1/kv/default", "Accept: application/x-ndjson\r\n", "").await;
        let keys: Vec<u64> =
            answer.lines().iter().map(|line| line["key"].as_u64().expect("a number")).collect();
        assert_eq!(keys, (0..5000).collect::<Vec<u64>>());
    });
}

/// A line, and what it comes to when all lines before it are done.
fn random_line(rng: &mut Rng, model: &mut BTreeMap<String, String>) -> (String, u16, Option<String>) {
    let key = format!("{}{}", if rng.coin() { "a" } else { "z" }, rng.below(3));
    let found = model.get(&key).cloned();
    match rng.below(7) {
        0..=2 => {
            let value = format!("v{}", rng.below(1_000_000));
            model.insert(key.clone(), value.clone());
            let status = if found.is_some() { 204 } else { 201 };
            (json!({"op": "put", "key": key, "value": value}).to_string(), status, None)
        }
        3 => {
            model.remove(&key);
            let status = if found.is_some() { 204 } else { 404 };
            (json!({"op": "delete", "key": key}).to_string(), status, None)
        }
        4 | 5 => {
            let status = if found.is_some() { 200 } else { 404 };
            (json!({"op": "get", "key": key}).to_string(), status, found)
        }
        _ => ("{\"op\":".to_owned(), 400, None),
    }
}

#[test]
fn a_bulk_gives_what_its_lines_would_give_one_after_the_other() {
    for seed in 0..20 {
        serve_and(seed, async move |talk| {
            create_split(&talk).await;
            let mut rng = Rng::new(seed);
            let mut model = BTreeMap::new();
            let client = talk.connect().await;
            for count in [1, 40, 1500] {
                let lines: Vec<_> = (0..count).map(|_| random_line(&mut rng, &mut model)).collect();
                let body: Vec<&str> = lines.iter().map(|(line, ..)| line.as_str()).collect();
                let answer = client.ask("POST", "/v1/kv/s/bulk", NDJSON, body.join("\n")).await;
                assert_eq!(answer.status, 200);
                let results = answer.lines();
                assert_eq!(results.len(), lines.len());
                for ((line, status, value), result) in lines.iter().zip(results) {
                    assert_eq!(result["status"], *status, "seed {seed}: {line} gave {result}");
                    assert_eq!(
                        result["value"].as_str(),
                        value.as_deref(),
                        "seed {seed}: {line} gave {result}"
                    );
                }
            }
        });
    }
}

#[test]
fn a_bulk_in_chunks_is_answered_as_it_comes() {
    serve_and(10, async |talk| {
        let client = talk.connect().await;
        let head = "POST /v1/kv/default/bulk HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n";
        client.send(format!("{head}{NDJSON}\r\n1e\r\n{{\"op\":\"put\",\"key\":1,\"value\":1}}\r\n")).await;
        client.send("d\r\n\n{\"op\":\"get\",\r\n").await;
        talk.sleep(1).await;
        client.send("8\r\n\"key\":1}\r\n0\r\n\r\n").await;
        let lines = client.answer_to("POST").await.lines();
        assert_eq!((&lines[0]["status"], &lines[1]["value"], lines.len()), (&json!(201), &json!(1), 2));
        assert_eq!(client.ask("GET", "/health", "", "").await.status, 200, "the connection goes on");
    });
}

#[test]
fn a_broken_bulk_says_so_and_keeps_what_was_answered() {
    serve_and(11, async |talk| {
        let client = talk.connect().await;
        let head = "POST /v1/kv/default/bulk HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n";
        client
            .send(format!("{head}{NDJSON}\r\n1f\r\n{{\"op\":\"put\",\"key\":1,\"value\":1}}\n\r\nzz\r\n"))
            .await;
        let mut answer = Vec::new();
        while let Ok(Some(lease)) = client.socket.receive().await {
            answer.extend_from_slice(&lease);
        }
        let answer = String::from_utf8(answer).expect("text");
        assert_eq!(answer.matches("{\"status\":").count(), 1, "a result line for each input line: {answer}");
        assert!(answer.ends_with("}\n\r\n"), "an answer without its end: {answer}");
        assert_eq!(get(&talk, "/v1/kv/default/1").await.status, 200);
        for (target, lines, status) in [
            ("/v1/kv/none/bulk", NDJSON, 404),
            ("/v1/kv/default/bulk", JSON, 415),
            ("/v1/kv/default/bulk?x=y", NDJSON, 400),
        ] {
            assert_eq!(talk.ask("POST", target, lines, "{}\n").await.status, status, "{target}");
        }
    });
}

#[test]
fn wrong_input_gets_its_status_and_changes_nothing() {
    serve_and(12, async |talk| {
        talk.ask("PUT", "/v1/kv/default/1", "", "kept").await;
        let long_key = "k".repeat(limits::KEY_BYTES_MAX + 1);
        let long_target = format!("/v1/kv/default/{}", "1".repeat(limits::TARGET_BYTES_MAX));
        let long_header = format!("X: {}\r\n", "x".repeat(limits::HEAD_BYTES_MAX));
        let many_headers = "X: y\r\n".repeat(limits::HEADERS_MAX);
        let large_value = vec![b'x'; limits::VALUE_BYTES_MAX + 1];
        let large_body = vec![b'x'; limits::BODY_BYTES_MAX + 1];
        let long_key_target = format!("/v1/collections/default/{long_key}");
        create_split(&talk).await;
        let long_string_key = format!("/v1/kv/s/{long_key}");
        let table: &[(&str, &str, &str, &[u8], u16)] = &[
            ("POST", "/v1/put", JSON, b"{", 400),
            ("POST", "/v1/put", JSON, b"\xff", 400),
            ("POST", "/v1/put", JSON, b"[]", 422),
            ("POST", "/v1/put", JSON, b"{\"key\":\"1\",\"value\":1}", 422),
            ("POST", "/v1/put", JSON, b"{\"key\":1}", 422),
            ("POST", "/v1/put", JSON, b"{\"key\":1,\"value\":2,\"more\":3}", 422),
            ("POST", "/v1/put", "Content-Type: text/plain\r\n", b"{\"key\":1,\"value\":2}", 415),
            ("POST", "/v1/put?x=1", JSON, b"{\"key\":1,\"value\":2}", 400),
            ("PUT", "/v1/put", JSON, b"{\"key\":1,\"value\":2}", 405),
            ("PUT", "/v1/kv/default/abc", "", b"x", 422),
            ("PUT", "/v1/kv/default/-1", "", b"x", 422),
            ("PUT", "/v1/kv/default/01", "", b"x", 422),
            ("PUT", "/v1/collections/c", JSON, b"[", 400),
            ("DELETE", "/v1/collections/default", "", b"", 409),
            ("PUT", "/v1/kv/default/18446744073709551616", "", b"x", 422),
            ("PUT", "/v1/kv/default/%zz", "", b"x", 400),
            ("PUT", "/v1/kv/s/%ff", "", b"x", 400),
            ("PUT", "/v1/kv/s/", "", b"x", 422),
            ("PUT", &long_string_key, "", b"x", 422),
            ("PUT", &long_target, "", b"x", 414),
            ("PUT", "/v1/kv/default/1", &long_header, b"x", 431),
            ("PUT", "/v1/kv/default/1", &many_headers, b"x", 431),
            ("PUT", "/v1/kv/default/1", "Content-Encoding: br\r\n", b"x", 415),
            ("PUT", "/v1/kv/default/1", "Content-Encoding: gzip\r\n", b"x", 400),
            ("PUT", "/v1/kv/default/1", "If-Match: 1\r\n", b"x", 400),
            ("PUT", "/v1/kv/default/1", "Expect: magic\r\n", b"x", 417),
            ("PUT", "/v1/kv/default/1", "", &large_value, 413),
            ("PUT", "/v1/kv/default/1", "", &large_body, 413),
            ("PUT", "/v1/kv/default/1?ttl=soon", "", b"x", 400),
            ("PUT", "/v1/kv/default/1?ttl=99999999999999999999d", "", b"x", 400),
            ("PUT", "/v1/kv/default/1?tll=1s", "", b"x", 400),
            ("PUT", "/v1/kv/none/1", "", b"x", 404),
            ("PATCH", "/v1/kv/default/1", "", b"x", 405),
            ("DELETE", "/v1/kv/default", "", b"", 405),
            ("GET", "/v1/kv/default?limit=0", "", b"", 400),
            ("GET", "/v1/kv/default?limit=-1", "", b"", 400),
            ("GET", "/v1/kv/default?limit=99999999999999999999", "", b"", 400),
            ("GET", "/v1/kv/default?prefix=1", "", b"", 400),
            ("GET", "/v1/kv/default?cursor=AAAA", "", b"", 400),
            ("GET", "/v1/lookup", "", b"", 400),
            ("GET", "/v1/lookup?key=x", "", b"", 422),
            ("PUT", "/v1/collections/a%20b", "", b"", 422),
            ("PUT", "/v1/collections/c", JSON, b"{\"key_type\":\"int\"}", 422),
            ("PUT", "/v1/collections/c", JSON, b"{\"split_at\":[\"\"]}", 422),
            ("POST", "/v1/router/rebalance", JSON, b"{\"collection\":\"default\",\"split_at\":[]}", 422),
            ("POST", "/v1/router/rebalance", JSON, b"{\"collection\":\"default\"}", 422),
            ("POST", "/v1/compact?wait=maybe", "", b"", 400),
            ("GET", &long_key_target, "", b"", 404),
            ("GET", "/", "", b"", 404),
        ];
        for (method, target, lines, body, status) in table {
            let answer = talk.ask(method, target, lines, body).await;
            assert_eq!(
                answer.status,
                *status,
                "{method} {} {}",
                &target[..target.len().min(60)],
                answer.text()
            );
            assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{target}");
            let problem = answer.json();
            for member in ["type", "title", "status", "detail", "code", "request_id", "retryable"] {
                assert!(!problem[member].is_null(), "{member} of {problem}");
            }
            assert_eq!(answer.header("allow").is_some(), *status == 405, "{target}");
            if *status == 422
                || *status == 400 && *target != "/v1/kv/default/%zz" && *target != "/v1/kv/s/%ff"
            {
                let pointer = problem["errors"][0]["pointer"].as_str().expect("bad input is pointed at");
                assert!(pointer.is_empty() || pointer.starts_with('/'), "{pointer} is a JSON pointer");
            }
        }
        assert_eq!(get(&talk, "/v1/kv/default/1").await.text(), "kept");
        assert_eq!(get(&talk, "/v1/kv/s").await.json()["records"], json!([]));
    });
}

#[test]
fn what_cannot_be_given_as_accepted_is_refused() {
    serve_and(15, async |talk| {
        talk.ask("PUT", "/v1/kv/default/1", "Content-Type: text/plain\r\n", "x").await;
        for (accept, status, content_type) in [
            ("text/html", 406, "application/problem+json"),
            ("application/json;q=0", 406, "application/problem+json"),
            ("text/html, */*;q=0.1", 200, "application/json"),
            ("application/*", 200, "application/json"),
            ("application/jsonl", 200, "application/x-ndjson"),
            ("application/x-ndjson, application/json;q=0.5", 200, "application/x-ndjson"),
            ("application/x-ndjson;q=0.5, application/json", 200, "application/json"),
        ] {
            let answer = talk.ask("GET", "/v1/kv/default", &format!("Accept: {accept}\r\n"), "").await;
            assert_eq!(
                (answer.status, answer.header("content-type")),
                (status, Some(content_type)),
                "{accept}"
            );
        }
        let html = "Accept: text/html\r\n";
        for (method, target) in
            [("GET", "/v1/lookup?key=1"), ("GET", "/v1/collections"), ("GET", "/v1/router")]
        {
            assert_eq!(talk.ask(method, target, html, "").await.status, 406, "{target}");
        }
        assert_eq!(talk.ask("GET", "/v1/kv/default/1", html, "").await.status, 200, "a value is what it is");
    });
}

#[test]
fn snapshots_are_taken_listed_and_dropped() {
    serve_and(16, async |talk| {
        for key in 0..20 {
            talk.ask("PUT", &format!("/v1/kv/default/{key}"), "", "x").await;
        }
        assert_eq!(get(&talk, "/v1/snapshots").await.json(), json!({"snapshots": []}));
        let taken = talk.ask("POST", "/v1/snapshot?wait=true", "", "").await;
        let first = taken.json();
        assert_eq!((taken.status, &first["records"], &first["shards"]), (200, &json!(20), &json!(2)));

        let begun = talk.ask("POST", "/v1/snapshot", "", "").await;
        assert_eq!(begun.status, 202);
        let path = format!("/v1/operations/{}", begun.json()["operation"].as_str().expect("an id"));
        let over = loop {
            let told = get(&talk, &path).await.json();
            assert_eq!(told["kind"], "snapshot");
            match told["state"].as_str() {
                Some("running") => {
                    assert!(told["fraction"].as_f64().is_some_and(|done| done < 1.0), "{told}")
                }
                _ => break told,
            }
        };
        assert_eq!(
            (&over["state"], &over["fraction"], &over["eta_seconds"]),
            (&json!("done"), &json!(1.0), &Value::Null)
        );
        let both = json!({"snapshots": [first, over["result"]]});
        assert_eq!(get(&talk, "/v1/snapshots").await.json(), both);

        let one = format!("/v1/snapshots/{}", first["id"].as_str().expect("an id"));
        assert_eq!(talk.ask("DELETE", &one, "", "").await.status, 204);
        for (method, target, status, code) in [
            ("DELETE", one.as_str(), 404, "no_such_snapshot"),
            ("DELETE", "/v1/snapshots/..", 404, "no_such_snapshot"),
            ("DELETE", "/v1/snapshots/..%2Fshard-000", 404, "no_such_snapshot"),
            ("GET", "/v1/operations/7", 404, "no_such_operation"),
            ("GET", "/v1/snapshot", 405, "method_not_allowed"),
            ("POST", "/v1/snapshots", 405, "method_not_allowed"),
            ("GET", one.as_str(), 405, "method_not_allowed"),
            ("POST", "/v1/snapshot?wait=1", 400, "invalid_parameter"),
        ] {
            let answer = talk.ask(method, target, "", "").await;
            assert_eq!((answer.status, &answer.json()["code"]), (status, &json!(code)), "{method} {target}");
        }
        assert_eq!(get(&talk, "/v1/snapshots").await.json(), json!({"snapshots": [over["result"]]}));
    });
}

/// Asks until the operation is over, and gives how far it was at each look.
async fn followed(talk: &Talk, id: &str) -> (Value, Vec<f64>) {
    let mut fractions = Vec::new();
    loop {
        let told = get(talk, &format!("/v1/operations/{id}")).await.json();
        fractions.push(told["fraction"].as_f64().unwrap());
        if told["state"] != "running" {
            return (told, fractions);
        }
    }
}

#[test]
fn upkeep_is_done_when_asked_for_and_tells_what_was_done() {
    serve_and(22, async |talk| {
        let mut bulk = String::new();
        for key in 0..3000 {
            bulk += &format!("{{\"op\":\"put\",\"key\":{key},\"value\":\"{key:0100}\"}}\n");
        }
        assert_eq!(talk.ask("POST", "/v1/kv/default/bulk", "", &bulk).await.status, 200);
        let done = talk.ask("POST", "/v1/compact?wait=true", "", "").await.json();
        assert_eq!((&done["state"], &done["did"]), (&json!("done"), &json!("seal and compaction")));
        let shards = done["shards"].as_array().unwrap();
        assert!(shards.iter().any(|shard| shard["sealed_bytes"].as_u64() > Some(300_000)), "{done}");

        let done = talk.ask("POST", "/v1/rmi/build?wait=true", "", "").await.json();
        let indexes =
            done["shards"].as_array().unwrap().iter().flat_map(|shard| shard["indexes"].as_array().unwrap());
        let keys: u64 = indexes.clone().map(|index| index["keys"].as_u64().unwrap()).sum();
        assert_eq!(keys, 3000, "{done}");
        for index in indexes {
            assert!(
                ["learned", "splus"].contains(&index["single"]["structure"].as_str().unwrap()),
                "{index}"
            );
            assert!(index["single"]["reason"].is_string() && index["run"].is_string(), "{index}");
        }
        for key in [0, 1, 2999] {
            assert_eq!(get(&talk, &format!("/v1/kv/default/{key}")).await.body.len(), 100);
        }

        for (target, kind) in
            [("/v1/warmup?values=true", "warmup"), ("/v1/rmi/build", "rmi_build"), ("/v1/compact", "compact")]
        {
            let begun = talk.ask("POST", target, "", "").await;
            assert_eq!((begun.status, &begun.json()["state"]), (202, &json!("running")), "{target}");
            let (over, fractions) = followed(&talk, begun.json()["operation"].as_str().unwrap()).await;
            assert_eq!(
                (&over["state"], &over["kind"], &over["fraction"]),
                (&json!("done"), &json!(kind), &json!(1.0))
            );
            assert!(fractions.is_sorted(), "{fractions:?}");
            if kind == "warmup" {
                let values = over["result"]["shards"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|shard| shard["values"].as_u64().unwrap());
                assert_eq!(values.sum::<u64>(), 3000 - 3, "but those that were read before: {over}");
            }
        }
        let metrics = String::from_utf8(get(&talk, "/metrics").await.body).unwrap();
        for wanted in [
            "kind=\"seal\",reason=\"asked\"",
            "kind=\"index_rebuild\",reason=\"asked\"",
            "kyrodb_index_keys{",
            "kyrodb_index_probe_lines_bucket{",
        ] {
            assert!(metrics.contains(wanted), "{wanted} in {metrics}");
        }
        for (target, status) in [
            ("/v1/warmup?wait=maybe", 400),
            ("/v1/warmup?value=true", 400),
            ("/v1/rmi/build?values=true", 400),
        ] {
            assert_eq!(talk.ask("POST", target, "", "").await.status, status, "{target}");
        }
        assert_eq!(talk.ask("POST", "/v1/warmup", "", "{}").await.status, 422);
        assert_eq!(get(&talk, "/v1/warmup").await.status, 405);
    });
}

#[test]
fn a_collection_placed_by_hash_has_keys_and_no_order() {
    serve_and(24, async |talk| {
        let created = talk.ask("PUT", "/v1/collections/h", JSON, r#"{"placement":"hash"}"#).await;
        assert_eq!((created.status, &created.json()["placement"]), (201, &json!("hash")));
        assert_eq!(talk.ask("PUT", "/v1/collections/h", JSON, r#"{"placement":"range"}"#).await.status, 409);
        let lines: String =
            (0..200).map(|n| format!("{{\"op\":\"put\",\"key\":\"k{n}\",\"value\":\"v{n}\"}}\n")).collect();
        let bulk = talk.ask("POST", "/v1/kv/h/bulk", NDJSON, &lines).await;
        assert_eq!(bulk.text().lines().filter(|line| line.contains("\"status\":20")).count(), 200);
        assert_eq!(get(&talk, "/v1/kv/h/k7").await.text(), "v7");
        let found = talk.ask("POST", "/v1/kv/h/mget", JSON, r#"{"keys":["k199","none","k0"]}"#).await.json();
        let values: Vec<_> = (0..3).map(|n| found["records"][n]["value"].clone()).collect();
        assert_eq!(values, [json!("v199"), json!(null), json!("v0")]);
        assert_eq!(talk.ask("DELETE", "/v1/kv/h/k7", "", "").await.status, 204);
        let router = get(&talk, "/v1/router").await.json();
        let tablets = router["collections"][1]["tablets"].as_array().expect("of h").clone();
        assert!(tablets.iter().all(|tablet| tablet["records"].as_u64() > Some(60)), "{tablets:?}");
        for (method, target, body) in [
            ("GET", "/v1/kv/h", ""),
            ("GET", "/v1/kv/h?prefix=k&limit=3", ""),
            ("POST", "/v1/router/rebalance", r#"{"collection":"h","split_at":["k5"]}"#),
        ] {
            let answer = talk.ask(method, target, JSON, body).await;
            assert_eq!((answer.status, &answer.json()["code"]), (409, &json!("placed_by_hash")), "{target}");
        }
    });
}

#[test]
fn the_router_tells_loads_and_evens_out_when_asked() {
    serve_and(25, async |talk| {
        talk.ask("PUT", "/v1/kv/default/1", "", "x").await;
        let router = get(&talk, "/v1/router").await.json();
        assert_eq!((&router["shards"], router["loads"].as_array().map(Vec::len)), (&json!(2), Some(2)));
        let tablet = &router["collections"][0]["tablets"][0];
        assert_eq!(
            (&tablet["records"], &tablet["start"], &tablet["end"]),
            (&json!(1), &json!(null), &json!(null))
        );
        assert_eq!(router["largest_to_mean"]["records"], json!(2.0));
        let plan = talk.ask("POST", "/v1/router/rebalance?dry_run=true", "", "").await;
        assert_eq!(
            (plan.status, plan.json()),
            (200, json!({"dry_run": true, "steps": []})),
            "too little to move"
        );
        let done = talk.ask("POST", "/v1/router/rebalance?wait=true", "", "").await;
        assert_eq!((done.status, &done.json()["steps"]), (200, &json!(0)));
        let begun = talk.ask("POST", "/v1/router/rebalance", "", "").await;
        assert_eq!(begun.status, 202);
        talk.sleep(1).await;
        let id = begun.json()["operation"].as_str().expect("an id").to_owned();
        let over = get(&talk, &format!("/v1/operations/{id}")).await.json();
        assert_eq!((&over["kind"], &over["state"]), (&json!("rebalance"), &json!("done")));
        let metrics = get(&talk, "/metrics").await;
        assert!(metrics.text().contains("kyrodb_range_changes_total{reason=\"size\"} 0\n"));
    });
}

#[test]
fn the_service_routes_tell_how_the_node_is() {
    serve_and(14, async |talk| {
        assert_eq!(get(&talk, "/health").await.json(), json!({"status": "ok"}));
        assert_eq!(get(&talk, "/livez").await.status, 200);
        let ready = get(&talk, "/readyz?verbose").await;
        assert_eq!((ready.status, ready.json()["shards"].as_array().map(Vec::len)), (200, Some(2)));
        assert_eq!(get(&talk, "/build_info").await.json()["version"], env!("CARGO_PKG_VERSION"));
        talk.ask("PUT", "/v1/kv/default/1", "", "x").await;
        let compact = talk.ask("POST", "/v1/compact?wait=true", "", "").await;
        assert_eq!((compact.status, &compact.json()["state"]), (200, &json!("done")));
        let metrics = get(&talk, "/metrics").await;
        assert!(metrics.text().contains("kyrodb_requests_total{shard=\"0\",kind=\"put\"} 1\n"));
        assert!(
            metrics.header("content-type").is_some_and(|name| name.starts_with("text/plain; version=0.0.4"))
        );
    });
}
