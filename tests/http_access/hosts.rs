//! Under which names a server without keys is read.

use kyrodb::net::access::hosts::Hosts;
use kyrodb::net::access::role::Role;
use kyrodb::net::access::shared::{Access, Settings};

use super::{made, serve_with};

/// A request as a page sends one whose name was made to point at this machine: it reads, with no origin but its own.
fn read_under(host: &str, method: &str, target: &str, lines: &str) -> Vec<u8> {
    format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n").into_bytes()
}

#[test]
fn without_keys_nothing_is_read_under_a_name_that_could_be_anybody_s() {
    let access = Access::default();
    serve_with(15, access.clone(), async move |talk| {
        assert_eq!(talk.ask("PUT", "/v1/kv/default/1", "", "x").await.status, 201);
        let get = async |host: &str, method: &str, target: &str, lines: &str| {
            let client = talk.connect().await;
            // Twice: the second head has the fields of the first.
            client.send(read_under(host, method, target, lines).repeat(2)).await;
            let answers = [client.answer_to(method).await, client.answer_to(method).await];
            assert_eq!(answers[0].status, answers[1].status);
            answers.into_iter().next().expect("two")
        };
        let strange =
            ["evil.example", "evil.example:3030", "127.0.0.1.evil.example", "1.2.3.4a.b", "a.localhost.c"];
        for host in strange {
            for target in
                ["/v1/kv/default/1", "/v1/get_fast/1", "/v1/kv/default", "/v1/collections", "/metrics"]
            {
                let refused = get(host, "GET", target, "").await;
                assert_eq!(refused.status, 403, "{target} under {host}");
                assert!(refused.text().contains("allowed_hosts"), "{}", refused.text());
            }
            assert_eq!(get(host, "HEAD", "/v1/kv/default/1", "").await.status, 403);
            assert_eq!(get(host, "GET", "/health", "").await.status, 200, "it tells nothing");
        }
        let own = [
            "127.0.0.1:3030",
            "127.0.0.1",
            "[::1]:3030",
            "[::1]",
            "localhost:3030",
            "LocalHost",
            "localhost.",
            "a.localhost",
            "kyrodb",
            "10.1.2.3:80",
        ];
        for host in own {
            assert_eq!(get(host, "GET", "/v1/kv/default/1", "").await.status, 200, "{host}");
        }
        let old = talk.connect().await;
        old.send(&b"GET /v1/kv/default/1 HTTP/1.0\r\n\r\n"[..]).await;
        assert_eq!(old.answer().await.status, 200, "HTTP/1.0 names no host");
        // With a key it is the key that counts.
        let reader = made(1, Role::Read, &[]);
        access.publish(vec![reader.key]);
        assert_eq!(get("evil.example", "GET", "/v1/kv/default/1", &reader.line).await.status, 200);
    });
}

#[test]
fn names_that_are_configured_may_be_read_under_without_keys() {
    let hosts = Hosts::parse("db.example").expect("a name");
    let access = Access::new(Settings { hosts, ..Settings::default() });
    serve_with(16, access, async move |talk| {
        for (host, status) in [("db.example", 200), ("DB.example:80", 200), ("evil.example", 403)] {
            let client = talk.connect().await;
            client.send(read_under(host, "GET", "/v1/collections", "")).await;
            assert_eq!(client.answer().await.status, status, "{host}");
        }
        let metrics = talk.ask("GET", "/metrics", "", "").await;
        assert!(
            metrics.text().contains("kyrodb_access_denials_total{reason=\"host\"} 1"),
            "{}",
            metrics.text()
        );
    });
}
