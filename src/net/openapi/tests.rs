//! The document and the code say the same.

use std::collections::BTreeSet;

use super::*;
use crate::net::parser::head::Method;
use crate::net::routes::Resource;

/// The names of methods are in lower case there.
fn find<'a>(path: &'a str, name: &'a str) -> Resource<'a> {
    Resource::find(path, Method::named(name)).expect("a route")
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
        let path = paths::sample(operation.path);
        let name = operation.method.to_uppercase();
        let found = find(&path, &name);
        seen.insert(format!("{found:?}").split([' ', '{']).next().unwrap_or_default().to_owned());
        // A record may have a name that means something else with another method.
        let last = path.rsplit('/').next().unwrap_or_default();
        let is_named = template(found).ends_with("/{key}") && ["mget", "bulk"].contains(&last);
        assert!(is_named || template(found) == operation.path, "{} is found as {found:?}", operation.path);
        for name in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] {
            let (found, methods) = (find(&path, name), methods_of(operation.path));
            let allowed: BTreeSet<String> = found.allow().split(", ").map(str::to_owned).collect();
            assert_eq!(allowed.contains(name), methods.contains(name), "{name} {path}");
            assert!(methods.contains(name) || allowed == methods, "Allow of {name} {path}");
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
fn keys_are_asked_for_where_the_server_asks_for_them() {
    let operations = operations::all();
    let is_public = |operation: &&Operation| operation.security == json!([]);
    let public: BTreeSet<&str> = operations.iter().filter(is_public).map(|one| one.path).collect();
    assert_eq!(public.into_iter().collect::<Vec<_>>(), ["/build_info", "/health", "/livez", "/openapi.json"]);
    for operation in operations.iter().filter(|one| !is_public(one)) {
        assert!(operation.refusals.contains(&(401, "unauthorized")) && operation.takes.contains("key"));
    }
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
