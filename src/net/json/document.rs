//! A document as the body of an answer.

use super::pieces::Pieces;
use crate::limits;
use crate::net::problem::Problem;
use crate::shard::document::encoding::Parts;
use crate::shard::document::render::{DocumentText, Shown};
use crate::shard::key::{Key, KeyType};
use crate::shard::payload::Payload;

pub struct DocumentBody {
    key: Key,
    key_type: KeyType,
    payload: Payload,
    text: DocumentText,
}

impl DocumentBody {
    pub fn new(key: Key, key_type: KeyType, payload: Payload) -> DocumentBody {
        DocumentBody { key, key_type, payload, text: DocumentText::new(Shown::ALL) }
    }
}

impl Pieces for DocumentBody {
    fn append_next(&mut self, out: &mut Vec<u8>) -> Result<bool, Problem> {
        let document = Parts::of(self.payload.value()).and_then(Parts::document);
        let document = document.map_err(|damage| Problem::damaged_document(&damage))?;
        while out.len() < limits::SEND_BATCH_BYTES_MAX {
            if !self.text.append_piece(&self.key, self.key_type, &document, out) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn held_bytes(&self) -> usize {
        self.payload.own_bytes()
    }
}
