//! Keys and values of records in JSON.
//!
//! In: a JSON string is stored as its characters (`text/plain; charset=utf-8`), anything else as its
//! text, verbatim (`application/json`); a type that is given beside it takes the place of these. Out: a
//! value of type JSON is embedded, one of a text type is a JSON string, and whatever is neither goes out
//! as `value_b64`. In the exact form what goes out comes in again as the same bytes and the same type.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::object;
use crate::limits;
use crate::net::problem::Problem;
use crate::shard::key::{Key, KeyType};
use crate::shard::payload::{self, Payload};
use crate::shard::record::Found;

/// A string in the exact form may be so much longer than its base64.
const EXACT_SLACK_BYTES: usize = 64;

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

/// `content_type` in the place of the one that the form of the value stands for.
pub fn payload_from_json(
    raw: &RawValue,
    content_type: Option<&str>,
    pointer: &str,
) -> Result<Payload, Problem> {
    let (by_default, value) = match raw.get().starts_with('"') {
        true => (payload::TEXT, object::text(raw, pointer)?),
        false => (payload::JSON, Cow::Borrowed(raw.get())),
    };
    check_value_len(value.len())?;
    Ok(Payload::new(content_type.unwrap_or(by_default), value.as_bytes()))
}

pub fn payload_from_base64(
    raw: &RawValue,
    content_type: Option<&str>,
    pointer: &str,
) -> Result<Payload, Problem> {
    let text = object::text(raw, pointer)?;
    let value = BASE64.decode(text.as_bytes()).map_err(|_| Problem::wrong(pointer, "is not base64"))?;
    check_value_len(value.len())?;
    Ok(Payload::new(content_type.unwrap_or(payload::OCTET_STREAM), &value))
}

/// A type to store: one that can be sent back in a header, as it is.
pub fn content_type_from_json<'a>(raw: &'a RawValue, pointer: &str) -> Result<Cow<'a, str>, Problem> {
    let text = object::text(raw, pointer)?;
    let wrong = |what| Err(Problem::wrong(pointer, what));
    match &*text {
        "" => wrong("is empty"),
        text if text.len() > limits::CONTENT_TYPE_BYTES_MAX => wrong("is too long"),
        text if text.trim() != text => wrong("has white space at an end"),
        text if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) => wrong("is not visible ASCII"),
        _ => Ok(text),
    }
}

/// Refuses a value over the bound with 413.
pub fn check_value_len(len: usize) -> Result<(), Problem> {
    if len <= limits::VALUE_BYTES_MAX {
        return Ok(());
    }
    let detail = format!("the value has {len} bytes; at most {} are allowed", limits::VALUE_BYTES_MAX);
    Err(Problem::new(413, "value_too_large", detail))
}

/// How a record stands in an answer.
pub type RecordForm = fn(&Key, KeyType, &Found, &mut Vec<u8>);

pub fn record_form(exact: bool) -> RecordForm {
    if exact { append_exact_record } else { append_record }
}

/// `{"key":..,"value":..,"seq":..}`
pub fn append_record(key: &Key, key_type: KeyType, found: &Found, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"key\":");
    append_key(key, key_type, out);
    out.push(b',');
    append_value(&found.payload, out);
    out.extend_from_slice(b",\"seq\":");
    append_number(found.seq.0, out);
    out.push(b'}');
}

/// `{"key":..,"value":..,"content_type":"..","seq":..,"expires_ms":..}`, the last for a record that
/// expires: all of them but `seq` as a line of the bulk route make the same record again.
pub fn append_exact_record(key: &Key, key_type: KeyType, found: &Found, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"key\":");
    append_key(key, key_type, out);
    out.push(b',');
    append_in_form(exact_form_of(&found.payload), found.payload.value(), out);
    out.extend_from_slice(b",\"content_type\":");
    append_string(found.payload.content_type(), out);
    out.extend_from_slice(b",\"seq\":");
    append_number(found.seq.0, out);
    if let Some(expires) = found.expires {
        out.extend_from_slice(b",\"expires_ms\":");
        append_number(expires.0, out);
    }
    out.push(b'}');
}

pub fn append_key(key: &Key, key_type: KeyType, out: &mut Vec<u8>) {
    match (key_type, key.as_u64()) {
        (KeyType::U64, Some(number)) => append_number(number, out),
        _ => append_string(&key.display(key_type), out),
    }
}

/// The member `"value":..` or `"value_b64":".."`.
pub fn append_value(payload: &Payload, out: &mut Vec<u8>) {
    append_in_form(form_of(payload), payload.value(), out);
}

/// How a value stands in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Text,
    Base64,
}

fn form_of(payload: &Payload) -> Form {
    let value = payload.value();
    match kind_of(payload.content_type()) {
        Kind::Json if is_json(value) => Form::Json,
        Kind::Text if std::str::from_utf8(value).is_ok() => Form::Text,
        _ => Form::Base64,
    }
}

/// As [`form_of`], where that gives the bytes back; else the characters as a string, else base64.
fn exact_form_of(payload: &Payload) -> Form {
    let value = payload.value();
    let kind = kind_of(payload.content_type());
    if matches!(kind, Kind::Json) && is_embeddable(value) {
        return Form::Json;
    }
    match (kind, std::str::from_utf8(value)) {
        // Text that is mostly escapes would not fit in a line of the bulk route.
        (Kind::Json | Kind::Text, Ok(_)) if escaped_len(value) <= value.len() / 3 * 4 + EXACT_SLACK_BYTES => {
            Form::Text
        }
        _ => Form::Base64,
    }
}

/// At least what the characters take in a JSON string.
fn escaped_len(text: &[u8]) -> usize {
    let len = |byte: &u8| match byte {
        b'\n' | b'\r' | b'\t' | b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.iter().map(len).sum()
}

/// True for JSON text that a reader of the whole line takes for a value that is no string, byte for byte.
fn is_embeddable(value: &[u8]) -> bool {
    let ([first, ..], [.., last]) = (value, value) else { return false };
    let ends_are_solid = !first.is_ascii_whitespace() && !last.is_ascii_whitespace();
    let has_line_end = value.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
    ends_are_solid && *first != b'"' && !has_line_end && is_json(value)
}

/// From a slice serde would let strings pass that are no UTF-8.
fn is_json(value: &[u8]) -> bool {
    std::str::from_utf8(value).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

fn append_in_form(form: Form, value: &[u8], out: &mut Vec<u8>) {
    match form {
        Form::Json => {
            out.extend_from_slice(b"\"value\":");
            // Line ends in JSON text can only be white space: as spaces they fit in a line of NDJSON.
            out.extend(value.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
        }
        Form::Text => {
            out.extend_from_slice(b"\"value\":");
            append_string(std::str::from_utf8(value).unwrap_or_default(), out);
        }
        Form::Base64 => {
            out.extend_from_slice(b"\"value_b64\":\"");
            append_base64(value, out);
            out.push(b'"');
        }
    }
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
            let payload = payload_from_json(raw(json), None, "/value").unwrap();
            assert_eq!((payload.content_type(), payload.value()), (content_type, value.as_bytes()));
            let expected: serde_json::Value = serde_json::from_str(json).unwrap();
            let answer: serde_json::Value = serde_json::from_str(&format!("{{{}}}", out(&payload))).unwrap();
            assert_eq!(answer["value"], expected, "{json}");
        }
        assert_eq!(payload_from_json(raw(r#""\ud800""#), None, "/v").unwrap_err().status, 422);
    }

    #[test]
    fn values_go_out_by_their_type() {
        for (content_type, value, expected) in [
            ("application/json", &b"{\"a\":\n1}"[..], r#""value":{"a": 1}"#),
            ("application/json; charset=utf-8", b"[1]", r#""value":[1]"#),
            ("application/json", b"not json", r#""value_b64":"bm90IGpzb24=""#),
            ("application/json", b"", r#""value_b64":"""#),
            ("application/json", b"\"\xff\"", r#""value_b64":"Iv8i""#),
            ("text/html", b"<a>\n", r#""value":"<a>\n""#),
            ("TEXT/plain", b"x", r#""value":"x""#),
            ("text/plain", b"\xff", r#""value_b64":"/w==""#),
            ("image/png", b"x", r#""value_b64":"eA==""#),
        ] {
            assert_eq!(out(&Payload::new(content_type, value)), expected);
        }
    }

    fn exact(payload: &Payload) -> String {
        let mut out = Vec::new();
        append_in_form(exact_form_of(payload), payload.value(), &mut out);
        String::from_utf8(out).unwrap()
    }

    /// What a line with the exact form of this payload stores.
    fn stored_again(payload: &Payload) -> Payload {
        let line = format!("{{{}}}", exact(payload));
        let members: std::collections::BTreeMap<&str, &RawValue> = serde_json::from_str(&line).unwrap();
        let content_type = Some(payload.content_type());
        match members.get("value") {
            Some(raw) => payload_from_json(raw, content_type, "").unwrap(),
            None => payload_from_base64(members["value_b64"], content_type, "").unwrap(),
        }
    }

    #[test]
    fn the_exact_form_is_readable_where_that_gives_the_bytes_back() {
        for (content_type, value, expected) in [
            ("application/json", &br#"{"a":  1e400, "a":[]}"#[..], r#""value":{"a":  1e400, "a":[]}"#),
            ("application/json", b"\"abc\"", r#""value":"\"abc\"""#),
            ("application/json", b"{\n}", r#""value":"{\n}""#),
            ("application/json", b" 1", r#""value":" 1""#),
            ("text/html", b"<a>\n", r#""value":"<a>\n""#),
            ("text/plain", b"\xff", r#""value_b64":"/w==""#),
            ("image/png", b"x", r#""value_b64":"eA==""#),
        ] {
            let payload = Payload::new(content_type, value);
            assert_eq!(exact(&payload), expected);
            assert_eq!(stored_again(&payload), payload);
        }
        let control = Payload::new(payload::TEXT, &[1; 1000]);
        assert!(exact(&control).starts_with("\"value_b64\""), "as a string it would be six times as long");
        assert_eq!(stored_again(&control), control);
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
        fn the_exact_form_gives_back_every_payload(
            of in 0..4usize, value in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                "[ \n\"\\\\{}:,\\[\\]0-9eE.a-f\u{e9}-]{0,20}".prop_map(String::into_bytes),
                r#" ?(\[[0-9]{0,3}\]|\{"a":\n?"[a-z"]{0,3}"\}|"[a-z]{0,3}"|[0-9.]{1,4})\n?"#.prop_map(String::into_bytes),
            ],
        ) {
            let content_type = ["application/json", "text/plain", payload::TEXT, "image/png"][of];
            let payload = Payload::new(content_type, &value);
            prop_assert_eq!(stored_again(&payload), payload);
        }

        #[test]
        fn base64_and_text_come_back(value in prop::collection::vec(any::<u8>(), 0..50), text in ".{0,30}") {
            let answer: serde_json::Value =
                serde_json::from_str(&format!("{{{}}}", out(&Payload::new("x/y", &value)))).unwrap();
            let back = payload_from_base64(raw(&answer["value_b64"].to_string()), None, "").unwrap();
            prop_assert_eq!(back.value(), &value[..]);
            let answer: serde_json::Value =
                serde_json::from_str(&format!("{{{}}}", out(&Payload::new(payload::TEXT, text.as_bytes())))).unwrap();
            prop_assert_eq!(answer["value"].as_str(), Some(text.as_str()));
        }
    }
}
