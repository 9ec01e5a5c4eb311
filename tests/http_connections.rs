//! Connections of the HTTP server: order, limits, timeouts, the end. In the simulator, so in every
//! order of events that a seed gives.

mod http;
mod support;

use std::time::Duration;

use http::{Client, Served, Talk, plain_http, request};
use kyrodb::io::sim::Rng;
use kyrodb::limits;
use kyrodb::net::server::Options;

const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: h\r\n\r\n";

/// What a record holds, by a model that applies requests one after the other.
#[derive(Default)]
struct Model {
    records: std::collections::BTreeMap<u64, String>,
}

/// A random request, and the answer that it must get when all before it are done.
fn random_request(rng: &mut Rng, model: &mut Model) -> (Vec<u8>, &'static str, u16, String) {
    let key = rng.below(6) * 1_000;
    let target = format!("/v1/kv/default/{key}");
    let found = model.records.get(&key).cloned();
    match rng.below(8) {
        0..=2 => {
            let value = format!("v{}", rng.below(1_000_000));
            model.records.insert(key, value.clone());
            let status = if found.is_some() { 204 } else { 201 };
            (request("PUT", &target, "Content-Type: text/plain\r\n", value), "PUT", status, String::new())
        }
        3 => {
            model.records.remove(&key);
            let status = if found.is_some() { 204 } else { 404 };
            (request("DELETE", &target, "", ""), "DELETE", status, String::new())
        }
        4 | 5 => {
            let status = if found.is_some() { 200 } else { 404 };
            (request("GET", &target, "", ""), "GET", status, found.unwrap_or_default())
        }
        6 => {
            let status = if found.is_some() { 200 } else { 404 };
            (request("HEAD", &target, "", ""), "HEAD", status, String::new())
        }
        _ => (request("POST", &target, "", "x"), "POST", 405, String::new()),
    }
}

async fn run_pipeline(talk: Talk, seed: u64) {
    let mut rng = Rng::new(seed);
    let mut model = Model::default();
    let client = talk.connect().await;
    for _ in 0..10 {
        let asked: Vec<_> = (0..1 + rng.below(30)).map(|_| random_request(&mut rng, &mut model)).collect();
        let bytes: Vec<u8> = asked.iter().flat_map(|(bytes, ..)| bytes.clone()).collect();
        client.send(bytes).await;
        for (bytes, method, status, value) in asked {
            let answer = client.answer_to(method).await;
            assert_eq!(answer.status, status, "seed {seed}: {}", bytes.escape_ascii());
            if status == 200 {
                assert_eq!(answer.text(), value, "seed {seed}: {}", bytes.escape_ascii());
            }
        }
    }
}

#[test]
fn a_pipeline_is_answered_as_if_one_request_ran_after_the_other() {
    for seed in 0..20 {
        let mut served = Served::start(seed, 2);
        served.talk(|talk| async move {
            let split = r#"{"collection":"default","split_at":[3000]}"#;
            assert_eq!(talk.ask("POST", "/v1/router/rebalance", "", split).await.status, 200);
            run_pipeline(talk, seed).await;
        });
    }
}

#[test]
fn a_pipeline_longer_than_the_bound_is_answered_whole() {
    let mut served = Served::start(1, 1);
    served.talk(|talk| async move {
        let client = talk.connect().await;
        let count = limits::PIPELINE_REQUESTS_MAX * 5;
        client.send(HEALTH.repeat(count)).await;
        for _ in 0..count {
            assert_eq!(client.answer().await.status, 200);
        }
    });
}

#[test]
fn a_fault_is_answered_behind_the_requests_before_it_and_ends_the_connection() {
    let mut served = Served::start(2, 1);
    served.talk(|talk| async move {
        for (fault, status) in [
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/3.0\r\nHost: h\r\n\r\n", 505),
            ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
            ("PUT /v1/kv/default/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\nabc", 413),
        ] {
            let client = talk.connect().await;
            client.send(format!("{HEALTH}{fault}{HEALTH}")).await;
            assert_eq!(client.answer().await.status, 200);
            let answer = client.answer().await;
            assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "{fault:?}");
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
            assert!(client.is_closed().await, "{fault:?}");
        }
    });
}

#[test]
fn the_answer_to_a_body_too_large_survives_the_body() {
    let mut served = Served::start(3, 1);
    served.talk(|talk| async move {
        let client = talk.connect().await;
        let len = limits::BODY_BYTES_MAX + 1;
        client
            .send(format!("PUT /v1/kv/default/1 HTTP/1.1\r\nHost: h\r\nContent-Length: {len}\r\n\r\n"))
            .await;
        for _ in 0..8 {
            client.send(vec![b'x'; limits::MIB]).await;
        }
        assert_eq!(client.answer().await.status, 413);
    });
}

/// A value that is taken as it comes: in its turn among other requests, and not at all when it does not come whole.
#[test]
fn a_large_value_is_taken_as_it_comes() {
    let mut served = Served::start(21, 2);
    served.talk(|talk| async move {
        let value: Vec<u8> = (0..3 * limits::WHOLE_VALUE_BYTES_MAX + 5).map(|at| (at * 31) as u8).collect();
        for key in 0..4 {
            let target = format!("/v1/kv/default/{key}");
            let pipeline = [
                request("PUT", &target, "", "before"),
                request("PUT", &target, "Content-Type: image/png\r\n", &value),
                request("GET", &target, "", ""),
                request("PUT", &target, "If-Match: *\r\n", "behind"),
                request("GET", &target, "", ""),
                request("PUT", &target, "If-None-Match: *\r\n", &value),
                request("PUT", &target, "", &value),
            ];
            let client = talk.connect().await;
            for piece in pipeline.concat().chunks(70_001) {
                client.send(piece).await;
            }
            for (status, body) in [
                (201, None),
                (204, None),
                (200, Some(&value[..])),
                (204, None),
                (200, Some(&b"behind"[..])),
                (412, None),
                (204, None),
            ] {
                let answer = client.answer().await;
                assert_eq!(answer.status, status, "key {key}");
                assert!(body.is_none_or(|body| answer.body == body), "key {key}");
            }
        }
        // Refused by its head, and cut in the middle: nothing of it is there.
        let refused = [("/v1/kv/none/1", "", 404), ("/v1/kv/default/x", "", 422)];
        for (target, lines, status) in refused {
            assert_eq!(talk.ask("PUT", target, lines, &value).await.status, status, "{target}");
        }
        let client = talk.connect().await;
        let put = request("PUT", "/v1/kv/default/9", "Expect: 100-continue\r\n", &value);
        let head = put.len() - value.len();
        client.send(&put[..head]).await;
        assert_eq!(client.answer().await.status, 100);
        client.send(&put[head..put.len() - 1]).await;
        assert_eq!(client.answer().await.status, 408, "the last byte does not come in time");
        assert!(client.is_closed().await);
        assert_eq!(talk.ask("GET", "/v1/kv/default/9", "", "").await.status, 404);
    });
}

#[test]
fn connections_end_when_the_client_wants_it() {
    let mut served = Served::start(4, 1);
    served.talk(|talk| async move {
        let client = talk.connect().await;
        client.send("GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
        assert_eq!(client.answer().await.header("connection"), Some("close"));
        // Not with the first: what comes behind a close resets the connection, and could take the answer with it.
        client.send(HEALTH).await;
        assert!(client.is_closed().await);

        let client = talk.connect().await;
        client.send("GET /health HTTP/1.0\r\n\r\n").await;
        assert_eq!(client.answer().await.header("connection"), Some("close"));
        assert!(client.is_closed().await);

        let client = talk.connect().await;
        for _ in 0..2 {
            client.send("GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
            assert_eq!(client.answer().await.header("connection"), Some("keep-alive"));
        }
    });
}

#[test]
fn a_stream_to_http_1_0_ends_with_the_connection() {
    let mut served = Served::start(5, 1);
    served.talk(|talk| async move {
        talk.ask("PUT", "/v1/kv/default/1", "", "x").await;
        let client = talk.connect().await;
        let lines = "Connection: keep-alive\r\nAccept: application/x-ndjson\r\n";
        // What was asked for behind it would be taken for a part of it.
        let next = "GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
        client.send(format!("GET /v1/kv/default HTTP/1.0\r\n{lines}\r\n{next}")).await;
        let answer = client.answer().await;
        assert_eq!((answer.header("transfer-encoding"), answer.lines().len()), (None, 1));
    });
}

#[test]
fn a_client_that_waits_to_continue_is_told() {
    let mut served = Served::start(6, 1);
    served.talk(|talk| async move {
        let client = talk.connect().await;
        let head =
            "PUT /v1/kv/default/1 HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
        client.send(format!("{HEALTH}{head}")).await;
        assert_eq!(client.answer().await.status, 200);
        assert_eq!(client.answer().await.status, 100);
        client.send("ab").await;
        assert_eq!(client.answer_to("PUT").await.status, 201);
        // A body that comes with the head needs no leave.
        client.send(format!("{head}ab")).await;
        assert_eq!(client.answer_to("PUT").await.status, 204);
    });
}

#[test]
fn unfinished_requests_time_out_with_an_answer_and_idle_connections_without() {
    let mut served = Served::start(7, 1);
    served.talk(|talk| async move {
        for begun in ["GET /heal", "PUT /v1/kv/default/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na"] {
            let client = talk.connect().await;
            client.send(begun).await;
            assert!(client.is_quiet_for(limits::HEAD_TIMEOUT.as_secs() - 1).await, "{begun}");
            assert_eq!(client.answer().await.status, 408, "{begun}");
            assert!(client.is_closed().await, "{begun}");
        }
        let client = talk.connect().await;
        client.send(HEALTH).await;
        assert_eq!(client.answer().await.status, 200);
        assert!(client.is_quiet_for(limits::KEEP_ALIVE_TIMEOUT.as_secs() - 1).await);
        assert!(client.is_closed().await);
    });
}

#[test]
fn a_trickle_does_not_keep_a_request_alive() {
    let mut served = Served::start(8, 1);
    served.talk(|talk| async move {
        let client = talk.connect().await;
        client.send("GET /health HTTP/1.1\r\nHost: ").await;
        for _ in 0..limits::HEAD_TIMEOUT.as_secs() - 1 {
            talk.sleep(1).await;
            client.send("h").await;
        }
        assert_eq!(client.answer().await.status, 408);
    });
}

#[test]
fn connections_over_the_bound_are_told_so_and_places_come_free() {
    let mut served = Served::start_with(9, 1, Options { connections_max: 2, ..plain_http() });
    served.talk(|talk| async move {
        let (first, second) = (talk.connect().await, talk.connect().await);
        for client in [&first, &second] {
            client.send(HEALTH).await;
            assert_eq!(client.answer().await.status, 200);
        }
        let third = talk.connect().await;
        let answer = third.answer().await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
        assert_eq!(answer.json()["code"], "too_many_connections");
        drop((first, third));
        talk.sleep(limits::LINGER_TIMEOUT.as_secs() + 1).await;
        assert_eq!(talk.ask("GET", "/health", "", "").await.status, 200);
    });
}

#[test]
fn a_peer_that_does_not_read_is_not_read_from_and_others_are_served() {
    let mut served = Served::start(10, 1);
    served.talk(|talk| async move {
        let value = vec![b'x'; limits::MIB];
        assert_eq!(talk.ask("PUT", "/v1/kv/default/1", "", &value).await.status, 201);
        let deaf = talk.connect().await;
        deaf.send(request("GET", "/v1/kv/default/1", "", "").repeat(50)).await;
        let answer = talk.ask("GET", "/v1/kv/default/1", "", "").await;
        assert_eq!(answer.body, value);
        talk.sleep(limits::SEND_TIMEOUT.as_secs() + 2).await;
        // Given up: what is left in the pipe comes, then the end.
        let mut whole = 0;
        while deaf.try_answer_to("GET").await.is_some() {
            whole += 1;
        }
        assert!(whole < 50);
    });
}

/// Reads what the kernel would hold, then a little at a time.
async fn read_slowly(talk: &Talk, client: &Client) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Ok(Some(lease)) = client.socket.receive().await {
        bytes.extend_from_slice(&lease);
        talk.runtime.sleep(std::time::Duration::from_millis(100)).await;
    }
    bytes
}

#[test]
fn a_slow_reader_of_a_large_encoded_answer_gets_all_of_it() {
    // A kernel holds the whole answer, and nothing is slow.
    if http::is_real() {
        return;
    }
    let mut served = Served::start(12, 1);
    served.talk(|talk| async move {
        let value = vec![0xff; 4 * limits::MIB];
        assert_eq!(talk.ask("PUT", "/v1/kv/default/1", "", &value).await.status, 201);
        for target in ["/v1/lookup?key=1", "/v1/kv/default?limit=1"] {
            let client = talk.connect().await;
            client.send(request("GET", target, "Connection: close\r\n", "")).await;
            let began = talk.runtime.now();
            let bytes = read_slowly(&talk, &client).await;
            let took = talk.runtime.now().since(began) / 1_000_000_000;
            assert!(took > 2 * limits::SEND_TIMEOUT.as_secs(), "{took} s are not slow");
            assert!(bytes.ends_with(b"\r\n0\r\n\r\n"), "{target}: cut after {} bytes", bytes.len());
        }
    });
}

#[test]
fn a_drain_closes_the_idle_and_lets_the_busy_finish() {
    for seed in 0..10 {
        let mut served = Served::start(seed, 2);
        let drains = served.drains.clone();
        served.talk(|talk| async move {
            let idle: Vec<Client> = vec![talk.connect().await, talk.connect().await];
            for client in &idle {
                client.send(HEALTH).await;
                assert_eq!(client.answer().await.status, 200);
            }
            let busy = talk.connect().await;
            let put = request("PUT", "/v1/kv/default/1", "", "value");
            busy.send(&put[..put.len() - 2]).await;
            talk.sleep(1).await;
            drains.iter().for_each(|drain| drain.begin());
            for client in &idle {
                assert!(client.is_closed().await);
            }
            busy.send(&put[put.len() - 2..]).await;
            let answer = busy.answer_to("PUT").await;
            assert_eq!((answer.status, answer.header("connection")), (201, Some("close")));
            assert!(busy.is_closed().await);
            talk.sleep(1).await;
            assert!(talk.runtime.connect(talk.address).await.is_err(), "nobody listens any more");
        });
        assert_eq!(served.running.get(), 0, "every server came to its end");
    }
}

#[test]
fn a_drain_ends_although_clients_do_not() {
    for seed in 0..10 {
        let mut served = Served::start(seed, 2);
        let (drains, running) = (served.drains.clone(), served.running.clone());
        served.talk(|talk| async move {
            // Half a head, half a body, an answer that nobody reads, and a bulk that has no end.
            let head = talk.connect().await;
            head.send("GET /v1/kv/default/1 HTTP/1.1\r\n").await;
            let body = talk.connect().await;
            body.send("PUT /v1/kv/default/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf").await;
            let large = request("PUT", "/v1/kv/default/2", "", "x".repeat(8 << 20));
            let deaf = talk.connect().await;
            deaf.send(large).await;
            assert_eq!(deaf.answer_to("PUT").await.status, 201);
            deaf.send(request("GET", "/v1/kv/default/2", "", "")).await;
            let bulk = talk.connect().await;
            let ndjson = "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n";
            bulk.send(format!("POST /v1/kv/default/bulk HTTP/1.1\r\nHost: h\r\n{ndjson}\r\n")).await;
            talk.sleep(1).await;
            drains.iter().for_each(|drain| drain.begin());
            for _ in 0..11 {
                bulk.send("1f\r\n{\"op\":\"put\",\"key\":3,\"value\":4}\n\r\n").await;
                talk.runtime.sleep(Duration::from_millis(500)).await;
            }
            assert_eq!(running.get(), 0, "before the patience with last words is over");
            // What it does not read takes the buffers of all clients.
            drop(deaf);
            for client in [&head, &body] {
                assert_eq!(client.answer().await.status, 408);
                assert!(client.is_closed().await);
            }
        });
    }
}

#[test]
fn requests_of_a_client_that_is_gone_are_finished() {
    for seed in 0..10 {
        let mut served = Served::start(seed, 2);
        served.talk(|talk| async move {
            let client = talk.connect().await;
            let puts: Vec<u8> =
                (0..20).flat_map(|key| request("PUT", &format!("/v1/kv/default/{key}"), "", "x")).collect();
            client.send([puts, request("PUT", "/v1/collections/c", "", "")].concat()).await;
            talk.runtime.sleep(std::time::Duration::from_millis(1)).await;
            let read_one = client.try_answer_to("PUT").await.is_some();
            drop(client);
            talk.sleep(1).await;
            let answer = talk.ask("GET", "/v1/kv/default?limit=100", "", "").await;
            let found = answer.json()["records"].as_array().map_or(0, Vec::len);
            assert!(!read_one || found > 0);
            assert!(found == 0 || found == 20, "seed {seed}: a turn is finished or was never read: {found}");
        });
    }
}

#[test]
fn traced_requests_are_answered_with_their_id() {
    let mut served = Served::start(11, 1);
    served.talk(|talk| async move {
        let plain = talk.ask("GET", "/health", "", "").await;
        assert_eq!((plain.header("x-request-id"), plain.header("server-timing")), (None, None));
        let traced = talk.ask("GET", "/nothing", "X-Request-Id: me-1\r\n", "").await;
        assert_eq!(traced.header("x-request-id"), Some("me-1"));
        assert!(traced.header("server-timing").is_some_and(|timing| timing.starts_with("total;dur=")));
        assert_eq!(traced.json()["request_id"], "me-1");
        let long_id = format!("X-Request-Id: {}\r\n", "x".repeat(limits::REQUEST_ID_BYTES_MAX + 1));
        for unusable in [long_id.as_str(), "traceparent: nonsense\r\n"] {
            let traced = talk.ask("GET", "/nothing", unusable, "").await;
            let id = traced.header("x-request-id").expect("an id is made up");
            assert_eq!((id.len(), id), (16, traced.json()["request_id"].as_str().expect("text")));
        }
    });
}

#[test]
fn a_trace_is_no_reason_to_refuse() {
    Served::start(17, 2).talk(|talk| async move {
        let client = talk.connect().await;
        client.send(b"GET /health HTTP/1.1\r\nHost: h\r\nX-Request-Id: \xe9\r\n\r\n".as_slice()).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-request-id").map(str::len), Some(16), "an id made up");
    });
}
