//! Records as JSON text, piece by piece. Pure.
//!
//! A value can be large, and its text six times as large. So no text of a large value is ever made as
//! a whole: a piece is made when the peer has taken the one before.
//!
//! Invariant: a piece takes at most [`limits::ENCODED_PIECE_BYTES`] of a value.

use super::document::DocumentBody;
use super::value::{ValueText, append_key, append_number, append_string};
use crate::limits;
use crate::net::problem::Problem;
use crate::net::response::{JSON, LocalFuture, Response, Source, room_with};
use crate::shard::key::{Key, KeyType};
use crate::shard::record::Found;

/// `{"key":..,"value":..,"seq":..}`, its value under way. In the exact form
/// `{"key":..,"value":..,"content_type":"..","seq":..,"expires_ms":..}`, the last for a record that expires:
/// all but `seq` as a line of the bulk route make the same record again.
struct RecordText {
    found: Found,
    exact: bool,
    value: Value,
}

/// What a record has: bytes, or a document, which is seen as its JSON.
enum Value {
    Bytes(ValueText),
    Document(Box<DocumentBody>),
}

impl RecordText {
    fn begin(key: &Key, key_type: KeyType, exact: bool, found: Found, out: &mut Vec<u8>) -> RecordText {
        out.extend_from_slice(b"{\"key\":");
        append_key(key, key_type, out);
        out.push(b',');
        let value = match found.payload.is_document() {
            false => Value::Bytes(ValueText::of(&found.payload, exact)),
            true => {
                out.extend_from_slice(b"\"value\":");
                let document = DocumentBody::new(key.clone(), key_type, found.payload.clone());
                Value::Document(Box::new(document))
            }
        };
        RecordText { value, exact, found }
    }

    /// True when there is more.
    fn append_piece(&mut self, out: &mut Vec<u8>) -> Result<bool, Problem> {
        let is_more = match &mut self.value {
            Value::Bytes(text) => text.append_piece(&self.found.payload, out),
            Value::Document(document) => document.append_next(out)?,
        };
        if is_more {
            return Ok(true);
        }
        if self.exact {
            out.extend_from_slice(b",\"content_type\":");
            append_string(self.found.payload.content_type(), out);
        }
        out.extend_from_slice(b",\"seq\":");
        append_number(self.found.seq.0, out);
        if let Some(expires) = self.found.expires.filter(|_| self.exact) {
            out.extend_from_slice(b",\"expires_ms\":");
            append_number(expires.0, out);
        }
        out.push(b'}');
        Ok(false)
    }
}

/// Records between a beginning and an end; `None` is written as `null`.
pub struct Records<I> {
    key_type: KeyType,
    exact: bool,
    records: I,
    begin: &'static str,
    separator: &'static str,
    /// Behind each record.
    after: &'static str,
    end: String,
    /// The end is not behind these records, but behind others that are not there yet.
    goes_on: bool,
    place: Place,
}

/// How far the text has come.
#[derive(Default)]
struct Place {
    has_begun: bool,
    has_records: bool,
    under_way: Option<RecordText>,
}

impl<I: Iterator<Item = (Key, Option<Found>)>> Records<I> {
    /// One record after the other, with nothing around them.
    pub fn bare(key_type: KeyType, exact: bool, records: I) -> Records<I> {
        Records {
            key_type,
            exact,
            records,
            begin: "",
            separator: "",
            after: "",
            end: String::new(),
            goes_on: false,
            place: Place::default(),
        }
    }

    /// `{"records":[..]` and the rest of the document.
    pub fn list(key_type: KeyType, exact: bool, records: I, end: String) -> Records<I> {
        Records { begin: "{\"records\":[", separator: ",", end, ..Records::bare(key_type, exact, records) }
    }

    /// A line for each.
    pub fn lines(key_type: KeyType, exact: bool, records: I) -> Records<I> {
        Records { after: "\n", ..Records::bare(key_type, exact, records) }
    }

    /// Appends what comes next, until `out` has enough to be sent. True when there is more of these records.
    pub fn append_some(&mut self, out: &mut Vec<u8>) -> Result<bool, Problem> {
        if !std::mem::replace(&mut self.place.has_begun, true) {
            out.extend_from_slice(self.begin.as_bytes());
        }
        while out.len() < limits::SEND_BATCH_BYTES_MAX {
            if let Some(record) = &mut self.place.under_way {
                if !record.append_piece(out)? {
                    self.place.under_way = None;
                    out.extend_from_slice(self.after.as_bytes());
                }
            } else if !self.begin_next(out) {
                if !self.goes_on {
                    out.extend_from_slice(self.end.as_bytes());
                }
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Records that come behind those before; `goes_on`: others come behind them, and then the end.
    pub fn go_on(&mut self, records: I, goes_on: bool) {
        (self.records, self.goes_on) = (records, goes_on);
    }

    pub fn goes_on(&self) -> bool {
        self.goes_on
    }

    fn begin_next(&mut self, out: &mut Vec<u8>) -> bool {
        let Some((key, found)) = self.records.next() else { return false };
        if std::mem::replace(&mut self.place.has_records, true) {
            out.extend_from_slice(self.separator.as_bytes());
        }
        match found {
            Some(found) => {
                self.place.under_way = Some(RecordText::begin(&key, self.key_type, self.exact, found, out))
            }
            None => out.extend_from_slice(b"null"),
        }
        true
    }
}

impl<I: Iterator<Item = (Key, Option<Found>)> + 'static> Records<I> {
    /// The document: whole when it is small, else as a stream.
    pub fn into_response(self) -> Response {
        respond(self).unwrap_or_else(Response::from)
    }
}

impl<I: Iterator<Item = (Key, Option<Found>)>> Pieces for Records<I> {
    fn append_next(&mut self, out: &mut Vec<u8>) -> Result<bool, Problem> {
        self.append_some(out)
    }

    fn held_bytes(&self) -> usize {
        self.place.under_way.as_ref().map_or(0, |record| record.found.payload.own_bytes())
    }
}

/// JSON that is made as it is sent.
pub trait Pieces {
    /// Appends what comes next, until `out` has enough to be sent. True when there is more.
    fn append_next(&mut self, out: &mut Vec<u8>) -> Result<bool, Problem>;

    /// Bytes of values that are kept for what is still to come, and that nobody else keeps.
    fn held_bytes(&self) -> usize;
}

/// The answer: whole when it is small, else as a stream.
pub fn respond(mut pieces: impl Pieces + 'static) -> Result<Response, Problem> {
    let mut first = Vec::new();
    Ok(match pieces.append_next(&mut first)? {
        true => Response::stream(JSON, Begun { first, room: room_with(pieces.held_bytes()), rest: pieces }),
        false => Response::bytes(200, JSON, first),
    })
}

struct Begun<P> {
    first: Vec<u8>,
    rest: P,
    /// As it was when the answer began: it is not cut short for want of more.
    room: usize,
}

impl<P: Pieces> Source for Begun<P> {
    fn next<'a>(&'a mut self, out: &'a mut Vec<u8>) -> LocalFuture<'a, Result<bool, Problem>> {
        let more = if self.first.is_empty() {
            self.rest.append_next(out)
        } else {
            out.append(&mut std::mem::take(&mut self.first));
            Ok(true)
        };
        Box::pin(async move { more })
    }

    fn room_bytes(&self) -> usize {
        self.room
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::document::encoding::{self, Document};
    use crate::shard::document::metadata::Metadata;
    use crate::shard::payload::{self, Payload};
    use crate::types::{Lsn, Seq};

    fn found(content_type: &str, value: &[u8]) -> Found {
        Found { payload: Payload::new(content_type, value), lsn: Lsn(1), seq: Seq(2), expires: None }
    }

    /// The whole text, and the length of its longest piece.
    fn text_of(records: Vec<(Key, Option<Found>)>) -> (String, usize) {
        let mut source = Records::list(KeyType::U64, false, records.into_iter(), "]}".to_owned());
        let (mut text, mut longest, mut more) = (Vec::new(), 0, true);
        while more {
            let mut piece = Vec::new();
            more = source.append_some(&mut piece).unwrap();
            longest = longest.max(piece.len());
            text.extend(piece);
        }
        (String::from_utf8(text).unwrap(), longest)
    }

    #[test]
    fn many_records_are_one_document_in_order() {
        assert_eq!(text_of(Vec::new()).0, r#"{"records":[]}"#);
        let records = vec![(Key::from_u64(1), Some(found(payload::TEXT, b"a"))), (Key::from_u64(2), None)];
        assert_eq!(text_of(records).0, r#"{"records":[{"key":1,"value":"a","seq":2},null]}"#);
    }

    #[test]
    fn nor_is_that_of_a_large_document() {
        let bound = limits::SEND_BATCH_BYTES_MAX + 6 * limits::ENCODED_PIECE_BYTES + 64;
        let text = "\u{1}\u{e9}\"".repeat(100_000);
        let metadata = format!("{{\"a\":\"{}\"}}", "b".repeat(500_000));
        let (text, metadata) = (Some(text.as_str()), Metadata::from_compact(&metadata));
        let encoded = encoding::encode(&Document { embedding: None, text, metadata });
        let payload = Payload::document(&encoded);
        let of = |key| Found { payload: payload.clone(), lsn: Lsn(1), seq: Seq(key), expires: None };
        let (whole, longest) = text_of((0..3).map(|key| (Key::from_u64(key), Some(of(key)))).collect());
        assert!(longest <= bound, "{longest}");
        let records = &serde_json::from_str::<serde_json::Value>(&whole).unwrap()["records"];
        for key in 0..3 {
            let (value, seq) = (&records[key]["value"], &records[key]["seq"]);
            assert_eq!(
                (value["id"].as_u64(), value["text"].as_str(), seq.as_u64()),
                (Some(key as u64), text, Some(key as u64))
            );
        }
    }

    #[test]
    fn no_text_of_a_large_value_is_made_as_a_whole() {
        let bound = limits::SEND_BATCH_BYTES_MAX + 6 * limits::ENCODED_PIECE_BYTES + 64;
        let accents = "\u{1}\u{e9}\u{20ac}\u{1f600}\"".repeat(100_000);
        let json = format!("[\n{}1]", "1,\n".repeat(300_000));
        for (content_type, value) in [
            (payload::TEXT, accents.as_bytes()),
            (payload::JSON, json.as_bytes()),
            (payload::OCTET_STREAM, accents.as_bytes()),
        ] {
            let records = (0..3).map(|key| (Key::from_u64(key), Some(found(content_type, value)))).collect();
            let (text, longest) = text_of(records);
            assert!(longest <= bound, "{content_type}: {longest}");
            let document: serde_json::Value = serde_json::from_str(&text).unwrap();
            let expected: serde_json::Value = match content_type {
                payload::JSON => serde_json::from_str(&json).unwrap(),
                payload::TEXT => accents.clone().into(),
                _ => base64::Engine::encode(&base64::engine::general_purpose::STANDARD, value).into(),
            };
            let member = if content_type == payload::OCTET_STREAM { "value_b64" } else { "value" };
            assert!(document["records"][2][member] == expected, "{content_type}");
        }
    }
}
