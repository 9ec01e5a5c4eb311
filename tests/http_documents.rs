//! Collections of documents over HTTP, on a whole node of two shards in the simulator.

mod http;
mod support;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use http::{Answer, Served, Talk, plain_http};
use kyrodb::io::executor::Class;
use kyrodb::io::sim::{CrashPolicy, Rng};
use serde_json::{Value, json};

const JSON: &str = "Content-Type: application/json\r\n";
const NDJSON: &str = "Content-Type: application/x-ndjson\r\n";

fn serve_and(seed: u64, test: impl AsyncFnOnce(Talk) + 'static) {
    Served::start(seed, 2).talk(|talk| test(talk));
}

async fn post(talk: &Talk, target: &str, body: Value) -> Answer {
    talk.ask("POST", target, JSON, body.to_string()).await
}

async fn create(talk: &Talk, name: &str, definition: Value) {
    let answer = talk.ask("PUT", &format!("/v1/collections/{name}"), JSON, definition.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
}

fn pointer(answer: &Answer) -> (u16, String) {
    let at = answer.json()["errors"][0]["pointer"].as_str().unwrap_or("none").to_owned();
    (answer.status, at)
}

#[test]
fn documents_come_change_and_go() {
    serve_and(1, async |talk| {
        let fields = json!({"year": "i64", "tags": "keyword[]"});
        create(&talk, "d", json!({"embedding": {"dim": 2, "metric": "cosine"}, "fields": fields})).await;
        let told = talk.ask("GET", "/v1/collections/d", "", "").await.json();
        assert_eq!(told["embedding"], json!({"dim": 2, "metric": "cosine", "quantization": "f32"}));
        assert_eq!(told["fields"], fields);
        let indexes = [("embedding", "vector"), ("tags", "keyword[]"), ("year", "i64")]
            .map(|(field, kind)| json!({"field": field, "kind": kind}));
        assert_eq!(told["indexes"], json!(indexes));
        assert_eq!(talk.ask("GET", "/v1/collections/default", "", "").await.json()["indexes"], json!([]));

        let metadata = json!({"year": 1990, "tags": ["a", "b"], "more": {"x": 1.5}});
        let document =
            json!({"id": "one", "text": "caf\u{e9}", "embedding": [0.5, -1], "metadata": metadata});
        let put = post(&talk, "/v1/collections/d", document.clone()).await;
        assert_eq!((put.status, put.json()["id"].clone()), (201, json!("one")));
        let got = talk.ask("GET", "/v1/collections/d/docs/one", "", "").await;
        assert_eq!(got.json(), document);
        let seq = put.json()["seq"].to_string();
        assert_eq!(got.header("etag"), Some(format!("\"{seq}\"").as_str()));
        let same = format!("If-None-Match: \"{seq}\"\r\n");
        assert_eq!(talk.ask("GET", "/v1/collections/d/docs/one", &same, "").await.status, 304);
        assert_eq!(code(&post(&talk, "/v1/collections/d", document).await), (409, "document_exists".into()));

        let made = post(&talk, "/v1/collections/d", json!({"text": "no id"})).await.json()["id"].clone();
        let target = format!("/v1/collections/d/docs/{}", made.as_str().expect("a string"));
        assert_eq!(talk.ask("GET", &target, "", "").await.json()["text"], "no id");

        let patch = json!({"year": 1991, "tags": null, "more": {"y": true}}).to_string();
        let lines = format!("Content-Type: application/merge-patch+json\r\nIf-Match: \"{seq}\"\r\n");
        let one = "/v1/collections/d/docs/one";
        assert_eq!(talk.ask("PATCH", one, &lines, &patch).await.status, 200);
        assert_eq!(talk.ask("PATCH", one, &lines, &patch).await.status, 412, "it is another version now");
        let patched = talk.ask("GET", one, "", "").await.json();
        assert_eq!(patched["metadata"], json!({"year": 1991, "more": {"x": 1.5, "y": true}}));
        assert_eq!((&patched["text"], &patched["embedding"]), (&json!("caf\u{e9}"), &json!([0.5, -1])));
        assert_eq!(pointer(&talk.ask("PATCH", one, JSON, r#"{"year":"x"}"#).await), (422, "/year".into()));
        assert_eq!(talk.ask("PATCH", "/v1/collections/d/docs/two", JSON, "{}").await.status, 404);

        let replaced = talk.ask("PUT", one, JSON, r#"{"text":"new"}"#).await;
        assert_eq!(replaced.status, 200);
        assert_eq!(
            talk.ask("GET", one, "", "").await.json(),
            json!({"id": "one", "text": "new", "metadata": {}})
        );
        let other = talk.ask("PUT", one, JSON, r#"{"id":"two"}"#).await;
        assert_eq!(pointer(&other), (422, "/id".into()));
        assert_eq!(talk.ask("DELETE", one, "", "").await.status, 204);
        assert_eq!(talk.ask("GET", one, "", "").await.status, 404);
        assert_eq!(talk.ask("DELETE", one, "", "").await.status, 404);
    });
}

#[test]
fn an_insert_takes_the_condition_that_it_can_meet() {
    serve_and(13, async |talk| {
        create(&talk, "d", json!({"fields": {}})).await;
        let insert = async |lines: &str, body: &str| {
            code(&talk.ask("POST", "/v1/collections/d", &format!("{JSON}{lines}"), body).await)
        };
        let done = (201, String::new());
        let absent = "If-None-Match: *\r\n";
        assert_eq!(insert(absent, r#"{"id":"a"}"#).await, done);
        assert_eq!(insert(absent, r#"{"id":"a"}"#).await, (412, "condition_failed".into()));
        assert_eq!(insert("", r#"{"id":"a"}"#).await, (409, "document_exists".into()));
        assert_eq!(insert(absent, "{}").await, done);
        for never in ["If-Match: *\r\n", "If-Match: \"1\"\r\n", "If-Match: 1\r\n", "If-None-Match: \"1\"\r\n"]
        {
            for body in [r#"{"id":"a"}"#, r#"{"id":"b"}"#, "{}"] {
                assert_eq!(insert(never, body).await, (400, "invalid_header".into()), "{never} {body}");
            }
        }
        assert_eq!(post(&talk, "/v1/collections/d/count", json!({})).await.json(), json!({"count": 2}));
    });
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    serve_and(2, async |talk| {
        create(&talk, "d", json!({"embedding": {"dim": 3, "metric": "l2"}, "fields": {"year": "i64"}})).await;
        create(&talk, "plain", json!({"fields": {}})).await;
        create(&talk, "values", json!({})).await;
        let insert = "/v1/collections/d";
        for (target, body, at) in [
            (insert, json!({"embedding": [1, 2]}), "/embedding"),
            (insert, json!({"embedding": [1, 2, "3"]}), "/embedding/2"),
            (insert, json!({"embedding_b64": "AAAA"}), "/embedding_b64"),
            (insert, json!({"metadata": {"year": "old"}}), "/metadata/year"),
            (insert, json!({"metadata": []}), "/metadata"),
            (insert, json!({"vector": [1, 2, 3]}), "/vector"),
            ("/v1/collections/plain", json!({"embedding": [1]}), "/embedding"),
            ("/v1/collections/d/search", json!({}), "/embedding"),
            ("/v1/collections/d/search", json!({"embedding": [1]}), "/embedding"),
            (
                "/v1/collections/d/search",
                json!({"embedding": [1, 2, 3], "filter": {"year": {"$near": 1}}}),
                "/filter/year/$near",
            ),
            (
                "/v1/collections/d/search",
                json!({"embedding": [1, 2, 3], "filter": {"year": "x"}}),
                "/filter/year",
            ),
            ("/v1/collections/d/search", json!({"embedding": [1, 2, 3], "limit": 0}), "/limit"),
            ("/v1/collections/d/search", json!({"embedding": [1, 2, 3], "include": ["all"]}), "/include/0"),
            ("/v1/collections/d/search", json!({"embedding": [1, 2, 3], "cursor": "x"}), "/cursor"),
            ("/v1/collections/d/search", json!({"embedding": [1, 2, 3], "top_k": 3}), "/top_k"),
            ("/v1/collections/plain/search", json!({"embedding": [1, 2, 3]}), ""),
            ("/v1/collections/d/count", json!({"filter": {"$xor": []}}), "/filter/$xor"),
        ] {
            assert_eq!(
                pointer(&post(&talk, target, body.clone()).await),
                (422, at.to_owned()),
                "{target} {body}"
            );
        }
        let none = post(&talk, "/v1/collections/plain/search", json!({"filter": {"year": 1}})).await.json();
        let none = none["detail"].as_str().expect("a detail");
        assert!(none.contains("no embeddings to search") && none.contains("/count"), "{none}");
        let malformed = talk.ask("POST", insert, JSON, r#"{"embedding":[1,2,"#).await;
        assert_eq!(code(&malformed), (400, "malformed_json".into()));
        assert_eq!(malformed.json()["detail"], "the body is not JSON: at byte 18");
        let latin = talk.ask("POST", insert, JSON, b"{\"text\":\"\xe9\"}").await;
        assert_eq!(latin.json()["detail"], "the body is not UTF-8");
        for (target, line, wanted) in [
            ("d", "x", "the line is not JSON: at byte 0"),
            ("d", "[]", "the line: is not an object"),
            ("values", "x", "the line is not JSON: expected value at line 1 column 1"),
            ("values", "[]", "the line: is not a JSON object"),
        ] {
            let kind = if target == "d" { "collections" } else { "kv" };
            let told = talk.ask("POST", &format!("/v1/{kind}/{target}/bulk"), NDJSON, line).await;
            assert_eq!(told.lines()[0]["detail"], wanted, "{target} {line}");
        }
        let others = (409, "other_records".to_owned());
        assert_eq!(code(&post(&talk, "/v1/collections/values", json!({})).await), others);
        assert_eq!(
            code(&post(&talk, "/v1/collections/values/search", json!({"embedding": [1]})).await),
            others
        );
        assert_eq!(code(&talk.ask("PUT", "/v1/kv/d/x", "", "value").await), others);
        assert_eq!(code(&talk.ask("POST", "/v1/kv/d/bulk", NDJSON, "{}").await), others);
        assert_eq!(talk.ask("POST", "/v1/collections/none/count", JSON, "{}").await.status, 404);
    });
}

#[test]
fn documents_are_seen_among_values_as_their_json() {
    serve_and(11, async |talk| {
        create(&talk, "d", json!({"embedding": {"dim": 2, "metric": "l2"}, "fields": {}})).await;
        let long = "\u{e9}\"\n".repeat(50_000);
        let document = |id: u64| json!({"id": id.to_string(), "text": long, "embedding": [id, 0.1], "metadata": {"n": [id, null]}});
        for id in 0..4 {
            assert_eq!(post(&talk, "/v1/collections/d", document(id)).await.status, 201);
        }
        let own = talk.ask("GET", "/v1/collections/d/docs/2", "", "").await;
        let seen = talk.ask("GET", "/v1/kv/d/2", "", "").await;
        assert_eq!((seen.status, seen.text(), seen.header("etag")), (200, own.text(), own.header("etag")));
        assert_eq!(seen.json(), document(2));
        let tag = format!("If-None-Match: {}\r\n", seen.header("etag").unwrap());
        assert_eq!(talk.ask("GET", "/v1/kv/d/2", &tag, "").await.status, 304);
        let many = post(&talk, "/v1/kv/d/mget", json!({"keys": ["3", "none", "1"]})).await.json();
        assert_eq!(
            many["records"],
            json!([
                {"key": "3", "value": document(3), "seq": 4}, null, {"key": "1", "value": document(1), "seq": 2},
            ])
        );
        let page = talk.ask("GET", "/v1/kv/d?start=1&limit=2", "", "").await.json();
        let values: Vec<&Value> =
            page["records"].as_array().unwrap().iter().map(|one| &one["value"]).collect();
        assert_eq!(values, [&document(1), &document(2)]);
        let lines = talk.ask("GET", "/v1/kv/d?exact=true", "Accept: application/x-ndjson\r\n", "").await;
        let lines: Vec<Value> =
            lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(
            lines[0],
            json!({"key": "0", "value": document(0), "content_type": "application/json", "seq": 1})
        );
        assert_eq!(talk.ask("HEAD", "/v1/kv/d/2", "", "").await.header("etag"), seen.header("etag"));
        let backward = talk.ask("GET", "/v1/kv/d?reverse=true&limit=1", "", "").await.json();
        assert_eq!(backward["records"][0]["value"], document(3));
        assert_eq!(talk.ask("DELETE", "/v1/kv/d/2", "If-Match: \"1\"\r\n", "").await.status, 412);
        let once = "Idempotency-Key: gone\r\n";
        assert_eq!(talk.ask("DELETE", "/v1/kv/d/2", once, "").await.status, 204);
        let again = talk.ask("DELETE", "/v1/collections/d/docs/2", once, "").await;
        assert_eq!((again.status, again.header("idempotency-replayed")), (204, Some("true")));
        assert_eq!(talk.ask("GET", "/v1/collections/d/docs/2", "", "").await.status, 404);
        let found =
            post(&talk, "/v1/collections/d/search", json!({"embedding": [2, 0], "limit": 9})).await.json();
        assert_eq!(found["hits"].as_array().unwrap().len(), 3);
    });
}

/// Each line is acknowledged when that was reached, as the answer to one write is.
#[test]
fn a_bulk_says_how_durable_its_lines_are() {
    serve_and(18, async |talk| {
        create(&talk, "d", json!({"fields": {}, "durability": "interval"})).await;
        let (values, documents) = ("{\"op\":\"put\",\"key\":1,\"value\":1}\n", "{\"id\":\"a\"}\n");
        for (target, body, own) in
            [("/v1/kv/default/bulk", values, "fsync"), ("/v1/collections/d/bulk", documents, "interval")]
        {
            for (asked, reached) in [("", own), ("Kyro-Durability: memory\r\n", "memory")] {
                let answer = talk.ask("POST", target, &format!("{NDJSON}{asked}"), body).await;
                assert_eq!(answer.header("kyro-durability"), Some(reached), "{target}");
                assert!(answer.lines()[0]["seq"].is_u64());
            }
        }
    });
}

#[test]
fn lines_of_documents_say_how_long_they_live() {
    serve_and(12, async |talk| {
        create(&talk, "d", json!({"fields": {}})).await;
        let lines = "{\"id\":\"a\",\"ttl\":\"1s\"}\n{\"id\":\"b\",\"expires_ms\":1}\n{\"id\":\"c\",\"ttl\":null}\n\
                     {\"id\":\"d\",\"expires_ms\":99999999999999}\n{\"id\":\"e\",\"ttl\":\"soon\"}\n\
                     {\"id\":\"f\",\"ttl\":\"1s\",\"expires_ms\":1}\n{\"id\":\"g\",\"expires_ms\":-1}\n";
        let told = talk.ask("POST", "/v1/collections/d/bulk", NDJSON, lines).await;
        let statuses: Vec<Value> = told
            .text()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["status"].clone())
            .collect();
        assert_eq!(statuses, [201, 201, 201, 201, 422, 422, 422]);
        talk.sleep(2).await;
        let exact = talk.ask("GET", "/v1/kv/d?exact=true", "Accept: application/x-ndjson\r\n", "").await;
        let left: Vec<Value> = exact.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let left: Vec<(&Value, &Value)> =
            left.iter().map(|line| (&line["key"], &line["expires_ms"])).collect();
        assert_eq!(left, [(&json!("c"), &Value::Null), (&json!("d"), &json!(99_999_999_999_999_u64))]);
        let alone = post(&talk, "/v1/collections/d", json!({"id": "h", "ttl": "1s"})).await;
        assert_eq!(pointer(&alone), (422, "/ttl".to_owned()), "there it is a parameter");
    });
}

/// What a collection of documents has, and what a search of it gives: by brute force.
#[derive(Default)]
struct Model {
    documents: BTreeMap<u64, (Vec<f32>, i64)>,
}

impl Model {
    /// Negative squared distances, best first, of what the filter lets through.
    fn search(&self, query: &[f32], from_year: i64, limit: usize) -> Vec<(f32, u64)> {
        let live = self.documents.iter().filter(|(_, (_, year))| *year >= from_year);
        let score = |vector: &[f32]| -vector.iter().zip(query).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
        let mut all: Vec<(f32, u64)> = live.map(|(id, (vector, _))| (score(vector), *id)).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        all.truncate(limit);
        all
    }
}

const DIMENSION: usize = 8;

/// Whole numbers, so that every way to add them up gives the same.
fn vector(rng: &mut Rng) -> Vec<f32> {
    (0..DIMENSION).map(|_| (rng.next_u64() % 64) as f32 - 32.0).collect()
}

fn line(id: u64, vector: &[f32], year: i64) -> String {
    json!({"id": id, "embedding": vector, "metadata": {"year": year, "free": year % 3}}).to_string() + "\n"
}

async fn load(talk: &Talk, rng: &mut Rng, model: &mut Model, ids: impl Iterator<Item = u64>) {
    let mut body = String::new();
    for id in ids {
        let (vector, year) = (vector(rng), 1900 + (rng.next_u64() % 100) as i64);
        body += &line(id, &vector, year);
        model.documents.insert(id, (vector, year));
    }
    let answer = talk.ask("POST", "/v1/collections/d/bulk", NDJSON, &body).await;
    for told in answer.text().lines() {
        let told: Value = serde_json::from_str(told).expect("JSON");
        assert!([200, 201].contains(&told["status"].as_u64().expect("a status")), "{told}");
    }
    assert_eq!(answer.text().lines().count(), body.lines().count());
}

/// Of these, those that are there.
async fn remove(talk: &Talk, model: &mut Model, ids: impl Iterator<Item = u64>) {
    let there = ids.filter(|id| model.documents.remove(id).is_some());
    let body: String = there.map(|id| json!({"op": "delete", "id": id}).to_string() + "\n").collect();
    let answer = talk.ask("POST", "/v1/collections/d/bulk", NDJSON, &body).await;
    assert!(answer.text().lines().all(|line| line.starts_with("{\"status\":204")), "{}", answer.text());
    assert_eq!(answer.text().lines().count(), body.lines().count());
}

async fn hits(talk: &Talk, mut body: Value, exact: bool) -> Vec<(f32, u64)> {
    if exact {
        body["exact"] = true.into();
    }
    let answer = post(talk, "/v1/collections/d/search", body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let hits = answer.json()["hits"].as_array().expect("hits").clone();
    let hit =
        |hit: &Value| (hit["score"].as_f64().expect("a score") as f32, hit["id"].as_u64().expect("an id"));
    hits.iter().map(hit).collect()
}

/// Exact searches give what brute force gives; others nearly all of it, and always as many.
async fn assert_finds(talk: &Talk, rng: &mut Rng, model: &Model, queries: usize) {
    let (found, wanted) = assert_finds_exactly(talk, rng, model, queries).await;
    assert!(found as f64 >= 0.97 * wanted as f64, "{found} of {wanted}");
}

/// Gives how many of the nearest the other searches found, of how many.
async fn assert_finds_exactly(talk: &Talk, rng: &mut Rng, model: &Model, queries: usize) -> (usize, usize) {
    let (mut wanted_hits, mut found_hits) = (0, 0);
    for at in 0..queries {
        let (query, from) = (vector(rng), [0, 1950, 1990, 1999][at % 4]);
        let wanted = model.search(&query, from, 10);
        let body = json!({"embedding": query, "filter": {"year": {"$gte": from}}});
        assert_eq!(hits(talk, body.clone(), true).await, wanted, "{body}");
        let found = hits(talk, body, false).await;
        assert_eq!(found.len(), wanted.len());
        let worst = wanted.last().map_or(f32::MIN, |hit| hit.0);
        wanted_hits += wanted.len();
        found_hits += found.iter().filter(|hit| hit.0 >= worst).count();
    }
    let count = post(talk, "/v1/collections/d/count", json!({"filter": {"year": {"$gte": 1950}}})).await;
    let wanted = model.documents.values().filter(|(_, year)| *year >= 1950).count();
    assert_eq!(count.json()["count"], wanted);
    // A field that is not declared.
    let count = post(talk, "/v1/collections/d/count", json!({"filter": {"free": 1}})).await;
    assert_eq!(count.json()["count"], model.documents.values().filter(|(_, year)| year % 3 == 1).count());
    (found_hits, wanted_hits)
}

fn definition() -> Value {
    let fields = json!({"year": "i64"});
    json!({"key_type": "u64", "embedding": {"dim": DIMENSION, "metric": "l2"}, "fields": fields})
}

#[test]
fn merges_of_indexes_are_told_while_they_run() {
    serve_and(13, async |talk| {
        create(&talk, "d", definition()).await;
        let (rng, mut model, mut seen) = (&mut Rng::new(7), Model::default(), Vec::new());
        let operations = async || {
            let told = talk.ask("GET", "/v1/operations", "", "").await;
            assert_eq!(told.status, 200);
            told.json()["operations"].as_array().expect("a list").clone()
        };
        assert!(operations().await.is_empty());
        for round in 0..4 {
            load(&talk, rng, &mut model, round * 1500..(round + 1) * 1500).await;
            for _ in 0..200 {
                seen.extend(operations().await);
            }
        }
        let merge = seen.iter().find(|one| one["kind"] == "index_merge").expect("a merge");
        assert_eq!((&merge["collection"], &merge["state"]), (&json!("d"), &json!("running")));
        assert!(seen.iter().all(|one| (0.0..=1.0).contains(&one["fraction"].as_f64().expect("a number"))));
        for _ in 0..60 {
            if operations().await.is_empty() {
                return;
            }
            talk.sleep(1).await;
        }
        panic!("a merge without an end");
    });
}

#[test]
fn searches_find_what_brute_force_finds() {
    let mut served = Served::start(3, 2);
    let model = served.talk(async |talk: Talk| {
        create(&talk, "d", definition()).await;
        let (rng, mut model) = (&mut Rng::new(7), Model::default());
        assert_finds(&talk, rng, &model, 2).await;
        load(&talk, rng, &mut model, 0..300).await;
        assert_finds(&talk, rng, &model, 40).await;
        // Enough for a graph and for merges, over both shards.
        load(&talk, rng, &mut model, 300..5000).await;
        assert_finds(&talk, rng, &model, 40).await;
        // Replaced and deleted.
        load(&talk, rng, &mut model, (0..5000).step_by(3)).await;
        remove(&talk, &mut model, (0..5000).step_by(5)).await;
        assert_finds(&talk, rng, &model, 40).await;
        talk.sleep(30).await;
        assert_finds(&talk, rng, &model, 40).await;
        let body = json!({"embedding": vector(rng), "explain": true});
        let explained = post(&talk, "/v1/collections/d/search", body).await.json();
        let parts = explained["explain"]["parts"].as_array().expect("parts").clone();
        assert!(parts.iter().any(|part| part["sealed"] == true), "nothing was merged: {parts:?}");
        let split = json!({"collection": "d", "split_at": [1000, 2500, 4000]});
        let moved = post(&talk, "/v1/router/rebalance?wait=true", split).await;
        assert!(moved.status < 300 || moved.status == 409, "{}", moved.text());
        assert_finds(&talk, rng, &model, 40).await;
        model
    });
    if http::is_real() {
        return;
    }
    // The index is made anew of the records.
    let disk = served.simulated().sim.crash(CrashPolicy::KeepNothing);
    drop(served);
    Served::start_on(4, 2, disk, plain_http()).talk(async move |talk: Talk| {
        assert_finds(&talk, &mut Rng::new(8), &model, 40).await;
    });
}

/// Documents that were deleted or replaced while their part was merged came back.
#[test]
fn what_changes_while_parts_are_merged_stays_changed() {
    for seed in 0..3 {
        serve_and(seed, async move |talk| {
            create(&talk, "d", definition()).await;
            let (rng, mut model) = (&mut Rng::new(seed), Model::default());
            load(&talk, rng, &mut model, 0..2500).await;
            let (mut found, mut wanted) = (0, 0);
            for _ in 0..40 {
                let at = rng.next_u64() % 2300;
                load(&talk, rng, &mut model, at..at + 200).await;
                let at = rng.next_u64() % 2400;
                remove(&talk, &mut model, at..at + 100).await;
                let one = assert_finds_exactly(&talk, rng, &model, 1).await;
                (found, wanted) = (found + one.0, wanted + one.1);
            }
            assert!(found as f64 >= 0.97 * wanted as f64, "{found} of {wanted}");
        });
    }
}

/// A core with the map of before asked for a range that had just become smaller, and was told what was left of it. And a
/// document that was replaced during a search was in neither of the parts where it was looked for.
#[test]
fn what_is_there_all_the_time_is_counted_and_found_all_the_time() {
    const IDS: u64 = 400;
    for seed in 0..6 {
        serve_and(seed, async move |talk| {
            create(&talk, "d", definition()).await;
            let (rng, mut model) = (&mut Rng::new(seed), Model::default());
            load(&talk, rng, &mut model, 0..IDS).await;
            let over = Rc::new(Cell::new(false));
            let (writer, ends) = (talk.clone(), over.clone());
            let vectors: Vec<Vec<f32>> = model.documents.values().map(|(vector, _)| vector.clone()).collect();
            let written = vectors.clone();
            talk.runtime.spawn(Class::Foreground, async move {
                for at in (0..).map(|at| at * 7 % IDS).filter(|at| at % 100 != 50) {
                    let body: String = (at..(at + 20).min(IDS))
                        .filter(|at| at % 100 != 50)
                        .map(|id| line(id, &written[id as usize], 1900))
                        .collect();
                    writer.ask("POST", "/v1/collections/d/bulk", NDJSON, body).await;
                    if ends.get() {
                        return;
                    }
                }
            });
            let (splitter, split) = (talk.clone(), json!({"collection": "d", "split_at": [100, 200, 300]}));
            talk.runtime.spawn(Class::Foreground, async move {
                let moved = post(&splitter, "/v1/router/rebalance", split).await;
                assert!(moved.status < 300, "{}", moved.text());
            });
            for round in 0..40_u64 {
                let id = round * 100 % IDS + 50;
                let body = json!({"embedding": vectors[id as usize], "limit": 1});
                assert_eq!(
                    hits(&talk, body, round % 2 == 0).await,
                    [(0.0, id)],
                    "seed {seed}, round {round}"
                );
                let count = post(&talk, "/v1/collections/d/count", json!({})).await.json();
                assert_eq!(count["count"], IDS, "seed {seed}, round {round}");
                // Those that are being replaced among them.
                let body = json!({"embedding": vectors[id as usize], "limit": IDS});
                let all: BTreeSet<u64> =
                    hits(&talk, body, round % 2 == 0).await.iter().map(|hit| hit.1).collect();
                assert_eq!(all.len() as u64, IDS, "seed {seed}, round {round}");
            }
            over.set(true);
        });
    }
}

/// Their deletion takes a while: nobody waits for it, and none of their places is left empty.
#[test]
fn what_is_over_takes_no_place_among_the_hits() {
    serve_and(1, async |talk| {
        create(&talk, "d", definition()).await;
        let lines = |ids: std::ops::Range<u64>, at: f32, more: Value| -> String {
            let line = |id| {
                let mut line = json!({"id": id, "embedding": vec![at; DIMENSION]});
                line.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
                line.to_string() + "\n"
            };
            ids.map(line).collect()
        };
        let body = lines(0..1000, 0.0, json!({"ttl": "2s"})) + &lines(1000..1020, 5.0, json!({}));
        talk.ask("POST", "/v1/collections/d/bulk", NDJSON, &body).await;
        let search = json!({"embedding": vec![0.0; DIMENSION], "limit": 15});
        assert!(hits(&talk, search.clone(), false).await.iter().all(|hit| hit.1 < 1000));
        talk.runtime.sleep(std::time::Duration::from_micros(2_000_500)).await;
        let count = post(&talk, "/v1/collections/d/count", json!({})).await.json();
        assert_eq!(count["count"], 20);
        for exact in [false, true] {
            let found = hits(&talk, search.clone(), exact).await;
            assert_eq!(found.iter().map(|hit| hit.1).collect::<Vec<_>>(), (1000..1015).collect::<Vec<_>>());
        }
    });
}

/// All ids of a search, page by page, and how many each page had.
async fn page_through(talk: &Talk, mut body: Value) -> (Vec<u64>, Vec<usize>) {
    let (mut all, mut lens) = (Vec::new(), Vec::new());
    loop {
        let page = post(talk, "/v1/collections/d/search", body.clone()).await.json();
        let hits = page["hits"].as_array().expect("hits");
        assert!(hits.iter().all(|hit| hit.get("metadata").is_none()));
        all.extend(hits.iter().map(|hit| hit["id"].as_u64().expect("an id")));
        lens.push(hits.len());
        if page["cursor"].is_null() {
            return (all, lens);
        }
        body["cursor"] = page["cursor"].clone();
    }
}

#[test]
fn pages_lose_nothing_where_many_are_alike() {
    serve_and(6, async |talk| {
        create(&talk, "d", definition()).await;
        // Ids in another order than that in which they are written.
        let ids: Vec<u64> = (0..120).map(|at| at * 77 % 120).collect();
        for (at, id) in ids.iter().enumerate() {
            let embedding = if at % 6 == 5 { [at; DIMENSION] } else { [1; DIMENSION] };
            let target = format!("/v1/collections/d/docs/{id}");
            let body = json!({"embedding": embedding}).to_string();
            assert_eq!(talk.ask("PUT", &target, JSON, body).await.status, 201);
        }
        for (limit, exact) in [(7, true), (7, false), (40, true), (1, true)] {
            let body =
                json!({"embedding": vec![1; DIMENSION], "limit": limit, "exact": exact, "include": []});
            let (mut all, lens) = page_through(&talk, body).await;
            assert!(lens[..lens.len() - 1].iter().all(|len| *len == limit), "{lens:?}");
            all.sort_unstable();
            assert_eq!(all, (0..120).collect::<Vec<_>>(), "limit {limit}, exact {exact}");
        }
    });
}

#[test]
fn a_cursor_is_for_the_same_embedding_and_filter() {
    serve_and(7, async |talk| {
        create(&talk, "d", definition()).await;
        load(&talk, &mut Rng::new(9), &mut Model::default(), 0..20).await;
        let body = json!({"embedding": vec![1; DIMENSION], "limit": 3});
        let cursor = post(&talk, "/v1/collections/d/search", body).await.json()["cursor"].clone();
        for (embedding, filter, status) in [
            ([1; DIMENSION], Value::Null, 200),
            ([2; DIMENSION], Value::Null, 422),
            ([1; DIMENSION], json!({}), 422),
        ] {
            let body = json!({"embedding": embedding, "filter": filter, "limit": 5, "cursor": cursor});
            assert_eq!(post(&talk, "/v1/collections/d/search", body).await.status, status);
        }
    });
}

#[test]
fn pages_of_a_search_follow_one_another() {
    serve_and(5, async |talk| {
        create(&talk, "d", definition()).await;
        let (rng, mut model) = (&mut Rng::new(9), Model::default());
        load(&talk, rng, &mut model, 0..100).await;
        let query = vector(rng);
        let body = json!({"embedding": query, "limit": 7, "exact": true, "include": ["score"]});
        let (all, _) = page_through(&talk, body).await;
        let wanted: Vec<u64> = model.search(&query, 0, 100).into_iter().map(|hit| hit.1).collect();
        assert_eq!(all, wanted);
        let explained = post(&talk, "/v1/collections/d/search", json!({"embedding": query, "explain": true}))
            .await
            .json();
        assert_eq!(explained["explain"]["documents"], 100);
        assert_eq!(explained["metric"], "l2");
    });
}
