//! A document as the body of an answer: whole when it is small, else piece by piece.

use crate::limits;
use crate::net::problem::Problem;
use crate::net::response::{JSON, LocalFuture, Response, Source};
use crate::shard::document::encoding::{Damage, Parts};
use crate::shard::document::render::{DocumentText, Shown};
use crate::shard::key::{Key, KeyType};
use crate::shard::payload::Payload;

pub struct DocumentBody {
    key: Key,
    key_type: KeyType,
    payload: Payload,
    text: DocumentText,
    /// What was made already.
    first: Vec<u8>,
}

impl DocumentBody {
    pub fn new(key: Key, key_type: KeyType, payload: Payload) -> DocumentBody {
        DocumentBody { key, key_type, payload, text: DocumentText::new(Shown::ALL), first: Vec::new() }
    }

    pub fn into_response(mut self) -> Result<Response, Problem> {
        let mut first = Vec::new();
        let more = self.append_some(&mut first).map_err(|damage| Problem::damaged_document(&damage))?;
        if !more {
            return Ok(Response::bytes(200, JSON, first));
        }
        self.first = first;
        Ok(Response::stream(JSON, self))
    }

    /// Appends what comes next, until `out` has enough to be sent. True when there is more.
    fn append_some(&mut self, out: &mut Vec<u8>) -> Result<bool, Damage> {
        let document = Parts::of(self.payload.value())?.document()?;
        while out.len() < limits::SEND_BATCH_BYTES_MAX {
            if !self.text.append_piece(&self.key, self.key_type, &document, out) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Source for DocumentBody {
    fn next<'a>(&'a mut self, out: &'a mut Vec<u8>) -> LocalFuture<'a, Result<bool, Problem>> {
        let more = if self.first.is_empty() {
            self.append_some(out).map_err(|damage| Problem::damaged_document(&damage))
        } else {
            out.append(&mut std::mem::take(&mut self.first));
            Ok(true)
        };
        Box::pin(async move { more })
    }
}
