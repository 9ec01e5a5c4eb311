//! Large values that have to be read from the disk for one request, and a client that does not take them: what the
//! server keeps for it is bounded, and the answer is whole all the same.

mod http;
mod support;

use std::time::Duration;

use http::{Client, Served, Talk, plain_http, request};
use kyrodb::limits;
use kyrodb::net::server::Options;
use kyrodb::shard::node::Node;
use kyrodb::shard::payload::Payload;
use support::small::{put, send};

const JSON: &str = "Content-Type: application/json\r\n";
const KEYS: u64 = 32;
/// What a client takes that does not look at it: its kernel and the receive buffers of a stream.
const TAKEN: u64 = 6;

/// Alike only to itself, and its own text in JSON.
fn value(key: u64) -> String {
    format!("{key:08}").repeat(limits::MIB / 8)
}

/// Values of a mebibyte each, on all cores, none of them in memory.
async fn store(talk: &Talk, cores: usize) {
    for key in 0..KEYS {
        let target = format!("/v1/kv/default/{key}");
        assert_eq!(talk.ask("PUT", &target, "Content-Type: text/plain\r\n", value(key)).await.status, 201);
    }
    if cores > 1 {
        let split = r#"{"collection":"default","split_at":[16]}"#;
        assert_eq!(talk.ask("POST", "/v1/router/rebalance", "", split).await.status, 200);
    }
    assert_eq!(talk.ask("POST", "/v1/compact?wait=true", "", "").await.status, 200);
}

/// Values that were read from the disk so far.
async fn value_reads(node: &Node) -> u64 {
    node.stats().await.iter().map(|shard| shard.value_reads).sum()
}

/// Sends, and tells how many values are read as long as nothing of the answer is taken.
async fn reads_untaken(node: &Node, client: &Client, bytes: Vec<u8>) -> u64 {
    let before = value_reads(node).await;
    client.send(bytes).await;
    node.runtime().sleep(Duration::from_secs(5)).await;
    value_reads(node).await - before
}

/// In the simulator, where nothing but the client takes what is sent.
fn serve_and<F: Future<Output = ()> + 'static>(seed: u64, cores: usize, test: impl FnOnce(Talk, Node) -> F) {
    if http::is_real() {
        return;
    }
    let mut served = Served::start(seed, cores);
    let node = served.simulated().nodes[0].clone();
    served.talk(move |talk| test(talk, node));
}

#[test]
fn an_mget_reads_no_more_than_it_may_keep() {
    for cores in [1, 2] {
        serve_and(1, cores, move |talk, node| async move {
            store(&talk, cores).await;
            let keys: Vec<u64> = (0..KEYS).flat_map(|key| [key, 999, key]).collect();
            let client = talk.connect().await;
            let mget = request("POST", "/v1/kv/default/mget", "", format!("{{\"keys\":{keys:?}}}"));
            let before = value_reads(&node).await;
            let reads = reads_untaken(&node, &client, mget).await;
            let most = (limits::GET_MANY_BYTES_MAX / limits::MIB) as u64;
            assert!((1..=most + TAKEN).contains(&reads), "{reads} of {KEYS} values are read");
            let answer = client.answer_to("POST").await;
            let records = &answer.json()["records"];
            assert_eq!((answer.status, records.as_array().map(Vec::len)), (200, Some(keys.len())));
            for (at, key) in keys.into_iter().enumerate() {
                match key {
                    999 => assert!(records[at].is_null()),
                    _ => assert!(records[at]["key"] == key && records[at]["value"] == value(key), "{at}"),
                }
            }
            let reads = value_reads(&node).await - before;
            assert!(reads < 2 * KEYS, "{reads} values are read: equal keys have one");
        });
    }
}

/// The keys are those that were asked for, however many times each.
#[test]
fn an_mget_of_one_key_reads_it_once_a_stretch() {
    serve_and(2, 1, move |talk, node| async move {
        store(&talk, 1).await;
        let client = talk.connect().await;
        let keys = vec![3; 20];
        let mget = request("POST", "/v1/kv/default/mget", "", format!("{{\"keys\":{keys:?}}}"));
        let before = value_reads(&node).await;
        client.send(mget).await;
        let answer = client.answer_to("POST").await;
        let records = answer.json()["records"].clone();
        assert!(
            records.as_array().is_some_and(|all| all.len() == 20 && all.iter().all(|one| *one == all[0]))
        );
        assert_eq!(value_reads(&node).await - before, 1);
    });
}

#[test]
fn gets_of_a_bulk_read_no_more_than_they_may_keep() {
    serve_and(3, 2, move |talk, node| async move {
        store(&talk, 2).await;
        let mut lines: Vec<String> =
            (0..KEYS).map(|key| format!("{{\"op\":\"get\",\"key\":{key}}}")).collect();
        lines.insert(9, "{\"op\":\"none\"}".to_owned());
        lines.push("{\"op\":\"get\",\"key\":999}".to_owned());
        let client = talk.connect().await;
        let fields = "Content-Type: application/x-ndjson\r\n";
        let bulk = request("POST", "/v1/kv/default/bulk", fields, lines.join("\n"));
        let reads = reads_untaken(&node, &client, bulk).await;
        let most = (limits::GET_MANY_BYTES_MAX / limits::MIB) as u64;
        assert!((1..=most + TAKEN).contains(&reads), "{reads} of {KEYS} values are read");
        let results = client.answer_to("POST").await.lines();
        assert_eq!(results.len(), lines.len());
        let statuses: Vec<u64> =
            results.iter().map(|line| line["status"].as_u64().expect("a number")).collect();
        assert!(statuses[9] >= 400 && statuses[lines.len() - 1] == 404, "{statuses:?}");
        let found = results.iter().filter(|line| line["status"] == 200);
        assert!(
            found.map(|line| line["value"].as_str()).eq((0..KEYS)
                .map(value)
                .collect::<Vec<_>>()
                .iter()
                .map(|value| Some(value.as_str())))
        );
    });
}

#[test]
fn a_pipeline_reads_large_values_as_their_turns_come() {
    for cores in [1, 2] {
        serve_and(4, cores, move |talk, node| async move {
            store(&talk, cores).await;
            let client = talk.connect().await;
            let get = |key: u64| request("GET", &format!("/v1/kv/default/{}", key % KEYS), "", "");
            let reads = reads_untaken(&node, &client, (0..3 * KEYS).flat_map(get).collect()).await;
            assert!((1..=TAKEN + 2).contains(&reads), "{reads} values are read");
            for key in 0..3 * KEYS {
                let answer = client.answer().await;
                assert!(answer.status == 200 && answer.text() == value(key % KEYS), "key {key}");
            }
        });
    }
}

#[test]
fn a_value_that_nobody_else_has_takes_room() {
    if http::is_real() {
        return;
    }
    let mut served = Served::start_with(5, 1, Options { room_bytes: limits::MIB, ..plain_http() });
    let node = served.simulated().nodes[0].clone();
    served.talk(|talk| async move {
        for (key, len) in [(1, 2 * limits::MIB), (2, limits::MIB / 2)] {
            send(&node, put(key, Payload::new("text/plain", &vec![b'x'; len]))).await;
        }
        node.compact().await.expect("seals and merges");
        let pipeline: Vec<u8> = [1, 2, 1]
            .into_iter()
            .flat_map(|key| request("GET", &format!("/v1/kv/default/{key}"), "", ""))
            .collect();
        let client = talk.connect().await;
        client.send(pipeline).await;
        for status in [503, 200, 503] {
            assert_eq!(client.answer().await.status, status);
        }
    });
}

/// What a search gathers for a page is bounded by what is shown of the documents, whatever else they have.
#[test]
fn a_page_of_hits_shows_no_more_than_it_may_keep() {
    let mut served = Served::start(6, 2);
    served.talk(|talk| async move {
        let definition = r#"{"key_type":"u64","embedding":{"dim":2,"metric":"l2"},"split_at":[16]}"#;
        assert_eq!(talk.ask("PUT", "/v1/collections/d", JSON, definition).await.status, 201);
        for id in 0..KEYS {
            let text = value(id);
            let document =
                format!(r#"{{"id":{id},"text":"{text}","embedding":[{id},0],"metadata":{{"n":{id}}}}}"#);
            assert_eq!(talk.ask("POST", "/v1/collections/d", JSON, document).await.status, 201);
        }
        let search = async |more: &str| {
            let body = format!(r#"{{"embedding":[0,0],{more}}}"#);
            talk.ask("POST", "/v1/collections/d/search", JSON, body).await
        };
        let refused = search(&format!(r#""limit":{KEYS},"include":["text"]"#)).await;
        assert_eq!((refused.status, &refused.json()["errors"][0]["pointer"]), (422, &"/limit".into()));
        for (limit, include) in [(4, "text"), (KEYS, "metadata")] {
            let hits =
                search(&format!(r#""limit":{limit},"include":["{include}"]"#)).await.json()["hits"].clone();
            assert_eq!(hits.as_array().map(Vec::len), Some(limit as usize));
            for id in 0..limit {
                let hit = &hits[id as usize];
                match include {
                    "text" => {
                        assert!(hit["id"] == id && hit["text"] == value(id) && hit["metadata"].is_null())
                    }
                    _ => assert!(hit["metadata"]["n"] == id && hit["text"].is_null(), "{hit}"),
                }
            }
        }
    });
}
