//! Who may ask for an operation: what the server itself decides by, in the words of the document.

use serde_json::{Value, json};

use super::codes;
use super::operation::Operation;
use super::paths::sample;
use crate::net::access::decision::{Need, need_of};
use crate::net::parser::head::Method;
use crate::net::routes::Resource;

/// Its name among the security schemes.
const KEY: &str = "key";

pub fn schemes() -> Value {
    json!({
        KEY: {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key (`kyrodb key create`). A server that has never had one asks for none.",
        },
    })
}

/// The operation with what it takes of its caller, and the answers to those who do not have it.
pub fn secured(operation: Operation) -> Operation {
    let path = sample(operation.path);
    let name = operation.method.to_uppercase();
    let resource = Resource::find(&path, Method::named(&name)).expect("each operation is a route");
    // One route tells more when it is asked to.
    let needs = ["", "verbose=true"].map(|query| need_of(resource, Method::named(&name), query));
    let Some(need) = needs.iter().find(|need| need.budget().is_some()) else {
        return Operation { security: json!([]), ..operation };
    };
    let is_always = needs[0].budget().is_some();
    let takes = if is_always { takes(need) } else { format!("With `verbose`: {}", takes(need)) };
    let operation = operation.refuses(codes::KEYED);
    let operation = if matches!(need, Need::AnyKey) { operation.never(403, "forbidden") } else { operation };
    // Also without a key: nothing is asked for where there are none.
    Operation { security: json!([{ KEY: [] }, {}]), takes, is_limited: true, ..operation }
}

fn takes(need: &Need<'_>) -> String {
    match need {
        Need::Collection { role, .. } => format!("Takes a key with the role `{role}` for the collection."),
        Need::Server { role } => format!("Takes a key with the role `{role}` for everything."),
        Need::AnyKey => "Takes any key; it shows what the key is for.".to_owned(),
        Need::Public | Need::NoSuchMethod => String::new(),
    }
}
