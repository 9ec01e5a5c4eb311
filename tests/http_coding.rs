//! Bodies in gzip and in zstd, both ways.

mod http;
mod support;

use std::io::Read;

use http::{Answer, Client, Served, Talk, plain_http, request};
use kyrodb::limits;
use kyrodb::net::coding::Coding;
use kyrodb::net::coding::encoder::encode;
use kyrodb::net::server::Options;

const BOTH: [Coding; 2] = [Coding::Gzip, Coding::Zstd];
const TEXT: &str = "Content-Type: text/plain\r\n";
const NDJSON: &str = "Content-Type: application/x-ndjson\r\n";

fn serve_and<F: Future<Output = ()> + 'static>(seed: u64, conversation: impl FnOnce(Talk) -> F) {
    Served::start(seed, 2).talk(conversation);
}

fn coded(coding: Coding, lines: &str) -> String {
    format!("Content-Encoding: {}\r\n{lines}", coding.name())
}

/// By other libraries' readers than the server's own.
fn plain(answer: &Answer) -> Vec<u8> {
    let mut plain = Vec::new();
    let read = match answer.header("content-encoding") {
        None => return answer.body.clone(),
        Some("gzip") => flate2::read::GzDecoder::new(answer.body.as_slice()).read_to_end(&mut plain),
        Some("zstd") => zstd::stream::read::Decoder::new(answer.body.as_slice())
            .and_then(|mut decoder| decoder.read_to_end(&mut plain)),
        Some(other) => panic!("{other}"),
    };
    read.expect("the coding is sound");
    plain
}

async fn ask_for(client: &Client, target: &str, method: &str, accept: &str, body: &str) -> Answer {
    client.send(request(method, target, &format!("Accept-Encoding: {accept}\r\n"), body)).await;
    client.answer_to(method).await
}

#[test]
fn values_are_stored_plain() {
    serve_and(1, async |talk| {
        let client = talk.connect().await;
        for (key, len) in [0, 1, 5000, 300_000, limits::VALUE_BYTES_MAX].into_iter().enumerate() {
            let value: Vec<u8> = (0..len).map(|at| (at % 251) as u8 | 1).collect();
            for coding in BOTH {
                let target = format!("/v1/kv/default/{key}");
                let body = encode(coding, &value).unwrap();
                let put =
                    client.ask("PUT", &target, &coded(coding, "Content-Type: image/png\r\n"), body).await;
                assert!(matches!(put.status, 201 | 204), "{len} {put:?}");
                let got = client.ask("GET", &target, "Accept-Encoding: gzip, zstd\r\n", "").await;
                // A value goes out as it is: its entity tag names its bytes.
                assert_eq!((got.header("content-encoding"), got.body == value), (None, true), "{len}");
                assert_eq!(got.header("content-type"), Some("image/png"));
            }
        }
    });
}

#[test]
fn a_body_is_no_more_than_it_may_be_however_it_is_squeezed() {
    serve_and(2, async |talk| {
        for coding in BOTH {
            let bomb = encode(coding, &vec![0; 8 * limits::BODY_BYTES_MAX]).unwrap();
            assert!(bomb.len() < limits::MIB, "{}", bomb.len());
            let refused = talk.ask("PUT", "/v1/kv/default/1", &coded(coding, ""), bomb).await;
            assert_eq!((refused.status, refused.header("connection")), (413, Some("close")));
            let value = encode(coding, &vec![0; limits::VALUE_BYTES_MAX + 1]).unwrap();
            assert_eq!(talk.ask("PUT", "/v1/kv/default/1", &coded(coding, ""), value).await.status, 413);
        }
        assert_eq!(talk.ask("GET", "/v1/kv/default/1", "", "").await.status, 404);
    });
}

/// Few bytes on the wire, many of the room that the connections of a core share.
fn padded_keys(coding: Coding, len: usize) -> Vec<u8> {
    encode(coding, format!("{{\"keys\":[1]{}}}", " ".repeat(len)).as_bytes()).expect("a body")
}

#[test]
fn what_a_body_comes_to_counts_in_the_room_of_the_core_while_it_grows() {
    let target = "/v1/kv/default/mget";
    let http = Options { room_bytes: 10 * limits::MIB, ..plain_http() };
    Served::start_with(7, 1, http).talk(|talk| async move {
        for coding in BOTH {
            let ask = async |client: &Client, mib: usize| {
                let body = padded_keys(coding, mib * limits::MIB);
                client.ask("POST", target, &coded(coding, "X-Request-Id: abc\r\n"), body).await
            };
            let first = talk.connect().await;
            let refused = ask(&first, 12).await;
            assert_eq!((refused.status, refused.header("connection")), (503, Some("close")), "{coding:?}");
            assert_eq!(refused.json()["code"], "overloaded");
            assert_eq!(refused.header("x-request-id"), Some("abc"));
            // The connection is still there, the room is free again.
            let second = talk.connect().await;
            assert_eq!(
                [ask(&second, 1).await.status, ask(&second, 1).await.status],
                [200, 200],
                "{coding:?}"
            );
        }
    });
    // Not even the window of a decoder fits.
    let http = Options { room_bytes: 4 * limits::MIB, ..plain_http() };
    Served::start_with(8, 1, http).talk(|talk| async move {
        let client = talk.connect().await;
        let lines = coded(Coding::Zstd, "Expect: 100-continue\r\n");
        let whole = request("POST", target, &lines, padded_keys(Coding::Zstd, 0));
        let head = whole.windows(4).position(|end| end == b"\r\n\r\n").expect("a head") + 4;
        client.send(&whole[..head]).await;
        assert_eq!(client.answer_to("POST").await.status, 503, "before the body is asked for");
        let bulk = talk.ask("POST", "/v1/kv/default/bulk", &coded(Coding::Zstd, NDJSON), "").await;
        assert_eq!(bulk.status, 503);
        assert_eq!(
            talk.ask("POST", target, &coded(Coding::Gzip, ""), padded_keys(Coding::Gzip, 0)).await.status,
            200
        );
    });
}

#[test]
fn coded_bodies_of_many_connections_share_the_room() {
    Served::start(9, 1).talk(|talk| async move {
        let mut clients = Vec::new();
        for _ in 0..4 {
            let client = talk.connect().await;
            let body = padded_keys(Coding::Zstd, limits::VALUE_BYTES_MAX);
            client.send(request("POST", "/v1/kv/default/mget", &coded(Coding::Zstd, ""), body)).await;
            clients.push(client);
        }
        let mut statuses = Vec::new();
        for client in &clients {
            statuses.push(client.answer_to("POST").await.status);
        }
        assert!(statuses.contains(&503) && statuses.contains(&200), "{statuses:?}");
        let body = padded_keys(Coding::Zstd, limits::VALUE_BYTES_MAX);
        let after = talk.ask("POST", "/v1/kv/default/mget", &coded(Coding::Zstd, ""), body).await;
        assert_eq!(after.status, 200, "all of the room came back");
    });
}

#[test]
fn a_body_that_is_not_what_it_says_is_refused_and_nothing_is_written() {
    serve_and(3, async |talk| {
        for coding in BOTH {
            let whole = encode(coding, &[7; 100_000]).unwrap();
            for body in [&b"plain"[..], b"", &whole[..whole.len() - 1], &whole[..whole.len() / 2]] {
                let refused = talk.ask("PUT", "/v1/kv/default/1", &coded(coding, ""), body).await;
                assert_eq!(refused.status, 400, "{coding:?} {}", body.len());
                assert_eq!(refused.json()["code"], "malformed_content_encoding");
            }
        }
        for unknown in ["br", "gzip, gzip", "compress"] {
            let lines = format!("Content-Encoding: {unknown}\r\n");
            let refused = talk.ask("PUT", "/v1/kv/default/1", &lines, "x").await;
            assert_eq!(refused.status, 415, "{unknown}");
            assert_eq!(refused.header("accept-encoding"), Some("zstd, gzip, identity"));
        }
        assert_eq!(talk.ask("GET", "/v1/kv/default/1", "", "").await.status, 404);
    });
}

/// Behind others of its pipeline and before others.
#[test]
fn a_coded_request_is_answered_in_its_turn() {
    serve_and(4, async |talk| {
        let client = talk.connect().await;
        for coding in BOTH {
            let pipeline = [
                request("PUT", "/v1/kv/default/1", "", "before"),
                request(
                    "PUT",
                    "/v1/kv/default/1",
                    &coded(coding, TEXT),
                    encode(coding, b"squeezed").unwrap(),
                ),
                request("GET", "/v1/kv/default/1", "", ""),
                request(
                    "POST",
                    "/v1/kv/default/mget",
                    &coded(coding, "Content-Type: application/json\r\n"),
                    encode(coding, br#"{"keys":[1]}"#).unwrap(),
                ),
                request("PUT", "/v1/kv/default/1", "", "after"),
            ];
            client.send(pipeline.concat()).await;
            let mut answers = Vec::new();
            for method in ["PUT", "PUT", "GET", "POST", "PUT"] {
                answers.push(client.answer_to(method).await);
            }
            assert!(answers.iter().all(|answer| answer.status < 300), "{answers:?}");
            assert_eq!(answers[2].text(), "squeezed");
            assert_eq!(answers[3].json()["records"][0]["value"], "squeezed");
        }
    });
}

#[test]
fn a_bulk_comes_in_a_coding_line_by_line() {
    serve_and(5, async |talk| {
        let line =
            |key: usize| format!("{{\"op\":\"put\",\"key\":{key},\"value\":\"{}\"}}\n", "v".repeat(900));
        let lines: String = (0..3000).map(line).collect();
        for coding in BOTH {
            let body = encode(coding, lines.as_bytes()).unwrap();
            let answer = talk.ask("POST", "/v1/kv/default/bulk", &coded(coding, NDJSON), body).await;
            assert_eq!(answer.lines().len(), 3000);
            assert!(answer.lines().iter().all(|line| matches!(line["status"].as_u64(), Some(201 | 204))));
        }
        // What came whole is carried out and answered; the answer has no end, as its request had none.
        let body = encode(Coding::Gzip, line(5000).as_bytes()).unwrap();
        let client = talk.connect().await;
        client
            .send(request(
                "POST",
                "/v1/kv/default/bulk",
                &coded(Coding::Gzip, NDJSON),
                [&body, &b"?"[..]].concat(),
            ))
            .await;
        assert!(client.try_answer_to("POST").await.is_none());
        assert_eq!(talk.ask("GET", "/v1/kv/default/5000", "", "").await.status, 200);
    });
}

#[test]
fn answers_come_in_the_coding_that_is_wanted() {
    serve_and(6, async |talk| {
        let line =
            |key: usize| format!("{{\"op\":\"put\",\"key\":{key},\"value\":\"{}\"}}\n", "v".repeat(200));
        let lines: String = (0..2000).map(line).collect();
        talk.ask("POST", "/v1/kv/default/bulk", NDJSON, lines).await;
        let client = talk.connect().await;
        let keys: Vec<String> = (0..1000).map(|key| key.to_string()).collect();
        let many = format!("{{\"keys\":[{}]}}", keys.join(","));
        for (method, target, body) in [
            ("GET", "/openapi.json", ""),
            ("GET", "/v1/router", ""),
            ("GET", "/metrics", ""),
            ("GET", "/v1/kv/default?limit=1000", ""),
            ("GET", "/v1/kv/default?limit=10", ""),
            ("POST", "/v1/kv/default/mget", many.as_str()),
            ("POST", "/v1/kv/default/mget", r#"{"keys":[1]}"#),
        ] {
            let as_it_is = ask_for(&client, target, method, "identity", body).await;
            assert_eq!(as_it_is.header("content-encoding"), None);
            for coding in BOTH {
                let answer = ask_for(&client, target, method, coding.name(), body).await;
                assert_eq!(answer.status, 200, "{target}");
                let is_streamed = as_it_is.header("transfer-encoding").is_some();
                let is_coded = is_streamed || as_it_is.body.len() >= limits::CODED_ANSWER_BYTES_MIN;
                assert_eq!(answer.header("content-encoding"), is_coded.then(|| coding.name()), "{target}");
                assert_eq!(answer.header("vary"), is_coded.then_some("Accept-Encoding"), "{target}");
                assert_eq!(answer.header("content-type"), as_it_is.header("content-type"));
                if target != "/metrics" {
                    assert_eq!(plain(&answer), as_it_is.body, "{target}");
                } else {
                    assert!(plain(&answer).ends_with(b"\n"));
                }
            }
        }
        let head = ask_for(&client, "/openapi.json", "HEAD", "gzip", "").await;
        assert_eq!((head.status, head.header("content-encoding")), (200, Some("gzip")));
        assert_eq!(ask_for(&client, "/health", "GET", "gzip", "").await.text(), r#"{"status":"ok"}"#);
    });
}
