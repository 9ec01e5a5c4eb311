//! From the name of a field to its values in metadata.
//!
//! A name means:
//!
//! | name | values in | e.g. |
//! |---|---|---|
//! | `a` | the member `a` | `{"a": 1}` |
//! | `a.b` | the member `b` of the object `a`, as in Mongo, Qdrant and Elasticsearch | `{"a": {"b": 1}}` |
//! | `a.b` | the member of the name `a.b`, as clients of flat stores write it | `{"a.b": 1}` |
//! | `a.b` | `b` of each object in the list `a`, as in Mongo (Qdrant's `a[].b`) | `{"a": [{"b": 1}, {"b": 2}]}` |
//!
//! A list has its elements as values; lists in lists and objects are values that equal nothing. All values that a
//! name finds count.

use std::ops::ControlFlow;

use super::invalid::escape_pointer;
use super::json::{Json, Kind, Scanner};
use super::metadata::Metadata;
use crate::limits;

const LEVELS: usize = limits::METADATA_DEPTH_ENTRIES_MAX + 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf<'a> {
    /// A list, whose elements come next.
    List(Json<'a>),
    /// No list, but maybe in one, or in an object in one.
    Value { json: Json<'a>, listed: bool },
}

/// Calls `see` with all that `name` finds, until it breaks. Metadata that is no JSON is read as far as it is.
pub fn leaves<'a>(
    metadata: Metadata<'a>,
    name: &str,
    see: &mut dyn FnMut(Leaf<'a>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    in_object(Json(metadata.text()), name, false, see)
}

fn in_object<'a>(
    object: Json<'a>,
    name: &str,
    listed: bool,
    see: &mut dyn FnMut(Leaf<'a>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut scanner = Scanner::new(object.0, LEVELS);
    let Ok(mut place) = scanner.open(LEVELS) else { return ControlFlow::Continue(()) };
    while let Ok(Some(member)) = scanner.member(&mut place) {
        let (Some(member), Ok(value)) = (member.text(), scanner.value(LEVELS)) else { break };
        let Some(rest) = name.strip_prefix(&*member) else { continue };
        if rest.is_empty() {
            leaf(value, listed, see)?;
        } else if let Some(rest) = rest.strip_prefix('.') {
            below(value, rest, listed, see)?;
        }
    }
    ControlFlow::Continue(())
}

fn below<'a>(
    value: Json<'a>,
    name: &str,
    listed: bool,
    see: &mut dyn FnMut(Leaf<'a>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    match value.kind() {
        Kind::Object => in_object(value, name, listed, see),
        Kind::Array => each_element(value, &mut |element| match element.kind() {
            Kind::Object => in_object(element, name, true, see),
            _ => ControlFlow::Continue(()),
        }),
        _ => ControlFlow::Continue(()),
    }
}

fn leaf<'a>(
    value: Json<'a>,
    listed: bool,
    see: &mut dyn FnMut(Leaf<'a>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    if value.kind() != Kind::Array {
        return see(Leaf::Value { json: value, listed });
    }
    see(Leaf::List(value))?;
    each_element(value, &mut |json| see(Leaf::Value { json, listed: true }))
}

fn each_element<'a>(list: Json<'a>, see: &mut dyn FnMut(Json<'a>) -> ControlFlow<()>) -> ControlFlow<()> {
    let mut scanner = Scanner::new(list.0, LEVELS);
    let Ok(mut place) = scanner.open(LEVELS) else { return ControlFlow::Continue(()) };
    while let Ok(true) = scanner.element(&mut place) {
        let Ok(value) = scanner.value(LEVELS) else { break };
        see(value)?;
    }
    ControlFlow::Continue(())
}

/// JSON pointer to a part of the metadata that [`leaves`] has found.
pub fn pointer_to(metadata: Metadata<'_>, part: Json<'_>) -> String {
    let wanted = part.0.as_ptr() as usize;
    let (mut pointer, mut at) = (String::new(), Json(metadata.text()));
    while let Some((step, inner)) = step_towards(at, wanted) {
        pointer.push('/');
        pointer += &step;
        at = inner;
        if at.0.as_ptr() as usize == wanted && at.0.len() == part.0.len() {
            break;
        }
    }
    pointer
}

/// The member or element that begins at this address or reaches beyond it.
fn step_towards(value: Json<'_>, wanted: usize) -> Option<(String, Json<'_>)> {
    let mut scanner = Scanner::new(value.0, LEVELS);
    let mut place = scanner.open(LEVELS).ok()?;
    let is_there = |json: Json<'_>| {
        let start = json.0.as_ptr() as usize;
        (start..start + json.0.len()).contains(&wanted)
    };
    if value.kind() == Kind::Object {
        while let Ok(Some(name)) = scanner.member(&mut place) {
            let inner = scanner.value(LEVELS).ok()?;
            if is_there(inner) {
                return Some((escape_pointer(&name.text()?).into_owned(), inner));
            }
        }
        return None;
    }
    let mut index = 0;
    while let Ok(true) = scanner.element(&mut place) {
        let inner = scanner.value(LEVELS).ok()?;
        if is_there(inner) {
            return Some((index.to_string(), inner));
        }
        index += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a name finds, with pointers.
    fn found(text: &str, name: &str) -> Vec<String> {
        let metadata = Metadata::from_compact(text);
        let mut found = Vec::new();
        let _ = leaves(metadata, name, &mut |leaf| {
            found.push(match leaf {
                Leaf::List(json) => format!("{} list", pointer_to(metadata, json)),
                Leaf::Value { json, listed } => {
                    format!(
                        "{} {}{}",
                        pointer_to(metadata, json),
                        json.0,
                        if listed { " listed" } else { "" }
                    )
                }
            });
            ControlFlow::Continue(())
        });
        found
    }

    #[test]
    fn names_find_members_nested_flat_and_in_lists() {
        assert_eq!(found(r#"{"a":1,"ab":2}"#, "a"), ["/a 1"]);
        assert_eq!(found(r#"{"x":0,"a":{"c":2,"b":1}}"#, "a.b"), ["/a/b 1"]);
        assert_eq!(found(r#"{"a.b":1}"#, "a.b"), ["/a.b 1"]);
        assert_eq!(found(r#"{"a":{"b.c":1},"a.b":{"c":2}}"#, "a.b.c"), ["/a/b.c 1", "/a.b/c 2"]);
        assert_eq!(found(r#"{"\u0061/~":null}"#, "a/~"), ["/a~1~0 null"]);
        assert_eq!(
            found(r#"{"a":[{"b":1},{},5,{"b":[2,[3]]}]}"#, "a.b"),
            ["/a/0/b 1 listed", "/a/3/b list", "/a/3/b/0 2 listed", "/a/3/b/1 [3] listed"]
        );
        assert_eq!(found(r#"{"a":[]}"#, "a"), ["/a list"]);
        for (text, name) in [
            ("{}", "a"),
            (r#"{"a":1}"#, "a.b"),
            (r#"{"a":{"b":1}}"#, "b"),
            (r#"{"a":[[{"b":1}]]}"#, "a.b"),
            (r#"{"a":[7]}"#, "a.0"),
            (r#"{"ab":{"c":1}}"#, "a.c"),
            ("", "a"),
            ("{\"a\"", "a"),
            ("[1]", "a"),
        ] {
            assert_eq!(found(text, name), [""; 0], "{text} {name}");
        }
    }

    #[test]
    fn it_ends_when_enough_was_seen() {
        let mut seen = 0;
        let flow = leaves(Metadata::from_compact(r#"{"a":[1,2,3]}"#), "a", &mut |_| {
            seen += 1;
            if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!((seen, flow), (2, ControlFlow::Break(())));
    }
}
