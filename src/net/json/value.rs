//! Keys and values of records in JSON.
//!
//! In: a JSON string is stored as its characters (`text/plain; charset=utf-8`), anything else as its
//! text, verbatim (`application/json`). Out: a value of type JSON is embedded, one of a text type is a
//! JSON string, and whatever is neither goes out as `value_b64`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::object;
use crate::limits;
use crate::net::problem::Problem;
use crate::shard::key::{Key, KeyType};
use crate::shard::payload::{self, Payload};

/// A key as JSON writes it: a number or a string, by the type of the collection.
pub fn key_from_json(raw: &RawValue, key_type: KeyType, pointer: &str) -> Result<Key, Problem> {
    match key_type {
        KeyType::U64 => {
            object::typed(raw, pointer, "an integer from 0 to 18446744073709551615").map(Key::from_u64)
        }
        KeyType::String => {
            let text = object::text(raw, pointer)?;
            Key::from_text(&text).map_err(|error| Problem::wrong(pointer, error.to_string()))
        }
    }
}

pub fn payload_from_json(raw: &RawValue, pointer: &str) -> Result<Payload, Problem> {
    if raw.get().starts_with('"') {
        let text = object::text(raw, pointer)?;
        check_value_len(text.len(), pointer)?;
        return Ok(Payload::new(payload::TEXT, text.as_bytes()));
    }
    check_value_len(raw.get().len(), pointer)?;
    Ok(Payload::new(payload::JSON, raw.get().as_bytes()))
}

pub fn payload_from_base64(raw: &RawValue, pointer: &str) -> Result<Payload, Problem> {
    let text = object::text(raw, pointer)?;
    let value = BASE64.decode(text.as_bytes()).map_err(|_| Problem::wrong(pointer, "is not base64"))?;
    check_value_len(value.len(), pointer)?;
    Ok(Payload::new(payload::OCTET_STREAM, &value))
}

/// Refuses a value over the bound with 413.
pub fn check_value_len(len: usize, pointer: &str) -> Result<(), Problem> {
    if len <= limits::VALUE_BYTES_MAX {
        return Ok(());
    }
    let detail = format!("the value has {len} bytes; at most {} are allowed", limits::VALUE_BYTES_MAX);
    Err(Problem::new(413, "value_too_large", detail.clone()).at(pointer, detail))
}

pub fn append_key(key: &Key, key_type: KeyType, out: &mut Vec<u8>) {
    match (key_type, key.as_u64()) {
        (KeyType::U64, Some(number)) => append_number(number, out),
        _ => append_string(&key.display(key_type), out),
    }
}

/// The member `"value":..` or `"value_b64":".."`.
pub fn append_value(payload: &Payload, out: &mut Vec<u8>) {
    let mut text = ValueText::of(payload);
    while text.append_piece(payload, out) {}
}

/// The member of a value, and how far its text has come.
pub struct ValueText {
    form: Form,
    at: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Text,
    Base64,
}

impl ValueText {
    pub fn of(payload: &Payload) -> ValueText {
        let value = payload.value();
        let form = match kind_of(payload.content_type()) {
            Kind::Json if serde_json::from_slice::<IgnoredAny>(value).is_ok() => Form::Json,
            Kind::Text if std::str::from_utf8(value).is_ok() => Form::Text,
            _ => Form::Base64,
        };
        ValueText { form, at: 0 }
    }

    /// Appends the next piece of the text of `payload`, always the same. True when there is more.
    pub fn append_piece(&mut self, payload: &Payload, out: &mut Vec<u8>) -> bool {
        if self.at == 0 {
            out.extend_from_slice(self.form.before());
        }
        let rest = &payload.value()[self.at..];
        let piece = &rest[..self.form.piece_len(rest)];
        match self.form {
            // Line ends in JSON text can only be white space: as spaces they fit in a line of NDJSON.
            Form::Json => {
                out.extend(piece.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
            }
            Form::Text => append_escaped(std::str::from_utf8(piece).unwrap_or_default(), out),
            Form::Base64 => append_base64(piece, out),
        }
        self.at += piece.len();
        let more = piece.len() < rest.len();
        if !more && self.form != Form::Json {
            out.push(b'"');
        }
        more
    }
}

impl Form {
    fn before(self) -> &'static [u8] {
        match self {
            Form::Json => b"\"value\":",
            Form::Text => b"\"value\":\"",
            Form::Base64 => b"\"value_b64\":\"",
        }
    }

    /// How much of the rest goes into the next piece: whole characters of a text. Base64 of pieces is
    /// that of the whole because the bound is a multiple of three.
    fn piece_len(self, rest: &[u8]) -> usize {
        const { assert!(limits::ENCODED_PIECE_BYTES.is_multiple_of(3)) };
        if rest.len() <= limits::ENCODED_PIECE_BYTES {
            return rest.len();
        }
        let is_within_character = |at: usize| self == Form::Text && rest[at] & 0xc0 == 0x80;
        let mut len = limits::ENCODED_PIECE_BYTES;
        while is_within_character(len) {
            len -= 1;
        }
        len
    }
}

/// The characters of a JSON string without its quotes.
fn append_escaped(text: &str, out: &mut Vec<u8>) {
    let start = out.len();
    append_string(text, out);
    out.pop();
    out.remove(start);
}

pub fn append_string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a vector takes every byte");
}

pub fn append_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn append_base64(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let room = base64::encoded_len(bytes.len(), true).expect("values are far below the address space");
    out.resize(start + room, 0);
    let written = BASE64.encode_slice(bytes, &mut out[start..]).expect("the room was computed for it");
    debug_assert_eq!(written, room);
}

enum Kind {
    Json,
    Text,
    Other,
}

fn kind_of(content_type: &str) -> Kind {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Kind::Json
    } else if essence.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("text/")) {
        Kind::Text
    } else {
        Kind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    fn out(payload: &Payload) -> String {
        let mut out = Vec::new();
        append_value(payload, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn strings_are_characters_and_the_rest_is_verbatim() {
        for (json, content_type, value) in [
            (r#""a\"\u00e9""#, payload::TEXT, "a\"\u{e9}"),
            (r#""""#, payload::TEXT, ""),
            ("1.50", payload::JSON, "1.50"),
            ("12345678901234567890123", payload::JSON, "12345678901234567890123"),
            (r#"{"a":  [1, null]}"#, payload::JSON, r#"{"a":  [1, null]}"#),
            ("null", payload::JSON, "null"),
        ] {
            let payload = payload_from_json(raw(json), "/value").unwrap();
            assert_eq!((payload.content_type(), payload.value()), (content_type, value.as_bytes()));
            let expected: serde_json::Value = serde_json::from_str(json).unwrap();
            let answer: serde_json::Value = serde_json::from_str(&format!("{{{}}}", out(&payload))).unwrap();
            assert_eq!(answer["value"], expected, "{json}");
        }
        assert_eq!(payload_from_json(raw(r#""\ud800""#), "/v").unwrap_err().status, 422);
    }

    #[test]
    fn values_go_out_by_their_type() {
        for (content_type, value, expected) in [
            ("application/json", &b"{\"a\":\n1}"[..], r#""value":{"a": 1}"#),
            ("application/json; charset=utf-8", b"[1]", r#""value":[1]"#),
            ("application/json", b"not json", r#""value_b64":"bm90IGpzb24=""#),
            ("application/json", b"", r#""value_b64":"""#),
            ("text/html", b"<a>\n", r#""value":"<a>\n""#),
            ("TEXT/plain", b"x", r#""value":"x""#),
            ("text/plain", b"\xff", r#""value_b64":"/w==""#),
            ("image/png", b"x", r#""value_b64":"eA==""#),
        ] {
            assert_eq!(out(&Payload::new(content_type, value)), expected);
        }
    }

    #[test]
    fn keys_have_the_type_of_their_collection() {
        let status = |json, key_type| key_from_json(raw(json), key_type, "/key").map_err(|p| p.status);
        assert_eq!(status("7", KeyType::U64), Ok(Key::from_u64(7)));
        for wrong in ["\"7\"", "-1", "1.0", "18446744073709551616", "null", "[]"] {
            assert_eq!(status(wrong, KeyType::U64), Err(422), "{wrong}");
        }
        assert_eq!(status("\"k\"", KeyType::String), Ok(Key::from_text("k").unwrap()));
        for wrong in ["7", "\"\"", "null", r#""\ud800""#] {
            assert_eq!(status(wrong, KeyType::String), Err(422), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn base64_and_text_come_back(value in prop::collection::vec(any::<u8>(), 0..50), text in ".{0,30}") {
            let answer: serde_json::Value =
                serde_json::from_str(&format!("{{{}}}", out(&Payload::new("x/y", &value)))).unwrap();
            let back = payload_from_base64(raw(&answer["value_b64"].to_string()), "").unwrap();
            prop_assert_eq!(back.value(), &value[..]);
            let answer: serde_json::Value =
                serde_json::from_str(&format!("{{{}}}", out(&Payload::new(payload::TEXT, text.as_bytes())))).unwrap();
            prop_assert_eq!(answer["value"].as_str(), Some(text.as_str()));
        }
    }
}
