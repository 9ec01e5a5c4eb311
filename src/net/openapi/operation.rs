//! One operation: a method of a path, what it takes and what it answers; and that as OpenAPI.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::codes::{self, Codes};
use super::schema::{self, refer};
use crate::net::status;

/// What a group of operations is called, in the order of the document.
pub const GROUPS: &[(&str, &str)] = &[
    ("values", "Records of any bytes under keys, one, many, or in key order."),
    ("core", "The first routes of KyroDB, on the collection `default`."),
    ("collections", "Sets of records with one type of keys and one kind of records."),
    ("documents", "Text, an embedding and metadata under an id."),
    ("search", "Documents by nearness, under filters."),
    ("upkeep", "Work on all shards, snapshots, and how far such work is."),
    ("ranges", "Which key ranges lie where, and how much they are asked for."),
    ("service", "What the process says of itself."),
];

/// A way in which an operation succeeds.
#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub about: &'static str,
    /// Names among [`super::headers::HEADERS`].
    pub headers: &'static [&'static str],
    pub content: Vec<(&'static str, Value)>,
}

#[derive(Clone)]
pub struct Operation {
    /// In lower case, as OpenAPI has it.
    pub method: &'static str,
    pub path: &'static str,
    pub id: String,
    pub group: &'static str,
    pub summary: &'static str,
    pub about: &'static str,
    pub parameters: Vec<Value>,
    pub body: Option<Value>,
    pub answers: Vec<Answer>,
    pub refusals: Vec<(u16, &'static str)>,
    /// As OpenAPI has it.
    pub security: Value,
    /// What it takes of its caller, in words.
    pub takes: String,
    /// A limit may apply to its caller.
    pub is_limited: bool,
}

impl Operation {
    pub fn new(method: &'static str, path: &'static str, id: &str, summary: &'static str) -> Operation {
        Operation {
            method,
            path,
            id: id.to_owned(),
            group: "",
            summary,
            about: "",
            parameters: Vec::new(),
            body: None,
            answers: Vec::new(),
            refusals: codes::ANY.to_vec(),
            security: json!([]),
            takes: String::new(),
            is_limited: false,
        }
    }

    #[must_use]
    pub fn about(self, about: &'static str) -> Operation {
        Operation { about, ..self }
    }

    #[must_use]
    pub fn takes(mut self, parameters: impl IntoIterator<Item = Value>) -> Operation {
        self.parameters.extend(parameters);
        self
    }

    /// A body of one of these types.
    #[must_use]
    pub fn body(mut self, about: &str, required: bool, content: &[(&'static str, Value)]) -> Operation {
        self.body = Some(json!({
            "description": about,
            "required": required,
            "content": content_json(content),
        }));
        self.refuses(codes::BODY)
    }

    /// A JSON body by the name of its schema.
    #[must_use]
    pub fn json_body(self, about: &str, required: bool, schema: &str, example: Value) -> Operation {
        let content = json!({ "schema": refer(schema), "example": example });
        self.body(about, required, &[("application/json", content)]).refuses(codes::JSON_BODY)
    }

    #[must_use]
    pub fn answers(
        mut self,
        status: u16,
        about: &'static str,
        headers: &'static [&'static str],
        content: &[(&'static str, Value)],
    ) -> Operation {
        self.answers.push(Answer { status, about, headers, content: content.to_vec() });
        self
    }

    /// A JSON document by the name of its schema, and nothing else.
    #[must_use]
    pub fn answers_json(self, status: u16, about: &'static str, schema: &str) -> Operation {
        self.answers(status, about, &[], &[("application/json", json!({ "schema": refer(schema) }))])
            .refuses(codes::JSON_ONLY)
    }

    #[must_use]
    pub fn refuses(mut self, codes: Codes) -> Operation {
        for one in codes {
            if !self.refusals.contains(one) {
                self.refusals.push(*one);
            }
        }
        self
    }

    /// Without an answer that its kind has otherwise.
    #[must_use]
    pub fn never(mut self, status: u16, code: &str) -> Operation {
        self.refusals.retain(|one| *one != (status, code));
        self
    }

    /// The HEAD of a GET: the same without a body.
    pub fn head(&self) -> Operation {
        let mut head = self.clone();
        head.method = "head";
        head.id = format!("{}Head", self.id);
        head.answers.iter_mut().for_each(|answer| answer.content.clear());
        head
    }

    pub fn to_json(&self) -> Value {
        let mut told = json!({
            "operationId": self.id,
            "tags": [self.group],
            "summary": self.summary,
            "parameters": self.parameters.iter().cloned().chain(super::parameters::of_all()).collect::<Vec<_>>(),
            "responses": self.responses(),
            "security": self.security,
        });
        let about = format!("{} {}", self.about, self.takes);
        if !about.trim().is_empty() {
            told["description"] = about.trim().into();
        }
        if let Some(body) = &self.body {
            told["requestBody"] = body.clone();
        }
        told
    }

    fn responses(&self) -> Value {
        let mut responses = Map::new();
        for answer in &self.answers {
            let mut told = json!({
                "description": answer.about,
                "headers": headers_json(answer.headers, self.is_limited),
            });
            if !answer.content.is_empty() {
                told["content"] = content_json(&answer.content);
            }
            responses.insert(answer.status.to_string(), told);
        }
        for status in self.statuses() {
            let name = response_name(status, &self.codes_of(status));
            let earlier = responses.insert(status.to_string(), schema::refer_to("responses", &name));
            assert!(earlier.is_none(), "{}: {status} is twofold", self.id);
        }
        Value::Object(responses)
    }

    /// The codes of a status, sorted.
    fn codes_of(&self, status: u16) -> Vec<&'static str> {
        let mut names: Vec<&str> =
            self.refusals.iter().filter(|(one, _)| *one == status).map(|(_, name)| *name).collect();
        names.sort_unstable();
        names
    }

    /// The statuses of refusals, each once.
    fn statuses(&self) -> BTreeSet<u16> {
        self.refusals.iter().map(|(status, _)| *status).collect()
    }
}

/// Refusals are shared: many operations have the same codes for a status.
pub fn shared_responses(operations: &[Operation]) -> Value {
    let all = operations.iter().flat_map(|operation| {
        operation.statuses().into_iter().map(|status| (status, operation.codes_of(status)))
    });
    let named = all.map(|(status, names)| (response_name(status, &names), refusal_json(status, &names)));
    Value::Object(named.collect())
}

/// Says which codes are meant, but for those that everything may be refused with.
fn response_name(status: u16, names: &[&str]) -> String {
    let phrase = status::phrase(status).replace(' ', "");
    let special = names.iter().filter(|name| !codes::ANY.contains(&(status, name)));
    special.fold(phrase, |name, code| name + "-" + code)
}

fn refusal_json(status: u16, names: &[&str]) -> Value {
    let known = codes::CODES.iter().filter(|code| names.contains(&code.name));
    let lines: Vec<String> = known.map(|code| format!("- `{}`: {}", code.name, code.means)).collect();
    assert_eq!(lines.len(), names.len(), "a code of {names:?} is not explained");
    let schema = json!({
        "allOf": [
            refer("Problem"),
            { "properties": { "status": { "const": status }, "code": { "enum": names } } },
        ],
    });
    json!({
        "description": format!("{}\n\n{}", status::phrase(status), lines.join("\n")),
        "headers": headers_json(headers_of_refusal(status), true),
        "content": { "application/problem+json": { "schema": schema } },
    })
}

fn headers_of_refusal(status: u16) -> &'static [&'static str] {
    match status {
        401 => &["WWW-Authenticate"],
        405 => &["Allow"],
        412 => &["ETag"],
        415 => &["Accept-Encoding"],
        429 | 503 => &["Retry-After"],
        _ => &[],
    }
}

fn headers_json(names: &[&str], is_limited: bool) -> Value {
    let of_limits: &[&str] = if is_limited { &["RateLimit", "RateLimit-Policy"] } else { &[] };
    let all = names.iter().chain(of_limits).copied().chain(["X-Request-Id", "Server-Timing"]);
    let named = all.map(|name| (name.to_owned(), schema::refer_to("headers", name)));
    Value::Object(named.collect())
}

fn content_json(content: &[(&'static str, Value)]) -> Value {
    let named = content.iter().map(|(name, told)| ((*name).to_owned(), told.clone()));
    Value::Object(named.collect())
}
