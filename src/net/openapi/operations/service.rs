//! What probes and scrapers ask.

use serde_json::json;

use super::super::operation::Operation;
use super::super::parameters;

pub fn all() -> Vec<Operation> {
    vec![
        probe("/health", "health", "Whether the process answers", "Healthy"),
        probe("/livez", "live", "Whether the process lives", "Live"),
        ready(),
        probe("/build_info", "buildInfo", "What is running", "BuildInfo"),
        metrics(),
        openapi(),
    ]
}

/// Probes accept anything, whatever they say.
fn probe(path: &'static str, id: &str, summary: &'static str, schema: &str) -> Operation {
    Operation::new("get", path, id, summary)
        .answers_json(200, "It does.", schema)
        .never(406, "not_acceptable")
}

fn ready() -> Operation {
    Operation::new("get", "/readyz", "ready", "Whether every shard takes reads and writes")
        .about("While it is not ready the problem names `recovering_shards` and `poisoned_shards`.")
        .takes([parameters::flag("verbose", "`true`: each shard.")])
        .answers_json(200, "It is ready.", "Ready")
        .never(406, "not_acceptable")
        .refuses(&[(503, "not_ready"), (503, "storage_failed")])
}

fn metrics() -> Operation {
    let text = || json!({ "schema": { "type": "string" } });
    Operation::new("get", "/metrics", "metrics", "Prometheus or OpenMetrics text, by `Accept`").answers(
        200,
        "All metrics.",
        &[],
        &[("text/plain", text()), ("application/openmetrics-text", text())],
    )
}

fn openapi() -> Operation {
    let document = json!({ "schema": { "type": "object", "additionalProperties": true } });
    Operation::new("get", "/openapi.json", "openapi", "This document").answers(
        200,
        "OpenAPI 3.1.",
        &[],
        &[("application/json", document)],
    )
}
