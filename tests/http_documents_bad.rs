//! Bad input to collections of documents: each mistake has its status and its place, on its own and as a line of a bulk,
//! and changes nothing: everything that can be read is read before and after.

mod http;
mod support;

use http::{Answer, Served, Talk};
use serde_json::{Value, json};

const JSON: &str = "Content-Type: application/json\r\n";
const NDJSON: &str = "Content-Type: application/x-ndjson\r\n";
const DOCUMENTS: u64 = 9;

/// One of three numbers under cosine with a field of each type, one whose numbers are stored as f16, one without
/// embeddings.
const COLLECTIONS: [&str; 3] = ["full", "half", "plain"];

fn definition(name: &str) -> Value {
    let fields = json!({
        "year": "i64", "rating": "f64", "open": "bool", "name": "keyword", "tags": "keyword[]", "at": "timestamp",
        "author.born": "i64",
    });
    match name {
        "full" => json!({ "embedding": { "dim": 3, "metric": "cosine" }, "fields": fields }),
        "half" => {
            json!({ "key_type": "u64", "embedding": { "dim": 3, "metric": "l2", "quantization": "f16" } })
        }
        _ => json!({ "fields": fields }),
    }
}

fn document(name: &str, n: u64) -> Value {
    let id = if name == "half" { json!(n) } else { json!(format!("d{n}")) };
    let metadata = json!({ "year": 1990 + n, "tags": [format!("t{}", n % 3)], "free": { "n": n } });
    match name {
        "plain" => json!({ "id": id, "text": format!("text {n}"), "metadata": metadata }),
        _ => json!({ "id": id, "text": format!("text {n}"), "embedding": [n, 1, 2], "metadata": metadata }),
    }
}

fn path_of(name: &str, n: u64) -> String {
    let id = if name == "half" { n.to_string() } else { format!("d{n}") };
    format!("/v1/collections/{name}/docs/{id}")
}

async fn set_up(talk: &Talk) {
    for name in COLLECTIONS {
        let answer =
            talk.ask("PUT", &format!("/v1/collections/{name}"), JSON, definition(name).to_string()).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let body: String = (0..DOCUMENTS).map(|n| document(name, n).to_string() + "\n").collect();
        let answer = talk.ask("POST", &format!("/v1/collections/{name}/bulk"), NDJSON, body).await;
        assert!(answer.lines().iter().all(|line| line["status"] == 201), "{}", answer.text());
    }
    assert_eq!(
        talk.ask("PUT", "/v1/kv/default/1", "Content-Type: text/plain\r\n", "value").await.status,
        201
    );
}

/// Everything that can be read: collections, documents with their versions, what searches and counts find, values.
async fn everything(talk: &Talk) -> Vec<String> {
    let mut all = vec![talk.ask("GET", "/v1/collections", "", "").await.text().to_owned()];
    for name in COLLECTIONS {
        let path = format!("/v1/collections/{name}");
        all.push(talk.ask("GET", &path, "", "").await.json()["records"].to_string());
        for n in 0..DOCUMENTS {
            let answer = talk.ask("GET", &path_of(name, n), "", "").await;
            all.push(format!("{:?} {}", answer.header("etag"), answer.text()));
        }
        for filter in
            [json!({}), json!({ "year": { "$gte": 1995 } }), json!({ "free.n": 3 }), json!({ "tags": "t1" })]
        {
            let body = json!({ "filter": filter }).to_string();
            all.push(talk.ask("POST", &format!("{path}/count"), JSON, body).await.text().to_owned());
            for exact in [true, false] {
                let body = json!({
                    "embedding": [1, 2, 3], "filter": filter, "limit": 100, "exact": exact,
                    "include": ["text", "metadata", "embedding", "score"],
                });
                let found = talk.ask("POST", &format!("{path}/search"), JSON, body.to_string()).await;
                all.push(found.text().replace(found.json()["request_id"].as_str().unwrap_or("none"), ""));
            }
        }
    }
    all.push(talk.ask("GET", "/v1/kv/default", "", "").await.text().to_owned());
    all
}

fn told(answer: &Answer) -> (u16, String) {
    let problem = answer.json();
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{problem}");
    for member in ["type", "title", "status", "detail", "code", "request_id"] {
        assert!(!problem[member].is_null(), "{member}: {problem}");
    }
    assert_eq!(problem["retryable"], false, "{problem}");
    if problem["code"] == "malformed_json" {
        // How far the text was read is no place that a test should know.
        return (answer.status, String::new());
    }
    (answer.status, problem["errors"][0]["pointer"].as_str().unwrap_or("none").to_owned())
}

fn base64(numbers: &[f32]) -> String {
    use base64::Engine;
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Mistakes that are told with a pointer, and the pointer; without one the text is no JSON, and the status 400.
type Mistakes = Vec<(String, &'static str)>;

fn mistakes(of: &[(&str, &'static str)]) -> Mistakes {
    of.iter().map(|(text, at)| ((*text).to_owned(), *at)).collect()
}

/// Of an embedding of three numbers under cosine: the member and what is wrong with it.
fn embeddings() -> Mistakes {
    let mut all = mistakes(&[
        (r#""embedding":[1,2]"#, "/embedding"),
        (r#""embedding":[1,2,3,4]"#, "/embedding"),
        (r#""embedding":[]"#, "/embedding"),
        (r#""embedding":{}"#, "/embedding"),
        (r#""embedding":"AAAA""#, "/embedding"),
        (r#""embedding":1"#, "/embedding"),
        (r#""embedding":[1,2,"3"]"#, "/embedding/2"),
        (r#""embedding":[1,null,3]"#, "/embedding/1"),
        (r#""embedding":[true,2,3]"#, "/embedding/0"),
        (r#""embedding":[1,2,1e39]"#, "/embedding/2"),
        (r#""embedding":[1,-1e400,3]"#, "/embedding/1"),
        (r#""embedding":[0,0,0]"#, "/embedding"),
        (r#""embedding":[0,-0.0,1e-60]"#, "/embedding"),
        (r#""embedding":[1e-24,2e-24,0]"#, "/embedding"),
        (r#""embedding":[3e38,0,0]"#, "/embedding"),
        (r#""embedding":[1,2,NaN]"#, ""),
        (r#""embedding":[1,Infinity,3]"#, ""),
        (r#""embedding":[-Infinity,2,3]"#, ""),
        (r#""embedding":[1,2,]"#, ""),
        (r#""embedding":[1,2,+3]"#, ""),
        (r#""embedding":[1,2,.5]"#, ""),
        (r#""embedding":[1,2,3"#, ""),
        (r#""embedding_b64":"""#, "/embedding_b64"),
        (r#""embedding_b64":7"#, "/embedding_b64"),
        (r#""embedding_b64":[1,2,3]"#, "/embedding_b64"),
        (r#""embedding_b64":"not base64 at all""#, "/embedding_b64"),
        (r#""embedding_b64":"AACAPwAAAEAAAEBA=""#, "/embedding_b64"),
    ]);
    let whole = base64(&[1.0, 2.0, 3.0]);
    // Truncated at every place: in the middle of four characters, and in the middle of a number.
    all.extend(
        (1..whole.len()).map(|len| (format!("\"embedding_b64\":\"{}\"", &whole[..len]), "/embedding_b64")),
    );
    for (numbers, at) in [
        (&[1.0, 2.0][..], "/embedding_b64"),
        (&[1.0, 2.0, 3.0, 4.0], "/embedding_b64"),
        (&[f32::NAN, 2.0, 3.0], "/embedding_b64/0"),
        (&[1.0, f32::INFINITY, 3.0], "/embedding_b64/1"),
        (&[1.0, 2.0, f32::NEG_INFINITY], "/embedding_b64/2"),
        (&[0.0, -0.0, 0.0], "/embedding_b64"),
        (&[3e38, 0.0, 0.0], "/embedding_b64"),
    ] {
        all.push((format!("\"embedding_b64\":\"{}\"", base64(numbers)), at));
    }
    all.push((format!("\"embedding\":[1,2,3],\"embedding_b64\":\"{whole}\""), "/embedding_b64"));
    all
}

/// Of a document of the collection, as its whole text.
fn documents(name: &str) -> Mistakes {
    let mut all = match name {
        "full" => embeddings().into_iter().map(|(member, at)| (format!("{{{member}}}"), at)).collect(),
        "half" => mistakes(&[
            (r#"{"embedding":[1,2,65520]}"#, "/embedding/2"),
            (r#"{"embedding":[1,2]}"#, "/embedding"),
            (r#"{"id":"7"}"#, "/id"),
            (r#"{"id":-1}"#, "/id"),
            (r#"{"id":1.5}"#, "/id"),
            (r#"{"id":1e3}"#, "/id"),
            (r#"{"id":18446744073709551616}"#, "/id"),
        ]),
        _ => mistakes(&[
            (r#"{"embedding":[1,2,3]}"#, "/embedding"),
            (r#"{"embedding_b64":""}"#, "/embedding_b64"),
        ]),
    };
    if name == "half" {
        all.push((format!("{{\"embedding_b64\":\"{}\"}}", base64(&[1.0, 1e5, 3.0])), "/embedding_b64/1"));
        return all;
    }
    all.extend(mistakes(&[
        (r#"{"id":7}"#, "/id"),
        (r#"{"id":""}"#, "/id"),
        (r#"{"id":["a"]}"#, "/id"),
        (r#"{"id":"a","\u0069d":"b"}"#, "/id"),
        (r#"{"text":7}"#, "/text"),
        (r#"{"text":["a"]}"#, "/text"),
        (r#"{"text":"\ud800"}"#, "/text"),
        (r#"{"text":"a","text":"b"}"#, "/text"),
        (r#"{"vector":[1,2,3]}"#, "/vector"),
        (r#"{"_id":"a"}"#, "/_id"),
        (r#"{"metadata":[]}"#, "/metadata"),
        (r#"{"metadata":"year"}"#, "/metadata"),
        (r#"{"metadata":{"a":{"b":1,"b":2}}}"#, "/metadata/a/b"),
        (r#"{"metadata":{"year":"1990"}}"#, "/metadata/year"),
        (r#"{"metadata":{"year":1990.5}}"#, "/metadata/year"),
        (r#"{"metadata":{"year":true}}"#, "/metadata/year"),
        (r#"{"metadata":{"year":[1990]}}"#, "/metadata/year"),
        (r#"{"metadata":{"year":{}}}"#, "/metadata/year"),
        (r#"{"metadata":{"year":9223372036854775808}}"#, "/metadata/year"),
        (r#"{"metadata":{"rating":"good"}}"#, "/metadata/rating"),
        (r#"{"metadata":{"rating":1e400}}"#, "/metadata/rating"),
        (r#"{"metadata":{"open":1}}"#, "/metadata/open"),
        (r#"{"metadata":{"open":"true"}}"#, "/metadata/open"),
        (r#"{"metadata":{"name":7}}"#, "/metadata/name"),
        (r#"{"metadata":{"name":["a"]}}"#, "/metadata/name"),
        (r#"{"metadata":{"tags":7}}"#, "/metadata/tags"),
        (r#"{"metadata":{"tags":["a",null]}}"#, "/metadata/tags/1"),
        (r#"{"metadata":{"tags":[["a"]]}}"#, "/metadata/tags/0"),
        (r#"{"metadata":{"at":"yesterday"}}"#, "/metadata/at"),
        (r#"{"metadata":{"at":"2023-02-29T00:00:00Z"}}"#, "/metadata/at"),
        (r#"{"metadata":{"at":1.5}}"#, "/metadata/at"),
        (r#"{"metadata":{"author":{"born":"1815"}}}"#, "/metadata/author/born"),
        (r#"{"metadata":{"author":[{"born":1815}]}}"#, "/metadata/author/0/born"),
        (r#"{"metadata":{"author.born":"1815"}}"#, "/metadata/author.born"),
        (r#"{"metadata":{"author":{"born":1815},"author.born":1815}}"#, "/metadata/author.born"),
        (r#"{"metadata":{"year":}}"#, ""),
        (r#"{"text":"a"} x"#, ""),
        (r#"{"text":"a""#, ""),
        (r#"{text:"a"}"#, ""),
        ("[]", "none"),
        ("7", "none"),
        ("null", "none"),
    ]));
    let long =
        format!("{{\"metadata\":{{\"name\":\"{}\"}}}}", "x".repeat(kyrodb::limits::KEYWORD_BYTES_MAX + 1));
    all.push((long, "/metadata/name"));
    all
}

/// What a mistake is told with.
fn wanted(at: &str) -> (u16, String) {
    match at {
        "" => (400, String::new()),
        "none" => (422, String::new()),
        at => (422, at.to_owned()),
    }
}

fn serve_and(seed: u64, test: impl AsyncFnOnce(Talk) + 'static) {
    Served::start(seed, 2).talk(|talk| test(talk));
}

#[test]
fn documents_one_at_a_time() {
    serve_and(1, async |talk| {
        set_up(&talk).await;
        let before = everything(&talk).await;
        for name in COLLECTIONS {
            for (text, at) in documents(name) {
                let insert = talk.ask("POST", &format!("/v1/collections/{name}"), JSON, &text).await;
                assert_eq!(told(&insert), wanted(at), "{text}");
                let replace = talk.ask("PUT", &path_of(name, 3), JSON, &text).await;
                assert_eq!(told(&replace), wanted(at), "{text}");
            }
            let text = b"{\"text\":\"\xff\"}";
            assert_eq!(told(&talk.ask("PUT", &path_of(name, 3), JSON, text).await), wanted(""));
            for (text, at) in documents("plain") {
                // As a patch of the metadata, where what the metadata has wrong is one level up.
                let Some((patch, at)) = text
                    .strip_prefix("{\"metadata\":{")
                    .and_then(|rest| rest.strip_suffix('}'))
                    .filter(|_| name != "half" && !text.contains("null"))
                    .zip(at.strip_prefix("/metadata"))
                else {
                    continue;
                };
                let answer = talk.ask("PATCH", &path_of(name, 3), JSON, format!("{{{patch}")).await;
                assert_eq!(told(&answer), (422, at.to_owned()), "{patch}");
            }
        }
        let other = talk.ask("PUT", &path_of("full", 3), JSON, r#"{"id":"d4"}"#).await;
        assert_eq!(told(&other), (422, "/id".to_owned()));
        let there = talk.ask("POST", "/v1/collections/full", JSON, document("full", 3).to_string()).await;
        assert_eq!((there.status, &there.json()["code"]), (409, &json!("document_exists")));
        assert_eq!(everything(&talk).await, before);
        // What is read would show it.
        for change in [r#"{"year":1990}"#, r#"{"free":{"n":9}}"#] {
            let seen = everything(&talk).await;
            assert_eq!(talk.ask("PATCH", &path_of("full", 3), JSON, change).await.status, 200);
            assert_ne!(everything(&talk).await, seen, "{change}");
        }
    });
}

#[test]
fn documents_line_by_line() {
    serve_and(2, async |talk| {
        set_up(&talk).await;
        let before = everything(&talk).await;
        for name in COLLECTIONS {
            let mut all = documents(name);
            all.push(("{\"op\":\"put\",\"id\":\"x\"}".to_owned(), "/op"));
            all.push(("{\"op\":\"delete\"}".to_owned(), "/id"));
            all.push(("{\"op\":\"delete\",\"id\":true}".to_owned(), "/id"));
            // A good document behind each that is wrong, and deleted after.
            let good = |n: usize| if name == "half" { json!(1000 + n) } else { json!(format!("good-{n}")) };
            let lines = all.iter().enumerate();
            let body: String =
                lines.map(|(n, (text, _))| format!("{text}\n{}\n", json!({ "id": good(n) }))).collect();
            let answer = talk.ask("POST", &format!("/v1/collections/{name}/bulk"), NDJSON, body).await;
            assert_eq!(answer.status, 200);
            let told = answer.lines();
            assert_eq!(told.len(), 2 * all.len(), "a line for a line");
            for (n, ((text, at), told)) in all.iter().zip(told.chunks(2)).enumerate() {
                let (status, pointer) = wanted(at);
                assert_eq!(told[0]["status"], status, "{text}: {}", told[0]);
                let detail = told[0]["detail"].as_str().expect("a detail");
                assert!(
                    pointer.is_empty()
                        || detail.starts_with(&format!("{pointer} "))
                        || detail.starts_with(&format!("{pointer}: ")),
                    "{text}: {detail}"
                );
                assert!(told[0]["code"].is_string() && told[0]["seq"].is_null(), "{}", told[0]);
                assert_eq!((&told[1]["status"], &told[1]["id"]), (&json!(201), &good(n)), "behind {text}");
            }
            let body: String =
                (0..all.len()).map(|n| json!({ "op": "delete", "id": good(n) }).to_string() + "\n").collect();
            let answer = talk.ask("POST", &format!("/v1/collections/{name}/bulk"), NDJSON, body).await;
            assert!(answer.lines().iter().all(|line| line["status"] == 204), "{}", answer.text());
        }
        assert_eq!(everything(&talk).await, before);
    });
}

/// The same id twice is two writes, one after the other, as everywhere in a bulk: a stream without end has no list of
/// what was in it, and a client that was cut off sends lines again.
#[test]
fn an_id_that_comes_twice_is_written_twice() {
    serve_and(3, async |talk| {
        set_up(&talk).await;
        let lines = [
            r#"{"id":"new","text":"one","embedding":[1,0,0]}"#,
            r#"{"id":"new","text":"two","embedding":[0,0,0]}"#,
            r#"{"id":"new","text":"three","embedding":[0,1,0]}"#,
            r#"{"op":"delete","id":"gone"}"#,
            r#"{"id":"gone","text":"one"}"#,
            r#"{"op":"delete","id":"gone"}"#,
        ];
        let answer = talk.ask("POST", "/v1/collections/full/bulk", NDJSON, lines.join("\n")).await;
        let statuses: Vec<u64> =
            answer.lines().iter().map(|line| line["status"].as_u64().expect("one")).collect();
        assert_eq!(statuses, [201, 422, 200, 404, 201, 204]);
        let found = talk.ask("GET", "/v1/collections/full/docs/new", "", "").await.json();
        assert_eq!((&found["text"], &found["embedding"]), (&json!("three"), &json!([0, 1, 0])));
        assert_eq!(talk.ask("GET", "/v1/collections/full/docs/gone", "", "").await.status, 404);
        let search = json!({ "embedding": [1, 0, 0], "filter": { "year": null }, "exact": true }).to_string();
        let hits = talk.ask("POST", "/v1/collections/full/search", JSON, search).await.json()["hits"].clone();
        assert_eq!(
            (hits[0]["id"].as_str(), hits[0]["score"].as_f64(), &hits[1]),
            (Some("new"), Some(0.0), &Value::Null)
        );
    });
}

#[test]
fn searches_and_counts() {
    let filters = [
        (r#"{"year":{"$near":1}}"#, "/year/$near"),
        (r#"{"free":{"$regex":"a"}}"#, "/free/$regex"),
        (r#"{"$nor":[{}]}"#, "/$nor"),
        (r#"{"$eq":1}"#, "/$eq"),
        (r#"{"year":{"$gte":1990,"lt":2000}}"#, "/year/lt"),
        (r#"{"$or":[{"year":1990},{"$not":{"tags":{"$any":1}}}]}"#, "/$or/1/$not/tags/$any"),
        (r#"{"year":"1990"}"#, "/year"),
        (r#"{"year":{"$in":[1990,"1991"]}}"#, "/year/$in/1"),
        (r#"{"rating":{"$lt":"good"}}"#, "/rating/$lt"),
        (r#"{"rating":{"$lt":1e400}}"#, "/rating/$lt"),
        (r#"{"open":1}"#, "/open"),
        (r#"{"open":{"$gt":false}}"#, "/open/$gt"),
        (r#"{"name":7}"#, "/name"),
        (r#"{"tags":{"$ne":7}}"#, "/tags/$ne"),
        (r#"{"at":{"$gt":"soon"}}"#, "/at/$gt"),
        (r#"{"author.born":"1815"}"#, "/author.born"),
        (r#"{"author":{"born":1815}}"#, "/author/born"),
        (r#"{"year":[1990]}"#, "/year"),
        (r#"{"year":{"$eq":{}}}"#, "/year/$eq"),
        (r#"{"year":{"$in":1990}}"#, "/year/$in"),
        (r#"{"year":{"$gt":null}}"#, "/year/$gt"),
        (r#"{"year":{"$exists":1}}"#, "/year/$exists"),
        (r#"{"year":{}}"#, "/year"),
        (r#"{"$and":[]}"#, "/$and"),
        (r#"{"$or":{}}"#, "/$or"),
        (r#"{"$not":[]}"#, "/$not"),
        (r#"{"year":1990,"year":1991}"#, "/year"),
        ("[]", ""),
        (r#""year""#, ""),
    ];
    let searches = [
        (r#""limit":0"#, "/limit"),
        (r#""limit":-1"#, "/limit"),
        (r#""limit":2.5"#, "/limit"),
        (r#""limit":100000"#, "/limit"),
        (r#""limit":"10""#, "/limit"),
        (r#""ef":0"#, "/ef"),
        (r#""ef":100000000"#, "/ef"),
        (r#""exact":"yes""#, "/exact"),
        (r#""explain":1"#, "/explain"),
        (r#""min_score":"high""#, "/min_score"),
        (r#""include":["score","all"]"#, "/include/1"),
        (r#""include":"score""#, "/include"),
        (r#""cursor":"x""#, "/cursor"),
        (r#""cursor":7"#, "/cursor"),
        (r#""top_k":3"#, "/top_k"),
    ];
    serve_and(4, async move |talk| {
        set_up(&talk).await;
        let before = everything(&talk).await;
        let search = "/v1/collections/full/search";
        for (filter, at) in filters {
            let wanted = (422, format!("/filter{at}"));
            let count = format!("{{\"filter\":{filter}}}");
            assert_eq!(
                told(&talk.ask("POST", "/v1/collections/full/count", JSON, count).await),
                wanted,
                "{filter}"
            );
            let body = format!("{{\"embedding\":[1,2,3],\"filter\":{filter}}}");
            assert_eq!(told(&talk.ask("POST", search, JSON, body).await), wanted, "{filter}");
        }
        for (member, at) in searches {
            let body = format!("{{\"embedding\":[1,2,3],{member}}}");
            assert_eq!(told(&talk.ask("POST", search, JSON, body).await), (422, at.to_owned()), "{member}");
        }
        for (member, at) in embeddings() {
            let answer = talk.ask("POST", search, JSON, format!("{{{member}}}")).await;
            assert_eq!(told(&answer), wanted(at), "{member}");
        }
        for (target, body, at) in [
            (search, "{}", "/embedding"),
            (search, r#"{"embedding":null}"#, "/embedding"),
            (search, "[]", ""),
            ("/v1/collections/plain/search", r#"{"embedding":[1,2,3]}"#, ""),
            ("/v1/collections/full/count", r#"{"embedding":[1,2,3]}"#, "/embedding"),
            ("/v1/collections/full/count", r#"{"filters":{}}"#, "/filters"),
        ] {
            assert_eq!(
                told(&talk.ask("POST", target, JSON, body).await),
                (422, at.to_owned()),
                "{target} {body}"
            );
        }
        assert_eq!(everything(&talk).await, before);
    });
}

#[test]
fn definitions() {
    let dims = ["0", "1", "4097", "100000", "4294967296", "18446744073709551615"];
    let dims =
        dims.map(|dim| (format!(r#"{{"embedding":{{"dim":{dim},"metric":"l2"}}}}"#), "/embedding/dim"));
    let others = mistakes(&[
        (r#"{"embedding":{"dim":-1,"metric":"l2"}}"#, "/embedding"),
        (r#"{"embedding":{"dim":2.5,"metric":"l2"}}"#, "/embedding"),
        (r#"{"embedding":{"dim":"3","metric":"l2"}}"#, "/embedding"),
        (r#"{"embedding":{"dim":3}}"#, "/embedding"),
        (r#"{"embedding":{"metric":"l2"}}"#, "/embedding"),
        (r#"{"embedding":{"dim":3,"metric":"l1"}}"#, "/embedding"),
        (r#"{"embedding":{"dim":3,"metric":"l2","quantization":"int8"}}"#, "/embedding"),
        (r#"{"embedding":{"dim":3,"metric":"l2","size":3}}"#, "/embedding"),
        (r#"{"embedding":3}"#, "/embedding"),
        (r#"{"embeddings":{"dim":3,"metric":"l2"}}"#, "/embeddings"),
        (r#"{"fields":{},"schema":{}}"#, "/schema"),
        (r#"{"fields":[]}"#, "/fields"),
        (r#"{"fields":{"year":"int"}}"#, "/fields/year"),
        (r#"{"fields":{"year":"keyword[][]"}}"#, "/fields/year"),
        (r#"{"fields":{"year":{"type":"i64"}}}"#, "/fields/year"),
        (r#"{"fields":{"body":"text"}}"#, "/fields/body"),
        (r#"{"fields":{"year":null}}"#, "/fields/year"),
        (r#"{"fields":{"":"i64"}}"#, "/fields/"),
        (r#"{"fields":{"$year":"i64"}}"#, "/fields/$year"),
        (r#"{"fields":{"a..b":"i64"}}"#, "/fields/a..b"),
        (r#"{"fields":{"a":"i64","a.b":"i64"}}"#, "/fields/a.b"),
        (r#"{"fields":{"a":"i64","a":"i64"}}"#, "/fields/a"),
        (r#"{"fields":{},"key_type":"u32"}"#, "/key_type"),
        (r#"{"fields":{},"placement":"ring"}"#, "/placement"),
        ("[]", "none"),
        (r#"{"fields":{"a":"i64""#, ""),
        (r#"{"embedding":{"dim":NaN,"metric":"l2"}}"#, ""),
    ]);
    let many: Vec<String> =
        (0..=kyrodb::limits::DECLARED_FIELD_ENTRIES_MAX).map(|n| format!("\"f{n}\":\"i64\"")).collect();
    let many = (format!("{{\"fields\":{{{}}}}}", many.join(",")), "/fields");
    let all: Mistakes = dims.into_iter().chain(others).chain([many]).collect();
    serve_and(5, async move |talk| {
        set_up(&talk).await;
        let before = everything(&talk).await;
        for (body, at) in &all {
            assert_eq!(told(&talk.ask("PUT", "/v1/collections/new", JSON, body).await), wanted(at), "{body}");
            assert_eq!(talk.ask("GET", "/v1/collections/new", "", "").await.status, 404, "{body}");
        }
        for other in [
            json!({ "embedding": { "dim": 4, "metric": "cosine" } }),
            json!({ "embedding": { "dim": 3, "metric": "dot" } }),
            json!({}),
        ] {
            let answer = talk.ask("PUT", "/v1/collections/full", JSON, other.to_string()).await;
            assert_eq!(told(&answer).0, 409, "{other}");
        }
        assert_eq!(everything(&talk).await, before);
    });
}
