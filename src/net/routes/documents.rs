//! `/v1/collections/{collection}` and `/docs/{id}` below it: documents one at a time.

use std::sync::Arc;

use super::kv::{path_key, take_ttl};
use super::once::Named;
use super::{Work, collection, durability, no_parameters, require_type, whole_body};
use crate::limits;
use crate::net::access::caller::Permit;
use crate::net::entity_tag::{ReadCondition, Verdict, write_condition};
use crate::net::json::document::DocumentBody;
use crate::net::json::pieces::respond;
use crate::net::json::value::{append_key, append_number};
use crate::net::parser::Request;
use crate::net::parser::head::Head;
use crate::net::problem::Problem;
use crate::net::response::{JSON, Response};
use crate::shard::catalogue::Collection;
use crate::shard::document::encoding::{self, Document, Parts};
use crate::shard::document::merge_patch::merge_patch;
use crate::shard::document::metadata::Metadata;
use crate::shard::document::parse::{self, NewDocument};
use crate::shard::document::schema::Schema;
use crate::shard::key::{Key, KeyType};
use crate::shard::node::Node;
use crate::shard::payload::Payload;
use crate::shard::record::{Change, Condition, Expiry, Found, Once, Refusal, Write, Written};
use crate::shard::tablet::holds;

/// The collection of an encoded path segment, if it has documents.
pub fn documents(node: &Node, segment: &str) -> Result<Arc<Collection>, Problem> {
    let collection = collection(node, segment)?;
    match collection.definition.documents {
        Some(_) => Ok(collection),
        None => Err(Problem::wrong_kind(
            "the collection has values, at /v1/kv/{collection}: one of documents is created with \
             \"embedding\" or \"fields\"",
        )),
    }
}

pub fn schema(collection: &Collection) -> &Schema {
    collection.definition.documents.as_ref().expect("asked for when the collection was found")
}

/// A document with an id of its own, or a new one.
pub fn insert(node: &Node, request: &Request<'_>, name: &str, permit: Permit<'_>) -> Result<Work, Problem> {
    let head = &request.head;
    let collection = documents(node, name)?;
    let expires = take_ttl(head)?;
    let named = Named::of(head, permit)?;
    let if_absent = asks_for_absence(head)?;
    let document = parse_body(request, &collection)?;
    let key_type = collection.definition.key_type;
    let key = document.id.unwrap_or_else(|| match named {
        Some(named) => named.document_id(collection.id, key_type),
        None => new_id(node, key_type),
    });
    let write = Write {
        once: once_of(named, request, &collection, &key)?,
        key: key.clone(),
        change: Change::Put { payload: Payload::document(&document.encoded), expires },
        condition: Condition::Absent,
        durability: durability(node, head, &collection)?,
    };
    let answer = node.write(&collection, write);
    Ok(Work::task(async move {
        match answer.get().await {
            Err(Refusal::ConditionFailed { .. }) if !if_absent => {
                Err(Problem::new(409, "document_exists", "a document of this id is there: PUT replaces it"))
            }
            Err(refusal) => Err(refusal.into()),
            Ok(written) => Ok(told(201, &key, key_type, written)),
        }
    }))
}

/// An insert is for what is not there, said or not; said, its refusal is that of a condition.
fn asks_for_absence(head: &Head<'_>) -> Result<bool, Problem> {
    match write_condition(&head.fields)? {
        Condition::None => Ok(false),
        Condition::Absent => Ok(true),
        _ => Err(Problem::header(
            "If-Match",
            "can never hold for an insert: PUT replaces a document of a version",
        )),
    }
}

fn once_of(
    named: Option<Named<'_>>,
    request: &Request<'_>,
    collection: &Collection,
    key: &Key,
) -> Result<Option<Box<Once>>, Problem> {
    let Some(named) = named else { return Ok(None) };
    Ok(Some(named.once(&request.head, whole_body(request)?, collection.id, key)))
}

/// An id that nothing has, nearly certainly. Of numbers one that every JSON reader knows exactly.
pub fn new_id(node: &Node, key_type: KeyType) -> Key {
    let random = || node.runtime().random();
    match key_type {
        KeyType::U64 => Key::from_u64(random() >> 11),
        KeyType::String => Key::from_bytes(format!("{:016x}{:016x}", random(), random()).as_bytes()),
    }
}

pub fn put(
    node: &Node,
    request: &Request<'_>,
    name: &str,
    id: &str,
    permit: Permit<'_>,
) -> Result<Work, Problem> {
    let head = &request.head;
    let collection = documents(node, name)?;
    let key = path_key(&collection, id)?;
    let expires = take_ttl(head)?;
    let document = parse_body(request, &collection)?;
    if document.id.is_some_and(|id| id != key) {
        return Err(Problem::wrong("/id", "is not the id in the path"));
    }
    let write = Write {
        once: once_of(Named::of(head, permit)?, request, &collection, &key)?,
        key: key.clone(),
        change: Change::Put { payload: Payload::document(&document.encoded), expires },
        condition: write_condition(&head.fields)?,
        durability: durability(node, head, &collection)?,
    };
    let answer = node.write(&collection, write);
    Ok(Work::task(async move {
        let written = answer.get().await?;
        let status = if written.created { 201 } else { 200 };
        Ok(told(status, &key, collection.definition.key_type, written))
    }))
}

fn parse_body(request: &Request<'_>, collection: &Collection) -> Result<NewDocument, Problem> {
    let is_json = |essence: &str| essence == "application/json" || essence.ends_with("+json");
    require_type(&request.head, "application/json", is_json)?;
    let shape = schema(collection).shape(collection.definition.key_type);
    Ok(parse::parse(whole_body(request)?, &shape)?)
}

/// `{"id":..,"seq":..}`
fn told(status: u16, key: &Key, key_type: KeyType, written: Written) -> Response {
    let mut bytes = Vec::with_capacity(64);
    bytes.extend_from_slice(b"{\"id\":");
    append_key(key, key_type, &mut bytes);
    bytes.extend_from_slice(b",\"seq\":");
    append_number(written.seq.0, &mut bytes);
    bytes.push(b'}');
    let mut response = Response::bytes(status, JSON, bytes);
    response.version = Some(written.seq);
    response.written = Some(written);
    response
}

pub fn get(node: &Node, head: &Head<'_>, name: &str, id: &str) -> Result<Work, Problem> {
    get_document(node, head, documents(node, name)?, id)
}

pub fn get_document(
    node: &Node,
    head: &Head<'_>,
    collection: Arc<Collection>,
    id: &str,
) -> Result<Work, Problem> {
    no_parameters(head)?;
    let key = path_key(&collection, id)?;
    let condition = ReadCondition::of(&head.fields)?.unwrap_or_default();
    let answer = node.get_ahead(&collection, &key);
    let node = node.clone();
    Ok(Work::task(async move {
        let found = match answer.get().await {
            // Its turn has come.
            Err(Refusal::NotAhead) => node.get(&collection, &key).get().await?,
            found => found?,
        };
        let current = found.as_ref().map(|found| found.seq);
        let mut response = match (condition.judge(current), found) {
            (Verdict::Failed, _) => return Err(Refusal::ConditionFailed { current }.into()),
            (Verdict::Send, None) => return Err(Problem::absent()),
            (Verdict::NotModified, _) => Response::empty(304),
            (Verdict::Send, Some(found)) => {
                respond(DocumentBody::new(key, collection.definition.key_type, found.payload))?
            }
        };
        response.version = current;
        Ok(response)
    }))
}

pub fn delete(
    node: &Node,
    head: &Head<'_>,
    name: &str,
    id: &str,
    permit: Permit<'_>,
) -> Result<Work, Problem> {
    let collection = documents(node, name)?;
    super::kv::delete_record(node, head, &collection, id, permit)
}

/// JSON merge patch (RFC 7396) of the metadata.
pub fn patch(
    node: &Node,
    request: &Request<'_>,
    name: &str,
    id: &str,
    permit: Permit<'_>,
) -> Result<Work, Problem> {
    let head = &request.head;
    no_parameters(head)?;
    let collection = documents(node, name)?;
    let key = path_key(&collection, id)?;
    let is_patch = |essence: &str| ["application/merge-patch+json", "application/json"].contains(&essence);
    require_type(head, "application/merge-patch+json", is_patch)?;
    let patch = String::from_utf8(whole_body(request)?.to_vec())
        .map_err(|_| Problem::new(400, "malformed_json", "the body is not UTF-8").at("", "is not UTF-8"))?;
    let patching = Patching {
        once: once_of(Named::of(head, permit)?, request, &collection, &key)?,
        node: node.clone(),
        condition: write_condition(&head.fields)?,
        durability: durability(node, head, &collection)?,
        collection,
        key,
        patch,
    };
    Ok(Work::task(patching.carry_out()))
}

struct Patching {
    node: Node,
    collection: Arc<Collection>,
    key: Key,
    patch: String,
    condition: Condition,
    durability: crate::shard::record::Durability,
    once: Option<Box<Once>>,
}

impl Patching {
    /// Reads, and writes if nobody else has written meanwhile; else again.
    async fn carry_out(self) -> Result<Response, Problem> {
        if let Some(written) = self.recall().await? {
            return Ok(told(200, &self.key, self.collection.definition.key_type, written));
        }
        for _ in 0..limits::PATCH_ATTEMPTS_MAX {
            let found = self.node.get(&self.collection, &self.key).get().await?;
            let current = found.as_ref().map(|found| found.seq);
            if !holds(self.condition, current) {
                return Err(Refusal::ConditionFailed { current }.into());
            }
            let found = found.ok_or_else(Problem::absent)?;
            let write = Write {
                key: self.key.clone(),
                change: Change::Put {
                    payload: self.patched(&found)?,
                    expires: found.expires.map(Expiry::At),
                },
                condition: Condition::SeqIs(found.seq),
                durability: self.durability,
                once: self.once.clone(),
            };
            match self.node.write(&self.collection, write).get().await {
                Err(Refusal::ConditionFailed { .. }) => {}
                Err(refusal) => return Err(refusal.into()),
                Ok(written) => {
                    return Ok(told(200, &self.key, self.collection.definition.key_type, written));
                }
            }
        }
        Err(Refusal::Overloaded { queue: "queue of writes to this document" }.into())
    }

    /// What came of it, if it was carried out before. Asked first: what is there now may be of another shape.
    async fn recall(&self) -> Result<Option<Written>, Problem> {
        let Some(once) = &self.once else { return Ok(None) };
        let asks = Write {
            key: self.key.clone(),
            change: Change::Delete,
            condition: Condition::None,
            durability: self.durability,
            once: Some(Box::new(Once { asks_only: true, ..**once })),
        };
        match self.node.write(&self.collection, asks).get().await {
            Ok(written) => Ok(Some(written)),
            Err(Refusal::Absent) => Ok(None),
            Err(refusal) => Err(refusal.into()),
        }
    }

    fn patched(&self, found: &Found) -> Result<Payload, Problem> {
        let damaged = |damage: encoding::Damage| Problem::damaged_document(&damage);
        let before = Parts::of(found.payload.value()).and_then(Parts::document).map_err(damaged)?;
        let metadata = merge_patch(before.metadata, &self.patch)?;
        let metadata = Metadata::from_compact(&metadata);
        schema(&self.collection).fields.check(metadata)?;
        Ok(Payload::document(&encoding::encode(&Document { metadata, ..before })))
    }
}
