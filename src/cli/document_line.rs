//! Documents of a file as lines of their bulk route: lines of JSON as they stand, and rows of vectors.
//!
//! A line of JSON without an id gets one that is made of its text: an upload that breaks sends lines again, and an
//! import that was interrupted is run again, and both times the document has to be the same one.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_128;

use super::failure::InputError;
use super::value_line::present;
use super::vector_file::Number;
use crate::net::json::object::JsonObject;
use crate::shard::key::KeyType;

#[derive(Debug)]
pub enum DocumentLineError {
    /// A line of values.
    HasKey,
    /// Only ids that are strings are made here: a number of 64 bits would not be unlike all others.
    IdMissing,
}

/// A document, or `{"op":"delete","id":..}`, as it stands in the file.
pub struct DocumentLine<'a> {
    text: &'a str,
    id: Id<'a>,
}

enum Id<'a> {
    Given(&'a RawValue),
    /// As JSON; and whether the line has an id that is null.
    Made {
        json: String,
        replaces_null: bool,
    },
    /// Of a line with an operation: the server says what it thinks of it.
    Missing,
}

#[derive(Deserialize)]
struct Members<'a> {
    op: Option<IgnoredAny>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    key: Option<IgnoredAny>,
}

impl<'a> DocumentLine<'a> {
    pub fn parse(text: &'a str, key_type: KeyType) -> Result<DocumentLine<'a>, InputError> {
        let Members { op, id, key } = parse_object(text)?;
        let id = match id {
            Some(id) if id.get() != "null" => Id::Given(id),
            _ if key.is_some() => return Err(InputError::Document(DocumentLineError::HasKey)),
            _ if op.is_some() => Id::Missing,
            _ if key_type == KeyType::U64 => return Err(InputError::Document(DocumentLineError::IdMissing)),
            null => Id::Made {
                json: format!("\"{:032x}\"", xxh3_128(text.as_bytes())),
                replaces_null: null.is_some(),
            },
        };
        Ok(DocumentLine { text, id })
    }

    /// As JSON.
    pub fn id(&self) -> Option<&str> {
        match &self.id {
            Id::Given(id) => Some(id.get()),
            Id::Made { json, .. } => Some(json),
            Id::Missing => None,
        }
    }

    pub fn append_bulk_line(&self, out: &mut Vec<u8>) {
        match &self.id {
            Id::Made { json, replaces_null } => append_with_id(self.text, json, *replaces_null, out),
            Id::Given(_) | Id::Missing => out.extend_from_slice(self.text.as_bytes()),
        }
        out.push(b'\n');
    }
}

/// An object with some of its members read.
pub fn parse_object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, InputError> {
    // What is derived would take a list of the members' values as well.
    let object = if text.starts_with('{') {
        serde_json::from_str(text)
    } else {
        Err(serde::de::Error::custom("it is no object"))
    };
    object.map_err(InputError::NotAnObject)
}

fn append_with_id(text: &str, id: &str, replaces_null: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    out.extend_from_slice(id.as_bytes());
    // A line with a member twice goes as it is: the server says what is wrong with it.
    match replaces_null.then(|| JsonObject::parse(text.as_bytes())) {
        Some(Ok(object)) => object.append_rest("id", out),
        _ => {
            let rest = text.strip_prefix('{').expect("an object starts with a brace").trim_start();
            if rest != "}" {
                out.push(b',');
            }
            out.extend_from_slice(rest.as_bytes());
        }
    }
}

/// A row of a file of vectors: a document that has an embedding, and its number as its id.
pub struct DocumentRow<'a> {
    pub id: u64,
    pub key_type: KeyType,
    pub number: Number,
    pub bytes: &'a [u8],
}

impl DocumentRow<'_> {
    pub fn append_bulk_line(&self, out: &mut Vec<u8>) {
        let quote = if self.key_type == KeyType::String { "\"" } else { "" };
        out.extend_from_slice(b"{\"id\":");
        out.extend_from_slice(quote.as_bytes());
        out.extend_from_slice(itoa::Buffer::new().format(self.id).as_bytes());
        out.extend_from_slice(quote.as_bytes());
        out.extend_from_slice(b",\"embedding_b64\":\"");
        match self.number {
            Number::F32 => append_base64(self.bytes, out),
            number => {
                let floats: Vec<u8> = number.floats(self.bytes).flat_map(f32::to_le_bytes).collect();
                append_base64(&floats, out);
            }
        }
        out.extend_from_slice(b"\"}\n");
    }
}

fn append_base64(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let len = base64::encoded_len(bytes.len(), true).expect("a row is short");
    out.resize(start + len, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[start..]).expect("there is room");
    assert_eq!(written, len, "base64 has one length");
}

impl fmt::Display for DocumentLineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DocumentLineError::HasKey => f.write_str(
                "the collection has documents, {\"id\", \"text\", \"embedding\", \"metadata\"}, and this line has a \
                 \"key\", as values have",
            ),
            DocumentLineError::IdMissing => f.write_str(
                "the line has no \"id\", and one is only made where ids are strings; those of the collection are u64",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(text: &str) -> String {
        let mut out = Vec::new();
        DocumentLine::parse(text, KeyType::String).unwrap().append_bulk_line(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_with_ids_go_as_they_are() {
        for text in [
            r#"{"id":"a","text":"x","unknown":1}"#,
            r#"{ "metadata":{"id":2}, "id" : 7 }"#,
            r#"{"op":"delete","id":"a"}"#,
            r#"{"op":"delete"}"#,
            r#"{"op":"delete","id":null}"#,
        ] {
            assert_eq!(sent(text), format!("{text}\n"));
        }
    }

    #[test]
    fn an_id_is_made_of_the_line() {
        let line = sent(r#"{ "text":"a" }"#);
        let id = &line[7..39];
        assert!(id.bytes().all(|digit| digit.is_ascii_hexdigit()), "{line}");
        assert_eq!(line, format!("{{\"id\":\"{id}\",\"text\":\"a\" }}\n"));
        assert_eq!(sent(r#"{ "text":"a" }"#), line);
        assert_ne!(sent(r#"{ "text":"b" }"#)[7..39], *id);
        assert_eq!(sent("{ }").len(), "{\"id\":\"\"}\n".len() + 32);
        let null = sent(r#"{"text":"a\n","id":null,"metadata":{"id":null}}"#);
        assert!(null.ends_with(",\"text\":\"a\\n\",\"metadata\":{\"id\":null}}\n"), "{null}");
        assert_eq!(null.matches("\"id\":").count(), 2);
    }

    #[test]
    fn lines_that_are_no_documents_are_told() {
        let told = |text, key_type| match DocumentLine::parse(text, key_type) {
            Ok(_) => panic!("{text} was taken"),
            Err(what) => what.to_string(),
        };
        assert!(told(r#"{"key":1,"value":2}"#, KeyType::U64).contains("this line has a \"key\""));
        assert!(told(r#"{"text":"a"}"#, KeyType::U64).contains("no \"id\""));
        for text in ["[1]", "[null,1,null]", "7", "{", r#"{"id":1,"id":2}"#, "{} {}"] {
            assert!(told(text, KeyType::String).contains("not a line"), "{text}");
        }
    }

    #[test]
    fn rows_become_documents() {
        let line = |key_type, number, bytes: &[u8]| {
            let mut out = Vec::new();
            DocumentRow { id: 12, key_type, number, bytes }.append_bulk_line(&mut out);
            String::from_utf8(out).unwrap()
        };
        let one = "AACAPw=="; // 1.0 as f32
        let wanted = format!("{{\"id\":12,\"embedding_b64\":\"{one}\"}}\n");
        assert_eq!(line(KeyType::U64, Number::F32, &1.0_f32.to_le_bytes()), wanted);
        assert_eq!(line(KeyType::U64, Number::F16, &[0, 0x3c]), wanted);
        assert_eq!(line(KeyType::String, Number::U8, &[1]), wanted.replace("12", "\"12\""));
    }
}
