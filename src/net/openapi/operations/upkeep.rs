//! Snapshots, work on all shards, operations.

use super::super::operation::Operation;
use super::super::{codes, parameters};

pub fn all() -> Vec<Operation> {
    vec![snapshot(), list(), remove(), compact(), warm_up(), build_indexes(), operation(), operations()]
}

/// Work that is begun, or waited for. It takes no body.
fn work(path: &'static str, id: &str, summary: &'static str, done: &str) -> Operation {
    Operation::new("post", path, id, summary)
        .takes([parameters::wait()])
        .answers_json(200, "It is done.", done)
        .answers_json(202, "It has begun.", "Begun")
        .refuses(codes::BODY)
        .refuses(codes::UPKEEP)
        .refuses(&[(422, "invalid_body")])
}

fn snapshot() -> Operation {
    work("/v1/snapshot", "takeSnapshot", "Take a snapshot of all that is acknowledged", "Snapshot")
        .refuses(&[(500, "snapshot_failed")])
}

fn list() -> Operation {
    Operation::new("get", "/v1/snapshots", "listSnapshots", "All snapshots, the oldest first")
        .answers_json(200, "The snapshots.", "SnapshotList")
        .refuses(&[(500, "snapshot_failed"), (503, "not_ready")])
}

fn remove() -> Operation {
    Operation::new("delete", "/v1/snapshots/{id}", "dropSnapshot", "Drop a snapshot")
        .takes([parameters::id("The id of a snapshot.")])
        .answers(204, "It is gone.", &[], &[])
        .refuses(&[(404, "no_such_snapshot"), (500, "snapshot_failed"), (503, "not_ready")])
}

fn compact() -> Operation {
    work("/v1/compact", "compact", "Seal and compact all shards", "UpkeepDone")
}

fn warm_up() -> Operation {
    work("/v1/warmup", "warmUp", "Load what stays in memory", "UpkeepDone")
        .takes([parameters::flag("values", "`true`: values too, as far as they fit.")])
}

fn build_indexes() -> Operation {
    work("/v1/rmi/build", "buildIndexes", "Build the indexes of all runs anew", "UpkeepDone")
}

fn operation() -> Operation {
    Operation::new("get", "/v1/operations/{id}", "describeOperation", "How far long work is")
        .about("The last ones are remembered; a restart forgets them.")
        .takes([parameters::id("The id of an operation.")])
        .answers_json(200, "Its state.", "Operation")
        .refuses(&[(404, "no_such_operation"), (503, "not_ready")])
}

fn operations() -> Operation {
    Operation::new(
        "get",
        "/v1/operations",
        "listOperations",
        "All long work that is remembered, the oldest first",
    )
    .about("Work that nobody asked for, such as merges of indexes (`index_merge`), is told while it runs. What came of an operation is told by its id.")
    .answers_json(200, "Their states.", "OperationList")
    .refuses(&[(503, "not_ready")])
}
