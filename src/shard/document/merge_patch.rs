//! JSON merge patch (RFC 7396) of metadata, on its text: what is not patched stays as it was written.

use std::collections::BTreeMap;

use super::invalid::{Invalid, Reason};
use super::json::{Json, Kind};
use super::metadata::{Metadata, compact, members};

/// The metadata after the patch. Members of the patch that are null are taken away; objects are patched member by
/// member; whatever else is put in the place of the old. Pointers begin at the patch.
pub fn merge_patch(metadata: Metadata<'_>, patch: &str) -> Result<String, Invalid> {
    let patch = compact(patch)?;
    let mut merged = String::with_capacity(metadata.text().len() + patch.len());
    append_merged(Some(Json(metadata.text())), Json(&patch), &mut merged);
    // Each was within its bounds, but both together may not be.
    let max = crate::limits::METADATA_BYTES_MAX;
    match merged.len() {
        bytes if bytes > max => Err(Reason::TooLong { bytes, max }.into()),
        _ => Ok(merged),
    }
}

fn append_merged(target: Option<Json<'_>>, patch: Json<'_>, out: &mut String) {
    if patch.kind() != Kind::Object {
        out.push_str(patch.0);
        return;
    }
    let old = target.filter(|target| target.kind() == Kind::Object).map(members).unwrap_or_default();
    let mut new: BTreeMap<_, _> = members(patch)
        .into_iter()
        .enumerate()
        .map(|(at, (name, raw, value))| (name, (at, raw, value)))
        .collect();
    let mut object = Object::begin(out);
    for (name, raw, value) in old {
        match new.remove(&name) {
            None => object.member(raw).push_str(value.0),
            Some((_, _, patch)) if patch.kind() == Kind::Null => (),
            Some((_, _, patch)) => append_merged(Some(value), patch, object.member(raw)),
        }
    }
    // In the order in which the patch has them.
    let mut added: Vec<_> = new.into_values().filter(|(_, _, patch)| patch.kind() != Kind::Null).collect();
    added.sort_unstable_by_key(|(at, _, _)| *at);
    added.into_iter().for_each(|(_, raw, patch)| append_merged(None, patch, object.member(raw)));
    out.push('}');
}

/// An object being written.
struct Object<'a> {
    out: &'a mut String,
    is_empty: bool,
}

impl Object<'_> {
    fn begin(out: &mut String) -> Object<'_> {
        out.push('{');
        Object { out, is_empty: true }
    }

    /// Where the value of the next member is written.
    fn member(&mut self, raw_name: Json<'_>) -> &mut String {
        if !std::mem::replace(&mut self.is_empty, false) {
            self.out.push(',');
        }
        self.out.push_str(raw_name.0);
        self.out.push(':');
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn merged(metadata: &str, patch: &str) -> Result<String, Reason> {
        merge_patch(Metadata::from_compact(metadata), patch).map_err(|invalid| invalid.reason)
    }

    #[test]
    fn patches_change_what_they_name_and_nothing_else() {
        for (metadata, patch, expected) in [
            (r#"{"a":1.50,"b":1e400}"#, r#"{ "c" : 2.0 }"#, r#"{"a":1.50,"b":1e400,"c":2.0}"#),
            (r#"{"a":1,"b":2}"#, r#"{"a":null}"#, r#"{"b":2}"#),
            (r#"{"a":1}"#, r#"{"b":null}"#, r#"{"a":1}"#),
            (r#"{"a":{"x":1,"y":2}}"#, r#"{"a":{"y":null,"z":3}}"#, r#"{"a":{"x":1,"z":3}}"#),
            (r#"{"a":[1]}"#, r#"{"a":{"b":{"c":null,"d":1}}}"#, r#"{"a":{"b":{"d":1}}}"#),
            (r#"{"a":{"b":1}}"#, r#"{"a":[1,null]}"#, r#"{"a":[1,null]}"#),
            (r#"{"a":null}"#, r#"{"b":1}"#, r#"{"a":null,"b":1}"#),
            (r#"{"\u0061":1}"#, r#"{"a":2}"#, r#"{"\u0061":2}"#),
            ("{}", r#"{"z":1,"a":2}"#, r#"{"z":1,"a":2}"#),
            ("{}", "{}", "{}"),
        ] {
            assert_eq!(merged(metadata, patch).as_deref(), Ok(expected), "{metadata} {patch}");
        }
    }

    #[test]
    fn what_is_no_patch_of_an_object_is_refused() {
        assert_eq!(merged("{}", "[1]"), Err(Reason::Not("an object")));
        assert_eq!(merged("{}", "null"), Err(Reason::Not("an object")));
        assert_eq!(merged("{}", r#"{"a":1,"a":2}"#), Err(Reason::Repeated));
        assert_eq!(merged("{}", "{"), Err(Reason::NotJson { at: 1 }));
        let half = "x".repeat(limits::METADATA_BYTES_MAX / 2);
        let of = |name: &str| format!(r#"{{"{name}":"{half}"}}"#);
        assert!(matches!(merged(&of("a"), &of("b")), Err(Reason::TooLong { .. })));
        assert!(merged(&of("a"), &of("a")).is_ok());
    }

    /// As the RFC writes it.
    fn model(target: &Value, patch: &Value) -> Value {
        let Value::Object(patch) = patch else { return patch.clone() };
        let mut result = target.as_object().cloned().unwrap_or_default();
        for (name, value) in patch {
            if value.is_null() {
                result.remove(name);
            } else {
                let old = result.get(name).cloned().unwrap_or(Value::Null);
                result.insert(name.clone(), model(&old, value));
            }
        }
        Value::Object(result)
    }

    fn any_object() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), (0..3).prop_map(|n| json!(n)), Just(json!([{"a": null}]))];
        let object = |value: BoxedStrategy<Value>| {
            prop::collection::btree_map("[abc]", value, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect()))
        };
        let value = leaf.prop_recursive(3, 16, 3, move |inner| object(inner.boxed()));
        object(value.boxed())
    }

    proptest! {
        #[test]
        fn it_does_what_the_rfc_says(target in any_object(), patch in any_object()) {
            let found = merged(&target.to_string(), &patch.to_string()).unwrap();
            prop_assert_eq!(&compact(&found).unwrap(), &found);
            prop_assert_eq!(serde_json::from_str::<Value>(&found).unwrap(), model(&target, &patch));
        }
    }
}
