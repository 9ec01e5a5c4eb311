//! Metadata: a JSON object as its text, without the space between its parts, every number and string as it was
//! written.

use std::borrow::Cow;

use super::invalid::{Invalid, Reason};
use super::json::{Json, Kind, Scanner};
use crate::limits;

const LEVELS: usize = limits::METADATA_DEPTH_ENTRIES_MAX;

/// The text of a JSON object, by whoever made it: nothing here panics when it is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata<'a>(&'a str);

impl<'a> Metadata<'a> {
    pub const EMPTY: Metadata<'static> = Metadata("{}");

    /// `text` was made by [`compact`].
    pub fn from_compact(text: &'a str) -> Metadata<'a> {
        Metadata(text)
    }

    pub fn text(self) -> &'a str {
        self.0
    }
}

/// The metadata that `text` is, checked: an object, no name twice, strings of whole characters, bounded.
/// Pointers begin at the object.
pub fn compact(text: &str) -> Result<String, Invalid> {
    let mut scanner = Scanner::new(text, LEVELS);
    let out = compact_next(&mut scanner)?;
    scanner.end()?;
    Ok(out)
}

/// As [`compact`], of the value that comes next.
pub fn compact_next(scanner: &mut Scanner<'_>) -> Result<String, Invalid> {
    if scanner.peek()? != Kind::Object {
        scanner.value(LEVELS)?;
        return Err(Reason::Not("an object").into());
    }
    let mut out = String::new();
    append_value(scanner, &mut out)?;
    match out.len() {
        bytes if bytes > limits::METADATA_BYTES_MAX => {
            Err(Reason::TooLong { bytes, max: limits::METADATA_BYTES_MAX }.into())
        }
        _ => Ok(out),
    }
}

fn append_value(scanner: &mut Scanner<'_>, out: &mut String) -> Result<(), Invalid> {
    match scanner.peek()? {
        Kind::Object => append_object(scanner, out),
        Kind::Array => append_list(scanner, out),
        kind => {
            let value = scanner.value(LEVELS)?;
            if kind == Kind::Text && value.text().is_none() {
                return Err(Reason::HalfCharacter.into());
            }
            out.push_str(value.0);
            Ok(())
        }
    }
}

fn append_list(scanner: &mut Scanner<'_>, out: &mut String) -> Result<(), Invalid> {
    let mut place = scanner.open(LEVELS)?;
    out.push('[');
    let mut index = 0;
    while scanner.element(&mut place)? {
        if index > 0 {
            out.push(',');
        }
        append_value(scanner, out).map_err(|invalid| invalid.at_index(index))?;
        index += 1;
    }
    out.push(']');
    Ok(())
}

fn append_object(scanner: &mut Scanner<'_>, out: &mut String) -> Result<(), Invalid> {
    let mut place = scanner.open(LEVELS)?;
    out.push('{');
    let mut names = Vec::new();
    while let Some(raw) = scanner.member(&mut place)? {
        if !names.is_empty() {
            out.push(',');
        }
        let name = raw.text().ok_or(Reason::HalfCharacter)?;
        out.push_str(raw.0);
        out.push(':');
        append_value(scanner, out).map_err(|invalid| invalid.below(&name))?;
        names.push(name);
    }
    out.push('}');
    refuse_repetition(names)
}

fn refuse_repetition(mut names: Vec<Cow<'_, str>>) -> Result<(), Invalid> {
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => Err(Invalid::new(Reason::Repeated).below(&pair[0])),
    }
}

/// Members of an object with their names, as far as the text is one.
pub fn members(object: Json<'_>) -> Vec<(Cow<'_, str>, Json<'_>, Json<'_>)> {
    let mut scanner = Scanner::new(object.0, LEVELS + 1);
    let mut found = Vec::new();
    let Ok(mut place) = scanner.open(LEVELS) else { return found };
    while let Ok(Some(raw)) = scanner.member(&mut place) {
        let (Some(name), Ok(value)) = (raw.text(), scanner.value(LEVELS)) else { break };
        found.push((name, raw, value));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_space_between_parts_goes() {
        let text = " { \"a b\" : [ 1.50 , 1e400,{ } ,[ ] ] ,\n\"c\\u0041\":\"x  y\\/\" , \"d\":null } ";
        let compacted = r#"{"a b":[1.50,1e400,{},[]],"c\u0041":"x  y\/","d":null}"#;
        assert_eq!(compact(text).as_deref(), Ok(compacted));
        assert_eq!(compact(compacted).as_deref(), Ok(compacted));
    }

    #[test]
    fn errors_point_at_the_place() {
        let pointer_of = |text| compact(text).map_err(|invalid| (invalid.pointer, invalid.reason));
        let wrong = |pointer: &str, reason| Err((pointer.to_owned(), reason));
        assert_eq!(pointer_of("[]"), wrong("", Reason::Not("an object")));
        assert_eq!(pointer_of("{}x"), wrong("", Reason::NotJson { at: 2 }));
        assert_eq!(pointer_of(r#"{"a":{"b":1,"\u0062":2}}"#), wrong("/a/b", Reason::Repeated));
        assert_eq!(pointer_of(r#"{"a":[0,"\ud800"]}"#), wrong("/a/1", Reason::HalfCharacter));
        let deep = format!("{}1{}", "{\"a\":".repeat(LEVELS + 1), "}".repeat(LEVELS + 1));
        assert_eq!(compact(&deep).unwrap_err().reason, Reason::TooDeep { levels: LEVELS });
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(limits::METADATA_BYTES_MAX));
        assert!(matches!(compact(&long).unwrap_err().reason, Reason::TooLong { .. }));
    }

    proptest! {
        #[test]
        fn the_value_stays_the_same(text in r#" ?\{ ?("a" ?: ?(1|"x y"|\[ ?2 ?, ?null ?\]|\{ ?"b" ?: ?-0\.5 ?\}) ?)?\} ?"#) {
            let compacted = compact(&text).unwrap();
            let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            prop_assert_eq!(value(&compacted), value(&text));
            prop_assert_eq!(&compact(&compacted).unwrap(), &compacted);
        }
    }
}
