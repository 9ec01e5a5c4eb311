//! `/v1/router`.

use serde_json::json;

use super::super::operation::Operation;
use super::super::{codes, parameters};

pub fn all() -> Vec<Operation> {
    vec![describe(), rebalance()]
}

fn describe() -> Operation {
    Operation::new("get", "/v1/router", "describeRouter", "Key ranges, their owners, sizes and loads")
        .answers_json(200, "All of them.", "Router")
        .refuses(&[(503, "not_ready")])
}

fn rebalance() -> Operation {
    Operation::new("post", "/v1/router/rebalance", "rebalance", "Make the shards even, or cut a collection")
        .about("With a body it cuts a collection of one tablet, at once.")
        .takes([parameters::flag("dry_run", "`true`: only say what would be done."), parameters::wait()])
        .json_body(
            "Where to cut what; left out, ranges move by load.",
            false,
            "Cut",
            json!({ "collection": "people", "split_at": ["h", "p"] }),
        )
        .answers_json(200, "The steps, what was done, or the cut.", "Rebalanced")
        .answers_json(202, "It has begun.", "Begun")
        .refuses(codes::COLLECTION)
        .refuses(codes::CONTROL)
        .refuses(&[
            (409, "already_split"),
            (409, "placed_by_hash"),
            (409, "ranges_changed"),
            (422, "bad_split"),
            (422, "too_many_tablets"),
            (422, "catalogue_too_large"),
        ])
}
