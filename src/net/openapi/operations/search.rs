//! Search and count.

use serde_json::json;

use super::super::operation::Operation;
use super::super::{codes, parameters};

pub fn all() -> Vec<Operation> {
    vec![search(), count()]
}

fn on_documents(operation: Operation) -> Operation {
    operation
        .takes([parameters::collection("books")])
        .refuses(codes::COLLECTION)
        .refuses(codes::KIND)
        .refuses(codes::READS)
}

fn search() -> Operation {
    on_documents(Operation::new(
        "post",
        "/v1/collections/{collection}/search",
        "search",
        "The documents nearest to an embedding that a filter lets through",
    ))
    .about(
        "Scores are higher for nearer: the cosine, the dot product, or the negative squared distance. A search gives \
         `limit` hits when as many documents match.",
    )
    .json_body(
        "The query.",
        true,
        "Search",
        json!({ "embedding": [1, 0, 0], "filter": { "year": { "$gte": 1900 } }, "limit": 3 }),
    )
    .answers_json(200, "The hits, the nearest first.", "Hits")
}

fn count() -> Operation {
    on_documents(Operation::new(
        "post",
        "/v1/collections/{collection}/count",
        "count",
        "How many documents a filter lets through",
    ))
    .json_body("The filter.", true, "Count", json!({ "filter": { "tags": "history" } }))
    .answers_json(200, "Their number.", "Counted")
}
