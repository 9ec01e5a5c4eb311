//! The hits of a search as the body of an answer.

use serde_json::Value;

use super::pieces::Pieces;
use crate::limits;
use crate::net::problem::Problem;
use crate::shard::document::encoding::Parts;
use crate::shard::document::render::{DocumentText, Shown, append_number};
use crate::shard::key::KeyType;
use crate::shard::record::Found;
use crate::shard::search::query::Scored;

/// `{"hits":[{"id":..,"score":..,..},..],..}`
pub struct HitsBody {
    hits: Vec<(Scored, Found)>,
    key_type: KeyType,
    shown: Shown,
    score: bool,
    has_begun: bool,
    /// The hit under way, and how far it has come.
    at: usize,
    text: Option<DocumentText>,
    /// What follows the hits.
    tail: String,
    held_bytes: usize,
}

impl HitsBody {
    /// `tail`: further members, at least one.
    pub fn new(
        hits: Vec<(Scored, Found)>,
        key_type: KeyType,
        shown: Shown,
        score: bool,
        tail: &Value,
    ) -> HitsBody {
        let tail = format!("],{}", &tail.to_string()[1..]);
        let held_bytes = hits.iter().map(|(_, record)| record.payload.own_bytes()).sum();
        HitsBody { hits, key_type, shown, score, has_begun: false, at: 0, text: None, tail, held_bytes }
    }
}

impl Pieces for HitsBody {
    fn append_next(&mut self, out: &mut Vec<u8>) -> Result<bool, Problem> {
        if !std::mem::replace(&mut self.has_begun, true) {
            out.extend_from_slice(b"{\"hits\":[");
        }
        while let Some((hit, record)) = self.hits.get(self.at) {
            let document = Parts::of(record.payload.value()).and_then(Parts::document);
            let document = document.map_err(|damage| Problem::damaged_document(&damage))?;
            while out.len() < limits::SEND_BATCH_BYTES_MAX {
                let begins = self.text.is_none();
                if begins && self.at > 0 {
                    out.push(b',');
                }
                let text = self.text.get_or_insert_with(|| DocumentText::new(self.shown));
                let more = text.append_piece(&hit.key, self.key_type, &document, out);
                if begins && self.score {
                    out.extend_from_slice(b",\"score\":");
                    append_number(hit.score, out);
                }
                if !more {
                    (self.at, self.text) = (self.at + 1, None);
                    break;
                }
            }
            if out.len() >= limits::SEND_BATCH_BYTES_MAX {
                return Ok(true);
            }
        }
        out.extend_from_slice(self.tail.as_bytes());
        Ok(false)
    }

    fn held_bytes(&self) -> usize {
        self.held_bytes
    }
}
