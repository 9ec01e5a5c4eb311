//! `/v1/collections`.

use serde_json::json;

use super::super::operation::Operation;
use super::super::{codes, parameters};
use super::shown;

const ONE: &str = "/v1/collections/{collection}";

pub fn all() -> Vec<Operation> {
    vec![list(), describe(), create(), remove()]
}

fn list() -> Operation {
    Operation::new("get", "/v1/collections", "listCollections", "All collections")
        .answers_json(200, "Their definitions.", "CollectionList")
        .refuses(&[(503, "not_ready")])
}

fn describe() -> Operation {
    Operation::new("get", ONE, "describeCollection", "One collection, with its counts")
        .takes([parameters::collection("default")])
        .answers_json(200, "Definition, records and bytes.", "Collection")
        .refuses(codes::COLLECTION)
}

fn create() -> Operation {
    let example = json!({ "key_type": "string", "fields": { "year": "i64", "tags": "keyword[]" } });
    Operation::new("put", ONE, "createCollection", "Create a collection")
        .about("Empty without a body: string keys, values, placed by range.")
        .takes([parameters::new_collection()])
        .json_body("The definition.", false, "CollectionDefinition", example)
        .answers(201, "It was created.", &[], &[("application/json", shown("Collection", described()))])
        .answers(
            200,
            "It is there, with this very definition.",
            &[],
            &[("application/json", shown("Collection", described()))],
        )
        .refuses(codes::JSON_ONLY)
        .refuses(codes::CONTROL)
        .refuses(&[
            (409, "exists_differently"),
            (422, "invalid_name"),
            (422, "too_many_collections"),
            (422, "too_many_tablets"),
            (422, "catalogue_too_large"),
            (422, "bad_split"),
        ])
}

fn described() -> serde_json::Value {
    json!({
        "name": "people",
        "key_type": "string",
        "durability": null,
        "placement": "range",
        "created_ms": 1_700_000_000_000_u64,
        "tablets": 1,
        "indexes": [],
    })
}

fn remove() -> Operation {
    Operation::new("delete", ONE, "dropCollection", "Drop a collection with all that is in it")
        .takes([parameters::collection("people")])
        .answers(204, "It is gone.", &[], &[])
        .refuses(codes::JSON_ONLY)
        .refuses(codes::COLLECTION)
        .refuses(codes::CONTROL)
        .refuses(&[(409, "collection_is_fixed")])
}
