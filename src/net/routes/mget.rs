//! `POST /v1/kv/{collection}/mget`: records by their keys, in the order of the keys.
//!
//! The values of many keys may be more than memory is for: they are read as far as [`Node::get_first`] has room for
//! them, and the rest when those are sent. What fits is all read before the answer begins.
//!
//! Invariant: no value is read before those that were read for the same answer are sent.

use std::sync::Arc;
use std::vec::IntoIter;

use super::{Work, collection, json_body, no_parameters};
use crate::limits;
use crate::net::json::object;
use crate::net::json::pieces::Records;
use crate::net::json::value;
use crate::net::parser::Request;
use crate::net::problem::Problem;
use crate::net::response::{JSON, LocalFuture, Response, Source, room_with};
use crate::shard::catalogue::Collection;
use crate::shard::key::{Key, KeyType};
use crate::shard::node::Node;
use crate::shard::record::Found;

pub fn get_many(node: &Node, request: &Request<'_>, name: &str) -> Result<Work, Problem> {
    no_parameters(&request.head)?;
    let collection = collection(node, name)?;
    let (keys, exact) = decode_keys(request, collection.definition.key_type)?;
    let answer = node.get_first(&collection, &keys);
    let node = node.clone();
    Ok(Work::task(async move {
        let found = answer.get().await?;
        Answers::new(node, collection, exact, keys, found).into_response().await
    }))
}

/// The keys, and whether their records are wanted in the exact form.
fn decode_keys(request: &Request<'_>, key_type: KeyType) -> Result<(Vec<Key>, bool), Problem> {
    let mut body = json_body(request)?;
    let keys = object::array(body.required("keys")?, "/keys")?;
    let exact = body.optional("exact").map(|raw| object::typed(raw, "/exact", "true or false"));
    let exact = exact.transpose()?.unwrap_or(false);
    body.finish()?;
    if keys.len() > limits::MGET_KEYS_MAX {
        return Err(Problem::wrong("/keys", format!("has more than {} keys", limits::MGET_KEYS_MAX)));
    }
    let decode = |(index, raw): (usize, &&_)| value::key_from_json(raw, key_type, &format!("/keys/{index}"));
    Ok((keys.iter().enumerate().map(decode).collect::<Result<_, _>>()?, exact))
}

/// The answer under way.
struct Answers {
    node: Node,
    collection: Arc<Collection>,
    /// Not read yet.
    keys: IntoIter<Key>,
    records: Records<IntoIter<(Key, Option<Found>)>>,
    /// Of the records that were read last.
    own_bytes: usize,
    /// Made before the answer began.
    first: Vec<u8>,
}

impl Answers {
    /// `found`: of the first of the keys.
    fn new(
        node: Node,
        collection: Arc<Collection>,
        exact: bool,
        keys: Vec<Key>,
        found: Vec<Option<Found>>,
    ) -> Answers {
        let none = Vec::new().into_iter();
        let records = Records::list(collection.definition.key_type, exact, none, "]}".to_owned());
        let keys = keys.into_iter();
        let mut answers = Answers { node, collection, keys, records, own_bytes: 0, first: Vec::new() };
        answers.take(found);
        answers
    }

    fn take(&mut self, found: Vec<Option<Found>>) {
        let own_bytes = |found: &Option<Found>| found.as_ref().map_or(0, |found| found.payload.own_bytes());
        self.own_bytes = found.iter().map(own_bytes).sum();
        let goes_on = found.len() < self.keys.len();
        let records: Vec<_> =
            found.into_iter().zip(self.keys.by_ref()).map(|(found, key)| (key, found)).collect();
        self.records.go_on(records.into_iter(), goes_on);
    }

    async fn append_next(&mut self, out: &mut Vec<u8>) -> Result<bool, Problem> {
        loop {
            if self.records.append_some(out)? {
                return Ok(true);
            }
            if !self.records.goes_on() {
                return Ok(false);
            }
            self.own_bytes = 0;
            let found = self.node.get_first(&self.collection, self.keys.as_slice()).get().await;
            self.take(found?);
        }
    }

    /// Whole when it is small, else as a stream.
    async fn into_response(mut self) -> Result<Response, Problem> {
        let mut first = Vec::new();
        if !self.append_next(&mut first).await? {
            return Ok(Response::bytes(200, JSON, first));
        }
        self.first = first;
        Ok(Response::stream(JSON, self))
    }
}

impl Source for Answers {
    fn next<'a>(&'a mut self, out: &'a mut Vec<u8>) -> LocalFuture<'a, Result<bool, Problem>> {
        Box::pin(async move {
            if self.first.is_empty() {
                return self.append_next(out).await;
            }
            out.append(&mut std::mem::take(&mut self.first));
            Ok(true)
        })
    }

    fn room_bytes(&self) -> usize {
        // What comes next takes as much, so that it has room.
        let next = if self.records.goes_on() { limits::GET_MANY_BYTES_MAX } else { 0 };
        room_with(self.own_bytes.max(next))
    }
}
