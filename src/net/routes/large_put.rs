//! A put of a large value: the value is put together as it comes, so that no step takes longer for a larger one.

use std::sync::Arc;

use super::once::{Fingerprint, Named};
use super::work::WriteForm;
use super::{Work, durability, kv, values};
use crate::net::access::caller::Permit;
use crate::net::entity_tag::write_condition;
use crate::net::json::value;
use crate::net::parser::head::{Framing, Head};
use crate::net::problem::Problem;
use crate::shard::catalogue::Collection;
use crate::shard::key::Key;
use crate::shard::node::Node;
use crate::shard::payload::PayloadFill;
use crate::shard::record::{Change, Condition, Durability, Expiry, Write};
use crate::types::Token;

pub struct LargePut {
    collection: Arc<Collection>,
    key: Key,
    expires: Option<Expiry>,
    condition: Condition,
    durability: Durability,
    fill: PayloadFill,
    taken: usize,
    named: Option<(Token, Fingerprint)>,
}

impl LargePut {
    /// A request with a body of a known length; nothing of the body is here yet.
    pub fn plan(
        node: &Node,
        head: &Head<'_>,
        name: &str,
        key: &str,
        permit: Permit<'_>,
    ) -> Result<LargePut, Problem> {
        let collection = values(node, name)?;
        let key = kv::path_key(&collection, key)?;
        let expires = kv::take_ttl(head)?;
        let Framing::Length(length) = head.framing else { unreachable!("a length that is known") };
        let length = length as usize;
        value::check_value_len(length, "")?;
        let named = Named::of(head, permit)?;
        let named = named.map(|named| (named.token(collection.id, &key), Fingerprint::of(head)));
        Ok(LargePut {
            key,
            expires,
            condition: write_condition(&head.fields)?,
            durability: durability(node, head, &collection)?,
            fill: PayloadFill::new(kv::content_type(head)?, length),
            taken: 0,
            named,
            collection,
        })
    }

    pub fn push(&mut self, part: &[u8]) {
        self.taken += part.len();
        self.fill.push(part);
        if let Some((_, print)) = &mut self.named {
            print.push(part);
        }
    }

    /// Bytes of the value that are here.
    pub fn held_bytes(&self) -> usize {
        self.taken
    }

    /// The whole body is here.
    pub fn start(self, node: &Node) -> Work {
        let change = Change::Put { payload: self.fill.finish(), expires: self.expires };
        let once = self.named.map(|(token, print)| print.once(token));
        let (condition, durability) = (self.condition, self.durability);
        let write = Write { key: self.key, change, condition, durability, once };
        Work::Write { answer: node.write(&self.collection, write), form: WriteForm::Put }
    }
}
