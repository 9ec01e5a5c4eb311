//! `/v1/kv/{collection}/{key}`: records as raw bytes with their content type; documents as their JSON.

use std::sync::Arc;

use super::once::Named;
use super::work::{GetForm, WriteForm};
use super::{Work, collection, documents, durability, no_parameters, values, whole_body};
use crate::limits;
use crate::net::access::caller::Permit;
use crate::net::entity_tag::{ReadCondition, write_condition};
use crate::net::json::value;
use crate::net::parser::Request;
use crate::net::parser::head::{Framing, Head};
use crate::net::parser::target::{Query, decode_segment};
use crate::net::problem::Problem;
use crate::net::ttl;
use crate::shard::catalogue::Collection;
use crate::shard::key::Key;
use crate::shard::node::Node;
use crate::shard::payload::{self, Payload};
use crate::shard::record::{Change, Expiry, Write};

pub fn get(node: &Node, head: &Head<'_>, name: &str, key: &str) -> Result<Work, Problem> {
    let collection = collection(node, name)?;
    if collection.definition.documents.is_some() {
        return documents::get_document(node, head, collection, key);
    }
    no_parameters(head)?;
    get_record(head, collection, key)
}

/// The record of an encoded key, as raw bytes.
pub fn get_record(head: &Head<'_>, collection: Arc<Collection>, key: &str) -> Result<Work, Problem> {
    let key = path_key(&collection, key)?;
    let form = GetForm::Value(ReadCondition::of(&head.fields)?);
    Ok(Work::Wanted { collection, key, form })
}

pub fn put(
    node: &Node,
    request: &Request<'_>,
    name: &str,
    key: &str,
    permit: Permit<'_>,
) -> Result<Work, Problem> {
    let head = &request.head;
    let collection = values(node, name)?;
    let key = path_key(&collection, key)?;
    let expires = take_ttl(head)?;
    let named = Named::of(head, permit)?;
    if head.framing == Framing::Absent {
        return Err(Problem::new(411, "length_required", "a value needs a Content-Length or chunks"));
    }
    let body = whole_body(request)?;
    value::check_value_len(body.len(), "")?;
    let payload = Payload::new(content_type(head)?, body);
    let write = Write {
        once: named.map(|named| named.once(head, body, collection.id, &key)),
        key,
        change: Change::Put { payload, expires },
        condition: write_condition(&head.fields)?,
        durability: durability(node, head, &collection)?,
    };
    Ok(Work::Write { answer: node.write(&collection, write), form: WriteForm::Put })
}

pub fn delete(
    node: &Node,
    head: &Head<'_>,
    name: &str,
    key: &str,
    permit: Permit<'_>,
) -> Result<Work, Problem> {
    let collection = collection(node, name)?;
    delete_record(node, head, &collection, key, permit)
}

/// Deletes the record of an encoded key, whatever it is.
pub fn delete_record(
    node: &Node,
    head: &Head<'_>,
    collection: &Arc<Collection>,
    key: &str,
    permit: Permit<'_>,
) -> Result<Work, Problem> {
    no_parameters(head)?;
    let key = path_key(collection, key)?;
    let write = Write {
        once: Named::of(head, permit)?.map(|named| named.once(head, b"", collection.id, &key)),
        key,
        change: Change::Delete,
        condition: write_condition(&head.fields)?,
        durability: durability(node, head, collection)?,
    };
    Ok(Work::Write { answer: node.write(collection, write), form: WriteForm::Delete })
}

pub fn path_key(collection: &Collection, segment: &str) -> Result<Key, Problem> {
    Ok(Key::parse(collection.definition.key_type, &decode_segment(segment)?)?)
}

pub(super) fn take_ttl(head: &Head<'_>) -> Result<Option<Expiry>, Problem> {
    let mut query = Query::parse(head.query)?;
    let text = query.take("ttl");
    query.finish()?;
    text.map(|text| ttl::expiry(&text).map_err(|what| Problem::parameter("ttl", what))).transpose()
}

/// The type to store: what the client says, as long as it could be sent back in a header.
pub(super) fn content_type<'a>(head: &Head<'a>) -> Result<&'a str, Problem> {
    let Some(given) = head.fields.content_type().filter(|given| !given.is_empty()) else {
        return Ok(payload::OCTET_STREAM);
    };
    if given.len() > limits::CONTENT_TYPE_BYTES_MAX {
        return Err(Problem::header("Content-Type", "is too long"));
    }
    if !given.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err(Problem::header("Content-Type", "is not visible ASCII"));
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_type_can_be_sent_back() {
        let of = |text| {
            let head = format!("PUT /a HTTP/1.1\r\nHost: h\r\nContent-Type: {text}\r\n\r\n");
            content_type(&Head::parse(head.as_bytes()).unwrap()).map(str::to_owned).map_err(|p| p.status)
        };
        assert_eq!(of("text/html; charset=x"), Ok("text/html; charset=x".to_owned()));
        assert_eq!(of(""), Ok(payload::OCTET_STREAM.to_owned()));
        assert_eq!(of("a\u{e9}"), Err(400));
        assert_eq!(of(&"a".repeat(limits::CONTENT_TYPE_BYTES_MAX + 1)), Err(400));
    }
}
