//! The server's description of itself: served, and compared with what the server does.

mod http;
mod support;

use std::collections::BTreeMap;

use http::{Answer, Served, Talk, contract};
use serde_json::json;

fn serve_and(seed: u64, test: impl AsyncFnOnce(Talk) + 'static) {
    Served::start(seed, 2).talk(|talk| test(talk));
}

async fn get(talk: &Talk, target: &str) -> Answer {
    talk.ask("GET", target, "", "").await
}

#[test]
fn the_description_is_served() {
    serve_and(13, async |talk| {
        let answer = get(&talk, "/openapi.json").await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
        assert_eq!(answer.json()["openapi"], "3.1.0");
        let head = talk.ask("HEAD", "/openapi.json", "", "").await;
        assert_eq!(head.header("content-length"), Some(answer.body.len().to_string().as_str()));
        assert_eq!(talk.ask("PUT", "/openapi.json", "", "").await.header("allow"), Some("GET, HEAD"));
        // What other methods of such a path would be.
        let allow = talk.ask("PATCH", "/v1/kv/default/mget", "", "").await;
        assert_eq!(allow.header("allow"), Some("GET, HEAD, PUT, DELETE, POST"));
    });
}

#[test]
fn a_trace_is_no_reason_to_refuse() {
    serve_and(17, async |talk| {
        let client = talk.connect().await;
        client.send(b"GET /health HTTP/1.1\r\nHost: h\r\nX-Request-Id: \xe9\r\n\r\n".as_slice()).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-request-id").map(str::len), Some(16), "an id made up");
    });
}

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
    let named = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Answer { status, headers: headers.iter().map(named).collect::<BTreeMap<_, _>>(), body: body.into() }
}

/// That every answer of the tests is as described means something only if one that is not would be found.
#[test]
fn an_answer_that_is_not_described_is_found() {
    let json = ("content-type", "application/json");
    let problem = ("content-type", "application/problem+json");
    let told = |status: u16, code: &str| {
        let urn = format!("urn:kyrodb:problem:{code}");
        let body = json!({"type": urn, "title": "x", "status": status, "detail": "x", "code": code,
                          "request_id": "x", "retryable": false});
        body.to_string()
    };
    let written = [json, ("kyro-seq", "1"), ("kyro-durability", "fsync")];
    let put = |answer: &Answer| contract::judge("POST", "/v1/put", answer);
    assert_eq!(put(&answer(200, &written, r#"{"offset":1,"seq":1}"#)), Ok(()));
    assert_eq!(put(&answer(422, &[problem], &told(422, "invalid_body"))), Ok(()));
    for (wrong, what) in [
        (answer(201, &written, r#"{"offset":1,"seq":1}"#), "no such status"),
        (answer(200, &written[..2], r#"{"offset":1,"seq":1}"#), "kyro-durability is missing"),
        (answer(200, &[written[0], written[1], written[2], ("etag", "x")], "{}"), "etag is not described"),
        (answer(200, &written, r#"{"offset":1}"#), "seq is missing"),
        (answer(200, &written, r#"{"offset":1,"seq":1,"lsn":1}"#), "/lsn is not described"),
        (answer(200, &written, r#"{"offset":1,"seq":"1"}"#), "/seq"),
        (answer(200, &[("content-type", "text/plain"), written[1], written[2]], "x"), "text/plain"),
        (answer(422, &[problem], &told(422, "invalid_name")), "/code"),
        (answer(422, &[problem], &told(400, "invalid_body")), "/status"),
        (answer(404, &[problem], &told(404, "no_such_record")), "no such status"),
    ] {
        assert!(put(&wrong).is_err_and(|found| found.contains(what)), "{what}: {:?}", put(&wrong));
    }
    let allowed = answer(405, &[problem, ("allow", "GET")], &told(405, "method_not_allowed"));
    assert!(contract::judge("PUT", "/v1/router", &allowed).is_err_and(|found| found.contains("Allow")));
    let route = answer(404, &[problem], &told(404, "no_such_collection"));
    assert!(contract::judge("GET", "/v3", &route).is_err());
}
