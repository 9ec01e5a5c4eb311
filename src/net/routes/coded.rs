//! A request whose body comes in a content coding, and is wanted whole.

use super::{Started, start};
use crate::net::access::caller::Permit;
use crate::net::coding::Coding;
use crate::net::parser::head::{Framing, Head};
use crate::net::parser::{Body, Field, Request};
use crate::net::problem::Problem;
use crate::net::routes::Resource;
use crate::shard::node::Node;

pub struct CodedRequest {
    pub coding: Coding,
    head: Vec<u8>,
}

impl CodedRequest {
    pub fn new(coding: Coding, head: &[u8]) -> CodedRequest {
        CodedRequest { coding, head: head.to_vec() }
    }

    /// As if the body had come plain.
    pub fn start(&self, node: &Node, plain: &[u8], permit: Permit<'_>) -> Result<Started, Problem> {
        let mut head = Head::parse(&self.head)?;
        head.fields = head.fields.without(Field::ContentEncoding);
        head.framing = Framing::Length(plain.len() as u64);
        let resource = Resource::find(head.path, head.method);
        start(node, &Request { head, body: Body::Whole(plain) }, resource, permit)
    }
}
