//! The document and the code say the same.

use std::collections::BTreeSet;

use super::*;
use crate::net::parser::head::Method;
use crate::net::routes::Resource;

fn method(name: &'static str) -> Method<'static> {
    match name {
        "get" => Method::Get,
        "head" => Method::Head,
        "post" => Method::Post,
        "put" => Method::Put,
        "patch" => Method::Patch,
        "delete" => Method::Delete,
        other => panic!("no route has the method {other}"),
    }
}

/// A path of the template.
fn path(template: &str) -> String {
    template
        .split('/')
        .map(|part| if part.starts_with('{') { "x" } else { part })
        .collect::<Vec<_>>()
        .join("/")
}

#[test]
fn every_operation_is_a_route_and_every_route_an_operation() {
    let operations = operations::all();
    let methods_of = |template: &str| -> BTreeSet<String> {
        let of_path = operations.iter().filter(|operation| operation.path == template);
        of_path.map(|operation| operation.method.to_uppercase()).collect()
    };
    let mut seen = BTreeSet::new();
    for operation in &operations {
        let path = path(operation.path);
        let found = Resource::find(&path, method(operation.method)).expect(operation.path);
        seen.insert(format!("{found:?}").split([' ', '{']).next().unwrap_or_default().to_owned());
        // A record may have a name that means something else with another method.
        let last = path.rsplit('/').next().unwrap_or_default();
        let is_named = template(found).ends_with("/{key}") && ["mget", "bulk"].contains(&last);
        assert!(is_named || template(found) == operation.path, "{} is found as {found:?}", operation.path);
        for method_name in ["get", "head", "post", "put", "patch", "delete"] {
            let found = Resource::find(&path, method(method_name)).expect(operation.path);
            let allowed: BTreeSet<String> = found.allow().split(", ").map(str::to_owned).collect();
            let has = allowed.contains(&method_name.to_uppercase());
            assert_eq!(
                has,
                methods_of(operation.path).contains(&method_name.to_uppercase()),
                "{method_name} {path}"
            );
            if !has {
                assert_eq!(allowed, methods_of(operation.path), "Allow of {method_name} {path}");
            }
        }
    }
    assert_eq!(seen, variants(include_str!("../routes/mod.rs"), "pub enum Resource<'a> {"));
}

/// The names of an enum's variants, from its source: no list of them is to be kept.
fn variants(source: &str, begin: &str) -> BTreeSet<String> {
    let (_, rest) = source.split_once(begin).expect("the enum is there");
    let (body, _) = rest.split_once("\n}").expect("the enum ends");
    let lines = body.lines().filter_map(|line| line.strip_prefix("    "));
    let names = lines.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
    names.map(|line| line.split([' ', '{', ',']).next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn names_and_groups_are_there_once() {
    let operations = operations::all();
    let ids: BTreeSet<&str> = operations.iter().map(|operation| operation.id.as_str()).collect();
    assert_eq!(ids.len(), operations.len());
    for operation in &operations {
        assert!(GROUPS.iter().any(|(name, _)| *name == operation.group), "{}", operation.group);
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn check(value: &Value, document: &Value) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(target)) = members.get("$ref") {
                    let pointer = target.strip_prefix('#').expect("references stay inside");
                    assert!(document.pointer(pointer).is_some(), "{target}");
                }
                members.values().for_each(|value| check(value, document));
            }
            Value::Array(values) => values.iter().for_each(|value| check(value, document)),
            _ => {}
        }
    }
    let document = document();
    check(&document, &document);
    for (name, _) in document["components"]["schemas"].as_object().expect("schemas") {
        let target = format!("\"#/components/schemas/{name}\"");
        assert!(TEXT.contains(&target), "nothing refers to the schema {name}");
    }
}
