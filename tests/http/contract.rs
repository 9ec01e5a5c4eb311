//! Each answer against `/openapi.json`: status, code, content type, headers, body.

use std::sync::LazyLock;

use kyrodb::net::openapi;
use kyrodb::net::parser::head::Method;
use kyrodb::net::routes::Resource;
use serde_json::Value;

use super::Answer;
use super::json_schema::Schemas;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(openapi::TEXT).expect("JSON"));

const PROBLEM: &str = "application/problem+json";

/// Panics when the server does not do what it says.
pub fn check(method: &str, target: &str, answer: &Answer) {
    if let Err(what) = judge(method, target, answer) {
        let target = &target[..target.len().min(200)];
        panic!("{method} {target} is answered {}, other than described: {what}", answer.status);
    }
}

/// Of an answer to bytes that may be no request.
pub fn check_problem(answer: &Answer) {
    if answer.header("content-type") == Some(PROBLEM) && !answer.body.is_empty() {
        let schema = serde_json::json!({ "allOf": [{ "$ref": "#/components/schemas/Problem" }] });
        Schemas { document: &DOCUMENT }.check(&schema, &answer.json(), "").expect("a problem document");
    }
}

/// What is other than described.
pub fn judge(method: &str, target: &str, answer: &Answer) -> Result<(), String> {
    let path = target.split('?').next().unwrap_or_default();
    let Some(resource) = Resource::find(path, Method::named(method)) else {
        return is_one_of(answer, &[(404, "no_such_route"), (414, "target_too_long")]);
    };
    let described = &DOCUMENT["paths"][openapi::template(resource)];
    let operation = &described[method.to_lowercase()];
    if operation.is_null() {
        // Of a page of another origin, which asks before it does.
        if method == "OPTIONS" && answer.status == 204 {
            return Ok(());
        }
        let mut methods: Vec<String> =
            described.as_object().into_iter().flatten().map(|(name, _)| name.to_uppercase()).collect();
        let mut allowed: Vec<&str> = answer.header("allow").unwrap_or_default().split(", ").collect();
        methods.sort();
        allowed.sort();
        is_one_of(answer, &[(405, "method_not_allowed")])?;
        // A record has one more method where its name is that of a route.
        return if methods == allowed {
            Ok(())
        } else {
            Err(format!("Allow is {allowed:?}, not {methods:?}"))
        };
    }
    let response = resolved(&operation["responses"][answer.status.to_string()]);
    if response.is_null() {
        return Err(format!("no such status: {}", String::from_utf8_lossy(&answer.body)));
    }
    check_headers(response, answer)?;
    if method == "HEAD" || answer.status == 204 || answer.status == 304 {
        return Ok(());
    }
    check_body(response, answer)
}

fn resolved(value: &Value) -> &Value {
    let target = value["$ref"].as_str().and_then(|target| target.strip_prefix('#'));
    target.map_or(value, |pointer| DOCUMENT.pointer(pointer).expect("references lead somewhere"))
}

fn is_one_of(answer: &Answer, expected: &[(u16, &str)]) -> Result<(), String> {
    let code = answer.json()["code"].as_str().unwrap_or_default().to_owned();
    let found = expected.iter().any(|(status, name)| *status == answer.status && *name == code);
    if found { Ok(()) } else { Err(format!("{code} is none of {expected:?}")) }
}

/// Each header of ours is described, and what is described is there.
fn check_headers(response: &Value, answer: &Answer) -> Result<(), String> {
    const OURS: [&str; 12] = [
        "accept-encoding",
        "etag",
        "kyro-seq",
        "kyro-durability",
        "idempotency-replayed",
        "allow",
        "retry-after",
        "www-authenticate",
        "ratelimit",
        "ratelimit-policy",
        "x-request-id",
        "server-timing",
    ];
    let empty = serde_json::Map::new();
    let described = response["headers"].as_object().unwrap_or(&empty);
    let is_described = |name: &str| described.keys().any(|known| known.eq_ignore_ascii_case(name));
    if let Some(name) = OURS.iter().find(|name| answer.header(name).is_some() && !is_described(name)) {
        return Err(format!("the header {name} is not described"));
    }
    // The record may be gone, and then 412 has no version to tell; a trace is asked for, a limit configured, and a
    // request most often the first of its name.
    let may_lack = |name: &str| {
        ["x-request-id", "server-timing", "ratelimit", "ratelimit-policy", "idempotency-replayed"]
            .contains(&name)
            || (answer.status == 412 && name == "etag")
            || (answer.status == 415 && name == "accept-encoding" && !is_of_coding(answer))
    };
    let lacking = described.keys().map(|name| name.to_lowercase());
    match lacking.into_iter().find(|name| answer.header(name).is_none() && !may_lack(name)) {
        None => Ok(()),
        Some(name) => Err(format!("the header {name} is missing")),
    }
}

/// Of a body in a coding that is not taken; other 415s are about its type.
fn is_of_coding(answer: &Answer) -> bool {
    answer.text().contains("unsupported_content_encoding")
}

fn check_body(response: &Value, answer: &Answer) -> Result<(), String> {
    let content = response["content"].as_object();
    let Some(content) = content else {
        return if answer.body.is_empty() { Ok(()) } else { Err("a body is not described".to_owned()) };
    };
    let given = answer.header("content-type").unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default();
    let Some(media) = content.get(essence).or(content.get("*/*")) else {
        return Err(format!("the content type {given} is not described"));
    };
    let schemas = Schemas { document: &DOCUMENT };
    match essence {
        _ if content.contains_key("*/*") => Ok(()),
        "application/x-ndjson" => {
            let lines = answer.lines();
            lines.iter().try_for_each(|line| schemas.check(&media["x-itemSchema"], line, ""))
        }
        name if name.ends_with("json") => schemas.check(&media["schema"], &answer.json(), ""),
        _ => Ok(()),
    }
}
