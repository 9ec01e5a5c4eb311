//! The core v1 routes, on the collection `default`.

use std::sync::Arc;

use super::once::Named;
use super::work::{GetForm, WriteForm};
use super::{Work, durability, json_body, kv, no_parameters, values, whole_body};
use crate::net::access::caller::Permit;
use crate::net::entity_tag::write_condition;
use crate::net::json::value;
use crate::net::parser::Request;
use crate::net::parser::head::Head;
use crate::net::parser::target::Query;
use crate::net::problem::Problem;
use crate::shard::catalogue::{Collection, DEFAULT_COLLECTION};
use crate::shard::key::Key;
use crate::shard::node::Node;
use crate::shard::record::{Change, Write};

fn default_collection(node: &Node) -> Result<Arc<Collection>, Problem> {
    values(node, DEFAULT_COLLECTION)
}

pub fn get_fast(node: &Node, head: &Head<'_>, key: &str) -> Result<Work, Problem> {
    no_parameters(head)?;
    kv::get_record(head, default_collection(node)?, key)
}

pub fn lookup_fast(node: &Node, head: &Head<'_>, key: &str) -> Result<Work, Problem> {
    no_parameters(head)?;
    let collection = default_collection(node)?;
    let key = kv::path_key(&collection, key)?;
    Ok(Work::Wanted { collection, key, form: GetForm::Offset })
}

pub fn lookup(node: &Node, head: &Head<'_>) -> Result<Work, Problem> {
    let mut query = Query::parse(head.query)?;
    let text = query.take("key").ok_or_else(|| Problem::parameter("key", "is missing"))?;
    query.finish()?;
    let collection = default_collection(node)?;
    let key_type = collection.definition.key_type;
    let key = Key::parse(key_type, &text).map_err(|error| {
        Problem::new(422, "invalid_key", error.to_string()).at("/query/key", error.to_string())
    })?;
    let form = GetForm::Record { key: key.clone(), key_type };
    Ok(Work::Wanted { collection, key, form })
}

pub fn put(node: &Node, request: &Request<'_>, permit: Permit<'_>) -> Result<Work, Problem> {
    let head = &request.head;
    no_parameters(head)?;
    let named = Named::of(head, permit)?;
    let collection = default_collection(node)?;
    let mut body = json_body(request)?;
    let key = value::key_from_json(body.required("key")?, collection.definition.key_type, "/key")?;
    let payload = value::payload_from_json(body.required("value")?, None, "/value")?;
    body.finish()?;
    let whole = whole_body(request)?;
    let write = Write {
        once: named.map(|named| named.once(head, whole, collection.id, &key)),
        key,
        change: Change::Put { payload, expires: None },
        condition: write_condition(&head.fields)?,
        durability: durability(node, head, &collection)?,
    };
    Ok(Work::Write { answer: node.write(&collection, write), form: WriteForm::Offset })
}
