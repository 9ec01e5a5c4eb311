//! A line of values: one of the bulk route, or one without `"op"`, which is a put, as `export` prints them; the `seq`
//! of such a line says which version it was and is not sent.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::failure::InputError;
use crate::net::json::object::JsonObject;

/// A line of the bulk format, as it stands in the file.
pub struct Line<'a> {
    pub text: &'a str,
    pub op: Option<Op>,
    pub key: &'a RawValue,
    pub value: Option<&'a RawValue>,
    pub value_b64: Option<&'a RawValue>,
    pub content_type: Option<&'a RawValue>,
    has_seq: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    Put,
    Delete,
    Get,
}

#[derive(Deserialize)]
struct Fields<'a> {
    op: Option<Op>,
    #[serde(borrow)]
    key: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    value: Option<&'a RawValue>,
    #[serde(borrow)]
    value_b64: Option<&'a RawValue>,
    #[serde(borrow)]
    content_type: Option<&'a RawValue>,
    seq: Option<IgnoredAny>,
}

/// Tells `null` from no value at all.
pub fn present<'de: 'a, 'a, D: Deserializer<'de>>(value: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

pub fn parse(text: &str) -> Result<Line<'_>, InputError> {
    let fields: Fields<'_> = serde_json::from_str(text).map_err(InputError::NotAnObject)?;
    let Fields { op, key, value, value_b64, content_type, seq } = fields;
    let key = key.ok_or(InputError::KeyMissing)?;
    if op == Some(Op::Get) {
        return Err(InputError::Reads);
    }
    let is_put = op != Some(Op::Delete);
    if is_put && value.is_none() && value_b64.is_none() {
        return Err(InputError::ValueMissing);
    }
    Ok(Line { text, op, key, value, value_b64, content_type, has_seq: seq.is_some() })
}

impl Line<'_> {
    /// Appends the line of the bulk route that does what this one says.
    pub fn append_bulk_line(&self, out: &mut Vec<u8>) {
        match self.op {
            Some(_) => out.extend_from_slice(self.text.as_bytes()),
            None => append_as_put(self, out),
        }
        out.push(b'\n');
    }
}

/// A line of an export as a put: as it stands, but for `seq`, which is no condition.
fn append_as_put(line: &Line<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"op\":\"put\"");
    // A line with a member twice goes as it is: the server says what is wrong with it.
    match line.has_seq.then(|| JsonObject::parse(line.text.as_bytes())) {
        Some(Ok(object)) => object.append_rest("seq", out),
        _ => {
            out.push(b',');
            let rest = line.text.strip_prefix('{').expect("an object starts with a brace");
            out.extend_from_slice(rest.as_bytes());
        }
    }
}
