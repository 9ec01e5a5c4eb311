//! A JSON object as its members, each the verbatim text of its value.
//!
//! Routes take the members they know by name; what is left is unknown and refused. Errors name the
//! place by JSON pointer, so a client sees which part is wrong.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::net::json::value::append_string;
use crate::net::problem::Problem;

#[derive(Debug, Default)]
pub struct JsonObject<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> JsonObject<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<JsonObject<'a>, Problem> {
        let text = std::str::from_utf8(bytes).map_err(|_| {
            Problem::new(400, "malformed_json", "the body is not UTF-8").at("", "is not UTF-8")
        })?;
        let object: JsonObject<'a> = serde_json::from_str(text).map_err(|error| match error.classify() {
            Category::Data => not_an_object(text),
            _ => Problem::malformed_json(&error),
        })?;
        object.refuse_repetition()?;
        Ok(object)
    }

    fn refuse_repetition(&self) -> Result<(), Problem> {
        let mut seen = HashSet::with_capacity(self.members.len());
        match self.members.iter().find(|(name, _)| !seen.insert(&**name)) {
            Some((name, _)) => Err(Problem::wrong(pointer_to(name), "is given more than once")),
            None => Ok(()),
        }
    }

    /// The member, where `null` is another way to leave it out.
    pub fn optional(&mut self, name: &str) -> Option<&'a RawValue> {
        self.take(name).filter(|value| value.get() != "null")
    }

    /// As `optional`, and the member stays.
    pub fn peek(&self, name: &str) -> Option<&'a RawValue> {
        let named = self.members.iter().find(|(known, _)| known == name)?;
        Some(named.1).filter(|value| value.get() != "null")
    }

    /// The member; `null` is a value like any other.
    pub fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let index = self.members.iter().position(|(known, _)| known == name)?;
        Some(self.members.swap_remove(index).1)
    }

    pub fn required(&mut self, name: &str) -> Result<&'a RawValue, Problem> {
        self.take(name).ok_or_else(|| Problem::wrong(pointer_to(name), "is missing"))
    }

    /// The end of an object that has begun already: what was not taken but one, each behind a comma; in the order of the
    /// text while nothing was taken.
    pub fn append_rest(&self, but: &str, out: &mut Vec<u8>) {
        for (name, value) in self.members.iter().filter(|(name, _)| name != but) {
            out.push(b',');
            append_string(name, out);
            out.push(b':');
            out.extend_from_slice(value.get().as_bytes());
        }
        out.push(b'}');
    }

    /// Fails when a member was not taken.
    pub fn finish(self) -> Result<(), Problem> {
        match self.members.first() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::wrong(pointer_to(name), "is not known here")),
        }
    }
}

/// A text that begins as another kind of value may not be JSON at all.
fn not_an_object(text: &str) -> Problem {
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Problem::wrong("", "is not a JSON object"),
        Err(error) => Problem::malformed_json(&error),
    }
}

/// JSON pointer to a member of the top object (RFC 6901).
fn pointer_to(name: &str) -> String {
    format!("/{}", escape_pointer(name))
}

pub fn escape_pointer(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The value as a type of serde's, or what was expected of it.
pub fn typed<'a, T: Deserialize<'a>>(raw: &'a RawValue, pointer: &str, expected: &str) -> Result<T, Problem> {
    serde_json::from_str(raw.get()).map_err(|_| Problem::wrong(pointer, format!("is not {expected}")))
}

pub fn text<'a>(raw: &'a RawValue, pointer: &str) -> Result<Cow<'a, str>, Problem> {
    // A string that does not parse as one has half of a surrogate pair.
    let is_string = raw.get().starts_with('"');
    let expected = if is_string { "a string of whole Unicode characters" } else { "a string" };
    typed::<Text<'a>>(raw, pointer, expected).map(|text| text.0)
}

pub fn array<'a>(raw: &'a RawValue, pointer: &str) -> Result<Vec<&'a RawValue>, Problem> {
    typed(raw, pointer, "an array")
}

/// A string that is borrowed when it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for JsonObject<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<JsonObject<'a>, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = JsonObject<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonObject<'de>, A::Error> {
        let mut members = Vec::with_capacity(4);
        while let Some((Text(name), value)) = map.next_entry()? {
            members.push((name, value));
        }
        Ok(JsonObject { members })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_verbatim() {
        let mut object = JsonObject::parse(br#" {"a": 1e400, "b\u0063": {"x": [ 1 ]}, "n": null} "#).unwrap();
        assert_eq!(object.required("a").unwrap().get(), "1e400");
        assert_eq!(object.take("bc").unwrap().get(), r#"{"x": [ 1 ]}"#);
        assert!(object.optional("n").is_none());
        assert!(object.optional("missing").is_none());
        assert!(object.finish().is_ok());
    }

    #[test]
    fn malformed_and_wrong_are_told_apart() {
        let status = |bytes: &[u8]| JsonObject::parse(bytes).map(|_| ()).map_err(|problem| problem.status);
        for malformed in
            [&b""[..], b"{", b"{\"a\":}", b"{} x", b"{\"a\":1,}", b"\xff", b"{'a':1}", b"nul", b"[", b"1 2"]
        {
            assert_eq!(status(malformed), Err(400), "{}", malformed.escape_ascii());
        }
        for wrong in [&b"[]"[..], b"1", b"\"a\"", b"null", b"{\"a\":1,\"a\":2}"] {
            assert_eq!(status(wrong), Err(422), "{}", wrong.escape_ascii());
        }
        let problem = JsonObject::parse(b"{\n  \"a\": x}").unwrap_err();
        assert!(problem.detail.contains("line 2 column 8"), "{}", problem.detail);
    }

    #[test]
    fn members_by_the_hundred_thousand_are_looked_through_at_once() {
        let members: Vec<String> = (0..200_000).map(|at| format!("\"{at}\":0")).collect();
        let (text, began) = (format!("{{{}}}", members.join(",")), std::time::Instant::now());
        let object = JsonObject::parse(text.as_bytes()).unwrap();
        assert_eq!(object.finish().unwrap_err().errors[0].pointer, "/0");
        // A pair at a time took minutes.
        assert!(began.elapsed().as_secs() < 10);
    }

    #[test]
    fn errors_point_at_the_place() {
        let mut object = JsonObject::parse(br#"{"a/b": 1, "key": "x"}"#).unwrap();
        assert_eq!(object.required("value").unwrap_err().errors[0].pointer, "/value");
        let key = object.required("key").unwrap();
        assert_eq!(typed::<u64>(key, "/key", "a number").unwrap_err().errors[0].pointer, "/key");
        assert_eq!(object.finish().unwrap_err().errors[0].pointer, "/a~1b");
        let half = serde_json::from_str(r#""\ud800""#).unwrap();
        assert!(
            text(half, "/value").unwrap_err().detail.ends_with("is not a string of whole Unicode characters")
        );
    }
}
