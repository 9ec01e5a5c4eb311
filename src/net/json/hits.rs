//! The hits of a search as the body of an answer: whole when it is small, else piece by piece.

use serde_json::Value;

use crate::limits;
use crate::net::problem::Problem;
use crate::net::response::{JSON, LocalFuture, Response, Source};
use crate::shard::document::encoding::{Damage, Parts};
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
    /// The hit under way, and how far it has come.
    at: usize,
    text: Option<DocumentText>,
    /// What follows the hits.
    tail: String,
    /// What was made already.
    first: Vec<u8>,
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
        HitsBody { hits, key_type, shown, score, at: 0, text: None, tail, first: b"{\"hits\":[".to_vec() }
    }

    pub fn into_response(mut self) -> Result<Response, Problem> {
        let mut first = std::mem::take(&mut self.first);
        let more = self.append_some(&mut first).map_err(|damage| Problem::damaged_document(&damage))?;
        if !more {
            return Ok(Response::bytes(200, JSON, first));
        }
        self.first = first;
        Ok(Response::stream(JSON, self))
    }

    /// Appends what comes next, until `out` has enough to be sent. True when there is more.
    fn append_some(&mut self, out: &mut Vec<u8>) -> Result<bool, Damage> {
        while let Some((hit, record)) = self.hits.get(self.at) {
            let document = Parts::of(record.payload.value())?.document()?;
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
}

impl Source for HitsBody {
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
