//! A put of a large value: the value is put together as it comes, so that no step takes longer for a larger one.

use std::sync::Arc;

use super::work::WriteForm;
use super::{Work, durability, kv, values};
use crate::net::entity_tag::write_condition;
use crate::net::json::value;
use crate::net::parser::head::{Framing, Head};
use crate::net::problem::Problem;
use crate::shard::catalogue::Collection;
use crate::shard::key::Key;
use crate::shard::node::Node;
use crate::shard::payload::PayloadFill;
use crate::shard::record::{Change, Condition, Durability, Expiry, Write};

pub struct LargePut {
    collection: Arc<Collection>,
    key: Key,
    expires: Option<Expiry>,
    condition: Condition,
    durability: Durability,
    fill: PayloadFill,
    taken: usize,
}

impl LargePut {
    /// A request with a body of a known length; nothing of the body is here yet.
    pub fn plan(node: &Node, head: &Head<'_>, name: &str, key: &str) -> Result<LargePut, Problem> {
        let collection = values(node, name)?;
        let key = kv::path_key(&collection, key)?;
        let expires = kv::take_ttl(head)?;
        let Framing::Length(length) = head.framing else { unreachable!("a length that is known") };
        let length = length as usize;
        value::check_value_len(length, "")?;
        Ok(LargePut {
            key,
            expires,
            condition: write_condition(&head.fields)?,
            durability: durability(node, head, &collection)?,
            fill: PayloadFill::new(kv::content_type(head)?, length),
            taken: 0,
            collection,
        })
    }

    pub fn push(&mut self, part: &[u8]) {
        self.taken += part.len();
        self.fill.push(part);
    }

    /// Bytes of the value that are here.
    pub fn held_bytes(&self) -> usize {
        self.taken
    }

    /// The whole body is here.
    pub fn start(self, node: &Node) -> Work {
        let change = Change::Put { payload: self.fill.finish(), expires: self.expires };
        let write = Write { key: self.key, change, condition: self.condition, durability: self.durability };
        Work::Write { answer: node.write(&self.collection, write), form: WriteForm::Put }
    }
}
